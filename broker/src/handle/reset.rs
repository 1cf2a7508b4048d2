//! Operators move a group's offsets: to a time, to an offset, or to those of another group.

use std::collections::BTreeMap;
use std::sync::Arc;

use strata_protocol::body::{MessageQueue, object_map};
use strata_protocol::code::request;
use strata_protocol::command::{Command, Language};
use strata_protocol::reply::Reply;
use strata_protocol::request::{CloneGroupOffset, ResetOffset};
use strata_remoting::{Answer, Connection};
use strata_store::Boundary;

use super::group::{once_saved, saved};
use super::{header, later};
use crate::hall::Hall;
use crate::refusal::Refusal;

/// How long an operator's offset stands against clients that tell their old one, ms. A client takes it within
/// ten seconds, one of RocketMQ's at least.
const RESET_STANDS_MS: i64 = 60_000;

/// Answers 222: stores the new offsets and tells the group's clients to take them.
pub(super) fn reset(hall: &Arc<Hall>, command: &Command, connection: &Arc<Connection>) -> Result<Answer, Refusal> {
    let request: ResetOffset = header(command)?;
    let topic = hall.topic(&request.topic)?;
    let missing = || Refusal::NoGroupToReset { group: request.group.clone() };
    hall.tables.groups.find(&request.group).ok_or_else(missing)?;
    let queues = match request.queue_id.filter(|queue| *queue >= 0) {
        Some(queue) => {
            topic.check_queue(queue)?;
            vec![queue]
        }
        None => (0..topic.config.read_queue_nums).collect(),
    };
    let asking = Arc::clone(hall);
    Ok(later(hall, command, connection, async move {
        let mut offsets = BTreeMap::new();
        for queue in queues {
            // A time may mean a message that only the cold tier has.
            offsets.insert(queue, target(&asking, &request, queue).await?);
        }
        once_saved(&asking, move_to(&asking, &request, offsets)).await
    }))
}

/// Moves the group, as far as the request allows.
fn move_to(hall: &Hall, request: &ResetOffset, offsets: BTreeMap<i32, i64>) -> Reply {
    let force = request.is_force.unwrap_or(false);
    let moved: Vec<_> = offsets
        .into_iter()
        .filter(|(queue, target)| {
            let known = hall.tables.offsets.find(&request.group, &request.topic, *queue);
            force || request.offset.is_some() || known.is_none_or(|known| *target < known)
        })
        .collect();
    for (queue, offset) in &moved {
        let until_ms = hall.elapsed_ms() + RESET_STANDS_MS;
        hall.tables.offsets.reset(&request.group, &request.topic, *queue, (*offset, until_ms));
    }
    let broker_name = &hall.options.identity.name;
    let queue = |queue_id| MessageQueue { topic: request.topic.clone(), broker_name: broker_name.clone(), queue_id };
    let table: Vec<_> = moved.iter().map(|(queue_id, offset)| (queue(*queue_id), *offset)).collect();
    tell_clients(hall, request, &table);
    Reply::with_body(format!("{{\"offsetTable\":{}}}", object_map(table)))
}

async fn target(hall: &Hall, request: &ResetOffset, queue: i32) -> Result<i64, Refusal> {
    let range = hall.certain_range(&request.topic, queue)?;
    let (min, max) = range.map_or((0, 0), |range| (range.min, range.max));
    Ok(match request.offset {
        Some(offset) if offset >= 0 => offset.clamp(min, max),
        _ if request.timestamp < 0 => max,
        _ => {
            let queue = (request.topic.as_str(), queue);
            hall.offset_by_time(queue, request.timestamp, Boundary::Lower).await?.clamp(min, max)
        }
    })
}

/// Clients drop what they fetched and start at the new offsets. C++ reads a list, the others a map.
fn tell_clients(hall: &Hall, reset: &ResetOffset, table: &[(MessageQueue, i64)]) {
    for member in hall.clients.members(&reset.group) {
        let mut notice = Command::request(request::RESET_CONSUMER_CLIENT_OFFSET);
        notice.fields.push("topic", &reset.topic);
        notice.fields.push("group", &reset.group);
        notice.fields.push("timestamp", &reset.timestamp.to_string());
        notice.fields.push("isForce", "true");
        let offsets = if member.language == Language::of("CPP") {
            let entry = |(queue, offset): &(MessageQueue, i64)| serde_json::json!({"topic": queue.topic, "brokerName": queue.broker_name, "queueId": queue.queue_id, "offset": offset});
            serde_json::Value::from(table.iter().map(entry).collect::<Vec<_>>()).to_string()
        } else {
            object_map(table.iter().cloned())
        };
        notice.body = format!("{{\"offsetTable\":{offsets}}}").into();
        member.connection.notify(notice);
    }
}

/// Answers 314.
pub(super) fn copy(hall: &Arc<Hall>, command: &Command, connection: &Arc<Connection>) -> Result<Answer, Refusal> {
    let request: CloneGroupOffset = header(command)?;
    let topics = match request.topic.filter(|topic| !topic.is_empty()) {
        Some(topic) => vec![topic],
        None => hall.tables.offsets.topics_of(&request.source_group),
    };
    hall.group(&request.target_group, connection)?;
    for topic in topics {
        hall.tables.offsets.copy(&request.source_group, &request.target_group, &topic);
    }
    Ok(saved(hall, command, connection, Reply::success()))
}
