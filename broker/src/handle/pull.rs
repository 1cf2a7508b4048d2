//! Pull: hand a consumer the next records of one queue, or hold the request until there are some.

use std::sync::Arc;

use strata_filter::Filter;
use strata_protocol::body::perm;
use strata_protocol::code::ResponseCode;
use strata_protocol::command::Command;
use strata_protocol::reply::Reply;
use strata_protocol::request::{Pull, pull_flag};
use strata_remoting::{Answer, Connection};
use strata_store::{Read, ReadStatus};

use super::header;
use crate::hall::Hall;
use crate::limits::{PULL_BYTES_MAX, PULL_HOLD_MS_MAX, PULL_MESSAGES_MAX};
use crate::reading;
use crate::refusal::Refusal;
use crate::waiting::{Parked, PullPlan};

/// Answers 11 and 361.
pub(super) fn pull(hall: &Arc<Hall>, command: &Command, connection: &Arc<Connection>) -> Result<Answer, Refusal> {
    if connection.is_fast_port() {
        return Err(Refusal::NotOnFastPort);
    }
    let request: Pull = header(command)?;
    let filter = admit(hall, &request, connection)?;
    hall.tables.offsets.taken(&request.group, &request.topic, request.queue_id, request.queue_offset);
    if request.sys_flag & pull_flag::COMMIT_OFFSET != 0 && request.commit_offset >= 0 {
        hall.commit(&request.group, &request.topic, request.queue_id, request.commit_offset);
    }
    let plan = plan(hall, command.code, request, filter);
    let read = reading::read(hall, &plan, false);
    if matches!(read.status, ReadStatus::Cold) {
        read_cold(hall, Parked { responder: connection.responder(command), plan });
        return Ok(Answer::Later);
    }
    if !is_nothing_yet(&plan, &read) || !may_hold(hall, &plan) {
        return Ok(Answer::Now(reply(hall, &plan, read)));
    }
    let pull = Parked { responder: connection.responder(command), plan };
    park(hall, pull);
    Ok(Answer::Later)
}

/// Answers a pull of what is on disk only, where waiting for the disk holds nobody else up. Pulls wait for their
/// turn, so that consumers far behind take so many of the system's threads and not more.
fn read_cold(hall: &Arc<Hall>, pull: Parked) {
    if !hall.turns.enter() {
        pull.responder.send(Refusal::Busy { what: "too many pulls wait for the disk" }.into());
        return;
    }
    let hall = Arc::clone(hall);
    tokio::spawn(async move {
        let turn = hall.turns.pull().await;
        if pull.responder.connection().is_open() {
            let (shared, began) = (Arc::clone(&hall), hall.clock.monotonic());
            let answered = tokio::task::spawn_blocking(move || {
                let read = reading::read(&shared, &pull.plan, true);
                let reply = reply(&shared, &pull.plan, read);
                shared.answered_held(pull.plan.code, &reply, began);
                pull.responder.send(reply);
            });
            if let Err(error) = answered.await {
                tracing::error!(%error, "a pull from disk was not answered");
            }
        }
        drop(turn);
        hall.turns.leave();
    });
}

/// Holds a pull. A message that came between the read and the parking wakes it at once.
fn park(hall: &Hall, pull: Parked) {
    let (topic, queue_id, offset) = (Arc::clone(&pull.plan.topic), pull.plan.queue_id, pull.plan.offset);
    if let Err(refused) = hall.waiting.park(pull) {
        refused.responder.send(Refusal::Busy { what: "too many pulls wait, in all or on this connection" }.into());
        return;
    }
    if hall.store.queue_range(&topic, queue_id).is_some_and(|range| range.max > offset) {
        hall.waiting.release(&topic, queue_id, |plan| plan.offset <= offset);
    }
}

/// Answers pulls that were woken or whose time is over.
pub(crate) fn answer_ready(hall: &Arc<Hall>, ready: Vec<Parked>) {
    for pull in ready {
        if !pull.responder.connection().is_open() {
            continue;
        }
        let began = hall.clock.monotonic();
        let read = reading::read(hall, &pull.plan, false);
        if matches!(read.status, ReadStatus::Cold) {
            read_cold(hall, pull);
            continue;
        }
        if is_nothing_yet(&pull.plan, &read) && may_hold(hall, &pull.plan) {
            park(hall, pull);
            continue;
        }
        let reply = reply(hall, &pull.plan, read);
        hall.answered_held(pull.plan.code, &reply, began);
        pull.responder.send(reply);
    }
}

/// Whether the pull's time is not over and the broker not stopping.
fn may_hold(hall: &Hall, plan: &PullPlan) -> bool {
    plan.deadline_ms > hall.elapsed_ms() && hall.waiting.is_open()
}

/// The consumer has read all there is, also of a queue that was never written.
fn is_nothing_yet(plan: &PullPlan, read: &Read) -> bool {
    matches!(read.status, ReadStatus::AtEnd) || (matches!(read.status, ReadStatus::Empty) && plan.offset == 0)
}

/// The checks of RocketMQ's broker in its order; gives the filter that applies.
fn admit(hall: &Hall, request: &Pull, connection: &Connection) -> Result<Arc<Filter>, Refusal> {
    hall.check_readable()?;
    let group = hall.group(&request.group, connection)?;
    if !group.consume_enable {
        return Err(Refusal::GroupDisabled { group: request.group.clone() });
    }
    let topic = hall.topic(&request.topic)?;
    let config = &topic.config;
    if config.perm & perm::READ == 0 {
        return Err(Refusal::TopicPermission { topic: request.topic.clone(), action: "read", perm: config.perm });
    }
    if request.queue_id < 0 || request.queue_id >= config.read_queue_nums {
        let (topic, queue_id, queues) = (request.topic.clone(), request.queue_id, config.read_queue_nums);
        return Err(Refusal::NoQueue { topic, queue_id, queues });
    }
    let in_header = request.subscription.as_deref();
    if request.sys_flag & pull_flag::SUBSCRIPTION != 0 {
        return Ok(Arc::new(Filter::compile(request.expression_type.as_deref(), in_header.unwrap_or("*"))?));
    }
    let absent = || Refusal::NotSubscribed { group: request.group.clone() };
    let view = hall.clients.view(&request.group, &request.topic).ok_or_else(absent)?;
    if view.broadcasting && !group.consume_broadcast_enable {
        return Err(Refusal::BroadcastDisabled { group: request.group.clone() });
    }
    let (group, topic) = (request.group.clone(), request.topic.clone());
    if !hall.tables.groups.may_read(&group, &topic) {
        return Err(Refusal::GroupForbidden { group, topic });
    }
    let Some(subscription) = view.subscription else { return Err(Refusal::TopicNotSubscribed { group, topic }) };
    if subscription.data.sub_version < request.sub_version {
        // The heartbeat that tells of the change is still to come. A pull that carries the expression is
        // served with it; another must wait, or messages of a widened subscription would be passed over.
        return match in_header {
            Some(expression) => Ok(Arc::new(Filter::compile(request.expression_type.as_deref(), expression)?)),
            None => Err(Refusal::SubscriptionOld { group, topic }),
        };
    }
    Ok(Arc::clone(subscription.filter.as_ref().map_err(|error| Refusal::Filter(error.clone()))?))
}

/// Bounds what the client asks for.
fn plan(hall: &Hall, code: i32, request: Pull, filter: Arc<Filter>) -> PullPlan {
    let settings = &hall.options.pull;
    let asked = usize::try_from(request.messages_max.clamp(1, PULL_MESSAGES_MAX)).unwrap_or(1);
    let bytes = request.bytes_max.and_then(|bytes| usize::try_from(bytes).ok()).filter(|bytes| *bytes > 0);
    let hold_ms = match request.sys_flag & pull_flag::SUSPEND {
        0 => 0,
        _ if !settings.long_polling => i64::try_from(settings.short_poll_ms).unwrap_or(PULL_HOLD_MS_MAX),
        _ => request.suspend_timeout_ms.clamp(0, PULL_HOLD_MS_MAX),
    };
    PullPlan {
        code,
        group: Arc::from(request.group),
        topic: Arc::from(request.topic),
        queue_id: request.queue_id,
        offset: request.queue_offset,
        filter,
        messages_max: asked.min(settings.messages_max),
        bytes_max: bytes.unwrap_or(settings.bytes_max).min(settings.bytes_max).min(PULL_BYTES_MAX),
        deadline_ms: hall.elapsed_ms() + hold_ms,
    }
}

/// What a read means to the client.
fn reply(hall: &Hall, plan: &PullPlan, read: Read) -> Reply {
    let moved = |to: i64| (ResponseCode::PullOffsetMoved, to);
    let (code, next, remark) = match &read.status {
        ReadStatus::Found => (ResponseCode::Success, read.next_offset, "FOUND"),
        ReadStatus::NoMatch => (ResponseCode::PullRetryImmediately, read.next_offset, "NO_MATCHED_MESSAGE"),
        ReadStatus::AtEnd => (ResponseCode::PullNotFound, plan.offset, "OFFSET_OVERFLOW_ONE"),
        ReadStatus::Empty if plan.offset == 0 => (ResponseCode::PullNotFound, 0, "NO_MESSAGE_IN_QUEUE"),
        ReadStatus::Empty => {
            let (code, next) = moved(0);
            (code, next, "NO_MESSAGE_IN_QUEUE")
        }
        ReadStatus::BeyondEnd => {
            let (code, next) = moved(read.max);
            (code, next, "OFFSET_OVERFLOW_BADLY")
        }
        ReadStatus::BeforeBegin => {
            let (code, next) = moved(read.min);
            (code, next, "OFFSET_TOO_SMALL")
        }
        ReadStatus::Cold | ReadStatus::Damaged { .. } | ReadStatus::Unavailable { .. } => {
            return unreadable(plan, &read);
        }
    };
    if matches!(code, ResponseCode::Success) {
        hall.figures.delivered(plan, next, (read.messages as u64, read.bytes as u64));
    }
    let mut reply = bounds(Reply::new(code), next, read.min, read.max).remark(remark);
    reply.body.extend(read.slices);
    reply
}

fn bounds(reply: Reply, next: i64, min: i64, max: i64) -> Reply {
    reply
        .int("suggestWhichBrokerId", 0)
        .int("nextBeginOffset", next)
        .int("minOffset", min)
        .int("maxOffset", max)
        .int("topicSysFlag", 0)
        .int("groupSysFlag", 0)
}

/// Unreadable messages are an error that names them, never a silent skip.
fn unreadable(plan: &PullPlan, read: &Read) -> Reply {
    let PullPlan { topic, queue_id, offset, .. } = plan;
    let how = if matches!(read.status, ReadStatus::Cold | ReadStatus::Unavailable { .. }) {
        "cannot be read now; try again later".to_owned()
    } else {
        format!("are damaged on disk; readable again from {}", read.next_offset)
    };
    let status = read.status;
    let text = format!("messages of topic {topic}, queue {queue_id} from offset {offset} {how}: {status:?}");
    bounds(Reply::refusal(ResponseCode::SystemError, text), plan.offset, read.min, read.max)
}
