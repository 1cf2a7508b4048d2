//! A server's memory, looked at all the while.
//!
//! Owns the task that looks. What is too much is the caller's decision.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::site::own_memory_kib;

/// How often the memory is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Memory of one process, watched until this is ended or dropped.
#[derive(Debug)]
pub struct MemoryWatch {
    peak_kib: Arc<AtomicU64>,
    ended: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl MemoryWatch {
    /// Watches process `id` from now on.
    #[must_use]
    pub fn begin(id: u32) -> Self {
        let (peak_kib, ended) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (peak, end) = (Arc::clone(&peak_kib), Arc::clone(&ended));
        let task = tokio::spawn(async move {
            while !end.load(Ordering::Relaxed) {
                if let Ok(kib) = own_memory_kib(id) {
                    peak.fetch_max(kib, Ordering::Relaxed);
                }
                tokio::time::sleep(LOOK).await;
            }
        });
        Self { peak_kib, ended, task }
    }

    /// The most memory of its own that was seen, KiB.
    #[must_use]
    pub fn peak_kib(&self) -> u64 {
        self.peak_kib.load(Ordering::Relaxed)
    }

    /// Looks no more.
    pub async fn end(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // A task that panicked looks no more either.
        let _ = (&mut self.task).await;
    }
}

impl Drop for MemoryWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}
