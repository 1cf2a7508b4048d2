//! Reading of one roll's rows in their order, one row group at a time.

use std::sync::Arc;

use bytes::Bytes;
use thiserror::Error;
use tokio::runtime::Handle;

use crate::bucket::{Bucket, BucketError};
use crate::index::{Index, IndexError};
use crate::limits::MERGE_BATCH_ROWS;
use crate::manifest::Roll;
use crate::object::{Layout, ObjectError, Scan, Step};
use crate::rows::Rebuilder;

/// Where objects are read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading<'a> {
    pub(super) bucket: &'a Bucket,
    /// The broker's folder.
    pub(super) home: &'a str,
    pub(super) runtime: &'a Handle,
}

/// Why a listed roll cannot be read.
#[derive(Debug, Error)]
pub(super) enum ReadError {
    #[error(transparent)]
    Bucket(#[from] BucketError),
    #[error("index {name}: {source}")]
    Index { name: String, source: IndexError },
    #[error("object {name}: {source}")]
    Object { name: String, source: ObjectError },
}

/// A roll that is read: where its rows are.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) roll: Arc<Roll>,
    pub(super) index: Index,
    pub(super) layouts: Vec<Layout>,
}

impl Opened {
    pub(super) fn open(reading: Reading<'_>, roll: &Arc<Roll>) -> Result<Self, ReadError> {
        let name = &roll.index.name;
        let failed = |source| ReadError::Index { name: name.to_string(), source };
        let bytes = reading.runtime.block_on(reading.bucket.read(&format!("{}/{name}", reading.home)))?;
        let index = Index::read(&bytes).map_err(failed)?;
        let mut layouts = Vec::with_capacity(roll.objects.len());
        for (number, object) in roll.objects.iter().enumerate() {
            let missing = || failed(IndexError::Damaged { what: "the end of an object is missing" });
            let tail = index.tail(number).ok_or_else(missing)?;
            let number = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
            let tail = tail.piece(bytes.slice(number(tail.from)..number(tail.to))).map_err(failed)?;
            let unreadable = |source| ReadError::Object { name: object.name.to_string(), source };
            layouts.push(Layout::read(&tail).map_err(unreadable)?);
        }
        Ok(Self { roll: Arc::clone(roll), index, layouts })
    }

    /// The object and the row group of a row of the roll, and the group's first row in the roll.
    fn group_of(&self, row: u64) -> Option<(usize, usize, u64)> {
        let mut first = 0;
        for (object, layout) in self.layouts.iter().enumerate() {
            if let Some((group, within)) = layout.group_of(row - first) {
                return Some((object, group, row - within));
            }
            first += layout.groups().sum::<u64>();
        }
        None
    }
}

/// A walk over the rows of one roll, forwards.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    reading: Reading<'a>,
    opened: &'a Opened,
    open: Option<Group>,
}

/// The row group under way.
#[derive(Debug)]
struct Group {
    object: usize,
    /// Its pages, and where they begin in the object.
    part: (u64, Bytes),
    scan: Scan,
    /// The row of the roll behind the group.
    end: u64,
    /// Rows that are decoded, and the row of the roll that comes first in them.
    batch: Option<Rebuilder>,
    batch_row: u64,
}

impl<'a> Cursor<'a> {
    pub(super) const fn new(reading: Reading<'a>, opened: &'a Opened) -> Self {
        Self { reading, opened, open: None }
    }

    /// Puts the record of a row into `out`; rows are asked for in rising order, and what lies between may be passed.
    pub(super) fn record(&mut self, row: u64, out: &mut Vec<u8>) -> Result<(), ReadError> {
        out.clear();
        if self.open.as_ref().is_none_or(|group| row >= group.end) {
            // What is held of the last group goes before the next one comes.
            self.open = None;
            self.open = Some(self.open_group(row)?);
        }
        let Some(group) = &mut self.open else { return Ok(()) };
        let name = self.opened.roll.objects.get(group.object).map_or("", |object| &*object.name);
        let failed = |source| ReadError::Object { name: name.to_owned(), source };
        group.record(row, out).map_err(failed)
    }

    fn open_group(&self, row: u64) -> Result<Group, ReadError> {
        let short = |name: &str| {
            let source = ObjectError::Damaged { what: format!("row {row} of the roll is in no row group") };
            ReadError::Object { name: name.to_owned(), source }
        };
        let (roll, layouts) = (&self.opened.roll, &self.opened.layouts);
        let (object, group, first) = self.opened.group_of(row).ok_or_else(|| short(&roll.index.name))?;
        let (Some(entry), Some(layout)) = (roll.objects.get(object), layouts.get(object)) else {
            return Err(short(&roll.index.name));
        };
        let failed = |source| ReadError::Object { name: entry.name.to_string(), source };
        let rows = layout.groups().nth(group).unwrap_or(0);
        let range = layout.range_of(group).ok_or_else(|| short(&entry.name))?;
        let path = format!("{}/{}", self.reading.home, entry.name);
        let begin = range.start;
        let bytes = self.reading.runtime.block_on(self.reading.bucket.read_range(&path, range))?;
        let wanted = row - first..rows;
        let scan = Scan::in_batches(layout, (group, std::slice::from_ref(&wanted)), None, MERGE_BATCH_ROWS);
        let scan = scan.map_err(failed)?;
        Ok(Group { object, part: (begin, bytes), scan, end: first + rows, batch: None, batch_row: row })
    }
}

impl Group {
    fn record(&mut self, row: u64, out: &mut Vec<u8>) -> Result<(), ObjectError> {
        loop {
            let rows = self.batch.as_ref().map_or(0, Rebuilder::len) as u64;
            if let Some(batch) = &self.batch
                && row < self.batch_row + rows
            {
                let nth = row.checked_sub(self.batch_row).and_then(|nth| usize::try_from(nth).ok());
                let nth = nth.ok_or_else(|| ObjectError::Damaged { what: format!("row {row} was passed") })?;
                return Ok(batch.rebuild(nth, out)?);
            }
            self.batch_row += rows;
            self.batch = Some(self.decode()?);
        }
    }

    fn decode(&mut self) -> Result<Rebuilder, ObjectError> {
        loop {
            match self.scan.step()? {
                Step::Need(ranges) => self.scan.give_from(ranges, (self.part.0, &self.part.1))?,
                Step::Rows(batch) => return Ok(Rebuilder::new(&batch)?),
                Step::End => return Err(ObjectError::Damaged { what: "a row group gives fewer rows".to_owned() }),
            }
        }
    }
}
