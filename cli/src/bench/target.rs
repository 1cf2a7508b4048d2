//! The broker that a run is about: where it is, its topics, and the offsets its queues are at.
//!
//! Owns all that happens before and after the run. It asks with `remoting`'s client; only the run itself has
//! connections of its own.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::time::Duration;

use clap::{Args, ValueEnum};
use strata_protocol::body::{ConsumerData, Heartbeat, SubscriptionData, TopicConfig, perm};
use strata_protocol::code::{ResponseCode, request};
use strata_protocol::command::Command;
use strata_protocol::frame::HeaderCodec;
use strata_protocol::hash::java_hash;
use strata_protocol::name::{self, AUTO_CREATE_TOPIC};
use strata_protocol::request::{CreateTopic, QueueOf, TopicOf};
use strata_remoting::Client;
use tokio::task::JoinSet;

use super::frames::TopicNames;
use super::wire::Wire;
use crate::args::ClusterArgs;
use crate::cluster::{Cluster, command, found, masters_of, success};
use crate::exit::{Exit, Failure, OrFail, Outcome};
use crate::limits::{BENCH_CREATIONS_MAX, BENCH_SETUP_REQUESTS_MAX};
use crate::time::now_ms;

/// Which broker, and how it is spoken to.
#[derive(Debug, Args)]
pub(crate) struct TargetArgs {
    /// The broker's address; without it, the name server is asked where the topic is
    #[arg(long, value_name = "HOST:PORT")]
    pub(super) broker: Option<String>,
    /// The broker's process on this machine, to measure its CPU
    #[arg(long, value_name = "PID")]
    pub(super) broker_pid: Option<u32>,
    /// How headers are written; JSON is what clients use by default
    #[arg(long, value_enum, default_value_t = Header::Json)]
    pub(super) header: Header,
    #[command(flatten)]
    pub(super) cluster: ClusterArgs,
}

/// How headers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Header {
    /// A JSON object
    Json,
    /// RocketMQ's binary form
    Rocketmq,
}

impl Header {
    /// The protocol's name of it.
    pub(super) fn codec(self) -> HeaderCodec {
        match self {
            Self::Json => HeaderCodec::Json,
            Self::Rocketmq => HeaderCodec::Binary,
        }
    }
}

/// Which topics a run uses.
#[derive(Debug, Args)]
pub(crate) struct TopicArgs {
    /// The topic
    #[arg(long, value_name = "NAME", default_value = "strata-bench")]
    pub(super) topic: String,
    /// Topics that the load is spread over; with more than one their names are NAME-00000, NAME-00001 and so on
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(super) topics: u32,
}

impl TopicArgs {
    /// The topics' names.
    pub(super) fn names(&self) -> Outcome<TopicNames> {
        let names = TopicNames::new(&self.topic, self.topics as usize);
        name::check_topic(&names.name(names.count() - 1)).or_fail(Exit::Usage)?;
        Ok(names)
    }
}

/// A broker that takes connections.
pub(super) struct Target {
    client: Client,
    pub(super) address: SocketAddr,
    pub(super) patience: Duration,
}

impl Target {
    /// Finds the broker that has `topic`, or, when nobody has it, the first that is registered.
    pub(super) async fn find(args: &TargetArgs, topic: &str) -> Outcome<Self> {
        let patience = args.cluster.patience();
        let text = match &args.broker {
            Some(address) => address.clone(),
            None => registered(&args.cluster, topic).await?,
        };
        Self::at(&text, patience).await
    }

    /// Connects to the server at `text`.
    pub(super) async fn at(text: &str, patience: Duration) -> Outcome<Self> {
        let client = Client::connect(text, patience).await.or_fail(Exit::Unreachable)?;
        let resolved = text.to_socket_addrs().or_fail_with(Exit::Unreachable, text)?.next();
        let address = resolved.ok_or_else(|| Failure::new(Exit::Unreachable, format!("{text} has no address")))?;
        Ok(Self { client, address, patience })
    }

    /// The same on a new connection: Apache's broker closes one that was silent for two minutes, as this is while a
    /// long run lasts.
    pub(super) async fn again(&self) -> Outcome<Self> {
        Self::at(&self.address.to_string(), self.patience).await
    }

    /// Connections for the run.
    pub(super) fn wires(&self, count: u32) -> Outcome<Vec<Wire>> {
        (0..count as usize).map(|place| Wire::connect(self.address, place, self.patience)).collect()
    }

    /// Asks many things, some at once; answers come in the order of the requests.
    async fn ask_all(&self, requests: impl Iterator<Item = Command>) -> Outcome<Vec<Command>> {
        let mut requests = requests.enumerate();
        let (mut answers, mut under_way) = (Vec::new(), JoinSet::new());
        loop {
            while under_way.len() < BENCH_SETUP_REQUESTS_MAX {
                let Some((at, request)) = requests.next() else { break };
                let (client, patience) = (self.client.clone(), self.patience);
                under_way.spawn(async move { (at, client.call(request, patience).await) });
            }
            let Some(joined) = under_way.join_next().await else { break };
            let (at, answer) = joined.or_fail(Exit::Failed)?;
            answers.push((at, answer.or_fail_with(Exit::Unreachable, self.address)?));
        }
        answers.sort_by_key(|(at, _)| *at);
        Ok(answers.into_iter().map(|(_, answer)| answer).collect())
    }

    fn who(&self) -> String {
        format!("the broker {}", self.address)
    }

    /// Shows `groups` to the broker with a subscription of the topics; gives its version. It lasts as long as the
    /// target's connection, and the broker forgets it after two minutes.
    pub(super) async fn subscribe(
        &self,
        groups: &[String],
        names: &TopicNames,
        (kind, text): (&str, &str),
    ) -> Outcome<i64> {
        let version = now_ms();
        // Clients send the hash codes as well, and RocketMQ's broker compares those alone.
        let tags: Vec<String> = match kind {
            "TAG" => text.split("||").map(|tag| tag.trim().to_owned()).collect(),
            _ => Vec::new(),
        };
        let subscription = |at| SubscriptionData {
            code_set: tags.iter().map(|tag| java_hash(tag)).collect(),
            tags_set: tags.clone(),
            topic: names.name(at),
            sub_string: text.to_owned(),
            expression_type: Some(kind.to_owned()),
            sub_version: version,
            ..SubscriptionData::default()
        };
        let subscriptions: Vec<_> = (0..names.count()).map(subscription).collect();
        let group = |group: &String| ConsumerData {
            group_name: group.clone(),
            consume_type: String::from("CONSUME_PASSIVELY"),
            message_model: String::from("CLUSTERING"),
            consume_from_where: String::from("CONSUME_FROM_FIRST_OFFSET"),
            subscription_data_set: subscriptions.clone(),
            ..ConsumerData::default()
        };
        let beat = Heartbeat {
            client_id: format!("strata-bench@{}", std::process::id()),
            consumer_data_set: groups.iter().map(group).collect(),
            ..Heartbeat::default()
        };
        let mut request = Command::request(request::HEART_BEAT);
        request.body = serde_json::to_vec(&beat).or_fail(Exit::Failed)?.into();
        let answer = self.client.call(request, self.patience).await.or_fail_with(Exit::Unreachable, self.address)?;
        success(answer, &self.who())?;
        Ok(version)
    }

    /// Queues that may be read of each topic; `None` for one that does not exist.
    pub(super) async fn queues_of(&self, names: &TopicNames) -> Outcome<Vec<Option<TopicConfig>>> {
        let ask = |at| command(request::GET_TOPIC_CONFIG, &TopicOf { topic: names.name(at) });
        let answers = self.ask_all((0..names.count()).map(ask)).await?;
        answers.into_iter().map(|answer| found(success(answer, &self.who()))).collect()
    }

    /// Creates those topics that are missing with `queues` queues; one that exists must have as many.
    pub(super) async fn provide(&self, names: &TopicNames, queues: u16) -> Outcome {
        let mut missing = Vec::new();
        for (at, config) in self.queues_of(names).await?.into_iter().enumerate() {
            match config {
                None => missing.push(at),
                Some(config) if config.write_queue_nums >= i32::from(queues) => {}
                Some(config) => {
                    let (name, has) = (names.name(at), config.write_queue_nums);
                    let message = format!("the topic {name} has {has} queues; give --queues {has}, or another --topic");
                    return Err(Failure::new(Exit::Usage, message));
                }
            }
        }
        let create = |at| {
            let header = CreateTopic {
                topic: names.name(at),
                default_topic: Some(AUTO_CREATE_TOPIC.to_owned()),
                read_queues: queues.into(),
                write_queues: queues.into(),
                perm: perm::READ | perm::WRITE,
                filter_type: Some(String::from("SINGLE_TAG")),
                sys_flag: Some(0),
                order: Some(false),
                attributes: None,
            };
            command(request::UPDATE_AND_CREATE_TOPIC, &header)
        };
        // Each writes the broker's settings, and brokers refuse more of that at once than they bear.
        for part in missing.chunks(BENCH_CREATIONS_MAX) {
            for answer in self.ask_all(part.iter().copied().map(create)).await? {
                success(answer, &self.who())?;
            }
        }
        Ok(())
    }

    /// The offsets that `code` asks for (30 the next, 31 the first), of queues by topic and number.
    pub(super) async fn offsets(
        &self,
        code: i32,
        names: &TopicNames,
        queues: impl Iterator<Item = (usize, u16)>,
    ) -> Outcome<Vec<i64>> {
        let ask =
            |(topic, queue): (usize, u16)| command(code, &QueueOf { topic: names.name(topic), queue_id: queue.into() });
        let answers = self.ask_all(queues.map(ask)).await?;
        let offset = |answer: Command| {
            let answer = success(answer, &self.who())?;
            let text = answer.fields.value("offset").and_then(|text| text.parse().ok());
            text.ok_or_else(|| Failure::new(Exit::Failed, format!("{} told no offset", self.who())))
        };
        answers.into_iter().map(offset).collect()
    }
}

/// The address of the broker that has `topic`, from the name server.
async fn registered(args: &ClusterArgs, topic: &str) -> Outcome<String> {
    let cluster = Cluster::connect(args).await?;
    let holders = cluster.try_route(topic).await?.map(masters_of).unwrap_or_default();
    let mut masters: Vec<_> = holders.into_iter().map(|(master, _)| master).collect();
    if masters.is_empty() {
        masters = cluster.masters().await?;
    }
    let master = masters.swap_remove(0);
    if !masters.is_empty() {
        tracing::warn!(broker = master.name, "there are several brokers; this one is measured, --broker names another");
    }
    Ok(master.address)
}

/// Whether a code says that a message is stored, if only not yet everywhere.
pub(super) fn is_stored(code: Option<ResponseCode>) -> bool {
    use ResponseCode::{FlushDiskTimeout, FlushSlaveTimeout, SlaveNotAvailable, Success};
    matches!(code, Some(Success | FlushDiskTimeout | FlushSlaveTimeout | SlaveNotAvailable))
}

/// A response code as people know it.
pub(super) fn code_name(code: i32) -> String {
    ResponseCode::of(code).map_or_else(|| code.to_string(), |known| format!("{known:?} ({code})"))
}
