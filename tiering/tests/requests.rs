//! What questions cost in requests, bytes and round trips: an S3 that answers after 30 ms, on a clock that only it moves.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "tier/log.rs"]
mod log;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use log::{Draft, Log};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;
use strata_protocol::record::records;
use strata_tiering::bucket::{Bucket, Patience};
use strata_tiering::cold::{Ask, Boundary, CacheOptions, ColdError, ColdStatus, KeepAll, KeyAsk, KeyKind};
use strata_tiering::limits::ANSWER_MAX;
use strata_tiering::manifest::Writer;
use strata_tiering::pace::{Budget, Pace};
use strata_tiering::tier::{Tier, TierOptions};
use tokio::runtime::Handle;
use tokio::time::Instant;

/// The time that the store takes to answer, mostly.
const ROUND_TRIP: Duration = Duration::from_millis(30);

/// Rolls, and messages of each.
const ROLLS: usize = 12;
const MESSAGES: usize = 4_000;

const QUEUES: i32 = 4;

/// Time of the first message, ms since 1970, and between two.
const BEGIN_MS: i64 = 1_700_000_000_000;
const STEP_MS: i64 = 10;

/// A store that is some way off, and notes what it is asked for.
#[derive(Debug)]
struct Far {
    inner: Arc<InMemory>,
    /// The time that the store takes to answer.
    answers_after: Mutex<Duration>,
    /// Names and bytes of what was read.
    read: Mutex<Vec<(String, u64)>>,
}

impl fmt::Display for Far {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Far")
    }
}

impl Far {
    async fn answer(&self) {
        let after = *self.answers_after.lock();
        tokio::time::sleep(after).await;
    }
}

#[async_trait]
impl ObjectStore for Far {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.answer().await;
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.answer().await;
        let found = self.inner.get_opts(location, options).await?;
        self.read.lock().push((location.to_string(), found.range.end - found.range.start));
        Ok(found)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// What one question cost.
#[derive(Debug)]
struct Cost {
    requests: usize,
    bytes: u64,
    /// Objects of messages that were read, indexes not among them.
    objects: usize,
    time: Duration,
}

struct World {
    inner: Arc<InMemory>,
    messages: usize,
}

impl World {
    /// Rolls parts without any delay; a clock that stands would wait for them for ever otherwise.
    async fn of(rolls: usize, messages: usize) -> Self {
        let inner = Arc::new(InMemory::new());
        let tier = Arc::new(open(Bucket::over(Arc::clone(&inner) as _, Patience::default())).await);
        let mut log = Log::at(0);
        let (mut nth, mut seed) = (0, 3_u64);
        for _ in 0..rolls {
            log = log.next();
            for _ in 0..messages {
                append(&mut log, nth, &mut seed);
                nth += 1;
            }
            let (tier, runtime, part) = (Arc::clone(&tier), Handle::current(), log.clone());
            let rolling = tokio::task::spawn_blocking(move || {
                let mut pace = Pace::new(Budget { cpu_percent: 100, bytes_per_second: None });
                tier.roll(&part, &runtime, (&mut pace, &AtomicBool::new(false))).unwrap();
            });
            rolling.await.unwrap();
        }
        Self { inner, messages: nth }
    }

    /// A reader that knows nothing yet.
    async fn reader(&self) -> (Tier, Arc<Far>) {
        let (inner, answers_after) = (Arc::clone(&self.inner), Mutex::new(ROUND_TRIP));
        let far = Arc::new(Far { inner, answers_after, read: Mutex::default() });
        let tier = open(Bucket::over(Arc::clone(&far) as _, Patience::default())).await;
        far.read.lock().clear();
        (tier, far)
    }
}

async fn open(bucket: Bucket) -> Tier {
    let options = TierOptions { broker: "b".into(), writer: Writer::Fenced, cache: CacheOptions::default() };
    Tier::open(bucket, options).await.unwrap()
}

/// A message of a KiB that does not compress.
fn append(log: &mut Log, nth: usize, seed: &mut u64) {
    let body: Vec<u8> = (0..1_024)
        .map(|_| {
            *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (*seed >> 56) as u8
        })
        .collect();
    let properties = format!("UNIQ_KEY\u{1}{nth:032X}\u{2}KEYS\u{1}order-{nth}\u{2}TAGS\u{1}T{}\u{2}", nth % 3);
    let (queue_id, time) = (nth as i32 % QUEUES, BEGIN_MS + nth as i64 * STEP_MS);
    log.append(&Draft { topic: "orders", queue_id, properties: properties.as_bytes(), body: &body, time });
}

/// What a question costs.
async fn cost<T>(far: &Far, question: impl Future<Output = T>) -> (T, Cost) {
    far.read.lock().clear();
    let began = Instant::now();
    let answer = question.await;
    let time = began.elapsed();
    // Reading ahead goes on behind the answer, and is not what it waited for.
    let read = far.read.lock().clone();
    let objects: BTreeSet<_> = read.iter().map(|(name, _)| name).filter(|name| name.ends_with(".parquet")).collect();
    let cost =
        Cost { requests: read.len(), bytes: read.iter().map(|(_, bytes)| bytes).sum(), objects: objects.len(), time };
    (answer, cost)
}

#[tokio::test(start_paused = true)]
async fn the_first_message_comes_within_two_round_trips() {
    let world = World::of(ROLLS, MESSAGES).await;
    let each = (world.messages / usize::try_from(QUEUES).unwrap()) as i64;
    for offset in [0, 1, each / 3, each - 1] {
        let (tier, far) = world.reader().await;
        // As a broker does when it opens its tier.
        let manifest = tier.manifest();
        for roll in manifest.rolls().first().into_iter().chain(manifest.rolls().last()) {
            tier.cold().index(roll).await.unwrap();
        }
        let ask = Ask { topic: "orders", queue_id: 2, offset, messages_max: 32, bytes_max: 256 * 1024 };
        let (read, cost) = cost(&far, tier.cold().read(&ask, &KeepAll)).await;
        let read = read.unwrap();
        assert_eq!((read.status, read.next_offset > offset), (ColdStatus::Found, true));
        println!("first message at {offset}: {cost:?}");
        assert!(cost.time <= ROUND_TRIP * 2, "{cost:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_time_is_found_with_one_object() {
    let world = World::of(ROLLS, MESSAGES).await;
    for nth in [1, world.messages / 2 + 3, world.messages - 7] {
        let (tier, far) = world.reader().await;
        let time = BEGIN_MS + nth as i64 * STEP_MS;
        for queue_id in 0..QUEUES {
            let asking = tier.cold().offset_by_time(("orders", queue_id), time, Boundary::Lower);
            let (offset, cost) = cost(&far, asking).await;
            let before = (0..nth).filter(|nth| *nth as i32 % QUEUES == queue_id).count() as i64;
            assert_eq!(offset.unwrap(), Some(before), "the messages before {nth} in queue {queue_id}");
            println!("time of message {nth} in queue {queue_id}: {cost:?}");
            assert!(cost.objects <= 1, "{cost:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_costs_three_requests_when_the_filters_are_known() {
    keys_cost_little(ROLLS, MESSAGES).await;
}

/// Of several row groups, with filters that do not fit into the begin of an index.
#[tokio::test(start_paused = true)]
async fn a_key_of_large_rolls_costs_three_requests_too() {
    keys_cost_little(3, 60_000).await;
}

#[allow(clippy::print_stdout, reason = "figures")]
async fn keys_cost_little(rolls: usize, messages: usize) {
    let world = World::of(rolls, messages).await;
    let (tier, far) = world.reader().await;
    let by_key = async |key: &str, kind: KeyKind| {
        let ask = KeyAsk { topic: "orders", key, kind, times: 0..=i64::MAX, max: 1 };
        let (found, cost) = cost(&far, tier.cold().by_key(&ask, u64::MAX)).await;
        let found = found.unwrap();
        let bytes = found.first().map(|bytes| records(bytes).next().unwrap().unwrap().bytes().to_vec());
        (bytes, cost)
    };
    let (found, cost) = by_key("order-3", KeyKind::Key).await;
    println!("the first key: {cost:?}");
    assert!(found.is_some() && cost.requests <= 3 + rolls, "one for the filters of each object: {cost:?}");
    for nth in [5, world.messages / 2, world.messages - 1] {
        let (found, cost) = by_key(&format!("order-{nth}"), KeyKind::Key).await;
        println!("key of message {nth}: {cost:?}");
        assert!(found.is_some(), "message {nth}");
        assert!(cost.requests <= 3 && cost.bytes <= 2 << 20, "message {nth}: {cost:?}");
        let (found, cost) = by_key(&format!("{nth:032X}"), KeyKind::UniqueKey).await;
        println!("unique key of message {nth}: {cost:?}");
        assert!(found.is_some(), "message {nth}");
        assert!(cost.requests <= 3 && cost.bytes <= 2 << 20, "message {nth}: {cost:?}");
    }
    let (found, cost) = by_key("nobody-has-it", KeyKind::Key).await;
    println!("a key that nobody has: {cost:?}");
    assert!(found.is_none() && cost.requests <= 3, "{cost:?}");
}

#[tokio::test(start_paused = true)]
async fn a_window_of_time_costs_its_share() {
    let world = World::of(1, 100_000).await;
    let (tier, far) = world.reader().await;
    let manifest = tier.manifest();
    let all: u64 = manifest.rolls()[0].objects.iter().map(|object| object.bytes).sum();
    // One percent of the time: all queues have messages in it.
    let (begin, end) = (BEGIN_MS + 400_000, BEGIN_MS + 410_000);
    let window = async {
        let mut count = 0;
        for queue_id in 0..QUEUES {
            let bound = async |time| {
                tier.cold().offset_by_time(("orders", queue_id), time, Boundary::Lower).await.unwrap().unwrap()
            };
            let (mut offset, to) = (bound(begin).await, bound(end).await);
            while offset < to {
                let left = usize::try_from(to - offset).unwrap().min(32);
                let ask = Ask { topic: "orders", queue_id, offset, messages_max: left, bytes_max: 256 * 1024 };
                let read = tier.cold().read(&ask, &KeepAll).await.unwrap();
                count += read.messages;
                offset = read.next_offset;
            }
        }
        count
    };
    let (count, cost) = cost(&far, window).await;
    assert_eq!(count, 1_000);
    let percent = cost.bytes as f64 * 100.0 / all as f64;
    println!("a window of 1 % of {all} bytes: {percent:.2} %, {cost:?}");
    // A row group has 32 MiB of records at most.
    assert!(cost.bytes <= all * 11 / 1_000 + (32 << 20), "{percent:.2} % of the bytes: {cost:?}");
}

/// Who asks a store that hardly answers is told so in time, and what comes later is there for the next question.
#[tokio::test(start_paused = true)]
async fn a_slow_store_holds_nobody_up() {
    let world = World::of(1, MESSAGES).await;
    let (tier, far) = world.reader().await;
    *far.answers_after.lock() = ANSWER_MAX + Duration::from_secs(2);
    let ask = Ask { topic: "orders", queue_id: 2, offset: 0, messages_max: 32, bytes_max: 256 * 1024 };
    let mut late = 0;
    let read = loop {
        let (read, cost) = cost(&far, tier.cold().read(&ask, &KeepAll)).await;
        assert!(cost.time <= ANSWER_MAX, "{cost:?}");
        match read {
            Ok(read) => break read,
            Err(ColdError::Late { waited }) => assert_eq!((waited, cost.time), (ANSWER_MAX, ANSWER_MAX)),
            Err(other) => panic!("{other}"),
        }
        late += 1;
        assert!(late < 10, "what comes late is not kept");
    };
    assert_eq!((read.status, read.messages), (ColdStatus::Found, 32));
    assert!(late > 0);
}
