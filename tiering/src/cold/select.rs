//! Which rows of a row group a reader may want, from small columns alone.
//!
//! Owns pruning by the statistics of groups and pages, reading the columns that are left, and remembering what came of
//! it while the reader goes through the group.

use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use arrow_array::{Array, MapArray, RecordBatch};
use foyer::{Cache, CacheBuilder};
use parquet::file::page_index::column_index::ColumnIndexMetaData;

use super::blocks::Object;
use super::chunks::Join;
use super::sift::{Bounds, ColumnSift, PropertyBatch};
use super::{CacheOptions, ColdError, Shared};
use crate::limits::{FETCH_GAP_BYTES_MAX, PAGE_ROWS_MAX, STATISTICS_TEXT_BYTES_MAX};
use crate::object::{Layout, ObjectError, Scan, Step};
use crate::rows::{PROPERTY_PREFIX, names};
use strata_protocol::properties::{KEYS, TAGS, UNIQ_KEY};

/// What was decided of the rows of a queue in a row group.
type Key = (Arc<str>, usize, u64, String);

/// Decisions that are kept.
pub(super) struct Selections {
    kept: Cache<Key, Arc<[u32]>>,
}

impl Selections {
    pub(super) fn new(options: &CacheOptions) -> Self {
        let kept = CacheBuilder::new(options.memory_bytes / 32)
            .with_name("cold-selections")
            .with_weighter(|(_, _, _, text): &Key, rows: &Arc<[u32]>| 64 + text.len() + rows.len() * 4);
        Self { kept: kept.build() }
    }
}

/// Where a property is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Home {
    /// In a column of its own, with this leaf.
    Column(String, usize),
    /// Among the others.
    Rest,
}

/// Whether the columns of an object can answer a question. Keys are in two places, which are not put together here.
pub(super) fn is_answerable(sift: &dyn ColumnSift) -> bool {
    !sift.names().contains(&KEYS)
}

/// The rows of a group, between `within`, that the statistics of the group and its pages leave to a question.
pub(super) fn left(layout: &Layout, (group, within): (usize, &Range<u64>), sift: &dyn ColumnSift) -> Vec<Range<u64>> {
    Question::of(layout, sift).ranges(layout, group, within)
}

/// The rows of a group, between `within`, in whose pages a column of numbers may have one of `wanted`.
pub(super) fn left_by_number(
    layout: &Layout,
    (group, within): (usize, &Range<u64>),
    (leaf, wanted): (usize, &RangeInclusive<i64>),
) -> Vec<Range<u64>> {
    let rows = layout.groups().nth(group).unwrap_or(0);
    pages(rows, within, |number, count| {
        let bounds = page_numbers(layout, (group, leaf), number, count);
        bounds.is_none_or(|(low, high)| low <= *wanted.end() && high >= *wanted.start())
    })
}

/// The rows between `within` of the pages of a group of so many rows that are `wanted`, by their numbers and rows.
fn pages(rows: u64, within: &Range<u64>, wanted: impl Fn(u64, u64) -> bool) -> Vec<Range<u64>> {
    let page = PAGE_ROWS_MAX as u64;
    let mut out: Vec<Range<u64>> = Vec::new();
    for number in within.start / page..within.end.div_ceil(page) {
        let all = number * page..((number + 1) * page).min(rows);
        if !wanted(number, all.end - all.start) {
            continue;
        }
        let left = all.start.max(within.start)..all.end.min(within.end);
        match out.last_mut() {
            Some(last) if last.end == left.start => last.end = left.end,
            _ => out.push(left),
        }
    }
    out
}

impl Shared {
    /// The rows of a group, between `within`, that may be wanted, ascending.
    pub(super) async fn select(
        self: &Arc<Self>,
        object: &Object,
        (group, within): (usize, &Range<u64>),
        sift: &dyn ColumnSift,
    ) -> Result<Arc<[u32]>, ColdError> {
        let key = (Arc::clone(&object.name), group, within.start, sift.identity().to_owned());
        if let Some(found) = self.selections.kept.get(&key) {
            return Ok(Arc::clone(found.value()));
        }
        let question = Question::of(&object.layout, sift);
        let ranges = question.ranges(&object.layout, group, within);
        let mut rows = Vec::new();
        if !ranges.is_empty() {
            let mut nth = ranges.iter().flat_map(Clone::clone);
            for batch in self.batches(object, group, &ranges, &question.leaves(&object.layout)).await? {
                let wanted = question.ask(&batch).map_err(|error| ColdError::object(&object.name, error))?;
                let numbered = nth.by_ref().take(batch.num_rows()).zip(wanted);
                rows.extend(numbered.filter(|(_, wanted)| *wanted).filter_map(|(row, _)| u32::try_from(row).ok()));
            }
        }
        let rows: Arc<[u32]> = rows.into();
        self.selections.kept.insert(key, Arc::clone(&rows));
        Ok(rows)
    }

    async fn batches(
        &self,
        object: &Object,
        group: usize,
        ranges: &[Range<u64>],
        leaves: &[usize],
    ) -> Result<Vec<RecordBatch>, ColdError> {
        let failed = |error: ObjectError| ColdError::object(&object.name, error);
        let mut scan = Scan::new(&object.layout, group, ranges, Some(leaves)).map_err(failed)?;
        let mut out = Vec::new();
        loop {
            match scan.step().map_err(failed)? {
                Step::Need(needed) => {
                    let bytes = self.chunks.read_all(&object.name, &needed, Join::Near(FETCH_GAP_BYTES_MAX)).await?;
                    scan.give(needed, bytes).map_err(failed)?;
                }
                Step::Rows(batch) => out.push(batch),
                Step::End => return Ok(out),
            }
        }
    }
}

/// A question to one object.
struct Question<'a> {
    sift: &'a dyn ColumnSift,
    /// Where each property is that is looked at.
    homes: Vec<(&'a str, Home)>,
    /// Leaf of the column of whole records, which are asked for themselves.
    record: Option<usize>,
}

impl<'a> Question<'a> {
    fn of(layout: &Layout, sift: &'a dyn ColumnSift) -> Self {
        let home = |name: &'a str| {
            let column = match name {
                TAGS => names::TAGS.to_owned(),
                UNIQ_KEY => names::MSG_ID.to_owned(),
                other => format!("{PROPERTY_PREFIX}{other}"),
            };
            let leaf = layout.leaf(&column);
            (name, leaf.map_or(Home::Rest, |leaf| Home::Column(column, leaf)))
        };
        let homes = sift.names().into_iter().map(home).collect();
        Self { sift, homes, record: layout.leaf(names::RECORD) }
    }

    /// The leaves that are read.
    fn leaves(&self, layout: &Layout) -> Vec<usize> {
        let columns = self.homes.iter().filter_map(|(_, home)| match home {
            Home::Column(_, leaf) => Some(*leaf),
            Home::Rest => None,
        });
        let mut leaves: Vec<usize> = columns.chain(self.record).collect();
        if self.reads_rest() {
            let parts = ["key", "value"].map(|part| format!("{}.key_value.{part}", names::PROPERTIES));
            leaves.extend(parts.iter().filter_map(|path| layout.leaf(path)));
        }
        leaves
    }

    fn reads_rest(&self) -> bool {
        self.homes.iter().any(|(_, home)| *home == Home::Rest)
    }

    /// The rows between `within` that are left by the statistics of the group and its pages.
    fn ranges(&self, layout: &Layout, group: usize, within: &Range<u64>) -> Vec<Range<u64>> {
        let rows = layout.groups().nth(group).unwrap_or(0);
        if !self.may_match(rows, |leaf| group_bounds(layout, group, leaf, rows)) {
            return Vec::new();
        }
        pages(rows, within, |number, count| {
            self.may_match(count, |leaf| page_bounds(layout, (group, leaf), number, count))
        })
    }

    fn may_match(&self, rows: u64, bounds: impl Fn(usize) -> Option<Bounds>) -> bool {
        // What is a whole record does not say in its columns what it is.
        let has_records = self.record.is_none_or(|leaf| bounds(leaf).and_then(|known| known.nulls) != Some(rows));
        let statistics = |name: &str| {
            let home = self.homes.iter().find(|(known, _)| *known == name).map(|(_, home)| home);
            match home {
                Some(Home::Column(_, leaf)) => bounds(*leaf).unwrap_or_default(),
                _ => Bounds { rows: Some(rows), ..Bounds::default() },
            }
        };
        has_records || self.sift.may_match(&statistics)
    }

    fn ask(&self, batch: &RecordBatch) -> Result<Vec<bool>, ObjectError> {
        let missing = |name: &str| ObjectError::Damaged { what: format!("column {name} was not read") };
        let mut named: Vec<(&str, &dyn Array)> = Vec::new();
        for (name, home) in &self.homes {
            if let Home::Column(column, _) = home {
                named.push((*name, batch.column_by_name(column).ok_or_else(|| missing(column))?));
            }
        }
        let rest = batch.column_by_name(names::PROPERTIES).and_then(|array| array.as_any().downcast_ref::<MapArray>());
        if self.reads_rest() && rest.is_none() {
            return Err(missing(names::PROPERTIES));
        }
        let mut wanted = self.sift.rows(&PropertyBatch { rows: batch.num_rows(), named, rest });
        if let Some(records) = batch.column_by_name(names::RECORD) {
            wanted.iter_mut().enumerate().for_each(|(row, wanted)| *wanted |= records.is_valid(row));
        }
        Ok(wanted)
    }
}

/// A text of statistics; one of the greatest length may be cut.
fn text(bytes: &[u8]) -> (Vec<u8>, bool) {
    (bytes.to_vec(), bytes.len() < STATISTICS_TEXT_BYTES_MAX)
}

fn group_bounds(layout: &Layout, group: usize, leaf: usize, rows: u64) -> Option<Bounds> {
    let statistics = layout.metadata().row_groups().get(group)?.columns().get(leaf)?.statistics()?;
    Some(Bounds {
        rows: Some(rows),
        nulls: statistics.null_count_opt(),
        min: statistics.min_bytes_opt().map(text),
        max: statistics.max_bytes_opt().map(text),
    })
}

/// The index of a column's pages, and the place in it of the page of these rows.
fn page_of(
    layout: &Layout,
    (group, leaf): (usize, usize),
    page: u64,
    rows: u64,
) -> Option<(&ColumnIndexMetaData, usize)> {
    let number = usize::try_from(page).ok()?;
    let places = layout.metadata().offset_index()?.get(group)?.get(leaf)?.page_locations();
    let first = places.get(number)?.first_row_index;
    let next = places.get(number + 1).map(|place| place.first_row_index);
    let from = i64::try_from(page * PAGE_ROWS_MAX as u64).ok()?;
    // Pages of large texts end early; then they are not these rows'.
    if first != from || next.is_some_and(|next| next != from + i64::try_from(rows).unwrap_or(i64::MAX)) {
        return None;
    }
    Some((layout.metadata().column_index()?.get(group)?.get(leaf)?, number))
}

/// The least and the greatest number of a page.
fn page_numbers(layout: &Layout, column: (usize, usize), page: u64, rows: u64) -> Option<(i64, i64)> {
    let (ColumnIndexMetaData::INT64(numbers), at) = page_of(layout, column, page, rows)? else { return None };
    numbers.min_value(at).copied().zip(numbers.max_value(at).copied())
}

fn page_bounds(layout: &Layout, column: (usize, usize), page: u64, rows: u64) -> Option<Bounds> {
    let (index, number) = page_of(layout, column, page, rows)?;
    let nulls = index.null_count(number).and_then(|nulls| u64::try_from(nulls).ok());
    if index.is_null_page(number) {
        return Some(Bounds { rows: Some(rows), nulls: Some(rows), ..Bounds::default() });
    }
    let texts = if let ColumnIndexMetaData::BYTE_ARRAY(texts) = index { Some(texts) } else { None };
    let (min, max) = texts.map_or((None, None), |texts| (texts.min_value(number), texts.max_value(number)));
    Some(Bounds { rows: Some(rows), nulls, min: min.map(text), max: max.map(text) })
}
