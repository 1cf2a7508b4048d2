//! I5, I7 and the consumers' half of I2, I3 and I8: the consumers' log against the queues.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::{Report, Terms};
use crate::dump::{Dump, QueueDump};
use crate::history::{Delivery, History, Place, Queue, Session};
use crate::violation::Violation;

pub(super) fn check(history: &History, dump: &Dump, terms: &Terms, report: &mut Report) {
    let mut got: HashMap<(&str, &Queue), BTreeSet<i64>> = HashMap::new();
    for session in &history.sessions {
        without_jumps(session, report);
        let offsets = got.entry((&session.group, &session.queue)).or_default();
        for delivery in &session.deliveries {
            report.counts.delivered += 1;
            if !offsets.insert(delivery.offset) {
                report.counts.redelivered += 1;
            }
        }
        let empty = QueueDump::default();
        let held = dump.queues.get(&session.queue).unwrap_or(&empty);
        still_there(session, held, report);
    }
    for (group, topic) in &terms.readers {
        for (queue, held) in dump.queues.iter().filter(|(queue, _)| queue.topic == *topic) {
            let offsets = got.get(&(&**group, queue));
            everything(group, (queue, held), offsets, report);
        }
    }
}

/// I7: a reading goes on by one from where it began. A repetition within a run has no excuse either (I8).
fn without_jumps(session: &Session, report: &mut Report) {
    let Session { group, queue, run, begin, .. } = session;
    let mut wanted = *begin;
    for delivery in &session.deliveries {
        if delivery.offset != wanted {
            let (group, queue) = (Arc::clone(group), queue.clone());
            report.violations.push(Violation::Jump { group, queue, run: *run, wanted, came: delivery.offset });
        }
        wanted = delivery.offset + 1;
    }
    if let Some(trouble) = &session.trouble {
        let (group, queue, what) = (Arc::clone(group), queue.clone(), trouble.what.clone());
        report.violations.push(Violation::Trouble { group, queue, run: *run, what });
    }
}

/// I5 and I3: what was delivered is still there, and the same.
fn still_there(session: &Session, held: &QueueDump, report: &mut Report) {
    for Delivery { offset, record, ticket } in &session.deliveries {
        let (place, group) = (Place { queue: session.queue.clone(), offset: *offset }, Arc::clone(&session.group));
        match held.at(*offset) {
            Some(stored) if stored.record == *record => {}
            Some(stored) => {
                report.violations.push(Violation::Changed { place, group, before: *ticket, after: stored.ticket });
            }
            None => {
                let instead = held.absence(*offset);
                report.violations.push(Violation::Vanished { place, group, ticket: *ticket, instead });
            }
        }
    }
}

/// I7: a group that read a queue to its end got all of it.
fn everything(group: &Arc<str>, (queue, held): (&Queue, &QueueDump), got: Option<&BTreeSet<i64>>, report: &mut Report) {
    for stored in &held.stored {
        if got.is_none_or(|offsets| !offsets.contains(&stored.offset)) {
            let place = Place { queue: queue.clone(), offset: stored.offset };
            report.violations.push(Violation::Undelivered { place, group: Arc::clone(group), ticket: stored.ticket });
        }
    }
}
