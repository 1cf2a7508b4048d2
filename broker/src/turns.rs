//! Turns of what waits for the disk or takes a core for long, so that it takes a bounded share of the disk, the cores
//! and the system's threads.
//!
//! Owns the counts. What is done in a turn is the handlers'.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::limits::{BLOCKING_REQUESTS_MAX, COLD_PULLS_MAX, COLD_READS_MAX, REPLAYS_MAX};

/// The turns of one broker.
#[derive(Debug)]
pub(crate) struct Turns {
    requests: Semaphore,
    pulls: Semaphore,
    /// For reads that look at many messages: as many as there are cores, so that the system shares them out between
    /// these and the connections.
    scans: Semaphore,
    /// For reads out of the cold tier.
    replays: Semaphore,
    /// Pulls that have or want a turn.
    pulls_entered: AtomicUsize,
}

impl Default for Turns {
    fn default() -> Self {
        let (requests, pulls) = (Semaphore::new(BLOCKING_REQUESTS_MAX), Semaphore::new(COLD_READS_MAX));
        let scans = Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from));
        let replays = Semaphore::new(REPLAYS_MAX);
        Self { requests, pulls, scans, replays, pulls_entered: AtomicUsize::new(0) }
    }
}

impl Turns {
    /// A turn for a request other than a pull; `None` when all are taken.
    pub(crate) fn request(&self) -> Option<SemaphorePermit<'_>> {
        self.requests.try_acquire().ok()
    }

    /// Takes another pull in; `false` when too many wait.
    pub(crate) fn enter(&self) -> bool {
        let entered = self.pulls_entered.fetch_add(1, Ordering::Relaxed) < COLD_PULLS_MAX;
        if !entered {
            self.leave();
        }
        entered
    }

    /// Lets a pull go that was taken in.
    pub(crate) fn leave(&self) {
        self.pulls_entered.fetch_sub(1, Ordering::Relaxed);
    }

    /// Pulls that wait for the disk or a core, or have a turn.
    pub(crate) fn pulls(&self) -> usize {
        self.pulls_entered.load(Ordering::Relaxed)
    }

    /// Requests other than pulls that have a turn.
    pub(crate) fn requests(&self) -> usize {
        BLOCKING_REQUESTS_MAX.saturating_sub(self.requests.available_permits())
    }

    /// Waits for a pull's turn; with `scan` for one that may take a core for long.
    pub(crate) async fn pull(&self, scan: bool) -> Option<SemaphorePermit<'_>> {
        // The semaphores are never closed.
        if scan { self.scans.acquire().await.ok() } else { self.pulls.acquire().await.ok() }
    }

    /// Waits for the turn of a read out of the cold tier.
    pub(crate) async fn replay(&self) -> Option<SemaphorePermit<'_>> {
        self.replays.acquire().await.ok()
    }
}
