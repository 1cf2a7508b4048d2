//! Bad input: everything that a peer or an operator can do wrong, against the running binary.
//!
//! `cargo test --release -p strata-tests --test hostile`; `STRATA_SEED` repeats the choices, `STRATA_BINARY`
//! takes another binary, `STRATA_CASE=text` runs the cases whose name holds the text. While the cases run, a
//! well-behaved client produces and consumes; it must not notice anything. At the end the server's memory
//! and log are looked at.
//!
//! A case that is known to fail is in [`KNOWN`] with its reason. It does not fail the run, and it fails it as
//! soon as it passes, so that the list stays true.

use std::path::Path;
use std::pin::Pin;
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use strata_tests::clock::now_ms;
use strata_tests::draw::Draw;
use strata_tests::good::Good;
use strata_tests::report::{ended, say};
use strata_tests::site::{Ports, Setup};
use strata_tests::{setting, site};
use tokio::time::Instant;

mod codes;
mod floods;
mod frames;
mod overload;
mod reads;
mod sends;
mod stage;
mod starts;

use stage::{CANARY, Stage};
use starts::Yard;

/// Cases that fail for a reason that is known, and the reason.
const KNOWN: &[(&str, &str)] = &[];

/// Memory of its own that the server may have at any time: its read buffers' bound and 256 MiB for the rest.
const MEMORY_KIB_MAX: u64 = (512 + 256) * 1024;

type Step<'a> = Pin<Box<dyn Future<Output = Result<()>> + 'a>>;
type Case = (&'static str, for<'a> fn(&'a Stage) -> Step<'a>);
type StartCase = (&'static str, for<'a> fn(&'a mut Yard) -> Step<'a>);

/// Names a case after its function.
macro_rules! cases {
    ($($file:ident :: $case:ident),* $(,)?) => { &[$((concat!(stringify!($file), "::", stringify!($case)), |at| Box::pin($file::$case(at)))),*] };
}

/// The order is that of the story: the last one uses up what one address may create.
const CASES: &[Case] = cases![
    frames::impossible_lengths,
    frames::unreadable_headers,
    frames::other_protocols,
    frames::truncated_frames,
    frames::strays_are_passed_over,
    frames::mutated_frames,
    frames::a_crowd_with_garbage,
    codes::unknown_codes,
    codes::later_codes,
    codes::later_codes_in_binary,
    sends::illegal_topics,
    sends::wrong_targets,
    sends::wrong_fields,
    sends::wrong_sizes,
    sends::kinds_not_served,
    sends::broken_batches,
    reads::prepare,
    reads::pulls_of_nothing,
    reads::pulls_out_of_range,
    reads::pulls_of_everything,
    reads::queries,
    reads::offsets,
    reads::progress_beyond_the_end,
    reads::fast_port,
    floods::heartbeat_bombs,
    floods::nonsense_bodies,
    floods::nested_bodies,
    frames::half_frames_fill_no_memory,
    floods::topics_without_end,
];

const STARTS: &[StartCase] = cases![
    starts::folder_in_use,
    starts::unusable_folders,
    starts::ports_in_use,
    starts::wrong_settings,
    starts::damaged_tables,
    starts::missing_sidecars,
    starts::flipped_sidecars,
    starts::damaged_store_files,
    starts::stray_segment,
    overload::what_waited_too_long_is_refused,
];

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let result = runtime.context("no runtime").and_then(|runtime| runtime.block_on(all()));
    ended("hostile", result)
}

async fn all() -> Result<usize> {
    let seed: u64 = setting::number("STRATA_SEED", now_ms().unsigned_abs())?;
    let only = setting::text("STRATA_CASE").unwrap_or_default();
    let binary = site::binary()?;
    let folder = tempfile::Builder::new().prefix("strata-hostile-").tempdir().context("no temporary folder")?;
    say(&format!("hostile: again with STRATA_SEED={seed}"));
    for (name, _) in KNOWN {
        ensure!(
            CASES.iter().any(|case| case.0 == *name) || STARTS.iter().any(|case| case.0 == *name),
            "KNOWN names no case: {name}"
        );
    }
    let mut failures = attack(&binary, folder.path(), seed, &only).await?;
    let mut yard = Yard::new(&binary, folder.path(), seed);
    for (name, case) in STARTS.iter().filter(|(name, _)| name.contains(&only)) {
        let began = Instant::now();
        let result = case(&mut yard).await;
        failures += usize::from(verdict(name, result, began));
    }
    if failures > 0 {
        say(&format!("kept {}", folder.keep().display()));
    }
    Ok(failures)
}

/// The cases against one server, with the well-behaved client beside them.
async fn attack(binary: &Path, folder: &Path, seed: u64, only: &str) -> Result<usize> {
    let data = folder.join("data");
    let ports = Ports::free(&mut Draw::new(seed))?;
    // Small segments roll while the cases run; they hold the largest message all the same.
    // The attacks, or the machine, may hold the server up; overload has a case of its own.
    let settings = vec![String::from("mappedFileSizeCommitLog=8388608"), String::from("waitTimeMillsInSendQueue=5000")];
    let setup = Setup { binary: binary.to_path_buf(), log: data.with_extension("log"), data, ports, settings };
    let stage = Stage::open(&setup, seed).await?;
    let good = Good::begin(ports).await?;
    let slow = frames::Slow::begin(&stage);
    let mut failures = 0;
    for (name, case) in CASES.iter().filter(|(name, _)| name.contains(only)) {
        let began = Instant::now();
        let result = case(&stage).await;
        failures += usize::from(verdict(name, result, began));
    }
    let began = Instant::now();
    let slow = slow.end().await;
    // Complaints are paced; after the quiet while of the slow senders each kind shows itself.
    frames::other_protocols(&stage).await?;
    failures += usize::from(verdict("slow senders", slow.map(|told| say(&format!("  {told}"))), began));
    let good = good.end().await;
    failures += usize::from(verdict("the well-behaved client", good.map(|told| say(&format!("  {told}"))), began));
    failures += usize::from(verdict("memory", memory(&stage), began));
    failures += usize::from(verdict("log", log(&stage, only), began));
    stage.close().await.context("ending the server")?;
    Ok(failures)
}

/// Prints what became of a case; gives whether that fails the run.
fn verdict(name: &str, result: Result<()>, began: Instant) -> bool {
    let known = KNOWN.iter().find(|(known, _)| *known == name);
    let took = began.elapsed().as_millis();
    match (result, known) {
        (Ok(()), None) => {
            say(&format!("ok      {name} ({took} ms)"));
            false
        }
        (Ok(()), Some((_, reason))) => {
            say(&format!("FAILED  {name} passes now; take it out of KNOWN ({reason})"));
            true
        }
        (Err(error), None) => {
            say(&format!("FAILED  {name}: {error:#}"));
            true
        }
        (Err(error), Some((_, reason))) => {
            say(&format!("known   {name}: {reason}: {error:#}"));
            false
        }
    }
}

fn memory(stage: &Stage) -> Result<()> {
    let peak = stage.peak_kib();
    ensure!(peak > 0, "the server's memory was never seen");
    ensure!(peak < MEMORY_KIB_MAX, "the server took {} MiB at most", peak / 1024);
    say(&format!("  memory: {} MiB at most, {} MiB now", peak / 1024, stage.memory_kib()? / 1024));
    Ok(())
}

/// Bad peers leave a line, messages leave none of their content, and nothing panicked.
fn log(stage: &Stage, only: &str) -> Result<()> {
    let log = stage.log()?;
    for line in log.lines() {
        ensure!(!line.contains(CANARY), "the log shows a message: {line}");
        ensure!(!line.contains("panicked"), "the server panicked: {line}");
        ensure!(line.len() < 4_096, "a line of {} bytes: {}", line.len(), line.chars().take(200).collect::<String>());
    }
    if !only.is_empty() {
        return Ok(());
    }
    for reason in ["malformed", "foreign_protocol", "half_frame", "out_of_memory"] {
        if !log.lines().any(|line| line.contains("WARN") && line.contains(reason)) {
            bail!("no line about a connection that ended for {reason}");
        }
    }
    Ok(())
}
