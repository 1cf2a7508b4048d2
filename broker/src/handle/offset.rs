//! Positions: a group's progress, a queue's bounds, the offset at a time.

use std::sync::Arc;

use strata_protocol::command::Command;
use strata_protocol::name;
use strata_protocol::reply::Reply;
use strata_protocol::request::{QueryConsumerOffset, QueueOf, SearchOffset, UpdateConsumerOffset};
use strata_remoting::{Answer, Connection};
use strata_store::Boundary;

use super::{header, later};
use crate::hall::Hall;
use crate::refusal::Refusal;

/// Answers 14. A group without an offset starts a young queue at 0: the client would otherwise ask for
/// the end of a queue that is still empty and pass over what is stored meanwhile.
pub(super) fn query(hall: &Arc<Hall>, command: &Command) -> Result<Reply, Refusal> {
    let request: QueryConsumerOffset = header(command)?;
    let QueryConsumerOffset { group, topic, queue_id, set_zero_if_not_found } = &request;
    if let Some(offset) = hall.tables.offsets.find(group, topic, *queue_id) {
        return Ok(Reply::success().int("offset", offset));
    }
    if set_zero_if_not_found != &Some(false) && hall.store.queue_is_young(topic, *queue_id) {
        return Ok(Reply::success().int("offset", 0));
    }
    Err(Refusal::NoOffset)
}

/// Answers 15.
pub(super) fn update(hall: &Arc<Hall>, command: &Command, connection: &Connection) -> Result<Reply, Refusal> {
    let request: UpdateConsumerOffset = header(command)?;
    let UpdateConsumerOffset { group, topic, queue_id, commit_offset } = &request;
    if hall.tables.groups.find(group).is_none() && !name::is_system_group(group) {
        return Err(Refusal::NoGroupToCommit { group: group.clone() });
    }
    let known = hall.topic(topic)?;
    known.check_queue(*queue_id)?;
    if *commit_offset < 0 {
        return Err(strata_protocol::request::BadField::Invalid { name: "commitOffset", expected: "0 or more" }.into());
    }
    hall.commit(group, &known, (*queue_id, *commit_offset), connection);
    Ok(Reply::success())
}

/// Answers 30.
pub(super) fn max(hall: &Arc<Hall>, command: &Command) -> Result<Reply, Refusal> {
    let request: QueueOf = header(command)?;
    let range = hall.store.queue_range(&request.topic, request.queue_id);
    Ok(Reply::success().int("offset", range.map_or(0, |range| range.max)))
}

/// Answers 31.
pub(super) fn min(hall: &Arc<Hall>, command: &Command) -> Result<Reply, Refusal> {
    let request: QueueOf = header(command)?;
    let range = hall.certain_range(&request.topic, request.queue_id)?;
    Ok(Reply::success().int("offset", range.map_or(0, |range| range.min)))
}

/// Answers 32.
pub(super) fn earliest(hall: &Arc<Hall>, command: &Command, connection: &Arc<Connection>) -> Result<Answer, Refusal> {
    let request: QueueOf = header(command)?;
    let told = |time: Option<i64>| Reply::success().int("timestamp", time.unwrap_or(-1));
    let begin = hall.certain_range(&request.topic, request.queue_id)?.map_or(0, |range| range.min);
    if hall.cold_for(&request.topic, request.queue_id, begin).is_none() {
        return Ok(Answer::Now(told(hall.store.earliest_store_time(&request.topic, request.queue_id))));
    }
    let asking = Arc::clone(hall);
    let work = async move { Ok(told(asking.store_time(&request.topic, request.queue_id, begin).await?)) };
    Ok(later(hall, command, connection, work))
}

/// Answers 29.
pub(super) fn search(hall: &Arc<Hall>, command: &Command, connection: &Arc<Connection>) -> Result<Answer, Refusal> {
    let request: SearchOffset = header(command)?;
    let boundary = match &request.boundary {
        Some(text) if text.eq_ignore_ascii_case("upper") => Boundary::Upper,
        _ => Boundary::Lower,
    };
    let queue = (request.topic.as_str(), request.queue_id);
    if let Some(offset) = hall.offset_by_time_at_once(queue, request.timestamp, boundary) {
        return Ok(Answer::Now(Reply::success().int("offset", offset)));
    }
    let asking = Arc::clone(hall);
    let work = async move {
        let queue = (request.topic.as_str(), request.queue_id);
        Ok(Reply::success().int("offset", asking.offset_by_time(queue, request.timestamp, boundary).await?))
    };
    Ok(later(hall, command, connection, work))
}
