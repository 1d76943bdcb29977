//! The gates of an LSTM at its first step, whole rows at a time: forward, and backward from what forward kept. And `tanh` of plain layers.
//!
//! At the first step there is no state to forget or to feed back, so a unit is `sigmoid(o) * tanh(sigmoid(i) * tanh(g))` and only three
//! gates have a gradient; this is exact, not an approximation. The functions are those that scoring computes with.

use crate::scoring::kernel::functions::{sigmoid, tanh};
use crate::scoring::kernel::lanes::{LANES, Lanes, Portable};

/// Gates with a part in the first step, in this order: input, cell, output.
pub(super) const GATES: usize = 3;
/// What is kept of a unit for the way back: the three gates and the tanh of the cell.
pub(super) const KEPT: usize = 4;

/// What a layer's rows give: `sums` are the weighted inputs of each row's gates, without the bias.
pub(super) struct Forward<'a> {
    pub(super) sums: &'a [f32],
    pub(super) bias: &'a [f32],
    pub(super) units: usize,
    pub(super) states: &'a mut [f32],
    pub(super) kept: &'a mut [f32],
}

/// The gradient by the weighted inputs of each row's gates, from that by its states.
pub(super) struct Backward<'a> {
    pub(super) kept: &'a [f32],
    pub(super) by_states: &'a [f32],
    pub(super) units: usize,
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

/// `tanh` of every value.
pub(super) fn bend(values: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if let Some(avx2) = crate::scoring::kernel::lanes::Avx2::detect() {
        // SAFETY: holding an `Avx2` is the proof that the processor has the features.
        return unsafe { bend_avx2(avx2, values) };
    }
    bend_by(Portable, values);
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

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn bend_avx2(avx2: crate::scoring::kernel::lanes::Avx2, values: &mut [f32]) {
    bend_by(avx2, values);
}

#[inline(always)]
fn bend_by<L: Lanes>(lanes: L, values: &mut [f32]) {
    for values in values.chunks_mut(LANES) {
        give(lanes, tanh(lanes, take(lanes, values)), values);
    }
}

#[inline(always)]
fn forward<L: Lanes>(lanes: L, work: Forward<'_>) {
    let Forward { sums, bias, units, states, kept } = work;
    let rows = sums.chunks_exact(GATES * units).zip(states.chunks_exact_mut(units));
    for ((sums, states), kept) in rows.zip(kept.chunks_exact_mut(KEPT * units)) {
        for unit in (0..units).step_by(LANES) {
            let end = units.min(unit + LANES);
            let input = sigmoid(lanes, gate(lanes, sums, bias, unit, end));
            let cell = tanh(lanes, gate(lanes, sums, bias, units + unit, units + end));
            let output = sigmoid(lanes, gate(lanes, sums, bias, 2 * units + unit, 2 * units + end));
            let bent = tanh(lanes, lanes.mul(input, cell));
            give(lanes, lanes.mul(output, bent), &mut states[unit..end]);
            give(lanes, input, &mut kept[unit..end]);
            give(lanes, cell, &mut kept[units + unit..units + end]);
            give(lanes, output, &mut kept[2 * units + unit..2 * units + end]);
            give(lanes, bent, &mut kept[3 * units + unit..3 * units + end]);
        }
    }
}

#[inline(always)]
fn backward<L: Lanes>(lanes: L, work: Backward<'_>) {
    let Backward { kept, by_states, units, by_sums } = work;
    let one = lanes.splat(1.0);
    let rows = kept.chunks_exact(KEPT * units).zip(by_states.chunks_exact(units));
    for ((kept, by_states), by_sums) in rows.zip(by_sums.chunks_exact_mut(GATES * units)) {
        for unit in (0..units).step_by(LANES) {
            let end = units.min(unit + LANES);
            let by_state = take(lanes, &by_states[unit..end]);
            let input = take(lanes, &kept[unit..end]);
            let cell = take(lanes, &kept[units + unit..units + end]);
            let output = take(lanes, &kept[2 * units + unit..2 * units + end]);
            let bent = take(lanes, &kept[3 * units + unit..3 * units + end]);
            let slope = lanes.sub(one, lanes.mul(bent, bent));
            let by_product = lanes.mul(lanes.mul(by_state, output), slope);
            let of_input = lanes.mul(input, lanes.sub(one, input));
            let of_cell = lanes.sub(one, lanes.mul(cell, cell));
            let of_output = lanes.mul(output, lanes.sub(one, output));
            give(lanes, lanes.mul(lanes.mul(by_product, cell), of_input), &mut by_sums[unit..end]);
            give(lanes, lanes.mul(lanes.mul(by_product, input), of_cell), &mut by_sums[units + unit..units + end]);
            let by_output = lanes.mul(lanes.mul(by_state, bent), of_output);
            give(lanes, by_output, &mut by_sums[2 * units + unit..2 * units + end]);
        }
    }
}

/// Weighted inputs with their bias.
#[inline(always)]
pub(super) fn gate<L: Lanes>(lanes: L, sums: &[f32], bias: &[f32], from: usize, to: usize) -> L::Vector {
    lanes.add(take(lanes, &sums[from..to]), take(lanes, &bias[from..to]))
}

/// Up to eight values; zeros behind them.
#[inline(always)]
pub(super) fn take<L: Lanes>(lanes: L, values: &[f32]) -> L::Vector {
    match values.first_chunk() {
        Some(whole) => lanes.read(whole),
        None => {
            let mut padded = [0.0; LANES];
            padded[..values.len()].copy_from_slice(values);
            lanes.read(&padded)
        }
    }
}

/// As many values as there is room for.
#[inline(always)]
pub(super) fn give<L: Lanes>(lanes: L, vector: L::Vector, values: &mut [f32]) {
    match values.first_chunk_mut() {
        Some(whole) => lanes.store(vector, whole),
        None => {
            let mut padded = [0.0; LANES];
            lanes.store(vector, &mut padded);
            let count = values.len();
            values.copy_from_slice(&padded[..count]);
        }
    }
}
