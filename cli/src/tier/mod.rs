//! `strata tier`: the cold tier of a running broker, and what lies in the bucket alone.
//!
//! Owns the commands' shape. `running` talks to brokers; `list`, `describe`, `verify` and `restore` read the bucket, for
//! which no broker has to run; `place` finds it.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::args::{ClusterArgs, OutputArgs};
use crate::exit::Outcome;

mod collect;
mod describe;
mod list;
mod place;
mod restore;
mod running;
mod verify;

pub(crate) use place::open_bucket;

/// The commands about the cold tier.
#[derive(Debug, Subcommand)]
pub(crate) enum TierCommand {
    /// Show what running brokers have in their cold tiers, what waits, and what troubles them
    #[command(after_help = "\
Examples:
  strata tier status
  strata tier status --broker broker-a --output json")]
    Status(RunningArgs),
    /// Roll what is sealed into the cold tier, and wait for it
    #[command(after_help = "\
Examples:
  strata tier roll --now                   everything that was sent so far
  strata tier roll                         what is sealed already
  strata tier roll --now --broker broker-a --output json

Brokers roll by themselves when a segment is full or old enough (tieredSealSeconds). A command that is
interrupted stops waiting; the broker goes on.")]
    Roll(RollArgs),
    /// List the rolls in a bucket: parts of the log, oldest first
    #[command(after_help = "\
Examples:
  strata tier ls                           the tier of strata start, ./data/cold
  strata tier ls --url s3://bucket/strata --broker broker-a
  strata tier ls -c broker.conf --output json

No broker needs to run. Credentials are those of the environment: AWS_…, GOOGLE_…, AZURE_….")]
    Ls(LsArgs),
    /// Show the queues of a topic as a bucket has them
    #[command(after_help = "\
Examples:
  strata tier describe orders
  strata tier describe orders --url s3://bucket/strata --output json")]
    Describe(DescribeArgs),
    /// Apply retention, merge small objects, and delete what nobody needs, now
    #[command(after_help = "\
Examples:
  strata tier gc --dry-run                 what would be deleted, and what waits for the end of its time
  strata tier gc
  strata tier gc --grace 60 --broker broker-a --output json

Brokers do this by themselves, each minute or hour. Deleted are objects that the tier's manifest has not listed
for the time of grace (tieredGraceSeconds, a day): expired ones, those that were merged into larger ones, and
what a broker left that was stopped while it rolled. A shorter --grace is for stores that no other program
reads at the moment.")]
    Gc(GcArgs),
    /// Read everything that a tier lists back from the bucket, and hold it against the manifest
    #[command(after_help = VERIFY_HELP)]
    Verify(VerifyArgs),
    /// Make a data folder from a bucket alone
    #[command(after_help = RESTORE_HELP)]
    Restore(RestoreArgs),
}

const VERIFY_HELP: &str = "\
Examples:
  strata tier verify                       every byte of the tier of strata start, ./data/cold
  strata tier verify --url s3://bucket/strata --broker broker-a
  strata tier verify --listed              only that each object is there with its size
  strata tier verify -c broker.conf --output json

No broker needs to run, and one may. Each message is decoded and looked for at the offset and the
place in the log that the indexes give it. That downloads the whole tier, which many stores charge
for; --listed is one request an object. Exit code 8 says that objects are damaged or missing.";

const RESTORE_HELP: &str = "\
Examples:
  strata tier restore --from s3://bucket/strata --data /var/lib/strata
  strata start --data /var/lib/strata --cold s3://bucket/strata

  strata tier restore --from s3://bucket/strata --broker broker-b --server broker --data /var/lib/strata
  strata broker --name broker-b --data /var/lib/strata --cold s3://bucket/strata

What was rolled is read out of the bucket; the log goes on behind it. Messages that were not rolled when the
disk was lost are lost. Topics, groups and offsets are those that the tier was told last, every five minutes
and at a broker's end. No message is downloaded, so that it takes seconds. See that the old broker does not
run any more: the new one takes the tier over when it starts.";

#[derive(Debug, Args)]
pub(crate) struct RunningArgs {
    /// Only this broker; may be repeated
    #[arg(long = "broker", value_name = "NAME")]
    brokers: Vec<String>,
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RollArgs {
    /// Seal the segments that are written to first, so that everything sent so far is rolled
    #[arg(long)]
    now: bool,
    #[command(flatten)]
    running: RunningArgs,
}

#[derive(Debug, Args)]
pub(crate) struct GcArgs {
    /// Change nothing; tell what would be deleted. What would expire or be merged is not told
    #[arg(long)]
    dry_run: bool,
    /// How long an object must have been needed by nobody [default: the broker's tieredGraceSeconds]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(i64).range(1..))]
    grace: Option<i64>,
    #[command(flatten)]
    running: RunningArgs,
}

/// Which tier in which bucket.
#[derive(Debug, Args)]
pub(crate) struct PlaceArgs {
    /// Where the tier is, as servers take it with --cold [default: that of strata start with the same -c and --data]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Name of the broker whose tier it is [default: that of -c, else broker-a]
    #[arg(long, value_name = "NAME")]
    broker: Option<String>,
    /// RocketMQ's broker.conf, for its tieredStoreUrl and brokerName
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The data folder of strata start [default: data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DescribeArgs {
    /// The topic
    topic: String,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// Only ask whether each object is there with its size; nothing is read
    #[arg(long)]
    listed: bool,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Whose data folder is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Server {
    /// The folder of strata start, with the broker's in it
    Start,
    /// The folder of strata broker
    Broker,
}

#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// Where the tier is, as servers take it with --cold
    #[arg(long, value_name = "URL")]
    from: String,
    /// Name of the broker whose tier it is [default: that of -c, else broker-a]
    #[arg(long, value_name = "NAME")]
    broker: Option<String>,
    /// The data folder to make
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Which server will run on it
    #[arg(long, value_enum, default_value_t = Server::Start)]
    server: Server,
    /// RocketMQ's broker.conf, for its brokerName and mappedFileSizeCommitLog
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

/// Runs a command about the cold tier.
pub(crate) async fn run(command: TierCommand) -> Outcome {
    match command {
        TierCommand::Status(args) => running::status(args).await,
        TierCommand::Roll(args) => running::roll(args).await,
        TierCommand::Gc(args) => collect::run(args).await,
        TierCommand::Ls(args) => list::run(args).await,
        TierCommand::Describe(args) => describe::run(args).await,
        TierCommand::Verify(args) => verify::run(args).await,
        TierCommand::Restore(args) => restore::run(args).await,
    }
}
