//! Sends one message after the other to the queues of a topic in turn.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use strata_protocol::body::perm;
use strata_protocol::code::request;
use strata_protocol::command::Command;
use strata_protocol::message_id::{UniqueKey, month_start_ms};
use strata_protocol::name::AUTO_CREATE_TOPIC;
use strata_protocol::properties::PropertiesBuilder;
use strata_protocol::request::Send;
use strata_remoting::Client;
use tokio::time::{Instant, sleep};

use crate::cluster::{Cluster, masters_of, stored};
use crate::exit::{Exit, Failure, OrFail, Outcome};
use crate::limits::CREATED_INTERVAL;
use crate::time::now_ms;

/// The producer group that brokers see.
const GROUP: &str = "strata-produce";
/// Queues that a topic gets which this command makes come into being, as RocketMQ's clients ask for.
const NEW_TOPIC_QUEUES: i32 = 4;

/// Where one queue is.
struct Target {
    broker: String,
    client: Client,
    queue_id: i32,
}

/// Sends to all queues of a topic that may be written.
pub(super) struct Sender {
    topic: String,
    targets: Vec<Target>,
    properties: PropertiesBuilder,
    patience: Duration,
    sent: AtomicUsize,
    started_ms: i64,
    /// The first message makes the topic come into being.
    creates: bool,
}

/// One message that is stored.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Sent {
    pub(super) message_id: String,
    pub(super) queue: String,
    pub(super) offset: i64,
    #[serde(skip)]
    pub(super) bytes: u64,
}

/// The properties that all messages have.
pub(super) fn common_properties(
    tag: &Option<String>,
    keys: &[String],
    user: &[(String, String)],
    delay_level: Option<u8>,
) -> Outcome<PropertiesBuilder> {
    let mut all: Vec<(&str, String)> = user.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
    all.extend(tag.iter().map(|tag| ("TAGS", tag.clone())));
    if !keys.is_empty() {
        all.push(("KEYS", keys.join(" ")));
    }
    all.extend(delay_level.map(|level| ("DELAY", level.to_string())));
    all.push(("WAIT", String::from("true")));
    let mut builder = PropertiesBuilder::new();
    for (key, value) in all {
        builder = builder.add(key, &value).or_fail_with(Exit::Usage, format!("the property {key}"))?;
    }
    Ok(builder)
}

impl Sender {
    /// Finds the topic's queues, or those that it will have when the first message creates it.
    pub(super) async fn open(cluster: &mut Cluster, topic: &str, properties: PropertiesBuilder) -> Outcome<Self> {
        strata_protocol::name::check_topic(topic).or_fail(Exit::Usage)?;
        let known = cluster.try_route(topic).await?;
        let creates = known.is_none();
        let route = match known {
            Some(route) => route,
            None => {
                let mut template = cluster.try_route(AUTO_CREATE_TOPIC).await?.ok_or_else(|| {
                    let message = format!("there is no topic {topic}, and the brokers do not create it; create it with: strata topic create {topic}");
                    Failure::new(Exit::NotFound, message)
                })?;
                for queues in &mut template.queue_datas {
                    queues.write_queue_nums = queues.write_queue_nums.min(NEW_TOPIC_QUEUES);
                }
                template
            }
        };
        let mut targets = Vec::new();
        for (master, queues) in masters_of(route) {
            if queues.perm & perm::WRITE == 0 {
                continue;
            }
            let client = cluster.broker(&master).await?;
            targets.extend((0..queues.write_queue_nums).map(|queue_id| Target {
                broker: master.name.clone(),
                client: client.clone(),
                queue_id,
            }));
        }
        if targets.is_empty() {
            return Err(Failure::new(
                Exit::Refused,
                format!("no queue of {topic} may be written: it is read only, or its brokers have no master"),
            ));
        }
        let topic = topic.to_owned();
        let (patience, started_ms) = (cluster.patience(), now_ms());
        Ok(Self { topic, targets, properties, patience, sent: AtomicUsize::new(0), started_ms, creates })
    }

    /// Waits until a topic that was created here can be found, so that the next command finds it.
    pub(super) async fn settled(&self, cluster: &Cluster) -> Outcome {
        let deadline = Instant::now() + self.patience;
        while self.creates && cluster.try_route(&self.topic).await?.is_none() {
            if Instant::now() > deadline {
                tracing::warn!(topic = self.topic, "the name server does not know the new topic yet");
                return Ok(());
            }
            sleep(CREATED_INTERVAL).await;
        }
        Ok(())
    }

    /// Sends one message to the next queue and waits until it is stored.
    pub(super) async fn send(&self, body: Bytes) -> Outcome<Sent> {
        let number = self.sent.fetch_add(1, Ordering::Relaxed);
        let Target { broker, client, queue_id } = &self.targets[number % self.targets.len()];
        let message_id = self.message_id(number);
        let properties = self.properties.clone().add("UNIQ_KEY", &message_id).or_fail(Exit::Failed)?;
        let properties = properties.build().or_fail_with(Exit::Usage, "the properties")?;
        let header = Send {
            producer_group: GROUP,
            topic: &self.topic,
            default_topic: AUTO_CREATE_TOPIC,
            default_topic_queues: NEW_TOPIC_QUEUES,
            queue_id: *queue_id,
            sys_flag: 0,
            born_timestamp: now_ms(),
            flag: 0,
            properties: std::str::from_utf8(&properties).or_fail(Exit::Failed)?,
            reconsume_times: 0,
            unit_mode: false,
            max_reconsume_times: None,
            batch: false,
        };
        let mut request = Command::request(request::SEND_MESSAGE_V2);
        header.encode(&mut request.fields);
        let bytes = body.len() as u64;
        request.body = body;
        let answer =
            client.call(request, self.patience).await.or_fail_with(Exit::Unreachable, format!("broker {broker}"))?;
        let answer = stored(answer, broker)?;
        let number = |name: &str| answer.fields.value(name).and_then(|text| text.parse::<i64>().ok());
        let (queue_id, offset) =
            (number("queueId").unwrap_or(i64::from(*queue_id)), number("queueOffset").unwrap_or(-1));
        Ok(Sent { message_id, queue: format!("{broker}/{queue_id}"), offset, bytes })
    }

    /// An id in the form of RocketMQ's clients. The start time tells processes with the same number apart.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the low bits are what the id holds")]
    fn message_id(&self, number: usize) -> String {
        let key = UniqueKey {
            ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            process: std::process::id() as u16,
            maker: self.started_ms as u32,
            since_month_ms: (now_ms() - month_start_ms(self.started_ms)) as u32,
            counter: number as u16,
        };
        key.encode()
    }
}
