//! An autoencoder: epoch after epoch until the validation loss no longer falls; the weights of the best one are kept.

use crate::models::estimator::{ErrorMeasure, Estimator};
use crate::models::preparation::Preparation;
use crate::training::adam::Adam;
use crate::training::dataset::Dataset;
use crate::training::error::TrainingError;
use crate::training::fit::{Epoch, Fitted, Learning, at_once};
use crate::training::gradient::{loss_and_gradient, reconstruction, squares};
use crate::training::samples::Samples;
use crate::training::shuffle::Batches;
use crate::training::spec::{Architecture, TrainingSpec};
use crate::training::train::{News, Watch};
use crate::training::weights::Weights;

const VALIDATION_ROWS: u64 = 1024;
/// How many batches pass between two words about them.
const BATCHES_A_WORD: usize = 64;

pub(super) fn fit(
    architecture: &Architecture,
    spec: &TrainingSpec,
    data: &mut Dataset,
    watch: &mut Watch<'_>,
) -> Result<Fitted, TrainingError> {
    let lens = &data.preparation;
    let mut weights = Weights::of_sequences(architecture, spec.steps, lens.features().len(), spec.seed);
    let mut adam = Adam::new(&weights, spec.learning_rate);
    let batch_rows = spec.batch_rows_for(data.training.len());
    let samples_max = spec.epoch_rows_for();
    let mut best: Option<(Epoch, Weights)> = None;
    let mut curve = Vec::new();
    for epoch in 1..=spec.epochs_max {
        let mut batches = Batches::new(&mut data.training, lens, (spec.seed, epoch), samples_max);
        let training_loss = run((epoch, batch_rows), &mut batches, &mut weights, &mut adam, watch)?;
        let validation_loss = loss(&weights, &mut data.validation, samples_max, lens)?;
        if !(training_loss.is_finite() && validation_loss.is_finite()) {
            return Err(TrainingError::Diverged { epoch });
        }
        let point = Epoch { epoch, training_loss, validation_loss };
        curve.push(point);
        let is_best = best.as_ref().is_none_or(|(best, _)| validation_loss < best.validation_loss);
        if is_best {
            best = Some((point, weights.clone()));
        }
        watch.tell(News::Epoch { point, is_best })?;
        if best.as_ref().is_some_and(|(best, _)| epoch - best.epoch >= spec.patience) {
            break;
        }
    }
    let (best, weights) = best.ok_or(TrainingError::Diverged { epoch: 0 })?;
    let estimator = Estimator::Autoencoder { network: weights.network()?, error: ErrorMeasure::Mse };
    Ok(Fitted { estimator, learning: Some(Learning { best, curve }) })
}

/// One epoch; its mean loss.
fn run(
    (epoch, batch_rows): (usize, usize),
    batches: &mut Batches<'_>,
    weights: &mut Weights,
    adam: &mut Adam,
    watch: &mut Watch<'_>,
) -> Result<f64, TrainingError> {
    let (mut batch, mut rows, mut sum) = (Vec::new(), 0u64, 0.0);
    let mut count = 0;
    while batches.next(batch_rows, &mut batch)? {
        let (loss, gradient) = loss_and_gradient(weights, &batch)?;
        adam.step(weights, &gradient);
        let taken = (batch.len() / weights.values()) as u64;
        rows += taken;
        sum += loss * taken as f64;
        count += 1;
        if count % BATCHES_A_WORD == 0 {
            watch.tell(News::Trained { epoch, rows, loss: sum / rows as f64 })?;
        }
    }
    watch.tell(News::Trained { epoch, rows, loss: sum / rows as f64 })?;
    Ok(sum / rows as f64)
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
