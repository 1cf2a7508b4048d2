//! Rolls, merges, expiries, collections, dropped topics and new epochs in any order: after each step every answer is the
//! model's.

use strata_tiering::cold::{Ask, Boundary, ColdStatus, KeepAll, KeyAsk, KeyKind};
use strata_tiering::tier::Tier;

use crate::log::Slot;
use crate::memory;
use crate::world::{QUEUES, TOPICS, World, now_ms, open, view};

/// Cases of the normal run.
const CASES: u64 = 100;

/// Steps of one case.
const STEPS: u64 = 14;

fn cases() -> u64 {
    #[allow(clippy::disallowed_methods, reason = "longer runs are asked for by the environment")]
    let wanted = std::env::var("STRATA_TIER_SEEDS");
    wanted.map_or(CASES, |text| text.parse().unwrap())
}

/// Says which seed failed.
struct Case(u64);

impl Drop for Case {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}", self.0);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_the_models_whatever_is_done() {
    for seed in 0..cases() {
        let case = Case(seed);
        run(case.0).await;
    }
}

async fn run(seed: u64) {
    let bucket = memory().await;
    let mut world = World::new(bucket.clone(), seed).await;
    for _ in 0..STEPS {
        match world.dice.below(100) {
            0..40 => world.roll().await,
            40..45 => world.gap().await,
            45..65 => world.merge().await,
            65..73 => world.drop_topic().await,
            73..80 => world.tell_drop().await,
            80..88 => world.expire().await,
            88..95 => world.collect().await,
            _ => world.tier = open(bucket.clone()).await,
        }
        check(&mut world).await;
    }
    world.verify().await;
    world.collect().await;
    world.tier = open(bucket).await;
    check(&mut world).await;
    world.verify().await;
}

async fn check(world: &mut World) {
    for topic in TOPICS {
        if world.late.as_ref().is_some_and(|(late, _)| late == topic) {
            continue;
        }
        for queue_id in 0..QUEUES {
            check_queue(world, (topic, queue_id)).await;
        }
    }
    for _ in 0..3 {
        check_message(world).await;
    }
}

async fn check_queue(world: &mut World, (topic, queue_id): (&str, i32)) {
    let cold = world.tier.cold();
    let Some((begin, slots)) = world.expected(topic, queue_id) else {
        assert_eq!(cold.range(topic, queue_id).await.unwrap(), None, "{topic} {queue_id}");
        let ask = Ask { topic, queue_id, offset: 0, messages_max: 9, bytes_max: 9_999 };
        assert_eq!(cold.read(&ask, &KeepAll).await.unwrap().status, ColdStatus::PastEnd, "{topic} {queue_id}");
        return;
    };
    let end = begin + i64::try_from(slots.len()).unwrap();
    assert_eq!(cold.range(topic, queue_id).await.unwrap(), Some((begin, end)), "{topic} {queue_id}");
    assert_eq!(read_from(&world.tier, (topic, queue_id), begin).await, slots, "{topic} {queue_id}");
    if begin > 0 {
        let ask = Ask { topic, queue_id, offset: begin - 1, messages_max: 9, bytes_max: 9_999 };
        let read = cold.read(&ask, &KeepAll).await.unwrap();
        assert_eq!((read.status, read.next_offset), (ColdStatus::BeforeBegin, begin), "{topic} {queue_id}");
    }
    let time = world.time - i64::try_from(world.dice.below(100)).unwrap();
    check_time(world, (topic, queue_id), time, (begin, &slots)).await;
}

/// What is at the offsets of a queue.
async fn read_from(tier: &Tier, (topic, queue_id): (&str, i32), begin: i64) -> Vec<Option<Vec<u8>>> {
    let (mut out, mut offset) = (Vec::new(), begin);
    loop {
        let ask = Ask { topic, queue_id, offset, messages_max: 7, bytes_max: 5_000 };
        let read = tier.cold().read(&ask, &KeepAll).await.unwrap();
        match read.status {
            ColdStatus::Found => {
                let bytes = read.slices.concat();
                for record in strata_protocol::record::records(&bytes) {
                    let record = record.unwrap();
                    assert_eq!((record.topic(), record.queue_id()), (topic, queue_id));
                    out.resize(usize::try_from(record.queue_offset() - begin).unwrap(), None);
                    out.push(Some(record.bytes().to_vec()));
                }
            }
            // Within a queue it is a part of the log that was gone before it was rolled.
            ColdStatus::Lost | ColdStatus::BeforeBegin => {
                out.resize(usize::try_from(read.next_offset - begin).unwrap(), None);
            }
            ColdStatus::PastEnd => return out,
            ColdStatus::NoMatch => panic!("{:?} at {offset}", read.status),
        }
        assert!(read.next_offset > offset, "{:?} at {offset}", read.status);
        offset = read.next_offset;
    }
}

/// A time means the message that the model says, or one that is lost beside it.
async fn check_time(world: &World, queue: (&str, i32), time: i64, (begin, slots): (i64, &[Option<Vec<u8>>])) {
    let manifest = world.tier.manifest();
    let is_known = manifest.rolls().last().is_some_and(|roll| time <= roll.last_time);
    let at = |slot: &Option<Vec<u8>>| slot.as_ref().map(|bytes| view(bytes).store_timestamp());
    let count = i64::try_from(slots.len()).unwrap();
    let lower = slots.iter().position(|slot| at(slot).is_some_and(|at| at >= time));
    let lower = lower.map_or(begin + count, |nth| begin + i64::try_from(nth).unwrap());
    let upper = slots.iter().rposition(|slot| at(slot).is_some_and(|at| at <= time));
    let upper = upper.map_or(begin, |nth| begin + i64::try_from(nth).unwrap());
    let is_lost = |offset: i64| slots.get(usize::try_from(offset - begin).unwrap()).is_none_or(Option::is_none);
    let found = world.tier.cold().offset_by_time(queue, time, Boundary::Lower).await.unwrap();
    match found {
        Some(found) => assert!(is_known && found <= lower && (found..lower).all(is_lost), "{queue:?} {found} {lower}"),
        None => assert!(!is_known, "{queue:?}"),
    }
    let found = world.tier.cold().offset_by_time(queue, time, Boundary::Upper).await.unwrap();
    match found {
        Some(found) => {
            let all_lost = (upper + 1..=found).all(is_lost);
            assert!(is_known && found >= upper && all_lost, "{queue:?} {found} {upper}");
        }
        None => assert!(!is_known, "{queue:?}"),
    }
}

/// Any message that was ever rolled is found by its place and its key if it is there, and not if it is gone.
async fn check_message(world: &mut World) {
    let all: Vec<(usize, &Vec<u8>)> = world
        .parts
        .iter()
        .enumerate()
        .flat_map(|(at, part)| {
            let slots = part.queues.values().flat_map(|queue| &queue.slots);
            slots.filter_map(move |slot| match slot {
                Slot::Record(bytes) => Some((at, bytes)),
                Slot::Lost => None,
            })
        })
        .collect();
    if all.is_empty() {
        return;
    }
    let nth = usize::try_from(world.dice.below(all.len() as u64)).unwrap();
    let (at, bytes) = all[nth];
    let record = view(bytes);
    if world.late.as_ref().is_some_and(|(late, _)| late == record.topic()) {
        return;
    }
    let is_there = world.is_there(&world.parts[at], record.topic());
    let cold = world.tier.cold();
    let found = cold.record_at(record.physical_offset()).await.unwrap();
    assert_eq!(found.as_deref(), is_there.then_some(&bytes[..]), "{} of part {at}", record.topic());
    let text = String::from_utf8(record.properties().to_vec()).unwrap();
    let id = text.split('\u{2}').next().unwrap().split('\u{1}').nth(1).unwrap();
    let (topic, times) = (record.topic(), 0..=now_ms());
    let ask = KeyAsk { topic, key: id, kind: KeyKind::UniqueKey, times, max: 32 };
    let found = cold.by_key(&ask, u64::MAX).await.unwrap();
    assert_eq!(found.len(), usize::from(is_there), "{id}");
    assert!(found.iter().all(|found| found[..] == bytes[..]));
}
