//! Rows: a record as columns, and the record again from its row, byte for byte.
//!
//! Owns the section "Rows" of `FORMAT.md`: the schema, which columns a record's parts go to, and the way back. It knows
//! neither objects nor how they are written; a batch of rows is what goes in and out.

mod arrays;
mod build;
mod columns;
mod error;
mod place;
mod rebuild;
mod sample;
mod schema;
mod template;

pub(crate) use build::MICROS;
pub use build::RowBuilder;
pub use error::RowError;
pub use rebuild::{PropertyTexts, Rebuilder};
pub use sample::choose;
pub use schema::{COLUMNS, PROPERTY_PREFIX, PropertyColumn, column, field_id, names, read_schema, schema};
