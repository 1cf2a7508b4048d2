//! A folder of this machine as an object store that keeps what it acknowledged.
//!
//! Reads and listings are those of `object_store`'s own; its puts do not flush, so that a power cut may leave a name
//! without its bytes. Here an object is written under a name that no listing shows, flushed, and then given its name:
//! by a hard link when it must be new, which fails when the name is taken, and by a rename when not.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path as FilePath, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use crate::limits::FILE_WRITE_BYTES_MAX;

const STORE: &str = "folder";

/// The last number of a name that is being written, so that two never share one.
static LAST: AtomicU64 = AtomicU64::new(0);

#[derive(Debug)]
pub(super) struct Durable {
    inner: LocalFileSystem,
}

fn failed(error: io::Error) -> Error {
    Error::Generic { store: STORE, source: Box::new(error) }
}

impl Durable {
    /// Uses a folder, which is made when it is missing.
    pub(super) async fn open(folder: PathBuf) -> Result<Self> {
        blocking(move || {
            make_folders(&folder).map_err(failed)?;
            Ok(Self { inner: LocalFileSystem::new_with_prefix(&folder)? })
        })
        .await
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|source| Error::JoinError { source })?
}

/// Makes a folder and those above it that are missing, each durable in the one above it.
fn make_folders(folder: &FilePath) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let above = folder.parent().unwrap_or(folder);
    if above != folder {
        make_folders(above)?;
    }
    match fs::create_dir(folder) {
        // Another put may be making it, and may not have flushed it.
        Err(error) if error.kind() == ErrorKind::AlreadyExists && folder.is_dir() => File::open(above)?.sync_all(),
        Err(error) => Err(error),
        Ok(()) => File::open(above)?.sync_all(),
    }
}

/// A name beside `path` that this store takes for an object under way and never shows: `#` and digits.
fn under_way(path: &FilePath) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    let number = LAST.fetch_add(1, Ordering::Relaxed);
    name.push(format!("#{}{number:012}", std::process::id()));
    name.into()
}

fn write(path: &FilePath, payload: &PutPayload) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    for piece in payload.iter().flat_map(|bytes| bytes.chunks(FILE_WRITE_BYTES_MAX)) {
        file.write_all(piece)?;
    }
    file.sync_all()
}

/// Gives written bytes their name.
fn publish(from: &FilePath, to: &FilePath, is_new: bool) -> io::Result<()> {
    if !is_new {
        return fs::rename(from, to);
    }
    fs::hard_link(from, to)?;
    fs::remove_file(from)
}

fn put(path: &FilePath, payload: &PutPayload, is_new: bool) -> io::Result<()> {
    let folder = path.parent().unwrap_or(path);
    make_folders(folder)?;
    let from = under_way(path);
    let done = write(&from, payload).and_then(|()| publish(&from, path, is_new));
    if done.is_err() {
        // What is left of it is never shown, and a full disk may refuse this too.
        let _ = fs::remove_file(&from);
    }
    done?;
    File::open(folder)?.sync_all()
}

impl fmt::Display for Durable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for Durable {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let is_new = match options.mode {
            PutMode::Create => true,
            PutMode::Overwrite => false,
            PutMode::Update(_) => return Err(unsupported("replacing one version of an object")),
        };
        let path = self.inner.path_to_filesystem(location)?;
        let name = location.to_string();
        blocking(move || match put(&path, &payload, is_new) {
            Ok(()) => Ok(PutResult { e_tag: None, version: None }),
            Err(error) if is_new && error.kind() == ErrorKind::AlreadyExists => {
                Err(Error::AlreadyExists { path: name, source: Box::new(error) })
            }
            Err(error) => Err(failed(error)),
        })
        .await
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(unsupported("an upload in parts"))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    /// Not flushed: an object that comes back after a power cut is listed nowhere, as before.
    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(unsupported("a copy"))
    }
}

fn unsupported(what: &str) -> Error {
    Error::NotImplemented { operation: what.to_owned(), implementer: STORE.to_owned() }
}
