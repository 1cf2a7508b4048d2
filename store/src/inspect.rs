//! Looking at a closed store without changing it, and repairing what can be repaired.
//!
//! Owns the report of a check and what follows from it. What a good record is, what a sidecar must say and
//! where the log ends is asked of the code that recovery uses, so both always agree.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::disk::read_optional;
use crate::error::OpenError;
use crate::lock::{FolderLock, format_file, has_version};
use crate::recover::DamagedRange;
use crate::store::Paths;

mod look;
mod repair;
mod sealed;

pub use repair::{Action, Repaired, repair, repair_on};

/// Told how many bytes of how many were read.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The store's folder.
    pub root: PathBuf,
    /// The segments, oldest first.
    pub segments: Vec<SegmentReport>,
    /// Parts of the log whose segment files are missing.
    pub gaps: Vec<DamagedRange>,
    /// The files beside the segments.
    pub files: Vec<FileReport>,
    /// What looks strange and means nothing for what is stored.
    pub notes: Vec<String>,
    /// Bytes of a whole segment, as far as the files tell.
    segment_bytes: usize,
    /// The sidecar from which a damaged floor can be made again.
    floor_source: Option<PathBuf>,
    /// Whether other files show that the folder is of this program's version.
    is_of_version: bool,
}

/// A segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentReport {
    /// Its file.
    pub path: PathBuf,
    /// Log offset of its first byte.
    pub first: i64,
    /// Log offset behind its last byte, as long as it must be.
    pub end: i64,
    /// Bytes of its file; fewer than `end - first` when it was cut short.
    pub file_bytes: u64,
    /// What it is to the log.
    pub state: SegmentState,
    /// Good records.
    pub records: u64,
    /// Its sidecar.
    pub sidecar: FileState,
    /// Its file of checksum frames.
    pub sums: FileState,
    /// What cannot be read in it.
    pub damage: Vec<Damage>,
    /// Log offsets of a tail that was being written when the process or the machine ended.
    pub torn: Option<(i64, i64)>,
}

/// What a segment is to the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SegmentState {
    /// Full, with a sidecar that describes it.
    Sealed,
    /// Full; its sidecar is made, or made again, when the store opens.
    Full,
    /// The one that is appended to.
    Active,
    /// Made ahead and never written to.
    Empty,
}

impl fmt::Display for SegmentState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sealed => "sealed",
            Self::Full => "full",
            Self::Active => "active",
            Self::Empty => "empty",
        })
    }
}

/// How a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileState {
    /// It is not there and need not be.
    Absent,
    /// It is not there and will be made.
    Missing,
    /// It matches all its checksums and what it describes.
    Good,
    /// It does not.
    Damaged {
        /// How.
        what: String,
    },
}

impl FileState {
    /// Whether the file's content is wrong.
    #[must_use]
    pub const fn is_damaged(&self) -> bool {
        matches!(self, Self::Damaged { .. })
    }
}

impl fmt::Display for FileState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("-"),
            Self::Missing => f.write_str("missing"),
            Self::Good => f.write_str("good"),
            Self::Damaged { what } => write!(f, "damaged ({what})"),
        }
    }
}

/// A file beside the segments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileReport {
    /// The file.
    pub path: PathBuf,
    /// How it is.
    pub state: FileState,
    /// Whether nothing else holds what it says.
    pub is_fact: bool,
}

/// A stretch of the log that holds no readable records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Log offset of its first byte.
    pub from: i64,
    /// Log offset behind its last byte.
    pub to: i64,
    /// What is wrong with it.
    pub reason: String,
    /// The messages that lay in it, as far as they are known.
    pub lost: Vec<LostMessages>,
}

/// Messages of a queue that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostMessages {
    /// Topic.
    pub topic: String,
    /// Queue.
    pub queue_id: i32,
    /// The first one's number in its queue.
    pub from: i64,
    /// The number behind the last one.
    pub to: i64,
}

/// What a report comes down to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Nothing is damaged. Traces of a kill may be left, which the next start removes.
    Clean,
    /// Files are damaged that are made again from others; no message is lost.
    Derived,
    /// Messages, or facts that no other file holds, cannot be read.
    Lost,
}

impl Report {
    /// What the findings come down to.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let facts = self.files.iter().any(|file| file.is_fact && file.state.is_damaged());
        let damage = self.segments.iter().any(|segment| !segment.damage.is_empty());
        if facts || damage || !self.gaps.is_empty() {
            return Verdict::Lost;
        }
        let beside = |segment: &SegmentReport| segment.sidecar.is_damaged() || segment.sums.is_damaged();
        let derived = self.segments.iter().any(beside) || self.files.iter().any(|file| file.state.is_damaged());
        if derived { Verdict::Derived } else { Verdict::Clean }
    }

    /// First log offset kept, and the one behind the last segment that holds records.
    #[must_use]
    pub fn log_range(&self) -> (i64, i64) {
        let first = self.segments.first().map_or(0, |segment| segment.first);
        let last = self.segments.iter().rev().find(|segment| segment.state != SegmentState::Empty);
        (first, last.map_or(first, |segment| segment.end))
    }

    /// Bytes of a new segment, as far as the files tell.
    #[must_use]
    pub const fn segment_bytes(&self) -> usize {
        self.segment_bytes
    }

    /// What [`repair`] would do, in its order.
    #[must_use]
    pub fn plan(&self) -> Vec<Action> {
        repair::plan(self)
    }
}

/// Reads everything in the store's folder and compares it with every checksum there is. Nothing on disk
/// changes.
///
/// # Errors
/// The folder is no store or in use, files overlap, or the system refuses. Damage is no error: the report
/// has it.
pub fn check(root: &Path, progress: Progress<'_>) -> Result<Report, OpenError> {
    let paths = Paths::new(root.to_owned());
    let _lock = FolderLock::look(root)?;
    look::look(&paths, progress)
}

/// How the file of the version is.
fn version_state(root: &Path) -> FileState {
    match has_version(root) {
        Ok(true) => FileState::Good,
        Ok(false) => FileState::Missing,
        Err(OpenError::Version { found, .. }) => FileState::Damaged { what: format!("it says {found:?}") },
        Err(other) => FileState::Damaged { what: other.to_string() },
    }
}

/// Whether the file of the version says another version, and is not merely damaged.
fn names_another_version(root: &Path) -> bool {
    let bytes = read_optional(&format_file(root)).ok().flatten().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let number = text.trim().strip_prefix("strata-store ").unwrap_or_default();
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) && number != "1"
}
