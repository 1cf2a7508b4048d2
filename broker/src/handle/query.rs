//! Find messages by key, by unique key, or by their position in the log.

use std::sync::Arc;

use bytes::Bytes;
use strata_protocol::command::Command;
use strata_protocol::reply::Reply;
use strata_protocol::request::{QueryMessage, ViewMessage};
use strata_remoting::{Answer, Connection};
use strata_store::KeyKind;

use super::{header, later, off_runtime};
use crate::cold::KeyQuestion;
use crate::hall::Hall;
use crate::limits::{PULL_BYTES_MAX, QUERY_MESSAGES_MAX};
use crate::refusal::Refusal;

/// Messages that a unique key may have: the original and its retries.
const UNIQUE_KEY_MESSAGES_MAX: usize = 32;

/// Answers 12.
pub(super) fn by_key(hall: &Arc<Hall>, command: &Command, connection: &Arc<Connection>) -> Result<Answer, Refusal> {
    let request: QueryMessage = header(command)?;
    hall.topic(&request.topic)?;
    let (kind, max) = match request.unique_key {
        Some(true) => (KeyKind::UniqueKey, UNIQUE_KEY_MESSAGES_MAX),
        _ => (KeyKind::Key, usize::try_from(request.messages_max).unwrap_or(0).min(QUERY_MESSAGES_MAX)),
    };
    let QueryMessage { topic, key, begin_timestamp, end_timestamp, .. } = request;
    let question = KeyQuestion { topic, key, kind, begin_ms: begin_timestamp, end_ms: end_timestamp, max };
    let asking = Arc::clone(hall);
    Ok(later(hall, command, connection, async move {
        // Every segment's index may have to be read.
        let (searching, of) = (Arc::clone(&asking), question.clone());
        let search = move || {
            let KeyQuestion { topic, key, kind, begin_ms, end_ms, max } = &of;
            Ok(searching.store.query_by_key(topic, key, *begin_ms, *end_ms, *max, *kind))
        };
        let mut found = off_runtime(&asking, search).await?;
        found.extend(asking.older_by_key(&question, found.len()).await?);
        answer_of(&asking, question, found)
    }))
}

fn answer_of(hall: &Hall, question: KeyQuestion, found: Vec<Bytes>) -> Result<Reply, Refusal> {
    if found.is_empty() {
        return Err(Refusal::KeyNotFound { topic: question.topic, key: question.key });
    }
    let mut reply = Reply::success();
    let mut bytes = 0;
    for record in found {
        bytes += record.len();
        if bytes > PULL_BYTES_MAX && !reply.body.is_empty() {
            break;
        }
        reply.body.push(record);
    }
    let (_, log_end) = hall.store.log_range();
    Ok(reply.int("indexLastUpdateTimestamp", hall.now_ms()).int("indexLastUpdatePhyoffset", log_end))
}

/// Answers 33.
pub(super) fn by_position(
    hall: &Arc<Hall>,
    command: &Command,
    connection: &Arc<Connection>,
) -> Result<Answer, Refusal> {
    let request: ViewMessage = header(command)?;
    let lost = Refusal::NoMessage { offset: request.offset };
    if let Some(record) = hall.store.record_at(request.offset) {
        return Ok(Answer::Now(Reply::with_body(record)));
    }
    if hall.cold.is_none() {
        return Err(lost);
    }
    let asking = Arc::clone(hall);
    let work = async move { Ok(Reply::with_body(asking.record_at(request.offset).await?.ok_or(lost)?)) };
    Ok(later(hall, command, connection, work))
}
