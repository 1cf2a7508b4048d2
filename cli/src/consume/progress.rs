//! How far a group has read, and telling the brokers.

use std::collections::BTreeMap;
use std::time::Duration;

use strata_protocol::code::request;
use strata_protocol::request::UpdateConsumerOffset;
use strata_remoting::Client;
use tokio::time::Instant;

use crate::cluster::{Master, command, success};
use crate::exit::{Exit, OrFail, Outcome};
use crate::limits::COMMIT_INTERVAL;
use crate::reading::reader::QueueReader;

struct Queue {
    master: Master,
    queue_id: i32,
    reached: i64,
    stored: i64,
}

impl Queue {
    fn of(reader: &QueueReader) -> Self {
        let (master, queue_id) = reader.queue();
        Self { master: master.clone(), queue_id, reached: reader.next_offset(), stored: -1 }
    }
}

/// The progress of a group in all queues, or of nobody.
pub(super) struct Progress {
    group: Option<String>,
    topic: String,
    queues: Vec<Queue>,
    /// By address; apart from the readers' connections, whose pulls are held.
    clients: BTreeMap<String, Client>,
    patience: Duration,
    stored_at: Instant,
}

impl Progress {
    pub(super) fn of(group: Option<&str>, topic: &str, readers: &[QueueReader], patience: Duration) -> Self {
        let queues = readers.iter().map(Queue::of).collect();
        let (group, topic) = (group.map(str::to_owned), topic.to_owned());
        Self { group, topic, queues, clients: BTreeMap::new(), patience, stored_at: Instant::now() }
    }

    /// Takes one more queue; gives its number.
    pub(super) fn add(&mut self, reader: &QueueReader) -> usize {
        self.queues.push(Queue::of(reader));
        self.queues.len() - 1
    }

    /// Everything before `offset` of the queue is done with.
    pub(super) fn reached(&mut self, queue: usize, offset: i64) {
        if let Some(queue) = self.queues.get_mut(queue) {
            queue.reached = queue.reached.max(offset);
        }
    }

    /// Stores when it was not done for a while. A failure is told and tried again later.
    pub(super) async fn store_sometimes(&mut self) {
        if self.stored_at.elapsed() < COMMIT_INTERVAL {
            return;
        }
        if let Err(failure) = self.store().await {
            tracing::warn!("{failure}");
        }
    }

    /// Stores what changed since the last time.
    pub(super) async fn store(&mut self) -> Outcome {
        self.stored_at = Instant::now();
        let Some(group) = &self.group else { return Ok(()) };
        for queue in self.queues.iter_mut().filter(|queue| queue.reached != queue.stored) {
            let header = UpdateConsumerOffset {
                group: group.clone(),
                topic: self.topic.clone(),
                queue_id: queue.queue_id,
                commit_offset: queue.reached,
            };
            let Master { name, address, .. } = &queue.master;
            let who = format!("the progress of {group} at broker {name}");
            let client = match self.clients.get(address).filter(|client| client.is_open()) {
                Some(client) => client.clone(),
                None => Client::connect(address, self.patience).await.or_fail_with(Exit::Unreachable, &who)?,
            };
            self.clients.insert(address.clone(), client.clone());
            let answer = client.call(command(request::UPDATE_CONSUMER_OFFSET, &header), self.patience).await;
            success(answer.or_fail_with(Exit::Unreachable, &who)?, &who)?;
            queue.stored = queue.reached;
        }
        Ok(())
    }
}
