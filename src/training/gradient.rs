//! One step through the network and back: the loss of a batch and its gradient by every weight.
//!
//! Matrix products are candle's; what lies between them is written by hand, backward included, and is checked against candle's own
//! gradients (`reference`). The same weights and rows give the same bits: products run on this thread alone, sums have a fixed order.

use candle_core::{CpuStorage, Device, Result, Storage, Tensor};

use crate::training::gates;
use crate::training::weights::{Function, LayerWeights, Weights};

/// The gradient of a layer, laid out as its weights.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerGradient {
    pub kernel: Vec<f32>,
    pub bias: Vec<f32>,
}

/// What the way forward leaves for the way back.
struct Trace<'w> {
    layers: Vec<Step<'w>>,
    /// What the network gives, a row after the other.
    output: Vec<f32>,
}

/// A layer on the way forward.
struct Step<'w> {
    weights: &'w LayerWeights,
    kernel: Tensor,
    input: Tensor,
    /// An LSTM's gates, or a plain layer's outputs.
    kept: Vec<f32>,
}

/// What the network gives for `rows`, which lie one after the other.
pub fn reconstruction(weights: &Weights, rows: &[f32]) -> Result<Vec<f32>> {
    Ok(trace(weights, rows)?.output)
}

/// The mean squared error of a batch, and its gradient.
pub fn loss_and_gradient(weights: &Weights, rows: &[f32]) -> Result<(f64, Vec<LayerGradient>)> {
    let Trace { layers, mut output } = trace(weights, rows)?;
    let loss = squares(&output, rows) / rows.len() as f64;
    // From here on `output` is the gradient by what a layer gives.
    let factor = 2.0 / rows.len() as f32;
    output.iter_mut().zip(rows).for_each(|(value, row)| *value = (*value - row) * factor);
    let mut by_output = output;
    let mut gradients = Vec::with_capacity(layers.len());
    for (index, step) in layers.iter().enumerate().rev() {
        let (gradient, by_sums) = step.back(by_output)?;
        gradients.push(gradient);
        if index == 0 {
            break;
        }
        by_output = taken(by_sums.matmul(&step.kernel.t()?)?)?;
    }
    gradients.reverse();
    Ok((loss, gradients))
}

/// The sum of the squared differences. Rows are summed in f32 eight abreast, then in f64: the order is fixed.
pub(super) fn squares(output: &[f32], rows: &[f32]) -> f64 {
    let mut sum = 0.0;
    for (output, rows) in output.chunks(64).zip(rows.chunks(64)) {
        let mut lanes = [0.0f32; 8];
        for (output, rows) in output.chunks(8).zip(rows.chunks(8)) {
            for (lane, (output, row)) in lanes.iter_mut().zip(output.iter().zip(rows)) {
                *lane += (output - row) * (output - row);
            }
        }
        sum += lanes.iter().map(|lane| f64::from(*lane)).sum::<f64>();
    }
    sum
}

fn trace<'w>(weights: &'w Weights, rows: &[f32]) -> Result<Trace<'w>> {
    let features = weights.features();
    let mut input = Tensor::from_slice(rows, (rows.len() / features, features), &Device::Cpu)?;
    let mut layers = Vec::with_capacity(weights.layers.len());
    let mut output = Vec::new();
    for (index, layer) in weights.layers.iter().enumerate() {
        let kernel = Tensor::from_slice(&layer.kernel, (layer.inputs, layer.columns()), &Device::Cpu)?;
        let mut sums = taken(input.matmul(&kernel)?)?;
        let count = input.dim(0)?;
        let mut kept = Vec::new();
        let given = match layer.function {
            Function::Lstm => {
                kept.resize(count * gates::KEPT * layer.units, 0.0);
                let mut states = vec![0.0; count * layer.units];
                let (bias, units) = (layer.bias.as_slice(), layer.units);
                gates::Forward { sums: &sums, bias, units, states: &mut states, kept: &mut kept }.run();
                states
            }
            Function::Tanh => {
                add_bias(&mut sums, &layer.bias);
                gates::bend(&mut sums);
                kept.extend_from_slice(&sums);
                sums
            }
            Function::Linear => {
                add_bias(&mut sums, &layer.bias);
                sums
            }
        };
        let is_last = index + 1 == weights.layers.len();
        let next =
            if is_last { input.clone() } else { Tensor::from_slice(&given, (count, layer.units), &Device::Cpu)? };
        layers.push(Step { weights: layer, kernel, input: std::mem::replace(&mut input, next), kept });
        output = given;
    }
    Ok(Trace { layers, output })
}

impl Step<'_> {
    /// The layer's gradient and that by its weighted sums, from that by what it gave.
    fn back(&self, by_output: Vec<f32>) -> Result<(LayerGradient, Tensor)> {
        let (units, columns) = (self.weights.units, self.weights.columns());
        let count = self.input.dim(0)?;
        let by_sums = match self.weights.function {
            Function::Lstm => {
                let mut by_sums = vec![0.0; count * columns];
                gates::Backward { kept: &self.kept, by_states: &by_output, units, by_sums: &mut by_sums }.run();
                by_sums
            }
            Function::Tanh => {
                let mut by_sums = by_output;
                let gave = by_sums.iter_mut().zip(&self.kept);
                gave.for_each(|(gradient, gave)| *gradient *= 1.0 - gave * gave);
                by_sums
            }
            Function::Linear => by_output,
        };
        let mut bias = vec![0.0; columns];
        for row in by_sums.chunks_exact(columns) {
            bias.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        }
        let by_sums = Tensor::from_vec(by_sums, (count, columns), &Device::Cpu)?;
        let kernel = taken(self.input.t()?.matmul(&by_sums)?)?;
        Ok((LayerGradient { kernel, bias }, by_sums))
    }
}

fn add_bias(sums: &mut [f32], bias: &[f32]) {
    for row in sums.chunks_exact_mut(bias.len()) {
        row.iter_mut().zip(bias).for_each(|(value, bias)| *value += bias);
    }
}

/// The values of a product.
fn taken(tensor: Tensor) -> Result<Vec<f32>> {
    let (storage, layout) = tensor.storage_and_layout();
    match (&*storage, layout.contiguous_offsets()) {
        (Storage::Cpu(CpuStorage::F32(values)), Some((from, to))) => Ok(values[from..to].to_vec()),
        _ => candle_core::bail!("a product of f32 matrices is contiguous and on this machine"),
    }
}

#[cfg(test)]
#[path = "gradient_tests.rs"]
mod tests;
