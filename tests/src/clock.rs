//! The machine's clock, for stamps that are compared with a broker's.
//!
//! Owns the one place in the proving ground that reads the wall clock. Intervals are measured with
//! tokio's instants.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970.
#[must_use]
pub fn now_ms() -> i64 {
    #[expect(
        clippy::disallowed_methods,
        reason = "the tests stand outside the program and compare its stamps with the machine's"
    )]
    let now = SystemTime::now();
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
