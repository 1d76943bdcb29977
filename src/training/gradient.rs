//! One batch through the network and back: its loss and its gradient by every weight.
//!
//! Matrix products are candle's; what lies between them is written by hand, backward included, and is checked against candle's own
//! gradients (`reference`). Inside, the rows of sequences lie step after step, so that a step of the whole batch is one piece. The same weights and rows give the same bits: products run on this thread alone, sums have a fixed order.

use candle_core::{CpuStorage, Device, Result, Storage, Tensor};

use crate::training::gates;
use crate::training::recurrent::{self, Memory};
use crate::training::weights::{Function, LayerWeights, Weights};

/// The gradient of a layer, laid out as its weights.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerGradient {
    pub kernel: Vec<f32>,
    /// Empty where nothing is fed back.
    pub recurrent: Vec<f32>,
    pub bias: Vec<f32>,
}

/// What the way forward leaves for the way back.
struct Trace<'w> {
    layers: Vec<Passed<'w>>,
    /// What the network gives, a row after the other.
    output: Vec<f32>,
}

/// A layer on the way forward.
struct Passed<'w> {
    weights: &'w LayerWeights,
    kernel: Tensor,
    input: Tensor,
    kept: Kept,
    /// Whether it gives its state after the last step alone.
    gives_last: bool,
}

/// What a layer needs for its way back.
enum Kept {
    /// An LSTM's gates, or a plain layer's outputs.
    Values(Vec<f32>),
    Steps(Memory),
}

/// What the network gives for `rows`, which lie one after the other.
pub fn reconstruction(weights: &Weights, rows: &[f32]) -> Result<Vec<f32>> {
    let (steps, width) = (weights.recurrent_steps(), weights.inputs());
    let output = trace(weights, &step_after_step(rows, steps, width))?.output;
    Ok(step_after_step(&output, output.len() / width / steps, width))
}

/// The mean squared error of a batch, and its gradient.
pub fn loss_and_gradient(weights: &Weights, rows: &[f32]) -> Result<(f64, Vec<LayerGradient>)> {
    let rows = step_after_step(rows, weights.recurrent_steps(), weights.inputs());
    let Trace { layers, mut output } = trace(weights, &rows)?;
    let loss = squares(&output, &rows) / rows.len() as f64;
    // From here on `output` is the gradient by what a layer gives.
    let factor = 2.0 / rows.len() as f32;
    output.iter_mut().zip(&rows).for_each(|(value, row)| *value = (*value - row) * factor);
    Ok((loss, back(weights, &layers, output)?))
}

/// What a network of one output gives for each row.
pub fn logits(weights: &Weights, rows: &[f32]) -> Result<Vec<f32>> {
    Ok(trace(weights, rows)?.output)
}

/// How surprised the logits' probabilities are by what rows are (the cross entropy), summed by weight, and its gradient. The
/// first `normal` rows are normal and weigh `weigh[0]` each; the others are anomalies and weigh `weigh[1]`.
pub fn surprise_and_gradient(
    weights: &Weights,
    rows: &[f32],
    normal: usize,
    weigh: [f64; 2],
) -> Result<(f64, Vec<LayerGradient>)> {
    let Trace { layers, mut output } = trace(weights, rows)?;
    let mut sum = 0.0;
    for (row, logit) in output.iter_mut().enumerate() {
        let (is_anomaly, value) = (row >= normal, f64::from(*logit));
        let weight = weigh[usize::from(is_anomaly)];
        sum += weight * surprise(value, is_anomaly);
        let probability = 1.0 / (1.0 + libm::exp(-value));
        *logit = (weight * (probability - f64::from(u8::from(is_anomaly)))) as f32;
    }
    Ok((sum, back(weights, &layers, output)?))
}

/// `-ln` of the probability that a logit gives to what a row is; written so that nothing overflows.
pub(super) fn surprise(logit: f64, is_anomaly: bool) -> f64 {
    let against = if is_anomaly { -logit } else { logit };
    against.max(0.0) + libm::log1p(libm::exp(-against.abs()))
}

/// The gradients of all layers, from that by what the last one gives.
fn back(weights: &Weights, layers: &[Passed<'_>], mut by_output: Vec<f32>) -> Result<Vec<LayerGradient>> {
    let mut gradients = Vec::with_capacity(layers.len());
    for (index, layer) in layers.iter().enumerate().rev() {
        let (gradient, by_sums) = layer.back(by_output)?;
        gradients.push(gradient);
        if index == 0 {
            break;
        }
        by_output = taken(by_sums.matmul(&layer.kernel.t()?)?)?;
        if index == weights.encoders && weights.recurrent_steps() > 1 {
            by_output = summed(&by_output, weights.recurrent_steps());
        }
    }
    gradients.reverse();
    Ok(gradients)
}

/// Rows that lie sequence after sequence, step after step; and back, where the counts change places.
fn step_after_step(rows: &[f32], steps: usize, width: usize) -> Vec<f32> {
    let count = rows.len() / width / steps;
    if steps == 1 || count == 1 {
        return rows.to_vec();
    }
    let mut turned = Vec::with_capacity(rows.len());
    for step in 0..steps {
        for sequence in 0..count {
            turned.extend_from_slice(&rows[(sequence * steps + step) * width..][..width]);
        }
    }
    turned
}

/// The sums over equal pieces.
fn summed(values: &[f32], pieces: usize) -> Vec<f32> {
    let mut pieces = values.chunks_exact(values.len() / pieces);
    let mut sums = pieces.next().unwrap_or_default().to_vec();
    pieces.for_each(|piece| sums.iter_mut().zip(piece).for_each(|(sum, value)| *sum += value));
    sums
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
    let width = weights.inputs();
    let mut input = Some(Tensor::from_slice(rows, (rows.len() / width, width), &Device::Cpu)?);
    let mut layers = Vec::with_capacity(weights.layers.len());
    let mut output = Vec::new();
    for (index, layer) in weights.layers.iter().enumerate() {
        let Some(taken) = input.take() else { break };
        let (passed, given) = pass(weights, index, taken)?;
        layers.push(passed);
        output = given;
        if index + 1 == weights.encoders && weights.recurrent_steps() > 1 {
            output = output.repeat(weights.recurrent_steps());
        }
        if index + 1 < weights.layers.len() {
            let shape = (output.len() / layer.units, layer.units);
            input = Some(Tensor::from_slice(&output, shape, &Device::Cpu)?);
        }
    }
    Ok(Trace { layers, output })
}

/// What a layer gives, and what it leaves for the way back.
fn pass(weights: &Weights, index: usize, input: Tensor) -> Result<(Passed<'_>, Vec<f32>)> {
    let layer = &weights.layers[index];
    let kernel = Tensor::from_slice(&layer.kernel, (layer.inputs, layer.columns()), &Device::Cpu)?;
    let mut sums = taken(input.matmul(&kernel)?)?;
    let gives_last = index + 1 == weights.encoders;
    let (kept, given) = match layer.function {
        Function::Lstm => {
            let count = input.dim(0)?;
            let mut kept = vec![0.0; count * gates::KEPT * layer.units];
            let mut states = vec![0.0; count * layer.units];
            let (bias, units) = (layer.bias.as_slice(), layer.units);
            gates::Forward { sums: &sums, bias, units, states: &mut states, kept: &mut kept }.run();
            (Kept::Values(kept), states)
        }
        Function::Recurrent => {
            let memory = recurrent::forward(layer, sums, weights.recurrent_steps())?;
            let given = if gives_last { memory.last_states() } else { memory.states() };
            let given = given.to_vec();
            (Kept::Steps(memory), given)
        }
        Function::Tanh => {
            add_bias(&mut sums, &layer.bias);
            gates::bend(&mut sums);
            (Kept::Values(sums.clone()), sums)
        }
        Function::Linear => {
            add_bias(&mut sums, &layer.bias);
            (Kept::Values(Vec::new()), sums)
        }
    };
    Ok((Passed { weights: layer, kernel, input, kept, gives_last }, given))
}

impl Passed<'_> {
    /// The layer's gradient and that by its weighted sums, from that by what it gave.
    fn back(&self, by_output: Vec<f32>) -> Result<(LayerGradient, Tensor)> {
        let (units, columns) = (self.weights.units, self.weights.columns());
        let count = self.input.dim(0)?;
        let mut recurrent = Vec::new();
        let by_sums = match (self.weights.function, &self.kept) {
            (Function::Lstm, Kept::Values(kept)) => {
                let mut by_sums = vec![0.0; count * columns];
                gates::Backward { kept, by_states: &by_output, units, by_sums: &mut by_sums }.run();
                by_sums
            }
            (_, Kept::Steps(memory)) => {
                let by_sums = recurrent::backward(self.weights, memory, &by_output, self.gives_last)?;
                recurrent = memory.gradient(&by_sums, units)?;
                by_sums
            }
            (Function::Tanh, Kept::Values(kept)) => {
                let mut by_sums = by_output;
                let gave = by_sums.iter_mut().zip(kept);
                gave.for_each(|(gradient, gave)| *gradient *= 1.0 - gave * gave);
                by_sums
            }
            (_, Kept::Values(_)) => by_output,
        };
        let mut bias = vec![0.0; columns];
        for row in by_sums.chunks_exact(columns) {
            bias.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        }
        let by_sums = Tensor::from_vec(by_sums, (count, columns), &Device::Cpu)?;
        let kernel = taken(self.input.t()?.matmul(&by_sums)?)?;
        Ok((LayerGradient { kernel, recurrent, bias }, by_sums))
    }
}

fn add_bias(sums: &mut [f32], bias: &[f32]) {
    for row in sums.chunks_exact_mut(bias.len()) {
        row.iter_mut().zip(bias).for_each(|(value, bias)| *value += bias);
    }
}

/// The values of a product.
pub(super) fn taken(tensor: Tensor) -> Result<Vec<f32>> {
    let (storage, layout) = tensor.storage_and_layout();
    match (&*storage, layout.contiguous_offsets()) {
        (Storage::Cpu(CpuStorage::F32(values)), Some((from, to))) => Ok(values[from..to].to_vec()),
        _ => candle_core::bail!("a product of f32 matrices is contiguous and on this machine"),
    }
}

#[cfg(test)]
#[path = "gradient_tests.rs"]
mod tests;
