//! Messages that must not be stored: by name, by size, by kind, by batch.
//!
//! Owns the refusals of sends. Each case looks that nothing was stored, not only at the code.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use strata_protocol::batch::{self, InnerMessage};
use strata_protocol::code::request;
use strata_protocol::limits::{BATCH_MESSAGES_MAX, BODY_BYTES_MAX, PROPERTIES_BYTES_MAX};
use strata_tests::history::Queue;

use crate::stage::{CANARY, Stage};

/// Code 0: stored.
const STORED: &[i32] = &[0];
/// 13 MESSAGE_ILLEGAL.
const ILLEGAL: &[i32] = &[13];
/// 29 INVALID_PARAMETER.
const INVALID: &[i32] = &[29];

/// A send of `CANARY` with some fields replaced.
fn fields<'a>(topic: &'a str, changed: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let usual = [
        ("a", "attacker"),
        ("b", topic),
        ("c", "TBW102"),
        ("d", "4"),
        ("e", "0"),
        ("f", "0"),
        ("g", "1700000000000"),
        ("h", "0"),
        ("i", ""),
        ("j", "0"),
        ("k", "false"),
        ("m", "false"),
    ];
    let changed_value = |name: &str| changed.iter().find(|(other, _)| *other == name).map(|(_, value)| *value);
    usual.into_iter().map(|(name, value)| (name, changed_value(name).unwrap_or(value))).collect()
}

impl Stage {
    async fn send(
        &self,
        codes: &[i32],
        topic: &str,
        changed: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<String> {
        let answer = self.expect(codes, request::SEND_MESSAGE_V2, &fields(topic, changed), body).await?;
        Ok(answer.remark.clone().unwrap_or_default())
    }
}

/// Names that are no names never become topics.
pub(crate) async fn illegal_topics(stage: &Stage) -> Result<()> {
    let (long, longer) = ("t".repeat(128), format!("%RETRY%{}", "g".repeat(300)));
    let names =
        ["", " ", "../../etc/passwd", "a b", "a/b", "a\\b", "töpic", "a.b", "a@b", "a\u{0}b", "a\nb", "数", &long];
    for name in names {
        stage.send(INVALID, name, &[], CANARY).await.with_context(|| format!("topic {name:?}"))?;
    }
    // A retry topic belongs to a group; this one can have none.
    stage.send(&[26, 29], &longer, &[], CANARY).await?;
    stage.send(STORED, &"t".repeat(127), &[], CANARY).await?;
    let answer = stage.expect(&[0], request::GET_ALL_TOPIC_CONFIG, &[], "").await?;
    let listed = String::from_utf8_lossy(&answer.body).into_owned();
    for name in names.iter().filter(|name| name.trim().len() > 1) {
        ensure!(!listed.contains(&format!("\"{name}\"")), "topic {name:?} exists");
    }
    Ok(())
}

/// Topics that exist for the broker alone, that are missing, and queues that a topic does not have.
pub(crate) async fn wrong_targets(stage: &Stage) -> Result<()> {
    for topic in [
        "SCHEDULE_TOPIC_XXXX",
        "RMQ_SYS_TRANS_HALF_TOPIC",
        "RMQ_SYS_TRANS_OP_HALF_TOPIC",
        "TRANS_CHECK_MAX_TIME_TOPIC",
        "OFFSET_MOVED_EVENT",
    ] {
        stage.send(&[16], topic, &[], CANARY).await?;
    }
    stage.send(&[17], "missing", &[("c", "missing-too")], CANARY).await?;
    stage.send(&[17], "missing", &[("c", "")], CANARY).await?;
    // A topic without the right to be inherited is no template.
    stage.send(&[17], "missing", &[("c", "good")], CANARY).await?;
    stage.send(&[26], "%RETRY%no-such-group", &[], CANARY).await?;
    stage.send(STORED, "targets", &[], CANARY).await?;
    for queue in ["4", "99", "2147483647"] {
        stage.send(INVALID, "targets", &[("e", queue)], CANARY).await?;
    }
    stage.send(STORED, "targets", &[("e", "-1")], CANARY).await?;
    let stored = stage.stored("targets").await?;
    ensure!(stored == 2, "{stored} messages are stored, 2 were accepted");
    ensure!(stage.stored("missing").await? == 0, "a topic came into being");
    Ok(())
}

/// Fields that are missing or no numbers.
pub(crate) async fn wrong_fields(stage: &Stage) -> Result<()> {
    for name in ["a", "b", "e", "f", "g", "h"] {
        let left: Vec<_> = fields("fields", &[]).into_iter().filter(|(other, _)| *other != name).collect();
        let answer = stage.expect(INVALID, request::SEND_MESSAGE_V2, &left, CANARY).await?;
        ensure!(
            answer.remark.as_ref().is_some_and(|remark| remark.contains("missing")),
            "the remark does not say it: {:?}",
            answer.remark
        );
    }
    for (name, value) in [
        ("e", "x"),
        ("e", "1e3"),
        ("e", "99999999999"),
        ("f", "-"),
        ("g", "noon"),
        ("h", "0x1"),
        ("d", "many"),
        ("j", "x"),
        ("e", ""),
    ] {
        stage.send(INVALID, "fields", &[(name, value)], CANARY).await.with_context(|| format!("{name}={value}"))?;
    }
    stage.expect(INVALID, request::SEND_MESSAGE, &fields("fields", &[]), CANARY).await?;
    ensure!(stage.stored("fields").await? == 0, "something was stored");
    Ok(())
}

/// Bodies and properties at their limits and one beyond.
pub(crate) async fn wrong_sizes(stage: &Stage) -> Result<()> {
    let body = |bytes: usize| Bytes::from(vec![b'b'; bytes]);
    stage.send(ILLEGAL, "sizes", &[], "").await?;
    stage.send(STORED, "sizes", &[], body(BODY_BYTES_MAX)).await?;
    stage.send(ILLEGAL, "sizes", &[], body(BODY_BYTES_MAX + 1)).await?;
    stage.send(ILLEGAL, "sizes", &[], body(15 * 1024 * 1024)).await?;
    let property = |bytes: usize| format!("p\u{1}{}\u{2}", "v".repeat(bytes - 3));
    for bytes in [PROPERTIES_BYTES_MAX + 1, 40_000, 200_000] {
        stage.send(ILLEGAL, "sizes", &[("i", &property(bytes))], CANARY).await?;
    }
    // What the broker adds must fit as well.
    stage.send(ILLEGAL, "sizes", &[("i", &property(PROPERTIES_BYTES_MAX))], CANARY).await?;
    stage.send(STORED, "sizes", &[("i", &property(32_000))], CANARY).await?;
    let stored = stage.stored("sizes").await?;
    ensure!(stored == 2, "{stored} messages are stored, 2 were accepted");
    Ok(())
}

/// Messages whose kind is not served are refused by name and not stored as normal ones.
pub(crate) async fn kinds_not_served(stage: &Stage) -> Result<()> {
    stage.send(STORED, "kinds", &[], CANARY).await?;
    let half = "TRAN_MSG\u{1}true\u{2}PGROUP\u{1}p\u{2}";
    for changed in [&[("i", half), ("f", "4")][..], &[("i", half)], &[("f", "4")], &[("f", "8")], &[("f", "12")]] {
        let remark = stage.send(&[16], "kinds", changed, CANARY).await?;
        ensure!(remark.contains("transactional"), "the remark does not name it: {remark}");
    }
    let later = (strata_tests::clock::now_ms() + 60_000).to_string();
    for (name, value) in [("TIMER_DELAY_SEC", "5"), ("TIMER_DELAY_MS", "5000"), ("TIMER_DELIVER_MS", later.as_str())] {
        let properties = format!("{name}\u{1}{value}\u{2}");
        let remark = stage.send(ILLEGAL, "kinds", &[("i", &properties)], CANARY).await?;
        ensure!(remark.contains("timer"), "the remark does not name it: {remark}");
        let mut inner = Vec::new();
        let message = InnerMessage { flag: 0, body: CANARY.as_bytes(), properties: properties.as_bytes() };
        batch::append(&mut inner, &message)?;
        stage.expect(ILLEGAL, request::SEND_BATCH_MESSAGE, &fields("kinds", &[("m", "true")]), inner).await?;
    }
    ensure!(stage.stored("kinds").await? == 1, "a message of another kind was stored");
    ensure!(stage.stored("RMQ_SYS_TRANS_HALF_TOPIC").await? == 0, "a half message was stored");
    ensure!(stage.stored("rmq_sys_wheel_timer").await? == 0, "a timer message was stored");
    Ok(())
}

/// A batch is stored whole or not at all.
pub(crate) async fn broken_batches(stage: &Stage) -> Result<()> {
    let mut good = Vec::new();
    for _ in 0..3 {
        batch::append(&mut good, &InnerMessage { flag: 0, body: CANARY.as_bytes(), properties: b"TAGS\x01t\x02" })?;
    }
    let one = good.len() / 3;
    let changed = |at: usize, value: [u8; 4]| {
        let mut bytes = good.clone();
        bytes[at..at + 4].copy_from_slice(&value);
        bytes
    };
    let large = [1, 0, 0, 0];
    let too_large = InnerMessage { flag: 0, body: &vec![b'x'; BODY_BYTES_MAX / 2], properties: b"" };
    let mut heavy = Vec::new();
    for _ in 0..3 {
        batch::append(&mut heavy, &too_large)?;
    }
    let mut full = good.clone();
    let properties = format!("p\u{1}{}\u{2}", "v".repeat(PROPERTIES_BYTES_MAX - 3));
    batch::append(&mut full, &InnerMessage { flag: 0, body: CANARY.as_bytes(), properties: properties.as_bytes() })?;
    let mut crowd = Vec::new();
    for _ in 0..=BATCH_MESSAGES_MAX {
        batch::append(&mut crowd, &InnerMessage { flag: 0, body: b"x", properties: b"" })?;
    }
    let cases: [(&str, Vec<u8>); 12] = [
        ("cut in the last message", good[..good.len() - 1].to_vec()),
        ("cut in the last head", good[..2 * one + 10].to_vec()),
        ("a byte behind the last", [&good[..], b"x"].concat()),
        ("the second is larger than the rest", changed(one, large)),
        ("the second has a negative size", changed(one, [0xff; 4])),
        ("the last has size 0", changed(2 * one, [0; 4])),
        ("the last has a body beyond its end", changed(2 * one + 16, large)),
        ("the last has a negative body", changed(2 * one + 16, [0x80, 0, 0, 0])),
        ("no batch at all", CANARY.as_bytes().to_vec()),
        ("more than the largest body", heavy),
        ("properties that the broker's own do not fit beside", full),
        ("one message too many", crowd),
    ];
    stage.send(STORED, "batches", &[], CANARY).await?;
    for (name, bytes) in cases {
        let answer = stage
            .expect(ILLEGAL, request::SEND_BATCH_MESSAGE, &fields("batches", &[("m", "true")]), bytes.clone())
            .await;
        answer.with_context(|| name.to_owned())?;
        let answer = stage.expect(ILLEGAL, request::SEND_MESSAGE_V2, &fields("batches", &[("m", "true")]), bytes).await;
        answer.with_context(|| format!("{name}, as code 310"))?;
        ensure!(stage.stored("batches").await? == 1, "{name}: part of it was stored");
    }
    let delayed = "DELAY\u{1}1\u{2}".as_bytes();
    let mut late = good.clone();
    batch::append(&mut late, &InnerMessage { flag: 0, body: CANARY.as_bytes(), properties: delayed })?;
    stage.expect(ILLEGAL, request::SEND_BATCH_MESSAGE, &fields("batches", &[("m", "true")]), late).await?;
    stage.talk.heartbeat("batcher", "batch-group", "batches").await?;
    stage
        .expect(ILLEGAL, request::SEND_BATCH_MESSAGE, &fields("%RETRY%batch-group", &[("m", "true")]), good.clone())
        .await?;
    stage.expect(STORED, request::SEND_BATCH_MESSAGE, &fields("batches", &[("m", "true")]), good).await?;
    ensure!(stage.stored("batches").await? == 4, "the good batch was not stored whole");
    ensure!(stage.stored("%RETRY%batch-group").await? == 0, "a retry topic took a batch");
    let waiting = stage.talk.range(&Queue::new("SCHEDULE_TOPIC_XXXX", 0)).await?.1;
    ensure!(waiting == 0, "a batch put {waiting} messages into the schedule");
    Ok(())
}
