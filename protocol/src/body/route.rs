//! Where topics are, as name servers tell it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Answer to 105 (`TopicRouteData`). The name server writes its own two encodings of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicRoute {
    /// `broker:queues;..` for globally ordered topics.
    pub order_topic_conf: Option<String>,
    /// Queues by broker.
    pub queue_datas: Vec<QueueData>,
    /// The brokers.
    pub broker_datas: Vec<BrokerData>,
}

/// A topic's queues on one broker.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueueData {
    /// The broker.
    pub broker_name: String,
    /// Queues that are read.
    pub read_queue_nums: i32,
    /// Queues that are written.
    pub write_queue_nums: i32,
    /// See [`super::perm`].
    pub perm: i32,
    /// Unit bits.
    pub topic_sys_flag: i32,
}

/// A broker name and the addresses of its replicas.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerData {
    /// Its cluster.
    pub cluster: String,
    /// Its name.
    pub broker_name: String,
    /// By broker id; 0 is the master.
    pub broker_addrs: BTreeMap<i64, String>,
    /// Its zone, if it has one.
    pub zone_name: Option<String>,
    /// A slave may act as master.
    pub enable_acting_master: bool,
}

/// Answer to 106 (`ClusterInfo`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterInfo {
    /// By broker name.
    pub broker_addr_table: BTreeMap<String, BrokerData>,
    /// Broker names by cluster.
    pub cluster_addr_table: BTreeMap<String, Vec<String>>,
}

/// A string map (`KVTable`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct KvTable {
    /// The map.
    pub table: BTreeMap<String, String>,
}
