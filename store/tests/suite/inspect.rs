//! Checks and repairs of stores as closing, kills and losses leave them; damage is judged in `damage`.

use std::path::Path;
use std::sync::Arc;

use strata_store::inspect::{self, Action, FileState, Report, SegmentState, Verdict};
use strata_store::{DamagedRange, OpenError};

use crate::common::*;

fn check(root: &Path) -> Report {
    inspect::check(root, &mut |_, _| ()).unwrap()
}

/// Three segments, of which the first two are sealed when the store was closed.
fn filled(root: &Path, close: bool) {
    let (store, _) = open(options(root));
    for number in 0..150_u8 {
        append(&store, "T", i32::from(number % 2), &[number; 900]);
    }
    store.flush_now().unwrap();
    if close {
        store.close().unwrap();
    } else {
        let killed = root.join("killed");
        copy(&root.join("commitlog"), &killed.join("commitlog"));
        copy(&root.join("sidecar"), &killed.join("sidecar"));
    }
}

#[test]
fn a_closed_store_is_clean_and_a_repair_leaves_it_alone() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path(), true);
    let mut told = Vec::new();
    let report = inspect::check(folder.path(), &mut |done, total| told.push((done, total))).unwrap();
    assert_eq!((report.verdict(), report.plan(), &report.notes[..]), (Verdict::Clean, vec![], &[][..]));
    let states: Vec<_> = report.segments.iter().map(|segment| segment.state).collect();
    assert_eq!(states, [SegmentState::Sealed, SegmentState::Sealed, SegmentState::Active]);
    assert_eq!(report.segments.iter().map(|segment| segment.records).sum::<u64>(), 150);
    assert_eq!((told.first(), told.last()), (Some(&(0, 3 * 65_536)), Some(&(3 * 65_536, 3 * 65_536))));
    let repaired = inspect::repair(folder.path(), &mut |_, _| ()).unwrap();
    assert_eq!((repaired.done, repaired.after), (vec![], report));
}

#[test]
fn what_a_kill_leaves_is_no_damage_and_is_tidied() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path(), false);
    let root = folder.path().join("killed");
    let report = check(&root);
    assert_eq!(report.verdict(), Verdict::Clean, "{report:#?}");
    let states: Vec<_> = report.segments.iter().map(|segment| segment.state).collect();
    assert_eq!(states, [SegmentState::Full, SegmentState::Full, SegmentState::Active]);
    let built = |action: &Action| matches!(action, Action::BuildSidecar { .. });
    assert_eq!(report.plan().iter().filter(|action| built(action)).count(), 2);
    let repaired = inspect::repair(&root, &mut |_, _| ()).unwrap();
    assert_eq!((repaired.after.plan(), repaired.after.verdict()), (vec![], Verdict::Clean));
    assert_eq!(repaired.after.segments[0].sidecar, FileState::Good);
}

#[test]
fn missing_segments_are_told() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path(), true);
    std::fs::remove_file(&files(&folder.path().join("commitlog"), "")[1]).unwrap();
    let report = check(folder.path());
    assert_eq!(report.gaps, [DamagedRange { from: 65_536, to: 131_072 }]);
    assert_eq!(report.verdict(), Verdict::Lost);
    assert!(report.notes[0].contains("without its segment"), "{:?}", report.notes);
}

#[test]
fn a_store_in_use_and_a_folder_that_is_none_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(options(folder.path()));
    assert!(matches!(inspect::check(folder.path(), &mut |_, _| ()), Err(OpenError::InUse { .. })));
    assert!(matches!(inspect::repair(folder.path(), &mut |_, _| ()), Err(OpenError::InUse { .. })));
    store.close().unwrap();
    check(folder.path());
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(inspect::check(empty.path(), &mut |_, _| ()), Err(OpenError::Io { .. })));
}

#[test]
fn a_repair_that_ends_anywhere_can_be_repeated() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path(), true);
    let mut small = options(folder.path());
    small.retention.log_bytes_max = Some(140_000);
    let (store, _) = open(small);
    for number in 0..80_u8 {
        append(&store, "T", 0, &[number; 900]);
    }
    store.seal_active().unwrap();
    assert!(store.sweep(&|_| None, i64::MAX).unwrap().segments > 0);
    let expected = (all(&store, "T", 0), all(&store, "T", 1));
    store.close().unwrap();
    drop(store);
    // The floor, a sidecar and the checkpoint are damaged at once.
    let floor = folder.path().join("sidecar/floor");
    let sidecar = files(&folder.path().join("sidecar"), ".index").pop().unwrap();
    for path in [&floor, &sidecar, &folder.path().join("checkpoint")] {
        let mut bytes = std::fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(path, bytes).unwrap();
    }
    let mut failures = 0;
    for writes in 0.. {
        let copied = tempfile::tempdir().unwrap();
        copy(folder.path(), copied.path());
        let disk = Arc::new(TestDisk::default());
        disk.writes.store(writes, std::sync::atomic::Ordering::SeqCst);
        let clock = TestClock::at(1_000_000);
        let first = inspect::repair_on(copied.path(), clock, disk, &mut |_, _| ());
        failures += usize::from(first.is_err());
        let again = inspect::repair(copied.path(), &mut |_, _| ()).unwrap();
        assert_eq!((again.after.verdict(), again.after.plan()), (Verdict::Clean, vec![]), "{writes} writes");
        let (store, _) = open(options(copied.path()));
        assert!((all(&store, "T", 0), all(&store, "T", 1)) == expected, "{writes} writes");
        if first.is_ok() {
            break;
        }
    }
    assert!(failures > 3, "{failures} failures");
}
