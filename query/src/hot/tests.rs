//! A store whose begin leaves while it is read; tags and times as bounds.

use std::collections::HashMap;

use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::Int64Type;
use datafusion::arrow::error::ArrowError;
use strata_protocol::properties::IndexTerms;
use strata_store::{NewMessage, Retention, StoreOptions, SystemClock};

use super::*;
use crate::columns::Column;
use crate::snapshot::{Source, TierNow};
use crate::state::{State, StateRows};

struct OfStore(Arc<Store>);

impl Source for OfStore {
    fn store(&self) -> Arc<Store> {
        Arc::clone(&self.0)
    }

    fn tier(&self) -> TierNow {
        TierNow::None
    }

    fn state(&self, _: State, _: &mut StateRows) -> Result<(), ArrowError> {
        Ok(())
    }
}

const TOPIC: &str = "orders";
const SEGMENT_BYTES: u64 = 64 * 1024;

/// A store with so many messages in one queue, in many small segments, of which it keeps few.
fn stored(folder: &std::path::Path, messages: usize) -> Arc<Store> {
    let mut options = StoreOptions::new(folder);
    (options.segment_bytes, options.upkeep) = (SEGMENT_BYTES, false);
    options.retention = Retention { log_bytes_max: Some(4 * SEGMENT_BYTES), ..Retention::default() };
    let (store, _) = Store::open(options, Arc::new(SystemClock::new())).unwrap();
    for nth in 0..messages {
        let properties = if nth % 10 == 3 { &b"TAGS\x01third\x02"[..] } else { b"TAGS\x01other\x02" };
        store
            .append(&NewMessage {
                topic: TOPIC,
                queue_id: 0,
                flag: 0,
                sys_flag: 0,
                born_timestamp: 77,
                born_host: "10.0.0.1:4000".parse().unwrap(),
                reconsume_times: 0,
                prepared_transaction_offset: 0,
                body: b"a body",
                properties,
                terms: IndexTerms::of(properties),
            })
            .unwrap();
        if nth % 300 == 299 {
            store.seal_active().unwrap();
        }
    }
    store
}

fn scan(store: &Arc<Store>, ask: &TableAsk) -> Scan {
    let figures = Arc::new(Figures::new(HashMap::new()).unwrap());
    let snapshot = Arc::new(Snapshot::take(Arc::new(OfStore(Arc::clone(store))), figures));
    let halves = snapshot.halves(ask).unwrap();
    let chosen = Chosen::of(Some(&Column::places(&[Column::QueueOffset, Column::LogOffset])));
    Scan::new(&snapshot, halves.queues, HotAsk::of(ask, halves.hot), chosen)
}

/// The offsets of a batch in its queue, and in the log.
fn offsets(batch: &RecordBatch) -> (Vec<i64>, Vec<i64>) {
    let column = |nth: usize| batch.column(nth).as_primitive::<Int64Type>().values().to_vec();
    (column(0), column(1))
}

#[test]
fn what_leaves_the_log_while_it_is_read_is_told_whole() {
    let folder = tempfile::tempdir().unwrap();
    let messages = 3 * BATCH_ROWS;
    let store = stored(folder.path(), messages);
    let mut scan = scan(&store, &TableAsk::default());
    let Step::Rows(first) = scan.step().unwrap() else { panic!("no rows") };
    let (given, places) = offsets(&first);
    assert_eq!(given.last(), Some(&(i64::try_from(BATCH_ROWS).unwrap() - 1)));
    // All but the last segments go, among them such as the reader would have read next.
    while store.sweep(&|_| None, i64::MAX).unwrap().segments > 0 {}
    let (begin, min) = (store.log_range().0, store.queue_range(TOPIC, 0).unwrap().min);
    assert!(min > *given.last().unwrap() + 1, "nothing left the log");
    let Step::Gone(queue, log) = scan.step().unwrap() else { panic!("it is not told") };
    // From behind the last message that was given up to where the log begins: nothing twice, and nothing left out.
    assert_eq!((&*queue.topic, log), (TOPIC, *places.last().unwrap() + 1..begin));
    let mut rest = Vec::new();
    loop {
        match scan.step().unwrap() {
            Step::Rows(batch) => rest.extend(offsets(&batch).0),
            Step::Nothing => {}
            Step::Gone(..) => panic!("nothing more left the log"),
            Step::End => break,
        }
    }
    assert!(rest.into_iter().eq(min..i64::try_from(messages).unwrap()));
}

#[test]
fn tags_are_passed_over_by_their_codes() {
    let folder = tempfile::tempdir().unwrap();
    let store = stored(folder.path(), 100);
    let tags = BTreeSet::from(["third".to_owned()]);
    let ask = TableAsk { properties: [(TAGS.to_owned(), tags)].into(), ..TableAsk::default() };
    let Step::Rows(rows) = scan(&store, &ask).step().unwrap() else { panic!("no rows") };
    assert!(offsets(&rows).0.into_iter().eq((3..100).step_by(10)));
}

#[test]
fn times_bound_what_is_read_on_both_sides() {
    let folder = tempfile::tempdir().unwrap();
    let store = stored(folder.path(), 1_000);
    let millis = |offset| store.store_time(TOPIC, 0, offset).unwrap();
    let (from, to) = (millis(300), millis(700));
    let ask = TableAsk { store_times: from * MICROS..=to * MICROS, ..TableAsk::default() };
    let mut queues = queues(&store, &ask);
    narrow(&store, &mut queues, &ask);
    let wanted: Vec<i64> = (0..1_000).filter(|offset| (from..=to).contains(&millis(*offset))).collect();
    assert_eq!(queues.first().map(|queue| queue.offsets.start), wanted.first().copied());
    let mut scan = scan(&store, &ask);
    scan.queues = queues.into();
    let Step::Rows(rows) = scan.step().unwrap() else { panic!("no rows") };
    assert_eq!(offsets(&rows).0, wanted);
}
