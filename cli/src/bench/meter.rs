//! What a window of time cost: CPU of the broker and of the bench, and what else ran on the machine.
//!
//! Owns reading `/proc`. A process that is not on this machine is not measured.

use std::fs;

use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use tokio::time::Instant;

use crate::exit::{Exit, Failure, Outcome};

/// Ticks of `/proc/PID/stat` and `/proc/stat` in a second; Linux tells user space no other number.
const TICKS: f64 = 100.0;
/// Fields of `/proc/PID/stat` behind the name: user and system ticks.
const USER_TICKS_AT: usize = 11;

/// A reading of all counters.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    pub(super) at: Instant,
    broker_user_s: f64,
    broker_system_s: f64,
    own_s: f64,
    /// All that the broker's core did.
    core_s: f64,
    steal_s: f64,
    written_bytes: u64,
    pub(super) messages: u64,
}

/// Reads the counters.
#[derive(Debug)]
pub(super) struct Meter {
    broker: Option<u32>,
    /// The broker's one core, when it is bound to one.
    core: Option<usize>,
}

/// What a window of time cost.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Window {
    pub(super) seconds: f64,
    pub(super) messages: u64,
    pub(super) messages_per_second: f64,
    /// User and system time of the broker, us a message.
    pub(super) broker_cpu_us: Option<f64>,
    pub(super) broker_user_us: Option<f64>,
    /// The bench's own, us a message.
    pub(super) own_cpu_us: f64,
    /// Share of one core that the bench took.
    pub(super) own_share: f64,
    /// Bytes that the broker caused to be written, a message.
    pub(super) written_bytes: Option<f64>,
    /// Share of the broker's core that others took; known when the broker is bound to one core.
    pub(super) others_share: Option<f64>,
    /// Share of one core that the hypervisor took from this machine.
    pub(super) steal_share: f64,
}

/// What the broker holds now.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Holds {
    /// Anonymous memory, KiB: what it has of its own, without mapped files.
    pub(super) anonymous_kib: u64,
    pub(super) descriptors: usize,
}

impl Meter {
    /// Watches the process `broker`.
    pub(super) fn of(broker: Option<u32>) -> Outcome<Self> {
        let Some(id) = broker else { return Ok(Self { broker: None, core: None }) };
        let Ok(status) = fs::read_to_string(format!("/proc/{id}/status")) else {
            let message = format!("--broker-pid {id}: there is no such process on this machine");
            return Err(Failure::new(Exit::Usage, message));
        };
        // A list such as 0-3 is no number.
        let core = named(&status, "Cpus_allowed_list:").and_then(|text| text.parse().ok());
        Ok(Self { broker, core })
    }

    /// Reads all counters; `messages` were done by now.
    pub(super) fn sample(&self, messages: u64) -> Sample {
        let (broker_user_s, broker_system_s) = self.broker.and_then(process_cpu).unwrap_or_default();
        let cores = fs::read_to_string("/proc/stat").unwrap_or_default();
        let own = clock_gettime(ClockId::ProcessCPUTime);
        Sample {
            at: Instant::now(),
            broker_user_s,
            broker_system_s,
            own_s: own.tv_sec as f64 + own.tv_nsec as f64 * 1e-9,
            core_s: self.core.and_then(|core| core_ticks(&cores, &format!("cpu{core}"))).map_or(0.0, busy),
            steal_s: core_ticks(&cores, "cpu").map_or(0.0, |ticks| ticks[7] / TICKS),
            written_bytes: self.broker.and_then(written).unwrap_or(0),
            messages,
        }
    }

    /// What lies between two readings.
    pub(super) fn window(&self, from: &Sample, to: &Sample) -> Window {
        let seconds = (to.at - from.at).as_secs_f64().max(1e-9);
        let messages = to.messages - from.messages;
        let each = |total: f64| total / messages.max(1) as f64;
        let user = to.broker_user_s - from.broker_user_s;
        let broker = user + to.broker_system_s - from.broker_system_s;
        let own = to.own_s - from.own_s;
        let known = self.broker.map(|_| ());
        Window {
            seconds,
            messages,
            messages_per_second: messages as f64 / seconds,
            broker_cpu_us: known.map(|()| each(broker) * 1e6),
            broker_user_us: known.map(|()| each(user) * 1e6),
            own_cpu_us: each(own) * 1e6,
            own_share: own / seconds,
            written_bytes: known.map(|()| each((to.written_bytes - from.written_bytes) as f64)),
            others_share: self.core.map(|_| ((to.core_s - from.core_s - broker) / seconds).max(0.0)),
            steal_share: (to.steal_s - from.steal_s) / seconds,
        }
    }

    /// What the broker holds now, if it is watched.
    pub(super) fn holds(&self) -> Option<Holds> {
        let id = self.broker?;
        let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
        let anonymous = named(&status, "RssAnon:")?.split_whitespace().next()?.parse().ok()?;
        let descriptors = fs::read_dir(format!("/proc/{id}/fd")).map_or(0, Iterator::count);
        Some(Holds { anonymous_kib: anonymous, descriptors })
    }
}

/// The value of a line that begins with `name`.
fn named<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

/// User and system seconds of a process.
fn process_cpu(id: u32) -> Option<(f64, f64)> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name in parentheses may hold blanks and parentheses.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let seconds = |at: usize| fields.get(at)?.parse::<f64>().ok().map(|ticks| ticks / TICKS);
    Some((seconds(USER_TICKS_AT)?, seconds(USER_TICKS_AT + 1)?))
}

fn written(id: u32) -> Option<u64> {
    let io = fs::read_to_string(format!("/proc/{id}/io")).ok()?;
    named(&io, "write_bytes:")?.parse().ok()
}

/// The first eight counters of a core's line: user, nice, system, idle, iowait, irq, softirq, steal.
fn core_ticks(stat: &str, core: &str) -> Option<[f64; 8]> {
    let line = stat.lines().find(|line| line.split_whitespace().next() == Some(core))?;
    let mut ticks = [0.0; 8];
    for (tick, text) in ticks.iter_mut().zip(line.split_whitespace().skip(1)) {
        *tick = text.parse().ok()?;
    }
    Some(ticks)
}

/// Seconds in which a core was neither idle nor taken away.
fn busy(ticks: [f64; 8]) -> f64 {
    (ticks[0] + ticks[1] + ticks[2] + ticks[5] + ticks[6]) / TICKS
}

/// The smallest, the middle and the largest of some figures.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Spread {
    pub(super) min: f64,
    pub(super) median: f64,
    pub(super) max: f64,
}

impl Spread {
    /// Of figures in any order; `None` of none.
    pub(super) fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = figures.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median =
            if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) };
        Some(Self { min, median, max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_tables_are_read() {
        let stat = "cpu  10 0 20 500 3 1 2 7 0 0\ncpu0 5 1 10 250 1 1 2 3 0 0\ncpu1 0 0 0 0 0 0 0 0 0 0\n";
        assert_eq!(core_ticks(stat, "cpu").map(|ticks| ticks[7]), Some(7.0));
        assert_eq!(core_ticks(stat, "cpu0").map(busy), Some(0.19));
        assert_eq!(core_ticks(stat, "cpu2"), None);
    }

    #[test]
    fn a_process_is_measured_and_a_missing_one_is_named() {
        let meter = Meter::of(Some(std::process::id())).unwrap();
        let from = meter.sample(0);
        let mut spin = 0_u64;
        while process_cpu(std::process::id()).unwrap().0 < from.broker_user_s + 0.03 {
            spin = spin.wrapping_add(1);
        }
        let window = meter.window(&from, &meter.sample(10));
        assert!(window.broker_cpu_us.unwrap() >= 2_900.0, "{window:?} {spin}");
        assert!(window.own_cpu_us > 1_000.0 && window.messages == 10);
        assert!(meter.holds().unwrap().descriptors > 0);
        assert_eq!(Meter::of(Some(u32::MAX)).unwrap_err().exit, Exit::Usage);
        assert!(Meter::of(None).unwrap().window(&from, &from).broker_cpu_us.is_none());
    }

    #[test]
    fn the_middle_of_an_even_number_lies_between_two() {
        assert_eq!(Spread::of([4.0, 1.0, 3.0, 2.0]), Some(Spread { min: 1.0, median: 2.5, max: 4.0 }));
        assert_eq!(Spread::of([]), None);
    }
}
