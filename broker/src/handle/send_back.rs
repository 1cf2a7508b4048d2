//! Send back: a consumer failed with a message and wants it again later; after too many times it goes
//! to the group's dead letters.

use std::borrow::Cow;
use std::sync::Arc;

use strata_protocol::body::{GroupConfig, perm};
use strata_protocol::command::Command;
use strata_protocol::message_id::OffsetMessageId;
use strata_protocol::properties;
use strata_protocol::record::RecordView;
use strata_protocol::reply::Reply;
use strata_protocol::request::SendBack;
use strata_protocol::trace::Kind;
use strata_remoting::{Answer, Connection};
use strata_store::FlushMode;

use super::draft::{Draft, put};
use super::send::{Flushed, Sent, first_topic, when_settled};
use super::{header, later};
use crate::hall::Hall;
use crate::refusal::Refusal;
use crate::trail::{Doer, Event, GivenBack};

/// Clients from V3_4_9 on say themselves how often a message may be delivered again.
pub(super) const VERSION_WITH_MAX_RECONSUME: i32 = 121;

/// The delay level of a first retry is one above this.
const FIRST_DELAY_LEVEL: i32 = 3;

/// Answers 36.
pub(super) fn send_back(hall: &Arc<Hall>, command: &Command, connection: &Arc<Connection>) -> Result<Answer, Refusal> {
    let request: SendBack = header(command)?;
    let broker = hall.options.permission;
    if broker & perm::WRITE == 0 {
        return Err(Refusal::BrokerPermission { action: "written", perm: broker });
    }
    let group = hall.tables.groups.find(&request.group);
    let group = group.ok_or_else(|| Refusal::NoGroup { group: request.group.clone() })?;
    if group.retry_queue_nums <= 0 {
        let remark = "the group has no retry queues; the message is not delivered again";
        return Ok(Answer::Now(Reply::success().remark(remark)));
    }
    let (version, doer) = (command.version, Doer::of(connection));
    if let Some(record) = hall.store.record_at(request.offset) {
        let log_end = store_again(hall, &request, version, (&group, doer), &record)?;
        return Ok(when_settled(
            hall,
            &Sent { command, connection, log_end, waits: true, telling: None },
            Reply::success(),
        ));
    }
    if hall.cold.is_none() {
        return Err(Refusal::NoMessage { offset: request.offset });
    }
    // A consumer that replays old messages gives them back as well.
    let waiting = Arc::clone(hall);
    Ok(later(hall, command, connection, async move {
        let lost = || Refusal::NoMessage { offset: request.offset };
        let record = waiting.record_at(request.offset).await?.ok_or_else(lost)?;
        let log_end = store_again(&waiting, &request, version, (&group, doer), &record)?;
        if !matches!(waiting.options.store.flush, FlushMode::Sync) {
            return Ok(Reply::success());
        }
        let flushed = Flushed::of(&waiting, log_end);
        Ok(flushed.wait(&waiting, None, Reply::success()).await)
    }))
}

/// Stores a message for its group once more, or among its dead letters; gives where it ends in the log.
fn store_again(
    hall: &Arc<Hall>,
    request: &SendBack,
    version: i32,
    (group, doer): (&GroupConfig, Doer),
    record: &[u8],
) -> Result<i64, Refusal> {
    let lost = || Refusal::NoMessage { offset: request.offset };
    let message = RecordView::parse(record).map_err(|_| lost())?;
    let asked = request.max_reconsume_times.filter(|_| version >= VERSION_WITH_MAX_RECONSUME);
    let times = message.reconsume_times();
    let is_dead = request.delay_level < 0 || times >= asked.unwrap_or(group.retry_max_times);
    let (topic, queue_id, delay_level) = if is_dead {
        (hall.dlq_topic(&group.group_name)?, 0, 0)
    } else {
        let topic = hall.retry_topic(group)?;
        let queue_id = hall.figures.next_queue(topic.config.write_queue_nums);
        let level =
            if request.delay_level == 0 { FIRST_DELAY_LEVEL.saturating_add(times) } else { request.delay_level };
        (topic, queue_id, level)
    };
    let draft = Draft {
        topic: Cow::Borrowed(&topic.config.topic_name),
        queue_id,
        flag: message.flag(),
        sys_flag: message.sys_flag(),
        born_timestamp: message.born_timestamp(),
        born_host: message.born_host(),
        reconsume_times: times.saturating_add(1),
        body: message.body(),
        properties: retry_properties(hall, &message, is_dead),
        terms: properties::IndexTerms::of(message.properties()),
        delay_level,
        sender: None,
    };
    let stored = draft.store(hall, &topic)?;
    note(hall, (&group.group_name, doer), &message, if is_dead { 0 } else { delay_level });
    if is_dead {
        let first = first_topic(message.properties()).unwrap_or_else(|| message.topic());
        hall.figures.dead_letter(&group.group_name, first);
    }
    // The consumer forgets the message with the answer, so that its copy must be kept as promised.
    Ok(stored.log_end)
}

/// Leaves a record that a message was given back: to come again, or not with a delay level of 0.
fn note(hall: &Hall, (group, doer): (&str, Doer), message: &RecordView<'_>, delay_level: i32) {
    let Some(topic) = hall.tables.topics.find(message.topic()) else { return };
    let kind = if delay_level == 0 { Kind::DeadLetter } else { Kind::Retry };
    let range = (message.queue_offset(), message.queue_offset() + 1);
    let event = Event { kind, group, topic: message.topic(), queue_id: message.queue_id(), range, messages: 1, doer };
    let id = properties::find_str(message.properties(), properties::UNIQ_KEY).map(str::to_owned);
    let back = GivenBack { id, retry_times: message.reconsume_times(), delay_level };
    hall.trail.note_back(hall.trail.sampling(topic.records), &event, back, hall.now_ms());
}

/// The message's properties, and where it came from first.
fn retry_properties(hall: &Hall, message: &RecordView<'_>, is_dead: bool) -> Vec<u8> {
    let old = message.properties();
    let mut text = properties::without(old, &[properties::DELAY, properties::WAIT]);
    if properties::find(old, properties::RETRY_TOPIC).is_none() {
        put(&mut text, properties::RETRY_TOPIC, message.topic());
    }
    if properties::find(old, properties::ORIGIN_MESSAGE_ID).is_none() {
        let id = OffsetMessageId { host: hall.address(), physical_offset: message.physical_offset() };
        put(&mut text, properties::ORIGIN_MESSAGE_ID, &id.encode());
    }
    put(&mut text, properties::WAIT, "false");
    if is_dead {
        put(&mut text, properties::DELAY, "0");
    }
    text
}
