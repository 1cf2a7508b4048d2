//! The n-th call fails, for every n: no promise is broken, the store latches when it must and not otherwise.
//!
//! Owns the failing runs and what a failure must lead to. What is lost by it is judged as after any crash.

use super::audit::Case;
use std::sync::Arc;

use super::crashes::{Tried, judge, marks, mode};
use super::disk::{Call, EINTR, EIO, ENOSPC, Fault};
use super::image::{Crash, Event};
use super::ledger::Moment;
use super::rig::{Front, Rig};
use super::scenarios::Scenario;

/// The ways in which a call fails.
const FAULTS: [Fault; 5] = [Fault::Errno(EIO), Fault::Errno(ENOSPC), Fault::Errno(EINTR), Fault::Half, Fault::Kill];

/// Lets every call of a script fail, in every way or in one that changes from call to call.
///
/// # Errors
/// The first failure after which something was wrong.
pub(crate) fn fail_everywhere(
    (scenario, sync): (&Scenario, bool),
    front: &Arc<Front>,
    (seed, every_way): (u64, bool),
) -> Result<Tried, String> {
    let mut rig = Rig::new(sync, Arc::clone(front));
    (scenario.run)(&mut rig);
    let calls = rig.calls();
    drop(rig);
    let mut tried = Tried::default();
    for at in 0..calls {
        let ways = if every_way { &FAULTS[..] } else { &FAULTS[(at + seed as usize) % FAULTS.len()..][..1] };
        for fault in ways {
            let rig = Rig::new(sync, Arc::clone(front));
            tried += fail_at((scenario, rig), (at, *fault), seed).map_err(|what| {
                format!("{} ({}), seed {seed}, call {at} fails with {fault:?}: {what}", scenario.name, mode(sync))
            })?;
        }
    }
    Ok(tried)
}

fn fail_at((scenario, mut rig): (&Scenario, Rig), (at, fault): (usize, Fault), seed: u64) -> Result<Tried, String> {
    rig.fail_at(at, fault);
    (scenario.run)(&mut rig);
    // The strict crash finds most; what a lucky one keeps besides is asked for at every third call.
    let crashes = 1 + usize::from(at.is_multiple_of(3));
    let call = rig.hit().ok_or("the run took another way before it")?;
    let described = |what: String| format!("{} of {}: {what}", call.what, call.path.display());
    after_fault(&mut rig, &call, fault).map_err(&described)?;
    if let Some(wrong) = rig.tally.wrong.first() {
        return Err(described(wrong.clone()));
    }
    let tried = judge_end(&mut rig, scenario, (seed, crashes)).map_err(described)?;
    Ok(tried)
}

/// What must have followed, and that the store works again once the cause is gone.
fn after_fault(rig: &mut Rig, call: &Call, fault: Fault) -> Result<(), String> {
    if fault == Fault::Kill {
        // The next process finds what the system's memory holds, and the power goes then.
        rig.kill();
    }
    let latched = rig.store.as_ref().is_some_and(|store| store.latched().is_some());
    if latched {
        rig.close();
    }
    let must = call.is_of_log();
    // Whether a deletion is on disk may be unknown, and then nothing that depends on it is promised.
    let may = must || call.path.ends_with("tombstones") || call.path.ends_with("store");
    if fault != Fault::Kill && must != (rig.tally.latches > 0) && !(may && rig.tally.latches > 0) {
        return Err(format!("the store latched {} times", rig.tally.latches));
    }
    rig.open();
    if rig.store.is_none() {
        return Err("it does not open again".to_owned());
    }
    if rig.takes_more() { Ok(()) } else { Err("it takes no message although the cause is gone".to_owned()) }
}

/// Judges the run's end as if the power went then.
fn judge_end(rig: &mut Rig, scenario: &Scenario, (seed, crashes): (u64, usize)) -> Result<Tried, String> {
    let (start, sync) = (rig.start(), rig.is_sync());
    let (events, _) = rig.disk.trace();
    let messages = std::mem::take(&mut rig.messages);
    let (mut image, mut moment) = (start, Moment::new(messages.0.len()));
    for (at, event) in events.iter().enumerate() {
        image.apply(event);
        if let Event::Mark(mark) = event {
            moment.take(mark, marks(&events[at + 1..]));
        }
    }
    for crash in [Crash::Nothing, Crash::Random(seed)].into_iter().take(crashes) {
        let meddled = scenario.meddles;
        let case = Case { messages: &messages, moment: &moment, all: false, sync, meddled, seed };
        judge(&case, &image.after(crash)).map_err(|what| format!("then a crash with {crash:?}: {what}"))?;
    }
    Ok(Tried { runs: 1, points: 1, states: crashes, nested: 0 })
}

/// A disk without space refuses what needs some, and everything goes on when space is back.
///
/// # Errors
/// What was wrong.
pub(crate) fn full_disk(sync: bool, seed: u64) -> Result<(), String> {
    const SCENARIO: Scenario = Scenario { name: "full disk", run: |_| (), meddles: false, threads: false };
    let mut rig = Rig::new(sync, super::crashes::honest());
    rig.open();
    rig.send("T", 0, (500, 300));
    rig.send("Other", 0, (500, 300));
    rig.flush();
    for round in 0..2 {
        rig.disk.fill(true);
        // What fits the active segment is taken; nothing gets it into a new one.
        rig.roll("T", 0);
        rig.roll("T", 0);
        rig.seal_active();
        rig.forget("Other");
        rig.flush();
        if rig.tally.full < (round + 1) * 2 || rig.store.as_ref().is_none_or(|store| store.latched().is_some()) {
            return Err(format!("round {round}: {} appends were refused as the disk's fill", rig.tally.full));
        }
        let there = rig.readable().len();
        rig.disk.fill(false);
        rig.roll("T", 0);
        rig.seal_pending();
        if !rig.takes_more() || rig.readable().len() <= there {
            return Err(format!("round {round}: it does not go on with space"));
        }
    }
    judge_end(&mut rig, &SCENARIO, (seed, 2))?;
    rig.tally.wrong.first().map_or(Ok(()), |wrong| Err(wrong.clone()))
}
