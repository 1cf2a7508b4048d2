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

/// Bytes of a store's error that are kept: enough for its code and its words.
pub const ERROR_BYTES_MAX: usize = 400;

/// Every so many edits of the manifest one stays for good, and a checkpoint is put: an opening reads so many edits,
/// and a search without a hint so many times fewer names.
pub const POST_EDITS: u64 = 64;

/// Edits that are fetched at once.
pub const EDITS_AT_ONCE_MAX: u64 = 8;

/// Time within which a question to the tier is answered, if only by an error: RocketMQ's clients give a pull up after 30 s
/// and ask again, and who waits holds one of the places of cold reads.
pub const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Reads of a document before its damage is believed: bytes that a network or a cache flipped come right again.
pub const DAMAGE_READS_MAX: u32 = 3;

/// Bytes of one edit. A roll of thousands of objects has less.
pub const EDIT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes of one line of a checkpoint, which is one roll, so that a damaged one cannot take all memory.
pub const CHECKPOINT_LINE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Bytes of a checkpoint when it is expanded: four million objects. What claims to have more would take all memory.
pub const CHECKPOINT_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// Bytes of the id of a log.
pub const LOG_ID_BYTES_MAX: usize = 64;

/// Races for a claim that one writer loses before it gives up.
pub const CLAIM_TRIES_MAX: u32 = 16;

/// Searches of one opening. Each is begun because others wrote more than 64 edits since the last one.
pub const SEARCHES_MAX: u32 = 16;

/// Objects of one roll: more than a merge of many segments makes, and what an index may claim.
pub const INDEX_OBJECTS_MAX: usize = 4_096;

/// Bytes of the table of queues that an index may claim: two million queues with long names.
pub const INDEX_QUEUES_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Level of zstd for pages: 16 % fewer bytes than level 1 for 40 % more time; above it time grows and bytes do not shrink.
pub const COMPRESSION_LEVEL: i32 = 3;

/// Bytes of a page but the body's: pages of small columns end by their rows.
pub const PAGE_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of a page of bodies: a selective replay fetches one for each message it wants.
pub const BODY_PAGE_BYTES: usize = 64 * 1024;

/// Of how many values that are not there a bloom filter takes one to be: of 640 row groups (20 GiB) less than one.
pub const BLOOM_WRONG: f64 = 0.001;

/// Bytes of texts in statistics.
pub const STATISTICS_TEXT_BYTES_MAX: usize = 64;

/// Bytes of a piece of an object that is being written.
pub const PIECE_BYTES: usize = 4 * 1024 * 1024;

/// Bytes of an object below which none ends while more is to come: a request for each costs as much as its bytes.
pub const OBJECT_BYTES_MIN: u64 = 64 * 1024 * 1024;

/// Bytes of an object, about. It is in memory until it is put, beside a row group; a GiB that does not compress is six
/// of these, with the index and the edit at most eight requests.
pub const OBJECT_BYTES_GOAL: u64 = 176 * 1024 * 1024;

/// Bytes of records from which a roll's often-used properties are told.
pub const SAMPLE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Rows between two looks at the budget of CPU: about a millisecond of work, for which whoever wants the core meanwhile may
/// have to wait.
pub const PACE_ROWS: u32 = 256;

/// Rows that are made at once while a roll is written; a page's rows are a multiple of it. More would keep the core for long,
/// and fewer would cost time of their own in each column.
pub const WRITE_BATCH_ROWS: usize = 512;
const _: () = assert!(PAGE_ROWS_MAX.is_multiple_of(WRITE_BATCH_ROWS), "pages begin at multiples of their rows");

/// Bytes of one write to a file of the cold tier. With pieces of an object in one call each, other threads waited up to 5 ms
/// for the core (Linux 6.18 without preemption); with this none did for 1 ms.
pub const FILE_WRITE_BYTES_MAX: usize = 64 * 1024;

/// Threads in which a roll that yields to all else asks a folder; it asks for one thing at a time.
pub const IDLE_THREADS_MAX: usize = 2;

/// Milliseconds at least between two looks at how long work that yields to all else has waited.
pub const STARVED_LOOK_MS_MIN: u64 = 100;

/// Milliseconds of one sleep of a roll, so that it notices that the broker stops.
pub const PACE_SLEEP_MS_MAX: u64 = 1_000;

/// Bytes of a file of the cache on the local disk; one part of an object is within one.
pub const CACHE_BLOCK_BYTES: usize = 32 * 1024 * 1024;

/// Bytes that wait to be written to the cache on the local disk; beyond it they are not kept.
pub const CACHE_WRITE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes between two ranges that are fetched too rather than asked for twice: what a store sends in the time of a
/// request, at 50 MB/s and some milliseconds.
pub const FETCH_GAP_BYTES_MAX: u64 = 256 * 1024;

/// The same where few rows are wanted: what lies between them is most of it.
pub const FETCH_GAP_BYTES_FEW: u64 = 16 * 1024;

/// Requests that a few single rows are fetched with, where what lies between their pages is no more than
/// [`FEW_BETWEEN_BYTES_MAX`]: each column has a page of its own, and a request costs as much as a MiB.
pub const FEW_REQUESTS_GOAL: usize = 2;

/// Bytes that nobody wants and that are fetched with single rows to save requests.
pub const FEW_BETWEEN_BYTES_MAX: u64 = 1024 * 1024;

/// Of how many rows one is wanted at least for all of them to be read: a page of bodies holds some 64.
pub const SELECTED_ONE_OF_ROWS_MIN: usize = 32;

/// Rows that are wanted and fetched at once.
pub const SELECTED_ROWS_MAX: usize = 256;

/// Bytes of one request to read.
pub const FETCH_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Rows of a block that are decoded at once: what lies between the pages and the records stays in a core's cache.
pub const BLOCK_BATCH_ROWS: usize = 512;

/// Rolls that a table asks at once for what they may have.
pub const TABLE_ROLLS_AT_ONCE_MAX: usize = 16;

/// Rows of a batch of a table.
pub const TABLE_BATCH_ROWS: usize = 8_192;

/// Rows of a block between two looks whether another thread wants the core: some tenths of a millisecond.
pub const YIELD_ROWS: usize = 128;

/// Objects that are remembered as having come damaged; beyond it all that was kept of objects is fetched anew.
pub const DISTRUSTED_OBJECTS_MAX: usize = 1_024;

/// Blocks of cold records that are made at once: one core at most.
pub const DECODES_AT_ONCE_MAX: usize = 1;

/// Queues of which it is remembered where they were read last.
pub const HINTS_MAX: usize = 65_536;

/// Bytes of bodies that are fetched at once for a reader that goes on: a store that answers after 30 ms gives more than a
/// core decodes meanwhile.
pub const SEGMENT_BYTES: u64 = 4 * 1024 * 1024;

/// Bytes at the begin of a roll's index that are fetched at once: mostly all that readers of one object want to know,
/// for one request.
pub const INDEX_BEGIN_BYTES: u64 = 128 * 1024;

/// Rolls whose filters are fetched at once for a key.
pub const KEY_ROLLS_AT_ONCE_MAX: usize = 16;

/// Records that are made at once for a key, so that they take some memory and not all of it, whatever many have.
pub const KEY_RECORDS_AT_ONCE_MAX: usize = 64;

/// Messages of one roll with a key that are looked at, the newest: as many as the log looks at in a segment.
pub const KEY_CANDIDATES_MAX: usize = 4_096;

/// Guesses of where a queue's offset lies until halving goes on: queues mostly grow as the log does.
pub const GUESSES_MAX: usize = 3;

/// Offsets that a reader has to come past, one read after the other, until it is read ahead for: who wants a few
/// messages should not pay for many.
pub const READ_ON_OFFSETS_MIN: i64 = 2_048;

/// Readings ahead that are under way at once.
pub const AHEAD_TASKS_MAX: usize = 8;

/// Small neighbouring rolls that are merged though they make no large object: a merge costs three puts, so one for eight
/// rolls adds a seventh to their puts.
pub const MERGE_ROLLS_MIN: usize = 8;

/// Rolls of one merge. Of each one row group is open, and its index, which has some MiB at a hundred thousand queues.
pub const MERGE_ROLLS_MAX: usize = 16;

/// Rows of a roll that are decoded at once while it is merged with others: memory for each of them.
pub const MERGE_BATCH_ROWS: usize = 512;

/// Objects that are deleted, or asked for their size, at once.
pub const UPKEEP_READS_MAX: usize = 16;

/// Time for which an object that nobody lists stays: readers may hold an older manifest, and an external engine may be in
/// the middle of a query.
pub const GRACE: Duration = Duration::from_secs(24 * 60 * 60);

/// Topics of one edit that makes them expire, so that an edit stays far below its bound.
pub const EXPIRE_TOPICS_MAX: usize = 16_384;
