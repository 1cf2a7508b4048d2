//! Bounds of the command line's own work, each with its unit and its reason.

use std::time::Duration;

use strata_protocol::limits::{FRAME_BYTES_MAX, HEADER_BYTES_MAX};

/// Bytes of a configuration file. Those of RocketMQ have a few hundred lines.
pub(crate) const CONFIG_BYTES_MAX: u64 = 1024 * 1024;

/// Bytes of a message body that `maxMessageSize` may allow: message and header share one frame.
pub(crate) const MESSAGE_BYTES_MAX: usize = FRAME_BYTES_MAX - HEADER_BYTES_MAX;

/// Bytes that the body of one message may unpack to. A small body can unpack to gigabytes; producers pack
/// bodies of a few MiB.
pub(crate) const UNPACKED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Queues of a topic that a command may ask for; brokers allow no more.
pub(crate) const QUEUES_MAX: i32 = 4_096;

/// Deliveries of a message that a group may ask for: at the longest delay that is twenty years of trying.
pub(crate) const RETRIES_MAX: i64 = 100_000;

/// Sends under way at once by default: enough to fill a connection, few enough to be answered in time.
pub(crate) const SENDS_IN_FLIGHT: usize = 64;

/// Sends under way at once at most; a broker answers more with busy.
pub(crate) const SENDS_IN_FLIGHT_MAX: usize = 4_096;

/// Messages that one pull asks for; brokers give fewer if their limits are lower.
pub(crate) const PULL_MESSAGES: i32 = 256;

/// Bytes that one pull asks for.
pub(crate) const PULL_BYTES: i32 = 4 * 1024 * 1024;

/// Messages that readers of a followed topic hold before the printer has taken them.
pub(crate) const FOLLOWED_MESSAGES_MAX: usize = 1_024;

/// How long a broker may hold a follower's pull.
pub(crate) const FOLLOW_HOLD: Duration = Duration::from_secs(15);

/// Pause before a follower asks again after a failure.
pub(crate) const FOLLOW_RETRY: Duration = Duration::from_secs(1);

/// How often a follower looks for new queues and brokers, as RocketMQ's clients do (`pollNameServerInterval`).
pub(crate) const ROUTE_INTERVAL: Duration = Duration::from_secs(30);

/// New queues that were found and are not read yet; the next look goes on when they are.
pub(crate) const NEW_QUEUES_MAX: usize = 16;

/// How often a follower with a group stores its progress.
pub(crate) const COMMIT_INTERVAL: Duration = Duration::from_secs(5);

/// Connections that `serverMaxConnections` may ask for: Linux gives a process no more descriptors by default.
pub(crate) const CONNECTIONS_WANTED_MAX: usize = 1_048_576;

/// Connections that a port takes however few descriptors there are: fewer would serve nobody, and those of
/// all ports leave some of the 1,024 that are usual at the least.
pub(crate) const CONNECTIONS_MIN: usize = 64;

/// Descriptors that connections leave to the store, which has a file for each segment open (1,500 are 1.5 TiB
/// by default), to the pages and to the runtime; half of all where that is less.
pub(crate) const RESERVED_DESCRIPTORS: u64 = 2_048;

/// Connections that the HTTP pages take at once; others wait. A few probes and scrapers come, each for one page.
pub(crate) const PAGE_CONNECTIONS_MAX: usize = 64;

/// Time that a connection to the pages may last, from its begin to the end of its one answer. Prometheus waits
/// 10 s for an answer.
pub(crate) const PAGE_MAX: Duration = Duration::from_secs(10);

/// Time that answers of pages under way have when the server ends.
pub(crate) const PAGES_DRAIN_MAX: Duration = Duration::from_secs(1);

/// Pause after a connection to the pages could not be taken: mostly no descriptor is left.
pub(crate) const PAGES_ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Time in which a server must be ready after its ports are bound.
pub(crate) const READY_MAX: Duration = Duration::from_secs(120);

/// Time that a broker waits for a name server to know it before it says that it is ready all the same.
pub(crate) const REGISTERED_MAX: Duration = Duration::from_secs(5);

/// How often readiness is looked at; a start takes well below a second.
pub(crate) const READY_INTERVAL: Duration = Duration::from_millis(5);

/// How often a producer asks whether the topic that it made come into being can be found.
pub(crate) const CREATED_INTERVAL: Duration = Duration::from_millis(10);

/// Connections of a bench: brokers take no more from one address, and a process has as many descriptors.
pub(crate) const BENCH_CONNECTIONS_MAX: u32 = 20_000;

/// Requests that a bench has under way on all connections: each takes some 60 bytes, and its message as many as
/// it has.
pub(crate) const BENCH_REQUESTS_IN_FLIGHT_MAX: usize = 1024 * 1024;

/// Sends that a bench has under way on a connection at a fixed rate: so many can be late before later ones wait.
pub(crate) const BENCH_OPEN_SENDS_IN_FLIGHT: usize = 1_024;

/// Bytes that a bench leaves unsent on a connection before it waits for room; a message may exceed it.
pub(crate) const BENCH_UNSENT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes that a read of a bench asks for at least: some answers.
pub(crate) const BENCH_READ_BYTES_MIN: usize = 4 * 1024;

/// Bytes that a read of a bench asks for at most: what the kernel holds of a fast broker.
pub(crate) const BENCH_READ_BYTES_MAX: usize = 512 * 1024;

/// Ready connections that a bench takes from the kernel at once.
pub(crate) const BENCH_EVENTS: usize = 256;

/// Requests under way at once while a bench looks for topics and offsets.
pub(crate) const BENCH_SETUP_REQUESTS_MAX: usize = 256;

/// Faults that a bench describes; beyond it they are counted.
pub(crate) const BENCH_FAULTS_LISTED_FAULTS_MAX: usize = 10;

/// Nanoseconds that a latency may have; a longer one counts as this.
pub(crate) const BENCH_LATENCY_NS_MAX: u64 = 600 * 1_000_000_000;

/// Connections times queues up to which a bench counts acknowledgements that overtook others, 16 bytes each.
pub(crate) const BENCH_ORDERS_QUEUES_MAX: usize = 1024 * 1024;

/// Queues whose end a bench asks for when it is over; with more, the first ones.
pub(crate) const BENCH_ENDS_QUEUES_MAX: usize = 16_384;

/// Time in which a broker must show more of what it acknowledged, until all is there: Apache's makes a file for each
/// new queue first, 16,000 of them in a minute.
pub(crate) const BENCH_SETTLE_MAX: Duration = Duration::from_secs(10);

/// Time without any answer after which a bench gives up; a garbage collection takes less.
pub(crate) const BENCH_ANSWER_MAX: Duration = Duration::from_secs(30);

/// The kernel's waits end up to so much late: a bench spins through the last stretch before a send.
pub(crate) const BENCH_SPIN_MAX: Duration = Duration::from_millis(2);

/// Delay of its own beyond which a bench's send counts as late.
pub(crate) const BENCH_LATE_MAX: Duration = Duration::from_millis(1);

/// Share of late sends beyond which a bench says that it was the bottleneck; p99 would hold them.
pub(crate) const BENCH_LATE_SENDS_SHARE_MAX: f64 = 0.01;

/// Share of a core beyond which a bench says that it was the bottleneck in a closed loop.
pub(crate) const BENCH_OWN_CORES_MAX: f64 = 0.9;

/// How often a bench shows its progress.
pub(crate) const BENCH_PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// Queues times groups that a bench reads, 150 bytes each; an opaque holds the number of one.
pub(crate) const BENCH_CURSORS_MAX: usize = 1024 * 1024;

/// Bytes of warm memory that the bench's probes copy to and from: more than the processor's caches hold.
pub(crate) const BENCH_FLOOR_LOG_BYTES: usize = 256 * 1024 * 1024;

/// Bytes of the file that the bench's disk probes write to: no batch comes to the same place soon again.
pub(crate) const BENCH_DISK_FILE_BYTES: usize = 64 * 1024 * 1024;

/// Bytes of one write while that file is made.
pub(crate) const BENCH_DISK_STEP_BYTES: usize = 1024 * 1024;

/// Topics that `strata bench` asks a broker to create at once: a quarter of what Strata takes.
pub(crate) const BENCH_CREATIONS_MAX: usize = 16;

/// Bytes of a line of `strata filter eval`: more than the longest expression and properties take, all of it escaped.
pub(crate) const FILTER_LINE_BYTES_MAX: usize = 1024 * 1024;

/// Bytes that `strata filter eval` reads at once.
pub(crate) const FILTER_READ_BYTES: usize = 256 * 1024;

/// Bytes of compiled expressions that `strata filter eval` keeps; beyond it all are forgotten.
pub(crate) const FILTER_CACHED_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Lines without a question that `strata filter eval` describes; beyond it they are counted.
pub(crate) const FILTER_FAULTS_LISTED_FAULTS_MAX: u64 = 10;

/// Turns of a thread of the runtime after which it looks at the tasks that all threads share. A thread's own list holds
/// 256, and of more busy connections than that the oldest are put there: looked at seldom, they wait for half a second
/// under overload while others go on; looked at every time, those in the thread's own list never have a turn.
pub(crate) const SHARED_QUEUE_TURNS: u32 = 2;

/// Seconds that a segment may wait until it is sealed for the cold tier: a year, which is never for most.
pub(crate) const COLD_SEAL_SECONDS_MAX: u64 = 365 * 24 * 3_600;

/// MiB of memory for what was read of the cold tier: below it one block of records would fill its part.
pub(crate) const COLD_CACHE_MEMORY_MIBS: std::ops::RangeInclusive<usize> = 64..=1024 * 1024;

/// MiB of disk for the same, if there is any: eight of its files.
pub(crate) const COLD_CACHE_DISK_MIBS_MIN: usize = 256;

/// MiB of disk for the same: 16 TiB, so that its bytes can be counted.
pub(crate) const COLD_CACHE_DISK_MIBS_MAX: usize = 16 * 1024 * 1024;

/// Time between two looks at a roll under way; the bar of its progress moves so often.
pub(crate) const ROLL_LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Time that a roll may take until `strata tier roll` gives up waiting: a TiB at half a core takes about as long.
pub(crate) const ROLL_MAX: Duration = Duration::from_secs(24 * 3_600);

/// Bytes of memory for the indexes that `strata tier describe` reads, and for what it needs of objects.
pub(crate) const TIER_READ_MEMORY_BYTES: usize = 256 * 1024 * 1024;

/// Queues that `strata tier describe` asks for at once: stores answer many as fast as one.
pub(crate) const TIER_QUEUES_AT_ONCE: usize = 8;

/// Messages whose lives `strata trace` tells at once.
#[cfg(feature = "sql")]
pub(crate) const TRACED_MESSAGES_MAX: usize = 10;

/// Minutes around a message in which the record of its batch is looked for.
#[cfg(feature = "sql")]
pub(crate) const TRACE_WINDOW_MINUTES: u32 = 10;

/// Lines that `strata sql` remembers.
#[cfg(feature = "sql")]
pub(crate) const SQL_HISTORY_LINES_MAX: usize = 1_000;

/// Bytes of a statement on standard input.
#[cfg(feature = "sql")]
pub(crate) const SQL_INPUT_BYTES_MAX: usize = 64 * 1024;

/// Characters of the name of a replay: it is part of names that brokers keep, and of a property of every message.
pub(crate) const REPLAY_NAME_CHARS_MAX: usize = 64;

/// Characters of a topic that the name of a replay is made of.
pub(crate) const REPLAY_TOPIC_CHARS_MAX: usize = 48;

/// Bytes a second that a replay may be told to keep to: a TiB, which no broker takes.
pub(crate) const REPLAY_BYTES_RATE_MAX: u64 = 1 << 40;

/// Queues that a replay reads and sends at once: as many messages are under way.
pub(crate) const REPLAY_QUEUES_AT_ONCE: usize = 64;

/// How often a replay tells how far each queue came; what was sent since is looked for by whoever goes on after a kill.
pub(crate) const REPLAY_COMMIT_INTERVAL: Duration = Duration::from_secs(1);

/// Time that a replay waits for a broker that is busy.
pub(crate) const REPLAY_BUSY_MAX: Duration = Duration::from_secs(30);

/// Pause before a replay sends again what a busy broker did not take.
pub(crate) const REPLAY_BUSY_PAUSE: Duration = Duration::from_millis(200);

/// Time that a pull of a replay may take at least: a broker answers within 10 s though the store of its tier is silent.
pub(crate) const REPLAY_PULL_MAX: Duration = Duration::from_secs(15);
