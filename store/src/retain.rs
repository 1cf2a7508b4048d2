//! Deleting what need not be kept: by time, by size, by the disk's fill, by topic.
//!
//! Owns the decision and its order on disk. Deletion is of whole sealed segments, oldest first; a
//! topic's retention can therefore only lengthen the life of the segments that hold its messages.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;

use crate::checkpoint::{Checkpoint, TrustedTime};
use crate::disk::{Disk, remove_optional};
use crate::early::Sighting;
use crate::error::UpkeepError;
use crate::gate::Gate;
use crate::index::SegmentIndex;
use crate::limits::{CHECKPOINT_INTERVAL_MS, SWEEP_SEGMENTS_MAX};
use crate::locate::first_live;
use crate::reindex::catalog_after;
use crate::scrub::Figures;
use crate::seal::{open_sidecar, rows_of, unreadable};
use crate::sealed::{Parts, Sealed};
use crate::sidecar::{self, QueueRow, Sidecar, Source};
use crate::store::{Shared, Store};
use crate::tombstones::Tombstones;

/// How long a topic's messages stay in the log at least. They need not when they are past one of the two.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeepHot {
    /// Milliseconds since they were stored; `None` for no bound by time.
    pub time_ms: Option<u64>,
    /// Bytes of younger records of the topic in sealed segments; `None` for no bound by bytes.
    pub bytes: Option<u64>,
}

/// How long topics are kept; `None` for the store's own time.
pub type TopicRetention = Box<dyn Fn(&str) -> Option<KeepHot> + Send + Sync>;

/// The same, as a sweep asks it.
type Rule<'a> = &'a dyn Fn(&str) -> Option<KeepHot>;

/// Bytes of topics in sealed segments, as far as somebody asked: they do not change.
#[derive(Debug, Default)]
struct Shares {
    /// By the segments' begins.
    segments: BTreeMap<i64, HashMap<Box<str>, u64>>,
}

impl Shares {
    fn of(&self, segment: i64, topic: &str) -> Option<u64> {
        self.segments.get(&segment)?.get(topic).copied()
    }

    /// Remembers one, and nothing of segments before the oldest.
    fn note(&mut self, (oldest, segment): (i64, i64), topic: &str, bytes: u64) {
        self.segments = self.segments.split_off(&oldest);
        self.segments.entry(segment).or_default().insert(topic.into(), bytes);
    }
}

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
    /// Held while sidecars or tombstones are written: no sidecar lists a topic whose deletion is under
    /// way. Taken before the append lock.
    pub(crate) sealing: Mutex<()>,
    /// Held while segments are deleted. Taken before `sealing`.
    pub(crate) sweeping: Mutex<()>,
    trusted: TrustedTime,
    topics: OnceLock<TopicRetention>,
    shares: Mutex<Shares>,
    /// Monotonic time of the last checkpoint.
    noted: Mutex<Duration>,
    /// What waits to be copied.
    pub(crate) gate: Gate,
    /// Since when the active segment holds something.
    pub(crate) sighting: Sighting,
    /// What reading the log again has found.
    pub(crate) scrub: Figures,
}

impl Keeping {
    pub(crate) fn new(trusted: TrustedTime, now: Duration) -> Self {
        Self {
            sealing: Mutex::new(()),
            sweeping: Mutex::new(()),
            trusted,
            topics: OnceLock::new(),
            shares: Mutex::default(),
            noted: Mutex::new(now),
            gate: Gate::default(),
            sighting: Sighting::default(),
            scrub: Figures::default(),
        }
    }

    /// How many milliseconds ago a record was stored that is stamped `stored_ms`, by the trusted clock.
    pub(crate) fn age_ms(&self, stored_ms: i64, now: Duration, wall_ms: i64) -> i64 {
        let trusted_ms = self.trusted.at(now, wall_ms);
        trusted_ms.saturating_sub(self.trusted.kept_from(stored_ms))
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
    /// A segment goes when every topic in it has passed its time or its bytes (`retention`, else the store's
    /// `keep_ms`; times are counted from the segment's last store time), when the log is larger than
    /// `log_bytes_max`, or when the disk is filled to `force_ratio`. Below `delete_ratio` one expired
    /// segment goes a sweep, from it on all do. None goes before it was copied, where
    /// [`Store::keep_until_copied`] or the options ask for that.
    ///
    /// Time is `now_ms`, but trusted time at most, which follows the wall clock no faster than twice the
    /// monotonic one: a clock that jumps forward deletes nothing at once, and time during which the store
    /// was closed counts only as it is made up.
    ///
    /// # Errors
    /// The disk refused, the oldest segment cannot be opened and its space is not needed, or the store is
    /// closed; what was deleted before stays deleted.
    pub fn sweep(&self, retention: &dyn Fn(&str) -> Option<KeepHot>, now_ms: i64) -> Result<Swept, UpkeepError> {
        self.shared.sweep(retention, now_ms)
    }

    /// Makes all records of a topic so far unreadable, durably. The topic may be written again at
    /// once; its queues begin at offset 0. The bytes go with their segments.
    ///
    /// Appends to the topic are refused meanwhile; those to others go on.
    ///
    /// # Errors
    /// The disk refused and the topic is as it was, or the store is closed.
    pub fn forget_topic(&self, topic: &str) -> Result<(), UpkeepError> {
        let shared = &self.shared;
        let path = shared.paths.tombstones();
        let _turn = shared.keeping.sealing.lock();
        let tombstones = {
            let mut head = shared.head.lock();
            shared.refuse_closed()?;
            if head.catalog.queue_ids(topic).is_empty() {
                return Ok(());
            }
            // An append before the file is written would belong to neither life of the topic.
            head.catalog.leave(topic);
            let mut tombstones = (*head.tombstones).clone();
            tombstones.add(topic, head.log_end());
            tombstones
        };
        let saved = tombstones.save(&*shared.disk, &path);
        if saved.is_err() && Tombstones::load(&path).is_ok_and(|found| found.of(topic) == tombstones.of(topic)) {
            // The new file is in place and may or may not survive: what is appended now must not depend on it.
            shared.flush.fail(format!("the deletion of topic {topic} may or may not be on disk"));
        }
        let saved = saved.map_err(UpkeepError::io("write", &path));
        let mut head = shared.head.lock();
        head.catalog.stay();
        saved?;
        head.tombstones = Arc::new(tombstones);
        for number in head.catalog.forget(topic) {
            head.index.clear_run(number);
        }
        if head.frozen.is_empty() {
            head.catalog.reuse();
        }
        head.events.retain(|event| &*event.topic != topic);
        Ok(())
    }

    /// Topics that were forgotten, each with the log offset before which no record of it counts. One is left out when
    /// the log begins behind that: whoever copies the log has to hear of it before it calls the segment copied.
    #[must_use]
    pub fn forgotten_topics(&self) -> Vec<(String, i64)> {
        let tombstones = Arc::clone(&self.shared.head.lock().tombstones);
        tombstones.all()
    }

    /// The time that retention goes by, ms since 1970: the wall clock's at most, see [`Store::sweep`].
    #[must_use]
    pub fn trusted_ms(&self) -> i64 {
        self.shared.trusted_ms()
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
    /// It cannot be opened.
    Unknown,
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
        let retention: Rule<'_> = match self.keeping.topics.get() {
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

    fn sweep(&self, retention: Rule<'_>, now_ms: i64) -> Result<Swept, UpkeepError> {
        let _turn = self.keeping.sweeping.lock();
        self.refuse_closed()?;
        let now_ms = now_ms.min(self.trusted_ms());
        let mut swept = Swept::default();
        let mut expired = 0;
        while swept.segments < SWEEP_SEGMENTS_MAX {
            self.look_at_disk();
            let ratio = f64::from_bits(self.counters.disk_ratio.load(Ordering::Relaxed));
            let (oldest, log_bytes) = {
                let head = self.head.lock();
                (head.sealed.first().cloned(), head.used_bytes())
            };
            let Some(oldest) = oldest else { break };
            let parts = self.parts(&oldest);
            let verdict = match &parts {
                _ if self.lacks_space(ratio, log_bytes) => Verdict::Forced,
                Ok(parts) => self.judge((&oldest, parts), retention, now_ms),
                // Its age cannot be known now, and its space is not needed.
                Err(_) => Verdict::Unknown,
            };
            match verdict {
                Verdict::Unknown => return parts.map(|_| swept),
                Verdict::Keep => {
                    self.keeping.gate.note(None);
                    break;
                }
                Verdict::Expired if expired > 0 && ratio < self.options.retention.delete_ratio => break,
                Verdict::Expired | Verdict::Forced if !self.is_copied(&oldest) => break,
                Verdict::Expired => expired += 1,
                Verdict::Forced => {
                    let (first, end) = (oldest.first, oldest.end);
                    tracing::warn!(first, end, ratio, log_bytes, "deleting a segment for its space");
                }
            }
            let rows = match parts {
                Ok(parts) => {
                    let tombstones = Arc::clone(&self.head.lock().tombstones);
                    rows_of(&catalog_after(&parts.sidecar, &tombstones))
                }
                Err(error) => {
                    tracing::warn!(%error, first = oldest.first, "deleting a segment that cannot be opened");
                    self.rows_unread(&oldest)?
                }
            };
            self.trim(&oldest, rows)?;
            swept.segments += 1;
            swept.bytes += u64::try_from(oldest.end - oldest.first).unwrap_or(0);
        }
        Ok(swept)
    }

    fn trusted_ms(&self) -> i64 {
        let wall_ms = self.clock.now_ms();
        wall_ms.min(self.keeping.trusted.at(self.clock.monotonic(), wall_ms))
    }

    /// Whether the oldest segment must go although nobody asked how old it is.
    fn lacks_space(&self, ratio: f64, log_bytes: u64) -> bool {
        let options = &self.options.retention;
        let too_large = options.log_bytes_max.is_some_and(|max| log_bytes > max);
        too_large || ratio >= options.force_ratio
    }

    fn judge(&self, (oldest, parts): (&Sealed, &Parts), retention: Rule<'_>, now_ms: i64) -> Verdict {
        let own = KeepHot { time_ms: Some(self.options.retention.keep_ms), bytes: None };
        let kept_from = self.keeping.trusted.kept_from(parts.sidecar.facts().last_time);
        let is_old = |keep: KeepHot| {
            let expires = keep.time_ms.map(|ms| kept_from.saturating_add(i64::try_from(ms).unwrap_or(i64::MAX)));
            expires.is_some_and(|expires| expires < now_ms)
        };
        let mut last_topic = String::new();
        let (mut is_empty, mut is_needed) = (true, false);
        // Topics that only their bytes can let go.
        let mut measured = Vec::new();
        parts.sidecar.each_queue(|topic, row| {
            if row.count == 0 || is_needed || topic == last_topic {
                return;
            }
            topic.clone_into(&mut last_topic);
            is_empty = false;
            let keep = retention(topic).unwrap_or(own);
            match keep.bytes {
                _ if is_old(keep) => {}
                Some(bytes) => measured.push((topic.to_owned(), bytes)),
                None => is_needed = true,
            }
        });
        let is_needed = is_needed
            || is_empty && !is_old(own)
            || measured.iter().any(|(topic, bytes)| !self.has_behind(oldest, topic, *bytes));
        if is_needed { Verdict::Keep } else { Verdict::Expired }
    }

    /// Whether the sealed segments behind one hold so many bytes of a topic. One that cannot be opened counts as empty.
    fn has_behind(&self, oldest: &Sealed, topic: &str, bytes: u64) -> bool {
        let behind: Vec<_> = self.head.lock().sealed.iter().skip(1).cloned().collect();
        let mut found = 0_u64;
        for sealed in behind.iter().rev() {
            if found >= bytes {
                break;
            }
            let known = self.keeping.shares.lock().of(sealed.first, topic);
            let share = known.or_else(|| {
                let share = self.parts(sealed).ok()?.sidecar.topic_bytes(topic);
                self.keeping.shares.lock().note((oldest.first, sealed.first), topic, share);
                Some(share)
            });
            found = found.saturating_add(share.unwrap_or(0));
        }
        found >= bytes
    }

    /// Deletes the oldest segment: first the queues' offsets are safe, then it is gone for readers,
    /// then its file goes. A crash in between leaves a file that is deleted when the store is opened.
    fn trim(&self, oldest: &Arc<Sealed>, rows: Vec<QueueRow>) -> Result<(), UpkeepError> {
        self.refuse_uncopied(oldest)?;
        let floor = self.paths.floor();
        let last_time = self.head.lock().last_time;
        write_floor(&*self.disk, &floor, (oldest.end, last_time), rows).map_err(UpkeepError::io("write", &floor))?;
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

    /// Every queue at the end of the oldest segment without its bytes: from its sidecar, if that is whole.
    fn rows_unread(&self, oldest: &Sealed) -> Result<Vec<QueueRow>, UpkeepError> {
        match open_sidecar(oldest) {
            Ok(sidecar) => {
                let tombstones = Arc::clone(&self.head.lock().tombstones);
                Ok(rows_of(&catalog_after(&sidecar, &tombstones)))
            }
            Err(_) => self.rows_behind(oldest),
        }
    }

    /// The same, as the next segment whose sidecar is whole knows them: where its own messages of a queue
    /// begin, the older ones ended.
    fn rows_behind(&self, oldest: &Sealed) -> Result<Vec<QueueRow>, UpkeepError> {
        let mut rows = Vec::new();
        let behind: Vec<_> = {
            let head = self.head.lock();
            head.sealed.iter().filter(|sealed| sealed.first >= oldest.end).cloned().collect()
        };
        let mut next = None;
        for sealed in &behind {
            match open_sidecar(sealed) {
                Ok(sidecar) => {
                    next = Some((sealed, sidecar));
                    break;
                }
                // With none of them the queues' offsets would be lost.
                Err(error) if sealed.first == behind[behind.len() - 1].first => return Err(unreadable(error)),
                Err(_) => {}
            }
        }
        let tombstones = {
            let head = self.head.lock();
            if next.is_none() {
                rows.extend(head.catalog.iter().filter_map(|(number, queue)| {
                    let (topic, next) = (queue.topic.clone()?, first_live(&head, number));
                    Some(QueueRow { topic, queue_id: queue.queue_id, number, next })
                }));
            }
            Arc::clone(&head.tombstones)
        };
        if let Some((_, sidecar)) = &next {
            rows = rows_before(sidecar, &tombstones);
        }
        // A queue that begins at 0 there was not known before.
        rows.retain(|row| row.next > 0);
        Ok(rows)
    }

    fn prune_tombstones(&self, log_start: i64) -> Result<(), UpkeepError> {
        let _turn = self.keeping.sealing.lock();
        let known = Arc::clone(&self.head.lock().tombstones);
        let mut pruned = (*known).clone();
        pruned.prune(log_start);
        if pruned == *known {
            return Ok(());
        }
        let path = self.paths.tombstones();
        pruned.save(&*self.disk, &path).map_err(UpkeepError::io("write", &path))?;
        self.head.lock().tombstones = Arc::new(pruned);
        Ok(())
    }

    /// Notes the trusted time, so that it goes on from there after a restart.
    pub(crate) fn save_checkpoint(&self) -> Result<(), UpkeepError> {
        let now = self.clock.monotonic();
        let checkpoint = Checkpoint { trusted_ms: self.keeping.trusted.at(now, self.clock.now_ms()) };
        let path = self.paths.checkpoint();
        checkpoint.save(&*self.disk, &path).map_err(UpkeepError::io("write", &path))?;
        *self.keeping.noted.lock() = now;
        Ok(())
    }
}

/// Every queue as it was when a sidecar's segment began: where its own messages of a queue begin, the older
/// ones ended.
pub(crate) fn rows_before(sidecar: &Sidecar, tombstones: &Tombstones) -> Vec<QueueRow> {
    let (mut rows, end) = (Vec::new(), sidecar.facts().end);
    sidecar.each_queue(|topic, row| {
        // A topic that was deleted since has no offsets to go on from, and a queue that begins at 0 there was
        // not known before.
        if tombstones.of(topic) < end && row.base > 0 {
            rows.push(QueueRow { topic: Arc::from(topic), queue_id: row.queue_id, number: 0, next: row.base });
        }
    });
    rows
}

/// Writes the floor: what is known of queues when the log begins at `first`, and the store time below which no
/// record goes, so that the log's times never go back, also when none of its records is left.
pub(crate) fn write_floor(
    disk: &dyn Disk,
    path: &Path,
    (first, last_time): (i64, i64),
    rows: Vec<QueueRow>,
) -> io::Result<()> {
    let mut index = SegmentIndex::default();
    (index.first_time, index.last_time) = (Some(last_time), last_time);
    sidecar::write(disk, path, Source { first, end: first, tail: 0, blocks: &[], index: &index, rows })
}
