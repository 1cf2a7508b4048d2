//! The warehouse: sealed parts of the log as Parquet in object storage.
//!
//! Owns what `FORMAT.md` describes: rows, objects, the manifest, and reading them back. It knows nothing of the local
//! log; whoever rolls hands it records, whoever reads gets records.
#![forbid(unsafe_code)]

pub mod bucket;
pub mod chance;
pub mod cold;
pub mod collect;
pub mod expire;
pub mod idle;
pub mod index;
pub mod limits;
pub mod manifest;
pub mod merge;
pub mod object;
pub mod pace;
pub mod roll;
pub mod rows;
pub mod tier;
pub mod verify;
