//! The trail: the broker's own trace records, so that the life of a message is known also where clients send no traces.
//!
//! Owns what happened to messages within the last second, put together by client and queue, and how that becomes messages
//! of the trace topic. What the records mean is [`strata_protocol::trace`]'s; that a message was stored, and what became of
//! one that was given back, its own copies in the log tell as well.
//!
//! A record tells of a range of one queue, not of each message: what a client does in a row within a second is one record.
//! Records are for those who look for messages, not a promise: a crash loses the last second, and a broker that cannot
//! store them drops and counts them.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use strata_protocol::name;
use strata_protocol::trace::Kind;

use crate::limits::TRAIL_SPANS_MAX;

mod write;

pub(crate) use write::{TICK, write};

/// Of which messages of a topic there are records: of none, of all, or of one in so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampling(u32);

impl Sampling {
    /// No records.
    pub const OFF: Self = Self(0);
    /// Records of all messages.
    pub const FULL: Self = Self(1);

    /// Reads `off`, `full`, or a number N for one message in N; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "off" => Some(Self::OFF),
            "full" => Some(Self::FULL),
            _ => text.parse().ok().filter(|one_in| *one_in > 0).map(Self),
        }
    }

    /// Whether one of the messages from an offset up to another is to have records. Offsets choose, so that a message has
    /// all of its records or none.
    fn takes(self, from: i64, next: i64) -> bool {
        match self.0 {
            0 => false,
            1 => from < next,
            one_in => {
                let one_in = i64::from(one_in);
                from + (one_in - from.rem_euclid(one_in)) % one_in < next
            }
        }
    }
}

impl std::fmt::Display for Sampling {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            0 => to.write_str("off"),
            1 => to.write_str("full"),
            one_in => write!(to, "{one_in}"),
        }
    }
}

/// Whose doing something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Doer {
    /// The number of the connection.
    pub connection: u64,
    /// Its other end.
    pub host: SocketAddr,
}

/// Something that happened to messages of one queue that lie in a row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Event<'a> {
    pub kind: Kind,
    pub group: &'a str,
    pub topic: &'a str,
    pub queue_id: i32,
    /// The first offset, and the one behind the last.
    pub range: (i64, i64),
    /// How many messages: fewer than the range has offsets when a filter passed some over.
    pub messages: usize,
    pub doer: Doer,
}

/// What happened to one message that was given back.
#[derive(Debug, Clone)]
pub(crate) struct GivenBack {
    /// Its id.
    pub id: Option<String>,
    /// How often it was consumed before.
    pub retry_times: i32,
    /// The level of its delay; 0 for a dead letter.
    pub delay_level: i32,
}

/// Events in a row.
#[derive(Debug, Clone)]
struct Span {
    kind: Kind,
    group: String,
    topic: String,
    queue_id: i32,
    range: (i64, i64),
    messages: usize,
    doer: Doer,
    /// When the first of them happened, ms.
    begun_ms: i64,
    back: Option<GivenBack>,
}

impl Span {
    fn of(event: &Event<'_>, begun_ms: i64) -> Self {
        Self {
            kind: event.kind,
            group: event.group.to_owned(),
            topic: event.topic.to_owned(),
            queue_id: event.queue_id,
            range: event.range,
            messages: event.messages,
            doer: event.doer,
            begun_ms,
            back: None,
        }
    }

    /// Takes an event in if it goes on where this one ended.
    fn goes_on(&mut self, event: &Event<'_>) -> bool {
        // Producers take turns in a queue: whose message it is its own record tells, by the address it came from.
        let is_next =
            if self.kind == Kind::Store { self.range.1 <= event.range.0 } else { self.range.1 == event.range.0 };
        let is_same = (self.kind, self.queue_id, self.doer) == (event.kind, event.queue_id, event.doer)
            && self.group == event.group
            && self.topic == event.topic;
        if is_same && is_next {
            self.range.1 = event.range.1;
            self.messages += event.messages;
        }
        is_same && is_next
    }
}

/// What happened since it was written last.
#[derive(Debug, Default)]
struct Window {
    /// What may go on, by a hash of what it is of: a look-up makes no text.
    open: HashMap<u64, Span>,
    /// What does not.
    ended: Vec<Span>,
}

/// What the broker knows of the ways of messages and has not written yet.
#[derive(Debug)]
pub(crate) struct Trail {
    /// Of topics that do not say.
    default: Sampling,
    hasher: RandomState,
    /// Held for one look-up a request.
    window: Mutex<Window>,
    /// Records that were stored.
    pub written: AtomicU64,
    /// Records that could not be.
    pub lost: AtomicU64,
    /// Whether the last ones could not be.
    is_failing: AtomicBool,
}

impl Trail {
    pub(crate) fn new(default: Sampling) -> Self {
        Self {
            default,
            hasher: RandomState::new(),
            window: Mutex::default(),
            written: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            is_failing: AtomicBool::new(false),
        }
    }

    /// Of which messages of a topic there are records; `own` is what the topic says.
    pub(crate) fn sampling(&self, own: Option<Sampling>) -> Sampling {
        own.unwrap_or(self.default)
    }

    /// Notes an event, if `sampling` takes one of its messages.
    pub(crate) fn note(&self, sampling: Sampling, event: &Event<'_>, now_ms: impl FnOnce() -> i64) {
        if !sampling.takes(event.range.0, event.range.1) || name::is_system_group(event.group) {
            return;
        }
        let Event { kind, group, topic, queue_id, doer, .. } = *event;
        let place = self.hasher.hash_one((kind, group, topic, queue_id, doer.connection));
        let mut window = self.window.lock();
        let Window { open, ended } = &mut *window;
        if open.get_mut(&place).is_some_and(|span| span.goes_on(event)) {
            return;
        }
        if open.len() + ended.len() >= TRAIL_SPANS_MAX {
            drop(window);
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        ended.extend(open.insert(place, Span::of(event, now_ms())));
    }

    /// Notes what happened to a message that was given back.
    pub(crate) fn note_back(&self, sampling: Sampling, event: &Event<'_>, back: GivenBack, now_ms: i64) {
        if !sampling.takes(event.range.0, event.range.1) {
            return;
        }
        let mut window = self.window.lock();
        if window.open.len() + window.ended.len() >= TRAIL_SPANS_MAX {
            drop(window);
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        window.ended.push(Span { back: Some(back), ..Span::of(event, now_ms) });
    }

    /// Whether nothing happened since it was taken last.
    fn is_empty(&self) -> bool {
        let window = self.window.lock();
        window.open.is_empty() && window.ended.is_empty()
    }

    /// What happened since this was asked last, by its time.
    fn take(&self) -> Vec<Span> {
        let Window { open, ended } = std::mem::take(&mut *self.window.lock());
        let mut spans = ended;
        spans.extend(open.into_values());
        spans.sort_by_key(|span| (span.begun_ms, span.range));
        spans
    }
}

/// Whose pull it is, and of which messages there are records.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watched {
    pub doer: Doer,
    pub sampling: Sampling,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: Kind, range: (i64, i64), connection: u64) -> Event<'static> {
        let doer = Doer { connection, host: "10.0.0.1:4711".parse().unwrap() };
        let messages = usize::try_from(range.1 - range.0).unwrap();
        Event { kind, group: "g", topic: "orders", queue_id: 1, range, messages, doer }
    }

    fn noted(sampling: Sampling, events: &[Event<'_>]) -> Vec<((i64, i64), usize)> {
        let trail = Trail::new(sampling);
        events.iter().for_each(|event| trail.note(trail.sampling(None), event, || 7));
        trail.take().into_iter().map(|span| (span.range, span.messages)).collect()
    }

    #[test]
    fn what_goes_on_is_one_record_and_what_does_not_is_not() {
        let pulls = [(0, 32), (32, 64), (64, 65), (10, 12), (12, 13), (200, 201)];
        let pulls = pulls.map(|range| event(Kind::Deliver, range, 1));
        assert_eq!(noted(Sampling::FULL, &pulls), [((0, 65), 65), ((10, 13), 3), ((200, 201), 1)]);
        // Two clients, and two kinds, are not one.
        let both = [event(Kind::Deliver, (0, 1), 1), event(Kind::Deliver, (1, 2), 2), event(Kind::Ack, (1, 2), 1)];
        assert_eq!(noted(Sampling::FULL, &both).len(), 3);
    }

    #[test]
    fn producers_that_take_turns_have_a_record_each() {
        let sends = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]
            .map(|range: (i64, i64)| event(Kind::Store, range, u64::try_from(range.0 % 2).unwrap()));
        assert_eq!(noted(Sampling::FULL, &sends), [((0, 5), 3), ((1, 4), 2)]);
    }

    #[test]
    fn offsets_choose_what_is_sampled() {
        assert_eq!(noted(Sampling::OFF, &[event(Kind::Deliver, (0, 1_000), 1)]), []);
        let one_in_ten = Sampling::parse("10").unwrap();
        let taken: Vec<i64> = (0..40).filter(|offset| one_in_ten.takes(*offset, offset + 1)).collect();
        assert_eq!(taken, [0, 10, 20, 30]);
        assert!(one_in_ten.takes(11, 21) && !one_in_ten.takes(11, 20) && !one_in_ten.takes(10, 10));
        for (text, shown) in [("off", "off"), ("full", "full"), ("1", "full"), ("64", "64")] {
            assert_eq!(Sampling::parse(text).unwrap().to_string(), shown);
        }
        for text in ["", "0", "-1", "all", "1.5"] {
            assert_eq!(Sampling::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_window_holds_so_much_and_counts_the_rest() {
        let trail = Trail::new(Sampling::FULL);
        let events = i64::try_from(TRAIL_SPANS_MAX).unwrap() + 5;
        for place in 0..events {
            trail.note(Sampling::FULL, &event(Kind::Deliver, (place * 2, place * 2 + 1), 1), || 7);
        }
        assert_eq!((trail.take().len(), trail.lost.load(Ordering::Relaxed)), (TRAIL_SPANS_MAX, 5));
        assert!(trail.take().is_empty());
    }

    #[test]
    fn groups_of_the_system_leave_no_trail() {
        let trail = Trail::new(Sampling::FULL);
        trail.note(Sampling::FULL, &Event { group: "CID_RMQ_SYS_TRANS", ..event(Kind::Ack, (0, 1), 1) }, || 7);
        assert!(trail.take().is_empty());
    }
}
