//! The store with its own threads: many writers and readers while segments fill, seal and go.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use strata_store::{FlushMode, KeepAll, ReadBudget, ReadStatus, Store, StoreOptions, SystemClock};

use crate::common::*;

/// Waits until `done`, for at most half a minute.
#[allow(clippy::disallowed_methods, reason = "a deadline of a test is real time")]
fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::yield_now();
    }
}

fn threads(flush: FlushMode) {
    const WRITERS: i32 = 3;
    const EACH: i64 = 600;
    let folder = tempfile::tempdir().unwrap();
    let options = StoreOptions { upkeep: true, flush, ..options(folder.path()) };
    let clock = Arc::new(SystemClock::new());
    let (store, _) = Store::open(options.clone(), Arc::clone(&clock) as _).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|queue| {
                let store = &store;
                scope.spawn(move || {
                    for number in 0..EACH {
                        let body = format!("{queue}/{number}").repeat(100);
                        let appended = append(store, "T", queue, body.as_bytes());
                        assert_eq!(appended.queue_offset, number);
                    }
                })
            })
            .collect();
        for queue in 0..WRITERS {
            let (store, stop) = (&store, &stop);
            scope.spawn(move || {
                let mut offset = 0;
                while offset < EACH && !stop.load(Ordering::Relaxed) {
                    let budget = ReadBudget::default();
                    let read = store.read("T", queue, offset, &budget, &mut KeepAll);
                    for (at, body) in bodies(&read) {
                        assert_eq!(at, offset);
                        assert_eq!(body, format!("{queue}/{at}").repeat(100).as_bytes());
                        offset += 1;
                    }
                    let wait = matches!(read.status, ReadStatus::AtEnd | ReadStatus::Empty);
                    assert!(wait || read.status == ReadStatus::Found, "{:?}", read.status);
                    std::thread::yield_now();
                }
            });
        }
        let failed = writers.into_iter().any(|writer| writer.join().is_err());
        stop.store(failed, Ordering::Relaxed);
        assert!(!failed);
    });
    store.flush_now().unwrap();
    assert!(store.stats().segments > 8);
    wait_until("sealing", || store.stats().sealing == 0);
    let expected: Vec<_> = (0..WRITERS).map(|queue| all(&store, "T", queue)).collect();
    assert!(expected.iter().all(|queue| queue.len() == EACH as usize));
    store.close().unwrap();
    drop(store);
    let (store, recovery) = Store::open(options, clock).unwrap();
    assert_eq!((recovery.cut, recovery.conflicts, recovery.damaged.len()), (None, 0, 0));
    let again: Vec<_> = (0..WRITERS).map(|queue| all(&store, "T", queue)).collect();
    assert_eq!(again, expected);
}

#[test]
fn readers_and_writers_agree_with_asynchronous_flush() {
    threads(FlushMode::Async { interval_ms: 2, bytes_max: 100_000 });
}

#[test]
fn readers_and_writers_agree_with_synchronous_flush() {
    threads(FlushMode::Sync);
}
