//! A message on its way into the log: checked, completed with the broker's properties, delayed if it
//! asks for that, appended.

use std::borrow::Cow;
use std::net::SocketAddr;

use strata_protocol::limits::PROPERTIES_BYTES_MAX;
use strata_protocol::name::SCHEDULE_TOPIC;
use strata_protocol::properties::{self, IndexTerms, Properties};
use strata_protocol::trace::Kind;
use strata_store::{Appended, NewMessage};

use crate::hall::Hall;
use crate::refusal::Refusal;
use crate::topics::Topic;
use crate::trail::{Doer, Event};

/// A message that is not stored yet.
pub(crate) struct Draft<'a> {
    pub topic: Cow<'a, str>,
    pub queue_id: i32,
    pub flag: i32,
    pub sys_flag: i32,
    pub born_timestamp: i64,
    pub born_host: SocketAddr,
    pub reconsume_times: i32,
    pub body: &'a [u8],
    pub properties: Vec<u8>,
    /// What the message is found by; the same values as in the properties.
    pub terms: IndexTerms<'a>,
    pub delay_level: i32,
    /// The producer group and the connection that it came from; `None` of a message that the broker makes.
    pub sender: Option<(&'a str, Doer)>,
}

/// What the properties of an arriving message say to the broker, found in one pass.
#[expect(clippy::struct_excessive_bools, reason = "findings of one pass, independent of each other")]
#[derive(Default)]
pub(crate) struct Seen<'a> {
    /// What the message is found by.
    pub terms: IndexTerms<'a>,
    pub delay_level: i32,
    pub timer: bool,
    pub half: bool,
    pub waits: bool,
    /// The broker's own properties are there already, so the text must be rewritten.
    own: bool,
}

/// Properties that the broker sets itself, or that must not come back from an earlier delivery.
const OWN: [&str; 4] = [properties::CLUSTER, properties::MSG_REGION, properties::TRACE_ON, properties::POP_CK];

/// The names that are looked for, as the text has them.
mod wire {
    use strata_protocol::properties as names;

    pub(super) const UNIQ_KEY: &[u8] = names::UNIQ_KEY.as_bytes();
    pub(super) const KEYS: &[u8] = names::KEYS.as_bytes();
    pub(super) const TAGS: &[u8] = names::TAGS.as_bytes();
    pub(super) const DELAY: &[u8] = names::DELAY.as_bytes();
    pub(super) const TIMER_DELAY_SEC: &[u8] = names::TIMER_DELAY_SEC.as_bytes();
    pub(super) const TIMER_DELAY_MS: &[u8] = names::TIMER_DELAY_MS.as_bytes();
    pub(super) const TIMER_DELIVER_MS: &[u8] = names::TIMER_DELIVER_MS.as_bytes();
    pub(super) const TRAN_MSG: &[u8] = names::TRAN_MSG.as_bytes();
    pub(super) const WAIT: &[u8] = names::WAIT.as_bytes();
    pub(super) const CLUSTER: &[u8] = names::CLUSTER.as_bytes();
    pub(super) const MSG_REGION: &[u8] = names::MSG_REGION.as_bytes();
    pub(super) const TRACE_ON: &[u8] = names::TRACE_ON.as_bytes();
    pub(super) const POP_CK: &[u8] = names::POP_CK.as_bytes();
}

impl<'a> Seen<'a> {
    /// Looks through a properties text.
    pub(crate) fn of(text: &'a [u8]) -> Self {
        let mut seen = Self { waits: true, ..Self::default() };
        for (name, value) in Properties::of(text) {
            match name {
                // One without a value is none, also behind one that has one.
                wire::UNIQ_KEY if !value.is_empty() => seen.terms.unique_key = term(value),
                wire::KEYS if !value.is_empty() => seen.terms.keys = term(value),
                wire::TAGS if !value.is_empty() => seen.terms.tags = term(value),
                wire::DELAY => seen.delay_level = number(value),
                wire::TIMER_DELAY_SEC | wire::TIMER_DELAY_MS | wire::TIMER_DELIVER_MS => seen.timer = true,
                wire::TRAN_MSG => seen.half = value.eq_ignore_ascii_case(b"true"),
                wire::WAIT => seen.waits = !value.eq_ignore_ascii_case(b"false"),
                wire::CLUSTER | wire::MSG_REGION | wire::TRACE_ON | wire::POP_CK => seen.own = true,
                _ => {}
            }
        }
        seen
    }

    /// The unique key that the message lacks.
    pub(crate) fn missing_key(&self, hall: &Hall) -> Option<String> {
        self.terms.unique_key.is_none().then(|| hall.figures.unique_key(hall))
    }

    /// The text with the broker's properties: a missing unique key, cluster, region, trace switch.
    pub(crate) fn complete(&self, hall: &Hall, text: &[u8], missing_key: Option<&str>) -> Result<Vec<u8>, Refusal> {
        let suffix = hall.figures.own_properties(&hall.options);
        let mut out = Vec::with_capacity(text.len() + suffix.len() + 64);
        if self.own {
            out.extend_from_slice(&properties::without(text, &OWN));
        } else {
            out.extend_from_slice(text);
        }
        if out.last().is_some_and(|last| *last != properties::PROPERTY_SEPARATOR) {
            out.push(properties::PROPERTY_SEPARATOR);
        }
        if let Some(key) = missing_key {
            put(&mut out, properties::UNIQ_KEY, key);
        }
        out.extend_from_slice(suffix);
        check_length(&out)?;
        Ok(out)
    }
}

/// A value to be found by; an empty one is none, as RocketMQ reads it.
fn term(value: &[u8]) -> Option<&str> {
    std::str::from_utf8(value).ok().filter(|text| !text.is_empty())
}

fn number(text: &[u8]) -> i32 {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn check_length(properties: &[u8]) -> Result<(), Refusal> {
    if properties.len() > PROPERTIES_BYTES_MAX {
        return Err(Refusal::PropertiesTooLong { bytes: properties.len(), limit: PROPERTIES_BYTES_MAX });
    }
    Ok(())
}

/// Adds a property whose name and value are known to hold no separator.
pub(crate) fn put(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(name.as_bytes());
    out.push(properties::NAME_VALUE_SEPARATOR);
    out.extend_from_slice(value.as_bytes());
    out.push(properties::PROPERTY_SEPARATOR);
}

impl Draft<'_> {
    /// Sends a message with a delay level to the schedule topic; it remembers where it belongs.
    fn delay(&mut self, hall: &Hall) -> Result<(), Refusal> {
        if self.delay_level <= 0 {
            return Ok(());
        }
        let level = hall.delays.clamp(self.delay_level);
        let mut text =
            properties::without(&self.properties, &[properties::REAL_TOPIC, properties::REAL_QID, properties::DELAY]);
        put(&mut text, properties::DELAY, &level.to_string());
        put(&mut text, properties::REAL_TOPIC, &self.topic);
        put(&mut text, properties::REAL_QID, &self.queue_id.to_string());
        check_length(&text)?;
        self.properties = text;
        self.topic = Cow::Borrowed(SCHEDULE_TOPIC);
        self.queue_id = level - 1;
        Ok(())
    }

    fn as_new(&self) -> NewMessage<'_> {
        NewMessage {
            topic: &self.topic,
            queue_id: self.queue_id,
            flag: self.flag,
            sys_flag: self.sys_flag,
            born_timestamp: self.born_timestamp,
            born_host: self.born_host,
            reconsume_times: self.reconsume_times,
            prepared_transaction_offset: 0,
            body: self.body,
            properties: &self.properties,
            terms: self.terms,
        }
    }

    /// Leaves a record that messages came, this one and those behind it, for a topic.
    pub(crate) fn note(&self, hall: &Hall, topic: &Topic, range: (i64, i64)) {
        let Some((group, doer)) = self.sender else { return };
        let messages = usize::try_from(range.1 - range.0).unwrap_or(0);
        let event =
            Event { kind: Kind::Store, group, topic: &self.topic, queue_id: self.queue_id, range, messages, doer };
        hall.trail.note(hall.trail.sampling(topic.records), &event, || hall.now_ms());
    }

    /// Appends the message and counts it for the topic that it is in then: `topic`, or that of delayed messages
    /// or dead letters.
    pub(crate) fn store(mut self, hall: &Hall, topic: &Topic) -> Result<Appended, Refusal> {
        self.delay(hall)?;
        let stored = hall.store.append(&self.as_new())?;
        self.note(hall, topic, (stored.queue_offset, stored.queue_offset + 1));
        if self.topic == topic.config.topic_name.as_str() {
            topic.incoming.add_sized(u64::from(stored.bytes));
        } else if let Some(other) = hall.tables.topics.find(&self.topic) {
            other.incoming.add_sized(u64::from(stored.bytes));
        }
        Ok(stored)
    }
}

/// Appends several messages of one queue with offsets in a row: all of them or none.
pub(crate) fn store_all(hall: &Hall, drafts: &[Draft<'_>]) -> Result<Vec<Appended>, Refusal> {
    let messages: Vec<_> = drafts.iter().map(Draft::as_new).collect();
    Ok(hall.store.append_batch(&messages)?.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_pass_finds_what_the_broker_must_know() {
        let seen = Seen::of(b"UNIQ_KEY\x01U\x02DELAY\x013\x02WAIT\x01false\x02TRAN_MSG\x01true\x02CLUSTER\x01c\x02");
        assert_eq!(seen.terms.unique_key, Some("U"));
        assert!(seen.half && seen.own && !seen.waits && !seen.timer);
        assert_eq!(seen.delay_level, 3);
        let none = Seen::of(b"");
        assert!(none.waits && !none.own && none.terms == IndexTerms::default());
    }
}
