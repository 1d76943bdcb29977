//! Rows of anomalies, each by itself, and back into batches: what a differential collection can hold and compare.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int32Array, RecordBatch};
use arrow::datatypes::{Int32Type, TimestampMicrosecondType};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};

use crate::domain::anomaly::{WindowAnomaly, schema};
use crate::stage::RestoreError;
use crate::views::changes::Published;
use crate::views::verdict::StoredRow;

const OURS: &str = "rows were encoded by this schema";

/// Rows of a batch of state.
const BATCH_ROWS_MAX: usize = 8192;

/// To and fro between batches of the anomalies' schema and their rows. Invariant: a row comes back with the bits that it had.
#[derive(Debug)]
pub struct AnomalyRows(RowConverter);

impl AnomalyRows {
    pub fn new() -> AnomalyRows {
        let fields = schema().fields().iter().map(|field| SortField::new(field.data_type().clone())).collect();
        AnomalyRows(RowConverter::new(fields).expect("every type of the schema can be encoded by row"))
    }

    /// The rows of windows in a batch; those of events have no revisions, and are passed over.
    pub fn of_windows(&self, batch: &RecordBatch) -> Result<Vec<(WindowAnomaly, StoredRow)>, ArrowError> {
        if batch.schema() != schema() {
            return Err(ArrowError::SchemaError("these are not the columns of anomalies".to_owned()));
        }
        let column = |name: &str| batch.column_by_name(name).expect("the schema was compared");
        let time = |name: &str| column(name).as_primitive::<TimestampMicrosecondType>();
        let text = |name: &str| column(name).as_string::<i32>();
        let (starts, ends, keys, detectors) =
            (time("window_start"), time("window_end"), text("key"), text("detector"));
        let rows = self.0.convert_columns(batch.columns())?;
        let of_window = |row: &usize| starts.is_valid(*row) && ends.is_valid(*row);
        let one = |row: usize| {
            let anomaly = WindowAnomaly {
                window_end: ends.value(row),
                window_start: starts.value(row),
                key: keys.value(row).to_owned(),
                detector: detectors.value(row).to_owned(),
            };
            (anomaly, StoredRow(rows.row(row).data().into()))
        };
        Ok((0..batch.num_rows()).filter(of_window).map(one).collect())
    }

    /// One batch of the rows, in their order.
    fn batch<'a>(&self, rows: impl Iterator<Item = &'a StoredRow>) -> RecordBatch {
        let parser = self.0.parser();
        let columns = self.0.convert_rows(rows.map(|row| parser.parse(&row.0))).expect(OURS);
        RecordBatch::try_new(schema(), columns).expect(OURS)
    }

    /// What is published: an anomaly as it was found; a retraction as the row that it takes back was, but for its revision and that it
    /// says so.
    pub fn published(&self, published: &[Published]) -> RecordBatch {
        let batch = self.batch(published.iter().map(|one| &one.row));
        let place = |name: &str| batch.schema().index_of(name).expect(OURS);
        let (revision, retracted) = (place("revision"), place("retracted"));
        let stored = batch.column(revision).as_primitive::<Int32Type>().values();
        let revisions = published.iter().zip(stored).map(|(one, stored)| one.retracted_by.unwrap_or(*stored));
        let is_retracted: BooleanArray = published.iter().map(|one| Some(one.retracted_by.is_some())).collect();
        let mut columns: Vec<ArrayRef> = batch.columns().to_vec();
        columns[revision] = Arc::new(Int32Array::from_iter_values(revisions));
        columns[retracted] = Arc::new(is_retracted);
        RecordBatch::try_new(schema(), columns).expect(OURS)
    }

    /// Rows that stand, as they are kept in the state of a checkpoint.
    pub fn state(&self, standing: &[StoredRow]) -> Vec<RecordBatch> {
        standing.chunks(BATCH_ROWS_MAX).map(|rows| self.batch(rows.iter())).collect()
    }

    /// Takes back what `state` gave on all workers of an earlier run. Nothing of an output that was begun without it.
    pub fn restore(&self, state: &[RecordBatch]) -> Result<Vec<(WindowAnomaly, StoredRow)>, RestoreError> {
        let damaged = |fault: String| RestoreError::Damaged { stage: "views/anomalies".to_owned(), fault };
        let mut standing = Vec::new();
        for batch in state {
            let rows = self.of_windows(batch).map_err(|error| damaged(error.to_string()))?;
            if rows.len() != batch.num_rows() {
                return Err(damaged("an anomaly without a window".to_owned()));
            }
            standing.extend(rows);
        }
        standing.sort_unstable();
        match standing.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            Some(twice) => Err(damaged(format!("{:?} stands twice", twice[0].0))),
            None => Ok(standing),
        }
    }
}

impl Default for AnomalyRows {
    fn default() -> AnomalyRows {
        AnomalyRows::new()
    }
}
