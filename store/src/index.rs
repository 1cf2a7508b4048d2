//! The index of one segment in memory: its messages by queue and offset, and by key.
//!
//! Owns the 20 bytes that are kept for a message while its segment is active. It is derived from the
//! segment and never stored itself; `sidecar` writes what it says.

use crate::keys::KeyIndex;

/// The bit of [`Entry::length`] that marks a message lost to damage.
const DAMAGED: u32 = 1 << 31;

/// The value of [`Entry::time`] that says: too far from the segment's first time, read the record.
const TIME_UNKNOWN: u32 = u32::MAX;

/// One message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Position of its record in the segment.
    pub(crate) position: u32,
    /// Bytes of its record; the top bit marks a lost one.
    pub(crate) length: u32,
    /// Java's hash of its tag.
    pub(crate) tag: i32,
    /// Milliseconds after the segment's first store time.
    pub(crate) time: u32,
    /// crc32c of its record; 0 for a lost one.
    pub(crate) crc: u32,
}

impl Entry {
    /// An entry for a message whose bytes cannot be read.
    pub(crate) const fn damaged(position: u32, length: u32, time: u32) -> Self {
        Self { position, length: length | DAMAGED, tag: 0, time, crc: 0 }
    }

    pub(crate) const fn is_damaged(&self) -> bool {
        self.length & DAMAGED != 0
    }

    /// Bytes of the record, without the mark.
    pub(crate) const fn bytes(&self) -> usize {
        (self.length & !DAMAGED) as usize
    }

    /// Position behind the record.
    pub(crate) const fn end(&self) -> usize {
        self.position as usize + self.bytes()
    }

    /// The store time, `None` when only the record knows it.
    pub(crate) fn store_time(&self, first_time: i64) -> Option<i64> {
        (self.time != TIME_UNKNOWN).then(|| first_time + i64::from(self.time))
    }
}

/// A store time as an entry keeps it.
pub(crate) fn relative_time(first_time: i64, store_time: i64) -> u32 {
    u32::try_from(store_time.saturating_sub(first_time).max(0)).unwrap_or(TIME_UNKNOWN)
}

/// A queue's messages in one segment.
#[derive(Debug, Default)]
pub(crate) struct Run {
    /// Offset of the first entry; meaningless without entries.
    pub(crate) base: i64,
    pub(crate) entries: Vec<Entry>,
}

impl Run {
    /// The offset behind the last entry.
    pub(crate) fn next(&self) -> i64 {
        self.base + crate::segment::to_offset(self.entries.len())
    }

    /// The entries from `offset` on; empty when the run does not hold it.
    pub(crate) fn from(&self, offset: i64) -> &[Entry] {
        usize::try_from(offset - self.base).ok().and_then(|at| self.entries.get(at..)).unwrap_or(&[])
    }
}

/// The index of a segment.
#[derive(Debug, Default)]
pub(crate) struct SegmentIndex {
    /// By queue number; shorter than the catalog while later queues have no message here.
    runs: Vec<Run>,
    pub(crate) keys: KeyIndex,
    /// Store time of the first record.
    pub(crate) first_time: Option<i64>,
    /// Store time of the last record.
    pub(crate) last_time: i64,
    /// Records, those without a queue included.
    pub(crate) records: u64,
    /// Positions that no record could be read from.
    pub(crate) damage: Vec<(u32, u32)>,
}

impl SegmentIndex {
    /// Notes a record's store time and returns it as entries keep it.
    #[inline]
    pub(crate) fn note(&mut self, store_time: i64) -> u32 {
        self.records += 1;
        self.last_time = store_time;
        let first = *self.first_time.get_or_insert(store_time);
        relative_time(first, store_time)
    }

    /// Adds a message of queue `number` at `offset`, which must be the next one of its run.
    #[inline]
    pub(crate) fn push(&mut self, number: u32, offset: i64, entry: Entry) {
        let number = number as usize;
        if number >= self.runs.len() {
            self.runs.resize_with(number + 1, Run::default);
        }
        let run = &mut self.runs[number];
        if run.entries.is_empty() {
            run.base = offset;
        }
        assert_eq!(run.next(), offset, "a queue's offsets are dense");
        run.entries.push(entry);
    }

    /// The run of a queue, `None` without messages here.
    pub(crate) fn run(&self, number: u32) -> Option<&Run> {
        self.runs.get(number as usize).filter(|run| !run.entries.is_empty())
    }

    /// Whether no record could be read from the position when the segment was scanned.
    pub(crate) fn is_damaged_at(&self, position: usize) -> bool {
        self.damage.iter().any(|(from, to)| (*from as usize..*to as usize).contains(&position))
    }

    /// Frees a forgotten queue's entries.
    pub(crate) fn clear_run(&mut self, number: u32) {
        if let Some(run) = self.runs.get_mut(number as usize) {
            *run = Run::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_takes_twenty_bytes() {
        assert_eq!(size_of::<Entry>(), 20);
    }

    #[test]
    fn times_are_relative_until_they_do_not_fit() {
        assert_eq!(relative_time(1_000, 1_500), 500);
        assert_eq!(relative_time(1_000, 900), 0);
        let far = Entry { time: relative_time(0, i64::MAX), ..Entry::default() };
        assert_eq!(far.store_time(0), None);
        let near = Entry { time: 7, ..Entry::default() };
        assert_eq!(near.store_time(10), Some(17));
    }

    #[test]
    fn runs_begin_at_their_first_offset() {
        let mut index = SegmentIndex::default();
        assert!(index.run(5).is_none());
        index.push(5, 40, Entry::damaged(3, 100, 0));
        index.push(5, 41, Entry::default());
        let run = index.run(5).unwrap();
        assert_eq!((run.base, run.next()), (40, 42));
        assert_eq!(run.from(41).len(), 1);
        assert!(run.from(39).is_empty() && run.from(42).is_empty());
        assert!(run.entries[0].is_damaged());
        assert_eq!(run.entries[0].end(), 103);
        assert!(index.run(4).is_none());
    }
}
