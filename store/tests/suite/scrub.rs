//! Sealed segments that are read again: damage that came after somebody had read them is found, and costs no more
//! than the records that it hit.

use std::path::Path;

use strata_store::{ReadStatus, Scrubbed, Store};

use crate::common::*;

/// Bytes of a message's body: a few dozen messages share a block.
const BODY: usize = 1_000;
/// Messages: more than three segments hold.
const MESSAGES: i64 = 250;

/// A store of several sealed segments, each of which somebody has read.
fn read_before(folder: &Path) -> std::sync::Arc<Store> {
    let (store, _) = open(options(folder));
    for number in 0..MESSAGES {
        append(&store, "T", 0, &vec![number as u8; BODY]);
    }
    store.seal_active().unwrap();
    drop(store);
    // Opened again, so that all lies in the segments' own pages.
    let (store, _) = open(options(folder));
    assert_eq!(delivered(&store), (0..MESSAGES).collect::<Vec<_>>());
    store
}

/// The offsets of all messages that a consumer gets; each must be as it was sent.
fn delivered(store: &Store) -> Vec<i64> {
    let (mut offset, mut out) = (0, Vec::new());
    while offset < MESSAGES {
        let read = read(store, "T", 0, offset);
        assert!(matches!(read.status, ReadStatus::Found | ReadStatus::Damaged { .. }), "{:?}", read.status);
        for (at, body) in bodies(&read) {
            assert_eq!(body, vec![at as u8; BODY], "message {at}");
            out.push(at);
        }
        offset = read.next_offset;
    }
    out
}

#[test]
fn what_is_whole_is_found_whole() {
    let folder = tempfile::tempdir().unwrap();
    let store = read_before(folder.path());
    let once = store.scrub();
    assert_eq!((once.passes, once.damaged_blocks), (1, 0));
    assert!(once.bytes > MESSAGES as u64 * BODY as u64, "{once:?}");
    assert_eq!(store.scrub(), Scrubbed { passes: 2, bytes: 2 * once.bytes, damaged_blocks: 0 });
    assert_eq!(store.scrubbed().passes, 2);
}

#[test]
fn a_record_that_changes_after_it_was_read_is_not_delivered_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = read_before(folder.path());
    let segment = &files(&folder.path().join("commitlog"), "")[1];
    let at = position_of(segment, 70);
    flip(segment, at);
    assert_eq!(store.scrub().damaged_blocks, 1);
    let rest: Vec<i64> = (0..MESSAGES).filter(|number| *number != 70).collect();
    assert_eq!(delivered(&store), rest);
    // Mended on the disk: the next pass says so, and the message is there again.
    flip(segment, at);
    assert_eq!(store.scrub().damaged_blocks, 0);
    assert_eq!(delivered(&store).len(), MESSAGES as usize);
}

#[test]
fn a_file_cut_short_counts_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let store = read_before(folder.path());
    let segment = &files(&folder.path().join("commitlog"), "")[1];
    let whole = std::fs::read(segment).unwrap();
    std::fs::OpenOptions::new().write(true).open(segment).unwrap().set_len(4_096).unwrap();
    assert_eq!(store.scrub().damaged_blocks, 1);
    std::fs::write(segment, whole).unwrap();
}

#[test]
fn a_damaged_sidecar_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = read_before(folder.path());
    let sidecar = &files(&folder.path().join("sidecar"), ".index")[1];
    let before = std::fs::read(sidecar).unwrap();
    flip(sidecar, before.len() as u64 / 2);
    assert_eq!(store.scrub().damaged_blocks, 0);
    assert_eq!(std::fs::read(sidecar).unwrap(), before);
    assert_eq!(delivered(&store).len(), MESSAGES as usize);
}

/// Where the body of a message lies in its segment.
fn position_of(segment: &Path, number: u8) -> u64 {
    let bytes = std::fs::read(segment).unwrap();
    let body = [number; BODY];
    bytes.windows(BODY).position(|window| window == body).unwrap() as u64 + BODY as u64 / 2
}
