//! Attempts at rolls: their numbers, and which of them are under way.

use std::collections::BTreeSet;

use parking_lot::Mutex;

/// The attempts of one writer.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    shared: Mutex<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    next: u32,
    under_way: BTreeSet<u32>,
}

impl Attempts {
    /// Begins one, whose names nobody else uses.
    pub(super) fn begin(&self) -> Attempt<'_> {
        let mut shared = self.shared.lock();
        let number = shared.next;
        shared.next = number.saturating_add(1);
        shared.under_way.insert(number);
        Attempt { of: self, number }
    }

    /// Those whose objects may be listed yet.
    pub(super) fn under_way(&self) -> BTreeSet<u32> {
        self.shared.lock().under_way.clone()
    }
}

/// An attempt, which ends when it is dropped.
#[derive(Debug)]
pub(super) struct Attempt<'a> {
    of: &'a Attempts,
    pub(super) number: u32,
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        self.of.shared.lock().under_way.remove(&self.number);
    }
}
