//! The budgets of rolling: how much of a core and of the network it may take.
//!
//! Owns sleeping, and how long work that yields to all else may starve. Rolling is never urgent before the disk is full,
//! and whoever produces must not feel it.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

use crate::idle::{Waiting, yield_to_all};
use crate::limits::{PACE_ROWS, PACE_SLEEP_MS_MAX, STARVED_LOOK_MS_MIN};

/// What rolling may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Hundredths of one core.
    pub cpu_percent: u32,
    /// Bytes a second that are put; `None` for as many as the store takes.
    pub bytes_per_second: Option<u64>,
}

impl Default for Budget {
    fn default() -> Self {
        Self { cpu_percent: 50, bytes_per_second: None }
    }
}

/// Keeps a budget in the thread that rolls.
#[derive(Debug)]
pub struct Pace {
    budget: Budget,
    rows: u32,
    /// When the last stretch began, by the wall and by the thread's CPU time.
    began: Instant,
    cpu: Duration,
    /// When the next put may begin.
    next_put: Instant,
    /// How the work waits for the core, while it yields to all else.
    yielding: Option<Yielding>,
}

/// Work that yields to all else.
#[derive(Debug)]
struct Yielding {
    waiting: Waiting,
    patience: Duration,
    looked: Instant,
    is_starved: bool,
}

impl Pace {
    /// Begins; call it in the thread that will work.
    #[must_use]
    pub fn new(budget: Budget) -> Self {
        let now = Instant::now();
        Self { budget, rows: 0, began: now, cpu: thread_time(), next_put: now, yielding: None }
    }

    /// Goes on in the calling thread.
    pub fn go_on_here(&mut self) {
        (self.began, self.cpu, self.yielding) = (Instant::now(), thread_time(), None);
    }

    /// Goes on in the calling thread, which yields to every other one for the rest of its life, until it has waited
    /// longer than `patience` for a core: then what it works at is broken off, see [`Pace::is_starved`].
    ///
    /// # Errors
    /// The kernel cannot do that; the thread is an ordinary one.
    pub fn yield_here(&mut self, patience: Duration) -> io::Result<()> {
        self.go_on_here();
        let waiting = yield_to_all()?;
        self.yielding = Some(Yielding { waiting, patience, looked: self.began, is_starved: false });
        Ok(())
    }

    /// Whether the work waited longer for a core than it was to.
    #[must_use]
    pub fn is_starved(&self) -> bool {
        self.yielding.as_ref().is_some_and(|yielding| yielding.is_starved)
    }

    /// Counts a row; gives now and then `true`, when it may have slept and others should be looked at.
    #[inline]
    pub fn row(&mut self) -> bool {
        self.rows += 1;
        if self.rows < PACE_ROWS {
            return false;
        }
        self.after_rows();
        true
    }

    /// Sleeps as long as what was computed since the last time asks for.
    pub fn after_rows(&mut self) {
        self.rows = 0;
        let cpu = thread_time();
        let worked = cpu.saturating_sub(self.cpu);
        let percent = self.budget.cpu_percent.clamp(1, 100);
        let due = worked * 100 / percent;
        let sleep = due.saturating_sub(self.began.elapsed()).min(Duration::from_millis(PACE_SLEEP_MS_MAX));
        if !sleep.is_zero() {
            std::thread::sleep(sleep);
        }
        (self.began, self.cpu) = (Instant::now(), cpu);
        if let Some(yielding) = &mut self.yielding
            && self.began.duration_since(yielding.looked) >= Duration::from_millis(STARVED_LOOK_MS_MIN)
        {
            yielding.looked = self.began;
            // A wait that cannot be read any more is taken for a long one: ordinary work ends.
            yielding.is_starved |= yielding.waiting.so_far().map_or(true, |waited| waited > yielding.patience);
        }
    }

    /// Waits until so many bytes may be put, or the broker stops.
    pub fn before_put(&mut self, bytes: u64, stop: &AtomicBool) {
        let Some(rate) = self.budget.bytes_per_second.filter(|rate| *rate > 0) else { return };
        let mut now = Instant::now();
        while now < self.next_put && !stop.load(Ordering::Relaxed) {
            std::thread::sleep((self.next_put - now).min(Duration::from_millis(PACE_SLEEP_MS_MAX)));
            now = Instant::now();
        }
        let took = Duration::from_secs_f64(bytes as f64 / rate as f64);
        self.next_put = self.next_put.max(now) + took;
    }
}

/// CPU time of the calling thread.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_core_is_half_a_core() {
        let mut pace = Pace::new(Budget { cpu_percent: 50, bytes_per_second: None });
        let (began, cpu) = (Instant::now(), thread_time());
        let mut sum = 0_u64;
        while thread_time() - cpu < Duration::from_millis(200) {
            (0..1_000_u64).for_each(|n| sum = sum.wrapping_add(n * n));
            pace.after_rows();
        }
        assert!(sum > 0);
        assert!(began.elapsed() >= Duration::from_millis(380), "took {:?}", began.elapsed());
    }

    #[test]
    fn work_that_yields_says_when_it_starves() {
        let cpus = std::thread::available_parallelism().unwrap().get();
        let mut pace = Pace::new(Budget { cpu_percent: 100, bytes_per_second: None });
        let (ends, until) = (AtomicBool::new(false), Instant::now() + Duration::from_secs(20));
        let busy = || (!ends.load(Ordering::Relaxed)).then(std::hint::spin_loop).is_some();
        let starved = std::thread::scope(|scope| {
            (0..cpus * 2).for_each(|_| _ = scope.spawn(|| while busy() {}));
            let yielding = scope.spawn(|| {
                pace.yield_here(Duration::from_millis(500)).unwrap();
                while Instant::now() < until && !pace.is_starved() {
                    pace.after_rows();
                }
                ends.store(true, Ordering::Relaxed);
                pace.is_starved()
            });
            yielding.join().unwrap()
        });
        assert!(starved, "others had all cores for seconds");
        pace.go_on_here();
        assert!(!pace.is_starved(), "another thread's wait is not this one's");
    }

    #[test]
    fn bytes_wait_for_their_turn() {
        let mut pace = Pace::new(Budget { cpu_percent: 100, bytes_per_second: Some(1_000_000) });
        let began = Instant::now();
        (0..3).for_each(|_| pace.before_put(100_000, &AtomicBool::new(false)));
        assert!(began.elapsed() >= Duration::from_millis(195), "took {:?}", began.elapsed());
    }
}
