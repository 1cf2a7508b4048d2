//! What a server says when it is ready: its addresses, and what to try next.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::exit::Outcome;
use crate::output;

/// A broker's facts.
#[derive(Debug)]
pub(crate) struct BrokerFacts {
    pub(crate) name: String,
    pub(crate) cluster: String,
    pub(crate) advertised: SocketAddr,
    pub(crate) fast_port: Option<u16>,
    pub(crate) data: String,
    /// Where the cold tier is.
    pub(crate) cold: String,
    pub(crate) name_servers: String,
}

/// What is listened on.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) namesrv: Option<SocketAddr>,
    pub(crate) broker: Option<BrokerFacts>,
    pub(crate) pages: Option<SocketAddr>,
    /// What is told of SQL, line by line.
    pub(crate) sql: Vec<(&'static str, String)>,
}

/// Prints the facts and a line that says `ready`; scripts wait for that word.
pub(crate) fn announce(facts: &Facts, took: Duration) -> Outcome {
    output::write_out(|out| out.write_all(text(facts, took).as_bytes()))
}

fn text(facts: &Facts, took: Duration) -> String {
    let mut out = format!("Strata {}\n\n", env!("CARGO_PKG_VERSION"));
    // Writing to a String cannot fail.
    let mut fact = |name: &str, value: &str| {
        let _ = writeln!(out, "  {name:<13}{value}");
    };
    if let Some(address) = facts.namesrv {
        fact("name server", &reachable(address).to_string());
    }
    if let Some(broker) = &facts.broker {
        let fast = broker.fast_port.map(|port| format!(", fast port {port}")).unwrap_or_default();
        fact("broker", &format!("{} ({} in {}{fast})", broker.advertised, broker.name, broker.cluster));
        if facts.namesrv.is_none() {
            fact("registers at", &broker.name_servers);
        }
        fact("data", &broker.data);
        fact("cold tier", &broker.cold);
    }
    if let Some(address) = facts.pages {
        let page = if facts.broker.is_some() { "/metrics" } else { "/rocketmq/nsaddr" };
        fact("pages", &format!("http://{}{page}", reachable(address)));
    }
    for (name, value) in &facts.sql {
        fact(name, value);
    }
    let _ = writeln!(out, "\nready in {} ms", took.as_millis());
    if let (Some(namesrv), Some(broker)) = (facts.namesrv, &facts.broker) {
        let at =
            if namesrv.port() == 9_876 { String::new() } else { format!(" --namesrv 127.0.0.1:{}", namesrv.port()) };
        let _ = writeln!(out, "\nTry next:");
        let _ = writeln!(out, "  strata topic create orders{at}");
        let _ = writeln!(out, "  echo hello | strata produce orders{at}");
        let _ = writeln!(out, "  strata consume orders{at}");
        if broker.advertised.ip().is_loopback() {
            let _ = writeln!(out, "Clients on other machines need --host with this machine's address.");
        }
    }
    out
}

fn reachable(address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() { SocketAddr::new(IpAddr::from([127, 0, 0, 1]), address.port()) } else { address }
}
