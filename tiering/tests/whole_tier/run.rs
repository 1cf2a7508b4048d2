//! One seed: steps in any order, each followed by a look at everything, and the end of it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use strata_tiering::collect::Survey;
use strata_tiering::verify::Depth;
use tokio::time::{Instant, sleep};

use crate::faults::{Dice, Rates};
use crate::reader::Reader;
use crate::store::{Life, When};
use crate::world::{BROKER, Own, World, now_ms};

/// Steps of one seed.
const STEPS: u64 = 26;

/// What was met.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    pub(crate) rolls: u64,
    pub(crate) merges: u64,
    pub(crate) drops: u64,
    pub(crate) expired: u64,
    pub(crate) collected: u64,
    pub(crate) reads: u64,
    pub(crate) failed_reads: u64,
    /// Calls of the writer that ended in an error.
    pub(crate) failed: u64,
    pub(crate) crashes: u64,
    /// Calls of a writer that was taken over.
    pub(crate) fenced: u64,
    pub(crate) overtaken: u64,
    pub(crate) overlaps: u64,
}

impl Tally {
    fn all(&mut self) -> [&mut u64; 12] {
        let Self { rolls, merges, drops, expired, collected, reads, .. } = self;
        let Self { failed_reads, failed, crashes, fenced, overtaken, overlaps, .. } = self;
        [rolls, merges, drops, expired, collected, reads, failed_reads, failed, crashes, fenced, overtaken, overlaps]
    }

    pub(crate) fn add(&mut self, other: &Self) {
        let mut other = other.clone();
        self.all().into_iter().zip(other.all()).for_each(|(sum, more)| *sum += *more);
    }

    pub(crate) fn assert_all_met(mut self) {
        let least = self.all().into_iter().map(|sum| *sum).min();
        assert!(least > Some(0), "something was not met: {self:?}");
    }
}

/// A seed under way.
pub(crate) struct Run {
    pub(crate) world: World,
    pub(crate) dice: Dice,
    pub(crate) rates: Rates,
    pub(crate) began: Instant,
    pub(crate) tally: Tally,
    /// Reads beside the writers, and what it holds of objects from before.
    pub(crate) follower: Reader,
    /// What was decided to be deleted by whom, who then slept.
    pub(crate) slept: Option<(Own, Survey)>,
    pub(crate) states: u64,
    /// Whether the store was ever down, or answers were lost on purpose: what was begun then may fail for it later.
    was_troubled: bool,
}

pub(crate) async fn run(seed: u64) -> Result<Tally, String> {
    let mut rates = [Rates::default(), Rates::all(3), Rates::all(10), Rates::all(30)][(seed % 4) as usize];
    if (seed / 4).is_multiple_of(2) {
        rates.flipped = 0;
    }
    let world = World::new(seed, rates).await;
    *world.notes.rotten.lock() = rates.truncated;
    let follower = Reader::open(world.bucket(&Arc::default()), BROKER).await;
    let (dice, tally) = (Dice::new(seed), Tally::default());
    let (began, slept, states, was_troubled) = (Instant::now(), None, 0, false);
    let mut run = Run { world, dice, rates, began, tally, follower, slept, states, was_troubled };
    if run.dice.hits(400) {
        run.reopen().await;
        run.fill(150).await?;
    }
    for _ in 0..STEPS {
        run.step().await?;
        run.world.check().await?;
        run.notice_end();
        if run.dice.hits(500) {
            sleep(Duration::from_millis(run.dice.below(1_200_000))).await;
        }
    }
    run.finish().await.map_err(|what| format!("at the end: {what}"))?;
    Ok(run.tally)
}

impl Run {
    pub(crate) fn now_ms(&self) -> i64 {
        now_ms(self.began)
    }

    /// Whether an error has to have a reason that is not the store.
    pub(crate) fn is_calm(&self) -> bool {
        self.rates.before == 0 && !self.was_troubled
    }

    /// Lets go of a writer that died, or that another one has taken over.
    fn notice_end(&mut self) {
        let Some(own) = &self.world.own else { return };
        if own.life.is_over() {
            self.tally.crashes += 1;
            self.world.own = None;
        } else if self.world.truth.epoch() > own.tier.epoch() {
            self.world.old.extend(self.world.own.take());
        }
    }

    /// Opens the tier anew; the writer that was there goes on without knowing.
    pub(crate) async fn reopen(&mut self) {
        let life: Arc<Life> = Arc::default();
        if self.dice.hits(100) {
            life.end_after(self.dice.below(80), self.when());
        }
        if let Ok(own) = self.world.open(life).await {
            self.world.old.extend(self.world.own.replace(own));
            if self.world.old.len() > 2 {
                self.world.old.remove(0);
            }
        }
    }

    pub(crate) fn when(&mut self) -> When {
        if self.dice.hits(500) { When::Before } else { When::After }
    }

    async fn step(&mut self) -> Result<(), String> {
        if self.world.own.is_none() {
            self.reopen().await;
            self.world.look().await?;
        }
        let Some(own) = self.world.own.clone() else {
            sleep(Duration::from_secs(60)).await;
            return self.old_acts().await;
        };
        match self.dice.below(100) {
            0..26 => self.roll(&own).await,
            26..36 => self.merge(&own).await,
            36..41 => self.drop_topic(&own).await,
            41..49 => self.expire(&own).await,
            49..57 => self.collect(&own).await,
            57..60 => self.sleep_over_collection(&own).await,
            60..66 => self.read().await,
            66..80 => self.overlap(&own).await,
            80..84 => {
                self.reopen().await;
                Ok(())
            }
            84..89 => {
                own.life.end_after(self.dice.below(40), self.when());
                if self.dice.hits(600) { self.roll(&own).await } else { self.any(&own).await }
            }
            89..94 => self.old_acts().await,
            94 => self.fill(40).await,
            95 => self.put_state(&own).await,
            96..98 => self.lose_answers(&own).await,
            _ => self.outage(&own).await,
        }
    }

    /// Something that a writer does.
    pub(crate) async fn any(&mut self, own: &Own) -> Result<(), String> {
        match self.dice.below(6) {
            0 => self.roll(own).await,
            1 => self.merge(own).await,
            2 => self.drop_topic(own).await,
            3 => self.expire(own).await,
            4 => self.collect(own).await,
            _ => self.put_state(own).await,
        }
    }

    /// An edit is made, and its writer does not learn it; whatever he does next must not take it for undone.
    async fn lose_answers(&mut self, own: &Own) -> Result<(), String> {
        self.was_troubled = true;
        self.world.notes.is_deaf.store(true, Ordering::Relaxed);
        let lost = if self.dice.hits(500) { self.roll(own).await } else { self.any(own).await };
        self.world.notes.is_deaf.store(false, Ordering::Relaxed);
        self.world.look().await?;
        // The breaker of some is open now.
        sleep(Duration::from_secs(60)).await;
        lost.and(self.collect(own).await)?;
        self.world.check().await?;
        self.any(own).await
    }

    /// The store is down for a while, and what is asked of it meanwhile fails.
    async fn outage(&mut self, own: &Own) -> Result<(), String> {
        self.was_troubled = true;
        let rates = std::mem::replace(&mut self.rates, Rates { before: 1_000, ..Rates::default() });
        self.world.faults.fail(self.rates);
        let mut result = self.roll(own).await;
        for _ in 0..self.dice.below(4) {
            result = result.and(self.any(own).await);
            result = result.and(self.read().await);
        }
        self.rates = rates;
        self.world.faults.fail(rates);
        // The breaker lets a call through after half a minute at most.
        sleep(Duration::from_secs(60)).await;
        result
    }

    /// What has to hold at the end, with a store that works again.
    async fn finish(&mut self) -> Result<(), String> {
        self.rates = Rates::default();
        self.world.faults.fail(self.rates);
        *self.world.notes.rotten.lock() = 0;
        // Whatever is late lands meanwhile.
        sleep(Duration::from_secs(7_200)).await;
        self.reopen_surely().await?;
        for _ in 0..6 {
            self.old_acts().await?;
        }
        let own = self.world.own.clone().unwrap();
        for _ in 0..2 {
            self.roll(&own).await?;
            self.world.check().await?;
        }
        let end = self.world.model.parts.last().map(|last| last.to);
        if self.world.truth.end() != end || self.world.model.wish.is_some() {
            return Err(format!("the log is listed up to {:?} of {end:?}", self.world.truth.end()));
        }
        for merges in [false, true] {
            if merges {
                self.merge(&own).await?;
            }
            self.old_acts().await?;
            own.tier.collect_once(Duration::ZERO, self.now_ms()).await.map_err(|error| error.to_string())?;
            self.world.check().await?;
            self.world.check_bucket().await?;
            self.world.verify(Depth::Full).await?;
        }
        // Whatever reached a reader in bad times does not stay with it.
        self.follower.show(&self.world.truth);
        self.follower.check_all(&self.world.model).await.map_err(|what| format!("the follower: {what}"))?;
        let fresh = Reader::open(self.world.plain.clone(), BROKER).await;
        fresh.show(&self.world.truth);
        fresh.check_all(&self.world.model).await?;
        self.read().await
    }

    async fn reopen_surely(&mut self) -> Result<(), String> {
        let own = self.world.open(Arc::default()).await.map_err(|error| error.to_string())?;
        self.world.old.extend(self.world.own.replace(own));
        self.world.check().await
    }
}
