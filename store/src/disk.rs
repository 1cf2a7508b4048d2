//! The seam between the store and the disk: every call that changes or flushes anything there.
//!
//! Owns making and opening files and folders, writing, flushing, allocating, renaming, deleting and
//! whole-file replacement. No other file of the store calls the system for these, so that a test that
//! gives the store a disk of its own sees all of it. Reading goes by path or through mappings. Appends write
//! into mapped pages of the hot file, which is never flushed; the flusher writes from there by these calls.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// What becomes of a file that is there already when one is to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// It is somebody's: the call fails.
    Refused,
    /// It loses its bytes.
    Emptied,
    /// It is opened as it is.
    Kept,
}

/// The disk as the store uses it. The real path costs one indirect call beside each system call.
pub trait Disk: Send + Sync {
    /// Writes all of `bytes` at `at`.
    ///
    /// # Errors
    /// What the system says; a short write is an error too.
    fn write_at(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()>;

    /// Opens a file for writes that do not go through the page cache, `None` where that cannot be done: then
    /// [`Disk::write_at`] is used instead.
    ///
    /// # Errors
    /// What the system says, other than that it cannot.
    fn open_direct(&self, _path: &Path) -> io::Result<Option<File>> {
        Ok(None)
    }

    /// Writes all bytes of both parts, one behind the other, at `at` of a file from [`Disk::open_direct`]. Parts
    /// and position are whole pages.
    ///
    /// # Errors
    /// What the system says; a short write is an error too.
    fn write_direct(&self, file: &File, parts: [&[u8]; 2], at: u64) -> io::Result<()> {
        self.write_at(file, parts[0], at)?;
        self.write_at(file, parts[1], at + parts[0].len() as u64)
    }

    /// Makes what was written to `file` durable, data and length.
    ///
    /// # Errors
    /// What the system says. After an error nothing may be assumed about earlier writes.
    fn sync(&self, file: &File) -> io::Result<()>;

    /// Reserves `bytes` for `file`, so that writing into its mapping finds space.
    ///
    /// # Errors
    /// No space, or a file system that cannot.
    fn allocate(&self, file: &File, bytes: u64) -> io::Result<()>;

    /// The share of the disk under `path` that is in use, 0 to 1.
    ///
    /// # Errors
    /// What the system says.
    fn used_ratio(&self, path: &Path) -> io::Result<f64>;

    /// Makes a file, or opens the one that is there, for reading and writing.
    ///
    /// # Errors
    /// What the system says.
    fn create(&self, path: &Path, existing: Existing) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        match existing {
            Existing::Refused => options.create_new(true),
            Existing::Emptied => options.create(true).truncate(true),
            Existing::Kept => options.create(true).truncate(false),
        };
        options.open(path)
    }

    /// Makes one folder.
    ///
    /// # Errors
    /// What the system says, also that it is there already or that the one above it is not.
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        std::fs::create_dir(path)
    }

    /// Opens a file that exists for reading and writing.
    ///
    /// # Errors
    /// What the system says, also that there is no such file.
    fn open(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).open(path)
    }

    /// Makes creations, renames and deletions in `folder` durable.
    ///
    /// # Errors
    /// What the system says.
    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }

    /// Puts `from` in the place of `to`.
    ///
    /// # Errors
    /// What the system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    /// Deletes a file.
    ///
    /// # Errors
    /// What the system says, also that there is no such file.
    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    /// Makes `file` as long as that; what is added is zero.
    ///
    /// # Errors
    /// What the system says.
    fn resize(&self, file: &File, bytes: u64) -> io::Result<()> {
        file.set_len(bytes)
    }

    /// Gives back the space that `bytes` of `file` from `at` on take. They are zero afterwards; the file stays as long
    /// as it is, and writing there takes space again.
    ///
    /// # Errors
    /// What the system says, also that its file system cannot.
    fn free(&self, file: &File, at: u64, bytes: u64) -> io::Result<()> {
        let flags = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
        let punch = || rustix::fs::fallocate(file, flags, at, bytes);
        rustix::io::retry_on_intr(punch).map_err(io::Error::from)
    }
}

/// The machine's disk.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn write_at(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        file.write_all_at(bytes, at)
    }

    fn open_direct(&self, path: &Path) -> io::Result<Option<File>> {
        let flags = rustix::fs::OFlags::DIRECT.bits().cast_signed();
        match OpenOptions::new().write(true).custom_flags(flags).open(path) {
            Ok(file) => Ok(Some(file)),
            // This is how a file system says that it has no direct writes.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn write_direct(&self, file: &File, parts: [&[u8]; 2], at: u64) -> io::Result<()> {
        let mut slices = parts.map(IoSlice::new);
        let (mut rest, mut at) = (&mut slices[..], at);
        IoSlice::advance_slices(&mut rest, 0);
        while !rest.is_empty() {
            match rustix::io::pwritev(file, rest, at) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    IoSlice::advance_slices(&mut rest, written);
                    at += written as u64;
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn allocate(&self, file: &File, bytes: u64) -> io::Result<()> {
        let reserve = || rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, bytes);
        rustix::io::retry_on_intr(reserve).map_err(io::Error::from)
    }

    fn used_ratio(&self, path: &Path) -> io::Result<f64> {
        let stat = rustix::fs::statvfs(path)?;
        // As df: what is in use against what an unprivileged process could use.
        let used = stat.f_blocks.saturating_sub(stat.f_bfree);
        let usable = used + stat.f_bavail;
        #[allow(clippy::cast_precision_loss, reason = "a ratio of block counts needs few digits")]
        let ratio = if usable == 0 { 0.0 } else { used as f64 / usable as f64 };
        Ok(ratio)
    }
}

/// Opens a file for reads that do not go through the page cache, where its file system has such reads.
pub(crate) fn open_past_cache(path: &Path) -> io::Result<File> {
    let direct = rustix::fs::OFlags::DIRECT.bits().cast_signed();
    match OpenOptions::new().read(true).custom_flags(direct).open(path) {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => File::open(path),
        other => other,
    }
}

/// Replaces `path` by `bytes` so that a crash leaves the old or the new file, whole.
pub(crate) fn replace(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = disk.create(&temporary_of(path), Existing::Emptied)?;
    disk.write_at(&file, bytes, 0)?;
    publish(disk, &file, path)
}

/// The name under which a replacement of `path` is written.
pub(crate) fn temporary_of(path: &Path) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

/// Flushes a written replacement and puts it in the place of `path`.
pub(crate) fn publish(disk: &dyn Disk, file: &File, path: &Path) -> io::Result<()> {
    disk.sync(file)?;
    disk.rename(&temporary_of(path), path)?;
    disk.sync_folder(folder_above(path))
}

/// Makes a folder and those above it that are missing, each durable in the one above it.
pub(crate) fn make_folders(disk: &dyn Disk, folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let above = folder_above(folder);
    make_folders(disk, above)?;
    match disk.create_folder(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists || !folder.is_dir() => Err(error),
        _ => disk.sync_folder(above),
    }
}

/// The folder that holds `path`.
pub(crate) fn folder_above(path: &Path) -> &Path {
    match path.parent() {
        Some(above) if above.as_os_str().is_empty() => Path::new("."),
        Some(above) => above,
        None => path,
    }
}

/// Reads a whole file, `None` when there is none.
pub(crate) fn read_optional(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Deletes a file; one that is gone already is no error.
pub(crate) fn remove_optional(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    match disk.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
