//! The course of one run: its clock, its windows, and its progress on standard error.
//!
//! Owns the readings at the windows' edges. What is done in between is the command's matter.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

use super::meter::{Meter, Sample, Window};
use super::schedule::{Schedule, Stage, TimeArgs};
use crate::limits::BENCH_PROGRESS_INTERVAL;

/// Steps of the progress bar.
const STEPS: u64 = 1_000;

/// A run under way.
pub(super) struct Course {
    began: Instant,
    schedule: Schedule,
    meter: Meter,
    edges: Vec<Sample>,
    bar: ProgressBar,
    /// Standard error is a terminal.
    is_watched: bool,
    drawn_ns: u64,
}

impl Course {
    /// Begins now.
    pub(super) fn begin(args: &TimeArgs, meter: Meter) -> Self {
        let bar = ProgressBar::new(STEPS);
        // The template is a constant; a wrong one would only make the bar plainer.
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {percent} %, {msg}") {
            bar.set_style(style);
        }
        let (schedule, is_watched) = (Schedule::new(args), !bar.is_hidden());
        Self { began: Instant::now(), schedule, meter, edges: Vec::new(), bar, is_watched, drawn_ns: 0 }
    }

    /// Nanoseconds since the begin.
    pub(super) fn now_ns(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Takes the time and the messages that are done, and tells the stage.
    pub(super) fn turn(&mut self, now_ns: u64, done: u64) -> Stage {
        if self.schedule.turn(now_ns, done) {
            self.edges.push(self.meter.sample(done));
        }
        let interval = u64::try_from(BENCH_PROGRESS_INTERVAL.as_nanos()).unwrap_or(u64::MAX);
        if self.is_watched && now_ns - self.drawn_ns >= interval {
            self.drawn_ns = now_ns;
            let seconds = Duration::from_nanos(now_ns).as_secs_f64();
            self.bar.set_position((self.schedule.share(now_ns, done) * STEPS as f64) as u64);
            let warms_up = if self.stage() == Stage::WarmUp { ", warming up" } else { "" };
            self.bar.set_message(format!("{done} messages, {:.0} a second{warms_up}", done as f64 / seconds));
        }
        self.stage()
    }

    /// Where the run is.
    pub(super) fn stage(&self) -> Stage {
        self.schedule.stage()
    }

    /// Whether another message may be sent when `sent` were.
    pub(super) fn may_send(&self, sent: u64) -> bool {
        self.schedule.may_send(sent)
    }

    /// Ends the run where it is: what was read up to now is its last window.
    pub(super) fn end(&mut self, done: u64) {
        self.bar.finish_and_clear();
        if self.stage() != Stage::Over {
            self.edges.push(self.meter.sample(done));
        }
    }

    /// The windows, in their order.
    pub(super) fn windows(&self) -> Vec<Window> {
        self.edges.windows(2).map(|pair| self.meter.window(&pair[0], &pair[1])).collect()
    }

    /// What counts.
    pub(super) fn meter(&self) -> &Meter {
        &self.meter
    }
}
