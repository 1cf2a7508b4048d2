//! A writer that dies just before and just behind each of its calls to the store: whoever opens the tier next finds it
//! whole, finishes, and leaves nothing behind.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use strata_tiering::manifest::Edit;
use strata_tiering::verify::Depth;
use tokio::time::Instant;

use crate::faults::Rates;
use crate::paused;
use crate::store::{Life, When};
use crate::world::{BROKER, Own, World, now_ms};

/// What the writer is about when it dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Open,
    Roll,
    Merge,
    Expire,
    Collect,
}

/// Edits between two checkpoints.
const POST: u64 = 64;

/// Rolls that the tier has in the beginning.
const ROLLS: usize = 12;

/// A tier with rolls, a topic that was dropped, garbage, edits to collect, and an edit to come that asks for a checkpoint.
async fn prepare() -> World {
    let mut world = World::new(6, Rates::default()).await;
    world.own = Some(world.open(Arc::default()).await.unwrap());
    let own = world.own.clone().unwrap();
    for nth in 0..14 {
        roll(&mut world, &own).await.unwrap();
        if nth == 6 {
            world.model.wish_drop(&world.truth);
            let topics = world.model.wish.iter().cloned().collect();
            own.tier.commit(Edit::Drop { topics }).await.unwrap();
        }
        if nth == 9 {
            merge(&own, 2..5).await.unwrap();
        }
        world.check().await.unwrap();
    }
    // The next one is the claim of whoever opens it, and behind that comes the edit of what it does.
    while world.truth.number() < 3 * POST || world.truth.number() % POST != POST - 2 {
        let edit = Edit::Properties { ids: [].into() };
        own.tier.commit(edit).await.unwrap();
        world.look().await.unwrap();
    }
    assert_eq!(world.truth.rolls().len(), ROLLS);
    world.own = None;
    world.model.keep_for(150, 260);
    world
}

async fn roll(world: &mut World, own: &Own) -> Result<(), String> {
    let log = world.model.wanted(&world.truth);
    let rolled = own.aside(move |tier, runtime, pace| tier.roll(&log, runtime, pace)).await.unwrap();
    world.model.acknowledged = rolled.map_err(|error| error.to_string())?.roll.to;
    world.look().await
}

async fn merge(own: &Own, range: std::ops::Range<usize>) -> Result<(), String> {
    let manifest = own.tier.manifest();
    let merged = own.aside(move |tier, runtime, pace| tier.merge((&manifest, range), runtime, pace));
    merged.await.unwrap().map(drop).map_err(|error| error.to_string())
}

/// Does one thing, or the rest of it.
async fn act(world: &mut World, own: &Own, act: Act) -> Result<(), String> {
    match act {
        Act::Open => Ok(()),
        Act::Roll => roll(world, own).await,
        Act::Merge => merge(own, 3..9).await,
        Act::Expire => {
            world.model.expired_at = world.model.time;
            let expired = own.tier.expire_once(&world.model.retention(), world.model.time).await;
            expired.map(drop).map_err(|error| error.to_string())
        }
        Act::Collect => {
            let collected = own.tier.collect_once(Duration::ZERO, now_ms(Instant::now())).await;
            collected.map(drop).map_err(|error| error.to_string())
        }
    }
}

/// Rolls that are there and not listed.
async fn orphans(world: &World) -> BTreeSet<String> {
    let folder = |name: &str| name.rsplit_once('/').unwrap().0.to_owned();
    let listed: BTreeSet<String> = world.truth.rolls().iter().map(|roll| folder(&roll.index.name)).collect();
    let found = world.plain.list(&format!("{BROKER}/roll")).await.unwrap();
    let found = found.iter().map(|one| folder(&one.path[BROKER.len() + 1..]));
    found.filter(|folder| !listed.contains(folder)).collect()
}

/// Lets a writer die in a call of what it does; gives how many calls that took, and whether it came to its end.
async fn die(base: &World, what: Act, end: Option<(u64, When)>) -> Result<(u64, bool), String> {
    let mut world = base.fork().await;
    let before = orphans(&world).await;
    let life: Arc<Life> = Arc::default();
    let mark = |life: &Life| end.into_iter().for_each(|(calls, when)| life.end_after(calls, when));
    if what == Act::Open {
        mark(&life);
    }
    let mut calls = (0, life.calls());
    let mut done = false;
    if let Ok(own) = world.open(Arc::clone(&life)).await {
        world.look().await?;
        if what != Act::Open {
            mark(&life);
            calls.0 = life.calls();
        }
        done = act(&mut world, &own, what).await.is_ok();
        calls.1 = life.calls();
    }
    world.check().await?;
    let left: Vec<String> = orphans(&world).await.difference(&before).cloned().collect();
    let swapped = usize::from(what == Act::Merge) * 6;
    if left.len() > 1 + swapped && what != Act::Expire {
        return Err(format!("one crash left {left:?}"));
    }
    finish(&mut world, what).await?;
    Ok((calls.1 - calls.0, done))
}

/// The next writer finishes what was begun, and everything is as it should be.
async fn finish(world: &mut World, what: Act) -> Result<(), String> {
    let own = world.open(Arc::default()).await.map_err(|error| error.to_string())?;
    world.own = Some(own.clone());
    world.look().await?;
    let is_done = match what {
        Act::Roll => world.model.parts.last().map(|last| last.to) == world.truth.end(),
        Act::Merge => world.truth.rolls().len() < ROLLS,
        Act::Open | Act::Expire | Act::Collect => false,
    };
    if !is_done {
        act(world, &own, what).await?;
    }
    world.look().await?;
    // It goes on as any other one does.
    roll(world, &own).await?;
    act(world, &own, Act::Collect).await?;
    world.check().await?;
    world.check_bucket().await?;
    world.verify(Depth::Full).await
}

fn every_call(what: Act, calls_min: u64) {
    paused().block_on(async {
        let base = prepare().await;
        let (calls, done) = die(&base, what, None).await.unwrap();
        assert!(done && calls >= calls_min, "{what:?} takes {calls} calls");
        for call in 0..calls {
            for when in [When::Before, When::After] {
                let died = die(&base, what, Some((call, when))).await;
                assert_eq!(died.as_ref().err(), None, "{what:?}, dead {when:?} call {call}");
            }
        }
    });
}

#[test]
fn opening_may_die_anywhere() {
    every_call(Act::Open, 20);
}

#[test]
fn a_roll_may_die_anywhere() {
    every_call(Act::Roll, 8);
}

#[test]
fn a_merge_may_die_anywhere() {
    every_call(Act::Merge, 18);
}

#[test]
fn retention_may_die_anywhere() {
    every_call(Act::Expire, 4);
}

#[test]
fn a_collection_may_die_anywhere() {
    every_call(Act::Collect, 100);
}
