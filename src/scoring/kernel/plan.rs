//! A network as the kernel computes it: operations in order, weights packed as they are read, and the memory they need.

use crate::models::activation::Activation;
use crate::models::network::{Layer, Network, Tensor};
use crate::scoring::kernel::lanes::{LANES, Octet};

/// Rows computed together: each weight read serves them all, and what they need stays in the nearest cache.
pub(super) const TILE_ROWS: usize = 12;
/// Octets of units that a dense panel computes at once.
pub(super) const PANEL_MAX: usize = 4;
/// Gates in the order that Keras stores them.
pub(super) const GATES: usize = 4;
/// Gates that matter at the first step, where there is nothing to forget: input, cell, output.
pub(super) const FIRST_GATES: usize = 3;

/// How a row's values lie in memory: steps, each padded to whole octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grid {
    pub(super) steps: usize,
    pub(super) width: usize,
}

impl Grid {
    pub(super) fn padded(self) -> usize {
        self.width.next_multiple_of(LANES)
    }

    /// Floats of one row.
    pub(super) fn stride(self) -> usize {
        self.steps * self.padded()
    }
}

#[derive(Debug)]
pub(super) struct Plan {
    pub(super) input: Grid,
    pub(super) operations: Vec<Operation>,
    pub(super) output: Grid,
}

#[derive(Debug)]
pub(super) enum Operation {
    Lstm(Lstm),
    Dense(Dense),
    Activate {
        grid: Grid,
        activation: Activation,
    },
    Affine {
        grid: Grid,
        scale: Vec<Octet>,
        shift: Vec<Octet>,
    },
    /// Equal steps that were computed once are written out.
    Spread {
        from: Grid,
        to: Grid,
    },
    /// The same values in the same order in another grid.
    Reshape {
        from: Grid,
        to: Grid,
    },
}

#[derive(Debug)]
pub(super) struct Lstm {
    /// Of the input; one step where all steps are equal.
    pub(super) input: Grid,
    /// Every step of the input is its first.
    pub(super) repeated: bool,
    pub(super) steps: usize,
    pub(super) units: usize,
    pub(super) return_sequences: bool,
    pub(super) go_backwards: bool,
    pub(super) activation: Activation,
    pub(super) recurrent_activation: Activation,
    /// For each octet of units.
    pub(super) octets: Vec<LstmOctet>,
}

/// The weights of eight units. An input's weights for all gates lie together, in the order they are read.
#[derive(Debug)]
pub(super) struct LstmOctet {
    pub(super) bias: [Octet; GATES],
    pub(super) kernel: Vec<[Octet; GATES]>,
    pub(super) recurrent: Vec<[Octet; GATES]>,
    pub(super) first_bias: [Octet; FIRST_GATES],
    pub(super) first_kernel: Vec<[Octet; FIRST_GATES]>,
}

#[derive(Debug)]
pub(super) struct Dense {
    pub(super) input: Grid,
    pub(super) output: Grid,
    pub(super) activation: Activation,
    pub(super) panels: Vec<Panel>,
}

/// Up to `PANEL_MAX` octets of units that are computed together.
#[derive(Debug)]
pub(super) struct Panel {
    /// The first of its units.
    pub(super) unit: usize,
    /// One an octet.
    pub(super) bias: Vec<Octet>,
    /// For each input, one an octet.
    pub(super) kernel: Vec<Octet>,
}

/// What a tile of rows is computed in.
#[derive(Debug)]
pub(super) struct Tile {
    pub(super) source: Vec<f32>,
    pub(super) target: Vec<f32>,
    /// The state of an LSTM before and after a step.
    pub(super) before: Vec<f32>,
    pub(super) after: Vec<f32>,
    pub(super) cell: Vec<f32>,
    /// What equal inputs give to each gate.
    pub(super) constant: Vec<f32>,
}

impl Plan {
    pub(super) fn new(network: &Network) -> Plan {
        let input = grid_of(network.input());
        let mut builder = Builder { grid: input, steps: input.steps, operations: Vec::new() };
        for (index, layer) in network.layers().iter().enumerate() {
            builder.push(layer, |name: &str| network.tensor(index, name));
        }
        builder.spread();
        Plan { input, output: builder.grid, operations: builder.operations }
    }

    pub(super) fn tile(&self) -> Tile {
        let mut values = self.input.stride().max(self.output.stride());
        let mut state = 0;
        for operation in &self.operations {
            values = values.max(operation.output().stride());
            if let Operation::Lstm(lstm) = operation {
                state = state.max(lstm.units.next_multiple_of(LANES));
            }
        }
        let zeros = |floats: usize| vec![0.0; floats * TILE_ROWS];
        Tile {
            source: zeros(values),
            target: zeros(values),
            before: zeros(state),
            after: zeros(state),
            cell: zeros(state),
            constant: zeros(state * GATES),
        }
    }
}

impl Operation {
    pub(super) fn output(&self) -> Grid {
        match self {
            Operation::Lstm(lstm) => {
                Grid { steps: if lstm.return_sequences { lstm.steps } else { 1 }, width: lstm.units }
            }
            Operation::Dense(dense) => dense.output,
            Operation::Activate { grid, .. } | Operation::Affine { grid, .. } => *grid,
            Operation::Spread { to, .. } | Operation::Reshape { to, .. } => *to,
        }
    }
}

/// A vector is one step.
fn grid_of(shape: &[usize]) -> Grid {
    match *shape {
        [steps, width] => Grid { steps, width },
        _ => Grid { steps: 1, width: shape.iter().product() },
    }
}

struct Builder {
    /// What is stored.
    grid: Grid,
    /// The steps there are; more than are stored where all are equal.
    steps: usize,
    operations: Vec<Operation>,
}

impl Builder {
    fn push<'a>(&mut self, layer: &Layer, tensor: impl Fn(&str) -> Option<&'a Tensor>) {
        match layer {
            Layer::Dropout { .. } => {}
            Layer::Repeat { times } => self.steps = *times,
            Layer::Activation { activation } => self.activate(*activation),
            Layer::Affine => {
                let octets = |name| packed_row(tensor(name), self.grid.width);
                let operation = Operation::Affine { grid: self.grid, scale: octets("scale"), shift: octets("shift") };
                self.operations.push(operation);
            }
            Layer::Reshape { shape } => {
                self.spread();
                let (from, to) = (self.grid, grid_of(shape));
                if from != to {
                    self.operations.push(Operation::Reshape { from, to });
                }
                (self.grid, self.steps) = (to, to.steps);
            }
            Layer::Dense { units, activation, .. } => {
                let output = Grid { width: *units, ..self.grid };
                let soft = *activation == Activation::Softmax;
                let activation_here = if soft { Activation::Linear } else { *activation };
                let panels = panels(tensor("kernel"), tensor("bias"), self.grid.width, *units);
                let dense = Dense { input: self.grid, output, activation: activation_here, panels };
                self.operations.push(Operation::Dense(dense));
                self.grid = output;
                if soft {
                    self.activate(*activation);
                }
            }
            Layer::Lstm { units, return_sequences, go_backwards, activation, recurrent_activation, .. } => {
                let (kernel, recurrent, bias) = (tensor("kernel"), tensor("recurrent_kernel"), tensor("bias"));
                let octets = (0..*units).step_by(LANES);
                let octets = octets.map(|unit| LstmOctet::pack(kernel, recurrent, bias, unit, *units)).collect();
                self.operations.push(Operation::Lstm(Lstm {
                    input: self.grid,
                    repeated: self.steps > 1 && self.grid.steps == 1,
                    steps: self.steps,
                    units: *units,
                    return_sequences: *return_sequences,
                    go_backwards: *go_backwards,
                    activation: *activation,
                    recurrent_activation: *recurrent_activation,
                    octets,
                }));
                self.steps = if *return_sequences { self.steps } else { 1 };
                self.grid = Grid { steps: self.steps, width: *units };
            }
        }
    }

    fn activate(&mut self, activation: Activation) {
        self.operations.push(Operation::Activate { grid: self.grid, activation });
    }

    fn spread(&mut self) {
        let (from, to) = (self.grid, Grid { steps: self.steps, width: self.grid.width });
        if from != to {
            self.operations.push(Operation::Spread { from, to });
            self.grid = to;
        }
    }
}

impl LstmOctet {
    fn pack(
        kernel: Option<&Tensor>,
        recurrent: Option<&Tensor>,
        bias: Option<&Tensor>,
        unit: usize,
        units: usize,
    ) -> LstmOctet {
        let gates = |tensor: Option<&Tensor>, row: usize| -> [Octet; GATES] {
            std::array::from_fn(|gate| octet_at(tensor, row, gate * units + unit, units - unit))
        };
        let rows = |tensor: Option<&Tensor>| -> Vec<[Octet; GATES]> {
            (0..tensor.map_or(0, |tensor| tensor.shape[0])).map(|row| gates(tensor, row)).collect()
        };
        let first = |[input, _forget, cell, output]: [Octet; GATES]| [input, cell, output];
        let (bias, kernel, recurrent) = (gates(bias, 0), rows(kernel), rows(recurrent));
        let (first_bias, first_kernel) = (first(bias), kernel.iter().copied().map(first).collect());
        LstmOctet { bias, kernel, recurrent, first_bias, first_kernel }
    }
}

/// Up to eight values of a row from `column`, at most `count` of them; the rest is zero, as is all of a tensor that is not there.
fn octet_at(tensor: Option<&Tensor>, row: usize, column: usize, count: usize) -> Octet {
    let Some(tensor) = tensor else { return Octet::default() };
    let columns = tensor.shape.last().copied().unwrap_or(1);
    let from = row * columns + column;
    let mut octet = Octet::default();
    let count = count.min(LANES).min(columns - column);
    octet.0[..count].copy_from_slice(&tensor.values[from..from + count]);
    octet
}

fn packed_row(tensor: Option<&Tensor>, width: usize) -> Vec<Octet> {
    (0..width).step_by(LANES).map(|unit| octet_at(tensor, 0, unit, width - unit)).collect()
}

fn panels(kernel: Option<&Tensor>, bias: Option<&Tensor>, inputs: usize, units: usize) -> Vec<Panel> {
    let panel = |first: usize| {
        let octets: Vec<usize> = (first..units).step_by(LANES).take(PANEL_MAX).collect();
        let row = |tensor, row| octets.iter().map(move |unit| octet_at(tensor, row, *unit, units - unit));
        let kernel = (0..inputs).flat_map(|input| row(kernel, input).collect::<Vec<_>>()).collect();
        Panel { unit: first, bias: row(bias, 0).collect(), kernel }
    };
    (0..units).step_by(PANEL_MAX * LANES).map(panel).collect()
}
