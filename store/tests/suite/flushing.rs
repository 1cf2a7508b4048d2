//! Durability: what is visible when, group commit, and the latch after a failure.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use strata_store::{AppendError, FlushFailed, FlushMode, KeyKind, QueueRange, ReadStatus, Store, StoreOptions};

use crate::common::*;

/// How long a test waits for another thread before it gives up.
const DEADLINE: Duration = Duration::from_secs(20);

/// Asks to be told when `log_end` is durable.
fn wait_for(store: &Store, log_end: i64) -> Receiver<Result<(), FlushFailed>> {
    let (sender, receiver) = channel();
    store.when_durable(log_end, Box::new(move |outcome| sender.send(outcome).unwrap()));
    receiver
}

#[test]
fn synchronous_appends_are_seen_when_they_are_durable() {
    let folder = tempfile::tempdir().unwrap();
    // Nothing is flushed while the disk is held.
    let disk = Arc::new(TestDisk::default());
    let (store, _) =
        Store::open_on(sync_options(folder.path()), TestClock::at(1_000_000), Arc::clone(&disk) as _).unwrap();
    let hold = disk.hold.lock();
    let (seen, heard) = channel();
    store.listen(Box::new(move |event| seen.send(event.queue_offset).unwrap()));
    let properties = b"KEYS\x01k\x02";
    let first = store.append(&with_properties("T", 0, b"a", properties)).unwrap();
    let second = store.append(&with_properties("T", 0, b"b", properties)).unwrap();
    assert_eq!((first.queue_offset, second.queue_offset), (0, 1));
    assert_eq!(store.durable_offset(), 0);
    assert_eq!(read(&store, "T", 0, 0).status, ReadStatus::Empty);
    assert_eq!(store.queue_range("T", 0), Some(QueueRange { min: 0, max: 0 }));
    assert!(store.record_at(first.physical_offset).is_none());
    assert_eq!(store.query_by_key("T", "k", 0, i64::MAX, 9, KeyKind::Key).len(), 0);
    assert!(heard.try_recv().is_err());
    let durable = wait_for(&store, second.log_end);
    assert!(durable.try_recv().is_err());
    // What a power cut would leave now knows nothing of either.
    let crashed = tempfile::tempdir().unwrap();
    copy(folder.path(), crashed.path());
    std::fs::remove_file(crashed.path().join("hot")).unwrap();
    drop(hold);
    assert_eq!(durable.recv_timeout(DEADLINE), Ok(Ok(())));
    assert!(store.durable_offset() >= second.log_end);
    assert_eq!(heard.recv_timeout(DEADLINE), Ok(0));
    assert_eq!(heard.recv_timeout(DEADLINE), Ok(1));
    assert_eq!(all(&store, "T", 0).len(), 2);
    assert!(store.record_at(first.physical_offset).is_some());
    assert_eq!(store.query_by_key("T", "k", 0, i64::MAX, 9, KeyKind::Key).len(), 2);
    let (again, _) = open(sync_options(crashed.path()));
    assert_eq!(again.queue_range("T", 0), None);
}

#[test]
fn synchronous_appends_survive_over_segments() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(sync_options(folder.path()));
    let mut expected = Vec::new();
    let mut last = 0;
    for number in 0..300_i64 {
        let body = vec![number as u8; 900];
        last = append(&store, "T", 0, &body).log_end;
        expected.push((number, body));
    }
    assert_eq!(wait_for(&store, last).recv_timeout(DEADLINE), Ok(Ok(())));
    let crashed = tempfile::tempdir().unwrap();
    copy(folder.path(), crashed.path());
    assert_eq!(all(&store, "T", 0), expected);
    store.seal_pending().unwrap();
    assert_eq!(all(&store, "T", 0), expected);
    let (again, recovery) = open(sync_options(crashed.path()));
    assert_eq!((recovery.cut, recovery.damaged.len()), (None, 0));
    assert_eq!(all(&again, "T", 0), expected);
}

#[test]
fn many_producers_share_flushes() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(TestDisk::default());
    let mut options = sync_options(folder.path());
    options.segment_bytes = 4 * 1024 * 1024;
    let (store, _) = Store::open_on(options, TestClock::at(1_000_000), Arc::clone(&disk) as _).unwrap();
    let before = disk.synced.load(Ordering::SeqCst);
    let hold = disk.hold.lock();
    let ends: Vec<_> = (0..500).map(|_| append(&store, "T", 0, b"x").log_end).collect();
    let waits: Vec<_> = ends.iter().map(|end| wait_for(&store, *end)).collect();
    drop(hold);
    for wait in waits {
        assert_eq!(wait.recv_timeout(DEADLINE), Ok(Ok(())));
    }
    let flushes = disk.synced.load(Ordering::SeqCst) - before;
    assert!(flushes <= 2, "{flushes} flushes for 500 messages that waited together");
    assert_eq!(all(&store, "T", 0).len(), 500);
}

#[test]
fn asynchronous_flush_keeps_its_bounds() {
    let folder = tempfile::tempdir().unwrap();
    // By time: one small append is durable without another one behind it.
    let quick =
        StoreOptions { flush: FlushMode::Async { interval_ms: 5, bytes_max: u64::MAX }, ..options(folder.path()) };
    let (store, _) = open(quick);
    let appended = append(&store, "T", 0, b"x");
    assert_eq!(all(&store, "T", 0).len(), 1, "visible at once");
    assert_eq!(wait_for(&store, appended.log_end).recv_timeout(DEADLINE), Ok(Ok(())));
    drop(store);
    // By size: an interval that never ends does not matter.
    let slow = StoreOptions {
        flush: FlushMode::Async { interval_ms: 3_600_000, bytes_max: 10_000 },
        ..options(folder.path())
    };
    let (store, _) = open(slow);
    let first = append(&store, "T", 0, b"x");
    let wait = wait_for(&store, first.log_end);
    assert!(wait.recv_timeout(Duration::from_millis(30)).is_err(), "flushed without a reason");
    append(&store, "T", 0, &[0; 12_000]);
    assert_eq!(wait.recv_timeout(DEADLINE), Ok(Ok(())));
}

/// A store whose disk fails from now on, and what it has acknowledged.
fn failing(mode: FlushMode, fail: impl Fn(&TestDisk)) {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(TestDisk::default());
    let options = StoreOptions { flush: mode, ..options(folder.path()) };
    let (store, _) = Store::open_on(options.clone(), TestClock::at(1_000_000), Arc::clone(&disk) as _).unwrap();
    let good = append(&store, "T", 0, b"good");
    assert_eq!(wait_for(&store, good.log_end).recv_timeout(DEADLINE), Ok(Ok(())));
    fail(&disk);
    let bad = append(&store, "T", 0, b"bad");
    let outcome = wait_for(&store, bad.log_end).recv_timeout(DEADLINE).unwrap();
    let reason = outcome.unwrap_err().reason;
    assert_eq!(store.latched(), Some(reason.clone()));
    // The disk works again, the store does not: nobody knows what the failed call left.
    disk.syncs.store(usize::MAX, Ordering::SeqCst);
    disk.writes.store(usize::MAX, Ordering::SeqCst);
    let error = store.append(&message("T", 0, b"late")).unwrap_err();
    assert_eq!(error, AppendError::Latched { reason: reason.clone() });
    assert!(store.flush_now().is_err() && store.seal_active().is_err());
    assert_eq!(wait_for(&store, bad.log_end).recv_timeout(DEADLINE), Ok(Err(FlushFailed { reason })));
    assert_eq!(store.durable_offset(), good.log_end);
    assert_eq!(bodies(&read(&store, "T", 0, 0))[0], (0, b"good".to_vec()), "reads go on");
    if mode == FlushMode::Sync {
        assert_eq!(store.queue_range("T", 0), Some(QueueRange { min: 0, max: 1 }));
    }
    assert!(store.close().is_err());
    drop(store);
    let (store, _) = open(options);
    assert_eq!(all(&store, "T", 0)[0], (0, b"good".to_vec()));
    append(&store, "T", 0, b"new");
}

#[test]
fn a_failed_flush_latches_the_store() {
    let quick = FlushMode::Async { interval_ms: 1, bytes_max: u64::MAX };
    for mode in [quick, FlushMode::Sync] {
        failing(mode, |disk| disk.syncs.store(0, Ordering::SeqCst));
    }
}

#[test]
fn a_short_write_latches_the_store() {
    failing(FlushMode::Sync, |disk| disk.writes.store(0, Ordering::SeqCst));
}

#[test]
fn a_slow_disk_bounds_what_is_not_flushed() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(TestDisk::default());
    let flush = FlushMode::Async { interval_ms: 1, bytes_max: 1_000 };
    let options = StoreOptions { flush, ..options(folder.path()) };
    let (store, _) = Store::open_on(options, TestClock::at(1_000_000), Arc::clone(&disk) as _).unwrap();
    let hold = disk.hold.lock();
    let mut taken = 0;
    let error = loop {
        match store.append(&message("T", 0, &[1; 100])) {
            Ok(appended) => taken = appended.log_end,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, AppendError::Busy { .. }), "{error}");
    assert!((16_000..17_000).contains(&taken), "{taken}");
    drop(hold);
    assert_eq!(wait_for(&store, taken).recv_timeout(DEADLINE), Ok(Ok(())));
    append(&store, "T", 0, b"goes on");
}

#[test]
fn a_thread_that_panics_latches_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(sync_options(folder.path()));
    store.listen(Box::new(|event| assert_eq!(event.queue_offset, 0, "a mistake of the listener")));
    for _ in 0..2 {
        let appended = append(&store, "T", 0, b"x");
        assert_eq!(wait_for(&store, appended.log_end).recv_timeout(DEADLINE), Ok(Ok(())));
    }
    // The flusher may be between telling and dying; an append behind it gets the answer.
    let last = loop {
        match store.append(&message("T", 0, b"late")) {
            Ok(appended) => drop(wait_for(&store, appended.log_end).recv_timeout(Duration::from_millis(1))),
            Err(error) => break error,
        }
    };
    let reason = "the thread store-flush panicked".to_owned();
    assert_eq!(last, AppendError::Latched { reason });
    assert!(store.close().is_err());
}

#[test]
fn a_panic_within_a_flush_latches_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(TestDisk::default());
    let flush = FlushMode::Async { interval_ms: 3_600_000, bytes_max: u64::MAX };
    for mode in [FlushMode::Sync, flush] {
        let options = StoreOptions { flush: mode, ..options(folder.path()) };
        let (store, _) = Store::open_on(options, TestClock::at(1_000_000), Arc::clone(&disk) as _).unwrap();
        disk.panics.store(true, Ordering::SeqCst);
        let lost = append(&store, "T", 0, b"lost");
        if mode != FlushMode::Sync {
            let flushing = Arc::clone(&store);
            assert!(std::thread::spawn(move || flushing.flush_now()).join().is_err());
        }
        let wait = wait_for(&store, lost.log_end);
        assert!(wait.recv_timeout(DEADLINE).unwrap().is_err(), "{mode:?}");
        disk.panics.store(false, Ordering::SeqCst);
        assert!(store.append(&message("T", 0, b"late")).is_err() && store.flush_now().is_err());
        assert!(store.durable_offset() < lost.log_end && store.close().is_err());
    }
}

#[test]
fn a_segment_that_could_not_be_made_is_made_later() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(TestDisk::default());
    let flush = FlushMode::Async { interval_ms: 3_600_000, bytes_max: u64::MAX };
    let options = StoreOptions { flush, ..options(folder.path()) };
    let (store, _) = Store::open_on(options, TestClock::at(1_000_000), Arc::clone(&disk) as _).unwrap();
    append(&store, "T", 0, b"x");
    for counter in [&disk.folder_syncs, &disk.syncs] {
        counter.store(0, Ordering::SeqCst);
        store.seal_active().unwrap_err();
        counter.store(usize::MAX, Ordering::SeqCst);
        assert_eq!(files(&folder.path().join("commitlog"), "").len(), 1);
    }
    store.seal_active().unwrap();
    assert_eq!(append(&store, "T", 0, b"y").queue_offset, 1);
}

#[test]
fn a_deletion_that_may_or_may_not_be_on_disk_latches_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(TestDisk::default());
    let (store, _) = Store::open_on(options(folder.path()), TestClock::at(1_000_000), Arc::clone(&disk) as _).unwrap();
    append(&store, "T", 0, b"x");
    disk.syncs.store(0, Ordering::SeqCst);
    store.forget_topic("T").unwrap_err();
    disk.syncs.store(usize::MAX, Ordering::SeqCst);
    assert_eq!(append(&store, "T", 0, b"y").queue_offset, 1, "the topic is as it was");
    // The file is renamed, and its folder cannot be flushed.
    disk.folder_syncs.store(0, Ordering::SeqCst);
    store.forget_topic("T").unwrap_err();
    disk.folder_syncs.store(usize::MAX, Ordering::SeqCst);
    let error = store.append(&message("T", 0, b"z")).unwrap_err();
    assert!(matches!(error, AppendError::Latched { .. }), "{error}");
}
