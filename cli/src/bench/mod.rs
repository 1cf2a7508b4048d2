//! `strata bench`: loads a broker or a name server, measures it, and verifies what it answers.
//!
//! Owns the list of commands. Each runs in one thread, so that its cost is that of a core; [`sending`] and
//! [`reading`] judge answers, [`wire`] has the sockets, [`course`] the clock, [`report`] the result.

use clap::Subcommand;

mod body;
mod course;
mod digits;
mod frames;
mod meter;
mod offsets;
mod produce;
mod report;
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
}

/// Runs a measuring command.
pub(crate) async fn run(command: BenchCommand) -> Outcome {
    match command {
        BenchCommand::Produce(args) => produce::run(*args).await,
    }
}
