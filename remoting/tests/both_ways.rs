//! Requests of the client to the server and of the server to the client, on one connection.
//!
//! Owns what callers see: answers, timeouts, refusals, and the end of a connection under their hands.
#![allow(clippy::unwrap_used, reason = "a test's expectation that fails is a failed test")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{ECHO, IGNORE, PARK, PATIENCE, Stage, in_time, request, until};
use parking_lot::Mutex;
use strata_protocol::code::ResponseCode;
use strata_protocol::command::Command;
use strata_protocol::reply::Reply;
use strata_remoting::{Answer, CallError, Client, ConnectError, Connection, Handler};
use tokio::net::TcpListener;

/// A client's side that answers the server's requests and remembers them.
#[derive(Default)]
struct Listens {
    heard: Mutex<Vec<(i32, bool)>>,
}

impl Handler for Listens {
    fn handle(&self, request: Command, _connection: &Arc<Connection>) -> Answer {
        self.heard.lock().push((request.code, request.is_oneway()));
        Answer::Now(Reply::with_body(format!("heard {}", request.code)))
    }
}

async fn connect(stage: &Stage) -> Client {
    Client::connect(&stage.address.to_string(), PATIENCE).await.unwrap()
}

#[tokio::test]
async fn calls_of_one_client_run_at_the_same_time() {
    let stage = Stage::new().await;
    let client = connect(&stage).await;
    let calls: Vec<_> = (0..200)
        .map(|n: u32| {
            let client = client.clone();
            tokio::spawn(async move {
                let mut command = Command::request(ECHO);
                command.body = vec![b'c'; n as usize].into();
                command.fields.push("n", &n.to_string());
                let answer = client.call(command, PATIENCE).await.unwrap();
                assert_eq!(answer.code, 0);
                assert_eq!(answer.fields.value("n"), Some(n.to_string().as_str()));
                assert_eq!(answer.body.len(), n as usize);
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
}

#[tokio::test]
async fn a_call_ends_when_its_time_is_over_and_a_late_answer_is_dropped() {
    let mut stage = Stage::new().await;
    let client = connect(&stage).await;
    let timeout = Duration::from_millis(50);
    let error = client.call(Command::request(PARK), timeout).await.unwrap_err();
    assert_eq!(error, CallError::Timeout { peer: stage.address, timeout });
    assert!(stage.next_parked().await.send(Reply::with_body("late")));
    let answer = client.call(Command::request(ECHO), PATIENCE).await.unwrap();
    assert_eq!(answer.body, "", "the next call gets its own answer");
}

#[tokio::test]
async fn the_server_asks_and_tells_its_client() {
    let mut stage = Stage::new().await;
    let listens = Arc::new(Listens::default());
    let client = Client::connect_with(&stage.address.to_string(), PATIENCE, Arc::clone(&listens)).await.unwrap();
    let connection = stage.next_connection().await;
    assert_eq!(connection.peer(), client.local());
    assert_eq!(connection.local(), client.peer());

    let answer = connection.call(Command::request(307), PATIENCE).await.unwrap();
    assert_eq!((answer.code, &answer.body[..]), (0, &b"heard 307"[..]));
    assert!(connection.notify(Command::request(40)));
    let answer = connection.call(Command::request(220), PATIENCE).await.unwrap();
    assert_eq!(&answer.body[..], b"heard 220");
    assert_eq!(*listens.heard.lock(), [(307, false), (40, true), (220, false)]);
    let answer = client.call(Command::request(ECHO), PATIENCE).await.unwrap();
    assert_eq!(answer.code, 0, "the other direction goes on");
}

#[tokio::test]
async fn a_client_without_a_handler_answers_that_it_supports_nothing() {
    let mut stage = Stage::new().await;
    let _client = connect(&stage).await;
    let answer = stage.next_connection().await.call(Command::request(307), PATIENCE).await.unwrap();
    assert_eq!(answer.code, ResponseCode::RequestCodeNotSupported.wire());
    assert_eq!(answer.remark.as_deref(), Some(" request type 307 not supported"));
}

#[tokio::test]
async fn a_dynamic_handler_is_taken_too() {
    let mut stage = Stage::new().await;
    let handler: Arc<dyn Handler> = Arc::new(Listens::default());
    let _client = Client::connect_with(&stage.address.to_string(), PATIENCE, handler).await.unwrap();
    let answer = stage.next_connection().await.call(Command::request(309), PATIENCE).await.unwrap();
    assert_eq!(&answer.body[..], b"heard 309");
}

#[tokio::test]
async fn one_way_requests_arrive() {
    let stage = Stage::new().await;
    let client = connect(&stage).await;
    for _ in 0..10 {
        client.notify(Command::request(IGNORE)).await.unwrap();
    }
    until(|| stage.figures.frames_in() == 10).await;
}

#[tokio::test]
async fn the_end_of_the_connection_ends_its_calls() {
    let mut stage = Stage::new().await;
    let client = connect(&stage).await;
    let pending = tokio::spawn({
        let client = client.clone();
        async move { client.call(Command::request(PARK), PATIENCE).await }
    });
    let responder = stage.next_parked().await;
    let server_side = Arc::clone(responder.connection());
    let asking = tokio::spawn({
        let server_side = Arc::clone(&server_side);
        async move { server_side.call(Command::request(IGNORE), PATIENCE).await }
    });
    server_side.close();
    let closed = CallError::Closed { peer: stage.address };
    assert_eq!(in_time(pending).await.unwrap(), Err(closed.clone()));
    assert!(in_time(asking).await.unwrap().is_err());
    until(|| !client.is_open()).await;
    assert_eq!(client.call(Command::request(ECHO), PATIENCE).await, Err(closed.clone()));
    assert_eq!(client.notify(Command::request(ECHO)).await, Err(closed));
    assert!(!server_side.notify(Command::request(40)));
    assert!(!responder.send(Reply::success()));
}

#[tokio::test]
async fn the_connection_closes_with_the_last_clone_of_its_client() {
    let stage = Stage::new().await;
    let client = connect(&stage).await;
    let clone = client.clone();
    drop(client);
    assert_eq!(clone.call(Command::request(ECHO), PATIENCE).await.unwrap().code, 0);
    drop(clone);
    stage.all_closed(1).await;
}

#[tokio::test]
async fn a_closed_client_sends_what_it_has_taken() {
    let stage = Stage::new().await;
    let client = connect(&stage).await;
    for _ in 0..100 {
        client.notify(Command::request(IGNORE)).await.unwrap();
    }
    client.close();
    assert!(!client.is_open());
    stage.all_closed(1).await;
    assert_eq!(stage.figures.frames_in(), 100);
}

#[tokio::test]
async fn requests_to_a_peer_that_does_not_read_are_refused_in_the_end() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let client = Client::connect(&address.to_string(), PATIENCE).await.unwrap();
    let _silent = listener.accept().await.unwrap();
    let mut sent = 0;
    let refusal = loop {
        let mut command = request(ECHO, 0);
        command.body = vec![0; 1024 * 1024].into();
        match client.notify(command).await {
            Ok(()) => sent += 1,
            Err(refusal) => break refusal,
        }
        assert!(sent < 100, "the outbox has no bound");
        tokio::task::yield_now().await;
    };
    assert_eq!(refusal, CallError::Busy { peer: address });
    assert!(sent >= 16);
    assert_eq!(
        client.call(Command::request(ECHO), PATIENCE).await,
        Err(CallError::Busy { peer: address }),
        "a call does not wait for ever either"
    );
}

#[tokio::test]
async fn what_cannot_be_connected_to_is_named() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let error = Client::connect(&gone, PATIENCE).await.unwrap_err();
    assert!(matches!(&error, ConnectError::Unreachable { address, .. } if *address == gone), "{error}");
    let error = Client::connect("no port", PATIENCE).await.unwrap_err();
    assert!(matches!(&error, ConnectError::Unresolved { address, .. } if address == "no port"), "{error}");
}
