//! Requests and answers on one connection, byte for byte.
//!
//! Owns what an honest peer sees: order, codecs, one-way requests, late answers, failures of a handler.
#![allow(clippy::unwrap_used, reason = "a test's expectation that fails is a failed test")]

mod common;

use std::sync::atomic::Ordering::SeqCst;

use bytes::BytesMut;
use common::{Bare, ECHO, IGNORE, LARGE, PANIC, PARK, Stage, echo, echo_reply, encode, expected, request, until};
use strata_protocol::code::ResponseCode;
use strata_protocol::command::{Command, FLAG_ONEWAY, FLAG_RESPONSE};
use strata_protocol::frame::HeaderCodec;
use strata_protocol::reply::Reply;
use tokio::io::AsyncReadExt as _;

#[tokio::test]
async fn pipelined_requests_are_answered_in_order_and_in_one_go() {
    let stage = Stage::new().await;
    let mut peer = stage.dial().await;
    let requests: Vec<Command> = (0..20).map(|opaque| echo(opaque, HeaderCodec::Json, "")).collect();
    let all: Vec<u8> = requests.iter().flat_map(|request| encode(request).to_vec()).collect();
    let answers: Vec<u8> =
        requests.iter().flat_map(|request| expected(&echo_reply(request), request).to_vec()).collect();
    assert!(all.len() < 4 * 1024, "one read of a fresh connection takes them all");
    peer.send(&all).await;
    let mut read = BytesMut::with_capacity(1 << 20);
    peer.socket.read_buf(&mut read).await.unwrap();
    assert_eq!(read, answers, "one write brought all answers");
    assert_eq!(stage.figures.frames_in(), 20);
    assert_eq!(stage.figures.bytes_in(), all.len() as u64);
    until(|| stage.figures.bytes_out() == answers.len() as u64).await;
}

#[tokio::test]
async fn a_frame_may_be_cut_anywhere() {
    let stage = Stage::new().await;
    let mut peer = stage.dial().await;
    let pair = [echo(1, HeaderCodec::Json, "first"), echo(2, HeaderCodec::Binary, "second")];
    let bytes: Vec<u8> = pair.iter().flat_map(|request| encode(request).to_vec()).collect();
    peer.socket.set_nodelay(true).unwrap();
    for cut in 1..bytes.len() {
        let arrived = stage.figures.bytes_in();
        peer.send(&bytes[..cut]).await;
        // The second part is sent when the server has taken the first, so that it really is cut there.
        until(|| stage.figures.bytes_in() == arrived + cut as u64).await;
        peer.send(&bytes[cut..]).await;
        for request in &pair {
            assert_eq!(peer.frame().await, expected(&echo_reply(request), request), "cut at {cut}");
        }
    }
}

#[tokio::test]
async fn every_single_byte_may_come_alone() {
    let stage = Stage::new().await;
    let mut peer = stage.dial().await;
    peer.socket.set_nodelay(true).unwrap();
    let request = echo(7, HeaderCodec::Json, "slowly");
    for byte in encode(&request) {
        let arrived = stage.figures.bytes_in();
        peer.send(&[byte]).await;
        until(|| stage.figures.bytes_in() == arrived + 1).await;
    }
    assert_eq!(peer.frame().await, expected(&echo_reply(&request), &request));
}

#[tokio::test]
async fn an_answer_has_the_codec_of_its_request() {
    let stage = Stage::new().await;
    let mut peer = stage.dial().await;
    for (opaque, codec) in [(1, HeaderCodec::Binary), (2, HeaderCodec::Json), (3, HeaderCodec::Binary)] {
        peer.ask(&echo(opaque, codec, "x")).await;
        let frame = peer.frame().await;
        assert_eq!(frame[4], codec.wire());
        let answer = Command::decode(frame).unwrap();
        assert_eq!((answer.opaque, answer.flag, answer.code), (opaque, FLAG_RESPONSE, 0));
        assert_eq!(answer.fields.value("n"), Some(opaque.to_string().as_str()));
        assert_eq!(answer.body, "x");
    }
}

#[tokio::test]
async fn a_one_way_request_is_handled_and_never_answered() {
    let mut stage = Stage::new().await;
    let mut peer = stage.dial().await;
    for code in [ECHO, PANIC, IGNORE, PARK, 1] {
        let mut oneway = request(code, 5);
        oneway.flag = FLAG_ONEWAY;
        peer.ask(&oneway).await;
    }
    let responder = stage.next_parked().await;
    assert!(!responder.send(Reply::success()), "a late answer is not sent either");
    // Whatever had been answered would come before this.
    peer.is_served().await;
    assert_eq!(stage.habits.handled.load(SeqCst), 6);
}

#[tokio::test]
async fn a_request_that_is_ignored_gets_nothing() {
    let stage = Stage::new().await;
    let mut peer = stage.dial().await;
    peer.ask(&request(IGNORE, 1)).await;
    peer.is_served().await;
}

#[tokio::test]
async fn late_answers_come_in_the_order_they_are_given() {
    let mut stage = Stage::new().await;
    let mut peer = stage.dial().await;
    let (mut parked, mut requests) = (Vec::new(), Vec::new());
    for opaque in 0..10 {
        let mut request = request(PARK, opaque);
        request.codec = if opaque % 2 == 0 { HeaderCodec::Json } else { HeaderCodec::Binary };
        peer.ask(&request).await;
        parked.push(stage.next_parked().await);
        requests.push(request);
    }
    peer.is_served().await;
    let reply = |size: usize| Reply::with_body(vec![b'p'; size]);
    // From another thread, as a store's wake-up would be.
    let answering = std::thread::spawn(move || {
        parked.into_iter().rev().zip(0..).map(|(responder, nth)| responder.send(reply(nth * 300))).collect::<Vec<_>>()
    });
    for (request, nth) in requests.iter().rev().zip(0..) {
        assert_eq!(peer.frame().await, expected(&reply(nth * 300), request));
    }
    assert_eq!(answering.join().unwrap(), [true; 10]);
}

#[tokio::test]
async fn a_panic_is_answered_and_hurts_nobody() {
    let stage = Stage::new().await;
    let (mut peer, mut other) = (stage.dial().await, stage.dial().await);
    let batch: Vec<u8> = [request(ECHO, 1), request(PANIC, 2), request(ECHO, 3)]
        .iter()
        .flat_map(|request| encode(request).to_vec())
        .collect();
    peer.send(&batch).await;
    let answers = [peer.answer().await, peer.answer().await, peer.answer().await];
    assert_eq!(answers.each_ref().map(|answer| answer.opaque), [1, 2, 3]);
    let codes = [ResponseCode::Success, ResponseCode::SystemError, ResponseCode::Success];
    assert_eq!(answers.each_ref().map(|answer| answer.code), codes.map(ResponseCode::wire));
    assert_eq!(answers[1].remark.as_deref(), Some("the request failed here; the log has the reason"));
    assert_eq!(stage.figures.panics(), 1);
    other.is_served().await;
    peer.is_served().await;
}

#[tokio::test]
async fn the_largest_frames_pass_in_both_directions() {
    let stage = Stage::new().await;
    let mut peer = stage.dial().await;
    let body: Vec<u8> = (0..15 * 1024 * 1024_u32).map(|at| (at / 7) as u8).collect();
    let asked = echo(1, HeaderCodec::Binary, body);
    let bytes = encode(&asked);
    let (mut reading, mut writing) = peer.socket.into_split();
    let sending = tokio::spawn(async move { tokio::io::AsyncWriteExt::write_all(&mut writing, &bytes).await.unwrap() });
    let answer = expected(&echo_reply(&asked), &asked);
    let mut read = vec![0; answer.len()];
    common::in_time(reading.read_exact(&mut read)).await.unwrap();
    assert_eq!(read, answer);
    sending.await.unwrap();
    peer = stage.dial().await;
    peer.is_served().await;
}

#[tokio::test]
async fn many_connections_speak_at_the_same_time() {
    let stage = Stage::new().await;
    let peers: Vec<Bare> = {
        let mut peers = Vec::new();
        for _ in 0..50 {
            peers.push(stage.dial().await);
        }
        peers
    };
    let talks: Vec<_> = peers
        .into_iter()
        .map(|mut peer| {
            tokio::spawn(async move {
                for opaque in 0..50 {
                    let request = echo(opaque, HeaderCodec::Json, vec![b'z'; (opaque as usize) * 40]);
                    peer.ask(&request).await;
                    assert_eq!(peer.frame().await, expected(&echo_reply(&request), &request));
                }
            })
        })
        .collect();
    for talk in talks {
        talk.await.unwrap();
    }
    stage.all_closed(50).await;
    assert_eq!(stage.figures.frames_in(), 2_500);
}

#[tokio::test]
async fn an_answer_that_fills_the_outbox_is_followed_by_the_others_in_order() {
    let stage = Stage::new().await;
    let mut peer = stage.dial().await;
    let mut batch = Vec::new();
    for opaque in 0..12 {
        let mut large = request(LARGE, opaque);
        large.fields.push("bytes", "5000000");
        batch.extend_from_slice(&encode(&large));
    }
    peer.send(&batch).await;
    // Nothing is read meanwhile: not all of 60 MB is made at once.
    until(|| stage.figures.bytes_out() > 0).await;
    assert!(stage.habits.handled.load(SeqCst) < 12, "requests wait while answers do");
    for opaque in 0..12 {
        let answer = peer.answer().await;
        assert_eq!((answer.opaque, answer.code, answer.body.len()), (opaque, 0, 5_000_000));
        assert!(answer.body.iter().all(|byte| *byte == b'L'));
    }
    peer.is_served().await;
}
