//! A disk that does what it is asked in a folder, notes it, and fails or ends when told to.
//!
//! Owns the trace of everything that changed or flushed anything. It flushes nothing itself: what a flush
//! means is `image`'s.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use strata_store::{Disk, Existing, RealDisk};

use super::image::{Event, FileId, Image};
use super::ledger::Mark;

/// What happens to one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It fails and does nothing.
    Errno(i32),
    /// It fails half done: half of a write, or all of anything else.
    Half,
    /// The process is killed: neither this call nor a later one does anything until [`SimDisk::revive`].
    Kill,
}

/// EIO of Linux.
pub(crate) const EIO: i32 = 5;
/// EINTR of Linux.
pub(crate) const EINTR: i32 = 4;
/// ENOSPC of Linux.
pub(crate) const ENOSPC: i32 = 28;

/// What a call was, for those who judge what its failure must lead to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) what: &'static str,
    pub(crate) path: PathBuf,
    /// The store was open then.
    pub(crate) serving: bool,
    /// The file's name was durable then.
    pub(crate) named: bool,
}

impl Call {
    /// Whether a running store was writing or flushing records, of a segment that was made whole before.
    pub(crate) fn is_of_log(&self) -> bool {
        let of_segment = self.path.starts_with("store/commitlog") && matches!(self.what, "write" | "flush");
        of_segment && self.serving && self.named
    }
}

/// The simulated disk.
pub(crate) struct SimDisk {
    base: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    trace: Vec<Event>,
    image: Image,
    inodes: HashMap<u64, (FileId, PathBuf)>,
    watched: Option<(FileId, PathBuf, File)>,
    dead: bool,
    serving: bool,
    full: bool,
    calls: usize,
    fault: Option<(usize, Fault)>,
    /// The call before which the script itself ends the process.
    end: Option<usize>,
    hit: Option<Call>,
}

enum Verdict {
    Go,
    Fail(io::Error),
    Half,
}

impl SimDisk {
    /// A disk over `base`, whose content is certain.
    pub(crate) fn over(base: &Path) -> Self {
        let mut state = State::default();
        state.load(base, base);
        state.image.settle();
        let start = state.image.clone();
        state.trace.clear();
        state.image = start;
        Self { base: base.to_path_buf(), state: Mutex::new(state) }
    }

    /// Lets the call number `at`, counted from 0, fail.
    pub(crate) fn fail_at(&self, at: usize, fault: Fault) {
        self.state.lock().fault = Some((at, fault));
    }

    /// Kills the process at the call number `at`, as part of the script.
    pub(crate) fn kill_at(&self, at: usize) {
        self.state.lock().end = Some(at);
    }

    /// The call that failed, if any did.
    pub(crate) fn hit(&self) -> Option<Call> {
        self.state.lock().hit.clone()
    }

    /// Calls so far.
    pub(crate) fn calls(&self) -> usize {
        self.state.lock().calls
    }

    /// The store is open from now on, or no more.
    pub(crate) fn serve(&self, serving: bool) {
        self.state.lock().serving = serving;
    }

    /// From now on there is no space for new or longer files, or there is again.
    pub(crate) fn fill(&self, full: bool) {
        self.state.lock().full = full;
    }

    pub(crate) fn is_serving(&self) -> bool {
        self.state.lock().serving
    }

    /// From now on nothing that is asked is done, as after a kill.
    pub(crate) fn kill(&self) {
        let mut state = self.state.lock();
        state.look();
        state.dead = true;
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.state.lock().dead
    }

    /// Goes on after a kill with what the system's memory held.
    pub(crate) fn revive(&self) {
        let mut state = self.state.lock();
        state.dead = false;
    }

    /// Notes something between two calls.
    pub(crate) fn mark(&self, mark: Mark) {
        let mut state = self.state.lock();
        state.look();
        state.note(Event::Mark(mark));
    }

    /// What happened so far and the disk as it is.
    pub(crate) fn trace(&self) -> (Vec<Event>, Image) {
        let mut state = self.state.lock();
        state.look();
        (state.trace.clone(), state.image.clone())
    }

    /// Takes in what the test itself changed, certain at once; `false` when that is nothing.
    pub(crate) fn settle_changes(&self) -> bool {
        let mut state = self.state.lock();
        let (start, base) = (state.trace.len(), self.base.clone());
        state.reload(&base);
        state.trace.len() > start
    }

    /// Asks whether the next call works; `call` is noted when it does not.
    fn ask(&self, what: &'static str, path: &Path) -> (parking_lot::MutexGuard<'_, State>, Verdict) {
        let mut state = self.state.lock();
        state.look();
        let off = || io::Error::other("the process was killed");
        if state.dead {
            return (state, Verdict::Fail(off()));
        }
        let number = state.calls;
        state.calls += 1;
        let Some((_, fault)) = state.fault.filter(|(at, _)| *at == number) else {
            if state.end != Some(number) {
                return (state, Verdict::Go);
            }
            state.dead = true;
            return (state, Verdict::Fail(off()));
        };
        let path = path.strip_prefix(&self.base).unwrap_or(path).to_path_buf();
        let (serving, named) = (state.serving, state.image.is_named(&path));
        state.hit = Some(Call { what, path, serving, named });
        let verdict = match fault {
            Fault::Errno(code) => Verdict::Fail(io::Error::from_raw_os_error(code)),
            Fault::Half => Verdict::Half,
            Fault::Kill => {
                state.dead = true;
                Verdict::Fail(off())
            }
        };
        (state, verdict)
    }

    fn relative(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.base).expect("the store stays in its folder").to_path_buf()
    }

    /// Does one call on names: `doing` on the system, then `event`.
    fn on_name<T>(
        &self,
        (what, path): (&'static str, &Path),
        doing: impl FnOnce() -> io::Result<T>,
        event: impl FnOnce(&mut State, &T) -> Option<Event>,
    ) -> io::Result<T> {
        let (mut state, verdict) = self.ask(what, path);
        let verdict = match verdict {
            Verdict::Fail(error) => return Err(error),
            // The system makes a file or does not.
            Verdict::Half if what == "create" => return Err(io::Error::from_raw_os_error(EIO)),
            other => other,
        };
        let done = doing()?;
        if let Some(event) = event(&mut state, &done) {
            state.note(event);
        }
        if matches!(verdict, Verdict::Half) { Err(io::Error::from_raw_os_error(EIO)) } else { Ok(done) }
    }

    /// The path of an open file, below the folder of the test.
    pub(crate) fn path_of(&self, file: &File) -> PathBuf {
        let state = self.state.lock();
        state.inodes[&inode(file)].1.clone()
    }
}

fn inode(file: &File) -> u64 {
    file.metadata().unwrap().ino()
}

impl State {
    fn note(&mut self, event: Event) {
        self.image.apply(&event);
        self.trace.push(event);
    }

    /// Takes in a folder as it is.
    fn load(&mut self, base: &Path, folder: &Path) {
        let mut entries: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        for path in entries {
            let name = path.strip_prefix(base).unwrap().to_path_buf();
            if path.is_dir() {
                self.note(Event::MakeFolder(name));
                self.load(base, &path);
                continue;
            }
            let id = self.image.next_file();
            self.note(Event::Make(name, id));
            let bytes = std::fs::read(&path).unwrap();
            self.note(Event::Write { file: id, at: 0, bytes, mapped: false });
            self.take_in(&File::open(&path).unwrap(), id, path.strip_prefix(base).unwrap());
        }
    }

    /// Takes in what the test changed beside the store, file by file, and makes it certain.
    fn reload(&mut self, base: &Path) {
        let names: Vec<_> = self.inodes.values().map(|(id, name)| (*id, name.clone())).collect();
        for (id, name) in names {
            if self.image.file(&name) != Some(id) {
                continue;
            }
            match std::fs::read(base.join(&name)) {
                Ok(bytes) if bytes == self.image.cached(id) => {}
                Ok(bytes) => {
                    self.note(Event::Length(id, bytes.len() as u64));
                    self.note(Event::Write { file: id, at: 0, bytes, mapped: false });
                    self.note(Event::Sync(id));
                }
                Err(_) => {
                    let folder = name.parent().unwrap().to_path_buf();
                    self.note(Event::Remove(name));
                    self.note(Event::SyncFolder(folder));
                }
            }
        }
    }

    /// Remembers which file a handle means, and keeps an eye on the one that is written through memory.
    fn take_in(&mut self, file: &File, id: FileId, name: &Path) {
        self.inodes.insert(inode(file), (id, name.to_path_buf()));
        if name.ends_with("hot") {
            self.watched = Some((id, name.to_path_buf(), file.try_clone().unwrap()));
        }
    }

    /// Notes what was written through memory since the last look.
    fn look(&mut self) {
        const STEP_BYTES: usize = 512;
        if self.dead {
            return;
        }
        let mut events = Vec::new();
        if let Some((id, _, file)) = &self.watched {
            let old = self.image.cached(*id);
            let mut new = vec![0; old.len()];
            file.read_exact_at(&mut new, 0).unwrap();
            let mut at = 0;
            while at < new.len() {
                let end = |at: usize| (at + STEP_BYTES).min(new.len());
                let differs = |at: usize| at < new.len() && new[at..end(at)] != old[at..end(at)];
                let from = at;
                while differs(at) {
                    at = end(at);
                }
                if from < at {
                    events.push(Event::Write {
                        file: *id,
                        at: from as u64,
                        bytes: new[from..at].to_vec(),
                        mapped: true,
                    });
                }
                at = end(at);
            }
        }
        events.into_iter().for_each(|event| self.note(event));
    }
}

/// What the system says when a file would have to grow.
fn no_space() -> io::Error {
    io::Error::from_raw_os_error(ENOSPC)
}

impl Disk for SimDisk {
    fn write_at(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        let (mut state, verdict) = self.ask("write", &self.path_of(file));
        if state.full && file.metadata()?.len() < at + bytes.len() as u64 {
            return Err(no_space());
        }
        let (kept, outcome) = match verdict {
            Verdict::Go => (bytes, Ok(())),
            Verdict::Half => (&bytes[..bytes.len() / 2], Err(io::Error::from(io::ErrorKind::WriteZero))),
            Verdict::Fail(error) => return Err(error),
        };
        RealDisk.write_at(file, kept, at)?;
        let (file, _) = state.inodes[&inode(file)];
        if !kept.is_empty() {
            state.note(Event::Write { file, at, bytes: kept.to_vec(), mapped: false });
        }
        outcome
    }

    fn open_direct(&self, path: &Path) -> io::Result<Option<File>> {
        RealDisk.open(path).map(Some)
    }

    fn write_direct(&self, file: &File, parts: [&[u8]; 2], at: u64) -> io::Result<()> {
        let bytes = parts.concat();
        assert!((at as usize | bytes.len()).is_multiple_of(4_096), "direct writes are whole pages");
        assert!(at + bytes.len() as u64 <= file.metadata()?.len(), "a direct write made the file longer");
        self.write_at(file, &bytes, at)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        let (mut state, verdict) = self.ask("flush", &self.path_of(file));
        let (file, _) = state.inodes[&inode(file)];
        match verdict {
            Verdict::Go => {
                state.note(Event::Sync(file));
                Ok(())
            }
            Verdict::Half => {
                state.note(Event::FailedSync(file));
                Err(io::Error::from_raw_os_error(EIO))
            }
            Verdict::Fail(error) => {
                if !state.dead {
                    state.note(Event::FailedSync(file));
                }
                Err(error)
            }
        }
    }

    fn allocate(&self, file: &File, bytes: u64) -> io::Result<()> {
        let (mut state, verdict) = self.ask("allocate", &self.path_of(file));
        let (bytes, outcome) = match verdict {
            Verdict::Go => (bytes, Ok(())),
            Verdict::Half => (bytes / 2, Err(io::Error::from_raw_os_error(ENOSPC))),
            Verdict::Fail(error) => return Err(error),
        };
        if file.metadata()?.len() < bytes {
            if state.full {
                return Err(no_space());
            }
            file.set_len(bytes)?;
            let (file, _) = state.inodes[&inode(file)];
            state.note(Event::Length(file, bytes));
        }
        outcome
    }

    fn used_ratio(&self, _path: &Path) -> io::Result<f64> {
        Ok(0.1)
    }

    fn create(&self, path: &Path, existing: Existing) -> io::Result<File> {
        let name = self.relative(path);
        let was = path.exists();
        if !was && self.state.lock().full {
            return Err(no_space());
        }
        let make = || RealDisk.create(path, existing);
        self.on_name(("create", path), make, |state, file| {
            if was {
                let (id, _) = state.inodes[&inode(file)];
                return (existing == Existing::Emptied && !state.image.cached(id).is_empty())
                    .then_some(Event::Length(id, 0));
            }
            let id = state.image.next_file();
            state.note(Event::Make(name.clone(), id));
            state.take_in(file, id, &name);
            None
        })
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        let name = self.relative(path);
        self.on_name(("create", path), || RealDisk.create_folder(path), |_, ()| Some(Event::MakeFolder(name)))
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        let name = self.relative(path);
        self.on_name(
            ("open", path),
            || RealDisk.open(path),
            |state, file| {
                if let Some((id, _)) = state.inodes.get(&inode(file)).cloned() {
                    state.take_in(file, id, &name);
                }
                None
            },
        )
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let name = self.relative(folder);
        let (mut state, verdict) = self.ask("flush folder", folder);
        match verdict {
            Verdict::Go => state.note(Event::SyncFolder(name)),
            Verdict::Half => return Err(io::Error::from_raw_os_error(EIO)),
            Verdict::Fail(error) => return Err(error),
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let names = (self.relative(from), self.relative(to));
        self.on_name(
            ("rename", to),
            || RealDisk.rename(from, to),
            |state, ()| {
                let moved = state.inodes.values_mut().find(|(_, name)| *name == names.0);
                if let Some((_, name)) = moved {
                    name.clone_from(&names.1);
                }
                Some(Event::Rename(names.0, names.1))
            },
        )
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let name = self.relative(path);
        self.on_name(
            ("remove", path),
            || RealDisk.remove(path),
            |state, ()| {
                state.watched.take_if(|(_, watched, _)| *watched == name);
                Some(Event::Remove(name))
            },
        )
    }

    fn resize(&self, file: &File, bytes: u64) -> io::Result<()> {
        let path = self.path_of(file);
        let same = file.metadata()?.len() == bytes;
        self.on_name(
            ("resize", &path),
            || RealDisk.resize(file, bytes),
            |state, ()| {
                let (file, _) = state.inodes[&inode(file)];
                (!same).then_some(Event::Length(file, bytes))
            },
        )
    }

    fn free(&self, file: &File, at: u64, bytes: u64) -> io::Result<()> {
        let (mut state, verdict) = self.ask("free", &self.path_of(file));
        let (bytes, outcome) = match verdict {
            Verdict::Go => (bytes, Ok(())),
            Verdict::Half => (bytes / 2, Err(io::Error::from_raw_os_error(EIO))),
            Verdict::Fail(error) => return Err(error),
        };
        let length = file.metadata()?.len();
        assert!(at + bytes <= length, "space is given back behind the file's end");
        let zeros = vec![0; bytes as usize];
        RealDisk.write_at(file, &zeros, at)?;
        let (file, _) = state.inodes[&inode(file)];
        state.note(Event::Write { file, at, bytes: zeros, mapped: false });
        outcome
    }
}
