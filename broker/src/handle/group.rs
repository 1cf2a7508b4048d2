//! Groups: create, change, delete, list; who is connected and what they subscribe.

use std::collections::BTreeSet;
use std::sync::Arc;

use strata_protocol::body::{GroupConfig, GroupConfigs, GroupSubscription, ProducerConnections, TopicList};
use strata_protocol::command::Command;
use strata_protocol::name;
use strata_protocol::reply::Reply;
use strata_protocol::request::{ConsumerGroupOf, DeleteGroup, GroupOf, ProducerGroupOf, TopicAndGroup};
use strata_remoting::{Answer, Connection};
use tracing::info;

use super::{body, document, header, later, off_runtime};
use crate::attributes;
use crate::hall::Hall;
use crate::refusal::Refusal;

/// Answers 200.
pub(super) fn create(hall: &Arc<Hall>, command: &Command, connection: &Arc<Connection>) -> Result<Answer, Refusal> {
    let config = body(command)?;
    let began = hall.clock.monotonic();
    let timed = move |hall: &Hall, made| hall.figures.group_changes.observe(made, hall.since(began));
    put(hall, vec![config]).inspect_err(|_| timed(hall, false))?;
    let saving = Arc::clone(hall);
    Ok(later(hall, command, connection, async move {
        let saved = once_saved(&saving, Reply::success()).await;
        timed(&saving, saved.is_ok());
        saved
    }))
}

/// Answers 225.
pub(super) fn create_list(
    hall: &Arc<Hall>,
    command: &Command,
    connection: &Arc<Connection>,
) -> Result<Answer, Refusal> {
    let request: GroupConfigs = body(command)?;
    put(hall, request.group_config_list)?;
    Ok(saved(hall, command, connection, Reply::success()))
}

fn put(hall: &Hall, groups: Vec<GroupConfig>) -> Result<(), Refusal> {
    let mut checked = Vec::new();
    for mut group in groups {
        name::check_group(&group.group_name)?;
        let known = hall.tables.groups.find(&group.group_name);
        let known = known.map(|known| known.attributes.clone()).unwrap_or_default();
        group.attributes = attributes::of_group(&known, &group.attributes)?;
        checked.push(group);
    }
    for group in checked {
        info!(group = group.group_name, "group created or changed");
        let group = hall.tables.groups.put(group, hall.now_ms())?;
        hall.clients.compile_again(&group);
    }
    Ok(())
}

/// Answers when groups and offsets are on disk: an operator's change is kept once it is confirmed.
pub(super) fn saved(hall: &Arc<Hall>, command: &Command, connection: &Arc<Connection>, reply: Reply) -> Answer {
    let asking = Arc::clone(hall);
    later(hall, command, connection, async move { once_saved(&asking, reply).await })
}

/// Gives the answer when groups and offsets are on disk.
pub(super) async fn once_saved(hall: &Arc<Hall>, reply: Reply) -> Result<Reply, Refusal> {
    let saving = Arc::clone(hall);
    let save = move || {
        saving.tables.groups.save()?;
        saving.tables.offsets.save()?;
        Ok(reply)
    };
    off_runtime(hall, save).await
}

/// Answers 201 with the whole table; see the note at the topics' answer.
pub(super) fn all(hall: &Arc<Hall>) -> Result<Reply, Refusal> {
    document(&hall.tables.groups.snapshot())
}

/// Answers 352.
pub(super) fn one(hall: &Arc<Hall>, command: &Command) -> Result<Reply, Refusal> {
    let request: GroupOf = header(command)?;
    let group = hall.tables.groups.find(&request.group).ok_or(Refusal::NoGroup { group: request.group })?;
    document(&*group)
}

/// Answers 207.
pub(super) fn delete(hall: &Arc<Hall>, command: &Command, connection: &Arc<Connection>) -> Result<Answer, Refusal> {
    let request: DeleteGroup = header(command)?;
    hall.tables.groups.remove(&request.group, hall.now_ms());
    if request.clean_offset == Some(true) {
        hall.tables.offsets.forget_group(&request.group);
    }
    hall.figures.forget_group(&request.group);
    // Its clients may be here still, and are served as those of a new group.
    hall.clients.compile_again(&GroupConfig::new(&request.group));
    hall.locks.forget(&request.group);
    info!(group = request.group, "group deleted");
    Ok(saved(hall, command, connection, Reply::success()))
}

/// Answers 353: asks or changes whether a group may read a topic.
pub(super) fn forbidden(hall: &Arc<Hall>, command: &Command, connection: &Arc<Connection>) -> Result<Answer, Refusal> {
    let TopicAndGroup { topic, group, readable } = header(command)?;
    let topic = topic.unwrap_or_default();
    if let Some(readable) = readable {
        // Only of what exists, so that the table is bounded as they are.
        hall.topic(&topic)?;
        hall.tables.groups.find(&group).ok_or_else(|| Refusal::NoGroup { group: group.clone() })?;
        hall.tables.groups.allow_read(&group, &topic, readable, hall.now_ms());
    }
    let is_readable = hall.tables.groups.may_read(&group, &topic);
    let reply = document(&serde_json::json!({ "topic": topic, "group": group, "readable": is_readable }))?;
    Ok(if readable.is_some() { saved(hall, command, connection, reply) } else { Answer::Now(reply) })
}

/// Answers 343.
pub(super) fn topics(hall: &Arc<Hall>, command: &Command) -> Result<Reply, Refusal> {
    let request: GroupOf = header(command)?;
    let mut topics: BTreeSet<String> = hall.clients.topics_of(&request.group).into_iter().collect();
    topics.extend(hall.tables.offsets.topics_of(&request.group));
    document(&TopicList { topic_list: topics.into_iter().collect(), broker_addr: None })
}

/// Answers 345.
pub(super) fn subscription(hall: &Arc<Hall>, command: &Command) -> Result<Reply, Refusal> {
    let TopicAndGroup { topic, group, .. } = header(command)?;
    let topic = topic.unwrap_or_default();
    let view = hall.clients.view(&group, &topic);
    let subscription_data = view.and_then(|view| view.subscription).map(|known| known.data.clone());
    document(&GroupSubscription { subscription_data, group, topic })
}

/// Answers 203.
pub(super) fn connections(hall: &Arc<Hall>, command: &Command) -> Result<Reply, Refusal> {
    let request: ConsumerGroupOf = header(command)?;
    document(&hall.clients.describe(&request.group).ok_or(Refusal::NotOnline { group: request.group })?)
}

/// Answers 204.
pub(super) fn producers(hall: &Arc<Hall>, command: &Command) -> Result<Reply, Refusal> {
    let request: ProducerGroupOf = header(command)?;
    let connection_set =
        hall.clients.producers_of(&request.group).ok_or(Refusal::NoProducers { group: request.group })?;
    document(&ProducerConnections { connection_set })
}

/// Answers 328.
pub(super) fn all_producers(hall: &Arc<Hall>) -> Result<Reply, Refusal> {
    let producers = hall.clients.producers(hall.now_ms() - hall.elapsed_ms());
    document(&serde_json::json!({ "data": producers }))
}
