//! Properties that have no column of their own: found for a row when a step first asks for one of them, all that the
//! expression uses at once, so that no row is searched twice and rows that were decided before are not searched at all.

use arrow_array::{Array, MapArray};
use arrow_buffer::NullBuffer;

use super::ColumnError;
use super::texts::{BLOCK, Column, each_bit};
use crate::sql::Names;

/// Where the other properties are.
#[derive(Debug, Clone)]
pub(super) enum Rest<'a> {
    /// There are none.
    None,
    /// As they lie in the log.
    Stored(Column<'a>),
    /// In a map.
    Map(Box<Map<'a>>),
}

/// A map's entries.
#[derive(Debug, Clone)]
pub(super) struct Map<'a> {
    /// Where each row's entries begin, and behind the last one where they end.
    offsets: &'a [i32],
    nulls: Option<&'a NullBuffer>,
    keys: Column<'a>,
    values: Column<'a>,
}

impl<'a> Rest<'a> {
    pub(super) fn map(map: &'a MapArray) -> Result<Self, ColumnError> {
        let keys = Column::new("of the map's keys", map.keys().as_ref())?;
        let values = Column::new("of the map's values", map.values().as_ref())?;
        Ok(Self::Map(Box::new(Map { offsets: map.value_offsets(), nulls: map.nulls(), keys, values })))
    }
}

impl<'a> Map<'a> {
    /// Calls `with` with each entry of a row that has a name and a value.
    fn each_entry(&self, row: usize, mut with: impl FnMut(&'a [u8], &'a [u8])) {
        let Some(&[from, to]) = self.offsets.get(row..row + 2) else { return };
        if self.nulls.is_some_and(|nulls| nulls.is_null(row)) {
            return;
        }
        for entry in from as usize..to as usize {
            if let (Some(name), Some(value)) = (self.keys.get(entry), self.values.get(entry)) {
                with(name, value);
            }
        }
    }
}

/// The values found in the rows of one block.
pub(super) struct Found<'a, 'b> {
    rest: &'b Rest<'a>,
    names: Names,
    /// The names in the order of their bytes, with their places.
    sorted: Vec<(Box<str>, usize)>,
    count: usize,
    /// The values of the names in each row of the block.
    values: Vec<Option<&'a [u8]>>,
    /// Rows that were searched.
    searched: u64,
}

impl<'a, 'b> Found<'a, 'b> {
    pub(super) fn new(rest: &'b Rest<'a>, names: &[Box<str>]) -> Self {
        let mut sorted: Vec<_> = names.iter().cloned().enumerate().map(|(place, name)| (name, place)).collect();
        sorted.sort_unstable();
        let (count, values) = (names.len(), vec![None; names.len() * BLOCK]);
        Self { rest, names: Names::new(names), sorted, count, values, searched: 0 }
    }

    /// Forgets the block before.
    pub(super) const fn next_block(&mut self) {
        self.searched = 0;
    }

    /// Searches those of `rows` of the block at `from` that were not yet.
    pub(super) fn search(&mut self, from: usize, rows: u64) {
        let rows = rows & !self.searched;
        self.searched |= rows;
        each_bit(rows, |bit| {
            let Some(values) = self.values.get_mut(bit * self.count..(bit + 1) * self.count) else { return };
            values.fill(None);
            match self.rest {
                Rest::None => {}
                Rest::Stored(stored) => self.names.find(stored.get(from + bit).unwrap_or_default(), values),
                Rest::Map(map) => map.each_entry(from + bit, |name, value| {
                    let found = self.sorted.binary_search_by(|(known, _)| known.as_bytes().cmp(name));
                    let place = found.ok().and_then(|at| self.sorted.get(at)).map(|(_, place)| *place);
                    if let Some(known) = place.and_then(|place| values.get_mut(place)) {
                        *known = Some(value);
                    }
                }),
            }
        });
    }

    /// The value of the name at `place` in a row of the block that was searched.
    pub(super) fn value(&self, bit: usize, place: usize) -> Option<&'a [u8]> {
        self.values.get(bit * self.count + place).copied().flatten()
    }
}
