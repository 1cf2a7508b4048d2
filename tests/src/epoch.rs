//! One data folder's story: its server dies again and again, then all is read and judged.
//!
//! Owns when a server starts and dies, and the order of the final audit. What is wrong is decided by
//! [`crate::check`], what a power cut may take by [`crate::loss`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::check::{self, Report, Terms, keys, sameness};
use crate::clock::now_ms;
use crate::draw::Draw;
use crate::dump::Dump;
use crate::history::{Digest, History, Outcome, Queue, Run, Ticket};
use crate::limits::ASYNC_WINDOW_MS;
use crate::loss::{self, Loss, Moments};
use crate::site::{Ports, Setup, Site};
use crate::talk::Talk;
use crate::traffic::{self, RunPlan, TOPICS, Traffic, group_of};
use crate::violation::Violation;
use crate::volume::{Cut, Manner, Volume};
use anyhow::{Context, Result, bail, ensure};
use strata_protocol::frame::HeaderCodec;
use strata_protocol::name::{SCHEDULE_TOPIC, is_retry};
use strata_protocol::properties;
use tokio::time::{Instant, sleep};

/// Longest life of a server after it is ready, ms.
const LIFE_MS_MAX: u64 = 2_000;

/// Life of a few servers, so that commits outlive the window in which a kill may take them back, ms.
const LONG_LIFE_MS: u64 = 8_000;

/// Of 100 kills, how many come before the server is ready.
const EARLY_PERCENT: u64 = 10;

/// Of 100 cuts, how many find the server paused: then every answer that it gave counts.
const PAUSED_PERCENT: u64 = 50;

/// How long delayed messages may take to come once the kills are over.
const LATE_MAX: Duration = Duration::from_secs(20);

/// Pause between two looks at what still waits.
const LATE_LOOK: Duration = Duration::from_millis(100);

/// How long after the last message came another death changes nothing: the progress of delayed messages is stored
/// a second behind, and a cut may take what was flushed in the background within its window.
const SETTLED: Duration = Duration::from_millis(1_500 + ASYNC_WINDOW_MS.unsigned_abs());

/// Keys and unique keys that an audit asks for.
const KEYS_ASKED_MAX: usize = 3_000;

/// Positions that an audit asks for.
const POSITIONS_ASKED_MAX: u64 = 300;

/// How the log reaches the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flush {
    /// In the background.
    Async,
    /// Before the answer.
    Sync,
}

impl Flush {
    /// Its line in `broker.conf`.
    #[must_use]
    pub fn setting(self) -> String {
        let value = match self {
            Self::Async => "ASYNC_FLUSH",
            Self::Sync => "SYNC_FLUSH",
        };
        format!("flushDiskType={value}")
    }
}

/// How a server dies.
#[derive(Debug)]
pub enum Death {
    /// `kill -9`: what it wrote stays in the system's cache.
    Kill,
    /// The file system that holds its data folder loses power: what was not flushed is gone.
    Cut(Volume),
}

/// What an epoch is told.
#[derive(Debug)]
pub struct Plan {
    /// The binary.
    pub binary: PathBuf,
    /// Its own folder, which it fills.
    pub folder: PathBuf,
    /// What decides its choices.
    pub seed: u64,
    /// How often its server dies before the audit.
    pub deaths: u32,
    /// How its log is flushed.
    pub flush: Flush,
    /// Bytes of a segment: small ones are filled often.
    pub segment_bytes: u64,
    /// How its server dies.
    pub death: Death,
    /// Whether a violation is one that fails for a reason that is known.
    pub is_known: fn(&Violation, Flush) -> bool,
}

/// An epoch at its end.
#[derive(Debug)]
pub struct Audited {
    /// What was done and seen; messages that cuts were allowed to take are of unknown outcome in it.
    pub history: History,
    /// What the server holds.
    pub dump: Dump,
    /// Who read what to its end.
    pub terms: Terms,
    /// The verdict.
    pub report: Report,
    /// Violations that are known.
    pub known: Vec<Violation>,
    /// What cuts took that they were allowed to take.
    pub loss: Loss,
    /// Times from start to ready, sorted.
    pub starts: Vec<Duration>,
    /// What the server was started with.
    pub setup: Setup,
}

impl Audited {
    /// The times from start to ready as a line of a report.
    #[must_use]
    pub fn starts(&self) -> String {
        let starts = &self.starts;
        let at = |share: usize| {
            starts.get(starts.len().saturating_sub(1) * share / 100).copied().unwrap_or(Duration::ZERO).as_millis()
        };
        format!("  starts     {} until ready: {} ms median, {} ms at most\n", starts.len(), at(50), at(100))
    }
}

/// An epoch under way.
struct Epoch {
    plan: Plan,
    setup: Setup,
    draw: Draw,
    history: History,
    next: BTreeMap<u32, Ticket>,
    violations: Vec<Violation>,
    loss: Loss,
    starts: Vec<Duration>,
}

/// Lives the epoch and judges it.
///
/// # Errors
/// The server does not start, or the test itself cannot go on; what is wrong with the data is in the report.
pub async fn live(plan: Plan) -> Result<Audited> {
    let mut draw = Draw::new(plan.seed);
    let setup = setup_of(&plan, &plan.folder.join("data"), &mut draw)?;
    let setup = match &plan.death {
        Death::Kill => setup,
        Death::Cut(volume) => Setup { data: volume.path().join("data"), ..setup },
    };
    let (next, history) = (BTreeMap::new(), History::default());
    let (violations, loss, starts) = (Vec::new(), Loss::default(), Vec::new());
    let mut epoch = Epoch { plan, setup, draw, history, next, violations, loss, starts };
    let lived = epoch.live().await;
    let judged = match lived {
        Ok(dump) => epoch.judge(&dump).map(|report| (dump, report)),
        Err(error) => Err(error),
    };
    if !judged.as_ref().is_ok_and(|(_, report)| report.violations.is_empty()) {
        epoch.keep()?;
    }
    let (dump, mut report) = judged?;
    let (is_known, flush) = (epoch.plan.is_known, epoch.plan.flush);
    let known = report.violations.extract_if(.., |violation| is_known(violation, flush)).collect();
    epoch.starts.sort();
    let Epoch { history, loss, starts, setup, .. } = epoch;
    Ok(Audited { history, dump, terms: terms(), report, known, loss, starts, setup })
}

/// Each group reads its topic to its end.
fn terms() -> Terms {
    Terms { readers: TOPICS.map(|(topic, _, _)| (group_of(topic), Arc::from(topic))).to_vec() }
}

fn setup_of(plan: &Plan, data: &Path, draw: &mut Draw) -> Result<Setup> {
    Ok(Setup {
        binary: plan.binary.clone(),
        data: data.to_path_buf(),
        ports: Ports::free(draw)?,
        settings: vec![
            plan.flush.setting(),
            format!("mappedFileSizeCommitLog={}", plan.segment_bytes),
            // A machine that other work keeps busy is no fault here.
            String::from("waitTimeMillsInSendQueue=5000"),
        ],
        log: data.with_extension("log"),
    })
}

impl Epoch {
    /// All lives, and the looks at the end; gives what the server holds then.
    async fn live(&mut self) -> Result<Dump> {
        self.first_run().await?;
        for nth in 1..self.plan.deaths {
            // Two long lives in 25, the first one early.
            let is_long = nth % 12 == 3;
            if !is_long && self.draw.chance(EARLY_PERCENT) {
                self.die_early().await.with_context(|| format!("run {nth}"))?;
            } else {
                self.die_at_work(is_long).await.with_context(|| format!("run {nth}"))?;
            }
            if nth % 8 == 5 {
                self.recover_twice(nth).await.with_context(|| format!("recovering a copy after run {nth}"))?;
            }
        }
        self.audit().await
    }

    /// Copies a data folder that would go with its file system to where the caller can keep it.
    fn keep(&self) -> Result<()> {
        match self.plan.death {
            Death::Kill => Ok(()),
            Death::Cut(_) => copy_folder(&self.setup.data, &self.plan.folder.join("data")),
        }
    }

    fn run_plan(&self) -> RunPlan {
        let run = u32::try_from(self.history.runs.len()).unwrap_or(u32::MAX);
        RunPlan { ports: self.setup.ports, run, seed: self.plan.seed, draw: self.draw.fork(u64::from(run)) }
    }

    async fn start(&mut self) -> Result<Site> {
        let mut site = Site::spawn(&self.setup)?;
        self.starts.push(site.ready().await?);
        Ok(site)
    }

    /// Lets the server die.
    async fn die(&mut self, site: Site) -> Result<Option<Cut>> {
        let (killed_ms, cut) = match &mut self.plan.death {
            Death::Kill => {
                let killed_ms = now_ms();
                site.kill()?;
                (killed_ms, None)
            }
            Death::Cut(volume) => {
                let manner = if self.draw.chance(PAUSED_PERCENT) { Manner::Paused } else { Manner::AtWork };
                let cut = volume.cut(site, manner).await?;
                (cut.ms, Some(cut))
            }
        };
        self.history.runs.push(Run { killed_ms });
        Ok(cut)
    }

    /// Makes the topics; the server dies at once after that.
    async fn first_run(&mut self) -> Result<()> {
        let site = self.start().await?;
        traffic::create_topics(self.setup.ports).await?;
        self.die(site).await.map(drop)
    }

    /// Dies during the start: most of it is the recovery of the log.
    async fn die_early(&mut self) -> Result<()> {
        let usual = self.starts.iter().max().copied().unwrap_or_default();
        let micros = self.draw.below(u64::try_from(usual.as_micros())?);
        let site = Site::spawn(&self.setup)?;
        sleep(Duration::from_micros(micros)).await;
        self.die(site).await.map(drop)
    }

    /// Dies while producers and consumers work.
    async fn die_at_work(&mut self, is_long: bool) -> Result<()> {
        let life = if is_long { LONG_LIFE_MS } else { self.draw.below(LIFE_MS_MAX) };
        let site = self.start().await?;
        let dies = Instant::now() + Duration::from_millis(life);
        let traffic = Traffic::begin(&self.run_plan(), &self.next).await?;
        tokio::time::sleep_until(dies).await;
        let cut = self.die(site).await?;
        let (mut history, violations) = traffic.end(&mut self.next).await?;
        if let Some(cut) = cut {
            loss::forgive_refusals(&mut history, cut.ms);
        }
        if let Some((since_ms, cut)) = cut.and_then(|cut| Some((self.losable_since(cut)?, cut))) {
            self.forgive(&mut history, since_ms, cut).await?;
        }
        self.history.absorb(history);
        self.violations.extend(violations);
        Ok(())
    }

    /// From when on a cut may take what was acknowledged, ms since 1970.
    fn losable_since(&self, cut: Cut) -> Option<i64> {
        match self.plan.flush {
            Flush::Async => Some(cut.ms - ASYNC_WINDOW_MS),
            Flush::Sync => cut.since_ms,
        }
    }

    /// Looks what a cut took of the run that it ended. Opening the log makes durable what is left, so that later
    /// cuts take nothing more of it.
    async fn forgive(&mut self, run: &mut History, since_ms: i64, cut: Cut) -> Result<()> {
        let started_ms = now_ms();
        let site = self.start().await?;
        let queues = traffic::queues(self.run_plan().run);
        let dump = dump_of(self.setup.ports, &queues).await?;
        self.history.runs.push(Run { killed_ms: now_ms() });
        site.kill()?;
        let moments = Moments { since_ms, cut_ms: cut.ms, started_ms };
        self.loss.add(loss::forgive(run, &dump, moments));
        Ok(())
    }

    /// I14 on a log that a kill left: a copy is recovered, killed and recovered again.
    async fn recover_twice(&mut self, nth: u32) -> Result<()> {
        let data = self.plan.folder.join(format!("copy-{nth}"));
        copy_folder(&self.setup.data, &data)?;
        let setup = setup_of(&self.plan, &data, &mut self.draw)?;
        let queues = traffic::queues(self.run_plan().run);
        let mut dumps = Vec::new();
        for _ in 0..2 {
            let site = Site::start(&setup).await?;
            dumps.push(dump_of(setup.ports, &queues).await?);
            site.kill()?;
        }
        if let [first, second] = &dumps[..] {
            self.violations.extend(sameness::compare(first, second, may_grow));
        }
        std::fs::remove_dir_all(&data).context("cannot remove the copy")
    }

    /// After the last death: everything is read, and looked at twice more.
    async fn audit(&mut self) -> Result<Dump> {
        let queues = traffic::queues(self.run_plan().run);
        let site = self.start().await?;
        let ports = self.setup.ports;
        wait_for_late(ports).await?;
        self.violations.extend(traffic::routes_come_back(ports, self.run_plan().run).await);
        let fresh = self.fresh_topics();
        self.violations.extend(traffic::shrunk_topics(ports, &fresh).await?);
        let history = traffic::read_to_end(&self.run_plan()).await?;
        self.history.absorb(history);
        let dump = dump_of(ports, &queues).await?;
        self.ask_by_key(&dump).await?;
        sleep(SETTLED).await;
        self.die(site).await?;

        let site = self.start().await?;
        let again = dump_of(ports, &queues).await?;
        self.violations.extend(sameness::compare(&dump, &again, |_| false));
        self.ask_by_key(&again).await?;
        let history = traffic::read_to_end(&self.run_plan()).await?;
        let ends: BTreeMap<_, _> = history
            .commits
            .iter()
            .map(|commit| ((Arc::clone(&commit.group), commit.queue.clone()), commit.offset))
            .collect();
        self.history.absorb(history);
        let status = site.stop().await?;
        ensure!(status.success(), "strata was told to stop and ended with {status}");

        let site = self.start().await?;
        self.violations.extend(sameness::compare(&dump, &dump_of(ports, &queues).await?, |_| false));
        self.progress_is(&ends).await?;
        site.kill()?;
        Ok(dump)
    }

    fn judge(&mut self, dump: &Dump) -> Result<Report> {
        no_panic(&self.setup.log)?;
        let mut report = check::check(&self.history, dump, &terms());
        report.absorb(std::mem::take(&mut self.violations));
        Ok(report)
    }

    /// Topics that a message created whose producer was told so.
    fn fresh_topics(&self) -> Vec<Arc<str>> {
        let stored = self.history.sends.iter().filter(|sent| matches!(sent.outcome, Outcome::Stored(_)));
        let topics: BTreeSet<Arc<str>> =
            stored.map(|sent| Arc::clone(&sent.queue.topic)).filter(|topic| topic.starts_with("fresh-")).collect();
        topics.into_iter().collect()
    }

    /// I11, and the same by position.
    async fn ask_by_key(&mut self, dump: &Dump) -> Result<()> {
        let talk = Talk::connect(self.setup.ports.broker, HeaderCodec::Binary).await?;
        let expected = keys::expected(dump);
        let step = expected.len().div_ceil(KEYS_ASKED_MAX).max(1);
        let skip = usize::try_from(self.draw.below(step as u64))?;
        for (term, records) in expected.iter().skip(skip).step_by(step) {
            let answer = talk.by_key(&term.0, &term.1, term.2).await?;
            self.violations.extend(keys::compare(term, records, &answer));
        }
        let unknown = (Arc::from("keyed"), String::from("order-nobody-sent"), false);
        let answer = talk.by_key(&unknown.0, &unknown.1, false).await?;
        self.violations.extend(keys::compare(&unknown, &BTreeSet::new(), &answer));
        let all: Vec<_> = dump
            .queues
            .iter()
            .flat_map(|(queue, held)| held.stored.iter().map(move |stored| (queue, stored)))
            .collect();
        for _ in 0..POSITIONS_ASKED_MAX {
            let Some((queue, stored)) = self.draw.pick(&all) else { break };
            let record = talk.view(&queue.topic, stored.position).await;
            let same = record.as_ref().is_ok_and(|record| Digest::of(record).hash == stored.record);
            if !same {
                let what = format!("position {} is not the message at offset {}", stored.position, stored.offset);
                self.violations.push(Violation::Recovery { queue: (*queue).clone(), what });
            }
        }
        Ok(())
    }

    /// A clean stop loses no progress at all.
    async fn progress_is(&mut self, ends: &BTreeMap<(Arc<str>, Queue), i64>) -> Result<()> {
        let talk = Talk::connect(self.setup.ports.broker, HeaderCodec::Json).await?;
        let run = self.run_plan().run;
        for ((group, queue), end) in ends {
            let found = talk.progress(group, queue).await?;
            if found != Some(*end) {
                let what = format!("{end} was committed before a clean stop, {found:?} is there after it");
                self.violations.push(Violation::Progress { group: Arc::clone(group), queue: queue.clone(), run, what });
            }
        }
        Ok(())
    }
}

/// Delayed messages may come between two looks.
fn may_grow(queue: &Queue) -> bool {
    is_retry(&queue.topic) || &*queue.topic == "late"
}

/// Reads all queues of a server.
///
/// # Errors
/// It does not answer.
pub async fn dump_of(ports: Ports, queues: &[Queue]) -> Result<Dump> {
    let talk = Talk::connect(ports.broker, HeaderCodec::Json).await?;
    Dump::read(&talk, queues).await
}

/// Waits until what waits in the schedule has come, or for as long as it may take; the judge decides then.
async fn wait_for_late(ports: Ports) -> Result<()> {
    let schedule = [Queue::new(SCHEDULE_TOPIC, 0)];
    let targets: Vec<Queue> = traffic::queues(0).into_iter().filter(may_grow).collect();
    let deadline = Instant::now() + LATE_MAX;
    loop {
        let (waiting, came) = (dump_of(ports, &schedule).await?, dump_of(ports, &targets).await?);
        let is_retry_of = |text: &[u8]| properties::find(text, properties::RETRY_TOPIC).is_some();
        let tickets = |dump: &Dump| -> BTreeSet<(Option<Ticket>, bool)> {
            dump.queues
                .values()
                .flat_map(|held| &held.stored)
                .map(|stored| (stored.ticket, is_retry_of(&stored.properties)))
                .collect()
        };
        if tickets(&waiting).is_subset(&tickets(&came)) || Instant::now() > deadline {
            return Ok(());
        }
        sleep(LATE_LOOK).await;
    }
}

/// Copies a folder of plain files and folders.
///
/// # Errors
/// What the system says.
pub fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to).with_context(|| format!("cannot create {}", to.display()))?;
    for entry in std::fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), &target).with_context(|| format!("cannot copy {}", entry.path().display()))?;
        }
    }
    Ok(())
}

/// A panic that was caught is a defect all the same.
///
/// # Errors
/// There is one, or the log cannot be read.
pub fn no_panic(log: &Path) -> Result<()> {
    let text = std::fs::read_to_string(log).context("cannot read the log")?;
    match text.lines().find(|line| line.contains("panicked")) {
        Some(line) => bail!("strata panicked: {line}"),
        None => Ok(()),
    }
}
