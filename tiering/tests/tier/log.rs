//! A log in memory, as whoever rolls sees one.
//!
//! Owns making records of many queues, and the walk over them. It is the truth that cold reads are held against.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use strata_protocol::record::{Placement, Record, encode_record};
use strata_tiering::roll::{Part, Source, SourceError, Walker};

/// What is at an offset of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Slot {
    /// A message.
    Record(Vec<u8>),
    /// Its bytes are damaged.
    Lost,
}

/// A queue: the offset of its first slot, and its slots.
#[derive(Debug, Clone, Default)]
pub(crate) struct Queue {
    pub(crate) base: i64,
    pub(crate) slots: Vec<Slot>,
}

/// A part of a log.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log {
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) times: Option<(i64, i64)>,
    pub(crate) bytes: u64,
    pub(crate) queues: BTreeMap<(String, i32), Queue>,
}

/// A message to be.
#[derive(Debug, Clone)]
pub(crate) struct Draft<'a> {
    pub(crate) topic: &'a str,
    pub(crate) queue_id: i32,
    pub(crate) properties: &'a [u8],
    pub(crate) body: &'a [u8],
    pub(crate) time: i64,
}

impl Log {
    /// A part that begins at a log offset.
    #[must_use]
    pub(crate) fn at(from: u64) -> Self {
        Self { from, to: from, ..Self::default() }
    }

    /// The part behind this one; its queues go on.
    #[must_use]
    pub(crate) fn next(&self) -> Self {
        let on = |queue: &Queue| Queue { base: queue.base + queue.slots.len() as i64, slots: Vec::new() };
        let queues = self.queues.iter().map(|(key, queue)| (key.clone(), on(queue))).collect();
        Self { from: self.to, to: self.to, times: None, bytes: 0, queues }
    }

    /// Appends a message.
    pub(crate) fn append(&mut self, draft: &Draft<'_>) {
        let queue = self.queues.entry((draft.topic.to_owned(), draft.queue_id)).or_default();
        let placed = Placement {
            queue_offset: queue.base + queue.slots.len() as i64,
            physical_offset: self.to as i64,
            store_timestamp: draft.time,
            store_host: ([127, 0, 0, 1], 10_911).into(),
        };
        let record = Record {
            topic: draft.topic,
            queue_id: draft.queue_id,
            flag: 0,
            sys_flag: 0,
            born_timestamp: draft.time - 3,
            born_host: ([10, 1, 2, 3], 40_000).into(),
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: draft.body,
            properties: draft.properties,
            placed,
        };
        let mut bytes = Vec::new();
        encode_record(&mut bytes, &record).unwrap();
        self.to += bytes.len() as u64;
        self.bytes += bytes.len() as u64;
        let first = self.times.map_or(draft.time, |(first, _)| first);
        self.times = Some((first, draft.time));
        queue.slots.push(Slot::Record(bytes));
    }

    /// Damages the message at an offset.
    #[allow(dead_code, reason = "each test uses a part of it")]
    pub(crate) fn lose(&mut self, topic: &str, queue_id: i32, offset: i64) {
        let queue = self.queues.get_mut(&(topic.to_owned(), queue_id)).unwrap();
        let at = usize::try_from(offset - queue.base).unwrap();
        queue.slots[at] = Slot::Lost;
    }
}

impl Source for Log {
    fn part(&self) -> Part {
        let (first_time, last_time) = self.times.unwrap_or((0, 0));
        Part { from: self.from, to: self.to, first_time, last_time, bytes: self.bytes }
    }

    fn sample(&self, each: &mut dyn FnMut(&[u8])) {
        let all = self.queues.values().flat_map(|queue| &queue.slots);
        let step = (all.clone().count() / 1_000).max(1);
        for slot in all.step_by(step) {
            if let Slot::Record(record) = slot {
                each(record);
            }
        }
    }

    fn walk(&self, walker: &mut dyn Walker) -> Result<(), SourceError> {
        for ((topic, queue_id), queue) in &self.queues {
            if walker.queue(topic, *queue_id, queue.base).is_break() {
                return Ok(());
            }
            for slot in &queue.slots {
                let go_on = match slot {
                    Slot::Record(record) => walker.record(record),
                    Slot::Lost => walker.lost(1),
                };
                if go_on == ControlFlow::Break(()) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}
