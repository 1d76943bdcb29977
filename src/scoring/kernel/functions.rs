//! Activation functions made of additions, multiplications and divisions alone: the same bits everywhere.
//!
//! What recurrent layers need at every step works on eight lanes; what is rare works on one number, in f64.

use crate::models::activation::{Activation, SELU_ALPHA, SELU_SCALE};
use crate::scoring::kernel::lanes::{LANES, Lanes};

/// Adding and subtracting this rounds an f32 to a whole number, and leaves that number in the low bits of the sum.
const ROUNDING: f32 = 12_582_912.0;
/// ln 2 in two parts, the first with few bits, so that its multiples are exact.
const LN2_HIGH: f32 = 0.693_359_4;
const LN2_LOW: f32 = -2.121_944_4e-4;
/// Cephes' polynomial for `exp` on half of ±ln 2, from the highest power.
const EXP: [f32; 6] = [1.987_569_1e-4, 1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 5.0e-1];
/// Beyond these a result of `exp` would leave the range of normal numbers.
const EXP_MIN: f32 = -86.0;
const EXP_MAX: f32 = 86.0;

/// `exp(x)`, held at its value at ±86.
#[inline(always)]
pub(super) fn exp<L: Lanes>(lanes: L, x: L::Vector) -> L::Vector {
    let x = lanes.max(lanes.splat(EXP_MIN), lanes.min(lanes.splat(EXP_MAX), x));
    let rounded = lanes.fma(x, lanes.splat(std::f32::consts::LOG2_E), lanes.splat(ROUNDING));
    let whole = lanes.sub(rounded, lanes.splat(ROUNDING));
    let rest = lanes.fma(whole, lanes.splat(-LN2_HIGH), x);
    let rest = lanes.fma(whole, lanes.splat(-LN2_LOW), rest);
    let mut sum = lanes.splat(EXP[0]);
    for coefficient in &EXP[1..] {
        sum = lanes.fma(sum, rest, lanes.splat(*coefficient));
    }
    let value = lanes.fma(sum, lanes.mul(rest, rest), lanes.add(rest, lanes.splat(1.0)));
    lanes.add_exponent(value, rounded)
}

/// Odd and even polynomials whose quotient is `tanh` to a few units in the last place (as in Eigen), from the highest power.
const TANH_ABOVE: [f32; 7] =
    [-2.760_768_5e-16, 2.000_188e-13, -8.604_672e-11, 5.122_297e-8, 1.485_722_4e-5, 6.372_619e-4, 4.893_524_6e-3];
const TANH_BELOW: [f32; 4] = [1.198_258_4e-6, 1.185_347_1e-4, 2.268_434_6e-3, 4.893_525e-3];
/// From here on `tanh` is 1 in f32.
const TANH_ONE: f32 = 7.905_311;

/// Numerator and denominator of `tanh(x)`.
#[inline(always)]
fn tanh_parts<L: Lanes>(lanes: L, x: L::Vector) -> (L::Vector, L::Vector) {
    let x = lanes.max(lanes.splat(-TANH_ONE), lanes.min(lanes.splat(TANH_ONE), x));
    let square = lanes.mul(x, x);
    let mut above = lanes.splat(TANH_ABOVE[0]);
    for coefficient in &TANH_ABOVE[1..] {
        above = lanes.fma(above, square, lanes.splat(*coefficient));
    }
    let mut below = lanes.splat(TANH_BELOW[0]);
    for coefficient in &TANH_BELOW[1..] {
        below = lanes.fma(below, square, lanes.splat(*coefficient));
    }
    (lanes.mul(above, x), below)
}

#[inline(always)]
pub(crate) fn tanh<L: Lanes>(lanes: L, x: L::Vector) -> L::Vector {
    let (above, below) = tanh_parts(lanes, x);
    lanes.div(above, below)
}

/// `1 + exp(-x)`
#[inline(always)]
fn sigmoid_below<L: Lanes>(lanes: L, x: L::Vector) -> L::Vector {
    lanes.add(lanes.splat(1.0), exp(lanes, lanes.sub(lanes.splat(0.0), x)))
}

#[inline(always)]
pub(crate) fn sigmoid<L: Lanes>(lanes: L, x: L::Vector) -> L::Vector {
    lanes.div(lanes.splat(1.0), sigmoid_below(lanes, x))
}

/// `sigmoid(gate) * tanh(x)`, with one division for both.
#[inline(always)]
pub(super) fn gated_tanh<L: Lanes>(lanes: L, gate: L::Vector, x: L::Vector) -> L::Vector {
    let (above, below) = tanh_parts(lanes, x);
    lanes.div(above, lanes.mul(sigmoid_below(lanes, gate), below))
}

/// Any activation of single values.
#[inline(always)]
pub(super) fn activate<L: Lanes>(lanes: L, activation: Activation, x: L::Vector) -> L::Vector {
    match activation {
        Activation::Linear => x,
        Activation::Tanh => tanh(lanes, x),
        Activation::Sigmoid => sigmoid(lanes, x),
        Activation::Relu => lanes.max(lanes.splat(0.0), x),
        rare => {
            let mut values = [0.0; LANES];
            lanes.store(x, &mut values);
            activate_one_by_one(rare, &mut values);
            lanes.read(&values)
        }
    }
}

/// The activations that are rare enough to be computed one by one. Not inlined: it is the same code on every path.
#[inline(never)]
fn activate_one_by_one(activation: Activation, values: &mut [f32; LANES]) {
    for value in values {
        *value = activated(activation, f64::from(*value)) as f32;
    }
}

fn activated(activation: Activation, x: f64) -> f64 {
    // Written so that NaN falls through to where it stays NaN.
    let elu = |alpha: f64| if x < 0.0 { alpha * (exp_f64(x) - 1.0) } else { x };
    match activation {
        Activation::Linear | Activation::Softmax => x,
        Activation::Tanh => 1.0 - 2.0 / (exp_f64(2.0 * x) + 1.0),
        Activation::Sigmoid => sigmoid_f64(x),
        Activation::HardSigmoid => (x / 6.0 + 0.5).clamp(0.0, 1.0),
        Activation::HardSigmoidSteep => (0.2 * x + 0.5).clamp(0.0, 1.0),
        Activation::Relu => {
            if x < 0.0 {
                0.0
            } else {
                x
            }
        }
        Activation::Relu6 => x.clamp(0.0, 6.0),
        Activation::LeakyRelu { slope } => {
            if x < 0.0 {
                f64::from(slope) * x
            } else {
                x
            }
        }
        Activation::Elu { alpha } => elu(f64::from(alpha)),
        Activation::Selu => f64::from(SELU_SCALE) * elu(f64::from(SELU_ALPHA)),
        Activation::Softplus => {
            if x < 0.0 {
                ln_one_and(exp_f64(x))
            } else {
                x + ln_one_and(exp_f64(-x))
            }
        }
        Activation::Softsign => x / (1.0 + x.abs()),
        Activation::Exponential => exp_f64(x),
        Activation::Silu => x * sigmoid_f64(x),
        Activation::Gelu => 0.5 * x * erfc(-x * std::f64::consts::FRAC_1_SQRT_2),
    }
}

/// Makes `values` positive with the sum 1.
pub(super) fn softmax(values: &mut [f32]) {
    let greatest =
        values.iter().fold(f32::NEG_INFINITY, |greatest, value| if *value < greatest { greatest } else { *value });
    let power = |value: f32| exp_f64(f64::from(value) - f64::from(greatest));
    let sum: f64 = values.iter().map(|value| power(*value)).sum();
    for value in values {
        *value = (power(*value) / sum) as f32;
    }
}

fn sigmoid_f64(x: f64) -> f64 {
    1.0 / (1.0 + exp_f64(-x))
}

/// `exp(x)` to about 1e-15.
fn exp_f64(x: f64) -> f64 {
    if x > 709.0 {
        return f64::INFINITY;
    }
    if x < -700.0 {
        return 0.0;
    }
    let whole = (x * std::f64::consts::LOG2_E).round_ties_even();
    let rest = (x - whole * 0.693_147_180_369_123_8) - whole * 1.908_214_929_270_587_7e-10;
    let mut sum = 1.0;
    for power in (1..=14u32).rev() {
        sum = 1.0 + sum * rest / f64::from(power);
    }
    // A whole number within ±1022 makes an exponent; NaN becomes 0 and is kept by the product.
    sum * f64::from_bits(((whole as i64 + 1023) as u64) << 52)
}

/// `ln(1 + x)` for x from 0 to 1, by the series of the area tangent.
fn ln_one_and(x: f64) -> f64 {
    let ratio = x / (2.0 + x);
    let square = ratio * ratio;
    let mut sum = 0.0;
    for power in (0..=17u32).rev() {
        sum = sum * square + 1.0 / f64::from(2 * power + 1);
    }
    2.0 * ratio * sum
}

/// The complementary error function to 1.2e-7 relative, which f32 cannot tell from exact (Numerical Recipes' Chebyshev fit).
fn erfc(x: f64) -> f64 {
    const FIT: [f64; 10] = [
        0.170_872_77,
        -0.822_152_23,
        1.488_515_87,
        -1.135_203_98,
        0.278_868_07,
        -0.186_288_06,
        0.096_784_18,
        0.374_091_96,
        1.000_023_68,
        -1.265_512_23,
    ];
    let size = x.abs();
    let t = 1.0 / (1.0 + 0.5 * size);
    let sum = FIT.iter().fold(0.0, |sum, coefficient| sum * t + coefficient);
    let value = t * exp_f64(-size * size + sum);
    if x < 0.0 { 2.0 - value } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scoring::kernel::lanes::Portable;

    /// The greatest relative difference from `exact` over a range.
    fn off(range: f32, ours: impl Fn(f32) -> f32, exact: impl Fn(f64) -> f64) -> f64 {
        let points = (-20_000..=20_000).map(|i| i as f32 / 20_000.0 * range);
        points
            .map(|x| (f64::from(ours(x)) / exact(f64::from(x)) - 1.0).abs())
            .filter(|off| off.is_finite())
            .fold(0.0, f64::max)
    }

    #[test]
    fn vector_functions_are_right_to_a_few_units_in_the_last_place() {
        let at = |function: fn(Portable, [f32; 8]) -> [f32; 8]| move |x: f32| function(Portable, [x; 8])[0];
        assert!(off(80.0, at(exp::<Portable>), f64::exp) < 3e-7);
        assert!(off(20.0, at(tanh::<Portable>), f64::tanh) < 6e-7);
        assert!(off(0.01, at(tanh::<Portable>), f64::tanh) < 6e-7);
        assert!(off(80.0, at(sigmoid::<Portable>), |x| 1.0 / (1.0 + (-x).exp())) < 4e-7);
    }

    #[test]
    fn rare_functions_are_right_to_the_precision_of_f32() {
        let at = |activation| move |x: f32| activated(activation, f64::from(x)) as f32;
        assert!(off(80.0, at(Activation::Exponential), f64::exp) < 1.2e-7);
        assert!(off(60.0, at(Activation::Softplus), |x| x.exp().ln_1p()) < 1.3e-7);
        assert!(off(30.0, at(Activation::Silu), |x| x / (1.0 + (-x).exp())) < 1.2e-7);
        assert!(off(30.0, at(Activation::Tanh), f64::tanh) < 2e-7);
    }

    #[test]
    fn gelu_has_known_values() {
        for (x, exact) in
            [(1.0, 0.841_344_746_068_543), (-1.0, -0.158_655_253_931_457_05), (0.0, 0.0), (3.0, 2.995_950_305_9)]
        {
            assert!((activated(Activation::Gelu, x) - exact).abs() < 3e-7, "gelu({x})");
        }
    }

    #[test]
    fn what_is_not_a_number_stays_so() {
        for activation in
            [Activation::Tanh, Activation::Sigmoid, Activation::Relu, Activation::HardSigmoid, Activation::Gelu]
        {
            assert!(activate(Portable, activation, [f32::NAN; 8])[0].is_nan(), "{activation:?}");
        }
        assert!(gated_tanh(Portable, [f32::NAN; 8], [1.0; 8])[0].is_nan());
        let mut values = [1.0, f32::NAN];
        softmax(&mut values);
        assert!(values.iter().all(|value| value.is_nan()));
    }

    #[test]
    fn softmax_sums_to_one_without_overflow() {
        let mut values = [1000.0, 1000.0, -1000.0];
        softmax(&mut values);
        assert_eq!(values, [0.5, 0.5, 0.0]);
    }
}
