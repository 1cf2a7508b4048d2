//! Sealed segments of the log, as the tier rolls them.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};

use strata_store::{SealedCopy, Store};
use strata_tiering::roll::{Part, Source, SourceError, Walker};

/// Records that are shown to find often-used properties.
const SAMPLE_RECORDS: usize = 2_048;

/// Neighbouring sealed segments.
pub(super) struct Segments<'a> {
    copies: Vec<SealedCopy>,
    part: Part,
    /// Bytes of records that were walked over so far, for those who watch.
    walked: &'a AtomicU64,
}

impl<'a> Segments<'a> {
    /// Takes the segments that begin at the log offsets, oldest first.
    pub(super) fn open(store: &Store, begins: &[i64], from: u64, walked: &'a AtomicU64) -> Result<Self, SourceError> {
        let mut copies = Vec::with_capacity(begins.len());
        for begin in begins {
            let failed = |error: strata_store::UpkeepError| SourceError {
                from: offset(*begin),
                to: offset(*begin),
                reason: error.to_string(),
            };
            copies.push(store.sealed_copy(*begin).map_err(failed)?);
        }
        let to = copies.last().map_or(from, |copy| offset(copy.range().to));
        let first_time = copies.iter().find_map(SealedCopy::first_time).unwrap_or(0);
        let last_time = copies.iter().rev().find_map(SealedCopy::last_time).unwrap_or(first_time);
        let bytes = copies.iter().map(|copy| offset(copy.range().tail - copy.range().from)).sum();
        Ok(Self { copies, part: Part { from, to, first_time, last_time, bytes }, walked })
    }

    /// Every queue with its messages in each segment, and where it stands when the last one ends.
    fn queues(&self) -> BTreeMap<(Vec<u8>, i32), Vec<Piece>> {
        let mut queues: BTreeMap<(Vec<u8>, i32), Vec<Piece>> = BTreeMap::new();
        for (copy, segment) in self.copies.iter().enumerate() {
            segment.for_each_queue(|topic, queue_id, base, count| {
                let pieces = queues.entry((topic.as_bytes().to_vec(), queue_id)).or_default();
                // A queue without messages here says where it stands; of several such the last one counts.
                pieces.retain(|piece| piece.count > 0);
                pieces.push(Piece { copy, base, count });
            });
        }
        queues
    }
}

/// A queue's messages in one segment.
#[derive(Debug, Clone, Copy)]
struct Piece {
    copy: usize,
    base: i64,
    count: u32,
}

/// Log offsets are never negative.
fn offset(offset: i64) -> u64 {
    u64::try_from(offset).unwrap_or(0)
}

impl Source for Segments<'_> {
    fn part(&self) -> Part {
        self.part
    }

    fn sample(&self, each: &mut dyn FnMut(&[u8])) {
        let queues = self.queues();
        let total: u64 = queues.values().flatten().map(|piece| u64::from(piece.count)).sum();
        let step = (total / SAMPLE_RECORDS as u64).max(1);
        let mut skip = 0;
        for ((topic, queue_id), pieces) in &queues {
            let Ok(topic) = std::str::from_utf8(topic) else { continue };
            for piece in pieces {
                let count = u64::from(piece.count);
                let Some(copy) = self.copies.get(piece.copy).filter(|_| skip < count) else {
                    skip = skip.saturating_sub(count);
                    continue;
                };
                let at = usize::try_from(skip).unwrap_or(usize::MAX);
                let records = copy.records(topic, *queue_id).skip(at).step_by(usize::try_from(step).unwrap_or(1));
                records.filter_map(|(_, record)| record.ok()).for_each(&mut *each);
                let taken = (count - skip).div_ceil(step);
                skip = skip + taken * step - count;
            }
        }
    }

    fn walk(&self, walker: &mut dyn Walker) -> Result<(), SourceError> {
        self.walked.store(0, Ordering::Relaxed);
        let walker = &mut Watched { walker, walked: self.walked };
        let _loaded: Vec<_> = self.copies.iter().map(|copy| copy.load(copy.range().from, copy.range().to)).collect();
        for ((topic, queue_id), pieces) in self.queues() {
            let Ok(topic) = std::str::from_utf8(&topic) else { continue };
            if walk_queue(&self.copies, (topic, queue_id), &pieces, walker).is_break() {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// A walker whose way can be watched.
struct Watched<'a> {
    walker: &'a mut dyn Walker,
    walked: &'a AtomicU64,
}

impl Walker for Watched<'_> {
    fn queue(&mut self, topic: &str, queue_id: i32, base: i64) -> ControlFlow<()> {
        self.walker.queue(topic, queue_id, base)
    }

    fn record(&mut self, record: &[u8]) -> ControlFlow<()> {
        self.walked.fetch_add(record.len() as u64, Ordering::Relaxed);
        self.walker.record(record)
    }

    fn lost(&mut self, count: u32) -> ControlFlow<()> {
        self.walker.lost(count)
    }
}

fn walk_queue(
    copies: &[SealedCopy],
    (topic, queue_id): (&str, i32),
    pieces: &[Piece],
    walker: &mut dyn Walker,
) -> ControlFlow<()> {
    let Some(first) = pieces.first() else { return ControlFlow::Continue(()) };
    walker.queue(topic, queue_id, first.base)?;
    let mut next = first.base;
    for piece in pieces {
        // What lay between two segments was lost with them.
        pass(&mut next, piece.base, walker)?;
        let Some(copy) = copies.get(piece.copy) else { continue };
        for (offset, record) in copy.records(topic, queue_id) {
            pass(&mut next, offset, walker)?;
            match record {
                Ok(record) => walker.record(record)?,
                Err(_) => walker.lost(1)?,
            }
            next = offset + 1;
        }
    }
    ControlFlow::Continue(())
}

/// Tells the walker that offsets are lost up to one.
fn pass(next: &mut i64, to: i64, walker: &mut dyn Walker) -> ControlFlow<()> {
    while *next < to {
        let count = u32::try_from(to - *next).unwrap_or(u32::MAX);
        walker.lost(count)?;
        *next += i64::from(count);
    }
    ControlFlow::Continue(())
}

/// A stretch of the log that is gone: queues, and where each goes on behind it.
pub(super) struct Missing {
    pub(super) part: Part,
    pub(super) queues: BTreeMap<(Vec<u8>, i32), i64>,
}

impl Source for Missing {
    fn part(&self) -> Part {
        self.part
    }

    fn sample(&self, _each: &mut dyn FnMut(&[u8])) {}

    fn walk(&self, walker: &mut dyn Walker) -> Result<(), SourceError> {
        for ((topic, queue_id), next) in &self.queues {
            let Ok(topic) = std::str::from_utf8(topic) else { continue };
            if walker.queue(topic, *queue_id, *next).is_break() {
                return Ok(());
            }
        }
        Ok(())
    }
}
