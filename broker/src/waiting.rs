//! Pulls that found nothing and wait for a message: parked here, woken by the append.
//!
//! Owns the parked pulls and their deadlines. It does not read: whoever drains the ready ones does.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use strata_remoting::Responder;
use tokio::sync::Notify;

use crate::limits::{PARKED_PULLS_MAX, PARKED_PULLS_PER_CONNECTION_MAX};
use crate::sieve::Sifter;
use crate::trail::Watched;

/// What a pull asks of the log.
#[derive(Clone)]
pub(crate) struct PullPlan {
    /// The request's code, for the figures.
    pub code: i32,
    pub group: Arc<str>,
    pub topic: Arc<str>,
    pub queue_id: i32,
    pub offset: i64,
    /// Where to look next: messages from `offset` up to here are not for the group, and are not looked at again.
    pub seen: i64,
    pub sifter: Sifter,
    pub messages_max: usize,
    pub bytes_max: usize,
    /// When its holding ends, by [`Hall::elapsed_ms`](crate::hall::Hall::elapsed_ms); now for a pull that is
    /// not to be held.
    pub deadline_ms: i64,
    /// Who pulls, if there are records of what becomes of the messages.
    pub watched: Option<Watched>,
}

/// A pull that is held.
pub(crate) struct Parked {
    pub responder: Responder,
    pub plan: PullPlan,
}

/// Deadlines of woken pulls that may wait beside those of held ones.
const DEADLINES_SPARE: usize = 4_096;

/// All pulls that are held.
#[derive(Default)]
pub(crate) struct Waiting {
    /// Lets the append path see without a lock that nobody waits.
    parked: AtomicUsize,
    /// Short: an insertion, or the removal of the pulls of one queue.
    state: Mutex<State>,
    /// Pulls to be answered now. The append path only moves them here.
    ready: Mutex<Vec<Parked>>,
    wake: Notify,
    /// The broker stops: nothing is held any more.
    closing: AtomicBool,
}

type Queue = (Arc<str>, i32);

#[derive(Default)]
struct State {
    topics: HashMap<Arc<str>, HashMap<i32, Vec<Parked>>>,
    /// How many pulls each connection has held, by its number, of each queue.
    connections: HashMap<u64, HashMap<Queue, usize>>,
    deadlines: BinaryHeap<Reverse<(i64, Arc<str>, i32)>>,
}

impl Waiting {
    /// Holds a pull; gives it back when too many are held already.
    pub(crate) fn park(&self, pull: Parked) -> Result<(), Box<Parked>> {
        if self.parked.load(Ordering::Relaxed) >= PARKED_PULLS_MAX {
            return Err(Box::new(pull));
        }
        let (topic, queue_id) = (Arc::clone(&pull.plan.topic), pull.plan.queue_id);
        let mut state = self.state.lock();
        let is_crowded = self.parked.load(Ordering::Relaxed) >= PARKED_PULLS_MAX / 2;
        let of_connection = state.connections.entry(pull.responder.connection().id()).or_default();
        // A connection has one pull a queue, so that the queues are counted.
        if is_crowded && of_connection.len() >= PARKED_PULLS_PER_CONNECTION_MAX {
            return Err(Box::new(pull));
        }
        *of_connection.entry((Arc::clone(&topic), queue_id)).or_default() += 1;
        state.deadlines.push(Reverse((pull.plan.deadline_ms, Arc::clone(&topic), queue_id)));
        state.topics.entry(topic).or_default().entry(queue_id).or_default().push(pull);
        let parked = self.parked.fetch_add(1, Ordering::SeqCst) + 1;
        // Woken pulls leave their deadlines behind; they must not pile up on a busy broker.
        if state.deadlines.len() > 2 * parked + DEADLINES_SPARE {
            state.compact();
        }
        Ok(())
    }

    /// Whether pulls are held at all.
    pub(crate) fn is_open(&self) -> bool {
        !self.closing.load(Ordering::SeqCst)
    }

    /// How many pulls are held.
    pub(crate) fn count(&self) -> usize {
        self.parked.load(Ordering::Relaxed)
    }

    /// A message was stored: whoever waits for it and may want it becomes ready.
    pub(crate) fn appended(&self, topic: &str, queue_id: i32, offset: i64, tags_code: i64) {
        if self.parked.load(Ordering::SeqCst) != 0 {
            self.release(topic, queue_id, |plan| plan.seen <= offset && plan.sifter.matches_code(tags_code));
        }
    }

    /// Pulls of a queue that satisfy `due` become ready.
    pub(crate) fn release(&self, topic: &str, queue_id: i32, mut due: impl FnMut(&PullPlan) -> bool) {
        self.release_pulls(topic, queue_id, |pull| due(&pull.plan));
    }

    fn release_pulls(&self, topic: &str, queue_id: i32, mut due: impl FnMut(&Parked) -> bool) {
        let mut released = Vec::new();
        {
            let mut state = self.state.lock();
            let Some(queues) = state.topics.get_mut(topic) else { return };
            let Some(parked) = queues.get_mut(&queue_id) else { return };
            released.extend(parked.extract_if(.., |pull| due(pull)));
            if parked.is_empty() {
                queues.remove(&queue_id);
            }
            if queues.is_empty() {
                state.topics.remove(topic);
            }
            for pull in &released {
                state.leave(pull);
            }
        }
        if released.is_empty() {
            return;
        }
        self.parked.fetch_sub(released.len(), Ordering::SeqCst);
        self.ready.lock().append(&mut released);
        self.wake.notify_one();
    }

    /// Pulls whose time is over become ready; they are answered with what is there.
    pub(crate) fn expire(&self, elapsed_ms: i64) {
        loop {
            let due = {
                let mut state = self.state.lock();
                match state.deadlines.peek() {
                    Some(Reverse((deadline, ..))) if *deadline <= elapsed_ms => state.deadlines.pop(),
                    _ => None,
                }
            };
            let Some(Reverse((_, topic, queue_id))) = due else { return };
            self.release(&topic, queue_id, |plan| plan.deadline_ms <= elapsed_ms);
        }
    }

    /// A connection ended: its pulls become ready, which gives their places free.
    pub(crate) fn closed(&self, connection: u64) {
        let queues = self.state.lock().connections.get(&connection).cloned().unwrap_or_default();
        for (topic, queue_id) in queues.into_keys() {
            self.release_pulls(&topic, queue_id, |pull| pull.responder.connection().id() == connection);
        }
    }

    /// All pulls become ready and none is held any more, for shutdown.
    pub(crate) fn release_all(&self) {
        self.closing.store(true, Ordering::SeqCst);
        self.expire(i64::MAX);
    }

    /// Waits until pulls are ready and takes them.
    pub(crate) async fn ready(&self) -> Vec<Parked> {
        loop {
            let ready = std::mem::take(&mut *self.ready.lock());
            if !ready.is_empty() {
                return ready;
            }
            self.wake.notified().await;
        }
    }
}

impl State {
    /// A pull is held no longer.
    fn leave(&mut self, pull: &Parked) {
        let connection = pull.responder.connection().id();
        let Some(held) = self.connections.get_mut(&connection) else { return };
        let queue = (Arc::clone(&pull.plan.topic), pull.plan.queue_id);
        if let Some(count) = held.get_mut(&queue) {
            *count -= 1;
            if *count == 0 {
                held.remove(&queue);
            }
        }
        if held.is_empty() {
            self.connections.remove(&connection);
        }
    }

    /// Drops the deadlines of pulls that are gone.
    fn compact(&mut self) {
        let parked = self.topics.values().flat_map(HashMap::values).flatten();
        let deadline =
            |pull: &Parked| Reverse((pull.plan.deadline_ms, Arc::clone(&pull.plan.topic), pull.plan.queue_id));
        self.deadlines = parked.map(deadline).collect();
    }
}
