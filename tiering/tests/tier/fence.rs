//! Two tiers on one folder: the older one changes nothing, shows nothing and deletes nothing.

use std::time::Duration;

use strata_tiering::bucket::BucketError;
use strata_tiering::collect::CollectError;
use strata_tiering::expire::{Keep, Retention};
use strata_tiering::manifest::{CommitError, Edit, ObjectRef};
use strata_tiering::roll::RollError;
use strata_tiering::tier::ExpireError;
use strata_tiering::verify::{Depth, verify};

use crate::log::Log;
use crate::world::{World, aside, now_ms, open};
use crate::{fill, memory};

/// Rolls of a log as they come.
async fn world_of(rolls: usize) -> World {
    let mut world = World::new(memory().await, 3).await;
    for _ in 0..rolls {
        world.roll().await;
    }
    world
}

fn nothing_kept() -> Retention<fn(&str) -> Option<Keep>> {
    Retention { default: Keep { time_ms: Some(0), bytes: None }, topics: |_| None, youngest_ms: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_writer_is_fenced_whatever_it_does() {
    let mut world = world_of(6).await;
    let new = open(world.tier.bucket().clone()).await;
    let old = std::mem::replace(&mut world.tier, new);
    let bytes_before = world.tier.manifest();
    let log = world.log.clone();
    let rolled = aside(&old, move |tier, runtime, pace| {
        let mut log = Log::at(log.from);
        fill(&mut log, 10, &mut 1_800_000_000_000);
        tier.roll(&log, runtime, pace)
    });
    let fenced = |error: &RollError| matches!(error, RollError::Commit(CommitError::Fenced { by: 2 }));
    assert!(fenced(&rolled.await.unwrap_err()));
    let manifest = old.manifest();
    let merged = aside(&old, move |tier, runtime, pace| tier.merge((&manifest, 0..4), runtime, pace)).await;
    assert!(fenced(&merged.unwrap_err()));
    let expired = old.expire_once(&nothing_kept(), i64::MAX).await;
    assert!(matches!(expired, Err(ExpireError::Commit(CommitError::Fenced { by: 2 }))));
    let collected = old.collect_once(Duration::ZERO, now_ms()).await;
    assert!(matches!(collected, Err(CollectError::Fenced { by: 2 })));
    // What the old one put is listed nowhere, and goes.
    assert_eq!(world.tier.manifest().rolls(), bytes_before.rolls());
    world.roll().await;
    let listing = world.tier.bucket().list(&format!("{}/roll", world.tier.home())).await.unwrap();
    assert!(listing.len() > world.tier.manifest().rolls().len() * 2);
    world.collect().await;
    world.verify().await;
}

/// Whoever decided what to delete and then slept deletes nothing that is listed meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_slept_deletes_nothing_that_is_listed() {
    let mut world = world_of(8).await;
    let old = std::sync::Arc::clone(&world.tier);
    let manifest = old.manifest();
    let merged = aside(&old, move |tier, runtime, pace| tier.merge((&manifest, 0..3), runtime, pace)).await;
    assert_eq!(merged.unwrap().roll.to, old.manifest().rolls()[0].to);
    let survey = old.survey(Duration::ZERO, now_ms()).await.unwrap();
    assert!(!survey.due.is_empty());
    world.tier = open(old.bucket().clone()).await;
    for _ in 0..4 {
        world.roll().await;
    }
    let manifest = world.tier.manifest();
    let merged = aside(&world.tier, move |tier, runtime, pace| tier.merge((&manifest, 0..2), runtime, pace)).await;
    merged.unwrap();
    assert!(matches!(old.collect_once(Duration::ZERO, now_ms()).await, Err(CollectError::Fenced { .. })));
    old.collect(survey).await.unwrap();
    world.verify().await;
    world.collect().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_needed_waits_for_its_time() {
    let mut world = world_of(8).await;
    let (hour, now) = (Duration::from_secs(3_600), now_ms());
    let (bucket, home) = (world.tier.bucket().clone(), world.tier.home().to_owned());
    let put = |name: &'static str| {
        let (bucket, path) = (bucket.clone(), format!("{home}/{name}"));
        async move { bucket.put(&path, vec![1, 2, 3].into()).await.unwrap() }
    };
    for name in ["state/1-0", "state/1-1", "state/1-2", "of-a-newer-program"] {
        put(name).await;
    }
    let crc32c = crc32c::crc32c(&[1, 2, 3]);
    let object = ObjectRef { name: "state/1-1".into(), bytes: 3, crc32c };
    world.tier.commit(Edit::State { object }).await.unwrap();
    let manifest = world.tier.manifest();
    let swapped: u64 = manifest.rolls()[..8].iter().map(|roll| roll.bytes()).sum();
    aside(&world.tier, move |tier, runtime, pace| tier.merge((&manifest, 0..8), runtime, pace)).await.unwrap();
    let first = world.tier.collect_once(hour, now).await.unwrap();
    assert_eq!((first.objects, first.waiting_bytes), (0, swapped + 3));
    let survey = world.tier.survey(hour, now).await.unwrap();
    assert_eq!((survey.due.len(), survey.waiting.len(), survey.unknown.len()), (0, first.waiting, 1));
    // Later than that they go; the settings that may be listed yet stay, and so does what nobody knows.
    world.tier = open(world.tier.bucket().clone()).await;
    put("state/2-0").await;
    let later = world.tier.collect_once(hour, now + 2 * 3_600_000).await.unwrap();
    assert_eq!(
        (later.objects, later.bytes, later.waiting),
        (first.waiting, first.waiting_bytes, 1),
        "state/1-2 is seen"
    );
    world.verify().await;
    for name in ["state/1-1", "state/2-0", "of-a-newer-program"] {
        world.tier.bucket().size(&format!("{}/{name}", world.tier.home())).await.unwrap();
    }
    let gone = world.tier.bucket().size(&format!("{}/state/1-0", world.tier.home())).await;
    assert!(matches!(gone, Err(BucketError::Missing { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_found_object_by_object() {
    let world = world_of(5).await;
    let (bucket, home, manifest) = (world.tier.bucket(), world.tier.home(), world.tier.manifest());
    let names: Vec<&str> = manifest.object_names().collect();
    for name in names {
        let path = format!("{home}/{name}");
        let whole = bucket.read(&path).await.unwrap();
        for at in (0..whole.len()).step_by(whole.len() / 23 + 1) {
            let mut bad = whole.to_vec();
            bad[at] ^= 0x10;
            bucket.put(&path, bad.into()).await.unwrap();
            let report = verify(bucket, home, &manifest, Depth::Full, |_| {}).await.unwrap();
            assert!(report.findings.iter().any(|finding| finding.object == name), "{name} {at}: {report:?}");
            assert!(report.findings.iter().all(|finding| finding.object == name), "{name} {at}: {report:?}");
        }
        bucket.put(&path, whole.slice(1..)).await.unwrap();
        for depth in [Depth::Listed, Depth::Full] {
            let report = verify(bucket, home, &manifest, depth, |_| {}).await.unwrap();
            assert!(report.findings.iter().any(|finding| finding.object == name), "{name} short: {report:?}");
        }
        bucket.delete(&path).await.unwrap();
        for depth in [Depth::Listed, Depth::Full] {
            let report = verify(bucket, home, &manifest, depth, |_| {}).await.unwrap();
            let missing = report.findings.iter().filter(|finding| finding.what == "it is missing");
            assert_eq!(missing.map(|finding| &*finding.object).collect::<Vec<_>>(), [name]);
        }
        bucket.put(&path, whole).await.unwrap();
    }
    world.verify().await;
}
