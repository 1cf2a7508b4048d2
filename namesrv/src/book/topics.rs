//! What operators ask of the book: lists of topics, clusters and replicas, and their changes to topics.

use std::collections::BTreeMap;
use std::sync::Arc;

use strata_protocol::body::{QueueData, TopicList, perm};
use thiserror::Error;

use super::Book;
use super::registration::is_legal_topic;
use crate::limits::{PAIRS_MAX, TOPIC_BYTES_MAX, TOPICS_MAX};
use crate::route::Form;

/// Bit of `topicSysFlag`: a unit topic (`TopicSysFlag` of Apache).
const UNIT: i32 = 1;
/// Bit of `topicSysFlag`: a topic with a unit subscription.
const UNIT_SUBSCRIPTION: i32 = 2;

/// Which topics a list has.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Listed<'a> {
    /// Every topic.
    All,
    /// Those with queues on a broker of the cluster.
    OfCluster(&'a str),
    /// Unit topics.
    Unit,
    /// Those with a unit subscription.
    UnitSubscription,
    /// Those with a unit subscription that are no unit topics.
    UnitSubscriptionOnly,
}

/// Why topics were not registered by an operator.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum Unregistrable {
    #[error("broker {name} is not registered")]
    UnknownBroker { name: String },
    #[error(
        "the topic's name is empty, longer than {TOPIC_BYTES_MAX} bytes, or has a character that routes cannot carry"
    )]
    BadName,
    #[error("there are {TOPICS_MAX} topics already")]
    TooManyTopics,
    #[error("there would be more than {PAIRS_MAX} pairs of topic and broker")]
    TooManyPairs,
}

impl Book {
    /// Names of topics, in no order: with many of them, sorting is not done while others wait for the book.
    pub(crate) fn topic_names(&self, listed: Listed<'_>) -> Vec<Arc<str>> {
        let wanted = |queues: &QueueData| {
            let (unit, subscription) =
                (queues.topic_sys_flag & UNIT != 0, queues.topic_sys_flag & UNIT_SUBSCRIPTION != 0);
            match listed {
                Listed::All => true,
                Listed::OfCluster(cluster) => self.cluster_of(&queues.broker_name) == Some(cluster),
                Listed::Unit => unit,
                Listed::UnitSubscription => subscription,
                Listed::UnitSubscriptionOnly => subscription && !unit,
            }
        };
        let matching = self.topics.iter().filter(|(_, topic)| topic.queues().iter().any(wanted));
        matching.map(|(name, _)| Arc::clone(name)).collect()
    }

    fn cluster_of(&self, broker: &str) -> Option<&str> {
        self.brokers.get(broker).map(|group| group.cluster.as_str())
    }

    /// Names that exist as topics because brokers and clusters have them, and one master's address: a tool
    /// asks that broker for the rest.
    pub(crate) fn system_topics(&self) -> TopicList {
        let mut topic_list: Vec<String> = self.clusters().into_keys().map(str::to_owned).collect();
        topic_list.extend(self.brokers.keys().cloned());
        let broker_addr = self.brokers.values().find_map(|group| group.members.get(&0)).map(|m| m.address.clone());
        TopicList { topic_list, broker_addr }
    }

    fn clusters(&self) -> BTreeMap<&str, Vec<&str>> {
        let mut clusters: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (name, group) in &self.brokers {
            clusters.entry(&group.cluster).or_default().push(name);
        }
        clusters
    }

    /// All brokers by name and all names by cluster (`ClusterInfo`).
    pub(crate) fn cluster_info(&self, form: Form) -> String {
        let mut out = String::from("{\"brokerAddrTable\":{");
        for (at, (name, group)) in self.brokers.iter().enumerate() {
            out.push_str(if at > 0 { "," } else { "" });
            form.string(&mut out, name);
            out.push(':');
            form.broker(&mut out, &group.data(name));
        }
        out.push_str("},\"clusterAddrTable\":{");
        for (at, (cluster, names)) in self.clusters().into_iter().enumerate() {
            out.push_str(if at > 0 { "," } else { "" });
            form.string(&mut out, cluster);
            out.push_str(":[");
            for (at, name) in names.into_iter().enumerate() {
                out.push_str(if at > 0 { "," } else { "" });
                form.string(&mut out, name);
            }
            out.push(']');
        }
        out.push_str("}}");
        out
    }

    /// The replicas of one broker name (`BrokerMemberGroup`); of an unknown name there are none.
    pub(crate) fn member_group(&self, cluster: &str, name: &str, form: Form) -> String {
        let group = self.brokers.get(name).filter(|group| group.cluster == cluster);
        let mut out = String::from("{\"brokerMemberGroup\":{\"brokerAddrs\":");
        form.addresses(&mut out, &group.map(super::Group::addresses).unwrap_or_default());
        out.push_str(",\"brokerName\":");
        form.string(&mut out, name);
        out.push_str(",\"cluster\":");
        form.string(&mut out, cluster);
        out.push_str("}}");
        out
    }

    /// Gives or takes the write permission of all topics on one broker name; tells on how many.
    pub(crate) fn permit_writes(&mut self, name: &str, permit: bool) -> usize {
        self.topics.touch(name, |queues| {
            queues.perm = if permit { perm::READ | perm::WRITE } else { queues.perm & !perm::WRITE };
        })
    }

    /// Forgets a topic, in one cluster or in all.
    pub(crate) fn delete_topic(&mut self, topic: &str, cluster: Option<&str>) {
        let brokers = &self.brokers;
        match cluster.filter(|cluster| !cluster.is_empty()) {
            None => self.topics.take(topic, |_| true),
            Some(cluster) => {
                self.topics.take(topic, |name| brokers.get(name).is_some_and(|group| group.cluster == cluster));
            }
        }
    }

    /// Sets a topic's queues on brokers that are known (`REGISTER_TOPIC_IN_NAMESRV`), all of it or nothing. Its
    /// queues on other brokers stay. A broker's next registration of another version takes precedence.
    pub(crate) fn register_topic(&mut self, topic: &str, queues: Vec<QueueData>) -> Result<(), Unregistrable> {
        if !is_legal_topic(topic) {
            return Err(Unregistrable::BadName);
        }
        if let Some(unknown) = queues.iter().find(|queues| !self.brokers.contains_key(&queues.broker_name)) {
            return Err(Unregistrable::UnknownBroker { name: unknown.broker_name.clone() });
        }
        if queues.is_empty() {
            return Ok(());
        }
        if self.topics.len() >= TOPICS_MAX && self.topics.topic(topic).is_none() {
            return Err(Unregistrable::TooManyTopics);
        }
        if self.topics.pairs() + queues.len() > PAIRS_MAX {
            return Err(Unregistrable::TooManyPairs);
        }
        for queues in queues {
            self.topics.put(topic, queues);
        }
        Ok(())
    }
}
