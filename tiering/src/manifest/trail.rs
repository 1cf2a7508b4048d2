//! Following the edits: finding the newest checkpoint, and reading on from there to the first number that is missing.
//!
//! Every 64th edit, a post, stays for good, so that the end is found by halving over posts. The edits between them may
//! be collected once two checkpoints lie above, and whoever was away for long could then put an edit where one was
//! collected. What was read is believed only when the post that such a collection needs was still missing afterwards.

use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};

use super::edit::Numbered;
use super::names::{Names, guard_of, is_post};
use super::state::Manifest;
use super::{ManifestError, checkpoint};
use crate::bucket::{Bucket, BucketError};
use crate::limits::{DAMAGE_READS_MAX, EDITS_AT_ONCE_MAX, POST_EDITS, SEARCHES_MAX};

/// A state that was read.
#[derive(Debug, Clone)]
pub(super) struct View {
    pub(super) manifest: Arc<Manifest>,
    /// The state at the last post on the way, which should have a checkpoint.
    pub(super) due: Option<Arc<Manifest>>,
}

/// A manifest's objects.
#[derive(Debug, Clone)]
pub(super) struct Trail {
    pub(super) bucket: Bucket,
    pub(super) names: Names,
}

impl Trail {
    /// Reads an object until it makes sense: bytes that were flipped on the way are right the next time.
    async fn read_sound<T>(
        &self,
        name: &str,
        decode: impl Fn(&[u8]) -> Result<T, ManifestError>,
    ) -> Result<Option<T>, ManifestError> {
        let mut reads = 1;
        loop {
            let bytes = match self.bucket.read(name).await {
                Ok(bytes) => bytes,
                Err(BucketError::Missing { .. }) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            match decode(&bytes) {
                Err(error) if reads < DAMAGE_READS_MAX => {
                    tracing::warn!(name, %error, "read again");
                    reads += 1;
                }
                other => return other.map(Some),
            }
        }
    }

    pub(super) async fn edit(&self, number: u64) -> Result<Option<Numbered>, ManifestError> {
        let name = self.names.edit(number);
        self.read_sound(&name, |bytes| Numbered::decode(&name, number, bytes)).await
    }

    pub(super) async fn checkpoint(&self, number: u64) -> Result<Option<Manifest>, ManifestError> {
        let name = self.names.checkpoint(number);
        self.read_sound(&name, |bytes| checkpoint::decode(&name, number, bytes)).await
    }

    async fn has_edit(&self, number: u64) -> Result<bool, BucketError> {
        self.bucket.exists(&self.names.edit(number)).await
    }

    /// Whether an edit of this number may have been collected by now, so that what is found there proves nothing.
    pub(super) async fn may_be_collected(&self, number: u64) -> Result<bool, BucketError> {
        self.has_edit(guard_of(number)).await
    }

    /// What the hint says; 0 when it says nothing usable.
    async fn hint(&self) -> Result<u64, BucketError> {
        let bytes = match self.bucket.read(&self.names.hint()).await {
            Err(BucketError::Missing { .. }) => return Ok(0),
            other => other?,
        };
        let text = std::str::from_utf8(&bytes).unwrap_or_default();
        Ok(text.trim_end().parse().ok().filter(|number| is_post(*number)).unwrap_or(0))
    }

    /// The last post, from what the hint says by doubling steps, and then by halving.
    async fn last_post(&self) -> Result<u64, BucketError> {
        let hint = self.hint().await?;
        let mut there = if hint > 0 && self.has_edit(hint).await? { hint } else { 0 };
        let mut step = POST_EDITS;
        while self.has_edit(there.saturating_add(step)).await? {
            there = there.saturating_add(step);
            step = step.saturating_mul(2);
        }
        let mut missing = there.saturating_add(step);
        while missing - there > POST_EDITS {
            let middle = there + (missing - there) / POST_EDITS / 2 * POST_EDITS;
            if self.has_edit(middle).await? {
                there = middle;
            } else {
                missing = middle;
            }
        }
        Ok(there)
    }

    /// The newest checkpoint, or the state before the first edit.
    async fn newest_checkpoint(&self) -> Result<Manifest, ManifestError> {
        for _ in 0..SEARCHES_MAX {
            let last = self.last_post().await?;
            let found = self.checkpoint_up_to(last).await?;
            // A checkpoint that was missing was never put, or it was collected during the search. That needs two newer
            // ones, and so the second post from here.
            if found.number == last || !self.has_edit(last.saturating_add(2 * POST_EDITS)).await? {
                return Ok(found);
            }
        }
        Err(ManifestError::Restless { folder: self.names.folder().to_owned() })
    }

    async fn checkpoint_up_to(&self, mut post: u64) -> Result<Manifest, ManifestError> {
        while post > 0 {
            if let Some(manifest) = self.checkpoint(post).await? {
                return Ok(manifest);
            }
            post = post.saturating_sub(POST_EDITS);
        }
        Ok(Manifest::default())
    }

    /// Reads everything anew.
    pub(super) async fn open(&self) -> Result<View, ManifestError> {
        let mut start = self.newest_checkpoint().await?;
        for _ in 0..SEARCHES_MAX {
            let first = start.number.saturating_add(1);
            let walked = self.walk(Arc::new(start.clone()), EDITS_AT_ONCE_MAX).await;
            if !self.may_be_collected(first).await? {
                return walked;
            }
            // Many edits without a checkpoint, or many that came meanwhile: a collection needs a newer checkpoint.
            let again = self.newest_checkpoint().await?;
            if again.number == start.number {
                return walked;
            }
            start = again;
        }
        Err(ManifestError::Restless { folder: self.names.folder().to_owned() })
    }

    /// Reads on from a state.
    pub(super) async fn refresh(&self, view: &View) -> Result<View, ManifestError> {
        let first = view.manifest.number.saturating_add(1);
        let walked = self.walk(Arc::clone(&view.manifest), 1).await;
        if self.may_be_collected(first).await? {
            return self.open().await;
        }
        let mut walked = walked?;
        walked.due = walked.due.or_else(|| view.due.clone());
        Ok(walked)
    }

    /// Applies edits up to the first that is missing. First one is fetched, or several, and then several at once.
    async fn walk(&self, mut manifest: Arc<Manifest>, mut at_once: u64) -> Result<View, ManifestError> {
        let mut due = None;
        loop {
            let first = manifest.number.saturating_add(1);
            let fetches = (first..first.saturating_add(at_once)).map(|number| self.edit(number));
            let edits: Vec<Option<Numbered>> = stream::iter(fetches.collect::<Vec<_>>())
                .buffered(usize::try_from(at_once).unwrap_or(1))
                .try_collect()
                .await?;
            let end = edits.iter().position(Option::is_none);
            for edit in edits.iter().map_while(Option::as_ref) {
                self.step(&mut manifest, edit)?;
                if is_post(edit.number) {
                    due = Some(Arc::clone(&manifest));
                }
            }
            if let Some(end) = end {
                let follows = edits[end..].iter().flatten().next();
                let Some(follows) = follows else { return Ok(View { manifest, due }) };
                self.expect_late(manifest.number.saturating_add(1), follows.number).await?;
            }
            at_once = EDITS_AT_ONCE_MAX;
        }
    }

    /// Of edits that are fetched at once an earlier one may be missing because it was put behind its own fetch and
    /// before that of a later one. Else it is lost.
    async fn expect_late(&self, number: u64, follows: u64) -> Result<(), ManifestError> {
        if self.has_edit(number).await? {
            return Ok(());
        }
        let what = format!("it is missing, though {} is there", self.names.edit(follows));
        Err(ManifestError::Damaged { name: self.names.edit(number), what })
    }

    pub(super) fn step(&self, manifest: &mut Arc<Manifest>, edit: &Numbered) -> Result<(), ManifestError> {
        let applied = Arc::make_mut(manifest).apply(edit);
        applied.map(drop).map_err(|what| ManifestError::Damaged { name: self.names.edit(edit.number), what })
    }

    /// Puts the checkpoint of a state at a post, and the hint.
    pub(super) async fn put_checkpoint(&self, manifest: &Manifest) -> Result<(), BucketError> {
        let name = self.names.checkpoint(manifest.number);
        let bytes = checkpoint::encode(manifest)
            .map_err(|error| BucketError::Name { path: name.clone(), what: error.to_string() })?;
        self.bucket.put(&name, bytes.into()).await?;
        self.bucket.put(&self.names.hint(), format!("{}\n", manifest.number).into()).await
    }
}
