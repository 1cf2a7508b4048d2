//! A process of servers from its ports to its end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use strata_broker::{Broker, BrokerOptions, ServeError};
use strata_namesrv::{Namesrv, NamesrvOptions};
use strata_remoting::{Server, ServerOptions};
use strata_store::SystemClock;
use strata_tiering::bucket::Location;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval, timeout};

use super::announce::{BrokerFacts, Facts, announce};
use super::descriptors::Share;
use super::http::{self, Pages, Told};
use super::registered::Entry;
use super::sql;
use super::stop::{Bell, asked_to_stop};
use crate::config::connections::Connections;
use crate::config::sql::SqlAddresses;
use crate::exit::{Exit, Failure, OrFail, Outcome};
use crate::limits::{READY_INTERVAL, READY_MAX};

/// What runs in this process.
pub(crate) struct Site {
    /// A name server, its port taken.
    pub(crate) namesrv: Option<(NamesrvOptions, Server)>,
    pub(crate) broker: Option<BrokerSite>,
    /// Pages of a name server alone; a broker has its metrics port.
    pub(crate) nsaddr: Option<SocketAddr>,
    /// What each port takes.
    pub(crate) share: Share,
}

/// A broker that is to run.
pub(crate) struct BrokerSite {
    pub(crate) options: BrokerOptions,
    /// Where its figures are given out.
    pub(crate) metrics: Option<SocketAddr>,
    /// Where SQL is answered.
    pub(crate) sql: Option<SqlAddresses>,
    /// Where its cold tier is, if it has one.
    pub(crate) cold: Option<Location>,
}

/// A broker whose ports are taken.
struct BoundBroker {
    options: BrokerOptions,
    cold: Option<Location>,
    server: Server,
    fast: Option<Server>,
}

/// Takes a port for remoting.
pub(crate) async fn bind(address: SocketAddr, fast_port: bool, connections: Connections) -> Outcome<Server> {
    let Connections { max: connections_max, per_address_max: connections_per_address_max } = connections;
    let options = ServerOptions { connections_max, connections_per_address_max, fast_port, ..Default::default() };
    Server::bind(address, options).await.or_fail(Exit::CannotStart)
}

/// Runs everything until a signal comes, or until a part ends by itself.
pub(crate) async fn run(site: Site, started: Instant) -> Outcome {
    // Listened for from here on, not from the task's first turn: a signal during the start is not lost.
    let signal = tokio::spawn(asked_to_stop()?);
    let pages_listener = pages_listener(&site).await?;
    let pages_address = pages_listener.as_ref().and_then(|listener| listener.local_addr().ok());
    let (pages, pages_bell) = (Pages::starting(), Bell::new());
    let pages_task =
        pages_listener.map(|listener| tokio::spawn(http::serve(listener, pages.clone(), pages_bell.rung())));
    let sql_ports = sql::Ports::take(site.broker.as_ref().and_then(|broker| broker.sql)).await?;
    let bound = match site.broker {
        Some(broker) => Some(bind_broker(broker, site.share.connections).await?),
        None => None,
    };
    let namesrv_address = site.namesrv.as_ref().map(|(_, server)| server.local_addr());
    let (namesrv, namesrv_server) = open_namesrv(site.namesrv)?;
    let (broker, broker_parts) = match bound {
        Some(bound) => (Some(open_broker(&bound).await?), Some(bound)),
        None => (None, None),
    };
    if let Some(shortage) = &site.share.shortage {
        tracing::warn!("{shortage}");
    }
    let entry = broker_parts.as_ref().map(|parts| Entry::of(&parts.options, parts.options.identity.port));
    let is_cold_open = broker.as_ref().and_then(|broker| broker.is_cold_open());
    let broker_facts = broker_parts.as_ref().map(|parts| facts_of(parts, is_cold_open));
    let sql_told = sql_ports.as_ref().map(sql::Ports::told).unwrap_or_default();
    let sql = sql_ports.zip(broker.as_ref()).map(|(ports, broker)| ports.open(broker)).transpose()?;
    let facts = Facts { namesrv: namesrv_address, broker: broker_facts, pages: pages_address, sql: sql_told };
    let name_servers = facts.broker.as_ref().map(|broker| broker.name_servers.clone()).unwrap_or_default();
    let sql_figures = sql.as_ref().map(sql::Sql::figures);
    pages.tell(Told { broker: broker.clone(), namesrv: namesrv.clone(), name_servers, sql_figures });
    let (broker_bell, namesrv_bell) = (Bell::new(), Bell::new());
    let sql_rung = pages_bell.rung();
    let sql_done = async {
        if let Some(sql) = sql {
            sql.serve(sql_rung).await;
        }
    };
    let namesrv_rung = namesrv_bell.rung();
    let mut namesrv_task = namesrv.zip(namesrv_server).map(|(namesrv, server)| {
        tokio::spawn(async move {
            namesrv.serve(server, namesrv_rung).await;
            Ok::<(), Failure>(())
        })
    });
    let broker_rung = broker_bell.rung();
    let mut broker_task = broker.clone().zip(broker_parts).map(|(broker, parts)| {
        tokio::spawn(async move { broker.serve(parts.server, parts.fast, broker_rung).await.map_err(bad_end) })
    });
    let ready = ready(broker.clone().zip(entry));
    let life = async {
        let told = async {
            timeout(READY_MAX, ready).await.or_fail_with(Exit::CannotStart, "the broker is not ready in time")?;
            announce(&facts, started.elapsed())
        };
        let result = live(told, signal, (&mut broker_task, &mut namesrv_task)).await;
        broker_bell.ring();
        let broker_end = ended(broker_task).await;
        namesrv_bell.ring();
        let namesrv_end = ended(namesrv_task).await;
        pages_bell.ring();
        result.and(broker_end).and(namesrv_end)
    };
    let (result, (), ()) = tokio::join!(life, ended_pages(pages_task), sql_done);
    if result.is_ok() {
        tracing::info!("stopped");
    }
    result
}

/// Ready when the pages are not served any more.
async fn ended_pages(task: Option<JoinHandle<()>>) {
    if let Some(task) = task {
        let _ = task.await;
    }
}

type Task = Option<JoinHandle<Outcome>>;

/// From the start of the parts to the moment they must end. `told` tells when they are ready.
async fn live(
    told: impl Future<Output = Outcome>,
    signal: JoinHandle<&'static str>,
    (broker_task, namesrv_task): (&mut Task, &mut Task),
) -> Outcome {
    let ready = async {
        told.await?;
        std::future::pending::<Outcome>().await
    };
    tokio::select! {
        result = ready => result,
        signal = signal => {
            let signal = signal.or_fail(Exit::Failed)?;
            tracing::info!("{signal}: answering what is under way, then stopping; a second signal ends at once");
            tokio::spawn(end_at(asked_to_stop()?));
            Ok(())
        }
        result = finished(broker_task) => result.and(Err(Failure::new(Exit::Failed, "the broker ended by itself"))),
        result = finished(namesrv_task) => result.and(Err(Failure::new(Exit::Failed, "the name server ended by itself"))),
    }
}

async fn ready(broker: Option<(Arc<Broker>, Entry)>) {
    let Some((broker, entry)) = broker else { return };
    let mut looks = interval(READY_INTERVAL);
    while !broker.is_ready() {
        looks.tick().await;
    }
    entry.wait().await;
}

async fn end_at(second: impl Future<Output = &'static str>) {
    let signal = second.await;
    tracing::error!("ended at once by a second signal, {signal}; the next start recovers the log");
    std::process::exit(Exit::Failed as i32);
}

/// Ready when the part ends by itself; a part that does not exist never does.
async fn finished(task: &mut Task) -> Outcome {
    match task {
        Some(handle) => {
            let result = handle.await.or_fail(Exit::Failed).and_then(|result| result);
            *task = None;
            result
        }
        None => std::future::pending().await,
    }
}

/// What a broker's end is for the process.
fn bad_end(error: ServeError) -> Failure {
    let exit = match error {
        ServeError::Latched { .. } => Exit::DiskFailed,
        ServeError::Close { .. } | ServeError::Settings(_) => Exit::Failed,
    };
    Failure::new(exit, error)
}

async fn ended(task: Task) -> Outcome {
    match task {
        Some(handle) => handle.await.or_fail(Exit::Failed)?,
        None => Ok(()),
    }
}

async fn pages_listener(site: &Site) -> Outcome<Option<TcpListener>> {
    let (address, flag) = match (&site.broker, site.nsaddr) {
        (Some(broker), _) => (broker.metrics, "--metrics-port"),
        (None, nsaddr) => (nsaddr, "--nsaddr-port"),
    };
    let Some(address) = address else { return Ok(None) };
    http::listen(address, flag).await.map(Some)
}

async fn open_broker(bound: &BoundBroker) -> Outcome<Arc<Broker>> {
    let options = bound.options.clone();
    let bucket = match &bound.cold {
        Some(location) => Some(crate::tier::open_bucket(location).await?),
        None => None,
    };
    let clock = Arc::new(SystemClock::new());
    let opened = tokio::task::spawn_blocking(move || Broker::open(options, clock, bucket)).await;
    opened.or_fail(Exit::Failed)?.or_fail(Exit::CannotStart)
}

fn open_namesrv(site: Option<(NamesrvOptions, Server)>) -> Outcome<(Option<Arc<Namesrv>>, Option<Server>)> {
    let Some((options, server)) = site else { return Ok((None, None)) };
    Ok((Some(Namesrv::open(options).or_fail(Exit::CannotStart)?), Some(server)))
}

/// The fast port is two below; a free broker port has any free one beside it.
async fn bind_broker(site: BrokerSite, connections: Connections) -> Outcome<BoundBroker> {
    let BrokerSite { mut options, cold, metrics: _, sql: _ } = site;
    let address = SocketAddr::new(options.listen, options.identity.port);
    let server = bind(address, false, connections).await?;
    let fast = match address.port() {
        0 => Some(SocketAddr::new(address.ip(), 0)),
        1 | 2 => None,
        port => Some(SocketAddr::new(address.ip(), port - 2)),
    };
    let fast = match fast {
        Some(address) => Some(bind(address, true, connections).await?),
        None => None,
    };
    options.identity.port = server.local_addr().port();
    Ok(BoundBroker { options, cold, server, fast })
}

fn facts_of(bound: &BoundBroker, is_cold_open: Option<bool>) -> BrokerFacts {
    let BoundBroker { options, cold, server, fast } = bound;
    let waits = if is_cold_open == Some(false) { " (does not answer yet; asked again and again)" } else { "" };
    BrokerFacts {
        name: options.identity.name.clone(),
        cluster: options.identity.cluster.clone(),
        advertised: SocketAddr::new(options.identity.ip, server.local_addr().port()),
        fast_port: fast.as_ref().map(|fast| fast.local_addr().port()),
        data: options.data.display().to_string(),
        cold: cold.as_ref().map_or_else(|| String::from("none"), |cold| format!("{cold}{waits}")),
        name_servers: options.name_servers.join(";"),
    }
}

const _: () =
    assert!(READY_INTERVAL.as_millis() < Duration::from_secs(1).as_millis(), "a start is told within its second");
