//! A store on a simulated disk, driven step by step, with a ledger of what it was told and what it said.
//!
//! Owns the steps that scenarios are made of. A step that the store refuses is noted and the script goes on.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use strata_protocol::properties::IndexTerms;
use strata_protocol::record::{RecordView, records};
use strata_store::{
    AppendError, Appended, Disk, FlushMode, KeepAll, NewMessage, ReadStatus, Retention, Store, StoreOptions,
};
use tempfile::TempDir;

use super::disk::{Call, Fault, SimDisk};
use super::image::{Crash, Event, Image, materialise};
use super::ledger::{Mark, Messages, Place};
use crate::common::{EVERYTHING, TestClock, message, options};

/// Bytes of a segment.
pub(crate) const SEGMENT_BYTES: u64 = 64 * 1024;

/// Milliseconds that messages are kept.
pub(crate) const KEEP_MS: u64 = 3_600_000;

/// 2024-01-01, a clock that was set.
const START_MS: i64 = 1_704_067_200_000;

/// A disk put before the simulated one, which may do other than it was asked.
pub(crate) type Front = dyn Fn(Arc<SimDisk>) -> Arc<dyn Disk> + Send + Sync;

/// Store, disk and ledger.
pub(crate) struct Rig {
    base: TempDir,
    front: Arc<Front>,
    pub(crate) disk: Arc<SimDisk>,
    pub(crate) options: StoreOptions,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) store: Option<Arc<Store>>,
    pub(crate) messages: Messages,
    /// Which life of a topic its messages belong to, and how often its deletion was begun.
    lives: HashMap<&'static str, (usize, usize)>,
    /// Waiters that were asked for, and that were answered.
    waiters: (usize, Arc<AtomicUsize>),
    past: Past,
    pub(crate) tally: Tally,
}

/// What a script came across on its way.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) wrong: Vec<String>,
    /// Appends refused because no segment could be made.
    pub(crate) full: usize,
    /// How often a store was given up after it had latched.
    pub(crate) latches: usize,
}

/// What was before the disk that is in use now, and what is to happen on it.
#[derive(Default)]
struct Past {
    /// The disk at the trace's beginning.
    start: Image,
    /// Events at the trace's beginning that repeat what was noted before a power cut.
    told: usize,
    /// Calls on the disks before, and the one that was hit there.
    calls: usize,
    hit: Option<Call>,
    fault: Option<(usize, Fault)>,
}

/// The folder for stores: in memory where the system has one, because a simulated disk flushes nothing.
pub(crate) fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

/// Options of all simulated stores.
pub(crate) fn sim_options(base: &Path, sync: bool) -> StoreOptions {
    let flush = if sync { FlushMode::Sync } else { FlushMode::Async { interval_ms: 3_600_000, bytes_max: u64::MAX } };
    let retention = Retention { keep_ms: KEEP_MS, ..Retention::default() };
    StoreOptions { segment_bytes: SEGMENT_BYTES, flush, retention, ..options(&base.join("store")) }
}

pub(crate) fn sim_clock() -> Arc<TestClock> {
    TestClock::at(START_MS)
}

impl Rig {
    pub(crate) fn new(sync: bool, front: Arc<Front>) -> Self {
        let base = scratch();
        let disk = Arc::new(SimDisk::over(base.path()));
        Self {
            options: sim_options(base.path(), sync),
            past: Past { start: disk.trace().1, ..Past::default() },
            base,
            front,
            disk,
            clock: sim_clock(),
            store: None,
            messages: Messages::default(),
            lives: HashMap::new(),
            waiters: (0, Arc::default()),
            tally: Tally::default(),
        }
    }

    pub(crate) fn is_sync(&self) -> bool {
        self.options.flush == FlushMode::Sync
    }

    /// The disk at the trace's beginning.
    pub(crate) fn start(&self) -> Image {
        self.past.start.clone()
    }

    /// Calls on the disk so far.
    pub(crate) fn calls(&self) -> usize {
        self.past.calls + self.disk.calls()
    }

    /// Lets a call fail.
    pub(crate) fn fail_at(&mut self, at: usize, fault: Fault) {
        self.past.fault = Some((at, fault));
        if let Some(at) = at.checked_sub(self.past.calls) {
            self.disk.fail_at(at, fault);
        }
    }

    /// The call that failed.
    pub(crate) fn hit(&self) -> Option<Call> {
        self.past.hit.clone().or_else(|| self.disk.hit())
    }

    /// Whether a new message is taken and made durable.
    pub(crate) fn takes_more(&mut self) -> bool {
        let number = self.messages.0.len();
        self.send("T", 0, (100, 0));
        self.flush();
        let events = self.disk.trace().0;
        events.iter().any(|event| matches!(event, Event::Mark(Mark::Durable(durable)) if *durable == number))
    }

    /// How many events at the trace's beginning only repeat what was noted before a power cut.
    pub(crate) fn told(&self) -> usize {
        self.past.told
    }

    fn segment(&self, first: i64) -> PathBuf {
        self.options.root.join("commitlog").join(format!("{first:020}"))
    }

    /// Opens the store, unless it is open. What it shows from before is durable from now on: nobody may
    /// take it for lost later. What it does not show must never come back.
    pub(crate) fn open(&mut self) {
        if self.store.is_some() || self.disk.is_dead() {
            return;
        }
        let disk = (self.front)(Arc::clone(&self.disk));
        let Ok((store, _)) = Store::open_on(self.options.clone(), Arc::clone(&self.clock) as _, disk) else { return };
        self.disk.serve(true);
        self.store = Some(store);
        self.reconcile();
    }

    /// Makes the empty folder a log that begins elsewhere, with queues that go on.
    pub(crate) fn begin(&mut self, log_offset: i64, queues: &[(&'static str, i32, i64)]) {
        let rows = queues.iter().map(|(topic, queue_id, next)| {
            let (queue_id, next) = (*queue_id, *next);
            strata_store::NextOffset { topic: Arc::from(*topic), queue_id, next }
        });
        let disk = (self.front)(Arc::clone(&self.disk));
        // What fails leaves an empty folder, or all of it.
        if strata_store::begin_at_on(self.options.clone(), &*disk, (log_offset, START_MS), rows).is_ok() {
            queues.iter().for_each(|(topic, queue, next)| self.disk.mark(Mark::Begun(topic, *queue, *next)));
        }
    }

    fn reconcile(&mut self) {
        if self.disk.is_dead() {
            return;
        }
        let (events, _) = self.disk.trace();
        let mut moment = super::ledger::Moment::new(self.messages.0.len());
        events.iter().for_each(|event| {
            if let Event::Mark(mark) = event {
                moment.take(mark, [].iter());
            }
        });
        let there = self.readable();
        if self.disk.is_dead() {
            // Killed while it was read: what does not show says nothing.
            return;
        }
        for (number, known) in moment.known.iter().enumerate() {
            let gone = known.durable || known.harmed || known.void;
            if !known.sending || self.messages.0[number].half {
                continue;
            }
            match there.get(&number) {
                Some(place) => {
                    if known.place.is_none() {
                        self.disk.mark(Mark::Sent(number, *place));
                    }
                    self.disk.mark(Mark::Durable(number));
                }
                None if !gone => self.disk.mark(Mark::Void(number)),
                None => {}
            }
        }
        if let Some(store) = &self.store {
            self.disk.mark(Mark::Swept(store.log_range().0));
            self.disk.mark(Mark::Opened);
        }
    }

    /// All messages in queues that a reader gets now, with their places.
    pub(crate) fn readable(&mut self) -> HashMap<usize, Place> {
        let mut out = HashMap::new();
        let Some(store) = &self.store else { return out };
        let mut queues: Vec<_> = self.messages.0.iter().map(|message| (message.topic, message.queue)).collect();
        queues.sort_unstable();
        queues.dedup();
        for (topic, queue) in queues {
            let Some(range) = store.queue_range(topic, queue) else { continue };
            let (mut at, mut again) = (range.min, false);
            while at < range.max {
                let read = store.read(topic, queue, at, &EVERYTHING, &mut KeepAll);
                for record in read.slices.iter().flat_map(|slice| records(slice)) {
                    let Ok(record) = record else {
                        self.tally.wrong.push(format!("a reader of {topic}/{queue} got what is no record"));
                        break;
                    };
                    match self.messages.of((topic, record.body(), record.properties())) {
                        Some(number) => drop(out.insert(number, place_of(&record))),
                        None => self.tally.wrong.push(format!("a reader of {topic}/{queue} got what nobody sent")),
                    }
                }
                if read.next_offset <= at && matches!(read.status, ReadStatus::Unavailable { .. }) && !again {
                    // One call failed, the next one does not.
                    again = true;
                    continue;
                }
                if read.next_offset <= at {
                    if !self.disk.is_dead() {
                        self.tally.wrong.push(format!("{topic}/{queue} cannot be read at {at}: {:?}", read.status));
                    }
                    break;
                }
                at = read.next_offset;
            }
        }
        out
    }

    /// The store, unless it is closed or its process was killed.
    fn running(&self) -> Option<Arc<Store>> {
        self.store.clone().filter(|_| !self.disk.is_dead())
    }

    /// Sends one message with as many bytes in body and properties.
    pub(crate) fn send(&mut self, topic: &'static str, queue: i32, bytes: (usize, usize)) {
        self.send_all(&[(topic, queue, bytes)], 0);
    }

    /// Sends the first part of a transaction.
    pub(crate) fn send_half(&mut self, topic: &'static str, queue: i32, bytes: (usize, usize)) {
        const PREPARED: i32 = 4;
        self.send_all(&[(topic, queue, bytes)], PREPARED);
    }

    /// Sends a batch, or one message; waits for its flush with synchronous flush.
    pub(crate) fn send_all(&mut self, what: &[(&'static str, i32, (usize, usize))], sys_flag: i32) {
        let Some(store) = self.running() else { return };
        let numbers: Vec<usize> = what
            .iter()
            .map(|(topic, queue, bytes)| {
                let life = self.lives.get(topic).map_or(0, |(life, _)| *life);
                self.messages.make((topic, *queue, life), *bytes)
            })
            .collect();
        for number in &numbers {
            self.messages.0[*number].half = sys_flag != 0;
            self.disk.mark(Mark::Sending(*number));
        }
        let drafts: Vec<_> = numbers
            .iter()
            .map(|number| {
                let own = &self.messages.0[*number];
                let draft = message(own.topic, own.queue, &own.body);
                let terms = IndexTerms::of(&own.properties);
                NewMessage { sys_flag, properties: &own.properties, terms, ..draft }
            })
            .collect();
        let latched = store.latched();
        let outcome = match &drafts[..] {
            [one] => store.append(one).map(|appended| vec![appended]),
            many => store.append_batch(many),
        };
        match outcome {
            Ok(appended) => {
                if let Some(reason) = latched {
                    self.tally.wrong.push(format!("an append was taken although the store had latched: {reason}"));
                }
                self.sent(&store, &numbers, &appended);
            }
            Err(AppendError::DiskFull { .. }) => self.tally.full += 1,
            Err(AppendError::Latched { .. } | AppendError::Busy { .. }) => {}
            Err(error) => self.tally.wrong.push(format!("an append failed: {error}")),
        }
    }

    fn sent(&mut self, store: &Arc<Store>, numbers: &[usize], appended: &[Appended]) {
        let last = appended[appended.len() - 1].log_end;
        for (number, appended) in numbers.iter().zip(appended) {
            let Appended { physical_offset: from, log_end: to, queue_offset: offset, .. } = *appended;
            self.disk.mark(Mark::Sent(*number, Place { offset, from, to }));
        }
        self.waiters.0 += 1;
        let (disk, answered, numbers) = (Arc::clone(&self.disk), Arc::clone(&self.waiters.1), numbers.to_vec());
        let done = move |outcome: Result<(), _>| {
            if outcome.is_ok() {
                numbers.iter().for_each(|number| disk.mark(Mark::Durable(*number)));
            }
            answered.fetch_add(1, Ordering::SeqCst);
        };
        store.when_durable(last, Box::new(done));
        if self.is_sync() {
            // Read before the flush is waited for: what shows too early is caught by the next crash.
            self.look_at(appended.len());
            self.flush();
            self.look_at(appended.len());
        }
    }

    /// Reads what was sent last and notes what a reader gets.
    fn look_at(&self, count: usize) {
        let Some(store) = &self.store else { return };
        let numbers = self.messages.0.len() - count..self.messages.0.len();
        for number in numbers {
            let own = &self.messages.0[number];
            let Some(range) = store.queue_range(own.topic, own.queue) else { continue };
            let read = store.read(own.topic, own.queue, (range.max - 1).max(range.min), &EVERYTHING, &mut KeepAll);
            if read.status != ReadStatus::Found {
                continue;
            }
            // What is no record is found by whoever reads the whole queue.
            for record in read.slices.iter().flat_map(|slice| records(slice)).filter_map(Result::ok) {
                if let Some(seen) = self.messages.of((own.topic, record.body(), record.properties())) {
                    self.disk.mark(Mark::Seen(seen));
                }
            }
        }
    }

    /// Makes durable what was sent; every waiter has its answer afterwards.
    pub(crate) fn flush(&mut self) {
        let Some(store) = self.running() else { return };
        let failed = store.flush_now().is_err();
        if failed != store.latched().is_some() {
            self.tally.wrong.push(format!("a flush that failed ({failed}) and the latch disagree"));
        }
        self.all_answered();
    }

    fn all_answered(&mut self) {
        let answered = self.waiters.1.load(Ordering::SeqCst);
        if answered != self.waiters.0 {
            self.tally.wrong.push(format!("{answered} of {} waiters were answered", self.waiters.0));
        }
    }

    pub(crate) fn seal_pending(&mut self) {
        if let Some(store) = &self.store {
            // What fails is tried again by the next call.
            let _ = store.seal_pending();
        }
    }

    pub(crate) fn seal_active(&mut self) {
        if let Some(store) = &self.store {
            let _ = store.seal_active();
        }
    }

    /// Waits until the store's own threads have sealed what is full.
    pub(crate) fn wait_for_seals(&self) {
        const LOOKS_MAX: usize = 20_000;
        let pending = |store: &Arc<Store>| store.stats().sealing > 0;
        for _ in 0..LOOKS_MAX {
            if !self.store.as_ref().is_some_and(pending) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }

    /// Sends until the log has gone on in the next segment.
    pub(crate) fn roll(&mut self, topic: &'static str, queue: i32) {
        const TRIES_MAX: usize = 12;
        let segments = |rig: &Self| rig.store.as_ref().map_or(0, |store| store.log_range().1 as u64 / SEGMENT_BYTES);
        let before = segments(self);
        for _ in 0..TRIES_MAX {
            if segments(self) != before {
                return;
            }
            self.send(topic, queue, (15_000, 0));
        }
    }

    /// Lets time pass and deletes what is too old.
    pub(crate) fn sweep(&mut self) {
        self.clock.pass(KEEP_MS + 1);
        let Some(store) = self.running() else { return };
        self.disk.mark(Mark::Sweeping);
        let swept = store.sweep(&|_| None, i64::MAX);
        // A sweep that failed has trimmed readers' view or not; its file may go later.
        if swept.is_ok() {
            self.disk.mark(Mark::Swept(store.log_range().0));
        }
    }

    pub(crate) fn forget(&mut self, topic: &'static str) {
        let Some(store) = self.running() else { return };
        self.disk.mark(Mark::Forgetting(topic));
        let lives = self.lives.entry(topic).or_default();
        lives.1 += 1;
        if store.forget_topic(topic).is_ok() {
            self.disk.mark(Mark::Forgot(topic));
            lives.0 = lives.1;
        }
    }

    pub(crate) fn close(&mut self) {
        if let Some(store) = self.store.take() {
            let closed = store.close();
            let latched = store.latched().is_some();
            if latched && closed.is_ok() {
                self.tally.wrong.push("a store that had latched closed without an error".to_owned());
            }
            self.tally.latches += usize::from(latched);
            self.disk.serve(false);
        }
        self.all_answered();
    }

    /// Ends the process: nothing that it would still write is written.
    pub(crate) fn kill(&mut self) {
        if let Some(store) = self.store.take() {
            self.tally.latches += usize::from(store.latched().is_some());
            self.disk.kill();
            drop(store);
        }
        self.disk.serve(false);
        self.disk.revive();
    }

    /// Writes what waits for a flush, and ends before it is flushed.
    pub(crate) fn write_unflushed(&mut self) {
        // With synchronous flush the store's own thread writes when it likes.
        if !self.is_sync() {
            self.disk.kill_at(self.disk.calls() + 1);
            self.flush();
            if self.disk.is_dead() {
                // That it latches then says nothing.
                self.store = None;
            }
        }
    }

    /// Cuts the power: goes on with what a crash left.
    pub(crate) fn cut_power(&mut self, crash: Crash) {
        self.kill();
        let (events, image) = self.disk.trace();
        (self.past.calls, self.past.hit) = (self.calls(), self.hit());
        if self.options.root.exists() {
            std::fs::remove_dir_all(&self.options.root).unwrap();
        }
        materialise(&image.after(crash), self.base.path());
        self.disk = Arc::new(SimDisk::over(self.base.path()));
        self.past.start = self.disk.trace().1;
        let marks =
            events.into_iter().filter_map(|event| if let Event::Mark(mark) = event { Some(mark) } else { None });
        marks.for_each(|mark| self.disk.mark(mark));
        self.disk.mark(Mark::Cut);
        self.past.told = self.disk.trace().0.len();
        if let Some((at, fault)) = self.past.fault {
            self.fail_at(at, fault);
        }
    }

    /// Changes files beside a store that is not open, as an accident would.
    pub(crate) fn meddle(&mut self, change: impl FnOnce(&Path)) {
        assert!(self.store.is_none(), "the store is closed first");
        // After a failing call there may be nothing to meddle with.
        if self.disk.is_dead() || !self.options.root.join("sidecar").is_dir() {
            return;
        }
        change(&self.options.root);
        let changed = self.disk.settle_changes();
        assert!(changed || self.hit().is_some(), "the script changed nothing");
    }

    /// Flips a byte in the middle of a message's body.
    pub(crate) fn harm(&mut self, number: usize) {
        let (events, _) = self.disk.trace();
        let place = events.iter().rev().find_map(|event| match event {
            Event::Mark(Mark::Sent(sent, place)) if *sent == number => Some(*place),
            _ => None,
        });
        let Some(place) = place else { return };
        let hit = (place.from + place.to) / 2;
        // What took its place after a failure is hit instead.
        for event in &events {
            if let Event::Mark(Mark::Sent(sent, other)) = event
                && (other.from..other.to).contains(&hit)
            {
                self.disk.mark(Mark::Harmed(*sent));
            }
        }
        let first = place.from / SEGMENT_BYTES as i64 * SEGMENT_BYTES as i64;
        let path = self.segment(first);
        if path.exists() {
            self.meddle(|_| flip(&path, (hit - first) as u64));
        }
    }
}

fn flip(path: &Path, at: u64) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x55], at).unwrap();
}

pub(crate) fn place_of(record: &RecordView<'_>) -> Place {
    let from = record.physical_offset();
    Place { offset: record.queue_offset(), from, to: from + record.bytes().len() as i64 }
}
