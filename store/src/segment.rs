//! One segment file: created whole, opened again, named by the log offset it begins at.
//!
//! Owns names, lengths, the pair of file and mapping, and how bytes of the mapping get into the file. What
//! the bytes mean is told by `scan`.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::disk::{Disk, Existing};
use crate::limits::BLOCK_BYTES;
use crate::mapping::{Mapping, PAGE_BYTES};

/// A segment's file and its bytes in memory.
#[derive(Debug)]
pub(crate) struct Segment {
    /// Log offset of its first byte.
    pub(crate) first: i64,
    /// Its length in bytes.
    pub(crate) bytes: usize,
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<File>,
    pub(crate) mapping: Arc<Mapping>,
    /// The file again, written without the page cache; `None` where the file system cannot.
    direct: Option<File>,
    /// Position up to which the hot file's memory lies, or lay, under the mapping.
    laid: AtomicUsize,
    pub(crate) blocks: Mutex<BlockSums>,
}

/// A page of memory where direct writes may come from.
#[derive(Debug, Clone)]
#[repr(align(4096))]
pub(crate) struct Page([u8; PAGE_BYTES]);

const _: () = assert!(align_of::<Page>() == PAGE_BYTES);

impl Default for Page {
    fn default() -> Self {
        Self([0; PAGE_BYTES])
    }
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
            .and_then(|()| Mapping::open(&file, bytes, 0))
            .and_then(|mapping| Ok((mapping, disk.open_direct(&path)?)));
        match made {
            Ok((mapping, direct)) => Ok(Self::of((first, bytes), path, (file, direct), mapping)),
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
        Ok(Self::of((first, bytes), path.to_owned(), (file, disk.open_direct(path)?), mapping))
    }

    fn of(
        (first, bytes): (i64, usize),
        path: PathBuf,
        (file, direct): (File, Option<File>),
        mapping: Arc<Mapping>,
    ) -> Self {
        // Memory is laid from the chunk on in which something is written next.
        let laid = AtomicUsize::new(0);
        let (file, blocks) = (Arc::new(file), Mutex::new(BlockSums::default()));
        Self { first, bytes, path, file, mapping, direct, laid, blocks }
    }

    /// Position up to which memory lies, or lay, under the mapping.
    #[inline]
    pub(crate) fn laid(&self) -> usize {
        self.laid.load(Ordering::Acquire)
    }

    /// Says that memory lies under the mapping up to `to`, or need not lie there.
    pub(crate) fn lay_to(&self, to: usize) {
        self.laid.store(to, Ordering::Release);
    }

    /// Writes the bytes of the mapping from `from` to `to` into the file, without flushing it.
    ///
    /// A direct write takes whole pages: the one in which `from` lies is written again with the same bytes in
    /// front, and the last one is filled up with zeros in `page`.
    ///
    /// # Errors
    /// What the disk says. Nothing may be assumed about earlier writes then.
    pub(crate) fn write_out(&self, disk: &dyn Disk, from: usize, to: usize, page: &mut Page) -> io::Result<()> {
        let bytes = |from, to| self.mapping.slice(from, to).ok_or_else(|| io::Error::other("bytes are not there yet"));
        let (first_page, last_page) = (from / PAGE_BYTES * PAGE_BYTES, to / PAGE_BYTES * PAGE_BYTES);
        // The last page of a file of another length would make it longer.
        let whole = last_page + PAGE_BYTES <= self.bytes || last_page == to;
        let Some(direct) = self.direct.as_ref().filter(|_| whole) else {
            return disk.write_at(&self.file, bytes(from, to)?, from as u64);
        };
        let rest = bytes(last_page, to)?;
        page.0[..rest.len()].copy_from_slice(rest);
        page.0[rest.len()..].fill(0);
        let last: &[u8] = if rest.is_empty() { &[] } else { &page.0 };
        disk.write_direct(direct, [bytes(first_page, last_page)?, last], first_page as u64)
    }

    /// Gives back the space behind the position `tail`, where nothing was ever written, so that no byte changes. The
    /// file keeps its length, by which the next one is named. Where it cannot be had the space stays taken until the
    /// segment is deleted, and nothing else is lost.
    pub(crate) fn free_behind(&self, disk: &dyn Disk, tail: usize) {
        let from = tail.next_multiple_of(PAGE_BYTES);
        if from >= self.bytes {
            return;
        }
        if let Err(error) = disk.free(&self.file, from as u64, (self.bytes - from) as u64) {
            tracing::warn!(%error, path = %self.path.display(), "the space that no record took is not given back");
        }
    }

    /// The log offset behind its last byte.
    pub(crate) fn end(&self) -> i64 {
        self.first + to_offset(self.bytes)
    }
}

/// Checksums of a segment's blocks, made while its bytes are still in memory.
#[derive(Debug, Default)]
pub(crate) struct BlockSums {
    sums: Vec<u32>,
    /// Position up to which bytes were summed; the last block may be begun only.
    to: usize,
}

impl BlockSums {
    /// Goes on to the position `to`, whose bytes never change any more.
    pub(crate) fn advance(&mut self, mapping: &Mapping, to: usize) {
        while self.to < to {
            let block = self.to / BLOCK_BYTES;
            let end = to.min((block + 1) * BLOCK_BYTES);
            let Some(bytes) = mapping.slice(self.to, end) else { return };
            if block == self.sums.len() {
                self.sums.push(0);
            }
            self.sums[block] = crc32c::crc32c_append(self.sums[block], bytes);
            self.to = end;
        }
    }

    /// The checksums that were made; that of the last block may be of its beginning only.
    pub(crate) fn all(&self) -> &[u32] {
        &self.sums
    }

    /// The checksums of all blocks up to the position `to`.
    pub(crate) fn up_to(&mut self, mapping: &Mapping, to: usize) -> Vec<u32> {
        self.advance(mapping, to);
        self.all().to_vec()
    }
}

/// Checksums of the blocks of bytes that lie in memory as a whole.
pub(crate) fn block_sums(bytes: &[u8]) -> Vec<u32> {
    bytes.chunks(BLOCK_BYTES).map(crc32c::crc32c).collect()
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
