//! Numbers written in a fixed width, without allocating.
//!
//! Owns the arithmetic that a frame's places are patched with.

/// Mixes the bits of a number (the finisher of SplitMix64): neighbours become unlike.
pub(super) fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Fills `out` with the last hexadecimal digits of `number`.
pub(super) fn hex(out: &mut [u8], mut number: u64) {
    for digit in out.iter_mut().rev() {
        *digit = b"0123456789ABCDEF"[(number & 15) as usize];
        number >>= 4;
    }
}

/// The number that at most sixteen hexadecimal digits stand for.
pub(super) fn hex_value(digits: &[u8]) -> Option<u64> {
    let mut value = 0;
    for digit in digits {
        let nibble = match digit {
            b'0'..=b'9' => digit - b'0',
            b'A'..=b'F' => digit - b'A' + 10,
            _ => return None,
        };
        value = value << 4 | u64::from(nibble);
    }
    Some(value)
}

/// Fills `out` with the last decimal digits of `number`.
pub(super) fn decimal(out: &mut [u8], mut number: u64) {
    for digit in out.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// How digits follow from a message's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Digits {
    /// There are none.
    None,
    /// The number in 16 hexadecimal digits.
    Hex,
    /// The number in so many decimal digits.
    Decimal(usize),
    /// One digit that walks through so many kinds.
    Below(u64),
    /// So many decimal digits that look like chance.
    Mixed(usize),
}

impl Digits {
    /// The widest.
    pub(super) const WIDTH_MAX: usize = 16;

    /// How many there are.
    pub(super) fn width(self) -> usize {
        match self {
            Self::None => 0,
            Self::Hex => 16,
            Self::Decimal(width) | Self::Mixed(width) => width,
            Self::Below(_) => 1,
        }
    }

    /// Fills `out`, which has their width.
    pub(super) fn write(self, out: &mut [u8], number: u64) {
        match self {
            Self::None => {}
            Self::Hex => hex(out, number),
            Self::Decimal(_) => decimal(out, number),
            Self::Below(kinds) => decimal(out, number % kinds),
            Self::Mixed(_) => decimal(out, mix(number)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_have_their_width_and_come_back() {
        let mut out = [0; 16];
        hex(&mut out, u64::MAX - 10);
        assert_eq!(hex_value(&out), Some(u64::MAX - 10));
        assert_eq!(hex_value(b"0g"), None);
        decimal(&mut out[..4], 98_765);
        assert_eq!(&out[..4], b"8765");
        Digits::Below(8).write(&mut out[..1], 15);
        assert_eq!(out[0], b'7');
        Digits::Decimal(3).write(&mut out[..3], 7);
        assert_eq!(&out[..3], b"007");
    }
}
