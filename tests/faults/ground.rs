//! Where the cases stand: folders, ports, file systems, and what several of them ask of a server.
//!
//! Owns what a case needs of the machine and says so when it is not to be had.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use strata_protocol::code::ResponseCode;
use strata_protocol::frame::HeaderCodec;
use strata_tests::check::{self, Report, Terms};
use strata_tests::draw::Draw;
use strata_tests::dump::Dump;
use strata_tests::history::{History, Outcome, Queue, Sent};
use strata_tests::site::{Ports, Setup};
use strata_tests::talk::Talk;
use strata_tests::traffic::sender::Sender;
use strata_tests::violation::Violation;
use strata_tests::volume::{Kind, Volume};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Producers of a crowd.
const CROWD: u32 = 4;

/// Pause of a producer that was refused.
const PAUSE: Duration = Duration::from_millis(10);

/// This machine cannot run a case.
#[derive(Debug, thiserror::Error)]
#[error("this machine has no {what}: {why}; see tests/power/install")]
pub(crate) struct CannotRun {
    what: &'static str,
    why: String,
}

/// What cases are given.
pub(crate) struct Ground {
    pub(crate) binary: PathBuf,
    pub(crate) folder: PathBuf,
    pub(crate) seed: u64,
    pub(crate) draw: Draw,
    /// Whether there are file systems to be had, else why not.
    pub(crate) volumes: Result<(), String>,
}

impl Ground {
    /// A server with a data folder `name`.
    pub(crate) fn setup(&mut self, name: &str, settings: &[&str]) -> Result<Setup> {
        let data = self.folder.join(format!("{name}-{}", self.draw.below(1 << 32)));
        let settings = settings.iter().map(|line| (*line).to_owned()).collect();
        let ports = Ports::free(&mut self.draw)?;
        Ok(Setup { binary: self.binary.clone(), log: data.with_extension("log"), data, ports, settings })
    }

    /// A file system of `bytes`, and a server whose data folder is on it.
    pub(crate) fn on_volume(&mut self, kind: Kind, bytes: u64, settings: &[&str]) -> Result<(Volume, Setup)> {
        if let Err(why) = &self.volumes {
            return Err(CannotRun { what: "file systems for tests", why: why.clone() }.into());
        }
        let volume = Volume::make(kind, bytes)?;
        let setup = self.setup("volume", settings)?;
        Ok((Volume::path(&volume).join("data"), setup)).map(|(data, setup)| (volume, Setup { data, ..setup }))
    }
}

/// Fails a case that needs `path`.
pub(crate) fn need(what: &'static str, path: Option<PathBuf>) -> Result<PathBuf> {
    path.ok_or_else(|| CannotRun { what, why: String::from("it is not installed") }.into())
}

/// A connection to the broker.
pub(crate) async fn talk_to(setup: &Setup) -> Result<Talk> {
    Ok(Talk::connect(setup.ports.broker, HeaderCodec::Json).await?)
}

/// The queues of `topic` that a crowd sends to.
pub(crate) fn queues(topic: &str) -> Vec<Queue> {
    (0..i32::try_from(CROWD).unwrap_or(0)).map(|id| Queue::new(topic, id)).collect()
}

/// Producers that send without a pause until they are told to stop.
pub(crate) struct Crowd {
    tasks: JoinSet<Result<Vec<Sent>>>,
    stop: Arc<AtomicBool>,
    refused: Arc<AtomicU64>,
    stored: Arc<AtomicU64>,
}

impl Crowd {
    /// Begins to send bodies of `bytes` to `topic`; producers are numbered from `first` on. Answers other than a
    /// success, `SERVICE_NOT_AVAILABLE` and `SYSTEM_BUSY` end the case.
    pub(crate) async fn begin(setup: &Setup, topic: &str, (seed, first): (u64, u32), bytes: u64) -> Result<Self> {
        let (stop, refused, stored) = Default::default();
        let mut crowd = Self { tasks: JoinSet::new(), stop, refused, stored };
        for (producer, queue) in (first..).zip(queues(topic)) {
            let mut sender = Sender::new(talk_to(setup).await?, queue, seed, producer);
            let (stop, refused) = (Arc::clone(&crowd.stop), Arc::clone(&crowd.refused));
            let stored = Arc::clone(&crowd.stored);
            crowd.tasks.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let answer = sender.send(bytes).await?;
                    match ResponseCode::of(answer.code) {
                        Some(ResponseCode::Success) => stored.fetch_add(1, Ordering::Relaxed),
                        Some(ResponseCode::ServiceNotAvailable | ResponseCode::SystemBusy) => {
                            sleep(PAUSE).await;
                            refused.fetch_add(1, Ordering::Relaxed)
                        }
                        _ => bail!("a send was answered with {}: {}", answer.code, answer.remark),
                    };
                }
                Ok(sender.log)
            });
        }
        Ok(crowd)
    }

    /// Sends that were refused so far.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Sends that were acknowledged so far.
    pub(crate) fn stored(&self) -> u64 {
        self.stored.load(Ordering::Relaxed)
    }

    /// Waits until `seen` holds.
    pub(crate) async fn until(&self, within: Duration, what: &str, seen: impl Fn(&Self) -> bool) -> Result<()> {
        let waited = timeout(within, async {
            while !seen(self) {
                sleep(PAUSE).await;
            }
        });
        waited.await.with_context(|| format!("not within {within:?}: {what}"))
    }

    /// Stops it; gives what it sent.
    pub(crate) async fn end(mut self) -> Result<Vec<Sent>> {
        self.stop.store(true, Ordering::Relaxed);
        let mut log = Vec::new();
        while let Some(ended) = self.tasks.join_next().await {
            log.extend(ended.context("a producer panicked")??);
        }
        Ok(log)
    }
}

/// What is right in a case and wrong in others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Excuse {
    /// Nothing.
    None,
    /// The oldest messages were deleted for their space.
    Trimmed,
    /// Store times stood still while the clock was behind them; the case measures delays by itself.
    Stamps,
}

/// Judges what was sent by what the server holds.
pub(crate) fn judge(mut sends: Vec<Sent>, dump: &Dump, excuse: Excuse) -> Result<Report> {
    if excuse == Excuse::Trimmed {
        sends.retain(|sent| {
            let Outcome::Stored(place) = &sent.outcome else { return true };
            dump.queues.get(&place.queue).is_none_or(|held| place.offset >= held.min)
        });
    }
    let history = History { sends, ..History::default() };
    let mut report = check::check(&history, dump, &Terms::default());
    if excuse == Excuse::Stamps {
        report.violations.retain(|violation| !matches!(violation, Violation::Early { .. }));
    }
    ensure!(report.violations.is_empty(), "\n{report}");
    ensure!(report.counts.acknowledged > 0, "nothing was acknowledged");
    Ok(report)
}

/// Every settings file of a data folder can be read, and its previous generation too.
pub(crate) fn settings_are_whole(data: &Path) -> Result<usize> {
    let folder = data.join("broker").join("config");
    let mut whole = 0;
    for entry in std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "json" || ending == "bak") {
            let text = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let parsed = serde_json::from_slice::<serde_json::Value>(&text);
            parsed.with_context(|| format!("{} is damaged", path.display()))?;
            whole += 1;
        }
    }
    ensure!(whole > 0, "there are no settings files in {}", folder.display());
    Ok(whole)
}
