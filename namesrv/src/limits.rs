//! Bounds of the name server, each with its unit and its reason. Bounds of the wire are the protocol's.

use std::time::Duration;

/// Topics that are known at once. Apache's largest clusters report tens of thousands; a broker that sends
/// more than this is broken, and each topic costs up to a few hundred bytes in each encoded form.
pub const TOPICS_MAX: usize = 200_000;

/// Broker processes that are known at once, replicas counted one by one.
pub const BROKERS_MAX: usize = 4_096;

/// Bytes of a broker's, cluster's or zone's name and of an address; they are repeated in every route.
pub const NAME_BYTES_MAX: usize = 255;

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
