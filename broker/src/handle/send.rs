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
use strata_store::FlushMode;

use super::draft::{Draft, Seen, put};
use super::{batch, later};
use crate::hall::Hall;
use crate::limits::{FLUSH_WAIT_MS_MAX, UNFLUSHED_SENDS_MAX};
use crate::refusal::Refusal;
use crate::topics::{self, Topic};

/// Answers 10, 310 and 320; also 310 with its batch field set, as some clients send batches.
pub(super) fn send(hall: &Arc<Hall>, command: &Command, connection: &Arc<Connection>) -> Result<Answer, Refusal> {
    let names = if command.code == request::SEND_MESSAGE { SendNames::Long } else { SendNames::Short };
    let header = Send::decode(&command.fields, names)?;
    if hall.figures.unflushed.load(Ordering::Relaxed) >= UNFLUSHED_SENDS_MAX {
        return Err(Refusal::Busy { what: "too many messages wait for the disk" });
    }
    let (topic, telling) = admit(hall, &header, connection)?;
    let answer = accept(hall, (command, &header), &topic, connection)?;
    Ok(match (telling, answer) {
        // Whoever asks a name server for the new topic after this answer finds it there.
        (Some(number), Answer::Now(reply)) if !command.is_oneway() => {
            let hall = Arc::clone(hall);
            later(command, connection, async move {
                hall.registration.done(number, CREATION_TOLD_WITHIN).await;
                Ok(reply)
            })
        }
        (_, answer) => answer,
    })
}

/// Time that the first message of a created topic waits for the name servers to know it.
const CREATION_TOLD_WITHIN: Duration = Duration::from_secs(1);

/// Takes a message of a topic that exists.
fn accept(
    hall: &Arc<Hall>,
    (command, header): (&Command, &Send<'_>),
    topic: &Topic,
    connection: &Arc<Connection>,
) -> Result<Answer, Refusal> {
    let queue_id = choose_queue(hall, header, topic)?;
    check_body(hall, &command.body)?;
    if header.batch || command.code == request::SEND_BATCH_MESSAGE {
        return batch::send(hall, command, header, (topic, queue_id), connection);
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
    };
    if name::is_retry(header.topic) {
        redirect_spent(hall, header, command.version, &mut draft)?;
    }
    let stored = draft.store(hall)?;
    topic.incoming.add(1, u64::from(stored.bytes));
    let message_id = OffsetMessageId { host: hall.address(), physical_offset: stored.physical_offset };
    let reply = reply(hall, message_id.encode(), queue_id, stored.queue_offset)
        .text("transactionId", unique_key.unwrap_or_default().to_owned());
    let log_end = stored.log_end;
    Ok(when_durable(hall, &Sent { command, connection, log_end, waits: seen.waits }, reply))
}

/// The answer to a stored message.
pub(super) fn reply(hall: &Hall, message_id: String, queue_id: i32, queue_offset: i64) -> Reply {
    Reply::success()
        .text("msgId", message_id)
        .int("queueId", queue_id)
        .int("queueOffset", queue_offset)
        .text("MSG_REGION", hall.options.region.clone())
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
}

/// Answers at once, or with sync flush when the message is on disk.
pub(super) fn when_durable(hall: &Arc<Hall>, sent: &Sent<'_>, reply: Reply) -> Answer {
    if !sent.waits || !matches!(hall.options.store.flush, FlushMode::Sync) || sent.command.is_oneway() {
        return Answer::Now(reply);
    }
    let responder = sent.connection.responder(sent.command);
    hall.figures.unflushed.fetch_add(1, Ordering::Relaxed);
    let (flushed, wait) = tokio::sync::oneshot::channel();
    hall.store.when_durable(sent.log_end, Box::new(move |result| drop(flushed.send(result))));
    let hall = Arc::clone(hall);
    tokio::spawn(async move {
        let limit = Duration::from_millis(FLUSH_WAIT_MS_MAX);
        let reply = match tokio::time::timeout(limit, wait).await {
            Ok(Ok(Ok(()))) => reply,
            Ok(Ok(Err(failed))) => {
                Reply::refusal(ResponseCode::ServiceNotAvailable, format!("the flush failed: {failed}"))
            }
            Ok(Err(_)) | Err(_) => {
                Reply { code: ResponseCode::FlushDiskTimeout, ..reply }.remark("the flush takes too long")
            }
        };
        hall.figures.unflushed.fetch_sub(1, Ordering::Relaxed);
        responder.send(reply);
    });
    Answer::Later
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
    let config = &topic.config;
    let queues = config.read_queue_nums.max(config.write_queue_nums);
    if header.queue_id >= queues {
        return Err(Refusal::NoQueue { topic: config.topic_name.clone(), queue_id: header.queue_id, queues });
    }
    if header.queue_id < 0 {
        return Ok(hall.figures.next_queue(config.write_queue_nums));
    }
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

/// A retried message that was delivered too often goes to the group's dead letters.
fn redirect_spent(hall: &Hall, header: &Send<'_>, version: i32, draft: &mut Draft<'_>) -> Result<(), Refusal> {
    let group = header.topic.strip_prefix(name::RETRY_PREFIX).unwrap_or_default();
    let known = hall.tables.groups.find(group).ok_or_else(|| Refusal::NoGroup { group: group.to_owned() })?;
    let asked = header.max_reconsume_times.filter(|_| version >= super::send_back::VERSION_WITH_MAX_RECONSUME);
    // An orderly consumer gives a message back only when it gave up: a retry would come out of order.
    let orderly = hall.locks.is_orderly(group, hall.elapsed_ms());
    if orderly || header.reconsume_times > asked.unwrap_or(known.retry_max_times) {
        hall.figures.dead_letter(group, header.topic);
        hall.dlq_topic(group)?;
        draft.topic = Cow::Owned(name::dlq_topic(group));
        draft.queue_id = 0;
        draft.delay_level = 0;
        draft.properties = properties::without(&draft.properties, &[properties::DELAY]);
        put(&mut draft.properties, properties::DELAY, "-1");
    }
    Ok(())
}
