//! Activation functions: what each is called in `model.json` and what it means. `scoring` computes them.

use serde::{Deserialize, Serialize};

/// A function applied to the outputs of a layer, one by one, save the soft maxima, which look at all units of a step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    Linear,
    Tanh,
    /// `1 / (1 + exp(-x))`
    Sigmoid,
    /// `clip(x / 6 + 1/2, 0, 1)`, as Keras 3 has it.
    HardSigmoid,
    /// `clip(x / 5 + 1/2, 0, 1)`, as Keras 2 had it.
    HardSigmoidSteep,
    Relu,
    /// `clip(x, 0, 6)`
    Relu6,
    /// `x`, or `slope * x` below zero.
    LeakyRelu {
        slope: f32,
    },
    /// `x`, or `alpha * (exp(x) - 1)` below zero.
    Elu {
        alpha: f32,
    },
    Selu,
    /// `ln(1 + exp(x))`
    Softplus,
    /// `x / (1 + |x|)`
    Softsign,
    Exponential,
    /// `x * sigmoid(x)`; Keras also calls it swish.
    Silu,
    /// `x * Φ(x)`, with the error function.
    Gelu,
    /// Over the units of a step.
    Softmax,
}

impl Activation {
    /// Every parameter is a finite number.
    pub fn is_finite(self) -> bool {
        match self {
            Activation::LeakyRelu { slope } => slope.is_finite(),
            Activation::Elu { alpha } => alpha.is_finite(),
            _ => true,
        }
    }
}

/// `Selu`'s factor below and above zero.
pub const SELU_ALPHA: f32 = 1.673_263_2;
pub const SELU_SCALE: f32 = 1.050_701;
