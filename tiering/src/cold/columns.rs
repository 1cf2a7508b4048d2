//! One column of some rows: what questions by time, key and log offset look at.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef};
use bytes::Bytes;
use parquet::file::statistics::Statistics;

use super::blocks::{Object, object_of};
use super::chunks::Join;
use super::locate::Spot;
use super::{ColdError, Shared};
use crate::index::Span;
use crate::limits::FETCH_GAP_BYTES_MAX;
use crate::manifest::Roll;
use crate::object::{Layout, ObjectError, Scan, Step};
use crate::rows::Rebuilder;

/// Rows of one row group.
#[derive(Debug, Clone)]
pub(super) struct GroupRows {
    pub(super) object: Object,
    pub(super) group: usize,
    /// Rows of the group.
    pub(super) rows: Range<u64>,
    /// The group's first row in the roll.
    pub(super) first_row: u64,
}

impl Layout {
    /// The lowest and the highest number of a leaf column in a row group.
    pub(super) fn bounds(&self, group: usize, leaf: usize) -> Option<(i64, i64)> {
        let column = self.metadata().row_groups().get(group)?.columns().get(leaf)?;
        let Statistics::Int64(numbers) = column.statistics()? else { return None };
        numbers.min_opt().copied().zip(numbers.max_opt().copied())
    }
}

impl Shared {
    /// The row groups of a part of a roll's rows, in their order.
    pub(super) async fn groups(self: &Arc<Self>, roll: &Roll, rows: Range<u64>) -> Result<Vec<GroupRows>, ColdError> {
        let mut out = Vec::new();
        let mut row = rows.start;
        while row < rows.end {
            let Some(object) = self.object(roll, row).await? else { break };
            let mut first_row = object.first_row;
            for (group, count) in object.layout.groups().enumerate() {
                let (from, to) = (row.max(first_row), rows.end.min(first_row + count));
                if from < to {
                    let rows = from - first_row..to - first_row;
                    out.push(GroupRows { object: object.clone(), group, rows, first_row });
                }
                first_row += count;
            }
            row = first_row;
        }
        Ok(out)
    }

    /// The row groups of a queue in a roll whose objects have store times in a range, ms since 1970.
    pub(super) async fn groups_in_time(
        self: &Arc<Self>,
        spot: &Spot,
        times: std::ops::RangeInclusive<i64>,
    ) -> Result<Vec<GroupRows>, ColdError> {
        let Some(roll) = spot.roll() else { return Ok(Vec::new()) };
        let (mut out, end) = (Vec::new(), end_of(&spot.span));
        let mut row = spot.span.row;
        while let Some((_, entry, first)) = object_of(roll, row).filter(|_| row < end) {
            let to = end.min(first + entry.rows);
            if entry.first_time <= *times.end() && entry.last_time >= *times.start() {
                out.extend(self.groups(roll, row..to).await?);
            }
            row = to;
        }
        Ok(out)
    }

    /// A column of rows of a group, in pieces.
    pub(super) async fn column(
        self: &Arc<Self>,
        part: &GroupRows,
        rows: &[Range<u64>],
        column: &str,
    ) -> Result<Vec<ArrayRef>, ColdError> {
        let object = &part.object;
        let failed = |error: ObjectError| ColdError::object(&object.name, error);
        let leaf = object.layout.leaf(column);
        let missing = || failed(ObjectError::Damaged { what: format!("it has no column {column}") });
        let leaf = leaf.ok_or_else(missing)?;
        let mut scan = Scan::new(&object.layout, part.group, rows, Some(&[leaf])).map_err(failed)?;
        let mut out = Vec::new();
        loop {
            match scan.step().map_err(failed)? {
                Step::Need(ranges) => {
                    let bytes = self.chunks.read_all(&object.name, &ranges, Join::Near(FETCH_GAP_BYTES_MAX)).await?;
                    scan.give(ranges, bytes).map_err(failed)?;
                }
                Step::Rows(batch) => out.extend(batch.columns().first().cloned()),
                Step::End => return Ok(out),
            }
        }
    }

    /// The records of a few single rows of a group.
    pub(super) async fn rows(self: &Arc<Self>, part: &GroupRows, rows: &[Range<u64>]) -> Result<Vec<Bytes>, ColdError> {
        self.rows_of((&part.object, part.group), rows, Join::Few).await
    }

    /// The records of some rows of a group of an object.
    pub(super) async fn rows_of(
        self: &Arc<Self>,
        (object, group): (&Object, usize),
        rows: &[Range<u64>],
        join: Join,
    ) -> Result<Vec<Bytes>, ColdError> {
        let failed = |error: ObjectError| ColdError::object(&object.name, error);
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let mut scan = Scan::new(&object.layout, group, rows, None).map_err(failed)?;
        let mut out = Vec::new();
        loop {
            match scan.step().map_err(failed)? {
                Step::Need(ranges) => {
                    let bytes = self.chunks.read_all(&object.name, &ranges, join).await?;
                    scan.give(ranges, bytes).map_err(failed)?;
                }
                Step::Rows(batch) => {
                    let rebuilder = Rebuilder::new(&batch).map_err(|error| failed(error.into()))?;
                    for row in 0..batch.num_rows() {
                        let mut record = Vec::new();
                        rebuilder.rebuild(row, &mut record).map_err(|error| failed(error.into()))?;
                        out.push(record.into());
                    }
                }
                // Fewer would be passed over as if nobody wanted them.
                Step::End if out.len() as u64 != rows.iter().map(|range| range.end - range.start).sum::<u64>() => {
                    let what = format!("row group {group} gave {} rows, others than were asked for", out.len());
                    return Err(failed(ObjectError::Damaged { what }));
                }
                Step::End => return Ok(out),
            }
        }
    }

    /// Numbers of a column, one for each of the rows.
    pub(super) async fn numbers(
        self: &Arc<Self>,
        part: &GroupRows,
        rows: &[Range<u64>],
        column: &str,
    ) -> Result<Vec<i64>, ColdError> {
        let arrays = self.column(part, rows, column).await?;
        let mut out = Vec::new();
        for array in &arrays {
            let data = array.to_data();
            let numbers = data.buffers().first().map(|buffer| buffer.typed_data::<i64>()).unwrap_or_default();
            out.extend_from_slice(numbers.get(data.offset()..data.offset() + data.len()).unwrap_or_default());
        }
        Ok(out)
    }
}

/// The row behind a span.
pub(super) fn end_of(span: &Span) -> u64 {
    span.row + u64::from(span.rows)
}
