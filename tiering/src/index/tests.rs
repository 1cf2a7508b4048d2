//! An index gives back what was told, and nothing of a damaged one.

use bytes::Bytes;
use proptest::prelude::*;

use super::{At, End, Index, IndexBuilder, IndexError, Piece, Run, Written};

fn ends() -> Vec<End> {
    let piece = |at, bytes: &'static str| Piece { at, bytes: Bytes::from_static(bytes.as_bytes()) };
    let end = |at, tail, blooms| End { blooms: piece(at, blooms), tail: piece(at + 9, tail) };
    vec![end(77, "first tail", "filters"), end(1 << 40, "second", "")]
}

fn example() -> Written {
    let mut builder = IndexBuilder::default();
    builder.queue("a", 0, 5).unwrap();
    (0..3).for_each(|_| builder.row());
    builder.queue("a", 7, 100).unwrap();
    builder.queue("b", 1, 10).unwrap();
    builder.lost(2);
    builder.row();
    builder.lost(3);
    builder.row();
    builder.row();
    builder.finish(&ends())
}

#[test]
fn rows_offsets_and_losses_come_back() {
    let index = Index::read(&example().bytes).unwrap();
    let first = index.find("a", 0).unwrap();
    assert_eq!((first.base, first.next, first.row, first.rows), (5, 8, 0, 3));
    assert_eq!(index.at(&first, 7), At::Row(2));
    let quiet = index.find("a", 7).unwrap();
    assert_eq!((quiet.base, quiet.next, quiet.rows), (100, 100, 0));
    let holed = index.find("b", 1).unwrap();
    assert_eq!((holed.base, holed.next, holed.row, holed.rows), (10, 18, 3, 3));
    let at = |offset| index.at(&holed, offset);
    assert_eq!((at(10), at(11), at(12)), (At::Lost(12), At::Lost(12), At::Row(3)));
    assert_eq!((at(13), at(15), at(16), at(17)), (At::Lost(16), At::Lost(16), At::Row(4), At::Row(5)));
    assert_eq!([3, 4, 5].map(|row| index.offset_of(&holed, row)), [12, 16, 17]);
    assert_eq!(index.find("a", 1), None);
    assert_eq!(index.find("aa", 0), None);
    assert_eq!(index.find("c", 0), None);
    let mut all = Vec::new();
    index.for_each(|topic, queue_id, span| all.push((topic.to_owned(), queue_id, span.base)));
    assert_eq!(all, [("a".into(), 0, 5), ("a".into(), 7, 100), ("b".into(), 1, 10)]);
}

#[test]
fn queues_that_come_out_of_order_are_refused() {
    let mut builder = IndexBuilder::default();
    builder.queue("b", 1, 0).unwrap();
    assert!(matches!(builder.queue("b", 1, 0), Err(IndexError::Order { .. })));
    assert!(matches!(builder.queue("a", 2, 0), Err(IndexError::Order { .. })));
}

/// What the index says of its objects, read as readers do: the front first.
fn ends_of(whole: &Bytes, front: u64) -> Result<Vec<End>, IndexError> {
    let at = |at: u64| usize::try_from(at).unwrap().min(whole.len());
    let index = Index::read(&whole.slice(..at(front)))?;
    let piece = |part: super::Repeated| part.piece(whole.slice(at(part.from)..at(part.to)));
    let end = |number| Some((index.blooms(number)?, index.tail(number)?));
    let ends = (0..).map_while(end);
    ends.map(|(blooms, tail)| Ok(End { blooms: piece(blooms)?, tail: piece(tail)? })).collect()
}

#[test]
fn the_ends_of_objects_are_found_from_the_front() {
    let Written { bytes, front } = example();
    assert_eq!(ends_of(&bytes, front).unwrap(), ends());
}

#[test]
fn every_flipped_bit_and_every_cut_is_found() {
    let Written { bytes, front } = example();
    for at in 0..bytes.len() {
        let mut bad = bytes.to_vec();
        bad[at] ^= 1 << (at % 8);
        assert!(ends_of(&bad.into(), front).is_err(), "a flip at {at} went unseen");
        assert!(ends_of(&bytes.slice(..at), front).is_err(), "a cut at {at} went unseen");
    }
}

#[test]
fn an_index_without_queues_is_one() {
    let index = Index::read(&IndexBuilder::default().finish(&[]).bytes).unwrap();
    assert_eq!(index.find("a", 0), None);
}

proptest! {
    /// Any queues in their order, with any losses: each offset is where a plain list says.
    #[test]
    fn every_offset_is_where_it_was_put(queues in proptest::collection::btree_map(
        ("[a-c]{1,2}", 0..3_i32),
        (0..1_000_i64, proptest::collection::vec((any::<bool>(), 1..4_u32), 0..8)),
        0..8,
    )) {
        let mut builder = IndexBuilder::default();
        let mut expected = Vec::new();
        for ((topic, queue_id), (base, runs)) in &queues {
            builder.queue(topic, *queue_id, *base).unwrap();
            let mut offset = *base;
            for (lost, count) in runs {
                if *lost {
                    builder.lost(*count);
                    offset += i64::from(*count);
                    continue;
                }
                for _ in 0..*count {
                    expected.push((topic.clone(), *queue_id, offset, builder.rows()));
                    builder.row();
                    offset += 1;
                }
            }
        }
        let index = Index::read(&builder.finish(&[]).bytes).unwrap();
        let mut walked = Vec::new();
        for (topic, queue_id, span) in index.queues() {
            let (mut offset, mut row) = (span.base, span.row);
            for run in index.runs(span) {
                if let Run::Rows(count) = run {
                    walked.extend((0..count).map(|n| (topic.to_owned(), queue_id, offset + i64::from(n), row + u64::from(n))));
                    row += u64::from(count);
                }
                offset += i64::from(run.offsets());
            }
            prop_assert_eq!(offset, span.next);
        }
        prop_assert_eq!(&walked, &expected);
        for (topic, queue_id, offset, row) in expected {
            let span = index.find(&topic, queue_id).unwrap();
            prop_assert_eq!(index.at(&span, offset), At::Row(row));
            prop_assert_eq!(index.offset_of(&span, row), offset);
        }
    }
}
