//! Putting objects of data: in one piece, or in parts of which few are under way at once.

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{Error as StoreError, MultipartId, ObjectStoreExt, PutPayload};

use super::attempt::again;
use super::{Bucket, BucketError, Call};
use crate::limits::{OBJECT_BYTES_MAX, PART_BYTES_MAX, PARTS_AT_ONCE_MAX};

/// An object that was put, as the manifest lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Its bytes.
    pub bytes: u64,
    /// Their crc32c.
    pub crc32c: u32,
}

/// An upload in parts.
struct Upload<'a> {
    path: &'a str,
    full: &'a Path,
    id: MultipartId,
    store: &'a dyn MultipartStore,
}

impl Bucket {
    /// Puts an object of data. Its name must be one that nobody used before, since no condition is sent.
    ///
    /// What is under way is covered by the request's signature, which has a SHA-256 of the body; the crc32c is for the
    /// manifest, against which an object is held when it is read back.
    ///
    /// # Errors
    /// After each of them the object may be there. Parts of an upload that failed are given up, as far as the store
    /// answers; a rule of the bucket should remove what is left after some days.
    pub async fn put_large(&self, path: &str, bytes: Bytes) -> Result<Stored, BucketError> {
        let full = self.full(path)?;
        let stored = Stored { bytes: bytes.len() as u64, crc32c: crc32c::crc32c(&bytes) };
        if stored.bytes > OBJECT_BYTES_MAX {
            let (path, max) = (path.to_owned(), OBJECT_BYTES_MAX);
            return Err(BucketError::TooLarge { path, bytes: stored.bytes, max });
        }
        match &self.shared.parts {
            Some(store) if bytes.len() > PART_BYTES_MAX => {
                self.put_parts(path, &full, store.as_ref(), &bytes).await?;
            }
            _ => self.put_whole(Call::Upload, path, &full, &bytes).await?,
        }
        Ok(stored)
    }

    async fn put_parts(
        &self,
        path: &str,
        full: &Path,
        store: &dyn MultipartStore,
        bytes: &Bytes,
    ) -> Result<(), BucketError> {
        let begin = |_| self.within(0, store.create_multipart(full));
        let id = self.attempts(Call::Upload, path, begin).await?;
        let upload = Upload { path, full, id, store };
        let done = match self.send_parts(&upload, bytes).await {
            Ok(parts) => self.complete(&upload, &parts, bytes.len() as u64).await,
            Err(error) => Err(error),
        };
        if done.is_err() {
            // What cannot be given up now is removed by the bucket's own rule.
            let abort = self.within(0, store.abort_multipart(full, &upload.id));
            if let Err(error) = abort.await {
                tracing::debug!(path, %error, "an upload in parts could not be given up");
            }
        }
        done
    }

    async fn send_parts(&self, upload: &Upload<'_>, bytes: &Bytes) -> Result<Vec<PartId>, BucketError> {
        let begins = (0..bytes.len()).step_by(PART_BYTES_MAX).enumerate();
        let sends: Vec<_> = begins
            .map(|(index, begin)| {
                let part = bytes.slice(begin..bytes.len().min(begin + PART_BYTES_MAX));
                self.send_part(upload, index, part)
            })
            .collect();
        stream::iter(sends).buffered(PARTS_AT_ONCE_MAX).try_collect().await
    }

    /// A part has its number, so that sending it again replaces what an earlier attempt left.
    async fn send_part(&self, upload: &Upload<'_>, index: usize, part: Bytes) -> Result<PartId, BucketError> {
        let part = &part;
        self.attempts(Call::Upload, upload.path, |_| async move {
            self.shared.counts.sent(part.len());
            let payload = PutPayload::from_bytes(part.clone());
            self.within(part.len() as u64, upload.store.put_part(upload.full, &upload.id, index, payload)).await
        })
        .await
    }

    async fn complete(&self, upload: &Upload<'_>, parts: &[PartId], bytes: u64) -> Result<(), BucketError> {
        self.attempts(Call::Upload, upload.path, |tries| async move {
            // A store takes its time to join many parts.
            let joined = upload.store.complete_multipart(upload.full, &upload.id, parts.to_vec());
            match self.within(bytes, joined).await {
                Ok(_) => Ok(()),
                // An attempt whose answer was lost has used the upload up.
                Err(error) if tries > 1 => match self.within(0, self.shared.store.head(upload.full)).await {
                    Ok(meta) if meta.size == bytes => Ok(()),
                    _ => Err(error),
                },
                // There is no telling a lost upload from one that is complete, so that is asked once more.
                Err(StoreError::NotFound { .. }) => Err(again("the store does not know the upload".to_owned())),
                Err(error) => Err(error),
            }
        })
        .await
    }
}
