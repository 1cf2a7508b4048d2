//! As many connections as a port takes, all of them idle.
//!
//! Owns what one of them costs, and that a client beside them notices nothing.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use strata_protocol::body::{Heartbeat, ProducerData};
use strata_protocol::code::request;
use strata_protocol::frame::HeaderCodec;
use strata_tests::good::Good;
use strata_tests::history::Queue;
use strata_tests::page::figure;
use strata_tests::site::{Ports, Site, own_memory_kib};
use strata_tests::talk::{Draft, Talk};
use strata_tests::wire::{Heard, Wire, request as request_bytes};
use tokio::net::TcpSocket;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::{Ground, percentile, say, until, until_memory};

/// What the port is asked to take.
const CONNECTIONS_MAX: usize = 20_000;

/// Fewer than this prove nothing; the system must allow more descriptors.
const CONNECTIONS_MIN: usize = 5_000;

/// Connections that one task makes, one after another.
const CONNECTIONS_PER_TASK: usize = 1_250;

/// Memory that one idle connection may cost the server.
const CONNECTION_BYTES_MAX: u64 = 20 * 1024;

/// How often as long a send may take beside the crowd.
const SLOWER_MAX: u32 = 2;

/// A send's time below which it is not told apart from the machine's noise.
const NOISE: Duration = Duration::from_micros(100);

/// Sends that are timed.
const SENDS: usize = 2_000;

/// After this a connection that said something and is quiet has no buffers any more: two looks of 2.5 s each.
const SETTLED: Duration = Duration::from_millis(6_000);

/// How long all connections may take to be gone.
const GONE_MAX: Duration = Duration::from_secs(20);

/// Memory that may stay when all are gone: what the allocator keeps for the next crowd.
const KEPT_KIB_MAX: u64 = 48 * 1024;

/// Idle connections up to the limit: small, harmless, refused beyond it, and gone when they end.
pub(crate) async fn twenty_thousand_idle_connections(ground: &mut Ground) -> Result<()> {
    let limit = format!("serverMaxConnections={CONNECTIONS_MAX}");
    let setup = ground.setup("crowd", &[&limit])?;
    let (site, ports) = (Site::start(&setup).await?, setup.ports);
    let talk = Talk::connect(ports.broker, HeaderCodec::Json).await?;
    let good = Good::begin(ports).await?;
    let alone = median_send(&talk).await?;
    let before = own_memory_kib(site.id())?;
    let mut idle = fill(ports).await?;
    let count = idle.len();
    say(&format!("  {count} idle connections, each of which has said something"));
    ensure!(count >= CONNECTIONS_MIN, "only {count} connections were taken, {CONNECTIONS_MIN} are needed: ulimit -n");
    let labels = ["port=\"main\""];
    let open = figure(ports, "strata_connections", &labels).await?;
    let refused = figure(ports, "strata_connections_refused_total", &labels).await?;
    ensure!(refused > 0.0 && open <= CONNECTIONS_MAX as f64, "{open} connections are open, {refused} were refused");
    // Without a shortage of descriptors the limit is the one that was set.
    let log = std::fs::read_to_string(&setup.log).context("no log")?;
    let is_short = log.contains("file descriptors are allowed");
    ensure!(is_short || (open - CONNECTIONS_MAX as f64).abs() < 0.5, "{open} are open, not {CONNECTIONS_MAX}");

    sleep(SETTLED).await;
    let grown = own_memory_kib(site.id())?.saturating_sub(before) * 1024;
    let each = grown / count as u64;
    let beside = median_send(&talk).await?;
    say(&format!(
        "  {each} bytes of the server's own memory each; a send takes {alone:?} alone, {beside:?} beside them"
    ));
    ensure!(each <= CONNECTION_BYTES_MAX, "an idle connection costs {each} bytes, {CONNECTION_BYTES_MAX} are allowed");
    ensure!(beside <= alone.max(NOISE) * SLOWER_MAX, "a send takes {beside:?} beside them and {alone:?} alone");
    is_refused(ports).await?;
    for wire in idle.iter_mut().step_by(count / 20) {
        ensure!(!wire.has_ended().await, "an idle connection was ended");
    }

    drop(idle);
    let took = until(ports, ("strata_connections", &labels), GONE_MAX, |open| open < 20.0).await?;
    let kept = until_memory(site.id(), before + KEPT_KIB_MAX, GONE_MAX).await?;
    ensure!(is_taken(&mut Wire::dial(ports.broker).await?, "late").await?, "no place came free");
    say(&format!("  gone {took:?} after their end; {} KiB more than before are kept", kept.saturating_sub(before)));
    say(&format!("  {}", good.end().await?));
    ensure!(site.stop().await?.success(), "the server did not end well");
    Ok(())
}

/// Connects until the port takes no more; each connection shows a producer of its own.
async fn fill(ports: Ports) -> Result<Vec<Wire>> {
    let mut tasks = JoinSet::new();
    for nth in 0..CONNECTIONS_MAX / CONNECTIONS_PER_TASK {
        tasks.spawn(async move {
            let mut taken = Vec::new();
            for number in 0..CONNECTIONS_PER_TASK {
                let socket = TcpSocket::new_v4()?;
                // One address of this side has not ports enough for all.
                let own = std::net::Ipv4Addr::new(127, 0, 1, u8::try_from(nth + 1)?);
                socket.bind((own, 0).into()).context("no port for a connection")?;
                let mut wire = Wire::over(socket, ports.broker).await?;
                if !is_taken(&mut wire, &format!("idle-{nth}-{number}")).await? {
                    break;
                }
                taken.push(wire);
            }
            anyhow::Ok(taken)
        });
    }
    let mut all = Vec::new();
    while let Some(taken) = tasks.join_next().await {
        all.append(&mut taken.context("a task of the crowd panicked")??);
    }
    Ok(all)
}

/// Whether a heartbeat on the connection is answered; otherwise it was closed.
async fn is_taken(wire: &mut Wire, client: &str) -> Result<bool> {
    let beat = Heartbeat {
        client_id: client.to_owned(),
        producer_data_set: vec![ProducerData { group_name: String::from("crowd") }],
        consumer_data_set: Vec::new(),
    };
    wire.send(&request_bytes(request::HEART_BEAT, &[], &serde_json::to_vec(&beat)?)).await;
    match wire.hear().await? {
        Heard::Closed => Ok(false),
        Heard::Frame(answer) => {
            ensure!(answer.code == 0, "a heartbeat was answered with {answer:?}");
            Ok(true)
        }
    }
}

/// Who comes now is turned away at once, not kept waiting.
async fn is_refused(ports: Ports) -> Result<()> {
    let began = Instant::now();
    let mut wire = Wire::dial(ports.broker).await?;
    ensure!(!is_taken(&mut wire, "one-too-many").await?, "one connection more was taken");
    ensure!(began.elapsed() < Duration::from_secs(1), "it was turned away after {:?}", began.elapsed());
    Ok(())
}

/// The median time of a send.
async fn median_send(talk: &Talk) -> Result<Duration> {
    let queue = Queue::new("timed", 0);
    let mut times = Vec::with_capacity(SENDS);
    for _ in 0..SENDS {
        let began = Instant::now();
        let answer = talk.send(&Draft::new(&queue, "", vec![b'x'; 200])).await?;
        ensure!(answer.code == 0, "{answer:?}");
        times.push(began.elapsed());
    }
    Ok(percentile(&mut times, 50))
}
