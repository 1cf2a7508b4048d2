//! The HTTP pages of a server: figures, health, and the addresses of name servers.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use strata_broker::Broker;
use strata_namesrv::Namesrv;
use tokio::net::TcpListener;

use super::stop::Bell;
use crate::exit::{Exit, Failure, Outcome};

/// What the pages tell about.
#[derive(Clone)]
pub(crate) struct Pages {
    pub(crate) broker: Option<Arc<Broker>>,
    pub(crate) namesrv: Option<Arc<Namesrv>>,
    /// What a broker alone hands out: the name servers it registers with.
    pub(crate) name_servers: String,
}

impl Pages {
    fn is_ready(&self) -> bool {
        self.broker.as_ref().is_none_or(|broker| broker.is_ready())
    }

    fn nsaddr(&self) -> String {
        self.namesrv.as_ref().map_or_else(|| self.name_servers.clone(), |namesrv| namesrv.http_nsaddr())
    }

    fn figures(&self) -> Option<String> {
        self.broker.as_ref().map(|broker| broker.metrics_text())
    }

    fn router(self) -> Router {
        let (ready, figures, nsaddr) = (self.clone(), self.clone(), self);
        Router::new()
            .route("/healthz", get(async || "ok\n"))
            .route(
                "/readyz",
                get(async move || {
                    if ready.is_ready() {
                        (StatusCode::OK, "ok\n")
                    } else {
                        (StatusCode::SERVICE_UNAVAILABLE, "starting or stopping\n")
                    }
                }),
            )
            .route("/rocketmq/nsaddr", get(async move || nsaddr.nsaddr()))
            .route(
                "/metrics",
                get(async move || match figures.figures() {
                    Some(text) => {
                        ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
                    }
                    None => (StatusCode::NOT_FOUND, "a name server has no figures yet\n").into_response(),
                }),
            )
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

/// Serves the pages until the bell rings.
pub(crate) async fn serve(listener: TcpListener, pages: Pages, bell: &Bell) {
    let served = axum::serve(listener, pages.router()).with_graceful_shutdown(bell.rung()).await;
    if let Err(error) = served {
        tracing::error!("the HTTP pages ended: {error}");
    }
}
