//! Tells the name servers who this broker is and which topics it has.
//!
//! Every 30 s, and at once when topics change; the whole table each time, so that a name server that
//! was away knows everything after one registration.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use strata_protocol::body::RegisterBody;
use strata_protocol::code::{ResponseCode, request};
use strata_protocol::command::Command;
use strata_protocol::request::{BrokerOf, Header, RegisterBroker};
use strata_remoting::Client;
use tokio::sync::{Notify, watch};
use tracing::{debug, info, warn};

use crate::hall::Hall;

/// Time between registrations (`registerNameServerPeriod`).
const PERIOD: Duration = Duration::from_secs(30);
/// Time until a name server that did not answer is asked again.
const RETRY: Duration = Duration::from_secs(1);
/// Time one name server has (shorter than `registerBrokerTimeoutMills`, so that one that hangs does not
/// keep the others from hearing).
const TIMEOUT: Duration = Duration::from_secs(3);
/// Changes within this time are registered together.
const GATHER: Duration = Duration::from_millis(20);

/// Asks for registrations and tells when they were made.
#[derive(Debug)]
pub(crate) struct Registration {
    wanted: AtomicU64,
    wake: Notify,
    done: watch::Sender<u64>,
}

impl Default for Registration {
    fn default() -> Self {
        Self { wanted: AtomicU64::new(0), wake: Notify::new(), done: watch::channel(0).0 }
    }
}

impl Registration {
    /// Asks for a registration soon; gives a number to wait for.
    pub(crate) fn request(&self) -> u64 {
        let number = self.wanted.fetch_add(1, Ordering::SeqCst) + 1;
        self.wake.notify_one();
        number
    }

    /// Waits until the registration `number` was tried with every name server, or its time is over.
    pub(crate) async fn done(&self, number: u64, within: Duration) {
        let mut done = self.done.subscribe();
        let _ = tokio::time::timeout(within, done.wait_for(|made| *made >= number)).await;
    }
}

/// Registers until `stop` is rung, then unregisters.
pub(crate) async fn run(hall: Arc<Hall>, stop: Arc<Notify>) {
    let mut clients = HashMap::new();
    loop {
        let wanted = hall.registration.wanted.load(Ordering::SeqCst);
        // A topic is on disk before a name server tells of it.
        let saving = Arc::clone(&hall);
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || saving.tables.topics.save()).await {
            warn!(%error, "topics were not stored; trying again");
        }
        let all_heard = register(&hall, &mut clients).await;
        hall.registration.done.send_replace(wanted);
        let pause = if all_heard { PERIOD } else { RETRY };
        tokio::select! {
            () = stop.notified() => break,
            () = tokio::time::sleep(pause) => {}
            () = hall.registration.wake.notified() => tokio::time::sleep(GATHER).await,
        }
    }
    for address in &hall.options.name_servers {
        if let Err(error) = call(&mut clients, address, unregister_command(&hall)).await {
            debug!(address, error, "did not unregister");
        }
    }
}

async fn register(hall: &Hall, clients: &mut HashMap<String, State>) -> bool {
    let command = register_command(hall);
    let mut all_heard = true;
    for address in &hall.options.name_servers {
        let result = call(clients, address, command.clone()).await;
        let state = clients.entry(address.clone()).or_default();
        match result {
            Ok(()) => state.complained = false,
            Err(error) => {
                all_heard = false;
                if !std::mem::replace(&mut state.complained, true) {
                    warn!(address, error, "name server not reached; trying again");
                }
            }
        }
    }
    all_heard
}

/// What is known of one name server.
#[derive(Default)]
struct State {
    client: Option<Client>,
    heard: bool,
    complained: bool,
}

async fn call(clients: &mut HashMap<String, State>, address: &str, command: Command) -> Result<(), String> {
    let state = clients.entry(address.to_owned()).or_default();
    let was_heard = std::mem::take(&mut state.heard);
    let client = match state.client.take().filter(Client::is_open) {
        Some(client) => client,
        None => Client::connect(address, TIMEOUT).await.map_err(|error| error.to_string())?,
    };
    let answer = client.call(command, TIMEOUT).await.map_err(|error| error.to_string())?;
    state.client = Some(client);
    if answer.code != ResponseCode::Success.wire() {
        return Err(format!("answer {}: {}", answer.code, answer.remark.unwrap_or_default()));
    }
    if !was_heard {
        info!(address, "registered with name server");
    }
    state.heard = true;
    Ok(())
}

fn register_command(hall: &Hall) -> Command {
    let mut table = hall.tables.topics.snapshot();
    let perm = hall.options.permission;
    for topic in table.topic_config_table.values_mut() {
        topic.perm &= perm | strata_protocol::body::perm::INHERIT;
    }
    let body = RegisterBody { topic_config_serialize_wrapper: table, filter_server_list: Vec::new() };
    let identity = &hall.options.identity;
    let header = RegisterBroker {
        broker_name: identity.name.clone(),
        broker_address: hall.address().to_string(),
        cluster: identity.cluster.clone(),
        ha_address: Some(std::net::SocketAddr::new(identity.ip, identity.port.wrapping_add(1)).to_string()),
        broker_id: identity.id,
        heartbeat_timeout_ms: None,
        acting_master: Some(false),
        compressed: Some(false),
        body_crc32: Some(0),
        zone: None,
    };
    let mut command = Command::request(request::REGISTER_BROKER);
    header.encode(&mut command.fields);
    command.body = body.encode().into();
    command
}

fn unregister_command(hall: &Hall) -> Command {
    let identity = &hall.options.identity;
    let header = BrokerOf {
        broker_name: identity.name.clone(),
        broker_address: hall.address().to_string(),
        cluster: identity.cluster.clone(),
        broker_id: identity.id,
    };
    let mut command = Command::request(request::UNREGISTER_BROKER);
    header.encode(&mut command.fields);
    command
}
