//! A broker's life: open the rooms, serve until told to stop, leave nothing undone.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use strata_protocol::body::TopicConfig;
use strata_protocol::command::Command;
use strata_protocol::limits::FRAME_BYTES_MAX;
use strata_protocol::reply::Reply;
use strata_remoting::{Answer, Connection, Figures as PortFigures, Handler, Server};
use strata_store::{Clock, OpenError, Recovery, Retention, Store, StoreOptions};
use strata_tiering::bucket::Bucket;
use strata_tiering::tier::Tier;
use thiserror::Error;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{error, info, warn};

use crate::clients::Clients;
use crate::cold::{self, Cold, Roller};
use crate::creation::Creations;
use crate::delay::{BadDelay, DelayLevels};
use crate::durable::DurableError;
use crate::figures::Figures;
use crate::filters::Filters;
use crate::groups::Groups;
use crate::hall::{self, Hall, Tables};
use crate::handle;
use crate::locks::Locks;
use crate::offsets::Offsets;
use crate::options::BrokerOptions;
use crate::registration::{self, Registration};
use crate::schedule::Schedule;
use crate::topics::Topics;
use crate::traffic::SAMPLE_MS;
use crate::trail::{self, Trail};
use crate::turns::Turns;
use crate::waiting::Waiting;

/// How often held pulls are looked at for the end of their time.
const EXPIRY_TICK: Duration = Duration::from_millis(50);
/// How often offsets and tables are written (`flushConsumerOffsetInterval`).
const SAVE_TICK: Duration = Duration::from_secs(5);
/// How often silent clients are looked for.
const SILENCE_TICK: Duration = Duration::from_secs(10);

/// How long an end waits for what works beside the connections, a roll among it.
const TASKS_END_MAX: Duration = Duration::from_secs(5);

/// How long an end waits for the thread that rolls when nothing is asked of the store any more.
const ROLL_END_MAX: Duration = Duration::from_secs(2);

/// How long a start waits for the store of the cold tier; it is opened in the background then.
const COLD_OPEN_MAX: Duration = Duration::from_secs(5);

/// Why a broker does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The log cannot be opened.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// A settings file cannot be read.
    #[error(transparent)]
    Settings(#[from] DurableError),
    /// The delay levels cannot be read.
    #[error(transparent)]
    Delay(#[from] BadDelay),
    /// The data folder cannot be made.
    #[error("cannot create the data folder {}: {source}; choose another one or change its permissions", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The cold tier cannot be used.
    #[error(transparent)]
    Cold(#[from] cold::ColdError),
    /// The broker was not told which port clients use.
    #[error("the broker must know the port it is reached at before it opens its log")]
    NoPort,
}

/// The cold tier's store cannot be reached, so nobody knows what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the cold tier is not open")]
pub struct NotOpen;

/// Why a broker did not end well.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The log could not be closed: what was not flushed may be lost in a power cut.
    #[error("the log was not closed cleanly: {reason}")]
    Close {
        /// What the store says.
        reason: String,
    },
    /// A write or flush of the log failed while the broker ran.
    #[error(
        "the log took no messages since a write or flush of it failed: {reason}; look at the disk, then start \
         again: what was acknowledged is recovered"
    )]
    Latched {
        /// What failed.
        reason: String,
    },
    /// The settings could not be written.
    #[error(transparent)]
    Settings(#[from] DurableError),
}

/// One broker.
pub struct Broker {
    hall: Arc<Hall>,
    schedule: Schedule,
    /// What the ports count, by their names; known once they are served.
    ports: OnceLock<Vec<(&'static str, Arc<PortFigures>)>>,
    ready: AtomicBool,
}

/// The handler of a broker's connections.
struct Desk {
    hall: Arc<Hall>,
}

impl Handler for Desk {
    fn handle(&self, request: Command, connection: &Arc<Connection>) -> Answer {
        handle::answer(&self.hall, &request, connection)
    }

    fn answered(&self, code: i32, reply: &Reply, took: Duration) {
        self.hall.answered(code, reply, took);
    }

    fn closed(&self, connection: &Arc<Connection>) {
        self.hall.connection_closed(connection);
    }
}

impl Broker {
    /// Opens the data folder and recovers the log. `options.identity.port` must be the port that clients
    /// use, since it becomes part of every message id. `bucket` is the store of the cold tier, if `options.cold` is
    /// set.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn open(
        options: BrokerOptions,
        clock: Arc<dyn Clock>,
        bucket: Option<Bucket>,
    ) -> Result<Arc<Self>, StartError> {
        if options.identity.port == 0 {
            return Err(StartError::NoPort);
        }
        let config = options.data.join(crate::config_files::FOLDER);
        let made = std::fs::create_dir_all(&config);
        made.map_err(|source| StartError::Folder { folder: options.data.clone(), source })?;
        let delays = DelayLevels::parse(&options.topics.delay_levels)?;
        let (store, recovery) = Store::open(store_options(&options), Arc::clone(&clock))?;
        report(&recovery);
        let tables =
            Tables { topics: Topics::load(&config)?, groups: Groups::load(&config)?, offsets: Offsets::load(&config)? };
        let waiting = Arc::new(Waiting::default());
        let bell = Arc::clone(&waiting);
        store.listen(Box::new(move |event| {
            bell.appended(event.topic, event.queue_id, event.queue_offset, event.tags_code);
        }));
        let cold = match options.cold.clone().zip(bucket) {
            None => None,
            Some((settings, bucket)) => {
                let (name, log) = (&options.identity.name, cold::Identity::load(&options.data)?);
                Some(Arc::new(Cold::new((bucket, settings), name, Arc::clone(&store), log)))
            }
        };
        if let Some(cold) = &cold {
            // Within a runtime, as all who give a bucket are.
            let opening = tokio::time::timeout(COLD_OPEN_MAX, cold.try_open());
            if let Ok(opened) = tokio::runtime::Handle::current().block_on(opening) {
                opened?;
            }
            let copied = Arc::downgrade(cold);
            store.keep_until_copied(Box::new(move || copied.upgrade().map_or(i64::MIN, |cold| cold.copied_to())));
        }
        let registration = Registration::new(options.name_servers.len());
        let filters = Filters::new(options.filters);
        let records = options.topics.trace_topic.then_some(options.topics.trace_records);
        let hall = Arc::new(Hall {
            options,
            clock,
            store,
            cold,
            tables,
            clients: Clients::new(filters),
            locks: Locks::default(),
            waiting,
            delays,
            registration,
            figures: Figures::default(),
            creations: Creations::default(),
            trail: Trail::new(records),
            turns: Turns::default(),
        });
        hall.figures.started_ms.store(u64::try_from(hall.now_ms()).unwrap_or(0), Ordering::Relaxed);
        let kept = Arc::downgrade(&hall);
        hall.store.keep_topics_by(Box::new(move |topic| kept.upgrade()?.keep_hot(topic)));
        complete_topics(&hall);
        let schedule = Schedule::load(Arc::clone(&hall), &config)?;
        Ok(Arc::new(Self { hall, schedule, ports: OnceLock::new(), ready: AtomicBool::new(false) }))
    }

    /// Serves until `shutdown`, then drains: requests in work are answered, name servers told, offsets
    /// and log written.
    ///
    /// # Errors
    /// See [`ServeError`]; the broker has stopped all the same.
    pub async fn serve(
        self: Arc<Self>,
        server: Server,
        fast: Option<Server>,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), ServeError> {
        let (stop, stopped) = watch::channel(false);
        let ended = || {
            let mut stopped = stopped.clone();
            async move {
                // An error means that the sender is gone, which is the end as well.
                let _ = stopped.wait_for(|stop| *stop).await;
            }
        };
        let (bells, mut tasks) = self.start_tasks(&stopped);
        let rolling = self.start_rolling(&mut tasks);
        let ports = std::iter::once(("main", server.figures())).chain(fast.iter().map(|fast| ("fast", fast.figures())));
        let _ = self.ports.set(ports.collect());
        let mut servers = vec![tokio::spawn(server.run(self.desk(), ended()))];
        if let Some(fast) = fast {
            servers.push(tokio::spawn(fast.run(self.desk(), ended())));
        }
        self.ready.store(true, Ordering::Release);
        shutdown.await;
        self.ready.store(false, Ordering::Release);
        info!("stopping: answering what is in work");
        self.hall.waiting.release_all();
        stop.send_replace(true);
        for server in servers {
            if let Err(error) = server.await {
                warn!(%error, "a listener ended badly");
            }
        }
        for bell in &bells {
            bell.notify_one();
        }
        if let Some(cold) = &self.hall.cold {
            cold.end();
        }
        let deadline = Instant::now() + TASKS_END_MAX;
        for task in tasks {
            // Each task ends by its bell; registration may wait for a name server that hangs.
            let _ = tokio::time::timeout_at(deadline, task).await;
        }
        if let Some(rolling) = &rolling {
            // A roll under way is broken off at its next look, and begun anew with the next start.
            until_finished(rolling, deadline).await;
        }
        if let Some(cold) = &self.hall.cold {
            // The tier gets the files, so they say first what was committed last. Failures are told by the end itself.
            let owner = Arc::clone(&self);
            let _ = tokio::task::spawn_blocking(move || owner.save_settings()).await;
            cold.close(&self.hall.options.data).await;
            cold.bucket().close();
        }
        if let Some(rolling) = &rolling {
            // What waited for a silent store has heard that nobody asks it any more.
            until_finished(rolling, Instant::now() + ROLL_END_MAX).await;
        }
        self.close().await
    }

    /// What all rooms of it share.
    pub(crate) fn hall(&self) -> &Hall {
        &self.hall
    }

    /// The log, for who reads it beside the clients.
    #[must_use]
    pub fn store(&self) -> Arc<Store> {
        Arc::clone(&self.hall.store)
    }

    /// The cold tier, if there is one.
    ///
    /// # Errors
    /// It cannot be reached yet.
    pub fn tier(&self) -> Result<Option<Arc<Tier>>, NotOpen> {
        let Some(cold) = self.hall.cold.as_ref() else { return Ok(None) };
        let open = cold.opened().ok_or(NotOpen)?;
        Ok(Some(Arc::clone(&open.tier)))
    }

    /// Starts the thread that rolls, and what waits for the cold tier's store.
    fn start_rolling(&self, tasks: &mut Vec<tokio::task::JoinHandle<()>>) -> Option<std::thread::JoinHandle<()>> {
        let cold = self.hall.cold.as_ref()?;
        let opening = Arc::clone(cold);
        tasks.push(tokio::spawn(async move { opening.open_when_reachable().await }));
        let (keeping, data) = (Arc::clone(cold), self.hall.options.data.clone());
        tasks.push(tokio::spawn(async move { keeping.keep_settings(&data).await }));
        let roller = Roller::new(Arc::clone(cold), Arc::clone(&self.hall), tokio::runtime::Handle::current());
        let thread = std::thread::Builder::new().name("cold-roller".to_owned());
        match thread.spawn(move || roller.run_until_stopped()) {
            Ok(thread) => Some(thread),
            Err(error) => {
                error!(%error, "the thread that rolls was not started; nothing local is deleted");
                None
            }
        }
    }

    fn desk(&self) -> Arc<Desk> {
        Arc::new(Desk { hall: Arc::clone(&self.hall) })
    }

    /// Starts the tasks that work beside the connections; each has a bell that ends it.
    /// Name servers hear at once that it stops; the others end when the last request is answered.
    fn start_tasks(
        self: &Arc<Self>,
        stopped: &watch::Receiver<bool>,
    ) -> (Vec<Arc<Notify>>, Vec<tokio::task::JoinHandle<()>>) {
        let bells: Vec<_> = (0..5).map(|_| Arc::new(Notify::new())).collect();
        let delivering = (Arc::clone(self), Arc::clone(&bells[0]));
        let hall = &self.hall;
        let (saving, writing) = (Arc::clone(hall), Arc::clone(hall));
        let tasks = vec![
            tokio::spawn(registration::run(Arc::clone(hall), stopped.clone())),
            tokio::spawn(async move { delivering.0.schedule.run(delivering.1).await }),
            tokio::spawn(answer_waiting(Arc::clone(hall), Arc::clone(&bells[1]))),
            tokio::spawn(every(SAVE_TICK, Arc::clone(&bells[2]), move || saving.save_tables())),
            tokio::spawn(housekeeping(Arc::clone(hall), Arc::clone(&bells[3]))),
            tokio::spawn(every(trail::TICK, Arc::clone(&bells[4]), move || trail::write(&writing))),
        ];
        (bells, tasks)
    }

    /// Writes the tables, behind the messages that they speak of.
    fn save_settings(&self) {
        if self.hall.store.flush_now().is_ok() {
            self.hall.save_tables();
            let _ = self.schedule.save();
        }
    }

    async fn close(self: Arc<Self>) -> Result<(), ServeError> {
        let closing = tokio::task::spawn_blocking(move || {
            trail::write(&self.hall);
            // What was delivered last is on disk before the progress says so.
            let flushed = self.hall.store.flush_now();
            let tables = &self.hall.tables;
            let saved = [tables.topics.save(), tables.groups.save(), tables.offsets.save(), self.schedule.save()];
            let closed = flushed.map_err(|error| error.to_string());
            let closed = closed.and_then(|()| self.hall.store.close().map_err(|error| error.to_string()));
            let closed = closed.map_err(|reason| ServeError::Close { reason });
            // Said before anything else that failed: it is what an operator must act on.
            if let Some(reason) = self.hall.store.latched() {
                return Err(ServeError::Latched { reason });
            }
            saved.into_iter().collect::<Result<(), _>>()?;
            closed
        });
        closing.await.unwrap_or_else(|error| Err(ServeError::Close { reason: error.to_string() }))
    }

    /// The broker's figures in Prometheus' text form.
    #[must_use]
    pub fn metrics_text(&self) -> String {
        crate::metrics::text(&self.hall, self.ports.get().map_or(&[], Vec::as_slice))
    }

    /// The labels of all its figures.
    #[must_use]
    pub fn metrics_labels(&self) -> [(&'static str, String); 3] {
        crate::metrics::labels(&self.hall)
    }

    /// Whether the cold tier is open; `None` without one.
    #[must_use]
    pub fn is_cold_open(&self) -> Option<bool> {
        self.hall.cold.as_ref().map(|cold| cold.opened().is_some())
    }

    /// Whether the broker takes requests.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }
}

/// Says how the log was found. Damage is an error in the log, for alarms to see.
fn report(recovery: &Recovery) {
    let Recovery { scanned_bytes, records, rebuilt_sidecars, elapsed, .. } = recovery;
    info!(scanned_bytes, records, rebuilt_sidecars, ?elapsed, "log opened");
    if let Some((from, to)) = recovery.cut {
        warn!(from, to, "a torn tail was cut: the last records before a crash were not whole");
    }
    for damage in &recovery.damaged {
        error!(?damage, "the log is damaged here; what is readable around it is served, reads of it are refused");
    }
    if recovery.conflicts > 0 {
        error!(conflicts = recovery.conflicts, "records with queue offsets given out twice are kept and not served");
    }
}

fn store_options(options: &BrokerOptions) -> StoreOptions {
    let settings = &options.store;
    let percent = f64::from(settings.disk_used_percent_max) / 100.0;
    let defaults = Retention::default();
    let retention = Retention {
        keep_ms: settings.retention_hours.saturating_mul(3_600_000),
        log_bytes_max: settings.log_bytes_max,
        delete_ratio: percent,
        force_ratio: defaults.force_ratio.max(percent),
        refuse_ratio: defaults.refuse_ratio.max(percent),
    };
    StoreOptions {
        segment_bytes: settings.segment_bytes,
        flush: settings.flush,
        retention,
        // Not the limit of new messages: a delayed one from before that was lowered must still be delivered.
        record_bytes_max: FRAME_BYTES_MAX,
        store_host: SocketAddr::new(options.identity.ip, options.identity.port),
        awaits_copies: options.cold.is_some(),
        seal_after_ms: options.cold.as_ref().map(|cold| cold.seal_after_s.saturating_mul(1_000)),
        ..StoreOptions::new(&options.data)
    }
}

/// Adds the system topics, and topics that the log holds but the settings lost, as when a message was stored
/// and the broker killed before either was acknowledged.
fn complete_topics(hall: &Hall) {
    for topic in hall::system_topics(&hall.options) {
        add_topic(hall, topic);
    }
    let mut found = std::collections::BTreeMap::new();
    hall.store.for_each_queue(|topic, queue_id, _| {
        let queues = found.entry(topic.to_owned()).or_insert(0);
        *queues = (*queues).max(queue_id + 1);
    });
    for (topic, queues) in found {
        if hall.tables.topics.find(&topic).is_none() {
            warn!(topic, queues, "the log holds a topic that the settings do not know; it is served again");
            add_topic(hall, TopicConfig::new(topic, queues));
        }
    }
    clamp_offsets(hall);
    hall.save_tables();
}

fn add_topic(hall: &Hall, topic: TopicConfig) {
    let name = topic.topic_name.clone();
    if let Err(refusal) = hall.tables.topics.ensure(topic, hall.now_ms()) {
        warn!(topic = name, %refusal, "a topic was not created");
    }
}

/// A power cut may take the log's tail and not the offsets that were committed behind it. A group must not
/// wait there, or it would pass over what is stored next.
fn clamp_offsets(hall: &Hall) {
    for (group, topic, queues) in hall.tables.offsets.all() {
        for (&queue_id, &offset) in &*queues {
            let end = hall.store.queue_range(&topic, queue_id).map_or(0, |range| range.max);
            if offset > end {
                warn!(%group, %topic, queue_id, offset, end, "an offset beyond the end of its queue was set back");
                hall.tables.offsets.commit(&group, &topic, queue_id, end);
            }
        }
    }
}

/// Waits for the end of a thread, not longer than until the deadline.
async fn until_finished(thread: &std::thread::JoinHandle<()>, deadline: Instant) {
    while !thread.is_finished() && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn answer_waiting(hall: Arc<Hall>, stop: Arc<Notify>) {
    loop {
        tokio::select! {
            () = stop.notified() => return,
            ready = hall.waiting.ready() => handle::answer_ready(&hall, ready),
        }
    }
}

/// Does what waits for the disk again and again. A task for each: a disk that stalls holds nothing else up.
async fn every(interval: Duration, stop: Arc<Notify>, work: impl Fn() + Clone + Send + 'static) {
    let mut tick = tokio::time::interval(interval);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.notified() => return,
            _ = tick.tick() => {}
        }
        // A failure is logged or counted inside; a panic there must not end the work.
        let _ = tokio::task::spawn_blocking(work.clone()).await;
    }
}

async fn housekeeping(hall: Arc<Hall>, stop: Arc<Notify>) {
    let mut expiry = tokio::time::interval(EXPIRY_TICK);
    let mut silence = tokio::time::interval(SILENCE_TICK);
    let mut sampling = tokio::time::interval(Duration::from_millis(u64::try_from(SAMPLE_MS).unwrap_or(10_000)));
    loop {
        tokio::select! {
            () = stop.notified() => return,
            _ = expiry.tick() => hall.waiting.expire(hall.elapsed_ms()),
            _ = silence.tick() => {
                for connection in hall.clients.silent(hall.elapsed_ms()) {
                    info!(peer = %connection.peer(), "closing the connection of a client without heartbeats");
                    connection.close();
                }
            }
            _ = sampling.tick() => sample(&hall),
        }
    }
}

fn sample(hall: &Hall) {
    let now = hall.elapsed_ms();
    for topic in hall.tables.topics.list() {
        topic.incoming.sample(now);
    }
    for (_, outgoing) in hall.figures.outgoing() {
        outgoing.traffic.sample(now);
    }
}
