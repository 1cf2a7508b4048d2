//! Crashes: after every call and every note of a run, with everything kept, nothing, and what is between.
//!
//! Owns which crash states are tried. What a state is, is `image`'s; what must be true of it, `audit`'s.

use std::collections::HashSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use strata_store::StoreOptions;

use super::audit::{Case, audit};
use super::disk::SimDisk;
use super::image::{Crash, Event, Image, Tree, materialise};
use super::ledger::{Mark, Messages, Moment};
use super::rig::{Front, Rig, scratch, sim_clock, sim_options};
use super::scenarios::Scenario;

/// Up to so many pending operations every subset is tried.
const SUBSETS_PENDING_MAX: usize = 3;

/// How thorough a run is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    pub(crate) seed: u64,
    /// Random crash states at each point.
    pub(crate) random: u64,
    /// Crashes during recovery are tried for every so manieth state.
    pub(crate) nested_every: usize,
}

/// What was tried.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tried {
    pub(crate) runs: usize,
    pub(crate) points: usize,
    pub(crate) states: usize,
    /// States within a recovery.
    pub(crate) nested: usize,
}

impl std::ops::AddAssign for Tried {
    fn add_assign(&mut self, other: Self) {
        self.runs += other.runs;
        self.points += other.points;
        self.states += other.states;
        self.nested += other.nested;
    }
}

/// A disk that does as it is asked.
pub(crate) fn honest() -> Arc<Front> {
    Arc::new(|disk: Arc<SimDisk>| disk as _)
}

/// Runs a script and crashes it everywhere.
///
/// # Errors
/// The first state in which an answer was wrong, with all that is needed to see it again.
pub(crate) fn crash_everywhere(
    (scenario, sync): (&Scenario, bool),
    front: Arc<Front>,
    effort: Effort,
) -> Result<Tried, String> {
    let mut rig = Rig::new(sync, front);
    (scenario.run)(&mut rig);
    if let Some(wrong) = rig.tally.wrong.first() {
        return Err(format!("{} ({}): {wrong}", scenario.name, mode(sync)));
    }
    let (start, told, messages) = (rig.start(), rig.told(), std::mem::take(&mut rig.messages));
    let (events, _) = rig.disk.trace();
    drop(rig);
    let walk = Walk { scenario, sync, events: &events, messages: &messages, effort };
    walk.run(start, told).map_err(|what| format!("{} ({}), seed {}: {what}", scenario.name, mode(sync), effort.seed))
}

pub(crate) fn mode(sync: bool) -> &'static str {
    if sync { "sync" } else { "async" }
}

/// One run, walked event by event.
struct Walk<'a> {
    scenario: &'a Scenario,
    sync: bool,
    events: &'a [Event],
    messages: &'a Messages,
    effort: Effort,
}

impl Walk<'_> {
    fn run(&self, start: Image, told: usize) -> Result<Tried, String> {
        let mut image = start;
        let mut moment = Moment::new(self.messages.0.len());
        let mut tried = Tried { runs: 1, ..Tried::default() };
        let mut known = HashSet::new();
        for point in 0..=self.events.len() {
            if point >= told {
                tried.points += 1;
                self.crash_here(point, (&image, &moment), &mut known, &mut tried)?;
            }
            let Some(event) = self.events.get(point) else { break };
            image.apply(event);
            if let Event::Mark(mark) = event {
                moment.take(mark, marks(&self.events[point + 1..]));
            }
        }
        Ok(tried)
    }

    fn crash_here(
        &self,
        point: usize,
        (image, moment): (&Image, &Moment),
        known: &mut HashSet<u64>,
        tried: &mut Tried,
    ) -> Result<(), String> {
        for crash in choices(image, point as u64, self.effort) {
            let tree = image.after(crash);
            // The same bytes under the same promises were judged already.
            if !known.insert(fingerprint(&tree, moment.marks, crash == Crash::All)) {
                continue;
            }
            tried.states += 1;
            let seed = self.effort.seed ^ (point as u64) << 20 ^ tried.states as u64;
            let case = self.case(moment, crash == Crash::All, seed);
            judge(&case, &tree).map_err(|what| format!("a crash after event {point} with {crash:?}: {what}"))?;
            if self.effort.nested_every > 0 && tried.states.is_multiple_of(self.effort.nested_every) {
                tried.nested += crash_recovery(&case, &tree)
                    .map_err(|what| format!("recovery after a crash after event {point} with {crash:?}: {what}"))?;
            }
        }
        Ok(())
    }

    fn case<'a>(&'a self, moment: &'a Moment, all: bool, seed: u64) -> Case<'a> {
        // A thread of the store may look at the disk while a record is being copied.
        let meddled = self.scenario.meddles || self.scenario.threads;
        Case { messages: self.messages, moment, all, sync: self.sync, meddled, seed }
    }
}

pub(crate) fn marks(events: &[Event]) -> impl Iterator<Item = &Mark> {
    events.iter().filter_map(|event| if let Event::Mark(mark) = event { Some(mark) } else { None })
}

fn choices(image: &Image, point: u64, effort: Effort) -> Vec<Crash> {
    let mut out = vec![Crash::All, Crash::Nothing];
    let pending = image.pending();
    if pending == 0 {
        return out;
    }
    if pending <= SUBSETS_PENDING_MAX {
        out.extend((1..(1 << pending) - 1).map(Crash::Subset));
    }
    let seed = |nth: u64| effort.seed.wrapping_mul(1_000_003) ^ point << 8 ^ nth;
    out.extend((0..effort.random).map(|nth| Crash::Random(seed(nth))));
    out
}

fn fingerprint(tree: &Tree, marks: usize, all: bool) -> u64 {
    let mut hasher = DefaultHasher::new();
    (tree, marks, all).hash(&mut hasher);
    hasher.finish()
}

/// Puts a state into a folder of its own and judges it.
pub(crate) fn judge(case: &Case<'_>, tree: &Tree) -> Result<(), String> {
    let folder = scratch();
    materialise(tree, folder.path());
    audit(case, &sim_options(folder.path(), case.sync))
}

/// Crashes the recovery of a state after each of its own calls and judges what is left; gives their number.
fn crash_recovery(case: &Case<'_>, tree: &Tree) -> Result<usize, String> {
    let folder = scratch();
    materialise(tree, folder.path());
    let disk = Arc::new(SimDisk::over(folder.path()));
    let options: StoreOptions = sim_options(folder.path(), case.sync);
    let (_, mut image) = disk.trace();
    let opened = strata_store::Store::open_on(options, sim_clock(), Arc::clone(&disk) as _);
    let (store, _) = opened.map_err(|error| format!("it does not open: {error}"))?;
    let (events, _) = disk.trace();
    disk.kill();
    drop(store);
    let mut known = HashSet::new();
    for (point, event) in events.iter().enumerate() {
        image.apply(event);
        let random = Crash::Random(case.seed ^ (point as u64) << 3);
        for crash in [Crash::All, Crash::Nothing, random] {
            let tree = image.after(crash);
            if !known.insert(fingerprint(&tree, 0, false)) {
                continue;
            }
            let again = Case { all: case.all && crash == Crash::All, meddled: true, ..*case };
            judge(&again, &tree).map_err(|what| format!("crashed itself after call {point} with {crash:?}: {what}"))?;
        }
    }
    Ok(known.len())
}
