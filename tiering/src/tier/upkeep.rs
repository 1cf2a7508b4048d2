//! What keeps a tier in order: merging, retention, and deleting what nobody needs.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use thiserror::Error;
use tokio::runtime::Handle;

use super::Tier;
use crate::cold::ColdError;
use crate::collect::{CollectError, Collected, Survey, delete, survey_of};
use crate::expire::{Contents, Keep, Retention, what_expires};
use crate::manifest::{CommitError, Edit, Manifest, Roll, RollKey};
use crate::merge::{Rolls, plan};
use crate::pace::Pace;
use crate::roll::{RollError, RollOptions, Rolled, Roller, Source};

/// Why retention removed nothing, or not all.
#[derive(Debug, Error)]
pub enum ExpireError {
    /// What a roll holds cannot be read.
    #[error(transparent)]
    Cold(#[from] ColdError),
    /// An edit was not made.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// What retention removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Expired {
    /// Rolls that are listed no more.
    pub rolls: usize,
    /// Bytes of their objects.
    pub bytes: u64,
    /// Topics of which messages expired in rolls that others need.
    pub topics: usize,
}

impl Tier {
    /// Merges the oldest rolls that are worth it in the calling thread, which must not be one of the runtime's, and lists
    /// what they became; `None` when none are. No roll is made that covers more than `time_max_ms`, see [`plan`].
    ///
    /// # Errors
    /// As for [`Tier::roll`]; the rolls stay as they are then.
    pub fn merge_once(
        &self,
        time_max_ms: Option<u64>,
        runtime: &Handle,
        (pace, stop): (&mut Pace, &AtomicBool),
    ) -> Result<Option<Rolled>, RollError> {
        let manifest = self.manifest();
        match plan(&manifest, time_max_ms) {
            Some(range) => self.merge((&manifest, range), runtime, (pace, stop)).map(Some),
            None => Ok(None),
        }
    }

    /// Merges neighbouring rolls, by their places in a manifest, as [`Tier::merge_once`] does. One roll alone is written
    /// again without what is gone.
    ///
    /// # Errors
    /// As for [`Tier::roll`]; the rolls stay as they are then.
    pub fn merge(
        &self,
        (manifest, range): (&Arc<Manifest>, Range<usize>),
        runtime: &Handle,
        (pace, stop): (&mut Pace, &AtomicBool),
    ) -> Result<Rolled, RollError> {
        let rolls = manifest.rolls().get(range.clone()).unwrap_or_default();
        let remove: Vec<RollKey> = rolls.iter().map(|roll| RollKey::from(&**roll)).collect();
        let rolls = Rolls::open((&self.bucket, &self.home, runtime), manifest, range)?;
        let attempt = self.attempts.begin();
        let options = RollOptions {
            broker: self.broker.clone(),
            epoch: self.epoch,
            attempt: attempt.number,
            properties: rolls.columns(),
        };
        let mut roller = Roller { bucket: &self.bucket, home: &self.home, runtime, pace, stop };
        let rolled = roller.roll(&rolls, &options)?;
        let part = rolls.part();
        let swap = Edit::Swap { remove, add: vec![rolled.roll.clone()] };
        runtime.block_on(self.swap(manifest, (part.from, part.to), swap))?;
        Ok(rolled)
    }

    /// Swaps rolls, unless something in them went since `seen`: what was merged would show it again.
    async fn swap(&self, seen: &Manifest, (from, to): (u64, u64), edit: Edit) -> Result<(), RollError> {
        let mut ledger = self.ledger.lock().await;
        if !ledger.is_settled() {
            // An edit that may have been made may have dropped something; whatever is committed finds that out.
            let found_out = ledger.commit(Edit::Properties { ids: BTreeMap::new() }).await;
            self.manifest.store(ledger.manifest());
            found_out?;
        }
        if ledger.manifest().floors_within(from, to) != seen.floors_within(from, to) {
            return Err(RollError::Overtaken { from, to });
        }
        let made = ledger.commit(edit).await;
        self.manifest.store(ledger.manifest());
        made?;
        Ok(())
    }

    /// Removes from the manifest what retention no longer keeps. Its objects stay until they are collected.
    ///
    /// `now_ms` has to be a time that a jump of the clock does not move.
    ///
    /// # Errors
    /// See [`ExpireError`]; what was removed before stays removed.
    pub async fn expire_once<F: Fn(&str) -> Option<Keep>>(
        &self,
        retention: &Retention<F>,
        now_ms: i64,
    ) -> Result<Expired, ExpireError> {
        let manifest = self.manifest();
        let old = retention.old_enough(manifest.rolls(), now_ms);
        let contents = self.contents(manifest.rolls().get(..old).unwrap_or_default()).await?;
        let mut expired = Expired::default();
        for edit in what_expires(&manifest, &contents, retention, now_ms) {
            match &edit {
                Edit::Expire { rolls } => {
                    expired.rolls += rolls.len();
                    expired.bytes += manifest.rolls().iter().take(rolls.len()).map(|roll| roll.bytes()).sum::<u64>();
                }
                Edit::ExpireTopics { topics } => expired.topics += topics.len(),
                Edit::Claim {}
                | Edit::Add { .. }
                | Edit::Swap { .. }
                | Edit::Drop { .. }
                | Edit::Properties { .. }
                | Edit::Log { .. }
                | Edit::State { .. } => {}
            }
            self.commit(edit).await?;
        }
        Ok(expired)
    }

    /// What each roll holds, out of its index; those that were looked at before are remembered.
    async fn contents(&self, rolls: &[Arc<Roll>]) -> Result<Vec<Arc<Contents>>, ColdError> {
        let known = std::mem::take(&mut *self.contents.lock());
        let mut all = HashMap::with_capacity(rolls.len());
        let mut out = Vec::with_capacity(rolls.len());
        for roll in rolls {
            let contents = match known.get(&roll.index.name) {
                Some(known) => Arc::clone(known),
                None => {
                    let index = self.cold.index(roll).await?;
                    Arc::new(Contents::of(roll, &index))
                }
            };
            all.insert(roll.index.name.clone(), Arc::clone(&contents));
            out.push(contents);
        }
        *self.contents.lock() = all;
        Ok(out)
    }

    /// What lies in the broker's folder and is needed by nobody, as it is now: those that may be deleted, and those whose
    /// time of grace is not over. Changes nothing.
    ///
    /// # Errors
    /// See [`CollectError`].
    pub async fn survey(&self, grace: Duration, now_ms: i64) -> Result<Survey, CollectError> {
        // The order matters: what is listed in the manifest after the listing is seen by the refresh, and what is under
        // way after the listing has no objects in it.
        let found = self.bucket.list(&self.home).await?;
        let under_way = self.attempts.under_way();
        let (manifest, stale) = {
            let mut ledger = self.ledger.lock().await;
            let manifest = ledger.refresh().await?;
            if manifest.epoch() != self.epoch {
                return Err(CollectError::Fenced { by: manifest.epoch() });
            }
            if !ledger.is_settled() {
                return Err(CollectError::Unsettled);
            }
            self.manifest.store(Arc::clone(&manifest));
            (manifest, ledger.stale_names().await?)
        };
        survey_of((&self.bucket, &self.home), (&manifest, &under_way), (found, stale), (grace, now_ms)).await
    }

    /// Deletes what is needed by nobody and was not for the time of grace. Only the writer that is believed does.
    ///
    /// # Errors
    /// See [`CollectError`]; what was deleted before stays deleted.
    pub async fn collect_once(&self, grace: Duration, now_ms: i64) -> Result<Collected, CollectError> {
        let survey = self.survey(grace, now_ms).await?;
        self.collect(survey).await
    }

    /// Deletes what a survey found to be due. However long ago that was: nobody ever lists again what was not listed and
    /// not under way then.
    ///
    /// # Errors
    /// What the store says; what was deleted before stays deleted.
    pub async fn collect(&self, survey: Survey) -> Result<Collected, CollectError> {
        delete(&self.bucket, &self.home, survey).await
    }
}
