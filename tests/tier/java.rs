//! RocketMQ's own Java client: it sends, and replays from a time behind everything that the local disk still has.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use strata_tests::site::{self, Setup};
use strata_tests::{apache, setting};
use tokio::time::sleep;

use crate::s3::{BUCKET, S3};
use crate::{Ground, restored, roll_and_trim, start};

/// Messages before the moment, and from it on: each some segments.
const MESSAGES: usize = 6_000;

const TOPIC: &str = "Replayed";

/// Times of consumers are told in seconds; nothing is sent within the one that is told.
const MOMENT: Duration = Duration::from_millis(2_100);

/// What a consumer asks for, and which of the messages that means, by their numbers.
type Wish = (&'static str, &'static str, fn(usize) -> bool);

const WISHES: [Wish; 3] = [
    ("TAG", "*", |_| true),
    ("TAG", "Tag1 || Tag3", |nth| nth % 5 == 1 || nth % 5 == 3),
    ("SQL92", "color = 'teal' AND amount BETWEEN 100 AND 700", |nth| {
        nth % 50 == 7 && (100..=700).contains(&(nth % 1_000))
    }),
];

/// The client's program.
pub(crate) struct Java {
    jars: PathBuf,
    address: String,
    home: PathBuf,
}

impl Java {
    pub(crate) fn of(setup: &Setup, home: &Path) -> Result<Self> {
        std::fs::create_dir_all(home)?;
        let address = format!("127.0.0.1:{}", setup.ports.namesrv);
        Ok(Self { jars: apache::jars()?, address, home: home.to_owned() })
    }

    /// The lines that `Replay.java` says, without their first word, which must be this one.
    pub(crate) async fn say(&self, word: &str, arguments: &[&str]) -> Result<Vec<String>> {
        self.run("Replay.java", word, arguments).await
    }

    /// The lines that a program says which begin with this word, without it.
    pub(crate) async fn run(&self, program: &str, word: &str, arguments: &[&str]) -> Result<Vec<String>> {
        let source = setting::package().join("tier").join(program);
        let mut command = site::command("java");
        command.args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"]);
        command.arg(format!("-Duser.home={}", self.home.display()));
        command.arg("-cp").arg(self.jars.join("*")).arg(source).arg(&self.address).args(arguments);
        // The broker has its own threads; this one only waits.
        let output = tokio::task::spawn_blocking(move || command.output()).await?;
        let output = output.context("cannot run java; tests/clients/install installs a JDK")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "java {}: {said}", arguments.join(" "));
        let text = String::from_utf8(output.stdout)?;
        let lines = text.lines().filter_map(|line| line.strip_prefix(word)?.strip_prefix(' ').map(str::to_owned));
        Ok(lines.collect())
    }

    async fn send(&self, first: usize) -> Result<Vec<String>> {
        let (count, first) = (MESSAGES.to_string(), first.to_string());
        let sent = self.say("sent", &["send", TOPIC, &count, &first]).await?;
        ensure!(sent.len() == MESSAGES, "{} of {MESSAGES} were sent", sent.len());
        Ok(sent)
    }

    /// Replays by each wish with a group of its own, and holds what comes against what was sent from that time on.
    async fn replay(&self, name: &str, time: &str, sent: &[String]) -> Result<Vec<usize>> {
        let mut counts = Vec::new();
        for (at, (kind, expression, wants)) in WISHES.iter().enumerate() {
            let numbered = sent.iter().enumerate().filter(|(nth, _)| wants(MESSAGES + nth));
            let mut wanted: Vec<&String> = numbered.map(|(_, line)| line).collect();
            let (group, count) = (format!("replay-{name}-{at}"), wanted.len().to_string());
            let mut got = self.say("got", &["consume", TOPIC, &group, time, kind, expression, &count]).await?;
            wanted.sort_unstable();
            got.sort_unstable();
            let first = got.iter().zip(&wanted).find(|(got, wanted)| got != *wanted);
            ensure!(
                got.iter().eq(wanted.iter().copied()),
                "{expression}: {} messages came, {} are wanted; the first that differ: {first:?}",
                got.len(),
                wanted.len()
            );
            counts.push(got.len());
        }
        Ok(counts)
    }
}

/// Sends, waits for a moment, sends again, lets the log go, and replays from the moment on: out of S3, and from a broker
/// that was made from the bucket alone.
pub(crate) async fn replay(ground: &mut Ground) -> Result<String> {
    let s3 = S3::start(&ground.folder.join("java-s3.log")).await?;
    let url = format!("s3://{BUCKET}/java");
    let setup = ground.setup("java", &url)?;
    let site = start(&setup, Some(&s3)).await?;
    let java = Java::of(&setup, &ground.folder.join("java-home"))?;
    java.send(0).await?;
    sleep(MOMENT / 2).await;
    let time = time_of_now()?;
    sleep(MOMENT / 2).await;
    let sent = java.send(MESSAGES).await?;
    // The oldest of what is asked for is far behind what the disk still has.
    roll_and_trim(&setup, Some(&s3)).await?;
    let local = setup.data.join("broker/commitlog");
    let left = crate::segments(&local)?;
    let counts = java.replay("first", &time, &sent).await?;
    ensure!(site.stop().await?.success(), "the broker did not end well");

    let second = restored(&setup, Some(&s3), &url)?;
    let site = start(&second, Some(&s3)).await?;
    java.replay("second", &time, &sent).await.context("from the restored broker")?;
    ensure!(site.stop().await?.success(), "the restored broker did not end well");
    Ok(format!("{counts:?} messages by the filters, twice, {left} segments being left"))
}

/// The second that it is, in the form and the zone that the client reads.
fn time_of_now() -> Result<String> {
    let output = site::command("date").arg("+%Y%m%d%H%M%S").output().context("cannot run date")?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
