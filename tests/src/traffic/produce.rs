//! The producers: each sends in its own manner until its connection ends, and logs what it knows.
//!
//! Owns the manners. A producer never sends a message twice, so that what is stored twice is the server's
//! doing.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use crate::clock::now_ms;
use crate::draw::Draw;
use crate::history::{Digest, Kind, Outcome, Place, Queue, Sent, Ticket};
use crate::message::{self, Marks};
use crate::talk::{Draft, SendAnswer, Talk};
use anyhow::{Result, ensure};
use bytes::Bytes;
use strata_protocol::batch::{self, InnerMessage};
use strata_protocol::code::ResponseCode;
use strata_protocol::name::SCHEDULE_TOPIC;
use strata_remoting::CallError;
use tokio::time::sleep;

/// The delay of level 1, by RocketMQ's default levels.
pub(crate) const LEVEL_1_MS: i64 = 1_000;

/// Messages that the pipelining producer has under way at once.
const WINDOW: usize = 16;

/// Keys that keyed messages share.
const SHARED_KEYS: u64 = 400;

/// In what manner a producer sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Bodies of 1 to 1,024 bytes, one after another.
    Small,
    /// Bodies of up to 64 KiB.
    Large,
    /// 2 to 32 messages in one request.
    Batch,
    /// Without asking for an answer.
    OneWay,
    /// With search keys.
    Keyed,
    /// With delay level 1.
    Delayed,
    /// Several under way at once.
    Pipelined,
    /// To a topic that this run's first message creates; the broker chooses the queues.
    Fresh,
}

/// All manners; the place in this list is the producer's number.
pub(crate) const MANNERS: [Manner; 8] = [
    Manner::Small,
    Manner::Large,
    Manner::Batch,
    Manner::OneWay,
    Manner::Keyed,
    Manner::Delayed,
    Manner::Pipelined,
    Manner::Fresh,
];

/// One producer on one connection.
pub(crate) struct Producer {
    pub(crate) talk: Talk,
    pub(crate) manner: Manner,
    /// The queues that it sends to.
    pub(crate) queues: Vec<Queue>,
    pub(crate) seed: u64,
    pub(crate) draw: Draw,
    /// The name of its next message.
    pub(crate) next: Ticket,
    pub(crate) log: Vec<Sent>,
}

/// A message that is made and not sent.
pub(super) struct Made {
    pub(super) sent: Sent,
    pub(super) properties: Arc<str>,
    pub(super) body: Bytes,
}

impl Made {
    /// Message `ticket` of `bytes` for `queue`. A delay level in the marks is that of `kind`.
    pub(super) fn new(seed: u64, ticket: Ticket, to: (Queue, Kind), bytes: u64, marks: Marks<'_>) -> Result<Self> {
        let properties = message::properties(seed, ticket, marks)?;
        let body = message::body(seed, ticket, usize::try_from(bytes)?);
        let (queue, kind) = to;
        let text = message::as_text(&properties);
        let digest = Digest::of(&body);
        let (properties, outcome, answered_ms) = (Arc::from(properties), Outcome::Unknown, None);
        let sent = Sent { ticket, queue, kind, body: digest, properties, outcome, answered_ms };
        Ok(Self { sent, properties: text, body: Bytes::from(body) })
    }
}

type Call = Pin<Box<dyn Future<Output = Result<SendAnswer, CallError>> + Send>>;

impl Producer {
    /// Sends until the connection ends; gives its log and the name of the message after it.
    pub(crate) async fn run(mut self) -> Result<(Vec<Sent>, Ticket)> {
        while self.talk.is_open() {
            match self.manner {
                Manner::Batch => self.batch().await?,
                Manner::OneWay => self.one_way().await?,
                Manner::Pipelined => self.pipeline().await?,
                Manner::Small | Manner::Large | Manner::Keyed | Manner::Delayed | Manner::Fresh => {
                    self.single().await?
                }
            }
            // The rate, so that a long test fits a disk; not a wait for anything.
            let pause = match self.manner {
                Manner::Small | Manner::Keyed => self.draw.below(3),
                Manner::OneWay | Manner::Pipelined => self.draw.below(6),
                Manner::Large | Manner::Batch | Manner::Delayed => self.draw.below(24),
                Manner::Fresh => self.draw.below(40),
            };
            sleep(Duration::from_millis(pause)).await;
        }
        Ok((self.log, self.next))
    }

    /// Makes the next message.
    fn make(&mut self) -> Result<Made> {
        let ticket = self.next;
        self.next.number += 1;
        let queue = self.draw.pick(&self.queues).cloned().unwrap_or_else(|| Queue::new("small", 0));
        let bytes = match self.manner {
            Manner::Large => self.draw.between(1_024, 65_536),
            Manner::Small | Manner::OneWay | Manner::Pipelined if self.draw.chance(10) => 1,
            Manner::Small
            | Manner::Batch
            | Manner::OneWay
            | Manner::Keyed
            | Manner::Delayed
            | Manner::Pipelined
            | Manner::Fresh => self.draw.between(1, 1_024),
        };
        let shared = |draw: &mut Draw| format!("order-{}", draw.below(SHARED_KEYS));
        let keys = (self.manner == Manner::Keyed).then(|| {
            let key = shared(&mut self.draw);
            if self.draw.chance(30) { format!("{key} {ticket}") } else { key }
        });
        let delay = self.manner == Manner::Delayed;
        let tag = ["red", "green"][usize::from(self.draw.chance(50))];
        let marks = Marks { keys: keys.as_deref(), tag: Some(tag), delay_level: delay.then_some(1) };
        let kind = if delay { Kind::Delayed { level: 1, delay_ms: LEVEL_1_MS } } else { Kind::Plain };
        Made::new(self.seed, ticket, (queue, kind), bytes, marks)
    }

    async fn single(&mut self) -> Result<()> {
        let Made { sent, properties, body } = self.make()?;
        let answer = self.talk.send(&Draft::new(&sent.queue, &properties, body)).await;
        self.note(sent, answer);
        Ok(())
    }

    async fn one_way(&mut self) -> Result<()> {
        let Made { sent, properties, body } = self.make()?;
        // Taken or not: the log says that nobody knows.
        let _ = self.talk.send_one_way(&Draft::new(&sent.queue, &properties, body)).await;
        self.log.push(sent);
        Ok(())
    }

    /// All messages of a batch go to one queue and get offsets in a row.
    async fn batch(&mut self) -> Result<()> {
        let mut inner = Vec::new();
        let mut log = Vec::new();
        let mut queue = None;
        for _ in 0..self.draw.between(2, 32) {
            let Made { mut sent, properties, body } = self.make()?;
            sent.queue = queue.get_or_insert_with(|| sent.queue.clone()).clone();
            batch::append(&mut inner, &InnerMessage { flag: 0, body: &body, properties: properties.as_bytes() })?;
            log.push(sent);
        }
        let Some(queue) = queue else { return Ok(()) };
        let draft = Draft { queue: &queue, properties: "", body: Bytes::from(inner), batch: true };
        let answer = self.talk.send(&draft).await;
        if let Ok(answer) = &answer
            && answer.code == ResponseCode::Success.wire()
        {
            let ids = answer.ids.split(',').count();
            ensure!(ids == log.len(), "a batch of {} messages got {ids} ids", log.len());
        }
        for (nth, sent) in (0_i64..).zip(log) {
            let shifted = answer
                .clone()
                .map(|answer| SendAnswer { place: answer.place.map(|(id, offset)| (id, offset + nth)), ..answer });
            self.note(sent, shifted);
        }
        Ok(())
    }

    /// Sends a row of messages without waiting, at most [`WINDOW`] of them unanswered.
    async fn pipeline(&mut self) -> Result<()> {
        let mut under_way: VecDeque<(Sent, Call)> = VecDeque::new();
        for _ in 0..self.draw.between(1, 64) {
            if under_way.len() == WINDOW
                && let Some((sent, call)) = under_way.pop_front()
            {
                let answer = call.await;
                self.note(sent, answer);
            }
            let Made { sent, properties, body } = self.make()?;
            let (talk, queue) = (self.talk.clone(), sent.queue.clone());
            let mut call: Call = Box::pin(async move { talk.send(&Draft::new(&queue, &properties, body)).await });
            // The first poll sends it, so that the order of sending is the order of names.
            match poll_fn(|context| Poll::Ready(call.as_mut().poll(context))).await {
                Poll::Ready(answer) => self.note(sent, answer),
                Poll::Pending => under_way.push_back((sent, call)),
            }
        }
        while let Some((sent, call)) = under_way.pop_front() {
            let answer = call.await;
            self.note(sent, answer);
        }
        Ok(())
    }

    fn note(&mut self, mut sent: Sent, answer: Result<SendAnswer, CallError>) {
        if let Ok(answer) = answer {
            sent.outcome = outcome(&sent, &answer);
            sent.answered_ms = Some(now_ms());
        }
        self.log.push(sent);
    }
}

/// What an answer means. Codes that say "stored, but" and those of a failing store leave it open.
pub(super) fn outcome(sent: &Sent, answer: &SendAnswer) -> Outcome {
    match (ResponseCode::of(answer.code), answer.place) {
        (Some(ResponseCode::Success), Some((id, offset))) => {
            let queue = match sent.kind {
                Kind::Plain => Queue { topic: Arc::clone(&sent.queue.topic), id },
                Kind::Delayed { level, .. } => Queue::new(SCHEDULE_TOPIC, level - 1),
            };
            Outcome::Stored(Place { queue, offset })
        }
        (
            None
            | Some(
                ResponseCode::Success
                | ResponseCode::SystemError
                | ResponseCode::ServiceNotAvailable
                | ResponseCode::FlushDiskTimeout
                | ResponseCode::FlushSlaveTimeout
                | ResponseCode::SlaveNotAvailable,
            ),
            _,
        ) => Outcome::Unknown,
        (Some(_), _) => Outcome::Refused { code: answer.code },
    }
}
