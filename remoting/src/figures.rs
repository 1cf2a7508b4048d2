//! What a server counts, for metrics.
//!
//! Owns counters that connections raise once per read or write, and that anybody may read at any time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::budget::Budget;
use crate::closing::CloseReason;

/// Counters of one server since it was bound. All but [`Figures::open`], [`Figures::read_buffers_bytes`] and
/// [`Figures::unsent_bytes`] only rise.
#[derive(Debug)]
pub struct Figures {
    accepted: AtomicU64,
    refused: AtomicU64,
    ended: [AtomicU64; CloseReason::ALL.len()],
    frames_in: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    panics: AtomicU64,
    pub(crate) read_buffers: Arc<Budget>,
    pub(crate) unsent: Arc<Budget>,
}

impl Figures {
    /// Nothing counted yet; the read buffers and the unsent answers of all connections have these bounds.
    pub(crate) fn new(read_buffers_bytes_max: usize, unsent_bytes_max: usize) -> Self {
        Self {
            accepted: AtomicU64::default(),
            refused: AtomicU64::default(),
            ended: Default::default(),
            frames_in: AtomicU64::default(),
            bytes_in: AtomicU64::default(),
            bytes_out: AtomicU64::default(),
            panics: AtomicU64::default(),
            read_buffers: Arc::new(Budget::new(read_buffers_bytes_max)),
            unsent: Arc::new(Budget::new(unsent_bytes_max)),
        }
    }

    /// Connections that are open now.
    #[must_use]
    pub fn open(&self) -> u64 {
        let ended: u64 = self.ended.iter().map(|count| count.load(Relaxed)).sum();
        self.accepted.load(Relaxed).saturating_sub(ended)
    }

    /// Connections that were accepted and not refused.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Relaxed)
    }

    /// Connections that were refused because there were too many, in all or of one address.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// Connections that ended for `reason`.
    #[must_use]
    pub fn ended(&self, reason: CloseReason) -> u64 {
        self.ended[reason as usize].load(Relaxed)
    }

    /// Whole frames that arrived.
    #[must_use]
    pub fn frames_in(&self) -> u64 {
        self.frames_in.load(Relaxed)
    }

    /// Bytes that arrived.
    #[must_use]
    pub fn bytes_in(&self) -> u64 {
        self.bytes_in.load(Relaxed)
    }

    /// Bytes that the kernel took for sending.
    #[must_use]
    pub fn bytes_out(&self) -> u64 {
        self.bytes_out.load(Relaxed)
    }

    /// Requests whose handler panicked.
    #[must_use]
    pub fn panics(&self) -> u64 {
        self.panics.load(Relaxed)
    }

    /// Bytes of memory that read buffers hold; idle connections hold none.
    #[must_use]
    pub fn read_buffers_bytes(&self) -> usize {
        self.read_buffers.used()
    }

    /// Bytes of answers that peers have not read yet. Connections with little of it are left out.
    #[must_use]
    pub fn unsent_bytes(&self) -> usize {
        self.unsent.used()
    }

    pub(crate) fn count_accepted(&self) {
        self.accepted.fetch_add(1, Relaxed);
    }

    pub(crate) fn count_refused(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    pub(crate) fn count_ended(&self, reason: CloseReason) {
        self.ended[reason as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn count_frames_in(&self, frames: u64) {
        self.frames_in.fetch_add(frames, Relaxed);
    }

    pub(crate) fn count_bytes_in(&self, bytes: u64) {
        self.bytes_in.fetch_add(bytes, Relaxed);
    }

    pub(crate) fn count_out(&self, bytes: u64) {
        self.bytes_out.fetch_add(bytes, Relaxed);
    }

    pub(crate) fn count_panic(&self) {
        self.panics.fetch_add(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_place() {
        for (at, reason) in CloseReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, at);
            assert!(CloseReason::ALL[..at].iter().all(|other| other.name() != reason.name()));
        }
    }
}
