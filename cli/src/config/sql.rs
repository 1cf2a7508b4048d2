//! The keys of SQL over messages. RocketMQ has none.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::Key;
use super::broker::BrokerDraft;
use super::values::{number, parsed, truth};

/// Where SQL is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SqlAddresses {
    pub(crate) http: SocketAddr,
    /// For clients of `PostgreSQL`.
    pub(crate) postgres: SocketAddr,
}

/// The configuration of SQL while it is put together.
#[derive(Debug)]
pub(super) struct SqlDraft {
    enabled: bool,
    listen: IpAddr,
    /// `None` is beside the metrics port.
    http: Option<u16>,
    postgres: Option<u16>,
}

impl Default for SqlDraft {
    fn default() -> Self {
        // There are no users and no passwords: this machine alone is let in unless an operator says otherwise.
        Self { enabled: true, listen: IpAddr::V4(Ipv4Addr::LOCALHOST), http: None, postgres: None }
    }
}

impl SqlDraft {
    /// Where SQL is answered, if it is.
    pub(super) fn addresses(&self, metrics_port: u16) -> Option<SqlAddresses> {
        let (http, postgres) = (self.http_port(metrics_port), self.postgres_port(metrics_port));
        let address = |port| SocketAddr::new(self.listen, port);
        self.enabled.then(|| SqlAddresses { http: address(http), postgres: address(postgres) })
    }

    fn http_port(&self, metrics_port: u16) -> u16 {
        self.http.unwrap_or_else(|| beside(metrics_port, 1))
    }

    fn postgres_port(&self, metrics_port: u16) -> u16 {
        self.postgres.unwrap_or_else(|| beside(metrics_port, 2))
    }
}

/// A port that is so far from another; any free one beside any free one.
const fn beside(port: u16, by: u16) -> u16 {
    if port == 0 { 0 } else { port.saturating_add(by) }
}

/// `sqlEnable`.
pub(super) const fn enable() -> Key<BrokerDraft> {
    Key {
        name: "sqlEnable",
        meaning: "SQL over messages is answered",
        apply: |d, v| truth(&mut d.sql.enabled, v),
        show: |d| d.sql.enabled.to_string(),
    }
}

/// `sqlBindAddress`.
pub(super) const fn listen() -> Key<BrokerDraft> {
    Key {
        name: "sqlBindAddress",
        meaning: "the address that SQL is answered on; whoever reaches it reads all messages",
        apply: |d, v| parsed(&mut d.sql.listen, v, "an IP address"),
        show: |d| d.sql.listen.to_string(),
    }
}

/// `sqlPort`.
pub(super) const fn port() -> Key<BrokerDraft> {
    Key {
        name: "sqlPort",
        meaning: "the port of SQL over HTTP, by default the metrics port + 1; 0 takes a free one",
        apply: |d, v| port_of(&mut d.sql.http, v),
        show: |d| d.sql.http_port(d.metrics_port()).to_string(),
    }
}

/// `sqlPostgresPort`.
pub(super) const fn postgres_port() -> Key<BrokerDraft> {
    Key {
        name: "sqlPostgresPort",
        meaning: "the port of SQL for PostgreSQL's clients, by default the metrics port + 2; 0 takes a free one",
        apply: |d, v| port_of(&mut d.sql.postgres, v),
        show: |d| d.sql.postgres_port(d.metrics_port()).to_string(),
    }
}

fn port_of(to: &mut Option<u16>, value: &str) -> Result<(), String> {
    let mut port = 0;
    number(&mut port, value, 0..=u16::MAX)?;
    *to = Some(port);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_beside_that_of_the_metrics_and_on_this_machine_alone() {
        let text = |draft: &SqlDraft, metrics| {
            draft.addresses(metrics).map(|found| format!("{} {}", found.http, found.postgres)).unwrap_or_default()
        };
        assert_eq!(text(&SqlDraft::default(), 5_557), "127.0.0.1:5558 127.0.0.1:5559");
        assert_eq!(text(&SqlDraft::default(), 0), "127.0.0.1:0 127.0.0.1:0");
        let chosen = SqlDraft { http: Some(0), postgres: Some(5_432), ..SqlDraft::default() };
        assert_eq!(text(&chosen, 5_557), "127.0.0.1:0 127.0.0.1:5432");
        assert_eq!(text(&SqlDraft { enabled: false, ..SqlDraft::default() }, 5_557), "");
    }
}
