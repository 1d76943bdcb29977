//! The gates of an LSTM at any step, whole rows at a time: forward, and backward from what forward kept.
//!
//! With the gates `i`, `f`, `g` and `o` a unit's cell becomes `f * cell + i * g` and its state `o * tanh(cell)` (Hochreiter and Schmidhuber,
//! 1997, with the forget gate of Gers and others, 2000), as Keras computes it. The functions are those that scoring computes with.

use crate::scoring::kernel::functions::{sigmoid, tanh};
use crate::scoring::kernel::lanes::{LANES, Lanes, Portable};
use crate::training::gates::{gate, give, take};

/// Gates in this order: input, forget, cell, output.
pub(super) const GATES: usize = 4;
/// What is kept of a unit for the way back: the four gates and the tanh of the cell.
pub(super) const KEPT: usize = 5;

/// One step of rows: `sums` are the weighted inputs and states of each row's gates, without the bias.
pub(super) struct Forward<'a> {
    pub(super) sums: &'a [f32],
    pub(super) bias: &'a [f32],
    pub(super) units: usize,
    /// Of the step before.
    pub(super) cells_before: &'a [f32],
    pub(super) cells: &'a mut [f32],
    pub(super) states: &'a mut [f32],
    pub(super) kept: &'a mut [f32],
}

/// The gradient by the weighted sums of each row's gates, from that by its states and cells.
pub(super) struct Backward<'a> {
    pub(super) kept: &'a [f32],
    /// Of the step before.
    pub(super) cells_before: &'a [f32],
    pub(super) by_states: &'a [f32],
    pub(super) units: usize,
    /// By the cells of this step, as the step behind it has it; then by those of the step before.
    pub(super) by_cells: &'a mut [f32],
    pub(super) by_sums: &'a mut [f32],
}

impl Forward<'_> {
    pub(super) fn run(self) {
        #[cfg(target_arch = "x86_64")]
        if let Some(avx2) = crate::scoring::kernel::lanes::Avx2::detect() {
            // SAFETY: holding an `Avx2` is the proof that the processor has the features.
            return unsafe { forward_avx2(avx2, self) };
        }
        forward(Portable, self);
    }
}

impl Backward<'_> {
    pub(super) fn run(self) {
        #[cfg(target_arch = "x86_64")]
        if let Some(avx2) = crate::scoring::kernel::lanes::Avx2::detect() {
            // SAFETY: holding an `Avx2` is the proof that the processor has the features.
            return unsafe { backward_avx2(avx2, self) };
        }
        backward(Portable, self);
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn forward_avx2(avx2: crate::scoring::kernel::lanes::Avx2, work: Forward<'_>) {
    forward(avx2, work);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn backward_avx2(avx2: crate::scoring::kernel::lanes::Avx2, work: Backward<'_>) {
    backward(avx2, work);
}

#[inline(always)]
fn forward<L: Lanes>(lanes: L, work: Forward<'_>) {
    let Forward { sums, bias, units, cells_before, cells, states, kept } = work;
    let rows = sums.chunks_exact(GATES * units).zip(kept.chunks_exact_mut(KEPT * units));
    let memory = cells_before.chunks_exact(units).zip(cells.chunks_exact_mut(units));
    for (((sums, kept), (before, cells)), states) in rows.zip(memory).zip(states.chunks_exact_mut(units)) {
        for unit in (0..units).step_by(LANES) {
            let end = units.min(unit + LANES);
            let input = sigmoid(lanes, gate(lanes, sums, bias, unit, end));
            let forget = sigmoid(lanes, gate(lanes, sums, bias, units + unit, units + end));
            let candidate = tanh(lanes, gate(lanes, sums, bias, 2 * units + unit, 2 * units + end));
            let output = sigmoid(lanes, gate(lanes, sums, bias, 3 * units + unit, 3 * units + end));
            let remembered = lanes.mul(forget, take(lanes, &before[unit..end]));
            let cell = lanes.add(remembered, lanes.mul(input, candidate));
            let bent = tanh(lanes, cell);
            give(lanes, cell, &mut cells[unit..end]);
            give(lanes, lanes.mul(output, bent), &mut states[unit..end]);
            give(lanes, input, &mut kept[unit..end]);
            give(lanes, forget, &mut kept[units + unit..units + end]);
            give(lanes, candidate, &mut kept[2 * units + unit..2 * units + end]);
            give(lanes, output, &mut kept[3 * units + unit..3 * units + end]);
            give(lanes, bent, &mut kept[4 * units + unit..4 * units + end]);
        }
    }
}

#[inline(always)]
fn backward<L: Lanes>(lanes: L, work: Backward<'_>) {
    let Backward { kept, cells_before, by_states, units, by_cells, by_sums } = work;
    let one = lanes.splat(1.0);
    let rows = kept.chunks_exact(KEPT * units).zip(by_sums.chunks_exact_mut(GATES * units));
    let memory = cells_before.chunks_exact(units).zip(by_cells.chunks_exact_mut(units));
    for (((kept, by_sums), (before, by_cells)), by_states) in rows.zip(memory).zip(by_states.chunks_exact(units)) {
        for unit in (0..units).step_by(LANES) {
            let end = units.min(unit + LANES);
            let by_state = take(lanes, &by_states[unit..end]);
            let input = take(lanes, &kept[unit..end]);
            let forget = take(lanes, &kept[units + unit..units + end]);
            let candidate = take(lanes, &kept[2 * units + unit..2 * units + end]);
            let output = take(lanes, &kept[3 * units + unit..3 * units + end]);
            let bent = take(lanes, &kept[4 * units + unit..4 * units + end]);
            let slope = lanes.sub(one, lanes.mul(bent, bent));
            let through_state = lanes.mul(lanes.mul(by_state, output), slope);
            let by_cell = lanes.add(take(lanes, &by_cells[unit..end]), through_state);
            let of_candidate = lanes.sub(one, lanes.mul(candidate, candidate));
            let by_input = lanes.mul(lanes.mul(by_cell, candidate), of_gate(lanes, input));
            let by_forget = lanes.mul(lanes.mul(by_cell, take(lanes, &before[unit..end])), of_gate(lanes, forget));
            let by_candidate = lanes.mul(lanes.mul(by_cell, input), of_candidate);
            let by_output = lanes.mul(lanes.mul(by_state, bent), of_gate(lanes, output));
            give(lanes, by_input, &mut by_sums[unit..end]);
            give(lanes, by_forget, &mut by_sums[units + unit..units + end]);
            give(lanes, by_candidate, &mut by_sums[2 * units + unit..2 * units + end]);
            give(lanes, by_output, &mut by_sums[3 * units + unit..3 * units + end]);
            give(lanes, lanes.mul(by_cell, forget), &mut by_cells[unit..end]);
        }
    }
}

/// The slope of a gate's sigmoid, where the gate is what it is.
#[inline(always)]
fn of_gate<L: Lanes>(lanes: L, gate: L::Vector) -> L::Vector {
    lanes.mul(gate, lanes.sub(lanes.splat(1.0), gate))
}
