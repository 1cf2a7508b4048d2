//! Prints what a request costs the server's thread: `cargo run --release -p strata-remoting --example echo_cost`.
//!
//! Owns two cases: one connection with 64 requests in flight, and 64 connections with one each. A request
//! is a send of 1 KiB as Java clients write it, an answer has about 120 bytes; no broker is behind it. The
//! server has a runtime thread of its own, and only that thread's time is counted.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measuring program for people, not a service")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use bytes::BytesMut;
use strata_protocol::command::Command;
use strata_protocol::frame::{self, Check, HeaderCodec};
use strata_protocol::reply::Reply;
use strata_remoting::{Answer, Connection, Handler, Server, ServerOptions};
use tokio::time::Instant;

struct Taker;

impl Handler for Taker {
    fn handle(&self, request: Command, _connection: &Arc<Connection>) -> Answer {
        let sent = Reply::success().int("queueOffset", request.opaque);
        Answer::Now(sent.int("queueId", 3).text("msgId", "7F00000100002A9F0000000000000000"))
    }
}

fn request(codec: HeaderCodec) -> Vec<u8> {
    let mut command = Command { codec, opaque: 123_456, ..Command::request(310) };
    let properties = "UNIQ_KEY\u{1}7F0000010B6318B4AAC2123456780001\u{2}WAIT\u{1}true\u{2}TAGS\u{1}TagA\u{2}\
                      color\u{1}blue\u{2}price\u{1}990\u{2}customer\u{1}c-000123\u{2}";
    for (name, value) in [
        ("a", "please_rename_unique_group_name"),
        ("b", "TopicTest"),
        ("c", "TBW102"),
        ("d", "4"),
        ("e", "3"),
        ("f", "0"),
        ("g", "1790000000000"),
        ("h", "0"),
        ("i", properties),
        ("j", "0"),
        ("k", "false"),
        ("m", "false"),
    ] {
        command.fields.push(name, value);
    }
    command.body = vec![b'm'; 1024].into();
    let mut out = BytesMut::new();
    command.encode(&mut out);
    out.to_vec()
}

/// Nanoseconds that a thread of this process has been on a core, and its user and system ticks.
fn cpu(thread: &str) -> (u64, i64, i64) {
    let schedstat = std::fs::read_to_string(format!("/proc/{thread}/schedstat")).unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{thread}/stat")).unwrap();
    let ticks: Vec<i64> = stat.rsplit(") ").next().unwrap().split(' ').filter_map(|n| n.parse().ok()).collect();
    (schedstat.split(' ').next().unwrap().parse().unwrap(), ticks[10], ticks[11])
}

/// Starts the server on a thread; gives its address and the thread's place in `/proc`.
fn serve() -> (SocketAddr, String) {
    let (told, tell) = mpsc::channel();
    std::thread::spawn(move || {
        let thread = std::fs::read_link("/proc/thread-self").unwrap().to_str().unwrap().to_owned();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let server = Server::bind("127.0.0.1:0".parse().unwrap(), ServerOptions::default()).await.unwrap();
            told.send((server.local_addr(), thread)).unwrap();
            server.run(Arc::new(Taker), std::future::pending()).await;
        });
    });
    tell.recv().unwrap()
}

/// One connection of the generator: it sends as many requests as answers came.
struct Asker {
    socket: TcpStream,
    read: BytesMut,
    burst: Vec<u8>,
    one: usize,
}

impl Asker {
    fn new(address: SocketAddr, in_flight: usize, request: &[u8]) -> Self {
        let mut socket = TcpStream::connect(address).unwrap();
        socket.set_nodelay(true).unwrap();
        let burst = request.repeat(in_flight);
        socket.write_all(&burst).unwrap();
        Self { socket, read: BytesMut::new(), burst, one: request.len() }
    }

    /// Waits for answers and sends as many requests; gives their number.
    fn turn(&mut self) -> usize {
        let mut piece = [0; 64 * 1024];
        let bytes = self.socket.read(&mut piece).unwrap();
        self.read.extend_from_slice(&piece[..bytes]);
        let mut answers = 0;
        while let Check::Complete { bytes } = frame::check(&self.read).unwrap() {
            let _ = self.read.split_to(bytes);
            answers += 1;
        }
        self.socket.write_all(&self.burst[..answers * self.one]).unwrap();
        answers
    }
}

fn measure(name: &str, (connections, in_flight): (usize, usize), codec: HeaderCodec) {
    let (address, thread) = serve();
    let request = request(codec);
    let mut askers: Vec<Asker> = (0..connections).map(|_| Asker::new(address, in_flight, &request)).collect();
    let mut run = |time: Duration| {
        let (began, mut answers) = (Instant::now(), 0);
        while began.elapsed() < time {
            answers += askers.iter_mut().map(Asker::turn).sum::<usize>();
        }
        (answers as f64, began.elapsed().as_secs_f64())
    };
    run(Duration::from_millis(300));
    let mut best = f64::MAX;
    let mut line = String::new();
    for _ in 0..5 {
        let before = cpu(&thread);
        let (answers, seconds) = run(Duration::from_secs(1));
        let after = cpu(&thread);
        let each = (after.0 - before.0) as f64 / 1e3 / answers;
        if each < best {
            best = each;
            let user = (after.1 - before.1) as f64 / ((after.1 - before.1) + (after.2 - before.2)) as f64;
            line = format!(
                "{name}: {each:.2} us of server CPU a request ({:.0} % user), {:.0} requests/s",
                100.0 * user,
                answers / seconds
            );
        }
    }
    println!("{line}");
}

fn main() {
    for codec in [HeaderCodec::Json, HeaderCodec::Binary] {
        println!("header {codec:?}, request of {} bytes", request(codec).len());
        measure("  1 connection x 64 in flight", (1, 64), codec);
        measure("  64 connections x 1 in flight", (64, 1), codec);
        measure("  1 connection x 1 in flight", (1, 1), codec);
    }
}
