//! Checksums of the active segment's flushed records, in a file beside it.
//!
//! Owns writing one frame after each flush and reading them at recovery. Frames are hints with teeth:
//! losing them loses no message, but what they cover can no longer be mistaken for a torn tail, and of
//! which queue a lost record was is known without the record.

use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use strata_protocol::record::{BLANK_BYTES_MIN, RecordView};
use strata_protocol::sysflag::is_queued;

use crate::disk::Disk;
use crate::sidecar::{read_i64, read_u32};

const MAGIC: [u8; 8] = *b"STRATASM";
const VERSION: u32 = 2;
const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 20;
/// Bytes of a record's row in a frame.
const ROW_BYTES: usize = 12;
/// Bytes of a new queue's entry in a frame before its topic.
const NAME_BYTES: usize = 10;
/// The mark of a record that is in no queue.
const NO_QUEUE: u32 = 0;

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
    /// Adds the record whose bytes lie at `position`; a blank's mark counts as one.
    pub(crate) fn add(&mut self, position: u32, bytes: &[u8]) {
        let record = RecordView::parse(bytes).ok().filter(|record| is_queued(record.sys_flag()));
        let queue = record.map_or(NO_QUEUE, |record| queue_hash(record.topic(), record.queue_id()));
        for number in [position, crc32c::crc32c(bytes), queue] {
            self.rows.extend_from_slice(&number.to_le_bytes());
        }
        let Some(first) = record.filter(|record| record.queue_offset() == 0) else { return };
        // A record's topic has a length of two bytes at most.
        let length = u16::try_from(first.topic().len()).unwrap_or(0);
        self.names.extend_from_slice(&position.to_le_bytes());
        self.names.extend_from_slice(&first.queue_id().to_le_bytes());
        self.names.extend_from_slice(&length.to_le_bytes());
        self.names.extend_from_slice(&first.topic().as_bytes()[..usize::from(length)]);
    }

    fn clear(&mut self) {
        self.rows.clear();
        self.names.clear();
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
    rows: Rows,
    frame: Vec<u8>,
    path: PathBuf,
}

impl SumsWriter {
    /// Goes on behind `sums`, which [`Sums::load`] read, or begins a new file.
    pub(crate) fn open(disk: &dyn Disk, path: &Path, first: i64, sums: &Sums) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut at = sums.file_bytes;
        disk.resize(&file, at)?;
        if at == 0 {
            disk.write_at(&file, &header(first), 0)?;
            at = HEADER_BYTES as u64;
        }
        let path = path.to_owned();
        let (rows, frame) = (Rows::default(), Vec::new());
        Ok(Self { first, covered: sums.covered, file, at, rows, frame, path })
    }

    /// Sums the records in `bytes`, which lie at [`Self::covered`], were written by this process and
    /// have just become durable.
    ///
    /// # Errors
    /// The disk's, or the bytes are not one record after another: then no frame may vouch for them.
    pub(crate) fn append(&mut self, disk: &dyn Disk, bytes: &[u8]) -> io::Result<()> {
        self.rows.clear();
        let mut at = 0;
        while let Some(record) = record_at(bytes, at) {
            self.rows.add(small(self.covered + at)?, record);
            at += record.len();
        }
        if at != bytes.len() {
            let what = format!("no record lies at {} of the segment at {}", self.covered + at, self.first);
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        self.put(disk, self.covered + bytes.len())
    }

    /// Takes in what recovery found good behind [`Self::covered`], up to the log's end at `to`. What
    /// lies between those records is damage: it is covered and has no sum.
    pub(crate) fn take_recovered(&mut self, disk: &dyn Disk, records: Rows, to: usize) -> io::Result<()> {
        if to <= self.covered {
            return Ok(());
        }
        self.rows = records;
        let put = self.put(disk, to);
        // A whole segment's worth; what flushes sum up later is a small part of it.
        (self.rows, self.frame) = (Rows::default(), Vec::new());
        put
    }

    /// Writes a frame of the rows, which covers everything up to `to`.
    fn put(&mut self, disk: &dyn Disk, to: usize) -> io::Result<()> {
        let (count, names) = (small(self.rows.rows.len() / ROW_BYTES)?, small(self.rows.names.len())?);
        self.frame.clear();
        for number in [count, 0, small(self.covered)?, small(to)?, names] {
            self.frame.extend_from_slice(&number.to_le_bytes());
        }
        self.frame.extend_from_slice(&self.rows.rows);
        self.frame.extend_from_slice(&self.rows.names);
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

/// The record at `at` of bytes that this process wrote; a blank's mark counts as one.
fn record_at(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let head = bytes.get(at..at + BLANK_BYTES_MIN)?;
    let total = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
    let rest = bytes.len() - at;
    // Only a blank is longer than what was written: its eight bytes are the last ones.
    let size = if total > rest { BLANK_BYTES_MIN } else { total };
    (size >= BLANK_BYTES_MIN).then(|| &bytes[at..at + size])
}

fn small(position: usize) -> io::Result<u32> {
    u32::try_from(position).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    fn record(size: u8) -> Vec<u8> {
        let mut bytes = vec![7; usize::from(size)];
        bytes[..4].copy_from_slice(&[0, 0, 0, size]);
        bytes
    }

    #[test]
    fn frames_are_read_back_and_torn_ones_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.sums");
        let mut writer = SumsWriter::open(&RealDisk, &path, 4_096, &Sums::default()).unwrap();
        let (a, b) = (record(20), record(30));
        writer.append(&RealDisk, &[a.clone(), b.clone()].concat()).unwrap();
        let first_frame = std::fs::metadata(&path).unwrap().len();
        // A blank that ends the segment: eight bytes that claim more.
        let blank = [0, 0, 1, 0, 0xCB, 0xD4, 0x31, 0x94];
        writer.append(&RealDisk, &blank).unwrap();
        let sums = Sums::load(&path, 4_096);
        assert_eq!(sums.covered, 58);
        assert_eq!(sums.of(20), Some(crc32c::crc32c(&b)));
        assert_eq!(sums.of(50), Some(crc32c::crc32c(&blank)));
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
    fn bytes_that_are_no_records_get_no_frame() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.sums");
        let mut writer = SumsWriter::open(&RealDisk, &path, 0, &Sums::default()).unwrap();
        let bytes = [record(20), vec![0; 30]].concat();
        writer.append(&RealDisk, &bytes).unwrap_err();
        assert_eq!((writer.covered, Sums::load(&path, 0).covered), (0, 0));
        let mut rows = Rows::default();
        rows.add(0, b"a");
        rows.add(40, b"b");
        writer.take_recovered(&RealDisk, rows, 50).unwrap();
        let sums = Sums::load(&path, 0);
        let (a, b) = (crc32c::crc32c(b"a"), crc32c::crc32c(b"b"));
        assert_eq!((sums.covered, sums.of(0), sums.of(20), sums.of(40)), (50, Some(a), None, Some(b)));
    }
}
