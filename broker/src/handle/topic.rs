//! Topics: create, change, delete, list, statistics.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use strata_protocol::body::{MessageQueue, TopicConfig, TopicConfigs, TopicList, TopicOffset, object_map};
use strata_protocol::command::Command;
use strata_protocol::name;
use strata_protocol::reply::Reply;
use strata_protocol::request::{CreateTopic, TopicOf};
use strata_remoting::{Answer, Connection};
use tracing::info;

use super::{body, document, header, later, off_runtime};
use crate::attributes;
use crate::hall::{Hall, system_topics};
use crate::refusal::Refusal;
use crate::topics::Topic;

/// Answers 17. The answer comes when the topic is on disk and the name servers were told.
pub(super) fn create(hall: &Arc<Hall>, command: &Command, connection: &Arc<Connection>) -> Result<Answer, Refusal> {
    let request: CreateTopic = header(command)?;
    let (began, is_system) = (hall.clock.monotonic(), name::is_system_topic(&request.topic));
    let timed = move |hall: &Hall, made| {
        let [own, system] = &hall.figures.topic_changes;
        (if is_system { system } else { own }).observe(made, hall.since(began));
    };
    let changed = change(hall, request).inspect_err(|_| timed(hall, false))?;
    let settling = Arc::clone(hall);
    Ok(later(hall, command, connection, async move {
        let settled = settle(Arc::clone(&settling), changed).await;
        timed(&settling, settled.is_ok());
        settled
    }))
}

/// Takes a topic's settings into the table; gives its name.
fn change(hall: &Hall, request: CreateTopic) -> Result<Vec<String>, Refusal> {
    let known = hall.tables.topics.find(&request.topic);
    let mut attributes = known.map(|topic| topic.config.attributes.clone()).unwrap_or_default();
    let changes = request.attributes.as_deref().unwrap_or_default().split(',').map(str::trim);
    for change in changes.filter(|change| !change.is_empty()) {
        attributes::change(&mut attributes, change)?;
    }
    let config = TopicConfig {
        topic_name: request.topic,
        read_queue_nums: request.read_queues,
        write_queue_nums: request.write_queues,
        perm: request.perm,
        topic_filter_type: request.filter_type.unwrap_or_else(|| String::from("SINGLE_TAG")),
        topic_sys_flag: request.sys_flag.unwrap_or(0),
        order: request.order.unwrap_or(false),
        attributes,
    };
    put(hall, vec![config])
}

/// Answers 18.
pub(super) fn create_list(
    hall: &Arc<Hall>,
    command: &Command,
    connection: &Arc<Connection>,
) -> Result<Answer, Refusal> {
    let mut request: TopicConfigs = body(command)?;
    for config in &mut request.topic_config_list {
        // The settings come whole, their attributes as changes.
        let known = hall.tables.topics.find(&config.topic_name);
        let mut attributes = known.map(|topic| topic.config.attributes.clone()).unwrap_or_default();
        for (key, value) in std::mem::take(&mut config.attributes) {
            let change = if key.starts_with('+') { format!("{key}={value}") } else { key };
            attributes::change(&mut attributes, &change)?;
        }
        config.attributes = attributes;
    }
    let changed = put(hall, request.topic_config_list)?;
    Ok(later(hall, command, connection, settle(Arc::clone(hall), changed)))
}

/// Takes settings into the table; gives the topics' names.
fn put(hall: &Hall, configs: Vec<TopicConfig>) -> Result<Vec<String>, Refusal> {
    for config in &configs {
        name::check_topic(&config.topic_name)?;
        if name::is_system_topic(&config.topic_name) {
            return Err(Refusal::SystemTopic { topic: config.topic_name.clone() });
        }
    }
    let mut names = Vec::with_capacity(configs.len());
    for config in configs {
        info!(
            topic = config.topic_name,
            queues = config.write_queue_nums,
            perm = config.perm,
            "topic created or changed"
        );
        names.push(config.topic_name.clone());
        hall.tables.topics.put(config, hall.now_ms())?;
    }
    Ok(names)
}

/// Time that a change waits for the name servers to know it.
const TOLD_WITHIN: Duration = Duration::from_secs(4);

/// Waits until changed topics are on disk and the name servers know them.
async fn settle(hall: Arc<Hall>, changed: Vec<String>) -> Result<Reply, Refusal> {
    let saving = Arc::clone(&hall);
    off_runtime(&hall, move || Ok(saving.tables.topics.save()?)).await?;
    let mut number = 0;
    for topic in changed {
        number = hall.registration.topic_changed(&topic);
    }
    hall.registration.done(number, TOLD_WITHIN).await;
    Ok(Reply::success())
}

/// Answers 215: the topic, its messages and the groups' offsets in it are gone. Retry topics belong to
/// groups and stay.
pub(super) fn delete(hall: &Arc<Hall>, command: &Command, connection: &Arc<Connection>) -> Result<Answer, Refusal> {
    let request: TopicOf = header(command)?;
    name::check_topic(&request.topic)?;
    if name::is_system_topic(&request.topic) {
        return Err(Refusal::SystemTopic { topic: request.topic });
    }
    hall.tables.topics.remove(&request.topic, hall.now_ms());
    hall.tables.offsets.forget_topic(&request.topic);
    hall.figures.forget_topic(&request.topic);
    info!(topic = request.topic, "topic deleted");
    let (forgetting, settling) = (Arc::clone(hall), Arc::clone(hall));
    Ok(later(hall, command, connection, async move {
        off_runtime(&settling, move || {
            let forgotten = forgetting.store.forget_topic(&request.topic);
            forgotten.map_err(|error| Refusal::NotForgotten { reason: error.to_string() })?;
            forgetting.tables.offsets.save()?;
            Ok(forgetting.tables.topics.save()?)
        })
        .await?;
        let number = settling.registration.table_changed();
        settling.registration.done(number, TOLD_WITHIN).await;
        Ok(Reply::success())
    }))
}

/// Answers 21 with the whole table; an answer without `totalTopicNum` means that nothing is left out.
pub(super) fn all(hall: &Arc<Hall>) -> Result<Reply, Refusal> {
    document(&hall.tables.topics.snapshot())
}

/// Answers 351.
pub(super) fn one(hall: &Arc<Hall>, command: &Command) -> Result<Reply, Refusal> {
    let request: TopicOf = header(command)?;
    document(&hall.topic(&request.topic)?.config)
}

/// Answers 202.
pub(super) fn stats(hall: &Arc<Hall>, command: &Command, connection: &Arc<Connection>) -> Result<Answer, Refusal> {
    let request: TopicOf = header(command)?;
    let topic = hall.topic(&request.topic)?;
    let owner = Arc::clone(hall);
    Ok(later(hall, command, connection, async move {
        let rate = topic.incoming.window(owner.elapsed_ms(), 60).rate();
        let table = object_map(queue_offsets(&owner, &topic).await);
        Ok(Reply::with_body(format!("{{\"topicPutTps\":{rate:?},\"offsetTable\":{table}}}")))
    }))
}

async fn queue_offsets(hall: &Hall, topic: &Topic) -> Vec<(MessageQueue, TopicOffset)> {
    let name = &topic.config.topic_name;
    let mut all = Vec::new();
    for queue_id in 0..topic.queues() {
        let range = hall.range(name, queue_id);
        let (min_offset, max_offset) = range.map_or((0, 0), |range| (range.min, range.max));
        let mut last = None;
        if max_offset > min_offset {
            // The offsets are worth an answer also while the cold tier cannot tell a time.
            last = hall.store_time(name, queue_id, max_offset - 1).await.ok().flatten();
        }
        let queue = MessageQueue { topic: name.clone(), broker_name: hall.options.identity.name.clone(), queue_id };
        all.push((queue, TopicOffset { min_offset, max_offset, last_update_timestamp: last.unwrap_or(0) }));
    }
    all
}

/// Answers 305.
pub(super) fn system(hall: &Arc<Hall>) -> Result<Reply, Refusal> {
    let own: BTreeSet<_> = system_topics(&hall.options).into_iter().map(|topic| topic.topic_name).collect();
    let names = hall.tables.topics.all().into_keys();
    let topic_list = names.filter(|topic| name::is_system_topic(topic) || own.contains(topic)).collect();
    document(&TopicList { topic_list, broker_addr: Some(hall.address().to_string()) })
}

/// Answers 300: groups that read the topic now or did before.
pub(super) fn consumers(hall: &Arc<Hall>, command: &Command) -> Result<Reply, Refusal> {
    let request: TopicOf = header(command)?;
    let mut groups: BTreeSet<String> = hall.clients.groups_of(&request.topic).into_iter().collect();
    groups.extend(hall.tables.offsets.groups_of(&request.topic));
    document(&serde_json::json!({ "groupList": groups }))
}
