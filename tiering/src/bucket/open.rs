//! Making the client of a store from its location and its options.

use std::sync::Arc;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::memory::InMemory;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};

use super::durable::Durable;
use super::error::words;
use super::location::Kind;
use super::{Bucket, BucketError, Location, Patience};

type Client = Arc<dyn ObjectStore>;

impl Bucket {
    /// Opens the store at a location. Options are pairs as in the environment: `AWS_ENDPOINT`, `AWS_ALLOW_HTTP`,
    /// `AWS_REGION`, `AWS_ACCESS_KEY_ID` and so on for `s3://`, `GOOGLE_…` for `gs://`, `AZURE_…` for `az://`, the
    /// usual sources of credentials included. Pairs of other names are not looked at, so that a whole environment can
    /// be given. Nothing is sent to the store yet, but for the folder of a `file://`, which is made.
    ///
    /// # Errors
    /// [`BucketError::Options`] when the options make no client, or the folder cannot be made.
    pub async fn open(
        location: &Location,
        options: impl IntoIterator<Item = (String, String)>,
        patience: Patience,
    ) -> Result<Self, BucketError> {
        let client = match &location.kind {
            Kind::S3 => s3(&location.url, options),
            Kind::Google => google(&location.url, options),
            Kind::Azure => azure(&location.url, options),
            Kind::Folder(folder) => Durable::open(folder.clone()).await.map(|store| Arc::new(store) as Client),
            Kind::Memory => Ok(Arc::new(InMemory::new()) as Client),
        };
        let client =
            client.map_err(|error| BucketError::Options { location: location.to_string(), what: words(&error) })?;
        let shown = (location.to_string(), location.folder().is_some());
        Ok(Self::of(shown, client, location.prefix.clone(), patience))
    }
}

/// The client's own attempts are off: see `attempt.rs`.
fn no_retries() -> RetryConfig {
    RetryConfig { backoff: BackoffConfig::default(), max_retries: 0, ..RetryConfig::default() }
}

/// Time is bounded by attempt and by bytes, for all kinds of stores alike.
fn no_timeout() -> ClientOptions {
    ClientOptions::new().with_timeout_disabled()
}

/// The options whose names begin so, in lower case, as the clients spell them.
fn of_prefix(
    options: impl IntoIterator<Item = (String, String)>,
    prefix: &'static str,
) -> impl Iterator<Item = (String, String)> {
    let lower = options.into_iter().map(|(key, value)| (key.to_ascii_lowercase(), value));
    lower.filter(move |(key, _)| key.starts_with(prefix))
}

fn s3(url: &str, options: impl IntoIterator<Item = (String, String)>) -> object_store::Result<Client> {
    let mut builder = AmazonS3Builder::new().with_client_options(no_timeout()).with_retry(no_retries());
    for (key, value) in of_prefix(options, "aws_") {
        if let Ok(key) = key.parse() {
            builder = builder.with_config(key, value);
        }
    }
    Ok(Arc::new(builder.with_url(url).build()?))
}

fn google(url: &str, options: impl IntoIterator<Item = (String, String)>) -> object_store::Result<Client> {
    let mut builder = GoogleCloudStorageBuilder::new().with_client_options(no_timeout()).with_retry(no_retries());
    for (key, value) in of_prefix(options, "google_") {
        if let Ok(key) = key.parse() {
            builder = builder.with_config(key, value);
        }
    }
    Ok(Arc::new(builder.with_url(url).build()?))
}

fn azure(url: &str, options: impl IntoIterator<Item = (String, String)>) -> object_store::Result<Client> {
    let mut builder = MicrosoftAzureBuilder::new().with_client_options(no_timeout()).with_retry(no_retries());
    for (key, value) in of_prefix(options, "azure_") {
        if let Ok(key) = key.parse() {
            builder = builder.with_config(key, value);
        }
    }
    Ok(Arc::new(builder.with_url(url).build()?))
}
