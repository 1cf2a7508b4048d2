//! Numbers of the strict dialect: integers of 64 bits are exact, everything else is a double, and the two compare by
//! their values, not by what one loses in becoming the other.

use std::cmp::Ordering;

use super::super::java;

/// A number.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Number {
    Int(i64),
    /// Never NaN, which no text gives.
    Double(f64),
}

impl Number {
    /// Reads a text: blanks around it, a sign, digits, a fraction, an exponent. `None` if it is no number.
    #[inline]
    pub(in crate::sql) fn parse(text: &[u8]) -> Option<Self> {
        java::few_digits(text).map_or_else(|| Self::parse_any(text), |int| Some(Self::Int(int.into())))
    }

    fn parse_any(text: &[u8]) -> Option<Self> {
        let text = text.trim_ascii();
        let unsigned = text.strip_prefix(b"-").or_else(|| text.strip_prefix(b"+")).unwrap_or(text);
        if !matches!(unsigned.first(), Some(b'0'..=b'9' | b'.')) {
            return None;
        }
        let mut int = Some(0_i64);
        for byte in unsigned {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                return Self::parse_double(text);
            }
            int = int.and_then(|int| int.checked_mul(10)?.checked_sub(i64::from(digit)));
        }
        let signed = int.and_then(|int| if text.starts_with(b"-") { Some(int) } else { int.checked_neg() });
        signed.map_or_else(|| Self::parse_double(text), |int| Some(Self::Int(int)))
    }

    fn parse_double(text: &[u8]) -> Option<Self> {
        // Rust's words for infinity and NaN begin with a letter and were sent away.
        std::str::from_utf8(text).ok()?.parse().ok().map(Self::Double)
    }

    pub(in crate::sql) const fn negated(self) -> Self {
        match self {
            Self::Int(value) => match value.checked_neg() {
                Some(value) => Self::Int(value),
                None => Self::Double(-(value as f64)),
            },
            Self::Double(value) => Self::Double(-value),
        }
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        match (*self, *other) {
            (Self::Int(left), Self::Int(right)) => left.cmp(&right),
            (Self::Double(left), Self::Double(right)) => left.partial_cmp(&right).unwrap_or(Ordering::Equal),
            (Self::Int(left), Self::Double(right)) => compare(left, right),
            (Self::Double(left), Self::Int(right)) => compare(right, left).reverse(),
        }
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Number {}

/// Compares without rounding.
fn compare(int: i64, double: f64) -> Ordering {
    /// Two to the power of 63, the first double above all integers.
    const ABOVE: f64 = 9_223_372_036_854_775_808.0;
    if double >= ABOVE {
        return Ordering::Less;
    }
    if double < -ABOVE {
        return Ordering::Greater;
    }
    let whole = double.trunc();
    int.cmp(&(whole as i64)).then_with(|| whole.partial_cmp(&double).unwrap_or(Ordering::Equal))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_numbers_or_not() {
        for (text, number) in [
            ("5", Number::Int(5)),
            (" -5 ", Number::Int(-5)),
            ("+0005", Number::Int(5)),
            ("5.0", Number::Int(5)),
            ("1e2", Number::Int(100)),
            ("-.5", Number::Double(-0.5)),
            ("-0", Number::Double(0.0)),
            ("-9223372036854775808", Number::Int(i64::MIN)),
            ("1e999", Number::Double(f64::INFINITY)),
        ] {
            assert_eq!(Number::parse(text.as_bytes()), Some(number), "{text}");
        }
        for text in ["", " ", "x", "5x", "+", "-", ".", "1e", "0x1", "inf", "-inf", "NaN", "--5", "1 2", "٥", "5\u{A0}"]
        {
            assert_eq!(Number::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn integers_and_doubles_compare_by_value() {
        let above = Number::Double(9_007_199_254_740_992.0);
        assert!(Number::Int(9_007_199_254_740_993) > above && Number::Int(9_007_199_254_740_992) == above);
        assert!(Number::Int(i64::MAX) < Number::Double(9_223_372_036_854_775_808.0));
        assert!(Number::Int(i64::MIN) == Number::Double(-9_223_372_036_854_775_808.0));
        assert!(Number::Int(3) < Number::Double(3.5) && Number::Int(-3) > Number::Double(-3.5));
        assert!(Number::Double(f64::NEG_INFINITY) < Number::Int(i64::MIN));
    }
}
