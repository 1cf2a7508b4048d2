//! Finding messages by time and by key, at all edges and wherever they lie.

use std::sync::Arc;

use strata_protocol::record::RecordView;
use strata_store::{Boundary, KeyKind, Store};

use crate::common::*;

/// Store times of the messages of a queue, many of them in one millisecond.
const TIMES: [i64; 12] = [100, 100, 100, 105, 105, 110, 200, 200, 200, 200, 201, 300];

/// Stores one message at each of [`TIMES`]; after some of them the segment is sealed.
fn timed(seal_after: &[usize]) -> (tempfile::TempDir, Arc<Store>) {
    let folder = tempfile::tempdir().unwrap();
    let clock = TestClock::at(0);
    let (store, _) = Store::open(options(folder.path()), Arc::clone(&clock) as _).unwrap();
    for (number, time) in TIMES.iter().enumerate() {
        clock.jump_to(*time);
        append(&store, "Other", 0, b"between");
        append(&store, "T", 0, b"x");
        if seal_after.contains(&number) {
            store.seal_active().unwrap();
        }
    }
    (folder, store)
}

#[test]
fn offsets_by_time_are_exact_at_every_edge() {
    for seal_after in [&[][..], &[1], &[2, 7], &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]] {
        let (_folder, store) = timed(seal_after);
        for time in -1..=302 {
            let lower = TIMES.iter().position(|at| *at >= time).unwrap_or(TIMES.len());
            let upper = TIMES.iter().rposition(|at| *at <= time).unwrap_or(0);
            let found = |boundary| store.offset_by_time("T", 0, time, boundary);
            assert_eq!(found(Boundary::Lower), lower as i64, "lower {time}, {seal_after:?}");
            assert_eq!(found(Boundary::Upper), upper as i64, "upper {time}, {seal_after:?}");
        }
        for (offset, time) in TIMES.iter().enumerate() {
            assert_eq!(store.store_time("T", 0, offset as i64), Some(*time));
        }
        assert_eq!(store.store_time("T", 0, 12), None);
        assert_eq!(store.store_time("T", 0, -1), None);
        assert_eq!(store.earliest_store_time("T", 0), Some(100));
        assert_eq!(store.earliest_log_time(), Some(100));
    }
}

#[test]
fn queues_without_messages_have_no_times() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(options(folder.path()));
    assert_eq!(store.offset_by_time("T", 0, 5, Boundary::Lower), 0);
    assert_eq!(store.offset_by_time("T", 0, 5, Boundary::Upper), 0);
    assert_eq!(store.earliest_store_time("T", 0), None);
    assert_eq!(store.earliest_log_time(), None);
}

#[test]
fn store_times_never_decrease() {
    let folder = tempfile::tempdir().unwrap();
    let clock = TestClock::at(5_000);
    let (store, _) = Store::open(options(folder.path()), Arc::clone(&clock) as _).unwrap();
    assert_eq!(append(&store, "T", 0, b"").store_timestamp, 5_000);
    clock.jump_to(1_000);
    assert_eq!(append(&store, "T", 0, b"").store_timestamp, 5_000);
    drop(store);
    let (store, _) = Store::open(options(folder.path()), Arc::clone(&clock) as _).unwrap();
    assert_eq!(append(&store, "T", 0, b"").store_timestamp, 5_000);
    store.seal_active().unwrap();
    drop(store);
    let (store, _) = Store::open(options(folder.path()), Arc::clone(&clock) as _).unwrap();
    assert_eq!(append(&store, "T", 0, b"").store_timestamp, 5_000);
    clock.jump_to(9_000);
    assert_eq!(append(&store, "T", 0, b"").store_timestamp, 9_000);
}

#[test]
fn a_time_too_far_for_the_index_is_read_from_the_record() {
    let folder = tempfile::tempdir().unwrap();
    let clock = TestClock::at(1_000);
    let (store, _) = Store::open(options(folder.path()), Arc::clone(&clock) as _).unwrap();
    append(&store, "T", 0, b"");
    let far = 1_000 + i64::from(u32::MAX) + 5;
    clock.jump_to(far);
    append(&store, "T", 0, b"");
    let check = |store: &Store| {
        assert_eq!(store.store_time("T", 0, 1), Some(far));
        assert_eq!(store.offset_by_time("T", 0, far, Boundary::Lower), 1);
        assert_eq!(store.offset_by_time("T", 0, far + 1, Boundary::Lower), 2);
    };
    check(&store);
    store.seal_active().unwrap();
    check(&store);
}

/// (queue offset, body) of each message found.
fn found(store: &Store, key: &str, range: (i64, i64), max: usize, kind: KeyKind) -> Vec<i64> {
    let records = store.query_by_key("T", key, range.0, range.1, max, kind);
    records.iter().map(|bytes| RecordView::parse(bytes).unwrap().queue_offset()).collect()
}

#[test]
fn keys_find_exactly_their_messages_newest_first() {
    let folder = tempfile::tempdir().unwrap();
    let clock = TestClock::at(1_000);
    let (store, _) = Store::open(options(folder.path()), Arc::clone(&clock) as _).unwrap();
    for number in 0..40_i64 {
        let properties = format!("KEYS\u{1}all m{} m{}\u{2}UNIQ_KEY\u{1}U{number}\u{2}", number % 4, number % 4);
        clock.jump_to(1_000 + number);
        store.append(&with_properties("T", 0, b"x", properties.as_bytes())).unwrap();
        store.append(&with_properties("V", 0, b"x", b"KEYS\x01m1 U3\x02")).unwrap();
        if number % 9 == 8 {
            store.seal_active().unwrap();
        }
    }
    let all = (0, i64::MAX);
    let expected: Vec<i64> = (0..40).rev().filter(|n| n % 4 == 1).collect();
    assert_eq!(found(&store, "m1", all, 100, KeyKind::Key), expected);
    assert_eq!(found(&store, "m1", all, 3, KeyKind::Key), expected[..3]);
    assert_eq!(found(&store, "m1", (1_005, 1_017), 100, KeyKind::Key), [17, 13, 9, 5]);
    assert_eq!(found(&store, "all", all, 100, KeyKind::Key).len(), 40);
    assert_eq!(found(&store, "U3", all, 100, KeyKind::UniqueKey), [3]);
    assert_eq!(found(&store, "U3", all, 100, KeyKind::Key), [] as [i64; 0]);
    assert_eq!(found(&store, "m1", all, 100, KeyKind::UniqueKey), [] as [i64; 0]);
    assert_eq!(found(&store, "", all, 100, KeyKind::Key), [] as [i64; 0]);
}
