//! The store against a model that keeps everything in plain vectors.
//!
//! Any sequence of appends, batches, seals, restarts, crashes, deleted sidecars, deleted topics and
//! deleted segments must leave both with the same answers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use proptest::prelude::*;
use strata_store::{Boundary, KeyKind, QueueRange, ReadStatus, SealedRange, Store, StoreOptions};

use crate::common::*;

const TOPICS: [&str; 3] = ["A", "B", "Other"];
const KEYS: [&str; 3] = ["k0", "k1", "k2"];
/// Milliseconds that a segment is kept.
const KEEP_MS: u64 = 1_000;

#[derive(Debug, Clone)]
enum Step {
    Append { topic: usize, queue: i32, key: usize, bytes: usize },
    Batch { topic: usize, queues: Vec<i32>, bytes: usize },
    Pass { ms: u64 },
    Seal,
    Reopen,
    Crash,
    DeleteSidecars { mask: u8 },
    Forget { topic: usize },
    Sweep,
}

fn step() -> impl Strategy<Value = Step> {
    let size = prop_oneof![0_usize..50, 0_usize..20_000];
    prop_oneof![
        12 => (0..3_usize, 0..3_i32, 0..3_usize, size.clone())
            .prop_map(|(topic, queue, key, bytes)| Step::Append { topic, queue, key, bytes }),
        3 => (0..3_usize, proptest::collection::vec(0..3_i32, 1..6), 0..4_000_usize)
            .prop_map(|(topic, queues, bytes)| Step::Batch { topic, queues, bytes }),
        3 => (0..700_u64).prop_map(|ms| Step::Pass { ms }),
        1 => Just(Step::Seal),
        1 => Just(Step::Reopen),
        1 => Just(Step::Crash),
        1 => any::<u8>().prop_map(|mask| Step::DeleteSidecars { mask }),
        1 => (0..3_usize).prop_map(|topic| Step::Forget { topic }),
        1 => Just(Step::Sweep),
    ]
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Message {
    body: Vec<u8>,
    key: Option<usize>,
    time: i64,
    physical_offset: i64,
}

/// A queue of the model: the offset of its first message, and its messages.
#[derive(Debug, Clone, Default)]
struct Queue {
    min: i64,
    messages: Vec<Message>,
}

struct Run {
    folder: tempfile::TempDir,
    root: PathBuf,
    clock: Arc<TestClock>,
    store: Option<Arc<Store>>,
    queues: BTreeMap<(usize, i32), Queue>,
    log_end: i64,
    counter: u32,
}

fn model_options(root: &std::path::Path) -> StoreOptions {
    let mut options = options(root);
    options.retention.keep_ms = KEEP_MS;
    options
}

impl Run {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("0");
        let clock = TestClock::at(1_000_000);
        let (store, _) = Store::open(model_options(&root), Arc::clone(&clock) as _).unwrap();
        let (queues, store) = (BTreeMap::new(), Some(store));
        Self { folder, root, clock, store, queues, log_end: 0, counter: 0 }
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn body(&mut self, bytes: usize) -> Vec<u8> {
        self.counter += 1;
        let mut body = self.counter.to_le_bytes().to_vec();
        body.resize(4 + bytes, self.counter as u8);
        body
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Append { topic, queue, key, bytes } => {
                let body = self.body(*bytes);
                let properties = format!("KEYS\u{1}{}\u{2}", KEYS[*key]);
                let message = with_properties(TOPICS[*topic], *queue, &body, properties.as_bytes());
                let appended = self.store().append(&message).unwrap();
                self.note((*topic, *queue), body.clone(), Some(*key), appended);
            }
            Step::Batch { topic, queues, bytes } => {
                let bodies: Vec<_> = queues.iter().map(|_| self.body(*bytes)).collect();
                let messages: Vec<_> =
                    queues.iter().zip(&bodies).map(|(queue, body)| message(TOPICS[*topic], *queue, body)).collect();
                let appended = self.store().append_batch(&messages).unwrap();
                assert_eq!(appended.len(), queues.len());
                for pair in appended.windows(2) {
                    assert_eq!(pair[0].log_end, pair[1].physical_offset);
                }
                for ((queue, body), appended) in queues.iter().zip(&bodies).zip(appended) {
                    self.note((*topic, *queue), body.clone(), None, appended);
                }
            }
            Step::Pass { ms } => self.clock.pass(*ms),
            Step::Seal => assert_eq!(self.store().seal_active().unwrap(), self.store().log_range().1),
            Step::Reopen => self.reopen(0),
            Step::DeleteSidecars { mask } => self.reopen(*mask),
            Step::Crash => self.crash(),
            Step::Forget { topic } => {
                self.store().forget_topic(TOPICS[*topic]).unwrap();
                self.queues.retain(|(of, _), _| of != topic);
            }
            Step::Sweep => self.sweep(),
        }
    }

    fn note(&mut self, queue: (usize, i32), body: Vec<u8>, key: Option<usize>, appended: strata_store::Appended) {
        let model = self.queues.entry(queue).or_default();
        let next = model.min + model.messages.len() as i64;
        assert_eq!(appended.queue_offset, next, "queue offsets are dense");
        let follows = appended.physical_offset == self.log_end;
        let in_next = appended.physical_offset % 65_536 == 0 && appended.physical_offset > self.log_end;
        assert!(follows || in_next, "the log has no gaps");
        self.log_end = appended.log_end;
        let (time, physical_offset) = (appended.store_timestamp, appended.physical_offset);
        model.messages.push(Message { body, key, time, physical_offset });
    }

    fn reopen(&mut self, mask: u8) {
        self.store().close().unwrap();
        self.store = None;
        for (bit, path) in files(&self.root.join("sidecar"), ".index").iter().enumerate() {
            if mask >> (bit % 8) & 1 == 1 {
                std::fs::remove_file(path).unwrap();
            }
        }
        self.open();
    }

    /// Goes on with a copy of the files as they are now.
    fn crash(&mut self) {
        self.counter += 1;
        let root = self.folder.path().join(self.counter.to_string());
        copy(&self.root, &root);
        self.store = None;
        std::fs::remove_dir_all(&self.root).unwrap();
        self.root = root;
        self.open();
    }

    fn open(&mut self) {
        let (store, recovery) = Store::open(model_options(&self.root), Arc::clone(&self.clock) as _).unwrap();
        assert_eq!((recovery.cut, recovery.conflicts), (None, 0));
        assert_eq!(recovery.damaged, []);
        self.store = Some(store);
    }

    fn sweep(&mut self) {
        self.store().seal_pending().unwrap();
        self.store().sweep(&|_| None, i64::MAX).unwrap();
        let start = self.store().log_range().0;
        for queue in self.queues.values_mut() {
            let gone = queue.messages.partition_point(|message| message.physical_offset < start);
            queue.messages.drain(..gone);
            queue.min += gone as i64;
        }
    }

    fn check(&self) {
        let store = self.store();
        for topic in 0..TOPICS.len() {
            for queue in 0..3 {
                self.check_queue(store, topic, queue);
            }
            self.check_keys(store, topic);
        }
        let mut seen = 0;
        store.for_each_queue(|_, _, _| seen += 1);
        assert_eq!(seen, self.queues.len());
        for pair in store.sealed_ranges().windows(2) {
            assert_eq!(pair[0].to, pair[1].from, "sealed segments follow each other");
        }
        store.sealed_ranges().iter().for_each(|range| self.check_copy(store, *range));
    }

    /// Each queue of a sealed segment is there with what the model put between its two log offsets.
    fn check_copy(&self, store: &Store, range: SealedRange) {
        let copy = store.sealed_copy(range.from).unwrap();
        assert!(range.from < range.tail && range.tail <= range.to);
        let mut expected = Vec::new();
        for ((topic, queue_id), queue) in &self.queues {
            let behind = |at: i64| queue.messages.partition_point(|message| message.physical_offset < at);
            let inside = &queue.messages[behind(range.from)..behind(range.to)];
            let base = queue.min + behind(range.from) as i64;
            // A queue that was not written before the segment's end is not known to it.
            if base > 0 || !inside.is_empty() {
                expected.push((TOPICS[*topic], *queue_id, base, inside));
            }
        }
        let mut queues = Vec::new();
        copy.for_each_queue(|topic, queue_id, base, count| queues.push((topic.to_owned(), queue_id, base, count)));
        let named: Vec<_> = expected
            .iter()
            .map(|(topic, queue_id, base, inside)| ((*topic).to_owned(), *queue_id, *base, inside.len() as u32))
            .collect();
        assert_eq!(queues, named);
        for (topic, queue_id, base, inside) in expected {
            let records: Vec<_> = copy.records(topic, queue_id).collect();
            assert_eq!(records.len(), inside.len());
            for (((offset, record), message), due) in records.iter().zip(inside).zip(base..) {
                let record = strata_protocol::record::RecordView::parse(record.unwrap()).unwrap();
                assert_eq!((*offset, record.queue_offset()), (due, due));
                assert_eq!((record.body(), record.physical_offset()), (&message.body[..], message.physical_offset));
            }
        }
        let times = self.queues.values().flat_map(|queue| &queue.messages);
        let mut times = times.filter(|message| (range.from..range.to).contains(&message.physical_offset));
        let (first, last) = (copy.first_time().unwrap(), copy.last_time().unwrap());
        assert!(times.all(|message| (first..=last).contains(&message.time)));
    }

    fn check_queue(&self, store: &Store, topic: usize, queue: i32) {
        let name = TOPICS[topic];
        let Some(model) = self.queues.get(&(topic, queue)) else {
            assert_eq!(store.queue_range(name, queue), None);
            assert_eq!(read(store, name, queue, 0).status, ReadStatus::Empty);
            return;
        };
        let max = model.min + model.messages.len() as i64;
        assert_eq!(store.queue_range(name, queue), Some(QueueRange { min: model.min, max }));
        let expected: Vec<_> = (model.min..).zip(model.messages.iter().map(|m| m.body.clone())).collect();
        let whole = read(store, name, queue, model.min);
        assert_eq!(bodies(&whole), expected);
        assert_eq!(whole.next_offset, max);
        for (offset, message) in (model.min..).zip(&model.messages) {
            assert_eq!(store.store_time(name, queue, offset), Some(message.time));
            assert!(store.record_at(message.physical_offset).is_some());
        }
        let times: Vec<i64> = model.messages.iter().map(|message| message.time).collect();
        for time in times.iter().flat_map(|time| [time - 1, *time, time + 1]).take(12) {
            let lower = times.iter().filter(|at| **at < time).count() as i64;
            let upper = times.iter().filter(|at| **at <= time).count() as i64;
            let found = |boundary| store.offset_by_time(name, queue, time, boundary) - model.min;
            assert_eq!(found(Boundary::Lower), lower);
            assert_eq!(found(Boundary::Upper), (upper - 1).max(0));
        }
    }

    fn check_keys(&self, store: &Store, topic: usize) {
        for (key, name) in KEYS.iter().enumerate() {
            let queues = self.queues.iter().filter(|((of, _), _)| *of == topic);
            let mut expected: Vec<_> = queues
                .flat_map(|(_, queue)| &queue.messages)
                .filter(|message| message.key == Some(key))
                .map(|message| (message.physical_offset, message.body.clone()))
                .collect();
            expected.sort();
            expected.reverse();
            let found = store.query_by_key(TOPICS[topic], name, 0, i64::MAX, 1_000, KeyKind::Key);
            let found: Vec<_> = found
                .iter()
                .map(|bytes| {
                    let record = strata_protocol::record::RecordView::parse(bytes).unwrap();
                    (record.physical_offset(), record.body().to_vec())
                })
                .collect();
            assert_eq!(found, expected);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, max_shrink_iters: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_store_answers_as_the_model(steps in proptest::collection::vec(step(), 1..70)) {
        let mut run = Run::new();
        for step in &steps {
            run.take(step);
        }
        run.check();
        run.reopen(0b1010_0110);
        run.check();
    }
}
