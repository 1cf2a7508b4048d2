//! The table of messages, over both tiers.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
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
use tokio::runtime::Handle;
use tokio::sync::mpsc::Sender;

use crate::columns::{Chosen, schema};
use crate::error::ReadError;
use crate::hot::{HotQueue, Taker};
use crate::limits::{BATCHES_AHEAD_MAX, TRIMMED_TIMES_MAX};
use crate::snapshot::{Halves, Snapshot};
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
        let (halves, found) = found(snapshot, ask).await?;
        let hot = halves.hot.start.max(ask.log_offsets.start)..halves.hot.end.min(ask.log_offsets.end);
        if !hot.is_empty() {
            match found {
                Some(records) => parts.push(Part::Found(Arc::new(records), halves.queues)),
                None => parts.extend(shares(halves.queues, partitions).into_iter().map(Part::Hot)),
            }
        }
        let mut passed = TableParts::default();
        if let Some((cold, manifest)) = &halves.cold {
            let below = ask.log_offsets.end.min(halves.hot.start);
            let floors = snapshot.store.forgotten_topics().into_iter().collect();
            let ask = TableAsk { log_offsets: ask.log_offsets.start..below, floors, ..ask.clone() };
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

/// The halves of a question, and what the log's index gives of the hot one. What leaves the log while its index is asked
/// is missing there, and is not in the cold half: both are made anew then.
async fn found(snapshot: &Arc<Snapshot>, ask: &TableAsk) -> Result<(Halves, Option<Vec<Bytes>>)> {
    for _ in 0..TRIMMED_TIMES_MAX {
        let halves = snapshot.halves(ask)?;
        let found = looked_up(snapshot, &halves.queues, ask).await?;
        if found.is_none() || snapshot.store.log_range().0 <= halves.hot.start {
            return Ok((halves, found));
        }
    }
    Ok((snapshot.halves(ask)?, None))
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

/// Takes messages of the log in a thread that may wait.
struct HotTaker<'a> {
    snapshot: &'a Snapshot,
    chosen: &'a Chosen,
    to: Sender<Result<RecordBatch>>,
}

impl Taker for HotTaker<'_> {
    fn take(&mut self, batch: Option<RecordBatch>) -> bool {
        match batch {
            Some(batch) => self.to.blocking_send(Ok(batch)).is_ok(),
            None => !self.to.is_closed(),
        }
    }

    fn gone(&mut self, queue: &HotQueue, log: Range<i64>) -> Result<bool> {
        let Some((cold, manifest)) = self.snapshot.cold_now()? else { return Ok(true) };
        let ask = TableAsk {
            topics: Some(BTreeSet::from([queue.topic.to_string()])),
            queue_ids: queue.queue_id..=queue.queue_id,
            log_offsets: log,
            floors: self.snapshot.store.forgotten_topics().into_iter().collect(),
            ..TableAsk::default()
        };
        let figures = &self.snapshot.figures.cold;
        Handle::current().block_on(async {
            let found = cold.table(&manifest, &ask).await.map_err(ReadError::from)?;
            cold::read((&cold, figures), &found.parts, self.chosen, &self.to).await
        })?;
        Ok(!self.to.is_closed())
    }
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
                    let mut taker = HotTaker { snapshot: &snapshot, chosen: &chosen, to };
                    hot::read((&snapshot.store, &snapshot.figures.hot), &queues, &log, &chosen, &mut taker)
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
