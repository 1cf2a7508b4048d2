//! Power cuts, kills and failing calls at every point of scripted runs, on a disk that the test owns.
//!
//! `STRATA_SEED` repeats a run, `STRATA_SIM_RANDOM` sets how many random crash states each point gets (the long
//! form: 50). Reading order: `image` (what a crash may leave), `disk`, `ledger`, `rig`, `scenarios`, `audit`,
//! `crashes`, `faults`, `planted`.

#![allow(clippy::print_stdout, reason = "a run says its seed and what it tried")]
#![allow(clippy::struct_excessive_bools, clippy::wildcard_enum_match_arm, reason = "states and faults of a model")]

mod audit;
mod crashes;
mod disk;
mod draw;
mod faults;
mod image;
mod ledger;
mod planted;
mod rig;
mod scenarios;

use crashes::{Effort, Tried, crash_everywhere, honest};
use faults::fail_everywhere;
use scenarios::SCENARIOS;

/// Random crash states at each point of the short form.
const RANDOM_SHORT: u64 = 1;

/// In the short form, recovery itself is crashed in every so manieth state.
const NESTED_SHORT: usize = 40;

#[allow(clippy::disallowed_methods, reason = "how long and from which seed a test runs is said by the environment")]
fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a setting is a number"))
}

/// Seed and effort as the environment says.
fn effort() -> Effort {
    #[allow(clippy::disallowed_methods, reason = "a seed that nobody chose")]
    let fresh = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = setting("STRATA_SEED").unwrap_or_else(|| fresh() % 1_000_000);
    let random = setting("STRATA_SIM_RANDOM");
    let nested_every = if random.is_some() { 4 } else { NESTED_SHORT };
    Effort { seed, random: random.unwrap_or(RANDOM_SHORT), nested_every }
}

fn crash_all(sync: bool) {
    let effort = effort();
    let mut tried = Tried::default();
    let mut broken = Vec::new();
    for scenario in SCENARIOS {
        match crash_everywhere((scenario, sync), honest(), effort) {
            Ok(more) => tried += more,
            Err(what) => broken.push(what),
        }
    }
    assert!(broken.is_empty(), "{}\nrepeat with STRATA_SEED={}", broken.join("\n\n"), effort.seed);
    println!("crashes ({}), seed {}: {tried:?}", crashes::mode(sync), effort.seed);
    assert!(tried.states > 1_000 && tried.nested > 100, "hardly anything was tried: {tried:?}");
}

#[test]
fn no_crash_breaks_a_promise_of_synchronous_flush() {
    crash_all(true);
}

#[test]
fn no_crash_breaks_a_promise_of_asynchronous_flush() {
    crash_all(false);
}

fn fail_all(sync: bool) {
    let effort = effort();
    let every_way = setting("STRATA_SIM_RANDOM").is_some();
    let mut tried = Tried::default();
    let mut broken = Vec::new();
    for scenario in SCENARIOS.iter().filter(|scenario| !scenario.threads) {
        match fail_everywhere((scenario, sync), &honest(), (effort.seed, every_way)) {
            Ok(more) => tried += more,
            Err(what) => broken.push(what),
        }
    }
    assert!(broken.is_empty(), "{}\nrepeat with STRATA_SEED={}", broken.join("\n\n"), effort.seed);
    println!("failing calls ({}), seed {}: {tried:?}", crashes::mode(sync), effort.seed);
    assert!(tried.runs > 500, "hardly anything was tried: {tried:?}");
}

#[test]
fn no_failing_call_breaks_a_promise_of_synchronous_flush() {
    fail_all(true);
}

#[test]
fn no_failing_call_breaks_a_promise_of_asynchronous_flush() {
    fail_all(false);
}

#[test]
fn planted_bugs_are_noticed() {
    let effort = effort();
    match planted::find_all(effort.seed) {
        Ok(found) => println!("seed {}, {} planted bugs:\n{}", effort.seed, found.len(), found.join("\n")),
        Err(what) => panic!("{what}\nrepeat with STRATA_SEED={}", effort.seed),
    }
}

#[test]
fn a_full_disk_latches_nothing_and_is_used_again() {
    let effort = effort();
    for sync in [true, false] {
        if let Err(what) = faults::full_disk(sync, effort.seed) {
            panic!("{}: {what}\nrepeat with STRATA_SEED={}", crashes::mode(sync), effort.seed);
        }
    }
}
