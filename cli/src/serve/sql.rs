//! SQL over a broker's messages: its ports, and the broker as the query room sees it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use strata_broker::{Broker, NotOpen};
use strata_query::{ArrowError, Engine, Source, State, StateRows, TierNow};
use strata_store::Store;
use tokio::net::TcpListener;

use super::http::listen;
use crate::config::sql::SqlAddresses;
use crate::exit::{Exit, OrFail, Outcome};

/// The ports of SQL, taken.
pub(super) struct Ports {
    http: TcpListener,
    postgres: TcpListener,
}

/// SQL over one broker.
pub(super) struct Sql {
    ports: Ports,
    engine: Arc<Engine>,
}

/// A broker, as SQL reads it.
struct Reading(Arc<Broker>);

impl Source for Reading {
    fn store(&self) -> Arc<Store> {
        self.0.store()
    }

    fn tier(&self) -> TierNow {
        match self.0.tier() {
            Ok(None) => TierNow::None,
            Ok(Some(tier)) => TierNow::Open(tier),
            Err(NotOpen) => TierNow::Closed,
        }
    }

    fn state(&self, table: State, rows: &mut StateRows) -> Result<(), ArrowError> {
        match table {
            State::Topics => rows.take(&self.0.topic_states()),
            State::Queues => rows.take(&self.0.queue_states()),
            State::Groups => rows.take(&self.0.group_states()),
            State::Lag => rows.take(&self.0.lag_states()),
            State::Clients => rows.take(&self.0.client_states()),
            // The query room sees them itself.
            State::Segments => Ok(()),
        }
    }
}

impl Ports {
    /// Takes the ports, if SQL is answered.
    pub(super) async fn take(addresses: Option<SqlAddresses>) -> Outcome<Option<Self>> {
        let Some(SqlAddresses { http, postgres }) = addresses else { return Ok(None) };
        let http = listen(http, "--sql-port").await?;
        Ok(Some(Self { http, postgres: listen(postgres, "--postgres-port").await? }))
    }

    /// What an operator is told of them, line by line.
    pub(super) fn told(&self) -> Vec<(&'static str, String)> {
        let of = |listener: &TcpListener| listener.local_addr().ok();
        let http = of(&self.http).map(|address| ("SQL", format!("http://{address}/api/v1/sql")));
        let psql = |address: SocketAddr| format!("psql -h {} -p {} strata", address.ip(), address.port());
        let postgres = of(&self.postgres).map(|address| ("PostgreSQL", psql(address)));
        http.into_iter().chain(postgres).collect()
    }

    /// Opens SQL over a broker.
    pub(super) fn open(self, broker: &Arc<Broker>) -> Outcome<Sql> {
        let labels: HashMap<String, String> =
            broker.metrics_labels().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let engine = Engine::new(Arc::new(Reading(Arc::clone(broker))), labels).or_fail(Exit::CannotStart)?;
        Ok(Sql { ports: self, engine: Arc::new(engine) })
    }
}

impl Sql {
    /// What statements did, in Prometheus' text form, when it is asked for.
    pub(super) fn figures(&self) -> Arc<dyn Fn() -> String + Send + Sync> {
        let engine = Arc::clone(&self.engine);
        Arc::new(move || engine.metrics_text())
    }

    /// Answers until `until` is over.
    pub(super) async fn serve(self, until: impl Future<Output = ()>) {
        let Self { ports: Ports { http, postgres }, engine } = self;
        let (end, ended) = tokio::sync::watch::channel(());
        let over = |mut ended: tokio::sync::watch::Receiver<()>| async move {
            // It changes never, and goes with the end.
            let _ = ended.changed().await;
        };
        let http = strata_query::http::serve(http, Arc::clone(&engine), over(ended.clone()));
        let postgres = strata_query::postgres::serve(postgres, engine, over(ended));
        let until = async move {
            until.await;
            drop(end);
        };
        tokio::join!(http, postgres, until);
    }
}
