//! Reading of a sidecar in place.
//!
//! Owns lookups by queue and by key. It answers from the mapped bytes and keeps no copy.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use super::{
    ENTRY_BYTES, Facts, Header, KEY_BYTES, QUEUE_BYTES, Section, SidecarError, TOPIC_BYTES, bloom, read_i64, read_u32,
    read_u64,
};
use crate::index::Entry;
use crate::mapping::Mapping;

/// A mapped sidecar whose header was checked.
#[derive(Debug)]
pub(crate) struct Sidecar {
    map: Arc<Mapping>,
    header: Header,
}

/// A queue's place in a sidecar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) queue_id: i32,
    pub(crate) count: u32,
    pub(crate) base: i64,
    first_entry: u64,
}

impl Row {
    /// The queue's next offset when the segment ended.
    pub(crate) fn next(&self) -> i64 {
        self.base + i64::from(self.count)
    }
}

impl Sidecar {
    /// Maps the file and checks its header, not its sections.
    pub(crate) fn open(path: &Path) -> Result<Self, SidecarError> {
        let io = |source| SidecarError::Io { path: path.to_owned(), source };
        let bad = || SidecarError::Header { path: path.to_owned() };
        let file = File::open(path).map_err(io)?;
        let map = Mapping::read_only(&file).map_err(io)?.ok_or_else(bad)?;
        let header = map.slice(0, map.len()).and_then(Header::decode).ok_or_else(bad)?;
        let inside = header
            .sections
            .iter()
            .all(|extent| extent.at.checked_add(extent.bytes).is_some_and(|end| end <= map.len() as u64));
        if inside { Ok(Self { map, header }) } else { Err(bad()) }
    }

    /// Compares each section with its checksum.
    pub(crate) fn verify(&self, path: &Path) -> Result<(), SidecarError> {
        for section in Section::ALL {
            if crc32c::crc32c(self.section(section)) != self.header.sections[section as usize].crc {
                return Err(SidecarError::Section { path: path.to_owned(), section });
            }
        }
        Ok(())
    }

    /// What it says about the segment as a whole.
    pub(crate) const fn facts(&self) -> &Facts {
        &self.header.facts
    }

    fn section(&self, section: Section) -> &[u8] {
        let extent = &self.header.sections[section as usize];
        // Opening has checked that sections lie inside the file, which is in memory, so they fit.
        let from = usize::try_from(extent.at).unwrap_or(usize::MAX);
        let to = from.saturating_add(usize::try_from(extent.bytes).unwrap_or(usize::MAX));
        self.map.slice(from, to).unwrap_or_default()
    }

    /// Name and first and last queue row of topic `index`.
    fn topic(&self, index: usize) -> (&[u8], usize, usize) {
        let row = index * TOPIC_BYTES;
        let topics = self.section(Section::Topics);
        let number = |field: usize| read_u32(topics, row + field * 4) as usize;
        let (name_at, name_bytes, first, rows) = (number(0), number(1), number(2), number(3));
        let names = self.section(Section::Names);
        let name = names.get(name_at..name_at.saturating_add(name_bytes)).unwrap_or_default();
        (name, first, first.saturating_add(rows))
    }

    fn topics(&self) -> usize {
        self.section(Section::Topics).len() / TOPIC_BYTES
    }

    fn row(&self, index: usize) -> Row {
        let at = index * QUEUE_BYTES;
        let queues = self.section(Section::Queues);
        let id = read_u32(queues, at);
        Row {
            queue_id: i32::from_le_bytes(id.to_le_bytes()),
            count: read_u32(queues, at + 4),
            base: read_i64(queues, at + 8),
            first_entry: read_u64(queues, at + 16),
        }
    }

    /// First and last queue row of a topic, `None` when it was not known when the segment ended.
    fn find_topic(&self, topic: &str) -> Option<(usize, usize)> {
        let found = halve(self.topics(), |index| self.topic(index).0 < topic.as_bytes());
        if found == self.topics() {
            return None;
        }
        let (name, first, last) = self.topic(found);
        (name == topic.as_bytes()).then_some((first, last))
    }

    /// Bytes of a topic's records.
    pub(crate) fn topic_bytes(&self, topic: &str) -> u64 {
        let Some((first, last)) = self.find_topic(topic) else { return 0 };
        let rows = (first..last).map(|index| self.row(index));
        rows.flat_map(|row| (row.base..row.next()).filter_map(move |offset| self.entry(&row, offset)))
            .map(|entry| u64::from(entry.length))
            .sum()
    }

    /// The queue's row, `None` when it was not known when the segment ended.
    pub(crate) fn queue(&self, topic: &str, queue_id: i32) -> Option<Row> {
        let (first, last) = self.find_topic(topic)?;
        let at = first + halve(last - first, |index| self.row(first + index).queue_id < queue_id);
        (at < last).then(|| self.row(at)).filter(|row| row.queue_id == queue_id)
    }

    /// Calls `each` for every queue, ordered by topic and id.
    pub(crate) fn each_queue(&self, mut each: impl FnMut(&str, &Row)) {
        for topic in 0..self.topics() {
            let (name, first, last) = self.topic(topic);
            // Names were text when they were written; the section's checksum vouches for them.
            let Ok(name) = std::str::from_utf8(name) else { continue };
            for index in first..last {
                each(name, &self.row(index));
            }
        }
    }

    /// The entry of `offset`, `None` when the row does not hold it.
    pub(crate) fn entry(&self, row: &Row, offset: i64) -> Option<Entry> {
        if offset < row.base || offset >= row.next() {
            return None;
        }
        let index = row.first_entry + u64::try_from(offset - row.base).ok()?;
        let at = usize::try_from(index).ok()?.checked_mul(ENTRY_BYTES)?;
        let bytes = self.section(Section::Entries).get(at..at + ENTRY_BYTES)?;
        Some(Entry {
            position: read_u32(bytes, 0),
            length: read_u32(bytes, 4),
            tag: i32::from_le_bytes(read_u32(bytes, 8).to_le_bytes()),
            time: read_u32(bytes, 12),
            crc: read_u32(bytes, 16),
        })
    }

    /// Appends the positions of records that may carry the key, newest first, until `out` holds `max`.
    pub(crate) fn find_key(&self, hash: u32, out: &mut Vec<u32>, max: usize) {
        if !bloom::may_hold(self.section(Section::Bloom), hash) {
            return;
        }
        let buckets = self.section(Section::Buckets);
        let count = (buckets.len() / 4).saturating_sub(1);
        if count == 0 {
            return;
        }
        let bucket = hash as usize & (count - 1);
        let from = read_u32(buckets, bucket * 4) as usize;
        let to = read_u32(buckets, bucket * 4 + 4) as usize;
        let keys = self.section(Section::Keys);
        for row in (from..to).rev() {
            if out.len() == max {
                return;
            }
            if read_u32(keys, row * KEY_BYTES) == hash {
                out.push(read_u32(keys, row * KEY_BYTES + 4));
            }
        }
    }

    /// The checksum of a block of the segment, `None` behind its records.
    pub(crate) fn block_crc(&self, block: usize) -> Option<u32> {
        let blocks = self.section(Section::Blocks);
        (block < blocks.len() / 4).then(|| read_u32(blocks, block * 4))
    }

    /// The damaged ranges as positions.
    pub(crate) fn damage(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let rows = self.section(Section::Damage).chunks_exact(16);
        rows.map(|row| (read_u64(row, 0), read_u64(row, 8)))
    }
}

/// The first index below `count` for which `below` is false.
fn halve(count: usize, below: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, count);
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
