//! The book itself: which brokers live, which topics they serve, and each route's bytes while they hold.
//!
//! Owns brokers and the rules about them and their topics (`RouteInfoManager` of Apache); `table` holds the topics.
//! Time is passed in, requests and locks are not known here.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use strata_protocol::body::{BrokerData, DataVersion, perm};
use tokio::time::Instant;

use crate::route::{self, Form};

mod registration;
mod table;
mod topics;

pub(crate) use registration::Registration;
pub(crate) use topics::Listed;

use table::Topics;

/// One broker process.
#[derive(Debug)]
struct Member {
    address: String,
    ha_address: String,
    data_version: DataVersion,
    heard: Instant,
    silence: Duration,
    /// The connection that registered it last.
    connection: u64,
}

/// The replicas of one broker name.
#[derive(Debug)]
struct Group {
    cluster: String,
    zone: Option<String>,
    acting_master: bool,
    /// By broker id; 0 is the master.
    members: BTreeMap<i64, Member>,
}

impl Group {
    fn data(&self, name: &str) -> BrokerData {
        BrokerData {
            cluster: self.cluster.clone(),
            broker_name: name.to_owned(),
            broker_addrs: self.addresses(),
            zone_name: self.zone.clone(),
            enable_acting_master: self.acting_master,
        }
    }

    fn addresses(&self) -> BTreeMap<i64, String> {
        self.members.iter().map(|(id, member)| (*id, member.address.clone())).collect()
    }
}

/// Who names one broker process: its cluster, name and address.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Process<'a> {
    pub(crate) cluster: &'a str,
    pub(crate) name: &'a str,
    pub(crate) address: &'a str,
}

/// All brokers and topics. Whoever holds it holds all state that routes are made of.
#[derive(Debug, Default)]
pub(crate) struct Book {
    topics: Topics,
    brokers: BTreeMap<String, Group>,
}

impl Book {
    /// The route of a topic, encoded at most once per change and form. An `order` text is not cached: few
    /// topics have one, and it changes without the book.
    pub(crate) fn route(&mut self, topic: &str, form: Form, order: Option<&str>) -> Option<Bytes> {
        let topic = self.topics.topic_mut(topic)?;
        if let (Some(bytes), None) = (&topic.encoded[form.index()], order) {
            return Some(bytes.clone());
        }
        let brokers = topic.queues().iter().filter_map(|queues| {
            let name = &queues.broker_name;
            self.brokers.get(name).map(|group| group.data(name))
        });
        let bytes = Bytes::from(route::encode(form, topic.queues().iter(), brokers, order));
        if order.is_none() {
            topic.encoded[form.index()] = Some(bytes.clone());
        }
        Some(bytes)
    }

    fn member_mut(&mut self, process: Process<'_>) -> Option<&mut Member> {
        let group = self.brokers.get_mut(process.name).filter(|group| group.cluster == process.cluster)?;
        group.members.values_mut().find(|member| member.address == process.address)
    }

    /// A sign of life. A broker that is not known stays unknown: it must register.
    pub(crate) fn heard(&mut self, process: Process<'_>, silence_ms: Option<i64>, now: Instant) -> bool {
        let Some(member) = self.member_mut(process) else { return false };
        member.heard = now;
        if let Some(silence) = registration::silence(silence_ms) {
            member.silence = silence;
        }
        true
    }

    /// The version of the topics that the broker registered last.
    pub(crate) fn data_version(&mut self, process: Process<'_>) -> Option<DataVersion> {
        self.member_mut(process).map(|member| member.data_version)
    }

    /// Takes one broker process out; `false` when it was not in.
    pub(crate) fn unregister(&mut self, process: Process<'_>, id: i64) -> bool {
        let known = self.brokers.get(process.name).and_then(|group| group.members.get(&id));
        let same = known.is_some_and(|member| member.address == process.address);
        if same {
            self.remove(process.name, id);
        }
        same
    }

    /// Takes every broker out that registered last over this connection, and tells how many.
    pub(crate) fn disconnected(&mut self, connection: u64) -> usize {
        self.remove_where(|member| member.connection == connection).len()
    }

    /// Takes every broker out that was silent for longer than it may be, and names them.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<String> {
        self.remove_where(|member| now.saturating_duration_since(member.heard) > member.silence)
    }

    fn remove_where(&mut self, gone: impl Fn(&Member) -> bool) -> Vec<String> {
        let mut found = Vec::new();
        for (name, group) in &self.brokers {
            let leaving = group.members.iter().filter(|(_, member)| gone(member));
            found.extend(leaving.map(|(id, member)| (name.clone(), *id, member.address.clone())));
        }
        for (name, id, _) in &found {
            self.remove(name, *id);
        }
        found.into_iter().map(|(name, id, address)| format!("{name}[{id}] {address}")).collect()
    }

    /// The last process of a name takes the name's queues with it. While slaves remain, their queues do:
    /// they can be read, and only an acting master stops new writes.
    fn remove(&mut self, name: &str, id: i64) {
        let Some(group) = self.brokers.get_mut(name) else { return };
        group.members.remove(&id);
        if group.members.is_empty() {
            self.brokers.remove(name);
            self.topics.take_broker(name, |_| true);
            return;
        }
        let wipe = group.acting_master && !group.members.contains_key(&0);
        self.topics.touch(name, |queues| {
            if wipe {
                queues.perm &= !perm::WRITE;
            }
        });
    }
}

#[cfg(test)]
mod tests;
