//! Checksums of the active segment's flushed records, in a file beside it.
//!
//! Owns writing one frame after each flush and reading them at recovery. Frames are hints with teeth:
//! losing them loses no message, but what they cover can no longer be mistaken for a torn tail, and of
//! which queue a lost record was is known without the record.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use strata_protocol::record::RecordView;
use strata_protocol::sysflag::is_queued;

use crate::disk::{Disk, Existing};
use crate::sidecar::{read_i64, read_u32};

const MAGIC: [u8; 8] = *b"STRATASM";
const VERSION: u32 = 2;
const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 20;
/// Bytes of a record's row in a frame.
const ROW_BYTES: usize = 12;
/// Bytes of a new queue's entry in a frame before its topic.
const NAME_BYTES: usize = 10;
/// Bytes of memory for frames that are kept from flush to flush.
const FRAME_BYTES_KEPT: usize = 1024 * 1024;
/// The mark of a record that is in no queue.
pub(crate) const NO_QUEUE: u32 = 0;

/// What a frame says about one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) position: u32,
    /// crc32c of the whole record.
    pub(crate) crc: u32,
    /// Its queue, see [`queue_hash`]; [`NO_QUEUE`] for records in none.
    pub(crate) queue: u32,
}

impl Row {
    /// Whether the record is a message of a queue.
    pub(crate) const fn is_queued(&self) -> bool {
        self.queue != NO_QUEUE
    }
}

/// A queue whose first message a frame covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    /// Of that message's record.
    pub(crate) position: u32,
    pub(crate) queue_id: i32,
    pub(crate) topic: String,
}

/// How rows name a queue. Queues that share a hash cost each other an offset when one loses a message.
pub(crate) fn queue_hash(topic: &str, queue_id: i32) -> u32 {
    let hash = crc32c::crc32c_append(crc32c::crc32c(topic.as_bytes()), &queue_id.to_le_bytes());
    hash.max(NO_QUEUE + 1)
}

/// What frames say about a segment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    /// Position up to which records were flushed and summed.
    pub(crate) covered: usize,
    /// Each record, by position.
    pub(crate) records: Vec<Row>,
    /// Queues that began in this segment, by position.
    pub(crate) named: Vec<Named>,
    /// Bytes of the file that hold good frames.
    file_bytes: u64,
    /// Bytes of the file behind them: a torn frame, or damage.
    pub(crate) rest_bytes: u64,
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
            Some(row) if row.position == position => near,
            _ => self.records.binary_search_by_key(&position, |row| row.position).ok()?,
        };
        // The same record is often asked for twice, then the next one.
        let next = self.records.get(found + 1).is_some();
        self.near.set(found + usize::from(next));
        Some(self.records[found].crc)
    }

    /// The first record that was summed behind `position`.
    pub(crate) fn after(&self, position: usize) -> Option<usize> {
        let found = self.records.partition_point(|row| row.position as usize <= position);
        self.records.get(found).map(|row| row.position as usize)
    }

    /// The records that were summed from `from` on and before `to`.
    pub(crate) fn between(&self, from: usize, to: usize) -> &[Row] {
        let at = |position| self.records.partition_point(|row| (row.position as usize) < position);
        &self.records[at(from)..at(to.max(from))]
    }

    /// The queue whose first message lies at `position`.
    pub(crate) fn named_at(&self, position: u32) -> Option<&Named> {
        let at = self.named.binary_search_by_key(&position, |named| named.position).ok()?;
        self.named.get(at)
    }

    /// Reads the file of the segment at `first`; a missing or foreign one says nothing.
    pub(crate) fn load(path: &Path, first: i64) -> Self {
        let Ok(bytes) = std::fs::read(path) else { return Self::default() };
        let mut sums = Self { rest_bytes: bytes.len() as u64, ..Self::default() };
        if bytes.get(..HEADER_BYTES).is_none_or(|found| found != header(first)) {
            return sums;
        }
        let mut at = HEADER_BYTES;
        while let Some(next) = sums.take_frame(&bytes, at) {
            at = next;
        }
        sums.file_bytes = at as u64;
        sums.rest_bytes = (bytes.len() - at) as u64;
        sums
    }

    /// Takes the frame at `at` in and returns where the next one begins.
    fn take_frame(&mut self, bytes: &[u8], at: usize) -> Option<usize> {
        let head = bytes.get(at..at + FRAME_HEADER_BYTES)?;
        let (count, names) = (read_u32(head, 0) as usize, read_u32(head, 16) as usize);
        let rows_at = at + FRAME_HEADER_BYTES;
        let names_at = rows_at.checked_add(count.checked_mul(ROW_BYTES)?)?;
        let end = names_at.checked_add(names)?;
        let rest = bytes.get(at + 8..end)?;
        let (from, to) = (read_u32(head, 8) as usize, read_u32(head, 12) as usize);
        let good = crc32c::crc32c(rest) == read_u32(head, 4) && from == self.covered && to >= from;
        if !good {
            return None;
        }
        let row = |r: &[u8]| Row { position: read_u32(r, 0), crc: read_u32(r, 4), queue: read_u32(r, 8) };
        self.records.extend(bytes[rows_at..names_at].chunks_exact(ROW_BYTES).map(row));
        let mut names = &bytes[names_at..end];
        while let Some(named) = take_name(&mut names) {
            self.named.push(named);
        }
        self.covered = to;
        Some(end)
    }
}

fn take_name(rest: &mut &[u8]) -> Option<Named> {
    let head = rest.get(..NAME_BYTES)?;
    let length = usize::from(u16::from_le_bytes([head[8], head[9]]));
    let topic = std::str::from_utf8(rest.get(NAME_BYTES..NAME_BYTES + length)?).ok()?.to_owned();
    let queue_id = i32::from_le_bytes(read_u32(head, 4).to_le_bytes());
    let named = Named { position: read_u32(head, 0), queue_id, topic };
    *rest = &rest[NAME_BYTES + length..];
    Some(named)
}

/// The rows of records, and the names of queues that begin among them.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    rows: Vec<u8>,
    names: Vec<u8>,
}

impl Rows {
    /// Adds a row.
    pub(crate) fn push(&mut self, row: Row) {
        for number in [row.position, row.crc, row.queue] {
            self.rows.extend_from_slice(&number.to_le_bytes());
        }
    }

    /// Says of which queue the first message lies at `position`.
    pub(crate) fn name(&mut self, position: u32, queue_id: i32, topic: &str) {
        // A record's topic has a length of two bytes at most.
        let length = u16::try_from(topic.len()).unwrap_or(0);
        self.names.extend_from_slice(&position.to_le_bytes());
        self.names.extend_from_slice(&queue_id.to_le_bytes());
        self.names.extend_from_slice(&length.to_le_bytes());
        self.names.extend_from_slice(&topic.as_bytes()[..usize::from(length)]);
    }

    /// Adds a record that was read back.
    pub(crate) fn add(&mut self, position: u32, crc: u32, record: &RecordView<'_>) {
        if !is_queued(record.sys_flag()) {
            return self.push(Row { position, crc, queue: NO_QUEUE });
        }
        self.push(Row { position, crc, queue: queue_hash(record.topic(), record.queue_id()) });
        if record.queue_offset() == 0 {
            self.name(position, record.queue_id(), record.topic());
        }
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
    pub(crate) fn append(&mut self, disk: &dyn Disk, records: &Rows, to: usize) -> io::Result<()> {
        if to <= self.covered {
            return Ok(());
        }
        let (count, names) = (small(records.rows.len() / ROW_BYTES)?, small(records.names.len())?);
        self.frame.clear();
        for number in [count, 0, small(self.covered)?, small(to)?, names] {
            self.frame.extend_from_slice(&number.to_le_bytes());
        }
        self.frame.extend_from_slice(&records.rows);
        self.frame.extend_from_slice(&records.names);
        let crc = crc32c::crc32c(&self.frame[8..]);
        self.frame[4..8].copy_from_slice(&crc.to_le_bytes());
        disk.write_at(&self.file, &self.frame, self.at)?;
        self.at += self.frame.len() as u64;
        self.covered = to;
        if self.frame.capacity() > FRAME_BYTES_KEPT {
            // A whole segment's worth, after a recovery.
            self.frame = Vec::new();
        }
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
        let mut rows = Rows::default();
        rows.push(Row { position: 0, crc: 5, queue: NO_QUEUE });
        rows.push(Row { position: 20, crc: 6, queue: 9 });
        rows.name(20, 3, "T");
        writer.append(&RealDisk, &rows, 50).unwrap();
        let first_frame = std::fs::metadata(&path).unwrap().len();
        let mut rows = Rows::default();
        rows.push(Row { position: 50, crc: 7, queue: NO_QUEUE });
        writer.append(&RealDisk, &rows, 58).unwrap();
        let sums = Sums::load(&path, 4_096);
        assert_eq!(sums.covered, 58);
        assert_eq!(sums.of(20), Some(6));
        assert_eq!(sums.named_at(20), Some(&Named { position: 20, queue_id: 3, topic: "T".to_owned() }));
        assert_eq!(sums.of(50), Some(7));
        assert_eq!(sums.of(21), None);
        assert_eq!(sums.after(0), Some(20));
        assert_eq!(sums.after(50), None);
        assert_eq!(Sums::load(&path, 0).covered, 0);

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
        let mut rows = Rows::default();
        rows.push(Row { position: 0, crc: 5, queue: NO_QUEUE });
        rows.push(Row { position: 40, crc: 6, queue: NO_QUEUE });
        writer.append(&RealDisk, &rows, 50).unwrap();
        let sums = Sums::load(&path, 0);
        assert_eq!((sums.covered, sums.of(0), sums.of(20), sums.of(40)), (50, Some(5), None, Some(6)));
    }
}
