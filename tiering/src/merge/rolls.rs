//! Listed rolls as a source: all their queues in the order of rows, and each queue roll by roll.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use tokio::runtime::Handle;

use super::cursor::{Cursor, Opened, ReadError, Reading};
use crate::bucket::Bucket;
use crate::index::{Run, Span};
use crate::limits::PROPERTY_COLUMNS_MAX;
use crate::manifest::Manifest;
use crate::object::Layout;
use crate::roll::{Part, RollError, Source, SourceError, Walker};
use crate::rows::PropertyColumn;

/// A property keeps its column if one of so many rows has it, as with a roll of the log.
const ONE_OF: u64 = 8;

/// Neighbouring rolls that are read to be merged.
#[derive(Debug)]
pub struct Rolls<'a> {
    reading: Reading<'a>,
    /// What is gone, is gone by this one.
    manifest: Arc<Manifest>,
    opened: Vec<Opened>,
    part: Part,
}

impl<'a> Rolls<'a> {
    /// Reads the indexes of rolls, by their places in a manifest. Not for the runtime's own threads.
    ///
    /// # Errors
    /// The store refuses, or an index is damaged.
    pub fn open(
        (bucket, home, runtime): (&'a Bucket, &'a str, &'a Handle),
        manifest: &Arc<Manifest>,
        range: Range<usize>,
    ) -> Result<Self, RollError> {
        let reading = Reading { bucket, home, runtime };
        let rolls = manifest.rolls().get(range).unwrap_or_default();
        let (from, to) = (rolls.first().map_or(0, |roll| roll.from), rolls.last().map_or(0, |roll| roll.to));
        let failed = |error| match error {
            ReadError::Bucket(error) => RollError::Bucket(error),
            error @ (ReadError::Index { .. } | ReadError::Object { .. }) => {
                RollError::Source(SourceError { from, to, reason: error.to_string() })
            }
        };
        let opened: Result<Vec<_>, _> = rolls.iter().map(|roll| Opened::open(reading, roll)).collect();
        let opened = opened.map_err(failed)?;
        let part = Part {
            from,
            to,
            first_time: rolls.iter().map(|roll| roll.first_time).min().unwrap_or(0),
            last_time: rolls.iter().map(|roll| roll.last_time).max().unwrap_or(0),
            bytes: opened.iter().flat_map(|roll| &roll.layouts).map(Layout::expanded_bytes).sum(),
        };
        Ok(Self { reading, manifest: Arc::clone(manifest), opened, part })
    }

    /// The properties that get columns: those that have one already and are in every eighth row, most frequent first.
    #[must_use]
    pub fn columns(&self) -> Vec<PropertyColumn> {
        let mut counts: BTreeMap<i32, (PropertyColumn, u64)> = BTreeMap::new();
        for (column, count) in self.opened.iter().flat_map(|roll| &roll.layouts).flat_map(Layout::properties) {
            counts.entry(column.id).or_insert((column, 0)).1 += count;
        }
        let rows: u64 = self.opened.iter().flat_map(|roll| &roll.roll.objects).map(|object| object.rows).sum();
        let mut often: Vec<_> = counts.into_values().filter(|(_, count)| count * ONE_OF >= rows).collect();
        often.sort_by_key(|(column, count)| (std::cmp::Reverse(*count), column.id));
        let mut out: Vec<PropertyColumn> = Vec::new();
        for (column, _) in often {
            // Most engines do not tell columns apart that differ in the case of letters alone.
            let is_new = out.iter().all(|known| known.name.to_lowercase() != column.name.to_lowercase());
            if is_new && out.len() < PROPERTY_COLUMNS_MAX {
                out.push(column);
            }
        }
        out
    }

    fn failed(&self, reason: impl ToString) -> Stop {
        Stop::Failed(SourceError { from: self.part.from, to: self.part.to, reason: reason.to_string() })
    }

    /// Shows one queue, whose spans are given with the rolls that they lie in.
    fn queue(&self, walk: &mut Walk<'_>, (topic, queue_id): (&str, i32), spans: &[(usize, Span)]) -> Result<(), Stop> {
        let (manifest, to) = (&self.manifest, self.part.to);
        let floor = manifest.floor_of(topic);
        let is_there = |(roll, _): &&(usize, Span)| self.opened.get(*roll).is_some_and(|roll| roll.roll.to > floor);
        let there: Vec<_> = spans.iter().filter(is_there).collect();
        let goes_on = spans.last().filter(|(roll, _)| roll + 1 == self.opened.len());
        let Some((_, first)) = there.first() else {
            // What was dropped begins anew behind this part, if at all; what has expired goes on there.
            let is_dropped = manifest.dropped().get(topic).is_some_and(|dropped| *dropped >= to);
            return match goes_on.filter(|_| !is_dropped) {
                Some((_, last)) => go(walk.walker.queue(topic, queue_id, last.next)),
                None => Ok(()),
            };
        };
        if goes_on.is_none() {
            // Whoever says so later says it for a boundary that must be there then.
            let what = format!("queue {queue_id} of topic {topic} ends in it, though nothing says that it was dropped");
            return Err(self.failed(what));
        }
        go(walk.walker.queue(topic, queue_id, first.base))?;
        let mut next = first.base;
        for (roll, span) in there {
            if span.base < next {
                let what = format!("queue {queue_id} of topic {topic} goes back from {next} to {}", span.base);
                return Err(self.failed(format!("{what}; `strata tier verify` tells what else is damaged")));
            }
            while next < span.base {
                let count = u32::try_from(span.base - next).unwrap_or(u32::MAX);
                go(walk.walker.lost(count))?;
                next += i64::from(count);
            }
            self.span(walk, *roll, span)?;
            next = span.next;
        }
        Ok(())
    }

    fn span(&self, walk: &mut Walk<'_>, roll: usize, span: &Span) -> Result<(), Stop> {
        let Walk { walker, cursors, record } = walk;
        let (Some(opened), Some(cursor)) = (self.opened.get(roll), cursors.get_mut(roll)) else { return Ok(()) };
        let mut row = span.row;
        for run in opened.index.runs(*span) {
            match run {
                Run::Lost(count) => go(walker.lost(count))?,
                Run::Rows(count) => {
                    for _ in 0..count {
                        cursor.record(row, record).map_err(|error| self.failed(error))?;
                        go(walker.record(record))?;
                        row += 1;
                    }
                }
            }
        }
        Ok(())
    }

    fn walk_all(&self, walker: &mut dyn Walker) -> Result<(), Stop> {
        let cursors = self.opened.iter().map(|opened| Cursor::new(self.reading, opened)).collect();
        let mut walk = Walk { walker, cursors, record: Vec::new() };
        let mut queues: Vec<Peekable<_>> = self.opened.iter().map(|opened| opened.index.queues().peekable()).collect();
        loop {
            let next = queues.iter_mut().filter_map(|queues| queues.peek().map(|(topic, id, _)| (*topic, *id))).min();
            let Some(queue) = next else { return Ok(()) };
            let mut spans: Vec<(usize, Span)> = Vec::new();
            for (roll, queues) in queues.iter_mut().enumerate() {
                let own = queues.next_if(|(topic, id, _)| (*topic, *id) == queue);
                spans.extend(own.map(|(_, _, span)| (roll, span)));
            }
            self.queue(&mut walk, queue, &spans)?;
        }
    }
}

/// A walk under way.
struct Walk<'a> {
    walker: &'a mut dyn Walker,
    cursors: Vec<Cursor<'a>>,
    record: Vec<u8>,
}

/// Why a walk ends early.
enum Stop {
    Walker,
    Failed(SourceError),
}

fn go(flow: ControlFlow<()>) -> Result<(), Stop> {
    if flow.is_break() { Err(Stop::Walker) } else { Ok(()) }
}

impl Source for Rolls<'_> {
    fn part(&self) -> Part {
        self.part
    }

    /// Shows nothing: which properties have columns is told by [`Rolls::columns`].
    fn sample(&self, _each: &mut dyn FnMut(&[u8])) {}

    fn walk(&self, walker: &mut dyn Walker) -> Result<(), SourceError> {
        match self.walk_all(walker) {
            Ok(()) | Err(Stop::Walker) => Ok(()),
            Err(Stop::Failed(error)) => Err(error),
        }
    }
}
