//! Retention and merging from outside: what is kept stays readable, what is not goes, first for readers and then from
//! the disk.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use strata_protocol::frame::HeaderCodec;
use strata_tests::history::Queue;
use strata_tests::site::Setup;
use strata_tests::talk::{Ask, Talk};
use tokio::time::sleep;

use crate::traffic::{FILTERS, TOPICS, Truth};
use crate::{Ground, parquet_files, roll_and_trim, start, strata};

/// Rolls of a quiet broker: so many are merged.
const SMALL_ROLLS: usize = 9;

/// Longer than what is told to be kept for a second, and longer than the time of grace.
pub(crate) const PAST: Duration = Duration::from_millis(1_500);

/// Has the broker keep its tier in order now.
pub(crate) fn tidy(setup: &Setup, grace: Option<&str>) -> Result<Value> {
    let namesrv = format!("127.0.0.1:{}", setup.ports.namesrv);
    let mut arguments = vec!["tier", "gc", "--output", "json", "--namesrv", &namesrv];
    arguments.extend(grace.into_iter().flat_map(|seconds| ["--grace", seconds]));
    let told: Value = serde_json::from_str(&strata(setup, None, &arguments)?)?;
    told.get(0).cloned().context("the broker told nothing")
}

pub(crate) fn keep(setup: &Setup, topic: &str, how_long: &str) -> Result<()> {
    let (namesrv, rule) = (format!("127.0.0.1:{}", setup.ports.namesrv), format!("retention.cold={how_long}"));
    strata(setup, None, &["topic", "update", topic, "--attribute", &rule, "--namesrv", &namesrv]).map(drop)
}

fn count(told: &Value, name: &str) -> u64 {
    told.get(name).and_then(Value::as_u64).unwrap_or(u64::MAX)
}

fn objects(cold: &Path) -> Result<usize> {
    let mut files = Vec::new();
    parquet_files(cold, &mut files)?;
    Ok(files.len())
}

/// Small rolls become one, and readers see no difference; what they were made of is deleted after the time of grace.
pub(crate) async fn merges(ground: &mut Ground) -> Result<String> {
    let cold = ground.folder.join("merges-cold");
    let setup = ground.setup("merges", &format!("file://{}", cold.display()))?;
    let site = start(&setup, None).await?;
    let talk = Talk::connect(setup.ports.broker, HeaderCodec::Json).await?;
    let namesrv = format!("127.0.0.1:{}", setup.ports.namesrv);
    let mut truth = Truth::default();
    for _ in 0..SMALL_ROLLS {
        truth.send(&talk, 100).await?;
        strata(&setup, None, &["tier", "roll", "--now", "--namesrv", &namesrv])?;
    }
    let before = objects(&cold)?;
    ensure!(before >= SMALL_ROLLS, "{before} objects of {SMALL_ROLLS} rolls");
    let told = tidy(&setup, None)?;
    ensure!(count(&told, "merges") == 1 && count(&told, "deletedObjects") == 0, "a day of grace: {told}");
    ensure!(objects(&cold)? == before + 1, "the merged object is beside the others");
    // The log has everything still: only when it is gone, the merged object is what is read.
    truth.send(&talk, 8_000).await?;
    roll_and_trim(&setup, None).await?;
    sleep(PAST).await;
    let dry =
        strata(&setup, None, &["tier", "gc", "--dry-run", "--grace", "1", "--output", "json", "--namesrv", &namesrv])?;
    let dry: Value = serde_json::from_str(&dry)?;
    let would = dry.get(0).map_or(u64::MAX, |told| count(told, "deletedObjects"));
    let kept = objects(&cold)?;
    let told = tidy(&setup, Some("1"))?;
    let deleted = count(&told, "deletedObjects");
    // An index goes with each object of a roll.
    ensure!(deleted == would && deleted >= 2 * before as u64, "{would} would be deleted, then: {told}");
    ensure!(objects(&cold)? <= kept - before, "the objects of merged rolls are still there");
    for filter in &FILTERS {
        truth.check(&talk, filter).await.context("from merged rolls")?;
    }
    ensure!(site.stop().await?.success(), "the broker did not end well");
    Ok(format!("{before} objects became one, {deleted} deleted"))
}

/// A topic's messages expire while others' in the same rolls stay; when nobody needs a roll, its objects go.
pub(crate) async fn expiry(ground: &mut Ground) -> Result<String> {
    let cold = ground.folder.join("expiry-cold");
    let setup = ground.setup("expiry", &format!("file://{}", cold.display()))?;
    let site = start(&setup, None).await?;
    let talk = Talk::connect(setup.ports.broker, HeaderCodec::Json).await?;
    let mut truth = Truth::default();
    // Two rolls at least: the newest one stays, since it tells where queues go on.
    truth.send(&talk, 5_000).await?;
    let namesrv = format!("127.0.0.1:{}", setup.ports.namesrv);
    strata(&setup, None, &["tier", "roll", "--now", "--namesrv", &namesrv])?;
    truth.send(&talk, 5_000).await?;
    roll_and_trim(&setup, None).await?;
    truth.check(&talk, &FILTERS[0]).await?;
    let gone = TOPICS[0].0;
    keep(&setup, gone, "1s")?;
    sleep(PAST).await;
    let told = tidy(&setup, Some("1"))?;
    ensure!(count(&told, "expiredTopics") >= 1 && count(&told, "expiredRolls") == 0, "only one topic expires: {told}");
    let begins = begins(&truth, &talk, gone).await?;
    let mut others = truth.clone();
    others.queues.retain(|(topic, _), _| topic != gone);
    others.check(&talk, &FILTERS[0]).await.context("the topics that are kept")?;

    for (topic, _) in TOPICS {
        keep(&setup, topic, "1s")?;
    }
    let kept = objects(&cold)?;
    let told = tidy(&setup, Some("1"))?;
    ensure!(count(&told, "expiredRolls") > 0 && count(&told, "deletedObjects") == 0, "objects wait: {told}");
    sleep(PAST).await;
    let told = tidy(&setup, Some("1"))?;
    ensure!(count(&told, "deletedObjects") > 0 && objects(&cold)? < kept, "nobody needs them: {told}");
    // What the log has is served, what came after it is too, and so it is after a start.
    truth.send(&talk, 100).await?;
    for (topic, _) in TOPICS {
        self::begins(&truth, &talk, topic).await?;
    }
    ensure!(site.stop().await?.success(), "the broker did not end well");
    let site = start(&setup, None).await?;
    let talk = Talk::connect(setup.ports.broker, HeaderCodec::Json).await?;
    for (topic, _) in TOPICS {
        self::begins(&truth, &talk, topic).await.context("after a start")?;
    }
    ensure!(site.stop().await?.success(), "the broker did not end well");
    Ok(format!("{gone} begins at {begins:?}"))
}

/// Holds that each queue of a topic begins behind what expired, says so to a reader of offset 0, and gives all from there.
async fn begins(truth: &Truth, talk: &Talk, topic: &str) -> Result<Vec<i64>> {
    let mut begins = Vec::new();
    for ((name, queue_id), sent) in truth.queues.iter().filter(|((name, _), _)| name == topic) {
        let queue = Queue::new(name.as_str(), *queue_id);
        let (min, max) = talk.range(&queue).await?;
        let end = sent.last().map_or(0, |sent| sent.offset + 1);
        ensure!(min > 0 && min <= max && max == end, "{name} {queue_id} goes from {min} to {max} of {end}");
        let ask = Ask { group: "late", queue: &queue, offset: 0, most: 32, hold_ms: 0, commit: None };
        let moved = talk.pull(&ask).await?;
        ensure!(
            moved.records.is_empty() && moved.next == min,
            "offset 0 gives {} and goes on at {}",
            moved.code,
            moved.next
        );
        let mut offset = min;
        while offset < end {
            let pulled = talk.pull(&Ask { offset, ..ask.clone() }).await?;
            ensure!(!pulled.records.is_empty(), "{name} {queue_id} at {offset}: {} {}", pulled.code, pulled.remark);
            for record in strata_protocol::record::records(&pulled.records) {
                let record = record.context("a pull's record")?;
                let place = usize::try_from(record.queue_offset())?;
                let is_same = sent.get(place).is_some_and(|sent| sent.body == record.body());
                ensure!(is_same && record.queue_offset() == offset, "another message is at {offset}");
                offset += 1;
            }
        }
        begins.push(min);
    }
    Ok(begins)
}
