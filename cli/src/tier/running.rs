//! `strata tier status` and `strata tier roll`: what running brokers say of their cold tiers.

use std::pin::pin;

use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};
use strata_protocol::code::request as code;
use strata_protocol::command::Command;
use strata_protocol::request::TierRoll;

use super::{RollArgs, RunningArgs};
use crate::args::ClusterArgs;
use crate::cluster::{Cluster, Master, command, document, success};
use crate::exit::{Exit, Failure, OrFail, Outcome};
use crate::limits::{ROLL_LOOK_INTERVAL, ROLL_MAX};
use crate::output::{number, show, table, text};

/// A broker's answer about its tier, as far as it is shown; programs get all of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    broker: String,
    configured: bool,
    url: Option<String>,
    trouble: Option<String>,
    listed: Option<Listed>,
    local: Option<Local>,
    rolling: Option<Way>,
    since_start: Option<Counters>,
    breaker: Option<String>,
    retention: Option<String>,
    upkeep: Option<Upkeep>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Upkeep {
    expired_rolls: u64,
    merges: u64,
    deleted_objects: u64,
    failures: u64,
    trouble: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct Listed {
    epoch: u64,
    puts: String,
    rolls: u64,
    objects: u64,
    bytes: u64,
    messages: u64,
    from: Option<u64>,
    to: Option<u64>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Local {
    from: i64,
    to: i64,
    waiting_bytes: u64,
    waiting_segments: u64,
    waiting_sealed_bytes: u64,
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct Way {
    from: i64,
    to: i64,
    bytes: u64,
    done: u64,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Counters {
    rolls: u64,
    rolled_messages: u64,
    roll_failures: u64,
    reads: u64,
    read_messages: u64,
    read_failures: u64,
    fetched_bytes: u64,
    fetched_requests: u64,
    store_calls: u64,
    store_failures: u64,
    store_retries: u64,
}

/// What came of a roll.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rolled {
    broker: String,
    listed_to: Option<i64>,
    rolls: u64,
    messages: u64,
    bytes: u64,
    failure: Option<String>,
}

/// Runs `strata tier status`.
pub(super) async fn status(args: RunningArgs) -> Outcome {
    let (mut cluster, masters) = connect(&args.cluster, &args.brokers).await?;
    let mut documents: Vec<serde_json::Value> = Vec::new();
    for master in &masters {
        let answer = cluster.ask(master, Command::request(code::TIER_STATUS)).await?;
        documents.push(document(&answer)?);
    }
    let unreadable = "the broker's answer cannot be read";
    let statuses: Result<Vec<Status>, _> = documents.iter().map(Status::deserialize).collect();
    let statuses = statuses.or_fail_with(Exit::Failed, unreadable)?;
    show(&args.output, &documents, |_| statuses.iter().map(status_text).collect::<Vec<_>>().join("\n\n"))
}

pub(super) async fn connect(args: &ClusterArgs, brokers: &[String]) -> Outcome<(Cluster, Vec<Master>)> {
    let cluster = Cluster::connect(args).await?;
    let masters = chosen(cluster.masters().await?, brokers)?;
    Ok((cluster, masters))
}

/// The brokers that are named, or all.
fn chosen(masters: Vec<Master>, names: &[String]) -> Outcome<Vec<Master>> {
    if let Some(unknown) = names.iter().find(|name| !masters.iter().any(|master| master.name == **name)) {
        let known: Vec<&str> = masters.iter().map(|master| master.name.as_str()).collect();
        let message = format!("there is no broker {unknown} here; there are: {}", known.join(", "));
        return Err(Failure::new(Exit::NotFound, message));
    }
    Ok(masters.into_iter().filter(|master| names.is_empty() || names.contains(&master.name)).collect())
}

fn status_text(status: &Status) -> String {
    let mut rows = vec![("broker", status.broker.clone())];
    let mut row = |name, value: String| rows.push((name, value));
    if !status.configured {
        row("cold tier", String::from("none; start the broker with --cold or tieredStoreUrl"));
    }
    if let Some(url) = &status.url {
        row("cold tier", url.clone());
    }
    match &status.listed {
        Some(listed) => {
            let Listed { epoch, puts, rolls, objects, bytes, messages, .. } = listed;
            row("state", format!("open, epoch {epoch}, conditional puts are {puts}"));
            let offset = |offset: Option<u64>| offset.map_or_else(|| String::from("-"), |offset| offset.to_string());
            row("in the tier", format!("log offsets {} to {}", offset(listed.from), offset(listed.to)));
            row("", format!("{messages} messages in {rolls} rolls, {objects} objects, {bytes} bytes"));
        }
        None if status.configured => row("state", String::from("not open; nothing local is deleted meanwhile")),
        None => {}
    }
    if let Some(Local { from, to, waiting_bytes, waiting_segments, waiting_sealed_bytes }) = status.local {
        row("on this disk", format!("log offsets {from} to {to}"));
        let sealed = format!("{waiting_sealed_bytes} of them in {waiting_segments} sealed segments");
        row("waiting", format!("{waiting_bytes} bytes, {sealed}"));
    }
    if let Some(Way { from, to, bytes, done }) = status.rolling {
        row("rolling", format!("log offsets {from} to {to}: {done} of {bytes} bytes"));
    }
    if let Some(counters) = &status.since_start {
        let Counters { rolls, rolled_messages, roll_failures, reads, read_messages, read_failures, .. } = counters;
        row("since start", format!("{rolls} rolls of {rolled_messages} messages, {roll_failures} failures"));
        row("", format!("{reads} cold reads of {read_messages} messages, {read_failures} failures"));
        row("", format!("{} bytes fetched in {} requests", counters.fetched_bytes, counters.fetched_requests));
        let Counters { store_calls, store_failures, store_retries, .. } = counters;
        let breaker = status.breaker.as_deref().unwrap_or("unknown");
        row(
            "store",
            format!("{store_calls} calls, {store_failures} failures, {store_retries} retries; breaker {breaker}"),
        );
    }
    if let Some(retention) = &status.retention {
        row("retention", format!("{retention}, where a topic has no rule of its own"));
    }
    if let Some(Upkeep { expired_rolls, merges, deleted_objects, failures, .. }) = &status.upkeep {
        let counts = format!("{expired_rolls} rolls expired, {merges} merges, {deleted_objects} objects deleted");
        row("upkeep", format!("{counts}, {failures} failures"));
    }
    let upkeep = status.upkeep.as_ref().and_then(|upkeep| upkeep.trouble.clone());
    row("trouble", status.trouble.clone().or(upkeep).unwrap_or_else(|| String::from("none")));
    rows.iter().map(|(name, value)| format!("{name:<14}{value}")).collect::<Vec<_>>().join("\n")
}

/// Runs `strata tier roll`.
pub(super) async fn roll(args: RollArgs) -> Outcome {
    let RunningArgs { brokers, cluster, output } = args.running;
    let (mut cluster, masters) = connect(&cluster, &brokers).await?;
    let mut all = Vec::new();
    for master in &masters {
        all.push(roll_one(&mut cluster, master, args.now).await?);
    }
    show(&output, &all, |all| {
        let columns = [text("BROKER"), number("ROLLS"), number("MESSAGES"), number("BYTES"), number("IN THE TIER TO")];
        let to = |rolled: &Rolled| rolled.listed_to.map_or_else(|| String::from("-"), |to| to.to_string());
        let row = |rolled: &Rolled| {
            let Rolled { broker, rolls, messages, bytes, .. } = rolled;
            [broker.clone(), rolls.to_string(), messages.to_string(), bytes.to_string(), to(rolled)]
        };
        table(&columns, all.iter().map(row))
    })?;
    match all.iter().find_map(|rolled| rolled.failure.as_ref().map(|failure| (&rolled.broker, failure))) {
        Some((broker, failure)) => {
            Err(Failure::new(Exit::Refused, format!("broker {broker} did not roll everything: {failure}")))
        }
        None => Ok(()),
    }
}

/// Asks for the roll, and shows how far it is until it is answered.
async fn roll_one(cluster: &mut Cluster, master: &Master, seal: bool) -> Outcome<Rolled> {
    let who = format!("broker {}", master.name);
    let begin: Status = document(&cluster.ask(master, Command::request(code::TIER_STATUS)).await?)?;
    let waiting = left(&begin, seal);
    let bar = bar(&master.name, waiting);
    let client = cluster.broker(master).await?;
    let mut asked = pin!(client.call(command(code::TIER_ROLL, &TierRoll { seal: Some(seal) }), ROLL_MAX));
    let answer = loop {
        tokio::select! {
            answer = &mut asked => break answer,
            () = tokio::time::sleep(ROLL_LOOK_INTERVAL) => {}
        }
        // A look that fails is one that the bar does not show; the answer tells what is wrong.
        let look = client.call(Command::request(code::TIER_STATUS), cluster.patience());
        let look = tokio::select! {
            answer = &mut asked => break answer,
            look = look => look,
        };
        if let Some(status) = look.ok().and_then(|answer| document::<Status>(&answer).ok()) {
            bar.set_position(done(&status, seal, waiting));
        }
    };
    bar.finish_and_clear();
    let answer = answer.or_fail_with(Exit::Unreachable, &who)?;
    document(&success(answer, &who)?)
}

/// Asks for work that may take long, and shows that it is under way until it is answered.
pub(super) async fn wait_for(cluster: &mut Cluster, master: &Master, request: Command) -> Outcome<Command> {
    let who = format!("broker {}", master.name);
    let spinner = ProgressBar::new_spinner().with_message(format!("broker {} works", master.name));
    spinner.enable_steady_tick(ROLL_LOOK_INTERVAL);
    let answer = cluster.broker(master).await?.call(request, ROLL_MAX).await;
    spinner.finish_and_clear();
    success(answer.or_fail_with(Exit::Unreachable, &who)?, &who)
}

/// Bytes that a roll has to do: all that waits, or what is sealed.
fn left(status: &Status, seal: bool) -> u64 {
    status.local.map_or(0, |local| if seal { local.waiting_bytes } else { local.waiting_sealed_bytes })
}

/// Bytes of what waited at the begin that are done now.
fn done(status: &Status, seal: bool, waiting: u64) -> u64 {
    let under_way = status.rolling.map_or(0, |way| way.done);
    waiting.saturating_sub(left(status, seal)).saturating_add(under_way).min(waiting)
}

fn bar(broker: &str, bytes: u64) -> ProgressBar {
    let bar = ProgressBar::new(bytes).with_message(format!("rolling {broker}"));
    if let Ok(style) = ProgressStyle::with_template("{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec}, {eta}") {
        bar.set_style(style);
    }
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(waiting: u64, done: u64) -> Status {
        let json = format!(
            r#"{{"broker":"b","configured":true,"url":"file:///t","singleWriter":false,"trouble":null,
            "listed":{{"epoch":2,"puts":"atomic","rolls":1,"objects":1,"bytes":5,"messages":3,"from":0,"to":9}},
            "local":{{"from":0,"to":20,"waitingBytes":{waiting},"waitingSegments":1,"waitingSealedBytes":7}},
            "rolling":{{"from":9,"to":16,"bytes":7,"done":{done}}},"breaker":"closed","sinceStart":{{"rolls":1,
            "rolledMessages":3,"rollFailures":0,"reads":0,"readMessages":0,"readFailures":0,"fetchedBytes":0,
            "fetchedRequests":0,"storeCalls":9,"storeFailures":0,"storeRetries":0,"other":1}}}}"#
        );
        serde_json::from_str(&json).unwrap()
    }

    #[test]
    fn progress_is_what_went_and_what_is_under_way() {
        assert_eq!(done(&status(11, 3), true, 11), 3);
        assert_eq!(done(&status(4, 0), true, 11), 7);
        assert_eq!(done(&status(40, 2), true, 11), 2, "messages that came meanwhile do not count back");
        assert_eq!(done(&status(0, 7), true, 11), 11);
        assert_eq!(done(&status(40, 2), false, 7), 2, "what is not sealed is not counted");
    }

    #[test]
    fn a_status_is_told_in_lines() {
        let text = status_text(&status(11, 3));
        assert!(text.contains("cold tier     file:///t\n"), "{text}");
        assert!(text.contains("rolling       log offsets 9 to 16: 3 of 7 bytes\n"), "{text}");
        assert!(text.ends_with("trouble       none"), "{text}");
        let none: Status = serde_json::from_str(r#"{"broker":"b","configured":false}"#).unwrap();
        assert!(status_text(&none).contains("cold tier     none; start the broker with --cold"));
    }
}
