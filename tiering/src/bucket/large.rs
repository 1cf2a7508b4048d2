//! Putting objects of data.

use bytes::Bytes;
use object_store::{ObjectStoreExt, PutPayload};

use super::{Bucket, BucketError, Call};
use crate::limits::OBJECT_BYTES_MAX;

/// An object that was put, as the manifest lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Its bytes.
    pub bytes: u64,
    /// Their crc32c.
    pub crc32c: u32,
}

impl Bucket {
    /// Puts an object of data, given in pieces, with one request: stores charge for each, and take 5 GiB in one. Its
    /// name must be one that nobody used before, since no condition is sent.
    ///
    /// What is under way is covered by the request's signature, which has a SHA-256 of the body; the crc32c is for the
    /// manifest, against which an object is held when it is read back.
    ///
    /// # Errors
    /// After each of them the object may be there.
    pub async fn put_large(&self, path: &str, pieces: &[Bytes]) -> Result<Stored, BucketError> {
        let full = self.full(path)?;
        let bytes = pieces.iter().map(|piece| piece.len() as u64).sum();
        let stored = Stored { bytes, crc32c: pieces.iter().fold(0, |crc, piece| crc32c::crc32c_append(crc, piece)) };
        if bytes > OBJECT_BYTES_MAX {
            return Err(BucketError::TooLarge { path: path.to_owned(), bytes, max: OBJECT_BYTES_MAX });
        }
        let full = &full;
        self.attempts(Call::Upload, path, |_| async move {
            self.shared.counts.sent(usize::try_from(bytes).unwrap_or(usize::MAX));
            let payload: PutPayload = pieces.iter().cloned().collect();
            self.within(bytes, self.shared.store.put(full, payload)).await.map(drop)
        })
        .await?;
        Ok(stored)
    }
}
