//! Comparing a sealed segment with its sidecar, both ways.
//!
//! Owns the comparison. The sidecar's own checksums were compared when it was opened.

use strata_protocol::record::RecordView;

use super::look::{Opened, note_lost};
use super::{Damage, FileState, SegmentReport};
use crate::index::Entry;
use crate::limits::BLOCK_BYTES;
use crate::segment::to_offset;
use crate::sidecar::{Row, Sidecar};

/// A message that cannot be read: positions from, to, and where it was in its queue.
struct Hit {
    from: usize,
    to: usize,
    topic: String,
    queue_id: i32,
    offset: i64,
    reason: &'static str,
}

const KNOWN: &str = "no record could be read here when the segment was sealed";
const CHANGED: &str = "the record does not match the checksum that was noted when the segment was sealed";
const OF_NO_MESSAGE: &str =
    "these 64 KiB do not match the checksum that was noted when the segment was sealed, but every message in them does";

/// Compares every block and every record of a segment with its sidecar, and every entry of the sidecar with
/// the record that it means.
pub(super) fn compare(opened: &Opened, sidecar: &Sidecar, report: &mut SegmentReport) {
    let bytes = opened.bytes.all();
    let tail = usize::try_from(sidecar.facts().tail).unwrap_or(usize::MAX).min(bytes.len());
    report.records = sidecar.facts().records;
    let bad = bad_blocks(bytes, tail, sidecar);
    let (mut hits, mut contradiction) = (Vec::new(), None);
    sidecar.each_queue(|topic, row| {
        for offset in row.base..row.next() {
            let Some(sealed) = sidecar.entry(row, offset) else {
                contradiction = Some(format!("the entry of {topic} {} {offset} is missing", row.queue_id));
                return;
            };
            let (from, to) = (sealed.position as usize, sealed.end());
            let hit = |reason| Hit { from, to, topic: topic.to_owned(), queue_id: row.queue_id, offset, reason };
            if sealed.is_damaged() {
                hits.push(hit(KNOWN));
            } else if bytes.get(from..to).map(crc32c::crc32c) != Some(sealed.crc) {
                hits.push(hit(CHANGED));
            } else if !describes(bytes, &sealed, (topic, row, offset)) {
                contradiction = Some(format!("the entry of {topic} {} {offset} means another record", row.queue_id));
            }
        }
    });
    if let Some(what) = contradiction {
        report.sidecar = FileState::Damaged { what };
    }
    report.records -= hits.iter().filter(|hit| hit.reason == CHANGED).count().min(report.records as usize) as u64;
    report.damage = ranges(opened.found.first, sidecar, &hits, &bad);
    for hit in &hits {
        let at = opened.found.first + to_offset(hit.from);
        note_lost(&mut report.damage, at, (&hit.topic, hit.queue_id, hit.offset));
    }
}

/// The blocks that do not match their checksum, as positions.
fn bad_blocks(bytes: &[u8], tail: usize, sidecar: &Sidecar) -> Vec<(usize, usize)> {
    let blocks = bytes[..tail].chunks(BLOCK_BYTES).enumerate();
    let bad = blocks.filter(|(at, block)| sidecar.block_crc(*at) != Some(crc32c::crc32c(block)));
    bad.map(|(at, block)| (at * BLOCK_BYTES, at * BLOCK_BYTES + block.len())).collect()
}

/// Whether an entry means the record that lies where it says.
fn describes(bytes: &[u8], sealed: &Entry, (topic, row, offset): (&str, &Row, i64)) -> bool {
    let record = bytes.get(sealed.position as usize..sealed.end()).map(RecordView::parse);
    let Some(Ok(record)) = record else { return false };
    record.bytes().len() == sealed.bytes()
        && (record.topic(), record.queue_id(), record.queue_offset()) == (topic, row.queue_id, offset)
        && record.check_body().is_ok()
}

/// The damaged ranges in their order: what was known when the segment was sealed, the messages that were hit
/// since, and blocks that are damaged beside them.
fn ranges(first: i64, sidecar: &Sidecar, hits: &[Hit], bad: &[(usize, usize)]) -> Vec<Damage> {
    let position = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
    let mut all: Vec<(usize, usize, &str)> =
        sidecar.damage().map(|(from, to)| (position(from), position(to), KNOWN)).collect();
    all.extend(hits.iter().filter(|hit| hit.reason == CHANGED).map(|hit| (hit.from, hit.to, hit.reason)));
    let explained =
        |from: usize, to: usize| hits.iter().any(|hit| hit.reason == CHANGED && hit.from < to && hit.to > from);
    all.extend(bad.iter().filter(|(from, to)| !explained(*from, *to)).map(|(from, to)| (*from, *to, OF_NO_MESSAGE)));
    all.sort_unstable();
    let mut out: Vec<Damage> = Vec::new();
    for (from, to, reason) in all {
        let (from, to) = (first + to_offset(from), first + to_offset(to));
        match out.last_mut() {
            Some(last) if from <= last.to && (last.reason == reason || to <= last.to) => last.to = last.to.max(to),
            _ => out.push(Damage { from, to, reason: reason.to_owned(), lost: Vec::new() }),
        }
    }
    out
}
