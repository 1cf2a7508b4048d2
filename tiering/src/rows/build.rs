//! Rows out of records.
//!
//! Owns which column each part of a record goes to, and when a row needs the whole record because its other columns would
//! not give it back. Nothing is allocated for a record but the room of the columns.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::types::{BinaryType, Utf8Type};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, FieldRef, SchemaRef};
use strata_protocol::properties::{IndexTerms, KEYS, Properties, TAGS, UNIQ_KEY};
use strata_protocol::record::{BORN_HOST_AT, Magic, RecordView, TOPIC_BYTES_V1_MAX, body_crc, store_timestamp_at};
use strata_protocol::sysflag::{born_host_bytes, store_host_bytes};

use super::columns::{Found, NumberColumns, Numbers, Whole};
use super::place::Place;
use super::schema::{PROPERTY_PREFIX, names};
use super::template::{Parts, Templates};
use super::{PropertyColumn, RowError, schema};

/// Bytes of records in a batch: no column has more, and arrow's offsets are 32-bit numbers.
const BATCH_BYTES_MAX: usize = 1 << 30;

/// Microseconds of a millisecond.
pub(crate) const MICROS: i64 = 1_000;

/// Makes batches of rows out of records.
#[derive(Debug)]
pub struct RowBuilder {
    schema: SchemaRef,
    /// Numbers of the columns of properties, by the property.
    properties: BTreeMap<String, usize>,
    templates: Templates,
    numbers: NumberColumns,
    whole: Whole,
    found: Found,
    bytes: usize,
}

impl RowBuilder {
    /// A builder of rows that have these columns for properties.
    #[must_use]
    pub fn new(properties: &[PropertyColumn]) -> Self {
        let names: Vec<String> = properties.iter().map(|property| property.name.clone()).collect();
        Self {
            schema: schema(properties),
            properties: names.iter().cloned().zip(0..).collect(),
            templates: Templates::new(names),
            numbers: NumberColumns::default(),
            whole: Whole::new(),
            found: Found::new(properties.len()),
            bytes: 0,
        }
    }

    /// The schema of the batches.
    #[must_use]
    pub const fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Rows since the last batch.
    #[must_use]
    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of their records.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds the row of one whole record.
    ///
    /// # Errors
    /// The bytes are not exactly one record, or a batch of more than 1 GiB would result; the row is not added then.
    pub fn push(&mut self, record: &[u8]) -> Result<(), RowError> {
        let view = RecordView::parse(record)?;
        if view.bytes().len() != record.len() {
            return Err(RowError::Trailing { record: view.bytes().len(), given: record.len() });
        }
        let bytes = self.bytes.saturating_add(record.len());
        if bytes > BATCH_BYTES_MAX {
            return Err(RowError::Full { bytes, max: BATCH_BYTES_MAX });
        }
        self.bytes = bytes;
        let row = self.len();
        let numbers = numbers_of(&view);
        let gives_back = gives_back(&view, &numbers);
        match self.templates.read(view.properties()).filter(|_| gives_back) {
            Some(parts) => {
                self.whole.property_names.put(parts.bytes());
                put_parts(&mut self.found, row, parts);
            }
            None => self.put_odd(row, &view),
        }
        self.numbers.put(numbers);
        self.put_whole(&view);
        Ok(())
    }

    /// The rows since the last batch, as one.
    ///
    /// # Errors
    /// The columns make no batch, which only a fault of this room would cause. The rows are gone then, too.
    pub fn finish(&mut self) -> Result<RecordBatch, RowError> {
        let schema = Arc::clone(&self.schema);
        let rows = self.len();
        let arrays: Result<Vec<ArrayRef>, ArrowError> =
            schema.fields().iter().map(|field| self.column(field, rows)).collect();
        self.numbers.clear();
        self.bytes = 0;
        Ok(RecordBatch::try_new(schema, arrays?)?)
    }

    fn column(&mut self, field: &FieldRef, rows: usize) -> Result<ArrayRef, ArrowError> {
        let found = &mut self.found;
        Ok(match field.name().as_str() {
            names::TOPIC => self.whole.topic.finish::<Utf8Type>(None)?,
            names::BORN_HOST => self.whole.born_host.finish::<BinaryType>(None)?,
            names::STORE_HOST => self.whole.store_host.finish::<BinaryType>(None)?,
            names::PROPERTY_NAMES => self.whole.property_names.finish::<BinaryType>(None)?,
            names::BODY => self.whole.body.finish::<BinaryType>(None)?,
            names::MSG_ID => found.msg_id.finish::<Utf8Type>(rows)?,
            names::TAGS => found.tags.finish::<Utf8Type>(rows)?,
            names::KEYS => found.keys.finish(field)?,
            names::PROPERTIES => found.rest.finish(field)?,
            names::RECORD => found.record.finish::<BinaryType>(rows)?,
            name => {
                let property = name.strip_prefix(PROPERTY_PREFIX).and_then(|name| self.properties.get(name));
                match property.and_then(|at| found.properties.get_mut(*at)) {
                    Some(property) => property.finish::<Utf8Type>(rows)?,
                    None => self
                        .numbers
                        .column(name)
                        .ok_or_else(|| ArrowError::SchemaError(format!("rows have no column {name}")))?,
                }
            }
        })
    }

    fn put_whole(&mut self, view: &RecordView<'_>) {
        let (record, sys_flag) = (view.bytes(), view.sys_flag());
        let store_host_at = store_timestamp_at(sys_flag) + 8;
        let host = |at: usize, bytes: usize| record.get(at..at + bytes).unwrap_or_default();
        self.whole.topic.put(view.topic().as_bytes());
        self.whole.born_host.put(host(BORN_HOST_AT, born_host_bytes(sys_flag)));
        self.whole.store_host.put(host(store_host_at, store_host_bytes(sys_flag)));
        self.whole.body.put(view.body());
    }

    /// A row that gives its record back only as a whole; the other columns say what they can for those who search.
    #[cold]
    fn put_odd(&mut self, row: usize, view: &RecordView<'_>) {
        let text = view.properties();
        let terms = IndexTerms::of(text);
        let found = &mut self.found;
        found.record.put(row, view.bytes());
        self.whole.property_names.put(b"");
        if let Some(msg_id) = terms.unique_key {
            found.msg_id.put(row, msg_id.as_bytes());
        }
        if let Some(tags) = terms.tags {
            found.tags.put(row, tags.as_bytes());
        }
        found.keys.put(terms.keys.unwrap_or_default().as_bytes());
        // Of several values the last one counts, if it is a text.
        let mut last: BTreeMap<usize, Option<&str>> = BTreeMap::new();
        for (name, value) in Properties::of(text) {
            let value_text = std::str::from_utf8(value).ok();
            let Ok(name) = std::str::from_utf8(name) else { continue };
            if value.is_empty() || [UNIQ_KEY, KEYS, TAGS].contains(&name) {
                continue;
            }
            if let Some(at) = self.properties.get(name) {
                last.insert(*at, value_text);
            } else if let Some(value) = value_text {
                found.rest.put(name.as_bytes(), value.as_bytes());
            }
        }
        found.rest.end_row();
        for (at, value) in last {
            if let (Some(column), Some(value)) = (found.properties.get_mut(at), value) {
                column.put(row, value.as_bytes());
            }
        }
    }
}

/// Puts each value where its template says.
#[inline]
fn put_parts(found: &mut Found, row: usize, parts: Parts<'_>) {
    let mut keys: &[u8] = &[];
    for (name, value, place) in parts.each() {
        match place {
            Place::MsgId => found.msg_id.put(row, value),
            Place::Tags => found.tags.put(row, value),
            Place::Keys => keys = value,
            Place::Column(at) => {
                if let Some(column) = found.properties.get_mut(at) {
                    column.put(row, value);
                }
            }
            Place::Rest | Place::EmptyRest => found.rest.put(name, value),
            Place::KeysRest => {
                // The keys are searched for in their column, whatever blanks are around them.
                keys = value;
                found.rest.put(name, value);
            }
        }
    }
    found.keys.put(keys);
    found.rest.end_row();
}

#[inline]
fn numbers_of(view: &RecordView<'_>) -> Numbers {
    Numbers {
        queue_id: view.queue_id(),
        queue_offset: view.queue_offset(),
        physical_offset: view.physical_offset(),
        // A time out of range is the nearest one that fits: readers need one to sort and prune by.
        store_time: view.store_timestamp().saturating_mul(MICROS),
        born_time: view.born_timestamp().checked_mul(MICROS),
        flag: view.flag(),
        sys_flag: view.sys_flag(),
        reconsume_times: view.reconsume_times(),
        record_crc: crc32c::crc32c(view.bytes()),
        prepared: view.prepared_transaction_offset(),
    }
}

/// Whether everything but the properties comes back from its columns.
#[inline]
fn gives_back(view: &RecordView<'_>, numbers: &Numbers) -> bool {
    let follows = if view.topic().len() > TOPIC_BYTES_V1_MAX { Magic::V2 } else { Magic::V1 };
    view.magic() == follows
        && numbers.born_time.is_some()
        && view.store_timestamp().checked_mul(MICROS).is_some()
        && view.body_crc() == body_crc(view.body())
}
