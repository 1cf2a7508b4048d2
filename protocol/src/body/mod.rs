//! The JSON documents in frame bodies, by type.
//!
//! Reading goes through [`crate::json`], which takes fastjson's dialect. Writing is `serde_json`, but for
//! maps whose keys are numbers or objects, which Java's tools expect unquoted: [`object_map`] writes those.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

mod client;
mod lenient;
mod register;
mod route;
mod settings;

pub use client::*;
pub use register::*;
pub use route::*;
pub use settings::*;

/// How often and when a table changed (`DataVersion`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DataVersion {
    /// Rises when a master changes.
    pub state_version: i64,
    /// When it last changed, ms.
    pub timestamp: i64,
    /// How often it changed.
    pub counter: i64,
}

/// One queue of one broker (`MessageQueue`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MessageQueue {
    /// Topic.
    pub topic: String,
    /// Broker name.
    pub broker_name: String,
    /// Queue id.
    #[serde(deserialize_with = "lenient::int32")]
    pub queue_id: i32,
}

/// Names and the address of one broker (`TopicList`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicList {
    /// The names.
    pub topic_list: Vec<String>,
    /// Some broker's address, where the request gives one.
    pub broker_addr: Option<String>,
}

/// Writes a map as fastjson writes it when its keys are objects or numbers: `{key:value,..}`, the keys
/// being JSON themselves and not quoted. Java's tools read nothing else.
#[must_use]
pub fn object_map<K: Serialize, V: Serialize>(entries: impl IntoIterator<Item = (K, V)>) -> String {
    let mut out = String::from("{");
    for (key, value) in entries {
        if out.len() > 1 {
            out.push(',');
        }
        // Both sides are plain data of this crate; serde_json fails only on maps with odd keys.
        let key = serde_json::to_string(&key).unwrap_or_default();
        let value = serde_json::to_string(&value).unwrap_or_default();
        let _ = write!(out, "{key}:{value}");
    }
    out.push('}');
    out
}

/// Reads the key of such a map back: a message queue as JSON text.
///
/// # Errors
/// When the text is no message queue.
pub fn queue_key(text: &str) -> Result<MessageQueue, crate::json::JsonError> {
    crate::json::from_slice(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_keys_are_written_bare_and_read_back() {
        let queue = MessageQueue { topic: "t".into(), broker_name: "b".into(), queue_id: 1 };
        let text = object_map([(queue.clone(), 5)]);
        assert_eq!(text, r#"{{"topic":"t","brokerName":"b","queueId":1}:5}"#);
        let value = crate::json::parse(text.as_bytes()).unwrap();
        let (key, _) = value.as_object().unwrap().iter().next().unwrap();
        assert_eq!(queue_key(key), Ok(queue));
        assert_eq!(object_map([(0, "a"), (1, "b")]), r#"{0:"a",1:"b"}"#);
    }
}
