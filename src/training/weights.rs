//! The weights of a network while it is trained, and the network that they become.
//!
//! Promise: the seed and the shape alone decide the first weights, on every machine.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::models::activation::Activation;
use crate::models::network::{Layer, Network, NetworkFault, Tensor, Tensors};
use crate::training::spec::{Architecture, NetworkKind};
use crate::training::{gates, recurrent_gates};

/// All layers, from the input to the output.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    pub(super) kind: NetworkKind,
    pub(super) layers: Vec<LayerWeights>,
    /// Layers in front of the code, which an LSTM's decoder repeats.
    pub(super) encoders: usize,
    /// Rows that make one input.
    steps: usize,
}

/// One layer that is trained.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct LayerWeights {
    pub(super) function: Function,
    pub(super) inputs: usize,
    pub(super) units: usize,
    /// A row for each input, `columns` wide.
    pub(super) kernel: Vec<f32>,
    /// A row for each unit's state at the step before; empty where nothing is fed back.
    pub(super) recurrent: Vec<f32>,
    pub(super) bias: Vec<f32>,
}

/// What a layer does with its weighted inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    /// The three gates that matter at the first step.
    Lstm,
    /// The four gates of every step, in the order input, forget, cell, output.
    Recurrent,
    Tanh,
    Linear,
}

impl LayerWeights {
    /// Weighted sums of each row.
    pub(super) fn columns(&self) -> usize {
        match self.function {
            Function::Lstm => gates::GATES * self.units,
            Function::Recurrent => recurrent_gates::GATES * self.units,
            Function::Tanh | Function::Linear => self.units,
        }
    }

    /// Glorot's uniform distribution, as Keras begins; a kernel's gates count as one matrix there too. What is fed back begins orthogonal,
    /// and nothing is forgotten at first.
    fn seeded(function: Function, inputs: usize, units: usize, random: &mut ChaCha8Rng) -> LayerWeights {
        let layer =
            LayerWeights { function, inputs, units, kernel: Vec::new(), recurrent: Vec::new(), bias: Vec::new() };
        let columns = layer.columns();
        let fan = match function {
            // Keras counts the forget gate too.
            Function::Lstm | Function::Recurrent => inputs + 4 * units,
            Function::Tanh | Function::Linear => inputs + units,
        };
        let limit = (6.0 / fan as f64).sqrt() as f32;
        let kernel = (0..inputs * columns).map(|_| (random.random::<f32>() * 2.0 - 1.0) * limit).collect();
        let (mut bias, mut recurrent) = (vec![0.0; columns], Vec::new());
        if function == Function::Recurrent {
            bias[units..2 * units].fill(1.0);
            recurrent = orthogonal(units, columns, random);
        }
        LayerWeights { kernel, recurrent, bias, ..layer }
    }
}

/// Rows of length 1 that are orthogonal to each other, by Gram and Schmidt's method; there are at least as many columns as rows.
fn orthogonal(rows: usize, columns: usize, random: &mut ChaCha8Rng) -> Vec<f32> {
    let mut found: Vec<Vec<f64>> = Vec::with_capacity(rows);
    while found.len() < rows {
        let mut row: Vec<f64> = (0..columns).map(|_| random.random::<f64>() * 2.0 - 1.0).collect();
        let product = |a: &[f64], b: &[f64]| a.iter().zip(b).fold(0.0, |sum, (a, b)| sum + a * b);
        for other in &found {
            let shared = product(&row, other);
            row.iter_mut().zip(other).for_each(|(value, other)| *value -= shared * other);
        }
        let length = product(&row, &row).sqrt();
        // What is left of a row by chance has a length of its own; a row without any is drawn again.
        if length > 1e-6 {
            row.iter_mut().for_each(|value| *value /= length);
            found.push(row);
        }
    }
    found.into_iter().flatten().map(|value| value as f32).collect()
}

impl Weights {
    /// The weights that training over single rows begins with.
    pub fn seeded(architecture: &Architecture, features: usize, seed: u64) -> Weights {
        Weights::of_sequences(architecture, 1, features, seed)
    }

    /// The weights that training over sequences of `steps` rows begins with. Dense layers see all rows of a sequence at once.
    pub fn of_sequences(architecture: &Architecture, steps: usize, features: usize, seed: u64) -> Weights {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let (function, features) = match architecture.kind {
            NetworkKind::Lstm if steps > 1 => (Function::Recurrent, features),
            NetworkKind::Lstm => (Function::Lstm, features),
            NetworkKind::Dense => (Function::Tanh, steps * features),
        };
        let mut inputs = features;
        let mut layers = Vec::new();
        for units in architecture.encoder.iter().chain(&architecture.decoder) {
            layers.push(LayerWeights::seeded(function, inputs, *units, &mut random));
            inputs = *units;
        }
        layers.push(LayerWeights::seeded(Function::Linear, inputs, features, &mut random));
        Weights { kind: architecture.kind, layers, encoders: architecture.encoder.len(), steps }
    }

    /// The weights that training of a classifier begins with: layers of `tanh`, and one output.
    pub fn of_classifier(layers: &[usize], features: usize, seed: u64) -> Weights {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let (mut inputs, mut all) = (features, Vec::new());
        for units in layers {
            all.push(LayerWeights::seeded(Function::Tanh, inputs, *units, &mut random));
            inputs = *units;
        }
        all.push(LayerWeights::seeded(Function::Linear, inputs, 1, &mut random));
        Weights { kind: NetworkKind::Dense, layers: all, encoders: layers.len(), steps: 1 }
    }

    /// Values that the first layer takes at once.
    pub fn inputs(&self) -> usize {
        self.layers[0].inputs
    }

    /// Steps that layers go through one after the other; 1 where they see all at once.
    pub(super) fn recurrent_steps(&self) -> usize {
        match self.kind {
            NetworkKind::Lstm => self.steps,
            NetworkKind::Dense => 1,
        }
    }

    /// Values of one input of the whole network: of a row, or of all rows of a sequence.
    pub fn values(&self) -> usize {
        self.recurrent_steps() * self.inputs()
    }

    /// The network that scoring computes.
    pub fn network(&self) -> Result<Network, NetworkFault> {
        let (mut layers, mut tensors) = (Vec::new(), Tensors::new());
        let is_flat = self.kind == NetworkKind::Dense && self.steps > 1;
        if is_flat {
            layers.push(Layer::Reshape { shape: vec![self.inputs()] });
        }
        for (index, weights) in self.layers.iter().enumerate() {
            if self.kind == NetworkKind::Lstm && index == self.encoders {
                layers.push(Layer::Repeat { times: self.steps });
            }
            let place = layers.len();
            let mut add = |name: &str, shape: Vec<usize>, values: Vec<f32>| {
                tensors.insert(format!("{place}.{name}"), Tensor { shape, values });
            };
            let LayerWeights { inputs, units, .. } = *weights;
            match weights.function {
                Function::Lstm => {
                    add("kernel", vec![inputs, 4 * units], with_forget_gate(&weights.kernel, units));
                    // At the first step there is nothing to feed back.
                    add("recurrent_kernel", vec![units, 4 * units], vec![0.0; units * 4 * units]);
                    add("bias", vec![4 * units], with_forget_gate(&weights.bias, units));
                    layers.push(lstm(units, index + 1 != self.encoders));
                }
                Function::Recurrent => {
                    add("kernel", vec![inputs, 4 * units], weights.kernel.clone());
                    add("recurrent_kernel", vec![units, 4 * units], weights.recurrent.clone());
                    add("bias", vec![4 * units], weights.bias.clone());
                    layers.push(lstm(units, index + 1 != self.encoders));
                }
                Function::Tanh | Function::Linear => {
                    add("kernel", vec![inputs, units], weights.kernel.clone());
                    add("bias", vec![units], weights.bias.clone());
                    let is_linear = weights.function == Function::Linear;
                    let activation = if is_linear { Activation::Linear } else { Activation::Tanh };
                    layers.push(Layer::Dense { units, activation, bias: true });
                }
            }
        }
        let input = match self.kind {
            NetworkKind::Dense if !is_flat => vec![self.inputs()],
            _ => vec![self.steps, self.values() / self.steps],
        };
        if is_flat {
            layers.push(Layer::Reshape { shape: input.clone() });
        }
        Network::new(input, layers, tensors)
    }
}

fn lstm(units: usize, return_sequences: bool) -> Layer {
    Layer::Lstm {
        units,
        return_sequences,
        go_backwards: false,
        activation: Activation::Tanh,
        recurrent_activation: Activation::Sigmoid,
        bias: true,
    }
}

/// Rows of three gates as rows of four; the forget gate, which the first step does not have, is zero.
fn with_forget_gate(values: &[f32], units: usize) -> Vec<f32> {
    let mut four = Vec::with_capacity(values.len() / gates::GATES * 4);
    for row in values.chunks_exact(gates::GATES * units) {
        four.extend_from_slice(&row[..units]);
        four.resize(four.len() + units, 0.0);
        four.extend_from_slice(&row[units..]);
    }
    four
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_decides_the_first_weights() {
        let weights = |seed| Weights::seeded(&Architecture::lstm(), 31, seed);
        assert_eq!(weights(7), weights(7));
        assert_ne!(weights(7), weights(8));
    }

    #[test]
    fn the_forget_gate_goes_between_input_and_cell() {
        assert_eq!(with_forget_gate(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 1), [1.0, 0.0, 2.0, 3.0, 4.0, 0.0, 5.0, 6.0]);
    }

    #[test]
    fn weights_become_a_network_of_their_shape() {
        let network = Weights::seeded(&Architecture::lstm(), 31, 1).network().unwrap();
        assert_eq!((network.input(), network.output()), ([1, 31].as_slice(), [1, 31].as_slice()));
        assert_eq!(network.layers().len(), 7);
        let network = Weights::seeded(&Architecture::dense(), 5, 1).network().unwrap();
        assert_eq!((network.input(), network.output(), network.layers().len()), ([5].as_slice(), [5].as_slice(), 4));
        for (architecture, layers) in [(Architecture::lstm(), 7), (Architecture::dense(), 6)] {
            let network = Weights::of_sequences(&architecture, 9, 5, 1).network().unwrap();
            assert_eq!((network.input(), network.output()), ([9, 5].as_slice(), [9, 5].as_slice()));
            assert_eq!(network.layers().len(), layers);
        }
    }

    #[test]
    fn what_is_fed_back_begins_orthogonal() {
        let rows = orthogonal(5, 20, &mut ChaCha8Rng::seed_from_u64(3));
        let row = |index: usize| &rows[index * 20..][..20];
        for (a, b) in (0..5).flat_map(|a| (0..5).map(move |b| (a, b))) {
            let product: f32 = row(a).iter().zip(row(b)).map(|(a, b)| a * b).sum();
            assert!((product - f32::from(u8::from(a == b))).abs() < 1e-6, "{a} {b}: {product}");
        }
    }
}
