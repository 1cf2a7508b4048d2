//! The property names that RocketMQ reserves (`MessageConst`).
//!
//! Owns the spelling only; what a property does is told where it is used.

/// Search keys, separated by blanks.
pub const KEYS: &str = "KEYS";
/// The tag (several with the multi-tag flag).
pub const TAGS: &str = "TAGS";
/// `false`: the producer does not wait for flush and replication.
pub const WAIT: &str = "WAIT";
/// Delay level, 1 to 18.
pub const DELAY: &str = "DELAY";
/// Original topic of a retried message.
pub const RETRY_TOPIC: &str = "RETRY_TOPIC";
/// Target topic of a half, delayed or timer message.
pub const REAL_TOPIC: &str = "REAL_TOPIC";
/// Target queue id of the same.
pub const REAL_QID: &str = "REAL_QID";
/// `true` marks a half message.
pub const TRAN_MSG: &str = "TRAN_MSG";
/// Producer group, by which a transaction's producer is found.
pub const PGROUP: &str = "PGROUP";
/// Queue minimum, filled in by a pulling client.
pub const MIN_OFFSET: &str = "MIN_OFFSET";
/// Queue maximum, filled in by a pulling client.
pub const MAX_OFFSET: &str = "MAX_OFFSET";
/// Legacy.
pub const BUYER_ID: &str = "BUYER_ID";
/// Id of the first delivery of a retried message.
pub const ORIGIN_MESSAGE_ID: &str = "ORIGIN_MESSAGE_ID";
/// Legacy.
pub const TRANSFER_FLAG: &str = "TRANSFER_FLAG";
/// Legacy.
pub const CORRECTION_FLAG: &str = "CORRECTION_FLAG";
/// Legacy.
pub const MQ2_FLAG: &str = "MQ2_FLAG";
/// Reconsume count on a message that a client publishes again.
pub const RECONSUME_TIME: &str = "RECONSUME_TIME";
/// Bound of reconsumption on the same.
pub const MAX_RECONSUME_TIMES: &str = "MAX_RECONSUME_TIMES";
/// Region of the broker.
pub const MSG_REGION: &str = "MSG_REGION";
/// Whether the message may be traced.
pub const TRACE_ON: &str = "TRACE_ON";
/// The client's message id.
pub const UNIQ_KEY: &str = "UNIQ_KEY";
/// Legacy.
pub const EXTEND_UNIQ_INFO: &str = "EXTEND_UNIQ_INFO";
/// When the client began to consume, in milliseconds.
pub const CONSUME_START_TIME: &str = "CONSUME_START_TIME";
/// Number of messages in an inner batch.
pub const INNER_NUM: &str = "INNER_NUM";
/// Base offset of an inner batch.
pub const INNER_BASE: &str = "INNER_BASE";
/// Legacy.
pub const DUP_INFO: &str = "DUP_INFO";
/// Seconds before the first transaction check.
pub const CHECK_IMMUNITY_TIME_IN_SECONDS: &str = "CHECK_IMMUNITY_TIME_IN_SECONDS";
/// Queue offset of the first half message after it was put back.
pub const TRAN_PREPARED_QUEUE_OFFSET: &str = "TRAN_PREPARED_QUEUE_OFFSET";
/// Transaction checks done.
pub const TRANSACTION_CHECK_TIMES: &str = "TRANSACTION_CHECK_TIMES";
/// Transaction id, set on the client's local message.
pub const TRANSACTION_ID: &str = "__transactionId__";
/// Legacy.
pub const INSTANCE_ID: &str = "INSTANCE_ID";
/// Correlation of request and reply.
pub const CORRELATION_ID: &str = "CORRELATION_ID";
/// Client id of a requester.
pub const REPLY_TO_CLIENT: &str = "REPLY_TO_CLIENT";
/// Timeout of a request in milliseconds.
pub const TTL: &str = "TTL";
/// When a reply arrived at its client.
pub const ARRIVE_TIME: &str = "ARRIVE_TIME";
/// When the broker pushed a reply.
pub const PUSH_REPLY_TIME: &str = "PUSH_REPLY_TIME";
/// Name of the cluster; on every stored message.
pub const CLUSTER: &str = "CLUSTER";
/// `reply` marks a reply.
pub const MSG_TYPE: &str = "MSG_TYPE";
/// Receipt handle of a POP delivery.
pub const POP_CK: &str = "POP_CK";
/// Offset of a POP checkpoint.
pub const POP_CK_OFFSET: &str = "POP_CK_OFFSET";
/// When a message was first popped.
pub const FIRST_POP_TIME: &str = "1ST_POP_TIME";
/// Ordering key.
pub const SHARDING_KEY: &str = "__SHARDINGKEY";
/// Queue of a static topic's forward.
pub const FORWARD_QUEUE_ID: &str = "PROPERTY_FORWARD_QUEUE_ID";
/// Legacy.
pub const REDIRECT: &str = "REDIRECT";
/// Logical queues to dispatch to as well, separated by commas.
pub const INNER_MULTI_DISPATCH: &str = "INNER_MULTI_DISPATCH";
/// Queue offsets of those.
pub const INNER_MULTI_QUEUE_OFFSET: &str = "INNER_MULTI_QUEUE_OFFSET";
/// Trace context.
pub const TRACE_CONTEXT: &str = "TRACE_CONTEXT";
/// Delay in seconds.
pub const TIMER_DELAY_SEC: &str = "TIMER_DELAY_SEC";
/// Delay in milliseconds.
pub const TIMER_DELAY_MS: &str = "TIMER_DELAY_MS";
/// Delivery time, milliseconds since 1970.
pub const TIMER_DELIVER_MS: &str = "TIMER_DELIVER_MS";
/// When the timer took the message.
pub const TIMER_ENQUEUE_MS: &str = "TIMER_ENQUEUE_MS";
/// When the timer gave it back.
pub const TIMER_DEQUEUE_MS: &str = "TIMER_DEQUEUE_MS";
/// How often the message was timed again.
pub const TIMER_ROLL_TIMES: &str = "TIMER_ROLL_TIMES";
/// Final delivery time.
pub const TIMER_OUT_MS: &str = "TIMER_OUT_MS";
/// Topic and unique key of a timer message to cancel.
pub const TIMER_DEL_UNIQKEY: &str = "TIMER_DEL_UNIQKEY";
/// Delay level of a timer message.
pub const TIMER_DELAY_LEVEL: &str = "TIMER_DELAY_LEVEL";
/// Client address behind a proxy.
pub const BORN_HOST: &str = "__BORNHOST";
/// Client time behind a proxy.
pub const BORN_TIMESTAMP: &str = "BORN_TIMESTAMP";
/// Checksum of the record.
pub const CRC32: &str = "__CRC32#";
/// Topic from which a message was dead-lettered.
pub const DLQ_ORIGIN_TOPIC: &str = "DLQ_ORIGIN_TOPIC";
/// Id of the message that was dead-lettered.
pub const DLQ_ORIGIN_MESSAGE_ID: &str = "DLQ_ORIGIN_MESSAGE_ID";
/// Prefix of properties that a client keeps to itself and a broker never stores.
pub const TRANSIENT_PREFIX: &str = "__RMQ.TRANSIENT.";

/// The names that an application may not set (`MessageConst.STRING_HASH_SET`).
pub const HIDDEN: [&str; 49] = [
    KEYS,
    TAGS,
    WAIT,
    DELAY,
    RETRY_TOPIC,
    REAL_TOPIC,
    REAL_QID,
    TRAN_MSG,
    PGROUP,
    MIN_OFFSET,
    MAX_OFFSET,
    BUYER_ID,
    ORIGIN_MESSAGE_ID,
    TRANSFER_FLAG,
    CORRECTION_FLAG,
    MQ2_FLAG,
    RECONSUME_TIME,
    MAX_RECONSUME_TIMES,
    MSG_REGION,
    TRACE_ON,
    UNIQ_KEY,
    EXTEND_UNIQ_INFO,
    CONSUME_START_TIME,
    DUP_INFO,
    TRAN_PREPARED_QUEUE_OFFSET,
    INSTANCE_ID,
    CORRELATION_ID,
    REPLY_TO_CLIENT,
    TTL,
    ARRIVE_TIME,
    PUSH_REPLY_TIME,
    CLUSTER,
    MSG_TYPE,
    POP_CK,
    POP_CK_OFFSET,
    FIRST_POP_TIME,
    INNER_MULTI_QUEUE_OFFSET,
    TIMER_DELAY_SEC,
    TIMER_DELAY_MS,
    TIMER_DELIVER_MS,
    TIMER_ENQUEUE_MS,
    TIMER_DEQUEUE_MS,
    TIMER_ROLL_TIMES,
    TIMER_OUT_MS,
    TIMER_DEL_UNIQKEY,
    TIMER_DELAY_LEVEL,
    BORN_HOST,
    BORN_TIMESTAMP,
    CRC32,
];

/// Whether `name` is one that an application may not set.
#[must_use]
pub fn is_hidden(name: &str) -> bool {
    HIDDEN.contains(&name)
}
