//! Heartbeats: clients show themselves, their groups and their subscriptions.

use std::sync::Arc;

use strata_protocol::body::{CheckClient, ConsumerIds, GroupConfig, Heartbeat};
use strata_protocol::command::Command;
use strata_protocol::name;
use strata_protocol::reply::Reply;
use strata_protocol::request::{ConsumerGroupOf, UnregisterClient};
use strata_remoting::Connection;
use tracing::warn;

use super::{body, document, header};
use crate::clients::{Member, Subscription};
use crate::filters::Wanted;
use crate::hall::Hall;
use crate::limits::{HEARTBEAT_BYTES_MAX, HEARTBEAT_ENTRIES_MAX};
use crate::refusal::Refusal;

/// Answers 34.
pub(super) fn heartbeat(hall: &Arc<Hall>, command: &Command, connection: &Arc<Connection>) -> Result<Reply, Refusal> {
    if command.body.len() > HEARTBEAT_BYTES_MAX {
        return Err(Refusal::TooMany { what: "bytes in a heartbeat", limit: HEARTBEAT_BYTES_MAX });
    }
    let beat: Heartbeat = body(command)?;
    let subscriptions: usize = beat.consumer_data_set.iter().map(|data| 1 + data.subscription_data_set.len()).sum();
    if subscriptions + beat.producer_data_set.len() > HEARTBEAT_ENTRIES_MAX {
        return Err(Refusal::TooMany { what: "groups and subscriptions in a heartbeat", limit: HEARTBEAT_ENTRIES_MAX });
    }
    let member = Member {
        client_id: Arc::from(beat.client_id),
        connection: Arc::clone(connection),
        language: command.language,
        version: command.version,
        seen_ms: hall.elapsed_ms(),
    };
    for data in beat.producer_data_set {
        // RocketMQ checks a producer group's name in the client alone; what no client sends is passed over.
        if name::check_group(&data.group_name).is_ok() {
            hall.clients.produce(member.clone(), data.group_name);
        }
    }
    for data in beat.consumer_data_set {
        // As in RocketMQ, a group that may not be created is passed over; its pulls are refused by name. One
        // group must not keep the client's others from being known.
        let Ok(group) = hall.group(&data.group_name, connection) else { continue };
        if let Err(refusal) = hall.retry_topic(&group) {
            warn!(group = data.group_name, %refusal, "a consumer group has no retry topic and is not served");
            continue;
        }
        let mut data = data;
        let subscriptions = std::mem::take(&mut data.subscription_data_set);
        let tell = |new: &Subscription| tell_trouble(hall, &group, new);
        let subscriptions = hall.clients.compile(&group, subscriptions, &tell);
        let notices = hall.clients.consume(member.clone(), data, subscriptions);
        hall.notify_changed(notices);
    }
    Ok(Reply::success())
}

/// A new subscription that does not compile, or of which not all is read, is told: its consumer may never look.
fn tell_trouble(hall: &Hall, group: &GroupConfig, new: &Subscription) {
    let of = (group.group_name.as_str(), new.data.topic.as_str());
    match &new.filter {
        Err(error) => hall.figures.trouble.refused(of, error),
        Ok(filter) => hall.figures.trouble.compiled(of, filter),
    }
}

/// Answers 35.
pub(super) fn unregister(hall: &Arc<Hall>, command: &Command, connection: &Arc<Connection>) -> Result<Reply, Refusal> {
    let request: UnregisterClient = header(command)?;
    let (producer, consumer) = (request.producer_group.as_deref(), request.consumer_group.as_deref());
    let notices = hall.clients.leave(connection.id(), producer, consumer);
    hall.notify_changed(notices);
    Ok(Reply::success())
}

/// Answers 46: does the expression compile?
pub(super) fn check(hall: &Hall, command: &Command) -> Result<Reply, Refusal> {
    let CheckClient { group, subscription_data: data, .. } = body(command)?;
    name::check_group(&group)?;
    // The group comes into being with its first heartbeat, which follows.
    let known = hall.tables.groups.find(&group).unwrap_or_else(|| Arc::new(GroupConfig::new(group)));
    let of = (known.group_name.as_str(), data.topic.as_str());
    let compiled = hall.clients.filters.compile(&known, Wanted::from(&data));
    compiled.inspect_err(|error| hall.figures.trouble.refused(of, error))?;
    Ok(Reply::success())
}

/// Answers 38.
pub(super) fn consumer_ids(hall: &Arc<Hall>, command: &Command) -> Result<Reply, Refusal> {
    let request: ConsumerGroupOf = header(command)?;
    let ids = hall.clients.ids(&request.group);
    let consumer_id_list = ids.ok_or_else(|| Refusal::NoConsumers { group: request.group.clone() })?;
    document(&ConsumerIds { consumer_id_list })
}
