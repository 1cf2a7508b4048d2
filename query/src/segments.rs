//! Segments of the log and rolls of the tier, as rows of a table.

use serde::Serialize;
use strata_tiering::manifest::Roll;

use crate::snapshot::Snapshot;

/// A part of the log: a segment on the disk, or a roll in the tier.
#[derive(Debug, Serialize)]
pub(crate) struct SegmentRow {
    tier: &'static str,
    log_from: i64,
    log_to: i64,
    bytes: i64,
    /// Microseconds since 1970, as all times.
    first_time: Option<i64>,
    last_time: Option<i64>,
    messages: Option<i64>,
    objects: Option<i32>,
    first_object: Option<String>,
}

const MICROS: i64 = 1_000;

impl Snapshot {
    /// Rolls, then sealed segments, then what is written now.
    pub(crate) fn segments(&self) -> Vec<SegmentRow> {
        let mut out: Vec<SegmentRow> = self.rolls().iter().map(|roll| of_roll(roll)).collect();
        let (begin, end) = self.store.log_range();
        let mut sealed_to = begin;
        for range in self.store.sealed_ranges() {
            let times = self.store.sealed_copy(range.from).map(|copy| (copy.first_time(), copy.last_time()));
            let (first, last) = times.unwrap_or((None, None));
            out.push(of_log((range.from, range.to), (first, last)));
            sealed_to = range.to;
        }
        if sealed_to < end {
            out.push(of_log((sealed_to, end), (None, None)));
        }
        out
    }
}

fn of_roll(roll: &Roll) -> SegmentRow {
    let rows: u64 = roll.objects.iter().map(|object| object.rows).sum();
    SegmentRow {
        tier: "cold",
        log_from: int(roll.from),
        log_to: int(roll.to),
        bytes: int(roll.bytes()),
        first_time: Some(roll.first_time.saturating_mul(MICROS)),
        last_time: Some(roll.last_time.saturating_mul(MICROS)),
        messages: Some(int(rows)),
        objects: i32::try_from(roll.objects.len()).ok(),
        first_object: roll.objects.first().map(|object| object.name.to_string()),
    }
}

fn of_log((from, to): (i64, i64), (first, last): (Option<i64>, Option<i64>)) -> SegmentRow {
    let micros = |time: i64| time.saturating_mul(MICROS);
    SegmentRow {
        tier: "hot",
        log_from: from,
        log_to: to,
        bytes: to - from,
        first_time: first.map(micros),
        last_time: last.map(micros),
        messages: None,
        objects: None,
        first_object: None,
    }
}

fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
