//! The hand-written gradient against candle's own, and against differences of the loss.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::*;
use crate::training::reference::Reference;
use crate::training::spec::{Architecture, NetworkKind};

fn rows(count: usize, seed: u64) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| random.random::<f32>() * 4.0 - 2.0).collect()
}

fn architectures() -> Vec<(Architecture, usize)> {
    vec![
        (Architecture::lstm(), 31),
        (Architecture { kind: NetworkKind::Lstm, encoder: vec![13, 3], decoder: vec![] }, 5),
        (Architecture { kind: NetworkKind::Lstm, encoder: vec![1], decoder: vec![9] }, 1),
        (Architecture::dense(), 31),
        (Architecture { kind: NetworkKind::Dense, encoder: vec![7, 2], decoder: vec![3, 11] }, 4),
    ]
}

fn parts(gradient: &LayerGradient) -> [&[f32]; 2] {
    [&gradient.kernel, &gradient.bias]
}

#[test]
fn the_gradient_is_candles_own_for_every_shape() {
    for (architecture, features) in architectures() {
        for batch in [1, 33] {
            let mut weights = Weights::seeded(&architecture, features, 3);
            // Biases that are not zero, so that they show.
            weights
                .layers
                .iter_mut()
                .flat_map(|layer| &mut layer.bias)
                .zip(rows(10_000, 5))
                .for_each(|(b, r)| *b = r / 4.0);
            let rows = rows(batch * features, 11);
            let (loss, ours) = loss_and_gradient(&weights, &rows).unwrap();
            let (wanted_loss, wanted) = Reference::new(&weights).unwrap().loss_and_gradient(&rows).unwrap();
            assert!((loss / wanted_loss - 1.0).abs() < 1e-5, "{architecture:?}: {loss} is not {wanted_loss}");
            for (ours, wanted) in ours.iter().flat_map(parts).zip(wanted.iter().flat_map(parts)) {
                assert_eq!(ours.len(), wanted.len());
                let greatest = wanted.iter().fold(1e-6f32, |greatest, value| greatest.max(value.abs()));
                let off = ours.iter().zip(wanted).fold(0f32, |off, (a, b)| off.max((a - b).abs()));
                assert!(off / greatest < 2e-5, "{architecture:?}, {batch} rows: off by {:e}", off / greatest);
            }
        }
    }
}

/// The loss in f64, so that differences of it mean something.
fn loss_f64(weights: &Weights, rows: &[f32]) -> f64 {
    let features = weights.features();
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let mut sum = 0.0;
    for row in rows.chunks_exact(features) {
        let mut values: Vec<f64> = row.iter().map(|value| f64::from(*value)).collect();
        for layer in &weights.layers {
            let columns = layer.columns();
            let mut sums: Vec<f64> = layer.bias.iter().map(|bias| f64::from(*bias)).collect();
            for (value, kernel) in values.iter().zip(layer.kernel.chunks_exact(columns)) {
                sums.iter_mut().zip(kernel).for_each(|(sum, weight)| *sum += value * f64::from(*weight));
            }
            let gate = |gate: usize, unit: usize| sums[gate * layer.units + unit];
            values = (0..layer.units)
                .map(|unit| match layer.function {
                    Function::Lstm => sigmoid(gate(2, unit)) * (sigmoid(gate(0, unit)) * gate(1, unit).tanh()).tanh(),
                    Function::Tanh => gate(0, unit).tanh(),
                    Function::Linear => gate(0, unit),
                })
                .collect();
        }
        sum += values.iter().zip(row).map(|(value, row)| (value - f64::from(*row)).powi(2)).sum::<f64>();
    }
    sum / rows.len() as f64
}

#[test]
fn the_gradient_is_the_slope_of_the_loss() {
    for (architecture, features) in architectures() {
        let weights = Weights::seeded(&architecture, features, 3);
        let rows = rows(8 * features, 11);
        let (_, gradients) = loss_and_gradient(&weights, &rows).unwrap();
        for (layer, gradient) in gradients.iter().enumerate() {
            for place in (0..gradient.kernel.len()).step_by(gradient.kernel.len() / 5 + 1) {
                let moved = |by: f32| {
                    let mut weights = weights.clone();
                    weights.layers[layer].kernel[place] += by;
                    (f64::from(weights.layers[layer].kernel[place]), loss_f64(&weights, &rows))
                };
                let ((from, low), (to, high)) = (moved(-1e-3), moved(1e-3));
                let (slope, ours) = ((high - low) / (to - from), f64::from(gradient.kernel[place]));
                assert!((slope - ours).abs() < 1e-4 * (1.0 + slope.abs()), "{architecture:?} {layer}: {slope} {ours}");
            }
        }
    }
}

#[test]
fn the_reconstruction_is_what_the_network_gives() {
    use crate::models::estimator::{ErrorMeasure, Estimator};
    use crate::models::features::{Feature, Scaler};
    use crate::models::model::{Model, ModelParts, Threshold};
    use crate::scoring::detector::Detector;

    for (architecture, features) in architectures() {
        let weights = Weights::seeded(&architecture, features, 9);
        let model = Model::new(ModelParts {
            estimator: Estimator::Autoencoder { network: weights.network().unwrap(), error: ErrorMeasure::Mse },
            features: (0..features).map(|index| Feature::of_field(&format!("f{index}"))).collect(),
            scaler: Scaler::None,
            threshold: Threshold { value: 0.0, calibration: "none".into() },
            training_data: None,
            metrics: [].into(),
        });
        let rows = rows(40 * features, 4);
        let raw: Vec<f64> = rows.iter().map(|value| f64::from(*value)).collect();
        let scores = Detector::new(model.unwrap().into()).score(&raw);
        let given = reconstruction(&weights, &rows).unwrap();
        for ((row, given), score) in rows.chunks(features).zip(given.chunks(features)).zip(scores) {
            let wanted = squares(given, row) / features as f64;
            assert!((score / wanted - 1.0).abs() < 1e-5, "{architecture:?}: {score} is not {wanted}");
        }
    }
}
