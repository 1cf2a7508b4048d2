//! Compares Strata with Apache RocketMQ on this machine: `tests/bench/compare`.
//!
//! Owns the order of the measurements: which servers run when, and which rows are measured on them. What a row
//! is, is in `rows`; the servers are in `servers`, the generator in `load`, the result in `table`.
#![forbid(unsafe_code)]
#![allow(
    missing_docs,
    unreachable_pub,
    reason = "a program of one crate; what its parts are for is said where they begin"
)]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};

mod load;
mod rows;
mod servers;
mod settings;
mod table;

use rows::{Bench, Limits};
use servers::{Kind, Server};
use settings::{Form, HELP, Settings};
use table::{Line, markdown};

/// Rows that share one pair of brokers with asynchronous flush, in the order in which they are measured.
const SHARED: [&str; 9] =
    ["produce-1x64", "produce-64x1", "pull-1k", "pull-100", "pull-groups", "filter", "latency", "topics", "route"];

/// What the names of data folders begin with; the process that uses one follows.
const FOLDER: &str = "compare-";

fn main() -> ExitCode {
    let settings = match Settings::read(std::env::args().skip(1)) {
        Ok(Some(settings)) => settings,
        Ok(None) => return say(HELP, ExitCode::SUCCESS),
        Err(wrong) => {
            note(&format!("error: {wrong:#}; --help lists the flags"));
            return ExitCode::from(2);
        }
    };
    match compare(&settings).and_then(|lines| shown(&settings, &lines)) {
        Ok(text) => say(&text, ExitCode::SUCCESS),
        Err(error) => {
            note(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn say(text: &str, code: ExitCode) -> ExitCode {
    // A reader that has gone wants no more.
    let _ = writeln!(std::io::stdout(), "{text}");
    code
}

/// Progress, on standard error.
fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn shown(settings: &Settings, lines: &[Line]) -> Result<String> {
    if settings.form == Form::Json {
        return serde_json::to_string_pretty(lines).context("the table cannot be written");
    }
    let legend = "Medians of windows, with the smallest and largest; ratios are the medians of ratios of paired windows. A \
                  window is disturbed when others took more than 10 % of the broker's core, or the hypervisor as much.";
    let quick =
        if settings.quick { " The quick form measures a cold Java machine, whose figures say little." } else { "" };
    Ok(format!("{}\n\n{legend}{quick}", markdown(lines)))
}

/// A folder that is removed with it.
struct Folder {
    path: PathBuf,
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Nothing more can be done about what is left than to leave it.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Removes what a comparison that was killed left behind: folders whose process has gone.
fn sweep(beside: &Path) {
    for entry in std::fs::read_dir(beside).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let process = name.strip_prefix(FOLDER).and_then(|id| id.parse::<u32>().ok());
        if process.is_some_and(|id| !Path::new(&format!("/proc/{id}")).exists()) {
            // It is only in the way of space.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

fn compare(settings: &Settings) -> Result<Vec<Line>> {
    let own = std::env::current_exe().context("no path of this program")?;
    let beside = settings.folder.clone().or_else(|| own.parent().map(Path::to_owned)).context("no folder")?;
    sweep(&beside);
    let folder = Folder { path: beside.join(format!("{FOLDER}{}", std::process::id())) };
    std::fs::create_dir_all(&folder.path).with_context(|| format!("cannot make {}", folder.path.display()))?;
    note("limits of the machine");
    let limits = Limits::measure(settings, &folder.path)?;
    let mut lines = Vec::new();
    if SHARED.iter().any(|row| settings.wants(row)) {
        let bench = pair(settings, &limits, &folder.path.join("async"), &[])?;
        for row in SHARED {
            if settings.wants(row) {
                note(row);
                lines.extend(bench.row(row)?);
            }
        }
        bench.remove()?;
    }
    // Memory is that of brokers to which nothing was sent before.
    for (row, extra) in [("sync", &["flushDiskType=SYNC_FLUSH"][..]), ("memory", &[])] {
        if settings.wants(row) {
            note(row);
            let bench = pair(settings, &limits, &folder.path.join(row), extra)?;
            lines.extend(bench.row(row)?);
            bench.remove()?;
        }
    }
    if settings.wants("ready") {
        note("ready");
        let bench = pair(settings, &limits, &folder.path.join("ready"), &[])?;
        let (bench, ready) = bench.ready()?;
        lines.extend(ready);
        bench.remove()?;
    }
    let place = |line: &Line| settings::ROWS.iter().position(|row| *row == line.row);
    lines.sort_by_key(place);
    Ok(lines)
}

/// Starts what is compared.
fn pair<'a>(settings: &'a Settings, limits: &'a Limits, folder: &Path, extra: &[&str]) -> Result<Bench<'a>> {
    let start = |kind: Kind| {
        note(&format!("starting {}", kind.name()));
        let server = Server::start(kind, settings, &folder.join(kind.name().replace(' ', "-")), extra)?;
        server.pause()?;
        Ok::<Server, anyhow::Error>(server)
    };
    let strata = start(Kind::Strata)?;
    let apache = if settings.without_apache { None } else { Some(start(Kind::Apache)?) };
    Ok(Bench { settings, limits, strata, apache })
}
