//! The bytes of a route: both texts in which clients can read where a topic is.
//!
//! Owns the encoding and its choice by client. Members are in alphabetical order and absent ones are left
//! out, as Apache's name server writes them: the Go client takes the text apart by its separators, and
//! older C++ clients know only the form with bare numbers. What is cached, and when, is the book's matter.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use strata_protocol::body::{BrokerData, QueueData};
use strata_protocol::command::Command;

/// First version ordinal whose client reads strict JSON (4.9.4, `GET_ROUTEINFO_BY_TOPIC` of Apache).
const STRICT_SINCE: i32 = 401;

/// How a document with broker ids as keys is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Keys are quoted and the text is ASCII.
    Strict,
    /// Broker ids are bare: `{0:"host:port"}`.
    Legacy,
}

/// How many forms there are; each has a place of its own in a topic's cache.
pub(crate) const FORMS: usize = 2;

impl Form {
    /// The form that the sender of a request reads.
    pub(crate) fn of(request: &Command, strict_wanted: bool) -> Self {
        if strict_wanted || request.version >= STRICT_SINCE { Self::Strict } else { Self::Legacy }
    }

    pub(crate) fn index(self) -> usize {
        match self {
            Self::Strict => 0,
            Self::Legacy => 1,
        }
    }

    /// Writes a JSON string.
    pub(crate) fn string(self, out: &mut String, text: &str) {
        out.push('"');
        for letter in text.chars() {
            match letter {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                letter if (letter as u32) < 0x20 => escape(out, letter),
                letter if !letter.is_ascii() && self == Self::Strict => escape(out, letter),
                letter => out.push(letter),
            }
        }
        out.push('"');
    }

    /// Writes broker ids and their addresses.
    pub(crate) fn addresses(self, out: &mut String, addresses: &BTreeMap<i64, String>) {
        out.push('{');
        for (at, (id, address)) in addresses.iter().enumerate() {
            separate(out, at);
            // Writing to a String cannot fail.
            let _ = match self {
                Self::Strict => write!(out, "\"{id}\":"),
                Self::Legacy => write!(out, "{id}:"),
            };
            self.string(out, address);
        }
        out.push('}');
    }

    /// Writes one broker name and its replicas.
    pub(crate) fn broker(self, out: &mut String, broker: &BrokerData) {
        out.push_str("{\"brokerAddrs\":");
        self.addresses(out, &broker.broker_addrs);
        out.push_str(",\"brokerName\":");
        self.string(out, &broker.broker_name);
        out.push_str(",\"cluster\":");
        self.string(out, &broker.cluster);
        let _ = write!(out, ",\"enableActingMaster\":{}", broker.enable_acting_master);
        if let Some(zone) = &broker.zone_name {
            out.push_str(",\"zoneName\":");
            self.string(out, zone);
        }
        out.push('}');
    }
}

fn escape(out: &mut String, letter: char) {
    for unit in letter.encode_utf16(&mut [0; 2]) {
        let _ = write!(out, "\\u{unit:04X}");
    }
}

fn separate(out: &mut String, at: usize) {
    if at > 0 {
        out.push(',');
    }
}

/// A topic's route in `form`. `order` is the topic's value in the namespace of ordered topics.
pub(crate) fn encode<'a>(
    form: Form,
    queues: impl Iterator<Item = &'a QueueData>,
    brokers: impl Iterator<Item = BrokerData>,
    order: Option<&str>,
) -> String {
    let mut out = String::with_capacity(512);
    out.push_str("{\"brokerDatas\":[");
    for (at, broker) in brokers.enumerate() {
        separate(&mut out, at);
        form.broker(&mut out, &broker);
    }
    out.push_str("],\"filterServerTable\":{}");
    if let Some(order) = order {
        out.push_str(",\"orderTopicConf\":");
        form.string(&mut out, order);
    }
    out.push_str(",\"queueDatas\":[");
    for (at, queue) in queues.enumerate() {
        separate(&mut out, at);
        out.push_str("{\"brokerName\":");
        form.string(&mut out, &queue.broker_name);
        let _ = write!(
            out,
            ",\"perm\":{},\"readQueueNums\":{},\"topicSysFlag\":{},\"writeQueueNums\":{}}}",
            queue.perm, queue.read_queue_nums, queue.topic_sys_flag, queue.write_queue_nums
        );
    }
    out.push_str("]}");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(form: Form) -> String {
        let queue = QueueData {
            broker_name: "brökér".into(),
            read_queue_nums: 8,
            write_queue_nums: 4,
            perm: 6,
            topic_sys_flag: 0,
        };
        let addresses = [(0, "10.0.0.1:10911".to_owned()), (1, "10.0.0.2:10911".to_owned())];
        let broker = BrokerData {
            cluster: "c\"1".into(),
            broker_name: "brökér".into(),
            broker_addrs: addresses.into_iter().collect(),
            zone_name: None,
            enable_acting_master: false,
        };
        encode(form, [queue].iter(), [broker].into_iter(), Some("brökér:4"))
    }

    #[test]
    fn the_strict_form_is_the_golden_text() {
        assert_eq!(
            route(Form::Strict),
            concat!(
                r#"{"brokerDatas":[{"brokerAddrs":{"0":"10.0.0.1:10911","1":"10.0.0.2:10911"},"brokerName":"br\u00F6k\u00E9r","#,
                r#""cluster":"c\"1","enableActingMaster":false}],"filterServerTable":{},"orderTopicConf":"br\u00F6k\u00E9r:4","#,
                r#""queueDatas":[{"brokerName":"br\u00F6k\u00E9r","perm":6,"readQueueNums":8,"topicSysFlag":0,"writeQueueNums":4}]}"#,
            )
        );
        let value: serde_json::Value = serde_json::from_str(&route(Form::Strict)).unwrap();
        assert_eq!(value["brokerDatas"][0]["brokerName"], "brökér");
    }

    #[test]
    fn the_legacy_form_is_the_golden_text() {
        assert_eq!(
            route(Form::Legacy),
            concat!(
                r#"{"brokerDatas":[{"brokerAddrs":{0:"10.0.0.1:10911",1:"10.0.0.2:10911"},"brokerName":"brökér","#,
                r#""cluster":"c\"1","enableActingMaster":false}],"filterServerTable":{},"orderTopicConf":"brökér:4","#,
                r#""queueDatas":[{"brokerName":"brökér","perm":6,"readQueueNums":8,"topicSysFlag":0,"writeQueueNums":4}]}"#,
            )
        );
    }

    /// Takes the addresses out of the legacy text as clients do that have no parser for it: the text
    /// between the braces is cut at commas, each piece at its first colon, and quotes are dropped.
    #[test]
    fn a_parser_that_splits_the_text_reads_the_legacy_form() {
        let text = route(Form::Legacy);
        let from = text.find("\"brokerAddrs\":{").unwrap() + "\"brokerAddrs\":{".len();
        let inner = &text[from..from + text[from..].find('}').unwrap()];
        let read: Vec<(i64, String)> = inner
            .split(',')
            .map(|piece| piece.split_once(':').unwrap())
            .map(|(id, address)| (id.replace('"', "").parse().unwrap(), address.replace('"', "")))
            .collect();
        assert_eq!(read, [(0, "10.0.0.1:10911".to_owned()), (1, "10.0.0.2:10911".to_owned())]);
    }

    #[test]
    fn the_form_follows_version_and_wish() {
        let mut request = Command::request(105);
        request.version = 400;
        assert_eq!(Form::of(&request, false), Form::Legacy);
        assert_eq!(Form::of(&request, true), Form::Strict);
        request.version = 401;
        assert_eq!(Form::of(&request, false), Form::Strict);
    }
}
