//! A classifier: a network is made to tell rows that are labelled as anomalies from normal ones.
//!
//! Both classes weigh the same however many rows they have: every batch is half normal rows and half anomalies, and the rarer class is gone
//! through as often as the other lasts. So a score is the probability that a row is an anomaly where anomalies are as common as normal rows.

use crate::models::estimator::Estimator;
use crate::models::preparation::Preparation;
use crate::training::adam::Adam;
use crate::training::dataset::Dataset;
use crate::training::error::TrainingError;
use crate::training::fit::epochs::{Mean, Trainee, learn};
use crate::training::fit::forest::{MEDIAN_ROWS, medians};
use crate::training::fit::{Fitted, each_prepared, prepared_sample};
use crate::training::gradient::{logits, surprise, surprise_and_gradient};
use crate::training::samples::Samples;
use crate::training::shuffle::Batches;
use crate::training::spec::TrainingSpec;
use crate::training::train::Watch;
use crate::training::weights::Weights;

pub(super) fn fit(
    layers: &[usize],
    spec: &TrainingSpec,
    data: &mut Dataset,
    watch: &mut Watch<'_>,
) -> Result<Fitted, TrainingError> {
    let width = data.training.width();
    let weights = Weights::of_classifier(layers, width, spec.seed);
    let adam = Adam::new(&weights, spec.learning_rate);
    let Dataset { preparation, training, validation, anomalies, .. } = data;
    let [anomalous, anomalous_validation] = anomalies.as_mut().ok_or(TrainingError::Unlabelled)?;
    let baseline = medians(&prepared_sample(preparation, training, MEDIAN_ROWS)?, width);
    let (training, validation) = ([training, anomalous], [validation, anomalous_validation]);
    let mut classifier = Classifier { spec, preparation, training, validation, weights, adam };
    let (weights, learning) = learn(spec, &mut classifier, watch)?;
    let estimator = Estimator::Classifier { network: weights.network()?, baseline };
    Ok(Fitted { estimator, learning: Some(learning) })
}

/// Normal rows stand first, anomalies second.
struct Classifier<'a> {
    spec: &'a TrainingSpec,
    preparation: &'a Preparation,
    training: [&'a mut Samples; 2],
    validation: [&'a mut Samples; 2],
    weights: Weights,
    adam: Adam,
}

impl Trainee for Classifier<'_> {
    fn epoch(&mut self, epoch: usize, watch: &mut Watch<'_>) -> Result<f64, TrainingError> {
        let Classifier { spec, preparation, training, weights, adam, .. } = self;
        let [normal, anomalous] = training;
        let counts = [normal.len(), anomalous.len()];
        let half = (spec.batch_rows_for(counts[0] + counts[1]) / 2).max(1);
        let longer = usize::from(counts[1] > counts[0]);
        // An order for each class.
        let mut batches = [(normal, spec.seed), (anomalous, spec.seed.wrapping_add(1))]
            .map(|(samples, seed)| Batches::new(samples, preparation, (seed, epoch), u64::MAX));
        let (mut parts, mut mean) = ([Vec::new(), Vec::new()], Mean::new(epoch));
        let mut left = spec.epoch_rows_for();
        while left > 0 && batches[longer].next(half, &mut parts[longer])? {
            let shorter = 1 - longer;
            if !batches[shorter].next(half, &mut parts[shorter])? {
                batches[shorter].again();
                batches[shorter].next(half, &mut parts[shorter])?;
            }
            let rows = [0, 1].map(|class| parts[class].len() / weights.inputs());
            let weigh = rows.map(|rows| 0.5 / rows as f64);
            let (loss, gradient) = surprise_and_gradient(weights, &parts.concat(), rows[0], weigh)?;
            adam.step(weights, &gradient);
            mean.add(loss, rows[longer] as u64, watch)?;
            left = left.saturating_sub(rows[longer] as u64);
        }
        mean.finish(watch)
    }

    fn validation_loss(&mut self) -> Result<f64, TrainingError> {
        let mut means = [0.0; 2];
        for (class, samples) in self.validation.iter_mut().enumerate() {
            let (mut rows, mut given) = (Vec::new(), Ok(()));
            let mut sum = 0.0;
            let weights = &self.weights;
            let mut take = |rows: &mut Vec<f32>| -> candle_core::Result<()> {
                let logits = if rows.is_empty() { Vec::new() } else { logits(weights, rows)? };
                sum += logits.iter().fold(0.0, |sum, logit| sum + surprise(f64::from(*logit), class == 1));
                rows.clear();
                Ok(())
            };
            each_prepared(self.preparation, samples, |row| {
                rows.extend_from_slice(row);
                if rows.len() >= ROWS_AT_ONCE * row.len() && given.is_ok() {
                    given = take(&mut rows);
                }
            })?;
            given?;
            take(&mut rows)?;
            means[class] = sum / samples.len() as f64;
        }
        Ok((means[0] + means[1]) / 2.0)
    }

    fn weights(&self) -> &Weights {
        &self.weights
    }
}

const ROWS_AT_ONCE: usize = 1024;
