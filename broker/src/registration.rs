//! Tells the name servers who this broker is and which topics it has.
//!
//! One task per name server, so that one that hangs keeps no other from hearing. Each tells the whole table
//! every 30 s, so that a name server that was away knows everything after one registration; in between it tells
//! of single topics as they change.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use strata_protocol::body::{QueueData, RegisterBody, TopicConfig, TopicRoute, perm};
use strata_protocol::code::{ResponseCode, request};
use strata_protocol::command::Command;
use strata_protocol::request::{BrokerOf, Header, RegisterBroker, TopicOf};
use strata_remoting::Client;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, info, warn};

use crate::hall::Hall;

/// Time between registrations of the whole table (`registerNameServerPeriod`).
const PERIOD: Duration = Duration::from_secs(30);
/// Time until a name server that did not answer is asked again.
const RETRY: Duration = Duration::from_secs(1);
/// Time that a name server has to answer.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Changes remembered for single registration; with more the whole table is cheaper.
const CHANGES_MAX: usize = 64;
/// Bytes of a registration above which it is compressed: name servers bound the plain form more tightly.
const PLAIN_BYTES_MAX: usize = 256 * 1024;

/// The changes to tell of, and which of them each name server knows.
#[derive(Debug)]
pub(crate) struct Registration {
    changes: Mutex<Changes>,
    /// The number of the last change; the tasks wait for it.
    wanted: watch::Sender<u64>,
    /// By name server the last change that it knows; [`ABSENT`] while it does not answer.
    known: Vec<watch::Sender<u64>>,
}

/// What a name server knows that nobody should wait for.
const ABSENT: u64 = u64::MAX;

#[derive(Debug, Default)]
struct Changes {
    last: u64,
    /// The youngest changes in order: number and topic; no topic means that the whole table must be told.
    recent: VecDeque<(u64, Option<String>)>,
}

impl Changes {
    /// The topics that changed after `since`; `None` when the whole table must be told.
    fn since(&self, since: u64) -> Option<Vec<String>> {
        let missed = self.recent.front().is_none_or(|(first, _)| *first > since + 1);
        if missed && self.last > since {
            return None;
        }
        self.recent.iter().filter(|(number, _)| *number > since).map(|(_, topic)| topic.clone()).collect()
    }
}

impl Registration {
    /// For as many name servers.
    pub(crate) fn new(servers: usize) -> Self {
        let known = (0..servers).map(|_| watch::channel(0).0).collect();
        Self { changes: Mutex::default(), wanted: watch::channel(0).0, known }
    }

    /// Has a topic told that was created or changed; gives a number to wait for.
    pub(crate) fn topic_changed(&self, topic: &str) -> u64 {
        self.changed(Some(topic.to_owned()))
    }

    /// Has the whole table told; gives a number to wait for.
    pub(crate) fn table_changed(&self) -> u64 {
        self.changed(None)
    }

    fn changed(&self, topic: Option<String>) -> u64 {
        let mut changes = self.changes.lock();
        changes.last += 1;
        let number = changes.last;
        changes.recent.push_back((number, topic));
        if changes.recent.len() > CHANGES_MAX {
            changes.recent.pop_front();
        }
        // Within the lock, so that numbers only rise.
        self.wanted.send_replace(number);
        number
    }

    /// How many name servers there are.
    pub(crate) fn servers(&self) -> usize {
        self.known.len()
    }

    /// How many of them do not answer.
    pub(crate) fn silent(&self) -> usize {
        self.known.iter().filter(|known| *known.borrow() == ABSENT).count()
    }

    /// Waits until every name server that answers knows of the change `number`, or the time is over.
    pub(crate) async fn done(&self, number: u64, within: Duration) {
        let all = async {
            for known in &self.known {
                let _ = known.subscribe().wait_for(|known| *known >= number).await;
            }
        };
        let _ = timeout(within, all).await;
    }
}

/// Registers with every name server until `stop`, then unregisters.
pub(crate) async fn run(hall: Arc<Hall>, stop: watch::Receiver<bool>) {
    let mut tasks = JoinSet::new();
    for nth in 0..hall.options.name_servers.len() {
        tasks.spawn(tell(Arc::clone(&hall), nth, stop.clone()));
    }
    while tasks.join_next().await.is_some() {}
}

/// Keeps one name server informed.
async fn tell(hall: Arc<Hall>, nth: usize, mut stop: watch::Receiver<bool>) {
    let mut server = NameServer::new(hall.options.name_servers[nth].clone());
    let mut wanted = hall.registration.wanted.subscribe();
    loop {
        let number = *wanted.borrow_and_update();
        let told = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            told = server.inform(&hall, number) => told,
        };
        hall.registration.known[nth].send_replace(if told { number } else { ABSENT });
        let next = if told { server.next_table } else { Instant::now() + RETRY };
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            () = sleep_until(next) => {}
            // One that does not answer is not asked more often because topics change.
            _ = wanted.changed(), if told => {}
        }
    }
    // Requests that are still answered wait for nobody who is told no more.
    hall.registration.known[nth].send_replace(ABSENT);
    server.leave(&hall).await;
}

/// What is known of one name server.
struct NameServer {
    address: String,
    client: Option<Client>,
    /// The last change that it knows; nothing before the first registration.
    knows: Option<u64>,
    /// When the whole table is due again.
    next_table: Instant,
    complained: bool,
}

impl NameServer {
    fn new(address: String) -> Self {
        Self { address, client: None, knows: None, next_table: Instant::now(), complained: false }
    }

    /// Tells what changed up to `number`, or everything when that is due; whether it is known now.
    async fn inform(&mut self, hall: &Arc<Hall>, number: u64) -> bool {
        match self.try_inform(hall, number).await {
            Ok(()) => {
                if self.knows.replace(number).is_none() {
                    info!(address = self.address, "registered with name server");
                }
                self.complained = false;
                true
            }
            Err(error) => {
                if !std::mem::replace(&mut self.complained, true) {
                    warn!(address = self.address, error, "name server not reached; trying again");
                }
                // It may have been restarted, and then it knows nothing.
                (self.knows, self.next_table) = (None, Instant::now());
                false
            }
        }
    }

    async fn try_inform(&mut self, hall: &Arc<Hall>, number: u64) -> Result<(), String> {
        if let Some(knows) = self.knows.filter(|_| Instant::now() < self.next_table) {
            let changes = hall.registration.changes.lock().since(knows);
            if let Some(topics) = changes {
                return self.tell_topics(hall, number, topics).await;
            }
        }
        self.tell_table(hall).await
    }

    async fn tell_table(&mut self, hall: &Arc<Hall>) -> Result<(), String> {
        // A topic is on disk before a name server tells of it. The table may be large: not on this thread.
        let saving = Arc::clone(hall);
        let prepared = tokio::task::spawn_blocking(move || {
            if let Err(error) = saving.tables.topics.save() {
                warn!(%error, "topics were not stored; trying again");
            }
            table_command(&saving)
        });
        let command = prepared.await.map_err(|error| error.to_string())?;
        self.next_table = Instant::now() + PERIOD;
        self.call(command).await
    }

    async fn tell_topics(&mut self, hall: &Arc<Hall>, number: u64, mut topics: Vec<String>) -> Result<(), String> {
        topics.sort_unstable();
        topics.dedup();
        for topic in topics {
            // One that was deleted meanwhile is left out of the next table.
            let Some(known) = hall.tables.topics.find(&topic) else { continue };
            if let Err(error) = self.call(topic_command(hall, &known.config)).await {
                // One of RocketMQ's before 5.0, or one that was restarted and does not know the broker.
                debug!(address = self.address, topic, number, error, "no single topic taken; telling all");
                return self.tell_table(hall).await;
            }
        }
        Ok(())
    }

    async fn call(&mut self, command: Command) -> Result<(), String> {
        let client = match self.client.take().filter(Client::is_open) {
            Some(client) => client,
            None => Client::connect(&self.address, TIMEOUT).await.map_err(|error| error.to_string())?,
        };
        let answer = client.call(command, TIMEOUT).await.map_err(|error| error.to_string())?;
        self.client = Some(client);
        if answer.code != ResponseCode::Success.wire() {
            return Err(format!("answer {}: {}", answer.code, answer.remark.unwrap_or_default()));
        }
        Ok(())
    }

    /// Tells that the broker stops.
    async fn leave(&mut self, hall: &Hall) {
        let left = timeout(TIMEOUT, self.call(unregister_command(hall))).await;
        let error = match left {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error,
            Err(_) => String::from("it did not answer in time"),
        };
        debug!(address = self.address, error, "did not unregister");
    }
}

fn table_command(hall: &Hall) -> Command {
    let mut table = hall.tables.topics.snapshot();
    for topic in table.topic_config_table.values_mut() {
        topic.perm = told_perm(hall, topic);
    }
    let body = RegisterBody { topic_config_serialize_wrapper: table, filter_server_list: Vec::new() };
    let plain = body.encode();
    // Compressing into memory does not fail; were it to, the plain form would still be right.
    let compressed = if plain.len() > PLAIN_BYTES_MAX { body.encode_compressed().ok() } else { None };
    let identity = &hall.options.identity;
    let header = RegisterBroker {
        broker_name: identity.name.clone(),
        broker_address: hall.address().to_string(),
        cluster: identity.cluster.clone(),
        ha_address: Some(SocketAddr::new(identity.ip, identity.port.wrapping_add(1)).to_string()),
        broker_id: identity.id,
        heartbeat_timeout_ms: None,
        acting_master: Some(false),
        compressed: Some(compressed.is_some()),
        body_crc32: Some(0),
        zone: None,
    };
    let mut command = Command::request(request::REGISTER_BROKER);
    header.encode(&mut command.fields);
    command.body = compressed.unwrap_or(plain).into();
    command
}

/// A topic's permission as far as the broker's own allows it.
fn told_perm(hall: &Hall, topic: &TopicConfig) -> i32 {
    topic.perm & (hall.options.permission | perm::INHERIT)
}

fn topic_command(hall: &Hall, topic: &TopicConfig) -> Command {
    let queues = QueueData {
        broker_name: hall.options.identity.name.clone(),
        read_queue_nums: topic.read_queue_nums,
        write_queue_nums: topic.write_queue_nums,
        perm: told_perm(hall, topic),
        topic_sys_flag: topic.topic_sys_flag,
    };
    let route = TopicRoute { queue_datas: vec![queues], ..TopicRoute::default() };
    let mut command = Command::request(request::REGISTER_TOPIC_IN_NAMESRV);
    TopicOf { topic: topic.topic_name.clone() }.encode(&mut command.fields);
    // Plain data with text keys: serde_json cannot fail on it.
    command.body = serde_json::to_vec(&route).unwrap_or_default().into();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_told_singly_until_too_many_were_missed() {
        let registration = Registration::new(1);
        let since = |number| registration.changes.lock().since(number);
        assert_eq!(since(0), Some(Vec::new()), "nothing changed");
        assert_eq!((registration.topic_changed("a"), registration.topic_changed("b")), (1, 2));
        assert_eq!(since(0), Some(vec![String::from("a"), String::from("b")]));
        assert_eq!(since(1), Some(vec![String::from("b")]));
        let deleted = registration.table_changed();
        assert_eq!((since(1), since(deleted)), (None, Some(Vec::new())));
        for n in 0..CHANGES_MAX {
            registration.topic_changed(&n.to_string());
        }
        assert_eq!(since(deleted).map(|topics| topics.len()), Some(CHANGES_MAX));
        registration.topic_changed("one more");
        assert_eq!(since(deleted), None);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_a_name_server_that_does_not_answer() {
        let registration = Registration::new(2);
        let number = registration.topic_changed("a");
        registration.known[0].send_replace(ABSENT);
        let began = Instant::now();
        registration.done(number, Duration::from_secs(1)).await;
        assert_eq!(began.elapsed(), Duration::from_secs(1), "the other one is waited for");
        registration.known[1].send_replace(number);
        registration.done(number, Duration::from_secs(1)).await;
        assert_eq!(began.elapsed(), Duration::from_secs(1));
    }
}
