//! What an append costs: processor time per message of 1 KiB with properties as clients send them.
//!
//! Owns the measurement only. Run: `cargo run --release -p strata-store --example append_cost`.
#![allow(clippy::print_stdout, reason = "a measurement is printed")]

use std::error::Error;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use strata_protocol::properties::IndexTerms;
use strata_store::{AppendError, KeepAll, NewMessage, ReadBudget, Store, StoreOptions, SystemClock};

/// Messages appended in all.
const MESSAGES: u64 = 1_500_000;
/// Queues they are spread over.
const QUEUES: u64 = 16;

/// User and system time of this thread in nanoseconds, to the kernel's ticks of 10 ms.
///
/// They are told apart because system time here is page faults: a machine that gives its guest fresh
/// memory page by page makes them cost several times what they cost on metal.
fn thread_time() -> Result<(u64, u64), Box<dyn Error>> {
    let text = std::fs::read_to_string("/proc/thread-self/stat")?;
    let fields = text.rsplit(')').next().ok_or("no name")?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut ticks =
        || -> Result<u64, Box<dyn Error>> { Ok(fields.next().ok_or("no time")?.parse::<u64>()? * 10_000_000) };
    Ok((ticks()?, ticks()?))
}

/// Prints the cost of `count` steps since `before`.
fn report(what: &str, before: (u64, u64), count: u64) -> Result<(), Box<dyn Error>> {
    let now = thread_time()?;
    let (user, system) = ((now.0 - before.0) / count, (now.1 - before.1) / count);
    println!("{what}: {user} ns user, {system} ns system");
    Ok(())
}

/// Writes the properties of message `number` as a Java client and a broker would have them.
fn properties_of(number: u64, out: &mut Vec<u8>) -> Result<(), Box<dyn Error>> {
    out.clear();
    write!(
        out,
        "KEYS\u{1}order-{number}\u{2}UNIQ_KEY\u{1}0A0102031B2C18B4AAC2{number:012X}\u{2}CLUSTER\u{1}\
         DefaultCluster\u{2}MSG_REGION\u{1}DefaultRegion\u{2}TRACE_ON\u{1}true\u{2}WAIT\u{1}true\u{2}TAGS\u{1}TagA\u{2}"
    )?;
    Ok(())
}

/// Waits until what was appended is on disk: the store takes no more before.
fn wait_for_disk(store: &Store) -> Result<(), Box<dyn Error>> {
    let (sender, receiver) = std::sync::mpsc::channel();
    store.when_durable(store.log_range().1, Box::new(move |outcome| drop(sender.send(outcome))));
    Ok(receiver.recv()??)
}

fn main() -> Result<(), Box<dyn Error>> {
    let root = std::env::args().nth(1).map_or_else(|| PathBuf::from("append_cost.tmp"), Into::into);
    let mut options = StoreOptions::new(&root);
    options.retention.refuse_ratio = 1.0;
    options.retention.force_ratio = 1.0;
    let (store, recovery) = Store::open(options, Arc::new(SystemClock::new()))?;
    println!("opened in {:?}: {} records", recovery.elapsed, recovery.records);
    let body = vec![b'x'; 1_024];
    let host = "10.1.2.3:45678".parse()?;
    let mut properties = Vec::new();
    let before = thread_time()?;
    let mut terms = 0;
    for number in 0..MESSAGES {
        properties_of(number, &mut properties)?;
        terms += IndexTerms::of(&properties).each_key().count();
    }
    report("making the message alone", before, MESSAGES)?;
    assert_eq!(terms as u64, MESSAGES);
    let before = thread_time()?;
    for number in 0..MESSAGES {
        properties_of(number, &mut properties)?;
        let message = NewMessage {
            topic: "BenchmarkTest",
            queue_id: i32::try_from(number % QUEUES)?,
            flag: 0,
            sys_flag: 0,
            born_timestamp: 1_700_000_000_000,
            born_host: host,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: &body,
            properties: &properties,
            terms: IndexTerms::of(&properties),
        };
        while let Err(error) = store.append(&message) {
            let AppendError::Busy { .. } = error else { return Err(error.into()) };
            wait_for_disk(&store)?;
        }
    }
    report("making and appending", before, MESSAGES)?;

    let before = thread_time()?;
    let mut read = 0;
    for queue_id in 0..i32::try_from(QUEUES)? {
        let mut offset = store.queue_range("BenchmarkTest", queue_id).map_or(0, |range| range.min);
        loop {
            let budget = ReadBudget::default();
            let answer = store.read("BenchmarkTest", queue_id, offset, &budget, &mut KeepAll);
            if answer.messages == 0 {
                break;
            }
            offset = answer.next_offset;
            read += answer.messages as u64;
        }
    }
    assert_eq!(read, MESSAGES);
    report("reading, 32 at a time", before, read)?;
    let stats = store.stats();
    println!("{} segments, {} sealing", stats.segments, stats.sealing);
    store.close()?;
    drop(store);
    let (_, recovery) = Store::open(StoreOptions::new(&root), Arc::new(SystemClock::new()))?;
    println!("opened again in {:?}, {} records scanned", recovery.elapsed, recovery.records);
    std::fs::remove_dir_all(&root)?;
    Ok(())
}
