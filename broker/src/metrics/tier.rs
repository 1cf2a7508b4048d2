//! The cold tier's figures, under names of Strata's own: RocketMQ's tiered storage is another thing.

use strata_tiering::bucket::{BreakerState, CallFigures};

use super::page::Page;
use super::{int, texts};
use crate::cold::{Done, Figures};

/// Adds them to the page.
pub(super) fn add(figures: &Figures, page: &mut Page) {
    let mut add = |name: &str, help: &str, value: i64| page.add_one(name, help, value);
    add("strata_tier_open", "1: the tier is open.", i64::from(figures.manifest.is_some()));
    add("strata_tier_troubled", "1: the last opening, rolling or upkeep failed.", i64::from(figures.is_troubled));
    if let Some(manifest) = &figures.manifest {
        let totals = manifest.totals();
        add("strata_tier_listed_rolls", "Rolls in the tier.", int(manifest.rolls().len()));
        add("strata_tier_listed_objects", "Objects of messages in the tier.", int(totals.objects));
        add("strata_tier_listed_bytes", "Bytes of objects and indexes in the tier.", int(totals.bytes));
        add("strata_tier_listed_messages", "Messages in the tier.", int(totals.rows));
    }
    let waiting = &figures.waiting;
    add("strata_tier_waiting_bytes", "Bytes of the log that are not in the tier.", waiting.bytes);
    add("strata_tier_waiting_sealed_bytes", "Those of them that are sealed.", waiting.sealed_bytes);
    add("strata_tier_waiting_segments", "Sealed segments that are not in the tier.", int(waiting.segments));
    let Done { rolls, rolled_messages, rolled_bytes, roll_failures, reads, read_messages, read_failures } =
        figures.done;
    for (name, help, value) in [
        ("strata_tier_rolls_total", "Rolls that were listed.", rolls),
        ("strata_tier_rolled_messages_total", "Messages of those rolls.", rolled_messages),
        ("strata_tier_rolled_bytes_total", "Bytes of their objects and indexes.", rolled_bytes),
        ("strata_tier_roll_failures_total", "Tries of rolling that failed.", roll_failures),
        ("strata_tier_reads_total", "Pulls answered out of the tier.", reads),
        ("strata_tier_read_messages_total", "Messages of those answers.", read_messages),
        ("strata_tier_read_failures_total", "Pulls that the tier could not answer.", read_failures),
        ("strata_tier_fetched_bytes_total", "Bytes that cold reads asked the store for.", figures.fetched_bytes),
        ("strata_tier_fetch_requests_total", "Requests of cold reads to the store.", figures.fetched_requests),
        ("strata_tier_store_read_bytes_total", "Bytes that the store gave.", figures.store.bytes_read),
        ("strata_tier_store_sent_bytes_total", "Bytes that were sent to the store.", figures.store.bytes_sent),
        ("strata_tier_store_breaker_opened_total", "Times the store was given up.", figures.store.breaker_opened),
    ] {
        add(name, help, int(value));
    }
    let upkeep = &figures.upkeep;
    for (name, help, value) in [
        ("strata_tier_expired_rolls_total", "Rolls that expired whole.", upkeep.expired_rolls),
        ("strata_tier_expired_bytes_total", "Bytes of their objects and indexes.", upkeep.expired_bytes),
        ("strata_tier_merges_total", "Larger rolls that were made of small ones.", upkeep.merges),
        ("strata_tier_merged_bytes_total", "Bytes of their objects and indexes.", upkeep.merged_bytes),
        ("strata_tier_deleted_objects_total", "Objects that nobody needed.", upkeep.deleted_objects),
        ("strata_tier_deleted_bytes_total", "Bytes of them.", upkeep.deleted_bytes),
        ("strata_tier_upkeep_failures_total", "Tries of upkeep that failed.", upkeep.failures),
    ] {
        add(name, help, int(value));
    }
    let breaker = match figures.store.breaker {
        BreakerState::Closed => 0,
        BreakerState::HalfOpen => 1,
        BreakerState::Open => 2,
    };
    add("strata_tier_store_breaker", "0: calls pass, 1: one finds out, 2: none does.", breaker);
    calls(&figures.store.calls, page);
}

fn calls(all: &[CallFigures], page: &mut Page) {
    let own = ["call"];
    let rows = |value: fn(&CallFigures) -> u64| {
        all.iter().map(|figures| (texts(&[&figures.call]), int(value(figures)))).collect::<Vec<_>>()
    };
    let (begun, failed, again) =
        (rows(|figures| figures.calls), rows(|figures| figures.failures), rows(|figures| figures.retries));
    page.add("strata_tier_store_calls_total", "Calls of the store.", &own, begun);
    page.add("strata_tier_store_failures_total", "Calls of the store that failed.", &own, failed);
    page.add("strata_tier_store_retries_total", "Attempts beside the first of a call.", &own, again);
    let times = all.iter().map(|figures| (texts(&[&figures.call]), figures.time.as_secs_f64())).collect();
    page.add("strata_tier_store_seconds_total", "Time in calls of the store.", &own, times);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use strata_tiering::bucket::{BucketFigures, Call};
    use strata_tiering::manifest::Manifest;

    use super::*;
    use crate::cold::{Backlog, UpkeepDone};

    fn page(manifest: Option<Manifest>) -> String {
        let calls = Call::ALL.map(|call| {
            let retries = u64::from(call == Call::Read);
            CallFigures { call, calls: 4, failures: 0, retries, time: Duration::from_millis(1_500) }
        });
        let figures = Figures {
            manifest: manifest.map(Arc::new),
            waiting: Backlog { segments: 2, sealed_bytes: 70, bytes: 90 },
            is_troubled: true,
            done: Done { rolls: 3, roll_failures: 1, ..Done::default() },
            upkeep: UpkeepDone { merges: 4, ..UpkeepDone::default() },
            fetched_bytes: 8,
            fetched_requests: 2,
            store: BucketFigures {
                calls,
                bytes_read: 5,
                bytes_sent: 6,
                breaker: BreakerState::Open,
                breaker_opened: 9,
            },
        };
        let mut page = super::super::page::page();
        add(&figures, &mut page);
        page.into_text()
    }

    #[test]
    fn figures_have_their_types_and_labels() {
        let text = page(Some(Manifest::default()));
        let base = r#"cluster="c""#;
        for line in [
            format!("strata_tier_open{{{base}}} 1"),
            format!("strata_tier_listed_messages{{{base}}} 0"),
            format!("strata_tier_waiting_bytes{{{base}}} 90"),
            "# TYPE strata_tier_waiting_bytes gauge".to_owned(),
            format!("strata_tier_rolls_total{{{base}}} 3"),
            "# TYPE strata_tier_rolls_total counter".to_owned(),
            format!("strata_tier_merges_total{{{base}}} 4"),
            format!("strata_tier_store_breaker{{{base}}} 2"),
            format!(r#"strata_tier_store_retries_total{{{base},call="read"}} 1"#),
            format!(r#"strata_tier_store_seconds_total{{{base},call="delete"}} 1.5"#),
            "# TYPE strata_tier_store_seconds_total counter".to_owned(),
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }

    #[test]
    fn nothing_is_said_of_what_nobody_knows() {
        let text = page(None);
        assert!(!text.contains("strata_tier_listed"), "{text}");
        assert!(text.contains("strata_tier_waiting_bytes{"), "{text}");
    }
}
