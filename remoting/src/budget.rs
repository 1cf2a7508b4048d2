//! Memory that the connections of one server share.
//!
//! Owns the count of bytes of one kind over all connections, and each connection's share of it. What follows
//! when the memory is short is decided where the bytes are.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::limits::SHARE_STEP_BYTES;

/// Bytes of one kind, and how many there should be at most.
#[derive(Debug)]
pub(crate) struct Budget {
    used: AtomicUsize,
    bytes_max: usize,
}

impl Budget {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { used: AtomicUsize::new(0), bytes_max }
    }

    pub(crate) fn used(&self) -> usize {
        self.used.load(Relaxed)
    }

    /// More is used than should be: whoever holds much gets no more.
    pub(crate) fn is_short(&self) -> bool {
        self.used() > self.bytes_max
    }

    /// How much more is used than should be.
    pub(crate) fn excess(&self) -> usize {
        self.used().saturating_sub(self.bytes_max)
    }

    /// Twice as much is used as should be: nobody gets much more.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.used() / 2 > self.bytes_max
    }
}

/// One connection's part of a budget; it goes with the connection.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Share {
    pub(crate) fn of(budget: &Arc<Budget>) -> Self {
        Self { budget: Arc::clone(budget), bytes: 0 }
    }

    pub(crate) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// The connection now has `bytes`. Mostly that is what it had, and nothing shared is touched.
    pub(crate) fn update(&mut self, bytes: usize) {
        if bytes != self.bytes {
            self.budget.used.fetch_add(bytes, Relaxed);
            self.budget.used.fetch_sub(self.bytes, Relaxed);
            self.bytes = bytes;
        }
    }

    /// The same for bytes that come and go with each answer: what is below a step counts as nothing, so that
    /// small answers touch nothing shared.
    pub(crate) fn update_coarsely(&mut self, bytes: usize) {
        self.update(if bytes < SHARE_STEP_BYTES { 0 } else { bytes });
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.update(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_and_go_with_their_owner() {
        let budget = Arc::new(Budget::new(100));
        let (mut first, mut second) = (Share::of(&budget), Share::of(&budget));
        first.update(100);
        assert!(!budget.is_short());
        second.update(50);
        assert!(budget.is_short() && !budget.is_exhausted());
        second.update(102);
        assert!(budget.is_exhausted());
        first.update(10);
        assert_eq!(budget.used(), 112);
        drop(second);
        assert_eq!(budget.used(), 10);
    }

    #[test]
    fn a_coarse_share_leaves_small_bytes_out() {
        let budget = Arc::new(Budget::new(0));
        let mut share = Share::of(&budget);
        share.update_coarsely(SHARE_STEP_BYTES - 1);
        assert_eq!(budget.used(), 0);
        share.update_coarsely(SHARE_STEP_BYTES);
        assert_eq!(budget.used(), SHARE_STEP_BYTES);
        share.update_coarsely(1);
        assert_eq!(budget.used(), 0);
    }
}
