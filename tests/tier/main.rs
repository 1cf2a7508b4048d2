//! The cold tier from outside: a broker, an S3 server and a reader of Parquet that others wrote.
//!
//! `cargo test --release -p strata-tests --test tier`; `STRATA_SEED` repeats the choices, `STRATA_BINARY` takes another
//! binary, `STRATA_CASE=text` runs the cases whose name holds the text. `tests/tier/install` installs what it needs.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use strata_protocol::frame::HeaderCodec;
use strata_tests::clock::now_ms;
use strata_tests::draw::Draw;
use strata_tests::report::say;
use strata_tests::site::{self, Ports, Setup, Site};
use strata_tests::talk::Talk;
use strata_tests::{history::Queue, setting};
use tokio::time::{Instant, sleep};

mod again;
mod away;
mod delayed;
mod engines;
mod gap;
mod java;
mod pushdown;
mod relay;
mod retention;
mod rivals;
mod s3;
mod sql;
mod statements;
mod traced;
mod traffic;

use s3::{BUCKET, S3};
use traffic::{FILTERS, TOPICS, Truth};

/// Bytes of a segment: many are sealed within seconds.
const SEGMENT_BYTES: u64 = 2 << 20;

/// Bytes of the log that are kept: all but the youngest segments are deleted.
const KEPT_BYTES: u64 = 4 << 20;

/// Messages of a case: about ten segments.
const MESSAGES: usize = 16_000;

/// How long rolling and deleting may take; the store looks every ten seconds.
const TRIMMED_MAX: Duration = Duration::from_secs(60);

/// Who reads the objects beside Strata.
const ENGINES: [&str; 2] = ["duckdb", "polars"];

/// What cases share.
struct Ground {
    binary: PathBuf,
    folder: PathBuf,
    draw: Draw,
}

type Step<'a> = Pin<Box<dyn Future<Output = Result<String>> + 'a>>;
type Case = (&'static str, for<'a> fn(&'a mut Ground) -> Step<'a>);

const CASES: &[Case] = &[
    ("replay through S3, and a broker from the bucket alone", |at| Box::pin(through_s3(at))),
    ("a Java consumer replays from a time", |at| Box::pin(java::replay(at))),
    ("selected messages again", |at| Box::pin(again::selected(at))),
    ("a Java group is given selected messages again", |at| Box::pin(again::java_group(at))),
    ("kills while rolling", |at| Box::pin(kills(at))),
    ("small rolls are merged", |at| Box::pin(retention::merges(at))),
    ("retention", |at| Box::pin(retention::expiry(at))),
    ("the store is away", |at| Box::pin(away::away(at))),
    ("delayed messages come though their copies were lost", |at| Box::pin(delayed::lost_copies(at))),
    ("a gap that nobody has", |at| Box::pin(gap::gap(at))),
    ("SQL over both tiers", |at| Box::pin(sql::both_tiers(at))),
    ("what conditions pass over changes nothing", |at| Box::pin(pushdown::changes_nothing(at))),
    ("lives of messages that Java traces", |at| Box::pin(traced::lives(at))),
    ("two brokers of one prefix", |at| Box::pin(rivals::rivals(at))),
    ("other engines read the objects", |at| Box::pin(readers(at))),
    ("the same SQL by other engines", |at| Box::pin(engines::engines(at))),
];

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    match runtime.context("no runtime").and_then(|runtime| runtime.block_on(all())) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(failures) => {
            say(&format!("tier: FAILED, {failures} cases"));
            ExitCode::FAILURE
        }
        Err(error) => {
            say(&format!("tier: FAILED: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn all() -> Result<usize> {
    let seed: u64 = setting::number("STRATA_SEED", now_ms().unsigned_abs())?;
    let only = setting::text("STRATA_CASE").unwrap_or_default();
    let folder = tempfile::Builder::new().prefix("strata-tier-").tempdir().context("no temporary folder")?;
    let mut ground = Ground { binary: site::binary()?, folder: folder.path().to_owned(), draw: Draw::new(seed) };
    say(&format!("tier: again with STRATA_SEED={seed}"));
    let mut failures = 0;
    for (name, case) in CASES.iter().filter(|(name, _)| name.contains(&only)) {
        let began = Instant::now();
        let result = case(&mut ground).await;
        let took = began.elapsed().as_secs_f32();
        match result {
            Ok(seen) => say(&format!("tier: {name}: ok in {took:.1} s; {seen}")),
            Err(error) => {
                failures += 1;
                say(&format!("tier: {name}: FAILED in {took:.1} s: {error:#}"));
                for log in logs(&ground.folder) {
                    say(&format!("{}:\n{}", log.display(), site::tail(&log)));
                }
            }
        }
    }
    Ok(failures)
}

impl Ground {
    fn setup(&mut self, name: &str, url: &str) -> Result<Setup> {
        let folder = self.folder.join(name.replace(' ', "-"));
        std::fs::create_dir_all(&folder)?;
        let settings = [
            format!("mappedFileSizeCommitLog={SEGMENT_BYTES}"),
            format!("retentionBytes={KEPT_BYTES}"),
            format!("tieredStoreUrl={url}"),
            "tieredCpuPercent=100".to_owned(),
            "defaultTopicQueueNums=4".to_owned(),
        ];
        Ok(Setup {
            binary: self.binary.clone(),
            data: folder.join("data"),
            ports: Ports::free(&mut self.draw)?,
            settings: settings.to_vec(),
            log: folder.join("strata.log"),
        })
    }
}

async fn start(setup: &Setup, s3: Option<&S3>) -> Result<Site> {
    start_at(setup, s3.map(|s3| s3.port)).await
}

/// Starts a broker that finds its S3 server at a port.
async fn start_at(setup: &Setup, s3: Option<u16>) -> Result<Site> {
    let mut command = setup.command()?;
    command.envs(s3.into_iter().flat_map(S3::environment_at));
    let mut site = Site::launch(command, setup)?;
    site.ready().await?;
    Ok(site)
}

/// Another data folder for a broker's settings, made from its bucket alone.
fn restored(setup: &Setup, s3: Option<&S3>, url: &str) -> Result<Setup> {
    let second = Setup { data: setup.data.with_extension("restored"), ..setup.clone() };
    let data = second.data.display().to_string();
    let config = setup.log.with_extension("conf").display().to_string();
    strata(&second, s3, &["tier", "restore", "--from", url, "-c", &config, "--data", &data])?;
    Ok(second)
}

/// Runs a command of the binary to its end.
fn strata(setup: &Setup, s3: Option<&S3>, arguments: &[&str]) -> Result<String> {
    let mut command = site::command(&setup.binary);
    command.args(arguments).envs(s3.into_iter().flat_map(S3::environment));
    let output = command.output().context("cannot run strata")?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "strata {}: {said}", arguments.join(" "));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Has everything rolled, and waits until most of it is deleted here.
async fn roll_and_trim(setup: &Setup, s3: Option<&S3>) -> Result<()> {
    let namesrv = format!("127.0.0.1:{}", setup.ports.namesrv);
    strata(setup, s3, &["tier", "roll", "--now", "--namesrv", &namesrv])?;
    let deadline = Instant::now() + TRIMMED_MAX;
    let log = setup.data.join("broker/commitlog");
    while segments(&log)? > usize::try_from(KEPT_BYTES / SEGMENT_BYTES)? + 2 {
        ensure!(Instant::now() < deadline, "{} segments are still there", segments(&log)?);
        sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

fn segments(log: &Path) -> Result<usize> {
    Ok(std::fs::read_dir(log).context("no commit log")?.count())
}

/// Sends, rolls to S3, lets the log go, reads all of it back by offset, filter, time, key and place; then from a broker
/// that was made from the bucket alone.
async fn through_s3(ground: &mut Ground) -> Result<String> {
    let s3 = S3::start(&ground.folder.join("s3.log")).await?;
    let url = format!("s3://{BUCKET}/first");
    let setup = ground.setup("through-s3", &url)?;
    let site = start(&setup, Some(&s3)).await?;
    let talk = Talk::connect(setup.ports.broker, HeaderCodec::Json).await?;
    let mut truth = Truth::default();
    truth.send(&talk, MESSAGES).await?;
    roll_and_trim(&setup, Some(&s3)).await?;
    let mut counts = Vec::new();
    for filter in &FILTERS {
        counts.push(truth.check(&talk, filter).await?);
    }
    by_key_and_place(&truth, &talk).await?;
    let log = std::fs::read_to_string(&setup.log).unwrap_or_default();
    ensure!(!log.contains("not-to-be-seen"), "the log holds the secret");
    ensure!(site.stop().await?.success(), "the broker did not end well");

    let second = restored(&setup, Some(&s3), &url)?;
    let site = start(&second, Some(&s3)).await?;
    let talk = Talk::connect(second.ports.broker, HeaderCodec::Json).await?;
    for filter in &FILTERS {
        truth.check(&talk, filter).await.context("from the restored broker")?;
    }
    truth.send(&talk, 2_000).await?;
    truth.check(&talk, &FILTERS[0]).await.context("from the restored broker, with new messages")?;
    ensure!(site.stop().await?.success(), "the restored broker did not end well");
    Ok(format!("{counts:?} messages by the filters, twice"))
}

async fn by_key_and_place(truth: &Truth, talk: &Talk) -> Result<()> {
    for ((topic, queue_id), sent) in &truth.queues {
        for message in [sent.first(), sent.get(sent.len() / 2), sent.last()].into_iter().flatten() {
            let found = talk.view(topic, message.place).await.context("by place")?;
            let same = |bytes: &[u8]| {
                strata_protocol::record::RecordView::parse(bytes).is_ok_and(|record| record.body() == message.body)
            };
            ensure!(same(&found), "another message is at {}", message.place);
            let found = talk.by_key(topic, &message.key, false).await.context("by key")?;
            ensure!(same(&found), "key {} gives another message", message.key);
        }
        let (min, max) = talk.range(&Queue::new(topic.as_str(), *queue_id)).await?;
        let end = sent.last().map_or(0, |sent| sent.offset + 1);
        ensure!((min, max) == (0, end), "{topic} {queue_id} goes from {min} to {max}, not from 0 to {end}");
    }
    Ok(())
}

/// The broker is killed again and again while it rolls; nothing that was acknowledged is missing or there twice.
async fn kills(ground: &mut Ground) -> Result<String> {
    let rounds = setting::number("STRATA_KILLS", 5)?;
    let cold = ground.folder.join("kills-cold");
    let setup = ground.setup("kills", &format!("file://{}", cold.display()))?;
    let mut truth = Truth::default();
    for round in 0..rounds {
        let site = start(&setup, None).await?;
        let talk = Talk::connect(setup.ports.broker, HeaderCodec::Json).await?;
        truth.send(&talk, 3_000).await?;
        sleep(Duration::from_millis(ground.draw.between(0, 1_500))).await;
        site.kill().with_context(|| format!("in round {round}"))?;
    }
    let site = start(&setup, None).await?;
    roll_and_trim(&setup, None).await?;
    // Only now: a connection that says nothing for ten seconds is closed.
    let talk = Talk::connect(setup.ports.broker, HeaderCodec::Json).await?;
    let count = truth.check(&talk, &FILTERS[0]).await?;
    ensure!(site.stop().await?.success(), "the broker did not end well");
    Ok(format!("{rounds} kills, {count} messages, each once"))
}

/// Engines of others read from the objects what was sent.
async fn readers(ground: &mut Ground) -> Result<String> {
    let cold = ground.folder.join("readers-cold");
    let setup = ground.setup("readers", &format!("file://{}", cold.display()))?;
    let site = start(&setup, None).await?;
    let talk = Talk::connect(setup.ports.broker, HeaderCodec::Json).await?;
    let mut truth = Truth::default();
    truth.send(&talk, 6_000).await?;
    roll_and_trim(&setup, None).await?;
    let mut files = Vec::new();
    parquet_files(&cold, &mut files)?;
    for engine in ENGINES {
        let seen = s3::read_by(engine, &files)?;
        for (topic, _) in TOPICS {
            let lines = truth.lines(topic);
            let count = seen.pointer(&format!("/{topic}/0")).and_then(serde_json::Value::as_u64);
            ensure!(
                count == Some(lines.len() as u64),
                "{engine} sees {count:?} messages of {topic}, {} were sent",
                lines.len()
            );
            let digest = seen.pointer(&format!("/{topic}/1")).and_then(serde_json::Value::as_str).unwrap_or_default();
            ensure!(digest == digest_of(&lines)?, "{engine} sees other messages of {topic}");
        }
    }
    ensure!(site.stop().await?.success(), "the broker did not end well");
    Ok(format!("{} objects, by each of {ENGINES:?}", files.len()))
}

/// What the brokers of all cases said.
fn logs(folder: &Path) -> Vec<PathBuf> {
    let folders = std::fs::read_dir(folder).into_iter().flatten().map_while(Result::ok);
    folders.map(|entry| entry.path().join("strata.log")).filter(|log| log.is_file()).collect()
}

fn parquet_files(folder: &Path, out: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| format!("no folder {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            parquet_files(&path, out)?;
        } else if path.extension().is_some_and(|extension| extension == "parquet") {
            out.push(path);
        }
    }
    Ok(())
}

/// SHA-256 of lines, by the system's own tool.
fn digest_of(lines: &[Vec<u8>]) -> Result<String> {
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), lines.concat())?;
    let output = site::command("sha256sum").arg(file.path()).output().context("cannot run sha256sum")?;
    let text = String::from_utf8(output.stdout)?;
    text.split_whitespace().next().map(str::to_owned).context("sha256sum says nothing")
}
