//! The cold tier's state, and rolling on demand: requests of Strata's own, for `strata tier`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::Serialize;
use strata_protocol::command::Command;
use strata_protocol::reply::Reply;
use strata_protocol::request::TierRoll;
use strata_remoting::{Answer, Connection};
use strata_tiering::bucket::BreakerState;

use super::{document, header, later};
use crate::cold::{Cold, Done, Figures, Open, Rolling, Round, UpkeepDone};
use crate::hall::Hall;
use crate::refusal::Refusal;
use crate::retention::keep_text;

/// What 9001 tells.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    broker: String,
    /// Whether there is a tier; without one the rest is left out.
    configured: bool,
    #[serde(flatten)]
    tier: Option<Tier>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Tier {
    /// Without credentials.
    url: String,
    single_writer: bool,
    /// Why the last try of opening or of rolling failed.
    trouble: Option<String>,
    /// What the manifest lists; nobody knows while the tier is not open.
    listed: Option<Listed>,
    local: Local,
    /// The roll under way.
    rolling: Option<Way>,
    since_start: Counters,
    breaker: &'static str,
    /// How long messages of topics without a rule of their own are kept.
    retention: String,
    upkeep: Upkeep,
}

/// What keeps the tier in order.
#[derive(Debug, Serialize)]
struct Upkeep {
    #[serde(flatten)]
    done: UpkeepDone,
    /// Why the last try failed.
    trouble: Option<String>,
}

/// What the manifest lists.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    epoch: u64,
    /// What the store makes of conditional puts.
    puts: String,
    rolls: usize,
    objects: u64,
    bytes: u64,
    messages: u64,
    /// Log offsets.
    from: Option<u64>,
    to: Option<u64>,
}

/// The log on the local disk.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Local {
    from: i64,
    to: i64,
    /// Bytes of records that are not listed yet, those of the active segment included.
    waiting_bytes: i64,
    waiting_segments: u64,
    waiting_sealed_bytes: i64,
}

#[derive(Debug, Serialize)]
struct Way {
    from: i64,
    to: i64,
    bytes: u64,
    done: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Counters {
    rolls: u64,
    rolled_messages: u64,
    rolled_bytes: u64,
    roll_failures: u64,
    reads: u64,
    read_messages: u64,
    read_failures: u64,
    /// What cold reads asked the store for.
    fetched_bytes: u64,
    fetched_requests: u64,
    /// All that was said to the store.
    store_calls: u64,
    store_failures: u64,
    store_retries: u64,
    store_bytes_read: u64,
    store_bytes_sent: u64,
    store_given_up: u64,
}

/// What 9002 tells.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Rolled {
    broker: String,
    /// Log offset up to which everything is listed now.
    listed_to: Option<i64>,
    rolls: u64,
    messages: u64,
    bytes: u64,
    failure: Option<String>,
}

/// Answers 9001.
pub(super) fn status(hall: &Arc<Hall>) -> Result<Reply, Refusal> {
    let tier = hall.cold.as_ref().map(|cold| tier_of(hall, cold));
    document(&Status { broker: hall.options.identity.name.clone(), configured: tier.is_some(), tier })
}

fn tier_of(hall: &Hall, cold: &Cold) -> Tier {
    let figures = cold.figures();
    let listed = cold.opened().zip(figures.manifest.as_ref()).map(|(open, manifest)| {
        let totals = manifest.totals();
        Listed {
            epoch: open.tier.epoch(),
            puts: open.tier.puts().to_string(),
            rolls: manifest.rolls().len(),
            objects: totals.objects,
            bytes: totals.bytes,
            messages: totals.rows,
            from: manifest.start(),
            to: manifest.end(),
        }
    });
    let ((from, to), waiting) = (hall.store.log_range(), figures.waiting);
    let progress = &cold.progress;
    let rolling = *progress.rolling.lock();
    let done = progress.walked_bytes.load(Ordering::Relaxed);
    Tier {
        url: cold.bucket().to_string(),
        single_writer: cold.settings().single_writer,
        trouble: progress.trouble.lock().clone(),
        listed,
        local: Local {
            from,
            to,
            waiting_bytes: waiting.bytes,
            waiting_segments: waiting.segments,
            waiting_sealed_bytes: waiting.sealed_bytes,
        },
        rolling: rolling.map(|Rolling { from, to, bytes }| Way { from, to, bytes, done: done.min(bytes) }),
        since_start: counters(&figures),
        breaker: match figures.store.breaker {
            BreakerState::Closed => "closed",
            BreakerState::HalfOpen => "half-open",
            BreakerState::Open => "open",
        },
        retention: keep_text(cold.settings().keep),
        upkeep: Upkeep { done: figures.upkeep, trouble: progress.upkeep.trouble.lock().clone() },
    }
}

fn counters(figures: &Figures) -> Counters {
    let Done { rolls, rolled_messages, rolled_bytes, roll_failures, reads, read_messages, read_failures } =
        figures.done;
    let store = &figures.store;
    Counters {
        rolls,
        rolled_messages,
        rolled_bytes,
        roll_failures,
        reads,
        read_messages,
        read_failures,
        fetched_bytes: figures.fetched_bytes,
        fetched_requests: figures.fetched_requests,
        store_calls: store.calls.iter().map(|calls| calls.calls).sum(),
        store_failures: store.calls.iter().map(|calls| calls.failures).sum(),
        store_retries: store.calls.iter().map(|calls| calls.retries).sum(),
        store_bytes_read: store.bytes_read,
        store_bytes_sent: store.bytes_sent,
        store_given_up: store.breaker_opened,
    }
}

/// The tier, if there is one that is open.
pub(super) fn open_tier(hall: &Hall) -> Result<(Arc<Cold>, Arc<Open>), Refusal> {
    let cold = Arc::clone(hall.cold.as_ref().ok_or(Refusal::NoTier)?);
    let open = cold.opened().ok_or_else(|| {
        let trouble = cold.progress.trouble.lock().clone();
        Refusal::Cold { reason: trouble.unwrap_or_else(|| String::from("it is not open yet")) }
    })?;
    Ok((cold, open))
}

/// Answers 9002 when the round is over. A store that is down lets it wait, so that nothing else does.
pub(super) fn roll(hall: &Arc<Hall>, command: &Command, connection: &Arc<Connection>) -> Result<Answer, Refusal> {
    let request: TierRoll = header(command)?;
    let (cold, _) = open_tier(hall)?;
    let broker = hall.options.identity.name.clone();
    Ok(later(hall, command, connection, async move {
        let round = cold.roll_now(request.seal.unwrap_or(false)).await;
        let round = round.ok_or_else(|| Refusal::Broken { reason: String::from("the broker stops") })?;
        let Round { copied_to, rolls, messages, bytes, failure } = round;
        let listed_to = (copied_to >= 0).then_some(copied_to);
        document(&Rolled { broker, listed_to, rolls, messages, bytes, failure })
    }))
}
