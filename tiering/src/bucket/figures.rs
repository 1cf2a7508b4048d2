//! What a bucket did, in numbers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::breaker::BreakerState;
use super::error::Call;

/// What one kind of call did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallFigures {
    /// Which.
    pub call: Call,
    /// Calls that were begun.
    pub calls: u64,
    /// Calls that ended in an error other than that there is no such object.
    pub failures: u64,
    /// Attempts beside the first one of each call.
    pub retries: u64,
    /// Time in these calls, with their pauses.
    pub time: Duration,
}

/// What a bucket did since it was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketFigures {
    /// Each kind of call, in the order of [`Call::ALL`].
    pub calls: [CallFigures; 7],
    /// Bytes of objects that were read.
    pub bytes_read: u64,
    /// Bytes of objects that were sent, those of attempts in vain included.
    pub bytes_sent: u64,
    /// Whether calls pass.
    pub breaker: BreakerState,
    /// How often the store was given up.
    pub breaker_opened: u64,
}

#[derive(Debug, Default)]
struct Counters {
    calls: AtomicU64,
    failures: AtomicU64,
    retries: AtomicU64,
    micros: AtomicU64,
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    of: [Counters; 7],
    read: AtomicU64,
    sent: AtomicU64,
    opened: AtomicU64,
}

fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

impl Counts {
    fn of(&self, call: Call) -> &Counters {
        let [create, put, upload, read, size, delete, list] = &self.of;
        match call {
            Call::Create => create,
            Call::Put => put,
            Call::Upload => upload,
            Call::Read => read,
            Call::Size => size,
            Call::Delete => delete,
            Call::List => list,
        }
    }

    pub(super) fn began(&self, call: Call) {
        add(&self.of(call).calls, 1);
    }

    pub(super) fn ended(&self, call: Call, failed: bool, took: Duration) {
        add(&self.of(call).failures, u64::from(failed));
        add(&self.of(call).micros, u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    pub(super) fn retried(&self, call: Call) {
        add(&self.of(call).retries, 1);
    }

    pub(super) fn read(&self, bytes: usize) {
        add(&self.read, bytes as u64);
    }

    pub(super) fn sent(&self, bytes: usize) {
        add(&self.sent, bytes as u64);
    }

    pub(super) fn opened(&self) {
        add(&self.opened, 1);
    }

    pub(super) fn figures(&self, breaker: BreakerState) -> BucketFigures {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let calls = Call::ALL.map(|call| {
            let of = self.of(call);
            CallFigures {
                call,
                calls: load(&of.calls),
                failures: load(&of.failures),
                retries: load(&of.retries),
                time: Duration::from_micros(load(&of.micros)),
            }
        });
        BucketFigures {
            calls,
            bytes_read: load(&self.read),
            bytes_sent: load(&self.sent),
            breaker,
            breaker_opened: load(&self.opened),
        }
    }
}
