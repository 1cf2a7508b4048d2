//! One life of the server: producers and consumers at work until it is killed, or readers until all is read.
//!
//! Owns the traffic of a run and which queues exist. When a run ends is decided in `epoch`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::draw::Draw;
use crate::history::{History, Queue, Ticket};
use crate::site::Ports;
use crate::talk::{Talk, succeeded};
use crate::violation::Violation;
use anyhow::{Context, Result};
use strata_protocol::frame::HeaderCodec;
use strata_protocol::name::{SCHEDULE_TOPIC, retry_topic};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

mod consume;
mod produce;
pub mod sender;

use consume::{Reader, Until};
use produce::{MANNERS, Manner, Producer};

/// The topics that exist from the first run on, their queues, and whether messages of them are given back.
pub const TOPICS: [(&str, i32, bool); 4] =
    [("small", 4, false), ("bulk", 4, false), ("keyed", 2, true), ("late", 2, false)];

/// Queues of a topic that sending creates, as the producers ask for.
const FRESH_QUEUES: i32 = 4;

/// Of 100 messages of a topic whose messages are given back, how many are.
const BACK_PERCENT: u64 = 2;

/// How long a name server may take to know a broker that came back.
const ROUTES_MAX: Duration = Duration::from_secs(3);

/// Pause between two looks at the routes.
const ROUTE_LOOK: Duration = Duration::from_millis(20);

/// The group that reads a topic.
#[must_use]
pub fn group_of(topic: &str) -> Arc<str> {
    Arc::from(format!("readers-of-{topic}"))
}

/// The topic that the first message of a run creates.
pub(crate) fn fresh_topic(run: u32) -> String {
    format!("fresh-{run}")
}

/// Each group with the queues that it reads.
pub(crate) fn readings() -> Vec<(Arc<str>, Queue, u64)> {
    let mut all = Vec::new();
    for (topic, queues, gives_back) in TOPICS {
        let group = group_of(topic);
        let back = if gives_back { BACK_PERCENT } else { 0 };
        all.extend((0..queues).map(|id| (Arc::clone(&group), Queue::new(topic, id), back)));
        if gives_back {
            all.push((Arc::clone(&group), Queue::new(retry_topic(&group), 0), 0));
        }
    }
    all
}

/// All queues that may hold messages after `runs` runs.
#[must_use]
pub fn queues(runs: u32) -> Vec<Queue> {
    let mut all: Vec<Queue> = readings().into_iter().map(|(_, queue, _)| queue).collect();
    all.push(Queue::new(SCHEDULE_TOPIC, 0));
    for run in 0..runs {
        let topic: Arc<str> = Arc::from(fresh_topic(run));
        all.extend((0..FRESH_QUEUES).map(|id| Queue { topic: Arc::clone(&topic), id }));
    }
    all
}

/// Makes the topics and groups.
///
/// # Errors
/// The server does not answer, or refuses.
pub async fn create_topics(ports: Ports) -> Result<()> {
    let talk = Talk::connect(ports.broker, HeaderCodec::Json).await?;
    for (topic, queues, _) in TOPICS {
        let queues = queues.to_string();
        let fields = [
            ("topic", topic),
            ("defaultTopic", "TBW102"),
            ("readQueueNums", &queues),
            ("writeQueueNums", &queues),
            ("perm", "6"),
            ("topicFilterType", "SINGLE_TAG"),
            ("topicSysFlag", "0"),
            ("order", "false"),
        ];
        let answer = talk.ask_raw(strata_protocol::code::request::UPDATE_AND_CREATE_TOPIC, &fields, "").await?;
        succeeded("creating a topic", &answer)?;
        talk.heartbeat("maker", &group_of(topic), topic).await?;
    }
    Ok(())
}

/// What a run is made of.
#[derive(Debug, Clone)]
pub struct RunPlan {
    /// The server.
    pub ports: Ports,
    /// The run, from 0.
    pub run: u32,
    /// What bodies follow from.
    pub seed: u64,
    /// The choices.
    pub draw: Draw,
}

/// The tasks of a run.
#[derive(Debug)]
pub struct Traffic {
    producers: JoinSet<Result<(Vec<crate::history::Sent>, Ticket)>>,
    readers: JoinSet<Result<History>>,
    routes: JoinSet<Option<Violation>>,
}

impl Traffic {
    /// Starts everything that speaks to the server. `next` holds each producer's next message.
    ///
    /// # Errors
    /// No connection.
    pub async fn begin(plan: &RunPlan, next: &BTreeMap<u32, Ticket>) -> Result<Self> {
        let mut traffic = Self { producers: JoinSet::new(), readers: JoinSet::new(), routes: JoinSet::new() };
        for (id, manner) in (0_u32..).zip(MANNERS) {
            let codec = if id % 2 == 0 { HeaderCodec::Json } else { HeaderCodec::Binary };
            let producer = Producer {
                talk: Talk::connect(plan.ports.broker, codec).await.context("a producer cannot connect")?,
                manner,
                queues: targets(manner, plan.run),
                seed: plan.seed,
                draw: plan.draw.fork(u64::from(id)),
                next: next.get(&id).copied().unwrap_or(Ticket { producer: id, number: 0 }),
                log: Vec::new(),
            };
            traffic.producers.spawn(producer.run());
        }
        traffic.read(plan, Until::Killed).await?;
        let ports = plan.ports;
        let run = plan.run;
        traffic.routes.spawn(async move { routes_come_back(ports, run).await });
        Ok(traffic)
    }

    /// Starts the readers; one connection for each group, as clients have.
    async fn read(&mut self, plan: &RunPlan, until: Until) -> Result<()> {
        let mut talks: BTreeMap<Arc<str>, Talk> = BTreeMap::new();
        for (label, (group, queue, back_percent)) in (1_000_u64..).zip(readings()) {
            let talk = match talks.get(&group) {
                Some(talk) => talk.clone(),
                None => {
                    let talk = Talk::connect(plan.ports.broker, HeaderCodec::Json)
                        .await
                        .context("a consumer cannot connect")?;
                    talks.insert(Arc::clone(&group), talk.clone());
                    talk
                }
            };
            let draw = plan.draw.fork(label);
            // What is given back at the end would never be over.
            let back_percent = if until == Until::End { 0 } else { back_percent };
            self.readers.spawn(Reader { talk, group, queue, run: plan.run, draw, until, back_percent }.run());
        }
        Ok(())
    }

    /// Waits until all have noticed that the server is gone; gives their logs.
    ///
    /// # Errors
    /// A producer or consumer got what it cannot understand.
    pub async fn end(mut self, next: &mut BTreeMap<u32, Ticket>) -> Result<(History, Vec<Violation>)> {
        let mut history = History::default();
        while let Some(ended) = self.producers.join_next().await {
            let (log, ticket) = ended.context("a producer panicked")??;
            history.sends.extend(log);
            next.insert(ticket.producer, ticket);
        }
        while let Some(ended) = self.readers.join_next().await {
            history.absorb(ended.context("a consumer panicked")??);
        }
        let mut violations = Vec::new();
        while let Some(ended) = self.routes.join_next().await {
            violations.extend(ended.context("the route watch panicked")?);
        }
        Ok((history, violations))
    }
}

/// Reads every queue to its end.
///
/// # Errors
/// The server went away.
pub async fn read_to_end(plan: &RunPlan) -> Result<History> {
    let mut traffic = Traffic { producers: JoinSet::new(), readers: JoinSet::new(), routes: JoinSet::new() };
    traffic.read(plan, Until::End).await?;
    let (history, _) = traffic.end(&mut BTreeMap::new()).await?;
    Ok(history)
}

fn targets(manner: Manner, run: u32) -> Vec<Queue> {
    let of = |topic: &str, queues: i32| (0..queues).map(|id| Queue::new(topic, id)).collect();
    match manner {
        Manner::Small | Manner::OneWay => of("small", 4),
        Manner::Large | Manner::Batch | Manner::Pipelined => of("bulk", 4),
        Manner::Keyed => of("keyed", 2),
        Manner::Delayed => of("late", 2),
        Manner::Fresh => vec![Queue::new(fresh_topic(run), -1)],
    }
}

/// Watches the name server until it tells of every topic of earlier runs as it did before. A run that ends
/// first proves nothing.
pub async fn routes_come_back(ports: Ports, run: u32) -> Option<Violation> {
    let talk = Talk::connect(ports.namesrv, HeaderCodec::Json).await.ok()?;
    let deadline = Instant::now() + ROUTES_MAX;
    for (topic, queues, _) in TOPICS {
        loop {
            let wrong = match talk.route(topic).await {
                Ok(None) => String::from("the name server does not know it"),
                Ok(Some(route)) => match &route.queue_datas[..] {
                    [data] if data.write_queue_nums == queues && data.perm == 6 => break,
                    other => format!("the name server says {other:?}, {queues} queues are right"),
                },
                Err(_) => return None,
            };
            if Instant::now() > deadline {
                let what = format!("{ROUTES_MAX:?} after start {run} {wrong}");
                return Some(Violation::Route { topic: Arc::from(topic), what });
            }
            sleep(ROUTE_LOOK).await;
        }
    }
    None
}

/// Topics that messages created and that have fewer queues than then.
///
/// # Errors
/// The name server does not answer.
pub async fn shrunk_topics(ports: Ports, fresh: &[Arc<str>]) -> Result<Vec<Violation>> {
    let talk = Talk::connect(ports.namesrv, HeaderCodec::Json).await?;
    let mut violations = Vec::new();
    for topic in fresh {
        let queues =
            talk.route(topic).await?.and_then(|route| route.queue_datas.first().map(|data| data.write_queue_nums));
        if queues != Some(FRESH_QUEUES) {
            let what = format!("it was made with {FRESH_QUEUES} queues; now: {queues:?}");
            violations.push(Violation::Route { topic: Arc::clone(topic), what });
        }
    }
    Ok(violations)
}
