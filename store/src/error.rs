//! The conditions under which the store refuses, each with its nouns.
//!
//! Owns the texts that an operator reads. Mapping to response codes is the broker's.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why a store does not open.
#[derive(Debug, Error)]
pub enum OpenError {
    /// An option is out of its bounds.
    #[error("{what}")]
    Option {
        /// Which and how.
        what: String,
    },
    /// Another process holds the folder.
    #[error(
        "the store folder {} is in use by another process{}; stop that process or choose another folder",
        folder.display(), holder.map(|id| format!(" (id {id})")).unwrap_or_default()
    )]
    InUse {
        /// The folder.
        folder: PathBuf,
        /// The process id that the lock file names.
        holder: Option<u32>,
    },
    /// The lock file cannot be a lock file.
    #[error("the lock {} cannot be taken ({source}); it must be a plain file that this user may write: remove it if no broker runs", path.display())]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The folder was written by another version.
    #[error("{} says {found:?}, this program reads \"strata-store 1\"; use the version that wrote the folder, or another folder", path.display())]
    Version {
        /// The format file.
        path: PathBuf,
        /// Its first line.
        found: String,
    },
    /// A file that holds facts of its own is damaged.
    #[error("{} is damaged ({what}); restore it from a backup, or remove it to give up what it says: {cost}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How.
        what: String,
        /// What removing it loses.
        cost: &'static str,
    },
    /// A log is to begin in a folder that has one.
    #[error("{} belongs to a log that is here already; choose an empty folder, or move this one's files away", path.display())]
    Begun {
        /// A file of that log.
        path: PathBuf,
    },
    /// A repair cannot do what only the owner may decide.
    #[error("{} {what}", path.display())]
    ByHand {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        what: String,
    },
    /// Segment files overlap or are not named as segments are.
    #[error("the segment {} does not fit its neighbours: {what}; move the file that does not belong out of the folder, and keep it", path.display())]
    Layout {
        /// The file.
        path: PathBuf,
        /// How.
        what: String,
    },
    /// The system refused.
    #[error("cannot {action} {} ({source}); check that the folder exists, is writable and has space", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl OpenError {
    /// Wraps what the system said about `path`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

/// Why a message was not appended. Nothing of it is in the log.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AppendError {
    /// The record would be larger than the store takes.
    #[error("the record would take {bytes} bytes, at most {max} are stored")]
    RecordTooLarge {
        /// Bytes of the record, or of a batch's records together.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// A part of the message cannot be written.
    #[error("the message cannot be stored: {reason}")]
    Malformed {
        /// Which part and why.
        reason: String,
    },
    /// The queue id is negative or too high.
    #[error("queue id {queue_id} is not between 0 and {max}")]
    QueueId {
        /// The id.
        queue_id: i32,
        /// The highest.
        max: i32,
    },
    /// The store knows as many queues or topics as it can.
    #[error("the store holds {max} {what} and takes no more")]
    TooMany {
        /// Queues or topics.
        what: &'static str,
        /// The bound.
        max: usize,
    },
    /// A batch without messages or with too many.
    #[error("a batch of {messages} messages is not between 1 and {max}")]
    BatchSize {
        /// Messages given.
        messages: usize,
        /// The bound.
        max: usize,
    },
    /// The disk's fill is above its mark, or no new segment could be made.
    #[error("the disk is full: {detail}")]
    DiskFull {
        /// The ratio, or what the system said.
        detail: String,
    },
    /// More waits for the disk than may wait; try again soon.
    #[error("{waiting} {what} wait for the disk")]
    Busy {
        /// Bytes or segments.
        what: &'static str,
        /// How many.
        waiting: usize,
    },
    /// A write or flush failed earlier; the store takes nothing until it is opened again.
    #[error("the store takes no writes since an earlier failure: {reason}")]
    Latched {
        /// What failed.
        reason: String,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

/// A flush failed; what waited for it may or may not be on disk.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the flush failed: {reason}")]
pub struct FlushFailed {
    /// What failed.
    pub reason: String,
}

/// An operation on the store's own files failed.
#[derive(Debug, Error)]
pub enum UpkeepError {
    /// The system refused.
    #[error("cannot {action} {} ({source})", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No sealed segment begins there.
    #[error("no sealed segment begins at log offset {from}")]
    NotSealed {
        /// The log offset.
        from: i64,
    },
    /// A segment was to be deleted that is not copied elsewhere any more.
    #[error("the log from {from} to {to} is not deleted: only what lies below {copied} was copied")]
    NotCopied {
        /// Log offset of the segment's first byte.
        from: i64,
        /// Log offset behind its last byte.
        to: i64,
        /// Log offset up to which everything was copied.
        copied: i64,
    },
    /// The flush before it failed.
    #[error(transparent)]
    Flush(#[from] FlushFailed),
    /// The append side refused.
    #[error(transparent)]
    Append(#[from] AppendError),
}

impl UpkeepError {
    /// Wraps what the system said about `path`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}
