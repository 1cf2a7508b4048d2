//! `strata replay`: sends messages of a topic once more, to another topic or to one consumer group.
//!
//! Owns the order of a run: what is meant (`flags`, `run`), where it goes (`target`, `recipients`), how far it came
//! (`book`, `arrivals`), sending (`course`, `outgoing`, `pace`), and what is told at the end (`report`, `tier`).

use std::cell::Cell;
use std::collections::BTreeMap;
use std::pin::pin;
use std::rc::Rc;

use indicatif::{ProgressBar, ProgressStyle};
use strata_protocol::body::{QueueData, perm};
use tokio::time::Instant;

mod arrivals;
mod book;
mod course;
mod flags;
mod outgoing;
mod pace;
mod recipients;
mod report;
mod run;
mod target;
mod tier;

use crate::cluster::{Cluster, Master, masters_of};
use crate::exit::{Exit, Failure, OrFail, Outcome};
use crate::limits::REPLAY_PULL_MAX;
use crate::output::show;
use crate::reading::TOOLS_GROUP;
use crate::reading::reader::{QueueReader, Selection, Wanted, offset_at};
use crate::time::{Position, now_ms};
use arrivals::{Arrived, Look};
use book::{Queue, Span};
use course::{Course, Lane, Place, Tally};
use flags::{Aim, Moment};
use pace::Pace;
use report::{About, Report, State};
use run::Run;
use target::Target;

pub(crate) use flags::ReplayArgs;

/// A replay with all that is known before its first message.
struct Replay {
    args: ReplayArgs,
    selection: Selection,
    aim: Aim,
    run: Run,
    source: Vec<(Master, QueueData)>,
    target: Target,
}

/// Runs the command.
pub(crate) async fn run(args: ReplayArgs) -> Outcome {
    let select = &args.select;
    let selection = Selection::of(select.expression.as_deref(), select.dialect, select.tag.as_deref())?;
    let aim = args.aim(&selection)?;
    let times = times(select.from.as_ref(), select.to.as_ref(), now_ms())?;
    let run = Run::of(&args, &selection, &aim);
    let mut cluster = Cluster::connect(&args.cluster).await?;
    let source: Vec<_> = masters_of(cluster.route(&args.select.topic).await?)
        .into_iter()
        .filter(|(_, queues)| queues.perm & perm::READ != 0 && queues.read_queue_nums > 0)
        .collect();
    if source.is_empty() {
        let topic = &args.select.topic;
        let message = format!("no queue of {topic} may be read: it is write only, or its brokers have no master");
        return Err(Failure::new(Exit::Refused, message));
    }
    let target = match &aim {
        Aim::Topic(topic) => Target::of_topic(&cluster, topic, &source).await?,
        Aim::Group(group) => Target::of_group(&mut cluster, (group, &args.select.topic), &source).await?,
    };
    Replay { args, selection, aim, run, source, target }.run(&mut cluster, times).await
}

/// Where to begin and to end. A range without a millisecond is a mistake.
fn times(from: Option<&Moment>, to: Option<&Moment>, now: i64) -> Outcome<(Position, Position)> {
    let from = from.map_or(Position::First, |from| from.position.at(now));
    let to = to.map_or(Position::Last, |to| to.position.at(now));
    if let (Position::Time(begin), Position::Time(end)) = (from, to)
        && begin >= end
    {
        return Err(Failure::new(Exit::Usage, "--to is not behind --from: no message is stored between them"));
    }
    Ok((from, to))
}

impl Replay {
    async fn run(&self, cluster: &mut Cluster, times: (Position, Position)) -> Outcome {
        let began = Instant::now();
        let masters: Vec<Master> = self.source.iter().map(|(master, _)| master.clone()).collect();
        let tier_before = tier::reads(cluster, &masters).await?;
        book::refuse_namesakes(cluster, &self.run, self.topic(), &masters).await?;
        let queues = self.queues();
        if self.args.run.restart {
            book::erase(cluster, &self.run, &queues, &self.arrivals(&queues)).await?;
        }
        let known = book::load(cluster, &self.run, self.topic(), &queues).await?;
        let resumed = known.is_some();
        let mut lanes = match known {
            Some(spans) => self.go_on(cluster, queues, spans).await?,
            None => self.begin(cluster, queues, times).await?,
        };
        let finished_before = resumed && lanes.iter().all(|lane| lane.next >= lane.end);
        let stopped = self.drive(cluster, &mut lanes).await?;
        let tier_now = tier::reads(cluster, &masters).await?;
        let about = About {
            run: &self.run,
            state: match (self.args.dry_run, finished_before, stopped) {
                (_, true, _) => State::FinishedBefore,
                (_, _, true) => State::Stopped,
                (true, ..) => State::Counted,
                (false, ..) => State::Finished,
            },
            topic: self.topic(),
            aim: &self.aim,
            resumed,
            elapsed_ms: began.elapsed().as_millis(),
            tier: tier_now.zip(tier_before).map(|(now, before)| now.since(before)),
        };
        show(&self.args.output, &Report::of(about, &lanes), Report::text)?;
        if stopped { Err(self.interrupted(Exit::Failed, "stopped", &lanes)) } else { Ok(()) }
    }

    fn topic(&self) -> &str {
        &self.args.select.topic
    }

    /// Every queue that may be read.
    fn queues(&self) -> Vec<Queue> {
        let of = |(master, queues): &(Master, QueueData)| {
            let master = master.clone();
            (0..queues.read_queue_nums).map(move |queue_id| (master.clone(), queue_id))
        };
        self.source.iter().flat_map(of).collect()
    }

    /// Where the places of arrivals are kept.
    fn arrivals(&self, queues: &[Queue]) -> Vec<(Master, String)> {
        let of = |(master, queue_id): &Queue| {
            let source = (master.name.as_str(), *queue_id);
            let (target, _) = self.target.place(source)?;
            Some((target.clone(), self.run.arrivals_group(source)))
        };
        queues.iter().filter_map(of).collect()
    }

    /// Looks up where each queue begins and ends, and has the brokers keep it.
    async fn begin(
        &self,
        cluster: &mut Cluster,
        queues: Vec<Queue>,
        times: (Position, Position),
    ) -> Outcome<Vec<Lane>> {
        let mut spans = Vec::with_capacity(queues.len());
        for (master, queue_id) in queues {
            let span = span(cluster, &master, (self.topic(), queue_id), times).await?;
            spans.push(((master, queue_id), span));
        }
        if !self.args.dry_run {
            self.target.create(cluster).await?;
        }
        let lanes = self.lanes(cluster, &spans).await?;
        if self.args.dry_run {
            return Ok(lanes);
        }
        let (pace, bar) = (Pace::of(&self.args.pace), ProgressBar::hidden());
        let course = self.course(cluster, &pace, &bar);
        for lane in &lanes {
            let (broker, queue_id) = lane.reader.name();
            if let Some(place) = &lane.place {
                course.tell_place(place, (&broker, queue_id), place.reached.get()).await?;
            }
        }
        book::begin(cluster, &self.run, self.topic(), &spans).await?;
        let targets: Vec<Queue> =
            lanes.iter().filter_map(|lane| lane.place.as_ref()).map(|place| (place.master.clone(), 0)).collect();
        book::settle(cluster, &self.run, &targets).await?;
        Ok(lanes)
    }

    /// Goes on where a run came to, behind what has arrived.
    async fn go_on(&self, cluster: &mut Cluster, queues: Vec<Queue>, known: Vec<Option<Span>>) -> Outcome<Vec<Lane>> {
        let mut spans = Vec::with_capacity(queues.len());
        for ((master, queue_id), span) in queues.into_iter().zip(known) {
            match span {
                Some(span) => spans.push(((master, queue_id), span)),
                None => tracing::warn!("{}/{queue_id} is newer than the run and is left out", master.name),
            }
        }
        let mut found = Vec::with_capacity(spans.len());
        for ((master, queue_id), (next, _)) in &mut spans {
            let arrived = self.find_arrived(cluster, (&*master, *queue_id), *next).await?;
            *next = arrived.next.unwrap_or(*next);
            found.push(arrived.messages);
        }
        let mut lanes = self.lanes(cluster, &spans).await?;
        for (lane, messages) in lanes.iter_mut().zip(found) {
            lane.arrived = messages;
            // What was found is told, though nothing more may be left to send.
            lane.told.0 = if messages > 0 { -1 } else { lane.next };
        }
        Ok(lanes)
    }

    async fn find_arrived(&self, cluster: &mut Cluster, source: (&Master, i32), next: i64) -> Outcome<Arrived> {
        let (master, queue_id) = source;
        let source = (master.name.as_str(), queue_id);
        let Some((target, target_queue)) = self.target.place(source) else { return Ok(Arrived::default()) };
        let queue = (self.target.topic.as_str(), target_queue);
        let last = offset_at(cluster, target, queue, Position::Last).await?;
        if last == 0 {
            return Ok(Arrived::default());
        }
        let first = offset_at(cluster, target, queue, Position::First).await?;
        let group = self.run.arrivals_group(source);
        let place = crate::reading::reader::stored_offset(cluster, target, &group, queue).await?;
        let look = Look {
            client: cluster.broker(target).await?,
            topic: &self.target.topic,
            queue: (target, target_queue),
            span: (place.unwrap_or(first).max(first), last),
            patience: cluster.patience().max(REPLAY_PULL_MAX),
        };
        look.find(&self.run.mark(), (self.topic(), source.0, queue_id), next).await
    }

    /// A lane for each queue.
    async fn lanes(&self, cluster: &mut Cluster, spans: &[(Queue, Span)]) -> Outcome<Vec<Lane>> {
        let wanted = Wanted {
            topic: self.topic().to_owned(),
            group: TOOLS_GROUP.to_owned(),
            selection: self.selection.clone(),
            from: None,
            until: None,
            stored: false,
            follow: false,
            begun_ms: now_ms(),
        };
        let patience = cluster.patience().max(REPLAY_PULL_MAX);
        let mut reached: BTreeMap<(String, i32), Rc<Cell<i64>>> = BTreeMap::new();
        let mut lanes = Vec::with_capacity(spans.len());
        for ((master, queue_id), (begin, end)) in spans {
            let client = cluster.broker(master).await?;
            let (queue, span) = ((master, *queue_id), (*begin, Some(*end)));
            let place = if self.args.dry_run { None } else { self.place(cluster, queue, &mut reached).await? };
            lanes.push(Lane {
                reader: QueueReader::new(client.clone(), &wanted, queue, span, patience),
                source: Place { master: master.clone(), client, queue_id: *queue_id, reached: Rc::default() },
                place,
                next: *begin,
                end: *end,
                tally: Tally::default(),
                arrived: 0,
                told: (*begin, Instant::now()),
                in_doubt: None,
                is_unchecked: true,
            });
        }
        Ok(lanes)
    }

    /// The queue that a queue's messages go to, and its present end.
    async fn place(
        &self,
        cluster: &mut Cluster,
        (master, queue_id): (&Master, i32),
        reached: &mut BTreeMap<(String, i32), Rc<Cell<i64>>>,
    ) -> Outcome<Option<Place>> {
        let Some((target, queue_id)) = self.target.place((&master.name, queue_id)) else { return Ok(None) };
        let end = offset_at(cluster, target, (&self.target.topic, queue_id), Position::Last).await?;
        let reached = reached.entry((target.name.clone(), queue_id)).or_insert_with(|| Rc::new(Cell::new(end)));
        let client = cluster.broker(target).await?;
        Ok(Some(Place { master: target.clone(), client, queue_id, reached: Rc::clone(reached) }))
    }

    fn course<'a>(&'a self, cluster: &Cluster, pace: &'a Pace, bar: &'a ProgressBar) -> Course<'a> {
        Course {
            run: &self.run,
            topic: self.topic(),
            aim: &self.aim,
            target: &self.target.topic,
            pace,
            bar,
            patience: cluster.patience(),
            skip_refused: self.args.skip_refused,
        }
    }

    /// Reads and sends until all is done, something fails, or somebody wants it to stop; gives whether that was so.
    async fn drive(&self, cluster: &Cluster, lanes: &mut [Lane]) -> Outcome<bool> {
        let (pace, bar) = (Pace::of(&self.args.pace), bar(lanes));
        let course = self.course(cluster, &pace, &bar);
        let mut interrupted = false;
        let result = {
            let mut driving = pin!(course.drive(lanes));
            tokio::select! {
                result = &mut driving => result,
                asked = tokio::signal::ctrl_c() => {
                    asked.or_fail(Exit::Failed)?;
                    interrupted = true;
                    pace.stop();
                    // What is under way is stored and told; whoever asks twice does not wait for that.
                    tokio::select! {
                        result = &mut driving => result,
                        _ = tokio::signal::ctrl_c() => Err(Failure::new(Exit::Failed, "stopped at once")),
                    }
                }
            }
        };
        bar.finish_and_clear();
        match result {
            Ok(()) => Ok(interrupted && lanes.iter().any(|lane| lane.next < lane.end)),
            Err(failure) if self.args.dry_run => Err(failure),
            Err(failure) => Err(self.interrupted(failure.exit, &failure.to_string(), lanes)),
        }
    }

    /// Why a run has not come to its end, and how to go on.
    fn interrupted(&self, exit: Exit, why: &str, lanes: &[Lane]) -> Failure {
        let messages: u64 = lanes.iter().map(|lane| lane.tally.messages).sum();
        let left: i64 = lanes.iter().map(|lane| lane.end - lane.next).sum();
        if self.args.dry_run {
            return Failure::new(exit, format!("{why}; {left} offsets were not looked at"));
        }
        let name = &self.run.name;
        let message = format!(
            "{why}; {messages} messages were sent, {left} offsets are left; the same command goes on from there \
             (run {name})"
        );
        Failure::new(exit, message)
    }
}

/// The offsets of a queue between two times: from the first message at or behind the one, up to the first at or behind
/// the other, or to where the queue ends now.
async fn span(
    cluster: &mut Cluster,
    master: &Master,
    queue: (&str, i32),
    (from, to): (Position, Position),
) -> Outcome<Span> {
    let last = offset_at(cluster, master, queue, Position::Last).await?;
    let end = match to {
        Position::Time(ms) if ms <= now_ms() => offset_at(cluster, master, queue, to).await?.min(last),
        Position::First | Position::Last | Position::Offset(_) | Position::Ago(_) | Position::Time(_) => last,
    };
    let begin = offset_at(cluster, master, queue, from).await?.min(end);
    Ok((begin, end))
}

/// Progress on standard error, when that is a terminal.
fn bar(lanes: &[Lane]) -> ProgressBar {
    let left = lanes.iter().map(|lane| u64::try_from(lane.end - lane.next).unwrap_or(0)).sum();
    let bar = ProgressBar::new(left);
    // The template is a constant; a wrong one would only make the bar plainer.
    if let Ok(style) =
        ProgressStyle::with_template("{bar:30} {human_pos} of {human_len} offsets, {per_sec}, {eta} left")
    {
        bar.set_style(style);
    }
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_without_time_is_a_mistake() {
        let moment = |text: &str| Some(text.parse::<Moment>().unwrap());
        let read = |from: Option<Moment>, to: Option<Moment>| times(from.as_ref(), to.as_ref(), 1_793_491_200_000);
        assert_eq!(read(None, None).unwrap(), (Position::First, Position::Last));
        let (from, to) = read(moment("@-1h"), moment("2026-11-01")).unwrap();
        assert_eq!((from, to), (Position::Time(1_793_487_600_000), Position::Time(1_793_491_200_000)));
        for (from, to) in [("2026-11-01", "2026-11-01"), ("2026-11-02", "2026-11-01")] {
            assert_eq!(read(moment(from), moment(to)).unwrap_err().exit, Exit::Usage);
        }
    }
}
