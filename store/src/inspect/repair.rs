//! Mending what a check found.
//!
//! Owns the plan and the few steps that opening a store does not take by itself; everything else is done by
//! opening it. Each step leaves a store that can be checked and repaired again, and none touches a good
//! record.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{FileState, Progress, Report, SegmentState, look, names_another_version};
use crate::clock::{Clock, SystemClock};
use crate::disk::{Disk, RealDisk, remove_optional};
use crate::error::{OpenError, UpkeepError};
use crate::limits::{SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN};
use crate::lock::{FolderLock, write_version};
use crate::options::StoreOptions;
use crate::retain::{rows_before, write_floor};
use crate::sidecar::Sidecar;
use crate::store::{Paths, Store};
use crate::tombstones::Tombstones;

/// One thing that a repair does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Writes the version into its file.
    WriteVersion {
        /// The file.
        path: PathBuf,
    },
    /// Makes the floor again from the oldest sidecar.
    ReplaceFloor {
        /// The floor.
        path: PathBuf,
        /// The sidecar.
        from: PathBuf,
    },
    /// Removes the checkpoint; retention goes on from the last message's time.
    RemoveCheckpoint {
        /// The file.
        path: PathBuf,
    },
    /// Makes a segment as long as it must be; what was cut off reads as zeros.
    Lengthen {
        /// The segment.
        path: PathBuf,
        /// Its length, bytes.
        from: u64,
        /// The length that it must have, bytes.
        to: u64,
    },
    /// Makes a torn tail zero.
    CutTail {
        /// The segment.
        path: PathBuf,
        /// Log offset at which the tail begins.
        from: i64,
        /// Log offset behind it.
        to: i64,
    },
    /// Cuts damaged checksum frames off; new ones take their place.
    CutFrames {
        /// The file.
        path: PathBuf,
        /// How it is damaged.
        why: String,
    },
    /// Removes a segment that was made ahead and never written to.
    RemoveEmpty {
        /// The segment.
        path: PathBuf,
    },
    /// Makes a sidecar, or makes it again.
    BuildSidecar {
        /// The sidecar.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// Nothing can be done here: the owner must bring the file back, or give it up.
    ByHand {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        what: String,
    },
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WriteVersion { path } => write!(f, "write the version into {}", path.display()),
            Self::ReplaceFloor { path, from } => {
                write!(f, "make the damaged {} again from {}", path.display(), from.display())
            }
            Self::RemoveCheckpoint { path } => {
                write!(f, "remove the damaged {}; it is written again and only delays deletion", path.display())
            }
            Self::Lengthen { path, from, to } => {
                write!(f, "lengthen {} from {from} to {to} bytes, with zeros", path.display())
            }
            Self::CutTail { path, from, to } => {
                write!(f, "cut the torn tail of {}: log offsets {from} to {to}", path.display())
            }
            Self::CutFrames { path, why } => write!(f, "write {} again: {why}", path.display()),
            Self::RemoveEmpty { path } => write!(f, "remove the empty segment {}", path.display()),
            Self::BuildSidecar { path, why } => write!(f, "build {} from its segment: it is {why}", path.display()),
            Self::ByHand { path, what } => write!(f, "cannot be repaired: {} {what}", path.display()),
        }
    }
}

/// What a repair did.
#[derive(Debug, Clone)]
pub struct Repaired {
    /// What it did, in order.
    pub done: Vec<Action>,
    /// What a check found afterwards.
    pub after: Report,
}

/// What follows from a report.
pub(super) fn plan(report: &Report) -> Vec<Action> {
    let paths = Paths::new(report.root.clone());
    let mut plan = Vec::new();
    for file in &report.files {
        plan.extend(plan_file(report, &paths, &file.path, &file.state));
    }
    for segment in &report.segments {
        let path = segment.path.clone();
        let wanted = u64::try_from(segment.end - segment.first).unwrap_or(0);
        if segment.file_bytes < wanted {
            plan.push(Action::Lengthen { path: path.clone(), from: segment.file_bytes, to: wanted });
        }
        if let FileState::Damaged { what } = &segment.sums {
            plan.push(Action::CutFrames { path: paths.sums(segment.first), why: what.clone() });
        }
        if let Some((from, to)) = segment.torn {
            plan.push(Action::CutTail { path: path.clone(), from, to });
        }
        let why = match &segment.sidecar {
            FileState::Damaged { what } => format!("damaged: {what}"),
            FileState::Missing => "missing".to_owned(),
            FileState::Absent | FileState::Good => String::new(),
        };
        match segment.state {
            SegmentState::Empty => plan.push(Action::RemoveEmpty { path }),
            _ if !why.is_empty() => plan.push(Action::BuildSidecar { path: paths.sidecar(segment.first), why }),
            SegmentState::Sealed | SegmentState::Full | SegmentState::Active => {}
        }
    }
    // A segment that was made ahead is nothing to be repaired; opening the store for another reason removes it.
    if plan.iter().all(|action| matches!(action, Action::RemoveEmpty { .. })) {
        plan.clear();
    }
    plan
}

fn plan_file(report: &Report, paths: &Paths, path: &Path, state: &FileState) -> Option<Action> {
    let what = match state {
        FileState::Damaged { what } => what,
        FileState::Missing => return Some(Action::WriteVersion { path: path.to_owned() }),
        FileState::Absent | FileState::Good => return None,
    };
    let path = path.to_owned();
    let by_hand = |what: String| Some(Action::ByHand { path: path.clone(), what });
    if path == paths.checkpoint() {
        return Some(Action::RemoveCheckpoint { path });
    }
    if path == paths.floor() {
        return match report.floor_source.clone() {
            Some(from) => Some(Action::ReplaceFloor { path, from }),
            None => by_hand(format!(
                "is damaged ({what}) and no sidecar is left to make it from; restore it from a backup, or remove it: queues whose messages were all deleted may then begin at offset 0 again"
            )),
        };
    }
    if path == paths.tombstones() {
        return by_hand(format!(
            "is damaged ({what}); restore it from a backup, or remove it: topics that were deleted may then come back"
        ));
    }
    if report.is_of_version && !names_another_version(&paths.root) {
        return Some(Action::WriteVersion { path });
    }
    by_hand(format!("{what}; use the version of strata that wrote the folder"))
}

/// Repairs the store in `root`: does what [`Report::plan`] says, and nothing when there is nothing to do.
/// Records that are damaged stay where they are and stay told as damaged.
///
/// # Errors
/// The folder is in use, something must be done by hand first, or the system refuses. What was done before
/// stays done; a repair can be repeated.
pub fn repair(root: &Path, progress: Progress<'_>) -> Result<Repaired, OpenError> {
    repair_on(root, Arc::new(SystemClock::new()), Arc::new(RealDisk), progress)
}

/// [`repair`] with a clock and on a disk of the caller's.
///
/// # Errors
/// As [`repair`].
pub fn repair_on(
    root: &Path,
    clock: Arc<dyn Clock>,
    disk: Arc<dyn Disk>,
    progress: Progress<'_>,
) -> Result<Repaired, OpenError> {
    let paths = Paths::new(root.to_owned());
    let lock = FolderLock::take(&*disk, root)?;
    let before = look::look(&paths, progress)?;
    let done = before.plan();
    if let Some(Action::ByHand { path, what }) = done.iter().find(|action| matches!(action, Action::ByHand { .. })) {
        return Err(OpenError::ByHand { path: path.clone(), what: what.clone() });
    }
    for action in &done {
        prepare(&*disk, &paths, action)?;
    }
    drop(lock);
    if done.is_empty() {
        return Ok(Repaired { done, after: before });
    }
    if !before.segments.is_empty() {
        reopen(&before, clock, disk)?;
    }
    let _lock = FolderLock::look(root)?;
    let after = look::look(&paths, progress)?;
    Ok(Repaired { done, after })
}

/// Does what opening the store does not do by itself.
fn prepare(disk: &dyn Disk, paths: &Paths, action: &Action) -> Result<(), OpenError> {
    match action {
        Action::WriteVersion { .. } => write_version(disk, &paths.root),
        Action::ReplaceFloor { path, from } => {
            let tombstones = Tombstones::load(&paths.tombstones())?;
            let sidecar = Sidecar::open(from).map_err(|error| OpenError::Io {
                action: "use",
                path: from.clone(),
                source: io::Error::other(error),
            })?;
            let rows = rows_before(&sidecar, &tombstones);
            // Nothing before the segment was stored later than its first record.
            let begin = (sidecar.facts().first, sidecar.facts().first_time);
            write_floor(disk, path, begin, rows).map_err(OpenError::io("write", path))
        }
        Action::RemoveCheckpoint { path } => remove_optional(disk, path).map_err(OpenError::io("remove", path)),
        // Opening trusts the checksums of a sidecar; one that contradicts its segment must go first.
        Action::BuildSidecar { path, .. } => remove_optional(disk, path).map_err(OpenError::io("remove", path)),
        Action::Lengthen { .. }
        | Action::CutTail { .. }
        | Action::CutFrames { .. }
        | Action::RemoveEmpty { .. }
        | Action::ByHand { .. } => Ok(()),
    }
}

/// Lets recovery do the rest: opens the store, makes every sidecar that is missing, and closes it.
fn reopen(before: &Report, clock: Arc<dyn Clock>, disk: Arc<dyn Disk>) -> Result<(), OpenError> {
    let mut options = StoreOptions::new(&before.root);
    options.segment_bytes = (before.segment_bytes as u64).clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX);
    options.upkeep = false;
    let (store, _) = Store::open_on(options, clock, disk)?;
    let sealed = Arc::clone(&store.shared.head.lock().sealed);
    let failed = |error: UpkeepError| OpenError::Io {
        action: "repair",
        path: before.root.clone(),
        source: io::Error::other(error),
    };
    for segment in &*sealed {
        store.shared.parts(segment).map_err(failed)?;
    }
    store.close().map_err(failed)
}
