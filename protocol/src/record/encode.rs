//! Writing of records: sizes and checksum first, the bytes in one pass.
//!
//! Owns the order of the fields on the way out. A broker prepares outside its append lock
//! ([`Prepared::new`]) and writes inside it.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{Ordering, compiler_fence};

use super::{BLANK_BYTES_MIN, MAGIC_AT, Magic, Placement, Record, RecordError, TOPIC_BYTES_V1_MAX, body_crc};
use crate::limits::PROPERTIES_BYTES_MAX;
use crate::sysflag::{BORN_HOST_V6, STORE_HOST_V6, born_host_bytes, store_host_bytes};

/// Bytes of a record beside its hosts, body, topic and properties, and the topic's length.
const FIXED_BYTES: usize = 48 + 8 + 4 + 8 + 4 + 2;

/// A record whose size and checksum are known and which lacks only its final placement.
#[derive(Debug, Clone, Copy)]
pub struct Prepared<'a> {
    record: Record<'a>,
    body_crc: u32,
    total: i32,
    bytes: usize,
}

impl<'a> Prepared<'a> {
    /// Checks that the record can be written and computes size, checksum and address bits.
    ///
    /// # Errors
    /// The topic is empty, or a part is too long for its length field.
    pub fn new(mut record: Record<'a>) -> Result<Self, RecordError> {
        record.sys_flag = with_host_bits(&record);
        let bytes = encoded_bytes(&record)?;
        let total = i32::try_from(bytes).map_err(|_| too_large("body", record.body.len()))?;
        Ok(Self { record, body_crc: body_crc(record.body), total, bytes })
    }

    /// Bytes of the finished record.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The record as it will be written.
    #[must_use]
    pub const fn record(&self) -> &Record<'a> {
        &self.record
    }

    /// Fills in where the record lies. The store host keeps the address family it was prepared with.
    pub const fn place(&mut self, placed: Placement) {
        let host = self.record.placed.store_host;
        self.record.placed = placed;
        if placed.store_host.is_ipv4() != host.is_ipv4() {
            self.record.placed.store_host = host;
        }
    }

    /// Writes the record, its magic last: a process that is killed in between leaves no record that
    /// looks whole.
    ///
    /// # Panics
    /// `out` has another length than [`Self::bytes`].
    pub fn write(&self, out: &mut [u8]) {
        assert_eq!(out.len(), self.bytes, "a record is written into exactly its own bytes");
        let record = &self.record;
        let placed = &record.placed;
        let v2 = record.topic.len() > TOPIC_BYTES_V1_MAX;
        let magic = if v2 { Magic::V2 } else { Magic::V1 };
        let mut to = Cursor { out, at: 0 };
        to.put(&self.total.to_be_bytes());
        to.put(&[0; 4]);
        to.put(&self.body_crc.to_be_bytes());
        to.put(&record.queue_id.to_be_bytes());
        to.put(&record.flag.to_be_bytes());
        to.put(&placed.queue_offset.to_be_bytes());
        to.put(&placed.physical_offset.to_be_bytes());
        to.put(&record.sys_flag.to_be_bytes());
        to.put(&record.born_timestamp.to_be_bytes());
        to.put_host(record.born_host);
        to.put(&placed.store_timestamp.to_be_bytes());
        to.put_host(placed.store_host);
        to.put(&record.reconsume_times.to_be_bytes());
        to.put(&record.prepared_transaction_offset.to_be_bytes());
        // Body, topic and properties were bounded when the record was prepared.
        to.put_length::<4>(record.body.len());
        to.put(record.body);
        if v2 {
            to.put_length::<2>(record.topic.len());
        } else {
            to.put_length::<1>(record.topic.len());
        }
        to.put(record.topic.as_bytes());
        to.put_length::<2>(record.properties.len());
        to.put(record.properties);
        debug_assert_eq!(to.at, self.bytes, "the size was computed from the same parts");
        // Keeps the compiler from moving the magic before the rest.
        compiler_fence(Ordering::SeqCst);
        out[MAGIC_AT..MAGIC_AT + 4].copy_from_slice(&magic.code().to_be_bytes());
    }
}

/// Bytes that the record takes.
///
/// # Errors
/// The topic is empty, or a part is too long for its length field.
pub fn encoded_bytes(record: &Record<'_>) -> Result<usize, RecordError> {
    if record.topic.is_empty() {
        return Err(RecordError::Topic);
    }
    if record.properties.len() > PROPERTIES_BYTES_MAX {
        return Err(too_large("properties text", record.properties.len()));
    }
    if record.topic.len() > usize::from(i16::MAX.unsigned_abs()) {
        return Err(too_large("topic", record.topic.len()));
    }
    let sys_flag = with_host_bits(record);
    let topic_width = if record.topic.len() > TOPIC_BYTES_V1_MAX { 2 } else { 1 };
    let small = FIXED_BYTES
        + born_host_bytes(sys_flag)
        + store_host_bytes(sys_flag)
        + topic_width
        + record.topic.len()
        + record.properties.len();
    let total = small.saturating_add(record.body.len());
    if i32::try_from(total).is_err() {
        return Err(too_large("body", record.body.len()));
    }
    Ok(total)
}

/// Appends the record to `out` and returns its bytes.
///
/// # Errors
/// As [`encoded_bytes`].
pub fn encode_record(out: &mut Vec<u8>, record: &Record<'_>) -> Result<usize, RecordError> {
    let prepared = Prepared::new(*record)?;
    let at = out.len();
    out.resize(at + prepared.bytes, 0);
    prepared.write(&mut out[at..]);
    Ok(prepared.bytes)
}

/// Marks `rest`, the unused end of a log file, as blank: its length and the blank magic. The bytes
/// behind those eight stay as they are. No log file is as long as 2 GiB, where the length would end.
///
/// # Panics
/// `rest` is shorter than eight bytes.
pub fn write_blank(rest: &mut [u8]) {
    let total = i32::try_from(rest.len()).unwrap_or(i32::MAX);
    rest[..4].copy_from_slice(&total.to_be_bytes());
    rest[4..BLANK_BYTES_MIN].copy_from_slice(&Magic::Blank.code().to_be_bytes());
}

fn with_host_bits(record: &Record<'_>) -> i32 {
    let mut flag = record.sys_flag & !(BORN_HOST_V6 | STORE_HOST_V6);
    if record.born_host.is_ipv6() {
        flag |= BORN_HOST_V6;
    }
    if record.placed.store_host.is_ipv6() {
        flag |= STORE_HOST_V6;
    }
    flag
}

fn too_large(field: &'static str, bytes: usize) -> RecordError {
    let max = match field {
        "body" => usize::try_from(i32::MAX).unwrap_or(usize::MAX) - FIXED_BYTES,
        _ => PROPERTIES_BYTES_MAX,
    };
    RecordError::TooLarge { field, bytes, max }
}

/// Writes parts one after another.
struct Cursor<'a> {
    out: &'a mut [u8],
    at: usize,
}

impl Cursor<'_> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        let end = self.at + bytes.len();
        self.out[self.at..end].copy_from_slice(bytes);
        self.at = end;
    }

    /// The low `N` bytes of a length, big-endian.
    #[inline]
    fn put_length<const N: usize>(&mut self, length: usize) {
        let bytes = (length as u64).to_be_bytes();
        self.put(&bytes[8 - N..]);
    }

    fn put_host(&mut self, host: SocketAddr) {
        match host.ip() {
            IpAddr::V4(ip) => self.put(&ip.octets()),
            IpAddr::V6(ip) => self.put(&ip.octets()),
        }
        self.put(&u32::from(host.port()).to_be_bytes());
    }
}
