//! The sidecar's bytes, held to a file that older versions of this program wrote.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::*;
use crate::disk::RealDisk;
use crate::index::{Entry, SegmentIndex};
use crate::segment::block_sums;

const FIRST: i64 = 1 << 30;
const BYTES: usize = 100_000;

/// A segment's worth of facts: three queues, one without messages, one lost message, seven keys.
fn write_sample(path: &Path) -> (SegmentIndex, Vec<u8>) {
    let bytes: Vec<u8> = (0..BYTES).map(|at| (at * 31 % 251) as u8).collect();
    let mut index = SegmentIndex::default();
    for (number, offset, position, tag) in [(0, 5, 0, 7), (2, 0, 300, -7), (0, 6, 700, 0), (2, 1, 65_400, 9)] {
        let time = index.note(1_700_000_000_000 + i64::from(position));
        let crc = crc32c::crc32c(&bytes[position as usize..position as usize + 250]);
        index.push(number, offset, Entry { position, length: 250, tag, time, crc });
        index.keys.push(position * 3, position);
        index.keys.push(position * 5 + 1, position);
    }
    index.push(0, 7, Entry::damaged(1_000, 50, 700));
    index.damage.push((1_000, 1_050));
    let row = |topic: &str, queue_id, number, next| QueueRow { topic: Arc::from(topic), queue_id, number, next };
    let rows = vec![row("T", 1, 2, 2), row("\u{fc}", 0, 1, 44), row("T", 0, 0, 8)];
    let end = FIRST + 131_072;
    let source = Source { first: FIRST, end, tail: BYTES, blocks: &block_sums(&bytes), index: &index, rows };
    write(&RealDisk, path, source).unwrap();
    (index, bytes)
}

#[test]
fn the_bytes_are_those_of_version_1() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.index");
    write_sample(&path);
    let written = std::fs::read(&path).unwrap();
    let golden = PathBuf::from("tests/golden/sidecar-v1.bin");
    if !golden.exists() {
        std::fs::write(&golden, &written).unwrap();
        panic!("{} was made; compare it with FORMAT.md before it is kept", golden.display());
    }
    assert!(written == std::fs::read(&golden).unwrap(), "the layout changed: raise its version");
}

#[test]
fn what_is_written_is_found() {
    let golden = PathBuf::from("tests/golden/sidecar-v1.bin");
    let folder = tempfile::tempdir().unwrap();
    let (index, bytes) = write_sample(&folder.path().join("x.index"));
    let sidecar = Sidecar::open(&golden).unwrap();
    sidecar.verify(&golden).unwrap();
    let facts = sidecar.facts();
    assert_eq!((facts.first, facts.end, facts.tail), (FIRST, FIRST + 131_072, BYTES as u64));
    assert_eq!(facts.records, 4);
    assert_eq!(facts.first_time, 1_700_000_000_000);
    assert_eq!(facts.last_time, 1_700_000_065_400);
    let mut queues = Vec::new();
    sidecar.each_queue(|topic, row| {
        queues.push((topic.to_owned(), row.queue_id, row.base, row.count, row.next()));
    });
    let expected = [("T", 0, 5, 3, 8), ("T", 1, 0, 2, 2), ("\u{fc}", 0, 44, 0, 44)];
    assert_eq!(queues, expected.map(|(t, q, b, c, n)| (t.to_owned(), q, b, c, n)));
    for (queue_id, number) in [(0, 0), (1, 2)] {
        let row = sidecar.queue("T", queue_id).unwrap();
        let run = index.run(number).unwrap();
        for (offset, entry) in (row.base..).zip(&run.entries) {
            let found = sidecar.entry(&row, offset).unwrap();
            assert_eq!(found, *entry);
        }
        assert!(sidecar.entry(&row, row.base - 1).is_none());
        assert!(sidecar.entry(&row, row.next()).is_none());
    }
    for (topic, queue_id) in [("T", 2), ("T", -1), ("S", 0), ("U", 0), ("", 0)] {
        assert!(sidecar.queue(topic, queue_id).is_none());
    }
    for (hash, position) in index.keys.iter() {
        let mut found = Vec::new();
        sidecar.find_key(hash, &mut found, 10);
        assert!(found.contains(&position), "hash {hash}");
    }
    let mut found = Vec::new();
    sidecar.find_key(12_345, &mut found, 10);
    assert!(found.is_empty());
    assert_eq!(sidecar.block_crc(0), Some(crc32c::crc32c(&bytes[..65_536])));
    assert_eq!(sidecar.block_crc(1), Some(crc32c::crc32c(&bytes[65_536..])));
    assert_eq!(sidecar.block_crc(2), None);
    assert_eq!(sidecar.damage().collect::<Vec<_>>(), [(1_000, 1_050)]);
}
