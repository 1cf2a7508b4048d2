//! What a history proves to be wrong, each with the queue, offset and message that show it.
//!
//! Owns the list of what can be found and its wording. The letters are those of the invariants in
//! `check`.

use std::sync::Arc;

use thiserror::Error;

use crate::history::{Place, Queue, Ticket};

/// One broken promise.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[expect(missing_docs, reason = "the fields are the nouns of the sentence beside them")]
pub enum Violation {
    /// An acknowledged message cannot be read where it was acknowledged.
    #[error("I1 lost: {ticket} was acknowledged at {place}: {instead}")]
    Lost { place: Place, ticket: Ticket, instead: String },
    /// A message is not what its producer sent.
    #[error("I1 altered: {ticket} at {place}: {what}")]
    Altered { place: Place, ticket: Ticket, what: String },
    /// A message that nobody sent there.
    #[error("I2 phantom at {place}: {what}")]
    Phantom { place: Place, ticket: Option<Ticket>, what: String },
    /// A message whose producer was told that it is refused.
    #[error("I2 stored although refused with {code}: {ticket} at {place}")]
    Refused { place: Place, ticket: Ticket, code: i32 },
    /// Offsets of a queue are not dense, or a position in the log is used twice.
    #[error("I3 not contiguous: {queue}: {what}")]
    Gap { queue: Queue, what: String },
    /// One place held two messages at different times.
    #[error("I3 changed: {place} was {before:?} for group {group} and is {after:?} now")]
    Changed { place: Place, group: Arc<str>, before: Option<Ticket>, after: Option<Ticket> },
    /// A producer's messages are not in the order of sending.
    #[error("I4 out of order: {ticket} at {place} comes after {earlier}")]
    Disorder { place: Place, ticket: Ticket, earlier: Ticket },
    /// A consumer got a message that is not there any more.
    #[error("I5 vanished: group {group} got {ticket:?} at {place}: {instead}")]
    Vanished { place: Place, group: Arc<str>, ticket: Option<Ticket>, instead: String },
    /// A group's progress is not one that it may have after a kill.
    #[error("I6 progress of group {group} in {queue} after start {run}: {what}")]
    Progress { group: Arc<str>, queue: Queue, run: u32, what: String },
    /// A consumer's reading jumped or repeated within one run.
    #[error("I7 group {group} in {queue}, run {run}: after {wanted} came {came}")]
    Jump { group: Arc<str>, queue: Queue, run: u32, wanted: i64, came: i64 },
    /// A consumer got an answer that it should never get.
    #[error("I7 group {group} in {queue}, run {run}: {what}")]
    Trouble { group: Arc<str>, queue: Queue, run: u32, what: String },
    /// A message that a group never got.
    #[error("I7 undelivered to group {group}: {ticket:?} at {place}")]
    Undelivered { place: Place, group: Arc<str>, ticket: Option<Ticket> },
    /// One message is stored more often than its producer and the kills explain.
    #[error("I8 stored {times} times, at most {most} are explained: {ticket} in {queue}")]
    Twice { queue: Queue, ticket: Ticket, times: usize, most: usize },
    /// A delayed message came before its time.
    #[error("I10 early by {early_ms} ms: {ticket} at {place}")]
    Early { place: Place, ticket: Ticket, early_ms: i64 },
    /// A delayed message never came.
    #[error("I10 never came to {topic}: {ticket}")]
    NeverCame { topic: Arc<str>, ticket: Ticket },
    /// A query by key gave another answer than the queues.
    #[error("I11 key {key:?} of topic {topic}: {what}")]
    Key { topic: Arc<str>, key: String, what: String },
    /// Two recoveries of the same bytes gave different answers.
    #[error("I14 recovered differently: {queue}: {what}")]
    Recovery { queue: Queue, what: String },
    /// The name server does not tell where a topic is.
    #[error("route of topic {topic}: {what}")]
    Route { topic: Arc<str>, what: String },
}

impl Violation {
    /// The message that it is about, where it is about one.
    #[must_use]
    pub fn ticket(&self) -> Option<Ticket> {
        match self {
            Self::Lost { ticket, .. }
            | Self::Altered { ticket, .. }
            | Self::Refused { ticket, .. }
            | Self::Disorder { ticket, .. }
            | Self::Twice { ticket, .. }
            | Self::Early { ticket, .. }
            | Self::NeverCame { ticket, .. } => Some(*ticket),
            Self::Phantom { ticket, .. } | Self::Vanished { ticket, .. } | Self::Undelivered { ticket, .. } => *ticket,
            Self::Changed { before, after, .. } => before.or(*after),
            Self::Gap { .. }
            | Self::Progress { .. }
            | Self::Jump { .. }
            | Self::Trouble { .. }
            | Self::Key { .. }
            | Self::Recovery { .. }
            | Self::Route { .. } => None,
        }
    }
}
