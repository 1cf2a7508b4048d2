//! Two brokers that write to one prefix: the one that came first is fenced, loses nothing, and says so.

use anyhow::{Context, Result, ensure};
use strata_protocol::frame::HeaderCodec;
use strata_tests::page::figure;
use strata_tests::site::{Ports, Setup};
use strata_tests::talk::Talk;

use crate::s3::{BUCKET, S3};
use crate::traffic::{FILTERS, MESSAGES_OF_SEGMENT, Truth};
use crate::{Ground, MESSAGES, restored, roll_and_trim, segments, start, strata};

/// A broker runs; a second one is started of the same name, on a folder restored from the same bucket.
pub(crate) async fn rivals(ground: &mut Ground) -> Result<String> {
    let s3 = S3::start(&ground.folder.join("rivals-s3.log")).await?;
    let url = format!("s3://{BUCKET}/rivals");
    let setup = ground.setup("rivals", &url)?;
    let site = start(&setup, Some(&s3)).await?;
    let talk = Talk::connect(setup.ports.broker, HeaderCodec::Json).await?;
    let mut truth = Truth::default();
    truth.send(&talk, MESSAGES / 2).await?;
    roll_and_trim(&setup, Some(&s3)).await?;

    // Another data folder has another log: it is refused, and the broker goes on with its tier.
    let (data, log) = (setup.data.with_extension("stranger"), setup.log.with_extension("stranger"));
    let stranger = Setup { data, log, ports: Ports::free(&mut ground.draw)?, ..setup.clone() };
    let refused = start(&stranger, Some(&s3)).await.err().context("another data folder takes the tier")?;
    ensure!(format!("{refused:#}").contains("another data folder"), "it says: {refused:#}");
    let first = format!("127.0.0.1:{}", setup.ports.namesrv);
    truth.send(&Talk::connect(setup.ports.broker, HeaderCodec::Json).await?, 100).await?;
    strata(&setup, Some(&s3), &["tier", "roll", "--now", "--namesrv", &first])
        .context("after a stranger was refused")?;

    let second = restored(&setup, Some(&s3), &url)?;
    let log = setup.log.with_extension("second");
    let second = Setup { ports: Ports::free(&mut ground.draw)?, log, ..second };
    let rival = start(&second, Some(&s3)).await?;
    let mut seconds = truth.clone();
    let talk = Talk::connect(second.ports.broker, HeaderCodec::Json).await?;
    seconds.send(&talk, 2 * MESSAGES_OF_SEGMENT).await?;
    roll_and_trim(&second, Some(&s3)).await?;

    // What the first one has beyond the takeover stays with it, and is served by it.
    let local = setup.data.join("broker/commitlog");
    let before = segments(&local)?;
    let talk = Talk::connect(setup.ports.broker, HeaderCodec::Json).await?;
    truth.send(&talk, 6 * MESSAGES_OF_SEGMENT).await?;
    let namesrv = format!("127.0.0.1:{}", setup.ports.namesrv);
    let rolled = strata(&setup, Some(&s3), &["tier", "roll", "--now", "--namesrv", &namesrv]);
    let said = rolled.err().context("the broker that was taken over rolls on")?.to_string();
    ensure!(said.contains("another writer"), "it says: {said}");
    ensure!(
        figure(setup.ports, "strata_tier_troubled", &[]).await? > 0.5,
        "no alarm of the broker that was taken over"
    );
    let after = segments(&local)?;
    ensure!(after >= before + 5, "it had {before} segments, got 6 more, and has {after}");

    // The second one goes on, and what is listed is what it knows, each message once.
    let talk = Talk::connect(second.ports.broker, HeaderCodec::Json).await?;
    seconds.send(&talk, 2 * MESSAGES_OF_SEGMENT).await?;
    roll_and_trim(&second, Some(&s3)).await?;
    let talk = Talk::connect(second.ports.broker, HeaderCodec::Json).await?;
    let mut counts = Vec::new();
    for filter in &FILTERS {
        counts.push(seconds.check(&talk, filter).await.context("from the broker that took over")?);
    }
    let config = second.log.with_extension("conf").display().to_string();
    strata(&second, Some(&s3), &["tier", "verify", "-c", &config])?;
    ensure!(rival.stop().await?.success(), "the second broker did not end well");
    ensure!(site.stop().await?.success(), "the first broker did not end well");
    Ok(format!("{counts:?} messages by the filters; the first said: {}", said.lines().last().unwrap_or_default()))
}
