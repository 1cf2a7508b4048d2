//! Sealing a segment before it is full: because somebody asks, or because its first record has waited long enough.
//!
//! Owns when the log goes on in a new segment early. How a segment is sealed, and how the space behind its records is
//! given back, is `seal`'s.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;

use crate::error::{AppendError, UpkeepError};
use crate::segment::Segment;
use crate::store::{Shared, Store};

/// When a segment was first seen to hold a record: its log offset, and the monotonic time.
#[derive(Debug, Default)]
pub(crate) struct Sighting(Mutex<Option<(i64, Duration)>>);

impl Sighting {
    /// How long ago the segment at `first` was seen with a record for the first time; now, if it was not.
    fn since(&self, first: i64, now: Duration) -> Duration {
        let mut seen = self.0.lock();
        let (_, then) = seen.filter(|(of, _)| *of == first).unwrap_or((first, now));
        *seen = Some((first, then));
        now.saturating_sub(then)
    }
}

impl Store {
    /// Seals the active segment, if it holds anything, although it is not full: a blank fills its rest and the log goes
    /// on in a new segment. Full segments that wait are sealed as well. What was appended before is flushed first, and
    /// the space that no record took is given back where the file system can; the file keeps its length.
    ///
    /// Appends go on meanwhile, and may go to either segment. Gives the log offset at which the segment begins that is
    /// appended to now: everything below is sealed.
    ///
    /// # Errors
    /// The store takes no writes or is closed, or the disk failed. What was left unfinished is finished by the next
    /// call, by [`Store::seal_pending`], or when the store is opened again.
    pub fn seal_active(&self) -> Result<i64, UpkeepError> {
        self.shared.seal_early()
    }

    /// The same if [`StoreOptions::seal_after_ms`](crate::StoreOptions::seal_after_ms) is set and the active segment's
    /// first record is older; gives `None` when there was nothing to do, also while the store takes no writes. The
    /// store's own thread does this too, unless upkeep is off.
    ///
    /// A record is as old as the monotonic clock says since a call saw it first, or as the trusted clock says since it
    /// was stored, whichever is more: the one counts when the wall clock was set back, the other across restarts.
    ///
    /// # Errors
    /// As [`Store::seal_active`].
    pub fn seal_aged(&self) -> Result<Option<i64>, UpkeepError> {
        self.shared.seal_aged()
    }
}

impl Shared {
    fn seal_early(&self) -> Result<i64, UpkeepError> {
        // Whoever closes the store waits for this before it gives the folder up.
        let _turn = self.keeping.sealing.lock();
        self.refuse_closed()?;
        let active = {
            let head = self.head.lock();
            (head.tail > 0).then(|| Arc::clone(&head.active))
        };
        if let Some(active) = active {
            self.leave(&active)?;
        }
        let first = self.head.lock().active.first;
        self.seal_all()?;
        Ok(first)
    }

    /// Goes on in a new segment, unless an append did so meanwhile.
    fn leave(&self, active: &Arc<Segment>) -> Result<(), UpkeepError> {
        let refuse_latched = || match self.flush.latched() {
            Some(reason) => Err(AppendError::Latched { reason }),
            None => Ok(()),
        };
        refuse_latched()?;
        // Made before the append lock is taken, so that no append waits for a file of a whole segment.
        self.prepare_spare(active.end());
        let mut head = self.head.lock();
        if Arc::ptr_eq(&head.active, active) {
            refuse_latched()?;
            self.next_segment(&mut head)?;
        }
        Ok(())
    }

    pub(crate) fn seal_aged(&self) -> Result<Option<i64>, UpkeepError> {
        let Some(after_ms) = self.options.seal_after_ms else { return Ok(None) };
        // A new segment would take what little space is left; that nothing is written any more was said.
        let refuses = self.counters.disk_full.load(Ordering::Relaxed) || self.flush.latched().is_some();
        if refuses || !self.is_aged(after_ms) {
            return Ok(None);
        }
        self.seal_early().map(Some)
    }

    fn is_aged(&self, after_ms: u64) -> bool {
        let (first, stored) = {
            let head = self.head.lock();
            (head.active.first, head.index.first_time)
        };
        let Some(stored) = stored else { return false };
        let now = self.clock.monotonic();
        if self.keeping.sighting.since(first, now) >= Duration::from_millis(after_ms) {
            return true;
        }
        let age_ms = self.keeping.age_ms(stored, now, self.clock.now_ms());
        u64::try_from(age_ms).is_ok_and(|age_ms| age_ms >= after_ms)
    }
}
