//! `strata topic`: list, create, describe, update and delete topics.

use clap::{Args, Subcommand};
use serde::Serialize;
use strata_protocol::body::{TopicConfig, TopicList, TopicOffset, perm};
use strata_protocol::code::request as code;
use strata_protocol::command::Command;
use strata_protocol::name;
use strata_protocol::request::{CreateTopic, DeleteTopicInNamesrv, TopicOf};

use crate::args::{ClusterArgs, OutputArgs};
use crate::cluster::{Cluster, Master, command, document, found, masters_of, queue_of, queue_table, show_perm};
use crate::exit::{Exit, Failure, OrFail, Outcome};
use crate::limits::QUEUES_MAX;
use crate::output::{line, number, show, table, text};
use crate::time::{now_ms, show_ago};

/// The commands about topics.
#[derive(Debug, Subcommand)]
pub(crate) enum TopicCommand {
    /// List topics
    #[command(after_help = "Examples:\n  strata topic list\n  strata topic list --all --output json")]
    List(ListArgs),
    /// Create a topic on every broker, or on some
    #[command(
        after_help = "Examples:\n  strata topic create orders\n  strata topic create orders --queues 16 --attribute message.type=FIFO\n  strata topic create orders --broker broker-a --perm r"
    )]
    Create(CreateArgs),
    /// Change a topic; what is not given stays
    #[command(
        after_help = "Examples:\n  strata topic update orders --queues 32\n  strata topic update orders --perm r"
    )]
    Update(CreateArgs),
    /// Show a topic's queues, offsets and brokers
    #[command(after_help = "Example:\n  strata topic describe orders --output json")]
    Describe(NameArgs),
    /// Delete a topic and its messages
    #[command(after_help = "Example:\n  strata topic delete orders")]
    Delete(DeleteArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Also topics of the system, retry topics and dead letters
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// The topic
    topic: String,
    /// Queues on each broker [default when created: 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=i64::from(QUEUES_MAX)))]
    queues: Option<i32>,
    /// What clients may do: r, w or rw [default when created: rw]
    #[arg(long, value_parser = parse_perm)]
    perm: Option<i32>,
    /// An attribute such as message.type=FIFO; may be repeated
    #[arg(long = "attribute", value_name = "K=V", value_parser = parse_attribute)]
    attributes: Vec<String>,
    /// Only on this broker; may be repeated
    #[arg(long = "broker", value_name = "NAME")]
    brokers: Vec<String>,
    #[command(flatten)]
    cluster: ClusterArgs,
}

#[derive(Debug, Args)]
pub(crate) struct NameArgs {
    /// The topic
    topic: String,
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// The topic
    topic: String,
    #[command(flatten)]
    cluster: ClusterArgs,
}

fn parse_perm(text: &str) -> Result<i32, String> {
    match text {
        "r" => Ok(perm::READ),
        "w" => Ok(perm::WRITE),
        "rw" => Ok(perm::READ | perm::WRITE),
        _ => Err(String::from("allowed are r, w and rw")),
    }
}

/// Servers read attributes as `+key=value,+key=value`.
fn parse_attribute(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() && !key.starts_with(['+', '-']) && !value.contains(',') => {
            Ok(format!("+{text}"))
        }
        Some(_) | None => Err(String::from("an attribute is key=value, without commas")),
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct TopicRow {
    topic: String,
    brokers: usize,
    read_queues: i32,
    write_queues: i32,
    perm: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct QueueRow {
    queue: String,
    broker: String,
    queue_id: i32,
    min_offset: i64,
    max_offset: i64,
    messages: i64,
    last_stored_ms: i64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct BrokerRow {
    broker: String,
    cluster: String,
    address: String,
    read_queues: i32,
    write_queues: i32,
    perm: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Description {
    topic: String,
    messages: i64,
    attributes: std::collections::BTreeMap<String, String>,
    brokers: Vec<BrokerRow>,
    queues: Vec<QueueRow>,
}

/// Runs a command about topics.
pub(crate) async fn run(command: TopicCommand) -> Outcome {
    match command {
        TopicCommand::List(args) => list(args).await,
        TopicCommand::Create(args) => create(args).await,
        TopicCommand::Update(args) => update(args).await,
        TopicCommand::Describe(args) => describe(args).await,
        TopicCommand::Delete(args) => delete(args).await,
    }
}

async fn list(args: ListArgs) -> Outcome {
    let cluster = Cluster::connect(&args.cluster).await?;
    let asked = cluster.ask_namesrv(Command::request(code::GET_ALL_TOPIC_LIST_FROM_NAMESERVER)).await?;
    let topics: TopicList = document(&asked)?;
    let system: TopicList =
        document(&cluster.ask_namesrv(Command::request(code::GET_SYSTEM_TOPIC_LIST_FROM_NS)).await?)?;
    let is_system = |topic: &str| {
        name::is_system_topic(topic)
            || name::is_retry(topic)
            || name::is_dlq(topic)
            || topic == name::OFFSET_MOVED_EVENT
            || topic.ends_with("_REPLY_TOPIC")
            || system.topic_list.iter().any(|system| system == topic)
    };
    let mut rows = Vec::new();
    for topic in topics.topic_list {
        if !args.all && is_system(&topic) {
            continue;
        }
        // A topic that went between the two questions is not listed.
        let Some(route) = cluster.try_route(&topic).await? else { continue };
        let queues = &route.queue_datas;
        rows.push(TopicRow {
            topic,
            brokers: queues.len(),
            read_queues: queues.iter().map(|queues| queues.read_queue_nums).sum(),
            write_queues: queues.iter().map(|queues| queues.write_queue_nums).sum(),
            perm: show_perm(queues.iter().fold(0, |bits, queues| bits | queues.perm)),
        });
    }
    show(&args.output, &rows, |rows| {
        let columns = [text("TOPIC"), number("BROKERS"), number("READ QUEUES"), number("WRITE QUEUES"), text("PERM")];
        let cells = |row: &TopicRow| {
            let TopicRow { topic, brokers, read_queues, write_queues, perm } = row;
            [topic.clone(), brokers.to_string(), read_queues.to_string(), write_queues.to_string(), perm.clone()]
        };
        table(&columns, rows.iter().map(cells))
    })
}

async fn create(args: CreateArgs) -> Outcome {
    name::check_topic(&args.topic).or_fail(Exit::Usage)?;
    let mut cluster = Cluster::connect(&args.cluster).await?;
    let masters = chosen(cluster.masters().await?, &args.brokers)?;
    let mut holders = Vec::new();
    for master in &masters {
        if config(&mut cluster, master, &args.topic).await?.is_some() {
            holders.push(master.name.as_str());
        }
    }
    if !holders.is_empty() {
        let message = format!(
            "there is a topic {} on {} already; change it with: strata topic update {}",
            args.topic,
            holders.join(", "),
            args.topic
        );
        return Err(Failure::new(Exit::Refused, message));
    }
    let queues = args.queues.unwrap_or(8);
    let config =
        TopicConfig { perm: args.perm.unwrap_or(perm::READ | perm::WRITE), ..TopicConfig::new(&args.topic, queues) };
    for master in &masters {
        put(&mut cluster, master, &config, &args.attributes).await?;
    }
    let names: Vec<&str> = masters.iter().map(|master| master.name.as_str()).collect();
    line(format!("created topic {} with {queues} queues on {}", args.topic, names.join(", ")))
}

async fn update(args: CreateArgs) -> Outcome {
    let mut cluster = Cluster::connect(&args.cluster).await?;
    let holders: Vec<Master> =
        masters_of(cluster.route(&args.topic).await?).into_iter().map(|(master, _)| master).collect();
    for master in &chosen(holders, &args.brokers)? {
        let Some(mut config) = config(&mut cluster, master, &args.topic).await? else { continue };
        if let Some(queues) = args.queues {
            (config.read_queue_nums, config.write_queue_nums) = (queues, queues);
        }
        config.perm = args.perm.unwrap_or(config.perm);
        put(&mut cluster, master, &config, &args.attributes).await?;
        let (queues, perm) = (config.write_queue_nums, show_perm(config.perm));
        line(format!("changed topic {} on {}: {queues} queues, {perm}", args.topic, master.name))?;
    }
    Ok(())
}

fn chosen(masters: Vec<Master>, names: &[String]) -> Outcome<Vec<Master>> {
    if let Some(unknown) = names.iter().find(|name| !masters.iter().any(|master| master.name == **name)) {
        let known: Vec<&str> = masters.iter().map(|master| master.name.as_str()).collect();
        let message = format!("there is no broker {unknown} here; there are: {}", known.join(", "));
        return Err(Failure::new(Exit::NotFound, message));
    }
    Ok(masters.into_iter().filter(|master| names.is_empty() || names.contains(&master.name)).collect())
}

/// Creates a topic on one broker, or changes it there.
pub(crate) async fn put(
    cluster: &mut Cluster,
    master: &Master,
    config: &TopicConfig,
    attributes: &[String],
) -> Outcome {
    let header = CreateTopic {
        topic: config.topic_name.clone(),
        default_topic: Some(String::from(name::AUTO_CREATE_TOPIC)),
        read_queues: config.read_queue_nums,
        write_queues: config.write_queue_nums,
        perm: config.perm,
        filter_type: Some(config.topic_filter_type.clone()),
        sys_flag: Some(config.topic_sys_flag),
        order: Some(config.order),
        attributes: (!attributes.is_empty()).then(|| attributes.join(",")),
    };
    cluster.ask(master, command(code::UPDATE_AND_CREATE_TOPIC, &header)).await.map(|_| ())
}

/// A topic as one broker has it.
pub(crate) async fn config(cluster: &mut Cluster, master: &Master, topic: &str) -> Outcome<Option<TopicConfig>> {
    let header = TopicOf { topic: topic.to_owned() };
    found(cluster.ask(master, command(code::GET_TOPIC_CONFIG, &header)).await)
}

async fn describe(args: NameArgs) -> Outcome {
    let mut cluster = Cluster::connect(&args.cluster).await?;
    let holders = masters_of(cluster.route(&args.topic).await?);
    let mut description = Description {
        topic: args.topic.clone(),
        messages: 0,
        attributes: std::collections::BTreeMap::new(),
        brokers: Vec::new(),
        queues: Vec::new(),
    };
    for (master, queues) in holders {
        if let Some(config) = config(&mut cluster, &master, &args.topic).await? {
            description.attributes.extend(config.attributes);
        }
        let header = TopicOf { topic: args.topic.clone() };
        let offsets =
            queue_table::<TopicOffset>(&cluster.ask(&master, command(code::GET_TOPIC_STATS_INFO, &header)).await?)?;
        description.queues.extend(offsets.into_iter().map(|(queue, offset)| QueueRow {
            queue: queue_of(&queue),
            broker: queue.broker_name,
            queue_id: queue.queue_id,
            min_offset: offset.min_offset,
            max_offset: offset.max_offset,
            messages: offset.max_offset - offset.min_offset,
            last_stored_ms: offset.last_update_timestamp,
        }));
        description.brokers.push(BrokerRow {
            broker: master.name,
            cluster: master.cluster,
            address: master.address,
            read_queues: queues.read_queue_nums,
            write_queues: queues.write_queue_nums,
            perm: show_perm(queues.perm),
        });
    }
    description.messages = description.queues.iter().map(|queue| queue.messages).sum();
    show(&args.output, &description, description_text)
}

fn description_text(description: &Description) -> String {
    let now = now_ms();
    let attributes: Vec<String> = description.attributes.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let attributes = if attributes.is_empty() { String::from("none") } else { attributes.join(", ") };
    let brokers = description.brokers.iter().map(|row| {
        let BrokerRow { broker, cluster, address, read_queues, write_queues, perm } = row;
        [
            broker.clone(),
            cluster.clone(),
            address.clone(),
            read_queues.to_string(),
            write_queues.to_string(),
            perm.clone(),
        ]
    });
    let broker_columns =
        [text("BROKER"), text("CLUSTER"), text("ADDRESS"), number("READ QUEUES"), number("WRITE QUEUES"), text("PERM")];
    let queues = description.queues.iter().map(|row| {
        let last = show_ago(row.last_stored_ms, now);
        [row.queue.clone(), row.min_offset.to_string(), row.max_offset.to_string(), row.messages.to_string(), last]
    });
    let queue_columns =
        [text("QUEUE"), number("MIN OFFSET"), number("MAX OFFSET"), number("MESSAGES"), text("LAST STORED")];
    format!(
        "topic       {}\nmessages    {}\nattributes  {attributes}\n\n{}\n\n{}",
        description.topic,
        description.messages,
        table(&broker_columns, brokers),
        table(&queue_columns, queues)
    )
}

async fn delete(args: DeleteArgs) -> Outcome {
    let mut cluster = Cluster::connect(&args.cluster).await?;
    let holders = masters_of(cluster.route(&args.topic).await?);
    for (master, _) in &holders {
        let header = TopicOf { topic: args.topic.clone() };
        cluster.ask(master, command(code::DELETE_TOPIC_IN_BROKER, &header)).await?;
    }
    let header = DeleteTopicInNamesrv { topic: args.topic.clone(), cluster: None };
    cluster.ask_namesrv(command(code::DELETE_TOPIC_IN_NAMESRV, &header)).await?;
    let names: Vec<&str> = holders.iter().map(|(master, _)| master.name.as_str()).collect();
    line(format!("deleted topic {} on {}", args.topic, names.join(", ")))
}
