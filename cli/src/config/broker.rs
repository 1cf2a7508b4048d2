//! The keys of a broker's configuration, by RocketMQ's names, and the options they become.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use strata_broker::{BrokerOptions, Sampling};
use strata_store::FlushMode;
use strata_store::limits::{SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN};

use super::cold::{self, ColdDraft};
use super::connections::{self, Connections, HasConnections};
use super::sql::{self, SqlAddresses, SqlDraft};
use super::unserved::{self, Unserved};
use super::values::{addresses, name, number, parsed, truth};
use super::{Key, Role};
use crate::limits::{MESSAGE_BYTES_MAX, QUEUES_MAX};

/// Where figures are given out.
#[derive(Debug, Clone, Copy)]
struct Metrics {
    enabled: bool,
    /// `None` is the broker's.
    listen: Option<IpAddr>,
    port: u16,
}

/// A broker's configuration while it is put together.
#[derive(Debug)]
pub(crate) struct BrokerDraft {
    options: BrokerOptions,
    metrics: Metrics,
    connections: Connections,
    /// `flushDiskType` and `flushIntervalCommitLog` make one setting; they come in any order.
    sync_flush: bool,
    flush_interval_ms: u64,
    pub(crate) cold: ColdDraft,
    pub(super) sql: SqlDraft,
}

/// Bytes behind which a flush begins without waiting for its interval.
const FLUSH_BYTES: u64 = 16 << 20;

impl Default for BrokerDraft {
    fn default() -> Self {
        let mut options = BrokerOptions::default();
        options.identity.port = 10_911;
        let metrics = Metrics { enabled: true, listen: None, port: 5_557 };
        Self {
            options,
            metrics,
            connections: Connections::default(),
            sync_flush: false,
            flush_interval_ms: 500,
            cold: ColdDraft::default(),
            sql: SqlDraft::default(),
        }
    }
}

impl BrokerDraft {
    /// The options that the draft describes.
    pub(crate) fn options(&self) -> BrokerOptions {
        let mut options = self.options.clone();
        options.cold = self.cold.settings(&options.data);
        options.store.flush = if self.sync_flush {
            FlushMode::Sync
        } else {
            FlushMode::Async { interval_ms: self.flush_interval_ms, bytes_max: FLUSH_BYTES }
        };
        options
    }

    /// Where figures are given out, if they are: on the broker's address unless another was given.
    pub(crate) fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics.enabled.then(|| SocketAddr::new(self.metrics_listen(), self.metrics.port))
    }

    /// The metrics port, also when no figures are given out.
    pub(super) fn metrics_port(&self) -> u16 {
        self.metrics.port
    }

    /// Where SQL is answered, if it is.
    pub(crate) fn sql_addresses(&self) -> Option<SqlAddresses> {
        self.sql.addresses(self.metrics.port)
    }

    fn metrics_listen(&self) -> IpAddr {
        self.metrics.listen.unwrap_or(self.options.listen)
    }

    /// Puts the one name server in place that the process itself runs.
    pub(crate) fn register_at(&mut self, namesrv: SocketAddr) {
        self.options.name_servers = vec![namesrv.to_string()];
    }
}

impl HasConnections for BrokerDraft {
    fn connections(&self) -> &Connections {
        &self.connections
    }

    fn connections_mut(&mut self) -> &mut Connections {
        &mut self.connections
    }
}

const IP: &str = "an IP address";

impl Role for BrokerDraft {
    const UNSERVED: &'static [Unserved] = unserved::BROKER;
    const NAMES: &'static str = include_str!("names_broker.txt");
    const KEYS: &'static [Key<Self>] = &[
        Key {
            name: "brokerClusterName",
            meaning: "the cluster it belongs to",
            apply: |d, v| name(&mut d.options.identity.cluster, v),
            show: |d| d.options.identity.cluster.clone(),
        },
        Key {
            name: "brokerName",
            meaning: "its name; replicas share it",
            apply: |d, v| name(&mut d.options.identity.name, v),
            show: |d| d.options.identity.name.clone(),
        },
        Key {
            name: "brokerId",
            meaning: "0 is the master",
            apply: |d, v| {
                if v != "0" {
                    return Err(String::from("0; replicas are not served yet"));
                }
                d.options.identity.id = 0;
                Ok(())
            },
            show: |d| d.options.identity.id.to_string(),
        },
        Key {
            name: "brokerIP1",
            meaning: "the address that clients are told",
            apply: |d, v| parsed(&mut d.options.identity.ip, v, IP),
            show: |d| d.options.identity.ip.to_string(),
        },
        Key {
            name: "bindAddress",
            meaning: "the address it listens on",
            apply: |d, v| parsed(&mut d.options.listen, v, IP),
            show: |d| d.options.listen.to_string(),
        },
        Key {
            name: "listenPort",
            meaning: "its port; the fast port is two below; 0 takes free ones",
            apply: |d, v| number(&mut d.options.identity.port, v, 0..=u16::MAX),
            show: |d| d.options.identity.port.to_string(),
        },
        connections::all(),
        connections::of_one_address(),
        Key {
            name: "namesrvAddr",
            meaning: "the name servers it registers with",
            apply: |d, v| addresses(&mut d.options.name_servers, v),
            show: |d| d.options.name_servers.join(";"),
        },
        Key {
            name: "storePathRootDir",
            meaning: "its data folder",
            apply: |d, v| {
                if v.is_empty() {
                    return Err(String::from("the path of a folder"));
                }
                d.options.data = PathBuf::from(v);
                Ok(())
            },
            show: |d| d.options.data.display().to_string(),
        },
        Key {
            name: "brokerPermission",
            meaning: "2 may be written, 4 may be read, 6 both",
            apply: |d, v| match v {
                "2" | "4" | "6" => number(&mut d.options.permission, v, 2..=6),
                _ => Err(String::from("2, 4 or 6")),
            },
            show: |d| d.options.permission.to_string(),
        },
        Key {
            name: "regionId",
            meaning: "the region that messages are marked with",
            apply: |d, v| name(&mut d.options.region, v),
            show: |d| d.options.region.clone(),
        },
        Key {
            name: "mappedFileSizeCommitLog",
            meaning: "bytes of a segment of the log",
            apply: |d, v| number(&mut d.options.store.segment_bytes, v, SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX),
            show: |d| d.options.store.segment_bytes.to_string(),
        },
        Key {
            name: "flushDiskType",
            meaning: "when a message is on disk: before or soon after its producer is answered",
            apply: |d, v| {
                d.sync_flush = match v {
                    "SYNC_FLUSH" => true,
                    "ASYNC_FLUSH" => false,
                    _ => return Err(String::from("ASYNC_FLUSH or SYNC_FLUSH")),
                };
                Ok(())
            },
            show: |d| String::from(if d.sync_flush { "SYNC_FLUSH" } else { "ASYNC_FLUSH" }),
        },
        Key {
            name: "flushIntervalCommitLog",
            meaning: "milliseconds that ASYNC_FLUSH may be behind",
            apply: |d, v| number(&mut d.flush_interval_ms, v, 1..=60_000),
            show: |d| d.flush_interval_ms.to_string(),
        },
        Key {
            name: "fileReservedTime",
            meaning: "hours that messages are kept",
            apply: |d, v| number(&mut d.options.store.retention_hours, v, 1..=876_000),
            show: |d| d.options.store.retention_hours.to_string(),
        },
        Key {
            name: "retentionBytes",
            meaning: "bytes of the log above which the oldest messages go early; 0 for no such bound",
            apply: |d, v| {
                let mut bytes = 0;
                number(&mut bytes, v, 0..=i64::MAX as u64)?;
                d.options.store.log_bytes_max = Some(bytes).filter(|bytes| *bytes > 0);
                Ok(())
            },
            show: |d| d.options.store.log_bytes_max.unwrap_or(0).to_string(),
        },
        Key {
            name: "diskMaxUsedSpaceRatio",
            meaning: "percent of the disk in use at which old messages go early",
            apply: |d, v| number(&mut d.options.store.disk_used_percent_max, v, 10..=95),
            show: |d| d.options.store.disk_used_percent_max.to_string(),
        },
        cold::url(),
        cold::single_writer(),
        cold::seal_seconds(),
        cold::cpu_percent(),
        cold::bytes_per_second(),
        cold::retention(),
        cold::grace_seconds(),
        cold::cache_memory(),
        cold::cache_disk(),
        Key {
            name: "maxMessageSize",
            meaning: "bytes of a message's body",
            apply: |d, v| number(&mut d.options.store.message_bytes_max, v, 1..=MESSAGE_BYTES_MAX),
            show: |d| d.options.store.message_bytes_max.to_string(),
        },
        Key {
            name: "autoCreateTopicEnable",
            meaning: "sending to a missing topic creates it",
            apply: |d, v| truth(&mut d.options.topics.auto_create_topics, v),
            show: |d| d.options.topics.auto_create_topics.to_string(),
        },
        Key {
            name: "autoCreateSubscriptionGroup",
            meaning: "a consumer's missing group is created",
            apply: |d, v| truth(&mut d.options.topics.auto_create_groups, v),
            show: |d| d.options.topics.auto_create_groups.to_string(),
        },
        Key {
            name: "defaultTopicQueueNums",
            meaning: "queues of a topic that sending creates, at most",
            apply: |d, v| number(&mut d.options.topics.default_queues, v, 1..=QUEUES_MAX),
            show: |d| d.options.topics.default_queues.to_string(),
        },
        Key {
            name: "messageDelayLevel",
            meaning: "the delays of levels 1, 2, ..",
            apply: |d, v| delay_levels(v).map(|()| v.clone_into(&mut d.options.topics.delay_levels)),
            show: |d| d.options.topics.delay_levels.clone(),
        },
        Key {
            name: "traceTopicEnable",
            meaning: "traces of clients are kept",
            apply: |d, v| truth(&mut d.options.topics.trace_topic, v),
            show: |d| d.options.topics.trace_topic.to_string(),
        },
        Key {
            name: "traceRecords",
            meaning: "records of what the broker knows of messages' ways: full, off, or N for one in N",
            apply: |d, v| {
                let read = Sampling::parse(v).ok_or_else(|| String::from("full, off, or a number from 1 on"))?;
                d.options.topics.trace_records = read;
                Ok(())
            },
            show: |d| d.options.topics.trace_records.to_string(),
        },
        Key {
            name: "longPollingEnable",
            meaning: "a pull that finds nothing waits for messages",
            apply: |d, v| truth(&mut d.options.pull.long_polling, v),
            show: |d| d.options.pull.long_polling.to_string(),
        },
        Key {
            name: "shortPollingTimeMills",
            meaning: "milliseconds that it waits otherwise",
            apply: |d, v| number(&mut d.options.pull.short_poll_ms, v, 1..=60_000),
            show: |d| d.options.pull.short_poll_ms.to_string(),
        },
        Key {
            name: "maxTransferCountOnMessageInMemory",
            meaning: "messages in one answer to a pull",
            apply: |d, v| number(&mut d.options.pull.messages_max, v, 1..=1_024),
            show: |d| d.options.pull.messages_max.to_string(),
        },
        Key {
            name: "maxTransferBytesOnMessageInMemory",
            meaning: "bytes in one answer to a pull",
            apply: |d, v| number(&mut d.options.pull.bytes_max, v, 1..=MESSAGE_BYTES_MAX),
            show: |d| d.options.pull.bytes_max.to_string(),
        },
        Key {
            name: "enablePropertyFilter",
            meaning: "expressions over properties (SQL92) are served",
            apply: |d, v| truth(&mut d.options.filters.sql, v),
            show: |d| d.options.filters.sql.to_string(),
        },
        Key {
            name: "filterSupportRetry",
            meaning: "messages that come again are held against them too",
            apply: |d, v| truth(&mut d.options.filters.retries, v),
            show: |d| d.options.filters.retries.to_string(),
        },
        Key {
            name: "waitTimeMillsInSendQueue",
            meaning: "milliseconds that a send may wait for a busy broker before it is refused",
            apply: |d, v| number(&mut d.options.patience.send_ms, v, 1..=60_000),
            show: |d| d.options.patience.send_ms.to_string(),
        },
        Key {
            name: "waitTimeMillsInPullQueue",
            meaning: "the same for a pull",
            apply: |d, v| number(&mut d.options.patience.pull_ms, v, 1..=60_000),
            show: |d| d.options.patience.pull_ms.to_string(),
        },
        Key {
            name: "metricsExporterType",
            meaning: "PROM gives figures out on the metrics port",
            apply: |d, v| {
                d.metrics.enabled = match v {
                    "PROM" => true,
                    "DISABLE" => false,
                    _ => return Err(String::from("PROM or DISABLE; other exporters are not served")),
                };
                Ok(())
            },
            show: |d| String::from(if d.metrics.enabled { "PROM" } else { "DISABLE" }),
        },
        Key {
            name: "metricsPromExporterHost",
            meaning: "the address that figures are given out on; that of bindAddress when not given",
            apply: |d, v| {
                let mut listen = d.options.listen;
                if !v.is_empty() {
                    parsed(&mut listen, v, IP)?;
                    d.metrics.listen = Some(listen);
                }
                Ok(())
            },
            show: |d| d.metrics_listen().to_string(),
        },
        Key {
            name: "metricsPromExporterPort",
            meaning: "the metrics port; 0 takes a free one",
            apply: |d, v| number(&mut d.metrics.port, v, 0..=u16::MAX),
            show: |d| d.metrics.port.to_string(),
        },
        sql::enable(),
        sql::listen(),
        sql::port(),
        sql::postgres_port(),
    ];
}

/// Checks `1s 5m 2h 1d`; the store reads them again by the same rule.
fn delay_levels(text: &str) -> Result<(), String> {
    const LEVELS_MAX: usize = 64;
    let legal = |word: &str| {
        let split = word.len() - word.chars().next_back().map_or(0, char::len_utf8);
        let (number, unit) = word.split_at(split);
        matches!(unit, "s" | "m" | "h" | "d") && number.parse::<u32>().is_ok_and(|number| number > 0)
    };
    let words: Vec<&str> = text.split_whitespace().collect();
    if words.is_empty() || words.len() > LEVELS_MAX || !words.iter().all(|word| legal(word)) {
        return Err(format!("1 to {LEVELS_MAX} delays such as 1s 5m 2h 1d, blanks between"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{ConfigError, Effective, Origin};
    use super::*;

    fn with(pairs: &[(&str, &str)]) -> Result<Effective<BrokerDraft>, ConfigError> {
        let mut effective = Effective::default();
        for (key, value) in pairs {
            effective.take(key, value, Origin::Flag("--test"))?;
        }
        Ok(effective)
    }

    #[test]
    fn values_act_and_show_themselves() {
        for key in BrokerDraft::KEYS {
            let shown = (key.show)(&BrokerDraft::default());
            let mut draft = BrokerDraft::default();
            if shown.is_empty() {
                continue;
            }
            assert_eq!((key.apply)(&mut draft, &shown), Ok(()), "{} takes its own default {shown}", key.name);
            assert_eq!((key.show)(&draft), shown, "{}", key.name);
        }
        let effective = with(&[("flushIntervalCommitLog", "20"), ("flushDiskType", "ASYNC_FLUSH")]).unwrap();
        assert_eq!(effective.draft.options().store.flush, FlushMode::Async { interval_ms: 20, bytes_max: FLUSH_BYTES });
        assert_eq!(with(&[("flushDiskType", "SYNC_FLUSH")]).unwrap().draft.options().store.flush, FlushMode::Sync);
    }

    #[test]
    fn wrong_values_say_what_is_allowed() {
        let text = |pairs| with(pairs).err().map(|error| error.to_string()).unwrap_or_default();
        assert_eq!(
            text(&[("listenPort", "70000")]),
            "--test: listenPort=70000 is not allowed: a whole number from 0 to 65535"
        );
        assert!(
            text(&[("messageDelayLevel", "1s 5x")]).ends_with("1 to 64 delays such as 1s 5m 2h 1d, blanks between")
        );
        assert!(text(&[("brokerId", "1")]).ends_with("0; replicas are not served yet"));
        assert!(text(&[("aclEnable", "true")]).starts_with("--test: aclEnable=true cannot be served: "));
        assert!(text(&[("brokerRole", "SLAVE")]).contains("replication is not served yet"));
    }

    #[test]
    fn keys_that_do_nothing_are_told() {
        let told = with(&[("brokerNmae", "x"), ("deleteWhen", "04"), ("popPollingSize", "1"), ("aclEnable", "false")]);
        assert_eq!(
            told.unwrap().warnings,
            [
                "--test: brokerNmae is no known key; did you mean brokerName?",
                "--test: deleteWhen=04 has no effect: expired segments go when they expire, at any hour",
                "--test: popPollingSize is a key of RocketMQ that has no effect here",
            ]
        );
    }
}
