//! A message on its way out: which of its properties it keeps, and which it gets.

use std::borrow::Cow;

use strata_protocol::limits::PROPERTIES_BYTES_MAX;
use strata_protocol::name;
use strata_protocol::properties::{self, append};
use strata_protocol::sysflag::{COMPRESSED, COMPRESSION_MASK, INNER_BATCH, MULTI_TAGS};

use super::flags::Aim;
use crate::reading::message::Message;
use crate::time::show_ms;

/// The property with the run that sent a message.
pub(super) const REPLAY: &str = "STRATA_REPLAY";
/// The property with the place that it was sent from: topic, broker, queue, offset, offset message id, store time.
pub(super) const ORIGIN: &str = "STRATA_ORIGIN";

/// What brokers and clients wrote about the first message and not about this one: where it is, that it waited, that it
/// was given out. Kept, some would make the broker do it again.
const LEFT_OUT: [&str; 31] = [
    properties::CLUSTER,
    properties::MSG_REGION,
    properties::TRACE_ON,
    properties::WAIT,
    properties::DELAY,
    properties::REAL_TOPIC,
    properties::REAL_QID,
    properties::TRAN_MSG,
    properties::TRAN_PREPARED_QUEUE_OFFSET,
    properties::TRANSACTION_CHECK_TIMES,
    properties::TIMER_DELAY_SEC,
    properties::TIMER_DELAY_MS,
    properties::TIMER_DELIVER_MS,
    properties::POP_CK,
    "TIMER_ENQUEUE_MS",
    "TIMER_DEQUEUE_MS",
    "TIMER_ROLL_TIMES",
    "TIMER_OUT_MS",
    "TIMER_DEL_UNIQKEY",
    "TIMER_DELAY_LEVEL",
    "POP_CK_OFFSET",
    "1ST_POP_TIME",
    "RECONSUME_TIME",
    "MAX_RECONSUME_TIMES",
    "CONSUME_START_TIME",
    "MIN_OFFSET",
    "MAX_OFFSET",
    "INNER_MULTI_DISPATCH",
    "INNER_MULTI_QUEUE_OFFSET",
    "__CRC32#",
    REPLAY,
];

/// What says where a message came from when it was given back: right for its group, wrong in any other topic, where its
/// consumers would be told that topic.
const OF_RETRIES: [&str; 2] = [properties::RETRY_TOPIC, properties::ORIGIN_MESSAGE_ID];

/// The properties that a message is sent with. The error says why it cannot be sent.
pub(super) fn properties_of(message: &Message, aim: &Aim, mark: &str) -> Result<String, String> {
    if message.flags.system & INNER_BATCH != 0 {
        return Err(String::from("it is a batch that was stored as one message"));
    }
    let mut text = Vec::new();
    let is_for_topic = matches!(aim, Aim::Topic(_));
    let mut put = |key: &str, value: &str| append(&mut text, key, value).map_err(|error| error.to_string());
    for (key, value) in &message.properties {
        let key = key.as_str();
        if LEFT_OUT.contains(&key) || key == ORIGIN || (is_for_topic && OF_RETRIES.contains(&key)) {
            continue;
        }
        if key.contains(char::REPLACEMENT_CHARACTER) || value.contains(char::REPLACEMENT_CHARACTER) {
            return Err(format!("its property {key} is not UTF-8"));
        }
        put(key, value)?;
    }
    if !is_for_topic {
        // What came back before remembers where it came from first.
        if message.property(properties::RETRY_TOPIC).is_none() {
            put(properties::RETRY_TOPIC, &message.topic)?;
        }
        if message.property(properties::ORIGIN_MESSAGE_ID).is_none() {
            put(properties::ORIGIN_MESSAGE_ID, &message.offset_message_id)?;
        }
    }
    put(REPLAY, mark)?;
    put(ORIGIN, &origin(message))?;
    if text.len() > PROPERTIES_BYTES_MAX {
        let bytes = text.len();
        return Err(format!("with where it came from, its properties take {bytes} bytes of {PROPERTIES_BYTES_MAX}"));
    }
    String::from_utf8(text).map_err(|error| error.to_string())
}

/// The bits of `sysFlag` that tell how body and tags are read.
pub(super) const fn sys_flag(message: &Message) -> i32 {
    message.flags.system & (COMPRESSED | COMPRESSION_MASK | MULTI_TAGS)
}

/// Where a message came from, as [`ORIGIN`] tells it.
fn origin(message: &Message) -> String {
    let Message { topic, broker, queue_id, queue_offset, offset_message_id, stored_ms, .. } = message;
    let broker = broker_word(broker);
    format!("{topic} {broker} {queue_id} {queue_offset} {offset_message_id} {}", show_ms(*stored_ms))
}

/// A broker's name as one word.
fn broker_word(broker: &str) -> Cow<'_, str> {
    if broker.contains(' ') { Cow::Owned(broker.replace(' ', "_")) } else { Cow::Borrowed(broker) }
}

/// The offset that a message was replayed from, if that was in this queue.
pub(super) fn offset_of_origin(origin: &str, (topic, broker, queue_id): (&str, &str, i32)) -> Option<i64> {
    let mut words = origin.split(' ');
    let is_here =
        words.next()? == topic && words.next()? == broker_word(broker) && words.next()?.parse() == Ok(queue_id);
    words.next()?.parse().ok().filter(|_| is_here)
}

/// Whether the messages of a topic remember another one that they came from.
pub(super) fn holds_others(topic: &str) -> bool {
    name::is_retry(topic) || name::is_dlq(topic)
}

#[cfg(test)]
mod tests {
    use strata_protocol::properties::{Properties, find_str};

    use super::*;
    use crate::reading::message::Flags;
    use crate::reading::message::tests::message;

    fn with(properties: &[(&str, &str)]) -> Message {
        let properties = properties.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Message { properties, ..message(3, 77, 1_793_491_200_007, b"body") }
    }

    fn names(text: &str) -> Vec<String> {
        Properties::of(text.as_bytes()).map(|(name, _)| String::from_utf8_lossy(name).into_owned()).collect()
    }

    #[test]
    fn what_is_the_applications_stays_in_its_order() {
        let message = with(&[
            ("b", "1"),
            ("TAGS", "A"),
            ("CLUSTER", "c"),
            ("KEYS", "k1 k2"),
            ("DELAY", "3"),
            ("UNIQ_KEY", "U"),
            ("a", "ü"),
        ]);
        let text = properties_of(&message, &Aim::Topic("again".into()), "run_0").unwrap();
        assert_eq!(names(&text), ["b", "TAGS", "KEYS", "UNIQ_KEY", "a", REPLAY, ORIGIN]);
        assert_eq!(find_str(text.as_bytes(), "a"), Some("ü"));
        let origin = find_str(text.as_bytes(), ORIGIN).unwrap();
        assert_eq!(origin, "orders broker-a 3 77 7F00000100002A9F0000000000000000 2026-11-01T00:00:00.007Z");
        assert_eq!(offset_of_origin(origin, ("orders", "broker-a", 3)), Some(77));
        for other in [("order", "broker-a", 3), ("orders", "broker-b", 3), ("orders", "broker-a", 2)] {
            assert_eq!(offset_of_origin(origin, other), None);
        }
    }

    #[test]
    fn a_group_is_told_the_first_topic() {
        let group = Aim::Group("g".into());
        let text = properties_of(&with(&[("a", "1")]), &group, "run_0").unwrap();
        assert_eq!(find_str(text.as_bytes(), "RETRY_TOPIC"), Some("orders"));
        assert_eq!(find_str(text.as_bytes(), "ORIGIN_MESSAGE_ID"), Some("7F00000100002A9F0000000000000000"));
        let dead = with(&[("RETRY_TOPIC", "first"), ("ORIGIN_MESSAGE_ID", "X"), ("RECONSUME_TIME", "16")]);
        let text = properties_of(&dead, &group, "run_0").unwrap();
        assert_eq!(names(&text), ["RETRY_TOPIC", "ORIGIN_MESSAGE_ID", REPLAY, ORIGIN]);
        assert_eq!(find_str(text.as_bytes(), "RETRY_TOPIC"), Some("first"));
        let text = properties_of(&dead, &Aim::Topic("again".into()), "run_0").unwrap();
        assert_eq!(names(&text), [REPLAY, ORIGIN]);
    }

    #[test]
    fn a_replay_of_a_replay_tells_its_own_origin() {
        let again = with(&[(REPLAY, "old_1"), (ORIGIN, "elsewhere b 0 1 X -"), ("a", "1")]);
        let text = properties_of(&again, &Aim::Topic("again".into()), "new_2").unwrap();
        assert_eq!(names(&text), ["a", REPLAY, ORIGIN]);
        assert_eq!(find_str(text.as_bytes(), REPLAY), Some("new_2"));
    }

    #[test]
    fn what_cannot_be_sent_says_why() {
        let topic = Aim::Topic("again".into());
        let why = |message: &Message| properties_of(message, &topic, "run_0").unwrap_err();
        assert!(why(&with(&[("a", "\u{FFFD}")])).contains("not UTF-8"));
        assert!(why(&with(&[("a", &"x".repeat(PROPERTIES_BYTES_MAX - 10))])).contains("properties take"));
        let batch = Message { flags: Flags { application: 0, system: INNER_BATCH }, ..with(&[]) };
        assert!(why(&batch).contains("batch"));
        let packed = Message { flags: Flags { application: 7, system: 0x201 | 0x10 | 0x8 }, ..with(&[]) };
        assert_eq!(sys_flag(&packed), 0x201);
    }

    #[test]
    fn a_brokers_name_is_one_word() {
        let message = Message { broker: "broker a".into(), ..with(&[]) };
        assert_eq!(offset_of_origin(&origin(&message), ("orders", "broker a", 3)), Some(77));
    }
}
