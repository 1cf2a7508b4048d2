//! What a broker tells a name server when it registers, in both encodings.

use std::io::{Read, Write};

use bytes::Buf;
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{TopicConfig, TopicTable};
use crate::json::{self, JsonError};
use crate::limits::INFLATED_BYTES_MAX;

/// Body of 103 (`RegisterBrokerBody`), without what Strata does not use.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
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
    /// The compressed form ends early, or a topic's text is wrong.
    #[error("the compressed registration is wrong at {what}")]
    Layout {
        /// The part that is wrong.
        what: &'static str,
    },
}

impl RegisterBody {
    /// Reads either form.
    ///
    /// # Errors
    /// See [`RegisterError`].
    pub fn decode(body: &[u8], compressed: bool) -> Result<Self, RegisterError> {
        if !compressed {
            return Ok(if body.is_empty() { Self::default() } else { json::from_slice(body)? });
        }
        let mut inflated = Vec::new();
        let limit = INFLATED_BYTES_MAX as u64;
        ZlibDecoder::new(body).take(limit + 1).read_to_end(&mut inflated)?;
        if inflated.len() > INFLATED_BYTES_MAX {
            return Err(RegisterError::TooLong);
        }
        let mut rest = &inflated[..];
        let mut registration = Self::default();
        let table = &mut registration.topic_config_serialize_wrapper;
        table.data_version = json::from_slice(part(&mut rest, "data version")?)?;
        let topics = rest.try_get_i32().map_err(|_| RegisterError::Layout { what: "topic count" })?;
        for _ in 0..topics {
            let text = std::str::from_utf8(part(&mut rest, "topic")?).ok();
            let topic = text.and_then(parse_topic).ok_or(RegisterError::Layout { what: "topic" })?;
            table.topic_config_table.insert(topic.topic_name.clone(), topic);
        }
        registration.filter_server_list = json::from_slice(part(&mut rest, "filter servers")?).unwrap_or_default();
        Ok(registration)
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

fn parse_topic(text: &str) -> Option<TopicConfig> {
    let mut words = text.splitn(6, ' ');
    let name = words.next().filter(|name| !name.is_empty())?;
    let mut number = || words.next()?.parse::<i32>().ok();
    let (read_queue_nums, write_queue_nums, perm) = (number()?, number()?, number()?);
    let topic_filter_type = words.next().unwrap_or("SINGLE_TAG").to_owned();
    let attributes = words.next().and_then(|text| json::from_slice(text.as_bytes()).ok()).unwrap_or_default();
    Some(TopicConfig {
        topic_name: name.to_owned(),
        read_queue_nums,
        write_queue_nums,
        perm,
        topic_filter_type,
        attributes,
        ..TopicConfig::default()
    })
}

#[cfg(test)]
mod tests {
    use super::super::DataVersion;
    use super::*;

    #[test]
    fn both_forms_say_the_same() {
        let mut body = RegisterBody::default();
        let table = &mut body.topic_config_serialize_wrapper;
        table.data_version = DataVersion { state_version: 0, timestamp: 7, counter: 2 };
        for name in ["a", "%RETRY%g"] {
            let mut topic = TopicConfig::new(name, 4);
            topic.attributes.insert("message.type".into(), "FIFO".into());
            table.topic_config_table.insert(name.into(), topic);
        }
        assert_eq!(RegisterBody::decode(&body.encode(), false).unwrap(), body);
        assert_eq!(RegisterBody::decode(&body.encode_compressed().unwrap(), true).unwrap(), body);
    }

    #[test]
    fn a_compressed_body_that_ends_early_is_refused() {
        let mut out = ZlibEncoder::new(Vec::new(), Compression::fast());
        out.write_all(&[0, 0, 0, 2, b'{', b'}', 0, 0, 0, 1, 0, 0, 0, 9]).unwrap();
        let error = RegisterBody::decode(&out.finish().unwrap(), true).unwrap_err();
        assert!(matches!(error, RegisterError::Layout { what: "topic" }), "{error}");
    }
}
