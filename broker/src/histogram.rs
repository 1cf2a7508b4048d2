//! Counts of values by their size, cheap enough for every request.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counts by upper bounds, which who counts gives each time: they are constants.
#[derive(Debug)]
pub(crate) struct Histogram<const N: usize> {
    buckets: [AtomicU64; N],
    beyond: AtomicU64,
    sum: AtomicU64,
}

/// What a histogram holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counted<const N: usize> {
    /// Counts up to and including each bound.
    pub cumulative: [u64; N],
    pub count: u64,
    pub sum: u64,
}

impl<const N: usize> Default for Histogram<N> {
    fn default() -> Self {
        Self { buckets: std::array::from_fn(|_| AtomicU64::new(0)), beyond: AtomicU64::new(0), sum: AtomicU64::new(0) }
    }
}

impl<const N: usize> Histogram<N> {
    /// Counts a value `times`; the bounds are in its unit.
    pub(crate) fn observe(&self, bounds: &[u64; N], value: u64, times: u64) {
        let at = bounds.iter().position(|bound| value <= *bound);
        let bucket = at.and_then(|at| self.buckets.get(at)).unwrap_or(&self.beyond);
        bucket.fetch_add(times, Relaxed);
        self.sum.fetch_add(value.saturating_mul(times), Relaxed);
    }

    /// The counts now.
    pub(crate) fn counted(&self) -> Counted<N> {
        let mut count = 0;
        let cumulative = std::array::from_fn(|at| {
            count += self.buckets.get(at).map_or(0, |bucket| bucket.load(Relaxed));
            count
        });
        Counted { cumulative, count: count + self.beyond.load(Relaxed), sum: self.sum.load(Relaxed) }
    }
}

impl<const N: usize> Counted<N> {
    /// What is left without what `other` counted of the same values.
    pub(crate) fn without(&self, other: &Self) -> Self {
        let less = |all: u64, some: u64| all.saturating_sub(some);
        Self {
            cumulative: std::array::from_fn(|at| {
                let some = other.cumulative.get(at).copied().unwrap_or(0);
                self.cumulative.get(at).map_or(0, |all| less(*all, some))
            }),
            count: less(self.count, other.count),
            sum: less(self.sum, other.sum),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_fall_into_their_buckets() {
        let (histogram, delayed) = (Histogram::default(), Histogram::default());
        for value in [1, 1_000, 1_001, 9_000] {
            histogram.observe(&[1_000, 5_000], value, 2);
        }
        delayed.observe(&[1_000, 5_000], 1_000, 1);
        let all = histogram.counted();
        assert_eq!(all, Counted { cumulative: [4, 6], count: 8, sum: 22_004 });
        assert_eq!(all.without(&delayed.counted()), Counted { cumulative: [3, 5], count: 7, sum: 21_004 });
    }
}
