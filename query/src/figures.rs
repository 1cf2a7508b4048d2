//! What statements did: how many, how long, how many rows and bytes. For Prometheus.

use std::collections::HashMap;
use std::sync::Arc;

use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};
use tokio::time::Instant;

use crate::error::QueryError;

/// Through what a statement came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Front {
    Http,
    Postgres,
}

impl Front {
    const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Postgres => "postgres",
        }
    }
}

/// The upper bounds of durations that are counted, in seconds.
const DURATION_BOUNDS_SECS: [f64; 10] = [0.005, 0.02, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 150.0, 300.0];

/// What was read of one tier.
#[derive(Debug)]
pub(crate) struct TierFigures {
    rows: IntCounter,
    bytes: IntCounter,
}

/// What statements did since the broker's start.
#[derive(Debug)]
pub(crate) struct Figures {
    registry: Registry,
    statements: IntCounterVec,
    durations: HistogramVec,
    rows: IntCounterVec,
    running: IntGauge,
    waiting: IntGauge,
    memory: IntGauge,
    /// What was read of the log.
    pub(crate) hot: TierFigures,
    /// What was read of the tier.
    pub(crate) cold: TierFigures,
}

impl Figures {
    /// Nothing yet. The labels are those of all the broker's figures.
    pub(crate) fn new(labels: HashMap<String, String>) -> prometheus::Result<Self> {
        let registry = Registry::new_custom(None, Some(labels))?;
        let opts = |name: &str, help: &str| Opts::new(format!("strata_query_{name}"), help);
        let counters = |name: &str, help: &str, labels: &[&str]| -> prometheus::Result<IntCounterVec> {
            let counters = IntCounterVec::new(opts(name, help), labels)?;
            registry.register(Box::new(counters.clone()))?;
            Ok(counters)
        };
        let gauge = |name: &str, help: &str| -> prometheus::Result<IntGauge> {
            let gauge = IntGauge::with_opts(opts(name, help))?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let durations = HistogramOpts::from(opts("duration_seconds", "Time of statements, their wait included."));
        let durations = HistogramVec::new(durations.buckets(DURATION_BOUNDS_SECS.to_vec()), &["front"])?;
        registry.register(Box::new(durations.clone()))?;
        let read_rows = counters("read_rows_total", "Messages that statements read.", &["tier"])?;
        let read_bytes = counters("read_bytes_total", "Bytes of messages that statements read.", &["tier"])?;
        let of = |tier: &str| TierFigures {
            rows: read_rows.with_label_values(&[tier]),
            bytes: read_bytes.with_label_values(&[tier]),
        };
        let statements = counters("statements_total", "Statements by how they ended.", &["front", "outcome"])?;
        let rows = counters("rows_total", "Rows that were given out.", &["front"])?;
        // All series are there from the begin: a rate needs the zero before the first one.
        for front in [Front::Http, Front::Postgres] {
            for outcome in [Outcome::Ok, Outcome::Failed, Outcome::Refused, Outcome::Cancelled] {
                statements.with_label_values(&[front.name(), outcome.name()]);
            }
            rows.with_label_values(&[front.name()]);
            durations.with_label_values(&[front.name()]);
        }
        Ok(Self {
            statements,
            rows,
            running: gauge("running", "Statements that run.")?,
            waiting: gauge("waiting", "Statements that wait for their turn.")?,
            memory: gauge("memory_bytes", "Memory that statements have for sorts, groups and joins.")?,
            hot: of("hot"),
            cold: of("cold"),
            durations,
            registry,
        })
    }

    /// In Prometheus' text form. `memory_bytes` are those that statements have now.
    pub(crate) fn text(&self, memory_bytes: usize) -> String {
        self.memory.set(i64::try_from(memory_bytes).unwrap_or(i64::MAX));
        let mut text = Vec::new();
        match TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            Ok(()) => String::from_utf8_lossy(&text).into_owned(),
            Err(error) => {
                tracing::warn!(%error, "the figures of statements cannot be told");
                String::new()
            }
        }
    }

    pub(crate) fn begin(self: &Arc<Self>, front: Front) -> Running {
        self.waiting.inc();
        let outcome = Outcome::Cancelled;
        Running { figures: Arc::clone(self), front, begun: Instant::now(), has_turn: false, outcome }
    }
}

impl TierFigures {
    pub(crate) fn add(&self, rows: usize, bytes: u64) {
        self.rows.inc_by(rows as u64);
        self.bytes.inc_by(bytes);
    }
}

/// How a statement ended.
#[derive(Debug, Clone, Copy)]
enum Outcome {
    /// All its rows were given.
    Ok,
    /// Something went wrong while it ran.
    Failed,
    /// It was none that is answered.
    Refused,
    /// Who asked went away.
    Cancelled,
}

impl Outcome {
    const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A statement under way; it is counted when this is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    figures: Arc<Figures>,
    front: Front,
    begun: Instant,
    has_turn: bool,
    outcome: Outcome,
}

impl Running {
    pub(crate) fn has_turn(&mut self) {
        self.has_turn = true;
        self.figures.waiting.dec();
        self.figures.running.inc();
    }

    pub(crate) fn gave(&self, rows: usize) {
        self.figures.rows.with_label_values(&[self.front.name()]).inc_by(rows as u64);
    }

    pub(crate) const fn ended(&mut self) {
        self.outcome = Outcome::Ok;
    }

    pub(crate) const fn failed(&mut self, error: &QueryError) {
        self.outcome = if error.is_refusal() { Outcome::Refused } else { Outcome::Failed };
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let (figures, front) = (&self.figures, self.front.name());
        if self.has_turn { &figures.running } else { &figures.waiting }.dec();
        figures.statements.with_label_values(&[front, self.outcome.name()]).inc();
        figures.durations.with_label_values(&[front]).observe(self.begun.elapsed().as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_counted_once_however_they_end() {
        let labels = HashMap::from([("cluster".to_owned(), "one".to_owned())]);
        let figures = Arc::new(Figures::new(labels).unwrap());
        let mut good = figures.begin(Front::Http);
        assert_eq!((figures.waiting.get(), figures.running.get()), (1, 0));
        good.has_turn();
        assert_eq!((figures.waiting.get(), figures.running.get()), (0, 1));
        good.gave(3);
        good.ended();
        drop(good);
        figures.begin(Front::Http).failed(&QueryError::TooLong { bytes: 1 });
        figures.begin(Front::Http).failed(&QueryError::Broken);
        drop(figures.begin(Front::Postgres));
        assert_eq!((figures.waiting.get(), figures.running.get()), (0, 0));
        let text = figures.text(7);
        for (name, labels, value) in [
            ("statements_total", ["front=\"http\"", "outcome=\"ok\""].as_slice(), 1),
            ("statements_total", &["front=\"http\"", "outcome=\"refused\""], 1),
            ("statements_total", &["front=\"http\"", "outcome=\"failed\""], 1),
            ("statements_total", &["front=\"postgres\"", "outcome=\"cancelled\""], 1),
            ("statements_total", &["front=\"postgres\"", "outcome=\"ok\""], 0),
            ("duration_seconds_count", &["front=\"http\""], 3),
            ("rows_total", &["front=\"http\""], 3),
            ("read_rows_total", &["tier=\"cold\""], 0),
            ("memory_bytes", &[], 7),
        ] {
            let (begin, end) = (format!("strata_query_{name}{{"), format!(" {value}"));
            let is_told = |line: &str| {
                let has = |label: &&str| line.contains(*label);
                line.starts_with(&begin)
                    && line.ends_with(&end)
                    && labels.iter().all(has)
                    && line.contains("cluster=\"one\"")
            };
            assert!(text.lines().any(is_told), "{name} {labels:?} is not {value} in\n{text}");
        }
    }
}
