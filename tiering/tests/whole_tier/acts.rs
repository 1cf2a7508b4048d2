//! What the writers and readers of a run do, each act with what has to be said of its outcome.

use std::collections::BTreeMap;
use std::time::Duration;

use strata_tiering::cold::Ask;
use strata_tiering::manifest::{CommitError, Edit, ObjectRef};
use strata_tiering::roll::{RollError, Rolled};
use strata_tiering::tier::Expired;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::log::{Draft, Log};
use crate::model::{QUEUES, TOPICS};
use crate::reader::{ALL, Tagged, check};
use crate::run::Run;
use crate::world::{BROKER, Own};

type Merged = Result<Option<Rolled>, RollError>;

impl Run {
    /// How long somebody waits before he goes away; mostly long enough.
    fn patience(&mut self) -> Duration {
        let millis = if self.dice.hits(150) { self.dice.below(40_000) } else { 100_000_000 };
        Duration::from_millis(millis)
    }

    /// An error that no fault explains.
    fn failed(&mut self, own: &Own, error: &dyn std::error::Error) -> Result<(), String> {
        self.tally.failed += 1;
        let is_over = self.world.truth.epoch() > own.tier.epoch();
        if !self.is_calm() || own.life.is_ending() || is_over {
            Ok(())
        } else {
            Err(format!("it failed for no reason: {error}"))
        }
    }

    /// The part that is to be listed next, once a topic that was dropped is known to be.
    async fn next_part(&mut self, own: &Own) -> Option<Log> {
        if let Some((topic, at)) = self.world.model.wish.clone() {
            own.tier.commit(Edit::Drop { topics: [(topic, at)].into() }).await.ok()?;
            self.tally.drops += 1;
            self.world.model.wish = None;
        }
        Some(self.world.model.wanted(&self.world.truth))
    }

    pub(crate) async fn roll(&mut self, own: &Own) -> Result<(), String> {
        let Some(log) = self.next_part(own).await else { return Ok(()) };
        let rolled = begin_roll(own, log).await.unwrap();
        self.rolled(own, rolled)
    }

    fn rolled(&mut self, own: &Own, rolled: Result<Rolled, RollError>) -> Result<(), String> {
        match rolled {
            Ok(rolled) => {
                self.tally.rolls += 1;
                let known = &mut self.world.model.acknowledged;
                *known = rolled.roll.to.max(*known);
                Ok(())
            }
            // It was made before, and nobody was told.
            Err(RollError::Commit(CommitError::Refused { .. })) => Ok(()),
            Err(error) => self.failed(own, &error),
        }
    }

    /// A merge of what is worth it, or of any neighbours.
    fn begin_merge(&mut self, own: &Own) -> JoinHandle<Merged> {
        let manifest = own.tier.manifest();
        let count = manifest.rolls().len() as u64;
        let first = self.dice.below(count);
        // A merge that begins with a part of the log that was gone would not tell the gap before it; see `plan`.
        let begins = manifest.rolls().get(usize::try_from(first).unwrap());
        if begins.is_some_and(|roll| first == 0 || !roll.objects.is_empty()) && self.dice.hits(800) {
            let last = (first + 1 + self.dice.below(6)).min(count);
            let range = usize::try_from(first).unwrap()..usize::try_from(last).unwrap();
            return own.aside(move |tier, runtime, pace| tier.merge((&manifest, range), runtime, pace).map(Some));
        }
        own.aside(|tier, runtime, pace| tier.merge_once(None, runtime, pace))
    }

    pub(crate) async fn merge(&mut self, own: &Own) -> Result<(), String> {
        let merged = self.begin_merge(own).await.unwrap();
        self.merged(own, merged)
    }

    fn merged(&mut self, own: &Own, merged: Merged) -> Result<(), String> {
        match merged {
            Ok(merged) => {
                self.tally.merges += u64::from(merged.is_some());
                Ok(())
            }
            Err(RollError::Overtaken { .. }) => {
                self.tally.overtaken += 1;
                Ok(())
            }
            // The rolls went while they were merged.
            Err(RollError::Commit(CommitError::Refused { .. })) => Ok(()),
            Err(error) => self.failed(own, &error),
        }
    }

    pub(crate) async fn drop_topic(&mut self, own: &Own) -> Result<(), String> {
        self.world.model.wish_drop(&self.world.truth);
        let Some((topic, at)) = self.world.model.wish.clone() else { return Ok(()) };
        let patience = self.patience();
        match timeout(patience, own.tier.commit(Edit::Drop { topics: [(topic, at)].into() })).await {
            Ok(Ok(_)) => {
                self.tally.drops += 1;
                self.world.model.wish = None;
                Ok(())
            }
            Ok(Err(error)) => self.failed(own, &error),
            Err(_) => Ok(()),
        }
    }

    pub(crate) async fn expire(&mut self, own: &Own) -> Result<(), String> {
        let now = self.world.model.time + i64::try_from(self.dice.below(10)).unwrap();
        self.world.model.expired_at = self.world.model.expired_at.max(now);
        let (retention, patience) = (self.world.model.retention(), self.patience());
        match timeout(patience, own.tier.expire_once(&retention, now)).await {
            Ok(Ok(expired)) => {
                self.tally.expired += u64::from(expired != Expired::default());
                let overdue = self.world.model.overdue(&own.tier.manifest(), now);
                overdue.map_or(Ok(()), Err)
            }
            Ok(Err(error)) => self.failed(own, &error),
            Err(_) => Ok(()),
        }
    }

    pub(crate) async fn collect(&mut self, own: &Own) -> Result<(), String> {
        let grace = if self.dice.hits(700) { Duration::ZERO } else { Duration::from_secs(self.dice.below(3_600)) };
        let patience = self.patience();
        match timeout(patience, own.tier.collect_once(grace, self.now_ms())).await {
            Ok(Ok(collected)) => {
                self.tally.collected += collected.objects as u64;
                Ok(())
            }
            Ok(Err(error)) => self.failed(own, &error),
            Err(_) => Ok(()),
        }
    }

    /// Decides what to delete and sleeps, or wakes and deletes it.
    pub(crate) async fn sleep_over_collection(&mut self, own: &Own) -> Result<(), String> {
        match self.slept.take() {
            Some((who, survey)) => {
                // Whatever comes of it: it deletes nothing that is listed.
                let _ = who.tier.collect(survey).await;
                Ok(())
            }
            None => {
                let survey = own.tier.survey(Duration::ZERO, self.now_ms()).await;
                self.slept = survey.ok().map(|survey| (own.clone(), survey));
                Ok(())
            }
        }
    }

    /// Edits that change nothing, so that checkpoints come and edits are collected.
    pub(crate) async fn fill(&mut self, edits: u64) -> Result<(), String> {
        let Some(own) = self.world.own.clone() else { return Ok(()) };
        for _ in 0..self.dice.below(edits) {
            if let Err(error) = own.tier.commit(Edit::Properties { ids: BTreeMap::new() }).await {
                return self.failed(&own, &error);
            }
        }
        Ok(())
    }

    pub(crate) async fn put_state(&mut self, own: &Own) -> Result<(), String> {
        self.states += 1;
        let name = format!("state/{}-{}", own.tier.epoch(), self.states);
        let bytes = vec![1_u8; usize::try_from(self.states).unwrap()];
        let object = ObjectRef { name: name.clone().into(), bytes: bytes.len() as u64, crc32c: crc32c::crc32c(&bytes) };
        if let Err(error) = own.tier.bucket().put(&format!("{BROKER}/{name}"), bytes.into()).await {
            return self.failed(own, &error);
        }
        match own.tier.commit(Edit::State { object }).await {
            Ok(_) => Ok(()),
            Err(error) => self.failed(own, &error),
        }
    }

    /// Reads of a writer, of one that is over, and of one that only reads, anywhere and with any filter.
    pub(crate) async fn read(&mut self) -> Result<(), String> {
        if self.dice.hits(700) {
            self.follower.show(&self.world.truth);
        }
        if self.dice.hits(300) {
            // Whatever it holds of objects that came damaged, it may not stay with.
            let _ = self.follower.check_all(&self.world.model).await;
        }
        let mut all = vec![(self.follower.cold.clone(), self.follower.shown())];
        let writers = self.world.own.iter().chain(&self.world.old);
        all.extend(writers.map(|own| (own.tier.cold().clone(), own.tier.manifest())));
        for _ in 0..12 {
            let (cold, manifest) = &all[usize::try_from(self.dice.below(all.len() as u64)).unwrap()];
            let topic = TOPICS[usize::try_from(self.dice.below(TOPICS.len() as u64)).unwrap()];
            let queue_id = i32::try_from(self.dice.below(QUEUES as u64)).unwrap();
            let expected = self.world.model.expected(manifest, topic, queue_id);
            let end = expected.as_ref().map_or(0, |(begin, slots)| begin + slots.len() as i64);
            let offset = i64::try_from(self.dice.below(u64::try_from(end).unwrap() + 3)).unwrap();
            let messages_max = usize::try_from(1 + self.dice.below(30)).unwrap();
            let ask = Ask { topic, queue_id, offset, messages_max, bytes_max: 4_000 };
            let sift = match self.dice.below(3) {
                0 => ALL,
                // Nothing tells a wrong bit in a page of a column that is read alone.
                kind => Tagged { tag: Some("red"), by_columns: kind == 2 && self.rates.flipped == 0 },
            };
            match cold.read(&ask, &sift).await {
                Ok(read) => {
                    self.tally.reads += 1;
                    check(&ask, &sift, &read, &expected)?;
                }
                // What an older manifest lists may be deleted.
                Err(_) => self.tally.failed_reads += 1,
            }
        }
        Ok(())
    }

    /// While a roll or a merge waits for the store, others go on.
    pub(crate) async fn overlap(&mut self, own: &Own) -> Result<(), String> {
        self.tally.overlaps += 1;
        let merges = self.dice.hits(500);
        let log = if merges { None } else { self.next_part(own).await };
        let gate = own.life.wait_after(self.dice.below(3));
        let mut work = match log {
            Some(log) => {
                let rolling = begin_roll(own, log);
                tokio::spawn(async move { rolling.await.unwrap().map(Some) })
            }
            None => self.begin_merge(own),
        };
        let ended = tokio::select! {
            biased;
            () = gate.reached.notified() => None,
            ended = &mut work => Some(ended.unwrap()),
        };
        let mut meanwhile = Ok(());
        if ended.is_none() {
            meanwhile = self.meanwhile(own).await;
            self.world.look().await?;
        }
        let is_over = self.world.truth.epoch() > own.tier.epoch();
        own.life.wait_no_more();
        let ended = match ended {
            Some(ended) => ended,
            None => work.await.unwrap(),
        };
        meanwhile?;
        match ended {
            Ok(Some(_)) if is_over => Err("a writer that was taken over was told that its edit was made".to_owned()),
            Ok(Some(rolled)) if !merges => self.rolled(own, Ok(rolled)),
            Err(error) if !merges => self.rolled(own, Err(error)),
            other => self.merged(own, other),
        }
    }

    async fn meanwhile(&mut self, own: &Own) -> Result<(), String> {
        match self.dice.below(8) {
            0..2 => self.collect(own).await,
            2 => self.drop_topic(own).await,
            3..5 => self.expire(own).await,
            5 => self.read().await,
            _ => {
                self.reopen().await;
                self.world.look().await?;
                let Some(new) = self.world.own.clone().filter(|new| new.tier.epoch() > own.tier.epoch()) else {
                    return Ok(());
                };
                let _ = new.tier.collect_once(Duration::ZERO, self.now_ms()).await;
                self.roll(&new).await
            }
        }
    }

    /// A writer that was taken over goes on, and must be told so whatever it tries.
    pub(crate) async fn old_acts(&mut self) -> Result<(), String> {
        let count = self.world.old.len() as u64;
        let Some(own) = self.world.old.get(usize::try_from(self.dice.below(count)).unwrap()).cloned() else {
            return Ok(());
        };
        let manifest = own.tier.manifest();
        // An edit that nobody made before: the same once more may find that it was made before the takeover.
        self.tally.fenced += 1;
        let unique = format!("old{}", self.tally.fenced);
        let act = self.dice.below(6);
        let told = match act {
            0 => begin_roll(&own, foreign(manifest.end().unwrap_or(0))).await.unwrap().is_ok(),
            1 if !manifest.rolls().is_empty() => {
                let range = 0..1 + usize::try_from(self.dice.below(manifest.rolls().len() as u64)).unwrap();
                let merged = own.aside(move |tier, runtime, pace| tier.merge((&manifest, range), runtime, pace));
                merged.await.unwrap().is_ok()
            }
            2 => {
                let topics = [(unique, manifest.end().unwrap_or(0))].into();
                own.tier.commit(Edit::Drop { topics }).await.is_ok()
            }
            3 => {
                let expired = own.tier.expire_once(&self.world.model.retention(), i64::MAX).await;
                expired.is_ok_and(|expired| expired != Expired::default())
            }
            4 => own.tier.collect_once(Duration::ZERO, self.now_ms()).await.is_ok(),
            _ => own.tier.commit(Edit::Log { id: unique }).await.is_ok(),
        };
        if told { Err(format!("a writer of epoch {} was believed in act {act}", own.tier.epoch())) } else { Ok(()) }
    }
}

fn begin_roll(own: &Own, log: Log) -> JoinHandle<Result<Rolled, RollError>> {
    own.aside(move |tier, runtime, pace| tier.roll(&log, runtime, pace))
}

/// A part of a log that is not the model's: what nobody may ever see.
fn foreign(from: u64) -> Log {
    let mut log = Log::at(from);
    for nth in 0..9_u8 {
        let body = [nth; 20];
        log.append(&Draft { topic: "a", queue_id: 0, properties: b"", body: &body, time: 1_800_000_000_000 });
    }
    log
}
