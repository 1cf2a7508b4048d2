//! The cold tier of this broker: when it is open, what of it everybody needs at once, and up to where the log is in it.
//!
//! Owns the opening, which goes on in the background while the store cannot be reached, and the facts that requests ask
//! for without waiting. Rolling is [`roller`]'s; reads that wait are [`reading`]'s.
//!
//! While it is configured and not open nobody knows what is in it: nothing local is deleted, and what is not in the log
//! is answered as busy, never as gone.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use strata_store::{QueueRange, Store};
use strata_tiering::bucket::Bucket;
use strata_tiering::manifest::{Manifest, Writer};
use strata_tiering::tier::{Tier, TierError, TierOptions};
use thiserror::Error;
use tokio::sync::{Mutex as AsyncMutex, Notify, oneshot};
use tracing::{error, info, warn};

use crate::durable::DurableError;
use crate::options::ColdSettings;

mod across;
mod figures;
mod floor;
mod identity;
mod reading;
mod roller;
mod sieve;
mod source;
mod state;
mod upkeep;

pub(crate) use across::KeyQuestion;
pub(crate) use figures::{Done, Figures};
use floor::Floor;
pub(crate) use identity::Identity;
use identity::Mismatch;
pub use identity::write_identity;
pub(crate) use reading::{Outcome, read_cold};
pub(crate) use roller::{Roller, Round};
use state::Kept;
pub use state::{StateError, write_config};
pub(crate) use upkeep::{Tidied, Upkeep, UpkeepDone};

/// Longest pause between two tries to open the tier.
const OPEN_PAUSE_MAX: Duration = Duration::from_secs(30);

/// Between two looks whether topics, groups and offsets changed.
const SETTINGS_INTERVAL: Duration = Duration::from_secs(300);

/// How long an end waits for the store.
const CLOSE_MAX: Duration = Duration::from_secs(5);

/// Why a broker with a cold tier does not start. A store that cannot be reached is no such reason.
#[derive(Debug, Error)]
pub enum ColdError {
    /// The store was reached and its tier cannot be used.
    #[error("the cold tier in {bucket}: {source}")]
    Tier {
        /// The store.
        bucket: String,
        /// Why.
        source: Box<TierError>,
    },
    /// The bucket has another log of a broker of this name.
    #[error(
        "the cold tier in {bucket} holds the log of another data folder of broker {broker}: give this broker another name \
         or prefix, or make a data folder of that log with `strata tier restore`. If the tier was restored to another \
         folder, that one goes on with it, and this one has ended"
    )]
    OtherTier {
        /// The store.
        bucket: String,
        /// The broker.
        broker: String,
    },
    /// The bucket has nothing, though this log was rolled to it.
    #[error(
        "the cold tier in {bucket} is empty, though messages of broker {broker} were rolled to one: look whether its disk \
         is mounted, and at the URL. To go on without the messages that were there, remove {}", file.display()
    )]
    Empty {
        /// The store.
        bucket: String,
        /// The broker.
        broker: String,
        /// What says that there was a tier.
        file: std::path::PathBuf,
    },
    /// What says whose tier it is cannot be written.
    #[error(transparent)]
    Identity(#[from] DurableError),
    /// The bucket has more of this broker's log than the data folder.
    #[error(
        "the cold tier in {bucket} holds the log of broker {broker} up to {cold}, the data folder's ends at {local}: it \
         is another log. Restore one with `strata tier restore`, or give the broker another name or prefix"
    )]
    OtherLog {
        /// The store.
        bucket: String,
        /// The broker.
        broker: String,
        /// Log offset up to which the bucket has it.
        cold: u64,
        /// Log offset at which the local one ends.
        local: i64,
    },
}

/// What is rolled now, and how it went.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub rolls: AtomicU64,
    pub rolled_bytes: AtomicU64,
    pub rolled_messages: AtomicU64,
    pub failures: AtomicU64,
    /// Reads that were answered out of the tier, their messages, and reads that failed.
    pub reads: AtomicU64,
    pub read_messages: AtomicU64,
    pub read_failures: AtomicU64,
    /// Why the last try of rolling failed, or why the tier is not open.
    pub trouble: Mutex<Option<String>>,
    pub upkeep: Upkeep,
    /// The roll under way, and the bytes of its records that were read so far.
    pub rolling: Mutex<Option<Rolling>>,
    pub walked_bytes: AtomicU64,
}

/// A roll under way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rolling {
    /// Log offsets of its part.
    pub from: i64,
    pub to: i64,
    /// Bytes of its records, about.
    pub bytes: u64,
}

/// Somebody who waits for a round of rolling.
struct Wanted {
    /// Whether the active segment is sealed first.
    seal: bool,
    done: oneshot::Sender<Round>,
}

/// Somebody who waits for a round of upkeep.
struct Tidying {
    /// How long an object must have been needed by nobody.
    grace: Duration,
    done: oneshot::Sender<Tidied>,
}

/// What the roller was asked for.
#[derive(Default)]
struct Asked {
    /// Rounds of rolling that include what was sealed before.
    rolls: Mutex<Vec<Wanted>>,
    upkeep: Mutex<Vec<Tidying>>,
}

impl Asked {
    fn take(&self) -> (Vec<Wanted>, Vec<Tidying>) {
        (std::mem::take(&mut *self.rolls.lock()), std::mem::take(&mut *self.upkeep.lock()))
    }
}

/// The cold tier of a broker.
pub(crate) struct Cold {
    bucket: Bucket,
    settings: ColdSettings,
    broker: String,
    store: Arc<Store>,
    identity: Identity,
    open: ArcSwapOption<Open>,
    pub progress: Progress,
    /// Rung when there is something to roll.
    bell: Notify,
    asked: Asked,
    kept: AsyncMutex<Kept>,
    /// Rung when the broker stops.
    ended: Notify,
    stop: AtomicBool,
}

/// The tier once it is open.
pub(crate) struct Open {
    pub tier: Arc<Tier>,
    floor: ArcSwapOption<Floor>,
}

impl Cold {
    pub(crate) fn new(
        (bucket, settings): (Bucket, ColdSettings),
        broker: &str,
        store: Arc<Store>,
        identity: Identity,
    ) -> Self {
        Self {
            bucket,
            settings,
            broker: broker.to_owned(),
            store,
            identity,
            open: ArcSwapOption::empty(),
            progress: Progress::default(),
            bell: Notify::new(),
            asked: Asked::default(),
            kept: AsyncMutex::default(),
            ended: Notify::new(),
            stop: AtomicBool::new(false),
        }
    }

    /// Tries once to open the tier; `false` when the store cannot be reached.
    pub(crate) async fn try_open(&self) -> Result<bool, ColdError> {
        let options = TierOptions {
            broker: self.broker.clone(),
            writer: if self.settings.single_writer { Writer::Single } else { Writer::Fenced },
            cache: self.settings.cache.clone(),
        };
        let (_, local) = self.store.log_range();
        let mut beyond = None;
        let mut other = None;
        let is_taken = |manifest: &Manifest| {
            other = self.identity.takes(manifest).err();
            beyond = manifest.end().filter(|cold| i64::try_from(*cold).is_ok_and(|cold| cold > local));
            beyond.is_none() && other.is_none()
        };
        let opened = Tier::open_if(self.bucket.clone(), options, is_taken).await;
        let (bucket, broker) = (self.bucket.to_string(), self.broker.clone());
        let told = match opened {
            Ok(tier) => self.tell_log(tier).await,
            Err(error) => Err(error),
        };
        let tier = match told {
            Ok(tier) => tier,
            Err(error) if error.is_of_store() => {
                warn!(%error, bucket, "the cold tier cannot be opened yet; trying again");
                *self.progress.trouble.lock() = Some(error.to_string());
                return Ok(false);
            }
            Err(source) => {
                return Err(match (other, beyond) {
                    (Some(Mismatch::Other), _) => ColdError::OtherTier { bucket, broker },
                    (Some(Mismatch::Empty), _) => {
                        ColdError::Empty { bucket, broker, file: self.identity.path().to_owned() }
                    }
                    (None, Some(cold)) => ColdError::OtherLog { bucket, broker, cold, local },
                    (None, None) => ColdError::Tier { bucket, source: Box::new(source) },
                });
            }
        };
        self.identity.join()?;
        let manifest = tier.manifest();
        let totals = manifest.totals();
        info!(bucket = %self.bucket, epoch = tier.epoch(), puts = ?tier.puts(), rolls = manifest.rolls().len(),
            objects = totals.objects, bytes = totals.bytes, "cold tier open");
        *self.progress.trouble.lock() = None;
        let open = Arc::new(Open { tier: Arc::new(tier), floor: ArcSwapOption::empty() });
        if let Err(error) = open.look_at_floor().await {
            warn!(%error, "the cold tier's oldest index cannot be read yet; trying again");
            *self.progress.trouble.lock() = Some(error.to_string());
        }
        self.open.store(Some(open));
        self.bell.notify_one();
        Ok(true)
    }

    /// Tells the tier whose it is.
    async fn tell_log(&self, tier: Tier) -> Result<Tier, TierError> {
        if let Some(edit) = self.identity.edit(&tier.manifest()) {
            tier.commit(edit).await?;
        }
        Ok(tier)
    }

    /// Opens the tier as soon as the store can be reached.
    pub(crate) async fn open_when_reachable(&self) {
        let mut pause = Duration::from_secs(1);
        while self.open.load().is_none() && !self.stop.load(Ordering::Relaxed) {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(OPEN_PAUSE_MAX);
            if let Err(error) = self.try_open().await {
                error!(%error, "the cold tier stays closed until the next start; nothing local is deleted meanwhile");
                *self.progress.trouble.lock() = Some(error.to_string());
                return;
            }
        }
    }

    /// Stores the broker's settings in the tier now and then, until the broker stops.
    pub(crate) async fn keep_settings(&self, data: &Path) {
        while !self.stop.load(Ordering::Relaxed) {
            // Ended by the ring of the end, or by time.
            let _ = tokio::time::timeout(SETTINGS_INTERVAL, self.ended.notified()).await;
            self.keep_settings_once(data).await;
        }
    }

    async fn keep_settings_once(&self, data: &Path) {
        let Some(open) = self.opened() else { return };
        let mut kept = self.kept.lock().await;
        if let Err(error) = state::keep(&open, data, &mut kept).await {
            warn!(%error, "topics, groups and offsets were not stored in the cold tier; trying again");
        }
    }

    /// Tells what works beside the connections that the broker stops.
    pub(crate) fn end(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.bell.notify_one();
        self.ended.notify_one();
    }

    /// The last settings, and what is cached in memory only.
    pub(crate) async fn close(&self, data: &Path) {
        let closing = async {
            self.keep_settings_once(data).await;
            if let Some(open) = self.opened() {
                open.tier.cold().close().await;
            }
        };
        if tokio::time::timeout(CLOSE_MAX, closing).await.is_err() {
            warn!("the cold tier's store does not answer; the last settings are not in it");
        }
    }

    /// The tier, if it is open.
    pub(crate) fn opened(&self) -> Option<Arc<Open>> {
        self.open.load_full()
    }

    /// The store's URL without credentials.
    pub(crate) const fn bucket(&self) -> &Bucket {
        &self.bucket
    }

    /// Log offset up to which everything is listed.
    pub(crate) fn copied_to(&self) -> i64 {
        let open = self.open.load();
        let end = open.as_ref().and_then(|open| open.tier.manifest().end());
        end.and_then(|end| i64::try_from(end).ok()).unwrap_or(i64::MIN)
    }

    /// The first offset of a queue over both tiers; `None` when nobody knows it now.
    pub(crate) fn begin(&self, topic: &str, queue_id: i32, hot: QueueRange) -> Option<i64> {
        if hot.min == 0 {
            return Some(0);
        }
        let open = self.open.load();
        let floor = open.as_ref()?.floor.load();
        Some(floor.as_ref()?.begin(topic, queue_id).map_or(hot.min, |begin| begin.min(hot.min)))
    }

    /// Rolls all that is sealed and tells what came of it; with `seal` the active segment is sealed first. `None` when
    /// the broker stops meanwhile.
    pub(crate) async fn roll_now(&self, seal: bool) -> Option<Round> {
        let (done, waiting) = oneshot::channel();
        self.asked.rolls.lock().push(Wanted { seal, done });
        self.ring();
        waiting.await.ok()
    }

    /// Applies retention, merges small rolls, and deletes what nobody has needed for the time of grace. `None` when the
    /// broker stops meanwhile.
    pub(crate) async fn tidy_now(&self, grace: Duration) -> Option<Tidied> {
        let (done, waiting) = oneshot::channel();
        self.asked.upkeep.lock().push(Tidying { grace, done });
        self.ring();
        waiting.await.ok()
    }

    fn ring(&self) {
        self.bell.notify_one();
        if self.stop.load(Ordering::Relaxed) {
            // The roller may have looked for the last time; who waits hears that nobody will answer.
            drop(self.asked.take());
        }
    }

    /// How much of the log is not listed yet, by its records' bytes.
    pub(crate) fn waiting(&self) -> Backlog {
        let copied = self.copied_to();
        let (from, to) = self.store.log_range();
        let ranges = self.store.sealed_ranges();
        let mut waiting = Backlog::default();
        let sealed_to = ranges.last().map_or(from, |range| range.to);
        for range in ranges.iter().filter(|range| range.to > copied) {
            (waiting.segments, waiting.sealed_bytes) =
                (waiting.segments + 1, waiting.sealed_bytes + range.tail - range.from);
        }
        waiting.bytes = waiting.sealed_bytes + (to - sealed_to.max(copied)).max(0);
        waiting
    }

    /// What the operator decided.
    pub(crate) const fn settings(&self) -> &ColdSettings {
        &self.settings
    }
}

/// What of the log is not in the tier yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Backlog {
    /// Sealed segments, and the bytes of their records.
    pub segments: u64,
    pub sealed_bytes: i64,
    /// Those and what is in the active segment.
    pub bytes: i64,
}

impl Open {
    /// Whether where queues begin was taken in by the manifest of now.
    pub(crate) fn knows_floor(&self) -> bool {
        let manifest = self.tier.manifest();
        self.floor.load().as_ref().is_some_and(|floor| floor.is_of(&manifest))
    }

    /// Takes in where queues begin by the manifest of now.
    pub(crate) async fn look_at_floor(&self) -> Result<(), strata_tiering::cold::ColdError> {
        let before = self.floor.load_full();
        self.floor.store(Some(Arc::new(Floor::look(&self.tier, before.as_deref()).await?)));
        Ok(())
    }
}
