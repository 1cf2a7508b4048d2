//! What a disk may hold after the power went, computed from the calls that were made until then.
//!
//! Owns the rules of loss: what a flush of a file or a folder covered is there; of everything else any
//! part may be there that a journaling file system with 512-byte sectors could have written by itself.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::draw::Draw;
use super::ledger::Mark;

/// Bytes that a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// Percent of pending writes through memory whose last sector is written half: the system writes a page
/// whenever it likes, also while a record is being copied into it. A page that was left half copied in the
/// middle of a record is not tried: fewer than 256 zeros within properties are what a message may hold.
const TORN_PERCENT: usize = 20;

/// A file apart from its names.
pub(crate) type FileId = usize;

/// One call that changed or flushed something, or something that the test notes between calls.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    MakeFolder(PathBuf),
    /// A new, empty file with this name.
    Make(PathBuf, FileId),
    /// `mapped`: through memory, without a call.
    Write {
        file: FileId,
        at: u64,
        bytes: Vec<u8>,
        mapped: bool,
    },
    /// The file has this length from now on; what is added is zero.
    Length(FileId, u64),
    Sync(FileId),
    /// A flush that failed: the system takes what it should have written for clean and drops it some day.
    FailedSync(FileId),
    SyncFolder(PathBuf),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
    Mark(Mark),
}

/// What a crash leaves of what was pending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Crash {
    /// Everything: the process was killed, the machine goes on.
    All,
    /// Nothing but what was flushed.
    Nothing,
    /// The pending operations whose bits are set.
    Subset(u32),
    /// Sectors, lengths and names as a seed says.
    Random(u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    Folder,
    File(FileId),
}

#[derive(Debug, Clone)]
enum Naming {
    Add(PathBuf, Node),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

impl Naming {
    /// The folder that must be flushed for it.
    fn folder(&self) -> &Path {
        let (Self::Add(path, _) | Self::Rename(_, path) | Self::Remove(path)) = self;
        path.parent().unwrap_or(Path::new(""))
    }
}

type Names = BTreeMap<PathBuf, Node>;

fn rename(names: &mut Names, change: &Naming) {
    match change {
        // A name that is still taken was to be removed first: the older change did not get there.
        Naming::Add(path, node) => {
            names.entry(path.clone()).or_insert(*node);
        }
        Naming::Rename(from, to) => {
            if let Some(node) = names.remove(from) {
                names.insert(to.clone(), node);
            }
        }
        Naming::Remove(path) => {
            names.remove(path);
        }
    }
}

#[derive(Debug, Clone)]
enum Change {
    Write { at: usize, bytes: Vec<u8>, mapped: bool },
    Length(usize),
}

impl Change {
    fn apply(&self, image: &mut Vec<u8>) {
        match self {
            Self::Write { at, bytes, .. } => put(image, *at, bytes),
            Self::Length(bytes) => image.resize(*bytes, 0),
        }
    }
}

fn put(image: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if image.len() < at + bytes.len() {
        image.resize(at + bytes.len(), 0);
    }
    image[at..at + bytes.len()].copy_from_slice(bytes);
}

#[derive(Debug, Clone, Default)]
struct Bytes {
    durable: Vec<u8>,
    /// As the running system shows it.
    cached: Vec<u8>,
    pending: Vec<Change>,
    /// So many of the pending changes come before a flush that failed: no later one writes them.
    doomed: usize,
}

/// A disk at one moment: what is certain and what is pending.
#[derive(Debug, Clone, Default)]
pub(crate) struct Image {
    files: Vec<Bytes>,
    names: Names,
    durable_names: Names,
    pending_names: Vec<Naming>,
}

/// Names and bytes of a folder.
pub(crate) type Tree = BTreeMap<PathBuf, Option<Vec<u8>>>;

impl Image {
    /// The number of the next file that is made.
    pub(crate) fn next_file(&self) -> FileId {
        self.files.len()
    }

    /// A file's bytes as the running system shows them.
    pub(crate) fn cached(&self, file: FileId) -> &[u8] {
        &self.files[file].cached
    }

    /// The file of this name.
    pub(crate) fn file(&self, path: &Path) -> Option<FileId> {
        match self.names.get(path) {
            Some(Node::File(file)) => Some(*file),
            _ => None,
        }
    }

    /// Whether a name would be there after a power cut.
    pub(crate) fn is_named(&self, path: &Path) -> bool {
        self.durable_names.contains_key(path)
    }

    /// Makes everything that is there certain.
    pub(crate) fn settle(&mut self) {
        self.durable_names = self.names.clone();
        self.pending_names.clear();
        for file in &mut self.files {
            file.durable = file.cached.clone();
            file.pending.clear();
            file.doomed = 0;
        }
    }

    pub(crate) fn apply(&mut self, event: &Event) {
        match event {
            Event::MakeFolder(path) => self.name(Naming::Add(path.clone(), Node::Folder)),
            Event::Make(path, file) => {
                assert_eq!(*file, self.files.len(), "files are numbered as they are made");
                self.files.push(Bytes::default());
                self.name(Naming::Add(path.clone(), Node::File(*file)));
            }
            Event::Write { file, at, bytes, mapped } => {
                self.change(*file, Change::Write { at: *at as usize, bytes: bytes.clone(), mapped: *mapped });
            }
            Event::Length(file, bytes) => self.change(*file, Change::Length(*bytes as usize)),
            Event::Sync(file) => {
                let file = &mut self.files[*file];
                file.pending.drain(..).skip(file.doomed).for_each(|change| change.apply(&mut file.durable));
                file.doomed = 0;
            }
            Event::FailedSync(file) => self.files[*file].doomed = self.files[*file].pending.len(),
            Event::SyncFolder(folder) => {
                let pending = std::mem::take(&mut self.pending_names);
                let (covered, rest): (Vec<_>, Vec<_>) =
                    pending.into_iter().partition(|naming| naming.folder() == folder);
                self.pending_names = rest;
                covered.iter().for_each(|naming| rename(&mut self.durable_names, naming));
            }
            Event::Rename(from, to) => self.name(Naming::Rename(from.clone(), to.clone())),
            Event::Remove(path) => self.name(Naming::Remove(path.clone())),
            Event::Mark(_) => {}
        }
    }

    fn name(&mut self, naming: Naming) {
        rename(&mut self.names, &naming);
        self.pending_names.push(naming);
    }

    fn change(&mut self, file: FileId, change: Change) {
        let file = &mut self.files[file];
        change.apply(&mut file.cached);
        file.pending.push(change);
    }

    /// How many operations are pending; what was never given a name counts too.
    pub(crate) fn pending(&self) -> usize {
        self.pending_names.len() + self.files.iter().map(|file| file.pending.len()).sum::<usize>()
    }

    /// What the disk holds after a crash.
    pub(crate) fn after(&self, crash: Crash) -> Tree {
        match crash {
            Crash::All => self.tree(&self.names, |file| self.files[file].cached.clone()),
            Crash::Nothing => self.tree(&self.durable_names, |file| self.files[file].durable.clone()),
            Crash::Subset(bits) => self.subset(bits),
            Crash::Random(seed) => self.random(&mut Draw::new(seed)),
        }
    }

    fn tree(&self, names: &Names, mut bytes: impl FnMut(FileId) -> Vec<u8>) -> Tree {
        let mut tree = Tree::new();
        for (path, node) in names {
            let above = path.parent().filter(|above| !above.as_os_str().is_empty());
            // What lies in a folder that is not there is not there.
            if above.is_some_and(|above| !tree.contains_key(above)) {
                continue;
            }
            let content = match node {
                Node::Folder => None,
                Node::File(file) => Some(bytes(*file)),
            };
            tree.insert(path.clone(), content);
        }
        tree
    }

    fn subset(&self, bits: u32) -> Tree {
        let mut at = 0;
        let mut kept = || {
            at += 1;
            bits & (1 << (at - 1)) != 0
        };
        let mut names = self.durable_names.clone();
        for naming in &self.pending_names {
            if kept() {
                rename(&mut names, naming);
            }
        }
        let mut images = Vec::new();
        for file in &self.files {
            let mut image = file.durable.clone();
            for change in &file.pending {
                if kept() {
                    change.apply(&mut image);
                }
            }
            images.push(image);
        }
        self.tree(&names, |file| std::mem::take(&mut images[file]))
    }

    fn random(&self, draw: &mut Draw) -> Tree {
        let mut names = self.durable_names.clone();
        // A journal keeps the order of names; without one any of them may be missing.
        if draw.chance(50) {
            let kept = draw.below(self.pending_names.len() + 1);
            self.pending_names[..kept].iter().for_each(|naming| rename(&mut names, naming));
        } else {
            let kept: Vec<_> = self.pending_names.iter().filter(|_| draw.chance(50)).collect();
            kept.into_iter().for_each(|naming| rename(&mut names, naming));
        }
        let percent = [10, 50, 90][draw.below(3)];
        self.tree(&names, |file| self.files[file].random(draw, percent))
    }
}

impl Bytes {
    /// Any sectors of any pending write, and any of the lengths that the file had.
    fn random(&self, draw: &mut Draw, percent: usize) -> Vec<u8> {
        let mut image = self.durable.clone();
        let sized = draw.below(self.pending.len() + 1);
        for (index, change) in self.pending.iter().enumerate() {
            match change {
                Change::Length(bytes) if index < sized => image.resize(*bytes, 0),
                // What was written after a cut that is not on disk went to places that are not known there.
                Change::Length(bytes) if *bytes < image.len() => break,
                Change::Length(_) => {}
                Change::Write { at, bytes, mapped } => {
                    if index < sized && image.len() < at + bytes.len() {
                        image.resize(at + bytes.len(), 0);
                    }
                    write_some(&mut image, (*at, bytes), *mapped, draw, percent);
                }
            }
        }
        image
    }
}

fn write_some(image: &mut [u8], (at, bytes): (usize, &[u8]), mapped: bool, draw: &mut Draw, percent: usize) {
    let mut from = at;
    while from < at + bytes.len() {
        let to = (from / SECTOR_BYTES * SECTOR_BYTES + SECTOR_BYTES).min(at + bytes.len());
        let mut end = to;
        if mapped && to == at + bytes.len() && draw.chance(TORN_PERCENT) {
            end = from + draw.below(to - from);
        }
        let end = end.min(image.len());
        if draw.chance(percent) && from < end {
            image[from..end].copy_from_slice(&bytes[from - at..end - at]);
        }
        from = to;
    }
}

/// Writes a tree below `base`, with holes where there is nothing, as a real segment has them.
pub(crate) fn materialise(tree: &Tree, base: &Path) {
    const PAGE_BYTES: usize = 4_096;
    for (path, content) in tree {
        let path = base.join(path);
        let Some(bytes) = content else {
            std::fs::create_dir(&path).unwrap();
            continue;
        };
        let file = File::create(&path).unwrap();
        file.set_len(bytes.len() as u64).unwrap();
        for (page, chunk) in bytes.chunks(PAGE_BYTES).enumerate() {
            if chunk.iter().any(|byte| *byte != 0) {
                file.write_all_at(chunk, (page * PAGE_BYTES) as u64).unwrap();
            }
        }
    }
}
