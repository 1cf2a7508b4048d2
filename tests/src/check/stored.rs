//! I1 to I4 and the stored half of I8: the queues against the producers' log.

use std::collections::{BTreeMap, HashMap};

use strata_protocol::properties::{self, Properties};

use super::{Report, Role, Sends, delay_of};
use crate::dump::{Dump, QueueDump, Stored};
use crate::history::{History, Outcome, Place, Queue, Sent, Ticket};
use crate::violation::Violation;

/// Properties that a broker adds to every message.
const BROKERS_OWN: [&str; 3] = [properties::CLUSTER, properties::MSG_REGION, properties::TRACE_ON];

/// Properties that delaying changes.
const OF_DELAY: [&str; 3] = [properties::DELAY, properties::REAL_TOPIC, properties::REAL_QID];

/// Properties that giving back changes.
const OF_RETRY: [&str; 3] = [properties::RETRY_TOPIC, properties::ORIGIN_MESSAGE_ID, properties::WAIT];

pub(super) fn check(history: &History, sends: &Sends<'_>, dump: &Dump, report: &mut Report) {
    let mut copies: HashMap<(Ticket, &Queue), usize> = HashMap::new();
    for (queue, held) in &dump.queues {
        contiguous(queue, held, report);
        in_order(queue, held, sends, report);
        for stored in &held.stored {
            let place = Place { queue: queue.clone(), offset: stored.offset };
            if let Some(sent) = sent_here(&place, stored, (history, sends), report) {
                *copies.entry((sent.ticket, queue)).or_default() += 1;
                same(&place, stored, sent, report);
            }
        }
    }
    positions(dump, report);
    for sent in &history.sends {
        acknowledged(sent, dump, report);
    }
    multiplicity(&copies, history, sends, report);
    report.counts.unknown_found = found_unknowns(&copies, sends);
}

/// I3: what a queue holds are its offsets, one by one.
fn contiguous(queue: &Queue, held: &QueueDump, report: &mut Report) {
    let gap = |what: String| Violation::Gap { queue: queue.clone(), what };
    let mut wanted = held.min;
    for stored in &held.stored {
        while held.unreadable.contains_key(&wanted) {
            wanted += 1;
        }
        if stored.offset != wanted {
            report.violations.push(gap(format!("offset {} comes where {wanted} is due", stored.offset)));
        }
        wanted = stored.offset + 1;
    }
    while held.unreadable.contains_key(&wanted) {
        wanted += 1;
    }
    if wanted != held.max {
        report.violations.push(gap(format!("reading ends before {wanted}, the queue's end is {}", held.max)));
    }
}

/// I3: no two messages share a position of the log, and within a queue positions rise with offsets.
fn positions(dump: &Dump, report: &mut Report) {
    let mut taken: BTreeMap<i64, (&Queue, i64)> = BTreeMap::new();
    for (queue, held) in &dump.queues {
        let mut last = -1;
        for stored in &held.stored {
            let at = (queue, stored.offset);
            if let Some((other, offset)) = taken.insert(stored.position, at) {
                let what =
                    format!("offset {} lies at position {} like {other}@{offset}", stored.offset, stored.position);
                report.violations.push(Violation::Gap { queue: queue.clone(), what });
            }
            if stored.position <= last {
                let what =
                    format!("offset {} lies at position {}, before its predecessor", stored.offset, stored.position);
                report.violations.push(Violation::Gap { queue: queue.clone(), what });
            }
            last = stored.position;
        }
    }
}

/// I4: also of messages without an answer; a producer waits for nothing to send the next one in order.
fn in_order(queue: &Queue, held: &QueueDump, sends: &Sends<'_>, report: &mut Report) {
    if Role::of(&queue.topic) != Role::Target {
        return;
    }
    let mut newest: HashMap<u32, Ticket> = HashMap::new();
    for stored in &held.stored {
        let plain = stored.ticket.filter(|ticket| sends.get(ticket).is_some_and(|sent| delay_of(sent).is_none()));
        let Some(ticket) = plain else { continue };
        if let Some(earlier) = newest.insert(ticket.producer, ticket)
            && earlier.number >= ticket.number
        {
            let place = Place { queue: queue.clone(), offset: stored.offset };
            report.violations.push(Violation::Disorder { place, ticket, earlier });
        }
    }
}

/// I2: the message that was sent to this place; a violation when there is none.
fn sent_here<'a>(
    place: &Place,
    stored: &Stored,
    (history, sends): (&History, &Sends<'a>),
    report: &mut Report,
) -> Option<&'a Sent> {
    let mut phantom = |what: &str| {
        let (place, ticket, what) = (place.clone(), stored.ticket, what.to_owned());
        report.violations.push(Violation::Phantom { place, ticket, what });
    };
    let Some(ticket) = stored.ticket else {
        phantom("its properties name no message of this test");
        return None;
    };
    let Some(sent) = sends.get(&ticket).copied() else {
        phantom("no producer made this message");
        return None;
    };
    let given_back = || history.sent_back.iter().any(|back| back.ticket == ticket);
    let level = delay_of(sent).map(|(level, _)| level);
    let belongs = match Role::of(&place.queue.topic) {
        Role::Target => sent.queue.topic == place.queue.topic && (sent.queue.id < 0 || sent.queue.id == place.queue.id),
        Role::Schedule if properties::find(&stored.properties, properties::RETRY_TOPIC).is_some() => given_back(),
        Role::Schedule => level == Some(place.queue.id + 1),
        Role::Retry => given_back(),
    };
    if !belongs {
        phantom(&format!("it was sent to {}", sent.queue));
        return None;
    }
    if let Outcome::Refused { code } = sent.outcome {
        report.violations.push(Violation::Refused { place: place.clone(), ticket, code });
    }
    Some(sent)
}

/// I1: body and properties are the ones that were sent.
fn same(place: &Place, stored: &Stored, sent: &Sent, report: &mut Report) {
    let mut altered = |what: String| {
        report.violations.push(Violation::Altered { place: place.clone(), ticket: sent.ticket, what });
    };
    if stored.body != sent.body {
        altered(format!(
            "its body has {} bytes and hash {:x}, sent were {} and {:x}",
            stored.body.bytes, stored.body.hash, sent.body.bytes, sent.body.hash
        ));
    } else if !stored.body_good {
        altered(String::from("its checksum does not fit its body"));
    }
    let is_retry = properties::find(&stored.properties, properties::RETRY_TOPIC).is_some();
    let mut changed: Vec<&str> = BROKERS_OWN.to_vec();
    if delay_of(sent).is_some() || is_retry {
        changed.extend(OF_DELAY);
    }
    if is_retry {
        changed.extend(OF_RETRY);
    }
    let (before, after) = (kept(&sent.properties, &changed), kept(&stored.properties, &changed));
    if before != after {
        altered(format!("its properties are {after:?}, sent were {before:?}"));
    }
    if stored.reconsume_times != i32::from(is_retry) {
        altered(format!("it counts {} deliveries", stored.reconsume_times));
    }
}

/// The properties that nobody may change, by name.
fn kept(text: &[u8], changed: &[&str]) -> Vec<(String, String)> {
    let as_text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut kept: Vec<_> = Properties::of(text).map(|(name, value)| (as_text(name), as_text(value))).collect();
    kept.retain(|(name, _)| !changed.contains(&name.as_str()));
    kept.sort();
    kept
}

/// I1: the message is where its producer was told.
fn acknowledged(sent: &Sent, dump: &Dump, report: &mut Report) {
    let Outcome::Stored(place) = &sent.outcome else { return };
    let lost = |instead: String| Violation::Lost { place: place.clone(), ticket: sent.ticket, instead };
    let Some(held) = dump.queues.get(&place.queue) else {
        report.violations.push(lost(String::from("its queue does not exist")));
        return;
    };
    match held.at(place.offset) {
        Some(stored) if stored.ticket == Some(sent.ticket) => {}
        Some(stored) => report.violations.push(lost(format!("{:?} is there", stored.ticket))),
        None => report.violations.push(lost(held.absence(place.offset))),
    }
}

/// I8: how often a message may be stored. Nobody sends again here, so once; what waits for a time may be
/// brought to its topic once more by each kill, because progress of the schedule is stored behind it.
fn multiplicity(copies: &HashMap<(Ticket, &Queue), usize>, history: &History, sends: &Sends<'_>, report: &mut Report) {
    let kills = history.runs.len();
    let mut given_back: HashMap<Ticket, usize> = HashMap::new();
    for back in &history.sent_back {
        *given_back.entry(back.ticket).or_default() += 1;
    }
    let mut by_role: HashMap<(Ticket, Role), (usize, Queue)> = HashMap::new();
    for ((ticket, queue), times) in copies {
        let entry = by_role.entry((*ticket, Role::of(&queue.topic))).or_insert_with(|| (0, (*queue).clone()));
        entry.0 += times;
    }
    for ((ticket, role), (times, queue)) in by_role {
        let back = given_back.get(&ticket).copied().unwrap_or(0);
        let delayed = usize::from(sends.get(&ticket).is_some_and(|sent| delay_of(sent).is_some()));
        let most = match role {
            Role::Target if delayed == 0 => 1,
            Role::Target => 1 + kills,
            Role::Schedule => delayed + back,
            Role::Retry => back * (1 + kills),
        };
        if times > most {
            report.violations.push(Violation::Twice { queue, ticket, times, most });
        }
        match role {
            Role::Target if delayed > 0 => {
                report.counts.delayed += times;
                report.counts.delayed_again += times - 1;
            }
            Role::Retry => report.counts.retried += times,
            Role::Target | Role::Schedule => {}
        }
    }
}

/// Sends without an answer that the server has.
fn found_unknowns(copies: &HashMap<(Ticket, &Queue), usize>, sends: &Sends<'_>) -> usize {
    let found: std::collections::HashSet<_> = copies.keys().map(|(ticket, _)| ticket).collect();
    found.into_iter().filter(|ticket| sends.get(ticket).is_some_and(|sent| sent.outcome == Outcome::Unknown)).count()
}
