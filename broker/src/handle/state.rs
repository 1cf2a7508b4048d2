//! The broker's own state, as tools show it.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use strata_protocol::body::KvTable;
use strata_protocol::command::{Command, VERSION};
use strata_protocol::name;
use strata_protocol::reply::Reply;
use strata_protocol::request::BrokerStats;
use strata_remoting::{Answer, Connection};
use strata_store::FlushMode;

use super::{document, header, later, off_runtime};
use crate::hall::Hall;
use crate::refusal::Refusal;
use crate::traffic::{Traffic, Window};

/// Answers 28. The names are those that the dashboard and the exporter read.
pub(super) fn runtime(hall: &Arc<Hall>) -> Result<Reply, Refusal> {
    let (now, elapsed) = (hall.now_ms(), hall.elapsed_ms());
    let stats = hall.store.stats();
    let mut table = BTreeMap::new();
    let mut put = |key: &str, value: &dyn Display| drop(table.insert(key.to_owned(), value.to_string()));
    let topics = hall.tables.topics.list();
    let incoming: Vec<_> = topics.iter().map(|topic| &*topic.incoming).collect();
    let outgoing = hall.figures.outgoing();
    let outgoing: Vec<_> = outgoing.iter().map(|(_, outgoing)| &*outgoing.traffic).collect();
    let (put_total, put_bytes) = totals(&incoming);
    let (get_total, _) = totals(&outgoing);
    let started = hall.figures.started_ms.load(Ordering::Relaxed);
    let (log_min, log_max) = hall.store.log_range();
    put("brokerVersionDesc", &concat!("Strata_", env!("CARGO_PKG_VERSION")));
    put("brokerVersion", &VERSION);
    put("bootTimestamp", &started);
    put("runtime", &uptime(now - i64::try_from(started).unwrap_or(now)));
    put("brokerActive", &true);
    put("startAcceptSendRequestTimeStamp", &0);
    for key in ["putTps", "getTotalTps", "getFoundTps"] {
        put(key, &rates(if key == "putTps" { &incoming } else { &outgoing }, elapsed));
    }
    put("getMissTps", &"0.0 0.0 0.0");
    put("getTransferredTps", &rates(&outgoing, elapsed));
    put("getTransferedTps", &rates(&outgoing, elapsed));
    put("msgPutTotalTodayNow", &put_total);
    put("msgGetTotalTodayNow", &get_total);
    for key in [
        "msgPutTotalYesterdayMorning",
        "msgPutTotalTodayMorning",
        "msgGetTotalYesterdayMorning",
        "msgGetTotalTodayMorning",
    ] {
        put(key, &0);
    }
    put("putMessageTimesTotal", &put_total);
    put("putMessageSizeTotal", &put_bytes);
    put("putMessageAverageSize", &put_bytes.checked_div(put_total).unwrap_or(0));
    put("putMessageFailedTimes", &0);
    put("commitLogMinOffset", &log_min);
    put("commitLogMaxOffset", &log_max);
    put("commitLogDiskRatio", &stats.disk_used_ratio);
    put("consumeQueueDiskRatio", &stats.disk_used_ratio);
    put("remainHowManyDataToFlush", &format!("{} B", stats.flush_behind_bytes()));
    put("dispatchBehindBytes", &0);
    put("pageCacheLockTimeMills", &0);
    put("earliestMessageTimeStamp", &hall.store.earliest_log_time().unwrap_or(-1));
    for pool in ["send", "pull", "litePull", "query", "ack"] {
        for (part, value) in [("Size", 0), ("Capacity", 10_000), ("HeadWaitTimeMills", 0)] {
            put(&format!("{pool}ThreadPoolQueue{part}"), &value);
        }
    }
    put("EndTransactionQueueSize", &0);
    put("EndTransactionThreadPoolQueueCapacity", &0);
    put("commitLogDirCapacity", &capacity(&hall.options.data));
    put("putMessageDistributeTime", &"");
    for key in ABSENT_HERE {
        put(key, &0);
    }
    document(&KvTable { table })
}

/// Figures of parts that RocketMQ's broker has and this one does not; tools look for the names.
const ABSENT_HERE: [&str; 11] = [
    "dispatchMaxBuffer",
    "getMessageEntireTimeMax",
    "putLatency99",
    "putLatency999",
    "putMessageEntireTimeMax",
    "remainTransientStoreBufferNumbs",
    "timerCongestNum",
    "timerDequeueTps",
    "timerEnqueueTps",
    "timerOffsetBehind",
    "timerReadBehind",
];

/// Size of the data folder's file system, as RocketMQ words it; empty when it cannot be told.
fn capacity(data: &Path) -> String {
    let gib = |bytes: u64| format!("{}.{:02} GiB", bytes >> 30, ((bytes & ((1 << 30) - 1)) * 100) >> 30);
    let told = rustix::fs::statvfs(data).map(|disk| {
        let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
        format!("Total : {}, Free : {}.", gib(bytes(disk.f_blocks)), gib(bytes(disk.f_bavail)))
    });
    told.unwrap_or_default()
}

fn totals(traffic: &[&Traffic]) -> (u64, u64) {
    traffic.iter().fold((0, 0), |(messages, bytes), one| (messages + one.messages(), bytes + one.bytes()))
}

/// Messages a second over 10 s, a minute, 10 minutes.
fn rates(traffic: &[&Traffic], elapsed_ms: i64) -> String {
    // An empty sum of floats is -0.0.
    let rate = |seconds| traffic.iter().fold(0.0, |sum, one| sum + one.window(elapsed_ms, seconds).rate());
    format!("{:?} {:?} {:?}", rate(10), rate(60), rate(600))
}

fn uptime(ms: i64) -> String {
    let seconds = ms.max(0) / 1_000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    format!("[ {days} days, {hours} hours, {minutes} minutes, {} seconds ]", seconds % 60)
}

/// Answers 26 with the settings under RocketMQ's names.
pub(super) fn settings(hall: &Arc<Hall>) -> Result<Reply, Refusal> {
    let options = &hall.options;
    let (flush, interval) = match options.store.flush {
        FlushMode::Async { interval_ms, .. } => ("ASYNC_FLUSH", interval_ms),
        FlushMode::Sync => ("SYNC_FLUSH", 0),
    };
    // Without credentials: no location has any.
    let cold = hall.cold.as_ref().map(|cold| cold.bucket().to_string()).unwrap_or_default();
    let pairs: [(&str, &dyn Display); 29] = [
        ("brokerClusterName", &options.identity.cluster),
        ("brokerName", &options.identity.name),
        ("brokerId", &options.identity.id),
        ("brokerIP1", &options.identity.ip),
        ("listenPort", &options.identity.port),
        ("namesrvAddr", &options.name_servers.join(";")),
        ("brokerPermission", &options.permission),
        ("brokerRole", &"ASYNC_MASTER"),
        ("regionId", &options.region),
        ("storePathRootDir", &options.data.display()),
        ("mappedFileSizeCommitLog", &options.store.segment_bytes),
        ("flushDiskType", &flush),
        ("flushIntervalCommitLog", &interval),
        ("fileReservedTime", &options.store.retention_hours),
        ("diskMaxUsedSpaceRatio", &options.store.disk_used_percent_max),
        ("maxMessageSize", &options.store.message_bytes_max),
        ("autoCreateTopicEnable", &options.topics.auto_create_topics),
        ("autoCreateSubscriptionGroup", &options.topics.auto_create_groups),
        ("defaultTopicQueueNums", &options.topics.default_queues),
        ("messageDelayLevel", &options.topics.delay_levels),
        ("traceTopicEnable", &options.topics.trace_topic),
        ("traceOn", &true),
        ("msgTraceTopicName", &name::TRACE_TOPIC),
        ("slaveReadEnable", &false),
        ("enablePropertyFilter", &options.filters.sql),
        ("filterSupportRetry", &options.filters.retries),
        ("waitTimeMillsInSendQueue", &options.patience.send_ms),
        ("waitTimeMillsInPullQueue", &options.patience.pull_ms),
        ("tieredStoreUrl", &cold),
    ];
    let text: String = pairs.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
    let version = hall.tables.topics.snapshot().data_version;
    let version = serde_json::to_string(&version).unwrap_or_default();
    Ok(Reply::with_body(text).text("version", version))
}

/// Answers 315: one statistic over a minute, an hour and a day.
pub(super) fn statistic(hall: &Arc<Hall>, command: &Command) -> Result<Reply, Refusal> {
    let request: BrokerStats = header(command)?;
    let now = hall.elapsed_ms();
    let absent = || Refusal::NoStats { name: request.name.clone(), key: request.key.clone() };
    let traffic =
        traffic_of(hall, &request.name, &request.key).filter(|streams| !streams.is_empty()).ok_or_else(absent)?;
    let in_bytes = request.name.ends_with("_SIZE");
    let window = |seconds| {
        let sum = traffic.iter().map(|one| one.window(now, seconds)).fold(Window::default(), |sum, one| Window {
            messages: sum.messages + one.messages,
            bytes: sum.bytes + one.bytes,
            seconds: sum.seconds.max(one.seconds),
        });
        let amount = if in_bytes { Window { messages: sum.bytes, ..sum } } else { sum };
        serde_json::json!({ "sum": amount.messages, "tps": amount.rate(), "avgpt": 0.0 })
    };
    document(&serde_json::json!({ "statsMinute": window(60), "statsHour": window(3_600), "statsDay": window(86_400) }))
}

fn traffic_of(hall: &Hall, name: &str, key: &str) -> Option<Vec<Arc<Traffic>>> {
    let all_topics = |wanted: &dyn Fn(&str) -> bool| {
        let topics = hall.tables.topics.list().into_iter().filter(|topic| wanted(&topic.config.topic_name));
        topics.map(|topic| Arc::clone(&topic.incoming)).collect::<Vec<_>>()
    };
    match name {
        "TOPIC_PUT_NUMS" | "TOPIC_PUT_SIZE" => Some(vec![Arc::clone(&hall.tables.topics.find(key)?.incoming)]),
        "GROUP_GET_NUMS" | "GROUP_GET_SIZE" => {
            let (topic, group) = key.split_once('@')?;
            Some(vec![Arc::clone(&hall.figures.outgoing_of(group, topic)?.traffic)])
        }
        "SNDBCK_PUT_NUMS" => {
            let (_, group) = key.split_once('@')?;
            Some(vec![Arc::clone(&hall.tables.topics.find(&name::retry_topic(group))?.incoming)])
        }
        "BROKER_PUT_NUMS" => Some(all_topics(&|_| true)),
        "BROKER_PUT_NUMS_WITHOUT_SYSTEM_TOPIC" => Some(all_topics(&|topic| !name::is_system_topic(topic))),
        "BROKER_GET_NUMS" | "BROKER_GET_NUMS_WITHOUT_SYSTEM_TOPIC" => {
            Some(hall.figures.outgoing().into_iter().map(|(_, outgoing)| Arc::clone(&outgoing.traffic)).collect())
        }
        _ => None,
    }
}

/// Answers 329.
pub(super) fn sweep(hall: &Arc<Hall>, command: &Command, connection: &Arc<Connection>) -> Answer {
    let (owner, asking) = (Arc::clone(hall), Arc::clone(hall));
    let sweep = move || {
        let swept = owner.store.sweep(&|topic| owner.keep_hot(topic), owner.now_ms());
        let swept = swept.map_err(|error| Refusal::Sweep { reason: error.to_string() })?;
        Ok(Reply::success().remark(format!("{swept:?}")))
    };
    later(hall, command, connection, async move { off_runtime(&asking, sweep).await })
}
