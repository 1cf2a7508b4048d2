//! Whether a group's consumers would get what is sent to its retry topic.
//!
//! Push consumers that share their queues subscribe to it by themselves and tell so; others never read it. A broker
//! puts what comes back to an orderly group among its dead letters, so that nothing may be sent to one.

use strata_protocol::body::ConsumerConnections;
use strata_protocol::code::request;
use strata_protocol::json;
use strata_protocol::name;
use strata_protocol::request::ConsumerRunningInfo;

use super::outgoing::holds_others;
use crate::cluster::{Cluster, Master, command};
use crate::exit::{Exit, Failure, Outcome};
use crate::group;

/// What a consumer says of itself when it consumes in order.
const ORDERLY: &str = "PROP_CONSUMEORDERLY";

/// Fails when the group on a broker would not get messages of a topic; gives how many retry queues it is to have.
pub(super) async fn check(cluster: &mut Cluster, master: &Master, (group, topic): (&str, &str)) -> Outcome<i32> {
    let config = group::config(cluster, master, group).await?.ok_or_else(|| group::missing(group))?;
    let broker = &master.name;
    if !config.consume_enable || config.retry_queue_nums <= 0 {
        return Err(refused(group, &format!("may not consume, or has no retry queues, on {broker}")));
    }
    if config.consume_message_orderly {
        return Err(orderly(group));
    }
    let Some(connected) = group::connections(cluster, master, group).await? else {
        tracing::warn!("nobody of group {group} is connected to {broker}: the messages wait in its retry topic");
        return Ok(config.retry_queue_nums);
    };
    if let Some(why) = deaf(&connected, (group, topic)) {
        return Err(refused(group, &why));
    }
    if let Some(tags) = connected.subscription_table.get(topic)
        && is_by_tags(tags.expression_type.as_deref())
        && tags.sub_string.trim() != "*"
    {
        let text = &tags.sub_string;
        tracing::warn!(
            "group {group} reads {topic} by the tags {text:?}, which do not hold for messages that come again"
        );
    }
    for member in &connected.connection_set {
        if is_orderly(cluster, master, (group, &member.client_id)).await {
            return Err(orderly(group));
        }
    }
    Ok(config.retry_queue_nums)
}

fn is_by_tags(kind: Option<&str>) -> bool {
    kind.is_none_or(|kind| kind == strata_filter::TAG)
}

fn refused(group: &str, why: &str) -> Failure {
    Failure::new(Exit::Refused, format!("group {group} {why}; replay to a topic of its own with --to-topic instead"))
}

fn orderly(group: &str) -> Failure {
    refused(group, "consumes in order, and messages that come again would be out of it")
}

/// Why connected consumers do not read what comes again.
fn deaf(connected: &ConsumerConnections, (group, topic): (&str, &str)) -> Option<String> {
    if connected.message_model == "BROADCASTING" {
        return Some(String::from("broadcasts: its consumers do not read messages that come again"));
    }
    let reads = |topic: &str| connected.subscription_table.contains_key(topic);
    if !reads(&name::retry_topic(group)) {
        return Some(String::from("does not subscribe to its retry topic, as pull consumers do not"));
    }
    // Messages of retry topics and dead letters remember topics of their own, which only they know.
    (!holds_others(topic) && !reads(topic)).then(|| format!("does not subscribe to {topic}"))
}

/// Whether a consumer says that it consumes in order. One that does not answer is taken for what it was checked for.
async fn is_orderly(cluster: &mut Cluster, master: &Master, (group, client_id): (&str, &str)) -> bool {
    let header = ConsumerRunningInfo { group: group.to_owned(), client_id: client_id.to_owned(), jstack: Some(false) };
    let answer = match cluster.ask(master, command(request::GET_CONSUMER_RUNNING_INFO, &header)).await {
        Ok(answer) => answer,
        Err(failure) => {
            tracing::warn!("consumer {client_id} does not tell whether it consumes in order: {failure}");
            return false;
        }
    };
    let document = json::parse_unbounded(&answer.body).unwrap_or_default();
    document.pointer(&format!("/properties/{ORDERLY}")).and_then(|told| told.as_str()) == Some("true")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connected(model: &str, topics: &[&str]) -> ConsumerConnections {
        let subscription_table = topics.iter().map(|topic| ((*topic).to_owned(), Default::default())).collect();
        ConsumerConnections { message_model: model.into(), subscription_table, ..ConsumerConnections::default() }
    }

    #[test]
    fn who_does_not_read_its_retry_topic_is_told_apart() {
        let why = |model, topics: &[&str], topic| deaf(&connected(model, topics), ("g", topic)).unwrap_or_default();
        assert_eq!(why("CLUSTERING", &["orders", "%RETRY%g"], "orders"), "");
        assert!(why("BROADCASTING", &["orders"], "orders").contains("broadcasts"));
        assert!(why("CLUSTERING", &["orders"], "orders").contains("retry topic"));
        assert!(why("CLUSTERING", &["%RETRY%g"], "orders").contains("orders"));
        assert_eq!(why("CLUSTERING", &["%RETRY%g"], "%DLQ%g"), "");
    }
}
