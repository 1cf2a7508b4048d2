//! Opening folders as crashes and damage leave them.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use strata_store::{DamagedRange, KeyKind, OpenError, QueueRange, ReadStatus, Store};

use crate::common::*;

/// Overwrites bytes of a file.
fn poke(path: &Path, at: u64, bytes: &[u8]) {
    OpenOptions::new().write(true).open(path).unwrap().write_all_at(bytes, at).unwrap();
}

/// A store of one segment with ten messages in queue 0 and their log offsets.
fn ten(root: &Path) -> Vec<i64> {
    let (store, _) = open(options(root));
    let offsets = (0..10_u8).map(|n| append(&store, "T", 0, &[n; 100]).physical_offset).collect();
    store.close().unwrap();
    offsets
}

#[test]
fn a_kill_at_any_moment_loses_nothing_appended() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(options(folder.path()));
    for number in 0..400_i64 {
        append(&store, "T", 0, &[number as u8; 700]);
        if number % 57 == 0 {
            // The page cache survives the process: a copy of the files is what a kill leaves.
            let crashed = tempfile::tempdir().unwrap();
            copy(folder.path(), crashed.path());
            let (again, recovery) = open(options(crashed.path()));
            assert_eq!((recovery.cut, recovery.damaged.len()), (None, 0));
            assert_eq!(again.queue_range("T", 0), Some(QueueRange { min: 0, max: number + 1 }));
            assert_eq!(all(&again, "T", 0), all(&store, "T", 0));
            assert_eq!(again.log_range(), store.log_range());
        }
    }
}

#[test]
fn a_torn_tail_is_cut_for_good() {
    let folder = tempfile::tempdir().unwrap();
    let offsets = ten(folder.path());
    let segment = &files(&folder.path().join("commitlog"), "0")[0];
    // The flush noted checksums; a tail that was never flushed has none.
    std::fs::remove_file(&files(&folder.path().join("sidecar"), ".sums")[0]).unwrap();
    let last = offsets[9] as u64;
    poke(segment, last + 90, &[0xEE; 20]);
    poke(segment, last + 5_000, b"left over");
    let (store, recovery) = open(options(folder.path()));
    assert_eq!(recovery.cut, Some((offsets[9], offsets[9] + 5_009)));
    assert_eq!(recovery.damaged, []);
    assert_eq!(store.queue_range("T", 0), Some(QueueRange { min: 0, max: 9 }));
    assert_eq!(store.log_range(), (0, offsets[9]));
    let bytes = std::fs::read(segment).unwrap();
    assert!(bytes[offsets[9] as usize..].iter().all(|byte| *byte == 0));
    assert_eq!(append(&store, "T", 0, b"new").queue_offset, 9);
    drop(store);
    let (store, recovery) = open(options(folder.path()));
    assert_eq!(recovery.cut, None);
    assert_eq!(all(&store, "T", 0)[9], (9, b"new".to_vec()));
}

#[test]
fn a_truncated_file_is_a_torn_tail_too() {
    let folder = tempfile::tempdir().unwrap();
    let offsets = ten(folder.path());
    std::fs::remove_file(&files(&folder.path().join("sidecar"), ".sums")[0]).unwrap();
    let segment = &files(&folder.path().join("commitlog"), "0")[0];
    let file = OpenOptions::new().write(true).open(segment).unwrap();
    file.set_len(offsets[5] as u64 + 33).unwrap();
    let (store, recovery) = open(options(folder.path()));
    assert_eq!(recovery.cut.map(|cut| cut.0), Some(offsets[5]));
    assert_eq!(all(&store, "T", 0).len(), 5);
    assert_eq!(append(&store, "T", 0, b"new").physical_offset, offsets[5]);
}

#[test]
fn damage_in_the_middle_is_kept_apart() {
    let folder = tempfile::tempdir().unwrap();
    let offsets = ten(folder.path());
    let segment = &files(&folder.path().join("commitlog"), "0")[0];
    // One whose header can be read, and one whose size is gone.
    flip(segment, offsets[3] as u64 + 100);
    flip(segment, offsets[6] as u64 + 1);
    let range = |at: usize| DamagedRange { from: offsets[at], to: offsets[at + 1] };
    let (store, recovery) = open(options(folder.path()));
    assert_eq!(recovery.damaged, [range(3), range(6)]);
    assert_eq!(recovery.cut, None);
    let check = |store: &Store| {
        assert_eq!(store.queue_range("T", 0), Some(QueueRange { min: 0, max: 10 }));
        let first = read(store, "T", 0, 0);
        assert_eq!(bodies(&first).len(), 3);
        assert_eq!(first.next_offset, 3, "a read stops before damage");
        for at in [3, 6] {
            let DamagedRange { from, to } = range(at);
            let lost = read(store, "T", 0, at as i64);
            assert_eq!(lost.status, ReadStatus::Damaged { from, to });
            assert_eq!((lost.next_offset, lost.messages), (at as i64 + 1, 0));
            assert!(store.record_at(from).is_none());
        }
        let rest = bodies(&read(store, "T", 0, 7));
        assert_eq!(rest, [(7, vec![7; 100]), (8, vec![8; 100]), (9, vec![9; 100])]);
    };
    check(&store);
    assert_eq!(append(&store, "T", 0, b"ten").queue_offset, 10);
    drop(store);
    let (store, recovery) = open(options(folder.path()));
    assert_eq!(recovery.damaged, [range(3), range(6)]);
    store.seal_active().unwrap();
    assert_eq!(bodies(&read(&store, "T", 0, 7)).len(), 4);
    drop(store);
    let (store, _) = open(options(folder.path()));
    let lost = read(&store, "T", 0, 3);
    assert!(matches!(lost.status, ReadStatus::Damaged { .. }));
    assert_eq!(bodies(&read(&store, "T", 0, 7)).len(), 4);
}

#[test]
fn a_flushed_record_is_never_taken_for_a_torn_tail() {
    let folder = tempfile::tempdir().unwrap();
    let offsets = ten(folder.path());
    let segment = &files(&folder.path().join("commitlog"), "0")[0];
    flip(segment, offsets[9] as u64 + 60); // store time: only the noted checksum sees it
    let (store, recovery) = open(options(folder.path()));
    assert_eq!(recovery.cut, None);
    assert_eq!(recovery.damaged.len(), 1);
    assert_eq!(recovery.damaged[0].from, offsets[9]);
    assert!(matches!(read(&store, "T", 0, 9).status, ReadStatus::Damaged { .. }));
    assert_eq!(append(&store, "T", 0, b"next").queue_offset, 10);
}

/// A store with several sealed segments; returns what every query answers.
fn answers(store: &Store) -> Vec<String> {
    let mut out = vec![format!("{:?} {:?}", store.log_range(), store.earliest_log_time())];
    for (topic, queue_id) in [("T", 0), ("T", 1), ("Idle", 0), ("U", 7), ("None", 0)] {
        out.push(format!("{topic} {queue_id} {:?}", store.queue_range(topic, queue_id)));
        out.push(format!("{:?}", all(store, topic, queue_id)));
        for time in [0, 1_000_050, 1_000_100, 1_000_777, i64::MAX] {
            for boundary in [strata_store::Boundary::Lower, strata_store::Boundary::Upper] {
                out.push(format!("{}", store.offset_by_time(topic, queue_id, time, boundary)));
            }
        }
    }
    for key in ["k1", "k3", "none"] {
        for (begin, end) in [(0, i64::MAX), (1_000_050, 1_000_100)] {
            let found = store.query_by_key("T", key, begin, end, 50, KeyKind::Key);
            out.push(format!("{found:?}"));
        }
    }
    out
}

fn several(root: &Path) -> Vec<String> {
    let clock = TestClock::at(1_000_000);
    let (store, _) = Store::open(options(root), Arc::clone(&clock) as _).unwrap();
    append(&store, "Idle", 0, b"only once");
    for number in 0..300_u32 {
        let properties = format!("KEYS\u{1}k{} x\u{2}TAGS\u{1}t{}\u{2}", number % 5, number % 3);
        let message = with_properties("T", (number % 2) as i32, &[7; 900], properties.as_bytes());
        store.append(&message).unwrap();
        clock.pass(u64::from(number % 4));
        if number > 200 {
            append(&store, "U", 7, b"late");
        }
    }
    store.seal_pending().unwrap();
    let answers = answers(&store);
    store.close().unwrap();
    answers
}

#[test]
fn deleting_any_sidecar_changes_no_answer() {
    let folder = tempfile::tempdir().unwrap();
    let expected = several(folder.path());
    let count = files(&folder.path().join("sidecar"), ".index").len();
    assert!(count >= 4);
    for mask in 0..1_u32 << count {
        let copied = tempfile::tempdir().unwrap();
        copy(folder.path(), copied.path());
        let sidecars = files(&copied.path().join("sidecar"), ".index");
        for (bit, path) in sidecars.iter().enumerate() {
            if mask >> bit & 1 == 1 {
                std::fs::remove_file(path).unwrap();
            }
        }
        let (store, recovery) = open(options(copied.path()));
        assert_eq!(recovery.rebuilt_sidecars, mask.count_ones() as usize);
        assert_eq!(answers(&store), expected, "deleted sidecars {mask:b}");
        drop(store);
        for (path, original) in sidecars.iter().zip(files(&folder.path().join("sidecar"), ".index")) {
            assert_eq!(std::fs::read(path).unwrap(), std::fs::read(original).unwrap());
        }
    }
}

#[test]
fn damaged_sidecars_are_noticed_and_built_again() {
    let folder = tempfile::tempdir().unwrap();
    let expected = several(folder.path());
    let original = files(&folder.path().join("sidecar"), ".index");
    let length = std::fs::metadata(&original[1]).unwrap().len();
    for at in (0..length).step_by(1 + length as usize / 60) {
        let copied = tempfile::tempdir().unwrap();
        copy(folder.path(), copied.path());
        let path = &files(&copied.path().join("sidecar"), ".index")[1];
        flip(path, at);
        let (store, _) = open(options(copied.path()));
        assert_eq!(answers(&store), expected, "flip at {at}");
        drop(store);
        let again = std::fs::read(path).unwrap();
        let padding = again == {
            let mut bytes = std::fs::read(&original[1]).unwrap();
            bytes[at as usize] ^= 1;
            bytes
        };
        assert!(padding || again == std::fs::read(&original[1]).unwrap(), "flip at {at}");
    }
}

#[test]
fn every_flip_in_a_sealed_segment_is_noticed_by_reads() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(options(folder.path()));
    let positions: Vec<_> = (0..20_u8).map(|n| append(&store, "T", 0, &[n; 50]).physical_offset).collect();
    store.seal_active().unwrap();
    store.close().unwrap();
    drop(store);
    for at in (positions[4]..positions[6]).step_by(3) {
        let copied = tempfile::tempdir().unwrap();
        copy(folder.path(), copied.path());
        flip(&files(&copied.path().join("commitlog"), "0")[0], at as u64);
        let hit = if at < positions[5] { 4 } else { 5 };
        let (store, _) = open(options(copied.path()));
        let before = read(&store, "T", 0, 0);
        assert_eq!((before.messages, before.next_offset), (hit, hit as i64), "flip at {at}");
        let lost = read(&store, "T", 0, hit as i64);
        let (from, to) = (positions[hit], positions[hit + 1]);
        assert_eq!(lost.status, ReadStatus::Damaged { from, to }, "flip at {at}");
        assert_eq!(lost.next_offset, hit as i64 + 1);
        assert_eq!(bodies(&read(&store, "T", 0, hit as i64 + 1)).len(), 19 - hit);
        assert!(store.record_at(from).is_none());
    }
}

#[test]
fn a_missing_segment_is_told_to_its_readers() {
    let folder = tempfile::tempdir().unwrap();
    several(folder.path());
    let (store, _) = open(options(folder.path()));
    let before = all(&store, "T", 0);
    store.close().unwrap();
    drop(store);
    for keep_sidecars in [true, false] {
        let copied = tempfile::tempdir().unwrap();
        copy(folder.path(), copied.path());
        std::fs::remove_file(&files(&copied.path().join("commitlog"), "")[1]).unwrap();
        if !keep_sidecars {
            for path in files(&copied.path().join("sidecar"), "") {
                std::fs::remove_file(path).unwrap();
            }
        }
        let (store, recovery) = open(options(copied.path()));
        let gap = DamagedRange { from: 65_536, to: 131_072 };
        assert_eq!(recovery.damaged, [gap]);
        let first = bodies(&read(&store, "T", 0, 0));
        assert_eq!(first, before[..first.len()]);
        let lost = read(&store, "T", 0, first.len() as i64);
        assert_eq!(lost.status, ReadStatus::Damaged { from: gap.from, to: gap.to });
        let rest = bodies(&read(&store, "T", 0, lost.next_offset));
        assert!(lost.next_offset > first.len() as i64 && !rest.is_empty());
        assert_eq!(rest, before[lost.next_offset as usize..]);
        for (offset, _) in first.iter().chain(&rest) {
            let time = store.store_time("T", 0, *offset).unwrap();
            let found = store.offset_by_time("T", 0, time, strata_store::Boundary::Lower);
            assert!(found <= *offset, "the missing messages lead past {offset}");
            let found = store.offset_by_time("T", 0, time, strata_store::Boundary::Upper);
            assert!(found >= *offset && found < lost.next_offset.max(*offset + 8), "{offset} {found}");
        }
    }
}

#[test]
fn deleted_segments_do_not_reset_offsets() {
    let folder = tempfile::tempdir().unwrap();
    several(folder.path());
    for path in files(&folder.path().join("commitlog"), "") {
        std::fs::remove_file(path).unwrap();
    }
    let (store, _) = open(options(folder.path()));
    assert_eq!(store.queue_range("Idle", 0), Some(QueueRange { min: 1, max: 1 }));
    assert!(append(&store, "T", 0, b"x").queue_offset > 100);
}

#[test]
fn recovery_is_idempotent() {
    let folder = tempfile::tempdir().unwrap();
    let expected = several(folder.path());
    for _ in 0..3 {
        let (store, recovery) = open(options(folder.path()));
        assert_eq!((recovery.cut, recovery.rebuilt_sidecars), (None, 0));
        assert_eq!(answers(&store), expected);
    }
}

#[test]
fn a_folder_is_opened_once() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(options(folder.path()));
    let error = Store::open(options(folder.path()), TestClock::at(0)).unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    store.close().unwrap();
    Store::open(options(folder.path()), TestClock::at(0)).unwrap();
}

#[test]
fn a_file_in_the_place_of_the_folder_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, "x").unwrap();
    let error = Store::open(options(&path), TestClock::at(0)).unwrap_err();
    assert!(matches!(error, OpenError::Io { .. }), "{error}");
    assert!(error.to_string().contains(&path.display().to_string()), "{error}");
}

#[test]
fn bad_options_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut bad = options(folder.path());
    bad.segment_bytes = 1_000;
    let error = Store::open(bad, TestClock::at(0)).unwrap_err();
    assert!(error.to_string().contains("segment_bytes is 1000"), "{error}");
}

/// What a reader gets who goes on behind everything that is told as damaged.
fn readable(store: &Store, topic: &str, queue_id: i32) -> Vec<(i64, Vec<u8>)> {
    let range = store.queue_range(topic, queue_id).unwrap();
    let (mut offset, mut out) = (range.min, Vec::new());
    while offset < range.max {
        let read = read(store, topic, queue_id, offset);
        out.extend(bodies(&read));
        assert!(read.next_offset > offset, "{:?}", read.status);
        offset = read.next_offset;
    }
    out
}

#[test]
fn a_flush_vouches_for_no_damage_and_condemns_nothing_behind_it() {
    let folder = tempfile::tempdir().unwrap();
    let offsets = ten(folder.path());
    let segment = &files(&folder.path().join("commitlog"), "0")[0];
    // A power cut took the checksums and left a body wrong, a size wrong, and good records behind both.
    std::fs::remove_file(&files(&folder.path().join("sidecar"), ".sums")[0]).unwrap();
    flip(segment, offsets[2] as u64 + 100);
    flip(segment, offsets[5] as u64 + 3);
    let range = |at: usize| DamagedRange { from: offsets[at], to: offsets[at + 1] };
    let expected: Vec<_> = [0, 1, 3, 4, 6, 7, 8, 9].map(|n| (i64::from(n), vec![n; 100])).into();
    for count in 10..13 {
        let (store, recovery) = open(options(folder.path()));
        assert_eq!(recovery.damaged, [range(2), range(5)]);
        assert_eq!((recovery.cut, recovery.conflicts), (None, 0));
        assert_eq!(readable(&store, "T", 0)[..8], expected);
        assert_eq!(append(&store, "T", 0, b"next").queue_offset, count);
        store.close().unwrap();
    }
}

#[test]
fn lost_newest_segments_are_told_and_their_offsets_not_given_again() {
    let folder = tempfile::tempdir().unwrap();
    several(folder.path());
    let (store, _) = open(options(folder.path()));
    let max = store.queue_range("T", 0).unwrap().max;
    append(&store, "T", 0, b"the last one");
    store.seal_active().unwrap();
    let end = store.log_range().1;
    store.close().unwrap();
    drop(store);
    for kept in [0, 1, 3] {
        let copied = tempfile::tempdir().unwrap();
        copy(folder.path(), copied.path());
        for path in &files(&copied.path().join("commitlog"), "")[kept..] {
            std::fs::remove_file(path).unwrap();
        }
        let lost = DamagedRange { from: kept as i64 * 65_536, to: end };
        let (store, recovery) = open(options(copied.path()));
        assert_eq!(recovery.damaged, [lost], "{kept} segments kept");
        assert_eq!(append(&store, "T", 0, b"new").queue_offset, max + 1);
        assert_eq!(readable(&store, "T", 0).last(), Some(&(max + 1, b"new".to_vec())));
        if kept > 0 {
            let missing = read(&store, "T", 0, max);
            assert_eq!(missing.status, ReadStatus::Damaged { from: lost.from, to: lost.to });
        }
        // The next opening has nothing but the lost segments' sidecars to go on from.
        drop(store);
        let (store, _) = open(options(copied.path()));
        assert_eq!(append(&store, "T", 0, b"more").queue_offset, max + 2);
        assert_eq!(append(&store, "Idle", 0, b"two").queue_offset, 1);
    }
}

#[test]
fn a_damaged_floor_is_named() {
    let folder = tempfile::tempdir().unwrap();
    several(folder.path());
    let mut small = options(folder.path());
    small.retention.log_bytes_max = Some(140_000);
    let (store, _) = open(small.clone());
    assert!(store.sweep(&|_| None, i64::MAX).unwrap().segments > 0);
    store.close().unwrap();
    drop(store);
    let floor = folder.path().join("sidecar/floor");
    let length = std::fs::metadata(&floor).unwrap().len();
    for at in [3, 30, length - 1] {
        flip(&floor, at);
        let error = Store::open(small.clone(), TestClock::at(0)).unwrap_err();
        assert!(matches!(&error, OpenError::Damaged { path, .. } if *path == floor), "{error}");
        flip(&floor, at);
    }
    open(small);
}

#[test]
fn a_segment_that_cannot_be_opened_is_no_reason_to_cut_or_delete() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(options(folder.path()));
    let mut lost = 0;
    for number in 0..80_u8 {
        let appended = append(&store, "T", 0, &[number; 900]);
        if appended.physical_offset < 65_536 {
            lost = number; // the last one of the first segment
        }
    }
    store.flush_now().unwrap();
    let crashed = tempfile::tempdir().unwrap();
    copy(folder.path(), crashed.path());
    for sums in files(&crashed.path().join("sidecar"), "") {
        std::fs::remove_file(sums).unwrap();
    }
    // The end of the first segment is damaged, and the second one, which would tell so, cannot be read.
    let segments = files(&crashed.path().join("commitlog"), "");
    let bytes = 65_536 % i64::from(append(&store, "T", 0, &[0; 900]).bytes) + 300;
    poke(&segments[0], 65_536 - bytes as u64, &vec![0xEE; bytes as usize]);
    let before: Vec<_> = segments.iter().map(|path| std::fs::read(path).unwrap()).collect();
    let disk = Arc::new(TestDisk::default());
    *disk.closed.lock() = Some(segments[1].clone());
    let error = Store::open_on(options(crashed.path()), TestClock::at(0), Arc::clone(&disk) as _).unwrap_err();
    assert!(error.to_string().contains(&segments[1].display().to_string()), "{error}");
    assert!(segments.iter().zip(&before).all(|(path, bytes)| std::fs::read(path).unwrap() == *bytes));
    *disk.closed.lock() = None;
    let (store, recovery) = Store::open_on(options(crashed.path()), TestClock::at(0), disk).unwrap();
    assert_eq!((recovery.cut, recovery.damaged.len()), (None, 1));
    assert_eq!(store.queue_range("T", 0), Some(QueueRange { min: 0, max: 80 }));
    let expected: Vec<_> = (0..80_u8).filter(|n| *n != lost).map(|n| (i64::from(n), vec![n; 900])).collect();
    assert_eq!(readable(&store, "T", 0), expected, "the damage alone is lost, not what follows it");
    // The same when the sidecar of the second segment is built from the first one's.
    store.seal_active().unwrap();
    store.close().unwrap();
    drop(store);
    std::fs::remove_file(&files(&crashed.path().join("sidecar"), ".index")[1]).unwrap();
    let (store, _) = open(options(crashed.path()));
    assert_eq!(readable(&store, "T", 0), expected);
}

#[test]
fn flushed_records_of_a_later_segment_keep_the_one_before_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(options(folder.path()));
    for number in 0..80_u8 {
        append(&store, "T", 0, &[number; 900]);
    }
    store.flush_now().unwrap();
    let crashed = tempfile::tempdir().unwrap();
    copy(folder.path(), crashed.path());
    // Both segments have checksums. All records of the second one are destroyed, and the first one's blank.
    let segments = files(&crashed.path().join("commitlog"), "");
    let bytes = std::fs::metadata(&segments[1]).unwrap().len() as usize;
    std::fs::write(&segments[1], vec![0xEE; bytes]).unwrap();
    poke(&segments[0], 65_000, &[0xEE; 500]);
    let (store, recovery) = open(options(crashed.path()));
    assert_eq!(recovery.cut.map(|cut| cut.0 >= 65_536), Some(true));
    assert!(recovery.damaged.iter().any(|damage| damage.from >= 65_536), "{:?}", recovery.damaged);
    assert!(segments[1].exists() && std::fs::read(&segments[0]).unwrap()[65_000] == 0xEE);
    assert!(store.queue_range("T", 0).unwrap().max >= 60);
}

#[test]
fn a_number_that_nothing_explains_costs_its_message_only() {
    for at in [0, 3, 6] {
        // The most significant byte that matters, and the least significant one.
        for byte in [22, 27] {
            let folder = tempfile::tempdir().unwrap();
            let offsets = ten(folder.path());
            std::fs::remove_file(&files(&folder.path().join("sidecar"), ".sums")[0]).unwrap();
            let segment = &files(&folder.path().join("commitlog"), "0")[0];
            flip(segment, offsets[at] as u64 + byte);
            let (store, _) = open(options(folder.path()));
            let expected: Vec<_> =
                (0..10_u8).filter(|n| usize::from(*n) != at).map(|n| (i64::from(n), vec![n; 100])).collect();
            let readable = readable(&store, "T", 0);
            let rest = |from: i64| expected.iter().filter(move |(offset, _)| *offset > from + 1).cloned();
            let from = at as i64;
            let found: Vec<_> = readable.into_iter().filter(|(offset, _)| *offset > from + 1).collect();
            assert_eq!(found, rest(from).collect::<Vec<_>>(), "flip in {at}, byte {byte}");
            assert_eq!(append(&store, "T", 0, b"new").queue_offset, 10);
        }
    }
}

#[test]
fn no_record_is_given_from_damage() {
    let folder = tempfile::tempdir().unwrap();
    let offsets = ten(folder.path());
    let segment = &files(&folder.path().join("commitlog"), "0")[0];
    flip(segment, offsets[4] as u64 + 60); // store time: the body and its checksum agree
    let (store, _) = open(options(folder.path()));
    let check = |store: &Store| {
        assert!(store.record_at(offsets[4]).is_none());
        assert!(store.record_at(offsets[3]).is_some() && store.record_at(offsets[5]).is_some());
    };
    check(&store);
    store.seal_active().unwrap();
    check(&store);
}
