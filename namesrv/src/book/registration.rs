//! How a broker comes in: what a registration changes, and which ones are refused.
//!
//! The rules are those of `RouteInfoManager.registerBroker` of Apache RocketMQ, incremental registrations
//! included: topics that a registration does not mention stay.

use std::collections::BTreeMap;
use std::time::Duration;

use strata_protocol::body::{DataVersion, QueueData, TopicConfig, TopicTable, perm};
use strata_protocol::request::RegisterBroker;
use thiserror::Error;
use tokio::time::Instant;

use super::{Book, Group, Member};
use crate::limits::{
    BROKER_SILENCE, BROKER_SILENCE_MAX, BROKERS_MAX, NAME_BYTES_MAX, PAIRS_MAX, TOPIC_BYTES_MAX, TOPICS_MAX,
};

/// What a broker says of itself.
#[derive(Debug)]
pub(crate) struct Registration {
    pub(crate) header: RegisterBroker,
    pub(crate) table: TopicTable,
    /// The connection that it came over.
    pub(crate) connection: u64,
    /// A full registration removes the topics it does not mention.
    pub(crate) removes: bool,
}

/// What became of a registration; a slave is told its master's address and replication address.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Registered {
    pub(crate) master: Option<(String, String)>,
    /// Topics that were left out, because routes cannot carry their names.
    pub(crate) topics_left_out: usize,
}

/// Why a registration changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum Refused {
    #[error(
        "register broker failed: the {field} is empty, longer than {NAME_BYTES_MAX} bytes, or has a character that routes cannot carry"
    )]
    BadName { field: &'static str },
    #[error("register broker failed: broker id {id} is negative")]
    BadId { id: i64 },
    #[error(
        "register broker failed: {name}[{id}] is not registered, and one topic alone is an addition to a registration"
    )]
    NoBase { name: String, id: i64 },
    #[error("register broker failed: {name}[{id}] is {address}, whose state version is newer")]
    Outdated { name: String, id: i64, address: String },
    #[error("register broker failed: there are {BROKERS_MAX} brokers already")]
    TooManyBrokers,
    #[error("register broker failed: there would be more than {TOPICS_MAX} topics")]
    TooManyTopics,
    #[error("register broker failed: there would be more than {PAIRS_MAX} pairs of topic and broker")]
    TooManyPairs,
}

/// A broker's wish for the silence it is allowed, within bounds; `None` leaves what holds.
pub(super) fn silence(wish_ms: Option<i64>) -> Option<Duration> {
    let wish = u64::try_from(wish_ms?).ok().filter(|ms| *ms > 0)?;
    Some(Duration::from_millis(wish).min(BROKER_SILENCE_MAX))
}

/// Whether routes can carry a broker's, cluster's or zone's name or an address.
fn is_legal(text: &str) -> bool {
    text.len() <= NAME_BYTES_MAX && is_plain(text)
}

/// Whether routes can carry a topic's name.
pub(super) fn is_legal_topic(text: &str) -> bool {
    text.len() <= TOPIC_BYTES_MAX && is_plain(text)
}

/// Separators of the route's texts would break the clients that split them.
fn is_plain(text: &str) -> bool {
    let separator = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '"' | '\'' | '\\' | ',' | '{' | '}');
    !text.is_empty() && !text.contains(separator)
}

impl Book {
    /// Takes a registration in.
    pub(crate) fn register(&mut self, registration: Registration, now: Instant) -> Result<Registered, Refused> {
        self.check(&registration)?;
        let Registration { header, table, connection, removes } = registration;
        let (name, id) = (header.broker_name.as_str(), header.broker_id);
        let before =
            self.brokers.get(name).map(|group| (group.data(name), group.members.get(&id).map(|m| m.data_version)));
        let member = Member {
            address: header.broker_address.clone(),
            ha_address: header.ha_address.clone().unwrap_or_default(),
            data_version: table.data_version,
            heard: now,
            silence: silence(header.heartbeat_timeout_ms).unwrap_or(BROKER_SILENCE),
            connection,
        };
        let group = self.brokers.entry(name.to_owned()).or_insert_with(|| Group {
            cluster: header.cluster.clone(),
            zone: None,
            acting_master: false,
            members: BTreeMap::new(),
        });
        if id == 0 {
            group.cluster.clone_from(&header.cluster);
        }
        group.zone = header.zone.clone().filter(|zone| is_legal(zone));
        group.acting_master = header.acting_master.unwrap_or(false);
        // A process that changed its role must not be listed under both ids.
        group.members.retain(|other, member| *other == id || member.address != header.broker_address);
        group.members.insert(id, member);
        let known_version = before.as_ref().and_then(|(_, version)| *version);
        let prime_slave = header.acting_master.is_some() && id != 0 && group.members.keys().next() == Some(&id);
        let read_only = prime_slave && group.acting_master;
        let changed = before.is_none_or(|(data, _)| data != group.data(name));
        let master = group.members.get(&0).filter(|_| id != 0);
        let master = master.map(|m| (m.address.clone(), m.ha_address.clone()));
        let mut topics_left_out = 0;
        if changed {
            self.topics.touch(name, |_| {});
        }
        if id == 0 || prime_slave {
            if removes && table.topic_config_table.len() > 1 {
                self.topics.take_broker(name, |topic| !table.topic_config_table.contains_key(topic));
            }
            topics_left_out = self.merge(name, table, known_version, read_only);
        }
        Ok(Registered { master, topics_left_out })
    }

    fn check(&self, registration: &Registration) -> Result<(), Refused> {
        let Registration { header, table, .. } = registration;
        let texts =
            [("broker name", &header.broker_name), ("address", &header.broker_address), ("cluster", &header.cluster)];
        if let Some((field, _)) = texts.into_iter().find(|(_, text)| !is_legal(text)) {
            return Err(Refused::BadName { field });
        }
        let (name, id) = (&header.broker_name, header.broker_id);
        if id < 0 {
            return Err(Refused::BadId { id });
        }
        match self.brokers.get(name).and_then(|group| group.members.get(&id)) {
            None if table.topic_config_table.len() == 1 => return Err(Refused::NoBase { name: name.clone(), id }),
            None => {
                let brokers: usize = self.brokers.values().map(|group| group.members.len()).sum();
                if brokers >= BROKERS_MAX {
                    return Err(Refused::TooManyBrokers);
                }
            }
            // Two processes claim the id: the one with the older reign must not push the newer one out.
            Some(other) => {
                let newer = other.data_version.state_version > table.data_version.state_version;
                if newer && other.address != header.broker_address {
                    return Err(Refused::Outdated { name: name.clone(), id, address: other.address.clone() });
                }
            }
        }
        let (mut topics, mut pairs) = (self.topics.len(), self.topics.pairs());
        for topic in table.topic_config_table.keys() {
            match self.topics.topic(topic) {
                Some(known) => pairs += usize::from(known.on(name).is_none()),
                None => (topics, pairs) = (topics + 1, pairs + 1),
            }
        }
        if topics > TOPICS_MAX {
            return Err(Refused::TooManyTopics);
        }
        if pairs > PAIRS_MAX { Err(Refused::TooManyPairs) } else { Ok(()) }
    }

    /// Takes the topics over. While the table's version did not change, what is known of a topic stays:
    /// an operator may have taken its write permission away here. Gives the number of those left out.
    fn merge(&mut self, name: &str, table: TopicTable, known_version: Option<DataVersion>, read_only: bool) -> usize {
        let all = known_version != Some(table.data_version);
        let mut left_out = 0;
        for (topic, config) in table.topic_config_table {
            if !is_legal_topic(&topic) {
                left_out += 1;
            } else if all || self.topics.queues(&topic, name).is_none() {
                self.topics.put(&topic, queue_data(name, &config, read_only));
            }
        }
        left_out
    }
}

fn queue_data(name: &str, config: &TopicConfig, read_only: bool) -> QueueData {
    QueueData {
        broker_name: name.to_owned(),
        read_queue_nums: config.read_queue_nums,
        write_queue_nums: config.write_queue_nums,
        perm: if read_only { config.perm & !perm::WRITE } else { config.perm },
        topic_sys_flag: config.topic_sys_flag,
    }
}
