//! Small JSON files that survive a power cut: written beside the old one, synced, swapped in.
//!
//! The previous generation stays as `NAME.bak`. A damaged file is answered by its previous generation
//! and a warning; when neither can be read, the broker does not start: it must not run on an empty
//! table and then overwrite the damaged one.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use strata_protocol::json;
use thiserror::Error;
use tracing::warn;

/// Why a file could not be read or written.
#[derive(Debug, Error)]
pub enum DurableError {
    /// The operating system refused.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Neither the file nor its previous generation can be understood.
    #[error("{} and its previous generation {}.bak are damaged ({reason}); restore one of them, or move both away to start without", path.display(), path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// One such file.
#[derive(Debug)]
pub(crate) struct DurableFile {
    path: PathBuf,
    /// One writer at a time: two would swap each other's half-made generations in.
    writing: Mutex<()>,
    /// The file could not be read when it was loaded: it must not become the previous generation.
    damaged: AtomicBool,
}

impl DurableFile {
    /// The file `name` in `folder`, which must exist.
    pub(crate) fn new(folder: &Path, name: &str) -> Self {
        Self { path: folder.join(name), writing: Mutex::new(()), damaged: AtomicBool::new(false) }
    }

    /// Reads the file; `None` when it was never written.
    ///
    /// # Errors
    /// See [`DurableError`].
    pub(crate) fn load<T: DeserializeOwned>(&self) -> Result<Option<T>, DurableError> {
        let backup = self.backup();
        let reason = match self.read_one(&self.path)? {
            Some(Ok(value)) => return Ok(Some(value)),
            Some(Err(reason)) => Some(reason),
            None => None,
        };
        match (self.read_one(&backup)?, reason) {
            (Some(Ok(value)), reason) => {
                self.damaged.store(reason.is_some(), Ordering::Relaxed);
                let reason = reason.unwrap_or_else(|| String::from("it is missing"));
                warn!(file = %self.path.display(), reason, "using the previous generation of a settings file");
                Ok(Some(value))
            }
            (None, None) => Ok(None),
            (Some(Err(reason)), None) | (_, Some(reason)) => {
                Err(DurableError::Damaged { path: self.path.clone(), reason })
            }
        }
    }

    /// Writes the file so that after a crash either the old or the new text is there, whole. The value is
    /// taken when the writer's turn has come, so that the youngest state is written last; when it cannot be
    /// written, `undo` runs within the same turn, so that the next writer tries again.
    ///
    /// # Errors
    /// See [`DurableError`]; the old text is then still in place.
    pub(crate) fn save<T: Serialize>(
        &self,
        value: impl FnOnce() -> Option<T>,
        undo: impl FnOnce(),
    ) -> Result<(), DurableError> {
        let _turn = self.writing.lock();
        value().map_or(Ok(()), |value| self.write(&value).inspect_err(|_| undo()))
    }

    fn write<T: Serialize>(&self, value: &T) -> Result<(), DurableError> {
        let text = serde_json::to_vec(value).map_err(|error| self.failed("write", io::Error::other(error)))?;
        let fresh = self.path.with_extension("json.tmp");
        let mut file = File::create(&fresh).map_err(|error| self.failed("create", error))?;
        file.write_all(&text).map_err(|error| self.failed("write", error))?;
        file.sync_all().map_err(|error| self.failed("sync", error))?;
        if self.path.exists() && !self.damaged.load(Ordering::Relaxed) {
            let backup = self.backup();
            let _ = fs::remove_file(&backup);
            fs::hard_link(&self.path, &backup)
                .map_err(|error| self.failed("keep the previous generation of", error))?;
        }
        fs::rename(&fresh, &self.path).map_err(|error| self.failed("replace", error))?;
        self.damaged.store(false, Ordering::Relaxed);
        let folder = self.path.parent().unwrap_or(Path::new("."));
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|error| self.failed("sync the folder of", error))
    }

    fn backup(&self) -> PathBuf {
        self.path.with_extension("json.bak")
    }

    fn read_one<T: DeserializeOwned>(&self, path: &Path) -> Result<Option<Result<T, String>>, DurableError> {
        match fs::read(path) {
            Ok(bytes) => Ok(Some(json::from_unbounded(&bytes).map_err(|error| error.to_string()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failed("read", error)),
        }
    }

    fn failed(&self, action: &'static str, source: io::Error) -> DurableError {
        DurableError::Io { action, path: self.path.clone(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_previous_generation_answers_for_a_damaged_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = DurableFile::new(folder.path(), "x.json");
        assert_eq!(file.load::<Vec<i32>>().unwrap(), None);
        file.save(|| Some(vec![1]), || ()).unwrap();
        file.save(|| Some(vec![2]), || ()).unwrap();
        file.save(|| None::<Vec<i32>>, || ()).unwrap();
        assert_eq!(file.load::<Vec<i32>>().unwrap(), Some(vec![2]));
        fs::write(folder.path().join("x.json"), b"[2").unwrap();
        assert_eq!(file.load::<Vec<i32>>().unwrap(), Some(vec![1]));
        // What could not be read does not take the place of what can.
        file.save(|| Some(vec![3]), || ()).unwrap();
        assert_eq!(fs::read(file.backup()).unwrap(), b"[1]");
        fs::write(folder.path().join("x.json"), b"[2").unwrap();
        fs::write(file.backup(), b"").unwrap();
        assert!(matches!(file.load::<Vec<i32>>(), Err(DurableError::Damaged { .. })));
    }

    #[test]
    fn writers_at_the_same_time_take_turns() {
        let folder = tempfile::tempdir().unwrap();
        let file = DurableFile::new(folder.path(), "x.json");
        std::thread::scope(|scope| {
            for writer in 0..8 {
                let file = &file;
                scope.spawn(move || (0..20).for_each(|n| file.save(|| Some(vec![writer, n]), || ()).unwrap()));
            }
        });
        assert_eq!(file.load::<Vec<i32>>().unwrap().map(|value| value[1]), Some(19));
    }
}
