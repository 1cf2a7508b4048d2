//! One message as the log stores it and as pull, query and view answers carry it.
//!
//! Owns the layout (`MessageDecoder` and `MessageExtEncoder` of RocketMQ), reading ([`RecordView`])
//! and writing ([`Prepared`], [`encode_record`]). It does no I/O and assigns no offsets.

use std::net::{IpAddr, SocketAddr};

use thiserror::Error;

use crate::sysflag::{BORN_HOST_V6, STORE_HOST_V6, born_host_bytes, store_host_bytes};

mod encode;
pub use encode::{Prepared, encode_record, encoded_bytes, write_blank};

/// Position of the record's size (i32).
pub const TOTAL_SIZE_AT: usize = 0;
/// Position of the magic code (i32).
pub const MAGIC_AT: usize = 4;
/// Position of the body's checksum (i32).
pub const BODY_CRC_AT: usize = 8;
/// Position of the queue id (i32).
pub const QUEUE_ID_AT: usize = 12;
/// Position of the application's flag (i32).
pub const FLAG_AT: usize = 16;
/// Position of the queue offset (i64).
pub const QUEUE_OFFSET_AT: usize = 20;
/// Position of the record's own log position (i64).
pub const PHYSICAL_OFFSET_AT: usize = 28;
/// Position of the system flag (i32).
pub const SYS_FLAG_AT: usize = 36;
/// Position of the born timestamp (i64, ms since 1970).
pub const BORN_TIMESTAMP_AT: usize = 40;
/// Position of the born host.
pub const BORN_HOST_AT: usize = 48;
/// Bytes of the smallest record: IPv4 hosts, V1, no body, topic or properties.
pub const RECORD_BYTES_MIN: usize = 91;
/// Bytes of the smallest blank at the end of a log file: its length and its magic.
pub const BLANK_BYTES_MIN: usize = 8;
/// Topics longer than this many bytes are written with a two-byte length (V2).
pub const TOPIC_BYTES_V1_MAX: usize = 127;

/// Position of the store timestamp (i64, ms since 1970); it depends on the width of the born host.
#[must_use]
pub const fn store_timestamp_at(sys_flag: i32) -> usize {
    BORN_HOST_AT + born_host_bytes(sys_flag)
}

/// What the four bytes at [`MAGIC_AT`] say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Magic {
    /// A message whose topic length takes one byte.
    V1,
    /// A message whose topic length takes two bytes.
    V2,
    /// The end of a log file: the rest holds no messages.
    Blank,
}

impl Magic {
    /// The magic of a code, `None` for anything else.
    #[must_use]
    pub const fn of(code: u32) -> Option<Self> {
        match code {
            0xDAA3_20A7 => Some(Self::V1),
            0xDAA3_20AB => Some(Self::V2),
            0xCBD4_3194 => Some(Self::Blank),
            _ => None,
        }
    }

    /// The code as it is stored.
    #[must_use]
    pub const fn code(self) -> u32 {
        match self {
            Self::V1 => 0xDAA3_20A7,
            Self::V2 => 0xDAA3_20AB,
            Self::Blank => 0xCBD4_3194,
        }
    }
}

/// Why bytes are no record, or why a message cannot become one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RecordError {
    /// Fewer bytes than the record says it has.
    #[error("a record of {wanted} bytes was cut to {found}")]
    Short {
        /// Bytes the record needs.
        wanted: usize,
        /// Bytes there are.
        found: usize,
    },
    /// The bytes at the magic's place belong to no message.
    #[error("{code:#010x} is not the magic code of a message")]
    Magic {
        /// The code found.
        code: u32,
    },
    /// A length is negative, or the parts do not add up to the size.
    #[error("the {field} length of a record contradicts its size of {total} bytes")]
    Sizes {
        /// The part.
        field: &'static str,
        /// The record's size.
        total: i32,
    },
    /// The topic is empty or no UTF-8.
    #[error("the topic of a record is empty or not UTF-8")]
    Topic,
    /// A host's port is above 65,535.
    #[error("the {field} port {port} of a record is out of range")]
    Port {
        /// Which host.
        field: &'static str,
        /// The number found.
        port: u32,
    },
    /// The body is not the one that was stored.
    #[error("the body's checksum is {found:#010x}, the record says {stored:#010x}")]
    BodyCrc {
        /// The checksum in the record.
        stored: u32,
        /// The checksum of the bytes.
        found: u32,
    },
    /// A part is too long for its length field.
    #[error("a {field} of {bytes} bytes does not fit a record, at most {max} do")]
    TooLarge {
        /// The part.
        field: &'static str,
        /// Its bytes.
        bytes: usize,
        /// The bound.
        max: usize,
    },
}

/// The checksum that a record keeps of its body: CRC-32 without the top bit.
#[must_use]
pub fn body_crc(body: &[u8]) -> u32 {
    crc32fast::hash(body) & 0x7FFF_FFFF
}

/// What the broker adds to a message when it stores it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// The message's number in its queue.
    pub queue_offset: i64,
    /// The record's position in the log.
    pub physical_offset: i64,
    /// When it was stored, ms since 1970.
    pub store_timestamp: i64,
    /// The broker's address.
    pub store_host: SocketAddr,
}

/// All that a record says, borrowed. To store a message again with fields replaced, take
/// [`RecordView::record`], change it, and encode it.
///
/// The checksum is not here: it follows from the body when the record is encoded. The two address
/// bits of `sys_flag` follow from the hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Topic.
    pub topic: &'a str,
    /// Queue of the topic.
    pub queue_id: i32,
    /// The application's flag.
    pub flag: i32,
    /// See [`crate::sysflag`].
    pub sys_flag: i32,
    /// When the client made the message, ms since 1970.
    pub born_timestamp: i64,
    /// The client's address.
    pub born_host: SocketAddr,
    /// How often it was given to consumers before.
    pub reconsume_times: i32,
    /// Log position of the half message, 0 outside transactions.
    pub prepared_transaction_offset: i64,
    /// The body, compressed or not.
    pub body: &'a [u8],
    /// The properties text.
    pub properties: &'a [u8],
    /// What storing added.
    pub placed: Placement,
}

/// The properties of one whole record, for readers that look at nothing else of many. Only the lengths on the way are
/// checked; `None` when they do not fit the bytes.
#[inline]
#[must_use]
pub fn properties_of(record: &[u8]) -> Option<&[u8]> {
    let sys_flag = i32::from_be_bytes(array(record, SYS_FLAG_AT));
    // Behind the store host: deliveries before (i32) and the half message's position (i64).
    let body_length_at = store_timestamp_at(sys_flag) + 8 + store_host_bytes(sys_flag) + 4 + 8;
    let body_bytes = usize::try_from(i32::from_be_bytes(array(record, body_length_at))).ok()?;
    let topic_length_at = (body_length_at + 4).checked_add(body_bytes)?;
    let topic_end = match Magic::of(u32::from_be_bytes(array(record, MAGIC_AT)))? {
        Magic::V1 => topic_length_at + 1 + usize::from(*record.get(topic_length_at)?),
        Magic::V2 => topic_length_at + 2 + usize::from(u16::from_be_bytes(array(record, topic_length_at))),
        Magic::Blank => return None,
    };
    let length = usize::from(u16::from_be_bytes(array(record, topic_end)));
    let properties = record.get(topic_end + 2..)?;
    (properties.len() == length).then_some(properties)
}

/// A record in place, its sizes checked, its fields read when asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordView<'a> {
    bytes: &'a [u8],
    topic: &'a str,
    magic: Magic,
    body_at: usize,
    body_end: usize,
    properties_at: usize,
}

impl<'a> RecordView<'a> {
    /// Reads the record at the start of `bytes`; what follows it is ignored.
    ///
    /// Checks sizes, magic, topic and ports, not the body's checksum (see [`Self::check_body`]).
    ///
    /// # Errors
    /// The bytes are no whole, consistent record. Never panics.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RecordError> {
        let head = bytes.get(..8).ok_or(RecordError::Short { wanted: 8, found: bytes.len() })?;
        let code = u32::from_be_bytes(array(head, MAGIC_AT));
        let magic = match Magic::of(code) {
            Some(found @ (Magic::V1 | Magic::V2)) => found,
            Some(Magic::Blank) | None => return Err(RecordError::Magic { code }),
        };
        let total = i32::from_be_bytes(array(head, TOTAL_SIZE_AT));
        let size = usize::try_from(total)
            .ok()
            .filter(|size| *size >= RECORD_BYTES_MIN)
            .ok_or(RecordError::Sizes { field: "total", total })?;
        let record = bytes.get(..size).ok_or(RecordError::Short { wanted: size, found: bytes.len() })?;
        Self::parse_whole(record, magic, total)
    }

    fn parse_whole(bytes: &'a [u8], magic: Magic, total: i32) -> Result<Self, RecordError> {
        let sizes = |field| RecordError::Sizes { field, total };
        let sys_flag = i32::from_be_bytes(array(bytes, SYS_FLAG_AT));
        let store_host_at = store_timestamp_at(sys_flag) + 8;
        let body_length_at = store_host_at + store_host_bytes(sys_flag) + 4 + 8;
        if body_length_at + 4 > bytes.len() {
            return Err(sizes("host"));
        }
        check_port(bytes, BORN_HOST_AT + born_host_bytes(sys_flag), "born host")?;
        check_port(bytes, store_host_at + store_host_bytes(sys_flag), "store host")?;
        let body_at = body_length_at + 4;
        let body_bytes =
            usize::try_from(i32::from_be_bytes(array(bytes, body_length_at))).map_err(|_| sizes("body"))?;
        let body_end = body_at.checked_add(body_bytes).ok_or_else(|| sizes("body"))?;
        let width = if magic == Magic::V1 { 1 } else { 2 };
        let length = bytes.get(body_end..body_end + width).ok_or_else(|| sizes("body"))?;
        let topic_bytes = length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        let topic_at = body_end + width;
        let topic_end = topic_at + topic_bytes;
        let topic = bytes.get(topic_at..topic_end).ok_or_else(|| sizes("topic"))?;
        let length = bytes.get(topic_end..topic_end + 2).ok_or_else(|| sizes("topic"))?;
        let properties_bytes =
            usize::try_from(i16::from_be_bytes(array(length, 0))).map_err(|_| sizes("properties"))?;
        let properties_at = topic_end + 2;
        if properties_at + properties_bytes != bytes.len() {
            return Err(sizes("properties"));
        }
        let topic = std::str::from_utf8(topic).map_err(|_| RecordError::Topic)?;
        if topic.is_empty() {
            return Err(RecordError::Topic);
        }
        Ok(Self { bytes, topic, magic, body_at, body_end, properties_at })
    }

    /// Compares the body with the checksum that was stored with it.
    ///
    /// # Errors
    /// They differ.
    pub fn check_body(&self) -> Result<(), RecordError> {
        let (stored, found) = (self.body_crc(), body_crc(self.body()));
        if stored == found { Ok(()) } else { Err(RecordError::BodyCrc { stored, found }) }
    }

    /// The record's bytes, exactly.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// V1 or V2.
    #[must_use]
    pub const fn magic(&self) -> Magic {
        self.magic
    }

    /// The stored checksum of the body.
    #[must_use]
    pub fn body_crc(&self) -> u32 {
        u32::from_be_bytes(array(self.bytes, BODY_CRC_AT))
    }

    /// Queue of the topic.
    #[must_use]
    pub fn queue_id(&self) -> i32 {
        self.int(QUEUE_ID_AT)
    }

    /// The application's flag.
    #[must_use]
    pub fn flag(&self) -> i32 {
        self.int(FLAG_AT)
    }

    /// The message's number in its queue.
    #[must_use]
    pub fn queue_offset(&self) -> i64 {
        self.long(QUEUE_OFFSET_AT)
    }

    /// The record's position in the log it was stored in.
    #[must_use]
    pub fn physical_offset(&self) -> i64 {
        self.long(PHYSICAL_OFFSET_AT)
    }

    /// See [`crate::sysflag`].
    #[must_use]
    pub fn sys_flag(&self) -> i32 {
        self.int(SYS_FLAG_AT)
    }

    /// When the client made the message, ms since 1970.
    #[must_use]
    pub fn born_timestamp(&self) -> i64 {
        self.long(BORN_TIMESTAMP_AT)
    }

    /// The client's address.
    #[must_use]
    pub fn born_host(&self) -> SocketAddr {
        self.host(BORN_HOST_AT, self.sys_flag() & BORN_HOST_V6 != 0)
    }

    /// When the message was stored, ms since 1970.
    #[must_use]
    pub fn store_timestamp(&self) -> i64 {
        self.long(store_timestamp_at(self.sys_flag()))
    }

    /// The broker's address.
    #[must_use]
    pub fn store_host(&self) -> SocketAddr {
        let at = store_timestamp_at(self.sys_flag()) + 8;
        self.host(at, self.sys_flag() & STORE_HOST_V6 != 0)
    }

    /// How often it was given to consumers before.
    #[must_use]
    pub fn reconsume_times(&self) -> i32 {
        self.int(self.body_at - 16)
    }

    /// Log position of the half message, 0 outside transactions.
    #[must_use]
    pub fn prepared_transaction_offset(&self) -> i64 {
        self.long(self.body_at - 12)
    }

    /// The body, compressed or not.
    #[must_use]
    pub fn body(&self) -> &'a [u8] {
        &self.bytes[self.body_at..self.body_end]
    }

    /// Topic.
    #[must_use]
    pub const fn topic(&self) -> &'a str {
        self.topic
    }

    /// The properties text.
    #[must_use]
    pub fn properties(&self) -> &'a [u8] {
        &self.bytes[self.properties_at..]
    }

    /// Everything as a value that can be changed and encoded again.
    #[must_use]
    pub fn record(&self) -> Record<'a> {
        Record {
            topic: self.topic,
            queue_id: self.queue_id(),
            flag: self.flag(),
            sys_flag: self.sys_flag(),
            born_timestamp: self.born_timestamp(),
            born_host: self.born_host(),
            reconsume_times: self.reconsume_times(),
            prepared_transaction_offset: self.prepared_transaction_offset(),
            body: self.body(),
            properties: self.properties(),
            placed: Placement {
                queue_offset: self.queue_offset(),
                physical_offset: self.physical_offset(),
                store_timestamp: self.store_timestamp(),
                store_host: self.store_host(),
            },
        }
    }

    fn int(&self, at: usize) -> i32 {
        i32::from_be_bytes(array(self.bytes, at))
    }

    fn long(&self, at: usize) -> i64 {
        i64::from_be_bytes(array(self.bytes, at))
    }

    fn host(&self, at: usize, wide: bool) -> SocketAddr {
        let (ip, port_at) = if wide {
            (IpAddr::from(array::<16>(self.bytes, at)), at + 16)
        } else {
            (IpAddr::from(array::<4>(self.bytes, at)), at + 4)
        };
        // The upper half of the 32-bit port is zero, which parsing has checked.
        SocketAddr::new(ip, u16::from_be_bytes(array(self.bytes, port_at + 2)))
    }
}

/// Walks over records that lie one after another, as the bodies of pull answers do.
///
/// After an error the iterator is at its end.
pub fn records(mut bytes: &[u8]) -> impl Iterator<Item = Result<RecordView<'_>, RecordError>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let view = RecordView::parse(bytes);
        bytes = view.as_ref().map_or(&[], |view| &bytes[view.bytes().len()..]);
        Some(view)
    })
}

/// Checks the 32-bit port that ends at `end`.
fn check_port(bytes: &[u8], end: usize, field: &'static str) -> Result<(), RecordError> {
    let port = u32::from_be_bytes(array(bytes, end - 4));
    if port > u32::from(u16::MAX) { Err(RecordError::Port { field, port }) } else { Ok(()) }
}

/// The `N` bytes at `at`, which the caller's checks have shown to be there; missing ones would be 0.
#[inline]
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..at + N).and_then(|part| part.try_into().ok()).unwrap_or([0; N])
}

#[cfg(test)]
mod tests;
