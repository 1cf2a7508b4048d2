//! Segment files in memory: the one module of the project that may use `unsafe`.
//!
//! Owns the argument why a slice of a mapped, growing file is sound. It knows nothing of records.
//!
//! # Safety argument
//!
//! A mapping has a mark, `committed`. Bytes below it are never written again by this process; bytes
//! from it on are never read through a shared slice. The mark only rises. Hence:
//!
//! - [`Mapping::slice`] and [`Mapping::bytes`] hand out `&[u8]` below the mark only: nothing changes
//!   under them. The mark is read with `Acquire`, so the writes before it are visible.
//! - [`MapWriter::reserve`] hands out `&mut [u8]` from the mark on only. There is one writer for a
//!   mapping (`writer` refuses a second) and the borrow ends before `commit` raises the mark with
//!   `Release`.
//! - [`Mapping::advance`] raises the mark over bytes that were written through the file descriptor;
//!   it refuses when a writer exists, and mapped pages and file are one page cache.
//! - A mapping lives as long as any slice: slices borrow it or hold its `Arc`, and deleting a file
//!   does not take pages from those who map it.
//! - Other processes are kept off by the folder's lock. A process that ignores it, or a disk that
//!   cannot read a page, ends this one by SIGBUS; memory safety is not at stake.
#![allow(unsafe_code, reason = "mapped files cannot be had without; the argument is above")]

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use memmap2::{Advice, MmapOptions, MmapRaw};

/// A file's bytes in memory, readable up to a mark.
#[derive(Debug)]
pub(crate) struct Mapping {
    raw: MmapRaw,
    committed: AtomicUsize,
    written: AtomicBool,
}

impl Mapping {
    /// Maps the first `bytes` of `file`, of which the first `committed` may be read.
    pub(crate) fn open(file: &File, bytes: usize, committed: usize) -> io::Result<Arc<Self>> {
        assert!(committed <= bytes, "the mark lies inside the mapping");
        let length = file.metadata()?.len();
        if length < bytes as u64 {
            // Touching pages behind the end of a file would end the process.
            let what = format!("the file has {length} bytes, {bytes} are to be mapped");
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, what));
        }
        let raw = MmapOptions::new().len(bytes).map_raw(file)?;
        let (committed, written) = (AtomicUsize::new(committed), AtomicBool::new(false));
        Ok(Arc::new(Self { raw, committed, written }))
    }

    /// Maps a whole file for reading, `None` for an empty one, which cannot be mapped.
    pub(crate) fn read_only(file: &File) -> io::Result<Option<Arc<Self>>> {
        let bytes = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        if bytes == 0 {
            return Ok(None);
        }
        let raw = MmapOptions::new().len(bytes).map_raw_read_only(file)?;
        let mapping = Self { raw, committed: AtomicUsize::new(bytes), written: AtomicBool::new(true) };
        Ok(Some(Arc::new(mapping)))
    }

    /// Bytes mapped.
    pub(crate) fn len(&self) -> usize {
        self.raw.len()
    }

    /// The mark below which bytes may be read.
    pub(crate) fn committed(&self) -> usize {
        self.committed.load(Ordering::Acquire)
    }

    /// The bytes from `from` to `to`, `None` when they do not all lie below the mark.
    pub(crate) fn slice(&self, from: usize, to: usize) -> Option<&[u8]> {
        if from > to || to > self.committed() {
            return None;
        }
        // SAFETY: `from <= to <= committed <= len`, so the range lies inside the mapping, which lives
        // as long as `self`; bytes below the mark are not written any more (see the module's text).
        Some(unsafe { std::slice::from_raw_parts(self.raw.as_ptr().add(from), to - from) })
    }

    /// The bytes from `from` to `to` as an owner of the mapping.
    pub(crate) fn bytes(self: &Arc<Self>, from: usize, to: usize) -> Option<Bytes> {
        self.slice(from, to)?;
        Some(Bytes::from_owner(Range { mapping: Arc::clone(self), from, to }))
    }

    /// The only writer of this mapping, `None` when it was given out or the mapping is read-only.
    pub(crate) fn writer(self: &Arc<Self>) -> Option<MapWriter> {
        let taken = self.written.swap(true, Ordering::AcqRel);
        (!taken).then(|| MapWriter { mapping: Arc::clone(self) })
    }

    /// Raises the mark to `to` after the bytes were written through the file.
    pub(crate) fn advance(&self, to: usize) {
        assert!(!self.written.load(Ordering::Acquire), "a mapping is written in one way only");
        assert!(to <= self.len(), "the mark lies inside the mapping");
        self.committed.fetch_max(to, Ordering::AcqRel);
    }

    /// Makes the pages from `from` on present and writable.
    pub(crate) fn populate(&self, from: usize, bytes: usize) -> io::Result<()> {
        let from = from.min(self.len()) & !4_095;
        let bytes = bytes.min(self.len() - from);
        if bytes == 0 {
            return Ok(());
        }
        self.raw.advise_range(Advice::PopulateWrite, from, bytes)
    }
}

/// The one who writes into a mapping, from the mark on.
#[derive(Debug)]
pub(crate) struct MapWriter {
    mapping: Arc<Mapping>,
}

impl MapWriter {
    /// The next `bytes` behind the mark, `None` when the mapping ends before.
    pub(crate) fn reserve(&mut self, bytes: usize) -> Option<&mut [u8]> {
        let at = self.mapping.committed.load(Ordering::Relaxed);
        if bytes > self.mapping.len() - at {
            return None;
        }
        // SAFETY: the range lies inside the mapping and behind the mark, where no shared slice
        // reaches; `&mut self` of the only writer makes the slice exclusive.
        Some(unsafe { std::slice::from_raw_parts_mut(self.mapping.raw.as_mut_ptr().add(at), bytes) })
    }

    /// Raises the mark by `bytes` that were written.
    pub(crate) fn commit(&mut self, bytes: usize) {
        let at = self.mapping.committed.load(Ordering::Relaxed);
        assert!(bytes <= self.mapping.len() - at, "only reserved bytes are committed");
        self.mapping.committed.store(at + bytes, Ordering::Release);
    }
}

/// A readable part of a mapping that keeps it alive.
struct Range {
    mapping: Arc<Mapping>,
    from: usize,
    to: usize,
}

impl AsRef<[u8]> for Range {
    fn as_ref(&self) -> &[u8] {
        // The range was checked when it was made and the mark never falls.
        self.mapping.slice(self.from, self.to).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: u64) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(bytes).unwrap();
        file
    }

    #[test]
    fn only_committed_bytes_are_read() {
        let mapping = Mapping::open(&file(8_192), 8_192, 0).unwrap();
        assert!(mapping.slice(0, 1).is_none());
        let mut writer = mapping.writer().unwrap();
        assert!(mapping.writer().is_none());
        writer.reserve(3).unwrap().copy_from_slice(b"abc");
        assert!(mapping.slice(0, 3).is_none());
        writer.commit(3);
        let kept = mapping.bytes(1, 3).unwrap();
        assert!(mapping.bytes(1, 4).is_none());
        assert!(writer.reserve(8_190).is_none());
        drop((writer, mapping));
        assert_eq!(&kept[..], b"bc");
    }

    #[test]
    fn a_short_file_is_not_mapped() {
        assert!(Mapping::open(&file(10), 4_096, 0).is_err());
        assert!(Mapping::read_only(&file(0)).unwrap().is_none());
    }
}
