//! One pass over a segment, from its beginning to its tail, in a bounded piece of memory.
//!
//! Owns what stays in memory of it. The log is written past the page cache, so a segment that is scanned comes from the
//! disk. To let all of it stay would take as many pages as it has, and to find those can cost more than to read them:
//! a hypervisor that gives memory on its first touch takes three to five seconds for a GiB. So what was passed is let go, and
//! the next bytes come into the same memory. Blocks are summed on the way, so that sealing need not read them once more.

use std::fs::File;

use crate::limits::PASS_WINDOW_BYTES;
use crate::mapping::Mapping;
use crate::segment::{BlockSums, Segment};

/// A pass under way.
pub(super) struct Pass<'a> {
    mapping: &'a Mapping,
    file: &'a File,
    sums: BlockSums,
    /// Position up to which all was flushed.
    durable: usize,
    /// Windows that were in memory before the pass: others read them, so they stay.
    kept: Vec<bool>,
    let_go: usize,
    /// Position at which there is something to do again.
    next: usize,
}

impl<'a> Pass<'a> {
    /// Begins a pass over `segment`, which has `data` and was flushed up to `durable`.
    ///
    /// Nothing behind that is let go: after a flush that failed, the page cache alone may have what was written.
    pub(super) fn begin(segment: &'a Segment, data: &[(usize, usize)], durable: usize) -> Self {
        let (mapping, file) = (&*segment.mapping, &*segment.file);
        let data_end = data.last().map_or(0, |(_, end)| *end);
        let windows = (0..data_end).step_by(PASS_WINDOW_BYTES);
        let kept = windows.map(|from| mapping.is_resident(from, data_end.min(from + PASS_WINDOW_BYTES)));
        let (kept, sums) = (kept.collect(), BlockSums::default());
        mapping.expect_pass();
        Self { mapping, file, sums, durable, kept, let_go: 0, next: PASS_WINDOW_BYTES }
    }

    /// Says that all bytes before `at` were looked at.
    #[inline]
    pub(super) fn go_to(&mut self, at: usize) {
        if at >= self.next {
            self.go_on(at);
        }
    }

    fn go_on(&mut self, at: usize) {
        self.sums.advance(self.mapping, at);
        while self.let_go + PASS_WINDOW_BYTES <= at.min(self.durable) {
            let end = self.let_go + PASS_WINDOW_BYTES;
            let is_kept = self.kept.get(self.let_go / PASS_WINDOW_BYTES).copied().unwrap_or(true);
            if !is_kept {
                self.mapping.let_go(self.let_go..end, self.file);
            }
            self.let_go = end;
        }
        self.next = at / PASS_WINDOW_BYTES * PASS_WINDOW_BYTES + PASS_WINDOW_BYTES;
    }

    /// Ends at `tail`; gives the checksums of all blocks up to there.
    pub(super) fn end(mut self, tail: usize) -> BlockSums {
        self.sums.advance(self.mapping, tail);
        self.sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;
    use crate::segment::block_sums;

    const WINDOWS: usize = 6;
    const BYTES: usize = WINDOWS * PASS_WINDOW_BYTES;

    /// Looks at everything as a scan does, in pieces of 100 kB.
    fn run(segment: &Segment, durable: usize) -> BlockSums {
        let mut pass = Pass::begin(segment, &[(0, BYTES)], durable);
        for at in (0..BYTES).step_by(100_000) {
            pass.go_to(at);
            segment.mapping.load(at, BYTES.min(at + 100_000));
        }
        pass.end(BYTES)
    }

    fn resident(segment: &Segment) -> Vec<bool> {
        let window = |nth: usize| nth * PASS_WINDOW_BYTES;
        (0..WINDOWS).map(|nth| segment.mapping.is_resident(window(nth), window(nth + 1))).collect()
    }

    #[test]
    fn what_a_pass_brought_goes_and_what_was_there_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("00000000000000000000");
        let bytes: Vec<u8> = (0..BYTES).map(|at| u8::try_from(at / 7 % 251).unwrap()).collect();
        std::fs::write(&path, &bytes).unwrap();
        let segment = Segment::open(&RealDisk, &path, 0, (BYTES, BYTES)).unwrap();
        segment.file.sync_all().unwrap();

        assert_eq!(run(&segment, BYTES).all(), block_sums(&bytes), "all blocks are summed");
        assert_eq!(resident(&segment), [true; WINDOWS], "what was in memory stays");

        segment.mapping.let_go(0..BYTES, &segment.file);
        if resident(&segment).contains(&true) {
            // A file system that is memory itself, or one that shares it: nothing can be let go.
            return;
        }
        let durable = 4 * PASS_WINDOW_BYTES + 1;
        assert_eq!(run(&segment, durable).all(), block_sums(&bytes));
        assert_eq!(resident(&segment), [false, false, false, false, true, true], "what is not durable stays");
        assert!(segment.mapping.slice(0, BYTES) == Some(&bytes[..]), "what went comes again as it was");
    }
}
