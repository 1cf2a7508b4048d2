//! An index held against itself and against what the manifest says of its roll.

use std::sync::Arc;

use bytes::Bytes;

use crate::index::{Index, IndexError, Piece, Repeated, Run, Span};
use crate::manifest::Roll;
use crate::object::Layout;

/// An index that can be used.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) index: Arc<Index>,
    /// The ends of objects, where they can be read.
    pub(super) ends: Vec<Option<Ends>>,
    /// Queues that have rows, in the order of those.
    queues: Vec<(Box<str>, i32, Span)>,
    /// Offsets that are told as lost.
    pub(super) lost: u64,
    /// What is wrong with it, though it can be used.
    pub(super) findings: Vec<String>,
}

/// What an index repeats of an object.
#[derive(Debug, Clone)]
pub(super) struct Ends {
    pub(super) blooms: Piece,
    pub(super) tail: Piece,
    pub(super) layout: Arc<Layout>,
}

impl Checked {
    /// The messages from a row on: topic, queue, offset.
    pub(super) fn messages_at(&self, row: u64) -> impl Iterator<Item = (&str, i32, i64)> {
        let first = self.queues.partition_point(|(_, _, span)| span.row + u64::from(span.rows) <= row);
        self.queues.get(first..).unwrap_or_default().iter().flat_map(move |(topic, queue_id, span)| {
            let passed = usize::try_from(row.saturating_sub(span.row)).unwrap_or(usize::MAX);
            offsets(&self.index, *span).skip(passed).map(move |offset| (&**topic, *queue_id, offset))
        })
    }
}

/// The offsets of a span that have a row.
fn offsets(index: &Index, span: Span) -> impl Iterator<Item = i64> {
    let begins = index.runs(span).scan(span.base, |at, run| {
        let begin = *at;
        *at += i64::from(run.offsets());
        Some((begin, run))
    });
    begins.flat_map(|(begin, run)| match run {
        Run::Rows(count) => begin..begin + i64::from(count),
        Run::Lost(_) => begin..begin,
    })
}

/// Checks the bytes of an index, which match their checksum.
pub(super) fn check(roll: &Roll, bytes: &Bytes) -> Result<Checked, String> {
    let front = usize::try_from(roll.front).ok().filter(|front| *front <= bytes.len());
    let front = front.ok_or_else(|| format!("its front of {} bytes is longer than it", roll.front))?;
    let index = Index::read(&bytes.slice(..front)).map_err(|error| error.to_string())?;
    let mut checked =
        Checked { index: Arc::new(index), ends: Vec::new(), queues: Vec::new(), lost: 0, findings: Vec::new() };
    let index = Arc::clone(&checked.index);
    for (number, object) in roll.objects.iter().enumerate() {
        let ends = ends_of(&index, bytes, number);
        checked.findings.extend(ends.as_ref().err().map(|what| format!("the end of {}: {what}", object.name)));
        checked.ends.push(ends.ok());
    }
    checked.check_queues(&index);
    checked.check_objects(roll);
    Ok(checked)
}

fn ends_of(index: &Index, bytes: &Bytes, number: usize) -> Result<Ends, String> {
    let piece = |repeated: Option<Repeated>| {
        let repeated = repeated.ok_or("it is missing")?;
        let at = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
        let range = at(repeated.from)..at(repeated.to).max(at(repeated.from));
        repeated.piece(bytes.slice(range)).map_err(|error: IndexError| error.to_string())
    };
    let (blooms, tail) = (piece(index.blooms(number))?, piece(index.tail(number))?);
    let layout = Layout::read(&tail).map_err(|error| error.to_string())?;
    Ok(Ends { blooms, tail, layout: Arc::new(layout) })
}

impl Checked {
    /// Queues come in their order, each with its rows behind those of the one before.
    fn check_queues(&mut self, index: &Index) {
        let (mut before, mut row): (Option<(&str, i32)>, u64) = (None, 0);
        for (topic, queue_id, span) in index.queues() {
            let lost: u64 = index.lost_of(span).map(|(_, count)| u64::from(count)).sum();
            let all = u64::try_from(span.next.saturating_sub(span.base)).ok();
            let is_right = before.is_none_or(|before| before < (topic, queue_id))
                && span.base >= 0
                && all == Some(u64::from(span.rows) + lost)
                && offsets(index, span).take(span.rows as usize + 1).count() == span.rows as usize
                && span.row == row;
            if !is_right && self.findings.len() < FINDINGS_MAX {
                self.findings.push(format!("queue {queue_id} of topic {topic} is not in its order, or not whole"));
            }
            self.lost += lost;
            row += u64::from(span.rows);
            before = Some((topic, queue_id));
            if span.rows > 0 {
                self.queues.push((topic.into(), queue_id, span));
            }
        }
    }

    /// Objects begin and end at the messages that are listed.
    fn check_objects(&mut self, roll: &Roll) {
        let mut row = 0;
        for object in &roll.objects {
            let (first, last) = (self.messages_at(row).next(), self.messages_at(row + object.rows.max(1) - 1).next());
            let place = |place: &'_ crate::manifest::Place| (place.topic.to_string(), place.queue_id, place.offset);
            let own = |found: Option<(&str, i32, i64)>| found.map(|(topic, id, offset)| (topic.to_owned(), id, offset));
            let is_right = own(first) == Some(place(&object.first)) && own(last) == Some(place(&object.last));
            if !is_right {
                self.findings.push(format!("{} is listed with other first and last messages", object.name));
            }
            if object.first_time < roll.first_time || object.last_time > roll.last_time {
                self.findings
                    .push(format!("{} is listed with times that are not within those of its roll", object.name));
            }
            row += object.rows;
        }
        let rows = self.queues.last().map_or(0, |(_, _, span)| span.row + u64::from(span.rows));
        if rows != row {
            self.findings.push(format!("it tells of {rows} messages, its objects are listed with {row}"));
        }
    }
}

/// Findings of one index that are told one by one: the first ones say what happened.
pub(super) const FINDINGS_MAX: usize = 100;
