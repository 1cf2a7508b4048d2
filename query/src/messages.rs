//! The table of messages, over both tiers.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, ReplaceChildrenOptions};
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PhysicalExpr, PlanProperties,
};
use strata_tiering::cold::{Cold, TableAsk, TablePart, TableParts};

use crate::columns::{Chosen, schema};
use crate::error::ReadError;
use crate::hot::HotQueue;
use crate::limits::BATCHES_AHEAD_MAX;
use crate::snapshot::Snapshot;
use crate::wanted::{is_bound, wanted};
use crate::{cold, hot};

/// Messages of one snapshot.
#[derive(Debug)]
pub(crate) struct Messages {
    snapshot: Arc<Snapshot>,
    schema: SchemaRef,
}

impl Messages {
    pub(crate) fn new(snapshot: Arc<Snapshot>) -> Self {
        Self { snapshot, schema: schema() }
    }
}

#[async_trait]
impl TableProvider for Messages {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    /// What is understood bounds what is read, and is asked of each row again.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let support = |filter: &&Expr| {
            if is_bound(filter) {
                TableProviderFilterPushDown::Inexact
            } else {
                TableProviderFilterPushDown::Unsupported
            }
        };
        Ok(filters.iter().map(support).collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let ask = wanted(filters);
        let plan = MessagesPlan::of(&self.snapshot, &ask, projection, state.config().target_partitions()).await?;
        Ok(Arc::new(plan))
    }
}

/// What one thread reads.
#[derive(Debug, Clone)]
enum Part {
    Hot(Vec<HotQueue>),
    /// Records that the log's index gave, and the queues that are asked for.
    Found(Arc<Vec<Bytes>>, Vec<HotQueue>),
    Cold(Cold, Vec<TablePart>),
}

/// The reading of messages, in parts that go on beside each other.
#[derive(Debug)]
pub(crate) struct MessagesPlan {
    snapshot: Arc<Snapshot>,
    chosen: Chosen,
    parts: Vec<Part>,
    /// Log offsets of what is read in the log.
    hot: Range<i64>,
    passed: TableParts,
    properties: Arc<PlanProperties>,
}

impl MessagesPlan {
    pub(crate) async fn of(
        snapshot: &Arc<Snapshot>,
        ask: &TableAsk,
        projection: Option<&Vec<usize>>,
        partitions: usize,
    ) -> Result<Self> {
        let chosen = Chosen::of(projection);
        let mut parts = Vec::new();
        let halves = snapshot.halves(ask)?;
        let hot = halves.hot.start.max(ask.log_offsets.start)..halves.hot.end.min(ask.log_offsets.end);
        if !hot.is_empty() {
            match looked_up(snapshot, &halves.queues, ask).await? {
                Some(records) => parts.push(Part::Found(Arc::new(records), halves.queues)),
                None => parts.extend(shares(halves.queues, partitions).into_iter().map(Part::Hot)),
            }
        }
        let mut passed = TableParts::default();
        if let Some((cold, manifest)) = &halves.cold {
            let below = ask.log_offsets.end.min(halves.hot.start);
            let ask = TableAsk { log_offsets: ask.log_offsets.start..below, ..ask.clone() };
            passed = cold.table(manifest, &ask).await.map_err(ReadError::from)?;
            let found = std::mem::take(&mut passed.parts);
            parts.extend(shares(found, partitions).into_iter().map(|parts| Part::Cold(cold.clone(), parts)));
        }
        let partitioning = Partitioning::UnknownPartitioning(parts.len());
        let equal = EquivalenceProperties::new(Arc::clone(&chosen.schema));
        let properties = PlanProperties::new(equal, partitioning, EmissionType::Incremental, Boundedness::Bounded);
        Ok(Self { snapshot: Arc::clone(snapshot), chosen, parts, hot, passed, properties: Arc::new(properties) })
    }
}

/// The messages that the log's index gives, where it knows all that are asked for. Waits for the disk elsewhere.
async fn looked_up(snapshot: &Arc<Snapshot>, queues: &[HotQueue], ask: &TableAsk) -> Result<Option<Vec<Bytes>>> {
    if ask.msg_ids.is_none() {
        return Ok(None);
    }
    let (snapshot, queues, ask) = (Arc::clone(snapshot), queues.to_vec(), ask.clone());
    let looked_up = tokio::task::spawn_blocking(move || hot::by_unique_keys(&snapshot.store, &queues, &ask)).await;
    looked_up.map_err(|error| DataFusionError::External(Box::new(error)))
}

/// The items in so many shares, none of them empty.
fn shares<T>(items: Vec<T>, count: usize) -> Vec<Vec<T>> {
    let count = count.clamp(1, items.len().max(1));
    let mut out: Vec<Vec<T>> = (0..count).map(|_| Vec::new()).collect();
    for (nth, item) in items.into_iter().enumerate() {
        if let Some(share) = out.get_mut(nth % count) {
            share.push(item);
        }
    }
    out.retain(|share| !share.is_empty());
    out
}

impl DisplayAs for MessagesPlan {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut queues, mut found, mut groups, mut rows) = (0, String::new(), 0, 0);
        for part in &self.parts {
            match part {
                Part::Hot(hot) => queues += hot.len(),
                Part::Found(records, hot) => {
                    queues += hot.len();
                    found = format!(", by_index={}", records.len());
                }
                Part::Cold(_, cold) => {
                    groups += cold.len();
                    rows += cold.iter().map(TablePart::rows).sum::<u64>();
                }
            }
        }
        let columns: Vec<&str> = self.chosen.columns.iter().map(|column| column.name()).collect();
        let TableParts { rolls, rolls_passed, groups_passed, .. } = &self.passed;
        write!(
            f,
            "Messages: columns=[{}], hot: queues={queues}, log={}..{}{found}; cold: rolls={rolls}, rolls_pruned={rolls_passed}, \
             row_groups={groups}, row_groups_pruned={groups_passed}, rows={rows}",
            columns.join(", "),
            self.hot.start,
            self.hot.end,
        )
    }
}

impl ExecutionPlan for MessagesPlan {
    fn name(&self) -> &'static str {
        "Messages"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, partition: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let part = self.parts.get(partition).cloned();
        let part = part.ok_or_else(|| DataFusionError::Internal(format!("messages have no part {partition}")))?;
        let mut stream = RecordBatchReceiverStream::builder(Arc::clone(&self.chosen.schema), BATCHES_AHEAD_MAX);
        let (to, chosen, log) = (stream.tx(), self.chosen.clone(), self.hot.clone());
        match part {
            Part::Hot(queues) => {
                let snapshot = Arc::clone(&self.snapshot);
                stream.spawn_blocking(move || {
                    let mut give = |batch| to.blocking_send(Ok(batch)).is_ok();
                    hot::read((&snapshot.store, &snapshot.figures.hot), &queues, &log, &chosen, &mut give)
                });
            }
            Part::Found(records, queues) => {
                let figures = Arc::clone(&self.snapshot.figures);
                stream.spawn_blocking(move || {
                    let batch = hot::give_records(&records, &queues, &log, &chosen, &figures.hot)?;
                    // Nobody may take it any more.
                    let _ = to.blocking_send(Ok(batch));
                    Ok(())
                });
            }
            Part::Cold(cold, parts) => {
                let figures = Arc::clone(&self.snapshot.figures);
                stream.spawn(async move { cold::read((&cold, &figures.cold), &parts, &chosen, &to).await });
            }
        }
        Ok(stream.build())
    }
}
