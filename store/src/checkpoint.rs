//! The time that retention trusts, across restarts.
//!
//! Owns the file `checkpoint` and the rule by which trusted time moves: only as fast as the monotonic
//! clock, whatever the wall clock does.

use std::io;
use std::path::Path;
use std::time::Duration;

use crate::disk::{Disk, replace};
use crate::sidecar::{read_i64, read_u32};

const MAGIC: [u8; 8] = *b"STRATACP";
const VERSION: u32 = 1;

/// Wall time as far as it was confirmed by time that really passed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TrustedTime {
    /// Milliseconds since 1970 at `since`.
    base_ms: i64,
    /// Reading of the monotonic clock.
    since: Duration,
}

impl TrustedTime {
    /// Starts at `base_ms` now.
    pub(crate) const fn new(base_ms: i64, now: Duration) -> Self {
        Self { base_ms, since: now }
    }

    /// The trusted time: the base and what the monotonic clock counted since.
    pub(crate) fn at(&self, now: Duration) -> i64 {
        let passed = now.saturating_sub(self.since).as_millis();
        self.base_ms.saturating_add(i64::try_from(passed).unwrap_or(i64::MAX))
    }
}

/// What the checkpoint file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    pub(crate) trusted_ms: i64,
    pub(crate) last_store_time: i64,
}

impl Checkpoint {
    /// Reads the file, `None` when it is missing or damaged: it only delays deletion then.
    pub(crate) fn load(path: &Path) -> Option<Self> {
        let bytes = std::fs::read(path).ok()?;
        let good = bytes.len() == 32
            && bytes[..8] == MAGIC
            && read_u32(&bytes, 8) == VERSION
            && crc32c::crc32c(&bytes[16..]) == read_u32(&bytes, 12);
        good.then(|| Self { trusted_ms: read_i64(&bytes, 16), last_store_time: read_i64(&bytes, 24) })
    }

    /// Replaces the file, durably.
    pub(crate) fn save(&self, disk: &dyn Disk, path: &Path) -> io::Result<()> {
        let mut body = [0; 16];
        body[..8].copy_from_slice(&self.trusted_ms.to_le_bytes());
        body[8..].copy_from_slice(&self.last_store_time.to_le_bytes());
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
        bytes.extend_from_slice(&body);
        replace(disk, path, &bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    #[test]
    fn trusted_time_moves_with_the_monotonic_clock() {
        let trusted = TrustedTime::new(1_000, Duration::from_secs(5));
        assert_eq!(trusted.at(Duration::from_secs(5)), 1_000);
        assert_eq!(trusted.at(Duration::from_secs(7)), 3_000);
        assert_eq!(trusted.at(Duration::from_secs(1)), 1_000);
    }

    #[test]
    fn the_file_survives_and_damage_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint");
        assert_eq!(Checkpoint::load(&path), None);
        let checkpoint = Checkpoint { trusted_ms: 5, last_store_time: -1 };
        checkpoint.save(&RealDisk, &path).unwrap();
        assert_eq!(Checkpoint::load(&path), Some(checkpoint));
        let bytes = std::fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 4;
            std::fs::write(&path, other).unwrap();
            assert_eq!(Checkpoint::load(&path), None, "a flip at {at} passed");
        }
    }
}
