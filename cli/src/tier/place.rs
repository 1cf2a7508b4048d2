//! Finding a tier: its URL and its broker's name from flags, a file or the defaults of `strata start`.
//!
//! Owns the opening of buckets with the environment's options, and what their failures are as exit codes.

use std::path::PathBuf;
use std::sync::Arc;

use strata_tiering::bucket::{Bucket, BucketError, Location, Patience};
use strata_tiering::cold::ColdError;
use strata_tiering::manifest::{Ledger, Manifest, ManifestError, broker_folder};

use super::PlaceArgs;
use crate::args::{SqlFlags, StartArgs};
use crate::config::broker::BrokerDraft;
use crate::config::cold::url_of;
use crate::exit::{Exit, Failure, OrFail, Outcome};
use crate::serve;

/// Opens the store of a tier. Credentials and addresses of servers come from the environment, as their tools take them.
pub(crate) async fn open_bucket(location: &Location) -> Outcome<Bucket> {
    // Names and values that are no text are none that a store's client would know.
    let pairs =
        std::env::vars_os().filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)));
    Bucket::open(location, pairs, Patience::default()).await.or_fail(Exit::CannotStart)
}

/// A tier that is only read.
pub(super) struct Place {
    pub(super) bucket: Bucket,
    pub(super) broker: String,
    /// The broker's folder in the bucket.
    pub(super) home: String,
    pub(super) manifest: Arc<Manifest>,
}

/// What a file says, or the defaults.
pub(super) fn draft(config: Option<PathBuf>, data: Option<PathBuf>) -> Outcome<BrokerDraft> {
    let args = StartArgs {
        data,
        config,
        host: None,
        listen: None,
        namesrv_port: None,
        broker_port: None,
        metrics_port: None,
        sql: SqlFlags::default(),
        cold: None,
    };
    Ok(serve::start_config(&args)?.draft)
}

impl Place {
    /// Finds the tier that flags name, and reads its manifest.
    pub(super) async fn of(args: PlaceArgs) -> Outcome<Self> {
        let draft = draft(args.config, args.data)?;
        let broker = args.broker.unwrap_or_else(|| draft.options().identity.name);
        let location = match args.url {
            Some(url) => location_of(&url, "--url")?,
            None => draft.cold.location().ok_or_else(|| {
                Failure::new(Exit::Usage, "the configuration switches the cold tier off; give its place with --url")
            })?,
        };
        Self::open(&location, broker).await
    }

    /// Reads the manifest of a broker's tier.
    pub(super) async fn open(location: &Location, broker: String) -> Outcome<Self> {
        // Opening makes the folder, which would hide a typing error.
        if let Some(folder) = location.folder().filter(|folder| !folder.is_dir()) {
            let message = format!("there is no folder {}; give the tier's place with --url", folder.display());
            return Err(Failure::new(Exit::NotFound, message));
        }
        let bucket = open_bucket(location).await?;
        let home = broker_folder(&broker);
        let manifest = manifest(&bucket, &home, &broker).await?;
        Ok(Self { bucket, broker, home, manifest })
    }

    /// Reads the manifest again: a broker that runs goes on.
    pub(super) async fn manifest_now(&self) -> Outcome<Arc<Manifest>> {
        manifest(&self.bucket, &self.home, &self.broker).await
    }
}

async fn manifest(bucket: &Bucket, home: &str, broker: &str) -> Outcome<Arc<Manifest>> {
    let ledger = Ledger::open(bucket.clone(), home).await.map_err(|error| of_manifest(bucket, error))?;
    let manifest = ledger.manifest();
    if manifest.number() == 0 {
        let message = format!("there is no tier of broker {broker} in {bucket}; look at its name and at the URL");
        return Err(Failure::new(Exit::NotFound, message));
    }
    Ok(manifest)
}

/// Understands a URL or a folder.
pub(super) fn location_of(url: &str, flag: &str) -> Outcome<Location> {
    let wrong = |what: String| Failure::new(Exit::Usage, format!("{flag}: {what}"));
    let url = url_of(url).map_err(|allowed| wrong(format!("allowed are {allowed}")))?;
    if url.is_empty() {
        return Err(wrong(String::from("a tier's place is needed")));
    }
    Location::parse(&url).map_err(|error| wrong(error.to_string()))
}

/// A store that does not answer is unreachable; what it refuses is refused.
fn exit_of(error: &BucketError) -> Exit {
    match error {
        BucketError::Denied { .. } | BucketError::Unsupported { .. } => Exit::Refused,
        BucketError::Failed { .. } | BucketError::Down { .. } | BucketError::Closed => Exit::Unreachable,
        BucketError::Missing { .. } => Exit::Damaged,
        BucketError::Location { .. }
        | BucketError::Options { .. }
        | BucketError::Name { .. }
        | BucketError::TooLarge { .. } => Exit::Failed,
    }
}

/// The failure of a call to the store.
pub(super) fn of_bucket(bucket: &Bucket, error: &BucketError) -> Failure {
    Failure::new(exit_of(error), format!("{bucket}: {error}"))
}

/// The failure of reading a manifest.
fn of_manifest(bucket: &Bucket, error: ManifestError) -> Failure {
    match error {
        ManifestError::Bucket(BucketError::Missing { path }) => {
            let message = format!("{bucket}: there is no bucket, or nothing where {path} should be");
            Failure::new(Exit::NotFound, message)
        }
        ManifestError::Bucket(error) => of_bucket(bucket, &error),
        ManifestError::Restless { .. } => Failure::new(Exit::Failed, format!("{bucket}: {error}")),
        ManifestError::Damaged { .. } | ManifestError::Version { .. } => {
            Failure::new(Exit::Damaged, format!("{bucket}: {error}"))
        }
    }
}

/// The failure of reading an index or an object.
pub(super) fn of_cold(bucket: &Bucket, error: &ColdError) -> Failure {
    match error {
        ColdError::Bucket(error) => of_bucket(bucket, error),
        ColdError::Object { .. } | ColdError::Index { .. } => Failure::new(Exit::Damaged, format!("{bucket}: {error}")),
        ColdError::Broken { .. } | ColdError::Late { .. } => Failure::new(Exit::Failed, format!("{bucket}: {error}")),
    }
}
