//! As many pulls as may wait, over many connections and queues.
//!
//! Owns what one of them costs, who is woken by a message, and how they end.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use strata_protocol::body::{ConsumerData, Heartbeat};
use strata_protocol::code::{ResponseCode, request};
use strata_protocol::command::Command;
use strata_protocol::frame::HeaderCodec;
use strata_tests::history::Queue;
use strata_tests::page::figure;
use strata_tests::site::{Ports, Site, own_memory_kib};
use strata_tests::talk::{Ask, Draft, Talk};
use strata_tests::wire::{Heard, Wire, frames};
use tokio::time::{Instant, sleep, timeout};

use crate::{Ground, percentile, say, until, until_memory};

/// Connections that pull.
const CONNECTIONS: usize = 250;

/// Queues that each of them waits for.
const QUEUES: i32 = 400;

/// Pulls that wait.
const PARKED: usize = CONNECTIONS * QUEUES as usize;

/// Pulls that a connection sends at once; more would have the server grow a large read buffer.
const BURST: usize = 16;

/// How long the server may hold a pull: long enough for all that happens meanwhile.
const HOLD: Duration = Duration::from_secs(25);

/// How late a pull may end after its time.
const LATE_MAX: Duration = Duration::from_secs(3);

/// Memory that one waiting pull may cost the server.
const PARKED_BYTES_MAX: u64 = 2 * 1024;

/// After this quiet connections have no buffers any more.
const SETTLED: Duration = Duration::from_millis(6_000);

/// How long a message may take to all that wait for it.
const WOKEN_MAX: Duration = Duration::from_secs(2);

/// Memory that may stay when nothing waits: what the allocator and the tables keep.
const KEPT_KIB_MAX: u64 = 64 * 1024;

/// How long memory may take to come back.
const BACK_MAX: Duration = Duration::from_secs(15);

const TOPIC: &str = "waited-for";

const PULLS: (&str, &[&str]) = ("strata_parked_pulls", &[]);

/// A hundred thousand pulls wait at a small price, the next one is refused, a message wakes those of its queue and
/// nobody else, connections take theirs along, and the rest ends in time.
pub(crate) async fn a_hundred_thousand_pulls(ground: &mut Ground) -> Result<()> {
    let setup = ground.setup("parked", &[])?;
    let (site, ports) = (Site::start(&setup).await?, setup.ports);
    let talk = Talk::connect(ports.broker, HeaderCodec::Json).await?;
    make_topic(&talk).await?;
    let mut wires = Vec::with_capacity(CONNECTIONS);
    for nth in 0..CONNECTIONS {
        let mut wire = Wire::dial(ports.broker).await?;
        subscribe(&mut wire, nth).await?;
        wires.push(wire);
    }
    sleep(SETTLED).await;
    let before = own_memory_kib(site.id())?;

    let began = Instant::now();
    park_all(&mut wires).await?;
    let took = began.elapsed();
    until(ports, PULLS, WOKEN_MAX, |parked| parked > PARKED as f64 - 0.5).await?;
    one_too_many(&talk).await?;
    sleep(SETTLED.saturating_sub(began.elapsed() - took)).await;
    let each = own_memory_kib(site.id())?.saturating_sub(before) * 1024 / PARKED as u64;
    say(&format!(
        "  {PARKED} pulls wait on {CONNECTIONS} connections for {QUEUES} queues, sent in {took:?}: {each} bytes of the server's own memory each"
    ));
    ensure!(each <= PARKED_BYTES_MAX, "a waiting pull costs {each} bytes, {PARKED_BYTES_MAX} are allowed");

    wakes_its_own(&talk, &mut wires, ports).await?;
    leave(&talk, &mut wires, ports).await?;
    ends_in_time(&mut wires, (began, took)).await?;
    until(ports, PULLS, LATE_MAX, |parked| parked < 0.5).await?;
    drop(wires);
    let kept = until_memory(site.id(), before + KEPT_KIB_MAX, BACK_MAX).await?;
    say(&format!("  {} KiB more than before are kept", kept.saturating_sub(before)));
    ensure!(site.stop().await?.success(), "the server did not end well");
    Ok(())
}

async fn make_topic(talk: &Talk) -> Result<()> {
    let queues = QUEUES.to_string();
    let fields = [
        ("topic", TOPIC),
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

fn group(nth: usize) -> String {
    format!("waiting-{nth}")
}

/// A consumer of a group of its own, so that no other is told of its coming.
async fn subscribe(wire: &mut Wire, nth: usize) -> Result<()> {
    let consumer = ConsumerData {
        group_name: group(nth),
        consume_type: String::from("CONSUME_PASSIVELY"),
        message_model: String::from("CLUSTERING"),
        consume_from_where: String::from("CONSUME_FROM_FIRST_OFFSET"),
        subscription_data_set: Vec::new(),
        unit_mode: false,
    };
    let beat = Heartbeat {
        client_id: format!("client-{nth}"),
        producer_data_set: Vec::new(),
        consumer_data_set: vec![consumer],
    };
    let body = serde_json::to_vec(&beat)?;
    wire.send(&strata_tests::wire::request(request::HEART_BEAT, &[], &body)).await;
    let answer = timeout(WOKEN_MAX, next(wire)).await.context("a heartbeat was not answered")??;
    ensure!(answer.code == 0, "a heartbeat was answered with {answer:?}");
    Ok(())
}

/// The pull of one queue; its number is the queue's.
fn pull(nth: usize, queue: i32, hold: Duration) -> Result<Command> {
    let hold_ms = i64::try_from(hold.as_millis())?;
    let (group, queue_of) = (group(nth), Queue::new(TOPIC, queue));
    let ask = Ask { group: &group, queue: &queue_of, offset: 0, most: 32, hold_ms, commit: None };
    Ok(Command { opaque: queue, ..ask.command(HeaderCodec::Json) })
}

async fn park_all(wires: &mut [Wire]) -> Result<()> {
    let queues: Vec<i32> = (0..QUEUES).collect();
    for burst in queues.chunks(BURST) {
        for (nth, wire) in wires.iter_mut().enumerate() {
            let pulls = burst.iter().map(|queue| pull(nth, *queue, HOLD)).collect::<Result<Vec<_>>>()?;
            ensure!(wire.send(&frames(pulls)).await, "a connection that pulls was ended");
        }
    }
    Ok(())
}

/// All places are taken: one more is told so at once.
async fn one_too_many(talk: &Talk) -> Result<()> {
    let ask = Ask { group: "late", queue: &Queue::new(TOPIC, 0), offset: 0, most: 32, hold_ms: 5_000, commit: None };
    let began = Instant::now();
    let answer = talk.pull(&ask).await?;
    ensure!(answer.code == ResponseCode::SystemBusy.wire(), "one pull more was answered with {answer:?}");
    ensure!(answer.remark.contains("too many pulls"), "{answer:?}");
    ensure!(began.elapsed() < Duration::from_secs(1), "it was refused after {:?}", began.elapsed());
    Ok(())
}

/// A message to one queue is given to all that wait for that queue, and nobody else hears anything.
async fn wakes_its_own(talk: &Talk, wires: &mut [Wire], ports: Ports) -> Result<()> {
    let woken = QUEUES / 2;
    let began = Instant::now();
    let answer = talk.send(&Draft::new(&Queue::new(TOPIC, woken), "", "wake up")).await?;
    ensure!(answer.code == 0, "{answer:?}");
    let mut times = Vec::with_capacity(wires.len());
    for wire in wires.iter_mut() {
        let heard = timeout(WOKEN_MAX, next(wire)).await.context("a pull was not woken")??;
        ensure!((heard.code, heard.opaque) == (0, woken), "queue {woken} was written, and this came: {heard:?}");
        ensure!(heard.body.windows(b"wake up".len()).any(|part| part == b"wake up"), "no message: {heard:?}");
        times.push(began.elapsed());
    }
    let waiting = figure(ports, PULLS.0, PULLS.1).await?;
    ensure!(
        (waiting - (PARKED - wires.len()) as f64).abs() < 0.5,
        "{waiting} pulls wait after {} were woken",
        wires.len()
    );
    for wire in wires.iter_mut() {
        ensure!(!wire.has_bytes(), "a connection heard more than its one answer");
    }
    say(&format!(
        "  a message reached all {} that waited for it within {:?}",
        wires.len(),
        percentile(&mut times, 100)
    ));
    Ok(())
}

/// Connections that end take their pulls along, and their places come free.
async fn leave(talk: &Talk, wires: &mut Vec<Wire>, ports: Ports) -> Result<()> {
    let left = CONNECTIONS / 2;
    let waiting = (left * (QUEUES as usize - 1)) as f64;
    drop(wires.split_off(left));
    let took = until(ports, PULLS, WOKEN_MAX, |parked| (parked - waiting).abs() < 0.5).await?;
    let ask = Ask { group: "late", queue: &Queue::new(TOPIC, 0), offset: 0, most: 32, hold_ms: 200, commit: None };
    let answer = talk.pull(&ask).await?;
    ensure!(answer.code == ResponseCode::PullNotFound.wire(), "a pull for a free place was answered with {answer:?}");
    say(&format!("  the pulls of {} connections were gone {took:?} after those", CONNECTIONS - left));
    Ok(())
}

/// What waits longer than it wants to is told that there is nothing.
async fn ends_in_time(wires: &mut [Wire], (began, sent): (Instant, Duration)) -> Result<()> {
    let (mut first, mut count) = (None, 0);
    for wire in wires.iter_mut() {
        for _ in 1..QUEUES {
            let left = (began + sent + HOLD + LATE_MAX).saturating_duration_since(Instant::now());
            let heard = timeout(left, next(wire)).await.context("a pull was held for too long")??;
            ensure!(heard.code == ResponseCode::PullNotFound.wire(), "a pull ended with {heard:?}");
            first.get_or_insert(began.elapsed());
            count += 1;
        }
    }
    let (first, last) = (first.unwrap_or_default(), began.elapsed());
    ensure!(first >= HOLD, "a pull of {HOLD:?} ended after {first:?}");
    say(&format!("  {count} pulls of {HOLD:?} ended between {first:?} and {last:?} after the first was sent"));
    Ok(())
}

/// The next answer, however long it takes. What the server tells by itself (who is in the group) is passed over.
async fn next(wire: &mut Wire) -> Result<Command> {
    loop {
        match wire.hear_now().await? {
            Heard::Frame(answer) if answer.is_response() => return Ok(*answer),
            Heard::Frame(_) => {}
            Heard::Closed => bail!("a connection was ended while its pulls waited"),
        }
    }
}
