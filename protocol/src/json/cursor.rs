//! Walks a document of the dialect without building it: header reading costs no tree.

use serde_json::{Map, Number, Value};

use super::JsonError;
use crate::limits::JSON_DEPTH_MAX;

/// A text of the document: as it lies there, or unescaped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Text<'a> {
    /// No escapes; `start` is its position in the document.
    Slice {
        /// First byte.
        start: usize,
        /// The text.
        text: &'a str,
    },
    /// Escapes were resolved.
    Owned(String),
}

impl Text<'_> {
    /// The text itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Slice { text, .. } => text,
            Self::Owned(text) => text,
        }
    }
}

/// Where a scalar of the document is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    /// It is `null`.
    Null,
    /// It lies in the document as it is.
    Slice {
        /// First byte.
        start: usize,
        /// Bytes.
        length: usize,
    },
    /// It had escapes, which were resolved behind what the caller's text held.
    Resolved,
}

/// Walks a document without building it.
#[derive(Debug)]
pub struct Cursor<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Cursor<'a> {
    /// Starts before the first byte.
    #[must_use]
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0, depth: 0 }
    }

    #[inline]
    fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        if let Some(byte) = bytes.get(self.at).filter(|byte| **byte > b' ') {
            return Some(*byte);
        }
        while matches!(bytes.get(self.at), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
        bytes.get(self.at).copied()
    }

    fn expected<T>(&self, expected: &'static str) -> Result<T, JsonError> {
        Err(JsonError::Expected { expected, at: self.at })
    }

    #[inline]
    fn take(&mut self, byte: u8, expected: &'static str) -> Result<(), JsonError> {
        if self.peek() != Some(byte) {
            return self.expected(expected);
        }
        self.at += 1;
        Ok(())
    }

    fn descend(&mut self) -> Result<(), JsonError> {
        self.depth += 1;
        if self.depth > JSON_DEPTH_MAX {
            return Err(JsonError::TooDeep { at: self.at });
        }
        Ok(())
    }

    /// Takes the `{` of an object.
    ///
    /// # Errors
    /// When there is none.
    pub fn begin_object(&mut self) -> Result<(), JsonError> {
        self.take(b'{', "an object")?;
        self.descend()
    }

    /// Takes the next member's name and its colon, or the `}`, which gives `None`.
    ///
    /// # Errors
    /// When there is neither.
    #[inline]
    pub fn member_name(&mut self) -> Result<Option<Text<'a>>, JsonError> {
        if self.peek() == Some(b',') {
            self.at += 1;
        }
        let name = match self.peek() {
            Some(b'}') => {
                self.at += 1;
                self.depth -= 1;
                return Ok(None);
            }
            Some(b'"' | b'\'') => self.string()?,
            Some(b'{' | b'[') => {
                let start = self.at;
                self.skip_value()?;
                Text::Slice { start, text: &self.text[start..self.at] }
            }
            Some(_) => self.bare("a member name")?,
            None => return self.expected("a member name or }"),
        };
        self.take(b':', "a colon")?;
        Ok(Some(name))
    }

    /// Takes `null` if it is next.
    ///
    /// # Errors
    /// Never by itself; the signature follows its neighbours.
    pub fn null(&mut self) -> Result<bool, JsonError> {
        self.peek();
        let is_null = self.text[self.at..].starts_with("null");
        if is_null {
            self.at += 4;
        }
        Ok(is_null)
    }

    /// Takes a string, number or truth value as text; `null` gives `None`.
    ///
    /// # Errors
    /// When an object or array is there, or nothing.
    pub fn scalar(&mut self) -> Result<Option<Text<'a>>, JsonError> {
        match self.peek() {
            Some(b'"' | b'\'') => self.string().map(Some),
            Some(b'{' | b'[') | None => self.expected("a text or number"),
            Some(_) => match self.bare("a text or number")? {
                Text::Slice { text: "null", .. } => Ok(None),
                text @ (Text::Slice { .. } | Text::Owned(_)) => Ok(Some(text)),
            },
        }
    }

    /// Takes a whole number of 32 bits, quoted or not.
    ///
    /// # Errors
    /// When something else is there.
    pub fn int32(&mut self) -> Result<i32, JsonError> {
        let at = self.at;
        let text = self.scalar()?;
        let number = text.as_ref().and_then(|text| text.as_str().parse().ok());
        number.ok_or(JsonError::Expected { expected: "a 32-bit number", at })
    }

    /// Takes any value and forgets it.
    ///
    /// # Errors
    /// When it is not well formed.
    pub fn skip_value(&mut self) -> Result<(), JsonError> {
        match self.peek() {
            Some(b'{') => {
                self.begin_object()?;
                while self.member_name()?.is_some() {
                    self.skip_value()?;
                }
                Ok(())
            }
            Some(b'[') => self.array(Self::skip_value),
            _ => self.scalar().map(|_| ()),
        }
    }

    /// Takes any value as a tree. An object that is a member name becomes its text.
    ///
    /// # Errors
    /// When it is not well formed.
    pub fn value(&mut self) -> Result<Value, JsonError> {
        match self.peek() {
            Some(b'{') => {
                self.begin_object()?;
                let mut members = Map::new();
                while let Some(name) = self.member_name()? {
                    let value = self.value()?;
                    members.insert(name.as_str().to_owned(), value);
                }
                Ok(Value::Object(members))
            }
            Some(b'[') => {
                let mut items = Vec::new();
                self.array(|cursor| {
                    items.push(cursor.value()?);
                    Ok(())
                })?;
                Ok(Value::Array(items))
            }
            Some(b'"' | b'\'') => Ok(Value::String(self.string()?.as_str().to_owned())),
            _ => {
                let at = self.at;
                match self.scalar()? {
                    None => Ok(Value::Null),
                    Some(text) => bare_value(text.as_str()).ok_or(JsonError::Expected { expected: "a value", at }),
                }
            }
        }
    }

    fn array(&mut self, mut item: impl FnMut(&mut Self) -> Result<(), JsonError>) -> Result<(), JsonError> {
        self.take(b'[', "an array")?;
        self.descend()?;
        loop {
            if self.peek() == Some(b',') {
                self.at += 1;
            }
            if self.peek() == Some(b']') {
                self.at += 1;
                self.depth -= 1;
                return Ok(());
            }
            item(self)?;
        }
    }

    /// Takes the end of the document.
    ///
    /// # Errors
    /// When something follows.
    pub fn end(&mut self) -> Result<(), JsonError> {
        match self.peek() {
            None => Ok(()),
            Some(_) => self.expected("the end"),
        }
    }

    fn bare(&mut self, expected: &'static str) -> Result<Text<'a>, JsonError> {
        let rest = &self.text[self.at..];
        let end = rest
            .find(|c: char| matches!(c, ',' | ':' | '{' | '}' | '[' | ']' | '"' | '\'') || c.is_ascii_whitespace())
            .unwrap_or(rest.len());
        if end == 0 {
            return self.expected(expected);
        }
        let start = self.at;
        self.at += end;
        Ok(Text::Slice { start, text: &rest[..end] })
    }

    #[inline]
    fn string(&mut self) -> Result<Text<'a>, JsonError> {
        if let Some((start, length)) = self.plain_string() {
            return Ok(Text::Slice { start, text: &self.text[start..start + length] });
        }
        self.owned_string()
    }

    #[cold]
    fn owned_string(&mut self) -> Result<Text<'a>, JsonError> {
        let mut resolved = String::new();
        self.escaped_string(&mut resolved)?;
        Ok(Text::Owned(resolved))
    }

    /// Takes a string that is next if it has no escapes; gives its place and bytes.
    #[inline]
    fn plain_string(&mut self) -> Option<(usize, usize)> {
        let bytes = self.text.as_bytes();
        let quote = *bytes.get(self.at)?;
        let start = self.at + 1;
        let end = quote_or_backslash(bytes, start, quote)?;
        if bytes[end] != quote {
            return None;
        }
        self.at = end + 1;
        Some((start, end - start))
    }

    /// As [`Cursor::scalar`], but escapes are resolved onto the end of `out`, which saves an allocation for each.
    ///
    /// # Errors
    /// When an object or array is there, or nothing; `out` may then have grown.
    #[inline]
    pub(crate) fn scalar_onto(&mut self, out: &mut String) -> Result<Piece, JsonError> {
        if matches!(self.peek(), Some(b'"' | b'\'')) {
            if let Some((start, length)) = self.plain_string() {
                return Ok(Piece::Slice { start, length });
            }
            return self.escaped_string(out).map(|()| Piece::Resolved);
        }
        match self.scalar()? {
            None => Ok(Piece::Null),
            Some(Text::Slice { start, text }) => Ok(Piece::Slice { start, length: text.len() }),
            Some(Text::Owned(text)) => {
                out.push_str(&text);
                Ok(Piece::Resolved)
            }
        }
    }

    /// Takes a string and adds it to `out`, its escapes resolved.
    fn escaped_string(&mut self, out: &mut String) -> Result<(), JsonError> {
        let bytes = self.text.as_bytes();
        let quote = bytes[self.at];
        let mut copied = self.at + 1;
        // The text behind bounds what is still to come: one allocation holds all of a header's escapes.
        out.reserve(self.text.len() - copied);
        loop {
            let Some(at) = quote_or_backslash(bytes, copied, quote) else { return self.expected("a closing quote") };
            out.push_str(&self.text[copied..at]);
            self.at = at + 1;
            if bytes[at] == quote {
                return Ok(());
            }
            copied = self.at + self.escape(out)?;
        }
    }

    /// Resolves the escape behind a backslash at `self.at`; gives its bytes without the backslash.
    fn escape(&self, out: &mut String) -> Result<usize, JsonError> {
        // Properties are separated by U+0001 and U+0002: this is the escape that every message has a dozen of.
        if let Some([b'u', b'0', b'0', b'0', digit @ b'0'..=b'9', ..]) = self.text.as_bytes().get(self.at..) {
            out.push(char::from(digit - b'0'));
            return Ok(5);
        }
        let Some(letter) = self.text[self.at..].chars().next() else { return self.expected("an escape") };
        let plain = match letter {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'b' => '\u{8}',
            'f' | 'F' => '\u{c}',
            'v' => '\u{b}',
            '0'..='7' => char::from(letter as u8 - b'0'),
            'x' => {
                let code = self.hex(1, 2)?;
                out.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
                return Ok(3);
            }
            'u' => return self.unicode_escape(out),
            other => other,
        };
        out.push(plain);
        Ok(letter.len_utf8())
    }

    fn unicode_escape(&self, out: &mut String) -> Result<usize, JsonError> {
        let high = self.hex(1, 4)?;
        if !(0xD800..0xDC00).contains(&high) {
            out.push(char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER));
            return Ok(5);
        }
        if self.text.as_bytes().get(self.at + 5..self.at + 7) == Some(b"\\u") {
            let low = self.hex(7, 4)?;
            if (0xDC00..0xE000).contains(&low) {
                let code = 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
                out.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
                return Ok(11);
            }
        }
        // Half a pair is no character; Java would keep it, UTF-8 cannot.
        out.push(char::REPLACEMENT_CHARACTER);
        Ok(5)
    }

    fn hex(&self, skip: usize, digits: usize) -> Result<u32, JsonError> {
        let from = self.at + skip;
        let mut value = 0;
        for at in from..from + digits {
            let digit = self.text.as_bytes().get(at).and_then(|byte| char::from(*byte).to_digit(16));
            value = (value << 4) | digit.ok_or(JsonError::Expected { expected: "hexadecimal digits", at: from })?;
        }
        Ok(value)
    }
}

/// Where the first byte from `at` on is that is `quote` or a backslash. Eight bytes are looked at together:
/// a header is mostly text, and this is most of what reading it costs.
#[inline]
fn quote_or_backslash(bytes: &[u8], mut at: usize, quote: u8) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGHS: u64 = ONES << 7;
    // The lowest bit that this leaves is the top bit of the lowest byte that is zero; bits above may deceive.
    let zeroes = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    let (quotes, backslashes) = (ONES * u64::from(quote), ONES * u64::from(b'\\'));
    while let Some(eight) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*eight);
        let hits = zeroes(word ^ quotes) | zeroes(word ^ backslashes);
        if hits != 0 {
            return Some(at + (hits.trailing_zeros() / 8) as usize);
        }
        at += 8;
    }
    bytes[at..].iter().position(|byte| *byte == quote || *byte == b'\\').map(|found| at + found)
}

fn bare_value(text: &str) -> Option<Value> {
    match text {
        "true" => return Some(Value::Bool(true)),
        "false" => return Some(Value::Bool(false)),
        _ => {}
    }
    if let Ok(number) = text.parse::<i64>() {
        return Some(Value::Number(number.into()));
    }
    if let Ok(number) = text.parse::<u64>() {
        return Some(Value::Number(number.into()));
    }
    text.parse::<f64>().ok().and_then(Number::from_f64).map(Value::Number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_string_is_found_wherever_it_is() {
        // Bytes next to the quote and the backslash in value, and the top bit, must not deceive the search.
        let fill = ['!', '#', '[', ']', '\u{7f}', 'é', '\u{a2}', '\u{1}'];
        for (nth, fill) in fill.into_iter().enumerate() {
            for length in 0..40 {
                let text: String = std::iter::repeat_n(fill, length).collect();
                for (quote, escape) in [('"', "\\\""), ('\'', "\\'")] {
                    let plain = format!("{quote}{text}{quote}{nth}");
                    let mut cursor = Cursor::new(&plain);
                    assert_eq!(cursor.string(), Ok(Text::Slice { start: 1, text: &text }));
                    assert_eq!(cursor.at, plain.len() - 1);
                    let escaped = format!("{quote}{text}{escape}{text}\\u0001{quote}");
                    let expected = format!("{text}{quote}{text}\u{1}");
                    assert_eq!(Cursor::new(&escaped).string(), Ok(Text::Owned(expected)));
                }
            }
        }
    }
}
