//! Reads out of the cold tier, answered as the log answers.

use std::sync::atomic::Ordering;

use strata_filter::sql::EvalError;
use strata_store::{QueueRange, Read, ReadStatus};
use strata_tiering::cold::{Ask, ColdRead, ColdStatus};

use super::Cold;
use super::sieve::ColdSieve;
use crate::waiting::PullPlan;

/// What came of a cold read.
pub(crate) enum Outcome {
    /// The answer.
    Read(Read),
    /// The log has the offset.
    InLog,
}

/// Reads what a pull asks for out of the tier. `failed` is told of expressions that fail.
pub(crate) async fn read_cold(
    cold: &Cold,
    plan: &PullPlan,
    hot: QueueRange,
    failed: impl FnOnce(u64, &EvalError),
) -> Outcome {
    let bounds = (cold.begin(&plan.topic, plan.queue_id, hot).unwrap_or(hot.min), hot.max);
    let unavailable = |next| nothing(ReadStatus::Unavailable { from: 0, to: 0 }, next, bounds);
    let Some(open) = cold.opened() else { return Outcome::Read(unavailable(plan.seen)) };
    let ask = Ask {
        topic: &plan.topic,
        queue_id: plan.queue_id,
        offset: plan.seen,
        messages_max: plan.messages_max,
        bytes_max: plan.bytes_max,
    };
    let sieve = ColdSieve::of(&plan.sifter);
    let read = open.tier.cold().read(&ask, &sieve).await;
    if let Some((count, failure)) = sieve.failure() {
        failed(count, &failure);
    }
    let progress = &cold.progress;
    match read {
        Ok(read) => {
            progress.reads.fetch_add(1, Ordering::Relaxed);
            progress.read_messages.fetch_add(read.messages as u64, Ordering::Relaxed);
            answer(read, bounds)
        }
        Err(error) => {
            progress.read_failures.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(%error, topic = &*plan.topic, queue_id = plan.queue_id, offset = plan.seen, "a cold read failed");
            Outcome::Read(unavailable(plan.seen))
        }
    }
}

fn nothing(status: ReadStatus, next_offset: i64, (min, max): (i64, i64)) -> Read {
    Read { status, slices: Vec::new(), messages: 0, bytes: 0, next_offset, min, max }
}

fn answer(read: ColdRead, (min, max): (i64, i64)) -> Outcome {
    let status = match read.status {
        ColdStatus::Found => ReadStatus::Found,
        ColdStatus::NoMatch => ReadStatus::NoMatch,
        ColdStatus::BeforeBegin => ReadStatus::BeforeBegin,
        ColdStatus::Lost => ReadStatus::Damaged { from: 0, to: 0 },
        ColdStatus::PastEnd => return Outcome::InLog,
    };
    let ColdRead { slices, messages, bytes, next_offset, .. } = read;
    Outcome::Read(Read { status, slices, messages, bytes, next_offset, min, max })
}
