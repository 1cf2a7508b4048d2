//! Which log a tier belongs to.
//!
//! Owns the id of a data folder's log, which the tier's manifest tells as well. Offsets alone do not tell two logs apart: of
//! another one that is longer, the beginning would count as rolled and be deleted. Nor do they tell an empty folder, whose
//! disk is not mounted, from a new tier.

use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use strata_tiering::chance::unique;
use strata_tiering::manifest::{Edit, Manifest};

use crate::durable::{DurableError, DurableFile};

/// The file, in the data folder.
const FILE: &str = "cold.json";

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Told {
    /// Made up once.
    id: String,
    /// The log out of whose tier the folder was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    replaces: Option<String>,
    /// Whether the tier has the id.
    joined: bool,
}

/// Why a tier is not that of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mismatch {
    /// It is another log's.
    Other,
    /// It has nothing of anybody, and this log was rolled to it.
    Empty,
}

/// The id of a data folder's log.
#[derive(Debug)]
pub(crate) struct Identity {
    file: DurableFile,
    path: PathBuf,
    told: Mutex<Told>,
}

impl Identity {
    /// Reads it; makes one up in a folder that has none.
    pub(crate) fn load(data: &Path) -> Result<Self, DurableError> {
        let file = DurableFile::new(data, FILE);
        let told = match file.load()? {
            Some(told) => told,
            None => {
                let told = Told { id: unique(), replaces: None, joined: false };
                file.save(|| Some(&told), || {})?;
                told
            }
        };
        Ok(Self { file, path: data.join(FILE), told: Mutex::new(told) })
    }

    /// The file, for who is told what to do.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a tier may be this log's.
    pub(super) fn takes(&self, manifest: &Manifest) -> Result<(), Mismatch> {
        let told = self.told.lock();
        match manifest.log() {
            None if told.joined || told.replaces.is_some() => Err(Mismatch::Empty),
            None => Ok(()),
            Some(id) if id == told.id || Some(id) == told.replaces.as_deref() => Ok(()),
            Some(_) => Err(Mismatch::Other),
        }
    }

    /// What tells the tier whose it is; `None` when it knows.
    pub(super) fn edit(&self, manifest: &Manifest) -> Option<Edit> {
        let told = self.told.lock();
        (manifest.log() != Some(&told.id)).then(|| Edit::Log { id: told.id.clone() })
    }

    /// Notes that the tier knows it.
    pub(super) fn join(&self) -> Result<(), DurableError> {
        let mut told = self.told.lock();
        if told.joined {
            return Ok(());
        }
        let joined = Told { joined: true, ..told.clone() };
        self.file.save(|| Some(&joined), || {})?;
        *told = joined;
        Ok(())
    }
}

/// Gives a data folder that is made out of a tier an id of its own, which takes the tier over from that of `log`.
///
/// # Errors
/// It cannot be written.
pub fn write_identity(data: &Path, log: Option<&str>) -> Result<(), DurableError> {
    let told = Told { id: unique(), replaces: log.map(str::to_owned), joined: false };
    DurableFile::new(data, FILE).save(|| Some(&told), || {})
}

#[cfg(test)]
mod tests {
    use strata_tiering::bucket::{Bucket, Location, Patience, Puts};
    use strata_tiering::manifest::{Ledger, Writer};

    use super::*;

    async fn told(ledger: &mut Ledger, identity: &Identity) {
        let edit = identity.edit(&ledger.manifest()).unwrap();
        ledger.commit(edit).await.unwrap();
        assert_eq!(identity.edit(&ledger.manifest()), None);
        identity.join().unwrap();
    }

    #[tokio::test]
    async fn a_log_knows_its_tier_and_no_other() {
        let bucket = Bucket::open(&Location::parse("memory://").unwrap(), [], Patience::default()).await.unwrap();
        let mut ledger = Ledger::open(bucket, "b").await.unwrap();
        ledger.claim(Puts::Atomic, Writer::Fenced).await.unwrap();
        let empty = ledger.manifest();
        let folders: [_; 3] = std::array::from_fn(|_| tempfile::tempdir().unwrap());
        let first = Identity::load(folders[0].path()).unwrap();
        assert_eq!(first.takes(&empty), Ok(()));
        told(&mut ledger, &first).await;
        let first = Identity::load(folders[0].path()).unwrap();
        assert_eq!(first.takes(&ledger.manifest()), Ok(()));
        assert_eq!(first.takes(&empty), Err(Mismatch::Empty), "the folder of a disk that is not mounted");
        let stranger = Identity::load(folders[1].path()).unwrap();
        assert_eq!(stranger.takes(&ledger.manifest()), Err(Mismatch::Other));
        // A restored folder takes over, for good.
        write_identity(folders[2].path(), ledger.manifest().log()).unwrap();
        let restored = Identity::load(folders[2].path()).unwrap();
        assert_eq!(restored.takes(&ledger.manifest()), Ok(()));
        assert_eq!(restored.takes(&empty), Err(Mismatch::Empty));
        told(&mut ledger, &restored).await;
        assert_eq!(restored.takes(&ledger.manifest()), Ok(()));
        assert_eq!(first.takes(&ledger.manifest()), Err(Mismatch::Other));
    }
}
