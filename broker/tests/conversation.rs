//! A broker over a real socket, spoken to as a client does: what is sent is pulled, filtered, retried,
//! delayed, found again, and still there after a restart.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use strata_protocol::code::request;
use strata_protocol::command::{Command, FLAG_ONEWAY};
use strata_protocol::record::records;
use strata_protocol::request::{Header, Pull, QueueOf, SendBack, UpdateConsumerOffset, pull_flag};
use strata_remoting::Client;

mod running;
use running::{Running, TIMEOUT, bodies, field, property, send_command};

fn held_pull() -> Command {
    let header = Pull {
        group: "g".into(),
        topic: "T".into(),
        queue_offset: 3,
        messages_max: 1,
        sys_flag: pull_flag::SUBSCRIPTION | pull_flag::SUSPEND,
        suspend_timeout_ms: 20_000,
        subscription: Some("*".into()),
        ..Pull::default()
    };
    let mut command = Command::request(request::PULL_MESSAGE);
    header.encode(&mut command.fields);
    command
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_is_pulled_and_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Running::start(folder.path(), |_| {}).await;
    for n in 0..5 {
        let answer = broker.send("T", format!("m{n}").as_bytes(), "TAGS\u{1}A\u{2}KEYS\u{1}k1 k2\u{2}").await;
        assert_eq!((answer.code, field(&answer, "queueOffset")), (0, n), "{answer:?}");
        assert_eq!(answer.fields.value("msgId").unwrap().len(), 32);
    }
    let pulled = broker.pull("g", "T", 0, ("*", 0)).await;
    assert_eq!(pulled.code, 0, "{pulled:?}");
    assert_eq!(bodies(&pulled), ["m0", "m1", "m2", "m3", "m4"]);
    assert_eq!((field(&pulled, "nextBeginOffset"), field(&pulled, "maxOffset")), (5, 5));
    assert_eq!(property(&pulled, "CLUSTER").as_deref(), Some("DefaultCluster"));
    assert_eq!(property(&pulled, "UNIQ_KEY").map(|key| key.len()), Some(32));
    let commit = UpdateConsumerOffset { group: "g".into(), topic: "T".into(), queue_id: 0, commit_offset: 3 };
    assert_eq!(broker.ask(request::UPDATE_CONSUMER_OFFSET, &commit).await.code, 0);
    broker.stop().await;

    let broker = Running::start(folder.path(), |_| {}).await;
    assert_eq!(bodies(&broker.pull("g", "T", 3, ("A || B", 0)).await), ["m3", "m4"]);
    let other = broker.pull("g", "T", 0, ("B", 0)).await;
    assert_eq!((other.code, field(&other, "nextBeginOffset")), (20, 5), "a pull that matches nothing moves on");
    let mut query = Command::request(request::QUERY_CONSUMER_OFFSET);
    for (name, value) in [("consumerGroup", "g"), ("topic", "T"), ("queueId", "0")] {
        query.fields.push(name, value);
    }
    assert_eq!(field(&broker.call(query).await, "offset"), 3);
    let answer = broker.send("T", b"m5", "").await;
    assert_eq!(field(&answer, "queueOffset"), 5);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_pull_wakes_for_its_tag_only_and_ends_with_its_time() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Arc::new(Running::start(folder.path(), |_| {}).await);
    broker.send("T", b"first", "").await;
    let held = tokio::spawn({
        let broker = Arc::clone(&broker);
        async move { broker.pull("g", "T", 1, ("B", 8_000)).await }
    });
    broker.held(1).await;
    broker.send("T", b"not wanted", "TAGS\u{1}A\u{2}").await;
    broker.held(1).await;
    assert!(!held.is_finished(), "a message with another tag must not wake the pull");
    broker.send("T", b"wanted", "TAGS\u{1}B\u{2}").await;
    let answer = held.await.unwrap();
    assert_eq!((answer.code, bodies(&answer)), (0, vec![String::from("wanted")]));

    let peer = broker.client.peer().to_string();
    let gone = Client::connect(&peer, TIMEOUT).await.unwrap();
    let pulls = tokio::spawn({
        let gone = gone.clone();
        async move { tokio::join!(gone.call(held_pull(), TIMEOUT), gone.call(held_pull(), TIMEOUT)) }
    });
    broker.held(2).await;
    gone.close();
    broker.held(0).await;
    assert!(pulls.await.unwrap().0.is_err(), "nobody answers a client that is gone");

    let began = tokio::time::Instant::now();
    let answer = broker.pull("g", "T", 3, ("*", 300)).await;
    assert_eq!((answer.code, field(&answer, "nextBeginOffset")), (19, 3));
    assert!(began.elapsed() >= Duration::from_millis(300), "held for {:?}", began.elapsed());
    let held = tokio::spawn({
        let broker = Arc::clone(&broker);
        async move { broker.pull("g", "T", 3, ("*", 30_000)).await }
    });
    broker.held(1).await;
    let began = tokio::time::Instant::now();
    drop(broker.stop.lock().unwrap().take());
    assert_eq!(held.await.unwrap().code, 19, "a broker that stops answers the pulls it holds");
    assert!(began.elapsed() < Duration::from_secs(3), "stopped after {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn positions_out_of_range_are_corrected() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Running::start(folder.path(), |_| {}).await;
    broker.send("T", b"one", "").await;
    let beyond = broker.pull("g", "T", 9, ("*", 0)).await;
    assert_eq!((beyond.code, field(&beyond, "nextBeginOffset")), (21, 1), "{beyond:?}");
    let queue = QueueOf { topic: "T".into(), queue_id: 0 };
    assert_eq!(field(&broker.ask(request::GET_MAX_OFFSET, &queue).await, "offset"), 1);
    assert_eq!(field(&broker.ask(request::GET_MIN_OFFSET, &queue).await, "offset"), 0);
    assert!(field(&broker.ask(request::GET_EARLIEST_MSG_STORETIME, &queue).await, "timestamp") > 0);
    assert_eq!(broker.pull("g", "T", -1, ("*", 0)).await.code, 21);
    let no_queue = Pull { group: "g".into(), topic: "T".into(), queue_id: 7, ..Pull::default() };
    assert_eq!(broker.ask(request::PULL_MESSAGE, &no_queue).await.code, 29);
    for queue_id in [-1, 7, i32::MAX] {
        let commit = UpdateConsumerOffset { group: "g".into(), topic: "T".into(), queue_id, commit_offset: 1 };
        let answer = broker.ask(request::UPDATE_CONSUMER_OFFSET, &commit).await;
        assert_eq!(answer.code, 29, "progress in queue {queue_id} would be kept for ever: {answer:?}");
    }
    assert_eq!(broker.pull("g", "Missing", 0, ("*", 0)).await.code, 17);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_message_is_retried_and_then_a_dead_letter() {
    let folder = tempfile::tempdir().unwrap();
    let broker =
        Running::start(folder.path(), |options| options.topics.delay_levels = String::from("1s 1s 1s 1s")).await;
    broker.send("T", b"bad", "").await;
    let mut group = Command::request(request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP);
    group.body = Bytes::from_static(br#"{"groupName":"g","retryMaxTimes":1}"#);
    assert_eq!(broker.call(group).await.code, 0);

    let first = broker.pull("g", "T", 0, ("*", 0)).await;
    let position = records(&first.body).next().unwrap().unwrap().physical_offset();
    let back = |offset| SendBack { offset, group: "g".into(), max_reconsume_times: Some(1), ..SendBack::default() };
    assert_eq!(broker.ask(request::CONSUMER_SEND_MSG_BACK, &back(position)).await.code, 0);
    let began = tokio::time::Instant::now();
    let retried = broker.pull("g", "%RETRY%g", 0, ("*", 8_000)).await;
    assert_eq!((retried.code, bodies(&retried)), (0, vec![String::from("bad")]), "{retried:?}");
    assert!(began.elapsed() >= Duration::from_millis(900), "delivered after {:?}", began.elapsed());
    assert_eq!(property(&retried, "RETRY_TOPIC").as_deref(), Some("T"));
    let record = records(&retried.body).next().unwrap().unwrap();
    assert_eq!(record.reconsume_times(), 1);

    assert_eq!(broker.ask(request::CONSUMER_SEND_MSG_BACK, &back(record.physical_offset())).await.code, 0);
    let dead = broker.pull("g", "%DLQ%g", 0, ("*", 0)).await;
    assert_eq!((dead.code, bodies(&dead)), (0, vec![String::from("bad")]), "{dead:?}");
    assert_eq!(property(&dead, "DELAY").as_deref(), Some("0"));
    let lost = broker.ask(request::CONSUMER_SEND_MSG_BACK, &back(1 << 40)).await;
    assert_eq!(lost.code, 1);
    for (topic, count) in [("T", 1), ("SCHEDULE_TOPIC_XXXX", 1)] {
        let of = format!("topic=\"{topic}\"");
        assert_eq!(broker.figure("rocketmq_messages_in_total", &of), Some(count), "{topic}");
    }
    assert_eq!(broker.figure("rocketmq_send_to_dlq_messages_total", "topic=\"T\""), Some(1));
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sync_flush_answers_and_refusals_have_their_codes() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Running::start(folder.path(), |options| options.store.flush = strata_store::FlushMode::Sync).await;
    let answers: Vec<_> = {
        let sends = (0..20).map(|n| send_command("T", format!("m{n}").as_bytes(), ""));
        let mut waiting = Vec::new();
        for send in sends {
            let client = broker.client.clone();
            waiting.push(tokio::spawn(async move { client.call(send, TIMEOUT).await.unwrap() }));
        }
        let mut answers = Vec::new();
        for one in waiting {
            answers.push(one.await.unwrap());
        }
        answers
    };
    let mut offsets: Vec<_> = answers.iter().map(|answer| field(answer, "queueOffset")).collect();
    offsets.sort_unstable();
    assert_eq!(offsets, (0..20).collect::<Vec<_>>());
    let observed = "request_code=\"send_message_v2\",response_code=\"success\"";
    assert_eq!(broker.figure("rocketmq_rpc_latency_milliseconds_count", observed), Some(20));
    assert_eq!(broker.figure("strata_connections", "main"), Some(1));

    assert_eq!(broker.send("T", b"", "").await.code, 13);
    assert_eq!(broker.send("T", &vec![0; (4 << 20) + 1], "").await.code, 13);
    assert_eq!(broker.send("bad/topic", b"x", "").await.code, 29);
    assert_eq!(broker.send("RMQ_SYS_TRANS_HALF_TOPIC", b"x", "").await.code, 16);
    assert_eq!(broker.send("T", b"x", "TRAN_MSG\u{1}true\u{2}").await.code, 16);
    assert_eq!(broker.send("T", b"x", "TIMER_DELAY_SEC\u{1}5\u{2}").await.code, 13);
    assert_eq!(broker.call(Command::request(9_999)).await.remark.as_deref(), Some(" request type 9999 not supported"));
    let pop = broker.call(Command::request(request::POP_MESSAGE)).await;
    assert_eq!(
        (pop.code, pop.remark.as_deref()),
        (3, Some("request POP_MESSAGE (200050) is not served by this broker yet"))
    );
    assert_eq!(broker.call(Command::request(request::PULL_MESSAGE)).await.code, 29);
    let delayed = broker.send("T", b"later", "DELAY\u{1}3\u{2}").await;
    assert_eq!((delayed.code, field(&delayed, "queueId")), (0, 0), "the queue that was asked for, not the schedule's");
    let mut oneway = send_command("T", b"one-way", "");
    oneway.flag |= FLAG_ONEWAY;
    broker.client.notify(oneway).await.unwrap();
    let pulled = broker.pull("g", "T", 20, ("*", 5_000)).await;
    assert_eq!(bodies(&pulled), ["one-way"], "nothing that was refused is in the log");
    broker.stop().await;
}
