//! How servers and connections end: answers leave, nobody is told twice, nothing waits for ever.
//!
//! Owns shutdown, half-closed sockets, and the exactly-once `closed`.
#![allow(clippy::unwrap_used, reason = "a test's expectation that fails is a failed test")]

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use common::{ECHO, LARGE, PARK, PATIENCE, Stage, echo, echo_reply, expected, request, until};
use strata_protocol::frame::HeaderCodec;
use strata_protocol::reply::Reply;
use strata_remoting::{BindError, Client, CloseReason, Server, ServerOptions};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::Instant;

#[tokio::test]
async fn a_stopping_server_lets_owed_answers_leave() {
    let mut stage = Stage::new().await;
    let (mut waits, mut idle) = (stage.dial().await, stage.dial().await);
    idle.is_served().await;
    let asked = request(PARK, 9);
    waits.ask(&asked).await;
    let responder = stage.next_parked().await;
    stage.stop();
    idle.closed().await;
    drop(idle);
    let address = stage.address;
    until(|| stage.figures.open() == 1).await;
    assert!(TcpStream::connect(address).await.is_err(), "nothing is accepted any more");
    assert!(responder.send(Reply::with_body("the last word")));
    assert_eq!(waits.frame().await, expected(&Reply::with_body("the last word"), &asked));
    waits.closed().await;
    drop(waits);
    let (habits, figures) = (Arc::clone(&stage.habits), Arc::clone(&stage.figures));
    stage.stopped().await;
    assert_eq!((habits.opened.load(SeqCst), habits.closed.load(SeqCst)), (2, 2));
    assert_eq!(figures.ended(CloseReason::Shutdown), 2);
}

#[tokio::test]
async fn a_stopping_server_does_not_wait_for_ever() {
    let drain_max = Duration::from_millis(300);
    let mut stage = Stage::with(ServerOptions { drain_max, ..ServerOptions::default() }).await;
    let mut waits = stage.dial().await;
    waits.ask(&request(PARK, 9)).await;
    let responder = stage.next_parked().await;
    let began = Instant::now();
    stage.stop();
    waits.closed().await;
    stage.stopped().await;
    assert!(began.elapsed() >= drain_max);
    assert!(!responder.send(Reply::success()), "it is too late");
}

#[tokio::test]
async fn a_dropped_responder_holds_no_shutdown() {
    let drain_max = Duration::from_secs(600);
    let mut stage = Stage::with(ServerOptions { drain_max, ..ServerOptions::default() }).await;
    let mut waits = stage.dial().await;
    waits.ask(&request(PARK, 9)).await;
    let responder = stage.next_parked().await;
    stage.stop();
    drop(responder);
    waits.closed().await;
    drop(waits);
    stage.stopped().await;
}

#[tokio::test]
async fn a_large_answer_leaves_whole_when_the_server_stops() {
    let mut stage = Stage::new().await;
    let mut peer = stage.dial().await;
    let mut large = request(LARGE, 1);
    large.fields.push("bytes", "12000000");
    peer.ask(&large).await;
    until(|| stage.habits.handled.load(SeqCst) == 1).await;
    stage.stop();
    assert_eq!(peer.answer().await.body.len(), 12_000_000);
    peer.closed().await;
    drop(peer);
    stage.stopped().await;
}

#[tokio::test]
async fn a_peer_that_says_it_is_done_gets_its_answers() {
    let stage = Stage::new().await;
    let mut peer = stage.dial().await;
    let asked = echo(3, HeaderCodec::Json, vec![b'd'; 2_000_000]);
    peer.ask(&asked).await;
    peer.socket.shutdown().await.unwrap();
    assert_eq!(peer.frame().await, expected(&echo_reply(&asked), &asked));
    peer.closed().await;
    stage.all_closed(1).await;
    assert_eq!(stage.figures.ended(CloseReason::Peer), 1);
}

#[tokio::test]
async fn every_connection_is_told_to_be_closed_exactly_once() {
    let mut stage = Stage::new().await;
    let gone_at_once = stage.dial().await;
    drop(gone_at_once);
    let mut spoke = stage.dial().await;
    spoke.is_served().await;
    drop(spoke);
    let mut malformed = stage.dial().await;
    malformed.send(&[0xff; 64]).await;
    malformed.closed().await;
    drop(malformed);
    until(|| stage.habits.closed.load(SeqCst) == 3).await;
    while stage.came.try_recv().is_ok() {}
    let closed_here = stage.dial().await;
    let connection = stage.next_connection().await;
    connection.close();
    connection.close();
    assert!(!connection.is_open());
    drop(closed_here);
    stage.all_closed(4).await;
    assert_eq!(stage.figures.ended(CloseReason::Local), 1);
}

#[test]
fn connections_are_told_when_their_runtime_goes() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (stage, peer) = runtime.block_on(async {
        let stage = Stage::new().await;
        let mut peer = stage.dial().await;
        peer.is_served().await;
        (stage, peer)
    });
    assert_eq!(stage.habits.closed.load(SeqCst), 0);
    drop(runtime);
    assert_eq!((stage.habits.opened.load(SeqCst), stage.habits.closed.load(SeqCst)), (1, 1));
    drop(peer);
}

#[tokio::test]
async fn a_port_in_use_is_named_with_what_to_do() {
    let stage = Stage::new().await;
    let error = Server::bind(stage.address, ServerOptions::default()).await.unwrap_err();
    assert!(matches!(error, BindError::InUse { address } if address == stage.address));
    assert_eq!(
        error.to_string(),
        format!(
            "cannot listen on {}: the port is in use; stop the program that has it, or choose another port",
            stage.address
        )
    );
    let far: std::net::SocketAddr = "192.0.2.7:0".parse().unwrap();
    let error = Server::bind(far, ServerOptions::default()).await.unwrap_err();
    assert!(matches!(error, BindError::NotHere { address } if address == far), "{error}");
}

#[tokio::test]
async fn a_port_can_be_taken_again_at_once() {
    let mut stage = Stage::new().await;
    let client = Client::connect(&stage.address.to_string(), PATIENCE).await.unwrap();
    client.call(request(ECHO, 0), PATIENCE).await.unwrap();
    let address = stage.address;
    stage.stop();
    stage.stopped().await;
    Server::bind(address, ServerOptions::default()).await.unwrap();
}

#[tokio::test]
async fn the_fast_port_is_known_to_its_connections() {
    let mut fast = Stage::with(ServerOptions { fast_port: true, ..ServerOptions::default() }).await;
    let mut plain = Stage::new().await;
    let _peers = (fast.dial().await, plain.dial().await);
    let (of_fast, of_plain) = (fast.next_connection().await, plain.next_connection().await);
    assert!(of_fast.is_fast_port());
    assert!(!of_plain.is_fast_port());
    assert_ne!(of_fast.id(), of_plain.id());
}
