//! Corrected windows that a detector does not call an anomaly: what makes an anomaly fall that an earlier revision was.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Schema, TimestampMicrosecondType};

use crate::domain::anomaly::WindowAnomaly;
use crate::scoring::scorer::{FIRST_BY, ScoringError, WINDOW_END, WINDOW_START, flag_column, group_text};

/// Reads rows of a window as a detector left them.
#[derive(Debug)]
pub struct Cleared {
    detector: String,
    flag: usize,
    by_end: usize,
    revision: usize,
}

impl Cleared {
    /// `scored` is the schema of the window's rows with the columns of this detector, and perhaps of others.
    pub fn new(detector: &str, scored: &Schema) -> Result<Cleared, ScoringError> {
        let place = |name: &str, column: &'static str| {
            scored.index_of(name).map_err(|_| ScoringError::NotRows { detector: detector.to_owned(), column })
        };
        Ok(Cleared {
            flag: place(&flag_column(detector), "is_anomaly")?,
            by_end: place("count", "count")?,
            revision: place("revision", "revision")?,
            detector: detector.to_owned(),
        })
    }

    /// The anomalies that the rows are not, each with the revision that says so. A null flag says so as well. A row of revision 0 is
    /// left out: there was nothing before it.
    pub fn rows(&self, batch: &RecordBatch) -> Vec<(WindowAnomaly, i32)> {
        let revisions = batch.column(self.revision).as_primitive::<Int32Type>().values();
        let flags = batch.column(self.flag).as_boolean();
        let time = |column: usize, row| batch.column(column).as_primitive::<TimestampMicrosecondType>().value(row);
        let is_cleared = |row: &usize| revisions[*row] > 0 && !(flags.is_valid(*row) && flags.value(*row));
        let cleared = |row: usize| {
            let anomaly = WindowAnomaly {
                window_end: time(WINDOW_END, row),
                window_start: time(WINDOW_START, row),
                key: group_text(batch, FIRST_BY..self.by_end, row),
                detector: self.detector.clone(),
            };
            (anomaly, revisions[row])
        };
        (0..batch.num_rows()).filter(is_cleared).map(cleared).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, BooleanArray, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray};

    use super::*;

    #[test]
    fn a_corrected_row_that_is_no_anomaly_names_what_it_is_not() {
        let times = |values: [i64; 5]| -> ArrayRef {
            Arc::new(TimestampMicrosecondArray::from(values.to_vec()).with_timezone("UTC"))
        };
        let columns: [(&str, ArrayRef); 7] = [
            ("window_start", times([0, 10, 20, 30, 40])),
            ("window_end", times([10, 20, 30, 40, 50])),
            ("plant", Arc::new(StringArray::from(vec!["a", "b", "c/d", "e", r"\"]))),
            ("pump", Arc::new(Int64Array::from(vec![1, 2, 3, 4, 5]))),
            ("count", Arc::new(Int64Array::from(vec![9; 5]))),
            (
                "flow_is_anomaly",
                Arc::new(BooleanArray::from(vec![Some(false), Some(false), Some(false), Some(true), None])),
            ),
            ("revision", Arc::new(Int32Array::from(vec![0, 1, 7, 2, 3]))),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let cleared = Cleared::new("flow", &batch.schema()).unwrap().rows(&batch);
        let said: Vec<(i64, i64, &str, &str, i32)> = cleared
            .iter()
            .map(|(one, revision)| {
                (one.window_start, one.window_end, one.key.as_str(), one.detector.as_str(), *revision)
            })
            .collect();
        // Never the row of revision 0, nor the anomaly; a slash inside of a value is not one between two.
        let wanted = [(10, 20, "b/2", "flow", 1), (20, 30, r"c\/d/3", "flow", 7), (40, 50, r"\\/5", "flow", 3)];
        assert_eq!(said, wanted);
        assert!(Cleared::new("other", &batch.schema()).is_err());
    }
}
