//! The address book: which brokers serve which topics.
//!
//! Owns what brokers registered, the routes made of it, and the operators' key-value configuration, the one
//! thing here that outlives a restart. Several name servers know nothing of each other: brokers register
//! with all of them. It does not speak to brokers by itself and keeps no messages.
//!
//! Reading order: `handle` (each request), `book` (brokers and topics), `route` (the bytes of a route),
//! `kv` and `settings` (what is durable).
#![forbid(unsafe_code)]

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use strata_protocol::code::ResponseCode;
use strata_protocol::command::Command;
use strata_protocol::reply::Reply;
use strata_remoting::{Answer, Connection, Handler, Pace, Responder, Server};
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};

mod book;
mod durable;
mod handle;
mod kv;
pub mod limits;
mod route;
mod settings;

pub use durable::{ConfigFile, FileError};
pub use settings::{Settings, SettingsError};

use book::Book;
use handle::Desk;
use kv::Kv;
use settings::LiveSettings;

/// How each configuration file in a name server's folder is. Nothing is written.
///
/// # Errors
/// A file exists and cannot be read.
pub fn check_config(folder: &Path) -> Result<Vec<ConfigFile>, FileError> {
    Ok(vec![kv::look(folder)?, settings::look(folder)?])
}

/// Writes each file again that cannot be used while its previous generation can. No name server may run on
/// the folder.
///
/// # Errors
/// The system refuses; files before it stay restored.
pub fn restore_config(folder: &Path) -> Result<(), FileError> {
    let restores = [kv::restore, settings::restore];
    for (file, restore) in check_config(folder)?.iter().zip(restores) {
        if file.is_restorable() {
            restore(folder)?;
        }
    }
    Ok(())
}

/// How a name server is to be.
#[derive(Debug, Clone, Default)]
pub struct NamesrvOptions {
    /// Folder of the key-value configuration and of changed settings; without one they live in memory alone.
    pub data: Option<PathBuf>,
    /// The switches that hold until an operator changes them.
    pub settings: Settings,
    /// `host:port` of every name server, as [`Namesrv::http_nsaddr`] hands them out.
    pub addresses: Vec<String>,
}

/// Why a name server cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    /// A file of its data folder cannot be read, or the folder cannot be made.
    #[error(
        "the name server's data cannot be opened: {0}; check the folder's owner and permissions, or move the file away"
    )]
    Data(#[from] FileError),
}

/// A change that waits for the disk, and where its answer goes.
struct Change {
    request: Command,
    connection: u64,
    responder: Responder,
}

/// A name server. Connections of clients, brokers and tools are all served alike.
pub struct Namesrv {
    desk: Arc<Desk>,
    addresses: Vec<String>,
    changes: mpsc::Sender<Change>,
    /// Taken by [`Namesrv::serve`], which runs once.
    queued: parking_lot::Mutex<Option<mpsc::Receiver<Change>>>,
}

impl Namesrv {
    /// Reads the data folder; nothing is served yet.
    ///
    /// # Errors
    /// When the folder or a file in it cannot be used.
    pub fn open(options: NamesrvOptions) -> Result<Arc<Self>, StartError> {
        let folder = options.data.as_deref();
        let desk = Desk {
            book: parking_lot::Mutex::new(Book::default()),
            kv: Kv::open(folder)?,
            settings: LiveSettings::open(folder, options.settings)?,
            lines: Pace::new(limits::LINES_PER_SECOND_MAX),
            folder: options.data.clone(),
            port: OnceLock::new(),
        };
        let (changes, queued) = mpsc::channel(limits::DURABLE_CHANGES_QUEUED_MAX);
        let queued = parking_lot::Mutex::new(Some(queued));
        Ok(Arc::new(Self { desk: Arc::new(desk), addresses: options.addresses, changes, queued }))
    }

    /// Answers requests until `shutdown`, and forgets brokers that fall silent.
    pub async fn serve(self: Arc<Self>, server: Server, shutdown: impl Future<Output = ()> + Send + 'static) {
        let _ = self.desk.port.set(server.local_addr().port());
        let (stop, stopped) = watch::channel(());
        let scan = tokio::spawn(scan(Arc::clone(&self.desk), stopped.clone()));
        let queued = self.queued.lock().take();
        let writer = tokio::spawn(write_changes(Arc::clone(&self.desk), queued, stopped));
        server.run(self, shutdown).await;
        // Changes that were accepted are on disk when the writer has ended. A task that failed has told so.
        drop(stop);
        let _ = tokio::join!(scan, writer);
    }

    /// What the HTTP endpoint `/rocketmq/nsaddr` answers: all name servers' addresses, `;` between.
    #[must_use]
    pub fn http_nsaddr(&self) -> String {
        self.addresses.join(";")
    }
}

async fn scan(desk: Arc<Desk>, mut stopped: watch::Receiver<()>) {
    let mut ticks = interval(limits::SCAN_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stopped.changed() => return,
        }
        let gone = desk.book.lock().expire(Instant::now());
        for broker in gone {
            tracing::warn!(broker, "the broker was silent for too long and is forgotten");
        }
    }
}

/// One change after the other, so that two changes of one value end in the order they came.
async fn write_changes(desk: Arc<Desk>, queued: Option<mpsc::Receiver<Change>>, mut stopped: watch::Receiver<()>) {
    let Some(mut queued) = queued else { return };
    loop {
        let next = tokio::select! {
            biased;
            change = queued.recv() => change,
            _ = stopped.changed() => return,
        };
        let Some(Change { request, connection, responder }) = next else { return };
        let desk = Arc::clone(&desk);
        let answered = tokio::task::spawn_blocking(move || desk.answer(&request, connection, Instant::now())).await;
        responder.send(answered.unwrap_or_else(|error| Reply::refusal(ResponseCode::SystemError, error.to_string())));
    }
}

impl Handler for Namesrv {
    fn handle(&self, request: Command, connection: &Arc<Connection>) -> Answer {
        if !handle::is_durable(&request) {
            return Answer::Now(self.desk.answer(&request, connection.id(), Instant::now()));
        }
        let responder = connection.responder(&request);
        match self.changes.try_send(Change { request, connection: connection.id(), responder }) {
            Ok(()) => Answer::Later,
            Err(_) => Answer::Now(Reply::refusal(
                ResponseCode::SystemBusy,
                "[OVERLOAD]system busy, start flow control for a while",
            )),
        }
    }

    fn closed(&self, connection: &Arc<Connection>) {
        let gone = self.desk.book.lock().disconnected(connection.id());
        if gone > 0
            && let Some(withheld) = self.desk.lines.admit()
        {
            tracing::warn!(withheld, peer = %connection.peer(), brokers = gone, "a broker's connection closed; it is forgotten until it registers again");
        }
    }
}

impl std::fmt::Debug for Namesrv {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Namesrv").field("desk", &self.desk).field("addresses", &self.addresses).finish_non_exhaustive()
    }
}
