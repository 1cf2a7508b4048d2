//! Segments that cannot be opened for a while: nothing is skipped, and what can be read is.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use strata_store::{Boundary, QueueRange, ReadStatus, Store};

use crate::common::*;

/// Ten messages with a segment each, closed, and the segment files.
fn ten_segments(root: &Path) -> Vec<PathBuf> {
    let (store, _) = open(options(root));
    for number in 0..10_u8 {
        append(&store, "T", 0, &[number; 10]);
        store.seal_active().unwrap();
    }
    store.close().unwrap();
    files(&root.join("commitlog"), "")
}

/// Puts a file out of the way, as a descriptor that is not to be had would.
fn hide(path: &Path) {
    std::fs::rename(path, path.with_extension("hidden")).unwrap();
}

fn show(path: &Path) {
    std::fs::rename(path.with_extension("hidden"), path).unwrap();
}

#[test]
fn what_opens_is_read_and_the_rest_is_told_and_not_passed() {
    for closed in [&[0][..], &[4], &[9], &[0, 1, 2], &[3, 4, 5, 6], &[0, 2, 4, 6, 8]] {
        let folder = tempfile::tempdir().unwrap();
        let segments = ten_segments(folder.path());
        let (store, _) = open(options(folder.path()));
        closed.iter().for_each(|at| hide(&segments[*at]));
        for offset in 0..10_usize {
            let read = read(&store, "T", 0, offset as i64);
            if closed.contains(&offset) {
                let (begin, end) = (offset as i64 * 65_536, (offset as i64 + 1) * 65_536);
                let named = |from: i64, to: i64| from <= begin && to >= end;
                let status = read.status;
                assert!(matches!(status, ReadStatus::Unavailable { from, to } if named(from, to)), "{status:?}");
                assert_eq!((read.next_offset, read.messages), (offset as i64, 0));
            } else {
                assert_eq!(bodies(&read)[0], (offset as i64, vec![offset as u8; 10]), "{closed:?} {offset}");
                let next = closed.iter().find(|at| **at > offset).map_or(10, |at| *at as i64);
                assert_eq!(read.next_offset, next);
            }
        }
        // Later than all: whatever is closed, nothing is passed over.
        let time = store.offset_by_time("T", 0, i64::MAX, Boundary::Lower);
        assert!(time <= 10 && (closed.contains(&(time as usize)) || time == 10), "{time}");
        closed.iter().for_each(|at| show(&segments[*at]));
        assert_eq!(all(&store, "T", 0).len(), 10);
        assert_eq!(store.offset_by_time("T", 0, i64::MAX, Boundary::Lower), 10);
    }
}

#[test]
fn the_first_offset_is_not_believed_to_be_later_than_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let segments = ten_segments(folder.path());
    let mut small = options(folder.path());
    let one = open(options(folder.path())).0.sealed_ranges()[0];
    small.retention.log_bytes_max = Some(8 * (one.tail - one.from) as u64);
    let (store, _) = open(small);
    hide(&segments[2]);
    // It deletes what is too much and then cannot ask the next one how old it is.
    store.sweep(&|_| None, i64::MAX).unwrap_err();
    // The first two are gone and the third, which says where the queue begins now, cannot be asked.
    assert_eq!(store.log_range().0, 2 * 65_536);
    let range = store.queue_range("T", 0).unwrap();
    assert!(range.min <= 2 && range.max == 10, "{range:?}");
    assert!(matches!(read(&store, "T", 0, 2).status, ReadStatus::Unavailable { .. }));
    assert_eq!(bodies(&read(&store, "T", 0, 3)).len(), 7);
    show(&segments[2]);
    assert_eq!(store.queue_range("T", 0), Some(QueueRange { min: 2, max: 10 }));
    assert_eq!(all(&store, "T", 0).len(), 8);
}

#[test]
fn a_sidecar_that_cannot_be_written_is_not_built_at_each_read() {
    let folder = tempfile::tempdir().unwrap();
    ten_segments(folder.path());
    let sidecar = &files(&folder.path().join("sidecar"), ".index")[3];
    let mut bytes = std::fs::read(sidecar).unwrap();
    // Behind the header: it is noticed when the first reader comes.
    bytes[512] ^= 1;
    std::fs::write(sidecar, bytes).unwrap();
    let (disk, clock) = (Arc::new(TestDisk::default()), TestClock::at(1_000_000));
    let opened = Store::open_on(options(folder.path()), Arc::clone(&clock) as _, Arc::clone(&disk) as _);
    let (store, _) = opened.unwrap();
    let status = || read(&store, "T", 0, 3).status;
    disk.writes.store(0, Ordering::SeqCst);
    assert!(matches!(status(), ReadStatus::Unavailable { .. }));
    disk.writes.store(usize::MAX, Ordering::SeqCst);
    assert!(matches!(status(), ReadStatus::Unavailable { .. }), "it is not tried again at once");
    clock.pass(5_000);
    assert_eq!(status(), ReadStatus::Found);
}
