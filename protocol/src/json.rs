//! Reads the JSON that RocketMQ's parties write: fastjson's dialect, which is wider than JSON.
//!
//! On top of JSON it takes unquoted member names (`{0:"host:port"}`), objects as member names
//! (`{{"topic":"t"}:{..}}`), single quotes, and numbers or truth values where text is meant. Depth is
//! bounded, nothing panics. It does not write: bodies are written by `serde_json` or by [`crate::body`].

use serde::de::DeserializeOwned;
use serde_json::Value;
use thiserror::Error;

use crate::limits::{JSON_BODY_BYTES_MAX, JSON_DEPTH_MAX};

mod cursor;
pub(crate) use cursor::Piece;
pub use cursor::{Cursor, Text};

/// Why text is not JSON of this dialect.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum JsonError {
    /// Something else was expected here.
    #[error("expected {expected} at byte {at}")]
    Expected {
        /// What would have been right.
        expected: &'static str,
        /// Where.
        at: usize,
    },
    /// The nesting is deeper than any message of the protocol.
    #[error("nested deeper than {JSON_DEPTH_MAX} levels at byte {at}")]
    TooDeep {
        /// Where.
        at: usize,
    },
    /// The document is larger than bodies that are parsed.
    #[error("{bytes} bytes of JSON exceed the limit of {JSON_BODY_BYTES_MAX}")]
    TooLong {
        /// Its size.
        bytes: usize,
    },
    /// The text is not UTF-8.
    #[error("not UTF-8")]
    NotUtf8,
    /// The document is well formed but not what was asked for.
    #[error("{reason}")]
    Shape {
        /// What does not fit.
        reason: String,
    },
}

/// Parses a whole document into a tree.
///
/// # Errors
/// See [`JsonError`].
pub fn parse(bytes: &[u8]) -> Result<Value, JsonError> {
    bounded(bytes, JSON_BODY_BYTES_MAX)?;
    parse_unbounded(bytes)
}

fn bounded(bytes: &[u8], bytes_max: usize) -> Result<(), JsonError> {
    if bytes.len() > bytes_max { Err(JsonError::TooLong { bytes: bytes.len() }) } else { Ok(()) }
}

/// As [`parse`], of an answer that was asked for: nothing but its frame bounds its length.
///
/// # Errors
/// As [`parse`], but never [`JsonError::TooLong`].
pub fn parse_unbounded(bytes: &[u8]) -> Result<Value, JsonError> {
    let text = std::str::from_utf8(bytes).map_err(|_| JsonError::NotUtf8)?;
    let mut cursor = Cursor::new(text);
    let value = cursor.value()?;
    cursor.end()?;
    Ok(value)
}

/// Parses the body of a frame into a type. Strict JSON, the usual case, takes the short way.
///
/// # Errors
/// See [`JsonError`]; [`JsonError::Shape`] when the document does not fit the type.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, JsonError> {
    bounded(bytes, JSON_BODY_BYTES_MAX)?;
    typed(bytes, JSON_BODY_BYTES_MAX)
}

/// As [`from_slice`], of an answer that was asked for, or of a file: what this process wrote it must be able to
/// read, whatever its length.
///
/// # Errors
/// As [`from_slice`], but never [`JsonError::TooLong`].
pub fn from_unbounded<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, JsonError> {
    typed(bytes, usize::MAX)
}

/// The same for a body that may fill its frame when it is strict JSON. The wider dialect is read by way of a
/// tree, which takes many times the memory of the text, and stays bounded as in [`from_slice`].
pub(crate) fn from_large_body<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, JsonError> {
    typed(bytes, JSON_BODY_BYTES_MAX)
}

fn typed<T: DeserializeOwned>(bytes: &[u8], tree_bytes_max: usize) -> Result<T, JsonError> {
    check_depth(bytes)?;
    if let Ok(value) = serde_json::from_slice(bytes) {
        return Ok(value);
    }
    bounded(bytes, tree_bytes_max)?;
    serde_json::from_value(without_nulls(parse_unbounded(bytes)?))
        .map_err(|error| JsonError::Shape { reason: error.to_string() })
}

/// A member that is `null` is a member that is absent, as Java's beans read it.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let kept = members.into_iter().filter(|(_, member)| !member.is_null());
            Value::Object(kept.map(|(name, member)| (name, without_nulls(member))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => other,
    }
}

/// Refuses a document that is nested too deeply, also where a reader would pass over it.
fn check_depth(bytes: &[u8]) -> Result<(), JsonError> {
    let (mut depth, mut quote, mut escaped) = (0, None, false);
    for (at, byte) in bytes.iter().enumerate() {
        match (quote, byte) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), b'\\') => escaped = true,
            (Some(open), byte) if open == byte => quote = None,
            (Some(_), _) => {}
            (None, b'"' | b'\'') => quote = Some(byte),
            (None, b'{' | b'[') => {
                depth += 1;
                if depth > JSON_DEPTH_MAX {
                    return Err(JsonError::TooDeep { at });
                }
            }
            (None, b'}' | b']') => depth = depth.saturating_sub(1),
            (None, _) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_dialect_of_fastjson_is_read() {
        let cases: [(&str, Value); 8] = [
            ("{0:\"10.0.0.1:10911\",1:'x'}", json!({"0": "10.0.0.1:10911", "1": "x"})),
            (
                "{{\"topic\":\"t\",\"queueId\":0}:{\"offset\":5}}",
                json!({"{\"topic\":\"t\",\"queueId\":0}": {"offset": 5}}),
            ),
            (" [1, -2 ,3.5,true,null] ", json!([1, -2, 3.5, true, null])),
            (r#""a\u0001b\n\"\\\/\ud83d\ude00""#, json!("a\u{1}b\n\"\\/😀")),
            (r#"'\ud83d'"#, json!("\u{fffd}")),
            (r#"'\x41\1'"#, json!("A\u{1}")),
            ("{}", json!({})),
            ("{\"a\":[{}],}", json!({"a": [{}]})),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text.as_bytes()), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_not_json_is_refused_with_its_place() {
        for text in ["", "{", "{\"a\"", "{\"a\":", "[1", "\"a", "\"\\", "\"\\u12", "{\"a\":1}x", "}", "nul", "{:1}"] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
        let deep = "[".repeat(JSON_DEPTH_MAX + 1);
        assert_eq!(parse(deep.as_bytes()), Err(JsonError::TooDeep { at: JSON_DEPTH_MAX + 1 }));
        assert_eq!(parse(b"\xff"), Err(JsonError::NotUtf8));
    }

    #[test]
    fn depth_counts_in_members_that_nobody_reads() {
        let text = format!(r#"{{"a":1,"x":{}{}}}"#, "[".repeat(JSON_DEPTH_MAX), "]".repeat(JSON_DEPTH_MAX));
        let read: Result<std::collections::BTreeMap<String, serde::de::IgnoredAny>, _> = from_slice(text.as_bytes());
        assert!(matches!(read, Err(JsonError::TooDeep { .. })));
        let quoted = format!(r#"{{"a":"{}\"["}}"#, "[".repeat(100));
        assert!(from_slice::<Value>(quoted.as_bytes()).is_ok());
    }

    #[test]
    fn bodies_are_bounded_and_files_are_not() {
        let strict = format!(r#"{{"a":"{}"}}"#, "x".repeat(JSON_BODY_BYTES_MAX));
        let wide = strict.replace("\"a\"", "0");
        type Map = std::collections::BTreeMap<String, String>;
        for text in [&strict, &wide] {
            let bytes = text.as_bytes();
            assert_eq!(from_slice::<Map>(bytes), Err(JsonError::TooLong { bytes: bytes.len() }));
            assert!(matches!(parse(bytes), Err(JsonError::TooLong { .. })));
            assert!(parse_unbounded(bytes).is_ok());
            assert_eq!(from_unbounded::<Map>(bytes).unwrap().len(), 1);
        }
        assert!(from_large_body::<Map>(strict.as_bytes()).is_ok());
        assert!(matches!(from_large_body::<Map>(wide.as_bytes()), Err(JsonError::TooLong { .. })));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in ".{0,64}") {
            let _ = parse(text.as_bytes());
        }

        #[test]
        fn what_serde_writes_is_read_back(text in ".{0,32}", number: i64) {
            let value = json!({ text.clone(): [number, text, null, true] });
            proptest::prop_assert_eq!(parse(value.to_string().as_bytes()), Ok(value));
        }
    }
}
