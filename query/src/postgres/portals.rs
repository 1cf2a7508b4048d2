//! Portals: rows that a client takes in parts.
//!
//! Owns how long rows wait for a client that took some of them. Their statement keeps its turn meanwhile, so it is dropped
//! when the client does not come back in time; the portal then tells so.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use datafusion_postgres::pgwire::api::ClientInfo;
use datafusion_postgres::pgwire::api::results::{QueryResponse, SendableRowStream};
use datafusion_postgres::pgwire::error::{PgWireError, PgWireResult};
use datafusion_postgres::pgwire::messages::data::DataRow;
use futures_util::Stream;
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::told::refused;
use crate::limits::SUSPENDED_SECONDS_MAX;

/// The portals of a session that have rows to give, by their names.
#[derive(Default)]
pub(super) struct Portals(Mutex<HashMap<String, Weak<Held>>>);

/// Rows of one portal.
struct Held {
    /// Gone when they waited too long.
    rows: Mutex<Option<SendableRowStream>>,
    /// Waits while the portal is suspended. It ends with the portal.
    watch: Mutex<JoinSet<()>>,
}

struct Rows(Arc<Held>);

impl Portals {
    /// Those of a client's session.
    pub(super) fn of(client: &(impl ClientInfo + ?Sized)) -> Arc<Self> {
        client.session_extensions().get_or_insert_with(Self::default)
    }

    /// The same rows, which are given up when the portal is suspended for too long.
    pub(super) fn hold(&self, name: &str, response: QueryResponse) -> QueryResponse {
        let QueryResponse { command_tag, row_schema, data_rows, .. } = response;
        let held = Arc::new(Held { rows: Mutex::new(Some(data_rows)), watch: Mutex::default() });
        let mut portals = self.0.lock();
        // A portal may be closed in many ways; its name is known until another one begins.
        portals.retain(|_, held| held.strong_count() > 0);
        portals.insert(name.to_owned(), Arc::downgrade(&held));
        let mut response = QueryResponse::new(row_schema, Rows(held));
        response.set_command_tag(&command_tag);
        response
    }

    /// Nobody takes a portal's rows from now on.
    pub(super) fn suspend(&self, name: &str) {
        let Some(held) = self.held(name) else { return };
        let rows = Arc::downgrade(&held);
        held.watch.lock().spawn(async move {
            sleep(Duration::from_secs(SUSPENDED_SECONDS_MAX)).await;
            let Some(held) = rows.upgrade() else { return };
            let given_up = held.rows.lock().take();
            drop(given_up);
        });
    }

    /// A portal's rows are taken again.
    pub(super) fn resume(&self, name: &str) {
        if let Some(held) = self.held(name) {
            // Dropping the old one ends its watch.
            *held.watch.lock() = JoinSet::new();
        }
    }

    fn held(&self, name: &str) -> Option<Arc<Held>> {
        self.0.lock().get(name).and_then(Weak::upgrade)
    }
}

impl Stream for Rows {
    type Item = PgWireResult<DataRow>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.0.rows.lock().as_mut() {
            Some(rows) => rows.as_mut().poll_next(context),
            None => Poll::Ready(Some(Err(too_late()))),
        }
    }
}

fn too_late() -> PgWireError {
    let text = format!(
        "the statement was stopped: nobody asked for its next rows for {SUSPENDED_SECONDS_MAX} s; run it again, with more \
         rows at once"
    );
    refused("57014", text)
}

#[cfg(test)]
mod tests {
    use datafusion_postgres::pgwire::messages::data::DataRow;
    use futures_util::{StreamExt, stream};

    use super::*;

    fn rows(count: usize) -> QueryResponse {
        let rows = stream::repeat_with(|| Ok(DataRow::default())).take(count);
        QueryResponse::new(Arc::default(), rows)
    }

    /// Longer than rows wait.
    const LONG: Duration = Duration::from_secs(2 * SUSPENDED_SECONDS_MAX);

    async fn next(response: &mut QueryResponse) -> Result<(), String> {
        match response.data_rows().next().await {
            Some(Ok(_)) => Ok(()),
            Some(Err(PgWireError::UserError(told))) => Err(told.code),
            Some(Err(error)) => Err(error.to_string()),
            None => Err("over".to_owned()),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_portal_that_is_gone_on_with_keeps_its_rows() {
        let portals = Portals::default();
        let mut response = portals.hold("a", rows(2));
        assert_eq!(next(&mut response).await, Ok(()));
        portals.suspend("a");
        portals.resume("a");
        // The rows take their time.
        sleep(LONG).await;
        assert_eq!(next(&mut response).await, Ok(()));
        assert_eq!(next(&mut response).await, Err("over".to_owned()));
        drop(response);
        portals.suspend("a");
        let _other = portals.hold("b", rows(1));
        assert_eq!(portals.0.lock().len(), 1, "the one that is closed is forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn rows_that_nobody_takes_are_given_up_and_that_is_told() {
        let portals = Portals::default();
        let mut response = portals.hold("a", rows(2));
        assert_eq!(next(&mut response).await, Ok(()));
        portals.suspend("a");
        sleep(LONG).await;
        assert_eq!(next(&mut response).await, Err("57014".to_owned()));
    }
}
