//! Rows as PostgreSQL's wire has them.
//!
//! Owns what becomes of types that PostgreSQL does not have: a map is told as a JSON text.

use std::sync::Arc;

use datafusion::arrow::array::cast::AsArray;
use datafusion::arrow::array::{Array, ArrayRef, MapArray, StringBuilder};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion_postgres::arrow_pg::datatypes::{arrow_schema_to_pg_fields, encode_recordbatch};
use datafusion_postgres::pgwire::api::portal::Format;
use datafusion_postgres::pgwire::api::results::{FieldInfo, QueryResponse};
use datafusion_postgres::pgwire::error::{PgWireError, PgWireResult};
use datafusion_postgres::pgwire::messages::data::DataRow;
use datafusion_postgres::pgwire::types::format::FormatOptions;
use futures_util::{StreamExt, stream};
use serde_json::{Map, Value};

use super::cancel::Stop;
use super::told::{refused, told};
use crate::engine::{Answer, Engine};
use crate::limits::{GATHERED_BYTES_MAX, GATHERED_ROWS_MAX};

/// The columns of an answer as a client is told of them.
pub(super) fn fields(
    schema: &Schema,
    format: &Format,
    options: Option<Arc<FormatOptions>>,
) -> PgWireResult<Vec<FieldInfo>> {
    if let Format::Individual(codes) = format
        && codes.len() != schema.fields().len()
    {
        let text = format!("{} formats for {} columns", codes.len(), schema.fields().len());
        return Err(PgWireError::ApiError(text.into()));
    }
    arrow_schema_to_pg_fields(&served(schema), format, options)
}

/// An answer on its way, until it is stopped. `text` is what the client sent.
pub(super) fn response(
    engine: &Arc<Engine>,
    (answer, stop): (Answer, Stop),
    (format, options): (&Format, Option<Arc<FormatOptions>>),
    text: String,
) -> PgWireResult<QueryResponse> {
    let fields = Arc::new(fields(&answer.schema(), format, options)?);
    let way = Way { engine: Arc::clone(engine), answer, stop, fields: Arc::clone(&fields), text };
    let rows = stream::unfold(Some(way), |way| async move {
        let mut way = way?;
        match way.next().await {
            Ok(None) => None,
            Ok(Some(rows)) => Some((rows, Some(way))),
            Err(error) => Some((vec![Err(error)], None)),
        }
    });
    Ok(QueryResponse::new(fields, rows.flat_map(stream::iter)))
}

/// What makes rows of an answer.
struct Way {
    engine: Arc<Engine>,
    answer: Answer,
    stop: Stop,
    fields: Arc<Vec<FieldInfo>>,
    text: String,
}

impl Way {
    /// The rows of the next batch.
    async fn next(&mut self) -> PgWireResult<Option<Vec<PgWireResult<DataRow>>>> {
        let Some(batch) = self.stop.or(self.answer.next()).await? else { return Ok(None) };
        let batch = batch.map_err(|error| told(&error, &self.text))?;
        let fields = Arc::clone(&self.fields);
        let written = self.engine.apart(move || {
            let batch = as_served(&batch).map_err(|error| PgWireError::ApiError(Box::new(error)))?;
            Ok(encode_recordbatch(fields, batch).collect())
        });
        written.await.map_err(|error| told(&error, &self.text))?.map(Some)
    }
}

/// The same rows when all of them are there. `bytes` counts those of all statements that are sent together.
pub(super) async fn gathered(mut response: QueryResponse, bytes: &mut usize) -> PgWireResult<QueryResponse> {
    let mut rows = Vec::new();
    while let Some(row) = response.data_rows().next().await {
        let row = row?;
        *bytes = bytes.saturating_add(row.data.len() + size_of::<PgWireResult<DataRow>>());
        rows.push(Ok(row));
        if rows.len() > GATHERED_ROWS_MAX {
            let text =
                format!("statements that are sent together give {GATHERED_ROWS_MAX} rows at most; send this one alone");
            return Err(refused("54000", text));
        }
        if *bytes > GATHERED_BYTES_MAX {
            let text = format!(
                "statements that are sent together give {GATHERED_BYTES_MAX} bytes at most; send them one by one"
            );
            return Err(refused("54000", text));
        }
    }
    Ok(QueryResponse::new(response.row_schema(), stream::iter(rows)))
}

/// The columns that are sent.
fn served(schema: &Schema) -> Schema {
    let fields = schema.fields().iter().map(|field| match served_type(field.data_type()) {
        None => Arc::clone(field),
        Some(kind) => Arc::new(Field::new(field.name(), kind, true)),
    });
    Schema::new(fields.collect::<Vec<_>>())
}

/// What a type is sent as, if not as itself.
fn served_type(kind: &DataType) -> Option<DataType> {
    if matches!(kind, DataType::Map(..)) {
        return Some(DataType::Utf8);
    }
    // The wire's library has no form for numbers of more than 38 digits.
    matches!(kind, DataType::Decimal256(..)).then_some(DataType::Utf8)
}

fn as_served(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let served = served(batch.schema_ref());
    let column = |column: &ArrayRef| match (column.as_map_opt(), served_type(column.data_type())) {
        (Some(maps), _) => texts_of_maps(maps),
        (None, Some(kind)) => cast(column, &kind),
        (None, None) => Ok(Arc::clone(column)),
    };
    let columns = batch.columns().iter().map(column).collect::<Result<Vec<_>, _>>()?;
    if columns.is_empty() {
        return Ok(batch.clone());
    }
    RecordBatch::try_new(Arc::new(served), columns)
}

/// Maps as JSON objects.
fn texts_of_maps(maps: &MapArray) -> Result<ArrayRef, ArrowError> {
    let (keys, values) = (cast(maps.keys(), &DataType::Utf8)?, cast(maps.values(), &DataType::Utf8)?);
    let (keys, values) = (keys.as_string::<i32>(), values.as_string::<i32>());
    let mut out = StringBuilder::new();
    for (row, bounds) in maps.value_offsets().windows(2).enumerate() {
        let (Some(from), Some(to)) = (bounds.first(), bounds.get(1)) else { continue };
        if maps.is_null(row) {
            out.append_null();
            continue;
        }
        let mut object = Map::new();
        for at in usize::try_from(*from).unwrap_or(0)..usize::try_from(*to).unwrap_or(0) {
            let value = if values.is_null(at) { Value::Null } else { Value::from(values.value(at)) };
            object.insert(keys.value(at).to_owned(), value);
        }
        out.append_value(Value::Object(object).to_string());
    }
    Ok(Arc::new(out.finish()))
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::builder::{MapBuilder, StringBuilder as Texts};
    use datafusion::arrow::array::{Int32Array, RecordBatch};

    use super::*;

    #[tokio::test]
    async fn what_is_sent_together_is_bounded_in_bytes_over_all_statements() {
        let rows = || {
            let mut row = DataRow::default();
            row.data.resize(GATHERED_BYTES_MAX / 4, 7);
            QueryResponse::new(Arc::default(), stream::iter([Ok(row)]))
        };
        let mut bytes = 0;
        for _ in 0..3 {
            let mut gathered = gathered(rows(), &mut bytes).await.unwrap();
            assert!(gathered.data_rows().next().await.is_some_and(|row| row.is_ok()));
        }
        let told = gathered(rows(), &mut bytes).await.err().map(|error| error.to_string()).unwrap();
        assert!(told.contains("one by one"), "{told}");
    }

    #[test]
    fn maps_are_json_texts_and_all_else_is_itself() {
        let mut maps = MapBuilder::new(None, Texts::new(), Texts::new());
        maps.keys().append_value("a");
        maps.values().append_value("x\"y");
        maps.keys().append_value("b");
        maps.values().append_null();
        maps.append(true).unwrap();
        maps.append(true).unwrap();
        maps.append(false).unwrap();
        let columns: Vec<(&str, ArrayRef)> =
            vec![("properties", Arc::new(maps.finish())), ("n", Arc::new(Int32Array::from(vec![1, 2, 3])))];
        let batch = as_served(&RecordBatch::try_from_iter(columns).unwrap()).unwrap();
        let texts = batch.column(0).as_string::<i32>();
        assert_eq!(texts.iter().collect::<Vec<_>>(), [Some(r#"{"a":"x\"y","b":null}"#), Some("{}"), None]);
        assert_eq!(batch.column(1).data_type(), &DataType::Int32);
    }
}
