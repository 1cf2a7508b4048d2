//! `strata consume`: reads the messages of a topic.
//!
//! Owns the flags and the course of a reading: all queues merged by store time up to where they end now,
//! then, with `--follow`, as messages come. Pulls are in `reader`, offsets of groups in `progress`.

use std::collections::BTreeSet;
use std::num::NonZeroU64;

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

mod follow;
mod merge;
mod print;
mod progress;

use crate::args::ClusterArgs;
use crate::cluster::Cluster;
use crate::exit::{Exit, Failure, OrFail, Outcome};
use crate::filter::DialectName;
use crate::limits::COMMIT_INTERVAL;
use crate::reading::TOOLS_GROUP;
use crate::reading::message::Message;
use crate::reading::reader::{self, QueueReader, Selection, Wanted, parse_tags};
use crate::time::{Position, now_ms};
use follow::Event;
use merge::Merged;
use print::Printer;
use progress::Progress;

/// How messages are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum MessageFormat {
    /// The body and a line feed
    Text,
    /// One JSON object a line, with offsets, times and properties
    Json,
}

/// Flags of `strata consume`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  strata consume orders                          everything there is, oldest first
  strata consume orders -o last -f               what comes from now on
  strata consume orders -o @-1h --tag 'A || B' --output json
  strata consume orders --filter \"region = 'eu' AND amount > 10.0\"
  strata consume orders -o @2026-11-01T00:00:00Z --until @2026-11-02T00:00:00Z
  strata consume orders -g audit -n 100          the next 100 of a group, whose progress is stored

Positions:
  first, last            the oldest message, behind the newest
  42                     an offset, in each queue
  @-1h30m                so long ago (ms s m h d w)
  @2026-11-01T08:00:00Z  a time (RFC 3339; without a zone, or as a date, in UTC)
  @1793491200000         a time in milliseconds since 1970

Without -g nothing is stored. With -g reading begins at the group's stored offsets unless -o is
given, and what was read is stored, what -n or --until left out is not; do not name the group of a
running application.")]
pub(crate) struct ConsumeArgs {
    /// The topic
    topic: String,
    /// Where to begin [default: first, or the group's stored offset]
    #[arg(short, long, value_name = "POSITION")]
    offset: Option<Position>,
    /// Where to end; the message there is not read [default: what there is now]
    #[arg(long, value_name = "POSITION")]
    until: Option<Position>,
    /// Only messages with this tag; 'A || B' is either
    #[arg(long, value_name = "TAGS", value_parser = parse_tags, conflicts_with = "filter")]
    tag: Option<String>,
    /// Only messages whose properties this SQL expression is true of; `strata filter explain` tells how it is read
    #[arg(long, value_name = "EXPR")]
    filter: Option<String>,
    /// How the expression is read
    #[arg(long, value_enum, default_value_t = DialectName::Sql92, requires = "filter")]
    dialect: DialectName,
    /// Ends after so many messages
    #[arg(short = 'n', long = "number", value_name = "N")]
    number: Option<NonZeroU64>,
    /// Waits for new messages
    #[arg(short, long)]
    follow: bool,
    /// Consumer group whose progress is stored
    #[arg(short, long, value_name = "GROUP")]
    group: Option<String>,
    /// How messages are written
    #[arg(long, value_enum, default_value_t = MessageFormat::Text)]
    output: MessageFormat,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Runs the command.
pub(crate) async fn run(args: ConsumeArgs) -> Outcome {
    if let Some(group) = &args.group {
        strata_protocol::name::check_group(group).or_fail(Exit::Usage)?;
    }
    let mut cluster = Cluster::connect(&args.cluster).await?;
    let now = now_ms();
    let group = args.group.as_deref().unwrap_or(TOOLS_GROUP);
    let wanted = Wanted {
        topic: args.topic.clone(),
        group: group.to_owned(),
        selection: Selection::of(args.filter.as_deref(), args.dialect, args.tag.as_deref())?,
        from: args.offset.map(|from| from.at(now)),
        until: args.until.map(|until| until.at(now)),
        stored: args.group.is_some() && args.offset.is_none(),
        follow: args.follow,
        begun_ms: now,
    };
    let readers = reader::open_all(&mut cluster, &wanted, &BTreeSet::new()).await?;
    let progress = Progress::of(args.group.as_deref(), &args.topic, &readers, cluster.patience());
    let mut course = Course {
        printer: Printer::new(args.output),
        left: args.number.map(NonZeroU64::get),
        progress,
        bar: bar(&readers),
        unreadable: 0,
    };
    let read = tokio::select! {
        read = course.read(readers, args.follow.then_some((args.cluster, wanted))) => read,
        interrupted = tokio::signal::ctrl_c() => interrupted.or_fail(Exit::Failed),
    };
    course.bar.finish_and_clear();
    let stored = course.progress.store().await;
    read.and(stored)?;
    match course.unreadable {
        0 => Ok(()),
        count => Err(Failure::new(Exit::Failed, format!("{count} messages could not be unpacked and were left out"))),
    }
}

/// A reading under way.
struct Course {
    printer: Printer,
    /// Messages that may still be printed.
    left: Option<u64>,
    progress: Progress,
    bar: ProgressBar,
    unreadable: u64,
}

impl Course {
    /// Reads what there is, then, when there is something to follow, what comes.
    async fn read(&mut self, readers: Vec<QueueReader>, follow: Option<(ClusterArgs, Wanted)>) -> Outcome {
        let mut merged = Merged::of(readers);
        while self.left != Some(0) {
            let Some((queue, message)) = merged.next().await? else { break };
            self.take(queue, message)?;
            self.progress.store_sometimes().await;
        }
        if self.left == Some(0) {
            return Ok(());
        }
        // What the queues' ends left out was looked at too: tags that did not match are done with.
        for (queue, reader) in merged.readers().iter().enumerate() {
            self.progress.reached(queue, reader.next_offset());
        }
        let Some((args, wanted)) = follow else { return Ok(()) };
        self.bar.finish_and_clear();
        let mut followed = follow::follow(merged.into_readers(), args, wanted);
        while self.left != Some(0) {
            let next = tokio::time::timeout(COMMIT_INTERVAL, followed.next()).await;
            self.progress.store_sometimes().await;
            let Ok(event) = next else { continue };
            match event? {
                Some(Event::Message(queue, message)) => self.take(queue, *message)?,
                Some(Event::Queue(reader)) => followed.add(self.progress.add(&reader), *reader),
                None => return Ok(()),
            }
        }
        Ok(())
    }

    fn take(&mut self, queue: usize, message: Message) -> Outcome {
        let next = message.queue_offset + 1;
        self.bar.inc(1);
        match message.unpacked() {
            Ok(message) => self.printer.print(&message)?,
            Err(wrong) => {
                self.unreadable += 1;
                tracing::warn!("{wrong}");
            }
        }
        self.left = self.left.map(|left| left - 1);
        self.progress.reached(queue, next);
        Ok(())
    }
}

/// Progress on standard error, unless messages go to the same terminal.
fn bar(readers: &[QueueReader]) -> ProgressBar {
    if std::io::IsTerminal::is_terminal(&std::io::stdout()) {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(readers.iter().map(QueueReader::ahead).sum());
    if let Ok(style) =
        ProgressStyle::with_template("{bar:30} {human_pos} of {human_len} messages, {per_sec}, {eta} left")
    {
        bar.set_style(style);
    }
    bar
}
