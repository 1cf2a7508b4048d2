//! From a queue's offset to the roll that holds it.
//!
//! Owns the indexes of rolls in memory, and the search over them. Each index tells every queue's next offset when the
//! roll ended, so the first one whose next offset is above the asked one holds it.

use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use foyer::{Cache, CacheBuilder};

use super::flights::{Flights, boxed};
use super::{CacheOptions, ColdError, Shared};
use crate::index::{Index, Span};
use crate::limits::{FETCH_BYTES_MAX, GUESSES_MAX, HINTS_MAX, INDEX_BEGIN_BYTES};
use crate::manifest::{Manifest, Roll};

type Made<T> = Result<T, ColdError>;

/// What is known of rolls.
pub(super) struct Places {
    indexes: Cache<Arc<str>, Arc<Index>>,
    reading: Flights<Arc<str>, Made<Arc<Index>>>,
    /// Where a queue was read last: the next read is there too, or one roll on.
    hints: Cache<(u64, i32), u64>,
    hasher: RandomState,
}

impl Places {
    pub(super) fn new(options: &CacheOptions) -> Self {
        let indexes = CacheBuilder::new(options.memory_bytes / 8)
            .with_name("cold-indexes")
            .with_weighter(|_: &Arc<str>, index: &Arc<Index>| index.bytes());
        let hints = CacheBuilder::new(HINTS_MAX).with_name("cold-hints");
        Self { indexes: indexes.build(), reading: Flights::new(), hints: hints.build(), hasher: RandomState::new() }
    }

    pub(super) fn hint_key(&self, (topic, queue_id): (&str, i32)) -> (u64, i32) {
        (self.hasher.hash_one(topic), queue_id)
    }
}

/// A queue's part of one roll.
#[derive(Debug, Clone)]
pub(super) struct Spot {
    pub(super) manifest: Arc<Manifest>,
    /// The roll's place in the manifest.
    pub(super) at: usize,
    pub(super) index: Arc<Index>,
    pub(super) span: Span,
}

impl Spot {
    pub(super) fn roll(&self) -> Option<&Roll> {
        self.manifest.rolls().get(self.at).map(|roll| &**roll)
    }
}

/// The search for the roll of an offset.
struct Search {
    /// The first roll that ends behind the offset is one of these, or the one that was found.
    low: usize,
    high: usize,
    /// Log offsets around it, and the queue's offsets there.
    below: Option<(u64, i64)>,
    above: Option<(u64, i64)>,
    found: Option<Spot>,
}

impl Search {
    /// Takes in what is known of the queue in one roll.
    fn take(&mut self, manifest: &Manifest, at: usize, spot: Option<Spot>, offset: i64) {
        let Some(roll) = manifest.rolls().get(at).filter(|_| (self.low..self.high).contains(&at)) else { return };
        match spot {
            Some(spot) if spot.span.next > offset => {
                // Queues go on where they ended in the roll before, so one that begins at or before it is the first.
                let is_here = spot.span.base <= offset;
                self.high = if is_here { self.low } else { at };
                self.above = Some((roll.from, spot.span.base));
                self.found = Some(spot);
            }
            Some(spot) => {
                self.low = at + 1;
                self.below = Some((roll.to, spot.span.next));
            }
            // A queue that was not known yet began later.
            None => {
                self.low = at + 1;
                self.below = Some((roll.to, 0));
            }
        }
    }

    const fn middle(&self) -> usize {
        self.low + (self.high - self.low) / 2
    }

    /// Where it lies if the queue grew as the log did.
    fn guess(&self, manifest: &Manifest, offset: i64) -> usize {
        let (Some((from, base)), Some((to, next))) = (self.below, self.above) else { return self.middle() };
        let wide = |number: i64| u128::try_from(number).unwrap_or(0);
        let (part, all) = (wide(offset.saturating_sub(base)), wide(next.saturating_sub(base)).max(1));
        let log_bytes = u128::from(to.saturating_sub(from));
        let place = from.saturating_add(u64::try_from(log_bytes * part.min(all) / all).unwrap_or(u64::MAX));
        manifest.rolls().partition_point(|roll| roll.to <= place).clamp(self.low, self.high - 1)
    }
}

/// How much of an index is fetched as one.
fn begin_of(whole: u64, front: u64) -> u64 {
    front.max(INDEX_BEGIN_BYTES).min(whole)
}

impl Shared {
    /// The front of a roll's index.
    pub(super) async fn index(self: &Arc<Self>, roll: &Roll) -> Made<Arc<Index>> {
        let name: Arc<str> = (&*roll.index.name).into();
        if let Some(found) = self.places.indexes.get(&name) {
            return Ok(Arc::clone(found.value()));
        }
        let (shared, own, of) = (Arc::clone(self), Arc::clone(&name), Arc::clone(&name));
        let (whole, front) = (roll.index.bytes, roll.front);
        let broken = move |reason| Err(ColdError::Broken { name: of, reason });
        let make = move || {
            boxed(async move {
                let bytes = shared.index_part((&own, whole, front), 0..front).await?;
                let index = Arc::new(Index::read(&bytes).map_err(|error| ColdError::index(&own, error))?);
                shared.places.indexes.insert(own, Arc::clone(&index));
                Ok(index)
            })
        };
        self.places.reading.join(name, broken, make).await
    }

    /// The front of a roll's index for who wants the filters too: where nothing of it is known, and all of it fits in a
    /// request, one fetches both.
    pub(super) async fn index_and_filters(self: &Arc<Self>, roll: &Roll) -> Made<Arc<Index>> {
        let (name, whole) = (&*roll.index.name, roll.index.bytes);
        if self.places.indexes.contains(name) || whole > FETCH_BYTES_MAX {
            return self.index(roll).await;
        }
        let all = self.chunks.fetch_only(name, 0..whole).await?;
        let keep = |range: Range<u64>| {
            let inside = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(all.len());
            let (from, to) = (inside(range.start), inside(range.end));
            self.chunks.keep(name, &range, all.slice(from.min(to)..to));
        };
        keep(0..begin_of(whole, roll.front));
        let index = self.index(roll).await?;
        let filters = (0..roll.objects.len()).filter_map(|object| index.blooms(object));
        filters.for_each(|filters| keep(filters.from..filters.to));
        Ok(index)
    }

    /// A part of the index of that name, of so many bytes and such a front. Its begin is fetched as one.
    pub(super) async fn index_part(
        self: &Arc<Self>,
        (name, whole, front): (&Arc<str>, u64, u64),
        range: Range<u64>,
    ) -> Made<Bytes> {
        let begin = begin_of(whole, front);
        if range.end > begin {
            return self.chunks.read(name, range).await;
        }
        let bytes = self.chunks.read(name, 0..begin).await?;
        let inside = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
        Ok(bytes.slice(inside(range.start)..inside(range.end)))
    }

    /// The queue in a roll, `None` when it was not known when the roll ended.
    pub(super) async fn spot(
        self: &Arc<Self>,
        manifest: &Arc<Manifest>,
        at: usize,
        queue: (&str, i32),
    ) -> Made<Option<Spot>> {
        let Some(roll) = manifest.rolls().get(at) else { return Ok(None) };
        let index = self.index(roll).await?;
        let span = index.find(queue.0, queue.1);
        Ok(span.map(|span| Spot { manifest: Arc::clone(manifest), at, index, span }))
    }

    /// The first roll that has messages of the topic's present life that have not expired.
    pub(super) fn first_of(manifest: &Manifest, topic: &str) -> usize {
        let floor = manifest.floor_of(topic);
        manifest.rolls().partition_point(|roll| roll.to <= floor)
    }

    /// The queue in the first roll that ends behind `offset` of it; `None` when all end before.
    pub(super) async fn locate(self: &Arc<Self>, queue: (&str, i32), offset: i64) -> Made<Option<Spot>> {
        let manifest = self.manifest.load_full();
        let first = Self::first_of(&manifest, queue.0);
        let hint = self.places.hints.get(&self.places.hint_key(queue)).map(|found| *found.value());
        let hinted = hint.map(|from| manifest.rolls().partition_point(|roll| roll.from < from));
        for at in hinted.into_iter().flat_map(|at| [at, at + 1]).filter(|at| *at >= first) {
            if let Some(spot) = self.spot(&manifest, at, queue).await?
                && (spot.span.base..spot.span.next).contains(&offset)
            {
                self.hint(queue, &spot);
                return Ok(Some(spot));
            }
        }
        let found = self.search((&manifest, first), queue, offset).await?;
        if let Some(spot) = &found {
            self.hint(queue, spot);
        }
        Ok(found)
    }

    /// The same among the rolls from `first` on, of which nothing is known. The two at the ends are looked at first,
    /// which others mostly did before; between them it is guessed.
    async fn search(
        self: &Arc<Self>,
        (manifest, first): (&Arc<Manifest>, usize),
        queue: (&str, i32),
        offset: i64,
    ) -> Made<Option<Spot>> {
        let mut search = Search { low: first, high: manifest.rolls().len(), below: None, above: None, found: None };
        if search.high <= first {
            return Ok(None);
        }
        let last = search.high - 1;
        let (begin, end) = tokio::try_join!(self.spot(manifest, first, queue), self.spot(manifest, last, queue))?;
        search.take(manifest, last, end, offset);
        search.take(manifest, first, begin, offset);
        let mut guesses = 0;
        while search.low < search.high {
            let at = if guesses < GUESSES_MAX { search.guess(manifest, offset) } else { search.middle() };
            guesses += 1;
            let spot = self.spot(manifest, at, queue).await?;
            search.take(manifest, at, spot, offset);
        }
        Ok(search.found)
    }

    fn hint(&self, queue: (&str, i32), spot: &Spot) {
        if let Some(roll) = spot.roll() {
            self.places.hints.insert(self.places.hint_key(queue), roll.from);
        }
    }

    /// The queue's first offset that is listed, and the offset behind the last one; `None` when nothing of the topic's
    /// present life is.
    pub(super) async fn range(self: &Arc<Self>, queue: (&str, i32)) -> Made<Option<(i64, i64)>> {
        let manifest = self.manifest.load_full();
        let first = Self::first_of(&manifest, queue.0);
        let Some(last) = manifest.rolls().len().checked_sub(1).filter(|last| *last >= first) else { return Ok(None) };
        let Some(end) = self.spot(&manifest, last, queue).await? else { return Ok(None) };
        // A queue that the oldest roll does not know began later, and queues begin at 0.
        let begin = self.spot(&manifest, first, queue).await?.map_or(0, |spot| spot.span.base);
        Ok(Some((begin.min(end.span.next), end.span.next)))
    }
}
