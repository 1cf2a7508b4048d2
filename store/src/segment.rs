//! One segment file: created whole, opened again, named by the log offset it begins at.
//!
//! Owns names, lengths and the pair of file and mapping. What the bytes mean is told by `scan`.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, Existing};
use crate::mapping::Mapping;

/// A segment's file and its bytes in memory.
#[derive(Debug)]
pub(crate) struct Segment {
    /// Log offset of its first byte.
    pub(crate) first: i64,
    /// Its length in bytes.
    pub(crate) bytes: usize,
    pub(crate) path: PathBuf,
    pub(crate) file: File,
    pub(crate) mapping: Arc<Mapping>,
}

impl Segment {
    /// Makes a new file of `bytes`, all zero and reserved on disk, durable in its folder.
    pub(crate) fn create(disk: &dyn Disk, folder: &Path, first: i64, bytes: usize) -> io::Result<Self> {
        let path = folder.join(file_name(first));
        // A file that exists is somebody's log; recovery has removed those that hold nothing.
        let file = disk.create(&path, Existing::Refused)?;
        let made = disk
            .allocate(&file, bytes as u64)
            .and_then(|()| disk.sync(&file))
            .and_then(|()| disk.sync_folder(folder))
            .and_then(|()| Mapping::open(&file, bytes, 0));
        match made {
            Ok(mapping) => Ok(Self { first, bytes, path, file, mapping }),
            Err(error) => {
                // A file without its space would be mistaken for a damaged segment later, and one that
                // stays would be in the way of the next try.
                if let Err(left) = disk.remove(&path) {
                    tracing::warn!(%left, path = %path.display(), "cannot remove a segment that was not made");
                }
                Err(error)
            }
        }
    }

    /// Opens an existing file of `bytes`, of which the first `committed` may be read.
    pub(crate) fn open(
        disk: &dyn Disk,
        path: &Path,
        first: i64,
        (bytes, committed): (usize, usize),
    ) -> io::Result<Self> {
        let file = disk.open(path)?;
        let mapping = Mapping::open(&file, bytes, committed)?;
        Ok(Self { first, bytes, path: path.to_owned(), file, mapping })
    }

    /// The log offset behind its last byte.
    pub(crate) fn end(&self) -> i64 {
        self.first + to_offset(self.bytes)
    }
}

/// The name of the segment that begins at `first`, as RocketMQ names its files.
pub(crate) fn file_name(first: i64) -> String {
    format!("{first:020}")
}

/// The log offset that a file name says, `None` for other names.
pub(crate) fn parse_name(name: &str) -> Option<i64> {
    let digits = name.len() == 20 && name.bytes().all(|byte| byte.is_ascii_digit());
    if digits { name.parse().ok() } else { None }
}

/// A length as a distance between log offsets.
pub(crate) fn to_offset(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// A distance between log offsets as a length; a negative one is 0.
pub(crate) fn to_length(distance: i64) -> usize {
    usize::try_from(distance).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    #[test]
    fn names_are_twenty_digits() {
        assert_eq!(file_name(1 << 30), "00000000001073741824");
        assert_eq!(parse_name("00000000001073741824"), Some(1 << 30));
        assert_eq!(parse_name("1073741824"), None);
        assert_eq!(parse_name("0000000000107374182x"), None);
        assert_eq!(parse_name("99999999999999999999"), None);
    }

    #[test]
    fn a_new_segment_is_reserved_and_zero() {
        let folder = tempfile::tempdir().unwrap();
        let segment = Segment::create(&RealDisk, folder.path(), 65_536, 65_536).unwrap();
        assert_eq!(segment.end(), 131_072);
        let bytes = std::fs::read(folder.path().join(file_name(65_536))).unwrap();
        assert_eq!(bytes.len(), 65_536);
        assert!(bytes.iter().all(|byte| *byte == 0));
    }
}
