//! Seeded random and mutated input for every decoder, on the stable compiler.
//!
//! Owns the input: 200,000 texts for each decoder, half of them noise, half good examples with wounds. What
//! must hold is in `fuzz/checks.rs`, which the fuzz targets share.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's expectation that fails is a failed test")]

use std::net::SocketAddr;

use bytes::BytesMut;
use strata_protocol::batch::{self, InnerMessage};
use strata_protocol::body::{RegisterBody, TopicConfig};
use strata_protocol::command::Command;
use strata_protocol::frame::HeaderCodec;
use strata_protocol::message_id::OffsetMessageId;
use strata_protocol::record::{self, Placement, Record};

#[path = "../fuzz/checks.rs"]
mod checks;

/// Inputs for each decoder.
const INPUTS: u64 = 200_000;

/// A small generator (xorshift64*): the same inputs on every machine and in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.roll() % bound.max(1) as u64).unwrap()
    }
}

/// Bytes that decoders look for, and numbers at their limits.
const TOKENS: [&[u8]; 16] = [
    b"\"",
    b"\\",
    b"\\u0001",
    b"{",
    b"}",
    b"[",
    b":",
    b",",
    b"null",
    b"\x01",
    b"\x02",
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\x80\0\0\0",
    b"\xc3\xa9",
];

fn noise(dice: &mut Dice) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..dice.below(40) {
        if dice.below(3) == 0 {
            bytes.extend_from_slice(TOKENS[dice.below(TOKENS.len())]);
        } else {
            bytes.push(u8::try_from(dice.below(256)).unwrap());
        }
    }
    bytes
}

/// A good example with one to four wounds.
fn wounded(dice: &mut Dice, good: &[u8]) -> Vec<u8> {
    let mut bytes = good.to_vec();
    for _ in 0..=dice.below(4) {
        let at = dice.below(bytes.len());
        let token = TOKENS[dice.below(TOKENS.len())];
        let end = (at + token.len()).min(bytes.len());
        match dice.below(6) {
            _ if bytes.is_empty() => bytes.extend_from_slice(token),
            0 => bytes[at] ^= 1 << dice.below(8),
            1 => bytes[at] = u8::try_from(dice.below(256)).unwrap(),
            2 => drop(bytes.splice(at..end, token.iter().copied())),
            3 => drop(bytes.splice(at..at, token.iter().copied())),
            4 => bytes.truncate(at),
            _ => drop(bytes.drain(at..end)),
        }
    }
    bytes
}

fn host(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn a_frame(codec: HeaderCodec) -> Vec<u8> {
    let mut command = Command { codec, opaque: 7, remark: Some("why \"not\"".into()), ..Command::request(310) };
    command.fields =
        [("a", "group"), ("b", "topic"), ("e", "3"), ("i", "TAGS\u{1}a\u{2}é\u{1}\n")].into_iter().collect();
    command.body = "body".into();
    let mut out = BytesMut::new();
    command.encode(&mut out);
    // Two in a row, because a connection takes them together.
    [&out[..], &out[..]].concat()
}

fn a_record(born: &str, stored: &str, topic: &str) -> Vec<u8> {
    let placed = Placement {
        queue_offset: 5,
        physical_offset: 1 << 33,
        store_timestamp: 1_790_000_000_001,
        store_host: host(stored),
    };
    let record = Record {
        topic,
        queue_id: 3,
        flag: 1,
        sys_flag: 0,
        born_timestamp: 1_790_000_000_000,
        born_host: host(born),
        reconsume_times: 2,
        prepared_transaction_offset: 0,
        body: b"a body",
        properties: b"TAGS\x01a\x02KEYS\x01k1 k2\x02",
        placed,
    };
    let mut out = Vec::new();
    record::encode_record(&mut out, &record).unwrap();
    out
}

fn a_batch() -> Vec<u8> {
    let mut out = Vec::new();
    for body in [&b"one"[..], b"", b"three"] {
        batch::append(&mut out, &InnerMessage { flag: 1, body, properties: b"k\x01v\x02" }).unwrap();
    }
    out
}

fn registrations() -> Vec<Vec<u8>> {
    let mut body = RegisterBody::default();
    for topic in ["one", "two"] {
        let table = &mut body.topic_config_serialize_wrapper.topic_config_table;
        table.insert(topic.to_owned(), TopicConfig::new(topic, 4));
    }
    vec![body.encode(), body.encode_compressed().unwrap()]
}

/// Good examples of what a decoder reads; each must be taken as it is.
fn examples(decoder: &str) -> Vec<Vec<u8>> {
    let id = |address| OffsetMessageId { host: host(address), physical_offset: 1 << 40 }.encode().into_bytes();
    let v4 = "10.0.0.1:10911";
    let v6 = "[2001:db8::1]:10911";
    let heartbeat: &[u8] =
        br#"{"clientID":"10.0.0.1@1","consumerDataSet":[{"groupName":"g","consumeType":"CONSUME_PASSIVELY",
        "messageModel":"CLUSTERING","consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","subscriptionDataSet":[{"topic":"t",
        "subString":"a||b","tagsSet":["a"],"codeSet":[97],"subVersion":1}],"unitMode":false}],
        "producerDataSet":[{"groupName":"p"}]}"#;
    match decoder {
        "frame" => vec![a_frame(HeaderCodec::Json), a_frame(HeaderCodec::Binary)],
        "header" => {
            let headers = [(0, HeaderCodec::Json), (1, HeaderCodec::Binary)].map(|(first, codec)| {
                let frame = a_frame(codec);
                let header = u32::from_be_bytes([0, frame[5], frame[6], frame[7]]) as usize;
                [&[first], &frame[8..8 + header]].concat()
            });
            headers.to_vec()
        }
        "json" => vec![
            br#"{"a":[1,-2.5e3,true,null,"x\u0001\ud83d\ude00"],'b':{0:"h:1"},{"topic":"t","queueId":0}:{"offset":5}}"#
                .to_vec(),
            heartbeat.to_vec(),
        ],
        "record" => {
            let long = "t".repeat(200);
            let pairs = [(v4, v4, "topic"), (v6, v4, "topic"), (v4, v6, &long), (v6, v6, "é")];
            let mut all: Vec<Vec<u8>> =
                pairs.iter().map(|(born, stored, topic)| a_record(born, stored, topic)).collect();
            all.push(all.concat());
            all
        }
        "properties" => vec![b"TAGS\x01a\x02KEYS\x01k1 k2\x02UNIQ_KEY\x01id\x02".to_vec(), b"a\x01b".to_vec()],
        "batch" => vec![a_batch()],
        "message_id" => vec![id(v4), id(v6)],
        "register" => registrations(),
        "heartbeat" => vec![heartbeat.to_vec(), b"{clientID:'c'}".to_vec()],
        "name" => vec![b"group-1_a%b".to_vec()],
        "trace" => vec![
            b"Pub\x011\x01r\x01g\x01t\x01id\x01\x01k1 k2\x01h\x0142\x017\x010\x01o\x01true\x02".to_vec(),
            b"SubAfter\x01q\x01id\x017\x01true\x01null\x014\x01SubAfter\x01q\x01id\x017\x01true\x01dKey\x014\x01"
                .to_vec(),
            b"BrokerDeliver\x011\x01r\x01g\x01t\x01\x01h\x01c\x013\x01100\x01131\x0120\x02".to_vec(),
        ],
        other => panic!("no examples for {other}"),
    }
}

#[test]
fn good_examples_are_taken() {
    for (name, check) in checks::ALL {
        for example in examples(name) {
            assert!(check(&example), "{name}: {:?}", String::from_utf8_lossy(&example));
        }
    }
}

#[test]
fn no_input_harms_a_decoder() {
    let threads: Vec<_> = checks::ALL
        .into_iter()
        .map(|(name, check)| {
            std::thread::spawn(move || {
                let examples = examples(name);
                let mut dice = Dice(0x5EED_0000 + name.len() as u64);
                let mut taken = 0;
                for nth in 0..INPUTS {
                    let example = &examples[dice.below(examples.len())];
                    let input = if nth % 2 == 0 { noise(&mut dice) } else { wounded(&mut dice, example) };
                    let checked = std::panic::catch_unwind(|| check(&input));
                    assert!(checked.is_ok(), "{name}, input {nth}: {input:?}");
                    taken += u64::from(checked.unwrap());
                }
                (name, taken)
            })
        })
        .collect();
    for thread in threads {
        let (name, taken) = thread.join().unwrap();
        // Wounds that never leave anything readable would test the first comparison only.
        assert!(taken > INPUTS / 1_000, "{name} took {taken} of {INPUTS}");
        assert!(taken < INPUTS, "{name} refuses nothing");
    }
}
