//! Our own kernel for stacks of LSTM and dense layers.
//!
//! Promise: the same bits for a row whatever rows are computed with it, and whatever the processor. Every unit's sum is taken over its
//! inputs one by one with fused multiply-adds, eight units side by side: lanes never meet, so the width of a vector cannot show. The
//! functions are polynomials of our own, since those of a platform's library differ from one to the next.

pub(crate) mod functions;
pub(crate) mod lanes;
mod layers;
mod plan;

use crate::models::network::Network;
use crate::scoring::kernel::lanes::Portable;
use crate::scoring::kernel::plan::{Plan, Tile};

/// A network, packed for computing, with the memory it computes in.
#[derive(Debug)]
pub(super) struct Kernel {
    plan: Plan,
    tile: Tile,
    instructions: Instructions,
}

/// What the processor offers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Instructions {
    #[cfg(target_arch = "x86_64")]
    Avx2(lanes::Avx2),
    /// Anything that has f32. Slow where a fused multiply-add is not an instruction.
    Portable(Portable),
}

impl Instructions {
    /// The fastest there are.
    pub(super) fn detect() -> Instructions {
        #[cfg(target_arch = "x86_64")]
        if let Some(avx2) = lanes::Avx2::detect() {
            return Instructions::Avx2(avx2);
        }
        Instructions::portable()
    }

    pub(super) fn portable() -> Instructions {
        Instructions::Portable(Portable)
    }
}

impl Kernel {
    pub(super) fn new(network: &Network, instructions: Instructions) -> Kernel {
        let plan = Plan::new(network);
        let tile = plan.tile();
        Kernel { plan, tile, instructions }
    }

    /// Computes the outputs of rows that lie one after the other, into as many outputs.
    pub(super) fn run(&mut self, input: &[f32], output: &mut [f32]) {
        match self.instructions {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: holding an `Avx2` is the proof that the processor has the features.
            Instructions::Avx2(avx2) => unsafe { run_avx2(avx2, &self.plan, &mut self.tile, input, output) },
            Instructions::Portable(portable) => layers::run(portable, &self.plan, &mut self.tile, input, output),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn run_avx2(avx2: lanes::Avx2, plan: &Plan, tile: &mut Tile, input: &[f32], output: &mut [f32]) {
    layers::run(avx2, plan, tile, input, output);
}
