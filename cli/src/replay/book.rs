//! How far a run came, as the brokers keep it.
//!
//! Owns reading and writing of the entries. There is no state on this machine: another one goes on from what the
//! brokers have. Brokers write such offsets to disk within seconds; where a run begins is on disk before anything is
//! sent.

use serde::Deserialize;
use strata_protocol::code::request;
use strata_protocol::request::{DeleteGroup, TopicOf, UpdateConsumerOffset};
use strata_remoting::Client;

use super::run::{Entry, Run};
use crate::cluster::{Cluster, Master, command, document, success};
use crate::exit::{Exit, Failure, OrFail, Outcome};
use crate::reading::reader::stored_offset;

/// A queue and the broker that has it.
pub(super) type Queue = (Master, i32);

/// From where a queue is still to be read, and up to where.
pub(super) type Span = (i64, i64);

/// Groups that have offsets in a topic.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Groups {
    group_list: Vec<String>,
}

/// What is left of a run by queue, `None` for queues that it does not have; nothing when it has not begun.
pub(super) async fn load(
    cluster: &mut Cluster,
    run: &Run,
    topic: &str,
    queues: &[Queue],
) -> Outcome<Option<Vec<Option<Span>>>> {
    let mut has_begun = false;
    let mut spans = Vec::with_capacity(queues.len());
    for (master, queue_id) in queues {
        let queue = (topic, *queue_id);
        has_begun |= stored_offset(cluster, master, &run.group(Entry::Begin), queue).await?.is_some();
        let next = stored_offset(cluster, master, &run.group(Entry::Next), queue).await?;
        let end = stored_offset(cluster, master, &run.group(Entry::End), queue).await?;
        spans.push(next.zip(end));
    }
    Ok(has_begun.then_some(spans))
}

/// Fails when a run of the same name with other flags has begun: going on with either would surprise somebody.
pub(super) async fn refuse_namesakes(cluster: &mut Cluster, run: &Run, topic: &str, masters: &[Master]) -> Outcome {
    for master in masters {
        let header = TopicOf { topic: topic.to_owned() };
        let answer = cluster.ask(master, command(request::QUERY_TOPIC_CONSUME_BY_WHO, &header)).await?;
        if document::<Groups>(&answer)?.group_list.iter().any(|group| run.is_namesake(group)) {
            let message = format!(
                "a run {} of {topic} began with other flags; give them as they were then, or another --name",
                run.name
            );
            return Err(Failure::new(Exit::Usage, message));
        }
    }
    Ok(())
}

/// Writes where a run begins and ends; it is on the brokers' disks then.
pub(super) async fn begin(cluster: &mut Cluster, run: &Run, topic: &str, queues: &[(Queue, Span)]) -> Outcome {
    for entry in [Entry::Next, Entry::End, Entry::Begin] {
        for ((master, queue_id), (begin, end)) in queues {
            let offset = if entry == Entry::End { *end } else { *begin };
            let client = cluster.broker(master).await?;
            let line = Line { client: &client, master, patience: cluster.patience() };
            line.put(&run.group(entry), (topic, *queue_id), offset).await?;
        }
    }
    let queues: Vec<Queue> = queues.iter().map(|(queue, _)| queue.clone()).collect();
    settle(cluster, run, &queues).await
}

/// Has brokers write what was told them to their disks.
pub(super) async fn settle(cluster: &mut Cluster, run: &Run, queues: &[Queue]) -> Outcome {
    for master in masters_of(queues.iter().map(|(master, _)| master)) {
        forget(cluster, master, run.group(Entry::Begin), false).await?;
    }
    Ok(())
}

/// Forgets a run.
pub(super) async fn erase(
    cluster: &mut Cluster,
    run: &Run,
    queues: &[Queue],
    arrivals: &[(Master, String)],
) -> Outcome {
    // What says that it has begun goes first, everywhere: half a run is none.
    for entry in Entry::ALL {
        for master in masters_of(queues.iter().map(|(master, _)| master)) {
            forget(cluster, master, run.group(entry), true).await?;
        }
    }
    for (master, group) in arrivals {
        forget(cluster, master, group.clone(), true).await?;
    }
    Ok(())
}

fn masters_of<'a>(queues: impl Iterator<Item = &'a Master>) -> Vec<&'a Master> {
    let mut masters: Vec<&Master> = Vec::new();
    for master in queues {
        if !masters.contains(&master) {
            masters.push(master);
        }
    }
    masters
}

/// Deletes a group that was never there, with its offsets or without. Brokers answer when all offsets are on disk.
async fn forget(cluster: &mut Cluster, master: &Master, group: String, offsets: bool) -> Outcome {
    let header = DeleteGroup { group, clean_offset: Some(offsets) };
    cluster.ask(master, command(request::DELETE_SUBSCRIPTIONGROUP, &header)).await.map(|_| ())
}

/// A connection over which entries are written.
pub(super) struct Line<'a> {
    pub(super) client: &'a Client,
    pub(super) master: &'a Master,
    pub(super) patience: std::time::Duration,
}

impl Line<'_> {
    /// Stores an offset in a group's name.
    pub(super) async fn put(&self, group: &str, (topic, queue_id): (&str, i32), offset: i64) -> Outcome {
        let header =
            UpdateConsumerOffset { group: group.to_owned(), topic: topic.to_owned(), queue_id, commit_offset: offset };
        let who = format!("the progress of the run at broker {}", self.master.name);
        let answer = self.client.call(command(request::UPDATE_CONSUMER_OFFSET, &header), self.patience).await;
        success(answer.or_fail_with(Exit::Unreachable, &who)?, &who).map(|_| ())
    }
}
