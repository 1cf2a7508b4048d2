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
/// Id of the first delivery of a retried message.
pub const ORIGIN_MESSAGE_ID: &str = "ORIGIN_MESSAGE_ID";
/// Region of the broker.
pub const MSG_REGION: &str = "MSG_REGION";
/// Whether the message may be traced.
pub const TRACE_ON: &str = "TRACE_ON";
/// The client's message id.
pub const UNIQ_KEY: &str = "UNIQ_KEY";
/// Seconds before the first transaction check.
pub const CHECK_IMMUNITY_TIME_IN_SECONDS: &str = "CHECK_IMMUNITY_TIME_IN_SECONDS";
/// Queue offset of the first half message after it was put back.
pub const TRAN_PREPARED_QUEUE_OFFSET: &str = "TRAN_PREPARED_QUEUE_OFFSET";
/// Transaction checks done.
pub const TRANSACTION_CHECK_TIMES: &str = "TRANSACTION_CHECK_TIMES";
/// Transaction id, set on the client's local message.
pub const TRANSACTION_ID: &str = "__transactionId__";
/// Name of the cluster; on every stored message.
pub const CLUSTER: &str = "CLUSTER";
/// Receipt handle of a POP delivery.
pub const POP_CK: &str = "POP_CK";
/// Delay in seconds.
pub const TIMER_DELAY_SEC: &str = "TIMER_DELAY_SEC";
/// Delay in milliseconds.
pub const TIMER_DELAY_MS: &str = "TIMER_DELAY_MS";
/// Delivery time, milliseconds since 1970.
pub const TIMER_DELIVER_MS: &str = "TIMER_DELIVER_MS";
