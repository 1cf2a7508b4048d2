//! A tier, its writers, and the model beside them: everything that one seed does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use object_store::ObjectStore;
use object_store::memory::InMemory;
use strata_tiering::bucket::{Bucket, Patience};
use strata_tiering::manifest::{Ledger, Manifest, Writer};
use strata_tiering::pace::{Budget, Pace};
use strata_tiering::tier::{Tier, TierError, TierOptions};
use strata_tiering::verify::{Depth, verify};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::faults::{Faults, Rates};
use crate::model::Model;
use crate::reader::{CACHE, Reader};
use crate::store::{Life, Notes, Watched};

pub(crate) const BROKER: &str = "broker-a";

/// A tier that writes, and how long it lives.
#[derive(Clone)]
pub(crate) struct Own {
    pub(crate) tier: Arc<Tier>,
    pub(crate) life: Arc<Life>,
}

impl Own {
    /// Does something in a thread that may wait.
    pub(crate) fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Tier, &Handle, (&mut Pace, &AtomicBool)) -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let (tier, runtime) = (Arc::clone(&self.tier), Handle::current());
        tokio::task::spawn_blocking(move || {
            let mut pace = Pace::new(Budget { cpu_percent: 100, bytes_per_second: None });
            work(&tier, &runtime, (&mut pace, &AtomicBool::new(false)))
        })
    }
}

/// Everything of one run.
pub(crate) struct World {
    pub(crate) faults: Arc<Faults>,
    pub(crate) notes: Arc<Notes>,
    /// The store without faults.
    pub(crate) plain: Bucket,
    pub(crate) model: Model,
    /// The writer; `None` while none could be opened.
    pub(crate) own: Option<Own>,
    /// Writers that were taken over and do not know it.
    pub(crate) old: Vec<Own>,
    /// What is listed, as everybody sees it.
    pub(crate) truth: Arc<Manifest>,
    /// Every state that somebody saw, by the number of its last edit.
    views: BTreeMap<u64, Arc<Manifest>>,
    reader: Reader,
}

/// A patience without pauses of chance, so that a seed is one run.
pub(crate) fn patience() -> Patience {
    Patience { tries: 3, first_pause: Duration::ZERO, ..Patience::default() }
}

impl World {
    pub(crate) async fn new(seed: u64, rates: Rates) -> Self {
        Self::over(Faults::moving_the_clock(InMemory::new(), seed, rates), Model::new(seed)).await
    }

    async fn over(faults: Arc<Faults>, model: Model) -> Self {
        let plain = Bucket::over(Arc::clone(&faults.inner) as Arc<dyn ObjectStore>, patience());
        let reader = Reader::open(plain.clone(), BROKER).await;
        let (notes, truth) = (Arc::default(), Arc::default());
        let (own, old, views) = (None, Vec::new(), BTreeMap::new());
        Self { faults, notes, plain, model, own, old, truth, views, reader }
    }

    /// The same once more, with a store of its own and nobody who writes.
    pub(crate) async fn fork(&self) -> Self {
        let faults = Faults::moving_the_clock(self.faults.inner.fork(), 0, Rates::default());
        let mut fork = Self::over(faults, self.model.clone()).await;
        fork.truth = Arc::clone(&self.truth);
        fork
    }

    /// A writer's way to the store.
    pub(crate) fn bucket(&self, life: &Arc<Life>) -> Bucket {
        Watched::bucket(&self.faults, &self.notes, life, patience())
    }

    pub(crate) async fn open(&self, life: Arc<Life>) -> Result<Own, TierError> {
        let options = TierOptions { broker: BROKER.into(), writer: Writer::Fenced, cache: CACHE };
        let tier = Arc::new(Tier::open(self.bucket(&life), options).await?);
        Ok(Own { tier, life })
    }

    /// Somebody saw a state: all who see that number see the same.
    fn saw(&mut self, manifest: &Arc<Manifest>) -> Result<(), String> {
        let known = self.views.entry(manifest.number()).or_insert_with(|| Arc::clone(manifest));
        if known == manifest { Ok(()) } else { Err(format!("two states after edit {}", manifest.number())) }
    }

    /// Reads what is listed, past all faults.
    pub(crate) async fn look(&mut self) -> Result<(), String> {
        let ledger = Ledger::open(self.plain.clone(), BROKER).await.map_err(|error| error.to_string())?;
        let truth = ledger.manifest();
        if truth.number() < self.truth.number() || truth.end() < self.truth.end() {
            return Err(format!("the manifest went back from edit {}", self.truth.number()));
        }
        self.truth = truth;
        let truth = Arc::clone(&self.truth);
        self.saw(&truth)?;
        self.model.learn(&truth);
        let mut all: Vec<Arc<Manifest>> = self.old.iter().map(|own| own.tier.manifest()).collect();
        all.extend(self.own.as_ref().map(|own| own.tier.manifest()));
        all.iter().try_for_each(|manifest| self.saw(manifest))
    }

    /// What holds after every step.
    pub(crate) async fn check(&mut self) -> Result<(), String> {
        self.look().await?;
        if let Some(wrong) = self.notes.wrong.lock().first() {
            return Err(wrong.clone());
        }
        let truth = Arc::clone(&self.truth);
        if let Some(pair) = truth.rolls().windows(2).find(|pair| pair[0].to != pair[1].from) {
            return Err(format!("the rolls up to {} and from {} are no neighbours", pair[0].to, pair[1].from));
        }
        if truth.rolls().last().is_some_and(|last| Some(last.to) != truth.end()) {
            return Err("the last roll does not end where the log is listed to".to_owned());
        }
        self.model.check(&truth)?;
        for name in truth.object_names() {
            if self.notes.deleted.lock().contains(&format!("{BROKER}/{name}")) {
                return Err(format!("{name} is listed, and was deleted"));
            }
        }
        self.verify(Depth::Listed).await?;
        self.reader.show(&truth);
        self.reader.check_all(&self.model).await
    }

    /// Everything that is listed is whole.
    pub(crate) async fn verify(&self, depth: Depth) -> Result<(), String> {
        let report =
            verify(&self.plain, BROKER, &self.truth, depth, |_| {}).await.map_err(|error| error.to_string())?;
        if let Some(finding) = report.findings.first() {
            return Err(format!("{}: {}", finding.object, finding.what));
        }
        if depth == Depth::Full && report.rows != self.truth.totals().rows {
            return Err(format!("{} rows are there of {}", report.rows, self.truth.totals().rows));
        }
        Ok(())
    }

    /// What lies in the broker's folder is what is listed, and the manifest.
    pub(crate) async fn check_bucket(&self) -> Result<(), String> {
        let found = self.plain.list(BROKER).await.map_err(|error| error.to_string())?;
        let mut listed: Vec<String> = self.truth.object_names().map(|name| format!("{BROKER}/{name}")).collect();
        let is_own = |path: &str| path.contains("/manifest/") || path.contains("/collect/");
        let mut found: Vec<String> = found.into_iter().map(|one| one.path).filter(|path| !is_own(path)).collect();
        listed.sort_unstable();
        found.sort_unstable();
        if found != listed {
            return Err(format!("there is {found:?}, listed is {listed:?}"));
        }
        let ledger = Ledger::open(self.plain.clone(), BROKER).await.map_err(|error| error.to_string())?;
        match ledger.stale_names().await {
            Ok(stale) if stale.is_empty() => Ok(()),
            other => Err(format!("of the manifest is left: {other:?}")),
        }
    }
}

/// Now, ms since 1970: the store's clock, and what passed in the paused one.
pub(crate) fn now_ms(began: tokio::time::Instant) -> i64 {
    #[allow(clippy::disallowed_methods, reason = "a store in memory has the system's clock")]
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap() + began.elapsed();
    i64::try_from(now.as_millis()).unwrap()
}
