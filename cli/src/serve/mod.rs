//! The commands that run servers: their configuration, their ports, their end.
//!
//! Owns the order of things: every port is taken before a store is opened, so that a port in use costs
//! nothing; the broker leaves before its name server, so that clients are told.

mod announce;
mod descriptors;
mod http;
mod registered;
mod run;
#[cfg_attr(not(feature = "sql"), path = "no_sql.rs")]
mod sql;
mod stop;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use strata_namesrv::NamesrvOptions;

use crate::args::{BrokerArgs, DEFAULT_DATA, DEFAULT_NAMESRV, NamesrvArgs, SqlFlags, StartArgs};
use crate::config::broker::BrokerDraft;
use crate::config::connections::HasConnections;
use crate::config::namesrv::NamesrvDraft;
use crate::config::{ConfigError, Effective, Origin};
use crate::exit::{Exit, OrFail, Outcome};
use descriptors::Descriptors;
use run::{BrokerSite, Site};

/// Ports of the servers of `strata start`: the name server's, the broker's, its fast one.
const START_PORTS: u64 = 3;
/// Ports of a broker.
const BROKER_PORTS: u64 = 2;

/// Runs `strata start`.
pub(crate) async fn start(args: StartArgs) -> Outcome {
    let started = tokio::time::Instant::now();
    let effective = start_config(&args)?;
    effective.warn();
    let descriptors = Descriptors::raise();
    let mut draft = effective.draft;
    let share = descriptors.share(*draft.connections(), START_PORTS);
    let listen = draft.options().listen;
    let namesrv = run::bind(SocketAddr::new(listen, args.namesrv_port()), false, share.connections).await?;
    let namesrv_port = namesrv.local_addr().port();
    draft.register_at(SocketAddr::new(loopback(listen), namesrv_port));
    let options = draft.options();
    let addresses = vec![SocketAddr::new(options.identity.ip, namesrv_port).to_string()];
    let namesrv_options = NamesrvOptions { data: Some(args.namesrv_data()), addresses, ..NamesrvOptions::default() };
    let metrics = draft.metrics_address();
    let broker = BrokerSite { options, sql: draft.sql_addresses(), metrics, cold: draft.cold.location() };
    let namesrv = Some((namesrv_options, namesrv));
    run::run(Site { namesrv, broker: Some(broker), nsaddr: None, share }, started).await
}

/// Runs `strata namesrv`.
pub(crate) async fn namesrv(args: NamesrvArgs) -> Outcome {
    let started = tokio::time::Instant::now();
    let effective = namesrv_config(&args)?;
    effective.warn();
    let descriptors = Descriptors::raise();
    let draft = effective.draft;
    let share = descriptors.share(*draft.connections(), 1);
    let server = run::bind(SocketAddr::new(draft.listen, draft.port), false, share.connections).await?;
    let data = Some(args.data().to_owned());
    let own = || SocketAddr::new(loopback(draft.listen), server.local_addr().port()).to_string();
    let addresses = args.nsaddr.map_or_else(|| vec![own()], |list| list.split(';').map(str::to_owned).collect());
    let namesrv = Some((NamesrvOptions { data, settings: draft.settings, addresses }, server));
    let nsaddr = args.nsaddr_port.map(|port| SocketAddr::new(draft.listen, port));
    run::run(Site { namesrv, broker: None, nsaddr, share }, started).await
}

/// Runs `strata broker`.
pub(crate) async fn broker(args: BrokerArgs) -> Outcome {
    let started = tokio::time::Instant::now();
    let effective = broker_config(&args)?;
    effective.warn();
    let descriptors = Descriptors::raise();
    let draft = effective.draft;
    let share = descriptors.share(*draft.connections(), BROKER_PORTS);
    let cold = draft.cold.location();
    let metrics = draft.metrics_address();
    let broker = BrokerSite { options: draft.options(), sql: draft.sql_addresses(), metrics, cold };
    run::run(Site { namesrv: None, broker: Some(broker), nsaddr: None, share }, started).await
}

/// The configuration of a broker: environment, then file, then flags.
pub(crate) fn broker_config(args: &BrokerArgs) -> Outcome<Effective<BrokerDraft>> {
    let read = || {
        let mut effective = Effective::<BrokerDraft>::default();
        effective.take("namesrvAddr", DEFAULT_NAMESRV, Origin::Default)?;
        let variable = args.namesrv_env.as_ref().filter(|text| !text.trim().is_empty());
        effective.take_given("namesrvAddr", variable, Origin::Environment("NAMESRV_ADDR"))?;
        if let Some(path) = &args.config {
            effective.read_file(path)?;
        }
        effective.take_given("namesrvAddr", args.namesrv.as_ref(), Origin::Flag("--namesrv"))?;
        effective.take_given("listenPort", args.broker_port, Origin::Flag("--broker-port"))?;
        effective.take_given("brokerName", args.name.as_ref(), Origin::Flag("--name"))?;
        effective.take_given("brokerClusterName", args.cluster.as_ref(), Origin::Flag("--cluster"))?;
        effective.take_given("brokerIP1", args.host, Origin::Flag("--host"))?;
        effective.take_given("bindAddress", args.listen, Origin::Flag("--listen"))?;
        effective.take_given("storePathRootDir", args.data.as_ref().map(|p| p.display()), Origin::Flag("--data"))?;
        effective.take_given("metricsPromExporterPort", args.metrics_port, Origin::Flag("--metrics-port"))?;
        take_sql(&mut effective, &args.sql)?;
        effective.take_given("tieredStoreUrl", args.cold.as_ref(), Origin::Flag("--cold"))?;
        Ok::<_, ConfigError>(effective)
    };
    read().or_fail(Exit::Usage)
}

/// The configuration of a name server: file, then flags.
pub(crate) fn namesrv_config(args: &NamesrvArgs) -> Outcome<Effective<NamesrvDraft>> {
    let read = || {
        let mut effective = Effective::<NamesrvDraft>::default();
        if let Some(path) = &args.config {
            effective.read_file(path)?;
        }
        effective.take_given("listenPort", args.port, Origin::Flag("--port"))?;
        effective.take_given("bindAddress", args.listen, Origin::Flag("--listen"))?;
        Ok::<_, ConfigError>(effective)
    };
    read().or_fail(Exit::Usage)
}

/// The configuration of the broker of `strata start`: file, then flags. Its name server is the process's own.
pub(crate) fn start_config(args: &StartArgs) -> Outcome<Effective<BrokerDraft>> {
    let read = || {
        let mut effective = Effective::<BrokerDraft>::default();
        let folder = |data: &Path| data.join("broker").display().to_string();
        effective.take("storePathRootDir", &folder(Path::new(DEFAULT_DATA)), Origin::Default)?;
        if let Some(path) = &args.config {
            effective.read_file(path)?;
        }
        let origin = effective.origin("namesrvAddr");
        if origin != Origin::Default {
            let told = format!("{origin}: namesrvAddr has no effect: strata start runs its own name server");
            effective.warnings.push(told);
        }
        effective.take_given("storePathRootDir", args.data.as_deref().map(folder), Origin::Flag("--data"))?;
        effective.take_given("listenPort", args.broker_port, Origin::Flag("--broker-port"))?;
        effective.take_given("brokerIP1", args.host, Origin::Flag("--host"))?;
        effective.take_given("bindAddress", args.listen, Origin::Flag("--listen"))?;
        effective.take_given("metricsPromExporterPort", args.metrics_port, Origin::Flag("--metrics-port"))?;
        take_sql(&mut effective, &args.sql)?;
        effective.take_given("tieredStoreUrl", args.cold.as_ref(), Origin::Flag("--cold"))?;
        if effective.origin("tieredStoreUrl") == Origin::Default {
            let folder = default_cold(args, &effective);
            effective.draft.cold.use_folder(&folder).map_err(|allowed| ConfigError::Value {
                origin: Origin::Default,
                key: String::from("tieredStoreUrl"),
                value: folder.display().to_string(),
                allowed,
            })?;
        }
        let namesrv = SocketAddr::new(loopback(effective.draft.options().listen), args.namesrv_port());
        let origin = args.namesrv_port.map_or(Origin::Default, |_| Origin::Flag("--namesrv-port"));
        effective.settle("namesrvAddr", origin, |draft| draft.register_at(namesrv));
        Ok::<_, ConfigError>(effective)
    };
    read().or_fail(Exit::Usage)
}

fn take_sql(effective: &mut Effective<BrokerDraft>, flags: &SqlFlags) -> Result<(), ConfigError> {
    effective.take_given("sqlPort", flags.sql_port, Origin::Flag("--sql-port"))?;
    effective.take_given("sqlPostgresPort", flags.postgres_port, Origin::Flag("--postgres-port"))?;
    effective.take_given("sqlBindAddress", flags.sql_listen, Origin::Flag("--sql-listen"))
}

/// The object store of `strata start` itself: a folder beside its servers' folders, or in the one that a file names.
fn default_cold(args: &StartArgs, effective: &Effective<BrokerDraft>) -> PathBuf {
    const FOLDER: &str = "cold";
    match effective.origin("storePathRootDir") {
        Origin::File { .. } => effective.draft.options().data.join(FOLDER),
        Origin::Default | Origin::Environment(_) | Origin::Flag(_) => {
            args.data.as_deref().unwrap_or(Path::new(DEFAULT_DATA)).join(FOLDER)
        }
    }
}

/// Where this process reaches what listens on `listen`.
fn loopback(listen: IpAddr) -> IpAddr {
    if listen.is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { listen }
}
