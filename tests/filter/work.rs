//! A worker: takes its share of the questions, asks Apache and Strata, and counts.
//!
//! Owns the order of questions, so that a seed and a number of workers give the same ones again.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Result;
use strata_tests::draw::Draw;
use tokio::time::Instant;

use crate::judge::Judge;
use crate::oracle::Oracle;
use crate::question::{Difference, Question, Verdict};
use crate::rules::Coverage;
use crate::sweep::Source;
use crate::{broken, grammar, large};

/// The name of the questions that come by chance.
pub(crate) const RANDOM: &str = "by chance";

/// Questions in one batch, and answers of one: two batches of answers fit into a pipe of 64 KiB.
const BATCH_QUESTIONS_MAX: usize = 256;
const BATCH_ANSWERS_MAX: usize = 8_192;

/// Differences that a worker keeps; beyond it they are counted.
const DIFFERENCES_MAX: usize = 200;

/// How often the first worker says how far it is.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);

/// Of 100 questions by chance so many are sound sentences.
const SOUND_PERCENT: u64 = 65;

/// So many are sound or broken, of the usual size; the others are large and cost ten times as much.
const BROKEN_PERCENT_END: u64 = 98;

/// What a run asks.
pub(crate) struct Plan {
    pub(crate) sources: Vec<Source>,
    /// Whether questions by chance follow.
    pub(crate) random: bool,
    pub(crate) seed: u64,
    pub(crate) cases: u64,
    pub(crate) workers: u64,
}

/// What was counted.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) cases: u64,
    pub(crate) coverage: Coverage,
    /// Cases by source and verdict, those by chance last.
    by_source: Vec<[u64; Verdict::ALL.len()]>,
    pub(crate) different: u64,
    pub(crate) differences: Vec<Difference>,
}

impl Tally {
    /// Adds what another worker counted.
    pub(crate) fn add(&mut self, other: &Self) {
        self.cases += other.cases;
        self.different += other.different;
        self.coverage.add(&other.coverage);
        self.differences.extend_from_slice(&other.differences);
        self.by_source.resize(self.by_source.len().max(other.by_source.len()), Default::default());
        for (row, added) in self.by_source.iter_mut().zip(&other.by_source) {
            for (count, more) in row.iter_mut().zip(added) {
                *count += more;
            }
        }
    }

    /// Apache's verdicts by source.
    pub(crate) fn table(&self, plan: &Plan) -> String {
        let mut out = format!("{:28}", "questions");
        for verdict in Verdict::ALL {
            // Writing to a String cannot fail.
            let _ = write!(out, "{verdict:>10}");
        }
        let names = plan.sources.iter().map(|source| source.name).chain([RANDOM]);
        for (name, row) in names.zip(&self.by_source) {
            let _ = write!(out, "\n{name:28}");
            for count in row {
                let _ = write!(out, "{count:>10}");
            }
        }
        out
    }

    /// Holds both verdicts on a question against each other.
    fn compare(&mut self, source: usize, question: &Question, apache: Option<&[Verdict]>, strata: Option<&[Verdict]>) {
        let cases = if apache.is_none() && strata.is_none() { 1 } else { question.properties.len() };
        for at in 0..cases {
            let of = |verdicts: Option<&[Verdict]>| verdicts.map_or(Verdict::Refused, |all| all[at]);
            let (apache, strata) = (of(apache), of(strata));
            let Some(stored) = question.properties.get(at) else { continue };
            let rules = if apache == Verdict::Refused { question.rules } else { question.rules.with(stored.rules) };
            self.coverage.count(rules, apache);
            self.cases += 1;
            self.by_source[source][apache.column()] += 1;
            if apache == strata {
                continue;
            }
            self.different += 1;
            if self.differences.len() < DIFFERENCES_MAX {
                let (expression, properties) = (question.expression.clone(), stored.text.clone());
                self.differences.push(Difference { expression, properties, apache, strata });
            }
        }
    }
}

/// A worker's share of the questions: every so-many-th of each source, then of those by chance.
struct Share<'a> {
    plan: &'a Plan,
    worker: u64,
    source: usize,
    number: u64,
}

impl Share<'_> {
    /// The next question and its source. Those by chance have no end.
    fn next(&mut self) -> Option<(usize, Question)> {
        while let Some(source) = self.plan.sources.get(self.source) {
            if self.number < source.count {
                let question = (source.at)(self.number);
                self.number += self.plan.workers;
                return Some((self.source, question));
            }
            self.source += 1;
            self.number = self.worker;
        }
        if !self.plan.random {
            return None;
        }
        let mut draw = Draw::new(self.plan.seed).fork(self.number);
        self.number += self.plan.workers;
        let question = match draw.below(100) {
            0..SOUND_PERCENT => grammar::question(&mut draw),
            SOUND_PERCENT..BROKEN_PERCENT_END => broken::question(&mut draw),
            _ => large::question(&mut draw),
        };
        Some((self.source, question))
    }

    fn by_chance(&self) -> bool {
        self.source == self.plan.sources.len()
    }

    fn batch(&mut self) -> Vec<(usize, Question)> {
        let (mut batch, mut answers) = (Vec::new(), 0);
        while batch.len() < BATCH_QUESTIONS_MAX && answers < BATCH_ANSWERS_MAX {
            let Some((source, question)) = self.next() else { break };
            answers += question.properties.len();
            batch.push((source, question));
        }
        batch
    }
}

/// Does the share of `worker`. While Apache answers one batch, the next is made and sent.
pub(crate) fn work(plan: &Plan, worker: u64, oracle: &mut Oracle, judge: Judge) -> Result<Tally> {
    let mut share = Share { plan, worker, source: 0, number: worker };
    let mut tally = Tally { by_source: vec![Default::default(); plan.sources.len() + 1], ..Tally::default() };
    let mut waiting: Vec<(usize, Question)> = Vec::new();
    let mut told = Instant::now();
    loop {
        let enough = share.by_chance() && tally.cases >= plan.cases / plan.workers;
        let batch = if enough { Vec::new() } else { share.batch() };
        oracle.send(batch.iter().map(|(_, question)| question))?;
        for (source, question) in &waiting {
            let apache = oracle.receive(question)?;
            let strata = judge(&question.expression, &question.properties);
            tally.compare(*source, question, apache.as_deref(), strata.as_deref());
        }
        if batch.is_empty() {
            return Ok(tally);
        }
        waiting = batch;
        if worker == 0 && told.elapsed() > PROGRESS_INTERVAL {
            told = Instant::now();
            let (cases, different) = (tally.cases * plan.workers, tally.different * plan.workers);
            eprintln!("filter: some {cases} of {} cases, {different} differences", plan.cases);
        }
    }
}
