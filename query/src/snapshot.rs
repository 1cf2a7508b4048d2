//! What one statement sees: a version of the manifest and a part of the log, each message once.
//!
//! The tier has what lies before a watermark, the log what lies behind it. The watermark is where the log begins when a
//! table is planned: what is still on the disk is read there. The log may lose its begin at any moment, to the tier.

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::error::ArrowError;
use strata_store::Store;
use strata_tiering::cold::{Cold, TableAsk};
use strata_tiering::manifest::{Manifest, Roll};
use strata_tiering::tier::Tier;

use crate::error::ReadError;
use crate::figures::Figures;
use crate::hot::{HotQueue, queues};
use crate::state::{State, StateRows};

/// Where messages are.
pub trait Source: Send + Sync {
    /// The log.
    fn store(&self) -> Arc<Store>;

    /// The tier.
    fn tier(&self) -> TierNow;

    /// The broker's state: gives the rows of a table.
    ///
    /// # Errors
    /// A row does not fit the table's columns.
    fn state(&self, table: State, rows: &mut StateRows) -> Result<(), ArrowError>;
}

/// The tier at a moment.
#[derive(Debug, Clone)]
pub enum TierNow {
    /// There is none.
    None,
    /// It cannot be reached, so nobody knows what is in it.
    Closed,
    /// It can be read.
    Open(Arc<Tier>),
}

/// Both tiers at one moment.
pub(crate) struct Snapshot {
    pub(crate) source: Arc<dyn Source>,
    pub(crate) figures: Arc<Figures>,
    pub(crate) store: Arc<Store>,
    tier: TierNow,
    manifest: Option<Arc<Manifest>>,
    /// Log offset behind the last message that is seen.
    end: i64,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot").field("end", &self.end).finish_non_exhaustive()
    }
}

/// What a table is read from.
#[derive(Debug)]
pub(crate) struct Halves {
    pub(crate) queues: Vec<HotQueue>,
    /// Log offsets of what is read in the log.
    pub(crate) hot: Range<i64>,
    pub(crate) cold: Option<(Cold, Arc<Manifest>)>,
}

impl Snapshot {
    pub(crate) fn take(source: Arc<dyn Source>, figures: Arc<Figures>) -> Self {
        let (store, tier) = (source.store(), source.tier());
        let (_, end) = store.log_range();
        let manifest = if let TierNow::Open(tier) = &tier { Some(tier.manifest()) } else { None };
        Self { source, figures, store, tier, manifest, end }
    }

    /// What the tier lists; nothing while it cannot be reached.
    pub(crate) fn rolls(&self) -> &[Arc<Roll>] {
        self.manifest.as_ref().map_or(&[], |manifest| manifest.rolls())
    }

    /// The tier as it is now: it has what has left the log up to now.
    pub(crate) fn cold_now(&self) -> Result<Option<(Cold, Arc<Manifest>)>, ReadError> {
        match &self.tier {
            TierNow::None => Ok(None),
            TierNow::Closed => Err(ReadError::Closed),
            TierNow::Open(tier) => Ok(Some((tier.cold().clone(), tier.manifest()))),
        }
    }

    /// The halves for a question. The order matters: queues, the log's begin, the manifest. What the log loses between
    /// them is asked of the tier, which has it.
    pub(crate) fn halves(&self, ask: &TableAsk) -> Result<Halves, ReadError> {
        let queues = queues(&self.store, ask);
        let (begin, _) = self.store.log_range();
        let hot = begin..self.end.max(begin);
        let cold = match &self.tier {
            TierNow::None => None,
            TierNow::Closed => return Err(ReadError::Closed),
            TierNow::Open(tier) => {
                let has_all = |manifest: &&Arc<Manifest>| {
                    manifest.end().is_some_and(|end| i64::try_from(end).is_ok_and(|end| end >= begin))
                };
                let manifest = self.manifest.as_ref().filter(has_all).cloned();
                Some((tier.cold().clone(), manifest.unwrap_or_else(|| tier.manifest())))
            }
        };
        Ok(Halves { queues, hot, cold })
    }
}
