//! What the tests of conversations share: a server with a handler of known habits, and a bare socket.
//!
//! Owns no assertion. The bare socket knows frames only, so that the tests see bytes.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part of this")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's expectation that fails is a failed test")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use strata_protocol::code::ResponseCode;
use strata_protocol::command::Command;
use strata_protocol::frame::{self, Check, HeaderCodec};
use strata_protocol::reply::Reply;
use strata_remoting::{Answer, Connection, Figures, Handler, Responder, Server, ServerOptions};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// Long enough for a loaded machine, short enough for a person.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Answers at once with the request's body and its field `n`.
pub const ECHO: i32 = 9001;
/// Hands the responder to the test.
pub const PARK: i32 = 9002;
/// Panics.
pub const PANIC: i32 = 9003;
/// Gets no answer.
pub const IGNORE: i32 = 9004;
/// Answers at once with as many bytes as the field `bytes` says.
pub const LARGE: i32 = 9005;

/// A handler of known habits.
pub struct Habits {
    pub opened: AtomicUsize,
    pub closed: AtomicUsize,
    pub handled: AtomicUsize,
    parked: mpsc::UnboundedSender<Responder>,
    came: mpsc::UnboundedSender<Arc<Connection>>,
}

impl Handler for Habits {
    fn handle(&self, request: Command, connection: &Arc<Connection>) -> Answer {
        self.handled.fetch_add(1, SeqCst);
        match request.code {
            ECHO => Answer::Now(echo_reply(&request)),
            PARK => {
                self.parked.send(connection.responder(&request)).unwrap();
                Answer::Later
            }
            PANIC => panic!("as the test wants it"),
            IGNORE => Answer::Never,
            LARGE => {
                let bytes = request.fields.value("bytes").unwrap().parse().unwrap();
                Answer::Now(Reply::with_body(vec![b'L'; bytes]))
            }
            code => Answer::Now(Reply::refusal(ResponseCode::RequestCodeNotSupported, format!("{code}"))),
        }
    }

    fn opened(&self, connection: &Arc<Connection>) {
        self.opened.fetch_add(1, SeqCst);
        let _ = self.came.send(Arc::clone(connection));
    }

    fn closed(&self, _connection: &Arc<Connection>) {
        self.closed.fetch_add(1, SeqCst);
    }
}

/// What [`ECHO`] answers.
pub fn echo_reply(request: &Command) -> Reply {
    let reply = Reply::with_body(request.body.clone());
    match request.fields.value("n") {
        Some(n) => reply.text("n", n),
        None => reply,
    }
}

/// A running server and what its handler sees.
pub struct Stage {
    pub address: SocketAddr,
    pub habits: Arc<Habits>,
    pub figures: Arc<Figures>,
    pub parked: mpsc::UnboundedReceiver<Responder>,
    pub came: mpsc::UnboundedReceiver<Arc<Connection>>,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<()>,
}

impl Stage {
    pub async fn new() -> Self {
        Self::with(ServerOptions::default()).await
    }

    pub async fn with(options: ServerOptions) -> Self {
        let server = Server::bind("127.0.0.1:0".parse().unwrap(), options).await.unwrap();
        let (park, parked) = mpsc::unbounded_channel();
        let (come, came) = mpsc::unbounded_channel();
        let zero = || AtomicUsize::new(0);
        let habits = Arc::new(Habits { opened: zero(), closed: zero(), handled: zero(), parked: park, came: come });
        let (address, figures) = (server.local_addr(), server.figures());
        let (stop, stopped) = oneshot::channel();
        let handler = Arc::clone(&habits);
        let running = tokio::spawn(async move {
            server
                .run(handler, async {
                    let _ = stopped.await;
                })
                .await;
        });
        Self { address, habits, figures, parked, came, stop: Some(stop), running }
    }

    pub async fn dial(&self) -> Bare {
        Bare { socket: TcpStream::connect(self.address).await.unwrap(), read: BytesMut::new() }
    }

    /// The next responder that a [`PARK`] request left.
    pub async fn next_parked(&mut self) -> Responder {
        in_time(self.parked.recv()).await.unwrap()
    }

    /// The server's side of the next connection.
    pub async fn next_connection(&mut self) -> Arc<Connection> {
        in_time(self.came.recv()).await.unwrap()
    }

    /// Asks the server to stop.
    pub fn stop(&mut self) {
        let _ = self.stop.take().unwrap().send(());
    }

    /// Waits until `run` has returned.
    pub async fn stopped(self) {
        in_time(self.running).await.unwrap();
    }

    /// Waits until all connections are over, and checks that each was told once.
    pub async fn all_closed(&self, expected: usize) {
        until(|| self.habits.closed.load(SeqCst) >= expected).await;
        assert_eq!(self.habits.opened.load(SeqCst), expected);
        assert_eq!(self.habits.closed.load(SeqCst), expected);
        until(|| self.figures.open() == 0).await;
    }
}

/// A socket that sends and takes bytes.
pub struct Bare {
    pub socket: TcpStream,
    pub read: BytesMut,
}

impl Bare {
    pub async fn send(&mut self, bytes: &[u8]) {
        in_time(self.socket.write_all(bytes)).await.unwrap();
    }

    pub async fn ask(&mut self, command: &Command) {
        self.send(&encode(command)).await;
    }

    /// The next frame's bytes, its prefix included.
    pub async fn frame(&mut self) -> Bytes {
        loop {
            if let Check::Complete { bytes } = frame::check(&self.read).unwrap() {
                return self.read.split_to(bytes).freeze();
            }
            let read = in_time(self.socket.read_buf(&mut self.read)).await.unwrap();
            assert_ne!(read, 0, "the server closed the connection");
        }
    }

    pub async fn answer(&mut self) -> Command {
        Command::decode(self.frame().await).unwrap()
    }

    /// Asserts that the server ends the conversation without another byte.
    pub async fn closed(&mut self) {
        assert_eq!(&self.read[..], b"", "bytes came before the end");
        match in_time(self.socket.read_buf(&mut self.read)).await {
            Ok(read) => assert_eq!(read, 0, "bytes came: {:?}", self.read),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
    }

    /// Asserts that the conversation goes on, and that nothing was left unread in it.
    pub async fn is_served(&mut self) {
        let request = request(ECHO, 424_242);
        self.ask(&request).await;
        assert_eq!(self.frame().await, expected(&echo_reply(&request), &request));
    }
}

/// A request with an opaque of its own.
pub fn request(code: i32, opaque: i32) -> Command {
    Command { opaque, ..Command::request(code) }
}

/// An [`ECHO`] with a field and a body.
pub fn echo(opaque: i32, codec: HeaderCodec, body: impl Into<Bytes>) -> Command {
    let mut command = request(ECHO, opaque);
    command.codec = codec;
    command.fields.push("n", &opaque.to_string());
    command.body = body.into();
    command
}

pub fn encode(command: &Command) -> BytesMut {
    let mut out = BytesMut::new();
    command.encode(&mut out);
    out
}

/// The exact bytes that answer `request` with `reply`.
pub fn expected(reply: &Reply, request: &Command) -> Bytes {
    let mut out = BytesMut::new();
    reply.encode_header(&mut out, request.opaque, request.codec);
    reply.body.iter().for_each(|slice| out.extend_from_slice(slice));
    out.freeze()
}

/// Waits for `future`, but not for ever.
pub async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it did not happen in time")
}

/// Waits until a condition holds.
pub async fn until(mut condition: impl FnMut() -> bool) {
    in_time(async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}
