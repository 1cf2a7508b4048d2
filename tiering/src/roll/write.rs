//! One roll: objects, their reading back, and the index.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use strata_protocol::record::{SYS_FLAG_AT, store_timestamp_at};
use tokio::runtime::Handle;

use super::cut::Progress;
use super::verify::verify_object;
use super::{Part, RollError, Source, Walker};
use crate::bucket::Bucket;
use crate::index::{End, Index, IndexBuilder, IndexError, Written};
use crate::limits::SAMPLE_BYTES_MAX;
use crate::manifest::{ObjectEntry, ObjectRef, Place, Roll, index_name, object_name, roll_folder};
use crate::object::{Finished, ObjectWriter, Origin};
use crate::pace::Pace;
use crate::rows::{PropertyColumn, choose};

/// What a roll is made with.
#[derive(Debug, Clone)]
pub struct RollOptions {
    /// The broker's name, as it is told in footers.
    pub broker: String,
    /// The epoch that was claimed.
    pub epoch: u64,
    /// Which attempt of this writer at the part it is.
    pub attempt: u32,
    /// Properties that get columns, with their ids, which the manifest knows.
    pub properties: Vec<PropertyColumn>,
}

/// A finished roll, in the bucket and not listed yet.
#[derive(Debug, Clone)]
pub struct Rolled {
    /// What the manifest is to list.
    pub roll: Roll,
    /// Bytes of records.
    pub record_bytes: u64,
    /// Messages.
    pub rows: u64,
}

/// Makes rolls, in the calling thread.
pub struct Roller<'a> {
    /// Where objects go.
    pub bucket: &'a Bucket,
    /// The broker's folder in it.
    pub home: &'a str,
    /// Runs the requests.
    pub runtime: &'a Handle,
    /// Keeps the budgets.
    pub pace: &'a mut Pace,
    /// Set when the broker stops.
    pub stop: &'a AtomicBool,
}

impl Roller<'_> {
    /// Writes the objects and the index of a part, and reads all of them back.
    ///
    /// # Errors
    /// The part cannot be read, the store refuses, or it gives back something else. Nothing is listed; what was put is
    /// garbage.
    pub fn roll(&mut self, source: &dyn Source, options: &RollOptions) -> Result<Rolled, RollError> {
        let part = source.part();
        let origin = Origin {
            broker: options.broker.clone(),
            epoch: options.epoch,
            from: part.from,
            to: part.to,
            properties: options.properties.clone(),
        };
        let mut work = Work {
            roller: self,
            part,
            origin,
            folder: roll_folder(part.from, part.to, options.epoch, options.attempt),
            index: IndexBuilder::default(),
            objects: Vec::new(),
            ends: Vec::new(),
            open: None,
            queue: (String::new(), 0, 0),
            last: (String::new(), 0, 0),
            bytes: (0, 0),
            failed: None,
        };
        source.walk(&mut work)?;
        work.finish()
    }

    /// Puts an object, and reads it back.
    fn put(&mut self, name: &str, finished: &Finished, part: Part) -> Result<(), RollError> {
        let path = format!("{}/{name}", self.home);
        self.pace.before_put(finished.bytes, self.stop);
        self.runtime.block_on(self.bucket.put_large(&path, &finished.pieces))?;
        verify_object(self, (&path, name), finished, part)
    }

    /// Puts the index, and reads it back.
    fn put_index(&mut self, name: &str, written: &Written, objects: usize) -> Result<ObjectRef, RollError> {
        let (path, bytes) = (format!("{}/{name}", self.home), &written.bytes);
        self.runtime.block_on(self.bucket.put_large(&path, std::slice::from_ref(bytes)))?;
        let back = self.runtime.block_on(self.bucket.read(&path))?;
        if back != *bytes {
            return Err(RollError::Differs { name: name.to_owned(), what: "other bytes".to_owned() });
        }
        // Without it nobody finds what the objects hold: it is read as readers will, before anything local may go.
        let index = Index::read(&back)?;
        for at in 0..objects {
            for part in [index.tail(at), index.blooms(at)] {
                let missing = IndexError::Damaged { what: "the end of an object is missing" };
                let part = part.ok_or(missing)?;
                let range = usize::try_from(part.from).unwrap_or(usize::MAX)..usize::try_from(part.to).unwrap_or(0);
                let is_there = range.start <= range.end && range.end <= back.len();
                part.piece(if is_there { back.slice(range) } else { Bytes::new() })?;
            }
        }
        let crc32c = crc32c::crc32c(bytes);
        Ok(ObjectRef { name: name.into(), bytes: bytes.len() as u64, crc32c })
    }

    /// Whether the broker stops, or others have the core for too long.
    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.pace.is_starved()
    }
}

/// Names of properties of a part that are worth a column.
#[must_use]
pub fn often_used(source: &dyn Source, known: &BTreeMap<String, i32>) -> Vec<String> {
    let (mut records, mut bytes) = (Vec::new(), 0);
    source.sample(&mut |record| {
        if bytes + record.len() <= SAMPLE_BYTES_MAX {
            bytes += record.len();
            records.push(record.to_vec());
        }
    });
    choose(records.iter().map(Vec::as_slice), known)
}

/// A roll under way.
struct Work<'a, 'b> {
    roller: &'a mut Roller<'b>,
    part: Part,
    origin: Origin,
    /// The roll's folder in the broker's.
    folder: String,
    index: IndexBuilder,
    objects: Vec<ObjectEntry>,
    ends: Vec<End>,
    open: Option<Open>,
    /// The queue under way and its next offset.
    queue: (String, i32, i64),
    /// The place of the last record: queues without messages may have come behind it, and lost offsets.
    last: (String, i32, i64),
    /// Bytes of records that were written, and of finished objects.
    bytes: (u64, u64),
    failed: Option<RollError>,
}

/// The object under way.
struct Open {
    writer: ObjectWriter,
    first: Place,
    first_time: i64,
    last_time: i64,
}

impl Work<'_, '_> {
    fn take(&mut self, record: &[u8]) -> Result<(), RollError> {
        let part = self.part;
        let failed = |source| RollError::Object { from: part.from, to: part.to, source };
        let time = store_time(record);
        let (topic, queue_id, offset) = &self.queue;
        let open = match &mut self.open {
            Some(open) => open,
            none => none.insert(Open {
                writer: ObjectWriter::new(&self.origin).map_err(failed)?,
                first: Place { topic: topic.as_str().into(), queue_id: *queue_id, offset: *offset },
                first_time: time,
                last_time: time,
            }),
        };
        (open.first_time, open.last_time) = (open.first_time.min(time), open.last_time.max(time));
        let group_ends = open.writer.push(record).map_err(failed)?;
        self.index.row();
        if self.last.0 != self.queue.0 {
            self.queue.0.clone_into(&mut self.last.0);
        }
        (self.last.1, self.last.2) = (self.queue.1, self.queue.2);
        self.queue.2 += 1;
        self.bytes.0 += record.len() as u64;
        if self.roller.pace.row() && self.roller.is_stopped() {
            return Err(RollError::Stopped { from: part.from, to: part.to });
        }
        if group_ends {
            let bytes = open.writer.bytes() as u64;
            let progress =
                Progress { total: part.bytes, done: self.bytes.0, stored: self.bytes.1 + bytes, open: bytes };
            if progress.cuts() {
                self.end_object()?;
            }
        }
        Ok(())
    }

    fn end_object(&mut self) -> Result<(), RollError> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let (from, to) = (self.part.from, self.part.to);
        let finished = open.writer.finish().map_err(|source| RollError::Object { from, to, source })?;
        let name = object_name(&self.folder, self.objects.len());
        self.roller.put(&name, &finished, self.part)?;
        let (topic, queue_id, offset) = &self.last;
        self.objects.push(ObjectEntry {
            name: name.into(),
            bytes: finished.bytes,
            rows: finished.rows,
            crc32c: finished.crc32c,
            first: open.first,
            last: Place { topic: topic.as_str().into(), queue_id: *queue_id, offset: *offset },
            first_time: open.first_time,
            last_time: open.last_time,
        });
        self.bytes.1 += finished.bytes;
        self.ends.push(finished.end);
        Ok(())
    }

    fn finish(mut self) -> Result<Rolled, RollError> {
        if let Some(failed) = self.failed.take() {
            return Err(failed);
        }
        self.end_object()?;
        let rows = self.index.rows();
        let index = std::mem::take(&mut self.index).finish(&self.ends);
        let name = index_name(&self.folder);
        let front = index.front;
        let index = self.roller.put_index(&name, &index, self.ends.len())?;
        let roll = Roll {
            from: self.part.from,
            to: self.part.to,
            epoch: self.origin.epoch,
            first_time: self.part.first_time,
            last_time: self.part.last_time,
            index,
            front,
            objects: self.objects.into(),
        };
        Ok(Rolled { roll, record_bytes: self.bytes.0, rows })
    }

    fn go_on(&mut self, result: Result<(), RollError>) -> ControlFlow<()> {
        match result {
            Ok(()) => ControlFlow::Continue(()),
            Err(failed) => {
                self.failed = Some(failed);
                ControlFlow::Break(())
            }
        }
    }
}

impl Walker for Work<'_, '_> {
    fn queue(&mut self, topic: &str, queue_id: i32, base: i64) -> ControlFlow<()> {
        if self.queue.0 != topic {
            topic.clone_into(&mut self.queue.0);
        }
        (self.queue.1, self.queue.2) = (queue_id, base);
        let begun = self.index.queue(topic, queue_id, base).map_err(RollError::from);
        self.go_on(begun)
    }

    fn record(&mut self, record: &[u8]) -> ControlFlow<()> {
        let taken = self.take(record);
        self.go_on(taken)
    }

    fn lost(&mut self, count: u32) -> ControlFlow<()> {
        self.index.lost(count);
        self.queue.2 += i64::from(count);
        ControlFlow::Continue(())
    }
}

/// When a whole record was stored, ms since 1970.
fn store_time(record: &[u8]) -> i64 {
    let at = |at: usize, to: usize| record.get(at..to);
    let sys_flag =
        at(SYS_FLAG_AT, SYS_FLAG_AT + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, i32::from_be_bytes);
    let time_at = store_timestamp_at(sys_flag);
    at(time_at, time_at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, i64::from_be_bytes)
}
