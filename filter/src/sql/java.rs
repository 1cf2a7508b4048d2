//! Java's rules for texts: which ones are numbers, and what the bytes of a property are as a `String`.
//!
//! Apache RocketMQ's verdicts come from `Integer.parseInt`, `Long.parseLong`, `Double.valueOf`, `Boolean.valueOf` and
//! `String.equals` on properties that were decoded from UTF-8 with replacement. This module answers as they do (JDK 17),
//! from the bytes as they are stored, without allocation but in [`replaced`].

/// What a malformed piece of UTF-8 becomes.
const REPLACEMENT: char = '\u{FFFD}';

/// The zeros of Java's decimal digits in the basic multilingual plane (`Character.digit` with radix 10), sorted; each is
/// followed by the nine others of its script. Printed by JDK 17.
const ZEROS: [u16; 37] = [
    0x0030, 0x0660, 0x06F0, 0x07C0, 0x0966, 0x09E6, 0x0A66, 0x0AE6, 0x0B66, 0x0BE6, 0x0C66, 0x0CE6, 0x0D66, 0x0DE6,
    0x0E50, 0x0ED0, 0x0F20, 0x1040, 0x1090, 0x17E0, 0x1810, 0x1946, 0x19D0, 0x1A80, 0x1A90, 0x1B50, 0x1BB0, 0x1C40,
    0x1C50, 0xA620, 0xA8D0, 0xA900, 0xA9D0, 0xA9F0, 0xAA50, 0xABF0, 0xFF10,
];

/// The value of a decimal digit, of any script of the basic multilingual plane.
fn digit(character: char) -> Option<u8> {
    let code = u16::try_from(u32::from(character)).ok()?;
    let below = ZEROS.partition_point(|zero| *zero <= code);
    let distance = code - ZEROS.get(below.checked_sub(1)?)?;
    (distance < 10).then_some(distance as u8)
}

/// `Integer.parseInt`; `None` is its exception.
#[inline]
pub(super) fn parse_int(text: &[u8]) -> Option<i32> {
    few_digits(text).or_else(|| parse_long(text).and_then(|value| i32::try_from(value).ok()))
}

/// A text of one to nine ASCII digits, as most properties are that are compared with integers. So few fit whatever they
/// are.
#[inline]
pub(super) fn few_digits(text: &[u8]) -> Option<i32> {
    let few = (1..=9).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    few.then(|| text.iter().fold(0, |value, byte| value * 10 + i32::from(byte - b'0')))
}

/// `Long.parseLong`; `None` is its exception.
#[inline]
pub(super) fn parse_long(text: &[u8]) -> Option<i64> {
    let (negative, digits) = split_sign(text);
    if digits.is_empty() {
        return None;
    }
    let mut value = 0_i64;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return if byte.is_ascii() { None } else { parse_scripts(negative, digits) };
        }
        value = push_digit(value, digit)?;
    }
    apply_sign(negative, value)
}

/// The digits that were read so far, below zero, so that the lowest number fits.
#[inline]
fn push_digit(value: i64, digit: u8) -> Option<i64> {
    value.checked_mul(10)?.checked_sub(i64::from(digit))
}

#[inline]
const fn apply_sign(negative: bool, value: i64) -> Option<i64> {
    if negative { Some(value) } else { value.checked_neg() }
}

#[inline]
const fn split_sign(text: &[u8]) -> (bool, &[u8]) {
    match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    }
}

/// [`parse_long`] of digits that are not all ASCII.
#[cold]
fn parse_scripts(negative: bool, digits: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(digits).ok()?;
    let value = text.chars().try_fold(0, |value, character| push_digit(value, digit(character)?))?;
    apply_sign(negative, value)
}

/// `Double.valueOf`; `None` is its exception.
pub(super) fn parse_double(text: &[u8]) -> Option<f64> {
    let text = trim(text);
    let (negative, unsigned) = split_sign(text);
    let signed = |value: f64| if negative { -value } else { value };
    match unsigned {
        b"NaN" => Some(f64::NAN),
        b"Infinity" => Some(signed(f64::INFINITY)),
        [b'0', b'x' | b'X', hex @ ..] => hex_double(hex).map(signed),
        decimal => {
            let number = &decimal[..decimal_length(decimal)?];
            // Nothing but ASCII was let through, in the form that Rust reads too; both round to the nearest double.
            std::str::from_utf8(number).ok()?.parse().ok().map(signed)
        }
    }
}

/// `String.trim`: everything up to the blank goes, nothing above it.
fn trim(mut text: &[u8]) -> &[u8] {
    while let [0..=b' ', rest @ ..] = text {
        text = rest;
    }
    while let [rest @ .., 0..=b' '] = text {
        text = rest;
    }
    text
}

fn count_digits(text: &[u8]) -> usize {
    text.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// The length of a decimal floating point number without the suffix that may end `text`; `None` if it is none.
fn decimal_length(text: &[u8]) -> Option<usize> {
    let whole = count_digits(text);
    let mut length = whole;
    if text.get(whole) == Some(&b'.') {
        let fraction = count_digits(&text[whole + 1..]);
        if whole + fraction == 0 {
            return None;
        }
        length += 1 + fraction;
    } else if whole == 0 {
        return None;
    }
    if let Some(b'e' | b'E') = text.get(length) {
        length += exponent_length(&text[length + 1..])? + 1;
    }
    matches!(&text[length..], [] | [b'f' | b'F' | b'd' | b'D']).then_some(length)
}

/// The length of an exponent's sign and digits.
fn exponent_length(text: &[u8]) -> Option<usize> {
    let sign = usize::from(matches!(text.first(), Some(b'+' | b'-')));
    let digits = count_digits(&text[sign..]);
    (digits > 0).then_some(sign + digits)
}

/// A hexadecimal floating point number behind its `0x`. The exponent is not optional.
fn hex_double(text: &[u8]) -> Option<f64> {
    let mut significand = Significand::default();
    let mut digits = 0_usize;
    let mut point = None;
    let mut at = 0;
    loop {
        match text.get(at)? {
            b'.' if point.is_none() => point = Some(digits),
            b'p' | b'P' => break,
            byte => {
                significand.push(char::from(*byte).to_digit(16)?);
                digits += 1;
            }
        }
        at += 1;
    }
    if digits == 0 {
        return None;
    }
    let rest = &text[at + 1..];
    let length = exponent_length(rest)?;
    if !matches!(&rest[length..], [] | [b'f' | b'F' | b'd' | b'D']) {
        return None;
    }
    let fraction = (digits - point.unwrap_or(digits)) as i64;
    Some(significand.scaled(bounded_exponent(&rest[..length]) - 4 * fraction))
}

/// An exponent, held to what decides: a text that is longer than memory would be needed to balance a larger one.
fn bounded_exponent(text: &[u8]) -> i64 {
    const BOUND: i64 = 1 << 40;
    let (negative, digits) = split_sign(text);
    let value = digits.iter().fold(0, |value, byte| (value * 10 + i64::from(byte - b'0')).min(BOUND));
    if negative { -value } else { value }
}

/// The leading 60 to 64 bits of a hexadecimal number, and whether any bit behind them is set.
#[derive(Default)]
struct Significand {
    bits: u64,
    /// Bits that did not fit.
    dropped: i64,
    rest: bool,
}

impl Significand {
    fn push(&mut self, digit: u32) {
        if self.bits >> 60 == 0 {
            self.bits = self.bits << 4 | u64::from(digit);
        } else {
            self.dropped += 4;
            self.rest |= digit != 0;
        }
    }

    /// The nearest double of `self` times two to the power of `exponent`; ties go to the even one.
    fn scaled(&self, exponent: i64) -> f64 {
        if self.bits == 0 {
            return 0.0;
        }
        let shift = self.bits.leading_zeros();
        let bits = self.bits << shift;
        // The value is bits * 2^(high - 63), its first bit being worth 2^high.
        let high = exponent + self.dropped + 63 - i64::from(shift);
        if high > 1023 {
            return f64::INFINITY;
        }
        // A double keeps 53 bits, fewer below 2^-1022; of less than half of the smallest nothing is left.
        let kept = (53 + (high + 1022).min(0)).max(-1);
        if kept < 0 {
            return 0.0;
        }
        let cut = (64 - kept) as u32;
        let (whole, lost) = if cut == 64 { (0, bits) } else { (bits >> cut, bits << (64 - cut)) };
        let half = 1 << 63;
        let up = lost > half || (lost == half && (self.rest || whole & 1 == 1));
        let rounded = whole + u64::from(up);
        // Adding instead of joining lets a carry reach the exponent, up to infinity.
        let biased = if high < -1022 { 0 } else { (high + 1022) as u64 };
        f64::from_bits((biased << 52) + rounded)
    }
}

/// `Boolean.valueOf`.
pub(super) const fn parse_boolean(text: &[u8]) -> bool {
    text.eq_ignore_ascii_case(b"true")
}

/// `Double.compare`: NaN is above everything and equal to itself, -0.0 is below 0.0.
pub(super) fn compare_doubles(left: f64, right: f64) -> std::cmp::Ordering {
    // Every NaN that a text gives is the positive one here, where the total order has it on top.
    left.total_cmp(&right)
}

/// Whether two properties are the same `String`.
#[inline]
pub(super) fn same(left: &[u8], right: &[u8]) -> bool {
    left == right || (!left.is_ascii() && same_replaced(left, right))
}

/// [`same`] of bytes that differ: only malformed UTF-8 can make them one text.
#[cold]
pub(super) fn same_replaced(left: &[u8], right: &[u8]) -> bool {
    if std::str::from_utf8(left).is_ok() && std::str::from_utf8(right).is_ok() {
        return false;
    }
    decoded(left).eq(decoded(right))
}

/// The characters of `bytes` as Java decodes UTF-8.
pub(super) fn decoded(mut bytes: &[u8]) -> impl Iterator<Item = char> {
    std::iter::from_fn(move || {
        let (character, length) = decode_first(bytes)?;
        bytes = &bytes[length..];
        Some(character)
    })
}

/// The first character and its length. As Rust does it, but an encoded surrogate is replaced once, not thrice.
fn decode_first(bytes: &[u8]) -> Option<(char, usize)> {
    let first = bytes.get(..4).unwrap_or(bytes);
    if first.is_empty() {
        return None;
    }
    let valid = match std::str::from_utf8(first) {
        Ok(text) => text,
        Err(error) if error.valid_up_to() > 0 => std::str::from_utf8(&first[..error.valid_up_to()]).ok()?,
        Err(error) => {
            let length = match first {
                [0xED, 0xA0..=0xBF, 0x80..=0xBF, ..] => 3,
                [0xED, 0xA0..=0xBF, ..] => 2,
                _ => error.error_len().unwrap_or(first.len()),
            };
            return Some((REPLACEMENT, length));
        }
    };
    valid.chars().next().map(|character| (character, character.len_utf8()))
}

/// Whether the bytes of a literal decide what it equals or holds: they do unless it holds what malformed bytes become.
pub(super) fn decides(literal: &str) -> bool {
    !literal.contains(REPLACEMENT)
}

/// A property as Java has it. For the rare case of a malformed one and a literal that can equal it.
#[cold]
pub(super) fn replaced(bytes: &[u8]) -> String {
    decoded(bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_what_java_takes() {
        let taken: [(&str, i64); 8] = [
            ("5", 5),
            ("+5", 5),
            ("-0", 0),
            ("005", 5),
            ("٥", 5),
            ("-５٥", -55),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
        ];
        for (text, value) in taken {
            assert_eq!(parse_long(text.as_bytes()), Some(value), "{text}");
        }
        for text in ["", "+", "-", " 5", "5 ", "5.0", "5L", "0x5", "𝟓", "+-5", "9223372036854775808", "1٥𝟓", "\u{FFFD}"]
        {
            assert_eq!(parse_long(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse_long(b"5\xFF"), None);
        assert_eq!(parse_int(b"2147483647"), Some(i32::MAX));
        assert_eq!(parse_int(b"-2147483648"), Some(i32::MIN));
        assert_eq!(parse_int(b"2147483648"), None);
    }

    /// Each line was printed by JDK 17: the text and the bits of `Double.valueOf`, or none for its exception.
    #[test]
    fn doubles_are_what_java_takes() {
        let printed: [(&str, Option<u64>); 34] = [
            ("0x1.p3", Some(0x4020_0000_0000_0000)),
            ("0x.p3", None),
            ("0x.8p1", Some(0x3ff0_0000_0000_0000)),
            ("0x1p3f", Some(0x4020_0000_0000_0000)),
            ("-0x1p-1080", Some(0x8000_0000_0000_0000)),
            ("0x1p99999999999", Some(0x7ff0_0000_0000_0000)),
            ("0x0p99999999999", Some(0)),
            ("0x1.fffffffffffff8p0", Some(0x4000_0000_0000_0000)),
            ("0x1.00000000000008p0", Some(0x3ff0_0000_0000_0000)),
            ("0x1.000000000000080000000000000001p0", Some(0x3ff0_0000_0000_0001)),
            ("0x0.0000000000001p-1022", Some(1)),
            ("0x0.00000000000008p-1022", Some(0)),
            ("0x0.000000000000081p-1022", Some(1)),
            ("0x1p1023", Some(0x7fe0_0000_0000_0000)),
            ("0x1.fffffffffffff8p1023", Some(0x7ff0_0000_0000_0000)),
            ("1e5f", Some(0x40f8_6a00_0000_0000)),
            ("1ef", None),
            ("1.f", Some(0x3ff0_0000_0000_0000)),
            (".f", None),
            ("+.5d", Some(0x3fe0_0000_0000_0000)),
            (" 0x1p3d\n", Some(0x4020_0000_0000_0000)),
            ("0x1p+", None),
            ("+0X1P+3", Some(0x4020_0000_0000_0000)),
            ("1e0x", None),
            ("0x1p3e", None),
            ("NaNd", None),
            ("nan", None),
            ("+Infinity", Some(0x7ff0_0000_0000_0000)),
            ("InfinityD", None),
            ("1e99999999999999", Some(0x7ff0_0000_0000_0000)),
            ("0e99999999999999", Some(0)),
            ("-0", Some(0x8000_0000_0000_0000)),
            ("1\u{1}", Some(0x3ff0_0000_0000_0000)),
            ("\u{A0}1", None),
        ];
        for (text, bits) in printed {
            assert_eq!(parse_double(text.as_bytes()).map(f64::to_bits), bits, "{text:?}");
        }
        assert!(parse_double(b"-NaN").is_some_and(f64::is_nan));
    }

    /// Each line was printed by JDK 17: the bytes and `new String(bytes, UTF_8)`.
    #[test]
    fn malformed_bytes_are_replaced_as_java_does() {
        let printed: [(&[u8], &str); 12] = [
            (b"\xED\xA0\x80", "\u{FFFD}"),
            (b"\xED\xA0", "\u{FFFD}"),
            (b"\xED\xA0A", "\u{FFFD}A"),
            (b"\xE0\x80\x80", "\u{FFFD}\u{FFFD}\u{FFFD}"),
            (b"\xF4\x90\x80\x80", "\u{FFFD}\u{FFFD}\u{FFFD}\u{FFFD}"),
            (b"\xF0\x9F\x98", "\u{FFFD}"),
            (b"\xF0\x9FA", "\u{FFFD}A"),
            (b"\xE4\xB8", "\u{FFFD}"),
            (b"\xC0\x80", "\u{FFFD}\u{FFFD}"),
            (b"\xF8\x88\x80", "\u{FFFD}\u{FFFD}\u{FFFD}"),
            (b"\xED\xBF\xBF\x02", "\u{FFFD}\u{2}"),
            (b"\xF5\x80\x80\x80", "\u{FFFD}\u{FFFD}\u{FFFD}\u{FFFD}"),
        ];
        for (bytes, text) in printed {
            assert_eq!(replaced(bytes), text, "{bytes:x?}");
        }
        assert!(same(b"a\xFF", b"a\xFE") && !same(b"a\xFF", b"a") && !same("é".as_bytes(), "è".as_bytes()));
        assert!(same("\u{FFFD}".as_bytes(), b"\xFF"));
    }
}
