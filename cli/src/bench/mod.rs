//! `strata bench`: loads a broker or a name server, measures it, and verifies what it answers.
//!
//! Owns the list of commands. Each runs in one thread, so that its cost is that of a core; [`sending`] and
//! [`reading`] judge answers, [`wire`] has the sockets, [`course`] the clock, [`report`] the result.

use clap::Subcommand;

mod body;
mod consume;
mod course;
mod digits;
mod disk;
mod floor;
mod frames;
mod latency;
mod meter;
mod offsets;
mod probe;
mod produce;
mod reading;
mod report;
mod route;
mod schedule;
mod sending;
mod target;
mod wire;

use crate::exit::Outcome;

/// The commands that measure.
#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Send messages, and verify every acknowledgement
    Produce(Box<produce::ProduceBenchArgs>),
    /// Read messages, and compare each with what was sent
    Consume(Box<consume::ConsumeBenchArgs>),
    /// Send at a fixed rate, and measure the time to acknowledgement and to delivery
    Latency(Box<latency::LatencyBenchArgs>),
    /// Ask a name server for routes
    Route(Box<route::RouteBenchArgs>),
    /// Show what this machine can do at most: sockets and disk without a broker
    Limits(probe::LimitsBenchArgs),
}

/// Runs a measuring command.
pub(crate) async fn run(command: BenchCommand) -> Outcome {
    match command {
        BenchCommand::Produce(args) => produce::run(*args).await,
        BenchCommand::Consume(args) => consume::run(*args).await,
        BenchCommand::Latency(args) => latency::run(*args).await,
        BenchCommand::Route(args) => route::run(*args).await,
        BenchCommand::Limits(args) => probe::run(&args),
    }
}
