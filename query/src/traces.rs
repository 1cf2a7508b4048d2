//! The table of traces: a row for each record of the messages that clients, and the broker, send to trace topics.
//!
//! Owns its columns. A record that does not decode is a row too, with what is wrong with it. Conditions on the message
//! that carries a record bound what is read; none on the record itself does, since only reading it tells.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::cast::AsArray;
use datafusion::arrow::array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
use datafusion::arrow::array::{Array, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::json::ReaderBuilder;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Column as NamedColumn;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use serde::ser::{Serialize, SerializeMap, Serializer};
use strata_protocol::name::{TRACE_REGION_PREFIX, TRACE_TOPIC};
use strata_protocol::trace::{Damaged, Trace, is_trace_topic, records};

use crate::columns::{Column, keys_type, time_type};
use crate::limits::BATCH_ROWS;
use crate::messages::MessagesPlan;
use crate::snapshot::Snapshot;
use crate::split::SplitPlan;
use crate::wanted::{is_bound, wanted};

/// Microseconds of a millisecond.
const MICROS: i64 = 1_000;

/// The columns of carrying messages that records are made of.
const CARRIER: [Column; 7] =
    [Column::Topic, Column::QueueId, Column::QueueOffset, Column::StoreTime, Column::Keys, Column::Body, Column::Tier];

/// Columns of the carrying message, and their names in the table of messages.
const CARRIED: [(&str, Column); 5] = [
    ("trace_topic", Column::Topic),
    ("trace_queue_id", Column::QueueId),
    ("trace_offset", Column::QueueOffset),
    ("store_time", Column::StoreTime),
    ("trace_keys", Column::Keys),
];

/// All columns.
pub(crate) fn schema() -> SchemaRef {
    let text = || DataType::Utf8View;
    let columns = [
        ("kind", text()),
        ("time", time_type()),
        ("store_time", time_type()),
        ("topic", text()),
        ("msg_id", text()),
        ("client_group", text()),
        ("is_success", DataType::Boolean),
        ("cost_ms", DataType::Int64),
        ("keys", text()),
        ("tags", text()),
        ("body_bytes", DataType::Int32),
        ("message_type", text()),
        ("offset_msg_id", text()),
        ("store_host", text()),
        ("client_host", text()),
        ("client_id", text()),
        ("request_id", text()),
        ("retry_times", DataType::Int32),
        ("context", text()),
        ("delay_level", DataType::Int32),
        ("transaction_id", text()),
        ("transaction_state", text()),
        ("is_from_check", DataType::Boolean),
        ("region", text()),
        ("queue_id", DataType::Int32),
        ("queue_offset", DataType::Int64),
        ("last_queue_offset", DataType::Int64),
        ("messages", DataType::Int32),
        ("trace_topic", text()),
        ("trace_queue_id", DataType::Int32),
        ("trace_offset", DataType::Int64),
        ("trace_keys", keys_type()),
        ("tier", text()),
        ("error", text()),
        ("record", DataType::Utf8View),
    ];
    let always = ["kind", "store_time", "trace_topic", "trace_queue_id", "trace_offset", "tier"];
    let field = |(name, kind): (&str, DataType)| Field::new(name, kind, !always.contains(&name));
    Arc::new(Schema::new(columns.into_iter().map(field).collect::<Vec<_>>()))
}

/// The table.
#[derive(Debug)]
pub(crate) struct Traces {
    snapshot: Arc<Snapshot>,
    schema: SchemaRef,
}

impl Traces {
    pub(crate) fn new(snapshot: Arc<Snapshot>) -> Self {
        Self { snapshot, schema: schema() }
    }
}

/// A condition on the carrying message alone, in the names of the table of messages.
fn of_carrier(condition: &Expr) -> Option<Expr> {
    let mut is_carried = true;
    let renamed = condition.clone().transform(|part| {
        let Expr::Column(column) = &part else { return Ok(Transformed::no(part)) };
        let Some((_, there)) = CARRIED.iter().find(|(name, _)| *name == column.name()) else {
            is_carried = false;
            return Ok(Transformed::no(part));
        };
        Ok(Transformed::yes(Expr::Column(NamedColumn::from_name(there.name()))))
    });
    renamed.ok().map(|renamed| renamed.data).filter(|_| is_carried)
}

#[async_trait]
impl TableProvider for Traces {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let support = |filter: &&Expr| {
            let is_bound = of_carrier(filter).is_some_and(|renamed| is_bound(&renamed));
            if is_bound { TableProviderFilterPushDown::Inexact } else { TableProviderFilterPushDown::Unsupported }
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
        let mut ask = wanted(&filters.iter().filter_map(of_carrier).collect::<Vec<_>>());
        ask.topic_prefixes = Some([TRACE_TOPIC, TRACE_REGION_PREFIX].map(str::to_owned).into());
        let columns = Column::places(&CARRIER);
        let partitions = state.config().target_partitions();
        let input = MessagesPlan::of(&self.snapshot, &ask, Some(&columns), partitions).await?;
        let schema = match projection {
            Some(columns) => Arc::new(self.schema.project(columns)?),
            None => Arc::clone(&self.schema),
        };
        Ok(Arc::new(SplitPlan::new("Traces", Arc::new(input), schema, of_batch)))
    }
}

/// The message that carries a record.
struct Carrier<'a> {
    topic: &'a str,
    queue_id: i32,
    offset: i64,
    store_micros: i64,
    keys: Option<Vec<&'a str>>,
    tier: &'a str,
}

/// A row: a record, or what is left of one, of one message that it tells of.
struct Row<'a> {
    carrier: &'a Carrier<'a>,
    record: &'a std::result::Result<Trace<'a>, Damaged<'a>>,
    /// The message, of those that one record tells of together.
    msg_id: Option<&'a str>,
}

/// The rows of carrying messages.
fn of_batch(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let at = |place: usize| batch.column(place);
    let (topics, tiers) = (at(0).as_string_view(), at(6).as_string_view());
    let (queues, offsets) = (at(1).as_primitive::<Int32Type>(), at(2).as_primitive::<Int64Type>());
    let (times, keys) = (at(3).as_primitive::<TimestampMicrosecondType>(), at(4).as_list::<i32>());
    let bodies = at(5).as_binary_view();
    let mut decoder = ReaderBuilder::new(Arc::clone(schema)).with_batch_size(BATCH_ROWS).build_decoder()?;
    for row in 0..batch.num_rows() {
        let topic = topics.value(row);
        if !is_trace_topic(topic) {
            continue;
        }
        let values = keys.is_valid(row).then(|| keys.value(row));
        let carrier = Carrier {
            topic,
            queue_id: queues.value(row),
            offset: offsets.value(row),
            store_micros: times.value(row),
            keys: values.as_ref().map(|values| values.as_string_view().iter().flatten().collect()),
            tier: tiers.value(row),
        };
        for record in records(bodies.value(row)) {
            decoder.serialize(&rows_of(&carrier, &record))?;
        }
    }
    Ok(decoder.flush()?.unwrap_or_else(|| RecordBatch::new_empty(Arc::clone(schema))))
}

/// A record of a batch is a row for each message of it.
fn rows_of<'a>(carrier: &'a Carrier<'a>, record: &'a std::result::Result<Trace<'a>, Damaged<'a>>) -> Vec<Row<'a>> {
    let ids: Vec<&str> = record.iter().flat_map(|trace| trace.message.ids()).collect();
    if ids.is_empty() {
        return vec![Row { carrier, record, msg_id: None }];
    }
    ids.into_iter().map(|id| Row { carrier, record, msg_id: Some(id) }).collect()
}

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        let carrier = self.carrier;
        map.serialize_entry("store_time", &carrier.store_micros)?;
        map.serialize_entry("trace_topic", carrier.topic)?;
        map.serialize_entry("trace_queue_id", &carrier.queue_id)?;
        map.serialize_entry("trace_offset", &carrier.offset)?;
        map.serialize_entry("tier", carrier.tier)?;
        put(&mut map, "trace_keys", carrier.keys.as_ref())?;
        put(&mut map, "msg_id", self.msg_id)?;
        match self.record {
            Ok(trace) => {
                map.serialize_entry("kind", trace.kind.text())?;
                put(&mut map, "time", trace.time_ms.map(|time| time.saturating_mul(MICROS)))?;
                put(&mut map, "region", trace.region)?;
                put(&mut map, "client_group", trace.group)?;
                put(&mut map, "cost_ms", trace.cost_ms)?;
                put(&mut map, "is_success", trace.success)?;
                put_details(&mut map, trace)?;
            }
            Err(damaged) => {
                map.serialize_entry("kind", "undecoded")?;
                map.serialize_entry("error", &damaged.to_string())?;
                map.serialize_entry("record", &String::from_utf8_lossy(damaged.record))?;
            }
        }
        map.end()
    }
}

fn put_details<M: SerializeMap>(map: &mut M, trace: &Trace<'_>) -> std::result::Result<(), M::Error> {
    let message = &trace.message;
    put(map, "topic", message.topic)?;
    put(map, "offset_msg_id", message.offset_id)?;
    put(map, "tags", message.tags)?;
    put(map, "keys", message.keys)?;
    put(map, "body_bytes", message.body_bytes)?;
    put(map, "message_type", message.type_name())?;
    put(map, "store_host", message.store_host)?;
    put(map, "client_host", trace.client.host)?;
    put(map, "client_id", trace.client.id)?;
    put(map, "request_id", trace.consumption.request_id)?;
    put(map, "retry_times", trace.consumption.retry_times)?;
    put(map, "context", trace.consumption.context_name())?;
    put(map, "delay_level", trace.consumption.delay_level)?;
    put(map, "transaction_id", trace.transaction.id)?;
    put(map, "transaction_state", trace.transaction.state)?;
    put(map, "is_from_check", trace.transaction.from_check)?;
    put(map, "queue_id", trace.span.queue_id)?;
    put(map, "queue_offset", trace.span.queue_offset)?;
    put(map, "last_queue_offset", trace.span.last_queue_offset)?;
    put(map, "messages", trace.span.messages)
}

fn put<M: SerializeMap, V: Serialize>(
    map: &mut M,
    name: &'static str,
    value: Option<V>,
) -> std::result::Result<(), M::Error> {
    value.map_or(Ok(()), |value| map.serialize_entry(name, &value))
}
