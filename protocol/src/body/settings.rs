//! Topics and groups as they are configured, and offsets as they are reported.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{DataVersion, SubscriptionData};

/// Bits of a topic's or broker's permission (`PermName`).
pub mod perm {
    /// New topics may take this topic's settings.
    pub const INHERIT: i32 = 1;
    /// May be written.
    pub const WRITE: i32 = 2;
    /// May be read.
    pub const READ: i32 = 4;
}

/// A topic (`TopicConfig`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicConfig {
    /// Its name.
    pub topic_name: String,
    /// Queues that are read.
    pub read_queue_nums: i32,
    /// Queues that are written.
    pub write_queue_nums: i32,
    /// See [`perm`].
    pub perm: i32,
    /// `SINGLE_TAG` or `MULTI_TAG`.
    pub topic_filter_type: String,
    /// Unit bits.
    pub topic_sys_flag: i32,
    /// Globally ordered.
    pub order: bool,
    /// Named attributes, such as `message.type`.
    pub attributes: BTreeMap<String, String>,
}

impl Default for TopicConfig {
    fn default() -> Self {
        Self {
            topic_name: String::new(),
            read_queue_nums: 16,
            write_queue_nums: 16,
            perm: perm::READ | perm::WRITE,
            topic_filter_type: String::from("SINGLE_TAG"),
            topic_sys_flag: 0,
            order: false,
            attributes: BTreeMap::new(),
        }
    }
}

impl TopicConfig {
    /// A readable and writable topic with `queues` queues.
    #[must_use]
    pub fn new(name: impl Into<String>, queues: i32) -> Self {
        Self { topic_name: name.into(), read_queue_nums: queues, write_queue_nums: queues, ..Self::default() }
    }
}

/// Body of 18.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicConfigs {
    /// The topics.
    pub topic_config_list: Vec<TopicConfig>,
}

/// All topics of a broker; also the form of `topics.json` and of the answer to 21.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicTable {
    /// By name.
    pub topic_config_table: BTreeMap<String, TopicConfig>,
    /// Changes with the table.
    pub data_version: DataVersion,
}

/// A consumer group (`SubscriptionGroupConfig`).
#[expect(clippy::struct_excessive_bools, reason = "the members of RocketMQ's document")]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GroupConfig {
    /// Its name.
    pub group_name: String,
    /// May consume at all.
    pub consume_enable: bool,
    /// Kept for the tools.
    pub consume_from_min_enable: bool,
    /// May broadcast.
    pub consume_broadcast_enable: bool,
    /// Kept for the tools.
    pub consume_message_orderly: bool,
    /// Queues of its retry topic; 0 drops what is sent back.
    pub retry_queue_nums: i32,
    /// Deliveries after the first before a message goes to the dead letters.
    pub retry_max_times: i32,
    /// Kept for the tools.
    pub group_retry_policy: serde_json::Value,
    /// Broker to read from.
    pub broker_id: i64,
    /// Broker to read from when far behind.
    pub which_broker_when_consume_slowly: i64,
    /// Tell the group's clients when one comes or goes.
    pub notify_consumer_ids_changed_enable: bool,
    /// Unit bits.
    pub group_sys_flag: i32,
    /// Minutes a client may take for a message.
    pub consume_timeout_minute: i32,
    /// Kept for the tools.
    pub subscription_data_set: Option<Vec<serde_json::Value>>,
    /// Named attributes.
    pub attributes: BTreeMap<String, String>,
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self {
            group_name: String::new(),
            consume_enable: true,
            consume_from_min_enable: true,
            consume_broadcast_enable: true,
            consume_message_orderly: false,
            retry_queue_nums: 1,
            retry_max_times: 16,
            group_retry_policy: serde_json::json!({"type": "CUSTOMIZED"}),
            broker_id: 0,
            which_broker_when_consume_slowly: 1,
            notify_consumer_ids_changed_enable: true,
            group_sys_flag: 0,
            consume_timeout_minute: 15,
            subscription_data_set: None,
            attributes: BTreeMap::new(),
        }
    }
}

impl GroupConfig {
    /// A group with RocketMQ's defaults.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { group_name: name.into(), ..Self::default() }
    }
}

/// Body of 225.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GroupConfigs {
    /// The groups.
    pub group_config_list: Vec<GroupConfig>,
}

/// All groups of a broker; also the form of `subscriptionGroup.json` and of the answer to 201.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GroupTable {
    /// By name.
    pub subscription_group_table: BTreeMap<String, GroupConfig>,
    /// Group, topic, and a bit set when the group must not read the topic.
    pub forbidden_table: BTreeMap<String, BTreeMap<String, i32>>,
    /// Changes with the table.
    pub data_version: DataVersion,
}

/// All offsets of all groups; also the form of `consumerOffset.json` and of the answer to 43.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OffsetTable {
    /// `topic@group` to queue id to offset.
    pub offset_table: BTreeMap<String, BTreeMap<i32, i64>>,
    /// Changes with the table.
    pub data_version: DataVersion,
}

/// One queue in the answer to 202 (`TopicOffset`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicOffset {
    /// First offset.
    pub min_offset: i64,
    /// Next offset.
    pub max_offset: i64,
    /// Store time of the last message, ms; 0 when empty.
    pub last_update_timestamp: i64,
}

/// One queue in the answer to 208 (`OffsetWrapper`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumeOffset {
    /// Next offset of the queue.
    pub broker_offset: i64,
    /// The group's stored offset.
    pub consumer_offset: i64,
    /// How far the group has pulled.
    pub pull_offset: i64,
    /// Store time of the last message consumed, ms.
    pub last_timestamp: i64,
}

/// Answer to 345.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GroupSubscription {
    /// What the group reads of the topic, if it is online.
    pub subscription_data: Option<SubscriptionData>,
    /// The group.
    pub group: String,
    /// The topic.
    pub topic: String,
}
