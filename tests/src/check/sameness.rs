//! I14: two looks at the same bytes give the same answers.
//!
//! Between the looks nothing was sent. Delayed messages may still have come to their topics, so a queue may
//! have grown by those; what the first look saw must be there unchanged.

use crate::dump::{Dump, QueueDump};
use crate::history::Queue;
use crate::violation::Violation;

/// What differs from `first` in `second`; queues for which `may_grow` holds may have more at their end.
#[must_use]
pub fn compare(first: &Dump, second: &Dump, may_grow: impl Fn(&Queue) -> bool) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (queue, before) in &first.queues {
        let empty = QueueDump::default();
        let after = second.queues.get(queue).unwrap_or(&empty);
        let mut differs = |what: String| violations.push(Violation::Recovery { queue: queue.clone(), what });
        if before.min != after.min {
            differs(format!("it began at {} and begins at {}", before.min, after.min));
        }
        let grown = after.max > before.max && may_grow(queue);
        if before.max != after.max && !grown {
            differs(format!("it ended at {} and ends at {}", before.max, after.max));
        }
        for stored in &before.stored {
            if after.at(stored.offset) != Some(stored) {
                let now = after
                    .at(stored.offset)
                    .map_or_else(|| after.absence(stored.offset), |now| format!("{:?}", now.ticket));
                differs(format!("{:?} was at offset {}, now: {now}", stored.ticket, stored.offset));
            }
        }
        for offset in after.unreadable.keys().filter(|offset| !before.unreadable.contains_key(offset)) {
            differs(format!("offset {offset} was readable"));
        }
    }
    violations
}
