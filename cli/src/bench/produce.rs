//! `strata bench produce`: sends as fast as answers come, or at a fixed rate.
//!
//! Owns the flags and the loop. What is sent, and whether answers are right, is `sending`'s.

use std::time::Duration;

use clap::Args;
use strata_protocol::code::request;
use tokio::time::Instant;

use super::body::{BODY_BYTES_MIN, PROPERTIES_MAX, PropertySet};
use super::course::Course;
use super::frames::SendForm;
use super::meter::Meter;
use super::report::{Latencies, Report};
use super::schedule::{Rate, Stage, TimeArgs};
use super::sending::{Load, Sending, Sizes, Spreading};
use super::target::{Target, TargetArgs, TopicArgs};
use super::wire::{Poll, Wire};
use crate::args::OutputArgs;
use crate::exit::{Exit, Failure, Outcome};
use crate::limits::{
    BENCH_ANSWER_MAX, BENCH_CONNECTIONS_MAX, BENCH_ENDS_QUEUES_MAX, BENCH_LATE_MAX, BENCH_LATE_SENDS_SHARE_MAX,
    BENCH_OPEN_SENDS_IN_FLIGHT, BENCH_REQUESTS_IN_FLIGHT_MAX, BENCH_SETTLE_MAX, BENCH_SPIN_MAX, CREATED_INTERVAL,
    MESSAGE_BYTES_MAX, QUEUES_MAX, SENDS_IN_FLIGHT, SENDS_IN_FLIGHT_MAX,
};
use crate::time::now_ms;

/// Flags that shape the messages.
#[derive(Debug, Args)]
pub(crate) struct MessageArgs {
    /// Bytes of a body: a number, several (100,1024,4096), or a range (100-4096)
    #[arg(long, value_name = "BYTES", default_value = "1024", value_parser = parse_sizes)]
    pub(super) size: Sizes,
    /// Properties: none, client (UNIQ_KEY and WAIT), keyed (with TAGS and KEYS), realistic (with four more), rare-tags
    /// (the same, each tag in one of 10,000 messages), or a number of short ones
    #[arg(long, value_name = "SET", default_value = "realistic", value_parser = parse_set)]
    pub(super) properties: PropertySet,
    /// Request code of sends: 310, with short field names, or 10
    #[arg(long, value_name = "CODE", default_value = "310", value_parser = parse_code)]
    pub(super) code: i32,
    /// Queues of a topic; a missing topic is created with so many
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=QUEUES_MAX as i64))]
    pub(super) queues: u16,
}

/// Flags of `strata bench produce`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  strata bench produce --broker 127.0.0.1:10911 --broker-pid $(pidof strata)
  strata bench produce --connections 64 --in-flight 1 --size 100,1024,4096
  strata bench produce --rate 5000 --connections 4 --duration 30
  strata bench produce --topics 10000 --queues 8 --messages 1000000 --output json

Without --rate a send leaves when an answer has come; with it, sends leave at fixed instants, and latency counts from
those. Nobody else may write to the topics meanwhile: every offset must be given here, once.")]
pub(crate) struct ProduceBenchArgs {
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    topics: TopicArgs,
    #[command(flatten)]
    message: MessageArgs,
    #[command(flatten)]
    time: TimeArgs,
    /// Connections
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(BENCH_CONNECTIONS_MAX)))]
    connections: u32,
    /// Sends under way on each connection [default: 64; with --rate at most 1024]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=SENDS_IN_FLIGHT_MAX as i64))]
    in_flight: Option<u32>,
    /// Messages a second of all connections; without it as many as are answered
    #[arg(long, value_name = "N", value_parser = parse_rate)]
    rate: Option<f64>,
    /// Which queue a message goes to [default: round, and random with several topics]
    #[arg(long, value_enum)]
    spread: Option<Spreading>,
    #[command(flatten)]
    output: OutputArgs,
}

fn parse_sizes(text: &str) -> Result<Sizes, String> {
    let size = |text: &str| {
        let size = text.trim().parse::<usize>().ok();
        size.filter(|size| (BODY_BYTES_MIN as usize..=MESSAGE_BYTES_MAX).contains(size)).ok_or_else(|| {
            format!("{text:?} is no size from {BODY_BYTES_MIN} (a body carries what it is checked by) to {MESSAGE_BYTES_MAX}")
        })
    };
    match text.split_once('-') {
        Some((low, high)) => match (size(low)?, size(high)?) {
            (low, high) if low <= high => Ok(Sizes::Between(low, high)),
            (_, _) => Err(String::from("a range begins with its smaller size")),
        },
        None => text.split(',').map(size).collect::<Result<_, _>>().map(Sizes::OneOf),
    }
}

fn parse_set(text: &str) -> Result<PropertySet, String> {
    match text {
        "none" => Ok(PropertySet::Plain(0)),
        "client" => Ok(PropertySet::OfClient),
        "keyed" => Ok(PropertySet::Keyed),
        "realistic" => Ok(PropertySet::Realistic),
        "rare-tags" => Ok(PropertySet::RareTags),
        count => match count.parse() {
            Ok(count) if u64::from(count) <= PROPERTIES_MAX => Ok(PropertySet::Plain(count)),
            Ok(_) | Err(_) => Err(format!(
                "allowed are none, client, keyed, realistic, rare-tags, and a number up to {PROPERTIES_MAX}"
            )),
        },
    }
}

fn parse_code(text: &str) -> Result<i32, String> {
    match text {
        "310" => Ok(request::SEND_MESSAGE_V2),
        "10" => Ok(request::SEND_MESSAGE),
        _ => Err(String::from("allowed are 310 and 10")),
    }
}

pub(super) fn parse_rate(text: &str) -> Result<f64, String> {
    let rate = text.parse::<f64>().ok().filter(|rate| (0.001..=1e7).contains(rate));
    rate.ok_or_else(|| String::from("a number of messages a second up to 10000000"))
}

/// Runs the command.
pub(super) async fn run(args: ProduceBenchArgs) -> Outcome {
    let topics = args.topics.names()?;
    let queues = args.message.queues;
    let in_flight = args.in_flight.map_or_else(
        || if args.rate.is_some() { BENCH_OPEN_SENDS_IN_FLIGHT } else { SENDS_IN_FLIGHT },
        |in_flight| in_flight as usize,
    );
    if in_flight * args.connections as usize > BENCH_REQUESTS_IN_FLIGHT_MAX {
        let message = format!("--connections times --in-flight may be {BENCH_REQUESTS_IN_FLIGHT_MAX} at most");
        return Err(Failure::new(Exit::Usage, message));
    }
    let meter = Meter::of(args.target.broker_pid)?;
    let target = Target::find(&args.target, &topics.name(0)).await?;
    target.provide(&topics, queues).await?;
    let places = (0..topics.count()).flat_map(|topic| (0..queues).map(move |queue| (topic, queue)));
    let next = target.offsets(request::GET_MAX_OFFSET, &topics, places).await?;
    let spread = if topics.count() > 1 { Spreading::Random } else { Spreading::Round };
    let load = Load {
        form: SendForm { codec: args.target.header.codec(), code: args.message.code },
        topics,
        queues,
        sizes: args.message.size.clone(),
        properties: args.message.properties,
        spreading: args.spread.unwrap_or(spread),
        run: run_number(),
        connections: args.connections as usize,
        in_flight,
    };
    let mut flood = Flood::new(Sending::new(load, next), target.wires(args.connections)?, args.rate.map(Rate::new))?;
    let mut course = Course::begin(&args.time, meter);
    flood.run(&mut course)?;
    check_ends(&mut flood.sending, &target).await?;
    report(flood, &course, &target, &args)
}

/// Tells this run's messages from another's.
pub(super) fn run_number() -> u32 {
    (now_ms() as u32) ^ std::process::id().rotate_left(20)
}

fn report(flood: Flood, course: &Course, target: &Target, args: &ProduceBenchArgs) -> Outcome {
    let mut report = Report::new("produce", target.address, course);
    let (refused, late) = (flood.sending.refusals(), late_sentence(&flood.late));
    let tally = flood.sending.tally;
    report.latency("send to acknowledgement", &tally.acknowledged);
    report.latency("send to refusal", &tally.refused);
    report.answered(&tally.codes);
    report.counts.insert("reordered", tally.reordered);
    match args.rate {
        None => report.judge_closed_loop(),
        Some(_) => {
            report.latency("late by itself", &flood.late);
            report.bottleneck = late;
        }
    }
    report.faults = tally.faults;
    report.close(&args.output, refused)
}

/// Asks each queue for its end, which must be behind the last acknowledged message. Brokers may index a
/// message a little later than they acknowledge it; one that is at fault already is not waited for.
pub(super) async fn check_ends(sending: &mut Sending, target: &Target) -> Outcome {
    let target = target.again().await?;
    let mut ends = sending.end();
    ends.truncate(BENCH_ENDS_QUEUES_MAX);
    let (mut seen, mut deadline) = (0, Instant::now() + BENCH_SETTLE_MAX);
    loop {
        let topics = &sending.load().topics;
        let queues = ends.iter().map(|(topic, queue, _)| (*topic, *queue));
        let found = target.offsets(request::GET_MAX_OFFSET, topics, queues).await?;
        let shown = found.iter().sum::<i64>();
        if shown > seen {
            (seen, deadline) = (shown, Instant::now() + BENCH_SETTLE_MAX);
        }
        let mut pairs = ends.iter().zip(&found);
        let Some(((topic, queue, end), found)) = pairs.find(|((_, _, end), found)| end != *found) else {
            return Ok(());
        };
        if found > end || sending.tally.faults.count > 0 || Instant::now() > deadline {
            let topic = topics.name(*topic);
            let fault = format!("topic {topic}, queue {queue}: it ends at {found}, but acknowledged was up to {end}");
            sending.tally.faults.add(|| fault);
            return Ok(());
        }
        tokio::time::sleep(CREATED_INTERVAL).await;
    }
}

/// All connections of a run, and what goes over them.
struct Flood {
    sending: Sending,
    wires: Vec<Wire>,
    poll: Poll,
    rate: Option<Rate>,
    /// Whose turn it is at a fixed rate.
    turn: usize,
    /// How much later than its instant a send left although it could have.
    late: Latencies,
    /// No connection had a place for the send that is due: the broker is late, not the bench.
    held_up: bool,
    answered_ns: u64,
}

impl Flood {
    fn new(sending: Sending, wires: Vec<Wire>, rate: Option<Rate>) -> Outcome<Self> {
        let poll = Poll::of(&wires)?;
        Ok(Self { sending, wires, poll, rate, turn: 0, late: Latencies::new(), held_up: false, answered_ns: 0 })
    }

    fn run(&mut self, course: &mut Course) -> Outcome {
        let mut ready: Vec<usize> = (0..self.wires.len()).collect();
        let answer_max_ns = u64::try_from(BENCH_ANSWER_MAX.as_nanos()).unwrap_or(u64::MAX);
        loop {
            let now = course.now_ns();
            let stage = course.turn(now, self.sending.tally.stored);
            match self.rate {
                None => ready.iter().try_for_each(|wire| self.fill(*wire, course))?,
                Some(rate) => self.send_due(rate, course)?,
            }
            if self.sending.in_flight() == 0 {
                self.answered_ns = now;
                // With a number of messages, refusals leave it short when everything was sent.
                if stage == Stage::Over || !course.may_send(self.sending.sent()) {
                    break;
                }
            } else if now > self.answered_ns + answer_max_ns {
                break; // What is left counts as never answered.
            }
            let most = self.pause(course);
            self.poll.wait(most, &mut ready)?;
            for wire in &ready {
                self.take(*wire, course)?;
            }
        }
        course.end(self.sending.tally.stored);
        Ok(())
    }

    /// Sends on one connection as long as it may have more under way.
    fn fill(&mut self, at: usize, course: &Course) -> Outcome {
        let wire = &mut self.wires[at];
        let (now_ns, now_ms) = (course.now_ns(), now_ms());
        let counts = course.stage() == Stage::Counting;
        while self.sending.has_slot(at) && wire.has_room() && course.may_send(self.sending.sent()) {
            self.sending.send(at, &mut wire.out, (now_ns, counts), now_ms);
        }
        wire.write(&self.poll)
    }

    /// Sends what is due by now, on the connections in turn.
    fn send_due(&mut self, rate: Rate, course: &Course) -> Outcome {
        let (now_ns, now_ms) = (course.now_ns(), now_ms());
        let counts = course.stage() == Stage::Counting;
        // Those behind the first waited for it.
        let mut judged = std::mem::take(&mut self.held_up);
        while course.may_send(self.sending.sent()) {
            let due_ns = rate.due_ns(self.sending.sent());
            if due_ns > now_ns {
                break;
            }
            let free = |at: &usize| self.sending.has_slot(*at) && self.wires[*at].has_room();
            let mut turns = (0..self.wires.len()).map(|step| (self.turn + step) % self.wires.len());
            let Some(at) = turns.find(free) else {
                self.held_up = true;
                break;
            };
            self.turn = at + 1;
            if !std::mem::replace(&mut judged, true) && counts {
                self.late.add(now_ns - due_ns);
            }
            self.sending.send(at, &mut self.wires[at].out, (due_ns, counts), now_ms);
        }
        self.wires.iter_mut().try_for_each(|wire| wire.write(&self.poll))
    }

    /// How long to wait for answers: not beyond the next instant, which the last stretch spins for.
    fn pause(&self, course: &Course) -> Duration {
        let Some(rate) = self.rate else { return BENCH_SPIN_MAX };
        let due = Duration::from_nanos(rate.due_ns(self.sending.sent()).saturating_sub(course.now_ns()));
        if course.may_send(self.sending.sent()) {
            due.saturating_sub(BENCH_SPIN_MAX).min(BENCH_SPIN_MAX)
        } else {
            BENCH_SPIN_MAX
        }
    }

    /// Reads one connection once, and judges the answers.
    fn take(&mut self, at: usize, course: &Course) -> Outcome {
        self.wires[at].read()?;
        let now_ns = course.now_ns();
        while let Some(answer) = self.wires[at].next()? {
            self.sending.answered(at, &answer, now_ns);
            self.answered_ns = now_ns;
        }
        Ok(())
    }
}

/// Says so when the bench could not keep its own schedule.
pub(super) fn late_sentence(late: &Latencies) -> Option<String> {
    let share = late.share_above(BENCH_LATE_MAX);
    (share > BENCH_LATE_SENDS_SHARE_MAX).then(|| {
        let (percent, ms) = (share * 100.0, BENCH_LATE_MAX.as_millis());
        format!(
            "the bench itself was the bottleneck: {percent:.1} % of its sends left more than {ms} ms after their \
             instant; latencies hold its own delay"
        )
    })
}
