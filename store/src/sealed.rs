//! A sealed segment: its file, its sidecar, and which of its blocks were checked.
//!
//! Owns opening both on first use. Building a sidecar that is missing or damaged is `recover`'s.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::index::Entry;
use crate::limits::BLOCK_BYTES;
use crate::mapping::Mapping;
use crate::sidecar::{Facts, Sidecar};

/// A sealed segment, opened when somebody reads it.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub(crate) first: i64,
    /// Log offset behind its last byte.
    pub(crate) end: i64,
    /// Bytes that its records take, from its begin on; all of them until its sidecar was read.
    pub(crate) used: AtomicU64,
    pub(crate) path: PathBuf,
    pub(crate) sidecar_path: PathBuf,
    /// Opened parts; the lock is held while they are opened or rebuilt, so that this happens once.
    pub(crate) parts: Mutex<Option<Arc<Parts>>>,
    /// When its sidecar could not be written, by the monotonic clock, and why.
    pub(crate) refused: Mutex<Option<(Duration, String)>>,
    /// That it cannot be opened was said; every read would say it again.
    pub(crate) said: AtomicBool,
}

/// The opened files of a sealed segment.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) first: i64,
    pub(crate) mapping: Arc<Mapping>,
    pub(crate) sidecar: Sidecar,
    /// Per block: not checked, good, or bad.
    checked: Vec<AtomicU8>,
}

impl Sealed {
    /// Takes over what its sidecar says of its length.
    pub(crate) fn note_used(&self, facts: &Facts) {
        self.used.store(facts.tail, Ordering::Relaxed);
    }

    /// Bytes that its records take, as far as known.
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
}

const UNCHECKED: u8 = 0;
const GOOD: u8 = 1;
const BAD: u8 = 2;

impl Parts {
    pub(crate) fn new(first: i64, mapping: Arc<Mapping>, sidecar: Sidecar) -> Self {
        let blocks = mapping.len().div_ceil(BLOCK_BYTES);
        let checked = (0..blocks).map(|_| AtomicU8::new(UNCHECKED)).collect();
        Self { first, mapping, sidecar, checked }
    }

    /// Whether the entry's record is as it was when the segment was sealed.
    ///
    /// Whole blocks are checked once; only records in a bad block are checked each time.
    pub(crate) fn is_intact(&self, entry: &Entry) -> bool {
        let (from, to) = (entry.position as usize, entry.end());
        if entry.is_damaged() || to <= from {
            return false;
        }
        let blocks = from / BLOCK_BYTES..=(to - 1) / BLOCK_BYTES;
        if blocks.into_iter().all(|block| self.is_block_good(block)) {
            return true;
        }
        self.mapping.slice(from, to).is_some_and(|bytes| crc32c::crc32c(bytes) == entry.crc)
    }

    /// Whether a block of the segment matches its checksum.
    pub(crate) fn is_block_good(&self, block: usize) -> bool {
        let Some(state) = self.checked.get(block) else { return false };
        match state.load(Ordering::Relaxed) {
            GOOD => true,
            BAD => false,
            _ => {
                let good = self.sum_block(block);
                state.store(if good { GOOD } else { BAD }, Ordering::Relaxed);
                good
            }
        }
    }

    fn sum_block(&self, block: usize) -> bool {
        let tail = usize::try_from(self.sidecar.facts().tail).unwrap_or(0);
        let from = block * BLOCK_BYTES;
        let to = tail.min(from + BLOCK_BYTES);
        self.mapping.slice(from, to).is_some_and(|bytes| self.matches(block, bytes))
    }

    /// Whether these bytes of a block are those that were summed when the segment was sealed.
    pub(crate) fn matches(&self, block: usize, bytes: &[u8]) -> bool {
        self.sidecar.block_crc(block) == Some(crc32c::crc32c(bytes))
    }

    /// Has each record of a block checked by itself from now on; gives whether that is new.
    pub(crate) fn doubt(&self, block: usize) -> bool {
        self.checked.get(block).is_some_and(|state| state.swap(BAD, Ordering::Relaxed) != BAD)
    }
}
