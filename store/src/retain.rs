//! Deleting what need not be kept: by time, by size, by the disk's fill, by topic.
//!
//! Owns the decision and its order on disk. Deletion is of whole sealed segments, oldest first; a
//! topic's retention can therefore only lengthen the life of the segments that hold its messages.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;

use crate::checkpoint::{Checkpoint, TrustedTime};
use crate::disk::remove_optional;
use crate::error::UpkeepError;
use crate::index::SegmentIndex;
use crate::limits::{CHECKPOINT_INTERVAL_MS, SWEEP_SEGMENTS_MAX};
use crate::reindex::catalog_after;
use crate::seal::rows_of;
use crate::sealed::{Parts, Sealed};
use crate::sidecar::{self, Source};
use crate::store::{Shared, Store};

/// Milliseconds that a topic's messages are kept at least; `None` for the store's own time.
pub type TopicRetention = Box<dyn Fn(&str) -> Option<u64> + Send + Sync>;

/// What a sweep deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Segments.
    pub segments: usize,
    /// Bytes of their files.
    pub bytes: u64,
}

/// The state of retention.
pub(crate) struct Keeping {
    /// Held while sidecars are written.
    pub(crate) sealing: Mutex<()>,
    /// Held while segments are deleted.
    sweeping: Mutex<()>,
    trusted: TrustedTime,
    topics: OnceLock<TopicRetention>,
    /// Monotonic time of the last checkpoint.
    noted: Mutex<Duration>,
}

impl Keeping {
    pub(crate) fn new(trusted: TrustedTime, now: Duration) -> Self {
        Self {
            sealing: Mutex::new(()),
            sweeping: Mutex::new(()),
            trusted,
            topics: OnceLock::new(),
            noted: Mutex::new(now),
        }
    }
}

impl Store {
    /// Sets where the store's own sweeps learn how long topics are kept. Only the first call counts.
    pub fn keep_topics_by(&self, retention: TopicRetention) {
        // A second one is a mistake of the owner; the first stays.
        let _ = self.shared.keeping.topics.set(retention);
    }

    /// Deletes sealed segments that need not be kept, oldest first, and stops at the first that must.
    ///
    /// A segment goes when every topic in it has passed its time (`retention`, else the store's
    /// `keep_ms`, counted from the segment's last store time), when the log is larger than
    /// `log_bytes_max`, or when the disk is filled to `force_ratio`. Below `delete_ratio` one expired
    /// segment goes a sweep, from it on all do.
    ///
    /// Time is `now_ms`, but never ahead of what the monotonic clock confirms: a wall clock that jumps
    /// forward deletes nothing, and time during which the store was closed does not count.
    ///
    /// # Errors
    /// The disk refused; what was deleted before stays deleted.
    pub fn sweep(&self, retention: &dyn Fn(&str) -> Option<u64>, now_ms: i64) -> Result<Swept, UpkeepError> {
        self.shared.sweep(retention, now_ms)
    }

    /// Makes all records of a topic so far unreadable, durably. The topic may be written again at
    /// once; its queues begin at offset 0. The bytes go with their segments.
    ///
    /// # Errors
    /// The disk refused; the topic is as it was.
    pub fn forget_topic(&self, topic: &str) -> Result<(), UpkeepError> {
        let shared = &self.shared;
        let path = shared.paths.tombstones();
        // The append lock is held while the file is flushed: an append in between would belong to
        // neither life of the topic. Topics are deleted rarely.
        let mut head = shared.head.lock();
        if head.catalog.queue_ids(topic).is_empty() {
            return Ok(());
        }
        let mut tombstones = (*head.tombstones).clone();
        tombstones.add(topic, head.log_end());
        tombstones.save(&*shared.disk, &path).map_err(UpkeepError::io("write", &path))?;
        head.tombstones = Arc::new(tombstones);
        for number in head.catalog.forget(topic) {
            head.index.clear_run(number);
        }
        if head.frozen.is_empty() {
            head.catalog.reuse();
        }
        head.staged.events.retain(|event| &*event.topic != topic);
        Ok(())
    }

    /// Looks at the disk's fill now and decides whether appends are taken. The store's own thread
    /// does this too, unless upkeep is off.
    pub fn look_at_disk(&self) {
        self.shared.look_at_disk();
    }
}

/// Why a segment goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Keep,
    Expired,
    Forced,
}

impl Shared {
    /// Notes the disk's fill.
    pub(crate) fn look_at_disk(&self) {
        match self.disk.used_ratio(&self.paths.root) {
            Ok(ratio) => {
                self.counters.disk_ratio.store(ratio.to_bits(), Ordering::Relaxed);
                let full = ratio >= self.options.retention.refuse_ratio;
                if self.counters.disk_full.swap(full, Ordering::Relaxed) != full {
                    tracing::warn!(full, ratio, "the disk's fill crossed the mark of refusal");
                }
            }
            // Without a figure the store goes on; a write that fails is noticed by itself.
            Err(error) => tracing::warn!(%error, "cannot tell how full the disk is"),
        }
    }

    pub(crate) fn sweep_by_timer(&self) {
        let none = |_: &str| None;
        let retention: &dyn Fn(&str) -> Option<u64> = match self.keeping.topics.get() {
            Some(topics) => topics,
            None => &none,
        };
        match self.sweep(retention, self.clock.now_ms()) {
            Ok(swept) if swept.segments > 0 => {
                tracing::info!(segments = swept.segments, bytes = swept.bytes, "deleted old segments");
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "cannot delete old segments"),
        }
        let now = self.clock.monotonic();
        let passed = now.saturating_sub(*self.keeping.noted.lock());
        if passed >= Duration::from_millis(CHECKPOINT_INTERVAL_MS)
            && let Err(error) = self.save_checkpoint()
        {
            tracing::warn!(%error, "cannot note the time");
        }
    }

    fn sweep(&self, retention: &dyn Fn(&str) -> Option<u64>, now_ms: i64) -> Result<Swept, UpkeepError> {
        let _turn = self.keeping.sweeping.lock();
        let now_ms = now_ms.min(self.keeping.trusted.at(self.clock.monotonic()));
        let mut swept = Swept::default();
        let mut expired = 0;
        while swept.segments < SWEEP_SEGMENTS_MAX {
            self.look_at_disk();
            let ratio = f64::from_bits(self.counters.disk_ratio.load(Ordering::Relaxed));
            let (oldest, log_bytes) = {
                let head = self.head.lock();
                (head.sealed.first().cloned(), head.log_end() - head.log_start())
            };
            let Some(oldest) = oldest else { break };
            let parts = self.parts(&oldest)?;
            match self.judge(&parts, retention, (now_ms, ratio, log_bytes)) {
                Verdict::Keep => break,
                Verdict::Expired if expired > 0 && ratio < self.options.retention.delete_ratio => break,
                Verdict::Expired => expired += 1,
                Verdict::Forced => {
                    let (first, end) = (oldest.first, oldest.end);
                    tracing::warn!(first, end, ratio, log_bytes, "deleting a segment for its space");
                }
            }
            self.trim(&oldest, &parts)?;
            swept.segments += 1;
            swept.bytes += u64::try_from(oldest.end - oldest.first).unwrap_or(0);
        }
        Ok(swept)
    }

    fn judge(
        &self,
        parts: &Parts,
        retention: &dyn Fn(&str) -> Option<u64>,
        (now_ms, ratio, log_bytes): (i64, f64, i64),
    ) -> Verdict {
        let options = &self.options.retention;
        let too_large = options.log_bytes_max.is_some_and(|max| u64::try_from(log_bytes).unwrap_or(0) > max);
        if too_large || ratio >= options.force_ratio {
            return Verdict::Forced;
        }
        let mut keep_ms = None;
        let mut last_topic = String::new();
        parts.sidecar.each_queue(|topic, row| {
            if row.count == 0 || topic == last_topic {
                return;
            }
            topic.clone_into(&mut last_topic);
            keep_ms = keep_ms.max(Some(retention(topic).unwrap_or(options.keep_ms)));
        });
        let keep_ms = i64::try_from(keep_ms.unwrap_or(options.keep_ms)).unwrap_or(i64::MAX);
        let expires = parts.sidecar.facts().last_time.saturating_add(keep_ms);
        if expires < now_ms { Verdict::Expired } else { Verdict::Keep }
    }

    /// Deletes the oldest segment: first the queues' offsets are safe, then it is gone for readers,
    /// then its file goes. A crash in between leaves a file that is deleted by the next sweep.
    fn trim(&self, oldest: &Arc<Sealed>, parts: &Parts) -> Result<(), UpkeepError> {
        let tombstones = Arc::clone(&self.head.lock().tombstones);
        let catalog = catalog_after(&parts.sidecar, &tombstones);
        let index = SegmentIndex::default();
        let (first, rows) = (oldest.end, rows_of(&catalog));
        let source = Source { first, end: first, bytes: &[], index: &index, rows };
        let floor = self.paths.floor();
        sidecar::write(&*self.disk, &floor, source).map_err(UpkeepError::io("write", &floor))?;
        {
            let mut head = self.head.lock();
            Arc::make_mut(&mut head.sealed).remove(0);
            head.trims += 1;
        }
        for path in [&oldest.path, &oldest.sidecar_path, &self.paths.sums(oldest.first)] {
            remove_optional(&*self.disk, path).map_err(UpkeepError::io("remove", path))?;
        }
        self.disk.sync_folder(&self.paths.log).map_err(UpkeepError::io("flush", &self.paths.log))?;
        self.prune_tombstones(oldest.end)
    }

    fn prune_tombstones(&self, log_start: i64) -> Result<(), UpkeepError> {
        let mut head = self.head.lock();
        let mut pruned = (*head.tombstones).clone();
        pruned.prune(log_start);
        if pruned == *head.tombstones {
            return Ok(());
        }
        let path = self.paths.tombstones();
        pruned.save(&*self.disk, &path).map_err(UpkeepError::io("write", &path))?;
        head.tombstones = Arc::new(pruned);
        Ok(())
    }

    /// Notes the trusted time, so that it goes on from there after a restart.
    pub(crate) fn save_checkpoint(&self) -> Result<(), UpkeepError> {
        let now = self.clock.monotonic();
        let trusted_ms = self.keeping.trusted.at(now);
        let checkpoint = Checkpoint { trusted_ms, last_store_time: self.head.lock().last_time };
        let path = self.paths.checkpoint();
        checkpoint.save(&*self.disk, &path).map_err(UpkeepError::io("write", &path))?;
        *self.keeping.noted.lock() = now;
        Ok(())
    }
}
