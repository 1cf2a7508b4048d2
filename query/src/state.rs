//! The broker's own state as tables: topics, queues, groups, lag, clients, segments.
//!
//! Owns their columns. The rows are the broker's, looked at when a statement reads the table.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::json::ReaderBuilder;
use datafusion::arrow::json::reader::Decoder;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::catalog::memory::MemorySourceConfig;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use serde::Serialize;

use crate::limits::BATCH_ROWS;
use crate::snapshot::Snapshot;

/// A table of the broker's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Topics.
    Topics,
    /// Queues that ever had a message.
    Queues,
    /// Consumer groups.
    Groups,
    /// How far groups are in queues.
    Lag,
    /// Clients that are connected.
    Clients,
    /// Segments of the log, and rolls of the cold tier.
    Segments,
}

/// Takes the rows of a table: values that serialize as maps with a member for each column that has a value. Times are
/// microseconds since 1970.
#[derive(Debug)]
pub struct StateRows(Decoder);

impl StateRows {
    /// Takes rows.
    ///
    /// # Errors
    /// A row does not fit the columns.
    pub fn take<R: Serialize>(&mut self, rows: &[R]) -> Result<(), ArrowError> {
        self.0.serialize(rows)
    }
}

/// Types of columns.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Text,
    Int,
    Bigint,
    Truth,
    Time,
}

impl Kind {
    fn arrow(self) -> DataType {
        match self {
            Self::Text => DataType::Utf8View,
            Self::Int => DataType::Int32,
            Self::Bigint => DataType::Int64,
            Self::Truth => DataType::Boolean,
            Self::Time => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        }
    }
}

/// A column: its name, its type, and whether it may be NULL.
type Columns = &'static [(&'static str, Kind, bool)];

impl State {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Topics => "topics",
            Self::Queues => "queues",
            Self::Groups => "groups",
            Self::Lag => "lag",
            Self::Clients => "clients",
            Self::Segments => "segments",
        }
    }

    const fn columns(self) -> Columns {
        use Kind::{Bigint, Int, Text, Time, Truth};
        match self {
            Self::Topics => &[
                ("topic", Text, false),
                ("read_queues", Int, false),
                ("write_queues", Int, false),
                ("is_readable", Truth, false),
                ("is_writable", Truth, false),
                ("is_ordered", Truth, false),
                ("is_system", Truth, false),
                ("messages", Bigint, false),
                ("attributes", Text, false),
            ],
            Self::Queues => &[
                ("topic", Text, false),
                ("queue_id", Int, false),
                ("min_offset", Bigint, false),
                ("hot_min_offset", Bigint, false),
                ("max_offset", Bigint, false),
                ("messages", Bigint, false),
            ],
            Self::Groups => &[
                ("consumer_group", Text, false),
                ("is_enabled", Truth, false),
                ("retry_max", Int, false),
                ("retry_queues", Int, false),
                ("consume_type", Text, true),
                ("message_model", Text, true),
                ("clients", Int, false),
                ("subscriptions", Text, false),
            ],
            Self::Lag => &[
                ("consumer_group", Text, false),
                ("topic", Text, false),
                ("queue_id", Int, false),
                ("committed_offset", Bigint, false),
                ("pulled_offset", Bigint, true),
                ("max_offset", Bigint, false),
                ("lag", Bigint, false),
                ("oldest_time", Time, true),
            ],
            Self::Clients => &[
                ("role", Text, false),
                ("client_group", Text, false),
                ("client_id", Text, false),
                ("address", Text, false),
                ("language", Text, false),
                ("version", Int, false),
            ],
            Self::Segments => &[
                ("tier", Text, false),
                ("log_from", Bigint, false),
                ("log_to", Bigint, false),
                ("bytes", Bigint, false),
                ("first_time", Time, true),
                ("last_time", Time, true),
                ("messages", Bigint, true),
                ("objects", Int, true),
                ("first_object", Text, true),
            ],
        }
    }

    fn schema(self) -> SchemaRef {
        let field = |(name, kind, nullable): &(&str, Kind, bool)| Field::new(*name, kind.arrow(), *nullable);
        Arc::new(Schema::new(self.columns().iter().map(field).collect::<Vec<_>>()))
    }
}

/// A table of the broker's state.
#[derive(Debug)]
pub(crate) struct StateTable {
    state: State,
    snapshot: Arc<Snapshot>,
    schema: SchemaRef,
}

impl StateTable {
    pub(crate) fn new(state: State, snapshot: Arc<Snapshot>) -> Self {
        Self { state, snapshot, schema: state.schema() }
    }

    fn rows(&self) -> Result<RecordBatch> {
        let decoder = ReaderBuilder::new(Arc::clone(&self.schema)).with_batch_size(BATCH_ROWS).build_decoder()?;
        let mut rows = StateRows(decoder);
        if self.state == State::Segments {
            rows.take(&self.snapshot.segments())?;
        } else {
            self.snapshot.source.state(self.state, &mut rows)?;
        }
        Ok(rows.0.flush()?.unwrap_or_else(|| RecordBatch::new_empty(Arc::clone(&self.schema))))
    }
}

#[async_trait]
impl TableProvider for StateTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let rows = self.rows()?;
        let plan = MemorySourceConfig::try_new_exec(&[vec![rows]], Arc::clone(&self.schema), projection.cloned())?;
        Ok(plan)
    }
}
