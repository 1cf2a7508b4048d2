//! Send: check a message, put it into the log, tell the producer where it is.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use strata_protocol::body::perm;
use strata_protocol::code::{ResponseCode, request};
use strata_protocol::command::Command;
use strata_protocol::message_id::OffsetMessageId;
use strata_protocol::name;
use strata_protocol::properties::{self, IndexTerms};
use strata_protocol::reply::Reply;
use strata_protocol::request::{Send, SendNames};
use strata_remoting::{Answer, Connection};
use strata_store::{FlushFailed, FlushMode};

use super::draft::{Draft, Seen, put};
use super::{batch, later};
use crate::hall::Hall;
use crate::limits::{FLUSH_WAIT_MS_MAX, UNFLUSHED_SENDS_MAX};
use crate::refusal::Refusal;
use crate::topics::{self, Topic};
use crate::trail::Doer;

/// Answers 10, 310 and 320; also 310 with its batch field set, as some clients send batches.
pub(super) fn send(hall: &Arc<Hall>, command: &Command, connection: &Arc<Connection>) -> Result<Answer, Refusal> {
    let names = if command.code == request::SEND_MESSAGE { SendNames::Long } else { SendNames::Short };
    let header = Send::decode(&command.fields, names)?;
    if hall.figures.unflushed.load(Ordering::Relaxed) >= UNFLUSHED_SENDS_MAX {
        return Err(Refusal::Busy { what: "too many messages wait for the disk" });
    }
    let (topic, telling) = admit(hall, &header, connection)?;
    hall.keep(&topic)?;
    accept(hall, (command, &header), (&topic, telling), connection)
}

/// Time that the first message of a created topic waits for the name servers to know it.
const CREATION_TOLD_WITHIN: Duration = Duration::from_secs(1);

/// Takes a message of a topic that exists.
fn accept(
    hall: &Arc<Hall>,
    (command, header): (&Command, &Send<'_>),
    (topic, telling): (&Topic, Option<u64>),
    connection: &Arc<Connection>,
) -> Result<Answer, Refusal> {
    let queue_id = choose_queue(hall, header, topic)?;
    check_body(hall, &command.body)?;
    if header.batch || command.code == request::SEND_BATCH_MESSAGE {
        return batch::send(hall, (command, header), (topic, queue_id), telling, connection);
    }

    let seen = Seen::of(header.properties.as_bytes());
    refuse_unserved(header, &seen)?;
    let made_key = seen.missing_key(hall);
    let unique_key = made_key.as_deref().or(seen.terms.unique_key);
    let mut draft = Draft {
        topic: Cow::Borrowed(header.topic),
        queue_id,
        flag: header.flag,
        sys_flag: header.sys_flag,
        born_timestamp: header.born_timestamp,
        born_host: connection.peer(),
        reconsume_times: header.reconsume_times,
        body: &command.body,
        properties: seen.complete(hall, header.properties.as_bytes(), made_key.as_deref())?,
        terms: IndexTerms { unique_key, ..seen.terms },
        delay_level: seen.delay_level,
        sender: Some((header.producer_group, Doer::of(connection))),
    };
    let is_dead = name::is_retry(header.topic) && redirect_spent(hall, header, command.version, &mut draft)?;
    let stored = draft.store(hall, topic)?;
    if is_dead {
        let group = header.topic.strip_prefix(name::RETRY_PREFIX).unwrap_or_default();
        hall.figures.dead_letter(group, first_topic(header.properties.as_bytes()).unwrap_or(header.topic));
    }
    let message_id = OffsetMessageId { host: hall.address(), physical_offset: stored.physical_offset };
    let reply = reply(hall, &message_id.encode(), queue_id, stored.queue_offset)
        .text("transactionId", unique_key.unwrap_or_default());
    let log_end = stored.log_end;
    Ok(when_settled(hall, &Sent { command, connection, log_end, waits: seen.waits, telling }, reply))
}

/// The topic that a message which was given back came from first.
pub(super) fn first_topic(properties: &[u8]) -> Option<&str> {
    properties::find_str(properties, properties::RETRY_TOPIC)
}

/// The answer to a stored message.
pub(super) fn reply(hall: &Hall, message_id: &str, queue_id: i32, queue_offset: i64) -> Reply {
    Reply::success()
        .text("msgId", message_id)
        .int("queueId", queue_id)
        .int("queueOffset", queue_offset)
        .text("MSG_REGION", &hall.options.region)
        .flag("TRACE_ON", true)
}

/// A send whose message is in the log.
pub(super) struct Sent<'a> {
    pub command: &'a Command,
    pub connection: &'a Arc<Connection>,
    /// Where its last record ends.
    pub log_end: i64,
    /// The producer wants to hear when it is on disk.
    pub waits: bool,
    /// The registration that tells of the message's topic, when that is new.
    pub telling: Option<u64>,
}

/// Answers at once, or with sync flush when the message is on disk, and whoever created the topic when the name
/// servers know it: who asks one after that answer finds the topic there.
pub(super) fn when_settled(hall: &Arc<Hall>, sent: &Sent<'_>, reply: Reply) -> Answer {
    let Sent { command, connection, telling, .. } = *sent;
    if command.is_oneway() {
        return Answer::Now(reply);
    }
    if !sent.waits || !matches!(hall.options.store.flush, FlushMode::Sync) {
        let Some(number) = telling else { return Answer::Now(reply) };
        let telling = Arc::clone(hall);
        return later(hall, command, connection, async move {
            telling.registration.done(number, CREATION_TOLD_WITHIN).await;
            Ok(reply)
        });
    }
    let (waiting, log_end) = (Arc::clone(hall), sent.log_end);
    let flushed = Flushed::of(hall, log_end);
    later(hall, command, connection, async move { Ok(flushed.wait(&waiting, telling, reply).await) })
}

/// A message of which somebody wants to hear when it is on disk.
pub(super) struct Flushed(tokio::sync::oneshot::Receiver<Result<(), FlushFailed>>);

impl Flushed {
    pub(super) fn of(hall: &Hall, log_end: i64) -> Self {
        hall.figures.unflushed.fetch_add(1, Ordering::Relaxed);
        let (flushed, wait) = tokio::sync::oneshot::channel();
        hall.store.when_durable(log_end, Box::new(move |result| drop(flushed.send(result))));
        Self(wait)
    }

    /// Gives the answer when it is, or what went wrong.
    pub(super) async fn wait(self, hall: &Hall, telling: Option<u64>, reply: Reply) -> Reply {
        let limit = Duration::from_millis(FLUSH_WAIT_MS_MAX);
        let reply = match tokio::time::timeout(limit, self.0).await {
            Ok(Ok(Ok(()))) => reply,
            Ok(Ok(Err(failed))) => {
                Reply::refusal(ResponseCode::ServiceNotAvailable, format!("the flush failed: {failed}"))
            }
            Ok(Err(_)) | Err(_) => {
                let mut late = reply.remark("the flush takes too long");
                late.code = ResponseCode::FlushDiskTimeout;
                late
            }
        };
        hall.figures.unflushed.fetch_sub(1, Ordering::Relaxed);
        if let Some(number) = telling {
            hall.registration.done(number, CREATION_TOLD_WITHIN).await;
        }
        reply
    }
}

/// The topic of a send; creates it where that is allowed, and then gives the registration that tells of it.
fn admit(hall: &Hall, header: &Send<'_>, connection: &Connection) -> Result<(Arc<Topic>, Option<u64>), Refusal> {
    if let Some(topic) = hall.tables.topics.find(header.topic) {
        if name::is_send_forbidden(header.topic) {
            return Err(Refusal::SendForbidden { topic: header.topic.to_owned() });
        }
        let broker = hall.options.permission;
        if broker & perm::WRITE == 0 && topic.config.order {
            return Err(Refusal::BrokerPermission { action: "written", perm: broker });
        }
        return Ok((topic, None));
    }
    name::check_topic(header.topic)?;
    if name::is_send_forbidden(header.topic) {
        return Err(Refusal::SendForbidden { topic: header.topic.to_owned() });
    }
    let missing = || Refusal::NoTopic { topic: header.topic.to_owned() };
    if let Some(group) = header.topic.strip_prefix(name::RETRY_PREFIX) {
        let group = hall.tables.groups.find(group).ok_or_else(|| Refusal::NoGroup { group: group.to_owned() })?;
        return Ok((hall.retry_topic(&group)?, None));
    }
    if !hall.options.topics.auto_create_topics {
        return Err(missing());
    }
    let template = hall.tables.topics.find(header.default_topic).ok_or_else(missing)?;
    let unit = i32::from(header.unit_mode);
    let config =
        topics::from_template(header.topic, &template.config, header.default_topic_queues, unit).ok_or_else(missing)?;
    hall.creations.admit(connection.peer().ip(), hall.elapsed_ms())?;
    hall.create_topic(config)
}

fn choose_queue(hall: &Hall, header: &Send<'_>, topic: &Topic) -> Result<i32, Refusal> {
    if header.queue_id < 0 {
        return Ok(hall.figures.next_queue(topic.config.write_queue_nums));
    }
    topic.check_queue(header.queue_id)?;
    Ok(header.queue_id)
}

fn check_body(hall: &Hall, body: &[u8]) -> Result<(), Refusal> {
    let limit = hall.options.store.message_bytes_max;
    match body.len() {
        0 => Err(Refusal::EmptyBody),
        bytes if bytes > limit => Err(Refusal::BodyTooLong { bytes, limit }),
        _ => Ok(()),
    }
}

/// A message of a kind that is not served must not be stored as a normal one.
pub(super) fn refuse_unserved(header: &Send<'_>, seen: &Seen<'_>) -> Result<(), Refusal> {
    use strata_protocol::sysflag::{TransactionType, transaction_type};
    // Clients below 4.6.1 leave the mark on a committed message that they give back.
    let is_retry = header.reconsume_times > 0 && seen.delay_level > 0;
    if !is_retry && (seen.half || transaction_type(header.sys_flag) != TransactionType::None) {
        return Err(Refusal::MessageKindNotServed { what: "transactional", forbidden: true });
    }
    if seen.timer && seen.delay_level <= 0 {
        return Err(Refusal::MessageKindNotServed { what: "timer (TIMER_*)", forbidden: false });
    }
    Ok(())
}

/// A retried message that was delivered too often goes to the group's dead letters; whether it does.
fn redirect_spent(hall: &Hall, header: &Send<'_>, version: i32, draft: &mut Draft<'_>) -> Result<bool, Refusal> {
    let group = header.topic.strip_prefix(name::RETRY_PREFIX).unwrap_or_default();
    let known = hall.tables.groups.find(group).ok_or_else(|| Refusal::NoGroup { group: group.to_owned() })?;
    let asked = header.max_reconsume_times.filter(|_| version >= super::send_back::VERSION_WITH_MAX_RECONSUME);
    // An orderly consumer gives a message back only when it gave up: a retry would come out of order.
    let orderly = hall.locks.is_orderly(group, hall.elapsed_ms());
    let is_spent = orderly || header.reconsume_times > asked.unwrap_or(known.retry_max_times);
    if is_spent {
        hall.dlq_topic(group)?;
        draft.topic = Cow::Owned(name::dlq_topic(group));
        draft.queue_id = 0;
        draft.delay_level = 0;
        draft.properties = properties::without(&draft.properties, &[properties::DELAY]);
        put(&mut draft.properties, properties::DELAY, "-1");
    }
    Ok(is_spent)
}
