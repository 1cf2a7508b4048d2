//! The one timer of a connection.
//!
//! Owns the sleep behind the coarse clock of [`crate::deadline`]; what the time means is decided there.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

use crate::deadline::{Deadlines, Look, Patience, Progress};
use crate::limits::LINGER_MAX;

#[derive(Debug)]
pub(crate) struct Alarm {
    sleep: Pin<Box<Sleep>>,
    set_at: Instant,
    /// The alarm was set for a quiet connection, far beyond the next tick.
    is_far: bool,
    /// Whom the sleep wakes; it is told once, not whenever the task runs.
    told: Option<Waker>,
    deadlines: Deadlines,
    patience: Patience,
}

impl Alarm {
    pub(crate) fn new(patience: Patience) -> Self {
        Self {
            sleep: Box::pin(sleep(patience.tick())),
            set_at: Instant::now(),
            is_far: false,
            told: None,
            deadlines: Deadlines::new(patience),
            patience,
        }
    }

    /// Ready when the time has come; it then must be set or asked for a look.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.told.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) && !self.sleep.is_elapsed() {
            return Poll::Pending;
        }
        let polled = self.sleep.as_mut().poll(cx);
        self.told = polled.is_pending().then(|| cx.waker().clone());
        polled
    }

    /// Something moved: a quiet connection returns to the short tick. Costs nothing for a busy one.
    pub(crate) fn moved(&mut self) {
        if self.is_far {
            self.set(self.patience.tick());
        }
    }

    /// The connection ends; its last bytes may leave until `drain` from now.
    pub(crate) fn begin_drain(&mut self) {
        self.set(self.patience.drain);
    }

    /// All is said; the peer may take it until then.
    pub(crate) fn begin_linger(&mut self) {
        self.set(LINGER_MAX);
    }

    /// Judges what the connection has done since the alarm was set, and sets it anew.
    pub(crate) fn look(&mut self, progress: Progress) -> Look {
        let look = self.deadlines.look(self.set_at.elapsed(), progress);
        match look {
            Look::Near(after) => self.set(after),
            Look::Quiet(after) => {
                self.set(after);
                self.is_far = true;
            }
            Look::Over(_) => {}
        }
        look
    }

    fn set(&mut self, after: Duration) {
        self.set_at = Instant::now();
        self.is_far = false;
        self.told = None;
        self.sleep.as_mut().reset(self.set_at + after);
    }
}
