//! Locks of orderly consumers.

use std::sync::Arc;

use strata_protocol::body::{LockQueues, LockedQueues};
use strata_protocol::command::Command;
use strata_protocol::reply::Reply;

use super::{body, document};
use crate::hall::Hall;
use crate::limits::LOCK_QUEUES_MAX;
use crate::refusal::Refusal;

fn request(command: &Command) -> Result<LockQueues, Refusal> {
    let request: LockQueues = body(command)?;
    if request.mq_set.len() > LOCK_QUEUES_MAX {
        return Err(Refusal::TooMany { what: "queues in a lock request", limit: LOCK_QUEUES_MAX });
    }
    Ok(request)
}

/// Answers 41.
pub(super) fn lock(hall: &Arc<Hall>, command: &Command) -> Result<Reply, Refusal> {
    let LockQueues { consumer_group, client_id, mq_set, .. } = request(command)?;
    // A client's heartbeat made its group known before it locks anything.
    if hall.tables.groups.find(&consumer_group).is_none() {
        return Err(Refusal::NoGroup { group: consumer_group });
    }
    let locked = hall.locks.lock(&consumer_group, &client_id, mq_set, hall.elapsed_ms());
    document(&LockedQueues { locked })
}

/// Answers 42.
pub(super) fn unlock(hall: &Arc<Hall>, command: &Command) -> Result<Reply, Refusal> {
    let request = request(command)?;
    hall.locks.unlock(&request.consumer_group, &request.client_id, &request.mq_set);
    Ok(Reply::success())
}
