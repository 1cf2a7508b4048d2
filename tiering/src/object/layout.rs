//! An object's layout: its row groups, pages and bloom filters, from its tail alone.

use std::ops::Range;
use std::sync::Arc;

use arrow_schema::Schema;
use parquet::DecodeResult;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::bloom_filter::Sbbf;
use parquet::file::metadata::{ColumnChunkMetaData, PageIndexPolicy, ParquetMetaData, ParquetMetaDataPushDecoder};
use parquet::file::statistics::Statistics;

use super::ObjectError;
use crate::index::Piece;
use crate::rows::{PROPERTY_PREFIX, PropertyColumn, field_id, read_schema};

/// What an object's tail says.
#[derive(Debug, Clone)]
pub struct Layout {
    metadata: ArrowReaderMetadata,
    tail_bytes: usize,
}

impl Layout {
    /// Reads the tail of an object.
    ///
    /// # Errors
    /// It is no tail of an object of this format.
    pub fn read(tail: &Piece) -> Result<Self, ObjectError> {
        let end = tail.at + tail.bytes.len() as u64;
        let mut decoder = ParquetMetaDataPushDecoder::try_new(end)?.with_page_index_policy(PageIndexPolicy::Required);
        decoder.push_range(tail.at..end, tail.bytes.clone())?;
        let metadata = match decoder.try_decode()? {
            DecodeResult::Data(metadata) => Arc::new(metadata),
            DecodeResult::NeedsData(_) | DecodeResult::Finished => {
                return Err(ObjectError::damaged("its tail does not hold all of its indexes"));
            }
        };
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Required);
        let plain = ArrowReaderMetadata::try_new(Arc::clone(&metadata), options.clone())?;
        let options = options.with_schema(read_schema(&properties_of(plain.schema())));
        Ok(Self { metadata: ArrowReaderMetadata::try_new(metadata, options)?, tail_bytes: tail.bytes.len() })
    }

    /// The Parquet metadata with the indexes of pages.
    #[must_use]
    pub fn metadata(&self) -> &Arc<ParquetMetaData> {
        self.metadata.metadata()
    }

    pub(super) const fn arrow(&self) -> &ArrowReaderMetadata {
        &self.metadata
    }

    /// Bytes of memory, about: what the tail takes is what is decoded from it.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.tail_bytes + self.metadata().memory_size()
    }

    /// Rows of each row group.
    pub fn groups(&self) -> impl ExactSizeIterator<Item = u64> + '_ {
        self.metadata().row_groups().iter().map(|group| u64::try_from(group.num_rows()).unwrap_or(0))
    }

    /// The row group of a row of the object, and the row in it.
    #[must_use]
    pub fn group_of(&self, mut row: u64) -> Option<(usize, u64)> {
        for (number, rows) in self.groups().enumerate() {
            if row < rows {
                return Some((number, row));
            }
            row -= rows;
        }
        None
    }

    /// Whether it holds a row of the roll when its first one is `first_row`.
    #[must_use]
    pub fn holds(&self, row: u64, first_row: u64) -> bool {
        row.checked_sub(first_row).is_some_and(|row| row < self.groups().sum())
    }

    /// Bytes of a row group's pages.
    #[must_use]
    pub fn range_of(&self, group: usize) -> Option<Range<u64>> {
        let ranges = self.metadata().row_groups().get(group)?.columns().iter().map(|column| column.byte_range());
        let (from, to) = ranges.fold((u64::MAX, 0), |(from, to), (at, bytes)| (from.min(at), to.max(at + bytes)));
        (from < to).then_some(from..to)
    }

    /// A row group in segments for who reads all of it: everything before the bodies, then whole pages of bodies.
    #[must_use]
    pub fn segments(&self, group: usize, bytes: u64) -> Vec<Range<u64>> {
        let Some(all) = self.range_of(group) else { return Vec::new() };
        let pages = self.metadata().offset_index().and_then(|index| index.get(group)?.last());
        let pages = pages.map(|pages| pages.page_locations().as_slice()).unwrap_or_default();
        let begins = pages.iter().filter_map(|page| u64::try_from(page.offset).ok()).filter(|at| all.contains(at));
        let mut out: Vec<Range<u64>> = Vec::new();
        let mut from = all.start;
        for (nth, at) in begins.enumerate() {
            if at > from && (nth == 0 || at - from >= bytes) {
                out.push(from..at);
                from = at;
            }
        }
        out.push(from..all.end);
        out
    }

    /// The properties that have a column here, and how many rows have each.
    #[must_use]
    pub fn properties(&self) -> Vec<(PropertyColumn, u64)> {
        let columns = properties_of(self.metadata.schema());
        let counted = columns.into_iter().filter_map(|column| {
            let leaf = self.leaf(&format!("{PROPERTY_PREFIX}{}", column.name))?;
            let chunks = self.metadata().row_groups().iter().filter_map(|group| group.columns().get(leaf));
            let rows = chunks.map(|chunk| {
                let nulls = chunk.statistics().and_then(Statistics::null_count_opt).unwrap_or(0);
                u64::try_from(chunk.num_values()).unwrap_or(0).saturating_sub(nulls)
            });
            Some((column, rows.sum()))
        });
        counted.collect()
    }

    /// Bytes that its pages have when they are expanded.
    #[must_use]
    pub fn expanded_bytes(&self) -> u64 {
        self.metadata().row_groups().iter().map(|group| u64::try_from(group.total_byte_size()).unwrap_or(0)).sum()
    }

    /// The place of a leaf column by its path, as `tags` or `keys.list.element`.
    #[must_use]
    pub fn leaf(&self, path: &str) -> Option<usize> {
        self.metadata.parquet_schema().columns().iter().position(|column| column.path().string() == path)
    }

    /// Whether a row group may hold a value in a leaf column, by the object's bloom filters.
    #[must_use]
    pub fn may_hold(&self, blooms: &Piece, (group, leaf): (usize, usize), value: &str) -> bool {
        let group = self.metadata().row_groups().get(group);
        let filter = group.and_then(|group| filter(blooms, group.columns().get(leaf)?));
        // Without a filter nothing is known.
        filter.is_none_or(|filter| filter.check(value))
    }
}

/// The properties that have a column.
fn properties_of(schema: &Schema) -> Vec<PropertyColumn> {
    let named = schema.fields().iter().filter_map(|field| {
        let name = field.name().strip_prefix(PROPERTY_PREFIX)?.to_owned();
        Some(PropertyColumn { name, id: field_id(field)? })
    });
    named.collect()
}

fn filter(blooms: &Piece, column: &ColumnChunkMetaData) -> Option<Sbbf> {
    let from = u64::try_from(column.bloom_filter_offset()?).ok()?.checked_sub(blooms.at)?;
    let (from, bytes) = (usize::try_from(from).ok()?, usize::try_from(column.bloom_filter_length()?).ok()?);
    Sbbf::from_bytes(blooms.bytes.get(from..from.checked_add(bytes)?)?).ok()
}
