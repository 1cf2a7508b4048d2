//! Questions that tools ask of a consumer through the broker.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use strata_protocol::code::{ResponseCode, request};
use strata_protocol::command::Command;
use strata_protocol::message_id::OffsetMessageId;
use strata_protocol::reply::Reply;
use strata_protocol::request::{ConsumeDirectly, ConsumerRunningInfo, ConsumerStatus, Header};
use strata_remoting::{Answer, Connection};
use tokio::task::JoinSet;

use super::{header, later};
use crate::clients::Member;
use crate::hall::Hall;
use crate::limits::RELAY_MS_MAX;
use crate::refusal::Refusal;

/// Answers 307 with what the client answers.
pub(super) fn running_info(
    hall: &Arc<Hall>,
    command: &Command,
    connection: &Arc<Connection>,
) -> Result<Answer, Refusal> {
    let question: ConsumerRunningInfo = header(command)?;
    let member = member(hall, &question.group, Some(&question.client_id))?;
    let mut relayed = Command::request(request::GET_CONSUMER_RUNNING_INFO);
    question.encode(&mut relayed.fields);
    Ok(later(hall, command, connection, ask(member, question.group, relayed)))
}

/// Answers 309: the client consumes a stored message now and tells how it went.
pub(super) fn consume_directly(
    hall: &Arc<Hall>,
    command: &Command,
    connection: &Arc<Connection>,
) -> Result<Answer, Refusal> {
    let mut question: ConsumeDirectly = header(command)?;
    let member = member(hall, &question.group, question.client_id.as_deref())?;
    let id = question.message_id.as_deref().unwrap_or_default();
    let position =
        OffsetMessageId::decode(id).map_err(|error| Refusal::Body { reason: error.to_string() })?.physical_offset;
    let mut relayed = Command::request(request::CONSUME_MESSAGE_DIRECTLY);
    question.broker_name = Some(hall.options.identity.name.clone());
    question.encode(&mut relayed.fields);
    relayed.fields.push("topicSysFlag", "0");
    relayed.fields.push("groupSysFlag", "0");
    let looking = Arc::clone(hall);
    Ok(later(hall, command, connection, async move {
        let found = looking.record_at(position).await?;
        relayed.body = found.ok_or(Refusal::NoMessage { offset: position })?;
        ask(member, question.group, relayed).await
    }))
}

/// Answers 223: every online client's own offsets of a topic.
pub(super) fn consumer_status(
    hall: &Arc<Hall>,
    command: &Command,
    connection: &Arc<Connection>,
) -> Result<Answer, Refusal> {
    let question: ConsumerStatus = header(command)?;
    let mut members = hall.clients.members(&question.group);
    if let Some(address) = question.client_address.as_deref().filter(|address| !address.is_empty()) {
        members
            .retain(|member| member.client_id.as_ref() == address || member.connection.peer().to_string() == address);
    }
    if members.is_empty() {
        return Err(Refusal::NotOnline { group: question.group });
    }
    Ok(later(hall, command, connection, async move {
        let mut asked = JoinSet::new();
        for member in members {
            let client_id = member.client_id.to_string();
            let mut relayed = Command::request(request::GET_CONSUMER_STATUS_FROM_CLIENT);
            question.encode(&mut relayed.fields);
            let answer = ask(member, question.group.clone(), relayed);
            asked.spawn(async move { (client_id, answer.await) });
        }
        let mut table = BTreeMap::new();
        while let Some(Ok((client_id, reply))) = asked.join_next().await {
            // As in RocketMQ, a client that does not answer is left out.
            let Ok(reply) = reply else { continue };
            let body: Vec<u8> = reply.body.iter().flat_map(|part| part.iter().copied()).collect();
            let text = String::from_utf8_lossy(&body);
            // The client's map has objects as names; its text is passed on as it is.
            let inner = text.trim().strip_prefix("{\"messageQueueTable\":").and_then(|rest| rest.strip_suffix('}'));
            table.insert(client_id, inner.unwrap_or("{}").to_owned());
        }
        let entries = table.iter().map(|(id, offsets)| format!("{}:{offsets}", serde_json::Value::from(id.as_str())));
        Ok(Reply::with_body(format!("{{\"consumerTable\":{{{}}}}}", entries.collect::<Vec<_>>().join(","))))
    }))
}

fn member(hall: &Hall, group: &str, client_id: Option<&str>) -> Result<Member, Refusal> {
    let mut members = hall.clients.members(group).into_iter();
    let found = match client_id.filter(|id| !id.is_empty()) {
        Some(id) => members.find(|member| member.client_id.as_ref() == id),
        None => members.next(),
    };
    let client = client_id.unwrap_or_default().to_owned();
    found.ok_or_else(|| Refusal::ClientNotOnline { group: group.to_owned(), client })
}

/// Asks one client and passes its answer on.
async fn ask(member: Member, group: String, question: Command) -> Result<Reply, Refusal> {
    let answer = member.connection.call(question, Duration::from_millis(RELAY_MS_MAX)).await;
    let client = member.client_id.to_string();
    let answer = answer.map_err(|error| Refusal::ClientSilent { group, client, reason: error.to_string() })?;
    let mut reply = Reply::new(ResponseCode::of(answer.code).unwrap_or(ResponseCode::SystemError));
    reply.remark = answer.remark.map(Into::into);
    reply.body.push(answer.body);
    Ok(reply)
}
