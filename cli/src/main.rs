//! `strata`: the one binary. Reads flags, files and environment, builds the rooms, runs until told to stop.
//!
//! Owns the process: its runtime, its log and its exit code. Start at [`args`] for what can be typed, and at
//! the file of a command's name for what it does.
#![forbid(unsafe_code)]

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

mod args;
mod bench;
mod cluster;
mod config;
mod consume;
mod exit;
mod filter;
mod group;
mod limits;
mod output;
mod produce;
mod reading;
mod replay;
mod serve;
mod show_config;
#[cfg(feature = "sql")]
mod sql;
mod store;
mod tier;
mod time;
mod topic;
#[cfg(feature = "sql")]
mod trace;

use args::{Cli, Command};
use exit::{Exit, OrFail, Outcome};
use limits::SHARED_QUEUE_TURNS;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // With standard error closed there is nobody to tell; the code still tells it.
            let _ = writeln!(std::io::stderr(), "error: {failure}");
            ExitCode::from(failure.exit as u8)
        }
    }
}

fn run(command: Command) -> Outcome {
    log_to_stderr(matches!(command, Command::Start(_) | Command::Namesrv(_) | Command::Broker(_)));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .global_queue_interval(SHARED_QUEUE_TURNS)
        .enable_all()
        .build()
        .or_fail_with(Exit::Failed, "the runtime cannot start")?;
    let result = runtime.block_on(async {
        match command {
            Command::Start(args) => serve::start(args).await,
            Command::Namesrv(args) => serve::namesrv(args).await,
            Command::Broker(args) => serve::broker(args).await,
            Command::Topic(command) => topic::run(command).await,
            Command::Group(command) => group::run(command).await,
            Command::Produce(args) => produce::run(args).await,
            Command::Consume(args) => consume::run(args).await,
            Command::Replay(args) => replay::run(*args).await,
            Command::Bench(command) => bench::run(command).await,
            Command::Filter(command) => filter::run(command).await,
            Command::Store(command) => store::run(&command),
            Command::Tier(command) => tier::run(command).await,
            #[cfg(feature = "sql")]
            Command::Sql(args) => sql::run(args).await,
            #[cfg(feature = "sql")]
            Command::Trace(args) => trace::run(args).await,
            Command::Config(args) => show_config::run(&args),
        }
    });
    // A thread that still reads standard input, or a name that is still resolved, must not keep the process.
    runtime.shutdown_background();
    result
}

/// Servers tell what they do; commands tell what is wrong. `RUST_LOG` decides otherwise.
fn log_to_stderr(server: bool) {
    let default = if server { "info" } else { "warn" };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours);
    // Standard error may be a file on the disk that is full or failing: a line that cannot be written is lost, and
    // saying so there would end the thread that wanted to write it.
    log.log_internal_errors(false).init();
}
