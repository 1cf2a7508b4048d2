//! Writing of a sidecar, section by section, without holding it in memory as a whole.
//!
//! Owns the order and the checksums. When to write one is decided by `seal` and `recover`.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::{Extent, Facts, HEADER_BYTES, Header, SECTIONS, bloom};
use crate::disk::{Disk, Existing, publish, temporary_of};
use crate::index::SegmentIndex;

/// A queue that the store knew when the segment ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct QueueRow {
    pub(crate) topic: Arc<str>,
    pub(crate) queue_id: i32,
    /// Its number in the index, by which its messages are found.
    pub(crate) number: u32,
    /// Its next offset when the segment ended.
    pub(crate) next: i64,
}

/// What a sidecar is made from.
pub(crate) struct Source<'a> {
    pub(crate) first: i64,
    pub(crate) end: i64,
    /// Position behind its records and the blank's mark.
    pub(crate) tail: usize,
    /// Checksums of its blocks up to there.
    pub(crate) blocks: &'a [u32],
    pub(crate) index: &'a SegmentIndex,
    /// Every known queue.
    pub(crate) rows: Vec<QueueRow>,
}

/// Writes the sidecar of `source` in the place of `path`, durably.
pub(crate) fn write(disk: &dyn Disk, path: &Path, mut source: Source<'_>) -> io::Result<()> {
    source.rows.sort_by(|a, b| (&*a.topic, a.queue_id).cmp(&(&*b.topic, b.queue_id)));
    let file = disk.create(&temporary_of(path), Existing::Emptied)?;
    let mut out = Writer { disk, file: &file, at: HEADER_BYTES as u64, crc: 0, buffer: Vec::new() };
    let index = source.index;
    let mut header = Header {
        facts: Facts {
            first: source.first,
            end: source.end,
            tail: source.tail as u64,
            records: index.records,
            first_time: index.first_time.unwrap_or(-1),
            last_time: if index.first_time.is_some() { index.last_time } else { -1 },
        },
        sections: [Extent::default(); SECTIONS],
    };
    let steps: [fn(&mut Writer<'_>, &Source<'_>) -> io::Result<()>; 4] = [topics, names, queues, entries];
    for (section, step) in header.sections.iter_mut().zip(steps) {
        *section = out.section(|out| step(out, &source))?;
    }
    let keys = KeyTable::of(index);
    header.sections[4] = out.section(|out| keys.write_buckets(out))?;
    header.sections[5] = out.section(|out| keys.write_rows(out))?;
    header.sections[6] = out.section(|out| out.put(&bloom::build(keys.rows.iter().map(|(hash, _)| *hash))))?;
    header.sections[7] = out.section(|out| blocks(out, &source))?;
    header.sections[8] = out.section(|out| damage(out, &source))?;
    // Empty sections at the end lie behind the last byte written; the file reaches to them.
    let end = out.at;
    disk.resize(&file, end)?;
    disk.write_at(&file, &header.encode(), 0)?;
    publish(disk, &file, path)
}

fn topics(out: &mut Writer<'_>, source: &Source<'_>) -> io::Result<()> {
    let (mut name_at, mut row) = (0, 0);
    for group in source.rows.chunk_by(|a, b| a.topic == b.topic) {
        let name = small(group[0].topic.len())?;
        let rows = small(group.len())?;
        for number in [name_at, name, row, rows] {
            out.put(&number.to_le_bytes())?;
        }
        name_at += name;
        row += rows;
    }
    Ok(())
}

fn names(out: &mut Writer<'_>, source: &Source<'_>) -> io::Result<()> {
    for group in source.rows.chunk_by(|a, b| a.topic == b.topic) {
        out.put(group[0].topic.as_bytes())?;
    }
    Ok(())
}

fn queues(out: &mut Writer<'_>, source: &Source<'_>) -> io::Result<()> {
    let mut first_entry = 0_u64;
    for row in &source.rows {
        let run = source.index.run(row.number);
        let count = small(run.map_or(0, |run| run.entries.len()))?;
        let base = row.next - i64::from(count);
        if let Some(run) = run {
            assert_eq!(run.base, base, "a queue's entries end at its next offset");
        }
        out.put(&row.queue_id.to_le_bytes())?;
        out.put(&count.to_le_bytes())?;
        out.put(&base.to_le_bytes())?;
        out.put(&first_entry.to_le_bytes())?;
        first_entry += u64::from(count);
    }
    Ok(())
}

fn entries(out: &mut Writer<'_>, source: &Source<'_>) -> io::Result<()> {
    let runs = source.rows.iter().filter_map(|row| source.index.run(row.number));
    for entry in runs.flat_map(|run| &run.entries) {
        out.put(&entry.position.to_le_bytes())?;
        out.put(&entry.length.to_le_bytes())?;
        out.put(&entry.tag.to_le_bytes())?;
        out.put(&entry.time.to_le_bytes())?;
        out.put(&entry.crc.to_le_bytes())?;
    }
    Ok(())
}

fn blocks(out: &mut Writer<'_>, source: &Source<'_>) -> io::Result<()> {
    for block in source.blocks {
        out.put(&block.to_le_bytes())?;
    }
    Ok(())
}

fn damage(out: &mut Writer<'_>, source: &Source<'_>) -> io::Result<()> {
    for (from, to) in &source.index.damage {
        out.put(&u64::from(*from).to_le_bytes())?;
        out.put(&u64::from(*to).to_le_bytes())?;
    }
    Ok(())
}

/// The keys in buckets.
struct KeyTable {
    rows: Vec<(u32, u32)>,
    buckets: usize,
}

impl KeyTable {
    fn of(index: &SegmentIndex) -> Self {
        let mut rows: Vec<(u32, u32)> = index.keys.iter().collect();
        // About four keys share a bucket.
        let buckets = (index.keys.len() / 4).next_power_of_two();
        rows.sort_unstable_by_key(|(hash, position)| (*hash as usize & (buckets - 1), *position));
        Self { rows, buckets }
    }

    fn write_buckets(&self, out: &mut Writer<'_>) -> io::Result<()> {
        let mut row = 0;
        for bucket in 0..=self.buckets {
            while row < self.rows.len() && (self.rows[row].0 as usize & (self.buckets - 1)) < bucket {
                row += 1;
            }
            out.put(&small(row)?.to_le_bytes())?;
        }
        Ok(())
    }

    fn write_rows(&self, out: &mut Writer<'_>) -> io::Result<()> {
        for (hash, position) in &self.rows {
            out.put(&hash.to_le_bytes())?;
            out.put(&position.to_le_bytes())?;
        }
        Ok(())
    }
}

/// A count as the file keeps it; a segment below 2 GiB has no larger one.
fn small(count: usize) -> io::Result<u32> {
    u32::try_from(count).map_err(io::Error::other)
}

/// Writes sections through a buffer and sums them up.
struct Writer<'a> {
    disk: &'a dyn Disk,
    file: &'a File,
    /// Where the buffer's first byte goes.
    at: u64,
    crc: u32,
    buffer: Vec<u8>,
}

impl Writer<'_> {
    /// Bytes collected before they are written.
    const BUFFER_BYTES: usize = 256 * 1024;

    fn section(&mut self, fill: impl FnOnce(&mut Self) -> io::Result<()>) -> io::Result<Extent> {
        let at = self.at;
        self.crc = 0;
        fill(self)?;
        self.drain()?;
        let bytes = self.at - at;
        self.at = self.at.next_multiple_of(8);
        Ok(Extent { at, bytes, crc: self.crc })
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= Self::BUFFER_BYTES { self.drain() } else { Ok(()) }
    }

    fn drain(&mut self) -> io::Result<()> {
        self.crc = crc32c::crc32c_append(self.crc, &self.buffer);
        self.disk.write_at(self.file, &self.buffer, self.at)?;
        self.at += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}
