//! File systems of a test's own, in a file: small enough to fill, and with a power button.
//!
//! Owns making, mounting and cutting them. They need root and loop devices; [`ready`] tells whether they are to
//! be had. A test that uses them runs in a mount namespace of its own ([`apart`]), so that nothing stays mounted
//! when it dies.
//!
//! A cut is the file system's shutdown without its journal. ext4 has a gap there: a call that flushes while the
//! shutdown begins may return success although its data is lost (Linux 6.18, seen without any broker in every
//! seventh cut of a loop of `pwrite` and `fdatasync`; XFS, 0 of 20). A machine without power gives no such
//! answer. [`Cut::since_ms`] therefore says from when on answers count for nothing, and a cut of a server that was
//! paused before, whose calls have all returned, lets every answer count.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::clock::now_ms;
use crate::limits::UNMOUNT_MAX;
use crate::setting;
use crate::site::{Site, command};

/// Says to the test itself that it runs in a mount namespace of its own.
const APART: &str = "STRATA_APART";

/// Where files lie in memory. A cut takes what the file system has not given to its device; what the device is
/// made of does not matter, and memory is fast.
const MEMORY: &str = "/dev/shm";

/// Free bytes of [`MEMORY`] that images may count on; with less they lie where temporary files do.
const MEMORY_BYTES_MIN: u64 = 4 << 30;

/// Pause between two tries to unmount.
const LOOK: Duration = Duration::from_millis(10);

/// What there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The usual one: ordered journal.
    Ext4,
    /// Another way of allocating and journaling.
    Xfs,
    /// Memory: it can be filled, and has no power to be cut.
    Memory,
}

/// A file system in a file. Dropping it unmounts and removes it.
#[derive(Debug)]
pub struct Volume {
    folder: TempDir,
    kind: Kind,
    bytes: u64,
    cuts: u32,
    /// Started before it is needed, so that a cut comes when it is wanted.
    button: Option<Child>,
}

/// How a cut meets the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// In the middle of its calls.
    AtWork,
    /// Between its calls: it is paused before.
    Paused,
}

/// A cut that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// A time before it and hardly before it, ms since 1970.
    pub ms: i64,
    /// From when on an answer of the server proves nothing, ms since 1970; `None` when every answer counts.
    pub since_ms: Option<i64>,
}

impl Volume {
    /// Makes and mounts one of `bytes`, which take space as they are written. Of an [`Kind::Ext4`] one nothing is
    /// kept back for root.
    ///
    /// # Errors
    /// A tool is missing or refuses.
    pub fn make(kind: Kind, bytes: u64) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("strata-volume-").tempdir_in(place()?);
        let folder = folder.context("no temporary folder")?;
        let mut volume = Self { folder, kind, bytes, cuts: 0, button: None };
        let image = fs::File::create(volume.image()).context("cannot create an image")?;
        image.set_len(bytes).context("cannot size an image")?;
        let path = volume.image();
        let path = path.to_str().context("a path outside UTF-8")?;
        match kind {
            // Few inodes: the brokers of the tests have some hundred files.
            Kind::Ext4 => run("mkfs.ext4", &["-q", "-F", "-m", "0", "-N", "4096", path])?,
            Kind::Xfs => run("mkfs.xfs", &["-q", "-f", path])?,
            Kind::Memory => {}
        }
        fs::create_dir(volume.path()).context("no folder to mount in")?;
        volume.mount()?;
        Ok(volume)
    }

    /// Its root.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("mounted")
    }

    /// A folder beside it that no cut touches.
    #[must_use]
    pub fn beside(&self) -> &Path {
        self.folder.path()
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    fn mount(&mut self) -> Result<()> {
        let (image, path) = (self.image(), self.path());
        let path = path.to_string_lossy();
        match self.kind {
            Kind::Ext4 | Kind::Xfs => run("mount", &["-o", "loop", &image.to_string_lossy(), &path])?,
            Kind::Memory => {
                return run("mount", &["-t", "tmpfs", "-o", &format!("size={}", self.bytes), "tmpfs", &path]);
            }
        }
        let (quiet, mut button) = (Stdio::null, command("xfs_io"));
        let button = button.args(["-x", &path]).stdin(Stdio::piped()).stdout(quiet()).stderr(quiet()).spawn();
        self.button = Some(button.context("cannot run xfs_io")?);
        Ok(())
    }

    /// Cuts; returns when the file system takes nothing any more. Gives a time just before, ms since 1970.
    fn press(&mut self) -> Result<i64> {
        let mut button = self.button.take().context("there is no power to be cut")?;
        let mut line = button.stdin.take().context("xfs_io has no standard input")?;
        let cut_ms = now_ms();
        // Without -f the journal is not written out: what the device has not got is lost.
        line.write_all(b"shutdown\nquit\n").context("xfs_io has ended")?;
        drop(line);
        let status = button.wait().context("cannot wait for xfs_io")?;
        ensure!(status.success(), "xfs_io ended with {status}");
        let after = fs::write(self.path().join("after"), "x");
        ensure!(after.is_err(), "the file system takes writes after its power was cut");
        Ok(cut_ms)
    }

    fn unmount(&self) -> Result<()> {
        let path = self.path();
        let began = now_ms();
        // The last process has just ended; the system may still hold its files.
        loop {
            match run("umount", &[&path.to_string_lossy()]) {
                Ok(()) => return Ok(()),
                Err(error) if now_ms() - began > UNMOUNT_MAX.as_millis() as i64 => return Err(error),
                Err(_) => std::thread::sleep(LOOK),
            }
        }
    }

    /// Cuts the power of the file system under `site` and ends the process that lost its disk; the file system
    /// is mounted again as the cut left it.
    ///
    /// # Errors
    /// The server had ended before the cut, or the cut took nothing: a file that nobody flushed survived it.
    pub async fn cut(&mut self, mut site: Site, manner: Manner) -> Result<Cut> {
        ensure!(site.runs(), "strata had ended by itself before the power was cut");
        self.cuts += 1;
        let path = self.path();
        let witness = path.join(format!("unflushed-{}", self.cuts));
        fs::write(&witness, "nobody flushed this").context("cannot write the witness of a cut")?;
        if manner == Manner::Paused {
            site.pause().await?;
        }
        let ms = self.press()?;
        site.finish()?;
        self.unmount()?;
        self.mount()?;
        let left = fs::read(&witness).unwrap_or_default();
        ensure!(left.is_empty(), "the power was cut and a file that was not flushed is there: cuts prove nothing");
        // Its name may be there without its content.
        let _ = fs::remove_file(&witness);
        let is_blurred = self.kind == Kind::Ext4 && manner == Manner::AtWork;
        Ok(Cut { ms, since_ms: is_blurred.then_some(ms) })
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        if let Some(mut button) = self.button.take() {
            // It has the file system open and was never pressed.
            let _ = button.kill();
            let _ = button.wait();
        }
        // Lazily: a server that is still being dropped holds it for a moment. With the namespace it goes anyway.
        let _ = run("umount", &["-l", &self.path().to_string_lossy()]);
    }
}

/// Where images lie.
fn place() -> Result<PathBuf> {
    let memory = Path::new(MEMORY);
    let free = rustix::fs::statvfs(memory).map(|stat| stat.f_bavail * stat.f_frsize);
    Ok(if free.is_ok_and(|free| free >= MEMORY_BYTES_MIN) { memory.to_path_buf() } else { std::env::temp_dir() })
}

/// Runs a tool to its end; what it says is in the error.
fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let ended = command(program).args(arguments).stdin(Stdio::null()).output();
    let ended = ended.with_context(|| format!("cannot run {program}"))?;
    if !ended.status.success() {
        let said = String::from_utf8_lossy(&ended.stderr);
        bail!("{program} {} ended with {}: {}", arguments.join(" "), ended.status, said.trim());
    }
    Ok(())
}

/// Whether file systems can be made, mounted and cut here.
///
/// # Errors
/// They cannot, and why.
pub fn ready() -> Result<()> {
    for kind in [Kind::Ext4, Kind::Xfs] {
        let mut volume = Volume::make(kind, XFS_BYTES_MIN).with_context(|| format!("no {kind:?} file system"))?;
        volume.press()?;
    }
    Ok(())
}

/// Bytes of the smallest file system that XFS' tools make.
const XFS_BYTES_MIN: u64 = 300 << 20;

/// Runs this program once more in a mount namespace of its own and gives its exit code; `None` when this is
/// that run already, or when there are no namespaces to be had, which [`ready`] then shows.
///
/// # Errors
/// It cannot be started.
pub fn apart() -> Result<Option<ExitCode>> {
    if setting::text(APART).is_some() {
        return Ok(None);
    }
    let private = ["--mount", "--propagation", "private"];
    let possible = command("unshare").args(private).arg("true").stderr(Stdio::null()).status();
    if !possible.is_ok_and(|status| status.success()) {
        return Ok(None);
    }
    let own = std::env::current_exe().context("no path of this program")?;
    let status = command("unshare").args(private).arg("--").arg(own).env(APART, "1").status();
    let code = status.context("cannot run unshare")?.code();
    Ok(Some(code.and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from)))
}
