//! Who is connected: producers, consumer groups, their members and what they subscribe.
//!
//! All of it comes from heartbeats and lives in memory.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;
use strata_filter::{Filter, FilterError};
use strata_protocol::body::{ClientConnection, ConsumerConnections, ConsumerData, ProducerInfo, SubscriptionData};
use strata_protocol::command::Language;
use strata_remoting::Connection;

use crate::limits::{CLIENT_SILENCE_MS_MAX, GROUPS_MAX};

/// A client as its heartbeats show it.
#[derive(Clone)]
pub(crate) struct Member {
    pub client_id: Arc<str>,
    pub connection: Arc<Connection>,
    pub language: Language,
    pub version: i32,
    /// When it last spoke, by [`Hall::elapsed_ms`](crate::hall::Hall::elapsed_ms).
    pub seen_ms: i64,
}

impl Member {
    fn describe(&self) -> ClientConnection {
        ClientConnection {
            client_id: self.client_id.to_string(),
            client_addr: self.connection.peer().to_string(),
            language: self.language.name().to_owned(),
            version: self.version,
        }
    }
}

/// What a group reads of a topic, compiled.
pub(crate) struct Subscription {
    pub data: SubscriptionData,
    /// An expression that does not compile is kept, so that pulls can say why.
    pub filter: Result<Arc<Filter>, FilterError>,
}

impl Subscription {
    pub(crate) fn compile(data: SubscriptionData) -> Self {
        let filter = Filter::compile(data.expression_type.as_deref(), &data.sub_string).map(Arc::new);
        Self { data, filter }
    }
}

#[derive(Default)]
struct Group {
    consume_type: String,
    message_model: String,
    consume_from_where: String,
    members: HashMap<u64, Member>,
    subscriptions: HashMap<String, Arc<Subscription>>,
}

/// What a pull needs to know of its group.
pub(crate) struct GroupView {
    pub broadcasting: bool,
    pub subscription: Option<Arc<Subscription>>,
}

/// Everyone who is connected.
#[derive(Default)]
pub(crate) struct Clients {
    /// Held for look-ups and insertions, never across I/O.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    consumers: HashMap<String, Group>,
    producers: HashMap<String, HashMap<u64, Member>>,
}

/// Groups whose members must hear of a change, and the members.
pub(crate) type Notices = Vec<(String, Vec<Arc<Connection>>)>;

impl Clients {
    /// Takes a consumer group of a heartbeat; gives the members to notify when the group changed.
    pub(crate) fn consume(&self, member: Member, data: ConsumerData) -> Notices {
        let mut state = self.state.lock();
        let group = state.consumers.entry(data.group_name.clone()).or_default();
        group.consume_type = data.consume_type;
        group.message_model = data.message_model;
        group.consume_from_where = data.consume_from_where;
        // A client that comes back on another connection replaces itself.
        let id = member.connection.id();
        group.members.retain(|known, other| *known == id || other.client_id != member.client_id);
        let is_new = group.members.insert(id, member).is_none();
        let changed = group.subscribe(data.subscription_data_set);
        if is_new || changed { group.notice(&data.group_name) } else { Vec::new() }
    }

    /// Takes a producer group of a heartbeat. Beyond the limit it is not listed; it may produce all the same.
    pub(crate) fn produce(&self, member: Member, group: String) {
        let mut state = self.state.lock();
        if state.producers.len() >= GROUPS_MAX && !state.producers.contains_key(&group) {
            return;
        }
        let members = state.producers.entry(group).or_default();
        members.retain(|_, other| other.client_id != member.client_id);
        members.insert(member.connection.id(), member);
    }

    /// Removes a client from the groups it names, or a closed connection from all.
    pub(crate) fn leave(&self, connection: u64, producer: Option<&str>, consumer: Option<&str>) -> Notices {
        let mut state = self.state.lock();
        if let Some(members) = producer.and_then(|group| state.producers.get_mut(group)) {
            members.remove(&connection);
        }
        let group = consumer.and_then(|name| state.consumers.get_mut(name).map(|group| (name, group)));
        let left = group.filter(|(_, group)| group.members.contains_key(&connection));
        let notices = left.map_or_else(Vec::new, |(name, group)| {
            group.members.remove(&connection);
            group.notice(name)
        });
        state.drop_empty();
        notices
    }

    /// Removes a closed connection from all groups.
    pub(crate) fn closed(&self, connection: u64) -> Notices {
        let mut state = self.state.lock();
        for members in state.producers.values_mut() {
            members.remove(&connection);
        }
        let mut notices = Vec::new();
        for (name, group) in &mut state.consumers {
            if group.members.remove(&connection).is_some() {
                notices.extend(group.notice(name));
            }
        }
        state.drop_empty();
        notices
    }

    /// Connections whose clients have been silent for too long.
    pub(crate) fn silent(&self, elapsed_ms: i64) -> Vec<Arc<Connection>> {
        let state = self.state.lock();
        let consumers = state.consumers.values().flat_map(|group| group.members.values());
        let members = consumers.chain(state.producers.values().flat_map(HashMap::values));
        let late = members.filter(|member| elapsed_ms - member.seen_ms > CLIENT_SILENCE_MS_MAX);
        late.map(|member| Arc::clone(&member.connection)).collect()
    }

    /// What a pull of `group` in `topic` must know; `None` when nobody of the group is here.
    pub(crate) fn view(&self, group: &str, topic: &str) -> Option<GroupView> {
        let state = self.state.lock();
        let group = state.consumers.get(group)?;
        Some(GroupView {
            broadcasting: group.message_model == "BROADCASTING",
            subscription: group.subscriptions.get(topic).cloned(),
        })
    }

    /// The client ids of a group; `None` when nobody is here.
    pub(crate) fn ids(&self, group: &str) -> Option<Vec<String>> {
        let state = self.state.lock();
        let members = state.consumers.get(group)?.members.values();
        Some(members.map(|member| member.client_id.to_string()).collect())
    }

    /// The members of a group.
    pub(crate) fn members(&self, group: &str) -> Vec<Member> {
        self.state
            .lock()
            .consumers
            .get(group)
            .map(|group| group.members.values().cloned().collect())
            .unwrap_or_default()
    }

    /// The group as tools see it; `None` when nobody is here.
    pub(crate) fn describe(&self, group: &str) -> Option<ConsumerConnections> {
        let state = self.state.lock();
        let group = state.consumers.get(group)?;
        let mut connection_set: Vec<_> = group.members.values().map(Member::describe).collect();
        connection_set.sort();
        let subscriptions = group.subscriptions.iter();
        Some(ConsumerConnections {
            connection_set,
            subscription_table: subscriptions.map(|(topic, known)| (topic.clone(), known.data.clone())).collect(),
            consume_type: group.consume_type.clone(),
            message_model: group.message_model.clone(),
            consume_from_where: group.consume_from_where.clone(),
        })
    }

    /// The members of a producer group; `None` when nobody is here.
    pub(crate) fn producers_of(&self, group: &str) -> Option<Vec<ClientConnection>> {
        let state = self.state.lock();
        let members = state.producers.get(group)?;
        let mut connections: Vec<_> = members.values().map(Member::describe).collect();
        connections.sort();
        Some(connections)
    }

    /// All producers by group. `epoch_ms` is the wall clock's time when the measured time was 0.
    pub(crate) fn producers(&self, epoch_ms: i64) -> BTreeMap<String, Vec<ProducerInfo>> {
        let info = |member: &Member| ProducerInfo {
            client_id: member.client_id.to_string(),
            // As Java prints a socket's address.
            remote_ip: format!("/{}", member.connection.peer()),
            language: member.language.name().to_owned(),
            version: member.version,
            last_update_timestamp: epoch_ms + member.seen_ms,
        };
        let state = self.state.lock();
        state.producers.iter().map(|(group, members)| (group.clone(), members.values().map(info).collect())).collect()
    }

    /// Online groups that subscribe a topic.
    pub(crate) fn groups_of(&self, topic: &str) -> HashSet<String> {
        let state = self.state.lock();
        let reading = state.consumers.iter().filter(|(_, group)| group.subscriptions.contains_key(topic));
        reading.map(|(name, _)| name.clone()).collect()
    }

    /// Topics that an online group subscribes.
    pub(crate) fn topics_of(&self, group: &str) -> Vec<String> {
        self.state
            .lock()
            .consumers
            .get(group)
            .map(|group| group.subscriptions.keys().cloned().collect())
            .unwrap_or_default()
    }

    /// Consumers and producers by language and version, for the metrics.
    pub(crate) fn census(&self) -> Census {
        let state = self.state.lock();
        let mut census = Census::default();
        for member in state.producers.values().flat_map(HashMap::values) {
            *census.producers.entry((member.language.name(), member.version)).or_default() += 1;
        }
        for (name, group) in &state.consumers {
            for member in group.members.values() {
                let key = (name.clone(), member.language.name(), member.version, group.consume_type.clone());
                *census.consumers.entry(key).or_default() += 1;
            }
        }
        census
    }
}

/// How many clients there are of each kind.
#[derive(Default)]
pub(crate) struct Census {
    /// By language and version.
    pub producers: BTreeMap<(&'static str, i32), u64>,
    /// By group, language, version and consume type.
    pub consumers: BTreeMap<(String, &'static str, i32, String), u64>,
}

impl State {
    fn drop_empty(&mut self) {
        self.consumers.retain(|_, group| !group.members.is_empty());
        self.producers.retain(|_, members| !members.is_empty());
    }
}

impl Group {
    /// Takes a member's subscriptions: newer ones replace, missing topics go. Whether topics came or went.
    fn subscribe(&mut self, subscriptions: Vec<SubscriptionData>) -> bool {
        let topics: HashSet<_> = subscriptions.iter().map(|data| data.topic.clone()).collect();
        let before = self.subscriptions.len();
        self.subscriptions.retain(|topic, _| topics.contains(topic));
        let mut changed = self.subscriptions.len() != before;
        for data in subscriptions {
            let known = self.subscriptions.get(&data.topic);
            if known.is_some_and(|known| known.data.sub_version >= data.sub_version) {
                continue;
            }
            changed |= known.is_none();
            self.subscriptions.insert(data.topic.clone(), Arc::new(Subscription::compile(data)));
        }
        changed
    }

    /// The members that must hear of a change. Broadcasting consumers do not share queues.
    fn notice(&self, name: &str) -> Notices {
        if self.message_model == "BROADCASTING" || self.members.is_empty() {
            return Vec::new();
        }
        vec![(name.to_owned(), self.members.values().map(|member| Arc::clone(&member.connection)).collect())]
    }
}
