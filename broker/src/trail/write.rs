//! How the trail becomes messages of the trace topic.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io::Write as _;
use std::sync::atomic::Ordering;
use std::time::Duration;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use strata_protocol::name::TRACE_TOPIC;
use strata_protocol::properties::{self, IndexTerms};
use strata_protocol::sysflag;
use strata_protocol::trace::{self, Kind, Trace};
use tracing::{info, warn};

use super::Span;
use crate::hall::Hall;
use crate::handle::{Draft, put};
use crate::limits::{TRAIL_BODY_BYTES_MAX, TRAIL_KEYS_MAX};
use crate::refusal::Refusal;

/// Time between two writings.
pub(crate) const TICK: Duration = Duration::from_secs(1);

/// Bodies below this are stored as they are, as RocketMQ's clients do it, if at 4 KiB: these texts shrink to an eighth.
const COMPRESSED_BYTES_MIN: usize = 512;

/// Records that become one message.
#[derive(Debug, Default)]
struct Parcel {
    body: Vec<u8>,
    records: u64,
    keys: BTreeSet<String>,
}

/// Writes what happened since the last time.
pub(crate) fn write(hall: &Hall) {
    if hall.trail.is_empty() {
        return;
    }
    let mut parcel = Parcel::default();
    let mut failure = None;
    for span in hall.trail.take() {
        if append(hall, &mut parcel.body, &span).is_err() {
            // A group or a client that has a separator in its name.
            hall.trail.lost.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        parcel.records += 1;
        parcel.keys.insert(key(&span));
        if parcel.body.len() >= TRAIL_BODY_BYTES_MAX || parcel.keys.len() >= TRAIL_KEYS_MAX {
            failure = store(hall, &std::mem::take(&mut parcel)).err().or(failure);
        }
    }
    if parcel.records > 0 {
        failure = store(hall, &parcel).err().or(failure);
    }
    let failed_before = hall.trail.is_failing.swap(failure.is_some(), Ordering::Relaxed);
    match failure {
        // Once, not every second of a full disk.
        Some(refusal) if !failed_before => {
            warn!(%refusal, "trace records of the broker are not stored and are lost; strata_trace_records_lost_total counts them");
        }
        None if failed_before => info!("trace records of the broker are stored again"),
        Some(_) | None => {}
    }
}

/// What a record is found by: the message's id, or its topic and queue.
fn key(span: &Span) -> String {
    let id = span.back.as_ref().and_then(|back| back.id.clone());
    id.unwrap_or_else(|| trace::queue_key(&span.topic, span.queue_id))
}

fn append(hall: &Hall, out: &mut Vec<u8>, span: &Span) -> Result<(), trace::TraceError> {
    let id = hall.clients.client_id(&span.group, span.doer.connection);
    let host = span.doer.host.to_string();
    let mut record = Trace::new(span.kind);
    record.time_ms = Some(span.begun_ms);
    record.region = Some(&hall.options.region);
    record.group = Some(&span.group);
    record.message.topic = Some(&span.topic);
    record.client.host = Some(&host);
    record.client.id = id.as_deref();
    record.span.queue_id = Some(span.queue_id);
    record.span.queue_offset = Some(span.range.0);
    let last = span.range.1 - 1;
    record.span.last_queue_offset = Some(last).filter(|last| *last > span.range.0);
    record.span.messages = i32::try_from(span.messages).ok();
    if span.kind == Kind::Store {
        record.success = Some(true);
    }
    if let Some(back) = &span.back {
        record.message.id = back.id.as_deref();
        record.consumption.retry_times = Some(back.retry_times);
        record.consumption.delay_level = Some(back.delay_level).filter(|level| *level > 0);
    }
    trace::append(out, &record)
}

/// Stores a message of records.
fn store(hall: &Hall, parcel: &Parcel) -> Result<(), Refusal> {
    let stored = try_store(hall, parcel);
    let count = if stored.is_ok() { &hall.trail.written } else { &hall.trail.lost };
    count.fetch_add(parcel.records, Ordering::Relaxed);
    stored
}

fn try_store(hall: &Hall, parcel: &Parcel) -> Result<(), Refusal> {
    let topic = hall.topic(TRACE_TOPIC)?;
    let packed = (parcel.body.len() >= COMPRESSED_BYTES_MIN).then(|| compressed(&parcel.body)).flatten();
    let keys = parcel.keys.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
    let id = hall.figures.unique_key(hall);
    let mut text = Vec::new();
    put(&mut text, properties::UNIQ_KEY, &id);
    put(&mut text, properties::KEYS, &keys);
    text.extend_from_slice(hall.figures.own_properties(&hall.options));
    let draft = Draft {
        topic: Cow::Borrowed(TRACE_TOPIC),
        queue_id: 0,
        flag: 0,
        sys_flag: if packed.is_some() { sysflag::COMPRESSED } else { 0 },
        born_timestamp: hall.now_ms(),
        born_host: hall.address(),
        reconsume_times: 0,
        body: packed.as_deref().unwrap_or(&parcel.body),
        properties: text,
        terms: IndexTerms { unique_key: Some(&id), keys: Some(&keys), tags: None },
        delay_level: 0,
        sender: None,
    };
    draft.store(hall, &topic).map(drop)
}

fn compressed(body: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).ok()?;
    encoder.finish().ok()
}
