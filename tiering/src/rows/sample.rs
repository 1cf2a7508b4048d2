//! Which properties of a roll get a column of their own.
//!
//! Owns the choice alone: a sample of records goes in, names come out. Ids are the manifest's.

use std::collections::{BTreeMap, HashMap, HashSet};

use strata_protocol::properties::{
    KEYS, ORIGIN_MESSAGE_ID, POP_CK, Properties, TAGS, TIMER_DELIVER_MS, TRAN_PREPARED_QUEUE_OFFSET, TRANSACTION_ID,
    UNIQ_KEY,
};
use strata_protocol::record::properties_of;

use crate::limits::PROPERTY_COLUMNS_MAX;

/// A property gets a column if one of so many records has it: fewer rows than that are read as fast from the map.
const ONE_OF: usize = 8;

/// Bytes of a name that becomes a column's; longer ones are no names that anybody types into a query.
const NAME_BYTES_MAX: usize = 64;

/// Names that the manifest keeps. Producers that make up names would let it grow for good; from here on only known
/// names become columns.
const KNOWN_NAMES_MAX: usize = 1_024;

/// Properties that have no column of their own whoever has them. The first three have a column in every roll. The others
/// are written by clients and brokers for themselves, differ from message to message, so that a dictionary of them is as
/// long as the column, and no subscription asks for them: a message is looked for by its id or its keys. As entries of
/// the map they can still be asked for.
const NEVER: &[&str] = &[
    UNIQ_KEY,
    KEYS,
    TAGS,
    ORIGIN_MESSAGE_ID,
    POP_CK,
    TIMER_DELIVER_MS,
    TRAN_PREPARED_QUEUE_OFFSET,
    TRANSACTION_ID,
    // Of requests and their replies, and of delayed and popped messages.
    "CORRELATION_ID",
    "ARRIVE_TIME",
    "PUSH_REPLY_TIME",
    "TIMER_OUT_MS",
    "TIMER_ENQUEUE_MS",
    "TIMER_DEQUEUE_MS",
    "__STARTDELIVERTIME",
    "1ST_POP_TIME",
    // The context of a trace names the message's own span.
    "traceparent",
    "__BORNHOST",
];

/// The properties that at least every eighth of the sampled records has, most frequent first, those of the manifest
/// first among equals.
///
/// An empty value is none. Names that are not UTF-8, longer than 64 bytes or hold control characters are left out, and
/// of names that differ in the case of letters alone all but the first: most engines do not tell such columns apart.
/// Bytes that are no record are passed over.
#[must_use]
pub fn choose<'a>(records: impl Iterator<Item = &'a [u8]>, known: &BTreeMap<String, i32>) -> Vec<String> {
    let mut sampled = 0_usize;
    // Each name with the records that have it and the last one of them, so that none counts twice.
    let mut counts: HashMap<&[u8], (usize, usize)> = HashMap::new();
    for text in records.filter_map(properties_of) {
        sampled += 1;
        for (name, _) in Properties::of(text).filter(|(_, value)| !value.is_empty()) {
            let (count, last) = counts.entry(name).or_default();
            if *last != sampled {
                (*count, *last) = (*count + 1, sampled);
            }
        }
    }
    let may_be_new = known.len() < KNOWN_NAMES_MAX;
    let mut chosen: Vec<(usize, bool, &str)> = counts
        .iter()
        .filter(|(_, (count, _))| count * ONE_OF >= sampled)
        .filter_map(|(name, (count, _))| {
            let name = std::str::from_utf8(name).ok()?;
            let is_known = known.contains_key(name);
            (is_column_name(name) && (is_known || may_be_new)).then_some((*count, is_known, name))
        })
        .collect();
    chosen.sort_unstable_by(|a, b| (b.0, b.1).cmp(&(a.0, a.1)).then_with(|| a.2.cmp(b.2)));
    let mut folded = HashSet::new();
    chosen.retain(|(_, _, name)| folded.insert(name.to_lowercase()));
    chosen.into_iter().take(PROPERTY_COLUMNS_MAX).map(|(_, _, name)| name.to_owned()).collect()
}

fn is_column_name(name: &str) -> bool {
    name.len() <= NAME_BYTES_MAX && !name.chars().any(char::is_control) && !NEVER.contains(&name)
}
