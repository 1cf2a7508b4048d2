//! More than the server can do: late requests are refused, soon, and nothing else suffers.
//!
//! Owns the cases in which the server has too little time. It is stopped for a while, which makes every
//! machine too slow by the same amount.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use strata_protocol::code::request;
use strata_protocol::frame::HeaderCodec;
use strata_tests::history::Queue;
use strata_tests::site::Site;
use strata_tests::talk::{Ask, Draft, Talk};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::starts::Yard;

/// Messages that are sent while the server does nothing: no more than the kernel takes for it meanwhile, since
/// what could not be sent has not arrived and cannot be late.
const LATE: usize = 100;

/// Three times as long as a send may wait, and shorter than a pull may.
const PAUSE: Duration = Duration::from_millis(600);

/// A server that goes on has refused all that waited within this.
const SOON: Duration = Duration::from_secs(1);

const SYSTEM_BUSY: i32 = 2;

/// Sends that waited too long are refused with SYSTEM_BUSY and not stored; heartbeats and pulls are served.
pub(crate) async fn what_waited_too_long_is_refused(yard: &mut Yard) -> Result<()> {
    let setup = yard.setup()?;
    let site = Site::start(&setup).await?;
    let talk = Arc::new(Talk::connect(setup.ports.broker, HeaderCodec::Json).await?);
    let other = Talk::connect(setup.ports.broker, HeaderCodec::Json).await?;
    let queue = Queue::new("busy", 0);
    let send = || {
        let (talk, queue) = (Arc::clone(&talk), queue.clone());
        async move { talk.send(&Draft::new(&queue, "", vec![b'x'; 100])).await }
    };
    let first = send().await?;
    ensure!(first.code == 0, "{first:?}");

    site.pause().await?;
    let ask = Ask { group: "readers", queue: &queue, offset: 0, most: 1, hold_ms: 0, commit: None };
    let mut sends = JoinSet::new();
    (0..LATE).for_each(|_| drop(sends.spawn(send())));
    let awake = async {
        sleep(PAUSE).await;
        site.wake()?;
        anyhow::Ok(Instant::now())
    };
    let beat = other.heartbeat("c", "readers", "busy");
    let (sent, beat, pulled, awake) = tokio::join!(sends.join_all(), beat, talk.pull(&ask), awake);
    let took = awake?.elapsed();
    beat.context("a heartbeat that waited")?;
    let pulled = pulled.context("a pull that waited")?;
    ensure!(pulled.code == 0, "a pull that waited {PAUSE:?} was answered with {pulled:?}");
    for answer in sent {
        let answer = answer?;
        ensure!(answer.code == SYSTEM_BUSY, "a send that waited {PAUSE:?} was answered with {answer:?}");
        ensure!(answer.remark.contains("waited"), "{answer:?}");
    }
    ensure!(took < SOON, "the last of {LATE} refusals came {took:?} after the server went on");

    // What is sent now is served, and nothing refused was stored.
    let next = send().await?;
    ensure!(next.code == 0, "{next:?}");
    ensure!(talk.range(&queue).await?.1 == 2, "refused messages were stored");
    let listed = talk.ask_raw(request::GET_CONSUMER_LIST_BY_GROUP, &[("consumerGroup", "readers")], "").await?;
    ensure!(listed.code == 0, "the heartbeat that waited had no effect: {listed:?}");
    ensure!(site.stop().await?.success(), "the server did not end well");
    Ok(())
}
