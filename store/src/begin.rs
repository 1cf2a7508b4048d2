//! Beginning a log somewhere else than at 0, with queues that go on where an older log of theirs ended.
//!
//! Owns what an empty folder must hold for that: the same that deletion leaves when nothing is kept (`floor`), and an
//! empty segment.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use crate::disk::{Disk, RealDisk};
use crate::error::OpenError;
use crate::limits::{QUEUE_ID_MAX, QUEUES_MAX, TOPIC_BYTES_MAX};
use crate::options::StoreOptions;
use crate::recover::layout::{list, orphans};
use crate::recover::take_folder;
use crate::retain::write_floor;
use crate::segment::{Segment, parse_name};
use crate::sidecar::QueueRow;
use crate::store::Paths;

/// Where a queue goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextOffset {
    /// Topic.
    pub topic: Arc<str>,
    /// Queue.
    pub queue_id: i32,
    /// The offset that its next message gets, which is its first one too.
    pub next: i64,
}

/// Makes an empty folder a closed store whose log begins, without records, at `log_offset`, and whose queues go on at
/// `queues`; one that goes on at 0 need not be named. No record of it will have a store time below `last_time_ms`, so
/// that times never go back from one log to the other; 0 for no bound.
///
/// The log offset may be any: segments need not begin at multiples of their length, which an owner may change. Killed
/// at any point, it has been done or not, and can be repeated where it was not.
///
/// # Errors
/// The folder has a log already ([`OpenError::Begun`]), an argument is out of its bounds, a queue is named twice, or as
/// [`Store::open`](crate::Store::open).
pub fn begin_at(
    options: StoreOptions,
    (log_offset, last_time_ms): (i64, i64),
    queues: impl IntoIterator<Item = NextOffset>,
) -> Result<(), OpenError> {
    begin_at_on(options, &RealDisk, (log_offset, last_time_ms), queues)
}

/// [`begin_at`] on a disk of the caller's, which tests let fail.
///
/// # Errors
/// As [`begin_at`].
pub fn begin_at_on(
    options: StoreOptions,
    disk: &dyn Disk,
    (log_offset, last_time_ms): (i64, i64),
    queues: impl IntoIterator<Item = NextOffset>,
) -> Result<(), OpenError> {
    let options = options.checked()?;
    // Log offsets are the names of files, of 20 digits, and must have somewhere to go on.
    if !(0..=i64::MAX / 2).contains(&log_offset) {
        return Err(OpenError::Option { what: format!("no log begins at offset {log_offset}") });
    }
    let rows = rows_of(queues)?;
    let paths = Paths::new(options.root.clone());
    let _lock = take_folder(disk, &paths)?;
    if let Some(path) = trace_of_log(&paths)? {
        return Err(OpenError::Begun { path });
    }
    let floor = paths.floor();
    let written = write_floor(disk, &floor, (log_offset, last_time_ms), rows);
    written.map_err(OpenError::io("write", &floor))?;
    // From here on it is a store. The segment spares its opening the thought that one was lost.
    let bytes = usize::try_from(options.segment_bytes).unwrap_or(usize::MAX);
    let made = Segment::create(disk, &paths.log, log_offset, bytes);
    made.map(drop).map_err(OpenError::io("make a segment in", &paths.log))
}

/// The queues as a floor lists them.
fn rows_of(queues: impl IntoIterator<Item = NextOffset>) -> Result<Vec<QueueRow>, OpenError> {
    let refuse = |what: String| Err(OpenError::Option { what });
    let (mut rows, mut known) = (Vec::new(), BTreeSet::new());
    for NextOffset { topic, queue_id, next } in queues {
        let fits = !topic.is_empty() && topic.len() <= TOPIC_BYTES_MAX && (0..=QUEUE_ID_MAX).contains(&queue_id);
        if !fits || next < 0 {
            return refuse(format!("no queue {queue_id} of topic {topic:?} goes on at {next}"));
        }
        if !known.insert((Arc::clone(&topic), queue_id)) {
            return refuse(format!("queue {queue_id} of topic {topic:?} is named twice"));
        }
        if rows.len() == QUEUES_MAX {
            return refuse(format!("a store holds {QUEUES_MAX} queues and no more"));
        }
        if next > 0 {
            rows.push(QueueRow { topic, queue_id, number: 0, next });
        }
    }
    Ok(rows)
}

/// A file that only a log leaves, if there is one.
fn trace_of_log(paths: &Paths) -> Result<Option<PathBuf>, OpenError> {
    let mut segments = list(&paths.log)?.into_iter();
    let segment = segments.find(|(name, _)| parse_name(name).is_some()).map(|(_, path)| path);
    let facts = [paths.floor(), paths.tombstones(), paths.hot()];
    let fact = || facts.into_iter().find(|path| path.exists());
    Ok(segment.or_else(fact).or_else(|| orphans(paths, &[]).pop()))
}
