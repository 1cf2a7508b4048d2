//! What a replay cost the cold tier, as the brokers count it.

use serde::{Deserialize, Serialize};
use strata_protocol::code::request;
use strata_protocol::command::Command;

use crate::cluster::{Cluster, Master, document};
use crate::exit::Outcome;

/// The answer of a broker about its tier, as far as it is used here.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    since_start: Option<Counters>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Counters {
    reads: u64,
    fetched_requests: u64,
    fetched_bytes: u64,
}

/// What brokers read of their tiers, for all readers together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TierReads {
    /// Pulls answered out of the tier.
    pub(super) pulls: u64,
    /// Requests to the store for parts of objects; what a cache had needs none.
    pub(super) requests: u64,
    /// Bytes that they asked for.
    pub(super) bytes: u64,
}

impl TierReads {
    /// What was read since `before`. A broker that started anew counts from zero.
    pub(super) fn since(self, before: Self) -> Self {
        Self {
            pulls: self.pulls.saturating_sub(before.pulls),
            requests: self.requests.saturating_sub(before.requests),
            bytes: self.bytes.saturating_sub(before.bytes),
        }
    }
}

/// What the brokers count up to now; `None` when none of them has a tier.
pub(super) async fn reads(cluster: &mut Cluster, masters: &[Master]) -> Outcome<Option<TierReads>> {
    let mut all: Option<TierReads> = None;
    for master in masters {
        // A broker that is not Strata's does not know the question.
        let Ok(answer) = cluster.ask(master, Command::request(request::TIER_STATUS)).await else { continue };
        let Some(Counters { reads, fetched_requests, fetched_bytes }) = document::<Status>(&answer)?.since_start else {
            continue;
        };
        let sum = all.get_or_insert_default();
        sum.pulls += reads;
        sum.requests += fetched_requests;
        sum.bytes += fetched_bytes;
    }
    Ok(all)
}
