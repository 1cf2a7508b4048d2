//! One file per kind of request; this one is the table of contents.

use std::sync::Arc;

use strata_protocol::code::{request, request_name};
use strata_protocol::command::Command;
use strata_protocol::json;
use strata_protocol::reply::Reply;
use strata_protocol::request::Header;
use strata_remoting::{Answer, Connection};

use crate::hall::Hall;
use crate::refusal::Refusal;

mod send;
mod draft;
mod batch;
mod pull;
mod send_back;
mod query;
mod heartbeat;
mod lock;
mod offset;
mod reset;
mod relay;
mod topic;
mod group;
mod progress;
mod state;
mod tier;
mod gc;

pub(crate) use draft::{Draft, put};
pub(crate) use pull::answer_ready;

/// Meets one request with the handler of its code.
pub(crate) fn answer(hall: &Arc<Hall>, command: &Command, connection: &Arc<Connection>) -> Answer {
    if let Err(late) = refuse_late(hall, command.code, connection) {
        return Answer::Now(late.into());
    }
    let result = match command.code {
        request::SEND_MESSAGE | request::SEND_MESSAGE_V2 | request::SEND_BATCH_MESSAGE => {
            send::send(hall, command, connection)
        }
        request::PULL_MESSAGE | request::LITE_PULL_MESSAGE => pull::pull(hall, command, connection),
        request::CONSUMER_SEND_MSG_BACK => send_back::send_back(hall, command, connection),
        request::UPDATE_AND_CREATE_TOPIC => topic::create(hall, command, connection),
        request::UPDATE_AND_CREATE_TOPIC_LIST => topic::create_list(hall, command, connection),
        request::DELETE_TOPIC_IN_BROKER => topic::delete(hall, command, connection),
        request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP => group::create(hall, command, connection),
        request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST => group::create_list(hall, command, connection),
        request::DELETE_SUBSCRIPTIONGROUP => group::delete(hall, command, connection),
        request::UPDATE_AND_GET_GROUP_FORBIDDEN => group::forbidden(hall, command, connection),
        request::INVOKE_BROKER_TO_RESET_OFFSET => reset::reset(hall, command, connection),
        request::CLONE_GROUP_OFFSET => reset::copy(hall, command, connection),
        request::QUERY_MESSAGE => query::by_key(hall, command, connection),
        request::VIEW_MESSAGE_BY_ID => query::by_position(hall, command, connection),
        request::SEARCH_OFFSET_BY_TIMESTAMP => offset::search(hall, command, connection),
        request::GET_EARLIEST_MSG_STORETIME => offset::earliest(hall, command, connection),
        request::DELETE_EXPIRED_COMMITLOG => Ok(state::sweep(hall, command, connection)),
        request::GET_TOPIC_STATS_INFO => topic::stats(hall, command, connection),
        request::GET_CONSUME_STATS => progress::of_group(hall, command, connection),
        request::QUERY_CONSUME_TIME_SPAN => progress::time_span(hall, command, connection),
        request::TIER_ROLL => tier::roll(hall, command, connection),
        request::TIER_GC => gc::collect(hall, command, connection),
        request::GET_CONSUMER_RUNNING_INFO => relay::running_info(hall, command, connection),
        request::CONSUME_MESSAGE_DIRECTLY => relay::consume_directly(hall, command, connection),
        request::INVOKE_BROKER_TO_GET_CONSUMER_STATUS => relay::consumer_status(hall, command, connection),
        _ => at_once(hall, command, connection).map(Answer::Now),
    };
    result.unwrap_or_else(|refusal| Answer::Now(refusal.into()))
}

/// Refuses what lay unread for too long: an overloaded broker answers so within that time and does less work,
/// where it would otherwise be later and later. What keeps clients alive, and progress, is always taken.
fn refuse_late(hall: &Hall, code: i32, connection: &Connection) -> Result<(), Refusal> {
    let limit_ms = match code {
        request::SEND_MESSAGE
        | request::SEND_MESSAGE_V2
        | request::SEND_BATCH_MESSAGE
        | request::CONSUMER_SEND_MSG_BACK => hall.options.patience.send_ms,
        request::PULL_MESSAGE | request::LITE_PULL_MESSAGE => hall.options.patience.pull_ms,
        _ => return Ok(()),
    };
    let waited_ms = u64::try_from(connection.waited().as_millis()).unwrap_or(u64::MAX);
    if waited_ms > limit_ms {
        return Err(Refusal::Late { waited_ms, limit_ms });
    }
    Ok(())
}

/// The requests that are answered from memory or with one short read.
fn at_once(hall: &Arc<Hall>, command: &Command, connection: &Arc<Connection>) -> Result<Reply, Refusal> {
    match command.code {
        request::HEART_BEAT => heartbeat::heartbeat(hall, command, connection),
        request::UNREGISTER_CLIENT => heartbeat::unregister(hall, command, connection),
        request::CHECK_CLIENT_CONFIG => heartbeat::check(hall, command),
        request::GET_CONSUMER_LIST_BY_GROUP => heartbeat::consumer_ids(hall, command),
        request::LOCK_BATCH_MQ => lock::lock(hall, command),
        request::UNLOCK_BATCH_MQ => lock::unlock(hall, command),
        request::QUERY_CONSUMER_OFFSET => offset::query(hall, command),
        request::UPDATE_CONSUMER_OFFSET => offset::update(hall, command, connection),
        request::GET_MAX_OFFSET => offset::max(hall, command),
        request::GET_MIN_OFFSET => offset::min(hall, command),
        _ => administration(hall, command),
    }
}

/// The requests of operators and their tools.
fn administration(hall: &Arc<Hall>, command: &Command) -> Result<Reply, Refusal> {
    match command.code {
        request::GET_ALL_TOPIC_CONFIG => topic::all(hall),
        request::GET_TOPIC_CONFIG => topic::one(hall, command),
        request::GET_SYSTEM_TOPIC_LIST_FROM_BROKER => topic::system(hall),
        request::QUERY_TOPIC_CONSUME_BY_WHO => topic::consumers(hall, command),
        request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG => group::all(hall),
        request::GET_SUBSCRIPTIONGROUP_CONFIG => group::one(hall, command),
        request::QUERY_TOPICS_BY_CONSUMER => group::topics(hall, command),
        request::QUERY_SUBSCRIPTION_BY_CONSUMER => group::subscription(hall, command),
        request::GET_CONSUMER_CONNECTION_LIST => group::connections(hall, command),
        request::GET_PRODUCER_CONNECTION_LIST => group::producers(hall, command),
        request::GET_ALL_PRODUCER_INFO => group::all_producers(hall),
        request::GET_BROKER_CONSUME_STATS => progress::of_broker(hall, command),
        request::GET_ALL_CONSUMER_OFFSET => progress::all_offsets(hall),
        request::GET_BROKER_RUNTIME_INFO => state::runtime(hall),
        request::GET_BROKER_CONFIG => state::settings(hall),
        request::TIER_STATUS => tier::status(hall),
        request::VIEW_BROKER_STATS_DATA => state::statistic(hall, command),
        // Nothing per queue is on disk, so there is nothing to clean; the answer says so.
        request::CLEAN_EXPIRED_CONSUMEQUEUE | request::CLEAN_UNUSED_TOPIC => {
            Ok(Reply::success().remark("this broker keeps no files per topic or queue; nothing to clean"))
        }
        code => Err(match request_name(code) {
            Some(name) => Refusal::NotServedYet { name, code },
            None => Refusal::UnknownRequest { code },
        }),
    }
}

/// Reads a request's header.
fn header<H: Header>(command: &Command) -> Result<H, Refusal> {
    Ok(H::decode(&command.fields)?)
}

/// Reads a request's JSON body.
fn body<T: serde::de::DeserializeOwned>(command: &Command) -> Result<T, Refusal> {
    json::from_slice(&command.body).map_err(|error| Refusal::Body { reason: error.to_string() })
}

/// Success with a JSON body.
fn document<T: serde::Serialize>(value: &T) -> Result<Reply, Refusal> {
    let text = serde_json::to_vec(value).map_err(|error| Refusal::Body { reason: error.to_string() })?;
    Ok(Reply::with_body(text))
}

/// Runs `work` that blocks on the disk where it holds no connection up. Only so much of it at a time: more would
/// keep the broker's own writing from its turn.
async fn off_runtime<T, F>(hall: &Hall, work: F) -> Result<T, Refusal>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, Refusal> + Send + 'static,
{
    let Some(_turn) = hall.turns.request() else {
        return Err(Refusal::Busy { what: "too many requests wait for the disk" });
    };
    tokio::task::spawn_blocking(work).await.map_err(|error| Refusal::Broken { reason: error.to_string() })?
}

/// Runs `work`, which may wait, away from the connection, and answers then.
fn later<F>(hall: &Arc<Hall>, command: &Command, connection: &Arc<Connection>, work: F) -> Answer
where
    F: Future<Output = Result<Reply, Refusal>> + Send + 'static,
{
    let (hall, code, began) = (Arc::clone(hall), command.code, hall.clock.monotonic());
    let responder = connection.responder(command);
    tokio::spawn(async move {
        let reply = work.await.unwrap_or_else(Reply::from);
        hall.answered(code, &reply, hall.since(began));
        responder.send(reply);
    });
    Answer::Later
}
