//! Headers of the requests that carry or read messages. The two hottest borrow from the frame.

use super::{BadField, headers, parse};
use crate::fields::{Fields, text};

/// Header of 10, 310, 320, 324 and 325. The short names are those of `SendMessageRequestHeaderV2`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Send<'a> {
    /// `producerGroup`, `a`.
    pub producer_group: &'a str,
    /// `topic`, `b`.
    pub topic: &'a str,
    /// `defaultTopic`, `c`: whose settings a new topic takes.
    pub default_topic: &'a str,
    /// `defaultTopicQueueNums`, `d`.
    pub default_topic_queues: i32,
    /// `queueId`, `e`; below 0 leaves the choice to the broker.
    pub queue_id: i32,
    /// `sysFlag`, `f`.
    pub sys_flag: i32,
    /// `bornTimestamp`, `g`, ms.
    pub born_timestamp: i64,
    /// `flag`, `h`: the application's own.
    pub flag: i32,
    /// `properties`, `i`.
    pub properties: &'a str,
    /// `reconsumeTimes`, `j`.
    pub reconsume_times: i32,
    /// `unitMode`, `k`.
    pub unit_mode: bool,
    /// `maxReconsumeTimes`, `l`.
    pub max_reconsume_times: Option<i32>,
    /// `batch`, `m`: the body holds several messages.
    pub batch: bool,
}

/// Long and short names of the fields, in the order of [`Send`].
const LONG: [&str; 13] = [
    "producerGroup",
    "topic",
    "defaultTopic",
    "defaultTopicQueueNums",
    "queueId",
    "sysFlag",
    "bornTimestamp",
    "flag",
    "properties",
    "reconsumeTimes",
    "unitMode",
    "maxReconsumeTimes",
    "batch",
];

/// Which names a send request uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendNames {
    /// Code 10 and 324.
    Long,
    /// Code 310, 320 and 325: `a` to `m`.
    Short,
}

impl<'a> Send<'a> {
    /// Reads the header in one pass over the fields.
    ///
    /// # Errors
    /// When a required field is absent or a value does not fit.
    pub fn decode(fields: &'a Fields, names: SendNames) -> Result<Self, BadField> {
        let mut values: [Option<&'a [u8]>; 13] = [None; 13];
        for (name, value) in fields.iter_bytes() {
            let at = match (names, name) {
                (SendNames::Short, [letter @ b'a'..=b'm']) => Some(usize::from(letter - b'a')),
                (SendNames::Short, _) => None,
                (SendNames::Long, _) => LONG.iter().position(|long| long.as_bytes() == name),
            };
            if let Some(at) = at {
                values[at] = values[at].or(Some(value));
            }
        }
        let text = |at: usize| values[at].map(text).ok_or(BadField::Missing { name: LONG[at] });
        let text_or_none = |at: usize| text(at).unwrap_or_default();
        let int = |at: usize| parse::<i32>(values[at], LONG[at], "a 32-bit number");
        let optional = |at: usize| match values[at] {
            None | Some(b"") => Ok(None),
            Some(_) => int(at).map(Some),
        };
        let truth = |at: usize| values[at].is_some_and(|text| text.eq_ignore_ascii_case(b"true"));
        Ok(Self {
            producer_group: text(0)?,
            topic: text(1)?,
            default_topic: text_or_none(2),
            default_topic_queues: optional(3)?.unwrap_or(0),
            queue_id: int(4)?,
            sys_flag: int(5)?,
            born_timestamp: parse(values[6], LONG[6], "a 64-bit number")?,
            flag: int(7)?,
            properties: text_or_none(8),
            reconsume_times: optional(9)?.unwrap_or(0),
            unit_mode: truth(10),
            max_reconsume_times: optional(11)?,
            batch: truth(12),
        })
    }

    /// Writes the header with short names, as Java's client does.
    pub fn encode(&self, fields: &mut Fields) {
        let truth = |value: bool| if value { "true" } else { "false" };
        fields.push("a", self.producer_group);
        fields.push("b", self.topic);
        fields.push("c", self.default_topic);
        fields.push("d", &self.default_topic_queues.to_string());
        fields.push("e", &self.queue_id.to_string());
        fields.push("f", &self.sys_flag.to_string());
        fields.push("g", &self.born_timestamp.to_string());
        fields.push("h", &self.flag.to_string());
        fields.push("i", self.properties);
        fields.push("j", &self.reconsume_times.to_string());
        fields.push("k", truth(self.unit_mode));
        if let Some(max) = self.max_reconsume_times {
            fields.push("l", &max.to_string());
        }
        fields.push("m", truth(self.batch));
    }
}

/// Bits of a pull's `sysFlag` (`PullSysFlag`).
pub mod pull_flag {
    /// `commitOffset` is to be stored.
    pub const COMMIT_OFFSET: i32 = 1;
    /// The broker may hold the request.
    pub const SUSPEND: i32 = 2;
    /// The subscription in the header counts, not the one of the heartbeat.
    pub const SUBSCRIPTION: i32 = 4;
    /// The removed class filter.
    pub const CLASS_FILTER: i32 = 8;
    /// Sent by a lite pull consumer.
    pub const LITE_PULL: i32 = 16;
}

headers! {
    /// Header of 11 and 361.
    Pull {
        group: String = "consumerGroup",
        topic: String = "topic",
        queue_id: i32 = "queueId",
        queue_offset: i64 = "queueOffset",
        messages_max: i32 = "maxMsgNums",
        sys_flag: i32 = "sysFlag",
        commit_offset: i64 = "commitOffset",
        suspend_timeout_ms: i64 = "suspendTimeoutMillis",
        subscription: Option<String> = "subscription",
        sub_version: i64 = "subVersion",
        expression_type: Option<String> = "expressionType",
        bytes_max: Option<i32> = "maxMsgBytes",
    }

    /// Header of 12. `_UNIQUE_KEY_QUERY` makes the key a unique key.
    QueryMessage {
        topic: String = "topic",
        key: String = "key",
        messages_max: i32 = "maxNum",
        begin_timestamp: i64 = "beginTimestamp",
        end_timestamp: i64 = "endTimestamp",
        unique_key: Option<bool> = "_UNIQUE_KEY_QUERY",
    }

    /// Header of 33.
    ViewMessage {
        topic: Option<String> = "topic",
        offset: i64 = "offset",
    }

    /// Header of 36.
    SendBack {
        offset: i64 = "offset",
        group: String = "group",
        delay_level: i32 = "delayLevel",
        origin_message_id: Option<String> = "originMsgId",
        origin_topic: Option<String> = "originTopic",
        unit_mode: Option<bool> = "unitMode",
        max_reconsume_times: Option<i32> = "maxReconsumeTimes",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_name_forms_say_the_same() {
        let send = Send {
            producer_group: "p",
            topic: "t",
            default_topic: "TBW102",
            default_topic_queues: 4,
            queue_id: 2,
            sys_flag: 1,
            born_timestamp: 9,
            flag: 7,
            properties: "a\u{1}b\u{2}",
            reconsume_times: 0,
            unit_mode: false,
            max_reconsume_times: Some(3),
            batch: true,
        };
        let mut short = Fields::new();
        send.encode(&mut short);
        assert_eq!(Send::decode(&short, SendNames::Short), Ok(send.clone()));
        let long: Fields =
            short.iter().map(|(name, value)| (LONG[usize::from(name.as_bytes()[0] - b'a')], value)).collect();
        assert_eq!(Send::decode(&long, SendNames::Long), Ok(send));
        assert_eq!(Send::decode(&long, SendNames::Short), Err(BadField::Missing { name: "producerGroup" }));
    }
}
