//! The power cutter: a server under load loses its file system at random moments, also while it recovers, and
//! must then hold everything that sync flush acknowledged; of what async flush acknowledged, all but the last
//! moments before the cut.
//!
//! `cargo test --release -p strata-tests --test power` cuts 25 times. `STRATA_CUTS=500` sets the number,
//! `STRATA_SEED` the choices (those of the machine's scheduler are not repeated), `STRATA_BINARY` another
//! binary. Four of five cuts hit ext4, one XFS, each shut down without writing its journal out, in an image on a
//! loop device. With async flush some acknowledged messages must be lost, else the cuts prove nothing.
//!
//! Where no file system can be mounted, the suite says so and lets the store's simulated disk lose power instead.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use strata_tests::clock::now_ms;
use strata_tests::draw::Draw;
use strata_tests::epoch::{self, Audited, Death, Flush, Plan};
use strata_tests::limits::ASYNC_WINDOW_MS;
use strata_tests::loss::Loss;
use strata_tests::report::say;
use strata_tests::volume::{self, Kind, Volume};
use strata_tests::{setting, site};

/// Cuts of a run that nobody told otherwise.
const CUTS: u32 = 25;

/// Cuts in one round of epochs at most: an audit reads all of a data folder, and its logs are in memory.
const ROUND_CUTS_MAX: u32 = 100;

/// Bytes of a segment, chosen for each epoch: one is filled several times a second, so that cuts hit rolls and
/// seals too; the other leaves asynchronous flush its whole interval.
const SEGMENT_BYTES: [u64; 2] = [1 << 20, 8 << 20];

/// Cuts with which each way of flushing meets each file system at work.
const CUTS_MIN: u32 = 20;

/// Bytes of a file system: more than an epoch writes, so that nothing is deleted for its space.
const VOLUME_BYTES: u64 = 8 << 30;

/// What the store's own simulation of power cuts is run by.
const SIMULATION: [&str; 5] = ["test", "--release", "-p", "strata-store", "sim"];

fn main() -> ExitCode {
    match begin() {
        Ok(code) => code,
        Err(error) => {
            say(&format!("power: FAILED: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn begin() -> Result<ExitCode> {
    if let Some(code) = volume::apart()? {
        return Ok(code);
    }
    if let Err(reason) = volume::ready() {
        return simulate(&reason);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let violations = runtime.context("no runtime")?.block_on(all_rounds())?;
    if violations > 0 {
        say(&format!("power: FAILED, {violations} violations"));
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// Loudly, so that nobody takes one for the other.
fn simulate(reason: &anyhow::Error) -> Result<ExitCode> {
    say(&format!("power: NO CUT WAS MADE: {reason:#}"));
    say("power: this needs root, loop devices, e2fsprogs and xfsprogs (tests/power/install)");
    say(&format!("power: running the store on a simulated disk instead: cargo {}", SIMULATION.join(" ")));
    let cargo = setting::text("CARGO").unwrap_or_else(|| String::from("cargo"));
    let ended = site::command(cargo).args(SIMULATION).output().context("cannot run cargo")?;
    let (said, complaints) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    say(&said);
    ensure!(ended.status.success(), "the simulated disk found something: {}\n{complaints}", ended.status);
    let passed = said.lines().filter(|line| line.starts_with("test ") && line.ends_with("... ok")).count();
    ensure!(passed > 0, "no test of the simulated disk was run");
    say(&format!("power: {passed} tests of the simulated disk passed; no file system of this machine was tried"));
    Ok(ExitCode::SUCCESS)
}

/// Epochs of a round: on which file system, how flushed, and how many of `cuts` each has.
fn round(cuts: u32) -> [(Kind, Flush, u32); 4] {
    let xfs = cuts / 5;
    let ext4 = cuts - xfs;
    [
        (Kind::Ext4, Flush::Sync, ext4.div_ceil(2)),
        (Kind::Ext4, Flush::Async, ext4 / 2),
        (Kind::Xfs, Flush::Sync, xfs.div_ceil(2)),
        (Kind::Xfs, Flush::Async, xfs / 2),
    ]
}

async fn all_rounds() -> Result<usize> {
    let cuts: u32 = setting::number("STRATA_CUTS", CUTS)?;
    let seed: u64 = setting::number("STRATA_SEED", now_ms().unsigned_abs())?;
    ensure!(cuts >= CUTS_MIN, "STRATA_CUTS={cuts}: with fewer than {CUTS_MIN} not every way of flushing is tried");
    let binary = site::binary()?;
    let rounds = cuts.div_ceil(ROUND_CUTS_MAX);
    say(&format!("power: {cuts} cuts; again with STRATA_CUTS={cuts} STRATA_SEED={seed}"));
    let mut draw = Draw::new(seed);
    let (mut violations, mut loss) = (0, Loss::default());
    for nth in 0..rounds {
        let share = cuts / rounds + u32::from(nth < cuts % rounds);
        for (kind, flush, cuts) in round(share).into_iter().filter(|(.., cuts)| *cuts > 0) {
            let audited = one_epoch(&binary, (kind, flush, cuts), &mut draw).await;
            let audited = audited.with_context(|| format!("{kind:?}, {flush:?} flush"))?;
            violations += audited.report.violations.len();
            if flush == Flush::Async {
                loss.add(audited.loss);
            }
        }
    }
    say(&format!(
        "power: {cuts} cuts, {violations} violations; async flush lost {} acknowledged messages, the oldest {} ms \
         before a cut, {ASYNC_WINDOW_MS} ms are allowed",
        loss.messages, loss.oldest_ms
    ));
    if loss.messages == 0 {
        bail!("async flush lost nothing in any cut: these cuts take nothing and prove nothing");
    }
    Ok(violations)
}

async fn one_epoch(binary: &Path, (kind, flush, deaths): (Kind, Flush, u32), draw: &mut Draw) -> Result<Audited> {
    let segment_bytes = draw.pick(&SEGMENT_BYTES).copied().context("no sizes")?;
    say(&format!("epoch: {deaths} cuts of {kind:?}, {flush:?} flush, segments of {} MiB", segment_bytes >> 20));
    let folder = tempfile::Builder::new().prefix("strata-power-").tempdir().context("no temporary folder")?;
    let plan = Plan {
        binary: binary.to_path_buf(),
        folder: folder.path().to_path_buf(),
        seed: draw.number(),
        deaths,
        flush,
        segment_bytes,
        death: Death::Cut(Volume::make(kind, VOLUME_BYTES)?),
        is_known: |_, _| false,
    };
    let lived = epoch::live(plan).await;
    if !lived.as_ref().is_ok_and(|audited| audited.report.violations.is_empty()) {
        say(&format!("  kept       {}", folder.keep().display()));
    }
    let audited = lived?;
    say(format!("{}{}", audited.starts(), audited.report).trim_end());
    let Loss { messages, oldest_ms, deliveries } = audited.loss;
    match flush {
        Flush::Async => say(&format!(
            "  lost       {messages} acknowledged, the oldest {oldest_ms} ms before its cut; {deliveries} deliveries"
        )),
        Flush::Sync => say(&format!("  lost       0 acknowledged; {messages} answered while the power went")),
    }
    Ok(audited)
}
