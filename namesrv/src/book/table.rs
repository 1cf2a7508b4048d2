//! Which topic has queues on which broker, and each route's bytes while they hold.
//!
//! Owns the count of all pairs of topic and broker, which is what the table costs, and the rule that whatever
//! changes a topic's queues forgets its encoded route. A topic without queues is not in it.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use strata_protocol::body::QueueData;

use crate::route::FORMS;

/// A topic's queues on each broker, and the encoded route in each form until something of it changes.
#[derive(Debug, Default)]
pub(super) struct Topic {
    /// In the order of the brokers' names. A list and no map, whose nodes are large: most topics are on few brokers.
    queues: Vec<QueueData>,
    pub(super) encoded: [Option<Bytes>; FORMS],
}

impl Topic {
    pub(super) fn queues(&self) -> &[QueueData] {
        &self.queues
    }

    /// The queues on one broker.
    pub(super) fn on(&self, broker: &str) -> Option<&QueueData> {
        self.place(broker).ok().and_then(|at| self.queues.get(at))
    }

    /// Where a broker's queues are, or would be.
    fn place(&self, broker: &str) -> Result<usize, usize> {
        self.queues.binary_search_by(|queues| queues.broker_name.as_str().cmp(broker))
    }
}

/// All topics. Their names are shared, so that a list of them is made quickly.
#[derive(Debug, Default)]
pub(super) struct Topics {
    by_name: HashMap<Arc<str>, Topic>,
    pairs: usize,
}

impl Topics {
    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    /// How many pairs of topic and broker there are.
    pub(super) fn pairs(&self) -> usize {
        self.pairs
    }

    pub(super) fn topic(&self, name: &str) -> Option<&Topic> {
        self.by_name.get(name)
    }

    pub(super) fn topic_mut(&mut self, name: &str) -> Option<&mut Topic> {
        self.by_name.get_mut(name)
    }

    /// A topic's queues on one broker.
    pub(super) fn queues(&self, topic: &str, broker: &str) -> Option<&QueueData> {
        self.topic(topic)?.on(broker)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Topic)> {
        self.by_name.iter()
    }

    /// Sets a topic's queues on one broker; those on other brokers stay.
    pub(super) fn put(&mut self, topic: &str, queues: QueueData) {
        if !self.by_name.contains_key(topic) {
            self.by_name.insert(Arc::from(topic), Topic::default());
        }
        let Some(entry) = self.by_name.get_mut(topic) else { return };
        match entry.place(&queues.broker_name) {
            Ok(at) if entry.queues[at] == queues => return,
            Ok(at) => entry.queues[at] = queues,
            Err(at) => {
                entry.queues.reserve_exact(1);
                entry.queues.insert(at, queues);
                self.pairs += 1;
            }
        }
        entry.encoded = Default::default();
    }

    /// Takes a topic's queues away, on those brokers that `gone` names.
    pub(super) fn take(&mut self, topic: &str, gone: impl Fn(&str) -> bool) {
        let Some(entry) = self.by_name.get_mut(topic) else { return };
        let before = entry.queues.len();
        entry.queues.retain(|queues| !gone(&queues.broker_name));
        self.pairs -= before - entry.queues.len();
        entry.encoded = Default::default();
        if entry.queues.is_empty() {
            self.by_name.remove(topic);
        }
    }

    /// Takes the queues on one broker away, of all topics that `gone` names.
    pub(super) fn take_broker(&mut self, broker: &str, gone: impl Fn(&str) -> bool) {
        let pairs = &mut self.pairs;
        self.by_name.retain(|name, entry| {
            if let Some(at) = entry.place(broker).ok().filter(|_| gone(name)) {
                entry.queues.remove(at);
                entry.encoded = Default::default();
                *pairs -= 1;
            }
            !entry.queues.is_empty()
        });
    }

    /// Lets `edit` change each topic's queues on one broker, and forgets the routes that had them. Gives the
    /// number of topics.
    pub(super) fn touch(&mut self, broker: &str, mut edit: impl FnMut(&mut QueueData)) -> usize {
        let mut touched = 0;
        for topic in self.by_name.values_mut() {
            if let Ok(at) = topic.place(broker) {
                edit(&mut topic.queues[at]);
                topic.encoded = Default::default();
                touched += 1;
            }
        }
        touched
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queues(broker: &str, count: i32) -> QueueData {
        QueueData { broker_name: broker.into(), read_queue_nums: count, ..QueueData::default() }
    }

    #[test]
    fn pairs_are_counted_through_every_change() {
        let mut topics = Topics::default();
        for (topic, broker) in [("t", "a"), ("t", "b"), ("u", "a"), ("v", "b")] {
            topics.put(topic, queues(broker, 1));
        }
        topics.put("t", queues("a", 2));
        assert_eq!((topics.len(), topics.pairs()), (3, 4));
        topics.take("t", |broker| broker == "b");
        topics.take("absent", |_| true);
        assert_eq!((topics.len(), topics.pairs()), (3, 3));
        topics.take_broker("a", |topic| topic != "t");
        assert_eq!((topics.len(), topics.pairs()), (2, 2));
        topics.take("v", |_| true);
        topics.take_broker("a", |_| true);
        assert_eq!((topics.len(), topics.pairs()), (0, 0));
    }

    #[test]
    fn a_route_is_forgotten_when_its_queues_change_and_not_before() {
        let mut topics = Topics::default();
        topics.put("t", queues("a", 1));
        let encode =
            |topics: &mut Topics| topics.topic_mut("t").unwrap().encoded = [const { Some(Bytes::new()) }; FORMS];
        let is_encoded = |topics: &Topics| topics.topic("t").unwrap().encoded.iter().all(Option::is_some);
        encode(&mut topics);
        topics.put("t", queues("a", 1));
        topics.take_broker("b", |_| true);
        assert!(is_encoded(&topics));
        topics.put("t", queues("a", 2));
        assert!(!is_encoded(&topics));
        encode(&mut topics);
        assert_eq!(topics.touch("a", |_| {}), 1);
        assert!(!is_encoded(&topics));
    }
}
