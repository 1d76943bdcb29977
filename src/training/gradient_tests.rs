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

/// Shapes with their steps and features.
fn architectures() -> Vec<(Architecture, usize, usize)> {
    let lstm = |encoder: &[usize], decoder: &[usize]| Architecture {
        kind: NetworkKind::Lstm,
        encoder: encoder.to_vec(),
        decoder: decoder.to_vec(),
    };
    vec![
        (Architecture::lstm(), 1, 31),
        (lstm(&[13, 3], &[]), 1, 5),
        (lstm(&[1], &[9]), 1, 1),
        (Architecture::dense(), 1, 31),
        (Architecture { kind: NetworkKind::Dense, encoder: vec![7, 2], decoder: vec![3, 11] }, 1, 4),
        (Architecture::lstm(), 12, 5),
        (lstm(&[9], &[11, 3]), 7, 3),
        (lstm(&[13, 3], &[]), 2, 5),
        (Architecture { kind: NetworkKind::Dense, encoder: vec![7, 2], decoder: vec![3, 11] }, 3, 4),
    ]
}

fn parts(gradient: &LayerGradient) -> [&[f32]; 3] {
    [&gradient.kernel, &gradient.recurrent, &gradient.bias]
}

#[test]
fn the_gradient_is_candles_own_for_every_shape() {
    for (architecture, steps, features) in architectures() {
        for batch in [1, 33] {
            let mut weights = Weights::of_sequences(&architecture, steps, features, 3);
            // Biases that are not zero, so that they show.
            weights
                .layers
                .iter_mut()
                .flat_map(|layer| &mut layer.bias)
                .zip(rows(10_000, 5))
                .for_each(|(b, r)| *b = r / 4.0);
            let rows = rows(batch * steps * features, 11);
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
    let mut sum = 0.0;
    for sequence in rows.chunks_exact(weights.values()) {
        let given = sequence.iter().map(|value| f64::from(*value)).collect::<Vec<_>>();
        let mut steps: Vec<Vec<f64>> = given.chunks_exact(weights.inputs()).map(<[f64]>::to_vec).collect();
        for (index, layer) in weights.layers.iter().enumerate() {
            steps = steps_f64(layer, &steps);
            if index + 1 == weights.encoders {
                let last = steps[steps.len() - 1].clone();
                steps.fill(last);
            }
        }
        let values = steps.iter().flatten();
        sum += values.zip(sequence).map(|(value, row)| (value - f64::from(*row)).powi(2)).sum::<f64>();
    }
    sum / rows.len() as f64
}

/// What a layer gives at each step.
fn steps_f64(layer: &LayerWeights, steps: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let columns = layer.columns();
    let (mut state, mut cells) = (vec![0.0; layer.units], vec![0.0; layer.units]);
    let mut given = Vec::new();
    for values in steps {
        let mut sums: Vec<f64> = layer.bias.iter().map(|bias| f64::from(*bias)).collect();
        let kernel = values.iter().zip(layer.kernel.chunks_exact(columns));
        for (value, kernel) in kernel.chain(state.iter().zip(layer.recurrent.chunks_exact(columns))) {
            sums.iter_mut().zip(kernel).for_each(|(sum, weight)| *sum += value * f64::from(*weight));
        }
        let gate = |gate: usize, unit: usize| sums[gate * layer.units + unit];
        state = (0..layer.units)
            .map(|unit| match layer.function {
                Function::Lstm => sigmoid(gate(2, unit)) * (sigmoid(gate(0, unit)) * gate(1, unit).tanh()).tanh(),
                Function::Recurrent => {
                    let kept = sigmoid(gate(1, unit)) * cells[unit];
                    cells[unit] = kept + sigmoid(gate(0, unit)) * gate(2, unit).tanh();
                    sigmoid(gate(3, unit)) * cells[unit].tanh()
                }
                Function::Tanh => gate(0, unit).tanh(),
                Function::Linear => gate(0, unit),
            })
            .collect();
        given.push(state.clone());
    }
    given
}

#[test]
fn the_gradient_is_the_slope_of_the_loss() {
    for (architecture, steps, features) in architectures() {
        let weights = Weights::of_sequences(&architecture, steps, features, 3);
        let rows = rows(8 * steps * features, 11);
        let (_, gradients) = loss_and_gradient(&weights, &rows).unwrap();
        let of: [fn(&mut LayerWeights) -> &mut Vec<f32>; 3] =
            [|layer| &mut layer.kernel, |layer| &mut layer.recurrent, |layer| &mut layer.bias];
        for (layer, gradient) in gradients.iter().enumerate() {
            for (part, gradient) in parts(gradient).into_iter().enumerate() {
                for place in (0..gradient.len()).step_by(gradient.len() / 5 + 1) {
                    let moved = |by: f32| {
                        let mut weights = weights.clone();
                        let value = &mut of[part](&mut weights.layers[layer])[place];
                        *value += by;
                        (f64::from(*value), loss_f64(&weights, &rows))
                    };
                    let ((from, low), (to, high)) = (moved(-1e-3), moved(1e-3));
                    let (slope, ours) = ((high - low) / (to - from), f64::from(gradient[place]));
                    let told = format!("{architecture:?} {layer} {part}: {slope} {ours}");
                    assert!((slope - ours).abs() < 1e-4 * (1.0 + slope.abs()), "{told}");
                }
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

    for (architecture, steps, features) in architectures() {
        let weights = Weights::of_sequences(&architecture, steps, features, 9);
        let model = Model::new(ModelParts {
            estimator: Estimator::Autoencoder { network: weights.network().unwrap(), error: ErrorMeasure::Mse },
            features: (0..features).map(|index| Feature::of_field(&format!("f{index}"))).collect(),
            scaler: Scaler::None,
            threshold: Threshold { value: 0.0, calibration: "none".into() },
            training_data: None,
            metrics: [].into(),
        });
        let rows = rows(40 * steps * features, 4);
        let raw: Vec<f64> = rows.iter().map(|value| f64::from(*value)).collect();
        let scores = Detector::new(model.unwrap().into()).score(&raw);
        let given = reconstruction(&weights, &rows).unwrap();
        let values = steps * features;
        for ((row, given), score) in rows.chunks(values).zip(given.chunks(values)).zip(scores) {
            let wanted = squares(given, row) / values as f64;
            assert!((score / wanted - 1.0).abs() < 1e-5, "{architecture:?}: {score} is not {wanted}");
        }
    }
}
