//! Histograms of request times by request and response code, cheap enough for every request.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use strata_protocol::code::request_name;

use crate::histogram::Histogram;

/// Upper bounds of the buckets, ms, as Apache RocketMQ's `rocketmq_rpc_latency` has them.
pub(crate) const BOUNDS_MS: [u64; 9] = [1, 3, 5, 7, 10, 100, 1_000, 2_000, 3_000];

/// Pairs of codes remembered: those that occur are a few dozen.
const PAIRS_MAX: usize = 512;

/// What requests with codes that RocketMQ does not have are counted as, together, so that invented codes
/// do not fill the table.
pub(crate) const UNKNOWN_REQUEST: i32 = -1;

/// The same in the unit that is counted, us.
const BOUNDS_US: [u64; BOUNDS_MS.len()] = {
    let mut bounds = BOUNDS_MS;
    let mut at = 0;
    while at < bounds.len() {
        bounds[at] *= 1_000;
        at += 1;
    }
    bounds
};

/// Times of one kind of request, us.
pub(crate) type Times = Histogram<{ BOUNDS_MS.len() }>;

/// What a histogram is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Pair {
    /// The request's code, or [`UNKNOWN_REQUEST`].
    pub request: i32,
    /// The answer's code.
    pub response: i32,
    /// The request was held until there was something to answer.
    pub held: bool,
}

/// Hashes a pair's small numbers with a multiplication each. Every request is counted, and what is in the table
/// comes from this program, so that nobody can choose numbers that collide.
#[derive(Debug, Default, Clone, Copy)]
struct PairHasher(u64);

impl PairHasher {
    fn add(&mut self, number: u64) {
        self.0 = (self.0 ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(26);
    }
}

impl Hasher for PairHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.add(u64::from(*byte)));
    }

    fn write_i32(&mut self, number: i32) {
        self.add(u64::from(number.cast_unsigned()));
    }
}

type Table = HashMap<Pair, Arc<Times>, BuildHasherDefault<PairHasher>>;

/// Histograms by request code and response code.
#[derive(Default)]
pub(crate) struct Latencies {
    /// Read without a lock; a new pair replaces the table.
    table: ArcSwap<Table>,
}

impl Latencies {
    /// Counts one request.
    pub(crate) fn observe(&self, pair: Pair, took: Duration) {
        let table = self.table.load();
        if let Some(histogram) = table.get(&pair) {
            return count(histogram, took);
        }
        let request = if request_name(pair.request).is_some() { pair.request } else { UNKNOWN_REQUEST };
        let pair = Pair { request, ..pair };
        if let Some(histogram) = table.get(&pair) {
            return count(histogram, took);
        }
        if table.len() >= PAIRS_MAX {
            return;
        }
        self.table.rcu(|table| {
            let mut next = Table::clone(table);
            if next.len() < PAIRS_MAX {
                next.entry(pair).or_default();
            }
            next
        });
        if let Some(histogram) = self.table.load().get(&pair) {
            count(histogram, took);
        }
    }

    /// All histograms.
    pub(crate) fn all(&self) -> Vec<(Pair, Arc<Times>)> {
        self.table.load().iter().map(|(pair, histogram)| (*pair, Arc::clone(histogram))).collect()
    }
}

fn count(times: &Times, took: Duration) {
    times.observe(&BOUNDS_US, u64::try_from(took.as_micros()).unwrap_or(u64::MAX), 1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_fall_into_their_buckets() {
        let latencies = Latencies::default();
        let pair = |request, response| Pair { request, response, held: false };
        for us in [1, 1_000, 1_001, 4_000_000] {
            latencies.observe(pair(10, 0), Duration::from_micros(us));
        }
        let all = latencies.all();
        let counted = all[0].1.counted();
        assert_eq!((counted.cumulative[0], counted.cumulative[1], counted.cumulative[8], counted.count), (2, 3, 3, 4));
        (20_000..30_000).for_each(|code| latencies.observe(pair(code, 3), Duration::ZERO));
        assert_eq!(latencies.all().len(), 2, "invented codes are counted together");
    }
}
