//! Reading back of what was put: nothing is listed, and nothing local deleted, on the word of a store alone.

use std::ops::Range;

use bytes::Bytes;

use super::{Part, RollError, Roller};
use crate::limits::BLOCK_BATCH_ROWS;
use crate::object::{Finished, Layout, ObjectError, Scan, Step};
use crate::rows::Rebuilder;

/// Reads an object back: its bytes are those that were put, its layout is read from the bytes that came back, and its
/// rows give back the records that were written, in their order.
pub(super) fn verify_object(
    roller: &mut Roller<'_>,
    (path, name): (&str, &str),
    finished: &Finished,
    part: Part,
) -> Result<(), RollError> {
    let differs = |what: &str| RollError::Differs { name: name.to_owned(), what: what.to_owned() };
    let unreadable = |error: ObjectError| RollError::Differs { name: name.to_owned(), what: error.to_string() };
    let (runtime, bucket) = (roller.runtime, roller.bucket);
    let read =
        |range: Range<u64>| -> Result<Bytes, RollError> { Ok(runtime.block_on(bucket.read_range(path, range))?) };
    let layout = Layout::read(&finished.end.tail).map_err(unreadable)?;
    let (mut bytes_crc, mut records) = (0, Records::default());
    let mut at = 0;
    for group in 0..layout.groups().len() {
        let end = layout.range_of(group).map_or(at, |range| range.end);
        let bytes = read(at..end)?;
        if bytes.len() as u64 != end - at {
            return Err(differs("fewer bytes than were asked for"));
        }
        bytes_crc = crc32c::crc32c_append(bytes_crc, &bytes);
        let pace = &mut *roller.pace;
        let mut paced = |_: &[u8]| _ = pace.row();
        records.take(&layout, group, (at, &bytes), &mut paced).map_err(unreadable)?;
        if roller.is_stopped() {
            return Err(RollError::Stopped { from: part.from, to: part.to });
        }
        at = end;
    }
    let end = read(at..finished.bytes)?;
    if crc32c::crc32c_append(bytes_crc, &end) != finished.crc32c {
        return Err(differs("other bytes"));
    }
    if (records.rows, records.crc) != (finished.rows, finished.records_crc) {
        return Err(differs("other records"));
    }
    Ok(())
}

/// The records of an object, as they come back.
#[derive(Debug, Default)]
pub(crate) struct Records {
    /// Rows so far.
    pub(crate) rows: u64,
    /// crc32c over the records' checksums so far.
    pub(crate) crc: u32,
    record: Vec<u8>,
}

impl Records {
    /// Takes the rows of a row group, whose pages are in `bytes`, which begin at `at` in the object, and shows each record.
    pub(crate) fn take(
        &mut self,
        layout: &Layout,
        group: usize,
        part: (u64, &Bytes),
        each: &mut dyn FnMut(&[u8]),
    ) -> Result<(), ObjectError> {
        let rows = layout.groups().nth(group).unwrap_or(0);
        let all = 0..rows;
        let mut scan = Scan::in_batches(layout, (group, std::slice::from_ref(&all)), None, BLOCK_BATCH_ROWS)?;
        loop {
            match scan.step()? {
                Step::Need(ranges) => scan.give_from(ranges, part)?,
                Step::Rows(batch) => {
                    let rebuilder = Rebuilder::new(&batch)?;
                    for row in 0..batch.num_rows() {
                        self.record.clear();
                        rebuilder.rebuild(row, &mut self.record)?;
                        let crc = crc32c::crc32c(&self.record);
                        self.crc = crc32c::crc32c_append(self.crc, &crc.to_le_bytes());
                        self.rows += 1;
                        each(&self.record);
                    }
                }
                Step::End => return Ok(()),
            }
        }
    }
}
