//! What a connection costs while nothing is said on it, and a parked answer while nothing comes.
//!
//! Owns the process: it is the only test of its file, because resident memory is counted for all of it.
#![allow(clippy::unwrap_used, reason = "a test's expectation that fails is a failed test")]

mod common;

use std::time::Duration;

use common::{PARK, Stage, echo, echo_reply, expected, request, until};
use strata_protocol::frame::HeaderCodec;
use strata_protocol::reply::Reply;
use strata_remoting::ServerOptions;

/// Connections of the test. Both ends live in this process, so each costs two descriptors and two sockets.
const CONNECTIONS: usize = 2_000;
/// Answers that are parked on one of them.
const PARKED: usize = 20_000;
/// Bytes that a connection may cost here, its other end in the test included.
const CONNECTION_BYTES_MAX: usize = 6 * 1024;
/// Bytes that a parked answer may cost; the test's own channel and vector hold it meanwhile.
const PARKED_BYTES_MAX: usize = 200;

/// Bytes of anonymous memory that this process has.
fn anonymous_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

/// Descriptors that this process may open.
fn descriptors_max() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    line.split_whitespace().nth(3).unwrap().parse().unwrap_or(usize::MAX)
}

#[tokio::test]
async fn idle_connections_and_parked_answers_cost_little() {
    // A shell's usual limit of 1,024 descriptors takes fewer; the cost of each is what counts.
    let connections = CONNECTIONS.min((descriptors_max() - 100) / 2);
    // Quiet is noticed on a tick, which is a quarter of the shortest patience.
    let quick = Duration::from_millis(100);
    let mut stage = Stage::with(ServerOptions { write_stall_max: quick, ..ServerOptions::default() }).await;
    let mut first = stage.dial().await;
    first.is_served().await;
    let before = anonymous_bytes();

    // A hundred at a time: memory that an allocator once had stays with the process, so that the peak counts.
    let mut peers = Vec::new();
    let asked = echo(1, HeaderCodec::Json, vec![b'b'; 3_000]);
    while peers.len() < connections {
        for _ in 0..100.min(connections - peers.len()) {
            let mut peer = stage.dial().await;
            peer.ask(&asked).await;
            assert_eq!(peer.frame().await, expected(&echo_reply(&asked), &asked));
            peer.read = bytes::BytesMut::new();
            peers.push(peer);
        }
        assert!(stage.figures.read_buffers_bytes() > 0);
        until(|| stage.figures.read_buffers_bytes() == 0).await;
    }
    let each = anonymous_bytes().saturating_sub(before) / connections;
    println!("{connections} connections that have spoken and are idle: {each} bytes each");
    assert!(each <= CONNECTION_BYTES_MAX, "{each} bytes for an idle connection");
    assert_eq!(stage.figures.open(), connections as u64 + 1);

    let before = anonymous_bytes();
    let mut parked = Vec::new();
    for opaque in 0..i32::try_from(PARKED).unwrap() {
        first.ask(&request(PARK, opaque)).await;
        parked.push(stage.next_parked().await);
    }
    let each = anonymous_bytes().saturating_sub(before) / PARKED;
    println!("{PARKED} parked answers: {each} bytes each");
    assert!(each <= PARKED_BYTES_MAX, "{each} bytes for a parked answer");
    for responder in parked {
        assert!(responder.send(Reply::success()));
    }
    for opaque in 0..i32::try_from(PARKED).unwrap() {
        assert_eq!(first.answer().await.opaque, opaque);
    }
}
