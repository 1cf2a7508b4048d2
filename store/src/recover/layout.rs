//! Which segment files there are and whether they fit together.
//!
//! Owns the reading of folder listings. It opens no segment.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64};

use crate::disk::{Disk, remove_optional};
use crate::error::OpenError;
use crate::options::StoreOptions;
use crate::sealed::Sealed;
use crate::segment::{parse_name, to_length, to_offset};
use crate::store::Paths;
use crate::sums::Sums;

/// A segment file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) first: i64,
    /// The length it must have, at least its file's.
    pub(crate) bytes: usize,
    /// The length that its file has.
    pub(crate) had: usize,
    pub(crate) path: PathBuf,
}

impl Found {
    pub(crate) fn end(&self) -> i64 {
        self.first + to_offset(self.bytes)
    }

    /// The segment as a sealed one that nobody has opened.
    pub(crate) fn sealed(&self, paths: &Paths) -> Sealed {
        Sealed {
            first: self.first,
            end: self.end(),
            used: AtomicU64::new(self.bytes as u64),
            path: self.path.clone(),
            sidecar_path: paths.sidecar(self.first),
            parts: parking_lot::Mutex::new(None),
            refused: parking_lot::Mutex::new(None),
            said: AtomicBool::new(false),
        }
    }
}

/// The segment files, oldest first. One that was cut short is made as long as it must be: what is
/// missing shows as damage or as a torn tail, like any other bytes that are not there.
pub(super) fn segments(disk: &dyn Disk, paths: &Paths, options: &StoreOptions) -> Result<Vec<Found>, OpenError> {
    let nominal = usize::try_from(options.segment_bytes).unwrap_or(usize::MAX);
    let mut found = survey(paths, nominal)?;
    for segment in found.iter_mut().filter(|segment| segment.had < segment.bytes) {
        let (had, wanted, path) = (segment.had, segment.bytes, segment.path.display());
        tracing::warn!(%path, had, wanted, "a segment is shorter than it must be");
        let file = disk.open(&segment.path).map_err(OpenError::io("open", &segment.path))?;
        disk.resize(&file, wanted as u64).map_err(OpenError::io("lengthen", &segment.path))?;
        segment.had = wanted;
    }
    Ok(found)
}

/// The segment files, oldest first, and how long each must be when a new one has `nominal` bytes.
pub(crate) fn survey(paths: &Paths, nominal: usize) -> Result<Vec<Found>, OpenError> {
    let mut found = Vec::new();
    for (name, path) in list(&paths.log)? {
        let Some(first) = parse_name(&name) else { continue };
        let length = std::fs::metadata(&path).map_err(OpenError::io("look at", &path))?.len();
        let bytes = usize::try_from(length).unwrap_or(usize::MAX);
        found.push(Found { first, bytes, had: bytes, path });
    }
    found.sort_by_key(|segment| segment.first);
    for at in 0..found.len() {
        let next = found.get(at + 1).map(|next| (next.first, next.path.clone()));
        let segment = &mut found[at];
        let distance = next.as_ref().map(|(first, _)| to_length(first - segment.first));
        if let Some((_, path)) = next.filter(|_| distance.is_some_and(|distance| distance < segment.bytes)) {
            // Which of the two is right cannot be known here; the later one is the more likely stranger.
            let what = format!("it begins inside {}, which has {} bytes", segment.path.display(), segment.bytes);
            return Err(OpenError::Layout { path, what });
        }
        if segment.had < nominal {
            // What was flushed once belongs to it, however long new segments are by now.
            let covered = Sums::load(&paths.sums(segment.first), segment.first).covered;
            segment.bytes = segment.had.max(nominal.max(covered).min(distance.unwrap_or(usize::MAX)));
        }
    }
    Ok(found)
}

/// The segments without those that retention deleted, whose files are removed if they are still there: the
/// topics' tombstones and the queues' first offsets count on it that nobody reads them again. Where the log does
/// not go on at the floor, the floor may be another log's, and nothing is removed.
pub(super) fn without_trimmed(disk: &dyn Disk, found: Vec<Found>, floor_end: i64) -> Vec<Found> {
    if found.iter().all(|segment| segment.first != floor_end) {
        return found;
    }
    let (trimmed, kept): (Vec<_>, Vec<_>) = found.into_iter().partition(|segment| segment.end() <= floor_end);
    for segment in trimmed {
        if let Err(error) = remove_optional(disk, &segment.path) {
            // It costs space and nothing else; the next opening tries again.
            tracing::warn!(%error, path = %segment.path.display(), "cannot remove a deleted segment");
        }
    }
    kept
}

/// Sidecars of segments that are gone.
pub(crate) fn orphans(paths: &Paths, found: &[Found]) -> Vec<PathBuf> {
    let gone = without_segment(paths, found, &[".index"]);
    gone.into_iter().map(|(_, path)| path).collect()
}

/// Removes what a crash left beside segments that retention deleted, up to the floor. Sidecars of
/// segments that were lost otherwise are kept: they may be all that knows their queues.
pub(super) fn remove_trimmed(disk: &dyn Disk, paths: &Paths, found: &[Found], floor_end: i64) {
    let gone = without_segment(paths, found, &[".index", ".sums"]);
    for (_, path) in gone.into_iter().filter(|(first, _)| *first < floor_end) {
        if let Err(error) = remove_optional(disk, &path) {
            // It costs space and nothing else; the next opening tries again.
            tracing::warn!(%error, path = %path.display(), "cannot remove what belongs to a deleted segment");
        }
    }
}

/// Files beside segments that do not exist, with the log offsets that their names say.
fn without_segment(paths: &Paths, found: &[Found], endings: &[&str]) -> Vec<(i64, PathBuf)> {
    let files = list(&paths.side).unwrap_or_default().into_iter();
    let named = files.filter_map(|(name, path)| {
        let stem = endings.iter().find_map(|ending| name.strip_suffix(ending))?;
        Some((parse_name(stem)?, path))
    });
    named.filter(|(first, _)| found.iter().all(|segment| segment.first != *first)).collect()
}

/// Names and paths in a folder.
pub(crate) fn list(folder: &Path) -> Result<Vec<(String, PathBuf)>, OpenError> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(OpenError::io("list", folder))? {
        let entry = entry.map_err(OpenError::io("list", folder))?;
        if let Ok(name) = entry.file_name().into_string() {
            out.push((name, entry.path()));
        }
    }
    Ok(out)
}
