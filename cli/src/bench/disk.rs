//! What making bytes durable takes at least: writes of one size, each on disk before the next.
//!
//! Owns the probes of the disk. The file is written with zeros before, as a log that is used again would be.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::Duration;

use rustix::fs::OFlags;
use tokio::time::Instant;

use crate::exit::{Exit, OrFail as _, Outcome};
use crate::limits::{BENCH_DISK_FILE_BYTES, BENCH_DISK_STEP_BYTES};

/// Direct writes begin and end at multiples of this in memory and on disk.
const BLOCK_BYTES: usize = 4_096;

/// How bytes are made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// A write to the page cache, then `fdatasync`.
    Synced,
    /// A direct write that returns when it is durable.
    Direct,
}

/// What a probe found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Writes {
    pub(super) per_second: f64,
    /// The middle of all durations.
    pub(super) median: Duration,
}

/// A file in `folder` that is removed with it.
pub(super) struct Scratch {
    file: File,
    path: std::path::PathBuf,
}

impl Scratch {
    /// Makes the file and fills it with zeros.
    pub(super) fn new(folder: &Path) -> Outcome<Self> {
        let path = folder.join(format!("strata-bench-{}.tmp", std::process::id()));
        let cannot = || format!("{} cannot be written", path.display());
        let mut file = File::create_new(&path).or_fail_with(Exit::Failed, cannot())?;
        let made = Self { file: file.try_clone().or_fail_with(Exit::Failed, cannot())?, path: path.clone() };
        let zeros = vec![0; BENCH_DISK_STEP_BYTES];
        for _ in 0..BENCH_DISK_FILE_BYTES / BENCH_DISK_STEP_BYTES {
            file.write_all(&zeros).or_fail_with(Exit::Failed, cannot())?;
        }
        file.sync_all().or_fail_with(Exit::Failed, cannot())?;
        Ok(made)
    }

    /// Writes `bytes` at a time for so long.
    pub(super) fn write(&self, way: Way, bytes: usize, time: Duration) -> Outcome<Writes> {
        let cannot = || format!("{} cannot be written", self.path.display());
        let direct = (OFlags::DIRECT | OFlags::DSYNC).bits() as i32;
        let opened = match way {
            Way::Synced => self.file.try_clone(),
            Way::Direct => OpenOptions::new().write(true).custom_flags(direct).open(&self.path),
        };
        let file = opened.or_fail_with(Exit::Failed, cannot())?;
        let memory = vec![5_u8; bytes + BLOCK_BYTES];
        let aligned = memory.as_ptr().align_offset(BLOCK_BYTES);
        let piece = memory.get(aligned..aligned + bytes).unwrap_or_default();
        let (mut at, mut took, began) = (0_u64, Vec::new(), Instant::now());
        while took.is_empty() || began.elapsed() < time {
            let started = Instant::now();
            file.write_all_at(piece, at).or_fail_with(Exit::Failed, cannot())?;
            if way == Way::Synced {
                file.sync_data().or_fail_with(Exit::Failed, cannot())?;
            }
            took.push(started.elapsed());
            at = (at + bytes as u64) % (BENCH_DISK_FILE_BYTES - bytes) as u64;
            at -= at % BLOCK_BYTES as u64;
        }
        let per_second = took.len() as f64 / began.elapsed().as_secs_f64();
        took.sort_unstable();
        Ok(Writes { per_second, median: took[took.len() / 2] })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A file that is left behind costs space only, and its name says whose it is.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_are_counted_and_the_file_goes() {
        let folder = tempfile::tempdir_in(".").unwrap();
        let scratch = Scratch::new(folder.path()).unwrap();
        for way in [Way::Synced, Way::Direct] {
            let found = scratch.write(way, 8_192, Duration::from_millis(30)).unwrap();
            assert!(found.per_second > 0.0 && found.median > Duration::ZERO);
        }
        drop(scratch);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
