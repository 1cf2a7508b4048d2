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
        if let Some(number) = self.plain_int32() {
            return Ok(number);
        }
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
        let mut resolved = Vec::new();
        self.escaped_string(&mut resolved)?;
        String::from_utf8(resolved).map(Text::Owned).map_err(|_| JsonError::NotUtf8)
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

    /// Takes a member's name and its colon if they have the form that all clients write: in double quotes, without
    /// escapes, nothing in between. Gives the name's place and bytes; `None`, and nothing taken, for anything else.
    #[inline(always)]
    pub(crate) fn plain_name(&mut self) -> Option<(usize, usize)> {
        // The hottest request names its fields by single letters.
        if let Some([b',', b'"', b'a'..=b'z', b'"', b':', ..]) = self.text.as_bytes().get(self.at..) {
            let start = self.at + 2;
            self.at += 5;
            return Some((start, 1));
        }
        self.plain_long_name()
    }

    fn plain_long_name(&mut self) -> Option<(usize, usize)> {
        let bytes = self.text.as_bytes();
        let start = match bytes.get(self.at..)? {
            [b',', b'"', ..] => self.at + 2,
            [b'"', ..] => self.at + 1,
            _ => return None,
        };
        let end = quote_or_backslash(bytes, start, b'"')?;
        if bytes.get(end..end + 2) != Some(b"\":") {
            return None;
        }
        self.at = end + 2;
        Some((start, end - start))
    }

    /// Takes a whole number if it is next, written as its few digits alone, as nearly all are.
    #[inline]
    fn plain_int32(&mut self) -> Option<i32> {
        /// So many digits fit 32 bits whatever they are.
        const DIGITS_MAX: usize = 9;
        let bytes = self.text.as_bytes();
        let (mut number, mut at) = (0, self.at);
        while let Some(digit @ b'0'..=b'9') = bytes.get(at) {
            if at - self.at == DIGITS_MAX {
                return None;
            }
            number = number * 10 + i32::from(digit - b'0');
            at += 1;
        }
        if at == self.at || !matches!(bytes.get(at), Some(b',' | b'}')) {
            return None;
        }
        self.at = at;
        Some(number)
    }

    /// As [`Cursor::scalar`], but escapes are resolved onto the end of `out`, which saves an allocation for each.
    ///
    /// # Errors
    /// When an object or array is there, or nothing; `out` may then have grown.
    #[inline]
    pub(crate) fn scalar_onto(&mut self, out: &mut Vec<u8>) -> Result<Piece, JsonError> {
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
                out.extend_from_slice(text.as_bytes());
                Ok(Piece::Resolved)
            }
        }
    }

    /// Takes a string and adds it to `out`, its escapes resolved. What is added is UTF-8.
    fn escaped_string(&mut self, out: &mut Vec<u8>) -> Result<(), JsonError> {
        let bytes = self.text.as_bytes();
        let quote = bytes[self.at];
        self.at += 1;
        // The text behind bounds what is still to come: one allocation holds all of a header's escapes.
        out.reserve(bytes.len() - self.at);
        loop {
            let Some(at) = copy_to_quote_or_backslash(bytes, self.at, quote, out) else {
                return self.expected("a closing quote");
            };
            self.at = at + 1;
            if bytes[at] == quote {
                return Ok(());
            }
            self.at += self.escape(out)?;
        }
    }

    /// Resolves the escape behind a backslash at `self.at`; gives its bytes without the backslash.
    #[inline]
    fn escape(&self, out: &mut Vec<u8>) -> Result<usize, JsonError> {
        // Properties are separated by U+0001 and U+0002: this is the escape that every message has a dozen of.
        if let Some([b'u', b'0', b'0', b'0', digit @ b'0'..=b'9', ..]) = self.text.as_bytes().get(self.at..) {
            out.push(digit - b'0');
            return Ok(5);
        }
        self.rare_escape(out)
    }

    fn rare_escape(&self, out: &mut Vec<u8>) -> Result<usize, JsonError> {
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
                push(out, char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
                return Ok(3);
            }
            'u' => return self.unicode_escape(out),
            other => other,
        };
        push(out, plain);
        Ok(letter.len_utf8())
    }

    fn unicode_escape(&self, out: &mut Vec<u8>) -> Result<usize, JsonError> {
        let high = self.hex(1, 4)?;
        if !(0xD800..0xDC00).contains(&high) {
            push(out, char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER));
            return Ok(5);
        }
        if self.text.as_bytes().get(self.at + 5..self.at + 7) == Some(b"\\u") {
            let low = self.hex(7, 4)?;
            if (0xDC00..0xE000).contains(&low) {
                let code = 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
                push(out, char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
                return Ok(11);
            }
        }
        // Half a pair is no character; Java would keep it, UTF-8 cannot.
        push(out, char::REPLACEMENT_CHARACTER);
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

/// Adds a character in UTF-8.
fn push(out: &mut Vec<u8>, letter: char) {
    out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
}

/// Looks at eight bytes together: a header is mostly text, and this is most of what reading it costs.
struct Search {
    quotes: u64,
}

impl Search {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGHS: u64 = Self::ONES << 7;

    /// For `quote` and the backslash.
    #[inline]
    fn of(quote: u8) -> Self {
        Self { quotes: Self::ONES * u64::from(quote) }
    }

    /// The place of the first of them among the eight.
    #[inline]
    fn first(&self, eight: [u8; 8]) -> Option<usize> {
        const BACKSLASHES: u64 = Search::ONES * b'\\' as u64;
        // The lowest bit that this leaves is the top bit of the lowest byte that is zero; bits above may deceive.
        let zeroes = |word: u64| word.wrapping_sub(Self::ONES) & !word & Self::HIGHS;
        let word = u64::from_le_bytes(eight);
        let hits = zeroes(word ^ self.quotes) | zeroes(word ^ BACKSLASHES);
        (hits != 0).then_some((hits.trailing_zeros() / 8) as usize)
    }
}

/// Where the first byte from `at` on is that is `quote` or a backslash.
#[inline]
fn quote_or_backslash(bytes: &[u8], mut at: usize, quote: u8) -> Option<usize> {
    let search = Search::of(quote);
    while let Some(eight) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        if let Some(found) = search.first(*eight) {
            return Some(at + found);
        }
        at += 8;
    }
    bytes[at..].iter().position(|byte| *byte == quote || *byte == b'\\').map(|found| at + found)
}

/// The same, and adds what is before it to `out`: all eight bytes at once, then what was too much goes again,
/// which costs less than to copy a length that is not known before.
#[inline]
fn copy_to_quote_or_backslash(bytes: &[u8], mut at: usize, quote: u8, out: &mut Vec<u8>) -> Option<usize> {
    let search = Search::of(quote);
    while let Some(eight) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        out.extend_from_slice(eight);
        if let Some(found) = search.first(*eight) {
            out.truncate(out.len() - (8 - found));
            return Some(at + found);
        }
        at += 8;
    }
    let found = bytes[at..].iter().position(|byte| *byte == quote || *byte == b'\\')?;
    out.extend_from_slice(&bytes[at..at + found]);
    Some(at + found)
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

    /// Names and numbers of an object, read the short way where it applies or the general way everywhere.
    fn members(text: &str, short: bool) -> Vec<(String, i32)> {
        let mut cursor = Cursor::new(text);
        cursor.begin_object().unwrap();
        let mut members = Vec::new();
        loop {
            let plain = if short { cursor.plain_name() } else { None };
            let name = match plain {
                Some((start, length)) => text[start..start + length].to_owned(),
                None => match cursor.member_name().unwrap() {
                    Some(name) => name.as_str().to_owned(),
                    None => return members,
                },
            };
            let number = if short {
                cursor.int32().unwrap()
            } else {
                cursor.scalar().unwrap().unwrap().as_str().parse().unwrap()
            };
            members.push((name, number));
        }
    }

    #[test]
    fn the_short_way_reads_what_the_general_way_reads() {
        let text = concat!(
            r#"{"a":1,"bc":22,"d" :3, "e": 4,'f':5,g:6,"h\u0041":7,"":8,"é":9,"i,":10,"j":"11","k":-12,"#,
            r#""l":2147483647,"m":000000000013,"n":+14 ,"sixteen bytes ::":16,{"o":1}:17,"p":18}"#
        );
        let short = members(text, true);
        assert_eq!(short, members(text, false));
        assert_eq!(short.len(), 18);
        assert!(Cursor::new("2147483648,").int32().is_err());
        assert!(Cursor::new("12x,").int32().is_err());
    }
}
