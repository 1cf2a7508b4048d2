//! Writing of a roll's index, queue by queue in the order of the rows.

use bytes::Bytes;

use super::{
    End, HEAD_BYTES, IndexError, Kind, LOST_BYTES, MAGIC, QUEUE_BYTES, SECTION_BYTES, TOPIC_BYTES, VERSION, wide,
};

/// Level of the compression of an index, whose queues compress well at any.
const LEVEL: i32 = 3;

/// A finished index.
#[derive(Debug, Clone)]
pub struct Written {
    /// All of it.
    pub bytes: Bytes,
    /// Bytes at its begin that hold the queues and what was lost.
    pub front: u64,
}

/// Collects what an index tells.
#[derive(Debug, Default)]
pub struct IndexBuilder {
    topics: Vec<u8>,
    names: Vec<u8>,
    queues: Vec<u8>,
    lost: Vec<u8>,
    /// Name and first queue row of the topic under way.
    topic: Option<(String, u32)>,
    queue: Option<OpenQueue>,
    topic_count: u32,
    queue_count: u32,
    rows: u64,
}

#[derive(Debug)]
struct OpenQueue {
    queue_id: i32,
    base: i64,
    next: i64,
    first_row: u64,
}

impl IndexBuilder {
    /// Begins a queue whose first offset in the roll is `base`; queues come sorted by topic (bytes) and id.
    ///
    /// # Errors
    /// It does not come behind the one before.
    pub fn queue(&mut self, topic: &str, queue_id: i32, base: i64) -> Result<(), IndexError> {
        let order = || IndexError::Order { topic: topic.to_owned(), queue_id, offset: base };
        let before = self.queue.as_ref().map(|queue| queue.queue_id);
        self.end_queue();
        match &self.topic {
            Some((name, _)) if name == topic => {
                if before.is_some_and(|before| before >= queue_id) {
                    return Err(order());
                }
            }
            Some((name, _)) if name.as_bytes() > topic.as_bytes() => return Err(order()),
            Some(_) | None => {
                self.end_topic();
                self.topic = Some((topic.to_owned(), self.queue_count));
            }
        }
        self.queue = Some(OpenQueue { queue_id, base, next: base, first_row: self.rows });
        Ok(())
    }

    /// The next offset of the queue is in the next row.
    pub fn row(&mut self) {
        if let Some(queue) = &mut self.queue {
            queue.next += 1;
            self.rows += 1;
        }
    }

    /// The next `count` offsets of the queue are in no row: their bytes were damaged before they were rolled.
    pub fn lost(&mut self, count: u32) {
        let Some(queue) = &mut self.queue else { return };
        self.lost.extend_from_slice(&self.queue_count.to_le_bytes());
        self.lost.extend_from_slice(&count.to_le_bytes());
        self.lost.extend_from_slice(&queue.next.to_le_bytes());
        queue.next += i64::from(count);
    }

    /// Rows so far.
    #[must_use]
    pub const fn rows(&self) -> u64 {
        self.rows
    }

    fn end_queue(&mut self) {
        let Some(queue) = self.queue.take() else { return };
        self.queues.extend_from_slice(&queue.queue_id.to_le_bytes());
        let count = u32::try_from(self.rows - queue.first_row).unwrap_or(u32::MAX);
        self.queues.extend_from_slice(&count.to_le_bytes());
        self.queues.extend_from_slice(&queue.base.to_le_bytes());
        self.queues.extend_from_slice(&queue.next.to_le_bytes());
        self.queues.extend_from_slice(&queue.first_row.to_le_bytes());
        self.queue_count += 1;
    }

    fn end_topic(&mut self) {
        let Some((name, first)) = self.topic.take() else { return };
        let name_at = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        let name_bytes = u32::try_from(name.len()).unwrap_or(u32::MAX);
        for number in [name_at, name_bytes, first, self.queue_count - first] {
            self.topics.extend_from_slice(&number.to_le_bytes());
        }
        self.names.extend_from_slice(name.as_bytes());
        self.topic_count += 1;
    }

    /// The index, with the ends of the roll's objects in their order.
    #[must_use]
    pub fn finish(mut self, ends: &[End]) -> Written {
        self.end_queue();
        self.end_topic();
        let mut queues = Vec::with_capacity(8 + self.topics.len() + self.queues.len() + self.names.len());
        queues.extend_from_slice(&self.topic_count.to_le_bytes());
        queues.extend_from_slice(&self.queue_count.to_le_bytes());
        for part in [&self.topics, &self.queues, &self.names] {
            queues.extend_from_slice(part);
        }
        debug_assert_eq!(self.topics.len() % TOPIC_BYTES + self.queues.len() % QUEUE_BYTES, 0, "whole rows");
        debug_assert_eq!(self.lost.len() % LOST_BYTES, 0, "whole rows");
        let mut file = File { sections: Vec::new(), bodies: Vec::new() };
        file.compressed(Kind::Queues, &queues);
        file.compressed(Kind::Lost, &self.lost);
        let front = file.bodies.len();
        for (number, end) in ends.iter().enumerate() {
            file.add(Kind::Tail, number, end.tail.at, &end.tail.bytes);
            file.add(Kind::Blooms, number, end.blooms.at, &end.blooms.bytes);
        }
        let bodies = file.bodies.len();
        let bytes = file.finish();
        Written { front: wide(bytes.len() - bodies + front), bytes }
    }
}

/// The sections of the file under way.
struct File {
    /// Rows of the table but for their positions: kind and object, checksum, bytes, and raw bytes or position.
    sections: Vec<(u32, u32, u64, u64)>,
    bodies: Vec<u8>,
}

impl File {
    fn compressed(&mut self, kind: Kind, raw: &[u8]) {
        // Compressing into memory fails for no input; what is told then is refused when it is read.
        let stored = zstd::bulk::compress(raw, LEVEL).unwrap_or_default();
        self.add(kind, 0, wide(raw.len()), &stored);
    }

    fn add(&mut self, kind: Kind, object: usize, number: u64, stored: &[u8]) {
        let tag = kind as u32 | u32::try_from(object).unwrap_or(u32::MAX >> 16) << 16;
        self.sections.push((tag, crc32c::crc32c(stored), wide(stored.len()), number));
        self.bodies.extend_from_slice(stored);
    }

    fn finish(self) -> Bytes {
        let head_bytes = HEAD_BYTES + self.sections.len() * SECTION_BYTES + 4;
        let mut out = Vec::with_capacity(head_bytes + self.bodies.len());
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&u32::try_from(self.sections.len()).unwrap_or(u32::MAX).to_le_bytes());
        let mut at = wide(head_bytes);
        for (tag, crc, bytes, number) in self.sections {
            out.extend_from_slice(&tag.to_le_bytes());
            out.extend_from_slice(&crc.to_le_bytes());
            for wide in [at, bytes, number] {
                out.extend_from_slice(&wide.to_le_bytes());
            }
            at += bytes;
        }
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(&self.bodies);
        out.into()
    }
}
