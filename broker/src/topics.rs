//! The broker's topics: what exists, with how many queues, who may read and write.
//!
//! Owns `topics.json`. Explicit changes are on disk before they are answered; topics that sending
//! creates are written soon after, since the log itself shows which topics it holds.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use strata_protocol::body::{DataVersion, TopicConfig, TopicTable, perm};
use strata_protocol::name;

use crate::durable::{DurableError, DurableFile};
use crate::limits::{TOPIC_QUEUES_MAX, TOPICS_MAX};
use crate::refusal::Refusal;
use crate::traffic::Traffic;

type Table = HashMap<Arc<str>, Arc<Topic>>;

/// A topic: its settings, and what came in.
#[derive(Debug)]
pub(crate) struct Topic {
    pub config: TopicConfig,
    /// Outlives changes of the settings.
    pub incoming: Arc<Traffic>,
}

/// All topics of this broker.
pub(crate) struct Topics {
    /// Read by every request without a lock; replaced as a whole by the rare changes.
    table: ArcSwap<Table>,
    /// Serialises changes, so that none is lost and versions only rise.
    change: Mutex<DataVersion>,
    /// Something changed that is not on disk.
    unsaved: AtomicBool,
    file: DurableFile,
}

impl Topics {
    /// Reads the topics of a data folder's `config`.
    pub(crate) fn load(config: &Path) -> Result<Self, DurableError> {
        let file = DurableFile::new(config, "topics.json");
        let stored: TopicTable = file.load()?.unwrap_or_default();
        let named = |(name, topic): (String, TopicConfig)| {
            let topic = TopicConfig { topic_name: name.clone(), ..topic };
            (Arc::from(name), Arc::new(Topic { config: topic, incoming: Arc::default() }))
        };
        let table: Table = stored.topic_config_table.into_iter().map(named).collect();
        Ok(Self {
            table: ArcSwap::from_pointee(table),
            change: Mutex::new(stored.data_version),
            unsaved: AtomicBool::new(false),
            file,
        })
    }

    /// One topic.
    pub(crate) fn find(&self, topic: &str) -> Option<Arc<Topic>> {
        self.table.load().get(topic).cloned()
    }

    /// One topic, or the refusal that it is missing.
    pub(crate) fn known(&self, topic: &str) -> Result<Arc<Topic>, Refusal> {
        self.find(topic).ok_or_else(|| Refusal::NoTopic { topic: topic.to_owned() })
    }

    /// All topics by name.
    pub(crate) fn all(&self) -> BTreeMap<String, TopicConfig> {
        self.table.load().iter().map(|(name, topic)| (name.to_string(), topic.config.clone())).collect()
    }

    /// All topics, in no order.
    pub(crate) fn list(&self) -> Vec<Arc<Topic>> {
        self.table.load().values().cloned().collect()
    }

    /// How many topics there are.
    pub(crate) fn count(&self) -> usize {
        self.table.load().len()
    }

    /// The table as it is registered and reported.
    pub(crate) fn snapshot(&self) -> TopicTable {
        let version = *self.change.lock();
        TopicTable { topic_config_table: self.all(), data_version: version }
    }

    /// Creates or replaces a topic in memory; [`Topics::save`] makes it durable.
    pub(crate) fn put(&self, topic: TopicConfig, now_ms: i64) -> Result<Arc<Topic>, Refusal> {
        name::check_topic(&topic.topic_name)?;
        let queues = topic.read_queue_nums.max(topic.write_queue_nums);
        if topic.read_queue_nums < 0 || topic.write_queue_nums < 0 || queues > TOPIC_QUEUES_MAX {
            return Err(Refusal::NoQueue { topic: topic.topic_name, queue_id: queues, queues: TOPIC_QUEUES_MAX });
        }
        let mut version = self.change.lock();
        let table = self.table.load();
        if table.len() >= TOPICS_MAX && !table.contains_key(topic.topic_name.as_str()) {
            return Err(Refusal::TooMany { what: "topics", limit: TOPICS_MAX });
        }
        let incoming =
            table.get(topic.topic_name.as_str()).map(|known| Arc::clone(&known.incoming)).unwrap_or_default();
        let topic = Arc::new(Topic { config: topic, incoming });
        let mut next = Table::clone(&table);
        next.insert(Arc::from(topic.config.topic_name.as_str()), Arc::clone(&topic));
        self.replace(next, &mut version, now_ms);
        Ok(topic)
    }

    /// Creates a topic if it is missing; gives the one that exists otherwise, and whether it is new.
    pub(crate) fn ensure(&self, topic: TopicConfig, now_ms: i64) -> Result<(Arc<Topic>, bool), Refusal> {
        if let Some(known) = self.find(&topic.topic_name) {
            return Ok((known, false));
        }
        // Two requests may both come here; the second put writes the same settings again.
        self.put(topic, now_ms).map(|topic| (topic, true))
    }

    /// Removes a topic in memory; `false` when there was none.
    pub(crate) fn remove(&self, topic: &str, now_ms: i64) -> bool {
        let mut version = self.change.lock();
        let mut next = Table::clone(&self.table.load());
        let removed = next.remove(topic).is_some();
        if removed {
            self.replace(next, &mut version, now_ms);
        }
        removed
    }

    fn replace(&self, next: Table, version: &mut DataVersion, now_ms: i64) {
        version.counter += 1;
        version.timestamp = now_ms.max(version.timestamp);
        self.table.store(Arc::new(next));
        self.unsaved.store(true, Ordering::Release);
    }

    /// Writes the table if it changed since it was last written.
    pub(crate) fn save(&self) -> Result<(), DurableError> {
        let changed = || self.unsaved.swap(false, Ordering::AcqRel).then(|| self.snapshot());
        self.file.save(changed, || self.unsaved.store(true, Ordering::Release))
    }
}

/// The settings that a topic gets which sending creates: at most the template's queues, its permission
/// without inheritance. `None` when the template does not allow it.
pub(crate) fn from_template(topic: &str, template: &TopicConfig, queues: i32, sys_flag: i32) -> Option<TopicConfig> {
    (template.perm & perm::INHERIT != 0).then(|| TopicConfig {
        perm: template.perm & !perm::INHERIT,
        topic_sys_flag: sys_flag,
        ..TopicConfig::new(topic, queues.min(template.write_queue_nums).max(0))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_survive_and_versions_rise() {
        let folder = tempfile::tempdir().unwrap();
        let topics = Topics::load(folder.path()).unwrap();
        topics.put(TopicConfig::new("a", 4), 10).unwrap();
        topics.put(TopicConfig::new("b", 1), 5).unwrap();
        assert!(topics.remove("a", 11) && !topics.remove("a", 12));
        topics.save().unwrap();
        let again = Topics::load(folder.path()).unwrap();
        assert_eq!(again.snapshot(), topics.snapshot());
        assert_eq!(again.snapshot().data_version, DataVersion { state_version: 0, timestamp: 11, counter: 3 });
        assert_eq!(again.count(), 1);
    }

    #[test]
    fn illegal_names_and_sizes_never_enter() {
        let folder = tempfile::tempdir().unwrap();
        let topics = Topics::load(folder.path()).unwrap();
        assert!(matches!(topics.put(TopicConfig::new("../x", 1), 0), Err(Refusal::Name(_))));
        assert!(matches!(topics.put(TopicConfig::new("x", TOPIC_QUEUES_MAX + 1), 0), Err(Refusal::NoQueue { .. })));
        assert_eq!(topics.count(), 0);
    }

    #[test]
    fn a_template_gives_at_most_its_queues_and_no_inheritance() {
        let template = TopicConfig { perm: 7, ..TopicConfig::new("TBW102", 8) };
        let topic = from_template("t", &template, 16, 0).unwrap();
        assert_eq!((topic.read_queue_nums, topic.perm), (8, 6));
        assert_eq!(from_template("t", &topic, 4, 0), None);
    }
}
