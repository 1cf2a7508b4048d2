//! A sealed segment in the hands of whoever copies it elsewhere: its queues, and their records in order.
//!
//! Owns the walk over a segment queue by queue, and bringing its file into memory for that. It copies nothing itself.

use std::ops::Range;
use std::sync::Arc;

use crate::error::UpkeepError;
use crate::limits::{ADVICE_BYTES_MAX, BLOCK_BYTES, LOAD_WINDOW_BYTES};
use crate::mapping::Mapping;
use crate::sealed::{Parts, Sealed};
use crate::segment::{to_length, to_offset};
use crate::sidecar::Row;
use crate::store::Store;
use crate::tombstones::Tombstones;

/// Where a sealed segment lies in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealedRange {
    /// Log offset of its first byte.
    pub from: i64,
    /// Log offset behind its last byte, where the next segment begins.
    pub to: i64,
    /// Log offset behind its last record and the mark of the blank that follows it; `to` where that is not known yet,
    /// because its sidecar must be built again.
    pub tail: i64,
}

/// A message that a segment lists and cannot give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LostRecord {
    /// Log offset at which it lay.
    pub from: i64,
    /// Log offset behind it; `from` where nobody knows where it lay.
    pub to: i64,
}

/// A sealed segment that can be read as long as this lives, whatever becomes of its file.
///
/// It shows the topics as they were when it was made: one that is deleted later stays in it.
#[derive(Debug)]
pub struct SealedCopy {
    parts: Arc<Parts>,
    range: SealedRange,
    tombstones: Arc<Tombstones>,
}

/// Bytes of a segment that were brought into memory; those that were not there before leave it with this.
#[derive(Debug)]
pub struct Loaded {
    mapping: Arc<Mapping>,
    /// Positions, ascending and apart.
    brought: Vec<Range<usize>>,
}

impl Store {
    /// The sealed segments, oldest first. Each begins where the one before ends, unless segments between were lost.
    #[must_use]
    pub fn sealed_ranges(&self) -> Vec<SealedRange> {
        let sealed = Arc::clone(&self.shared.head.lock().sealed);
        sealed.iter().map(|sealed| range_of(sealed)).collect()
    }

    /// The sealed segment that begins at the log offset `from`.
    ///
    /// # Errors
    /// None begins there, or it cannot be opened.
    pub fn sealed_copy(&self, from: i64) -> Result<SealedCopy, UpkeepError> {
        let (sealed, tombstones) = {
            let head = self.shared.head.lock();
            let found = head.sealed.iter().find(|sealed| sealed.first == from).cloned();
            (found.ok_or(UpkeepError::NotSealed { from })?, Arc::clone(&head.tombstones))
        };
        let parts = self.shared.parts(&sealed)?;
        Ok(SealedCopy { parts, range: range_of(&sealed), tombstones })
    }
}

fn range_of(sealed: &Sealed) -> SealedRange {
    let used = usize::try_from(sealed.used()).unwrap_or(usize::MAX);
    SealedRange { from: sealed.first, to: sealed.end, tail: sealed.first + to_offset(used) }
}

impl SealedCopy {
    /// Where it lies in the log.
    #[must_use]
    pub const fn range(&self) -> SealedRange {
        self.range
    }

    /// Store time of its first record, ms since 1970; `None` without records.
    #[must_use]
    pub fn first_time(&self) -> Option<i64> {
        Some(self.parts.sidecar.facts().first_time).filter(|time| *time >= 0)
    }

    /// Store time of its last record, ms since 1970, never less than the first one's; `None` without records.
    #[must_use]
    pub fn last_time(&self) -> Option<i64> {
        Some(self.parts.sidecar.facts().last_time).filter(|time| *time >= 0)
    }

    /// Calls `each` with topic, queue id, first offset and number of messages of every queue that was known when the
    /// segment ended, ordered by the topic's bytes and then by queue id. Quiet queues have no messages here: their
    /// first offset is their next one. Topics that were deleted behind the segment are left out, and so are their
    /// messages; of one that was deleted within it only what came later is there.
    ///
    /// Offsets between the end of a queue in one segment and its begin in the next one were lost with what lay between.
    pub fn for_each_queue(&self, mut each: impl FnMut(&str, i32, i64, u32)) {
        self.parts.sidecar.each_queue(|topic, row| {
            if self.has(topic) {
                each(topic, row.queue_id, row.base, row.count);
            }
        });
    }

    /// The messages of a queue in this segment, in order and without a search for each: queue offset and whole record,
    /// or what is known of a lost one. Every record is as it was when the segment was sealed, by its checksum or its
    /// block's. Messages of the same queue lie anywhere in the segment: bring it into memory with [`Self::load`] first.
    ///
    /// Records that are in no queue, the first parts and rollbacks of transactions, are in no such walk.
    pub fn records<'a>(
        &'a self,
        topic: &str,
        queue_id: i32,
    ) -> impl Iterator<Item = (i64, Result<&'a [u8], LostRecord>)> + use<'a> {
        let row = self.parts.sidecar.queue(topic, queue_id).filter(|_| self.has(topic));
        let rows = row.into_iter().flat_map(|row| (row.base..row.next()).map(move |offset| (row, offset)));
        rows.map(|(row, offset)| (offset, self.record(&row, offset)))
    }

    /// Brings the log from `from` to `to`, both clipped to this segment's records, into memory, one piece after another
    /// as a disk likes it, and waits for it. What was not in memory before leaves it when the answer is dropped, also
    /// where others have read it meanwhile: they wait for the disk once more, and nothing else is pushed out for what
    /// is read once.
    #[must_use]
    pub fn load(&self, from: i64, to: i64) -> Loaded {
        let tail = to_length(self.range.tail - self.range.from).min(self.parts.mapping.committed());
        let position = |offset: i64| to_length(offset.saturating_sub(self.range.from)).min(tail);
        let (from, to) = (position(from) / BLOCK_BYTES * BLOCK_BYTES, position(to));
        let mut loaded = Loaded { mapping: Arc::clone(&self.parts.mapping), brought: Vec::new() };
        let end = |at: usize| (at + LOAD_WINDOW_BYTES).min(to);
        loaded.ask_for(from, end(from));
        for at in (from..to).step_by(LOAD_WINDOW_BYTES) {
            // The disk reads the next piece while this one is waited for.
            loaded.ask_for(end(at), end(end(at)));
            loaded.mapping.load(at, end(at));
        }
        loaded
    }

    /// Whether the topic was not deleted since the segment ended.
    fn has(&self, topic: &str) -> bool {
        self.tombstones.of(topic) < self.range.to
    }

    fn record(&self, row: &Row, offset: i64) -> Result<&[u8], LostRecord> {
        let unknown = LostRecord { from: self.range.from, to: self.range.from };
        // An index without the entry was checked when it was opened, so this does not happen.
        let entry = self.parts.sidecar.entry(row, offset).ok_or(unknown)?;
        let at = |position: usize| self.range.from + to_offset(position);
        let lost = LostRecord { from: at(entry.position as usize), to: at(entry.end()) };
        let record = self.parts.mapping.slice(entry.position as usize, entry.end());
        record.filter(|_| self.parts.is_intact(&entry)).ok_or(lost)
    }
}

impl Loaded {
    /// Bytes that were not in memory before, in whole blocks.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.brought.iter().map(|range| range.len() as u64).sum()
    }

    /// Notes what is missing between two positions and begins to read it.
    fn ask_for(&mut self, from: usize, to: usize) {
        for at in (from..to).step_by(BLOCK_BYTES) {
            let end = (at + BLOCK_BYTES).min(to);
            if self.mapping.is_resident(at, end) {
                continue;
            }
            match self.brought.last_mut() {
                Some(last) if last.end == at => last.end = end,
                _ => self.brought.push(at..end),
            }
        }
        for piece in pieces(from..to) {
            if let Err(error) = self.mapping.read_ahead(piece.start, piece.end) {
                // It is read piece by piece as it is asked for.
                tracing::debug!(%error, "cannot read a segment ahead");
                return;
            }
        }
    }
}

/// What the system is told at once.
fn pieces(range: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let end = range.end;
    range.step_by(ADVICE_BYTES_MAX).map(move |at| at..(at + ADVICE_BYTES_MAX).min(end))
}

impl Drop for Loaded {
    fn drop(&mut self) {
        for range in self.brought.iter().cloned().flat_map(pieces) {
            if let Err(error) = self.mapping.page_out(range.start, range.end) {
                // The system takes the memory when it needs some.
                tracing::debug!(%error, "cannot give memory back");
                return;
            }
        }
    }
}
