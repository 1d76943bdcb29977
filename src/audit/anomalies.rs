//! The anomalies of an output, each in its newest revision.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};

use crate::audit::AuditError;
use crate::audit::tables::Tables;
use crate::domain::time::EventTime;

const TABLE: &str = "anomalies";

/// An event or a window that a detector found abnormal.
#[derive(Clone, Debug, PartialEq)]
pub struct Anomaly {
    /// The event's time, or the window's start and end.
    pub from: EventTime,
    pub to: EventTime,
    pub key: String,
    pub detector: String,
    pub model: String,
    pub score: f64,
    pub threshold: f64,
    pub severity: String,
    /// By share of the error, the largest first.
    pub why: Vec<Reason>,
}

/// What a feature has to do with an anomaly.
#[derive(Clone, Debug, PartialEq)]
pub struct Reason {
    pub feature: String,
    pub value: f64,
    pub expected: f64,
    /// Of the error, from 0 to 1.
    pub share: f64,
}

/// What is equal in all revisions of an anomaly: detector, key, time or window, partition and offset.
type Identity = (String, String, i64, i64, Option<String>, Option<i64>);

/// The newest revision of every anomaly that is not retracted, by time.
pub fn newest(tables: &Tables) -> Result<Vec<Anomaly>, AuditError> {
    let mut found: BTreeMap<Identity, (i32, Option<Anomaly>)> = BTreeMap::new();
    tables.read(TABLE, &mut |batch| {
        let columns = Columns::of(&batch)?;
        for row in 0..batch.num_rows() {
            let (identity, revision, anomaly) = columns.row(row);
            let known = found.entry(identity).or_insert((revision, anomaly.clone()));
            if known.0 < revision {
                *known = (revision, anomaly);
            }
        }
        Ok(())
    })?;
    let mut anomalies: Vec<Anomaly> = found.into_values().filter_map(|(_, anomaly)| anomaly).collect();
    anomalies.sort_by(|a, b| (a.from, &a.key, &a.detector).cmp(&(b.from, &b.key, &b.detector)));
    Ok(anomalies)
}

/// The columns of one batch.
struct Columns<'a> {
    batch: &'a RecordBatch,
    time: &'a TimestampMicrosecondArray,
    start: &'a TimestampMicrosecondArray,
    end: &'a TimestampMicrosecondArray,
    score: &'a Float64Array,
    threshold: &'a Float64Array,
}

fn missing(column: &'static str) -> AuditError {
    AuditError::Column { table: TABLE, column }
}

impl<'a> Columns<'a> {
    fn of(batch: &'a RecordBatch) -> Result<Columns<'a>, AuditError> {
        let time = |name: &'static str| {
            let column = batch.column_by_name(name);
            column.and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>()).ok_or_else(|| missing(name))
        };
        let float = |name: &'static str| {
            let column = batch.column_by_name(name);
            column.and_then(|column| column.as_primitive_opt::<Float64Type>()).ok_or_else(|| missing(name))
        };
        for name in ["key", "detector", "model", "severity"] {
            batch.column_by_name(name).and_then(|column| column.as_string_opt::<i32>()).ok_or_else(|| missing(name))?;
        }
        let is = |name: &'static str, fits: bool| if fits { Ok(()) } else { Err(missing(name)) };
        let column = |name: &str| batch.column_by_name(name);
        is("revision", column("revision").is_some_and(|column| column.as_primitive_opt::<Int32Type>().is_some()))?;
        is("retracted", column("retracted").is_some_and(|column| column.as_boolean_opt().is_some()))?;
        is("why", column("why").is_some_and(|column| column.as_list_opt::<i32>().is_some()))?;
        let (score, threshold) = (float("score")?, float("threshold")?);
        Ok(Columns {
            batch,
            time: time("time")?,
            start: time("window_start")?,
            end: time("window_end")?,
            score,
            threshold,
        })
    }

    fn text(&self, name: &str, row: usize) -> Option<String> {
        let column: &StringArray = self.batch.column_by_name(name)?.as_string_opt()?;
        column.is_valid(row).then(|| column.value(row).to_owned())
    }

    fn row(&self, row: usize) -> (Identity, i32, Option<Anomaly>) {
        let is_window = self.start.is_valid(row);
        let from = if is_window { self.start.value(row) } else { self.time.value(row) };
        let to = if is_window { self.end.value(row) } else { from };
        let text = |name| self.text(name, row).unwrap_or_default();
        let column = |name| self.batch.column_by_name(name);
        let offset = column("offset").and_then(|column| column.as_primitive_opt::<Int64Type>());
        let offset = offset.filter(|offset| offset.is_valid(row)).map(|offset| offset.value(row));
        let (detector, key) = (text("detector"), text("key"));
        let identity = (detector.clone(), key.clone(), from, to, self.text("partition", row), offset);
        let revision = column("revision").map_or(0, |column| column.as_primitive::<Int32Type>().value(row));
        let is_retracted = column("retracted").is_some_and(|column| column.as_boolean().value(row));
        let anomaly = Anomaly {
            from: EventTime(from),
            to: EventTime(to),
            key,
            detector,
            model: text("model"),
            score: self.score.value(row),
            threshold: self.threshold.value(row),
            severity: text("severity"),
            why: self.why(row),
        };
        (identity, revision, (!is_retracted).then_some(anomaly))
    }

    fn why(&self, row: usize) -> Vec<Reason> {
        let Some(list) = self.batch.column_by_name("why").and_then(|column| column.as_list_opt::<i32>()) else {
            return Vec::new();
        };
        let reasons = list.value(row);
        let Some(reasons) = reasons.as_struct_opt() else { return Vec::new() };
        let float = |name: &str, at: usize| {
            let column = reasons.column_by_name(name).and_then(|column| column.as_primitive_opt::<Float64Type>());
            column.filter(|column| column.is_valid(at)).map_or(f64::NAN, |column| column.value(at))
        };
        let features = reasons.column_by_name("feature").and_then(|column| column.as_string_opt::<i32>());
        let reason = |at: usize| Reason {
            feature: features.map_or_else(String::new, |features| features.value(at).to_owned()),
            value: float("value", at),
            expected: float("expected", at),
            share: float("share", at),
        };
        (0..reasons.len()).map(reason).collect()
    }
}
