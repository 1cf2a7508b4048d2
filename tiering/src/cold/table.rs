//! The listed rows as a table: which row groups a question may find something in, and their columns.
//!
//! Owns pruning by manifest, index, statistics and filters. It never leaves out a row that is asked for, and gives rows
//! that are not: whoever asks looks at each again. Rows of topics that were deleted or have expired are never given.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{BooleanArray, RecordBatch};
use arrow_select::filter::filter_record_batch;
use bytes::Bytes;
use futures_util::future::try_join_all;
use strata_protocol::properties::UNIQ_KEY;

use super::chunks::Join;
use super::columns::{GroupRows, end_of};
use super::find::KEYS_ELEMENT;
use super::select::{left, left_by_number};
use super::sift::{Bounds, ColumnSift, PropertyBatch};
use super::{Cold, ColdError, Shared};
use crate::index::{Index, Span};
use crate::limits::{DAMAGE_READS_MAX, FETCH_GAP_BYTES_MAX, TABLE_BATCH_ROWS, TABLE_ROLLS_AT_ONCE_MAX};
use crate::manifest::{Manifest, Roll};
use crate::object::{ObjectError, Scan, Step};
use crate::rows::names::{MSG_ID, PHYSICAL_OFFSET, RECORD, STORE_TIME};

/// Which rows are asked for; what is `None`, or all numbers, is no bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableAsk {
    /// Topics.
    pub topics: Option<BTreeSet<String>>,
    /// Begins of topics of which each row has one.
    pub topic_prefixes: Option<BTreeSet<String>>,
    /// Queue ids.
    pub queue_ids: RangeInclusive<i32>,
    /// Offsets in their queue.
    pub queue_offsets: RangeInclusive<i64>,
    /// Log offsets.
    pub log_offsets: Range<i64>,
    /// Store times, microseconds since 1970.
    pub store_times: RangeInclusive<i64>,
    /// Unique keys of which each row has one.
    pub msg_ids: Option<BTreeSet<String>>,
    /// Keys of which each row has one.
    pub keys: Option<BTreeSet<String>>,
    /// Properties of which each row has one of these values, none of them empty; not KEYS, which has a column of another
    /// kind. Tags are the property TAGS.
    pub properties: BTreeMap<String, BTreeSet<String>>,
    /// Log offsets below which no row of a topic counts, whatever the manifest says: of topics that were deleted and of
    /// which the tier has not heard yet.
    pub floors: BTreeMap<String, i64>,
}

impl Default for TableAsk {
    fn default() -> Self {
        Self {
            topics: None,
            topic_prefixes: None,
            queue_ids: i32::MIN..=i32::MAX,
            queue_offsets: i64::MIN..=i64::MAX,
            log_offsets: i64::MIN..i64::MAX,
            store_times: i64::MIN..=i64::MAX,
            msg_ids: None,
            keys: None,
            properties: BTreeMap::new(),
            floors: BTreeMap::new(),
        }
    }
}

impl TableAsk {
    /// Whether rows of a topic may be asked for.
    #[must_use]
    pub fn may_be_of(&self, topic: &str) -> bool {
        let begins = |prefixes: &BTreeSet<String>| prefixes.iter().any(|prefix| topic.starts_with(prefix.as_str()));
        self.topics.as_ref().is_none_or(|topics| topics.contains(topic))
            && self.topic_prefixes.as_ref().is_none_or(begins)
    }
}

/// Rows of one row group that are asked for.
#[derive(Debug, Clone)]
pub struct TablePart {
    rows: GroupRows,
    /// The rows of the group that statistics leave, ascending.
    left: Vec<Range<u64>>,
    /// Log offsets of the rows that are given.
    log: Range<i64>,
    /// Whether there may be rows of other log offsets.
    is_mixed: bool,
    /// Unique keys of which each row has one, where their column alone tells which rows have it.
    ids: Option<Arc<BTreeSet<String>>>,
}

impl TablePart {
    /// Its rows, those that are not given included.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.left.iter().map(|rows| rows.end - rows.start).sum()
    }

    /// Bytes of columns of its row group, by their paths, as they are in the object.
    #[must_use]
    pub fn bytes(&self, columns: &[String]) -> u64 {
        let layout = &self.rows.object.layout;
        let group = layout.metadata().row_groups().get(self.rows.group);
        let of = |path: &String| {
            let column = group?.columns().get(layout.leaf(path)?)?;
            u64::try_from(column.compressed_size()).ok()
        };
        columns.iter().filter_map(of).sum()
    }

    /// The object that it is in.
    #[must_use]
    pub fn object(&self) -> &str {
        &self.rows.object.name
    }

    /// The columns that are there, by their paths as Parquet has them; that of whole records only where there are some.
    pub fn columns(&self) -> impl Iterator<Item = String> + '_ {
        let schema = self.rows.object.layout.metadata().file_metadata().schema_descr();
        let has_records = !has_no_records(&self.rows);
        let paths = schema.columns().iter().map(|column| column.path().string());
        paths.filter(move |path| has_records || path != RECORD)
    }
}

/// What is left of a table for a question, and what was passed over.
#[derive(Debug, Clone, Default)]
pub struct TableParts {
    /// Row groups' rows that are read.
    pub parts: Vec<TablePart>,
    /// Rolls, and row groups of those that were looked into, that have nothing.
    pub rolls_passed: usize,
    /// Rolls that were looked into.
    pub rolls: usize,
    /// Row groups that statistics or filters rule out.
    pub groups_passed: usize,
}

impl Cold {
    /// The row groups in which a question may find rows, as `manifest` lists them.
    ///
    /// # Errors
    /// The store refused, or an index is damaged.
    pub async fn table(&self, manifest: &Arc<Manifest>, ask: &TableAsk) -> Result<TableParts, ColdError> {
        let mut out = TableParts::default();
        let rolls: Vec<&Arc<Roll>> = manifest.rolls().iter().filter(|roll| may_have(roll, ask)).collect();
        (out.rolls, out.rolls_passed) = (rolls.len(), manifest.rolls().len() - rolls.len());
        // Indexes and filters of many rolls are on their way together, a few at a time.
        for some in rolls.chunks(TABLE_ROLLS_AT_ONCE_MAX) {
            let asked = some.iter().map(|roll| self.soundly(|| self.shared.table_of(manifest, roll, ask)));
            for (parts, passed) in try_join_all(asked).await? {
                out.parts.extend(parts);
                out.groups_passed += passed;
            }
        }
        Ok(out)
    }

    /// Begins to read columns of a part, by their paths.
    ///
    /// # Errors
    /// A column is not there.
    pub fn table_rows(&self, part: &TablePart, columns: &[String]) -> Result<TableRows, ColdError> {
        TableRows::open(Arc::clone(&self.shared), part.clone(), columns)
    }
}

/// Whether a roll may have rows, by what the manifest says of it.
fn may_have(roll: &Roll, ask: &TableAsk) -> bool {
    let millis = |micros: i64| micros.div_euclid(crate::rows::MICROS);
    let is_in_time =
        roll.first_time <= millis(*ask.store_times.end()) && roll.last_time >= millis(*ask.store_times.start());
    let (from, to) = (i64::try_from(roll.from).unwrap_or(i64::MAX), i64::try_from(roll.to).unwrap_or(i64::MAX));
    is_in_time && from < ask.log_offsets.end && to > ask.log_offsets.start && !roll.objects.is_empty()
}

/// Rows of one topic, or of several neighbours, and the log offsets below which they are gone.
struct Stretch {
    rows: Range<u64>,
    floor: i64,
}

/// The rows of a roll that index and topics leave, in their order.
fn stretches(index: &Index, manifest: &Manifest, roll: &Roll, ask: &TableAsk) -> Vec<Stretch> {
    let mut out: Vec<Stretch> = Vec::new();
    let mut add = |topic: &str, rows: Range<u64>| {
        let told = ask.floors.get(topic).and_then(|floor| u64::try_from(*floor).ok()).unwrap_or(0);
        let floor = manifest.floor_of(topic).max(told);
        if rows.is_empty() || floor >= roll.to {
            return;
        }
        let floor = if floor > roll.from { i64::try_from(floor).unwrap_or(i64::MAX) } else { i64::MIN };
        match out.last_mut() {
            Some(last) if last.rows.end == rows.start && last.floor == floor => last.rows.end = rows.end,
            _ => out.push(Stretch { rows, floor }),
        }
    };
    let all_queues = (i32::MIN..=i32::MAX, i64::MIN..=i64::MAX);
    let is_whole = (ask.queue_ids.clone(), ask.queue_offsets.clone()) == all_queues;
    match &ask.topics {
        Some(topics) if is_whole => {
            for topic in topics {
                if let Some(rows) = index.rows_of(topic) {
                    add(topic, rows);
                }
            }
        }
        _ => {
            for (topic, queue_id, span) in index.queues() {
                if ask.may_be_of(topic) && ask.queue_ids.contains(&queue_id) {
                    add(topic, rows_of(&span, &ask.queue_offsets));
                }
            }
        }
    }
    out
}

/// The rows of a queue that may have one of these offsets.
fn rows_of(span: &Span, offsets: &RangeInclusive<i64>) -> Range<u64> {
    let from = span.base.max(*offsets.start());
    let to = span.next.min(offsets.end().saturating_add(1));
    if from >= to {
        return span.row..span.row;
    }
    // Where some are missing nobody knows which row has which.
    if i64::from(span.rows) != span.next - span.base {
        return span.row..end_of(span);
    }
    let row = |offset: i64| span.row + (offset - span.base).unsigned_abs();
    row(from)..row(to)
}

/// What properties have to be, as a question to columns.
struct Properties<'a>(&'a BTreeMap<String, BTreeSet<String>>);

impl ColumnSift for Properties<'_> {
    /// Nothing is remembered of it.
    fn identity(&self) -> &str {
        ""
    }

    fn names(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }

    fn may_match(&self, statistics: &dyn Fn(&str) -> Bounds) -> bool {
        self.0.iter().all(|(name, values)| {
            let known = statistics(name);
            values.iter().any(|value| known.may_hold(value.as_bytes()))
        })
    }

    /// Whoever asks looks at each row.
    fn rows(&self, batch: &PropertyBatch<'_>) -> Vec<bool> {
        vec![true; batch.rows]
    }
}

/// The rows that statistics of row group and pages leave.
fn left_of(rows: &GroupRows, ask: &TableAsk) -> Vec<Range<u64>> {
    let (layout, group) = (&rows.object.layout, rows.group);
    let mut properties = ask.properties.clone();
    properties.extend(ask.msg_ids.clone().map(|ids| (UNIQ_KEY.to_owned(), ids)));
    let by_properties = match properties.is_empty() {
        true => vec![rows.rows.clone()],
        false => left(layout, (group, &rows.rows), &Properties(&properties)),
    };
    let Some(leaf) = layout.leaf(STORE_TIME).filter(|_| ask.store_times != (i64::MIN..=i64::MAX)) else {
        return by_properties;
    };
    by_properties.iter().flat_map(|rows| left_by_number(layout, (group, rows), (leaf, &ask.store_times))).collect()
}

impl Shared {
    async fn table_of(
        self: &Arc<Self>,
        manifest: &Manifest,
        roll: &Roll,
        ask: &TableAsk,
    ) -> Result<(Vec<TablePart>, usize), ColdError> {
        let has_filters = ask.msg_ids.is_some() || ask.keys.is_some();
        let index = if has_filters { self.index_and_filters(roll).await? } else { self.index(roll).await? };
        let (mut out, mut passed) = (Vec::new(), 0);
        let ids = ask.msg_ids.clone().map(Arc::new);
        for stretch in stretches(&index, manifest, roll, ask) {
            for rows in self.groups(roll, stretch.rows.clone()).await? {
                if !self.may_have(roll, &rows, ask, has_filters).await? {
                    passed += 1;
                    continue;
                }
                let log = ask.log_offsets.start.max(stretch.floor)..ask.log_offsets.end;
                let bounds = bounds_of(&rows, PHYSICAL_OFFSET);
                let is_mixed = bounds.is_none_or(|(low, high)| !log.contains(&low) || !log.contains(&high));
                if bounds.is_some_and(|(low, high)| high < log.start || low >= log.end) {
                    passed += 1;
                    continue;
                }
                let left = left_of(&rows, ask);
                if left.is_empty() {
                    passed += 1;
                    continue;
                }
                let ids = ids.clone().filter(|_| has_no_records(&rows));
                out.push(TablePart { rows, left, log, is_mixed, ids });
            }
        }
        Ok((out, passed))
    }

    /// Whether a row group may have rows, by its statistics and filters.
    async fn may_have(
        self: &Arc<Self>,
        roll: &Roll,
        rows: &GroupRows,
        ask: &TableAsk,
        has_filters: bool,
    ) -> Result<bool, ColdError> {
        let times = bounds_of(rows, STORE_TIME);
        if times.is_some_and(|(low, high)| high < *ask.store_times.start() || low > *ask.store_times.end()) {
            return Ok(false);
        }
        if !has_filters {
            return Ok(true);
        }
        let filters = self.filters(roll, rows).await?;
        let layout = &rows.object.layout;
        let may_hold = |path: &str, values: &Option<BTreeSet<String>>| {
            let (Some(values), Some(leaf)) = (values, layout.leaf(path)) else { return true };
            values.iter().any(|value| layout.may_hold(&filters, (rows.group, leaf), value))
        };
        Ok(may_hold(MSG_ID, &ask.msg_ids) && may_hold(KEYS_ELEMENT, &ask.keys))
    }
}

/// Whether statistics say that no record of the row group is kept whole.
fn has_no_records(rows: &GroupRows) -> bool {
    let layout = &rows.object.layout;
    let nulls = || {
        let group = layout.metadata().row_groups().get(rows.group)?;
        let nulls = group.columns().get(layout.leaf(RECORD)?)?.statistics()?.null_count_opt()?;
        Some(nulls == u64::try_from(group.num_rows()).ok()?)
    };
    nulls().unwrap_or(false)
}

/// The lowest and the highest number of a column in the row group.
fn bounds_of(rows: &GroupRows, column: &str) -> Option<(i64, i64)> {
    rows.object.layout.bounds(rows.group, rows.object.layout.leaf(column)?)
}

/// Columns of a part, batch by batch.
pub struct TableRows {
    shared: Arc<Shared>,
    part: TablePart,
    leaves: Vec<usize>,
    scan: Scan,
    /// Whether single rows are left.
    is_narrow: bool,
    /// Rows of the part that came so far.
    came: u64,
    /// How often the next rows came damaged.
    damaged: u32,
    /// Bytes that were fetched.
    fetched: u64,
}

impl std::fmt::Debug for TableRows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TableRows").field("part", &self.part).field("came", &self.came).finish_non_exhaustive()
    }
}

impl TableRows {
    fn open(shared: Arc<Shared>, part: TablePart, columns: &[String]) -> Result<Self, ColdError> {
        let object = &part.rows.object;
        let failed = |error: ObjectError| ColdError::object(&object.name, error);
        let mut leaves = Vec::with_capacity(columns.len() + 1);
        for path in columns {
            let missing = || failed(ObjectError::Damaged { what: format!("it has no column {path}") });
            leaves.push(object.layout.leaf(path).ok_or_else(missing)?);
        }
        if part.is_mixed {
            leaves.extend(object.layout.leaf(PHYSICAL_OFFSET));
        }
        let scan = scan_behind(&part, 0, &leaves).map_err(failed)?;
        Ok(Self { shared, part, leaves, scan, is_narrow: false, came: 0, damaged: 0, fetched: 0 })
    }

    /// The next rows; `None` behind the last ones. What comes damaged is fetched again before that is believed.
    ///
    /// # Errors
    /// The store refused, or the object is damaged.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>, ColdError> {
        let name = Arc::clone(&self.part.rows.object.name);
        if let Some(ids) = self.part.ids.take() {
            self.narrow(&ids).await?;
        }
        loop {
            if self.part.left.is_empty() {
                return Ok(None);
            }
            match self.step().await {
                Ok(next) => {
                    self.damaged = 0;
                    return Ok(next);
                }
                Err(Failure::Store(error)) => return Err(error),
                Err(Failure::Object(error)) => {
                    // Of single rows pages are kept.
                    self.shared.chunks.distrust(&name);
                    self.damaged += 1;
                    if self.damaged >= DAMAGE_READS_MAX {
                        return Err(ColdError::object(&name, error));
                    }
                    tracing::warn!(%name, %error, "it came damaged and is read again");
                    let scan = scan_behind(&self.part, self.came, &self.leaves);
                    self.scan = scan.map_err(|error| ColdError::object(&name, error))?;
                }
            }
        }
    }

    /// Leaves the rows that have one of the unique keys.
    async fn narrow(&mut self, ids: &BTreeSet<String>) -> Result<(), ColdError> {
        let part = &mut self.part;
        let columns = match self.shared.column(&part.rows, &part.left, MSG_ID).await {
            Ok(columns) => columns,
            // What is damaged is found once more, and told, where all columns are read.
            Err(ColdError::Object { name, .. }) => {
                self.shared.chunks.distrust(&name);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let mut rows = part.left.iter().flat_map(Clone::clone);
        let mut left: Vec<Range<u64>> = Vec::new();
        for texts in columns.iter().filter_map(|column| column.as_string_view_opt()) {
            for (text, row) in texts.iter().zip(rows.by_ref()) {
                if !text.is_some_and(|text| ids.contains(text)) {
                    continue;
                }
                match left.last_mut() {
                    Some(last) if last.end == row => last.end += 1,
                    _ => left.push(row..row + 1),
                }
            }
        }
        // Rows that did not come would be passed over as if nobody wanted them.
        if rows.next().is_some() || columns.iter().any(|column| column.as_string_view_opt().is_none()) {
            self.shared.chunks.distrust(&part.rows.object.name);
            return Ok(());
        }
        drop(rows);
        part.left = left;
        self.scan =
            scan_behind(part, 0, &self.leaves).map_err(|error| ColdError::object(&part.rows.object.name, error))?;
        self.is_narrow = true;
        Ok(())
    }

    async fn step(&mut self) -> Result<Option<RecordBatch>, Failure> {
        loop {
            match self.scan.step()? {
                Step::Need(ranges) => {
                    let (name, chunks) = (&self.part.rows.object.name, &self.shared.chunks);
                    let read = match self.is_narrow {
                        true => chunks.read_all(name, &ranges, Join::Few).await,
                        false => chunks.read_past(name, &ranges, FETCH_GAP_BYTES_MAX).await,
                    };
                    let bytes = read.map_err(Failure::Store)?;
                    self.fetched += bytes.iter().map(|bytes: &Bytes| bytes.len() as u64).sum::<u64>();
                    self.scan.give(ranges, bytes)?;
                }
                Step::Rows(batch) => {
                    let given = if self.part.is_mixed { within(&batch, &self.part.log)? } else { batch.clone() };
                    self.came += batch.num_rows() as u64;
                    if given.num_rows() > 0 {
                        return Ok(Some(given));
                    }
                }
                Step::End if self.came < self.part.rows() => {
                    return Err(ObjectError::Damaged { what: "a row group gives fewer rows".to_owned() }.into());
                }
                Step::End => return Ok(None),
            }
        }
    }

    /// Bytes of pages that were read so far.
    #[must_use]
    pub const fn fetched(&self) -> u64 {
        self.fetched
    }
}

/// Why no rows come.
enum Failure {
    Store(ColdError),
    Object(ObjectError),
}

impl From<ObjectError> for Failure {
    fn from(error: ObjectError) -> Self {
        Self::Object(error)
    }
}

/// A scan of the rows of a part behind those that came.
fn scan_behind(part: &TablePart, came: u64, leaves: &[usize]) -> Result<Scan, ObjectError> {
    let mut skipped = came;
    let ranges = part.left.iter().filter_map(|rows| {
        let skip = skipped.min(rows.end - rows.start);
        skipped -= skip;
        (rows.start + skip < rows.end).then(|| rows.start + skip..rows.end)
    });
    let (object, group, rows) = (&part.rows.object, part.rows.group, ranges.collect::<Vec<_>>());
    Scan::in_batches(&object.layout, (group, &rows), Some(leaves), TABLE_BATCH_ROWS)
}

/// The rows of a batch with these log offsets.
fn within(batch: &RecordBatch, log: &Range<i64>) -> Result<RecordBatch, ObjectError> {
    let missing = || ObjectError::Damaged { what: "it has no log offsets".to_owned() };
    let offsets = batch.column_by_name(PHYSICAL_OFFSET).and_then(|column| column.as_primitive_opt::<Int64Type>());
    let offsets = offsets.ok_or_else(missing)?;
    let kept: BooleanArray = offsets.values().iter().map(|offset| Some(log.contains(offset))).collect();
    if kept.true_count() == kept.len() {
        return Ok(batch.clone());
    }
    filter_record_batch(batch, &kept).map_err(|error| ObjectError::Damaged { what: error.to_string() })
}
