//! More than a server can serve: requests, connections, slow peers, and pulls that wait.
//!
//! `cargo test --release -p strata-tests --test overload`; `STRATA_SEED` repeats the choices, `STRATA_BINARY`
//! takes another binary, `STRATA_CASE=text` runs the cases whose name holds the text. Each case has a server of
//! its own and prints the figures that it holds against its bounds.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use strata_tests::clock::now_ms;
use strata_tests::draw::Draw;
use strata_tests::report::{ended, say};
use strata_tests::site::{self, Ports, Setup, own_memory_kib};
use strata_tests::{page, setting};
use tokio::time::{Duration, Instant, sleep};

mod cores;
mod crowd;
mod flood;
mod load;
mod parked;
mod slow;

/// Descriptors that both ends of 20,000 connections want: a server shares its own out among three ports, and
/// keeps 2,048.
const DESCRIPTORS: u64 = 65_536;

/// How often something is looked at that is to come.
const LOOK: Duration = Duration::from_millis(50);

type Step<'a> = Pin<Box<dyn Future<Output = Result<()>> + 'a>>;
type Case = (&'static str, for<'a> fn(&'a mut Ground) -> Step<'a>);

/// Names a case after its function.
macro_rules! cases {
    ($($file:ident :: $case:ident),* $(,)?) => { &[$((concat!(stringify!($file), "::", stringify!($case)), |at| Box::pin($file::$case(at)))),*] };
}

/// The slow peers mostly wait, so the pulls, which mostly wait too, have their turn meanwhile.
const TOGETHER: &[Case] = cases![slow::a_thousand_slow_peers, parked::a_hundred_thousand_pulls];

const ALONE: &[Case] = cases![crowd::twenty_thousand_idle_connections, flood::more_than_a_core_takes];

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let result = runtime.context("no runtime").and_then(|runtime| runtime.block_on(all()));
    ended("overload", result)
}

async fn all() -> Result<usize> {
    let seed: u64 = setting::number("STRATA_SEED", now_ms().unsigned_abs())?;
    let only = setting::text("STRATA_CASE").unwrap_or_default();
    let binary = site::binary()?;
    let folder = tempfile::Builder::new().prefix("strata-overload-").tempdir().context("no temporary folder")?;
    say(&format!("overload: again with STRATA_SEED={seed}; {} file descriptors", raise_descriptors()));
    let ground = |label| Ground::new(&binary, folder.path(), Draw::new(seed).fork(label));
    let chosen = |(name, _): &&Case| name.contains(&only);
    let mut failures = 0;
    let mut ran = 0;
    if let [slow, parked] = TOGETHER {
        let (mut one, mut other) = (ground(1), ground(2));
        let run = |case: &'static Case, ground| async move {
            if chosen(&case) { Some(tell(case, ground).await) } else { None }
        };
        let (one, other) = tokio::join!(run(slow, &mut one), run(parked, &mut other));
        let told = [one, other].into_iter().flatten();
        told.for_each(|failed| {
            ran += 1;
            failures += usize::from(failed);
        });
    }
    let mut ground = ground(3);
    for case in ALONE.iter().filter(chosen) {
        ran += 1;
        failures += usize::from(tell(case, &mut ground).await);
    }
    ensure!(ran > 0, "STRATA_CASE={only} names no case");
    if failures > 0 {
        say(&format!("kept {}", folder.keep().display()));
    }
    Ok(failures)
}

/// Runs a case and prints what became of it; gives whether it failed.
async fn tell((name, case): &Case, ground: &mut Ground) -> bool {
    let began = Instant::now();
    let result = case(ground).await;
    let took = began.elapsed().as_millis();
    match &result {
        Ok(()) => say(&format!("ok      {name} ({took} ms)")),
        Err(error) => say(&format!("FAILED  {name}: {error:#}")),
    }
    result.is_err()
}

/// Takes as many descriptors as the cases want, or as the system gives; the servers inherit that.
fn raise_descriptors() -> u64 {
    let now = getrlimit(Resource::Nofile);
    let enough = |limit: Option<u64>| limit.is_none_or(|limit| limit >= DESCRIPTORS);
    let hard = if enough(now.maximum) { now.maximum } else { Some(DESCRIPTORS) };
    // Only a privileged process may raise the hard limit; another one takes what there is of it.
    for maximum in [hard, now.maximum] {
        let wanted = Rlimit { current: if enough(maximum) { Some(DESCRIPTORS) } else { maximum }, maximum };
        if setrlimit(Resource::Nofile, wanted).is_ok() {
            break;
        }
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Where servers of the cases are made.
struct Ground {
    binary: PathBuf,
    folder: PathBuf,
    draw: Draw,
}

impl Ground {
    fn new(binary: &Path, folder: &Path, draw: Draw) -> Self {
        Self { binary: binary.to_path_buf(), folder: folder.to_path_buf(), draw }
    }

    /// A server that was never started, with these lines of `broker.conf`.
    fn setup(&mut self, name: &str, settings: &[&str]) -> Result<Setup> {
        let data = self.folder.join(name);
        let ports = Ports::free(&mut self.draw)?;
        let settings = settings.iter().copied().map(String::from).collect();
        Ok(Setup { binary: self.binary.clone(), log: data.with_extension("log"), data, ports, settings })
    }
}

/// Waits until a figure of the metrics page is right; gives the time that it took.
async fn until(
    ports: Ports,
    (name, labels): (&str, &[&str]),
    most: Duration,
    is_right: impl Fn(f64) -> bool,
) -> Result<Duration> {
    let began = Instant::now();
    loop {
        let now = page::figure(ports, name, labels).await?;
        if is_right(now) {
            return Ok(began.elapsed());
        }
        ensure!(began.elapsed() < most, "{name} {labels:?} is still {now} after {most:?}");
        sleep(LOOK).await;
    }
}

/// Waits until a process has at most `kib` of memory of its own; gives what it has then.
async fn until_memory(id: u32, kib: u64, most: Duration) -> Result<u64> {
    let began = Instant::now();
    loop {
        let now = own_memory_kib(id)?;
        if now <= kib {
            return Ok(now);
        }
        ensure!(began.elapsed() < most, "the server still has {now} KiB of its own after {most:?}, {kib} are right");
        sleep(LOOK).await;
    }
}

/// The value below which `percent` of 100 times lie; zero when there are none.
fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    times.get((times.len() * percent / 100).min(times.len().saturating_sub(1))).copied().unwrap_or_default()
}
