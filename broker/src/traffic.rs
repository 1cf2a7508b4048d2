//! Counts of messages and bytes, with enough history for rates.

use std::collections::VecDeque;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

use crate::histogram::{Counted, Histogram};

/// Time between samples, ms. RocketMQ samples statistics every 10 s too.
pub(crate) const SAMPLE_MS: i64 = 10_000;

/// How far apart samples are kept, ms, and how many: for a minute, ten minutes, an hour and a day. A topic that is busy
/// all day costs 1.5 KiB.
const TIERS: [(i64, usize); 4] = [(SAMPLE_MS, 7), (60_000, 11), (600_000, 7), (3_600_000, 25)];

/// Upper bounds of the sizes of messages, bytes, as Apache RocketMQ's `rocketmq_message_size` has them.
pub(crate) const SIZE_BOUNDS_BYTES: [u64; 6] = [1 << 10, 4 << 10, 512 << 10, 1 << 20, 2 << 20, 4 << 20];

/// Sizes of messages, bytes.
pub(crate) type Sizes = Histogram<{ SIZE_BOUNDS_BYTES.len() }>;

/// One stream of messages: what came into a topic, or left it for a group.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    messages: AtomicU64,
    bytes: AtomicU64,
    /// Of what came in; most streams of many topics never flow.
    sizes: OnceLock<Box<Sizes>>,
    /// Touched every [`SAMPLE_MS`] and by statistics requests only. Most streams of many topics never flow.
    samples: Mutex<Option<Box<Samples>>>,
}

/// For each of [`TIERS`], oldest first.
type Samples = [VecDeque<Sample>; TIERS.len()];

#[derive(Debug, Clone, Copy, Default)]
struct Sample {
    at_ms: i64,
    messages: u64,
    bytes: u64,
}

/// What happened within a window.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Window {
    pub messages: u64,
    pub bytes: u64,
    pub seconds: f64,
}

impl Window {
    /// Messages a second; 0 for an empty window.
    #[expect(clippy::cast_precision_loss, reason = "rates need no more than 52 bits")]
    pub(crate) fn rate(&self) -> f64 {
        if self.seconds > 0.0 { self.messages as f64 / self.seconds } else { 0.0 }
    }
}

impl Traffic {
    /// Counts messages and their bytes.
    pub(crate) fn add(&self, messages: u64, bytes: u64) {
        self.messages.fetch_add(messages, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
    }

    /// Counts a message that came in, and its size.
    pub(crate) fn add_sized(&self, bytes: u64) {
        self.add(1, bytes);
        self.sizes.get_or_init(Box::default).observe(&SIZE_BOUNDS_BYTES, bytes, 1);
    }

    /// The sizes of what came in; `None` when nothing did.
    pub(crate) fn sizes(&self) -> Option<Counted<{ SIZE_BOUNDS_BYTES.len() }>> {
        self.sizes.get().map(|sizes| sizes.counted())
    }

    /// Messages since the start.
    pub(crate) fn messages(&self) -> u64 {
        self.messages.load(Relaxed)
    }

    /// Bytes since the start.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// Remembers where the counts stand, if they moved: an idle stream costs nothing.
    pub(crate) fn sample(&self, elapsed_ms: i64) {
        let now = Sample { at_ms: elapsed_ms, messages: self.messages(), bytes: self.bytes() };
        let mut samples = self.samples.lock();
        let last = samples.as_ref().and_then(|tiers| tiers[0].back()).copied().unwrap_or_default();
        if (last.messages, last.bytes) == (now.messages, now.bytes) {
            return;
        }
        for ((period_ms, most), tier) in TIERS.iter().zip(samples.get_or_insert_default().iter_mut()) {
            if tier.is_empty() {
                // What came before the first sample came in the time that it ends.
                tier.push_back(Sample { at_ms: elapsed_ms - SAMPLE_MS, ..Sample::default() });
            }
            let is_due = tier.back().is_none_or(|last| elapsed_ms - last.at_ms >= *period_ms);
            // The first tier has every sample, also one that came a little early.
            if is_due || *period_ms == SAMPLE_MS {
                tier.push_back(now);
            }
            if tier.len() > *most {
                tier.pop_front();
            }
        }
    }

    /// What happened in the last `seconds`, or since the oldest sample when that is younger.
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of a day are far below 52 bits")]
    pub(crate) fn window(&self, elapsed_ms: i64, seconds: i64) -> Window {
        let samples = self.samples.lock();
        let long_enough = |tier: &usize| TIERS[*tier].0 * (TIERS[*tier].1 as i64 - 1) >= seconds * 1_000;
        let tier = (0..TIERS.len()).find(long_enough).unwrap_or(TIERS.len() - 1);
        let none = VecDeque::new();
        let samples = samples.as_ref().map_or(&none, |tiers| &tiers[tier]);
        let from = elapsed_ms - seconds * 1_000;
        // Between two samples the counts are those of the earlier one, to within one sampling period.
        let before = samples.iter().rev().find(|sample| sample.at_ms <= from);
        let fresh = Sample { at_ms: elapsed_ms - SAMPLE_MS, ..Sample::default() };
        let start = before.or(samples.front()).unwrap_or(&fresh);
        Window {
            messages: self.messages().saturating_sub(start.messages),
            bytes: self.bytes().saturating_sub(start.bytes),
            seconds: (elapsed_ms - start.at_ms.max(from)).max(0) as f64 / 1_000.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_counts_all_that_came_in_it() {
        let traffic = Traffic::default();
        traffic.add(5, 50);
        assert_eq!(traffic.window(20_000, 60), Window { messages: 5, bytes: 50, seconds: 10.0 });
        traffic.sample(20_000);
        traffic.add(10, 100);
        traffic.sample(30_000);
        traffic.sample(40_000);
        traffic.add(1, 10);
        let kept = |traffic: &Traffic| traffic.samples.lock().as_ref().map_or(0, |tiers| tiers[0].len());
        assert_eq!(kept(&traffic), 3, "a stream that did not move is not sampled");
        assert_eq!(traffic.window(40_000, 60), Window { messages: 16, bytes: 160, seconds: 30.0 });
        assert_eq!(traffic.window(40_000, 10), Window { messages: 1, bytes: 10, seconds: 10.0 });
        assert_eq!(traffic.window(120_000, 10).messages, 1);
        let hour_ms = 3_600_000;
        traffic.sample(2 * hour_ms);
        traffic.add(2, 20);
        assert_eq!(traffic.window(3 * hour_ms, 86_400).messages, 18, "a day is counted, not only the last hour");
    }

    #[test]
    fn a_busy_day_is_told_by_few_samples() {
        let traffic = Traffic::default();
        let mut now_ms = 0;
        for _ in 0..2 * 8_640 {
            traffic.add(10, 100);
            now_ms += SAMPLE_MS;
            traffic.sample(now_ms);
        }
        // One message a second. A window begins at the last sample before it, which is a period ago at most.
        for (seconds, period_ms) in [(10, 10_000), (60, 10_000), (600, 60_000), (3_600, 600_000), (86_400, 3_600_000)] {
            let counted = traffic.window(now_ms, seconds).messages as i64;
            assert!((seconds..=seconds + period_ms / 1_000).contains(&counted), "{counted} in {seconds} s");
        }
        let kept = traffic.samples.lock().as_ref().map_or(0, |tiers| tiers.iter().map(VecDeque::len).sum());
        assert_eq!(kept, TIERS.iter().map(|(_, most)| most).sum::<usize>());
    }
}
