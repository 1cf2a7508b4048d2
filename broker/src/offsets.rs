//! How far each group has consumed each queue.
//!
//! Owns `consumerOffset.json`, written every few seconds while something changed and at the end: a crash
//! repeats what was consumed in that window, it skips nothing.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use strata_protocol::body::{DataVersion, OffsetTable};

use crate::durable::{DurableError, DurableFile};

/// The file in the folder of configuration files.
pub(crate) const FILE: &str = "consumerOffset.json";

/// Separates topic and group in the file; no name can contain it.
const SEPARATOR: char = '@';

/// Group, topic and queue.
type Position = (String, String, i32);

struct Reset {
    offset: i64,
    until_ms: i64,
}

/// Names and offsets are shared with those who ask for all of them, so that the lock is held for little.
type ByGroup = HashMap<Arc<str>, Arc<BTreeMap<i32, i64>>>;

/// Group, topic and the offsets of its queues at a moment.
pub(crate) type Progress = (Arc<str>, Arc<str>, Arc<BTreeMap<i32, i64>>);

/// The offsets of all groups.
pub(crate) struct Offsets {
    /// Held for a look-up or an insertion, never across I/O.
    state: Mutex<State>,
    file: DurableFile,
}

#[derive(Default)]
struct State {
    topics: HashMap<Arc<str>, ByGroup>,
    /// Offsets that an operator set and that the group's client may not have taken yet.
    resets: HashMap<Position, Reset>,
    version: DataVersion,
    unsaved: bool,
}

impl Offsets {
    /// Reads the offsets of a data folder's `config`.
    pub(crate) fn load(config: &Path) -> Result<Self, DurableError> {
        let file = DurableFile::new(config, FILE);
        let stored: OffsetTable = file.load()?.unwrap_or_default();
        let mut state = State { version: stored.data_version, ..State::default() };
        for (key, queues) in stored.offset_table {
            if let Some((topic, group)) = key.split_once(SEPARATOR) {
                state.topics.entry(Arc::from(topic)).or_default().insert(Arc::from(group), Arc::new(queues));
            }
        }
        Ok(Self { state: Mutex::new(state), file })
    }

    /// A group's offset of a queue.
    pub(crate) fn find(&self, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
        self.state.lock().topics.get(topic)?.get(group)?.get(&queue_id).copied()
    }

    /// Stores a group's offset of a queue; it may go back, as in RocketMQ.
    pub(crate) fn commit(&self, group: &str, topic: &str, queue_id: i32, offset: i64) {
        self.state.lock().commit(group, topic, queue_id, offset);
    }

    /// Stores what a client tells, unless an operator's offset stands against it. Gives what was stored before when the
    /// offset changed: none for a group that begins.
    pub(crate) fn commit_unless_reset(
        &self,
        group: &str,
        topic: &str,
        queue_id: i32,
        (offset, now_ms): (i64, i64),
    ) -> Option<Option<i64>> {
        let mut state = self.state.lock();
        if state.is_reset(group, topic, queue_id, now_ms) {
            return None;
        }
        let before = state.commit(group, topic, queue_id, offset);
        (before != Some(offset)).then_some(before)
    }

    /// Stores what an operator decided. Clients that consume meanwhile tell their old offsets until they have
    /// taken the new one: those are passed over, at most until `until_ms`.
    pub(crate) fn reset(&self, group: &str, topic: &str, queue_id: i32, (offset, until_ms): (i64, i64)) {
        let mut state = self.state.lock();
        state.commit(group, topic, queue_id, offset);
        let position = (group.to_owned(), topic.to_owned(), queue_id);
        state.resets.insert(position, Reset { offset, until_ms });
    }

    /// A client pulls from `offset`: if that is an operator's, the client has taken it.
    pub(crate) fn taken(&self, group: &str, topic: &str, queue_id: i32, offset: i64) {
        let mut state = self.state.lock();
        if state.resets.is_empty() {
            return;
        }
        let position = (group.to_owned(), topic.to_owned(), queue_id);
        if state.resets.get(&position).is_some_and(|reset| reset.offset == offset) {
            state.resets.remove(&position);
        }
    }

    /// All offsets of a group in a topic.
    pub(crate) fn of(&self, group: &str, topic: &str) -> BTreeMap<i32, i64> {
        let shared = self.state.lock().topics.get(topic).and_then(|groups| groups.get(group)).map(Arc::clone);
        shared.map(Arc::unwrap_or_clone).unwrap_or_default()
    }

    /// Topics in which a group has offsets.
    pub(crate) fn topics_of(&self, group: &str) -> Vec<String> {
        let state = self.state.lock();
        state
            .topics
            .iter()
            .filter(|(_, groups)| groups.contains_key(group))
            .map(|(topic, _)| topic.to_string())
            .collect()
    }

    /// Groups that have offsets in a topic.
    pub(crate) fn groups_of(&self, topic: &str) -> Vec<String> {
        self.state
            .lock()
            .topics
            .get(topic)
            .map(|groups| groups.keys().map(ToString::to_string).collect())
            .unwrap_or_default()
    }

    /// Every group, topic and its offsets.
    pub(crate) fn all(&self) -> Vec<Progress> {
        let state = self.state.lock();
        let mut all = Vec::with_capacity(state.topics.values().map(HashMap::len).sum());
        for (topic, groups) in &state.topics {
            let each = groups.iter();
            all.extend(each.map(|(group, queues)| (Arc::clone(group), Arc::clone(topic), Arc::clone(queues))));
        }
        all
    }

    /// Copies a group's offsets to another group.
    pub(crate) fn copy(&self, from: &str, to: &str, topic: &str) {
        for (queue_id, offset) in self.of(from, topic) {
            self.commit(to, topic, queue_id, offset);
        }
    }

    /// Forgets all offsets of a topic that is deleted.
    pub(crate) fn forget_topic(&self, topic: &str) {
        let mut state = self.state.lock();
        state.resets.retain(|(_, of, _), _| of != topic);
        state.unsaved |= state.topics.remove(topic).is_some();
    }

    /// Forgets all offsets of a group that is deleted.
    pub(crate) fn forget_group(&self, group: &str) {
        let mut state = self.state.lock();
        state.resets.retain(|(of, ..), _| of != group);
        for groups in state.topics.values_mut() {
            groups.remove(group);
        }
        state.unsaved = true;
    }

    /// The table as it is stored and reported.
    pub(crate) fn snapshot(&self) -> OffsetTable {
        let data_version = self.state.lock().version;
        let key =
            |(group, topic, queues): Progress| (format!("{topic}{SEPARATOR}{group}"), Arc::unwrap_or_clone(queues));
        OffsetTable { offset_table: self.all().into_iter().map(key).collect(), data_version }
    }

    /// Writes the table if it changed since it was last written.
    pub(crate) fn save(&self) -> Result<(), DurableError> {
        let changed = || {
            {
                let mut state = self.state.lock();
                if !std::mem::take(&mut state.unsaved) {
                    return None;
                }
                state.version.counter += 1;
            }
            Some(self.snapshot())
        };
        self.file.save(changed, || self.state.lock().unsaved = true)
    }
}

impl State {
    /// Gives what was stored before.
    fn commit(&mut self, group: &str, topic: &str, queue_id: i32, offset: i64) -> Option<i64> {
        let known = self.topics.get_mut(topic).and_then(|groups| groups.get_mut(group));
        let queues = match known {
            Some(queues) => queues,
            None => self.topics.entry(Arc::from(topic)).or_default().entry(Arc::from(group)).or_default(),
        };
        let before = queues.get(&queue_id).copied();
        if before != Some(offset) {
            Arc::make_mut(queues).insert(queue_id, offset);
            self.unsaved = true;
        }
        before
    }

    /// Whether an operator's offset stands against what a client tells now.
    fn is_reset(&mut self, group: &str, topic: &str, queue_id: i32, now_ms: i64) -> bool {
        if self.resets.is_empty() {
            return false;
        }
        self.resets.retain(|_, reset| reset.until_ms > now_ms);
        self.resets.contains_key(&(group.to_owned(), topic.to_owned(), queue_id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operators_offset_stands_until_the_client_has_taken_it() {
        let folder = tempfile::tempdir().unwrap();
        let offsets = Offsets::load(folder.path()).unwrap();
        let told = |group, offset, now_ms| {
            offsets.commit_unless_reset(group, "t", 0, (offset, now_ms));
            offsets.find(group, "t", 0)
        };
        offsets.reset("g", "t", 0, (3, 100));
        assert_eq!((told("g", 9, 99), told("h", 9, 99)), (Some(3), Some(9)));
        offsets.taken("g", "t", 0, 9);
        assert_eq!(told("g", 9, 99), Some(3), "it still pulls where it was");
        offsets.taken("g", "t", 0, 3);
        assert_eq!(told("g", 4, 99), Some(4));
        offsets.reset("g", "t", 0, (3, 100));
        assert_eq!(told("g", 9, 100), Some(9), "a client that never takes it is not held up for ever");
    }

    #[test]
    fn offsets_survive_and_are_forgotten_with_their_topic_or_group() {
        let folder = tempfile::tempdir().unwrap();
        let offsets = Offsets::load(folder.path()).unwrap();
        offsets.commit("g", "t", 0, 5);
        offsets.commit("g", "%RETRY%g", 0, 1);
        offsets.commit("h", "t", 1, 7);
        offsets.copy("h", "i", "t");
        offsets.save().unwrap();
        let again = Offsets::load(folder.path()).unwrap();
        assert_eq!(again.find("g", "t", 0), Some(5));
        assert_eq!(again.find("i", "t", 1), Some(7));
        assert_eq!(again.find("g", "t", 1), None);
        again.forget_topic("t");
        assert_eq!((again.find("g", "t", 0), again.find("g", "%RETRY%g", 0)), (None, Some(1)));
        again.forget_group("g");
        assert_eq!(again.topics_of("g"), Vec::<String>::new());
    }
}
