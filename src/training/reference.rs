//! The same loss and gradient in plain candle, by its own differentiation: what the hand-written one is checked and measured against.

use candle_core::{D, Device, Result, Tensor, Var};
use candle_nn::ops::sigmoid;

use crate::training::gradient::LayerGradient;
use crate::training::weights::{Function, Weights};

/// A network as candle variables.
#[derive(Debug)]
pub struct Reference {
    layers: Vec<(Function, Var, Var)>,
    features: usize,
}

impl Reference {
    pub fn new(weights: &Weights) -> Result<Reference> {
        let layers = weights.layers.iter().map(|layer| {
            let kernel = Var::from_slice(&layer.kernel, (layer.inputs, layer.columns()), &Device::Cpu)?;
            Ok((layer.function, kernel, Var::from_slice(&layer.bias, layer.columns(), &Device::Cpu)?))
        });
        Ok(Reference { layers: layers.collect::<Result<_>>()?, features: weights.features() })
    }

    /// The mean squared error of rows that lie one after the other, and its gradient.
    pub fn loss_and_gradient(&self, rows: &[f32]) -> Result<(f64, Vec<LayerGradient>)> {
        let input = Tensor::from_slice(rows, (rows.len() / self.features, self.features), &Device::Cpu)?;
        let mut value = input.clone();
        for (function, kernel, bias) in &self.layers {
            let sums = value.matmul(kernel)?.broadcast_add(bias)?;
            value = match function {
                Function::Linear => sums,
                Function::Tanh => sums.tanh()?,
                Function::Lstm => {
                    let gates = sums.chunk(3, D::Minus1)?;
                    let cell = (sigmoid(&gates[0])? * gates[1].tanh()?)?;
                    (sigmoid(&gates[2])? * cell.tanh()?)?
                }
            };
        }
        let loss = candle_nn::loss::mse(&value, &input)?;
        let gradients = loss.backward()?;
        let of = |variable: &Var| match gradients.get(variable) {
            Some(gradient) => gradient.flatten_all()?.to_vec1(),
            None => Ok(vec![0.0; variable.elem_count()]),
        };
        let layers =
            self.layers.iter().map(|(_, kernel, bias)| Ok(LayerGradient { kernel: of(kernel)?, bias: of(bias)? }));
        Ok((f64::from(loss.to_scalar::<f32>()?), layers.collect::<Result<_>>()?))
    }
}
