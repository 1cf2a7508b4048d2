//! One message as it is shown, out of the record that a broker answered.
//!
//! Owns unpacking of bodies, with a bound on what they may become.

use std::io::{self, Read};

use strata_protocol::message_id::OffsetMessageId;
use strata_protocol::properties::Properties;
use strata_protocol::record::RecordView;
use strata_protocol::sysflag::{Compression, compression};
use thiserror::Error;

use crate::limits::UNPACKED_BYTES_MAX;

/// A message apart from its pull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) broker: String,
    pub(crate) queue_id: i32,
    pub(crate) queue_offset: i64,
    /// Position in the broker's log; it orders messages of one millisecond.
    pub(crate) physical_offset: i64,
    pub(crate) offset_message_id: String,
    pub(crate) born_ms: i64,
    pub(crate) stored_ms: i64,
    pub(crate) reconsume_times: i32,
    pub(crate) properties: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) flags: Flags,
}

/// The two numbers of a message that are bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Flags {
    /// The application's own.
    pub(crate) application: i32,
    /// `sysFlag`: compression, transaction state, host addresses.
    pub(crate) system: i32,
}

/// Why a body cannot be shown.
#[derive(Debug, Error)]
#[error("the message at {queue}/{queue_id} offset {offset} cannot be unpacked: {why}", queue = broker)]
pub(crate) struct Unpackable {
    broker: String,
    queue_id: i32,
    offset: i64,
    why: String,
}

impl Message {
    /// Copies a record out of the answer of `broker`.
    pub(crate) fn of(record: &RecordView<'_>, broker: &str) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let id = OffsetMessageId { host: record.store_host(), physical_offset: record.physical_offset() };
        Self {
            topic: record.topic().to_owned(),
            broker: broker.to_owned(),
            queue_id: record.queue_id(),
            queue_offset: record.queue_offset(),
            physical_offset: record.physical_offset(),
            offset_message_id: id.encode(),
            born_ms: record.born_timestamp(),
            stored_ms: record.store_timestamp(),
            reconsume_times: record.reconsume_times(),
            properties: Properties::of(record.properties()).map(|(name, value)| (text(name), text(value))).collect(),
            body: record.body().to_vec(),
            flags: Flags { application: record.flag(), system: record.sys_flag() },
        }
    }

    /// The value of a property; of several, the last.
    pub(crate) fn property(&self, name: &str) -> Option<&str> {
        self.properties.iter().rev().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The message with its body as the producer had it.
    pub(crate) fn unpacked(mut self) -> Result<Self, Unpackable> {
        let Some(packing) = compression(self.flags.system) else { return Ok(self) };
        let body = match packing {
            Ok(packing) => unpack(&self.body, packing).map_err(|error| error.to_string()),
            Err(kind) => Err(format!("its compression type {kind:#x} is not known")),
        };
        match body {
            Ok(body) => {
                self.body = body;
                Ok(self)
            }
            Err(why) => {
                let Self { broker, queue_id, queue_offset: offset, .. } = self;
                Err(Unpackable { broker, queue_id, offset, why })
            }
        }
    }
}

fn unpack(packed: &[u8], packing: Compression) -> io::Result<Vec<u8>> {
    match packing {
        Compression::Zlib => bounded(flate2::read::ZlibDecoder::new(packed)),
        Compression::Lz4 => bounded(lz4_flex::frame::FrameDecoder::new(packed)),
        Compression::Zstd => bounded(zstd::stream::read::Decoder::new(packed)?),
    }
}

fn bounded(reader: impl Read) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    reader.take(UNPACKED_BYTES_MAX as u64 + 1).read_to_end(&mut out)?;
    if out.len() > UNPACKED_BYTES_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("it becomes more than {UNPACKED_BYTES_MAX} bytes"),
        ));
    }
    Ok(out)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write;

    use super::*;

    /// A message of a test.
    pub(crate) fn message(queue_id: i32, queue_offset: i64, stored_ms: i64, body: &[u8]) -> Message {
        Message {
            topic: "orders".into(),
            broker: "broker-a".into(),
            queue_id,
            queue_offset,
            physical_offset: queue_offset,
            offset_message_id: "7F00000100002A9F0000000000000000".into(),
            born_ms: stored_ms,
            stored_ms,
            reconsume_times: 0,
            properties: vec![
                ("TAGS".into(), "A".into()),
                ("KEYS".into(), "k1 k2".into()),
                ("UNIQ_KEY".into(), "U1".into()),
            ],
            body: body.to_vec(),
            flags: Flags::default(),
        }
    }

    fn packed(system: i32, body: &[u8]) -> Message {
        Message { flags: Flags { application: 0, system }, ..message(0, 3, 1, body) }
    }

    #[test]
    fn all_packings_are_unpacked() {
        let plain = b"hello hello hello hello".repeat(10);
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        zlib.write_all(&plain).unwrap();
        let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
        lz4.write_all(&plain).unwrap();
        let zstd = zstd::encode_all(&plain[..], 3).unwrap();
        let zlib = zlib.finish().unwrap();
        for (flag, body) in [(0x1, &zlib), (0x301, &zlib), (0x101, &lz4.finish().unwrap()), (0x201, &zstd)] {
            assert_eq!(packed(flag, body).unpacked().unwrap().body, plain, "{flag:#x}");
        }
        assert_eq!(packed(0, b"raw").unpacked().unwrap().body, b"raw");
    }

    #[test]
    fn a_body_that_lies_is_named_and_bounded() {
        let error = packed(0x1, b"not zlib").unpacked().unwrap_err().to_string();
        assert!(error.starts_with("the message at broker-a/0 offset 3 cannot be unpacked: "), "{error}");
        assert!(packed(0x701, b"").unpacked().unwrap_err().to_string().contains("0x700 is not known"));
        let bomb = zstd::encode_all(io::repeat(0).take(UNPACKED_BYTES_MAX as u64 + 1), 1).unwrap();
        assert!(bomb.len() < 64 * 1024);
        assert!(packed(0x201, &bomb).unpacked().unwrap_err().to_string().contains("becomes more than"));
    }
}
