//! What the tier is and did, at one moment: for the status that operators ask for and for Prometheus.
//!
//! Owns the gathering, which waits for nobody. Who tells it, and under which names, is others' business.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use strata_tiering::bucket::BucketFigures;
use strata_tiering::manifest::Manifest;

use super::{Backlog, Cold, Progress, UpkeepDone};

/// One moment.
#[derive(Debug, Clone)]
pub(crate) struct Figures {
    /// What is listed; nobody knows while the tier is not open.
    pub manifest: Option<Arc<Manifest>>,
    pub waiting: Backlog,
    /// Whether the last try of opening, of rolling or of upkeep failed.
    pub is_troubled: bool,
    pub done: Done,
    pub upkeep: UpkeepDone,
    /// What cold reads asked the store for.
    pub fetched_bytes: u64,
    pub fetched_requests: u64,
    /// All that was said to the store.
    pub store: BucketFigures,
}

/// What was done since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Done {
    pub rolls: u64,
    pub rolled_messages: u64,
    pub rolled_bytes: u64,
    pub roll_failures: u64,
    pub reads: u64,
    pub read_messages: u64,
    pub read_failures: u64,
}

impl Done {
    fn of(progress: &Progress) -> Self {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Self {
            rolls: load(&progress.rolls),
            rolled_messages: load(&progress.rolled_messages),
            rolled_bytes: load(&progress.rolled_bytes),
            roll_failures: load(&progress.failures),
            reads: load(&progress.reads),
            read_messages: load(&progress.read_messages),
            read_failures: load(&progress.read_failures),
        }
    }
}

impl Cold {
    /// The figures of now.
    pub(crate) fn figures(&self) -> Figures {
        let open = self.opened();
        let (fetched_bytes, fetched_requests) = open.as_ref().map_or((0, 0), |open| open.tier.cold().fetched());
        Figures {
            manifest: open.map(|open| open.tier.manifest()),
            waiting: self.waiting(),
            is_troubled: self.progress.trouble.lock().is_some() || self.progress.upkeep.trouble.lock().is_some(),
            done: Done::of(&self.progress),
            upkeep: *self.progress.upkeep.done.lock(),
            fetched_bytes,
            fetched_requests,
            store: self.bucket.figures(),
        }
    }
}
