//! Checksums of the active segment's flushed records, in a file beside it.
//!
//! Owns writing one frame after each flush and reading them at recovery. Frames are hints with teeth:
//! losing them loses no message, but what they cover can no longer be mistaken for a torn tail.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::disk::{Disk, Existing};
use crate::sidecar::{read_i64, read_u32};

const MAGIC: [u8; 8] = *b"STRATASM";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 16;

/// What frames say about a segment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    /// Position up to which records were flushed and summed.
    pub(crate) covered: usize,
    /// Position and crc32c of each record, ascending.
    pub(crate) records: Vec<(u32, u32)>,
    /// Bytes of the file that hold good frames.
    file_bytes: u64,
    /// Where the last look-up found its record: a scan asks for one after the other.
    near: Cell<usize>,
}

impl Sums {
    /// The checksum of the record at `position`.
    pub(crate) fn of(&self, position: usize) -> Option<u32> {
        if position >= self.covered {
            return None;
        }
        let position = u32::try_from(position).ok()?;
        let near = self.near.get();
        let found = match self.records.get(near) {
            Some((at, _)) if *at == position => near,
            _ => self.records.binary_search_by_key(&position, |(at, _)| *at).ok()?,
        };
        // The same record is often asked for twice, then the next one.
        let next = self.records.get(found + 1).is_some();
        self.near.set(found + usize::from(next));
        Some(self.records[found].1)
    }

    /// The first record that was summed behind `position`.
    pub(crate) fn after(&self, position: usize) -> Option<usize> {
        let found = self.records.partition_point(|(at, _)| *at as usize <= position);
        self.records.get(found).map(|(at, _)| *at as usize)
    }

    /// Reads the file of the segment at `first`; a missing or foreign one says nothing.
    pub(crate) fn load(path: &Path, first: i64) -> Self {
        let Ok(bytes) = std::fs::read(path) else { return Self::default() };
        let mut sums = Self::default();
        if bytes.get(..HEADER_BYTES).is_none_or(|found| found != header(first)) {
            return sums;
        }
        let mut at = HEADER_BYTES;
        while let Some(next) = sums.take_frame(&bytes, at) {
            at = next;
        }
        sums.file_bytes = at as u64;
        sums
    }

    /// Takes the frame at `at` in and returns where the next one begins.
    fn take_frame(&mut self, bytes: &[u8], at: usize) -> Option<usize> {
        let head = bytes.get(at..at + FRAME_HEADER_BYTES)?;
        let count = read_u32(head, 0) as usize;
        let end = at.checked_add(FRAME_HEADER_BYTES)?.checked_add(count.checked_mul(8)?)?;
        let rest = bytes.get(at + 8..end)?;
        let (from, to) = (read_u32(head, 8) as usize, read_u32(head, 12) as usize);
        let good = crc32c::crc32c(rest) == read_u32(head, 4) && from == self.covered && to >= from;
        if !good {
            return None;
        }
        self.records.extend(rest[8..].chunks_exact(8).map(|r| (read_u32(r, 0), read_u32(r, 4))));
        self.covered = to;
        Some(end)
    }
}

fn header(first: i64) -> [u8; HEADER_BYTES] {
    let mut out = [0; HEADER_BYTES];
    out[..8].copy_from_slice(&MAGIC);
    out[8..12].copy_from_slice(&VERSION.to_le_bytes());
    out[16..24].copy_from_slice(&first.to_le_bytes());
    let crc = crc32c::crc32c(&out);
    out[12..16].copy_from_slice(&crc.to_le_bytes());
    debug_assert_eq!(read_i64(&out, 16), first);
    out
}

/// Appends frames for one segment.
#[derive(Debug)]
pub(crate) struct SumsWriter {
    pub(crate) first: i64,
    /// Position up to which frames exist.
    pub(crate) covered: usize,
    file: File,
    at: u64,
    frame: Vec<u8>,
    path: PathBuf,
}

impl SumsWriter {
    /// Goes on behind `sums`, which [`Sums::load`] read, or begins a new file.
    pub(crate) fn open(disk: &dyn Disk, path: &Path, first: i64, sums: &Sums) -> io::Result<Self> {
        let file = disk.create(path, Existing::Kept)?;
        let mut at = sums.file_bytes;
        disk.resize(&file, at)?;
        if at == 0 {
            disk.write_at(&file, &header(first), 0)?;
            at = HEADER_BYTES as u64;
        }
        let path = path.to_owned();
        Ok(Self { first, covered: sums.covered, file, at, frame: Vec::new(), path })
    }

    /// Notes the checksums of records behind [`Self::covered`], all that are on disk up to the position `to`. What
    /// lies between them is damage that recovery found: it is covered and has no sum.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn append(&mut self, disk: &dyn Disk, records: &[(u32, u32)], to: usize) -> io::Result<()> {
        if to <= self.covered {
            return Ok(());
        }
        self.begin();
        for (position, crc) in records {
            self.add(*position, *crc);
        }
        self.end(disk, to)
    }

    fn begin(&mut self) {
        self.frame.clear();
        self.frame.resize(FRAME_HEADER_BYTES, 0);
    }

    fn add(&mut self, position: u32, crc: u32) {
        self.frame.extend_from_slice(&position.to_le_bytes());
        self.frame.extend_from_slice(&crc.to_le_bytes());
    }

    /// Writes the frame, which covers everything up to `to`.
    fn end(&mut self, disk: &dyn Disk, to: usize) -> io::Result<()> {
        let count = small((self.frame.len() - FRAME_HEADER_BYTES) / 8)?;
        self.frame[..4].copy_from_slice(&count.to_le_bytes());
        self.frame[8..12].copy_from_slice(&small(self.covered)?.to_le_bytes());
        self.frame[12..16].copy_from_slice(&small(to)?.to_le_bytes());
        let crc = crc32c::crc32c(&self.frame[8..]);
        self.frame[4..8].copy_from_slice(&crc.to_le_bytes());
        disk.write_at(&self.file, &self.frame, self.at)?;
        self.at += self.frame.len() as u64;
        self.covered = to;
        Ok(())
    }

    /// The file's path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

fn small(position: usize) -> io::Result<u32> {
    u32::try_from(position).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    #[test]
    fn frames_are_read_back_and_torn_ones_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.sums");
        let mut writer = SumsWriter::open(&RealDisk, &path, 4_096, &Sums::default()).unwrap();
        writer.append(&RealDisk, &[(0, 5), (20, 6)], 50).unwrap();
        let first_frame = std::fs::metadata(&path).unwrap().len();
        writer.append(&RealDisk, &[(50, 7)], 58).unwrap();
        let sums = Sums::load(&path, 4_096);
        assert_eq!(sums.covered, 58);
        assert_eq!(sums.of(20), Some(6));
        assert_eq!(sums.of(50), Some(7));
        assert_eq!(sums.of(21), None);
        assert_eq!(sums.after(0), Some(20));
        assert_eq!(sums.after(50), None);
        assert_eq!(Sums::load(&path, 0), Sums::default());

        let mut bytes = std::fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let sums = Sums::load(&path, 4_096);
        assert_eq!((sums.covered, sums.records.len()), (50, 2));
        SumsWriter::open(&RealDisk, &path, 4_096, &sums).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), first_frame);
    }

    #[test]
    fn damage_between_records_is_covered_and_has_no_sum() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.sums");
        let mut writer = SumsWriter::open(&RealDisk, &path, 0, &Sums::default()).unwrap();
        writer.append(&RealDisk, &[(0, 5), (40, 6)], 50).unwrap();
        let sums = Sums::load(&path, 0);
        assert_eq!((sums.covered, sums.of(0), sums.of(20), sums.of(40)), (50, Some(5), None, Some(6)));
    }
}
