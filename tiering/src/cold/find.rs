//! Questions by key and by log offset.
//!
//! Bloom filters tell which row groups may hold a key; its column tells which rows; the records themselves decide.

use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, ListArray, StringViewArray};
use bytes::Bytes;
use strata_protocol::properties::{IndexTerms, KEY_SEPARATOR};
use strata_protocol::record::RecordView;

use super::columns::GroupRows;
use super::{Cold, ColdError, Shared};
use crate::index::{IndexError, Piece};
use crate::limits::{KEY_CANDIDATES_MAX, KEY_RECORDS_AT_ONCE_MAX, KEY_ROLLS_AT_ONCE_MAX};
use crate::manifest::Roll;
use crate::rows::MICROS;
use crate::rows::names::{MSG_ID, PHYSICAL_OFFSET, STORE_TIME};

/// The leaf column of keys.
pub(super) const KEYS_ELEMENT: &str = "keys.list.element";

/// What kind of key is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// The producer's message id.
    UniqueKey,
    /// One of the application's keys.
    Key,
}

/// A question by key.
#[derive(Debug, Clone)]
pub struct KeyAsk<'a> {
    /// Topic.
    pub topic: &'a str,
    /// The key.
    pub key: &'a str,
    /// Its kind.
    pub kind: KeyKind,
    /// Store times, ms since 1970.
    pub times: RangeInclusive<i64>,
    /// Messages at most.
    pub max: usize,
}

impl Cold {
    /// The listed messages that carry a key, newest first. Those whose log offset is `below` or higher are left out:
    /// the log has them.
    ///
    /// # Errors
    /// The store refused, or an object is damaged.
    pub async fn by_key(&self, ask: &KeyAsk<'_>, below: u64) -> Result<Vec<Bytes>, ColdError> {
        self.answered(|| self.by_key_once(ask, below)).await
    }

    async fn by_key_once(&self, ask: &KeyAsk<'_>, below: u64) -> Result<Vec<Bytes>, ColdError> {
        let shared = &self.shared;
        let manifest = shared.manifest.load_full();
        let first = Shared::first_of(&manifest, ask.topic);
        let mut found = Vec::new();
        for rolls in manifest.rolls()[first..].rchunks(KEY_ROLLS_AT_ONCE_MAX) {
            let in_time = |roll: &&Arc<Roll>| {
                let is_in_time = roll.first_time <= *ask.times.end() && roll.last_time >= *ask.times.start();
                is_in_time && roll.from < below
            };
            let asked = rolls.iter().rev().filter(in_time).map(|roll| shared.may_hold(roll, ask));
            for parts in futures_util::future::try_join_all(asked).await? {
                if found.len() < ask.max {
                    shared.by_key_in(&parts, ask, below, &mut found).await?;
                }
            }
            if found.len() >= ask.max {
                break;
            }
        }
        found.truncate(ask.max);
        Ok(found)
    }

    /// The listed record at a log offset, `None` when none begins there.
    ///
    /// # Errors
    /// The store refused, or an object is damaged.
    pub async fn record_at(&self, log_offset: i64) -> Result<Option<Bytes>, ColdError> {
        self.answered(|| self.record_at_once(log_offset)).await
    }

    async fn record_at_once(&self, log_offset: i64) -> Result<Option<Bytes>, ColdError> {
        let shared = &self.shared;
        let manifest = shared.manifest.load_full();
        let Ok(offset) = u64::try_from(log_offset) else { return Ok(None) };
        let Some(roll) = manifest.roll_of(offset) else { return Ok(None) };
        let rows = roll.objects.iter().map(|object| object.rows).sum();
        for part in shared.groups(roll, 0..rows).await? {
            let leaf = part.object.layout.leaf(PHYSICAL_OFFSET);
            let bounds = leaf.and_then(|leaf| part.object.layout.bounds(part.group, leaf));
            if bounds.is_some_and(|(low, high)| !(low..=high).contains(&log_offset)) {
                continue;
            }
            let offsets = shared.numbers(&part, std::slice::from_ref(&part.rows), PHYSICAL_OFFSET).await?;
            let Some(nth) = offsets.iter().position(|offset| *offset == log_offset) else { continue };
            let row = part.rows.start + nth as u64;
            let only = row..row + 1;
            let records = shared.rows(&part, std::slice::from_ref(&only)).await?;
            let live =
                |bytes: &Bytes| RecordView::parse(bytes).is_ok_and(|record| !manifest.is_gone(record.topic(), offset));
            return Ok(records.into_iter().next().filter(live));
        }
        Ok(None)
    }
}

/// A row that may have a key.
struct Hit {
    /// Log offset.
    offset: i64,
    /// Which of several parts, and which row of its group.
    part: usize,
    row: u64,
}

impl Shared {
    /// The row groups of a roll that may hold a key, by their filters.
    async fn may_hold(self: &Arc<Self>, roll: &Roll, ask: &KeyAsk<'_>) -> Result<Vec<GroupRows>, ColdError> {
        let index = self.index_and_filters(roll).await?;
        let Some(rows) = index.rows_of(ask.topic) else { return Ok(Vec::new()) };
        let mut blooms: Option<(Arc<str>, Piece)> = None;
        let mut parts = Vec::new();
        for part in self.groups(roll, rows).await? {
            let name = &part.object.name;
            let known = blooms.as_ref().filter(|(of, _)| of == name).map(|(_, piece)| piece.clone());
            let filters = match known {
                Some(filters) => filters,
                None => {
                    let filters = self.filters(roll, &part).await?;
                    blooms = Some((Arc::clone(name), filters.clone()));
                    filters
                }
            };
            let leaf = part.object.layout.leaf(path_of(ask.kind));
            if leaf.is_some_and(|leaf| part.object.layout.may_hold(&filters, (part.group, leaf), ask.key)) {
                parts.push(part);
            }
        }
        Ok(parts)
    }

    async fn by_key_in(
        self: &Arc<Self>,
        parts: &[GroupRows],
        ask: &KeyAsk<'_>,
        below: u64,
        found: &mut Vec<Bytes>,
    ) -> Result<(), ColdError> {
        let mut hits = Vec::new();
        for part in parts {
            let columns = self.column(part, std::slice::from_ref(&part.rows), path_of(ask.kind)).await?;
            let rows = rows_with(&columns, ask.key, part.rows.start);
            if !rows.is_empty() {
                hits.push((part, rows));
            }
        }
        let mut here = Vec::new();
        if hits.iter().map(|(_, rows)| rows.len()).sum::<usize>() <= KEY_RECORDS_AT_ONCE_MAX {
            for (part, rows) in &hits {
                self.take_key((part, rows), (ask, below), &mut here).await?;
            }
        } else {
            // So many have the key that only the newest are made into records, some at a time.
            for some in self.newest(&hits, ask, below).await?.chunks(KEY_RECORDS_AT_ONCE_MAX) {
                for (nth, (part, _)) in hits.iter().enumerate() {
                    let of_part = some.iter().filter(|hit| hit.part == nth);
                    let mut rows: Vec<Range<u64>> = of_part.map(|hit| hit.row..hit.row + 1).collect();
                    rows.sort_unstable_by_key(|row| row.start);
                    self.take_key((part, &rows), (ask, below), &mut here).await?;
                }
                if found.len() + here.len() >= ask.max {
                    break;
                }
            }
        }
        here.sort_by_key(|(offset, _)| std::cmp::Reverse(*offset));
        found.extend(here.into_iter().map(|(_, record)| record));
        Ok(())
    }

    /// Makes the records of some rows of a part, and takes those that have the key.
    async fn take_key(
        self: &Arc<Self>,
        (part, rows): (&GroupRows, &[Range<u64>]),
        (ask, below): (&KeyAsk<'_>, u64),
        out: &mut Vec<(i64, Bytes)>,
    ) -> Result<(), ColdError> {
        for record in self.rows(part, rows).await? {
            let Ok(view) = RecordView::parse(&record) else { continue };
            if u64::try_from(view.physical_offset()).is_ok_and(|offset| offset < below) && matches(&view, ask) {
                out.push((view.physical_offset(), record));
            }
        }
        Ok(())
    }

    /// The newest rows of several that may have a key, by two numbers of each.
    async fn newest(
        self: &Arc<Self>,
        hits: &[(&GroupRows, Vec<Range<u64>>)],
        ask: &KeyAsk<'_>,
        below: u64,
    ) -> Result<Vec<Hit>, ColdError> {
        let mut all = Vec::new();
        for (nth, (part, rows)) in hits.iter().enumerate() {
            let offsets = self.numbers(part, rows, PHYSICAL_OFFSET).await?;
            let times = self.numbers(part, rows, STORE_TIME).await?;
            for ((row, offset), micros) in rows.iter().zip(offsets).zip(times) {
                let is_asked_for = u64::try_from(offset).is_ok_and(|offset| offset < below)
                    && ask.times.contains(&micros.div_euclid(MICROS));
                if is_asked_for {
                    all.push(Hit { offset, part: nth, row: row.start });
                }
            }
        }
        all.sort_unstable_by_key(|hit| std::cmp::Reverse(hit.offset));
        all.truncate(KEY_CANDIDATES_MAX);
        Ok(all)
    }

    /// The bloom filters of the object of a part.
    pub(super) async fn filters(self: &Arc<Self>, roll: &Roll, part: &GroupRows) -> Result<Piece, ColdError> {
        let index = self.index(roll).await?;
        let number = roll.objects.iter().position(|object| *object.name == *part.object.name);
        let repeated = number.and_then(|number| index.blooms(number));
        let name = &roll.index.name;
        let missing = IndexError::Damaged { what: "the filters of an object are missing" };
        let repeated = repeated.ok_or_else(|| ColdError::index(name, missing))?;
        let own: Arc<str> = (&**name).into();
        let bytes = self.index_part((&own, roll.index.bytes, roll.front), repeated.from..repeated.to).await?;
        repeated.piece(bytes).map_err(|error| ColdError::index(name, error))
    }
}

/// The leaf column of a kind of key.
const fn path_of(kind: KeyKind) -> &'static str {
    match kind {
        KeyKind::UniqueKey => MSG_ID,
        KeyKind::Key => KEYS_ELEMENT,
    }
}

/// The rows among columns that begin at `first` whose value, or one of whose values, is the key.
fn rows_with(columns: &[ArrayRef], key: &str, first: u64) -> Vec<Range<u64>> {
    let mut out = Vec::new();
    let mut row = first;
    for column in columns {
        for nth in 0..column.len() {
            if holds(column, nth, key) {
                out.push(row..row + 1);
            }
            row += 1;
        }
    }
    out
}

fn holds(column: &ArrayRef, row: usize, key: &str) -> bool {
    if let Some(list) = column.as_any().downcast_ref::<ListArray>() {
        let values = if list.is_null(row) { return false } else { list.value(row) };
        return (0..values.len()).any(|nth| text(&values, nth) == Some(key));
    }
    text(column, row) == Some(key)
}

fn text(column: &ArrayRef, row: usize) -> Option<&str> {
    let texts = column.as_any().downcast_ref::<StringViewArray>()?;
    (!texts.is_null(row)).then(|| texts.value(row))
}

fn matches(record: &RecordView<'_>, ask: &KeyAsk<'_>) -> bool {
    if record.topic() != ask.topic || !ask.times.contains(&record.store_timestamp()) {
        return false;
    }
    let terms = IndexTerms::of(record.properties());
    match ask.kind {
        KeyKind::UniqueKey => terms.unique_key == Some(ask.key),
        KeyKind::Key => terms.keys.is_some_and(|keys| keys.split(KEY_SEPARATOR).any(|found| found == ask.key)),
    }
}
