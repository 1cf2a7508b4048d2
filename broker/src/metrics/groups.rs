//! The figures of groups in topics: what is behind, in flight and ready, and how old it is.
//!
//! Owns how these are counted, and the time that counting may take: there may be tens of thousands of groups, and each
//! may have an expression that has to look into every message.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use strata_protocol::name;

use super::page::{Page, flag};
use crate::figures::{GroupTopic, Outgoing};
use crate::hall::Hall;
use crate::limits::LAG_PAGE_MS_MAX;
use crate::reading::{self, Matching};
use crate::sieve::Sifter;

/// One group in one topic.
#[derive(Debug, Default)]
struct Row {
    labels: String,
    /// Where progress is kept.
    behind: Option<Behind>,
    /// Where something was pulled since the start.
    ahead: Option<Ahead>,
}

/// What was not consumed.
#[derive(Debug, Default, Clone, Copy)]
struct Behind {
    messages: i64,
    is_estimate: bool,
    /// When the oldest was stored, ms.
    oldest: Option<i64>,
}

/// What was pulled, and what was not.
#[derive(Debug, Default, Clone, Copy)]
struct Ahead {
    in_flight: i64,
    ready: i64,
    /// When the oldest that is ready was stored, ms.
    oldest: Option<i64>,
}

/// The oldest of two times, of which nobody may know any.
fn older(one: Option<i64>, other: Option<i64>) -> Option<i64> {
    one.into_iter().chain(other).min()
}

/// What the groups of one topic share; they come one topic after another.
struct Common<'a> {
    hall: &'a Hall,
    topic: Arc<str>,
    is_retry: &'static str,
    is_system: &'static str,
    /// The ends of its queues.
    ends: BTreeMap<i32, i64>,
}

impl<'a> Common<'a> {
    fn new(hall: &'a Hall) -> Self {
        Self { hall, topic: Arc::from(""), is_retry: flag(false), is_system: flag(false), ends: BTreeMap::new() }
    }

    fn turn_to(&mut self, topic: &Arc<str>) {
        if self.topic != *topic {
            self.topic = Arc::clone(topic);
            (self.is_retry, self.is_system) = (flag(name::is_retry(topic)), flag(name::is_system_topic(topic)));
            self.ends.clear();
        }
    }

    fn end(&mut self, queue_id: i32) -> i64 {
        let find = || self.hall.store.queue_range(&self.topic, queue_id).map_or(0, |range| range.max);
        *self.ends.entry(queue_id).or_insert_with(find)
    }
}

/// The counting of one group in one topic.
struct Counting<'a> {
    hall: &'a Hall,
    topic: &'a str,
    /// What an online group lets through.
    sifter: Option<Sifter>,
    /// When messages are looked at no more, by the measured time.
    until: Duration,
}

impl<'a> Counting<'a> {
    fn new(hall: &'a Hall, (group, topic): (&str, &'a str), until: Duration) -> Self {
        Self { hall, topic, sifter: hall.clients.sifter(group, topic), until }
    }

    /// The messages from `from` up to `to` that the group is to get.
    fn matching(&self, queue_id: i32, from: i64, to: i64) -> Matching {
        match &self.sifter {
            Some(sifter) if !sifter.is_open() && self.hall.clock.monotonic() < self.until => {
                reading::count(self.hall, sifter, (self.topic, queue_id), (from, to))
            }
            Some(sifter) => Matching { messages: to - from, is_estimate: !sifter.is_open() },
            None => Matching { messages: to - from, is_estimate: false },
        }
    }

    /// When the message at an offset was stored, or the first one behind it that the log still has: a message in the cold
    /// tier alone is older than that.
    fn store_time(&self, queue_id: i32, offset: i64) -> Option<i64> {
        let store = &self.hall.store;
        store.store_time(self.topic, queue_id, offset).or_else(|| {
            let begin = store.queue_range(self.topic, queue_id)?.min;
            (offset < begin).then(|| store.store_time(self.topic, queue_id, begin)).flatten()
        })
    }

    /// What lies behind the group's progress.
    fn behind(&self, consumed: &BTreeMap<i32, i64>, common: &mut Common<'_>) -> Behind {
        let mut behind = Behind::default();
        for (queue_id, offset) in consumed {
            let end = common.end(*queue_id);
            if end > *offset {
                let matching = self.matching(*queue_id, *offset, end);
                behind.messages += matching.messages;
                behind.is_estimate |= matching.is_estimate;
                if matching.messages > 0 {
                    behind.oldest = older(behind.oldest, self.store_time(*queue_id, *offset));
                }
            }
        }
        behind
    }

    /// What the group has taken, and what it has not.
    fn ahead(&self, consumed: &BTreeMap<i32, i64>, pulled: &[(i32, i64, i64)], common: &mut Common<'_>) -> Ahead {
        let mut ahead = Ahead::default();
        for (queue_id, next, goes_on) in pulled {
            // Who stores no progress here, as a broadcasting group, has nothing in flight that could be known.
            let consumed = consumed.get(queue_id).copied().unwrap_or(*next);
            ahead.in_flight += (next - consumed).max(0);
            // A group may have gone past messages of which it was given none.
            let (from, end) = (consumed.max(*goes_on), common.end(*queue_id));
            if end > from {
                let ready = self.matching(*queue_id, from, end).messages;
                ahead.ready += ready;
                if ready > 0 {
                    ahead.oldest = older(ahead.oldest, self.store_time(*queue_id, from));
                }
            }
        }
        ahead
    }
}

/// Adds them to the page.
pub(super) fn add(hall: &Hall, outgoing: &[(GroupTopic, Arc<Outgoing>)], page: &mut Page) {
    let rows = rows(hall, outgoing, page);
    let now_ms = hall.now_ms();
    let age = |oldest: Option<i64>| oldest.map_or(0, |oldest| (now_ms - oldest).max(0));
    let behind: Vec<_> = rows.iter().filter_map(|row| Some((row.labels.as_str(), row.behind?))).collect();
    let ahead: Vec<_> = rows.iter().filter_map(|row| Some((row.labels.as_str(), row.ahead?))).collect();
    let of_behind = |value: &dyn Fn(&Behind) -> i64, name: &str, help: &str, page: &mut Page| {
        page.family(name, help, behind.iter().map(|(labels, row)| (*labels, value(row))));
    };
    let of_ahead = |value: &dyn Fn(&Ahead) -> i64, name: &str, help: &str, page: &mut Page| {
        page.family(name, help, ahead.iter().map(|(labels, row)| (*labels, value(row))));
    };
    let help = "Messages not yet consumed that the group wants.";
    of_behind(&|row| row.messages, "rocketmq_consumer_lag_messages", help, page);
    let help = "1: that count is an estimate, since not all messages were looked at.";
    of_behind(&|row| i64::from(row.is_estimate), "strata_consumer_lag_estimated", help, page);
    let help = "Age of the oldest message not yet consumed.";
    of_behind(&|row| age(row.oldest), "rocketmq_consumer_lag_latency_milliseconds", help, page);
    let help = "Messages pulled and not yet consumed.";
    of_ahead(&|row| row.in_flight, "rocketmq_consumer_inflight_messages", help, page);
    of_ahead(&|row| row.ready, "rocketmq_consumer_ready_messages", "Messages not yet pulled.", page);
    let help = "Age of the oldest message not yet pulled.";
    of_ahead(&|row| age(row.oldest), "rocketmq_consumer_queueing_latency_milliseconds", help, page);
}

fn rows(hall: &Hall, outgoing: &[(GroupTopic, Arc<Outgoing>)], page: &Page) -> Vec<Row> {
    let until = hall.clock.monotonic() + Duration::from_millis(LAG_PAGE_MS_MAX);
    let all = hall.tables.offsets.all();
    let mut taken: HashMap<_, _> = outgoing.iter().map(|(key, out)| ((&*key.0, &*key.1), (key, out))).collect();
    let (mut common, mut pulled) = (Common::new(hall), Vec::new());
    let labels = |group: &str, common: &Common<'_>| {
        let own = ["consumer_group", "topic", "is_retry", "is_system"];
        page.labels(&own, &[group, &common.topic, common.is_retry, common.is_system])
    };
    let mut rows = Vec::with_capacity(all.len());
    for (group, topic, consumed) in &all {
        // What tools keep in such names is no consumer's progress, and nobody is to be woken for it.
        if name::is_system_group(group) {
            continue;
        }
        common.turn_to(topic);
        let count = Counting::new(hall, (group, topic), until);
        let behind = count.behind(consumed, &mut common);
        let ahead = taken.remove(&(&**group, &**topic)).map(|(_, out)| {
            out.pulled_into(&mut pulled);
            count.ahead(consumed, &pulled, &mut common)
        });
        rows.push(Row { labels: labels(group, &common), behind: Some(behind), ahead });
    }
    // Groups that keep their progress elsewhere.
    let mut elsewhere: Vec<_> = taken.into_values().filter(|((group, _), _)| !name::is_system_group(group)).collect();
    elsewhere.sort_by(|((_, one), _), ((_, other), _)| one.cmp(other));
    for ((group, topic), out) in elsewhere {
        common.turn_to(topic);
        out.pulled_into(&mut pulled);
        let ahead = Counting::new(hall, (group, topic), until).ahead(&BTreeMap::new(), &pulled, &mut common);
        rows.push(Row { labels: labels(group, &common), behind: None, ahead: Some(ahead) });
    }
    rows
}
