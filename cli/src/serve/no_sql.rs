//! SQL in a binary that was built without it: nothing is answered, and operators are told.

use std::sync::Arc;

use strata_broker::Broker;

use crate::config::sql::SqlAddresses;
use crate::exit::Outcome;

/// No ports.
pub(super) struct Ports;

/// No SQL.
pub(super) struct Sql;

impl Ports {
    /// Takes no port.
    #[expect(clippy::unused_async, reason = "as the one that takes ports")]
    pub(super) async fn take(addresses: Option<SqlAddresses>) -> Outcome<Option<Self>> {
        Ok(addresses.map(|_| Self))
    }

    /// What an operator is told.
    pub(super) fn told(&self) -> Vec<(&'static str, String)> {
        vec![("SQL", String::from("none: this binary was built without it"))]
    }

    /// Opens nothing.
    #[expect(clippy::unnecessary_wraps, reason = "as the one that opens SQL")]
    pub(super) fn open(self, _: &Arc<Broker>) -> Outcome<Sql> {
        Ok(Sql)
    }
}

impl Sql {
    /// No figures.
    pub(super) fn figures(&self) -> Arc<dyn Fn() -> String + Send + Sync> {
        Arc::new(String::new)
    }

    /// Waits for the end.
    pub(super) async fn serve(self, until: impl Future<Output = ()>) {
        until.await;
    }
}
