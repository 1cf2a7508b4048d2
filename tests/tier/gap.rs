//! A stretch of the log that was deleted while there was no tier: readers are told of it once, and go on behind it.

use anyhow::{Context, Result, ensure};
use strata_protocol::code::ResponseCode;
use strata_protocol::frame::HeaderCodec;
use strata_tests::history::Queue;
use strata_tests::site::Setup;
use strata_tests::talk::{Ask, Talk};
use tokio::time::{Duration, Instant, sleep};

use crate::traffic::{MESSAGES_OF_SEGMENT, Truth};
use crate::{Ground, KEPT_BYTES, SEGMENT_BYTES, TRIMMED_MAX, roll_and_trim, segments, start, strata};

/// The tier is there, is switched off while the log goes on and is trimmed, and is there again.
pub(crate) async fn gap(ground: &mut Ground) -> Result<String> {
    let cold = ground.folder.join("gap-cold");
    let setup = ground.setup("gap", &format!("file://{}", cold.display()))?;
    let mut truth = Truth::default();
    let site = start(&setup, None).await?;
    truth.send(&connect(&setup).await?, 4 * MESSAGES_OF_SEGMENT).await?;
    roll_and_trim(&setup, None).await?;
    ensure!(site.stop().await?.success(), "the broker did not end well");

    let mut without = setup.clone();
    without.settings.retain(|line| !line.starts_with("tieredStoreUrl="));
    let site = start(&without, None).await?;
    truth.send(&connect(&setup).await?, 8 * MESSAGES_OF_SEGMENT).await?;
    let (log, deadline) = (setup.data.join("broker/commitlog"), Instant::now() + TRIMMED_MAX);
    while segments(&log)? > usize::try_from(KEPT_BYTES / SEGMENT_BYTES)? + 1 {
        ensure!(Instant::now() < deadline, "{} segments are still there", segments(&log)?);
        sleep(Duration::from_millis(200)).await;
    }
    ensure!(site.stop().await?.success(), "the broker did not end well without a tier");

    let site = start(&setup, None).await?;
    truth.send(&connect(&setup).await?, 2 * MESSAGES_OF_SEGMENT).await?;
    let namesrv = format!("127.0.0.1:{}", setup.ports.namesrv);
    strata(&setup, None, &["tier", "roll", "--now", "--namesrv", &namesrv])?;
    let mut told = Vec::new();
    for when in ["beside the log", "from the tier alone"] {
        told = passes(&setup, &truth).await.context(when)?;
        roll_and_trim(&setup, None).await?;
    }
    ensure!(site.stop().await?.success(), "the broker did not end well");
    Ok(format!("{told:?} were lost, told once each, and the rest was read"))
}

async fn connect(setup: &Setup) -> Result<Talk> {
    Ok(Talk::connect(setup.ports.broker, HeaderCodec::Json).await?)
}

/// Reads each queue from 0: everything but one stretch, which the reader is sent behind.
async fn passes(setup: &Setup, truth: &Truth) -> Result<Vec<(i64, i64)>> {
    let talk = connect(setup).await?;
    let mut gaps = Vec::new();
    for ((topic, queue_id), sent) in &truth.queues {
        let (queue, end) = (Queue::new(topic.as_str(), *queue_id), sent.last().map_or(0, |sent| sent.offset + 1));
        let (mut offset, mut own) = (0, Vec::new());
        while offset < end {
            let ask = Ask { group: "passer", queue: &queue, offset, most: 32, hold_ms: 0, commit: None };
            let pulled = talk.pull(&ask).await?;
            if pulled.records.is_empty() {
                let is_moved = ResponseCode::of(pulled.code) == Some(ResponseCode::PullOffsetMoved);
                let text =
                    format!("{topic} {queue_id} at {offset}: {} {}, next {}", pulled.code, pulled.remark, pulled.next);
                ensure!(is_moved && pulled.next > offset, "{text}");
                own.push((offset, pulled.next));
                offset = pulled.next;
            }
            for record in strata_protocol::record::records(&pulled.records) {
                let record = record.context("a pull's record")?;
                let is_same = sent.get(usize::try_from(offset)?).is_some_and(|sent| sent.body == record.body());
                ensure!(
                    record.queue_offset() == offset && is_same,
                    "another message is at {offset} of {topic} {queue_id}"
                );
                offset += 1;
            }
        }
        ensure!(own.len() == 1, "{topic} {queue_id} has the gaps {own:?}");
        gaps.extend(own);
    }
    Ok(gaps)
}
