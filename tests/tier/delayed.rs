//! Delayed messages of a broker whose disk is lost: what is in the tier is delivered, and once more where the copy that was
//! delivered is not in it.

use anyhow::{Context, Result, bail, ensure};
use strata_protocol::code::ResponseCode;
use strata_protocol::frame::HeaderCodec;
use strata_protocol::record::records;
use strata_tests::history::Queue;
use strata_tests::site::Setup;
use strata_tests::talk::{Ask, Draft, Talk};
use tokio::time::{Duration, Instant, sleep};

use crate::{Ground, restored, start, strata};

/// Messages of each kind.
const MESSAGES: i64 = 20;

/// How long the last of them may take.
const DELIVERED_MAX: Duration = Duration::from_secs(30);

/// Where they go.
const TOPIC: &str = "Later";

/// Some are delivered and rolled; others are rolled, delivered, and their copies are lost with the disk.
pub(crate) async fn lost_copies(ground: &mut Ground) -> Result<String> {
    let url = format!("file://{}", ground.folder.join("delayed-cold").display());
    let setup = ground.setup("delayed", &url)?;
    let namesrv = format!("127.0.0.1:{}", setup.ports.namesrv);
    let roll = || strata(&setup, None, &["tier", "roll", "--now", "--namesrv", &namesrv]);
    let site = start(&setup, None).await?;
    let talk = connect(&setup).await?;
    // A second, and five.
    send(&talk, "rolled", 1).await?;
    delivered(&talk, MESSAGES).await?;
    roll()?;
    send(&talk, "lost", 2).await?;
    roll()?;
    let before = delivered(&talk, 2 * MESSAGES).await?;
    ensure!(site.stop().await?.success(), "the broker did not end well");

    let second = restored(&setup, None, &url)?;
    let site = start(&second, None).await?;
    let talk = connect(&second).await?;
    let after = delivered(&talk, 2 * MESSAGES).await?;
    // What is delivered a second time comes as soon as what has to come.
    sleep(Duration::from_secs(2)).await;
    let mut last = delivered(&talk, 2 * MESSAGES).await?;
    ensure!(last == after, "{} messages became {}", after.len(), last.len());
    let mut expected = before;
    expected.sort_unstable();
    last.sort_unstable();
    ensure!(last == expected, "{last:?} came from the restored broker, {expected:?} were sent");
    ensure!(site.stop().await?.success(), "the restored broker did not end well");
    Ok(format!("{} messages, each once", last.len()))
}

async fn connect(setup: &Setup) -> Result<Talk> {
    Ok(Talk::connect(setup.ports.broker, HeaderCodec::Json).await?)
}

async fn send(talk: &Talk, what: &str, level: i32) -> Result<()> {
    let queue = Queue::new(TOPIC, 0);
    for nth in 0..MESSAGES {
        let text = format!("UNIQ_KEY\u{1}{what}-{nth}\u{2}DELAY\u{1}{level}\u{2}WAIT\u{1}true\u{2}");
        let answer = talk.send(&Draft::new(&queue, &text, format!("{what} {nth}"))).await?;
        ensure!(ResponseCode::of(answer.code) == Some(ResponseCode::Success), "{what} {nth}: {}", answer.remark);
    }
    Ok(())
}

/// Waits until so many are there, and gives their bodies in their order.
async fn delivered(talk: &Talk, count: i64) -> Result<Vec<String>> {
    let (queue, deadline) = (Queue::new(TOPIC, 0), Instant::now() + DELIVERED_MAX);
    let end = loop {
        let (_, end) = talk.range(&queue).await?;
        if end >= count {
            break end;
        }
        if Instant::now() > deadline {
            bail!("{end} of {count} delayed messages came in {DELIVERED_MAX:?}");
        }
        sleep(Duration::from_millis(100)).await;
    };
    let mut bodies = Vec::new();
    let mut offset = 0;
    while offset < end {
        let ask = Ask { group: "later", queue: &queue, offset, most: 32, hold_ms: 0, commit: None };
        let pulled = talk.pull(&ask).await?;
        ensure!(!pulled.records.is_empty(), "nothing at {offset}: {} {}", pulled.code, pulled.remark);
        for record in records(&pulled.records) {
            let record = record.context("a pull's record")?;
            bodies.push(String::from_utf8_lossy(record.body()).into_owned());
            offset += 1;
        }
    }
    Ok(bodies)
}
