//! What rolling and replaying cost: CPU a message of 1 KiB, beside the codec alone and beside arrow's own scan.
//!
//! `cargo run --release -p strata-tiering --example tier_cost -- [messages]`
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a program that prints figures")]
#![allow(clippy::disallowed_methods, reason = "what it measures is the wall's time")]

#[path = "../tests/tier/log.rs"]
#[allow(dead_code, reason = "tests use the others")]
mod log;
#[path = "shared/orders.rs"]
mod orders;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use log::Slot;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rustix::time::{ClockId, clock_gettime};
use strata_tiering::bucket::{Bucket, Location, Patience};
use strata_tiering::cold::{Ask, CacheOptions, ColdStatus, KeepAll};
use strata_tiering::manifest::Writer;
use strata_tiering::pace::{Budget, Pace};
use strata_tiering::tier::{Tier, TierOptions};

/// That of the binary: what fresh memory costs is much of what is measured.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn main() {
    let messages = std::env::args().nth(1).map_or(400_000, |text| text.parse().unwrap());
    let log = Arc::new(orders::fill(messages, 8));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let per = |took: Duration| took.as_secs_f64() * 1e6 / messages as f64;

    let mut codec = zstd::bulk::Compressor::new(3).unwrap();
    let all: Vec<u8> = log
        .queues
        .values()
        .flat_map(|queue| &queue.slots)
        .flat_map(|slot| match slot {
            Slot::Record(record) => record.as_slice(),
            Slot::Lost => &[],
        })
        .copied()
        .collect();
    let mut raw = Duration::ZERO;
    for kib in [64, 1_024, 256] {
        let began = cpu();
        let compressed: usize = all.chunks(kib * 1024).map(|chunk| codec.compress(chunk).unwrap().len()).sum();
        raw = cpu() - began;
        println!("codec alone, pieces of {kib} KiB: {:.2} us, {} B a message", per(raw), compressed / messages);
    }
    drop(all);

    let bucket =
        runtime.block_on(Bucket::open(&Location::parse("memory://").unwrap(), [], Patience::default())).unwrap();
    let options = TierOptions { broker: "b".into(), writer: Writer::Fenced, cache: CacheOptions::default() };
    let tier = Arc::new(runtime.block_on(Tier::open(bucket, options)).unwrap());
    let mut pace = Pace::new(Budget { cpu_percent: 100, bytes_per_second: None });
    let began = cpu();
    let rolled = tier.roll(&*log, runtime.handle(), (&mut pace, &AtomicBool::new(false))).unwrap();
    let took = cpu() - began;
    let bytes: u64 = rolled.roll.objects.iter().map(|object| object.bytes).sum();
    println!(
        "rolled and read back: {:.2} us a message, {:.2} times the codec; {} objects, {} B a message, index {} B (front {} B)",
        per(took),
        took.as_secs_f64() / raw.as_secs_f64(),
        rolled.roll.objects.len(),
        bytes / messages as u64,
        rolled.roll.index.bytes,
        rolled.roll.front,
    );
    let began = cpu();
    let mut rows = 0;
    for object in &rolled.roll.objects {
        let whole = runtime.block_on(tier.bucket().read(&format!("{}/{}", tier.home(), object.name))).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(whole).unwrap().with_batch_size(4_096).build().unwrap();
        rows += reader.map(|batch| batch.unwrap().num_rows()).sum::<usize>();
    }
    assert_eq!(rows, messages);
    println!("all columns decoded by arrow's own reader: {:.2} us a message", per(cpu() - began));
    for pull in [32, 128, 1_024] {
        let (began, wall) = (cpu(), Instant::now());
        let count = runtime.block_on(replay(&tier, pull));
        assert_eq!(count, messages);
        println!(
            "replayed in pulls of {pull}: {:.2} us of CPU a message, {:.1} s",
            per(cpu() - began),
            wall.elapsed().as_secs_f64()
        );
    }
}

async fn replay(tier: &Tier, pull: usize) -> usize {
    let mut count = 0;
    for queue_id in 0..8 {
        let mut offset = 0;
        loop {
            let ask = Ask { topic: "orders", queue_id, offset, messages_max: pull, bytes_max: 4 << 20 };
            let read = tier.cold().read(&ask, &KeepAll).await.unwrap();
            if read.status == ColdStatus::PastEnd {
                break;
            }
            count += read.messages;
            offset = read.next_offset;
        }
    }
    count
}
