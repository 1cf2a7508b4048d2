//! What a statement may take.

use std::time::Duration;

/// Bytes of one statement.
pub const STATEMENT_BYTES_MAX: usize = 64 * 1024;

/// Bytes of memory of all statements together; sorts and groups beyond it go to disk.
pub const MEMORY_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Statements at once; others wait.
pub const STATEMENTS_AT_ONCE_MAX: usize = 4;

/// How long a statement may take, its wait for others included.
pub const STATEMENT_TIME_MAX: Duration = Duration::from_secs(300);

/// Bytes of a request's body; a statement in it may have [`STATEMENT_BYTES_MAX`].
pub const BODY_BYTES_MAX: usize = 1024 * 1024;

/// Operators, keywords and brackets of a statement: each may be a level of the tree that it becomes.
pub const NESTING_TOKENS_MAX: usize = 2_000;

/// How long a client may take nothing of what is sent; then its connection ends, and its statement with it.
pub const STALLED_SECONDS_MAX: u64 = 60;

/// Bytes of an answer over HTTP that wait to be sent while more are made, about.
pub const UNSENT_BYTES_MAX: usize = 64 * 1024;

/// How long what is unsent may take to be sent when an answer is broken off.
pub const LAST_LINE_SECONDS_MAX: u64 = 2;

/// How long a request may take to arrive.
pub const REQUEST_SECONDS_MAX: u64 = 10;

/// Bytes of the files to which sorts and groups of all statements go.
pub const SPILLED_BYTES_MAX: u64 = 8 * 1024 * 1024 * 1024;

/// Rows of a batch.
pub const BATCH_ROWS: usize = 8_192;

/// Bytes of records that become one batch of the log's messages, about.
pub const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Batches that wait for who reads them.
pub const BATCHES_AHEAD_MAX: usize = 2;

/// Bytes of compressed bodies of the tier that are unpacked into one batch, but for the first one.
pub const PACKED_BYTES_MAX: usize = 64 * 1024;

/// Bytes that one compressed body may become.
pub const UNPACKED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Connections for statements at once; others wait to be accepted.
pub const CONNECTIONS_MAX: usize = 64;

/// Threads that run statements; they yield the cores to everything else.
pub const THREADS: usize = 2;

/// Threads that wait for the disk for statements.
pub const DISK_THREADS_MAX: usize = 8;

/// Threads of PostgreSQL clients' sessions, which make trees of statements and free them: their stacks are as large.
pub const SESSION_THREADS: usize = 1;

/// Reads of queues between two looks at whether anybody takes their rows.
pub const READS_AT_ONCE_MAX: usize = 64;

/// Bytes of one message of a PostgreSQL client: a statement, its parameters.
pub const POSTGRES_MESSAGE_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of the first message of a PostgreSQL client.
pub const STARTUP_BYTES_MAX: usize = 10_000;

/// How long a PostgreSQL client may take for its first message.
pub const STARTUP_MAX: Duration = Duration::from_secs(10);

/// Bytes of a client's messages that are read at once.
pub const GATE_BUFFER_BYTES: usize = 8 * 1024;

/// Searches of the log's index for a statement, one for each id in each topic; where more were needed queues are read.
pub const SEARCHES_MAX: usize = 4_096;

/// Times that ids are looked up again because the log lost its begin meanwhile; then queues are read.
pub const TRIMMED_TIMES_MAX: usize = 3;

/// Messages of a queue above which its begin for a time is searched; fewer are just read.
pub const READ_THROUGH_MESSAGES_MAX: i64 = 64;

/// Rows of a row group of a Parquet file that is given out; they are in memory until it is full.
pub const PARQUET_GROUP_ROWS_MAX: usize = 65_536;

/// Rows of each of several statements that a PostgreSQL client sends together.
pub const GATHERED_ROWS_MAX: usize = 10_000;

/// Bytes of the rows of all statements that a PostgreSQL client sends together.
pub const GATHERED_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Seconds that a PostgreSQL client's portal waits to be gone on with; its statement keeps its turn meanwhile.
pub const SUSPENDED_SECONDS_MAX: u64 = 60;
