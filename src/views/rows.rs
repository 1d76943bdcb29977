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
        let (starts, ends, keys, detectors) = (time("window_start"), time("window_end"), text("key"), text("detector"));
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

#[cfg(test)]
mod tests {
    use arrow::array::{
        Float64Array, Int64Array, ListArray, StringArray, StructArray, TimestampMicrosecondArray, UInt64Array,
    };
    use arrow::buffer::OffsetBuffer;

    use super::*;
    use crate::domain::anomaly::{why_fields, why_item};

    /// Scores that a sum or a text might have changed, with as many reasons as their place says; the last row is an event's.
    fn anomalies(scores: &[f64]) -> RecordBatch {
        let rows = scores.len();
        let last = |row: usize| row + 1 == rows;
        let times = |time: &dyn Fn(usize) -> Option<i64>| -> ArrayRef {
            Arc::new((0..rows).map(time).collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
        };
        let texts = |text: &str| -> ArrayRef { Arc::new(StringArray::from(vec![text; rows])) };
        let floats = |values: Vec<Option<f64>>| -> ArrayRef { Arc::new(Float64Array::from(values)) };
        let reasons: Vec<(usize, usize)> =
            (0..rows).flat_map(|row| (0..row).map(move |reason| (row, reason))).collect();
        let of = |value: &dyn Fn(usize, usize) -> Option<f64>| {
            floats(reasons.iter().map(|(row, reason)| value(*row, *reason)).collect())
        };
        let features = StringArray::from_iter_values(reasons.iter().map(|(_, reason)| format!("f{reason}")));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(features),
            of(&|row, _| Some(scores[row])),
            of(&|row, reason| (reason % 2 == 0).then_some(-scores[row])),
            of(&|_, _| Some(0.1 + 0.2)),
        ];
        let shares = StructArray::new(why_fields(), columns, None);
        let why = ListArray::new(why_item(), OffsetBuffer::from_lengths(0..rows), Arc::new(shares), None);
        let columns: Vec<ArrayRef> = vec![
            times(&|row| last(row).then_some(5)),
            times(&|row| (!last(row)).then_some(10 * row as i64)),
            times(&|row| (!last(row)).then_some(10 * row as i64 + 10)),
            texts("pump-1"),
            texts("flow"),
            texts("iomt/3"),
            floats(scores.iter().copied().map(Some).collect()),
            floats(vec![Some(0.7); rows]),
            texts("low"),
            Arc::new(why),
            Arc::new((0..rows).map(|row| last(row).then_some(7)).collect::<UInt64Array>()),
            Arc::new((0..rows).map(|row| last(row).then_some(12)).collect::<Int64Array>()),
            Arc::new(Int32Array::from_iter_values(0..rows as i32)),
            Arc::new(BooleanArray::from(vec![false; rows])),
        ];
        RecordBatch::try_new(schema(), columns).unwrap()
    }

    const SCORES: [f64; 6] = [1.0, -0.0, f64::MIN_POSITIVE / 3.0, f64::INFINITY, 1.000_000_000_000_000_2, 9.0];

    #[test]
    fn a_row_comes_back_with_its_bits_and_an_event_is_passed_over() {
        let (rows, batch) = (AnomalyRows::new(), anomalies(&SCORES));
        let stored = rows.of_windows(&batch).unwrap();
        let ends: Vec<i64> = stored.iter().map(|(anomaly, _)| anomaly.window_end).collect();
        assert_eq!(ends, [10, 20, 30, 40, 50]);
        let state = rows.state(&stored.iter().map(|(_, row)| row.clone()).collect::<Vec<_>>());
        // Equality of batches is that of bits for all but floats.
        assert_eq!(state, [batch.slice(0, 5)]);
        let bits = |batch: &RecordBatch| -> Vec<u64> {
            let scores = batch["score"].as_primitive::<arrow::datatypes::Float64Type>().clone();
            scores.values().iter().map(|score| score.to_bits()).collect()
        };
        assert_eq!(bits(&state[0]), SCORES[..5].iter().map(|score| score.to_bits()).collect::<Vec<_>>());
        assert_eq!(rows.restore(&state).unwrap(), stored);
    }

    #[test]
    fn a_retraction_is_the_stored_row_but_for_its_revision_and_that_it_says_so() {
        let (rows, batch) = (AnomalyRows::new(), anomalies(&SCORES));
        let stored = rows.of_windows(&batch).unwrap().into_iter();
        let one = |(index, (anomaly, row)): (usize, (WindowAnomaly, StoredRow))| Published {
            anomaly,
            row,
            retracted_by: (index % 2 == 1).then_some(40),
        };
        let published = rows.published(&stored.enumerate().map(one).collect::<Vec<_>>());
        let revisions = published["revision"].as_primitive::<Int32Type>().values().to_vec();
        let retracted: Vec<bool> = published["retracted"].as_boolean().iter().flatten().collect();
        assert_eq!((revisions, retracted), (vec![0, 40, 2, 40, 4], vec![false, true, false, true, false]));
        let others: Vec<usize> = (0..12).collect();
        assert_eq!(published.project(&others).unwrap(), batch.slice(0, 5).project(&others).unwrap());
    }

    #[test]
    fn state_that_is_damaged_is_told_and_none_is_nothing() {
        let rows = AnomalyRows::new();
        assert_eq!(rows.restore(&[]).unwrap(), []);
        let batch = anomalies(&SCORES);
        let refused = |state: &[RecordBatch]| rows.restore(state).unwrap_err().to_string();
        assert!(refused(std::slice::from_ref(&batch)).contains("an anomaly without a window"));
        let windows = batch.slice(0, 5);
        assert!(refused(&[windows.clone(), windows.slice(1, 1)]).contains("stands twice"));
        assert!(refused(&[windows.project(&[0, 1, 2]).unwrap()]).contains("not the columns of anomalies"));
    }
}
