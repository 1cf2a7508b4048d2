//! Faults of the machine under the running binary: a disk that is full, calls that fail, a clock that jumps.
//!
//! `cargo test --release -p strata-tests --test faults`; `STRATA_SEED` repeats the choices, `STRATA_BINARY` takes
//! another binary, `STRATA_CASE=text` runs the cases whose name holds the text. They need root, loop devices and
//! the tools that `tests/power/install` installs; a case that this machine cannot run is said to be NOT RUN and
//! fails the suite, because it has proved nothing.

use std::path::PathBuf;
use std::pin::Pin;
use std::process::ExitCode;

use anyhow::{Context, Result};
use strata_tests::clock::now_ms;
use strata_tests::draw::Draw;
use strata_tests::epoch::Flush;
use strata_tests::report::say;
use strata_tests::{setting, site, volume};
use tokio::time::Instant;

mod calls;
mod clock;
mod full;
mod ground;

use ground::Ground;

type Step<'a> = Pin<Box<dyn Future<Output = Result<String>> + 'a>>;
type Case = (&'static str, for<'a> fn(&'a mut Ground) -> Step<'a>);

/// Each case gives a line of what it saw.
const CASES: &[Case] = &[
    ("full::own_traffic, async flush", |at| Box::pin(full::own_traffic(at, Flush::Async))),
    ("full::own_traffic, sync flush", |at| Box::pin(full::own_traffic(at, Flush::Sync))),
    ("full::others_files, async flush", |at| Box::pin(full::others_files(at, Flush::Async))),
    ("full::others_files, sync flush", |at| Box::pin(full::others_files(at, Flush::Sync))),
    ("full::xfs, sync flush", |at| Box::pin(full::xfs(at, Flush::Sync))),
    ("full::memory, async flush", |at| Box::pin(full::memory(at, Flush::Async))),
    ("full::start, async flush", |at| Box::pin(full::start(at, Flush::Async))),
    ("full::start, sync flush", |at| Box::pin(full::start(at, Flush::Sync))),
    ("calls::failed_flush, async flush", |at| Box::pin(calls::failed_flush(at, Flush::Async))),
    ("calls::failed_flush, sync flush", |at| Box::pin(calls::failed_flush(at, Flush::Sync))),
    ("calls::failed_write", |at| Box::pin(calls::failed_write(at, "EIO"))),
    ("calls::no_space_for_a_write", |at| Box::pin(calls::failed_write(at, "ENOSPC"))),
    ("calls::interrupted_calls", |at| Box::pin(calls::interrupted(at))),
    ("clock::jumps", |at| Box::pin(clock::jumps(at))),
    ("clock::ten_times_as_fast", |at| Box::pin(clock::fast(at))),
    ("clock::retention_acts_when_time_passes", |at| Box::pin(clock::time_passes(at))),
    ("clock::registration", |at| Box::pin(clock::registration(at))),
];

fn main() -> ExitCode {
    match begin() {
        Ok(code) => code,
        Err(error) => {
            say(&format!("faults: FAILED: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn begin() -> Result<ExitCode> {
    if let Some(code) = volume::apart()? {
        return Ok(code);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let failures = runtime.context("no runtime")?.block_on(all())?;
    if failures > 0 {
        say(&format!("faults: FAILED, {failures} cases"));
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

async fn all() -> Result<usize> {
    let seed: u64 = setting::number("STRATA_SEED", now_ms().unsigned_abs())?;
    let only = setting::text("STRATA_CASE").unwrap_or_default();
    let folder = tempfile::Builder::new().prefix("strata-faults-").tempdir().context("no temporary folder")?;
    let mut ground = Ground {
        binary: site::binary()?,
        folder: PathBuf::from(folder.path()),
        seed,
        draw: Draw::new(seed),
        volumes: volume::ready().map_err(|error| format!("{error:#}")),
    };
    say(&format!("faults: again with STRATA_SEED={seed}"));
    let mut failures = 0;
    for (name, case) in CASES.iter().filter(|(name, _)| name.contains(&only)) {
        let began = Instant::now();
        let result = case(&mut ground).await;
        let took = began.elapsed().as_secs_f32();
        match result {
            Ok(saw) => say(&format!("ok      {name} ({took:.1} s): {saw}")),
            Err(error) if error.is::<ground::CannotRun>() => {
                say(&format!("NOT RUN {name}: {error}"));
                failures += 1;
            }
            Err(error) => {
                say(&format!("FAILED  {name} ({took:.1} s): {error:#}"));
                failures += 1;
            }
        }
    }
    if failures > 0 {
        say(&format!("  kept       {}", folder.keep().display()));
    }
    Ok(failures)
}
