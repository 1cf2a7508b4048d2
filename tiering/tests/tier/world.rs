//! A tier beside a plain model of what it should answer, and the steps that change both.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use strata_protocol::record::RecordView;
use strata_tiering::bucket::Bucket;
use strata_tiering::cold::CacheOptions;
use strata_tiering::expire::{Keep, Retention};
use strata_tiering::manifest::{Edit, Writer};
use strata_tiering::pace::{Budget, Pace};
use strata_tiering::roll::{RollError, Rolled};
use strata_tiering::tier::{Tier, TierOptions};
use strata_tiering::verify::{Depth, verify};
use tokio::runtime::Handle;

use crate::log::{Draft, Log, Slot};

pub(crate) const TOPICS: [&str; 3] = ["a", "b", "c"];
pub(crate) const QUEUES: i32 = 3;

/// Numbers that follow from a seed.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// Both sides.
pub(crate) struct World {
    pub(crate) dice: Dice,
    pub(crate) tier: Arc<Tier>,
    /// Everything that was rolled, roll by roll, as it came.
    pub(crate) parts: Vec<Log>,
    /// The part that is rolled next.
    pub(crate) log: Log,
    pub(crate) time: i64,
    /// Log offsets below which topics are gone, and below which everything is.
    pub(crate) floors: BTreeMap<String, u64>,
    pub(crate) start: u64,
    /// A topic that was dropped, and where, which the tier does not know yet.
    pub(crate) late: Option<(String, u64)>,
    messages: u64,
}

pub(crate) async fn open(bucket: Bucket) -> Arc<Tier> {
    let cache = CacheOptions { memory_bytes: 4 * 1024 * 1024, disk: None };
    let options = TierOptions { broker: "broker-a".into(), writer: Writer::Fenced, cache };
    Arc::new(Tier::open(bucket, options).await.unwrap())
}

/// Does something in a thread that may wait.
pub(crate) async fn aside<T: Send + 'static>(
    tier: &Arc<Tier>,
    work: impl FnOnce(&Tier, &Handle, (&mut Pace, &AtomicBool)) -> T + Send + 'static,
) -> T {
    let (tier, runtime) = (Arc::clone(tier), Handle::current());
    let run = move || {
        let mut pace = Pace::new(Budget { cpu_percent: 100, bytes_per_second: None });
        work(&tier, &runtime, (&mut pace, &AtomicBool::new(false)))
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

impl World {
    pub(crate) async fn new(bucket: Bucket, seed: u64) -> Self {
        let (tier, mut dice) = (open(bucket).await, Dice(seed));
        let begin = dice.below(3) * 1_000;
        let mut log = Log::at(begin);
        log.queues.entry(("a".into(), 0)).or_default().base = 7;
        let (parts, floors) = (Vec::new(), BTreeMap::new());
        Self { dice, tier, parts, log, time: 1_700_000_000_000, floors, start: 0, late: None, messages: 0 }
    }

    /// Rolls a part of random messages.
    pub(crate) async fn roll(&mut self) {
        for _ in 0..self.dice.below(40) {
            self.time += i64::try_from(self.dice.below(4)).unwrap();
            self.messages += 1;
            let topic = TOPICS[usize::try_from(self.dice.below(3)).unwrap()];
            let queue_id = i32::try_from(self.dice.below(3)).unwrap();
            let key = self.messages;
            let properties = format!("UNIQ_KEY\u{1}id{key}\u{2}KEYS\u{1}k{key} all\u{2}color{}\u{1}x\u{2}", key % 3);
            let body = vec![7; usize::try_from(self.dice.below(200)).unwrap()];
            self.log.append(&Draft {
                topic,
                queue_id,
                properties: properties.as_bytes(),
                body: &body,
                time: self.time,
            });
        }
        for queue in self.log.queues.values_mut() {
            for slot in &mut queue.slots {
                if self.dice.below(12) == 0 {
                    *slot = Slot::Lost;
                }
            }
        }
        self.put().await;
    }

    /// Rolls a part of the log that is gone: queues go on behind it.
    pub(crate) async fn gap(&mut self) {
        for queue in self.log.queues.values_mut() {
            queue.base += i64::try_from(self.dice.below(4)).unwrap();
        }
        self.put().await;
    }

    async fn put(&mut self) {
        self.log.to += 1 + self.dice.below(100);
        self.log.times.get_or_insert((self.time, self.time));
        self.time += 1;
        let (next, log) = (self.log.next(), std::mem::take(&mut self.log));
        self.log = next;
        let log = aside(&self.tier, move |tier, runtime, pace| {
            tier.roll(&log, runtime, pace).unwrap();
            log
        });
        let log = log.await;
        self.parts.push(log);
    }

    pub(crate) fn end(&self) -> u64 {
        self.parts.last().map_or(self.start, |part| part.to)
    }

    /// Drops a topic, which the tier may hear of some time later.
    pub(crate) async fn drop_topic(&mut self) {
        if self.late.is_some() || self.parts.is_empty() {
            return;
        }
        let topic = TOPICS[usize::try_from(self.dice.below(3)).unwrap()].to_owned();
        self.log.queues.retain(|(name, _), _| *name != topic);
        self.late = Some((topic, self.end()));
        if self.dice.below(3) > 0 {
            self.tell_drop().await;
        }
    }

    pub(crate) async fn tell_drop(&mut self) {
        let Some((topic, to)) = self.late.take() else { return };
        self.tier.commit(Edit::Drop { topics: [(topic.clone(), to)].into() }).await.unwrap();
        self.raise(&topic, to);
    }

    fn raise(&mut self, topic: &str, to: u64) {
        let floor = self.floors.entry(topic.to_owned()).or_insert(to);
        *floor = (*floor).max(to);
    }

    /// Merges what is worth it, or any neighbours.
    pub(crate) async fn merge(&mut self) {
        let manifest = self.tier.manifest();
        let count = manifest.rolls().len() as u64;
        let first = self.dice.below(count.max(1));
        // A merge that begins with a part of the log that was gone would not tell the gap before it; see `plan`.
        let begins = manifest.rolls().get(usize::try_from(first).unwrap());
        let is_any = begins.is_some_and(|roll| first == 0 || !roll.objects.is_empty()) && self.dice.below(3) > 0;
        let merged: Result<Option<Rolled>, RollError> = if is_any {
            let last = (first + 1 + self.dice.below(6)).min(count);
            let range = usize::try_from(first).unwrap()..usize::try_from(last).unwrap();
            aside(&self.tier, move |tier, runtime, pace| tier.merge((&manifest, range), runtime, pace).map(Some)).await
        } else {
            aside(&self.tier, |tier, runtime, pace| tier.merge_once(None, runtime, pace)).await
        };
        match merged {
            Ok(_) => {}
            // A topic that ends or goes back is only merged when it is known to be dropped.
            Err(RollError::Source(_)) if self.late.is_some() => {}
            Err(error) => panic!("{error}"),
        }
    }

    /// Lets messages expire, and holds what went against the rule.
    pub(crate) async fn expire(&mut self) {
        let span = u64::try_from(self.time - 1_700_000_000_000).unwrap() + 1;
        let mut keep = || Keep {
            time_ms: (self.dice.below(4) > 0).then(|| self.dice.below(span * 2)),
            bytes: (self.dice.below(4) == 0).then(|| self.dice.below(40_000)),
        };
        let (default, own) = (keep(), keep());
        let youngest_ms = match (default.bytes, own.bytes) {
            (None, None) => [default, own].iter().filter_map(|keep| keep.time_ms).min(),
            _ => None,
        };
        let retention = Retention { default, topics: |topic: &str| (topic == "b").then_some(own), youngest_ms };
        let now = self.time + i64::try_from(self.dice.below(10)).unwrap();
        let before: BTreeSet<(usize, String)> = self.there().collect();
        self.tier.expire_once(&retention, now).await.unwrap();
        let manifest = self.tier.manifest();
        for (topic, to) in manifest.expired() {
            self.raise(topic, *to);
        }
        self.start = manifest.start().unwrap_or(0);
        let after: BTreeSet<(usize, String)> = self.there().collect();
        let rule = |topic: &str| if topic == "b" { own } else { default };
        for (part, topic) in before.difference(&after).filter(|(_, topic)| rule(topic).bytes.is_none()) {
            let last = self.parts[*part].times.unwrap().1;
            let age = rule(topic).time_ms.expect("what is kept for ever does not go");
            assert!(last + i64::try_from(age).unwrap() < now, "{topic} of part {part} went too early");
        }
        for (part, topic) in &after {
            let roll = manifest.roll_of(self.parts[*part].from).unwrap();
            let age = rule(topic).time_ms.map_or(i64::MAX / 2, |age| i64::try_from(age).unwrap());
            assert!(roll.last_time + age >= now, "{topic} of part {part} is kept too long");
        }
    }

    /// The parts and topics of which there are messages.
    fn there(&self) -> impl Iterator<Item = (usize, String)> {
        self.parts.iter().enumerate().flat_map(move |(at, part)| {
            let with = part.queues.iter().filter(|(_, queue)| queue.slots.iter().any(|slot| *slot != Slot::Lost));
            let topics: BTreeSet<String> = with.map(|((topic, _), _)| topic.clone()).collect();
            topics.into_iter().filter(move |topic| self.is_there(part, topic)).map(move |topic| (at, topic))
        })
    }

    pub(crate) fn is_there(&self, part: &Log, topic: &str) -> bool {
        part.to > self.floors.get(topic).copied().unwrap_or(0).max(self.start)
    }

    /// Collects without grace: what is left in the bucket is what is listed.
    pub(crate) async fn collect(&mut self) {
        self.tier.collect_once(Duration::ZERO, now_ms()).await.unwrap();
        let folder = format!("{}/roll", self.tier.home());
        let found = self.tier.bucket().list(&folder).await.unwrap();
        let found: BTreeSet<String> = found.into_iter().map(|one| one.path).collect();
        let manifest = self.tier.manifest();
        let listed = manifest.rolls().iter().flat_map(|roll| roll.names());
        let listed: BTreeSet<String> = listed.map(|name| format!("{}/{name}", self.tier.home())).collect();
        assert_eq!(found, listed);
    }

    /// Everything that is listed is whole.
    pub(crate) async fn verify(&self) {
        if self.late.is_some() {
            return;
        }
        let (bucket, home, manifest) = (self.tier.bucket(), self.tier.home(), self.tier.manifest());
        let report = verify(bucket, home, &manifest, Depth::Full, |_| {}).await.unwrap();
        assert_eq!(report.findings, []);
        assert_eq!(report.rows, manifest.totals().rows);
        assert_eq!(
            (report.progress.objects, report.progress.bytes),
            (report.progress.objects_total, report.progress.bytes_total)
        );
    }

    /// The first offset of a queue and what is at each from there on; `None` for what is lost.
    pub(crate) fn expected(&self, topic: &str, queue_id: i32) -> Option<(i64, Vec<Option<Vec<u8>>>)> {
        let key = (topic.to_owned(), queue_id);
        let there: Vec<&Log> = self.parts.iter().filter(|part| self.is_there(part, topic)).collect();
        there.last()?.queues.get(&key)?;
        let begin = there.first()?.queues.get(&key).map_or(0, |queue| queue.base);
        let mut slots: Vec<Option<Vec<u8>>> = Vec::new();
        for queue in there.iter().filter_map(|part| part.queues.get(&key)) {
            slots.resize(usize::try_from(queue.base - begin).unwrap(), None);
            slots.extend(queue.slots.iter().map(|slot| match slot {
                Slot::Record(bytes) => Some(bytes.clone()),
                Slot::Lost => None,
            }));
        }
        Some((begin, slots))
    }
}

/// Now, ms since 1970.
#[allow(clippy::disallowed_methods, reason = "a test's store has the system's clock")]
pub(crate) fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(now.as_millis()).unwrap()
}

/// The record of a slot.
pub(crate) fn view(bytes: &[u8]) -> RecordView<'_> {
    RecordView::parse(bytes).unwrap()
}
