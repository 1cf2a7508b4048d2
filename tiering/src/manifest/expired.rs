//! Messages of topics that retention took out of rolls that other topics still need.
//!
//! Owns the floor of a topic: the log offset below which none of its messages is there any more. What was dropped begins
//! anew behind it, at offset 0; what has expired goes on with its offsets.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::state::Manifest;

impl Manifest {
    /// Topics whose older messages retention removed, with the log offset up to which it did.
    #[must_use]
    pub fn expired(&self) -> &BTreeMap<String, u64> {
        &self.expired
    }

    /// The log offset below which no message of a topic is there, dropped or expired; 0 when nothing of it is gone. A
    /// roll that ends there or before has none of it for readers.
    #[must_use]
    pub fn floor_of(&self, topic: &str) -> u64 {
        let of = |topics: &BTreeMap<String, u64>| topics.get(topic).copied().unwrap_or(0);
        of(&self.dropped).max(of(&self.expired))
    }

    /// Whether the message of a topic that lies there in the log is gone, dropped or expired.
    #[must_use]
    pub fn is_gone(&self, topic: &str, log_offset: u64) -> bool {
        log_offset < self.floor_of(topic)
    }

    /// The floors that lie within a part of the log and not at its ends: what a merge of that part depends on.
    #[must_use]
    pub fn floors_within(&self, from: u64, to: u64) -> BTreeMap<String, u64> {
        let topics = self.dropped.keys().chain(self.expired.keys());
        let floors = topics.map(|topic| (topic.clone(), self.floor_of(topic)));
        floors.filter(|(_, floor)| (from + 1..to).contains(floor)).collect()
    }

    pub(super) fn expire_topics(&mut self, topics: &BTreeMap<String, u64>) -> Result<(), String> {
        let ends = |to: u64| self.rolls.binary_search_by_key(&to, |roll| roll.to).is_ok();
        if let Some((topic, to)) = topics.iter().find(|(_, to)| !ends(**to)) {
            return Err(format!("topic {topic} would expire up to {to}, where no roll ends"));
        }
        let expired = Arc::make_mut(&mut self.expired);
        for (topic, to) in topics {
            let known = expired.entry(topic.clone()).or_insert(*to);
            *known = (*known).max(*to);
        }
        Ok(())
    }

    /// What expired is forgotten when no roll holds it any more.
    pub(super) fn forget_expired(&mut self) {
        let Some(start) = self.start() else { return };
        if self.expired.values().any(|to| *to <= start) {
            Arc::make_mut(&mut self.expired).retain(|_, to| *to > start);
        }
    }
}
