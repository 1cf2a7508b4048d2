//! The two brokers, as processes: started alike, stopped while the other is measured, killed, removed.
//!
//! Owns processes, ports and data folders. Every process ends with its owner.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use strata_protocol::frame::HeaderCodec;
use strata_tests::draw::Draw;
use strata_tests::history::Queue;
use strata_tests::site::{Ports, tail};
use strata_tests::talk::{Draft, Talk};
use tokio::time::Instant;

use crate::settings::Settings;

/// How long a start may take: Apache with many files takes a minute.
const READY_MAX: Duration = Duration::from_secs(300);
/// How often a server that starts is tried.
const READY_INTERVAL: Duration = Duration::from_millis(2);
/// How long a server may take to end when it is told to.
const STOP_MAX: Duration = Duration::from_secs(30);
/// Settings of both brokers: sends may wait, so that the machine's pauses are not taken for overload, and the
/// log's files are as long.
const SETTINGS: [&str; 3] =
    ["waitTimeMillsInSendQueue=5000", "mappedFileSizeCommitLog=1073741824", "diskMaxUsedSpaceRatio=95"];
/// The Java machine's: a heap of 1 GiB from the start, and the collector that RocketMQ's scripts choose.
const JVM: &str = "-Xms1g -Xmx1g -XX:MaxDirectMemorySize=2g -XX:+UseG1GC";
/// The name server's, as RocketMQ's scripts have it in small.
const NAMESRV_JVM: &str = "-Xms128m -Xmx256m";
/// The topic that readiness is tried with.
const TRIED: &str = "compare-ready";

/// Which broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Apache,
    Strata,
}

impl Kind {
    /// Its name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Apache => "Apache RocketMQ 5.5.0",
            Self::Strata => "Strata",
        }
    }
}

/// A process that is killed when its owner goes.
#[derive(Debug)]
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // A stopped process takes the signal that ends it as well; after an end both calls do nothing.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A broker with its name server.
#[derive(Debug)]
pub struct Server {
    pub kind: Kind,
    folder: PathBuf,
    ports: Ports,
    extra: Vec<String>,
    cores: (usize, usize),
    program: PathBuf,
    broker: Option<Process>,
    namesrv: Option<Process>,
}

/// A command, which only tests may run.
pub fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    #[expect(clippy::disallowed_methods, reason = "the comparison starts what it compares")]
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).env_remove("NAMESRV_ADDR");
    command
}

/// A command that is bound to one core, and ends with this program however that ends.
pub fn pinned(core: usize, program: &Path) -> Command {
    let mut pinned = command("setpriv");
    pinned.args(["--pdeathsig", "KILL", "taskset", "-c"]).arg(core.to_string()).arg(program);
    pinned
}

impl Server {
    /// Starts one with `extra` settings and waits until it takes a send.
    pub fn start(kind: Kind, settings: &Settings, folder: &Path, extra: &[&str]) -> Result<Self> {
        let program = if kind == Kind::Apache { settings.apache.clone() } else { settings.strata.clone() };
        let seed = u64::from(std::process::id()) ^ if kind == Kind::Apache { 1 << 40 } else { 0 };
        let mut server = Self {
            kind,
            folder: folder.to_owned(),
            ports: Ports::free(&mut Draw::new(seed))?,
            extra: extra.iter().map(|line| (*line).to_owned()).collect(),
            cores: settings.cores,
            program,
            broker: None,
            namesrv: None,
        };
        std::fs::create_dir_all(server.folder.join("namesrv")).context("cannot make a data folder")?;
        server.begin()?;
        Ok(server)
    }

    /// Starts the processes; gives the time until a send was taken.
    fn begin(&mut self) -> Result<Duration> {
        let log = |name: &str| File::create(self.folder.join(name)).context("cannot make a log");
        if self.kind == Kind::Apache && self.namesrv.is_none() {
            let mut start = pinned(self.cores.0, &self.program);
            start
                .args(["namesrv", "--port", &self.ports.namesrv.to_string(), "--data"])
                .arg(self.folder.join("namesrv"));
            start.env("RMQ_JVM", NAMESRV_JVM);
            let child = start.stdout(log("namesrv.out")?).stderr(log("namesrv.err")?).spawn();
            self.namesrv = Some(Process(child.context("cannot start tests/apache/apache")?));
        }
        let lines: Vec<&str> = SETTINGS.into_iter().chain(self.extra.iter().map(String::as_str)).collect();
        let mut start = pinned(self.cores.0, &self.program);
        let data = self.folder.join("data");
        let (namesrv, broker) = (self.ports.namesrv.to_string(), self.ports.broker.to_string());
        match self.kind {
            Kind::Apache => {
                start.args(["broker", "--broker-port", &broker, "--namesrv", &self.namesrv(), "--data"]).arg(&data);
                start.env("RMQ_JVM", JVM).env("RMQ_SETTINGS", lines.join(" "));
            }
            Kind::Strata => {
                let config = self.folder.join("broker.conf");
                std::fs::write(&config, lines.join("\n")).context("cannot write broker.conf")?;
                start.args(["start", "--listen", "127.0.0.1", "--metrics-port", "0", "--namesrv-port", &namesrv]);
                start.args(["--broker-port", &broker, "--data"]).arg(&data).arg("-c").arg(&config);
            }
        }
        let began = Instant::now();
        let child = start.stdout(log("broker.out")?).stderr(log("broker.err")?).spawn();
        self.broker = Some(Process(child.context("cannot start the broker; are setpriv and taskset installed?")?));
        self.wait_ready(began)
    }

    fn wait_ready(&mut self, began: Instant) -> Result<Duration> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let queue = Queue::new(TRIED, 0);
        loop {
            let port = self.ports.broker;
            let taken = runtime.block_on(async {
                let talk = Talk::connect(port, HeaderCodec::Json).await.ok()?;
                talk.send(&Draft::new(&queue, "WAIT\u{1}true\u{2}", "ready")).await.ok().filter(|sent| sent.code == 0)
            });
            if taken.is_some() {
                return Ok(began.elapsed());
            }
            let ended = self.broker.as_mut().and_then(|broker| broker.0.try_wait().ok().flatten());
            if ended.is_some() || began.elapsed() > READY_MAX {
                let words = [tail(&self.folder.join("broker.out")), tail(&self.folder.join("broker.err"))].join("\n");
                bail!("{} is not ready; its last words:\n{words}", self.kind.name());
            }
            std::thread::sleep(READY_INTERVAL);
        }
    }

    /// `kill -9`, and a start on the same data; gives the time until a send was taken.
    pub fn restart(&mut self) -> Result<Duration> {
        self.broker = None;
        self.begin()
    }

    /// Process of the broker.
    pub fn id(&self) -> u32 {
        self.broker.as_ref().map_or(0, |broker| broker.0.id())
    }

    /// Process of the name server, which with Strata is the same.
    pub fn namesrv_id(&self) -> u32 {
        self.namesrv.as_ref().map_or_else(|| self.id(), |namesrv| namesrv.0.id())
    }

    /// Address of the broker.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.ports.broker)
    }

    /// Address of the name server.
    pub fn namesrv(&self) -> String {
        format!("127.0.0.1:{}", self.ports.namesrv)
    }

    /// Lets it do nothing.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on.
    pub fn wake(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        for process in self.broker.iter().chain(&self.namesrv) {
            kill_process(Pid::from_child(&process.0), signal)
                .with_context(|| format!("{} had ended by itself", self.kind.name()))?;
        }
        Ok(())
    }

    /// The newest file of its log.
    pub fn active_segment(&self) -> Result<PathBuf> {
        let mut folders = vec![self.folder.join("data")];
        let mut newest = None;
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).context("cannot read the data folder")? {
                let path = entry?.path();
                let is_log = folder.ends_with("commitlog") && path.is_file();
                if path.is_dir() {
                    folders.push(path);
                } else if is_log && newest.as_ref().is_none_or(|newest| *newest < path) {
                    newest = Some(path);
                }
            }
        }
        newest.context("the log has no file")
    }

    /// Ends it and removes its data.
    pub fn remove(mut self) -> Result<()> {
        self.wake()?;
        self.signal(Signal::TERM)?;
        let deadline = Instant::now() + STOP_MAX;
        for process in self.broker.iter_mut().chain(&mut self.namesrv) {
            while process.0.try_wait()?.is_none() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        // What has not ended by now is killed.
        (self.broker, self.namesrv) = (None, None);
        std::fs::remove_dir_all(&self.folder).context("cannot remove a data folder")?;
        ensure!(!self.folder.exists(), "the data folder is still there");
        Ok(())
    }
}
