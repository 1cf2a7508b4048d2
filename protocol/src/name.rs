//! Which names topics and groups may have, and the names with a meaning of their own.
//!
//! Source: `TopicValidator` and `Validators` of Apache RocketMQ. A name is never a path: nothing in a
//! store is named after a topic.

use thiserror::Error;

use crate::limits::{DERIVED_TOPIC_CHARS_MAX, GROUP_CHARS_MAX, TOPIC_CHARS_MAX};

/// Prefix of a group's retry topic.
pub const RETRY_PREFIX: &str = "%RETRY%";
/// Prefix of a group's dead-letter topic.
pub const DLQ_PREFIX: &str = "%DLQ%";
/// The template of topics that sending creates.
pub const AUTO_CREATE_TOPIC: &str = "TBW102";
/// Delayed messages; one queue a level.
pub const SCHEDULE_TOPIC: &str = "SCHEDULE_TOPIC_XXXX";
/// Half messages of transactions.
pub const HALF_TOPIC: &str = "RMQ_SYS_TRANS_HALF_TOPIC";
/// Ends of transactions.
pub const OP_HALF_TOPIC: &str = "RMQ_SYS_TRANS_OP_HALF_TOPIC";
/// Half messages given up.
pub const TRANS_CHECK_MAX_TIME_TOPIC: &str = "TRANS_CHECK_MAX_TIME_TOPIC";
/// Traces of clients.
pub const TRACE_TOPIC: &str = "RMQ_SYS_TRACE_TOPIC";
/// Prefix of the topics of traces, one for each region, of the C++ client and of clients in RocketMQ's cloud mode.
pub const TRACE_REGION_PREFIX: &str = "rmq_sys_TRACE_DATA_";
/// RocketMQ's check of itself.
pub const SELF_TEST_TOPIC: &str = "SELF_TEST_TOPIC";
/// Corrections of offsets.
pub const OFFSET_MOVED_EVENT: &str = "OFFSET_MOVED_EVENT";
/// RocketMQ's benchmark tools send here.
pub const BENCHMARK_TOPIC: &str = "BenchmarkTest";
/// Prefix of system topics.
pub const SYSTEM_TOPIC_PREFIX: &str = "rmq_sys_";
/// Prefix of system groups.
pub const SYSTEM_GROUP_PREFIX: &str = "CID_RMQ_SYS_";

const SYSTEM_TOPICS: [&str; 8] = [
    AUTO_CREATE_TOPIC,
    SCHEDULE_TOPIC,
    BENCHMARK_TOPIC,
    HALF_TOPIC,
    TRACE_TOPIC,
    OP_HALF_TOPIC,
    TRANS_CHECK_MAX_TIME_TOPIC,
    SELF_TEST_TOPIC,
];

const NO_SEND_TOPICS: [&str; 6] =
    [SCHEDULE_TOPIC, HALF_TOPIC, OP_HALF_TOPIC, TRANS_CHECK_MAX_TIME_TOPIC, SELF_TEST_TOPIC, OFFSET_MOVED_EVENT];

const SYSTEM_GROUPS: [&str; 12] = [
    "DEFAULT_CONSUMER",
    "DEFAULT_PRODUCER",
    "TOOLS_CONSUMER",
    "SCHEDULE_CONSUMER",
    "FILTERSRV_CONSUMER",
    "__MONITOR_CONSUMER",
    "CLIENT_INNER_PRODUCER",
    "SELF_TEST_P_GROUP",
    "SELF_TEST_C_GROUP",
    "CID_ONS-HTTP-PROXY",
    "CID_ONSAPI_PERMISSION",
    "CID_ONSAPI_OWNER",
];

/// Why a name is not legal.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BadName {
    /// Nothing, or blanks alone.
    #[error("The specified {kind} is blank.")]
    Blank {
        /// `topic` or `group`.
        kind: &'static str,
    },
    /// A character that names must not have.
    #[error("The specified {kind}: {name}, contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$")]
    IllegalCharacter {
        /// `topic` or `group`.
        kind: &'static str,
        /// Its beginning, as far as the longest legal name; control characters are left out.
        name: String,
    },
    /// More characters than allowed.
    #[error("The specified {kind} is longer than {kind} max length {chars_max}.")]
    TooLong {
        /// `topic` or `group`.
        kind: &'static str,
        /// The limit.
        chars_max: usize,
    },
}

fn check(kind: &'static str, name: &str, chars_max: usize) -> Result<(), BadName> {
    if name.trim().is_empty() {
        return Err(BadName::Blank { kind });
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'%' | b'|' | b'_' | b'-')) {
        let shown = name.chars().filter(|letter| !letter.is_control()).take(DERIVED_TOPIC_CHARS_MAX);
        return Err(BadName::IllegalCharacter { kind, name: shown.collect() });
    }
    if name.len() > chars_max {
        return Err(BadName::TooLong { kind, chars_max });
    }
    Ok(())
}

/// Checks a topic's name.
///
/// # Errors
/// See [`BadName`].
pub fn check_topic(name: &str) -> Result<(), BadName> {
    let derived = is_retry(name) || is_dlq(name);
    check("topic", name, if derived { DERIVED_TOPIC_CHARS_MAX } else { TOPIC_CHARS_MAX })
}

/// Checks a group's name. 5.x clients allow 120 characters and older ones 255, so a server takes 255.
///
/// # Errors
/// See [`BadName`].
pub fn check_group(name: &str) -> Result<(), BadName> {
    check("group", name, GROUP_CHARS_MAX)
}

/// Whether this is a group's retry topic.
#[must_use]
pub fn is_retry(topic: &str) -> bool {
    topic.starts_with(RETRY_PREFIX)
}

/// Whether this is a group's dead-letter topic.
#[must_use]
pub fn is_dlq(topic: &str) -> bool {
    topic.starts_with(DLQ_PREFIX)
}

/// The retry topic of a group.
#[must_use]
pub fn retry_topic(group: &str) -> String {
    format!("{RETRY_PREFIX}{group}")
}

/// The dead-letter topic of a group.
#[must_use]
pub fn dlq_topic(group: &str) -> String {
    format!("{DLQ_PREFIX}{group}")
}

/// Whether administrators must not create, change or delete this topic.
#[must_use]
pub fn is_system_topic(topic: &str) -> bool {
    SYSTEM_TOPICS.contains(&topic) || topic == OFFSET_MOVED_EVENT || topic.starts_with(SYSTEM_TOPIC_PREFIX)
}

/// Whether clients must not send to this topic.
#[must_use]
pub fn is_send_forbidden(topic: &str) -> bool {
    NO_SEND_TOPICS.contains(&topic)
        || (topic.starts_with(SYSTEM_TOPIC_PREFIX) && !topic.starts_with("rmq_sys_TRACE_DATA_"))
}

/// Whether this group belongs to RocketMQ itself.
#[must_use]
pub fn is_system_group(group: &str) -> bool {
    SYSTEM_GROUPS.contains(&group) || group.starts_with(SYSTEM_GROUP_PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_rocketmq() {
        assert_eq!(check_topic("Order-1_a|b%c"), Ok(()));
        assert_eq!(
            check_topic("../../etc"),
            Err(BadName::IllegalCharacter { kind: "topic", name: "../../etc".into() })
        );
        assert_eq!(check_topic(" "), Err(BadName::Blank { kind: "topic" }));
        assert_eq!(check_topic(&"a".repeat(127)), Ok(()));
        assert_eq!(check_topic(&"a".repeat(128)), Err(BadName::TooLong { kind: "topic", chars_max: 127 }));
        let longest = "g".repeat(GROUP_CHARS_MAX);
        assert_eq!(check_group(&longest), Ok(()));
        assert_eq!(check_topic(&retry_topic(&longest)), Ok(()));
        assert_eq!(check_topic(&dlq_topic(&longest)), Ok(()));
        assert!(matches!(check_topic(&retry_topic(&(longest + "g"))), Err(BadName::TooLong { .. })));
        assert_eq!(check_group("ünï"), Err(BadName::IllegalCharacter { kind: "group", name: "ünï".into() }));
    }
}
