//! One writer's way to a store that all share: it ends when the writer dies, waits where it is told to, and is watched.
//!
//! Owns what is seen of calls: an edit that lists what was not read back, byte for byte, is noted as wrong.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;
use strata_tiering::bucket::{Bucket, Patience};
use tokio::sync::{Notify, Semaphore};

use crate::faults::{Faults, broken};

/// When in its last call a writer dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// The store never hears of it.
    Before,
    /// The store did it, and the writer never hears of that.
    After,
}

/// Calls of one writer.
#[derive(Debug, Default)]
pub(crate) struct Life {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    calls: u64,
    /// The call in which it dies.
    last: Option<(u64, When)>,
    /// How many puts of messages and indexes until all of them wait.
    gate: Option<(u64, Arc<Gate>)>,
}

/// Where calls wait.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) reached: Notify,
    /// Closed when they may go on.
    go: Semaphore,
}

impl Life {
    pub(crate) fn calls(&self) -> u64 {
        self.state.lock().calls
    }

    /// Lets it make so many calls more, and then the one in which it dies.
    pub(crate) fn end_after(&self, calls: u64, when: When) {
        let mut state = self.state.lock();
        state.last = Some((state.calls + calls + 1, when));
    }

    pub(crate) fn is_over(&self) -> bool {
        let state = self.state.lock();
        state.last.is_some_and(|(last, _)| state.calls >= last)
    }

    /// Whether its last call is told already.
    pub(crate) fn is_ending(&self) -> bool {
        self.state.lock().last.is_some()
    }

    /// Has all puts of messages and indexes wait that come after so many others. Only a roll or a merge makes such puts.
    pub(crate) fn wait_after(&self, puts: u64) -> Arc<Gate> {
        let gate = Arc::new(Gate { reached: Notify::new(), go: Semaphore::new(0) });
        self.state.lock().gate = Some((puts, Arc::clone(&gate)));
        gate
    }

    pub(crate) fn wait_no_more(&self) {
        if let Some((_, gate)) = self.state.lock().gate.take() {
            gate.go.close();
        }
    }

    /// Counts a call; gives whether the writer dies before its answer.
    fn call(&self) -> Result<bool> {
        let mut state = self.state.lock();
        state.calls += 1;
        match state.last {
            Some((last, _)) if state.calls > last => Err(dead()),
            Some((last, When::Before)) if state.calls == last => Err(dead()),
            Some((last, When::After)) => Ok(state.calls == last),
            Some((_, When::Before)) | None => Ok(false),
        }
    }

    async fn pass_gate(&self, path: &Path) {
        let gate = {
            let mut state = self.state.lock();
            let is_data = path.as_ref().contains("/roll/");
            match &mut state.gate {
                Some((left, _)) if is_data && *left > 0 => {
                    *left -= 1;
                    None
                }
                Some((_, gate)) if is_data => Some(Arc::clone(gate)),
                _ => None,
            }
        };
        if let Some(gate) = gate {
            gate.reached.notify_one();
            // An error says that it is closed, which is what is waited for.
            let _ = gate.go.acquire().await;
        }
    }
}

/// Refused for good, so that a dead writer does not try again.
fn dead() -> Error {
    Error::PermissionDenied { path: String::new(), source: "the writer is dead".into() }
}

/// What is seen of all calls.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// What came back of each object as it is stored.
    read: Mutex<HashMap<Path, Vec<Range<u64>>>>,
    /// Objects that somebody deleted.
    pub(crate) deleted: Mutex<BTreeSet<String>>,
    /// What must never happen, and did.
    pub(crate) wrong: Mutex<Vec<String>>,
    /// How often what is put is stored with a wrong bit, or missing in a listing, in thousandths.
    pub(crate) rotten: Mutex<u64>,
    /// Whether edits are made and nobody hears of that, nor can read them.
    pub(crate) is_deaf: AtomicBool,
}

impl Notes {
    /// Holds the rolls that an edit lists against what was read back.
    fn edit(&self, path: &Path, payload: &PutPayload) {
        let bytes: Bytes = payload.clone().into();
        let edit: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        let home = path.as_ref().split("/manifest/").next().unwrap();
        let (kinds, listed) = (["add", "swap"], ["rolls", "add"]);
        let lists = kinds.iter().zip(listed).filter_map(|(kind, list)| edit["edit"][kind][list].as_array());
        for roll in lists.flatten() {
            let objects = roll["objects"].as_array().unwrap();
            for object in objects.iter().chain([&roll["index"]]) {
                let name = format!("{home}/{}", object["name"].as_str().unwrap());
                let bytes = object["bytes"].as_u64().unwrap();
                if !self.is_read(&Path::from(name.as_str()), bytes) {
                    self.wrong.lock().push(format!("{path} lists {name}, which was not read back"));
                }
            }
        }
    }

    fn is_read(&self, path: &Path, bytes: u64) -> bool {
        let read = self.read.lock();
        let mut parts: Vec<Range<u64>> = read.get(path).cloned().unwrap_or_default();
        parts.sort_by_key(|part| part.start);
        let whole = parts.iter().fold(0, |end, part| if part.start <= end { end.max(part.end) } else { end });
        whole >= bytes
    }
}

/// A writer's store.
pub(crate) struct Watched {
    faults: Arc<Faults>,
    notes: Arc<Notes>,
    life: Arc<Life>,
}

impl Watched {
    pub(crate) fn bucket(faults: &Arc<Faults>, notes: &Arc<Notes>, life: &Arc<Life>, patience: Patience) -> Bucket {
        let own = Self { faults: Arc::clone(faults), notes: Arc::clone(notes), life: Arc::clone(life) };
        Bucket::over(Arc::new(own), patience)
    }

    fn hears(&self, location: &Path) -> Result<()> {
        let is_deaf = self.notes.is_deaf.load(Ordering::Relaxed) && location.as_ref().contains("/manifest/");
        if is_deaf { Err(broken("no answer about the manifest")) } else { Ok(()) }
    }

    fn rots(&self) -> bool {
        let rate = *self.notes.rotten.lock();
        self.faults.hits(|_| rate)
    }

    /// Stores what is put with a wrong bit, and says that all is well.
    async fn put_rotten(&self, location: &Path, payload: &PutPayload) -> Result<PutResult> {
        let mut bytes = Bytes::from(payload.clone()).to_vec();
        let at = usize::try_from(self.faults.below(bytes.len() as u64)).unwrap();
        bytes[at] ^= 1 << self.faults.below(8);
        self.notes.read.lock().remove(location);
        self.faults.inner.put(location, bytes.into()).await
    }

    /// Notes what came back, if it is what is stored.
    async fn saw(&self, location: &Path, range: Range<u64>, bytes: &Bytes) {
        if !location.as_ref().contains("/roll/") || range.is_empty() {
            return;
        }
        if let Ok(stored) = self.faults.inner.get_range(location, range.clone()).await
            && stored == *bytes
        {
            self.notes.read.lock().entry(location.clone()).or_default().push(range);
        }
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watched")
    }
}

impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watched")
    }
}

#[async_trait]
impl ObjectStore for Watched {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let dies = self.life.call()?;
        self.life.pass_gate(location).await;
        let is_create = matches!(options.mode, PutMode::Create);
        if is_create && location.as_ref().contains("/manifest/") {
            self.notes.edit(location, &payload);
        }
        let put = if location.as_ref().contains("/roll/") && payload.content_length() > 0 && self.rots() {
            self.put_rotten(location, &payload).await
        } else {
            self.faults.put_opts(location, payload, options).await
        };
        self.hears(location)?;
        if dies { Err(dead()) } else { put }
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(broken("nobody puts parts"))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let dies = self.life.call()?;
        self.hears(location)?;
        let head = options.head;
        let mut found = self.faults.get_opts(location, options).await?;
        if !head {
            let (meta, range, attributes) = (found.meta.clone(), found.range.clone(), found.attributes.clone());
            let bytes = found.bytes().await?;
            self.saw(location, range.clone(), &bytes).await;
            let payload = GetResultPayload::Stream(stream::once(async move { Ok(bytes) }).boxed());
            found = GetResult { payload, meta, range, attributes };
        }
        if dies { Err(dead()) } else { Ok(found) }
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (faults, notes, life) = (Arc::clone(&self.faults), Arc::clone(&self.notes), Arc::clone(&self.life));
        let delete = move |location: Result<Path>| {
            let (faults, notes, life) = (Arc::clone(&faults), Arc::clone(&notes), Arc::clone(&life));
            async move {
                let location = location?;
                let dies = life.call()?;
                if faults.hits(|rates| rates.before) {
                    return Err(broken("503 SlowDown"));
                }
                notes.deleted.lock().insert(location.to_string());
                faults.inner.delete(&location).await?;
                if dies {
                    return Err(dead());
                }
                if faults.hits(|rates| rates.after) { Err(broken("connection reset")) } else { Ok(location) }
            }
        };
        locations.then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.life.call() {
            Err(error) => return stream::once(async { Err(error) }).boxed(),
            Ok(true) => return stream::once(async { Err(dead()) }).boxed(),
            Ok(false) => {}
        }
        // A listing may be late.
        let (faults, rate) = (Arc::clone(&self.faults), *self.notes.rotten.lock());
        let is_shown = move |one: &Result<ObjectMeta>| {
            let shown = one.is_err() || !faults.hits(|_| rate);
            async move { shown }
        };
        self.faults.list(prefix).filter(is_shown).boxed()
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        Err(broken("nobody lists one folder"))
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(broken("nobody copies"))
    }
}
