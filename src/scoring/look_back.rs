//! The input of detectors that look back, gathered row by row from what is remembered.
//!
//! A sequence is the scored row and those of the windows right before it, the oldest first. Where one of them is missing there is no
//! sequence, and so no score: what a model was never shown is not made up.

use std::iter;

use arrow::array::RecordBatch;

use crate::models::features::Feature;
use crate::scoring::baseline::Earlier;
use crate::scoring::columns::FeatureColumn;
use crate::scoring::history::Past;

/// Writes the features of the `steps - 1` rows before a row into `raw`, whose last step is the row's own and is left alone. False where
/// one is missing.
pub(super) fn fill_sequence(columns: &[FeatureColumn], past: &Past<'_>, raw: &mut [f64]) -> bool {
    let steps = raw.len() / columns.len();
    for (step, cells) in raw.chunks_exact_mut(columns.len()).take(steps - 1).enumerate() {
        match past.before((steps - 1 - step) as i64) {
            Some((batch, row)) => read_row(columns, batch, row, cells),
            None => {
                cells.fill(f64::NAN);
                return false;
            }
        }
    }
    true
}

/// The values that each feature had in up to `history` windows that begin at or before `last`, transformed, the newest first.
pub(super) fn earlier(
    columns: &[FeatureColumn],
    features: &[Feature],
    past: &Past<'_>,
    last: i64,
    history: usize,
) -> Vec<Vec<Earlier>> {
    let mut earlier = vec![Vec::new(); columns.len()];
    let mut cells = vec![0.0; columns.len()];
    for (start, batch, row) in past.up_to(last).take(history) {
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
