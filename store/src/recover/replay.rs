//! Scanning the segments that have no sidecar yet, and making the last one fit to be appended to.
//!
//! Owns the cut of a torn tail. It never shortens what lies before a good record.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::disk::Disk;
use crate::error::OpenError;
use crate::index::SegmentIndex;
use crate::options::StoreOptions;
use crate::reindex::{Lost, Reindex};
use crate::scan::{End, Scan, Scanned};
use crate::seal::rows_of;
use crate::segment::{BlockSums, Segment, to_length, to_offset};
use crate::sidecar::{self, Sidecar, Source};
use crate::store::Paths;
use crate::sums::{Rows, Sums};
use crate::tombstones::Tombstones;

use super::layout::Found;
use super::pass::Pass;
use super::{Base, DamagedRange, Recovery, State, data_of};

/// Bytes that are read and written again at once.
const COPY_BYTES: usize = 256 * 1024;

/// Recovery under way.
pub(super) struct Replay<'a> {
    pub(super) disk: &'a dyn Disk,
    pub(super) paths: &'a Paths,
    pub(super) options: &'a StoreOptions,
    pub(super) tombstones: Tombstones,
    pub(super) base: Base,
}

/// The last segment as the scan left it.
struct Active {
    found: Found,
    tail: usize,
    indexed: Indexed,
}

/// What a scan made of a segment.
struct Indexed {
    index: SegmentIndex,
    blocks: BlockSums,
    sums: Sums,
    unsummed: Rows,
}

impl Replay<'_> {
    pub(super) fn run(mut self, found: &[Found], report: &mut Recovery) -> Result<State, OpenError> {
        self.note_gaps(found, report);
        let holds_records = found.iter().enumerate().map(|(at, segment)| self.holds_records(at, segment));
        let holds_records = holds_records.collect::<Result<Vec<bool>, OpenError>>()?;
        let mut lost = Lost::after(self.base.floor_end);
        for segment in &found[..self.base.sealed] {
            lost.pass(segment.first, segment.end(), &self.paths.sidecar(segment.first));
        }
        let mut full = self.base.sealed;
        let mut active = None;
        for (at, segment) in found.iter().enumerate().skip(self.base.sealed) {
            let more = holds_records[at + 1..].contains(&true);
            let (scanned, indexed) = self.scan(segment, (more, lost.before(segment.first)), report)?;
            if scanned.end == End::Full {
                self.seal(segment, &scanned, &indexed)?;
                lost.pass(segment.first, segment.end(), &self.paths.sidecar(segment.first));
                report.rebuilt_sidecars += 1;
                full = at + 1;
                continue;
            }
            active = Some(Active { found: segment.clone(), tail: scanned.tail, indexed });
            self.remove_empty(&found[at + 1..])?;
            break;
        }
        self.state(found, full, active)
    }

    fn note_gaps(&self, found: &[Found], report: &mut Recovery) {
        report.damaged.extend(self.base.gaps(found));
        if found.is_empty() && self.base.start > 0 {
            let (path, from) = (self.paths.log.display(), self.base.start);
            tracing::error!(%path, from, "no segment is left; what was not sealed is lost without a trace");
        }
    }

    /// Opens a segment, of which the first `committed` bytes may be read.
    fn open(&self, segment: &Found, committed: usize) -> Result<Segment, OpenError> {
        let Found { first, bytes, path, .. } = segment;
        Segment::open(self.disk, path, *first, (*bytes, committed)).map_err(OpenError::io("open", path))
    }

    /// Whether a segment that must be scanned holds anything good, or did when it was flushed.
    fn holds_records(&self, at: usize, segment: &Found) -> Result<bool, OpenError> {
        let sums = Sums::load(&self.paths.sums(segment.first), segment.first);
        if at < self.base.sealed || sums.covered > 0 {
            return Ok(true);
        }
        // What cannot be read now may be the only copy of something: nothing is decided without it.
        let opened = self.open(segment, segment.bytes)?;
        let data = data_of(&opened.file, segment.bytes);
        let bytes = opened.mapping.slice(0, segment.bytes).unwrap_or_default();
        Ok(Scan { bytes, first: segment.first, sums: &sums, data: &data }.search(0).is_some())
    }

    /// Indexes one segment; a torn tail of the last one is cut.
    fn scan(
        &mut self,
        segment: &Found,
        (more, missing): (bool, i64),
        report: &mut Recovery,
    ) -> Result<(Scanned, Indexed), OpenError> {
        let path = &segment.path;
        let opened = self.open(segment, segment.bytes)?;
        let data = data_of(&opened.file, segment.bytes);
        let sums = Sums::load(&self.paths.sums(segment.first), segment.first);
        let bytes = opened.mapping.slice(0, segment.bytes).unwrap_or_default();
        let scan = Scan { bytes, first: segment.first, sums: &sums, data: &data };
        let known = (&mut self.base.catalog, &self.tombstones);
        let mut pass = Pass::begin(&opened, &data, sums.covered);
        let (reindex, scanned) = Reindex::run(&scan, more, known, missing, &mut |at| pass.go_to(at));
        let blocks = pass.end(scanned.tail);
        let ranges = reindex.damage_offsets().map(|(from, to)| DamagedRange { from, to });
        report.damaged.extend(ranges);
        report.conflicts += reindex.conflicts;
        let Reindex { index, unsummed, .. } = reindex;
        report.records += index.records;
        report.scanned_bytes += scanned.tail as u64;
        if index.records > 0 {
            self.base.last_time = self.base.last_time.max(index.last_time);
        }
        // The mapping goes first: what it shows may not change while it exists.
        let Segment { file, mapping, .. } = opened;
        drop(mapping);
        if scanned.end == End::Open {
            report.cut = self.cut(&file, segment, scanned.tail, &data)?;
        }
        // Everything that was found is believed from now on, so it must be on disk.
        self.write_again(&file, segment, (sums.covered, scanned.tail))?;
        self.disk.sync(&file).map_err(OpenError::io("flush", path))?;
        Ok((scanned, Indexed { index, blocks, sums, unsummed }))
    }

    /// Writes the bytes between two positions once more. No frame says that they are on disk, and after a flush
    /// that failed the system takes them for clean: only what is written anew is flushed for certain.
    fn write_again(&self, file: &File, segment: &Found, (from, to): (usize, usize)) -> Result<(), OpenError> {
        let mut chunk = vec![0; COPY_BYTES.min(to.saturating_sub(from))];
        let mut at = from;
        while at < to {
            let part = &mut chunk[..COPY_BYTES.min(to - at)];
            file.read_exact_at(part, at as u64).map_err(OpenError::io("read", &segment.path))?;
            self.disk.write_at(file, part, at as u64).map_err(OpenError::io("write", &segment.path))?;
            at += part.len();
        }
        Ok(())
    }

    /// Makes all bytes behind `tail` zero, so that nothing of a torn tail can come back.
    fn cut(
        &self,
        file: &File,
        segment: &Found,
        tail: usize,
        data: &[(usize, usize)],
    ) -> Result<Option<(i64, i64)>, OpenError> {
        const PAGE: usize = 4_096;
        const ZEROS: [u8; PAGE] = [0; PAGE];
        let mut end = None;
        let mut page = ZEROS;
        for (from, to) in data {
            let mut at = tail.max(*from);
            while at < *to {
                let next = (at / PAGE * PAGE + PAGE).min(*to);
                let page = &mut page[..next - at];
                file.read_exact_at(page, at as u64).map_err(OpenError::io("read", &segment.path))?;
                if let Some(last) = page.iter().rposition(|byte| *byte != 0) {
                    end = Some(at + last + 1);
                    self.disk
                        .write_at(file, &ZEROS[..next - at], at as u64)
                        .map_err(OpenError::io("cut the tail of", &segment.path))?;
                }
                at = next;
            }
        }
        Ok(end.map(|end| (segment.first + to_offset(tail), segment.first + to_offset(end))))
    }

    /// Writes the sidecar of a full segment that was scanned.
    fn seal(&self, segment: &Found, scanned: &Scanned, indexed: &Indexed) -> Result<(), OpenError> {
        let opened = self.open(segment, segment.bytes)?;
        if is_blank_behind(&opened, scanned.tail) {
            opened.free_behind(self.disk, scanned.tail);
        }
        let source = Source {
            first: segment.first,
            end: segment.end(),
            tail: scanned.tail,
            blocks: indexed.blocks.all(),
            index: &indexed.index,
            rows: rows_of(&self.base.catalog),
        };
        let path = self.paths.sidecar(segment.first);
        sidecar::write(self.disk, &path, source).map_err(OpenError::io("write", &path))?;
        let sums = self.paths.sums(segment.first);
        crate::disk::remove_optional(self.disk, &sums).map_err(OpenError::io("remove", &sums))
    }

    /// Removes segments behind the active one, in which the search found nothing good.
    fn remove_empty(&self, rest: &[Found]) -> Result<(), OpenError> {
        for segment in rest {
            self.disk.remove(&segment.path).map_err(OpenError::io("remove", &segment.path))?;
            let sums = self.paths.sums(segment.first);
            crate::disk::remove_optional(self.disk, &sums).map_err(OpenError::io("remove", &sums))?;
        }
        let folder = &self.paths.log;
        self.disk.sync_folder(folder).map_err(OpenError::io("flush", folder))
    }

    fn state(mut self, found: &[Found], full: usize, active: Option<Active>) -> Result<State, OpenError> {
        let mut sealed = Vec::with_capacity(full);
        let mut rebuild = Vec::new();
        for segment in &found[..full] {
            let entry = Arc::new(segment.sealed(self.paths));
            let facts = Sidecar::open(&entry.sidecar_path).map(|sidecar| sidecar.facts().clone());
            match facts.ok().filter(|facts| (facts.first, facts.end) == (entry.first, entry.end)) {
                Some(facts) => entry.note_used(&facts),
                None => rebuild.push(Arc::clone(&entry)),
            }
            sealed.push(entry);
        }
        let (segment, tail, indexed) = match active {
            Some(Active { found, tail, mut indexed }) => {
                let Found { bytes, path, .. } = &found;
                let segment = self.open(&found, tail)?;
                // Space that a copy or a crash took back is reserved again before it is mapped.
                self.disk.allocate(&segment.file, *bytes as u64).map_err(OpenError::io("reserve space for", path))?;
                *segment.blocks.lock() = std::mem::take(&mut indexed.blocks);
                (segment, tail, indexed)
            }
            None => {
                // Sidecars may know a point behind all segments: offsets up to there were given out.
                let first = found.last().map_or(0, Found::end).max(self.base.start);
                let bytes = to_length(i64::try_from(self.options.segment_bytes).unwrap_or(0));
                let folder = &self.paths.log;
                let segment = Segment::create(self.disk, folder, first, bytes)
                    .map_err(OpenError::io("make a segment in", folder))?;
                let (index, sums) = (SegmentIndex::default(), Sums::default());
                (segment, 0, Indexed { index, blocks: BlockSums::default(), sums, unsummed: Rows::default() })
            }
        };
        self.bound_tombstones(segment.first + to_offset(tail))?;
        // The file may be a new one or have been lengthened.
        self.disk.sync(&segment.file).map_err(OpenError::io("flush", &segment.path))?;
        Ok(State {
            catalog: self.base.catalog,
            sealed,
            rebuild,
            active: segment,
            tail,
            index: indexed.index,
            sums: indexed.sums,
            unsummed: indexed.unsummed,
            tombstones: self.tombstones,
            last_time: self.base.last_time,
        })
    }

    /// A topic may have been deleted behind the log's recovered end, when the last appends were lost.
    /// Records that are appended there now must not count as deleted.
    fn bound_tombstones(&mut self, log_end: i64) -> Result<(), OpenError> {
        if self.tombstones.bound(log_end) {
            let path = self.paths.tombstones();
            self.tombstones.save(self.disk, &path).map_err(OpenError::io("write", &path))?;
        }
        Ok(())
    }
}

/// Whether a segment has nothing but zeros behind the position `tail`. What is not zero there may be what a damaged
/// record hides, so its space is not given back.
fn is_blank_behind(segment: &Segment, tail: usize) -> bool {
    let mut data = data_of(&segment.file, segment.bytes).into_iter();
    data.all(|(from, to)| {
        let rest = segment.mapping.slice(tail.max(from), to.max(tail)).unwrap_or_default();
        rest.iter().all(|byte| *byte == 0)
    })
}
