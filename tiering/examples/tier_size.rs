//! What a roll takes: bytes beside those of a plain Parquet writer, puts, and memory.
//!
//! `cargo run --release -p strata-tiering --example tier_size -- [messages] [queues]`
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a program that prints figures")]

#[path = "../tests/tier/log.rs"]
#[allow(dead_code, reason = "tests use the others")]
mod log;
#[path = "shared/orders.rs"]
mod orders;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use strata_tiering::bucket::{Bucket, Call, Location, Patience};
use strata_tiering::cold::CacheOptions;
use strata_tiering::limits::{BODY_PAGE_BYTES, COMPRESSION_LEVEL, GROUP_ROWS_MAX};
use strata_tiering::manifest::Writer;
use strata_tiering::pace::{Budget, Pace};
use strata_tiering::tier::{Tier, TierOptions};

/// That of the binary.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Bytes of memory by a line of the kernel's status of this process.
fn memory(line: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let found = status.lines().find_map(|text| text.strip_prefix(line)).unwrap();
    found.trim_matches(|letter: char| !letter.is_ascii_digit()).parse::<u64>().unwrap() * 1_024
}

fn main() {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse::<usize>().unwrap());
    let (messages, queues) = (numbers.next().unwrap_or(800_000), numbers.next().unwrap_or(8));
    let log = Arc::new(orders::fill(messages, queues));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    // What is put is not to count as memory.
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let location = Location::parse(&format!("file://{}", folder.path().display())).unwrap();
    let bucket = runtime.block_on(Bucket::open(&location, [], Patience::default())).unwrap();
    let options = TierOptions { broker: "b".into(), writer: Writer::Fenced, cache: CacheOptions::default() };
    let tier = Arc::new(runtime.block_on(Tier::open(bucket, options)).unwrap());
    let puts = || {
        let calls = tier.bucket().figures().calls;
        let of_put = |call: Call| matches!(call, Call::Create | Call::Put | Call::Upload);
        calls.iter().filter(|figures| of_put(figures.call)).map(|figures| figures.calls).sum::<u64>()
    };
    // The kernel counts the most anew from here on.
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let (before, puts_before) = (memory("VmRSS:"), puts());
    let mut pace = Pace::new(Budget { cpu_percent: 100, bytes_per_second: None });
    let rolled = tier.roll(&*log, runtime.handle(), (&mut pace, &AtomicBool::new(false))).unwrap();
    let most = memory("VmHWM:") - before;
    let (bytes, index) = (rolled.roll.objects.iter().map(|object| object.bytes).sum::<u64>(), rolled.roll.index.bytes);
    println!(
        "{messages} messages of {} MiB in {queues} queues: {} objects of {:.1} MiB, index {:.1} MiB, {} puts, {:.2} a GiB; {} MiB of memory",
        rolled.record_bytes >> 20,
        rolled.roll.objects.len(),
        mib(bytes),
        mib(index),
        puts() - puts_before,
        (puts() - puts_before) as f64 * (1_u64 << 30) as f64 / rolled.record_bytes as f64,
        most >> 20,
    );
    for page in [BODY_PAGE_BYTES, 1 << 20] {
        let plain: u64 = rolled
            .roll
            .objects
            .iter()
            .map(|object| {
                let whole = runtime.block_on(tier.bucket().read(&format!("{}/{}", tier.home(), object.name))).unwrap();
                plainly(&whole, page)
            })
            .sum();
        println!(
            "a plain writer with pages of {} KiB: {:.1} MiB; objects {:.3} times that, with the index {:.3}",
            page >> 10,
            mib(plain),
            bytes as f64 / plain as f64,
            (bytes + index) as f64 / plain as f64,
        );
    }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Bytes of an object's rows as a writer makes them that was told nothing but the codec and the size of pages.
fn plainly(object: &bytes::Bytes, page: usize) -> u64 {
    let reader = ParquetRecordBatchReaderBuilder::try_new(object.clone()).unwrap();
    let schema = Arc::clone(reader.schema());
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(COMPRESSION_LEVEL).unwrap()))
        .set_data_page_size_limit(page)
        .set_max_row_group_row_count(Some(GROUP_ROWS_MAX))
        .build();
    let mut writer = ArrowWriter::try_new(Vec::new(), schema, Some(properties)).unwrap();
    for batch in reader.with_batch_size(4_096).build().unwrap() {
        writer.write(&batch.unwrap()).unwrap();
    }
    writer.into_inner().unwrap().len() as u64
}
