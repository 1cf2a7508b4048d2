//! Small documents that carry their own checksum, so that a digit that changed on disk is noticed.
//!
//! Owns where the checksum stands: in JSON the last member, in properties the first line, a comment. Programs that know
//! nothing of it read both as before. It reads and writes no files.

use serde_json::Value;
use thiserror::Error;

use crate::json;

/// The JSON member.
const MEMBER: &str = "crc32c";
/// The first bytes of a properties text with a checksum.
const PROPERTIES_BEGIN: &str = "#crc32c=";
/// Hexadecimal digits of a checksum.
const DIGITS: usize = 8;

/// What speaks for a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// Its checksum.
    Checksum,
    /// Nothing: it has none, as written by hand or by RocketMQ.
    None,
}

/// Why a document is not believed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ChecksumError {
    /// The checksum is that of another text.
    #[error(
        "its checksum {stored:?} does not match its text, which has {found:?}; after a change by hand, remove the checksum"
    )]
    Mismatch {
        /// As the document says.
        stored: String,
        /// As computed.
        found: String,
    },
    /// There is something where a checksum stands, and it is none.
    #[error("it holds {what:?} where only a whole checksum may stand")]
    Unclear {
        /// What stands there.
        what: String,
    },
    /// The document is not JSON.
    #[error(transparent)]
    Json(#[from] json::JsonError),
}

/// How a file that holds such a document is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// There is none.
    Absent,
    /// It can be read.
    Good(Proof),
    /// It cannot be believed.
    Damaged {
        /// Why.
        what: String,
    },
}

/// The checksum of a document called `name`: a document in the place of another one does not match.
fn checksum(name: &str, text: &[u8]) -> String {
    format!("{:08x}", crc32c::crc32c_append(crc32c::crc32c(name.as_bytes()), text))
}

/// Adds the checksum to a JSON object as its last member. Other documents stay as they are.
#[must_use]
pub fn json_with_checksum(name: &str, mut document: Vec<u8>) -> Vec<u8> {
    let text = document.trim_ascii_end();
    let Some(members) = text.strip_suffix(b"}") else { return document };
    let members = members.trim_ascii_end();
    let is_empty = members.ends_with(b"{");
    document.truncate(members.len());
    if !is_empty {
        document.push(b',');
    }
    let sum = checksum(name, &document);
    document.extend_from_slice(json_end(&sum).as_bytes());
    document
}

/// The last bytes of a checked document.
fn json_end(sum: &str) -> String {
    format!("\"{MEMBER}\":\"{sum}\"}}")
}

/// Holds a JSON document against its checksum, if it has one.
///
/// # Errors
/// See [`ChecksumError`].
pub fn check_json(name: &str, bytes: &[u8]) -> Result<Proof, ChecksumError> {
    let length = json_end(&"0".repeat(DIGITS)).len();
    let split = bytes.len().checked_sub(length).map(|at| bytes.split_at(at));
    if let Some((text, end)) = split
        && let Some(stored) = digits(end, &json_end(""), MEMBER.len() + 4)
    {
        return compare(name, text, stored);
    }
    let document = json::parse_unbounded(bytes)?;
    // No settings of RocketMQ have a text at the top level: whatever its name has become, it is a checksum.
    let members = document.as_object().into_iter().flatten();
    let unclear = members.into_iter().find(|(member, value)| *member == MEMBER || matches!(value, Value::String(_)));
    match unclear {
        Some((member, value)) => Err(ChecksumError::Unclear { what: format!("{member}: {value}") }),
        None => Ok(Proof::None),
    }
}

/// Puts the checksum before a properties text, as a comment.
#[must_use]
pub fn properties_with_checksum(name: &str, text: &str) -> String {
    format!("{PROPERTIES_BEGIN}{}\n{text}", checksum(name, text.as_bytes()))
}

/// Holds a properties text against its checksum, if it has one.
///
/// # Errors
/// See [`ChecksumError`]. What may be left of a checksum that was cut or changed is refused, and so is an empty text.
pub fn check_properties(name: &str, bytes: &[u8]) -> Result<Proof, ChecksumError> {
    let end = bytes.iter().position(|byte| *byte == b'\n');
    let (first, text) = bytes.split_at(end.map_or(bytes.len(), |end| end + 1));
    if let Some(stored) = digits(first, &format!("{PROPERTIES_BEGIN}\n"), PROPERTIES_BEGIN.len()) {
        return compare(name, text, stored);
    }
    let last = bytes.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    // A first comment that is nearly a checksum, or a comment without an end, has been something else.
    let unclear = bytes.is_empty() || is_nearly_checksum(first.trim_ascii_end()) || is_comment(last);
    if unclear {
        return Err(ChecksumError::Unclear { what: String::from_utf8_lossy(first).into_owned() });
    }
    Ok(Proof::None)
}

fn is_comment(line: &[u8]) -> bool {
    matches!(line.first(), Some(b'#' | b'!'))
}

/// Whether a line is a comment that one changed byte would make a checksum. Dates, as Java writes them into the
/// first line, are far from it.
fn is_nearly_checksum(line: &[u8]) -> bool {
    let named = line.get(1..PROPERTIES_BEGIN.len()) == Some(&PROPERTIES_BEGIN.as_bytes()[1..]);
    let ends_in_digits = line.len() > DIGITS && line[line.len() - DIGITS..].iter().all(u8::is_ascii_hexdigit);
    let framed = line.contains(&b'=') || line.len() == PROPERTIES_BEGIN.len() + DIGITS;
    is_comment(line) && (named || ends_in_digits && framed)
}

/// The digits that stand at `at` of `text`, which is `frame` around them.
fn digits<'a>(text: &'a [u8], frame: &str, at: usize) -> Option<&'a str> {
    let (before, after) = frame.as_bytes().split_at_checked(at)?;
    let digits = text.strip_prefix(before)?.strip_suffix(after)?;
    let digits = std::str::from_utf8(digits).ok()?;
    (digits.len() == DIGITS).then_some(digits)
}

fn compare(name: &str, text: &[u8], stored: &str) -> Result<Proof, ChecksumError> {
    let found = checksum(name, text);
    if found == stored {
        return Ok(Proof::Checksum);
    }
    Err(ChecksumError::Mismatch { stored: stored.to_owned(), found })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_of_a_byte_is_noticed() {
        let offsets = br#"{"offsetTable":{"t@g":{"0":17}},"dataVersion":{"counter":3}}"#.to_vec();
        let pretty = b"{\n  \"configTable\": {}\n}".to_vec();
        let properties = properties_with_checksum("p", "a=true\nb=false\n").into_bytes();
        let json = |document| json_with_checksum("p", document);
        type Check = fn(&str, &[u8]) -> Result<Proof, ChecksumError>;
        let cases: [(Vec<u8>, Check); 4] = [
            (json(offsets), check_json),
            (json(pretty), check_json),
            (json(b"{}".to_vec()), check_json),
            (properties, check_properties),
        ];
        for (bytes, check) in cases {
            assert_eq!(check("p", &bytes), Ok(Proof::Checksum), "{}", String::from_utf8_lossy(&bytes));
            assert!(check("q", &bytes).is_err(), "a document in the place of another one");
            for at in 0..bytes.len() {
                for byte in 0..=255 {
                    let mut other = bytes.clone();
                    other[at] = byte;
                    let passed = check("p", &other).is_ok() && other != bytes && !is_refused_later(&other);
                    assert!(!passed, "byte {at} became {byte}: {}", String::from_utf8_lossy(&other));
                }
            }
            for length in 0..bytes.len() {
                assert!(check("p", &bytes[..length]).is_err(), "cut to {length}");
            }
        }
    }

    /// A properties text whose first line is none any more holds a line that is no setting.
    fn is_refused_later(bytes: &[u8]) -> bool {
        let text = String::from_utf8_lossy(bytes);
        let is_setting = |line: &str| ["a=true", "b=false", ""].contains(&line) || line.starts_with(['#', '!']);
        text.ends_with("=true\nb=false\n") && !text.lines().all(is_setting)
    }

    #[test]
    fn a_checked_document_is_still_json_with_the_same_members() {
        let checked = json_with_checksum("p", br#"{"a":{"b":1}} "#.to_vec());
        let value: Value = serde_json::from_slice(&checked).unwrap();
        assert_eq!(value["a"]["b"], 1);
        assert_eq!(value[MEMBER].as_str().map(str::len), Some(DIGITS));
        assert_eq!(json_with_checksum("p", b"[1]".to_vec()), b"[1]");
    }

    #[test]
    fn documents_without_checksum_are_taken() {
        let java = br#"{"offsetTable":{"t@g":{0:5,1:7}},"dataVersion":{"counter":1,"timestamp":5}}"#;
        assert_eq!(check_json("p", java), Ok(Proof::None));
        assert_eq!(check_json("p", b"{}\n"), Ok(Proof::None));
        assert_eq!(check_properties("p", b"#Mon Nov 21\na=true\n"), Ok(Proof::None));
        assert_eq!(check_properties("p", b"a=true"), Ok(Proof::None));
        assert!(check_properties("p", b"").is_err());
        assert!(matches!(check_json("p", b""), Err(ChecksumError::Json(_))));
        assert!(matches!(check_json("p", br#"{"crc32c":7}"#), Err(ChecksumError::Unclear { .. })));
    }
}
