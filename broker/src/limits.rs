//! Bounds of the broker, each with its unit and its reason.

/// Pulls that may wait for messages at a time. A parked pull costs well below 2 KiB.
pub const PARKED_PULLS_MAX: usize = 100_000;

/// Queues of which one connection may have pulls waiting once half of all places are taken: one client of many
/// queues must not take the rest.
pub const PARKED_PULLS_PER_CONNECTION_MAX: usize = 10_000;

/// Longest time a pull is held, whatever the client asks, ms. Clients ask for 15 to 30 s.
pub const PULL_HOLD_MS_MAX: i64 = 60_000;

/// Messages of one pull, whatever the client asks.
pub const PULL_MESSAGES_MAX: i32 = 1_024;

/// Bytes of one pull's answer, whatever the client asks: an answer must fit a frame.
pub const PULL_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Time that a pull looks at messages where its connection and others wait for it, us; it goes on in a turn of its own.
/// Thousands of messages at a fraction of a microsecond each.
pub const PULL_AT_ONCE_US_MAX: u64 = 1_000;

/// Time that a pull looks at messages in its turn while nothing matches, ms; then the client is told where to go on.
/// A hundred thousand messages and more; other pulls wait for no longer.
pub const PULL_SCAN_MS_MAX: u64 = 20;

/// Bytes of records that a pull looks into in its turn while nothing matches: what a slow disk gives in a second.
pub const PULL_SCAN_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Time that counting a group's lag in one queue may take, ms; beyond it the figure is an estimate.
pub const LAG_QUEUE_MS_MAX: u64 = 2;

/// Time that counting all groups' lags may take for one page of figures, ms; a scrape must not hold the machine up.
pub const LAG_PAGE_MS_MAX: u64 = 10;

/// Expressions that are kept compiled although nobody holds them: clients that name theirs in each pull.
pub const FILTERS_RECENT_MAX: usize = 1_024;

/// Bytes of the text of those. Compiled they take some thirty times as much.
pub const FILTERS_RECENT_BYTES_MAX: usize = 1024 * 1024;

/// Expressions that are known not to compile, at 16 KiB of text each at most.
pub const FILTERS_REFUSED_MAX: usize = 256;

/// Groups whose trouble with expressions is counted: each is a series of the figures, and whoever asks whether an
/// expression compiles may name any group.
pub const FILTER_GROUPS_MAX: usize = 10_000;

/// Warnings about expressions, by group and cause, that are remembered so that each is logged once.
pub const FILTER_WARNINGS_MAX: usize = 10_000;

/// Messages of one query by key (`maxNum` of RocketMQ's index search).
pub const QUERY_MESSAGES_MAX: usize = 64;

/// Topics of one broker.
pub const TOPICS_MAX: usize = 100_000;

/// Groups of one broker.
pub const GROUPS_MAX: usize = 100_000;

/// Queues of one topic.
pub const TOPIC_QUEUES_MAX: i32 = 4_096;

/// Topics and groups that one client address may make come into being within [`CREATION_WINDOW_MS`].
pub const CREATIONS_PER_WINDOW_MAX: usize = 2_000;

/// The window for [`CREATIONS_PER_WINDOW_MAX`], ms.
pub const CREATION_WINDOW_MS: i64 = 60_000;

/// Bytes of a heartbeat.
pub const HEARTBEAT_BYTES_MAX: usize = 1024 * 1024;

/// Groups and subscriptions in one heartbeat.
pub const HEARTBEAT_ENTRIES_MAX: usize = 1_000;

/// Queues in one lock request, and locked queues of one group.
pub const LOCK_QUEUES_MAX: usize = 16_384;

/// A client that said nothing for this long is gone, ms (`channelExpiredTimeout`).
pub const CLIENT_SILENCE_MS_MAX: i64 = 120_000;

/// A queue lock that was not renewed for this long is free, ms (`REBALANCE_LOCK_MAX_LIVE_TIME`).
pub const QUEUE_LOCK_MS_MAX: i64 = 60_000;

/// Sends that may wait for a flush at a time; more are answered with `SYSTEM_BUSY`.
pub const UNFLUSHED_SENDS_MAX: usize = 16_384;

/// Pulls at a time that read from disk. More would only queue up in the disk.
pub const COLD_READS_MAX: usize = 16;

/// Pulls that wait for their turn to read from disk, at about 500 bytes each; more are answered with `SYSTEM_BUSY`.
pub const COLD_PULLS_MAX: usize = 10_000;

/// Requests at a time that search the indexes of all segments, write settings or delete segments; more are
/// answered with `SYSTEM_BUSY`. Many times what operators' tools send.
pub const BLOCKING_REQUESTS_MAX: usize = 64;

/// Longest wait for a flush before the producer is told, ms (`syncFlushTimeout`).
pub const FLUSH_WAIT_MS_MAX: u64 = 5_000;

/// Time a request that a broker relays to a client may take, ms.
pub const RELAY_MS_MAX: u64 = 10_000;

/// Due messages that one round of one delay level delivers, so that a full level cannot starve the others.
pub const SCHEDULE_BATCH_MESSAGES_MAX: usize = 256;

/// Moments of one delay level of which it is known how far it was delivered, until they are in the cold tier.
pub const LEVEL_MARKS_MAX: usize = 1_024;

/// Seconds that an object of the cold tier has to be needed by nobody at least before it is deleted: readers that hold
/// an older manifest finish meanwhile.
pub const GRACE_SECONDS_MIN: u64 = 1;

/// Queues of one question about a group's progress of which the cold tier is asked when the message that was consumed
/// last was stored; it is left out for the others. A group is that far back in few of its queues, or for a while.
pub const COLD_TIMES_MAX: usize = 256;

/// So many of them at once.
pub const COLD_TIMES_AT_ONCE_MAX: usize = 8;

/// Time for all of them, ms: clients wait five seconds for an answer.
pub const COLD_TIMES_MS_MAX: u64 = 2_000;

/// Spans of the trail that wait to be written, some 300 bytes each; what comes beyond is counted as lost.
pub const TRAIL_SPANS_MAX: usize = 16_384;

/// Bytes of a message's id in the broker's own trace records; a longer one is left out.
pub const TRAIL_ID_BYTES_MAX: usize = 128;

/// Bytes of one message of the broker's own trace records, before it is compressed; the last record may go beyond.
pub const TRAIL_BODY_BYTES_MAX: usize = 64 * 1024;

/// Queues and messages that one message of records is found by: the log's index takes so many keys of a message.
pub const TRAIL_KEYS_MAX: usize = 64;

/// Times that a pull is tried in the tier and the log in turns, its offset having gone from the one to the other meanwhile.
pub const TIERS_TRIED_TIMES_MAX: usize = 4;

/// Pulls at a time that read out of the cold tier. Each waits for a store most of its time.
pub const REPLAYS_MAX: usize = 32;
