//! Where messages go: the queues of the topic, or of the group's retry topic, and which of them the messages of a queue
//! take.

use strata_protocol::body::{QueueData, TopicConfig, perm};
use strata_protocol::name::{self, AUTO_CREATE_TOPIC};
use tokio::time::{Instant, sleep};

use super::recipients;
use crate::cluster::{Cluster, Master, masters_of};
use crate::exit::{Exit, Failure, Outcome};
use crate::limits::CREATED_INTERVAL;
use crate::topic;

/// The topic that messages go to, and its queues.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) topic: String,
    /// Brokers, and how many queues each has to write to.
    brokers: Vec<(Master, i32)>,
    /// It is not there yet.
    pub(super) is_missing: bool,
}

impl Target {
    /// A topic for everybody. A missing one will have the queues that the source has, where brokers create topics at
    /// all.
    pub(super) async fn of_topic(cluster: &Cluster, topic: &str, source: &[(Master, QueueData)]) -> Outcome<Self> {
        let Some(route) = cluster.try_route(topic).await? else {
            if cluster.try_route(AUTO_CREATE_TOPIC).await?.is_none() {
                let message = format!(
                    "there is no topic {topic}, and the brokers do not create it; create it with: strata topic create {topic}"
                );
                return Err(Failure::new(Exit::NotFound, message));
            }
            let brokers = source.iter().map(|(master, queues)| (master.clone(), queues.read_queue_nums)).collect();
            return Ok(Self { topic: topic.to_owned(), brokers, is_missing: true });
        };
        let writable =
            |(_, queues): &(Master, QueueData)| queues.perm & perm::WRITE != 0 && queues.write_queue_nums > 0;
        let brokers = masters_of(route).into_iter().filter(writable);
        let brokers: Vec<_> = brokers.map(|(master, queues)| (master, queues.write_queue_nums)).collect();
        if brokers.is_empty() {
            let message = format!("no queue of {topic} may be written: it is read only, or its brokers have no master");
            return Err(Failure::new(Exit::Refused, message));
        }
        Ok(Self { topic: topic.to_owned(), brokers, is_missing: false })
    }

    /// A group's retry topic on the brokers that have the messages: consumers give them back to the same broker.
    pub(super) async fn of_group(
        cluster: &mut Cluster,
        (group, of): (&str, &str),
        source: &[(Master, QueueData)],
    ) -> Outcome<Self> {
        let topic = name::retry_topic(group);
        let mut brokers = Vec::with_capacity(source.len());
        for (master, _) in source {
            let wished = recipients::check(cluster, master, (group, of)).await?;
            let known = topic::config(cluster, master, &topic).await?;
            let queues = known.map_or(wished, |known| known.write_queue_nums);
            brokers.push((master.clone(), queues.max(1)));
        }
        Ok(Self { topic, brokers, is_missing: false })
    }

    /// Creates a topic that is not there, and waits until it can be found.
    pub(super) async fn create(&self, cluster: &mut Cluster) -> Outcome {
        if !self.is_missing {
            return Ok(());
        }
        for (master, queues) in &self.brokers {
            topic::put(cluster, master, &TopicConfig::new(&self.topic, *queues), &[]).await?;
        }
        let deadline = Instant::now() + cluster.patience();
        while cluster.try_route(&self.topic).await?.is_none() {
            if Instant::now() > deadline {
                tracing::warn!(topic = self.topic, "the name server does not know the new topic yet");
                return Ok(());
            }
            sleep(CREATED_INTERVAL).await;
        }
        Ok(())
    }

    /// The queue that the messages of a source's queue go to, all of them: on the same broker where it can be.
    pub(super) fn place(&self, (broker, queue_id): (&str, i32)) -> Option<(&Master, i32)> {
        if let Some((master, queues)) = self.brokers.iter().find(|(master, _)| master.name == broker) {
            return Some((master, queue_id.checked_rem(*queues)?));
        }
        let all = self.brokers.iter().flat_map(|(master, queues)| (0..*queues).map(move |queue_id| (master, queue_id)));
        let count = all.clone().count();
        all.cycle().nth(usize::try_from(queue_id).ok()?.checked_rem(count)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(brokers: &[(&str, i32)]) -> Target {
        let master = |name: &str| Master { name: name.into(), cluster: "c".into(), address: format!("{name}:1") };
        let brokers = brokers.iter().map(|(name, queues)| (master(name), *queues)).collect();
        Target { topic: "again".into(), brokers, is_missing: false }
    }

    fn place(target: &Target, queue: (&str, i32)) -> Option<(String, i32)> {
        target.place(queue).map(|(master, queue_id)| (master.name.clone(), queue_id))
    }

    #[test]
    fn a_queue_goes_to_one_queue_of_its_broker_or_of_another() {
        let target = target(&[("a", 3), ("b", 2)]);
        assert_eq!(place(&target, ("a", 7)), Some(("a".into(), 1)));
        assert_eq!(place(&target, ("b", 7)), Some(("b".into(), 1)));
        let elsewhere: Vec<_> =
            (0..6).filter_map(|id| place(&target, ("c", id))).map(|(name, id)| format!("{name}{id}")).collect();
        assert_eq!(elsewhere, ["a0", "a1", "a2", "b0", "b1", "a0"]);
        assert_eq!(place(&self::target(&[]), ("a", 0)), None);
    }
}
