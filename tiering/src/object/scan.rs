//! A scan of some rows and columns of one row group, as a conversation: which bytes are needed, and what they hold.

use std::ops::Range;
use std::panic::AssertUnwindSafe;

use arrow_array::RecordBatch;
use bytes::Bytes;
use parquet::DecodeResult;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{RowSelection, RowSelector};
use parquet::arrow::push_decoder::{ParquetPushDecoder, ParquetPushDecoderBuilder};

use super::{Layout, ObjectError};
use crate::limits::PAGE_ROWS_MAX;

/// What comes next in a scan.
#[derive(Debug)]
pub enum Step {
    /// These bytes of the object are needed: fetch them and [`Scan::give`] them.
    Need(Vec<Range<u64>>),
    /// The next rows.
    Rows(RecordBatch),
    /// There are no more.
    End,
}

/// A scan under way.
#[derive(Debug)]
pub struct Scan {
    decoder: ParquetPushDecoder,
    is_broken: bool,
}

impl Scan {
    /// Begins a scan of ranges of rows of a row group, ascending and disjoint; `columns` are leaves, `None` for all.
    ///
    /// # Errors
    /// The object has no such row group.
    pub fn new(
        layout: &Layout,
        group: usize,
        rows: &[Range<u64>],
        columns: Option<&[usize]>,
    ) -> Result<Self, ObjectError> {
        Self::in_batches(layout, (group, rows), columns, PAGE_ROWS_MAX)
    }

    /// The same with so many rows in a batch at most, for who has many scans open.
    ///
    /// # Errors
    /// As [`Scan::new`].
    pub fn in_batches(
        layout: &Layout,
        (group, rows): (usize, &[Range<u64>]),
        columns: Option<&[usize]>,
        batch_rows: usize,
    ) -> Result<Self, ObjectError> {
        let schema = layout.arrow().parquet_schema();
        let mask = match columns {
            None => ProjectionMask::all(),
            Some(leaves) => ProjectionMask::leaves(schema, leaves.iter().copied()),
        };
        let mut selectors = Vec::with_capacity(rows.len() * 2);
        let mut at = 0;
        for range in rows {
            let number = |rows: u64| usize::try_from(rows).unwrap_or(usize::MAX);
            selectors.push(RowSelector::skip(number(range.start.saturating_sub(at))));
            selectors.push(RowSelector::select(number(range.end.saturating_sub(range.start))));
            at = range.end;
        }
        let decoder = ParquetPushDecoderBuilder::new_with_metadata(layout.arrow().clone())
            .with_batch_size(batch_rows)
            .with_row_groups(vec![group])
            .with_projection(mask)
            .with_row_selection(RowSelection::from(selectors))
            .build()?;
        Ok(Self { decoder, is_broken: false })
    }

    /// Goes on.
    ///
    /// # Errors
    /// The bytes that were given are no pages.
    pub fn step(&mut self) -> Result<Step, ObjectError> {
        if self.is_broken {
            return Err(ObjectError::damaged("its pages cannot be decoded"));
        }
        // Of pages with wrong bytes the decoder may break off in a panic, which must not end the thread that rolls. It is
        // not asked again then, so that nothing it left half done is seen.
        self.is_broken = true;
        let decoded = std::panic::catch_unwind(AssertUnwindSafe(|| self.decoder.try_decode()));
        let decoded = decoded.map_err(|_| ObjectError::damaged("its pages break the decoder"))?;
        self.is_broken = false;
        Ok(match decoded? {
            DecodeResult::NeedsData(ranges) => Step::Need(ranges),
            DecodeResult::Data(batch) => Step::Rows(batch),
            DecodeResult::Finished => Step::End,
        })
    }

    /// Gives bytes that were asked for.
    ///
    /// # Errors
    /// Their number does not fit the ranges.
    pub fn give(&mut self, ranges: Vec<Range<u64>>, bytes: Vec<Bytes>) -> Result<(), ObjectError> {
        Ok(self.decoder.push_ranges(ranges, bytes)?)
    }

    /// Gives what was asked for out of bytes that begin at `at` in the object.
    ///
    /// # Errors
    /// They do not hold all of it.
    pub fn give_from(&mut self, ranges: Vec<Range<u64>>, (at, bytes): (u64, &Bytes)) -> Result<(), ObjectError> {
        let cut = |range: &Range<u64>| {
            let from = usize::try_from(range.start.checked_sub(at)?).ok()?;
            let to = usize::try_from(range.end.checked_sub(at)?).ok()?;
            (from <= to && to <= bytes.len()).then(|| bytes.slice(from..to))
        };
        let parts: Option<Vec<Bytes>> = ranges.iter().map(cut).collect();
        let parts = parts.ok_or_else(|| ObjectError::damaged("pages of a row group lie outside of it"))?;
        self.give(ranges, parts)
    }
}
