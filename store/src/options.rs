//! What an owner decides about a store before it opens.
//!
//! Owns defaults and their checks. It reads no files and no environment.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use crate::error::OpenError;
use crate::limits::{RECORD_BYTES_MAX, SEAL_AFTER_MS_MIN, SEGMENT_BYTES_DEFAULT, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN};

/// When an append is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlushMode {
    /// Soon: appends are visible at once and flushed in the background.
    Async {
        /// Milliseconds that an append waits for its flush at most, also when little is written.
        interval_ms: u64,
        /// Bytes behind which a flush begins without waiting for the interval.
        bytes_max: u64,
    },
    /// Before it is visible: appends are flushed in groups; readers see nothing that a power cut takes.
    Sync,
}

/// How long and how much the store keeps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Retention {
    /// Milliseconds that a message is kept, unless its topic says otherwise.
    pub keep_ms: u64,
    /// Bytes of records that are kept; the oldest sealed segments beyond it go. What a segment that was sealed early
    /// gave back does not count. `None`: no bound.
    pub log_bytes_max: Option<u64>,
    /// Share of the disk in use from which expired segments go all at once instead of one a sweep.
    pub delete_ratio: f64,
    /// Share of the disk in use from which the oldest segments go although they are not expired.
    pub force_ratio: f64,
    /// Share of the disk in use from which appends are refused.
    pub refuse_ratio: f64,
}

impl Default for Retention {
    fn default() -> Self {
        Self { keep_ms: 72 * 3_600_000, log_bytes_max: None, delete_ratio: 0.75, force_ratio: 0.85, refuse_ratio: 0.90 }
    }
}

/// What a store is opened with.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// The folder; it is made when it does not exist.
    pub root: PathBuf,
    /// Bytes of a new segment file.
    pub segment_bytes: u64,
    /// When appends are durable.
    pub flush: FlushMode,
    /// What goes when.
    pub retention: Retention,
    /// The address written into records as the storing broker's.
    pub store_host: SocketAddr,
    /// Bytes of a whole record.
    pub record_bytes_max: usize,
    /// Milliseconds after which a segment that holds a record is sealed although it is not full, so that what is
    /// sealed never lags behind by more than this and two seconds. `None`: only full ones are.
    pub seal_after_ms: Option<u64>,
    /// Nothing is deleted before [`crate::Store::keep_until_copied`] has said up to where the log was copied, so that
    /// no sweep comes before that call.
    pub awaits_copies: bool,
    /// Whether the store's own threads seal, warm and sweep. Tests that own time switch this off and
    /// call [`crate::Store::seal_pending`] and [`crate::Store::sweep`] themselves; flushing always runs.
    pub upkeep: bool,
}

impl StoreOptions {
    /// Defaults in `root`: 1 GiB segments, a flush every 500 ms or 16 MiB, three days.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            segment_bytes: SEGMENT_BYTES_DEFAULT,
            flush: FlushMode::Async { interval_ms: 500, bytes_max: 16 * 1024 * 1024 },
            retention: Retention::default(),
            store_host: SocketAddr::from((Ipv4Addr::LOCALHOST, 10_911)),
            record_bytes_max: RECORD_BYTES_MAX,
            seal_after_ms: None,
            awaits_copies: false,
            upkeep: true,
        }
    }

    /// Checks bounds and lowers `record_bytes_max` to what a segment holds.
    pub(crate) fn checked(mut self) -> Result<Self, OpenError> {
        let bad = |what: String| Err(OpenError::Option { what });
        if !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&self.segment_bytes) {
            return bad(format!(
                "segment_bytes is {}, it must lie between {SEGMENT_BYTES_MIN} and {SEGMENT_BYTES_MAX}",
                self.segment_bytes
            ));
        }
        if let Some(after_ms) = self.seal_after_ms.filter(|after_ms| *after_ms < SEAL_AFTER_MS_MIN) {
            return bad(format!("seal_after_ms is {after_ms}, it must be {SEAL_AFTER_MS_MIN} at least"));
        }
        let kept = &self.retention;
        for (name, ratio) in [
            ("delete_ratio", kept.delete_ratio),
            ("force_ratio", kept.force_ratio),
            ("refuse_ratio", kept.refuse_ratio),
        ] {
            if !(0.0..=1.0).contains(&ratio) {
                return bad(format!("{name} is {ratio}, it must lie between 0 and 1"));
            }
        }
        if kept.delete_ratio > kept.force_ratio || kept.force_ratio > kept.refuse_ratio {
            return bad("the disk ratios must not fall from delete over force to refuse".to_owned());
        }
        // A record shares its segment with the blank's eight bytes.
        let fits = usize::try_from(self.segment_bytes - 8).unwrap_or(usize::MAX);
        self.record_bytes_max = self.record_bytes_max.min(fits);
        Ok(self)
    }
}
