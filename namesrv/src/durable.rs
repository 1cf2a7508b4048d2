//! A small document on disk that is replaced as a whole: after a crash it is the old one or the new one.
//!
//! Owns the file, its previous generation and the temporary file between them. It knows nothing of the
//! document's meaning.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use strata_protocol::checked::{Proof, Standing};

/// What a document says and what speaks for it, or why it cannot be used.
pub(crate) type Accepted<T> = Result<(T, Proof), String>;

/// How a configuration file and its previous generation are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFile {
    /// The file.
    pub path: PathBuf,
    /// How it is.
    pub file: Standing,
    /// Its previous generation.
    pub previous_path: PathBuf,
    /// How that is.
    pub previous: Standing,
}

impl ConfigFile {
    /// Whether the file cannot be used and its previous generation can, which a start does with a warning.
    #[must_use]
    pub const fn is_restorable(&self) -> bool {
        !matches!(self.file, Standing::Good(_)) && matches!(self.previous, Standing::Good(_))
    }
}

/// Where the document is, and where it is not yet or not any more.
#[derive(Debug)]
pub(crate) struct Durable {
    folder: PathBuf,
    name: &'static str,
    /// The document could not be used when it was read: it must not become the previous generation.
    damaged: AtomicBool,
}

/// A path and what the operating system said about it.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {cause}", path = path.display())]
pub struct FileError {
    /// The file or folder.
    pub path: PathBuf,
    /// The operating system's error.
    #[source]
    pub cause: io::Error,
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_path_buf();
    |cause| FileError { path, cause }
}

impl Durable {
    /// The document `name` in `folder`, which is made when it is missing.
    pub(crate) fn open(folder: &Path, name: &'static str) -> Result<Self, FileError> {
        fs::create_dir_all(folder).map_err(at(folder))?;
        Ok(Self::at(folder, name))
    }

    /// The document `name` in `folder`, which may be missing.
    pub(crate) fn at(folder: &Path, name: &'static str) -> Self {
        Self { folder: folder.to_path_buf(), name, damaged: AtomicBool::new(false) }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.join(self.name)
    }

    /// Where the generation before the last change is kept.
    pub(crate) fn previous(&self) -> PathBuf {
        self.folder.join(format!("{}.bak", self.name))
    }

    /// Reads the document, or the previous generation when `accept` finds the document unusable. `None`
    /// when there is neither.
    pub(crate) fn read<T>(&self, accept: impl Fn(&[u8]) -> Accepted<T>) -> Result<Option<T>, FileError> {
        let mut damaged: Option<(PathBuf, String)> = None;
        for path in [self.path(), self.previous()] {
            match bytes_of(&path)?.map(|bytes| accept(&bytes)) {
                None => {}
                Some(Ok((document, _))) => {
                    if let Some((damaged, reason)) = damaged {
                        self.damaged.store(true, Ordering::Relaxed);
                        let (damaged, used) = (damaged.display(), path.display());
                        tracing::warn!(%damaged, reason, %used, "took the previous generation");
                    }
                    return Ok(Some(document));
                }
                Some(Err(reason)) => damaged = damaged.or(Some((path, reason))),
            }
        }
        match damaged {
            // Starting empty over a document that cannot be read would lose it with the next change.
            Some((path, reason)) => {
                let what = format!("not a readable document ({reason}); restore it, or move it away to start without");
                Err(FileError { path, cause: io::Error::new(io::ErrorKind::InvalidData, what) })
            }
            None => Ok(None),
        }
    }

    /// How the document and its previous generation are. Nothing is written.
    pub(crate) fn look<T>(&self, accept: impl Fn(&[u8]) -> Accepted<T>) -> Result<ConfigFile, FileError> {
        let standing = |path: &Path| {
            Ok(match bytes_of(path)?.map(|bytes| accept(&bytes)) {
                None => Standing::Absent,
                Some(Ok((_, proof))) => Standing::Good(proof),
                Some(Err(what)) => Standing::Damaged { what },
            })
        };
        let (path, previous_path) = (self.path(), self.previous());
        let (file, previous) = (standing(&path)?, standing(&previous_path)?);
        Ok(ConfigFile { path, file, previous_path, previous })
    }

    /// Replaces the document. When this returns `Ok` the new one survives a loss of power.
    pub(crate) fn write(&self, bytes: &[u8]) -> Result<(), FileError> {
        let (path, previous) = (self.path(), self.previous());
        let temporary = self.folder.join(format!("{}.tmp", self.name));
        let mut file = File::create(&temporary).map_err(at(&temporary))?;
        file.write_all(bytes).and_then(|()| file.sync_all()).map_err(at(&temporary))?;
        if path.exists() && !self.damaged.load(Ordering::Relaxed) {
            // A hard link keeps the old generation without a moment in which the document has no name.
            match fs::remove_file(&previous) {
                Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                    return Err(FileError { path: previous, cause });
                }
                Ok(()) | Err(_) => {}
            }
            fs::hard_link(&path, &previous).map_err(at(&previous))?;
        }
        fs::rename(&temporary, &path).map_err(at(&path))?;
        self.damaged.store(false, Ordering::Relaxed);
        File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(at(&self.folder))
    }
}

/// A whole file, `None` when there is none.
fn bytes_of(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(FileError { path: path.to_path_buf(), cause }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> Accepted<String> {
        let text = String::from_utf8(bytes.to_vec()).map_err(|error| error.to_string())?;
        if text.starts_with("ok") { Ok((text, Proof::None)) } else { Err(text) }
    }

    #[test]
    fn the_previous_generation_stands_in_for_a_damaged_document() {
        let folder = tempfile::tempdir().unwrap();
        let durable = Durable::open(&folder.path().join("deep/er"), "doc.json").unwrap();
        assert_eq!(durable.read(text).unwrap(), None);
        durable.write(b"ok one").unwrap();
        durable.write(b"ok two").unwrap();
        assert_eq!(durable.read(text).unwrap().as_deref(), Some("ok two"));
        assert_eq!(fs::read(durable.previous()).unwrap(), b"ok one");
        fs::write(durable.path(), b"torn").unwrap();
        assert_eq!(durable.read(text).unwrap().as_deref(), Some("ok one"));
        // What could not be read does not take the place of what can.
        durable.write(b"ok three").unwrap();
        assert_eq!(fs::read(durable.previous()).unwrap(), b"ok one");
        fs::write(durable.path(), b"torn").unwrap();
        assert!(durable.look(text).unwrap().is_restorable());
        fs::write(durable.previous(), b"torn too").unwrap();
        assert_eq!(durable.read(text).unwrap_err().path, durable.path());
    }
}
