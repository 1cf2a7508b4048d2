//! What a power cut may take: from a broker that flushes in the background the last moments before it, from
//! every broker what it answered when the power was gone already.
//!
//! Owns the rule by which what the cut took becomes "nobody knows" in the logs of the run that it ended. What
//! was acknowledged earlier stays acknowledged there, and the judge finds it lost.

use std::collections::HashMap;

use crate::check::Role;
use crate::dump::{Dump, QueueDump};
use crate::history::{History, Outcome, Queue, Sent};

/// What was taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Loss {
    /// Acknowledged messages.
    pub messages: usize,
    /// How long before the cut the oldest of them was acknowledged, ms.
    pub oldest_ms: i64,
    /// Deliveries to consumers of messages that are gone.
    pub deliveries: usize,
}

impl Loss {
    /// Adds what another cut took.
    pub fn add(&mut self, other: Self) {
        self.messages += other.messages;
        self.oldest_ms = self.oldest_ms.max(other.oldest_ms);
        self.deliveries += other.deliveries;
    }
}

/// The moments of a cut, ms since 1970.
#[derive(Debug, Clone, Copy)]
pub struct Moments {
    /// What was acknowledged from here on may be gone.
    pub since_ms: i64,
    /// The cut.
    pub cut_ms: i64,
    /// When the server was started that tells what is left.
    pub started_ms: i64,
}

/// Takes from the logs of one run what its end was allowed to take. `dump` is what a server that was started after
/// the cut holds.
pub fn forgive(run: &mut History, dump: &Dump, moments: Moments) -> Loss {
    let Moments { since_ms, cut_ms, started_ms } = moments;
    let mut loss = Loss::default();
    for sent in &mut run.sends {
        let Some(answered_ms) = missing(sent, dump).filter(|answered_ms| *answered_ms >= since_ms) else { continue };
        let age_ms = cut_ms - answered_ms;
        loss.messages += 1;
        loss.oldest_ms = loss.oldest_ms.max(age_ms);
        sent.outcome = Outcome::Unknown;
    }
    for session in &mut run.sessions {
        let held = dump.queues.get(&session.queue);
        let before = session.deliveries.len();
        session.deliveries.retain(|delivery| {
            held.and_then(|held| held.at(delivery.offset)).is_some_and(|stored| stored.record == delivery.record)
        });
        loss.deliveries += before - session.deliveries.len();
    }
    // A group that had read what is gone goes on at the end that the queue had at the start.
    let ends: HashMap<&Queue, i64> =
        dump.queues.iter().map(|(queue, held)| (queue, end_at(held, started_ms))).collect();
    for commit in &mut run.commits {
        commit.offset = commit.offset.min(ends.get(&commit.queue).copied().unwrap_or(0));
    }
    for back in &mut run.sent_back {
        let waits = dump.queues.iter().filter(|(queue, _)| Role::of(&queue.topic) != Role::Target);
        let mut stored = waits.flat_map(|(_, held)| &held.stored);
        back.confirmed &= stored.any(|stored| stored.ticket == Some(back.ticket));
    }
    loss
}

/// Takes from the logs of one run what consumers were refused when the power was gone and the server not yet: what it
/// had not read by then it could not read any more.
pub fn forgive_refusals(run: &mut History, cut_ms: i64) {
    for session in &mut run.sessions {
        session.trouble.take_if(|trouble| trouble.refused && trouble.at_ms >= cut_ms);
    }
}

/// When a message was acknowledged that is gone.
fn missing(sent: &Sent, dump: &Dump) -> Option<i64> {
    let Outcome::Stored(place) = &sent.outcome else { return None };
    let held = dump.queues.get(&place.queue).and_then(|held| held.at(place.offset));
    let is_there = held.is_some_and(|stored| stored.ticket == Some(sent.ticket));
    sent.answered_ms.filter(|_| !is_there)
}

/// The next offset of a queue when the server was started; delayed messages may have come since.
fn end_at(held: &QueueDump, started_ms: i64) -> i64 {
    let younger = held.stored.iter().filter(|stored| stored.stored_ms >= started_ms).count();
    held.max - i64::try_from(younger).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::dump::Stored;
    use crate::history::{Commit, Digest, Kind, Place, Session, Ticket, Trouble};

    fn sent(number: u64, offset: i64, answered_ms: i64) -> Sent {
        let queue = Queue::new("t", 0);
        Sent {
            ticket: Ticket { producer: 1, number },
            queue: queue.clone(),
            kind: Kind::Plain,
            body: Digest::of(b"x"),
            properties: Arc::from(&b""[..]),
            outcome: Outcome::Stored(Place { queue, offset }),
            answered_ms: Some(answered_ms),
        }
    }

    fn stored(number: u64, offset: i64, stored_ms: i64) -> Stored {
        Stored {
            offset,
            position: offset,
            record: number,
            body: Digest::of(b"x"),
            body_good: true,
            properties: Arc::from(&b""[..]),
            ticket: Some(Ticket { producer: 1, number }),
            stored_ms,
            reconsume_times: 0,
        }
    }

    /// Message 0 is there, 1 to 3 are gone, and what came after the start has the place of 1.
    #[test]
    fn only_what_is_gone_and_young_is_forgiven() {
        let queue = Queue::new("t", 0);
        let mut run = History {
            sends: vec![sent(0, 0, 9_500), sent(1, 1, 8_999), sent(2, 2, 9_000), sent(3, 3, 10_001)],
            ..History::default()
        };
        let commit =
            |offset| Commit { group: Arc::from("g"), queue: queue.clone(), run: 0, offset, confirmed_ms: Some(9_900) };
        run.commits = vec![commit(1), commit(4)];
        let held = QueueDump {
            min: 0,
            max: 2,
            stored: vec![stored(0, 0, 9_400), stored(7, 1, 20_500)],
            ..QueueDump::default()
        };
        let dump = Dump { queues: [(queue.clone(), held)].into() };
        let loss = forgive(&mut run, &dump, Moments { since_ms: 9_000, cut_ms: 10_000, started_ms: 20_000 });
        assert_eq!(loss, Loss { messages: 2, oldest_ms: 1_000, deliveries: 0 });
        let is_stored = |sent: &Sent| matches!(sent.outcome, Outcome::Stored(_));
        let left: Vec<bool> = run.sends.iter().map(is_stored).collect();
        assert_eq!(left, [true, true, false, false], "what was acknowledged before the window stays acknowledged");
        let commits: Vec<i64> = run.commits.iter().map(|commit| commit.offset).collect();
        assert_eq!(commits, [1, 1], "the queue ended at 1 when the server was started");
    }

    #[test]
    fn only_refusals_after_the_cut_are_forgiven() {
        let left = |refused, at_ms| {
            let trouble = Some(Trouble { what: String::new(), refused, at_ms });
            let (group, queue) = (Arc::from("g"), Queue::new("t", 0));
            let session = Session { group, queue, run: 0, begin: 0, deliveries: Vec::new(), trouble };
            let mut run = History { sessions: vec![session], ..History::default() };
            forgive_refusals(&mut run, 10_000);
            run.sessions[0].trouble.is_some()
        };
        assert_eq!([left(true, 9_999), left(true, 10_000), left(false, 10_001)], [true, false, true]);
    }
}
