//! Waits until clients can find a broker: until a name server that it registers with tells its address.

use std::net::SocketAddr;
use std::time::Duration;

use strata_broker::BrokerOptions;
use strata_protocol::body::ClusterInfo;
use strata_protocol::code::request;
use strata_protocol::command::Command;
use strata_protocol::json;
use strata_remoting::Client;
use tokio::time::{interval, timeout};

use crate::limits::{READY_INTERVAL, REGISTERED_MAX};

/// Where a broker is to be found.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    name: String,
    address: String,
    name_servers: Vec<String>,
}

impl Entry {
    pub(crate) fn of(options: &BrokerOptions, port: u16) -> Self {
        Self {
            name: options.identity.name.clone(),
            address: SocketAddr::new(options.identity.ip, port).to_string(),
            name_servers: options.name_servers.clone(),
        }
    }

    /// Waits for the entry at any name server. A broker whose name servers are all away serves nevertheless:
    /// it goes on registering, and is found when they are back.
    pub(crate) async fn wait(&self) {
        let found = async {
            let mut looks = interval(READY_INTERVAL);
            loop {
                for address in &self.name_servers {
                    if self.is_at(address).await {
                        return;
                    }
                }
                looks.tick().await;
            }
        };
        if timeout(REGISTERED_MAX, found).await.is_err() {
            let name_servers = self.name_servers.join(";");
            tracing::warn!(name_servers, "no name server knows this broker yet; clients find it as soon as one does");
        }
    }

    async fn is_at(&self, address: &str) -> bool {
        const PATIENCE: Duration = Duration::from_secs(1);
        let Ok(client) = Client::connect(address, PATIENCE).await else { return false };
        let Ok(answer) = client.call(Command::request(request::GET_BROKER_CLUSTER_INFO), PATIENCE).await else {
            return false;
        };
        let info = json::from_unbounded::<ClusterInfo>(&answer.body).unwrap_or_default();
        let group = info.broker_addr_table.get(&self.name);
        group.is_some_and(|group| group.broker_addrs.values().any(|known| *known == self.address))
    }
}
