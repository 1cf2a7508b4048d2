//! I10: delayed messages and messages given back come to their topic, and not early.

use std::collections::HashMap;
use std::sync::Arc;

use strata_protocol::{name, properties};

use super::{Report, Role, delay_of};
use crate::dump::{Dump, Stored};
use crate::history::{History, Outcome, Place, Queue, Ticket};
use crate::limits::EARLY_MS_MAX;
use crate::violation::Violation;

/// Where a ticket is, by the role of the topic.
type Copies<'a> = HashMap<(Ticket, Role), Vec<(&'a Queue, &'a Stored)>>;

pub(super) fn check(history: &History, dump: &Dump, report: &mut Report) {
    let mut copies: Copies<'_> = HashMap::new();
    for (queue, held) in &dump.queues {
        for stored in &held.stored {
            if let Some(ticket) = stored.ticket {
                copies.entry((ticket, Role::of(&queue.topic))).or_default().push((queue, stored));
            }
        }
    }
    for sent in &history.sends {
        let Some((_, delay_ms)) = delay_of(sent) else { continue };
        let waits = |copies: &Vec<(&Queue, &Stored)>| copies.iter().any(|(_, stored)| !is_retry(stored));
        let is_due =
            matches!(sent.outcome, Outcome::Stored(_)) || copies.get(&(sent.ticket, Role::Schedule)).is_some_and(waits);
        if is_due && !copies.contains_key(&(sent.ticket, Role::Target)) {
            report.violations.push(Violation::NeverCame { topic: Arc::clone(&sent.queue.topic), ticket: sent.ticket });
        }
        not_early((sent.ticket, Role::Target), delay_ms, &copies, report);
    }
    for back in &history.sent_back {
        if back.confirmed && !copies.contains_key(&(back.ticket, Role::Retry)) {
            let topic = name::retry_topic(&back.group).into();
            report.violations.push(Violation::NeverCame { topic, ticket: back.ticket });
        }
        not_early((back.ticket, Role::Retry), back.delay_ms, &copies, report);
    }
}

/// Whether a waiting message waits for a group's retry topic.
fn is_retry(stored: &Stored) -> bool {
    properties::find(&stored.properties, properties::RETRY_TOPIC).is_some()
}

/// Compares when a message came with when it began to wait, both by the broker's stamps.
fn not_early(key: (Ticket, Role), delay_ms: i64, copies: &Copies<'_>, report: &mut Report) {
    let waits_for_retry = key.1 == Role::Retry;
    let waiting = copies.get(&(key.0, Role::Schedule)).into_iter().flatten();
    let began =
        waiting.filter(|(_, stored)| is_retry(stored) == waits_for_retry).map(|(_, stored)| stored.stored_ms).min();
    let Some(began) = began else { return };
    for (queue, stored) in copies.get(&key).into_iter().flatten() {
        let early_ms = began + delay_ms - stored.stored_ms;
        if early_ms > EARLY_MS_MAX {
            let place = Place { queue: (*queue).clone(), offset: stored.offset };
            report.violations.push(Violation::Early { place, ticket: key.0, early_ms });
        }
    }
}
