//! Finding where a queue's messages lie: in the active segment, a full one, or a sealed one.
//!
//! Owns the search. Readers get entries in chunks; nothing is held while they look at them.

use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::head::{Frozen, Head};
use crate::index::{Entry, SegmentIndex};
use crate::limits::READ_CHUNK_ENTRIES;
use crate::mapping::Mapping;
use crate::sealed::{Parts, Sealed};
use crate::segment::{Segment, to_length, to_offset};
use crate::sidecar::SealedEntry;
use crate::store::{QueueRange, Shared};

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
    pub(crate) entries: SmallVec<[SealedEntry; READ_CHUNK_ENTRIES]>,
}

/// What stands at an offset.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "one lives on the stack; a box would allocate per read")]
pub(crate) enum Located {
    /// Messages from the offset on.
    Chunk(Chunk),
    /// Nothing before this offset.
    Gap(i64),
    /// The segment that should hold it cannot be opened: log offsets from, to.
    Unreadable(i64, i64),
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
    pub(crate) fn is_intact(&self, sealed: &SealedEntry) -> bool {
        match self {
            Self::Live(_) => !sealed.entry.is_damaged(),
            Self::Sealed(parts) => parts.is_intact(sealed),
        }
    }

    /// The entry's record.
    pub(crate) fn slice(&self, entry: &Entry) -> Option<&[u8]> {
        self.mapping().slice(entry.position as usize, entry.end())
    }

    pub(crate) fn bytes(&self, from: usize, to: usize) -> Option<Bytes> {
        self.mapping().bytes(from, to)
    }
}

impl Chunk {
    /// The store time of an entry: from the index if it fits there, else from the record.
    pub(crate) fn store_time(&self, entry: &Entry) -> i64 {
        entry.store_time(self.first_time).unwrap_or_else(|| {
            let record = self.source.slice(entry).map(strata_protocol::record::RecordView::parse);
            record.and_then(Result::ok).map_or(self.first_time, |record| record.store_timestamp())
        })
    }
}

impl Shared {
    /// The offsets of a queue that readers may see.
    pub(crate) fn bounds(&self, topic: &str, queue_id: i32) -> Option<QueueRange> {
        let (max, min, trims, sealed, live, tombstone) = {
            let head = self.head.lock();
            let number = head.catalog.find(topic, queue_id)?;
            let queue = head.catalog.queue(number);
            let max = self.visible_next(&head, number);
            let min = queue.min.filter(|(trims, _)| *trims == head.trims).map(|(_, min)| min);
            let tombstone = head.tombstones.of(topic);
            let live = first_live(&head, number);
            (max, min, head.trims, Arc::clone(&head.sealed), live, tombstone)
        };
        if let Some(min) = min {
            return Some(QueueRange { min: min.min(max), max });
        }
        let key = QueueKey { topic, queue_id, tombstone };
        let min = self.first_kept(&sealed, &key).unwrap_or(live);
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

    /// The queue's lowest offset in sealed segments; they are ordered, so the first that knows the
    /// queue says it.
    fn first_kept(&self, sealed: &[Arc<Sealed>], key: &QueueKey<'_>) -> Option<i64> {
        let knows = |segment: &Arc<Sealed>| {
            let parts = self.parts(segment).ok()?;
            parts.sidecar.queue(key.topic, key.queue_id).filter(|_| segment.end > key.tombstone)
        };
        let at = sealed.partition_point(|segment| knows(segment).is_none());
        sealed.get(at).and_then(knows).map(|row| row.base)
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
        let wanted = to_length(limit - offset).min(READ_CHUNK_ENTRIES);
        let (sealed, tombstone, above) = {
            let head = self.head.lock();
            let Some(number) = head.catalog.find(topic, queue_id) else {
                return Located::Gap(limit);
            };
            let mut above = limit;
            if let Some(run) = head.index.run(number) {
                if offset >= run.base {
                    let segment = Source::Live(Arc::clone(&head.active));
                    return live(segment, &head.index, run.from(offset), wanted);
                }
                above = above.min(run.base);
            }
            for frozen in head.frozen.iter().rev() {
                let Some(run) = frozen.index.run(number) else { continue };
                if offset >= run.base {
                    let frozen = Arc::clone(frozen);
                    drop(head);
                    return in_frozen(&frozen, number, offset, wanted);
                }
                above = above.min(run.base);
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
        (above, wanted): (i64, usize),
    ) -> Located {
        // A segment that cannot be opened counts as holding the offset: an error, not silence.
        let ends_before = |segment: &Arc<Sealed>| match self.parts(segment) {
            Ok(parts) => parts
                .sidecar
                .queue(key.topic, key.queue_id)
                .filter(|_| segment.end > key.tombstone)
                .is_none_or(|row| row.next() <= offset),
            Err(_) => false,
        };
        let at = sealed.partition_point(ends_before);
        let Some(segment) = sealed.get(at) else { return Located::Gap(above) };
        let Ok(parts) = self.parts(segment) else {
            return Located::Unreadable(segment.first, segment.end);
        };
        let Some(row) = parts.sidecar.queue(key.topic, key.queue_id) else {
            return Located::Gap(above);
        };
        if offset < row.base {
            return Located::Gap(row.base);
        }
        let last = row.next().min(offset + to_offset(wanted));
        let entries: SmallVec<_> = (offset..last).map_while(|offset| parts.sidecar.entry(&row, offset)).collect();
        if entries.is_empty() {
            return Located::Unreadable(segment.first, segment.end);
        }
        let first_time = parts.sidecar.facts().first_time;
        Located::Chunk(Chunk { source: Source::Sealed(parts), first_time, entries })
    }
}

/// A queue as sealed segments are asked for it.
struct QueueKey<'a> {
    topic: &'a str,
    queue_id: i32,
    /// Segments that end at or before this log offset know an older topic of the name.
    tombstone: i64,
}

/// The queue's lowest offset in segments whose index is in memory; its next one without messages.
fn first_live(head: &Head, number: u32) -> i64 {
    let frozen = head.frozen.iter().find_map(|frozen| frozen.index.run(number));
    let first = frozen.or_else(|| head.index.run(number)).map(|run| run.base);
    first.unwrap_or(head.catalog.queue(number).next)
}

fn in_frozen(frozen: &Frozen, number: u32, offset: i64, wanted: usize) -> Located {
    let entries = frozen.index.run(number).map_or(&[][..], |run| run.from(offset));
    if entries.is_empty() {
        // The offset lies between this run and the next one, where no message can be.
        return Located::Unreadable(frozen.segment.first, frozen.segment.end());
    }
    live(Source::Live(Arc::clone(&frozen.segment)), &frozen.index, entries, wanted)
}

/// Copies entries of a segment whose index is in memory; their records need no checksum.
fn live(source: Source, index: &SegmentIndex, entries: &[Entry], wanted: usize) -> Located {
    let entries = entries.iter().take(wanted).map(|entry| SealedEntry { entry: *entry, crc: 0 });
    let entries: SmallVec<_> = entries.collect();
    if entries.is_empty() {
        return Located::Gap(i64::MAX);
    }
    Located::Chunk(Chunk { source, first_time: index.first_time.unwrap_or(0), entries })
}
