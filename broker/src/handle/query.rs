//! Find messages by key, by unique key, or by their position in the log.

use std::sync::Arc;

use strata_protocol::command::Command;
use strata_protocol::reply::Reply;
use strata_protocol::request::{QueryMessage, ViewMessage};
use strata_remoting::{Answer, Connection};
use strata_store::KeyKind;

use super::{header, later, off_runtime};
use crate::hall::Hall;
use crate::limits::{PULL_BYTES_MAX, QUERY_MESSAGES_MAX};
use crate::refusal::Refusal;

/// Messages that a unique key may have: the original and its retries.
const UNIQUE_KEY_MESSAGES_MAX: usize = 32;

/// Answers 12.
pub(super) fn by_key(hall: &Arc<Hall>, command: &Command, connection: &Arc<Connection>) -> Result<Answer, Refusal> {
    let request: QueryMessage = header(command)?;
    hall.topic(&request.topic)?;
    // Every segment's index may have to be read.
    let (searching, asking) = (Arc::clone(hall), Arc::clone(hall));
    let search = move || found_by_key(&searching, request);
    Ok(later(hall, command, connection, async move { off_runtime(&asking, search).await }))
}

fn found_by_key(hall: &Hall, request: QueryMessage) -> Result<Reply, Refusal> {
    let (kind, most) = match request.unique_key {
        Some(true) => (KeyKind::UniqueKey, UNIQUE_KEY_MESSAGES_MAX),
        _ => (KeyKind::Key, usize::try_from(request.messages_max).unwrap_or(0).min(QUERY_MESSAGES_MAX)),
    };
    let QueryMessage { topic, key, begin_timestamp, end_timestamp, .. } = &request;
    let found = hall.store.query_by_key(topic, key, *begin_timestamp, *end_timestamp, most, kind);
    if found.is_empty() {
        return Err(Refusal::KeyNotFound { topic: request.topic, key: request.key });
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
pub(super) fn by_position(hall: &Arc<Hall>, command: &Command) -> Result<Reply, Refusal> {
    let request: ViewMessage = header(command)?;
    let lost = Refusal::NoMessage { offset: request.offset };
    let record = hall.store.record_at(request.offset).ok_or(lost)?;
    Ok(Reply::with_body(record))
}
