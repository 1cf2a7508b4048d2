//! What the edits add up to, and what is asked of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::edit::RollKey;
use super::roll::{ObjectRef, Roll};

/// The first id of a property's column. Those below are the format's own.
pub(super) const PROPERTY_ID_FIRST: i32 = 1000;

/// How much is listed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Objects of messages.
    pub objects: u64,
    /// Their bytes and those of the indexes.
    pub bytes: u64,
    /// Messages.
    pub rows: u64,
}

/// Everything that is listed, after the edit of one number. Clones share the rolls.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manifest {
    pub(super) number: u64,
    pub(super) epoch: u64,
    pub(super) writer: Arc<str>,
    pub(super) rolls: Vec<Arc<Roll>>,
    pub(super) end: Option<u64>,
    pub(super) properties: Arc<BTreeMap<String, i32>>,
    pub(super) dropped: Arc<BTreeMap<String, u64>>,
    pub(super) expired: Arc<BTreeMap<String, u64>>,
    pub(super) log: Option<Arc<str>>,
    pub(super) state: Option<ObjectRef>,
    pub(super) totals: Totals,
}

impl Manifest {
    /// The last edit in it; 0 when there is none.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The epoch of the writer that is believed; 0 when nobody ever claimed.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The rolls, contiguous, in the order of the log.
    #[must_use]
    pub fn rolls(&self) -> &[Arc<Roll>] {
        &self.rolls
    }

    /// The log offset from which messages are here.
    #[must_use]
    pub fn start(&self) -> Option<u64> {
        self.rolls.first().map(|roll| roll.from).or(self.end)
    }

    /// The log offset up to which the log was rolled: where the next roll begins. `None` before the first one, which
    /// may begin anywhere.
    #[must_use]
    pub fn end(&self) -> Option<u64> {
        self.end
    }

    /// The roll that holds a log offset.
    #[must_use]
    pub fn roll_of(&self, offset: u64) -> Option<&Arc<Roll>> {
        let at = self.rolls.partition_point(|roll| roll.to <= offset);
        self.rolls.get(at).filter(|roll| roll.from <= offset)
    }

    /// How much is listed.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Properties with columns of their own, and the ids of those.
    #[must_use]
    pub fn properties(&self) -> &BTreeMap<String, i32> {
        &self.properties
    }

    /// Ids for properties: what they have, or the next free ones. Those that are new have to be committed before an
    /// object uses them.
    #[must_use]
    pub fn property_ids(&self, names: &[&str]) -> BTreeMap<String, i32> {
        let mut next = self.properties.values().max().map_or(PROPERTY_ID_FIRST, |last| last.saturating_add(1));
        let mut ids = BTreeMap::new();
        for name in names {
            let known = self.properties.get(*name).or_else(|| ids.get(*name)).copied();
            let id = known.unwrap_or_else(|| {
                next = next.saturating_add(1);
                next - 1
            });
            ids.insert((*name).to_owned(), id);
        }
        ids
    }

    /// Topics whose older messages are gone, with the log offset up to which they are.
    #[must_use]
    pub fn dropped(&self) -> &BTreeMap<String, u64> {
        &self.dropped
    }

    /// Whether the message of a topic that lies there in the log is gone.
    #[must_use]
    pub fn is_dropped(&self, topic: &str, log_offset: u64) -> bool {
        self.dropped.get(topic).is_some_and(|to| log_offset < *to)
    }

    /// The id of the log that is rolled here; `None` until one was told.
    #[must_use]
    pub fn log(&self) -> Option<&str> {
        self.log.as_deref()
    }

    /// The object with the broker's topics, groups and offsets.
    #[must_use]
    pub fn state(&self) -> Option<&ObjectRef> {
        self.state.as_ref()
    }

    /// The names of all objects that are listed.
    pub fn object_names(&self) -> impl Iterator<Item = &str> {
        let state = self.state.iter().map(|object| &*object.name);
        self.rolls.iter().flat_map(|roll| roll.names()).chain(state)
    }

    /// Where in the list rolls lie that are neighbours there, as they are named.
    pub(super) fn position_of(&self, keys: &[RollKey]) -> Result<usize, String> {
        let Some(first) = keys.first() else { return Err("it names no rolls".to_owned()) };
        let at = self.rolls.partition_point(|roll| roll.from < first.from);
        let there = self.rolls.get(at..).unwrap_or_default();
        for (index, key) in keys.iter().enumerate() {
            if there.get(index).map(|roll| RollKey::from(&**roll)) != Some(*key) {
                return Err(format!("no roll from {} to {} of epoch {} is listed there", key.from, key.to, key.epoch));
            }
        }
        Ok(at)
    }
}

impl Totals {
    pub(super) fn add(&mut self, roll: &Roll) {
        self.objects = self.objects.saturating_add(roll.objects.len() as u64);
        self.bytes = self.bytes.saturating_add(bytes_of(roll));
        self.rows = self.rows.saturating_add(rows_of(roll));
    }

    pub(super) fn remove(&mut self, roll: &Roll) {
        self.objects = self.objects.saturating_sub(roll.objects.len() as u64);
        self.bytes = self.bytes.saturating_sub(bytes_of(roll));
        self.rows = self.rows.saturating_sub(rows_of(roll));
    }
}

fn bytes_of(roll: &Roll) -> u64 {
    roll.objects.iter().map(|object| object.bytes).fold(roll.index.bytes, u64::saturating_add)
}

fn rows_of(roll: &Roll) -> u64 {
    roll.objects.iter().map(|object| object.rows).fold(0, u64::saturating_add)
}
