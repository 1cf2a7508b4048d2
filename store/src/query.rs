//! Finding messages otherwise than by queue and offset: by time, by key, by log offset.
//!
//! Owns the edges of search by time and the confirmation of key matches on the records.

use std::sync::Arc;

use bytes::Bytes;
use strata_protocol::properties::{IndexTerms, KEY_SEPARATOR};
use strata_protocol::record::RecordView;

use crate::keys::{KeyHasher, KeyKind};
use crate::limits::{BLOCK_BYTES, KEY_CANDIDATES_MAX, QUERY_MESSAGES_MAX};
use crate::locate::{Located, Source};
use crate::sealed::Sealed;
use crate::segment::{to_length, to_offset};
use crate::store::{Shared, Store};

/// Which end of several messages a time means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Boundary {
    /// The first message stored at the time or later.
    Lower,
    /// The last message stored at the time or earlier.
    Upper,
}

/// A question by key.
#[derive(Debug, Clone, Copy)]
struct KeyQuery<'a> {
    topic: &'a str,
    key: &'a str,
    kind: KeyKind,
    begin_ms: i64,
    end_ms: i64,
}

impl Store {
    /// The offset that a time means in a queue; 0 for a queue that was never written.
    ///
    /// Lower: the first offset whose message was stored at `timestamp_ms` or later, the next offset
    /// when all are earlier. Upper: the last offset whose message was stored at `timestamp_ms` or
    /// earlier, the first offset when all are later. Exact when many messages share a millisecond
    /// (`ConsumeQueue.getOffsetInQueueByTime`, whose result is brought into the queue's range). While a
    /// segment that decides cannot be opened the answer may be too low, never too high: who starts
    /// there gets messages twice instead of missing some.
    ///
    /// It speaks of the messages that are kept here. Where older ones were copied elsewhere, an answer that is the
    /// queue's first offset here may lie below it there: Lower when the first message here was stored at `timestamp_ms`
    /// or later, Upper when it was stored later ([`Store::earliest_store_time`]). All other answers are final, since
    /// store times never go back.
    #[must_use]
    pub fn offset_by_time(&self, topic: &str, queue_id: i32, timestamp_ms: i64, boundary: Boundary) -> i64 {
        let shared = &self.shared;
        let Some(range) = shared.bounds(topic, queue_id) else { return 0 };
        let (mut low, mut high) = (range.min, range.max);
        // The first offset whose time is at or above (Lower), or above (Upper) the timestamp.
        while low < high {
            let middle = low + (high - low) / 2;
            let before = match shared.time_from(topic, queue_id, middle, range.max) {
                Some(time) if boundary == Boundary::Lower => time < timestamp_ms,
                Some(time) => time <= timestamp_ms,
                // Nothing is known of it, so it may be later.
                None => false,
            };
            if before {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        match boundary {
            Boundary::Lower => low,
            Boundary::Upper => (low - 1).max(range.min),
        }
    }

    /// When the message at an offset was stored, ms since 1970; `None` when there is none here: it was deleted, lost,
    /// not visible yet, or its segment cannot be opened now. Of a lost one whose segment is here a time near its own.
    #[must_use]
    pub fn store_time(&self, topic: &str, queue_id: i32, offset: i64) -> Option<i64> {
        let range = self.shared.bounds(topic, queue_id)?;
        let inside = (range.min..range.max).contains(&offset);
        inside.then(|| self.shared.time_at(topic, queue_id, offset, range.max)).flatten()
    }

    /// When the first message kept in a queue was stored; `None` when none is kept here or it cannot be told now.
    #[must_use]
    pub fn earliest_store_time(&self, topic: &str, queue_id: i32) -> Option<i64> {
        let range = self.shared.bounds(topic, queue_id)?;
        self.store_time(topic, queue_id, range.min)
    }

    /// When the first record kept in the log was stored, one in no queue or of a deleted topic included; `None` for a
    /// log that holds none. Segments that cannot be opened now are passed over, so it may be too late then.
    #[must_use]
    pub fn earliest_log_time(&self) -> Option<i64> {
        let (sealed, live) = {
            let head = self.shared.head.lock();
            let frozen = head.frozen.iter().find_map(|frozen| frozen.index.first_time);
            (Arc::clone(&head.sealed), frozen.or(head.index.first_time))
        };
        let times = sealed.iter().filter_map(|segment| self.shared.parts(segment).ok());
        let mut times = times.map(|parts| parts.sidecar.facts().first_time);
        times.find(|time| *time >= 0).or(live)
    }

    /// The record at a log offset, `None` when none begins there, or it is not visible, damaged,
    /// deleted, or its topic was. What lies below [`Store::log_range`] is not asked for here at all.
    #[must_use]
    pub fn record_at(&self, physical_offset: i64) -> Option<Bytes> {
        let source = self.shared.source_at(physical_offset)?;
        let position = to_length(physical_offset - source.first());
        self.shared.record_in(&source, position)
    }

    /// The messages that carry a key, newest first as RocketMQ answers. Each is confirmed on its
    /// properties, so equal hashes of other keys give nothing. `begin_ms` and `end_ms` bound the
    /// store time, both included; at most [`QUERY_MESSAGES_MAX`] messages are given. They are
    /// the newest of those kept here; where fewer than `max` are, older ones may have been copied elsewhere, all of
    /// them below [`Store::log_range`] as it was before.
    #[must_use]
    #[allow(clippy::too_many_arguments, reason = "key, time range and count are one question")]
    pub fn query_by_key(
        &self,
        topic: &str,
        key: &str,
        begin_ms: i64,
        end_ms: i64,
        max: usize,
        kind: KeyKind,
    ) -> Vec<Bytes> {
        let query = KeyQuery { topic, key, kind, begin_ms, end_ms };
        Search::of(query, max).run(&self.shared).found
    }

    /// All messages of a topic with one unique key, newest first. `None` when they are not known to be all: there are
    /// [`QUERY_MESSAGES_MAX`], or a segment or a message that may be one of them cannot be read.
    #[must_use]
    pub fn all_with_unique_key(&self, topic: &str, key: &str) -> Option<Vec<Bytes>> {
        let query = KeyQuery { topic, key, kind: KeyKind::UniqueKey, begin_ms: i64::MIN, end_ms: i64::MAX };
        let search = Search::of(query, QUERY_MESSAGES_MAX).run(&self.shared);
        search.is_whole.then_some(search.found)
    }
}

/// A key query under way.
struct Search<'a> {
    query: KeyQuery<'a>,
    hash: u32,
    max: usize,
    found: Vec<Bytes>,
    /// Whether everything that may be asked for was looked at.
    is_whole: bool,
}

/// A segment and the positions in it that may answer.
type Candidates = (Source, Vec<u32>);

impl Shared {
    /// The store time of the message at `offset`, below `max`.
    fn time_at(&self, topic: &str, queue_id: i32, offset: i64, max: i64) -> Option<i64> {
        match self.locate(topic, queue_id, offset, max.min(offset + 1)) {
            Located::Chunk(chunk) => chunk.entries.first().map(|entry| chunk.store_time(entry)),
            Located::Gap(_) | Located::Unavailable(..) => None,
        }
    }

    /// The store time of the first message at `offset` or, when that one was deleted or lost with its
    /// segment, behind it; `None` when there is none or it cannot be read now.
    fn time_from(&self, topic: &str, queue_id: i32, offset: i64, max: i64) -> Option<i64> {
        if let Some(time) = self.time_at(topic, queue_id, offset, max) {
            return Some(time);
        }
        match self.locate(topic, queue_id, offset, max) {
            Located::Gap(gap) if gap.next < max => self.time_at(topic, queue_id, gap.next, max),
            Located::Chunk(_) | Located::Gap(_) | Located::Unavailable(..) => None,
        }
    }

    /// The segment that holds a log offset; `None` too when no record could be read there.
    fn source_at(&self, physical_offset: i64) -> Option<Source> {
        let segment = {
            let head = self.head.lock();
            let frozen = head.frozen.iter().map(|frozen| (&frozen.segment, &frozen.index));
            let mut live = frozen.chain([(&head.active, &head.index)]);
            if let Some((segment, index)) = live.find(|(s, _)| (s.first..s.end()).contains(&physical_offset)) {
                let position = to_length(physical_offset - segment.first);
                return (!index.is_damaged_at(position)).then(|| Source::Live(Arc::clone(segment)));
            }
            let at = head.sealed.partition_point(|sealed| sealed.end <= physical_offset);
            head.sealed.get(at).filter(|sealed| sealed.first <= physical_offset).map(Arc::clone)?
        };
        let parts = self.parts(&segment).ok()?;
        let position = to_length(physical_offset - parts.first) as u64;
        let damaged = parts.sidecar.damage().any(|(from, to)| (from..to).contains(&position));
        (!damaged).then_some(Source::Sealed(parts))
    }

    /// The whole, visible record at `position`.
    fn record_in(&self, source: &Source, position: usize) -> Option<Bytes> {
        let mapping = source.mapping();
        let committed = mapping.committed();
        let record = RecordView::parse(mapping.slice(position.min(committed), committed)?).ok()?;
        let physical_offset = source.first() + to_offset(position);
        let end = position + record.bytes().len();
        let here = record.physical_offset() == physical_offset
            && source.first() + to_offset(end) <= self.visible()
            && physical_offset >= self.head.lock().tombstones.of(record.topic())
            && record.check_body().is_ok()
            && is_as_sealed(source, &record, position);
        here.then(|| source.bytes(position, end)).flatten()
    }

    /// Candidates in segments whose index is in memory, newest first, and the sealed segments.
    fn live_candidates(&self, search: &mut Search<'_>) -> (Vec<Candidates>, Arc<Vec<Arc<Sealed>>>) {
        let head = self.head.lock();
        let mut live = Vec::new();
        let older = head.frozen.iter().rev().map(|frozen| (&frozen.segment, &frozen.index));
        for (segment, index) in std::iter::once((&head.active, &head.index)).chain(older) {
            let mut positions = Vec::new();
            index.keys.find(search.hash, &mut positions, KEY_CANDIDATES_MAX);
            live.push((Source::Live(Arc::clone(segment)), positions));
        }
        (live, Arc::clone(&head.sealed))
    }
}

/// Whether the record at `position` is as it was sealed. In a bad block its own checksum, which the entry
/// of its queue has, decides; a record in no queue has none, so a bad block takes it along.
fn is_as_sealed(source: &Source, record: &RecordView<'_>, position: usize) -> bool {
    let Source::Sealed(parts) = source else { return true };
    let end = position + record.bytes().len();
    if (position / BLOCK_BYTES..=(end - 1) / BLOCK_BYTES).all(|block| parts.is_block_good(block)) {
        return true;
    }
    let row = parts.sidecar.queue(record.topic(), record.queue_id());
    let entry = row.and_then(|row| parts.sidecar.entry(&row, record.queue_offset()));
    entry.is_some_and(|sealed| {
        let same = sealed.position as usize == position && sealed.end() == end;
        same && parts.is_intact(&sealed)
    })
}

impl<'a> Search<'a> {
    fn of(query: KeyQuery<'a>, max: usize) -> Self {
        let hash = KeyHasher::of(query.topic).hash(query.key, query.kind);
        Self { query, hash, max: max.min(QUERY_MESSAGES_MAX), found: Vec::new(), is_whole: true }
    }

    fn run(mut self, shared: &Shared) -> Self {
        let (live, sealed) = shared.live_candidates(&mut self);
        for (source, positions) in live {
            self.confirm(shared, &source, &positions);
        }
        for segment in sealed.iter().rev() {
            if self.found.len() >= self.max {
                break;
            }
            self.in_sealed(shared, segment);
        }
        self.is_whole &= self.found.len() < self.max;
        self
    }

    fn in_sealed(&mut self, shared: &Shared, segment: &Arc<Sealed>) {
        let Ok(parts) = shared.parts(segment) else {
            self.is_whole = false;
            return;
        };
        let facts = parts.sidecar.facts();
        if facts.first_time > self.query.end_ms || facts.last_time < self.query.begin_ms {
            return;
        }
        let mut positions = Vec::new();
        parts.sidecar.find_key(self.hash, &mut positions, KEY_CANDIDATES_MAX);
        if !positions.is_empty() {
            self.confirm(shared, &Source::Sealed(parts), &positions);
        }
    }

    /// Adds the records among `positions` that really carry the key.
    fn confirm(&mut self, shared: &Shared, source: &Source, positions: &[u32]) {
        self.is_whole &= positions.len() < KEY_CANDIDATES_MAX;
        let mut before = None;
        for position in positions {
            if self.found.len() >= self.max {
                return;
            }
            // A message may list the same key twice.
            if before.replace(*position) == Some(*position) {
                continue;
            }
            let record = shared.record_in(source, *position as usize);
            self.is_whole &= record.is_some();
            self.found.extend(record.filter(|bytes| self.matches(bytes)));
        }
    }

    fn matches(&self, bytes: &[u8]) -> bool {
        let Ok(record) = RecordView::parse(bytes) else { return false };
        let time = record.store_timestamp();
        let query = &self.query;
        if record.topic() != query.topic || time < query.begin_ms || time > query.end_ms {
            return false;
        }
        let terms = IndexTerms::of(record.properties());
        match query.kind {
            KeyKind::UniqueKey => terms.unique_key == Some(query.key),
            KeyKind::Key => terms.keys.is_some_and(|keys| keys.split(KEY_SEPARATOR).any(|key| key == query.key)),
        }
    }
}
