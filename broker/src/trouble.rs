//! What went wrong with groups' expressions: counts for the figures, and a warning once for each group and cause.
//!
//! Owns the counts and which warnings were given. A message that is not delivered because its expression failed on
//! it looks like one that does not match; only this tells them apart.

use std::collections::{BTreeMap, HashSet};

use parking_lot::Mutex;
use strata_filter::Filter;
use strata_filter::sql::EvalError;
use tracing::warn;

use crate::filters::NoFilter;
use crate::limits::{FILTER_GROUPS_MAX, FILTER_WARNINGS_MAX};

/// Of one group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Expressions that were refused.
    pub refused: u64,
    /// Messages on which an expression failed.
    pub failed: u64,
}

/// Of all groups.
#[derive(Default)]
pub(crate) struct Trouble {
    groups: Mutex<BTreeMap<String, Counts>>,
    /// Group and cause of the warnings that were given.
    warned: Mutex<HashSet<(String, String)>>,
}

impl Trouble {
    /// An expression of a group for a topic was refused.
    pub(crate) fn refused(&self, (group, topic): (&str, &str), error: &NoFilter) {
        self.count(group, |counts| counts.refused += 1);
        if self.is_first(group, &error.to_string()) {
            warn!(group, topic, %error, "a subscription's expression is refused: the group gets nothing of the topic");
        }
    }

    /// An expression compiled; what of it is never read is told.
    pub(crate) fn compiled(&self, (group, topic): (&str, &str), filter: &Filter) {
        let Filter::Sql(expression) = filter else { return };
        let ignored = expression.ignored();
        if !ignored.is_empty() && self.is_first(group, &format!("ignored {ignored}")) {
            let text = expression.text();
            warn!(group, topic, text, ignored, "the end of a subscription's expression is ignored, as RocketMQ does");
        }
    }

    /// An expression failed on `messages` messages, which are not delivered.
    pub(crate) fn failed(&self, (group, topic): (&str, &str), messages: u64, error: &EvalError) {
        self.count(group, |counts| counts.failed += messages);
        if self.is_first(group, &error.to_string()) {
            let hint = "see strata filter explain";
            warn!(group, topic, %error, hint, "a subscription's expression fails on messages: they are not delivered");
        }
    }

    /// A group was deleted: what was counted of it goes.
    pub(crate) fn forget_group(&self, group: &str) {
        self.groups.lock().remove(group);
        self.warned.lock().retain(|(of, _)| of != group);
    }

    /// The counts of all groups that had trouble.
    pub(crate) fn all(&self) -> Vec<(String, Counts)> {
        self.groups.lock().iter().map(|(group, counts)| (group.clone(), *counts)).collect()
    }

    fn count(&self, group: &str, add: impl FnOnce(&mut Counts)) {
        let mut groups = self.groups.lock();
        if let Some(counts) = groups.get_mut(group) {
            add(counts);
        } else if groups.len() < FILTER_GROUPS_MAX {
            add(groups.entry(group.to_owned()).or_default());
        }
    }

    /// Whether a warning is due. When too many were given, no further one is.
    fn is_first(&self, group: &str, cause: &str) -> bool {
        let mut warned = self.warned.lock();
        let key = (group.to_owned(), cause.to_owned());
        if warned.len() >= FILTER_WARNINGS_MAX || !warned.insert(key) {
            return false;
        }
        if warned.len() == FILTER_WARNINGS_MAX {
            warn!(warnings = FILTER_WARNINGS_MAX, "no more warnings about expressions are logged; the figures go on");
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_trouble_counts_and_each_cause_is_told_once() {
        let trouble = Trouble::default();
        let off = NoFilter::Off { kind: "SQL92".into() };
        for topic in ["T", "U"] {
            trouble.refused(("g", topic), &off);
        }
        trouble.refused(("h", "T"), &NoFilter::ByClass);
        assert_eq!(
            trouble.all(),
            [("g", 2), ("h", 1)].map(|(group, refused)| (group.to_owned(), Counts { refused, failed: 0 }))
        );
        assert!(!trouble.is_first("g", &off.to_string()) && trouble.is_first("h", &off.to_string()));
        trouble.forget_group("g");
        assert!(trouble.is_first("g", &off.to_string()), "a new group of the name is told again");
        assert_eq!(trouble.all().len(), 1);
    }

    #[test]
    fn warnings_end_and_counts_go_on() {
        let trouble = Trouble::default();
        for number in 0..FILTER_WARNINGS_MAX {
            assert!(trouble.is_first("g", &number.to_string()));
        }
        assert!(!trouble.is_first("g", "another"));
        trouble.refused(("g", "T"), &NoFilter::ByClass);
        assert_eq!(trouble.all()[0].1.refused, 1);
    }
}
