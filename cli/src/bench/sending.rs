//! Sends under way: what leaves on which connection, and whether the answers are right.
//!
//! Owns the slots of requests without an answer, and the counts. Sockets and time are given to it.

use std::collections::BTreeMap;

use strata_protocol::code::ResponseCode;
use strata_protocol::command::Command;

use super::body::{Bodies, PropertyParts, PropertySet, Stamp};
use super::digits::mix;
use super::frames::{OPAQUE_FIRST, OPAQUES, SendForm, SendPlaces, SendTemplate, TopicNames};
use super::offsets::{Faults, Ledger};
use super::report::Latencies;
use super::target::{code_name, is_stored};
use crate::limits::{BENCH_ORDERS_QUEUES_MAX, SENDS_IN_FLIGHT_MAX};

/// Values that the part of an opaque above the slot goes through before it repeats.
const GENERATIONS: u32 = 200_000;
const _: () = assert!(GENERATIONS as usize * SENDS_IN_FLIGHT_MAX <= OPAQUES as usize, "opaques have ten digits");
/// Digits of a queue's number at most.
const QUEUE_DIGITS_MAX: usize = 5;

/// Sizes of bodies, bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sizes {
    /// One of these, each equally often.
    OneOf(Vec<usize>),
    /// Any from the first up to and with the second.
    Between(usize, usize),
}

impl Sizes {
    /// The largest.
    pub(super) fn max(&self) -> usize {
        match self {
            Self::OneOf(sizes) => sizes.iter().copied().max().unwrap_or(0),
            Self::Between(_, high) => *high,
        }
    }

    fn draw(&self, chance: u64) -> usize {
        match self {
            Self::OneOf(sizes) if sizes.len() == 1 => sizes[0],
            Self::OneOf(sizes) => sizes[(chance % sizes.len() as u64) as usize],
            Self::Between(low, high) => low + (chance % (high - low + 1) as u64) as usize,
        }
    }
}

/// Where messages go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Spreading {
    /// To all queues of all topics in turn
    Round,
    /// To any queue of any topic
    Random,
}

/// What a run sends.
pub(super) struct Load {
    pub(super) form: SendForm,
    pub(super) topics: TopicNames,
    /// Queues of each topic.
    pub(super) queues: u16,
    pub(super) sizes: Sizes,
    pub(super) properties: PropertySet,
    pub(super) spreading: Spreading,
    pub(super) run: u32,
    pub(super) connections: usize,
    /// Sends under way on each connection at most.
    pub(super) in_flight: usize,
}

/// A send without an answer yet.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    opaque: i32,
    is_busy: bool,
    is_counted: bool,
    place: usize,
    floor: i64,
    number: u64,
    /// When it was due, or left.
    from_ns: u64,
}

#[derive(Debug)]
struct Slots {
    all: Vec<Slot>,
    free: Vec<usize>,
}

/// What the answers were.
pub(super) struct Tally {
    /// Messages that are stored.
    pub(super) stored: u64,
    /// Answers by code.
    pub(super) codes: BTreeMap<i32, u64>,
    /// The broker's words to the first answer of each code that is a refusal.
    pub(super) remarks: BTreeMap<i32, String>,
    /// Time to an acknowledgement, ns.
    pub(super) acknowledged: Latencies,
    /// Time to a refusal, ns.
    pub(super) refused: Latencies,
    /// Acknowledgements that overtook an earlier send of the same connection to the same queue.
    pub(super) reordered: u64,
    pub(super) faults: Faults,
}

/// A message that is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Acknowledged {
    pub(super) number: u64,
    pub(super) queue: u16,
    pub(super) offset: i64,
}

/// Sends under way.
pub(super) struct Sending {
    load: Load,
    bodies: Bodies,
    /// By the digits of the queue's number, from 1.
    templates: Vec<SendTemplate>,
    slots: Vec<Slots>,
    ledger: Ledger,
    /// The last acknowledged send of each connection to each queue: its number and its offset.
    last: Vec<(u64, i64)>,
    generation: u32,
    sent: u64,
    in_flight: usize,
    pub(super) tally: Tally,
}

impl Sending {
    /// Sends to queues that are at the offsets `next`.
    pub(super) fn new(load: Load, next: Vec<i64>) -> Self {
        let properties = PropertyParts::new(load.properties, load.run);
        let digits = 1..=(load.queues.max(1) - 1).checked_ilog10().unwrap_or(0) as usize + 1;
        let templates = digits.take(QUEUE_DIGITS_MAX);
        let templates = templates.map(|digits| SendTemplate::new(load.form, &load.topics, digits, &properties));
        let slots = || Slots { all: vec![Slot::default(); load.in_flight], free: (0..load.in_flight).rev().collect() };
        let orders = load.connections * next.len();
        Self {
            bodies: Bodies::new(load.sizes.max()),
            templates: templates.collect(),
            slots: (0..load.connections).map(|_| slots()).collect(),
            ledger: Ledger::new(next, load.connections * load.in_flight),
            last: if orders <= BENCH_ORDERS_QUEUES_MAX { vec![(0, i64::MIN); orders] } else { Vec::new() },
            load,
            generation: 0,
            sent: 0,
            in_flight: 0,
            tally: Tally {
                stored: 0,
                codes: BTreeMap::new(),
                remarks: BTreeMap::new(),
                acknowledged: Latencies::new(),
                refused: Latencies::new(),
                reordered: 0,
                faults: Faults::default(),
            },
        }
    }

    /// Messages that were sent.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// Sends without an answer.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Whether `connection` may have one more under way.
    pub(super) fn has_slot(&self, connection: usize) -> bool {
        !self.slots[connection].free.is_empty()
    }

    /// What the run sends.
    pub(super) fn load(&self) -> &Load {
        &self.load
    }

    /// Puts the next message into `out`; its latency counts from `from_ns` if `counts`.
    pub(super) fn send(&mut self, connection: usize, out: &mut Vec<u8>, (from_ns, counts): (u64, bool), now_ms: i64) {
        let Some(slot) = self.slots[connection].free.pop() else { return };
        let number = self.sent;
        let chance = mix(number ^ (u64::from(self.load.run) << 32));
        let places = self.ledger.len() as u64;
        let place = match self.load.spreading {
            Spreading::Round => number % places,
            Spreading::Random => chance % places,
        } as usize;
        let queues = usize::from(self.load.queues);
        let (topic, queue) = (place / queues, (place % queues) as u16);
        self.generation = (self.generation + 1) % GENERATIONS;
        let opaque = (self.generation as usize * SENDS_IN_FLIGHT_MAX + slot) as i32;
        let bytes = self.load.sizes.draw(chance >> 32);
        let template = &self.templates[queue.checked_ilog10().unwrap_or(0) as usize];
        template.write(out, &SendPlaces { opaque, topic, queue, born_ms: now_ms, number }, bytes);
        let stamp = Stamp {
            run: self.load.run,
            connection: connection as u16,
            queue,
            number,
            set: self.load.properties,
            one_by_one: self.load.in_flight == 1,
        };
        self.bodies.write(out, &stamp, bytes);
        let floor = self.ledger.floor(place);
        let busy = Slot { opaque, is_busy: true, is_counted: counts, place, floor, number, from_ns };
        self.slots[connection].all[slot] = busy;
        self.sent += 1;
        self.in_flight += 1;
    }

    /// Judges an answer on `connection`; gives the message that it acknowledges.
    pub(super) fn answered(&mut self, connection: usize, answer: &Command, now_ns: u64) -> Option<Acknowledged> {
        if !answer.is_response() {
            return None; // A broker may ask its clients something; they need not answer.
        }
        let Some(slot) = self.take_slot(connection, answer.opaque) else {
            let opaque = answer.opaque;
            self.tally.faults.add(|| format!("an answer to no request, or a second one (opaque {opaque})"));
            return None;
        };
        self.in_flight -= 1;
        *self.tally.codes.entry(answer.code).or_default() += 1;
        let code = ResponseCode::of(answer.code);
        let took_ns = now_ns.saturating_sub(slot.from_ns);
        let stored = is_stored(code);
        if slot.is_counted {
            let latencies = if stored { &mut self.tally.acknowledged } else { &mut self.tally.refused };
            latencies.add(took_ns);
        }
        if stored {
            self.tally.stored += 1;
            let offset = self.judge(connection, &slot, answer)?;
            let queue = (slot.place % usize::from(self.load.queues)) as u16;
            return Some(Acknowledged { number: slot.number, queue, offset });
        }
        let remark = || answer.remark.clone().unwrap_or_default();
        self.tally.remarks.entry(answer.code).or_insert_with(remark);
        None
    }

    fn take_slot(&mut self, connection: usize, opaque: i32) -> Option<Slot> {
        let opaque = opaque.checked_sub(OPAQUE_FIRST)?;
        let at = usize::try_from(opaque).ok()? % SENDS_IN_FLIGHT_MAX;
        let slots = &mut self.slots[connection];
        let slot = slots.all.get_mut(at).filter(|slot| slot.is_busy && slot.opaque == opaque)?;
        let taken = *slot;
        slot.is_busy = false;
        slots.free.push(at);
        Some(taken)
    }

    /// Holds an acknowledgement against what was promised; gives its offset.
    fn judge(&mut self, connection: usize, slot: &Slot, answer: &Command) -> Option<i64> {
        let (mut queue, mut offset, mut has_id) = (None, None, false);
        for (name, value) in answer.fields.iter() {
            match name {
                "queueId" => queue = value.parse::<usize>().ok(),
                "queueOffset" => offset = value.parse::<i64>().ok(),
                "msgId" => has_id = !value.is_empty(),
                _ => {}
            }
        }
        let queues = usize::from(self.load.queues);
        let (topic, expected) = (slot.place / queues, slot.place % queues);
        let mut wrong = None;
        match (queue, offset) {
            (Some(queue), Some(_)) if queue != expected => wrong = Some(format!("the answer names queue {queue}")),
            (Some(_), Some(offset)) => wrong = self.ledger.acknowledge(slot.place, offset, slot.floor).err(),
            (_, _) => wrong = wrong.or_else(|| Some(String::from("the acknowledgement names no queue or no offset"))),
        }
        if !has_id {
            wrong = wrong.or_else(|| Some(String::from("the acknowledgement has no message id")));
        }
        if let Some(wrong) = wrong {
            let topic = self.load.topics.name(topic);
            self.tally.faults.add(|| format!("topic {topic}, queue {expected}: {wrong}"));
        }
        let order = self.last.get_mut(connection * self.ledger.len() + slot.place);
        if let (Some((number, last)), Some(offset)) = (order, offset) {
            if *last != i64::MIN && (slot.number > *number) != (offset > *last) {
                self.tally.reordered += 1;
            }
            if slot.number >= *number {
                (*number, *last) = (slot.number, offset);
            }
        }
        offset
    }

    /// Counts what was never answered, and offsets that were never given; gives each queue's end.
    pub(super) fn end(&mut self) -> Vec<(usize, u16, i64)> {
        let left = self.in_flight;
        if left > 0 {
            self.tally.faults.add(|| format!("{left} sends were never answered"));
        }
        let queues = usize::from(self.load.queues);
        let mut ends = Vec::new();
        for place in 0..self.ledger.len() {
            let (topic, queue) = (place / queues, (place % queues) as u16);
            match self.ledger.end(place) {
                Ok(end) => ends.push((topic, queue, end)),
                Err(wrong) => {
                    let topic = self.load.topics.name(topic);
                    self.tally.faults.add(|| format!("topic {topic}, queue {queue}: {wrong}"));
                }
            }
        }
        ends
    }

    /// Answers that are neither an acknowledgement nor a call for patience: their codes with the broker's words.
    pub(super) fn refusals(&self) -> Option<String> {
        let is_patience = |code| {
            use ResponseCode::SystemBusy;
            is_stored(ResponseCode::of(code)) || ResponseCode::of(code) == Some(SystemBusy)
        };
        let (code, count) = self.tally.codes.iter().find(|(code, _)| !is_patience(**code))?;
        let remark = self.tally.remarks.get(code).map_or("", String::as_str);
        Some(format!("the broker answered {count} sends with {}: {remark}", code_name(*code)))
    }
}

#[cfg(test)]
mod tests {
    use strata_protocol::frame::HeaderCodec;

    use super::*;

    fn sending(in_flight: usize) -> Sending {
        let load = Load {
            form: SendForm { codec: HeaderCodec::Json, code: 310 },
            topics: TopicNames::new("T", 1),
            queues: 2,
            sizes: Sizes::OneOf(vec![100]),
            properties: PropertySet::Plain(0),
            spreading: Spreading::Round,
            run: 1,
            connections: 1,
            in_flight,
        };
        Sending::new(load, vec![5, 0])
    }

    fn sent(sending: &mut Sending) -> i32 {
        let mut out = Vec::new();
        sending.send(0, &mut out, (0, true), 0);
        Command::decode(out.into()).unwrap().opaque
    }

    fn answer(opaque: i32, queue: i32, offset: i64) -> Command {
        let mut answer = Command { opaque, flag: 1, ..Command::request(0) };
        for (name, value) in [("msgId", "X"), ("queueId", &queue.to_string()), ("queueOffset", &offset.to_string())] {
            answer.fields.push(name, value);
        }
        answer
    }

    #[test]
    fn right_answers_are_no_fault() {
        let mut sending = sending(2);
        let opaques = [sent(&mut sending), sent(&mut sending)];
        assert!(!sending.has_slot(0));
        assert_eq!(sending.answered(0, &answer(opaques[1], 1, 0), 9).map(|stored| stored.number), Some(1));
        let first = sending.answered(0, &answer(opaques[0], 0, 5), 9);
        assert_eq!(first, Some(Acknowledged { number: 0, queue: 0, offset: 5 }));
        assert_eq!(sending.end(), [(0, 0, 6), (0, 1, 1)]);
        assert_eq!((sending.tally.faults.count, sending.tally.stored, sending.in_flight()), (0, 2, 0));
        assert_eq!((sending.tally.acknowledged.count(), sending.refusals()), (2, None));
    }

    #[test]
    fn lies_are_faults() {
        type Lie = fn(i32) -> Command;
        let lies: [(Lie, &str); 5] = [
            (|opaque| answer(opaque, 1, 5), "the answer names queue 1"),
            (|opaque| answer(opaque, 0, 4), "offset 4 was given before"),
            (|opaque| answer(opaque, 0, 6), "offset 6 leaves a gap"),
            (|opaque| Command { opaque, flag: 1, ..Command::request(0) }, "names no queue or no offset"),
            (|opaque| answer(opaque + 1, 0, 5), "an answer to no request"),
        ];
        for (lie, words) in lies {
            let mut sending = sending(1);
            let opaque = sent(&mut sending);
            sending.answered(0, &lie(opaque), 9);
            let first = &sending.tally.faults.first;
            assert!(first.len() == 1 && first[0].contains(words), "{first:?} for {words}");
        }
        let mut unanswered = sending(1);
        sent(&mut unanswered);
        unanswered.end();
        assert!(unanswered.tally.faults.first[0].contains("1 sends were never answered"));
    }

    #[test]
    fn refusals_are_counted_apart_and_busy_is_none() {
        let mut sending = sending(2);
        let refused = |opaque, code| Command { opaque, flag: 1, ..Command::request(code) };
        let opaque = sent(&mut sending);
        sending.answered(0, &refused(opaque, ResponseCode::SystemBusy.wire()), 9);
        assert_eq!((sending.tally.refused.count(), sending.refusals()), (1, None));
        let opaque = sent(&mut sending);
        sending.answered(0, &refused(opaque, ResponseCode::NoPermission.wire()), 9);
        assert!(sending.refusals().unwrap().contains("1 sends with NoPermission (16)"));
        assert_eq!(sending.tally.faults.count, 0);
    }
}
