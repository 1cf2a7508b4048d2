//! Peers that are wrong, slow, silent or too many: their connection ends, the others notice nothing.
//!
//! Owns the limits of connections as a peer sees them. Deadlines are shortened by options, not mocked.
#![allow(clippy::unwrap_used, reason = "a test's expectation that fails is a failed test")]

mod common;

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use common::{Bare, ECHO, LARGE, PARK, Stage, echo, echo_reply, encode, expected, in_time, request, until};
use strata_protocol::frame::HeaderCodec;
use strata_protocol::limits::FRAME_BYTES_MAX;
use strata_protocol::reply::Reply;
use strata_remoting::limits::{DRAIN_MAX, OUTBOX_BYTES_HARD_MAX, OUTBOX_BYTES_MAX};
use strata_remoting::{CloseReason, ServerOptions};
use tokio::io::AsyncReadExt as _;

/// Sends `bytes` and checks that this connection ends for `reason` while another is served.
async fn ends(bytes: &[u8], reason: CloseReason) {
    let stage = Stage::new().await;
    let (mut bad, mut good) = (stage.dial().await, stage.dial().await);
    good.is_served().await;
    bad.send(bytes).await;
    bad.closed().await;
    good.is_served().await;
    drop(bad);
    until(|| stage.figures.ended(reason) == 1).await;
    assert_eq!(stage.figures.open(), 1);
}

fn framed(codec: u8, header: &[u8]) -> Vec<u8> {
    let frame = u32::try_from(header.len() + 4).unwrap();
    let word = (u32::from(codec) << 24) | (frame - 4);
    [&frame.to_be_bytes(), &word.to_be_bytes(), header].concat()
}

#[tokio::test]
async fn frames_that_cannot_be_end_their_connection() {
    let too_long = u32::try_from(FRAME_BYTES_MAX + 1).unwrap().to_be_bytes();
    ends(&too_long, CloseReason::Malformed).await;
    ends(&[0xff, 0xff, 0xff, 0xff], CloseReason::Malformed).await;
    ends(&[0, 0, 0, 0], CloseReason::Malformed).await;
    ends(&[0, 0, 0, 3, 0, 0, 0, 0], CloseReason::Malformed).await;
    ends(&[0, 0, 0, 8, 9, 0, 0, 0], CloseReason::Malformed).await;
    ends(&[0, 0, 0, 8, 0, 0, 0, 5], CloseReason::Malformed).await;
}

#[tokio::test]
async fn headers_that_cannot_be_read_end_their_connection() {
    for header in [&b""[..], b"{", b"[]", b"{\"code\":1}", b"{\"code\":\"x\",\"opaque\":1}", b"\xff\xfe\xfd"] {
        ends(&framed(0, header), CloseReason::Malformed).await;
    }
    let deep = [b"{\"code\":1,\"opaque\":1,\"x\":".to_vec(), vec![b'['; 10_000]].concat();
    ends(&framed(0, &deep), CloseReason::Malformed).await;
    ends(&framed(1, &[0; 20]), CloseReason::Malformed).await;
    let remark_beyond_its_header = [vec![0; 13], vec![0x7f, 0xff, 0xff, 0xff], vec![0; 4]].concat();
    ends(&framed(1, &remark_beyond_its_header), CloseReason::Malformed).await;
}

#[tokio::test]
async fn other_protocols_are_sent_away() {
    ends(b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03", CloseReason::ForeignProtocol).await;
    ends(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", CloseReason::ForeignProtocol).await;
    ends(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", CloseReason::ForeignProtocol).await;
    ends(b"\r\n\r\n\0\r\nQUIT\n", CloseReason::ForeignProtocol).await;
    ends(b"GET / HTTP/1.1\r\n\r\n", CloseReason::ForeignProtocol).await;
}

#[tokio::test]
async fn answers_to_good_frames_before_a_bad_one_still_arrive() {
    let stage = Stage::new().await;
    let mut peer = stage.dial().await;
    let good = echo(1, HeaderCodec::Json, vec![b'g'; 3_000]);
    let bytes = [&encode(&good)[..], &[0xff; 200_000]].concat();
    peer.send(&bytes).await;
    assert_eq!(peer.frame().await, expected(&echo_reply(&good), &good));
    peer.closed().await;
    drop(peer);
    stage.all_closed(1).await;
    assert_eq!(stage.figures.ended(CloseReason::Malformed), 1);
}

fn hasty() -> ServerOptions {
    let soon = Duration::from_millis(400);
    ServerOptions {
        idle_max: soon,
        first_frame_max: soon,
        half_frame_max: soon,
        write_stall_max: soon,
        ..ServerOptions::default()
    }
}

#[tokio::test]
async fn a_connection_that_never_speaks_ends() {
    let stage = Stage::with(ServerOptions { idle_max: Duration::from_secs(60), ..hasty() }).await;
    stage.dial().await.closed().await;
    until(|| stage.figures.ended(CloseReason::FirstFrameMissing) == 1).await;
}

#[tokio::test]
async fn a_connection_that_falls_silent_ends() {
    let stage = Stage::with(ServerOptions { first_frame_max: Duration::from_secs(60), ..hasty() }).await;
    let mut peer = stage.dial().await;
    peer.is_served().await;
    peer.closed().await;
    until(|| stage.figures.ended(CloseReason::Idle) == 1).await;
}

#[tokio::test]
async fn a_connection_that_speaks_now_and_then_stays() {
    let stage = Stage::with(hasty()).await;
    let mut peer = stage.dial().await;
    let mut pace = tokio::time::interval(Duration::from_millis(100));
    for _ in 0..12 {
        pace.tick().await;
        peer.is_served().await;
    }
}

#[tokio::test]
async fn half_a_frame_ends_its_connection_even_when_bytes_trickle() {
    let stage = Stage::with(ServerOptions { idle_max: Duration::from_secs(60), ..hasty() }).await;
    let peer = stage.dial().await;
    let frame = encode(&echo(1, HeaderCodec::Json, vec![b'h'; 10_000]));
    let mut pace = tokio::time::interval(Duration::from_millis(20));
    let mut sent = 0;
    while stage.figures.ended(CloseReason::HalfFrame) == 0 {
        pace.tick().await;
        // The server may be gone at any of these.
        let _ = peer.socket.try_write(&frame[sent..=sent]);
        sent += 1;
        assert!(sent < 1_000, "twenty seconds of half a frame");
    }
    assert_eq!(stage.habits.handled.load(SeqCst), 0);
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_not_read_from_and_ends() {
    let minute = Duration::from_secs(60);
    let stage = Stage::with(ServerOptions { idle_max: minute, first_frame_max: minute, ..hasty() }).await;
    let (mut slow, mut good) = (stage.dial().await, stage.dial().await);
    let mut large = request(LARGE, 1);
    large.fields.push("bytes", "1000000");
    let one = encode(&large);
    for _ in 0..200 {
        slow.send(&one).await;
    }
    until(|| stage.figures.ended(CloseReason::SlowReader) == 1).await;
    // What the kernel took is no longer held; what is held is one outbox and the answer that filled it.
    let made = stage.habits.handled.load(SeqCst) * 1_000_000;
    let held = made - usize::try_from(stage.figures.bytes_out()).unwrap();
    assert!(held <= OUTBOX_BYTES_MAX + 1_000_000, "{held} bytes were held");
    assert!(stage.habits.handled.load(SeqCst) < 200);
    good.is_served().await;
}

#[tokio::test]
async fn unfinished_large_frames_end_when_they_take_too_much_together() {
    let read_buffers_bytes_max = 4 * 1024 * 1024;
    let stage = Stage::with(ServerOptions { read_buffers_bytes_max, ..ServerOptions::default() }).await;
    let mut good = stage.dial().await;
    let half = echo(1, HeaderCodec::Json, vec![b'h'; 3 * 1024 * 1024]);
    let bytes = encode(&half);
    let mut peers = Vec::new();
    for _ in 0..6 {
        let mut peer = stage.dial().await;
        let expected = stage.figures.bytes_in() + bytes.len() as u64 - 1;
        peer.send(&bytes[..bytes.len() - 1]).await;
        peers.push(peer);
        until(|| stage.figures.bytes_in() == expected).await;
        assert!(stage.figures.read_buffers_bytes() <= 3 * read_buffers_bytes_max);
    }
    until(|| stage.figures.ended(CloseReason::OutOfMemory) > 0).await;
    good.is_served().await;
    for _ in 0..3 {
        good.ask(&half).await;
        assert_eq!(good.frame().await, expected(&echo_reply(&half), &half), "who sends whole frames is served");
    }
    assert!(stage.figures.read_buffers_bytes() <= 3 * read_buffers_bytes_max);
    drop(peers);
    until(|| stage.figures.open() == 1).await;
    assert!(stage.figures.ended(CloseReason::OutOfMemory) >= 5, "the unfinished ones had to go");
}

#[tokio::test]
async fn unread_answers_of_all_connections_together_are_bounded() {
    let unsent_bytes_max = 16 * 1024 * 1024;
    let stage = Stage::with(ServerOptions { unsent_bytes_max, ..ServerOptions::default() }).await;
    let mut good = stage.dial().await;
    let mut large = request(LARGE, 1);
    large.fields.push("bytes", "4000000");
    let mut slow = Vec::new();
    for _ in 0..30 {
        let mut peer = stage.dial().await;
        for _ in 0..5 {
            peer.ask(&large).await;
        }
        slow.push(peer);
    }
    good.is_served().await;
    until(|| stage.figures.unsent_bytes() > unsent_bytes_max).await;
    good.is_served().await;
    // At twice the bound nothing large is added; one connection's round may have been on its way.
    let held = stage.figures.unsent_bytes();
    assert!(held <= 2 * unsent_bytes_max + 20_000_000, "{held} bytes are held");
    let handled = stage.habits.handled.load(SeqCst);
    slow[0].ask(&large).await;
    good.is_served().await;
    assert_eq!(stage.habits.handled.load(SeqCst), handled + 1, "a slow peer is not read on");
    drop(slow);
    until(|| stage.figures.open() == 1).await;
    assert_eq!(stage.figures.unsent_bytes(), 0);
    good.ask(&large).await;
    assert_eq!(good.answer().await.body.len(), 4_000_000, "there is memory again");
}

#[tokio::test]
async fn a_bad_frame_behind_a_full_outbox_ends_the_conversation_at_once() {
    // With this bound the rest of what was read is looked at when all answers have left.
    let stage = Stage::with(ServerOptions { unsent_bytes_max: 0, ..ServerOptions::default() }).await;
    let mut peer = stage.dial().await;
    let mut large = request(LARGE, 1);
    large.fields.push("bytes", "9000000");
    let one = encode(&large);
    peer.send(&[&one[..], &one, &[0xff; 100]].concat()).await;
    until(|| stage.habits.handled.load(SeqCst) == 2).await;
    for _ in 0..2 {
        assert_eq!(peer.answer().await.body.len(), 9_000_000);
    }
    let began = tokio::time::Instant::now();
    peer.closed().await;
    assert!(began.elapsed() < DRAIN_MAX / 2, "it waited for {:?}", began.elapsed());
    drop(peer);
    until(|| stage.figures.ended(CloseReason::Malformed) == 1).await;
}

#[tokio::test]
async fn nothing_is_said_to_a_peer_that_was_sent_away() {
    let mut stage = Stage::new().await;
    let mut peer = stage.dial().await;
    let connection = stage.next_connection().await;
    peer.ask(&request(PARK, 1)).await;
    let responder = stage.next_parked().await;
    peer.send(&[0xff; 64]).await;
    peer.closed().await;
    assert!(!connection.notify(request(40, 0)), "it would come after the end");
    assert!(!responder.send(Reply::success()));
    drop(peer);
    until(|| stage.figures.ended(CloseReason::Malformed) == 1).await;
}

#[tokio::test]
async fn a_slow_reader_that_reads_stays() {
    let stage = Stage::with(ServerOptions { write_stall_max: Duration::from_millis(800), ..hasty() }).await;
    let mut peer = stage.dial().await;
    let mut large = request(LARGE, 1);
    large.fields.push("bytes", "12000000");
    peer.ask(&large).await;
    let mut pace = tokio::time::interval(Duration::from_millis(20));
    let (mut read, mut piece) = (0, vec![0; 100_000]);
    while read < 12_000_000 {
        pace.tick().await;
        let bytes = in_time(peer.socket.read(&mut piece)).await.unwrap();
        assert_ne!(bytes, 0, "closed after {read} bytes");
        read += bytes;
    }
    assert_eq!(stage.figures.ended(CloseReason::SlowReader), 0);
}

#[tokio::test]
async fn late_answers_to_a_peer_that_does_not_read_are_bounded() {
    let mut stage = Stage::new().await;
    let mut peer = stage.dial().await;
    let mut parked = Vec::new();
    for opaque in 0..100 {
        peer.ask(&request(PARK, opaque)).await;
        parked.push(stage.next_parked().await);
    }
    let connection = std::sync::Arc::clone(parked[0].connection());
    for responder in parked {
        assert!(responder.send(Reply::with_body(vec![b'x'; 1_000_000])));
    }
    assert!(!connection.notify(request(40, 0)), "the outbox is full");
    let (mut whole, mut busy) = (0, 0);
    for opaque in 0..100 {
        let answer = peer.answer().await;
        assert_eq!(answer.opaque, opaque);
        match (answer.code, answer.body.len()) {
            (0, 1_000_000) => whole += 1,
            (2, 0) => busy += 1,
            other => panic!("an answer of {other:?}"),
        }
    }
    assert_eq!(whole + busy, 100);
    assert!(busy > 0 && whole * 1_000_000 <= OUTBOX_BYTES_HARD_MAX, "{whole} large answers were held");
    peer.is_served().await;
    assert!(connection.notify(request(40, 0)), "there is room again");
}

#[tokio::test]
async fn too_many_connections_are_refused_and_places_come_free() {
    let stage = Stage::with(ServerOptions { connections_max: 3, ..ServerOptions::default() }).await;
    let mut present: Vec<Bare> = Vec::new();
    for _ in 0..3 {
        let mut peer = stage.dial().await;
        peer.is_served().await;
        present.push(peer);
    }
    stage.dial().await.closed().await;
    assert_eq!((stage.figures.refused(), stage.figures.open()), (1, 3));
    present.pop();
    until(|| stage.figures.open() == 2).await;
    let mut late = stage.dial().await;
    late.is_served().await;
    for peer in &mut present {
        peer.is_served().await;
    }
}

#[tokio::test]
async fn answers_nobody_asked_for_are_dropped() {
    let stage = Stage::new().await;
    let mut peer = stage.dial().await;
    let mut answer = request(ECHO, 77);
    answer.flag = 1;
    peer.ask(&answer).await;
    peer.is_served().await;
    assert_eq!(stage.habits.handled.load(SeqCst), 1, "an answer is no request");
}
