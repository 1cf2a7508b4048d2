//! Merging: small neighbouring rolls become a larger one that covers the same part of the log.
//!
//! Owns which rolls are merged ([`plan`]), and how their rows come together ([`Rolls`], a source as the log is one). What
//! readers are answered is the same before and after; what is gone for them is left out.

use std::ops::Range;
use std::sync::Arc;

use crate::limits::{MERGE_ROLLS_MAX, MERGE_ROLLS_MIN, OBJECT_BYTES_MIN};
use crate::manifest::{Manifest, Roll};

mod cursor;
mod rolls;

pub use rolls::Rolls;

/// A merge for its size alone makes a roll that is larger than each of its parts by one part of so many at least, so that
/// a roll that misses the size by little is not written again for each small one that comes.
const GROWTH_MIN: u64 = 4;

/// The other merges make a roll that has so many times the messages of each of its parts, so that a message is written
/// again as often as a logarithm says and not more.
const GROWTH: u64 = 4;

/// The oldest rolls that are worth merging, by their places in the manifest; `None` when none are.
///
/// Neighbours whose objects are small are merged when together they make an object that is large enough, or when there
/// are many of them and none makes up most of the messages. A roll that covers more than `time_max_ms` is not made: what
/// is rolled together expires together, so an eighth of the time that messages are kept is a good bound.
#[must_use]
pub fn plan(manifest: &Manifest, time_max_ms: Option<u64>) -> Option<Range<usize>> {
    let rolls = manifest.rolls();
    (0..rolls.len()).find_map(|first| plan_from(rolls, first, time_max_ms))
}

fn plan_from(rolls: &[Arc<Roll>], first: usize, time_max_ms: Option<u64>) -> Option<Range<usize>> {
    let begin = rolls.get(first)?;
    // Offsets that were lost before a roll without messages are told by its begin, which a merge that begins there
    // would not say again; one that begins before it does.
    if begin.objects.is_empty() && first > 0 {
        return None;
    }
    let (mut sum, mut found) = (Sum::default(), None);
    for (count, roll) in (1..=MERGE_ROLLS_MAX).zip(&rolls[first..]) {
        let time = u64::try_from(roll.last_time.saturating_sub(begin.first_time)).unwrap_or(0);
        if bytes_of(roll) >= OBJECT_BYTES_MIN || time_max_ms.is_some_and(|max| time > max) {
            break;
        }
        sum.add(roll);
        if count > 1 && sum.is_large() {
            return Some(first..first + count);
        }
        if count >= MERGE_ROLLS_MIN && sum.is_even() {
            found = Some(first..first + count);
        }
    }
    found
}

/// Bytes of a roll's messages.
fn bytes_of(roll: &Roll) -> u64 {
    roll.objects.iter().map(|object| object.bytes).fold(0, u64::saturating_add)
}

/// Rolls together.
#[derive(Debug, Default)]
struct Sum {
    bytes: u64,
    bytes_max: u64,
    rows: u64,
    rows_max: u64,
}

impl Sum {
    fn add(&mut self, roll: &Roll) {
        let bytes = bytes_of(roll);
        let rows = roll.objects.iter().map(|object| object.rows).fold(0, u64::saturating_add);
        (self.bytes, self.rows) = (self.bytes.saturating_add(bytes), self.rows.saturating_add(rows));
        (self.bytes_max, self.rows_max) = (self.bytes_max.max(bytes), self.rows_max.max(rows));
    }

    /// Whether they make an object that is never merged again.
    const fn is_large(&self) -> bool {
        self.bytes >= OBJECT_BYTES_MIN && self.bytes - self.bytes_max >= self.bytes_max / GROWTH_MIN
    }

    /// Whether all of them have far more messages than each. Not bytes: those of small objects shrink when they are
    /// merged, and messages do not.
    const fn is_even(&self) -> bool {
        self.rows_max.saturating_mul(GROWTH) <= self.rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{ObjectEntry, ObjectRef, Place};

    /// Rolls of so many bytes each, one row for each 256.
    fn rolls(sizes: &[u64]) -> Vec<Arc<Roll>> {
        let place = |offset| Place { topic: "t".into(), queue_id: 0, offset };
        let roll = |(at, bytes): (u64, &u64)| {
            let entry = ObjectEntry {
                name: format!("{at}").into(),
                bytes: *bytes,
                rows: bytes / 256,
                crc32c: 0,
                first: place(0),
                last: place(1),
                first_time: 0,
                last_time: 0,
            };
            let (first_time, last_time) =
                (i64::try_from(at).unwrap() * 1_000, i64::try_from(at).unwrap() * 1_000 + 999);
            let index = ObjectRef { name: "i".into(), bytes: 1, crc32c: 0 };
            let objects = if *bytes == 0 { [].into() } else { [entry].into() };
            Arc::new(Roll { from: at, to: at + 1, epoch: 1, first_time, last_time, index, front: 1, objects })
        };
        (0..).zip(sizes).map(roll).collect()
    }

    fn plan_of(sizes: &[u64], time_max_ms: Option<u64>) -> Option<Range<usize>> {
        let rolls = rolls(sizes);
        (0..rolls.len()).find_map(|first| plan_from(&rolls, first, time_max_ms))
    }

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn many_small_ones_or_enough_bytes_are_merged() {
        assert_eq!(plan_of(&[MIB; 7], None), None);
        assert_eq!(plan_of(&[MIB; 8], None), Some(0..8));
        assert_eq!(plan_of(&[100 * MIB, MIB, 30 * MIB, 40 * MIB, 30 * MIB], None), Some(1..4));
        assert_eq!(plan_of(&[100 * MIB, MIB, 100 * MIB, MIB], None), None);
        assert_eq!(plan_of(&[63 * MIB, 2 * MIB], None), None, "a little more is no reason to write much again");
        assert_eq!(plan_of(&[8 * MIB, 1, 1, 1, 1, 1, 1, 1], None), None);
        assert_eq!(plan_of(&[0; 9], None), Some(0..9));
        assert_eq!(plan_of(&[100 * MIB, 0, 0, 0, 0, 0, 0, 0, 0], None), None, "the gap before them stays told");
        assert_eq!(plan_of(&[MIB; 12], Some(3_000)), None, "three of them at most may be one");
        assert_eq!(plan_of(&[MIB; 12], Some(8_000)), Some(0..8));
    }

    /// Small rolls that come for ever: none stays small, and no message is written often.
    #[test]
    fn each_message_is_written_a_few_times() {
        let (mut sizes, mut written, mut came, mut merges, mut seed) = (Vec::new(), 0, 0, 0_u64, 1_u64);
        for _ in 0..20_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let size = 16 * 1024 + (seed >> 40) % (512 * 1024);
            came += size;
            sizes.push(size);
            // Only the end can have changed since the last look.
            let from = sizes.len().saturating_sub(64);
            while let Some(range) = plan_of(&sizes[from.min(sizes.len())..], None) {
                let range = range.start + from..range.end + from;
                let total: u64 = sizes[range.clone()].iter().sum();
                assert!(total < 3 * OBJECT_BYTES_MIN, "{total} bytes at once");
                written += total;
                merges += 1;
                sizes.splice(range, [total]);
            }
        }
        let small = sizes.iter().filter(|size| **size < OBJECT_BYTES_MIN).count();
        assert!(small < 40, "{small} of {} stayed small", sizes.len());
        assert!(written < came * 4, "{} times", written / came);
        assert!(merges < 20_000 / 6, "{merges} merges of 20,000 rolls");
    }
}
