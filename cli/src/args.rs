//! What can be typed: commands, flags, and their help.
//!
//! Owns the shape of the command line. What a command does is in the file of its name.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::bench::BenchCommand;
use crate::consume::ConsumeArgs;
use crate::exit;
use crate::filter::FilterCommand;
use crate::group::GroupCommand;
use crate::produce::ProduceArgs;
use crate::replay::ReplayArgs;
#[cfg(feature = "sql")]
use crate::sql::SqlArgs;
use crate::store::StoreCommand;
use crate::tier::TierCommand;
use crate::topic::TopicCommand;
#[cfg(feature = "sql")]
use crate::trace::TraceArgs;

const EXAMPLES: &str = "\
Examples:
  strata start                                   a broker and its name server, data in ./data
  strata topic create orders --queues 8
  echo hello | strata produce orders --tag A
  strata consume orders -o first
  strata consume orders -o @-1h --tag 'A || B' --output json
  strata group describe billing
  strata replay --topic orders --from @-2h --where 'amount > 10' --to-group billing --dry-run
  strata filter explain 'amount > 10' --properties amount=12
  strata store check /var/lib/strata
  strata tier status
  strata sql 'SELECT topic, count(*) FROM messages GROUP BY topic'
  strata trace order-4711";

/// A message broker that Apache RocketMQ's clients use.
#[derive(Debug, Parser)]
#[command(name = "strata", version, after_help = format!("{EXAMPLES}\n\n{}", exit::HELP), max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a name server and a broker in one process
    Start(StartArgs),
    /// Run a name server
    Namesrv(NamesrvArgs),
    /// Run a broker
    Broker(BrokerArgs),
    /// List, create, change, describe and delete topics
    #[command(subcommand)]
    Topic(TopicCommand),
    /// List, create, describe and delete consumer groups
    #[command(subcommand)]
    Group(GroupCommand),
    /// Send messages to a topic
    Produce(ProduceArgs),
    /// Read messages of a topic
    Consume(ConsumeArgs),
    /// Send messages of a topic once more, to another topic or to one group
    Replay(Box<ReplayArgs>),
    /// Load a broker, measure it and verify what it answers
    #[command(subcommand)]
    Bench(BenchCommand),
    /// Tell what SQL filter expressions mean, and why a message is delivered or not
    #[command(subcommand)]
    Filter(FilterCommand),
    /// Check and repair the files of servers that do not run
    #[command(subcommand)]
    Store(StoreCommand),
    /// Look at the cold tier, roll into it, and make a data folder from it
    #[command(subcommand)]
    Tier(TierCommand),
    /// Ask for messages of both tiers in SQL
    #[cfg(feature = "sql")]
    Sql(SqlArgs),
    /// Tell the life of a message: sent, stored, consumed, sent back
    #[cfg(feature = "sql")]
    Trace(TraceArgs),
    /// Show the configuration that a server would start with, and where each value comes from
    Config(Box<ConfigArgs>),
}

/// Flags of `strata start`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  strata start
  strata start --data /var/lib/strata --host 192.168.1.20
  strata start --namesrv-port 0 --broker-port 0 --metrics-port 0    (free ports)
  strata start -c broker.conf
  AWS_REGION=eu-central-1 strata start --cold s3://bucket/strata
  strata start --cold none                       (no cold tier)

The broker also listens on its port - 2, where older clients send (with --broker-port 0: on any free
port). SIGTERM and SIGINT end it: requests under way are answered, the store is closed, the exit
code is 0.")]
pub(crate) struct StartArgs {
    /// Folder for all data; it is made when it is missing [default: data]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// IP address that clients are told [default: 127.0.0.1, for clients on this machine]
    #[arg(long, value_name = "IP")]
    pub(crate) host: Option<IpAddr>,
    /// IP address to listen on, with all ports [default: 0.0.0.0]
    #[arg(long, value_name = "IP")]
    pub(crate) listen: Option<IpAddr>,
    /// Port of the name server [default: 9876]; 0 takes a free one
    #[arg(long, value_name = "PORT")]
    pub(crate) namesrv_port: Option<u16>,
    /// Port of the broker [default: 10911]; 0 takes free ones
    #[arg(long, value_name = "PORT")]
    pub(crate) broker_port: Option<u16>,
    /// Port of /metrics, /healthz, /readyz and /rocketmq/nsaddr [default: 5557]; 0 takes a free one
    #[arg(long, value_name = "PORT")]
    pub(crate) metrics_port: Option<u16>,
    #[command(flatten)]
    pub(crate) sql: SqlFlags,
    /// Where sealed segments go before they are deleted: a folder, file:///folder, s3://bucket/prefix,
    /// gs://bucket/prefix, az://container/prefix, or none [default: cold/ in the data folder]
    #[arg(long, value_name = "URL")]
    pub(crate) cold: Option<String>,
    /// RocketMQ's broker.conf; flags win over it
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// Where `strata start` keeps its data by default.
pub(crate) const DEFAULT_DATA: &str = "data";

impl StartArgs {
    /// The port of the name server.
    pub(crate) fn namesrv_port(&self) -> u16 {
        self.namesrv_port.unwrap_or(9_876)
    }

    /// The folder of the name server.
    pub(crate) fn namesrv_data(&self) -> PathBuf {
        self.data.as_deref().unwrap_or(Path::new(DEFAULT_DATA)).join("namesrv")
    }
}

/// Flags of `strata namesrv`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  strata namesrv
  strata namesrv --port 9876 --data /var/lib/strata-namesrv -c namesrv.conf
  strata namesrv --nsaddr-port 8080 --nsaddr '10.0.0.1:9876;10.0.0.2:9876'")]
pub(crate) struct NamesrvArgs {
    /// Port [default: 9876]; 0 takes a free one
    #[arg(long, value_name = "PORT")]
    pub(crate) port: Option<u16>,
    /// IP address to listen on [default: 0.0.0.0]
    #[arg(long, value_name = "IP")]
    pub(crate) listen: Option<IpAddr>,
    /// Folder of the key-value configuration; it is made when it is missing [default: namesrv-data]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Port of /rocketmq/nsaddr, /healthz and /readyz; 0 takes a free one [default: none]
    #[arg(long, value_name = "PORT")]
    pub(crate) nsaddr_port: Option<u16>,
    /// Addresses that /rocketmq/nsaddr hands out [default: this name server on 127.0.0.1]
    #[arg(long, value_name = "H:P;H:P", requires = "nsaddr_port")]
    pub(crate) nsaddr: Option<String>,
    /// RocketMQ's namesrv.conf; flags win over it
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

impl NamesrvArgs {
    /// The folder of its data.
    pub(crate) fn data(&self) -> &Path {
        self.data.as_deref().unwrap_or(Path::new("namesrv-data"))
    }
}

/// Flags of `strata broker`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  strata broker --namesrv 10.0.0.1:9876 --host 10.0.0.5 --data /var/lib/strata
  strata broker --namesrv '10.0.0.1:9876;10.0.0.2:9876' --name broker-b
  strata broker -c /etc/rocketmq/broker.conf
  strata broker --cold s3://bucket/strata

The broker also listens on its port - 2, where older clients send (with --broker-port 0: on any free
port). SIGTERM and SIGINT end it: requests under way are answered, the store is closed, the exit
code is 0.")]
pub(crate) struct BrokerArgs {
    /// Name servers to register with [env: NAMESRV_ADDR] [default: 127.0.0.1:9876]
    #[arg(long, value_name = "H:P;H:P")]
    pub(crate) namesrv: Option<String>,
    /// Port [default: 10911]; 0 takes free ones
    #[arg(long, value_name = "PORT")]
    pub(crate) broker_port: Option<u16>,
    /// Name of the broker [default: broker-a]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Name of its cluster [default: DefaultCluster]
    #[arg(long, value_name = "NAME")]
    pub(crate) cluster: Option<String>,
    /// IP address that clients are told [default: 127.0.0.1, for clients on this machine]
    #[arg(long, value_name = "IP")]
    pub(crate) host: Option<IpAddr>,
    /// IP address to listen on, with all ports [default: 0.0.0.0]
    #[arg(long, value_name = "IP")]
    pub(crate) listen: Option<IpAddr>,
    /// Folder of the store; it is made when it is missing [default: data]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Port of /metrics, /healthz, /readyz and /rocketmq/nsaddr [default: 5557]; 0 takes a free one
    #[arg(long, value_name = "PORT")]
    pub(crate) metrics_port: Option<u16>,
    #[command(flatten)]
    pub(crate) sql: SqlFlags,
    /// Where sealed segments go before they are deleted: a folder, file:///folder, s3://bucket/prefix,
    /// gs://bucket/prefix, az://container/prefix, or none [default: none]
    #[arg(long, value_name = "URL")]
    pub(crate) cold: Option<String>,
    /// RocketMQ's broker.conf; flags win over it
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// What `env: NAMESRV_ADDR` gave; a variable of its own, so that a file can win over it.
    #[arg(long = "namesrv-from-environment", env = "NAMESRV_ADDR", hide = true)]
    pub(crate) namesrv_env: Option<String>,
}

/// Where a broker answers SQL.
#[derive(Debug, Default, Args)]
pub(crate) struct SqlFlags {
    /// Port of SQL over HTTP, see strata sql --help [default: the metrics port + 1]; 0 takes a free one
    #[arg(long, value_name = "PORT")]
    pub(crate) sql_port: Option<u16>,
    /// Port of SQL for psql and other clients of PostgreSQL [default: the metrics port + 2]; 0 takes a free one
    #[arg(long, value_name = "PORT")]
    pub(crate) postgres_port: Option<u16>,
    /// IP address for both; whoever reaches it reads all messages, without a password [default: 127.0.0.1]
    #[arg(long, value_name = "IP")]
    pub(crate) sql_listen: Option<IpAddr>,
}

/// Flags of `strata config`. Each server's own flags are taken, and no others.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  strata config -c broker.conf                   as strata broker would start
  strata config start -c broker.conf --data /var/lib/strata
  strata config broker --broker-port 20911 --output json
  strata config namesrv -c namesrv.conf

Without the name of a server it is that of strata broker."
)]
pub(crate) struct ConfigArgs {
    /// Which server
    #[command(subcommand)]
    pub(crate) server: Option<ShownServer>,
    #[command(flatten)]
    pub(crate) broker: ShownArgs<BrokerArgs>,
}

/// Which server's configuration is shown.
#[derive(Debug, Subcommand)]
pub(crate) enum ShownServer {
    /// That of strata start
    #[command(after_help = "Example:\n  strata config start -c broker.conf --data /var/lib/strata")]
    Start(ShownArgs<StartArgs>),
    /// That of strata namesrv
    #[command(after_help = "Example:\n  strata config namesrv -c namesrv.conf --output json")]
    Namesrv(ShownArgs<NamesrvArgs>),
    /// That of strata broker
    #[command(after_help = "Example:\n  strata config broker -c broker.conf --output json")]
    Broker(ShownArgs<BrokerArgs>),
}

/// A server's flags, and how what they mean is shown.
#[derive(Debug, Args)]
pub(crate) struct ShownArgs<A: Args> {
    #[command(flatten)]
    pub(crate) server: A,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Where `strata start` and `strata namesrv` listen by default.
pub(crate) const DEFAULT_NAMESRV: &str = "127.0.0.1:9876";

/// Where a running cluster is.
#[derive(Debug, Clone, Args)]
pub(crate) struct ClusterArgs {
    /// Name servers of the cluster; the first that answers is asked
    #[arg(long, value_name = "H:P;H:P", env = "NAMESRV_ADDR", hide_env_values = true, default_value = DEFAULT_NAMESRV)]
    pub(crate) namesrv: String,
    /// Seconds that a connection or an answer may take
    #[arg(long, value_name = "S", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub(crate) timeout: u64,
}

impl ClusterArgs {
    /// The addresses to try. A variable that is set to nothing counts as not set.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = &str> {
        let text = if self.namesrv.trim().is_empty() { DEFAULT_NAMESRV } else { &self.namesrv };
        text.split(';').map(str::trim).filter(|address| !address.is_empty())
    }

    pub(crate) fn patience(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}

/// How tables are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Table,
    /// For programs: one JSON document
    Json,
}

/// The choice of a table's form.
#[derive(Debug, Clone, Args)]
pub(crate) struct OutputArgs {
    /// How the result is written
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
}
