//! What must hold for any bytes at all: one function for each decoder.
//!
//! Owns the properties: nothing panics, nothing is read beyond the input, and what was decoded comes back
//! after encoding. The fuzz targets and the stable test feed these functions; neither adds a check.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use strata_protocol::batch::{self, InnerMessages};
use strata_protocol::body::{Heartbeat, RegisterBody, TopicRoute};
use strata_protocol::command::Command;
use strata_protocol::frame::{self, Check};
use strata_protocol::json;
use strata_protocol::limits::{HEADER_BYTES_MAX, JSON_BODY_BYTES_MAX, PROPERTIES_BYTES_MAX};
use strata_protocol::message_id::OffsetMessageId;
use strata_protocol::name;
use strata_protocol::properties::{self, IndexTerms, Properties};
use strata_protocol::record::{self, RecordView};
use strata_protocol::request::{Header as _, Pull, Send, SendNames};
use strata_protocol::trace;

/// A decoder's name and its check, which says whether the bytes were taken.
pub(crate) type Decoder = (&'static str, fn(&[u8]) -> bool);

/// All decoders.
pub(crate) const ALL: [Decoder; 11] = [
    ("frame", frame),
    ("header", header),
    ("json", json),
    ("record", record),
    ("properties", properties),
    ("batch", batch),
    ("message_id", message_id),
    ("register", register),
    ("heartbeat", heartbeat),
    ("name", name),
    ("trace", trace),
];

/// A stream of frames, as a connection takes it.
pub(crate) fn frame(bytes: &[u8]) -> bool {
    let mut stream = Bytes::copy_from_slice(bytes);
    let mut taken = false;
    while let Ok(Check::Complete { bytes }) = frame::check(&stream) {
        let whole = stream.split_to(bytes);
        let Ok(command) = Command::decode(whole) else { break };
        taken = true;
        let _ = Pull::decode(&command.fields);
        let _ = Send::decode(&command.fields, SendNames::Long);
        let _ = Send::decode(&command.fields, SendNames::Short);
        let mut written = BytesMut::new();
        command.encode(&mut written);
        let header = u32::from_be_bytes([0, written[5], written[6], written[7]]) as usize;
        // Escapes make a header longer than it came; beyond the limit a peer would refuse it.
        if header <= HEADER_BYTES_MAX {
            assert_eq!(frame::check(&written), Ok(Check::Complete { bytes: written.len() }));
            assert_eq!(Command::decode(written.freeze()).expect("what was written is read"), command);
        }
    }
    taken
}

/// A header of the codec that the first byte chooses, in a frame whose lengths are right: chance would
/// hardly ever make those.
pub(crate) fn header(bytes: &[u8]) -> bool {
    let Some((codec, header)) = bytes.split_first().filter(|(_, header)| header.len() <= HEADER_BYTES_MAX) else {
        return false;
    };
    let length = u32::try_from(header.len()).unwrap_or(u32::MAX);
    let word = (u32::from(codec & 1) << 24) | length;
    frame(&[&(length + 4).to_be_bytes(), &word.to_be_bytes(), header].concat())
}

/// A JSON body in fastjson's dialect.
pub(crate) fn json(bytes: &[u8]) -> bool {
    let Ok(value) = json::parse(bytes) else { return false };
    let written = value.to_string();
    if written.len() <= JSON_BODY_BYTES_MAX {
        assert_eq!(json::parse(written.as_bytes()), Ok(value));
    }
    true
}

/// Stored records, one after another.
pub(crate) fn record(bytes: &[u8]) -> bool {
    let mut taken = false;
    for view in record::records(bytes) {
        let Ok(view) = view else { break };
        taken = true;
        let _ = view.check_body();
        let record = view.record();
        let mut written = Vec::new();
        let length = record::encode_record(&mut written, &record).expect("what was read can be written");
        assert_eq!(length, written.len());
        let again = RecordView::parse(&written).expect("what was written is read");
        assert_eq!(again.record(), record);
        assert_eq!(again.check_body(), Ok(()));
    }
    taken
}

/// A properties text.
pub(crate) fn properties(text: &[u8]) -> bool {
    let entries: Vec<_> = Properties::of(text).collect();
    let kept = properties::without(text, &[]);
    assert!(Properties::of(&kept).eq(entries.iter().copied()), "copying keeps the entries");
    let last: BTreeMap<_, _> = entries.iter().copied().filter(|(_, value)| !value.is_empty()).collect();
    for (name, value) in last {
        if let Ok(name) = std::str::from_utf8(name) {
            assert_eq!(properties::find(text, name), Some(value), "the last one counts");
            assert_eq!(properties::find(&properties::without(text, &[name]), name), None);
        }
    }
    IndexTerms::of(text).each_key().for_each(drop);
    let checked = properties::check(text).is_ok();
    if checked {
        assert!(text.len() <= PROPERTIES_BYTES_MAX);
        assert!(kept == text || kept.strip_suffix(&[2]) == Some(text), "only the last separator may be missing");
    }
    checked
}

/// The body of a batch send.
pub(crate) fn batch(bytes: &[u8]) -> bool {
    let Ok(messages) = InnerMessages::of(bytes).collect::<Result<Vec<_>, _>>() else { return false };
    let mut written = Vec::new();
    for message in &messages {
        batch::append(&mut written, message).expect("what was read can be written");
    }
    assert_eq!(written.len(), bytes.len(), "sizes are exact");
    assert!(InnerMessages::of(&written).eq(messages.into_iter().map(Ok)));
    true
}

/// An offset message id.
pub(crate) fn message_id(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let Ok(id) = OffsetMessageId::decode(text) else { return false };
    assert_eq!(id.encode(), text.to_ascii_uppercase());
    true
}

/// A broker's registration, plain and compressed.
pub(crate) fn register(bytes: &[u8]) -> bool {
    let mut taken = false;
    for compressed in [false, true] {
        let Ok(body) = RegisterBody::decode(bytes, compressed) else { continue };
        taken = true;
        assert_eq!(RegisterBody::decode(&body.encode(), false).expect("what was written is read"), body);
        let _ = body.encode_compressed().expect("memory takes all");
    }
    taken
}

/// The bodies by which clients show themselves and learn where topics are.
pub(crate) fn heartbeat(bytes: &[u8]) -> bool {
    let _ = json::from_slice::<TopicRoute>(bytes);
    let Ok(heartbeat) = json::from_slice::<Heartbeat>(bytes) else { return false };
    let written = serde_json::to_vec(&heartbeat).expect("plain data is written");
    assert_eq!(json::from_slice::<Heartbeat>(&written), Ok(heartbeat));
    true
}

/// Names of topics and groups.
pub(crate) fn name(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let _ = name::check_topic(text);
    let taken = name::check_group(text).is_ok();
    if taken {
        assert!(name::is_retry(&name::retry_topic(text)));
        assert!(name::is_dlq(&name::dlq_topic(text)));
    }
    taken
}

/// The body of a trace message.
pub(crate) fn trace(bytes: &[u8]) -> bool {
    let mut taken = false;
    let mut at = 0;
    for read in trace::records(bytes) {
        match read {
            Ok(trace) => {
                taken = true;
                let mut written = Vec::new();
                // A record of the .NET client may have what others of its kind have no field for.
                if trace::append(&mut written, &trace).is_ok() {
                    assert!(trace::records(&written).eq([Ok(trace)]), "what was written is read");
                }
            }
            Err(damaged) => {
                assert!(damaged.at >= at, "records come in their order");
                at = damaged.at + damaged.record.len();
                assert_eq!(&bytes[damaged.at..at], damaged.record);
            }
        }
    }
    taken
}
