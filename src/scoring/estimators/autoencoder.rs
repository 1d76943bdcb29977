//! An autoencoder: the score is the mean error of what it gives back; a feature's part is its own error.

use crate::models::estimator::ErrorMeasure;
use crate::models::features::InputLayout;
use crate::scoring::estimators::{Attribution, Computing, Estimate};

#[derive(Debug)]
pub(super) struct Autoencoder {
    network: Computing,
    measure: ErrorMeasure,
    layout: InputLayout,
    reconstruction: Vec<f32>,
}

impl Autoencoder {
    pub(super) fn new(network: Computing, measure: ErrorMeasure, layout: InputLayout) -> Autoencoder {
        Autoencoder { network, measure, layout, reconstruction: Vec::new() }
    }

    /// Values of one input: all steps, each with all features.
    fn values(&self) -> usize {
        self.layout.rows() * self.layout.features()
    }
}

impl Estimate for Autoencoder {
    fn score(&mut self, rows: &[f32], scores: &mut Vec<f64>) {
        self.reconstruction.resize(rows.len(), 0.0);
        self.network.run(rows, &mut self.reconstruction);
        let (values, measure) = (self.values(), self.measure);
        let rows = rows.chunks_exact(values).zip(self.reconstruction.chunks_exact(values));
        scores.extend(rows.map(|(row, reconstruction)| mean_error(measure, row, reconstruction)));
    }

    /// Of a sequence: the errors of all its steps, and what was expected at the last.
    fn explain(&mut self, rows: &[f32], index: usize) -> Vec<Attribution> {
        let (features, from) = (self.layout.features(), index * self.values());
        let steps = self.layout.rows();
        let attribution = |feature: usize| {
            let places = (0..steps).map(|step| from + step * features + feature);
            let error = |place: usize| error(self.measure, rows[place], self.reconstruction[place]);
            let last = from + (steps - 1) * features + feature;
            Attribution { expected: f64::from(self.reconstruction[last]), part: places.map(error).sum() }
        };
        (0..features).map(attribution).collect()
    }
}

/// The error of one value; both are f32, so that their difference in f64 is exact.
#[inline]
fn error(measure: ErrorMeasure, scaled: f32, reconstruction: f32) -> f64 {
    let off = f64::from(reconstruction) - f64::from(scaled);
    match measure {
        ErrorMeasure::Mae => off.abs(),
        ErrorMeasure::Mse => off * off,
    }
}

fn mean_error(measure: ErrorMeasure, scaled: &[f32], reconstruction: &[f32]) -> f64 {
    let mut sum = 0.0;
    for (scaled, reconstruction) in scaled.iter().zip(reconstruction) {
        sum += error(measure, *scaled, *reconstruction);
    }
    sum / scaled.len() as f64
}
