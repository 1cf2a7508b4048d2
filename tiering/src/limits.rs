//! Bounds of the cold tier, each with its unit and its reason.

use std::time::Duration;

/// Rows of a row group.
pub const GROUP_ROWS_MAX: usize = 32_768;

/// Bytes of records in a row group, so that a reader of one needs so much memory.
pub const GROUP_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Rows of a page: what is decoded at least to read one message.
pub const PAGE_ROWS_MAX: usize = 4_096;

/// Properties of a roll that have a column of their own.
pub const PROPERTY_COLUMNS_MAX: usize = 16;

/// Time that a store has for one attempt at a request without much of a body. Healthy stores answer within a second,
/// busy ones within some; behind that another attempt is the better one.
pub const ATTEMPT_MAX: Duration = Duration::from_secs(15);

/// Bytes that a store has to move in each second at least, beside the time of an attempt.
pub const TRANSFER_BYTES_PER_SECOND_MIN: u64 = 256 * 1024;

/// Attempts of one call. With the pauses between them a call outlives a restart of a small store.
pub const TRIES_MAX: u32 = 6;

/// The longest pause behind the first failed attempt; each further one doubles it.
pub const FIRST_PAUSE_MAX: Duration = Duration::from_millis(100);

/// The longest pause between two attempts.
pub const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Failed attempts in a row, of whatever calls, behind which a store counts as down.
pub const BREAKER_FAILURES_MAX: u32 = 12;

/// Time that nothing is sent to a store that is down, until one call may find out whether it is back.
pub const BREAKER_PAUSE_MIN: Duration = Duration::from_secs(1);

/// The same time after many such calls in vain. A store that is back is noticed so late at most.
pub const BREAKER_PAUSE_MAX: Duration = Duration::from_secs(30);

/// Bytes of one object. What is read whole is held in memory.
pub const OBJECT_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// Bytes of one part of an upload, and of an object that is put in one piece. Stores ask for 5 MiB at least and for
/// 10,000 parts at most; a part that failed is sent again, so it should not be large.
pub const PART_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Parts of one upload that are under way at once. Two saturate most links, four also those with a long way.
pub const PARTS_AT_ONCE_MAX: usize = 4;

/// Ranges of one call that are read at once.
pub const RANGES_AT_ONCE_MAX: usize = 16;

/// Bytes of a store's error that are kept: enough for its code and its words.
pub const ERROR_BYTES_MAX: usize = 400;

/// Every so many edits of the manifest one stays for good, and a checkpoint is put: an opening reads so many edits,
/// and a search without a hint so many times fewer names.
pub const POST_EDITS: u64 = 64;

/// Edits that are fetched at once.
pub const EDITS_AT_ONCE_MAX: u64 = 8;

/// Reads of a document before its damage is believed: bytes that a network or a cache flipped come right again.
pub const DAMAGE_READS_MAX: u32 = 3;

/// Bytes of one edit. A roll of thousands of objects has less.
pub const EDIT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes of one line of a checkpoint, which is one roll, so that a damaged one cannot take all memory.
pub const CHECKPOINT_LINE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Races for a claim that one writer loses before it gives up.
pub const CLAIM_TRIES_MAX: u32 = 16;

/// Searches of one opening. Each is begun because others wrote more than 64 edits since the last one.
pub const SEARCHES_MAX: u32 = 16;
