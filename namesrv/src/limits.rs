//! Bounds of the name server, each with its unit and its reason. Bounds of the wire are the protocol's.

use std::time::Duration;

use strata_protocol::limits::{DERIVED_TOPIC_CHARS_MAX, REGISTERED_TOPICS_MAX};

/// Topics that are known at once: as many as one registration may have. Each costs up to a few hundred bytes in
/// each encoded form.
pub const TOPICS_MAX: usize = REGISTERED_TOPICS_MAX;

/// Pairs of a topic and a broker that has queues of it. Forty thousand topics on fifty brokers are so many; each
/// costs about 150 bytes.
pub const PAIRS_MAX: usize = 2_000_000;

/// Broker processes that are known at once, replicas counted one by one.
pub const BROKERS_MAX: usize = 4_096;

/// Bytes of a broker's, cluster's or zone's name and of an address; they are repeated in every route.
pub const NAME_BYTES_MAX: usize = 255;

/// Bytes of a topic's name: the longest that brokers create, which is a group's retry topic.
pub const TOPIC_BYTES_MAX: usize = DERIVED_TOPIC_CHARS_MAX;

/// Lines that one name server logs in a second about requests, so that no peer fills the log; the rest is counted.
pub const LINES_PER_SECOND_MAX: u32 = 10;

/// Bytes of all names and values of the key-value configuration. The whole of it is rewritten with each
/// change, so it stays small enough to write in a few milliseconds.
pub const KV_BYTES_MAX: usize = 1024 * 1024;

/// Changes that wait for the disk. They come from operators, one at a time; more is answered as busy.
pub const DURABLE_CHANGES_QUEUED_MAX: usize = 64;

/// Bytes of the properties text in a request that changes settings. All settings together are shorter.
pub const SETTINGS_BYTES_MAX: usize = 16 * 1024;

/// Silence after which a broker is forgotten unless it asked for another span (Apache's default).
pub const BROKER_SILENCE: Duration = Duration::from_secs(120);

/// The longest silence that a broker may ask for, so that a wrong figure does not keep it forever.
pub const BROKER_SILENCE_MAX: Duration = Duration::from_secs(3_600);

/// How often silent brokers are looked for (`scanNotActiveBrokerInterval` of Apache).
pub const SCAN_INTERVAL: Duration = Duration::from_secs(5);

const _: () =
    assert!(SCAN_INTERVAL.as_secs() < BROKER_SILENCE.as_secs(), "silence is noticed soon after it lasts too long");
