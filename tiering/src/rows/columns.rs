//! The columns of a batch while it is built.
//!
//! Owns the builders and that all columns have a row each in the end: columns that few rows have are filled up with nulls
//! only when the next value comes, so that a row costs what it has.

use std::sync::Arc;

use arrow_array::types::{ByteArrayType, Utf8Type};
use arrow_array::{
    ArrayRef, GenericByteArray, Int32Array, Int64Array, ListArray, MapArray, StructArray, TimestampMicrosecondArray,
};
use arrow_buffer::{Buffer, NullBuffer, NullBufferBuilder, OffsetBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, DataType, FieldRef};

/// Where rows, or texts, begin in what lies behind them.
#[derive(Debug)]
struct Offsets(Vec<i32>);

impl Offsets {
    fn new() -> Self {
        Self(vec![0])
    }

    /// What was put since the last row ended here belongs to one row.
    #[inline]
    fn end_row(&mut self, at: usize) {
        // A batch has fewer bytes than an offset can tell, see `BATCH_BYTES_MAX`, and no more of anything else.
        self.0.push(i32::try_from(at).unwrap_or(i32::MAX));
    }

    fn rows(&self) -> usize {
        self.0.len() - 1
    }

    fn finish(&mut self) -> OffsetBuffer<i32> {
        let mut next = Vec::with_capacity(self.0.len());
        next.push(0);
        OffsetBuffer::new(ScalarBuffer::from(std::mem::replace(&mut self.0, next)))
    }
}

/// A column of texts or bytes. Arrow's own builder costs a call for each value, and a row has twenty.
#[derive(Debug)]
pub(super) struct Column {
    data: Vec<u8>,
    offsets: Offsets,
}

impl Column {
    pub(super) fn new() -> Self {
        Self { data: Vec::new(), offsets: Offsets::new() }
    }

    #[inline]
    pub(super) fn put(&mut self, value: &[u8]) {
        self.data.extend_from_slice(value);
        self.offsets.end_row(self.data.len());
    }

    /// The column, its texts checked; there is room for as much again, since growing copies all that is there.
    pub(super) fn finish<T: ByteArrayType<Offset = i32>>(
        &mut self,
        nulls: Option<NullBuffer>,
    ) -> Result<ArrayRef, ArrowError> {
        let next = Vec::with_capacity(self.data.len());
        let data = Buffer::from_vec(std::mem::replace(&mut self.data, next));
        Ok(Arc::new(GenericByteArray::<T>::try_new(self.offsets.finish(), data, nulls)?))
    }
}

/// A column of texts or bytes that some rows have.
#[derive(Debug)]
pub(super) struct Sparse {
    column: Column,
    nulls: NullBufferBuilder,
}

impl Sparse {
    pub(super) fn new() -> Self {
        Self { column: Column::new(), nulls: NullBufferBuilder::new(0) }
    }

    /// The value of a row behind all rows that have one.
    #[inline]
    pub(super) fn put(&mut self, row: usize, value: &[u8]) {
        self.fill(row);
        self.column.put(value);
        self.nulls.append_non_null();
    }

    /// Nulls up to a row.
    #[inline]
    fn fill(&mut self, row: usize) {
        let missing = row.saturating_sub(self.column.offsets.rows());
        if missing > 0 {
            (0..missing).for_each(|_| self.column.put(&[]));
            self.nulls.append_n_nulls(missing);
        }
    }

    pub(super) fn finish<T: ByteArrayType<Offset = i32>>(&mut self, rows: usize) -> Result<ArrayRef, ArrowError> {
        self.fill(rows);
        let nulls = self.nulls.finish();
        self.column.finish::<T>(nulls)
    }
}

/// The numbers of a row, as they lie in the record.
#[derive(Debug, Clone, Copy)]
pub(super) struct Numbers {
    pub(super) queue_id: i32,
    pub(super) queue_offset: i64,
    pub(super) physical_offset: i64,
    pub(super) store_time: i64,
    pub(super) born_time: Option<i64>,
    pub(super) flag: i32,
    pub(super) sys_flag: i32,
    pub(super) reconsume_times: i32,
    pub(super) record_crc: u32,
    pub(super) prepared: i64,
}

/// The columns of numbers.
#[derive(Debug, Default)]
pub(super) struct NumberColumns {
    rows: Vec<Numbers>,
}

impl NumberColumns {
    #[inline]
    pub(super) fn put(&mut self, row: Numbers) {
        self.rows.push(row);
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    fn ints(&self, of: impl Fn(&Numbers) -> i32) -> ArrayRef {
        Arc::new(Int32Array::from_iter_values(self.rows.iter().map(of)))
    }

    fn longs(&self, of: impl Fn(&Numbers) -> i64) -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(self.rows.iter().map(of)))
    }

    /// The column of this name; `None` for one that holds no numbers.
    pub(super) fn column(&self, name: &str) -> Option<ArrayRef> {
        use super::schema::names;
        Some(match name {
            names::QUEUE_ID => self.ints(|row| row.queue_id),
            names::QUEUE_OFFSET => self.longs(|row| row.queue_offset),
            names::PHYSICAL_OFFSET => self.longs(|row| row.physical_offset),
            names::STORE_TIME => {
                let times = self.rows.iter().map(|row| row.store_time);
                Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC"))
            }
            names::BORN_TIME => {
                let times = self.rows.iter().map(|row| row.born_time);
                Arc::new(times.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
            }
            names::FLAG => self.ints(|row| row.flag),
            names::SYS_FLAG => self.ints(|row| row.sys_flag),
            names::RECONSUME_TIMES => self.ints(|row| row.reconsume_times),
            names::RECORD_CRC => self.ints(|row| row.record_crc.cast_signed()),
            names::PREPARED => self.longs(|row| row.prepared),
            _ => return None,
        })
    }

    pub(super) fn clear(&mut self) {
        self.rows.clear();
    }
}

/// The column of search keys.
#[derive(Debug)]
pub(super) struct KeyLists {
    texts: Column,
    offsets: Offsets,
    nulls: NullBufferBuilder,
}

impl KeyLists {
    fn new() -> Self {
        Self { texts: Column::new(), offsets: Offsets::new(), nulls: NullBufferBuilder::new(0) }
    }

    /// Splits the keys of the row behind the last one; it is null without any.
    #[inline]
    pub(super) fn put(&mut self, keys: &[u8]) {
        let before = self.texts.offsets.rows();
        for key in keys.split(|byte| *byte == b' ').filter(|key| !key.is_empty()) {
            self.texts.put(key);
        }
        let after = self.texts.offsets.rows();
        self.nulls.append(after > before);
        self.offsets.end_row(after);
    }

    pub(super) fn finish(&mut self, field: &FieldRef) -> Result<ArrayRef, ArrowError> {
        let (offsets, nulls) = (self.offsets.finish(), self.nulls.finish());
        let texts = self.texts.finish::<Utf8Type>(None)?;
        let DataType::List(element) = field.data_type() else { return Err(no_type(field)) };
        Ok(Arc::new(ListArray::try_new(Arc::clone(element), offsets, texts, nulls)?))
    }
}

/// The column of the other properties.
#[derive(Debug)]
pub(super) struct Rest {
    names: Column,
    values: Column,
    offsets: Offsets,
}

impl Rest {
    fn new() -> Self {
        Self { names: Column::new(), values: Column::new(), offsets: Offsets::new() }
    }

    /// An entry of the row behind the last one.
    #[inline]
    pub(super) fn put(&mut self, name: &[u8], value: &[u8]) {
        self.names.put(name);
        self.values.put(value);
    }

    #[inline]
    pub(super) fn end_row(&mut self) {
        self.offsets.end_row(self.names.offsets.rows());
    }

    pub(super) fn finish(&mut self, field: &FieldRef) -> Result<ArrayRef, ArrowError> {
        let offsets = self.offsets.finish();
        let columns = vec![self.names.finish::<Utf8Type>(None)?, self.values.finish::<Utf8Type>(None)?];
        let DataType::Map(entries, sorted) = field.data_type() else { return Err(no_type(field)) };
        let DataType::Struct(fields) = entries.data_type() else { return Err(no_type(field)) };
        let texts = StructArray::try_new(fields.clone(), columns, None)?;
        Ok(Arc::new(MapArray::try_new(Arc::clone(entries), offsets, texts, None, *sorted)?))
    }
}

fn no_type(field: &FieldRef) -> ArrowError {
    ArrowError::SchemaError(format!("rows have no column {} of type {}", field.name(), field.data_type()))
}

/// The columns of texts and bytes that every row has, and the body.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) topic: Column,
    pub(super) born_host: Column,
    pub(super) store_host: Column,
    pub(super) property_names: Column,
    pub(super) body: Column,
}

impl Whole {
    pub(super) fn new() -> Self {
        let empty = Column::new;
        Self { topic: empty(), born_host: empty(), store_host: empty(), property_names: empty(), body: empty() }
    }
}

/// The columns that properties are searched by, and the whole record of the rows that need it.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) msg_id: Sparse,
    pub(super) tags: Sparse,
    pub(super) keys: KeyLists,
    pub(super) properties: Vec<Sparse>,
    pub(super) rest: Rest,
    pub(super) record: Sparse,
}

impl Found {
    pub(super) fn new(properties: usize) -> Self {
        Self {
            msg_id: Sparse::new(),
            tags: Sparse::new(),
            keys: KeyLists::new(),
            properties: (0..properties).map(|_| Sparse::new()).collect(),
            rest: Rest::new(),
            record: Sparse::new(),
        }
    }
}
