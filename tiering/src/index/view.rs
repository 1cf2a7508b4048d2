//! Reading of a roll's index in place.

use bytes::Bytes;

use super::{
    HEAD_BYTES, IndexError, Kind, LOST_BYTES, MAGIC, QUEUE_BYTES, Repeated, SECTION_BYTES, TOPIC_BYTES, VERSION,
    i32_at, i64_at, u32_at, u64_at,
};
use crate::limits::{INDEX_OBJECTS_MAX, INDEX_QUEUES_BYTES_MAX};

/// A queue's messages in a roll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The queue's first offset in the roll; its next one if the roll has none.
    pub base: i64,
    /// The queue's next offset when the roll ended.
    pub next: i64,
    /// Row of the first message in the roll.
    pub row: u64,
    /// Messages that have a row; fewer than offsets where some were lost.
    pub rows: u32,
    /// Its place in the table.
    number: u32,
}

impl Span {
    /// Whether every offset has a row.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.next - self.base == self.rows as i64
    }
}

/// What is at an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// The message in this row of the roll.
    Row(u64),
    /// Nothing up to this offset: the bytes were damaged before they were rolled.
    Lost(i64),
}

/// The index of one roll.
#[derive(Debug, Clone, Default)]
pub struct Index {
    queues: Bytes,
    lost: Bytes,
    tails: Vec<Repeated>,
    blooms: Vec<Repeated>,
    topics: usize,
    rows: usize,
}

impl Index {
    /// Reads the front of an index, or all of it, and compares the front's checksums.
    ///
    /// # Errors
    /// The bytes are no whole front of an index of this version.
    pub fn read(bytes: &Bytes) -> Result<Self, IndexError> {
        let damaged = |what| IndexError::Damaged { what };
        if bytes.get(..8) != Some(&MAGIC[..]) {
            return Err(damaged("its first bytes"));
        }
        let version = u32_at(bytes, 8);
        if version != VERSION {
            return Err(IndexError::Version { found: version });
        }
        let count = usize::try_from(u32_at(bytes, 12)).unwrap_or(usize::MAX);
        if count > INDEX_OBJECTS_MAX * 2 + 2 {
            return Err(damaged("its number of sections"));
        }
        let head_end = HEAD_BYTES + count * SECTION_BYTES;
        let head = bytes.get(..head_end).ok_or(damaged("its table of sections"))?;
        if bytes.len() < head_end + 4 || crc32c::crc32c(head) != u32_at(bytes, head_end) {
            return Err(damaged("its table of sections"));
        }
        let mut index = Self::default();
        for row in head[HEAD_BYTES..].chunks_exact(SECTION_BYTES) {
            index.take(bytes, row)?;
        }
        index.topics = usize::try_from(u32_at(&index.queues, 0)).unwrap_or(usize::MAX);
        index.rows = usize::try_from(u32_at(&index.queues, 4)).unwrap_or(usize::MAX);
        let names_at = index.topics.checked_mul(TOPIC_BYTES).zip(index.rows.checked_mul(QUEUE_BYTES));
        if names_at.is_none_or(|(topics, rows)| 8 + topics.saturating_add(rows) > index.queues.len()) {
            return Err(damaged("its queues"));
        }
        Ok(index)
    }

    fn take(&mut self, bytes: &Bytes, row: &[u8]) -> Result<(), IndexError> {
        let damaged = |what| IndexError::Damaged { what };
        let (tag, crc) = (u32_at(row, 0), u32_at(row, 4));
        let (at, stored, number) = (u64_at(row, 8), u64_at(row, 16), u64_at(row, 24));
        let to = at.checked_add(stored).ok_or(damaged("a section's place"))?;
        let repeated = Repeated { from: at, to, at: number, crc };
        let section = || {
            let range = usize::try_from(at).ok().zip(usize::try_from(to).ok());
            let range = range.filter(|(_, to)| *to <= bytes.len()).ok_or(damaged("a section's place"))?;
            let section = bytes.slice(range.0..range.1);
            if crc32c::crc32c(&section) == crc { Ok(section) } else { Err(damaged("a section's checksum")) }
        };
        let object = usize::try_from(tag >> 16).unwrap_or(usize::MAX);
        match tag & 0xFFFF {
            kind if kind == Kind::Queues as u32 => self.queues = expand(&section()?, number)?,
            kind if kind == Kind::Lost as u32 => self.lost = expand(&section()?, number)?,
            kind if kind == Kind::Tail as u32 && object == self.tails.len() => self.tails.push(repeated),
            kind if kind == Kind::Blooms as u32 && object == self.blooms.len() => self.blooms.push(repeated),
            _ => return Err(damaged("a section's kind")),
        }
        Ok(())
    }

    /// Bytes of memory that it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.queues.len() + self.lost.len() + (self.tails.len() + self.blooms.len()) * size_of::<Repeated>()
    }

    /// Where the index repeats the tail of an object, by its place in the roll.
    #[must_use]
    pub fn tail(&self, object: usize) -> Option<Repeated> {
        self.tails.get(object).copied()
    }

    /// Where it repeats the bloom filters of an object.
    #[must_use]
    pub fn blooms(&self, object: usize) -> Option<Repeated> {
        self.blooms.get(object).copied()
    }

    /// The queue, `None` when it was not known when the roll ended.
    #[must_use]
    pub fn find(&self, topic: &str, queue_id: i32) -> Option<Span> {
        let found = halve(0, self.topics, |index| self.topic(index).0 < topic.as_bytes());
        let (name, first, last) = self.topic(found);
        if found == self.topics || name != topic.as_bytes() {
            return None;
        }
        let at = halve(first, last, |index| self.queue_id(index) < queue_id);
        (at < last && self.queue_id(at) == queue_id).then(|| self.span(at))
    }

    /// Calls `each` for every queue, ordered by topic and id.
    pub fn for_each(&self, mut each: impl FnMut(&str, i32, Span)) {
        for topic in 0..self.topics {
            let (name, first, last) = self.topic(topic);
            // Names were text when they were written; the section's checksum vouches for them.
            let Ok(name) = std::str::from_utf8(name) else { continue };
            for row in first..last {
                each(name, self.queue_id(row), self.span(row));
            }
        }
    }

    /// All queues, ordered by topic and id.
    pub fn queues(&self) -> impl Iterator<Item = (&str, i32, Span)> {
        (0..self.topics).flat_map(move |topic| {
            let (name, first, last) = self.topic(topic);
            // Names were text when they were written; the section's checksum vouches for them.
            let name = std::str::from_utf8(name).ok();
            let of = move |name| (first..last).map(move |row| (name, self.queue_id(row), self.span(row)));
            name.into_iter().flat_map(of)
        })
    }

    /// The queues of one topic, ordered by id.
    pub fn queues_of(&self, topic: &str) -> impl Iterator<Item = (i32, Span)> {
        let found = halve(0, self.topics, |index| self.topic(index).0 < topic.as_bytes());
        let (name, first, last) = self.topic(found);
        let rows = if name == topic.as_bytes() { first..last } else { 0..0 };
        rows.map(|row| (self.queue_id(row), self.span(row)))
    }

    /// What was lost of a span: the first offset and the number of each stretch, ascending.
    pub fn lost_of(&self, span: Span) -> impl Iterator<Item = (i64, u32)> {
        let (count, number) = (self.lost.len() / LOST_BYTES, span.number);
        let first = halve(0, count, |row| u32_at(&self.lost, row * LOST_BYTES) < number);
        let rows = self.lost.get(first * LOST_BYTES..).unwrap_or_default().chunks_exact(LOST_BYTES);
        rows.take_while(move |lost| u32_at(lost, 0) == number).map(|lost| (i64_at(lost, 8), u32_at(lost, 4)))
    }

    /// The rows of a topic's messages, `None` when the roll has none.
    #[must_use]
    pub fn rows_of(&self, topic: &str) -> Option<std::ops::Range<u64>> {
        let found = halve(0, self.topics, |index| self.topic(index).0 < topic.as_bytes());
        let (name, first, last) = self.topic(found);
        if found == self.topics || name != topic.as_bytes() || first >= last {
            return None;
        }
        let end = self.span(last - 1);
        let rows = self.span(first).row..end.row + u64::from(end.rows);
        (!rows.is_empty()).then_some(rows)
    }

    /// The row of an offset of the span.
    #[must_use]
    pub fn at(&self, span: &Span, offset: i64) -> At {
        let mut row = span.row + u64::try_from(offset - span.base).unwrap_or(0);
        if span.is_whole() {
            return At::Row(row);
        }
        for lost in self.lost.chunks_exact(LOST_BYTES).filter(|lost| u32_at(lost, 0) == span.number) {
            let (count, first) = (u32_at(lost, 4), i64_at(lost, 8));
            if offset < first {
                break;
            }
            if offset < first + i64::from(count) {
                return At::Lost(first + i64::from(count));
            }
            row -= u64::from(count);
        }
        At::Row(row)
    }

    /// The offset of the message in a row of the span.
    #[must_use]
    pub fn offset_of(&self, span: &Span, row: u64) -> i64 {
        let mut offset = span.base + i64::try_from(row - span.row).unwrap_or(i64::MAX);
        if span.is_whole() {
            return offset;
        }
        for lost in self.lost.chunks_exact(LOST_BYTES).filter(|lost| u32_at(lost, 0) == span.number) {
            if i64_at(lost, 8) > offset {
                break;
            }
            offset += i64::from(u32_at(lost, 4));
        }
        offset
    }

    /// Name and first and last queue row of a topic; nothing behind the last one.
    fn topic(&self, index: usize) -> (&[u8], usize, usize) {
        if index >= self.topics {
            return (&[], 0, 0);
        }
        let row = 8 + index * TOPIC_BYTES;
        let number = |field: usize| u32_at(&self.queues, row + field * 4) as usize;
        let (name_at, name_bytes, first, rows) = (number(0), number(1), number(2), number(3));
        let names = self.queues.get(8 + self.topics * TOPIC_BYTES + self.rows * QUEUE_BYTES..).unwrap_or_default();
        let name = names.get(name_at..name_at.saturating_add(name_bytes)).unwrap_or_default();
        (name, first.min(self.rows), first.saturating_add(rows).min(self.rows))
    }

    const fn queue_at(&self, index: usize) -> usize {
        8 + self.topics * TOPIC_BYTES + index * QUEUE_BYTES
    }

    fn queue_id(&self, index: usize) -> i32 {
        i32_at(&self.queues, self.queue_at(index))
    }

    fn span(&self, index: usize) -> Span {
        let at = self.queue_at(index);
        Span {
            rows: u32_at(&self.queues, at + 4),
            base: i64_at(&self.queues, at + 8),
            next: i64_at(&self.queues, at + 16),
            row: u64_at(&self.queues, at + 24),
            number: u32::try_from(index).unwrap_or(u32::MAX),
        }
    }
}

fn expand(section: &[u8], raw: u64) -> Result<Bytes, IndexError> {
    let damaged = |what| IndexError::Damaged { what };
    let raw = usize::try_from(raw).ok().filter(|raw| *raw <= INDEX_QUEUES_BYTES_MAX);
    let raw = raw.ok_or(damaged("a section's size"))?;
    let out = zstd::bulk::decompress(section, raw).map_err(|_| damaged("a section's compression"))?;
    if out.len() == raw { Ok(out.into()) } else { Err(damaged("a section's size")) }
}

/// The first number of `low..high` for which `below` is false.
fn halve(mut low: usize, mut high: usize, below: impl Fn(usize) -> bool) -> usize {
    while low < high {
        let middle = low + (high - low) / 2;
        if below(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}
