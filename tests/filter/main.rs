//! The filter beside Apache's: expressions and properties by the hundred thousand, each judged by Apache RocketMQ's own
//! classes and by Strata, verdict by verdict. There is no list of differences that are allowed.
//!
//! `cargo test --release -p strata-tests --test filter`. `STRATA_FILTER_CASES` sets the number of cases (a case is one
//! expression on one message; a refusal is one case), `STRATA_SEED` the choices, `STRATA_CASE=text` runs the sources of
//! questions whose name holds the text. Ten million cases, with all sequences of up to five tokens:
//! `STRATA_FILTER_CASES=10000000 cargo test --release -p strata-tests --test filter`. With `STRATA_FILTER_SPEED=1` it
//! compares nothing but what a verdict costs.
//!
//! A difference is made as small as it gets and printed with both verdicts. The table of coverage says how often each
//! rule of the grammar met each verdict; one that never did fails the run. A fault planted in Strata's verdicts must be
//! found, else the comparison proves nothing.

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use strata_tests::clock::now_ms;
use strata_tests::draw::Draw;
use strata_tests::report::{ended, say};
use strata_tests::setting;
use tokio::time::Instant;

mod broken;
mod grammar;
mod judge;
mod large;
mod oracle;
mod question;
mod rules;
mod shrink;
mod speed;
mod sweep;
mod values;
mod work;

use judge::Judge;
use oracle::Oracle;
use question::Difference;
use work::{Plan, Tally};

/// Cases of a run that nobody told otherwise.
const CASES: u64 = 1_200_000;

/// Cases from which on token sequences are one token longer.
const LONG_RUN_CASES_MIN: u64 = 5_000_000;

/// Tokens of the sequences that are all tried, in a short and in a long run: a token more is 22 times as many.
const SEQUENCE_TOKENS: [u32; 2] = [4, 5];

/// Differences that are made small and printed; beyond it they are counted.
const DIFFERENCES_SHOWN_MAX: usize = 20;

/// Cases in which the planted fault must be found.
const PLANTED_CASES: u64 = 20_000;

/// Characters to which a difference by the planted fault must shrink: `a` shows it, and `- a=a` has nothing to take away.
const PLANTED_CHARACTERS_MAX: usize = 12;

fn main() -> ExitCode {
    ended("filter", all())
}

fn all() -> Result<usize> {
    let seed: u64 = setting::number("STRATA_SEED", now_ms().unsigned_abs())?;
    let cases: u64 = setting::number("STRATA_FILTER_CASES", CASES)?;
    let only = setting::text("STRATA_CASE").unwrap_or_default();
    say(&format!("filter: {cases} cases; again with STRATA_SEED={seed}"));
    let jars = strata_tests::apache::jars()?;
    if setting::number("STRATA_FILTER_SPEED", 0_u8)? > 0 {
        speed::measure(&mut Oracle::start(&jars)?, seed)?;
        return Ok(0);
    }
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get).clamp(1, 4) as u64;
    let mut oracles = start(&jars, workers)?;
    planted(&mut oracles, seed)?;

    let began = Instant::now();
    let length = SEQUENCE_TOKENS[usize::from(cases >= LONG_RUN_CASES_MIN)];
    let mut sources = sweep::sources(length);
    sources.retain(|source| source.name.contains(&only));
    let random = work::RANDOM.contains(only.as_str());
    let plan = Plan { sources, random, seed, cases, workers };
    let tally = together(&plan, &mut oracles, judge::strata)?;
    let seconds = began.elapsed().as_secs_f64();

    say(&tally.table(&plan));
    say(&tally.coverage.table());
    let holes = if only.is_empty() { tally.coverage.holes() } else { Vec::new() };
    for hole in &holes {
        say(&format!("FAILED  never reached: {hole}"));
    }
    let shown = show(&tally, &mut oracles[0])?;
    let total = tally.cases;
    say(&format!("filter: {total} cases, {} differences, {seconds:.1} s, STRATA_SEED={seed}", tally.different));
    ensure!(shown == 0 || tally.different > 0, "differences are counted wrongly");
    Ok(usize::try_from(tally.different)? + holes.len())
}

/// Starts oracles at once: each takes a second to compile itself.
fn start(jars: &std::path::Path, count: u64) -> Result<Vec<Oracle>> {
    std::thread::scope(|scope| {
        let starting: Vec<_> = (0..count).map(|_| scope.spawn(|| Oracle::start(jars))).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, Result<Oracle>>| {
            thread.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a thread broke while it started the oracle")))
        };
        starting.into_iter().map(join).collect()
    })
}

/// All workers, and what they found together.
fn together(plan: &Plan, oracles: &mut [Oracle], judge: Judge) -> Result<Tally> {
    std::thread::scope(|scope| {
        let working: Vec<_> = (0..)
            .zip(oracles)
            .map(|(worker, oracle)| scope.spawn(move || work::work(plan, worker, oracle, judge)))
            .collect();
        let mut all = Tally::default();
        for thread in working {
            let tally = thread.join().map_err(|_| anyhow::anyhow!("a worker broke"))?;
            all.add(&tally.context("a worker's oracle")?);
        }
        Ok(all)
    })
}

/// A fault planted in Strata's verdicts is found, and is made as small as it is.
fn planted(oracles: &mut [Oracle], seed: u64) -> Result<()> {
    let workers = oracles.len() as u64;
    let plan =
        Plan { sources: Vec::new(), random: true, seed: Draw::new(seed).number(), cases: PLANTED_CASES, workers };
    let tally = together(&plan, oracles, judge::planted)?;
    let found = tally.differences.first().context("the comparison does not find a fault that was planted")?;
    let small = small(found, &mut oracles[0], judge::planted)?;
    ensure!(
        small.expression.chars().count() <= PLANTED_CHARACTERS_MAX,
        "a difference by the planted fault shrinks no further than {:?}",
        small.expression
    );
    let Difference { expression, .. } = small;
    say(&format!("planted: {} of {} cases found, the smallest is {expression:?}", tally.different, tally.cases));
    Ok(())
}

/// The difference as small as it gets.
fn small(difference: &Difference, oracle: &mut Oracle, judge: Judge) -> Result<Difference> {
    shrink::shrink(difference, &mut |expression, properties| {
        let (apache, _) = oracle.ask(expression, properties)?;
        let strata = judge(expression, &shrink::as_stored(properties));
        Ok((apache, strata.map_or(question::Verdict::Refused, |verdicts| verdicts[0])))
    })
}

/// Prints the first differences, made small; the same small one once. Gives how many were printed.
fn show(tally: &Tally, oracle: &mut Oracle) -> Result<usize> {
    let mut seen = std::collections::BTreeSet::new();
    for difference in &tally.differences {
        if seen.len() == DIFFERENCES_SHOWN_MAX {
            break;
        }
        let small = small(difference, oracle, judge::strata)?;
        if !seen.insert((small.expression.clone(), small.apache, small.strata)) {
            continue;
        }
        let Difference { expression, properties, apache, strata } = &small;
        let (_, cause) = oracle.ask(expression, properties)?;
        let words = judge::words(expression, properties);
        say(&format!("DIFFERENT  {expression:?}\n    on {}", shrink::shown(properties)));
        say(&format!("    Apache: {apache} {cause}\n    Strata: {strata} {words}"));
        if difference.expression.len() < 400 && difference.expression != *expression {
            say(&format!("    came of {:?} on {}", difference.expression, shrink::shown(&difference.properties)));
        }
    }
    Ok(seen.len())
}
