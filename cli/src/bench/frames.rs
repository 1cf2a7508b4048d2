//! Requests as the bench writes them: encoded once by the protocol's codec, patched in place afterwards.
//!
//! Owns the patching. A template finds its own places: the codec encodes the request twice, with two values
//! that differ in every digit, and where the frames differ is the place.

use std::ops::Range;

use bytes::{BufMut, BytesMut};
use strata_protocol::code::request;
use strata_protocol::command::{Language, VERSION};
use strata_protocol::frame::HeaderCodec;
use strata_protocol::header::{Head, Writer, patch_prefix};
use strata_protocol::name::AUTO_CREATE_TOPIC;
use strata_protocol::request::pull_flag;

use super::body::PropertyParts;
use super::digits::{Digits, decimal};

/// Opaques begin here, so that all have ten digits.
pub(super) const OPAQUE_FIRST: i32 = 1_000_000_000;
/// Opaques are below [`OPAQUE_FIRST`] plus this.
pub(super) const OPAQUES: i32 = 1_000_000_000;
/// Two opaques that differ in each byte and in each digit but the first.
const OPAQUE_SAMPLES: [i32; 2] = [1_000_000_000, 1_111_111_111];
/// Digits of a topic's number in its name.
pub(super) const TOPIC_DIGITS: usize = 5;
/// Digits of a time in ms.
const TIME_DIGITS: usize = 13;
/// Queues of the topic whose settings a new topic takes, as RocketMQ's clients ask for.
const DEFAULT_TOPIC_QUEUES: i64 = 4;
/// The producer group that brokers see.
const GROUP: &str = "strata-bench";

/// Writes one request's frame: its header by the protocol's codec, then `body`.
pub(super) fn request(
    codec: HeaderCodec,
    (code, opaque): (i32, i32),
    body: &[u8],
    fields: impl FnOnce(&mut Writer<'_, BytesMut>),
) -> BytesMut {
    let mut out = BytesMut::with_capacity(512);
    out.put_u64(0);
    let head = Head { code, language: Language::JAVA, version: VERSION, opaque, flag: 0 };
    let mut writer = Writer::begin(&mut out, codec, head, None);
    fields(&mut writer);
    writer.end();
    patch_prefix(&mut out, 0, codec, body.len());
    out.extend_from_slice(body);
    out
}

/// The names of a run's topics: one name, or one with a number of fixed width behind it.
#[derive(Debug, Clone)]
pub(super) struct TopicNames {
    base: String,
    count: usize,
}

impl TopicNames {
    /// `count` topics; the first of several is `base-00000`.
    pub(super) fn new(base: &str, count: usize) -> Self {
        Self { base: base.to_owned(), count }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// The name of one.
    pub(super) fn name(&self, at: usize) -> String {
        if self.count == 1 { self.base.clone() } else { format!("{}-{at:0TOPIC_DIGITS$}", self.base) }
    }

    /// The longest possible number filled with one digit, to find its place.
    fn filled(&self, digit: char) -> String {
        if self.count == 1 {
            return self.base.clone();
        }
        format!("{}-{}", self.base, digit.to_string().repeat(TOPIC_DIGITS))
    }
}

/// How a send request is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SendForm {
    pub(super) codec: HeaderCodec,
    /// 310, with short field names, or 10.
    pub(super) code: i32,
}

/// What differs between two sends.
#[derive(Debug, Clone, Copy)]
pub(super) struct SendPlaces {
    /// Counted from 0, below [`OPAQUES`].
    pub(super) opaque: i32,
    pub(super) topic: usize,
    pub(super) queue: u16,
    pub(super) born_ms: i64,
    /// The message's number, which its properties follow from.
    pub(super) number: u64,
}

/// A send request of which only the places of [`SendPlaces`] and the body are open.
#[derive(Debug)]
pub(super) struct SendTemplate {
    bytes: Vec<u8>,
    codec: HeaderCodec,
    opaque: Range<usize>,
    topic: Range<usize>,
    queue: Range<usize>,
    born: Range<usize>,
    parts: Vec<(Range<usize>, Digits)>,
}

/// The values that a template is encoded with.
#[derive(Clone, Copy)]
struct Sample<'a> {
    opaque: i32,
    topic: &'a str,
    queue: &'a str,
    born: &'a str,
    properties: &'a str,
}

impl SendTemplate {
    /// The template for queues whose number has `queue_digits` digits.
    pub(super) fn new(form: SendForm, topics: &TopicNames, queue_digits: usize, properties: &PropertyParts) -> Self {
        let (zeros, ones) = ("0".repeat(TIME_DIGITS), "1".repeat(TIME_DIGITS));
        let (topic, text) = (topics.filled('0'), properties.text(None, '1'));
        let plain = Sample {
            opaque: OPAQUE_SAMPLES[0],
            topic: &topic,
            queue: &zeros[..queue_digits],
            born: &zeros,
            properties: &text,
        };
        let bytes = encoded(form, plain);
        let place = |sample: Sample<'_>| differing(&bytes, &encoded(form, sample));
        let parts = properties.parts().iter().enumerate().map(|(at, part)| {
            let text = properties.text(Some(at), '1');
            (place(Sample { properties: &text, ..plain }), part.digits())
        });
        let parts = parts.filter(|(_, digits)| digits.width() > 0).collect();
        Self {
            codec: form.codec,
            opaque: place(Sample { opaque: OPAQUE_SAMPLES[1], ..plain }),
            topic: place(Sample { topic: &topics.filled('1'), ..plain }),
            queue: place(Sample { queue: &ones[..queue_digits], ..plain }),
            born: place(Sample { born: &ones, ..plain }),
            parts,
            bytes,
        }
    }

    /// Appends the frame's header; the caller appends `body_bytes` of body.
    pub(super) fn write(&self, out: &mut Vec<u8>, places: &SendPlaces, body_bytes: usize) {
        let at = out.len();
        out.extend_from_slice(&self.bytes);
        let frame = &mut out[at..];
        // The template has no body: its length grows by this one's. Frames are far below 4 GiB.
        let length = (self.bytes.len() - 4 + body_bytes) as u32;
        frame[..4].copy_from_slice(&length.to_be_bytes());
        patch_opaque(&mut frame[self.opaque.clone()], self.codec, places.opaque);
        decimal(&mut frame[self.topic.clone()], places.topic as u64);
        decimal(&mut frame[self.queue.clone()], places.queue.into());
        decimal(&mut frame[self.born.clone()], places.born_ms as u64);
        for (place, digits) in &self.parts {
            digits.write(&mut frame[place.clone()], places.number);
        }
    }
}

fn encoded(form: SendForm, sample: Sample<'_>) -> Vec<u8> {
    const SHORT: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "m"];
    const LONG: [&str; 12] = [
        "producerGroup",
        "topic",
        "defaultTopic",
        "defaultTopicQueueNums",
        "queueId",
        "sysFlag",
        "bornTimestamp",
        "flag",
        "properties",
        "reconsumeTimes",
        "unitMode",
        "batch",
    ];
    let names = if form.code == request::SEND_MESSAGE { LONG } else { SHORT };
    let queues = DEFAULT_TOPIC_QUEUES.to_string();
    let values = [
        GROUP,
        sample.topic,
        AUTO_CREATE_TOPIC,
        &queues,
        sample.queue,
        "0",
        sample.born,
        "0",
        sample.properties,
        "0",
        "false",
        "false",
    ];
    let frame = request(form.codec, (form.code, sample.opaque), &[], |writer| {
        for (name, value) in names.into_iter().zip(values) {
            writer.text(name, value);
        }
    });
    frame.to_vec()
}

/// Where two frames of one length differ; nothing when they do not.
fn differing(left: &[u8], right: &[u8]) -> Range<usize> {
    let differs = |at: &usize| left.get(*at) != right.get(*at);
    let first = (0..left.len()).find(differs).unwrap_or(0);
    let end = (0..left.len()).rev().find(differs).map_or(0, |last| last + 1);
    first..end
}

/// Encodes a request whose opaque is open, and finds the opaque's place.
pub(super) fn with_opaque(
    codec: HeaderCodec,
    code: i32,
    fields: impl Fn(&mut Writer<'_, BytesMut>),
) -> (Vec<u8>, Range<usize>) {
    let [first, second] = OPAQUE_SAMPLES.map(|opaque| request(codec, (code, opaque), &[], &fields).to_vec());
    let place = differing(&first, &second);
    (first, place)
}

/// Writes an opaque, counted from [`OPAQUE_FIRST`], into its place.
pub(super) fn patch_opaque(place: &mut [u8], codec: HeaderCodec, opaque: i32) {
    match codec {
        HeaderCodec::Json => decimal(place, opaque as u64),
        HeaderCodec::Binary => place.copy_from_slice(&(OPAQUE_FIRST + opaque).to_be_bytes()),
    }
}

/// What a pull asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct PullPlaces<'a> {
    pub(super) opaque: i32,
    pub(super) group: &'a str,
    pub(super) topic: &'a str,
    pub(super) queue: u16,
    pub(super) offset: i64,
    pub(super) messages_max: u32,
    /// How long the broker may hold it, ms; 0 forbids holding.
    pub(super) hold_ms: i64,
    /// The version of the subscription that a heartbeat told; without one the pull asks for everything itself.
    pub(super) told: Option<i64>,
}

/// A pull of a queue: of everything, or of what the group subscribed.
pub(super) fn pull(codec: HeaderCodec, places: &PullPlaces<'_>) -> BytesMut {
    let hold = if places.hold_ms > 0 { pull_flag::SUSPEND } else { 0 };
    request(codec, (request::PULL_MESSAGE, OPAQUE_FIRST + places.opaque), &[], |writer| {
        writer.text("consumerGroup", places.group);
        writer.text("topic", places.topic);
        writer.int("queueId", places.queue.into());
        writer.int("queueOffset", places.offset);
        writer.int("maxMsgNums", places.messages_max.into());
        let named = if places.told.is_some() { 0 } else { pull_flag::SUBSCRIPTION };
        writer.int("sysFlag", i64::from(named | hold));
        writer.int("commitOffset", 0);
        writer.int("suspendTimeoutMillis", places.hold_ms);
        writer.int("subVersion", places.told.unwrap_or(0));
        if places.told.is_none() {
            writer.text("subscription", "*");
            writer.text("expressionType", "TAG");
        }
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use strata_protocol::command::Command;
    use strata_protocol::request::{Send, SendNames};

    use super::super::body::PropertySet;
    use super::*;

    fn command(set: PropertySet, form: SendForm, topics: usize) -> (Command, Vec<u8>) {
        let names = TopicNames::new("Bench", topics);
        let parts = PropertyParts::new(set, 77);
        let template = SendTemplate::new(form, &names, 2, &parts);
        let places = SendPlaces { opaque: 7, topic: topics - 1, queue: 42, born_ms: 1_790_000_000_123, number: 1_234 };
        let mut out = Vec::new();
        template.write(&mut out, &places, 5);
        out.extend_from_slice(b"12345");
        (Command::decode(Bytes::from(out)).unwrap(), parts.text(None, '0').into_bytes())
    }

    #[test]
    fn a_patched_frame_says_what_the_codec_would_have_written() {
        for codec in [HeaderCodec::Json, HeaderCodec::Binary] {
            for (code, names) in [(310, SendNames::Short), (10, SendNames::Long)] {
                for topics in [1, 20] {
                    let set = PropertySet::Realistic;
                    let (command, blank) = command(set, SendForm { codec, code }, topics);
                    let send = Send::decode(&command.fields, names).unwrap();
                    assert_eq!((command.code, command.opaque, &command.body[..]), (code, 1_000_000_007, &b"12345"[..]));
                    assert_eq!(send.topic, if topics == 1 { "Bench" } else { "Bench-00019" });
                    assert_eq!((send.queue_id, send.born_timestamp), (42, 1_790_000_000_123));
                    assert_eq!(send.properties.len(), blank.len());
                    assert!(PropertyParts::new(set, 77).are_in(send.properties.as_bytes(), 1_234));
                    assert!(!PropertyParts::new(set, 77).are_in(send.properties.as_bytes(), 1_235));
                }
            }
        }
        let form = SendForm { codec: HeaderCodec::Json, code: 310 };
        let (command, _) = command(PropertySet::Plain(0), form, 1);
        assert_eq!(Send::decode(&command.fields, SendNames::Short).unwrap().properties, "");
    }
}
