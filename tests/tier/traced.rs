//! The lives of messages of a Java producer and consumer with trace enabled: whole by psql, by `strata sql` and by
//! `strata trace`, and again when everything went to the tier.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use strata_protocol::frame::HeaderCodec;
use strata_tests::site::{self, Setup};
use strata_tests::talk::Talk;
use tokio::time::{Instant, sleep};

use crate::java::Java;
use crate::sql::{psql, sql};
use crate::traffic::{MESSAGES_OF_SEGMENT, Truth};
use crate::{Ground, roll_and_trim, start};

const TOPIC: &str = "Traced";
const GROUP: &str = "traced";
const MESSAGES: usize = 20;

/// Until the broker's records of what has just happened are stored, which is a second where nothing else is to be done.
const RECORDED_MAX: Duration = Duration::from_secs(30);

/// A message as Java knows it.
struct Sent {
    id: String,
    key: String,
    attempts: usize,
}

pub(crate) async fn lives(ground: &mut Ground) -> Result<String> {
    let url = format!("file://{}", ground.folder.join("traced-cold").display());
    let setup = ground.setup("traced", &url)?;
    let site = start(&setup, None).await?;
    let java = Java::of(&setup, &ground.folder.join("java-traced"))?;
    let lines = java.run("Trace.java", "life", &[TOPIC, GROUP, &MESSAGES.to_string()]).await?;
    let sent = lines.iter().map(|line| of_line(line)).collect::<Result<Vec<_>>>()?;
    ensure!(sent.len() == MESSAGES, "{} of {MESSAGES} lives were told", sent.len());
    ensure!(sent.iter().any(|sent| sent.attempts > 1), "no message came again");
    // The broker's own records of a second are there a second later.
    let began = Instant::now();
    while sent.iter().any(|sent| check(&setup, sent).is_err()) && began.elapsed() < RECORDED_MAX {
        sleep(Duration::from_millis(200)).await;
    }
    for sent in &sent {
        check(&setup, sent).with_context(|| format!("{} in the log", sent.key))?;
    }
    // What is behind them fills segments, so that theirs are deleted.
    let talk = Talk::connect(setup.ports.broker, HeaderCodec::Json).await?;
    Truth::default().send(&talk, 6 * MESSAGES_OF_SEGMENT).await?;
    roll_and_trim(&setup, None).await?;
    let tiers = sql(&setup, &format!("SELECT DISTINCT tier FROM messages WHERE topic = '{TOPIC}'"))?;
    ensure!(tiers.trim() == "{\"tier\":\"cold\"}", "they are in {tiers}");
    for sent in &sent {
        check(&setup, sent).with_context(|| format!("{} in the tier", sent.key))?;
    }
    let undecoded = sql(&setup, "SELECT count(*) AS n FROM traces WHERE kind = 'undecoded'")?;
    ensure!(undecoded == "{\"n\":0}\n", "records that do not decode: {undecoded}");
    ensure!(site.stop().await?.success(), "the broker did not end well");
    let again = sent.iter().filter(|sent| sent.attempts > 1).count();
    Ok(format!("{MESSAGES} lives, {again} of them with a second attempt"))
}

fn of_line(line: &str) -> Result<Sent> {
    let words: Vec<&str> = line.split(' ').collect();
    let [id, key, attempts] = words.as_slice() else { anyhow::bail!("{line:?} is no life") };
    Ok(Sent { id: (*id).to_owned(), key: (*key).to_owned(), attempts: attempts.parse()? })
}

/// Each way must tell that it was published, stored and consumed as often as Java says, and how.
fn check(setup: &Setup, sent: &Sent) -> Result<()> {
    let hops = format!(
        "SELECT hop, count(*) AS n, count(*) FILTER (WHERE is_success) AS good FROM spans WHERE msg_id = '{}' \
                        GROUP BY hop ORDER BY hop",
        sent.id
    );
    let again = sent.attempts - 1;
    // What the client tells, what the broker stored, and what it records itself.
    let wanted = [
        ("ack", sent.attempts, sent.attempts),
        ("consume", sent.attempts, 1),
        ("deliver", sent.attempts, sent.attempts),
        ("publish", 1, 1),
        ("receive", 1, 1),
        ("retry", again, again),
        ("send_back", again, again),
        ("store", 1, 1),
    ];
    let wanted: Vec<_> = wanted.into_iter().filter(|(_, n, _)| *n > 0).collect();
    let by_sql: String =
        wanted.iter().map(|(hop, n, good)| format!("{{\"hop\":\"{hop}\",\"n\":{n},\"good\":{good}}}\n")).collect();
    let told = sql(setup, &hops)?;
    ensure!(told == by_sql, "SQL tells {told}, not {by_sql}");
    let by_psql: String = wanted.iter().map(|(hop, n, good)| format!("{hop}|{n}|{good}\n")).collect();
    let told = psql(setup, &["-c", &hops])?;
    ensure!(told == by_psql, "psql tells {told}, not {by_psql}");
    let (by_id, by_key) = (trace(setup, &sent.id)?, trace(setup, &sent.key)?);
    ensure!(by_id == by_key, "by its id: {by_id}\nby its key: {by_key}");
    let lives: Vec<Value> = serde_json::from_str(&by_id)?;
    let [life] = lives.as_slice() else { anyhow::bail!("{} lives of {}", lives.len(), sent.id) };
    let hops = life.get("hops").and_then(Value::as_array).context("no hops")?;
    let of = |name: &str| hops.iter().filter(|hop| hop.get("hop").and_then(Value::as_str) == Some(name)).count();
    let counted = (of("publish"), of("store"), of("consume"), of("retry"));
    ensure!(counted == (1, 1, sent.attempts, again), "strata trace tells {counted:?}: {by_id}");
    let counted = (of("receive"), of("deliver"), of("acknowledge"), of("send back"));
    ensure!(counted == (1, sent.attempts, sent.attempts, again), "strata trace tells {counted:?}: {by_id}");
    let statuses: Vec<&str> = hops
        .iter()
        .filter(|hop| hop.get("hop").and_then(Value::as_str) == Some("consume"))
        .filter_map(|hop| hop.get("status").and_then(Value::as_str))
        .collect();
    ensure!(statuses.last() == Some(&"SUCCESS"), "it was taken, and {statuses:?} is told");
    ensure!(sent.attempts == 1 || statuses.first() == Some(&"FAILED"), "it failed first, and {statuses:?} is told");
    let groups = life.get("groups").and_then(Value::as_array).context("no groups")?;
    ensure!(
        groups.iter().any(|group| group.get("consumer_group").and_then(Value::as_str) == Some(GROUP)),
        "no group: {by_id}"
    );
    Ok(())
}

/// What `strata trace` says, as JSON.
fn trace(setup: &Setup, what: &str) -> Result<String> {
    let mut command = site::command(&setup.binary);
    let address = format!("127.0.0.1:{}", setup.ports.sql);
    let output = command.args(["trace", what, "--sql", &address, "--output", "json"]).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "strata trace {what}: {said}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
