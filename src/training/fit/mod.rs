//! From prepared rows to what computes a score, one file for each method.

mod autoencoder;
mod baseline;
mod classifier;
mod epochs;
mod forest;
mod k_means;
mod pca;

use serde::Serialize;

use crate::models::estimator::Estimator;
use crate::models::preparation::Preparation;
use crate::training::dataset::Dataset;
use crate::training::error::TrainingError;
use crate::training::samples::Samples;
use crate::training::spec::{Method, TrainingSpec};
use crate::training::train::Watch;

const READ_ROWS: u64 = 1024;

/// A point of the learning curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Epoch {
    /// From 1.
    pub epoch: usize,
    /// Mean over the epoch's batches, while the weights moved.
    pub training_loss: f64,
    /// With the weights that the epoch ended with.
    pub validation_loss: f64,
}

/// How a network was trained.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Learning {
    /// The one whose weights were kept.
    pub(super) best: Epoch,
    pub(super) curve: Vec<Epoch>,
}

pub(super) struct Fitted {
    pub(super) estimator: Estimator,
    /// None: what was trained has no epochs.
    pub(super) learning: Option<Learning>,
}

pub(super) fn fit(spec: &TrainingSpec, data: &mut Dataset, watch: &mut Watch<'_>) -> Result<Fitted, TrainingError> {
    let whole = |estimator| Fitted { estimator, learning: None };
    if spec.steps > 1 && !matches!(spec.method, Method::Autoencoder(_)) {
        return Err(TrainingError::NoSequences { steps: spec.steps });
    }
    match &spec.method {
        Method::Autoencoder(architecture) => autoencoder::fit(architecture, spec, data, watch),
        Method::Pca { measure, components, variance_floor } => {
            pca::fit(*measure, *components, *variance_floor, data).map(whole)
        }
        Method::IsolationForest { trees, sample_rows } => {
            forest::fit(*trees, *sample_rows, spec.seed, data, watch).map(whole)
        }
        Method::Classifier { layers } => classifier::fit(layers, spec, data, watch),
        Method::Baseline { threshold: Some(_), .. } => Err(TrainingError::Untrained),
        Method::Baseline { baseline, threshold: None } => {
            baseline::fit(baseline, spec.deviation_floor, data).map(whole)
        }
        Method::KMeans { clusters } => k_means::fit(*clusters, spec.seed, data, watch).map(whole),
    }
}

/// Hands every sample on as the model will see it, in the order of time.
fn each_prepared(
    preparation: &Preparation,
    samples: &mut Samples,
    mut each: impl FnMut(&[f32]),
) -> Result<(), TrainingError> {
    let (mut raw, mut scaled) = (Vec::new(), Vec::new());
    let together = at_once(READ_ROWS, samples);
    for from in (0..samples.len()).step_by(together as usize) {
        raw.clear();
        samples.read(from, together, &mut raw)?;
        scaled.resize(raw.len(), 0.0);
        preparation.prepare(&mut raw, &mut scaled);
        scaled.chunks_exact(samples.values()).for_each(&mut each);
    }
    Ok(())
}

/// Samples that have about so many rows.
fn at_once(rows: u64, samples: &Samples) -> u64 {
    (rows / samples.steps() as u64).max(1)
}

/// Up to `count` samples as the model will see them, evenly spread over all.
fn prepared_sample(preparation: &Preparation, samples: &mut Samples, count: u64) -> Result<Vec<f32>, TrainingError> {
    let mut raw = Vec::new();
    samples.spread(count, &mut raw)?;
    let mut scaled = vec![0.0; raw.len()];
    preparation.prepare(&mut raw, &mut scaled);
    Ok(scaled)
}
