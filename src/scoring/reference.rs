//! The network in plain candle, one row at a time: what the kernel is checked against, and the model of what training computes.

use candle_core::{D, Device, Result, Tensor};
use candle_nn::ops;

use crate::models::activation::{Activation, SELU_ALPHA, SELU_SCALE};
use crate::models::network::{Layer, Network};

/// A network as candle tensors.
#[derive(Debug)]
pub(super) struct Reference {
    input: Vec<usize>,
    layers: Vec<Stage>,
}

/// A layer with its tensors, in the order of `Layer`'s weights.
#[derive(Debug)]
struct Stage {
    layer: Layer,
    weights: [Option<Tensor>; 3],
}

impl Reference {
    pub(super) fn new(network: &Network) -> Result<Reference> {
        let stage = |(index, layer): (usize, &Layer)| {
            let names = match layer {
                Layer::Affine => ["scale", "shift", ""],
                _ => ["kernel", "recurrent_kernel", "bias"],
            };
            let mut weights = [None, None, None];
            for (weight, name) in weights.iter_mut().zip(names) {
                let tensor = network.tensor(index, name);
                *weight = tensor
                    .map(|tensor| Tensor::from_slice(&tensor.values, tensor.shape.as_slice(), &Device::Cpu))
                    .transpose()?;
            }
            Ok(Stage { layer: layer.clone(), weights })
        };
        let layers = network.layers().iter().enumerate().map(stage).collect::<Result<Vec<_>>>()?;
        Ok(Reference { input: network.input().to_vec(), layers })
    }

    /// Computes the outputs of rows that lie one after the other, into as many outputs.
    pub(super) fn run(&self, input: &[f32], output: &mut [f32]) -> Result<()> {
        let inputs: usize = self.input.iter().product();
        let outputs = output.len() / (input.len() / inputs).max(1);
        for (input, output) in input.chunks_exact(inputs).zip(output.chunks_exact_mut(outputs)) {
            let mut value = Tensor::from_slice(input, self.input.as_slice(), &Device::Cpu)?;
            for stage in &self.layers {
                value = stage.forward(&value)?;
            }
            output.copy_from_slice(&value.flatten_all()?.to_vec1()?);
        }
        Ok(())
    }
}

impl Stage {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let [first, second, bias] = &self.weights;
        let needed = |weight: &Option<Tensor>| {
            weight.clone().ok_or_else(|| candle_core::Error::Msg("a weight is missing".into()))
        };
        match &self.layer {
            Layer::Dropout { .. } => Ok(x.clone()),
            Layer::Repeat { times } => x.unsqueeze(0)?.repeat((*times, 1)),
            Layer::Reshape { shape } => x.reshape(shape.as_slice()),
            Layer::Activation { activation } => activate(*activation, x),
            Layer::Affine => x.broadcast_mul(&needed(first)?)?.broadcast_add(&needed(second)?),
            Layer::Dense { activation, .. } => {
                let (kernel, width) = (needed(first)?, x.dim(D::Minus1)?);
                let mut shape = x.dims().to_vec();
                let product = x.reshape(((), width))?.matmul(&kernel)?;
                shape.truncate(shape.len() - 1);
                shape.push(kernel.dim(1)?);
                let product = product.reshape(shape)?;
                activate(
                    *activation,
                    &match bias {
                        Some(bias) => product.broadcast_add(bias)?,
                        None => product,
                    },
                )
            }
            Layer::Lstm { units, return_sequences, go_backwards, activation, recurrent_activation, .. } => {
                let (kernel, recurrent) = (needed(first)?, needed(second)?);
                let mut state = Tensor::zeros((1, *units), x.dtype(), &Device::Cpu)?;
                let mut cell = state.clone();
                let mut states = Vec::new();
                let steps = x.dim(0)?;
                for step in 0..steps {
                    let step = if *go_backwards { steps - 1 - step } else { step };
                    let mut gates = (x.narrow(0, step, 1)?.matmul(&kernel)? + state.matmul(&recurrent)?)?;
                    if let Some(bias) = bias {
                        gates = gates.broadcast_add(bias)?;
                    }
                    let gates = gates.chunk(4, 1)?;
                    let [input, forget, output] = [0, 1, 3].map(|gate| activate(*recurrent_activation, &gates[gate]));
                    cell = ((forget? * cell)? + (input? * activate(*activation, &gates[2])?)?)?;
                    state = (output? * activate(*activation, &cell)?)?;
                    states.push(state.clone());
                }
                if *return_sequences { Tensor::cat(&states, 0) } else { state.squeeze(0) }
            }
        }
    }
}

fn activate(activation: Activation, x: &Tensor) -> Result<Tensor> {
    match activation {
        Activation::Linear => Ok(x.clone()),
        Activation::Tanh => x.tanh(),
        Activation::Sigmoid => ops::sigmoid(x),
        Activation::HardSigmoid => ((x / 6.0)? + 0.5)?.clamp(0f32, 1f32),
        Activation::HardSigmoidSteep => ((x * 0.2)? + 0.5)?.clamp(0f32, 1f32),
        Activation::Relu => x.relu(),
        Activation::Relu6 => x.clamp(0f32, 6f32),
        Activation::LeakyRelu { slope } => ops::leaky_relu(x, f64::from(slope)),
        Activation::Elu { alpha } => x.elu(f64::from(alpha)),
        Activation::Selu => x.elu(f64::from(SELU_ALPHA))? * f64::from(SELU_SCALE),
        Activation::Softplus => x.relu()? + (x.abs()?.neg()?.exp()? + 1.0)?.log()?,
        Activation::Softsign => x / (x.abs()? + 1.0)?,
        Activation::Exponential => x.exp(),
        Activation::Silu => x.silu(),
        Activation::Gelu => x.gelu_erf(),
        Activation::Softmax => ops::softmax(x, D::Minus1),
    }
}
