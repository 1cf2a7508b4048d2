//! Scans of segments that are whole, torn and damaged.

use strata_protocol::record::{Placement, Record, encode_record, write_blank};

use super::*;
use crate::sums::Row;

const FIRST: i64 = 65_536;

fn sample(position: usize) -> Record<'static> {
    Record {
        topic: "t",
        queue_id: 0,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 1,
        born_host: "1.1.1.1:1".parse().unwrap(),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: b"body",
        properties: b"k\x01v\x02",
        placed: Placement {
            queue_offset: 3,
            physical_offset: FIRST + to_offset(position),
            store_timestamp: 5,
            store_host: "1.1.1.1:1".parse().unwrap(),
        },
    }
}

/// A segment of 4 KiB with three records of which the positions are returned.
fn segment() -> (Vec<u8>, Vec<usize>) {
    let mut bytes = Vec::new();
    let mut positions = Vec::new();
    for number in 0..3_i64 {
        positions.push(bytes.len());
        let body = vec![b'a'; 10 + bytes.len() % 7];
        let mut record = Record { body: &body, ..sample(bytes.len()) };
        record.placed.queue_offset = number;
        encode_record(&mut bytes, &record).unwrap();
    }
    positions.push(bytes.len());
    bytes.resize(4_096, 0);
    (bytes, positions)
}

#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Record(usize),
    Damage(usize, usize, Option<i64>),
}

fn scan(bytes: &[u8], sums: &Sums, more: bool) -> (Vec<Seen>, Scanned) {
    let data = [(0, bytes.len())];
    let mut seen = Vec::new();
    let scan = Scan { bytes, first: FIRST, sums, data: &data };
    let scanned = scan.run(more, &mut |found| {
        seen.push(match found {
            Found::Record { position, .. } => Seen::Record(position),
            Found::Damage { from, to, header } => Seen::Damage(from, to, header.map(|h| h.queue_offset())),
        });
    });
    (seen, scanned)
}

fn row(at: usize, bytes: &[u8]) -> Row {
    Row { position: at as u32, crc: crc32c::crc32c(bytes), queue: 0 }
}

fn sums_of(bytes: &[u8], positions: &[usize]) -> Sums {
    let mut sums = Sums::default();
    sums.covered = *positions.last().unwrap();
    sums.records = positions.windows(2).map(|pair| row(pair[0], &bytes[pair[0]..pair[1]])).collect();
    sums
}

#[test]
fn a_clean_segment_ends_at_its_tail() {
    let (bytes, at) = segment();
    let (seen, scanned) = scan(&bytes, &Sums::default(), false);
    assert_eq!(seen, [Seen::Record(at[0]), Seen::Record(at[1]), Seen::Record(at[2])]);
    assert_eq!(scanned, Scanned { tail: at[3], end: End::Open });
}

#[test]
fn a_blank_ends_a_full_segment() {
    let (mut bytes, at) = segment();
    write_blank(&mut bytes[at[3]..]);
    let (seen, scanned) = scan(&bytes, &Sums::default(), false);
    assert_eq!(seen.len(), 3);
    assert_eq!(scanned, Scanned { tail: at[3] + 8, end: End::Full });
}

#[test]
fn every_lost_sector_of_the_last_record_is_a_torn_tail() {
    // Each record in turn has its long part in the body, the properties and the topic.
    for (body, properties, topic) in [(1_500, 4, 1), (4, 1_500, 1), (0, 1_500, 300), (9, 700, 3)] {
        let (mut bytes, at) = segment();
        let (body, topic) = (vec![b'b'; body], "t".repeat(topic));
        let properties = [b"k\x01".to_vec(), vec![b'v'; properties]].concat();
        let record = Record { body: &body, topic: &topic, properties: &properties, ..sample(at[3]) };
        bytes.truncate(at[3]);
        encode_record(&mut bytes, &record).unwrap();
        let end = bytes.len();
        bytes.resize(4_096, 0);
        assert_eq!(scan(&bytes, &Sums::default(), false).1.tail, end);
        for sector in at[3] / 512..end.div_ceil(512) {
            let mut torn = bytes.clone();
            torn[at[3].max(sector * 512)..end.min(sector * 512 + 512)].fill(0);
            let (seen, scanned) = scan(&torn, &Sums::default(), false);
            assert_eq!(seen.len(), 3, "sector {sector} of {}", properties.len());
            assert_eq!(scanned, Scanned { tail: at[3], end: End::Open });
        }
    }
}

#[test]
fn whole_records_are_taken_wherever_sectors_end() {
    for body in 0..1_100 {
        for properties in [&b""[..], b"k\x01v"] {
            let body = vec![b'b'; body];
            let record = Record { body: &body, properties, ..sample(0) };
            let mut bytes = Vec::new();
            let size = encode_record(&mut bytes, &record).unwrap();
            bytes.resize(4_096, 0);
            let (seen, scanned) = scan(&bytes, &Sums::default(), false);
            assert_eq!((seen, scanned.tail), (vec![Seen::Record(0)], size));
        }
    }
}

#[test]
fn a_bad_record_in_the_middle_is_damage() {
    let (bytes, at) = segment();
    let mut other = bytes.clone();
    other[at[1] + 90] ^= 1; // a byte of the body: the header is still readable
    let (seen, scanned) = scan(&other, &Sums::default(), false);
    let damage = Seen::Damage(at[1], at[2], Some(1));
    assert_eq!(seen, [Seen::Record(at[0]), damage, Seen::Record(at[2])]);
    assert_eq!(scanned.tail, at[3]);
    let mut other = bytes.clone();
    other[at[1] + 2] ^= 1; // the size: nothing of the record can be trusted
    let (seen, _) = scan(&other, &Sums::default(), false);
    assert_eq!(seen[1], Seen::Damage(at[1], at[2], None));
}

#[test]
fn sums_see_every_flipped_bit() {
    let (bytes, at) = segment();
    let sums = sums_of(&bytes, &at);
    assert_eq!(scan(&bytes, &sums, false), scan(&bytes, &Sums::default(), false));
    for byte in 0..at[3] {
        let mut other = bytes.clone();
        other[byte] ^= 0x20;
        let (seen, scanned) = scan(&other, &sums, false);
        let hit = at.iter().rposition(|start| *start <= byte).unwrap();
        for (index, seen) in seen.iter().enumerate() {
            let is_damage = matches!(seen, Seen::Damage(from, to, _) if (*from, *to) == (at[hit], at[hit + 1]));
            assert_eq!(is_damage, index == hit, "flip at {byte}: {seen:?}");
        }
        assert_eq!(seen.len(), 3, "flip at {byte}");
        assert_eq!(scanned.tail, at[3], "a covered record was cut off");
    }
}

#[test]
fn later_segments_turn_a_tail_into_damage() {
    let (mut bytes, at) = segment();
    bytes[at[2] + 3] = 0;
    let (seen, scanned) = scan(&bytes, &Sums::default(), true);
    assert_eq!(seen[2], Seen::Damage(at[2], 4_096, None));
    assert_eq!(scanned, Scanned { tail: 4_096, end: End::Full });
}

#[test]
fn a_record_of_another_place_is_no_record() {
    let (bytes, at) = segment();
    let mut other = bytes.clone();
    let copy = bytes[at[0]..at[1]].to_vec();
    other[at[3]..at[3] + copy.len()].copy_from_slice(&copy);
    let (seen, scanned) = scan(&other, &Sums::default(), false);
    assert_eq!((seen.len(), scanned.tail), (3, at[3]));
}

#[test]
fn the_search_keeps_to_the_data() {
    let (bytes, at) = segment();
    let sums = Sums::default();
    let search = |from, data: &[(usize, usize)]| Scan { bytes: &bytes, first: FIRST, sums: &sums, data }.search(from);
    assert_eq!(search(1, &[(0, 4_096)]), Some(at[1]));
    assert_eq!(search(at[2] + 1, &[(0, 4_096)]), None);
    assert_eq!(search(0, &[(at[2], 4_096)]), Some(at[1].max(at[2] - RECORD_BYTES_MIN).max(at[2])));
    assert_eq!(search(0, &[]), None);
}

#[test]
fn every_torn_end_of_the_last_record_is_a_torn_tail() {
    for (body, properties) in [(300, 700), (0, 300), (5, 1_200)] {
        let (mut bytes, at) = segment();
        let (body, properties) = (vec![b'b'; body], [b"k\x01".to_vec(), vec![b'v'; properties]].concat());
        let record = Record { body: &body, properties: &properties, ..sample(at[3]) };
        bytes.truncate(at[3]);
        encode_record(&mut bytes, &record).unwrap();
        let end = bytes.len();
        bytes.resize(4_096, 0);
        for torn in at[3] + 1..end {
            let mut other = bytes.clone();
            other[torn..end].fill(0);
            let (seen, scanned) = scan(&other, &Sums::default(), false);
            assert_eq!((seen.len(), scanned.tail), (3, at[3]), "torn at {torn} of {end}");
        }
    }
}
