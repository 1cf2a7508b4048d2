//! Sealed segments as whoever copies them elsewhere sees them: every queue, every record, every loss.

use std::collections::BTreeMap;
use std::sync::Arc;

use strata_protocol::record::RecordView;
use strata_store::{LostRecord, NewMessage, ReadStatus, SealedCopy, SealedRange, Store, UpkeepError};

use crate::common::*;

/// (offset, body) of messages.
type Bodies = Vec<(i64, Vec<u8>)>;

/// (topic, queue id, first offset, messages) of every queue.
fn queues(copy: &SealedCopy) -> Vec<(String, i32, i64, u32)> {
    let mut out = Vec::new();
    copy.for_each_queue(|topic, queue_id, base, count| out.push((topic.to_owned(), queue_id, base, count)));
    out
}

/// (offset, body) of each message of a queue that is not lost.
fn copied(copy: &SealedCopy, topic: &str, queue_id: i32) -> Bodies {
    let records = copy.records(topic, queue_id).map(|(offset, record)| {
        let record = RecordView::parse(record.unwrap()).unwrap();
        assert_eq!((record.topic(), record.queue_id(), record.queue_offset()), (topic, queue_id, offset));
        (offset, record.body().to_vec())
    });
    records.collect()
}

fn copies(store: &Store) -> Vec<SealedCopy> {
    store.sealed_ranges().iter().map(|range| store.sealed_copy(range.from).unwrap()).collect()
}

#[test]
fn the_copies_of_all_segments_are_what_readers_get() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(options(folder.path()));
    for number in 0..3_000_u32 {
        let topic = ["Zeta", "A", "A-b", "\u{fc}"][number as usize % 4];
        append(&store, topic, (number / 7 % 90) as i32, &number.to_le_bytes().repeat(20));
    }
    assert_eq!(store.seal_active().unwrap(), store.log_range().1);
    let segments = copies(&store);
    assert!(segments.len() > 3);
    assert_eq!(segments[0].range().from, 0);
    assert_eq!(segments[segments.len() - 1].range().to, store.log_range().1);
    let mut all_copied: BTreeMap<(String, i32), Bodies> = BTreeMap::new();
    for copy in &segments {
        let known = queues(copy);
        assert!(known.windows(2).all(|pair| (&pair[0].0, pair[0].1) < (&pair[1].0, pair[1].1)), "in order");
        for (topic, queue_id, base, count) in known {
            let before = all_copied.entry((topic.clone(), queue_id)).or_default();
            assert_eq!(base, before.len() as i64, "quiet queues tell where they go on");
            let records = copied(copy, &topic, queue_id);
            assert_eq!(records.len(), count as usize);
            before.extend(records);
        }
    }
    assert_eq!(all_copied.len(), 360);
    for ((topic, queue_id), records) in all_copied {
        assert_eq!(records, all(&store, &topic, queue_id));
    }
}

#[test]
fn ranges_and_times_are_those_of_the_segment() {
    let folder = tempfile::tempdir().unwrap();
    let clock = TestClock::at(5_000);
    let (store, _) = Store::open(options(folder.path()), Arc::clone(&clock) as _).unwrap();
    assert_eq!(store.sealed_ranges(), []);
    append(&store, "T", 0, b"first");
    clock.pass(40);
    let last = append(&store, "T", 0, b"last");
    store.seal_active().unwrap();
    // The blank's mark has eight bytes.
    let range = SealedRange { from: 0, to: 65_536, tail: last.log_end + 8 };
    assert_eq!(store.sealed_ranges(), [range]);
    let copy = store.sealed_copy(0).unwrap();
    assert_eq!((copy.range(), copy.first_time(), copy.last_time()), (range, Some(5_000), Some(5_040)));
    let error = store.sealed_copy(65_536).unwrap_err();
    assert!(matches!(error, UpkeepError::NotSealed { from: 65_536 }), "the active one is not sealed: {error}");
    assert!(store.sealed_copy(8).is_err());
}

#[test]
fn what_is_in_no_queue_is_in_no_walk() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(options(folder.path()));
    append(&store, "T", 0, b"whole");
    store.append(&NewMessage { sys_flag: 4, ..message("T", 0, b"prepared") }).unwrap();
    append(&store, "T", 0, b"whole too");
    store.seal_active().unwrap();
    let copy = store.sealed_copy(0).unwrap();
    assert_eq!(copied(&copy, "T", 0), [(0, b"whole".to_vec()), (1, b"whole too".to_vec())]);
    assert_eq!(copy.records("T", 1).count() + copy.records("U", 0).count(), 0);
}

#[test]
fn deleted_topics_are_left_out_of_what_came_before() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(options(folder.path()));
    append(&store, "T", 0, b"first life");
    append(&store, "Stays", 0, b"x");
    store.seal_active().unwrap();
    let early = store.sealed_copy(0).unwrap();
    append(&store, "T", 0, b"first life too");
    store.forget_topic("T").unwrap();
    append(&store, "T", 0, b"second life");
    store.seal_active().unwrap();
    let check = |store: &Store| {
        let segments = copies(store);
        assert_eq!(queues(&segments[0]), [("Stays".to_owned(), 0, 0, 1)]);
        assert_eq!(segments[0].records("T", 0).count(), 0);
        assert_eq!(queues(&segments[1]), [("Stays".to_owned(), 0, 1, 0), ("T".to_owned(), 0, 0, 1)]);
        assert_eq!(copied(&segments[1], "T", 0), [(0, b"second life".to_vec())]);
    };
    check(&store);
    assert_eq!(copied(&early, "T", 0), [(0, b"first life".to_vec())], "it shows what was when it was made");
    store.close().unwrap();
    drop(store);
    check(&open(options(folder.path())).0);
}

#[test]
fn damage_is_told_with_its_place_and_costs_no_other_record() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(options(folder.path()));
    let places: Vec<_> = (0..40_u8).map(|number| append(&store, "T", i32::from(number % 2), &[number; 300])).collect();
    store.seal_active().unwrap();
    store.close().unwrap();
    drop(store);
    let hit = places[7];
    flip(&files(&folder.path().join("commitlog"), "")[0], hit.physical_offset as u64 + 200);
    let (store, _) = open(options(folder.path()));
    let copy = store.sealed_copy(0).unwrap();
    let lost = LostRecord { from: hit.physical_offset, to: hit.log_end };
    for queue_id in 0..2 {
        let records: Vec<_> = copy.records("T", queue_id).collect();
        assert_eq!(records.len(), 20);
        for (offset, record) in records {
            let is_hit = queue_id == 1 && offset == hit.queue_offset;
            match record {
                Ok(bytes) => assert!(!is_hit && bytes[200] == (offset * 2) as u8 + queue_id as u8),
                Err(told) => assert!(is_hit && told == lost, "{told:?}"),
            }
        }
    }
    let status = read(&store, "T", 1, hit.queue_offset).status;
    assert_eq!(status, ReadStatus::Damaged { from: lost.from, to: lost.to }, "readers are told the same");
}

#[test]
fn a_copy_outlives_its_segment() {
    let folder = tempfile::tempdir().unwrap();
    let clock = TestClock::at(1_700_000_000_000);
    let (store, _) = Store::open(options(folder.path()), Arc::clone(&clock) as _).unwrap();
    append(&store, "T", 0, b"kept");
    store.seal_active().unwrap();
    // Opened again, so that nothing but the file holds it.
    store.close().unwrap();
    drop(store);
    let (store, _) = Store::open(options(folder.path()), Arc::clone(&clock) as _).unwrap();
    let copy = store.sealed_copy(0).unwrap();
    let loaded = copy.load(0, i64::MAX);
    clock.pass(1_000 * 3_600_000);
    assert_eq!(store.sweep(&|_| None, i64::MAX).unwrap().segments, 1);
    assert!(store.sealed_copy(0).is_err());
    drop((store, loaded));
    assert_eq!(copied(&copy, "T", 0), [(0, b"kept".to_vec())]);
}

#[test]
fn loading_changes_nothing_but_what_is_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let mut larger = options(folder.path());
    larger.segment_bytes = 12 << 20;
    let (store, _) = open(larger.clone());
    for number in 0..2_000_u32 {
        append(&store, "T", (number % 50) as i32, &number.to_le_bytes().repeat(1_200));
    }
    store.seal_active().unwrap();
    let expected: Vec<_> = (0..50).map(|queue_id| all(&store, "T", queue_id)).collect();
    store.close().unwrap();
    drop(store);
    let (store, _) = open(larger);
    let copy = store.sealed_copy(0).unwrap();
    let read = || (0..50).map(|queue_id| copied(&copy, "T", queue_id)).collect::<Vec<_>>();
    let SealedRange { from, to, tail } = copy.range();
    for (begin, end) in [(from, to), (from + 100_000, tail - 1), (tail, to), (-5, 3), (7, 7), (9, 8)] {
        let loaded = copy.load(begin, end);
        assert!(loaded.bytes() <= (end.min(tail) - begin.max(from)).max(0) as u64 + 2 * 65_536);
        // Nothing more is to be brought while it is held.
        assert_eq!(copy.load(begin, end).bytes(), 0);
        assert!(read() == expected);
        drop(loaded);
        assert!(read() == expected);
    }
}
