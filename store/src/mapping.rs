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
//! - [`Mapping::lay`] and [`Mapping::lift`] exchange the pages under a range of addresses, which stay the
//!   mapping's own: the kernel does it at once for all threads. Slices below the mark see the same
//!   bytes before and after, because `lay` is called once what lies below the mark was copied, and `lift`
//!   for ranges only that were written to the file and flushed; no slice reaches above the mark.
//! - [`Mapping::page_out`] drops pages that the file holds too; the kernel reads them again for whoever looks.
//! - [`Mapping::let_go`] takes pages of the file from under a range; the next read finds the file's bytes there again.
//! - A mapping lives as long as any slice: slices borrow it or hold its `Arc`, and deleting a file
//!   does not take pages from those who map it.
//! - Other processes are kept off by the folder's lock. A process that ignores it, or a disk that
//!   cannot read a page, ends this one by SIGBUS; memory safety is not at stake.
#![allow(unsafe_code, reason = "mapped files cannot be had without; the argument is above")]

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use memmap2::{Advice, MmapOptions, MmapRaw, UncheckedAdvice};
use rustix::mm::{MapFlags, ProtFlags};

/// Bytes of a page, and what positions of direct writes are multiples of. No machine that Strata runs on
/// has smaller pages; one with larger ones refuses the exchange, and the store says so when it opens.
pub(crate) const PAGE_BYTES: usize = 4_096;

/// Pages that one question about residence covers.
const RESIDENT_PAGES_MAX: usize = 64;

/// Bytes that a processor fetches from memory at once; with another size a hint is too much or too little.
const LINE_BYTES: usize = 64;

/// A file's bytes in memory, readable up to a mark.
#[derive(Debug)]
pub(crate) struct Mapping {
    raw: MmapRaw,
    committed: AtomicUsize,
    /// Position from which on all that is below the mark is in memory for certain.
    hot_from: AtomicUsize,
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
        let (hot_from, written) = (AtomicUsize::new(committed), AtomicBool::new(false));
        Ok(Arc::new(Self { raw, committed: AtomicUsize::new(committed), hot_from, written }))
    }

    /// Maps a whole file for reading, `None` for an empty one, which cannot be mapped.
    pub(crate) fn read_only(file: &File) -> io::Result<Option<Arc<Self>>> {
        let bytes = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        if bytes == 0 {
            return Ok(None);
        }
        let raw = MmapOptions::new().len(bytes).map_raw_read_only(file)?;
        let (committed, hot_from) = (AtomicUsize::new(bytes), AtomicUsize::new(bytes));
        Ok(Some(Arc::new(Self { raw, committed, hot_from, written: AtomicBool::new(true) })))
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

    /// Begins to bring the bytes from `from` to `to` near the processor; does not wait, and nothing where that is not
    /// known how.
    pub(crate) fn prefetch(&self, from: usize, to: usize) {
        for line in self.slice(from, to).unwrap_or_default().chunks(LINE_BYTES) {
            fetch_line(line.as_ptr());
        }
        // The last byte lies in the next line when the range does not begin at one.
        if let Some(last) = to.checked_sub(1).and_then(|last| self.slice(last, to)) {
            fetch_line(last.as_ptr());
        }
    }

    /// Waits until the bytes from `from` to `to` were read from disk.
    pub(crate) fn load(&self, from: usize, to: usize) {
        for page in self.slice(from, to).unwrap_or_default().chunks(PAGE_BYTES) {
            // The last byte lies in the next page when the range does not begin at one.
            std::hint::black_box((page.first().copied(), page.last().copied()));
        }
    }

    /// Asks the system to read the bytes from `from` to `to` from disk; does not wait for them.
    ///
    /// # Errors
    /// What the system says; they are read when they are asked for then.
    pub(crate) fn read_ahead(&self, from: usize, to: usize) -> io::Result<()> {
        let to = to.min(self.len());
        if from >= to {
            return Ok(());
        }
        self.raw.advise_range(Advice::WillNeed, from, to - from)
    }

    /// Asks the system to drop the pages of the file from `from` to `to` from memory. Who reads them next waits for the
    /// disk and sees the same bytes. Pages of the hot file stay: nothing else may hold what they do.
    ///
    /// # Errors
    /// What the system says, also one that cannot; the pages stay until their memory is needed then.
    pub(crate) fn page_out(&self, from: usize, to: usize) -> io::Result<()> {
        let from = from.next_multiple_of(PAGE_BYTES);
        let to = to.min(self.len()).min(self.hot_from.load(Ordering::Relaxed));
        if from >= to {
            return Ok(());
        }
        // SAFETY: the range is this mapping's and begins at a page; its pages are a shared file's, so whoever looks at
        // one again gets the same bytes from the file.
        let dropped = unsafe {
            let at = self.raw.as_mut_ptr().add(from);
            rustix::mm::madvise(at.cast(), to - from, rustix::mm::Advice::LinuxPageOut)
        };
        dropped.map_err(io::Error::from)
    }

    /// Says that the bytes are read from the first to the last: the kernel reads ahead of that.
    pub(crate) fn expect_pass(&self) {
        // A system that does not take the hint reads when the bytes are needed.
        _ = self.raw.advise(Advice::Sequential);
    }

    /// Lets go of the memory under `range` of the mapped `file`; what is read there again comes from the disk.
    pub(crate) fn let_go(&self, range: std::ops::Range<usize>, file: &File) {
        let inside = range.start < range.end && range.end <= self.len();
        assert!(inside && range.start.is_multiple_of(PAGE_BYTES), "only own pages are let go");
        let (from, bytes) = (range.start, range.len());
        // SAFETY: the range lies inside this mapping, which is shared: its pages are the file's, so a slice of them
        // sees the same bytes before and after, and what was written to them stays the file's.
        let unmapped = unsafe { self.raw.unchecked_advise_range(UncheckedAdvice::DontNeed, from, bytes) };
        if unmapped.is_ok() {
            // Pages that the kernel keeps are no fault: this is about memory and nothing else.
            let bytes = std::num::NonZeroU64::new(bytes as u64);
            _ = rustix::fs::fadvise(file, from as u64, bytes, rustix::fs::Advice::DontNeed);
        }
    }

    /// The only writer of this mapping, `None` when it was given out or the mapping is read-only.
    pub(crate) fn writer(self: &Arc<Self>) -> Option<MapWriter> {
        let taken = self.written.swap(true, Ordering::AcqRel);
        (!taken).then(|| MapWriter { mapping: Arc::clone(self) })
    }

    /// Puts the pages of `hot` from `hot_at` on in the place of this mapping's pages `range`. What lies
    /// below the mark there must have been copied before, so that readers see the same bytes.
    ///
    /// # Errors
    /// What the system says; the mapping is as it was then.
    pub(crate) fn lay(&self, range: std::ops::Range<usize>, hot: &File, hot_at: u64) -> io::Result<()> {
        let from = range.start;
        self.exchange(range, hot, hot_at)?;
        self.hot_from.fetch_min(from, Ordering::Relaxed);
        Ok(())
    }

    /// Puts the pages of the mapped `file` back under `range`, all of which must have been written to the
    /// file and flushed, so that readers see the same bytes.
    ///
    /// # Errors
    /// What the system says; the mapping is as it was then.
    pub(crate) fn lift(&self, range: std::ops::Range<usize>, file: &File) -> io::Result<()> {
        self.hot_from.fetch_max(range.end, Ordering::Relaxed);
        let at = range.start as u64;
        self.exchange(range, file, at)
    }

    /// Whether reading the bytes from `from` to `to` does not wait for the disk. Only the kernel knows for
    /// certain, and only for this moment.
    pub(crate) fn is_resident(&self, from: usize, to: usize) -> bool {
        if from >= self.hot_from.load(Ordering::Relaxed) {
            return true;
        }
        let from = from / PAGE_BYTES * PAGE_BYTES;
        let Some(bytes) = self.slice(from, to) else { return true };
        let mut pages = [0_u8; RESIDENT_PAGES_MAX];
        let mut parts = bytes.chunks(RESIDENT_PAGES_MAX * PAGE_BYTES);
        parts.all(|part| {
            // SAFETY: the range is this mapping's and begins at a page; the kernel writes one byte for each of
            // its pages, of which there are not more than `pages` has.
            let asked = unsafe { libc::mincore(part.as_ptr().cast_mut().cast(), part.len(), pages.as_mut_ptr()) };
            // A kernel that does not tell is taken for one that would not wait.
            asked != 0 || pages[..part.len().div_ceil(PAGE_BYTES)].iter().all(|page| page & 1 == 1)
        })
    }

    fn exchange(&self, range: std::ops::Range<usize>, file: &File, at: u64) -> io::Result<()> {
        let end = self.len().next_multiple_of(PAGE_BYTES);
        let inside = range.start < range.end && range.end <= end;
        assert!(inside && range.start.is_multiple_of(PAGE_BYTES), "only own pages are exchanged");
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::SHARED | MapFlags::FIXED;
        // SAFETY: the range lies inside this mapping's own pages, which live as long as `self`, so nothing
        // else is unmapped; what slices of it show does not change (see the module's text).
        let laid = unsafe {
            let to = self.raw.as_mut_ptr().add(range.start);
            rustix::mm::mmap(to.cast(), range.len(), protection, flags, file, at)
        };
        laid.map(|_| ()).map_err(io::Error::from)
    }

    /// Makes the pages from `from` on present and writable.
    pub(crate) fn populate(&self, from: usize, bytes: usize) -> io::Result<()> {
        let from = from.min(self.len()) / PAGE_BYTES * PAGE_BYTES;
        let bytes = bytes.min(self.len() - from);
        if bytes == 0 {
            return Ok(());
        }
        self.raw.advise_range(Advice::PopulateWrite, from, bytes)
    }
}

/// Hints that a line of memory will be read.
#[inline]
fn fetch_line(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing that can be seen and faults nowhere, whatever the address.
    unsafe {
        core::arch::x86_64::_mm_prefetch::<{ core::arch::x86_64::_MM_HINT_T0 }>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// Numbers in a mapped file that are read and written one by one, by any thread.
#[derive(Debug)]
pub(crate) struct Cells {
    raw: MmapRaw,
}

impl Cells {
    /// Maps `cells` numbers from `at` of `file`, which must be that long.
    pub(crate) fn open(file: &File, at: u64, cells: usize) -> io::Result<Self> {
        let bytes = cells * size_of::<u64>();
        if file.metadata()?.len() < at + bytes as u64 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file ends before its cells"));
        }
        Ok(Self { raw: MmapOptions::new().offset(at).len(bytes).map_raw(file)? })
    }

    /// Sets a number; a cell that does not exist is not set.
    pub(crate) fn set(&self, cell: usize, number: u64) {
        if let Some(cell) = self.cell(cell) {
            cell.store(number, Ordering::Release);
        }
    }

    fn cell(&self, cell: usize) -> Option<&AtomicU64> {
        let at = cell.checked_mul(size_of::<u64>())?;
        if at >= self.raw.len() {
            return None;
        }
        // SAFETY: the cell lies inside the mapping, which begins at a page and so is aligned; it is only
        // ever touched as an atomic number.
        Some(unsafe { AtomicU64::from_ptr(self.raw.as_mut_ptr().add(at).cast()) })
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
