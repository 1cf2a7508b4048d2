//! Segments that are sealed before they are full: what is given back, what is kept, and when it happens by itself.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use strata_store::inspect::{self, Verdict};
use strata_store::{AppendError, FlushMode, OpenError, Store, StoreOptions, SystemClock, UpkeepError};

use crate::common::*;

const MIB: u64 = 1 << 20;

/// Length and bytes on disk of each segment file, oldest first.
fn sizes(root: &Path) -> Vec<(u64, u64)> {
    let found = files(&root.join("commitlog"), "").into_iter().map(|path| std::fs::metadata(path).unwrap());
    found.map(|file| (file.len(), file.blocks() * 512)).collect()
}

#[test]
fn the_space_that_no_record_took_is_given_back() {
    let folder = tempfile::tempdir().unwrap();
    let options = StoreOptions { segment_bytes: MIB, ..options(folder.path()) };
    let (store, _) = open(options.clone());
    assert_eq!(sizes(folder.path()), [(MIB, MIB)], "space is reserved ahead");
    append(&store, "T", 0, &[7; 9_000]);
    assert_eq!(store.seal_active().unwrap(), MIB as i64);
    append(&store, "T", 0, b"behind");
    // Files are named by their first offset and the next one begins behind the length, as before.
    let names: Vec<_> = files(&folder.path().join("commitlog"), "");
    assert!(names[1].ends_with("00000000000001048576"));
    assert_eq!(sizes(folder.path()), [(MIB, 12_288), (MIB, MIB)]);
    assert!(store.stats().log_bytes < MIB + 10_000);
    assert_eq!(store.scrub().damaged_blocks, 0);
    let expected = all(&store, "T", 0);
    store.close().unwrap();
    drop(store);
    let report = inspect::check(folder.path(), &mut |_, _| ()).unwrap();
    assert_eq!((report.verdict(), report.plan(), &report.notes[..]), (Verdict::Clean, vec![], &[][..]));
    for derived in [false, true] {
        if derived {
            // The segment alone says that it is full and how far.
            files(&folder.path().join("sidecar"), ".index").iter().for_each(|path| std::fs::remove_file(path).unwrap());
        }
        let (store, recovery) = open(options.clone());
        assert_eq!((recovery.cut, &recovery.damaged[..]), (None, &[][..]));
        assert_eq!(all(&store, "T", 0), expected);
        assert_eq!(sizes(folder.path()), [(MIB, 12_288), (MIB, MIB)]);
        store.close().unwrap();
    }
}

/// What a kill between the blank and the sidecar left is sealed by the opening, which gives the space back too.
#[test]
fn an_opening_that_seals_gives_the_space_back() {
    let folder = tempfile::tempdir().unwrap();
    let options = StoreOptions { segment_bytes: MIB, ..options(folder.path()) };
    let (store, _) = open(options.clone());
    append(&store, "T", 0, b"x");
    store.seal_active().unwrap();
    store.close().unwrap();
    drop(store);
    let segment = files(&folder.path().join("commitlog"), "")[0].clone();
    let reserved = std::fs::OpenOptions::new().write(true).open(&segment).unwrap();
    rustix::fs::fallocate(&reserved, rustix::fs::FallocateFlags::empty(), 0, MIB).unwrap();
    files(&folder.path().join("sidecar"), ".index").iter().for_each(|path| std::fs::remove_file(path).unwrap());
    drop(open(options.clone()));
    assert_eq!(sizes(folder.path())[0], (MIB, 4_096));
    // What is not zero may be what damage hides: its space is kept.
    std::os::unix::fs::FileExt::write_all_at(&reserved, b"something", MIB / 2).unwrap();
    files(&folder.path().join("sidecar"), ".index").iter().for_each(|path| std::fs::remove_file(path).unwrap());
    drop(open(options));
    assert_eq!(&std::fs::read(&segment).unwrap()[MIB as usize / 2..][..9], b"something");
}

#[test]
fn an_empty_segment_is_not_sealed() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(options(folder.path()));
    assert_eq!(store.seal_active().unwrap(), 0);
    append(&store, "T", 0, b"x");
    assert_eq!([store.seal_active().unwrap(), store.seal_active().unwrap()], [65_536, 65_536]);
    assert_eq!((store.sealed_ranges().len(), sizes(folder.path()).len()), (1, 2));
}

/// Seals one segment after another until `SEALS` held something.
fn seal_often(store: &Store) {
    const SEALS: usize = 6;
    let mut begins = Vec::new();
    while begins.len() < SEALS {
        let before = store.log_range().1;
        match store.seal_active() {
            Ok(first) => {
                assert!(first >= before, "what was appended before is sealed");
                assert!(store.durable_offset() >= before);
                assert!(first == 0 || store.sealed_ranges().iter().any(|range| range.to == first));
                begins.push(first);
                begins.dedup();
            }
            // The disk does not follow.
            Err(error) => assert!(matches!(error, UpkeepError::Append(AppendError::Busy { .. })), "{error}"),
        }
    }
}

/// Appends to one queue until `done` and at least a few; gives how many.
fn append_often(store: &Store, queue: i32, done: &AtomicBool) -> i64 {
    let mut number = 0;
    while number < 50 || !done.load(Ordering::Relaxed) {
        let body = format!("{queue}/{number}").repeat(30);
        match store.append(&message("T", queue, body.as_bytes())) {
            Ok(appended) => {
                assert_eq!(appended.queue_offset, number);
                number += 1;
            }
            Err(error) => assert!(matches!(error, AppendError::Busy { .. }), "{error}"),
        }
        std::thread::sleep(std::time::Duration::from_micros(100));
    }
    number
}

fn while_others_append(flush: FlushMode) {
    const WRITERS: i32 = 3;
    let folder = tempfile::tempdir().unwrap();
    let options = StoreOptions { upkeep: true, flush, ..options(folder.path()) };
    let clock = Arc::new(SystemClock::new());
    let (store, _) = Store::open(options.clone(), Arc::clone(&clock) as _).unwrap();
    let done = AtomicBool::new(false);
    let counts: Vec<i64> = std::thread::scope(|scope| {
        let (store, done) = (&store, &done);
        let writers: Vec<_> = (0..WRITERS).map(|queue| scope.spawn(move || append_often(store, queue, done))).collect();
        let sealers: Vec<_> = (0..2).map(|_| scope.spawn(move || seal_often(store))).collect();
        let failed = sealers.into_iter().any(|sealer| sealer.join().is_err());
        done.store(true, Ordering::Relaxed);
        assert!(!failed);
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    assert_eq!(store.seal_active().unwrap(), store.log_range().1);
    assert_eq!(store.latched(), None);
    let ranges = store.sealed_ranges();
    assert!(ranges.len() >= 6 && ranges.windows(2).all(|pair| pair[0].to == pair[1].from), "{}", ranges.len());
    let expected: Vec<_> = (0..WRITERS).map(|queue| all(&store, "T", queue)).collect();
    assert!(expected.iter().zip(counts).all(|(queue, count)| queue.len() == count as usize));
    store.close().unwrap();
    drop(store);
    let (store, recovery) = Store::open(options, clock).unwrap();
    assert_eq!((recovery.cut, recovery.conflicts, recovery.damaged.len()), (None, 0, 0));
    let again: Vec<_> = (0..WRITERS).map(|queue| all(&store, "T", queue)).collect();
    assert_eq!(again, expected);
}

#[test]
fn segments_are_sealed_while_others_append_with_asynchronous_flush() {
    while_others_append(FlushMode::Async { interval_ms: 2, bytes_max: 100_000 });
}

#[test]
fn segments_are_sealed_while_others_append_with_synchronous_flush() {
    while_others_append(FlushMode::Sync);
}

#[test]
fn a_flush_that_fails_latches_and_seals_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(TestDisk::default());
    let slow = FlushMode::Async { interval_ms: 3_600_000, bytes_max: u64::MAX };
    let options = StoreOptions { flush: slow, ..options(folder.path()) };
    let (store, _) = Store::open_on(options.clone(), TestClock::at(1_000_000), Arc::clone(&disk) as _).unwrap();
    append(&store, "T", 0, b"not flushed");
    // The file of the next segment is flushed when it is made; the log's flush is the one behind it.
    disk.syncs.store(1, Ordering::SeqCst);
    let error = store.seal_active().unwrap_err();
    assert!(matches!(error, UpkeepError::Flush(_)), "{error}");
    assert!(store.latched().is_some());
    assert_eq!(store.sealed_ranges(), []);
    disk.syncs.store(usize::MAX, Ordering::SeqCst);
    let refused = store.append(&message("T", 0, b"more")).unwrap_err();
    assert!(matches!(refused, AppendError::Latched { .. }), "{refused}");
    assert!(store.seal_active().is_err(), "it stays latched");
    assert_eq!(store.sealed_ranges(), []);
    drop(store);
    let (store, _) = Store::open(options, TestClock::at(1_000_000)).unwrap();
    assert_eq!(all(&store, "T", 0), [(0, b"not flushed".to_vec())]);
}

#[test]
fn a_new_segment_that_cannot_be_made_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(TestDisk::default());
    let (store, _) = Store::open_on(options(folder.path()), TestClock::at(1_000_000), Arc::clone(&disk) as _).unwrap();
    append(&store, "T", 0, b"x");
    disk.syncs.store(0, Ordering::SeqCst);
    let error = store.seal_active().unwrap_err();
    assert!(matches!(error, UpkeepError::Append(AppendError::DiskFull { .. })), "{error}");
    assert_eq!((store.latched(), store.log_range().0), (None, 0));
    disk.syncs.store(usize::MAX, Ordering::SeqCst);
    append(&store, "T", 0, b"y");
    assert_eq!(store.seal_active().unwrap(), 65_536);
}

const MINUTE: u64 = 60_000;
const START: i64 = 1_700_000_000_000;

fn aging(root: &Path) -> StoreOptions {
    StoreOptions { seal_after_ms: Some(10 * MINUTE), ..options(root) }
}

#[test]
fn a_segment_is_sealed_when_its_first_record_is_old() {
    let folder = tempfile::tempdir().unwrap();
    let clock = TestClock::at(START);
    let (store, _) = Store::open(aging(folder.path()), Arc::clone(&clock) as _).unwrap();
    let after = |minutes| {
        clock.pass(minutes * MINUTE);
        store.seal_aged().unwrap()
    };
    assert_eq!(after(100), None, "nothing is there to seal");
    append(&store, "T", 0, b"x");
    assert_eq!([after(0), after(9)], [None, None]);
    append(&store, "T", 0, b"y");
    assert_eq!([after(1), after(1)], [Some(65_536), None], "the first record counts");
    append(&store, "T", 0, b"z");
    assert_eq!([after(9), after(1)], [None, Some(131_072)]);
    let (store, _) = open(options(&folder.path().join("without")));
    append(&store, "T", 0, b"x");
    assert_eq!(store.seal_aged().unwrap(), None);
}

#[test]
fn clocks_that_jump_and_restarts_keep_no_segment_open() {
    let folder = tempfile::tempdir().unwrap();
    let clock = TestClock::at(START);
    let (store, _) = Store::open(aging(folder.path()), Arc::clone(&clock) as _).unwrap();
    let jump = |ms: i64| clock.wall_ms.fetch_add(ms, Ordering::SeqCst);
    append(&store, "T", 0, b"x");
    assert_eq!(store.seal_aged().unwrap(), None);
    jump(1_000_000_000);
    assert_eq!(store.seal_aged().unwrap(), None, "no time has passed");
    jump(-2_000_000_000);
    clock.pass(10 * MINUTE);
    assert_eq!(store.seal_aged().unwrap(), Some(65_536), "the wall clock was set back, time passed");
    jump(1_000_000_000);
    append(&store, "T", 0, b"y");
    clock.pass(8 * MINUTE);
    store.close().unwrap();
    drop(store);
    let (store, _) = Store::open(aging(folder.path()), Arc::clone(&clock) as _).unwrap();
    assert_eq!(store.seal_aged().unwrap(), None);
    clock.pass(2 * MINUTE);
    assert_eq!(store.seal_aged().unwrap(), Some(131_072), "eight minutes before the restart, two after it");
}

#[test]
fn what_takes_no_writes_is_not_sealed_by_its_age() {
    let folder = tempfile::tempdir().unwrap();
    let (clock, disk) = (TestClock::at(START), Arc::new(TestDisk::default()));
    let (store, _) = Store::open_on(aging(folder.path()), Arc::clone(&clock) as _, Arc::clone(&disk) as _).unwrap();
    append(&store, "T", 0, b"x");
    clock.pass(20 * MINUTE);
    disk.used.store(950, Ordering::SeqCst);
    store.look_at_disk();
    assert_eq!(store.seal_aged().unwrap(), None, "a new segment would take what little space is left");
    disk.used.store(100, Ordering::SeqCst);
    store.look_at_disk();
    assert_eq!(store.seal_aged().unwrap(), Some(65_536));
}

#[test]
fn the_stores_own_thread_seals_what_is_old() {
    let folder = tempfile::tempdir().unwrap();
    let clock = TestClock::at(START);
    let options = StoreOptions { upkeep: true, ..aging(folder.path()) };
    let (store, _) = Store::open(options, Arc::clone(&clock) as _).unwrap();
    append(&store, "T", 0, b"x");
    clock.pass(10 * MINUTE);
    for _ in 0..10_000 {
        if !store.sealed_ranges().is_empty() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    panic!("it was not sealed");
}

#[test]
fn an_age_that_is_too_short_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let options = StoreOptions { seal_after_ms: Some(10), ..options(folder.path()) };
    let opened = Store::open(options, TestClock::at(START));
    assert!(matches!(opened, Err(OpenError::Option { .. })));
}
