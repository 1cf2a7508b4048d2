//! A plan that makes rows of another's, batch by batch.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, ReplaceChildrenOptions};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning, PhysicalExpr, PlanProperties,
};
use futures_util::StreamExt;

/// Makes rows of the columns `SchemaRef` of rows.
type Make = fn(&RecordBatch, &SchemaRef) -> Result<RecordBatch>;

/// Makes rows of another plan's.
#[derive(Debug)]
pub(crate) struct SplitPlan {
    name: &'static str,
    input: Arc<dyn ExecutionPlan>,
    schema: SchemaRef,
    make: Make,
    properties: Arc<PlanProperties>,
}

impl SplitPlan {
    pub(crate) fn new(name: &'static str, input: Arc<dyn ExecutionPlan>, schema: SchemaRef, make: Make) -> Self {
        let partitions = Partitioning::UnknownPartitioning(input.output_partitioning().partition_count());
        let equal = EquivalenceProperties::new(Arc::clone(&schema));
        let properties = PlanProperties::new(equal, partitions, EmissionType::Incremental, Boundedness::Bounded);
        Self { name, input, schema, make, properties: Arc::new(properties) }
    }

    /// The same of another plan's rows.
    fn over(&self, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let input = children.into_iter().next();
        let input = input.ok_or_else(|| DataFusionError::Internal(format!("{} needs what it reads", self.name)))?;
        Ok(Arc::new(Self::new(self.name, input, Arc::clone(&self.schema), self.make)))
    }
}

impl DisplayAs for SplitPlan {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns: Vec<&str> = self.schema.fields().iter().map(|field| field.name().as_str()).collect();
        write!(f, "{}: columns=[{}]", self.name, columns.join(", "))
    }
}

impl ExecutionPlan for SplitPlan {
    fn name(&self) -> &'static str {
        self.name
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.over(children)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.over(children)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let (schema, make) = (Arc::clone(&self.schema), self.make);
        let rows = self.input.execute(partition, context)?.map(move |batch| make(&batch?, &schema));
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), rows)))
    }
}
