//! The broker's own state, as tables of it are read: topics, queues, groups, lag, clients.
//!
//! Owns the columns of these tables, in their order. Everything is looked at when it is asked for; nothing is kept.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use strata_protocol::body::{GroupConfig, TopicConfig, perm};
use strata_protocol::name;
use strata_store::QueueRange;

use crate::broker::Broker;
use crate::hall::Hall;

/// A topic.
#[expect(clippy::struct_excessive_bools, reason = "columns of a table")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TopicState {
    /// Its name.
    pub topic: String,
    /// Queues that are read.
    pub read_queues: i32,
    /// Queues that are written.
    pub write_queues: i32,
    /// Whether it may be read.
    pub is_readable: bool,
    /// Whether it may be written.
    pub is_writable: bool,
    /// Whether it is ordered over all brokers.
    pub is_ordered: bool,
    /// Whether it is the broker's own, a retry topic or one of dead letters.
    pub is_system: bool,
    /// Messages in all its queues, of both tiers.
    pub messages: i64,
    /// Its attributes as JSON.
    pub attributes: String,
}

/// A queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct QueueState {
    /// Its topic.
    pub topic: String,
    /// Its id.
    pub queue_id: i32,
    /// The offset of its first message, of both tiers.
    pub min_offset: i64,
    /// The offset of its first message in the log; the same as `max_offset` when the log has none.
    pub hot_min_offset: i64,
    /// The offset of its next message.
    pub max_offset: i64,
    /// Messages in it, of both tiers.
    pub messages: i64,
}

/// A consumer group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GroupState {
    /// Its name.
    pub consumer_group: String,
    /// Whether its clients may consume.
    pub is_enabled: bool,
    /// Deliveries after the first before a message becomes a dead letter.
    pub retry_max: i32,
    /// Queues of its retry topic.
    pub retry_queues: i32,
    /// `CONSUME_PASSIVELY` pushes, `CONSUME_ACTIVELY` pulls; `None` while nobody is connected.
    pub consume_type: Option<String>,
    /// `CLUSTERING` or `BROADCASTING`; `None` while nobody is connected.
    pub message_model: Option<String>,
    /// Clients that are connected.
    pub clients: i32,
    /// Topics that connected clients subscribe, with their expressions, as JSON.
    pub subscriptions: String,
}

/// How far a group is in one queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LagState {
    /// The group.
    pub consumer_group: String,
    /// The topic.
    pub topic: String,
    /// The queue.
    pub queue_id: i32,
    /// The offset of the next message that is not consumed.
    pub committed_offset: i64,
    /// The offset behind the last message that was delivered, if any was since the broker's start.
    pub pulled_offset: Option<i64>,
    /// The offset of the queue's next message.
    pub max_offset: i64,
    /// Messages from the committed offset on, those that a filter leaves out included.
    pub lag: i64,
    /// When the first message that is not consumed was stored, microseconds since 1970; `None` when all are consumed, or
    /// when that message is not in the log.
    pub oldest_time: Option<i64>,
}

/// A client that is connected.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ClientState {
    /// `producer` or `consumer`.
    pub role: &'static str,
    /// The group it is in.
    pub client_group: String,
    /// Its id.
    pub client_id: String,
    /// Its address and port.
    pub address: String,
    /// The language of its library.
    pub language: String,
    /// RocketMQ's number of its version.
    pub version: i32,
}

/// Microseconds of a millisecond.
const MICROS: i64 = 1_000;

impl Broker {
    /// All topics by name.
    #[must_use]
    pub fn topic_states(&self) -> Vec<TopicState> {
        let hall = self.hall();
        let state = |topic: String, config: TopicConfig| {
            let queues = hall.store.queues(&topic);
            let range = |queue_id: i32| hall.range(&topic, queue_id);
            let messages = queues.into_iter().filter_map(range).map(|range| range.max - range.min).sum();
            TopicState {
                read_queues: config.read_queue_nums,
                write_queues: config.write_queue_nums,
                is_readable: config.perm & perm::READ != 0,
                is_writable: config.perm & perm::WRITE != 0,
                is_ordered: config.order,
                is_system: name::is_system_topic(&topic) || name::is_retry(&topic) || name::is_dlq(&topic),
                messages,
                attributes: serde_json::to_string(&config.attributes).unwrap_or_default(),
                topic,
            }
        };
        hall.tables.topics.all().into_iter().map(|(topic, config)| state(topic, config)).collect()
    }

    /// All queues that ever had a message, by topic and id.
    #[must_use]
    pub fn queue_states(&self) -> Vec<QueueState> {
        let hall = self.hall();
        let mut queues = Vec::new();
        hall.store.for_each_queue(|topic, queue_id, range| queues.push((topic.to_owned(), queue_id, range)));
        queues.sort_by(|one, other| (&one.0, one.1).cmp(&(&other.0, other.1)));
        let state = |(topic, queue_id, hot): (String, i32, QueueRange)| {
            let min_offset = hall.range(&topic, queue_id).map_or(hot.min, |range| range.min);
            let (hot_min_offset, max_offset) = (hot.min, hot.max);
            QueueState { topic, queue_id, min_offset, hot_min_offset, max_offset, messages: max_offset - min_offset }
        };
        queues.into_iter().map(state).collect()
    }

    /// All groups by name: those that were made, and those that are connected.
    #[must_use]
    pub fn group_states(&self) -> Vec<GroupState> {
        let hall = self.hall();
        let state = |config: GroupConfig| {
            let connected = hall.clients.describe(&config.group_name);
            let clients = connected.as_ref().map_or(0, |group| group.connection_set.len());
            let subscribed = connected.iter().flat_map(|group| &group.subscription_table);
            let subscriptions: BTreeMap<&String, &String> =
                subscribed.map(|(topic, data)| (topic, &data.sub_string)).collect();
            GroupState {
                is_enabled: config.consume_enable,
                retry_max: config.retry_max_times,
                retry_queues: config.retry_queue_nums,
                subscriptions: serde_json::to_string(&subscriptions).unwrap_or_default(),
                consume_type: connected.as_ref().map(|group| group.consume_type.clone()),
                message_model: connected.map(|group| group.message_model),
                clients: i32::try_from(clients).unwrap_or(i32::MAX),
                consumer_group: config.group_name,
            }
        };
        hall.tables.groups.snapshot().subscription_group_table.into_values().map(state).collect()
    }

    /// How far all groups are in all queues of which they have an offset, by group, topic and queue.
    #[must_use]
    pub fn lag_states(&self) -> Vec<LagState> {
        let hall = self.hall();
        let mut out = Vec::new();
        for (group, topic, queues) in hall.tables.offsets.all() {
            // What tools keep in such names is no consumer's progress.
            if name::is_system_group(&group) {
                continue;
            }
            let pulled = hall.figures.outgoing_of(&group, &topic).map(|outgoing| outgoing.pulled());
            for (&queue_id, &committed_offset) in &*queues {
                let max_offset = hall.store.queue_range(&topic, queue_id).map_or(0, |range| range.max);
                out.push(LagState {
                    consumer_group: group.to_string(),
                    topic: topic.to_string(),
                    queue_id,
                    committed_offset,
                    pulled_offset: pulled.as_ref().and_then(|pulled| pulled.get(&queue_id).copied()),
                    max_offset,
                    lag: (max_offset - committed_offset).max(0),
                    oldest_time: oldest(hall, (&topic, queue_id), (committed_offset, max_offset)),
                });
            }
        }
        out.sort_by(|one, other| {
            let key = |state: &LagState| (state.consumer_group.clone(), state.topic.clone(), state.queue_id);
            key(one).cmp(&key(other))
        });
        out
    }

    /// All clients that are connected, producers first, by group and id.
    #[must_use]
    pub fn client_states(&self) -> Vec<ClientState> {
        let hall = self.hall();
        let mut out = BTreeSet::new();
        for (group, members) in hall.clients.producers(0) {
            out.extend(members.into_iter().map(|member| ClientState {
                role: "producer",
                client_group: group.clone(),
                client_id: member.client_id,
                address: member.remote_ip.trim_start_matches('/').to_owned(),
                language: member.language,
                version: member.version,
            }));
        }
        for group in hall.clients.groups() {
            let members = hall.clients.describe(&group).map(|found| found.connection_set).unwrap_or_default();
            out.extend(members.into_iter().map(|member| ClientState {
                role: "consumer",
                client_group: group.clone(),
                client_id: member.client_id,
                address: member.client_addr,
                language: member.language,
                version: member.version,
            }));
        }
        out.into_iter().collect()
    }
}

/// When the first message that is not consumed was stored, in microseconds.
fn oldest(hall: &Hall, (topic, queue_id): (&str, i32), (committed, max): (i64, i64)) -> Option<i64> {
    let time = (committed < max).then(|| hall.store.store_time(topic, queue_id, committed)).flatten()?;
    Some(time.saturating_mul(MICROS))
}
