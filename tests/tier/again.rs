//! `strata replay`: selected messages of both tiers once more, to a topic and to a group, through kills.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use strata_protocol::frame::HeaderCodec;
use strata_protocol::properties::{Properties, find_str};
use strata_protocol::record::records;
use strata_tests::history::Queue;
use strata_tests::site::{self, Setup};
use strata_tests::talk::{Ask, Talk};
use tokio::time::sleep;

use crate::java::Java;
use crate::traffic::Truth;
use crate::{Ground, roll_and_trim, start, strata};

/// The topic that is replayed, and its queues.
const SOURCE: (&str, i32) = ("Orders", 3);

/// What is asked for, and which messages that means.
const WHERE: &str = "color = 'red' AND TAGS <> 'Tag0'";

/// Messages before, within and after the times that are asked for.
const MESSAGES: [usize; 3] = [3_000, 6_000, 3_000];

/// Messages a second of a run that is killed: it would take some seconds.
const KILLED_RATE: &str = "400";

/// Properties that are a delivery's own: the broker's, and those that a replay adds.
const OWN: [&str; 6] = ["CLUSTER", "MSG_REGION", "TRACE_ON", "WAIT", "STRATA_REPLAY", "STRATA_ORIGIN"];

/// A message as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stored {
    body: Vec<u8>,
    born_ms: i64,
    /// Without those of a delivery.
    properties: Vec<(String, String)>,
}

/// A message, and what a selection looks at.
#[derive(Debug, Clone)]
struct Seen {
    offset: i64,
    stored_ms: i64,
    origin: Option<String>,
    retry_topic: Option<String>,
    stored: Stored,
}

impl Seen {
    fn has(&self, name: &str, value: &str) -> bool {
        self.stored.properties.iter().any(|(key, found)| key == name && found == value)
    }

    fn is_selected(&self, (from, to): (i64, i64)) -> bool {
        (from..to).contains(&self.stored_ms) && self.has("color", "red") && !self.has("TAGS", "Tag0")
    }
}

/// All of a queue.
async fn read(talk: &Talk, topic: &str, queue_id: i32) -> Result<Vec<Seen>> {
    let queue = Queue::new(topic, queue_id);
    let (mut offset, end) = talk.range(&queue).await?;
    let mut out = Vec::new();
    while offset < end {
        let ask = Ask { group: "auditor", queue: &queue, offset, most: 32, hold_ms: 0, commit: None };
        let pulled = talk.pull(&ask).await?;
        ensure!(!pulled.records.is_empty(), "{topic} {queue_id} at {offset}: {} {}", pulled.code, pulled.remark);
        for record in records(&pulled.records) {
            let record = record.context("a pull's record")?;
            let text = record.properties();
            let all = Properties::of(text).map(|(name, value)| {
                (String::from_utf8_lossy(name).into_owned(), String::from_utf8_lossy(value).into_owned())
            });
            out.push(Seen {
                offset: record.queue_offset(),
                stored_ms: record.store_timestamp(),
                origin: find_str(text, "STRATA_ORIGIN").map(str::to_owned),
                retry_topic: find_str(text, "RETRY_TOPIC").map(str::to_owned),
                stored: Stored {
                    body: record.body().to_vec(),
                    born_ms: record.born_timestamp(),
                    properties: all.filter(|(name, _)| !OWN.contains(&name.as_str())).collect(),
                },
            });
            offset = record.queue_offset() + 1;
        }
    }
    Ok(out)
}

/// What is to come, by queue.
type Wanted = BTreeMap<i32, Vec<Seen>>;

/// A broker whose first messages only the tier has, and what it holds.
struct Scene {
    setup: Setup,
    span: (i64, i64),
    wanted: Wanted,
}

impl Scene {
    async fn of(setup: Setup) -> Result<Self> {
        let talk = Talk::connect(setup.ports.broker, HeaderCodec::Json).await?;
        let mut truth = Truth::default();
        truth.send(&talk, MESSAGES[0]).await?;
        sleep(Duration::from_millis(20)).await;
        truth.send(&talk, MESSAGES[1]).await?;
        sleep(Duration::from_millis(20)).await;
        truth.send(&talk, MESSAGES[2]).await?;
        roll_and_trim(&setup, None).await?;
        // Only now: a connection that says nothing for ten seconds is closed.
        let talk = Talk::connect(setup.ports.broker, HeaderCodec::Json).await?;
        let mut all = BTreeMap::new();
        for queue_id in 0..SOURCE.1 {
            all.insert(queue_id, read(&talk, SOURCE.0, queue_id).await?);
        }
        // The times of messages that would be wanted: the first comes, the last does not.
        let queue = all.get(&1).context("no queue")?;
        let near =
            |share: usize| queue.iter().skip(queue.len() * share / 4).find(|seen| seen.is_selected((0, i64::MAX)));
        let (first, last) = near(1).zip(near(3)).context("no messages")?;
        let span = (first.stored_ms, last.stored_ms);
        ensure!(span.0 < span.1, "all was stored in one millisecond");
        let selected =
            |(id, seen): (i32, Vec<Seen>)| (id, seen.into_iter().filter(|seen| seen.is_selected(span)).collect());
        Ok(Self { setup, span, wanted: all.into_iter().map(selected).collect() })
    }

    fn count(&self) -> usize {
        self.wanted.values().map(Vec::len).sum()
    }

    fn bytes(&self) -> usize {
        self.wanted.values().flatten().map(|seen| seen.stored.body.len()).sum()
    }

    /// The command for a target.
    fn arguments(&self, target: [&str; 2], more: &[&str]) -> Vec<String> {
        let (from, to) = (self.span.0.to_string(), self.span.1.to_string());
        let namesrv = format!("127.0.0.1:{}", self.setup.ports.namesrv);
        let fixed =
            ["replay", "--topic", SOURCE.0, "--from", &from, "--to", &to, "--where", WHERE, "--namesrv", &namesrv];
        fixed.iter().chain(&target).chain(more).map(|word| (*word).to_owned()).collect()
    }

    fn replay(&self, target: [&str; 2], more: &[&str]) -> Result<Value> {
        let arguments = self.arguments(target, &[&["--output", "json"], more].concat());
        let out = strata(&self.setup, None, &arguments.iter().map(String::as_str).collect::<Vec<_>>())?;
        Ok(serde_json::from_str(&out)?)
    }

    fn spawn(&self, target: [&str; 2]) -> Result<Child> {
        let mut command = site::command(&self.setup.binary);
        command.args(self.arguments(target, &["--rate", KILLED_RATE])).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().context("cannot run strata")
    }

    async fn talk(&self) -> Result<Talk> {
        Ok(Talk::connect(self.setup.ports.broker, HeaderCodec::Json).await?)
    }

    /// Holds what is in a topic against what is to be: each once, in the order of its queue, as it was.
    async fn check(&self, topic: &str) -> Result<()> {
        let talk = self.talk().await?;
        for (queue_id, wanted) in &self.wanted {
            let found = read(&talk, topic, *queue_id).await?;
            let different = found.iter().zip(wanted).find(|(found, wanted)| found.stored != wanted.stored);
            ensure!(
                found.len() == wanted.len() && different.is_none(),
                "{topic} {queue_id}: {} messages are there, {} are wanted; the first that differ: {different:?}",
                found.len(),
                wanted.len()
            );
            for (found, wanted) in found.iter().zip(wanted) {
                let place = format!("{} broker-a {queue_id} {} ", SOURCE.0, wanted.offset);
                let origin = found.origin.as_deref().unwrap_or_default();
                ensure!(origin.starts_with(&place), "{topic} {queue_id} says {origin}, it is from {place}");
            }
        }
        Ok(())
    }
}

fn figure(report: &Value, name: &str) -> u64 {
    report.pointer(name).and_then(Value::as_u64).unwrap_or(u64::MAX)
}

/// Counts, sends to a topic, goes on after kills of the command and of the broker, and gives the same to one group.
pub(crate) async fn selected(ground: &mut Ground) -> Result<String> {
    let cold = ground.folder.join("again-cold");
    let setup = ground.setup("again", &format!("file://{}", cold.display()))?;
    let site = start(&setup, None).await?;
    let scene = Scene::of(setup).await?;
    let pulls = to_topic(&scene).await?;
    let (site, kills, found) = through_kills(ground, &scene, site).await?;
    to_group(&scene).await?;
    ensure!(site.stop().await?.success(), "the broker did not end well");
    let count = scene.count();
    Ok(format!("{count} messages, {pulls} pulls of the tier; {kills} kills, {found} found sent"))
}

async fn to_topic(scene: &Scene) -> Result<u64> {
    let target = ["--to-topic", "Again"];
    let counted = scene.replay(target, &["--dry-run"])?;
    let (messages, bytes) = (figure(&counted, "/messages"), figure(&counted, "/bytes"));
    ensure!(
        messages == scene.count() as u64 && bytes == scene.bytes() as u64,
        "{} are wanted: {counted}",
        scene.count()
    );
    let pulls = figure(&counted, "/tier/pulls");
    ensure!(pulls > 0 && pulls < u64::MAX, "nothing came from the tier: {counted}");
    let sent = scene.replay(target, &[])?;
    ensure!(sent.get("state").and_then(Value::as_str) == Some("finished"), "{sent}");
    for name in ["/messages", "/bytes", "/firstStoredMs", "/lastStoredMs"] {
        ensure!(figure(&sent, name) == figure(&counted, name), "{name} of {sent} is not that of {counted}");
    }
    scene.check("Again").await?;
    let again = scene.replay(target, &[])?;
    ensure!(again.get("state").and_then(Value::as_str) == Some("finishedBefore"), "{again}");
    scene.check("Again").await.context("after a finished run was started again")?;
    Ok(pulls)
}

/// Kills the command at random moments, and the broker once in the middle.
async fn through_kills(ground: &mut Ground, scene: &Scene, site: site::Site) -> Result<(site::Site, usize, u64)> {
    let target = ["--to-topic", "Killed"];
    let (mut site, mut kills, mut found) = (site, 0, 0);
    for round in 0..6 {
        let mut child = scene.spawn(target)?;
        sleep(Duration::from_millis(ground.draw.between(100, 600))).await;
        if round == 3 {
            site.kill().context("the broker")?;
            child.wait()?;
            site = start(&scene.setup, None).await?;
        } else {
            child.kill()?;
            child.wait()?;
        }
        kills += 1;
        let counted = scene.replay(target, &["--dry-run"])?;
        found += figure(&counted, "/foundSent");
    }
    ensure!(found > 0, "no kill came between a message and its progress");
    let last = scene.replay(target, &[])?;
    ensure!(last.get("resumed").and_then(Value::as_bool) == Some(true), "no kill came in the middle: {last}");
    scene.check("Killed").await.context("after kills")?;
    Ok((site, kills, found))
}

/// Offsets of groups, and ends of queues, that a replay to a group must leave alone.
async fn bystanders(talk: &Talk) -> Result<Vec<Option<i64>>> {
    let mut out = Vec::new();
    for queue_id in 0..SOURCE.1 {
        let queue = Queue::new(SOURCE.0, queue_id);
        out.push(Some(talk.range(&queue).await?.1));
        for group in ["billing", "audit"] {
            out.push(talk.progress(group, &queue).await?);
        }
    }
    out.push(Some(talk.range(&Queue::new("%RETRY%audit", 0)).await?.1));
    Ok(out)
}

async fn to_group(scene: &Scene) -> Result<()> {
    let namesrv = format!("127.0.0.1:{}", scene.setup.ports.namesrv);
    for group in ["billing", "audit"] {
        strata(&scene.setup, None, &["group", "create", group, "--namesrv", &namesrv])?;
    }
    let talk = scene.talk().await?;
    for queue_id in 0..SOURCE.1 {
        talk.commit("billing", &Queue::new(SOURCE.0, queue_id), 100 + i64::from(queue_id)).await?;
    }
    let before = bystanders(&talk).await?;
    let target = ["--to-group", "billing"];
    let mut child = scene.spawn(target)?;
    sleep(Duration::from_millis(500)).await;
    child.kill()?;
    child.wait()?;
    scene.replay(target, &[])?;
    let talk = scene.talk().await?;
    ensure!(bystanders(&talk).await? == before, "others than the group's retry topic have changed");
    let found = read(&talk, "%RETRY%billing", 0).await?;
    ensure!(found.iter().all(|seen| seen.retry_topic.as_deref() == Some(SOURCE.0)), "another topic is told");
    let mut found: Vec<_> = found.into_iter().map(|seen| seen.stored.body).collect();
    let mut wanted: Vec<_> = scene.wanted.values().flatten().map(|seen| seen.stored.body.clone()).collect();
    found.sort_unstable();
    wanted.sort_unstable();
    ensure!(found == wanted, "{} messages are there, {} are wanted", found.len(), wanted.len());
    Ok(())
}

/// RocketMQ's push consumers of two groups: one is given what is replayed to it, as messages of their topic, the other
/// is not.
pub(crate) async fn java_group(ground: &mut Ground) -> Result<String> {
    let cold = ground.folder.join("again-java-cold");
    let setup = ground.setup("again-java", &format!("file://{}", cold.display()))?;
    let site = start(&setup, None).await?;
    let scene = Scene::of(setup).await?;
    let java = Java::of(&scene.setup, &ground.folder.join("again-java-home"))?;
    let count = scene.count().to_string();
    let (one, other) = (["retried", SOURCE.0, "billing", &count], ["retried", SOURCE.0, "audit", "0"]);
    let consumers = async { tokio::try_join!(java.say("given", &one), java.say("given", &other)) };
    let replayed = async {
        connected(&scene).await?;
        scene.replay(["--to-group", "billing"], &[])
    };
    let ((mut given, others), report) = tokio::try_join!(consumers, replayed)?;
    ensure!(figure(&report, "/messages") == scene.count() as u64, "{report}");
    ensure!(others.is_empty(), "another group was given {} messages", others.len());
    let line = |seen: &Seen| {
        let id = seen.stored.properties.iter().find(|(name, _)| name == "UNIQ_KEY").map_or("", |(_, id)| id);
        format!("{} 0 {id} {}", SOURCE.0, seen.stored.body.len())
    };
    let mut wanted: Vec<String> = scene.wanted.values().flatten().map(line).collect();
    given.sort_unstable();
    wanted.sort_unstable();
    let different = given.iter().zip(&wanted).find(|(given, wanted)| given != wanted);
    ensure!(given == wanted, "{} were given, {} are wanted; first: {different:?}", given.len(), wanted.len());
    ensure!(site.stop().await?.success(), "the broker did not end well");
    Ok(format!("{} messages to one group, none to the other", given.len()))
}

/// Waits until consumers of both groups are connected.
async fn connected(scene: &Scene) -> Result<()> {
    let namesrv = format!("127.0.0.1:{}", scene.setup.ports.namesrv);
    for _ in 0..300 {
        let groups = strata(&scene.setup, None, &["group", "list", "--output", "json", "--namesrv", &namesrv])?;
        let groups: Vec<Value> = serde_json::from_str(&groups)?;
        let here = |name: &str| groups.iter().any(|group| group["group"] == name && group["members"] == 1);
        if here("billing") && here("audit") {
            return Ok(());
        }
        sleep(Duration::from_millis(200)).await;
    }
    anyhow::bail!("the consumers of {} do not connect", Path::new(&scene.setup.data).display())
}
