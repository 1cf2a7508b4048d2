//! Prints what a route look-up costs: `cargo run --release -p strata-namesrv --example route_cost`.
//!
//! Owns one case: 10,000 topics on 4 brokers, one connection with 64 look-ups in flight, both route forms.
//! The server has a runtime thread of its own, and only that thread's time is counted.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measuring program for people, not a service")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::time::Duration;

use bytes::BytesMut;
use strata_namesrv::{Namesrv, NamesrvOptions};
use strata_protocol::body::{RegisterBody, TopicConfig};
use strata_protocol::code::request as code;
use strata_protocol::command::Command;
use strata_protocol::frame::{self, Check};
use strata_remoting::{Client, Server, ServerOptions};
use tokio::time::Instant;

const TOPICS: usize = 10_000;
const IN_FLIGHT: usize = 64;

/// Starts the server on a thread; gives its address and the thread's place in `/proc`.
fn serve() -> (SocketAddr, String) {
    let (told, tell) = mpsc::channel();
    std::thread::spawn(move || {
        let thread = std::fs::read_link("/proc/thread-self").unwrap().to_str().unwrap().to_owned();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let server = Server::bind("127.0.0.1:0".parse().unwrap(), ServerOptions::default()).await.unwrap();
            told.send((server.local_addr(), thread)).unwrap();
            Namesrv::open(NamesrvOptions::default()).unwrap().serve(server, std::future::pending()).await;
        });
    });
    tell.recv().unwrap()
}

fn topic(number: usize) -> String {
    format!("orders-of-region-{number}")
}

async fn register(address: SocketAddr) -> Vec<Client> {
    let mut body = RegisterBody::default();
    for number in 0..TOPICS {
        body.topic_config_serialize_wrapper
            .topic_config_table
            .insert(topic(number), TopicConfig::new(topic(number), 8));
    }
    let mut brokers = Vec::new();
    for number in 0..4 {
        let client = Client::connect(&address.to_string(), Duration::from_secs(5)).await.unwrap();
        let mut request = Command::request(code::REGISTER_BROKER);
        let (name, own) = (format!("broker-{number}"), format!("10.0.0.{number}:10911"));
        for (key, value) in
            [("brokerName", name.as_str()), ("brokerAddr", &own), ("clusterName", "c"), ("brokerId", "0")]
        {
            request.fields.push(key, value);
        }
        request.body = body.encode().into();
        let began = Instant::now();
        let answer = client.call(request, Duration::from_secs(30)).await.unwrap();
        assert_eq!(answer.code, 0);
        println!("registration of {TOPICS} topics: {:?}", began.elapsed());
        brokers.push(client);
    }
    brokers
}

/// Nanoseconds that a thread of this process has been on a core.
fn cpu(thread: &str) -> u64 {
    let schedstat = std::fs::read_to_string(format!("/proc/{thread}/schedstat")).unwrap();
    schedstat.split(' ').next().unwrap().parse().unwrap()
}

/// Frames of `IN_FLIGHT` look-ups of as many topics, from the `burst`th on.
fn burst(version: i32, burst: usize) -> Vec<u8> {
    let mut out = BytesMut::new();
    for at in 0..IN_FLIGHT {
        let mut request = Command::request(code::GET_ROUTEINFO_BY_TOPIC);
        request.version = version;
        request.fields.push("topic", &topic((burst * IN_FLIGHT + at) % TOPICS));
        request.encode(&mut out);
    }
    out.to_vec()
}

fn measure(name: &str, version: i32, (address, thread): (SocketAddr, &str)) {
    let bursts: Vec<Vec<u8>> = (0..TOPICS / IN_FLIGHT).map(|number| burst(version, number)).collect();
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_nodelay(true).unwrap();
    let (mut read, mut piece) = (BytesMut::new(), vec![0; 256 * 1024]);
    let mut round = |bursts: &[Vec<u8>]| {
        let mut bytes_read = 0;
        for burst in bursts {
            socket.write_all(burst).unwrap();
            let mut answers = 0;
            while answers < IN_FLIGHT {
                let bytes = socket.read(&mut piece).unwrap();
                bytes_read += bytes;
                read.extend_from_slice(&piece[..bytes]);
                while let Check::Complete { bytes } = frame::check(&read).unwrap() {
                    let _ = read.split_to(bytes);
                    answers += 1;
                }
            }
        }
        bytes_read
    };
    round(&bursts);
    let mut best = f64::MAX;
    let mut bytes = 0;
    for _ in 0..10 {
        let before = cpu(thread);
        bytes = (0..10).map(|_| round(&bursts)).sum::<usize>();
        let lookups = (10 * bursts.len() * IN_FLIGHT) as f64;
        best = best.min((cpu(thread) - before) as f64 / 1e3 / lookups);
        bytes = (bytes as f64 / lookups) as usize;
    }
    println!("{name}: {best:.2} us of server CPU a look-up, {bytes} bytes an answer");
}

fn main() {
    let (address, thread) = serve();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // The brokers' connections must live: when one closes, its broker is forgotten.
    let brokers = runtime.block_on(register(address));
    measure("strict form", 479, (address, &thread));
    measure("legacy form", 317, (address, &thread));
    drop(brokers);
}
