//! Making the log durable, and saying so.
//!
//! Owns the durable offset, those who wait for it, and the latch that a failed write or flush sets
//! for good: after it nothing may be believed about what is on disk until the store is opened again.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::error::FlushFailed;
use crate::head::{Head, Unsummed};
use crate::message::{AppendedEvent, PendingEvent};
use crate::options::FlushMode;
use crate::segment::{Page, Segment, to_length, to_offset};
use crate::store::Shared;
use crate::sums::{Rows, Sums, SumsWriter};

/// Told once when a log offset is durable or never will be.
pub type Done = Box<dyn FnOnce(Result<(), FlushFailed>) + Send>;

/// The state of durability.
pub(crate) struct Flush {
    durable: AtomicI64,
    latch: OnceLock<String>,
    /// Set by the first append since the flusher looked, so that others need not take the gate.
    called: AtomicBool,
    hurried: AtomicBool,
    gate: Mutex<Gate>,
    wake: Condvar,
    /// Held by whoever flushes; there is one at a time, so that offsets become durable in order.
    turn: Mutex<Turn>,
}

#[derive(Default)]
struct Gate {
    due: Due,
    stop: bool,
    waiters: Vec<(i64, Done)>,
}

/// When the next flush is due.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// Nothing was appended.
    #[default]
    Never,
    /// When the interval has passed.
    Soon,
    /// At once.
    Now,
}

/// What the one who flushes keeps between flushes.
struct Turn {
    sums: Option<SumsWriter>,
    /// First offset of a segment whose sums could not be written.
    broken: Option<i64>,
    /// Where the last page of a write is filled up.
    page: Box<Page>,
}

/// What one flush has to do.
struct Work {
    targets: Vec<Target>,
    unsummed: Vec<Unsummed>,
    events: Vec<PendingEvent>,
    end: i64,
}

/// A stretch of one segment.
struct Target {
    segment: Arc<Segment>,
    from: usize,
    to: usize,
}

impl Flush {
    /// Starts with a log that is durable up to `durable`.
    pub(crate) fn new(durable: i64, sums: Option<SumsWriter>) -> Self {
        Self {
            durable: AtomicI64::new(durable),
            latch: OnceLock::new(),
            called: AtomicBool::new(false),
            hurried: AtomicBool::new(false),
            gate: Mutex::new(Gate::default()),
            wake: Condvar::new(),
            turn: Mutex::new(Turn { sums, broken: None, page: Box::default() }),
        }
    }

    pub(crate) fn durable(&self) -> i64 {
        self.durable.load(Ordering::Acquire)
    }

    pub(crate) fn latched(&self) -> Option<String> {
        self.latch.get().cloned()
    }

    /// Tells the flusher that something was appended.
    #[inline]
    pub(crate) fn call(&self, urgent: bool) {
        let first = !self.called.load(Ordering::Relaxed) && !self.called.swap(true, Ordering::AcqRel);
        let hurry = urgent && !self.hurried.load(Ordering::Relaxed) && !self.hurried.swap(true, Ordering::AcqRel);
        if first || hurry {
            let mut gate = self.gate.lock();
            gate.due = gate.due.max(if urgent { Due::Now } else { Due::Soon });
            self.wake.notify_one();
        }
    }

    pub(crate) fn when_durable(&self, log_end: i64, done: Done) {
        if let Some(outcome) = self.outcome(log_end) {
            return done(outcome);
        }
        let mut gate = self.gate.lock();
        // Looked at again under the gate: whoever flushes sets the outcome before it empties the gate.
        match self.outcome(log_end) {
            Some(outcome) => {
                drop(gate);
                done(outcome);
            }
            None => gate.waiters.push((log_end, done)),
        }
    }

    fn outcome(&self, log_end: i64) -> Option<Result<(), FlushFailed>> {
        if log_end <= self.durable() {
            return Some(Ok(()));
        }
        self.latched().map(|reason| Err(FlushFailed { reason }))
    }

    /// Sets the latch and lets all waiters know.
    pub(crate) fn fail(&self, reason: String) -> FlushFailed {
        // Said last: whoever writes the log may fail too, and those who wait may be code that panics.
        let reason = self.latch.get_or_init(|| reason).clone();
        self.release();
        tracing::error!(%reason, "a write or flush failed; the store takes no more writes");
        FlushFailed { reason }
    }

    /// Answers all waiters whose outcome is known.
    fn release(&self) {
        let ready: Vec<_> = {
            let mut gate = self.gate.lock();
            gate.waiters.extract_if(.., |(end, _)| self.outcome(*end).is_some()).collect()
        };
        for (end, done) in ready {
            if let Some(outcome) = self.outcome(end) {
                done(outcome);
            }
        }
    }

    pub(crate) fn stop(&self) {
        self.gate.lock().stop = true;
        self.wake.notify_all();
    }

    /// Waits until a flush is due; `false` when the store closes.
    fn wait(&self, mode: FlushMode) -> bool {
        let mut gate = self.gate.lock();
        self.wake.wait_while(&mut gate, |gate| gate.due == Due::Never && !gate.stop);
        if let FlushMode::Async { interval_ms, .. } = mode {
            // The interval begins with the first append, so nothing waits longer than it.
            let interval = Duration::from_millis(interval_ms);
            self.wake.wait_while_for(&mut gate, |gate| gate.due != Due::Now && !gate.stop, interval);
        }
        gate.due = Due::Never;
        self.called.store(false, Ordering::Release);
        self.hurried.store(false, Ordering::Release);
        !gate.stop
    }
}

impl Shared {
    /// The flusher's thread.
    pub(crate) fn run_flusher(&self) {
        while self.flush.wait(self.options.flush) {
            // A failure has latched the store and told everybody.
            let _ = self.flush_once();
        }
    }

    /// Makes everything appended so far durable and answers those who wait for it.
    pub(crate) fn flush_once(&self) -> Result<(), FlushFailed> {
        let mut turn = self.flush.turn.lock();
        if let Some(reason) = self.flush.latched() {
            self.flush.release();
            return Err(FlushFailed { reason });
        }
        let work = self.take_work();
        if work.targets.is_empty() {
            return Ok(());
        }
        // Its events and rows were taken: a flush that does not get to its end may not be followed by another.
        let unfinished = Unfinished(&self.flush);
        if let Err(reason) = self.write_and_sync(&work, &mut turn.page) {
            return Err(self.flush.fail(reason));
        }
        self.ahead.hot.note_durable(work.end);
        self.flush.durable.store(work.end, Ordering::Release);
        std::mem::forget(unfinished);
        self.flush.release();
        self.tell_flushed(&work.events);
        for target in &work.targets {
            let segment = &target.segment;
            segment.blocks.lock().advance(&segment.mapping, target.to);
            if let Some(unsummed) = work.unsummed.iter().find(|unsummed| unsummed.first == segment.first) {
                self.sum_up(&mut turn, target, &unsummed.rows);
            }
        }
        Ok(())
    }

    /// Collects, under the append lock, what is not durable yet.
    fn take_work(&self) -> Work {
        let durable = self.flush.durable();
        let mut head = self.head.lock();
        let events = std::mem::take(&mut head.events);
        let unsummed = std::mem::take(&mut head.pen.unsummed);
        Work { targets: targets(&head, durable), unsummed, events, end: head.log_end() }
    }

    fn write_and_sync(&self, work: &Work, page: &mut Page) -> Result<(), String> {
        for Target { segment, from, to } in &work.targets {
            let written = segment.write_out(&*self.disk, *from, *to, page);
            written.map_err(|error| describe("write", segment, &error))?;
            let synced = self.disk.sync(&segment.file);
            synced.map_err(|error| describe("flush", segment, &error))?;
        }
        Ok(())
    }

    fn tell_flushed(&self, events: &[PendingEvent]) {
        let Some(listener) = self.listener.get() else { return };
        for event in events {
            listener(&AppendedEvent {
                topic: &event.topic,
                queue_id: event.queue_id,
                queue_offset: event.queue_offset,
                tags_code: event.tags_code,
            });
        }
    }

    /// Notes the checksums of records that are durable now. Failing costs certainty at the next
    /// recovery, no message, so it is only told.
    fn sum_up(&self, turn: &mut Turn, target: &Target, records: &Rows) {
        let first = target.segment.first;
        if turn.broken == Some(first) {
            return;
        }
        if turn.sums.as_ref().is_none_or(|sums| sums.first != first) {
            let path = self.paths.sums(first);
            match SumsWriter::open(&*self.disk, &path, first, &Sums::default()) {
                Ok(sums) => turn.sums = Some(sums),
                Err(error) => return turn.give_up(first, &error),
            }
        }
        let Some(sums) = &mut turn.sums else { return };
        if let Err(error) = sums.append(&*self.disk, records, target.to) {
            turn.give_up(first, &error);
        }
    }
}

/// A flush under way; one that a panic ends latches the store.
struct Unfinished<'a>(&'a Flush);

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        self.0.latch.get_or_init(|| "a flush did not get to its end".to_owned());
    }
}

impl Turn {
    fn give_up(&mut self, first: i64, error: &std::io::Error) {
        let path = self.sums.take().map(|sums| sums.path().display().to_string());
        tracing::warn!(%error, ?path, "cannot note checksums; recovery will check less");
        self.broken = Some(first);
    }
}

/// The stretches of segments behind `durable`.
fn targets(head: &Head, durable: i64) -> Vec<Target> {
    let frozen = head.frozen.iter().map(|frozen| (&frozen.segment, frozen.tail));
    let all = frozen.chain([(&head.active, head.tail)]);
    all.map(|(segment, to)| {
        let from = to_length(durable - segment.first).min(segment.bytes);
        Target { segment: Arc::clone(segment), from, to }
    })
    .filter(|target| target.from < target.to && target.segment.first + to_offset(target.to) > durable)
    .collect()
}

fn describe(action: &str, segment: &Segment, error: &std::io::Error) -> String {
    format!("cannot {action} {}: {error}", segment.path.display())
}
