//! A PostgreSQL client's session: statements alone, and prepared with parameters.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::ParamValues;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion_postgres::QueryHook;
use datafusion_postgres::arrow_pg::datatypes::df::deserialize_parameters;
use datafusion_postgres::arrow_pg::datatypes::into_pg_type;
use datafusion_postgres::datafusion_pg_catalog::sql::PostgresCompatibilityParser;
use datafusion_postgres::hooks::HookClient;
use datafusion_postgres::hooks::set_show::SetShowHook;
use datafusion_postgres::pgwire::api::auth::StartupHandler;
use datafusion_postgres::pgwire::api::auth::noop::NoopStartupHandler;
use datafusion_postgres::pgwire::api::cancel::CancelHandler;
use datafusion_postgres::pgwire::api::portal::{Format, Portal, PortalExecutionState};
use datafusion_postgres::pgwire::api::query::{
    ExtendedQueryHandler, SimpleQueryHandler, send_execution_response, send_partial_query_response,
    send_query_response, send_ready_for_query,
};
use datafusion_postgres::pgwire::api::results::{FieldInfo, Response, Tag};
use datafusion_postgres::pgwire::api::stmt::QueryParser;
use datafusion_postgres::pgwire::api::store::{Entry, PortalStore};
use datafusion_postgres::pgwire::api::{
    ClientInfo, ClientPortalStore, DEFAULT_NAME, ErrorHandler, PgWireConnectionState, PgWireServerHandlers, Type,
};
use datafusion_postgres::pgwire::error::{PgWireError, PgWireResult};
use datafusion_postgres::pgwire::messages::PgWireBackendMessage;
use datafusion_postgres::pgwire::messages::extendedquery::{Execute, Sync as PgSync};
use datafusion_postgres::pgwire::messages::response::{EmptyQueryResponse, TransactionStatus};
use datafusion_postgres::pgwire::messages::simplequery::Query;
use datafusion_postgres::pgwire::types::format::FormatOptions;
use futures_util::{Sink, SinkExt};
use tokio::task::JoinHandle;

use super::cancel::Statements;
use super::own::{Own, check_transaction};
use super::portals::Portals;
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
    engine: Arc<Engine>,
}

impl Front {
    pub(super) fn new(engine: Arc<Engine>) -> Self {
        let parser = Arc::new(Parser { engine: Arc::clone(&engine) });
        let sessions = Sessions { parser, statements: Arc::default() };
        Self { sessions: Arc::new(sessions), startup: Arc::new(Startup), engine }
    }

    /// Runs a client's session.
    pub(super) fn session(
        &self,
        session: impl Future<Output = io::Result<()>> + Send + 'static,
    ) -> io::Result<JoinHandle<io::Result<()>>> {
        self.engine.session(session).map_err(io::Error::other)
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
struct Startup;

impl NoopStartupHandler for Startup {}

struct Errors;

impl ErrorHandler for Errors {
    fn on_error<C: ClientInfo>(&self, _: &C, error: &mut PgWireError) {
        tracing::debug!(%error, "a PostgreSQL client was told of an error");
    }
}

/// Answers statements.
struct Sessions {
    parser: Arc<Parser>,
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
    /// The answer to a statement of the session's own.
    async fn own<C>(
        &self,
        statement: &ast::Statement,
        client: &mut C,
        format: &Format,
    ) -> PgWireResult<Option<Response>>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        check_transaction(statement, client.transaction_status())?;
        let Some(own) = Own::of(statement) else { return Ok(None) };
        match &own {
            Own::Set => return self.setting(statement, client).await,
            Own::Show(_) => {
                let shown = self.setting(statement, client).await?;
                let Some(Response::Query(mut rows)) = shown else { return Ok(shown) };
                // By the names that it was described with.
                rows.row_schema = Arc::new(own.columns(format)?);
                return Ok(Some(Response::Query(rows)));
            }
            Own::UnlockAll => return Ok(Some(Response::Query(own.void_row(format)?))),
            Own::Deallocate(name) => client.portal_store().rm_statement(name),
            Own::Begin(_) | Own::End { .. } | Own::Savepoint(_) | Own::RollbackTo | Own::Nothing(_) => {}
        }
        let (tag, status) = own.settled(client.transaction_status())?;
        client.set_transaction_status(status);
        if own.is_end() {
            client.portal_store().clear_portals();
        }
        Ok(Some(Response::Execution(tag)))
    }

    /// The answer to a setting, which changes nothing but how values are written.
    async fn setting(&self, statement: &ast::Statement, client: &mut dyn HookClient) -> PgWireResult<Option<Response>> {
        // Settings of the engine among them name folders.
        let text = statement.to_string();
        if text.to_lowercase().contains(ENGINE_SETTINGS) {
            let what = "settings of the engine are not a client's".to_owned();
            return Err(told(&QueryError::ReadOnly { what }, &text));
        }
        let context = self.parser.engine.settings().await.map_err(|error| told(&error, ""))?;
        SetShowHook.handle_simple_query(statement, &context, client).await.transpose()
    }

    /// Sends rows of a portal as they are found: at most `rows_max`, or all of them if that is not more than 0.
    async fn execute<C>(&self, client: &mut C, portal: &Portal<Prepared>, rows_max: i32) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Prepared>,
        C::Error: std::fmt::Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let (portals, state) = (Portals::of(client), portal.state());
        let mut state = state.lock().await;
        if matches!(*state, PortalExecutionState::Initial) {
            let answer = ExtendedQueryHandler::do_query(self, client, portal, 0).await?;
            let Response::Query(rows) = answer else {
                return send(client, answer).await;
            };
            *state = PortalExecutionState::Suspended(portals.hold(&portal.name, rows));
        }
        portals.resume(&portal.name);
        let rows_max = usize::try_from(rows_max).unwrap_or(0);
        let sent = match &mut *state {
            PortalExecutionState::Suspended(rows) => send_partial_query_response(client, rows, rows_max).await,
            PortalExecutionState::Initial | PortalExecutionState::Finished => {
                send_execution_response(client, Tag::new("SELECT").with_rows(0)).await.map(|()| false)
            }
        };
        if matches!(sent, Ok(true)) {
            portals.suspend(&portal.name);
        } else {
            // The statement's turn is another one's.
            *state = PortalExecutionState::Finished;
        }
        sent.map(|_| ())
    }
}

/// Closes the portals of a client that is not in a transaction: they end with what it sent.
fn close_portals<C>(client: &C)
where
    C: ClientInfo + ClientPortalStore,
    C::PortalStore: PortalStore,
{
    if client.transaction_status() != TransactionStatus::Transaction {
        client.portal_store().clear_portals();
    }
}

/// Sends an answer, rows with their columns.
async fn send<C>(client: &mut C, answer: Response) -> PgWireResult<()>
where
    C: Sink<PgWireBackendMessage> + Unpin,
    C::Error: std::fmt::Debug,
    PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
{
    match answer {
        Response::Query(rows) => send_query_response(client, rows, true).await,
        Response::Execution(tag) | Response::TransactionStart(tag) | Response::TransactionEnd(tag) => {
            send_execution_response(client, tag).await
        }
        Response::EmptyQuery => {
            Ok(client.feed(PgWireBackendMessage::EmptyQueryResponse(EmptyQueryResponse::new())).await?)
        }
        Response::Error(error) => Err(PgWireError::UserError(error)),
        Response::CopyIn(_) | Response::CopyOut(_) | Response::CopyBoth(_) => Err(told(&QueryError::Broken, "")),
    }
}

/// Takes a client's next message but while another one is answered.
fn begin(client: &mut impl ClientInfo) -> PgWireResult<()> {
    if !matches!(client.state(), PgWireConnectionState::ReadyForQuery) {
        return Err(PgWireError::NotReadyForQuery);
    }
    client.set_state(PgWireConnectionState::QueryInProgress);
    Ok(())
}

#[async_trait]
impl SimpleQueryHandler for Sessions {
    // As the library's, but that a statement may bring a transaction back that failed, and that portals end.
    async fn on_query<C>(&self, client: &mut C, query: Query) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: std::fmt::Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        begin(client)?;
        close_portals(client);
        let answers = SimpleQueryHandler::do_query(self, client, &query.query).await;
        let sent = match answers {
            Ok(answers) => send_all(client, answers).await,
            Err(error) => Err(error),
        };
        if let Err(error) = sent {
            // A transaction has failed now.
            client.portal_store().clear_portals();
            return Err(error);
        }
        close_portals(client);
        client.set_state(PgWireConnectionState::ReadyForQuery);
        let status = client.transaction_status();
        send_ready_for_query(client, status).await
    }

    async fn do_query<C>(&self, client: &mut C, query: &str) -> PgWireResult<Vec<Response>>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: std::fmt::Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let statements = parse(query).map_err(|error| told(&error, query))?;
        let (mut answers, mut bytes, are_many) = (Vec::new(), 0, statements.len() > 1);
        for statement in statements {
            if let Some(answer) = self.own(&statement, client, &Format::UnifiedText).await? {
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
            let rows = if are_many { gathered(rows, &mut bytes).await? } else { rows };
            answers.push(Response::Query(rows));
        }
        Ok(answers)
    }
}

/// Sends the answers to one message; one without statements has one, too.
async fn send_all<C>(client: &mut C, answers: Vec<Response>) -> PgWireResult<()>
where
    C: Sink<PgWireBackendMessage> + Unpin,
    C::Error: std::fmt::Debug,
    PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
{
    if answers.is_empty() {
        return send(client, Response::EmptyQuery).await;
    }
    for answer in answers {
        send(client, answer).await?;
    }
    Ok(())
}

#[async_trait]
impl ExtendedQueryHandler for Sessions {
    type Statement = Prepared;
    type QueryParser = Parser;

    fn query_parser(&self) -> Arc<Parser> {
        Arc::clone(&self.parser)
    }

    // The library's gathers all rows before it sends the first one, and takes memory for as many as the client says.
    async fn on_execute<C>(&self, client: &mut C, message: Execute) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Prepared>,
        C::Error: std::fmt::Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        begin(client)?;
        let name = message.name.as_deref().unwrap_or(DEFAULT_NAME);
        match client.portal_store().get_portal(name) {
            Some(Entry::Value(portal)) => self.execute(client, &portal, message.max_rows).await?,
            Some(Entry::Empty) => send(client, Response::EmptyQuery).await?,
            None => return Err(PgWireError::PortalNotFound(name.to_owned())),
        }
        client.set_state(PgWireConnectionState::ReadyForQuery);
        Ok(())
    }

    // The library's leaves named portals open, each with its statement's turn.
    async fn on_sync<C>(&self, client: &mut C, _: PgSync) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Prepared>,
        C::Error: std::fmt::Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        client.portal_store().rm_portal(DEFAULT_NAME);
        close_portals(client);
        let status = client.transaction_status();
        send_ready_for_query(client, status).await
    }

    async fn do_query<C>(&self, client: &mut C, portal: &Portal<Prepared>, _max_rows: usize) -> PgWireResult<Response>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Prepared>,
        C::Error: std::fmt::Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let prepared = &portal.statement.statement;
        if let Some(answer) = self.own(&prepared.parsed, client, &portal.result_column_format).await? {
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

    async fn parse_sql<C>(&self, client: &C, text: &str, _: &[Option<Type>]) -> PgWireResult<Option<Prepared>>
    where
        C: ClientInfo + Unpin + Send + Sync,
    {
        let failed = |error: QueryError| told(&error, text);
        let mut statements = parse(text).map_err(failed)?.into_iter();
        let Some(parsed) = statements.next() else { return Ok(None) };
        if statements.next().is_some() {
            return Err(failed(QueryError::Statement("more than one statement is to be prepared".to_owned())));
        }
        check_transaction(&parsed, client.transaction_status())?;
        let plan = match Own::of(&parsed) {
            Some(_) => None,
            None => Some(Box::new(self.engine.describe(parsed.clone()).await.map_err(failed)?)),
        };
        Ok(Some(Prepared { text: text.to_owned(), parsed, plan }))
    }

    fn get_parameter_types(&self, prepared: &Prepared) -> PgWireResult<Vec<Type>> {
        let types = prepared.parameters()?;
        types.iter().map(|kind| kind.as_ref().map_or(Ok(Type::UNKNOWN), into_pg_type)).collect()
    }

    fn get_result_schema(&self, prepared: &Prepared, format: Option<&Format>) -> PgWireResult<Vec<FieldInfo>> {
        let format = format.unwrap_or(&Format::UnifiedText);
        match &prepared.plan {
            Some(plan) => fields(plan.schema().as_arrow(), format, None),
            None => Own::of(&prepared.parsed).map_or(Ok(Vec::new()), |own| own.columns(format)),
        }
    }
}

/// The statements of a text, rewritten where PostgreSQL's clients ask what `DataFusion` says in another way.
fn parse(text: &str) -> Result<Vec<ast::Statement>, QueryError> {
    if text.len() > STATEMENT_BYTES_MAX {
        return Err(QueryError::TooLong { bytes: text.len() });
    }
    depth::check(&PostgreSqlDialect {}, text)?;
    let parsed = PostgresCompatibilityParser::new().parse(text);
    parsed.map_err(|error| QueryError::Syntax { what: error.to_string() })
}
