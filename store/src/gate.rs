//! Waiting with deletion until the log was copied elsewhere.
//!
//! Owns the rule that no segment goes before its copy is there, whatever else asks for its space: a disk that fills up
//! refuses appends, which their senders can repeat, while what was deleted too early is lost.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::UpkeepError;
use crate::sealed::Sealed;
use crate::store::{Shared, Store};

/// Gives the log offset up to which everything was copied elsewhere. It must be quick, never give less than it gave
/// before, and not call the store: it is asked while segments are deleted.
pub type CopiedTo = Box<dyn Fn() -> i64 + Send + Sync>;

/// What deletion waits for.
#[derive(Default)]
pub(crate) struct Gate {
    ask: OnceLock<CopiedTo>,
    waits: AtomicBool,
}

impl Gate {
    /// Whether something that would be deleted is not copied yet, by the last sweep.
    pub(crate) fn waits(&self) -> bool {
        self.waits.load(Ordering::Relaxed)
    }

    /// Takes in what a sweep found: the segment that waits, and up to where the log was copied. Said when it changes.
    pub(crate) fn note(&self, waiting: Option<(&Sealed, i64)>) {
        if self.waits.swap(waiting.is_some(), Ordering::Relaxed) == waiting.is_some() {
            return;
        }
        match waiting {
            Some((sealed, copied)) => {
                let (first, end) = (sealed.first, sealed.end);
                tracing::warn!(first, end, copied, "deletion waits until the log is copied elsewhere");
            }
            None => tracing::info!("deletion waits no more for the log to be copied elsewhere"),
        }
    }
}

impl Store {
    /// Deletes no sealed segment from now on that ends above what `copied` says, by no rule: not for its age, nor for
    /// the bytes that the log may have, nor for the disk's fill. The disk then fills up until appends are refused. Only
    /// the first call counts. What is deleted before it is prevented by
    /// [`StoreOptions::awaits_copies`](crate::StoreOptions::awaits_copies).
    ///
    /// A segment that cannot be opened waits like any other: whoever copies decides what a copy of it is.
    pub fn keep_until_copied(&self, copied: CopiedTo) {
        // A second one is a mistake of the owner; the first stays.
        let _ = self.shared.keeping.gate.ask.set(copied);
    }
}

impl Shared {
    /// Log offset up to which segments may be deleted.
    fn copied_to(&self) -> i64 {
        match self.keeping.gate.ask.get() {
            Some(ask) => ask(),
            None if self.options.awaits_copies => i64::MIN,
            None => i64::MAX,
        }
    }

    /// Whether a segment that would be deleted was copied, so that it may be.
    pub(crate) fn is_copied(&self, sealed: &Sealed) -> bool {
        let copied = self.copied_to();
        let waits = copied < sealed.end;
        self.keeping.gate.note(waits.then_some((sealed, copied)));
        !waits
    }

    /// Asks once more, at the moment of deletion: no offset is ever neither here nor elsewhere.
    pub(crate) fn refuse_uncopied(&self, sealed: &Sealed) -> Result<(), UpkeepError> {
        let copied = self.copied_to();
        if copied >= sealed.end {
            return Ok(());
        }
        Err(UpkeepError::NotCopied { from: sealed.first, to: sealed.end, copied })
    }
}
