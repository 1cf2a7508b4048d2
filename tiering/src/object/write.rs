//! Writing of an object: rows in, bytes out.
//!
//! Owns encodings, pages and row groups (`FORMAT.md`, Rows). A finished object is a list of pieces, so that its bytes are
//! never copied into one; its memory is those, one row group's pages, and one batch of rows.

use std::io::{self, Write};
use std::ops::Range;

use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::{ColumnChunkMetaData, KeyValue, ParquetMetaData, RowGroupMetaData, SortingColumn};
use parquet::file::properties::{BloomFilterPosition, EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;

use super::ObjectError;
use crate::index::{End, Piece};
use crate::limits::{
    BLOOM_WRONG, BODY_PAGE_BYTES, COMPRESSION_LEVEL, GROUP_BYTES_MAX, GROUP_ROWS_MAX, PAGE_BYTES_MAX, PAGE_ROWS_MAX,
    PIECE_BYTES, STATISTICS_TEXT_BYTES_MAX, WRITE_BATCH_ROWS,
};
use crate::rows::{PropertyColumn, RowBuilder, schema};

/// Where an object's rows come from; its footer tells it to whoever reads the object alone.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The broker's name.
    pub broker: String,
    /// The epoch of who writes.
    pub epoch: u64,
    /// Log offset of the roll's first byte.
    pub from: u64,
    /// Log offset behind the roll.
    pub to: u64,
    /// Properties with a column of their own.
    pub properties: Vec<PropertyColumn>,
}

/// A finished object.
#[derive(Debug)]
pub struct Finished {
    /// Its bytes in pieces.
    pub pieces: Vec<Bytes>,
    /// Bytes of all pieces.
    pub bytes: u64,
    /// Rows.
    pub rows: u64,
    /// crc32c of the bytes.
    pub crc32c: u32,
    /// crc32c over the records' checksums, in the order of the rows: whoever reads the object back compares it.
    pub records_crc: u32,
    /// Its end, from the bloom filters on.
    pub end: End,
}

/// Writes one object.
pub struct ObjectWriter {
    writer: ArrowWriter<Pieces>,
    batch: RowBuilder,
    rows: u64,
    group_rows: usize,
    group_bytes: usize,
    records_crc: u32,
}

impl ObjectWriter {
    /// Begins an object.
    ///
    /// # Errors
    /// The schema is not one that Parquet takes.
    pub fn new(origin: &Origin) -> Result<Self, ObjectError> {
        let options = ArrowWriterOptions::new().with_properties(properties(origin)?).with_skip_arrow_metadata(true);
        let writer = ArrowWriter::try_new_with_options(Pieces::default(), schema(&origin.properties), options)?;
        let batch = RowBuilder::new(&origin.properties);
        Ok(Self { writer, batch, rows: 0, group_rows: 0, group_bytes: 0, records_crc: 0 })
    }

    /// Adds a record; gives whether a row group ended with it.
    ///
    /// # Errors
    /// The bytes are no record, or could not be encoded.
    pub fn push(&mut self, record: &[u8]) -> Result<bool, ObjectError> {
        self.batch.push(record)?;
        self.records_crc = crc32c::crc32c_append(self.records_crc, &crc32c::crc32c(record).to_le_bytes());
        self.rows += 1;
        self.group_rows += 1;
        self.group_bytes += record.len();
        let ends = self.group_rows >= GROUP_ROWS_MAX || self.group_bytes >= GROUP_BYTES_MAX;
        if ends || self.batch.len() >= WRITE_BATCH_ROWS {
            self.write_batch()?;
        }
        if ends {
            self.writer.flush()?;
            (self.group_rows, self.group_bytes) = (0, 0);
        }
        Ok(ends)
    }

    /// Rows so far.
    #[must_use]
    pub const fn rows(&self) -> u64 {
        self.rows
    }

    /// Bytes of the row groups that have ended.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.writer.bytes_written()
    }

    fn write_batch(&mut self) -> Result<(), ObjectError> {
        if !self.batch.is_empty() {
            let batch = self.batch.finish()?;
            self.writer.write(&batch)?;
        }
        Ok(())
    }

    /// Ends the object.
    ///
    /// # Errors
    /// The last rows could not be encoded.
    pub fn finish(mut self) -> Result<Finished, ObjectError> {
        self.write_batch()?;
        let metadata = self.writer.finish()?;
        let pieces = std::mem::take(self.writer.inner_mut()).finish();
        let bytes: u64 = pieces.iter().map(|piece| piece.len() as u64).sum();
        let crc32c = pieces.iter().fold(0, |crc, piece| crc32c::crc32c_append(crc, piece));
        let end =
            end_of(&metadata, &pieces, bytes).ok_or_else(|| ObjectError::damaged("it has no indexes of pages"))?;
        Ok(Finished { pieces, bytes, rows: self.rows, crc32c, records_crc: self.records_crc, end })
    }
}

impl std::fmt::Debug for ObjectWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ObjectWriter").field("rows", &self.rows).finish_non_exhaustive()
    }
}

/// The parts behind all pages: first the bloom filters, then the indexes of pages.
fn end_of(metadata: &ParquetMetaData, pieces: &[Bytes], bytes: u64) -> Option<End> {
    let first = |at: fn(&ColumnChunkMetaData) -> Option<i64>| {
        let columns = metadata.row_groups().iter().flat_map(RowGroupMetaData::columns);
        columns.filter_map(at).min().and_then(|at| u64::try_from(at).ok())
    };
    let indexes = first(ColumnChunkMetaData::column_index_offset).into_iter();
    let tail_at = indexes.chain(first(ColumnChunkMetaData::offset_index_offset)).min()?;
    let blooms_at = first(ColumnChunkMetaData::bloom_filter_offset)?;
    Some(End { blooms: piece_of(pieces, blooms_at..tail_at), tail: piece_of(pieces, tail_at..bytes) })
}

fn piece_of(pieces: &[Bytes], range: Range<u64>) -> Piece {
    let mut out = Vec::new();
    let mut begin = 0;
    for piece in pieces {
        let inside = |at: u64| usize::try_from(at.saturating_sub(begin)).unwrap_or(usize::MAX).min(piece.len());
        out.extend_from_slice(piece.get(inside(range.start)..inside(range.end)).unwrap_or_default());
        begin += piece.len() as u64;
    }
    Piece { at: range.start, bytes: out.into() }
}

/// How each column is encoded.
fn properties(origin: &Origin) -> Result<WriterProperties, ObjectError> {
    let column = |name: &str| ColumnPath::from(name);
    let mut builder = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(COMPRESSION_LEVEL)?))
        .set_max_row_group_row_count(None)
        .set_max_row_group_bytes(None)
        .set_data_page_row_count_limit(PAGE_ROWS_MAX)
        .set_data_page_size_limit(PAGE_BYTES_MAX)
        .set_bloom_filter_position(BloomFilterPosition::End)
        .set_statistics_truncate_length(Some(STATISTICS_TEXT_BYTES_MAX))
        .set_column_index_truncate_length(Some(STATISTICS_TEXT_BYTES_MAX))
        .set_sorting_columns(Some((0..3).map(ascending).collect()))
        .set_key_value_metadata(Some(footer(origin)));
    for name in ["queue_offset", "physical_offset", "store_time", "born_time"] {
        builder = plainly(builder, name).set_column_encoding(column(name), Encoding::DELTA_BINARY_PACKED);
    }
    builder = plainly(builder, "msg_id").set_column_encoding(column("msg_id"), Encoding::DELTA_BYTE_ARRAY);
    for path in [column("msg_id"), keys_path()] {
        builder = builder
            .set_column_bloom_filter_enabled(path.clone(), true)
            .set_column_bloom_filter_fpp(path.clone(), BLOOM_WRONG)
            .set_column_bloom_filter_max_ndv(path, GROUP_ROWS_MAX as u64);
    }
    // Nobody looks for these by their bounds, and bounds cost bytes in every page's index.
    for name in ["record_crc", "body", "property_names", "born_host", "store_host"] {
        builder = builder.set_column_statistics_enabled(column(name), EnabledStatistics::None);
    }
    for name in ["record_crc", "record", "body"] {
        builder = plainly(builder, name);
    }
    builder = builder.set_column_data_page_size_limit(column("body"), BODY_PAGE_BYTES);
    Ok(builder.build())
}

const fn ascending(column_idx: i32) -> SortingColumn {
    SortingColumn { column_idx, descending: false, nulls_first: false }
}

/// The leaf of the list of keys.
fn keys_path() -> ColumnPath {
    ColumnPath::new(["keys", "list", "element"].map(str::to_owned).to_vec())
}

fn plainly(builder: WriterPropertiesBuilder, name: &str) -> WriterPropertiesBuilder {
    builder.set_column_dictionary_enabled(ColumnPath::from(name), false)
}

fn footer(origin: &Origin) -> Vec<KeyValue> {
    let names: Vec<_> = origin.properties.iter().map(|property| property.name.as_str()).collect();
    [
        ("strata.version", "1".to_owned()),
        ("strata.broker", origin.broker.clone()),
        ("strata.epoch", origin.epoch.to_string()),
        ("strata.from", origin.from.to_string()),
        ("strata.to", origin.to.to_string()),
        ("strata.properties", names.join(" ")),
    ]
    .map(|(key, value)| KeyValue::new(key.to_owned(), value))
    .to_vec()
}

/// What was written, in pieces.
#[derive(Debug, Default)]
struct Pieces {
    done: Vec<Bytes>,
    open: Vec<u8>,
}

impl Pieces {
    fn finish(mut self) -> Vec<Bytes> {
        if !self.open.is_empty() {
            self.done.push(self.open.into());
        }
        self.done
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.open.capacity() == 0 {
            self.open.reserve_exact(PIECE_BYTES);
        }
        let room = self.open.capacity() - self.open.len();
        let taken = bytes.len().min(room);
        self.open.extend_from_slice(&bytes[..taken]);
        if self.open.len() == self.open.capacity() {
            self.done.push(std::mem::take(&mut self.open).into());
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
