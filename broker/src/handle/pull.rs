//! Pull: hand a consumer the next records of one queue, or hold the request until there are some.

use std::sync::Arc;

use strata_filter::Filter;
use strata_filter::sql::EvalError;
use strata_protocol::body::{GroupConfig, perm};
use strata_protocol::code::ResponseCode;
use strata_protocol::command::Command;
use strata_protocol::reply::Reply;
use strata_protocol::request::{Pull, pull_flag};
use strata_protocol::trace::Kind;
use strata_remoting::{Answer, Connection};
use strata_store::{Read, ReadStatus};

use super::header;
use crate::cold::{Outcome, read_cold};
use crate::filters::Wanted;
use crate::hall::Hall;
use crate::limits::{PULL_BYTES_MAX, PULL_HOLD_MS_MAX, PULL_MESSAGES_MAX, TIERS_TRIED_TIMES_MAX};
use crate::reading::{self, Place};
use crate::refusal::Refusal;
use crate::sieve::Sifter;
use crate::topics::Topic;
use crate::trail::{Event, Watched};
use crate::waiting::{Parked, PullPlan};

/// Answers 11 and 361.
pub(super) fn pull(hall: &Arc<Hall>, command: &Command, connection: &Arc<Connection>) -> Result<Answer, Refusal> {
    if connection.is_fast_port() {
        return Err(Refusal::NotOnFastPort);
    }
    let request: Pull = header(command)?;
    let (topic, sifter) = admit(hall, &request, connection)?;
    hall.tables.offsets.taken(&request.group, &request.topic, request.queue_id, request.queue_offset);
    if request.sys_flag & pull_flag::COMMIT_OFFSET != 0 && request.commit_offset >= 0 {
        hall.commit(&request.group, &topic, (request.queue_id, request.commit_offset), connection);
    }
    let watched = hall.watched(&topic, connection);
    let mut plan = PullPlan { watched, ..plan(hall, command.code, request, sifter) };
    let read = reading::read(hall, &plan, Place::Here);
    let step = Step::after(hall, &mut plan, &read, (Place::Here, Visit::First));
    if step == Step::Answer {
        return Ok(Answer::Now(reply(hall, &plan, read)));
    }
    let pull = Parked { responder: connection.responder(command), plan };
    if step == Step::Park {
        park(hall, pull);
    } else {
        go_on(hall, pull, Visit::First);
    }
    Ok(Answer::Later)
}

/// How often a pull was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Visit {
    /// It has just come.
    First,
    /// It was held.
    Again,
}

/// What becomes of a pull after a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Answer,
    /// It waits for a message.
    Park,
    /// It reads on in a turn of its own.
    GoOn,
}

impl Step {
    /// Decides, and notes how far the read came.
    fn after(hall: &Hall, plan: &mut PullPlan, read: &Read, (place, visit): (Place, Visit)) -> Self {
        if place == Place::Here && (matches!(read.status, ReadStatus::Cold) || is_in_tier(hall, plan, read)) {
            return Self::GoOn;
        }
        if matches!(read.status, ReadStatus::NoMatch) {
            plan.seen = plan.seen.max(read.next_offset);
            if plan.seen < read.max {
                return if place == Place::Here { Self::GoOn } else { Self::Answer };
            }
            // Who comes for the first time is told how far it is, which stores its progress; who was held would only
            // come again.
            return if visit == Visit::Again && may_hold(hall, plan) { Self::Park } else { Self::Answer };
        }
        if is_nothing_yet(plan, read) && may_hold(hall, plan) { Self::Park } else { Self::Answer }
    }
}

/// Goes on with a pull of what is on disk only, or of much that it does not want, where it holds nobody else up. Pulls
/// wait for their turn, so that consumers far behind take so many of the system's threads and not more.
fn go_on(hall: &Arc<Hall>, pull: Parked, visit: Visit) {
    if !hall.turns.enter() {
        refuse(hall, pull, "too many pulls wait for the disk or look for messages");
        return;
    }
    let hall = Arc::clone(hall);
    tokio::spawn(async move {
        // What one tier had may be the other's business when its turn comes: the log is trimmed meanwhile.
        let mut open = Some(pull);
        for _ in 0..TIERS_TRIED_TIMES_MAX {
            let Some(pull) = open.take() else { break };
            open = in_either(&hall, pull, visit).await;
        }
        if let Some(pull) = open {
            refuse(&hall, pull, "the log is trimmed faster than it is read");
        }
        hall.turns.leave();
    });
}

/// Reads where the offset is now; gives the pull back when it was gone from there by then.
async fn in_either(hall: &Arc<Hall>, mut pull: Parked, visit: Visit) -> Option<Parked> {
    if hall.cold_for(&pull.plan.topic, pull.plan.queue_id, pull.plan.seen).is_some() {
        pull = in_tier(hall, pull, visit).await?;
    }
    let turn = hall.turns.pull(!pull.plan.sifter.is_open()).await;
    if !pull.responder.connection().is_open() {
        return None;
    }
    let shared = Arc::clone(hall);
    let back = tokio::task::spawn_blocking(move || in_turn(&shared, pull, visit)).await;
    drop(turn);
    back.unwrap_or_else(|error| {
        tracing::error!(%error, "a pull was not answered");
        None
    })
}

/// Whether the log has no more what is asked for, and the cold tier may.
fn is_in_tier(hall: &Hall, plan: &PullPlan, read: &Read) -> bool {
    matches!(read.status, ReadStatus::BeforeBegin) && hall.cold_for(&plan.topic, plan.queue_id, plan.seen).is_some()
}

/// Reads out of the cold tier, and answers; gives the pull back if the log is to be asked. It waits for a store, so that
/// it has turns of its own: whoever reads the log does not wait for those who replay.
async fn in_tier(hall: &Arc<Hall>, mut pull: Parked, visit: Visit) -> Option<Parked> {
    let began = hall.clock.monotonic();
    let turn = hall.turns.replay().await;
    if !pull.responder.connection().is_open() {
        return None;
    }
    let plan = &pull.plan;
    let Some((cold, hot)) = hall.cold_for(&plan.topic, plan.queue_id, plan.seen) else { return Some(pull) };
    let failed = |count, failure: &EvalError| hall.figures.trouble.failed((&plan.group, &plan.topic), count, failure);
    let outcome = read_cold(cold, plan, hot, failed).await;
    drop(turn);
    let Outcome::Read(read) = outcome else { return Some(pull) };
    if Step::after(hall, &mut pull.plan, &read, (Place::Turn, visit)) == Step::Park {
        park(hall, pull);
        return None;
    }
    let reply = reply(hall, &pull.plan, read);
    hall.answered_held(pull.plan.code, &reply, began);
    pull.responder.send(reply);
    None
}

/// Reads in a turn, and answers or holds the pull; gives it back if the log lost what is asked for to the tier meanwhile.
fn in_turn(hall: &Arc<Hall>, mut pull: Parked, visit: Visit) -> Option<Parked> {
    let began = hall.clock.monotonic();
    let read = reading::read(hall, &pull.plan, Place::Turn);
    if is_in_tier(hall, &pull.plan, &read) {
        return Some(pull);
    }
    if Step::after(hall, &mut pull.plan, &read, (Place::Turn, visit)) == Step::Park {
        park(hall, pull);
        return None;
    }
    let reply = reply(hall, &pull.plan, read);
    hall.answered_held(pull.plan.code, &reply, began);
    pull.responder.send(reply);
    None
}

/// Holds a pull. A message that came between the read and the parking wakes it at once.
fn park(hall: &Hall, pull: Parked) {
    let (topic, queue_id, seen) = (Arc::clone(&pull.plan.topic), pull.plan.queue_id, pull.plan.seen);
    if let Err(refused) = hall.waiting.park(pull) {
        refuse(hall, *refused, "too many pulls wait, in all or on this connection");
        return;
    }
    if hall.store.queue_range(&topic, queue_id).is_some_and(|range| range.max > seen) {
        hall.waiting.release(&topic, queue_id, |plan| plan.seen <= seen);
    }
}

/// Gives up a pull that there is no place for; how far it came is not lost.
fn refuse(hall: &Hall, pull: Parked, what: &'static str) {
    let range = hall.range(&pull.plan.topic, pull.plan.queue_id);
    let moved_on = range.and_then(|range| moved_on(&pull.plan, (range.min, range.max)));
    if moved_on.is_some() {
        hall.figures.passed(&pull.plan, pull.plan.seen);
    }
    pull.responder.send(moved_on.unwrap_or_else(|| Refusal::Busy { what }.into()));
}

/// Answers pulls that were woken or whose time is over.
pub(crate) fn answer_ready(hall: &Arc<Hall>, ready: Vec<Parked>) {
    for mut pull in ready {
        if !pull.responder.connection().is_open() {
            continue;
        }
        let began = hall.clock.monotonic();
        let read = reading::read(hall, &pull.plan, Place::Here);
        match Step::after(hall, &mut pull.plan, &read, (Place::Here, Visit::Again)) {
            Step::GoOn => go_on(hall, pull, Visit::Again),
            Step::Park => park(hall, pull),
            Step::Answer => {
                let reply = reply(hall, &pull.plan, read);
                hall.answered_held(pull.plan.code, &reply, began);
                pull.responder.send(reply);
            }
        }
    }
}

/// Whether the pull's time is not over and the broker not stopping.
fn may_hold(hall: &Hall, plan: &PullPlan) -> bool {
    plan.deadline_ms > hall.elapsed_ms() && hall.waiting.is_open()
}

/// The consumer has read all there is, also of a queue that was never written.
fn is_nothing_yet(plan: &PullPlan, read: &Read) -> bool {
    matches!(read.status, ReadStatus::AtEnd) || (matches!(read.status, ReadStatus::Empty) && plan.seen == 0)
}

/// The checks of RocketMQ's broker in its order; gives what is to be let through.
fn admit(hall: &Hall, request: &Pull, connection: &Connection) -> Result<(Arc<Topic>, Sifter), Refusal> {
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
    let own = if request.sys_flag & pull_flag::SUBSCRIPTION != 0 {
        in_header(hall, &group, request)?
    } else {
        of_heartbeat(hall, &group, request)?
    };
    Ok((topic, hall.clients.sift((&request.group, &request.topic), own)))
}

/// The expression that a pull names itself.
fn in_header(hall: &Hall, group: &GroupConfig, request: &Pull) -> Result<Arc<Filter>, Refusal> {
    let (kind, text) = (request.expression_type.as_deref(), request.subscription.as_deref().unwrap_or("*"));
    let wanted = Wanted { kind, text, by_class: request.sys_flag & pull_flag::CLASS_FILTER != 0 };
    let compiled = hall.clients.filters.compile(group, wanted);
    let of = (request.group.as_str(), request.topic.as_str());
    Ok(compiled.inspect_err(|error| hall.figures.trouble.refused(of, error))?)
}

/// The expression that the group's heartbeats told.
fn of_heartbeat(hall: &Hall, group: &GroupConfig, request: &Pull) -> Result<Arc<Filter>, Refusal> {
    let absent = || Refusal::NotSubscribed { group: request.group.clone() };
    let view = hall.clients.view(&request.group, &request.topic).ok_or_else(absent)?;
    if view.broadcasting && !group.consume_broadcast_enable {
        return Err(Refusal::BroadcastDisabled { group: request.group.clone() });
    }
    let (name, topic) = (request.group.clone(), request.topic.clone());
    if !hall.tables.groups.may_read(&name, &topic) {
        return Err(Refusal::GroupForbidden { group: name, topic });
    }
    let Some(subscription) = view.subscription else { return Err(Refusal::TopicNotSubscribed { group: name, topic }) };
    if subscription.data.sub_version < request.sub_version {
        // The heartbeat that tells of the change is still to come. A pull that carries the expression is
        // served with it; another must wait, or messages of a widened subscription would be passed over.
        return match request.subscription {
            Some(_) => in_header(hall, group, request),
            None => Err(Refusal::SubscriptionOld { group: name, topic }),
        };
    }
    match &subscription.filter {
        Ok(filter) => Ok(Arc::clone(filter)),
        // RocketMQ's broker drops such an expression when it hears of it, and misses it here.
        Err(reason) if subscription.is_sql() && !reason.is_of_kind() => {
            Err(Refusal::NoFilterData { group: name, topic, reason: reason.clone() })
        }
        Err(reason) => Err(reason.clone().into()),
    }
}

/// Bounds what the client asks for.
fn plan(hall: &Hall, code: i32, request: Pull, sifter: Sifter) -> PullPlan {
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
        seen: request.queue_offset,
        sifter,
        messages_max: asked.min(settings.messages_max),
        bytes_max: bytes.unwrap_or(settings.bytes_max).min(settings.bytes_max).min(PULL_BYTES_MAX),
        deadline_ms: hall.elapsed_ms() + hold_ms,
        watched: None,
    }
}

/// What a read means to the client.
fn reply(hall: &Hall, plan: &PullPlan, mut read: Read) -> Reply {
    if let Some(range) = hall.cold.as_ref().and_then(|_| hall.range(&plan.topic, plan.queue_id)) {
        // Where the queue begins is where the tier begins.
        read.min = read.min.min(range.min);
    }
    let moved = |to: i64| (ResponseCode::PullOffsetMoved, to);
    if let ReadStatus::AtEnd | ReadStatus::Cold | ReadStatus::Damaged { .. } | ReadStatus::Unavailable { .. } =
        read.status
        && let Some(moved_on) = moved_on(plan, (read.min, read.max))
    {
        hall.figures.passed(plan, plan.seen);
        return moved_on;
    }
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
            // Behind the begin there is a gap: the reader goes on behind it, and never at the begin again.
            let (code, next) = moved(if plan.seen < read.min { read.min } else { read.next_offset });
            (code, next, "OFFSET_TOO_SMALL")
        }
        ReadStatus::Cold | ReadStatus::Damaged { .. } | ReadStatus::Unavailable { .. } => {
            return unreadable(plan, &read);
        }
    };
    if matches!(code, ResponseCode::Success) {
        hall.figures.delivered(plan, next, (read.messages as u64, read.bytes as u64));
        note(hall, plan, next, read.messages);
    } else if matches!(code, ResponseCode::PullRetryImmediately) {
        hall.figures.passed(plan, next);
    }
    let mut reply = bounds(Reply::new(code), next, read.min, read.max).remark(remark);
    reply.body.extend(read.slices);
    reply
}

/// Leaves a record of messages that go to a consumer.
fn note(hall: &Hall, plan: &PullPlan, next: i64, messages: usize) {
    let Some(Watched { doer, sampling }) = plan.watched else { return };
    let PullPlan { group, topic, queue_id, .. } = plan;
    let range = (plan.seen.max(plan.offset), next);
    let event = Event { kind: Kind::Deliver, group, topic, queue_id: *queue_id, range, messages, doer };
    hall.trail.note(sampling, &event, || hall.now_ms());
}

/// What a pull is told that looked at messages, and at none for its group; `None` of one that looked at none. It comes
/// again behind them.
fn moved_on(plan: &PullPlan, (min, max): (i64, i64)) -> Option<Reply> {
    let reply = || Reply::new(ResponseCode::PullRetryImmediately).remark("NO_MATCHED_MESSAGE");
    (plan.seen > plan.offset).then(|| bounds(reply(), plan.seen, min, max))
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
