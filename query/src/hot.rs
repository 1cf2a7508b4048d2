//! Messages of the log, queue by queue.

use std::collections::{BTreeSet, VecDeque};
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use bytes::Bytes;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::error::DataFusionError;
use strata_protocol::hash::tags_code;
use strata_protocol::properties::TAGS;
use strata_protocol::record::RecordView;
use strata_store::{Boundary, Keep, ReadBudget, ReadStatus, Store};
use strata_tiering::cold::TableAsk;

use crate::columns::{Chosen, MICROS, Rows, Where};
use crate::error::ReadError;
use crate::figures::{Figures, TierFigures};
use crate::limits::{
    BATCH_BYTES_MAX, BATCH_ROWS, READ_THROUGH_MESSAGES_MAX, READS_AT_ONCE_MAX, SEARCHES_MAX, TRIMMED_TIMES_MAX,
};
use crate::snapshot::Snapshot;

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

/// Leaves out of queues what was stored before the time that is asked for: store times never go back. Waits for the disk.
pub(crate) fn narrow(store: &Store, queues: &mut Vec<HotQueue>, ask: &TableAsk) {
    let from_ms = ask.store_times.start().div_euclid(MICROS);
    if store.earliest_log_time().is_none_or(|earliest| earliest >= from_ms) {
        return;
    }
    for HotQueue { topic, queue_id, offsets } in queues.iter_mut() {
        if offsets.end - offsets.start > READ_THROUGH_MESSAGES_MAX {
            offsets.start = offsets.start.max(store.offset_by_time(topic, *queue_id, from_ms, Boundary::Lower));
        }
    }
    queues.retain(|queue| !queue.offsets.is_empty());
}

/// The messages with the ids that are asked for, where the log's index knows all of them; `None` where queues have to be
/// read. Waits for the disk.
pub(crate) fn by_ids(store: &Store, queues: &[HotQueue], ask: &TableAsk) -> Option<Vec<Bytes>> {
    let ids = ask.msg_ids.as_ref()?;
    let topics: BTreeSet<&str> = queues.iter().map(|queue| &*queue.topic).collect();
    if topics.len().saturating_mul(ids.len()) > SEARCHES_MAX {
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

/// What is wanted of the log's messages beside their queues.
#[derive(Debug, Clone)]
pub(crate) struct HotAsk {
    pub(crate) log: Range<i64>,
    /// The last store time, ms since 1970.
    until_ms: i64,
    /// Codes of the tags of which each message has one.
    tags: Option<BTreeSet<i64>>,
}

impl HotAsk {
    pub(crate) fn of(ask: &TableAsk, log: Range<i64>) -> Self {
        // A message without a code may have a tag that is no text, or two tags of which the last is empty.
        let codes = ask.properties.get(TAGS).into_iter().flatten().map(|tag| tags_code(Some(tag)));
        let tags = ask.properties.contains_key(TAGS).then(|| codes.chain([tags_code(None)]).collect());
        Self { log, until_ms: ask.store_times.end().div_euclid(MICROS), tags }
    }
}

/// Takes the records of a read where they lie in the log.
struct Taking<'t, 'a> {
    ask: &'t HotAsk,
    queue: &'t HotQueue,
    rows: &'t mut Rows<'a>,
    /// Behind the last record that was taken.
    seen: i64,
    bytes: u64,
    messages: usize,
    stopped: Option<Stopped>,
}

/// Why no more are taken.
enum Stopped {
    /// There is enough; it goes on at the offset.
    Full(i64),
    /// What follows was stored later than is asked for.
    Late,
    Failed(DataFusionError),
}

impl Taking<'_, '_> {
    fn take(&mut self, bytes: &[u8]) -> Result<Option<Stopped>, DataFusionError> {
        let record = RecordView::parse(bytes).map_err(|error| ReadError::Record {
            topic: self.queue.topic.to_string(),
            queue_id: self.queue.queue_id,
            why: error.to_string(),
        })?;
        if record.store_timestamp() > self.ask.until_ms {
            return Ok(Some(Stopped::Late));
        }
        if is_asked_for(&record, self.queue, &self.ask.log) {
            self.rows.add(&record)?;
        }
        self.seen = self.seen.max(record.physical_offset() + 1);
        self.bytes += bytes.len() as u64;
        self.messages += 1;
        // Bodies may unpack to many times what was read.
        Ok((self.rows.bytes() >= BATCH_BYTES_MAX).then(|| Stopped::Full(record.queue_offset() + 1)))
    }
}

/// Nothing is kept: what is wanted is in the rows then.
impl Keep for Taking<'_, '_> {
    fn by_tag(&mut self, code: i64) -> bool {
        self.ask.tags.as_ref().is_none_or(|codes| codes.contains(&code))
    }

    fn by_record(&mut self, record: &[u8]) -> bool {
        if self.stopped.is_none() {
            self.stopped = self.take(record).unwrap_or_else(|error| Some(Stopped::Failed(error)));
        }
        false
    }

    fn reads_records(&self) -> bool {
        true
    }

    fn is_over(&mut self) -> bool {
        self.stopped.is_some()
    }
}

/// What comes next of the log's messages.
pub(crate) enum Step {
    Rows(RecordBatch),
    /// Nothing yet.
    Nothing,
    /// The messages of a queue between two log offsets left the log while it was read.
    Gone(HotQueue, Range<i64>),
    End,
}

/// Gives messages of the log step by step. A step may wait for the disk, and for nothing else.
pub(crate) trait Steps: Send + 'static {
    fn step(&mut self) -> Result<Step, DataFusionError>;
}

/// Records that were found by their ids, those among them that are asked for.
pub(crate) struct Found {
    pub(crate) records: Arc<Vec<Bytes>>,
    pub(crate) queues: Vec<HotQueue>,
    pub(crate) ask: HotAsk,
    pub(crate) chosen: Chosen,
    pub(crate) figures: Arc<Figures>,
    /// How many were looked at.
    pub(crate) seen: usize,
}

impl Steps for Found {
    fn step(&mut self) -> Result<Step, DataFusionError> {
        if self.seen >= self.records.len() {
            return Ok(Step::End);
        }
        let mut rows = Rows::new(&self.chosen, Where::Hot);
        for bytes in self.records.iter().skip(self.seen) {
            let failed = |why: String| ReadError::Record { topic: "(found by its id)".to_owned(), queue_id: -1, why };
            let record = RecordView::parse(bytes).map_err(|error| failed(error.to_string()))?;
            self.figures.hot.add(1, bytes.len() as u64);
            self.seen += 1;
            let of_queue = |queue: &HotQueue| *queue.topic == *record.topic() && queue.queue_id == record.queue_id();
            if self.queues.iter().any(|queue| of_queue(queue) && is_asked_for(&record, queue, &self.ask.log)) {
                rows.add(&record)?;
            }
            if rows.bytes() >= BATCH_BYTES_MAX {
                break;
            }
        }
        Ok(Step::Rows(rows.finish()?))
    }
}

/// Queues that are read one after another.
pub(crate) struct Scan {
    store: Arc<Store>,
    figures: Arc<Figures>,
    chosen: Chosen,
    ask: HotAsk,
    queues: VecDeque<HotQueue>,
    /// Behind the last message of the first queue that was given.
    seen: i64,
    /// How often the next message was just leaving the log.
    tries: usize,
}

/// How a read of a queue went.
enum Went {
    On,
    /// The queue has no more.
    Over,
    /// Its messages up to the log offset left the log; it goes on at the offset.
    Gone {
        to: i64,
        next: i64,
    },
}

impl Scan {
    pub(crate) fn new(snapshot: &Snapshot, queues: Vec<HotQueue>, ask: HotAsk, chosen: Chosen) -> Self {
        let (store, figures) = (Arc::clone(&snapshot.store), Arc::clone(&snapshot.figures));
        let seen = ask.log.start;
        Self { store, figures, chosen, ask, queues: queues.into(), seen, tries: 0 }
    }

    fn next_queue(&mut self) {
        self.queues.pop_front();
        (self.seen, self.tries) = (self.ask.log.start, 0);
    }
}

impl Steps for Scan {
    fn step(&mut self) -> Result<Step, DataFusionError> {
        let chosen = self.chosen.clone();
        let mut rows = Rows::new(&chosen, Where::Hot);
        for _ in 0..READS_AT_ONCE_MAX {
            let Some(queue) = self.queues.front_mut().filter(|queue| !queue.offsets.is_empty()) else {
                if self.queues.is_empty() {
                    return Ok(if rows.len() > 0 { Step::Rows(rows.finish()?) } else { Step::End });
                }
                self.next_queue();
                continue;
            };
            match read(&self.store, &self.figures.hot, queue, (&self.ask, &mut self.seen, &mut self.tries), &mut rows)?
            {
                Went::On => {}
                Went::Over => self.next_queue(),
                // What came before is given first; then it is met again.
                Went::Gone { .. } if rows.len() > 0 => break,
                Went::Gone { to, next } => {
                    let gone = (queue.clone(), self.seen..to.min(self.ask.log.end));
                    queue.offsets.start = next;
                    self.seen = self.seen.max(to);
                    return Ok(Step::Gone(gone.0, gone.1));
                }
            }
            if rows.len() >= BATCH_ROWS || rows.bytes() >= BATCH_BYTES_MAX {
                break;
            }
        }
        Ok(if rows.len() > 0 { Step::Rows(rows.finish()?) } else { Step::Nothing })
    }
}

/// Reads a queue on, and puts what is asked for into rows.
fn read(
    store: &Store,
    figures: &TierFigures,
    queue: &mut HotQueue,
    (ask, seen, tries): (&HotAsk, &mut i64, &mut usize),
    rows: &mut Rows<'_>,
) -> Result<Went, DataFusionError> {
    let budget = ReadBudget {
        messages_max: BATCH_ROWS,
        bytes_max: BATCH_BYTES_MAX,
        scan_entries_max: BATCH_ROWS,
        scan_bytes_max: BATCH_BYTES_MAX,
        wait: true,
    };
    let (topic, queue_id, offset) = (Arc::clone(&queue.topic), queue.queue_id, queue.offsets.start);
    let mut taking = Taking { ask, queue, rows, seen: *seen, bytes: 0, messages: 0, stopped: None };
    let found = store.read(&topic, queue_id, offset, &budget, &mut taking);
    let Taking { seen: now_seen, bytes, messages, stopped, .. } = taking;
    *seen = now_seen;
    figures.add(messages, bytes);
    match found.status {
        ReadStatus::Found | ReadStatus::NoMatch => {}
        ReadStatus::Damaged { .. } => {
            let (from, to) = (offset, found.next_offset - 1);
            return Err(ReadError::Damaged { topic: topic.to_string(), queue_id, from, to }.into());
        }
        // It leaves the log at this moment.
        ReadStatus::Unavailable { from, .. } if store.log_range().0 > from && *tries < TRIMMED_TIMES_MAX => {
            *tries += 1;
            return Ok(Went::On);
        }
        ReadStatus::Unavailable { from, to } => return Err(ReadError::Unavailable { from, to }.into()),
        // The topic was deleted meanwhile.
        ReadStatus::Empty | ReadStatus::AtEnd | ReadStatus::BeyondEnd => return Ok(Went::Over),
        // What has left the log before the table was planned is the tier's.
        ReadStatus::BeforeBegin if store.log_range().0 <= ask.log.start => {}
        ReadStatus::BeforeBegin => {
            // It was rolled before it left the log. Where there is no tier it has expired.
            // In this order: what the log loses in between is asked for in the next round, and nothing is left out.
            let next = store.queue_range(&topic, queue_id).map_or(queue.offsets.end, |range| range.min);
            let (to, _) = store.log_range();
            if next <= offset {
                return Err(ReadError::Trimmed { topic: topic.to_string(), queue_id, offset }.into());
            }
            return Ok(Went::Gone { to, next });
        }
        ReadStatus::Cold => return Err(ReadError::Trimmed { topic: topic.to_string(), queue_id, offset }.into()),
    }
    queue.offsets.start = match stopped {
        None => found.next_offset.max(offset + 1),
        Some(Stopped::Full(next)) => next.max(offset + 1),
        Some(Stopped::Late) => return Ok(Went::Over),
        Some(Stopped::Failed(error)) => return Err(error),
    };
    Ok(Went::On)
}

fn is_asked_for(record: &RecordView<'_>, queue: &HotQueue, log: &Range<i64>) -> bool {
    queue.offsets.contains(&record.queue_offset()) && log.contains(&record.physical_offset())
}

#[cfg(test)]
mod tests;
