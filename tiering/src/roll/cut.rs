//! Where one object ends and the next begins.
//!
//! Owns the rule: objects are as large as memory allows, so that a roll is few of them, and none is smaller than
//! [`OBJECT_BYTES_MIN`] where there is that much. What is still to come is taken to compress as what came.

use crate::limits::{OBJECT_BYTES_GOAL, OBJECT_BYTES_MIN};

/// How far a roll is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Progress {
    /// Bytes of records in all.
    pub(super) total: u64,
    /// Bytes of records that were written.
    pub(super) done: u64,
    /// Bytes of objects that they became.
    pub(super) stored: u64,
    /// Bytes of the object under way.
    pub(super) open: u64,
}

impl Progress {
    /// Whether the object under way ends here, where a row group does.
    pub(super) fn cuts(&self) -> bool {
        let left = self.total.saturating_sub(self.done);
        let to_come = if self.done == 0 { left } else { scale(left, self.stored, self.done) };
        let all = self.open + to_come;
        if all <= OBJECT_BYTES_GOAL {
            return false;
        }
        // Equal shares, so that the last one is not the small one.
        let share = all / all.div_ceil(OBJECT_BYTES_GOAL);
        self.open >= share.max(OBJECT_BYTES_MIN)
    }
}

/// `bytes * stored / done` without overflow.
fn scale(bytes: u64, stored: u64, done: u64) -> u64 {
    let scaled = u128::from(bytes) * u128::from(stored) / u128::from(done.max(1));
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::GROUP_BYTES_MAX;

    /// The objects of a roll whose bytes become `percent` of themselves.
    fn objects(total: u64, percent: u64) -> Vec<u64> {
        let group = GROUP_BYTES_MAX as u64;
        let (mut out, mut open, mut done, mut stored) = (Vec::new(), 0, 0, 0);
        while done < total {
            let bytes = group.min(total - done);
            done += bytes;
            stored += bytes * percent / 100;
            open += bytes * percent / 100;
            if bytes == group && (Progress { total, done, stored, open }).cuts() {
                out.push(std::mem::take(&mut open));
            }
        }
        out.extend((open > 0).then_some(open));
        out
    }

    #[test]
    fn none_is_small_where_there_is_much_and_none_is_large() {
        for total in (1..80).map(|n| n * 53 * 1024 * 1024 + 12_345) {
            for percent in [4, 20, 33, 50, 80, 100, 103] {
                let objects = objects(total, percent);
                let all: u64 = objects.iter().sum();
                let min = objects.iter().min().copied().unwrap_or(0);
                let max = objects.iter().max().copied().unwrap_or(0);
                assert!(min >= OBJECT_BYTES_MIN.min(all), "{total} at {percent} %: {objects:?}");
                assert!(max <= OBJECT_BYTES_GOAL + GROUP_BYTES_MAX as u64 * 2, "{total} at {percent} %: {objects:?}");
            }
        }
    }

    #[test]
    fn a_gib_that_does_not_compress_is_six_objects_at_most() {
        assert!(objects(1 << 30, 101).len() <= 6, "{:?}", objects(1 << 30, 101));
        assert!(objects(1 << 30, 33).len() <= 3, "{:?}", objects(1 << 30, 33));
    }
}
