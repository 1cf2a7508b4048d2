//! Several writers of one manifest, with readers and collectors, while everything goes wrong that can: from seeds.
//!
//! What has to hold: all who see the manifest at one number see the same; what was acknowledged stays; nobody is
//! acknowledged behind another one's claim. `STRATA_TIER_SEEDS=2000` runs more seeds, `STRATA_TIER_SEED=7` one.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod faults;
mod rolls;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use faults::{Dice, Faults, Rates};
use parking_lot::Mutex;
use rolls::{add, roll};
use strata_tiering::bucket::{Patience, Puts};
use strata_tiering::manifest::{CommitError, Edit, Ledger, Manifest, ObjectRef, RollKey, Writer};
use tokio::time::{sleep, timeout};

const SEEDS: u64 = 200;
/// Edits until a run ends: some windows of 64, so that collections happen in it.
const EDITS: u64 = 420;

/// No pauses of chance, so that a seed is one run.
fn patience() -> Patience {
    Patience { tries: 3, first_pause: Duration::ZERO, ..Patience::default() }
}

/// What was seen and acknowledged.
#[derive(Default)]
struct Record {
    views: BTreeMap<u64, Arc<Manifest>>,
    /// Number of an edit that was acknowledged, and its writer's epoch.
    edits: BTreeMap<u64, u64>,
    claims: BTreeMap<u64, u64>,
    collected: usize,
    fenced: usize,
}

struct World {
    seed: u64,
    store: Arc<Faults>,
    record: Mutex<Record>,
}

impl World {
    fn saw(&self, manifest: &Arc<Manifest>) {
        for pair in manifest.rolls().windows(2) {
            assert_eq!(pair[0].to, pair[1].from, "seed {}", self.seed);
        }
        let mut record = self.record.lock();
        let known = record.views.entry(manifest.number()).or_insert_with(|| Arc::clone(manifest));
        assert_eq!(known, manifest, "seed {}: two states after edit {}", self.seed, manifest.number());
    }

    fn acknowledged(&self, manifest: &Arc<Manifest>, epoch: u64) {
        self.saw(manifest);
        let other = self.record.lock().edits.insert(manifest.number(), epoch);
        assert_eq!(other, None, "seed {}: edit {} was acknowledged twice", self.seed, manifest.number());
    }

    fn is_over(&self) -> bool {
        self.record.lock().views.last_key_value().is_some_and(|(number, _)| *number >= EDITS)
    }

    async fn open(&self) -> Option<Ledger> {
        match Ledger::open(self.store.bucket(patience()), "b").await {
            Ok(ledger) => {
                self.saw(&ledger.manifest());
                Some(ledger)
            }
            Err(_) => {
                sleep(Duration::from_secs(5)).await;
                None
            }
        }
    }
}

fn up_to(dice: &mut Dice, seconds: u64) -> Duration {
    Duration::from_millis(dice.below(seconds * 1000))
}

/// Something that a writer might do next.
fn choose(dice: &mut Dice, ledger: &Ledger) -> Edit {
    let (manifest, epoch) = (ledger.manifest(), ledger.epoch().unwrap());
    let listed = manifest.rolls();
    let keys = |from: usize, to: usize| listed[from..to].iter().map(|roll| RollKey::from(&**roll)).collect();
    match dice.below(100) {
        0..20 => {
            let name = format!("p{}", dice.next());
            Edit::Properties { ids: manifest.property_ids(&[&name]) }
        }
        20..35 if listed.len() > 4 => {
            let from = usize::try_from(dice.below(listed.len() as u64 - 3)).unwrap();
            let to = from + 2 + usize::try_from(dice.below(2)).unwrap();
            let merged = roll(listed[from].from, listed[to - 1].to, epoch);
            Edit::Swap { remove: keys(from, to), add: vec![merged] }
        }
        35..40 if listed.len() > 40 => Edit::Expire { rolls: keys(0, 10) },
        40..45 => {
            let object = ObjectRef { name: format!("state/{}", dice.next()).into(), bytes: 1, crc32c: 2 };
            Edit::State { object }
        }
        45..48 if manifest.end().is_some() => {
            Edit::Drop { topics: [("t".to_owned(), dice.below(manifest.end().unwrap()))].into() }
        }
        _ => add(ledger),
    }
}

/// One life of a writer: claims, commits, stalls, is cut off in the middle, and goes on or crashes.
async fn live(world: &World, dice: &mut Dice) {
    let Some(mut ledger) = world.open().await else { return };
    if dice.hits(200) {
        sleep(up_to(dice, 7200)).await;
    }
    let Ok(epoch) = ledger.claim(Puts::Atomic, Writer::Fenced).await else { return };
    let manifest = ledger.manifest();
    world.saw(&manifest);
    world.record.lock().claims.insert(epoch, manifest.number());
    for _ in 0..dice.below(150) {
        if dice.hits(20) {
            sleep(up_to(dice, 7200)).await;
        }
        let edit = choose(dice, &ledger);
        // The same edit again finds out what became of it; a writer that crashes never learns.
        loop {
            let patience = if dice.hits(20) { up_to(dice, 40) } else { Duration::from_secs(100_000) };
            match timeout(patience, ledger.commit(edit.clone())).await {
                Ok(Ok(manifest)) => {
                    world.acknowledged(&manifest, epoch);
                    break;
                }
                Ok(Err(CommitError::Fenced { by })) => {
                    assert!(by > epoch);
                    world.record.lock().fenced += 1;
                    sleep(up_to(dice, 3600)).await;
                    let again = ledger.commit(edit).await;
                    assert!(matches!(again, Err(CommitError::Fenced { .. })), "fenced for ever");
                    return;
                }
                // Another edit that was pending has changed what this one was made for.
                Ok(Err(CommitError::Refused { .. })) => break,
                Ok(Err(_)) | Err(_) if dice.hits(200) => return,
                Ok(Err(_)) | Err(_) if dice.hits(200) => break,
                Ok(Err(_)) | Err(_) => sleep(up_to(dice, 60)).await,
            }
        }
    }
}

async fn write(world: Arc<World>, number: u64) {
    let mut dice = Dice::new(world.seed * 10 + number);
    while !world.is_over() {
        live(&world, &mut dice).await;
        sleep(up_to(&mut dice, 1800)).await;
    }
}

/// Follows, with long absences.
async fn read(world: Arc<World>) {
    let mut dice = Dice::new(world.seed * 10 + 8);
    while !world.is_over() {
        let Some(mut ledger) = world.open().await else { continue };
        for _ in 0..20 {
            let before = ledger.manifest().number();
            if let Ok(manifest) = ledger.refresh().await {
                world.saw(&manifest);
                assert!(manifest.number() >= before, "seed {}: a reader went back", world.seed);
            }
            let seconds = if dice.hits(100) { 20_000 } else { 300 };
            sleep(up_to(&mut dice, seconds)).await;
        }
    }
}

async fn collect(world: Arc<World>) {
    let mut dice = Dice::new(world.seed * 10 + 9);
    while !world.is_over() {
        if let Some(ledger) = world.open().await
            && let Ok(deleted) = ledger.collect().await
        {
            world.record.lock().collected += deleted;
        }
        sleep(up_to(&mut dice, 1200)).await;
    }
}

/// What has to hold at the end, with a store that works again.
async fn verify(world: &World) {
    world.store.fail(Rates::default());
    sleep(Duration::from_secs(7200)).await;
    let mut ledger = world.open().await.unwrap();
    let last = ledger.manifest();
    let record = std::mem::take(&mut *world.record.lock());
    for (number, epoch) in &record.edits {
        assert!(*number <= last.number());
        for (_, claim) in record.claims.range(epoch + 1..) {
            assert!(number < claim, "seed {}: edit {number} was acknowledged behind claim {claim}", world.seed);
        }
    }
    // Ids are for good, so that any state that was acknowledged is a part of the last one in this.
    for number in record.edits.keys() {
        let then = &record.views[number];
        assert!(then.properties().iter().all(|(name, id)| last.properties().get(name) == Some(id)));
        assert!(then.end() <= last.end() && then.start() <= last.start());
    }
    world.record.lock().views = record.views;
    ledger.claim(Puts::Atomic, Writer::Fenced).await.unwrap();
    for _ in 0..130 {
        ledger.commit(add(&ledger)).await.unwrap();
        world.saw(&ledger.manifest());
    }
    ledger.collect().await.unwrap();
    assert_eq!(world.open().await.unwrap().manifest(), ledger.manifest());
}

async fn run(seed: u64) -> (usize, usize) {
    let rates = [Rates::default(), Rates::all(3), Rates::all(10), Rates::all(30)][(seed % 4) as usize];
    let store = Faults::new(seed, rates);
    let world = Arc::new(World { seed, store, record: Mutex::default() });
    let writers = 2 + seed / 4 % 2;
    let mut tasks: Vec<_> = (0..writers).map(|number| tokio::spawn(write(Arc::clone(&world), number))).collect();
    tasks.push(tokio::spawn(read(Arc::clone(&world))));
    tasks.push(tokio::spawn(collect(Arc::clone(&world))));
    for task in tasks {
        task.await.unwrap();
    }
    let counts = {
        let record = world.record.lock();
        (record.collected, record.fenced)
    };
    verify(&world).await;
    counts
}

fn variable(name: &str) -> Option<u64> {
    std::env::vars().find(|(known, _)| known == name).and_then(|(_, value)| value.parse().ok())
}

#[test]
fn writers_never_disagree() {
    let seeds = match variable("STRATA_TIER_SEED") {
        Some(one) => one..one + 1,
        None => 0..variable("STRATA_TIER_SEEDS").unwrap_or(SEEDS),
    };
    let (mut collected, mut fenced) = (0, 0);
    for seed in seeds.clone() {
        println!("seed {seed}");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let (more_collected, more_fenced) = runtime.block_on(run(seed));
        collected += more_collected;
        fenced += more_fenced;
    }
    println!("{} seeds, {collected} objects collected, {fenced} writers fenced", seeds.clone().count());
    let is_whole = seeds.count() > 100;
    assert!(!is_whole || collected > 10_000 && fenced > 100, "the faults were not met");
}
