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
