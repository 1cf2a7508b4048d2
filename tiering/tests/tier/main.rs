//! Rolling and cold reads together, over a store in memory: what was rolled is read back, record for record.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod fence;
mod filters;
mod log;
mod upkeep;
mod world;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use log::{Draft, Log, Slot};
use strata_protocol::record::records;
use strata_tiering::bucket::{Bucket, Location, Patience};
use strata_tiering::cold::{Ask, Boundary, CacheOptions, ColdStatus, KeepAll, KeyAsk, KeyKind};
use strata_tiering::manifest::Writer;
use strata_tiering::pace::{Budget, Pace};
use strata_tiering::tier::{Tier, TierOptions};
use tokio::runtime::Handle;

/// Time of the first message, ms since 1970.
const BEGIN_MS: i64 = 1_700_000_000_000;

async fn tier_over(bucket: Bucket) -> Arc<Tier> {
    let options = TierOptions { broker: "broker-a".into(), writer: Writer::Fenced, cache: CacheOptions::default() };
    Arc::new(Tier::open(bucket, options).await.unwrap())
}

async fn memory() -> Bucket {
    Bucket::open(&Location::parse("memory://").unwrap(), [], Patience::default()).await.unwrap()
}

/// Rolls a part, as a broker's own thread does.
async fn roll(tier: &Arc<Tier>, log: Log) -> Log {
    let (tier, runtime) = (Arc::clone(tier), Handle::current());
    tokio::task::spawn_blocking(move || {
        let mut pace = Pace::new(Budget { cpu_percent: 100, bytes_per_second: None });
        tier.roll(&log, &runtime, (&mut pace, &AtomicBool::new(false))).unwrap();
        log
    })
    .await
    .unwrap()
}

/// A part of a log with topics of very different sizes.
fn fill(log: &mut Log, messages: usize, time: &mut i64) {
    let topics = [("orders", 4, 70), ("audit", 1, 20), ("a-quiet-one", 2, 3), ("zz", 8, 7)];
    let mut seed = 7_u64;
    for nth in 0..messages {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let pick = (seed >> 33) % 100;
        let mut sum = 0;
        let found = topics.iter().find(|(_, _, share)| {
            sum += share;
            pick < sum
        });
        let (topic, queues, _) = found.unwrap();
        let queue_id = i32::try_from(seed % queues).unwrap();
        *time += i64::from(seed.is_multiple_of(3));
        let properties = format!(
            "UNIQ_KEY\u{1}{nth:032X}\u{2}KEYS\u{1}order-{nth} user-{}\u{2}TAGS\u{1}Tag{}\u{2}region\u{1}r{}\u{2}WAIT\u{1}true\u{2}",
            nth % 50,
            nth % 4,
            nth % 7
        );
        let body = vec![u8::try_from(seed % 251).unwrap(); usize::try_from(seed % 900).unwrap()];
        log.append(&Draft { topic, queue_id, properties: properties.as_bytes(), body: &body, time: *time });
    }
}

/// Reads a queue from its begin to the end of what is listed, in pulls of several sizes.
async fn read_all(tier: &Tier, topic: &str, queue_id: i32, from: i64) -> Vec<(i64, Option<Vec<u8>>)> {
    let mut out = Vec::new();
    let mut offset = from;
    for pull in 0.. {
        let ask = Ask { topic, queue_id, offset, messages_max: 1 + pull * 7 % 200, bytes_max: 64 * 1024 };
        let read = tier.cold().read(&ask, &KeepAll).await.unwrap();
        match read.status {
            ColdStatus::Found => {
                let bytes: Vec<u8> = read.slices.concat();
                let mut messages = 0;
                for record in records(&bytes) {
                    let record = record.unwrap();
                    assert_eq!((record.topic(), record.queue_id()), (topic, queue_id));
                    out.push((record.queue_offset(), Some(record.bytes().to_vec())));
                    messages += 1;
                }
                assert_eq!((messages, bytes.len()), (read.messages, read.bytes));
                assert!(read.messages <= ask.messages_max);
                assert!(read.messages == 1 || read.bytes <= ask.bytes_max);
            }
            ColdStatus::Lost => out.extend((offset..read.next_offset).map(|offset| (offset, None))),
            ColdStatus::PastEnd => return out,
            ColdStatus::NoMatch | ColdStatus::BeforeBegin => panic!("{:?} at {offset}", read.status),
        }
        assert!(read.next_offset > offset);
        offset = read.next_offset;
    }
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_rolled_is_read_back() {
    let tier = tier_over(memory().await).await;
    let mut time = BEGIN_MS;
    let mut parts: Vec<Log> = Vec::new();
    for nth in 0..4 {
        let mut log = parts.last().map_or_else(|| Log::at(1 << 30), Log::next);
        if nth == 0 {
            // Messages that were there before the tier began.
            log.queues.entry(("orders".into(), 0)).or_default().base = 100;
        }
        fill(&mut log, [20_000, 3, 5_000, 9_000][nth], &mut time);
        if nth == 2 {
            for offset in [0, 1, 5] {
                let base = log.queues[&("orders".to_owned(), 1)].base;
                log.lose("orders", 1, base + offset);
            }
        }
        time += 1_000;
        parts.push(roll(&tier, log).await);
    }
    let end = parts.last().unwrap();
    for (topic, queue_id) in end.queues.keys() {
        let key = (topic.clone(), *queue_id);
        let begin = parts.iter().find_map(|part| part.queues.get(&key)).unwrap().base;
        let slots = parts.iter().filter_map(|part| part.queues.get(&key)).flat_map(|queue| &queue.slots);
        let bytes = |slot: &Slot| match slot {
            Slot::Record(record) => Some(record.clone()),
            Slot::Lost => None,
        };
        let expected: Vec<_> = (begin..).zip(slots.map(bytes)).collect();
        let found = read_all(&tier, topic, *queue_id, begin).await;
        assert!(found == expected, "{topic} {queue_id}: {} of {} records", found.len(), expected.len());
        let behind = begin + i64::try_from(expected.len()).unwrap();
        assert_eq!(tier.cold().range(topic, *queue_id).await.unwrap(), Some((begin, behind)));
        by_time(&tier, (topic, *queue_id), &expected).await;
        by_place_and_key(&tier, (topic, *queue_id), &expected).await;
    }
    let ask = Ask { topic: "orders", queue_id: 0, offset: 5, messages_max: 9, bytes_max: 9_999 };
    let read = tier.cold().read(&ask, &KeepAll).await.unwrap();
    assert_eq!((read.status, read.next_offset), (ColdStatus::BeforeBegin, 100));
}

/// Each time means what a walk over the messages says.
async fn by_time(tier: &Tier, queue: (&str, i32), expected: &[(i64, Option<Vec<u8>>)]) {
    let time = |bytes: &[u8]| records(bytes).next().unwrap().unwrap().store_timestamp();
    let times: Vec<_> = expected.iter().filter_map(|(at, bytes)| Some((*at, time(bytes.as_ref()?)))).collect();
    let all_end = tier.manifest().rolls().last().unwrap().last_time;
    let first = expected.first().unwrap().0;
    let next = expected.last().unwrap().0 + 1;
    for at in (BEGIN_MS - 2..all_end + 2).step_by(977) {
        let lower = times.iter().find(|(_, time)| *time >= at).map_or(next, |(offset, _)| *offset);
        let found = tier.cold().offset_by_time(queue, at, Boundary::Lower).await.unwrap();
        assert_eq!(found, (at <= all_end).then_some(lower), "{queue:?} lower {at}");
        let upper = times.iter().rev().find(|(_, time)| *time <= at).map_or(first, |(offset, _)| *offset);
        let found = tier.cold().offset_by_time(queue, at, Boundary::Upper).await.unwrap();
        assert_eq!(found, (at <= all_end).then_some(upper), "{queue:?} upper {at}");
    }
}

/// A message is found by its place in the log, by its id, and by its key.
async fn by_place_and_key(tier: &Tier, (topic, _): (&str, i32), expected: &[(i64, Option<Vec<u8>>)]) {
    for (_, bytes) in expected.iter().step_by(expected.len() / 3 + 1) {
        let Some(bytes) = bytes else { continue };
        let record = records(bytes).next().unwrap().unwrap();
        let found = tier.cold().record_at(record.physical_offset()).await.unwrap();
        assert_eq!(found.as_deref(), Some(&bytes[..]));
        let found = tier.cold().record_at(record.physical_offset() + 1).await.unwrap();
        assert_eq!(found, None);
        let text = String::from_utf8(record.properties().to_vec()).unwrap();
        let value = |name: &str| text.split('\u{2}').find_map(|entry| entry.strip_prefix(name)?.strip_prefix('\u{1}'));
        let (id, key) = (value("UNIQ_KEY").unwrap(), value("KEYS").unwrap().split(' ').next().unwrap());
        for (key, kind) in [(id, KeyKind::UniqueKey), (key, KeyKind::Key)] {
            let ask = KeyAsk { topic, key, kind, times: 0..=i64::MAX, max: 32 };
            let found = tier.cold().by_key(&ask, u64::MAX).await.unwrap();
            assert!(found.iter().any(|found| found[..] == bytes[..]), "{topic} {key}");
            let ask = KeyAsk { times: record.store_timestamp() + 1..=i64::MAX, ..ask };
            let found = tier.cold().by_key(&ask, u64::MAX).await.unwrap();
            assert!(!found.iter().any(|found| found[..] == bytes[..]), "{topic} {key} out of its time");
        }
    }
}

/// More messages have the key than are made into records at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_messages_with_a_key_the_newest_come() {
    let tier = tier_over(memory().await).await;
    let (mut log, mut time, mut truth) = (Log::at(0), BEGIN_MS, Vec::new());
    for _ in 0..2 {
        fill(&mut log, 20_000, &mut time);
        log = roll(&tier, log).await;
        for ((topic, _), queue) in &log.queues {
            let all =
                queue.slots.iter().filter_map(|slot| if let Slot::Record(bytes) = slot { Some(bytes) } else { None });
            for bytes in all.filter(|_| topic == "orders") {
                let record = records(bytes).next().unwrap().unwrap();
                let keys = std::str::from_utf8(record.properties()).unwrap();
                if keys.contains(" user-7\u{2}") {
                    truth.push((record.physical_offset(), record.store_timestamp(), bytes.clone()));
                }
            }
        }
        log = log.next();
    }
    truth.sort_unstable_by_key(|(offset, ..)| std::cmp::Reverse(*offset));
    assert!(truth.len() > 8 * 64, "{}", truth.len());
    let middle = truth[truth.len() * 3 / 4].1;
    for (times, max) in
        [(0..=i64::MAX, 1), (0..=i64::MAX, 32), (0..=i64::MAX, 500), (0..=middle, 40), (middle..=middle, 64)]
    {
        let ask = KeyAsk { topic: "orders", key: "user-7", kind: KeyKind::Key, times: times.clone(), max };
        let found = tier.cold().by_key(&ask, u64::MAX).await.unwrap();
        let wanted = truth.iter().filter(|(_, time, _)| times.contains(time)).take(max);
        assert!(found.iter().map(|bytes| &bytes[..]).eq(wanted.map(|(_, _, bytes)| &bytes[..])), "{times:?} {max}");
    }
}
