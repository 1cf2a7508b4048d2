//! Reading a store's files in their order, as recovery would.
//!
//! Owns the walk and what is carried from one segment to the next. Segments with a sidecar are compared
//! with it in `sealed`.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use strata_protocol::record::RecordView;

use super::{Damage, FileReport, FileState, LostMessages, Progress, Report, SegmentReport, SegmentState, sealed};
use crate::catalog::Catalog;
use crate::checkpoint::Checkpoint;
use crate::error::OpenError;
use crate::hot::HotImage;
use crate::index::SegmentIndex;
use crate::limits::SEGMENT_BYTES_MAX;
use crate::mapping::Mapping;
use crate::recover::layout::{Found, list, orphans, survey};
use crate::recover::{Base, checked_floor, data_of};
use crate::reindex::{Lost, Reindex, catalog_after};
use crate::scan::{End, Scan};
use crate::seal::open_sidecar;
use crate::segment::{parse_name, to_offset};
use crate::sidecar::{Sidecar, SidecarError};
use crate::store::Paths;
use crate::sums::Sums;
use crate::tombstones::Tombstones;

/// A segment's bytes, as long as they must be.
pub(super) enum Bytes {
    Mapped(Arc<Mapping>),
    /// Of a file that is too short; zeros take the place of what is missing.
    Copied(Vec<u8>),
}

impl Bytes {
    fn read(file: &File, found: &Found) -> io::Result<Self> {
        if found.had == found.bytes
            && let Some(mapping) = Mapping::read_only(file)?
        {
            return Ok(Self::Mapped(mapping));
        }
        let mut bytes = Vec::with_capacity(found.bytes);
        file.take(found.bytes as u64).read_to_end(&mut bytes)?;
        bytes.resize(found.bytes, 0);
        Ok(Self::Copied(bytes))
    }

    pub(super) fn all(&self) -> &[u8] {
        match self {
            Self::Mapped(mapping) => mapping.slice(0, mapping.len()).unwrap_or_default(),
            Self::Copied(bytes) => bytes,
        }
    }
}

/// A segment under the eyes of the check.
pub(super) struct Opened {
    pub(super) found: Found,
    pub(super) bytes: Bytes,
    /// The stretches that hold data.
    pub(super) data: Vec<(usize, usize)>,
    pub(super) sums: Sums,
}

impl Opened {
    fn open(paths: &Paths, found: &Found) -> Result<Self, OpenError> {
        let path = &found.path;
        let file = File::open(path).map_err(OpenError::io("open", path))?;
        let bytes = Bytes::read(&file, found).map_err(OpenError::io("read", path))?;
        let data = data_of(&file, found.had);
        let sums = Sums::load(&paths.sums(found.first), found.first);
        Ok(Self { found: found.clone(), bytes, data, sums })
    }

    pub(super) fn scan(&self) -> Scan<'_> {
        Scan { bytes: self.bytes.all(), first: self.found.first, sums: &self.sums, data: &self.data }
    }

    /// The last position behind `tail` that is not zero, and the one behind it.
    pub(super) fn last_used(&self, tail: usize) -> Option<usize> {
        let bytes = self.bytes.all();
        let stretches = self.data.iter().rev().map(|(from, to)| (tail.max(*from), (*to).min(bytes.len())));
        stretches.filter(|(from, to)| from < to).find_map(|(from, to)| {
            let last = bytes[from..to].iter().rposition(|byte| *byte != 0)?;
            Some(from + last + 1)
        })
    }
}

/// What is carried from segment to segment.
struct Walk<'a> {
    paths: &'a Paths,
    tombstones: Tombstones,
    catalog: Catalog,
    lost: Lost,
    /// Whether the segment that is appended to was passed.
    ended: bool,
}

/// Looks at everything; see [`super::check`].
pub(super) fn look(paths: &Paths, progress: Progress<'_>) -> Result<Report, OpenError> {
    let found = survey(paths, 0)?;
    let segment_bytes = whole_segment(paths, &found);
    let found = survey(paths, segment_bytes)?;
    let mut files = Vec::new();
    let tombstones = facts_of(&mut files, paths.tombstones(), Tombstones::load)?;
    let floor = facts_of(&mut files, paths.floor(), checked_floor)?.flatten();
    let checkpoint = paths.checkpoint();
    let state = match (Checkpoint::load(&checkpoint), checkpoint.exists()) {
        (Some(_), _) => FileState::Good,
        (None, false) => FileState::Absent,
        (None, true) => FileState::Damaged { what: "its checksum or form is wrong".to_owned() },
    };
    files.push(FileReport { path: checkpoint, state, is_fact: false });
    let version = FileReport {
        path: crate::lock::format_file(&paths.root),
        state: super::version_state(&paths.root),
        is_fact: true,
    };
    files.insert(0, version);
    let tombstones = tombstones.unwrap_or_default();
    let catalog = floor.as_ref().map_or_else(Catalog::default, |floor| catalog_after(floor, &tombstones));
    let base = Base::of(paths, &found, &tombstones, floor);
    let lost = Lost::after(base.floor_end);
    let gaps = base.gaps(&found);
    let mut walk = Walk { paths, tombstones, catalog, lost, ended: false };
    let segments = walk.run(&found, &base, progress)?;
    let is_of_version = found.iter().any(|segment| Sidecar::open(&paths.sidecar(segment.first)).is_ok());
    let floor_source = segments.first().filter(|first| first.sidecar == FileState::Good);
    let floor_source = floor_source.map(|first| paths.sidecar(first.first));
    let mut notes = strays(paths, &found, base.floor_end)?;
    notes.extend(unflushed(paths, &found)?);
    let root = paths.root.clone();
    Ok(Report { root, segments, gaps, files, notes, segment_bytes, floor_source, is_of_version })
}

/// Loads a file that holds facts of its own and notes how it is.
fn facts_of<T>(
    files: &mut Vec<FileReport>,
    path: PathBuf,
    load: impl FnOnce(&Path) -> Result<T, OpenError>,
) -> Result<Option<T>, OpenError> {
    let exists = path.exists();
    let (state, loaded) = match load(&path) {
        Ok(loaded) if exists => (FileState::Good, Some(loaded)),
        Ok(loaded) => (FileState::Absent, Some(loaded)),
        Err(OpenError::Damaged { what, .. }) => (FileState::Damaged { what }, None),
        Err(other) => return Err(other),
    };
    files.push(FileReport { path, state, is_fact: true });
    Ok(loaded)
}

/// How long a segment is when nothing was cut off: the longest that any file tells of.
fn whole_segment(paths: &Paths, found: &[Found]) -> usize {
    let lengths = found.iter().map(|segment| segment.had);
    let told = found.iter().filter_map(|segment| {
        let sidecar = Sidecar::open(&paths.sidecar(segment.first)).ok()?;
        let facts = sidecar.facts();
        usize::try_from(facts.end - facts.first).ok()
    });
    let most = usize::try_from(SEGMENT_BYTES_MAX).unwrap_or(usize::MAX);
    lengths.chain(told).filter(|bytes| *bytes <= most).max().unwrap_or(0)
}

impl Walk<'_> {
    fn run(&mut self, found: &[Found], base: &Base, progress: Progress<'_>) -> Result<Vec<SegmentReport>, OpenError> {
        let total = found.iter().map(|segment| segment.bytes as u64).sum();
        let last_good = self.last_with_records(found, base)?;
        let mut done = 0;
        let mut out = Vec::with_capacity(found.len());
        for (at, segment) in found.iter().enumerate() {
            progress(done, total);
            // Segments before one that holds records are whole; so is each that something else says is full.
            let more = at < base.sealed || last_good.is_some_and(|last| at < last);
            out.push(self.segment(segment, more)?);
            done += segment.bytes as u64;
        }
        progress(done, total);
        Ok(out)
    }

    /// The last segment that holds anything good, or did when it was flushed.
    fn last_with_records(&self, found: &[Found], base: &Base) -> Result<Option<usize>, OpenError> {
        for (at, segment) in found.iter().enumerate().rev() {
            let sums = Sums::load(&self.paths.sums(segment.first), segment.first);
            if at < base.sealed || sums.covered > 0 {
                return Ok(Some(at));
            }
            if Opened::open(self.paths, segment)?.scan().search(0).is_some() {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    fn segment(&mut self, found: &Found, more: bool) -> Result<SegmentReport, OpenError> {
        let opened = Opened::open(self.paths, found)?;
        let sidecar = open_sidecar(&found.sealed(self.paths));
        let mut report = SegmentReport {
            path: found.path.clone(),
            first: found.first,
            end: found.end(),
            file_bytes: found.had as u64,
            state: SegmentState::Sealed,
            records: 0,
            sidecar: FileState::Good,
            sums: sums_state(&self.paths.sums(found.first), &opened.sums),
            damage: Vec::new(),
            torn: None,
        };
        match sidecar {
            Ok(sidecar) => {
                sealed::compare(&opened, &sidecar, &mut report);
                self.catalog = catalog_after(&sidecar, &self.tombstones);
            }
            Err(error) => {
                let absent = matches!(&error, SidecarError::Io { source, .. } if source.kind() == ErrorKind::NotFound);
                let what = error.to_string();
                report.sidecar = if absent { FileState::Missing } else { FileState::Damaged { what } };
                self.scan(&opened, more, &mut report);
            }
        }
        let damaged = report.damage.iter().map(|damage| damage.to - damage.from).sum();
        self.lost.pass_damaged(found.first, found.end(), damaged);
        Ok(report)
    }

    /// A segment without a usable sidecar: its own records and checksum frames say what it holds.
    fn scan(&mut self, opened: &Opened, more: bool, report: &mut SegmentReport) {
        let scan = opened.scan();
        if self.ended || (!more && opened.sums.covered == 0 && scan.search(0).is_none()) {
            self.ended = true;
            report.state = SegmentState::Empty;
        }
        let missing = self.lost.before(opened.found.first);
        let (reindex, scanned) = Reindex::run(&scan, more, (&mut self.catalog, &self.tombstones), missing, &mut |_| ());
        let index = reindex.index;
        report.records = index.records;
        report.damage = damage_of(&scan, &index, &self.catalog);
        if scanned.end == End::Full {
            report.state = SegmentState::Full;
            return;
        }
        if report.sidecar == FileState::Missing {
            report.sidecar = FileState::Absent;
        }
        if report.state != SegmentState::Empty {
            report.state = SegmentState::Active;
            self.ended = true;
        }
        let first = opened.found.first;
        let torn = opened.last_used(scanned.tail);
        report.torn = torn.map(|to| (first + to_offset(scanned.tail), first + to_offset(to)));
    }
}

/// How a file of checksum frames is.
fn sums_state(path: &Path, sums: &Sums) -> FileState {
    match (path.exists(), sums.rest_bytes) {
        (false, _) => FileState::Absent,
        (true, 0) => FileState::Good,
        (true, rest) => FileState::Damaged { what: format!("its last {rest} bytes are no whole frame") },
    }
}

/// The damaged ranges of a scanned segment, with the messages that lay in them.
fn damage_of(scan: &Scan<'_>, index: &SegmentIndex, catalog: &Catalog) -> Vec<Damage> {
    let offset = |position: u32| scan.first + to_offset(position as usize);
    let ranges = index.damage.iter().map(|(from, to)| Damage {
        from: offset(*from),
        to: offset(*to),
        reason: reason(scan, *from as usize),
        lost: Vec::new(),
    });
    let mut damage: Vec<Damage> = ranges.collect();
    for (number, queue) in catalog.iter() {
        let (Some(topic), Some(run)) = (&queue.topic, index.run(number)) else { continue };
        for (at, entry) in (run.base..).zip(&run.entries).filter(|(_, entry)| entry.is_damaged()) {
            note_lost(&mut damage, offset(entry.position), (topic, queue.queue_id, at));
        }
    }
    damage
}

/// Adds a lost message to the range that its log offset lies in. Messages come ordered within a queue.
pub(super) fn note_lost(damage: &mut [Damage], log_offset: i64, (topic, queue_id, at): (&str, i32, i64)) {
    let found = damage.partition_point(|range| range.to <= log_offset).min(damage.len().saturating_sub(1));
    let Some(range) = damage.get_mut(found) else { return };
    match range.lost.last_mut() {
        Some(last) if last.topic == topic && last.queue_id == queue_id && last.to == at => last.to = at + 1,
        _ => range.lost.push(LostMessages { topic: topic.to_owned(), queue_id, from: at, to: at + 1 }),
    }
}

/// Why no record can be read at a position.
fn reason(scan: &Scan<'_>, at: usize) -> String {
    let parsed = RecordView::parse(&scan.bytes[at..]);
    let summed = scan.sums.of(at).is_some();
    match parsed {
        Err(error) => error.to_string(),
        Ok(record) if record.physical_offset() != scan.first + to_offset(at) => {
            format!("the record says that it lies at {}", record.physical_offset())
        }
        Ok(_) if summed => "the record does not match the checksum that its flush noted".to_owned(),
        Ok(record) => match record.check_body() {
            Err(error) => error.to_string(),
            Ok(()) => "no flush has noted a record here, or a sector of it was never written".to_owned(),
        },
    }
}

/// What the hot file holds that the segments lack.
fn unflushed(paths: &Paths, found: &[Found]) -> Result<Option<String>, OpenError> {
    let path = paths.hot();
    let unreadable = || OpenError::io("read", &path);
    let Some(image) = HotImage::load(&path).map_err(unreadable())? else { return Ok(None) };
    let (mut at, mut records) = (image.durable(), 0_u64);
    for segment in found {
        while (segment.first..segment.end()).contains(&at) {
            let Some(record) = image.record(at, segment.end()).map_err(unreadable())? else { break };
            records += 1;
            at = if record.blank { segment.end() } else { at + to_offset(record.bytes.len()) };
        }
    }
    let text = format!(
        "{} has {records} records behind log offset {} that were not flushed; the next start takes them over",
        path.display(),
        image.durable()
    );
    Ok((records > 0).then_some(text))
}

/// Files that belong to nothing.
fn strays(paths: &Paths, found: &[Found], floor_end: i64) -> Result<Vec<String>, OpenError> {
    let mut notes = Vec::new();
    for path in orphans(paths, found) {
        let first = path.file_stem().and_then(|stem| parse_name(&stem.to_string_lossy()));
        let deleted = first.is_some_and(|first| first < floor_end);
        let why = if deleted { "of a deleted segment; the next start removes it" } else { "without its segment" };
        notes.push(format!("{} is a sidecar {why}", path.display()));
    }
    for (name, path) in list(&paths.log)? {
        if parse_name(&name).is_none() {
            notes.push(format!("{} is no segment and is not looked at", path.display()));
        }
    }
    for folder in [&paths.side, &paths.root] {
        for (_, path) in list(folder).unwrap_or_default().into_iter().filter(|(name, _)| name.ends_with(".new")) {
            notes.push(format!("{} was being written when its writer ended; it has no effect", path.display()));
        }
    }
    notes.sort();
    Ok(notes)
}
