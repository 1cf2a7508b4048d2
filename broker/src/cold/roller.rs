//! The roller: sealed segments go to the tier, oldest first, in a thread of their own.
//!
//! Owns which segments make one roll, the pauses after failures, and telling those who wait for a round. It never
//! deletes: the store does, and asks up to where the log was copied.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use strata_store::SealedRange;
use strata_tiering::idle;
use strata_tiering::limits::IDLE_THREADS_MAX;
use strata_tiering::manifest::{CommitError, Edit};
use strata_tiering::pace::Pace;
use strata_tiering::roll::{Part, RollError, Rolled, Source};
use tokio::runtime::{Handle, Runtime};
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use super::source::{Missing, Segments};
use super::upkeep::{Due, Tidied};
use super::{Cold, Open, Rolling};
use crate::hall::Hall;

/// Bytes of segments that make one roll at most; one large one is a roll by itself.
const ROLL_BYTES_MAX: i64 = 1 << 30;

/// Between two looks for sealed segments when nobody rings.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// The longest pause after a failure.
const FAILURE_PAUSE_MAX: Duration = Duration::from_secs(60);

/// How long a roll that yields to everything else waits for a core in all. One of a GiB computes for some eight seconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a round of rolling did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Round {
    /// Log offset up to which everything is listed now.
    pub copied_to: i64,
    /// Rolls, messages and bytes of objects of this round.
    pub rolls: u64,
    pub messages: u64,
    pub bytes: u64,
    /// Why it ended before everything sealed was rolled.
    pub failure: Option<String>,
}

/// Rolls for one broker.
pub(crate) struct Roller {
    pub(super) cold: Arc<Cold>,
    /// Whose topics have rules of retention.
    pub(super) hall: Arc<Hall>,
    pub(super) runtime: Handle,
    /// Made when something is rolled first.
    idle: OnceLock<Option<Runtime>>,
    /// Whether what yielded to everything else got too little of the cores.
    starves: AtomicBool,
}

impl Roller {
    pub(crate) const fn new(cold: Arc<Cold>, hall: Arc<Hall>, runtime: Handle) -> Self {
        Self { cold, hall, runtime, idle: OnceLock::new(), starves: AtomicBool::new(false) }
    }

    /// Rolls, and keeps the tier in order, until the broker stops; call it in a thread of its own. What a fault breaks off
    /// is begun anew: without this thread the disk would fill and nobody would know why.
    pub(crate) fn run_until_stopped(&self) {
        while std::panic::catch_unwind(AssertUnwindSafe(|| self.run())).is_err() {
            error!("rolling was broken off by a fault of this program, which is told above; it begins anew");
            *self.cold.progress.trouble.lock() = Some("it was broken off by a fault; the log tells it".to_owned());
            *self.cold.progress.rolling.lock() = None;
            if !self.cold.stop.load(Ordering::Relaxed) {
                std::thread::sleep(LOOK_INTERVAL);
            }
        }
    }

    fn run(&self) {
        let mut pace = Pace::new(self.cold.settings.budget);
        let mut pause = LOOK_INTERVAL;
        let mut over: Option<Round> = None;
        let mut due = Due::new();
        while !self.cold.stop.load(Ordering::Relaxed) {
            let Some(open) = self.cold.opened() else {
                self.wait(LOOK_INTERVAL);
                continue;
            };
            if !open.knows_floor() {
                self.look_at_floor(&open);
            }
            let (wanted, tidying) = self.cold.asked.take();
            let seal = wanted.iter().any(|wanted| wanted.seal);
            let round = match &over {
                Some(round) => round.clone(),
                None => {
                    let (round, fenced) = self.round(&open, &mut pace, seal);
                    over = fenced.then(|| round.clone());
                    round
                }
            };
            pause = match round.failure {
                None => LOOK_INTERVAL,
                Some(_) => (pause * 2).min(FAILURE_PAUSE_MAX),
            };
            for waiting in wanted {
                // Who asked may be gone.
                let _ = waiting.done.send(round.clone());
            }
            let tidied = match round.failure {
                None => self.tidy(&open, &mut pace, &mut due, tidying.iter().map(|waiting| waiting.grace).min()),
                Some(failure) => Some(Tidied { failure: Some(failure), ..Tidied::default() }),
            };
            for waiting in tidying {
                let _ = waiting.done.send(tidied.clone().unwrap_or_default());
            }
            self.starves.store(false, Ordering::Relaxed);
            self.wait(pause);
        }
        // Who waits hears that nobody will answer.
        drop(self.cold.asked.take());
    }

    fn wait(&self, pause: Duration) {
        // Somebody rings, or the time is over; both are a reason to look.
        let _ = self.runtime.block_on(async { tokio::time::timeout(pause, self.cold.bell.notified()).await });
    }

    /// Rolls all that is sealed; with `seal` the active segment is sealed first. Gives whether another writer has taken
    /// the tier over.
    fn round(&self, open: &Open, pace: &mut Pace, seal: bool) -> (Round, bool) {
        let mut round = Round::default();
        let mut fenced = false;
        if seal && let Err(error) = self.cold.store.seal_active() {
            round.failure = Some(error.to_string());
        }
        while round.failure.is_none() && !self.cold.stop.load(Ordering::Relaxed) {
            match self.next(open, pace) {
                Ok(Some(rolled)) => self.count(&mut round, &rolled),
                Ok(None) => break,
                Err(error) => {
                    fenced = matches!(&error, RollError::Commit(CommitError::Fenced { .. }));
                    round.failure = Some(error.to_string());
                }
            }
        }
        round.copied_to = self.cold.copied_to();
        // What the broker's end breaks off is no trouble; who waits for the round is told all the same.
        if !self.cold.stop.load(Ordering::Relaxed) {
            self.tell(&round, fenced);
        }
        (round, fenced)
    }

    fn count(&self, round: &mut Round, rolled: &Rolled) {
        let bytes = rolled.roll.bytes();
        (round.rolls, round.messages, round.bytes) =
            (round.rolls + 1, round.messages + rolled.rows, round.bytes + bytes);
        let progress = &self.cold.progress;
        progress.rolls.fetch_add(1, Ordering::Relaxed);
        progress.rolled_messages.fetch_add(rolled.rows, Ordering::Relaxed);
        progress.rolled_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Says a failure once, and that it is over.
    fn tell(&self, round: &Round, fenced: bool) {
        let mut trouble = self.cold.progress.trouble.lock();
        match &round.failure {
            Some(reason) if fenced => {
                error!(
                    reason,
                    "another broker has taken the cold tier over; this one rolls no more and deletes nothing"
                );
            }
            Some(reason) => {
                self.cold.progress.failures.fetch_add(1, Ordering::Relaxed);
                if trouble.as_ref() == Some(reason) {
                    debug!(reason, "rolling fails still");
                } else {
                    warn!(reason, "rolling failed; trying again, nothing local is deleted meanwhile");
                }
            }
            None if trouble.is_some() => info!("rolling works again"),
            None => {}
        }
        trouble.clone_from(&round.failure);
    }

    /// Rolls the oldest segments that are not listed yet; `None` when all sealed ones are.
    fn next(&self, open: &Open, pace: &mut Pace) -> Result<Option<Rolled>, RollError> {
        self.drop_forgotten(open)?;
        let ranges = self.cold.store.sealed_ranges();
        let copied = open.tier.manifest().end().and_then(|end| i64::try_from(end).ok());
        let from = match (copied, ranges.first()) {
            (Some(copied), _) => copied,
            (None, Some(first)) => first.from,
            (None, None) => return Ok(None),
        };
        let behind: Vec<SealedRange> = ranges.into_iter().filter(|range| range.to > from).collect();
        let Some(first) = behind.first() else { return Ok(None) };
        let began = Instant::now();
        let rolled = if first.from > from {
            self.roll_missing(open, (from, first.from), pace)?
        } else {
            let begins = group(&behind);
            let progress = &self.cold.progress;
            let begin = u64::try_from(from).unwrap_or(0);
            let segments = Segments::open(&self.cold.store, &begins, begin, &progress.walked_bytes)?;
            let Part { to, bytes, .. } = segments.part();
            *progress.rolling.lock() = Some(Rolling { from, to: i64::try_from(to).unwrap_or(from), bytes });
            let rolled =
                self.yielding(pace, |pace, runtime| open.tier.roll(&segments, runtime, (pace, &self.cold.stop)));
            *progress.rolling.lock() = None;
            rolled?
        };
        let (roll, took) = (&rolled.roll, began.elapsed());
        info!(
            from = roll.from,
            to = roll.to,
            objects = roll.objects.len(),
            messages = rolled.rows,
            record_bytes = rolled.record_bytes,
            bytes = roll.bytes(),
            ?took,
            "rolled"
        );
        self.look_at_floor(open);
        Ok(Some(rolled))
    }

    /// Does heavy work in a thread that runs when no other one wants the core, so that nobody who sends or reads waits for
    /// it. When it starves there it is done here, as others' work is, and so is what comes until nothing waits.
    pub(super) fn yielding<T: Send>(
        &self,
        pace: &mut Pace,
        work: impl Fn(&mut Pace, &Handle) -> Result<T, RollError> + Sync,
    ) -> Result<T, RollError> {
        if !self.starves.load(Ordering::Relaxed) {
            let done = std::thread::scope(|scope| {
                let yielding = || {
                    if let Err(error) = pace.yield_here(PATIENCE) {
                        debug!(%error, "rolling does not yield to other threads");
                    }
                    work(pace, self.yielding_runtime())
                };
                let thread = std::thread::Builder::new().name("cold-roll".to_owned()).spawn_scoped(scope, yielding);
                thread.map(|thread| thread.join().unwrap_or_else(|fault| std::panic::resume_unwind(fault)))
            });
            match done {
                Ok(Err(RollError::Stopped { .. })) if pace.is_starved() => {
                    info!("rolling gets too little of the cores; it takes its share until nothing waits to be rolled");
                    self.starves.store(true, Ordering::Relaxed);
                }
                Ok(done) => return done,
                Err(error) => warn!(%error, "no thread for rolling was started; it is done in another one"),
            }
        }
        pace.go_on_here();
        work(pace, &self.runtime)
    }

    /// What runs the requests of work that yields. Those of a folder are work of this machine, and yield too; those of
    /// other stores share their connections with readers.
    fn yielding_runtime(&self) -> &Handle {
        let own = self.idle.get_or_init(|| {
            let runtime = self.cold.bucket.is_folder().then(|| idle::runtime("cold-idle", (1, IDLE_THREADS_MAX)))?;
            runtime.inspect_err(|error| warn!(%error, "no threads that yield were started")).ok()
        });
        own.as_ref().map_or(&self.runtime, Runtime::handle)
    }

    /// Takes in where queues begin now. Until it can be read they are told to begin where they did before.
    pub(super) fn look_at_floor(&self, open: &Open) {
        if let Err(error) = self.runtime.block_on(open.look_at_floor()) {
            warn!(%error, "the oldest index cannot be read yet");
        }
    }

    /// Says in the manifest which topics were deleted, before anything behind that is rolled: a topic of the same name
    /// begins at offset 0 again, and must never be answered with messages of the one before.
    fn drop_forgotten(&self, open: &Open) -> Result<(), CommitError> {
        let manifest = open.tier.manifest();
        let Some((start, end)) = manifest.start().zip(manifest.end()) else { return Ok(()) };
        let forgotten = self.cold.store.forgotten_topics().into_iter().filter_map(|(topic, offset)| {
            let to = u64::try_from(offset).unwrap_or(0).min(end);
            let known = manifest.dropped().get(&topic).copied().unwrap_or(0);
            (to > start && to > known).then_some((topic, to))
        });
        let topics: std::collections::BTreeMap<String, u64> = forgotten.collect();
        if topics.is_empty() {
            return Ok(());
        }
        info!(?topics, "deleted topics are dropped in the cold tier too");
        self.runtime.block_on(open.tier.commit(Edit::Drop { topics }))?;
        self.look_at_floor(open);
        Ok(())
    }

    /// Lists a stretch of the log that was lost before it was rolled: its queues go on behind it.
    fn roll_missing(&self, open: &Open, (from, to): (i64, i64), pace: &mut Pace) -> Result<Rolled, RollError> {
        error!(from, to, "this part of the log was gone before it was rolled; it is listed as lost");
        let (from, to) = (u64::try_from(from).unwrap_or(0), u64::try_from(to).unwrap_or(0));
        let before = open.tier.manifest().rolls().last().map_or(0, |roll| roll.last_time);
        let part = Part { from, to, first_time: before, last_time: before, bytes: 0 };
        let mut queues = std::collections::BTreeMap::new();
        self.cold.store.for_each_queue(|topic, queue_id, range| {
            queues.insert((topic.as_bytes().to_vec(), queue_id), range.min);
        });
        open.tier.roll(&Missing { part, queues }, &self.runtime, (pace, &self.cold.stop))
    }
}

/// The begins of the first segments, as many as make one roll.
fn group(ranges: &[SealedRange]) -> Vec<i64> {
    let mut begins = Vec::new();
    let (mut bytes, mut end) = (0, None);
    for range in ranges {
        let own = range.tail - range.from;
        let goes_on = end.is_none_or(|end| end == range.from) && (begins.is_empty() || bytes + own <= ROLL_BYTES_MAX);
        if !goes_on {
            break;
        }
        begins.push(range.from);
        bytes += own;
        end = Some(range.to);
    }
    begins
}
