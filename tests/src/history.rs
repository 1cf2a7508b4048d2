//! What a test did and what it was told: the producers' and the consumers' logs.
//!
//! Owns the types of those logs and nothing of their meaning, which is in `check`. Offsets are numbers of
//! messages in their queue; times are milliseconds since 1970 by the machine's clock.

use std::fmt;
use std::hash::{DefaultHasher, Hasher};
use std::str::FromStr;
use std::sync::Arc;

/// One queue of a topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Queue {
    /// Its topic.
    pub topic: Arc<str>,
    /// Its number; below 0 where a producer leaves the choice to the broker.
    pub id: i32,
}

impl Queue {
    /// Queue `id` of `topic`.
    #[must_use]
    pub fn new(topic: impl Into<Arc<str>>, id: i32) -> Self {
        Self { topic: topic.into(), id }
    }
}

impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.id)
    }
}

/// One offset of one queue.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The queue.
    pub queue: Queue,
    /// The offset.
    pub offset: i64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.queue, self.offset)
    }
}

/// What a message is known by, from its producer to its consumers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket {
    /// Which producer made it.
    pub producer: u32,
    /// Its number there; producers count upwards in the order of sending.
    pub number: u64,
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{}-{}", self.producer, self.number)
    }
}

/// The text is no ticket.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("no ticket of these tests")]
pub struct NoTicket;

impl FromStr for Ticket {
    type Err = NoTicket;

    fn from_str(text: &str) -> Result<Self, NoTicket> {
        let (producer, number) = text.strip_prefix('p').and_then(|rest| rest.split_once('-')).ok_or(NoTicket)?;
        let (producer, number) = (producer.parse().map_err(|_| NoTicket)?, number.parse().map_err(|_| NoTicket)?);
        Ok(Self { producer, number })
    }
}

/// Bytes by their length and a 64-bit hash: enough to tell any two that a test makes apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest {
    /// How many bytes.
    pub bytes: usize,
    /// Their hash, the same in every process.
    pub hash: u64,
}

impl Digest {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = DefaultHasher::new();
        hasher.write(bytes);
        Self { bytes: bytes.len(), hash: hasher.finish() }
    }
}

/// What becomes of a message that is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It goes to its queue.
    Plain,
    /// It waits for `delay_ms` in the schedule queue of `level` first.
    Delayed {
        /// From 1.
        level: i32,
        /// The wait that the level means.
        delay_ms: i64,
    },
}

/// What a sender knows afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Acknowledged, and where it is.
    Stored(Place),
    /// Refused for good: it must never appear.
    Refused {
        /// The response code.
        code: i32,
    },
    /// No answer, or one that leaves it open: it may appear, once.
    Unknown,
}

/// One message as its producer knows it.
#[derive(Debug, Clone)]
pub struct Sent {
    /// Its name.
    pub ticket: Ticket,
    /// Where it was to go.
    pub queue: Queue,
    /// Whether it waits.
    pub kind: Kind,
    /// Its body.
    pub body: Digest,
    /// Its properties text as it was sent.
    pub properties: Arc<[u8]>,
    /// What came of it. Of a delayed message the place is in the schedule topic.
    pub outcome: Outcome,
    /// When the answer came, ms since 1970; `None` when none did.
    pub answered_ms: Option<i64>,
}

/// One message as a consumer got it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its offset.
    pub offset: i64,
    /// Hash of the whole record.
    pub record: u64,
    /// Who it said it was.
    pub ticket: Option<Ticket>,
}

/// One consumer's reading of one queue while one run of the server lasted.
#[derive(Debug, Clone)]
pub struct Session {
    /// The consumer group.
    pub group: Arc<str>,
    /// The queue.
    pub queue: Queue,
    /// The run of the server, counted from 0.
    pub run: u32,
    /// The offset that it began at.
    pub begin: i64,
    /// What it got, in this order.
    pub deliveries: Vec<Delivery>,
    /// An answer that a consumer should never get.
    pub trouble: Option<Trouble>,
}

/// An answer that a consumer should never get.
#[derive(Debug, Clone)]
pub struct Trouble {
    /// What was wrong with it.
    pub what: String,
    /// It gave nothing and said why. A disk that is gone excuses that, but nothing excuses wrong messages.
    pub refused: bool,
    /// When it came, ms since 1970.
    pub at_ms: i64,
}

/// A consumer's wish to have its progress stored.
#[derive(Debug, Clone)]
pub struct Commit {
    /// The consumer group.
    pub group: Arc<str>,
    /// The queue.
    pub queue: Queue,
    /// The run of the server.
    pub run: u32,
    /// The next offset to read.
    pub offset: i64,
    /// When the broker confirmed it; `None` when it never did.
    pub confirmed_ms: Option<i64>,
}

/// The progress that a consumer found after a start.
#[derive(Debug, Clone)]
pub struct Found {
    /// The consumer group.
    pub group: Arc<str>,
    /// The queue.
    pub queue: Queue,
    /// The run of the server.
    pub run: u32,
    /// The stored offset, `None` when there was none.
    pub offset: Option<i64>,
    /// The queue's end at that moment.
    pub end: i64,
}

/// A message that a consumer gave back for a later retry.
#[derive(Debug, Clone)]
pub struct SentBack {
    /// The consumer group.
    pub group: Arc<str>,
    /// The message.
    pub ticket: Ticket,
    /// How long it is to wait.
    pub delay_ms: i64,
    /// Whether the broker confirmed it.
    pub confirmed: bool,
}

/// One run of the server, from its start to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// When it was killed.
    pub killed_ms: i64,
}

/// Everything that a test did and saw.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// The producers' log; of each producer in its order.
    pub sends: Vec<Sent>,
    /// The consumers' log.
    pub sessions: Vec<Session>,
    /// The commits, of each queue in their order.
    pub commits: Vec<Commit>,
    /// The progress found, of each queue in the order of runs.
    pub found: Vec<Found>,
    /// Messages given back.
    pub sent_back: Vec<SentBack>,
    /// The runs that ended, in their order.
    pub runs: Vec<Run>,
}

impl History {
    /// Adds what another log holds.
    pub fn absorb(&mut self, other: Self) {
        self.sends.extend(other.sends);
        self.sessions.extend(other.sessions);
        self.commits.extend(other.commits);
        self.found.extend(other.found);
        self.sent_back.extend(other.sent_back);
        self.runs.extend(other.runs);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tickets_read_what_they_write() {
        let ticket = Ticket { producer: 3, number: 17 };
        assert_eq!(ticket.to_string().parse(), Ok(ticket));
        for wrong in ["", "p", "p3", "3-17", "p3-x", "px-1"] {
            assert_eq!(wrong.parse::<Ticket>(), Err(NoTicket), "{wrong}");
        }
    }

    #[test]
    fn digests_tell_bytes_apart() {
        assert_eq!(Digest::of(b"a"), Digest::of(b"a"));
        assert_ne!(Digest::of(b"a"), Digest::of(b"b"));
        assert_ne!(Digest::of(b""), Digest::of(b"\0"));
    }
}
