//! A store that fails as stores do, from a seed: for tests of whatever stands on object storage.
//!
//! It wraps a store in memory. Rates are in thousandths of calls; all of them can be changed while it runs.
#![allow(dead_code, reason = "each test uses a part of it")]

mod dice;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;
use strata_tiering::bucket::{Bucket, Patience};
use strata_tiering::limits::ATTEMPT_MAX;
use tokio::sync::Notify;

pub(crate) use dice::Dice;

/// How often what goes wrong, in thousandths of the calls that it can happen to.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rates {
    /// An error, and nothing was done.
    pub(crate) before: u64,
    /// An error though it was done.
    pub(crate) after: u64,
    /// No answer, and nothing was done.
    pub(crate) hang: u64,
    /// No answer, and a change lands up to an hour later.
    pub(crate) late: u64,
    /// A conditional put is told that the object exists, though nothing was done or it was this put.
    pub(crate) lie: u64,
    /// Fewer bytes come.
    pub(crate) truncated: u64,
    /// A bit is wrong.
    pub(crate) flipped: u64,
    /// Up to ten seconds more.
    pub(crate) slow: u64,
}

impl Rates {
    /// Everything, so often.
    pub(crate) fn all(rate: u64) -> Self {
        Self {
            before: rate,
            after: rate,
            hang: rate,
            late: rate,
            lie: rate,
            truncated: rate,
            flipped: rate,
            slow: rate,
        }
    }
}

/// What a call that changes something meets.
enum Fate {
    Good,
    Before,
    After,
    Hang,
    Late(Duration),
}

pub(crate) struct Faults {
    pub(crate) inner: Arc<InMemory>,
    dice: Mutex<Dice>,
    rates: Mutex<Rates>,
    /// Whether time that passes in the store moves a paused clock; see [`Faults::moving_the_clock`].
    moves_clock: bool,
    /// Holds the next conditional put of a name with this in it until it is told to go on.
    held: Mutex<Option<(String, Arc<Notify>)>>,
}

impl Faults {
    pub(crate) fn new(seed: u64, rates: Rates) -> Arc<Self> {
        Self::over(Arc::new(InMemory::new()), seed, rates)
    }

    /// Over objects that another one holds too.
    pub(crate) fn over(inner: Arc<InMemory>, seed: u64, rates: Rates) -> Arc<Self> {
        Arc::new(Self::of(inner, seed, rates, false))
    }

    /// One for callers in threads beside a runtime whose clock is paused. Such a clock stands while a thread is busy, so
    /// that nobody would ever see an answer that is late: here the store itself moves the clock on.
    pub(crate) fn moving_the_clock(inner: InMemory, seed: u64, rates: Rates) -> Arc<Self> {
        Arc::new(Self::of(Arc::new(inner), seed, rates, true))
    }

    fn of(inner: Arc<InMemory>, seed: u64, rates: Rates, moves_clock: bool) -> Self {
        let (dice, rates) = (Mutex::new(Dice::new(seed)), Mutex::new(rates));
        Self { inner, dice, rates, moves_clock, held: Mutex::new(None) }
    }

    pub(crate) fn bucket(self: &Arc<Self>, patience: Patience) -> Bucket {
        let store = Arc::clone(self) as Arc<dyn ObjectStore>;
        Bucket::over(store, patience)
    }

    pub(crate) fn fail(&self, rates: Rates) {
        *self.rates.lock() = rates;
    }

    /// The next conditional put of a name that contains this waits until it is notified.
    pub(crate) fn hold(&self, name: &str) -> Arc<Notify> {
        let go = Arc::new(Notify::new());
        *self.held.lock() = Some((name.to_owned(), Arc::clone(&go)));
        go
    }

    async fn wait_if_held(&self, path: &Path) {
        let is_held = |held: &mut (String, Arc<Notify>)| path.as_ref().contains(&held.0);
        let held = self.held.lock().take_if(is_held);
        if let Some((_, go)) = held {
            go.notified().await;
        }
    }

    pub(crate) fn hits(&self, rate: impl Fn(&Rates) -> u64) -> bool {
        let rate = rate(&self.rates.lock());
        self.dice.lock().hits(rate)
    }

    pub(crate) fn below(&self, bound: u64) -> u64 {
        self.dice.lock().below(bound)
    }

    async fn dawdle(&self) {
        if self.hits(|rates| rates.slow) {
            let millis = self.dice.lock().below(10_000);
            self.pass(Duration::from_millis(millis)).await;
        }
    }

    async fn pass(&self, time: Duration) {
        if self.moves_clock {
            // In a task of the runtime, which looks at its timers afterwards.
            tokio::spawn(tokio::time::advance(time)).await.unwrap();
        } else {
            tokio::time::sleep(time).await;
        }
    }

    /// Never answers.
    async fn hang<T>(&self) -> Result<T> {
        self.pass(if self.moves_clock { ATTEMPT_MAX * 2 } else { Duration::from_secs(1_000_000) }).await;
        std::future::pending().await
    }

    fn fate(&self) -> Fate {
        if self.hits(|rates| rates.before) {
            Fate::Before
        } else if self.hits(|rates| rates.after) {
            Fate::After
        } else if self.hits(|rates| rates.hang) {
            Fate::Hang
        } else if self.hits(|rates| rates.late) {
            Fate::Late(Duration::from_millis(self.dice.lock().below(3_600_000)))
        } else {
            Fate::Good
        }
    }

    /// Runs a change as fate has it.
    async fn change<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        self.dawdle().await;
        match self.fate() {
            Fate::Good => work.await,
            Fate::Before => Err(broken("503 SlowDown")),
            Fate::After => {
                let _ = work.await;
                Err(broken("connection reset after the request was sent"))
            }
            Fate::Hang => self.hang().await,
            Fate::Late(delay) => {
                tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    let _ = work.await;
                });
                self.hang().await
            }
        }
    }

    /// What a call that only reads meets before it.
    async fn before_reading(&self) -> Result<()> {
        self.dawdle().await;
        match self.fate() {
            Fate::Good => Ok(()),
            Fate::Before | Fate::After => Err(broken("500 InternalError")),
            Fate::Hang | Fate::Late(_) => self.hang().await,
        }
    }

    fn spoil(&self, bytes: Bytes) -> Bytes {
        let mut bytes = bytes.to_vec();
        if !bytes.is_empty() && self.hits(|rates| rates.truncated) {
            let length = self.dice.lock().below(bytes.len() as u64);
            bytes.truncate(usize::try_from(length).unwrap());
        }
        if !bytes.is_empty() && self.hits(|rates| rates.flipped) {
            let mut dice = self.dice.lock();
            let at = usize::try_from(dice.below(bytes.len() as u64)).unwrap();
            bytes[at] ^= 1 << dice.below(8);
        }
        bytes.into()
    }
}

pub(crate) fn broken(what: &str) -> Error {
    Error::Generic { store: "faults", source: what.into() }
}

fn taken(path: &Path) -> Error {
    Error::AlreadyExists { path: path.to_string(), source: "412".into() }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faults")
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faults")
    }
}

#[async_trait]
impl ObjectStore for Faults {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let is_create = matches!(options.mode, PutMode::Create);
        if is_create {
            self.wait_if_held(location).await;
        }
        let (inner, path) = (Arc::clone(&self.inner), location.clone());
        let put = async move { inner.put_opts(&path, payload, options).await };
        if is_create && self.hits(|rates| rates.lie) {
            if self.dice.lock().hits(500) {
                put.await?;
            }
            return Err(taken(location));
        }
        self.change(put).await
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(broken("nobody puts parts"))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.before_reading().await?;
        let head = options.head;
        let mut found = self.inner.get_opts(location, options).await?;
        if !head {
            let (meta, range, attributes) = (found.meta.clone(), found.range.clone(), found.attributes.clone());
            let bytes = self.spoil(found.bytes().await?);
            let payload = GetResultPayload::Stream(stream::once(async move { Ok(bytes) }).boxed());
            found = GetResult { payload, meta, range, attributes };
        }
        Ok(found)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        if self.hits(|rates| rates.before) {
            return stream::once(async { Err(broken("503 SlowDown")) }).boxed();
        }
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(broken("nobody copies"))
    }
}
