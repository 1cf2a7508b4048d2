//! What a run found: the table for people and the document for programs.
//!
//! Owns the form of both, and the exit code that follows.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::course::Course;
use super::meter::{Holds, Spread, Window};
use super::offsets::Faults;
use super::target::code_name;
use crate::args::OutputArgs;
use crate::exit::{Exit, Failure, Outcome};
use crate::limits::{BENCH_LATENCY_NS_MAX, BENCH_OWN_CORES_MAX};
use crate::output::{number, show, table, text};

/// Decimal digits that a latency is exact to.
const DIGITS: u8 = 3;

/// A distribution of nanoseconds, exact to a thousandth. It takes a few hundred KiB however much it holds.
pub(super) struct Latencies(Option<Histogram<u64>>);

impl Latencies {
    /// Without a value.
    pub(super) fn new() -> Self {
        // The library refuses only bounds that contradict each other; these are constants.
        Self(Histogram::new_with_bounds(1, BENCH_LATENCY_NS_MAX, DIGITS).ok())
    }

    /// Adds a value; one beyond the bound counts as the bound.
    pub(super) fn add(&mut self, ns: u64) {
        if let Some(histogram) = &mut self.0 {
            histogram.saturating_record(ns);
        }
    }

    /// How many values there are.
    #[cfg(test)]
    pub(super) fn count(&self) -> u64 {
        self.0.as_ref().map_or(0, Histogram::len)
    }

    /// Which part of the values lies above `bound`, from 0 to 1.
    pub(super) fn share_above(&self, bound: Duration) -> f64 {
        let bound = u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX);
        let Some(histogram) = self.0.as_ref().filter(|histogram| !histogram.is_empty()) else { return 0.0 };
        1.0 - histogram.count_between(0, bound) as f64 / histogram.len() as f64
    }

    /// Its points; `None` without a value.
    pub(super) fn percentiles(&self) -> Option<Percentiles> {
        let histogram = self.0.as_ref().filter(|histogram| !histogram.is_empty())?;
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        Some(Percentiles {
            count: histogram.len(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: histogram.max() as f64 / 1e3,
        })
    }
}

/// Points of a distribution, us.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Percentiles {
    pub(super) count: u64,
    pub(super) p50: f64,
    pub(super) p90: f64,
    pub(super) p99: f64,
    #[serde(rename = "p99.9")]
    pub(super) p999: f64,
    pub(super) max: f64,
}

/// Figures of the windows.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Figures {
    pub(super) messages_per_second: Option<Spread>,
    pub(super) broker_cpu_us: Option<Spread>,
    pub(super) broker_user_us: Option<Spread>,
    pub(super) own_cpu_us: Option<Spread>,
    pub(super) own_share: Option<Spread>,
    pub(super) written_bytes: Option<Spread>,
    pub(super) others_share: Option<Spread>,
    pub(super) steal_share: Option<Spread>,
}

impl Figures {
    fn of(windows: &[Window]) -> Self {
        let spread = |figure: fn(&Window) -> Option<f64>| Spread::of(windows.iter().filter_map(figure));
        Self {
            messages_per_second: spread(|window| Some(window.messages_per_second)),
            broker_cpu_us: spread(|window| window.broker_cpu_us),
            broker_user_us: spread(|window| window.broker_user_us),
            own_cpu_us: spread(|window| Some(window.own_cpu_us)),
            own_share: spread(|window| Some(window.own_share)),
            written_bytes: spread(|window| window.written_bytes),
            others_share: spread(|window| window.others_share),
            steal_share: spread(|window| Some(window.steal_share)),
        }
    }
}

/// What a run found.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    pub(super) command: &'static str,
    pub(super) server: String,
    /// Messages of all windows.
    pub(super) messages: u64,
    pub(super) figures: Figures,
    /// Times by what they are of, us.
    pub(super) latency_us: BTreeMap<&'static str, Percentiles>,
    /// Answers by their codes.
    pub(super) answers: BTreeMap<String, u64>,
    /// Other counts.
    pub(super) counts: BTreeMap<&'static str, u64>,
    pub(super) faults: Faults,
    /// Why the figures say more of the bench than of the broker.
    pub(super) bottleneck: Option<String>,
    /// What the broker holds at the end.
    pub(super) broker_holds: Option<Holds>,
    pub(super) windows: Vec<Window>,
}

impl Report {
    /// The report of a course that is over.
    pub(super) fn new(command: &'static str, server: impl std::fmt::Display, course: &Course) -> Self {
        let windows = course.windows();
        Self {
            command,
            server: server.to_string(),
            messages: windows.iter().map(|window| window.messages).sum(),
            figures: Figures::of(&windows),
            latency_us: BTreeMap::new(),
            answers: BTreeMap::new(),
            counts: BTreeMap::new(),
            faults: Faults::default(),
            bottleneck: None,
            broker_holds: course.meter().holds(),
            windows,
        }
    }

    /// Adds a distribution, if there is one.
    pub(super) fn latency(&mut self, name: &'static str, latencies: &Latencies) {
        self.latency_us.extend(latencies.percentiles().map(|percentiles| (name, percentiles)));
    }

    /// Adds the answers.
    pub(super) fn answered(&mut self, codes: &BTreeMap<i32, u64>) {
        self.answers = codes.iter().map(|(code, count)| (code_name(*code), *count)).collect();
    }

    /// Says so when the bench had no time left in a closed loop: the broker could have done more.
    pub(super) fn judge_closed_loop(&mut self) {
        let share = self.figures.own_share.map_or(0.0, |share| share.median);
        if share > BENCH_OWN_CORES_MAX {
            let percent = share * 100.0;
            self.bottleneck = Some(format!(
                "the bench itself was the bottleneck: it took {percent:.0} % of its core; the rate is its own, the \
                 broker's CPU a message still counts"
            ));
        }
    }

    /// Shows it, and gives the exit code that it calls for; `refused` tells of answers that are no service.
    pub(super) fn close(self, output: &OutputArgs, refused: Option<String>) -> Outcome {
        show(output, &self, Self::text)?;
        if let Some(sentence) = self.faults.sentence() {
            return Err(Failure::new(Exit::Failed, sentence));
        }
        match refused {
            Some(sentence) => Err(Failure::new(Exit::Refused, sentence)),
            None if self.messages == 0 => {
                Err(Failure::new(Exit::Failed, "not one message was done in the measured time"))
            }
            None => Ok(()),
        }
    }

    fn text(&self) -> String {
        let mut parts = vec![self.figures_text()];
        if !self.latency_us.is_empty() {
            parts.push(self.latency_text());
        }
        let answers = self.answers.iter().map(|(name, count)| (name.as_str(), count));
        let counts = self.counts.iter().map(|(name, count)| (*name, count));
        let listed: Vec<String> = answers.chain(counts).map(|(name, count)| format!("{name} {count}")).collect();
        parts.push(format!("answers: {}", listed.join(", ")));
        if let Some(Holds { anonymous_kib, descriptors }) = self.broker_holds {
            let mib = anonymous_kib as f64 / 1024.0;
            parts.push(format!("the broker holds {mib:.1} MiB of anonymous memory and {descriptors} descriptors"));
        }
        parts.extend(self.bottleneck.clone());
        match self.faults.count {
            0 => parts.push(String::from("verified: no fault")),
            count => parts.push(format!("{count} faults:\n  {}", self.faults.first.join("\n  "))),
        }
        parts.join("\n\n")
    }

    fn figures_text(&self) -> String {
        let Figures { messages_per_second, broker_cpu_us, broker_user_us, .. } = &self.figures;
        let Figures { own_cpu_us, own_share, written_bytes, others_share, steal_share, .. } = &self.figures;
        let head = format!(
            "{} of {}, {} messages in {} windows",
            self.command,
            self.server,
            self.messages,
            self.windows.len()
        );
        let rows = [
            ("messages a second", messages_per_second, 0, 1.0),
            ("broker CPU a message, us", broker_cpu_us, 2, 1.0),
            ("  of it user", broker_user_us, 2, 1.0),
            ("bytes written a message", written_bytes, 0, 1.0),
            ("own CPU a message, us", own_cpu_us, 2, 1.0),
            ("own share of a core, %", own_share, 0, 100.0),
            ("others on the broker's core, %", others_share, 0, 100.0),
            ("stolen of a core, %", steal_share, 1, 100.0),
        ];
        let rows = rows.into_iter().filter_map(|(name, spread, digits, scale)| {
            let Spread { min, median, max } = (*spread)?;
            let shown = |figure: f64| format!("{:.digits$}", figure * scale);
            Some([name.to_owned(), shown(median), shown(min), shown(max)])
        });
        let columns = [text("WINDOWS"), number("MEDIAN"), number("MIN"), number("MAX")];
        format!("{head}\n\n{}", table(&columns, rows))
    }

    fn latency_text(&self) -> String {
        let columns = [
            text("LATENCY, us"),
            number("P50"),
            number("P90"),
            number("P99"),
            number("P99.9"),
            number("MAX"),
            number("N"),
        ];
        let rows = self.latency_us.iter().map(|(name, found)| {
            let Percentiles { count, p50, p90, p99, p999, max } = found;
            let shown = |figure: &f64| format!("{figure:.0}");
            [(*name).to_owned(), shown(p50), shown(p90), shown(p99), shown(p999), shown(max), count.to_string()]
        });
        table(&columns, rows)
    }
}
