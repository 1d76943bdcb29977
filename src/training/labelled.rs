//! The rows of a recording with what they truly are, in the order of time of each key.
//!
//! Promise: what is known of rows does not depend on who scores them: several sets of scores over the same recording are judged against the same
//! truth, labelled ranges included. What is kept of a row is 24 bytes, and 8 for each set of scores.

use std::ops::Range;

use crate::training::error::TrainingError;
use crate::training::names::Names;
use crate::training::ranges::runs;
use crate::training::truth::{LabelledSpans, Truth};

/// Labels that mean normal wherever none are named, capitals aside.
const NORMAL: [&str; 4] = ["benign", "normal", "0", "false"];
/// What rows are called where spans of time tell which are anomalies.
const OF_SPANS: [&str; 2] = ["normal", "anomaly"];

/// A row as it is read; its place is the order of reading.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    /// An event's time, a window's start.
    pub time: i64,
    /// Numbers of texts.
    pub label: u32,
    pub key: u32,
}

/// Rows that are being read.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub rows: Vec<Row>,
    pub labels: Names,
    pub keys: Names,
    /// How long after its time a row lasts: 0 for events, their length for windows.
    pub extent: i64,
}

/// Rows and their truth.
///
/// Invariant: `order` holds the place of each row once, by key and within a key by time; rows of one time keep the order of reading. `series`
/// are the keys' parts of that order, and no range leaves its series.
#[derive(Debug)]
pub struct LabelledRows {
    rows: Vec<Row>,
    labels: Vec<String>,
    keys: Vec<String>,
    is_anomaly: Vec<bool>,
    order: Vec<usize>,
    series: Vec<Range<usize>>,
    ranges: Vec<Range<usize>>,
    spans_without_rows: u64,
}

impl LabelledRows {
    /// Rows that were numbered by their labels, or, where spans are the truth, have the number 0.
    pub(super) fn new(gathered: Gathered, truth: &Truth) -> Result<LabelledRows, TrainingError> {
        let Gathered { rows, labels, keys, extent } = gathered;
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.sort_by_key(|row| (rows[*row].key, rows[*row].time));
        let series = order.chunk_by(|a, b| rows[*a].key == rows[*b].key);
        let series: Vec<Range<usize>> = series
            .scan(0, |at, rows| {
                let from = *at;
                *at += rows.len();
                Some(from..*at)
            })
            .collect();
        let mut labelled = LabelledRows {
            rows,
            keys: keys.all().to_vec(),
            order,
            series,
            labels: OF_SPANS.map(str::to_owned).to_vec(),
            is_anomaly: vec![false, true],
            ranges: Vec::new(),
            spans_without_rows: 0,
        };
        match truth {
            Truth::Labels { column, normal: named } => {
                if labels.all().is_empty() {
                    return Err(TrainingError::NoLabels { column: column.clone() });
                }
                let normal = normal(labels.all(), named)?;
                labelled.is_anomaly = labels.all().iter().map(|label| !normal.contains(label)).collect();
                labelled.labels = labels.all().to_vec();
                labelled.ranges =
                    runs(&labelled.series, |place| labelled.is_anomaly(&labelled.rows[labelled.order[place]]));
            }
            Truth::Spans(spans) => labelled.take_spans(spans, extent)?,
        }
        Ok(labelled)
    }

    /// A row is an anomaly if any moment of it lies in a span of its key.
    fn take_spans(&mut self, spans: &LabelledSpans, extent: i64) -> Result<(), TrainingError> {
        if !self.keys.iter().any(|key| spans.has(key)) {
            let some = |keys: &mut dyn Iterator<Item = &String>| keys.take(5).cloned().collect::<Vec<String>>();
            return Err(TrainingError::RangesOfOthers {
                file: spans.file.clone(),
                named: some(&mut spans.keys()),
                seen: some(&mut self.keys.iter()),
            });
        }
        let LabelledRows { rows: all, keys, order, series, ranges, spans_without_rows, .. } = self;
        for rows in series {
            let places = &order[rows.clone()];
            let Some(first) = places.first() else { continue };
            for span in spans.of(&keys[all[*first].key as usize]) {
                // The last moment of a window is before its end.
                let begin = span.from.saturating_sub((extent - 1).max(0));
                let from = places.partition_point(|row| all[*row].time < begin);
                let to = places.partition_point(|row| all[*row].time <= span.to);
                // A long window may touch two spans; it belongs to the first.
                let taken = ranges.last().map_or(0, |range| range.end);
                let range = (rows.start + from).max(taken)..rows.start + to;
                if range.is_empty() {
                    *spans_without_rows += 1;
                    continue;
                }
                places[range.start - rows.start..range.end - rows.start].iter().for_each(|row| all[*row].label = 1);
                ranges.push(range);
            }
        }
        Ok(())
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The labels that mean normal.
    pub(super) fn normal(&self) -> Vec<String> {
        let mut normal: Vec<String> =
            self.labels.iter().zip(&self.is_anomaly).filter(|(_, is)| !**is).map(|(label, _)| label.clone()).collect();
        normal.sort();
        normal
    }

    /// In the order of reading.
    pub(super) fn rows(&self) -> &[Row] {
        &self.rows
    }

    pub(super) fn is_anomaly(&self, row: &Row) -> bool {
        self.is_anomaly[row.label as usize]
    }

    pub(super) fn labels(&self) -> &[String] {
        &self.labels
    }

    pub(super) fn keys(&self) -> &[String] {
        &self.keys
    }

    /// Places of rows, key after key, by time.
    pub(super) fn order(&self) -> &[usize] {
        &self.order
    }

    /// The keys' parts of the order.
    pub(super) fn series(&self) -> &[Range<usize>] {
        &self.series
    }

    /// Labelled ranges, as parts of the order.
    pub(super) fn ranges(&self) -> &[Range<usize>] {
        &self.ranges
    }

    pub(super) fn spans_without_rows(&self) -> u64 {
        self.spans_without_rows
    }
}

/// Whether a label means normal, where those that do are `named`, or none are.
pub(super) fn is_normal(label: &str, named: &[String]) -> bool {
    match named {
        [] => NORMAL.contains(&label.trim().to_lowercase().as_str()),
        named => named.iter().any(|normal| normal == label),
    }
}

/// The labels that mean normal, of those that were seen.
pub(super) fn normal(labels: &[String], named: &[String]) -> Result<Vec<String>, TrainingError> {
    let mut values = labels.to_vec();
    values.sort();
    if let Some(value) = named.iter().find(|value| !values.contains(value)) {
        return Err(TrainingError::LabelUnknown { value: value.clone(), values });
    }
    let normal: Vec<String> = values.iter().filter(|label| is_normal(label, named)).cloned().collect();
    if normal.is_empty() { Err(TrainingError::NormalUnknown { values }) } else { Ok(normal) }
}

#[cfg(test)]
#[path = "labelled_tests.rs"]
mod tests;
