//! A model at work: raw values in, scores and explanations out.

use std::sync::Arc;

use crate::models::estimator::Estimator;
use crate::models::model::Model;
use crate::scoring::estimators::{self, Estimate};

pub use crate::scoring::estimators::Path;

/// Rows that are computed at once: few enough to stay in the nearest caches.
pub const CHUNK_ROWS: usize = 96;

/// A model with the memory it computes in; each worker has its own.
#[derive(Debug)]
pub struct Detector {
    model: Arc<Model>,
    estimate: Box<dyn Estimate>,
    /// Values of a row, in and out.
    values: usize,
    raw: Vec<f64>,
    scaled: Vec<f32>,
    scores: Vec<f64>,
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
        Detector::with_path(model, Path::Fast).expect("candle alone fails, and the fast path does without it")
    }

    /// A detector whose network is computed by `path`; fails only where candle does.
    pub fn with_path(model: Arc<Model>, path: Path) -> Result<Detector, candle_core::Error> {
        let estimate = estimators::estimate(&model, path)?;
        let values = model.layout().rows() * model.layout().features();
        Ok(Detector { model, estimate, values, raw: vec![], scaled: vec![], scores: vec![] })
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
        self.model.preparation().prepare(&mut self.raw, &mut self.scaled);
        self.scores.clear();
        self.estimate.score(&self.scaled, &mut self.scores);
        &self.scores
    }

    /// Why row `row` of the chunk that was last run has its score: every feature, that with the greatest share first.
    pub(super) fn explain(&mut self, row: usize) -> Vec<FeatureShare> {
        let features = self.model.layout().features();
        // Of a sequence, the last step is the row that is scored.
        let at = (row + 1) * self.values - features;
        let why = self.estimate.explain(&self.scaled, row);
        let total: f64 = why.iter().map(|attribution| attribution.part).sum();
        let preparation = self.model.preparation();
        let share = |(feature, attribution): (usize, &estimators::Attribution)| FeatureShare {
            feature,
            value: self.raw[at + feature],
            expected: preparation.restored(feature, attribution.expected),
            share: if total > 0.0 { attribution.part / total } else { 0.0 },
        };
        let mut shares: Vec<FeatureShare> = why.iter().enumerate().map(share).collect();
        shares.sort_by(|a, b| b.share.total_cmp(&a.share).then(a.feature.cmp(&b.feature)));
        shares
    }

    /// Whether rows belong to clusters.
    pub(super) fn has_clusters(&self) -> bool {
        has_clusters(&self.model)
    }

    /// The cluster that row `row` of the chunk that was last run is nearest to, where the model has clusters.
    pub(super) fn cluster(&self, row: usize) -> Option<u32> {
        self.estimate.cluster(row)
    }
}

/// Whether a model says which cluster a row belongs to.
pub(super) fn has_clusters(model: &Model) -> bool {
    matches!(model.estimator(), Estimator::KMeans(_))
}
