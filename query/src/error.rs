//! Why a statement has no answer.
#![allow(clippy::wildcard_enum_match_arm, reason = "kinds of DataFusion's errors that are added later are failures")]

use std::time::Duration;

use datafusion::error::DataFusionError;
use strata_tiering::cold::ColdError;
use thiserror::Error;

use crate::limits::{STATEMENT_BYTES_MAX, STATEMENTS_AT_ONCE_MAX};

/// Why a statement has no answer.
#[derive(Debug, Error)]
pub enum QueryError {
    /// It is longer than a statement may be.
    #[error("the statement has {bytes} bytes, more than {STATEMENT_BYTES_MAX}")]
    TooLong {
        /// Its bytes.
        bytes: usize,
    },
    /// It took too long.
    #[error("the statement was stopped after {} s; ask for less, or for a shorter time", after.as_secs())]
    TooSlow {
        /// How long it took.
        after: Duration,
    },
    /// It would change something.
    #[error("statements are read only: {what}")]
    ReadOnly {
        /// What it would do.
        what: String,
    },
    /// It is no SQL.
    #[error("this is no SQL: {what}")]
    Syntax {
        /// What is wrong, and in which line and column.
        what: String,
    },
    /// It cannot be planned: a table, column or function is not known, or types do not fit.
    #[error("{0}")]
    Statement(String),
    /// It takes more memory than statements may have together.
    #[error("the statement takes more memory than there is for statements; ask for less: {0}")]
    Memory(String),
    /// It failed while it ran.
    #[error("{0}")]
    Failed(String),
    /// Too many others ran for all of its time.
    #[error(
        "the statement waited {} s for others to end, of which {STATEMENTS_AT_ONCE_MAX} run at once; ask again",
        after.as_secs()
    )]
    Crowded {
        /// How long it waited.
        after: Duration,
    },
    /// It was broken off by a fault, or by the end of the broker.
    #[error("the statement was broken off; the broker's log tells why")]
    Broken,
    /// There are no threads for statements.
    #[error("no threads for statements: {0}")]
    Threads(std::io::Error),
}

impl QueryError {
    /// Whether the statement is to blame, whatever the messages are.
    #[must_use]
    pub const fn is_refusal(&self) -> bool {
        match self {
            Self::TooLong { .. } | Self::ReadOnly { .. } | Self::Syntax { .. } | Self::Statement(_) => true,
            Self::TooSlow { .. }
            | Self::Memory(_)
            | Self::Failed(_)
            | Self::Crowded { .. }
            | Self::Broken
            | Self::Threads(_) => false,
        }
    }

    /// The character of the statement, counted from 1, at which it is no SQL.
    #[must_use]
    pub fn position(&self, statement: &str) -> Option<usize> {
        let Self::Syntax { what } = self else { return None };
        let (_, place) = what.rsplit_once("Line: ")?;
        let (line, column) = place.split_once(", Column: ")?;
        let digits = column.find(|c: char| !c.is_ascii_digit()).unwrap_or(column.len());
        let (line, column): (usize, usize) = (line.parse().ok()?, column.get(..digits)?.parse().ok()?);
        let before: usize = statement.split('\n').take(line.checked_sub(1)?).map(|line| line.chars().count() + 1).sum();
        Some(before + column)
    }
}

impl From<DataFusionError> for QueryError {
    fn from(error: DataFusionError) -> Self {
        let told = error.strip_backtrace();
        match error.find_root() {
            DataFusionError::SQL(error, _) => Self::Syntax { what: error.to_string() },
            DataFusionError::Plan(_)
            | DataFusionError::SchemaError(..)
            | DataFusionError::NotImplemented(_)
            | DataFusionError::Diagnostic(..)
            | DataFusionError::Configuration(_) => Self::Statement(told),
            DataFusionError::ResourcesExhausted(_) => Self::Memory(told),
            _ => Self::Failed(told),
        }
    }
}

/// A message cannot be read, though the snapshot has it.
#[derive(Debug, Error)]
pub(crate) enum ReadError {
    #[error(
        "offsets {from} to {to} of queue {queue_id} of topic {topic} are damaged in the log; leave them out with a bound on \
         queue_offset, and see strata store check"
    )]
    Damaged { topic: String, queue_id: i32, from: i64, to: i64 },
    #[error("the log between {from} and {to} cannot be opened now; ask again")]
    Unavailable { from: i64, to: i64 },
    #[error("queue {queue_id} of topic {topic} went on while it was read: offset {offset} has left the log; ask again")]
    Trimmed { topic: String, queue_id: i32, offset: i64 },
    #[error("a message of topic {topic}, queue {queue_id} is none that can be read: {why}")]
    Record { topic: String, queue_id: i32, why: String },
    #[error("the body at offset {offset} of queue {queue_id} of topic {topic} cannot be unpacked: {why}")]
    Body { topic: String, queue_id: i32, offset: i64, why: String },
    #[error("the cold tier cannot be reached, so nobody knows which messages are in it; see strata tier status")]
    Closed,
    #[error(transparent)]
    Cold(#[from] ColdError),
    #[error("a row of the cold tier does not fit its columns: {0}")]
    Row(#[from] strata_tiering::rows::RowError),
    #[error("a batch of the cold tier has no column {0}")]
    Column(String),
}

impl From<ReadError> for DataFusionError {
    fn from(error: ReadError) -> Self {
        Self::External(Box::new(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_a_fault_is_told_in_characters() {
        let at = |line: usize, column: usize| QueryError::Syntax {
            what: format!("Expected: a statement, found: x at Line: {line}, Column: {column}"),
        };
        assert_eq!(at(1, 8).position("SELECT x"), Some(8));
        assert_eq!(at(2, 3).position("SELECT \u{e9}\n  x"), Some(12));
        assert_eq!(QueryError::Syntax { what: "nowhere".to_owned() }.position("x"), None);
        assert_eq!(QueryError::Broken.position("x"), None);
    }
}
