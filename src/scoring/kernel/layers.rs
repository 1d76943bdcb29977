//! The operations of a plan over tiles of rows.

use crate::models::activation::Activation;
use crate::scoring::kernel::functions::{activate, gated_tanh, sigmoid, softmax};
use crate::scoring::kernel::lanes::{LANES, Lanes, Octet};
use crate::scoring::kernel::plan::{
    Dense, FIRST_GATES, GATES, Grid, Lstm, LstmOctet, Operation, Panel, Plan, TILE_ROWS, Tile,
};

/// Rows whose sums are in registers at once, for four or three octets a row and for fewer: as many as sixteen registers hold beside the
/// inputs and a weight. One row more, and sums would go through memory at every step.
const ROWS_OF_MANY: usize = 3;
const ROWS_OF_FEW: usize = 6;

/// Computes all rows of `input`, which lie one after the other without padding, into `output`.
#[inline(always)]
pub(super) fn run<L: Lanes>(lanes: L, plan: &Plan, tile: &mut Tile, input: &[f32], output: &mut [f32]) {
    let (inputs, outputs) = (plan.input.steps * plan.input.width, plan.output.steps * plan.output.width);
    for (input, output) in input.chunks(TILE_ROWS * inputs).zip(output.chunks_mut(TILE_ROWS * outputs)) {
        let rows = input.len() / inputs;
        for (row, values) in input.chunks_exact(inputs).enumerate() {
            pad(plan.input, values, &mut tile.source[row * plan.input.stride()..]);
        }
        for operation in &plan.operations {
            match operation {
                Operation::Lstm(lstm) => lstm_over(lanes, lstm, tile, rows),
                Operation::Dense(dense) => dense_over(lanes, dense, tile, rows),
                Operation::Activate { grid, activation } => activate_over(lanes, *grid, *activation, tile, rows),
                Operation::Affine { grid, scale, shift } => affine_over(lanes, *grid, scale, shift, tile, rows),
                Operation::Spread { from, to } => spread_over(*from, *to, tile, rows),
                Operation::Reshape { from, to } => reshape_over(*from, *to, tile, rows),
            }
            std::mem::swap(&mut tile.source, &mut tile.target);
        }
        for (row, values) in output.chunks_exact_mut(outputs).enumerate() {
            unpad(plan.output, &tile.source[row * plan.output.stride()..], values);
        }
    }
}

fn pad(grid: Grid, from: &[f32], to: &mut [f32]) {
    for (from, to) in from.chunks_exact(grid.width).zip(to.chunks_exact_mut(grid.padded())) {
        to[..grid.width].copy_from_slice(from);
    }
}

fn unpad(grid: Grid, from: &[f32], to: &mut [f32]) {
    for (from, to) in from.chunks_exact(grid.padded()).zip(to.chunks_exact_mut(grid.width)) {
        to.copy_from_slice(&from[..grid.width]);
    }
}

/// Eight floats from `at`.
#[inline(always)]
fn octet(values: &[f32], at: usize) -> &[f32; LANES] {
    values[at..at + LANES].as_array().expect("the range has eight elements")
}

#[inline(always)]
fn octet_mut(values: &mut [f32], at: usize) -> &mut [f32; LANES] {
    values[at..at + LANES].as_mut_array().expect("the range has eight elements")
}

/// Adds to each row's sums, for each of its inputs in order, the input times its weights.
#[inline(always)]
fn accumulate<L: Lanes, const ROWS: usize, const OCTETS: usize>(
    lanes: L,
    mut sums: [[L::Vector; OCTETS]; ROWS],
    weights: &[[Octet; OCTETS]],
    inputs: [&[f32]; ROWS],
) -> [[L::Vector; OCTETS]; ROWS] {
    let count = weights.len();
    for input in inputs {
        assert!(input.len() == count, "there is a weight for each input");
    }
    for index in 0..count {
        let mut values = [lanes.splat(0.0); ROWS];
        for row in 0..ROWS {
            values[row] = lanes.splat(inputs[row][index]);
        }
        for octet in 0..OCTETS {
            let weight = lanes.load(&weights[index][octet]);
            for row in 0..ROWS {
                sums[row][octet] = lanes.fma(weight, values[row], sums[row][octet]);
            }
        }
    }
    sums
}

/// The values of `ROWS` rows from the `first`, each `count` long and `stride` apart, from `at` within the row.
#[inline(always)]
fn rows_of<const ROWS: usize>(values: &[f32], first: usize, stride: usize, at: usize, count: usize) -> [&[f32]; ROWS] {
    let mut rows: [&[f32]; ROWS] = [&[]; ROWS];
    for (index, row) in rows.iter_mut().enumerate() {
        *row = &values[(first + index) * stride + at..][..count];
    }
    rows
}

#[inline(always)]
fn loaded<L: Lanes, const OCTETS: usize>(lanes: L, octets: &[Octet; OCTETS]) -> [L::Vector; OCTETS] {
    let mut vectors = [lanes.splat(0.0); OCTETS];
    for index in 0..OCTETS {
        vectors[index] = lanes.load(&octets[index]);
    }
    vectors
}

#[inline(always)]
fn lstm_over<L: Lanes>(lanes: L, lstm: &Lstm, tile: &mut Tile, rows: usize) {
    if lstm.repeated {
        constant_gates(lanes, lstm, tile, rows);
    }
    for step in 0..lstm.steps {
        let last = step + 1 == lstm.steps;
        for (index, weights) in lstm.octets.iter().enumerate() {
            let unit = index * LANES;
            let mut row = 0;
            if step == 0 {
                while row + ROWS_OF_MANY <= rows {
                    first_step::<L, ROWS_OF_MANY>(lanes, lstm, weights, tile, row, unit);
                    row += ROWS_OF_MANY;
                }
                while row < rows {
                    first_step::<L, 1>(lanes, lstm, weights, tile, row, unit);
                    row += 1;
                }
            } else {
                while row + ROWS_OF_MANY <= rows {
                    next_step::<L, ROWS_OF_MANY>(lanes, lstm, weights, tile, row, unit, step);
                    row += ROWS_OF_MANY;
                }
                while row < rows {
                    next_step::<L, 1>(lanes, lstm, weights, tile, row, unit, step);
                    row += 1;
                }
            }
        }
        if lstm.return_sequences || last {
            keep_state(lstm, tile, rows, if lstm.return_sequences { step } else { 0 });
        }
        std::mem::swap(&mut tile.before, &mut tile.after);
    }
}

impl Lstm {
    fn padded(&self) -> usize {
        self.units.next_multiple_of(LANES)
    }

    /// Where a step's input lies within a row.
    fn input_at(&self, step: usize) -> usize {
        let step = if self.go_backwards { self.steps - 1 - step } else { step };
        if self.repeated { 0 } else { step * self.input.padded() }
    }
}

/// What the input gives to each gate, where it is the same at every step.
#[inline(always)]
fn constant_gates<L: Lanes>(lanes: L, lstm: &Lstm, tile: &mut Tile, rows: usize) {
    for (index, weights) in lstm.octets.iter().enumerate() {
        for row in 0..rows {
            let inputs = rows_of::<1>(&tile.source, row, lstm.input.stride(), 0, lstm.input.width);
            let [sums] = accumulate(lanes, [loaded(lanes, &weights.bias)], &weights.kernel, inputs);
            for (gate, sum) in sums.into_iter().enumerate() {
                let at = ((row * lstm.octets.len() + index) * GATES + gate) * LANES;
                lanes.store(sum, octet_mut(&mut tile.constant, at));
            }
        }
    }
}

/// A step from an empty state: nothing is forgotten, and what the state would add is zero.
#[inline(always)]
fn first_step<L: Lanes, const ROWS: usize>(
    lanes: L,
    lstm: &Lstm,
    weights: &LstmOctet,
    tile: &mut Tile,
    row: usize,
    unit: usize,
) {
    let inputs = rows_of::<ROWS>(&tile.source, row, lstm.input.stride(), lstm.input_at(0), lstm.input.width);
    let bias: [L::Vector; FIRST_GATES] = loaded(lanes, &weights.first_bias);
    let sums = accumulate(lanes, [bias; ROWS], &weights.first_kernel, inputs);
    for (index, [input, cell, output]) in sums.into_iter().enumerate() {
        let at = (row + index) * lstm.padded() + unit;
        let kept = gated(lanes, lstm, input, cell);
        lanes.store(kept, octet_mut(&mut tile.cell, at));
        lanes.store(gated(lanes, lstm, output, kept), octet_mut(&mut tile.after, at));
    }
}

#[inline(always)]
fn next_step<L: Lanes, const ROWS: usize>(
    lanes: L,
    lstm: &Lstm,
    weights: &LstmOctet,
    tile: &mut Tile,
    row: usize,
    unit: usize,
    step: usize,
) {
    let padded = lstm.padded();
    let mut sums = [loaded(lanes, &weights.bias); ROWS];
    if lstm.repeated {
        for (index, sums) in sums.iter_mut().enumerate() {
            let at = ((row + index) * padded + unit) * GATES;
            for (gate, sum) in sums.iter_mut().enumerate() {
                *sum = lanes.read(octet(&tile.constant, at + gate * LANES));
            }
        }
    } else {
        let inputs = rows_of::<ROWS>(&tile.source, row, lstm.input.stride(), lstm.input_at(step), lstm.input.width);
        sums = accumulate(lanes, sums, &weights.kernel, inputs);
    }
    let state = rows_of::<ROWS>(&tile.before, row, padded, 0, lstm.units);
    sums = accumulate(lanes, sums, &weights.recurrent, state);
    for (index, [input, forget, cell, output]) in sums.into_iter().enumerate() {
        let at = (row + index) * padded + unit;
        let forget = match lstm.recurrent_activation {
            Activation::Sigmoid => sigmoid(lanes, forget),
            other => activate(lanes, other, forget),
        };
        let kept = lanes.fma(forget, lanes.read(octet(&tile.cell, at)), gated(lanes, lstm, input, cell));
        lanes.store(kept, octet_mut(&mut tile.cell, at));
        lanes.store(gated(lanes, lstm, output, kept), octet_mut(&mut tile.after, at));
    }
}

/// What a gate lets through of a value.
#[inline(always)]
fn gated<L: Lanes>(lanes: L, lstm: &Lstm, gate: L::Vector, value: L::Vector) -> L::Vector {
    match (lstm.recurrent_activation, lstm.activation) {
        (Activation::Sigmoid, Activation::Tanh) => gated_tanh(lanes, gate, value),
        (recurrent, activation) => lanes.mul(activate(lanes, recurrent, gate), activate(lanes, activation, value)),
    }
}

/// Writes the state after a step into the layer's output.
fn keep_state(lstm: &Lstm, tile: &mut Tile, rows: usize, step: usize) {
    let padded = lstm.padded();
    let stride = if lstm.return_sequences { lstm.steps * padded } else { padded };
    for row in 0..rows {
        let to = row * stride + step * padded;
        tile.target[to..to + padded].copy_from_slice(&tile.after[row * padded..][..padded]);
    }
}

#[inline(always)]
fn dense_over<L: Lanes>(lanes: L, dense: &Dense, tile: &mut Tile, rows: usize) {
    for panel in &dense.panels {
        match panel.bias.len() {
            1 => panel_over::<L, ROWS_OF_FEW, 1>(lanes, dense, panel, tile, rows),
            2 => panel_over::<L, ROWS_OF_FEW, 2>(lanes, dense, panel, tile, rows),
            3 => panel_over::<L, ROWS_OF_MANY, 3>(lanes, dense, panel, tile, rows),
            _ => panel_over::<L, ROWS_OF_MANY, 4>(lanes, dense, panel, tile, rows),
        }
    }
}

#[inline(always)]
fn panel_over<L: Lanes, const ROWS: usize, const OCTETS: usize>(
    lanes: L,
    dense: &Dense,
    panel: &Panel,
    tile: &mut Tile,
    rows: usize,
) {
    for step in 0..dense.input.steps {
        let mut row = 0;
        while row + ROWS <= rows {
            panel_step::<L, ROWS, OCTETS>(lanes, dense, panel, tile, row, step);
            row += ROWS;
        }
        while row < rows {
            panel_step::<L, 1, OCTETS>(lanes, dense, panel, tile, row, step);
            row += 1;
        }
    }
}

#[inline(always)]
fn panel_step<L: Lanes, const ROWS: usize, const OCTETS: usize>(
    lanes: L,
    dense: &Dense,
    panel: &Panel,
    tile: &mut Tile,
    row: usize,
    step: usize,
) {
    let (input, output) = (dense.input, dense.output);
    let inputs = rows_of::<ROWS>(&tile.source, row, input.stride(), step * input.padded(), input.width);
    let bias = panel.bias.as_array().expect("the caller chose the count of octets by this length");
    let sums = accumulate(lanes, [loaded::<L, OCTETS>(lanes, bias); ROWS], panel.kernel.as_chunks().0, inputs);
    for (index, sums) in sums.into_iter().enumerate() {
        let at = (row + index) * output.stride() + step * output.padded() + panel.unit;
        for (octet, sum) in sums.into_iter().enumerate() {
            let value = activate(lanes, dense.activation, sum);
            lanes.store(value, octet_mut(&mut tile.target, at + octet * LANES));
        }
    }
}

#[inline(always)]
fn activate_over<L: Lanes>(lanes: L, grid: Grid, activation: Activation, tile: &mut Tile, rows: usize) {
    let all = rows * grid.stride();
    if activation == Activation::Softmax {
        tile.target[..all].copy_from_slice(&tile.source[..all]);
        for step in tile.target[..all].chunks_exact_mut(grid.padded()) {
            softmax(&mut step[..grid.width]);
        }
        return;
    }
    for at in (0..all).step_by(LANES) {
        let value = activate(lanes, activation, lanes.read(octet(&tile.source, at)));
        lanes.store(value, octet_mut(&mut tile.target, at));
    }
}

#[inline(always)]
fn affine_over<L: Lanes>(lanes: L, grid: Grid, scale: &[Octet], shift: &[Octet], tile: &mut Tile, rows: usize) {
    for at in (0..rows * grid.stride()).step_by(LANES) {
        let unit = at % grid.padded() / LANES;
        let value = lanes.read(octet(&tile.source, at));
        let value = lanes.fma(value, lanes.load(&scale[unit]), lanes.load(&shift[unit]));
        lanes.store(value, octet_mut(&mut tile.target, at));
    }
}

fn spread_over(from: Grid, to: Grid, tile: &mut Tile, rows: usize) {
    for row in 0..rows {
        let once = &tile.source[row * from.stride()..][..from.stride()];
        for step in tile.target[row * to.stride()..][..to.stride()].chunks_exact_mut(to.padded()) {
            step.copy_from_slice(once);
        }
    }
}

fn reshape_over(from: Grid, to: Grid, tile: &mut Tile, rows: usize) {
    for row in 0..rows {
        for index in 0..from.steps * from.width {
            let source = row * from.stride() + index / from.width * from.padded() + index % from.width;
            let target = row * to.stride() + index / to.width * to.padded() + index % to.width;
            tile.target[target] = tile.source[source];
        }
    }
}
