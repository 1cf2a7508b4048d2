//! The manifest as one process holds it: reading on, claiming it, and committing edits to it.

use std::sync::Arc;

use super::edit::{Edit, Numbered};
use super::names::{Names, is_post};
use super::state::Manifest;
use super::trail::{Trail, View};
use super::{CommitError, ManifestError};
use crate::bucket::{Bucket, BucketError, Created, Puts};
use crate::chance;
use crate::limits::CLAIM_TRIES_MAX;

/// How a writer is kept from writing beside another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writer {
    /// By the store: it has to make conditional puts atomically.
    Fenced,
    /// By the operator, who says that there is no other one.
    Single,
}

/// A right to write.
#[derive(Debug, Clone)]
struct Held {
    epoch: u64,
    /// Its mark in all its edits.
    writer: String,
    puts: Puts,
}

/// The manifest of one broker in a bucket. It only reads until it is claimed.
#[derive(Debug)]
pub struct Ledger {
    pub(super) trail: Trail,
    view: View,
    held: Option<Held>,
    fenced: Option<u64>,
    /// An edit of which it is not known whether it was made.
    pending: Option<Numbered>,
}

impl Ledger {
    /// Reads the manifest in a broker's folder (see [`super::broker_folder`]). An empty folder has an empty one.
    ///
    /// # Errors
    /// See [`ManifestError`].
    pub async fn open(bucket: Bucket, folder: &str) -> Result<Self, ManifestError> {
        let trail = Trail { bucket, names: Names::new(folder) };
        let view = trail.open().await?;
        Ok(Self { trail, view, held: None, fenced: None, pending: None })
    }

    /// The state as it is known.
    #[must_use]
    pub fn manifest(&self) -> Arc<Manifest> {
        Arc::clone(&self.view.manifest)
    }

    /// The epoch that was claimed.
    #[must_use]
    pub fn epoch(&self) -> Option<u64> {
        self.held.as_ref().map(|held| held.epoch)
    }

    /// Whether every edit that was tried is known to be made, or not to be.
    #[must_use]
    pub const fn is_settled(&self) -> bool {
        self.pending.is_none()
    }

    /// Reads what others added. A writer that does not know whether its last edit was made learns nothing here; see
    /// [`Ledger::commit`].
    ///
    /// # Errors
    /// See [`ManifestError`]. The state stays as it was.
    pub async fn refresh(&mut self) -> Result<Arc<Manifest>, ManifestError> {
        if self.pending.is_none() || self.fenced.is_some() {
            self.view = self.trail.refresh(&self.view).await?;
            self.notice_fence();
        }
        Ok(self.manifest())
    }

    /// Takes the manifest over: from the claim on, edits of earlier writers are void. `puts` is what
    /// [`crate::bucket::probe`] found. Answers the new epoch.
    ///
    /// # Errors
    /// See [`CommitError`]. A claim of which it is not known whether it was made does no harm; another one is higher.
    pub async fn claim(&mut self, puts: Puts, writer: Writer) -> Result<u64, CommitError> {
        self.check_fence()?;
        if writer == Writer::Fenced && puts != Puts::Atomic {
            return Err(CommitError::NotAtomic { puts });
        }
        (self.pending, self.held) = (None, None);
        for _ in 0..CLAIM_TRIES_MAX {
            self.view = self.trail.refresh(&self.view).await?;
            let known = &self.view.manifest;
            let held = Held { epoch: known.epoch.saturating_add(1), writer: chance::unique(), puts };
            let claim = Numbered::new(known.number.saturating_add(1), held.epoch, &held.writer, Edit::Claim {});
            // A claim that stalled while others went far may stand where an edit was collected; the next look, which
            // finds the others, tells.
            let is_made = self.put(&claim, puts).await? == Created::Made;
            if is_made && self.is_sound(&claim).await? {
                self.took(&claim)?;
                let epoch = held.epoch;
                self.held = Some(held);
                self.put_due_checkpoint().await;
                return Ok(epoch);
            }
        }
        Err(CommitError::Contended { tries: CLAIM_TRIES_MAX })
    }

    /// Makes an edit. When it answers, everybody who opens the manifest from now on sees it.
    ///
    /// # Errors
    /// After [`CommitError::Unsettled`] and [`CommitError::Manifest`] it is unknown whether the edit was made:
    /// committing the same one again settles that, and never makes it twice. A different edit settles the earlier one
    /// first, too, and is then held against the state with it.
    pub async fn commit(&mut self, edit: Edit) -> Result<Arc<Manifest>, CommitError> {
        self.check_fence()?;
        let held = self.held.clone().ok_or(CommitError::Unclaimed)?;
        if let Some(pending) = self.pending.take() {
            let is_same = pending.edit == edit;
            self.place(pending, &held).await?;
            if is_same {
                return Ok(self.manifest());
            }
        }
        let number = self.view.manifest.number.saturating_add(1);
        self.place(Numbered::new(number, held.epoch, &held.writer, edit), &held).await?;
        self.put_due_checkpoint().await;
        Ok(self.manifest())
    }

    /// Puts an edit at the first number that is free.
    async fn place(&mut self, mut edit: Numbered, held: &Held) -> Result<(), CommitError> {
        loop {
            if let Err(what) = Manifest::clone(&self.view.manifest).apply(&edit) {
                return Err(CommitError::Refused { what });
            }
            edit.encode().map_err(|what| CommitError::Refused { what })?;
            // Whatever happens from here on, also that the caller goes away, the edit may have been made.
            self.pending = Some(edit.clone());
            if self.put(&edit, held.puts).await? == Created::Exists {
                match self.trail.edit(edit.number).await? {
                    Some(there) if there == edit => {}
                    Some(there) => {
                        self.step_aside(&there, held).await?;
                        edit.number = self.view.manifest.number.saturating_add(1);
                        continue;
                    }
                    None => {
                        let name = self.trail.names.edit(edit.number);
                        return Err(CommitError::Unsettled {
                            source: BucketError::Missing { path: name.clone() },
                            name,
                        });
                    }
                }
            }
            if !self.is_sound(&edit).await? {
                return Err(self.fence_by_reading(held).await);
            }
            self.took(&edit)?;
            self.pending = None;
            return Ok(());
        }
    }

    /// Takes in what stands where an edit was to be made.
    async fn step_aside(&mut self, there: &Numbered, held: &Held) -> Result<(), CommitError> {
        if there.epoch > held.epoch {
            self.pending = None;
            return Err(self.fence(there.epoch));
        }
        self.took(there)?;
        tracing::warn!(number = there.number, epoch = there.epoch, "an edit of a writer that is over was skipped");
        Ok(())
    }

    async fn put(&self, edit: &Numbered, puts: Puts) -> Result<Created, CommitError> {
        let name = self.trail.names.edit(edit.number);
        let bytes = edit.encode().map_err(|what| CommitError::Refused { what })?;
        let put = match puts {
            Puts::Atomic | Puts::SequentialOnly => self.trail.bucket.put_new(&name, bytes.into()).await,
            Puts::Ignored => self.put_after_look(&name, bytes).await,
        };
        put.map_err(|source| CommitError::Unsettled { name, source })
    }

    /// Without conditions, looking first at least finds what was there before.
    async fn put_after_look(&self, name: &str, bytes: Vec<u8>) -> Result<Created, BucketError> {
        if self.trail.bucket.exists(name).await? {
            return Ok(Created::Exists);
        }
        self.trail.bucket.put(name, bytes.into()).await?;
        Ok(Created::Made)
    }

    /// Whether an edit that was just put stands where none was before. Not if its number may have been collected: the
    /// writer was away for long then, and others have gone far beyond.
    async fn is_sound(&self, edit: &Numbered) -> Result<bool, CommitError> {
        let unknown = |source| CommitError::Unsettled { name: self.trail.names.edit(edit.number), source };
        Ok(!self.trail.may_be_collected(edit.number).await.map_err(unknown)?)
    }

    fn took(&mut self, edit: &Numbered) -> Result<(), ManifestError> {
        self.trail.step(&mut self.view.manifest, edit)?;
        if is_post(edit.number) {
            self.view.due = Some(self.manifest());
        }
        Ok(())
    }

    /// Others are far beyond: finds out who.
    async fn fence_by_reading(&mut self, held: &Held) -> CommitError {
        match self.trail.open().await {
            Ok(view) => {
                self.view = view;
                let by = self.view.manifest.epoch.max(held.epoch.saturating_add(1));
                self.fence(by)
            }
            Err(error) => error.into(),
        }
    }

    fn fence(&mut self, by: u64) -> CommitError {
        self.fenced = Some(by);
        self.pending = None;
        CommitError::Fenced { by }
    }

    fn notice_fence(&mut self) {
        let epoch = self.view.manifest.epoch;
        if self.held.as_ref().is_some_and(|held| held.epoch < epoch) {
            self.fence(epoch);
        }
    }

    fn check_fence(&self) -> Result<(), CommitError> {
        self.fenced.map_or(Ok(()), |by| Err(CommitError::Fenced { by }))
    }

    /// Puts the checkpoint that is due. Nothing depends on it but time, so that a failure is only told; the next
    /// commit tries again.
    async fn put_due_checkpoint(&mut self) {
        let Some(due) = &self.view.due else { return };
        match self.trail.put_checkpoint(due).await {
            Ok(()) => self.view.due = None,
            Err(error) => tracing::warn!(number = due.number, %error, "the manifest's checkpoint was not put"),
        }
    }
}
