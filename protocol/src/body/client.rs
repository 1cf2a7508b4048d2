//! What clients say of themselves, and what brokers say of clients.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{MessageQueue, lenient};

/// Body of 34 (`HeartbeatData`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Heartbeat {
    /// The client.
    #[serde(rename = "clientID")]
    pub client_id: String,
    /// Groups it produces in.
    pub producer_data_set: Vec<ProducerData>,
    /// Groups it consumes in.
    pub consumer_data_set: Vec<ConsumerData>,
}

/// A producer group.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProducerData {
    /// Its name.
    pub group_name: String,
}

/// A consumer group as one of its clients has it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerData {
    /// Its name.
    pub group_name: String,
    /// `CONSUME_ACTIVELY` (pull), `CONSUME_PASSIVELY` (push) or `CONSUME_POP`.
    #[serde(deserialize_with = "lenient::consume_type")]
    pub consume_type: String,
    /// `CLUSTERING` or `BROADCASTING`.
    #[serde(deserialize_with = "lenient::message_model")]
    pub message_model: String,
    /// Where a group without offsets begins.
    #[serde(deserialize_with = "lenient::consume_from_where")]
    pub consume_from_where: String,
    /// What it reads.
    pub subscription_data_set: Vec<SubscriptionData>,
    /// Unit mode.
    pub unit_mode: bool,
}

/// A topic and an expression (`SubscriptionData`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionData {
    /// The removed class filter.
    pub class_filter_mode: bool,
    /// Topic.
    pub topic: String,
    /// The expression: `*`, tags joined by `||`, or SQL92.
    pub sub_string: String,
    /// The tags.
    #[serde(deserialize_with = "lenient::texts")]
    pub tags_set: Vec<String>,
    /// Their hash codes as the client computed them.
    #[serde(deserialize_with = "lenient::int32s")]
    pub code_set: Vec<i32>,
    /// The client's clock when it subscribed, ms.
    #[serde(deserialize_with = "lenient::int64")]
    pub sub_version: i64,
    /// `TAG` or `SQL92`.
    pub expression_type: Option<String>,
}

impl Default for SubscriptionData {
    fn default() -> Self {
        Self {
            class_filter_mode: false,
            topic: String::new(),
            sub_string: String::from("*"),
            tags_set: Vec::new(),
            code_set: Vec::new(),
            sub_version: 0,
            expression_type: Some(String::from("TAG")),
        }
    }
}

/// Body of 46.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CheckClient {
    /// The client.
    pub client_id: String,
    /// Its group.
    pub group: String,
    /// What is to be checked.
    pub subscription_data: SubscriptionData,
}

/// Body of 41 and 42.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LockQueues {
    /// The group.
    pub consumer_group: String,
    /// The client that wants the locks.
    pub client_id: String,
    /// Do not ask other brokers.
    pub only_this_broker: bool,
    /// The queues.
    pub mq_set: Vec<MessageQueue>,
}

/// Answer to 41.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LockedQueues {
    /// The queues that the client has locked now.
    #[serde(rename = "lockOKMQSet")]
    pub locked: Vec<MessageQueue>,
}

/// Answer to 38.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerIds {
    /// Client ids, in no order.
    pub consumer_id_list: Vec<String>,
}

/// One connection (`Connection`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClientConnection {
    /// The client.
    pub client_id: String,
    /// Its address.
    pub client_addr: String,
    /// Its language's name.
    pub language: String,
    /// Its version ordinal.
    pub version: i32,
}

/// Answer to 203.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerConnections {
    /// Who is connected.
    pub connection_set: Vec<ClientConnection>,
    /// What the group reads.
    pub subscription_table: BTreeMap<String, SubscriptionData>,
    /// See [`ConsumerData::consume_type`].
    pub consume_type: String,
    /// See [`ConsumerData::message_model`].
    pub message_model: String,
    /// See [`ConsumerData::consume_from_where`].
    pub consume_from_where: String,
}

/// Answer to 204.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProducerConnections {
    /// Who is connected.
    pub connection_set: Vec<ClientConnection>,
}

/// One producer in the answer to 328.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ProducerInfo {
    /// The client.
    #[serde(rename = "clientId")]
    pub client_id: String,
    /// Its address.
    #[serde(rename = "remoteIP")]
    pub remote_ip: String,
    /// Its language's name.
    pub language: String,
    /// Its version ordinal.
    pub version: i32,
    /// When it last spoke, ms.
    #[serde(rename = "lastUpdateTimestamp")]
    pub last_update_timestamp: i64,
}
