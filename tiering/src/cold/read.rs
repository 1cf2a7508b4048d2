//! Reading a queue from an offset on, under a budget.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use foyer::{Cache, CacheBuilder};
use strata_protocol::record::{QUEUE_ID_AT, QUEUE_OFFSET_AT};
use tokio::time::Instant;

use super::blocks::{BlockKey, Fetch, Object};
use super::chunks::Join;
use super::locate::Spot;
use super::select::is_answerable;
use super::sift::{ColumnSift, Sift};
use super::{Cold, ColdError, Records, SCAN_TIME_MAX, Shared};
use crate::index::At;
use crate::limits::{
    AHEAD_TASKS_MAX, FETCH_GAP_BYTES_FEW, HINTS_MAX, PAGE_ROWS_MAX, READ_ON_OFFSETS_MIN, SELECTED_ONE_OF_ROWS_MIN,
    SELECTED_ROWS_MAX,
};
use crate::object::ObjectError;

/// What a read asks for.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// Topic.
    pub topic: &'a str,
    /// Queue.
    pub queue_id: i32,
    /// The first offset.
    pub offset: i64,
    /// Messages in the answer at most.
    pub messages_max: usize,
    /// Bytes of the answer at most; its first message is given even if it alone has more.
    pub bytes_max: usize,
}

/// How a cold read ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColdStatus {
    /// There are messages in the answer.
    Found,
    /// Messages were looked at and none was wanted; go on at the next offset.
    NoMatch,
    /// The offset is below the first one that is listed, which is the next offset.
    BeforeBegin,
    /// The offset is not listed yet: the log has it.
    PastEnd,
    /// The messages from the offset to the next offset were damaged before they were rolled.
    Lost,
}

/// The answer to a cold read.
#[derive(Debug, Clone)]
pub struct ColdRead {
    /// How it ended.
    pub status: ColdStatus,
    /// Records, one after another.
    pub slices: Vec<Bytes>,
    /// Number of records.
    pub messages: usize,
    /// Bytes of all slices.
    pub bytes: usize,
    /// Where to read next.
    pub next_offset: i64,
}

impl ColdRead {
    const fn nothing(status: ColdStatus, next_offset: i64) -> Self {
        Self { status, slices: Vec::new(), messages: 0, bytes: 0, next_offset }
    }
}

/// What readers did last, to see who reads on.
pub(super) struct Readers {
    /// Where the last read of a queue ended, and how many offsets were passed one read after the other, by the queue.
    /// Several groups at several places only miss it.
    ends: Cache<(u64, i32), (i64, i64)>,
    /// Readings ahead that are under way.
    ahead: Arc<tokio::sync::Semaphore>,
}

impl Readers {
    pub(super) fn new() -> Self {
        let ends = CacheBuilder::new(HINTS_MAX).with_name("cold-readers").build();
        Self { ends, ahead: Arc::new(tokio::sync::Semaphore::new(AHEAD_TASKS_MAX)) }
    }
}

impl Cold {
    /// Reads messages of a queue from an offset on, and begins to read ahead where a reader goes on.
    ///
    /// Never skips in silence: the next offset passes only messages that were given, not wanted, or told as lost.
    ///
    /// # Errors
    /// The store refused, or an object is damaged; nothing is known of the offset then.
    pub async fn read(&self, ask: &Ask<'_>, sift: &dyn Sift) -> Result<ColdRead, ColdError> {
        self.answered(|| self.read_once(ask, sift)).await
    }

    async fn read_once(&self, ask: &Ask<'_>, sift: &dyn Sift) -> Result<ColdRead, ColdError> {
        let shared = &self.shared;
        let queue = (ask.topic, ask.queue_id);
        let key = shared.places.hint_key(queue);
        let before = shared.readers.ends.get(&key).map(|end| *end.value());
        let passed = before.filter(|(end, _)| *end == ask.offset).map_or(0, |(_, passed)| passed);
        let mut walk = Walk {
            shared,
            ask,
            sift,
            read: ColdRead::nothing(ColdStatus::NoMatch, ask.offset),
            goes_on: passed >= READ_ON_OFFSETS_MIN,
            until: Instant::now() + SCAN_TIME_MAX,
        };
        walk.run().await?;
        let read = walk.read;
        shared.readers.ends.insert(key, (read.next_offset, passed + (read.next_offset - ask.offset).max(0)));
        Ok(read)
    }

    /// The queue's first listed offset and the one behind its last; `None` when nothing of it is listed.
    ///
    /// # Errors
    /// As for a read.
    pub async fn range(&self, topic: &str, queue_id: i32) -> Result<Option<(i64, i64)>, ColdError> {
        self.answered(|| self.shared.range((topic, queue_id))).await
    }
}

/// A read under way.
struct Walk<'a> {
    shared: &'a Arc<Shared>,
    ask: &'a Ask<'a>,
    sift: &'a dyn Sift,
    read: ColdRead,
    goes_on: bool,
    until: Instant,
}

/// Whether a read goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    On,
    Over,
}

impl<'a> Walk<'a> {
    async fn run(&mut self) -> Result<(), ColdError> {
        let begin = self.ask.offset;
        loop {
            let queue = (self.ask.topic, self.ask.queue_id);
            let Some(spot) = self.shared.locate(queue, self.read.next_offset).await? else {
                if self.read.next_offset == begin {
                    self.read.status = ColdStatus::PastEnd;
                }
                return Ok(());
            };
            if self.read.next_offset < spot.span.base {
                if self.read.next_offset == begin {
                    self.read = ColdRead::nothing(ColdStatus::BeforeBegin, spot.span.base);
                }
                return Ok(());
            }
            if self.in_roll(&spot).await? == Next::Over {
                return Ok(());
            }
        }
    }

    /// Reads on in one roll.
    async fn in_roll(&mut self, spot: &Spot) -> Result<Next, ColdError> {
        let Some(roll) = spot.roll() else { return Ok(Next::Over) };
        let mut object: Option<Object> = None;
        while self.read.next_offset < spot.span.next {
            let row = match spot.index.at(&spot.span, self.read.next_offset) {
                At::Row(row) => row,
                At::Lost(until) => {
                    if self.read.next_offset == self.ask.offset {
                        self.read = ColdRead::nothing(ColdStatus::Lost, until.min(spot.span.next));
                    }
                    return Ok(Next::Over);
                }
            };
            let held = object.as_ref().filter(|object| object.layout.holds(row, object.first_row));
            let held = match held {
                Some(held) => held.clone(),
                None => match self.shared.object(roll, row).await? {
                    Some(found) => object.insert(found).clone(),
                    None => return Ok(Next::Over),
                },
            };
            let Some(piece) = Piece::of(spot, &held, row) else { return Ok(Next::Over) };
            if let Some(columns) = self.by_columns(spot) {
                match self.in_group(spot, &held, &piece, columns).await? {
                    Some(Next::Over) => return Ok(Next::Over),
                    Some(Next::On) if Instant::now() >= self.until => return Ok(Next::Over),
                    Some(Next::On) => continue,
                    // So many are wanted that all of them are looked at.
                    None => {}
                }
            }
            let Some(records) = self.records(&held, &piece).await? else { return Ok(Next::Over) };
            if self.take(spot, (&records, &held), &piece)? == Next::Over {
                return Ok(Next::Over);
            }
            self.goes_on = true;
            if Instant::now() >= self.until {
                return Ok(Next::Over);
            }
        }
        Ok(Next::On)
    }

    /// The question to columns, if they can answer it: where messages were lost each is passed by itself.
    fn by_columns(&self, spot: &Spot) -> Option<&'a dyn ColumnSift> {
        self.sift.columns().filter(|columns| spot.span.is_whole() && is_answerable(*columns))
    }

    /// Reads on in the rest of a row group, fetching what may be wanted alone. `None` when that is much of what comes
    /// next.
    async fn in_group(
        &mut self,
        spot: &Spot,
        object: &Object,
        piece: &Piece,
        columns: &dyn ColumnSift,
    ) -> Result<Option<Next>, ColdError> {
        let selected = self.shared.select(object, (piece.group, &piece.within), columns).await?;
        let from = selected.partition_point(|row| u64::from(*row) < piece.row);
        let behind = piece.row + PAGE_ROWS_MAX as u64;
        let soon = selected[from..].partition_point(|row| u64::from(*row) < behind);
        if soon > PAGE_ROWS_MAX / SELECTED_ONE_OF_ROWS_MIN {
            return Ok(None);
        }
        let count = (self.ask.messages_max - self.read.messages).clamp(1, SELECTED_ROWS_MAX);
        let taken = &selected[from..(from + count).min(selected.len())];
        let ranges: Vec<Range<u64>> = taken.iter().map(|row| u64::from(*row)..u64::from(*row) + 1).collect();
        let records = self.shared.rows_of((object, piece.group), &ranges, Join::Near(FETCH_GAP_BYTES_FEW)).await?;
        let offset_of = |row: u64| spot.index.offset_of(&spot.span, piece.first_row + row);
        for (row, record) in taken.iter().zip(records) {
            let offset = offset_of(u64::from(*row));
            self.check(object, &record, offset)?;
            let is_wanted = self.sift.wants(&record);
            let is_full = self.read.messages >= self.ask.messages_max
                || self.read.messages > 0 && self.read.bytes + record.len() > self.ask.bytes_max;
            if is_wanted && is_full {
                self.read.next_offset = offset;
                return Ok(Some(Next::Over));
            }
            self.read.next_offset = offset + 1;
            if is_wanted {
                self.read.messages += 1;
                self.read.bytes += record.len();
                self.read.status = ColdStatus::Found;
                self.read.slices.push(record);
            }
        }
        if from + taken.len() < selected.len() {
            return Ok(Some(if self.read.messages >= self.ask.messages_max { Next::Over } else { Next::On }));
        }
        // None of the others in the group is wanted.
        self.read.next_offset = offset_of(piece.within.end - 1) + 1;
        Ok(Some(Next::On))
    }

    /// The records of a piece; `None` when there are messages already and these would have to be waited for.
    async fn records(&self, object: &Object, piece: &Piece) -> Result<Option<Records>, ColdError> {
        let key = Shared::block_key(object, piece.group, piece.row, &piece.within);
        if let Some(found) = self.shared.block_in_memory(&key) {
            if self.goes_on {
                self.read_ahead(object, piece, &key);
            }
            return Ok(Some(found));
        }
        if self.read.messages > 0 {
            return Ok(None);
        }
        let fetch = if self.goes_on { Fetch::Segments } else { Fetch::Pages };
        let records = self.shared.block(object, &key, fetch).await?;
        if self.goes_on {
            self.read_ahead(object, piece, &key);
        }
        Ok(Some(records))
    }

    /// Has the block behind one made before it is asked for.
    fn read_ahead(&self, object: &Object, piece: &Piece, key: &BlockKey) {
        if key.rows.end >= piece.within.end {
            return;
        }
        let next = Shared::block_key(object, piece.group, key.rows.end, &piece.within);
        if self.shared.block_in_memory(&next).is_some() {
            return;
        }
        let Ok(permit) = Arc::clone(&self.shared.readers.ahead).try_acquire_owned() else { return };
        let (shared, object) = (Arc::clone(self.shared), object.clone());
        tokio::spawn(async move {
            if let Err(error) = shared.block(&object, &next, Fetch::Segments).await {
                // Whoever needs it asks again and is told.
                tracing::debug!(%error, "reading ahead");
            }
            drop(permit);
        });
    }

    /// Takes what is wanted of a block from the piece's row on.
    fn take(&mut self, spot: &Spot, (records, object): (&Records, &Object), piece: &Piece) -> Result<Next, ColdError> {
        let first = piece.row - piece.block_from;
        let mut open: Option<Range<usize>> = None;
        let mut over = Next::On;
        for nth in usize::try_from(first).unwrap_or(usize::MAX)..records.len() {
            let at = records.range(nth);
            let bytes = at.end - at.start;
            let full = self.read.messages >= self.ask.messages_max
                || self.read.messages > 0 && self.read.bytes + bytes > self.ask.bytes_max;
            if full {
                over = Next::Over;
                break;
            }
            let row = piece.first_row + piece.block_from + nth as u64;
            let offset = spot.index.offset_of(&spot.span, row);
            if offset > self.read.next_offset {
                // Lost ones lie between; the next read tells them.
                over = Next::Over;
                break;
            }
            self.check(object, &records.bytes[at.clone()], offset)?;
            self.read.next_offset = offset + 1;
            if !self.sift.is_open() && !self.sift.wants(&records.bytes[at.clone()]) {
                continue;
            }
            self.read.messages += 1;
            self.read.bytes += bytes;
            self.read.status = ColdStatus::Found;
            match &mut open {
                Some(open) if open.end == at.start => open.end = at.end,
                open => {
                    let before = open.replace(at);
                    self.read.slices.extend(before.map(|range| records.bytes.slice(range)));
                }
            }
        }
        self.read.slices.extend(open.map(|range| records.bytes.slice(range)));
        Ok(over)
    }

    /// Holds that a record is the one that is asked for: its checksum says that it was stored, not where.
    fn check(&self, object: &Object, record: &[u8], offset: i64) -> Result<(), ColdError> {
        if place_of(record) == Some((self.ask.queue_id, offset)) {
            return Ok(());
        }
        let what = format!("at offset {offset} of queue {} lies another message", self.ask.queue_id);
        Err(ColdError::object(&object.name, ObjectError::Damaged { what }))
    }
}

/// Queue and offset that a record says it has.
fn place_of(record: &[u8]) -> Option<(i32, i64)> {
    let queue_id = i32::from_be_bytes(*record.get(QUEUE_ID_AT..)?.first_chunk()?);
    Some((queue_id, i64::from_be_bytes(*record.get(QUEUE_OFFSET_AT..)?.first_chunk()?)))
}

/// A row and the rows of its queue in the same row group.
#[derive(Debug, Clone)]
struct Piece {
    group: usize,
    /// Row of the group.
    row: u64,
    /// Rows of the group that belong to the queue.
    within: Range<u64>,
    /// Row of the group at which the row's block begins.
    block_from: u64,
    /// The group's first row in the roll.
    first_row: u64,
}

impl Piece {
    fn of(spot: &Spot, object: &Object, row: u64) -> Option<Self> {
        let (group, in_group) = object.layout.group_of(row.checked_sub(object.first_row)?)?;
        let rows = object.layout.groups().nth(group)?;
        let first_row = row - in_group;
        let (from, to) = (spot.span.row, spot.span.row + u64::from(spot.span.rows));
        let within = from.saturating_sub(first_row)..(to.saturating_sub(first_row)).min(rows);
        let block_from = Shared::block_key(object, group, in_group, &within).rows.start;
        Some(Self { group, row: in_group, within, block_from, first_row })
    }
}
