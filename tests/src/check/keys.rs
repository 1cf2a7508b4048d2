//! I11: a query by key gives all messages that have the key, and no others.
//!
//! The queues are the truth here; they are held against the producers' log elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use strata_protocol::properties::IndexTerms;
use strata_protocol::record::records;

use crate::dump::Dump;
use crate::history::Digest;
use crate::violation::Violation;

/// Records that one answer to a key query holds at most, in RocketMQ and here.
const ANSWER_MAX: usize = 64;

/// A topic, a key, and whether it is a unique key.
pub type Term = (Arc<str>, String, bool);

/// The records of each key, by their hash.
#[must_use]
pub fn expected(dump: &Dump) -> BTreeMap<Term, BTreeSet<u64>> {
    let mut expected: BTreeMap<Term, BTreeSet<u64>> = BTreeMap::new();
    for (queue, held) in &dump.queues {
        for stored in &held.stored {
            let terms = IndexTerms::of(&stored.properties);
            let keys = terms.each_key().map(|key| (key, false)).chain(terms.unique_key.map(|key| (key, true)));
            for (key, unique) in keys {
                let term = (Arc::clone(&queue.topic), key.to_owned(), unique);
                expected.entry(term).or_default().insert(stored.record);
            }
        }
    }
    expected
}

/// Compares the answer to a query with the messages that have the key.
#[must_use]
pub fn compare(term: &Term, expected: &BTreeSet<u64>, answer: &[u8]) -> Option<Violation> {
    let (topic, key, _) = term;
    let wrong = |what: String| Some(Violation::Key { topic: Arc::clone(topic), key: key.clone(), what });
    let mut found = BTreeSet::new();
    for record in records(answer) {
        match record {
            Ok(record) => {
                if !found.insert(Digest::of(record.bytes()).hash) {
                    return wrong(format!("the message at position {} comes twice", record.physical_offset()));
                }
            }
            Err(error) => return wrong(format!("the answer holds bytes that are no record: {error}")),
        }
    }
    let foreign = found.difference(expected).count();
    if foreign > 0 {
        return wrong(format!("{foreign} messages that do not have the key"));
    }
    let wanted = expected.len().min(ANSWER_MAX);
    if found.len() < wanted {
        return wrong(format!("{} of {wanted} messages", found.len()));
    }
    None
}
