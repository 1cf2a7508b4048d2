//! A producer whose every send a test decides.
//!
//! Owns its log. It sends nothing twice, like the producers that work by themselves.

use anyhow::Result;

use super::produce::{LEVEL_1_MS, Made, outcome};
use crate::clock::now_ms;
use crate::history::{Kind, Queue, Sent, Ticket};
use crate::message::Marks;
use crate::talk::{Draft, SendAnswer, Talk};

/// A producer for one queue.
#[derive(Debug)]
pub struct Sender {
    talk: Talk,
    queue: Queue,
    seed: u64,
    next: Ticket,
    /// What it sent so far.
    pub log: Vec<Sent>,
}

impl Sender {
    /// Producer number `producer`, which sends to `queue`.
    #[must_use]
    pub fn new(talk: Talk, queue: Queue, seed: u64, producer: u32) -> Self {
        Self { talk, queue, seed, next: Ticket { producer, number: 0 }, log: Vec::new() }
    }

    /// Sends a body of `bytes`.
    ///
    /// # Errors
    /// No answer came; the log says that nobody knows.
    pub async fn send(&mut self, bytes: u64) -> Result<SendAnswer> {
        self.give(bytes, Kind::Plain, None).await
    }

    /// Sends a short body that waits for a second, by delay level 1.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn send_delayed(&mut self) -> Result<SendAnswer> {
        self.give(16, Kind::Delayed { level: 1, delay_ms: LEVEL_1_MS }, Some(1)).await
    }

    async fn give(&mut self, bytes: u64, kind: Kind, delay_level: Option<i32>) -> Result<SendAnswer> {
        let ticket = self.next;
        self.next.number += 1;
        let marks = Marks { delay_level, ..Marks::default() };
        let Made { mut sent, properties, body } =
            Made::new(self.seed, ticket, (self.queue.clone(), kind), bytes, marks)?;
        let answer = self.talk.send(&Draft::new(&sent.queue, &properties, body)).await;
        if let Ok(answer) = &answer {
            sent.outcome = outcome(&sent, answer);
            sent.answered_ms = Some(now_ms());
        }
        self.log.push(sent);
        Ok(answer?)
    }
}
