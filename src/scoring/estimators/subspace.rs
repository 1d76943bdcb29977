//! Principal components: the score is a quadratic form of how far a row is from the mean.
//!
//! A feature's part is the reconstruction-based contribution of Alcala and Qin (2009): by how much the score would fall if this feature
//! alone took the value that makes the score least. Where one sensor is at fault, its contribution is never less than another's, which
//! cannot be said of the squares of the residuals.

use crate::models::subspace::Subspace;
use crate::scoring::estimators::{Attribution, Estimate};

/// Below this a direction does not matter to the measure: it has no least value.
const FLAT: f64 = 1e-12;

#[derive(Debug)]
pub(super) struct QuadraticForm {
    mean: Vec<f64>,
    /// Symmetric, row after row.
    form: Vec<f64>,
    /// Of one row, less the mean.
    off: Vec<f64>,
}

impl QuadraticForm {
    pub(super) fn new(subspace: &Subspace) -> QuadraticForm {
        QuadraticForm { mean: subspace.mean().to_vec(), form: subspace.form(), off: vec![0.0; subspace.features()] }
    }

    fn measure_from(&mut self, row: &[f32]) {
        let row = row.iter().zip(&self.mean);
        self.off.iter_mut().zip(row).for_each(|(off, (value, mean))| *off = f64::from(*value) - mean);
    }

    /// A row of the form times the row.
    fn slope(&self, feature: usize) -> f64 {
        let width = self.mean.len();
        self.form[feature * width..][..width].iter().zip(&self.off).fold(0.0, |sum, (a, b)| sum + a * b)
    }
}

impl Estimate for QuadraticForm {
    fn score(&mut self, rows: &[f32], scores: &mut Vec<f64>) {
        let width = self.mean.len();
        for row in rows.chunks_exact(width) {
            self.measure_from(row);
            let score: f64 = (0..width).fold(0.0, |sum, feature| sum + self.slope(feature) * self.off[feature]);
            // Rounding may leave a hair below zero, where there is nothing; NaN stays NaN.
            scores.push(if score < 0.0 { 0.0 } else { score });
        }
    }

    fn explain(&mut self, rows: &[f32], index: usize) -> Vec<Attribution> {
        let width = self.mean.len();
        self.measure_from(&rows[index * width..][..width]);
        let attribution = |feature: usize| {
            let (slope, curvature) = (self.slope(feature), self.form[feature * width + feature]);
            let value = self.mean[feature] + self.off[feature];
            if curvature <= FLAT {
                return Attribution { expected: value, part: 0.0 };
            }
            Attribution { expected: value - slope / curvature, part: slope * slope / curvature }
        };
        (0..width).map(attribution).collect()
    }
}
