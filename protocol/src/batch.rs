//! The body of a batch send: messages one after another, each with flag, body and properties.
//!
//! Owns reading and writing of that body. Queue, topic and hosts of the messages come from the
//! request around it.

use thiserror::Error;

use crate::limits::{BATCH_MESSAGES_MAX, PROPERTIES_BYTES_MAX};

/// Bytes of one inner message beside its body and properties: size, magic, crc, flag, body length,
/// properties length.
pub const INNER_BYTES_MIN: usize = 22;

/// One message of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InnerMessage<'a> {
    /// The application's flag.
    pub flag: i32,
    /// The body as it came.
    pub body: &'a [u8],
    /// The properties text as it came.
    pub properties: &'a [u8],
}

/// Why a batch body is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BatchError {
    /// The body ends within a message.
    #[error("the batch ends within the message at byte {at}: {missing} bytes are missing")]
    Short {
        /// Where the message begins.
        at: usize,
        /// Bytes missing.
        missing: usize,
    },
    /// A length is negative, or the parts do not add up to the size.
    #[error("the sizes of the batch message at byte {at} contradict each other")]
    Sizes {
        /// Where the message begins.
        at: usize,
    },
    /// More messages than a batch may have.
    #[error("a batch has at most {max} messages")]
    TooMany {
        /// The bound.
        max: usize,
    },
    /// A message that cannot be written: its body or properties exceed their length fields.
    #[error("a message of {body} body and {properties} properties bytes fits no batch")]
    TooLarge {
        /// Bytes of the body.
        body: usize,
        /// Bytes of the properties.
        properties: usize,
    },
}

/// The messages of a batch body in their order. After an error the iterator is at its end.
#[derive(Debug, Clone)]
pub struct InnerMessages<'a> {
    body: &'a [u8],
    at: usize,
    count: usize,
}

impl<'a> InnerMessages<'a> {
    /// Reads `body`.
    #[must_use]
    pub const fn of(body: &'a [u8]) -> Self {
        Self { body, at: 0, count: 0 }
    }

    fn read(&mut self) -> Result<InnerMessage<'a>, BatchError> {
        let at = self.at;
        if self.count == BATCH_MESSAGES_MAX {
            return Err(BatchError::TooMany { max: BATCH_MESSAGES_MAX });
        }
        let rest = &self.body[at..];
        let short = |wanted: usize| BatchError::Short { at, missing: wanted - rest.len() };
        if rest.len() < INNER_BYTES_MIN {
            return Err(short(INNER_BYTES_MIN));
        }
        let sizes = BatchError::Sizes { at };
        let total = usize::try_from(int(rest, 0)).map_err(|_| sizes.clone())?;
        if total < INNER_BYTES_MIN {
            return Err(sizes);
        }
        if rest.len() < total {
            return Err(short(total));
        }
        let body_bytes = usize::try_from(int(rest, 16)).map_err(|_| sizes.clone())?;
        let properties_at = 20_usize.checked_add(body_bytes).ok_or_else(|| sizes.clone())?;
        if properties_at + 2 > total {
            return Err(sizes);
        }
        let length = i16::from_be_bytes([rest[properties_at], rest[properties_at + 1]]);
        let properties_bytes = usize::try_from(length).map_err(|_| sizes.clone())?;
        if properties_at + 2 + properties_bytes != total {
            return Err(sizes);
        }
        self.at += total;
        self.count += 1;
        Ok(InnerMessage {
            flag: int(rest, 12),
            body: &rest[20..properties_at],
            properties: &rest[properties_at + 2..total],
        })
    }
}

impl<'a> Iterator for InnerMessages<'a> {
    type Item = Result<InnerMessage<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at == self.body.len() {
            return None;
        }
        let result = self.read();
        if result.is_err() {
            self.at = self.body.len();
        }
        Some(result)
    }
}

/// The 32-bit number at `at`; the caller has checked that it is there.
fn int(bytes: &[u8], at: usize) -> i32 {
    i32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Appends one message to a batch body. Magic and checksum are 0, as clients write them.
///
/// # Errors
/// The body or the properties do not fit their length fields.
pub fn append(out: &mut Vec<u8>, message: &InnerMessage<'_>) -> Result<(), BatchError> {
    let (body, properties) = (message.body.len(), message.properties.len());
    let too_large = BatchError::TooLarge { body, properties };
    let total = i32::try_from(INNER_BYTES_MIN + body + properties).map_err(|_| too_large.clone())?;
    let body_length = i32::try_from(body).map_err(|_| too_large.clone())?;
    let length = i16::try_from(properties).map_err(|_| too_large)?;
    debug_assert!(properties <= PROPERTIES_BYTES_MAX, "an i16 bounds the properties");
    out.extend_from_slice(&total.to_be_bytes());
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&message.flag.to_be_bytes());
    out.extend_from_slice(&body_length.to_be_bytes());
    out.extend_from_slice(message.body);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(message.properties);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn golden_body() {
        let message = InnerMessage { flag: 7, body: b"hi", properties: b"a\x01b\x02" };
        let mut body = Vec::new();
        append(&mut body, &message).unwrap();
        let expected =
            [0, 0, 0, 28, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 2, b'h', b'i', 0, 4, b'a', 1, b'b', 2];
        assert_eq!(body, expected);
        assert_eq!(InnerMessages::of(&body).collect::<Vec<_>>(), [Ok(message)]);
    }

    #[test]
    fn errors_name_the_message_and_end_the_batch() {
        let mut body = Vec::new();
        append(&mut body, &InnerMessage { flag: 0, body: b"x", properties: b"" }).unwrap();
        let first = body.len();
        body.extend_from_slice(&[0, 0, 0]);
        let read: Vec<_> = InnerMessages::of(&body).collect();
        assert_eq!(read.len(), 2);
        assert_eq!(read[1], Err(BatchError::Short { at: first, missing: 19 }));
        body.truncate(first);
        body[3] += 1;
        assert_eq!(InnerMessages::of(&body).next(), Some(Err(BatchError::Short { at: 0, missing: 1 })));
        body.push(0);
        assert_eq!(InnerMessages::of(&body).next(), Some(Err(BatchError::Sizes { at: 0 })));
        body[16] = 0x80; // a negative body length
        assert_eq!(InnerMessages::of(&body).next(), Some(Err(BatchError::Sizes { at: 0 })));
    }

    #[test]
    fn the_count_is_bounded() {
        let mut body = Vec::new();
        for _ in 0..=BATCH_MESSAGES_MAX {
            append(&mut body, &InnerMessage { flag: 0, body: b"", properties: b"" }).unwrap();
        }
        let read: Vec<_> = InnerMessages::of(&body).collect();
        assert_eq!(read.len(), BATCH_MESSAGES_MAX + 1);
        assert_eq!(read.last(), Some(&Err(BatchError::TooMany { max: BATCH_MESSAGES_MAX })));
    }

    proptest! {
        #[test]
        fn round_trip(messages in proptest::collection::vec(
            (any::<i32>(), proptest::collection::vec(any::<u8>(), 0..40), proptest::collection::vec(any::<u8>(), 0..40)),
            0..6,
        )) {
            let mut body = Vec::new();
            for (flag, text, properties) in &messages {
                append(&mut body, &InnerMessage { flag: *flag, body: text, properties }).unwrap();
            }
            let read: Result<Vec<_>, _> = InnerMessages::of(&body).collect();
            let read: Vec<_> = read.unwrap().iter()
                .map(|m| (m.flag, m.body.to_vec(), m.properties.to_vec()))
                .collect();
            prop_assert_eq!(read, messages);
        }

        #[test]
        fn any_bytes_are_survived(body in proptest::collection::vec(any::<u8>(), 0..120), small: bool) {
            let mut body = body;
            if small && body.len() > 20 {
                // Plausible lengths reach the deeper checks.
                body[..3].fill(0);
                body[16..19].fill(0);
            }
            let read: Vec<_> = InnerMessages::of(&body).collect();
            prop_assert!(read.iter().rev().skip(1).all(Result::is_ok));
        }
    }
}
