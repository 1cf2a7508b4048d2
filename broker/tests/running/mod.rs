//! A broker that tests start, and what they say to it over a real socket.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use strata_broker::{Broker, BrokerOptions};
use strata_protocol::code::request;
use strata_protocol::command::Command;
use strata_protocol::properties;
use strata_protocol::record::records;
use strata_protocol::request::{Header, Pull, Send, pull_flag};
use strata_remoting::{Client, Server, ServerOptions};
use strata_store::SystemClock;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub const TIMEOUT: Duration = Duration::from_secs(10);

/// A broker that runs until it is stopped, and a client of it.
pub struct Running {
    pub broker: Arc<Broker>,
    pub client: Client,
    pub stop: std::sync::Mutex<Option<oneshot::Sender<()>>>,
    ended: JoinHandle<()>,
}

impl Running {
    pub async fn start(folder: &Path, change: impl FnOnce(&mut BrokerOptions)) -> Self {
        let local = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        let server = Server::bind(local, ServerOptions::default()).await.unwrap();
        let address = server.local_addr();
        let mut options = BrokerOptions { data: folder.to_owned(), ..BrokerOptions::default() };
        options.identity.port = address.port();
        options.store.segment_bytes = 1 << 20;
        options.store.disk_used_percent_max = 99;
        change(&mut options);
        let broker = Broker::open(options, Arc::new(SystemClock::new()), None).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = Arc::clone(&broker).serve(server, None, async move { drop(stopped.await) });
        let ended = tokio::spawn(async move { serving.await.unwrap() });
        let client = Client::connect(&address.to_string(), TIMEOUT).await.unwrap();
        let stop = std::sync::Mutex::new(Some(stop));
        Self { broker, client, stop, ended }
    }

    /// Waits until so many pulls are held.
    pub async fn held(&self, pulls: u64) {
        let is_so = || self.figure("strata_parked_pulls", "") == Some(pulls);
        eventually(&format!("{pulls} pulls are held"), is_so).await;
    }

    /// The first figure of a name whose labels hold a text.
    pub fn figure(&self, name: &str, labels: &str) -> Option<u64> {
        let text = self.broker.metrics_text();
        let line = text.lines().find(|line| line.starts_with(&format!("{name}{{")) && line.contains(labels))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    pub async fn stop(self) {
        drop(self.stop);
        self.ended.await.unwrap();
    }

    pub async fn call(&self, command: Command) -> Command {
        self.client.call(command, TIMEOUT).await.unwrap()
    }

    pub async fn ask(&self, code: i32, header: &impl Header) -> Command {
        let mut command = Command::request(code);
        header.encode(&mut command.fields);
        self.call(command).await
    }

    /// Sends one message; gives the whole answer.
    pub async fn send(&self, topic: &str, body: &[u8], text: &str) -> Command {
        self.call(send_command(topic, body, text)).await
    }

    pub async fn pull(&self, group: &str, topic: &str, offset: i64, (expression, hold_ms): (&str, i64)) -> Command {
        let header = Pull {
            group: group.into(),
            topic: topic.into(),
            queue_offset: offset,
            messages_max: 32,
            sys_flag: pull_flag::SUBSCRIPTION | if hold_ms > 0 { pull_flag::SUSPEND } else { 0 },
            suspend_timeout_ms: hold_ms,
            subscription: Some(expression.into()),
            ..Pull::default()
        };
        self.ask(request::PULL_MESSAGE, &header).await
    }
}

pub fn send_command(topic: &str, body: &[u8], text: &str) -> Command {
    let header = Send {
        producer_group: "p",
        topic,
        default_topic: "TBW102",
        default_topic_queues: 1,
        queue_id: 0,
        sys_flag: 0,
        born_timestamp: 1,
        flag: 0,
        properties: text,
        reconsume_times: 0,
        unit_mode: false,
        max_reconsume_times: None,
        batch: false,
    };
    let mut command = Command::request(request::SEND_MESSAGE_V2);
    header.encode(&mut command.fields);
    command.body = Bytes::copy_from_slice(body);
    command
}

pub fn field(answer: &Command, name: &str) -> i64 {
    answer.fields.value(name).unwrap_or_else(|| panic!("no {name} in {answer:?}")).parse().unwrap()
}

pub fn bodies(answer: &Command) -> Vec<String> {
    records(&answer.body).map(|record| String::from_utf8(record.unwrap().body().to_vec()).unwrap()).collect()
}

pub fn property(answer: &Command, name: &str) -> Option<String> {
    let record = records(&answer.body).next()?.unwrap();
    properties::find_str(record.properties(), name).map(str::to_owned)
}

/// Waits until something is so; its name is told when it never is.
pub async fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + TIMEOUT;
    while !is_so() {
        assert!(tokio::time::Instant::now() < deadline, "it never came about that {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
