//! Reading a segment from its beginning: which records are good, what is damage, where it ends.
//!
//! Owns the whole-record check and the decision between a torn tail and damage. What is done about
//! either is `recover`'s.

use strata_protocol::record::{BLANK_BYTES_MIN, MAGIC_AT, Magic, PHYSICAL_OFFSET_AT, RECORD_BYTES_MIN, RecordView};

use crate::limits::PROPERTIES_NULS_MAX;
use crate::segment::to_offset;
use crate::sums::Sums;

/// What a scan comes across, in order.
#[derive(Debug)]
pub(crate) enum Found<'a> {
    /// A good record.
    Record { position: usize, record: RecordView<'a> },
    /// Bytes that hold no good record while good ones follow. A header that can still be read is
    /// given along.
    Damage { from: usize, to: usize, header: Option<RecordView<'a>> },
}

/// How a segment ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// With a blank, or to the last byte: the log goes on in the next segment.
    Full,
    /// Nothing good behind the tail.
    Open,
}

/// The result of a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scanned {
    /// Position behind the last record and a blank's mark.
    pub(crate) tail: usize,
    pub(crate) end: End,
}

/// A segment to be scanned.
pub(crate) struct Scan<'a> {
    /// All bytes of the segment.
    pub(crate) bytes: &'a [u8],
    /// Log offset of the first one.
    pub(crate) first: i64,
    /// What was summed of it while it was active.
    pub(crate) sums: &'a Sums,
    /// The stretches that hold data; everything outside of them is known to be zero.
    pub(crate) data: &'a [(usize, usize)],
}

/// What stands at a position.
enum At<'a> {
    Record(RecordView<'a>),
    Blank,
    Bad(Option<RecordView<'a>>),
}

impl<'a> Scan<'a> {
    /// Reads the whole segment and tells `found` about each record and each damage.
    ///
    /// `more` says that good records follow in later segments: nothing here is a torn tail then.
    pub(crate) fn run(&self, more: bool, found: &mut dyn FnMut(Found<'a>)) -> Scanned {
        let mut at = 0;
        loop {
            if at + BLANK_BYTES_MIN > self.bytes.len() {
                return Scanned { tail: at, end: End::Full };
            }
            match self.look(at) {
                At::Record(record) => {
                    found(Found::Record { position: at, record });
                    at += record.bytes().len();
                }
                At::Blank => return Scanned { tail: at + BLANK_BYTES_MIN, end: End::Full },
                At::Bad(header) => {
                    let Some(to) = self.next_good(at, more) else {
                        return Scanned { tail: at, end: End::Open };
                    };
                    found(Found::Damage { from: at, to, header });
                    at = to;
                }
            }
        }
    }

    /// Where the log goes on behind bad bytes at `at`; `None` when they are a torn tail.
    fn next_good(&self, at: usize, more: bool) -> Option<usize> {
        let summed = self.sums.after(at).filter(|next| !matches!(self.look(*next), At::Bad(_)));
        let next = summed.or_else(|| self.search(at + 1));
        if next.is_some() {
            return next;
        }
        if more {
            return Some(self.bytes.len());
        }
        // What a frame covers was durable once: it was not torn off, it was damaged.
        (at < self.sums.covered).then_some(self.sums.covered.min(self.bytes.len()))
    }

    fn look(&self, at: usize) -> At<'a> {
        let rest = &self.bytes[at..];
        if rest.len() < BLANK_BYTES_MIN {
            return At::Bad(None);
        }
        let sum = self.sums.of(at);
        if let Some(blank) = self.blank(at) {
            let matches = sum.is_none_or(|sum| sum == crc32c::crc32c(blank));
            return if matches { At::Blank } else { At::Bad(None) };
        }
        let Some(record) = RecordView::parse(rest).ok().filter(|r| self.is_here(r, at)) else {
            return At::Bad(None);
        };
        let good = match sum {
            Some(sum) => crc32c::crc32c(record.bytes()) == sum,
            None => at >= self.sums.covered && record.check_body().is_ok() && !has_lost_bytes(&record, at),
        };
        if good { At::Record(record) } else { At::Bad(Some(record)) }
    }

    /// The mark of a blank that reaches exactly to the end.
    fn blank(&self, at: usize) -> Option<&'a [u8]> {
        let mark = self.bytes.get(at..at + BLANK_BYTES_MIN)?;
        let length = u32::from_be_bytes([mark[0], mark[1], mark[2], mark[3]]) as usize;
        let magic = u32::from_be_bytes([mark[4], mark[5], mark[6], mark[7]]);
        let is_blank = Magic::of(magic) == Some(Magic::Blank) && at + length == self.bytes.len();
        is_blank.then_some(mark)
    }

    fn is_here(&self, record: &RecordView<'_>, at: usize) -> bool {
        record.physical_offset() == self.first + to_offset(at)
    }

    /// The first good record (or blank) at or behind `from`, wherever it begins.
    pub(crate) fn search(&self, from: usize) -> Option<usize> {
        for (start, end) in self.data {
            // A record that begins in a stretch of data may reach beyond it.
            let last = (*end).min(self.bytes.len().saturating_sub(BLANK_BYTES_MIN) + 1);
            let mut at = from.max(start.saturating_sub(RECORD_BYTES_MIN));
            while at < last {
                match self.candidate(at, last) {
                    Some(next) if self.is_good(next) => return Some(next),
                    Some(next) => at = next + 1,
                    None => break,
                }
            }
        }
        None
    }

    fn is_good(&self, at: usize) -> bool {
        matches!(self.look(at), At::Record(_) | At::Blank)
    }

    /// The first position from `at` before `last` whose magic and offset could be a record's.
    fn candidate(&self, mut at: usize, last: usize) -> Option<usize> {
        while at < last {
            let window = &self.bytes[at + MAGIC_AT..(last + MAGIC_AT).min(self.bytes.len())];
            let first_bytes = |byte: &u8| *byte == 0xDA || *byte == 0xCB;
            at += window.iter().position(first_bytes)?;
            if self.is_plausible(at) {
                return Some(at);
            }
            at += 1;
        }
        None
    }

    fn is_plausible(&self, at: usize) -> bool {
        if self.blank(at).is_some() {
            return true;
        }
        let Some(head) = self.bytes.get(at..at + PHYSICAL_OFFSET_AT + 8) else { return false };
        let magic = [head[4], head[5], head[6], head[7]];
        let code = Magic::of(u32::from_be_bytes(magic));
        let expected = (self.first + to_offset(at)).to_be_bytes();
        matches!(code, Some(Magic::V1 | Magic::V2)) && head[PHYSICAL_OFFSET_AT..] == expected
    }
}

/// Whether bytes that a power cut took lie in the record where no other check would see them.
///
/// A segment is made of zeros, so what was never written reads as zeros: whole sectors, or the end of one
/// when the system wrote its page while the record was being copied there. In the head of a record that
/// contradicts its sizes and in the body its checksum; topic and properties have neither. So there zeros are
/// taken for lost where no message has them: in the topic, at the end of the properties, and many in a row.
fn has_lost_bytes(record: &RecordView<'_>, at: usize) -> bool {
    let properties = record.properties();
    if record.topic().as_bytes().contains(&0) || properties.last() == Some(&0) {
        return true;
    }
    let mut zeros = 0;
    let mut many = properties.iter().map(|byte| {
        zeros = if *byte == 0 { zeros + 1 } else { 0 };
        zeros
    });
    many.any(|zeros| zeros > PROPERTIES_NULS_MAX) || has_lost_sector(record, at)
}

/// Whether a whole sector's share of topic and properties is zero, however small.
fn has_lost_sector(record: &RecordView<'_>, at: usize) -> bool {
    const SECTOR: usize = 512;
    let end = at + record.bytes().len();
    let mut from = end - record.properties().len() - 2 - record.topic().len();
    // The length of no properties is two zeros, which may have a sector of their own.
    let end = if record.properties().is_empty() { end - 2 } else { end };
    while from < end {
        let to = (from / SECTOR * SECTOR + SECTOR).min(end);
        let share = &record.bytes()[from - at..to - at];
        // The first sector holds more of the record than this share; its other checks speak for it.
        if from.is_multiple_of(SECTOR) && share.iter().all(|byte| *byte == 0) {
            return true;
        }
        from = to;
    }
    false
}

#[cfg(test)]
mod tests;
