//! Reading with numbers, names and expressions that cannot be.
//!
//! Owns the refusals of pulls, queries and offsets.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use strata_protocol::code::request;
use strata_protocol::record::records;
use strata_tests::history::Queue;
use strata_tests::talk::{Draft, number};

use crate::stage::{CANARY, Stage};

/// Messages in the topic of these cases, all in queue 0.
const MESSAGES: i64 = 50;

/// Fields with other values than usual.
type Changed<'a> = &'a [(&'a str, &'a str)];

fn fields<'a>(changed: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let usual = [
        ("consumerGroup", "readers"),
        ("topic", "reads"),
        ("queueId", "0"),
        ("queueOffset", "0"),
        ("maxMsgNums", "32"),
        ("sysFlag", "4"),
        ("commitOffset", "0"),
        ("suspendTimeoutMillis", "0"),
        ("subscription", "*"),
        ("subVersion", "0"),
        ("expressionType", "TAG"),
    ];
    let changed_value = |name: &str| changed.iter().find(|(other, _)| *other == name).map(|(_, value)| *value);
    let mut all: Vec<_> = usual.into_iter().map(|(name, value)| (name, changed_value(name).unwrap_or(value))).collect();
    all.extend(changed.iter().filter(|(name, _)| usual.iter().all(|(other, _)| other != name)));
    all
}

/// The messages that the other cases read.
pub(crate) async fn prepare(stage: &Stage) -> Result<()> {
    let queue = Queue::new("reads", 0);
    for _ in 0..MESSAGES {
        let answer = stage.talk.send(&Draft::new(&queue, "KEYS\u{1}the-key\u{2}", CANARY)).await?;
        ensure!(answer.code == 0, "{answer:?}");
    }
    Ok(())
}

/// Pulls that name nothing that is there.
pub(crate) async fn pulls_of_nothing(stage: &Stage) -> Result<()> {
    let long = "g".repeat(256);
    let cases: [(&str, &[i32], Changed<'_>); 12] = [
        ("a missing topic", &[17], &[("topic", "no-such-topic")]),
        ("an illegal topic", &[17, 29], &[("topic", "../../x")]),
        ("an empty topic", &[17, 29], &[("topic", "")]),
        ("an illegal group", &[26, 29], &[("consumerGroup", "a b")]),
        ("an empty group", &[26, 29], &[("consumerGroup", "")]),
        ("a long group", &[26, 29], &[("consumerGroup", &long)]),
        ("queue -1", &[29], &[("queueId", "-1")]),
        ("queue 4", &[29], &[("queueId", "4")]),
        ("queue 2^31-1", &[29], &[("queueId", "2147483647")]),
        ("a queue that is no number", &[29], &[("queueId", "first")]),
        ("no subscription anywhere", &[24], &[("sysFlag", "0")]),
        ("an unknown kind of expression", &[1, 23], &[("expressionType", "XPATH")]),
    ];
    for (name, codes, changed) in cases {
        stage.expect(codes, request::PULL_MESSAGE, &fields(changed), "").await.with_context(|| name.to_owned())?;
        stage.expect(codes, request::LITE_PULL_MESSAGE, &fields(changed), "").await.with_context(|| name.to_owned())?;
    }
    let tags = (0..2_000).map(|nth| format!("tag{nth}")).collect::<Vec<_>>().join("||");
    stage.expect(&[23], request::PULL_MESSAGE, &fields(&[("subscription", &tags)]), "").await.context("2,000 tags")?;
    stage
        .expect(&[23], request::PULL_MESSAGE, &fields(&[("subscription", &"x".repeat(20_000))]), "")
        .await
        .context("a tag of 20,000 bytes")?;
    for name in ["consumerGroup", "topic", "queueId", "queueOffset", "maxMsgNums", "sysFlag"] {
        let left: Vec<_> = fields(&[]).into_iter().filter(|(other, _)| *other != name).collect();
        stage.expect(&[29], request::PULL_MESSAGE, &left, "").await.with_context(|| format!("no {name}"))?;
    }
    Ok(())
}

/// Offsets out of range are answered with where to go on.
pub(crate) async fn pulls_out_of_range(stage: &Stage) -> Result<()> {
    let end = MESSAGES.to_string();
    let beyond = (MESSAGES + 1).to_string();
    let (most, least) = (i64::MAX.to_string(), i64::MIN.to_string());
    for (offset, code, next) in
        [(end.as_str(), 19, MESSAGES), (&beyond, 21, MESSAGES), (&most, 21, MESSAGES), ("-1", 21, 0), (&least, 21, 0)]
    {
        let answer = stage.expect(&[code], request::PULL_MESSAGE, &fields(&[("queueOffset", offset)]), "").await?;
        let (found, min, max) =
            (number(&answer, "nextBeginOffset"), number(&answer, "minOffset"), number(&answer, "maxOffset"));
        ensure!(
            (found, min, max) == (Some(next), Some(0), Some(MESSAGES)),
            "a pull at {offset} sends on to {found:?} of {min:?} to {max:?}"
        );
        ensure!(answer.body.is_empty(), "a pull at {offset} carries messages");
    }
    Ok(())
}

/// Whatever number of messages is asked for, the answer is bounded, good and quick.
pub(crate) async fn pulls_of_everything(stage: &Stage) -> Result<()> {
    for most in ["2147483647", "1000000", "0", "-1", "-2147483648"] {
        for bytes in ["2147483647", "0", "-1"] {
            let answer = stage
                .expect(&[0], request::PULL_MESSAGE, &fields(&[("maxMsgNums", most), ("maxMsgBytes", bytes)]), "")
                .await?;
            let count = records(&answer.body).collect::<Result<Vec<_>, _>>()?.len();
            ensure!(
                (1..=1_024).contains(&count) && answer.body.len() <= 8 << 20,
                "{count} messages in {} bytes",
                answer.body.len()
            );
        }
    }
    // Held for 2^62 ms; a message wakes it, and a limit would.
    let held = fields(&[("queueId", "1"), ("sysFlag", "6"), ("suspendTimeoutMillis", "4611686018427387904")]);
    let (talk, queue) = (stage.talk.clone(), Queue::new("reads", 1));
    let pull = tokio::spawn(async move { talk.ask_raw(request::PULL_MESSAGE, &held, "").await });
    let sent = stage.talk.send(&Draft::new(&queue, "", CANARY)).await?;
    let woken = pull.await.context("the pull panicked")??;
    ensure!(sent.code == 0 && woken.code == 0, "{sent:?}, {woken:?}");
    Ok(())
}

/// Queries by key and position.
pub(crate) async fn queries(stage: &Stage) -> Result<()> {
    let query = |topic: &'static str, key: &'static str, most: &'static str| {
        [
            ("topic", topic),
            ("key", key),
            ("maxNum", most),
            ("beginTimestamp", "0"),
            ("endTimestamp", "9223372036854775807"),
        ]
    };
    for most in ["2147483647", "64"] {
        let answer = stage.expect(&[0], request::QUERY_MESSAGE, &query("reads", "the-key", most), "").await?;
        let count = records(&answer.body).collect::<Result<Vec<_>, _>>()?.len();
        ensure!(i64::try_from(count)? == MESSAGES, "{count} messages for maxNum {most}");
    }
    for most in ["0", "-1", "-2147483648"] {
        let answer = stage.expect(&[0, 22], request::QUERY_MESSAGE, &query("reads", "the-key", most), "").await?;
        ensure!(answer.body.len() < 1 << 20, "maxNum {most} gives {} bytes", answer.body.len());
    }
    stage.expect(&[22], request::QUERY_MESSAGE, &query("reads", "another-key", "64"), "").await?;
    stage.expect(&[22], request::QUERY_MESSAGE, &query("reads", "", "64"), "").await?;
    stage.expect(&[17, 22], request::QUERY_MESSAGE, &query("no-such-topic", "the-key", "64"), "").await?;
    stage.expect(&[29], request::QUERY_MESSAGE, &[("topic", "reads")], "").await?;
    for position in ["-1", "-9223372036854775808", "9223372036854775807", "1", "7", "4611686018427387904"] {
        stage.expect(&[1], request::VIEW_MESSAGE_BY_ID, &[("topic", "reads"), ("offset", position)], "").await?;
        let fields = [("offset", position), ("group", "readers"), ("delayLevel", "1")];
        stage.expect(&[1], request::CONSUMER_SEND_MSG_BACK, &fields, "").await?;
    }
    let fields = [("offset", "0"), ("group", "no-such-group"), ("delayLevel", "1")];
    stage.expect(&[26], request::CONSUMER_SEND_MSG_BACK, &fields, "").await?;
    Ok(())
}

/// Positions of queues and groups.
pub(crate) async fn offsets(stage: &Stage) -> Result<()> {
    let commit = |topic: &'static str, group: &'static str, queue: &'static str, offset: &'static str| {
        [("consumerGroup", group), ("topic", topic), ("queueId", queue), ("commitOffset", offset)]
    };
    stage.talk.heartbeat("readers-client", "readers", "reads").await?;
    stage.expect(&[26], request::UPDATE_CONSUMER_OFFSET, &commit("reads", "no-such-group", "0", "10"), "").await?;
    stage.expect(&[0], request::UPDATE_CONSUMER_OFFSET, &commit("reads", "readers", "0", "10"), "").await?;
    stage.expect(&[29], request::UPDATE_CONSUMER_OFFSET, &commit("reads", "readers", "0", "-5"), "").await?;
    stage.expect(&[29], request::UPDATE_CONSUMER_OFFSET, &commit("reads", "readers", "0", "ten"), "").await?;
    stage.expect(&[17], request::UPDATE_CONSUMER_OFFSET, &commit("no-such-topic", "readers", "0", "1"), "").await?;
    stage.expect(&[26, 29], request::UPDATE_CONSUMER_OFFSET, &commit("reads", "a b", "0", "1"), "").await?;
    let found = stage.talk.progress("readers", &Queue::new("reads", 0)).await?;
    ensure!(found == Some(10), "refused commits changed the progress to {found:?}");
    for code in [request::GET_MAX_OFFSET, request::GET_MIN_OFFSET] {
        for (topic, queue) in [("reads", "99"), ("reads", "-1"), ("no-such-topic", "0"), ("reads", "2147483647")] {
            let answer = stage.expect(&[0, 17, 29], code, &[("topic", topic), ("queueId", queue)], "").await?;
            ensure!(
                answer.code != 0 || number(&answer, "offset") == Some(0),
                "{topic}/{queue} has offset {:?}",
                number(&answer, "offset")
            );
        }
    }
    for (time, offset) in [("-9223372036854775808", 0), ("9223372036854775807", MESSAGES)] {
        let fields = [("topic", "reads"), ("queueId", "0"), ("timestamp", time)];
        let answer = stage.expect(&[0], request::SEARCH_OFFSET_BY_TIMESTAMP, &fields, "").await?;
        ensure!(number(&answer, "offset") == Some(offset), "at {time} is offset {:?}", number(&answer, "offset"));
    }
    Ok(())
}

/// A group's progress beyond the end of a queue: refused, or at least never told to a consumer as it is.
pub(crate) async fn progress_beyond_the_end(stage: &Stage) -> Result<()> {
    let queue = Queue::new("reads", 0);
    stage.talk.heartbeat("eager-client", "eager", "reads").await?;
    for offset in ["1000", "9223372036854775807"] {
        let fields = [("consumerGroup", "eager"), ("topic", "reads"), ("queueId", "0"), ("commitOffset", offset)];
        stage.expect(&[0, 29], request::UPDATE_CONSUMER_OFFSET, &fields, "").await?;
        let pull = fields_with_commit(offset);
        stage.expect(&[0], request::PULL_MESSAGE, &fields_of(&pull), "").await?;
        let found = stage.talk.progress("eager", &queue).await?;
        ensure!(found.is_none_or(|found| found <= MESSAGES), "progress {found:?} in a queue that ends at {MESSAGES}");
    }
    // It must be usable afterwards.
    stage.talk.commit("eager", &queue, 5).await?;
    let found = stage.talk.progress("eager", &queue).await?;
    ensure!(found == Some(5), "after a commit of 5 it is {found:?}");
    Ok(())
}

fn fields_with_commit(offset: &str) -> [(&'static str, String); 3] {
    [("consumerGroup", String::from("eager")), ("sysFlag", String::from("5")), ("commitOffset", offset.to_owned())]
}

fn fields_of<'a>(changed: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    let changed: Vec<(&str, &str)> = changed.iter().map(|(name, value)| (*name, value.as_str())).collect();
    fields(&changed)
}

/// The fast port takes everything but what waits.
pub(crate) async fn fast_port(stage: &Stage) -> Result<()> {
    let fast =
        strata_tests::talk::Talk::connect(stage.ports.broker - 2, strata_protocol::frame::HeaderCodec::Json).await?;
    let queue = Queue::new("reads", 2);
    let sent = fast.send(&Draft::new(&queue, "", Bytes::from_static(CANARY.as_bytes()))).await?;
    ensure!(sent.code == 0, "{sent:?}");
    for code in [request::PULL_MESSAGE, request::LITE_PULL_MESSAGE] {
        let answer = fast.ask_raw(code, &fields(&[]), "").await?;
        ensure!(answer.code == 3, "a pull on the fast port was answered with {} ({:?})", answer.code, answer.remark);
    }
    Ok(())
}
