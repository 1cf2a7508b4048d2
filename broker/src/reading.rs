//! Reads for consumers: the one place that will know both tiers. Today there is the local log.
//!
//! Owns how much of a queue one pull may look at, and where.

use std::time::Duration;

use strata_store::{Read, ReadBudget, ReadStatus};

use crate::hall::Hall;
use crate::limits::{LAG_QUEUE_MS_MAX, PULL_AT_ONCE_US_MAX, PULL_SCAN_BYTES_MAX, PULL_SCAN_MS_MAX};
use crate::sieve::{Count, Sieve, Sifter, Until};
use crate::waiting::PullPlan;

/// Where a read is done, which says how long it may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Among the connections: it does not wait for the disk, and ends soon.
    Here,
    /// In a turn of its own.
    Turn,
}

/// Reads what a pull asks for. A read [`Place::Here`] of what is on disk only ends as cold; one that finds nothing
/// ends when its time is over.
pub(crate) fn read(hall: &Hall, plan: &PullPlan, place: Place) -> Read {
    let took = match place {
        Place::Here => Duration::from_micros(PULL_AT_ONCE_US_MAX),
        Place::Turn => Duration::from_millis(PULL_SCAN_MS_MAX),
    };
    let budget = ReadBudget {
        messages_max: plan.messages_max,
        bytes_max: plan.bytes_max,
        // The time bounds the entries.
        scan_entries_max: usize::MAX,
        scan_bytes_max: PULL_SCAN_BYTES_MAX,
        wait: place == Place::Turn,
    };
    let mut sieve = Sieve { sifter: &plan.sifter, until: until(hall, took), failed: 0, failure: None };
    let read = hall.store.read(&plan.topic, plan.queue_id, plan.seen, &budget, &mut sieve);
    if let Some(failure) = sieve.failure {
        hall.figures.trouble.failed((&plan.group, &plan.topic), sieve.failed, &failure);
    }
    read
}

fn until(hall: &Hall, took: Duration) -> Until<'_> {
    Until { clock: &*hall.clock, end: hall.clock.monotonic() + took }
}

/// How many messages of a part of a queue a group is to get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Matching {
    pub messages: i64,
    /// Not all were looked at; the others are taken to match as often as those.
    pub is_estimate: bool,
}

/// Counts the messages from `from` up to `to` that are let through, without waiting for the disk.
pub(crate) fn count(hall: &Hall, sifter: &Sifter, (topic, queue_id): (&str, i32), (from, to): (i64, i64)) -> Matching {
    if sifter.is_open() {
        return Matching { messages: (to - from).max(0), is_estimate: false };
    }
    // Of what is gone nobody knows whether it was wanted, and nobody gets it. What is in the cold tier alone is not looked
    // at: it is taken to match as often as what is here.
    let from = hall.range(topic, queue_id).map_or(from, |range| from.max(range.min));
    let all = (to - from).max(0);
    let from = hall.store.queue_range(topic, queue_id).map_or(from, |range| from.max(range.min));
    if all == 0 {
        return Matching { messages: 0, is_estimate: false };
    }
    let Some(here) = usize::try_from(to - from).ok().filter(|here| *here > 0) else {
        return Matching::of(0, 0, all);
    };
    let until = until(hall, Duration::from_millis(LAG_QUEUE_MS_MAX));
    let mut count = Count { sifter, until, matches: 0 };
    let budget = ReadBudget {
        scan_entries_max: here,
        scan_bytes_max: PULL_SCAN_BYTES_MAX,
        wait: false,
        ..ReadBudget::default()
    };
    let read = hall.store.read(topic, queue_id, from, &budget, &mut count);
    let is_read = matches!(read.status, ReadStatus::Found | ReadStatus::NoMatch);
    let looked_at = if is_read { (read.next_offset - from).clamp(0, all) } else { 0 };
    Matching::of(i64::try_from(count.matches).unwrap_or(i64::MAX), looked_at, all)
}

impl Matching {
    /// Of `looked_at` messages `matches` match, and there are `all`.
    fn of(matches: i64, looked_at: i64, all: i64) -> Self {
        if looked_at >= all {
            return Self { messages: matches, is_estimate: false };
        }
        // Of nothing that is known, everything may match.
        let share = if looked_at == 0 { 1.0 } else { matches as f64 / looked_at as f64 };
        #[expect(clippy::cast_possible_truncation, reason = "a share of a count of messages")]
        let others = ((all - looked_at) as f64 * share).round() as i64;
        Self { messages: matches.min(looked_at) + others, is_estimate: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_looked_at_is_taken_to_match_as_often() {
        assert_eq!(Matching::of(3, 10, 10), Matching { messages: 3, is_estimate: false });
        assert_eq!(Matching::of(3, 10, 100), Matching { messages: 30, is_estimate: true });
        assert_eq!(Matching::of(0, 0, 7), Matching { messages: 7, is_estimate: true });
        assert_eq!(Matching::of(0, 5, 7), Matching { messages: 0, is_estimate: true });
    }
}
