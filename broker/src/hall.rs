//! The hall: what all requests share.
//!
//! A struct of rooms, each with one owner of its state; it decides nothing itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use strata_protocol::body::{GroupConfig, TopicConfig, perm};
use strata_protocol::name;
use strata_protocol::reply::Reply;
use strata_protocol::trace::Kind;
use strata_protocol::{code::request, command::Command};
use strata_remoting::Connection;
use strata_store::{Clock, Store};
use tracing::{info, warn};

use crate::clients::{Clients, Notices};
use crate::cold::Cold;
use crate::creation::Creations;
use crate::delay::DelayLevels;
use crate::figures::Figures;
use crate::groups::Groups;
use crate::latency::Pair;
use crate::locks::Locks;
use crate::offsets::Offsets;
use crate::options::BrokerOptions;
use crate::refusal::Refusal;
use crate::registration::Registration;
use crate::topics::{Topic, Topics};
use crate::trail::{Doer, Event, Sampling, Trail, Watched};
use crate::turns::Turns;
use crate::waiting::Waiting;

/// Everything that requests meet.
pub(crate) struct Hall {
    pub options: BrokerOptions,
    pub clock: Arc<dyn Clock>,
    pub store: Arc<Store>,
    /// Where the log goes before it is deleted; `None` without a cold tier.
    pub cold: Option<Arc<Cold>>,
    pub tables: Tables,
    pub clients: Clients,
    pub locks: Locks,
    pub waiting: Arc<Waiting>,
    pub delays: DelayLevels,
    pub registration: Registration,
    pub figures: Figures,
    pub creations: Creations,
    pub trail: Trail,
    /// Turns of what waits for the disk or takes a core for long.
    pub turns: Turns,
}

/// What is on disk beside the log.
pub(crate) struct Tables {
    pub topics: Topics,
    pub groups: Groups,
    pub offsets: Offsets,
}

impl Hall {
    /// The time, ms.
    pub(crate) fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// Time since some moment before the start, ms. Intervals are measured by it: the wall clock may jump.
    pub(crate) fn elapsed_ms(&self) -> i64 {
        i64::try_from(self.clock.monotonic().as_millis()).unwrap_or(i64::MAX)
    }

    /// A request is answered, `took` after the broker turned to it.
    pub(crate) fn answered(&self, code: i32, reply: &Reply, took: Duration) {
        self.figures.requests.observe(Pair { request: code, response: reply.code.wire(), held: false }, took);
    }

    /// A request is answered that was held until `began` of the measured time.
    pub(crate) fn answered_held(&self, code: i32, reply: &Reply, began: Duration) {
        let pair = Pair { request: code, response: reply.code.wire(), held: true };
        self.figures.requests.observe(pair, self.since(began));
    }

    /// Time since `began` of the measured time.
    pub(crate) fn since(&self, began: Duration) -> Duration {
        self.clock.monotonic().saturating_sub(began)
    }

    /// The address that clients are told.
    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::new(self.options.identity.ip, self.options.identity.port)
    }

    /// A topic that exists.
    pub(crate) fn topic(&self, topic: &str) -> Result<Arc<Topic>, Refusal> {
        self.tables.topics.known(topic)
    }

    /// Creates a topic of the broker's own accord if it is missing, and has the name servers told. The
    /// topic is on disk then, so that a message of it is not acknowledged before its topic is kept.
    pub(crate) fn ensure_topic(&self, topic: TopicConfig) -> Result<Arc<Topic>, Refusal> {
        self.create_topic(topic).map(|(topic, _)| topic)
    }

    /// As [`Hall::ensure_topic`]; gives the registration that will tell of a new topic.
    pub(crate) fn create_topic(&self, topic: TopicConfig) -> Result<(Arc<Topic>, Option<u64>), Refusal> {
        let (topic, is_new) = self.tables.topics.ensure(topic, self.now_ms())?;
        let kept = self.keep(&topic);
        let mut telling = None;
        if is_new {
            let TopicConfig { topic_name, write_queue_nums, .. } = &topic.config;
            info!(topic = topic_name, queues = write_queue_nums, "topic created");
            // Also of one that is not on disk yet: the next sender finds it and has it written.
            telling = Some(self.registration.topic_changed(topic_name));
        }
        kept.map(|()| (topic, telling))
    }

    /// Has a topic's settings on disk before something is acknowledged that depends on them; mostly they are.
    pub(crate) fn keep(&self, topic: &Topic) -> Result<(), Refusal> {
        if !self.tables.topics.is_kept(topic) {
            // Changes are rare; the runtime moves the other connections of this thread away meanwhile.
            tokio::task::block_in_place(|| self.tables.topics.save())?;
        }
        Ok(())
    }

    /// Stores the offset of a queue that a group's client tells. It never passes the queue's end: what is stored
    /// there later would be passed over.
    pub(crate) fn commit(&self, group: &str, topic: &Topic, (queue_id, offset): (i32, i64), by: &Connection) {
        let name = &topic.config.topic_name;
        let end = self.store.queue_range(name, queue_id).map_or(0, |range| range.max);
        let next = offset.clamp(0, end);
        let told = (next, self.elapsed_ms());
        let Some(before) = self.tables.offsets.commit_unless_reset(group, name, queue_id, told) else { return };
        let Some(Watched { doer, sampling }) = self.watched(topic, by) else { return };
        // A group that begins has no progress yet, but has pulled what it consumed.
        let Some(first) = before.or_else(|| self.figures.outgoing_of(group, name)?.first(queue_id)) else { return };
        let range = (first, next);
        let messages = usize::try_from(range.1 - range.0).unwrap_or(0);
        let event = Event { kind: Kind::Ack, group, topic: name, queue_id, range, messages, doer };
        self.trail.note(sampling, &event, || self.now_ms());
    }

    /// Who is at a connection, if there are records of what becomes of a topic's messages.
    pub(crate) fn watched(&self, topic: &Topic, connection: &Connection) -> Option<Watched> {
        let sampling = self.trail.sampling(topic.records);
        (sampling != Sampling::OFF).then(|| Watched { doer: Doer::of(connection), sampling })
    }

    /// A group's settings; creates the group where that is allowed.
    pub(crate) fn group(&self, group: &str, by: &Connection) -> Result<Arc<GroupConfig>, Refusal> {
        if let Some(known) = self.tables.groups.find(group) {
            return Ok(known);
        }
        if !self.options.topics.auto_create_groups && !name::is_system_group(group) {
            return Err(Refusal::NoGroup { group: group.to_owned() });
        }
        name::check_group(group)?;
        self.creations.admit(by.peer().ip(), self.elapsed_ms())?;
        self.tables.groups.put(GroupConfig::new(group), self.now_ms())
    }

    /// The retry topic of a group, created when it is missing.
    pub(crate) fn retry_topic(&self, group: &GroupConfig) -> Result<Arc<Topic>, Refusal> {
        let topic = name::retry_topic(&group.group_name);
        self.ensure_topic(TopicConfig::new(topic, group.retry_queue_nums.max(1)))
    }

    /// The dead-letter topic of a group, created when it is missing. RocketMQ gives it one queue that
    /// may be written and read.
    pub(crate) fn dlq_topic(&self, group: &str) -> Result<Arc<Topic>, Refusal> {
        self.ensure_topic(TopicConfig::new(name::dlq_topic(group), 1))
    }

    /// Whether the broker as a whole may be read.
    pub(crate) fn check_readable(&self) -> Result<(), Refusal> {
        let perm = self.options.permission;
        if perm & perm::READ == 0 { Err(Refusal::BrokerPermission { action: "read", perm }) } else { Ok(()) }
    }

    /// Tells the members of changed groups to share their queues anew.
    pub(crate) fn notify_changed(&self, notices: Notices) {
        for (group, members) in notices {
            let wanted = self.tables.groups.find(&group).is_none_or(|group| group.notify_consumer_ids_changed_enable);
            for member in members.iter().filter(|_| wanted) {
                let mut notice = Command::request(request::NOTIFY_CONSUMER_IDS_CHANGED);
                notice.fields.push("consumerGroup", &group);
                member.notify(notice);
            }
        }
    }

    /// A connection ended: its clients are gone.
    pub(crate) fn connection_closed(&self, connection: &Arc<Connection>) {
        self.waiting.closed(connection.id());
        self.notify_changed(self.clients.closed(connection.id()));
    }

    /// Writes the tables that changed. What cannot be written is tried again the next time.
    pub(crate) fn save_tables(&self) {
        let tables = &self.tables;
        for result in [tables.topics.save(), tables.groups.save(), tables.offsets.save()] {
            if let Err(error) = result {
                warn!(%error, "settings were not stored; trying again");
            }
        }
    }
}

/// The system topics that a broker has from its first start.
pub(crate) fn system_topics(options: &BrokerOptions) -> Vec<TopicConfig> {
    let mut topics = vec![
        TopicConfig::new(name::SELF_TEST_TOPIC, 1),
        TopicConfig::new(name::BENCHMARK_TOPIC, 1_024),
        TopicConfig::new(name::OFFSET_MOVED_EVENT, 1),
        TopicConfig::new(name::SCHEDULE_TOPIC, 18),
        TopicConfig::new(format!("{}_REPLY_TOPIC", options.identity.cluster), 1),
        TopicConfig { perm: 7, ..TopicConfig::new(options.identity.cluster.clone(), 16) },
        TopicConfig { perm: 7, ..TopicConfig::new(options.identity.name.clone(), 1) },
    ];
    if options.topics.auto_create_topics {
        topics
            .push(TopicConfig { perm: 7, ..TopicConfig::new(name::AUTO_CREATE_TOPIC, options.topics.default_queues) });
    }
    if options.topics.trace_topic {
        topics.push(TopicConfig::new(name::TRACE_TOPIC, 1));
    }
    topics
}
