//! A store that is away: an alarm, and nothing else for who sends and for who reads what the log has.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use strata_protocol::code::ResponseCode;
use strata_protocol::frame::HeaderCodec;
use strata_tests::history::Queue;
use strata_tests::page::figure;
use strata_tests::site::Setup;
use strata_tests::talk::{Ask, Talk};
use tokio::time::{Instant, sleep};

use crate::relay::{Relay, Way};
use crate::s3::{BUCKET, S3};
use crate::traffic::{FILTERS, MESSAGES_OF_SEGMENT, TOPICS, Truth};
use crate::{Ground, MESSAGES, roll_and_trim, segments, start_at};

/// Segments that are sent while the store is away: far more than are kept where all is rolled.
const SEGMENTS_AWAY: usize = 8;

/// How long the broker may take to tell that the store is away, or there again.
const TOLD_MAX: Duration = Duration::from_secs(60);

/// Longer than the pause between two looks at what may be deleted.
const LOOKS: Duration = Duration::from_secs(12);

/// A cold read must not hold its consumer up for longer: ten seconds, and a busy machine.
const REFUSED_MAX: Duration = Duration::from_secs(14);

/// The store falls silent under a running broker, refuses one that starts, and comes back.
pub(crate) async fn away(ground: &mut Ground) -> Result<String> {
    let s3 = S3::start(&ground.folder.join("away-s3.log")).await?;
    let relay = Relay::start(s3.port).await?;
    let setup = ground.setup("away", &format!("s3://{BUCKET}/away"))?;
    let site = start_at(&setup, Some(relay.port)).await?;
    let mut truth = Truth::default();
    truth.send(&connect(&setup).await?, MESSAGES / 2).await?;
    roll_and_trim(&setup, Some(&s3)).await?;

    relay.set(Way::Silent);
    keeps(&setup, &mut truth, SEGMENTS_AWAY).await.context("while the store is silent")?;
    told(&setup, "strata_tier_store_retries_total", |seen| seen > 0.5).await?;
    let refused = refuses(&setup, &truth).await.context("while the store is silent")?;
    ensure!(site.stop().await?.success(), "the broker did not end well while the store was silent");

    relay.set(Way::Refusing);
    let site = start_at(&setup, Some(relay.port)).await?;
    told(&setup, "strata_tier_open", |seen| seen < 0.5).await?;
    told(&setup, "strata_tier_troubled", |seen| seen > 0.5).await?;
    let kept = keeps(&setup, &mut truth, 2 * SEGMENTS_AWAY).await.context("while the store refuses")?;
    refuses(&setup, &truth).await.context("while the store refuses")?;

    relay.set(Way::Open);
    told(&setup, "strata_tier_open", |seen| seen > 0.5).await?;
    roll_and_trim(&setup, Some(&s3)).await?;
    told(&setup, "strata_tier_troubled", |seen| seen < 0.5).await?;
    let talk = connect(&setup).await?;
    let mut counts = Vec::new();
    for filter in &FILTERS {
        counts.push(truth.check(&talk, filter).await.context("when the store was there again")?);
    }
    ensure!(site.stop().await?.success(), "the broker did not end well");
    Ok(format!("{kept} segments kept meanwhile, a cold pull refused in {refused:.1?}, then {counts:?} messages"))
}

async fn connect(setup: &Setup) -> Result<Talk> {
    Ok(Talk::connect(setup.ports.broker, HeaderCodec::Json).await?)
}

/// Sending goes on, and of what was sent since the store is away, `all` segments, nothing is deleted, however little the
/// log may keep.
async fn keeps(setup: &Setup, truth: &mut Truth, all: usize) -> Result<usize> {
    let log = setup.data.join("broker/commitlog");
    truth.send(&connect(setup).await?, SEGMENTS_AWAY * MESSAGES_OF_SEGMENT).await?;
    sleep(LOOKS).await;
    let after = segments(&log)?;
    ensure!(after >= all, "of {all} segments that the store does not have {after} are there");
    // The newest of each queue are in the log.
    let talk = connect(setup).await?;
    for ((topic, queue_id), sent) in &truth.queues {
        let (queue, last) = (Queue::new(topic.as_str(), *queue_id), sent.last().context("nothing was sent")?);
        let ask = Ask { group: "hot", queue: &queue, offset: last.offset, most: 1, hold_ms: 0, commit: None };
        let pulled = talk.pull(&ask).await?;
        let found = strata_protocol::record::records(&pulled.records).next();
        let is_same = found.transpose()?.is_some_and(|record| record.body() == last.body);
        ensure!(is_same, "{topic} {queue_id} at {}: {} {}", last.offset, pulled.code, pulled.remark);
    }
    Ok(after)
}

/// What only the store has is refused for now: not said to be gone, not passed over, and soon.
async fn refuses(setup: &Setup, truth: &Truth) -> Result<Duration> {
    let talk = connect(setup).await?;
    let (topic, _) = TOPICS[0];
    ensure!(truth.queues.contains_key(&(topic.to_owned(), 0)), "nothing was sent to {topic}");
    let (queue, began) = (Queue::new(topic, 0), Instant::now());
    let ask = Ask { group: "cold", queue: &queue, offset: 0, most: 32, hold_ms: 0, commit: None };
    let pulled = talk.pull(&ask).await?;
    let took = began.elapsed();
    let is_refused = ResponseCode::of(pulled.code) == Some(ResponseCode::SystemError)
        && pulled.records.is_empty()
        && pulled.remark.contains("try again");
    ensure!(is_refused, "{topic} at 0: {} {:?}, next {}", pulled.code, pulled.remark, pulled.next);
    ensure!(took < REFUSED_MAX, "a cold pull is refused only after {took:.1?}");
    Ok(took)
}

/// Waits until a figure says something.
async fn told(setup: &Setup, name: &str, is_it: fn(f64) -> bool) -> Result<()> {
    let deadline = Instant::now() + TOLD_MAX;
    loop {
        let seen = figure(setup.ports, name, &[]).await?;
        if is_it(seen) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{name} is still {seen} after {TOLD_MAX:?}");
        sleep(Duration::from_millis(200)).await;
    }
}
