//! The tier of one broker: its manifest, what rolls into it, and what reads from it.
//!
//! Owns the ledger, and the newest manifest that readers see. Everything that changes the manifest goes through
//! [`Tier::commit`].

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arc_swap::ArcSwap;
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::Mutex;

use crate::bucket::{Bucket, BucketError, Puts, probe};
use crate::cold::{CacheError, CacheOptions, Cold};
use crate::expire::Contents;
use crate::manifest::{CommitError, Edit, Ledger, Manifest, ManifestError, Writer, broker_folder};
use crate::pace::Pace;
use crate::roll::{RollError, RollOptions, Rolled, Roller, Source, often_used};
use crate::rows::PropertyColumn;

mod attempts;
mod upkeep;

use attempts::Attempts;
pub use upkeep::{ExpireError, Expired};

/// What a tier is opened with.
#[derive(Debug, Clone)]
pub struct TierOptions {
    /// The broker's name; its objects lie in a folder of that name.
    pub broker: String,
    /// How the manifest is kept from two writers.
    pub writer: Writer,
    /// What is kept of objects that were read.
    pub cache: CacheOptions,
}

/// Why a tier cannot be opened.
#[derive(Debug, Error)]
pub enum TierError {
    /// The store cannot be asked.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// The manifest cannot be read.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The manifest cannot be claimed.
    #[error(transparent)]
    Claim(#[from] CommitError),
    /// The cache cannot be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// Who opens it does not take what is listed; nothing was claimed.
    #[error("what the tier lists is not what was expected; nothing was claimed")]
    NotTaken,
}

impl TierError {
    /// Whether the store is the reason, so that another try may go well.
    #[must_use]
    pub const fn is_of_store(&self) -> bool {
        match self {
            Self::Bucket(_) => true,
            Self::Manifest(error) | Self::Claim(CommitError::Manifest(error)) => {
                matches!(error, ManifestError::Bucket(_) | ManifestError::Restless { .. })
            }
            Self::Claim(error) => matches!(error, CommitError::Unsettled { .. } | CommitError::Contended { .. }),
            Self::Cache(_) | Self::NotTaken => false,
        }
    }
}

/// The cold tier of one broker, with the right to change it.
pub struct Tier {
    bucket: Bucket,
    home: String,
    broker: String,
    epoch: u64,
    puts: Puts,
    ledger: Mutex<Ledger>,
    manifest: Arc<ArcSwap<Manifest>>,
    cold: Cold,
    /// Rolls that were begun, so that no two of them use the same names.
    attempts: Attempts,
    /// What rolls hold, by the names of their indexes.
    contents: parking_lot::Mutex<HashMap<Box<str>, Arc<Contents>>>,
}

impl std::fmt::Debug for Tier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tier").field("bucket", &self.bucket).field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

impl Tier {
    /// Probes the store, reads the manifest, and claims it.
    ///
    /// # Errors
    /// See [`TierError`].
    pub async fn open(bucket: Bucket, options: TierOptions) -> Result<Self, TierError> {
        Self::open_if(bucket, options, |_| true).await
    }

    /// The same if what is listed is what the caller takes: nothing is claimed else, so that whoever writes there is not
    /// fenced by a mistake.
    ///
    /// # Errors
    /// See [`TierError`].
    pub async fn open_if(
        bucket: Bucket,
        options: TierOptions,
        is_taken: impl FnOnce(&Manifest) -> bool,
    ) -> Result<Self, TierError> {
        let home = broker_folder(&options.broker);
        let puts = probe(&bucket).await?;
        let mut ledger = Ledger::open(bucket.clone(), &home).await?;
        if !is_taken(&ledger.manifest()) {
            return Err(TierError::NotTaken);
        }
        let manifest = Arc::new(ArcSwap::new(ledger.manifest()));
        let cold = Cold::open(bucket.clone(), &home, Arc::clone(&manifest), &options.cache).await?;
        let epoch = ledger.claim(puts, options.writer).await?;
        manifest.store(ledger.manifest());
        let (attempts, contents) = (Attempts::default(), parking_lot::Mutex::default());
        let (broker, ledger) = (options.broker, Mutex::new(ledger));
        Ok(Self { bucket, home, broker, epoch, puts, ledger, manifest, cold, attempts, contents })
    }

    /// Everything that is listed now.
    #[must_use]
    pub fn manifest(&self) -> Arc<Manifest> {
        self.manifest.load_full()
    }

    /// What reads from it.
    #[must_use]
    pub const fn cold(&self) -> &Cold {
        &self.cold
    }

    /// The store.
    #[must_use]
    pub const fn bucket(&self) -> &Bucket {
        &self.bucket
    }

    /// The broker's folder in the store.
    #[must_use]
    pub fn home(&self) -> &str {
        &self.home
    }

    /// What the store makes of conditional puts.
    #[must_use]
    pub const fn puts(&self) -> Puts {
        self.puts
    }

    /// The epoch that was claimed.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Makes an edit, and shows it to readers.
    ///
    /// # Errors
    /// See [`CommitError`]; committing the same edit again settles what is unsettled.
    pub async fn commit(&self, edit: Edit) -> Result<Arc<Manifest>, CommitError> {
        let mut ledger = self.ledger.lock().await;
        let made = ledger.commit(edit).await;
        // Also when this one failed: an earlier one may have been found to be made.
        self.manifest.store(ledger.manifest());
        made
    }

    /// Rolls a part of the log in the calling thread, which must not be one of the runtime's, and lists it.
    ///
    /// # Errors
    /// Nothing is listed, or it is not known whether it is ([`CommitError::Unsettled`]): rolling the part again settles
    /// it.
    pub fn roll(
        &self,
        source: &dyn Source,
        runtime: &Handle,
        (pace, stop): (&mut Pace, &AtomicBool),
    ) -> Result<Rolled, RollError> {
        let properties = runtime.block_on(self.columns(source))?;
        let attempt = self.attempts.begin();
        let options =
            RollOptions { broker: self.broker.clone(), epoch: self.epoch, attempt: attempt.number, properties };
        let mut roller = Roller { bucket: &self.bucket, home: &self.home, runtime, pace, stop };
        let rolled = roller.roll(source, &options)?;
        runtime.block_on(self.commit(Edit::Add { rolls: vec![rolled.roll.clone()] }))?;
        Ok(rolled)
    }

    /// The properties that get columns; new ones are listed first, since an id is for good.
    async fn columns(&self, source: &dyn Source) -> Result<Vec<PropertyColumn>, CommitError> {
        let manifest = self.manifest();
        let names = often_used(source, manifest.properties());
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let ids = manifest.property_ids(&names);
        if ids.keys().any(|name| !manifest.properties().contains_key(name)) {
            self.commit(Edit::Properties { ids: ids.clone() }).await?;
        }
        let column = |name: &&str| Some(PropertyColumn { name: (*name).to_owned(), id: *ids.get(*name)? });
        Ok(names.iter().filter_map(column).collect())
    }
}
