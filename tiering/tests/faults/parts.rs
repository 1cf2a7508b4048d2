//! Uploads in parts for the store that fails.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{Error, MultipartId, ObjectStore, PutOptions, PutPayload, PutResult, Result};

use super::Faults;

/// The parts of one upload by their numbers.
pub(crate) type Parts = BTreeMap<usize, Bytes>;

/// Parts by their numbers; those of the store in memory must come in order and once.
#[async_trait]
impl MultipartStore for Faults {
    async fn create_multipart(&self, _: &Path) -> Result<MultipartId> {
        let uploads = Arc::clone(&self.uploads);
        self.change(async move {
            let mut uploads = uploads.lock();
            uploads.push(Some(BTreeMap::new()));
            Ok((uploads.len() - 1).to_string())
        })
        .await
    }

    async fn put_part(&self, _: &Path, id: &MultipartId, index: usize, data: PutPayload) -> Result<PartId> {
        let (uploads, id) = (Arc::clone(&self.uploads), id.parse::<usize>().unwrap());
        self.change(async move {
            let mut uploads = uploads.lock();
            let upload = uploads[id].as_mut().ok_or_else(|| missing(id))?;
            upload.insert(index, data.into());
            Ok(PartId { content_id: index.to_string() })
        })
        .await
    }

    async fn complete_multipart(&self, path: &Path, id: &MultipartId, parts: Vec<PartId>) -> Result<PutResult> {
        let (uploads, id) = (Arc::clone(&self.uploads), id.parse::<usize>().unwrap());
        let (inner, path) = (Arc::clone(&self.inner), path.clone());
        self.change(async move {
            let upload = uploads.lock()[id].take().ok_or_else(|| missing(id))?;
            let named = parts.iter().map(|part| part.content_id.parse::<usize>().unwrap());
            let joined: Vec<u8> = named.flat_map(|index| upload[&index].to_vec()).collect();
            inner.put_opts(&path, joined.into(), PutOptions::default()).await
        })
        .await
    }

    async fn abort_multipart(&self, _: &Path, id: &MultipartId) -> Result<()> {
        let (uploads, id) = (Arc::clone(&self.uploads), id.parse::<usize>().unwrap());
        self.change(async move { uploads.lock()[id].take().map(drop).ok_or_else(|| missing(id)) }).await
    }
}

fn missing(id: usize) -> Error {
    Error::NotFound { path: id.to_string(), source: "NoSuchUpload".into() }
}
