//! An LSTM layer through all steps of a batch of sequences, and back through time.
//!
//! Values lie step after step, and within a step sequence after sequence. The weighted inputs of all steps are one product, which is the
//! caller's; what is fed back is a product for each step.

use candle_core::{Device, Result, Tensor};

use crate::training::gradient::taken;
use crate::training::recurrent_gates::{Backward, Forward, GATES, KEPT};
use crate::training::weights::LayerWeights;

/// What the way forward leaves for the way back, of all steps.
pub(super) struct Memory {
    steps: usize,
    states: Vec<f32>,
    cells: Vec<f32>,
    kept: Vec<f32>,
}

impl Memory {
    /// The states after each step.
    pub(super) fn states(&self) -> &[f32] {
        &self.states
    }

    /// The states after the last step.
    pub(super) fn last_states(&self) -> &[f32] {
        &self.states[self.states.len() - self.states.len() / self.steps..]
    }

    /// The gradient of what is fed back, from that by the weighted sums of all steps.
    pub(super) fn gradient(&self, by_sums: &[f32], units: usize) -> Result<Vec<f32>> {
        let a_step = self.states.len() / self.steps;
        let rows = (self.states.len() - a_step) / units;
        let before = Tensor::from_slice(&self.states[..rows * units], (rows, units), &Device::Cpu)?;
        let by_sums = Tensor::from_slice(&by_sums[GATES * a_step..], (rows, GATES * units), &Device::Cpu)?;
        taken(before.t()?.matmul(&by_sums)?)
    }
}

/// `sums` are the weighted inputs of all steps; there is more than one step.
pub(super) fn forward(layer: &LayerWeights, mut sums: Vec<f32>, steps: usize) -> Result<Memory> {
    let units = layer.units;
    let a_step = sums.len() / GATES / steps;
    let recurrent = Tensor::from_slice(&layer.recurrent, (units, GATES * units), &Device::Cpu)?;
    let (mut states, mut cells) = (vec![0.0; steps * a_step], vec![0.0; steps * a_step]);
    let mut kept = vec![0.0; steps * KEPT * a_step];
    let nothing = vec![0.0; a_step];
    let parts = sums.chunks_exact_mut(GATES * a_step).zip(kept.chunks_exact_mut(KEPT * a_step));
    for (step, (sums, kept)) in parts.enumerate() {
        let (states_before, states) = states.split_at_mut(step * a_step);
        let (cells_before, cells) = cells.split_at_mut(step * a_step);
        let mut cells_then = nothing.as_slice();
        if step > 0 {
            cells_then = &cells_before[(step - 1) * a_step..];
            let before = &states_before[(step - 1) * a_step..];
            let before = Tensor::from_slice(before, (a_step / units, units), &Device::Cpu)?;
            let fed_back = taken(before.matmul(&recurrent)?)?;
            sums.iter_mut().zip(&fed_back).for_each(|(sum, value)| *sum += value);
        }
        let (cells, states) = (&mut cells[..a_step], &mut states[..a_step]);
        Forward { sums, bias: &layer.bias, units, cells_before: cells_then, cells, states, kept }.run();
    }
    Ok(Memory { steps, states, cells, kept })
}

/// The gradient by the weighted sums of all steps, from that by what the layer gave: its states after all steps, or after the last alone.
pub(super) fn backward(layer: &LayerWeights, memory: &Memory, by_output: &[f32], gives_last: bool) -> Result<Vec<f32>> {
    let (units, steps) = (layer.units, memory.steps);
    let a_step = memory.states.len() / steps;
    let recurrent = Tensor::from_slice(&layer.recurrent, (units, GATES * units), &Device::Cpu)?.t()?;
    let mut by_sums = vec![0.0; steps * GATES * a_step];
    let (mut by_states, mut by_cells) = (vec![0.0; a_step], vec![0.0; a_step]);
    let nothing = vec![0.0; a_step];
    for step in (0..steps).rev() {
        let given = match gives_last {
            true if step + 1 == steps => by_output,
            true => &[],
            false => &by_output[step * a_step..][..a_step],
        };
        by_states.iter_mut().zip(given).for_each(|(sum, value)| *sum += value);
        let cells_before = if step > 0 { &memory.cells[(step - 1) * a_step..][..a_step] } else { &nothing };
        let kept = &memory.kept[step * KEPT * a_step..][..KEPT * a_step];
        let by_sums = &mut by_sums[step * GATES * a_step..][..GATES * a_step];
        Backward { kept, cells_before, by_states: &by_states, units, by_cells: &mut by_cells, by_sums }.run();
        if step > 0 {
            let by_sums = Tensor::from_slice(by_sums, (a_step / units, GATES * units), &Device::Cpu)?;
            by_states = taken(by_sums.matmul(&recurrent)?)?;
        }
    }
    Ok(by_sums)
}
