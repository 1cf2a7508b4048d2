//! Keeping the cold tier in order on demand: a request of Strata's own, for `strata tier gc`.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use strata_protocol::command::Command;
use strata_protocol::request::TierGc;
use strata_remoting::{Answer, Connection};
use strata_tiering::collect::Garbage;

use super::tier::open_tier;
use super::{document, header, later};
use crate::cold::{Cold, Open, Tidied};
use crate::hall::Hall;
use crate::limits::GRACE_SECONDS_MIN;
use crate::refusal::Refusal;

/// What 9003 tells.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Collected {
    broker: String,
    /// Nothing was changed; what is told as deleted would be.
    dry_run: bool,
    grace_seconds: u64,
    expired_rolls: usize,
    expired_topics: usize,
    merges: u64,
    deleted_objects: usize,
    deleted_bytes: u64,
    /// What nobody needs and is not due yet.
    waiting_objects: usize,
    waiting_bytes: u64,
    unknown_objects: usize,
    failure: Option<String>,
}

/// Answers 9003 when the round is over.
pub(super) fn collect(hall: &Arc<Hall>, command: &Command, connection: &Arc<Connection>) -> Result<Answer, Refusal> {
    let request: TierGc = header(command)?;
    let (cold, open) = open_tier(hall)?;
    let grace_s = match request.grace_seconds {
        None => cold.settings().grace_s,
        Some(asked) => {
            let grace_s = u64::try_from(asked).ok().filter(|asked| *asked >= GRACE_SECONDS_MIN);
            grace_s.ok_or(Refusal::Grace { asked, min: GRACE_SECONDS_MIN })?
        }
    };
    let (broker, dry_run) = (hall.options.identity.name.clone(), request.dry_run.unwrap_or(false));
    Ok(later(hall, command, connection, async move {
        let grace = Duration::from_secs(grace_s);
        let told = if dry_run { survey(&cold, &open, grace).await } else { cold.tidy_now(grace).await };
        let told = told.ok_or_else(|| Refusal::Broken { reason: String::from("the broker stops") })?;
        let Tidied { expired_rolls, expired_topics, merges, deleted, unknown, failure } = told;
        document(&Collected {
            broker,
            dry_run,
            grace_seconds: grace_s,
            expired_rolls,
            expired_topics,
            merges,
            deleted_objects: deleted.objects,
            deleted_bytes: deleted.bytes,
            waiting_objects: deleted.waiting,
            waiting_bytes: deleted.waiting_bytes,
            unknown_objects: unknown,
            failure,
        })
    }))
}

/// What a round would delete.
async fn survey(cold: &Cold, open: &Open, grace: Duration) -> Option<Tidied> {
    let bytes = |all: &[Garbage]| all.iter().map(|garbage| garbage.bytes).sum();
    Some(match cold.survey(open, grace).await {
        Ok(survey) => Tidied {
            deleted: strata_tiering::collect::Collected {
                objects: survey.due.len(),
                bytes: bytes(&survey.due),
                waiting: survey.waiting.len(),
                waiting_bytes: bytes(&survey.waiting),
            },
            unknown: survey.unknown.len(),
            ..Tidied::default()
        },
        Err(error) => Tidied { failure: Some(error.to_string()), ..Tidied::default() },
    })
}
