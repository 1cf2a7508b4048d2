//! The hot file: its memory goes round, and what it alone holds survives the process.

use std::path::Path;
use std::sync::Arc;

use strata_store::{Disk, FlushMode, KeepAll, ReadBudget, ReadStatus, RealDisk, Store, StoreOptions};

use crate::common::{EVERYTHING, TestClock, TestDisk, all, append, bodies, copy, open, options, read, sync_options};

/// Asynchronous flush that never comes by itself.
fn unflushed(root: &Path) -> StoreOptions {
    StoreOptions { flush: FlushMode::Async { interval_ms: 3_600_000, bytes_max: 1 << 30 }, ..options(root) }
}

fn body(number: usize) -> Vec<u8> {
    (0..700).map(|at| (number * 31 + at * 7) as u8).collect()
}

/// Appends `count` messages from `first` on.
fn fill(store: &Store, first: usize, count: usize) {
    for number in first..first + count {
        append(store, "T", 0, &body(number));
    }
}

fn expected(count: usize) -> Vec<(i64, Vec<u8>)> {
    (0..count).map(|number| (number as i64, body(number))).collect()
}

#[test]
fn memory_goes_round_under_readers() {
    for options in [options, sync_options] {
        let folder = tempfile::tempdir().unwrap();
        let (store, _) = open(options(folder.path()));
        let mut held = Vec::new();
        // About 80 messages a segment: 50 segments, of which eight have memory at a time.
        for part in 0..50 {
            fill(&store, part * 80, 80);
            store.flush_now().unwrap();
            held.push(read(&store, "T", 0, part as i64 * 80));
            store.seal_pending().unwrap();
        }
        let length = std::fs::metadata(folder.path().join("hot")).unwrap().len();
        assert!(length < 10 * (65_536 + 8_192), "the hot file has {length} bytes: nothing was used again");
        for (part, read) in held.iter().enumerate() {
            let expected: Vec<_> = (part * 80..part * 80 + 80).map(|number| (number as i64, body(number))).collect();
            assert_eq!(bodies(read), expected, "slices of part {part} changed");
        }
        assert_eq!(all(&store, "T", 0), expected(4_000));
        drop(store);
        assert!(!folder.path().join("hot").exists(), "a store that is closed needs none");
        let (store, recovery) = open(options(folder.path()));
        assert_eq!((recovery.restored, recovery.cut, recovery.damaged.len()), (0, None, 0));
        assert_eq!(all(&store, "T", 0), expected(4_000));
    }
}

#[test]
fn who_does_not_wait_is_told_what_is_on_disk_only() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(options(folder.path()));
    for part in 0..20 {
        fill(&store, part * 80, 80);
        store.flush_now().unwrap();
        store.seal_pending().unwrap();
    }
    let at_once = ReadBudget { wait: false, ..EVERYTHING };
    let read = |offset, budget: &ReadBudget| store.read("T", 0, offset, budget, &mut KeepAll);
    // The end is in memory.
    assert_eq!(bodies(&read(1_560, &at_once)), expected(1_600)[1_560..]);
    let first = read(0, &at_once);
    if RealDisk.open_direct(&folder.path().join("commitlog/00000000000000000000")).unwrap().is_some() {
        // Written past the page cache, and never read since its memory went to another part.
        assert_eq!((first.status, first.next_offset, first.messages), (ReadStatus::Cold, 0, 0));
    }
    assert_eq!(bodies(&read(0, &EVERYTHING)), expected(1_600));
    assert_eq!(read(0, &at_once).status, ReadStatus::Found, "it was read just now");
}

#[test]
fn what_was_not_flushed_survives_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(unflushed(folder.path()));
    fill(&store, 0, 50);
    store.flush_now().unwrap();
    // Over the ends of two segments.
    fill(&store, 50, 200);
    let crashed = tempfile::tempdir().unwrap();
    copy(folder.path(), crashed.path());
    let cut = tempfile::tempdir().unwrap();
    copy(folder.path(), cut.path());

    let (again, recovery) = open(options(crashed.path()));
    // Three blanks are records, too.
    assert_eq!((recovery.restored, recovery.cut, recovery.damaged.len()), (203, None, 0));
    assert_eq!(all(&again, "T", 0), expected(250));
    fill(&again, 250, 10);
    drop(again);
    let (again, _) = open(options(crashed.path()));
    assert_eq!(all(&again, "T", 0), expected(260));

    std::fs::remove_file(cut.path().join("hot")).unwrap();
    let (again, recovery) = open(options(cut.path()));
    assert_eq!((recovery.restored, recovery.damaged.len()), (0, 0));
    assert_eq!(all(&again, "T", 0), expected(50), "only what was flushed is in the segments");
}

#[test]
fn taking_over_can_be_interrupted() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(unflushed(folder.path()));
    fill(&store, 0, 20);
    store.flush_now().unwrap();
    fill(&store, 20, 100);
    let mut left = 0;
    loop {
        let crashed = tempfile::tempdir().unwrap();
        copy(folder.path(), crashed.path());
        let disk = TestDisk::default();
        disk.writes.store(left, std::sync::atomic::Ordering::SeqCst);
        let opened = Store::open_on(unflushed(crashed.path()), TestClock::at(1_000_000), Arc::new(disk));
        let done = opened.is_ok();
        std::mem::forget(opened);
        let after = tempfile::tempdir().unwrap();
        copy(crashed.path(), after.path());
        let (again, _) = open(options(after.path()));
        assert_eq!(all(&again, "T", 0), expected(120), "after {left} writes");
        if done {
            break;
        }
        left += 1 + left / 8;
    }
    assert!(left > 20, "the test must have stopped it");
}

/// A power cut leaves each page of the hot file as it was at any moment since the file was made.
#[test]
fn any_mixture_of_pages_gives_a_beginning_of_the_truth() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(unflushed(folder.path()));
    let hot = folder.path().join("hot");
    let mut moments = Vec::new();
    let mut durable = 0;
    for part in 0..30 {
        fill(&store, part * 40, 40);
        if part % 3 == 2 && part < 27 {
            store.flush_now().unwrap();
            durable = (part + 1) * 40;
        }
        moments.push(std::fs::read(&hot).unwrap());
    }
    let sent = expected(30 * 40);
    let mut most = 0;
    let mut random = 0x2545_F491_4F6C_DD1D_u64;
    let mut draw = move |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % below as u64) as usize
    };
    for round in 0..60 {
        let crashed = tempfile::tempdir().unwrap();
        copy(folder.path(), crashed.path());
        let mut mixed = moments[moments.len() - 1].clone();
        // From nearly all pages of the last moment to nearly none.
        let share = 1 + draw(20);
        for (page, bytes) in mixed.chunks_mut(4_096).enumerate() {
            if draw(20) >= share {
                continue;
            }
            let older = &moments[draw(moments.len())];
            match older.get(page * 4_096..page * 4_096 + bytes.len()) {
                Some(older) => bytes.copy_from_slice(older),
                None => bytes.fill(0),
            }
        }
        if round % 4 == 0 {
            let at = draw(mixed.len());
            mixed[at] ^= 1 << draw(8);
        }
        std::fs::write(crashed.path().join("hot"), mixed).unwrap();
        let (again, recovery) = open(options(crashed.path()));
        assert_eq!(recovery.damaged, [], "round {round}");
        let found = all(&again, "T", 0);
        assert!(found.len() >= durable, "round {round}: {} of {durable} durable messages", found.len());
        assert_eq!(found, sent[..found.len()], "round {round}");
        most = most.max(found.len());
    }
    assert!(most > durable, "some mixtures must hold more than what was durable");
}
