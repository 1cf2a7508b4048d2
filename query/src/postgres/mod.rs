//! The wire of PostgreSQL, so that psql, Grafana and BI tools connect as they are.
//!
//! Owns what a session may do: ask. Settings and transactions of clients are taken and change nothing. The messages are
//! pgwire's, the tables that clients look for tables in are datafusion-postgres'; statements are the engine's, as those of
//! all fronts.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::engine::Engine;
use crate::limits::CONNECTIONS_MAX;

mod cancel;
mod gate;
mod own;
mod portals;
mod rows;
mod session;
mod told;

/// Between two tries to accept a connection when the system has none to give.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves sessions until `until` is over.
pub async fn serve(listener: TcpListener, engine: Arc<Engine>, until: impl Future<Output = ()>) {
    let front = Arc::new(session::Front::new(engine));
    let (mut connections, mut until) = (JoinSet::new(), pin!(until));
    loop {
        tokio::select! {
            () = &mut until => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((socket, _)) => {
                    let front = Arc::clone(&front);
                    let session = async move {
                        if let Err(error) = gate::serve(socket, front).await {
                            tracing::debug!(%error, "a PostgreSQL client's connection went wrong");
                        }
                    };
                    connections.spawn(session);
                }
                Err(error) => {
                    tracing::warn!(%error, "a PostgreSQL client could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}
