//! Finding where a queue's messages lie: in the active segment, a full one, or a sealed one.
//!
//! Owns the search. Readers get entries in chunks; nothing is held while they look at them.

use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::head::{Frozen, Head};
use crate::index::{Entry, SegmentIndex};
use crate::limits::{BLOCK_BYTES, READ_CHUNK_ENTRIES};
use crate::mapping::Mapping;
use crate::sealed::{Parts, Sealed};
use crate::segment::{Segment, to_length, to_offset};
use crate::sidecar::Row;
use crate::store::{QueueRange, Shared};

mod halving;

/// Bytes of a record's head, up to the length of its body.
const HEAD_BYTES: usize = 88;

/// Bytes at a record's end that mostly hold what is asked of its properties; more of them cost more than they save.
const PROPERTIES_BYTES: usize = 256;

/// Whose bytes entries point into.
#[derive(Debug)]
pub(crate) enum Source {
    /// A segment whose index is in memory.
    Live(Arc<Segment>),
    /// A segment with a sidecar.
    Sealed(Arc<Parts>),
}

/// Consecutive messages of one queue within one segment.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) source: Source,
    /// Store time of the segment's first record.
    pub(crate) first_time: i64,
    pub(crate) entries: SmallVec<[Entry; READ_CHUNK_ENTRIES]>,
    /// The queue in a sealed segment's index.
    row: Option<Row>,
}

/// What stands at an offset.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "one lives on the stack; a box would allocate per read")]
pub(crate) enum Located {
    /// Messages from the offset on.
    Chunk(Chunk),
    /// Nothing before another offset.
    Gap(Gap),
    /// Segments that may hold it cannot be opened now: log offsets from, to.
    Unavailable(i64, i64),
}

/// Offsets of a queue that no segment holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gap {
    /// The next offset that one may hold.
    pub(crate) next: i64,
    /// Log offset of the segment that holds it; what is missing lay before.
    pub(crate) before: i64,
}

impl Source {
    /// Log offset of the segment's first byte.
    pub(crate) fn first(&self) -> i64 {
        match self {
            Self::Live(segment) => segment.first,
            Self::Sealed(parts) => parts.first,
        }
    }

    pub(crate) fn mapping(&self) -> &Arc<Mapping> {
        match self {
            Self::Live(segment) => &segment.mapping,
            Self::Sealed(parts) => &parts.mapping,
        }
    }

    /// Whether the entry's record can be given out.
    pub(crate) fn is_intact(&self, entry: &Entry) -> bool {
        match self {
            Self::Live(_) => !entry.is_damaged(),
            Self::Sealed(parts) => parts.is_intact(entry),
        }
    }

    /// Whether giving the entry's record out does not wait for the disk. A sealed one is checked by whole
    /// blocks.
    pub(crate) fn is_resident(&self, entry: &Entry) -> bool {
        self.is_in_memory(entry.position as usize, entry.end())
    }

    /// The same of all that lies between two positions.
    pub(crate) fn is_in_memory(&self, from: usize, to: usize) -> bool {
        match self {
            Self::Live(segment) => segment.mapping.is_resident(from, to),
            Self::Sealed(parts) => {
                let end = to.next_multiple_of(BLOCK_BYTES).min(parts.mapping.committed());
                parts.mapping.is_resident(from / BLOCK_BYTES * BLOCK_BYTES, end)
            }
        }
    }

    /// Begins to fetch from memory what a filter looks at: the record's head and its end, where its properties are.
    pub(crate) fn fetch(&self, entry: &Entry) {
        let (from, to) = (entry.position as usize, entry.end());
        let mapping = self.mapping();
        mapping.prefetch(from, to.min(from + HEAD_BYTES));
        mapping.prefetch(from.max(to.saturating_sub(PROPERTIES_BYTES)), to);
    }

    /// The entry's record.
    pub(crate) fn slice(&self, entry: &Entry) -> Option<&[u8]> {
        self.mapping().slice(entry.position as usize, entry.end())
    }

    pub(crate) fn bytes(&self, from: usize, to: usize) -> Option<Bytes> {
        self.mapping().bytes(from, to)
    }
}

/// Entries of a sealed segment from `offset` on, below `limit` and at most a chunk.
fn sealed_entries(parts: &Parts, row: &Row, offset: i64, limit: i64) -> SmallVec<[Entry; READ_CHUNK_ENTRIES]> {
    let last = row.next().min(limit).min(offset + to_offset(READ_CHUNK_ENTRIES));
    (offset..last).map_while(|offset| parts.sidecar.entry(row, offset)).collect()
}

impl Chunk {
    /// Takes the next entries of the same sealed segment, from `offset` on and below `limit`, without searching for
    /// them again; `false` when it has none there.
    pub(crate) fn go_on(&mut self, offset: i64, limit: i64) -> bool {
        let (Source::Sealed(parts), Some(row)) = (&self.source, &self.row) else { return false };
        let entries = sealed_entries(parts, row, offset, limit);
        let found = !entries.is_empty();
        self.entries = entries;
        found
    }

    /// The store time of an entry: from the index if it fits there, else from the record.
    pub(crate) fn store_time(&self, entry: &Entry) -> i64 {
        entry.store_time(self.first_time).unwrap_or_else(|| {
            let record = self.source.slice(entry).map(strata_protocol::record::RecordView::parse);
            record.and_then(Result::ok).map_or(self.first_time, |record| record.store_timestamp())
        })
    }
}

impl Shared {
    /// The offsets of a queue that readers may see. While the segment that says the lowest one cannot
    /// be opened, `min` is what was known last: it may be too low, so nobody skips what is there.
    pub(crate) fn bounds(&self, topic: &str, queue_id: i32) -> Option<QueueRange> {
        let (max, known, trims, sealed, live, tombstone) = {
            let head = self.head.lock();
            let number = head.catalog.find(topic, queue_id)?;
            let queue = head.catalog.queue(number);
            let max = self.visible_next(&head, number);
            let known = queue.min;
            let tombstone = head.tombstones.of(topic);
            let live = first_live(&head, number);
            (max, known, head.trims, Arc::clone(&head.sealed), live, tombstone)
        };
        if let Some((_, min)) = known.filter(|(then, _)| *then == trims) {
            return Some(QueueRange { min: min.min(max), max });
        }
        let key = QueueKey { topic, queue_id, tombstone };
        let Some(min) = self.first_kept(&sealed, &key, live) else {
            return Some(QueueRange { min: known.map_or(0, |(_, min)| min).min(max), max });
        };
        let mut head = self.head.lock();
        // The topic may have been forgotten meanwhile; its number then belongs to nobody or to another.
        if head.trims == trims
            && head.tombstones.of(topic) == tombstone
            && let Some(number) = head.catalog.find(topic, queue_id)
        {
            head.catalog.queue_mut(number).min = Some((trims, min));
        }
        Some(QueueRange { min: min.min(max), max })
    }

    /// The queue's lowest offset: the first sealed segment that knows the queue says it, else it is
    /// `live`. `None` while that segment cannot be opened.
    fn first_kept(&self, sealed: &[Arc<Sealed>], key: &QueueKey<'_>, live: i64) -> Option<i64> {
        let place = self.first_where(sealed, |parts| key.row(parts).is_some());
        let row = place.parts.as_ref().and_then(|parts| key.row(parts));
        let min = row.map_or(live, |row| row.base);
        // Nothing lies below 0, whatever an older segment says.
        (min == 0 || place.unsure(sealed).is_none()).then_some(min)
    }

    /// The offset behind the last message that readers may see.
    pub(crate) fn visible_next(&self, head: &Head, number: u32) -> i64 {
        let next = head.catalog.queue(number).next;
        let visible = self.visible();
        if visible >= head.log_end() {
            return next;
        }
        let frozen = head.frozen.iter().rev();
        let older = frozen.map(|frozen| (&frozen.segment, &frozen.index));
        let mut lowest = next;
        for (segment, index) in std::iter::once((&head.active, &head.index)).chain(older) {
            let Some(run) = index.run(number) else { continue };
            let limit = to_length(visible - segment.first);
            let seen = run.entries.partition_point(|entry| entry.end() <= limit);
            if seen > 0 {
                return run.base + to_offset(seen);
            }
            lowest = run.base;
        }
        lowest
    }

    /// The messages of a queue from `offset` on, at most up to `limit` and at most a chunk.
    pub(crate) fn locate(&self, topic: &str, queue_id: i32, offset: i64, limit: i64) -> Located {
        loop {
            let located = self.locate_once(topic, queue_id, offset, limit);
            // What was deleted between listing and opening is not in the next list.
            let deleted = matches!(located, Located::Unavailable(from, _) if from < self.head.lock().log_start());
            if !deleted {
                return located;
            }
        }
    }

    fn locate_once(&self, topic: &str, queue_id: i32, offset: i64, limit: i64) -> Located {
        let wanted = to_length(limit - offset).min(READ_CHUNK_ENTRIES);
        let (sealed, tombstone, above) = {
            let head = self.head.lock();
            let Some(number) = head.catalog.find(topic, queue_id) else {
                return Located::Gap(Gap { next: limit, before: i64::MAX });
            };
            let mut above = Gap { next: limit, before: i64::MAX };
            if let Some(run) = head.index.run(number) {
                if offset >= run.base {
                    let segment = Source::Live(Arc::clone(&head.active));
                    return live(segment, &head.index, run.from(offset), wanted);
                }
                above = above.lower(run.base, head.active.first);
            }
            for frozen in head.frozen.iter().rev() {
                let Some(run) = frozen.index.run(number) else { continue };
                if offset >= run.base {
                    let frozen = Arc::clone(frozen);
                    drop(head);
                    return in_frozen(&frozen, number, offset, wanted);
                }
                above = above.lower(run.base, frozen.segment.first);
            }
            (Arc::clone(&head.sealed), head.tombstones.of(topic), above)
        };
        let key = QueueKey { topic, queue_id, tombstone };
        self.locate_sealed(&sealed, &key, offset, (above, wanted))
    }

    fn locate_sealed(
        &self,
        sealed: &[Arc<Sealed>],
        key: &QueueKey<'_>,
        offset: i64,
        (above, wanted): (Gap, usize),
    ) -> Located {
        let place = self.first_where(sealed, |parts| key.row(parts).is_some_and(|row| row.next() > offset));
        let unsure = place.unsure(sealed);
        let held = place.parts.and_then(|parts| key.row(&parts).map(|row| (parts, row)));
        let (parts, row) = match (held, unsure) {
            // A segment whose messages begin at or before the offset holds it, whatever the others say.
            (Some((parts, row)), _) if row.base <= offset => (parts, row),
            (_, Some((from, to))) => return Located::Unavailable(from, to),
            (Some((parts, row)), None) => return Located::Gap(above.lower(row.base, parts.first)),
            (None, None) => return Located::Gap(above),
        };
        let entries = sealed_entries(&parts, &row, offset, offset + to_offset(wanted));
        if entries.is_empty() {
            return Located::Unavailable(parts.first, parts.sidecar.facts().end);
        }
        let first_time = parts.sidecar.facts().first_time;
        Located::Chunk(Chunk { source: Source::Sealed(parts), first_time, entries, row: Some(row) })
    }
}

/// A queue as sealed segments are asked for it.
struct QueueKey<'a> {
    topic: &'a str,
    queue_id: i32,
    /// Segments that end at or before this log offset know an older topic of the name.
    tombstone: i64,
}

impl QueueKey<'_> {
    /// The queue's row in a sealed segment that knows it.
    fn row(&self, parts: &Parts) -> Option<Row> {
        let row = parts.sidecar.queue(self.topic, self.queue_id);
        row.filter(|_| parts.sidecar.facts().end > self.tombstone)
    }
}

impl Gap {
    /// The same, ended by messages from `next` on in the segment at `first`.
    fn lower(self, next: i64, first: i64) -> Self {
        if next < self.next { Self { next, before: first } } else { self }
    }
}

/// The queue's lowest offset in segments whose index is in memory; its next one without messages.
pub(crate) fn first_live(head: &Head, number: u32) -> i64 {
    let frozen = head.frozen.iter().find_map(|frozen| frozen.index.run(number));
    let first = frozen.or_else(|| head.index.run(number)).map(|run| run.base);
    first.unwrap_or(head.catalog.queue(number).next)
}

fn in_frozen(frozen: &Frozen, number: u32, offset: i64, wanted: usize) -> Located {
    let entries = frozen.index.run(number).map_or(&[][..], |run| run.from(offset));
    if entries.is_empty() {
        // The offset lies between this run and the next one, where no message can be.
        return Located::Unavailable(frozen.segment.first, frozen.segment.end());
    }
    live(Source::Live(Arc::clone(&frozen.segment)), &frozen.index, entries, wanted)
}

/// Copies entries of a segment whose index is in memory; their records need no checksum.
fn live(source: Source, index: &SegmentIndex, entries: &[Entry], wanted: usize) -> Located {
    let entries: SmallVec<_> = entries.iter().take(wanted).copied().collect();
    if entries.is_empty() {
        return Located::Gap(Gap { next: i64::MAX, before: i64::MAX });
    }
    Located::Chunk(Chunk { source, first_time: index.first_time.unwrap_or(0), entries, row: None })
}
