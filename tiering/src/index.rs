//! The index of a roll: which queue's messages are in which rows, what was lost, and the ends of its objects.
//!
//! Owns the layout that `FORMAT.md` describes. [`IndexBuilder`] writes one while rows are written in their order;
//! [`Index`] answers from the bytes of its front in place, and tells where the rest is. Whatever does not match its
//! checksum is refused.

use bytes::Bytes;
use thiserror::Error;

mod build;
mod runs;
mod view;

pub use build::{IndexBuilder, Written};
pub use runs::Run;
pub use view::{At, Index, Span};

/// First bytes of an index.
const MAGIC: [u8; 8] = *b"STRATAIX";
/// The layout this program writes and reads.
const VERSION: u32 = 1;
/// Bytes before the table of sections: magic, version, number of sections.
const HEAD_BYTES: usize = 16;
/// Bytes of a row of the table of sections.
const SECTION_BYTES: usize = 32;
/// Bytes of a row of the topics.
const TOPIC_BYTES: usize = 16;
/// Bytes of a row of the queues.
const QUEUE_BYTES: usize = 32;
/// Bytes of a row of what was lost.
const LOST_BYTES: usize = 16;

/// What a section holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Topics, queues and names, compressed.
    Queues = 1,
    /// Offsets without a row, compressed.
    Lost = 2,
    /// The end of an object from its indexes of pages on, as it is.
    Tail = 3,
    /// The bloom filters of an object, as they are.
    Blooms = 4,
}

/// Why bytes are no index, or rows cannot be listed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IndexError {
    /// The bytes are not one whole index of this version.
    #[error("the index of a roll is damaged: {what}")]
    Damaged {
        /// What does not fit.
        what: &'static str,
    },
    /// Another version wrote it.
    #[error("the index of a roll has version {found}, this program reads version {VERSION}: use a newer one")]
    Version {
        /// The version found.
        found: u32,
    },
    /// Queues did not come in their order, or offsets did not rise.
    #[error("queue {queue_id} of topic {topic} does not come in the order of a roll at offset {offset}")]
    Order {
        /// Topic.
        topic: String,
        /// Queue.
        queue_id: i32,
        /// The offset that came.
        offset: i64,
    },
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|part| part.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|part| part.try_into().ok()).map_or(0, u64::from_le_bytes)
}

fn i32_at(bytes: &[u8], at: usize) -> i32 {
    i32::from_le_bytes(u32_at(bytes, at).to_le_bytes())
}

fn i64_at(bytes: &[u8], at: usize) -> i64 {
    i64::from_le_bytes(u64_at(bytes, at).to_le_bytes())
}

/// A length as it is written.
fn wide(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// A part of an object that an index repeats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Position of its first byte in the object.
    pub at: u64,
    /// Its bytes.
    pub bytes: Bytes,
}

/// What an index repeats of an object: what a reader wants to know before it asks for pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// The bloom filters of all row groups.
    pub blooms: Piece,
    /// From the indexes of pages to the object's end.
    pub tail: Piece,
}

/// Where an index repeats a part of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repeated {
    /// Position of its first byte in the index.
    pub from: u64,
    /// Position behind it.
    pub to: u64,
    /// Position of its first byte in the object.
    at: u64,
    crc: u32,
}

impl Repeated {
    /// The part, from the bytes that were read there.
    ///
    /// # Errors
    /// They are not the ones that were written.
    pub fn piece(&self, bytes: Bytes) -> Result<Piece, IndexError> {
        if wide(bytes.len()) == self.to - self.from && crc32c::crc32c(&bytes) == self.crc {
            return Ok(Piece { at: self.at, bytes });
        }
        Err(IndexError::Damaged { what: "a repeated part of an object" })
    }
}

#[cfg(test)]
mod tests;
