//! Why a request is not served, by condition, and the one mapping of conditions to response codes.

use strata_protocol::code::ResponseCode;
use strata_protocol::name::BadName;
use strata_protocol::reply::Reply;
use strata_protocol::request::BadField;
use strata_store::AppendError;
use thiserror::Error;

use crate::durable::DurableError;
use crate::filters::NoFilter;
use crate::limits::TOPIC_QUEUES_MAX;

/// A condition under which a request is refused. Its text is the remark that clients show.
#[derive(Debug, Error)]
pub(crate) enum Refusal {
    #[error(transparent)]
    Field(#[from] BadField),
    #[error(transparent)]
    Name(#[from] BadName),
    #[error("the request's body is not what it should be: {reason}")]
    Body { reason: String },
    #[error(" request type {code} not supported")]
    UnknownRequest { code: i32 },
    #[error("request {name} ({code}) is not served by this broker yet")]
    NotServedYet { name: &'static str, code: i32 },
    #[error("pulls are not served on the fast port; use the broker's own port")]
    NotOnFastPort,
    #[error("sending message to topic[{topic}] is forbidden.")]
    SendForbidden { topic: String },
    #[error("The topic[{topic}] is conflict with system topic.")]
    SystemTopic { topic: String },
    #[error("topic[{topic}] not exist, apply first please!")]
    NoTopic { topic: String },
    #[error("topic[{topic}] must not be {action}: its permission is {perm}")]
    TopicPermission { topic: String, action: &'static str, perm: i32 },
    #[error("the broker must not be {action}: its permission is {perm}")]
    BrokerPermission { action: &'static str, perm: i32 },
    #[error("queueId[{queue_id}] is illegal, topic[{topic}] has {queues} queues")]
    NoQueue { topic: String, queue_id: i32, queues: i32 },
    #[error("topic[{topic}] cannot have {queues} queues: 0 to {TOPIC_QUEUES_MAX} are allowed")]
    QueueCount { topic: String, queues: i32 },
    #[error("the topic attribute {change:?} is neither +name=value nor -name")]
    Attribute { change: String },
    #[error("unsupported key: {key}")]
    UnknownAttribute { key: String },
    #[error("the attribute {key} cannot be {value:?} on this broker")]
    AttributeValue { key: String, value: String },
    #[error("subscription group [{group}] does not exist")]
    NoGroup { group: String },
    /// In the words that RocketMQ's broker has for a commit.
    #[error("Group {group} not exist!")]
    NoGroupToCommit { group: String },
    /// In its words for a reset.
    #[error("Group {group} does not exist")]
    NoGroupToReset { group: String },
    #[error("subscription group no permission, {group}")]
    GroupDisabled { group: String },
    #[error("the consumer group[{group}] can not consume by broadcast way")]
    BroadcastDisabled { group: String },
    #[error("the consumer group[{group}] is forbidden for topic[{topic}]")]
    GroupForbidden { group: String, topic: String },
    #[error("the consumer's group info not exist: {group}")]
    NotSubscribed { group: String },
    #[error("the consumer's subscription not exist: group {group}, topic {topic}")]
    TopicNotSubscribed { group: String, topic: String },
    #[error("the consumer's subscription not latest: group {group}, topic {topic}")]
    SubscriptionOld { group: String, topic: String },
    #[error("parse the consumer's subscription failed: {0}")]
    Filter(NoFilter),
    #[error("{0}")]
    NotFiltered(NoFilter),
    #[error(
        "the consumer's filter data not exist: the expression of group {group} for topic {topic} is refused: {reason}"
    )]
    NoFilterData { group: String, topic: String, reason: NoFilter },
    #[error("the message body is empty")]
    EmptyBody,
    #[error("the message body has {bytes} bytes, the limit is {limit}")]
    BodyTooLong { bytes: usize, limit: usize },
    #[error("the message properties have {bytes} bytes, the limit is {limit}")]
    PropertiesTooLong { bytes: usize, limit: usize },
    #[error("the batch cannot be read: {reason}")]
    BadBatch { reason: String },
    #[error("{what} messages are not served by this broker yet; nothing was stored")]
    MessageKindNotServed { what: &'static str, forbidden: bool },
    #[error("[OVERLOAD]system busy, start flow control for a while: {what}")]
    Busy { what: &'static str },
    #[error("the cold tier cannot answer now: {reason}")]
    Cold { reason: String },
    #[error("this broker has no cold tier; start it with --cold or tieredStoreUrl")]
    NoTier,
    #[error("graceSeconds is {asked}; at least {min} is needed")]
    Grace { asked: i64, min: u64 },
    #[error(
        "[TIMEOUT_CLEAN_QUEUE]broker busy, start flow control for a while: the request waited {waited_ms} ms, the limit is {limit_ms}"
    )]
    Late { waited_ms: u64, limit_ms: u64 },
    #[error("{0}")]
    Append(AppendError),
    #[error("the maximum of {limit} {what} is reached")]
    TooMany { what: &'static str, limit: usize },
    #[error("can not find message by the offset, {offset}")]
    NoMessage { offset: i64 },
    #[error("no message with this key: topic {topic}, key {key}")]
    KeyNotFound { topic: String, key: String },
    #[error("Not found, maybe this group consumer boot first")]
    NoOffset,
    #[error("no consumer for this group, {group}")]
    NoConsumers { group: String },
    #[error("the consumer group[{group}] not online")]
    NotOnline { group: String },
    #[error("the consumer <{group}> <{client}> not online")]
    ClientNotOnline { group: String, client: String },
    #[error("the consumer <{group}> <{client}> did not answer: {reason}")]
    ClientSilent { group: String, client: String, reason: String },
    #[error("the producer group[{group}] not exist")]
    NoProducers { group: String },
    #[error("the stats <{name}> <{key}> not exist")]
    NoStats { name: String, key: String },
    #[error("expired segments were not deleted: {reason}")]
    Sweep { reason: String },
    #[error("the change was not stored: {0}")]
    NotStored(#[from] DurableError),
    #[error("the topic's messages were not forgotten: {reason}")]
    NotForgotten { reason: String },
    #[error("the work was not finished: {reason}")]
    Broken { reason: String },
}

impl Refusal {
    /// The response code of each condition.
    pub(crate) fn code(&self) -> ResponseCode {
        match self {
            Self::Field(_)
            | Self::Name(_)
            | Self::NoQueue { .. }
            | Self::QueueCount { .. }
            | Self::Attribute { .. }
            | Self::UnknownAttribute { .. }
            | Self::AttributeValue { .. }
            | Self::Grace { .. }
            | Self::SystemTopic { .. } => ResponseCode::InvalidParameter,
            Self::UnknownRequest { .. } | Self::NotServedYet { .. } | Self::NotOnFastPort => {
                ResponseCode::RequestCodeNotSupported
            }
            Self::SendForbidden { .. }
            | Self::TopicPermission { .. }
            | Self::BrokerPermission { .. }
            | Self::GroupDisabled { .. }
            | Self::BroadcastDisabled { .. }
            | Self::GroupForbidden { .. }
            | Self::MessageKindNotServed { forbidden: true, .. } => ResponseCode::NoPermission,
            Self::NoTopic { .. } => ResponseCode::TopicNotExist,
            Self::NoGroup { .. } | Self::NoGroupToCommit { .. } | Self::NoGroupToReset { .. } => {
                ResponseCode::SubscriptionGroupNotExist
            }
            Self::NotSubscribed { .. } | Self::TopicNotSubscribed { .. } => ResponseCode::SubscriptionNotExist,
            Self::SubscriptionOld { .. } => ResponseCode::SubscriptionNotLatest,
            // As a RocketMQ broker answers whose SQL92 filter is switched off.
            Self::NotFiltered(_) => ResponseCode::SystemError,
            Self::Filter(_) => ResponseCode::SubscriptionParseFailed,
            Self::NoFilterData { .. } => ResponseCode::FilterDataNotExist,
            Self::EmptyBody
            | Self::BodyTooLong { .. }
            | Self::PropertiesTooLong { .. }
            | Self::BadBatch { .. }
            | Self::MessageKindNotServed { forbidden: false, .. } => ResponseCode::MessageIllegal,
            Self::Busy { .. } | Self::Late { .. } => ResponseCode::SystemBusy,
            Self::Append(error) => append_code(error),
            Self::KeyNotFound { .. } | Self::NoOffset => ResponseCode::QueryNotFound,
            Self::NotOnline { .. } => ResponseCode::ConsumerNotOnline,
            Self::ClientSilent { .. } => ResponseCode::ConsumeMsgTimeout,
            Self::Body { .. }
            | Self::TooMany { .. }
            | Self::NoMessage { .. }
            | Self::NoConsumers { .. }
            | Self::ClientNotOnline { .. }
            | Self::NoProducers { .. }
            | Self::NoStats { .. }
            | Self::Sweep { .. }
            | Self::NotForgotten { .. }
            | Self::Broken { .. }
            | Self::Cold { .. }
            | Self::NoTier
            | Self::NotStored(_) => ResponseCode::SystemError,
        }
    }
}

/// Producers try another broker on `SERVICE_NOT_AVAILABLE` and `SYSTEM_BUSY`, and give up on
/// `MESSAGE_ILLEGAL`, which is what each condition deserves.
fn append_code(error: &AppendError) -> ResponseCode {
    match error {
        AppendError::RecordTooLarge { .. } | AppendError::Malformed { .. } | AppendError::BatchSize { .. } => {
            ResponseCode::MessageIllegal
        }
        AppendError::QueueId { .. } => ResponseCode::InvalidParameter,
        AppendError::TooMany { .. } => ResponseCode::SystemError,
        AppendError::Busy { .. } => ResponseCode::SystemBusy,
        AppendError::DiskFull { .. } | AppendError::Latched { .. } | AppendError::Closed => {
            ResponseCode::ServiceNotAvailable
        }
    }
}

impl From<NoFilter> for Refusal {
    fn from(reason: NoFilter) -> Self {
        if reason.is_of_kind() { Self::NotFiltered(reason) } else { Self::Filter(reason) }
    }
}

impl From<AppendError> for Refusal {
    fn from(error: AppendError) -> Self {
        Self::Append(error)
    }
}

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Self {
        Self::refusal(refusal.code(), refusal.to_string())
    }
}
