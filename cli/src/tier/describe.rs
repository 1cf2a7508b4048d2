//! `strata tier describe`: the queues of a topic as the indexes of the rolls have them.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use futures_util::{StreamExt, TryStreamExt, stream};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use strata_tiering::cold::{CacheOptions, Cold};

use super::DescribeArgs;
use super::place::{Place, of_cold};
use crate::exit::{Exit, Failure, OrFail, Outcome};
use crate::limits::{TIER_QUEUES_AT_ONCE, TIER_READ_MEMORY_BYTES};
use crate::output::{number, show, table, text};
use crate::time::show_ms;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Description {
    topic: String,
    broker: String,
    url: String,
    messages: u64,
    queues: Vec<Queue>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Queue {
    queue_id: i32,
    /// The first offset in the tier, and the one behind the last.
    first_offset: i64,
    next_offset: i64,
    /// Fewer than offsets where some were damaged before they were rolled.
    messages: u64,
    first_stored_ms: Option<i64>,
    last_stored_ms: Option<i64>,
    objects: usize,
}

/// Runs the command.
pub(super) async fn run(args: DescribeArgs) -> Outcome {
    let place = Place::of(args.place).await?;
    let cache = CacheOptions { memory_bytes: TIER_READ_MEMORY_BYTES, disk: None };
    let manifest = Arc::new(ArcSwap::new(Arc::clone(&place.manifest)));
    let cold = Cold::open(place.bucket.clone(), &place.home, manifest, &cache).await.or_fail(Exit::Failed)?;
    let found = queues(&place, &cold, &args.topic).await?;
    if found.is_empty() {
        let message = format!("topic {} has no messages in the tier of {}", args.topic, place.broker);
        return Err(Failure::new(Exit::NotFound, message));
    }
    let bar = bar("queues", found.len());
    let queues =
        stream::iter(found).map(|(queue_id, counted)| describe(&place, &cold, (&args.topic, queue_id), counted));
    let queues = queues.buffered(TIER_QUEUES_AT_ONCE).inspect_ok(|_| bar.inc(1)).try_collect::<Vec<Queue>>().await?;
    bar.finish_and_clear();
    let messages = queues.iter().map(|queue| queue.messages).sum();
    let (broker, url) = (place.broker, place.bucket.to_string());
    let description = Description { topic: args.topic, broker, url, messages, queues };
    show(&args.output, &description, description_text)
}

/// Messages and objects of a queue.
type Counted = (u64, usize);

/// Every queue of a topic's present life, counted over all indexes.
async fn queues(place: &Place, cold: &Cold, topic: &str) -> Outcome<BTreeMap<i32, Counted>> {
    let manifest = &place.manifest;
    let bar = bar("indexes", manifest.rolls().len());
    let mut found: BTreeMap<i32, Counted> = BTreeMap::new();
    for roll in manifest.rolls() {
        bar.inc(1);
        if manifest.dropped().get(topic).is_some_and(|to| roll.to <= *to) {
            continue;
        }
        let index = cold.index(roll).await.map_err(|error| of_cold(&place.bucket, &error))?;
        index.for_each(|name, queue_id, span| {
            if name == topic {
                let (messages, objects) = found.entry(queue_id).or_default();
                *messages += u64::from(span.rows);
                *objects += if span.rows > 0 { roll.objects_of(topic, queue_id).count() } else { 0 };
            }
        });
    }
    bar.finish_and_clear();
    Ok(found)
}

async fn describe(
    place: &Place,
    cold: &Cold,
    (topic, queue_id): (&str, i32),
    (messages, objects): Counted,
) -> Outcome<Queue> {
    let failed = |error| of_cold(&place.bucket, &error);
    let range = cold.range(topic, queue_id).await.map_err(failed)?;
    let (first_offset, next_offset) = range.unwrap_or((0, 0));
    let (mut first_stored_ms, mut last_stored_ms) = (None, None);
    if messages > 0 {
        first_stored_ms = cold.store_time(topic, queue_id, first_offset).await.map_err(failed)?;
        last_stored_ms = cold.store_time(topic, queue_id, next_offset - 1).await.map_err(failed)?;
    }
    Ok(Queue { queue_id, first_offset, next_offset, messages, first_stored_ms, last_stored_ms, objects })
}

fn bar(what: &'static str, count: usize) -> ProgressBar {
    let bar = ProgressBar::new(count as u64).with_message(what);
    if let Ok(style) = ProgressStyle::with_template("{msg} {bar:30} {pos}/{len}, {eta}") {
        bar.set_style(style);
    }
    bar
}

fn description_text(description: &Description) -> String {
    let columns = [
        number("QUEUE"),
        number("FIRST OFFSET"),
        number("NEXT OFFSET"),
        number("MESSAGES"),
        text("FIRST STORED"),
        text("LAST STORED"),
        number("OBJECTS"),
    ];
    let row = |queue: &Queue| {
        [
            queue.queue_id.to_string(),
            queue.first_offset.to_string(),
            queue.next_offset.to_string(),
            queue.messages.to_string(),
            show_ms(queue.first_stored_ms.unwrap_or(0)),
            show_ms(queue.last_stored_ms.unwrap_or(0)),
            queue.objects.to_string(),
        ]
    };
    format!(
        "topic     {}\nbroker    {} in {}\nmessages  {}\n\n{}",
        description.topic,
        description.broker,
        description.url,
        description.messages,
        table(&columns, description.queues.iter().map(row))
    )
}
