//! A replay under way: each queue is read and sent on in its order, many queues at once.
//!
//! Owns the order of things: a message is sent when the one before it is stored, and progress is told when what it
//! covers is stored. Whoever stops, by an error or by request, tells it once more.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use indicatif::ProgressBar;
use strata_protocol::code::{ResponseCode, request};
use strata_protocol::command::Command;
use strata_protocol::message_id::OffsetMessageId;
use strata_protocol::name::AUTO_CREATE_TOPIC;
use strata_protocol::record::RecordView;
use strata_protocol::request::{Send, ViewMessage};
use strata_remoting::Client;
use tokio::time::Instant;

use super::book::Line;
use super::flags::Aim;
use super::outgoing;
use super::pace::Pace;
use super::run::{Entry, Run};
use crate::cluster::{Master, command, queue_name, stored, success};
use crate::exit::{Exit, Failure, OrFail, Outcome};
use crate::limits::{REPLAY_BUSY_MAX, REPLAY_BUSY_PAUSE, REPLAY_COMMIT_INTERVAL, REPLAY_QUEUES_AT_ONCE};
use crate::reading::message::Message;
use crate::reading::reader::QueueReader;

/// The producer group that brokers see.
const GROUP: &str = "strata-replay";

/// A queue of the target.
pub(super) struct Place {
    pub(super) master: Master,
    pub(super) client: Client,
    pub(super) queue_id: i32,
    /// What is sent from now on comes at this offset or behind it; of all queues that send here.
    pub(super) reached: Rc<Cell<i64>>,
}

/// What was sent, or would be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) messages: u64,
    /// Bytes of bodies, as they are stored.
    pub(super) bytes: u64,
    /// When the first and the last of them were stored, ms since 1970.
    pub(super) first_ms: Option<i64>,
    pub(super) last_ms: Option<i64>,
    /// Messages that the target refused.
    pub(super) refused: u64,
}

impl Tally {
    fn take(&mut self, message: &Message) {
        self.messages += 1;
        self.bytes += message.body.len() as u64;
        self.first_ms = Some(self.first_ms.unwrap_or(i64::MAX).min(message.stored_ms));
        self.last_ms = self.last_ms.max(Some(message.stored_ms));
    }
}

/// One queue on its way.
pub(super) struct Lane {
    pub(super) reader: QueueReader,
    pub(super) source: Place,
    /// Where its messages go; nowhere in a dry run.
    pub(super) place: Option<Place>,
    /// Everything before is sent.
    pub(super) next: i64,
    pub(super) end: i64,
    pub(super) tally: Tally,
    /// Messages that had arrived before this command began.
    pub(super) arrived: u64,
    /// The progress that the broker was told last, and when.
    pub(super) told: (i64, Instant),
    /// A message was sent whose answer is not known: it is at this offset of the target's queue or behind it, or
    /// nowhere.
    pub(super) in_doubt: Option<i64>,
    /// The next message that is stored is looked at: it must be in the target's topic.
    pub(super) is_unchecked: bool,
}

/// What all queues have in common.
pub(super) struct Course<'a> {
    pub(super) run: &'a Run,
    pub(super) topic: &'a str,
    pub(super) aim: &'a Aim,
    pub(super) target: &'a str,
    pub(super) pace: &'a Pace,
    pub(super) bar: &'a ProgressBar,
    pub(super) patience: Duration,
    pub(super) skip_refused: bool,
}

/// What became of a message.
enum Sent {
    Stored,
    Refused,
    /// Nothing: it was to be sent no more.
    Stopped,
}

impl Course<'_> {
    /// Takes all queues to their ends, or until one fails or all are to stop. Gives the first failure.
    pub(super) async fn drive(&self, lanes: &mut [Lane]) -> Outcome {
        let mut results = stream::iter(lanes).map(|lane| self.whole(lane)).buffer_unordered(REPLAY_QUEUES_AT_ONCE);
        let mut first = Ok(());
        while let Some(result) = results.next().await {
            if result.is_err() {
                self.pace.stop();
            }
            first = first.and(result);
        }
        first
    }

    async fn whole(&self, lane: &mut Lane) -> Outcome {
        let result = self.replay(lane).await;
        result.and(self.tell(lane).await)
    }

    async fn replay(&self, lane: &mut Lane) -> Outcome {
        while !self.pace.is_stopped() {
            while let Some(message) = lane.reader.buffer.pop_front() {
                if !self.take(lane, &message).await? {
                    return Ok(());
                }
            }
            self.reached(lane, lane.reader.next_offset());
            if lane.reader.is_done() {
                return Ok(());
            }
            self.tell_sometimes(lane).await?;
            lane.reader.pull(None).await?;
        }
        Ok(())
    }

    /// Sends a message in its turn; gives whether to go on.
    async fn take(&self, lane: &mut Lane, message: &Message) -> Outcome<bool> {
        if lane.place.is_none() {
            lane.tally.take(message);
            self.reached(lane, message.queue_offset + 1);
            return Ok(!self.pace.is_stopped());
        }
        if !self.pace.turn(message.body.len()).await {
            return Ok(false);
        }
        match self.send(lane, message).await? {
            Sent::Stored => lane.tally.take(message),
            Sent::Refused => lane.tally.refused += 1,
            Sent::Stopped => return Ok(false),
        }
        self.reached(lane, message.queue_offset + 1);
        self.tell_sometimes(lane).await?;
        Ok(true)
    }

    fn reached(&self, lane: &mut Lane, next: i64) {
        let next = next.clamp(lane.next, lane.end.max(lane.next));
        self.bar.inc(u64::try_from(next - lane.next).unwrap_or(0));
        lane.next = next;
    }

    async fn send(&self, lane: &mut Lane, message: &Message) -> Outcome<Sent> {
        let Some(place) = &lane.place else { return Ok(Sent::Stopped) };
        let properties = match outgoing::properties_of(message, self.aim, &self.run.mark()) {
            Ok(properties) => properties,
            Err(why) => return self.refused(message, &why),
        };
        let broker = &place.master.name;
        lane.in_doubt = Some(place.reached.get());
        let deadline = Instant::now() + REPLAY_BUSY_MAX;
        let answer = loop {
            let answer = place.client.call(self.request(place.queue_id, message, &properties), self.patience).await;
            let answer = answer.or_fail_with(Exit::Unreachable, format!("broker {broker}"))?;
            match ResponseCode::of(answer.code) {
                Some(ResponseCode::MessageIllegal) => {
                    lane.in_doubt = None;
                    return self.refused(message, answer.remark.as_deref().unwrap_or("no reason given"));
                }
                Some(ResponseCode::SystemBusy) if Instant::now() < deadline => {
                    if !self.pace.pause(REPLAY_BUSY_PAUSE).await {
                        return Ok(Sent::Stopped);
                    }
                }
                Some(_) | None => break stored(answer, broker)?,
            }
        };
        lane.in_doubt = None;
        if lane.is_unchecked {
            self.check(place, &answer, message).await?;
        }
        if let Some(offset) = answer.fields.value("queueOffset").and_then(|text| text.parse::<i64>().ok()) {
            place.reached.set(place.reached.get().max(offset + 1));
        }
        lane.is_unchecked = false;
        Ok(Sent::Stored)
    }

    fn request(&self, queue_id: i32, message: &Message, properties: &str) -> Command {
        let header = Send {
            producer_group: GROUP,
            topic: self.target,
            default_topic: AUTO_CREATE_TOPIC,
            default_topic_queues: 1,
            queue_id,
            sys_flag: outgoing::sys_flag(message),
            born_timestamp: message.born_ms,
            flag: message.flags.application,
            properties,
            reconsume_times: 0,
            unit_mode: false,
            max_reconsume_times: None,
            batch: false,
        };
        let mut request = Command::request(request::SEND_MESSAGE_V2);
        header.encode(&mut request.fields);
        request.body = Bytes::copy_from_slice(&message.body);
        request
    }

    /// A broker may put what goes to a retry topic elsewhere: among the dead letters of a group that consumes in order.
    async fn check(&self, place: &Place, answer: &Command, message: &Message) -> Outcome {
        let Aim::Group(group) = self.aim else { return Ok(()) };
        let who = format!("broker {}", place.master.name);
        let id = OffsetMessageId::decode(answer.fields.value("msgId").unwrap_or_default());
        let offset = id.or_fail_with(Exit::Failed, format!("{who} answered a send without an id"))?.physical_offset;
        let header = ViewMessage { topic: None, offset };
        let found = place.client.call(command(request::VIEW_MESSAGE_BY_ID, &header), self.patience).await;
        let found = success(found.or_fail_with(Exit::Unreachable, &who)?, &who)?;
        let record = RecordView::parse(&found.body).or_fail_with(Exit::Failed, format!("{who} answered no message"))?;
        if record.topic() == self.target {
            return Ok(());
        }
        let (topic, from) = (record.topic(), where_of(message));
        let message = format!(
            "{who} put the message from {from} into {topic} instead of giving it to group {group}, as it does with \
             groups that consume in order"
        );
        Err(Failure::new(Exit::Refused, message))
    }

    fn refused(&self, message: &Message, why: &str) -> Outcome<Sent> {
        let from = where_of(message);
        if self.skip_refused {
            tracing::warn!("the message from {from} was refused and passed over: {why}");
            return Ok(Sent::Refused);
        }
        let message = format!("the message from {from} is refused: {why}; --skip-refused passes over such");
        Err(Failure::new(Exit::Refused, message))
    }

    async fn tell_sometimes(&self, lane: &mut Lane) -> Outcome {
        if lane.told.1.elapsed() < REPLAY_COMMIT_INTERVAL {
            return Ok(());
        }
        lane.is_unchecked = true;
        self.tell(lane).await
    }

    /// Tells the brokers how far the queue came. Progress goes first: with an older place beside it more is looked
    /// through than is needed, with a newer one messages could be missed.
    pub(super) async fn tell(&self, lane: &mut Lane) -> Outcome {
        let Some(place) = &lane.place else { return Ok(()) };
        lane.told.1 = Instant::now();
        if lane.told.0 == lane.next {
            return Ok(());
        }
        let Place { master, client, queue_id, .. } = &lane.source;
        let line = Line { client, master, patience: self.patience };
        line.put(&self.run.group(Entry::Next), (self.topic, *queue_id), lane.next).await?;
        let place_offset = lane.in_doubt.unwrap_or(place.reached.get());
        self.tell_place(place, (&master.name, *queue_id), place_offset).await?;
        lane.told.0 = lane.next;
        Ok(())
    }

    /// Tells where in the target's queue what is sent from now on will be.
    pub(super) async fn tell_place(&self, place: &Place, source: (&str, i32), offset: i64) -> Outcome {
        // A queue that never had a message may belong to a topic that is not there yet.
        if offset == 0 {
            return Ok(());
        }
        let line = Line { client: &place.client, master: &place.master, patience: self.patience };
        line.put(&self.run.arrivals_group(source), (self.target, place.queue_id), offset).await
    }
}

/// Where a message is, for people.
fn where_of(message: &Message) -> String {
    let Message { topic, broker, queue_id, queue_offset, .. } = message;
    format!("{topic} {} offset {queue_offset}", queue_name(broker, *queue_id))
}
