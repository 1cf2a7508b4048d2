//! Reads for consumers: the one place that will know both tiers. Today there is the local log.

use std::sync::atomic::{AtomicUsize, Ordering};

use strata_filter::Filter;
use strata_store::{Keep, Read, ReadBudget};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::hall::Hall;
use crate::limits::{COLD_PULLS_MAX, COLD_READS_MAX, PULL_SCAN_ENTRIES_MAX};
use crate::waiting::PullPlan;

/// Pulls of what is on disk only.
#[derive(Debug)]
pub struct ColdReads {
    turns: Semaphore,
    waiting: AtomicUsize,
}

impl Default for ColdReads {
    fn default() -> Self {
        Self { turns: Semaphore::new(COLD_READS_MAX), waiting: AtomicUsize::new(0) }
    }
}

impl ColdReads {
    /// Takes another pull in; `false` when too many wait.
    pub(crate) fn enter(&self) -> bool {
        let entered = self.waiting.fetch_add(1, Ordering::Relaxed) < COLD_PULLS_MAX;
        if !entered {
            self.leave();
        }
        entered
    }

    /// Lets a pull go that was taken in.
    pub(crate) fn leave(&self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    /// Waits for a turn at the disk.
    pub(crate) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        // It is never closed.
        self.turns.acquire().await.ok()
    }
}

struct Sieve<'a>(&'a Filter);

impl Keep for Sieve<'_> {
    fn by_tag(&mut self, tags_code: i64) -> bool {
        self.0.matches_code(tags_code)
    }

    fn by_record(&mut self, record: &[u8]) -> bool {
        self.0.matches_record(record)
    }
}

/// Reads what a pull asks for. Without `wait`, a read of what is on disk only ends as cold.
pub(crate) fn read(hall: &Hall, plan: &PullPlan, wait: bool) -> Read {
    let budget = ReadBudget {
        messages_max: plan.messages_max,
        bytes_max: plan.bytes_max,
        scan_entries_max: PULL_SCAN_ENTRIES_MAX,
        wait,
        ..ReadBudget::default()
    };
    hall.store.read(&plan.topic, plan.queue_id, plan.offset, &budget, &mut Sieve(&plan.filter))
}
