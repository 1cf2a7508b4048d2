//! Expressions over properties, asked of a broker over a real socket: what they let through, what they cost, what is
//! refused and how, and what the figures say of it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::sync::Arc;

use bytes::Bytes;
use strata_protocol::code::request;
use strata_protocol::command::Command;
use strata_protocol::record::records;
use strata_protocol::request::{Pull, SendBack, UpdateConsumerOffset, pull_flag};

mod running;
use running::{Running, bodies, field, send_command};

const PARSE_FAILED: i32 = 23;
const NO_FILTER_DATA: i32 = 27;
const SYSTEM_ERROR: i32 = 1;
const FOUND: i32 = 0;
const NO_MATCH: i32 = 20;

/// A pull of queue 0 from `offset` on that names its own expression.
fn naming(topic: &str, offset: i64, (kind, text): (&str, &str), hold_ms: i64) -> Pull {
    Pull {
        group: "g".into(),
        topic: topic.into(),
        queue_offset: offset,
        messages_max: 32,
        sys_flag: pull_flag::SUBSCRIPTION | if hold_ms > 0 { pull_flag::SUSPEND } else { 0 },
        suspend_timeout_ms: hold_ms,
        subscription: Some(text.into()),
        expression_type: Some(kind.into()),
        ..Pull::default()
    }
}

/// A pull with what the group's heartbeat told.
fn told(topic: &str, offset: i64, hold_ms: i64) -> Pull {
    let sys_flag = if hold_ms > 0 { pull_flag::SUSPEND } else { 0 };
    let all = naming(topic, offset, ("", ""), hold_ms);
    Pull { sys_flag, subscription: None, expression_type: None, sub_version: 1, ..all }
}

async fn pull(broker: &Running, pull: Pull) -> Command {
    broker.ask(request::PULL_MESSAGE, &pull).await
}

/// The bodies that an expression lets through.
async fn through(broker: &Running, kind: &str, text: &str) -> Vec<String> {
    let answer = pull(broker, naming("T", 0, (kind, text), 0)).await;
    assert!(matches!(answer.code, FOUND | NO_MATCH), "{answer:?}");
    bodies(&answer)
}

fn json(code: i32, body: serde_json::Value) -> Command {
    let mut command = Command::request(code);
    command.body = Bytes::from(body.to_string());
    command
}

fn subscription(topic: &str, kind: &str, text: &str, version: i64) -> serde_json::Value {
    serde_json::json!({ "topic": topic, "subString": text, "expressionType": kind, "subVersion": version })
}

/// Group `g` shows itself with one subscription.
async fn heartbeat(broker: &Running, subscription: serde_json::Value) {
    let group = serde_json::json!({
        "groupName": "g", "consumeType": "CONSUME_PASSIVELY", "messageModel": "CLUSTERING",
        "consumeFromWhere": "CONSUME_FROM_FIRST_OFFSET", "subscriptionDataSet": [subscription],
    });
    let beat = serde_json::json!({ "clientID": "c", "producerDataSet": [], "consumerDataSet": [group] });
    assert_eq!(broker.call(json(request::HEART_BEAT, beat)).await.code, 0);
}

async fn check(broker: &Running, subscription: serde_json::Value) -> Command {
    let body = serde_json::json!({ "clientId": "c", "group": "g", "subscriptionData": subscription });
    broker.call(json(request::CHECK_CLIENT_CONFIG, body)).await
}

/// Sends many messages, several at a time; the properties follow from the number.
async fn fill(broker: &Running, count: usize, properties: impl Fn(usize) -> String) {
    for from in (0..count).step_by(200) {
        let mut sent = tokio::task::JoinSet::new();
        for number in from..count.min(from + 200) {
            let (client, send) = (broker.client.clone(), send_command("T", b"x", &properties(number)));
            sent.spawn(async move { client.call(send, running::TIMEOUT).await.unwrap().code });
        }
        while let Some(code) = sent.join_next().await {
            assert_eq!(code.unwrap(), 0);
        }
    }
}

fn price(value: &str) -> String {
    format!("price\u{1}{value}\u{2}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expressions_let_through_what_matches_by_heartbeat_and_by_pull() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Running::start(folder.path(), |_| {}).await;
    for (body, properties) in [("a", price("5")), ("b", price("7.5")), ("c", price("x")), ("d", String::new())] {
        broker.send("T", body.as_bytes(), &properties).await;
    }
    assert_eq!(through(&broker, "SQL92", "price > 3").await, ["a"]);
    assert_eq!(through(&broker, "SQL92_STRICT", "price > 3").await, ["a", "b"]);
    assert_eq!(through(&broker, "SQL92", "price IS NULL").await, ["d"]);
    assert!(through(&broker, "SQL92", "price = 'y'").await.is_empty());
    heartbeat(&broker, subscription("T", "SQL92", "price > 3.0", 1)).await;
    let answer = pull(&broker, told("T", 0, 0)).await;
    assert_eq!((answer.code, bodies(&answer)), (FOUND, vec!["a".into(), "b".into()]));
    assert_eq!(field(&answer, "nextBeginOffset"), 4, "what does not match behind the last match is passed as well");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_many_is_found_in_one_round_trip_and_none_moves_on() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Running::start(folder.path(), |options| options.store.segment_bytes = 64 << 20).await;
    let count = 10_000;
    fill(&broker, count, |number| format!("n\u{1}{number}\u{2}TAGS\u{1}t{number}\u{2}")).await;
    let last = count - 1;
    for (kind, text) in [("SQL92", format!("n = {last}")), ("TAG", format!("t{last}"))] {
        let answer = pull(&broker, naming("T", 0, (kind, &text), 0)).await;
        // Sends of a round overtake each other.
        assert_eq!((answer.code, records(&answer.body).count()), (FOUND, 1), "{kind}");
        assert!(field(&answer, "nextBeginOffset") > 9_000, "{answer:?}");
    }
    for (kind, text) in [("SQL92", "n = -1"), ("TAG", "none")] {
        let answer = pull(&broker, naming("T", 0, (kind, text), 0)).await;
        assert_eq!((answer.code, field(&answer, "nextBeginOffset")), (NO_MATCH, 10_000), "{kind}");
    }
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_pull_looks_at_each_message_once() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Arc::new(Running::start(folder.path(), |_| {}).await);
    broker.send("T", b"first", "").await;
    heartbeat(&broker, subscription("T", "SQL92", "price > 3", 1)).await;
    let hold = |hold_ms| {
        let broker = Arc::clone(&broker);
        tokio::spawn(async move { pull(&broker, told("T", 1, hold_ms)).await })
    };
    let held = hold(9_000);
    broker.held(1).await;
    let failures = || broker.figure("strata_filter_evaluation_failures_total", "consumer_group=\"g\"").unwrap_or(0);
    // The expression fails on each of them, which is counted.
    for number in 1..=20 {
        broker.send("T", b"not wanted", &price("x")).await;
        running::eventually(&format!("message {number} is looked at"), || failures() >= number).await;
    }
    broker.held(1).await;
    assert!(!held.is_finished(), "what does not match must not end the pull");
    assert_eq!(failures(), 20, "each is looked at once, however often the pull was woken");
    broker.send("T", b"wanted", &price("4")).await;
    let answer = held.await.unwrap();
    assert_eq!((answer.code, bodies(&answer)), (FOUND, vec!["wanted".into()]));
    assert_eq!((field(&answer, "nextBeginOffset"), failures()), (22, 20));

    let late = hold(400);
    broker.held(0).await;
    // From offset 1 on again: twenty that fail, one that matches.
    assert_eq!((late.await.unwrap().code, failures()), (FOUND, 40));
    let broker = Arc::into_inner(broker).unwrap();
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_pull_whose_time_ends_is_told_how_far_it_came() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Arc::new(Running::start(folder.path(), |_| {}).await);
    broker.send("T", b"first", "").await;
    for (kind, text) in [("SQL92", "price > 3"), ("TAG", "wanted")] {
        let from = field(&broker.send("T", b"another", "").await, "queueOffset") + 1;
        let held = tokio::spawn({
            let broker = Arc::clone(&broker);
            async move { pull(&broker, naming("T", from, (kind, text), 500)).await }
        });
        broker.held(1).await;
        broker.send("T", b"not wanted", "TAGS\u{1}other\u{2}").await;
        broker.send("T", b"nor this", "").await;
        let answer = held.await.unwrap();
        assert_eq!((answer.code, field(&answer, "nextBeginOffset")), (NO_MATCH, from + 2), "{kind}: {answer:?}");
    }
    let broker = Arc::into_inner(broker).unwrap();
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_comes_again_is_held_against_the_expression_of_its_topic() {
    for (reaches_retries, comes_again) in [(true, false), (false, true)] {
        let folder = tempfile::tempdir().unwrap();
        let broker = Running::start(folder.path(), |options| {
            options.topics.delay_levels = String::from("1s 1s 1s 1s");
            options.filters.retries = reaches_retries;
        })
        .await;
        broker.send("T", b"five", &price("5")).await;
        broker.send("T", b"nine", &price("9")).await;
        heartbeat(&broker, subscription("T", "SQL92", "price > 3", 1)).await;
        let answer = pull(&broker, told("T", 0, 0)).await;
        assert_eq!(bodies(&answer), ["five", "nine"]);
        let positions: Vec<i64> = records(&answer.body).map(|record| record.unwrap().physical_offset()).collect();
        for offset in positions {
            let back = SendBack { offset, group: "g".into(), ..SendBack::default() };
            assert_eq!(broker.ask(request::CONSUMER_SEND_MSG_BACK, &back).await.code, 0);
        }
        // The group changes its mind meanwhile.
        heartbeat(&broker, subscription("T", "SQL92", "price > 7", 2)).await;
        let mut came = Vec::new();
        let (mut next, deadline) = (0, tokio::time::Instant::now() + running::TIMEOUT);
        while next < 2 {
            assert!(tokio::time::Instant::now() < deadline, "the retries never came");
            let again = naming("%RETRY%g", next, ("TAG", "*"), 1_000);
            let answer = pull(&broker, again).await;
            came.extend(bodies(&answer));
            next = field(&answer, "nextBeginOffset");
        }
        came.sort();
        assert_eq!(came.contains(&String::from("five")), comes_again, "{came:?}");
        assert!(came.contains(&String::from("nine")), "{came:?}");
        broker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_served_is_refused_where_it_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Running::start(folder.path(), |_| {}).await;
    broker.send("T", b"one", &price("5")).await;
    let parse_failures = || broker.figure("strata_filter_parse_failures_total", "consumer_group=\"g\"").unwrap_or(0);
    assert_eq!(check(&broker, subscription("T", "SQL92", "price > 3", 1)).await.code, 0);
    assert_eq!(parse_failures(), 0);
    let refused = check(&broker, subscription("T", "SQL92", "price >", 1)).await;
    assert_eq!((refused.code, parse_failures()), (PARSE_FAILED, 1), "{refused:?}");
    let remark = refused.remark.unwrap();
    assert!(remark.contains('7'), "the remark names the position: {remark}");
    let named = pull(&broker, naming("T", 0, ("SQL92", "price != 3"), 0)).await;
    assert_eq!((named.code, parse_failures()), (PARSE_FAILED, 2), "{named:?}");
    heartbeat(&broker, subscription("T", "SQL92", "price > '3'", 1)).await;
    assert_eq!(parse_failures(), 3);
    heartbeat(&broker, subscription("T", "SQL92", "price > '3'", 1)).await;
    assert_eq!(parse_failures(), 3, "the same subscription is not judged again");
    let known = pull(&broker, told("T", 0, 0)).await;
    assert_eq!(known.code, NO_FILTER_DATA, "{known:?}");
    for kind in ["XPATH", "sql92"] {
        let refused = pull(&broker, naming("T", 0, (kind, "a"), 0)).await;
        assert_eq!(refused.code, SYSTEM_ERROR);
        assert!(refused.remark.unwrap().contains(kind), "the kind is named");
    }
    let mut by_class = subscription("T", "TAG", "org.example.Filter", 2);
    by_class["classFilterMode"] = true.into();
    let refused = check(&broker, by_class.clone()).await;
    assert_eq!(refused.code, SYSTEM_ERROR);
    assert!(refused.remark.unwrap().contains("class"));
    heartbeat(&broker, by_class).await;
    assert_eq!(pull(&broker, Pull { sub_version: 2, ..told("T", 0, 0) }).await.code, SYSTEM_ERROR);
    let mut flagged = naming("T", 0, ("TAG", "*"), 0);
    flagged.sys_flag |= pull_flag::CLASS_FILTER;
    assert_eq!(pull(&broker, flagged).await.code, SYSTEM_ERROR);
    broker.stop().await;
    let broker = Running::start(folder.path(), |options| options.filters.sql = false).await;
    let off = check(&broker, subscription("T", "SQL92", "price > 3", 1)).await;
    assert_eq!(off.code, SYSTEM_ERROR);
    let remark = off.remark.unwrap();
    assert!(remark.starts_with("The broker does not support consumer to filter message by SQL92"), "{remark}");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_makes_a_group_strict_and_lenient_again() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Running::start(folder.path(), |_| {}).await;
    for (body, properties) in [("a", price("5")), ("b", price("7.5"))] {
        broker.send("T", body.as_bytes(), &properties).await;
    }
    heartbeat(&broker, subscription("T", "SQL92", "price > 3", 1)).await;
    let came = async || bodies(&pull(&broker, told("T", 0, 0)).await);
    assert_eq!(came().await, ["a"]);
    let group = async |attributes: serde_json::Value| {
        let body = serde_json::json!({ "groupName": "g", "attributes": attributes });
        broker.call(json(request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, body)).await.code
    };
    assert_eq!(group(serde_json::json!({ "+filter.dialect": "SQL92_STRICT" })).await, 0);
    assert_eq!(came().await, ["a", "b"], "also of subscriptions that were there before");
    assert_eq!(check(&broker, subscription("T", "SQL92", "price LIKE '7%'", 1)).await.code, 0);
    assert_eq!(check(&broker, subscription("T", "SQL92", "price = 1 rest", 1)).await.code, PARSE_FAILED);
    assert_eq!(group(serde_json::json!({})).await, 0);
    assert_eq!(came().await, ["a", "b"], "what is not told stays");
    assert_eq!(group(serde_json::json!({ "+filter.dialect": "ORACLE" })).await, 29);
    assert_eq!(group(serde_json::json!({ "-filter.dialect": "" })).await, 0);
    assert_eq!(came().await, ["a"]);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lag_counts_what_the_group_wants() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Running::start(folder.path(), |_| {}).await;
    fill(&broker, 1_000, |number| format!("{}TAGS\u{1}t{}\u{2}", price(&number.to_string()), number % 10)).await;
    let commit = UpdateConsumerOffset { group: "g".into(), topic: "T".into(), queue_id: 0, commit_offset: 0 };
    let lag = || {
        let of = |name| broker.figure(name, "consumer_group=\"g\"").unwrap();
        (of("rocketmq_consumer_lag_messages"), of("strata_consumer_lag_estimated"))
    };
    for (version, (kind, text, wanted)) in
        [("TAG", "*", 1_000), ("SQL92", "price >= 990", 10), ("TAG", "t3 || t7", 200)].into_iter().enumerate()
    {
        heartbeat(&broker, subscription("T", kind, text, version as i64 + 1)).await;
        assert_eq!(broker.ask(request::UPDATE_CONSUMER_OFFSET, &commit).await.code, 0);
        // A machine that stands still meanwhile makes it an estimate.
        running::eventually("the lag is exact", || lag().1 == 0).await;
        assert_eq!(lag(), (wanted, 0), "{kind} {text}");
    }
    broker.stop().await;
}
