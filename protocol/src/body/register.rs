//! What a broker tells a name server when it registers, in both encodings.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{Read, Write};

use bytes::Buf;
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{DataVersion, TopicConfig, TopicTable};
use crate::json::{self, JsonError};
use crate::limits::{INFLATED_BYTES_MAX, REGISTERED_TOPICS_MAX};

/// Body of 103 (`RegisterBrokerBody`), without what Strata does not use.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RegisterBody {
    /// The broker's topics, all or those that changed.
    pub topic_config_serialize_wrapper: TopicTable,
    /// The removed filter servers.
    pub filter_server_list: Vec<String>,
}

/// Why a registration cannot be read.
#[derive(Debug, Error)]
pub enum RegisterError {
    /// The plain form is not the JSON it should be.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// The compressed form cannot be inflated.
    #[error("the compressed registration cannot be inflated: {0}")]
    Inflate(#[from] std::io::Error),
    /// The compressed form is longer than allowed.
    #[error("the registration inflates to more than {INFLATED_BYTES_MAX} bytes")]
    TooLong,
    /// There are more topics than a name server keeps.
    #[error("the registration has more than {REGISTERED_TOPICS_MAX} topics")]
    TooManyTopics,
    /// The compressed form ends early, or a topic's text is wrong.
    #[error("the compressed registration is wrong at {what}")]
    Layout {
        /// The part that is wrong.
        what: &'static str,
    },
}

/// The plain form as it is read.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Plain {
    topic_config_serialize_wrapper: PlainTable,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PlainTable {
    topic_config_table: PlainTopics,
    data_version: DataVersion,
}

/// As many topics as are allowed. What comes behind them is read and forgotten, because a registration must
/// not decide how much memory its reader takes.
#[derive(Default)]
struct PlainTopics {
    kept: BTreeMap<String, TopicConfig>,
    is_over: bool,
}

/// A topic without its attributes, which mean nothing to a name server.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PlainTopic {
    topic_name: String,
    read_queue_nums: i32,
    write_queue_nums: i32,
    perm: i32,
    topic_filter_type: String,
    topic_sys_flag: i32,
    order: bool,
}

impl Default for PlainTopic {
    fn default() -> Self {
        let TopicConfig {
            topic_name,
            read_queue_nums,
            write_queue_nums,
            perm,
            topic_filter_type,
            topic_sys_flag,
            order,
            attributes: _,
        } = TopicConfig::default();
        Self { topic_name, read_queue_nums, write_queue_nums, perm, topic_filter_type, topic_sys_flag, order }
    }
}

impl From<PlainTopic> for TopicConfig {
    fn from(topic: PlainTopic) -> Self {
        Self {
            topic_name: topic.topic_name,
            read_queue_nums: topic.read_queue_nums,
            write_queue_nums: topic.write_queue_nums,
            perm: topic.perm,
            topic_filter_type: topic.topic_filter_type,
            topic_sys_flag: topic.topic_sys_flag,
            order: topic.order,
            attributes: BTreeMap::new(),
        }
    }
}

impl<'de> Deserialize<'de> for PlainTopics {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        source.deserialize_map(TopicsVisitor)
    }
}

struct TopicsVisitor;

impl<'de> Visitor<'de> for TopicsVisitor {
    type Value = PlainTopics;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("topics by name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut topics = PlainTopics::default();
        while let Some(name) = map.next_key::<String>()? {
            if topics.kept.len() == REGISTERED_TOPICS_MAX {
                topics.is_over = true;
                map.next_value::<IgnoredAny>()?;
            } else {
                topics.kept.insert(name, map.next_value::<PlainTopic>()?.into());
            }
        }
        Ok(topics)
    }
}

impl RegisterBody {
    /// Reads either form: the topics without their attributes, and their version.
    ///
    /// # Errors
    /// See [`RegisterError`].
    pub fn decode(body: &[u8], compressed: bool) -> Result<Self, RegisterError> {
        let table = match (compressed, body) {
            (true, body) => compressed_table(body)?,
            (false, b"") => TopicTable::default(),
            (false, body) => plain_table(body)?,
        };
        Ok(Self { topic_config_serialize_wrapper: table, filter_server_list: Vec::new() })
    }

    /// Writes the plain form.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // Plain data with text keys: serde_json cannot fail on it.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Writes the compressed form as brokers from 5.0.0 on do, with no static topics.
    ///
    /// # Errors
    /// Never in practice; the compressor writes to memory.
    pub fn encode_compressed(&self) -> std::io::Result<Vec<u8>> {
        let mut out = ZlibEncoder::new(Vec::new(), Compression::best());
        let table = &self.topic_config_serialize_wrapper;
        put_part(&mut out, &serde_json::to_vec(&table.data_version)?)?;
        out.write_all(&length(table.topic_config_table.len()).to_be_bytes())?;
        for topic in table.topic_config_table.values() {
            put_part(&mut out, topic_text(topic).as_bytes())?;
        }
        put_part(&mut out, &serde_json::to_vec(&self.filter_server_list)?)?;
        out.write_all(&0i32.to_be_bytes())?;
        out.finish()
    }
}

fn plain_table(body: &[u8]) -> Result<TopicTable, RegisterError> {
    let table = json::from_large_body::<Plain>(body)?.topic_config_serialize_wrapper;
    if table.topic_config_table.is_over {
        return Err(RegisterError::TooManyTopics);
    }
    Ok(TopicTable { topic_config_table: table.topic_config_table.kept, data_version: table.data_version })
}

fn compressed_table(body: &[u8]) -> Result<TopicTable, RegisterError> {
    let mut inflated = Vec::new();
    let limit = INFLATED_BYTES_MAX as u64;
    ZlibDecoder::new(body).take(limit + 1).read_to_end(&mut inflated)?;
    if inflated.len() > INFLATED_BYTES_MAX {
        return Err(RegisterError::TooLong);
    }
    let mut rest = &inflated[..];
    let mut table =
        TopicTable { data_version: json::from_slice(part(&mut rest, "data version")?)?, ..TopicTable::default() };
    let count = rest.try_get_i32().ok().and_then(|count| usize::try_from(count).ok());
    let count = count.ok_or(RegisterError::Layout { what: "topic count" })?;
    if count > REGISTERED_TOPICS_MAX {
        return Err(RegisterError::TooManyTopics);
    }
    for _ in 0..count {
        let text = std::str::from_utf8(part(&mut rest, "topic")?).ok();
        let topic = text.and_then(parse_topic).ok_or(RegisterError::Layout { what: "topic" })?;
        table.topic_config_table.insert(topic.topic_name.clone(), topic);
    }
    Ok(table)
}

fn length(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn put_part(out: &mut impl Write, bytes: &[u8]) -> std::io::Result<()> {
    out.write_all(&length(bytes.len()).to_be_bytes())?;
    out.write_all(bytes)
}

fn part<'a>(rest: &mut &'a [u8], what: &'static str) -> Result<&'a [u8], RegisterError> {
    let length = rest.try_get_i32().ok().and_then(|length| usize::try_from(length).ok());
    let split = length.and_then(|length| rest.split_at_checked(length));
    let (taken, left) = split.ok_or(RegisterError::Layout { what })?;
    *rest = left;
    Ok(taken)
}

/// `name readQueues writeQueues perm filterType [attributes]`, blank between.
fn topic_text(topic: &TopicConfig) -> String {
    let mut text = format!(
        "{} {} {} {} {}",
        topic.topic_name, topic.read_queue_nums, topic.write_queue_nums, topic.perm, topic.topic_filter_type
    );
    if !topic.attributes.is_empty() {
        text.push(' ');
        text.push_str(&serde_json::to_string(&topic.attributes).unwrap_or_default());
    }
    text
}

/// Reads a topic; its attributes mean nothing to a name server.
fn parse_topic(text: &str) -> Option<TopicConfig> {
    let mut words = text.splitn(6, ' ');
    let name = words.next().filter(|name| !name.is_empty())?;
    let mut number = || words.next()?.parse::<i32>().ok();
    let (read_queue_nums, write_queue_nums, perm) = (number()?, number()?, number()?);
    let topic_filter_type = words.next().unwrap_or("SINGLE_TAG").to_owned();
    Some(TopicConfig {
        topic_name: name.to_owned(),
        read_queue_nums,
        write_queue_nums,
        perm,
        topic_filter_type,
        ..TopicConfig::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::JSON_BODY_BYTES_MAX;

    fn body(topics: impl IntoIterator<Item = String>) -> RegisterBody {
        let mut body = RegisterBody::default();
        let table = &mut body.topic_config_serialize_wrapper;
        table.data_version = DataVersion { state_version: 0, timestamp: 7, counter: 2 };
        table.topic_config_table =
            topics.into_iter().map(|name| (name.clone(), TopicConfig::new(name.as_str(), 4))).collect();
        body
    }

    #[test]
    fn both_forms_say_the_same_and_leave_attributes_out() {
        let expected = body(["a".to_owned(), "%RETRY%g".to_owned()]);
        let mut sent = expected.clone();
        for topic in sent.topic_config_serialize_wrapper.topic_config_table.values_mut() {
            topic.attributes.insert("message.type".into(), "FIFO".into());
        }
        assert_eq!(RegisterBody::decode(&sent.encode(), false).unwrap(), expected);
        assert_eq!(RegisterBody::decode(&sent.encode_compressed().unwrap(), true).unwrap(), expected);
    }

    #[test]
    fn as_many_topics_as_are_kept_are_read_and_one_more_is_not() {
        let names = |count| (0..count).map(|n| format!("a-topic-of-average-length-{n}"));
        for (count, is_taken) in [(REGISTERED_TOPICS_MAX, true), (REGISTERED_TOPICS_MAX + 1, false)] {
            let sent = body(names(count));
            let read = RegisterBody::decode(&sent.encode_compressed().unwrap(), true);
            assert_eq!(read.is_ok_and(|read| read == sent), is_taken, "{count} topics");
        }
        // Longer than other bodies may be, and of the shortest topics that there are.
        let table: Vec<String> = (0..1_000_000).map(|n| format!("\"{n}\":{{}}")).collect();
        let plain = format!(r#"{{"topicConfigSerializeWrapper":{{"topicConfigTable":{{{}}}}}}}"#, table.join(","));
        assert!(plain.len() > JSON_BODY_BYTES_MAX);
        let error = RegisterBody::decode(plain.as_bytes(), false).unwrap_err();
        assert!(matches!(error, RegisterError::TooManyTopics), "{error}");
        let large = body(names(60_000)).encode();
        assert!(large.len() > JSON_BODY_BYTES_MAX, "{} bytes", large.len());
        let read = RegisterBody::decode(&large, false).unwrap();
        assert_eq!(read.topic_config_serialize_wrapper.topic_config_table.len(), 60_000);
    }

    #[test]
    fn a_count_alone_costs_nothing() {
        for (count, what) in [(i32::MAX, "more than"), (-1, "topic count")] {
            let mut out = ZlibEncoder::new(Vec::new(), Compression::fast());
            out.write_all(&[0, 0, 0, 2, b'{', b'}']).unwrap();
            out.write_all(&count.to_be_bytes()).unwrap();
            let error = RegisterBody::decode(&out.finish().unwrap(), true).unwrap_err();
            assert!(error.to_string().contains(what), "{error}");
        }
    }

    #[test]
    fn a_compressed_body_that_ends_early_is_refused() {
        let mut out = ZlibEncoder::new(Vec::new(), Compression::fast());
        out.write_all(&[0, 0, 0, 2, b'{', b'}', 0, 0, 0, 1, 0, 0, 0, 9]).unwrap();
        let error = RegisterBody::decode(&out.finish().unwrap(), true).unwrap_err();
        assert!(matches!(error, RegisterError::Layout { what: "topic" }), "{error}");
    }
}
