//! The rows of the table: how each figure is measured on both brokers, and what it is to reach.
//!
//! Owns the generator's arguments for each row, the pairing of windows, and the goals.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use strata_tests::site::own_memory_kib;
use tokio::time::Instant;

use crate::load::{self, Measured};
use crate::servers::{Kind, Server};
use crate::settings::Settings;
use crate::table::{Goal, Line, median};

/// Seconds of load before a Java machine's figures count, and in the quick form.
const WARM_UP: (&str, &str) = ("60", "5");
/// Messages that pulls read, in the quick form fewer.
const READ_MESSAGES: (&str, &str) = ("800000", "30000");
/// Messages that are passed by a filter, in the quick form fewer.
const FILTER_MESSAGES: (&str, &str) = ("1000000", "50000");
/// One of seven colours and 7 of 10,000 prices.
const FILTER_SQL: &str = "color = 'blue-3' AND price > 9992";
/// One of 10,000 tags.
const FILTER_TAG: &str = "Tag0042";
/// Topics of 8 queues that Apache's default store bears.
const APACHE_TOPICS: u32 = 2_000;
/// Topics of 8 queues that Strata is measured with.
const STRATA_TOPICS: u32 = 10_000;
/// Queues in which messages lie while memory is measured.
const MEMORY_TOPICS: u32 = 12_500;
/// Bytes that a message of 1 KiB takes in the log: body, realistic properties, and what a record has.
const RECORD_BYTES: f64 = 1_315.0;
/// Seconds that an idle server has to come to rest.
const REST: (u64, u64) = (20, 2);
/// How long a name server may take to know all topics.
const ROUTES_MAX: Duration = Duration::from_secs(60);
/// Bytes of a read while a segment is read once.
const READ_BYTES: usize = 1024 * 1024;

/// What the machine can do, from `strata bench limits`.
#[derive(Debug)]
pub struct Limits {
    all: Vec<Value>,
}

impl Limits {
    /// Probes the machine and the disk of `folder`.
    pub fn measure(settings: &Settings, folder: &Path) -> Result<Self> {
        let (broker, generator) = (settings.cores.0.to_string(), settings.cores.1.to_string());
        let folder = folder.display().to_string();
        let seconds = if settings.quick { "0.3" } else { "2" };
        let args =
            ["limits", "--dir", &folder, "--server-core", &broker, "--asker-core", &generator, "--duration", seconds];
        // The probes choose their cores themselves, so that the generator's does not bind both.
        let mut bench = crate::servers::command(&settings.strata);
        let output =
            bench.arg("bench").args(args).args(["--output", "json"]).output().context("cannot run strata bench")?;
        anyhow::ensure!(output.status.success(), "strata bench limits: {}", String::from_utf8_lossy(&output.stderr));
        Ok(Self { all: serde_json::from_slice(&output.stdout).context("strata bench limits wrote no document")? })
    }

    fn figure(&self, name: &str, figure: &str) -> Option<f64> {
        self.all.iter().find(|limit| limit["name"] == name)?[figure].as_f64()
    }
}

/// Both brokers, each stopped while the other is measured.
pub struct Bench<'a> {
    pub settings: &'a Settings,
    pub limits: &'a Limits,
    pub strata: Server,
    pub apache: Option<Server>,
}

/// Windows of both brokers, in pairs.
struct Pairs {
    apache: Vec<Measured>,
    strata: Vec<Measured>,
}

impl Pairs {
    fn figures(&self, figure: impl Fn(&Measured) -> Result<f64>) -> Result<(Vec<f64>, Vec<f64>)> {
        let of = |windows: &[Measured]| windows.iter().map(&figure).collect::<Result<Vec<f64>>>();
        Ok((of(&self.apache)?, of(&self.strata)?))
    }

    fn notes(&self) -> String {
        let all = || self.apache.iter().chain(&self.strata);
        let worst = all()
            .map(Measured::noise)
            .fold((0.0_f64, 0.0_f64), |worst, noise| (worst.0.max(noise.0), worst.1.max(noise.1)));
        let disturbed = all().filter(|window| window.is_disturbed()).count();
        let (others, steal) = (worst.0 * 100.0, worst.1 * 100.0);
        let mut notes = format!(
            "{disturbed} of {} windows disturbed: others up to {others:.0} %, stolen up to {steal:.0} %",
            all().count()
        );
        let bound = all().filter(|window| window.is_bound_by_generator()).count();
        if bound > 0 {
            notes.push_str(&format!("; the generator was the bottleneck in {bound}: rates are its own"));
        }
        notes
    }
}

fn cpu(window: &Measured) -> Result<f64> {
    window.figure("brokerCpuUs")
}

impl Bench<'_> {
    /// Measures a row.
    pub fn row(&self, row: &str) -> Result<Vec<Line>> {
        match row {
            "produce-1x64" => self.produce(
                row,
                "64",
                "1",
                Goal { ratio_max: Some(1.0 / 12.0), limit_max: Some(2.5), ..Goal::default() },
            ),
            "produce-64x1" => {
                self.produce(row, "1", "64", Goal { ratio_max: Some(0.25), limit_max: Some(1.5), ..Goal::default() })
            }
            "pull-1k" => {
                self.pull(row, "1024", "1", Goal { ratio_max: Some(0.5), limit_max: Some(1.4), ..Goal::default() })
            }
            "pull-100" => self.pull(row, "100", "1", Goal { ratio_max: Some(0.25), ..Goal::default() }),
            "pull-groups" => {
                self.pull(row, "1024", "4", Goal { ratio_max: Some(0.5), limit_max: Some(1.4), ..Goal::default() })
            }
            "filter" => self.filter(),
            "latency" => self.latency(),
            "topics" => self.topics(),
            "memory" => self.memory(),
            "route" => self.route(),
            _ => self.sync(),
        }
    }

    fn choose<T>(&self, (long, quick): (T, T)) -> T {
        if self.settings.quick { quick } else { long }
    }

    fn servers(&self) -> impl Iterator<Item = &Server> {
        [Some(&self.strata), self.apache.as_ref()].into_iter().flatten()
    }

    /// Runs one thing on one server while the other does nothing.
    fn alone<T>(&self, server: &Server, run: impl FnOnce(&Server) -> Result<T>) -> Result<T> {
        server.wake()?;
        let done = run(server);
        server.pause()?;
        done
    }

    /// Measures windows in turn: A B, B A, A B.
    fn pairs(&self, window: impl Fn(&Server) -> Result<Measured>) -> Result<Pairs> {
        let mut pairs = Pairs { apache: Vec::new(), strata: Vec::new() };
        for round in 0..self.settings.rounds {
            let mut turn: Vec<&Server> = self.servers().collect();
            if round % 2 == 0 {
                turn.reverse();
            }
            for server in turn {
                let measured = self.alone(server, &window)?;
                match server.kind {
                    Kind::Apache => pairs.apache.push(measured),
                    Kind::Strata => pairs.strata.push(measured),
                }
            }
        }
        Ok(pairs)
    }

    /// The length of a window, as the generator's flags.
    fn window(&self) -> [String; 6] {
        let seconds = self.settings.seconds.to_string();
        ["--duration", &seconds, "--warm-up", "1", "--windows", "1"].map(String::from)
    }

    fn against(&self, server: &Server, args: &[&str]) -> Result<Measured> {
        let window = self.window();
        let window: Vec<&str> = window.iter().map(String::as_str).collect();
        load::against(self.settings, server, &[args, &window].concat())
    }

    /// Loads each server until it is warm; figures of a cold Java machine say nothing.
    fn warm_up(&self, args: &[&str]) -> Result<()> {
        let seconds = self.choose(WARM_UP);
        for server in self.servers() {
            let seconds = if server.kind == Kind::Apache { seconds } else { "2" };
            let long = ["--duration", seconds, "--warm-up", "0", "--windows", "1"];
            self.alone(server, |server| load::against(self.settings, server, &[args, &long].concat()))?;
        }
        Ok(())
    }

    fn produce(&self, row: &str, in_flight: &str, connections: &str, goal: Goal) -> Result<Vec<Line>> {
        let args = ["produce", "--connections", connections, "--in-flight", in_flight, "--topic", row];
        self.warm_up(&args)?;
        let pairs = self.pairs(|server| self.against(server, &args))?;
        let limit = self.limits.figure(&row.replace("produce", "echo"), "cpuUs");
        let cpu = Line::new(row, "CPU a message of 1 KiB, us", pairs.figures(cpu)?).limited(limit);
        let rate = Line::new(row, "messages a second", pairs.figures(|window| window.figure("messagesPerSecond"))?);
        let limit = self.limits.figure(&row.replace("produce", "echo"), "perSecond");
        Ok(vec![cpu.judged(goal).noted(pairs.notes()), rate.limited(limit)])
    }

    fn pull(&self, row: &str, size: &str, groups: &str, goal: Goal) -> Result<Vec<Line>> {
        // Realistic properties with 1 KiB, none with 100 bytes.
        let properties = if size == "100" { "none" } else { "realistic" };
        let fill = ["produce", "--topic", row, "--size", size, "--properties", properties];
        let messages = self.choose(READ_MESSAGES);
        for server in self.servers() {
            let args = [&fill[..], &["--messages", messages]].concat();
            self.alone(server, |server| load::against(self.settings, server, &args))?;
        }
        let args = ["consume", "--topic", row, "--groups", groups];
        self.warm_up(&args)?;
        let pairs = self.pairs(|server| self.against(server, &args))?;
        let limit = self.limits.figure(if size == "100" { "writev-100" } else { "writev-1k" }, "cpuUs");
        let line =
            Line::new(row, &format!("CPU a message pulled, {size} B bodies, {groups} groups, us"), pairs.figures(cpu)?);
        Ok(vec![line.limited(limit).judged(goal).noted(pairs.notes())])
    }

    /// One message in 10,000 is wanted: what it costs to pass the others, by an expression and by a tag.
    fn filter(&self) -> Result<Vec<Line>> {
        let messages = self.choose(FILTER_MESSAGES);
        for server in self.servers() {
            let args = ["produce", "--topic", "filter", "--queues", "1", "--properties", "rare-tags"];
            let args = [&args[..], &["--messages", messages]].concat();
            self.alone(server, |server| load::against(self.settings, server, &args))?;
        }
        let mut lines = Vec::new();
        for (kind, text, ratio) in [("SQL92", FILTER_SQL, 1.0 / 6.0), ("TAG", FILTER_TAG, 1.0 / 8.0)] {
            let args = ["consume", "--topic", "filter", "--filter", text, "--filter-type", kind];
            self.warm_up(&args)?;
            let pairs = self.pairs(|server| self.against(server, &args))?;
            let goal = Goal { ratio_max: Some(ratio), ..Goal::default() };
            let name = format!("CPU a message passed, 1 of 10,000 wanted by {kind}, us");
            lines.push(Line::new("filter", &name, pairs.figures(cpu)?).judged(goal).noted(pairs.notes()));
            let goal = Goal { most: Some(1.0), ..Goal::default() };
            let name = format!("pulls until the first match by {kind}");
            let pulls = pairs.figures(|window| window.count("pullsToFirst"))?;
            lines.push(Line::new("filter", &name, pulls).judged(goal));
        }
        Ok(lines)
    }

    fn latency(&self) -> Result<Vec<Line>> {
        let args = ["latency", "--rate", "1000", "--queues", "1", "--topic", "latency"];
        self.warm_up(&args)?;
        let pairs = self.pairs(|server| self.against(server, &args))?;
        let of = |what: &'static str, point: &'static str| {
            pairs.figures(move |window| window.latency(what, point).map(|us| us / 1_000.0))
        };
        let line = |figure: &str, figures, ratio| {
            let goal = Goal { ratio_max: ratio, ..Goal::default() };
            Line::new("latency", figure, figures).judged(goal)
        };
        Ok(vec![
            line("send to delivery at 1,000/s, p50, ms", of("send to delivery", "p50")?, Some(0.2))
                .noted(pairs.notes()),
            line("send to delivery, p99, ms", of("send to delivery", "p99")?, Some(0.25)),
            line("send to delivery, p99.9, ms", of("send to delivery", "p99.9")?, None),
            line("send to acknowledgement, p50, ms", of("send to acknowledgement", "p50")?, None),
            line("send to acknowledgement, p99, ms", of("send to acknowledgement", "p99")?, None),
            line("late by itself, p99, ms", of("late by itself", "p99")?, None).noted("the generator's own part"),
            line("CPU a message at 1,000/s, us", pairs.figures(cpu)?, Some(1.0 / 2.5)),
        ])
    }

    fn sync(&self) -> Result<Vec<Line>> {
        let args = ["produce", "--connections", "64", "--in-flight", "1", "--topic", "sync"];
        self.warm_up(&args)?;
        let pairs = self.pairs(|server| self.against(server, &args))?;
        // What direct writes of 64 KiB allow when each is full of records.
        let limit = self.limits.figure("direct-64k", "perSecond").map(|writes| writes * 65_536.0 / RECORD_BYTES);
        let rate = pairs.figures(|window| window.figure("messagesPerSecond"))?;
        let bytes = pairs.figures(|window| window.figure("writtenBytes"))?;
        let goal = Goal { ratio_min: Some(3.0), limit_min: Some(0.85), ..Goal::default() };
        let rate = Line::new("sync", "messages a second, 64 connections", rate).limited(limit).judged(goal);
        let goal = Goal { limit_max: Some(1.3), ..Goal::default() };
        let bytes = Line::new("sync", "bytes written a message", bytes).limited(Some(RECORD_BYTES)).judged(goal);
        let cpu = Line::new("sync", "CPU a message, us", pairs.figures(cpu)?);
        Ok(vec![rate.noted(pairs.notes()), bytes, cpu])
    }

    fn topics(&self) -> Result<Vec<Line>> {
        let one = ["produce", "--connections", "8", "--in-flight", "8", "--topic", "one-topic"];
        self.warm_up(&one)?;
        let one = self.pairs(|server| self.against(server, &one))?;
        let count = |server: &Server| {
            let topics = if server.kind == Kind::Apache { APACHE_TOPICS } else { STRATA_TOPICS };
            (if self.settings.quick { topics / 10 } else { topics }).to_string()
        };
        let mut grown = (Vec::new(), Vec::new());
        for server in self.servers() {
            let before = descriptors(server.id())?;
            self.alone(server, |server| self.many(server, &count(server)))?;
            let more = descriptors(server.id())? - before;
            if server.kind == Kind::Apache { grown.0.push(more) } else { grown.1.push(more) }
        }
        let many = self.pairs(|server| self.many(server, &count(server)))?;
        let ((one_apache, one_strata), (many_apache, many_strata)) = (one.figures(cpu)?, many.figures(cpu)?);
        let over = |many: &[f64], one: &[f64]| many.iter().zip(one).map(|(many, one)| many / one).collect::<Vec<_>>();
        let times = (over(&many_apache, &one_apache), over(&many_strata, &one_strata));
        let goal = Goal { most: Some(1.25), ..Goal::default() };
        let notes = format!(
            "8 queues each; {} topics for Strata, {} for Apache, whose default store opens a file a queue",
            count(&self.strata),
            self.apache.as_ref().map_or_else(|| String::from("0"), count),
        );
        // A segment may begin meanwhile: that is one file, whatever the number of topics.
        let files = Goal { most: Some(4.0), ..Goal::default() };
        Ok(vec![
            Line::new("topics", "CPU a message, many topics over one", times).judged(goal).noted(notes),
            Line::new("topics", "CPU a message, many topics, us", many.figures(cpu)?).noted(many.notes()),
            Line::new("topics", "descriptors more than with one topic", grown).judged(files),
        ])
    }

    fn many(&self, server: &Server, topics: &str) -> Result<Measured> {
        self.against(
            server,
            &["produce", "--connections", "8", "--in-flight", "8", "--topic", "many", "--topics", topics],
        )
    }

    fn memory(&self) -> Result<Vec<Line>> {
        let mib = |server: &Server| own_memory_kib(server.id()).map(|kib| kib as f64 / 1_024.0);
        let rest = Duration::from_secs(self.choose(REST));
        let (mut idle, mut descriptors_idle) = ((Vec::new(), Vec::new()), (Vec::new(), Vec::new()));
        for server in self.servers() {
            let found = self.alone(server, |server| {
                std::thread::sleep(rest);
                Ok((mib(server)?, descriptors(server.id())?))
            })?;
            let (memory, files) = match server.kind {
                Kind::Apache => (&mut idle.0, &mut descriptors_idle.0),
                Kind::Strata => (&mut idle.1, &mut descriptors_idle.1),
            };
            memory.push(found.0);
            files.push(found.1);
        }
        let topics = if self.settings.quick { MEMORY_TOPICS / 10 } else { MEMORY_TOPICS };
        let messages = (topics * 8 * 2).to_string();
        let before = mib(&self.strata)?;
        let more = self.alone(&self.strata, |server| {
            let names = topics.to_string();
            let args =
                ["produce", "--topic", "memory", "--topics", &names, "--spread", "round", "--messages", &messages];
            load::against(self.settings, server, &[&args[..], &["--properties", "none", "--size", "100"]].concat())?;
            std::thread::sleep(rest);
            Ok(mib(server)? - before)
        })?;
        let most = |most| Goal { most: Some(most), ..Goal::default() };
        let queues = topics * 8;
        Ok(vec![
            Line::new("memory", "anonymous memory idle, MiB", idle).judged(most(16.0)),
            Line::new("memory", &format!("more with {queues} queues that have messages, MiB"), (vec![], vec![more]))
                .judged(most(20.0))
                .noted("Apache's default store has a file for each queue and was not asked"),
            Line::new("memory", "descriptors idle", descriptors_idle),
        ])
    }

    fn route(&self) -> Result<Vec<Line>> {
        let topics = if self.settings.quick { "100" } else { "1000" };
        for server in self.servers() {
            let args = ["produce", "--topic", "route", "--topics", topics, "--queues", "8", "--messages", topics];
            self.alone(server, |server| {
                load::against(self.settings, server, &args)?;
                // The name server learns of new topics a moment later.
                let look = ["--topic", "route", "--topics", topics, "--duration", "0.1", "--warm-up", "0"];
                let deadline = Instant::now() + ROUTES_MAX;
                while let Err(error) = load::route(self.settings, server, &look) {
                    if Instant::now() > deadline {
                        return Err(error);
                    }
                }
                Ok(())
            })?;
        }
        let window = self.window();
        let window: Vec<&str> = window.iter().map(String::as_str).collect();
        let args = [&["--topic", "route", "--topics", topics], &window[..]].concat();
        let seconds = self.choose(WARM_UP);
        for server in self.servers() {
            let args =
                ["--topic", "route", "--topics", topics, "--duration", seconds, "--warm-up", "0", "--windows", "1"];
            self.alone(server, |server| load::route(self.settings, server, &args))?;
        }
        let pairs = self.pairs(|server| load::route(self.settings, server, &args))?;
        let goal = Goal { ratio_max: Some(1.0 / 6.0), ..Goal::default() };
        let line =
            Line::new("route", &format!("CPU a look-up, {topics} topics, 8 x 8 in flight, us"), pairs.figures(cpu)?);
        Ok(vec![line.judged(goal).noted(pairs.notes())])
    }

    /// Kills and starts each server, empty and with more and more stored.
    pub fn ready(mut self) -> Result<(Self, Vec<Line>)> {
        let mut lines = Vec::new();
        let mut sizes = vec![0];
        sizes.extend(&self.settings.gib);
        let mut stored = 0;
        for gib in sizes {
            let messages = ((gib - stored.min(gib)) as f64 * 1024.0 * 1024.0 * 1024.0 / RECORD_BYTES) as u64;
            stored = gib;
            let (mut times, mut limit) = ((Vec::new(), Vec::new()), None);
            let settings = self.settings;
            for server in [Some(&mut self.strata), self.apache.as_mut()].into_iter().flatten() {
                server.wake()?;
                if messages > 0 {
                    load::against(
                        settings,
                        server,
                        &["produce", "--topic", "ready", "--messages", &messages.to_string()],
                    )?;
                }
                for _ in 0..settings.rounds.min(3) {
                    let took = server.restart()?.as_secs_f64();
                    if server.kind == Kind::Apache { times.0.push(took) } else { times.1.push(took) }
                }
                if server.kind == Kind::Strata {
                    limit = Some(read_once(&server.active_segment()?)? + 0.1);
                }
                server.pause()?;
            }
            let goal = Goal { limit_max: Some(1.0), ..Goal::default() };
            let name = format!("s from a start after kill -9 to a send, {gib} GiB stored");
            let line = Line::new("ready", &name, times).limited(limit).judged(goal);
            lines.push(line.noted("the limit is the time to read the active segment once, and 0.1 s"));
        }
        Ok((self, lines))
    }

    /// Ends the servers and removes their data.
    pub fn remove(self) -> Result<()> {
        self.strata.remove()?;
        self.apache.map_or(Ok(()), Server::remove)
    }
}

/// Open files of a process.
fn descriptors(id: u32) -> Result<f64> {
    let folder = format!("/proc/{id}/fd");
    Ok(std::fs::read_dir(&folder).with_context(|| format!("cannot read {folder}"))?.count() as f64)
}

/// Seconds to read what a file holds once, out of the page cache; the middle of three.
fn read_once(path: &Path) -> Result<f64> {
    let mut took = Vec::new();
    for _ in 0..3 {
        let began = Instant::now();
        let mut file = std::fs::File::open(path).context("cannot open the active segment")?;
        let mut piece = vec![0; READ_BYTES];
        while std::io::Read::read(&mut file, &mut piece).context("cannot read the active segment")? > 0 {}
        took.push(began.elapsed().as_secs_f64());
    }
    median(took).context("no file was read")
}
