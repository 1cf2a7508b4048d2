//! Bounds of the tests, each with its unit and its reason.

use std::time::Duration;

/// How long a server may take to say that it is ready. It takes milliseconds; the machine may be busy.
pub const READY_MAX: Duration = Duration::from_secs(30);

/// How long any answer may take before it counts as none. A pull of the tests is held for far less.
pub const ANSWER_MAX: Duration = Duration::from_secs(15);

/// How long connecting may take.
pub const CONNECT_MAX: Duration = Duration::from_secs(5);

/// How long a server that was told to stop may take.
pub const STOP_MAX: Duration = Duration::from_secs(20);

/// Milliseconds of commits that a kill may take back: offsets are stored every 5 s, and the machine may
/// write them late.
pub const COMMIT_WINDOW_MS: i64 = 6_500;

/// Milliseconds that a delayed message may come before its time: two clock readings round down.
pub const EARLY_MS_MAX: i64 = 10;

/// Violations that a report lists; beyond it they are counted.
pub const VIOLATIONS_LISTED_VIOLATIONS_MAX: usize = 40;

/// Messages of one dump's pull; a broker gives fewer.
pub const DUMP_PULL_MESSAGES: i32 = 1_024;

/// Milliseconds before a power cut of which asynchronous flush may lose what was acknowledged: the interval of
/// 500 ms, and as long again for a flush on a busy machine.
pub const ASYNC_WINDOW_MS: i64 = 1_000;

/// How long a file system may be held after the process that used it has ended.
pub const UNMOUNT_MAX: Duration = Duration::from_secs(10);
