//! `strata tier ls`: the rolls that a manifest lists.

use std::collections::BTreeSet;

use serde::Serialize;
use strata_tiering::manifest::{Manifest, Roll};

use super::LsArgs;
use super::place::Place;
use crate::exit::Outcome;
use crate::output::{number, show, table, text};
use crate::time::show_ms;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Listing {
    url: String,
    broker: String,
    epoch: u64,
    /// Log offsets.
    from: Option<u64>,
    to: Option<u64>,
    objects: u64,
    messages: u64,
    bytes: u64,
    rolls: Vec<Row>,
    /// What readers of the objects need besides: see `docs/sql-at-scale.md`.
    floors: Vec<Floor>,
    properties: Vec<Property>,
}

/// Messages of the topic below that log offset are gone, whatever objects have of them.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Floor {
    topic: String,
    log_offset: u64,
}

/// A property with a column of its own, and the id of that.
#[derive(Debug, Serialize)]
struct Property {
    name: String,
    id: i32,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    from: u64,
    to: u64,
    first_stored_ms: i64,
    last_stored_ms: i64,
    objects: usize,
    messages: u64,
    bytes: u64,
    epoch: u64,
    names: Vec<String>,
}

impl Row {
    fn of(home: &str, roll: &Roll) -> Self {
        Self {
            from: roll.from,
            to: roll.to,
            first_stored_ms: roll.first_time,
            last_stored_ms: roll.last_time,
            objects: roll.objects.len(),
            messages: roll.objects.iter().map(|object| object.rows).sum(),
            bytes: roll.bytes(),
            epoch: roll.epoch,
            names: roll.objects.iter().map(|object| format!("{home}/{}", object.name)).collect(),
        }
    }
}

/// Runs the command.
pub(super) async fn run(args: LsArgs) -> Outcome {
    let place = Place::of(args.place).await?;
    let (manifest, totals) = (&place.manifest, place.manifest.totals());
    let listing = Listing {
        url: place.bucket.to_string(),
        broker: place.broker.clone(),
        epoch: manifest.epoch(),
        from: manifest.start(),
        to: manifest.end(),
        objects: totals.objects,
        messages: totals.rows,
        bytes: totals.bytes,
        rolls: manifest.rolls().iter().map(|roll| Row::of(&place.home, roll)).collect(),
        floors: floors(manifest),
        properties: manifest.properties().iter().map(|(name, id)| Property { name: name.clone(), id: *id }).collect(),
    };
    show(&args.output, &listing, listing_text)
}

/// The floors of all topics that were deleted or have expired, by name.
fn floors(manifest: &Manifest) -> Vec<Floor> {
    let topics: BTreeSet<&String> = manifest.dropped().keys().chain(manifest.expired().keys()).collect();
    let floor = |topic: &String| Floor { topic: topic.clone(), log_offset: manifest.floor_of(topic) };
    topics.into_iter().map(floor).collect()
}

fn listing_text(listing: &Listing) -> String {
    let Listing { url, broker, rolls, objects, messages, bytes, .. } = listing;
    let columns = [
        number("FROM"),
        number("TO"),
        text("FIRST STORED"),
        text("LAST STORED"),
        number("OBJECTS"),
        number("MESSAGES"),
        number("BYTES"),
        number("EPOCH"),
    ];
    let row = |row: &Row| {
        [
            row.from.to_string(),
            row.to.to_string(),
            show_ms(row.first_stored_ms),
            show_ms(row.last_stored_ms),
            row.objects.to_string(),
            row.messages.to_string(),
            row.bytes.to_string(),
            row.epoch.to_string(),
        ]
    };
    let head = format!("broker {broker} in {url}: {messages} messages in {objects} objects, {bytes} bytes");
    if rolls.is_empty() {
        return format!(
            "{head}\nnothing is rolled; a broker does it when a segment is full or old, or: strata tier roll --now"
        );
    }
    format!("{head}\n\n{}", table(&columns, rolls.iter().map(row)))
}
