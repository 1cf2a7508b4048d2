//! A circuit breaker: when a store is down, callers learn it at once and the store is left alone.
//!
//! Closed: everything passes. Open: nothing does, until a pause is over. Half open: one call finds out.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::{BucketError, Patience};

/// Whether calls pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// All do.
    Closed,
    /// One does, to find out.
    HalfOpen,
    /// None does.
    Open,
}

#[derive(Debug)]
enum State {
    Closed { failures: u32 },
    Open { down: Down, until: Instant },
    HalfOpen { down: Down },
}

#[derive(Debug, Clone)]
struct Down {
    since: Instant,
    last: String,
    pause: Duration,
}

impl Down {
    fn error(&self, now: Instant) -> BucketError {
        BucketError::Down { since: now.saturating_duration_since(self.since), last: self.last.clone() }
    }

    fn open(self, now: Instant) -> State {
        State::Open { until: now + self.pause, down: self }
    }
}

#[derive(Debug)]
pub(super) struct Breaker {
    state: Mutex<State>,
    failures_max: u32,
    pauses: (Duration, Duration),
}

/// The right to make one attempt. It is given back by a verdict, or by dropping it when the caller went away.
#[derive(Debug)]
pub(super) struct Pass<'a> {
    breaker: &'a Breaker,
    is_probe: bool,
}

impl Breaker {
    pub(super) fn new(patience: &Patience) -> Self {
        Self {
            state: Mutex::new(State::Closed { failures: 0 }),
            failures_max: patience.breaker_failures,
            pauses: (patience.breaker_pause, patience.breaker_pause_max),
        }
    }

    pub(super) fn state(&self) -> BreakerState {
        match &*self.state.lock() {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// Lets an attempt through, or says since when none is.
    pub(super) fn admit(&self) -> Result<Pass<'_>, BucketError> {
        let now = Instant::now();
        let mut state = self.state.lock();
        let down = match &*state {
            State::Closed { .. } => return Ok(Pass { breaker: self, is_probe: false }),
            State::HalfOpen { down } => return Err(down.error(now)),
            State::Open { down, until } if now < *until => return Err(down.error(now)),
            State::Open { down, .. } => down.clone(),
        };
        *state = State::HalfOpen { down };
        Ok(Pass { breaker: self, is_probe: true })
    }
}

impl Pass<'_> {
    /// The store answered, whatever it said.
    pub(super) fn succeeded(mut self) {
        *self.breaker.state.lock() = State::Closed { failures: 0 };
        self.is_probe = false;
    }

    /// The store did not answer, or not as a store does. Answers whether it counts as down from now on.
    pub(super) fn failed(mut self, what: &str) -> bool {
        let now = Instant::now();
        let mut state = self.breaker.state.lock();
        let (first, longest) = self.breaker.pauses;
        let next = match &*state {
            State::Closed { failures } if failures + 1 < self.breaker.failures_max => {
                State::Closed { failures: failures + 1 }
            }
            State::Closed { .. } => Down { since: now, last: what.to_owned(), pause: first }.open(now),
            State::HalfOpen { down } if self.is_probe => {
                Down { since: down.since, last: what.to_owned(), pause: (down.pause * 2).min(longest) }.open(now)
            }
            // An attempt from before the store was given up says nothing new.
            State::HalfOpen { .. } | State::Open { .. } => return false,
        };
        self.is_probe = false;
        *state = next;
        matches!(*state, State::Open { .. })
    }
}

impl Drop for Pass<'_> {
    /// A probe whose caller went away found nothing out: the next call may try at once.
    fn drop(&mut self) {
        if !self.is_probe {
            return;
        }
        let mut state = self.breaker.state.lock();
        if let State::HalfOpen { down } = &*state {
            *state = State::Open { down: down.clone(), until: Instant::now() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker() -> Breaker {
        Breaker::new(&Patience { breaker_failures: 3, ..Patience::default() })
    }

    #[tokio::test(start_paused = true)]
    async fn it_opens_after_failures_in_a_row_and_closes_by_one_probe() {
        let breaker = breaker();
        for _ in 0..2 {
            assert!(!breaker.admit().unwrap().failed("x"));
        }
        breaker.admit().unwrap().succeeded();
        for _ in 0..2 {
            assert!(!breaker.admit().unwrap().failed("x"));
        }
        assert!(breaker.admit().unwrap().failed("last"));
        assert!(matches!(breaker.admit().unwrap_err(), BucketError::Down { last, .. } if last == "last"));
        tokio::time::advance(Duration::from_secs(2)).await;
        let probe = breaker.admit().unwrap();
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        assert!(breaker.admit().is_err(), "one probe at a time");
        assert!(probe.failed("again"));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(breaker.admit().is_err(), "the pause doubles");
        tokio::time::advance(Duration::from_secs(1)).await;
        drop(breaker.admit().unwrap());
        breaker.admit().unwrap().succeeded();
        assert_eq!(breaker.state(), BreakerState::Closed);
    }
}
