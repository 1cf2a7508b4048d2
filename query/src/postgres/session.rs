//! A PostgreSQL client's session: statements alone, and prepared with parameters.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::ParamValues;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::ast;
use datafusion_postgres::QueryHook;
use datafusion_postgres::arrow_pg::datatypes::df::deserialize_parameters;
use datafusion_postgres::arrow_pg::datatypes::into_pg_type;
use datafusion_postgres::datafusion_pg_catalog::sql::PostgresCompatibilityParser;
use datafusion_postgres::hooks::HookClient;
use datafusion_postgres::hooks::set_show::SetShowHook;
use datafusion_postgres::hooks::transactions::TransactionStatementHook;
use datafusion_postgres::pgwire::api::auth::StartupHandler;
use datafusion_postgres::pgwire::api::auth::noop::NoopStartupHandler;
use datafusion_postgres::pgwire::api::cancel::CancelHandler;
use datafusion_postgres::pgwire::api::portal::{Format, Portal};
use datafusion_postgres::pgwire::api::query::{ExtendedQueryHandler, SimpleQueryHandler};
use datafusion_postgres::pgwire::api::results::{FieldInfo, Response};
use datafusion_postgres::pgwire::api::stmt::QueryParser;
use datafusion_postgres::pgwire::api::store::PortalStore;
use datafusion_postgres::pgwire::api::{
    ClientInfo, ClientPortalStore, ConnectionManager, ErrorHandler, PgWireServerHandlers, Type,
};
use datafusion_postgres::pgwire::error::{PgWireError, PgWireResult};
use datafusion_postgres::pgwire::messages::PgWireBackendMessage;
use datafusion_postgres::pgwire::types::format::FormatOptions;
use futures_util::Sink;

use super::cancel::Statements;
use super::rows::{fields, gathered, response};
use super::told::told;
use crate::depth;
use crate::engine::{Engine, Statement};
use crate::error::QueryError;
use crate::figures;
use crate::limits::STATEMENT_BYTES_MAX;

/// How settings of the engine begin; those of `PostgreSQL` have no such begin.
const ENGINE_SETTINGS: &str = "datafusion";

/// What all sessions share.
pub(super) struct Front {
    sessions: Arc<Sessions>,
    startup: Arc<Startup>,
}

impl Front {
    pub(super) fn new(engine: Arc<Engine>) -> Self {
        let manager = Arc::new(ConnectionManager::new());
        let settings: Vec<Box<dyn QueryHook>> = vec![Box::new(SetShowHook), Box::new(TransactionStatementHook)];
        let sessions = Sessions { parser: Arc::new(Parser { engine }), settings, statements: Arc::default() };
        Self { sessions: Arc::new(sessions), startup: Arc::new(Startup(manager)) }
    }
}

impl PgWireServerHandlers for Front {
    fn simple_query_handler(&self) -> Arc<impl SimpleQueryHandler> {
        Arc::clone(&self.sessions)
    }

    fn extended_query_handler(&self) -> Arc<impl ExtendedQueryHandler> {
        Arc::clone(&self.sessions)
    }

    fn startup_handler(&self) -> Arc<impl StartupHandler> {
        Arc::clone(&self.startup)
    }

    fn cancel_handler(&self) -> Arc<impl CancelHandler> {
        Arc::clone(&self.sessions.statements)
    }

    fn error_handler(&self) -> Arc<impl ErrorHandler> {
        Arc::new(Errors)
    }
}

/// Everyone on this machine may ask; there are no users.
struct Startup(Arc<ConnectionManager>);

impl NoopStartupHandler for Startup {
    fn connection_manager(&self) -> Option<Arc<ConnectionManager>> {
        Some(Arc::clone(&self.0))
    }
}

struct Errors;

impl ErrorHandler for Errors {
    fn on_error<C: ClientInfo>(&self, _: &C, error: &mut PgWireError) {
        tracing::debug!(%error, "a PostgreSQL client was told of an error");
    }
}

/// Answers statements.
struct Sessions {
    parser: Arc<Parser>,
    /// Answer settings and transactions.
    settings: Vec<Box<dyn QueryHook>>,
    statements: Arc<Statements>,
}

/// A prepared statement.
#[derive(Debug, Clone)]
pub(super) struct Prepared {
    text: String,
    parsed: ast::Statement,
    /// What it has for columns and parameters. It is planned again, over a snapshot of its own, each time that it runs.
    plan: Option<Box<LogicalPlan>>,
}

impl Prepared {
    /// Its parameters' types, in their order; `None` where nothing tells.
    fn parameters(&self) -> PgWireResult<Vec<Option<DataType>>> {
        let Some(plan) = &self.plan else { return Ok(Vec::new()) };
        let types: HashMap<String, Option<DataType>> =
            plan.get_parameter_types().map_err(|error| told(&error.into(), &self.text))?;
        let mut types: Vec<(u32, Option<DataType>)> = types
            .into_iter()
            .map(|(name, kind)| (name.trim_start_matches('$').parse().unwrap_or(u32::MAX), kind))
            .collect();
        types.sort_by_key(|(place, _)| *place);
        Ok(types.into_iter().map(|(_, kind)| kind).collect())
    }
}

impl Sessions {
    /// The answer to a setting or a transaction's begin or end, which change nothing.
    async fn setting(&self, statement: &ast::Statement, client: &mut dyn HookClient) -> PgWireResult<Option<Response>> {
        if !is_setting(statement) {
            return Ok(None);
        }
        // Settings of the engine among them name folders.
        let text = statement.to_string();
        if text.to_lowercase().contains(ENGINE_SETTINGS) {
            let what = "settings of the engine are not a client's".to_owned();
            return Err(told(&QueryError::ReadOnly { what }, &text));
        }
        let context = self.parser.engine.settings().await.map_err(|error| told(&error, ""))?;
        for setting in &self.settings {
            if let Some(answer) = setting.handle_simple_query(statement, &context, client).await {
                return answer.map(Some);
            }
        }
        Ok(None)
    }
}

/// Whether a statement is one of a session's own, which asks for no messages.
fn is_setting(statement: &ast::Statement) -> bool {
    matches!(
        statement,
        ast::Statement::Set(_)
            | ast::Statement::ShowVariable { .. }
            | ast::Statement::ShowStatus { .. }
            | ast::Statement::ShowCatalogs { .. }
            | ast::Statement::StartTransaction { .. }
            | ast::Statement::Commit { .. }
            | ast::Statement::Rollback { .. }
    )
}

#[async_trait]
impl SimpleQueryHandler for Sessions {
    async fn do_query<C>(&self, client: &mut C, query: &str) -> PgWireResult<Vec<Response>>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: std::fmt::Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let statements = parse(query).map_err(|error| told(&error, query))?;
        let (mut answers, are_many) = (Vec::new(), statements.len() > 1);
        for statement in statements {
            if let Some(answer) = self.setting(&statement, client).await? {
                answers.push(answer);
                continue;
            }
            let statement = Statement::Postgres(Box::new(statement), None);
            let stop = self.statements.begin(client);
            let answer = stop.or(self.parser.engine.run(figures::Front::Postgres, statement)).await?;
            let answer = answer.map_err(|error| told(&error, query))?;
            let options = Arc::new(FormatOptions::from_client_metadata(client.metadata()));
            let form = (&Format::UnifiedText, Some(options));
            let rows = response(&self.parser.engine, (answer, stop), form, query.to_owned())?;
            // The rows of one are not taken before the next one is answered, which may wait for the first one's turn.
            let rows = if are_many { gathered(rows).await? } else { rows };
            answers.push(Response::Query(rows));
        }
        Ok(answers)
    }
}

#[async_trait]
impl ExtendedQueryHandler for Sessions {
    type Statement = Prepared;
    type QueryParser = Parser;

    fn query_parser(&self) -> Arc<Parser> {
        Arc::clone(&self.parser)
    }

    async fn do_query<C>(&self, client: &mut C, portal: &Portal<Prepared>, _max_rows: usize) -> PgWireResult<Response>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Prepared>,
        C::Error: std::fmt::Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let prepared = &portal.statement.statement;
        if let Some(answer) = self.setting(&prepared.parsed, client).await? {
            return Ok(answer);
        }
        let types = prepared.parameters()?;
        let types: Vec<Option<&DataType>> = types.iter().map(Option::as_ref).collect();
        if types.len() != portal.parameters.len() {
            let text = format!("{} parameters are given, {} are asked for", portal.parameters.len(), types.len());
            return Err(told(&QueryError::Statement(text), &prepared.text));
        }
        let values: ParamValues = deserialize_parameters(portal, &types)?;
        let statement = Statement::Postgres(Box::new(prepared.parsed.clone()), Some(values));
        let stop = self.statements.begin(client);
        let answer = stop.or(self.parser.engine.run(figures::Front::Postgres, statement)).await?;
        let answer = answer.map_err(|error| told(&error, &prepared.text))?;
        let options = Arc::new(FormatOptions::from_client_metadata(client.metadata()));
        let text = prepared.text.clone();
        let form = (&portal.result_column_format, Some(options));
        Ok(Response::Query(response(&self.parser.engine, (answer, stop), form, text)?))
    }
}

/// Reads statements, and tells what they have for columns and parameters.
pub(super) struct Parser {
    engine: Arc<Engine>,
}

#[async_trait]
impl QueryParser for Parser {
    type Statement = Prepared;

    async fn parse_sql<C>(&self, _: &C, text: &str, _: &[Option<Type>]) -> PgWireResult<Option<Prepared>>
    where
        C: ClientInfo + Unpin + Send + Sync,
    {
        let failed = |error: QueryError| told(&error, text);
        let mut statements = parse(text).map_err(failed)?.into_iter();
        let Some(parsed) = statements.next() else { return Ok(None) };
        if statements.next().is_some() {
            return Err(failed(QueryError::Statement("more than one statement is to be prepared".to_owned())));
        }
        let plan = if is_setting(&parsed) {
            None
        } else {
            Some(Box::new(self.engine.describe(parsed.clone()).await.map_err(failed)?))
        };
        Ok(Some(Prepared { text: text.to_owned(), parsed, plan }))
    }

    fn get_parameter_types(&self, prepared: &Prepared) -> PgWireResult<Vec<Type>> {
        let types = prepared.parameters()?;
        types.iter().map(|kind| kind.as_ref().map_or(Ok(Type::UNKNOWN), into_pg_type)).collect()
    }

    fn get_result_schema(&self, prepared: &Prepared, format: Option<&Format>) -> PgWireResult<Vec<FieldInfo>> {
        let Some(plan) = &prepared.plan else { return Ok(Vec::new()) };
        fields(plan.schema().as_arrow(), format.unwrap_or(&Format::UnifiedText), None)
    }
}

/// The statements of a text, rewritten where PostgreSQL's clients ask what `DataFusion` says in another way.
fn parse(text: &str) -> Result<Vec<ast::Statement>, QueryError> {
    if text.len() > STATEMENT_BYTES_MAX {
        return Err(QueryError::TooLong { bytes: text.len() });
    }
    depth::check(text)?;
    let parsed = PostgresCompatibilityParser::new().parse(text);
    parsed.map_err(|error| QueryError::Syntax { what: error.to_string() })
}
