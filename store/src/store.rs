//! The store as its owner sees it: one value that is opened, used by many threads, and closed.
//!
//! Owns what all parts share and the small questions (ranges, figures). Appending, reading, flushing,
//! sealing and recovery live in the modules of those names.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use parking_lot::Mutex;

use crate::clock::Clock;
use crate::disk::Disk;
use crate::error::{FlushFailed, UpkeepError};
use crate::flush::{Done, Flush};
use crate::head::Head;
use crate::hot::Hot;
use crate::lock::FolderLock;
use crate::message::Listener;
use crate::options::{FlushMode, StoreOptions};
use crate::recover::DamagedRange;
use crate::retain::Keeping;
use crate::segment::{Segment, file_name};
use crate::upkeep::Calls;

/// The local log of one broker.
///
/// Opened by [`Store::open`]; every method may be called from any thread.
pub struct Store {
    pub(crate) shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// What the store's threads and callers share.
pub(crate) struct Shared {
    pub(crate) options: StoreOptions,
    pub(crate) paths: Paths,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) disk: Arc<dyn Disk>,
    /// The append lock.
    pub(crate) head: Mutex<Head>,
    pub(crate) flush: Flush,
    pub(crate) ahead: Ahead,
    pub(crate) listener: OnceLock<Listener>,
    pub(crate) calls: Calls,
    pub(crate) keeping: Keeping,
    pub(crate) counters: Counters,
    /// Held until the store is closed.
    pub(crate) lock: Mutex<Option<FolderLock>>,
}

/// The files of a store.
#[derive(Debug, Clone)]
pub(crate) struct Paths {
    pub(crate) root: PathBuf,
    pub(crate) log: PathBuf,
    pub(crate) side: PathBuf,
}

impl Paths {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { log: root.join("commitlog"), side: root.join("sidecar"), root }
    }

    pub(crate) fn sidecar(&self, first: i64) -> PathBuf {
        self.side.join(format!("{}.index", file_name(first)))
    }

    pub(crate) fn sums(&self, first: i64) -> PathBuf {
        self.side.join(format!("{}.sums", file_name(first)))
    }

    pub(crate) fn floor(&self) -> PathBuf {
        self.side.join("floor")
    }

    pub(crate) fn tombstones(&self) -> PathBuf {
        self.root.join("tombstones")
    }

    pub(crate) fn hot(&self) -> PathBuf {
        self.root.join("hot")
    }

    pub(crate) fn checkpoint(&self) -> PathBuf {
        self.root.join("checkpoint")
    }
}

/// What is made ready ahead of the writer.
#[derive(Debug)]
pub(crate) struct Ahead {
    /// Memory under the log's growing end.
    pub(crate) hot: Arc<Hot>,
    /// The next segment. Taken after the append lock, never before it.
    pub(crate) spare: Mutex<Spare>,
}

/// The segment that was made ahead.
#[derive(Debug)]
pub(crate) struct Spare {
    pub(crate) segment: Option<Segment>,
    /// First offset of the youngest segment that was ever made, so that none is made twice.
    pub(crate) made: i64,
}

/// Whether the store is closed, and the last look at the disk.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) closed: AtomicBool,
    pub(crate) disk_full: AtomicBool,
    /// Bits of the last used ratio.
    pub(crate) disk_ratio: AtomicU64,
}

/// The offsets of a queue: `min` is the first one kept, `max` the one that comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueRange {
    /// First offset that can be read; equal to `max` when all is gone. It may be too low while the
    /// oldest segment cannot be opened.
    pub min: i64,
    /// Offset that the next visible message will have.
    pub max: i64,
}

/// Figures of a store at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StoreStats {
    /// Log offset behind the last record.
    pub log_max: i64,
    /// Log offset up to which everything is on disk.
    pub durable: i64,
    /// Segment files, the active one included.
    pub segments: usize,
    /// Segments that are full and wait to be sealed.
    pub sealing: usize,
    /// Bytes of all segment files, without what sealed ones gave back behind their records.
    pub log_bytes: u64,
    /// Whether segments that retention would delete wait to be copied, see [`Store::keep_until_copied`].
    pub deletion_waits: bool,
    /// Share of the disk in use at the last look, 0 to 1.
    pub disk_used_ratio: f64,
}

impl StoreStats {
    /// Bytes that a power cut would take now.
    #[must_use]
    pub fn flush_behind_bytes(&self) -> u64 {
        u64::try_from(self.log_max - self.durable).unwrap_or(0)
    }
}

impl Store {
    pub(crate) fn start(shared: Arc<Shared>) -> std::io::Result<Arc<Self>> {
        let threads = crate::upkeep::start(&shared)?;
        Ok(Arc::new(Self { shared, threads: Mutex::new(threads) }))
    }

    /// Sets who is told about messages that became visible; called after each append, by the
    /// appending thread or, with synchronous flush, by the flusher. It must be quick. Only the first
    /// call counts; messages from before it are not told.
    pub fn listen(&self, listener: Listener) {
        // A second listener is a mistake of the owner; the first stays.
        let _ = self.shared.listener.set(listener);
    }

    /// Log offset up to which everything is on disk.
    #[must_use]
    pub fn durable_offset(&self) -> i64 {
        self.shared.flush.durable()
    }

    /// Calls `done` once the log is durable up to `log_end`, at once if it is. The flusher's thread
    /// calls it otherwise, so it must be quick.
    pub fn when_durable(&self, log_end: i64, done: Done) {
        self.shared.flush.when_durable(log_end, done);
    }

    /// Makes everything appended so far durable, in the calling thread.
    ///
    /// # Errors
    /// The disk failed; the store is latched then.
    pub fn flush_now(&self) -> Result<(), FlushFailed> {
        self.shared.flush_once()
    }

    /// Why the store takes no writes since a failed write or flush, `None` while it does.
    #[must_use]
    pub fn latched(&self) -> Option<String> {
        self.shared.flush.latched()
    }

    /// First log offset kept, which is a segment's first byte, and the one behind the last record. Below the first
    /// nothing can be read here. It rises with deletion, so take it after what it is to be compared with.
    #[must_use]
    pub fn log_range(&self) -> (i64, i64) {
        let head = self.shared.head.lock();
        (head.log_start(), head.log_end())
    }

    /// The offsets of a queue, `None` when nothing was ever written to it. `min` is the first one kept here: what was
    /// deleted lies below, also where copies of it are kept elsewhere.
    #[must_use]
    pub fn queue_range(&self, topic: &str, queue_id: i32) -> Option<QueueRange> {
        self.shared.bounds(topic, queue_id)
    }

    /// Whether the queue is new: never written, or its message 0 is still in the active segment.
    #[must_use]
    pub fn queue_is_young(&self, topic: &str, queue_id: i32) -> bool {
        let head = self.shared.head.lock();
        let Some(number) = head.catalog.find(topic, queue_id) else { return true };
        let first = head.index.run(number).map(|run| run.base);
        head.catalog.queue(number).next == 0 || first == Some(0)
    }

    /// The queue ids of a topic that were ever written, ascending.
    #[must_use]
    pub fn queues(&self, topic: &str) -> Vec<i32> {
        self.shared.head.lock().catalog.queue_ids(topic)
    }

    /// Calls `each` for every queue that was ever written, in no order. New queues may be missed.
    pub fn for_each_queue(&self, mut each: impl FnMut(&str, i32, QueueRange)) {
        let queues: Vec<(Arc<str>, i32)> = {
            let head = self.shared.head.lock();
            let named = head.catalog.iter().map(|(_, queue)| (queue.topic.clone(), queue.queue_id));
            named.filter_map(|(topic, id)| topic.map(|topic| (topic, id))).collect()
        };
        for (topic, queue_id) in queues {
            if let Some(range) = self.shared.bounds(&topic, queue_id) {
                each(&topic, queue_id, range);
            }
        }
    }

    /// Every stretch of the log that is known to hold no readable records, oldest first. A segment
    /// that cannot be opened counts as a whole.
    #[must_use]
    pub fn damage(&self) -> Vec<DamagedRange> {
        let range = |first: i64, from: u64, to: u64| {
            let offset = |position: u64| first + i64::try_from(position).unwrap_or(i64::MAX);
            DamagedRange { from: offset(from), to: offset(to) }
        };
        let (sealed, live) = {
            let head = self.shared.head.lock();
            let frozen = head.frozen.iter().map(|frozen| (&frozen.segment, &frozen.index));
            let all = frozen.chain([(&head.active, &head.index)]);
            let live: Vec<_> = all
                .flat_map(|(segment, index)| {
                    let ranges = index.damage.iter();
                    ranges.map(|(from, to)| range(segment.first, (*from).into(), (*to).into()))
                })
                .collect();
            (Arc::clone(&head.sealed), live)
        };
        let mut out = Vec::new();
        for segment in &*sealed {
            match self.shared.parts(segment) {
                Ok(parts) => {
                    out.extend(parts.sidecar.damage().map(|(from, to)| range(segment.first, from, to)));
                }
                Err(_) => out.push(DamagedRange { from: segment.first, to: segment.end }),
            }
        }
        out.extend(live);
        out
    }

    /// Figures at this moment.
    #[must_use]
    pub fn stats(&self) -> StoreStats {
        let counters = &self.shared.counters;
        let head = self.shared.head.lock();
        let sealed: u64 = head.sealed.iter().map(|sealed| sealed.used()).sum();
        let live = head.frozen.iter().map(|frozen| frozen.segment.bytes).sum::<usize>();
        StoreStats {
            log_max: head.log_end(),
            durable: self.shared.flush.durable(),
            segments: head.sealed.len() + head.frozen.len() + 1,
            sealing: head.frozen.len(),
            log_bytes: sealed + (live + head.active.bytes) as u64,
            deletion_waits: self.shared.keeping.gate.waits(),
            disk_used_ratio: f64::from_bits(counters.disk_ratio.load(Ordering::Relaxed)),
        }
    }

    /// Flushes, seals what is full, stops the store's threads and frees the folder. Reads go on
    /// working; appends are refused. Closing twice does nothing. Never call it, and never drop the last
    /// handle, inside a listener or a [`Done`]: it waits for the thread that runs those.
    ///
    /// # Errors
    /// The last flush or a sidecar failed. The folder is freed all the same, and opening it recovers.
    pub fn close(&self) -> Result<(), UpkeepError> {
        if self.shared.counters.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        self.stop_threads();
        let flushed = self.shared.flush_once();
        let sealed = match flushed {
            Ok(()) => self.shared.seal_last(),
            Err(failed) => Err(failed.into()),
        };
        let noted = self.shared.save_checkpoint();
        if self.shared.flush.durable() >= self.shared.head.lock().log_end() {
            // It holds nothing that the segments lack; readers keep its pages as long as they need them.
            remove_hot(&self.shared);
        }
        // Whoever deletes or seals still is waited for; whoever comes later sees that the store is closed.
        let _others = (self.shared.keeping.sweeping.lock(), self.shared.keeping.sealing.lock());
        self.shared.lock.lock().take();
        sealed.and(noted)
    }

    fn stop_threads(&self) {
        self.shared.flush.stop();
        self.shared.calls.stop();
        for thread in self.threads.lock().drain(..) {
            // A thread that panicked has said so; closing goes on.
            let _ = thread.join();
        }
    }
}

/// Removes the hot file, which costs its space only when it stays.
fn remove_hot(shared: &Shared) {
    if let Err(error) = crate::disk::remove_optional(&*shared.disk, &shared.paths.hot()) {
        tracing::warn!(%error, "cannot remove the hot file; the next opening does");
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::warn!(%error, "the store did not close cleanly; it will recover when opened");
        }
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("root", &self.shared.paths.root).finish_non_exhaustive()
    }
}

impl Shared {
    /// The last stretch of the log before the segment at `before` whose segment files are missing; all
    /// of the log before it when none are.
    pub(crate) fn missing_before(&self, before: i64) -> (i64, i64) {
        let head = self.head.lock();
        let sealed = head.sealed.iter().map(|sealed| (sealed.first, sealed.end));
        let frozen = head.frozen.iter().map(|frozen| (frozen.segment.first, frozen.segment.end()));
        let all = sealed.chain(frozen).chain([(head.active.first, head.active.end())]);
        let mut missing = (head.log_start(), before.min(head.log_end()));
        let mut end = head.log_start();
        for (first, next) in all.take_while(|(first, _)| *first <= before) {
            if first > end {
                missing = (end, first);
            }
            end = next;
        }
        missing
    }

    /// Log offset up to which readers may see.
    pub(crate) fn visible(&self) -> i64 {
        match self.options.flush {
            FlushMode::Async { .. } => i64::MAX,
            FlushMode::Sync => self.flush.durable(),
        }
    }
}
