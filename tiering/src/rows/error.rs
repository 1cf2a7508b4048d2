//! What can be wrong with a record that becomes a row, or with a row that becomes a record.

use arrow_schema::ArrowError;
use strata_protocol::record::RecordError;
use thiserror::Error;

/// Why a record has no row, or a row no record.
#[derive(Debug, Error)]
pub enum RowError {
    /// The bytes given are no record.
    #[error("the bytes for a row are no record: {0}")]
    Record(#[from] RecordError),
    /// The bytes given are a record and more.
    #[error("a record of {record} bytes was given in {given}")]
    Trailing {
        /// Bytes of the record.
        record: usize,
        /// Bytes that were given.
        given: usize,
    },
    /// The rows would be more than arrow's offsets reach.
    #[error("rows of {bytes} bytes are too many for one batch, at most {max} fit")]
    Full {
        /// Bytes that there would be.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// The columns do not make a batch.
    #[error("the columns of rows make no batch: {0}")]
    Batch(#[from] ArrowError),
    /// A batch lacks a column, or has it in a form that is not read.
    #[error("column {column} of a batch of rows is {found}")]
    Column {
        /// Its name.
        column: String,
        /// Its type, or that it is missing.
        found: String,
    },
    /// A row behind the last one was asked for.
    #[error("row {row} was asked for, the batch has {rows}")]
    Row {
        /// The number asked for.
        row: usize,
        /// Rows that there are.
        rows: usize,
    },
    /// A column says what no writer writes.
    #[error("column {column} of row {row} holds what no record gives")]
    Damaged {
        /// The row.
        row: usize,
        /// Name of the column.
        column: &'static str,
    },
    /// The record that a row gives is not the one that was stored.
    #[error("the record of row {row} has the checksum {found:#010x}, stored was {stored:#010x}")]
    Checksum {
        /// The row.
        row: usize,
        /// The checksum in the row.
        stored: u32,
        /// The checksum of the record that it gives.
        found: u32,
    },
}
