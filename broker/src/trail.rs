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
use strata_remoting::Connection;

use crate::limits::{TRAIL_ID_BYTES_MAX, TRAIL_SPANS_MAX};

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

    /// Whether one of the messages from an offset up to another is to have records. Offsets choose, so that a chosen
    /// message has all of its records; the others of a range have that of the range.
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

impl Doer {
    /// Who is at a connection.
    pub(crate) fn of(connection: &Connection) -> Self {
        Self { connection: connection.id(), host: connection.peer() }
    }
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
        // Producers take turns in a queue: whose message it is its own record tells, by the address it came from. Of two
        // groups at one address it does not, so that the other's send ends this range.
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
    /// Of topics that do not say; `None` where no topic has records, whatever it says.
    default: Option<Sampling>,
    hasher: RandomState,
    /// Held for one look-up a request.
    window: Mutex<Window>,
    /// Records that were stored.
    pub written: AtomicU64,
    /// Records that could not be, and events for which there was no place.
    pub lost: AtomicU64,
    /// Whether the last ones could not be.
    is_failing: AtomicBool,
}

impl Trail {
    pub(crate) fn new(default: Option<Sampling>) -> Self {
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
        self.default.map_or(Sampling::OFF, |default| own.unwrap_or(default))
    }

    /// Notes an event, if `sampling` takes one of its messages.
    pub(crate) fn note(&self, sampling: Sampling, event: &Event<'_>, now_ms: impl FnOnce() -> i64) {
        if !takes(sampling, event) {
            return;
        }
        let Event { kind, group, topic, queue_id, doer, .. } = *event;
        let group = if kind == Kind::Store { "" } else { group };
        let place = self.hasher.hash_one((kind, group, topic, queue_id, doer.connection));
        let mut window = self.window.lock();
        if window.open.get_mut(&place).is_some_and(|span| span.goes_on(event)) {
            return;
        }
        // Sends come with any text as their group.
        if name::check_group(event.group).is_err() || !self.has_place(&window) {
            return;
        }
        let before = window.open.insert(place, Span::of(event, now_ms()));
        window.ended.extend(before);
    }

    /// Notes what happened to a message that was given back.
    pub(crate) fn note_back(&self, sampling: Sampling, event: &Event<'_>, back: GivenBack, now_ms: i64) {
        if !takes(sampling, event) {
            return;
        }
        // By an odd id nobody finds it, and it may be of any length.
        let is_plain = |id: &String| id.len() <= TRAIL_ID_BYTES_MAX && id.bytes().all(|byte| byte.is_ascii_graphic());
        let back = GivenBack { id: back.id.filter(is_plain), ..back };
        let mut window = self.window.lock();
        if self.has_place(&window) {
            window.ended.push(Span { back: Some(back), ..Span::of(event, now_ms) });
        }
    }

    /// Whether one more span has a place; counts one that has not.
    fn has_place(&self, window: &Window) -> bool {
        let has_place = window.open.len() + window.ended.len() < TRAIL_SPANS_MAX;
        if !has_place {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        has_place
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

/// Whether an event leaves a record: not that of a group of the system.
fn takes(sampling: Sampling, event: &Event<'_>) -> bool {
    sampling.takes(event.range.0, event.range.1) && !name::is_system_group(event.group)
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
        let trail = Trail::new(Some(sampling));
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
        let trail = Trail::new(Some(Sampling::FULL));
        let events = i64::try_from(TRAIL_SPANS_MAX).unwrap() + 5;
        for place in 0..events {
            trail.note(Sampling::FULL, &event(Kind::Deliver, (place * 2, place * 2 + 1), 1), || 7);
        }
        assert_eq!((trail.take().len(), trail.lost.load(Ordering::Relaxed)), (TRAIL_SPANS_MAX, 5));
        assert!(trail.take().is_empty());
    }

    #[test]
    fn groups_of_the_system_and_what_is_no_name_leave_no_trail() {
        let trail = Trail::new(Some(Sampling::FULL));
        let long = "g".repeat(100_000);
        for group in ["CID_RMQ_SYS_TRANS", "a\u{1}b", &long] {
            trail.note(Sampling::FULL, &Event { group, ..event(Kind::Store, (0, 1), 1) }, || 7);
        }
        let of_tools = Event { group: "CID_RMQ_SYS_TRANS", ..event(Kind::Retry, (0, 1), 1) };
        trail.note_back(Sampling::FULL, &of_tools, back(None), 7);
        assert!(trail.take().is_empty());
    }

    fn back(id: Option<&str>) -> GivenBack {
        GivenBack { id: id.map(str::to_owned), retry_times: 0, delay_level: 3 }
    }

    #[test]
    fn odd_ids_are_left_out() {
        let trail = Trail::new(Some(Sampling::FULL));
        let long = "7".repeat(17_000);
        for id in [Some("7F0000010000"), Some(long.as_str()), Some("a b"), Some("a\u{1}b"), None] {
            trail.note_back(Sampling::FULL, &event(Kind::Retry, (4, 5), 1), back(id), 7);
        }
        let ids: Vec<_> = trail.take().into_iter().map(|span| span.back.and_then(|back| back.id)).collect();
        assert_eq!(ids, [Some("7F0000010000".to_owned()), None, None, None, None]);
    }

    #[test]
    fn two_groups_of_one_client_are_not_one_range() {
        let send = |group: &'static str, from| Event { group, ..event(Kind::Store, (from, from + 1), 1) };
        let sends = [send("a", 0), send("a", 1), send("b", 2), send("a", 3)];
        assert_eq!(noted(Sampling::FULL, &sends), [((0, 2), 2), ((2, 3), 1), ((3, 4), 1)]);
    }

    #[test]
    fn where_there_is_no_trace_topic_no_topic_has_records() {
        assert_eq!(Trail::new(None).sampling(Some(Sampling::FULL)), Sampling::OFF);
        assert_eq!(Trail::new(Some(Sampling::OFF)).sampling(Some(Sampling::FULL)), Sampling::FULL);
    }
}
