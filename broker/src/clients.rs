//! Who is connected: producers, consumer groups, their members and what they subscribe.
//!
//! All of it comes from heartbeats and lives in memory.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;
use strata_filter::Filter;
use strata_protocol::body::{
    ClientConnection, ConsumerConnections, ConsumerData, GroupConfig, ProducerInfo, SubscriptionData,
};
use strata_protocol::command::Language;
use strata_protocol::name;
use strata_remoting::Connection;

use crate::filters::{Filters, NoFilter, Wanted};
use crate::limits::{CLIENT_SILENCE_MS_MAX, GROUPS_MAX};
use crate::sieve::Sifter;

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
    pub filter: Result<Arc<Filter>, NoFilter>,
}

impl Subscription {
    /// Whether it is an expression over properties.
    pub(crate) fn is_sql(&self) -> bool {
        Wanted::from(&self.data).is_sql()
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
pub(crate) struct Clients {
    /// Held for look-ups and insertions, never across I/O or while an expression is compiled.
    state: Mutex<State>,
    /// What they subscribe, compiled.
    pub filters: Filters,
}

#[derive(Default)]
struct State {
    consumers: HashMap<String, Group>,
    producers: HashMap<String, HashMap<u64, Member>>,
}

/// Groups whose members must hear of a change, and the members.
pub(crate) type Notices = Vec<(String, Vec<Arc<Connection>>)>;

impl Clients {
    /// Nobody yet.
    pub(crate) fn new(filters: Filters) -> Self {
        Self { state: Mutex::default(), filters }
    }

    /// The subscriptions of a heartbeat, compiled. `refused` hears of those that are new and do not compile.
    pub(crate) fn compile(
        &self,
        group: &GroupConfig,
        all: Vec<SubscriptionData>,
        refused: &dyn Fn(&Subscription),
    ) -> Vec<Arc<Subscription>> {
        let known: Vec<_> = {
            let state = self.state.lock();
            let of_group = state.consumers.get(&group.group_name);
            let known = |data: &SubscriptionData| of_group?.subscriptions.get(&data.topic).cloned();
            all.iter().map(|data| known(data).filter(|known| known.data.sub_version >= data.sub_version)).collect()
        };
        let compile = |data: SubscriptionData| {
            let filter = self.filters.compile(group, Wanted::from(&data));
            let subscription = Subscription { data, filter };
            refused(&subscription);
            Arc::new(subscription)
        };
        all.into_iter().zip(known).map(|(data, known)| known.unwrap_or_else(|| compile(data))).collect()
    }

    /// Compiles a group's subscriptions again: the operator changed what applies to them.
    pub(crate) fn compile_again(&self, group: &GroupConfig) {
        let known: Vec<_> = {
            let state = self.state.lock();
            let of_group = state.consumers.get(&group.group_name);
            of_group.map(|of_group| of_group.subscriptions.values().cloned().collect()).unwrap_or_default()
        };
        for old in known {
            let data = old.data.clone();
            let filter = self.filters.compile(group, Wanted::from(&data));
            let mut state = self.state.lock();
            let place = state.consumers.get_mut(&group.group_name).and_then(|of| of.subscriptions.get_mut(&data.topic));
            // A heartbeat may have brought another one meanwhile, compiled as it is to be.
            if let Some(place) = place.filter(|place| Arc::ptr_eq(place, &old)) {
                *place = Arc::new(Subscription { data, filter });
            }
        }
    }

    /// Takes a consumer group of a heartbeat with its subscriptions; gives the members to notify when the group
    /// changed.
    pub(crate) fn consume(&self, member: Member, data: ConsumerData, subscriptions: Vec<Arc<Subscription>>) -> Notices {
        let mut state = self.state.lock();
        let group = state.consumers.entry(data.group_name.clone()).or_default();
        group.consume_type = data.consume_type;
        group.message_model = data.message_model;
        group.consume_from_where = data.consume_from_where;
        // A client that comes back on another connection replaces itself.
        let id = member.connection.id();
        group.members.retain(|known, other| *known == id || other.client_id != member.client_id);
        let is_new = group.members.insert(id, member).is_none();
        let changed = group.subscribe(subscriptions);
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

    /// What an online group lets through of a topic; `None` when that is not known.
    pub(crate) fn sifter(&self, group: &str, topic: &str) -> Option<Sifter> {
        let own = Arc::clone(self.view(group, topic)?.subscription?.filter.as_ref().ok()?);
        Some(self.sift((group, topic), own))
    }

    /// What a group lets through of a topic that it reads with the expression `own`.
    pub(crate) fn sift(&self, (group, topic): (&str, &str), own: Arc<Filter>) -> Sifter {
        let of_retries = self.filters.reaches_retries() && name::is_retry(topic) && topic == name::retry_topic(group);
        if of_retries { Sifter::of_retries(own, self.expressions(group)) } else { Sifter::from(own) }
    }

    /// The expressions over properties of a group, by topic. What does not compile is not among them.
    pub(crate) fn expressions(&self, group: &str) -> HashMap<String, Arc<Filter>> {
        let state = self.state.lock();
        let subscriptions = state.consumers.get(group).into_iter().flat_map(|group| &group.subscriptions);
        let sql = subscriptions.filter(|(_, known)| known.is_sql());
        sql.filter_map(|(topic, known)| Some((topic.clone(), Arc::clone(known.filter.as_ref().ok()?)))).collect()
    }

    /// The client ids of a group; `None` when nobody is here.
    pub(crate) fn ids(&self, group: &str) -> Option<Vec<String>> {
        let state = self.state.lock();
        let members = state.consumers.get(group)?.members.values();
        Some(members.map(|member| member.client_id.to_string()).collect())
    }

    /// The id of a group's client, be it of consumers or of producers.
    pub(crate) fn client_id(&self, group: &str, connection: u64) -> Option<Arc<str>> {
        let state = self.state.lock();
        let consumer = state.consumers.get(group).and_then(|group| group.members.get(&connection));
        let member = consumer.or_else(|| state.producers.get(group)?.get(&connection));
        member.map(|member| Arc::clone(&member.client_id))
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

    /// Groups that have consumers online.
    pub(crate) fn groups(&self) -> Vec<String> {
        self.state.lock().consumers.keys().cloned().collect()
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
    fn subscribe(&mut self, subscriptions: Vec<Arc<Subscription>>) -> bool {
        let topics: HashSet<_> = subscriptions.iter().map(|subscription| subscription.data.topic.clone()).collect();
        let before = self.subscriptions.len();
        self.subscriptions.retain(|topic, _| topics.contains(topic));
        let mut changed = self.subscriptions.len() != before;
        for subscription in subscriptions {
            let data = &subscription.data;
            let known = self.subscriptions.get(&data.topic);
            if known.is_some_and(|known| known.data.sub_version >= data.sub_version) {
                continue;
            }
            changed |= known.is_none();
            self.subscriptions.insert(data.topic.clone(), subscription);
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
