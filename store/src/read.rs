//! Reading a queue from an offset on.
//!
//! Owns the walk over a queue's messages under a budget, the filter's two questions, and the slices
//! of the mapped log that are the answer.

use bytes::Bytes;

use crate::index::Entry;
use crate::locate::{Chunk, Gap, Located, Source};
use crate::segment::to_offset;
use crate::store::{Shared, Store};

/// Records that are fetched from memory before they are looked into: a fetch takes as long as it takes to look into
/// about so many.
const FETCH_AHEAD_RECORDS: usize = 8;

/// Bytes of a segment that the system is asked for at once whether they are in memory, 256 pages: what lies between a
/// queue's records costs as well.
const RESIDENT_BYTES_MAX: usize = 1024 * 1024;

/// What one read may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadBudget {
    /// Messages in the answer.
    pub messages_max: usize,
    /// Bytes of the answer's records. The first message is given even if it alone has more.
    pub bytes_max: usize,
    /// Index entries looked at, those that the filter drops included.
    pub scan_entries_max: usize,
    /// Bytes of records shown to [`Keep::by_record`].
    pub scan_bytes_max: usize,
    /// Whether to wait for the disk where records are not in memory; else the read ends there.
    pub wait: bool,
}

impl Default for ReadBudget {
    /// RocketMQ's 32 messages and 256 KiB; a filter may look at 16,384 entries and 16 MiB.
    fn default() -> Self {
        Self {
            messages_max: 32,
            bytes_max: 256 * 1024,
            scan_entries_max: 16_384,
            scan_bytes_max: 16 * 1024 * 1024,
            wait: true,
        }
    }
}

/// Decides which messages a reader gets. Neither question may block: a read asks them often.
pub trait Keep {
    /// Whether a message with this tag code may be kept; asked without touching the record.
    fn by_tag(&mut self, tags_code: i64) -> bool;

    /// Whether the record is kept, asked when its tag was.
    fn by_record(&mut self, _record: &[u8]) -> bool {
        true
    }

    /// Whether most records are looked into, so that they are worth fetching from memory before their turn.
    fn reads_records(&self) -> bool {
        false
    }

    /// Whether the read has taken its time; asked between pieces of the index, never before the first, so that every
    /// read comes forward.
    fn is_over(&mut self) -> bool {
        false
    }
}

/// Keeps everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct KeepAll;

impl Keep for KeepAll {
    fn by_tag(&mut self, _tags_code: i64) -> bool {
        true
    }
}

/// How a read ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadStatus {
    /// There are messages in the answer.
    Found,
    /// Messages were looked at and none was kept; go on at `next_offset`.
    NoMatch,
    /// The offset is the queue's next one: wait for it.
    AtEnd,
    /// The offset is above the queue's next one.
    BeyondEnd,
    /// The offset is below the first one kept.
    BeforeBegin,
    /// Nothing was ever visible in the queue (its next offset is 0).
    Empty,
    /// The message at the offset is on disk only: ask again and wait. Given only when [`ReadBudget::wait`] is not set.
    Cold,
    /// The message at the offset cannot be read: the log is damaged between these log offsets.
    /// `next_offset` is behind the damaged messages.
    Damaged {
        /// Log offset at which the damage begins.
        from: i64,
        /// Log offset behind it.
        to: i64,
    },
    /// The segments between these log offsets cannot be opened now, so nobody knows what is at the
    /// offset: try again later and never go on behind it. `next_offset` is the offset.
    Unavailable {
        /// Log offset at which they begin.
        from: i64,
        /// Log offset behind them.
        to: i64,
    },
}

/// The answer to a read.
#[derive(Debug, Clone)]
pub struct Read {
    /// How it ended.
    pub status: ReadStatus,
    /// Records, one after another; neighbours in the log share a slice. They keep the mapping alive.
    pub slices: Vec<Bytes>,
    /// Number of records.
    pub messages: usize,
    /// Bytes of all slices.
    pub bytes: usize,
    /// Where to read next: behind the last message looked at, or the corrected offset.
    pub next_offset: i64,
    /// The queue's first offset.
    pub min: i64,
    /// The queue's next offset.
    pub max: i64,
}

impl Read {
    fn nothing(status: ReadStatus, next_offset: i64, (min, max): (i64, i64)) -> Self {
        Self { status, slices: Vec::new(), messages: 0, bytes: 0, next_offset, min, max }
    }
}

impl Store {
    /// Reads messages of a queue from `offset` on.
    ///
    /// Never waits for new messages and never skips in silence: `next_offset` passes only messages
    /// that were given, dropped by `keep`, or reported as damaged.
    #[allow(clippy::too_many_arguments, reason = "queue, offset, budget and filter are one question")]
    pub fn read(&self, topic: &str, queue_id: i32, offset: i64, budget: &ReadBudget, keep: &mut dyn Keep) -> Read {
        let Some(range) = self.shared.bounds(topic, queue_id) else {
            return Read::nothing(ReadStatus::Empty, 0, (0, 0));
        };
        let bounds = (range.min, range.max);
        let (status, next) = match offset {
            _ if range.max == 0 => (ReadStatus::Empty, 0),
            _ if offset < range.min => (ReadStatus::BeforeBegin, range.min),
            _ if offset == range.max => (ReadStatus::AtEnd, offset),
            _ if offset > range.max => (ReadStatus::BeyondEnd, range.max),
            _ => {
                let read = Read::nothing(ReadStatus::NoMatch, offset, bounds);
                let mut walk = Walk { read, budget, keep, scanned: 0, shown: 0, resident: false, open: None };
                walk.run(&self.shared, topic, queue_id);
                return walk.read;
            }
        };
        Read::nothing(status, next, bounds)
    }
}

/// A read under way.
struct Walk<'a> {
    read: Read,
    budget: &'a ReadBudget,
    keep: &'a mut dyn Keep,
    /// Entries looked at.
    scanned: usize,
    /// Bytes shown to the filter.
    shown: usize,
    /// The whole chunk is in memory.
    resident: bool,
    /// The slice that is growing: positions from, to in the current segment.
    open: Option<(usize, usize)>,
}

impl Walk<'_> {
    fn run(&mut self, shared: &Shared, topic: &str, queue_id: i32) {
        let max = self.read.max;
        while self.read.next_offset < max {
            if self.scanned > 0 && self.keep.is_over() {
                return;
            }
            match shared.locate(topic, queue_id, self.read.next_offset, max) {
                Located::Chunk(chunk) => {
                    if !self.take_all(chunk) {
                        return;
                    }
                }
                Located::Gap(gap) => {
                    self.tell_gap(shared, (topic, queue_id), gap);
                    return;
                }
                Located::Unavailable(from, to) => {
                    if self.scanned == 0 {
                        self.read.status = ReadStatus::Unavailable { from, to };
                    }
                    return;
                }
            }
        }
    }

    /// Tells messages that no segment holds: deleted ones, since the range was looked up before, are before the begin now,
    /// and may be elsewhere; others are lost with their segment. Who has something already hears of it with the next read.
    fn tell_gap(&mut self, shared: &Shared, (topic, queue_id): (&str, i32), gap: Gap) {
        if self.scanned > 0 {
            return;
        }
        let next = gap.next.min(self.read.max);
        let min = shared.bounds(topic, queue_id).map_or(next, |range| range.min);
        if self.read.next_offset < min {
            self.read.min = min.min(self.read.max);
            (self.read.status, self.read.next_offset) = (ReadStatus::BeforeBegin, self.read.min);
            return;
        }
        let (from, to) = shared.missing_before(gap.before);
        (self.read.status, self.read.next_offset) = (ReadStatus::Damaged { from, to }, next);
    }

    /// Goes through a chunk and those that follow it in its segment; `false` when the read is over.
    fn take_all(&mut self, mut chunk: Chunk) -> bool {
        loop {
            let on = self.take(&chunk);
            self.close(&chunk.source);
            if !on {
                return false;
            }
            if self.keep.is_over() || !chunk.go_on(self.read.next_offset, self.read.max) {
                return true;
            }
        }
    }

    /// Goes through a chunk; `false` when the read is over.
    fn take(&mut self, chunk: &Chunk) -> bool {
        self.resident = !self.budget.wait && self.is_whole_in_memory(chunk);
        let ahead = if self.keep.reads_records() { FETCH_AHEAD_RECORDS } else { 0 };
        chunk.entries.iter().take(ahead).for_each(|entry| chunk.source.fetch(entry));
        for (index, entry) in chunk.entries.iter().enumerate() {
            if let Some(later) = chunk.entries.get(index + ahead).filter(|_| ahead > 0) {
                chunk.source.fetch(later);
            }
            if self.scanned == self.budget.scan_entries_max {
                return false;
            }
            // A lost message has no tag: it is reported to every reader.
            let wanted = entry.is_damaged() || self.keep.by_tag(i64::from(entry.tag));
            if wanted {
                if !self.is_in_memory(chunk, entry) {
                    return false;
                }
                if !chunk.source.is_intact(entry) {
                    self.damaged(chunk, index);
                    return false;
                }
                if !self.fits(entry.bytes()) {
                    return false;
                }
                let Some(record) = chunk.source.slice(entry) else { return false };
                self.shown += record.len();
                if self.keep.by_record(record) {
                    self.add(chunk, index);
                }
            }
            self.scanned += 1;
            self.read.next_offset += 1;
        }
        true
    }

    /// Whether all of a chunk is in memory. One question to the system instead of one a record; a chunk of a queue that
    /// shares its segment with many others is asked for record by record.
    fn is_whole_in_memory(&self, chunk: &Chunk) -> bool {
        let (Some(first), Some(last)) = (chunk.entries.first(), chunk.entries.last()) else { return false };
        let (from, to) = (first.position as usize, last.end());
        to > from && to - from <= RESIDENT_BYTES_MAX && chunk.source.is_in_memory(from, to)
    }

    /// Whether the record is in memory, or may be waited for: whoever looks into it then waits for the disk.
    fn is_in_memory(&mut self, chunk: &Chunk, entry: &Entry) -> bool {
        if self.budget.wait || self.resident || entry.is_damaged() || chunk.source.is_resident(entry) {
            return true;
        }
        if self.scanned == 0 {
            self.read.status = ReadStatus::Cold;
        }
        false
    }

    /// Whether another record of `bytes` is within the budget.
    fn fits(&self, bytes: usize) -> bool {
        if self.scanned == 0 {
            return self.budget.messages_max > 0;
        }
        self.shown + bytes <= self.budget.scan_bytes_max
            && self.read.messages < self.budget.messages_max
            && (self.read.messages == 0 || self.read.bytes + bytes <= self.budget.bytes_max)
    }

    fn add(&mut self, chunk: &Chunk, index: usize) {
        let entry = &chunk.entries[index];
        let (from, to) = (entry.position as usize, entry.end());
        if self.budget.wait {
            // Whoever sends the answer must not wait for the disk.
            chunk.source.mapping().load(from, to);
        }
        match &mut self.open {
            Some((_, end)) if *end == from => *end = to,
            open => {
                let before = open.replace((from, to));
                self.push(&chunk.source, before);
            }
        }
        self.read.messages += 1;
        self.read.bytes += entry.bytes();
        self.read.status = ReadStatus::Found;
    }

    /// Ends the growing slice at the end of a chunk.
    fn close(&mut self, source: &Source) {
        let open = self.open.take();
        self.push(source, open);
    }

    fn push(&mut self, source: &Source, range: Option<(usize, usize)>) {
        let slice = range.and_then(|(from, to)| source.bytes(from, to));
        self.read.slices.extend(slice);
    }

    /// Stops before a damaged message, or passes it and its damaged neighbours when it is the first.
    fn damaged(&mut self, chunk: &Chunk, index: usize) {
        if self.scanned > 0 {
            return;
        }
        let rest = &chunk.entries[index..];
        let count = rest.iter().take_while(|entry| !chunk.source.is_intact(entry)).count();
        let lost = &rest[..count];
        let from = lost.iter().map(|lost| lost.position as usize).min().unwrap_or(0);
        let to = lost.iter().map(|lost| lost.end()).max().unwrap_or(0);
        let first = chunk.source.first();
        self.read.status = ReadStatus::Damaged { from: first + to_offset(from), to: first + to_offset(to) };
        self.read.next_offset += to_offset(count);
    }
}
