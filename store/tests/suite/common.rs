//! What the store's tests share: a clock that the test owns, a disk that fails when told to, and short
//! ways to write and read.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use strata_protocol::properties::IndexTerms;
use strata_protocol::record::records;
use strata_store::{
    Appended, Clock, Disk, FlushMode, KeepAll, NewMessage, Read, ReadBudget, RealDisk, Recovery, Store, StoreOptions,
};

/// A clock that stands until the test moves it.
#[derive(Debug, Default)]
pub(crate) struct TestClock {
    pub(crate) wall_ms: AtomicI64,
    pub(crate) mono_ms: AtomicU64,
}

impl TestClock {
    pub(crate) fn at(wall_ms: i64) -> Arc<Self> {
        Arc::new(Self { wall_ms: AtomicI64::new(wall_ms), mono_ms: AtomicU64::new(0) })
    }

    /// Lets time pass on both clocks.
    pub(crate) fn pass(&self, ms: u64) {
        self.wall_ms.fetch_add(ms as i64, Ordering::SeqCst);
        self.mono_ms.fetch_add(ms, Ordering::SeqCst);
    }

    /// Sets the wall clock alone.
    pub(crate) fn jump_to(&self, wall_ms: i64) {
        self.wall_ms.store(wall_ms, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now_ms(&self) -> i64 {
        self.wall_ms.load(Ordering::SeqCst)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.mono_ms.load(Ordering::SeqCst))
    }
}

/// A disk that does as the real one until its counters run out.
pub(crate) struct TestDisk {
    /// Flushes that still work.
    pub(crate) syncs: AtomicUsize,
    /// Writes that still work; the one after writes half of its bytes.
    pub(crate) writes: AtomicUsize,
    /// Flushes of folders that still work.
    pub(crate) folder_syncs: AtomicUsize,
    /// The used ratio it tells, in thousandths.
    pub(crate) used: AtomicUsize,
    /// Flushes that were done.
    pub(crate) synced: AtomicUsize,
    /// A file that cannot be opened.
    pub(crate) closed: parking_lot::Mutex<Option<PathBuf>>,
    /// Flushes panic.
    pub(crate) panics: AtomicBool,
    /// Writes and flushes wait while a test holds this.
    pub(crate) hold: parking_lot::Mutex<()>,
}

impl Default for TestDisk {
    fn default() -> Self {
        Self {
            syncs: AtomicUsize::new(usize::MAX),
            writes: AtomicUsize::new(usize::MAX),
            folder_syncs: AtomicUsize::new(usize::MAX),
            used: AtomicUsize::new(100),
            synced: AtomicUsize::new(0),
            closed: parking_lot::Mutex::new(None),
            panics: AtomicBool::new(false),
            hold: parking_lot::Mutex::new(()),
        }
    }
}

/// Takes one from a counter that is not endless; `false` when none is left.
fn take(counter: &AtomicUsize) -> bool {
    let next = |left: usize| if left == usize::MAX { Some(left) } else { left.checked_sub(1) };
    counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next).is_ok()
}

impl Disk for TestDisk {
    fn write_at(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        drop(self.hold.lock());
        if take(&self.writes) {
            return RealDisk.write_at(file, bytes, at);
        }
        RealDisk.write_at(file, &bytes[..bytes.len() / 2], at)?;
        Err(io::Error::other("short write"))
    }

    fn open_direct(&self, path: &Path) -> io::Result<Option<File>> {
        RealDisk.open_direct(path)
    }

    fn write_direct(&self, file: &File, parts: [&[u8]; 2], at: u64) -> io::Result<()> {
        drop(self.hold.lock());
        if take(&self.writes) {
            return RealDisk.write_direct(file, parts, at);
        }
        // The first page alone, wherever it is.
        let page = if parts[0].is_empty() { parts[1] } else { &parts[0][..4_096] };
        RealDisk.write_direct(file, [page, &[]], at)?;
        Err(io::Error::other("short write"))
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        drop(self.hold.lock());
        assert!(!self.panics.load(Ordering::SeqCst), "a mistake within the flush");
        self.synced.fetch_add(1, Ordering::SeqCst);
        if take(&self.syncs) { RealDisk.sync(file) } else { Err(io::Error::other("flush failed")) }
    }

    fn allocate(&self, file: &File, bytes: u64) -> io::Result<()> {
        RealDisk.allocate(file, bytes)
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        match &*self.closed.lock() {
            Some(closed) if *closed == path => Err(io::Error::other("no descriptor is left")),
            _ => RealDisk.open(path),
        }
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        if take(&self.folder_syncs) { RealDisk.sync_folder(folder) } else { Err(io::Error::other("flush failed")) }
    }

    fn used_ratio(&self, _path: &Path) -> io::Result<f64> {
        Ok(self.used.load(Ordering::SeqCst) as f64 / 1_000.0)
    }
}

/// Options for small segments without the store's own upkeep.
pub(crate) fn options(root: &Path) -> StoreOptions {
    let mut options = StoreOptions::new(root);
    options.segment_bytes = 64 * 1024;
    options.upkeep = false;
    options
}

/// The same with synchronous flush.
pub(crate) fn sync_options(root: &Path) -> StoreOptions {
    StoreOptions { flush: FlushMode::Sync, ..options(root) }
}

pub(crate) fn open(options: StoreOptions) -> (Arc<Store>, Recovery) {
    Store::open(options, TestClock::at(1_000_000)).unwrap()
}

/// A message without properties.
pub(crate) fn message<'a>(topic: &'a str, queue_id: i32, body: &'a [u8]) -> NewMessage<'a> {
    with_properties(topic, queue_id, body, b"")
}

pub(crate) fn with_properties<'a>(
    topic: &'a str,
    queue_id: i32,
    body: &'a [u8],
    properties: &'a [u8],
) -> NewMessage<'a> {
    NewMessage {
        topic,
        queue_id,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 77,
        born_host: "10.0.0.1:4000".parse().unwrap(),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body,
        properties,
        terms: IndexTerms::of(properties),
    }
}

pub(crate) fn append(store: &Store, topic: &str, queue_id: i32, body: &[u8]) -> Appended {
    store.append(&message(topic, queue_id, body)).unwrap()
}

/// A budget that bounds nothing.
pub(crate) const EVERYTHING: ReadBudget = ReadBudget {
    messages_max: usize::MAX,
    bytes_max: usize::MAX,
    scan_entries_max: usize::MAX,
    scan_bytes_max: usize::MAX,
    wait: true,
};

pub(crate) fn read(store: &Store, topic: &str, queue_id: i32, offset: i64) -> Read {
    store.read(topic, queue_id, offset, &EVERYTHING, &mut KeepAll)
}

/// (queue offset, body) of each record in an answer; checks what every record must keep to.
pub(crate) fn bodies(read: &Read) -> Vec<(i64, Vec<u8>)> {
    let mut out = Vec::new();
    for slice in &read.slices {
        for record in records(slice) {
            let record = record.unwrap();
            record.check_body().unwrap();
            out.push((record.queue_offset(), record.body().to_vec()));
        }
    }
    assert_eq!(out.len(), read.messages);
    assert_eq!(read.slices.iter().map(bytes::Bytes::len).sum::<usize>(), read.bytes);
    out
}

/// All messages of a queue from its first offset on.
pub(crate) fn all(store: &Store, topic: &str, queue_id: i32) -> Vec<(i64, Vec<u8>)> {
    let min = store.queue_range(topic, queue_id).map_or(0, |range| range.min);
    bodies(&read(store, topic, queue_id, min))
}

/// Copies a store folder as a crash of the process would leave it.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Files of a folder with an ending, sorted.
pub(crate) fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut out: Vec<_> = entries.filter(|path| path.to_string_lossy().ends_with(ending)).collect();
    out.sort();
    out
}

/// Changes a bit of a file.
pub(crate) fn flip(path: &Path, at: u64) {
    let mut byte = [0];
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    file.read_exact_at(&mut byte, at).unwrap();
    byte[0] ^= 1;
    file.write_all_at(&byte, at).unwrap();
}
