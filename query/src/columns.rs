//! The columns of messages: their types, and how records and rows of the tier become them.
//!
//! Owns that a message has the same values out of the log and out of the tier.

use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use datafusion::arrow::array::builder::{
    BinaryViewBuilder, Int32Builder, Int64Builder, ListBuilder, MapBuilder, MapFieldNames, StringBuilder,
    StringViewBuilder, TimestampMicrosecondBuilder,
};
use datafusion::arrow::array::cast::AsArray;
use datafusion::arrow::array::types::{Int32Type, Int64Type};
use datafusion::arrow::array::{
    Array, ArrayBuilder, ArrayRef, BinaryViewArray, BooleanArray, ListArray, RecordBatch, RecordBatchOptions,
};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use datafusion::error::DataFusionError;
use strata_protocol::properties::{Properties, TAGS, UNIQ_KEY, find_str};
use strata_protocol::record::RecordView;
use strata_protocol::sysflag::{Compression, compression};
use strata_tiering::rows::{PROPERTY_PREFIX, PropertyTexts, names};

use crate::error::ReadError;
use crate::limits::{PACKED_BYTES_MAX, UNPACKED_BYTES_MAX};

/// Microseconds of a millisecond.
pub(crate) const MICROS: i64 = 1_000;

/// A column of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Column {
    Topic,
    QueueId,
    QueueOffset,
    LogOffset,
    StoreTime,
    BornTime,
    MsgId,
    Keys,
    Tags,
    Flag,
    SysFlag,
    ReconsumeTimes,
    BornHost,
    StoreHost,
    PreparedOffset,
    Properties,
    Body,
    BodyText,
    Tier,
}

/// Where a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Where {
    Hot,
    Cold,
}

impl Where {
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Hot => "hot",
            Self::Cold => "cold",
        }
    }
}

use Column::{
    Body, BodyText, BornHost, BornTime, Flag, Keys, LogOffset, MsgId, PreparedOffset, QueueId, QueueOffset,
    ReconsumeTimes, StoreHost, StoreTime, SysFlag, Tags, Tier, Topic,
};

/// All of them, in their order.
pub(crate) const COLUMNS: [Column; 19] = [
    Topic,
    QueueId,
    QueueOffset,
    LogOffset,
    StoreTime,
    BornTime,
    MsgId,
    Keys,
    Tags,
    Flag,
    SysFlag,
    ReconsumeTimes,
    BornHost,
    StoreHost,
    PreparedOffset,
    Column::Properties,
    Body,
    BodyText,
    Tier,
];

impl Column {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Topic => "topic",
            QueueId => "queue_id",
            QueueOffset => "queue_offset",
            LogOffset => "log_offset",
            StoreTime => "store_time",
            BornTime => "born_time",
            MsgId => "msg_id",
            Keys => "keys",
            Tags => "tags",
            Flag => "flag",
            SysFlag => "sys_flag",
            ReconsumeTimes => "reconsume_times",
            BornHost => "born_host",
            StoreHost => "store_host",
            PreparedOffset => "prepared_transaction_offset",
            Self::Properties => "properties",
            Body => "body",
            BodyText => "body_text",
            Tier => "tier",
        }
    }

    /// Where columns are among all.
    pub(crate) fn places(columns: &[Self]) -> Vec<usize> {
        columns.iter().filter_map(|column| COLUMNS.iter().position(|known| known == column)).collect()
    }

    fn field(self) -> Field {
        let (kind, nullable) = match self {
            Topic | Tier | BornHost | StoreHost => (DataType::Utf8View, false),
            QueueId | Flag | SysFlag | ReconsumeTimes => (DataType::Int32, false),
            QueueOffset | LogOffset | PreparedOffset => (DataType::Int64, false),
            StoreTime => (time_type(), false),
            BornTime => (time_type(), true),
            MsgId | Tags | BodyText => (DataType::Utf8View, true),
            Keys => (keys_type(), true),
            Self::Properties => (property_type(), false),
            Body => (DataType::BinaryView, false),
        };
        Field::new(self.name(), kind, nullable)
    }

    /// The columns of the tier's objects that it is made of, by their paths; `None` for none.
    fn is_made_of(self, path: &str) -> bool {
        match self {
            Topic => path == names::TOPIC,
            QueueId => path == names::QUEUE_ID,
            QueueOffset => path == names::QUEUE_OFFSET,
            LogOffset => path == names::PHYSICAL_OFFSET,
            StoreTime => path == names::STORE_TIME,
            BornTime => path == names::BORN_TIME,
            MsgId => path == names::MSG_ID,
            Keys => is_in(path, names::KEYS),
            Tags => path == names::TAGS,
            Flag => path == names::FLAG,
            SysFlag => path == names::SYS_FLAG,
            ReconsumeTimes => path == names::RECONSUME_TIMES,
            BornHost => path == names::BORN_HOST,
            StoreHost => path == names::STORE_HOST,
            PreparedOffset => path == names::PREPARED,
            Self::Properties => {
                let whole = [names::PROPERTY_NAMES, names::MSG_ID, names::TAGS];
                whole.contains(&path)
                    || path.starts_with(PROPERTY_PREFIX)
                    || is_in(path, names::KEYS)
                    || is_in(path, names::PROPERTIES)
            }
            // Where the message is says an error.
            Body | BodyText => {
                [names::BODY, names::SYS_FLAG, names::TOPIC, names::QUEUE_ID, names::QUEUE_OFFSET].contains(&path)
            }
            Tier => false,
        }
    }
}

fn is_in(path: &str, column: &str) -> bool {
    path.strip_prefix(column).is_some_and(|rest| rest.starts_with('.'))
}

/// Times, UTC.
pub(crate) fn time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// Lists of texts.
pub(crate) fn keys_type() -> DataType {
    DataType::List(key_field())
}

fn key_field() -> Arc<Field> {
    Arc::new(Field::new("element", DataType::Utf8View, false))
}

fn property_type() -> DataType {
    let entries =
        Fields::from(vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Utf8, true)]);
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries), false)), false)
}

/// All columns.
pub(crate) fn schema() -> SchemaRef {
    Arc::new(Schema::new(COLUMNS.map(Column::field).to_vec()))
}

/// The columns that a statement reads.
#[derive(Debug, Clone)]
pub(crate) struct Chosen {
    pub(crate) columns: Vec<Column>,
    pub(crate) schema: SchemaRef,
}

impl Chosen {
    pub(crate) fn of(projection: Option<&Vec<usize>>) -> Self {
        let columns: Vec<Column> = match projection {
            None => COLUMNS.to_vec(),
            Some(places) => places.iter().filter_map(|at| COLUMNS.get(*at).copied()).collect(),
        };
        let schema = Arc::new(Schema::new(columns.iter().map(|column| column.field()).collect::<Vec<_>>()));
        Self { columns, schema }
    }

    /// The columns of an object that are read. Whole records are: what they say goes before the other columns.
    pub(crate) fn paths(&self, there: impl Iterator<Item = String>) -> Vec<String> {
        let is_read =
            |path: &String| path == names::RECORD || self.columns.iter().any(|column| column.is_made_of(path));
        there.filter(is_read).collect()
    }

    /// Rows of the tier in parts, each of which becomes a batch of messages of a bounded size: bodies may unpack to many
    /// times what they are.
    pub(crate) fn parts(&self, batch: &RecordBatch) -> Result<Vec<RecordBatch>, DataFusionError> {
        if !self.columns.iter().any(|column| matches!(column, Body | BodyText)) {
            return Ok(vec![batch.clone()]);
        }
        let flags = column(batch, names::SYS_FLAG)?.as_primitive::<Int32Type>();
        let bodies = column(batch, names::BODY)?.as_binary_view();
        let records = batch.column_by_name(names::RECORD).map(|records| records.as_binary_view());
        let length = |texts: &BinaryViewArray, row| if texts.is_valid(row) { texts.value(row).len() } else { 0 };
        let (mut out, mut from, mut packed) = (Vec::new(), 0, 0);
        for row in 0..batch.num_rows() {
            // Of a whole record nobody knows before it is read.
            let body = if compression(flags.value(row)).is_some() { length(bodies, row) } else { 0 };
            let bytes = body + records.map_or(0, |records| length(records, row));
            if packed + bytes > PACKED_BYTES_MAX && row > from {
                out.push(batch.slice(from, row - from));
                (from, packed) = (row, 0);
            }
            packed += bytes;
        }
        out.push(batch.slice(from, batch.num_rows() - from));
        Ok(out)
    }

    /// Rows of the tier as messages.
    pub(crate) fn of_rows(&self, batch: &RecordBatch) -> Result<Vec<RecordBatch>, DataFusionError> {
        // Where no record is kept whole the column is not read.
        let records = batch.column_by_name(names::RECORD).filter(|records| records.null_count() < records.len());
        let Some(records) = records else { return Ok(vec![self.of_plain_rows(batch)?]) };
        let is_whole: BooleanArray = (0..records.len()).map(|row| Some(records.is_valid(row))).collect();
        let is_plain: BooleanArray = (0..records.len()).map(|row| Some(records.is_null(row))).collect();
        let (whole, plain) = (filter_record_batch(batch, &is_whole)?, filter_record_batch(batch, &is_plain)?);
        let mut out = Vec::new();
        if plain.num_rows() > 0 {
            out.push(self.of_plain_rows(&plain)?);
        }
        let mut rows = Rows::new(self, Where::Cold);
        let bytes = column(&whole, names::RECORD)?.as_binary_view();
        for record in bytes.iter().flatten() {
            let view = RecordView::parse(record).map_err(|error| ReadError::Record {
                topic: String::new(),
                queue_id: 0,
                why: error.to_string(),
            })?;
            rows.add(&view)?;
        }
        out.push(rows.finish()?);
        Ok(out)
    }

    fn of_plain_rows(&self, batch: &RecordBatch) -> Result<RecordBatch, DataFusionError> {
        let columns = self.columns.iter().map(|wanted| of_plain_rows(*wanted, batch));
        let columns = columns.collect::<Result<Vec<_>, DataFusionError>>()?;
        self.batch(columns, batch.num_rows())
    }

    fn batch(&self, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch, DataFusionError> {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)
    }
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef, ReadError> {
    batch.column_by_name(name).ok_or_else(|| ReadError::Column(name.to_owned()))
}

/// A column of rows that hold no whole record.
fn of_plain_rows(wanted: Column, batch: &RecordBatch) -> Result<ArrayRef, DataFusionError> {
    let same = |name: &str| Ok(Arc::clone(column(batch, name)?));
    match wanted {
        Topic => same(names::TOPIC),
        QueueId => same(names::QUEUE_ID),
        QueueOffset => same(names::QUEUE_OFFSET),
        LogOffset => same(names::PHYSICAL_OFFSET),
        StoreTime => same(names::STORE_TIME),
        BornTime => same(names::BORN_TIME),
        MsgId => Ok(without_empty(column(batch, names::MSG_ID)?)),
        Keys => {
            let lists = column(batch, names::KEYS)?.as_list::<i32>();
            let (offsets, keys) = (lists.offsets().clone(), Arc::clone(lists.values()));
            Ok(Arc::new(ListArray::try_new(key_field(), offsets, keys, lists.nulls().cloned())?))
        }
        Tags => Ok(without_empty(column(batch, names::TAGS)?)),
        Flag => same(names::FLAG),
        SysFlag => same(names::SYS_FLAG),
        ReconsumeTimes => same(names::RECONSUME_TIMES),
        BornHost => Ok(hosts(column(batch, names::BORN_HOST)?)),
        StoreHost => Ok(hosts(column(batch, names::STORE_HOST)?)),
        PreparedOffset => same(names::PREPARED),
        Column::Properties => {
            let texts = PropertyTexts::new(batch).map_err(ReadError::from)?;
            let (mut out, mut text) = (properties_builder(), Vec::new());
            for row in 0..batch.num_rows() {
                text.clear();
                texts.write(row, &mut text).map_err(ReadError::from)?;
                put_properties(&mut out, &text)?;
            }
            Ok(Arc::new(out.finish()))
        }
        Body | BodyText => {
            let flags = column(batch, names::SYS_FLAG)?.as_primitive::<Int32Type>();
            let bodies = column(batch, names::BODY)?;
            let is_packed = flags.values().iter().any(|flags| compression(*flags).is_some());
            if wanted == Body && !is_packed {
                return Ok(Arc::clone(bodies));
            }
            let mut make = Make::of(wanted);
            for (row, (body, flags)) in bodies.as_binary_view().iter().zip(flags.values()).enumerate() {
                let failed = |why| unreadable(batch, row, why);
                let body = unpacked(body.unwrap_or_default(), *flags).map_err(failed)?;
                make.put_body(&body);
            }
            Ok(make.finish())
        }
        Tier => {
            let mut out = StringViewBuilder::new();
            (0..batch.num_rows()).for_each(|_| out.append_value(Where::Cold.text()));
            Ok(Arc::new(out.finish()))
        }
    }
}

/// The error of a row whose body cannot be unpacked.
fn unreadable(batch: &RecordBatch, row: usize, why: String) -> ReadError {
    let place = || {
        let topic = column(batch, names::TOPIC).ok()?.as_string_view_opt()?.value(row).to_owned();
        let queue_id = column(batch, names::QUEUE_ID).ok()?.as_primitive_opt::<Int32Type>()?.value(row);
        let offset = column(batch, names::QUEUE_OFFSET).ok()?.as_primitive_opt::<Int64Type>()?.value(row);
        Some((topic, queue_id, offset))
    };
    let (topic, queue_id, offset) = place().unwrap_or_default();
    ReadError::Body { topic, queue_id, offset, why }
}

/// Empty texts are none, as RocketMQ's clients have it.
fn without_empty(column: &ArrayRef) -> ArrayRef {
    let texts = column.as_string_view();
    if !texts.iter().flatten().any(str::is_empty) {
        return Arc::clone(column);
    }
    let mut out = StringViewBuilder::new();
    texts.iter().for_each(|text| out.append_option(text.filter(|text| !text.is_empty())));
    Arc::new(out.finish())
}

fn hosts(column: &ArrayRef) -> ArrayRef {
    let mut out = StringViewBuilder::new();
    for bytes in column.as_binary_view() {
        out.append_value(bytes.and_then(host).map_or_else(String::new, |host| host.to_string()));
    }
    Arc::new(out.finish())
}

/// A host as records have it: the address, and the port as four bytes.
fn host(bytes: &[u8]) -> Option<SocketAddr> {
    let (address, port) = bytes.split_last_chunk::<4>()?;
    let address = match address.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(address).ok()?),
        _ => IpAddr::from(<[u8; 16]>::try_from(address).ok()?),
    };
    // As RecordView reads it: what does not fit a port is cut.
    Some(SocketAddr::new(address, u32::from_be_bytes(*port) as u16))
}

fn keys_builder() -> ListBuilder<StringViewBuilder> {
    ListBuilder::new(StringViewBuilder::new()).with_field(key_field())
}

fn properties_builder() -> MapBuilder<StringBuilder, StringBuilder> {
    let names = MapFieldNames { entry: "entries".into(), key: "key".into(), value: "value".into() };
    MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new())
}

/// The properties of a message: of several of one name the last one counts, and its place is the first one's.
fn put_properties(out: &mut MapBuilder<StringBuilder, StringBuilder>, text: &[u8]) -> Result<(), DataFusionError> {
    let mut seen: Vec<(&[u8], &[u8])> = Vec::new();
    for (name, value) in Properties::of(text) {
        match seen.iter_mut().find(|(known, _)| *known == name) {
            Some(known) => known.1 = value,
            None => seen.push((name, value)),
        }
    }
    for (name, value) in seen {
        out.keys().append_value(String::from_utf8_lossy(name));
        out.values().append_value(String::from_utf8_lossy(value));
    }
    out.append(true)?;
    Ok(())
}

/// One column while it is made.
enum Make {
    Text(StringViewBuilder),
    Int(Int32Builder),
    Long(Int64Builder),
    Time(TimestampMicrosecondBuilder),
    Bytes(BinaryViewBuilder),
    Keys(ListBuilder<StringViewBuilder>),
    Properties(MapBuilder<StringBuilder, StringBuilder>),
}

impl Make {
    fn of(column: Column) -> Self {
        match column {
            Topic | Tier | BornHost | StoreHost | MsgId | Tags | BodyText => Self::Text(StringViewBuilder::new()),
            QueueId | Flag | SysFlag | ReconsumeTimes => Self::Int(Int32Builder::new()),
            QueueOffset | LogOffset | PreparedOffset => Self::Long(Int64Builder::new()),
            StoreTime | BornTime => Self::Time(TimestampMicrosecondBuilder::new().with_timezone("UTC")),
            Keys => Self::Keys(keys_builder()),
            Column::Properties => Self::Properties(properties_builder()),
            Body => Self::Bytes(BinaryViewBuilder::new()),
        }
    }

    fn put_body(&mut self, body: &[u8]) {
        match self {
            Self::Text(out) => out.append_option(std::str::from_utf8(body).ok()),
            Self::Bytes(out) => out.append_value(body),
            Self::Int(_) | Self::Long(_) | Self::Time(_) | Self::Keys(_) | Self::Properties(_) => {}
        }
    }

    fn finish(self) -> ArrayRef {
        match self {
            Self::Text(mut out) => Arc::new(out.finish()),
            Self::Int(mut out) => Arc::new(out.finish()),
            Self::Long(mut out) => Arc::new(out.finish()),
            Self::Time(mut out) => Arc::new(out.finish()),
            Self::Bytes(mut out) => Arc::new(out.finish()),
            Self::Keys(mut out) => Arc::new(out.finish()),
            Self::Properties(mut out) => Arc::new(out.finish()),
        }
    }
}

/// Messages out of records.
pub(crate) struct Rows<'a> {
    chosen: &'a Chosen,
    makes: Vec<Make>,
    rows: usize,
    /// Bytes of the bodies and properties in them.
    bytes: usize,
    tier: Where,
}

impl<'a> Rows<'a> {
    pub(crate) fn new(chosen: &'a Chosen, tier: Where) -> Self {
        Self { chosen, makes: chosen.columns.iter().map(|column| Make::of(*column)).collect(), rows: 0, bytes: 0, tier }
    }

    pub(crate) const fn len(&self) -> usize {
        self.rows
    }

    /// Bytes of what they hold, about.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn add(&mut self, record: &RecordView<'_>) -> Result<(), DataFusionError> {
        let text = record.properties();
        self.bytes += text.len();
        for (column, make) in self.chosen.columns.iter().zip(&mut self.makes) {
            match (column, make) {
                (Topic, Make::Text(out)) => out.append_value(record.topic()),
                (Tier, Make::Text(out)) => out.append_value(self.tier.text()),
                (BornHost, Make::Text(out)) => out.append_value(record.born_host().to_string()),
                (StoreHost, Make::Text(out)) => out.append_value(record.store_host().to_string()),
                (MsgId, Make::Text(out)) => out.append_option(find_str(text, UNIQ_KEY)),
                (Tags, Make::Text(out)) => out.append_option(find_str(text, TAGS)),
                (QueueId, Make::Int(out)) => out.append_value(record.queue_id()),
                (Flag, Make::Int(out)) => out.append_value(record.flag()),
                (SysFlag, Make::Int(out)) => out.append_value(record.sys_flag()),
                (ReconsumeTimes, Make::Int(out)) => out.append_value(record.reconsume_times()),
                (QueueOffset, Make::Long(out)) => out.append_value(record.queue_offset()),
                (LogOffset, Make::Long(out)) => out.append_value(record.physical_offset()),
                (PreparedOffset, Make::Long(out)) => out.append_value(record.prepared_transaction_offset()),
                (StoreTime, Make::Time(out)) => out.append_value(record.store_timestamp().saturating_mul(MICROS)),
                (BornTime, Make::Time(out)) => out.append_option(record.born_timestamp().checked_mul(MICROS)),
                (Keys, Make::Keys(out)) => {
                    // As in the tier: keys that are not text are none.
                    let keys = find_str(text, strata_protocol::properties::KEYS).unwrap_or_default();
                    let before = out.values().len();
                    keys.split(' ').filter(|key| !key.is_empty()).for_each(|key| out.values().append_value(key));
                    let some = out.values().len() > before;
                    out.append(some);
                }
                (Column::Properties, Make::Properties(out)) => put_properties(out, text)?,
                (Body | BodyText, make) => {
                    let body = unpacked(record.body(), record.sys_flag()).map_err(|why| ReadError::Body {
                        topic: record.topic().to_owned(),
                        queue_id: record.queue_id(),
                        offset: record.queue_offset(),
                        why,
                    })?;
                    self.bytes += body.len();
                    make.put_body(&body);
                }
                _ => {}
            }
        }
        self.rows += 1;
        Ok(())
    }

    pub(crate) fn finish(self) -> Result<RecordBatch, DataFusionError> {
        self.chosen.batch(self.makes.into_iter().map(Make::finish).collect(), self.rows)
    }
}

/// A body as the producer had it.
fn unpacked(packed: &[u8], sys_flag: i32) -> Result<std::borrow::Cow<'_, [u8]>, String> {
    let Some(packing) = compression(sys_flag) else { return Ok(packed.into()) };
    let packing = packing.map_err(|kind| format!("its compression type {kind:#x} is not known"))?;
    let body = match packing {
        Compression::Zlib => bounded(flate2::read::ZlibDecoder::new(packed)),
        Compression::Lz4 => bounded(lz4_flex::frame::FrameDecoder::new(packed)),
        Compression::Zstd => zstd::stream::read::Decoder::new(packed).and_then(bounded),
    };
    body.map(Into::into).map_err(|error| error.to_string())
}

fn bounded(reader: impl Read) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    reader.take(UNPACKED_BYTES_MAX as u64 + 1).read_to_end(&mut out)?;
    if out.len() > UNPACKED_BYTES_MAX {
        let what = format!("it becomes more than {UNPACKED_BYTES_MAX} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    Ok(out)
}

#[cfg(test)]
mod tests;
