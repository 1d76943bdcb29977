//! A supervised classifier: the score is the probability that a row is an anomaly; a feature's part is by how much the logit would
//! fall if the feature were as it is in a normal row.

use crate::scoring::estimators::{Attribution, Computing, Estimate};

#[derive(Debug)]
pub(super) struct Classifier {
    network: Computing,
    /// The normal row, scaled.
    baseline: Vec<f64>,
    logits: Vec<f32>,
}

impl Classifier {
    pub(super) fn new(network: Computing, baseline: Vec<f64>) -> Classifier {
        Classifier { network, baseline, logits: Vec::new() }
    }
}

impl Estimate for Classifier {
    fn score(&mut self, rows: &[f32], scores: &mut Vec<f64>) {
        self.logits.resize(rows.len() / self.baseline.len(), 0.0);
        self.network.run(rows, &mut self.logits);
        scores.extend(self.logits.iter().map(|logit| 1.0 / (1.0 + libm::exp(-f64::from(*logit)))));
    }

    fn explain(&mut self, rows: &[f32], index: usize) -> Vec<Attribution> {
        let width = self.baseline.len();
        let row = &rows[index * width..][..width];
        let mut changed = row.repeat(width);
        for (feature, (row, normal)) in changed.chunks_exact_mut(width).zip(&self.baseline).enumerate() {
            row[feature] = *normal as f32;
        }
        let mut logits = vec![0.0; width];
        self.network.run(&changed, &mut logits);
        let logit = f64::from(self.logits[index]);
        let part = |without: &f32| (logit - f64::from(*without)).max(0.0);
        let both = self.baseline.iter().zip(&logits);
        both.map(|(expected, without)| Attribution { expected: *expected, part: part(without) }).collect()
    }
}
