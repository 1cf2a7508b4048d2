//! `strata group`: list, create, describe, update and delete consumer groups.

use std::collections::{BTreeMap, BTreeSet};

use clap::{Args, Subcommand};
use serde::Serialize;
use strata_filter::SQL92;
use strata_protocol::body::{ConsumeOffset, ConsumerConnections, GroupConfig, GroupTable};
use strata_protocol::code::request as code;
use strata_protocol::command::Command;
use strata_protocol::name;
use strata_protocol::request::{ConsumeStats, ConsumerGroupOf, DeleteGroup, GroupOf};

use crate::args::{ClusterArgs, OutputArgs};
use crate::cluster::{Cluster, Master, command, document, found, queue_of, queue_table};
use crate::exit::{Exit, Failure, OrFail, Outcome};
use crate::filter::DialectName;
use crate::limits::RETRIES_MAX;
use crate::output::{line, number, show, table, text};
use crate::time::show_ms;

/// The group's attribute that `--dialect` sets, as the broker knows it.
const DIALECT: &str = "filter.dialect";

/// The attribute with its value.
fn attribute(dialect: DialectName) -> (String, String) {
    (String::from(DIALECT), String::from(dialect.dialect().kind()))
}

/// The commands about consumer groups.
#[derive(Debug, Subcommand)]
pub(crate) enum GroupCommand {
    /// List consumer groups
    #[command(after_help = "Examples:\n  strata group list\n  strata group list --all --output json")]
    List(ListArgs),
    /// Create a consumer group on every broker
    #[command(
        after_help = "Examples:\n  strata group create billing\n  strata group create billing --retry-max 3 --orderly"
    )]
    Create(CreateArgs),
    /// Change a consumer group; what is not given stays
    #[command(
        after_help = "Examples:\n  strata group update billing --retry-max 3\n  strata group update billing --orderly false\n  strata group update billing --dialect strict"
    )]
    Update(UpdateArgs),
    /// Show a group's members, subscriptions and lag
    #[command(after_help = "Example:\n  strata group describe billing --output json")]
    Describe(NameArgs),
    /// Delete a group and its stored offsets
    #[command(after_help = "Example:\n  strata group delete billing")]
    Delete(DeleteArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Also groups of the system and of tools
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// The group
    group: String,
    /// Deliveries after the first before a message goes to the dead letters
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(i32).range(0..=RETRIES_MAX))]
    retry_max: i32,
    /// Marks the group as one that consumes in order
    #[arg(long)]
    orderly: bool,
    /// How its SQL92 expressions are read: as RocketMQ does, or as standard SQL
    #[arg(long, value_enum)]
    dialect: Option<DialectName>,
    #[command(flatten)]
    cluster: ClusterArgs,
}

#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
    /// The group
    group: String,
    /// Deliveries after the first before a message goes to the dead letters
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..=RETRIES_MAX))]
    retry_max: Option<i32>,
    /// Whether the group is marked as one that consumes in order
    #[arg(long)]
    orderly: Option<bool>,
    /// How its SQL92 expressions are read: as RocketMQ does, or as standard SQL
    #[arg(long, value_enum)]
    dialect: Option<DialectName>,
    #[command(flatten)]
    cluster: ClusterArgs,
}

#[derive(Debug, Args)]
pub(crate) struct NameArgs {
    /// The group
    group: String,
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// The group
    group: String,
    #[command(flatten)]
    cluster: ClusterArgs,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct GroupRow {
    group: String,
    members: usize,
    retry_max: i32,
    may_consume: bool,
    brokers: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct MemberRow {
    client_id: String,
    address: String,
    language: String,
    version: i32,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SubscriptionRow {
    topic: String,
    expression: String,
    expression_type: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct LagRow {
    topic: String,
    queue: String,
    broker: String,
    queue_id: i32,
    stored_offset: i64,
    max_offset: i64,
    lag: i64,
    last_consumed_ms: i64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Description {
    group: String,
    retry_max: i32,
    /// How SQL92 expressions are read.
    dialect: String,
    message_model: Option<String>,
    lag: i64,
    members: Vec<MemberRow>,
    subscriptions: Vec<SubscriptionRow>,
    queues: Vec<LagRow>,
}

/// Runs a command about groups.
pub(crate) async fn run(command: GroupCommand) -> Outcome {
    match command {
        GroupCommand::List(args) => list(args).await,
        GroupCommand::Create(args) => create(args).await,
        GroupCommand::Update(args) => update(args).await,
        GroupCommand::Describe(args) => describe(args).await,
        GroupCommand::Delete(args) => delete(args).await,
    }
}

async fn all_groups(cluster: &mut Cluster, master: &Master) -> Outcome<GroupTable> {
    document(&cluster.ask(master, Command::request(code::GET_ALL_SUBSCRIPTIONGROUP_CONFIG)).await?)
}

/// A group's connections at one broker; `None` when nobody is connected there.
pub(crate) async fn connections(
    cluster: &mut Cluster,
    master: &Master,
    group: &str,
) -> Outcome<Option<ConsumerConnections>> {
    let header = ConsumerGroupOf { group: group.to_owned() };
    found(cluster.ask(master, command(code::GET_CONSUMER_CONNECTION_LIST, &header)).await)
}

async fn list(args: ListArgs) -> Outcome {
    let mut cluster = Cluster::connect(&args.cluster).await?;
    let masters = cluster.masters().await?;
    let mut groups: BTreeMap<String, (GroupConfig, Vec<String>, BTreeSet<String>)> = BTreeMap::new();
    for master in &masters {
        for (group, config) in all_groups(&mut cluster, master).await?.subscription_group_table {
            if !args.all && name::is_system_group(&group) {
                continue;
            }
            let members = connections(&mut cluster, master, &group).await?;
            let entry = groups.entry(group).or_insert_with(|| (config, Vec::new(), BTreeSet::new()));
            entry.1.push(master.name.clone());
            entry.2.extend(members.into_iter().flat_map(|found| found.connection_set).map(|member| member.client_id));
        }
    }
    let row = |(group, (config, brokers, members)): (String, (GroupConfig, Vec<String>, BTreeSet<String>))| GroupRow {
        group,
        members: members.len(),
        retry_max: config.retry_max_times,
        may_consume: config.consume_enable,
        brokers,
    };
    let rows: Vec<GroupRow> = groups.into_iter().map(row).collect();
    show(&args.output, &rows, |rows| {
        let columns = [text("GROUP"), number("MEMBERS"), number("RETRIES"), text("MAY CONSUME"), text("BROKERS")];
        let cells = |row: &GroupRow| {
            let may = if row.may_consume { "yes" } else { "no" };
            [
                row.group.clone(),
                row.members.to_string(),
                row.retry_max.to_string(),
                may.to_owned(),
                row.brokers.join(","),
            ]
        };
        table(&columns, rows.iter().map(cells))
    })
}

async fn create(args: CreateArgs) -> Outcome {
    name::check_group(&args.group).or_fail(Exit::Usage)?;
    let mut cluster = Cluster::connect(&args.cluster).await?;
    let masters = cluster.masters().await?;
    let (mut holders, mut lacking, mut held) = (Vec::new(), Vec::new(), None);
    for master in masters {
        match config(&mut cluster, &master, &args.group).await? {
            Some(config) => {
                holders.push(master);
                held.get_or_insert(config);
            }
            None => lacking.push(master),
        }
    }
    if lacking.is_empty() {
        let (group, brokers) = (&args.group, names_of(&holders));
        let message =
            format!("there is a group {group} on {brokers} already; change it with: strata group update {group}");
        return Err(Failure::new(Exit::Refused, message));
    }
    let new = GroupConfig {
        retry_max_times: args.retry_max,
        consume_message_orderly: args.orderly,
        attributes: args.dialect.map(attribute).into_iter().collect(),
        ..GroupConfig::new(&args.group)
    };
    // A broker that came later gets the group as the others have it.
    let config = held.unwrap_or(new);
    for master in &lacking {
        put(&mut cluster, master, &config).await?;
    }
    let like = if holders.is_empty() { String::new() } else { format!(", as it is on {}", names_of(&holders)) };
    line(format!("created group {} on {}{like}", args.group, names_of(&lacking)))
}

async fn update(args: UpdateArgs) -> Outcome {
    let mut cluster = Cluster::connect(&args.cluster).await?;
    let mut holders = Vec::new();
    for master in cluster.masters().await? {
        // A broker that came later may not know the group yet; what the others know of it may differ by broker.
        let Some(mut config) = config(&mut cluster, &master, &args.group).await? else { continue };
        config.retry_max_times = args.retry_max.unwrap_or(config.retry_max_times);
        config.consume_message_orderly = args.orderly.unwrap_or(config.consume_message_orderly);
        config.attributes.extend(args.dialect.map(attribute));
        put(&mut cluster, &master, &config).await?;
        holders.push(master);
    }
    if holders.is_empty() {
        return Err(missing(&args.group));
    }
    line(format!("changed group {} on {}", args.group, names_of(&holders)))
}

async fn put(cluster: &mut Cluster, master: &Master, config: &GroupConfig) -> Outcome {
    let mut request = Command::request(code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP);
    request.body = serde_json::to_vec(config).or_fail(Exit::Failed)?.into();
    cluster.ask(master, request).await.map(|_| ())
}

/// A group as one broker has it.
pub(crate) async fn config(cluster: &mut Cluster, master: &Master, group: &str) -> Outcome<Option<GroupConfig>> {
    let header = GroupOf { group: group.to_owned() };
    found(cluster.ask(master, command(code::GET_SUBSCRIPTIONGROUP_CONFIG, &header)).await)
}

/// The failure of a command about a group that is not there.
pub(crate) fn missing(group: &str) -> Failure {
    Failure::new(Exit::NotFound, format!("there is no group {group}; list them with: strata group list"))
}

fn names_of(masters: &[Master]) -> String {
    masters.iter().map(|master| master.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// The brokers that know the group, and the group as the first of them has it.
async fn holders(cluster: &mut Cluster, group: &str) -> Outcome<(GroupConfig, Vec<Master>)> {
    let mut found: Option<(GroupConfig, Vec<Master>)> = None;
    for master in cluster.masters().await? {
        let Some(config) = config(cluster, &master, group).await? else { continue };
        found.get_or_insert_with(|| (config, Vec::new())).1.push(master);
    }
    found.ok_or_else(|| missing(group))
}

async fn describe(args: NameArgs) -> Outcome {
    let mut cluster = Cluster::connect(&args.cluster).await?;
    let (config, masters) = holders(&mut cluster, &args.group).await?;
    let mut members = BTreeMap::new();
    let mut subscriptions = BTreeMap::new();
    let mut queues = Vec::new();
    let mut message_model = None;
    for master in &masters {
        if let Some(found) = connections(&mut cluster, master, &args.group).await? {
            members.extend(found.connection_set.into_iter().map(|member| (member.client_id.clone(), member)));
            subscriptions.extend(found.subscription_table);
            message_model = Some(found.message_model);
        }
        let header = ConsumeStats { group: args.group.clone(), topic: None, topic_list: None };
        let answer = cluster.ask(master, command(code::GET_CONSUME_STATS, &header)).await?;
        queues.extend(queue_table::<ConsumeOffset>(&answer)?.into_iter().map(|(queue, offset)| LagRow {
            queue: queue_of(&queue),
            topic: queue.topic,
            broker: queue.broker_name,
            queue_id: queue.queue_id,
            stored_offset: offset.consumer_offset,
            max_offset: offset.broker_offset,
            lag: offset.broker_offset - offset.consumer_offset.max(0),
            last_consumed_ms: offset.last_timestamp,
        }));
    }
    let description = Description {
        group: args.group,
        retry_max: config.retry_max_times,
        dialect: config.attributes.get(DIALECT).cloned().unwrap_or_else(|| SQL92.to_owned()),
        message_model,
        lag: queues.iter().map(|queue| queue.lag).sum(),
        members: members
            .into_values()
            .map(|member| MemberRow {
                client_id: member.client_id,
                address: member.client_addr,
                language: member.language,
                version: member.version,
            })
            .collect(),
        subscriptions: subscriptions
            .into_iter()
            .map(|(topic, subscription)| SubscriptionRow {
                topic,
                expression: subscription.sub_string,
                expression_type: subscription.expression_type.unwrap_or_else(|| String::from("TAG")),
            })
            .collect(),
        queues,
    };
    show(&args.output, &description, description_text)
}

fn description_text(description: &Description) -> String {
    let members = description
        .members
        .iter()
        .map(|row| [row.client_id.clone(), row.address.clone(), row.language.clone(), row.version.to_string()]);
    let member_columns = [text("MEMBER"), text("ADDRESS"), text("LANGUAGE"), number("VERSION")];
    let subscriptions = description
        .subscriptions
        .iter()
        .map(|row| [row.topic.clone(), row.expression_type.clone(), row.expression.clone()]);
    let subscription_columns = [text("SUBSCRIBES"), text("BY"), text("EXPRESSION")];
    let queues = description.queues.iter().map(|row| {
        let (stored, max, lag) = (row.stored_offset.to_string(), row.max_offset.to_string(), row.lag.to_string());
        [row.topic.clone(), row.queue.clone(), stored, max, lag, show_ms(row.last_consumed_ms)]
    });
    let queue_columns =
        [text("TOPIC"), text("QUEUE"), number("STORED"), number("MAX OFFSET"), number("LAG"), text("LAST CONSUMED")];
    let section = |some: bool, drawn: String, none: &str| if some { drawn } else { String::from(none) };
    format!(
        "group    {}\nretries  {}\ndialect  {}\nmodel    {}\nlag      {}\n\n{}\n\n{}\n\n{}",
        description.group,
        description.retry_max,
        description.dialect,
        description.message_model.as_deref().unwrap_or("nobody is connected"),
        description.lag,
        section(!description.members.is_empty(), table(&member_columns, members), "no members"),
        section(!description.subscriptions.is_empty(), table(&subscription_columns, subscriptions), "no subscriptions"),
        section(!description.queues.is_empty(), table(&queue_columns, queues), "no stored offsets"),
    )
}

async fn delete(args: DeleteArgs) -> Outcome {
    let mut cluster = Cluster::connect(&args.cluster).await?;
    let (_, masters) = holders(&mut cluster, &args.group).await?;
    for master in &masters {
        let header = DeleteGroup { group: args.group.clone(), clean_offset: Some(true) };
        cluster.ask(master, command(code::DELETE_SUBSCRIPTIONGROUP, &header)).await?;
    }
    line(format!("deleted group {} on {}", args.group, names_of(&masters)))
}
