//! The growing end of the log and everything that one append changes.
//!
//! Owns the state behind the append lock: tail, offsets, the active index, what waits for a flush and
//! which segments are full. Deciding whether an append is allowed is `append`'s.

use std::sync::Arc;

use strata_protocol::record::{BLANK_BYTES_MIN, Magic, Placement};

use crate::catalog::Catalog;
use crate::error::AppendError;
use crate::hot::{Hot, Notes};
use crate::index::{Entry, SegmentIndex};
use crate::mapping::MapWriter;
use crate::message::{Appended, Draft, PendingEvent};
use crate::sealed::Sealed;
use crate::segment::{Segment, to_offset};
use crate::sums::{NO_QUEUE, Row, Rows, queue_hash};
use crate::tombstones::Tombstones;

/// A segment that is full and whose sidecar is not written yet.
#[derive(Debug)]
pub(crate) struct Frozen {
    pub(crate) segment: Arc<Segment>,
    /// Position behind its last record and the blank's mark.
    pub(crate) tail: usize,
    pub(crate) index: SegmentIndex,
    /// The next offset of each queue number when it was filled.
    pub(crate) next: Vec<i64>,
}

/// What is to be noted beside a segment of its records once they are on disk.
#[derive(Debug)]
pub(crate) struct Unsummed {
    /// Log offset of the segment.
    pub(crate) first: i64,
    pub(crate) rows: Rows,
}

/// What writes the next record and notes its checksum.
#[derive(Debug)]
pub(crate) struct Pen {
    pub(crate) writer: MapWriter,
    pub(crate) hot: Arc<Hot>,
    /// Where the checksum of the next record goes, once one was noted.
    pub(crate) notes: Option<Notes>,
    /// By segment, oldest first.
    pub(crate) unsummed: Vec<Unsummed>,
}

impl Pen {
    /// Lets `fill` write the next `bytes` at the position `tail` of `segment` and returns their checksum; `None`
    /// when they do not fit.
    fn write(&mut self, segment: &Segment, tail: usize, bytes: usize, fill: impl FnOnce(&mut [u8])) -> Option<u32> {
        let out = self.writer.reserve(bytes).filter(|_| tail + bytes <= segment.laid())?;
        fill(out);
        let crc = crc32c::crc32c(out);
        self.writer.commit(bytes);
        self.hot.note(&mut self.notes, segment.first + to_offset(tail), crc);
        Some(crc)
    }

    /// The rows of the segment at `first`.
    fn rows(&mut self, first: i64) -> &mut Rows {
        if self.unsummed.last().is_none_or(|last| last.first != first) {
            self.unsummed.push(Unsummed { first, rows: Rows::default() });
        }
        let last = self.unsummed.len() - 1;
        &mut self.unsummed[last].rows
    }
}

/// The state behind the append lock. One lock, because an append changes tail, offsets and index
/// together and a reader must see them agree.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) catalog: Catalog,
    pub(crate) active: Arc<Segment>,
    /// Position behind the last record of the active segment.
    pub(crate) tail: usize,
    pub(crate) pen: Pen,
    pub(crate) index: SegmentIndex,
    /// Full segments, oldest first; older than the active one, younger than all sealed ones.
    pub(crate) frozen: Vec<Arc<Frozen>>,
    /// Sealed segments, oldest first. Readers take the whole list by its `Arc`.
    pub(crate) sealed: Arc<Vec<Arc<Sealed>>>,
    pub(crate) tombstones: Arc<Tombstones>,
    /// The last store time, below which no record goes.
    pub(crate) last_time: i64,
    /// What readers are told once the next flush is done, in synchronous mode.
    pub(crate) events: Vec<PendingEvent>,
    /// How often segments were deleted; lowest offsets are known for one such count.
    pub(crate) trims: u64,
    /// Tail position at which the upkeep thread is called; `usize::MAX` while it is already.
    pub(crate) call_at: usize,
}

impl Head {
    /// Log offset of the next record.
    pub(crate) fn log_end(&self) -> i64 {
        self.active.first + to_offset(self.tail)
    }

    /// Log offset of the first segment.
    pub(crate) fn log_start(&self) -> i64 {
        let sealed = self.sealed.first().map(|sealed| sealed.first);
        let frozen = || self.frozen.first().map(|frozen| frozen.segment.first);
        sealed.or_else(frozen).unwrap_or(self.active.first)
    }

    /// Bytes that the records of all segments take, without what is unused behind them.
    pub(crate) fn used_bytes(&self) -> u64 {
        let sealed: u64 = self.sealed.iter().map(|sealed| sealed.used()).sum();
        let frozen: usize = self.frozen.iter().map(|frozen| frozen.tail).sum();
        sealed + (frozen + self.tail) as u64
    }

    /// Whether `bytes` of records and a blank fit behind the tail.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        bytes + BLANK_BYTES_MIN <= self.active.bytes - self.tail
    }

    /// Writes one message, for which [`Self::has_room`] holds.
    pub(crate) fn put(
        &mut self,
        draft: &mut Draft<'_>,
        number: Option<u32>,
        now_ms: i64,
    ) -> Result<Appended, AppendError> {
        let store_timestamp = now_ms.max(self.last_time);
        let queue_offset = number.map_or(0, |number| self.catalog.queue(number).next);
        let physical_offset = self.log_end();
        let store_host = draft.prepared.record().placed.store_host;
        draft.prepared.place(Placement { queue_offset, physical_offset, store_timestamp, store_host });
        let bytes = draft.prepared.bytes();
        let position = self.tail;
        let crc = self.write(bytes, |out| draft.prepared.write(out))?;
        self.last_time = store_timestamp;
        let time = self.index.note(store_timestamp);
        // Segments are below 2 GiB, so positions and lengths fit.
        let position = u32::try_from(position).unwrap_or(u32::MAX);
        let length = u32::try_from(bytes).unwrap_or(u32::MAX);
        let (topic, queue_id) = (draft.prepared.record().topic, draft.prepared.record().queue_id);
        let queue = number.map_or(NO_QUEUE, |_| queue_hash(topic, queue_id));
        let rows = self.pen.rows(self.active.first);
        rows.push(Row { position, crc, queue });
        if number.is_some() && queue_offset == 0 {
            rows.name(position, queue_id, topic);
        }
        if let Some(number) = number {
            self.index.push(number, queue_offset, Entry { position, length, tag: draft.tag, time, crc });
            self.catalog.queue_mut(number).next = queue_offset + 1;
        }
        for hash in &draft.key_hashes {
            self.index.keys.push(*hash, position);
        }
        let log_end = self.log_end();
        Ok(Appended { physical_offset, log_end, queue_offset, store_timestamp, bytes: length })
    }

    /// Lets `fill` write the next `bytes`, moves the tail, and returns their checksum.
    fn write(&mut self, bytes: usize, fill: impl FnOnce(&mut [u8])) -> Result<u32, AppendError> {
        let Some(crc) = self.pen.write(&self.active, self.tail, bytes, fill) else {
            let detail = format!("{bytes} bytes do not fit the segment");
            return Err(AppendError::DiskFull { detail });
        };
        self.tail += bytes;
        Ok(crc)
    }

    /// Closes the active segment with a blank and goes on in `segment`.
    pub(crate) fn roll(&mut self, segment: Arc<Segment>) -> Result<(), AppendError> {
        let Some(writer) = segment.mapping.writer() else {
            return Err(AppendError::DiskFull { detail: "the next segment is in use already".to_owned() });
        };
        let rest = i32::try_from(self.active.bytes - self.tail).unwrap_or(i32::MAX);
        let position = self.tail;
        let crc = self.write(BLANK_BYTES_MIN, |out| {
            out[..4].copy_from_slice(&rest.to_be_bytes());
            out[4..].copy_from_slice(&Magic::Blank.code().to_be_bytes());
        })?;
        self.pen.writer = writer;
        let row = Row { position: u32::try_from(position).unwrap_or(u32::MAX), crc, queue: NO_QUEUE };
        self.pen.rows(self.active.first).push(row);
        let frozen = Frozen {
            segment: std::mem::replace(&mut self.active, segment),
            tail: self.tail,
            index: std::mem::take(&mut self.index),
            next: self.catalog.next_offsets(),
        };
        self.frozen.push(Arc::new(frozen));
        self.tail = 0;
        self.call_at = 0;
        Ok(())
    }
}
