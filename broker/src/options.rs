//! What an operator decides: the broker's settings, with RocketMQ's defaults but where a field says otherwise.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use strata_protocol::body::perm;
use strata_protocol::limits::BODY_BYTES_MAX;
use strata_store::FlushMode;
use strata_tiering::cold::CacheOptions;
use strata_tiering::expire::Keep;
use strata_tiering::limits::GRACE;
use strata_tiering::pace::Budget;

use crate::trail::Sampling;

/// Everything a broker is told at its start.
#[derive(Debug, Clone)]
pub struct BrokerOptions {
    /// Who it is.
    pub identity: Identity,
    /// Address it listens on.
    pub listen: IpAddr,
    /// Name servers, `host:port` each (`namesrvAddr`).
    pub name_servers: Vec<String>,
    /// Its data folder (`storePathRootDir`).
    pub data: PathBuf,
    /// See [`perm`] (`brokerPermission`).
    pub permission: i32,
    /// Told to clients as `MSG_REGION` (`regionId`).
    pub region: String,
    /// The log.
    pub store: StoreSettings,
    /// Topics and groups.
    pub topics: TopicSettings,
    /// Reading.
    pub pull: PullSettings,
    /// How long requests may wait.
    pub patience: Patience,
    /// Expressions over properties.
    pub filters: FilterSettings,
    /// The cold tier; what is older than the log keeps is gone without one.
    pub cold: Option<ColdSettings>,
}

/// Settings of the cold tier. Which store it is in is told when the broker is opened.
#[derive(Debug, Clone)]
pub struct ColdSettings {
    /// The operator says that no other broker of this name writes there (`tieredSingleWriter`): needed for stores
    /// whose conditional puts are not atomic.
    pub single_writer: bool,
    /// Age of the active segment's first message at which it is sealed although it is not full, s
    /// (`tieredSealSeconds`).
    pub seal_after_s: u64,
    /// What rolling may take of a core and of the network (`tieredCpuPercent`, `tieredBytesPerSecond`).
    pub budget: Budget,
    /// How long messages of a topic are kept there that has no rule of its own (`retention.cold`).
    pub keep: Keep,
    /// How long an object stays that nobody needs any more, s (`tieredGraceSeconds`).
    pub grace_s: u64,
    /// What is kept of objects that were read (`tieredCacheMemoryMiB`, `tieredCacheDiskMiB`).
    pub cache: CacheOptions,
}

impl Default for ColdSettings {
    fn default() -> Self {
        Self {
            single_writer: false,
            seal_after_s: 3_600,
            budget: Budget::default(),
            keep: Keep::default(),
            grace_s: GRACE.as_secs(),
            cache: CacheOptions::default(),
        }
    }
}

/// Name and address of a broker.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Its cluster (`brokerClusterName`).
    pub cluster: String,
    /// Its name (`brokerName`).
    pub name: String,
    /// 0: master (`brokerId`).
    pub id: i64,
    /// The address that clients are told (`brokerIP1`).
    pub ip: IpAddr,
    /// The port that clients are told. [`Broker::open`](crate::Broker::open) must know it.
    pub port: u16,
}

/// Settings of the log.
#[derive(Debug, Clone)]
pub struct StoreSettings {
    /// Bytes of a segment (`mappedFileSizeCommitLog`).
    pub segment_bytes: u64,
    /// When messages are on disk (`flushDiskType`).
    pub flush: FlushMode,
    /// Hours a segment is kept (`fileReservedTime`).
    pub retention_hours: u64,
    /// Bytes of the log above which the oldest segments are deleted early; no such bound when `None`.
    pub log_bytes_max: Option<u64>,
    /// Percent of the disk in use at which segments are deleted early (`diskMaxUsedSpaceRatio`).
    pub disk_used_percent_max: u32,
    /// Bytes of a message body (`maxMessageSize`).
    pub message_bytes_max: usize,
}

/// Settings of topics and groups.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own that operators know by name")]
#[derive(Debug, Clone)]
pub struct TopicSettings {
    /// Sending to a missing topic creates it (`autoCreateTopicEnable`).
    pub auto_create_topics: bool,
    /// A missing group is created (`autoCreateSubscriptionGroup`).
    pub auto_create_groups: bool,
    /// Queues of created topics, at most (`defaultTopicQueueNums`).
    pub default_queues: i32,
    /// The delays of levels 1, 2, .. (`messageDelayLevel`).
    pub delay_levels: String,
    /// Keep traces of clients (`traceTopicEnable`). RocketMQ's default is off.
    pub trace_topic: bool,
    /// Of which messages the broker keeps trace records itself (`traceRecords`), where a topic does not say.
    pub trace_records: Sampling,
}

/// Settings of reading.
#[derive(Debug, Clone)]
pub struct PullSettings {
    /// Hold pulls that find nothing (`longPollingEnable`).
    pub long_polling: bool,
    /// How long they are held otherwise, ms (`shortPollingTimeMills`).
    pub short_poll_ms: u64,
    /// Messages of one answer (`maxTransferCountOnMessageInMemory`). RocketMQ gives 32 however many a client
    /// asks for; here it gets what it asked for, as far as the bytes allow.
    pub messages_max: usize,
    /// Bytes of one answer (`maxTransferBytesOnMessageInMemory`).
    pub bytes_max: usize,
}

/// Settings of expressions over properties.
#[derive(Debug, Clone, Copy)]
pub struct FilterSettings {
    /// They are served (`enablePropertyFilter`). RocketMQ's default is off.
    pub sql: bool,
    /// Messages that come again are held against them too (`filterSupportRetry`). RocketMQ's default is off.
    pub retries: bool,
}

/// How long a request may lie unread by a busy broker before it is refused with `SYSTEM_BUSY`.
#[derive(Debug, Clone)]
pub struct Patience {
    /// For sends and messages given back, ms (`waitTimeMillsInSendQueue`).
    pub send_ms: u64,
    /// For pulls, ms (`waitTimeMillsInPullQueue`).
    pub pull_ms: u64,
}

impl Default for BrokerOptions {
    fn default() -> Self {
        Self {
            identity: Identity::default(),
            listen: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            name_servers: Vec::new(),
            data: PathBuf::from("data"),
            permission: perm::READ | perm::WRITE,
            region: String::from("DefaultRegion"),
            store: StoreSettings::default(),
            topics: TopicSettings::default(),
            pull: PullSettings::default(),
            patience: Patience::default(),
            filters: FilterSettings::default(),
            cold: None,
        }
    }
}

impl Default for Identity {
    fn default() -> Self {
        Self {
            cluster: String::from("DefaultCluster"),
            name: String::from("broker-a"),
            id: 0,
            ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 0,
        }
    }
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            segment_bytes: 1 << 30,
            flush: FlushMode::Async { interval_ms: 500, bytes_max: 16 << 20 },
            retention_hours: 72,
            log_bytes_max: None,
            disk_used_percent_max: 75,
            message_bytes_max: BODY_BYTES_MAX,
        }
    }
}

impl Default for TopicSettings {
    fn default() -> Self {
        Self {
            auto_create_topics: true,
            auto_create_groups: true,
            default_queues: 8,
            delay_levels: String::from("1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h"),
            trace_topic: true,
            trace_records: Sampling::FULL,
        }
    }
}

impl Default for FilterSettings {
    fn default() -> Self {
        Self { sql: true, retries: true }
    }
}

impl Default for Patience {
    fn default() -> Self {
        Self { send_ms: 200, pull_ms: 5_000 }
    }
}

impl Default for PullSettings {
    fn default() -> Self {
        Self { long_polling: true, short_poll_ms: 1_000, messages_max: 1_024, bytes_max: 256 * 1024 }
    }
}
