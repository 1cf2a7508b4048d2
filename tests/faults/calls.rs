//! System calls that fail once, in the running binary: `strace` answers them in the kernel's place.
//!
//! Owns the tracer and which call of which file fails. What must hold after a failed write or flush of the log:
//! no later acknowledgement although the next call would succeed, pulls go on, the metric, the log and the exit
//! code say why, and a restart has everything that was acknowledged.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use strata_protocol::code::ResponseCode;
use strata_tests::dump::Dump;
use strata_tests::epoch::{Flush, no_panic};
use strata_tests::history::Queue;
use strata_tests::page::figure;
use strata_tests::site::{Setup, Site, command, tail};
use strata_tests::traffic::sender::Sender;
use tokio::time::{Instant, sleep};

use crate::ground::{Crowd, Excuse, Ground, judge, need, queues, talk_to};

const TOPIC: &str = "failing";

/// Bytes of a body.
const BODY_BYTES: u64 = 1_000;

/// The call that fails is one of so many first ones.
const CALLS: u64 = 20;

/// Calls that are interrupted: every third one from the second to the 59th.
const INTERRUPTIONS: usize = 20;

/// How long anything here may take.
const MAX: Duration = Duration::from_secs(20);

/// Sends that must all be refused afterwards, and the pause between them: time for several flushes that succeed.
const AFTER: (u32, Duration) = (20, Duration::from_millis(100));

/// The exit code of a server whose log took no more messages.
const EXIT_FAILED: i32 = 7;

/// A tracer of a running server. Dropping it lets the server go.
struct Tracer {
    child: Child,
    out: PathBuf,
}

impl Tracer {
    /// Follows all threads of `site` and does to calls on `file` what `inject` says.
    async fn attach(site: &Site, file: &Path, inject: &str, out: PathBuf) -> Result<Self> {
        let (call, _) = inject.split_once(':').context("no call to inject")?;
        let mut start = command(need("strace", find("strace"))?);
        start.args(["-f", "-p", &site.id().to_string(), "-e", &format!("trace={call}"), "-e"]);
        start.arg(format!("inject={inject}")).arg("-P").arg(file).arg("-o").arg(&out);
        let said = out.with_extension("said");
        let child = start.stdin(Stdio::null()).stderr(fs::File::create(&said)?).spawn().context("cannot run strace")?;
        let tracer = Self { child, out };
        let began = Instant::now();
        while !fs::read_to_string(&said).is_ok_and(|said| said.contains("attached")) {
            ensure!(began.elapsed() < MAX, "strace does not attach: {}", tail(&said));
            sleep(Duration::from_millis(10)).await;
        }
        Ok(tracer)
    }

    /// The calls that it changed.
    fn injected(&self) -> usize {
        fs::read_to_string(&self.out).unwrap_or_default().matches("(INJECTED)").count()
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // It detaches from what it follows; the process is this test's own. No call is changed any more by then: one
        // that strace lets go of half-way would end with ENOSYS.
        let _ = kill_process(Pid::from_child(&self.child), Signal::INT);
        let _ = self.child.wait();
    }
}

/// Where a program is.
fn find(program: &str) -> Option<PathBuf> {
    let folders = ["/usr/bin", "/bin", "/usr/local/bin"];
    folders.iter().map(|folder| Path::new(folder).join(program)).find(|path| path.is_file())
}

/// The segment that is written.
fn segment(setup: &Setup) -> Result<PathBuf> {
    let folder = setup.data.join("broker").join("commitlog");
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries.map_while(Result::ok).map(|entry| entry.path()).collect();
    paths.sort();
    paths.pop().context("there is no segment")
}

/// The log cannot be flushed, once.
pub(crate) async fn failed_flush(ground: &mut Ground, flush: Flush) -> Result<String> {
    fail(ground, flush, "fdatasync", "EIO").await
}

/// The system calls that write the log: directly, or where the file system cannot, through its cache.
const WRITES: &str = "pwritev,pwrite64";

/// The log cannot be written, once.
pub(crate) async fn failed_write(ground: &mut Ground, error: &str) -> Result<String> {
    fail(ground, Flush::Sync, WRITES, error).await
}

async fn fail(ground: &mut Ground, flush: Flush, call: &str, error: &str) -> Result<String> {
    let setup = ground.setup("calls", &[&flush.setting(), "flushIntervalCommitLog=50"])?;
    let site = Site::start(&setup).await?;
    let crowd = Crowd::begin(&setup, TOPIC, (ground.seed, 1), BODY_BYTES).await?;
    crowd.until(MAX, "messages are stored", |crowd| crowd.stored() > 100).await?;
    let nth = ground.draw.between(1, CALLS);
    let inject = format!("{call}:error={error}:when={nth}");
    let tracer = Tracer::attach(&site, &segment(&setup)?, &inject, setup.log.with_extension("strace")).await?;
    crowd.until(MAX, "sends are refused", |crowd| crowd.refused() > 0).await?;
    let mut sends = crowd.end().await?;
    ensure!(tracer.injected() == 1, "{} calls were made to fail, not one", tracer.injected());

    let mut probe = Sender::new(talk_to(&setup).await?, Queue::new(TOPIC, 0), ground.seed, 90);
    for _ in 0..AFTER.0 {
        let answer = probe.send(BODY_BYTES).await?;
        let refused = ResponseCode::of(answer.code) == Some(ResponseCode::ServiceNotAvailable);
        ensure!(refused, "after a failed {call} a send is answered with {}: {}", answer.code, answer.remark);
        sleep(AFTER.1).await;
    }
    drop(tracer);
    let dump = Dump::read(&talk_to(&setup).await?, &queues(TOPIC)).await.context("pulls do not go on")?;
    judge(sends.clone(), &dump, Excuse::None).context("what was acknowledged, pulled after the failure")?;
    let latched = figure(setup.ports, "strata_store_latched", &[]).await?;
    ensure!((latched - 1.0).abs() < f64::EPSILON, "strata_store_latched is {latched}");
    let status = site.stop().await?;
    ensure!(status.code() == Some(EXIT_FAILED), "it ended with {status}, {EXIT_FAILED} is right");
    let log = fs::read_to_string(&setup.log).context("cannot read the log")?;
    for words in ["the store takes no more writes", "the log took no messages since", "commitlog"] {
        ensure!(log.contains(words), "the log does not say: {words}");
    }

    let site = Site::start(&setup).await?;
    let dump = Dump::read(&talk_to(&setup).await?, &queues(TOPIC)).await?;
    site.kill()?;
    no_panic(&setup.log)?;
    sends.extend(probe.log);
    let report = judge(sends, &dump, Excuse::None).context("what was acknowledged, after a restart")?;
    Ok(format!("{call} number {nth} failed; {} acknowledged before, none after, all there", report.counts.acknowledged))
}

/// Calls that a signal interrupted are made again; nobody notices.
pub(crate) async fn interrupted(ground: &mut Ground) -> Result<String> {
    let setup = ground.setup("interrupted", &[&Flush::Sync.setting()])?;
    let site = Site::start(&setup).await?;
    let crowd = Crowd::begin(&setup, TOPIC, (ground.seed, 1), BODY_BYTES).await?;
    crowd.until(MAX, "messages are stored", |crowd| crowd.stored() > 100).await?;
    let mut interrupted = 0;
    for call in ["fdatasync", WRITES] {
        let out = setup.log.with_extension(call);
        // It ends before the tracer does: strace must not let go of a call that it has changed.
        let inject = format!("{call}:error=EINTR:when=2..59+3");
        let tracer = Tracer::attach(&site, &segment(&setup)?, &inject, out).await?;
        crowd.until(MAX, "calls are interrupted", |_| tracer.injected() >= INTERRUPTIONS).await?;
        let before = crowd.stored();
        crowd.until(MAX, "messages are stored", |crowd| crowd.stored() > before + 200).await?;
        interrupted += tracer.injected();
    }
    ensure!(crowd.refused() == 0, "{} sends were refused", crowd.refused());
    let sends = crowd.end().await?;
    let dump = Dump::read(&talk_to(&setup).await?, &queues(TOPIC)).await?;
    let status = site.stop().await?;
    ensure!(status.success(), "strata was told to stop and ended with {status}");
    let report = judge(sends, &dump, Excuse::None)?;
    Ok(format!("{interrupted} calls interrupted, {} messages", report.counts.acknowledged))
}
