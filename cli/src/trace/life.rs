//! The life of a message, put together from what is stored, what clients told, and how far groups are.

use serde::{Deserialize, Serialize};

/// A message in a queue; one that is sent back is in several.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Stored {
    pub(super) topic: String,
    pub(super) queue_id: i32,
    pub(super) queue_offset: i64,
    pub(super) store_micros: i64,
    pub(super) born_micros: Option<i64>,
    pub(super) msg_id: Option<String>,
    pub(super) keys: Option<String>,
    pub(super) tags: Option<String>,
    #[serde(flatten)]
    pub(super) way: Way,
}

/// How a message came.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Way {
    pub(super) born_host: String,
    pub(super) store_host: String,
    pub(super) reconsume_times: i32,
    pub(super) delay_level: Option<String>,
    pub(super) tier: String,
}

/// A record of a trace.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Told {
    pub(super) kind: String,
    micros: Option<i64>,
    store_micros: i64,
    is_success: Option<bool>,
    cost_ms: Option<i64>,
    message_type: Option<String>,
    request_id: Option<String>,
    retry_times: Option<i32>,
    context: Option<String>,
    transaction_state: Option<String>,
    #[serde(flatten)]
    by: By,
    #[serde(flatten)]
    range: Range,
}

/// Whose record it is.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct By {
    client_group: Option<String>,
    client_host: Option<String>,
    client_id: Option<String>,
}

/// Of what the broker's own records are.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Range {
    delay_level: Option<i32>,
    queue_offset: Option<i64>,
    last_queue_offset: Option<i64>,
    messages: Option<i64>,
}

impl Range {
    /// Whether a filter passed messages of the range over, of which this one may be one.
    fn is_thinned(&self) -> bool {
        let last = self.last_queue_offset.or(self.queue_offset);
        self.queue_offset
            .zip(last)
            .zip(self.messages)
            .is_some_and(|((first, last), messages)| messages < last - first + 1)
    }
}

/// How far a group is in a queue in which the message is.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Progress {
    consumer_group: String,
    topic: String,
    committed_offset: i64,
    queue_offset: i64,
}

/// One step of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Hop {
    /// What happened.
    pub(super) hop: &'static str,
    /// To or by whom: a group, or a topic.
    pub(super) who: String,
    /// When it began, microseconds since 1970.
    pub(super) begin_micros: i64,
    /// How long it took, if that was told.
    pub(super) cost_ms: Option<i64>,
    /// How it went, if that was told.
    pub(super) status: Option<String>,
    /// Which delivery, from 1 on.
    pub(super) attempt: Option<i32>,
    /// Where from.
    pub(super) host: Option<String>,
}

/// Whether a group has gone past the message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Passed {
    pub(super) consumer_group: String,
    pub(super) topic: String,
    pub(super) is_past: bool,
    pub(super) committed_offset: i64,
}

/// The life of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Life {
    pub(super) msg_id: String,
    pub(super) topic: String,
    pub(super) queue_id: i32,
    pub(super) queue_offset: i64,
    pub(super) keys: Option<String>,
    pub(super) tags: Option<String>,
    pub(super) tier: String,
    /// By their begin.
    pub(super) hops: Vec<Hop>,
    pub(super) groups: Vec<Passed>,
}

impl Life {
    /// Puts a life together. `stored` has at least one row.
    pub(super) fn of(id: &str, stored: Vec<Stored>, told: Vec<Told>, progress: Vec<Progress>) -> Self {
        let first = stored.iter().find(|row| !is_aside(&row.topic)).or_else(|| stored.first());
        let mut life = Self {
            msg_id: id.to_owned(),
            topic: first.map(|row| row.topic.clone()).unwrap_or_default(),
            queue_id: first.map_or(-1, |row| row.queue_id),
            queue_offset: first.map_or(-1, |row| row.queue_offset),
            keys: first.and_then(|row| row.keys.clone()),
            tags: first.and_then(|row| row.tags.clone()),
            tier: first.map(|row| row.way.tier.clone()).unwrap_or_default(),
            hops: Vec::new(),
            groups: Vec::new(),
        };
        let is_published = told.iter().any(|told| told.kind == "Pub");
        if let Some(row) = first.filter(|_| !is_published)
            && let Some(born) = row.born_micros
        {
            life.hops.push(Hop {
                hop: "born",
                who: "its producer".to_owned(),
                begin_micros: born,
                cost_ms: None,
                status: None,
                attempt: None,
                host: Some(row.way.born_host.clone()),
            });
        }
        life.hops.extend(stored.iter().map(of_stored));
        life.hops.extend(told.iter().filter(|told| told.kind != "SubAfter").filter_map(|begun| of_told(begun, &told)));
        life.hops.sort_by_key(|hop| (hop.begin_micros, rank(hop.hop)));
        life.groups = progress.into_iter().map(passed).collect();
        life
    }
}

/// Which of two hops of one millisecond came first.
fn rank(hop: &str) -> u8 {
    match hop {
        "born" | "publish" => 0,
        "receive" | "half message" => 1,
        "store" | "delay" => 2,
        "deliver" => 3,
        "consume" => 4,
        "send back" => 5,
        _ => 6,
    }
}

/// Whether a topic holds copies of messages of others.
fn is_aside(topic: &str) -> bool {
    ["%RETRY%", "%DLQ%", "SCHEDULE_TOPIC", "RMQ_SYS_"].iter().any(|prefix| topic.starts_with(prefix))
}

fn of_stored(row: &Stored) -> Hop {
    let (hop, who) = match row.topic.as_str() {
        topic if topic.starts_with("%RETRY%") => ("retry", topic.trim_start_matches("%RETRY%").to_owned()),
        topic if topic.starts_with("%DLQ%") => ("dead letter", topic.trim_start_matches("%DLQ%").to_owned()),
        "SCHEDULE_TOPIC_XXXX" => {
            ("delay", row.way.delay_level.clone().map_or_else(String::new, |level| format!("level {level}")))
        }
        topic if topic.starts_with("RMQ_SYS_TRANS_") => ("half message", "its transaction".to_owned()),
        topic => ("store", topic.to_owned()),
    };
    let attempt = (row.way.reconsume_times > 0).then_some(row.way.reconsume_times);
    Hop {
        hop,
        who,
        begin_micros: row.store_micros,
        cost_ms: None,
        status: Some(format!("queue {} offset {}, {}", row.queue_id, row.queue_offset, row.way.tier)),
        attempt,
        host: Some(row.way.store_host.clone()),
    }
}

/// A record as a hop; `all` has the ends of consumptions. Of a record without a time it is when its message was stored.
fn of_told(begun: &Told, all: &[Told]) -> Option<Hop> {
    let micros = begun.micros.unwrap_or(begun.store_micros);
    let verdict = |told: &Told| told.is_success.map(|good| if good { "ok" } else { "failed" }.to_owned());
    let hop = |hop: &'static str, cost_ms: Option<i64>, status: Option<String>| Hop {
        hop,
        who: begun.by.client_group.clone().unwrap_or_default(),
        begin_micros: micros,
        cost_ms,
        status,
        attempt: None,
        host: begun.by.client_host.clone(),
    };
    Some(match begun.kind.as_str() {
        "Pub" => {
            let kind = begun.message_type.clone().filter(|kind| kind != "Normal_Msg");
            let status = [verdict(begun), kind].into_iter().flatten().collect::<Vec<_>>().join(", ");
            hop("publish", begun.cost_ms, Some(status).filter(|status| !status.is_empty()))
        }
        "SubBefore" => {
            let is_end = |told: &&Told| told.kind == "SubAfter" && told.request_id == begun.request_id;
            let end = all.iter().find(is_end);
            let status = end.and_then(|end| end.context.clone().or_else(|| verdict(end)));
            let status = status.unwrap_or_else(|| "no end was told".to_owned());
            Hop {
                attempt: begun.retry_times.map(|times| times.saturating_add(1)),
                ..hop("consume", end.and_then(|end| end.cost_ms), Some(status))
            }
        }
        "EndTransaction" => hop("end of transaction", None, begun.transaction_state.clone()),
        "Recall" => hop("recall", None, verdict(begun)),
        "BrokerStore" => hop("receive", None, begun.by.client_id.clone()),
        "BrokerDeliver" => {
            let thinned = begun.range.is_thinned().then(|| "unless its filter passed it over".to_owned());
            let status = [begun.by.client_id.clone(), thinned].into_iter().flatten().collect::<Vec<_>>().join(", ");
            hop("deliver", None, Some(status).filter(|status| !status.is_empty()))
        }
        "BrokerAck" => hop("acknowledge", None, begun.by.client_id.clone()),
        "BrokerRetry" => Hop {
            attempt: begun.retry_times.map(|times| times.saturating_add(1)),
            ..hop("send back", None, begun.range.delay_level.map(|level| format!("again after level {level}")))
        },
        "BrokerDeadLetter" => Hop {
            attempt: begun.retry_times.map(|times| times.saturating_add(1)),
            ..hop("send back", None, Some("to the dead letters".to_owned()))
        },
        _ => return None,
    })
}

fn passed(progress: Progress) -> Passed {
    Passed {
        is_past: progress.committed_offset > progress.queue_offset,
        consumer_group: progress.consumer_group,
        topic: progress.topic,
        committed_offset: progress.committed_offset,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(topic: &str, micros: i64, times: i32) -> Stored {
        serde_json::from_value(serde_json::json!({
            "topic": topic, "queue_id": 1, "queue_offset": 7, "store_micros": micros, "born_micros": 900, "msg_id": "A",
            "keys": "k1 k2", "tags": null, "born_host": "1.2.3.4:5", "store_host": "6.7.8.9:10", "reconsume_times": times,
            "delay_level": null, "tier": "cold",
        }))
        .unwrap()
    }

    fn told(kind: &str, micros: i64, request: Option<&str>) -> Told {
        serde_json::from_value(serde_json::json!({
            "kind": kind, "micros": micros, "store_micros": 5_000, "client_group": "g", "is_success": true, "cost_ms": 3,
            "message_type": "Normal_Msg", "client_host": null, "request_id": request, "retry_times": 0,
            "context": null, "transaction_state": null,
        }))
        .unwrap()
    }

    #[test]
    fn a_life_is_in_the_order_of_its_hops_and_ends_are_found_by_their_request() {
        let rows = vec![stored("orders", 1_000, 0), stored("%RETRY%g", 3_000, 1), stored("%DLQ%g", 4_000, 2)];
        let traces =
            vec![told("SubAfter", 2_500, Some("r")), told("SubBefore", 2_000, Some("r")), told("Pub", 950, None)];
        let life = Life::of("A", rows, traces, Vec::new());
        let hops: Vec<_> = life.hops.iter().map(|hop| (hop.hop, hop.who.as_str(), hop.status.as_deref())).collect();
        assert_eq!(
            hops,
            [
                ("publish", "g", Some("ok")),
                ("store", "orders", Some("queue 1 offset 7, cold")),
                ("consume", "g", Some("ok")),
                ("retry", "g", Some("queue 1 offset 7, cold")),
                ("dead letter", "g", Some("queue 1 offset 7, cold")),
            ]
        );
        assert_eq!((life.topic.as_str(), life.hops[2].attempt, life.hops[2].cost_ms), ("orders", Some(1), Some(3)));
    }

    #[test]
    fn without_traces_the_broker_tells_what_it_knows() {
        let progress = |committed: i64| Progress {
            consumer_group: "g".to_owned(),
            topic: "orders".to_owned(),
            committed_offset: committed,
            queue_offset: 7,
        };
        let life = Life::of("A", vec![stored("orders", 1_000, 0)], Vec::new(), vec![progress(7), progress(8)]);
        assert_eq!(life.hops.iter().map(|hop| hop.hop).collect::<Vec<_>>(), ["born", "store"]);
        assert_eq!(life.groups.iter().map(|group| group.is_past).collect::<Vec<_>>(), [false, true]);
    }
}
