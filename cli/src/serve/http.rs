//! The HTTP pages of a server: figures, health, and the addresses of name servers.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use strata_broker::Broker;
use strata_namesrv::Namesrv;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::exit::{Exit, Failure, Outcome};
use crate::limits::{PAGE_CONNECTIONS_MAX, PAGE_MAX, PAGES_ACCEPT_PAUSE, PAGES_DRAIN_MAX};

/// The pages, which are there before what they tell about: opening a log, or a store that does not answer, may take long.
#[derive(Clone)]
pub(crate) struct Pages {
    told: Arc<OnceLock<Told>>,
    /// Whose turn it is to gather the figures.
    turn: Arc<Semaphore>,
}

/// What the pages tell about.
pub(crate) struct Told {
    pub(crate) broker: Option<Arc<Broker>>,
    pub(crate) namesrv: Option<Arc<Namesrv>>,
    /// What a broker alone hands out: the name servers it registers with.
    pub(crate) name_servers: String,
    /// What SQL statements did.
    pub(crate) sql_figures: Option<SqlFigures>,
}

const STARTING: (StatusCode, &str) = (StatusCode::SERVICE_UNAVAILABLE, "starting or stopping\n");

/// What gives the figures of SQL statements.
pub(crate) type SqlFigures = Arc<dyn Fn() -> String + Send + Sync>;

impl Pages {
    /// Pages of what is starting.
    pub(crate) fn starting() -> Self {
        Self { told: Arc::default(), turn: Arc::new(Semaphore::new(1)) }
    }

    /// What started is told from now on.
    pub(crate) fn tell(&self, told: Told) {
        let _ = self.told.set(told);
    }

    fn readiness(&self) -> (StatusCode, &'static str) {
        let is_ready = |told: &Told| told.broker.as_ref().is_none_or(|broker| broker.is_ready());
        if self.told.get().is_some_and(is_ready) { (StatusCode::OK, "ok\n") } else { STARTING }
    }

    fn nsaddr(&self) -> Response {
        let Some(told) = self.told.get() else { return STARTING.into_response() };
        let told = told.namesrv.as_ref().map_or_else(|| told.name_servers.clone(), |namesrv| namesrv.http_nsaddr());
        told.into_response()
    }

    /// A page takes a core for tens of milliseconds where there are many groups: it is made where it holds no
    /// connection up, and one at a time, so that no number of scrapes takes more than one core.
    async fn figures(&self) -> Response {
        let Some(told) = self.told.get() else { return STARTING.into_response() };
        let Some(broker) = told.broker.clone() else {
            return (StatusCode::NOT_FOUND, "a name server has no figures yet\n").into_response();
        };
        let Ok(turn) = Arc::clone(&self.turn).acquire_owned().await else {
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        };
        let sql_figures = told.sql_figures.clone();
        let gather = move || {
            // Until the text is made: whoever asked may have gone, and the work goes on.
            let _turn = turn;
            let mut text = broker.metrics_text();
            if let Some(figures) = sql_figures {
                text.push_str(&figures());
            }
            text
        };
        match tokio::task::spawn_blocking(gather).await {
            Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response(),
            Err(error) => {
                tracing::error!(%error, "the figures were not gathered");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        }
    }

    fn router(self) -> Router {
        let (ready, figures, nsaddr) = (self.clone(), self.clone(), self);
        Router::new()
            .route("/healthz", get(async || "ok\n"))
            .route("/readyz", get(async move || ready.readiness()))
            .route("/rocketmq/nsaddr", get(async move || nsaddr.nsaddr()))
            .route("/metrics", get(async move || figures.figures().await))
    }
}

/// Takes a port for pages. `flag` is what chooses another one.
pub(crate) async fn listen(address: SocketAddr, flag: &str) -> Outcome<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let advice = format!("choose another port with {flag} (0 takes a free one)");
        let message = if error.kind() == std::io::ErrorKind::AddrInUse {
            format!("cannot listen on {address}: the port is in use; stop the program that has it, or {advice}")
        } else {
            format!("cannot listen on {address}: {error}; {advice}")
        };
        Failure::new(Exit::CannotStart, message)
    })
}

/// Serves the pages until the bell rings. Answers under way may leave for a moment; nobody can hold the end up.
pub(crate) async fn serve(listener: TcpListener, pages: Pages, rung: impl Future<Output = ()>) {
    let (router, mut connections) = (pages.router(), JoinSet::new());
    let mut rung = pin!(rung);
    loop {
        tokio::select! {
            () = &mut rung => break,
            Some(_) = connections.join_next() => {}
            // With all places taken, those that come wait in the kernel's queue until one ends.
            accepted = listener.accept(), if connections.len() < PAGE_CONNECTIONS_MAX => match accepted {
                Ok((socket, _)) => {
                    connections.spawn(attend(socket, router.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection to the HTTP pages could not be accepted");
                    sleep(PAGES_ACCEPT_PAUSE).await;
                }
            }
        }
    }
    drop(listener);
    let answered = async { while connections.join_next().await.is_some() {} };
    if timeout(PAGES_DRAIN_MAX, answered).await.is_err() {
        tracing::debug!("connections to the HTTP pages were cut");
    }
}

/// One request and its answer. One bound on all of it holds for the slow and the silent alike.
async fn attend(socket: TcpStream, router: Router) {
    let service = TowerToHyperService::new(router);
    let exchange = http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(socket), service);
    match timeout(PAGE_MAX, exchange).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!("a request of an HTTP page went wrong: {error}"),
        Err(_) => tracing::debug!("a connection to the HTTP pages took too long"),
    }
}
