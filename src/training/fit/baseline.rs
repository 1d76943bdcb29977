//! What a detector that compares with earlier windows learns of normal ones: how far they usually are from what was expected.
//!
//! A feature's floor is the root of its mean squared distance over the training rows. Where a sensor's coarse steps, or the few windows of a
//! young history, let one key's own deviation be too small, that of all normal rows stands in.

use crate::models::baseline::Baseline;
use crate::models::estimator::Estimator;
use crate::training::dataset::Dataset;
use crate::training::error::TrainingError;
use crate::training::fit::READ_ROWS;

/// `least` is what a floor counts for at least.
pub(super) fn fit(baseline: &Baseline, least: f64, data: &mut Dataset) -> Result<Estimator, TrainingError> {
    let features = data.preparation.features().len();
    let (mut squares, mut counts, mut values) = (vec![0.0; features], vec![0u64; features], Vec::new());
    for from in (0..data.training.len()).step_by(READ_ROWS as usize) {
        values.clear();
        data.training.read(from, READ_ROWS, &mut values)?;
        for row in values.chunks_exact(2 * features) {
            for (feature, off) in row.iter().step_by(2).enumerate().filter(|(_, off)| !off.is_nan()) {
                squares[feature] += off * off;
                counts[feature] += 1;
            }
        }
    }
    let mut floors = Vec::with_capacity(features);
    for ((feature, squares), count) in data.preparation.features().iter().zip(squares).zip(counts) {
        if count == 0 {
            return Err(TrainingError::FeatureWithoutValues { feature: feature.name.clone() });
        }
        let floor = (squares / count as f64).sqrt();
        if !floor.is_finite() {
            return Err(TrainingError::FeatureRange { feature: feature.name.clone() });
        }
        floors.push(floor.max(least));
    }
    Ok(Estimator::Baseline(Baseline { floors, ..baseline.clone() }))
}
