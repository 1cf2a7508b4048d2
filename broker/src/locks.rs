//! Queue locks of orderly consumers: one client of a group at a time may consume a queue.

use std::collections::HashMap;

use parking_lot::Mutex;
use strata_protocol::body::MessageQueue;

use crate::limits::{LOCK_QUEUES_MAX, QUEUE_LOCK_MS_MAX};

/// All queue locks. They live in memory: after a restart clients lock anew.
#[derive(Default)]
pub(crate) struct Locks {
    /// Group to queue to owner; held for one request's look-ups.
    groups: Mutex<HashMap<String, HashMap<MessageQueue, Lock>>>,
}

struct Lock {
    client_id: String,
    renewed_ms: i64,
}

impl Locks {
    /// Locks or renews what is free or already the client's; gives the queues it has now.
    pub(crate) fn lock(
        &self,
        group: &str,
        client_id: &str,
        queues: Vec<MessageQueue>,
        now_ms: i64,
    ) -> Vec<MessageQueue> {
        let mut groups = self.groups.lock();
        let held = groups.entry(group.to_owned()).or_default();
        held.retain(|_, lock| now_ms - lock.renewed_ms <= QUEUE_LOCK_MS_MAX);
        let mut locked = Vec::with_capacity(queues.len());
        for queue in queues {
            let is_others = held.get(&queue).is_some_and(|lock| lock.client_id != client_id);
            if is_others || (held.len() >= LOCK_QUEUES_MAX && !held.contains_key(&queue)) {
                continue;
            }
            held.insert(queue.clone(), Lock { client_id: client_id.to_owned(), renewed_ms: now_ms });
            locked.push(queue);
        }
        locked
    }

    /// Frees all locks of a group that is deleted.
    pub(crate) fn forget(&self, group: &str) {
        self.groups.lock().remove(group);
    }

    /// Whether somebody of the group holds a lock, which only orderly consumers do.
    pub(crate) fn is_orderly(&self, group: &str, now_ms: i64) -> bool {
        let groups = self.groups.lock();
        groups.get(group).is_some_and(|held| held.values().any(|lock| now_ms - lock.renewed_ms <= QUEUE_LOCK_MS_MAX))
    }

    /// Frees the client's own locks.
    pub(crate) fn unlock(&self, group: &str, client_id: &str, queues: &[MessageQueue]) {
        let mut groups = self.groups.lock();
        let Some(held) = groups.get_mut(group) else { return };
        for queue in queues {
            if held.get(queue).is_some_and(|lock| lock.client_id == client_id) {
                held.remove(queue);
            }
        }
        if held.is_empty() {
            groups.remove(group);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_has_one_owner_until_it_is_freed_or_expires() {
        let locks = Locks::default();
        let queue = MessageQueue { topic: "t".into(), broker_name: "b".into(), queue_id: 0 };
        let try_lock = |client: &str, now| locks.lock("g", client, vec![queue.clone()], now).len();
        assert_eq!((try_lock("a", 0), try_lock("b", 1), try_lock("a", 2)), (1, 0, 1));
        assert!(locks.is_orderly("g", 3) && !locks.is_orderly("g", 3 + QUEUE_LOCK_MS_MAX) && !locks.is_orderly("h", 3));
        assert_eq!(locks.lock("other", "b", vec![queue.clone()], 3).len(), 1);
        locks.unlock("g", "b", std::slice::from_ref(&queue));
        assert_eq!(try_lock("b", 4), 0);
        assert_eq!(try_lock("b", 3 + QUEUE_LOCK_MS_MAX), 1);
        locks.unlock("g", "b", std::slice::from_ref(&queue));
        assert_eq!(try_lock("c", 5 + QUEUE_LOCK_MS_MAX), 1);
    }
}
