//! A message's properties in their text form: `name 0x01 value 0x02`, repeated.
//!
//! Owns the names that RocketMQ reserves, reading and editing of the text, and the terms by which a
//! message is found. Works on bytes as they came: values that are not UTF-8 are kept and never panic.

use thiserror::Error;

use crate::limits::PROPERTIES_BYTES_MAX;

mod keys;
pub use keys::*;

/// Between a name and its value.
pub const NAME_VALUE_SEPARATOR: u8 = 1;
/// After each value; readers accept that the last one is missing.
pub const PROPERTY_SEPARATOR: u8 = 2;
/// Between the search keys inside [`KEYS`].
pub const KEY_SEPARATOR: char = ' ';

/// Why a properties text is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PropertiesError {
    /// The record stores the length as a signed 16-bit number.
    #[error("properties take {bytes} bytes, the record holds at most {max}")]
    TooLong {
        /// Bytes found.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// An entry without a name, without a separator, or with two.
    #[error("the property entry at byte {at} is not one name, 0x01 and one value")]
    Malformed {
        /// Where the entry begins.
        at: usize,
    },
    /// A name or value to be written holds a separator, or the name is empty.
    #[error("property {name:?} is empty or holds 0x01 or 0x02 in its name or value")]
    Separator {
        /// The name as given.
        name: String,
    },
}

/// The entries of a properties text in their order.
///
/// An entry without a name or without 0x01 is passed over, as RocketMQ's decoder does; an empty value
/// is yielded (RocketMQ's decoder drops those too, so callers that mirror it test for emptiness).
#[derive(Debug, Clone)]
pub struct Properties<'a> {
    rest: &'a [u8],
}

impl<'a> Properties<'a> {
    /// Iterates over `text`.
    #[must_use]
    pub const fn of(text: &'a [u8]) -> Self {
        Self { rest: text }
    }
}

impl<'a> Iterator for Properties<'a> {
    type Item = (&'a [u8], &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let text = self.rest;
            // The first separator of either kind ends a name, or an entry that has none.
            let at = next_separator(text, 0);
            if text.get(at) != Some(&NAME_VALUE_SEPARATOR) {
                self.rest = text.get(at + 1..).unwrap_or_default();
                continue;
            }
            let mut end = next_separator(text, at + 1);
            while text.get(end) == Some(&NAME_VALUE_SEPARATOR) {
                end = next_separator(text, end + 1);
            }
            self.rest = text.get(end + 1..).unwrap_or_default();
            if at > 0 {
                return Some((&text[..at], &text[at + 1..end]));
            }
        }
        None
    }
}

/// The position of the first 0x01 or 0x02 at or behind `from`, or the length.
///
/// Eight bytes at a time: properties are read for every message on its way in.
#[inline]
fn next_separator(text: &[u8], from: usize) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let mut at = from;
    while let Some(eight) = text.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*eight);
        // A byte below 3 borrows into its top bit; the lowest such byte is found exactly.
        let low = word.wrapping_sub(ONES * 3) & !word & (ONES << 7);
        if low == 0 {
            at += 8;
            continue;
        }
        at += (low.trailing_zeros() / 8) as usize;
        if text[at] != 0 {
            return at;
        }
        at += 1;
    }
    let rest = text.get(at..).unwrap_or_default();
    rest.iter().position(|byte| *byte == 1 || *byte == 2).map_or(text.len(), |found| at + found)
}

/// Splits the first entry off, without its 0x02.
fn take_entry<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let text = *rest;
    if let Some(end) = position(text, PROPERTY_SEPARATOR) {
        *rest = &text[end + 1..];
        &text[..end]
    } else {
        *rest = &[];
        text
    }
}

fn position(bytes: &[u8], wanted: u8) -> Option<usize> {
    bytes.iter().position(|byte| *byte == wanted)
}

/// The value of `name`. Of several, the last counts, as in Java's map; an empty value is none, as for
/// RocketMQ's decoder.
#[must_use]
pub fn find<'a>(text: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let named = |(found, value): &(&[u8], &[u8])| *found == name.as_bytes() && !value.is_empty();
    Properties::of(text).filter(named).last().map(|(_, value)| value)
}

/// The value of `name` as text; `None` when it is absent or not UTF-8.
#[must_use]
pub fn find_str<'a>(text: &'a [u8], name: &str) -> Option<&'a str> {
    find(text, name).and_then(|value| std::str::from_utf8(value).ok())
}

/// Checks that `text` fits a record and is nothing but entries.
///
/// # Errors
/// Too long, or an entry that is not one name, one separator and one value.
pub fn check(text: &[u8]) -> Result<(), PropertiesError> {
    if text.len() > PROPERTIES_BYTES_MAX {
        return Err(PropertiesError::TooLong { bytes: text.len(), max: PROPERTIES_BYTES_MAX });
    }
    let mut rest = text;
    while !rest.is_empty() {
        let at = text.len() - rest.len();
        let entry = take_entry(&mut rest);
        let separator = position(entry, NAME_VALUE_SEPARATOR).filter(|found| *found > 0);
        let Some(separator) = separator else {
            return Err(PropertiesError::Malformed { at });
        };
        if position(&entry[separator + 1..], NAME_VALUE_SEPARATOR).is_some() {
            return Err(PropertiesError::Malformed { at });
        }
    }
    Ok(())
}

/// Appends one property to `out`, which holds a properties text.
///
/// # Errors
/// The name is empty, or name or value hold a separator.
pub fn append(out: &mut Vec<u8>, name: &str, value: &str) -> Result<(), PropertiesError> {
    let stray = |text: &str| text.bytes().any(|byte| byte == 1 || byte == 2);
    if name.is_empty() || stray(name) || stray(value) {
        return Err(PropertiesError::Separator { name: name.to_owned() });
    }
    append_raw(out, name.as_bytes(), value.as_bytes());
    Ok(())
}

/// Appends an entry as it is, after closing the text before it.
fn append_raw(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    if out.last().is_some_and(|last| *last != PROPERTY_SEPARATOR) {
        out.push(PROPERTY_SEPARATOR);
    }
    out.extend_from_slice(name);
    out.push(NAME_VALUE_SEPARATOR);
    out.extend_from_slice(value);
    out.push(PROPERTY_SEPARATOR);
}

/// `text` without the properties named in `names`; everything else keeps its bytes and order.
#[must_use]
pub fn without(text: &[u8], names: &[&str]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for (name, value) in Properties::of(text) {
        if !names.iter().any(|unwanted| unwanted.as_bytes() == name) {
            append_raw(&mut out, name, value);
        }
    }
    out
}

/// `text` with `name` set to `value`: earlier values of the name are removed, the new one is last.
///
/// # Errors
/// As [`append`].
pub fn with(text: &[u8], name: &str, value: &str) -> Result<Vec<u8>, PropertiesError> {
    let mut out = without(text, &[name]);
    append(&mut out, name, value)?;
    Ok(out)
}

/// Collects properties into their text form.
#[derive(Debug, Clone, Default)]
pub struct PropertiesBuilder {
    text: Vec<u8>,
}

impl PropertiesBuilder {
    /// An empty text.
    #[must_use]
    pub const fn new() -> Self {
        Self { text: Vec::new() }
    }

    /// Adds one property at the end.
    ///
    /// # Errors
    /// As [`append`].
    pub fn add(mut self, name: &str, value: &str) -> Result<Self, PropertiesError> {
        append(&mut self.text, name, value)?;
        Ok(self)
    }

    /// The text, checked for its length.
    ///
    /// # Errors
    /// The text is longer than a record takes.
    pub fn build(self) -> Result<Vec<u8>, PropertiesError> {
        let bytes = self.text.len();
        if bytes > PROPERTIES_BYTES_MAX {
            return Err(PropertiesError::TooLong { bytes, max: PROPERTIES_BYTES_MAX });
        }
        Ok(self.text)
    }
}

/// The terms by which a message is found again: unique key, search keys, tag.
///
/// Empty values and values that are not UTF-8 count as absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IndexTerms<'a> {
    /// The client's message id ([`UNIQ_KEY`]).
    pub unique_key: Option<&'a str>,
    /// The search keys as one text, separated by blanks ([`KEYS`]).
    pub keys: Option<&'a str>,
    /// The tag ([`TAGS`]).
    pub tags: Option<&'a str>,
}

impl<'a> IndexTerms<'a> {
    /// Reads the terms out of a properties text in one pass.
    #[must_use]
    pub fn of(text: &'a [u8]) -> Self {
        let mut terms = Self::default();
        for (name, value) in Properties::of(text) {
            // The length decides in one comparison for nearly all other properties.
            let slot = match name.len() {
                4 if name == KEYS.as_bytes() => &mut terms.keys,
                4 if name == TAGS.as_bytes() => &mut terms.tags,
                8 if name == UNIQ_KEY.as_bytes() => &mut terms.unique_key,
                _ => continue,
            };
            // A property without a value is none, also behind one of the same name that has one.
            if !value.is_empty() {
                *slot = std::str::from_utf8(value).ok();
            }
        }
        terms
    }

    /// The search keys one by one.
    pub fn each_key(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.keys.unwrap_or("").split(KEY_SEPARATOR).filter(|key| !key.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn golden_text() {
        let text = PropertiesBuilder::new().add("TAGS", "a").unwrap().add("k", "").unwrap();
        assert_eq!(text.build().unwrap(), b"TAGS\x01a\x02k\x01\x02");
    }

    #[test]
    fn the_last_separator_may_be_missing() {
        let entries: Vec<_> = Properties::of(b"a\x01b\x02c\x01d").collect();
        assert_eq!(entries, [(&b"a"[..], &b"b"[..]), (&b"c"[..], &b"d"[..])]);
        assert_eq!(with(b"c\x01d", "e", "f").unwrap(), b"c\x01d\x02e\x01f\x02");
    }

    #[test]
    fn separators_are_found_among_all_bytes() {
        let cases =
            (0..40).flat_map(|length| (0..length).flat_map(move |wanted| [(length, wanted, 1), (length, wanted, 2)]));
        for (length, wanted, separator) in cases {
            let mut text: Vec<u8> = (0..length).map(|n| [0, 3, 0x80, 0xFF, 0x81][n % 5]).collect();
            text[wanted] = separator;
            for from in 0..length {
                let expected = if from <= wanted { wanted } else { length };
                assert_eq!(next_separator(&text, from), expected, "{text:?} from {from}");
            }
        }
    }

    #[test]
    fn entries_without_name_are_passed_over() {
        let entries: Vec<_> = Properties::of(b"\x02\x01x\x02junk\x02a\x01\x02").collect();
        assert_eq!(entries, [(&b"a"[..], &b""[..])]);
    }

    #[test]
    fn terms_take_the_last_and_ignore_the_empty() {
        let text = b"UNIQ_KEY\x01U1\x02KEYS\x01 k1  k2 \x02TAGS\x01old\x02TAGS\x01new\x02";
        let terms = IndexTerms::of(text);
        assert_eq!(terms.unique_key, Some("U1"));
        assert_eq!(terms.tags, Some("new"));
        assert_eq!(terms.each_key().collect::<Vec<_>>(), ["k1", "k2"]);
        assert_eq!(IndexTerms::of(b"TAGS\x01a\x02TAGS\x01\x02").tags, Some("a"));
        assert_eq!(IndexTerms::of(b"TAGS\x01\x02KEYS\x01\xff\x02"), IndexTerms::default());
        assert_eq!(find(text, "TAGS"), Some(&b"new"[..]));
        assert_eq!(find(b"TAGS\x01a\x02TAGS\x01\x02", "TAGS"), Some(&b"a"[..]));
        assert_eq!(find_str(b"a\x01\xff", "a"), None);
    }

    #[test]
    fn check_names_what_is_wrong() {
        assert_eq!(check(b""), Ok(()));
        assert_eq!(check(b"a\x01b"), Ok(()));
        assert_eq!(check(b"a\x01b\x02\x02"), Err(PropertiesError::Malformed { at: 4 }));
        assert_eq!(check(b"a\x01b\x01c\x02"), Err(PropertiesError::Malformed { at: 0 }));
        let long = vec![b'x'; PROPERTIES_BYTES_MAX + 1];
        assert!(matches!(check(&long), Err(PropertiesError::TooLong { bytes: 32_768, .. })));
        assert!(append(&mut Vec::new(), "", "v").is_err());
        assert!(append(&mut Vec::new(), "n", "a\x02b").is_err());
    }

    fn text_strategy() -> impl Strategy<Value = Vec<(String, String)>> {
        proptest::collection::vec(("[a-zA-Z_é]{1,6}", "[a-z0-9 ü]{0,8}"), 0..8)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(entries in text_strategy()) {
            let mut text = Vec::new();
            for (name, value) in &entries {
                append(&mut text, name, value).unwrap();
            }
            prop_assert_eq!(check(&text), Ok(()));
            let read: Vec<_> = Properties::of(&text)
                .map(|(n, v)| (String::from_utf8_lossy(n).into_owned(), String::from_utf8_lossy(v).into_owned()))
                .collect();
            prop_assert_eq!(&read, &entries);
            for (name, _) in &entries {
                let last = entries.iter().rev().find(|(n, v)| n == name && !v.is_empty()).map(|(_, v)| v.as_str());
                prop_assert_eq!(find_str(&text, name), last);
                let removed = without(&text, &[name]);
                prop_assert_eq!(find(&removed, name), None);
                let replaced = with(&text, name, "new").unwrap();
                prop_assert_eq!(find_str(&replaced, name), Some("new"));
            }
        }

        #[test]
        fn any_bytes_are_survived(text in proptest::collection::vec(0_u8..5, 0..60)) {
            let count = Properties::of(&text).count();
            prop_assert!(count <= text.len());
            let _ = check(&text);
            let _ = IndexTerms::of(&text);
            let again = without(&text, &[]);
            prop_assert_eq!(
                Properties::of(&again).collect::<Vec<_>>(),
                Properties::of(&text).collect::<Vec<_>>()
            );
        }
    }
}
