//! Which segment files there are and whether they fit together.
//!
//! Owns the reading of folder listings. It opens no segment.

use std::path::{Path, PathBuf};

use crate::error::OpenError;
use crate::options::StoreOptions;
use crate::sealed::Sealed;
use crate::segment::{parse_name, to_length, to_offset};
use crate::store::Paths;

use super::open_file;

/// A segment file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) first: i64,
    pub(super) bytes: usize,
    pub(super) path: PathBuf,
}

impl Found {
    pub(super) fn end(&self) -> i64 {
        self.first + to_offset(self.bytes)
    }

    /// The segment as a sealed one that nobody has opened.
    pub(super) fn sealed(&self, paths: &Paths) -> Sealed {
        Sealed {
            first: self.first,
            end: self.end(),
            path: self.path.clone(),
            sidecar_path: paths.sidecar(self.first),
            parts: parking_lot::Mutex::new(None),
        }
    }
}

/// The segment files, oldest first. One that was cut short is made as long as it must be: what is
/// missing shows as damage or as a torn tail, like any other bytes that are not there.
pub(super) fn segments(paths: &Paths, options: &StoreOptions) -> Result<Vec<Found>, OpenError> {
    let mut found = Vec::new();
    for (name, path) in list(&paths.log)? {
        let Some(first) = parse_name(&name) else { continue };
        let length = std::fs::metadata(&path).map_err(OpenError::io("look at", &path))?.len();
        let bytes = usize::try_from(length).unwrap_or(usize::MAX);
        found.push(Found { first, bytes, path });
    }
    found.sort_by_key(|segment| segment.first);
    let nominal = usize::try_from(options.segment_bytes).unwrap_or(usize::MAX);
    for at in 0..found.len() {
        let next = found.get(at + 1).map(|next| (next.first, next.path.clone()));
        let segment = &mut found[at];
        let distance = next.as_ref().map(|(first, _)| to_length(first - segment.first));
        if let Some((_, path)) = next.filter(|_| distance.is_some_and(|distance| distance < segment.bytes)) {
            // Which of the two is right cannot be known here; the later one is the more likely stranger.
            let what = format!("it begins inside {}, which has {} bytes", segment.path.display(), segment.bytes);
            return Err(OpenError::Layout { path, what });
        }
        let wanted = nominal.min(distance.unwrap_or(nominal));
        if segment.bytes < wanted {
            let (had, path) = (segment.bytes, segment.path.display());
            tracing::warn!(%path, had, wanted, "a segment is shorter than it must be");
            let file = open_file(&segment.path)?;
            file.set_len(wanted as u64).map_err(OpenError::io("lengthen", &segment.path))?;
            segment.bytes = wanted;
        }
    }
    Ok(found)
}

/// Sidecars of segments that are gone, and the floor: what is left of queues without messages.
pub(super) fn orphans(paths: &Paths, found: &[Found]) -> Vec<PathBuf> {
    let mut out = vec![paths.floor()];
    for (name, path) in list(&paths.side).unwrap_or_default() {
        let first = name.strip_suffix(".index").and_then(parse_name);
        if first.is_some_and(|first| found.iter().all(|segment| segment.first != first)) {
            out.push(path);
        }
    }
    out
}

/// Names and paths in a folder.
fn list(folder: &Path) -> Result<Vec<(String, PathBuf)>, OpenError> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(OpenError::io("list", folder))? {
        let entry = entry.map_err(OpenError::io("list", folder))?;
        if let Ok(name) = entry.file_name().into_string() {
            out.push((name, entry.path()));
        }
    }
    Ok(out)
}
