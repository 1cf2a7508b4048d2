//! Topics that were deleted, and the log offset before which their records are gone.
//!
//! Owns the file `tombstones`. Records stay in their segments until those are deleted; readers and
//! recovery ask here.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use crate::disk::{Disk, read_optional, replace};
use crate::error::OpenError;
use crate::limits::TOMBSTONES_BYTES_MAX;
use crate::sidecar::{read_i64, read_u32};

const MAGIC: [u8; 8] = *b"STRATATS";
const VERSION: u32 = 1;

/// Deleted topics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tombstones {
    before: BTreeMap<String, i64>,
}

impl Tombstones {
    /// The log offset before which records of `topic` do not exist; 0 for most topics.
    pub(crate) fn of(&self, topic: &str) -> i64 {
        if self.before.is_empty() { 0 } else { self.before.get(topic).copied().unwrap_or(0) }
    }

    /// All topics with the log offsets at which they ended.
    pub(crate) fn all(&self) -> Vec<(String, i64)> {
        self.before.iter().map(|(topic, offset)| (topic.clone(), *offset)).collect()
    }

    /// Notes that `topic` ended at `offset`.
    pub(crate) fn add(&mut self, topic: &str, offset: i64) {
        self.before.insert(topic.to_owned(), offset);
    }

    /// Drops what the log's start has made true by itself.
    pub(crate) fn prune(&mut self, log_start: i64) {
        self.before.retain(|_, offset| *offset >= log_start);
    }

    /// Lowers what lies behind the log's end to it and says whether anything did.
    pub(crate) fn bound(&mut self, log_end: i64) -> bool {
        let mut changed = false;
        for offset in self.before.values_mut().filter(|offset| **offset > log_end) {
            *offset = log_end;
            changed = true;
        }
        changed
    }

    /// Reads the file; a missing one is empty.
    pub(crate) fn load(path: &Path) -> Result<Self, OpenError> {
        let damaged = |what: &str| OpenError::Damaged {
            path: path.to_owned(),
            what: what.to_owned(),
            cost: "deleted topics may come back",
        };
        if std::fs::metadata(path).is_ok_and(|file| file.len() > TOMBSTONES_BYTES_MAX) {
            return Err(damaged("it is too large"));
        }
        let Some(bytes) = read_optional(path).map_err(OpenError::io("read", path))? else {
            return Ok(Self::default());
        };
        if bytes.len() < 20 || bytes[..8] != MAGIC || read_u32(&bytes, 8) != VERSION {
            return Err(damaged("it does not begin as tombstones of version 1 do"));
        }
        if crc32c::crc32c(&bytes[16..]) != read_u32(&bytes, 12) {
            return Err(damaged("its checksum is wrong"));
        }
        let mut before = BTreeMap::new();
        let mut rest = &bytes[20..];
        for _ in 0..read_u32(&bytes, 16) {
            let entry = take_entry(&mut rest).ok_or_else(|| damaged("an entry is cut"))?;
            before.insert(entry.0, entry.1);
        }
        Ok(Self { before })
    }

    /// Replaces the file, durably.
    pub(crate) fn save(&self, disk: &dyn Disk, path: &Path) -> io::Result<()> {
        let count = u32::try_from(self.before.len()).map_err(io::Error::other)?;
        let mut body = count.to_le_bytes().to_vec();
        for (topic, offset) in &self.before {
            body.extend_from_slice(&offset.to_le_bytes());
            let length = u16::try_from(topic.len()).map_err(io::Error::other)?;
            body.extend_from_slice(&length.to_le_bytes());
            body.extend_from_slice(topic.as_bytes());
        }
        if body.len() as u64 + 16 > TOMBSTONES_BYTES_MAX {
            return Err(io::Error::other("too many topics were deleted since the log's start"));
        }
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
        bytes.extend_from_slice(&body);
        replace(disk, path, &bytes)
    }
}

fn take_entry(rest: &mut &[u8]) -> Option<(String, i64)> {
    let length = usize::from(u16::from_le_bytes(rest.get(8..10)?.try_into().ok()?));
    let topic = std::str::from_utf8(rest.get(10..10 + length)?).ok()?.to_owned();
    let offset = read_i64(rest, 0);
    *rest = &rest[10 + length..];
    Some((topic, offset))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    #[test]
    fn survive_the_file_and_see_damage() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tombstones");
        assert_eq!(Tombstones::load(&path).unwrap(), Tombstones::default());
        let mut tombstones = Tombstones::default();
        tombstones.add("a", 5);
        tombstones.add("ü", 1 << 40);
        tombstones.add("a", 7);
        tombstones.save(&RealDisk, &path).unwrap();
        let read = Tombstones::load(&path).unwrap();
        assert_eq!(read, tombstones);
        assert_eq!((read.of("a"), read.of("ü"), read.of("b")), (7, 1 << 40, 0));
        let bytes = std::fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 4;
            std::fs::write(&path, other).unwrap();
            assert!(Tombstones::load(&path).is_err(), "a flip at {at} passed");
        }
        tombstones.prune(8);
        assert_eq!(tombstones.of("a"), 0);
        assert_eq!(tombstones.of("ü"), 1 << 40);
    }
}
