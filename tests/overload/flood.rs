//! More sends than one core takes.
//!
//! Owns what must hold of a server that has too much to do: it does as much as before, says so to the rest, keeps
//! its clients alive, and is well again at once.
//!
//! What is seen from outside: a send's wait begins here when it is made for the socket. With many sends under way a
//! connection's buffers are full, so that the wait includes what could not be sent yet, which the server
//! cannot know; the time to a refusal is therefore held where windows fit the buffers, and only printed elsewhere.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use strata_protocol::code::ResponseCode;
use strata_protocol::code::request;
use strata_protocol::frame::HeaderCodec;
use strata_protocol::record::records;
use strata_tests::history::Queue;
use strata_tests::site::{Ports, Site, own_memory_kib};
use strata_tests::talk::{Ask, Draft, Talk};
use strata_tests::watch::MemoryWatch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep};

use crate::cores::Cores;
use crate::load::{self, BODY_BYTES, Load, Name, Outcome, QUEUES, Stored, name_of};
use crate::{Ground, percentile, say};

/// Connections of the load.
const CONNECTIONS: usize = 64;

/// Sends under way on each when the server has enough to do and nothing waits for long.
const PEAK_IN_FLIGHT: usize = 16;

/// Sends under way on each under overload, at least.
const IN_FLIGHT_MIN: usize = 1_024;

/// And at most: the kernel keeps no more than a few MiB for a connection.
const IN_FLIGHT_MAX: usize = 16_384;

/// How much more is under way than the server can do while a send may wait.
const TIMES: f64 = 10.0;

/// How long a send may wait (`waitTimeMillsInSendQueue`).
const WAIT: Duration = Duration::from_millis(200);

/// Of the goodput at its peak, what is left under overload at least. 90 % are the goal, and printed; on a machine that
/// does something else beside the run the figure moves by a tenth.
const GOODPUT_PERCENT_MIN: f64 = 60.0;

const GOODPUT_PERCENT_GOAL: f64 = 90.0;

const PEAK_TIME: Duration = Duration::from_secs(5);

const OVERLOAD_TIME: Duration = Duration::from_secs(8);

/// Memory that the server may have more than before the load: read and write buffers of 64 busy connections (256 KiB
/// and 1 MiB each), and room.
const MEMORY_KIB_MAX: u64 = 192 * 1024;

/// Pause between two heartbeats.
const BEAT: Duration = Duration::from_millis(50);

/// How long a heartbeat may take.
const BEAT_MAX: Duration = Duration::from_secs(2);

/// When all is well again after the load.
const WELL_MAX: Duration = Duration::from_secs(5);

/// Sends whose time tells the normal one.
const PROBES: usize = 500;

/// How often as long as normal a send may take when all is well.
const NORMAL_TIMES: u32 = 3;

/// A send's time below which it is not told apart from the machine's noise.
const NOISE: Duration = Duration::from_millis(1);

/// Connections of a load whose windows the sockets' buffers hold (64 KiB on loopback).
const SMALL_CONNECTIONS: usize = 1_024;

/// Sends under way on each of those.
const SMALL_IN_FLIGHT: usize = 32;

/// When a refusal should have come.
const SOON: Duration = Duration::from_millis(250);

/// In turns of all connections, when 95 % of them must have come after [`SOON`]: a connection is looked at once in a
/// turn, which takes as long as it takes to serve those that are not late. The goal is [`SOON`] alone; it is printed.
/// Where connections do not all have their turn it is one and a half at least.
const REFUSED_TURNS_MAX: f64 = 1.0;

/// How long a send may lie unread at the server that was refused for it in the end: a connection that never has its
/// turn waits until the load is over.
const UNREAD_MAX: Duration = Duration::from_secs(2);

/// Messages of one pull of those that are read back.
const READ_MESSAGES: i32 = 1_024;

/// Overload costs no goodput, no memory, no client and no message.
pub(crate) async fn more_than_a_core_takes(ground: &mut Ground) -> Result<()> {
    let many = format!("maxTransferCountOnMessageInMemory={READ_MESSAGES}");
    let setup = ground.setup("flood", &[&many, "maxTransferBytesOnMessageInMemory=4194304"])?;
    let cores = Cores::share()?;
    let mut site = Site::launch(cores.start(&setup)?, &setup)?;
    site.ready().await?;
    let ports = setup.ports;
    say(&format!("  {}", cores.told()));
    let talk = Talk::connect(ports.broker, HeaderCodec::Json).await?;
    make_topic(&talk).await?;
    let normal = probe(&talk, PROBES).await?;

    let at_peak = Load { connections: CONNECTIONS, in_flight: PEAK_IN_FLIGHT, time: PEAK_TIME, run: 1 };
    let first = load::run(ports.broker, at_peak).await.context("at the peak")?;
    let peak = first.goodput(&at_peak);
    ensure!(peak > 0.0, "nothing was stored at the peak");

    let wanted = (peak * WAIT.as_secs_f64() * TIMES / CONNECTIONS as f64) as usize;
    let in_flight = wanted.clamp(IN_FLIGHT_MIN, IN_FLIGHT_MAX);
    let over = Load { connections: CONNECTIONS, in_flight, time: OVERLOAD_TIME, run: 2 };
    let before = own_memory_kib(site.id())?;
    let mut watch = MemoryWatch::begin(site.id());
    let beside = Beside::begin(ports).await?;
    let second = load::run(ports.broker, over).await.context("under overload")?;
    let ended = Instant::now();
    let told = beside.end().await?;
    well_again(&talk, normal, ended).await?;
    let grown = watch.peak_kib().saturating_sub(before);
    watch.end().await;

    judge(&second, (peak, second.goodput(&over)), &over)?;
    say(&format!("  {told}"));
    say(&format!("  {} MiB more memory at most", grown / 1024));
    ensure!(grown <= MEMORY_KIB_MAX, "the server took {} MiB more", grown / 1024);
    let third = in_small_windows(ports, peak).await?;
    let mut stored = first.stored;
    stored.extend(second.stored);
    stored.extend(third.stored);
    read_back(&talk, stored).await?;
    drop(cores);
    ensure!(site.stop().await?.success(), "the server did not end well");
    Ok(())
}

/// The same with windows that the sockets' buffers hold, so that a send arrives when it is written.
async fn in_small_windows(ports: Ports, peak: f64) -> Result<Outcome> {
    let load = Load { connections: SMALL_CONNECTIONS, in_flight: SMALL_IN_FLIGHT, time: PEAK_TIME, run: 3 };
    let outcome = load::run(ports.broker, load).await.context("with small windows")?;
    ensure!(outcome.others.is_empty(), "other refusals than SYSTEM_BUSY: {:?}", outcome.others);
    let mut waits = outcome.refusals.clone();
    let soon = waits.iter().filter(|wait| **wait <= SOON).count();
    let percent = soon * 100 / waits.len().max(1);
    let (p50, p95) = (percentile(&mut waits, 50), percentile(&mut waits, 95));
    let mut unread = outcome.late.clone();
    let (unread_p50, unread_p95) = (percentile(&mut unread, 50), percentile(&mut unread, 95));
    let longest = percentile(&mut unread, 100);
    say(&format!(
        "  {SMALL_CONNECTIONS} x {SMALL_IN_FLIGHT} under way: {} stored, {} refused, {percent} % of them within {SOON:?} of \
         being written (goal: 95 %); {p50:?} (p50), {p95:?} (p95); unread at the server for \
         {unread_p50:?} (p50), {unread_p95:?} (p95), {longest:?} at most",
        outcome.stored.len(),
        waits.len(),
    ));
    let turn = (SMALL_CONNECTIONS * SMALL_IN_FLIGHT) as f64 / peak;
    let most = SOON + Duration::from_secs_f64(REFUSED_TURNS_MAX * turn);
    ensure!(p95 <= most, "refusals take {p95:?}, {most:?} are allowed");
    ensure!(longest <= UNREAD_MAX, "a send lay unread for {longest:?}, {UNREAD_MAX:?} are allowed");
    Ok(outcome)
}

/// Prints the figures of an overload and holds them against their bounds.
fn judge(outcome: &Outcome, (peak, goodput): (f64, f64), load: &Load) -> Result<()> {
    let percent = goodput / peak * 100.0;
    let (refused, mut waits) = (outcome.busy, outcome.refusals.clone());
    let is_met = if percent >= GOODPUT_PERCENT_GOAL { "met" } else { "MISSED" };
    say(&format!(
        "  {} x {} under way: {goodput:.0} a second stored, {percent:.0} % of the peak of {peak:.0} ({is_met}: \
         {GOODPUT_PERCENT_GOAL} %); {} sent, {refused} refused ({} for waiting), after {:?} (p50) and {:?} (p95) from here",
        load.connections,
        load.in_flight,
        outcome.sent,
        outcome.late.len(),
        percentile(&mut waits, 50),
        percentile(&mut waits, 95),
    ));
    ensure!(outcome.others.is_empty(), "other refusals than SYSTEM_BUSY: {:?}", outcome.others);
    ensure!(refused > 0, "nothing was refused: this was no overload");
    ensure!(percent >= GOODPUT_PERCENT_MIN, "{percent:.0} % of the peak are stored, {GOODPUT_PERCENT_MIN} % must be");
    Ok(())
}

async fn make_topic(talk: &Talk) -> Result<()> {
    let queues = QUEUES.to_string();
    let fields = [
        ("topic", "flood"),
        ("defaultTopic", "TBW102"),
        ("readQueueNums", queues.as_str()),
        ("writeQueueNums", queues.as_str()),
        ("perm", "6"),
        ("topicFilterType", "SINGLE_TAG"),
        ("order", "false"),
    ];
    let answer = talk.ask_raw(request::UPDATE_AND_CREATE_TOPIC, &fields, "").await?;
    ensure!(answer.code == 0, "the topic was answered with {answer:?}");
    Ok(())
}

/// The median time of `count` sends, none of which may be refused.
async fn probe(talk: &Talk, count: usize) -> Result<Duration> {
    let queue = Queue::new("probes", 0);
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let began = Instant::now();
        let answer = talk.send(&Draft::new(&queue, "", vec![b'x'; BODY_BYTES])).await?;
        ensure!(answer.code == 0, "{answer:?}");
        times.push(began.elapsed());
    }
    Ok(percentile(&mut times, 50))
}

/// Sends are taken at once and in their normal time again.
async fn well_again(talk: &Talk, normal: Duration, ended: Instant) -> Result<()> {
    let most = (normal * NORMAL_TIMES).max(NOISE);
    loop {
        match probe(talk, PROBES / 5).await {
            Ok(median) if median <= most => break,
            other => ensure!(ended.elapsed() < WELL_MAX, "{:?} after the load: {other:?}", ended.elapsed()),
        }
    }
    let well = ended.elapsed();
    let after = probe(talk, PROBES).await.context("a send after all was well")?;
    say(&format!("  well again {well:?} after the load: a send takes {after:?}, {normal:?} before"));
    Ok(())
}

/// Heartbeats and pulls beside the load.
struct Beside {
    stop: Arc<AtomicBool>,
    beats: JoinHandle<Result<Vec<Duration>>>,
    pulls: JoinHandle<Result<(u64, u64)>>,
}

impl Beside {
    async fn begin(ports: Ports) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (one, other) =
            (Talk::connect(ports.broker, HeaderCodec::Json), Talk::connect(ports.broker, HeaderCodec::Json));
        let beats = tokio::spawn(beat(one.await?, Arc::clone(&stop)));
        let pulls = tokio::spawn(pull(other.await?, Arc::clone(&stop)));
        Ok(Self { stop, beats, pulls })
    }

    async fn end(self) -> Result<String> {
        self.stop.store(true, Ordering::Relaxed);
        let mut times = self.beats.await.context("the heartbeats panicked")??;
        let (pulls, messages) = self.pulls.await.context("the pulls panicked")??;
        let (p50, p99, most) = (percentile(&mut times, 50), percentile(&mut times, 99), percentile(&mut times, 100));
        ensure!(times.len() > 10, "only {} heartbeats went through", times.len());
        ensure!(most < BEAT_MAX, "a heartbeat took {most:?}");
        ensure!(pulls > 10 && messages > 0, "{pulls} pulls brought {messages} messages");
        let count = times.len();
        Ok(format!(
            "{count} heartbeats in {p50:?} (p50), {p99:?} (p99), {most:?} at most; {pulls} pulls brought {messages} messages"
        ))
    }
}

async fn beat(talk: Talk, stop: Arc<AtomicBool>) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        talk.heartbeat("beside", "beside", "flood").await.context("a heartbeat under overload")?;
        times.push(began.elapsed());
        sleep(BEAT).await;
    }
    Ok(times)
}

async fn pull(talk: Talk, stop: Arc<AtomicBool>) -> Result<(u64, u64)> {
    let (mut pulls, mut offset) = (0, 0);
    let queue = Queue::new("flood", 0);
    while !stop.load(Ordering::Relaxed) {
        let ask = Ask { group: "beside", queue: &queue, offset, most: 32, hold_ms: 1_000, commit: Some(offset) };
        let pulled = talk.pull(&ask).await.context("a pull under overload")?;
        ensure!(pulled.code == 0, "a pull under overload was answered with {pulled:?}");
        pulls += 1;
        offset = pulled.next;
    }
    Ok((pulls, u64::try_from(offset)?))
}

/// Everything that was acknowledged is where the answer said, and nothing else is there: what was refused was not
/// stored, since every send was answered.
async fn read_back(talk: &Talk, stored: Vec<Stored>) -> Result<()> {
    let began = Instant::now();
    let count = stored.len();
    let mut queues: HashMap<i32, Vec<(i64, Name)>> = HashMap::new();
    for Stored { queue, offset, name } in stored {
        queues.entry(queue).or_default().push((offset, name));
    }
    let mut readers = JoinSet::new();
    for (id, mut wanted) in queues {
        wanted.sort_unstable();
        readers.spawn(read_queue(talk.clone(), id, wanted));
    }
    while let Some(reader) = readers.join_next().await {
        reader.context("a reader panicked")??;
    }
    say(&format!("  all of {count} acknowledged messages, and no other, were read back in {:?}", began.elapsed()));
    Ok(())
}

async fn read_queue(talk: Talk, id: i32, wanted: Vec<(i64, Name)>) -> Result<()> {
    let queue = Queue::new("flood", id);
    let (min, max) = talk.range(&queue).await?;
    ensure!(
        (min, max) == (0, i64::try_from(wanted.len())?),
        "queue {id} has {min} to {max}, {} were acknowledged",
        wanted.len()
    );
    let mut read = wanted.iter();
    let mut offset = 0;
    while offset < max {
        let ask = Ask { group: "auditor", queue: &queue, offset, most: READ_MESSAGES, hold_ms: 0, commit: None };
        let pulled = talk.pull(&ask).await?;
        ensure!(pulled.code == ResponseCode::Success.wire(), "a pull at {offset} was answered with {}", pulled.remark);
        for record in records(&pulled.records) {
            let record = record?;
            record.check_body()?;
            let (at, name) = read.next().context("more messages than were acknowledged")?;
            let found = (record.queue_offset(), name_of(record.body()));
            ensure!(found == (*at, Some(*name)), "{name:?} was acknowledged at {at} of queue {id}, there is {found:?}");
        }
        offset = pulled.next;
    }
    ensure!(read.next().is_none(), "messages are missing at the end of queue {id}");
    Ok(())
}
