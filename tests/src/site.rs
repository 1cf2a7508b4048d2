//! A Strata process as an operator has it: started from a shell, watched, killed, stopped.
//!
//! Owns the process, its ports and its output. It knows nothing of what is said to it.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Instant, sleep, timeout};

use crate::draw::Draw;
use crate::limits::{READY_MAX, STOP_MAX};
use crate::setting;

/// How often a process is looked at that is to end.
const LOOK: Duration = Duration::from_millis(5);

/// Lines of a log that an error shows.
const TAIL_LINES: usize = 15;

/// A command, which only tests may run.
pub fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    #[expect(clippy::disallowed_methods, reason = "whole-system tests start the system")]
    Command::new(program)
}

/// The binary under test: the one that `STRATA_BINARY` names, else the workspace's, built now so that an old
/// one is never tested by mistake.
///
/// # Errors
/// It does not build.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = setting::text("STRATA_BINARY") {
        ensure!(Path::new(&path).is_file(), "STRATA_BINARY={path} is no file");
        return Ok(PathBuf::from(path));
    }
    let cargo = setting::text("CARGO").unwrap_or_else(|| String::from("cargo"));
    let package = setting::package();
    let workspace = package.parent().context("the tests lie in a workspace")?;
    let built = command(cargo).args(["build", "--release", "--quiet", "-p", "strata"]).current_dir(workspace).status();
    ensure!(built.context("cannot run cargo")?.success(), "the binary does not build");
    // This program is target/release/deps/NAME.
    let own = std::env::current_exe().context("no path of this program")?;
    let folder = own.parent().and_then(Path::parent).context("no target folder")?;
    let path = folder.join("strata");
    ensure!(path.is_file(), "{} was not built", path.display());
    Ok(path)
}

/// The ports of one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// The name server's.
    pub namesrv: u16,
    /// The broker's; two below it is its fast port.
    pub broker: u16,
    /// The metrics page's.
    pub metrics: u16,
    /// That of SQL.
    pub sql: u16,
    /// That of SQL for PostgreSQL's clients.
    pub postgres: u16,
}

impl Ports {
    /// Ports that nobody uses now, below those that the system gives to clients.
    ///
    /// # Errors
    /// None was found.
    pub fn free(draw: &mut Draw) -> Result<Self> {
        for _ in 0..200 {
            let base = u16::try_from(draw.between(20_000, 31_990)).unwrap_or(20_000);
            let (sql, postgres) = (base + 3, base + 5);
            let ports = Self { namesrv: base, broker: base + 4, metrics: base + 1, sql, postgres };
            if (base..=base + 5).all(is_free) {
                return Ok(ports);
            }
        }
        Err(anyhow!("no free ports between 20000 and 32000"))
    }
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok()
}

/// What a server is started with.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The binary.
    pub binary: PathBuf,
    /// Its data folder.
    pub data: PathBuf,
    /// Its ports.
    pub ports: Ports,
    /// Lines of its `broker.conf`.
    pub settings: Vec<String>,
    /// Where its standard error is appended to.
    pub log: PathBuf,
}

impl Setup {
    /// The command that starts it.
    ///
    /// # Errors
    /// Its `broker.conf` cannot be written.
    pub fn command(&self) -> Result<Command> {
        let config = self.log.with_extension("conf");
        // The suites are about the log; who wants a cold tier says so, and the later line counts. How full the machine's
        // disk is must not decide what is deleted.
        let settings = format!("tieredStoreUrl=\ndiskMaxUsedSpaceRatio=95\n{}", self.settings.join("\n"));
        std::fs::write(&config, settings).context("cannot write broker.conf")?;
        let mut start = command(&self.binary);
        start.arg("start").arg("--data").arg(&self.data).arg("-c").arg(&config);
        let ports = [
            ("--namesrv-port", self.ports.namesrv),
            ("--broker-port", self.ports.broker),
            ("--metrics-port", self.ports.metrics),
            ("--sql-port", self.ports.sql),
            ("--postgres-port", self.ports.postgres),
        ];
        for (flag, port) in ports {
            start.arg(flag).arg(port.to_string());
        }
        start.env_remove("NAMESRV_ADDR").stdin(Stdio::null());
        Ok(start)
    }
}

/// A running server; dropping it kills it.
#[derive(Debug)]
pub struct Site {
    child: Child,
    lines: UnboundedReceiver<String>,
    log: PathBuf,
    started: Instant,
    /// Its ports.
    pub ports: Ports,
}

impl Site {
    /// Starts the process; it is not ready yet.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn spawn(setup: &Setup) -> Result<Self> {
        Self::launch(setup.command()?, setup)
    }

    /// Starts `start` as a process with the ports and the log of `setup`; it is not ready yet.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn launch(mut start: Command, setup: &Setup) -> Result<Self> {
        let log = OpenOptions::new().create(true).append(true).open(&setup.log).context("cannot open the log")?;
        let started = Instant::now();
        let mut child = start.stdout(Stdio::piped()).stderr(log).spawn().context("cannot start strata")?;
        let stdout = child.stdout.take().context("no standard output")?;
        let (sender, lines) = unbounded_channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self { child, lines, log: setup.log.clone(), started, ports: setup.ports })
    }

    /// Starts the process and waits until it is ready.
    ///
    /// # Errors
    /// It ends instead, or is not ready in time.
    pub async fn start(setup: &Setup) -> Result<Self> {
        let mut site = Self::spawn(setup)?;
        site.ready().await?;
        Ok(site)
    }

    /// Waits for the line that says `ready`; gives the time since the start.
    ///
    /// # Errors
    /// The process ends instead, or it takes too long.
    pub async fn ready(&mut self) -> Result<Duration> {
        let said = timeout(READY_MAX, async {
            while let Some(line) = self.lines.recv().await {
                if line.contains("ready") {
                    return true;
                }
            }
            false
        });
        match said.await {
            Ok(true) => Ok(self.started.elapsed()),
            Ok(false) => bail!("strata ended before it was ready; its last words:\n{}", tail(&self.log)),
            Err(_) => bail!("strata was not ready within {READY_MAX:?}; its last words:\n{}", tail(&self.log)),
        }
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Lets it do nothing until [`Site::wake`]: what is sent to it meanwhile waits in the kernel.
    ///
    /// # Errors
    /// It had ended by itself, or does not stop.
    pub async fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)?;
        let deadline = Instant::now() + STOP_MAX;
        // Each thread stops when it is scheduled next.
        while !self.is_stopped()? {
            ensure!(Instant::now() < deadline, "strata does not pause");
            sleep(LOOK).await;
        }
        Ok(())
    }

    /// Whether every thread is stopped.
    fn is_stopped(&self) -> Result<bool> {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.id())).context("cannot look at strata")?;
        for thread in threads {
            let stat = std::fs::read_to_string(thread?.path().join("stat")).context("cannot look at a thread")?;
            let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
            if state != Some('T') {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// It had ended by itself.
    pub fn wake(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        // The child is not waited for yet, so that its number cannot belong to another process.
        let sent = kill_process(Pid::from_child(&self.child), signal);
        sent.with_context(|| format!("strata had ended by itself; its last words:\n{}", tail(&self.log)))
    }

    /// Ends it as a power button would, as far as a process can be (`kill -9`).
    ///
    /// # Errors
    /// It had ended by itself before, which is a crash.
    pub fn kill(mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait().context("cannot look at strata")? {
            bail!("strata had ended by itself ({status}); its last words:\n{}", tail(&self.log));
        }
        self.child.kill().context("cannot kill strata")?;
        self.child.wait().context("cannot wait for strata")?;
        Ok(())
    }

    /// Ends it whatever became of it: without its disk it may have ended by itself.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub fn finish(mut self) -> Result<()> {
        // One that ended by itself cannot be killed any more.
        let _ = self.child.kill();
        self.child.wait().context("cannot wait for strata").map(drop)
    }

    /// Asks it to stop (SIGTERM) and waits for its end.
    ///
    /// # Errors
    /// It takes too long.
    pub async fn stop(mut self) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        let deadline = Instant::now() + STOP_MAX;
        loop {
            if let Some(status) = self.child.try_wait().context("cannot look at strata")? {
                return Ok(status);
            }
            ensure!(
                Instant::now() < deadline,
                "strata does not stop within {STOP_MAX:?}; its last words:\n{}",
                tail(&self.log)
            );
            sleep(LOOK).await;
        }
    }

    /// Whether it still runs.
    #[must_use]
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // The process is this test's own; after `kill` or `stop` both calls do nothing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Memory that a process has of its own, KiB: anonymous pages, not mapped segments.
///
/// # Errors
/// The system does not tell.
pub fn own_memory_kib(id: u32) -> Result<u64> {
    let path = format!("/proc/{id}/status");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:")).context("no RssAnon")?;
    line.split_whitespace().next().and_then(|word| word.parse().ok()).context("RssAnon is no number")
}

/// The last lines of a file.
#[must_use]
pub fn tail(path: &Path) -> String {
    let text = File::open(path).and_then(std::io::read_to_string).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

/// How a command ended that was expected to end by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Its exit code; `None` after a signal.
    pub code: Option<i32>,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

/// Runs a start that is expected to fail, in `folder`.
///
/// # Errors
/// It does not end within [`READY_MAX`]; it is killed then.
pub async fn run_to_end(mut start: Command, folder: &Path) -> Result<Ended> {
    let (out, err) = (folder.join("start.out"), folder.join("start.err"));
    let file = |path: &Path| File::create(path).with_context(|| format!("cannot create {}", path.display()));
    let mut child = start.stdout(file(&out)?).stderr(file(&err)?).spawn().context("cannot start strata")?;
    let deadline = Instant::now() + READY_MAX;
    let status = loop {
        if let Some(status) = child.try_wait().context("cannot look at strata")? {
            break status;
        }
        if Instant::now() > deadline {
            child.kill().and_then(|()| child.wait()).context("cannot kill strata")?;
            bail!("strata started although it should not have; it said:\n{}{}", tail(&out), tail(&err));
        }
        sleep(LOOK).await;
    };
    let text = |path: &Path| std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
    Ok(Ended { code: status.code(), stdout: text(&out)?, stderr: text(&err)? })
}
