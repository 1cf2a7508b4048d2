//! Which objects of the manifest nobody needs any more.

use super::ManifestError;
use super::ledger::Ledger;
use super::names::{Kind, is_post};

impl Ledger {
    /// Edits and checkpoints that may be deleted, by their names in the bucket: what lies below the last but one
    /// checkpoint, posts excepted. Both checkpoints are read before that is believed. What a stalled writer put where
    /// an edit was collected is named too.
    ///
    /// Anybody may call this and delete them, in any order, also twice or only in part.
    ///
    /// # Errors
    /// See [`ManifestError`]; nothing may be deleted then.
    pub async fn stale_names(&self) -> Result<Vec<String>, ManifestError> {
        let names = &self.trail.names;
        let listed = self.trail.bucket.list(&names.manifest()).await?;
        let mut known: Vec<(String, Kind)> =
            listed.into_iter().filter_map(|one| names.kind(&one.path).map(|kind| (one.path, kind))).collect();
        let mut checkpoints: Vec<u64> = known.iter().filter_map(|(_, kind)| checkpoint_number(*kind)).collect();
        checkpoints.sort_unstable();
        let [.., older, newest] = checkpoints.as_slice() else { return Ok(Vec::new()) };
        for number in [*older, *newest] {
            if self.trail.checkpoint(number).await?.is_none() {
                // The listing is late. Another one will do.
                return Ok(Vec::new());
            }
        }
        known.retain(|(_, kind)| match kind {
            Kind::Edit(number) => number < older && !is_post(*number),
            Kind::Checkpoint(number) => number < older,
        });
        Ok(known.into_iter().map(|(path, _)| path).collect())
    }

    /// The name in the bucket of an object that a roll or the state names.
    #[must_use]
    pub fn full_name(&self, name: &str) -> String {
        format!("{}/{name}", self.trail.names.folder())
    }

    /// Deletes what [`Ledger::stale_names`] names. Answers how many that were.
    ///
    /// # Errors
    /// See [`ManifestError`]; some may be deleted then.
    pub async fn collect(&self) -> Result<usize, ManifestError> {
        let stale = self.stale_names().await?;
        for name in &stale {
            self.trail.bucket.delete(name).await?;
        }
        Ok(stale.len())
    }
}

fn checkpoint_number(kind: Kind) -> Option<u64> {
    match kind {
        Kind::Checkpoint(number) => Some(number),
        Kind::Edit(_) => None,
    }
}
