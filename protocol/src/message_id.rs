//! The ids by which clients name messages: the broker's offset id and the client's unique key.
//!
//! Owns their text forms. It does not look messages up, and it takes process id, counter and time
//! from its caller.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use thiserror::Error;

/// Hex characters of an offset id or unique key with an IPv4 address.
pub const CHARS_V4: usize = 32;
/// Hex characters of an offset id or unique key with an IPv6 address.
pub const CHARS_V6: usize = 56;

/// Where a message lies: the broker that stored it and the position in its log.
///
/// Text: upper-case hex of the address, the port as 32 bits, the position as 64 bits
/// (`MessageDecoder.createMessageId`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OffsetMessageId {
    /// The broker's address as written into the record.
    pub host: SocketAddr,
    /// Bytes from the start of that broker's log.
    pub physical_offset: i64,
}

/// Why a text is no offset id.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MessageIdError {
    /// Neither 32 nor 56 characters.
    #[error("an offset message id has 32 or 56 characters, this one has {chars}")]
    Length {
        /// Bytes found.
        chars: usize,
    },
    /// A character outside 0-9, a-f, A-F.
    #[error("an offset message id is hexadecimal, character {at} is not")]
    NotHex {
        /// Index of the first such byte.
        at: usize,
    },
    /// A port above 65,535.
    #[error("port {port} in an offset message id is out of range")]
    Port {
        /// The 32-bit number found.
        port: u32,
    },
}

impl OffsetMessageId {
    /// The id's text, 32 characters with IPv4 and 56 with IPv6.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = HexText::default();
        text.push_address(self.host.ip());
        text.push(u32::from(self.host.port()).to_be_bytes());
        text.push(self.physical_offset.to_be_bytes());
        text.as_str().to_owned()
    }

    /// Reads an id; lower-case digits are taken too.
    ///
    /// # Errors
    /// The text has another length, other characters, or an impossible port.
    pub fn decode(text: &str) -> Result<Self, MessageIdError> {
        let chars = text.len();
        if chars != CHARS_V4 && chars != CHARS_V6 {
            return Err(MessageIdError::Length { chars });
        }
        let mut bytes = [0_u8; CHARS_V6 / 2];
        for (index, pair) in text.as_bytes().chunks_exact(2).enumerate() {
            let high = hex_digit(pair[0]).ok_or(MessageIdError::NotHex { at: index * 2 })?;
            let low = hex_digit(pair[1]).ok_or(MessageIdError::NotHex { at: index * 2 + 1 })?;
            bytes[index] = high << 4 | low;
        }
        let (ip, rest) = if chars == CHARS_V4 {
            (IpAddr::V4(Ipv4Addr::from(array::<4>(&bytes))), &bytes[4..])
        } else {
            (IpAddr::V6(Ipv6Addr::from(array::<16>(&bytes))), &bytes[16..])
        };
        let port = u32::from_be_bytes(array(rest));
        let narrow = u16::try_from(port).map_err(|_| MessageIdError::Port { port })?;
        let physical_offset = i64::from_be_bytes(array(&rest[4..]));
        Ok(Self { host: SocketAddr::new(ip, narrow), physical_offset })
    }
}

/// What a client-style unique key is made of (`MessageClientIDSetter`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UniqueKey {
    /// An address of the process that makes the key.
    pub ip: IpAddr,
    /// The low 16 bits of its process id.
    pub process: u16,
    /// A number that tells two makers in one process apart (Java: hash of the class loader).
    pub maker: u32,
    /// Milliseconds since the month began in which the process started.
    pub since_month_ms: u32,
    /// A counter that rises with each key.
    pub counter: u16,
}

impl UniqueKey {
    /// The key's text: 32 characters with IPv4, 56 with IPv6.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = HexText::default();
        text.push_address(self.ip);
        text.push(self.process.to_be_bytes());
        text.push(self.maker.to_be_bytes());
        text.push(self.since_month_ms.to_be_bytes());
        text.push(self.counter.to_be_bytes());
        text.as_str().to_owned()
    }
}

/// The first millisecond (UTC) of the month that holds `now_ms`, both since 1970.
///
/// Java takes the month of the local time zone; the difference is invisible, keys are opaque.
#[must_use]
pub fn month_start_ms(now_ms: i64) -> i64 {
    const DAY_MS: i64 = 86_400_000;
    let day = now_ms.div_euclid(DAY_MS);
    (day - day_of_month(day) + 1) * DAY_MS
}

/// The day of the month, from 1, of a day counted from 1970-01-01, in the proleptic Gregorian
/// calendar. Years are counted from March, so that a leap day is the last day of its year.
fn day_of_month(day: i64) -> i64 {
    let shifted = day + 719_468; // days since 0000-03-01
    let day_of_era = shifted.rem_euclid(146_097); // an era is 400 years
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    day_of_year - (153 * month_from_march + 2) / 5 + 1
}

/// An id while its text is written. Every answer to a producer has one: digits come from a table, not from the
/// formatter of `std`, which costs forty times this.
struct HexText {
    digits: [u8; CHARS_V6],
    chars: usize,
}

impl Default for HexText {
    fn default() -> Self {
        Self { digits: [0; CHARS_V6], chars: 0 }
    }
}

impl HexText {
    /// Adds bytes in upper-case hex. No id has more than fit.
    #[inline]
    fn push<const N: usize>(&mut self, bytes: [u8; N]) {
        const DIGITS: [u8; 16] = *b"0123456789ABCDEF";
        let Some(room) = self.digits.get_mut(self.chars..self.chars + 2 * N) else { return };
        for (pair, byte) in room.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
            *pair = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
        }
        self.chars += 2 * N;
    }

    fn push_address(&mut self, ip: IpAddr) {
        match ip {
            IpAddr::V4(v4) => self.push(v4.octets()),
            IpAddr::V6(v6) => self.push(v6.octets()),
        }
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.digits[..self.chars]).unwrap_or_default()
    }
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// The first `N` bytes; missing ones are 0, which no caller's lengths allow.
fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut out = [0_u8; N];
    for (to, from) in out.iter_mut().zip(bytes) {
        *to = *from;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn golden_ids() {
        let id = OffsetMessageId { host: "10.1.2.255:10911".parse().unwrap(), physical_offset: 0x0000_0123_4567_89AB };
        assert_eq!(id.encode(), "0A0102FF00002A9F00000123456789AB");
        let v6 = OffsetMessageId { host: "[::1]:80".parse().unwrap(), physical_offset: 1 };
        assert_eq!(v6.encode(), "00000000000000000000000000000001000000500000000000000001");
        assert_eq!(OffsetMessageId::decode(&v6.encode().to_lowercase()), Ok(v6));
    }

    #[test]
    fn bad_ids_are_named() {
        assert_eq!(OffsetMessageId::decode("AB"), Err(MessageIdError::Length { chars: 2 }));
        let not_hex = format!("{}x", "0".repeat(31));
        assert_eq!(OffsetMessageId::decode(&not_hex), Err(MessageIdError::NotHex { at: 31 }));
        let port = format!("0A01020300010000{}", "0".repeat(16));
        assert_eq!(OffsetMessageId::decode(&port), Err(MessageIdError::Port { port: 65_536 }));
        let plus = format!("+A{}", "0".repeat(30));
        assert_eq!(OffsetMessageId::decode(&plus), Err(MessageIdError::NotHex { at: 0 }));
    }

    #[test]
    fn unique_key_layout() {
        let key = UniqueKey {
            ip: "127.0.0.1".parse().unwrap(),
            process: 0x1234,
            maker: 0xAABB_CCDD,
            since_month_ms: 0x0102_0304,
            counter: 0x0506,
        };
        assert_eq!(key.encode(), "7F0000011234AABBCCDD010203040506");
    }

    #[test]
    fn months_begin_where_the_calendar_says() {
        let day = 86_400_000;
        assert_eq!(month_start_ms(0), 0);
        assert_eq!(month_start_ms(31 * day - 1), 0);
        assert_eq!(month_start_ms(31 * day), 31 * day);
        // 2024-02-29T12:00:00Z lies in the month that began 2024-02-01.
        assert_eq!(month_start_ms(1_709_208_000_000), 1_706_745_600_000);
        // 1969-12-31 lies in December 1969.
        assert_eq!(month_start_ms(-1), -31 * day);
    }

    proptest! {
        #[test]
        fn ids_round_trip(v4: u32, v6: u128, port: u16, offset: i64, wide: bool) {
            let ip = if wide { IpAddr::V6(v6.into()) } else { IpAddr::V4(v4.into()) };
            let id = OffsetMessageId { host: SocketAddr::new(ip, port), physical_offset: offset };
            prop_assert_eq!(OffsetMessageId::decode(&id.encode()), Ok(id));
        }

        #[test]
        fn decoding_any_text_returns(text in ".{0,60}") {
            let _ = OffsetMessageId::decode(&text);
        }
    }
}
