//! One data folder's story: killed again and again, then read and judged.
//!
//! Owns when a server starts and dies, and the order of the final audit. What is wrong is decided by
//! `strata_tests::check`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use strata_protocol::frame::HeaderCodec;
use strata_protocol::name::{SCHEDULE_TOPIC, is_retry};
use strata_protocol::properties;
use strata_tests::check::{self, Report, Terms, keys, sameness};
use strata_tests::clock::now_ms;
use strata_tests::draw::Draw;
use strata_tests::dump::Dump;
use strata_tests::history::{Digest, History, Outcome, Queue, Run, Ticket};
use strata_tests::site::{Ports, Setup, Site};
use strata_tests::talk::Talk;
use strata_tests::violation::Violation;
use tokio::time::{Instant, sleep};

use crate::cases;
use crate::run::{self, RunPlan, TOPICS, Traffic, group_of};

/// Longest life of a server after it is ready, ms.
const LIFE_MS_MAX: u64 = 2_000;

/// Life of a few servers, so that commits outlive the window in which a kill may take them back, ms.
const LONG_LIFE_MS: u64 = 8_000;

/// Of 100 kills, how many come before the server is ready.
const EARLY_PERCENT: u64 = 10;

/// How long delayed messages may take to come once the kills are over.
const LATE_MAX: Duration = Duration::from_secs(20);

/// Pause between two looks at what still waits.
const LATE_LOOK: Duration = Duration::from_millis(100);

/// Keys and unique keys that an audit asks for.
const KEYS_ASKED_MAX: usize = 3_000;

/// Positions that an audit asks for.
const POSITIONS_ASKED_MAX: u64 = 300;

/// How the log reaches the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flush {
    Async,
    Sync,
}

impl Flush {
    /// Its line in `broker.conf`.
    pub(crate) fn setting(self) -> String {
        let value = match self {
            Self::Async => "ASYNC_FLUSH",
            Self::Sync => "SYNC_FLUSH",
        };
        format!("flushDiskType={value}")
    }
}

/// What an epoch is told.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) binary: PathBuf,
    /// Its own folder, which it fills.
    pub(crate) folder: PathBuf,
    pub(crate) seed: u64,
    pub(crate) kills: u32,
    pub(crate) flush: Flush,
}

/// An epoch at its end.
pub(crate) struct Audited {
    pub(crate) history: History,
    pub(crate) dump: Dump,
    pub(crate) terms: Terms,
    pub(crate) report: Report,
    /// Violations that a case by itself is known to show.
    pub(crate) known: Vec<Violation>,
    /// Times from start to ready, sorted.
    pub(crate) starts: Vec<Duration>,
    pub(crate) setup: Setup,
}

/// An epoch under way.
struct Epoch {
    plan: Plan,
    setup: Setup,
    draw: Draw,
    history: History,
    next: BTreeMap<u32, Ticket>,
    violations: Vec<Violation>,
    starts: Vec<Duration>,
}

/// Lives the epoch and judges it.
pub(crate) async fn live(plan: Plan) -> Result<Audited> {
    let mut draw = Draw::new(plan.seed);
    let setup = setup_of(&plan, &plan.folder.join("data"), &mut draw)?;
    let (next, history) = (BTreeMap::new(), History::default());
    let mut epoch = Epoch { plan, setup, draw, history, next, violations: Vec::new(), starts: Vec::new() };
    epoch.first_run().await?;
    for nth in 1..epoch.plan.kills {
        // Two long lives in 25, the first one early.
        let is_long = nth % 12 == 3;
        if !is_long && epoch.draw.chance(EARLY_PERCENT) {
            epoch.kill_early().await?;
        } else {
            epoch.kill_at_work(is_long).await.with_context(|| format!("run {nth}"))?;
        }
        if nth % 8 == 5 {
            epoch.recover_twice(nth).await.with_context(|| format!("recovering a copy after run {nth}"))?;
        }
    }
    epoch.audit().await
}

fn setup_of(plan: &Plan, data: &Path, draw: &mut Draw) -> Result<Setup> {
    Ok(Setup {
        binary: plan.binary.clone(),
        data: data.to_path_buf(),
        ports: Ports::free(draw)?,
        settings: vec![plan.flush.setting(), String::from("mappedFileSizeCommitLog=4194304")],
        log: data.with_extension("log"),
    })
}

impl Epoch {
    fn run_plan(&self) -> RunPlan {
        let run = u32::try_from(self.history.runs.len()).unwrap_or(u32::MAX);
        RunPlan { ports: self.setup.ports, run, seed: self.plan.seed, draw: self.draw.fork(u64::from(run)) }
    }

    async fn start(&mut self) -> Result<Site> {
        let mut site = Site::spawn(&self.setup)?;
        self.starts.push(site.ready().await?);
        Ok(site)
    }

    fn note_kill(&mut self, site: Site) -> Result<()> {
        let killed_ms = now_ms();
        site.kill()?;
        self.history.runs.push(Run { killed_ms });
        Ok(())
    }

    /// Makes the topics; killed at once after that.
    async fn first_run(&mut self) -> Result<()> {
        let site = self.start().await?;
        run::create_topics(self.setup.ports).await?;
        self.note_kill(site)
    }

    /// Kills during the start: most of it is the recovery of the log.
    async fn kill_early(&mut self) -> Result<()> {
        let usual = self.starts.iter().max().copied().unwrap_or_default();
        let micros = self.draw.below(u64::try_from(usual.as_micros())?);
        let site = Site::spawn(&self.setup)?;
        sleep(Duration::from_micros(micros)).await;
        self.note_kill(site)
    }

    /// Kills while producers and consumers work.
    async fn kill_at_work(&mut self, is_long: bool) -> Result<()> {
        let life = if is_long { LONG_LIFE_MS } else { self.draw.below(LIFE_MS_MAX) };
        let site = self.start().await?;
        let dies = Instant::now() + Duration::from_millis(life);
        let traffic = Traffic::begin(&self.run_plan(), &self.next).await?;
        tokio::time::sleep_until(dies).await;
        self.note_kill(site)?;
        let (history, violations) = traffic.end(&mut self.next).await?;
        self.history.absorb(history);
        self.violations.extend(violations);
        Ok(())
    }

    /// I14 on a log that a kill left: a copy is recovered, killed and recovered again.
    async fn recover_twice(&mut self, nth: u32) -> Result<()> {
        let data = self.plan.folder.join(format!("copy-{nth}"));
        copy_folder(&self.setup.data, &data)?;
        let setup = setup_of(&self.plan, &data, &mut self.draw)?;
        let queues = run::queues(self.run_plan().run);
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

    /// After the last kill: everything is read, looked at twice more, and judged.
    async fn audit(mut self) -> Result<Audited> {
        let queues = run::queues(self.run_plan().run);
        let site = self.start().await?;
        let ports = self.setup.ports;
        wait_for_late(ports).await?;
        self.violations.extend(run::routes_come_back(ports, self.run_plan().run).await);
        // What a case by itself is known to fail with is no news here.
        if cases::known(cases::FRESH, self.plan.flush).is_none() {
            let fresh = self.fresh_topics();
            self.violations.extend(run::shrunk_topics(ports, &fresh).await?);
        }
        let history = run::read_to_end(&self.run_plan()).await?;
        self.history.absorb(history);
        let dump = dump_of(ports, &queues).await?;
        self.ask_by_key(&dump).await?;
        self.note_kill(site)?;

        let site = self.start().await?;
        let again = dump_of(ports, &queues).await?;
        self.violations.extend(sameness::compare(&dump, &again, |_| false));
        self.ask_by_key(&again).await?;
        let history = run::read_to_end(&self.run_plan()).await?;
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
        no_panic(&self.setup.log)?;
        let readers = TOPICS.map(|(topic, _, _)| (group_of(topic), Arc::from(topic))).to_vec();
        let terms = Terms { readers };
        let mut report = check::check(&self.history, &dump, &terms);
        report.absorb(std::mem::take(&mut self.violations));
        let known = without_known(&mut report, self.plan.flush);
        self.starts.sort();
        Ok(Audited { history: self.history, dump, terms, report, known, starts: self.starts, setup: self.setup })
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

/// Takes those violations out that one of the cases is known to fail with.
fn without_known(report: &mut Report, flush: Flush) -> Vec<Violation> {
    let is_known = |violation: &mut Violation| match violation {
        Violation::NeverCame { topic, .. } if is_retry(topic) => cases::known(cases::BACK, flush).is_some(),
        Violation::NeverCame { .. } => cases::known(cases::DUE, flush).is_some(),
        Violation::Lost { .. }
        | Violation::Altered { .. }
        | Violation::Phantom { .. }
        | Violation::Refused { .. }
        | Violation::Gap { .. }
        | Violation::Changed { .. }
        | Violation::Disorder { .. }
        | Violation::Vanished { .. }
        | Violation::Progress { .. }
        | Violation::Jump { .. }
        | Violation::Trouble { .. }
        | Violation::Undelivered { .. }
        | Violation::Twice { .. }
        | Violation::Early { .. }
        | Violation::Key { .. }
        | Violation::Recovery { .. }
        | Violation::Route { .. } => false,
    };
    report.violations.extract_if(.., is_known).collect()
}

/// Delayed messages may come between two looks.
fn may_grow(queue: &Queue) -> bool {
    is_retry(&queue.topic) || &*queue.topic == "late"
}

/// Reads all queues of a server.
pub(crate) async fn dump_of(ports: Ports, queues: &[Queue]) -> Result<Dump> {
    let talk = Talk::connect(ports.broker, HeaderCodec::Json).await?;
    Dump::read(&talk, queues).await
}

/// Waits until what waits in the schedule has come, or for as long as it may take; the judge decides then.
async fn wait_for_late(ports: Ports) -> Result<()> {
    let schedule = [Queue::new(SCHEDULE_TOPIC, 0)];
    let targets: Vec<Queue> = run::queues(0).into_iter().filter(may_grow).collect();
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
pub(crate) fn copy_folder(from: &Path, to: &Path) -> Result<()> {
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
fn no_panic(log: &Path) -> Result<()> {
    let text = std::fs::read_to_string(log).context("cannot read the log")?;
    match text.lines().find(|line| line.contains("panicked")) {
        Some(line) => bail!("strata panicked: {line}"),
        None => Ok(()),
    }
}
