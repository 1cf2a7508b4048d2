//! A life as a waterfall: a line a hop, and a bar where it lies in the time of all.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::life::{Hop, Life};
use crate::output::{number, table, text};

/// Columns of the bars.
const BAR_COLUMNS: i64 = 40;
const MICROS_OF_MILLI: i64 = 1_000;

/// Draws a life.
pub(super) fn life(life: &Life) -> String {
    let Life { msg_id, topic, queue_id, queue_offset, keys, tags, tier, .. } = life;
    let mut out = format!("message {msg_id}\n  topic {topic}, queue {queue_id}, offset {queue_offset} ({tier})");
    for (name, value) in [("keys", keys), ("tags", tags)] {
        if let Some(value) = value {
            // Writing to a String cannot fail.
            let _ = write!(out, ", {name} {value}");
        }
    }
    let begin = life.hops.first().map_or(0, |hop| hop.begin_micros);
    if let Ok(time) = Timestamp::from_microsecond(begin) {
        let _ = write!(out, "\n  began {time:.3}");
    }
    let end = life.hops.iter().map(end_of).max().unwrap_or(begin);
    let columns =
        [text("AFTER"), text("HOP"), text("WHO"), number("TRY"), number("MS"), text("STATUS"), text("FROM"), text("")];
    let rows = life.hops.iter().map(|hop| cells(hop, (begin, end)));
    let _ = write!(out, "\n\n{}", table(&columns, rows));
    if !life.groups.is_empty() {
        let columns = [text("GROUP"), text("TOPIC"), text("BY ITS OFFSET")];
        let rows = life.groups.iter().map(|group| {
            let verdict = if group.is_past { "past it" } else { "not past it" };
            let told = format!("{verdict} (next is {})", group.committed_offset);
            [group.consumer_group.clone(), group.topic.clone(), told]
        });
        let _ = write!(out, "\n\n{}", table(&columns, rows));
    }
    out
}

fn end_of(hop: &Hop) -> i64 {
    hop.begin_micros + hop.cost_ms.unwrap_or(0).saturating_mul(MICROS_OF_MILLI)
}

fn cells(hop: &Hop, span: (i64, i64)) -> [String; 8] {
    let or_nothing = |value: &Option<String>| value.clone().unwrap_or_default();
    [
        after(hop.begin_micros - span.0),
        hop.hop.to_owned(),
        hop.who.clone(),
        hop.attempt.map(|attempt| attempt.to_string()).unwrap_or_default(),
        hop.cost_ms.map(|cost| cost.to_string()).unwrap_or_default(),
        or_nothing(&hop.status),
        or_nothing(&hop.host),
        bar((hop.begin_micros, end_of(hop)), span),
    ]
}

fn after(micros: i64) -> String {
    let millis = micros / MICROS_OF_MILLI;
    format!("+{}.{:03} s", millis / 1_000, millis % 1_000)
}

/// The part of the whole time that a hop took; at least a mark.
fn bar((from, to): (i64, i64), (begin, end): (i64, i64)) -> String {
    let whole = (end - begin).max(1);
    let place = |micros: i64| (micros - begin).max(0).saturating_mul(BAR_COLUMNS - 1) / whole;
    let (from, to) = (place(from).min(BAR_COLUMNS - 1), place(to).min(BAR_COLUMNS - 1));
    let blanks = usize::try_from(from).unwrap_or(0);
    let marks = usize::try_from(to - from).unwrap_or(0) + 1;
    format!("|{}{}", " ".repeat(blanks), "=".repeat(marks))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_lie_where_their_time_is() {
        assert_eq!(bar((0, 0), (0, 0)), "|=");
        assert_eq!(bar((0, 1_000), (0, 1_000)), format!("|{}", "=".repeat(40)));
        assert_eq!(bar((1_000, 1_000), (0, 1_000)), format!("|{}=", " ".repeat(39)));
        assert_eq!(after(1_234_567), "+1.234 s");
    }
}
