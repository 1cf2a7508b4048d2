//! Frames as the official clients sent them, captured from their sockets: each is read as what it is.
//!
//! `golden/clients/CLIENT-CODE.bin` is one whole frame of `CLIENT` with request code `CODE`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::Path;

use bytes::{Bytes, BytesMut};
use strata_protocol::body::Heartbeat;
use strata_protocol::command::Command;
use strata_protocol::frame::{self, Check};
use strata_protocol::json;
use strata_protocol::properties::{self, IndexTerms};
use strata_protocol::request::{
    ConsumerGroupOf, Header, Pull, QueryConsumerOffset, Route, Send, SendNames, UnregisterClient, UpdateConsumerOffset,
};

/// All captured frames: client, code, bytes.
fn captured() -> Vec<(String, i32, Bytes)> {
    let folder = Path::new("tests/golden/clients");
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let read = |path: std::path::PathBuf| {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let (client, code) = name.rsplit_once('-').unwrap();
        (client.to_owned(), code.parse().unwrap(), Bytes::from(std::fs::read(&path).unwrap()))
    };
    let mut all: Vec<_> = entries.map(read).collect();
    all.sort();
    all
}

fn check_send(client: &str, command: &Command, names: SendNames) {
    let send = Send::decode(&command.fields, names).unwrap();
    assert!(send.topic.contains("push_tags"), "{client}: {}", send.topic);
    assert!((0..4).contains(&send.queue_id) && send.born_timestamp > 1_700_000_000_000, "{client}: {send:?}");
    assert_eq!(properties::check(send.properties.as_bytes()), Ok(()), "{client}");
    let terms = IndexTerms::of(send.properties.as_bytes());
    assert!(terms.tags.is_some(), "{client}: the captured message has a tag: {:?}", send.properties);
    assert!(!command.body.is_empty(), "{client}");
}

fn check_heartbeat(client: &str, command: &Command) {
    let beat: Heartbeat = json::from_slice(&command.body).unwrap();
    assert!(!beat.client_id.is_empty(), "{client}");
    assert!(!beat.producer_data_set.is_empty() || !beat.consumer_data_set.is_empty(), "{client}");
    for group in &beat.consumer_data_set {
        assert!(["CLUSTERING", "BROADCASTING"].contains(&group.message_model.as_str()), "{client}: {group:?}");
        assert!(group.subscription_data_set.iter().all(|data| !data.topic.is_empty()), "{client}: {group:?}");
    }
}

#[test]
fn every_captured_frame_is_read_as_what_it_is() {
    let all = captured();
    for (client, code, bytes) in &all {
        assert_eq!(frame::check(bytes), Ok(Check::Complete { bytes: bytes.len() }), "{client} {code}");
        let command = Command::decode(bytes.clone()).unwrap();
        assert_eq!(command.code, *code, "{client}");
        assert!(!command.is_response(), "{client} {code}");
        let language = match client.as_str() {
            "go" => "GO",
            "cpp" => "CPP",
            // The Node.js client says that it is Java.
            _ => "JAVA",
        };
        assert_eq!(command.language.name(), language, "{client} {code}");
        match code {
            10 => check_send(client, &command, SendNames::Long),
            310 => check_send(client, &command, SendNames::Short),
            11 => assert!(Pull::decode(&command.fields).unwrap().messages_max >= 1, "{client}"),
            14 => assert!(QueryConsumerOffset::decode(&command.fields).unwrap().queue_id >= 0, "{client}"),
            15 => assert!(UpdateConsumerOffset::decode(&command.fields).unwrap().commit_offset >= 0, "{client}"),
            34 => check_heartbeat(client, &command),
            35 => assert!(!UnregisterClient::decode(&command.fields).unwrap().client_id.is_empty(), "{client}"),
            38 => assert!(!ConsumerGroupOf::decode(&command.fields).unwrap().group.is_empty(), "{client}"),
            105 => assert!(!Route::decode(&command.fields).unwrap().topic.is_empty(), "{client}"),
            106 => assert!(command.fields.is_empty(), "{client}"),
            code => panic!("{client}: no check for code {code}"),
        }
    }
    let clients: BTreeSet<_> = all.iter().map(|(client, ..)| client.as_str()).collect();
    assert_eq!(clients, BTreeSet::from(["cpp", "go", "java", "java49", "node"]));
}

#[test]
fn a_captured_frame_survives_writing_and_reading() {
    for (client, code, bytes) in captured() {
        let command = Command::decode(bytes).unwrap();
        let mut out = BytesMut::new();
        command.encode(&mut out);
        // The C++ client sends an empty remark, which is written as it came.
        assert_eq!(Command::decode(out.freeze()).unwrap(), command, "{client} {code}");
    }
}
