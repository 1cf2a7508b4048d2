//! The broker's topics: what exists, with how many queues, who may read and write.
//!
//! Owns `topics.json`. A change is on disk before it is answered, and before a message is acknowledged that
//! depends on it; what a crash leaves in the log alone comes back with the queues that hold messages.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use strata_protocol::body::{DataVersion, TopicConfig, TopicTable, perm};
use strata_protocol::name;

use crate::attributes::TRACE_RECORDS;
use crate::durable::{DurableError, DurableFile};
use crate::limits::{TOPIC_QUEUES_MAX, TOPICS_MAX};
use crate::refusal::Refusal;
use crate::traffic::Traffic;
use crate::trail::Sampling;

/// The file in the folder of configuration files.
pub(crate) const FILE: &str = "topics.json";

type Table = HashMap<Arc<str>, Arc<Topic>>;

/// A topic: its settings, and what came in.
#[derive(Debug)]
pub(crate) struct Topic {
    pub config: TopicConfig,
    /// Outlives changes of the settings.
    pub incoming: Arc<Traffic>,
    /// What of that was delayed before; as durable.
    pub delayed: Arc<Traffic>,
    /// Of which messages the broker keeps trace records, where the topic says so.
    pub records: Option<Sampling>,
    /// The version of the table that these settings came with.
    version: i64,
}

impl Topic {
    fn new(config: TopicConfig, version: i64) -> Self {
        let own = config.attributes.get(TRACE_RECORDS).and_then(|text| Sampling::parse(text));
        // Nobody asks for the way of what is itself a record, or waits on behalf of another message.
        let records = if name::is_system_topic(&config.topic_name) { Some(Sampling::OFF) } else { own };
        Self { config, incoming: Arc::default(), delayed: Arc::default(), records, version }
    }

    /// Queues that are read or written.
    pub(crate) fn queues(&self) -> i32 {
        self.config.read_queue_nums.max(self.config.write_queue_nums)
    }

    /// Refuses a queue that the topic does not have.
    pub(crate) fn check_queue(&self, queue_id: i32) -> Result<(), Refusal> {
        let queues = self.queues();
        if (0..queues).contains(&queue_id) {
            return Ok(());
        }
        Err(Refusal::NoQueue { topic: self.config.topic_name.clone(), queue_id, queues })
    }
}

/// All topics of this broker.
pub(crate) struct Topics {
    /// Read by every request without a lock; replaced as a whole by the rare changes.
    table: ArcSwap<Table>,
    /// Serialises changes, so that none is lost and versions only rise.
    change: Mutex<DataVersion>,
    /// The version of the table that is on disk.
    saved: AtomicI64,
    file: DurableFile,
}

impl Topics {
    /// Reads the topics of a data folder's `config`.
    pub(crate) fn load(config: &Path) -> Result<Self, DurableError> {
        let file = DurableFile::new(config, FILE);
        let stored: TopicTable = file.load()?.unwrap_or_default();
        let named = |(name, topic): (String, TopicConfig)| {
            let topic = TopicConfig { topic_name: name.clone(), ..topic };
            (Arc::from(name), Arc::new(Topic::new(topic, 0)))
        };
        let table: Table = stored.topic_config_table.into_iter().map(named).collect();
        Ok(Self {
            table: ArcSwap::from_pointee(table),
            change: Mutex::new(stored.data_version),
            saved: AtomicI64::new(stored.data_version.counter),
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
        check(&topic)?;
        self.insert(topic, &mut self.change.lock(), now_ms)
    }

    /// Creates a topic if it is missing; gives the one that exists otherwise, and whether it is new.
    pub(crate) fn ensure(&self, topic: TopicConfig, now_ms: i64) -> Result<(Arc<Topic>, bool), Refusal> {
        if let Some(known) = self.find(&topic.topic_name) {
            return Ok((known, false));
        }
        check(&topic)?;
        let mut version = self.change.lock();
        // Another request may have created it meanwhile, with other settings: those stand.
        if let Some(known) = self.find(&topic.topic_name) {
            return Ok((known, false));
        }
        self.insert(topic, &mut version, now_ms).map(|topic| (topic, true))
    }

    fn insert(&self, topic: TopicConfig, version: &mut DataVersion, now_ms: i64) -> Result<Arc<Topic>, Refusal> {
        let table = self.table.load();
        let known = table.get(topic.topic_name.as_str());
        if table.len() >= TOPICS_MAX && known.is_none() {
            return Err(Refusal::TooMany { what: "topics", limit: TOPICS_MAX });
        }
        let mut topic = Topic::new(topic, version.counter + 1);
        if let Some(known) = known {
            (topic.incoming, topic.delayed) = (Arc::clone(&known.incoming), Arc::clone(&known.delayed));
        }
        let topic = Arc::new(topic);
        let mut next = Table::clone(&table);
        next.insert(Arc::from(topic.config.topic_name.as_str()), Arc::clone(&topic));
        self.replace(next, version, now_ms);
        Ok(topic)
    }

    /// Whether a topic's settings are on disk, so that a message that depends on them may be acknowledged.
    pub(crate) fn is_kept(&self, topic: &Topic) -> bool {
        topic.version <= self.saved.load(Ordering::Acquire)
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
    }

    /// Writes the table if it changed since it was last written.
    pub(crate) fn save(&self) -> Result<(), DurableError> {
        let written = Cell::new(None);
        let changed = || {
            if self.change.lock().counter <= self.saved.load(Ordering::Acquire) {
                return None;
            }
            let table = self.snapshot();
            written.set(Some(table.data_version.counter));
            Some(table)
        };
        self.file.save(changed, || written.set(None))?;
        if let Some(version) = written.get() {
            self.saved.fetch_max(version, Ordering::AcqRel);
        }
        Ok(())
    }
}

fn check(topic: &TopicConfig) -> Result<(), Refusal> {
    name::check_topic(&topic.topic_name)?;
    for queues in [topic.read_queue_nums, topic.write_queue_nums] {
        if !(0..=TOPIC_QUEUES_MAX).contains(&queues) {
            return Err(Refusal::QueueCount { topic: topic.topic_name.clone(), queues });
        }
    }
    Ok(())
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
        assert!(matches!(topics.put(TopicConfig::new("x", TOPIC_QUEUES_MAX + 1), 0), Err(Refusal::QueueCount { .. })));
        assert!(matches!(topics.put(TopicConfig::new("x", -1), 0), Err(Refusal::QueueCount { .. })));
        assert_eq!(topics.count(), 0);
    }

    #[test]
    fn the_first_to_create_a_topic_decides_and_it_is_kept_when_it_is_saved() {
        let folder = tempfile::tempdir().unwrap();
        let topics = Topics::load(folder.path()).unwrap();
        let (first, is_new) = topics.ensure(TopicConfig::new("t", 8), 1).unwrap();
        assert!(is_new && !topics.is_kept(&first));
        let (second, is_new) = topics.ensure(TopicConfig::new("t", 4), 2).unwrap();
        assert!(!is_new && second.config.write_queue_nums == 8);
        topics.save().unwrap();
        assert!(topics.is_kept(&second));
        let changed = topics.put(TopicConfig::new("t", 16), 3).unwrap();
        assert!(!topics.is_kept(&changed), "messages of the new queues depend on the change");
        assert!(Topics::load(folder.path()).unwrap().is_kept(&first));
    }

    #[test]
    fn as_many_topics_as_are_allowed_can_be_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let topic = |n: usize| TopicConfig::new(format!("{n:0>100}"), 8);
        let table: Table =
            (0..TOPICS_MAX).map(|n| (Arc::from(topic(n).topic_name), Arc::new(Topic::new(topic(n), 1)))).collect();
        let topics = Topics::load(folder.path()).unwrap();
        topics.replace(table, &mut topics.change.lock(), 1);
        topics.save().unwrap();
        assert_eq!(Topics::load(folder.path()).unwrap().count(), TOPICS_MAX);
    }

    #[test]
    fn a_template_gives_at_most_its_queues_and_no_inheritance() {
        let template = TopicConfig { perm: 7, ..TopicConfig::new("TBW102", 8) };
        let topic = from_template("t", &template, 16, 0).unwrap();
        assert_eq!((topic.read_queue_nums, topic.perm), (8, 6));
        assert_eq!(from_template("t", &topic, 4, 0), None);
    }
}
