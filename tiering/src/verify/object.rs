//! An object of messages, row by row.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use strata_protocol::record::RecordView;

use super::index::{Checked, Ends};
use super::{VerifyError, blocking};
use crate::bucket::{Bucket, BucketError};
use crate::limits::FETCH_BYTES_MAX;
use crate::manifest::{ObjectEntry, Roll};
use crate::roll::Records;

/// One object to be checked.
pub(super) struct ObjectCheck<'a> {
    pub(super) bucket: &'a Bucket,
    /// Its name in the bucket.
    pub(super) path: String,
    pub(super) roll: &'a Roll,
    /// Its place in the roll.
    pub(super) number: usize,
    /// Its first row in the roll.
    pub(super) first_row: u64,
}

/// The rows, or what is wrong.
type Outcome = Result<u64, String>;

impl ObjectCheck<'_> {
    /// Checks it, by the roll's index if that can be used.
    pub(super) async fn run(&self, index: Option<&Arc<Checked>>) -> Result<Outcome, VerifyError> {
        let Some(entry) = self.roll.objects.get(self.number) else { return Ok(Ok(0)) };
        match self.bucket.size(&self.path).await {
            Ok(size) if size == entry.bytes => {}
            Ok(size) => return Ok(Err(format!("it has {size} bytes instead of {}", entry.bytes))),
            Err(BucketError::Missing { .. }) => return Ok(Err("it is missing".to_owned())),
            Err(error) => return Err(error.into()),
        }
        let ends = index.and_then(|index| index.ends.get(self.number).cloned().flatten().map(|ends| (index, ends)));
        let checked = match ends {
            Some((index, ends)) => self.rows(entry, index, &ends).await,
            None => self.bytes(entry).await,
        };
        match checked {
            // It was there when its size was asked for, and was deleted since.
            Err(VerifyError::Bucket(BucketError::Missing { .. })) => Ok(Err("it is missing".to_owned())),
            checked => checked,
        }
    }

    /// The bytes alone: without an index nobody knows where the rows should be.
    async fn bytes(&self, entry: &ObjectEntry) -> Result<Outcome, VerifyError> {
        let (mut at, mut crc) = (0, 0);
        while at < entry.bytes {
            let end = entry.bytes.min(at + FETCH_BYTES_MAX);
            let bytes = self.bucket.read_range(&self.path, at..end).await?;
            crc = blocking(&entry.name, move || crc32c::crc32c_append(crc, &bytes)).await?;
            at = end;
        }
        Ok(if crc == entry.crc32c { Ok(0) } else { Err("its bytes do not match their checksum".to_owned()) })
    }

    async fn rows(&self, entry: &ObjectEntry, index: &Arc<Checked>, ends: &Ends) -> Result<Outcome, VerifyError> {
        let mut rows = Rows {
            index: Arc::clone(index),
            ends: ends.clone(),
            log: self.roll.from..self.roll.to,
            first_row: self.first_row,
            records: Records::default(),
            crc: 0,
            times: None,
            wrong: None,
        };
        let mut at = 0;
        for group in 0..ends.layout.groups().len() {
            // Whatever lies before a group's pages counts for the checksum too.
            let end = ends.layout.range_of(group).map_or(at, |range| range.end).clamp(at, entry.bytes);
            let bytes = self.bucket.read_range(&self.path, at..end).await?;
            rows = blocking(&entry.name, move || rows.group(group, at, &bytes)).await?;
            at = end;
        }
        let rest = self.bucket.read_range(&self.path, at..entry.bytes).await?;
        let own = entry.clone();
        blocking(&entry.name, move || rows.finish(&own, at, &rest)).await
    }
}

/// The rows of an object so far.
struct Rows {
    index: Arc<Checked>,
    ends: Ends,
    /// The roll's part of the log.
    log: Range<u64>,
    first_row: u64,
    records: Records,
    /// Of the bytes so far.
    crc: u32,
    /// The lowest and the highest store time.
    times: Option<(i64, i64)>,
    /// The first thing that is wrong.
    wrong: Option<String>,
}

impl Rows {
    fn group(mut self, group: usize, at: u64, bytes: &Bytes) -> Self {
        self.crc = crc32c::crc32c_append(self.crc, bytes);
        let mut expected = self.index.messages_at(self.first_row + self.records.rows);
        let (log, times, mut wrong) = (&self.log, &mut self.times, None);
        let taken = self.records.take(&self.ends.layout, group, (at, bytes), &mut |record| {
            if let Err(what) = check_record(record, expected.next(), log, times) {
                wrong.get_or_insert(what);
            }
        });
        let of_group = taken.err().map(|error| format!("row group {group}: {error}")).or(wrong);
        drop(expected);
        self.wrong = self.wrong.or(of_group);
        self
    }

    fn finish(mut self, entry: &ObjectEntry, at: u64, rest: &Bytes) -> Outcome {
        self.crc = crc32c::crc32c_append(self.crc, rest);
        if self.crc != entry.crc32c {
            let more = self.wrong.map(|wrong| format!("; {wrong}")).unwrap_or_default();
            return Err(format!("its bytes do not match their checksum{more}"));
        }
        if let Some(wrong) = self.wrong {
            return Err(wrong);
        }
        if self.records.rows != entry.rows {
            return Err(format!("it has {} messages instead of {}", self.records.rows, entry.rows));
        }
        if self.times != Some((entry.first_time, entry.last_time)) {
            return Err(format!("its store times are {:?}, it is listed with others", self.times));
        }
        for piece in [&self.ends.blooms, &self.ends.tail] {
            let from = piece.at.checked_sub(at).and_then(|from| usize::try_from(from).ok());
            let there = from.and_then(|from| rest.get(from..from.checked_add(piece.bytes.len())?));
            if there != Some(&piece.bytes[..]) {
                return Err("its index repeats another end of it".to_owned());
            }
        }
        Ok(self.records.rows)
    }
}

/// A record is the one that the index tells, and lies in the roll's part of the log.
fn check_record(
    record: &[u8],
    expected: Option<(&str, i32, i64)>,
    log: &Range<u64>,
    times: &mut Option<(i64, i64)>,
) -> Result<(), String> {
    let view = RecordView::parse(record).map_err(|error| error.to_string())?;
    let found = (view.topic(), view.queue_id(), view.queue_offset());
    if expected != Some(found) {
        return Err(format!("a row has {found:?}, the index says {expected:?}"));
    }
    if !u64::try_from(view.physical_offset()).is_ok_and(|offset| log.contains(&offset)) {
        let at = view.physical_offset();
        return Err(format!("{found:?} has the log offset {at}, the roll has {} to {}", log.start, log.end));
    }
    let time = view.store_timestamp();
    *times = Some(times.map_or((time, time), |(first, last)| (first.min(time), last.max(time))));
    Ok(())
}
