//! `strata tier restore`: a data folder from a bucket alone.
//!
//! Owns the order of steps: everything is made in a folder beside the one that is asked for, and moved there when it is
//! whole, so that a restore that was killed leaves nothing that a server would start on.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::Serialize;
use strata_store::{NextOffset, StoreOptions, begin_at};
use strata_tiering::index::Index;
use strata_tiering::manifest::Roll;

use super::place::{Place, draft, location_of, of_bucket};
use super::{RestoreArgs, Server};
use crate::exit::{Exit, Failure, OrFail, Outcome};
use crate::output::show;

/// What was made.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Restored {
    broker: String,
    url: String,
    /// The broker's data folder.
    folder: PathBuf,
    rolls: usize,
    messages: u64,
    /// Log offsets of what is in the tier; the log goes on at the second one.
    from: u64,
    to: u64,
    queues: usize,
    /// Files of topics, groups, offsets and delays.
    settings: usize,
    notes: Vec<&'static str>,
}

/// Runs the command.
pub(super) async fn run(args: RestoreArgs) -> Outcome {
    let config = args.config.as_deref().map(|file| format!(" -c {}", file.display())).unwrap_or_default();
    let draft = draft(args.config, None)?;
    let options = draft.options();
    let location = location_of(&args.from, "--from")?;
    let folder = match args.server {
        Server::Start => args.data.join("broker"),
        Server::Broker => args.data.clone(),
    };
    refuse_used(&folder)?;
    let of_config = options.identity.name;
    let place = Place::open(&location, args.broker.unwrap_or_else(|| of_config.clone())).await?;
    let staging = staging_of(&folder)?;
    let mut restored = restore(&place, &staging, options.store.segment_bytes).await?;
    std::fs::rename(&staging, &folder).or_fail_with(Exit::Failed, format!("cannot move it to {}", folder.display()))?;
    sync_parent(&folder)?;
    restored.folder.clone_from(&folder);
    let config = if place.broker == of_config { Ok(config.as_str()) } else { Err(place.broker.as_str()) };
    let next = next_step(args.server, (&args.data, &place.broker), config, &location.to_string());
    show(&args.output, &restored, |restored| restored_text(restored, &next))
}

/// Only a folder that is missing or empty is taken.
fn refuse_used(folder: &Path) -> Outcome {
    let is_used = match std::fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => return Err(Failure::new(Exit::CannotStart, format!("{}: {error}", folder.display()))),
    };
    if is_used {
        let message = format!("{} is not empty; restore into a new folder, nothing is overwritten", folder.display());
        return Err(Failure::new(Exit::CannotStart, message));
    }
    Ok(())
}

/// The folder in which everything is made.
fn staging_of(folder: &Path) -> Outcome<PathBuf> {
    let absolute = std::path::absolute(folder).or_fail(Exit::Usage)?;
    let Some((parent, name)) = absolute.parent().zip(absolute.file_name()) else {
        return Err(Failure::new(Exit::Usage, format!("{} cannot be a data folder", folder.display())));
    };
    let mut name = name.to_owned();
    name.push(".restoring");
    let staging = parent.join(name);
    let made = std::fs::create_dir_all(parent).and_then(|()| std::fs::create_dir(&staging));
    made.map_err(|error| {
        let is_there = error.kind() == std::io::ErrorKind::AlreadyExists;
        let advice = if is_there { "; another restore runs, or was broken off: then remove that folder" } else { "" };
        Failure::new(Exit::CannotStart, format!("cannot make {}: {error}{advice}", staging.display()))
    })?;
    Ok(staging)
}

fn sync_parent(folder: &Path) -> Outcome {
    let absolute = std::path::absolute(folder).or_fail(Exit::Failed)?;
    let Some(parent) = absolute.parent() else { return Ok(()) };
    let synced = std::fs::File::open(parent).and_then(|parent| parent.sync_all());
    synced.or_fail_with(Exit::Failed, format!("cannot flush {}", parent.display()))
}

/// Makes the folder; what is left of it after a failure is removed.
async fn restore(place: &Place, staging: &Path, segment_bytes: u64) -> Outcome<Restored> {
    let made = make(place, staging, segment_bytes).await;
    if made.is_err()
        && let Err(error) = std::fs::remove_dir_all(staging)
    {
        tracing::warn!(%error, folder = %staging.display(), "what was begun there could not be removed");
    }
    made
}

async fn make(place: &Place, staging: &Path, segment_bytes: u64) -> Outcome<Restored> {
    let manifest = &place.manifest;
    let mut notes = Vec::new();
    let (from, to) = (manifest.start().unwrap_or(0), manifest.end().unwrap_or(0));
    let last = manifest.rolls().last();
    let queues = match last {
        Some(last) => next_offsets(place, last).await?,
        None if manifest.end().is_none() => {
            notes.push("nothing was ever rolled into this tier: the log is empty and begins at 0");
            Vec::new()
        }
        None => {
            notes.push("all rolls have expired: the log goes on behind them, queues begin at 0 again");
            Vec::new()
        }
    };
    let settings = settings(place).await?;
    if settings.is_none() {
        notes.push("the tier has no settings: topics come back with their queues, groups and offsets do not");
    }
    let options = StoreOptions { segment_bytes, ..StoreOptions::new(staging) };
    let begin = i64::try_from(to).or_fail(Exit::Damaged)?;
    let count = queues.len();
    let last_time = last.map_or(0, |last| last.last_time.max(0));
    begin_at(options, (begin, last_time), queues).or_fail(Exit::CannotStart)?;
    strata_broker::write_identity(staging, manifest.log()).or_fail(Exit::CannotStart)?;
    let written = settings.map(|object| strata_broker::write_config(staging, &object)).transpose();
    Ok(Restored {
        broker: place.broker.clone(),
        url: place.bucket.to_string(),
        folder: staging.to_owned(),
        rolls: manifest.rolls().len(),
        messages: manifest.totals().rows,
        from,
        to,
        queues: count,
        settings: written.or_fail(Exit::Damaged)?.unwrap_or(0),
        notes,
    })
}

/// Where each queue goes on, by the index of the last roll.
async fn next_offsets(place: &Place, last: &Roll) -> Outcome<Vec<NextOffset>> {
    let bytes = read(place, &last.index.name).await?;
    check(&bytes, last.index.crc32c, &last.index.name)?;
    let index = Index::read(&bytes).or_fail_with(Exit::Damaged, &last.index.name)?;
    let mut queues = Vec::new();
    index.for_each(|topic, queue_id, span| {
        // A topic that was deleted and is there again begins at 0.
        let is_gone = place.manifest.dropped().get(topic).is_some_and(|to| last.to <= *to);
        if !is_gone {
            queues.push(NextOffset { topic: topic.into(), queue_id, next: span.next });
        }
    });
    Ok(queues)
}

/// The object with topics, groups and offsets.
async fn settings(place: &Place) -> Outcome<Option<Bytes>> {
    let Some(object) = place.manifest.state() else { return Ok(None) };
    let bytes = read(place, &object.name).await?;
    check(&bytes, object.crc32c, &object.name)?;
    Ok(Some(bytes))
}

async fn read(place: &Place, name: &str) -> Outcome<Bytes> {
    let path = format!("{}/{name}", place.home);
    place.bucket.read(&path).await.map_err(|error| of_bucket(&place.bucket, &error))
}

fn check(bytes: &[u8], crc: u32, name: &str) -> Outcome {
    if crc32c::crc32c(bytes) == crc {
        return Ok(());
    }
    let what = "is not what the manifest lists; strata tier verify tells what else is damaged";
    Err(Failure::new(Exit::Damaged, format!("object {name} {what}")))
}

/// The command that starts a server on it. `config` is the flag for the file that names the broker, or the name that a file
/// has to tell: strata start takes it from there alone.
fn next_step(server: Server, (data, broker): (&Path, &str), config: Result<&str, &str>, url: &str) -> String {
    let data = data.display();
    match (server, config) {
        (Server::Start, Ok(config)) => format!("strata start{config} --data {data} --cold {url}"),
        (Server::Start, Err(name)) => {
            format!("strata start -c FILE --data {data} --cold {url}\n  with brokerName={name} in FILE")
        }
        (Server::Broker, _) => format!("strata broker --name {broker} --data {data} --cold {url}"),
    }
}

fn restored_text(restored: &Restored, next: &str) -> String {
    let Restored { folder, messages, rolls, queues, settings, from, to, .. } = restored;
    let notes: String = restored.notes.iter().map(|note| format!("note: {note}\n")).collect();
    format!(
        "made {} for broker {}\n{messages} messages in {rolls} rolls, log offsets {from} to {to}, are read from {}\n\
         {queues} queues go on where they were rolled to; {settings} files of topics, groups, offsets and delays\n{notes}\n\
         Start it with:\n  {next}",
        folder.display(),
        restored.broker,
        restored.url
    )
}
