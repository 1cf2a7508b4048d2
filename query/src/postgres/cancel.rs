//! Stopping a session's statement from another connection, as psql's Ctrl-C does.
//!
//! Owns which statement runs in which session. A statement may be stopped while its rows come, too.

use std::sync::{Arc, Weak};

use async_trait::async_trait;
use datafusion_postgres::pgwire::api::ClientInfo;
use datafusion_postgres::pgwire::api::cancel::CancelHandler;
use datafusion_postgres::pgwire::error::{PgWireError, PgWireResult};
use datafusion_postgres::pgwire::messages::cancel::CancelRequest;
use datafusion_postgres::pgwire::messages::startup::SecretKey;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// The statements that run.
#[derive(Debug, Default)]
pub(super) struct Statements {
    running: Mutex<Vec<Entry>>,
}

#[derive(Debug)]
struct Entry {
    session: Session,
    stop: Weak<Notify>,
}

/// A session's number and the secret that only its client knows.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Session(i32, Vec<u8>);

impl Session {
    fn of(pid: i32, secret: &SecretKey) -> Self {
        match secret {
            SecretKey::I32(number) => Self(pid, number.to_be_bytes().to_vec()),
            SecretKey::Bytes(bytes) => Self(pid, bytes.to_vec()),
        }
    }
}

/// Tells when a statement is to stop.
#[derive(Debug, Clone)]
pub(super) struct Stop(Arc<Notify>);

impl Statements {
    /// A statement of a client begins; it is known until the returned value is gone.
    pub(super) fn begin(&self, client: &(impl ClientInfo + ?Sized)) -> Stop {
        let (pid, secret) = client.pid_and_secret_key();
        let stop = Arc::new(Notify::new());
        let mut running = self.running.lock();
        running.retain(|entry| entry.stop.strong_count() > 0);
        running.push(Entry { session: Session::of(pid, &secret), stop: Arc::downgrade(&stop) });
        Stop(stop)
    }

    fn stop(&self, session: &Session) {
        for entry in self.running.lock().iter().filter(|entry| entry.session == *session) {
            if let Some(stop) = entry.stop.upgrade() {
                // Also if nobody waits at this moment.
                stop.notify_one();
            }
        }
    }
}

impl Stop {
    /// What comes of work, unless it is stopped before.
    pub(super) async fn or<T>(&self, work: impl Future<Output = T>) -> PgWireResult<T> {
        tokio::select! {
            done = work => Ok(done),
            () = self.0.notified() => {
                // Whatever else belongs to the statement stops, too.
                self.0.notify_one();
                Err(PgWireError::QueryCanceled)
            }
        }
    }
}

#[async_trait]
impl CancelHandler for Statements {
    async fn on_cancel_request(&self, request: CancelRequest) {
        self.stop(&Session::of(request.pid, &request.secret_key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_who_knows_the_secret_stops_a_statement() {
        let statements = Statements::default();
        let stop = Stop(Arc::new(Notify::new()));
        let session = Session::of(7, &SecretKey::I32(42));
        statements.running.lock().push(Entry { session: session.clone(), stop: Arc::downgrade(&stop.0) });
        statements.stop(&Session::of(7, &SecretKey::I32(43)));
        statements.stop(&Session::of(8, &SecretKey::I32(42)));
        assert_eq!(stop.or(async { 1 }).await.ok(), Some(1));
        statements.stop(&Session::of(7, &SecretKey::Bytes(42_i32.to_be_bytes().to_vec().into())));
        let stopped = stop.or(std::future::pending::<()>()).await;
        assert!(matches!(stopped, Err(PgWireError::QueryCanceled)));
        assert!(stop.or(std::future::pending::<()>()).await.is_err(), "and stays so");
    }
}
