//! Keeping the tier in order: retention, merging of small rolls, and deleting what nobody needs.
//!
//! Owns when each of them is due. It runs in the roller's thread, behind what waits to be rolled.

use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use strata_tiering::collect::{CollectError, Collected, Survey};
use strata_tiering::expire::{Keep, Retention};
use strata_tiering::pace::Pace;
use strata_tiering::roll::RollError;
use strata_tiering::tier::ExpireError;
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::roller::Roller;
use super::{Cold, Open};
use crate::retention::ColdRules;

/// Between two looks at retention and at what may be merged.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);

/// Between two listings of the broker's folder. Each costs a request for a thousand objects.
const COLLECT_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// The first listing behind a start, so that brokers that are restarted often get there too.
const FIRST_COLLECT: Duration = Duration::from_secs(5 * 60);

/// A merged roll covers at most this part of the shortest retention: what is rolled together expires together.
const MERGE_TIME_SHARE: u64 = 8;

/// A merged roll may cover so much whatever the retention, ms: short ones would leave nothing but small objects.
const MERGE_TIME_MS_MIN: u64 = 86_400_000;

/// What was done since the start, under the names by which operators are told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UpkeepDone {
    pub expired_rolls: u64,
    pub expired_bytes: u64,
    /// How often messages of a topic expired in rolls that others need.
    pub expired_topics: u64,
    pub merges: u64,
    pub merged_bytes: u64,
    pub deleted_objects: u64,
    pub deleted_bytes: u64,
    pub failures: u64,
}

/// The state of upkeep.
#[derive(Debug, Default)]
pub(crate) struct Upkeep {
    pub done: Mutex<UpkeepDone>,
    /// Why the last try failed.
    pub trouble: Mutex<Option<String>>,
}

/// What one round did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tidied {
    pub expired_rolls: usize,
    pub expired_topics: usize,
    pub merges: u64,
    pub deleted: Collected,
    /// Objects with names that this program gives to nothing; they stay.
    pub unknown: usize,
    /// Why it ended early.
    pub failure: Option<String>,
}

/// Why a round ended early.
#[derive(Debug, Error)]
enum TidyError {
    #[error(transparent)]
    Expire(#[from] ExpireError),
    #[error(transparent)]
    Merge(#[from] RollError),
    #[error(transparent)]
    Collect(#[from] CollectError),
}

/// When something is due.
pub(super) struct Due {
    look: Instant,
    collect: Instant,
}

impl Due {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self { look: now + LOOK_INTERVAL, collect: now + FIRST_COLLECT }
    }
}

impl Cold {
    /// What may be deleted, and what waits for that; changes nothing.
    pub(crate) async fn survey(&self, open: &Open, grace: Duration) -> Result<Survey, CollectError> {
        open.tier.survey(grace, self.store.trusted_ms()).await
    }
}

impl Roller {
    /// Does what is due; with `wanted` everything, and the answer tells what came of it. `wanted` is the time of grace.
    pub(super) fn tidy(&self, open: &Open, pace: &mut Pace, due: &mut Due, wanted: Option<Duration>) -> Option<Tidied> {
        let now = Instant::now();
        if wanted.is_none() && now < due.look {
            return None;
        }
        due.look = now + LOOK_INTERVAL;
        let grace = wanted.or_else(|| (now >= due.collect).then(|| Duration::from_secs(self.cold.settings.grace_s)));
        if grace.is_some() {
            due.collect = now + COLLECT_INTERVAL;
        }
        let mut tidied = Tidied::default();
        let outcome = self.tidy_parts(open, pace, grace, &mut tidied);
        if self.cold.stop.load(Ordering::Relaxed) {
            // What was broken off by the end goes on behind the next start.
            return Some(tidied);
        }
        tidied.failure = outcome.err().map(|error| error.to_string());
        self.tell_tidied(&tidied);
        Some(tidied)
    }

    fn tidy_parts(
        &self,
        open: &Open,
        pace: &mut Pace,
        grace: Option<Duration>,
        tidied: &mut Tidied,
    ) -> Result<(), TidyError> {
        let (done, tier) = (&self.cold.progress.upkeep.done, &open.tier);
        let rules = self.hall.cold_rules(self.cold.settings.keep);
        if rules.are_any() {
            self.expire(open, rules, tidied)?;
        }
        let time_max_ms = rules.shortest_ms.map(|ms| (ms / MERGE_TIME_SHARE).max(MERGE_TIME_MS_MIN));
        // What waits to be rolled goes first: the disk fills meanwhile.
        while !self.cold.stop.load(Ordering::Relaxed) && self.cold.waiting().segments == 0 {
            let merge = |pace: &mut Pace, runtime: &Handle| {
                let limits = (pace, &self.cold.stop);
                tier.merge_once(time_max_ms, runtime, limits)
            };
            let merged = self.yielding(pace, merge)?;
            let Some(merged) = merged else { break };
            let (roll, bytes) = (&merged.roll, merged.roll.bytes());
            info!(from = roll.from, to = roll.to, objects = roll.objects.len(), bytes, "merged small rolls");
            tidied.merges += 1;
            {
                let mut done = done.lock();
                (done.merges, done.merged_bytes) = (done.merges + 1, done.merged_bytes + bytes);
            }
            self.look_at_floor(open);
        }
        let Some(grace) = grace else { return Ok(()) };
        let collecting = async {
            let survey = self.cold.survey(open, grace).await?;
            let unknown = survey.unknown.len();
            Ok::<_, CollectError>((unknown, tier.collect(survey).await?))
        };
        let (unknown, deleted) = self.runtime.block_on(collecting)?;
        if deleted.objects > 0 {
            info!(objects = deleted.objects, bytes = deleted.bytes, "deleted objects that nobody needs");
        }
        if unknown > 0 {
            warn!(unknown, "objects in the cold tier have names that this version does not know; they stay");
        }
        {
            let mut done = done.lock();
            done.deleted_objects += deleted.objects as u64;
            done.deleted_bytes += deleted.bytes;
        }
        (tidied.unknown, tidied.deleted) = (unknown, deleted);
        Ok(())
    }

    fn expire(&self, open: &Open, rules: ColdRules, tidied: &mut Tidied) -> Result<(), ExpireError> {
        let retention = Retention {
            default: self.cold.settings.keep,
            topics: |topic: &str| -> Option<Keep> { self.hall.keep_cold(topic) },
            youngest_ms: rules.shortest_ms.filter(|_| !rules.has_bytes),
        };
        let expired = self.runtime.block_on(open.tier.expire_once(&retention, self.cold.store.trusted_ms()))?;
        if expired.rolls > 0 || expired.topics > 0 {
            info!(rolls = expired.rolls, bytes = expired.bytes, topics = expired.topics, "expired in the cold tier");
            self.look_at_floor(open);
        }
        (tidied.expired_rolls, tidied.expired_topics) = (expired.rolls, expired.topics);
        let mut done = self.cold.progress.upkeep.done.lock();
        done.expired_rolls += expired.rolls as u64;
        done.expired_bytes += expired.bytes;
        done.expired_topics += expired.topics as u64;
        Ok(())
    }

    /// Says a failure once, and that it is over.
    fn tell_tidied(&self, tidied: &Tidied) {
        let upkeep = &self.cold.progress.upkeep;
        let mut trouble = upkeep.trouble.lock();
        match &tidied.failure {
            Some(reason) => {
                upkeep.done.lock().failures += 1;
                if trouble.as_ref() == Some(reason) {
                    debug!(reason, "the cold tier cannot be kept in order still");
                } else {
                    warn!(reason, "the cold tier cannot be kept in order; trying again, nothing is lost meanwhile");
                }
            }
            None if trouble.is_some() => info!("the cold tier is kept in order again"),
            None => {}
        }
        trouble.clone_from(&tidied.failure);
    }
}
