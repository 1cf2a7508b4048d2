//! The two clocks of the store: one for stamps, one for intervals.
//!
//! Owns the seam through which tests own time. It does not decide what a jump of the clock means.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Where the store reads time.
pub trait Clock: Send + Sync {
    /// Milliseconds since 1970, for stamps; it may jump.
    fn now_ms(&self) -> i64;
    /// Time since some fixed moment, for intervals; it never goes back.
    fn monotonic(&self) -> Duration;
}

/// The machine's clocks.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// Starts the monotonic clock at zero.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "this is the clock that others are given")]
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the clock that others are given")]
    fn now_ms(&self) -> i64 {
        // A clock before 1970 counts as 1970: the log clamps stamps to its last one anyway.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}
