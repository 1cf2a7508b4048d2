//! A thousand peers that are too slow: most of them in what they send, some in what they read.
//!
//! Owns what they may cost while the server bears with them, and that it does not for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use strata_protocol::code::request;
use strata_protocol::frame::HeaderCodec;
use strata_tests::good::Good;
use strata_tests::history::Queue;
use strata_tests::page::figure;
use strata_tests::site::{Ports, Site, own_memory_kib};
use strata_tests::talk::{Ask, Draft, Talk};
use strata_tests::watch::MemoryWatch;
use strata_tests::wire::{Wire, frames, request as request_bytes};
use tokio::net::TcpSocket;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::{Ground, LOOK, say, until, until_memory};

/// Peers that send a frame byte by byte.
const DRIPPING: usize = 800;

/// Pause between two bytes of each.
const DRIP: Duration = Duration::from_millis(200);

/// Peers that ask and never read the answers. The kernel takes up to 4 MiB for each; with many more of them it would be
/// short of memory for sockets, and would take more answers of one when another one ends.
const DEAF: usize = 200;

/// Questions of a deaf peer whose answers are small and copied, 170 bytes each: 11 MiB, of which the server's kernel
/// takes up to 4 MiB. Those of all together are several times the 512 MiB that a server has for them.
const QUESTIONS: usize = 65_536;

/// Pulls of a deaf peer, each of 32 messages of 4 KiB: 12 MiB.
const PULLS: usize = 100;

/// Receive buffer of a deaf peer, bytes: its kernel takes little for it, so that the server has the rest.
const DEAF_BUFFER_BYTES: u32 = 4_096;

/// When the server's patience with half a frame, or with answers that nobody reads, is over: 30 s, one or two looks
/// of 2.5 s each, and time for the machine.
const ENDED: std::ops::Range<Duration> = Duration::from_secs(28)..Duration::from_secs(45);

/// How long a peer may take to be rid of its questions; the server reads no more of them at some time.
const ASKED_MAX: Duration = Duration::from_secs(10);

/// Memory that the server may have beside what it had before: 512 MiB of answers that are not read, the share of
/// each connection that is not counted (16 KiB), the buffers of those that are read, and room.
const MEMORY_KIB_MAX: u64 = (512 + 192) * 1024;

/// The good client is told nothing of a machine that stands still for a moment.
const PATIENCE: &str = "waitTimeMillsInSendQueue=5000";

/// Memory that may stay when all are gone: what the allocator keeps of the answers that were not read. It has been seen
/// to keep 155 to 300 of 444 MiB for longer than [`BACK_MAX`]; what stays is printed.
const KEPT_KIB_MAX: u64 = 400 * 1024;

/// How long memory may take to come back.
const BACK_MAX: Duration = Duration::from_secs(15);

/// Slow peers are ended by their deadlines, take bounded memory, and nobody else notices.
pub(crate) async fn a_thousand_slow_peers(ground: &mut Ground) -> Result<()> {
    let setup = ground.setup("slow", &[PATIENCE])?;
    let (site, ports) = (Site::start(&setup).await?, setup.ports);
    let talk = Talk::connect(ports.broker, HeaderCodec::Json).await?;
    let queue = Queue::new("large", 0);
    for _ in 0..64 {
        let answer = talk.send(&Draft::new(&queue, "", vec![b'x'; 4_096])).await?;
        ensure!(answer.code == 0, "{answer:?}");
    }
    let good = Good::begin(ports).await?;
    let before = own_memory_kib(site.id())?;
    let mut watch = MemoryWatch::begin(site.id());
    let began = Instant::now();
    let dripping = drip(ports);
    let deaf = ask_and_not_read(ports, &queue).await?;
    let asked = began.elapsed();
    let (ended, counts) = all_ended(ports).await?;
    let peak = watch.peak_kib().saturating_sub(before);
    watch.end().await;
    drop(deaf);
    dripping.await.context("the dripping peers panicked")??;
    say(&format!(
        "  {DRIPPING} dripping peers and {DEAF} deaf ones, which asked for {asked:?}, ended {ended:?} after that: {counts:?}; \
         {} MiB at most for all",
        peak / 1024
    ));
    ensure!(peak <= MEMORY_KIB_MAX, "slow peers took {} MiB", peak / 1024);
    ensure!(peak > 256 * 1024, "the deaf peers had the server hold only {} MiB: this proves nothing", peak / 1024);
    let labels = ["port=\"main\""];
    until(ports, ("strata_connections", &labels), BACK_MAX, |open| open < 10.0).await?;
    let kept = until_memory(site.id(), before + KEPT_KIB_MAX, BACK_MAX).await?;
    say(&format!("  {} KiB more than before are kept", kept.saturating_sub(before)));
    let panics = figure(ports, "strata_request_panics_total", &[]).await?;
    ensure!(panics < 0.5, "{panics} requests panicked");
    say(&format!("  {}", good.end().await?));
    ensure!(site.stop().await?.success(), "the server did not end well");
    Ok(())
}

/// Waits until all were ended for what they did, within the time that is documented; gives how long the first and the
/// last took, and how many ended for half a frame and for not reading. A deaf peer may end for either: the server
/// reads it no more at some time, and what it had sent until then need not end with a whole question.
async fn all_ended(ports: Ports) -> Result<((Duration, Duration), (usize, usize))> {
    let began = Instant::now();
    let mut first = None;
    loop {
        let reason = async |reason: &str| {
            let label = format!("reason=\"{reason}\"");
            figure(ports, "strata_connections_ended_total", &["port=\"main\"", label.as_str()]).await
        };
        let counts = (reason("half_frame").await? as usize, reason("slow_reader").await? as usize);
        let passed = began.elapsed();
        if counts.0 + counts.1 > 0 {
            first.get_or_insert(passed);
        }
        if counts.0 + counts.1 == DRIPPING + DEAF {
            let first = first.unwrap_or_default();
            ensure!(first + ASKED_MAX > ENDED.start, "the first was ended after {first:?}");
            ensure!(counts.0 >= DRIPPING && counts.1 >= DEAF / 2, "half a frame, not reading: {counts:?}");
            return Ok(((first, passed), counts));
        }
        ensure!(passed < ENDED.end, "{counts:?} of {DRIPPING} and {DEAF} were ended after {passed:?}");
        sleep(LOOK).await;
    }
}

/// Peers that send a good request so slowly that it is never whole in time.
fn drip(ports: Ports) -> JoinHandle<Result<()>> {
    tokio::spawn(async move {
        let mut wires = Vec::with_capacity(DRIPPING);
        for _ in 0..DRIPPING {
            wires.push(Wire::dial(ports.broker).await?);
        }
        let good = request_bytes(request::GET_MAX_OFFSET, &[("topic", "good"), ("queueId", "0")], &[b'x'; 1_000]);
        for byte in good {
            let mut open = 0;
            for wire in &mut wires {
                open += usize::from(wire.send(&[byte]).await);
            }
            if open == 0 {
                return Ok(());
            }
            sleep(DRIP).await;
        }
        anyhow::bail!("half a frame may take for ever")
    })
}

/// Peers that ask much and read nothing, the one half for small answers, the other for slices of the log.
async fn ask_and_not_read(ports: Ports, queue: &Queue) -> Result<Vec<Wire>> {
    let question = request_bytes(request::GET_MAX_OFFSET, &[("topic", "large"), ("queueId", "0")], b"");
    let ask = Ask { group: "deaf", queue, offset: 0, most: 32, hold_ms: 0, commit: None };
    let small: Arc<[u8]> = question.repeat(QUESTIONS).into();
    let large: Arc<[u8]> = frames((0..).map(|_| ask.command(HeaderCodec::Json)).take(PULLS)).to_vec().into();
    let mut asking = tokio::task::JoinSet::new();
    let done = Arc::new(AtomicUsize::new(0));
    for nth in 0..DEAF {
        let bytes = Arc::clone(if nth % 2 == 0 { &small } else { &large });
        let done = Arc::clone(&done);
        asking.spawn(async move {
            let socket = TcpSocket::new_v4()?;
            socket.set_recv_buffer_size(DEAF_BUFFER_BYTES)?;
            let mut wire = Wire::over(socket, ports.broker).await?;
            // The server may stop reading it meanwhile.
            if timeout(ASKED_MAX, wire.send(&bytes)).await.is_ok() {
                done.fetch_add(1, Ordering::Relaxed);
            }
            anyhow::Ok(wire)
        });
    }
    let mut wires = Vec::with_capacity(DEAF);
    while let Some(wire) = asking.join_next().await {
        wires.push(wire.context("a deaf peer panicked")??);
    }
    say(&format!("  {} of {DEAF} deaf peers were rid of their questions", done.load(Ordering::Relaxed)));
    Ok(wires)
}
