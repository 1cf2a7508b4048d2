//! Reads for consumers: the one place that will know both tiers. Today there is the local log.

use strata_filter::Filter;
use strata_store::{Keep, Read, ReadBudget};

use crate::hall::Hall;
use crate::limits::PULL_SCAN_ENTRIES_MAX;
use crate::waiting::PullPlan;

struct Sieve<'a>(&'a Filter);

impl Keep for Sieve<'_> {
    fn by_tag(&mut self, tags_code: i64) -> bool {
        self.0.matches_code(tags_code)
    }

    fn by_record(&mut self, record: &[u8]) -> bool {
        self.0.matches_record(record)
    }
}

/// Reads what a pull asks for. Without `wait`, a read of what is on disk only ends as cold.
pub(crate) fn read(hall: &Hall, plan: &PullPlan, wait: bool) -> Read {
    let budget = ReadBudget {
        messages_max: plan.messages_max,
        bytes_max: plan.bytes_max,
        scan_entries_max: PULL_SCAN_ENTRIES_MAX,
        wait,
        ..ReadBudget::default()
    };
    hall.store.read(&plan.topic, plan.queue_id, plan.offset, &budget, &mut Sieve(&plan.filter))
}
