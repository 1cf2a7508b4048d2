//! What the manifest tells of a roll and its objects.

use std::collections::HashSet;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limits::{INDEX_OBJECTS_MAX, OBJECT_BYTES_MAX};

/// The place of a message: rows of a roll are sorted by it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// Topic; shared, since thousands of objects name the same ones.
    #[serde(serialize_with = "text_out", deserialize_with = "text_in")]
    pub topic: Arc<str>,
    /// Queue.
    pub queue_id: i32,
    /// Offset in the queue.
    pub offset: i64,
}

impl Place {
    fn queue(&self) -> (&str, i32) {
        (&self.topic, self.queue_id)
    }
}

fn text_out<S: Serializer>(text: &Arc<str>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(text)
}

fn text_in<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<str>, D::Error> {
    Ok(Box::<str>::deserialize(from)?.into())
}

/// An object that holds no rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectRef {
    /// Its name in the broker's folder.
    pub name: Box<str>,
    /// Its bytes.
    pub bytes: u64,
    /// Their crc32c.
    pub crc32c: u32,
}

/// An object of messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectEntry {
    /// Its name in the broker's folder.
    pub name: Box<str>,
    /// Its bytes.
    pub bytes: u64,
    /// Messages in it.
    pub rows: u64,
    /// The crc32c of its bytes.
    pub crc32c: u32,
    /// Its first message.
    pub first: Place,
    /// Its last message.
    pub last: Place,
    /// The lowest store time in it, in milliseconds.
    pub first_time: i64,
    /// The highest one.
    pub last_time: i64,
}

/// One contiguous part of the log, as objects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Roll {
    /// The log offset of its first byte.
    pub from: u64,
    /// The log offset behind its last byte.
    pub to: u64,
    /// The epoch of the writer that made it.
    pub epoch: u64,
    /// The lowest store time in it, in milliseconds.
    pub first_time: i64,
    /// The highest one.
    pub last_time: i64,
    /// What it holds, queue by queue.
    pub index: ObjectRef,
    /// Bytes at the begin of the index that tell its queues.
    pub front: u64,
    /// Its messages, sorted by place. None when all of that part was damaged.
    pub objects: Box<[ObjectEntry]>,
}

impl Roll {
    /// Objects that may hold messages of a queue, in the order of their offsets.
    pub fn objects_of<'a>(&'a self, topic: &'a str, queue_id: i32) -> impl Iterator<Item = &'a ObjectEntry> {
        let wanted = (topic, queue_id);
        let begin = self.objects.partition_point(|object| object.last.queue() < wanted);
        self.objects[begin..].iter().take_while(move |object| object.first.queue() <= wanted)
    }

    /// Bytes of its objects and of its index.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.objects.iter().map(|object| object.bytes).fold(self.index.bytes, u64::saturating_add)
    }

    /// The names of all its objects, the index included.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&*self.index.name).chain(self.objects.iter().map(|object| &*object.name))
    }

    /// What is wrong with it by itself.
    pub(super) fn check(&self) -> Result<(), String> {
        let wrong = |what: &str| Err(format!("the roll from {} to {}: {what}", self.from, self.to));
        if self.from >= self.to {
            return wrong("it covers nothing of the log");
        }
        if self.first_time > self.last_time {
            return wrong("its times are in no order");
        }
        if self.front > self.index.bytes || self.index.bytes > OBJECT_BYTES_MAX {
            return wrong("its index has another length than it can have");
        }
        if self.objects.len() > INDEX_OBJECTS_MAX {
            return wrong("it has more objects than a roll can have");
        }
        let rows = self.objects.iter().try_fold(0_u64, |rows, object| rows.checked_add(object.rows));
        if rows.is_none() || self.objects.iter().any(|object| object.bytes > OBJECT_BYTES_MAX) {
            return wrong("its objects are larger than objects can be");
        }
        let mut before: Option<&ObjectEntry> = None;
        for object in &self.objects {
            if object.rows == 0 || object.first > object.last || object.first_time > object.last_time {
                return wrong(&format!("its object {} is empty or in no order", object.name));
            }
            if before.is_some_and(|before| before.last >= object.first) {
                return wrong(&format!("its object {} begins before the last one ends", object.name));
            }
            before = Some(object);
        }
        Ok(())
    }

    /// Shares the topics with those seen before.
    pub(super) fn share_topics(&mut self, seen: &mut HashSet<Arc<str>>) {
        for object in &mut self.objects {
            for topic in [&mut object.first.topic, &mut object.last.topic] {
                if let Some(known) = seen.get(topic) {
                    *topic = Arc::clone(known);
                } else {
                    seen.insert(Arc::clone(topic));
                }
            }
        }
    }
}
