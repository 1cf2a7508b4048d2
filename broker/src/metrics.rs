//! The broker's figures for Prometheus, under the names of RocketMQ 5's own exporter.
//!
//! Everything is read at the moment of the scrape; nothing here is kept.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use page::{Page, flag};
use strata_protocol::code::{ResponseCode, request_name};
use strata_protocol::{name, version};
use strata_remoting::{CloseReason, Figures as PortFigures};

use crate::figures::{CHANGE_BOUNDS_MS, GroupTopic, Outgoing};
use crate::hall::Hall;
use crate::latency::{BOUNDS_MS, Pair, Times};
use crate::traffic::SIZE_BOUNDS_BYTES;
use crate::trouble::Counts;

/// Families that have a sample of every group in every topic.
const FAMILIES_OF_GROUPS: usize = 8;

mod page;
mod groups;
mod tier;
mod process;

/// The labels that all figures have.
pub(crate) fn labels(hall: &Hall) -> [(&'static str, String); 3] {
    let identity = &hall.options.identity;
    [("cluster", identity.cluster.clone()), ("node_type", String::from("broker")), ("node_id", identity.name.clone())]
}

/// All figures as text.
pub(crate) fn text(hall: &Arc<Hall>, ports: &[(&'static str, Arc<PortFigures>)]) -> String {
    let mut page = Page::new(&labels(hall));
    let version = vec![(texts(&[&env!("CARGO_PKG_VERSION")]), 1)];
    page.add("strata_build_info", "1, with the version of this broker.", &["version"], version);
    process::add(hall.figures.started_ms.load(Ordering::Relaxed), &mut page);
    incoming(hall, &mut page);
    let taken = hall.figures.outgoing();
    page.reserve(taken.len() * FAMILIES_OF_GROUPS);
    outgoing(&taken, &mut page);
    dead_letters(hall, &mut page);
    groups::add(hall, &taken, &mut page);
    filters(hall, &mut page);
    clients(hall, &mut page);
    work(hall, &mut page);
    trail(hall, &mut page);
    changes(hall, &mut page);
    storage(hall, &mut page);
    if let Some(cold) = &hall.cold {
        tier::add(&cold.figures(), &mut page);
    }
    requests(hall, &mut page);
    connections(ports, &mut page);
    page.into_text()
}

fn int(value: impl TryInto<i64>) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}

fn texts(values: &[&dyn Display]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}

fn incoming(hall: &Hall, page: &mut Page) {
    let (mut messages, mut bytes, mut sizes) = (Vec::new(), Vec::new(), Vec::new());
    let own = ["topic", "message_type", "is_system"];
    for topic in hall.tables.topics.list() {
        let name = &topic.config.topic_name;
        if name::is_retry(name) || name::is_dlq(name) || topic.incoming.messages() == 0 {
            continue;
        }
        // All that is in the schedule topic waits for its time.
        let all = &topic.incoming;
        let delayed = if name == name::SCHEDULE_TOPIC { all } else { &topic.delayed };
        let normal = (all.messages().saturating_sub(delayed.messages()), all.bytes().saturating_sub(delayed.bytes()));
        let normal_sizes = match (all.sizes(), delayed.sizes()) {
            (Some(all), Some(delayed)) => Some(all.without(&delayed)),
            (all, _) => all,
        };
        let late = (delayed.messages(), delayed.bytes());
        for (kind, (count, size), sized) in [("normal", normal, normal_sizes), ("delay", late, delayed.sizes())] {
            if count > 0 {
                let labels = page.labels(&own, &[name, kind, flag(name::is_system_topic(name))]);
                sizes.extend(sized.map(|sized| (labels.clone(), sized)));
                messages.push((labels.clone(), count));
                bytes.push((labels, size));
            }
        }
    }
    let each = |rows: &[(String, u64)], name: &str, help: &str, page: &mut Page| {
        page.family(name, help, rows.iter().map(|(labels, value)| (labels.as_str(), *value)));
    };
    each(&messages, "rocketmq_messages_in_total", "Messages stored.", page);
    each(&bytes, "rocketmq_throughput_in_total", "Bytes of messages stored.", page);
    let sized = ("rocketmq_message_size", "Bytes of a message's record.");
    page.histogram(sized, &SIZE_BOUNDS_BYTES, 1.0, &sizes);
}

fn outgoing(taken: &[(GroupTopic, Arc<Outgoing>)], page: &mut Page) {
    let own = ["topic", "consumer_group", "is_system", "is_retry"];
    // Most are of few topics, whose names are asked once.
    let mut last: Option<(&Arc<str>, bool, bool)> = None;
    let mut labels = Vec::with_capacity(taken.len());
    for ((group, topic), _) in taken {
        let known = last.filter(|(last, ..)| *last == topic);
        let (_, is_system, is_retry) =
            known.unwrap_or_else(|| (topic, name::is_system_topic(topic), name::is_retry(topic)));
        last = Some((topic, is_system, is_retry));
        let is_system = is_system || name::is_system_group(group);
        labels.push(page.labels(&own, &[topic, group, flag(is_system), flag(is_retry)]));
    }
    let each = || labels.iter().map(String::as_str).zip(taken.iter().map(|(_, outgoing)| &outgoing.traffic));
    let messages = each().map(|(labels, traffic)| (labels, traffic.messages()));
    page.family("rocketmq_messages_out_total", "Messages delivered.", messages);
    let bytes = each().map(|(labels, traffic)| (labels, traffic.bytes()));
    page.family("rocketmq_throughput_out_total", "Bytes of messages delivered.", bytes);
}

fn dead_letters(hall: &Hall, page: &mut Page) {
    let dead = hall.figures.dead_letters().into_iter();
    let rows = dead.map(|((group, topic), count)| (texts(&[&group, &topic, &false]), count)).collect();
    let own = ["consumer_group", "topic", "is_system"];
    page.add("rocketmq_send_to_dlq_messages_total", "Messages that became dead letters.", &own, rows);
}

fn filters(hall: &Hall, page: &mut Page) {
    let all = hall.figures.trouble.all();
    let rows =
        |value: fn(&Counts) -> u64| all.iter().map(|(group, counts)| (texts(&[group]), int(value(counts)))).collect();
    let own = ["consumer_group"];
    let refused = rows(|counts| counts.refused);
    page.add("strata_filter_parse_failures_total", "Expressions of subscriptions that were refused.", &own, refused);
    let failed = rows(|counts| counts.failed);
    let help = "Messages that were not delivered because an expression failed on them.";
    page.add("strata_filter_evaluation_failures_total", help, &own, failed);
}

fn clients(hall: &Hall, page: &mut Page) {
    let census = hall.clients.census();
    let rows = census.producers.into_iter();
    let rows = summed(rows.map(|((language, version), count)| {
        (texts(&[&language.to_lowercase(), &version::name(version), &"remoting"]), int(count))
    }));
    let own = ["language", "version", "protocol_type"];
    page.add("rocketmq_producer_connections", "Producers connected.", &own, rows);
    let rows = census.consumers.into_iter();
    let rows = summed(rows.map(|((group, language, version, mode), count)| {
        let is_system = name::is_system_group(&group);
        let (language, version) = (language.to_lowercase(), version::name(version));
        (texts(&[&group, &language, &version, &mode_name(&mode), &"remoting", &is_system]), int(count))
    }));
    let own = ["consumer_group", "language", "version", "consume_mode", "protocol_type", "is_system"];
    page.add("rocketmq_consumer_connections", "Consumers connected.", &own, rows);
    page.add_one("rocketmq_broker_permission", "2: write, 4: read.", hall.options.permission);
    page.add_one("rocketmq_topic_number", "Topics.", hall.tables.topics.count());
    page.add_one("rocketmq_consumer_group_number", "Consumer groups.", hall.tables.groups.count());
}

/// Rows with the same labels as one: versions that nobody knows have one name.
fn summed(rows: impl Iterator<Item = (Vec<String>, i64)>) -> Vec<(Vec<String>, i64)> {
    let mut sums = BTreeMap::new();
    for (labels, count) in rows {
        *sums.entry(labels).or_insert(0) += count;
    }
    sums.into_iter().collect()
}

/// How a group consumes, as RocketMQ's metrics have it.
fn mode_name(consume_type: &str) -> &'static str {
    match consume_type {
        "CONSUME_PASSIVELY" => "push",
        "CONSUME_ACTIVELY" => "pull",
        "CONSUME_POP" => "pop",
        // A heartbeat may say anything, and must not make series of it.
        _ => "unknown",
    }
}

fn trail(hall: &Hall, page: &mut Page) {
    let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let help = "Trace records of the broker's own that were stored.";
    page.add_one("strata_trace_records_total", help, count(&hall.trail.written));
    let help = "Trace records of the broker's own that could not be stored or were too many at once.";
    page.add_one("strata_trace_records_lost_total", help, count(&hall.trail.lost));
}

fn work(hall: &Hall, page: &mut Page) {
    let turns = &hall.turns;
    let waiting = [
        ("send", hall.figures.unflushed.load(Ordering::Relaxed)),
        ("pull", turns.pulls()),
        ("admin", turns.requests()),
    ];
    let rows = waiting.map(|(processor, count)| (texts(&[&processor]), count)).into();
    let help = "Requests that wait for the disk or for a turn.";
    page.add("rocketmq_processor_watermark", help, &["processor"], rows);
    page.add_one("strata_name_servers", "Name servers that the broker registers with.", hall.registration.servers());
    let help = "Those of them that do not answer.";
    page.add_one("strata_name_servers_silent", help, hall.registration.silent());
    page.add_one("strata_parked_pulls", "Pulls that wait for messages.", hall.waiting.count());
}

fn changes(hall: &Hall, page: &mut Page) {
    let mut rows = Vec::new();
    for (is_system, changes) in [false, true].into_iter().zip(&hall.figures.topic_changes) {
        for (status, times) in [("success", &changes.made), ("failure", &changes.failed)] {
            let own = ["invocation_status", "is_system"];
            rows.push((page.labels(&own, &[status, flag(is_system)]), times.counted()));
        }
    }
    let name = "rocketmq_topic_create_execution_time_milliseconds";
    page.histogram((name, "Time of creating or changing a topic."), &CHANGE_BOUNDS_MS, 1.0, &rows);
    let changes = &hall.figures.group_changes;
    let rows = [("success", &changes.made), ("failure", &changes.failed)];
    let rows = rows.map(|(status, times)| (page.labels(&["invocation_status"], &[status]), times.counted()));
    let name = "rocketmq_consumer_group_create_execution_time_milliseconds";
    page.histogram((name, "Time of creating or changing a group."), &CHANGE_BOUNDS_MS, 1.0, &rows);
}

fn storage(hall: &Hall, page: &mut Page) {
    let stats = hall.store.stats();
    let labels = || texts(&[&"local", &"disk"]);
    let own = ["storage_type", "storage_medium"];
    let reserve = hall.store.earliest_log_time().map_or(0, |first| (hall.now_ms() - first).max(0));
    for (name, help, value) in [
        ("rocketmq_storage_size_bytes", "Bytes of the log.", int(stats.log_bytes)),
        ("rocketmq_storage_flush_behind_bytes", "Bytes not yet on disk.", int(stats.flush_behind_bytes())),
        ("rocketmq_storage_dispatch_behind_bytes", "Bytes not yet readable.", 0),
        ("rocketmq_storage_message_reserve_time_milliseconds", "Age of the oldest message.", reserve),
    ] {
        page.add(name, help, &own, vec![(labels(), value)]);
    }
    page.add_one("strata_disk_used_ratio", "Used part of the file system.", stats.disk_used_ratio);
    let sealed = stats.segments.saturating_sub(stats.sealing + 1);
    let states = [("active", 1), ("sealing", stats.sealing), ("sealed", sealed)];
    let rows = states.map(|(state, count)| (texts(&[&state]), count)).into();
    page.add("strata_store_segments", "Segment files of the log.", &["state"], rows);
    let help = "1: segments that retention would delete wait to be copied to the cold tier.";
    page.add_one("strata_store_deletion_waits", help, u8::from(stats.deletion_waits));
    let scrubbed = hall.store.scrubbed();
    page.add_one("strata_scrub_passes_total", "Times that all sealed segments were read again.", scrubbed.passes);
    page.add_one("strata_scrub_bytes_total", "Bytes of the log that were read again.", scrubbed.bytes);
    let help = "Blocks of 64 KiB found damaged by the last pass.";
    page.add_one("strata_scrub_damaged_blocks", help, scrubbed.damaged_blocks);
    let reason = hall.store.latched();
    let help = "1: a write or flush failed and no message is taken.";
    page.add_one("strata_store_latched", help, u8::from(reason.is_some()));
    // A series of its own, so that the one above has the same labels before and after.
    if let Some(reason) = reason {
        let why = vec![(texts(&[&reason]), 1)];
        page.add("strata_store_latched_info", "Which write or flush failed, and how.", &["reason"], why);
    }
}

fn connections(ports: &[(&'static str, Arc<PortFigures>)], page: &mut Page) {
    let each = |value: fn(&PortFigures) -> u64| {
        ports.iter().map(|(port, figures)| (texts(&[port]), int(value(figures)))).collect::<Vec<_>>()
    };
    let bytes = |figures: &PortFigures| u64::try_from(figures.read_buffers_bytes()).unwrap_or(u64::MAX);
    let own = ["port"];
    page.add("strata_connections", "Connections that are open.", &own, each(PortFigures::open));
    page.add("strata_connections_total", "Connections that were accepted.", &own, each(PortFigures::accepted));
    let refused = each(PortFigures::refused);
    page.add("strata_connections_refused_total", "Connections beyond a limit.", &own, refused);
    page.add("strata_frames_in_total", "Requests and answers that arrived.", &own, each(PortFigures::frames_in));
    page.add("strata_network_in_bytes_total", "Bytes that arrived.", &own, each(PortFigures::bytes_in));
    page.add("strata_network_out_bytes_total", "Bytes that were sent.", &own, each(PortFigures::bytes_out));
    page.add("strata_request_panics_total", "Requests that failed by a defect.", &own, each(PortFigures::panics));
    page.add("strata_read_buffers_bytes", "Memory of half-received requests.", &own, each(bytes));
    let ended = |(port, figures): &(&'static str, Arc<PortFigures>)| {
        CloseReason::ALL.map(|reason| (texts(&[port, &reason.name()]), int(figures.ended(reason))))
    };
    let rows = ports.iter().flat_map(ended).collect();
    page.add("strata_connections_ended_total", "Connections that ended, by reason.", &["port", "reason"], rows);
}

fn requests(hall: &Hall, page: &mut Page) {
    let own = ["protocol_type", "request_code", "response_code", "is_long_polling", "result"];
    let row = |(pair, times): &(Pair, Arc<Times>)| {
        let Pair { request, response, held } = pair;
        let code = request_name(*request).map_or_else(|| String::from("unknown"), str::to_lowercase);
        let outcome =
            ResponseCode::of(*response).map_or_else(|| response.to_string(), |code| snake(&format!("{code:?}")));
        (page.labels(&own, &["remoting", &code, &outcome, flag(*held), "success"]), times.counted())
    };
    let rows: Vec<_> = hall.figures.requests.all().iter().map(row).collect();
    let name = "rocketmq_rpc_latency_milliseconds";
    page.histogram((name, "Time from a request to its answer."), &BOUNDS_MS, 0.001, &rows);
}

fn snake(name: &str) -> String {
    let mut out = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn response_names_are_snake_case() {
        assert_eq!(super::snake("PullNotFound"), "pull_not_found");
    }
}
