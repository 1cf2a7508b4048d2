//! How many lines a second a peer can make this process write into its log.
//!
//! Owns a window of a second and the counts in it; what a line says is its writer's.

use parking_lot::Mutex;
use tokio::time::{Duration, Instant};

/// Admits at most so many events a second and counts the rest. Its lock is held for a comparison of times.
#[derive(Debug)]
pub struct Pace {
    per_second_max: u32,
    window: Mutex<Window>,
}

#[derive(Debug)]
struct Window {
    since: Instant,
    admitted: u32,
    withheld: u32,
}

impl Pace {
    /// A pace of at most `per_second_max` events.
    #[must_use]
    pub fn new(per_second_max: u32) -> Self {
        Self { per_second_max, window: Mutex::new(Window { since: Instant::now(), admitted: 0, withheld: 0 }) }
    }

    /// Whether an event may be told now, and how many were not told since the last one that was.
    pub fn admit(&self) -> Option<u32> {
        let now = Instant::now();
        let mut window = self.window.lock();
        if now.duration_since(window.since) >= Duration::from_secs(1) {
            window.since = now;
            window.admitted = 0;
        }
        if window.admitted == self.per_second_max {
            window.withheld = window.withheld.saturating_add(1);
            return None;
        }
        window.admitted += 1;
        Some(std::mem::take(&mut window.withheld))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_paced_and_the_withheld_are_counted() {
        let pace = Pace::new(2);
        assert_eq!((pace.admit(), pace.admit()), (Some(0), Some(0)));
        assert_eq!((pace.admit(), pace.admit()), (None, None));
        pace.window.lock().since = Instant::now() - Duration::from_secs(1);
        assert_eq!((pace.admit(), pace.admit()), (Some(2), Some(0)));
    }
}
