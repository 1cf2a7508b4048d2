//! A plain client: one connection, and the requests that tests make on it.
//!
//! Owns the wording of requests. It retries nothing, so that what a test counts is what it did.

use bytes::Bytes;
use strata_protocol::body::{ConsumerData, Heartbeat, ProducerData, SubscriptionData, TopicRoute};
use strata_protocol::code::{ResponseCode, request};
use strata_protocol::command::Command;
use strata_protocol::frame::HeaderCodec;
use strata_protocol::json;
use strata_protocol::request::{
    Header, Pull, QueryConsumerOffset, QueryMessage, QueueOf, Route, Send, SendBack, UpdateConsumerOffset, ViewMessage,
    pull_flag,
};
use strata_remoting::{CallError, Client, ConnectError};
use thiserror::Error;

use crate::clock::now_ms;
use crate::history::Queue;
use crate::limits::{ANSWER_MAX, CONNECT_MAX};

/// Why a request has no useful answer.
#[derive(Debug, Error)]
pub enum TalkError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// No answer.
    #[error(transparent)]
    Call(#[from] CallError),
    /// An answer with another code than the request's success.
    #[error("{what} was answered with {code}: {remark}")]
    Refused {
        /// The request.
        what: &'static str,
        /// The response code.
        code: i32,
        /// The broker's words.
        remark: String,
    },
    /// A success without what it should carry.
    #[error("the answer to {what} carries no {missing}")]
    Bare {
        /// The request.
        what: &'static str,
        /// The field or body.
        missing: &'static str,
    },
}

/// A message to be sent.
#[derive(Debug, Clone)]
pub struct Draft<'a> {
    /// Where it goes; a queue below 0 leaves the choice to the broker.
    pub queue: &'a Queue,
    /// Its properties text.
    pub properties: &'a str,
    /// Its body, or a batch's.
    pub body: Bytes,
    /// The body holds several messages.
    pub batch: bool,
}

impl<'a> Draft<'a> {
    /// One message for `queue`.
    #[must_use]
    pub fn new(queue: &'a Queue, properties: &'a str, body: impl Into<Bytes>) -> Self {
        Self { queue, properties, body: body.into(), batch: false }
    }

    /// The request that sends it.
    #[must_use]
    pub fn command(&self, codec: HeaderCodec) -> Command {
        let code = if self.batch { request::SEND_BATCH_MESSAGE } else { request::SEND_MESSAGE_V2 };
        let header = Send {
            producer_group: "proving-ground",
            topic: &self.queue.topic,
            default_topic: "TBW102",
            default_topic_queues: 4,
            queue_id: self.queue.id,
            sys_flag: 0,
            born_timestamp: now_ms(),
            flag: 0,
            properties: self.properties,
            reconsume_times: 0,
            unit_mode: false,
            max_reconsume_times: None,
            batch: self.batch,
        };
        let mut command = command(code, codec, self.body.clone());
        header.encode(&mut command.fields);
        command
    }
}

/// What a broker says to a send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendAnswer {
    /// The response code.
    pub code: i32,
    /// Where it was stored: queue and offset of the first message.
    pub place: Option<(i32, i64)>,
    /// Offset ids, separated by commas.
    pub ids: String,
    /// The broker's words.
    pub remark: String,
}

/// What a broker says to a pull.
#[derive(Debug, Clone)]
pub struct Pulled {
    /// The response code.
    pub code: i32,
    /// Where to go on.
    pub next: i64,
    /// The queue's first offset.
    pub min: i64,
    /// The queue's next offset.
    pub max: i64,
    /// Whole records, one after another.
    pub records: Bytes,
    /// The broker's words.
    pub remark: String,
}

/// What a pull asks for.
#[derive(Debug, Clone)]
pub struct Ask<'a> {
    /// The consumer group.
    pub group: &'a str,
    /// The queue.
    pub queue: &'a Queue,
    /// The first offset.
    pub offset: i64,
    /// Messages at most.
    pub most: i32,
    /// How long the broker may hold it, ms; 0 forbids holding.
    pub hold_ms: i64,
    /// Progress to be stored with it.
    pub commit: Option<i64>,
}

impl Ask<'_> {
    /// The request that asks for it.
    #[must_use]
    pub fn command(&self, codec: HeaderCodec) -> Command {
        let hold = if self.hold_ms > 0 { pull_flag::SUSPEND } else { 0 };
        let commit = if self.commit.is_some() { pull_flag::COMMIT_OFFSET } else { 0 };
        let header = Pull {
            group: self.group.to_owned(),
            topic: self.queue.topic.to_string(),
            queue_id: self.queue.id,
            queue_offset: self.offset,
            messages_max: self.most,
            sys_flag: pull_flag::SUBSCRIPTION | hold | commit,
            commit_offset: self.commit.unwrap_or(0),
            suspend_timeout_ms: self.hold_ms,
            subscription: Some(String::from("*")),
            sub_version: 0,
            expression_type: Some(String::from("TAG")),
            bytes_max: None,
        };
        let mut command = command(request::PULL_MESSAGE, codec, Bytes::new());
        header.encode(&mut command.fields);
        command
    }
}

fn command(code: i32, codec: HeaderCodec, body: Bytes) -> Command {
    Command { body, codec, ..Command::request(code) }
}

/// One connection to a server.
#[derive(Debug, Clone)]
pub struct Talk {
    client: Client,
    codec: HeaderCodec,
}

impl Talk {
    /// Connects to a port of this machine.
    ///
    /// # Errors
    /// Nobody listens, or not in time.
    pub async fn connect(port: u16, codec: HeaderCodec) -> Result<Self, ConnectError> {
        let client = Client::connect(&format!("127.0.0.1:{port}"), CONNECT_MAX).await?;
        Ok(Self { client, codec })
    }

    /// Whether requests can still be sent.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.client.is_open()
    }

    /// A request of `code`, whatever it is, and its answer, whatever it is.
    ///
    /// # Errors
    /// No answer came.
    pub async fn ask<H: Header>(&self, code: i32, header: &H, body: impl Into<Bytes>) -> Result<Command, CallError> {
        let mut command = command(code, self.codec, body.into());
        header.encode(&mut command.fields);
        self.client.call(command, ANSWER_MAX).await
    }

    /// A request with fields by name.
    ///
    /// # Errors
    /// No answer came.
    pub async fn ask_raw(
        &self,
        code: i32,
        fields: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Command, CallError> {
        let mut command = command(code, self.codec, body.into());
        command.fields = fields.iter().copied().collect();
        self.client.call(command, ANSWER_MAX).await
    }

    /// Sends and waits for the answer.
    ///
    /// # Errors
    /// No answer came: the message may be stored or not.
    pub async fn send(&self, draft: &Draft<'_>) -> Result<SendAnswer, CallError> {
        let answer = self.client.call(draft.command(self.codec), ANSWER_MAX).await?;
        let place =
            number(&answer, "queueId").and_then(|id| i32::try_from(id).ok()).zip(number(&answer, "queueOffset"));
        let ids = answer.fields.value("msgId").unwrap_or_default().to_owned();
        Ok(SendAnswer { code: answer.code, place, ids, remark: answer.remark.unwrap_or_default() })
    }

    /// Sends without asking for an answer.
    ///
    /// # Errors
    /// The connection is closed, or too much waits on it.
    pub async fn send_one_way(&self, draft: &Draft<'_>) -> Result<(), CallError> {
        self.client.notify(draft.command(self.codec)).await
    }

    /// Pulls with a subscription to everything.
    ///
    /// # Errors
    /// No answer came.
    pub async fn pull(&self, ask: &Ask<'_>) -> Result<Pulled, CallError> {
        let answer = self.client.call(ask.command(self.codec), ANSWER_MAX).await?;
        let field = |name| number(&answer, name).unwrap_or(-1);
        Ok(Pulled {
            code: answer.code,
            next: field("nextBeginOffset"),
            min: field("minOffset"),
            max: field("maxOffset"),
            records: answer.body.clone(),
            remark: answer.remark.clone().unwrap_or_default(),
        })
    }

    /// A queue's first and next offset.
    ///
    /// # Errors
    /// See [`TalkError`].
    pub async fn range(&self, queue: &Queue) -> Result<(i64, i64), TalkError> {
        let header = QueueOf { topic: queue.topic.to_string(), queue_id: queue.id };
        let min = self.ask(request::GET_MIN_OFFSET, &header, Bytes::new()).await?;
        let max = self.ask(request::GET_MAX_OFFSET, &header, Bytes::new()).await?;
        Ok((offset_of("a queue's begin", &min)?, offset_of("a queue's end", &max)?))
    }

    /// A group's stored offset; `None` when it has none. A queue's begin is not taken for one.
    ///
    /// # Errors
    /// See [`TalkError`].
    pub async fn progress(&self, group: &str, queue: &Queue) -> Result<Option<i64>, TalkError> {
        let header = QueryConsumerOffset {
            group: group.to_owned(),
            topic: queue.topic.to_string(),
            queue_id: queue.id,
            set_zero_if_not_found: Some(false),
        };
        let answer = self.ask(request::QUERY_CONSUMER_OFFSET, &header, Bytes::new()).await?;
        if answer.code == ResponseCode::QueryNotFound.wire() {
            return Ok(None);
        }
        offset_of("a group's progress", &answer).map(Some)
    }

    /// Stores a group's offset.
    ///
    /// # Errors
    /// See [`TalkError`].
    pub async fn commit(&self, group: &str, queue: &Queue, offset: i64) -> Result<(), TalkError> {
        let header = UpdateConsumerOffset {
            group: group.to_owned(),
            topic: queue.topic.to_string(),
            queue_id: queue.id,
            commit_offset: offset,
        };
        let answer = self.ask(request::UPDATE_CONSUMER_OFFSET, &header, Bytes::new()).await?;
        succeeded("a commit", &answer)
    }

    /// The records of a key, or of a unique key; nothing when there is none.
    ///
    /// # Errors
    /// See [`TalkError`].
    pub async fn by_key(&self, topic: &str, key: &str, unique: bool) -> Result<Bytes, TalkError> {
        let header = QueryMessage {
            topic: topic.to_owned(),
            key: key.to_owned(),
            messages_max: 64,
            begin_timestamp: 0,
            end_timestamp: i64::MAX,
            unique_key: unique.then_some(true),
        };
        let answer = self.ask(request::QUERY_MESSAGE, &header, Bytes::new()).await?;
        if answer.code == ResponseCode::QueryNotFound.wire() {
            return Ok(Bytes::new());
        }
        succeeded("a query by key", &answer)?;
        Ok(answer.body)
    }

    /// The record at a position of the log.
    ///
    /// # Errors
    /// See [`TalkError`].
    pub async fn view(&self, topic: &str, position: i64) -> Result<Bytes, TalkError> {
        let header = ViewMessage { topic: Some(topic.to_owned()), offset: position };
        let answer = self.ask(request::VIEW_MESSAGE_BY_ID, &header, Bytes::new()).await?;
        succeeded("a view by position", &answer)?;
        Ok(answer.body)
    }

    /// Gives a message back for a retry after the delay of `level`.
    ///
    /// # Errors
    /// See [`TalkError`].
    pub async fn send_back(&self, group: &str, position: i64, level: i32) -> Result<(), TalkError> {
        let header = SendBack { offset: position, group: group.to_owned(), delay_level: level, ..SendBack::default() };
        let answer = self.ask(request::CONSUMER_SEND_MSG_BACK, &header, Bytes::new()).await?;
        succeeded("a send back", &answer)
    }

    /// Shows a consumer group that reads `topic`, which makes the group's retry topic.
    ///
    /// # Errors
    /// See [`TalkError`].
    pub async fn heartbeat(&self, client: &str, group: &str, topic: &str) -> Result<(), TalkError> {
        let subscription =
            SubscriptionData { topic: topic.to_owned(), sub_version: now_ms(), ..SubscriptionData::default() };
        let consumer = ConsumerData {
            group_name: group.to_owned(),
            consume_type: String::from("CONSUME_PASSIVELY"),
            message_model: String::from("CLUSTERING"),
            consume_from_where: String::from("CONSUME_FROM_FIRST_OFFSET"),
            subscription_data_set: vec![subscription],
            unit_mode: false,
        };
        let beat = Heartbeat {
            client_id: client.to_owned(),
            producer_data_set: vec![ProducerData { group_name: String::from("proving-ground") }],
            consumer_data_set: vec![consumer],
        };
        let body = serde_json::to_vec(&beat).unwrap_or_default();
        let answer = self.ask_raw(request::HEART_BEAT, &[], body).await?;
        succeeded("a heartbeat", &answer)
    }

    /// Where a topic is, from a name server; `None` when it does not know.
    ///
    /// # Errors
    /// See [`TalkError`].
    pub async fn route(&self, topic: &str) -> Result<Option<TopicRoute>, TalkError> {
        let header = Route { topic: topic.to_owned(), strict_json: Some(true) };
        let answer = self.ask(request::GET_ROUTEINFO_BY_TOPIC, &header, Bytes::new()).await?;
        if answer.code == ResponseCode::TopicNotExist.wire() {
            return Ok(None);
        }
        succeeded("a route", &answer)?;
        let bare = TalkError::Bare { what: "a route", missing: "route" };
        json::from_slice(&answer.body).map(Some).map_err(|_| bare)
    }
}

/// A number in an answer's header.
#[must_use]
pub fn number(answer: &Command, name: &str) -> Option<i64> {
    answer.fields.value(name).and_then(|text| text.parse().ok())
}

/// Checks that an answer is a success.
///
/// # Errors
/// It is not.
pub fn succeeded(what: &'static str, answer: &Command) -> Result<(), TalkError> {
    if answer.code == ResponseCode::Success.wire() {
        return Ok(());
    }
    Err(TalkError::Refused { what, code: answer.code, remark: answer.remark.clone().unwrap_or_default() })
}

fn offset_of(what: &'static str, answer: &Command) -> Result<i64, TalkError> {
    succeeded(what, answer)?;
    number(answer, "offset").ok_or(TalkError::Bare { what, missing: "offset" })
}
