//! Bounds of the store, each with its unit and its reason. Bounds of the wire are `protocol`'s.

/// Bytes of a segment by default, as RocketMQ's commit log files.
pub const SEGMENT_BYTES_DEFAULT: u64 = 1 << 30;

/// Bytes of the smallest segment: room for a record of the largest properties.
pub const SEGMENT_BYTES_MIN: u64 = 64 * 1024;

/// Bytes of the largest segment: an index entry keeps a position in 32 bits and a blank's length is a
/// signed 32-bit number.
pub const SEGMENT_BYTES_MAX: u64 = (1 << 31) - 1;

/// Bytes of a record by default: a body of 4 MiB and 64 KiB for everything else.
pub const RECORD_BYTES_MAX: usize = 4 * 1024 * 1024 + 64 * 1024;

/// Bytes of a topic's name in a record: the retry topic of a group with the longest name.
pub const TOPIC_BYTES_MAX: usize = strata_protocol::limits::DERIVED_TOPIC_CHARS_MAX;

/// Topics that the store keeps apart. At about 200 bytes each this is 200 MB.
pub const TOPICS_MAX: usize = 1_000_000;

/// Queues of all topics. At about 80 bytes each this is 160 MB.
pub const QUEUES_MAX: usize = 2_000_000;

/// The highest queue id; a topic's queues are found by a table of this length at most.
pub const QUEUE_ID_MAX: i32 = 65_535;

/// Messages in one atomic append: those of the largest batch. The append lock is held for about 30 ms then.
pub const BATCH_MESSAGES_MAX: usize = strata_protocol::limits::BATCH_MESSAGES_MAX;

/// Search keys of one message that are indexed. More than this is a mistake or an attack, and each
/// costs 12 bytes of memory.
pub const KEYS_PER_MESSAGE_MAX: usize = 64;

/// Bytes that wait for a synchronous flush. At 500 MB/s this is a tenth of a second of disk time.
pub const SYNC_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Asynchronous flushes, by the bytes that begin one, whose bytes may wait for the disk. With 16 MiB this is
/// 256 MiB, half a second of a disk that takes 500 MB/s; with a slower one appends are refused as busy.
pub const UNFLUSHED_FLUSHES_MAX: u64 = 16;

/// NUL bytes in a row that properties may hold. Recovery takes a whole sector of zeros, or a share of one
/// at the end of the properties, for a write that a power cut took, so no message may look like that.
pub const PROPERTIES_NULS_MAX: usize = 255;

/// Bytes of memory that go from the back of the log's growing end to its front as one piece.
pub const HOT_CHUNK_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Pieces of that memory that are kept in use: an eighth of a segment, but not fewer and not more. With 32
/// of 4 MiB the last 128 MiB are read from memory, about a second of a fast broker's traffic.
pub const HOT_SLOTS_KEPT_MIN: usize = 8;
/// See [`HOT_SLOTS_KEPT_MIN`].
pub const HOT_SLOTS_KEPT_MAX: usize = 32;

/// Pieces of that memory while the disk does not follow: 512 MiB. Appends are refused as busy beyond it.
pub const HOT_SLOTS_MAX: usize = 128;

/// Segments that are full and not yet sealed. Each keeps its index in memory.
pub const FROZEN_SEGMENTS_MAX: usize = 64;

/// Bytes ahead of the writer whose pages are made present in the background.
pub const WARM_AHEAD_BYTES: usize = 8 * 1024 * 1024;

/// Bytes made present by one call, so that the kernel does not hold the address space for long.
pub const WARM_CHUNK_BYTES: usize = 2 * 1024 * 1024;

/// Bytes that are appended at least between two calls to make memory ready.
pub const WARM_STEP_BYTES: usize = 1024 * 1024;

/// Bytes of a segment whose memory recovery gives back as one piece: few calls, and little memory in use.
pub const PASS_WINDOW_BYTES: usize = 4 * 1024 * 1024;

/// Index entries that a reader copies under one hold of the append lock.
pub const READ_CHUNK_ENTRIES: usize = 64;

/// Candidate positions that a key query looks at in one segment, so that a flood of equal hashes
/// costs bounded time.
pub const KEY_CANDIDATES_MAX: usize = 4_096;

/// Messages that one key query returns.
pub const QUERY_MESSAGES_MAX: usize = 1_024;

/// Milliseconds between two looks at the disk's fill; a full disk is noticed, and a freed one used,
/// within this time.
pub const DISK_LOOK_INTERVAL_MS: u64 = 2_000;

/// Milliseconds between two sweeps of retention, as in RocketMQ.
pub const SWEEP_INTERVAL_MS: u64 = 10_000;

/// Milliseconds between two checkpoints of the trusted clock while nothing else changes.
pub const CHECKPOINT_INTERVAL_MS: u64 = 600_000;

/// Segments deleted in one sweep, so that the file system's journal is not flooded.
pub const SWEEP_SEGMENTS_MAX: usize = 10;

/// Damaged ranges of one segment that are kept apart, 8 bytes each; beyond it the last range grows, over good
/// records too, so that this is more than any disk leaves of a segment worth reading.
pub const DAMAGED_RANGES_MAX: usize = 65_536;

/// Milliseconds until a sidecar that could not be written is built again: building reads a whole segment, and a
/// full disk refuses for longer than between two reads.
pub const REBUILD_RETRY_MS: u64 = 5_000;

/// Bytes a second that are read again to find damage. A disk has a hundred times that; 860 GB are read in a day.
pub const SCRUB_BYTES_PER_SECOND: u64 = 10 * 1024 * 1024;

/// Bytes that are read again at once, whole blocks; a pause follows.
pub const SCRUB_CHUNK_BYTES: usize = 1024 * 1024;

/// Milliseconds after the opening until sealed segments are read again: a start has other things to read.
pub const SCRUB_AFTER_MS: u64 = 60_000;

/// Milliseconds from the beginning of one such pass to the next.
pub const SCRUB_INTERVAL_MS: u64 = 24 * 3_600_000;

/// Milliseconds after which a segment may be sealed although it is not full. The store looks every two seconds, and
/// each sealed segment costs two files and a mapping.
pub const SEAL_AFTER_MS_MIN: u64 = 1_000;

/// Bytes of a sealed segment that are asked of the disk at once when it is read as a whole: a few requests under way
/// keep a disk busy, and no more than two such pieces wait to be looked at.
pub const LOAD_WINDOW_BYTES: usize = 4 * 1024 * 1024;

/// Bytes of a mapping about which the system is told something at once. With 4 MiB in a call, and all of a segment when it
/// was let go, other threads waited for milliseconds for the core (Linux 6.18 without preemption).
pub const ADVICE_BYTES_MAX: usize = 256 * 1024;

/// Bytes of a segment that share one checksum in the sidecar.
pub const BLOCK_BYTES: usize = 64 * 1024;

/// Bytes of a file of tombstones: 63,000 deleted topics with the longest names, many more with others.
pub const TOMBSTONES_BYTES_MAX: u64 = 16 * 1024 * 1024;

const _: () = assert!(RECORD_BYTES_MAX as u64 <= SEGMENT_BYTES_DEFAULT / 2);
const _: () = assert!(WARM_CHUNK_BYTES <= WARM_AHEAD_BYTES);
const _: () = assert!(LOAD_WINDOW_BYTES.is_multiple_of(BLOCK_BYTES));
const _: () = assert!(ADVICE_BYTES_MAX.is_multiple_of(BLOCK_BYTES));
const _: () = assert!(SCRUB_CHUNK_BYTES.is_multiple_of(BLOCK_BYTES));
