//! Object storage as the tier uses it: few calls, each with its time, its attempts and its figures.
//!
//! Owns everything that is said to a store. What is stored, and under which names, is others' business.

mod attempt;
mod breaker;
mod durable;
mod error;
mod figures;
mod large;
mod location;
mod open;
mod probe;
mod reading;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use tokio::sync::watch;

pub use attempt::Patience;
pub use breaker::BreakerState;
pub use error::{BucketError, Call};
pub use figures::{BucketFigures, CallFigures};
pub use large::Stored;
pub use location::Location;
pub use probe::{Puts, probe};

use attempt::again;
use breaker::Breaker;
use figures::Counts;

/// What became of an object that was to be new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// It is there, with these bytes.
    Made,
    /// Another one is there.
    Exists,
}

/// One object in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name, as calls of the bucket take it.
    pub path: String,
    /// Its bytes.
    pub bytes: u64,
    /// When it was put, in milliseconds since 1970, by the store's clock.
    pub put_at: i64,
}

/// A store and the prefix under which all of a tier is. Clones are handles of the same one.
#[derive(Clone)]
pub struct Bucket {
    shared: Arc<Shared>,
}

struct Shared {
    shown: String,
    is_folder: bool,
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    patience: Patience,
    breaker: Breaker,
    counts: Counts,
    closed: watch::Sender<bool>,
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bucket({})", self.shared.shown)
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shared.shown)
    }
}

impl Bucket {
    /// Uses a store that is there already, as tests do.
    #[must_use]
    pub fn over(store: Arc<dyn ObjectStore>, patience: Patience) -> Self {
        let shown = store.to_string();
        Self::of((shown, false), store, Path::default(), patience)
    }

    fn of((shown, is_folder): (String, bool), store: Arc<dyn ObjectStore>, prefix: Path, patience: Patience) -> Self {
        let (breaker, counts) = (Breaker::new(&patience), Counts::default());
        let closed = watch::Sender::new(false);
        Self { shared: Arc::new(Shared { shown, is_folder, store, prefix, patience, breaker, counts, closed }) }
    }

    /// Whether it is a folder of this machine: its requests are the work of this machine's threads.
    #[must_use]
    pub fn is_folder(&self) -> bool {
        self.shared.is_folder
    }

    /// Breaks off all that is under way, of every handle, and refuses what comes: a process that ends does not wait for
    /// a store that is silent.
    pub fn close(&self) {
        self.shared.closed.send_replace(true);
    }

    /// What was done so far.
    #[must_use]
    pub fn figures(&self) -> BucketFigures {
        self.shared.counts.figures(self.shared.breaker.state())
    }

    /// The name that the store knows.
    fn full(&self, path: &str) -> Result<Path, BucketError> {
        let parsed = Path::parse(path).map_err(|error| name_error(path, &error.to_string()))?;
        if parsed.as_ref().is_empty() {
            return Err(name_error(path, "it is empty"));
        }
        Ok(self.shared.prefix.parts().chain(parsed.parts()).collect())
    }

    /// Puts an object where none may be. Exactly one of several callers makes it, if the store is [`Puts::Atomic`].
    ///
    /// The bytes have to be nobody else's: an attempt whose answer was lost finds its own object, and knows it by its
    /// bytes.
    ///
    /// # Errors
    /// After each of them the object may have been made, by an attempt whose answer was lost.
    pub async fn put_new(&self, path: &str, bytes: Bytes) -> Result<Created, BucketError> {
        let full = self.full(path)?;
        let (full, bytes) = (&full, &bytes);
        self.attempts(Call::Create, path, |_| async move {
            self.shared.counts.sent(bytes.len());
            let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
            let put = self.shared.store.put_opts(full, PutPayload::from_bytes(bytes.clone()), options);
            match self.within(bytes.len() as u64, put).await {
                Ok(_) => Ok(Created::Made),
                Err(StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }) => {
                    self.who_is_there(full, bytes).await
                }
                Err(error) => Err(error),
            }
        })
        .await
    }

    /// A store that says that an object exists may speak of ours: a lost answer, also to an attempt that a proxy or the
    /// client's connection made. It may also speak of nothing: S3 says 409 while another put is under way, which may
    /// fail yet, and clients take that for an object.
    async fn who_is_there(&self, full: &Path, bytes: &Bytes) -> Result<Created, StoreError> {
        match self.whole(full).await {
            Ok(there) if there == *bytes => Ok(Created::Made),
            Ok(_) => Ok(Created::Exists),
            Err(StoreError::NotFound { .. }) => {
                Err(again("the store said that it exists, and had nothing to read there".to_owned()))
            }
            Err(error) => Err(error),
        }
    }

    /// Puts an object, whatever is there. For hints, and for what is the same whoever puts it.
    ///
    /// # Errors
    /// After each of them the object may have been put.
    pub async fn put(&self, path: &str, bytes: Bytes) -> Result<(), BucketError> {
        let full = self.full(path)?;
        self.put_whole(Call::Put, path, &full, &bytes).await
    }

    async fn put_whole(&self, call: Call, path: &str, full: &Path, bytes: &Bytes) -> Result<(), BucketError> {
        self.attempts(call, path, |_| async move {
            self.shared.counts.sent(bytes.len());
            let put = self.shared.store.put(full, PutPayload::from_bytes(bytes.clone()));
            self.within(bytes.len() as u64, put).await.map(drop)
        })
        .await
    }

    /// Deletes an object; that there is none is fine.
    ///
    /// # Errors
    /// After each of them the object may be gone.
    pub async fn delete(&self, path: &str) -> Result<(), BucketError> {
        let full = self.full(path)?;
        let full = &full;
        let gone = self.attempts(Call::Delete, path, |_| self.within(0, self.shared.store.delete(full))).await;
        match gone {
            Err(BucketError::Missing { .. }) => Ok(()),
            other => other,
        }
    }

    /// All objects in a folder and those below it. For collecting what nobody needs, and for people: a listing may be
    /// late, so that nothing is concluded from what it does not show.
    ///
    /// # Errors
    /// What the store says.
    pub async fn list(&self, folder: &str) -> Result<Vec<Listed>, BucketError> {
        let full = self.full(folder)?;
        let full = &full;
        let found: Vec<object_store::ObjectMeta> = self
            .attempts(Call::List, folder, |_| async move {
                let mut pages = self.shared.store.list(Some(full));
                let mut found = Vec::new();
                while let Some(one) = self.within(0, pages.try_next()).await? {
                    found.push(one);
                }
                Ok(found)
            })
            .await?;
        let skipped = self.shared.prefix.parts().count();
        let listed = found.into_iter().map(|meta| Listed {
            path: meta.location.parts().skip(skipped).collect::<Path>().to_string(),
            bytes: meta.size,
            put_at: meta.last_modified.timestamp_millis(),
        });
        Ok(listed.collect())
    }
}

fn name_error(path: &str, what: &str) -> BucketError {
    BucketError::Name { path: path.to_owned(), what: what.to_owned() }
}
