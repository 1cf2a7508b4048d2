//! How far groups are: offsets, lag, times.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use strata_protocol::body::{ConsumeOffset, MessageQueue, object_map};
use strata_protocol::command::Command;
use strata_protocol::reply::Reply;
use strata_protocol::request::{ConsumeStats, TopicAndGroup};
use strata_remoting::{Answer, Connection};

use tokio::task::{JoinError, JoinSet};

use super::{document, header, later};
use crate::hall::Hall;
use crate::limits::{COLD_TIMES_AT_ONCE_MAX, COLD_TIMES_MAX, COLD_TIMES_MS_MAX};
use crate::refusal::Refusal;

type Told = (usize, Result<Option<i64>, Refusal>);
type Progress = Vec<(MessageQueue, ConsumeOffset)>;

/// Answers 208; later if messages that were consumed last are in the cold tier alone.
pub(super) fn of_group(hall: &Arc<Hall>, command: &Command, connection: &Arc<Connection>) -> Result<Answer, Refusal> {
    let request: ConsumeStats = header(command)?;
    let listed = request.topic_list.unwrap_or_default();
    let topics: Vec<String> = match request.topic.filter(|topic| !topic.is_empty()) {
        Some(topic) => vec![topic],
        None if !listed.is_empty() => listed.split(';').map(str::to_owned).collect(),
        None => all_topics(hall, &request.group),
    };
    let mut queues = Vec::new();
    for topic in &topics {
        queues.extend(offsets(hall, &request.group, topic));
    }
    let rate_of = |topic: &String| hall.figures.consume_rate(&request.group, topic, hall.elapsed_ms());
    let rate = topics.iter().fold(0.0, |sum, topic| sum + rate_of(topic));
    let answer =
        move |queues| Reply::with_body(format!("{{\"consumeTps\":{rate:?},\"offsetTable\":{}}}", object_map(queues)));
    let is_cold = |(queue, offset): &(MessageQueue, ConsumeOffset)| {
        let last = offset.consumer_offset - 1;
        last >= 0 && offset.last_timestamp == 0 && hall.cold_for(&queue.topic, queue.queue_id, last).is_some()
    };
    let cold: Vec<usize> = (0..queues.len()).filter(|at| queues.get(*at).is_some_and(is_cold)).collect();
    if cold.is_empty() {
        return Ok(Answer::Now(answer(queues)));
    }
    let owner = Arc::clone(hall);
    Ok(later(hall, command, connection, async move {
        let mut queues = queues;
        // What the tier does not tell in time is left out, as RocketMQ leaves out what it does not find.
        let _ =
            tokio::time::timeout(Duration::from_millis(COLD_TIMES_MS_MAX), cold_times(&owner, &mut queues, cold)).await;
        Ok(answer(queues))
    }))
}

/// Adds when messages in the cold tier were stored, some at a time.
async fn cold_times(hall: &Arc<Hall>, queues: &mut Progress, cold: Vec<usize>) {
    let mut asked = JoinSet::new();
    for at in cold.into_iter().take(COLD_TIMES_MAX) {
        let Some((queue, offset)) = queues.get(at) else { continue };
        let (owner, topic, queue_id, last) =
            (Arc::clone(hall), queue.topic.clone(), queue.queue_id, offset.consumer_offset - 1);
        asked.spawn(async move { (at, owner.store_time(&topic, queue_id, last).await) });
        if asked.len() == COLD_TIMES_AT_ONCE_MAX {
            take_time(queues, asked.join_next().await);
        }
    }
    while let Some(told) = asked.join_next().await {
        take_time(queues, Some(told));
    }
}

fn take_time(queues: &mut Progress, told: Option<Result<Told, JoinError>>) {
    if let Some(Ok((at, Ok(Some(time))))) = told
        && let Some((_, offset)) = queues.get_mut(at)
    {
        offset.last_timestamp = time;
    }
}

fn all_topics(hall: &Hall, group: &str) -> Vec<String> {
    let mut topics = hall.tables.offsets.topics_of(group);
    topics.extend(hall.clients.topics_of(group));
    topics.sort();
    topics.dedup();
    topics
}

/// A group's offsets of a topic; a topic that is missing has none.
fn offsets(hall: &Hall, group: &str, topic: &str) -> Progress {
    let Some(known) = hall.tables.topics.find(topic) else { return Vec::new() };
    let pulled = hall.figures.outgoing_of(group, topic).map(|outgoing| outgoing.pulled()).unwrap_or_default();
    let of_queue = |queue_id| {
        let max = hall.store.queue_range(topic, queue_id).map_or(0, |range| range.max);
        let stored = hall.tables.offsets.find(group, topic, queue_id);
        let consumed = stored.unwrap_or(0);
        let last = (consumed > 0).then(|| hall.store.store_time(topic, queue_id, consumed - 1)).flatten();
        let queue = MessageQueue { topic: topic.to_owned(), broker_name: hall.options.identity.name.clone(), queue_id };
        let pull_offset = pulled.get(&queue_id).filter(|_| stored.is_some()).copied().unwrap_or(0).max(consumed);
        let last_timestamp = last.unwrap_or(0);
        (queue, ConsumeOffset { broker_offset: max, consumer_offset: consumed, pull_offset, last_timestamp })
    };
    (0..known.config.read_queue_nums).map(of_queue).collect()
}

/// Answers 317.
pub(super) fn of_broker(hall: &Arc<Hall>, command: &Command) -> Result<Reply, Refusal> {
    let ordered_only = command.fields.value("isOrder").is_some_and(|text| text.eq_ignore_ascii_case("true"));
    let mut by_group: BTreeMap<Arc<str>, Vec<String>> = BTreeMap::new();
    let (mut behind, mut in_flight) = (0, 0);
    for (group, topic, _) in hall.tables.offsets.all() {
        if ordered_only && hall.tables.topics.find(&topic).is_none_or(|topic| !topic.config.order) {
            continue;
        }
        let queues = offsets(hall, &group, &topic);
        for (_, offset) in &queues {
            behind += (offset.broker_offset - offset.consumer_offset).max(0);
            in_flight += offset.pull_offset - offset.consumer_offset;
        }
        let text = format!("{{\"consumeTps\":0.0,\"offsetTable\":{}}}", object_map(queues));
        by_group.entry(group).or_default().push(text);
    }
    let entry = |(group, stats): (Arc<str>, Vec<String>)| {
        format!("{{{}:[{}]}}", serde_json::Value::from(&*group), stats.join(","))
    };
    let list = by_group.into_iter().map(entry).collect::<Vec<_>>().join(",");
    let address = hall.address();
    Ok(Reply::with_body(format!(
        "{{\"brokerAddr\":\"{address}\",\"consumeStatsList\":[{list}],\"totalDiff\":{behind},\
         \"totalInflightDiff\":{in_flight}}}"
    )))
}

/// Answers 303.
pub(super) fn time_span(hall: &Arc<Hall>, command: &Command, connection: &Arc<Connection>) -> Result<Answer, Refusal> {
    let TopicAndGroup { topic, group, .. } = header(command)?;
    let topic = topic.unwrap_or_default();
    let queues = hall.topic(&topic)?.config.write_queue_nums;
    let owner = Arc::clone(hall);
    Ok(later(hall, command, connection, async move {
        let mut spans = Vec::new();
        for queue_id in 0..queues {
            spans.push(span(&owner, (&topic, &group), queue_id).await?);
        }
        document(&serde_json::json!({ "consumeTimeSpanSet": spans }))
    }))
}

/// The times of one queue, those of messages in the cold tier included.
async fn span(hall: &Hall, (topic, group): (&str, &str), queue_id: i32) -> Result<serde_json::Value, Refusal> {
    let range = hall.range(topic, queue_id).filter(|range| range.max > range.min);
    let (mut first, mut last) = (-1, -1);
    if let Some(range) = range {
        first = hall.store_time(topic, queue_id, range.min).await?.unwrap_or(-1);
        last = hall.store_time(topic, queue_id, range.max - 1).await?.unwrap_or(-1);
    }
    let consumed = hall.tables.offsets.find(group, topic, queue_id).unwrap_or(0);
    let mut consumed_at = first;
    if consumed > 0 {
        consumed_at = hall.store_time(topic, queue_id, consumed - 1).await?.unwrap_or(first);
    }
    let mut delay = 0;
    if range.is_some_and(|range| consumed < range.max) {
        let next = hall.store_time(topic, queue_id, consumed).await?.unwrap_or(first);
        delay = hall.now_ms() - next.max(0);
    }
    let broker_name = hall.options.identity.name.clone();
    Ok(serde_json::json!({
        "messageQueue": MessageQueue { topic: topic.to_owned(), broker_name, queue_id },
        "minTimeStamp": first, "maxTimeStamp": last, "consumeTimeStamp": consumed_at, "delayTime": delay,
    }))
}

/// Answers 43.
pub(super) fn all_offsets(hall: &Arc<Hall>) -> Result<Reply, Refusal> {
    let table = hall.tables.offsets.snapshot();
    let entry = |(key, queues)| format!("{}:{}", serde_json::Value::from(key), object_map::<i32, i64>(queues));
    let entries = table.offset_table.into_iter().map(entry).collect::<Vec<_>>().join(",");
    let version = serde_json::to_string(&table.data_version).unwrap_or_default();
    Ok(Reply::with_body(format!("{{\"dataVersion\":{version},\"offsetTable\":{{{entries}}}}}")))
}
