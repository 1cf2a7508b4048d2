//! The rules of edits: which count, and what they do. Whoever reads the same edits comes to the same state.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::edit::{Edit, Numbered, RollKey};
use super::roll::Roll;
use super::state::{Manifest, PROPERTY_ID_FIRST};
use crate::limits::LOG_ID_BYTES_MAX;

/// What became of an edit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// It is part of the state.
    Counted,
    /// It is of a writer that was over; only its number is used up.
    Void,
}

impl Manifest {
    /// Applies the next edit. After an error the state is as before.
    pub(super) fn apply(&mut self, numbered: &Numbered) -> Result<Effect, String> {
        if Some(numbered.number) != self.number.checked_add(1) {
            return Err(format!("edit {} cannot follow edit {}", numbered.number, self.number));
        }
        let is_claim = matches!(numbered.edit, Edit::Claim {});
        let is_next = Some(numbered.epoch) == self.epoch.checked_add(1);
        let effect = match (is_claim, is_next) {
            (true, true) => {
                self.epoch = numbered.epoch;
                self.writer = Arc::from(numbered.writer.as_str());
                Effect::Counted
            }
            _ if numbered.epoch > self.epoch => {
                return Err(format!("it is of epoch {}, the last that was claimed is {}", numbered.epoch, self.epoch));
            }
            (false, _) if numbered.epoch == self.epoch && *numbered.writer == *self.writer => {
                self.change(&numbered.edit, numbered.epoch)?;
                Effect::Counted
            }
            _ => Effect::Void,
        };
        self.number = numbered.number;
        Ok(effect)
    }

    fn change(&mut self, edit: &Edit, epoch: u64) -> Result<(), String> {
        match edit {
            Edit::Claim {} => Err("only a claim claims".to_owned()),
            Edit::Add { rolls } => self.add(rolls, epoch),
            Edit::Swap { remove, add } => self.swap(remove, add, epoch),
            Edit::Expire { rolls } => {
                self.expire(rolls)?;
                self.forget_expired();
                Ok(())
            }
            Edit::ExpireTopics { topics } => self.expire_topics(topics),
            Edit::Drop { topics } => {
                let end = self.end.unwrap_or(0);
                if let Some((topic, to)) = topics.iter().find(|(_, to)| **to > end) {
                    return Err(format!("topic {topic} is dropped up to {to}, the log was rolled to {end}"));
                }
                let dropped = Arc::make_mut(&mut self.dropped);
                for (topic, to) in topics {
                    let known = dropped.entry(topic.clone()).or_insert(*to);
                    *known = (*known).max(*to);
                }
                self.forget_dropped();
                Ok(())
            }
            Edit::Properties { ids } => self.name_properties(ids),
            Edit::Log { id } if id.is_empty() || id.len() > LOG_ID_BYTES_MAX => {
                Err(format!("the id of a log has 1 to {LOG_ID_BYTES_MAX} bytes"))
            }
            Edit::Log { id } => {
                self.log = Some(Arc::from(id.as_str()));
                Ok(())
            }
            Edit::State { object } => {
                self.state = Some(object.clone());
                Ok(())
            }
        }
    }

    fn add(&mut self, rolls: &[Roll], epoch: u64) -> Result<(), String> {
        let Some(first) = rolls.first() else { return Err("it adds no rolls".to_owned()) };
        let end = check_chain(rolls, self.end.unwrap_or(first.from), epoch)?;
        self.end = Some(end);
        let mut topics = HashSet::new();
        for roll in rolls {
            self.totals.add(roll);
            self.rolls.push(shared(roll, &mut topics));
        }
        Ok(())
    }

    fn swap(&mut self, remove: &[RollKey], add: &[Roll], epoch: u64) -> Result<(), String> {
        let at = self.position_of(remove)?;
        let (Some(first), Some(last)) = (remove.first(), remove.last()) else {
            return Err("it removes no rolls".to_owned());
        };
        let to = check_chain(add, first.from, epoch)?;
        if to != last.to {
            return Err(format!("it removes rolls up to {} and adds some up to {to}", last.to));
        }
        let mut topics = HashSet::new();
        let new: Vec<_> = add.iter().map(|roll| shared(roll, &mut topics)).collect();
        for roll in &new {
            self.totals.add(roll);
        }
        for roll in self.rolls.splice(at..at + remove.len(), new) {
            self.totals.remove(&roll);
        }
        Ok(())
    }

    fn expire(&mut self, rolls: &[RollKey]) -> Result<(), String> {
        if self.position_of(rolls)? != 0 {
            return Err("older rolls than those would stay".to_owned());
        }
        for roll in self.rolls.drain(..rolls.len()) {
            self.totals.remove(&roll);
        }
        self.forget_dropped();
        Ok(())
    }

    /// What was dropped is forgotten when no roll holds it any more.
    fn forget_dropped(&mut self) {
        let Some(start) = self.start() else { return };
        if self.dropped.values().any(|to| *to <= start) {
            Arc::make_mut(&mut self.dropped).retain(|_, to| *to > start);
        }
    }

    fn name_properties(&mut self, ids: &BTreeMap<String, i32>) -> Result<(), String> {
        let mut used: BTreeMap<i32, &str> = self.properties.iter().map(|(name, id)| (*id, name.as_str())).collect();
        for (name, id) in ids {
            if *id < PROPERTY_ID_FIRST {
                return Err(format!("property {name} cannot have id {id}, which is below {PROPERTY_ID_FIRST}"));
            }
            let known = self.properties.get(name).is_some_and(|known| known != id);
            let taken = used.insert(*id, name).is_some_and(|other| other != name);
            if known || taken {
                return Err(format!("property {name} cannot have id {id}: ids are for good"));
            }
        }
        Arc::make_mut(&mut self.properties).extend(ids.iter().map(|(name, id)| (name.clone(), *id)));
        Ok(())
    }
}

fn shared(roll: &Roll, topics: &mut HashSet<Arc<str>>) -> Arc<Roll> {
    let mut roll = roll.clone();
    roll.share_topics(topics);
    Arc::new(roll)
}

/// Holds rolls against each other: from `begin` on without a gap, all of this epoch. Answers where they end.
fn check_chain(rolls: &[Roll], begin: u64, epoch: u64) -> Result<u64, String> {
    let mut end = begin;
    for roll in rolls {
        roll.check()?;
        if roll.from != end {
            return Err(format!("a roll begins at {} where one has to begin at {end}", roll.from));
        }
        if roll.epoch != epoch {
            return Err(format!("a roll of epoch {} is added by epoch {epoch}", roll.epoch));
        }
        end = roll.to;
    }
    Ok(end)
}
