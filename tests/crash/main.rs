//! The crash auditor: a server under load is killed at random moments, also while it recovers, and must
//! then hold everything that it acknowledged.
//!
//! `cargo test --release -p strata-tests --test crash` kills 25 times. `STRATA_KILLS=1000` sets the number,
//! `STRATA_SEED` the choices (those of the machine's scheduler are not repeated), `STRATA_BINARY` another
//! binary. Each epoch of kills has a data folder of its own and ends with a full audit; after the first one,
//! losses are planted that the audit must find. A folder in which something is wrong is kept and named.

use std::process::ExitCode;

use anyhow::{Context, Result};
use strata_tests::clock::now_ms;
use strata_tests::draw::Draw;
use strata_tests::epoch::{self, Death, Flush, Plan};
use strata_tests::report::say;
use strata_tests::{setting, site};

mod cases;
mod control;

/// Kills of a run that nobody told otherwise.
const KILLS: u32 = 25;

/// Kills in one data folder at most: an audit reads all of it, and its logs are in memory.
const EPOCH_KILLS_MAX: u32 = 50;

/// Bytes of a segment: filled every second or so.
const SEGMENT_BYTES: u64 = 4 << 20;

fn main() -> ExitCode {
    match begin() {
        Ok(0) => ExitCode::SUCCESS,
        Ok(violations) => {
            say(&format!("crash: FAILED, {violations} violations"));
            ExitCode::FAILURE
        }
        Err(error) => {
            say(&format!("crash: FAILED: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn begin() -> Result<usize> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.context("no runtime")?.block_on(all_epochs())
}

async fn all_epochs() -> Result<usize> {
    let kills: u32 = setting::number("STRATA_KILLS", KILLS)?;
    let seed: u64 = setting::number("STRATA_SEED", now_ms().unsigned_abs())?;
    let binary = site::binary()?;
    // At least two, so that both ways of flushing are tried.
    let epochs = kills.div_ceil(EPOCH_KILLS_MAX).max(2);
    say(&format!("crash: {kills} kills in {epochs} epochs; again with STRATA_KILLS={kills} STRATA_SEED={seed}"));
    let mut draw = Draw::new(seed);
    let mut violations = 0;
    for nth in 0..epochs {
        let flush = if nth % 2 == 0 { Flush::Async } else { Flush::Sync };
        let share = kills / epochs + u32::from(nth < kills % epochs);
        let folder = tempfile::Builder::new().prefix("strata-crash-").tempdir().context("no temporary folder")?;
        let plan = Plan {
            binary: binary.clone(),
            folder: folder.path().to_path_buf(),
            seed: draw.number(),
            deaths: share,
            flush,
            segment_bytes: SEGMENT_BYTES,
            death: Death::Kill,
            is_known: cases::is_known,
        };
        let outcome = one_epoch(plan, nth, &mut draw).await;
        if !matches!(outcome, Ok(0)) {
            say(&format!("  kept       {}", folder.keep().display()));
        }
        violations += outcome.with_context(|| format!("epoch {nth}"))?;
    }
    violations += cases::run(&binary, &mut draw, &mut say).await?;
    say(&format!("crash: {kills} kills, {violations} violations"));
    Ok(violations)
}

async fn one_epoch(plan: Plan, nth: u32, draw: &mut Draw) -> Result<usize> {
    say(&format!("epoch {nth}: {} kills, {:?} flush", plan.deaths, plan.flush));
    let audited = epoch::live(plan).await?;
    say(format!("{}{}", audited.starts(), audited.report).trim_end());
    for known in &audited.known {
        say(&format!("  known      {known}"));
    }
    let violations = audited.report.violations.len();
    if nth == 0 && violations == 0 {
        control::run(&audited, draw, &mut say).await?;
    }
    Ok(violations)
}
