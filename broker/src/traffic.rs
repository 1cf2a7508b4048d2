//! Counts of messages and bytes, with enough history for rates.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

/// Time between samples, ms. RocketMQ samples statistics every 10 s too.
pub(crate) const SAMPLE_MS: i64 = 10_000;

/// Samples kept: an hour.
const SAMPLES_MAX: usize = 361;

/// Samples kept of one in an hour: a day, for longer windows.
const HOURS_MAX: usize = 25;

/// An hour, ms.
const HOUR_MS: i64 = 3_600_000;

/// One stream of messages: what came into a topic, or left it for a group.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    messages: AtomicU64,
    bytes: AtomicU64,
    /// Touched every [`SAMPLE_MS`] and by statistics requests only.
    samples: Mutex<Samples>,
}

#[derive(Debug, Default)]
struct Samples {
    recent: VecDeque<Sample>,
    hourly: VecDeque<Sample>,
}

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
        let last = samples.recent.back().copied().unwrap_or_default();
        if (last.messages, last.bytes) == (now.messages, now.bytes) {
            return;
        }
        if samples.recent.is_empty() {
            // What came before the first sample came in the time that it ends.
            let before = Sample { at_ms: elapsed_ms - SAMPLE_MS, ..Sample::default() };
            samples.recent.push_back(before);
            samples.hourly.push_back(before);
        }
        if samples.hourly.back().is_some_and(|last| elapsed_ms - last.at_ms >= HOUR_MS) {
            samples.hourly.push_back(now);
        }
        samples.recent.push_back(now);
        if samples.recent.len() > SAMPLES_MAX {
            samples.recent.pop_front();
        }
        if samples.hourly.len() > HOURS_MAX {
            samples.hourly.pop_front();
        }
    }

    /// What happened in the last `seconds`, or since the oldest sample when that is younger.
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of a day are far below 52 bits")]
    pub(crate) fn window(&self, elapsed_ms: i64, seconds: i64) -> Window {
        let samples = self.samples.lock();
        let samples = if seconds * 1_000 > HOUR_MS { &samples.hourly } else { &samples.recent };
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
        assert_eq!(traffic.samples.lock().recent.len(), 3, "a stream that did not move is not sampled");
        assert_eq!(traffic.window(40_000, 60), Window { messages: 16, bytes: 160, seconds: 30.0 });
        assert_eq!(traffic.window(40_000, 10), Window { messages: 1, bytes: 10, seconds: 10.0 });
        assert_eq!(traffic.window(120_000, 10).messages, 1);
        traffic.sample(2 * HOUR_MS);
        traffic.add(2, 20);
        assert_eq!(traffic.window(3 * HOUR_MS, 86_400).messages, 18, "a day is counted, not only the last hour");
    }
}
