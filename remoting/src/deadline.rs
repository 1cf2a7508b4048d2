//! When a connection has waited long enough.
//!
//! Owns the coarse clock of one connection: a tick every few seconds while something happens, one long wait
//! when nothing does. No frame resets a timer and no read asks for the time; deadlines are therefore late
//! by one tick at most, and never early.

use std::time::Duration;

use crate::closing::CloseReason;
use crate::limits::WRITE_PROGRESS_BYTES_MIN;

/// How long a connection may take for what. `None` is forever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Patience {
    pub(crate) idle: Option<Duration>,
    pub(crate) first_frame: Option<Duration>,
    pub(crate) half_frame: Duration,
    pub(crate) write_stall: Duration,
    pub(crate) drain: Duration,
}

/// The longest tick: deadlines of seconds need no more.
const TICK_MAX: Duration = Duration::from_millis(2_500);
/// How long nothing is waited for when there is no idle deadline.
const FAR: Duration = Duration::from_secs(24 * 60 * 60);

impl Patience {
    /// The time between two looks: a quarter of the shortest patience.
    pub(crate) fn tick(&self) -> Duration {
        let bounds = [self.idle, self.first_frame, Some(self.half_frame), Some(self.write_stall)];
        let shortest = bounds.into_iter().flatten().min().unwrap_or(TICK_MAX);
        (shortest / 4).clamp(Duration::from_millis(1), TICK_MAX)
    }
}

/// What a connection has done since it began, and what it is in the middle of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) frames_in: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    /// A frame has begun and not ended.
    pub(crate) partial: bool,
    /// Bytes wait for the peer to read.
    pub(crate) unsent: bool,
}

/// What follows from a look at the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// Look again after this time; something is going on.
    Near(Duration),
    /// Nothing is going on: buffers may go, look again after this time or after the next activity.
    Quiet(Duration),
    /// Patience is over.
    Over(CloseReason),
}

#[derive(Debug)]
pub(crate) struct Deadlines {
    patience: Patience,
    seen: Progress,
    /// How long nothing moved.
    quiet: Duration,
    /// How long the same frame has been incomplete.
    half: Duration,
    /// How long too little has left while something waited.
    stalled: Duration,
    /// Bytes that had left when `stalled` was last zero.
    stalled_from: u64,
}

impl Deadlines {
    pub(crate) fn new(patience: Patience) -> Self {
        let zero = Duration::ZERO;
        Self { patience, seen: Progress::default(), quiet: zero, half: zero, stalled: zero, stalled_from: 0 }
    }

    /// Looks at a connection `elapsed` after the last look.
    pub(crate) fn look(&mut self, elapsed: Duration, now: Progress) -> Look {
        let seen = std::mem::replace(&mut self.seen, now);
        let moved = (seen.bytes_in, seen.bytes_out) != (now.bytes_in, now.bytes_out);
        self.quiet = if moved { Duration::ZERO } else { self.quiet + elapsed };

        // The first look that finds a partial frame starts its count: it began after the look before.
        let same_frame = seen.partial && now.partial && seen.frames_in == now.frames_in;
        self.half = if same_frame { self.half + elapsed } else { Duration::ZERO };

        let left = now.bytes_out - self.stalled_from;
        let stalls = seen.unsent && now.unsent && left < WRITE_PROGRESS_BYTES_MIN as u64;
        self.stalled = if stalls { self.stalled + elapsed } else { Duration::ZERO };
        if !stalls {
            self.stalled_from = now.bytes_out;
        }
        self.verdict(now, moved)
    }

    fn verdict(&self, now: Progress, moved: bool) -> Look {
        let Patience { idle, first_frame, half_frame, write_stall, .. } = self.patience;
        if self.half >= half_frame {
            return Look::Over(CloseReason::HalfFrame);
        }
        if self.stalled >= write_stall {
            return Look::Over(CloseReason::SlowReader);
        }
        if now.bytes_in == 0 && first_frame.is_some_and(|first_frame| self.quiet >= first_frame) {
            return Look::Over(CloseReason::FirstFrameMissing);
        }
        if idle.is_some_and(|idle| self.quiet >= idle) {
            return Look::Over(CloseReason::Idle);
        }
        let waits = now.partial || now.unsent || (now.bytes_in == 0 && first_frame.is_some());
        if moved || waits {
            return Look::Near(self.patience.tick());
        }
        Look::Quiet(idle.map_or(FAR, |idle| idle - self.quiet))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(2_500);

    fn deadlines() -> Deadlines {
        Deadlines::new(Patience {
            idle: Some(Duration::from_secs(120)),
            first_frame: Some(Duration::from_secs(10)),
            half_frame: Duration::from_secs(30),
            write_stall: Duration::from_secs(30),
            drain: Duration::from_secs(5),
        })
    }

    /// Looks every tick until it is over; gives the reason and the time, in ticks.
    fn over(deadlines: &mut Deadlines, mut progress: impl FnMut(u64) -> Progress) -> (CloseReason, u64) {
        for tick in 1..1_000 {
            if let Look::Over(reason) = deadlines.look(TICK, progress(tick)) {
                return (reason, tick);
            }
        }
        panic!("never over");
    }

    #[test]
    fn a_connection_that_says_nothing_ends_after_the_first_frame_deadline() {
        let mut deadlines = deadlines();
        assert_eq!(deadlines.patience.tick(), TICK);
        assert_eq!(over(&mut deadlines, |_| Progress::default()), (CloseReason::FirstFrameMissing, 4));
    }

    #[test]
    fn a_quiet_connection_sleeps_until_its_idle_deadline() {
        let mut deadlines = deadlines();
        let spoken = Progress { frames_in: 1, bytes_in: 100, bytes_out: 100, ..Progress::default() };
        assert_eq!(deadlines.look(TICK, spoken), Look::Near(TICK));
        let rest = Duration::from_secs(120) - TICK;
        assert_eq!(deadlines.look(TICK, spoken), Look::Quiet(rest));
        assert_eq!(deadlines.look(rest, spoken), Look::Over(CloseReason::Idle));
    }

    #[test]
    fn one_byte_keeps_an_idle_connection() {
        let mut deadlines = deadlines();
        let spoken = |bytes_in| Progress { frames_in: 1, bytes_in, ..Progress::default() };
        deadlines.look(TICK, spoken(100));
        deadlines.look(Duration::from_secs(119), spoken(100));
        assert_eq!(deadlines.look(TICK, spoken(101)), Look::Near(TICK));
        assert!(matches!(deadlines.look(TICK, spoken(101)), Look::Quiet(_)));
    }

    #[test]
    fn a_frame_that_trickles_ends_although_bytes_come() {
        let trickle = |tick| Progress { frames_in: 5, bytes_in: 1_000 + tick, partial: true, ..Progress::default() };
        assert_eq!(over(&mut deadlines(), trickle), (CloseReason::HalfFrame, 13));
    }

    #[test]
    fn a_busy_stream_is_always_in_the_middle_of_some_frame() {
        let mut deadlines = deadlines();
        for tick in 1..200 {
            let busy = Progress { frames_in: tick, bytes_in: tick * 100, partial: true, ..Progress::default() };
            assert_eq!(deadlines.look(TICK, busy), Look::Near(TICK));
        }
    }

    #[test]
    fn a_reader_below_the_pace_ends_and_one_above_stays() {
        let reads = |per_tick: u64| {
            move |tick: u64| Progress {
                frames_in: 1,
                bytes_in: 10,
                bytes_out: tick * per_tick,
                unsent: true,
                ..Progress::default()
            }
        };
        assert_eq!(over(&mut deadlines(), reads(10)), (CloseReason::SlowReader, 13));
        let mut patient = deadlines();
        for tick in 1..200 {
            assert_eq!(patient.look(TICK, reads(10 * 1024)(tick)), Look::Near(TICK), "tick {tick}");
        }
    }

    #[test]
    fn without_an_idle_deadline_a_quiet_connection_stays() {
        let patience = Patience { idle: None, first_frame: None, ..deadlines().patience };
        let mut deadlines = Deadlines::new(patience);
        for _ in 0..10 {
            assert_eq!(deadlines.look(FAR, Progress::default()), Look::Quiet(FAR));
        }
    }
}
