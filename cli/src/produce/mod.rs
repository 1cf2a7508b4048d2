//! `strata produce`: sends messages to a topic.
//!
//! Owns the flags, the pace and the summary. Where messages come from is in `source`, how one is sent in
//! `sender`.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use tokio::task::{JoinError, JoinSet, LocalSet};
use tokio::time::Instant;

mod sender;
mod source;

use crate::args::{ClusterArgs, OutputArgs};
use crate::cluster::Cluster;
use crate::exit::{Exit, Failure, OrFail, Outcome};
use crate::limits::{MESSAGE_BYTES_MAX, SENDS_IN_FLIGHT, SENDS_IN_FLIGHT_MAX};
use crate::output::show;
use sender::{Sender, Sent};
use source::Bodies;

/// Flags of `strata produce`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  echo hello | strata produce orders
  strata produce orders -m '{\"id\":1}' --tag created --key order-1
  strata produce orders --file lines.txt --property source=import
  strata produce orders --count 100000 --size 1024
  strata produce orders -m later --delay-level 3

Without -m, --file and --count, each line of standard input is a message; empty lines are passed over.")]
pub(crate) struct ProduceArgs {
    /// The topic; a missing one is created if the brokers allow it
    topic: String,
    /// A message; may be repeated
    #[arg(short, long = "message", value_name = "TEXT", group = "source")]
    messages: Vec<String>,
    /// A file whose lines are messages
    #[arg(long, value_name = "FILE", group = "source")]
    file: Option<PathBuf>,
    /// Sends so many made-up messages
    #[arg(long, value_name = "N", group = "source")]
    count: Option<NonZeroU64>,
    /// Bytes of a made-up message
    #[arg(long, value_name = "BYTES", default_value_t = 100, requires = "count", value_parser = clap::value_parser!(u64).range(1..=MESSAGE_BYTES_MAX as u64))]
    size: u64,
    /// Tag of the messages
    #[arg(long)]
    tag: Option<String>,
    /// Key of the messages; may be repeated
    #[arg(long = "key", value_name = "KEY")]
    keys: Vec<String>,
    /// A property of the messages; may be repeated
    #[arg(long = "property", value_name = "K=V", value_parser = parse_property)]
    properties: Vec<(String, String)>,
    /// Delivers later: level 1 is after 1 s, 18 after 2 h by default
    #[arg(long, value_name = "LEVEL", value_parser = clap::value_parser!(u8).range(1..=64))]
    delay_level: Option<u8>,
    /// Sends under way at once; with 1, nothing behind a message that fails is sent
    #[arg(long, value_name = "N", default_value_t = SENDS_IN_FLIGHT as u64, value_parser = clap::value_parser!(u64).range(1..=SENDS_IN_FLIGHT_MAX as u64))]
    in_flight: u64,
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// A property as it is typed.
pub(crate) fn parse_property(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() && !value.is_empty() => Ok((key.to_owned(), value.to_owned())),
        Some(_) | None => Err(String::from("a property is key=value, neither empty")),
    }
}

/// What was sent.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    topic: String,
    messages: u64,
    bytes: u64,
    elapsed_ms: u128,
    last: Option<Sent>,
}

/// Runs the command.
pub(crate) async fn run(args: ProduceArgs) -> Outcome {
    let properties = sender::common_properties(&args.tag, &args.keys, &args.properties, args.delay_level)?;
    let mut cluster = Cluster::connect(&args.cluster).await?;
    let sender = Arc::new(Sender::open(&mut cluster, &args.topic, properties).await?);
    let mut messages = source::open(args.messages, args.file, args.count.map(|count| (count.get(), args.size)))?;
    let places = usize::try_from(args.in_flight).unwrap_or(SENDS_IN_FLIGHT);
    let started = Instant::now();
    let bar = progress(args.count.map(NonZeroU64::get));
    let mut summary = Summary { topic: args.topic, messages: 0, bytes: 0, elapsed_ms: 0, last: None };
    let send = |body| {
        let sender = Arc::clone(&sender);
        async move { sender.send(body).await }
    };
    let sent = send_all(send, &mut messages, places, |sent| count(&mut summary, &bar, sent));
    // Tasks of one thread begin in the order they were made: messages leave in the order they came.
    let failure = LocalSet::new().run_until(sent).await?;
    bar.finish_and_clear();
    summary.elapsed_ms = started.elapsed().as_millis();
    if summary.messages > 0 {
        sender.settled(&cluster).await?;
    }
    if let Some(failure) = failure {
        return Err(Failure::new(failure.exit, format!("{failure}; {} messages were sent before", summary.messages)));
    }
    show(&args.output, &summary, summary_text)
}

/// Sends every body, `places` at once, until one fails; gives the first failure. A send gives its place up
/// only when its result was looked at, so that nothing follows a failure that is known.
async fn send_all<F>(
    send: impl Fn(Bytes) -> F,
    messages: &mut Bodies,
    places: usize,
    mut done: impl FnMut(Sent),
) -> Outcome<Option<Failure>>
where
    F: Future<Output = Outcome<Sent>> + 'static,
{
    let mut sends = JoinSet::new();
    let mut failure = None;
    let mut take = |sent: Result<Outcome<Sent>, JoinError>| match sent.or_fail(Exit::Failed).and_then(|sent| sent) {
        Ok(sent) => {
            done(sent);
            None
        }
        Err(failure) => Some(failure),
    };
    while failure.is_none() {
        let Some(body) = messages.recv().await else { break };
        let body = match body {
            Ok(body) => body,
            Err(unreadable) => {
                failure = Some(unreadable);
                break;
            }
        };
        while let Some(sent) = sends.try_join_next() {
            failure = failure.or(take(sent));
        }
        while failure.is_none() && sends.len() >= places {
            let Some(sent) = sends.join_next().await else { break };
            failure = take(sent);
        }
        if failure.is_none() {
            sends.spawn_local(send(body));
        }
    }
    while let Some(sent) = sends.join_next().await {
        failure = failure.or(take(sent));
    }
    Ok(failure)
}

fn count(summary: &mut Summary, bar: &ProgressBar, sent: Sent) {
    summary.messages += 1;
    summary.bytes += sent.bytes;
    summary.last = Some(sent);
    bar.inc(1);
}

fn summary_text(summary: &Summary) -> String {
    let Summary { topic, messages, bytes, elapsed_ms, last } = summary;
    let plural = if *messages == 1 { "" } else { "s" };
    let text = format!("sent {messages} message{plural} ({bytes} bytes) to {topic} in {elapsed_ms} ms");
    match last {
        Some(sent) if *messages == 1 => {
            format!("{text}: {} at offset {}, id {}", sent.queue, sent.offset, sent.message_id)
        }
        Some(_) | None => text,
    }
}

/// Progress on standard error, when that is a terminal.
fn progress(total: Option<u64>) -> ProgressBar {
    let (bar, template) = match total {
        Some(total) => (ProgressBar::new(total), "{bar:30} {human_pos} of {human_len} messages, {per_sec}, {eta} left"),
        None => (ProgressBar::new_spinner(), "{spinner} {human_pos} messages, {per_sec}"),
    };
    // The templates are constants; a wrong one would only make the bar plainer.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// Sends five bodies of which the second fails, and gives those whose sending began.
    async fn begun_with(places: usize) -> (Vec<Bytes>, u64) {
        let (feed, mut bodies) = tokio::sync::mpsc::channel(5);
        for body in ["0", "1", "2", "3", "4"] {
            feed.try_send(Ok(Bytes::from(body))).unwrap();
        }
        drop(feed);
        let (begun, mut stored) = (RefCell::new(Vec::new()), 0);
        let send = |body: Bytes| {
            begun.borrow_mut().push(body.clone());
            async move {
                tokio::task::yield_now().await;
                if body == "1" {
                    return Err(Failure::new(Exit::Refused, "full"));
                }
                Ok(Sent { message_id: String::new(), queue: String::new(), offset: 0, bytes: 1 })
            }
        };
        let sent = LocalSet::new().run_until(send_all(send, &mut bodies, places, |_| stored += 1)).await;
        assert_eq!(sent.unwrap().map(|failure| failure.to_string()).as_deref(), Some("full"));
        (begun.into_inner(), stored)
    }

    #[tokio::test]
    async fn nothing_is_sent_behind_a_failure_that_is_known() {
        assert_eq!(begun_with(1).await, (vec![Bytes::from("0"), Bytes::from("1")], 1));
        assert_eq!(begun_with(5).await.1, 4, "what was under way is counted");
    }
}
