//! Appending: from a message to a record in the log.
//!
//! Owns admission (is the store open, healthy, not full) and the order of one append: everything that
//! can be computed before the lock is; under the lock one copy and an index entry.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use strata_protocol::record::BLANK_BYTES_MIN;

use crate::error::AppendError;
use crate::head::Head;
use crate::hot::NotLaid;
use crate::limits::{BATCH_MESSAGES_MAX, FROZEN_SEGMENTS_MAX, SYNC_BYTES_MAX, UNFLUSHED_FLUSHES_MAX};
use crate::message::{Appended, AppendedEvent, Draft, NewMessage, PendingEvent};
use crate::options::FlushMode;
use crate::segment::{Segment, to_length};
use crate::store::{Shared, Store};

impl Store {
    /// Appends one message.
    ///
    /// With asynchronous flush it is visible when this returns; durable after the next flush. With
    /// synchronous flush it is visible once it is durable: wait with [`Store::when_durable`].
    ///
    /// # Errors
    /// See [`AppendError`]; nothing was stored then.
    pub fn append(&self, message: &NewMessage<'_>) -> Result<Appended, AppendError> {
        let shared = &*self.shared;
        let mut draft = shared.draft(message)?;
        let now_ms = shared.clock.now_ms();
        let mut head = shared.head.lock();
        shared.admit(&head)?;
        shared.make_room(&mut head, draft.prepared.bytes())?;
        let number = head.number(&draft)?;
        let appended = head.put(&mut draft, number, now_ms)?;
        shared.stage_event(&mut head, &draft, number, &appended);
        let call = shared.after(&mut head);
        drop(head);
        shared.wake(&call);
        shared.tell(&draft, &appended);
        Ok(appended)
    }

    /// Appends messages one after another, with no other message between them: in one queue their
    /// offsets are contiguous. All or none are appended.
    ///
    /// # Errors
    /// See [`AppendError`]; nothing was stored then.
    pub fn append_batch(&self, messages: &[NewMessage<'_>]) -> Result<Vec<Appended>, AppendError> {
        let shared = &*self.shared;
        if messages.is_empty() || messages.len() > BATCH_MESSAGES_MAX {
            let (messages, max) = (messages.len(), BATCH_MESSAGES_MAX);
            return Err(AppendError::BatchSize { messages, max });
        }
        let mut drafts = Vec::with_capacity(messages.len());
        for message in messages {
            drafts.push(shared.draft(message)?);
        }
        let bytes = drafts.iter().map(|draft| draft.prepared.bytes()).sum();
        let mut numbers = Vec::with_capacity(drafts.len());
        let mut out = Vec::with_capacity(drafts.len());
        let now_ms = shared.clock.now_ms();
        let mut head = shared.head.lock();
        shared.admit(&head)?;
        shared.make_room(&mut head, bytes)?;
        for draft in &drafts {
            numbers.push(head.number(draft)?);
        }
        for (draft, number) in drafts.iter_mut().zip(&numbers) {
            let appended = head.put(draft, *number, now_ms)?;
            shared.stage_event(&mut head, draft, *number, &appended);
            out.push(appended);
        }
        let call = shared.after(&mut head);
        drop(head);
        shared.wake(&call);
        for (draft, appended) in drafts.iter().zip(&out) {
            shared.tell(draft, appended);
        }
        Ok(out)
    }
}

impl Head {
    /// The queue's number, `None` for a message that is in no queue.
    fn number(&mut self, draft: &Draft<'_>) -> Result<Option<u32>, AppendError> {
        let record = draft.prepared.record();
        self.catalog.refuse_leaving(record.topic)?;
        if !draft.queued {
            return Ok(None);
        }
        self.catalog.find_or_add(record.topic, record.queue_id).map(Some)
    }
}

/// Whom an append has to wake.
#[derive(Debug, Clone, Copy)]
struct Call {
    upkeep: bool,
    urgent: bool,
}

impl Shared {
    fn draft<'a>(&self, message: &NewMessage<'a>) -> Result<Draft<'a>, AppendError> {
        Draft::new(message, self.options.store_host, self.options.record_bytes_max)
    }

    /// Whether appends are taken at all.
    fn admit(&self, head: &Head) -> Result<(), AppendError> {
        if let Some(reason) = self.flush.latched() {
            return Err(AppendError::Latched { reason });
        }
        self.refuse_closed()?;
        if self.counters.disk_full.load(Ordering::Relaxed) {
            let ratio = f64::from_bits(self.counters.disk_ratio.load(Ordering::Relaxed));
            let limit = self.options.retention.refuse_ratio;
            let detail = format!("{:.1} % in use, limit {:.0} %", ratio * 100.0, limit * 100.0);
            return Err(AppendError::DiskFull { detail });
        }
        let max = match self.options.flush {
            FlushMode::Sync => SYNC_BYTES_MAX as u64,
            FlushMode::Async { bytes_max, .. } => bytes_max.saturating_mul(UNFLUSHED_FLUSHES_MAX),
        };
        if self.unflushed(head) as u64 > max { Err(self.busy(head)) } else { Ok(()) }
    }

    /// Refuses because too much waits for the disk.
    fn busy(&self, head: &Head) -> AppendError {
        // Nothing else may ask for the flush that makes room again.
        self.flush.call(true);
        AppendError::Busy { what: "bytes", waiting: self.unflushed(head) }
    }

    /// Refuses what would change the folder after the store gave it up. Asked under the lock that the
    /// change is made under.
    pub(crate) fn refuse_closed(&self) -> Result<(), AppendError> {
        if self.counters.closed.load(Ordering::Relaxed) { Err(AppendError::Closed) } else { Ok(()) }
    }

    /// Bytes that are appended and not durable.
    fn unflushed(&self, head: &Head) -> usize {
        to_length(head.log_end() - self.flush.durable())
    }

    /// Goes on in the next segment when `bytes` do not fit the active one.
    pub(crate) fn make_room(&self, head: &mut Head, bytes: usize) -> Result<(), AppendError> {
        if !head.has_room(bytes) {
            let max = to_length(i64::try_from(self.options.segment_bytes).unwrap_or(i64::MAX)) - BLANK_BYTES_MIN;
            if bytes > max {
                return Err(AppendError::RecordTooLarge { bytes, max });
            }
            self.next_segment(head)?;
        }
        let to = head.tail + bytes + BLANK_BYTES_MIN;
        if to > head.active.laid() { self.cover(head, &head.active, to) } else { Ok(()) }
    }

    /// Sees that memory lies under `segment` up to the position `to`.
    fn cover(&self, head: &Head, segment: &Segment, to: usize) -> Result<(), AppendError> {
        let covered = self.ahead.hot.cover(&*self.disk, segment, to, self.flush.durable());
        covered.map_err(|error| match error {
            NotLaid::Unflushed => self.busy(head),
            NotLaid::Io(error) => AppendError::DiskFull { detail: format!("no memory for the log: {error}") },
        })
    }

    /// Closes the active segment and goes on in a new one.
    pub(crate) fn next_segment(&self, head: &mut Head) -> Result<(), AppendError> {
        let waiting = head.frozen.len();
        if waiting >= FROZEN_SEGMENTS_MAX {
            return Err(AppendError::Busy { what: "full segments", waiting });
        }
        let first = head.active.end();
        // The blank that ends this segment needs memory too, before a new one is taken for its successor.
        self.cover(head, &head.active, head.tail + BLANK_BYTES_MIN)?;
        let mut spare = self.ahead.spare.lock();
        let ready = spare.segment.take_if(|segment| segment.first == first);
        let segment = match ready {
            Some(segment) => segment,
            None => {
                spare.made = first;
                self.create_segment(first)?
            }
        };
        if let Err(error) = self.cover(head, &segment, BLANK_BYTES_MIN) {
            spare.segment = Some(segment);
            return Err(error);
        }
        drop(spare);
        head.roll(Arc::new(segment))
    }

    /// Makes the file of the segment at `first`.
    pub(crate) fn create_segment(&self, first: i64) -> Result<Segment, AppendError> {
        let bytes = usize::try_from(self.options.segment_bytes).unwrap_or(usize::MAX);
        Segment::create(&*self.disk, &self.paths.log, first, bytes)
            .map_err(|error| AppendError::DiskFull { detail: format!("no new segment: {error}") })
    }

    /// Keeps the event of an append until its flush, in synchronous mode.
    fn stage_event(&self, head: &mut Head, draft: &Draft<'_>, number: Option<u32>, appended: &Appended) {
        let (FlushMode::Sync, Some(number)) = (self.options.flush, number) else { return };
        let queue = head.catalog.queue(number);
        if let (Some(topic), Some(_)) = (queue.topic.clone(), self.listener.get()) {
            let (queue_id, queue_offset) = (queue.queue_id, appended.queue_offset);
            let tags_code = i64::from(draft.tag);
            head.events.push(PendingEvent { topic, queue_id, queue_offset, tags_code });
        }
    }

    /// Decides who must be woken; the waking itself happens outside of the lock.
    fn after(&self, head: &mut Head) -> Call {
        let upkeep = head.tail >= head.call_at;
        if upkeep {
            head.call_at = usize::MAX;
        }
        let urgent = match self.options.flush {
            FlushMode::Sync => true,
            FlushMode::Async { bytes_max, .. } => {
                self.unflushed(head) as u64 >= bytes_max.min(self.ahead.hot.capacity() / 2)
            }
        };
        Call { upkeep, urgent }
    }

    fn wake(&self, call: &Call) {
        self.flush.call(call.urgent);
        if call.upkeep {
            self.calls.ahead();
        }
    }

    /// Tells the listener, in asynchronous mode.
    fn tell(&self, draft: &Draft<'_>, appended: &Appended) {
        if !draft.queued || self.options.flush == FlushMode::Sync {
            return;
        }
        let Some(listener) = self.listener.get() else { return };
        let record = draft.prepared.record();
        listener(&AppendedEvent {
            topic: record.topic,
            queue_id: record.queue_id,
            queue_offset: appended.queue_offset,
            tags_code: i64::from(draft.tag),
        });
    }
}
