//! The sidecar of a sealed segment: its index and checksums as one mapped file.
//!
//! Owns the layout that `FORMAT.md` describes. A sidecar is derived: it can be deleted and is built
//! again from its segment.

use std::path::PathBuf;

use thiserror::Error;

mod bloom;
mod build;
mod view;

pub(crate) use build::{QueueRow, Source, write};
pub(crate) use view::{Row, Sidecar};

/// First bytes of a sidecar.
pub(crate) const MAGIC: [u8; 8] = *b"STRATASC";
/// The layout this program writes and reads.
pub(crate) const VERSION: u32 = 1;
/// Bytes of the header.
pub(crate) const HEADER_BYTES: usize = 512;
/// Number of sections.
pub(crate) const SECTIONS: usize = 9;
/// Bytes of a row of the topics section.
pub(crate) const TOPIC_BYTES: usize = 16;
/// Bytes of a row of the queues section.
pub(crate) const QUEUE_BYTES: usize = 24;
/// Bytes of a row of the entries section.
pub(crate) const ENTRY_BYTES: usize = 20;
/// Bytes of a row of the keys section.
pub(crate) const KEY_BYTES: usize = 8;

/// The sections in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Section {
    Topics,
    Names,
    Queues,
    Entries,
    Buckets,
    Keys,
    Bloom,
    Blocks,
    Damage,
}

impl Section {
    /// All sections in the order of the file.
    pub(crate) const ALL: [Self; SECTIONS] = [
        Self::Topics,
        Self::Names,
        Self::Queues,
        Self::Entries,
        Self::Buckets,
        Self::Keys,
        Self::Bloom,
        Self::Blocks,
        Self::Damage,
    ];
}

/// Why a file is no usable sidecar. It is built again then.
#[derive(Debug, Error)]
pub(crate) enum SidecarError {
    #[error("cannot read {} ({source})", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{} is not a sidecar of version 1", path.display())]
    Header { path: PathBuf },
    #[error("section {section:?} of {} does not match its checksum", path.display())]
    Section { path: PathBuf, section: Section },
    #[error("{} describes the log from {first} to {end}", path.display())]
    Range { path: PathBuf, first: i64, end: i64 },
}

/// What a sidecar says about its segment as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Log offset of the segment's first byte.
    pub(crate) first: i64,
    /// Log offset behind its last byte.
    pub(crate) end: i64,
    /// Position where its records end.
    pub(crate) tail: u64,
    /// Number of records.
    pub(crate) records: u64,
    /// Store time of the first record, -1 without records.
    pub(crate) first_time: i64,
    /// Store time of the last record, -1 without records.
    pub(crate) last_time: i64,
}

/// Where a section lies and what it sums up to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) at: u64,
    pub(crate) bytes: u64,
    pub(crate) crc: u32,
}

/// The header, decoded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) facts: Facts,
    pub(crate) sections: [Extent; SECTIONS],
}

impl Header {
    /// The header's bytes.
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        let facts = &self.facts;
        let numbers = [
            facts.first.to_le_bytes(),
            facts.end.to_le_bytes(),
            facts.tail.to_le_bytes(),
            facts.records.to_le_bytes(),
            facts.first_time.to_le_bytes(),
            facts.last_time.to_le_bytes(),
        ];
        for (at, number) in (16..).step_by(8).zip(numbers) {
            out[at..at + 8].copy_from_slice(&number);
        }
        for (index, extent) in self.sections.iter().enumerate() {
            let at = 64 + index * 16;
            out[at..at + 8].copy_from_slice(&extent.at.to_le_bytes());
            out[at + 8..at + 16].copy_from_slice(&extent.bytes.to_le_bytes());
            let at = 208 + index * 4;
            out[at..at + 4].copy_from_slice(&extent.crc.to_le_bytes());
        }
        let crc = crc32c::crc32c(&out);
        out[12..16].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a header, `None` when it is none, of another version or damaged.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut copy: [u8; HEADER_BYTES] = bytes.get(..HEADER_BYTES)?.try_into().ok()?;
        let stored = read_u32(&copy, 12);
        copy[12..16].fill(0);
        let good = copy[..8] == MAGIC && read_u32(&copy, 8) == VERSION && crc32c::crc32c(&copy) == stored;
        if !good {
            return None;
        }
        let facts = Facts {
            first: read_i64(&copy, 16),
            end: read_i64(&copy, 24),
            tail: read_u64(&copy, 32),
            records: read_u64(&copy, 40),
            first_time: read_i64(&copy, 48),
            last_time: read_i64(&copy, 56),
        };
        let mut sections = [Extent::default(); SECTIONS];
        for (index, extent) in sections.iter_mut().enumerate() {
            *extent = Extent {
                at: read_u64(&copy, 64 + index * 16),
                bytes: read_u64(&copy, 72 + index * 16),
                crc: read_u32(&copy, 208 + index * 4),
            };
        }
        Some(Self { facts, sections })
    }
}

/// The little-endian number at `at`; bytes that are missing count as 0, so a damaged index finds
/// nothing instead of ending the process.
pub(crate) fn read_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(read(bytes, at))
}

pub(crate) fn read_u64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(read(bytes, at))
}

pub(crate) fn read_i64(bytes: &[u8], at: usize) -> i64 {
    i64::from_le_bytes(read(bytes, at))
}

fn read<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..at + N).and_then(|part| part.try_into().ok()).unwrap_or([0; N])
}

#[cfg(test)]
mod golden;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_survive_and_changes_are_seen() {
        let facts = Facts { first: 1, end: 2, tail: 3, records: 4, first_time: -1, last_time: 6 };
        let mut header = Header { facts, ..Header::default() };
        header.sections[8] = Extent { at: 7, bytes: 8, crc: 9 };
        let bytes = header.encode();
        assert_eq!(Header::decode(&bytes), Some(header));
        for at in 0..HEADER_BYTES {
            let mut other = bytes;
            other[at] ^= 0x10;
            assert_eq!(Header::decode(&other), None, "a flip at {at} passed");
        }
        assert_eq!(Header::decode(&bytes[..511]), None);
    }
}
