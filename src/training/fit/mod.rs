//! From prepared rows to what computes a score, one file for each method.

mod autoencoder;
mod baseline;
mod forest;
mod k_means;
mod pca;

use serde::Serialize;

use crate::models::estimator::Estimator;
use crate::models::preparation::Preparation;
use crate::training::dataset::Dataset;
use crate::training::error::TrainingError;
use crate::training::prepare::sample;
use crate::training::spec::{Method, TrainingSpec};
use crate::training::store::Rows;
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
    let at_once = |estimator| Fitted { estimator, learning: None };
    match &spec.method {
        Method::Autoencoder(architecture) => autoencoder::fit(architecture, spec, data, watch),
        Method::Pca { measure, components, variance_floor } => {
            pca::fit(*measure, *components, *variance_floor, data).map(at_once)
        }
        Method::IsolationForest { trees, sample_rows } => {
            forest::fit(*trees, *sample_rows, spec.seed, data, watch).map(at_once)
        }
        Method::Baseline { threshold: Some(_), .. } => Err(TrainingError::Untrained),
        Method::Baseline { baseline, threshold: None } => {
            baseline::fit(baseline, spec.deviation_floor, data).map(at_once)
        }
        Method::KMeans { clusters } => k_means::fit(*clusters, spec.seed, data, watch).map(at_once),
    }
}

/// Hands every row on as the model will see it, in the order of time.
fn each_prepared(
    preparation: &Preparation,
    rows: &mut Rows<f64>,
    mut each: impl FnMut(&[f32]),
) -> Result<(), TrainingError> {
    let (mut raw, mut scaled) = (Vec::new(), Vec::new());
    for from in (0..rows.len()).step_by(READ_ROWS as usize) {
        raw.clear();
        rows.read(from, READ_ROWS, &mut raw)?;
        scaled.resize(raw.len(), 0.0);
        preparation.prepare(&mut raw, &mut scaled);
        scaled.chunks_exact(rows.width()).for_each(&mut each);
    }
    Ok(())
}

/// Up to `count` rows as the model will see them, evenly spread over all.
fn prepared_sample(preparation: &Preparation, rows: &mut Rows<f64>, count: u64) -> Result<Vec<f32>, TrainingError> {
    let mut raw = sample(rows, count)?;
    let mut scaled = vec![0.0; raw.len()];
    preparation.prepare(&mut raw, &mut scaled);
    Ok(scaled)
}
