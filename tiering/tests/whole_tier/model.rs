//! The log that is rolled, as a plain model: what may be listed, what has to be, and what each offset then holds.

use std::collections::{BTreeMap, BTreeSet};

use strata_tiering::expire::{Keep, Retention};
use strata_tiering::manifest::Manifest;

use crate::faults::Dice;
use crate::log::{Draft, Log, Slot};

/// Topics, with an odd one: what stands before a name is a part of it.
pub(crate) const TOPICS: [&str; 4] = ["%RETRY%readers", "a", "b", "quiet"];
pub(crate) const QUEUES: i32 = 3;
/// Time of the first message, ms since 1970.
pub(crate) const BEGIN_MS: i64 = 1_700_000_000_000;

/// The first offset of a queue, and what is at each from there on; `None` for what is lost.
pub(crate) type Expected<'a> = Option<(i64, Vec<Option<&'a [u8]>>)>;

/// The log, part by part.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    dice: Dice,
    /// Parts that were cut; all but the last one are known to be listed.
    pub(crate) parts: Vec<Log>,
    /// The part that is cut next.
    log: Log,
    pub(crate) time: i64,
    messages: u64,
    /// Topics that were dropped, and where.
    drops: BTreeMap<String, BTreeSet<u64>>,
    /// One of them that the tier has not acknowledged.
    pub(crate) wish: Option<(String, u64)>,
    /// The log offset up to which somebody was told that the log is listed.
    pub(crate) acknowledged: u64,
    keep: Keep,
    keep_b: Keep,
    /// The latest time at which anything was made to expire.
    pub(crate) expired_at: i64,
}

impl Model {
    pub(crate) fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed ^ 0x6d6f_6465);
        let mut log = Log::at(dice.below(3) * 1_000);
        log.queues.entry(("a".into(), 0)).or_default().base = 7;
        let mut keep = || Keep { time_ms: dice.hits(850).then(|| 20 + dice.below(240)), bytes: None };
        let (keep, keep_b) = (keep(), keep());
        Self {
            dice,
            parts: Vec::new(),
            acknowledged: log.from,
            log,
            time: BEGIN_MS,
            messages: 0,
            drops: BTreeMap::new(),
            wish: None,
            keep,
            keep_b,
            expired_at: 0,
        }
    }

    /// The part that is to be rolled: the last one until it is listed, then a new one.
    pub(crate) fn wanted(&mut self, manifest: &Manifest) -> Log {
        let end = manifest.end().unwrap_or(0);
        if self.parts.last().is_none_or(|last| last.to <= end) {
            if self.dice.hits(80) && !self.parts.is_empty() {
                self.lose_part();
            } else {
                self.write();
            }
        }
        self.parts.last().unwrap().clone()
    }

    fn write(&mut self) {
        for _ in 0..self.dice.below(40) {
            self.time += i64::try_from(self.dice.below(4)).unwrap();
            self.messages += 1;
            let topic = TOPICS[usize::try_from(self.dice.below(7) / 2).unwrap()];
            let queue_id = i32::try_from(self.dice.below(3)).unwrap();
            let (properties, body) = (self.properties(), self.body());
            let time = self.time;
            self.log.append(&Draft { topic, queue_id, properties: &properties, body: &body, time });
        }
        for queue in self.log.queues.values_mut() {
            for slot in &mut queue.slots {
                if self.dice.hits(50) {
                    *slot = Slot::Lost;
                }
            }
        }
        self.cut();
    }

    fn properties(&mut self) -> Vec<u8> {
        let key = self.messages;
        let tag = ["red", "green", "blue"][usize::try_from(self.dice.below(3)).unwrap()];
        let mut text = format!("UNIQ_KEY\u{1}id{key}\u{2}KEYS\u{1}k{key} all\u{2}TAGS\u{1}{tag}\u{2}").into_bytes();
        let odd: &[u8] = match self.dice.below(12) {
            0 => b"empty\x01\x02",
            1 => b"TAGS\x01red\x02TAGS\x01blue\x02",
            2 => b"broken\x01\xff\xfe\x02",
            3 => b"no separator\x02",
            4 => b"two\x01a\x01b\x02",
            5 => b"not ended\x01x",
            _ => b"often\x01v\x02",
        };
        text.extend_from_slice(odd);
        text
    }

    /// As producers send them: all alike, or as bytes that were compressed already.
    fn body(&mut self) -> Vec<u8> {
        let bytes = self.dice.below(300);
        match self.dice.below(3) {
            0 => vec![7; usize::try_from(bytes).unwrap()],
            _ => (0..bytes).map(|_| self.dice.next().to_le_bytes()[0]).collect(),
        }
    }

    /// A part of the log that was gone before anybody rolled it: queues go on behind it.
    fn lose_part(&mut self) {
        for queue in self.log.queues.values_mut() {
            queue.base += i64::try_from(self.dice.below(4)).unwrap();
        }
        self.cut();
    }

    fn cut(&mut self) {
        self.log.to += 1 + self.dice.below(100);
        self.log.times.get_or_insert((self.time, self.time));
        self.time += 1;
        let next = self.log.next();
        self.parts.push(std::mem::replace(&mut self.log, next));
    }

    /// Drops a topic, if all that was cut is listed and no other one is under way.
    pub(crate) fn wish_drop(&mut self, manifest: &Manifest) {
        let Some(end) = manifest.end().filter(|end| self.parts.last().is_some_and(|last| last.to <= *end)) else {
            return;
        };
        if self.wish.is_none() {
            let topic = TOPICS[usize::try_from(self.dice.below(TOPICS.len() as u64)).unwrap()].to_owned();
            self.log.queues.retain(|(name, _), _| *name != topic);
            self.drops.entry(topic.clone()).or_default().insert(end);
            self.wish = Some((topic, end));
        }
    }

    /// Learns that a drop was made, be it that nobody was told.
    pub(crate) fn learn(&mut self, manifest: &Manifest) {
        let is_made = |(topic, at): &(String, u64)| {
            manifest.dropped().get(topic).is_some_and(|to| to >= at)
                || manifest.start().is_some_and(|start| start >= *at)
        };
        if self.wish.as_ref().is_some_and(is_made) {
            self.wish = None;
        }
    }

    pub(crate) fn retention(&self) -> Retention<impl Fn(&str) -> Option<Keep> + use<>> {
        let own = self.keep_b;
        let youngest_ms = self.keep.time_ms.min(own.time_ms);
        Retention { default: self.keep, topics: move |topic: &str| (topic == "b").then_some(own), youngest_ms }
    }

    /// Keeps messages so long, and those of one topic otherwise.
    pub(crate) fn keep_for(&mut self, all_ms: u64, b_ms: u64) {
        let keep = |ms| Keep { time_ms: Some(ms), bytes: None };
        (self.keep, self.keep_b) = (keep(all_ms), keep(b_ms));
    }

    fn age(&self, topic: &str) -> Option<i64> {
        let keep = if topic == "b" { self.keep_b } else { self.keep };
        keep.time_ms.map(|ms| i64::try_from(ms).unwrap())
    }

    /// Holds the parts that are listed, and what is gone in them, against what was asked for.
    pub(crate) fn check(&self, manifest: &Manifest) -> Result<(), String> {
        let mut end = self.parts.first().map_or(self.acknowledged, |part| part.from);
        if let (Some(known), Some(first)) = (manifest.end(), self.parts.first()) {
            let is_boundary = known == first.from || self.parts.iter().any(|part| part.to == known);
            if !is_boundary {
                return Err(format!("the log is listed up to {known}, where no part ends"));
            }
            end = known;
        }
        if end < self.acknowledged {
            return Err(format!("the log is listed up to {end}, acknowledged was {}", self.acknowledged));
        }
        for (topic, at) in manifest.dropped() {
            if !self.drops.get(topic).is_some_and(|all| all.contains(at)) {
                return Err(format!("{topic} is dropped up to {at}, which nobody asked for"));
            }
        }
        for part in self.parts.iter().filter(|part| part.to <= end) {
            let last = part.times.unwrap().1;
            for topic in TOPICS.iter().filter(|topic| has(part, topic)) {
                let dropped = self.drops.get(*topic).is_some_and(|all| all.last().is_some_and(|at| part.to <= *at));
                let expired = self.age(topic).is_some_and(|age| last + age < self.expired_at);
                if !is_there(manifest, part, topic) && !dropped && !expired {
                    return Err(format!("{topic} of the part up to {} is gone too early", part.to));
                }
            }
        }
        Ok(())
    }

    /// What is past its time and listed yet, behind a successful expiry at `now`.
    pub(crate) fn overdue(&self, manifest: &Manifest, now: i64) -> Option<String> {
        let there = self.parts.iter().filter(|part| part.to <= manifest.end().unwrap_or(0));
        there.flat_map(|part| TOPICS.iter().map(move |topic| (part, topic))).find_map(|(part, topic)| {
            let roll = manifest.roll_of(part.from).filter(|_| has(part, topic) && is_there(manifest, part, topic))?;
            let is_overdue = self.age(topic).is_some_and(|age| roll.last_time + age < now);
            is_overdue.then(|| format!("{topic} of the part up to {} is kept too long", part.to))
        })
    }

    /// What a queue holds by a manifest.
    pub(crate) fn expected(&self, manifest: &Manifest, topic: &str, queue_id: i32) -> Expected<'_> {
        let key = (topic.to_owned(), queue_id);
        let end = manifest.end().unwrap_or(0);
        let listed = self.parts.iter().filter(|part| part.to <= end);
        let there: Vec<&Log> = listed.filter(|part| is_there(manifest, part, topic)).collect();
        there.last()?.queues.get(&key)?;
        let begin = there.first()?.queues.get(&key).map_or(0, |queue| queue.base);
        let mut slots: Vec<Option<&[u8]>> = Vec::new();
        for queue in there.iter().filter_map(|part| part.queues.get(&key)) {
            slots.resize(usize::try_from(queue.base - begin).unwrap(), None);
            slots.extend(queue.slots.iter().map(|slot| match slot {
                Slot::Record(bytes) => Some(bytes.as_slice()),
                Slot::Lost => None,
            }));
        }
        Some((begin, slots))
    }
}

fn is_there(manifest: &Manifest, part: &Log, topic: &str) -> bool {
    part.to > manifest.floor_of(topic).max(manifest.start().unwrap_or(0))
}

fn has(part: &Log, topic: &str) -> bool {
    let mut of_topic = part.queues.iter().filter(|((name, _), _)| name == topic);
    of_topic.any(|(_, queue)| queue.slots.iter().any(|slot| *slot != Slot::Lost))
}
