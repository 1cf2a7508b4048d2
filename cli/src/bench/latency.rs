//! `strata bench latency`: sends at a fixed rate and waits for each message with a long poll beside.
//!
//! Owns the flags, the loop, and the comparison of what was acknowledged with what was delivered.

use std::collections::HashMap;
use std::time::Duration;

use clap::Args;
use strata_protocol::code::request;

use super::course::Course;
use super::frames::SendForm;
use super::meter::Meter;
use super::offsets::Faults;
use super::produce::{MessageArgs, check_ends, late_sentence, parse_rate, run_number};
use super::reading::{After, Plan, QueueRange, Reading};
use super::report::{Latencies, Report};
use super::schedule::{Rate, Stage, TimeArgs};
use super::sending::{Acknowledged, Load, Sending, Spreading};
use super::target::{Target, TargetArgs, TopicArgs};
use super::wire::{Poll, Wire};
use crate::args::OutputArgs;
use crate::exit::{Exit, Failure, Outcome};
use crate::limits::{
    BENCH_OPEN_SENDS_IN_FLIGHT, BENCH_REQUESTS_IN_FLIGHT_MAX, BENCH_SETTLE_MAX, BENCH_SPIN_MAX, FOLLOW_HOLD,
    PULL_MESSAGES,
};
use crate::time::now_ms;

/// The places of the two connections.
const PRODUCER: usize = 0;
const CONSUMER: usize = 1;

/// Flags of `strata bench latency`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  strata bench latency --broker 127.0.0.1:10911 --broker-pid $(pidof strata)
  strata bench latency --rate 10000 --queues 1 --duration 30 --output json

One connection sends, another has a long poll at the end of each queue. All times count from the instant at which a
send was due, so that a stall is felt by each message that it held up.")]
pub(crate) struct LatencyBenchArgs {
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    topics: TopicArgs,
    #[command(flatten)]
    message: MessageArgs,
    #[command(flatten)]
    time: TimeArgs,
    /// Messages a second
    #[arg(long, value_name = "N", default_value = "1000", value_parser = parse_rate)]
    rate: f64,
    #[command(flatten)]
    output: OutputArgs,
}

/// Runs the command.
pub(super) async fn run(args: LatencyBenchArgs) -> Outcome {
    let topics = args.topics.names()?;
    if topics.count() > 1 {
        return Err(Failure::new(Exit::Usage, "strata bench latency takes one topic; leave --topics out"));
    }
    let meter = Meter::of(args.target.broker_pid)?;
    let target = Target::find(&args.target, &topics.name(0)).await?;
    let queues = args.message.queues;
    target.provide(&topics, queues).await?;
    let places = (0..queues).map(|queue| (0, queue));
    let next = target.offsets(request::GET_MAX_OFFSET, &topics, places).await?;
    let ranges = (0..queues).zip(&next).map(|(queue, next)| QueueRange { topic: 0, queue, first: *next, end: *next });
    let plan = Plan {
        codec: args.target.header.codec(),
        topics: topics.clone(),
        groups: vec![String::from("strata-bench-latency")],
        queues: ranges.collect(),
        batch: PULL_MESSAGES as u32,
        hold_ms: FOLLOW_HOLD.as_millis() as i64,
        told: None,
        again: false,
    };
    let load = Load {
        form: SendForm { codec: args.target.header.codec(), code: args.message.code },
        topics,
        queues,
        sizes: args.message.size.clone(),
        properties: args.message.properties,
        spreading: Spreading::Round,
        run: run_number(),
        connections: 1,
        in_flight: BENCH_OPEN_SENDS_IN_FLIGHT,
    };
    let run = load.run;
    let wires = target.wires(2)?;
    let mut both = Both {
        poll: Poll::of(&wires)?,
        wires,
        sending: Sending::new(load, next),
        reading: Reading::new(plan),
        rate: Rate::new(args.rate),
        run,
        matches: Matches::default(),
        delivered: Latencies::new(),
        late: Latencies::new(),
        held_up: false,
        counted_from: u64::MAX,
    };
    let mut course = Course::begin(&args.time, meter);
    both.run(&mut course)?;
    check_ends(&mut both.sending, &target).await?;
    report(both, &course, &target, &args)
}

fn report(both: Both, course: &Course, target: &Target, args: &LatencyBenchArgs) -> Outcome {
    let mut report = Report::new("latency", target.address, course);
    let refused = both.sending.refusals().or_else(|| both.reading.refusals());
    let (tally, found) = (both.sending.tally, both.reading.found);
    report.latency("send to acknowledgement", &tally.acknowledged);
    report.latency("send to refusal", &tally.refused);
    report.latency("send to delivery", &both.delivered);
    report.latency("late by itself", &both.late);
    report.bottleneck = late_sentence(&both.late);
    report.answered(&tally.codes);
    report.counts.insert("delivered", found.messages);
    report.faults = tally.faults;
    report.faults.extend(found.faults);
    both.matches.close(&mut report.faults);
    report.close(&args.output, refused)
}

/// Where messages were acknowledged and where they were delivered, until both are known.
#[derive(Debug, Default)]
struct Matches {
    one_side: HashMap<u64, (Side, u16, i64)>,
    wrong: Faults,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Acknowledged,
    Delivered,
}

impl Matches {
    fn add(&mut self, number: u64, side: Side, queue: u16, offset: i64) {
        let Some((other, at_queue, at_offset)) = self.one_side.remove(&number) else {
            self.one_side.insert(number, (side, queue, offset));
            return;
        };
        if other == side {
            self.wrong.add(|| format!("message {number} was {side:?} twice"));
        } else if (at_queue, at_offset) != (queue, offset) {
            self.wrong.add(|| {
                format!("message {number} was {other:?} at {at_queue}/{at_offset} and {side:?} at {queue}/{offset}")
            });
        }
    }

    /// Messages that only one side knows of.
    fn uneven(&self) -> usize {
        self.one_side.len()
    }

    fn close(self, faults: &mut Faults) {
        faults.extend(self.wrong);
        let mut left: Vec<_> = self.one_side.into_iter().collect();
        left.sort_unstable_by_key(|(number, _)| *number);
        for (number, (side, queue, offset)) in left {
            faults.add(|| format!("message {number} was only {side:?}, at {queue}/{offset}"));
        }
    }
}

/// The sender and the reader.
struct Both {
    wires: Vec<Wire>,
    poll: Poll,
    sending: Sending,
    reading: Reading,
    rate: Rate,
    run: u32,
    matches: Matches,
    /// From the instant that a message was due to its delivery.
    delivered: Latencies,
    late: Latencies,
    /// A send is due that the broker's silence holds up.
    held_up: bool,
    /// The first message that counts.
    counted_from: u64,
}

impl Both {
    fn run(&mut self, course: &mut Course) -> Outcome {
        let mut ready = Vec::new();
        for cursor in 0..self.reading.cursors() {
            self.reading.ask(cursor, &mut self.wires[CONSUMER].out, 0);
        }
        self.wires[CONSUMER].write(&self.poll)?;
        let settle_ns = u64::try_from(BENCH_SETTLE_MAX.as_nanos()).unwrap_or(u64::MAX);
        let mut over_ns = None;
        loop {
            let now_ns = course.now_ns();
            let stage = course.turn(now_ns, self.sending.tally.stored);
            self.send_due(course)?;
            if !course.may_send(self.sending.sent()) {
                let over_ns = *over_ns.get_or_insert(now_ns);
                let all_there = self.sending.in_flight() == 0 && self.matches.uneven() == 0;
                if all_there && (stage == Stage::Over || self.sending.tally.stored < self.sending.sent()) {
                    break;
                }
                if now_ns > over_ns + settle_ns {
                    break;
                }
            }
            let due = Duration::from_nanos(self.rate.due_ns(self.sending.sent()).saturating_sub(course.now_ns()));
            self.poll.wait(due.saturating_sub(BENCH_SPIN_MAX).min(BENCH_SPIN_MAX), &mut ready)?;
            for at in &ready {
                self.take(*at, course)?;
            }
        }
        course.end(self.sending.tally.stored);
        Ok(())
    }

    fn send_due(&mut self, course: &Course) -> Outcome {
        let (now_ns, now_ms) = (course.now_ns(), now_ms());
        let counts = course.stage() == Stage::Counting;
        // Those behind the first waited for it.
        let mut judged = std::mem::take(&mut self.held_up);
        while course.may_send(self.sending.sent()) {
            let due_ns = self.rate.due_ns(self.sending.sent());
            if due_ns > now_ns {
                break;
            }
            // Messages that are not delivered wait in memory.
            if !self.sending.has_slot(PRODUCER) || self.matches.uneven() >= BENCH_REQUESTS_IN_FLIGHT_MAX {
                self.held_up = true;
                break;
            }
            if counts {
                self.counted_from = self.counted_from.min(self.sending.sent());
                if !std::mem::replace(&mut judged, true) {
                    self.late.add(now_ns - due_ns);
                }
            }
            self.sending.send(PRODUCER, &mut self.wires[PRODUCER].out, (due_ns, counts), now_ms);
        }
        self.wires[PRODUCER].write(&self.poll)
    }

    fn take(&mut self, at: usize, course: &Course) -> Outcome {
        self.wires[at].read()?;
        let now_ns = course.now_ns();
        while let Some(answer) = self.wires[at].next()? {
            if at == PRODUCER {
                if let Some(Acknowledged { number, queue, offset }) = self.sending.answered(0, &answer, now_ns) {
                    self.matches.add(number, Side::Acknowledged, queue, offset);
                }
                continue;
            }
            let Self { rate, run, matches, delivered, counted_from, .. } = self;
            let after = self.reading.answered(&answer, now_ns, |stamp, queue, offset| {
                if stamp.run != *run {
                    return;
                }
                matches.add(stamp.number, Side::Delivered, queue, offset);
                if stamp.number >= *counted_from {
                    delivered.add(now_ns.saturating_sub(rate.due_ns(stamp.number)));
                }
            });
            if let After::Ask(cursor) = after {
                self.reading.ask(cursor, &mut self.wires[CONSUMER].out, now_ns);
            }
        }
        self.wires[at].write(&self.poll)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_is_acknowledged_and_delivered_once_at_one_place() {
        let faults = |steps: &[(u64, Side, i64)]| {
            let (mut matches, mut faults) = (Matches::default(), Faults::default());
            steps.iter().for_each(|(number, side, offset)| matches.add(*number, *side, 0, *offset));
            matches.close(&mut faults);
            faults.first.join(";")
        };
        use Side::{Acknowledged, Delivered};
        assert_eq!(faults(&[(1, Acknowledged, 5), (2, Delivered, 6), (1, Delivered, 5), (2, Acknowledged, 6)]), "");
        assert!(faults(&[(1, Acknowledged, 5)]).contains("message 1 was only Acknowledged, at 0/5"));
        assert!(faults(&[(1, Delivered, 5)]).contains("message 1 was only Delivered"));
        assert!(faults(&[(1, Delivered, 5), (1, Delivered, 6)]).contains("message 1 was Delivered twice"));
        let swapped = [(1, Acknowledged, 5), (2, Acknowledged, 6), (2, Delivered, 5), (1, Delivered, 6)];
        assert!(faults(&swapped).contains("message 2 was Acknowledged at 0/6 and Delivered at 0/5"));
    }
}
