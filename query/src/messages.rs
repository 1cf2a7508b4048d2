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
use tokio::sync::mpsc::Sender;
use tokio::task::spawn_blocking;

use crate::columns::{Chosen, schema};
use crate::error::ReadError;
use crate::hot::{Found, HotAsk, HotQueue, Scan, Step, Steps};
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
    /// What is wanted of the log.
    hot: HotAsk,
    /// Segments of the log that lie in it.
    segments: usize,
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
        let segments = segments(snapshot, &hot);
        let (hot, properties) = (HotAsk::of(ask, hot), Arc::new(properties));
        Ok(Self { snapshot: Arc::clone(snapshot), chosen, parts, hot, segments, passed, properties })
    }
}

/// Segments of the log that have some of its offsets.
fn segments(snapshot: &Snapshot, log: &Range<i64>) -> usize {
    let sealed = snapshot.store.sealed_ranges();
    let live = sealed.last().map_or(log.start, |last| last.to);
    let of_sealed = sealed.iter().filter(|range| range.from < log.end && range.to > log.start).count();
    of_sealed + usize::from(log.end > live && !log.is_empty())
}

/// The halves of a question, and what the log's index gives of the hot one. What leaves the log while its index is asked
/// is missing there, and is not in the cold half: both are made anew then.
async fn found(snapshot: &Arc<Snapshot>, ask: &TableAsk) -> Result<(Halves, Option<Vec<Bytes>>)> {
    for _ in 0..TRIMMED_TIMES_MAX {
        let mut halves = snapshot.halves(ask)?;
        let is_by_time = *ask.store_times.start() != i64::MIN;
        if !is_by_time && ask.msg_ids.is_none() {
            return Ok((halves, None));
        }
        let (queues, found) = looked_up(snapshot, std::mem::take(&mut halves.queues), ask).await?;
        halves.queues = queues;
        if snapshot.store.log_range().0 <= halves.hot.start {
            return Ok((halves, found));
        }
    }
    Ok((snapshot.halves(ask)?, None))
}

/// The queues without what was stored too early, and the messages that the log's index gives where it knows all that are
/// asked for. Waits for the disk elsewhere.
async fn looked_up(
    snapshot: &Arc<Snapshot>,
    mut queues: Vec<HotQueue>,
    ask: &TableAsk,
) -> Result<(Vec<HotQueue>, Option<Vec<Bytes>>)> {
    let (snapshot, ask) = (Arc::clone(snapshot), ask.clone());
    let looked_up = spawn_blocking(move || {
        let found = hot::by_ids(&snapshot.store, &queues, &ask);
        if found.is_none() {
            hot::narrow(&snapshot.store, &mut queues, &ask);
        }
        (queues, found)
    });
    looked_up.await.map_err(|error| DataFusionError::External(Box::new(error)))
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

/// Gives messages of the log. A thread that may wait is taken for each step alone: whoever takes the rows may wait for
/// other parts, which want threads, too.
async fn give(snapshot: &Snapshot, chosen: &Chosen, steps: impl Steps, to: &Sender<Result<RecordBatch>>) -> Result<()> {
    let mut steps = steps;
    while !to.is_closed() {
        let stepped = spawn_blocking(move || {
            let step = steps.step();
            (steps, step)
        });
        let (back, step) = stepped.await.map_err(|error| DataFusionError::External(Box::new(error)))?;
        steps = back;
        match step? {
            Step::Rows(batch) => {
                // Nobody may take it any more.
                let _ = to.send(Ok(batch)).await;
            }
            Step::Nothing => {}
            Step::Gone(queue, log) => gone(snapshot, chosen, (&queue, log), to).await?,
            Step::End => return Ok(()),
        }
    }
    Ok(())
}

/// Gives what left the log while it was read, out of the tier.
async fn gone(
    snapshot: &Snapshot,
    chosen: &Chosen,
    (queue, log): (&HotQueue, Range<i64>),
    to: &Sender<Result<RecordBatch>>,
) -> Result<()> {
    let Some((cold, manifest)) = snapshot.cold_now()? else { return Ok(()) };
    let ask = TableAsk {
        topics: Some(BTreeSet::from([queue.topic.to_string()])),
        queue_ids: queue.queue_id..=queue.queue_id,
        log_offsets: log,
        floors: snapshot.store.forgotten_topics().into_iter().collect(),
        ..TableAsk::default()
    };
    let found = cold.table(&manifest, &ask).await.map_err(ReadError::from)?;
    cold::read((&cold, &snapshot.figures.cold), &found.parts, chosen, to).await
}

impl DisplayAs for MessagesPlan {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut queues, mut found, mut groups, mut rows, mut bytes) = (0, String::new(), 0, 0, 0);
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
                    bytes += cold.iter().map(|part| part.bytes(&self.chosen.paths(part.columns()))).sum::<u64>();
                }
            }
        }
        let columns: Vec<&str> = self.chosen.columns.iter().map(|column| column.name()).collect();
        let TableParts { rolls, rolls_passed, groups_passed, .. } = &self.passed;
        write!(
            f,
            "Messages: columns=[{}], hot: queues={queues}, segments={}, log={}..{}{found}; cold: rolls={rolls}, \
             rolls_pruned={rolls_passed}, row_groups={groups}, row_groups_pruned={groups_passed}, rows={rows}, bytes={bytes}",
            columns.join(", "),
            self.segments,
            self.hot.log.start,
            self.hot.log.end,
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
        let (to, chosen, ask) = (stream.tx(), self.chosen.clone(), self.hot.clone());
        match part {
            Part::Hot(queues) => {
                let snapshot = Arc::clone(&self.snapshot);
                let scan = Scan::new(&snapshot, queues, ask, chosen.clone());
                stream.spawn(async move { give(&snapshot, &chosen, scan, &to).await });
            }
            Part::Found(records, queues) => {
                let (snapshot, figures) = (Arc::clone(&self.snapshot), Arc::clone(&self.snapshot.figures));
                let found = Found { records, queues, ask, chosen: chosen.clone(), figures, seen: 0 };
                stream.spawn(async move { give(&snapshot, &chosen, found, &to).await });
            }
            Part::Cold(cold, parts) => {
                let figures = Arc::clone(&self.snapshot.figures);
                stream.spawn(async move { cold::read((&cold, &figures.cold), &parts, &chosen, &to).await });
            }
        }
        Ok(stream.build())
    }
}
