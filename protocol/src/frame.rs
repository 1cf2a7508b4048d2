//! Where a frame begins and ends: the length prefix and the header word. Nothing of its meaning.
//!
//! Layout (big-endian): `i32` length of what follows, `u8` header codec, `u24` header length, header, body.
//! Source: `NettyDecoder` and `RemotingCommand` of Apache RocketMQ.

use thiserror::Error;

use crate::limits::{FRAME_BYTES_MAX, HEADER_BYTES_MAX};

/// How a frame's header is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HeaderCodec {
    /// A JSON object; every client speaks it.
    #[default]
    Json,
    /// RocketMQ's own binary form.
    Binary,
}

impl HeaderCodec {
    /// The number of this codec in the header word.
    #[must_use]
    pub fn wire(self) -> u8 {
        match self {
            Self::Json => 0,
            Self::Binary => 1,
        }
    }
}

/// What the first bytes of a buffer say about the frame they begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// More bytes must arrive first.
    Incomplete,
    /// The whole frame is there.
    Complete {
        /// Bytes of the frame, its prefix of four bytes counted.
        bytes: usize,
    },
}

/// Why bytes are not a frame. All of them end the connection: the stream has lost its rhythm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FrameError {
    /// The length prefix is below the header word's four bytes, or negative.
    #[error("frame length {length} is below 4")]
    TooShort {
        /// The prefix as a signed number.
        length: i32,
    },
    /// The length prefix exceeds the limit.
    #[error("frame of {length} bytes exceeds the limit of {FRAME_BYTES_MAX}")]
    TooLong {
        /// Bytes that the prefix announces.
        length: usize,
    },
    /// The header is longer than its frame.
    #[error("header of {header} bytes in a frame of {frame}")]
    HeaderBeyondFrame {
        /// Bytes that the header word announces.
        header: usize,
        /// Bytes of the frame after its prefix.
        frame: usize,
    },
    /// The header exceeds the limit.
    #[error("header of {header} bytes exceeds the limit of {max}")]
    HeaderTooLong {
        /// Bytes that the header word announces.
        header: usize,
        /// The limit.
        max: usize,
    },
    /// The codec is neither JSON nor binary.
    #[error("unknown header codec {codec}")]
    UnknownCodec {
        /// The codec's number.
        codec: u8,
    },
}

/// Looks at the beginning of `buffer`: is a whole frame there, and may it be one that a client sends?
///
/// The limits are checked before a byte of the frame is waited for, so a hostile prefix costs nothing.
///
/// # Errors
/// See [`FrameError`]; the connection cannot go on after any of them.
pub fn check(buffer: &[u8]) -> Result<Check, FrameError> {
    check_with(buffer, HEADER_BYTES_MAX)
}

/// The same for frames whose headers have up to `header_bytes_max` bytes: answers have no limit but the frame.
///
/// # Errors
/// As [`check`].
pub fn check_with(buffer: &[u8], header_bytes_max: usize) -> Result<Check, FrameError> {
    let Some(prefix) = buffer.first_chunk::<4>() else { return Ok(Check::Incomplete) };
    let length = i32::from_be_bytes(*prefix);
    let Ok(bytes) = usize::try_from(length) else { return Err(FrameError::TooShort { length }) };
    if bytes < 4 {
        return Err(FrameError::TooShort { length });
    }
    if bytes > FRAME_BYTES_MAX {
        return Err(FrameError::TooLong { length: bytes });
    }
    if let Some(word) = buffer.get(4..8) {
        let (_, header) = header_word([word[0], word[1], word[2], word[3]], bytes)?;
        if header > header_bytes_max {
            return Err(FrameError::HeaderTooLong { header, max: header_bytes_max });
        }
    }
    if buffer.len() < bytes + 4 {
        return Ok(Check::Incomplete);
    }
    Ok(Check::Complete { bytes: bytes + 4 })
}

/// Splits the header word of a frame of `frame` bytes (prefix not counted) into codec and header length.
///
/// # Errors
/// When the codec is unknown or the header does not fit.
pub fn header_word(word: [u8; 4], frame: usize) -> Result<(HeaderCodec, usize), FrameError> {
    let header = (usize::from(word[1]) << 16) | (usize::from(word[2]) << 8) | usize::from(word[3]);
    let codec = match word[0] {
        0 => HeaderCodec::Json,
        1 => HeaderCodec::Binary,
        codec => return Err(FrameError::UnknownCodec { codec }),
    };
    if header > frame - 4 {
        return Err(FrameError::HeaderBeyondFrame { header, frame });
    }
    Ok((codec, header))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_complete_with_its_last_byte() {
        let mut bytes = vec![0, 0, 0, 8, 0, 0, 0, 2, b'{', b'}', 1, 2];
        assert_eq!(check(&bytes), Ok(Check::Complete { bytes: 12 }));
        bytes.pop();
        assert_eq!(check(&bytes), Ok(Check::Incomplete));
        assert_eq!(check(&bytes[..3]), Ok(Check::Incomplete));
    }

    #[test]
    fn headers_of_requests_are_bounded_and_those_of_answers_are_not() {
        let header = u32::try_from(HEADER_BYTES_MAX + 1).unwrap();
        let begin = [(header + 4).to_be_bytes(), header.to_be_bytes()].concat();
        let too_long = FrameError::HeaderTooLong { header: HEADER_BYTES_MAX + 1, max: HEADER_BYTES_MAX };
        assert_eq!(check(&begin), Err(too_long));
        assert_eq!(check_with(&begin, FRAME_BYTES_MAX), Ok(Check::Incomplete));
    }

    #[test]
    fn hostile_prefixes_are_refused_before_their_bytes_arrive() {
        let long = i32::try_from(FRAME_BYTES_MAX + 1).unwrap().to_be_bytes();
        assert_eq!(check(&long), Err(FrameError::TooLong { length: FRAME_BYTES_MAX + 1 }));
        assert_eq!(check(&[0xff; 4]), Err(FrameError::TooShort { length: -1 }));
        assert_eq!(check(&[0, 0, 0, 3]), Err(FrameError::TooShort { length: 3 }));
        assert_eq!(check(&[0, 0, 0, 8, 7, 0, 0, 0]), Err(FrameError::UnknownCodec { codec: 7 }));
        assert_eq!(check(&[0, 0, 0, 8, 0, 0, 0, 5]), Err(FrameError::HeaderBeyondFrame { header: 5, frame: 8 }));
    }
}
