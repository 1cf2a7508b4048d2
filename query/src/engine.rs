//! A statement's way: a snapshot, a plan, its batches.
//!
//! Owns that nothing is changed by a statement, what all of them together may take, and the threads in which they run:
//! these yield the cores to whoever sends and reads.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::ParamValues;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::context::SQLOptions;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement as Parsed;
use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use futures_util::{Stream, StreamExt};
use strata_tiering::idle;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};

use crate::depth;
use crate::error::QueryError;
use crate::figures::{Figures, Front, Running};
use crate::limits::{
    BATCHES_AHEAD_MAX, DISK_THREADS_MAX, SESSION_THREADS, STATEMENT_BYTES_MAX, STATEMENT_TIME_MAX,
    STATEMENTS_AT_ONCE_MAX, THREADS,
};
use crate::session::{Dialect, Sessions};
use crate::snapshot::{Snapshot, Source};
use crate::tables;

/// Answers statements.
pub struct Engine {
    work: Arc<Work>,
    turns: Arc<Semaphore>,
    lane: Lane,
    sessions: Lane,
}

/// What statements share.
struct Work {
    source: Arc<dyn Source>,
    /// Made with the first statement: a broker that is asked nothing has no memory for it.
    sessions: OnceLock<Sessions>,
    figures: Arc<Figures>,
}

/// The threads of statements. What is under way when they end is left behind.
struct Lane(Option<Runtime>);

impl Lane {
    fn handle(&self) -> Result<&Handle, QueryError> {
        self.0.as_ref().map(Runtime::handle).ok_or(QueryError::Broken)
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// A statement that is to run.
#[derive(Debug, Clone)]
pub(crate) enum Statement {
    /// As its text.
    Text(String),
    /// As a client of PostgreSQL means it, with the values of its parameters.
    Postgres(Box<ast::Statement>, Option<ParamValues>),
}

/// What comes of a statement.
enum Piece {
    Rows(RecordBatch),
    Failed(QueryError),
    /// There is no more; without it the statement was broken off.
    End,
}

/// The rows of a statement, which come as they are asked for. Dropping it stops the statement.
pub struct Answer {
    schema: SchemaRef,
    pieces: mpsc::Receiver<Piece>,
    running: Running,
    /// Watched where the rows are taken: the threads of statements may all be busy.
    deadline: Pin<Box<Sleep>>,
    is_over: bool,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer").field("schema", &self.schema).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

impl Engine {
    /// Answers out of a source. The labels are those of all the broker's figures.
    ///
    /// # Errors
    /// The system gives no threads, their memory cannot be set up, or a label has a name that is none.
    pub fn new(source: Arc<dyn Source>, labels: HashMap<String, String>) -> Result<Self, QueryError> {
        let figures = Figures::new(labels).map_err(|error| QueryError::Failed(error.to_string()))?;
        let work = Arc::new(Work { source, sessions: OnceLock::new(), figures: Arc::new(figures) });
        let lane = idle::runtime("query", (THREADS, DISK_THREADS_MAX)).map_err(QueryError::Threads)?;
        let sessions = idle::runtime("sql-sessions", (SESSION_THREADS, 1)).map_err(QueryError::Threads)?;
        let turns = Arc::new(Semaphore::new(STATEMENTS_AT_ONCE_MAX));
        Ok(Self { work, turns, lane: Lane(Some(lane)), sessions: Lane(Some(sessions)) })
    }

    /// Begins a statement of a front.
    pub(crate) async fn run(&self, front: Front, statement: Statement) -> Result<Answer, QueryError> {
        let mut running = self.work.figures.begin(front);
        let deadline = Instant::now() + STATEMENT_TIME_MAX;
        let begun = self.begin(statement, deadline, &mut running).await;
        match begun {
            Ok((schema, pieces)) => {
                let deadline = Box::pin(sleep_until(deadline));
                Ok(Answer { schema, pieces, running, deadline, is_over: false })
            }
            Err(error) => {
                running.failed(&error);
                Err(error)
            }
        }
    }

    async fn begin(
        &self,
        statement: Statement,
        deadline: Instant,
        running: &mut Running,
    ) -> Result<(SchemaRef, mpsc::Receiver<Piece>), QueryError> {
        if let Statement::Text(text) = &statement {
            if text.len() > STATEMENT_BYTES_MAX {
                return Err(QueryError::TooLong { bytes: text.len() });
            }
            depth::check(&PostgreSqlDialect {}, text)?;
        }
        let turn = self.turn(deadline).await?;
        running.has_turn();
        let (head, schema) = oneshot::channel();
        let (to, pieces) = mpsc::channel(BATCHES_AHEAD_MAX + 1);
        // However many rows nobody takes, there is room for the last word.
        let last = to.clone().try_reserve_owned().map_err(|_| QueryError::Broken)?;
        let work = Arc::clone(&self.work);
        self.handle()?.spawn(async move {
            let word = timeout_at(deadline, work.answer(statement, head, &to)).await;
            // Others go on, whether or not anybody hears of it.
            drop(turn);
            last.send(word.unwrap_or_else(|_| Piece::Failed(late())));
        });
        let schema = timeout_at(deadline, schema).await.map_err(|_| late())?.map_err(|_| QueryError::Broken)??;
        Ok((schema, pieces))
    }

    /// The columns and parameters that a statement has, in the threads of statements.
    pub(crate) async fn describe(&self, statement: ast::Statement) -> Result<LogicalPlan, QueryError> {
        let deadline = Instant::now() + DESCRIBE_TIME_MAX;
        let turn = self.turn(deadline).await?;
        let work = Arc::clone(&self.work);
        let planned = self.handle()?.spawn(async move {
            let _turn = turn;
            let context = work.context(Dialect::Postgres).await?;
            plan(&context, Statement::Postgres(Box::new(statement), None)).await
        });
        timeout_at(deadline, planned)
            .await
            .map_err(|_| QueryError::TooSlow { after: DESCRIBE_TIME_MAX })?
            .map_err(|_| QueryError::Broken)?
    }

    /// A context in which a PostgreSQL client's settings are read.
    pub(crate) async fn settings(&self) -> Result<SessionContext, QueryError> {
        let work = Arc::clone(&self.work);
        let made = self.handle()?.spawn(async move { work.context(Dialect::Postgres).await });
        made.await.map_err(|_| QueryError::Broken)?
    }

    /// Work on rows of an answer, in the threads of statements: they yield the cores to everything else.
    pub(crate) async fn apart<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, QueryError> {
        self.handle()?.spawn(async move { work() }).await.map_err(|_| QueryError::Broken)
    }

    async fn turn(&self, deadline: Instant) -> Result<OwnedSemaphorePermit, QueryError> {
        let begun = Instant::now();
        let turn = timeout_at(deadline, Arc::clone(&self.turns).acquire_owned()).await;
        turn.map_err(|_| QueryError::Crowded { after: begun.elapsed() })?.map_err(|_| QueryError::Broken)
    }

    /// Runs a client's session in threads whose stacks are large enough for trees of statements.
    pub(crate) fn session<T: Send + 'static>(
        &self,
        session: impl Future<Output = T> + Send + 'static,
    ) -> Result<JoinHandle<T>, QueryError> {
        Ok(self.sessions.handle()?.spawn(session))
    }

    fn handle(&self) -> Result<&Handle, QueryError> {
        self.lane.handle()
    }

    /// What statements did so far, in Prometheus' text form.
    #[must_use]
    pub fn metrics_text(&self) -> String {
        self.work.figures.text(self.work.sessions.get().map_or(0, Sessions::memory_bytes))
    }
}

/// How long planning a statement may take that is only described.
const DESCRIBE_TIME_MAX: Duration = Duration::from_secs(30);

fn late() -> QueryError {
    QueryError::TooSlow { after: STATEMENT_TIME_MAX }
}

impl Work {
    async fn context(&self, dialect: Dialect) -> Result<SessionContext, QueryError> {
        let snapshot = Snapshot::take(Arc::clone(&self.source), Arc::clone(&self.figures));
        Ok(self.sessions()?.context(dialect, snapshot).await?)
    }

    fn sessions(&self) -> Result<&Sessions, QueryError> {
        if let Some(made) = self.sessions.get() {
            return Ok(made);
        }
        // Of two that are made at once one is left.
        let made = Sessions::new()?;
        Ok(self.sessions.get_or_init(|| made))
    }

    /// Answers a statement: first its columns, then its rows, until nobody takes them. Gives the last word.
    async fn answer(
        &self,
        statement: Statement,
        head: oneshot::Sender<Result<SchemaRef, QueryError>>,
        to: &mpsc::Sender<Piece>,
    ) -> Piece {
        let begun = tokio::select! {
            () = to.closed() => return Piece::End,
            begun = self.begin(statement) => begun,
        };
        let mut rows = match begun {
            Ok(rows) => rows,
            Err(error) => {
                let _ = head.send(Err(error));
                return Piece::End;
            }
        };
        if head.send(Ok(rows.schema())).is_err() {
            return Piece::End;
        }
        loop {
            let next = tokio::select! {
                () = to.closed() => return Piece::End,
                next = rows.next() => next,
            };
            let batch = match next {
                Some(Ok(batch)) => batch,
                Some(Err(error)) => return Piece::Failed(error.into()),
                None => return Piece::End,
            };
            // Who does not take them loses its connection, and with it the statement.
            if to.send(Piece::Rows(batch)).await.is_err() {
                return Piece::End;
            }
        }
    }

    async fn begin(&self, statement: Statement) -> Result<SendableRecordBatchStream, QueryError> {
        let dialect = match statement {
            Statement::Text(_) => Dialect::Plain,
            Statement::Postgres(..) => Dialect::Postgres,
        };
        let context = self.context(dialect).await?;
        let plan = plan(&context, statement).await?;
        Ok(context.execute_logical_plan(plan).await?.execute_stream().await?)
    }
}

/// The plan of a statement that changes nothing.
async fn plan(context: &SessionContext, statement: Statement) -> Result<LogicalPlan, QueryError> {
    let state = context.state();
    let (parsed, values) = match statement {
        Statement::Text(text) => (state.sql_to_statement(&text, &state.config_options().sql_parser.dialect)?, None),
        Statement::Postgres(parsed, values) => (Parsed::Statement(parsed), values),
    };
    // Before it is planned: what is wrong with a statement that is refused anyway is of no use.
    if let Parsed::CopyTo(_) | Parsed::CreateExternalTable(_) | Parsed::Reset(_) = &parsed {
        let what = parsed.to_string().split_whitespace().next().unwrap_or_default().to_uppercase();
        return Err(QueryError::ReadOnly { what: format!("{what} is not supported") });
    }
    let read_only = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    let plan = state.statement_to_plan(parsed).await.map_err(with_hint)?;
    read_only
        .verify_plan(&plan)
        .map_err(|error: DataFusionError| QueryError::ReadOnly { what: error.strip_backtrace() })?;
    Ok(match values {
        Some(values) => plan.replace_params_with_values(&values)?,
        None => plan,
    })
}

/// The error, and of a table that is not there the one that is named most alike.
fn with_hint(error: DataFusionError) -> QueryError {
    let error = QueryError::from(error);
    let QueryError::Statement(told) = &error else { return error };
    let missing = told.split_once("table '").and_then(|(_, rest)| rest.split_once("' not found"));
    let name = missing.map(|(name, _)| name.rsplit('.').next().unwrap_or(name));
    match name.and_then(tables::nearest) {
        Some(near) => QueryError::Statement(format!("{told}; did you mean {near}?")),
        None => error,
    }
}

impl Answer {
    /// Why it cannot be given, which counts as its end.
    pub(crate) fn fails(mut self, error: QueryError) -> QueryError {
        self.running.failed(&error);
        error
    }

    /// The columns.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}

impl Stream for Answer {
    type Item = Result<RecordBatch, QueryError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let piece = match self.pieces.poll_recv(context) {
            Poll::Ready(piece) => piece,
            Poll::Pending => {
                ready!(self.deadline.as_mut().poll(context));
                Some(Piece::Failed(late()))
            }
        };
        self.is_over = !matches!(piece, Some(Piece::Rows(_)));
        Poll::Ready(match piece {
            Some(Piece::Rows(batch)) => {
                self.running.gave(batch.num_rows());
                Some(Ok(batch))
            }
            Some(Piece::Failed(error)) => {
                self.running.failed(&error);
                Some(Err(error))
            }
            Some(Piece::End) => {
                self.running.ended();
                None
            }
            None => {
                self.running.failed(&QueryError::Broken);
                Some(Err(QueryError::Broken))
            }
        })
    }
}
