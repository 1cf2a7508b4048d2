//! The broker's consumer groups: their settings and which topics they must not read.
//!
//! Owns `subscriptionGroup.json`. Who is online is not known here.

use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use strata_protocol::body::{GroupConfig, GroupTable};
use strata_protocol::name;

use crate::durable::{DurableError, DurableFile};
use crate::limits::GROUPS_MAX;
use crate::refusal::Refusal;

/// The file in the folder of configuration files.
pub(crate) const FILE: &str = "subscriptionGroup.json";

/// The bit of the forbidden table that stops reading.
const READ_FORBIDDEN: i32 = 1 << 2;

/// All groups of this broker.
pub(crate) struct Groups {
    /// Short reads and rare changes; a lock costs less here than copies.
    table: Mutex<State>,
    file: DurableFile,
}

struct State {
    groups: GroupTable,
    shared: std::collections::HashMap<String, Arc<GroupConfig>>,
    unsaved: bool,
}

impl Groups {
    /// Reads the groups of a data folder's `config`.
    pub(crate) fn load(config: &Path) -> Result<Self, DurableError> {
        let file = DurableFile::new(config, FILE);
        let groups: GroupTable = file.load()?.unwrap_or_default();
        let shared = groups.subscription_group_table.iter().map(|(k, v)| (k.clone(), Arc::new(v.clone()))).collect();
        Ok(Self { table: Mutex::new(State { groups, shared, unsaved: false }), file })
    }

    /// One group.
    pub(crate) fn find(&self, group: &str) -> Option<Arc<GroupConfig>> {
        self.table.lock().shared.get(group).cloned()
    }

    /// All groups.
    pub(crate) fn snapshot(&self) -> GroupTable {
        self.table.lock().groups.clone()
    }

    /// How many groups there are.
    pub(crate) fn count(&self) -> usize {
        self.table.lock().shared.len()
    }

    /// Creates or replaces a group in memory; [`Groups::save`] makes it durable.
    pub(crate) fn put(&self, group: GroupConfig, now_ms: i64) -> Result<Arc<GroupConfig>, Refusal> {
        name::check_group(&group.group_name)?;
        let mut state = self.table.lock();
        if state.shared.len() >= GROUPS_MAX && !state.shared.contains_key(&group.group_name) {
            return Err(Refusal::TooMany { what: "groups", limit: GROUPS_MAX });
        }
        let shared = Arc::new(group.clone());
        state.shared.insert(group.group_name.clone(), Arc::clone(&shared));
        state.groups.subscription_group_table.insert(group.group_name.clone(), group);
        state.touch(now_ms);
        Ok(shared)
    }

    /// Removes a group in memory; `false` when there was none.
    pub(crate) fn remove(&self, group: &str, now_ms: i64) -> bool {
        let mut state = self.table.lock();
        let removed = state.shared.remove(group).is_some();
        state.groups.subscription_group_table.remove(group);
        state.groups.forbidden_table.remove(group);
        state.touch(now_ms);
        removed
    }

    /// Whether the group may read the topic.
    pub(crate) fn may_read(&self, group: &str, topic: &str) -> bool {
        let state = self.table.lock();
        let bits = state.groups.forbidden_table.get(group).and_then(|topics| topics.get(topic));
        bits.is_none_or(|bits| bits & READ_FORBIDDEN == 0)
    }

    /// Allows or forbids the group to read the topic.
    pub(crate) fn allow_read(&self, group: &str, topic: &str, readable: bool, now_ms: i64) {
        let mut state = self.table.lock();
        let topics = state.groups.forbidden_table.entry(group.to_owned()).or_default();
        let bits = topics.entry(topic.to_owned()).or_default();
        *bits = if readable { *bits & !READ_FORBIDDEN } else { *bits | READ_FORBIDDEN };
        state.touch(now_ms);
    }

    /// Writes the table if it changed since it was last written.
    pub(crate) fn save(&self) -> Result<(), DurableError> {
        let changed = || {
            let mut state = self.table.lock();
            std::mem::take(&mut state.unsaved).then(|| state.groups.clone())
        };
        self.file.save(changed, || self.table.lock().unsaved = true)
    }
}

impl State {
    fn touch(&mut self, now_ms: i64) {
        let version = &mut self.groups.data_version;
        version.counter += 1;
        version.timestamp = now_ms.max(version.timestamp);
        self.unsaved = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_and_what_is_forbidden_survive() {
        let folder = tempfile::tempdir().unwrap();
        let groups = Groups::load(folder.path()).unwrap();
        groups.put(GroupConfig { retry_max_times: 3, ..GroupConfig::new("g") }, 1).unwrap();
        groups.allow_read("g", "t", false, 2);
        groups.save().unwrap();
        let again = Groups::load(folder.path()).unwrap();
        assert_eq!(again.find("g").unwrap().retry_max_times, 3);
        assert!(!again.may_read("g", "t") && again.may_read("g", "u"));
        assert!(again.remove("g", 3) && again.may_read("g", "t"));
    }
}
