//! The tables that statements name.
//!
//! Owns their names, and that those which are written in SQL themselves are planned only where a statement names them.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::common::utils::datafusion_strsim::levenshtein;
use datafusion::datasource::ViewTable;
use datafusion::error::Result;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};

use crate::messages::Messages;
use crate::session::catalogs;
use crate::snapshot::Snapshot;
use crate::state::{State, StateTable};
use crate::traces::Traces;

/// A table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    Messages,
    Traces,
    View(View),
    State(State),
}

/// A table that is a statement over others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    Spans,
    Dlq,
}

impl View {
    const fn statement(self) -> &'static str {
        match self {
            Self::Spans => include_str!("spans.sql"),
            Self::Dlq => include_str!("dlq.sql"),
        }
    }
}

impl Table {
    /// All of them, in the order in which they are told.
    pub(crate) const ALL: [Self; 10] = [
        Self::Messages,
        Self::Traces,
        Self::View(View::Spans),
        Self::View(View::Dlq),
        Self::State(State::Topics),
        Self::State(State::Queues),
        Self::State(State::Groups),
        Self::State(State::Lag),
        Self::State(State::Clients),
        Self::State(State::Segments),
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::Traces => "traces",
            Self::View(View::Spans) => "spans",
            Self::View(View::Dlq) => "dlq",
            Self::State(state) => state.name(),
        }
    }

    fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.name() == name)
    }
}

/// The name of a table that is like another name.
pub(crate) fn nearest(name: &str) -> Option<&'static str> {
    let apart = |table: &Table| levenshtein(table.name(), &name.to_lowercase());
    let nearest = Table::ALL.into_iter().min_by_key(apart)?;
    (apart(&nearest) <= nearest.name().len() / 2).then(|| nearest.name())
}

/// The tables of one snapshot.
#[derive(Clone)]
pub(crate) struct Tables {
    snapshot: Arc<Snapshot>,
    /// What views are planned in.
    template: SessionState,
}

impl std::fmt::Debug for Tables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tables").field("snapshot", &self.snapshot).finish_non_exhaustive()
    }
}

impl Tables {
    pub(crate) const fn new(snapshot: Arc<Snapshot>, template: SessionState) -> Self {
        Self { snapshot, template }
    }

    /// A table as this snapshot has it.
    pub(crate) async fn provider(&self, table: Table) -> Result<Arc<dyn TableProvider>> {
        Ok(match table {
            Table::Messages => Arc::new(Messages::new(Arc::clone(&self.snapshot))),
            Table::Traces => Arc::new(Traces::new(Arc::clone(&self.snapshot))),
            Table::View(view) => self.view(view).await?,
            Table::State(state) => Arc::new(StateTable::new(state, Arc::clone(&self.snapshot))),
        })
    }

    async fn view(&self, view: View) -> Result<Arc<dyn TableProvider>> {
        let list = catalogs(Arc::new(self.clone()), None)?;
        let state = SessionStateBuilder::new_from_existing(self.template.clone()).with_catalog_list(list).build();
        let plan = Box::pin(state.create_logical_plan(view.statement())).await?;
        Ok(Arc::new(ViewTable::new(plan, Some(view.statement().to_owned()))))
    }
}

#[async_trait]
impl SchemaProvider for Tables {
    fn table_names(&self) -> Vec<String> {
        Table::ALL.iter().map(|table| table.name().to_owned()).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        match Table::find(name) {
            Some(table) => self.provider(table).await.map(Some),
            None => Ok(None),
        }
    }

    fn table_exist(&self, name: &str) -> bool {
        Table::find(name).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_like_those_of_tables_are_found() {
        assert_eq!(nearest("mesages"), Some("messages"));
        assert_eq!(nearest("Topic"), Some("topics"));
        assert_eq!(nearest("something_else"), None);
    }
}
