//! `strata bench consume`: reads everything, again and again, as fast as answers come.
//!
//! Owns the flags and the loop. What is asked for, and whether what came is right, is `reading`'s.

use std::collections::VecDeque;
use std::time::Duration;

use clap::Args;
use strata_protocol::body::perm;
use strata_protocol::code::request;

use super::course::Course;
use super::frames::TopicNames;
use super::meter::Meter;
use super::reading::{After, Plan, QueueRange, Reading};
use super::report::Report;
use super::schedule::{Stage, TimeArgs};
use super::target::{Target, TargetArgs, TopicArgs};
use super::wire::{Poll, Wire};
use crate::args::OutputArgs;
use crate::exit::{Exit, Failure, Outcome};
use crate::limits::{
    BENCH_ANSWER_MAX, BENCH_CONNECTIONS_MAX, BENCH_CURSORS_MAX, BENCH_SPIN_MAX, SENDS_IN_FLIGHT, SENDS_IN_FLIGHT_MAX,
};

/// Flags of `strata bench consume`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  strata bench consume --broker 127.0.0.1:10911 --broker-pid $(pidof strata)
  strata bench consume --groups 4 --connections 4
  strata bench consume --once --output json
  strata bench consume --filter \"color = 'blue-3' AND price > 9992\"

Each group reads every queue of the topics from its first message to its end, and begins again until the time is
over. What strata bench produce sent is compared byte by byte; of other messages the checksums are.")]
pub(crate) struct ConsumeBenchArgs {
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    topics: TopicArgs,
    #[command(flatten)]
    time: TimeArgs,
    /// Connections; queues and groups are spread over them
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(BENCH_CONNECTIONS_MAX)))]
    connections: u32,
    /// Pulls under way on each connection; each queue of a group has at most one
    #[arg(long, value_name = "N", default_value_t = SENDS_IN_FLIGHT as u32, value_parser = clap::value_parser!(u32).range(1..=SENDS_IN_FLIGHT_MAX as i64))]
    in_flight: u32,
    /// Messages that a pull asks for; brokers give fewer if their limits are lower
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    batch: u32,
    /// Groups that read everything, each for itself
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    groups: u32,
    /// Reads only what this expression lets through. Messages that the broker passes count as messages then
    #[arg(long, value_name = "EXPR")]
    filter: Option<String>,
    /// The type of the expression
    #[arg(long, value_name = "TYPE", default_value = "SQL92", value_parser = ["TAG", "SQL92", "SQL92_STRICT"])]
    filter_type: String,
    /// Reads everything once and ends, without a warm-up; the duration is a bound
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    output: OutputArgs,
}

/// Runs the command.
pub(super) async fn run(mut args: ConsumeBenchArgs) -> Outcome {
    if args.once {
        // A pass that is over before the warm-up would leave nothing to measure.
        args.time.warm_up = Duration::ZERO;
    }
    let topics = args.topics.names()?;
    let meter = Meter::of(args.target.broker_pid)?;
    let target = Target::find(&args.target, &topics.name(0)).await?;
    let queues = ranges(&target, &topics).await?;
    if queues.len() * args.groups as usize > BENCH_CURSORS_MAX {
        let message = format!("--groups times all queues may be {BENCH_CURSORS_MAX} at most");
        return Err(Failure::new(Exit::Usage, message));
    }
    let groups: Vec<String> = (0..args.groups).map(|group| format!("strata-bench-{group}")).collect();
    let told = match &args.filter {
        Some(text) => Some(target.subscribe(&groups, &topics, (&args.filter_type, text)).await?),
        None => None,
    };
    let plan = Plan {
        codec: args.target.header.codec(),
        topics,
        groups,
        told,
        queues,
        batch: args.batch,
        hold_ms: 0,
        again: !args.once,
    };
    let mut drain = Drain::new(Reading::new(plan), target.wires(args.connections)?, args.in_flight as usize)?;
    let mut course = Course::begin(&args.time, meter);
    drain.run(&mut course)?;
    report(drain, &course, &target, &args)
}

/// The queues of the topics, with their first and next offsets.
async fn ranges(target: &Target, topics: &TopicNames) -> Outcome<Vec<QueueRange>> {
    let mut places = Vec::new();
    for (topic, config) in target.queues_of(topics).await?.into_iter().enumerate() {
        let Some(config) = config else {
            let name = topics.name(topic);
            let advice = "fill it with: strata bench produce";
            return Err(Failure::new(Exit::NotFound, format!("there is no topic {name}; {advice}")));
        };
        if config.perm & perm::READ != 0 {
            let queues = u16::try_from(config.read_queue_nums).unwrap_or(0);
            places.extend((0..queues).map(|queue| (topic, queue)));
        }
    }
    let first = target.offsets(request::GET_MIN_OFFSET, topics, places.iter().copied()).await?;
    let end = target.offsets(request::GET_MAX_OFFSET, topics, places.iter().copied()).await?;
    let offsets = first.into_iter().zip(end);
    let range = |((topic, queue), (first, end)): ((usize, u16), (i64, i64))| QueueRange {
        topic,
        queue,
        first: first.max(0),
        end,
    };
    let ranges: Vec<QueueRange> =
        places.into_iter().zip(offsets).map(range).filter(|range| range.end > range.first).collect();
    if ranges.is_empty() {
        let message = "there is no message to read; send some with: strata bench produce";
        return Err(Failure::new(Exit::NotFound, message));
    }
    Ok(ranges)
}

fn report(drain: Drain, course: &Course, target: &Target, args: &ConsumeBenchArgs) -> Outcome {
    let mut report = Report::new("consume", target.address, course);
    let refused = drain.reading.refusals();
    let found = drain.reading.found;
    report.latency("pull to answer", &found.answered);
    report.answered(&found.codes);
    let counts = [("passes", found.passes), ("foreign", found.foreign), ("reordered", found.reordered)];
    report.counts.extend(counts);
    if args.filter.is_some() {
        let mut first = found.first_pulls;
        first.sort_unstable();
        let typical = first.get(first.len() / 2).copied().unwrap_or(0);
        report.counts.extend([("pulls", found.pulls), ("matches", found.matches), ("pullsToFirst", typical)]);
    }
    report.judge_closed_loop();
    report.faults = found.faults;
    report.close(&args.output, refused)
}

/// All connections of a run, and what comes over them.
struct Drain {
    reading: Reading,
    wires: Vec<Wire>,
    poll: Poll,
    /// Of each connection: cursors that wait for a place.
    waiting: Vec<VecDeque<usize>>,
    /// Of each connection: pulls that may be added.
    free: Vec<usize>,
    under_way: usize,
}

impl Drain {
    fn new(reading: Reading, wires: Vec<Wire>, in_flight: usize) -> Outcome<Self> {
        let mut waiting = vec![VecDeque::new(); wires.len()];
        for cursor in 0..reading.cursors() {
            waiting[cursor % wires.len()].push_back(cursor);
        }
        let poll = Poll::of(&wires)?;
        Ok(Self { reading, free: vec![in_flight; wires.len()], wires, poll, waiting, under_way: 0 })
    }

    fn run(&mut self, course: &mut Course) -> Outcome {
        let mut ready: Vec<usize> = (0..self.wires.len()).collect();
        let answer_max_ns = u64::try_from(BENCH_ANSWER_MAX.as_nanos()).unwrap_or(u64::MAX);
        let mut answered_ns = 0;
        loop {
            let now_ns = course.now_ns();
            let stage = course.turn(now_ns, self.reading.found.messages);
            for at in &ready {
                self.ask(*at, stage, now_ns)?;
            }
            if self.under_way == 0 {
                break;
            }
            self.poll.wait(BENCH_SPIN_MAX, &mut ready)?;
            for at in &ready {
                self.take(*at, course)?;
                answered_ns = now_ns;
            }
            if now_ns > answered_ns + answer_max_ns {
                let left = self.under_way;
                self.reading.found.faults.add(|| format!("{left} pulls were never answered"));
                break;
            }
        }
        course.end(self.reading.found.messages);
        Ok(())
    }

    /// Asks on one connection for as much as it may have under way.
    fn ask(&mut self, at: usize, stage: Stage, now_ns: u64) -> Outcome {
        let wire = &mut self.wires[at];
        while stage != Stage::Over && self.free[at] > 0 && wire.has_room() {
            let Some(cursor) = self.waiting[at].pop_front() else { break };
            self.reading.ask(cursor, &mut wire.out, now_ns);
            self.free[at] -= 1;
            self.under_way += 1;
        }
        wire.write(&self.poll)
    }

    /// Reads one connection once, and judges the answers.
    fn take(&mut self, at: usize, course: &Course) -> Outcome {
        self.wires[at].read()?;
        let now_ns = course.now_ns();
        while let Some(answer) = self.wires[at].next()? {
            match self.reading.answered(&answer, now_ns, |_, _, _| {}) {
                After::Stray => continue,
                After::Ask(cursor) => self.waiting[at].push_back(cursor),
                After::Done => {}
            }
            self.free[at] += 1;
            self.under_way -= 1;
        }
        Ok(())
    }
}
