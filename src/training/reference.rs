//! The same loss and gradient in plain candle, by its own differentiation: what the hand-written one is checked and measured against.

use candle_core::{D, Device, Result, Tensor, Var};
use candle_nn::ops::sigmoid;

use crate::training::gradient::LayerGradient;
use crate::training::weights::{Function, Weights};

/// A network as candle variables.
#[derive(Debug)]
pub struct Reference {
    layers: Vec<Layer>,
    encoders: usize,
    /// Steps and values of each.
    input: (usize, usize),
}

#[derive(Debug)]
struct Layer {
    function: Function,
    kernel: Var,
    recurrent: Option<Var>,
    bias: Var,
}

impl Reference {
    pub fn new(weights: &Weights) -> Result<Reference> {
        let layers = weights.layers.iter().map(|layer| {
            let kernel = Var::from_slice(&layer.kernel, (layer.inputs, layer.columns()), &Device::Cpu)?;
            let is_fed_back = !layer.recurrent.is_empty();
            let recurrent =
                is_fed_back.then(|| Var::from_slice(&layer.recurrent, (layer.units, layer.columns()), &Device::Cpu));
            let bias = Var::from_slice(&layer.bias, layer.columns(), &Device::Cpu)?;
            Ok(Layer { function: layer.function, kernel, recurrent: recurrent.transpose()?, bias })
        });
        Ok(Reference {
            layers: layers.collect::<Result<_>>()?,
            encoders: weights.encoders,
            input: (weights.recurrent_steps(), weights.inputs()),
        })
    }

    /// The mean squared error of rows that lie one after the other, and its gradient.
    pub fn loss_and_gradient(&self, rows: &[f32]) -> Result<(f64, Vec<LayerGradient>)> {
        let (steps, width) = self.input;
        let input = Tensor::from_slice(rows, (rows.len() / width / steps, steps, width), &Device::Cpu)?;
        let mut values = (0..steps).map(|step| input.narrow(1, step, 1)?.squeeze(1)).collect::<Result<Vec<_>>>()?;
        for (index, layer) in self.layers.iter().enumerate() {
            values = layer.run(values)?;
            if index + 1 == self.encoders {
                let last = values[steps - 1].clone();
                values = vec![last; steps];
            }
        }
        let loss = candle_nn::loss::mse(&Tensor::stack(&values, 1)?, &input)?;
        let gradients = loss.backward()?;
        let of = |variable: &Var| match gradients.get(variable) {
            Some(gradient) => gradient.flatten_all()?.to_vec1(),
            None => Ok(vec![0.0; variable.elem_count()]),
        };
        let layers = self.layers.iter().map(|layer| {
            let recurrent = layer.recurrent.as_ref().map(of).transpose()?.unwrap_or_default();
            Ok(LayerGradient { kernel: of(&layer.kernel)?, recurrent, bias: of(&layer.bias)? })
        });
        Ok((f64::from(loss.to_scalar::<f32>()?), layers.collect::<Result<_>>()?))
    }
}

impl Layer {
    /// What each step gives, from what each step is given.
    fn run(&self, steps: Vec<Tensor>) -> Result<Vec<Tensor>> {
        let mut past: Option<(Tensor, Tensor)> = None;
        let step = |input: Tensor| {
            let mut sums = input.matmul(&self.kernel)?.broadcast_add(&self.bias)?;
            Ok(match self.function {
                Function::Linear => sums,
                Function::Tanh => sums.tanh()?,
                Function::Lstm => {
                    let gates = sums.chunk(3, D::Minus1)?;
                    let cell = (sigmoid(&gates[0])? * gates[1].tanh()?)?;
                    (sigmoid(&gates[2])? * cell.tanh()?)?
                }
                Function::Recurrent => {
                    if let (Some((state, _)), Some(recurrent)) = (&past, &self.recurrent) {
                        sums = (sums + state.matmul(recurrent)?)?;
                    }
                    let gates = sums.chunk(4, D::Minus1)?;
                    let mut cell = (sigmoid(&gates[0])? * gates[2].tanh()?)?;
                    if let Some((_, before)) = &past {
                        cell = (cell + (sigmoid(&gates[1])? * before)?)?;
                    }
                    let state = (sigmoid(&gates[3])? * cell.tanh()?)?;
                    past = Some((state.clone(), cell));
                    state
                }
            })
        };
        steps.into_iter().map(step).collect()
    }
}
