//! Planted bugs: disks that leave out what the store asked for, as a store with that bug would have. The suite
//! must notice each of them, or it would not notice the bug.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use strata_protocol::record::RecordView;
use strata_store::{Disk, Existing};

use super::crashes::{Effort, crash_everywhere};
use super::disk::SimDisk;
use super::faults::fail_everywhere;
use super::rig::{Front, SEGMENT_BYTES};
use super::scenarios::SCENARIOS;

/// What a store would have forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bug {
    /// Answers before the flush.
    NoFlush,
    /// Flushes every other time only.
    HalfTheFlushes,
    /// Never flushes folders.
    NoFolderFlush,
    /// Renames a file into place that was not flushed.
    RenameUnflushed,
    /// Tries a failed flush again and believes the second answer.
    SecondFlush,
    /// Goes on after a write that failed.
    WriteIgnored,
    /// Takes a short write for a whole one.
    ShortWrite,
    /// Leaves a torn tail where it is.
    TailLeft,
    /// Cuts the log at the first bad record, also in the middle.
    CutInTheMiddle,
    /// Deletes segments without noting where their queues go on.
    FloorLost,
    /// Deletes topics without noting it.
    TombstonesLost,
    /// Believes what recovery found without making it durable.
    RecoveryUnflushed,
    /// Gives back the last page of records too when a segment is sealed early.
    FreedTooMuch,
}

/// A bug, the script and the flush mode that bring it to light, and whether it takes a failing call.
const BUGS: &[(Bug, &str, bool, bool)] = &[
    (Bug::NoFlush, "single", true, false),
    (Bug::NoFlush, "single", false, false),
    (Bug::HalfTheFlushes, "queues", true, false),
    (Bug::NoFolderFlush, "single", true, false),
    (Bug::NoFolderFlush, "roll", false, false),
    (Bug::RenameUnflushed, "deletion", true, false),
    (Bug::SecondFlush, "single", true, true),
    (Bug::WriteIgnored, "single", true, true),
    (Bug::ShortWrite, "large", true, false),
    (Bug::TailLeft, "torn-tail", false, false),
    (Bug::CutInTheMiddle, "damage", true, false),
    (Bug::FloorLost, "retention-of-all", true, false),
    (Bug::TombstonesLost, "deletion", true, false),
    (Bug::RecoveryUnflushed, "kill-reopen", false, false),
    (Bug::FreedTooMuch, "seal-early", true, false),
    (Bug::FloorLost, "begin", true, false),
];

/// A disk in front of the simulated one.
struct Forgetful {
    disk: Arc<SimDisk>,
    bug: Bug,
    flushes: AtomicUsize,
}

fn is_segment(path: &Path) -> bool {
    path.parent().is_some_and(|folder| folder.ends_with("commitlog"))
}

impl Forgetful {
    fn front(bug: Bug) -> Arc<Front> {
        Arc::new(move |disk| Arc::new(Self { disk, bug, flushes: AtomicUsize::new(0) }) as _)
    }

    fn is_log(&self, file: &File) -> bool {
        is_segment(&self.disk.path_of(file))
    }

    fn is(&self, bug: Bug) -> bool {
        self.bug == bug
    }

    /// Makes everything behind the first bad record zero.
    fn cut(&self, file: &File) -> io::Result<()> {
        let mut bytes = vec![0; SEGMENT_BYTES as usize];
        file.read_exact_at(&mut bytes, 0)?;
        let mut at = 0;
        while let Ok(record) = RecordView::parse(&bytes[at..]) {
            if record.check_body().is_err() {
                self.disk.write_at(file, &vec![0; bytes.len() - at], at as u64)?;
                return self.disk.sync(file);
            }
            at += record.bytes().len();
        }
        Ok(())
    }
}

impl Disk for Forgetful {
    fn write_at(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        let of_log = self.is_log(file);
        if of_log && self.is(Bug::TailLeft) && bytes.iter().all(|byte| *byte == 0) {
            return Ok(());
        }
        if of_log && self.is(Bug::ShortWrite) && bytes.len() > 10_000 {
            return self.disk.write_at(file, &bytes[..bytes.len() - 600], at);
        }
        let written = self.disk.write_at(file, bytes, at);
        if of_log && self.is(Bug::WriteIgnored) { Ok(()) } else { written }
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        let of_log = self.is_log(file);
        match self.bug {
            Bug::NoFlush if of_log && self.disk.is_serving() => Ok(()),
            Bug::RecoveryUnflushed if of_log && !self.disk.is_serving() => Ok(()),
            Bug::RenameUnflushed if !of_log => Ok(()),
            Bug::HalfTheFlushes if of_log && self.flushes.fetch_add(1, Ordering::SeqCst) % 2 == 1 => Ok(()),
            Bug::SecondFlush if of_log => self.disk.sync(file).or_else(|_| self.disk.sync(file)),
            _ => self.disk.sync(file),
        }
    }

    fn allocate(&self, file: &File, bytes: u64) -> io::Result<()> {
        self.disk.allocate(file, bytes)
    }

    fn used_ratio(&self, path: &Path) -> io::Result<f64> {
        self.disk.used_ratio(path)
    }

    fn create(&self, path: &Path, existing: Existing) -> io::Result<File> {
        self.disk.create(path, existing)
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        self.disk.create_folder(path)
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        let file = self.disk.open(path)?;
        if self.is(Bug::CutInTheMiddle) && is_segment(path) {
            self.cut(&file)?;
        }
        Ok(file)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        if self.is(Bug::NoFolderFlush) { Ok(()) } else { self.disk.sync_folder(folder) }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let lost = (self.is(Bug::FloorLost) && to.ends_with("floor"))
            || (self.is(Bug::TombstonesLost) && to.ends_with("tombstones"));
        if lost { Ok(()) } else { self.disk.rename(from, to) }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn resize(&self, file: &File, bytes: u64) -> io::Result<()> {
        self.disk.resize(file, bytes)
    }

    fn free(&self, file: &File, at: u64, bytes: u64) -> io::Result<()> {
        let more = if self.is(Bug::FreedTooMuch) { 4_096 } else { 0 };
        self.disk.free(file, at - more, bytes + more)
    }
}

/// Every planted bug is found; gives how.
///
/// # Errors
/// The first one that was not.
pub(crate) fn find_all(seed: u64) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    for (bug, script, sync, by_failing) in BUGS {
        let scenario = SCENARIOS.iter().find(|scenario| scenario.name == *script).ok_or("no such script")?;
        let front = Forgetful::front(*bug);
        let tried = if *by_failing {
            fail_everywhere((scenario, *sync), &front, (seed, true))
        } else {
            crash_everywhere((scenario, *sync), front, Effort { seed, random: 40, nested_every: 0 })
        };
        match tried {
            Err(how) => found.push(format!("{bug:?}: {how}")),
            Ok(tried) => return Err(format!("{bug:?} was not noticed by {script} (sync: {sync}): {tried:?}")),
        }
    }
    Ok(found)
}
