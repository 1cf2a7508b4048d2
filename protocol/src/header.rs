//! Both encodings of a frame's header: JSON and RocketMQ's binary form.
//!
//! Source: `RemotingSerializable` (fastjson 1.2) and `RocketMQSerializable`. The JSON reader takes what
//! fastjson takes: unquoted keys, single quotes, numbers and booleans where text is meant.

use std::ops::DerefMut;

use bytes::{Buf, BufMut, Bytes};
use thiserror::Error;

use crate::command::Language;
use crate::fields::{Fields, Pairs, Span};
use crate::frame::HeaderCodec;
use crate::json::{Cursor, JsonError, Piece, Text};
use crate::limits::{FIELD_NAME_BYTES_MAX, FIELDS_MAX};

/// The fixed part of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Request or response code.
    pub code: i32,
    /// The sender's language.
    pub language: Language,
    /// The sender's version ordinal.
    pub version: i32,
    /// Correlation id.
    pub opaque: i32,
    /// Response and one-way bits.
    pub flag: i32,
}

impl Default for Head {
    fn default() -> Self {
        Self { code: 0, language: Language::OTHER, version: 0, opaque: 0, flag: 0 }
    }
}

/// Why a header cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HeaderError {
    /// The JSON text is wrong.
    #[error("header is not JSON: {0}")]
    Json(#[from] JsonError),
    /// The binary header ends inside a field, or a length points beyond it.
    #[error("binary header ends at byte {at} of {length}")]
    Truncated {
        /// Where the missing field begins.
        at: usize,
        /// Bytes of the header.
        length: usize,
    },
    /// A text is not UTF-8.
    #[error("header is not UTF-8")]
    NotUtf8,
    /// There are more fields than a request can have.
    #[error("header has more than {FIELDS_MAX} fields")]
    TooManyFields,
    /// A field's name is longer than any that exists.
    #[error("a field's name exceeds {FIELD_NAME_BYTES_MAX} bytes")]
    FieldNameTooLong,
    /// `code` or `opaque` is missing, so the frame means nothing.
    #[error("header has no {name}")]
    Missing {
        /// The missing member.
        name: &'static str,
    },
}

type Read = (Head, Option<String>, Fields);

/// Reads a JSON header. Unknown members are skipped.
///
/// # Errors
/// See [`HeaderError`].
pub fn read_json(header: Bytes) -> Result<Read, HeaderError> {
    let text = std::str::from_utf8(&header).map_err(|_| HeaderError::NotUtf8)?;
    let mut head = Head::default();
    let (mut remark, mut code, mut opaque) = (None, None, None);
    let mut pairs = Pairs::default();
    let mut cursor = Cursor::new(text);
    cursor.begin_object()?;
    loop {
        let plain = cursor.plain_name().map(|(start, length)| &text[start..start + length]);
        let other = if plain.is_none() { cursor.member_name()? } else { None };
        let Some(name) = plain.or_else(|| other.as_ref().map(Text::as_str)) else { break };
        match name {
            "code" => code = Some(cursor.int32()?),
            "language" => head.language = cursor.scalar()?.map_or(Language::OTHER, |name| Language::of(name.as_str())),
            "version" => head.version = cursor.int32()?,
            "opaque" => opaque = Some(cursor.int32()?),
            "flag" => head.flag = cursor.int32()?,
            "remark" => remark = cursor.scalar()?.map(|text| text.as_str().to_owned()),
            "extFields" => read_json_fields(&mut cursor, &mut pairs)?,
            _ => cursor.skip_value()?,
        }
    }
    cursor.end()?;
    head.code = code.ok_or(HeaderError::Missing { name: "code" })?;
    head.opaque = opaque.ok_or(HeaderError::Missing { name: "opaque" })?;
    Ok((head, remark, pairs.of_frame(header)))
}

fn read_json_fields(cursor: &mut Cursor<'_>, pairs: &mut Pairs) -> Result<(), HeaderError> {
    if cursor.null()? {
        return Ok(());
    }
    cursor.begin_object()?;
    loop {
        let name = match cursor.plain_name() {
            Some((start, length)) => Span::frame(start, length),
            None => match cursor.member_name()? {
                Some(name) => span(pairs, &name),
                None => return Ok(()),
            },
        };
        if name.bytes() > FIELD_NAME_BYTES_MAX {
            return Err(HeaderError::FieldNameTooLong);
        }
        let resolved_from = pairs.side().len();
        let value = match cursor.scalar_onto(pairs.side())? {
            Piece::Null => continue,
            Piece::Slice { start, length } => Span::frame(start, length),
            Piece::Resolved => Span::side(resolved_from, pairs.side().len() - resolved_from),
        };
        if pairs.len() == FIELDS_MAX {
            return Err(HeaderError::TooManyFields);
        }
        pairs.add(name, value);
    }
}

/// Where a text of the cursor lies; what was escaped is kept in the side buffer.
fn span(pairs: &mut Pairs, text: &Text<'_>) -> Span {
    match text {
        Text::Slice { start, text } => Span::frame(*start, text.len()),
        Text::Owned(owned) => {
            let side = pairs.side();
            let start = side.len();
            side.extend_from_slice(owned.as_bytes());
            Span::side(start, owned.len())
        }
    }
}

/// Codes above 32,767 are cut to 16 bits by the binary form; these are the ones that clients send.
const CUT_CODES: [(i32, i32); 3] = [(3442, 3448), (3462, 3471), (3543, 3543)];
/// What the cut takes away from the codes of POP (200050 and up): three times 65,536.
const CUT_BY: i32 = 3 * 65_536;

fn uncut(code: i16) -> i32 {
    let code = i32::from(code);
    if CUT_CODES.iter().any(|(first, last)| (*first..=*last).contains(&code)) { code + CUT_BY } else { code }
}

/// Reads a binary header.
///
/// # Errors
/// See [`HeaderError`].
pub fn read_binary(header: Bytes) -> Result<Read, HeaderError> {
    let length = header.len();
    let truncated = |rest: &[u8]| HeaderError::Truncated { at: length - rest.len(), length };
    let mut rest = &header[..];
    if rest.len() < 21 {
        return Err(truncated(rest));
    }
    let head = Head {
        code: uncut(rest.get_i16()),
        language: Language(rest.get_u8()),
        version: i32::from(rest.get_i16()),
        opaque: rest.get_i32(),
        flag: rest.get_i32(),
    };
    let remark = take(&mut rest, Width::Four).ok_or(HeaderError::Truncated { at: 13, length })?;
    let remark = match remark {
        b"" => None,
        bytes => Some(std::str::from_utf8(bytes).map_err(|_| HeaderError::NotUtf8)?.to_owned()),
    };
    let mut pairs = Pairs::default();
    let mut entries = take(&mut rest, Width::Four).ok_or_else(|| truncated(rest))?;
    let base = length - rest.len() - entries.len();
    let all = entries.len();
    while !entries.is_empty() {
        let at = base + all - entries.len();
        let name = take(&mut entries, Width::Two).ok_or(HeaderError::Truncated { at, length })?;
        let value = take(&mut entries, Width::Four).ok_or(HeaderError::Truncated { at, length })?;
        if pairs.len() == FIELDS_MAX {
            return Err(HeaderError::TooManyFields);
        }
        if std::str::from_utf8(name).is_err() || std::str::from_utf8(value).is_err() {
            return Err(HeaderError::NotUtf8);
        }
        if name.len() > FIELD_NAME_BYTES_MAX {
            return Err(HeaderError::FieldNameTooLong);
        }
        let value_at = base + all - entries.len() - value.len();
        pairs.add(Span::frame(at + 2, name.len()), Span::frame(value_at, value.len()));
    }
    Ok((head, remark, pairs.of_frame(header)))
}

/// Bytes of a length number in the binary form.
#[derive(Clone, Copy)]
enum Width {
    Two,
    Four,
}

/// Takes a length and as many bytes; `None` when they are not there.
fn take<'a>(rest: &mut &'a [u8], width: Width) -> Option<&'a [u8]> {
    let length = match width {
        Width::Two => usize::try_from(rest.try_get_i16().ok()?).ok()?,
        Width::Four => usize::try_from(rest.try_get_i32().ok()?).ok()?,
    };
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}

/// What frames are written to: `Vec<u8>` and `BytesMut`. The former costs less for the dozens of small pieces.
pub trait Sink: BufMut + DerefMut<Target = [u8]> {}

impl<B: BufMut + DerefMut<Target = [u8]>> Sink for B {}

/// Writes one header field by field, in either codec, without building a map first.
pub struct Writer<'a, B> {
    out: &'a mut B,
    codec: HeaderCodec,
    fields_at: usize,
    any: bool,
}

impl<'a, B: Sink> Writer<'a, B> {
    /// Writes the fixed part; fields follow, then [`Writer::end`].
    pub fn begin(out: &'a mut B, codec: HeaderCodec, head: Head, remark: Option<&str>) -> Self {
        match codec {
            HeaderCodec::Json => {
                out.put_slice(b"{\"code\":");
                put_int(out, i64::from(head.code));
                out.put_slice(b",\"flag\":");
                put_int(out, i64::from(head.flag));
                out.put_slice(b",\"language\":\"");
                out.put_slice(head.language.name().as_bytes());
                out.put_slice(b"\",\"opaque\":");
                put_int(out, i64::from(head.opaque));
                if let Some(remark) = remark {
                    out.put_slice(b",\"remark\":");
                    put_json_text(out, remark);
                }
                out.put_slice(b",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":");
                put_int(out, i64::from(head.version));
            }
            HeaderCodec::Binary => {
                #[expect(clippy::cast_possible_truncation, reason = "the format cuts codes and versions to 16 bits")]
                let (code, version) = (head.code as i16, head.version as i16);
                out.put_i16(code);
                out.put_u8(head.language.0);
                out.put_i16(version);
                out.put_i32(head.opaque);
                out.put_i32(head.flag);
                put_long_text(out, remark.unwrap_or_default());
                out.put_i32(0);
            }
        }
        let fields_at = out.len();
        Self { out, codec, fields_at, any: false }
    }

    /// Begins a field. A name that the protocol gives has nothing to escape.
    #[inline]
    fn name(&mut self, name: &str, is_known: bool) {
        match self.codec {
            HeaderCodec::Json => {
                if self.any {
                    self.out.put_slice(b",");
                } else {
                    self.out.put_slice(b",\"extFields\":{");
                    self.any = true;
                }
                if is_known {
                    self.out.put_slice(b"\"");
                    self.out.put_slice(name.as_bytes());
                    self.out.put_slice(b"\":");
                } else {
                    put_json_text(self.out, name);
                    self.out.put_slice(b":");
                }
            }
            HeaderCodec::Binary => {
                let length = name.len().min(FIELD_NAME_BYTES_MAX);
                #[expect(clippy::cast_possible_truncation, reason = "bounded by FIELD_NAME_BYTES_MAX")]
                self.out.put_u16(length as u16);
                self.out.put_slice(&name.as_bytes()[..length]);
            }
        }
    }

    /// Adds a text field whose name has nothing to escape.
    #[inline]
    pub fn text(&mut self, name: &'static str, value: &str) {
        self.name(name, true);
        self.value(value);
    }

    /// Adds a text field of any name.
    pub fn any_text(&mut self, name: &str, value: &str) {
        self.name(name, false);
        self.value(value);
    }

    fn value(&mut self, value: &str) {
        match self.codec {
            HeaderCodec::Json => put_json_text(self.out, value),
            HeaderCodec::Binary => put_long_text(self.out, value),
        }
    }

    /// Adds a number, as text like all fields, whose name has nothing to escape.
    #[inline]
    pub fn int(&mut self, name: &'static str, value: i64) {
        self.name(name, true);
        match self.codec {
            HeaderCodec::Json => {
                self.out.put_slice(b"\"");
                put_int(self.out, value);
                self.out.put_slice(b"\"");
            }
            HeaderCodec::Binary => {
                let at = self.out.len();
                self.out.put_i32(0);
                put_int(self.out, value);
                patch_length(self.out, at);
            }
        }
    }

    /// Ends the header.
    pub fn end(self) {
        match self.codec {
            HeaderCodec::Json if self.any => self.out.put_slice(b"}}"),
            HeaderCodec::Json => self.out.put_slice(b"}"),
            HeaderCodec::Binary => patch_length(self.out, self.fields_at - 4),
        }
    }
}

/// Fills in the frame's length and header word at `start`, where eight bytes were left; the header has
/// just been written behind them, and `body` bytes will follow.
pub fn patch_prefix(out: &mut [u8], start: usize, codec: HeaderCodec, body: usize) {
    let header = out.len() - start - 8;
    #[expect(clippy::cast_possible_truncation, reason = "frames are far below 4 GiB; peers refuse longer ones")]
    let (frame, header) = ((4 + header + body) as u32, header as u32);
    out[start..start + 4].copy_from_slice(&frame.to_be_bytes());
    out[start + 4..start + 8].copy_from_slice(&((u32::from(codec.wire()) << 24) | header).to_be_bytes());
}

/// Overwrites the `i32` at `at` with the count of bytes behind it.
fn patch_length(out: &mut [u8], at: usize) {
    #[expect(clippy::cast_possible_truncation, reason = "headers are far below 4 GiB")]
    let length = (out.len() - at - 4) as u32;
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
}

fn put_long_text(out: &mut impl Sink, text: &str) {
    #[expect(clippy::cast_possible_truncation, reason = "headers are far below 4 GiB")]
    out.put_u32(text.len() as u32);
    out.put_slice(text.as_bytes());
}

/// Writes a decimal number; every answer has several, and the formatter of `std` costs three times this.
fn put_int(out: &mut impl Sink, value: i64) {
    if let Ok(digit @ 0..=9) = u8::try_from(value) {
        return out.put_slice(&[b'0' + digit]);
    }
    let mut digits = [0; 20];
    let (mut at, mut rest) = (digits.len(), value.unsigned_abs());
    while rest != 0 {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    if value < 0 {
        at -= 1;
        digits[at] = b'-';
    }
    out.put_slice(&digits[at..]);
}

fn needs_escape(byte: u8) -> bool {
    (byte < 0x20) | (byte == b'"') | (byte == b'\\')
}

/// Whether any byte needs an escape. Eight are looked at together, and no branch depends on what they are.
#[inline]
fn any_needs_escape(bytes: &[u8]) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGHS: u64 = ONES << 7;
    // In each place, whether the byte is below `limit`, which is at most 128; places above such a one may deceive.
    let below = |word: u64, limit: u8| word.wrapping_sub(ONES * u64::from(limit)) & !word & HIGHS;
    let hits = |word: &[u8; 8]| {
        let word = u64::from_ne_bytes(*word);
        below(word, 0x20) | below(word ^ (ONES * u64::from(b'"')), 1) | below(word ^ (ONES * u64::from(b'\\')), 1)
    };
    let Some(last) = bytes.last_chunk::<8>() else {
        return bytes.iter().fold(false, |any, byte| any | needs_escape(*byte));
    };
    // The last eight overlap those before.
    bytes.as_chunks::<8>().0.iter().fold(hits(last), |all, word| all | hits(word)) != 0
}

/// Writes `text` as a JSON string: quotes, backslashes and control characters escaped, the rest as it is.
fn put_json_text(out: &mut impl Sink, text: &str) {
    let bytes = text.as_bytes();
    out.put_slice(b"\"");
    // Most texts need no escape.
    if !any_needs_escape(bytes) {
        out.put_slice(bytes);
        out.put_slice(b"\"");
        return;
    }
    let mut written = 0;
    for (at, byte) in bytes.iter().enumerate() {
        if !needs_escape(*byte) {
            continue;
        }
        out.put_slice(&bytes[written..at]);
        written = at + 1;
        match byte {
            b'"' => out.put_slice(b"\\\""),
            b'\\' => out.put_slice(b"\\\\"),
            b'\n' => out.put_slice(b"\\n"),
            control => {
                const DIGITS: [u8; 16] = *b"0123456789abcdef";
                let (high, low) = (DIGITS[usize::from(control >> 4)], DIGITS[usize::from(control & 15)]);
                out.put_slice(&[b'\\', b'u', b'0', b'0', high, low]);
            }
        }
    }
    out.put_slice(&bytes[written..]);
    out.put_slice(b"\"");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(codec: HeaderCodec, add: impl FnOnce(&mut Writer<'_, Vec<u8>>)) -> Bytes {
        let mut out = Vec::new();
        let mut writer = Writer::begin(&mut out, codec, Head::default(), None);
        add(&mut writer);
        writer.end();
        out.into()
    }

    fn read(codec: HeaderCodec, header: Bytes) -> Fields {
        let read = match codec {
            HeaderCodec::Json => read_json(header),
            HeaderCodec::Binary => read_binary(header),
        };
        read.unwrap().2
    }

    #[test]
    fn numbers_are_written_as_decimal_text() {
        for codec in [HeaderCodec::Json, HeaderCodec::Binary] {
            for number in [0, 1, 9, 10, -1, -10, 1_790_000_000_000, i64::MAX, i64::MIN] {
                let fields = read(codec, written(codec, |writer| writer.int("n", number)));
                assert_eq!(fields.value("n"), Some(number.to_string().as_str()), "{codec:?}");
            }
        }
    }

    #[test]
    fn any_text_comes_back_and_json_stays_plain_ascii_where_it_was() {
        let long = "x\u{1}é\"".repeat(50);
        for text in
            ["", "plain", "\u{1}a\u{2}b\u{0}\u{1f}\u{7f}", "say \"hi\" \\ twice", "line\nline\r\t", "é😀", &long]
        {
            for codec in [HeaderCodec::Json, HeaderCodec::Binary] {
                let fields = read(codec, written(codec, |writer| writer.text("t", text)));
                assert_eq!(fields.value("t"), Some(text), "{codec:?}");
            }
        }
        let json = written(HeaderCodec::Json, |writer| writer.text("t", "a\u{1}b\"c\\d\n"));
        let json = String::from_utf8(json.to_vec()).unwrap();
        assert!(json.ends_with(r#""extFields":{"t":"a\u0001b\"c\\d\n"}}"#), "{json}");
    }

    #[test]
    fn escaped_and_plain_values_stay_apart() {
        let header = br#"{"code":1,"opaque":2,"extFields":{"a":"\u0001x","b":"plain","c\u0041":'y\u0002\u0003',"d":null,"e":7}}"#;
        let fields = read(HeaderCodec::Json, Bytes::from_static(header));
        let expected: Fields =
            [("a", "\u{1}x"), ("b", "plain"), ("cA", "y\u{2}\u{3}"), ("e", "7")].into_iter().collect();
        assert_eq!(fields, expected);
    }

    #[test]
    fn whatever_needs_an_escape_is_seen_wherever_it_is() {
        for length in 0..20 {
            for at in 0..length {
                for byte in 0..=255 {
                    let mut text = vec![b'#'; length];
                    text[at] = byte;
                    assert_eq!(any_needs_escape(&text), needs_escape(byte), "{byte} at {at} of {length}");
                }
            }
        }
        assert!(!any_needs_escape(b""));
    }
}
