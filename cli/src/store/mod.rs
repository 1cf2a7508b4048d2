//! `strata store`: checks and repairs the files of servers that do not run.
//!
//! Owns finding the parts of a data folder and the order of work. How results are shown is in `show`.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use strata_store::inspect;

use crate::args::{DEFAULT_DATA, OutputArgs};
use crate::exit::{Exit, Failure, OrFail, Outcome};
use crate::output::show as print;

mod show;

use show::{Config, Document, StoreShown};

/// The commands about files on disk.
#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Read everything in a data folder and compare it with its checksums; nothing is changed
    #[command(after_help = CHECK_HELP)]
    Check(CheckArgs),
    /// Mend what can be mended without losing a message that can be read
    #[command(after_help = REPAIR_HELP)]
    Repair(RepairArgs),
}

const CHECK_HELP: &str = "\
Examples:
  strata store check                       the data folder of strata start, ./data
  strata store check /var/lib/strata --output json

The folder is that of strata start, broker or namesrv, and the server must not run. What a kill leaves
(a torn tail, a sidecar that is not written yet) is no damage: the next start tidies it.

Exit codes: 0 nothing is damaged, 8 something is, 6 the folder cannot be checked: no such folder, in use,
not readable.";

const REPAIR_HELP: &str = "\
Examples:
  strata store repair --dry-run            what would be done
  strata store repair /var/lib/strata

It does what a start does and also replaces files that a start refuses, where others say the same: sidecars,
the floor, the version, configuration files by their previous generation. Damaged records stay in the log and
are answered with an error; no good record is removed. It can be interrupted and repeated.

Exit codes: 0 nothing is damaged any more, 8 damage is left (with --dry-run: is there), 6 the folder cannot be
repaired: in use, not writable, or a file that its owner must bring back.";

#[derive(Debug, Args)]
pub(crate) struct FolderArgs {
    /// The data folder [default: data]
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
    /// The same as a flag, as servers take it
    #[arg(long, value_name = "DIR", conflicts_with = "folder")]
    data: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    folder: FolderArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RepairArgs {
    #[command(flatten)]
    folder: FolderArgs,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    output: OutputArgs,
}

impl FolderArgs {
    fn path(&self) -> &Path {
        self.folder.as_deref().or(self.data.as_deref()).unwrap_or(Path::new(DEFAULT_DATA))
    }
}

/// The folders of servers within a data folder.
#[derive(Debug)]
struct Parts {
    brokers: Vec<PathBuf>,
    namesrvs: Vec<PathBuf>,
}

impl Parts {
    /// `strata start` has a folder for each server in its own; the others have the folder for themselves.
    fn of(folder: &Path) -> Outcome<Self> {
        let holding = |places: [PathBuf; 2], files: &[&str]| {
            let held = |place: &PathBuf| files.iter().any(|file| place.join(file).exists());
            places.into_iter().filter(held).collect::<Vec<_>>()
        };
        let brokers = holding([folder.to_owned(), folder.join("broker")], &["commitlog", "strata.format"]);
        let files = ["kvConfig.json", "kvConfig.json.bak", "namesrv.properties", "namesrv.properties.bak"];
        let namesrvs = holding([folder.to_owned(), folder.join("namesrv")], &files);
        if brokers.is_empty() && namesrvs.is_empty() {
            let what = "is no data folder: neither it nor broker/ in it holds commitlog/";
            return Err(Failure::new(Exit::CannotStart, format!("{} {what}", folder.display())));
        }
        Ok(Self { brokers, namesrvs })
    }

    /// Looks at everything.
    fn check(&self) -> Outcome<Document> {
        let mut document = Document::default();
        for folder in &self.brokers {
            let report = with_progress("checking", |progress| inspect::check(folder, progress))?;
            document.stores.push(StoreShown::of(&report));
        }
        document.configuration = self.configuration()?;
        Ok(document)
    }

    fn configuration(&self) -> Outcome<Vec<Config>> {
        let mut all = Vec::new();
        for folder in &self.brokers {
            let files = strata_broker::check_config(folder).or_fail(Exit::CannotStart)?;
            all.extend(files.into_iter().map(|f| Config::of((f.path, f.file), (f.previous_path, f.previous))));
        }
        for folder in &self.namesrvs {
            let files = strata_namesrv::check_config(folder).or_fail(Exit::CannotStart)?;
            all.extend(files.into_iter().map(|f| Config::of((f.path, f.file), (f.previous_path, f.previous))));
        }
        all.retain(Config::exists);
        Ok(all)
    }

    /// Repairs everything; gives what was done.
    fn repair(&self) -> Outcome<Document> {
        let mut document = Document { repaired: Some(true), ..Document::default() };
        for folder in &self.brokers {
            let repaired = with_progress("repairing", |progress| inspect::repair(folder, progress))?;
            let mut shown = StoreShown::of(&repaired.after);
            shown.plan = repaired.done.iter().map(ToString::to_string).collect();
            document.stores.push(shown);
        }
        let before = self.configuration()?;
        for folder in &self.brokers {
            strata_broker::restore_config(folder).or_fail(Exit::CannotStart)?;
        }
        for folder in &self.namesrvs {
            strata_namesrv::restore_config(folder).or_fail(Exit::CannotStart)?;
        }
        document.configuration = self.configuration()?;
        document.plan = before.iter().filter_map(Config::plan).collect();
        Ok(document)
    }
}

/// Runs a command about files.
pub(crate) fn run(command: &StoreCommand) -> Outcome {
    let (document, output) = match command {
        StoreCommand::Check(args) => (Parts::of(args.folder.path())?.check()?, &args.output),
        StoreCommand::Repair(args) => {
            let parts = Parts::of(args.folder.path())?;
            let document = if args.dry_run { parts.check()? } else { parts.repair()? };
            (document, &args.output)
        }
    };
    let document = document.finished();
    print(output, &document, show::text)?;
    match document.damage() {
        None => Ok(()),
        Some(what) => Err(Failure::new(Exit::Damaged, what)),
    }
}

/// Runs long work with a bar on standard error, when that is a terminal.
fn with_progress<T>(
    what: &'static str,
    work: impl FnOnce(inspect::Progress<'_>) -> Result<T, strata_store::OpenError>,
) -> Outcome<T> {
    let bar = ProgressBar::new(0).with_message(what);
    if let Ok(style) = ProgressStyle::with_template("{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec}, {eta}") {
        bar.set_style(style);
    }
    let result = work(&mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    result.or_fail(Exit::CannotStart)
}
