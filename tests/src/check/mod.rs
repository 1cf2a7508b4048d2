//! The judge: compares what producers and consumers know with what the server holds.
//!
//! Owns the invariants, each in a file of its own; pure functions over [`History`] and [`Dump`].
//!
//! | letter | what must hold | where |
//! |---|---|---|
//! | I1 | every acknowledged message is readable at its place, bytes and properties as sent | `stored` |
//! | I2 | nothing is stored or delivered that was not sent, or that was refused | `stored`, `consumed` |
//! | I3 | a place holds one message for ever; offsets are dense; log positions rise | `stored`, `consumed` |
//! | I4 | one producer's messages are in each queue in the order of sending | `stored` |
//! | I5 | what a consumer got stays | `consumed` |
//! | I6 | a group's progress is one that was committed, at most the window old, never beyond the end | `progress` |
//! | I7 | every message reaches every group, without jumps | `consumed` |
//! | I8 | messages are stored and delivered again only where a kill explains it | `stored`, `consumed`, `delayed` |
//! | I10 | delayed messages come, not early | `delayed` |
//! | I11 | queries by key give all and only the matching messages | `keys` |
//! | I14 | two recoveries give the same answers | `sameness` |

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use strata_protocol::name;

use crate::dump::Dump;
use crate::history::{History, Kind, Outcome, Sent, Ticket};
use crate::limits::VIOLATIONS_LISTED_VIOLATIONS_MAX;
use crate::violation::Violation;

mod consumed;
mod delayed;
pub mod keys;
mod progress;
pub mod sameness;
mod stored;

/// What a topic is to the messages in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Producers send to it.
    Target,
    /// Delayed messages wait in it.
    Schedule,
    /// A group's messages come again in it.
    Retry,
}

impl Role {
    /// The role of a topic, by its name.
    #[must_use]
    pub fn of(topic: &str) -> Self {
        if topic == name::SCHEDULE_TOPIC {
            Self::Schedule
        } else if name::is_retry(topic) {
            Self::Retry
        } else {
            Self::Target
        }
    }
}

/// What the judge must know beside the logs.
#[derive(Debug, Clone, Default)]
pub struct Terms {
    /// Groups and the topic that each has read to its end.
    pub readers: Vec<(Arc<str>, Arc<str>)>,
}

/// What was counted on the way; a judge that saw nothing has proved nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Acknowledged sends.
    pub acknowledged: usize,
    /// Refused sends.
    pub refused: usize,
    /// Sends without an answer.
    pub unknown: usize,
    /// Of those, found in the server.
    pub unknown_found: usize,
    /// Messages in the dump.
    pub stored: usize,
    /// Deliveries to consumers.
    pub delivered: usize,
    /// Of those, repetitions after a kill.
    pub redelivered: usize,
    /// Delayed messages that came.
    pub delayed: usize,
    /// Of those, repetitions after a kill.
    pub delayed_again: usize,
    /// Messages that came again after they were given back.
    pub retried: usize,
    /// Progress that was looked up after a start.
    pub progress_found: usize,
    /// Of those, where a kill took commits back.
    pub progress_back: usize,
}

/// The verdict.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// What is wrong.
    pub violations: Vec<Violation>,
    /// What was looked at.
    pub counts: Counts,
}

impl Report {
    /// Adds another verdict.
    pub fn absorb(&mut self, other: impl IntoIterator<Item = Violation>) {
        self.violations.extend(other);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let c = &self.counts;
        writeln!(
            f,
            "  sends      {} acknowledged, {} refused, {} unknown ({} of them found)",
            c.acknowledged, c.refused, c.unknown, c.unknown_found
        )?;
        writeln!(
            f,
            "  stored     {} messages; {} delayed ones came ({} again), {} retries",
            c.stored, c.delayed, c.delayed_again, c.retried
        )?;
        writeln!(f, "  delivered  {} ({} again)", c.delivered, c.redelivered)?;
        writeln!(f, "  progress   {} looked up, {} went back", c.progress_found, c.progress_back)?;
        writeln!(f, "  violations {}", self.violations.len())?;
        for violation in self.violations.iter().take(VIOLATIONS_LISTED_VIOLATIONS_MAX) {
            writeln!(f, "    {violation}")?;
        }
        if self.violations.len() > VIOLATIONS_LISTED_VIOLATIONS_MAX {
            writeln!(f, "    and {} more", self.violations.len() - VIOLATIONS_LISTED_VIOLATIONS_MAX)?;
        }
        Ok(())
    }
}

/// The producers' log by ticket.
pub(crate) type Sends<'a> = HashMap<Ticket, &'a Sent>;

/// Judges a history against what the server holds at its end.
#[must_use]
pub fn check(history: &History, dump: &Dump, terms: &Terms) -> Report {
    let sends: Sends<'_> = history.sends.iter().map(|sent| (sent.ticket, sent)).collect();
    let mut report = Report::default();
    count_sends(history, &mut report.counts);
    report.counts.stored = dump.messages();
    stored::check(history, &sends, dump, &mut report);
    consumed::check(history, dump, terms, &mut report);
    progress::check(history, &mut report);
    delayed::check(history, dump, &mut report);
    report
}

fn count_sends(history: &History, counts: &mut Counts) {
    for sent in &history.sends {
        match sent.outcome {
            Outcome::Stored(_) => counts.acknowledged += 1,
            Outcome::Refused { .. } => counts.refused += 1,
            Outcome::Unknown => counts.unknown += 1,
        }
    }
}

/// The level and delay of a delayed message.
pub(crate) fn delay_of(sent: &Sent) -> Option<(i32, i64)> {
    match sent.kind {
        Kind::Plain => None,
        Kind::Delayed { level, delay_ms } => Some((level, delay_ms)),
    }
}

#[cfg(test)]
mod tests;
