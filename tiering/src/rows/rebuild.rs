//! Records out of rows, byte for byte.
//!
//! Owns the way back: which column each part of a record comes from, and that no record is given out that differs from
//! the one that was stored.

use arrow_array::cast::AsArray;
use arrow_array::types::{ArrowPrimitiveType, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, PrimitiveArray, RecordBatch};
use arrow_buffer::ScalarBuffer;
use memchr::memchr;
use strata_protocol::properties::{KEYS, NAME_VALUE_SEPARATOR, PROPERTY_SEPARATOR, TAGS, UNIQ_KEY};
use strata_protocol::record::{Magic, RECORD_BYTES_MIN, RecordView, TOPIC_BYTES_V1_MAX, body_crc};

use super::RowError;
use super::arrays::{Binder, Entries, Lists, Texts};
use super::build::MICROS;
use super::place::{IN_COLUMN, IN_KEYS, IN_MSG_ID, IN_REST, IN_TAGS};
use super::schema::{PROPERTY_PREFIX, names};

/// Room for the properties and the topic of an ordinary record, made once before it is written.
const ORDINARY_BYTES: usize = 768;

/// Bytes of a record before the born host.
const HEAD_BYTES: usize = 48;

/// Makes records out of the rows of one batch.
#[derive(Debug, Clone)]
pub struct Rebuilder {
    rows: usize,
    numbers: Numbers,
    topic: Texts,
    hosts: [Texts; 2],
    properties: PropertyTexts,
    record: Texts,
    body: Texts,
}

/// Makes the properties of records out of the rows of one batch.
#[derive(Debug, Clone)]
pub struct PropertyTexts {
    property_names: Texts,
    msg_id: Texts,
    keys: Lists,
    tags: Texts,
    properties: Vec<(Box<[u8]>, Texts)>,
    rest: Entries,
}

#[derive(Debug, Clone)]
struct Numbers {
    queue_id: ScalarBuffer<i32>,
    queue_offset: ScalarBuffer<i64>,
    physical_offset: ScalarBuffer<i64>,
    store_time: ScalarBuffer<i64>,
    born_time: ScalarBuffer<i64>,
    flag: ScalarBuffer<i32>,
    sys_flag: ScalarBuffer<i32>,
    reconsume_times: ScalarBuffer<i32>,
    record_crc: ScalarBuffer<i32>,
    prepared: ScalarBuffer<i64>,
}

impl Numbers {
    fn of(batch: &Binder<'_>) -> Result<Self, RowError> {
        fn values<T: ArrowPrimitiveType>(array: &dyn Array) -> Option<ScalarBuffer<T::Native>> {
            array.as_primitive_opt::<T>().map(PrimitiveArray::values).cloned()
        }
        let int = |name| batch.bind(name, values::<Int32Type>);
        let long = |name| batch.bind(name, values::<Int64Type>);
        let time = |name| batch.bind(name, values::<TimestampMicrosecondType>);
        Ok(Self {
            queue_id: int(names::QUEUE_ID)?,
            queue_offset: long(names::QUEUE_OFFSET)?,
            physical_offset: long(names::PHYSICAL_OFFSET)?,
            store_time: time(names::STORE_TIME)?,
            born_time: time(names::BORN_TIME)?,
            flag: int(names::FLAG)?,
            sys_flag: int(names::SYS_FLAG)?,
            reconsume_times: int(names::RECONSUME_TIMES)?,
            record_crc: int(names::RECORD_CRC)?,
            prepared: long(names::PREPARED)?,
        })
    }
}

impl Rebuilder {
    /// Finds the columns of a batch by their names.
    ///
    /// # Errors
    /// A column is missing, or has a type that rows do not have.
    pub fn new(batch: &RecordBatch) -> Result<Self, RowError> {
        let columns = Binder(batch);
        Ok(Self {
            rows: batch.num_rows(),
            numbers: Numbers::of(&columns)?,
            topic: columns.texts(names::TOPIC)?,
            hosts: [columns.texts(names::BORN_HOST)?, columns.texts(names::STORE_HOST)?],
            properties: PropertyTexts::new(batch)?,
            record: columns.texts(names::RECORD)?,
            body: columns.texts(names::BODY)?,
        })
    }

    /// Rows of the batch.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.rows
    }

    /// Whether the batch has no rows.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The message's number in its queue; `None` behind the last row.
    #[must_use]
    pub fn queue_offset(&self, row: usize) -> Option<i64> {
        self.numbers.queue_offset.get(row).copied()
    }

    /// When the message was stored, ms since 1970; `None` behind the last row.
    #[must_use]
    pub fn store_time_ms(&self, row: usize) -> Option<i64> {
        // A time that does not fit the column is in the record alone.
        let whole = self.record.value(row).and_then(|record| RecordView::parse(record).ok());
        match whole {
            Some(view) => Some(view.store_timestamp()),
            None => self.numbers.store_time.get(row).map(|micros| micros.div_euclid(MICROS)),
        }
    }

    /// The tag; `None` without one. What is not UTF-8 is in the record alone, see [`Self::has_record`].
    #[must_use]
    pub fn tags(&self, row: usize) -> Option<&[u8]> {
        self.properties.tags.value(row)
    }

    /// Whether the row holds the whole record, which filters are answered from then.
    #[must_use]
    pub fn has_record(&self, row: usize) -> bool {
        self.record.value(row).is_some()
    }

    /// Appends the record of a row to `out`.
    ///
    /// # Errors
    /// There is no such row, or what it gives is not the record that was stored; `out` is as before then.
    pub fn rebuild(&self, row: usize, out: &mut Vec<u8>) -> Result<(), RowError> {
        let stored =
            self.numbers.record_crc.get(row).ok_or_else(|| RowError::Row { row, rows: self.rows })?.cast_unsigned();
        let start = out.len();
        let outcome = self.write(row, out).and_then(|()| {
            let found = crc32c::crc32c(out.get(start..).unwrap_or_default());
            if found == stored { Ok(()) } else { Err(RowError::Checksum { row, stored, found }) }
        });
        if outcome.is_err() {
            out.truncate(start);
        }
        outcome
    }

    fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<(), RowError> {
        if let Some(record) = self.record.value(row) {
            out.extend_from_slice(record);
            return Ok(());
        }
        let damaged = |column| RowError::Damaged { row, column };
        let start = out.len();
        let body = self.body.value(row).ok_or_else(|| damaged(names::BODY))?;
        let topic = self.topic.value(row).ok_or_else(|| damaged(names::TOPIC))?;
        out.reserve(RECORD_BYTES_MIN + body.len() + ORDINARY_BYTES);
        let has_long_topic = topic.len() > TOPIC_BYTES_V1_MAX;
        let magic = if has_long_topic { Magic::V2 } else { Magic::V1 };
        self.write_head(row, magic, body, out)?;
        let body_bytes = i32::try_from(body.len()).map_err(|_| damaged(names::BODY))?;
        out.extend_from_slice(&body_bytes.to_be_bytes());
        out.extend_from_slice(body);
        let topic_bytes = u16::try_from(topic.len()).map_err(|_| damaged(names::TOPIC))?.to_be_bytes();
        out.extend_from_slice(if has_long_topic { &topic_bytes } else { &topic_bytes[1..] });
        out.extend_from_slice(topic);
        let length_at = out.len();
        out.extend_from_slice(&[0; 2]);
        self.properties.write(row, out)?;
        let length = u16::try_from(out.len() - length_at - 2).map_err(|_| damaged(names::PROPERTIES))?;
        let total = i32::try_from(out.len() - start).map_err(|_| damaged(names::BODY))?;
        out[length_at..length_at + 2].copy_from_slice(&length.to_be_bytes());
        out[start..start + 4].copy_from_slice(&total.to_be_bytes());
        Ok(())
    }

    /// Everything before the body's length; the total size is filled in later.
    fn write_head(&self, row: usize, magic: Magic, body: &[u8], out: &mut Vec<u8>) -> Result<(), RowError> {
        let (numbers, rows) = (&self.numbers, self.rows);
        let int = |of: &ScalarBuffer<i32>| of.get(row).copied().ok_or_else(|| RowError::Row { row, rows });
        let long = |of: &ScalarBuffer<i64>| of.get(row).copied().ok_or_else(|| RowError::Row { row, rows });
        let millis = |of: &ScalarBuffer<i64>, column| {
            let micros = long(of)?;
            // Writers store whole milliseconds, so a rest is a changed byte that the checksum would not see.
            if micros % MICROS == 0 { Ok(micros / MICROS) } else { Err(RowError::Damaged { row, column }) }
        };
        let host = |of: &Texts, out: &mut Vec<u8>, column| {
            out.extend_from_slice(of.value(row).ok_or_else(|| RowError::Damaged { row, column })?);
            Ok::<_, RowError>(())
        };
        let mut head = [0; HEAD_BYTES];
        head[4..8].copy_from_slice(&magic.code().to_be_bytes());
        head[8..12].copy_from_slice(&body_crc(body).to_be_bytes());
        head[12..16].copy_from_slice(&int(&numbers.queue_id)?.to_be_bytes());
        head[16..20].copy_from_slice(&int(&numbers.flag)?.to_be_bytes());
        head[20..28].copy_from_slice(&long(&numbers.queue_offset)?.to_be_bytes());
        head[28..36].copy_from_slice(&long(&numbers.physical_offset)?.to_be_bytes());
        head[36..40].copy_from_slice(&int(&numbers.sys_flag)?.to_be_bytes());
        head[40..48].copy_from_slice(&millis(&numbers.born_time, names::BORN_TIME)?.to_be_bytes());
        out.extend_from_slice(&head);
        let [born_host, store_host] = &self.hosts;
        host(born_host, out, names::BORN_HOST)?;
        out.extend_from_slice(&millis(&numbers.store_time, names::STORE_TIME)?.to_be_bytes());
        host(store_host, out, names::STORE_HOST)?;
        out.extend_from_slice(&int(&numbers.reconsume_times)?.to_be_bytes());
        out.extend_from_slice(&long(&numbers.prepared)?.to_be_bytes());
        Ok(())
    }
}

impl PropertyTexts {
    /// Finds the columns of a batch by their names: those of properties, and the five that say how they make a text.
    ///
    /// # Errors
    /// A column is missing, or has a type that rows do not have.
    pub fn new(batch: &RecordBatch) -> Result<Self, RowError> {
        let columns = Binder(batch);
        let mut properties = Vec::new();
        for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
            if let (Some(name), Some(texts)) = (field.name().strip_prefix(PROPERTY_PREFIX), Texts::of(column)) {
                properties.push((Box::from(name.as_bytes()), texts));
            }
        }
        Ok(Self {
            property_names: columns.texts(names::PROPERTY_NAMES)?,
            msg_id: columns.texts(names::MSG_ID)?,
            keys: columns.keys()?,
            tags: columns.texts(names::TAGS)?,
            properties,
            rest: columns.entries()?,
        })
    }

    /// Appends the properties of a row, as its record has them, to `out`. A row that holds its whole record has none here.
    ///
    /// # Errors
    /// The row's columns do not fit each other; `out` may have a part of them then.
    pub fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<(), RowError> {
        let damaged = |column| RowError::Damaged { row, column };
        let odd_names = || damaged(names::PROPERTY_NAMES);
        let template = self.property_names.value(row).ok_or_else(odd_names)?;
        let (closed, mut template) = template.split_first().ok_or_else(odd_names)?;
        let mut entries = self.rest.range(row).ok_or_else(|| damaged(names::PROPERTIES))?;
        let has_entries = !template.is_empty();
        while let Some((code, behind)) = template.split_first() {
            template = behind;
            let name = if matches!(*code, IN_REST | IN_COLUMN) {
                let end = memchr(PROPERTY_SEPARATOR, behind).ok_or_else(odd_names)?;
                template = &behind[end + 1..];
                &behind[..end]
            } else {
                &[]
            };
            match *code {
                IN_MSG_ID => put(out, UNIQ_KEY.as_bytes(), self.msg_id.value(row), || damaged(names::MSG_ID))?,
                IN_TAGS => put(out, TAGS.as_bytes(), self.tags.value(row), || damaged(names::TAGS))?,
                IN_KEYS => self.write_keys(row, out).ok_or_else(|| damaged(names::KEYS))?,
                IN_COLUMN => {
                    let column = self.properties.iter().find(|(known, _)| **known == *name);
                    put(out, name, column.and_then(|(_, texts)| texts.value(row)), odd_names)?;
                }
                IN_REST => {
                    let at = entries.next().filter(|at| self.rest.names.value(*at) == Some(name));
                    put(out, name, at.and_then(|at| self.rest.values.value(at)), || damaged(names::PROPERTIES))?;
                }
                _ => return Err(odd_names()),
            }
            out.push(PROPERTY_SEPARATOR);
        }
        match *closed {
            0 if has_entries => _ = out.pop(),
            0 => {}
            1 if has_entries => {}
            _ => return Err(odd_names()),
        }
        if entries.next().is_some() { Err(damaged(names::PROPERTIES)) } else { Ok(()) }
    }

    fn write_keys(&self, row: usize, out: &mut Vec<u8>) -> Option<()> {
        out.extend_from_slice(KEYS.as_bytes());
        out.push(NAME_VALUE_SEPARATOR);
        let range = self.keys.range(row)?;
        let first = range.start;
        for at in range {
            if at > first {
                out.push(b' ');
            }
            out.extend_from_slice(self.keys.texts.value(at)?);
        }
        Some(())
    }
}

/// Appends a name and its value, which the row must have.
#[inline]
fn put(
    out: &mut Vec<u8>,
    name: &[u8],
    value: Option<&[u8]>,
    missing: impl FnOnce() -> RowError,
) -> Result<(), RowError> {
    let value = value.ok_or_else(missing)?;
    out.extend_from_slice(name);
    out.push(NAME_VALUE_SEPARATOR);
    out.extend_from_slice(value);
    Ok(())
}
