//! Threads that run when no other one wants the core.
//!
//! Owns the class that they are scheduled in. The kernel takes a thread of the idle class off a core as soon as another
//! one wakes there; one of the ordinary class goes on to the end of its slice, some milliseconds, for which who produces
//! has to wait. Such a thread may starve, and cannot leave its class without privileges: whoever gives it work looks at
//! how long it has waited.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy, thread_native_id,
};
use tokio::runtime::{Builder, Runtime};
use tracing::debug;

/// Where the kernel tells how long a thread ran and how long it waited to.
const STATISTICS: &str = "/proc/thread-self/schedstat";

/// Bytes of a thread's stack, which the kernel gives as they are used. Plans of statements are walked call by call, each
/// level of them several deep.
const STACK_BYTES: usize = 32 * 1024 * 1024;

/// The time that one thread waited for a core.
#[derive(Debug)]
pub(crate) struct Waiting {
    statistics: File,
    /// How long it had waited at the begin.
    before: Duration,
}

impl Waiting {
    /// Begins for the calling thread.
    fn begin() -> io::Result<Self> {
        let mut waiting = Self { statistics: File::open(STATISTICS)?, before: Duration::ZERO };
        waiting.before = waiting.since_ever()?;
        Ok(waiting)
    }

    /// How long it has waited since the begin.
    pub(crate) fn so_far(&self) -> io::Result<Duration> {
        Ok(self.since_ever()?.saturating_sub(self.before))
    }

    /// The second number: ns in which it could have run and did not.
    fn since_ever(&self) -> io::Result<Duration> {
        let mut text = [0; 128];
        let length = self.statistics.read_at(&mut text, 0)?;
        let text = str::from_utf8(text.get(..length).unwrap_or_default()).map_err(io::Error::other)?;
        let waited = text.split_whitespace().nth(1).and_then(|number| number.parse().ok());
        waited.map(Duration::from_nanos).ok_or_else(|| io::Error::other(format!("{STATISTICS} holds {text:?}")))
    }
}

/// Lets the calling thread run only when no other one wants the core, for the rest of its life.
///
/// # Errors
/// The kernel does not tell how long threads wait, or does not know the class: the thread stays as it was.
pub(crate) fn yield_to_all() -> io::Result<Waiting> {
    let waiting = Waiting::begin()?;
    let policy = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, policy).map_err(io::Error::other)?;
    Ok(waiting)
}

/// A runtime whose threads yield to all else: `workers` of them, and `blocking` for what waits for a disk, under a name.
///
/// # Errors
/// The kernel gives no thread.
pub fn runtime(name: &'static str, (workers, blocking): (usize, usize)) -> io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(workers)
        .max_blocking_threads(blocking)
        .thread_name(name)
        .thread_stack_size(STACK_BYTES)
        .enable_all()
        .on_thread_start(move || {
            if let Err(error) = yield_to_all() {
                debug!(%error, name, "a thread does not yield to others");
            }
        })
        .build()
}

#[cfg(test)]
mod tests {
    use std::thread;

    use tokio::spawn;
    use tokio::task::spawn_blocking;

    use super::*;

    const SCHED_OTHER: &str = "0";
    const SCHED_IDLE: &str = "5";

    /// The class of the calling thread, as the kernel tells it.
    fn class() -> String {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let behind_name = stat.rsplit(')').next().unwrap();
        behind_name.split_whitespace().nth(38).unwrap().to_owned()
    }

    #[test]
    fn one_thread_yields_and_others_do_not() {
        assert_eq!(class(), SCHED_OTHER);
        thread::spawn(|| {
            let waiting = yield_to_all().unwrap();
            assert_eq!(class(), SCHED_IDLE);
            thread::sleep(Duration::from_millis(50));
            assert!(waiting.so_far().unwrap() < Duration::from_millis(40), "sleeping is not waiting");
        })
        .join()
        .unwrap();
        let runtime = runtime("idle", (1, 1)).unwrap();
        let classes = runtime.block_on(async { (spawn(async { class() }).await, spawn_blocking(class).await) });
        assert_eq!((classes.0.unwrap(), classes.1.unwrap()), (SCHED_IDLE.to_owned(), SCHED_IDLE.to_owned()));
        assert_eq!(class(), SCHED_OTHER);
    }
}
