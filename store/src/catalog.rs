//! Which topics and queues exist and what their next offsets are.
//!
//! Owns names and numbers of queues. Where a queue's messages lie is told by `index` and `sidecar`.

use std::collections::HashMap;
use std::sync::Arc;

use crate::error::AppendError;
use crate::limits::{QUEUES_MAX, TOPICS_MAX};

/// A place of a topic's queue table that has no queue.
const NO_QUEUE: u32 = u32::MAX;

/// A queue.
#[derive(Debug, Clone)]
pub(crate) struct Queue {
    /// `None` when the topic was forgotten and the number waits to be used again.
    pub(crate) topic: Option<Arc<str>>,
    pub(crate) queue_id: i32,
    /// The offset that the next message gets.
    pub(crate) next: i64,
    /// Its lowest offset and the count of deletions for which that is true.
    pub(crate) min: Option<(u64, i64)>,
}

/// All queues, by name and by number. A number stays valid until its topic is forgotten.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    topics: HashMap<Arc<str>, Vec<u32>>,
    queues: Vec<Queue>,
    /// Numbers whose topic is gone while frozen segments may still use them.
    retired: Vec<u32>,
    free: Vec<u32>,
    /// The topic whose deletion is being written.
    leaving: Option<Box<str>>,
}

impl Catalog {
    /// The number of a queue.
    #[inline]
    pub(crate) fn find(&self, topic: &str, queue_id: i32) -> Option<u32> {
        let queues = self.topics.get(topic)?;
        let number = *queues.get(usize::try_from(queue_id).ok()?)?;
        (number != NO_QUEUE).then_some(number)
    }

    /// The number of a queue, which is made when it does not exist.
    pub(crate) fn find_or_add(&mut self, topic: &str, queue_id: i32) -> Result<u32, AppendError> {
        match self.find(topic, queue_id) {
            Some(number) => Ok(number),
            None => self.add(topic, queue_id, 0),
        }
    }

    /// Adds a queue whose next offset is `next`.
    pub(crate) fn add(&mut self, topic: &str, queue_id: i32, next: i64) -> Result<u32, AppendError> {
        if self.queues.len() - self.free.len() >= QUEUES_MAX {
            return Err(AppendError::TooMany { what: "queues", max: QUEUES_MAX });
        }
        let id = usize::try_from(queue_id).unwrap_or(0);
        let name = if let Some((name, _)) = self.topics.get_key_value(topic) {
            Arc::clone(name)
        } else {
            if self.topics.len() >= TOPICS_MAX {
                return Err(AppendError::TooMany { what: "topics", max: TOPICS_MAX });
            }
            Arc::from(topic)
        };
        let queue = Queue { topic: Some(Arc::clone(&name)), queue_id, next, min: None };
        let number = if let Some(number) = self.free.pop() {
            self.queues[number as usize] = queue;
            number
        } else {
            self.queues.push(queue);
            // QUEUES_MAX is far below 2^32.
            u32::try_from(self.queues.len() - 1).unwrap_or(NO_QUEUE)
        };
        let queues = self.topics.entry(name).or_default();
        if queues.len() <= id {
            queues.resize(id + 1, NO_QUEUE);
        }
        queues[id] = number;
        Ok(number)
    }

    /// Refuses messages of a topic from now on until it is forgotten or stays.
    pub(crate) fn leave(&mut self, topic: &str) {
        self.leaving = Some(topic.into());
    }

    /// Takes messages of the topic that was leaving again.
    pub(crate) fn stay(&mut self) {
        self.leaving = None;
    }

    /// Refuses a message of a topic whose deletion is being written: it would be in neither of its lives.
    pub(crate) fn refuse_leaving(&self, topic: &str) -> Result<(), AppendError> {
        if self.leaving.as_deref() == Some(topic) {
            return Err(AppendError::Busy { what: "deletion of the topic", waiting: 1 });
        }
        Ok(())
    }

    /// Forgets a topic; its queue numbers are given back and may be used again after [`Self::reuse`].
    pub(crate) fn forget(&mut self, topic: &str) -> Vec<u32> {
        let queues = self.topics.remove(topic).unwrap_or_default();
        let numbers: Vec<u32> = queues.into_iter().filter(|number| *number != NO_QUEUE).collect();
        for number in &numbers {
            self.queues[*number as usize].topic = None;
        }
        self.retired.extend_from_slice(&numbers);
        numbers
    }

    /// Allows forgotten numbers to be used again: no frozen segment refers to them.
    pub(crate) fn reuse(&mut self) {
        self.free.append(&mut self.retired);
    }

    #[inline]
    pub(crate) fn queue(&self, number: u32) -> &Queue {
        &self.queues[number as usize]
    }

    #[inline]
    pub(crate) fn queue_mut(&mut self, number: u32) -> &mut Queue {
        &mut self.queues[number as usize]
    }

    /// Every queue with its number, forgotten ones left out.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Queue)> {
        let numbered = (0_u32..).zip(&self.queues);
        numbered.filter(|(_, queue)| queue.topic.is_some())
    }

    /// The next offset of each number, -1 for forgotten ones: such a number may get another queue
    /// while the list is still in use.
    pub(crate) fn next_offsets(&self) -> Vec<i64> {
        let next = |queue: &Queue| if queue.topic.is_some() { queue.next } else { -1 };
        self.queues.iter().map(next).collect()
    }

    /// The queue ids of a topic, ascending.
    pub(crate) fn queue_ids(&self, topic: &str) -> Vec<i32> {
        let Some(queues) = self.topics.get(topic) else {
            return Vec::new();
        };
        (0_i32..).zip(queues).filter(|(_, number)| **number != NO_QUEUE).map(|(id, _)| id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_used_again_only_after_leave() {
        let mut catalog = Catalog::default();
        let a = catalog.find_or_add("a", 3).unwrap();
        assert_eq!(catalog.find_or_add("a", 3), Ok(a));
        assert_eq!(catalog.find("a", 2), None);
        assert_eq!(catalog.find("a", -1), None);
        catalog.queue_mut(a).next = 9;
        assert_eq!(catalog.forget("a"), [a]);
        assert_eq!(catalog.iter().count(), 0);
        let b = catalog.find_or_add("b", 0).unwrap();
        assert_ne!(a, b);
        catalog.reuse();
        let c = catalog.find_or_add("a", 1).unwrap();
        assert_eq!(c, a);
        assert_eq!(catalog.queue(c).next, 0);
        assert_eq!(catalog.queue_ids("a"), [1]);
        assert_eq!(catalog.iter().count(), 2);
    }
}
