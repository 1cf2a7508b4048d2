//! Batch send: several messages of one queue in one request, stored with offsets in a row.

use std::borrow::Cow;
use std::sync::Arc;

use strata_protocol::batch::InnerMessages;
use strata_protocol::command::Command;
use strata_protocol::message_id::OffsetMessageId;
use strata_protocol::name;
use strata_protocol::properties::IndexTerms;
use strata_protocol::request::Send;
use strata_remoting::{Answer, Connection};

use super::draft::{Draft, Seen, store_all};
use super::send;
use crate::hall::Hall;
use crate::refusal::Refusal;
use crate::topics::Topic;
use crate::trail::Doer;

/// Stores a batch: all of its messages or none.
pub(super) fn send(
    hall: &Arc<Hall>,
    (command, header): (&Command, &Send<'_>),
    (topic, queue_id): (&Topic, i32),
    telling: Option<u64>,
    connection: &Arc<Connection>,
) -> Result<Answer, Refusal> {
    let bad = |reason: &str| Refusal::BadBatch { reason: reason.to_owned() };
    if name::is_retry(header.topic) {
        return Err(bad("a retry topic takes no batches"));
    }
    // Keys that the broker makes live as long as the drafts that name them.
    let mut inners = Vec::new();
    let mut waits = false;
    for inner in InnerMessages::of(&command.body) {
        let inner = inner.map_err(|error| Refusal::BadBatch { reason: error.to_string() })?;
        let seen = Seen::of(inner.properties);
        send::refuse_unserved(header, &seen)?;
        if seen.delay_level > 0 {
            return Err(bad("a batch takes no delayed messages"));
        }
        waits |= seen.waits;
        let made_key = seen.missing_key(hall);
        inners.push((inner, seen, made_key));
    }
    let mut drafts = Vec::with_capacity(inners.len());
    for (inner, seen, made_key) in &inners {
        let unique_key = made_key.as_deref().or(seen.terms.unique_key);
        drafts.push(Draft {
            topic: Cow::Borrowed(header.topic),
            queue_id,
            flag: inner.flag,
            sys_flag: header.sys_flag,
            born_timestamp: header.born_timestamp,
            born_host: connection.peer(),
            reconsume_times: header.reconsume_times,
            body: inner.body,
            properties: seen.complete(hall, inner.properties, made_key.as_deref())?,
            terms: IndexTerms { unique_key, ..seen.terms },
            delay_level: 0,
            sender: Some((header.producer_group, Doer::of(connection))),
        });
    }
    let stored = store_all(hall, &drafts)?;
    let (Some(first), Some(last)) = (stored.first(), stored.last()) else { return Err(bad("it holds no message")) };
    if let Some(draft) = drafts.first() {
        draft.note(hall, topic, (first.queue_offset, last.queue_offset + 1));
    }
    stored.iter().for_each(|one| topic.incoming.add_sized(u64::from(one.bytes)));
    let id = |physical_offset| OffsetMessageId { host: hall.address(), physical_offset }.encode();
    let ids: Vec<_> = stored.iter().map(|one| id(one.physical_offset)).collect();
    let reply = send::reply(hall, &ids.join(","), queue_id, first.queue_offset);
    Ok(send::when_settled(hall, &send::Sent { command, connection, log_end: last.log_end, waits, telling }, reply))
}
