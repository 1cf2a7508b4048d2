//! When the bench sends, counts and stops.
//!
//! Owns the instants: of sends at a fixed rate, of the warm-up's end, and of each window's. Time is given to
//! it in nanoseconds since the run's begin, so that tests own it.

use std::time::Duration;

use clap::Args;

/// How long a run takes, and how it is cut into windows.
#[derive(Debug, Clone, Args)]
pub(crate) struct TimeArgs {
    /// Seconds that are measured, behind the warm-up
    #[arg(long, value_name = "S", default_value = "10", value_parser = parse_seconds)]
    pub(super) duration: Duration,
    /// Seconds before anything is measured
    #[arg(long, value_name = "S", default_value = "2", value_parser = parse_seconds)]
    pub(super) warm_up: Duration,
    /// Windows that the duration is cut into; medians and ranges are of windows
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(super) windows: u32,
    /// Ends after so many messages instead of a duration; there is one window, and no warm-up
    #[arg(long, value_name = "N", conflicts_with_all = ["duration", "warm_up", "windows"], value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) messages: Option<u64>,
}

/// Reads seconds such as 0.5.
pub(super) fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| (0.0..=1e6).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| String::from("a number of seconds up to 1000000, such as 0.5"))
}

/// Instants at which sends are due: one after the other at a fixed rate.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    per_second: f64,
}

impl Rate {
    /// `per_second` sends in a second.
    pub(super) fn new(per_second: f64) -> Self {
        Self { per_second }
    }

    /// When send `number` is due. It does not depend on when others were sent.
    pub(super) fn due_ns(self, number: u64) -> u64 {
        (number as f64 * 1e9 / self.per_second) as u64
    }
}

/// What a moment of a run means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nothing is counted yet.
    WarmUp,
    /// Messages are counted and measured.
    Counting,
    /// Nothing is sent any more.
    Over,
}

/// Tells a run's stages, and where each window ends.
#[derive(Debug)]
pub(super) struct Schedule {
    warm_up_ns: u64,
    window_ns: u64,
    windows: u32,
    messages_max: Option<u64>,
    ended: u32,
    stage: Stage,
}

impl Schedule {
    /// The stages of a run.
    pub(super) fn new(args: &TimeArgs) -> Self {
        let ns = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let (warm_up, windows) =
            if args.messages.is_some() { (Duration::ZERO, 1) } else { (args.warm_up, args.windows) };
        Self {
            warm_up_ns: ns(warm_up),
            window_ns: (ns(args.duration) / u64::from(windows)).max(1),
            windows,
            messages_max: args.messages,
            ended: 0,
            stage: Stage::WarmUp,
        }
    }

    /// Where the run is.
    pub(super) fn stage(&self) -> Stage {
        self.stage
    }

    /// Takes the time and the messages that are done; true when a window begins or ends here.
    pub(super) fn turn(&mut self, now_ns: u64, done: u64) -> bool {
        let before = (self.stage, self.ended);
        if self.stage == Stage::WarmUp && now_ns >= self.warm_up_ns {
            // Windows count from the moment that was noticed, so that each has its full length.
            self.warm_up_ns = now_ns;
            self.stage = Stage::Counting;
        }
        if self.stage == Stage::Counting {
            match self.messages_max {
                Some(messages) if done >= messages => self.stage = Stage::Over,
                Some(_) => {}
                None => {
                    let due = (now_ns - self.warm_up_ns) / self.window_ns;
                    self.ended = self.windows.min(u32::try_from(due).unwrap_or(u32::MAX));
                    if self.ended == self.windows {
                        self.stage = Stage::Over;
                    }
                }
            }
        }
        before != (self.stage, self.ended)
    }

    /// Whether another message may be sent when `sent` were.
    pub(super) fn may_send(&self, sent: u64) -> bool {
        self.stage != Stage::Over && self.messages_max.is_none_or(|messages| sent < messages)
    }

    /// How much of the run is over, from 0 to 1.
    pub(super) fn share(&self, now_ns: u64, done: u64) -> f64 {
        let share = match self.messages_max {
            Some(messages) => done as f64 / messages.max(1) as f64,
            None => now_ns as f64 / (self.warm_up_ns + self.window_ns * u64::from(self.windows)) as f64,
        };
        share.min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(messages: Option<u64>) -> TimeArgs {
        TimeArgs { duration: Duration::from_secs(6), warm_up: Duration::from_secs(1), windows: 3, messages }
    }

    #[test]
    fn sends_are_due_at_a_fixed_rate_without_drift() {
        let rate = Rate::new(3.0);
        assert_eq!((rate.due_ns(0), rate.due_ns(1), rate.due_ns(2)), (0, 333_333_333, 666_666_666));
        assert_eq!(rate.due_ns(3_000_000_000), 1_000_000_000_000_000_000);
    }

    #[test]
    fn a_run_warms_up_and_is_cut_into_windows() {
        let mut schedule = Schedule::new(&args(None));
        let s = 1_000_000_000;
        assert!(!schedule.turn(s - 1, 5) && schedule.stage() == Stage::WarmUp && schedule.may_send(9));
        assert!(schedule.turn(s + 3, 6) && schedule.stage() == Stage::Counting);
        assert!(!schedule.turn(3 * s, 7), "the window began when the warm-up's end was noticed");
        assert!(schedule.turn(3 * s + 3, 8) && schedule.stage() == Stage::Counting);
        assert!(schedule.turn(5 * s + 3, 9));
        assert!(schedule.turn(7 * s + 3, 9) && schedule.stage() == Stage::Over && !schedule.may_send(0));
        assert!(!schedule.turn(9 * s, 10));
    }

    #[test]
    fn a_run_may_end_by_its_messages() {
        let mut schedule = Schedule::new(&args(Some(10)));
        assert!(schedule.turn(0, 0) && schedule.stage() == Stage::Counting);
        assert!(schedule.may_send(9) && !schedule.may_send(10));
        assert!(!schedule.turn(1 << 60, 9));
        assert!(schedule.turn(1 << 60, 10) && schedule.stage() == Stage::Over);
    }

    #[test]
    fn seconds_may_have_a_fraction() {
        assert_eq!(parse_seconds("0.25"), Ok(Duration::from_millis(250)));
        assert!(parse_seconds("-1").is_err() && parse_seconds("x").is_err() && parse_seconds("nan").is_err());
    }
}
