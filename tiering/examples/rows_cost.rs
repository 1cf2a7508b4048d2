//! What a row costs: processor time per message of 1 KiB with properties as clients send them, to build it, to write it to
//! Parquet, to read it, and to make the record again.
//!
//! Owns the measurement only. Run: `cargo run --release -p strata-tiering --example rows_cost`.
#![allow(clippy::print_stdout, reason = "a measurement is printed")]

use std::error::Error;

use arrow_array::RecordBatch;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use strata_protocol::record::{Placement, Record, encode_record};
use strata_tiering::limits::{GROUP_BYTES_MAX, GROUP_ROWS_MAX};
use strata_tiering::rows::{PropertyColumn, Rebuilder, RowBuilder, read_schema};

/// That of the binary: what fresh memory costs is much of what is measured.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Messages of a round.
const MESSAGES: usize = 20_000;
const _: () = assert!(MESSAGES <= GROUP_ROWS_MAX, "a round is one row group");

/// Rounds of each step.
const ROUNDS: usize = 40;

/// User and system time of this thread in nanoseconds, to the kernel's ticks of 10 ms. They are told apart because system
/// time here is page faults, which cost several times as much in a guest as on metal.
fn thread_time() -> Result<[usize; 2], Box<dyn Error>> {
    let text = std::fs::read_to_string("/proc/thread-self/stat")?;
    let mut fields = text.rsplit(')').next().ok_or("no name")?.split_whitespace().skip(11);
    let mut ticks =
        || -> Result<usize, Box<dyn Error>> { Ok(fields.next().ok_or("no time")?.parse::<usize>()? * 10_000_000) };
    Ok([ticks()?, ticks()?])
}

/// Prints what a message costs when `step` does all of them, `rounds` times.
fn measure<T>(
    what: &str,
    rounds: usize,
    mut step: impl FnMut() -> Result<T, Box<dyn Error>>,
) -> Result<T, Box<dyn Error>> {
    let mut last = step()?;
    let before = thread_time()?;
    for _ in 0..rounds {
        last = step()?;
    }
    let now = thread_time()?;
    let each = |at: usize| (now[at] - before[at]) / (rounds * MESSAGES);
    println!("{what}: {} ns user, {} ns system", each(0), each(1));
    Ok(last)
}

/// Bytes that zstd makes half as long, as those of real bodies.
fn body_of(number: usize) -> Vec<u8> {
    let mut state = (number as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let letters = b"etaoin{}\":,0123456789";
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        letters[(state % letters.len() as u64) as usize]
    };
    (0..1_024).map(next).collect()
}

/// Messages of one producer, or of two whose properties differ and that take turns.
fn records_of(producers: usize) -> Result<Vec<Vec<u8>>, Box<dyn Error>> {
    let mut records = Vec::with_capacity(MESSAGES);
    for number in 0..MESSAGES {
        let other = if number % producers == 1 { "tenant\u{1}acme\u{2}" } else { "" };
        let properties = format!(
            "{other}KEYS\u{1}order-{number}\u{2}UNIQ_KEY\u{1}0A0102031B2C18B4AAC2{number:012X}\u{2}CLUSTER\u{1}\
             DefaultCluster\u{2}MSG_REGION\u{1}DefaultRegion\u{2}TRACE_ON\u{1}true\u{2}WAIT\u{1}true\u{2}color\u{1}\
             red\u{2}amount\u{1}{number}\u{2}TAGS\u{1}TagA\u{2}"
        );
        let record = Record {
            topic: "BenchmarkTest",
            queue_id: i32::try_from(number / 4_096)?,
            flag: 0,
            sys_flag: 0,
            born_timestamp: 1_700_000_000_000 + i64::try_from(number)?,
            born_host: "10.1.2.3:45678".parse()?,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: &body_of(number),
            properties: properties.as_bytes(),
            placed: Placement {
                queue_offset: i64::try_from(number % 4_096)?,
                physical_offset: i64::try_from(number * 1_300)?,
                store_timestamp: 1_700_000_000_002 + i64::try_from(number)?,
                store_host: "10.1.2.4:10911".parse()?,
            },
        };
        let mut bytes = Vec::new();
        encode_record(&mut bytes, &record)?;
        records.push(bytes);
    }
    Ok(records)
}

fn columns() -> Vec<PropertyColumn> {
    ["color", "CLUSTER"].iter().zip(1000..).map(|(name, id)| PropertyColumn { name: (*name).to_owned(), id }).collect()
}

fn build(builder: &mut RowBuilder, records: &[Vec<u8>]) -> Result<RecordBatch, Box<dyn Error>> {
    for record in records {
        builder.push(record)?;
    }
    Ok(builder.finish()?)
}

fn write(batch: &RecordBatch, compression: Compression) -> Result<Bytes, Box<dyn Error>> {
    let mut properties = WriterProperties::builder().set_compression(compression).set_data_page_row_count_limit(4_096);
    for (column, encoding) in [
        ("queue_offset", Encoding::DELTA_BINARY_PACKED),
        ("physical_offset", Encoding::DELTA_BINARY_PACKED),
        ("store_time", Encoding::DELTA_BINARY_PACKED),
        ("born_time", Encoding::DELTA_BINARY_PACKED),
        ("record_crc", Encoding::PLAIN),
        ("msg_id", Encoding::DELTA_BYTE_ARRAY),
        ("body", Encoding::PLAIN),
    ] {
        let path = ColumnPath::from(column);
        properties = properties.set_column_encoding(path.clone(), encoding).set_column_dictionary_enabled(path, false);
    }
    properties = properties.set_column_statistics_enabled(ColumnPath::from("body"), EnabledStatistics::None);
    let options = ArrowWriterOptions::new().with_properties(properties.build()).with_skip_arrow_metadata(true);
    let mut file = Vec::new();
    let mut writer = ArrowWriter::try_new_with_options(&mut file, batch.schema(), options)?;
    writer.write(batch)?;
    writer.close()?;
    Ok(file.into())
}

fn read(file: &Bytes) -> Result<Vec<RecordBatch>, Box<dyn Error>> {
    let options = ArrowReaderOptions::new().with_schema(read_schema(&columns()));
    let reader = ParquetRecordBatchReaderBuilder::try_new_with_options(file.clone(), options)?;
    Ok(reader.with_batch_size(4_096).build()?.collect::<Result<_, _>>()?)
}

fn rebuild(batches: &[RecordBatch], records: &[Vec<u8>], compare: bool) -> Result<(), Box<dyn Error>> {
    let mut out = Vec::with_capacity(1 << 20);
    let mut expected = records.iter();
    for batch in batches {
        let rows = Rebuilder::new(batch)?;
        for row in 0..rows.len() {
            // A pull answer holds 32 messages.
            if row % 32 == 0 {
                out.clear();
            }
            let start = out.len();
            rows.rebuild(row, &mut out)?;
            if compare && expected.next().map(Vec::as_slice) != out.get(start..) {
                return Err(format!("row {row} gives another record").into());
            }
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let records = records_of(1)?;
    let bytes = records.iter().map(Vec::len).sum::<usize>();
    println!(
        "{MESSAGES} messages of {} bytes; a group takes {}",
        bytes / MESSAGES,
        GROUP_BYTES_MAX / (bytes / MESSAGES)
    );
    let mut builder = RowBuilder::new(&columns());
    let batch = measure("build", ROUNDS, || build(&mut builder, &records))?;
    let two = records_of(2)?;
    measure("build, two producers taking turns", ROUNDS, || build(&mut builder, &two))?;
    measure("checksums of record and body alone", ROUNDS, || {
        let sum = |record: &Vec<u8>| crc32c::crc32c(record) ^ strata_protocol::record::body_crc(&record[88..1_112]);
        Ok(std::hint::black_box(records.iter().fold(0, |all, record| all ^ sum(record))))
    })?;
    let mut body = Vec::new();
    measure("copying the bodies alone", ROUNDS, || {
        body = Vec::with_capacity(bytes);
        records.iter().for_each(|record| body.extend_from_slice(&record[88..1_112]));
        Ok(std::hint::black_box(body.len()))
    })?;
    let file = measure("write to Parquet, plain", 8, || write(&batch, Compression::UNCOMPRESSED))?;
    println!("{} bytes a message", file.len() / MESSAGES);
    let file = measure("write to Parquet, zstd 3", 4, || write(&batch, Compression::ZSTD(ZstdLevel::try_new(3)?)))?;
    println!("{} bytes a message", file.len() / MESSAGES);
    let batches = measure("read from Parquet, zstd 3", 8, || read(&file))?;
    rebuild(&batches, &records, true)?;
    measure("rebuild from Parquet's views", ROUNDS, || rebuild(&batches, &records, false))?;
    measure("rebuild from built rows", ROUNDS, || rebuild(std::slice::from_ref(&batch), &records, false))?;
    Ok(())
}
