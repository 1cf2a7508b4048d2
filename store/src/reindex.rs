//! Building a segment's index from its records.
//!
//! Owns what a scan's findings mean for queues, keys and offsets. The same code serves recovery of the
//! active segment and rebuilding of a sidecar, so both give the same answers.

use std::collections::HashMap;
use std::path::Path;

use strata_protocol::properties::IndexTerms;
use strata_protocol::record::{RECORD_BYTES_MIN, RecordView};
use strata_protocol::sysflag::is_queued;

use crate::catalog::Catalog;
use crate::error::AppendError;
use crate::index::{Entry, SegmentIndex, relative_time};
use crate::limits::{DAMAGED_RANGES_MAX, QUEUE_ID_MAX};
use crate::message::key_hashes;
use crate::scan::{Found, Scan, Scanned};
use crate::segment::to_offset;
use crate::sidecar::Sidecar;
use crate::sums::{Named, Row, Rows, Sums, queue_hash};
use crate::tombstones::Tombstones;

/// Takes a scan's findings in.
pub(crate) struct Reindex<'a> {
    pub(crate) catalog: &'a mut Catalog,
    pub(crate) tombstones: &'a Tombstones,
    pub(crate) index: SegmentIndex,
    /// The records that no frame covers.
    pub(crate) unsummed: Rows,
    /// Log offset of the segment.
    first: i64,
    /// Bytes of log before the segment that are damaged or missing, see [`Lost`].
    missing: i64,
    /// Records whose queue offset was given out before; they are kept and not listed.
    pub(crate) conflicts: u64,
    /// The damage that explains offsets that are missing now.
    last_damage: (u32, u32),
    /// Queues by the hash that checksum rows name them with; made when the first row is needed.
    by_hash: Option<HashMap<u32, Vec<u32>>>,
}

impl<'a> Reindex<'a> {
    /// Scans a segment into a new index. `missing` bytes of log before it are lost, see [`Lost`]. `passed` is told now
    /// and then before which position all is done.
    pub(crate) fn run(
        scan: &Scan<'_>,
        more: bool,
        (catalog, tombstones): (&'a mut Catalog, &'a Tombstones),
        missing: i64,
        passed: &mut dyn FnMut(usize),
    ) -> (Self, Scanned) {
        let mut this = Self {
            catalog,
            tombstones,
            index: SegmentIndex::default(),
            unsummed: Rows::default(),
            first: scan.first,
            missing,
            conflicts: 0,
            last_damage: (0, 0),
            by_hash: None,
        };
        let scanned = scan.run(more, &mut |found| match found {
            Found::Record { position, record } => {
                passed(position);
                let crc = scan.sums.of(position).unwrap_or_else(|| crc32c::crc32c(record.bytes()));
                if position >= scan.sums.covered {
                    this.unsummed.add(small(position), crc, &record);
                }
                this.record(position, &record, crc);
            }
            Found::Damage { from, to, header } => this.damage(scan.sums, (from, to), header),
        });
        (this, scanned)
    }

    fn record(&mut self, position: usize, record: &RecordView<'_>, crc: u32) {
        let time = self.index.note(record.store_timestamp());
        let (position, length) = (small(position), small(record.bytes().len()));
        if self.is_gone(record) {
            return;
        }
        let terms = IndexTerms::of(record.properties());
        let tag = terms.tags.map_or(0, strata_protocol::hash::java_hash);
        if !self.list(record, Entry { position, length, tag, time, crc }) {
            return;
        }
        for hash in key_hashes(record.topic(), record.sys_flag(), &terms) {
            self.index.keys.push(hash, position);
        }
    }

    /// Takes in a stretch without good records. Each lost message keeps its offset, so that the offset is
    /// not given out twice: the checksum rows say which queues they were of, else a header that can be read.
    fn damage(&mut self, sums: &Sums, (from, to): (usize, usize), header: Option<RecordView<'_>>) {
        self.note_damage((small(from), small(to)));
        let rows = sums.between(from, to);
        if rows.first().is_none_or(|row| row.position != small(from)) {
            self.lost_by_header(header);
        }
        for (at, row) in rows.iter().enumerate().filter(|(_, row)| row.is_queued()) {
            let end = rows.get(at + 1).map_or(small(to), |next| next.position);
            if let Some(named) = sums.named_at(row.position) {
                self.begin_queue(named);
            }
            self.lost_by_row(*row, end);
        }
    }

    fn lost_by_header(&mut self, header: Option<RecordView<'_>>) {
        let Some(header) = header.filter(|header| !self.is_gone(header)) else { return };
        // The header may be what is damaged: only the offset that is due is believed.
        let known = self.catalog.find(header.topic(), header.queue_id());
        if known.is_some_and(|n| self.catalog.queue(n).next == header.queue_offset()) {
            self.list(&header, self.lost());
        }
    }

    /// Adds a queue whose first message was lost.
    fn begin_queue(&mut self, named: &Named) {
        let Named { position, queue_id, topic } = named;
        let gone = self.offset_of(*position) < self.tombstones.of(topic);
        if gone || !(0..=QUEUE_ID_MAX).contains(queue_id) || self.catalog.find(topic, *queue_id).is_some() {
            return;
        }
        if let Err(error) = self.add_queue(topic, *queue_id, 0) {
            tracing::warn!(%error, topic, queue_id, "a queue is not listed");
        }
    }

    fn add_queue(&mut self, topic: &str, queue_id: i32, next: i64) -> Result<u32, AppendError> {
        let number = self.catalog.add(topic, queue_id, next)?;
        if let Some(by_hash) = &mut self.by_hash {
            by_hash.entry(queue_hash(topic, queue_id)).or_default().push(number);
        }
        Ok(number)
    }

    /// Lists the lost message that lay between a row's position and `end`, in every queue that it may be of.
    fn lost_by_row(&mut self, row: Row, end: u32) {
        let catalog = &*self.catalog;
        let by_hash = self.by_hash.get_or_insert_with(|| {
            let mut by_hash: HashMap<u32, Vec<u32>> = HashMap::new();
            for (number, queue) in catalog.iter() {
                let hash = queue.topic.as_deref().map(|topic| queue_hash(topic, queue.queue_id));
                by_hash.entry(hash.unwrap_or_default()).or_default().push(number);
            }
            by_hash
        });
        let numbers = by_hash.get(&row.queue).cloned().unwrap_or_default();
        for number in numbers {
            let queue = self.catalog.queue(number);
            let gone_before = queue.topic.as_deref().map_or(i64::MAX, |topic| self.tombstones.of(topic));
            if self.offset_of(row.position) < gone_before {
                continue;
            }
            let next = queue.next;
            let entry = Entry::damaged(row.position, end - row.position, self.lost().time);
            self.index.push(number, next, entry);
            self.catalog.queue_mut(number).next = next + 1;
        }
    }

    /// The log offset of a position.
    fn offset_of(&self, position: u32) -> i64 {
        self.first + to_offset(position as usize)
    }

    fn note_damage(&mut self, range: (u32, u32)) {
        self.last_damage = range;
        let full = self.index.damage.len() == DAMAGED_RANGES_MAX;
        match self.index.damage.last_mut() {
            // Neighbours are one range, and so is everything beyond the bound.
            Some(last) if full || last.1 == range.0 => last.1 = range.1,
            _ => self.index.damage.push(range),
        }
    }

    /// Puts an entry into its queue; offsets missing before it are marked as lost. `false` when the
    /// record's number is not believed and the message counts as lost itself.
    fn list(&mut self, record: &RecordView<'_>, entry: Entry) -> bool {
        let (queue_id, offset) = (record.queue_id(), record.queue_offset());
        if !is_queued(record.sys_flag()) || !(0..=QUEUE_ID_MAX).contains(&queue_id) || offset < 0 {
            return true;
        }
        let found = self.catalog.find(record.topic(), queue_id);
        let next = found.map_or(0, |number| self.catalog.queue(number).next);
        if offset < next {
            self.conflicts += 1;
            return true;
        }
        let begun = found.is_some_and(|number| self.index.run(number).is_some());
        let near = offset - next <= self.lost_max();
        // What is lost lies before this segment: it explains what a queue's first message here skips.
        let behind_missing = !begun && offset - next <= self.missing_max();
        let number = match found {
            Some(number) => number,
            // The first messages of a new queue may lie in the damage or in the missing segments.
            None => match self.add_queue(record.topic(), queue_id, if !near && behind_missing { offset } else { 0 }) {
                Ok(number) => number,
                Err(error) => {
                    tracing::warn!(%error, topic = record.topic(), queue_id, "a queue is not listed");
                    self.conflicts += 1;
                    return true;
                }
            },
        };
        let (offset, entry) = if near {
            for lost in next..offset {
                let entry = self.lost();
                self.index.push(number, lost, entry);
            }
            (offset, entry)
        } else if behind_missing {
            // Reads report the offsets between as damaged.
            (offset, entry)
        } else {
            // Nothing explains the jump, so the number is what is damaged: the message that was due is
            // lost, and the queue goes on behind it.
            self.note_damage((entry.position, entry.position + entry.length));
            (next, self.lost())
        };
        self.index.push(number, offset, entry);
        self.catalog.queue_mut(number).next = offset + 1;
        near || behind_missing
    }

    /// Messages that the damage of this segment can have held at most. A record whose offset was given
    /// out before may be one of them with a damaged number.
    fn lost_max(&self) -> i64 {
        let bytes: usize = self.index.damage.iter().map(|(from, to)| (to - from) as usize).sum();
        to_offset(bytes / RECORD_BYTES_MIN).saturating_add(i64::try_from(self.conflicts).unwrap_or(i64::MAX))
    }

    /// Messages that what is lost before the segment can have held at most.
    fn missing_max(&self) -> i64 {
        self.missing / to_offset(RECORD_BYTES_MIN)
    }

    /// An entry for a message that is somewhere in the last damage.
    fn lost(&self) -> Entry {
        let (from, to) = self.last_damage;
        let time = relative_time(self.index.first_time.unwrap_or(0), self.index.last_time);
        Entry::damaged(from, to - from, time)
    }

    /// Whether the record belongs to a topic that was deleted after it.
    fn is_gone(&self, record: &RecordView<'_>) -> bool {
        record.physical_offset() < self.tombstones.of(record.topic())
    }

    /// The damaged ranges as log offsets.
    pub(crate) fn damage_offsets(&self) -> impl Iterator<Item = (i64, i64)> + '_ {
        self.index.damage.iter().map(|(from, to)| (self.offset_of(*from), self.offset_of(*to)))
    }
}

/// A position or length within a segment; segments are below 2 GiB, so it fits.
fn small(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// Bytes of log of which nothing is left, counted from the log's start on, segment by segment.
#[derive(Debug)]
pub(crate) struct Lost {
    end: i64,
    bytes: i64,
}

impl Lost {
    /// Begins at the log offset up to which retention deleted segments.
    pub(crate) const fn after(start: i64) -> Self {
        Self { end: start, bytes: 0 }
    }

    /// Goes on to the end of a segment that has a sidecar. One that cannot be opened may hide anything.
    pub(crate) fn pass(&mut self, first: i64, end: i64, sidecar: &Path) {
        let whole = end - first;
        let damage = Sidecar::open(sidecar).map_or(whole, |sidecar| {
            let bytes: u64 = sidecar.damage().map(|(from, to)| to.saturating_sub(from)).fold(0, u64::saturating_add);
            i64::try_from(bytes).unwrap_or(whole).min(whole)
        });
        self.pass_damaged(first, end, damage);
    }

    /// Goes on to the end of a segment of which so many bytes are damaged.
    pub(crate) fn pass_damaged(&mut self, first: i64, end: i64, damage: i64) {
        self.bytes = self.before(first) + damage;
        self.end = end;
    }

    /// Bytes that are lost before the segment at `first`, the next one.
    pub(crate) fn before(&self, first: i64) -> i64 {
        self.bytes + (first - self.end).max(0)
    }
}

/// The queues as they were at the end of a sidecar's segment.
pub(crate) fn catalog_after(sidecar: &Sidecar, tombstones: &Tombstones) -> Catalog {
    let mut catalog = Catalog::default();
    let end = sidecar.facts().end;
    sidecar.each_queue(|topic, row| {
        // A topic that was deleted at this point or later had another life then.
        if tombstones.of(topic) >= end && tombstones.of(topic) > 0 {
            return;
        }
        if let Err(error) = catalog.add(topic, row.queue_id, row.next()) {
            tracing::warn!(%error, topic, queue_id = row.queue_id, "a queue is not known any more");
        }
    });
    catalog
}
