//! A wall clock that jumps, and one that runs too fast, under the running binary.
//!
//! Owns the clock that is shown to a server: libfaketime reads it from a file, so that it changes while the server
//! runs. The monotonic clock stays real, as it does when a machine's clock is set; one case lets both run fast.
//! That the server sees the clock is shown by the store times of messages.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use strata_protocol::frame::HeaderCodec;
use strata_tests::clock::now_ms;
use strata_tests::dump::{Dump, QueueDump};
use strata_tests::history::{Queue, Sent};
use strata_tests::site::{Ports, Setup, Site, command};
use strata_tests::talk::Talk;
use strata_tests::traffic::sender::Sender;
use tokio::time::{Instant, sleep};

use crate::ground::{Excuse, Ground, judge, need, talk_to};

/// Where Debian puts the library; the folder's name is that of the machine's kind.
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

const TOPIC: &str = "clock";

const HOUR_MS: i64 = 3_600_000;
const TEN_YEARS_MS: i64 = 3_650 * 24 * HOUR_MS;

/// Bytes of a body: a few dozen fill a segment, so that there are sealed ones to delete.
const BODY_BYTES: u64 = 32 * 1024;

/// Messages that are stored before the clock jumps: several segments.
const BEFORE: u32 = 100;

/// Messages at each setting of the clock.
const EACH: u32 = 10;

/// Longer than the time between two sweeps of retention, 10 s.
const SWEEP: Duration = Duration::from_secs(11);

/// How long a delayed message may take beyond its second once the clock is right again.
const LATE_MAX: Duration = Duration::from_secs(5);

/// How long a broker may take to be known to a name server that came back.
const REGISTERED_MAX: Duration = Duration::from_secs(10);

/// Messages are kept for an hour; segments are small.
const SETTINGS: [&str; 2] = ["mappedFileSizeCommitLog=1048576", "fileReservedTime=1"];

/// The clock that a server is shown.
struct Clock {
    file: PathBuf,
    library: PathBuf,
}

impl Clock {
    fn new(ground: &Ground, name: &str) -> Result<Self> {
        let folders = fs::read_dir("/usr/lib").context("no libraries")?;
        let mut candidates = folders.map_while(Result::ok).map(|entry| entry.path().join(LIBRARY));
        let library = need("libfaketime", candidates.find(|path| path.is_file()))?;
        let clock = Self { file: ground.folder.join(name), library };
        clock.set("+0")?;
        Ok(clock)
    }

    /// Sets it: an offset from the real one, and how fast it runs.
    fn set(&self, setting: &str) -> Result<()> {
        // Swapped in, so that nobody reads half of it.
        let fresh = self.file.with_extension("new");
        fs::write(&fresh, setting)?;
        fs::rename(&fresh, &self.file).context("cannot set the clock")
    }

    /// Sets it `offset_ms` off the real one.
    fn shift(&self, offset_ms: i64) -> Result<()> {
        self.set(&format!("{:+}", offset_ms / 1_000))
    }

    /// Shows it to what `start` starts. The monotonic clock is shown too when `monotonic` is true.
    fn show(&self, mut start: Command, monotonic: bool) -> Command {
        start.env("LD_PRELOAD", &self.library);
        start.env("FAKETIME_TIMESTAMP_FILE", &self.file).env("FAKETIME_NO_CACHE", "1");
        start.env("FAKETIME_DONT_FAKE_MONOTONIC", if monotonic { "0" } else { "1" });
        start
    }
}

async fn started(start: Command, setup: &Setup) -> Result<Site> {
    let mut site = Site::launch(start, setup)?;
    site.ready().await?;
    Ok(site)
}

async fn send_many(sender: &mut Sender, messages: u32) -> Result<()> {
    for _ in 0..messages {
        let answer = sender.send(BODY_BYTES).await?;
        ensure!(answer.code == 0, "a send was answered with {}: {}", answer.code, answer.remark);
    }
    Ok(())
}

/// The queue as it is now. Nothing may be deleted, and store times never go back.
async fn whole(setup: &Setup) -> Result<QueueDump> {
    let queue = Queue::new(TOPIC, 0);
    let dump = Dump::read(&talk_to(setup).await?, [&queue]).await?;
    let held = dump.queues.get(&queue).cloned().context("no queue")?;
    ensure!(held.min == 0, "the clock's jump deleted messages: the queue begins at {}", held.min);
    ensure!(held.stored.is_sorted_by_key(|stored| stored.stored_ms), "store times go back");
    Ok(held)
}

/// A delayed message is sent and comes within its second and [`LATE_MAX`]; never earlier, which the judge sees.
async fn delayed_comes(setup: &Setup, sender: &mut Sender) -> Result<()> {
    let talk = talk_to(setup).await?;
    let queue = Queue::new(TOPIC, 0);
    let before = talk.range(&queue).await?.1;
    let answer = sender.send_delayed().await?;
    ensure!(answer.code == 0, "a delayed send was answered with {}: {}", answer.code, answer.remark);
    let sent = Instant::now();
    while talk.range(&queue).await?.1 == before {
        ensure!(sent.elapsed() < Duration::from_secs(1) + LATE_MAX, "a message delayed by 1 s has not come");
        sleep(Duration::from_millis(20)).await;
    }
    ensure!(sent.elapsed() > Duration::from_millis(980), "a message delayed by 1 s came after {:?}", sent.elapsed());
    Ok(())
}

/// An hour and ten years, forwards and backwards, and right again after each.
pub(crate) async fn jumps(ground: &mut Ground) -> Result<String> {
    let setup = ground.setup("jumps", &SETTINGS)?;
    let clock = Clock::new(ground, "jumps.clock")?;
    let site = started(clock.show(setup.command()?, false), &setup).await?;
    let queue = Queue::new(TOPIC, 0);
    let mut sender = Sender::new(talk_to(&setup).await?, queue, ground.seed, 1);
    send_many(&mut sender, BEFORE).await?;
    let names = Talk::connect(setup.ports.namesrv, HeaderCodec::Json).await?;
    let mut highest = 0;
    for offset_ms in [HOUR_MS, -HOUR_MS, TEN_YEARS_MS, -TEN_YEARS_MS] {
        for offset_ms in [offset_ms, 0] {
            let jump = || format!("the clock at {} hours", offset_ms / HOUR_MS);
            clock.shift(offset_ms)?;
            highest = highest.max(offset_ms);
            send_many(&mut sender, EACH).await.with_context(jump)?;
            let held = whole(&setup).await.with_context(jump)?;
            // The newest stamp shows the clock that the server saw, now or before.
            let ahead_ms = held.stored.last().map_or(0, |stored| stored.stored_ms) - now_ms();
            ensure!((ahead_ms - highest).abs() < 60_000, "{}: the stamps are {ahead_ms} ms ahead", jump());
            ensure!(names.route(TOPIC).await?.is_some(), "{}: no route", jump());
            delayed_comes(&setup, &mut sender).await.with_context(jump)?;
        }
    }
    clock.shift(TEN_YEARS_MS)?;
    sleep(SWEEP).await;
    send_many(&mut sender, EACH).await?;
    whole(&setup).await.context("after a sweep of retention ten years ahead")?;
    ensure!(names.route(TOPIC).await?.is_some(), "no route ten years ahead");
    clock.shift(0)?;
    let status = site.stop().await?;
    ensure!(status.success(), "strata was told to stop and ended with {status}");
    let site = Site::start(&setup).await.context("a start with the right clock")?;
    sleep(SWEEP).await;
    let log = std::mem::take(&mut sender.log);
    let mut sender = Sender::new(talk_to(&setup).await?, Queue::new(TOPIC, 0), ground.seed, 2);
    send_many(&mut sender, EACH).await?;
    delayed_comes(&setup, &mut sender).await.context("after the restart with the right clock")?;
    whole(&setup).await.context("after a restart with the right clock")?;
    let report = audited(&setup, [log, sender.log].concat(), Excuse::Stamps).await?;
    site.kill()?;
    Ok(format!("9 jumps, {report}"))
}

/// Everything that was acknowledged is there, and delayed messages are not early by their stamps.
async fn audited(setup: &Setup, sends: Vec<Sent>, excuse: Excuse) -> Result<String> {
    let queues = [Queue::new(TOPIC, 0), Queue::new(strata_protocol::name::SCHEDULE_TOPIC, 0)];
    let dump = Dump::read(&talk_to(setup).await?, &queues).await?;
    let report = judge(sends, &dump, excuse)?;
    Ok(format!("{} messages, {} delayed", report.counts.stored, report.counts.delayed))
}

/// The wall clock runs ten times as fast as time passes.
pub(crate) async fn fast(ground: &mut Ground) -> Result<String> {
    let setup = ground.setup("fast", &SETTINGS)?;
    let clock = Clock::new(ground, "fast.clock")?;
    // How long a request waited is told by stamps of the kernel, which sees the real clock. So far off, the server
    // takes no such wait for true.
    clock.set("+1h x10")?;
    let site = started(clock.show(setup.command()?, false), &setup).await?;
    let mut sender = Sender::new(talk_to(&setup).await?, Queue::new(TOPIC, 0), ground.seed, 1);
    send_many(&mut sender, BEFORE).await?;
    let first_ms = whole(&setup).await?.stored.last().map_or(0, |stored| stored.stored_ms);
    let began = Instant::now();
    for _ in 0..5 {
        sleep(Duration::from_millis(500)).await;
        send_many(&mut sender, EACH).await?;
        let answer = sender.send_delayed().await?;
        ensure!(answer.code == 0, "a delayed send was answered with {}: {}", answer.code, answer.remark);
    }
    sleep(Duration::from_secs(2)).await;
    send_many(&mut sender, 1).await?;
    let real_ms = i64::try_from(began.elapsed().as_millis()).unwrap_or(0);
    let seen_ms = whole(&setup).await?.stored.last().map_or(0, |stored| stored.stored_ms) - first_ms;
    ensure!(seen_ms > 7 * real_ms, "the server saw {seen_ms} ms pass in {real_ms} ms");
    let report = audited(&setup, sender.log, Excuse::None).await?;
    site.kill()?;
    Ok(format!("{seen_ms} ms seen in {real_ms} ms, {report}"))
}

/// The control: when both clocks say that time passed, what is older than an hour goes.
pub(crate) async fn time_passes(ground: &mut Ground) -> Result<String> {
    let setup = ground.setup("passes", &SETTINGS)?;
    let clock = Clock::new(ground, "passes.clock")?;
    let site = started(clock.show(setup.command()?, true), &setup).await?;
    let mut sender = Sender::new(talk_to(&setup).await?, Queue::new(TOPIC, 0), ground.seed, 1);
    send_many(&mut sender, BEFORE).await?;
    whole(&setup).await?;
    clock.set("+0 x2000")?;
    let began = Instant::now();
    // A connection that says nothing for two minutes is closed; they pass within 60 ms.
    while !begins_later(&setup).await.unwrap_or(false) {
        ensure!(began.elapsed() < 3 * SWEEP, "hours pass and nothing is deleted: the other cases prove nothing");
        sleep(Duration::from_millis(100)).await;
    }
    site.kill()?;
    Ok(format!("deleted after {} ms at 2000 times the speed", began.elapsed().as_millis()))
}

/// Whether the oldest messages are gone.
async fn begins_later(setup: &Setup) -> Result<bool> {
    Ok(talk_to(setup).await?.range(&Queue::new(TOPIC, 0)).await?.0 > 0)
}

/// A broker that is started ten years ahead of its name server registers, and again after its clock is right: what
/// it says then must not look older than what the name server knows, also after a restart of the broker.
pub(crate) async fn registration(ground: &mut Ground) -> Result<String> {
    let setup = ground.setup("registration", &SETTINGS)?;
    let clock = Clock::new(ground, "registration.clock")?;
    clock.shift(TEN_YEARS_MS)?;
    let names = Setup { log: setup.log.with_extension("names"), ..setup.clone() };
    let namesrv = started(namesrv(&names), &names).await?;
    let broker = started(clock.show(broker(&setup)?, false), &setup).await?;
    let mut sender = Sender::new(talk_to(&setup).await?, Queue::new(TOPIC, 0), ground.seed, 1);
    send_many(&mut sender, EACH).await?;
    known(setup.ports, &[TOPIC]).await.context("ten years ahead")?;
    clock.shift(0)?;
    // A topic that is made with the right clock must not look older than what the name server has.
    let mut second = Sender::new(talk_to(&setup).await?, Queue::new("after", 0), ground.seed, 2);
    send_many(&mut second, EACH).await?;
    known(setup.ports, &[TOPIC, "after"]).await.context("with the right clock")?;
    broker.kill()?;
    let broker = started(clock.show(self::broker(&setup)?, false), &setup).await?;
    let mut third = Sender::new(talk_to(&setup).await?, Queue::new("last", 0), ground.seed, 3);
    send_many(&mut third, EACH).await?;
    let again = known(setup.ports, &[TOPIC, "after", "last"]).await.context("after a restart with the right clock")?;
    broker.kill()?;
    namesrv.kill()?;
    Ok(format!("all topics known, the last one after {} ms", again.as_millis()))
}

/// A name server by itself, with the real clock.
fn namesrv(setup: &Setup) -> Command {
    let mut start = command(&setup.binary);
    let data = setup.data.with_extension("namesrv");
    start.args(["namesrv", "--port", &setup.ports.namesrv.to_string(), "--data"]).arg(data);
    start
}

/// A broker by itself.
fn broker(setup: &Setup) -> Result<Command> {
    let config: &Path = &setup.log.with_extension("conf");
    fs::write(config, setup.settings.join("\n")).context("cannot write broker.conf")?;
    let mut start = command(&setup.binary);
    let Ports { namesrv, broker, metrics, sql, postgres } = setup.ports;
    start.args(["broker", "--namesrv", &format!("127.0.0.1:{namesrv}"), "--broker-port", &broker.to_string()]);
    start.args(["--metrics-port", &metrics.to_string(), "--data"]).arg(&setup.data).arg("-c").arg(config);
    start.args(["--sql-port", &sql.to_string(), "--postgres-port", &postgres.to_string()]);
    start.env_remove("NAMESRV_ADDR");
    Ok(start)
}

/// Waits until the name server tells of all `topics`; gives how long that took.
async fn known(ports: Ports, topics: &[&str]) -> Result<Duration> {
    let began = Instant::now();
    let talk = Talk::connect(ports.namesrv, HeaderCodec::Json).await?;
    for topic in topics {
        while talk.route(topic).await?.is_none() {
            ensure!(began.elapsed() < REGISTERED_MAX, "no route of {topic} within {REGISTERED_MAX:?}");
            sleep(Duration::from_millis(20)).await;
        }
    }
    Ok(began.elapsed())
}
