//! The store's own threads: flushing, making room ahead, sealing and deleting behind, and reading again.
//!
//! Owns when they wake. What each does is told in `flush`, `seal`, `retain` and `scrub`.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::limits::{DISK_LOOK_INTERVAL_MS, SWEEP_INTERVAL_MS, WARM_AHEAD_BYTES, WARM_CHUNK_BYTES, WARM_STEP_BYTES};
use crate::store::Shared;

/// Calls to the upkeep threads.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    state: Mutex<State>,
    ahead: Condvar,
    behind: Condvar,
    /// Nobody calls this one but to stop it.
    scrub: Condvar,
}

#[derive(Debug, Default)]
struct State {
    ahead: bool,
    stop: bool,
}

impl Calls {
    /// The writer has used up what was made ready, or gone on in a new segment.
    pub(crate) fn ahead(&self) {
        self.state.lock().ahead = true;
        self.ahead.notify_one();
        self.behind.notify_one();
    }

    pub(crate) fn stop(&self) {
        self.state.lock().stop = true;
        self.ahead.notify_all();
        self.behind.notify_all();
        self.scrub.notify_all();
    }

    /// Waits for a call; `false` when the store closes.
    fn wait_ahead(&self) -> bool {
        let mut state = self.state.lock();
        self.ahead.wait_while(&mut state, |state| !state.ahead && !state.stop);
        state.ahead = false;
        !state.stop
    }

    /// Waits for a call or for `time`; `false` when the store closes.
    fn wait_behind(&self, time: Duration) -> bool {
        self.wait(&self.behind, time)
    }

    /// Waits for `time`; `false` when the store closes.
    pub(crate) fn wait_scrub(&self, time: Duration) -> bool {
        self.wait(&self.scrub, time)
    }

    fn wait(&self, call: &Condvar, time: Duration) -> bool {
        let mut state = self.state.lock();
        if !state.stop {
            call.wait_for(&mut state, time);
        }
        !state.stop
    }
}

/// Starts the threads that the options ask for.
pub(crate) fn start(shared: &Arc<Shared>) -> io::Result<Vec<JoinHandle<()>>> {
    let spawn = |name: &'static str, run: fn(&Shared)| {
        let shared = Arc::clone(shared);
        Builder::new().name(name.to_owned()).spawn(move || run_or_latch(&shared, name, run))
    };
    let mut threads = vec![spawn("store-flush", Shared::run_flusher)?];
    if shared.options.upkeep {
        threads.push(spawn("store-ahead", Shared::run_ahead)?);
        threads.push(spawn("store-behind", Shared::run_behind)?);
        threads.push(spawn("store-scrub", Shared::run_scrub)?);
    }
    Ok(threads)
}

/// Runs a thread of the store. A panic latches the store: without the thread appends would be promised
/// what nobody does any more, in silence.
fn run_or_latch(shared: &Shared, name: &str, run: fn(&Shared)) {
    let ended = catch_unwind(AssertUnwindSafe(|| run(shared)));
    if ended.is_err() {
        // Those who are told run code of others too, and it may have been theirs that panicked; so may writing
        // the log. The latch is set before either.
        let fail = || drop(shared.flush.fail(format!("the thread {name} panicked")));
        if catch_unwind(AssertUnwindSafe(fail)).is_err() {
            let say = || tracing::error!(name, "who was told that a thread panicked did so too");
            // Nobody is left who could be told.
            let _ = catch_unwind(say);
        }
    }
}

impl Shared {
    /// Keeps pages ahead of the writer present and the next segment ready.
    fn run_ahead(&self) {
        let mut warm = Warm::default();
        loop {
            self.make_ready(&mut warm);
            if !self.calls.wait_ahead() {
                return;
            }
        }
    }

    fn make_ready(&self, warm: &mut Warm) {
        let (segment, tail) = {
            let head = self.head.lock();
            (Arc::clone(&head.active), head.tail)
        };
        let half = segment.bytes / 2;
        if tail >= half {
            self.prepare_spare(segment.end());
        }
        let mut call_at = if tail >= half { usize::MAX } else { half };
        if warm.first != Some(segment.first) {
            *warm = Warm { first: Some(segment.first), to: tail };
        }
        if let Err(error) = self.ahead.hot.cover(&*self.disk, &segment, tail + WARM_AHEAD_BYTES, self.flush.durable()) {
            // The append that needs it tries again, and is refused when it fails.
            tracing::debug!(?error, "cannot lay memory ahead of the writer");
        }
        let goal = segment.laid().min(tail + WARM_AHEAD_BYTES);
        while warm.to < goal {
            let chunk = WARM_CHUNK_BYTES.min(goal - warm.to);
            if let Err(error) = segment.mapping.populate(warm.to, chunk) {
                // Appends then pay for their own page faults.
                tracing::debug!(%error, "cannot make pages ready ahead of the writer");
            }
            warm.to += chunk;
        }
        if warm.to < segment.bytes {
            call_at = call_at.min(warm.to.saturating_sub(WARM_AHEAD_BYTES / 2).max(tail + WARM_STEP_BYTES));
        }
        let mut head = self.head.lock();
        if Arc::ptr_eq(&head.active, &segment) {
            head.call_at = call_at;
        }
    }

    /// Makes the segment at `first` unless that was done before.
    pub(crate) fn prepare_spare(&self, first: i64) {
        let mut spare = self.ahead.spare.lock();
        if first <= spare.made {
            return;
        }
        match self.create_segment(first) {
            Ok(segment) => {
                spare.made = first;
                spare.segment = Some(segment);
            }
            Err(error) => tracing::warn!(%error, "cannot prepare the next segment yet"),
        }
    }

    /// Seals full segments, watches the disk, and deletes what need not be kept.
    fn run_behind(&self) {
        let mut swept = self.clock.monotonic();
        while self.calls.wait_behind(Duration::from_millis(DISK_LOOK_INTERVAL_MS)) {
            if let Err(error) = self.seal_aged() {
                tracing::warn!(%error, "cannot go on in a new segment yet");
            }
            if let Err(error) = self.seal_pending() {
                tracing::warn!(%error, "cannot seal yet");
            }
            self.look_at_disk();
            let now = self.clock.monotonic();
            if now.saturating_sub(swept) >= Duration::from_millis(SWEEP_INTERVAL_MS) {
                swept = now;
                self.sweep_by_timer();
            }
        }
    }
}

/// How far pages were made present.
#[derive(Debug, Default)]
struct Warm {
    first: Option<i64>,
    to: usize,
}
