//! Rolling: a contiguous part of the log becomes objects, and the manifest lists them.
//!
//! Owns the order of steps: objects are put, read back and decoded, then the index, then one edit. A crash in between
//! leaves objects that nobody lists. What is rolled comes from a [`Source`], record by record in the order of the rows.

use std::ops::ControlFlow;

use thiserror::Error;

use crate::index::IndexError;
use crate::manifest::CommitError;
use crate::object::ObjectError;

mod cut;
mod verify;
mod write;

pub(crate) use verify::Records;

pub use write::{RollOptions, Rolled, Roller, often_used};

/// A part of the log that is rolled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Log offset of its first byte.
    pub from: u64,
    /// Log offset behind it.
    pub to: u64,
    /// Store time of its first record, ms since 1970.
    pub first_time: i64,
    /// Store time of its last record, ms since 1970.
    pub last_time: i64,
    /// Bytes of its records, about.
    pub bytes: u64,
}

/// Where records come from.
pub trait Source {
    /// What it covers.
    fn part(&self) -> Part;

    /// Shows some records from all over the part, so that often-used properties are found.
    fn sample(&self, each: &mut dyn FnMut(&[u8]));

    /// Walks over all queues, those without messages included, sorted by topic (bytes) and id, and over each queue's
    /// messages by offset. Ends early when the walker says so.
    ///
    /// # Errors
    /// Why the records cannot be read.
    fn walk(&self, walker: &mut dyn Walker) -> Result<(), SourceError>;
}

/// The records cannot be read.
#[derive(Debug, Error)]
#[error("the log between {from} and {to} cannot be read: {reason}")]
pub struct SourceError {
    /// Log offset at which it begins.
    pub from: u64,
    /// Log offset behind it.
    pub to: u64,
    /// What the log says.
    pub reason: String,
}

/// Who is shown the records.
pub trait Walker {
    /// A queue begins, whose first offset in the part is `base`.
    fn queue(&mut self, topic: &str, queue_id: i32, base: i64) -> ControlFlow<()>;

    /// The next offset's record.
    fn record(&mut self, record: &[u8]) -> ControlFlow<()>;

    /// The next `count` offsets' bytes are damaged.
    fn lost(&mut self, count: u32) -> ControlFlow<()>;
}

/// Why a part was not rolled. Nothing is listed then.
#[derive(Debug, Error)]
pub enum RollError {
    /// The records cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// An object could not be made.
    #[error("rolling {from}..{to}: {source}")]
    Object {
        /// Log offset at which the part begins.
        from: u64,
        /// Log offset behind it.
        to: u64,
        /// Why.
        source: ObjectError,
    },
    /// The queues did not come in their order.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The store refused.
    #[error(transparent)]
    Bucket(#[from] crate::bucket::BucketError),
    /// What was read back is not what was written.
    #[error(
        "object {name} was put and reads back differently ({what}); it is not listed, and the part is rolled again"
    )]
    Differs {
        /// The object.
        name: String,
        /// What differs.
        what: String,
    },
    /// The edit was not made.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// What is gone changed while rolls were merged.
    #[error("topics of {from}..{to} were dropped or expired while it was merged; it is merged again")]
    Overtaken {
        /// Log offset at which the part begins.
        from: u64,
        /// Log offset behind it.
        to: u64,
    },
    /// The broker stops, or others have the core for too long.
    #[error("rolling {from}..{to} was broken off; it begins anew")]
    Stopped {
        /// Log offset at which the part begins.
        from: u64,
        /// Log offset behind it.
        to: u64,
    },
}
