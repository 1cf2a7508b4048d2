//! The well-behaved client: it produces and consumes all the while, and nothing may go wrong for it.
//!
//! Owns its own topic and log; the judge of the crash tests looks at it at the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::check::{self, Terms};
use crate::clock::now_ms;
use crate::dump::{Dump, Stored};
use crate::history::{Digest, History, Kind, Outcome, Place, Queue, Sent, Session, Ticket};
use crate::message::{self, Marks};
use crate::site::Ports;
use crate::talk::{Ask, Draft, Talk};
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use strata_protocol::code::ResponseCode;
use strata_protocol::frame::HeaderCodec;
use strata_protocol::record::records;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

const SEED: u64 = 5;

/// Pause between two sends.
const PACE: Duration = Duration::from_millis(4);

/// Longest time that a send or a pull of this client may take while others misbehave.
const PATIENCE: Duration = Duration::from_secs(5);

/// The client at work.
#[derive(Debug)]
pub struct Good {
    stop: Arc<AtomicBool>,
    producing: JoinHandle<Result<(Vec<Sent>, Duration)>>,
    consuming: JoinHandle<Result<(Session, Duration)>>,
    ports: Ports,
}

fn queue() -> Queue {
    Queue::new("good", 0)
}

impl Good {
    /// Begins to produce and to consume.
    ///
    /// # Errors
    /// The server does not take the first message.
    pub async fn begin(ports: Ports) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let producer = Talk::connect(ports.broker, HeaderCodec::Json).await?;
        let consumer = Talk::connect(ports.broker, HeaderCodec::Binary).await?;
        consumer.heartbeat("good-client", "good-group", "good").await?;
        // The first message makes the topic that the consumer reads.
        let first = send(&producer, 0).await?;
        // The reader of the end makes its group now, before somebody uses up what may be made.
        Dump::read(&consumer, &[queue()]).await?;
        let producing = tokio::spawn(produce(producer, first, Arc::clone(&stop)));
        let consuming = tokio::spawn(consume(consumer, Arc::clone(&stop)));
        Ok(Self { stop, producing, consuming, ports })
    }

    /// Ends the work and judges it; gives what it did, in words.
    ///
    /// # Errors
    /// Something went wrong for it: a refusal, a loss, or too long a wait.
    pub async fn end(self) -> Result<String> {
        self.stop.store(true, Ordering::Relaxed);
        let (sends, slowest_send) = self.producing.await.context("the producer panicked")??;
        let (session, slowest_pull) = self.consuming.await.context("the consumer panicked")??;
        let talk = Talk::connect(self.ports.broker, HeaderCodec::Json).await?;
        let dump = Dump::read(&talk, &[queue()]).await?;
        let history = History { sends, sessions: vec![session], ..History::default() };
        let readers = vec![(Arc::from("good-group"), Arc::from("good"))];
        let report = check::check(&history, &dump, &Terms { readers });
        ensure!(report.violations.is_empty(), "the well-behaved client was hurt:\n{report}");
        let count = report.counts.acknowledged;
        ensure!(
            count > 100 && report.counts.unknown + report.counts.refused == 0,
            "not all was acknowledged:\n{report}"
        );
        let slowest = slowest_send.max(slowest_pull);
        ensure!(slowest < PATIENCE, "the well-behaved client waited {slowest:?}");
        Ok(format!("{count} messages sent and read, slowest send {slowest_send:?}, slowest pull {slowest_pull:?}"))
    }
}

async fn send(talk: &Talk, number: u64) -> Result<Sent> {
    let ticket = Ticket { producer: 1, number };
    let properties = message::properties(SEED, ticket, Marks { keys: Some("good"), ..Marks::default() })?;
    let body = message::body(SEED, ticket, 200);
    let text = message::as_text(&properties);
    let answer = talk.send(&Draft::new(&queue(), &text, Bytes::from(body.clone()))).await?;
    let place = answer
        .place
        .filter(|_| answer.code == 0)
        .with_context(|| format!("{ticket} was answered with {}: {}", answer.code, answer.remark))?;
    Ok(Sent {
        ticket,
        queue: queue(),
        kind: Kind::Plain,
        body: Digest::of(&body),
        properties: Arc::from(properties),
        outcome: Outcome::Stored(Place { queue: queue(), offset: place.1 }),
        answered_ms: Some(now_ms()),
    })
}

async fn produce(talk: Talk, first: Sent, stop: Arc<AtomicBool>) -> Result<(Vec<Sent>, Duration)> {
    let mut log = vec![first];
    let mut slowest = Duration::ZERO;
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        log.push(send(&talk, log.len() as u64).await?);
        slowest = slowest.max(began.elapsed());
        sleep(PACE).await;
    }
    Ok((log, slowest))
}

/// Reads until the producer has stopped and nothing is left.
async fn consume(talk: Talk, stop: Arc<AtomicBool>) -> Result<(Session, Duration)> {
    let queue = queue();
    let group: Arc<str> = Arc::from("good-group");
    let mut session = Session { group, queue: queue.clone(), run: 0, begin: 0, deliveries: Vec::new(), trouble: None };
    let mut offset = 0;
    let mut slowest = Duration::ZERO;
    loop {
        let stopped = stop.load(Ordering::Relaxed);
        let began = Instant::now();
        let ask = Ask { group: "good-group", queue: &queue, offset, most: 32, hold_ms: 300, commit: Some(offset) };
        let pulled = talk.pull(&ask).await?;
        slowest = slowest.max(began.elapsed());
        match ResponseCode::of(pulled.code) {
            Some(ResponseCode::Success) => {
                for record in records(&pulled.records) {
                    session.deliveries.push(Stored::of(&record?).delivery());
                }
                offset = pulled.next;
            }
            Some(ResponseCode::PullNotFound) if stopped => return Ok((session, slowest)),
            Some(ResponseCode::PullNotFound) => {}
            _ => anyhow::bail!("a pull at {offset} was answered with {}: {}", pulled.code, pulled.remark),
        }
    }
}
