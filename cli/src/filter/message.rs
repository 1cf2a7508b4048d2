//! The properties of a message that a broker stored, found by one of its ids.
//!
//! Owns the two ways of asking: by position, which the offset message id names, and by unique key within a topic.

use strata_protocol::code::{ResponseCode, request};
use strata_protocol::command::Command;
use strata_protocol::message_id::OffsetMessageId;
use strata_protocol::record::{RecordView, records};
use strata_protocol::request::{QueryMessage, ViewMessage};

use crate::args::ClusterArgs;
use crate::cluster::{Cluster, Master, command, masters_of, success};
use crate::exit::{Exit, Failure, OrFail, Outcome};

/// Messages of one unique key that are asked for: the original and its retries.
const MESSAGES: i32 = 32;

/// A message as far as filters look at it.
#[derive(Debug)]
pub(super) struct Found {
    /// Where it is: topic, broker and queue, and its offset there.
    pub(super) place: String,
    /// Its properties as they are stored.
    pub(super) properties: Vec<u8>,
}

impl Found {
    fn of(record: &RecordView<'_>, broker: &str) -> Self {
        let place = format!("{} {broker}/{} offset {}", record.topic(), record.queue_id(), record.queue_offset());
        Self { place, properties: record.properties().to_vec() }
    }
}

/// Finds a message: by its unique key when there is a topic, else by its offset message id.
pub(super) async fn find(id: &str, topic: Option<&str>, args: &ClusterArgs) -> Outcome<Found> {
    let mut cluster = Cluster::connect(args).await?;
    match topic {
        Some(topic) => by_key(&mut cluster, id, topic).await,
        None => by_position(&mut cluster, id).await,
    }
}

/// Asks the broker that the id names. Its address may be registered under another name, or no more.
async fn by_position(cluster: &mut Cluster, text: &str) -> Outcome<Found> {
    let id = OffsetMessageId::decode(text).map_err(|error| {
        let advice = "give the topic too, with --topic, when it is the id that the producer was told";
        Failure::new(Exit::Usage, format!("--message {text}: {error}; {advice}"))
    })?;
    let address = id.host.to_string();
    let masters = cluster.masters().await?;
    let known = masters.into_iter().find(|master| master.address == address);
    let master = known.ok_or_else(|| {
        let advice = "the id that the producer was told is found with --topic TOPIC";
        Failure::new(
            Exit::NotFound,
            format!("no broker at {address}, which the id {text} names, has registered; {advice}"),
        )
    })?;
    let header = ViewMessage { topic: None, offset: id.physical_offset };
    let answer = cluster.ask(&master, command(request::VIEW_MESSAGE_BY_ID, &header)).await?;
    found(&answer, &master)?.ok_or_else(|| missing(text))
}

/// Asks every broker of the topic.
async fn by_key(cluster: &mut Cluster, key: &str, topic: &str) -> Outcome<Found> {
    for (master, _) in masters_of(cluster.route(topic).await?) {
        let header = QueryMessage {
            topic: topic.to_owned(),
            key: key.to_owned(),
            messages_max: MESSAGES,
            begin_timestamp: 0,
            end_timestamp: i64::MAX,
            unique_key: Some(true),
        };
        let answer = cluster.ask_any(&master, command(request::QUERY_MESSAGE, &header)).await?;
        if answer.code == ResponseCode::QueryNotFound.wire() {
            continue;
        }
        let answer = success(answer, &format!("broker {}", master.name))?;
        if let Some(found) = found(&answer, &master)? {
            return Ok(found);
        }
    }
    // An offset id has the same form; a topic beside it does no harm.
    match OffsetMessageId::decode(key) {
        Ok(_) => by_position(cluster, key).await.map_err(|_| missing(key)),
        Err(_) => Err(missing(key)),
    }
}

fn missing(id: &str) -> Failure {
    let advice = "strata consume TOPIC --output json shows messages with both of their ids";
    Failure::new(Exit::NotFound, format!("there is no message {id}; {advice}"))
}

/// The first message of an answer.
fn found(answer: &Command, master: &Master) -> Outcome<Option<Found>> {
    let Some(record) = records(&answer.body).next() else { return Ok(None) };
    let record = record.or_fail_with(Exit::Failed, format!("broker {}: its answer is no message", master.name))?;
    Ok(Some(Found::of(&record, &master.name)))
}
