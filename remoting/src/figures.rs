//! What a server counts, for metrics.
//!
//! Owns counters that connections raise once per read or write, and that anybody may read at any time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use crate::closing::CloseReason;

/// Counters of one server since it was bound. All but [`Figures::open`] and
/// [`Figures::read_buffers_bytes`] only rise.
#[derive(Debug, Default)]
pub struct Figures {
    accepted: AtomicU64,
    refused: AtomicU64,
    ended: [AtomicU64; CloseReason::ALL.len()],
    frames_in: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    panics: AtomicU64,
    read_buffers_bytes: AtomicUsize,
}

impl Figures {
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
        self.read_buffers_bytes.load(Relaxed)
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

/// One connection's part of [`Figures::read_buffers_bytes`]; it goes with the connection.
#[derive(Debug)]
pub(crate) struct BufferShare {
    figures: Arc<Figures>,
    bytes: usize,
}

impl BufferShare {
    pub(crate) fn new(figures: Arc<Figures>) -> Self {
        Self { figures, bytes: 0 }
    }

    /// The connection's buffer now has `bytes`. Mostly that is what it had, and nothing shared is touched.
    pub(crate) fn update(&mut self, bytes: usize) {
        if bytes != self.bytes {
            self.figures.read_buffers_bytes.fetch_add(bytes, Relaxed);
            self.figures.read_buffers_bytes.fetch_sub(self.bytes, Relaxed);
            self.bytes = bytes;
        }
    }
}

impl Drop for BufferShare {
    fn drop(&mut self) {
        self.update(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_memory_add_up_and_go_with_their_owner() {
        let figures = Arc::new(Figures::default());
        let mut first = BufferShare::new(Arc::clone(&figures));
        let mut second = BufferShare::new(Arc::clone(&figures));
        first.update(100);
        second.update(50);
        first.update(10);
        assert_eq!(figures.read_buffers_bytes(), 60);
        drop(second);
        assert_eq!(figures.read_buffers_bytes(), 10);
    }

    #[test]
    fn every_reason_has_its_own_place() {
        for (at, reason) in CloseReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, at);
            assert!(CloseReason::ALL[..at].iter().all(|other| other.name() != reason.name()));
        }
    }
}
