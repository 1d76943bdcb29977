//! An autoencoder: the mean squared error of what it gives back is made small.

use crate::models::estimator::{ErrorMeasure, Estimator};
use crate::models::preparation::Preparation;
use crate::training::adam::Adam;
use crate::training::dataset::Dataset;
use crate::training::error::TrainingError;
use crate::training::fit::epochs::{Mean, Trainee, learn};
use crate::training::fit::{Fitted, at_once};
use crate::training::gradient::{loss_and_gradient, reconstruction, squares};
use crate::training::samples::Samples;
use crate::training::shuffle::Batches;
use crate::training::spec::{Architecture, TrainingSpec};
use crate::training::train::Watch;
use crate::training::weights::Weights;

const VALIDATION_ROWS: u64 = 1024;

pub(super) fn fit(
    architecture: &Architecture,
    spec: &TrainingSpec,
    data: &mut Dataset,
    watch: &mut Watch<'_>,
) -> Result<Fitted, TrainingError> {
    let weights = Weights::of_sequences(architecture, spec.steps, data.preparation.features().len(), spec.seed);
    let adam = Adam::new(&weights, spec.learning_rate);
    let (weights, learning) = learn(spec, &mut Autoencoder { spec, data, weights, adam }, watch)?;
    let estimator = Estimator::Autoencoder { network: weights.network()?, error: ErrorMeasure::Mse };
    Ok(Fitted { estimator, learning: Some(learning) })
}

struct Autoencoder<'a> {
    spec: &'a TrainingSpec,
    data: &'a mut Dataset,
    weights: Weights,
    adam: Adam,
}

impl Trainee for Autoencoder<'_> {
    fn epoch(&mut self, epoch: usize, watch: &mut Watch<'_>) -> Result<f64, TrainingError> {
        let Autoencoder { spec, data, weights, adam } = self;
        let batch_rows = spec.batch_rows_for(data.training.len());
        let order = (spec.seed, epoch);
        let mut batches = Batches::new(&mut data.training, &data.preparation, order, spec.epoch_rows_for());
        let (mut batch, mut mean) = (Vec::new(), Mean::new(epoch));
        while batches.next(batch_rows, &mut batch)? {
            let (loss, gradient) = loss_and_gradient(weights, &batch)?;
            adam.step(weights, &gradient);
            mean.add(loss, (batch.len() / weights.values()) as u64, watch)?;
        }
        mean.finish(watch)
    }

    fn validation_loss(&mut self) -> Result<f64, TrainingError> {
        let Dataset { validation, preparation, .. } = &mut *self.data;
        loss(&self.weights, validation, self.spec.epoch_rows_for(), preparation)
    }

    fn weights(&self) -> &Weights {
        &self.weights
    }
}

/// The mean squared error over samples that are not trained on: at most as many as an epoch has, evenly spread.
fn loss(weights: &Weights, samples: &mut Samples, samples_max: u64, lens: &Preparation) -> Result<f64, TrainingError> {
    let (mut raw, mut scaled, mut sum) = (Vec::new(), Vec::new(), 0.0);
    let (taken, together) = (samples.len().min(samples_max), at_once(VALIDATION_ROWS, samples));
    for from in (0..taken).step_by(together as usize) {
        raw.clear();
        samples.read_of_spread(from, together, taken, &mut raw)?;
        scaled.resize(raw.len(), 0.0);
        lens.prepare(&mut raw, &mut scaled);
        sum += squares(&reconstruction(weights, &scaled)?, &scaled);
    }
    Ok(sum / (taken * samples.values() as u64) as f64)
}
