//! The input of a model, gathered from the rows that are scored and from those that are remembered. Training gathers by the same code.
//!
//! A sequence is the scored row and those of the windows right before it, the oldest first. Where one of them is missing there is no
//! sequence, and so no score: what a model was never shown is not made up. A change whose window before is missing is a missing value.

use std::iter;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;

use crate::models::baseline::Baseline;
use crate::models::features::Feature;
use crate::scoring::baseline::Earlier;
use crate::scoring::columns::FeatureColumn;
use crate::scoring::history::{History, Past, Reach};
use crate::scoring::scorer::WINDOW_START;

/// Where a model's input comes from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Gather {
    pub(crate) columns: Vec<FeatureColumn>,
    /// Rows of one input.
    pub(crate) steps: usize,
}

impl Gather {
    /// How far back it looks, if at all.
    pub(crate) fn reach(&self) -> Option<Reach> {
        let has_changes = self.columns.iter().any(|column| matches!(column, FeatureColumn::Change(_)));
        let windows = self.steps - 1 + usize::from(has_changes);
        (windows > 0).then(|| Reach::Preceding(u32::try_from(windows).unwrap_or(u32::MAX)))
    }

    /// Writes the inputs of `count` rows from `from` on into `raw`, one after the other; NaN where a value is missing. Says of each row
    /// whether its sequence is whole.
    pub(crate) fn fill(
        &self,
        rows: &RecordBatch,
        (from, count): (usize, usize),
        history: Option<&History>,
        raw: &mut [f64],
    ) -> Vec<bool> {
        let (width, values) = (self.columns.len(), self.steps * self.columns.len());
        for (feature, column) in self.columns.iter().enumerate() {
            let last = values - width + feature;
            column.read(rows, from, raw[last..].iter_mut().step_by(values));
        }
        if self.reach().is_none() {
            return vec![true; count];
        }
        let Some(history) = history else { return vec![false; count] };
        let rows = rows.slice(from, count);
        let (groups, starts) = (history.groups(&rows), starts(&rows));
        let inputs = raw.chunks_exact_mut(values).enumerate();
        inputs.map(|(row, raw)| self.fill_past(&history.past(&groups, row, starts[row]), raw)).collect()
    }

    /// Fills in what lies before the row itself, which is the last step.
    fn fill_past(&self, past: &Past<'_>, raw: &mut [f64]) -> bool {
        let (width, steps) = (self.columns.len(), self.steps);
        for (step, cells) in raw.chunks_exact_mut(width).take(steps - 1).enumerate() {
            match past.before((steps - 1 - step) as i64) {
                Some((batch, row)) => read_row(&self.columns, batch, row, cells),
                None => {
                    raw.fill(f64::NAN);
                    return false;
                }
            }
        }
        for (feature, column) in self.columns.iter().enumerate() {
            if !matches!(column, FeatureColumn::Change(_)) {
                continue;
            }
            let mut before = f64::NAN;
            if let Some((batch, row)) = past.before(steps as i64) {
                column.read(batch, row, iter::once(&mut before));
            }
            for cell in raw.iter_mut().skip(feature).step_by(width) {
                before = std::mem::replace(cell, *cell - before);
            }
        }
        true
    }
}

/// When the windows of rows begin.
pub(super) fn starts(rows: &RecordBatch) -> &[i64] {
    rows.column(WINDOW_START).as_primitive::<TimestampMicrosecondType>().values()
}

/// The values that each feature had in the windows up to `last` that `baseline` compares with, transformed, the newest first.
pub(super) fn earlier(
    columns: &[FeatureColumn],
    features: &[Feature],
    past: &Past<'_>,
    last: i64,
    baseline: &Baseline,
) -> Vec<Vec<Earlier>> {
    let mut earlier = vec![Vec::new(); columns.len()];
    let mut cells = vec![0.0; columns.len()];
    for (start, batch, row) in past.up_to(last, baseline.history, baseline.every) {
        read_row(columns, batch, row, &mut cells);
        for ((cell, feature), earlier) in cells.iter().zip(features).zip(&mut earlier) {
            if cell.is_finite() {
                earlier.push(Earlier { start, value: feature.transformed(*cell) });
            }
        }
    }
    earlier
}

fn read_row(columns: &[FeatureColumn], batch: &RecordBatch, row: usize, cells: &mut [f64]) {
    for (column, cell) in columns.iter().zip(cells) {
        column.read(batch, row, iter::once(cell));
    }
}
