//! Retention: which rolls, and which topics' messages in them, are kept no longer.
//!
//! Owns the rule alone, as a pure function of the manifest, of what its rolls hold, and of a time. A roll goes when every
//! topic in it is past its retention; where others need it, a topic's messages in it are made to disappear.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::index::Index;
use crate::limits::EXPIRE_TOPICS_MAX;
use crate::manifest::{Edit, Manifest, Roll, RollKey};

/// How long messages are kept. What is past any bound goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Keep {
    /// Milliseconds since they were stored; `None` for ever.
    pub time_ms: Option<u64>,
    /// Bytes of a topic in objects, about; `None` for any number.
    pub bytes: Option<u64>,
}

/// How long the messages of topics are kept.
#[derive(Debug, Clone)]
pub struct Retention<F> {
    /// Those of topics that have no rule of their own.
    pub default: Keep,
    /// A topic's own rule.
    pub topics: F,
    /// No rule lets go of a message that is younger, ms, so that what younger rolls hold need not be known. `None` where
    /// that cannot be said, as when bytes are bounded.
    pub youngest_ms: Option<u64>,
}

impl<F: Fn(&str) -> Option<Keep>> Retention<F> {
    fn of(&self, topic: &str) -> Keep {
        (self.topics)(topic).unwrap_or(self.default)
    }

    /// How many rolls, from the oldest on, may hold what goes. The log's times do not go back, but for a clock that was
    /// wrong, which is why it is not halved for them.
    pub(crate) fn old_enough(&self, rolls: &[Arc<Roll>], now_ms: i64) -> usize {
        let Some(youngest_ms) = self.youngest_ms else { return rolls.len() };
        let is_old = |roll: &Arc<Roll>| age_ms(roll, now_ms) > youngest_ms;
        rolls.iter().rposition(is_old).map_or(0, |last| last + 1)
    }
}

/// What a roll holds, topic by topic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    topics: Vec<Share>,
}

/// A topic's part of a roll.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Share {
    topic: Box<str>,
    /// Bytes of objects, by its rows in each.
    bytes: u64,
}

impl Contents {
    /// What an index tells.
    #[must_use]
    pub fn of(roll: &Roll, index: &Index) -> Self {
        let mut topics: Vec<(Box<str>, u64, u64)> = Vec::new();
        for (topic, _, span) in index.queues().filter(|(_, _, span)| span.rows > 0) {
            let end = span.row + u64::from(span.rows);
            match topics.last_mut() {
                Some((known, _, to)) if **known == *topic => *to = end,
                _ => topics.push((topic.into(), span.row, end)),
            }
        }
        let shares = topics.into_iter().map(|(topic, from, to)| Share { topic, bytes: bytes_of(roll, from, to) });
        Self { topics: shares.collect() }
    }
}

/// The bytes of rows of a roll, as if all rows of an object had the same.
fn bytes_of(roll: &Roll, from: u64, to: u64) -> u64 {
    let (mut first, mut bytes) = (0_u64, 0);
    for object in &roll.objects {
        let end = first.saturating_add(object.rows);
        let rows = to.min(end).saturating_sub(from.max(first));
        let share = u128::from(object.bytes) * u128::from(rows) / u128::from(object.rows.max(1));
        bytes += u64::try_from(share).unwrap_or(u64::MAX);
        first = end;
    }
    bytes
}

fn age_ms(roll: &Roll, now_ms: i64) -> u64 {
    u64::try_from(now_ms.saturating_sub(roll.last_time)).unwrap_or(0)
}

/// A topic on the way from the newest roll to the oldest.
#[derive(Debug, Clone, Copy)]
struct Topic {
    keep: Keep,
    floor: u64,
    /// Bytes of it in newer rolls.
    kept: u64,
    /// The rolls before this place hold nothing of it that is kept.
    past: usize,
}

/// The edits that remove what is past its retention: first the oldest rolls, as far as nobody needs them, then topics in
/// rolls that others need. `contents` are what the rolls of the manifest hold, in their order; those behind the last one
/// of it are kept.
///
/// A roll's messages are as young as its youngest, and a topic is never made smaller than its bound: what goes is past
/// it, and what is past it goes with its roll.
#[must_use]
pub fn what_expires<F: Fn(&str) -> Option<Keep>>(
    manifest: &Manifest,
    contents: &[Arc<Contents>],
    retention: &Retention<F>,
    now_ms: i64,
) -> Vec<Edit> {
    let rolls = manifest.rolls();
    let mut topics: HashMap<&str, Topic> = HashMap::new();
    // The rolls before this place are needed by nobody.
    let mut free = rolls.len().min(contents.len());
    for (at, (roll, contents)) in rolls.iter().zip(contents).enumerate().rev() {
        let mut is_needed = false;
        for share in &contents.topics {
            let topic = topics.entry(&share.topic).or_insert_with(|| {
                let (keep, floor) = (retention.of(&share.topic), manifest.floor_of(&share.topic));
                Topic { keep, floor, kept: 0, past: 0 }
            });
            if roll.to <= topic.floor || topic.past > 0 {
                continue;
            }
            if topic.is_past(roll, now_ms) {
                topic.past = at + 1;
            } else {
                topic.kept = topic.kept.saturating_add(share.bytes);
                is_needed = true;
            }
        }
        if is_needed {
            free = at;
        }
    }
    // The newest roll tells where queues end, for a broker that is made from the bucket alone; what expires in it is only
    // made to disappear until a newer one comes.
    let free = free.min(rolls.len().saturating_sub(1));
    // A roll without messages tells what was lost; it goes when one behind it goes.
    let free = contents.iter().take(free).rposition(|contents| !contents.topics.is_empty()).map_or(0, |last| last + 1);
    edits(rolls, free, &topics)
}

impl Topic {
    fn is_past(&self, roll: &Roll, now_ms: i64) -> bool {
        self.keep.time_ms.is_some_and(|max| age_ms(roll, now_ms) > max)
            || self.keep.bytes.is_some_and(|max| self.kept >= max)
    }
}

fn edits(rolls: &[Arc<Roll>], free: usize, topics: &HashMap<&str, Topic>) -> Vec<Edit> {
    let mut edits = Vec::new();
    if free > 0 {
        edits.push(Edit::Expire { rolls: rolls.iter().take(free).map(|roll| RollKey::from(&**roll)).collect() });
    }
    let in_kept = topics.iter().filter(|(_, topic)| topic.past > free);
    let floors = in_kept.filter_map(|(name, topic)| Some(((*name).to_owned(), rolls.get(topic.past - 1)?.to)));
    let mut floors: Vec<(String, u64)> = floors.collect();
    floors.sort_unstable();
    for some in floors.chunks(EXPIRE_TOPICS_MAX) {
        edits.push(Edit::ExpireTopics { topics: some.iter().cloned().collect::<BTreeMap<_, _>>() });
    }
    edits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bucket::{Bucket, Location, Patience, Puts};
    use crate::manifest::{Ledger, ObjectRef, Writer};

    const DAY: u64 = 24 * 60 * 60 * 1000;

    /// A roll a day, `[n, n + 1)` of the log each, with these topics and bytes.
    async fn example(rolls: &[&[(&str, u64)]]) -> (Ledger, Vec<Arc<Contents>>) {
        let bucket = Bucket::open(&Location::parse("memory://").unwrap(), [], Patience::default()).await.unwrap();
        let mut ledger = Ledger::open(bucket, "b").await.unwrap();
        ledger.claim(Puts::Atomic, Writer::Fenced).await.unwrap();
        let roll = |from: u64| {
            let (index, time) =
                (ObjectRef { name: format!("{from}").into(), bytes: 1, crc32c: 0 }, (DAY * from) as i64);
            let last_time = time + DAY as i64 - 1;
            Roll { from, to: from + 1, epoch: 1, first_time: time, last_time, index, front: 1, objects: [].into() }
        };
        ledger.commit(Edit::Add { rolls: (0..rolls.len() as u64).map(roll).collect() }).await.unwrap();
        let share = |(topic, bytes): &(&str, u64)| Share { topic: (*topic).into(), bytes: *bytes };
        let contents = rolls.iter().map(|shares| Arc::new(Contents { topics: shares.iter().map(share).collect() }));
        (ledger, contents.collect())
    }

    fn keys(edit: &Edit) -> Vec<u64> {
        let Edit::Expire { rolls } = edit else { panic!("{edit:?}") };
        rolls.iter().map(|roll| roll.from).collect()
    }

    fn floors(edit: &Edit) -> Vec<(&str, u64)> {
        let Edit::ExpireTopics { topics } = edit else { panic!("{edit:?}") };
        topics.iter().map(|(topic, to)| (&**topic, *to)).collect()
    }

    #[tokio::test]
    async fn rolls_go_when_nobody_needs_them_and_topics_before() {
        let rolls: &[&[(&str, u64)]] =
            &[&[("a", 1), ("b", 1)], &[], &[("b", 1)], &[("a", 1), ("b", 1)], &[("a", 1)], &[]];
        let (mut ledger, contents) = example(rolls).await;
        let days = |days: u64| Keep { time_ms: Some(days * DAY), bytes: None };
        let own = |topic: &str| (topic == "b").then_some(days(4));
        let retention = Retention { default: days(1), topics: own, youngest_ms: Some(DAY) };
        let at = |day: u64| (day * DAY) as i64;
        assert_eq!(what_expires(&ledger.manifest(), &contents, &retention, at(2) - 1), []);
        // Of a the first roll is a day old, b needs it.
        let edits = what_expires(&ledger.manifest(), &contents, &retention, at(2));
        assert_eq!((edits.len(), floors(&edits[0])), (1, vec![("a", 1)]));
        ledger.commit(edits[0].clone()).await.unwrap();
        assert_eq!(what_expires(&ledger.manifest(), &contents, &retention, at(2)), [], "once is enough");
        let edits = what_expires(&ledger.manifest(), &contents, &retention, at(7));
        assert_eq!((edits.len(), keys(&edits[0]), floors(&edits[1])), (2, vec![0, 1, 2], vec![("a", 5)]));
        for edit in edits {
            ledger.commit(edit).await.unwrap();
        }
        assert_eq!((ledger.manifest().start(), ledger.manifest().floor_of("a")), (Some(3), 5));
        let old_enough = |day| retention.old_enough(ledger.manifest().rolls(), at(day));
        assert_eq!((old_enough(4), old_enough(5), old_enough(6)), (0, 1, 2), "the roll of day 3 ends with it");
        // What tells only what was lost stays while nothing behind it goes.
        let edits = what_expires(&ledger.manifest(), &contents[3..], &retention, at(90));
        assert_eq!((edits.len(), keys(&edits[0])), (1, vec![3, 4]));
    }

    #[tokio::test]
    async fn a_topic_keeps_its_bytes() {
        let rolls: &[&[(&str, u64)]] = &[&[("a", 50)], &[("a", 50), ("b", 9)], &[("a", 50)], &[("a", 50)]];
        let (ledger, contents) = example(rolls).await;
        let expires = |bytes| {
            let keep = Keep { time_ms: None, bytes: Some(bytes) };
            let retention = Retention { default: keep, topics: |_: &str| None, youngest_ms: None };
            what_expires(&ledger.manifest(), &contents, &retention, i64::MAX)
        };
        assert_eq!(expires(151), []);
        assert_eq!(keys(&expires(150)[0]), [0]);
        let edits = expires(51);
        assert_eq!((keys(&edits[0]), floors(&edits[1])), (vec![0], vec![("a", 2)]));
        let edits = expires(0);
        assert_eq!((keys(&edits[0]), floors(&edits[1])), (vec![0, 1, 2], vec![("a", 4)]), "the newest roll stays");
        let ever = Retention { default: Keep::default(), topics: |_: &str| None, youngest_ms: None };
        assert_eq!(what_expires(&ledger.manifest(), &contents, &ever, i64::MAX), []);
    }
}
