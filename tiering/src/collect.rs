//! Collecting: deleting objects that nobody needs.
//!
//! Owns what counts as garbage. A listing of the bucket tells what is there, and the manifest, read after it, what is
//! needed. What is not needed is remembered with the time at which that was first seen, and goes when it was so for the
//! time of grace: whoever holds an older manifest can read on meanwhile.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use strata_protocol::checked::{Proof, check_json, json_with_checksum};
use thiserror::Error;

use crate::bucket::{Bucket, BucketError, Listed};
use crate::limits::UPKEEP_READS_MAX;
use crate::manifest::{Manifest, ManifestError};

mod names;

use names::{Kind, kind_of};

/// The name in the broker's folder of what was seen before.
const SEEN: &str = "collect/seen";

/// Why nothing, or not all, was deleted.
#[derive(Debug, Error)]
pub enum CollectError {
    /// The store.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// The manifest cannot be read, so that nobody knows what is needed.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// Another writer has taken over; what is needed is its business.
    #[error("the tier has another writer, of epoch {by}: this one is over and deletes nothing")]
    Fenced {
        /// The other writer's epoch.
        by: u64,
    },
    /// It is not known whether an edit was made, and so whether its objects are needed.
    #[error("it is unknown whether the last edit was written; nothing is deleted before a roll or a merge finds out")]
    Unsettled,
}

/// An object that nobody needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Garbage {
    /// Its name in the broker's folder.
    pub name: String,
    /// Its bytes.
    pub bytes: u64,
}

/// What lies in a broker's folder and is not needed.
#[derive(Debug, Default)]
pub struct Survey {
    /// What may be deleted now.
    pub due: Vec<Garbage>,
    /// What may be deleted when its time of grace is over.
    pub waiting: Vec<Garbage>,
    /// What has a name that this program gives to nothing. It is left: a newer one may.
    pub unknown: Vec<Garbage>,
    /// What waits, with the time at which it was first seen, ms since 1970; and what was stored of that before.
    seen: Seen,
    stored: Seen,
}

/// What was deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Objects.
    pub objects: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Objects that wait for the end of their time of grace.
    pub waiting: usize,
    /// Their bytes.
    pub waiting_bytes: u64,
}

/// When objects were first seen to be needed by nobody.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    version: u64,
    names: BTreeMap<String, i64>,
}

/// Holds what was listed against a manifest that was read later.
pub(crate) async fn survey_of(
    (bucket, home): (&Bucket, &str),
    (manifest, under_way): (&Manifest, &BTreeSet<u32>),
    (found, stale): (Vec<Listed>, Vec<String>),
    (grace, now_ms): (Duration, i64),
) -> Result<Survey, CollectError> {
    let grace_ms = i64::try_from(grace.as_millis()).unwrap_or(i64::MAX);
    let stored = read_seen(bucket, home).await?;
    let mut survey = Survey { seen: Seen { version: 1, names: BTreeMap::new() }, ..Survey::default() };
    let bytes: HashMap<&str, u64> = found.iter().map(|one| (&*one.path, one.bytes)).collect();
    for path in &stale {
        let name = path.strip_prefix(home).and_then(|name| name.strip_prefix('/')).unwrap_or(path).to_owned();
        survey.due.push(Garbage { name, bytes: bytes.get(&**path).copied().unwrap_or(0) });
    }
    let needed: HashSet<&str> = manifest.object_names().collect();
    for one in &found {
        let Some(name) = one.path.strip_prefix(home).and_then(|name| name.strip_prefix('/')) else { continue };
        let garbage = Garbage { name: name.to_owned(), bytes: one.bytes };
        match kind_of(name) {
            Kind::Manifest | Kind::Collect => {}
            _ if needed.contains(name) => {}
            Kind::Unknown => survey.unknown.push(garbage),
            kind if may_be_listed_yet(kind, manifest, under_way) => {}
            Kind::Roll { .. } | Kind::State { .. } => {
                // A clock that went back must not make it wait for the time that it went back by.
                let since = stored.names.get(name).map_or(now_ms, |since| (*since).min(now_ms));
                if since.max(one.put_at).saturating_add(grace_ms) <= now_ms {
                    survey.due.push(garbage);
                } else {
                    survey.seen.names.insert(name.to_owned(), since);
                    survey.waiting.push(garbage);
                }
            }
        }
    }
    survey.stored = stored;
    Ok(survey)
}

/// Whether an edit may come that lists an object. Older writers are fenced, and a younger one lists what it puts itself,
/// which is behind its claim and so behind the listing.
fn may_be_listed_yet(kind: Kind, manifest: &Manifest, under_way: &BTreeSet<u32>) -> bool {
    match kind {
        Kind::Roll { epoch, attempt } => {
            epoch > manifest.epoch() || epoch == manifest.epoch() && under_way.contains(&attempt)
        }
        Kind::State { epoch, number } => {
            let listed = manifest.state().map(|state| kind_of(&state.name));
            let is_behind = match listed {
                Some(Kind::State { epoch: of, number: last }) => (epoch, number) > (of, last),
                Some(Kind::Manifest | Kind::Collect | Kind::Roll { .. } | Kind::Unknown) | None => true,
            };
            epoch >= manifest.epoch() && is_behind
        }
        Kind::Manifest | Kind::Collect | Kind::Unknown => true,
    }
}

async fn read_seen(bucket: &Bucket, home: &str) -> Result<Seen, CollectError> {
    let bytes = match bucket.read(&format!("{home}/{SEEN}")).await {
        Ok(bytes) => bytes,
        Err(BucketError::Missing { .. }) => return Ok(Seen::default()),
        Err(error) => return Err(error.into()),
    };
    let is_whole = matches!(check_json(SEEN, &bytes), Ok(Proof::Checksum));
    let seen = is_whole.then(|| serde_json::from_slice(&bytes).ok()).flatten();
    Ok(seen.filter(|seen: &Seen| seen.version == 1).unwrap_or_else(|| {
        // Everything waits once more then, and nothing is lost by that.
        tracing::warn!(name = SEEN, "what was seen before is damaged or of another version; beginning anew");
        Seen::default()
    }))
}

/// Deletes what is due, and stores what waits.
pub(crate) async fn delete(bucket: &Bucket, home: &str, survey: Survey) -> Result<Collected, CollectError> {
    let deletions = survey.due.iter().map(|garbage| {
        let path = format!("{home}/{}", garbage.name);
        async move { bucket.delete(&path).await }
    });
    let deletions: Vec<_> = deletions.collect();
    stream::iter(deletions).buffer_unordered(UPKEEP_READS_MAX).try_collect::<()>().await?;
    if survey.seen.names != survey.stored.names {
        let text = serde_json::to_vec(&survey.seen).unwrap_or_default();
        bucket.put(&format!("{home}/{SEEN}"), json_with_checksum(SEEN, text).into()).await?;
    }
    let bytes = |all: &[Garbage]| all.iter().map(|garbage| garbage.bytes).sum();
    Ok(Collected {
        objects: survey.due.len(),
        bytes: bytes(&survey.due),
        waiting: survey.waiting.len(),
        waiting_bytes: bytes(&survey.waiting),
    })
}
