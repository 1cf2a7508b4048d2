//! Small JSON files that survive a power cut: written beside the old one, synced, swapped in, and with a
//! checksum of their text as the last member.
//!
//! A file without a checksum is taken as it is: RocketMQ and people write such files. The previous generation stays as `NAME.bak`. A damaged file is answered by its previous generation
//! and a warning; when neither can be read, the broker does not start: it must not run on an empty
//! table and then overwrite the damaged one.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use strata_protocol::checked::{Proof, Standing, check_json, json_with_checksum};
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

/// What a file says and what speaks for it, or why it cannot be used.
type Proven<T> = Result<(T, Proof), String>;

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
        let text = json_with_checksum(&self.name(), text);
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

    /// The name that the checksum covers; that of the previous generation too.
    fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    fn read_one<T: DeserializeOwned>(&self, path: &Path) -> Result<Option<Result<T, String>>, DurableError> {
        Ok(self.read_with_proof(path)?.map(|read| read.map(|(value, _)| value)))
    }

    fn read_with_proof<T: DeserializeOwned>(&self, path: &Path) -> Result<Option<Proven<T>>, DurableError> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.failed("read", error)),
        };
        let proof = check_json(&self.name(), &bytes).map_err(|error| error.to_string());
        let value = |proof| match json::from_unbounded(&bytes) {
            Ok(value) => Ok((value, proof)),
            Err(error) => Err(error.to_string()),
        };
        Ok(Some(proof.and_then(value)))
    }

    fn standing<T: DeserializeOwned>(&self, path: &Path) -> Result<Standing, DurableError> {
        Ok(match self.read_with_proof::<T>(path)? {
            None => Standing::Absent,
            Some(Ok((_, proof))) => Standing::Good(proof),
            Some(Err(what)) => Standing::Damaged { what },
        })
    }

    /// How the file and its previous generation are. Nothing is written.
    pub(crate) fn look<T: DeserializeOwned>(&self) -> Result<ConfigFile, DurableError> {
        let (file, previous) = (self.standing::<T>(&self.path)?, self.standing::<T>(&self.backup())?);
        Ok(ConfigFile { path: self.path.clone(), file, previous_path: self.backup(), previous })
    }

    /// Writes the file again from its previous generation, if the file cannot be used and that one can.
    pub(crate) fn restore<T: DeserializeOwned + Serialize>(&self) -> Result<(), DurableError> {
        if !self.look::<T>()?.is_restorable() {
            return Ok(());
        }
        let value = self.load::<T>()?;
        self.save(|| value, || ())
    }

    fn failed(&self, action: &'static str, source: io::Error) -> DurableError {
        DurableError::Io { action, path: self.path.clone(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize, serde::Deserialize)]
    struct Document {
        numbers: Vec<i32>,
    }

    fn load(file: &DurableFile) -> Result<Option<Vec<i32>>, DurableError> {
        Ok(file.load::<Document>()?.map(|document| document.numbers))
    }

    fn save(file: &DurableFile, numbers: &[i32]) {
        file.save(|| Some(Document { numbers: numbers.to_vec() }), || ()).unwrap();
    }

    #[test]
    fn the_previous_generation_answers_for_a_damaged_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = DurableFile::new(folder.path(), "x.json");
        assert_eq!(load(&file).unwrap(), None);
        save(&file, &[1]);
        save(&file, &[2]);
        file.save(|| None::<Document>, || ()).unwrap();
        assert_eq!(load(&file).unwrap(), Some(vec![2]));
        fs::write(folder.path().join("x.json"), b"{\"numbers\":[2").unwrap();
        assert_eq!(load(&file).unwrap(), Some(vec![1]));
        // What could not be read does not take the place of what can.
        save(&file, &[3]);
        assert!(fs::read(file.backup()).unwrap().starts_with(b"{\"numbers\":[1],"));
        fs::write(folder.path().join("x.json"), b"{\"numbers\":[2").unwrap();
        fs::write(file.backup(), b"").unwrap();
        assert!(matches!(load(&file), Err(DurableError::Damaged { .. })));
    }

    #[test]
    fn a_changed_digit_is_damage_and_a_file_without_checksum_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.json");
        let file = DurableFile::new(folder.path(), "x.json");
        save(&file, &[17]);
        save(&file, &[18]);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("18", "98")).unwrap();
        assert_eq!(load(&file).unwrap(), Some(vec![17]));
        fs::write(&path, r#"{"numbers":[98]}"#).unwrap();
        assert_eq!(load(&file).unwrap(), Some(vec![98]));
    }

    #[test]
    fn no_damage_gives_other_numbers() {
        // Single bytes, cuts, and 16 bytes of zeros at every place.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.json");
        let file = DurableFile::new(folder.path(), "x.json");
        save(&file, &[1]);
        save(&file, &[1_234_567, 89]);
        let good = fs::read(&path).unwrap();
        let mut cases = 0;
        for at in 0..good.len() {
            let mut others: Vec<Vec<u8>> =
                (0..=255).map(|byte| [&good[..at], &[byte], &good[at + 1..]].concat()).collect();
            others.push(good[..at].to_vec());
            let end = good.len().min(at + 16);
            others.push([&good[..at], &vec![0; end - at], &good[end..]].concat());
            for other in others.into_iter().filter(|other| *other != good) {
                fs::write(&path, &other).unwrap();
                assert_eq!(load(&file).unwrap(), Some(vec![1]), "{}", String::from_utf8_lossy(&other));
                cases += 1;
            }
        }
        assert!(cases > 10_000, "{cases} cases");
    }

    #[test]
    fn a_look_writes_nothing_and_a_restored_file_is_good() {
        let folder = tempfile::tempdir().unwrap();
        let file = DurableFile::new(folder.path(), "x.json");
        save(&file, &[1]);
        save(&file, &[2]);
        fs::write(folder.path().join("x.json"), b"torn").unwrap();
        let look = |file: &DurableFile| file.look::<Document>().unwrap();
        let before = look(&file);
        assert!(before.is_restorable() && matches!(before.file, Standing::Damaged { .. }), "{before:?}");
        assert_eq!(fs::read(folder.path().join("x.json")).unwrap(), b"torn");
        file.restore::<Document>().unwrap();
        let after = look(&file);
        assert_eq!((&after.file, &after.previous), (&Standing::Good(Proof::Checksum), &before.previous));
        assert_eq!(load(&file).unwrap(), Some(vec![1]));
    }

    #[test]
    fn writers_at_the_same_time_take_turns() {
        let folder = tempfile::tempdir().unwrap();
        let file = DurableFile::new(folder.path(), "x.json");
        std::thread::scope(|scope| {
            for writer in 0..8 {
                let file = &file;
                scope.spawn(move || (0..20).for_each(|n| save(file, &[writer, n])));
            }
        });
        assert_eq!(load(&file).unwrap().map(|value| value[1]), Some(19));
    }
}
