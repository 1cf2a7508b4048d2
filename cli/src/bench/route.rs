//! `strata bench route`: asks a name server where topics are, as fast as answers come.
//!
//! Owns the flags, the loop, and the comparison of answers: a topic's route is the same each time.

use clap::Args;
use strata_protocol::body::TopicRoute;
use strata_protocol::code::{ResponseCode, request};
use strata_protocol::command::Command;
use strata_protocol::json;

use super::course::Course;
use super::digits::mix;
use super::frames::{self, OPAQUE_FIRST};
use super::meter::Meter;
use super::offsets::Faults;
use super::report::{Latencies, Report};
use super::schedule::TimeArgs;
use super::target::{Header, Target, TopicArgs, code_name};
use super::wire::{Poll, Wire};
use crate::args::{ClusterArgs, OutputArgs};
use crate::exit::{Exit, Failure, Outcome};
use crate::limits::{BENCH_ANSWER_MAX, BENCH_SPIN_MAX, SENDS_IN_FLIGHT_MAX};

/// Flags of `strata bench route`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  strata bench route --namesrv 127.0.0.1:9876 --server-pid $(pidof strata) --topic strata-bench
  strata bench route --topics 1000 --connections 8 --in-flight 8 --output json

The topics must exist: strata bench produce --topics 1000 creates them.")]
pub(crate) struct RouteBenchArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// The name server's process on this machine, to measure its CPU
    #[arg(long, value_name = "PID")]
    server_pid: Option<u32>,
    /// How headers are written
    #[arg(long, value_enum, default_value_t = Header::Json)]
    header: Header,
    #[command(flatten)]
    topics: TopicArgs,
    #[command(flatten)]
    time: TimeArgs,
    /// Connections
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    connections: u32,
    /// Look-ups under way on each connection
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=SENDS_IN_FLIGHT_MAX as i64))]
    in_flight: u32,
    #[command(flatten)]
    output: OutputArgs,
}

/// Runs the command.
pub(super) async fn run(args: RouteBenchArgs) -> Outcome {
    let topics = args.topics.names()?;
    let meter = Meter::of(args.server_pid)?;
    let Some(address) = args.cluster.addresses().next() else {
        return Err(Failure::new(Exit::Usage, "--namesrv names no address; give host:port"));
    };
    let target = Target::at(address, args.cluster.patience()).await?;
    let wires = target.wires(args.connections)?;
    let mut lookups = LookUps {
        poll: Poll::of(&wires)?,
        free: vec![args.in_flight as usize; wires.len()],
        wires,
        frames: (0..topics.count()).map(|topic| Question::new(args.header, &topics.name(topic))).collect(),
        routes: Routes { first: vec![None; topics.count()], answered: 0, faults: Faults::default() },
        asked: 0,
        under_way: vec![None; args.in_flight as usize * args.connections as usize],
        took: Latencies::new(),
    };
    let mut course = Course::begin(&args.time, meter);
    lookups.run(&mut course, args.in_flight as usize)?;
    let mut report = Report::new("route", target.address, &course);
    report.latency("question to answer", &lookups.took);
    report.counts.insert("routes", lookups.routes.answered);
    report.faults = lookups.routes.faults;
    report.judge_closed_loop();
    report.close(&args.output, None)
}

/// A look-up of one topic, encoded; the opaque's place is open.
struct Question {
    frame: Vec<u8>,
    codec: strata_protocol::frame::HeaderCodec,
    opaque: std::ops::Range<usize>,
}

impl Question {
    fn new(header: Header, topic: &str) -> Self {
        let codec = header.codec();
        let (frame, opaque) = frames::with_opaque(codec, request::GET_ROUTEINFO_BY_TOPIC, |writer| {
            writer.text("topic", topic);
            writer.text("acceptStandardJsonOnly", "true");
        });
        Self { frame, codec, opaque }
    }

    fn write(&self, out: &mut Vec<u8>, opaque: i32) {
        let at = out.len();
        out.extend_from_slice(&self.frame);
        frames::patch_opaque(&mut out[at..][self.opaque.clone()], self.codec, opaque);
    }
}

/// What was answered for each topic.
struct Routes {
    first: Vec<Option<bytes::Bytes>>,
    answered: u64,
    faults: Faults,
}

impl Routes {
    /// Judges an answer about a topic. The first is read; later ones must be the same, or mean the same.
    fn judge(&mut self, topic: usize, answer: &Command) {
        self.answered += 1;
        if self.first[topic].as_ref() == Some(&answer.body) {
            return;
        }
        let wrong = if answer.code != ResponseCode::Success.wire() {
            Some(format!("{}: {}", code_name(answer.code), answer.remark.as_deref().unwrap_or_default()))
        } else {
            match json::from_unbounded::<TopicRoute>(&answer.body) {
                Ok(route) if route.queue_datas.is_empty() || route.broker_datas.is_empty() => {
                    Some(String::from("a route without queues or brokers"))
                }
                Ok(_) => None,
                Err(error) => Some(format!("a route that cannot be read: {error}")),
            }
        };
        match wrong {
            Some(wrong) => self.faults.add(|| format!("topic number {topic}: {wrong}")),
            None => self.first[topic] = Some(answer.body.clone()),
        }
    }
}

/// All connections of a run.
struct LookUps {
    wires: Vec<Wire>,
    poll: Poll,
    free: Vec<usize>,
    frames: Vec<Question>,
    routes: Routes,
    asked: u64,
    /// By the opaque's remainder: topic and begin of what is not answered yet.
    under_way: Vec<Option<(i32, usize, u64)>>,
    took: Latencies,
}

impl LookUps {
    fn run(&mut self, course: &mut Course, in_flight: usize) -> Outcome {
        let mut ready: Vec<usize> = (0..self.wires.len()).collect();
        let answer_max_ns = u64::try_from(BENCH_ANSWER_MAX.as_nanos()).unwrap_or(u64::MAX);
        let mut answered_ns = 0;
        loop {
            let now_ns = course.now_ns();
            course.turn(now_ns, self.routes.answered);
            for at in &ready {
                self.ask(*at, course, now_ns)?;
            }
            if self.free.iter().all(|free| *free == in_flight) {
                break;
            }
            self.poll.wait(BENCH_SPIN_MAX, &mut ready)?;
            for at in &ready {
                self.take(*at, course)?;
                answered_ns = now_ns;
            }
            if now_ns > answered_ns + answer_max_ns {
                self.routes.faults.add(|| String::from("look-ups were never answered"));
                break;
            }
        }
        course.end(self.routes.answered);
        Ok(())
    }

    fn ask(&mut self, at: usize, course: &Course, now_ns: u64) -> Outcome {
        let wire = &mut self.wires[at];
        while self.free[at] > 0 && course.may_send(self.asked) {
            let topic = (mix(self.asked) % self.frames.len() as u64) as usize;
            // A free place of this table is also a free place in flight: so many entries are never all taken.
            let Some(place) = self.under_way.iter().position(Option::is_none) else { break };
            let generation = (self.asked % 1_000) as usize;
            let opaque = (generation * self.under_way.len() + place) as i32;
            self.under_way[place] = Some((opaque, topic, now_ns));
            self.frames[topic].write(&mut wire.out, opaque);
            self.asked += 1;
            self.free[at] -= 1;
        }
        wire.write(&self.poll)
    }

    fn take(&mut self, at: usize, course: &Course) -> Outcome {
        self.wires[at].read()?;
        let now_ns = course.now_ns();
        while let Some(answer) = self.wires[at].next()? {
            let opaque = answer.opaque.wrapping_sub(OPAQUE_FIRST);
            let place = opaque as usize % self.under_way.len();
            match self.under_way[place].take_if(|(asked, _, _)| *asked == opaque) {
                Some((_, topic, asked_ns)) => {
                    self.free[at] += 1;
                    self.took.add(now_ns.saturating_sub(asked_ns));
                    self.routes.judge(topic, &answer);
                }
                None => self.routes.faults.add(|| format!("an answer to no question (opaque {opaque})")),
            }
        }
        Ok(())
    }
}
