//! Verifying: what is listed is read back and held against the manifest, and against itself.
//!
//! Owns what is wrong with a tier. Damage is a finding and ends nothing; only a store that does not answer does.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use thiserror::Error;

use crate::bucket::{Bucket, BucketError};
use crate::index::Index;
use crate::limits::{DAMAGE_READS_MAX, UPKEEP_READS_MAX};
use crate::manifest::{Manifest, ObjectRef, Roll};

mod chain;
mod index;
mod object;

use object::ObjectCheck;

/// How much is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// That every listed object is there and has its size: one request each, nothing is read.
    Listed,
    /// Every byte and every row.
    Full,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The object's name in the broker's folder.
    pub object: String,
    /// What is wrong with it.
    pub what: String,
}

/// How far a verification is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Objects that were looked at, indexes included.
    pub objects: u64,
    /// Objects in all.
    pub objects_total: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Bytes in all.
    pub bytes_total: u64,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// What is wrong, in the order of the log; empty when all is well.
    pub findings: Vec<Finding>,
    /// How much was looked at.
    pub progress: Progress,
    /// Messages that came back whole and where they should be.
    pub rows: u64,
    /// Offsets that are told as lost: their bytes were damaged before they were rolled.
    pub lost: u64,
    /// Offsets between the end of a queue in one roll and its begin in the next one: that part of the log was gone before
    /// it was rolled.
    pub gaps: u64,
}

/// Why a verification did not come to its end.
#[derive(Debug, Error)]
pub enum VerifyError {
    /// The store does not answer.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// A check ended in a panic or with the runtime.
    #[error("checking {object} was broken off: {reason}")]
    Broken {
        /// What was checked.
        object: String,
        /// Why.
        reason: String,
    },
}

/// Reads back what a manifest lists, in the broker's folder `home`, and checks it. What is computed runs beside the
/// runtime's threads; a row group and an index are in memory at once, besides the front of the index before.
///
/// What was swapped or has expired since is missing when it was collected meanwhile: use a fresh manifest.
///
/// # Errors
/// See [`VerifyError`]; damage is none of them.
pub async fn verify(
    bucket: &Bucket,
    home: &str,
    manifest: &Manifest,
    depth: Depth,
    progress: impl FnMut(&Progress),
) -> Result<Report, VerifyError> {
    let totals = manifest.totals();
    let state = manifest.state();
    let total = Progress {
        objects_total: totals.objects + manifest.rolls().len() as u64 + u64::from(state.is_some()),
        bytes_total: totals.bytes + state.map_or(0, |state| state.bytes),
        ..Progress::default()
    };
    let report = Report { progress: total, ..Report::default() };
    let mut check = Check { bucket, home, manifest, report, progress };
    match depth {
        Depth::Listed => check.sizes().await?,
        Depth::Full => check.all().await?,
    }
    Ok(check.report)
}

/// A verification under way.
struct Check<'a, P> {
    bucket: &'a Bucket,
    home: &'a str,
    manifest: &'a Manifest,
    report: Report,
    progress: P,
}

impl<P: FnMut(&Progress)> Check<'_, P> {
    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.home)
    }

    fn find(&mut self, object: &str, what: impl Into<String>) {
        self.report.findings.push(Finding { object: object.to_owned(), what: what.into() });
    }

    fn looked_at(&mut self, bytes: u64) {
        self.report.progress.objects += 1;
        self.report.progress.bytes += bytes;
        (self.progress)(&self.report.progress);
    }

    /// Every object's size.
    async fn sizes(&mut self) -> Result<(), VerifyError> {
        let rolls = self.manifest.rolls().iter();
        let of_rolls = rolls.flat_map(|roll| {
            let objects = roll.objects.iter().map(|object| (&*object.name, object.bytes));
            std::iter::once((&*roll.index.name, roll.index.bytes)).chain(objects)
        });
        let state = self.manifest.state().map(|state| (&*state.name, state.bytes));
        let (bucket, home) = (self.bucket, self.home);
        let asked = of_rolls
            .chain(state)
            .map(|(name, bytes)| async move { (name, bytes, bucket.size(&format!("{home}/{name}")).await) });
        let mut sizes = stream::iter(asked).buffered(UPKEEP_READS_MAX);
        while let Some((name, bytes, size)) = sizes.next().await {
            match size {
                Ok(size) if size == bytes => {}
                Ok(size) => self.find(name, format!("it has {size} bytes instead of {bytes}")),
                Err(BucketError::Missing { .. }) => self.find(name, "it is missing"),
                Err(error) => return Err(error.into()),
            }
            self.looked_at(bytes);
        }
        Ok(())
    }

    /// Every byte and every row.
    async fn all(&mut self) -> Result<(), VerifyError> {
        let mut before: Option<(&Roll, Arc<Index>)> = None;
        for roll in self.manifest.rolls() {
            let index = self.roll(roll).await?;
            if let (Some((last, known)), Some(index)) = (&before, &index) {
                let (found, gaps) = chain::compare(self.manifest, (last, known), (roll, index));
                self.report.gaps += gaps;
                found.into_iter().for_each(|what| self.find(&roll.index.name, what));
            }
            before = index.map(|index| (&**roll, index));
        }
        if let Some(state) = self.manifest.state() {
            self.whole(state).await?;
            self.looked_at(state.bytes);
        }
        Ok(())
    }

    /// A roll: its index, and its objects by it. Gives the index if it can be used.
    async fn roll(&mut self, roll: &Arc<Roll>) -> Result<Option<Arc<Index>>, VerifyError> {
        let mut known = None;
        if let Some(bytes) = self.whole(&roll.index).await? {
            let own = Arc::clone(roll);
            match blocking(&roll.index.name, move || index::check(&own, &bytes)).await? {
                Ok(checked) => {
                    self.report.lost += checked.lost;
                    checked.findings.iter().for_each(|what| self.find(&roll.index.name, what));
                    known = Some(Arc::new(checked));
                }
                Err(what) => self.find(&roll.index.name, what),
            }
        }
        self.looked_at(roll.index.bytes);
        let mut first_row = 0;
        for (number, object) in roll.objects.iter().enumerate() {
            let check = ObjectCheck { bucket: self.bucket, path: self.path(&object.name), roll, number, first_row };
            let mut outcome = check.run(known.as_ref()).await?;
            for _ in 1..DAMAGE_READS_MAX {
                // Bytes that were flipped on the way are right the next time.
                if outcome.is_ok() {
                    break;
                }
                outcome = check.run(known.as_ref()).await?;
            }
            match outcome {
                Ok(rows) => self.report.rows += rows,
                Err(what) => self.find(&object.name, what),
            }
            first_row += object.rows;
            self.looked_at(object.bytes);
        }
        Ok(known.map(|known| Arc::clone(&known.index)))
    }

    /// A small object: its bytes, if they are those that are listed.
    async fn whole(&mut self, object: &ObjectRef) -> Result<Option<bytes::Bytes>, VerifyError> {
        let path = self.path(&object.name);
        let mut what = String::new();
        for _ in 0..DAMAGE_READS_MAX {
            match self.bucket.read(&path).await {
                Ok(bytes) if bytes.len() as u64 != object.bytes => {
                    what = format!("it has {} bytes instead of {}", bytes.len(), object.bytes);
                }
                Ok(bytes) if crc32c::crc32c(&bytes) == object.crc32c => return Ok(Some(bytes)),
                Ok(_) => "its bytes do not match their checksum".clone_into(&mut what),
                Err(BucketError::Missing { .. }) => "it is missing".clone_into(&mut what),
                Err(error) => return Err(error.into()),
            }
        }
        self.find(&object.name, what);
        Ok(None)
    }
}

/// Computes beside the runtime's threads.
async fn blocking<T: Send + 'static>(
    object: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, VerifyError> {
    let broken =
        |error: tokio::task::JoinError| VerifyError::Broken { object: object.to_owned(), reason: error.to_string() };
    tokio::task::spawn_blocking(work).await.map_err(broken)
}
