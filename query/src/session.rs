//! What a statement is planned in: the tables of one snapshot, and functions that only compute.
//!
//! Owns what all statements share: their memory, and PostgreSQL's own catalog, in which its clients look for tables and
//! which is made when the first of them comes.

use std::sync::Arc;

use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemoryCatalogProvider, MemoryCatalogProviderList, MemorySchemaProvider,
    SchemaProvider,
};
use datafusion::config::Dialect as SqlDialect;
use datafusion::datasource::empty::EmptyTable;
use datafusion::error::Result;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_postgres::datafusion_pg_catalog::pg_catalog::context::EmptyContextProvider;
use datafusion_postgres::datafusion_pg_catalog::setup_pg_catalog;
use tokio::sync::OnceCell;

use crate::json;
use crate::limits::{BATCH_ROWS, MEMORY_BYTES_MAX, SPILLED_BYTES_MAX, THREADS};
use crate::snapshot::Snapshot;
use crate::tables::{Table, Tables};
use crate::yields::JoinsYield;

/// The name of the catalog, which PostgreSQL's clients know as the database.
pub(crate) const CATALOG: &str = "strata";
const SCHEMA: &str = "public";
const POSTGRES_SCHEMA: &str = "pg_catalog";

/// Whose functions and tables there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// `DataFusion`'s.
    Plain,
    /// Those that PostgreSQL's clients ask for, too.
    Postgres,
}

/// Makes contexts for statements.
pub(crate) struct Sessions {
    plain: SessionState,
    postgres: OnceCell<Postgres>,
}

/// What PostgreSQL's clients have besides.
struct Postgres {
    state: SessionState,
    /// One for all statements: it gives tables the numbers by which clients ask for them later.
    catalog: Arc<dyn SchemaProvider>,
}

impl Sessions {
    pub(crate) fn new() -> Result<Self> {
        let environment = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(FairSpillPool::new(MEMORY_BYTES_MAX)))
            .with_max_temp_directory_size(SPILLED_BYTES_MAX);
        let mut config = SessionConfig::new()
            .with_target_partitions(THREADS)
            .with_batch_size(BATCH_ROWS)
            .with_information_schema(true)
            .with_create_default_catalog_and_schema(false)
            .with_default_catalog_and_schema(CATALOG, SCHEMA);
        // The same through all fronts; in the generic one `->>` binds less than `=`.
        config.options_mut().sql_parser.dialect = SqlDialect::PostgreSQL;
        let plain = SessionContext::new_with_config_rt(config, environment.build_arc()?).state();
        let plain = SessionStateBuilder::new_from_existing(plain);
        let mut plain = plain.with_physical_optimizer_rule(Arc::new(JoinsYield)).build();
        json::register(&mut plain)?;
        Ok(Self { plain, postgres: OnceCell::new() })
    }

    /// Bytes of memory that statements have now.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.plain.runtime_env().memory_pool.reserved()
    }

    /// A context in which a statement sees one snapshot.
    pub(crate) async fn context(&self, dialect: Dialect, snapshot: Snapshot) -> Result<SessionContext> {
        let tables = Arc::new(Tables::new(Arc::new(snapshot), self.plain.clone()));
        let (template, list) = match dialect {
            Dialect::Plain => (&self.plain, catalogs(tables, None)?),
            Dialect::Postgres => {
                let postgres = self.postgres.get_or_try_init(|| self.postgres(&tables)).await?;
                (&postgres.state, catalogs(tables, Some(Arc::clone(&postgres.catalog)))?)
            }
        };
        let state = SessionStateBuilder::new_from_existing(template.clone()).with_catalog_list(list).build();
        Ok(SessionContext::new_with_state(state))
    }

    /// Makes PostgreSQL's catalog, of tables that have the columns of these and no rows.
    async fn postgres(&self, tables: &Tables) -> Result<Postgres> {
        let shells = MemorySchemaProvider::new();
        for table in Table::ALL {
            let schema = tables.provider(table).await?.schema();
            shells.register_table(table.name().to_owned(), Arc::new(EmptyTable::new(schema)))?;
        }
        let list = catalogs(Arc::new(shells), None)?;
        let state = SessionStateBuilder::new_from_existing(self.plain.clone()).with_catalog_list(list).build();
        let context = SessionContext::new_with_state(state);
        setup_pg_catalog(&context, CATALOG, EmptyContextProvider).map_err(|error| *error)?;
        let catalog = context.catalog(CATALOG).and_then(|catalog| catalog.schema(POSTGRES_SCHEMA));
        let catalog = catalog.unwrap_or_else(|| Arc::new(MemorySchemaProvider::new()));
        Ok(Postgres { state: context.state(), catalog })
    }
}

/// A list of one catalog with these tables.
pub(crate) fn catalogs(
    tables: Arc<dyn SchemaProvider>,
    postgres: Option<Arc<dyn SchemaProvider>>,
) -> Result<Arc<dyn CatalogProviderList>> {
    let (list, catalog) = (MemoryCatalogProviderList::new(), MemoryCatalogProvider::new());
    catalog.register_schema(SCHEMA, tables)?;
    if let Some(postgres) = postgres {
        catalog.register_schema(POSTGRES_SCHEMA, postgres)?;
    }
    list.register_catalog(CATALOG.to_owned(), Arc::new(catalog));
    Ok(Arc::new(list))
}
