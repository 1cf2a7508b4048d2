//! Reading objects: whole, in ranges, and only their sizes. What comes back has the length that was asked for.

use std::ops::Range;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{Error as StoreError, GetOptions, ObjectStoreExt};

use super::attempt::again;
use super::{Bucket, BucketError, Call};
use crate::limits::OBJECT_BYTES_MAX;

impl Bucket {
    /// Reads a whole object.
    ///
    /// # Errors
    /// [`BucketError::Missing`] when there is none, and what the store says.
    pub async fn read(&self, path: &str) -> Result<Bytes, BucketError> {
        let full = self.full(path)?;
        let full = &full;
        self.attempts(Call::Read, path, |_| self.whole(full)).await
    }

    /// One attempt at a whole object.
    pub(super) async fn whole(&self, full: &Path) -> Result<Bytes, StoreError> {
        let found = self.within(0, self.shared.store.get_opts(full, GetOptions::default())).await?;
        let size = found.meta.size;
        if size > OBJECT_BYTES_MAX {
            let what = format!("{size} bytes are more than the {OBJECT_BYTES_MAX} of an object of the tier");
            return Err(StoreError::NotSupported { source: what.into() });
        }
        let bytes = self.within(size, found.bytes()).await?;
        self.counted(bytes, size)
    }

    fn counted(&self, bytes: Bytes, expected: u64) -> Result<Bytes, StoreError> {
        self.shared.counts.read(bytes.len());
        if bytes.len() as u64 == expected {
            return Ok(bytes);
        }
        Err(again(format!("{} bytes came instead of {expected}", bytes.len())))
    }

    /// Reads a part of an object, all of it.
    ///
    /// # Errors
    /// [`BucketError::Missing`] when there is no object, [`BucketError::Failed`] also when it is shorter.
    pub async fn read_range(&self, path: &str, range: Range<u64>) -> Result<Bytes, BucketError> {
        let full = self.full(path)?;
        self.one_range(path, &full, range).await
    }

    async fn one_range(&self, path: &str, full: &Path, range: Range<u64>) -> Result<Bytes, BucketError> {
        let bytes = range.end.saturating_sub(range.start);
        if bytes == 0 {
            return Ok(Bytes::new());
        }
        if bytes > OBJECT_BYTES_MAX {
            return Err(BucketError::TooLarge { path: path.to_owned(), bytes, max: OBJECT_BYTES_MAX });
        }
        self.attempts(Call::Read, path, |_| {
            let range = range.clone();
            async move {
                let read = self.shared.store.get_range(full, range);
                self.counted(self.within(bytes, read).await?, bytes)
            }
        })
        .await
    }

    /// The bytes of an object, without reading them.
    ///
    /// # Errors
    /// [`BucketError::Missing`] when there is none, and what the store says.
    pub async fn size(&self, path: &str) -> Result<u64, BucketError> {
        let full = self.full(path)?;
        let full = &full;
        let meta = self.attempts(Call::Size, path, |_| self.within(0, self.shared.store.head(full))).await?;
        Ok(meta.size)
    }

    /// Whether there is such an object.
    ///
    /// # Errors
    /// What the store says.
    pub async fn exists(&self, path: &str) -> Result<bool, BucketError> {
        match self.size(path).await {
            Ok(_) => Ok(true),
            Err(BucketError::Missing { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
