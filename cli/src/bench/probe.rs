//! `strata bench limits`: what this machine can do at most, to be read beside what a broker does.
//!
//! Owns the flags, the list of probes and their table. The probes are in `floor` and `disk`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::disk::{Scratch, Way};
use super::floor::{Cost, echo, writev};
use super::schedule::parse_seconds;
use crate::args::OutputArgs;
use crate::exit::Outcome;
use crate::output::{number, show, table, text};

/// Flags of `strata bench limits`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  strata bench limits
  strata bench limits --dir /var/lib/strata --duration 2 --output json

The disk's probes write a file of 64 MiB into --dir and remove it; without --dir they are left out.")]
pub(crate) struct LimitsBenchArgs {
    /// Seconds of each probe
    #[arg(long, value_name = "S", default_value = "1", value_parser = parse_seconds)]
    duration: Duration,
    /// Folder on the disk that is probed
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Core of the serving thread, whose CPU counts
    #[arg(long, value_name = "N", default_value_t = 0)]
    server_core: usize,
    /// Core of the asking thread
    #[arg(long, value_name = "N", default_value_t = 1)]
    asker_core: usize,
    #[command(flatten)]
    output: OutputArgs,
}

/// One figure of the machine.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Limit {
    name: String,
    /// Messages or writes a second.
    per_second: f64,
    /// CPU of the serving side, us a message.
    cpu_us: Option<f64>,
    /// The middle of the durations, us.
    median_us: Option<f64>,
}

/// Runs the command.
pub(super) fn run(args: &LimitsBenchArgs) -> Outcome {
    let cores = (args.server_core, args.asker_core);
    let mut limits = Vec::new();
    for (name, connections, in_flight) in [("echo-1x64", 1, 64), ("echo-64x1", 64, 1)] {
        limits.push(moved(name, echo(cores, connections, in_flight, args.duration)?));
    }
    // Stored records of bodies of 1 KiB with properties and of 100 bytes without.
    for (name, bytes) in [("writev-1k", 1_300), ("writev-100", 200)] {
        limits.push(moved(name, writev(cores, bytes, args.duration)?));
    }
    if let Some(folder) = &args.dir {
        let scratch = Scratch::new(folder)?;
        for (way, name) in [(Way::Synced, "fdatasync"), (Way::Direct, "direct")] {
            for kib in [4, 16, 64, 256] {
                let found = scratch.write(way, kib * 1024, args.duration)?;
                let median_us = Some(found.median.as_secs_f64() * 1e6);
                limits.push(Limit {
                    name: format!("{name}-{kib}k"),
                    per_second: found.per_second,
                    cpu_us: None,
                    median_us,
                });
            }
        }
    }
    show(&args.output, &limits, |limits| {
        let columns = [text("LIMIT"), number("A SECOND"), number("CPU, us"), number("MEDIAN, us")];
        let shown =
            |figure: Option<f64>, digits: usize| figure.map_or(String::new(), |figure| format!("{figure:.digits$}"));
        let row = |limit: &Limit| {
            [limit.name.clone(), format!("{:.0}", limit.per_second), shown(limit.cpu_us, 2), shown(limit.median_us, 0)]
        };
        table(&columns, limits.iter().map(row))
    })
}

fn moved(name: &str, cost: Cost) -> Limit {
    let Cost { messages, seconds, cpu_seconds } = cost;
    let cpu_us = Some(cpu_seconds / messages.max(1) as f64 * 1e6);
    Limit { name: name.to_owned(), per_second: messages as f64 / seconds, cpu_us, median_us: None }
}
