//! Cold reads: messages of a queue out of objects, as a pull gives them.
//!
//! Owns the way from an offset to a row, which bytes are fetched, and what is kept in memory and on the local disk of
//! them. A reader cannot tell its answers from those of the log: they are the same records.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use thiserror::Error;

use crate::bucket::{Bucket, BucketError};
use crate::index::{Index, IndexError};
use crate::limits::{ANSWER_MAX, DAMAGE_READS_MAX};
use crate::manifest::{Manifest, Roll};
use crate::object::ObjectError;

mod blocks;
mod chunks;
mod columns;
mod find;
mod flights;
mod locate;
mod read;
mod select;
mod sift;
mod table;
mod times;

pub use chunks::{CacheError, CacheOptions};
pub use find::{KeyAsk, KeyKind};
pub use read::{Ask, ColdRead, ColdStatus};
pub use sift::{Bounds, ColumnSift, KeepAll, PropertyBatch, Sift};
pub use table::{TableAsk, TablePart, TableParts, TableRows};
pub use times::Boundary;

use blocks::Blocks;
use chunks::Chunks;
use locate::Places;
use read::Readers;
use select::Selections;

/// Why a cold read gives nothing. It says which object, so that an operator knows where to look.
#[derive(Debug, Clone, Error)]
pub enum ColdError {
    /// The store refused or is down; asking later may help.
    #[error(transparent)]
    Bucket(Arc<BucketError>),
    /// An object is not what the manifest lists.
    #[error("object {name}: {source}; `strata tier verify` tells what else is damaged")]
    Object {
        /// The object.
        name: Arc<str>,
        /// What is wrong.
        source: Arc<ObjectError>,
    },
    /// An index is not what the manifest lists.
    #[error("index {name}: {source}; `strata tier verify` tells what else is damaged")]
    Index {
        /// The index.
        name: Arc<str>,
        /// What is wrong.
        source: IndexError,
    },
    /// The store takes longer than who asked can wait. It is still asked, and what comes is kept for the next question.
    #[error("the store has not answered within {} s; asking again may find the answer there", waited.as_secs())]
    Late {
        /// For how long it was waited.
        waited: Duration,
    },
    /// A part of the reading ended in a panic or with the runtime.
    #[error("reading {name} was broken off: {reason}")]
    Broken {
        /// What was read.
        name: Arc<str>,
        /// Why.
        reason: String,
    },
}

impl From<BucketError> for ColdError {
    fn from(error: BucketError) -> Self {
        Self::Bucket(Arc::new(error))
    }
}

impl ColdError {
    fn object(name: &str, source: impl Into<ObjectError>) -> Self {
        Self::Object { name: name.into(), source: Arc::new(source.into()) }
    }

    fn index(name: &str, source: IndexError) -> Self {
        Self::Index { name: name.into(), source }
    }
}

/// The listed part of the log, for readers.
#[derive(Clone)]
pub struct Cold {
    shared: Arc<Shared>,
}

struct Shared {
    manifest: Arc<ArcSwap<Manifest>>,
    chunks: Arc<Chunks>,
    blocks: Blocks,
    places: Places,
    readers: Readers,
    selections: Selections,
}

impl std::fmt::Debug for Cold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cold").finish_non_exhaustive()
    }
}

impl Cold {
    /// Reads what a manifest lists, whose owner replaces it as it changes. `home` is the broker's folder in the bucket.
    ///
    /// # Errors
    /// The folder of the cache cannot be used.
    pub async fn open(
        bucket: Bucket,
        home: &str,
        manifest: Arc<ArcSwap<Manifest>>,
        cache: &CacheOptions,
    ) -> Result<Self, CacheError> {
        let chunks = Arc::new(Chunks::open(bucket, home, cache).await?);
        let (blocks, places, readers) = (Blocks::new(cache), Places::new(cache), Readers::new());
        let selections = Selections::new(cache);
        Ok(Self { shared: Arc::new(Shared { manifest, chunks, blocks, places, readers, selections }) })
    }

    /// The front of a roll's index.
    ///
    /// # Errors
    /// The store refused, or the index is damaged.
    pub async fn index(&self, roll: &Roll) -> Result<Arc<Index>, ColdError> {
        self.soundly(|| self.shared.index(roll)).await
    }

    /// Answers within [`ANSWER_MAX`], soundly.
    async fn answered<T, F>(&self, ask: impl Fn() -> F) -> Result<T, ColdError>
    where
        F: Future<Output = Result<T, ColdError>>,
    {
        let answer = tokio::time::timeout(ANSWER_MAX, self.soundly(ask)).await;
        answer.unwrap_or(Err(ColdError::Late { waited: ANSWER_MAX }))
    }

    /// Asks again for what came damaged, past what is kept of it, before the damage is believed.
    async fn soundly<T, F>(&self, ask: impl Fn() -> F) -> Result<T, ColdError>
    where
        F: Future<Output = Result<T, ColdError>>,
    {
        let mut reads = 1;
        loop {
            let answer = ask().await;
            let Err(ColdError::Object { name, .. } | ColdError::Index { name, .. } | ColdError::Broken { name, .. }) =
                &answer
            else {
                return answer;
            };
            self.shared.chunks.distrust(name);
            if reads == DAMAGE_READS_MAX {
                return answer;
            }
            tracing::warn!(%name, "it came damaged and is read again");
            reads += 1;
        }
    }

    /// Bytes and requests that the store was asked for.
    #[must_use]
    pub fn fetched(&self) -> (u64, u64) {
        self.shared.chunks.fetched()
    }

    /// Stores what is cached in memory only, so that it is there after the next start.
    pub async fn close(&self) {
        self.shared.chunks.close().await;
    }
}

/// A piece of one object's rows as records.
#[derive(Debug, Clone)]
struct Records {
    /// The records, one after another.
    bytes: Bytes,
    /// Where each ends.
    ends: Arc<[u32]>,
}

impl Records {
    fn len(&self) -> usize {
        self.ends.len()
    }

    fn range(&self, row: usize) -> std::ops::Range<usize> {
        let start = if row == 0 { 0 } else { self.ends.get(row - 1).map_or(0, |end| *end as usize) };
        start..self.ends.get(row).map_or(start, |end| *end as usize)
    }
}

/// How long a read looks for a message before it tells how far it came.
const SCAN_TIME_MAX: Duration = Duration::from_millis(200);
