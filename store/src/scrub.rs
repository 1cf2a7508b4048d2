//! Reading all sealed segments again, slowly, so that damage is found before somebody needs the message.
//!
//! Owns one pass and its figures. Data is read past the page cache where the file system can: what lies there may be
//! good while the disk has lost it, and what nobody reads must not push out what others do.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use memmap2::MmapMut;

use crate::disk::open_past_cache;
use crate::limits::{BLOCK_BYTES, SCRUB_AFTER_MS, SCRUB_BYTES_PER_SECOND, SCRUB_CHUNK_BYTES, SCRUB_INTERVAL_MS};
use crate::sealed::{Parts, Sealed};
use crate::segment::to_offset;
use crate::store::{Shared, Store};

/// What reading the sealed segments again has found so far, and how much was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scrubbed {
    /// Whole passes.
    pub passes: u64,
    /// Bytes of segments that were compared with their checksums, in all passes.
    pub bytes: u64,
    /// Blocks of 64 KiB that differ from their checksum or cannot be read, by the last pass that met each segment.
    pub damaged_blocks: u64,
}

/// The figures, as the thread writes them.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    passes: AtomicU64,
    bytes: AtomicU64,
    /// Of the last whole pass.
    damaged_before: AtomicU64,
    /// Of the pass under way.
    damaged_now: AtomicU64,
}

impl Figures {
    fn look(&self) -> Scrubbed {
        let damaged = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        Scrubbed {
            passes: self.passes.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            damaged_blocks: damaged(&self.damaged_before).max(damaged(&self.damaged_now)),
        }
    }

    fn end_pass(&self) {
        self.damaged_before.store(self.damaged_now.swap(0, Ordering::Relaxed), Ordering::Relaxed);
        self.passes.fetch_add(1, Ordering::Relaxed);
    }
}

impl Store {
    /// Reads all sealed segments and their sidecars again, now and as fast as the disk gives them. Damage is logged;
    /// a damaged sidecar is built again from its segment, and records in a damaged block are checked one by one
    /// whenever they are read. The store's own thread does the same once a day at 10 MiB/s.
    pub fn scrub(&self) -> Scrubbed {
        self.shared.scrub(&|_| true);
        self.scrubbed()
    }

    /// What was found so far.
    #[must_use]
    pub fn scrubbed(&self) -> Scrubbed {
        self.shared.keeping.scrub.look()
    }
}

impl Shared {
    /// The thread: a pass after the opening's own load is over, then one a day.
    pub(crate) fn run_scrub(&self) {
        let mut wait = Duration::from_millis(SCRUB_AFTER_MS);
        while self.calls.wait_scrub(wait) {
            let began = self.clock.monotonic();
            if !self.scrub(&|bytes| self.calls.wait_scrub(time_for(bytes))) {
                return;
            }
            let took = self.clock.monotonic().saturating_sub(began);
            wait = Duration::from_millis(SCRUB_INTERVAL_MS).saturating_sub(took);
        }
    }

    /// One pass over what is sealed now. `go_on` is asked after each piece of so many bytes; `false` when it said no.
    fn scrub(&self, go_on: &dyn Fn(usize) -> bool) -> bool {
        let segments = Arc::clone(&self.head.lock().sealed);
        let mut buffer = match MmapMut::map_anon(SCRUB_CHUNK_BYTES) {
            Ok(buffer) => buffer,
            Err(error) => {
                tracing::warn!(%error, "no memory to read the log again; the next day tries again");
                return true;
            }
        };
        for sealed in &*segments {
            match self.scrub_segment(sealed, &mut buffer, go_on) {
                Ok(true) => {}
                Ok(false) => return false,
                // Retention takes segments meanwhile.
                Err(_) if !self.is_sealed(sealed) => {}
                Err(error) => {
                    self.keeping.scrub.damaged_now.fetch_add(1, Ordering::Relaxed);
                    tracing::error!(%error, path = %sealed.path.display(), "a segment cannot be read; {ADVICE}");
                }
            }
        }
        self.keeping.scrub.end_pass();
        true
    }

    fn is_sealed(&self, sealed: &Arc<Sealed>) -> bool {
        self.head.lock().sealed.iter().any(|other| Arc::ptr_eq(other, sealed))
    }

    fn scrub_segment(
        &self,
        sealed: &Arc<Sealed>,
        buffer: &mut MmapMut,
        go_on: &dyn Fn(usize) -> bool,
    ) -> Result<bool, Box<dyn std::error::Error>> {
        let file = open_past_cache(&sealed.path)?;
        let parts = self.good_parts(sealed)?;
        let tail = usize::try_from(parts.sidecar.facts().tail)?;
        for from in (0..tail).step_by(SCRUB_CHUNK_BYTES) {
            let bytes = SCRUB_CHUNK_BYTES.min(tail - from);
            // A chunk that cannot be read is asked for again block by block: the others may be.
            let read = read_up_to(&file, buffer, from as u64);
            for (nth, at) in (from..from + bytes).step_by(BLOCK_BYTES).enumerate() {
                let length = BLOCK_BYTES.min(tail - at);
                let inside = nth * BLOCK_BYTES..nth * BLOCK_BYTES + length;
                let block = match &read {
                    Ok(read) => buffer[..*read].get(inside),
                    Err(_) => None,
                };
                let good = match block {
                    Some(block) => parts.matches(at / BLOCK_BYTES, block),
                    None => matches_alone(&file, &parts, at, length),
                };
                if !good {
                    self.note_damage(sealed, &parts, at, length);
                }
            }
            self.keeping.scrub.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
            if !go_on(bytes) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The opened files of a segment, its sidecar read and checked again; one that is damaged now is built again.
    fn good_parts(&self, sealed: &Arc<Sealed>) -> Result<Arc<Parts>, crate::error::UpkeepError> {
        let parts = self.parts(sealed)?;
        let Err(error) = parts.sidecar.verify(&sealed.sidecar_path) else { return Ok(parts) };
        tracing::error!(%error, "a sidecar was damaged since it was opened; it is built again");
        *sealed.parts.lock() = None;
        self.parts(sealed)
    }

    fn note_damage(&self, sealed: &Sealed, parts: &Parts, at: usize, length: usize) {
        self.keeping.scrub.damaged_now.fetch_add(1, Ordering::Relaxed);
        if parts.doubt(at / BLOCK_BYTES) {
            let (from, to) = (sealed.first + to_offset(at), sealed.first + to_offset(at + length));
            tracing::error!(from, to, path = %sealed.path.display(), "the log is damaged from one offset to the other; {ADVICE}");
        }
    }
}

/// What an operator can do.
const ADVICE: &str = "`strata store check` on the stopped broker's folder tells which messages that costs";

/// How long so many bytes may take.
#[allow(clippy::cast_precision_loss, reason = "a pause needs few digits")]
fn time_for(bytes: usize) -> Duration {
    Duration::from_secs_f64(bytes as f64 / SCRUB_BYTES_PER_SECOND as f64)
}

/// Fills the buffer as far as the file goes; gives how many bytes came.
fn read_up_to(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // A direct read that ended within a page was the file's last one.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput && filled > 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn matches_alone(file: &File, parts: &Parts, at: usize, length: usize) -> bool {
    let Ok(mut block) = MmapMut::map_anon(BLOCK_BYTES) else { return false };
    let read = read_up_to(file, &mut block, at as u64).unwrap_or(0);
    block[..read].get(..length).is_some_and(|block| parts.matches(at / BLOCK_BYTES, block))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_keeps_the_figure_of_the_one_before() {
        let figures = Figures::default();
        figures.damaged_now.store(2, Ordering::Relaxed);
        figures.end_pass();
        assert_eq!(figures.look(), Scrubbed { passes: 1, bytes: 0, damaged_blocks: 2 });
        figures.end_pass();
        assert_eq!(figures.look().damaged_blocks, 0);
    }

    #[test]
    fn ten_mebibytes_take_a_second() {
        assert_eq!(time_for(10 * 1024 * 1024), Duration::from_secs(1));
    }
}
