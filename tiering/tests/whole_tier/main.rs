//! The whole tier while everything goes wrong that can, from seeds: rolls, merges, retention, collections, readers, dead
//! and replaced writers, over a store that fails in every way that stores do.
//!
//! What has to hold after each step: what was acknowledged is listed, once; each offset reads back as the model has it;
//! nothing is listed that was not read back; nobody changes or deletes anything behind another one's claim. And at the
//! end, with a store that works again: all is listed and whole, and nothing else is left in the bucket.
//! `STRATA_TIER_SEEDS=2000` runs more seeds, `STRATA_TIER_SEED=7` one.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../faults/mod.rs"]
mod faults;
#[path = "../tier/log.rs"]
mod log;

mod acts;
mod crash;
mod model;
mod reader;
mod run;
mod store;
mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use faults::Rates;
use parking_lot::Mutex;
use reader::Reader;
use run::{Tally, run};
use world::{BROKER, World};

const SEEDS: u64 = 200;

/// Seeds at once: a writer that keeps its budget sleeps half of its time.
const THREADS: usize = 3;

fn variable(name: &str) -> Option<u64> {
    std::env::vars().find(|(known, _)| known == name).and_then(|(_, value)| value.parse().ok())
}

/// A runtime whose clock stands, so that what takes a store hours takes no time.
fn paused() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

/// Says which seed failed, also when it panics, and ends the others.
struct Case<'a>(u64, &'a AtomicU64);

impl Drop for Case<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}", self.0);
            self.1.store(u64::MAX / 2, Ordering::Relaxed);
        }
    }
}

#[test]
fn nothing_is_lost_or_twice_whatever_fails() {
    let seeds = match variable("STRATA_TIER_SEED") {
        Some(one) => one..one + 1,
        None => 0..variable("STRATA_TIER_SEEDS").unwrap_or(SEEDS),
    };
    let (next, total) = (AtomicU64::new(seeds.start), Mutex::new(Tally::default()));
    let work = || {
        loop {
            let case = Case(next.fetch_add(1, Ordering::Relaxed), &next);
            if case.0 >= seeds.end {
                return;
            }
            match paused().block_on(run(case.0)) {
                Ok(tally) => total.lock().add(&tally),
                Err(what) => panic!("seed {}: {what}", case.0),
            }
        }
    };
    std::thread::scope(|scope| (0..THREADS).for_each(|_| drop(scope.spawn(work))));
    let total = total.into_inner();
    println!("{} seeds: {total:?}", seeds.clone().count());
    if seeds.count() > 100 {
        total.assert_all_met();
    }
}

/// A reader that was given wrong bits is right as soon as the store is.
#[test]
fn a_bit_that_was_wrong_on_the_way_does_not_stay() {
    paused().block_on(async {
        let mut world = World::new(3, Rates::default()).await;
        let own = world.open(Arc::default()).await.unwrap();
        for _ in 0..4 {
            let log = world.model.wanted(&world.truth);
            own.aside(move |tier, runtime, pace| tier.roll(&log, runtime, pace)).await.unwrap().unwrap();
            world.look().await.unwrap();
        }
        for seed in 0..20 {
            let reader = Reader::open(world.bucket(&Arc::default()), BROKER).await;
            reader.show(&world.truth);
            let rate = if seed % 2 == 0 { 1_000 } else { 300 };
            world.faults.fail(Rates { flipped: rate, ..Rates::default() });
            // With few of them it may come to the right ones.
            let _ = reader.check_all(&world.model).await;
            world.faults.fail(Rates::default());
            reader.check_all(&world.model).await.unwrap();
        }
    });
}
