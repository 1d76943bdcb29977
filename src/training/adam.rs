//! Adam's steps down the gradient, with Keras' constants.

use crate::training::gradient::LayerGradient;
use crate::training::weights::Weights;

const MEAN_DECAY: f32 = 0.9;
const SQUARE_DECAY: f32 = 0.999;
const EPSILON: f32 = 1e-7;

/// The running means of every weight's gradient and of its square.
#[derive(Debug)]
pub struct Adam {
    learning_rate: f64,
    steps: i32,
    /// For each layer, of its kernel, of what it feeds back, and of its bias.
    moments: Vec<[Moments; 3]>,
}

#[derive(Clone, Debug, Default)]
struct Moments {
    mean: Vec<f32>,
    square: Vec<f32>,
}

impl Adam {
    pub fn new(weights: &Weights, learning_rate: f64) -> Adam {
        let zeros = |values: &[f32]| Moments { mean: vec![0.0; values.len()], square: vec![0.0; values.len()] };
        let moments = weights.layers.iter();
        let moments = moments.map(|layer| [&layer.kernel, &layer.recurrent, &layer.bias].map(|values| zeros(values)));
        Adam { learning_rate, steps: 0, moments: moments.collect() }
    }

    pub fn step(&mut self, weights: &mut Weights, gradients: &[LayerGradient]) {
        self.steps = self.steps.saturating_add(1);
        let unbiased = |decay: f32| 1.0 - f64::from(decay).powi(self.steps);
        let rate = (self.learning_rate * unbiased(SQUARE_DECAY).sqrt() / unbiased(MEAN_DECAY)) as f32;
        for ((layer, gradient), moments) in weights.layers.iter_mut().zip(gradients).zip(&mut self.moments) {
            let [kernel, recurrent, bias] = moments;
            kernel.step(rate, &mut layer.kernel, &gradient.kernel);
            recurrent.step(rate, &mut layer.recurrent, &gradient.recurrent);
            bias.step(rate, &mut layer.bias, &gradient.bias);
        }
    }
}

impl Moments {
    fn step(&mut self, rate: f32, values: &mut [f32], gradient: &[f32]) {
        let moments = self.mean.iter_mut().zip(&mut self.square);
        for ((value, gradient), (mean, square)) in values.iter_mut().zip(gradient).zip(moments) {
            *mean += (gradient - *mean) * (1.0 - MEAN_DECAY);
            *square += (gradient * gradient - *square) * (1.0 - SQUARE_DECAY);
            *value -= rate * *mean / (square.sqrt() + EPSILON);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::training::spec::{Architecture, NetworkKind};

    #[test]
    fn the_first_step_is_the_learning_rate_against_the_sign_of_the_gradient() {
        let mut weights = Weights::seeded(&Architecture::mirrored(NetworkKind::Dense, vec![1]), 2, 0);
        let before = weights.clone();
        let gradient = |layer: &crate::training::weights::LayerWeights| LayerGradient {
            kernel: vec![-3.0; layer.kernel.len()],
            recurrent: Vec::new(),
            bias: vec![0.5; layer.bias.len()],
        };
        let gradients: Vec<LayerGradient> = weights.layers.iter().map(gradient).collect();
        Adam::new(&weights, 0.01).step(&mut weights, &gradients);
        for (after, before) in weights.layers.iter().zip(&before.layers) {
            assert!(after.kernel.iter().zip(&before.kernel).all(|(a, b)| (a - b - 0.01).abs() < 1e-6));
            assert!(after.bias.iter().zip(&before.bias).all(|(a, b)| (a - b + 0.01).abs() < 1e-6));
        }
    }
}
