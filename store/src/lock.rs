//! The claim of one process on a store folder, and the folder's version.
//!
//! Owns `strata.lock` and `strata.format`. The kernel drops the lock when the process ends, however it
//! ends; the text in the lock file is for people.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use crate::disk::{Disk, Existing, read_optional, replace};
use crate::error::OpenError;

/// What the format file says.
const FORMAT: &str = "strata-store 1";

/// The held lock; dropping it frees the folder.
#[derive(Debug)]
pub(crate) struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Takes the folder for this process.
    pub(crate) fn take(disk: &dyn Disk, folder: &Path) -> Result<Self, OpenError> {
        let path = folder.join("strata.lock");
        let lock = |source| OpenError::Lock { path: path.clone(), source };
        let file = disk.create(&path, Existing::Kept).map_err(lock)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let text = std::fs::read_to_string(&path).unwrap_or_default();
                let holder = text.trim().parse().ok();
                return Err(OpenError::InUse { folder: folder.to_owned(), holder });
            }
            Err(TryLockError::Error(source)) => return Err(lock(source)),
        }
        // The id helps a person; failing to write it harms nobody.
        let text = format!("{}\n", std::process::id());
        let _ = disk.resize(&file, 0).and_then(|()| disk.write_at(&file, text.as_bytes(), 0));
        Ok(Self { _file: file })
    }
}

/// The file that says a folder's version; it is the first one that a new store makes durable.
pub(crate) fn format_file(folder: &Path) -> PathBuf {
    folder.join("strata.format")
}

/// Checks the folder's version, or writes it into a new folder.
pub(crate) fn check_version(disk: &dyn Disk, folder: &Path) -> Result<(), OpenError> {
    let path = format_file(folder);
    let Some(bytes) = read_optional(&path).map_err(OpenError::io("read", &path))? else {
        let text = format!("{FORMAT}\n");
        return replace(disk, &path, text.as_bytes()).map_err(OpenError::io("write", &path));
    };
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(64)]);
    let found = text.lines().next().unwrap_or_default().to_owned();
    if found == FORMAT { Ok(()) } else { Err(OpenError::Version { path, found }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    #[test]
    fn a_second_claim_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let first = FolderLock::take(&RealDisk, folder.path()).unwrap();
        let error = FolderLock::take(&RealDisk, folder.path()).unwrap_err();
        assert!(matches!(&error, OpenError::InUse { holder: Some(id), .. } if *id == std::process::id()));
        let path = folder.path().display().to_string();
        assert!(error.to_string().contains(&path), "{error}");
        drop(first);
        FolderLock::take(&RealDisk, folder.path()).unwrap();
    }

    #[test]
    fn a_lock_that_is_no_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("strata.lock")).unwrap();
        assert!(matches!(FolderLock::take(&RealDisk, folder.path()), Err(OpenError::Lock { .. })));
    }

    #[test]
    fn another_version_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        check_version(&RealDisk, folder.path()).unwrap();
        check_version(&RealDisk, folder.path()).unwrap();
        std::fs::write(folder.path().join("strata.format"), "strata-store 2\n").unwrap();
        let error = check_version(&RealDisk, folder.path()).unwrap_err();
        assert!(matches!(error, OpenError::Version { found, .. } if found == "strata-store 2"));
    }
}
