//! The hot file: recycled memory under the growing end of the log.
//!
//! Owns which pages lie under which part of a segment. A segment's own pages would have to be made by the
//! kernel for every message, zeroed, and written back by its own clock. Instead chunks of one small file, whose
//! pages stay, are laid under the part of the mapping that is written next; the flusher writes from there
//! into the segment without the page cache, and a chunk that is on disk goes on at the front, after the
//! segment's own pages were put back under it. Addresses never change, so readers notice nothing.
//!
//! What was appended and not flushed survives the process here. Beside each chunk the writer notes a checksum
//! of each record, by which the next opening takes it over (`recover`). After a power cut the file is
//! any mixture of old and new pages; a record that matches its checksum is a record all the same.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use strata_protocol::record::{BLANK_BYTES_MIN, Magic, PHYSICAL_OFFSET_AT};

use crate::disk::{Disk, Existing};
use crate::limits::{HOT_CHUNK_BYTES_MAX, HOT_SLOTS_KEPT_MAX, HOT_SLOTS_KEPT_MIN, HOT_SLOTS_MAX};
use crate::mapping::{Cells, Mapping, PAGE_BYTES};
use crate::segment::{Segment, to_length, to_offset};

/// `STRATAHT` and the version in the last byte's place.
const MAGIC: u64 = u64::from_le_bytes(*b"STRATAH\x01");
const HEADER_BYTES: u64 = PAGE_BYTES as u64;
/// Cells of the header; those of slots follow, two for each.
const MAGIC_CELL: usize = 0;
const CHUNK_CELL: usize = 1;
const SLOTS_CELL: usize = 2;
const DURABLE_CELL: usize = 3;
const FIRST_SLOT_CELL: usize = 8;

const _: () = assert!((FIRST_SLOT_CELL + 2 * HOT_SLOTS_MAX) * 8 <= PAGE_BYTES);

/// Where the parts of the file lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Layout {
    chunk: usize,
}

impl Layout {
    /// Bytes for the checksums of a chunk's records, of which the smallest has more than 64 bytes.
    fn notes_bytes(self) -> usize {
        (self.chunk / 8).next_multiple_of(PAGE_BYTES)
    }

    fn end_of(self, slots: usize) -> u64 {
        HEADER_BYTES + slots as u64 * (self.chunk + self.notes_bytes()) as u64
    }

    fn data_at(self, slot: usize) -> u64 {
        self.end_of(slot)
    }

    fn notes_at(self, slot: usize) -> u64 {
        self.end_of(slot) + self.chunk as u64
    }
}

/// The cell of a slot's log offset, which is 0 while it holds nothing, else the offset and 1.
const fn base_cell(slot: usize) -> usize {
    FIRST_SLOT_CELL + 2 * slot
}

/// The cell of a slot's number of checksums.
const fn count_cell(slot: usize) -> usize {
    FIRST_SLOT_CELL + 2 * slot + 1
}

/// The hot file of a store that is open.
#[derive(Debug)]
pub(crate) struct Hot {
    file: File,
    layout: Layout,
    /// Slots that are kept in use; more are made only while the disk cannot follow.
    kept: usize,
    header: Arc<Cells>,
    slots: Mutex<Slots>,
}

#[derive(Debug, Default)]
struct Slots {
    /// The notes of each slot.
    all: Vec<Arc<Cells>>,
    free: Vec<usize>,
    /// Oldest first.
    laid: VecDeque<Laid>,
}

/// A slot that lies under a part of a segment.
#[derive(Debug)]
struct Laid {
    slot: usize,
    /// Log offset of its first byte, and the one behind its last.
    from: i64,
    to: i64,
    range: Range<usize>,
    mapping: Weak<Mapping>,
    file: Arc<File>,
}

/// Why no memory could be laid under a segment.
#[derive(Debug)]
pub(crate) enum NotLaid {
    /// All slots hold what is not on disk yet.
    Unflushed,
    /// The system refused.
    Io(io::Error),
}

impl Hot {
    /// Makes a new hot file at `path`, where there must be none, for segments of `segment_bytes`.
    pub(crate) fn create(disk: &dyn Disk, path: &Path, segment_bytes: usize, durable: i64) -> io::Result<Self> {
        let file = disk.create(path, Existing::Refused)?;
        let chunk = segment_bytes.next_multiple_of(PAGE_BYTES).min(HOT_CHUNK_BYTES_MAX);
        let kept = (segment_bytes / 8 / chunk).clamp(HOT_SLOTS_KEPT_MIN, HOT_SLOTS_KEPT_MAX);
        disk.allocate(&file, HEADER_BYTES)?;
        let header = Cells::open(&file, 0, PAGE_BYTES / 8)?;
        header.set(MAGIC_CELL, MAGIC);
        header.set(CHUNK_CELL, chunk as u64);
        let hot = Self { file, layout: Layout { chunk }, kept, header: Arc::new(header), slots: Mutex::default() };
        hot.note_durable(durable);
        Ok(hot)
    }

    /// Notes that the log is on disk up to `durable`.
    pub(crate) fn note_durable(&self, durable: i64) {
        self.header.set(DURABLE_CELL, durable.cast_unsigned());
    }

    /// Bytes that may wait for the disk before the memory ends.
    pub(crate) fn capacity(&self) -> u64 {
        self.layout.chunk as u64 * HOT_SLOTS_MAX as u64
    }

    /// Lays the first memory under a segment that was written up to `tail` and goes on there.
    ///
    /// # Errors
    /// See [`NotLaid`].
    pub(crate) fn begin(&self, disk: &dyn Disk, segment: &Segment, tail: usize) -> Result<(), NotLaid> {
        segment.lay_to(tail / self.layout.chunk * self.layout.chunk);
        self.cover(disk, segment, tail + BLANK_BYTES_MIN, segment.first + to_offset(tail))
    }

    /// Sees that memory lies under `segment` up to the position `to`. What was laid before and is `durable`
    /// may be taken away for it.
    ///
    /// # Errors
    /// See [`NotLaid`]; what lies there already stays.
    pub(crate) fn cover(&self, disk: &dyn Disk, segment: &Segment, to: usize, durable: i64) -> Result<(), NotLaid> {
        let to = to.min(segment.bytes);
        while segment.laid() < to {
            self.lay_next(disk, segment, durable)?;
        }
        Ok(())
    }

    fn lay_next(&self, disk: &dyn Disk, segment: &Segment, durable: i64) -> Result<(), NotLaid> {
        let mut slots = self.slots.lock();
        let at = segment.laid();
        if at >= segment.bytes {
            return Ok(());
        }
        let slot = self.take(&mut slots, disk, durable)?;
        let end = (at + self.layout.chunk).min(segment.bytes.next_multiple_of(PAGE_BYTES));
        self.header.set(base_cell(slot), 0);
        self.header.set(count_cell(slot), 0);
        if let Err(error) = self.lay(disk, segment, at..end, slot) {
            slots.free.push(slot);
            return Err(NotLaid::Io(error));
        }
        let from = segment.first + to_offset(at);
        self.header.set(base_cell(slot), from.cast_unsigned() + 1);
        let to = segment.first + to_offset(end.min(segment.bytes));
        let (mapping, file) = (Arc::downgrade(&segment.mapping), Arc::clone(&segment.file));
        slots.laid.push_back(Laid { slot, from, to, range: at..end, mapping, file });
        segment.lay_to(end.min(segment.bytes));
        Ok(())
    }

    /// Lays a slot under a part of a segment. Readers may have bytes of it already.
    fn lay(&self, disk: &dyn Disk, segment: &Segment, range: Range<usize>, slot: usize) -> io::Result<()> {
        let (mapping, at) = (&segment.mapping, self.layout.data_at(slot));
        if let Some(kept) = mapping.slice(range.start, mapping.committed().min(range.end)) {
            disk.write_at(&self.file, kept, at)?;
        }
        mapping.lay(range, &self.file, at)
    }

    /// A slot that nothing lies in any more.
    fn take(&self, slots: &mut Slots, disk: &dyn Disk, durable: i64) -> Result<usize, NotLaid> {
        if let Some(slot) = slots.free.pop() {
            return Ok(slot);
        }
        let mut grown = Err(NotLaid::Unflushed);
        if slots.all.len() < self.kept {
            grown = self.grow(slots, disk);
        }
        if grown.is_err() && slots.laid.front().is_some_and(|oldest| oldest.to <= durable) {
            return Self::take_oldest(slots);
        }
        if grown.is_err() && slots.all.len() < HOT_SLOTS_MAX {
            grown = self.grow(slots, disk);
        }
        grown
    }

    fn take_oldest(slots: &mut Slots) -> Result<usize, NotLaid> {
        let Some(oldest) = slots.laid.pop_front() else { return Err(NotLaid::Unflushed) };
        // Without the mapping nobody can see the slot.
        if let Some(mapping) = oldest.mapping.upgrade()
            && let Err(error) = mapping.lift(oldest.range.clone(), &oldest.file)
        {
            slots.laid.push_front(oldest);
            return Err(NotLaid::Io(error));
        }
        Ok(oldest.slot)
    }

    fn grow(&self, slots: &mut Slots, disk: &dyn Disk) -> Result<usize, NotLaid> {
        let slot = slots.all.len();
        let grown = disk
            .allocate(&self.file, self.layout.end_of(slot + 1))
            .and_then(|()| Cells::open(&self.file, self.layout.notes_at(slot), self.layout.notes_bytes() / 8));
        slots.all.push(Arc::new(grown.map_err(NotLaid::Io)?));
        self.header.set(SLOTS_CELL, slots.all.len() as u64);
        Ok(slot)
    }

    /// Where to note the checksum of a record that begins at the log offset `at`.
    fn notes(&self, at: i64) -> Option<Notes> {
        let slots = self.slots.lock();
        let laid = slots.laid.iter().rev().find(|laid| (laid.from..laid.to).contains(&at))?;
        let (cells, header) = (Arc::clone(&slots.all[laid.slot]), Arc::clone(&self.header));
        Some(Notes { cells, header, count: 0, count_cell: count_cell(laid.slot), from: laid.from, to: laid.to })
    }

    /// Notes the checksum of the record at the log offset `at`, which must lie in laid memory. `notes` is the
    /// one writer's place, kept from record to record.
    #[inline]
    pub(crate) fn note(&self, notes: &mut Option<Notes>, at: i64, crc: u32) {
        if !notes.as_ref().is_some_and(|notes| (notes.from..notes.to).contains(&at)) {
            *notes = self.notes(at);
        }
        if let Some(notes) = notes {
            notes.add(at, crc);
        }
    }
}

/// Where the checksums of the records go that begin in one chunk.
#[derive(Debug)]
pub(crate) struct Notes {
    cells: Arc<Cells>,
    header: Arc<Cells>,
    count: usize,
    count_cell: usize,
    from: i64,
    to: i64,
}

impl Notes {
    #[inline]
    fn add(&mut self, at: i64, crc: u32) {
        let position = (at - self.from).cast_unsigned();
        self.cells.set(self.count, position << 32 | u64::from(crc));
        self.count += 1;
        self.header.set(self.count_cell, self.count as u64);
    }
}

/// A hot file that an earlier process left.
#[derive(Debug)]
pub(crate) struct HotImage {
    file: File,
    layout: Layout,
    /// Log offset up to which everything is in the segments.
    durable: i64,
    /// Slots by the log offset of their first byte.
    slots: BTreeMap<i64, usize>,
    /// Checksums of records by log offset.
    sums: HashMap<i64, u32>,
}

/// A record of the hot file.
#[derive(Debug)]
pub(crate) struct HotRecord {
    pub(crate) bytes: Vec<u8>,
    /// It marks the end of its segment.
    pub(crate) blank: bool,
}

impl HotImage {
    /// Reads what was left at `path`; a missing file or one of another form holds nothing.
    ///
    /// # Errors
    /// The system could not read it.
    pub(crate) fn load(path: &Path) -> io::Result<Option<Self>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let length = file.metadata()?.len();
        if length < HEADER_BYTES {
            return Ok(None);
        }
        let header = cells(&file, 0, PAGE_BYTES / 8)?;
        let chunk = usize::try_from(header[CHUNK_CELL]).unwrap_or(0);
        let count = usize::try_from(header[SLOTS_CELL]).unwrap_or(usize::MAX);
        let layout = Layout { chunk };
        let fits = (PAGE_BYTES..=HOT_CHUNK_BYTES_MAX).contains(&chunk)
            && chunk.is_multiple_of(PAGE_BYTES)
            && count <= HOT_SLOTS_MAX
            && layout.end_of(count) <= length;
        if header[MAGIC_CELL] != MAGIC || !fits {
            return Ok(None);
        }
        let durable = header[DURABLE_CELL].cast_signed();
        let mut image = Self { file, layout, durable, slots: BTreeMap::new(), sums: HashMap::new() };
        for slot in 0..count {
            if let Some(base) = header[base_cell(slot)].checked_sub(1) {
                let notes = usize::try_from(header[count_cell(slot)]).unwrap_or(0);
                image.take_slot(slot, base.cast_signed(), notes.min(layout.notes_bytes() / 8))?;
            }
        }
        Ok(Some(image))
    }

    fn take_slot(&mut self, slot: usize, base: i64, notes: usize) -> io::Result<()> {
        self.slots.insert(base, slot);
        let mut before = None;
        for note in cells(&self.file, self.layout.notes_at(slot), notes)? {
            let position = note >> 32;
            // Records follow one another; what does not is left of another chunk.
            if before.replace(position) >= Some(position) {
                break;
            }
            let at = base.saturating_add_unsigned(position);
            // What is durable is in the segments.
            if at >= self.durable {
                // The low half is the checksum.
                self.sums.insert(at, u32::try_from(note & u64::from(u32::MAX)).unwrap_or(0));
            }
        }
        Ok(())
    }

    /// Log offset up to which everything is in the segments.
    pub(crate) const fn durable(&self) -> i64 {
        self.durable
    }

    /// The record that begins at the log offset `at` and ends before `end`, its segment's; `None` when it is not
    /// here as it was written.
    ///
    /// # Errors
    /// The system could not read it.
    pub(crate) fn record(&self, at: i64, end: i64) -> io::Result<Option<HotRecord>> {
        let Some(sum) = self.sums.get(&at) else { return Ok(None) };
        let Some(head) = self.bytes(at, BLANK_BYTES_MIN)? else { return Ok(None) };
        let magic = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
        let blank = Magic::of(magic) == Some(Magic::Blank);
        let size = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        if blank {
            let good = crc32c::crc32c(&head) == *sum;
            return Ok(good.then_some(HotRecord { bytes: head, blank }));
        }
        if size < PHYSICAL_OFFSET_AT + 8 || size > to_length(end - at) {
            return Ok(None);
        }
        let Some(bytes) = self.bytes(at, size)? else { return Ok(None) };
        let here = bytes[PHYSICAL_OFFSET_AT..PHYSICAL_OFFSET_AT + 8] == at.to_be_bytes();
        Ok((here && crc32c::crc32c(&bytes) == *sum).then_some(HotRecord { bytes, blank }))
    }

    /// `count` bytes of the log from `at` on, `None` when they are not all here.
    fn bytes(&self, at: i64, count: usize) -> io::Result<Option<Vec<u8>>> {
        let mut out = vec![0; count];
        let mut done = 0;
        while done < count {
            let from = at + to_offset(done);
            let Some((base, slot)) = self.slots.range(..=from).next_back() else { return Ok(None) };
            let inside = to_length(from - base);
            if inside >= self.layout.chunk {
                return Ok(None);
            }
            let part = (self.layout.chunk - inside).min(count - done);
            self.file.read_exact_at(&mut out[done..done + part], self.layout.data_at(*slot) + inside as u64)?;
            done += part;
        }
        Ok(Some(out))
    }
}

/// `count` numbers of the file from `at` on.
fn cells(file: &File, at: u64, count: usize) -> io::Result<Vec<u64>> {
    let mut bytes = vec![0; count * 8];
    file.read_exact_at(&mut bytes, at)?;
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte));
    Ok(bytes.chunks_exact(8).map(number).collect())
}
