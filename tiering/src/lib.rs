//! The warehouse: sealed parts of the log as Parquet in object storage.
//!
//! Owns what `FORMAT.md` describes: rows, objects, the manifest, and reading them back. It knows nothing of the local
//! log; whoever rolls hands it records, whoever reads gets records.
#![forbid(unsafe_code)]

pub mod limits;

pub mod bucket;
pub mod manifest;

mod chance;
