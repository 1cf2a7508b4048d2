//! A small document on disk that is replaced as a whole: after a crash it is the old one or the new one.
//!
//! Owns the file, its previous generation and the temporary file between them. It knows nothing of the
//! document's meaning.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Where the document is, and where it is not yet or not any more.
#[derive(Debug)]
pub(crate) struct Durable {
    folder: PathBuf,
    name: &'static str,
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
        Ok(Self { folder: folder.to_path_buf(), name })
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
    pub(crate) fn read<T>(&self, accept: impl Fn(&[u8]) -> Option<T>) -> Result<Option<T>, FileError> {
        let mut damaged: Option<PathBuf> = None;
        for path in [self.path(), self.previous()] {
            let bytes = match fs::read(&path) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(cause) => return Err(FileError { path, cause }),
            };
            match accept(&bytes) {
                Some(document) => {
                    if let Some(damaged) = damaged {
                        let (damaged, used) = (damaged.display(), path.display());
                        tracing::warn!(%damaged, %used, "took the previous generation");
                    }
                    return Ok(Some(document));
                }
                None => damaged = damaged.or(Some(path)),
            }
        }
        match damaged {
            // Starting empty over a document that cannot be read would lose it with the next change.
            Some(path) => {
                Err(FileError { path, cause: io::Error::new(io::ErrorKind::InvalidData, "not a readable document") })
            }
            None => Ok(None),
        }
    }

    /// Replaces the document. When this returns `Ok` the new one survives a loss of power.
    pub(crate) fn write(&self, bytes: &[u8]) -> Result<(), FileError> {
        let (path, previous) = (self.path(), self.previous());
        let temporary = self.folder.join(format!("{}.tmp", self.name));
        let mut file = File::create(&temporary).map_err(at(&temporary))?;
        file.write_all(bytes).and_then(|()| file.sync_all()).map_err(at(&temporary))?;
        // A hard link keeps the old generation without a moment in which the document has no name.
        match fs::remove_file(&previous) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(FileError { path: previous, cause }),
            Ok(()) | Err(_) => {}
        }
        match fs::hard_link(&path, &previous) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(FileError { path: previous, cause }),
            Ok(()) | Err(_) => {}
        }
        fs::rename(&temporary, &path).map_err(at(&path))?;
        File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(at(&self.folder))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> Option<String> {
        String::from_utf8(bytes.to_vec()).ok().filter(|text| text.starts_with("ok"))
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
        fs::write(durable.previous(), b"torn too").unwrap();
        assert_eq!(durable.read(text).unwrap_err().path, durable.path());
    }
}
