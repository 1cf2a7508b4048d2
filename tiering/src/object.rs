//! One Parquet object: rows of a roll, written once and read in parts.
//!
//! Owns how rows become pages and row groups, and which bytes of an object a reader needs. [`ObjectWriter`] gives the
//! finished bytes; [`Layout`] reads an object's tail; [`Scan`] says which ranges it needs and gives batches. None of it
//! does I/O.

use parquet::errors::ParquetError;
use thiserror::Error;

use crate::rows::RowError;

mod layout;
mod scan;
mod write;

pub use layout::Layout;
pub use scan::{Scan, Step};
pub use write::{Finished, ObjectWriter, Origin};

/// Why an object could not be written or read.
#[derive(Debug, Error)]
pub enum ObjectError {
    /// The bytes are no object of this format, or not the ones that were written.
    #[error("the object is damaged: {what}")]
    Damaged {
        /// What does not fit.
        what: String,
    },
    /// A row is no record, or does not give its record back.
    #[error(transparent)]
    Row(#[from] RowError),
    /// Rows could not be encoded or decoded.
    #[error("the object's pages: {0}")]
    Parquet(#[from] ParquetError),
}

impl ObjectError {
    fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged { what: what.into() }
    }
}
