//! The forms in which rows are given out: JSON lines, Arrow's stream, Parquet.

use std::collections::HashSet;
use std::io::{self, Write};
use std::sync::Arc;

use datafusion::arrow::datatypes::Schema;
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::ipc::writer::StreamWriter;
use datafusion::arrow::json::WriterBuilder;
use datafusion::arrow::json::writer::LineDelimited;
use datafusion::arrow::record_batch::RecordBatch;
use parking_lot::Mutex;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use crate::error::QueryError;
use crate::limits::PARQUET_GROUP_ROWS_MAX;

/// A form of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Json,
    Arrow,
    Parquet,
}

impl Form {
    const ALL: [Self; 3] = [Self::Json, Self::Arrow, Self::Parquet];

    /// Its media type.
    pub(crate) const fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/x-ndjson",
            Self::Arrow => "application/vnd.apache.arrow.stream",
            Self::Parquet => "application/vnd.apache.parquet",
        }
    }

    /// The first form that a list of media types names; JSON lines where it names none.
    pub(crate) fn accepted(list: &str) -> Self {
        let named = |media_type: &str| Self::ALL.into_iter().find(|form| form.media_type() == media_type);
        let mut named = list.split(',').filter_map(|item| named(item.split(';').next().unwrap_or(item).trim()));
        named.next().unwrap_or(Self::Json)
    }
}

/// What was written and not yet taken.
#[derive(Debug, Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Sink {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.lock())
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum Writer {
    Json,
    Arrow(Box<StreamWriter<Sink>>),
    Parquet(Box<ArrowWriter<Sink>>),
}

/// Writes rows in one form.
pub(crate) struct Encoder {
    sink: Sink,
    writer: Writer,
}

impl Encoder {
    pub(crate) fn new(form: Form, schema: &Arc<Schema>) -> Result<Self, QueryError> {
        let sink = Sink::default();
        let writer = match form {
            Form::Json => {
                // Readers keep one of two members of the same name.
                let mut seen = HashSet::new();
                if let Some(twice) = schema.fields().iter().find(|field| !seen.insert(field.name())) {
                    let told = format!("two columns are named {}; give one another name with AS", twice.name());
                    return Err(QueryError::Statement(told));
                }
                Writer::Json
            }
            Form::Arrow => Writer::Arrow(Box::new(StreamWriter::try_new(sink.clone(), schema)?)),
            Form::Parquet => {
                let properties = WriterProperties::builder()
                    .set_compression(Compression::ZSTD(ZstdLevel::default()))
                    .set_max_row_group_row_count(Some(PARQUET_GROUP_ROWS_MAX))
                    .build();
                let writer = ArrowWriter::try_new(sink.clone(), Arc::clone(schema), Some(properties))?;
                Writer::Parquet(Box::new(writer))
            }
        };
        Ok(Self { sink, writer })
    }

    /// Bytes that a batch adds; they may come with later ones.
    pub(crate) fn rows(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, QueryError> {
        match &mut self.writer {
            Writer::Json => return json_lines(batch),
            Writer::Arrow(writer) => writer.write(batch)?,
            Writer::Parquet(writer) => writer.write(batch)?,
        }
        Ok(self.sink.take())
    }

    /// Bytes behind the last rows.
    pub(crate) fn end(self) -> Result<Vec<u8>, QueryError> {
        match self.writer {
            Writer::Json => {}
            Writer::Arrow(mut writer) => writer.finish()?,
            Writer::Parquet(writer) => {
                writer.close()?;
            }
        }
        Ok(self.sink.take())
    }
}

fn json_lines(batch: &RecordBatch) -> Result<Vec<u8>, QueryError> {
    let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(Vec::new());
    writer.write(batch)?;
    writer.finish()?;
    Ok(writer.into_inner())
}

impl From<ArrowError> for QueryError {
    fn from(error: ArrowError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<ParquetError> for QueryError {
    fn from(error: ParquetError) -> Self {
        Self::Failed(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use datafusion::arrow::array::Int32Array;
    use datafusion::arrow::ipc::reader::StreamReader;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;

    fn batch() -> RecordBatch {
        RecordBatch::try_from_iter([("n", Arc::new(Int32Array::from(vec![1, 2, 3])) as _)]).unwrap()
    }

    fn written(form: Form) -> Vec<u8> {
        let mut encoder = Encoder::new(form, &batch().schema()).unwrap();
        let mut out = encoder.rows(&batch()).unwrap();
        out.extend(encoder.rows(&batch()).unwrap());
        out.extend(encoder.end().unwrap());
        out
    }

    #[test]
    fn rows_are_the_same_in_all_forms() {
        assert_eq!(String::from_utf8(written(Form::Json)).unwrap().lines().count(), 6);
        let arrow: Vec<RecordBatch> =
            StreamReader::try_new(&written(Form::Arrow)[..], None).unwrap().map(Result::unwrap).collect();
        assert_eq!(arrow, [batch(), batch()]);
        let parquet = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(written(Form::Parquet))).unwrap();
        assert_eq!(parquet.build().unwrap().map(|batch| batch.unwrap().num_rows()).sum::<usize>(), 6);
    }

    #[test]
    fn the_first_form_that_is_known_is_taken() {
        assert_eq!(Form::accepted("text/html, application/vnd.apache.parquet;q=0.9, */*"), Form::Parquet);
        assert_eq!(Form::accepted("application/vnd.apache.arrow.stream"), Form::Arrow);
        assert_eq!(Form::accepted("*/*"), Form::Json);
        assert_eq!(Form::accepted(""), Form::Json);
    }
}
