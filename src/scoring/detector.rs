//! A model at work: raw values in, scores and explanations out.

use std::sync::Arc;

use crate::models::features::InputLayout;
use crate::models::model::{ErrorMeasure, Model};
use crate::scoring::kernel::{Instructions, Kernel};
use crate::scoring::reference::Reference;

/// Rows that are computed at once: few enough to stay in the nearest caches.
pub const CHUNK_ROWS: usize = 96;

/// What computes the network. All give the same scores to 1e-5; the first two the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// Our kernel with the fastest instructions that the processor has.
    Fast,
    /// Our kernel without vector instructions.
    Portable,
    /// Plain candle.
    Reference,
}

/// A model with the memory it computes in; each worker has its own.
#[derive(Debug)]
pub struct Detector {
    model: Arc<Model>,
    network: Computing,
    /// Values of a row, in and out.
    values: usize,
    raw: Vec<f64>,
    scaled: Vec<f32>,
    reconstruction: Vec<f32>,
    scores: Vec<f64>,
}

#[derive(Debug)]
enum Computing {
    Kernel(Box<Kernel>),
    Reference(Reference),
}

/// What one feature has to do with a score.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureShare {
    /// Its place among the model's features.
    pub feature: usize,
    /// The value that was scored, in the user's units.
    pub value: f64,
    /// What the model expected, in the user's units.
    pub expected: f64,
    /// Its part of the error; all parts sum to 1.
    pub share: f64,
}

impl Detector {
    pub fn new(model: Arc<Model>) -> Detector {
        let network = Computing::Kernel(Box::new(Kernel::new(model.network(), Instructions::detect())));
        Detector::computing(model, network)
    }

    /// A detector that computes by `path`; fails only where candle does.
    pub fn with_path(model: Arc<Model>, path: Path) -> Result<Detector, candle_core::Error> {
        let network = match path {
            Path::Fast => return Ok(Detector::new(model)),
            Path::Portable => Computing::Kernel(Box::new(Kernel::new(model.network(), Instructions::portable()))),
            Path::Reference => Computing::Reference(Reference::new(model.network())?),
        };
        Ok(Detector::computing(model, network))
    }

    fn computing(model: Arc<Model>, network: Computing) -> Detector {
        let values = model.network().input().iter().product::<usize>();
        Detector { model, network, values, raw: vec![], scaled: vec![], reconstruction: vec![], scores: vec![] }
    }

    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Values that make one score: the features of a row, or those of all rows of a sequence, in order of time.
    pub fn values(&self) -> usize {
        self.values
    }

    /// The scores of raw values that lie row after row. NaN and infinities count as missing. A score may itself not be finite.
    pub fn score(&mut self, raw: &[f64]) -> Vec<f64> {
        let mut scores = Vec::with_capacity(raw.len() / self.values);
        for chunk in raw.chunks(CHUNK_ROWS * self.values) {
            self.chunk(chunk.len() / self.values).copy_from_slice(chunk);
            scores.extend_from_slice(self.run());
        }
        scores
    }

    /// Room for the raw values of a chunk of rows, to be filled before `run`.
    pub(super) fn chunk(&mut self, rows: usize) -> &mut [f64] {
        self.raw.resize(rows * self.values, 0.0);
        &mut self.raw
    }

    /// Scores the chunk.
    pub(super) fn run(&mut self) -> &[f64] {
        self.scaled.resize(self.raw.len(), 0.0);
        self.reconstruction.resize(self.raw.len(), 0.0);
        scale(&self.model, &mut self.raw, &mut self.scaled);
        match &mut self.network {
            Computing::Kernel(kernel) => kernel.run(&self.scaled, &mut self.reconstruction),
            Computing::Reference(reference) => {
                if reference.run(&self.scaled, &mut self.reconstruction).is_err() {
                    // What cannot be computed has no score.
                    self.reconstruction.fill(f32::NAN);
                }
            }
        }
        self.scores.clear();
        let rows = self.scaled.chunks_exact(self.values).zip(self.reconstruction.chunks_exact(self.values));
        let measure = self.model.error();
        self.scores.extend(rows.map(|(scaled, reconstruction)| mean_error(measure, scaled, reconstruction)));
        &self.scores
    }

    /// Why row `row` of the chunk that was last run has its score: every feature, that with the greatest share first.
    pub(super) fn explain(&self, row: usize) -> Vec<FeatureShare> {
        let features = self.model.layout().features();
        let at = row * self.values;
        let scaler = self.model.scaler();
        let measure = self.model.error();
        let error = |index: usize| error(measure, self.scaled[at + index], self.reconstruction[at + index]);
        let total: f64 = (0..features).map(error).sum();
        let mut shares: Vec<FeatureShare> = (0..features)
            .map(|feature| FeatureShare {
                feature,
                value: self.raw[at + feature],
                expected: scaler.unscaled(feature, f64::from(self.reconstruction[at + feature])),
                share: if total > 0.0 { error(feature) / total } else { 0.0 },
            })
            .collect();
        shares.sort_by(|a, b| b.share.total_cmp(&a.share).then(a.feature.cmp(&b.feature)));
        shares
    }
}

/// Puts defaults where values are missing, then scales, both in place of what `raw` and `scaled` held.
fn scale(model: &Model, raw: &mut [f64], scaled: &mut [f32]) {
    let features = model.features();
    let width = model.layout().features();
    for (raw, scaled) in raw.chunks_exact_mut(width).zip(scaled.chunks_exact_mut(width)) {
        for (value, feature) in raw.iter_mut().zip(features) {
            if !value.is_finite() {
                *value = feature.default;
            }
        }
        model.scaler().scale(raw, scaled);
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

/// Whether a model scores single rows.
pub(super) fn takes_rows(model: &Model) -> bool {
    !matches!(model.layout(), InputLayout::Sequence { .. })
}
