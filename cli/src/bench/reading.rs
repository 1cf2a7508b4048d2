//! Pulls under way: what is asked for next, and whether what came is what was sent.
//!
//! Owns a cursor for each queue and group, and the counts. Sockets and time are given to it.

use std::collections::BTreeMap;

use strata_protocol::code::ResponseCode;
use strata_protocol::command::Command;
use strata_protocol::frame::HeaderCodec;
use strata_protocol::record::{RecordView, records};

use super::body::{Bodies, PropertyParts, PropertySet, Stamp};
use super::frames::{self, OPAQUE_FIRST, OPAQUES, PullPlaces, TopicNames};
use super::offsets::Faults;
use super::report::Latencies;
use super::target::code_name;
use crate::limits::BENCH_CURSORS_MAX;

/// Values that the part of an opaque above the cursor goes through before it repeats.
const GENERATIONS: usize = 900;
/// Passes of which it is kept how many pulls their first message took.
const PASSES_KEPT: usize = 10_000;
const _: () = assert!(GENERATIONS * BENCH_CURSORS_MAX <= OPAQUES as usize, "opaques have ten digits");

/// A queue, and the offsets that it had when the run began.
#[derive(Debug, Clone, Copy)]
pub(super) struct QueueRange {
    pub(super) topic: usize,
    pub(super) queue: u16,
    /// Where reading begins.
    pub(super) first: i64,
    /// The next offset of the queue then: at least so far must be read.
    pub(super) end: i64,
}

/// How everything is asked for.
pub(super) struct Plan {
    pub(super) codec: HeaderCodec,
    pub(super) topics: TopicNames,
    pub(super) groups: Vec<String>,
    pub(super) queues: Vec<QueueRange>,
    /// Messages that one pull asks for.
    pub(super) batch: u32,
    /// How long the broker may hold a pull at the queue's end, ms; 0 does not wait.
    pub(super) hold_ms: i64,
    /// Begins again at a queue's end.
    pub(super) again: bool,
    /// The version of the subscription that the groups have told, when they do not want everything.
    pub(super) told: Option<i64>,
}

/// What comes after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// The cursor asks again.
    Ask(usize),
    /// The cursor has read everything.
    Done,
    /// The answer belongs to no pull.
    Stray,
}

#[derive(Debug)]
struct Cursor {
    group: usize,
    range: QueueRange,
    next: i64,
    /// Of the pull under way.
    opaque: Option<i32>,
    asked_ns: u64,
    /// Run, connection and number of the last message.
    last: Option<Stamp>,
    pass: Pass,
    /// What the pass before gave.
    before: Option<Pass>,
}

/// One reading of a queue from its begin to its end.
#[derive(Debug, Clone, Copy, Default)]
struct Pass {
    pulls: u64,
    messages: u64,
}

/// What came.
pub(super) struct Found {
    /// Messages that came, or, where not all are wanted, that were passed.
    pub(super) messages: u64,
    /// Messages that came where not all are wanted.
    pub(super) matches: u64,
    /// Pulls until a pass had its first message.
    pub(super) first_pulls: Vec<u64>,
    pub(super) pulls: u64,
    /// Messages that the bench did not send; only their own checksums are verified.
    pub(super) foreign: u64,
    /// Messages that a connection with several sends under way sent in another order.
    pub(super) reordered: u64,
    /// How often a queue was read to its end.
    pub(super) passes: u64,
    pub(super) codes: BTreeMap<i32, u64>,
    remarks: BTreeMap<i32, String>,
    /// Time from a pull to its answer, ns.
    pub(super) answered: Latencies,
    pub(super) faults: Faults,
}

/// Pulls under way.
pub(super) struct Reading {
    plan: Plan,
    names: Vec<String>,
    cursors: Vec<Cursor>,
    generation: usize,
    bodies: Bodies,
    properties: PropertyParts,
    pub(super) found: Found,
}

impl Reading {
    /// Nothing is asked for yet.
    pub(super) fn new(plan: Plan) -> Self {
        let cursor = |group, range: &QueueRange| Cursor {
            group,
            range: *range,
            next: range.first,
            opaque: None,
            asked_ns: 0,
            last: None,
            pass: Pass::default(),
            before: None,
        };
        let groups = 0..plan.groups.len();
        let cursors = groups.flat_map(|group| plan.queues.iter().map(move |range| cursor(group, range))).collect();
        Self {
            names: (0..plan.topics.count()).map(|topic| plan.topics.name(topic)).collect(),
            cursors,
            plan,
            generation: 0,
            bodies: Bodies::new(0),
            properties: PropertyParts::new(PropertySet::Plain(0), 0),
            found: Found {
                messages: 0,
                matches: 0,
                first_pulls: Vec::new(),
                pulls: 0,
                foreign: 0,
                reordered: 0,
                passes: 0,
                codes: BTreeMap::new(),
                remarks: BTreeMap::new(),
                answered: Latencies::new(),
                faults: Faults::default(),
            },
        }
    }

    /// How many cursors there are.
    pub(super) fn cursors(&self) -> usize {
        self.cursors.len()
    }

    /// Puts the next pull of a cursor into `out`.
    pub(super) fn ask(&mut self, at: usize, out: &mut Vec<u8>, now_ns: u64) {
        self.generation = (self.generation + 1) % GENERATIONS;
        let opaque = (self.generation * BENCH_CURSORS_MAX + at) as i32;
        let cursor = &mut self.cursors[at];
        (cursor.opaque, cursor.asked_ns) = (Some(opaque), now_ns);
        let places = PullPlaces {
            opaque,
            group: &self.plan.groups[cursor.group],
            topic: &self.names[cursor.range.topic],
            queue: cursor.range.queue,
            offset: cursor.next,
            messages_max: self.plan.batch,
            hold_ms: self.plan.hold_ms,
            told: self.plan.told,
        };
        out.extend_from_slice(&frames::pull(self.plan.codec, &places));
    }

    /// Judges an answer, and shows each message of the bench to `see`, with its queue and offset.
    pub(super) fn answered(&mut self, answer: &Command, now_ns: u64, mut see: impl FnMut(&Stamp, u16, i64)) -> After {
        let opaque = answer.opaque.wrapping_sub(OPAQUE_FIRST);
        let at = opaque as usize % BENCH_CURSORS_MAX;
        let known = self.cursors.get_mut(at).filter(|cursor| cursor.opaque == Some(opaque));
        let (true, Some(cursor)) = (answer.is_response(), known) else {
            if answer.is_response() {
                self.found.faults.add(|| format!("an answer to no pull, or a second one (opaque {opaque})"));
            }
            return After::Stray;
        };
        cursor.opaque = None;
        cursor.pass.pulls += 1;
        self.found.pulls += 1;
        self.found.answered.add(now_ns.saturating_sub(cursor.asked_ns));
        *self.found.codes.entry(answer.code).or_default() += 1;
        let field = |name| answer.fields.value(name).and_then(|text| text.parse::<i64>().ok());
        match ResponseCode::of(answer.code) {
            Some(ResponseCode::Success) => {
                let next = field("nextBeginOffset");
                let max = field("maxOffset").unwrap_or(i64::MAX);
                let from = cursor.next;
                let judged = self.judge(at, &answer.body, next, &mut see);
                if let Err(wrong) = judged {
                    let whose = self.whose(at);
                    self.found.faults.add(|| format!("{whose}: {wrong}"));
                }
                let cursor = &mut self.cursors[at];
                cursor.next = cursor.next.max(next.unwrap_or(0));
                if self.plan.told.is_some() {
                    self.found.messages += (cursor.next - from).unsigned_abs();
                }
                if cursor.next >= max && self.plan.hold_ms == 0 { self.at_end(at) } else { After::Ask(at) }
            }
            Some(ResponseCode::PullNotFound) if self.plan.hold_ms > 0 => After::Ask(at),
            Some(ResponseCode::PullNotFound) => self.at_end(at),
            Some(ResponseCode::PullRetryImmediately | ResponseCode::PullOffsetMoved) => {
                // The oldest messages may have gone meanwhile; offsets still only move forward.
                let next = field("nextBeginOffset").unwrap_or(0);
                if next <= cursor.next && cursor.next >= cursor.range.end {
                    return self.at_end(at);
                }
                if self.plan.told.is_some() {
                    self.found.messages += (next - cursor.next).max(0).unsigned_abs();
                }
                cursor.next = cursor.next.max(next);
                After::Ask(at)
            }
            Some(ResponseCode::SystemBusy) => After::Ask(at),
            Some(_) | None => {
                let remark = || answer.remark.clone().unwrap_or_default();
                self.found.remarks.entry(answer.code).or_insert_with(remark);
                After::Done
            }
        }
    }

    fn whose(&self, at: usize) -> String {
        let Cursor { group, range, .. } = &self.cursors[at];
        format!("topic {}, queue {}, group {}", self.names[range.topic], range.queue, self.plan.groups[*group])
    }

    /// A queue was read to its end, which must be behind all that it had.
    fn at_end(&mut self, at: usize) -> After {
        let cursor = &mut self.cursors[at];
        let (next, QueueRange { first, end, .. }) = (cursor.next, cursor.range);
        self.found.passes += 1;
        if next < end {
            let whose = self.whose(at);
            self.found.faults.add(|| format!("{whose}: reading ends at {next}, but the queue's end is {end}"));
            return After::Done;
        }
        let pass = std::mem::take(&mut self.cursors[at].pass);
        let before = self.cursors[at].before.replace(pass);
        // Nobody writes meanwhile: what is wanted is the same each time.
        if let Some(before) = before.filter(|before| self.plan.told.is_some() && before.messages != pass.messages) {
            let (whose, now) = (self.whose(at), pass.messages);
            self.found.faults.add(|| format!("{whose}: {now} messages came, and {} the time before", before.messages));
        }
        let cursor = &mut self.cursors[at];
        if !self.plan.again || next == first {
            return After::Done;
        }
        cursor.next = first;
        cursor.last = None;
        After::Ask(at)
    }

    /// Holds the messages of one answer against what was sent; the first fault ends the look.
    fn judge(
        &mut self,
        at: usize,
        body: &[u8],
        next: Option<i64>,
        see: &mut impl FnMut(&Stamp, u16, i64),
    ) -> Result<(), String> {
        let mut wanted = self.cursors[at].next;
        for record in records(body) {
            let record = record.map_err(|error| format!("a message behind offset {wanted} cannot be read: {error}"))?;
            let offset = record.queue_offset();
            if offset < wanted || (offset > wanted && self.plan.told.is_none()) {
                return Err(format!("offset {offset} came where {wanted} was due"));
            }
            wanted = offset + 1;
            self.count(at, wanted);
            if let Some(stamp) = self.judge_message(at, &record).map_err(|wrong| format!("offset {offset}: {wrong}"))? {
                see(&stamp, self.cursors[at].range.queue, offset);
            }
        }
        if body.is_empty() {
            return Err(format!("an answer without messages at offset {wanted}"));
        }
        match next {
            Some(next) if next == wanted || (next > wanted && self.plan.told.is_some()) => Ok(()),
            Some(next) => Err(format!("the next offset was told as {next}, but is {wanted}")),
            None => Err(String::from("the answer tells no next offset")),
        }
    }

    /// A message came, behind which the cursor goes on at `next`.
    fn count(&mut self, at: usize, next: i64) {
        let cursor = &mut self.cursors[at];
        cursor.next = next;
        cursor.pass.messages += 1;
        if self.plan.told.is_none() {
            self.found.messages += 1;
            return;
        }
        self.found.matches += 1;
        if cursor.pass.messages == 1 && self.found.first_pulls.len() < PASSES_KEPT {
            self.found.first_pulls.push(cursor.pass.pulls);
        }
    }

    fn judge_message(&mut self, at: usize, record: &RecordView<'_>) -> Result<Option<Stamp>, String> {
        let cursor = &mut self.cursors[at];
        record.check_body().map_err(|error| error.to_string())?;
        if record.queue_id() != i32::from(cursor.range.queue) || record.topic() != self.names[cursor.range.topic] {
            return Err(format!("it belongs to topic {}, queue {}", record.topic(), record.queue_id()));
        }
        let Some(stamp) = self.bodies.read(record.body())? else {
            self.found.foreign += 1;
            return Ok(None);
        };
        if stamp.queue != cursor.range.queue {
            return Err(format!("its body was sent to queue {}", stamp.queue));
        }
        if !self.properties.are_of(&stamp) {
            self.properties = PropertyParts::new(stamp.set, stamp.run);
        }
        if !self.properties.are_in(record.properties(), stamp.number) {
            return Err(String::from("its properties are not those that were sent"));
        }
        let before = cursor.last.replace(stamp);
        match before.filter(|before| (before.run, before.connection) == (stamp.run, stamp.connection)) {
            Some(before) if before.number == stamp.number => return Err(String::from("the same message came twice")),
            Some(before) if before.number > stamp.number && stamp.one_by_one => {
                return Err(format!("message {} came before message {}", before.number, stamp.number));
            }
            Some(before) if before.number > stamp.number => self.found.reordered += 1,
            Some(_) | None => {}
        }
        Ok(Some(stamp))
    }

    /// Answers that no reader expects: their codes with the broker's words.
    pub(super) fn refusals(&self) -> Option<String> {
        let (code, remark) = self.found.remarks.iter().next()?;
        let count = self.found.codes.get(code).copied().unwrap_or(0);
        Some(format!("the broker answered {count} pulls with {}: {remark}", code_name(*code)))
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use bytes::Bytes;
    use strata_protocol::record::{Placement, Record, encode_record};

    use super::*;

    const HOST: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1);

    fn reading(again: bool) -> Reading {
        let queues = vec![QueueRange { topic: 0, queue: 3, first: 10, end: 12 }];
        let (topics, groups) = (TopicNames::new("T", 1), vec![String::from("g")]);
        Reading::new(Plan {
            codec: HeaderCodec::Json,
            topics,
            groups,
            queues,
            batch: 32,
            hold_ms: 0,
            again,
            told: None,
        })
    }

    fn stamp(number: u64) -> Stamp {
        Stamp { run: 5, connection: 0, queue: 3, number, set: PropertySet::Plain(1), one_by_one: true }
    }

    /// A stored message; the caller may falsify it.
    fn stored(offset: i64, stamp: &Stamp, falsify: impl FnOnce(&mut Record<'_>)) -> Vec<u8> {
        let (mut body, mut properties) = (Vec::new(), PropertyParts::new(stamp.set, stamp.run));
        Bodies::new(100).write(&mut body, stamp, 100);
        let properties = properties.text_of(stamp.number).to_vec();
        let placed = Placement { queue_offset: offset, physical_offset: 0, store_timestamp: 0, store_host: HOST };
        let mut record = Record {
            topic: "T",
            queue_id: 3,
            flag: 0,
            sys_flag: 0,
            born_timestamp: 0,
            born_host: HOST,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: &body,
            properties: &properties,
            placed,
        };
        falsify(&mut record);
        let mut out = Vec::new();
        encode_record(&mut out, &record).unwrap();
        out
    }

    fn answer(reading: &mut Reading, code: i32, next: i64, records: Vec<u8>) -> Command {
        let mut out = Vec::new();
        reading.ask(0, &mut out, 0);
        let asked = Command::decode(Bytes::from(out)).unwrap();
        let mut answer = Command { opaque: asked.opaque, flag: 1, ..Command::request(code) };
        answer.fields.push("nextBeginOffset", &next.to_string());
        answer.fields.push("maxOffset", "12");
        answer.body = records.into();
        answer
    }

    fn fault(next: i64, records: Vec<u8>) -> String {
        let mut reading = reading(false);
        let answer = answer(&mut reading, 0, next, records);
        reading.answered(&answer, 0, |_, _, _| {});
        reading.found.faults.first.join(";")
    }

    #[test]
    fn what_was_sent_is_read_to_the_end_and_again() {
        let both = || [stored(10, &stamp(1), |_| {}), stored(11, &stamp(2), |_| {})].concat();
        assert_eq!(fault(12, both()), "");
        for (again, after) in [(false, After::Done), (true, After::Ask(0))] {
            let mut reading = reading(again);
            let answer = answer(&mut reading, 0, 12, both());
            let mut seen = Vec::new();
            assert_eq!(
                reading.answered(&answer, 0, |stamp, queue, offset| seen.push((stamp.number, queue, offset))),
                after
            );
            assert_eq!(seen, [(1, 3, 10), (2, 3, 11)]);
            assert_eq!((reading.found.messages, reading.found.passes, reading.found.foreign), (2, 1, 0));
            assert_eq!(reading.answered(&answer, 0, |_, _, _| {}), After::Stray, "an answer counts once");
        }
    }

    #[test]
    fn lost_swapped_doubled_and_falsified_messages_are_faults() {
        let whole = |offset, number| stored(offset, &stamp(number), |_| {});
        let said = |next, records: Vec<u8>, words: &str| {
            let fault = fault(next, records);
            assert!(fault.contains(words), "{fault:?} for {words}");
        };
        said(12, [whole(10, 1), whole(12, 2)].concat(), "offset 12 came where 11 was due");
        said(12, [whole(11, 1), whole(10, 2)].concat(), "offset 11 came where 10 was due");
        said(12, [whole(10, 1), whole(10, 1)].concat(), "offset 10 came where 11 was due");
        said(12, [whole(10, 1), whole(11, 1)].concat(), "the same message came twice");
        said(12, [whole(10, 2), whole(11, 1)].concat(), "message 2 came before message 1");
        said(13, [whole(10, 1), whole(11, 2)].concat(), "the next offset was told as 13");
        said(11, Vec::new(), "an answer without messages");
        said(11, stored(10, &stamp(1), |record| record.topic = "U"), "it belongs to topic U");
        said(11, stored(10, &Stamp { queue: 4, ..stamp(1) }, |_| {}), "its body was sent to queue 4");
        said(11, stored(10, &stamp(1), |record| record.properties = b"a\x01b\x02"), "its properties are not");
        let mut falsified = Vec::new();
        Bodies::new(100).write(&mut falsified, &stamp(1), 100);
        falsified[99] ^= 1;
        let falsified = falsified.leak();
        said(11, stored(10, &stamp(1), |record| record.body = falsified), "the body is not what was sent");
        let mut rotten = whole(10, 1);
        rotten[100] ^= 1;
        said(11, rotten, "offset 10: ");
        said(11, whole(10, 1)[..50].to_vec(), "cannot be read");
    }

    #[test]
    fn a_queue_that_ends_early_is_a_fault_and_a_refusal_is_none() {
        let mut early = reading(false);
        let nothing = answer(&mut early, ResponseCode::PullNotFound.wire(), 10, Vec::new());
        assert_eq!(early.answered(&nothing, 0, |_, _, _| {}), After::Done);
        assert!(early.found.faults.first[0].contains("reading ends at 10, but the queue's end is 12"));
        let mut refused = reading(false);
        let answer = answer(&mut refused, ResponseCode::NoPermission.wire(), 10, Vec::new());
        assert_eq!(refused.answered(&answer, 0, |_, _, _| {}), After::Done);
        assert!(refused.refusals().unwrap().contains("1 pulls with NoPermission (16)"));
        assert_eq!(refused.found.faults.count, 0);
    }
}
