//! Messages of the log, queue by queue.

use std::collections::BTreeSet;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use bytes::Bytes;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::error::DataFusionError;
use strata_protocol::record::{RecordView, records};
use strata_store::{KeepAll, Read, ReadBudget, ReadStatus, Store};
use strata_tiering::cold::TableAsk;

use crate::columns::{Chosen, Rows, Where};
use crate::error::ReadError;
use crate::figures::TierFigures;
use crate::limits::{BATCH_BYTES_MAX, BATCH_ROWS, LOOKUP_IDS_MAX, LOOKUP_TOPICS_MAX, TRIMMED_TIMES_MAX};

/// A queue's messages in the log.
#[derive(Debug, Clone)]
pub(crate) struct HotQueue {
    pub(crate) topic: Arc<str>,
    pub(crate) queue_id: i32,
    pub(crate) offsets: Range<i64>,
}

/// The queues in which messages may be that are asked for.
pub(crate) fn queues(store: &Store, ask: &TableAsk) -> Vec<HotQueue> {
    let mut out = Vec::new();
    let mut add = |topic: &str, queue_id: i32, (min, max): (i64, i64)| {
        let wanted: &RangeInclusive<i64> = &ask.queue_offsets;
        let offsets = min.max(*wanted.start())..max.min(wanted.end().saturating_add(1));
        if ask.queue_ids.contains(&queue_id) && !offsets.is_empty() {
            out.push(HotQueue { topic: topic.into(), queue_id, offsets });
        }
    };
    match &ask.topics {
        Some(topics) => {
            for topic in topics {
                for queue_id in store.queues(topic) {
                    if let Some(range) = store.queue_range(topic, queue_id) {
                        add(topic, queue_id, (range.min, range.max));
                    }
                }
            }
        }
        None => store.for_each_queue(|topic, queue_id, range| {
            if ask.may_be_of(topic) {
                add(topic, queue_id, (range.min, range.max));
            }
        }),
    }
    out
}

/// The messages with unique keys that are asked for, where the log's index knows all of them; `None` where queues have to
/// be read.
pub(crate) fn by_unique_keys(store: &Store, queues: &[HotQueue], ask: &TableAsk) -> Option<Vec<Bytes>> {
    let ids = ask.msg_ids.as_ref().filter(|ids| ids.len() <= LOOKUP_IDS_MAX)?;
    let topics: BTreeSet<&str> = queues.iter().map(|queue| &*queue.topic).collect();
    if topics.len() > LOOKUP_TOPICS_MAX {
        return None;
    }
    let mut out = Vec::new();
    for topic in topics {
        for id in ids {
            out.extend(store.all_with_unique_key(topic, id)?);
        }
    }
    Some(out)
}

/// Gives records that are between the log offsets and in one of the queues, as one batch.
pub(crate) fn give_records(
    records: &[Bytes],
    queues: &[HotQueue],
    log: &Range<i64>,
    chosen: &Chosen,
    figures: &TierFigures,
) -> Result<RecordBatch, DataFusionError> {
    let mut rows = Rows::new(chosen, Where::Hot);
    for bytes in records {
        let failed = |why: String| ReadError::Record { topic: "(found by its id)".to_owned(), queue_id: -1, why };
        let record = RecordView::parse(bytes).map_err(|error| failed(error.to_string()))?;
        figures.add(1, bytes.len() as u64);
        let of_queue = |queue: &HotQueue| *queue.topic == *record.topic() && queue.queue_id == record.queue_id();
        if queues.iter().any(|queue| of_queue(queue) && is_asked_for(&record, queue, log)) {
            rows.add(&record)?;
        }
    }
    rows.finish()
}

/// Who takes the messages of queues.
pub(crate) trait Taker {
    /// Takes a batch, or nothing for now; whether more is wanted.
    fn take(&mut self, batch: Option<RecordBatch>) -> bool;

    /// Takes the messages of a queue between two log offsets, which left the log while it was read; whether more is wanted.
    fn gone(&mut self, queue: &HotQueue, log: Range<i64>) -> Result<bool, DataFusionError>;
}

/// Reads queues one after another, and gives what lies between the log offsets, in batches. Waits for the disk.
pub(crate) fn read(
    (store, figures): (&Store, &TierFigures),
    queues: &[HotQueue],
    log: &Range<i64>,
    chosen: &Chosen,
    to: &mut dyn Taker,
) -> Result<(), DataFusionError> {
    let budget = ReadBudget {
        messages_max: BATCH_ROWS,
        bytes_max: BATCH_BYTES_MAX,
        scan_entries_max: BATCH_ROWS,
        scan_bytes_max: BATCH_BYTES_MAX,
        wait: true,
    };
    let mut rows = Rows::new(chosen, Where::Hot);
    for queue in queues {
        let (topic, queue_id) = (&*queue.topic, queue.queue_id);
        let mut offset = queue.offsets.start;
        // Behind the last message that was given.
        let (mut seen, mut tries) = (log.start, 0);
        while offset < queue.offsets.end {
            let found = store.read(topic, queue_id, offset, &budget, &mut KeepAll);
            match found.status {
                ReadStatus::Found | ReadStatus::NoMatch => {}
                ReadStatus::Damaged { .. } => {
                    let (from, to) = (offset, found.next_offset - 1);
                    return Err(ReadError::Damaged { topic: topic.to_owned(), queue_id, from, to }.into());
                }
                // It leaves the log at this moment.
                ReadStatus::Unavailable { from, .. } if store.log_range().0 > from && tries < TRIMMED_TIMES_MAX => {
                    tries += 1;
                    continue;
                }
                ReadStatus::Unavailable { from, to } => return Err(ReadError::Unavailable { from, to }.into()),
                // The topic was deleted meanwhile.
                ReadStatus::Empty | ReadStatus::AtEnd | ReadStatus::BeyondEnd => break,
                // What has left the log before the table was planned is the tier's.
                ReadStatus::BeforeBegin if store.log_range().0 <= log.start => {}
                ReadStatus::BeforeBegin => {
                    // It was rolled before it left the log. Where there is no tier it has expired.
                    let (begin, _) = store.log_range();
                    let next = store.queue_range(topic, queue_id).map_or(queue.offsets.end, |range| range.min);
                    if next <= offset {
                        return Err(ReadError::Trimmed { topic: topic.to_owned(), queue_id, offset }.into());
                    }
                    if !to.gone(queue, seen..begin.min(log.end))? {
                        return Ok(());
                    }
                    (offset, seen) = (next, begin.max(seen));
                    continue;
                }
                ReadStatus::Cold => {
                    return Err(ReadError::Trimmed { topic: topic.to_owned(), queue_id, offset }.into());
                }
            }
            figures.add(found.messages, found.bytes as u64);
            let Some(last) = put(&mut rows, (&found, queue, log), chosen, to)? else { return Ok(()) };
            seen = seen.max(last);
            let is_full = rows.len() >= BATCH_ROWS;
            let full = is_full.then(|| std::mem::replace(&mut rows, Rows::new(chosen, Where::Hot)));
            if !to.take(full.map(Rows::finish).transpose()?) {
                return Ok(());
            }
            offset = found.next_offset.max(offset + 1);
        }
    }
    if rows.len() > 0 {
        to.take(Some(rows.finish()?));
    }
    Ok(())
}

/// Puts what was found into rows, and gives them when they are many bytes: bodies may unpack to many times what was read.
/// Gives the log offset behind the last record; `None` when nobody wants more.
fn put<'a>(
    rows: &mut Rows<'a>,
    (found, queue, log): (&Read, &HotQueue, &Range<i64>),
    chosen: &'a Chosen,
    to: &mut dyn Taker,
) -> Result<Option<i64>, DataFusionError> {
    let mut end = log.start;
    for record in found.slices.iter().flat_map(|slice| records(slice)) {
        let record = record.map_err(|error| ReadError::Record {
            topic: queue.topic.to_string(),
            queue_id: queue.queue_id,
            why: error.to_string(),
        })?;
        end = record.physical_offset() + 1;
        if is_asked_for(&record, queue, log) {
            rows.add(&record)?;
        }
        if rows.bytes() >= BATCH_BYTES_MAX {
            let full = std::mem::replace(rows, Rows::new(chosen, Where::Hot));
            if !to.take(Some(full.finish()?)) {
                return Ok(None);
            }
        }
    }
    Ok(Some(end))
}

fn is_asked_for(record: &RecordView<'_>, queue: &HotQueue, log: &Range<i64>) -> bool {
    queue.offsets.contains(&record.queue_offset()) && log.contains(&record.physical_offset())
}
