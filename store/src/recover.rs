//! Opening a store: from a folder in any state to a log that can be appended to.
//!
//! Owns the order of recovery and its report. What a bad record means is decided by `scan`, what a
//! good one means by `reindex`.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::catalog::Catalog;
use crate::checkpoint::{Checkpoint, TrustedTime};
use crate::clock::Clock;
use crate::disk::{Disk, RealDisk, folder_above, make_folders};
use crate::error::OpenError;
use crate::flush::Flush;
use crate::head::{Head, Pen};
use crate::hot::Hot;
use crate::index::SegmentIndex;
use crate::lock::{FolderLock, check_version, format_file};
use crate::options::StoreOptions;
use crate::reindex::catalog_after;
use crate::retain::Keeping;
use crate::seal::{open_floor, open_sidecar};
use crate::sealed::Sealed;
use crate::segment::{Segment, to_offset};
use crate::sidecar::{Sidecar, SidecarError};
use crate::store::{Ahead, Counters, Paths, Shared, Spare, Store};
use crate::sums::{Rows, Sums, SumsWriter};
use crate::tombstones::Tombstones;
use crate::upkeep::Calls;

pub(crate) mod layout;
mod pass;
mod replay;
mod restore;

use layout::{Found, segments};
use replay::Replay;

/// A stretch of the log that holds no readable records although records follow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DamagedRange {
    /// Log offset of its first byte.
    pub from: i64,
    /// Log offset behind its last byte.
    pub to: i64,
}

/// What opening a store found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Bytes of segments that were scanned; the rest was taken from sidecars.
    pub scanned_bytes: u64,
    /// Records found by scanning.
    pub records: u64,
    /// Records that were taken over from the hot file: they were appended and not flushed when the store was
    /// left.
    pub restored: u64,
    /// Bytes of a torn tail that were made zero: log offsets from, to.
    pub cut: Option<(i64, i64)>,
    /// Damage that was found: it is kept and reads of it are answered with an error.
    pub damaged: Vec<DamagedRange>,
    /// Records whose queue offset had been given out before; they are kept, not listed.
    pub conflicts: u64,
    /// Sidecars that were written because they were missing or damaged.
    pub rebuilt_sidecars: usize,
    /// How long it took.
    pub elapsed: Duration,
}

impl Store {
    /// Opens the store in `options.root`, which is made when it does not exist.
    ///
    /// Reads the newest sidecar and scans what is younger, one segment after a kill.
    ///
    /// # Errors
    /// See [`OpenError`]: the folder is in use, of another version, damaged where nothing else can
    /// tell what it said, or the system refuses.
    pub fn open(options: StoreOptions, clock: Arc<dyn Clock>) -> Result<(Arc<Self>, Recovery), OpenError> {
        Self::open_on(options, clock, Arc::new(RealDisk))
    }

    /// [`Store::open`] on a disk of the caller's, which tests let fail.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_on(
        options: StoreOptions,
        clock: Arc<dyn Clock>,
        disk: Arc<dyn Disk>,
    ) -> Result<(Arc<Self>, Recovery), OpenError> {
        let began = clock.monotonic();
        let options = options.checked()?;
        let paths = Paths::new(options.root.clone());
        let lock = take_folder(&*disk, &paths)?;
        let tombstones = Tombstones::load(&paths.tombstones())?;
        let found = segments(&*disk, &paths, &options)?;
        let floor = checked_floor(&paths.floor())?;
        let floor_end = floor.as_ref().map_or(0, |floor| floor.facts().end);
        let found = layout::without_trimmed(&*disk, found, floor_end);
        let restored = restore::take_over(&*disk, &paths, &found)?;
        // The segments hold all of it now. On a full disk its space is what the opening itself needs.
        let hot = paths.hot();
        crate::disk::remove_optional(&*disk, &hot).map_err(OpenError::io("remove", &hot))?;
        let mut recovery = Recovery { restored, ..Recovery::default() };
        let base = Base::of(&paths, &found, &tombstones, floor);
        let replay = Replay { disk: &*disk, paths: &paths, options: &options, tombstones, base };
        let state = replay.run(&found, &mut recovery)?;
        layout::remove_trimmed(&*disk, &paths, &found, floor_end);
        let rebuild = state.rebuild.clone();
        let shared = assemble(options, paths.clone(), clock, disk, (lock, state))?;
        let shared = Arc::new(shared);
        for sealed in rebuild {
            match shared.parts(&sealed) {
                Ok(_) => recovery.rebuilt_sidecars += 1,
                Err(error) => tracing::warn!(%error, "a sidecar could not be built again yet"),
            }
        }
        shared.look_at_disk();
        let clock = Arc::clone(&shared.clock);
        let store = Self::start(shared).map_err(OpenError::io("start threads for", &paths.root))?;
        recovery.elapsed = clock.monotonic().saturating_sub(began);
        Ok((store, recovery))
    }
}

/// Takes a store's folder, which is made when it does not exist.
pub(crate) fn take_folder(disk: &dyn Disk, paths: &Paths) -> Result<FolderLock, OpenError> {
    prepare_folders(disk, paths)?;
    let lock = FolderLock::take(disk, &paths.root)?;
    // Names that a process left and did not flush before it was killed are believed from now on.
    for folder in [&paths.root, &paths.log, &paths.side] {
        disk.sync_folder(folder).map_err(OpenError::io("flush", folder))?;
    }
    check_version(disk, &paths.root)?;
    Ok(lock)
}

/// Makes the folders that are missing. A store that has no format file yet may have been interrupted
/// between making its folder and making that durable, so it is made durable again.
fn prepare_folders(disk: &dyn Disk, paths: &Paths) -> Result<(), OpenError> {
    let existed = paths.root.is_dir();
    for folder in [&paths.root, &paths.log, &paths.side] {
        make_folders(disk, folder).map_err(OpenError::io("create", folder))?;
    }
    let above = folder_above(&paths.root);
    if existed
        && !format_file(&paths.root).exists()
        && let Err(error) = disk.sync_folder(above)
    {
        // The folder was made by somebody else in one that this user may not even list: it is theirs to keep.
        tracing::warn!(%error, folder = %above.display(), "cannot flush the folder that holds the store's");
    }
    Ok(())
}

/// What is known before the scan begins.
#[derive(Default)]
pub(crate) struct Base {
    catalog: Catalog,
    /// Number of segments, from the oldest, that need no scan.
    pub(crate) sealed: usize,
    /// Log offset up to which `catalog` knows the queues.
    pub(crate) start: i64,
    last_time: i64,
    /// Log offset up to which segments were deleted by retention.
    pub(crate) floor_end: i64,
    /// The oldest log offset that a sidecar without a segment describes.
    orphans_from: Option<i64>,
}

impl Base {
    /// Takes the latest point of the log that a good sidecar describes as the state to start from. Its
    /// segment need not exist: offsets that were given out are not given out again because files are lost.
    pub(crate) fn of(paths: &Paths, found: &[Found], tombstones: &Tombstones, floor: Option<Sidecar>) -> Self {
        let mut base = Self::default();
        let sidecars = found.iter().rev().map(|segment| open_sidecar(&segment.sealed(paths)));
        if let Some(sidecar) = sidecars.into_iter().find_map(Result::ok) {
            base.take(&sidecar, tombstones);
        }
        if let Some(floor) = floor {
            base.floor_end = floor.facts().end;
            base.take(&floor, tombstones);
        }
        for path in layout::orphans(paths, found) {
            let Ok(sidecar) = Sidecar::open(&path) else { continue };
            let (first, end) = (sidecar.facts().first, sidecar.facts().end);
            let apart = found.iter().all(|segment| segment.end() <= first || end <= segment.first);
            if apart && first >= base.floor_end && sidecar.verify(&path).is_ok() {
                base.orphans_from = Some(base.orphans_from.map_or(first, |from| from.min(first)));
                base.take(&sidecar, tombstones);
            }
        }
        base.sealed = found.iter().take_while(|segment| segment.end() <= base.start).count();
        base
    }

    /// The parts of the log whose segment files are missing: between others, before the first one, or
    /// behind the last one.
    pub(crate) fn gaps(&self, found: &[Found]) -> Vec<DamagedRange> {
        let begins = found.first().filter(|_| self.sealed == 0 && self.start > 0);
        let before = begins.map(|first| (self.start, first.first));
        let between = found.windows(2).map(|pair| (pair[0].end(), pair[1].first));
        // Without segments, retention's floor or the oldest sidecar says where the lost ones began.
        let oldest = || if self.floor_end > 0 { self.floor_end } else { self.orphans_from.unwrap_or(self.start) };
        let behind = (found.last().map_or_else(oldest, Found::end), self.start);
        let gaps = before.into_iter().chain(between).chain([behind]).filter(|(from, to)| from < to);
        gaps.map(|(from, to)| DamagedRange { from, to }).collect()
    }

    /// Goes on from `sidecar` if it knows a later point of the log.
    fn take(&mut self, sidecar: &Sidecar, tombstones: &Tombstones) {
        let facts = sidecar.facts();
        if facts.end >= self.start {
            self.catalog = catalog_after(sidecar, tombstones);
            self.start = facts.end;
            self.last_time = self.last_time.max(facts.last_time);
        }
    }
}

/// What recovery hands to the running store.
struct State {
    catalog: Catalog,
    sealed: Vec<Arc<Sealed>>,
    /// Sealed segments whose sidecar has no usable header.
    rebuild: Vec<Arc<Sealed>>,
    active: Segment,
    tail: usize,
    index: SegmentIndex,
    sums: Sums,
    /// The good records that `sums` does not cover.
    unsummed: Rows,
    tombstones: Tombstones,
    last_time: i64,
}

/// The floor, `None` when there is none. Nothing else says what it says, so a damaged one is not passed over.
pub(crate) fn checked_floor(path: &Path) -> Result<Option<Sidecar>, OpenError> {
    open_floor(path).map_err(|error| match error {
        SidecarError::Io { path, source } => OpenError::Io { action: "read", path, source },
        other @ (SidecarError::Header { .. } | SidecarError::Section { .. } | SidecarError::Range { .. }) => {
            OpenError::Damaged {
                path: path.to_owned(),
                what: other.to_string(),
                cost: "queues whose messages were all deleted may begin at offset 0 again",
            }
        }
    })
}

/// Puts the parts of a store together.
fn assemble(
    options: StoreOptions,
    paths: Paths,
    clock: Arc<dyn Clock>,
    disk: Arc<dyn Disk>,
    (lock, state): (FolderLock, State),
) -> Result<Shared, OpenError> {
    let now = clock.monotonic();
    let checkpoint = paths.checkpoint();
    let noted = Checkpoint::load(&checkpoint);
    if noted.is_none() && checkpoint.exists() {
        tracing::warn!(path = %checkpoint.display(), "the checkpoint is damaged; deletion waits until time is made up");
    }
    let State { active, tail, sums, unsummed, .. } = state;
    let sums_path = paths.sums(active.first);
    let unwritable = || OpenError::io("write", &sums_path);
    let mut sums = SumsWriter::open(&*disk, &sums_path, active.first, &sums).map_err(unwritable())?;
    // What was found is on disk. Flushes go on behind it and never look at damage again.
    sums.append(&*disk, &unsummed, tail).map_err(unwritable())?;
    let writer = active.mapping.writer().ok_or_else(|| OpenError::Layout {
        path: active.path.clone(),
        what: "it is written by somebody else".to_owned(),
    })?;
    let hot = begin_hot(&*disk, &paths, &active, tail)?;
    let fallback = if state.last_time > 0 { state.last_time } else { clock.now_ms() };
    let trusted = TrustedTime::new(noted.map_or(fallback, |noted| noted.trusted_ms), now);
    let made = active.first;
    let head = Head {
        catalog: state.catalog,
        active: Arc::new(active),
        tail,
        pen: Pen { writer, hot: Arc::clone(&hot), notes: None, unsummed: Vec::new() },
        index: state.index,
        frozen: Vec::new(),
        sealed: Arc::new(state.sealed),
        tombstones: Arc::new(state.tombstones),
        last_time: state.last_time,
        events: Vec::new(),
        trims: 0,
        call_at: 0,
    };
    Ok(Shared {
        flush: Flush::new(head.log_end(), Some(sums)),
        ahead: Ahead { hot, spare: Mutex::new(Spare { segment: None, made }) },
        head: Mutex::new(head),
        options,
        paths,
        clock,
        disk,
        listener: std::sync::OnceLock::new(),
        calls: Calls::default(),
        keeping: Keeping::new(trusted, now),
        counters: Counters::default(),
        lock: Mutex::new(Some(lock)),
    })
}

/// Lays memory under the log's end at `tail` of `active`.
fn begin_hot(disk: &dyn Disk, paths: &Paths, active: &Segment, tail: usize) -> Result<Arc<Hot>, OpenError> {
    let path = paths.hot();
    let hot = Hot::create(disk, &path, active.bytes, active.first + to_offset(tail));
    let hot = hot.map_err(OpenError::io("make", &path))?;
    if let Err(error) = hot.begin(disk, active, tail) {
        // A full disk is no reason not to read. Appends try again, and are refused as long as it fails.
        tracing::warn!(?error, path = %path.display(), "no memory for the log yet");
    }
    Ok(Arc::new(hot))
}

/// The stretches of `file` that hold data; everything else is known to be zero.
pub(crate) fn data_of(file: &File, bytes: usize) -> Vec<(usize, usize)> {
    use rustix::fs::{SeekFrom, seek};
    let mut out = Vec::new();
    let mut at = 0;
    while at < bytes {
        let from = match seek(file, SeekFrom::Data(at as u64)) {
            Ok(from) => usize::try_from(from).unwrap_or(bytes).min(bytes),
            // Nothing but a hole is left.
            Err(rustix::io::Errno::NXIO) => break,
            // A file system that cannot tell: all of it may be data.
            Err(_) => return vec![(0, bytes)],
        };
        let to = match seek(file, SeekFrom::Hole(from as u64)) {
            Ok(to) => usize::try_from(to).unwrap_or(bytes).min(bytes),
            Err(_) => bytes,
        };
        if from < to {
            out.push((from, to));
        }
        at = to.max(at + 1);
    }
    out
}
