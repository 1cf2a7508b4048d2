//! The broker's figures for Prometheus, under the names of RocketMQ 5's own exporter.
//!
//! Everything is read at the moment of the scrape; nothing here is kept.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use prometheus::{Encoder, GaugeVec, IntGaugeVec, Opts, TextEncoder};
use strata_protocol::code::{ResponseCode, request_name};
use strata_protocol::name;
use strata_remoting::{CloseReason, Figures as PortFigures};

use crate::hall::Hall;
use crate::latency::{BOUNDS_MS, Pair};
use crate::limits::LAG_PAGE_MS_MAX;
use crate::reading::{self, Matching};
use crate::trouble::Counts;

mod tier;

/// Collects families and writes them as text.
struct Page {
    base: [(&'static str, String); 3],
    text: String,
}

impl Page {
    fn new(hall: &Hall) -> Self {
        Self { base: labels(hall), text: String::new() }
    }

    fn labels<'a>(&self, own: &[&'a str]) -> Vec<&'a str> {
        ["cluster", "node_type", "node_id"].into_iter().chain(own.iter().copied()).collect()
    }

    fn values<'a>(&'a self, own: &[&'a str]) -> Vec<&'a str> {
        self.base.iter().map(|(_, value)| value.as_str()).chain(own.iter().copied()).collect()
    }

    /// Adds a gauge, or a counter: Prometheus' text form tells them apart by the type line alone.
    fn add(&mut self, name: &str, help: &str, own: &[&str], rows: Vec<(Vec<String>, i64)>) {
        let is_counter = name.ends_with("_total");
        let Ok(vector) = IntGaugeVec::new(Opts::new(name, help), &self.labels(own)) else { return };
        for (labels, value) in &rows {
            let own: Vec<_> = labels.iter().map(String::as_str).collect();
            if let Ok(gauge) = vector.get_metric_with_label_values(&self.values(&own)) {
                gauge.set(*value);
            }
        }
        self.take(&vector, is_counter);
    }

    fn add_float(&mut self, name: &str, help: &str, own: &[&str], rows: Vec<(Vec<String>, f64)>) {
        let is_counter = name.ends_with("_total");
        let Ok(vector) = GaugeVec::new(Opts::new(name, help), &self.labels(own)) else { return };
        for (labels, value) in &rows {
            let own: Vec<_> = labels.iter().map(String::as_str).collect();
            if let Ok(gauge) = vector.get_metric_with_label_values(&self.values(&own)) {
                gauge.set(*value);
            }
        }
        self.take(&vector, is_counter);
    }

    fn take(&mut self, collector: &dyn prometheus::core::Collector, is_counter: bool) {
        let mut text = Vec::new();
        let families = collector.collect();
        // An empty family is no family for the encoder.
        let families: Vec<_> = families.into_iter().filter(|family| !family.get_metric().is_empty()).collect();
        if families.is_empty() || TextEncoder::new().encode(&families, &mut text).is_err() {
            return;
        }
        let text = String::from_utf8_lossy(&text);
        self.text.push_str(&if is_counter { text.replace(" gauge\n", " counter\n") } else { text.into_owned() });
    }
}

/// The labels that all figures have.
pub(crate) fn labels(hall: &Hall) -> [(&'static str, String); 3] {
    let identity = &hall.options.identity;
    [("cluster", identity.cluster.clone()), ("node_type", String::from("broker")), ("node_id", identity.name.clone())]
}

/// All figures as text.
pub(crate) fn text(hall: &Arc<Hall>, ports: &[(&'static str, Arc<PortFigures>)]) -> String {
    let mut page = Page::new(hall);
    traffic(hall, &mut page);
    lag(hall, &mut page);
    filters(hall, &mut page);
    clients(hall, &mut page);
    storage(hall, &mut page);
    if let Some(cold) = &hall.cold {
        tier::add(&cold.figures(), &mut page);
    }
    requests(hall, &mut page);
    connections(ports, &mut page);
    page.text
}

fn int(value: impl TryInto<i64>) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}

fn texts(values: &[&dyn Display]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}

fn traffic(hall: &Hall, page: &mut Page) {
    let (mut messages, mut bytes) = (Vec::new(), Vec::new());
    for topic in hall.tables.topics.list() {
        let name = &topic.config.topic_name;
        if name::is_retry(name) || name::is_dlq(name) || topic.incoming.messages() == 0 {
            continue;
        }
        // All that is in the schedule topic waits for its time.
        let all = &topic.incoming;
        let delayed = if name == name::SCHEDULE_TOPIC { all } else { &topic.delayed };
        let normal = (all.messages().saturating_sub(delayed.messages()), all.bytes().saturating_sub(delayed.bytes()));
        for (kind, (count, size)) in [("normal", normal), ("delay", (delayed.messages(), delayed.bytes()))] {
            if count > 0 {
                let labels = texts(&[name, &kind, &name::is_system_topic(name)]);
                messages.push((labels.clone(), int(count)));
                bytes.push((labels, int(size)));
            }
        }
    }
    let own = ["topic", "message_type", "is_system"];
    page.add("rocketmq_messages_in_total", "Messages stored.", &own, messages);
    page.add("rocketmq_throughput_in_total", "Bytes of messages stored.", &own, bytes);

    let (mut messages, mut bytes) = (Vec::new(), Vec::new());
    for ((group, topic), outgoing) in hall.figures.outgoing() {
        let traffic = &outgoing.traffic;
        let is_system = name::is_system_topic(&topic) || name::is_system_group(&group);
        let labels = texts(&[&topic, &group, &is_system, &name::is_retry(&topic)]);
        messages.push((labels.clone(), int(traffic.messages())));
        bytes.push((labels, int(traffic.bytes())));
    }
    let own = ["topic", "consumer_group", "is_system", "is_retry"];
    page.add("rocketmq_messages_out_total", "Messages delivered.", &own, messages);
    page.add("rocketmq_throughput_out_total", "Bytes of messages delivered.", &own, bytes);

    let dead = hall.figures.dead_letters().into_iter();
    let rows = dead.map(|((group, topic), count)| (texts(&[&group, &topic, &false]), int(count))).collect();
    let own = ["consumer_group", "topic", "is_system"];
    page.add("rocketmq_send_to_dlq_messages_total", "Messages that became dead letters.", &own, rows);
}

fn lag(hall: &Hall, page: &mut Page) {
    let (mut messages, mut latency, mut estimated) = (Vec::new(), Vec::new(), Vec::new());
    let began = hall.clock.monotonic();
    for (group, topic, queues) in hall.tables.offsets.all() {
        // What tools keep in such names is no consumer's progress, and nobody is to be woken for it.
        if name::is_system_group(&group) {
            continue;
        }
        let sifter = hall.clients.sifter(&group, &topic);
        let has_time = hall.since(began) < Duration::from_millis(LAG_PAGE_MS_MAX);
        let (mut behind, mut is_estimate, mut oldest) = (0, false, None::<i64>);
        for (queue_id, offset) in queues {
            let max = hall.store.queue_range(&topic, queue_id).map_or(0, |range| range.max);
            if max <= offset {
                continue;
            }
            let matching = match &sifter {
                Some(sifter) if has_time => reading::count(hall, sifter, (&topic, queue_id), (offset, max)),
                Some(sifter) => Matching { messages: max - offset, is_estimate: !sifter.is_open() },
                None => Matching { messages: max - offset, is_estimate: false },
            };
            behind += matching.messages;
            is_estimate |= matching.is_estimate;
            let time = hall.store.store_time(&topic, queue_id, offset);
            oldest = oldest.into_iter().chain(time).min();
        }
        let labels = texts(&[&group, &topic, &name::is_retry(&topic), &name::is_system_topic(&topic)]);
        messages.push((labels.clone(), behind));
        estimated.push((labels.clone(), i64::from(is_estimate)));
        latency.push((labels, oldest.map_or(0, |oldest| (hall.now_ms() - oldest).max(0))));
    }
    let own = ["consumer_group", "topic", "is_retry", "is_system"];
    page.add("rocketmq_consumer_lag_messages", "Messages not yet consumed that the group wants.", &own, messages);
    page.add(
        "strata_consumer_lag_estimated",
        "1: that count is an estimate, since not all messages were looked at.",
        &own,
        estimated,
    );
    page.add(
        "rocketmq_consumer_lag_latency_milliseconds",
        "Age of the oldest message not yet consumed.",
        &own,
        latency,
    );
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
    let rows =
        rows.map(|((language, version), count)| (texts(&[&language, &version, &"remoting"]), int(count))).collect();
    let own = ["language", "version", "protocol_type"];
    page.add("rocketmq_producer_connections", "Producers connected.", &own, rows);
    let rows = census.consumers.into_iter();
    let rows = rows
        .map(|((group, language, version, mode), count)| {
            let is_system = name::is_system_group(&group);
            (texts(&[&group, &language, &version, &mode.to_lowercase(), &"remoting", &is_system]), int(count))
        })
        .collect();
    let own = ["consumer_group", "language", "version", "consume_mode", "protocol_type", "is_system"];
    page.add("rocketmq_consumer_connections", "Consumers connected.", &own, rows);
    let none = |value: i64| vec![(Vec::new(), value)];
    page.add("rocketmq_broker_permission", "2: write, 4: read.", &[], none(i64::from(hall.options.permission)));
    page.add("rocketmq_topic_number", "Topics.", &[], none(int(hall.tables.topics.count())));
    page.add("rocketmq_consumer_group_number", "Consumer groups.", &[], none(int(hall.tables.groups.count())));
    let pulled = hall.figures.outgoing().into_iter();
    let rows = pulled.map(|((group, topic), outgoing)| {
        let in_flight = |(queue_id, pulled): (i32, i64)| {
            // Who stores no progress here, as a broadcasting group, has nothing in flight that could be known.
            let consumed = hall.tables.offsets.find(&group, &topic, queue_id).unwrap_or(pulled);
            (pulled - consumed).max(0)
        };
        let labels = texts(&[&group, &topic, &name::is_retry(&topic), &name::is_system_topic(&topic)]);
        (labels, outgoing.pulled().into_iter().map(in_flight).sum())
    });
    let own = ["consumer_group", "topic", "is_retry", "is_system"];
    page.add("rocketmq_consumer_inflight_messages", "Messages pulled and not yet consumed.", &own, rows.collect());
    page.add("strata_parked_pulls", "Pulls that wait for messages.", &[], none(int(hall.waiting.count())));
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
    let ratio = vec![(Vec::new(), stats.disk_used_ratio)];
    page.add_float("strata_disk_used_ratio", "Used part of the file system.", &[], ratio);
    let scrubbed = hall.store.scrubbed();
    let of = |value: u64| vec![(Vec::new(), int(value))];
    page.add("strata_scrub_passes_total", "Times that all sealed segments were read again.", &[], of(scrubbed.passes));
    page.add("strata_scrub_bytes_total", "Bytes of the log that were read again.", &[], of(scrubbed.bytes));
    let damaged = of(scrubbed.damaged_blocks);
    page.add("strata_scrub_damaged_blocks", "Blocks of 64 KiB found damaged by the last pass.", &[], damaged);
    let reason = hall.store.latched();
    let latched = vec![(Vec::new(), i64::from(reason.is_some()))];
    page.add("strata_store_latched", "1: a write or flush failed and no message is taken.", &[], latched);
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
    use std::fmt::Write as _;
    let name = "rocketmq_rpc_latency_milliseconds";
    let mut text = format!("# HELP {name} Time from a request to its answer.\n# TYPE {name} histogram\n");
    let base: String = page.base.iter().map(|(label, value)| format!("{label}=\"{value}\",")).collect();
    let all = hall.figures.requests.all();
    for (pair, histogram) in &all {
        let Pair { request, response, held } = pair;
        let snapshot = histogram.snapshot();
        let code = request_name(*request).map_or_else(|| String::from("unknown"), str::to_lowercase);
        let outcome =
            ResponseCode::of(*response).map_or_else(|| response.to_string(), |code| snake(&format!("{code:?}")));
        let labels = format!(
            "{base}protocol_type=\"remoting\",request_code=\"{code}\",response_code=\"{outcome}\",\
             is_long_polling=\"{held}\",result=\"success\""
        );
        for (bound, count) in BOUNDS_MS.iter().zip(snapshot.cumulative) {
            let _ = writeln!(text, "{name}_bucket{{{labels},le=\"{bound}\"}} {count}");
        }
        let _ = writeln!(text, "{name}_bucket{{{labels},le=\"+Inf\"}} {}", snapshot.count);
        let _ = writeln!(text, "{name}_sum{{{labels}}} {}", snapshot.sum_ms);
        let _ = writeln!(text, "{name}_count{{{labels}}} {}", snapshot.count);
    }
    if !all.is_empty() {
        page.text.push_str(&text);
    }
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
