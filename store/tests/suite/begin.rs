//! Logs that begin elsewhere than at 0, with queues that go on.

use std::path::Path;
use std::sync::Arc;

use strata_store::inspect::{self, Verdict};
use strata_store::{
    Boundary, DamagedRange, NextOffset, OpenError, QueueRange, ReadStatus, Store, StoreOptions, begin_at,
};

use crate::common::*;

const TIME: i64 = 1_700_000_000_000;

fn queue(topic: &str, queue_id: i32, next: i64) -> NextOffset {
    NextOffset { topic: Arc::from(topic), queue_id, next }
}

fn queues() -> Vec<NextOffset> {
    vec![queue("T", 3, 70), queue("Old", 0, 1), queue("T", 0, 1 << 40), queue("New", 0, 0)]
}

fn begun(root: &Path, log_offset: i64) -> (Arc<Store>, StoreOptions) {
    let options = options(root);
    begin_at(options.clone(), (log_offset, TIME), queues()).unwrap();
    let (store, recovery) = open(options.clone());
    assert_eq!((&recovery.damaged[..], recovery.cut), (&[] as &[DamagedRange], None));
    (store, options)
}

#[test]
fn queues_go_on_where_they_are_said_to() {
    for log_offset in [0, 65_536 * 1_000, 1_234_567] {
        let folder = tempfile::tempdir().unwrap();
        let (store, options) = begun(folder.path(), log_offset);
        assert_eq!(store.log_range(), (log_offset, log_offset));
        for NextOffset { topic, queue_id, next } in queues() {
            let range = store.queue_range(&topic, queue_id);
            assert_eq!(range, (next > 0).then_some(QueueRange { min: next, max: next }));
            if next > 0 {
                assert_eq!(read(&store, &topic, queue_id, next).status, ReadStatus::AtEnd);
                let below = read(&store, &topic, queue_id, next - 1);
                assert_eq!((below.status, below.next_offset), (ReadStatus::BeforeBegin, next));
                assert_eq!(store.offset_by_time(&topic, queue_id, TIME, Boundary::Lower), next);
                assert!(!store.queue_is_young(&topic, queue_id));
            }
        }
        assert_eq!((store.earliest_log_time(), store.earliest_store_time("T", 3)), (None, None));
        let first = append(&store, "T", 3, b"first here");
        assert_eq!((first.queue_offset, first.physical_offset, first.store_timestamp), (70, log_offset, TIME));
        for _ in 0..5 {
            append(&store, "New", 0, &[1; 30_000]);
        }
        let expected = (all(&store, "T", 3), all(&store, "New", 0));
        assert_eq!(expected.0, [(70, b"first here".to_vec())]);
        store.seal_active().unwrap();
        let ranges = store.sealed_ranges();
        assert_eq!((ranges.len(), ranges[0].from), (3, log_offset));
        store.close().unwrap();
        drop(store);
        let report = inspect::check(folder.path(), &mut |_, _| ()).unwrap();
        assert_eq!((report.verdict(), report.plan()), (Verdict::Clean, vec![]), "{report:?}");
        // What begins is a fact, and everything else is made again.
        files(&folder.path().join("sidecar"), ".index").iter().for_each(|path| std::fs::remove_file(path).unwrap());
        let (store, recovery) = open(options);
        assert_eq!(recovery.damaged, []);
        assert_eq!((all(&store, "T", 3), all(&store, "New", 0)), expected);
        assert_eq!(store.queue_range("Old", 0), Some(QueueRange { min: 1, max: 1 }));
        assert_eq!(append(&store, "T", 0, b"").queue_offset, 1 << 40);
    }
}

#[test]
fn a_folder_that_has_a_log_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (store, options) = begun(folder.path(), 65_536);
    let begin = || begin_at(options.clone(), (131_072, 0), queues());
    assert!(matches!(begin(), Err(OpenError::InUse { .. })));
    append(&store, "T", 3, b"x");
    store.seal_active().unwrap();
    store.close().unwrap();
    drop(store);
    let is_refused = || matches!(begin(), Err(OpenError::Begun { .. }));
    assert!(is_refused());
    // Each of these alone may be all that is left of a log.
    files(&folder.path().join("commitlog"), "").iter().for_each(|path| std::fs::remove_file(path).unwrap());
    assert!(is_refused());
    std::fs::remove_file(folder.path().join("sidecar/floor")).unwrap();
    assert!(is_refused());
    files(&folder.path().join("sidecar"), ".index").iter().for_each(|path| std::fs::remove_file(path).unwrap());
    std::fs::write(folder.path().join("tombstones"), b"x").unwrap();
    assert!(is_refused());
    std::fs::remove_file(folder.path().join("tombstones")).unwrap();
    begin().unwrap();
    assert!(is_refused());
    assert_eq!(open(options).0.log_range(), (131_072, 131_072));
}

#[test]
fn what_no_log_can_be_is_refused_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path());
    let long = "x".repeat(1_000);
    let refused = [
        (-1, vec![]),
        (i64::MAX, vec![]),
        (0, vec![queue("T", 0, -1)]),
        (0, vec![queue("T", -1, 1)]),
        (0, vec![queue("T", 65_536, 1)]),
        (0, vec![queue("", 0, 1)]),
        (0, vec![queue(&long, 0, 1)]),
        (0, vec![queue("T", 0, 1), queue("T", 1, 1), queue("T", 0, 2)]),
    ];
    for (log_offset, rows) in refused {
        let begun = begin_at(options.clone(), (log_offset, 0), rows);
        assert!(matches!(begun, Err(OpenError::Option { .. })), "{begun:?}");
    }
    begin_at(options.clone(), (65_536, 0), []).unwrap();
    let (store, _) = open(options);
    assert_eq!(append(&store, "T", 0, b"x").physical_offset, 65_536);
}
