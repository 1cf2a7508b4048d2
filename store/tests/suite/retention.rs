//! Deletion: by time, size, disk and topic, and what must never delete anything.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use strata_store::{AppendError, KeepHot, QueueRange, ReadStatus, Retention, Store, StoreOptions, Swept};

use crate::common::*;

pub(crate) const HOUR: u64 = 3_600_000;
pub(crate) const START: i64 = 1_700_000_000_000;

pub(crate) struct Fixture {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) disk: Arc<TestDisk>,
    pub(crate) store: Arc<Store>,
    pub(crate) options: StoreOptions,
}

/// A store with one sealed segment for each of `topics`, an hour apart, and an empty active one.
pub(crate) fn sealed(topics: &[&str], retention: Retention) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let (clock, disk) = (TestClock::at(START), Arc::new(TestDisk::default()));
    let options = StoreOptions { retention, ..options(folder.path()) };
    let (store, _) = Store::open_on(options.clone(), Arc::clone(&clock) as _, Arc::clone(&disk) as _).unwrap();
    for topic in topics {
        append(&store, topic, 0, b"one");
        append(&store, "Common", 0, b"two");
        store.seal_active().unwrap();
        clock.pass(HOUR);
    }
    Fixture { folder, clock, disk, store, options }
}

impl Fixture {
    pub(crate) fn sweep(&self) -> usize {
        self.store.sweep(&|_| None, i64::MAX).unwrap().segments
    }

    fn files(&self) -> (usize, usize) {
        let count = |folder, ending| files(&self.folder.path().join(folder), ending).len();
        (count("commitlog", ""), count("sidecar", ".index"))
    }
}

pub(crate) fn keep(hours: u64) -> Retention {
    Retention { keep_ms: hours * HOUR, ..Retention::default() }
}

#[test]
fn expired_segments_go_one_a_sweep() {
    let fixture = sealed(&["A", "B", "C"], keep(10));
    assert_eq!((fixture.files(), fixture.sweep()), ((4, 3), 0));
    fixture.clock.pass(8 * HOUR + 1); // A is 11 hours old, B 10, C 9.
    let swept = fixture.store.sweep(&|_| None, i64::MAX).unwrap();
    assert_eq!(swept, Swept { segments: 1, bytes: 65_536 });
    assert_eq!((fixture.sweep(), fixture.sweep()), (1, 0));
    assert_eq!(fixture.files(), (2, 1));
    let store = &fixture.store;
    assert_eq!(store.queue_range("Common", 0), Some(QueueRange { min: 2, max: 3 }));
    assert_eq!(store.queue_range("A", 0), Some(QueueRange { min: 1, max: 1 }));
    let gone = read(store, "A", 0, 0);
    assert_eq!((gone.status, gone.next_offset), (ReadStatus::BeforeBegin, 1));
    assert_eq!(read(store, "A", 0, 1).status, ReadStatus::AtEnd);
    assert_eq!(all(store, "Common", 0), [(2, b"two".to_vec())]);
    assert_eq!(store.log_range().0, 2 * 65_536);
    assert_eq!(store.earliest_log_time(), Some(START + 2 * HOUR as i64));
    assert!(!store.queue_is_young("A", 0));
}

#[test]
fn offsets_go_on_when_every_message_is_gone() {
    let fixture = sealed(&["A", "A"], keep(1));
    fixture.clock.pass(100 * HOUR);
    assert_eq!(fixture.sweep() + fixture.sweep(), 2);
    fixture.store.close().unwrap();
    let Fixture { folder, options, store, .. } = fixture;
    drop(store);
    // The sidecars are gone with their segments; nothing but the floor knows the queues.
    assert_eq!(files(&folder.path().join("sidecar"), ".index").len(), 0);
    let (store, recovery) = open(options);
    assert_eq!(recovery.damaged, []);
    assert_eq!(store.queue_range("A", 0), Some(QueueRange { min: 2, max: 2 }));
    assert_eq!(read(&store, "A", 0, 2).status, ReadStatus::AtEnd);
    assert_eq!(append(&store, "A", 0, b"new").queue_offset, 2);
    assert_eq!(all(&store, "A", 0), [(2, b"new".to_vec())]);
}

#[test]
fn a_slice_outlives_its_segment() {
    let fixture = sealed(&["A"], keep(1));
    let kept = read(&fixture.store, "A", 0, 0);
    fixture.clock.pass(100 * HOUR);
    assert_eq!(fixture.sweep(), 1);
    assert_eq!(bodies(&kept), [(0, b"one".to_vec())]);
    drop(fixture);
    assert_eq!(bodies(&kept), [(0, b"one".to_vec())]);
}

#[test]
fn a_topic_that_is_kept_longer_keeps_its_segments() {
    let fixture = sealed(&["Long", "B"], keep(1));
    fixture.clock.pass(50 * HOUR);
    let long = KeepHot { time_ms: Some(60 * HOUR), bytes: None };
    let retention = |topic: &str| (topic == "Long").then_some(long);
    let swept = fixture.store.sweep(&retention, i64::MAX).unwrap();
    assert_eq!(swept.segments, 0, "nothing behind the first segment that must stay goes");
    fixture.clock.pass(20 * HOUR);
    let swept = fixture.store.sweep(&retention, i64::MAX).unwrap();
    assert_eq!(swept.segments, 1);
}

#[test]
fn a_topic_keeps_its_younger_bytes_and_no_more() {
    // Of A there is a record in each of the first two segments, and both are as long.
    let fixture = sealed(&["A", "A", "B"], keep(1_000));
    let bytes = read(&fixture.store, "A", 0, 1).bytes as u64;
    let swept = |bound: u64, time_ms: Option<u64>| {
        let rule = |topic: &str| (topic != "B").then_some(KeepHot { time_ms, bytes: Some(bound) });
        fixture.store.sweep(&rule, i64::MAX).unwrap().segments
    };
    assert_eq!(swept(bytes + 1, None), 0, "the younger ones are less");
    assert_eq!(swept(bytes, None), 1);
    assert_eq!(swept(bytes, None), 0, "behind the second there is none");
    fixture.clock.pass(2 * HOUR);
    assert_eq!(swept(bytes, Some(5 * HOUR)), 0);
    assert_eq!(swept(bytes, Some(3 * HOUR)), 1, "past one bound is enough");
    assert_eq!(swept(0, Some(0)), 0, "B has the store's time");
}

#[test]
fn a_clock_that_jumps_deletes_nothing() {
    let fixture = sealed(&["A", "B"], keep(10));
    fixture.clock.jump_to(START + 1_000_000 * HOUR as i64);
    assert_eq!(fixture.sweep(), 0);
    append(&fixture.store, "A", 0, b"from the future");
    fixture.store.close().unwrap();
    let Fixture { options, store, clock, disk, .. } = fixture;
    drop(store);
    let (store, _) = Store::open_on(options, Arc::clone(&clock) as _, disk).unwrap();
    assert_eq!(store.sweep(&|_| None, i64::MAX).unwrap().segments, 0);
    clock.pass(12 * HOUR); // time that really passes does count
    assert_eq!(store.sweep(&|_| None, i64::MAX).unwrap().segments, 1);
}

#[test]
fn a_log_that_is_too_large_loses_its_oldest_segments() {
    let retention = Retention { log_bytes_max: Some(140_000), ..keep(1_000) };
    let fixture = sealed(&[], retention);
    for _ in 0..4 {
        append(&fixture.store, "A", 0, &[1; 65_000]);
        fixture.store.seal_active().unwrap();
    }
    append(&fixture.store, "E", 0, b"x");
    // Four sealed segments of 65,000 bytes and a record: two of them must go to be below.
    assert_eq!(fixture.sweep(), 2);
    assert_eq!(fixture.store.log_range().0, 2 * 65_536);
}

#[test]
fn what_a_segment_gave_back_does_not_make_the_log_large() {
    let retention = Retention { log_bytes_max: Some(2_000), ..keep(1_000) };
    let fixture = sealed(&["A", "B", "C", "D"], retention);
    assert!(fixture.store.stats().log_bytes < 65_536 + 2_000);
    assert_eq!(fixture.sweep(), 0);
    fixture.store.close().unwrap();
    let Fixture { folder: _folder, options, store, .. } = fixture;
    drop(store);
    let (store, _) = open(options);
    assert!(store.stats().log_bytes < 65_536 + 2_000);
    append(&store, "A", 0, &[1; 1_500]);
    assert!(store.sweep(&|_| None, i64::MAX).unwrap().segments > 0);
}

#[test]
fn times_do_not_go_back_when_no_message_is_left() {
    let fixture = sealed(&["A"], keep(1));
    fixture.clock.pass(100 * HOUR);
    let last = append(&fixture.store, "A", 0, b"newest").store_timestamp;
    fixture.store.seal_active().unwrap();
    fixture.clock.pass(100 * HOUR);
    assert_eq!(fixture.sweep() + fixture.sweep(), 2);
    fixture.store.close().unwrap();
    let Fixture { folder: _folder, options, store, .. } = fixture;
    drop(store);
    let (store, _) = Store::open(options, TestClock::at(START)).unwrap();
    assert_eq!(append(&store, "A", 0, b"with a clock that was set back").store_timestamp, last);
}

#[test]
fn the_disk_decides_from_its_marks_on() {
    let fixture = sealed(&["A", "B", "C"], keep(10));
    fixture.clock.pass(100 * HOUR);
    fixture.disk.used.store(760, Ordering::SeqCst);
    assert_eq!(fixture.sweep(), 3, "from 75 % on, all expired segments go at once");
    let fixture = sealed(&["A", "B", "C"], keep(1_000));
    fixture.disk.used.store(840, Ordering::SeqCst);
    assert_eq!(fixture.sweep(), 0);
    fixture.disk.used.store(860, Ordering::SeqCst);
    assert_eq!(fixture.sweep(), 3, "from 85 % on, what is not expired goes too");
    append(&fixture.store, "A", 0, b"still taken");
    fixture.disk.used.store(901, Ordering::SeqCst);
    fixture.store.look_at_disk();
    let error = fixture.store.append(&message("A", 0, b"")).unwrap_err();
    let detail = "90.1 % in use, limit 90 %".to_owned();
    assert_eq!(error, AppendError::DiskFull { detail });
    assert_eq!(all(&fixture.store, "A", 0).len(), 1, "reads go on");
    fixture.disk.used.store(500, Ordering::SeqCst);
    fixture.store.look_at_disk();
    append(&fixture.store, "A", 0, b"taken again");
}

#[test]
fn a_forgotten_topic_begins_anew() {
    let fixture = sealed(&["A", "B"], keep(1_000));
    let store = &fixture.store;
    let properties = b"KEYS\x01k\x02";
    let old = store.append(&with_properties("A", 0, b"old", properties)).unwrap();
    assert_eq!(old.queue_offset, 1);
    store.forget_topic("A").unwrap();
    store.forget_topic("Never").unwrap();
    let check_gone = |store: &Store| {
        assert_eq!(store.queue_range("A", 0), None);
        assert_eq!(read(store, "A", 0, 0).status, ReadStatus::Empty);
        assert!(store.record_at(old.physical_offset).is_none());
        let found = store.query_by_key("A", "k", 0, i64::MAX, 9, strata_store::KeyKind::Key);
        assert_eq!(found.len(), 0);
        assert_eq!(all(store, "Common", 0).len(), 2);
    };
    check_gone(store);
    let crashed = tempfile::tempdir().unwrap();
    copy(fixture.folder.path(), crashed.path());
    check_gone(&open(options(crashed.path())).0);
    assert_eq!(append(store, "A", 0, b"new").queue_offset, 0);
    assert_eq!(append(store, "A", 1, b"other").queue_offset, 0);
    let check_new = |store: &Store| {
        assert_eq!(all(store, "A", 0), [(0, b"new".to_vec())]);
        assert_eq!(store.queue_range("A", 0), Some(QueueRange { min: 0, max: 1 }));
        assert_eq!(store.queues("A"), [0, 1]);
    };
    check_new(store);
    store.seal_active().unwrap();
    check_new(store);
    store.close().unwrap();
    for delete in [false, true] {
        let copied = tempfile::tempdir().unwrap();
        copy(fixture.folder.path(), copied.path());
        if delete {
            for path in files(&copied.path().join("sidecar"), "") {
                std::fs::remove_file(path).unwrap();
            }
        }
        let (again, _) = open(options(copied.path()));
        check_new(&again);
        assert_eq!(append(&again, "A", 0, b"more").queue_offset, 1);
    }
}

#[test]
fn a_topic_forgotten_behind_the_recovered_end_takes_no_new_message_along() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(options(folder.path()));
    append(&store, "A", 0, b"kept");
    let lost = append(&store, "A", 0, &[1; 500]);
    store.forget_topic("A").unwrap();
    let crashed = tempfile::tempdir().unwrap();
    copy(folder.path(), crashed.path());
    // The last append was not flushed and a power cut took it.
    for sums in files(&crashed.path().join("sidecar"), ".sums") {
        std::fs::remove_file(sums).unwrap();
    }
    let segment = &files(&crashed.path().join("commitlog"), "0")[0];
    let mut bytes = std::fs::read(segment).unwrap();
    bytes[lost.physical_offset as usize..].fill(0);
    std::fs::write(segment, bytes).unwrap();
    let (store, _) = open(options(crashed.path()));
    assert_eq!(store.queue_range("A", 0), None);
    assert_eq!(append(&store, "A", 0, b"new").queue_offset, 0);
    drop(store);
    let (store, _) = open(options(crashed.path()));
    assert_eq!(all(&store, "A", 0), [(0, b"new".to_vec())]);
}

#[test]
fn time_without_the_broker_is_made_up() {
    let fixture = sealed(&["A"], keep(10));
    fixture.store.close().unwrap();
    let Fixture { folder: _folder, options, store, clock, disk } = fixture;
    drop(store);
    clock.jump_to(START + 11 * HOUR as i64); // ten hours in which the machine was off
    let (store, _) = Store::open_on(options, Arc::clone(&clock) as _, disk).unwrap();
    let sweep = |hours| {
        clock.pass(hours * HOUR);
        store.sweep(&|_| None, i64::MAX).unwrap().segments
    };
    assert_eq!([sweep(0), sweep(2), sweep(2)], [0, 0, 0]);
    assert_eq!(sweep(1), 1, "after five hours, nine of the ten are made up");
}

#[test]
fn a_clock_that_is_set_late_stops_no_retention() {
    let folder = tempfile::tempdir().unwrap();
    let clock = TestClock::at(5_000);
    let options = StoreOptions { retention: keep(10), ..options(folder.path()) };
    let (store, _) = Store::open(options, Arc::clone(&clock) as _).unwrap();
    append(&store, "A", 0, b"before the clock was set");
    store.seal_active().unwrap();
    clock.jump_to(START);
    append(&store, "A", 0, b"behind");
    store.seal_active().unwrap();
    let sweep = |hours| {
        clock.pass(hours * HOUR);
        store.sweep(&|_| None, i64::MAX).unwrap().segments
    };
    assert_eq!([sweep(0), sweep(9)], [0, 0]);
    assert_eq!([sweep(2), sweep(0)], [1, 1]);
}

#[test]
fn a_segment_that_cannot_be_opened_goes_when_its_space_is_needed() {
    for topics in [&["A", "B", "C"][..], &["A"]] {
        let fixture = sealed(topics, keep(10));
        let oldest = &files(&fixture.folder.path().join("commitlog"), "")[0];
        // Opened again, so that nothing of the segment is open; it is too short to be mapped.
        fixture.store.close().unwrap();
        let Fixture { folder, options, store, clock, disk } = fixture;
        drop(store);
        let (store, _) = Store::open_on(options, Arc::clone(&clock) as _, Arc::clone(&disk) as _).unwrap();
        std::fs::OpenOptions::new().write(true).open(oldest).unwrap().set_len(10).unwrap();
        clock.pass(100 * HOUR);
        store.sweep(&|_| None, i64::MAX).unwrap_err();
        disk.used.store(860, Ordering::SeqCst);
        assert_eq!(store.sweep(&|_| None, i64::MAX).unwrap().segments, topics.len());
        let max = topics.len() as i64;
        assert_eq!(store.queue_range("Common", 0), Some(QueueRange { min: max, max }));
        store.close().unwrap();
        drop(store);
        for path in files(&folder.path().join("sidecar"), ".index") {
            std::fs::remove_file(path).unwrap();
        }
        let (store, _) = open(self::options(folder.path()));
        assert_eq!(append(&store, "Common", 0, b"new").queue_offset, max);
        assert_eq!(append(&store, "A", 0, b"new").queue_offset, 1);
    }
}

/// Two sealed segments of which only the second can go on: what the floor says comes from there.
#[test]
fn the_floor_of_an_unread_segment_comes_from_the_next_one() {
    let fixture = sealed(&["A", "B"], keep(10));
    let oldest = files(&fixture.folder.path().join("commitlog"), "")[0].clone();
    fixture.store.close().unwrap();
    let Fixture { folder, options, store, .. } = fixture;
    drop(store);
    let options = StoreOptions { retention: Retention { log_bytes_max: Some(300), ..keep(10) }, ..options };
    let (store, _) = open(options.clone());
    std::fs::OpenOptions::new().write(true).open(oldest).unwrap().set_len(10).unwrap();
    assert_eq!(store.sweep(&|_| None, i64::MAX).unwrap().segments, 1);
    store.close().unwrap();
    drop(store);
    for path in files(&folder.path().join("sidecar"), ".index") {
        std::fs::remove_file(path).unwrap();
    }
    let (store, recovery) = open(options);
    assert_eq!(recovery.damaged, []);
    assert_eq!(store.queue_range("A", 0), Some(QueueRange { min: 1, max: 1 }));
    assert_eq!(store.queue_range("Common", 0), Some(QueueRange { min: 1, max: 2 }));
    assert_eq!(store.queue_range("B", 0), Some(QueueRange { min: 0, max: 1 }));
}

#[test]
fn a_deleted_topic_holds_up_nobody_else() {
    let fixture = sealed(&["A"], keep(10));
    let store = &fixture.store;
    append(store, "A", 0, b"old");
    let hold = fixture.disk.hold.lock();
    std::thread::scope(|scope| {
        let deleting = scope.spawn(|| store.forget_topic("A"));
        // Refused while it leaves; what was appended before is gone with it.
        while store.append(&message("A", 0, b"old too")).is_ok() {
            // Few fit the segment, and a new one would wait for the disk under the append lock.
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let error = store.append(&message("A", 3, b"x")).unwrap_err();
        assert!(matches!(error, AppendError::Busy { .. }), "{error}");
        append(store, "Common", 0, b"goes on");
        drop(hold);
        deleting.join().unwrap().unwrap();
    });
    assert_eq!(store.queue_range("A", 0), None);
    assert_eq!(append(store, "A", 0, b"new").queue_offset, 0);
    assert_eq!(all(store, "Common", 0).len(), 2);
}

#[test]
fn what_a_crash_left_of_a_deleted_segment_goes_when_the_store_opens() {
    let fixture = sealed(&["A", "B"], keep(1));
    let side = fixture.folder.path().join("sidecar");
    let index = files(&side, ".index")[0].clone();
    let left = std::fs::read(&index).unwrap();
    fixture.clock.pass(100 * HOUR);
    assert_eq!(fixture.sweep(), 1);
    fixture.store.close().unwrap();
    std::fs::write(&index, left).unwrap();
    std::fs::write(index.with_extension("sums"), b"x").unwrap();
    let Fixture { folder: _folder, options, store, .. } = fixture;
    drop(store);
    let (store, recovery) = open(options);
    assert_eq!(recovery.damaged, []);
    assert!(!index.exists() && !index.with_extension("sums").exists());
    assert_eq!(files(&side, ".index").len(), 1);
    assert_eq!(store.queue_range("Common", 0), Some(QueueRange { min: 1, max: 2 }));
}

#[test]
fn a_closed_store_changes_no_file() {
    let fixture = sealed(&["A", "B"], keep(1));
    append(&fixture.store, "A", 0, b"x");
    fixture.clock.pass(100 * HOUR);
    fixture.store.close().unwrap();
    let store = &fixture.store;
    let before = fixture.files();
    assert!(store.seal_active().is_err() && store.seal_pending().is_err());
    assert!(store.sweep(&|_| None, i64::MAX).is_err());
    assert!(store.forget_topic("A").is_err());
    assert_eq!(fixture.files(), before);
    assert!(!fixture.folder.path().join("tombstones").exists());
    assert_eq!(all(store, "A", 0).len(), 2, "reads go on");
}
