//! Parts of objects, from memory, from the local disk, or from the store.
//!
//! Owns the cache of bytes. Objects never change, so a part is right for ever; what is too old goes when there is no
//! room. Parts are checked by whoever reads them: pages by their records' checksums, indexes by their own.

use std::collections::HashMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use foyer::{BlockEngineConfig, DeviceBuilder, FsDeviceBuilder, HybridCache, HybridCacheBuilder, RecoverMode};
use parking_lot::Mutex;
use thiserror::Error;

use super::ColdError;
use super::flights::{Flights, boxed};
use crate::bucket::Bucket;
use crate::limits::{
    CACHE_BLOCK_BYTES, CACHE_WRITE_BYTES_MAX, DISTRUSTED_OBJECTS_MAX, FETCH_BYTES_MAX, FETCH_GAP_BYTES_FEW,
    FEW_BETWEEN_BYTES_MAX, FEW_REQUESTS_GOAL,
};

/// How much of what was fetched is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheOptions {
    /// Bytes of memory: half for records that were made from objects, the rest for parts of objects and what is known
    /// of them.
    pub memory_bytes: usize,
    /// The folder on the local disk and the bytes that it may take; `None` for none.
    pub disk: Option<(PathBuf, usize)>,
}

impl Default for CacheOptions {
    fn default() -> Self {
        Self { memory_bytes: 256 * 1024 * 1024, disk: None }
    }
}

/// The cache on the local disk cannot be used.
#[derive(Debug, Error)]
#[error("the cache of cold reads in {}: {reason}; free or remove that folder, nothing in it is needed", folder.display())]
pub struct CacheError {
    /// Its folder.
    pub folder: PathBuf,
    /// Why.
    pub reason: String,
}

/// Fetches parts of the objects of one broker.
pub(super) struct Chunks {
    bucket: Bucket,
    home: String,
    /// The bucket and the broker's folder: a cache on disk may outlive a change of either.
    place: String,
    cache: HybridCache<String, Bytes>,
    reading: Flights<(Arc<str>, Range<u64>), Result<Bytes, ColdError>>,
    distrusted: Mutex<Distrusted>,
    fetched: AtomicU64,
    requests: AtomicU64,
}

impl Chunks {
    pub(super) async fn open(bucket: Bucket, home: &str, options: &CacheOptions) -> Result<Self, CacheError> {
        let folder = options.disk.as_ref().map(|(folder, _)| folder.clone()).unwrap_or_default();
        let failed = |reason: String| CacheError { folder: folder.clone(), reason };
        let builder = HybridCacheBuilder::new()
            .with_name("cold")
            .memory(options.memory_bytes / 4)
            .with_weighter(|key: &String, bytes: &Bytes| key.len() + bytes.len())
            .storage();
        let built = match &options.disk {
            None => builder.build().await,
            Some((folder, bytes)) => {
                let device = FsDeviceBuilder::new(folder).with_capacity(*bytes).build();
                let device = device.map_err(|error| failed(error.to_string()))?;
                let engine = BlockEngineConfig::new(device)
                    .with_block_size(CACHE_BLOCK_BYTES)
                    .with_buffer_pool_size(CACHE_WRITE_BYTES_MAX);
                builder.with_engine_config(engine).with_recover_mode(RecoverMode::Quiet).build().await
            }
        };
        let cache = built.map_err(|error| failed(error.to_string()))?;
        let (fetched, requests) = (AtomicU64::new(0), AtomicU64::new(0));
        let (home, place) = (home.to_owned(), format!("{bucket}/{home}"));
        let (reading, distrusted) = (Flights::new(), Mutex::default());
        Ok(Self { bucket, home, place, cache, reading, distrusted, fetched, requests })
    }

    pub(super) async fn close(&self) {
        if let Err(error) = self.cache.close().await {
            tracing::warn!(%error, "the cache of cold reads was not stored; it fills again");
        }
    }

    /// Bytes and requests that the store was asked for.
    pub(super) fn fetched(&self) -> (u64, u64) {
        (self.fetched.load(Ordering::Relaxed), self.requests.load(Ordering::Relaxed))
    }

    /// Has everything of an object fetched anew: a bit that was flipped on the way would stay wrong as long as it is kept.
    pub(super) fn distrust(&self, name: &Arc<str>) {
        self.distrusted.lock().add(name);
    }

    fn key(&self, name: &str, range: &Range<u64>) -> String {
        match self.distrusted.lock().mark(name) {
            (0, 0) => format!("{}/{name}:{}-{}", self.place, range.start, range.end),
            (all, own) => format!("{}/{name}:{}-{}:{all}.{own}", self.place, range.start, range.end),
        }
    }

    /// Reads one range of an object, once for all who want it. It goes on when those go away, so that it is kept.
    pub(super) async fn read(self: &Arc<Self>, name: &Arc<str>, range: Range<u64>) -> Result<Bytes, ColdError> {
        let (shared, own, of) = (Arc::clone(self), Arc::clone(name), Arc::clone(name));
        let broken = move |reason| Err(ColdError::Broken { name: of, reason });
        let key = (Arc::clone(name), range.clone());
        self.reading.join(key, broken, move || boxed(async move { shared.fetch(&own, range).await })).await
    }

    /// Fetches a range of an object whose parts are kept one by one, see [`Chunks::keep`].
    pub(super) async fn fetch_only(&self, name: &str, range: Range<u64>) -> Result<Bytes, ColdError> {
        let path = format!("{}/{name}", self.home);
        let bytes = self.bucket.read_range(&path, range).await?;
        self.fetched.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
        Ok(bytes)
    }

    /// Keeps a range of an object as if it had been read by itself.
    pub(super) fn keep(&self, name: &str, range: &Range<u64>, bytes: Bytes) {
        if bytes.len() as u64 == range.end - range.start {
            self.cache.insert(self.key(name, range), bytes);
        }
    }

    async fn fetch(&self, name: &str, range: Range<u64>) -> Result<Bytes, ColdError> {
        let key = self.key(name, &range);
        match self.cache.get(&key).await {
            Ok(Some(found)) if found.value().len() as u64 == range.end - range.start => {
                return Ok(found.value().clone());
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "the cache of cold reads cannot be read"),
        }
        let bytes = self.fetch_only(name, range).await?;
        self.cache.insert(key, bytes.clone());
        Ok(bytes)
    }

    /// Reads ranges of an object that lie in segments of it, by whole segments, each of which is fetched once for all
    /// who want it.
    pub(super) async fn read_segments(
        self: &Arc<Self>,
        name: &Arc<str>,
        ranges: &[Range<u64>],
        segments: &[Range<u64>],
    ) -> Result<Vec<Bytes>, ColdError> {
        let holds = |all: &&Range<u64>| ranges.iter().any(|range| all.start < range.end && range.start < all.end);
        let wanted: Vec<Range<u64>> = segments.iter().filter(holds).cloned().collect();
        let reads = wanted.iter().map(|segment| self.read(name, segment.clone()));
        let parts = futures_util::future::try_join_all(reads).await?;
        Ok(ranges.iter().map(|range| cut(&wanted, &parts, range)).collect())
    }

    /// Reads ranges of an object for who reads much of it once, those at once that are no further apart than `gap` bytes: past
    /// what is kept, which others come back to.
    pub(super) async fn read_past(&self, name: &str, ranges: &[Range<u64>], gap: u64) -> Result<Vec<Bytes>, ColdError> {
        let merged = merge(ranges, gap);
        let reads = merged.iter().map(|range| self.fetch_only(name, range.clone()));
        let parts = futures_util::future::try_join_all(reads).await?;
        Ok(ranges.iter().map(|range| cut(&merged, &parts, range)).collect())
    }

    /// Reads ranges of an object, those at once that `join` says; gives their bytes in their order.
    pub(super) async fn read_all(
        self: &Arc<Self>,
        name: &Arc<str>,
        ranges: &[Range<u64>],
        join: Join,
    ) -> Result<Vec<Bytes>, ColdError> {
        let merged = match join {
            Join::Near(gap) => merge(ranges, gap),
            Join::Few => merge_few(merge(ranges, FETCH_GAP_BYTES_FEW)),
        };
        let reads = merged.iter().map(|range| self.read(name, range.clone()));
        let parts = futures_util::future::try_join_all(reads).await?;
        Ok(ranges.iter().map(|range| cut(&merged, &parts, range)).collect())
    }
}

/// Which of several ranges are fetched at once.
#[derive(Debug, Clone, Copy)]
pub(super) enum Join {
    /// Those no further apart than so many bytes.
    Near(u64),
    /// Those of single rows: few requests, as long as not much is fetched for nothing.
    Few,
}

/// Objects of which something came damaged, and how often. What was kept of one before that is not looked at again.
#[derive(Debug, Default)]
struct Distrusted {
    objects: HashMap<Arc<str>, u32>,
    /// How often they were too many to be remembered, so that nothing that was kept is looked at again.
    forgotten: u32,
}

impl Distrusted {
    fn add(&mut self, name: &Arc<str>) {
        if self.objects.len() >= DISTRUSTED_OBJECTS_MAX && !self.objects.contains_key(name) {
            self.objects.clear();
            self.forgotten += 1;
        }
        *self.objects.entry(Arc::clone(name)).or_default() += 1;
    }

    /// What sets apart that which was fetched of an object since it is distrusted.
    fn mark(&self, name: &str) -> (u32, u32) {
        (self.forgotten, self.objects.get(name).copied().unwrap_or(0))
    }
}

/// The bytes of a range, which lies in one of the merged ones.
fn cut(merged: &[Range<u64>], parts: &[Bytes], range: &Range<u64>) -> Bytes {
    let found = merged.iter().position(|all| all.start <= range.start && range.end <= all.end);
    let Some((all, bytes)) = found.and_then(|at| Some((merged.get(at)?, parts.get(at)?))) else { return Bytes::new() };
    let inside = |at: u64| usize::try_from(at - all.start).unwrap_or(usize::MAX).min(bytes.len());
    bytes.slice(inside(range.start)..inside(range.end))
}

/// Neighbours are fetched at once where that costs less than another request, up to what one request may hold.
fn merge(ranges: &[Range<u64>], gap: u64) -> Vec<Range<u64>> {
    let mut sorted: Vec<_> = ranges.to_vec();
    sorted.sort_by_key(|range| range.start);
    let mut out: Vec<Range<u64>> = Vec::new();
    for range in sorted {
        match out.last_mut() {
            Some(last)
                if range.start <= last.end + gap
                    && (range.end <= last.end || range.end - last.start <= FETCH_BYTES_MAX) =>
            {
                last.end = last.end.max(range.end);
            }
            _ => out.push(range),
        }
    }
    out
}

/// Joins the nearest of some ranges, which are in their order, until few are left or too much lies between them.
fn merge_few(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    let mut left = FEW_BETWEEN_BYTES_MAX;
    while ranges.len() > FEW_REQUESTS_GOAL {
        let gaps = ranges.windows(2).enumerate().filter_map(|(nth, pair)| {
            let [before, after] = pair else { return None };
            let fits = after.end - before.start <= FETCH_BYTES_MAX;
            fits.then(|| (after.start.saturating_sub(before.end), nth))
        });
        let Some((gap, nth)) = gaps.min().filter(|(gap, _)| *gap <= left) else { break };
        left -= gap;
        let after = ranges.remove(nth + 1);
        if let Some(before) = ranges.get_mut(nth) {
            before.end = after.end;
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::single_range_in_vec_init, reason = "one range is what is expected")]
    fn near_ranges_become_one_and_far_ones_do_not() {
        let gap = 1_000;
        let merge = |ranges: &[Range<u64>]| merge(ranges, gap);
        assert_eq!(merge(&[5..10, 0..4, 12..20]), [0..20]);
        assert_eq!(merge(&[0..4, 5 + gap..9 + gap]), [0..4, 5 + gap..9 + gap]);
        let most = FETCH_BYTES_MAX;
        assert_eq!(merge(&[0..most, most..most + 1]), [0..most, most..most + 1]);
        assert_eq!(merge(&[0..most, 5..10]), [0..most]);
    }

    #[test]
    #[allow(clippy::single_range_in_vec_init, reason = "one range is what is given and expected")]
    fn few_ranges_are_joined_while_little_lies_between() {
        let most = FEW_BETWEEN_BYTES_MAX;
        let near = vec![0..10, 110..120, 130..140, 400..410, 420..430];
        assert_eq!(merge_few(near), [0..140, 400..430], "the widest gap stays");
        let far = vec![0..10, 10 + most..20 + most, 30 + most * 2..40 + most * 2];
        assert_eq!(merge_few(far), [0..20 + most, 30 + most * 2..40 + most * 2]);
        let further = vec![0..10, 11 + most..20 + most, 30 + most * 2..40 + most * 2];
        assert_eq!(merge_few(further.clone()), further);
        assert_eq!(merge_few(vec![5..9]), [5..9]);
    }

    #[test]
    fn no_object_is_trusted_again_however_many_are_not() {
        let name = |nth: usize| Arc::from(format!("object-{nth}"));
        let mut distrusted = Distrusted::default();
        let mut seen: HashMap<Arc<str>, Vec<(u32, u32)>> = HashMap::new();
        for nth in (0..2 * DISTRUSTED_OBJECTS_MAX + 5).chain(0..10) {
            let name = name(nth);
            let before = distrusted.mark(&name);
            distrusted.add(&name);
            let marks = seen.entry(Arc::clone(&name)).or_default();
            marks.push(before);
            assert!(!marks.contains(&distrusted.mark(&name)), "{name}");
            assert!(distrusted.objects.len() <= DISTRUSTED_OBJECTS_MAX);
        }
        let (first, never) = (name(1), name(usize::MAX));
        assert_ne!(distrusted.mark(&first), (0, 0));
        assert_eq!(distrusted.mark(&never), (2, 0), "what was kept of any object is not looked at again");
    }

    #[test]
    fn each_range_gets_its_own_bytes() {
        let whole: Bytes = (0..100_u8).collect();
        let ranges = [70..80_u64, 3..9, 0..3];
        let merged = merge(&ranges, 1);
        let parts: Vec<_> = merged.iter().map(|range| whole.slice(range.start as usize..range.end as usize)).collect();
        let found: Vec<_> = ranges.iter().map(|range| cut(&merged, &parts, range)).collect();
        assert_eq!(found, [whole.slice(70..80), whole.slice(3..9), whole.slice(0..3)]);
    }
}
