//! Messages of the tier, part by part.

use datafusion::arrow::record_batch::RecordBatch;
use datafusion::error::DataFusionError;
use strata_tiering::cold::{Cold, TablePart};
use tokio::sync::mpsc::Sender;

use crate::columns::Chosen;
use crate::error::ReadError;
use crate::figures::TierFigures;

/// Reads parts one after another, until nobody takes their batches.
pub(crate) async fn read(
    (cold, figures): (&Cold, &TierFigures),
    parts: &[TablePart],
    chosen: &Chosen,
    to: &Sender<Result<RecordBatch, DataFusionError>>,
) -> Result<(), DataFusionError> {
    for part in parts {
        let paths = chosen.paths(part.columns());
        let mut rows = cold.table_rows(part, &paths).map_err(ReadError::from)?;
        let mut fetched = 0;
        while let Some(batch) = rows.next().await.map_err(ReadError::from)? {
            figures.add(batch.num_rows(), rows.fetched() - fetched);
            fetched = rows.fetched();
            for part in chosen.parts(&batch)? {
                for messages in chosen.of_rows(&part)? {
                    if to.send(Ok(messages)).await.is_err() {
                        return Ok(());
                    }
                }
            }
        }
    }
    Ok(())
}
