//! Why the manifest cannot be read, or an edit not be made.

use thiserror::Error;

use crate::bucket::{BucketError, Puts};

/// Why the manifest cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ManifestError {
    /// An object of the manifest is not what was put, also after it was read again, or misses.
    #[error(
        "the tier's manifest is damaged: {name}: {what}; put that object back from a copy or a version of the bucket"
    )]
    Damaged {
        /// The object.
        name: String,
        /// What is wrong with it.
        what: String,
    },
    /// It was written by a newer release.
    #[error("{name} has version {version} of the tier's format, this release reads version 1; use the newer release")]
    Version {
        /// The object.
        name: String,
        /// Its version.
        version: u64,
    },
    /// The store.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// Others write faster than this process reads.
    #[error("the manifest in {folder} grew faster than it could be read; try again when fewer writers are busy")]
    Restless {
        /// The broker's folder.
        folder: String,
    },
}

/// Why an edit was not made.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CommitError {
    /// Another writer has taken over. Nothing that this one does will count again; it must not delete anything.
    #[error("the tier has another writer, of epoch {by}: this one is over; see that only one broker of this name runs")]
    Fenced {
        /// The other writer's epoch.
        by: u64,
    },
    /// Nothing was claimed yet.
    #[error("this ledger only reads; claim it before committing edits")]
    Unclaimed,
    /// The store does not keep two writers apart.
    #[error(
        "the store's conditional puts are {puts}, so that two writers could both believe that they wrote; use a store \
        with atomic ones, or say that this broker is the only writer"
    )]
    NotAtomic {
        /// What the probe found.
        puts: Puts,
    },
    /// The edit breaks a rule. Nothing was written.
    #[error("the edit was not written: {what}")]
    Refused {
        /// Which rule.
        what: String,
    },
    /// Whether the edit was made is not known: commit the same one again to find out. Any other edit waits for it too.
    #[error("it is unknown whether {name} was written ({source}); committing it again finds out")]
    Unsettled {
        /// The edit's object.
        name: String,
        /// What the store said.
        source: BucketError,
    },
    /// Too many others claim at the same time.
    #[error("other writers won {tries} races for the claim; see that only one broker of this name runs")]
    Contended {
        /// The races.
        tries: u32,
    },
    /// What is there already cannot be read.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}
