//! Epoch after epoch until the validation loss no longer falls; the weights of the best one are kept.

use crate::training::error::TrainingError;
use crate::training::fit::{Epoch, Learning};
use crate::training::spec::TrainingSpec;
use crate::training::train::{News, Watch};
use crate::training::weights::Weights;

/// How many batches pass between two words about them.
const BATCHES_A_WORD: usize = 64;

/// A network that is trained epoch by epoch.
pub(super) trait Trainee {
    /// One epoch with the weights it moves; its mean loss.
    fn epoch(&mut self, epoch: usize, watch: &mut Watch<'_>) -> Result<f64, TrainingError>;

    /// The loss over rows that are not trained on.
    fn validation_loss(&mut self) -> Result<f64, TrainingError>;

    fn weights(&self) -> &Weights;
}

pub(super) fn learn(
    spec: &TrainingSpec,
    trainee: &mut dyn Trainee,
    watch: &mut Watch<'_>,
) -> Result<(Weights, Learning), TrainingError> {
    let mut best: Option<(Epoch, Weights)> = None;
    let mut curve = Vec::new();
    for epoch in 1..=spec.epochs_max {
        let training_loss = trainee.epoch(epoch, watch)?;
        let validation_loss = trainee.validation_loss()?;
        if !(training_loss.is_finite() && validation_loss.is_finite()) {
            return Err(TrainingError::Diverged { epoch });
        }
        let point = Epoch { epoch, training_loss, validation_loss };
        curve.push(point);
        let is_best = best.as_ref().is_none_or(|(best, _)| validation_loss < best.validation_loss);
        if is_best {
            best = Some((point, trainee.weights().clone()));
        }
        watch.tell(News::Epoch { point, is_best })?;
        if best.as_ref().is_some_and(|(best, _)| epoch - best.epoch >= spec.patience) {
            break;
        }
    }
    let (best, weights) = best.ok_or(TrainingError::Diverged { epoch: 0 })?;
    Ok((weights, Learning { best, curve }))
}

/// The mean loss of an epoch so far.
pub(super) struct Mean {
    epoch: usize,
    batches: usize,
    rows: u64,
    sum: f64,
}

impl Mean {
    pub(super) fn new(epoch: usize) -> Mean {
        Mean { epoch, batches: 0, rows: 0, sum: 0.0 }
    }

    /// Takes a batch, and tells of it now and then.
    pub(super) fn add(&mut self, loss: f64, rows: u64, watch: &mut Watch<'_>) -> Result<(), TrainingError> {
        self.rows += rows;
        self.sum += loss * rows as f64;
        self.batches += 1;
        if self.batches.is_multiple_of(BATCHES_A_WORD) { self.tell(watch) } else { Ok(()) }
    }

    pub(super) fn finish(self, watch: &mut Watch<'_>) -> Result<f64, TrainingError> {
        self.tell(watch)?;
        Ok(self.sum / self.rows as f64)
    }

    fn tell(&self, watch: &mut Watch<'_>) -> Result<(), TrainingError> {
        watch.tell(News::Trained { epoch: self.epoch, rows: self.rows, loss: self.sum / self.rows as f64 })
    }
}
