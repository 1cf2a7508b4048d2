//! The commands that run servers: their configuration, their ports, their end.
//!
//! Owns the order of things: every port is taken before a store is opened, so that a port in use costs
//! nothing; the broker leaves before its name server, so that clients are told.

mod announce;
mod http;
mod registered;
mod run;
mod stop;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use strata_namesrv::NamesrvOptions;

use crate::args::{BrokerArgs, DEFAULT_NAMESRV, NamesrvArgs, StartArgs};
use crate::config::broker::BrokerDraft;
use crate::config::namesrv::NamesrvDraft;
use crate::config::{ConfigError, Effective, Origin};
use crate::exit::{Exit, OrFail, Outcome};
use run::{BrokerSite, Site};

/// Runs `strata start`.
pub(crate) async fn start(args: StartArgs) -> Outcome {
    let started = tokio::time::Instant::now();
    let effective = start_config(&args).or_fail(Exit::Usage)?;
    effective.warn();
    let mut options = effective.draft.options();
    if effective.origin("storePathRootDir") == Origin::Default {
        options.data = args.data.join("broker");
    }
    let listen = options.listen;
    let namesrv = run::bind(SocketAddr::new(listen, args.namesrv_port), false).await?;
    let namesrv_port = namesrv.local_addr().port();
    options.name_servers = vec![SocketAddr::new(loopback(listen), namesrv_port).to_string()];
    let addresses = vec![SocketAddr::new(options.identity.ip, namesrv_port).to_string()];
    let namesrv_options =
        NamesrvOptions { data: Some(args.data.join("namesrv")), addresses, ..NamesrvOptions::default() };
    let broker = BrokerSite { options, metrics: effective.draft.metrics };
    let site = Site { namesrv: Some((namesrv_options, namesrv)), broker: Some(broker), nsaddr: None };
    run::run(site, started).await
}

/// Runs `strata namesrv`.
pub(crate) async fn namesrv(args: NamesrvArgs) -> Outcome {
    let started = tokio::time::Instant::now();
    let mut effective = namesrv_config(args.config.as_deref())?;
    effective.take_given("listenPort", args.port, Origin::Flag("--port")).or_fail(Exit::Usage)?;
    effective.take_given("bindAddress", args.listen, Origin::Flag("--listen")).or_fail(Exit::Usage)?;
    effective.warn();
    let draft = effective.draft;
    let server = run::bind(SocketAddr::new(draft.listen, draft.port), false).await?;
    let own = || SocketAddr::new(loopback(draft.listen), server.local_addr().port()).to_string();
    let addresses = args.nsaddr.map_or_else(|| vec![own()], |list| list.split(';').map(str::to_owned).collect());
    let options = NamesrvOptions { data: Some(args.data), settings: draft.settings, addresses };
    let nsaddr = args.nsaddr_port.map(|port| SocketAddr::new(draft.listen, port));
    run::run(Site { namesrv: Some((options, server)), broker: None, nsaddr }, started).await
}

/// Runs `strata broker`.
pub(crate) async fn broker(args: BrokerArgs) -> Outcome {
    let started = tokio::time::Instant::now();
    let effective = broker_config(&args)?;
    effective.warn();
    let broker = BrokerSite { options: effective.draft.options(), metrics: effective.draft.metrics };
    run::run(Site { namesrv: None, broker: Some(broker), nsaddr: None }, started).await
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
        Ok::<_, ConfigError>(effective)
    };
    read().or_fail(Exit::Usage)
}

/// The configuration of a name server: the file alone; its flags follow where they are known.
pub(crate) fn namesrv_config(path: Option<&Path>) -> Outcome<Effective<NamesrvDraft>> {
    let mut effective = Effective::default();
    if let Some(path) = path {
        effective.read_file(path).or_fail(Exit::Usage)?;
    }
    Ok(effective)
}

fn start_config(args: &StartArgs) -> Result<Effective<BrokerDraft>, ConfigError> {
    let mut effective = Effective::<BrokerDraft>::default();
    if let Some(path) = &args.config {
        effective.read_file(path)?;
        if effective.origin("namesrvAddr") != Origin::Default {
            let origin = effective.origin("namesrvAddr");
            effective
                .warnings
                .push(format!("{origin}: namesrvAddr has no effect: strata start runs its own name server"));
        }
    }
    effective.take_given("listenPort", args.broker_port, Origin::Flag("--broker-port"))?;
    effective.take_given("brokerIP1", args.host, Origin::Flag("--host"))?;
    effective.take_given("bindAddress", args.listen, Origin::Flag("--listen"))?;
    effective.take_given("metricsPromExporterPort", args.metrics_port, Origin::Flag("--metrics-port"))?;
    Ok(effective)
}

/// Where this process reaches what listens on `listen`.
fn loopback(listen: IpAddr) -> IpAddr {
    if listen.is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { listen }
}
