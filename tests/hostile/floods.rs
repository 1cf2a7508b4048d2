//! Too much of something: heartbeats, nesting, groups, topics.
//!
//! Owns the cases whose only fault is their size.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use strata_protocol::code::request;
use strata_protocol::frame::HeaderCodec;
use strata_tests::history::Queue;
use strata_tests::talk::{Draft, Talk};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::stage::{CANARY, Stage};

/// Topics that one address may create in a minute, and some.
const TOPICS: usize = 2_100;

/// Connections that create them.
const CREATORS: usize = 32;

/// Requests whose body is parsed as a document.
const PARSED: [i32; 6] = [
    request::LOCK_BATCH_MQ,
    request::UNLOCK_BATCH_MQ,
    request::CHECK_CLIENT_CONFIG,
    request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP,
    request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST,
    request::UPDATE_AND_CREATE_TOPIC_LIST,
];

/// A registration's header.
const REGISTER: [(&str, &str); 5] = [
    ("brokerName", "stranger"),
    ("brokerAddr", "127.0.0.1:1"),
    ("clusterName", "strangers"),
    ("haServerAddr", "127.0.0.1:2"),
    ("brokerId", "0"),
];

/// Whether a group has members.
async fn has_members(stage: &Stage, group: &str) -> Result<bool> {
    let answer = stage.talk.ask_raw(request::GET_CONSUMER_LIST_BY_GROUP, &[("consumerGroup", group)], "").await?;
    Ok(answer.code == 0 && !answer.body.is_empty() && String::from_utf8_lossy(&answer.body).contains("bomber"))
}

fn consumer(group: &str, subscriptions: &str) -> String {
    format!(
        r#"{{"groupName":"{group}","consumeType":"CONSUME_PASSIVELY","messageModel":"CLUSTERING","consumeFromWhere":"CONSUME_FROM_FIRST_OFFSET","subscriptionDataSet":[{subscriptions}]}}"#
    )
}

fn beat(consumers: &str) -> String {
    format!(r#"{{"clientID":"bomber","producerDataSet":[],"consumerDataSet":[{consumers}]}}"#)
}

/// Heartbeats that are too large, too many, too deep or nothing.
pub(crate) async fn heartbeat_bombs(stage: &Stage) -> Result<()> {
    let one = consumer("bombed", r#"{"topic":"good","subString":"*","subVersion":1}"#);
    let padded = format!(r#"{{"clientID":"bomber","padding":"{}","consumerDataSet":[{one}]}}"#, "p".repeat(1 << 20));
    let groups = (0..1_001).map(|nth| consumer(&format!("bombed-{nth}"), "")).collect::<Vec<_>>().join(",");
    let topics = (0..1_001).map(|nth| format!(r#"{{"topic":"t{nth}","subString":"*"}}"#)).collect::<Vec<_>>().join(",");
    let cases: [(&str, Vec<u8>); 8] = [
        ("more than 1 MiB", padded.into_bytes()),
        ("1,001 groups", beat(&groups).into_bytes()),
        ("1,001 subscriptions", beat(&consumer("bombed", &topics)).into_bytes()),
        ("an open list of 5 MiB", vec![b'['; 5 << 20]),
        ("no document", b"".to_vec()),
        ("half a document", beat(&one).into_bytes()[..100].to_vec()),
        ("no text", vec![0xff; 1_000]),
        ("another document", b"[1,2,3]".to_vec()),
    ];
    for (name, body) in cases {
        stage.expect(&[1, 13, 29], request::HEART_BEAT, &[], body).await.with_context(|| name.to_owned())?;
        for group in ["bombed", "bombed-0", "bombed-1000"] {
            ensure!(!has_members(stage, group).await?, "{name}: group {group} has the client");
        }
    }
    // Illegal names are passed over or refused; they come into being in no case.
    let crooked =
        beat(&[consumer("a b", ""), consumer("../x", ""), consumer("", ""), consumer(&"g".repeat(300), "")].join(","));
    stage.expect(&[0, 1, 29], request::HEART_BEAT, &[], crooked).await?;
    let listed = stage.expect(&[0], request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG, &[], "").await?;
    let listed = String::from_utf8_lossy(&listed.body).into_owned();
    ensure!(
        !listed.contains("\"a b\"") && !listed.contains("../x") && !listed.contains("ggggg"),
        "an illegal group exists"
    );
    // The same client, behaving.
    stage.expect(&[0], request::HEART_BEAT, &[], beat(&one)).await?;
    ensure!(has_members(stage, "bombed").await?, "a good heartbeat after the bad ones has no effect");
    Ok(())
}

/// Bodies that are no documents, where one is parsed.
pub(crate) async fn nonsense_bodies(stage: &Stage) -> Result<()> {
    for code in PARSED {
        for body in ["", "{", "[1,2]", "null", "17", "\u{0}", &"[".repeat(1 << 20)] {
            let answer =
                stage.talk.ask_raw(code, &[], body.to_owned()).await.with_context(|| format!("code {code}"))?;
            ensure!(answer.code != 0, "code {code} takes a body of {} bytes of nothing: {:.10}", body.len(), body);
        }
    }
    let namesrv = Talk::connect(stage.ports.namesrv, HeaderCodec::Json).await?;
    for (compressed, body) in [("false", vec![b'['; 1 << 20]), ("true", bomb()?), ("true", vec![0xff; 100])] {
        let fields: Vec<_> = REGISTER.into_iter().chain([("compressed", compressed)]).collect();
        let answer = namesrv.ask_raw(request::REGISTER_BROKER, &fields, body).await?;
        ensure!(answer.code != 0, "a registration of nonsense was taken");
    }
    no_stranger(&namesrv).await
}

/// Documents that are nested deeper than any that is meant.
pub(crate) async fn nested_bodies(stage: &Stage) -> Result<()> {
    let deep = |levels: usize| format!(r#"{{"clientID":"deep","x":{}{}}}"#, "[".repeat(levels), "]".repeat(levels));
    let objects = |levels: usize| format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels));
    let namesrv = Talk::connect(stage.ports.namesrv, HeaderCodec::Json).await?;
    let mut taken = Vec::new();
    for body in [deep(100), deep(1_000), deep(500_000), objects(1_000), objects(100_000)] {
        for code in PARSED.into_iter().chain([request::HEART_BEAT]) {
            let answer = stage.talk.ask_raw(code, &[], body.clone()).await.with_context(|| format!("code {code}"))?;
            if answer.code == 0 {
                taken.push(code);
            }
        }
        let fields: Vec<_> = REGISTER.into_iter().chain([("compressed", "false")]).collect();
        let answer = namesrv.ask_raw(request::REGISTER_BROKER, &fields, body).await?;
        if answer.code == 0 {
            taken.push(request::REGISTER_BROKER);
        }
    }
    ensure!(taken.is_empty(), "deeper than 32 levels and taken by {taken:?}");
    no_stranger(&namesrv).await
}

/// No broker was registered with nonsense.
async fn no_stranger(namesrv: &Talk) -> Result<()> {
    let info = namesrv.ask_raw(request::GET_BROKER_CLUSTER_INFO, &[], "").await?;
    ensure!(!String::from_utf8_lossy(&info.body).contains("stranger"), "a broker was registered with nonsense");
    Ok(())
}

/// A small body that unpacks to 200 MiB: stored deflate blocks cannot do that, long runs can. This is one
/// byte repeated, as `zlib` packs it.
fn bomb() -> Result<Vec<u8>> {
    use std::io::Write as _;
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    let block = vec![0; 1 << 20];
    for _ in 0..200 {
        encoder.write_all(&block)?;
    }
    Ok(encoder.finish()?)
}

/// Groups by the hundred, and topics until the limit: the rest is refused as busy and the old ones work.
pub(crate) async fn topics_without_end(stage: &Stage) -> Result<()> {
    // A creation waits for the disk; many at once share the wait, so that all fall into one minute.
    let began = Instant::now();
    let mut flood = JoinSet::new();
    for first in 0..CREATORS {
        let talk = Talk::connect(stage.ports.broker, HeaderCodec::Json).await?;
        flood.spawn(async move {
            let mut codes = Vec::new();
            for nth in (first..TOPICS).step_by(CREATORS) {
                let answer = talk.send(&Draft::new(&Queue::new(format!("flood-{nth}"), 0), "", CANARY)).await?;
                ensure!(
                    matches!(answer.code, 0 | 2),
                    "topic {nth} was answered with {}: {}",
                    answer.code,
                    answer.remark
                );
                codes.push(answer.code);
            }
            Ok(codes)
        });
    }
    let (mut created, mut busy) = (0, 0);
    while let Some(codes) = flood.join_next().await {
        for code in codes.context("a creator panicked")?? {
            if code == 0 {
                created += 1;
            } else {
                busy += 1;
            }
        }
    }
    let took = began.elapsed();
    ensure!(
        took < Duration::from_secs(50),
        "the topics took {took:?}, which is too long to meet the limit of a minute"
    );
    ensure!((1_500..=2_000).contains(&created) && busy > 0, "{created} topics were created, {busy} refused");
    let answer = stage.talk.send(&Draft::new(&Queue::new("flood-0", 0), "", CANARY)).await?;
    ensure!(answer.code == 0, "an old topic: {answer:?}");
    Ok(())
}
