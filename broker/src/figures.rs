//! What the broker counts, and the small sources of numbers that handlers share.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use strata_protocol::message_id::{UniqueKey, month_start_ms};
use strata_protocol::properties;

use crate::hall::Hall;
use crate::histogram::Histogram;
use crate::latency::Latencies;
use crate::options::BrokerOptions;
use crate::traffic::Traffic;
use crate::trouble::Trouble;
use crate::waiting::PullPlan;

/// Group and topic.
pub(crate) type GroupTopic = (Arc<str>, Arc<str>);

/// What a group took of a queue since the start.
#[derive(Debug, Clone, Copy)]
struct Pulled {
    /// The first offset of the first pull.
    first: i64,
    /// Behind the last message that was given.
    next: i64,
    /// Behind the last message that was passed over, not being for the group.
    passed: i64,
}

impl Pulled {
    /// Where the next pull begins.
    fn goes_on(&self) -> i64 {
        self.next.max(self.passed)
    }
}

/// What a group took of a topic.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    /// Messages and bytes.
    pub traffic: Arc<Traffic>,
    /// What was pulled of each queue.
    pulled: Mutex<BTreeMap<i32, Pulled>>,
}

impl Outgoing {
    /// Where the next pull of each queue begins, of those that were pulled since the start.
    pub(crate) fn pulled(&self) -> BTreeMap<i32, i64> {
        self.pulled.lock().iter().map(|(queue_id, pulled)| (*queue_id, pulled.goes_on())).collect()
    }

    /// The same, in place of what `into` held.
    pub(crate) fn pulled_into(&self, into: &mut Vec<(i32, i64, i64)>) {
        into.clear();
        into.extend(self.pulled.lock().iter().map(|(queue_id, pulled)| (*queue_id, pulled.next, pulled.goes_on())));
    }

    /// The first offset that was pulled of a queue since the start.
    pub(crate) fn first(&self, queue_id: i32) -> Option<i64> {
        self.pulled.lock().get(&queue_id).map(|pulled| pulled.first)
    }
}

/// Upper bounds of times of changes, ms, as Apache RocketMQ's `rocketmq_topic_create_execution_time` has them.
pub(crate) const CHANGE_BOUNDS_MS: [u64; 5] = [10, 100, 1_000, 3_000, 5_000];

/// Times of changes of settings, ms.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Of those that were made.
    pub made: Histogram<{ CHANGE_BOUNDS_MS.len() }>,
    /// Of those that were refused or failed.
    pub failed: Histogram<{ CHANGE_BOUNDS_MS.len() }>,
}

impl Changes {
    /// Counts a change.
    pub(crate) fn observe(&self, made: bool, took: Duration) {
        let times = if made { &self.made } else { &self.failed };
        times.observe(&CHANGE_BOUNDS_MS, u64::try_from(took.as_millis()).unwrap_or(u64::MAX), 1);
    }
}

/// Counts of this broker since its start.
#[derive(Default)]
pub(crate) struct Figures {
    /// Sends that wait for a flush.
    pub unflushed: AtomicUsize,
    /// Times of answered requests by code and outcome; a pull that is held counts from when it is woken.
    pub requests: Latencies,
    /// Times of topics' creations and changes by operators, by whether it is a system topic.
    pub topic_changes: [Changes; 2],
    /// The same of groups.
    pub group_changes: Changes,
    /// When the broker started, ms.
    pub started_ms: AtomicU64,
    own_properties: OnceLock<Vec<u8>>,
    counter: AtomicUsize,
    /// What left a topic for a group. Held for one look-up a pull.
    outgoing: Mutex<HashMap<GroupTopic, Arc<Outgoing>>>,
    /// What went wrong with groups' expressions.
    pub trouble: Trouble,
    /// Messages given up, by group and topic.
    dead: Mutex<HashMap<(String, String), u64>>,
}

impl Figures {
    /// The properties that the broker adds to every message, as text.
    pub(crate) fn own_properties(&self, options: &BrokerOptions) -> &[u8] {
        self.own_properties.get_or_init(|| {
            let mut text = Vec::new();
            for (name, value) in [
                (properties::CLUSTER, options.identity.cluster.as_str()),
                (properties::MSG_REGION, options.region.as_str()),
                (properties::TRACE_ON, "true"),
            ] {
                // The command line checks these settings; a separator in one would split the text.
                let _ = properties::append(&mut text, name, value);
            }
            text
        })
    }

    /// A unique key for a message that came without one.
    #[expect(clippy::cast_possible_truncation, reason = "the key's layout cuts its parts; the counter makes it unique")]
    pub(crate) fn unique_key(&self, hall: &Hall) -> String {
        let now = hall.now_ms();
        let counter = self.counter.fetch_add(1, Ordering::Relaxed);
        let key = UniqueKey {
            ip: hall.options.identity.ip,
            process: std::process::id() as u16,
            maker: (counter >> 16) as u32,
            since_month_ms: (now - month_start_ms(now)) as u32,
            counter: counter as u16,
        };
        key.encode()
    }

    /// Queues in turn, for messages that leave the choice to the broker.
    pub(crate) fn next_queue(&self, queues: i32) -> i32 {
        let queues = usize::try_from(queues.max(1)).unwrap_or(1);
        i32::try_from(self.counter.fetch_add(1, Ordering::Relaxed) % queues).unwrap_or(0)
    }

    /// Messages left for a consumer, who goes on at `next`.
    pub(crate) fn delivered(&self, plan: &PullPlan, next: i64, (messages, bytes): (u64, u64)) {
        let key = (Arc::clone(&plan.group), Arc::clone(&plan.topic));
        let outgoing = Arc::clone(self.outgoing.lock().entry(key).or_default());
        outgoing.traffic.add(messages, bytes);
        // Who goes back has passed over nothing.
        let now = |first| Pulled { first, next, passed: next };
        let mut pulled = outgoing.pulled.lock();
        let first = pulled.get(&plan.queue_id).map_or(plan.offset, |known| known.first);
        pulled.insert(plan.queue_id, now(first));
    }

    /// A consumer goes on at `next`, having been given nothing: what lies before is not for its group. Who was never given
    /// anything is not known here.
    pub(crate) fn passed(&self, plan: &PullPlan, next: i64) {
        let key = (Arc::clone(&plan.group), Arc::clone(&plan.topic));
        let Some(outgoing) = self.outgoing.lock().get(&key).map(Arc::clone) else { return };
        if let Some(pulled) = outgoing.pulled.lock().get_mut(&plan.queue_id) {
            pulled.passed = next;
        }
    }

    /// Everything that left, by group and topic.
    pub(crate) fn outgoing(&self) -> Vec<(GroupTopic, Arc<Outgoing>)> {
        self.outgoing.lock().iter().map(|(key, outgoing)| (key.clone(), Arc::clone(outgoing))).collect()
    }

    /// What left a topic for a group; `None` when nothing did.
    pub(crate) fn outgoing_of(&self, group: &str, topic: &str) -> Option<Arc<Outgoing>> {
        self.outgoing.lock().get(&(Arc::from(group), Arc::from(topic))).map(Arc::clone)
    }

    /// Messages a second that a group read of a topic in the last minute.
    pub(crate) fn consume_rate(&self, group: &str, topic: &str, elapsed_ms: i64) -> f64 {
        self.outgoing_of(group, topic).map_or(0.0, |outgoing| outgoing.traffic.window(elapsed_ms, 60).rate())
    }

    /// A message went to a group's dead letters.
    pub(crate) fn dead_letter(&self, group: &str, topic: &str) {
        *self.dead.lock().entry((group.to_owned(), topic.to_owned())).or_default() += 1;
    }

    /// A topic was deleted: what was counted of it goes.
    pub(crate) fn forget_topic(&self, topic: &str) {
        self.outgoing.lock().retain(|(_, of), _| of.as_ref() != topic);
        self.dead.lock().retain(|(_, of), _| of != topic);
    }

    /// A group was deleted: what was counted of it goes.
    pub(crate) fn forget_group(&self, group: &str) {
        self.outgoing.lock().retain(|(of, _), _| of.as_ref() != group);
        self.dead.lock().retain(|(of, _), _| of != group);
        self.trouble.forget_group(group);
    }

    /// Dead letters by group and topic.
    pub(crate) fn dead_letters(&self) -> Vec<((String, String), u64)> {
        self.dead.lock().iter().map(|(key, count)| (key.clone(), *count)).collect()
    }
}
