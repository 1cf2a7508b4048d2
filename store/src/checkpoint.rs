//! The time that retention trusts, across restarts.
//!
//! Owns the file `checkpoint` and the rule by which trusted time moves: towards the wall clock, at a rate
//! that the monotonic clock bounds.

use std::io;
use std::path::Path;
use std::time::Duration;

use parking_lot::Mutex;

use crate::disk::{Disk, replace};
use crate::sidecar::{read_i64, read_u32};

const MAGIC: [u8; 8] = *b"STRATACP";
const VERSION: u32 = 1;

/// How much faster than real time trusted time may follow the wall clock. Time during which the broker
/// did not run is made up within as long again, and a clock that jumped ahead shortens what is kept to a
/// half at most.
const CATCH_UP_FACTOR: i64 = 2;

/// 2020-01-01 in ms since 1970. A clock that says less was never set: no log is that old.
const CLOCK_SET_MS: i64 = 1_577_836_800_000;

/// Wall time as far as time that really passed confirms it.
#[derive(Debug)]
pub(crate) struct TrustedTime(Mutex<Reading>);

#[derive(Debug, Clone, Copy)]
struct Reading {
    /// Milliseconds since 1970 at `since`.
    ms: i64,
    /// Reading of the monotonic clock.
    since: Duration,
    /// The trusted time when this process began, or when its clock was set for the first time.
    begun_ms: i64,
}

impl TrustedTime {
    /// Starts at `ms` now.
    pub(crate) const fn new(ms: i64, now: Duration) -> Self {
        Self(Mutex::new(Reading { ms, since: now, begun_ms: ms }))
    }

    /// The trusted time: the wall clock's, but never back and never more than [`CATCH_UP_FACTOR`] times
    /// as far as the monotonic clock went. A clock that is set for the first time is believed at once.
    pub(crate) fn at(&self, now: Duration, wall_ms: i64) -> i64 {
        let mut reading = self.0.lock();
        if reading.ms < CLOCK_SET_MS && wall_ms >= CLOCK_SET_MS {
            *reading = Reading { ms: wall_ms, since: now, begun_ms: wall_ms };
            return wall_ms;
        }
        let passed = i64::try_from(now.saturating_sub(reading.since).as_millis()).unwrap_or(i64::MAX);
        let fastest = reading.ms.saturating_add(passed.saturating_mul(CATCH_UP_FACTOR));
        reading.ms = wall_ms.clamp(reading.ms, fastest);
        reading.since = reading.since.max(now);
        reading.ms
    }

    /// The time from which on a record that is stamped `stamp_ms` is kept. A stamp of a clock that was
    /// not set says nothing; such a record counts as new when this process began to trust its clock.
    pub(crate) fn kept_from(&self, stamp_ms: i64) -> i64 {
        if stamp_ms < CLOCK_SET_MS { stamp_ms.max(self.0.lock().begun_ms) } else { stamp_ms }
    }
}

/// What the checkpoint file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    pub(crate) trusted_ms: i64,
}

impl Checkpoint {
    /// Reads the file, `None` when it is missing or damaged: it only delays deletion then.
    pub(crate) fn load(path: &Path) -> Option<Self> {
        let bytes = std::fs::read(path).ok()?;
        let good = bytes.len() == 24
            && bytes[..8] == MAGIC
            && read_u32(&bytes, 8) == VERSION
            && crc32c::crc32c(&bytes[16..]) == read_u32(&bytes, 12);
        good.then(|| Self { trusted_ms: read_i64(&bytes, 16) })
    }

    /// Replaces the file, durably.
    pub(crate) fn save(&self, disk: &dyn Disk, path: &Path) -> io::Result<()> {
        let body = self.trusted_ms.to_le_bytes();
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
    fn trusted_time_follows_the_wall_clock_at_a_bounded_rate() {
        let start = CLOCK_SET_MS + 1_000;
        let trusted = TrustedTime::new(start, Duration::from_secs(5));
        let at = |seconds, wall: i64| trusted.at(Duration::from_secs(seconds), start + wall) - start;
        assert_eq!(at(5, 0), 0);
        assert_eq!(at(7, 2_000), 2_000, "both clocks agree");
        assert_eq!(at(7, 900_000), 2_000, "a jump alone moves nothing");
        assert_eq!(at(8, 900_000), 4_000, "it is followed at twice the speed");
        assert_eq!(at(9, -5_000), 4_000, "it never goes back");
        assert_eq!(at(1, 900_000), 4_000);
        assert_eq!(at(10, 4_500), 4_500, "never ahead of the wall clock");
    }

    #[test]
    fn a_clock_that_is_set_for_the_first_time_is_believed() {
        let trusted = TrustedTime::new(7_000, Duration::ZERO);
        assert_eq!(trusted.at(Duration::from_secs(3), 10_000), 10_000);
        assert_eq!(trusted.kept_from(9_000), 9_000);
        let now = CLOCK_SET_MS + 5;
        assert_eq!(trusted.at(Duration::from_secs(4), now), now);
        assert_eq!(trusted.kept_from(9_000), now, "its age is not known");
        assert_eq!(trusted.kept_from(now + 1), now + 1);
        assert_eq!(trusted.at(Duration::from_secs(4), now * 2), now);
    }

    #[test]
    fn the_file_survives_and_damage_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint");
        assert_eq!(Checkpoint::load(&path), None);
        let checkpoint = Checkpoint { trusted_ms: 5 };
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
