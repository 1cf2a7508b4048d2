//! Kills at chosen moments: what the random ones find only now and then.
//!
//! Owns the cases and the list of those that are known to fail. Each starts a server of its own.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use strata_protocol::frame::HeaderCodec;
use strata_protocol::name::{is_retry, retry_topic};
use strata_tests::draw::Draw;
use strata_tests::dump::Dump;
use strata_tests::epoch::Flush;
use strata_tests::history::{Queue, Ticket};
use strata_tests::message::{self, Marks};
use strata_tests::site::{Ports, Setup, Site};
use strata_tests::talk::{Draft, Talk};
use strata_tests::violation::Violation;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// Pause between two looks at what came.
const LOOK: Duration = Duration::from_millis(50);

/// A case that fails for a reason that is known.
struct Known {
    case: &'static str,
    flush: Flush,
    /// Whether it fails each time. One that does and passes fails the run, so that the list stays true.
    always: bool,
    reason: &'static str,
}

/// What is known to fail. Random kills that show the same do not fail the run either.
const KNOWN: &[Known] = &[];

/// A topic that the first message creates.
const FRESH: &str = "a topic that sending created keeps its queues";

/// A delayed message is the first of its topic.
const FIRST: &str = "a delayed message that created its topic comes";

/// Messages that a consumer gave back.
const BACK: &str = "messages that were given back come again";

/// Delayed messages whose time comes while the server dies.
const DUE: &str = "delayed messages that fall due in a kill come";

/// Kills of a case whose moment cannot be chosen exactly.
const ROUNDS: u32 = 8;

/// Messages of each of these rounds.
const ROUND_MESSAGES: u64 = 100;

/// How long what is due may take after a start.
const COME_MAX: Duration = Duration::from_secs(10);

/// Whether a case is known to fail.
fn known(case: &str, flush: Flush) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.case == case && known.flush == flush)
}

/// Whether one of the cases is known to fail with a violation by itself.
pub(crate) fn is_known(violation: &Violation, flush: Flush) -> bool {
    let case = match violation {
        Violation::NeverCame { topic, .. } if is_retry(topic) => BACK,
        Violation::NeverCame { .. } => DUE,
        Violation::Route { topic, .. } if topic.starts_with("fresh-") => FRESH,
        Violation::Lost { .. }
        | Violation::Altered { .. }
        | Violation::Phantom { .. }
        | Violation::Refused { .. }
        | Violation::Gap { .. }
        | Violation::Changed { .. }
        | Violation::Disorder { .. }
        | Violation::Vanished { .. }
        | Violation::Progress { .. }
        | Violation::Jump { .. }
        | Violation::Trouble { .. }
        | Violation::Undelivered { .. }
        | Violation::Twice { .. }
        | Violation::Early { .. }
        | Violation::Key { .. }
        | Violation::Recovery { .. }
        | Violation::Route { .. } => return false,
    };
    known(case, flush).is_some()
}

/// Runs the cases; gives how many fail the run.
pub(crate) async fn run(binary: &Path, draw: &mut Draw, say: &mut impl FnMut(&str)) -> Result<usize> {
    let folder = tempfile::Builder::new().prefix("strata-crash-").tempdir().context("no temporary folder")?;
    let mut failures = 0;
    for flush in [Flush::Async, Flush::Sync] {
        let mut setup = |name: &str| -> Result<Setup> {
            let data = folder.path().join(format!("{name}-{flush:?}"));
            let settings = vec![flush.setting(), String::from("mappedFileSizeCommitLog=4194304")];
            Ok(Setup {
                binary: binary.to_path_buf(),
                log: data.with_extension("log"),
                data,
                ports: Ports::free(draw)?,
                settings,
            })
        };
        let (fresh, first, back, due) = (setup("fresh")?, setup("first")?, setup("back")?, setup("due")?);
        let results = [
            (FRESH, fresh_topic(&fresh).await),
            (FIRST, first_is_delayed(&first).await),
            (BACK, given_back(&back).await),
            (DUE, fallen_due(&due).await),
        ];
        for (name, result) in results {
            let (line, fails) = match (result, known(name, flush)) {
                (Ok(()), Some(known)) if known.always => {
                    (format!("FAILED  {name} ({flush:?} flush): it passes now; take it out of KNOWN"), true)
                }
                (Ok(()), _) => (format!("ok      {name} ({flush:?} flush)"), false),
                (Err(error), Some(known)) => {
                    (format!("known   {name} ({flush:?} flush): {}: {error:#}", known.reason), false)
                }
                (Err(error), None) => (format!("FAILED  {name} ({flush:?} flush): {error:#}"), true),
            };
            say(&line);
            failures += usize::from(fails);
        }
    }
    Ok(failures)
}

/// Sent, acknowledged, killed: a producer that knows the topic's four queues must be able to use them all.
async fn fresh_topic(setup: &Setup) -> Result<()> {
    let site = Site::start(setup).await?;
    let talk = Talk::connect(setup.ports.broker, HeaderCodec::Json).await?;
    let topic: Arc<str> = Arc::from("fresh");
    let answer = talk.send(&Draft::new(&Queue::new(Arc::clone(&topic), 0), "", "first")).await?;
    ensure!(answer.code == 0, "{answer:?}");
    site.kill()?;
    let site = Site::start(setup).await?;
    let talk = Talk::connect(setup.ports.broker, HeaderCodec::Json).await?;
    for id in 0..4 {
        let answer = talk.send(&Draft::new(&Queue::new(Arc::clone(&topic), id), "", "second")).await?;
        if answer.code != 0 {
            bail!("a message for queue {id} of 4 is answered with {}: {}", answer.code, answer.remark);
        }
    }
    site.kill()
}

/// Nothing but the schedule holds a message of the topic when the kill comes.
async fn first_is_delayed(setup: &Setup) -> Result<()> {
    let queue = Queue::new("first", 0);
    let site = Site::start(setup).await?;
    let talk = Talk::connect(setup.ports.broker, HeaderCodec::Json).await?;
    let wanted = send_many(&talk, &queue, 0, Some(1)).await?;
    site.kill()?;
    all_come(setup, &queue, &wanted).await
}

/// Given back, confirmed, killed: the retries come from the log that the kill left.
async fn given_back(setup: &Setup) -> Result<()> {
    let (queue, retry) = (Queue::new("worked", 0), Queue::new(retry_topic("workers"), 0));
    let mut wanted = BTreeSet::new();
    for round in 0..ROUNDS {
        let site = Site::start(setup).await?;
        let talk = Talk::connect(setup.ports.broker, HeaderCodec::Json).await?;
        talk.heartbeat("worker", "workers", &queue.topic).await?;
        let before = talk.range(&queue).await?.1;
        send_many(&talk, &queue, round, None).await?;
        let dump = Dump::read(&talk, [&queue]).await?;
        let held = dump.queues.get(&queue).context("no queue")?;
        for stored in held.stored.iter().filter(|stored| stored.offset >= before) {
            talk.send_back("workers", stored.position, 1).await?;
            wanted.extend(stored.ticket);
        }
        site.kill()?;
        all_come(setup, &retry, &wanted).await.with_context(|| format!("round {round}"))?;
    }
    Ok(())
}

/// The kill hits while due messages are brought to their topic.
async fn fallen_due(setup: &Setup) -> Result<()> {
    let queue = Queue::new("due", 0);
    let mut wanted = BTreeSet::new();
    for round in 0..ROUNDS {
        let site = Site::start(setup).await?;
        let talk = Talk::connect(setup.ports.broker, HeaderCodec::Json).await?;
        let before = talk.range(&queue).await?.1;
        wanted.extend(send_many(&talk, &queue, round, Some(1)).await?);
        // The disk is busy when the messages fall due, so that what is stored where takes its time.
        let mut heavy = JoinSet::new();
        for id in 0..4 {
            heavy.spawn(keep_busy(setup.ports, id));
        }
        let deadline = Instant::now() + COME_MAX;
        while talk.range(&queue).await?.1 == before {
            ensure!(Instant::now() < deadline, "no delayed message came within {COME_MAX:?}");
        }
        site.kill()?;
        while heavy.join_next().await.is_some() {}
        all_come(setup, &queue, &wanted).await.with_context(|| format!("round {round}"))?;
    }
    Ok(())
}

/// Sends large messages until the connection ends.
async fn keep_busy(ports: Ports, id: i32) {
    let Ok(talk) = Talk::connect(ports.broker, HeaderCodec::Binary).await else { return };
    let queue = Queue::new("busy", id);
    let body = vec![b'x'; 512 * 1024];
    while talk.send(&Draft::new(&queue, "", body.clone())).await.is_ok() {}
}

/// Sends the messages of a round at once; all must be acknowledged.
async fn send_many(talk: &Talk, queue: &Queue, round: u32, delay_level: Option<i32>) -> Result<BTreeSet<Ticket>> {
    let mut sending = JoinSet::new();
    let mut tickets = BTreeSet::new();
    for number in 0..ROUND_MESSAGES {
        let ticket = Ticket { producer: round, number };
        let properties = message::properties(1, ticket, Marks { delay_level, ..Marks::default() })?;
        tickets.insert(ticket);
        let (talk, queue, text) = (talk.clone(), queue.clone(), message::as_text(&properties));
        sending.spawn(async move { talk.send(&Draft::new(&queue, &text, "due")).await });
    }
    while let Some(answer) = sending.join_next().await {
        let answer = answer.context("a sender panicked")??;
        ensure!(answer.code == 0, "{answer:?}");
    }
    Ok(tickets)
}

/// Starts the server once more and waits for every one of the messages.
async fn all_come(setup: &Setup, queue: &Queue, wanted: &BTreeSet<Ticket>) -> Result<()> {
    let site = Site::start(setup).await?;
    let talk = Talk::connect(setup.ports.broker, HeaderCodec::Json).await?;
    let deadline = Instant::now() + COME_MAX;
    loop {
        let dump = Dump::read(&talk, [queue]).await?;
        let came: BTreeSet<Ticket> =
            dump.queues.values().flat_map(|held| &held.stored).filter_map(|stored| stored.ticket).collect();
        let missing: Vec<String> = wanted.difference(&came).map(Ticket::to_string).collect();
        if missing.is_empty() {
            return site.kill();
        }
        let shown = missing.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
        ensure!(
            Instant::now() < deadline,
            "{} of {} messages never came to {queue}: {shown}",
            missing.len(),
            wanted.len()
        );
        sleep(LOOK).await;
    }
}
