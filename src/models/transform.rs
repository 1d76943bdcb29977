//! What is done to a feature's raw value before it is scaled, and how it is undone.
//!
//! Promise: the same bits on every machine (the functions are those of `libm`, in Rust), the same in training and in scoring.

use serde::{Deserialize, Serialize};

/// A function of one value. All are monotonic, so that a reading far off stays far off.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Transform {
    /// `ln(1 + x)`, for what cannot be negative; below -1 it has no value, which counts as missing.
    Log1p,
    /// `sign(x) ln(1 + |x|)`
    SignedLog,
    /// Held between two ends.
    Clip { low: f64, high: f64 },
    /// A value's place among those that it was trained on, read off a curve through the points `(x, y)`, both ascending; straight lines
    /// lie between them, and beyond the ends the curve stays where it is.
    Quantile { x: Vec<f64>, y: Vec<f64> },
}

/// Why a transform is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransformFault {
    #[error("a clip's ends are not two finite numbers in ascending order")]
    Clip,
    #[error("a quantile curve needs two points or more, finite and ascending, with as many values as places")]
    Quantile,
}

impl Transform {
    /// What the model sees in the place of `value`.
    pub fn apply(&self, value: f64) -> f64 {
        match self {
            Transform::Log1p => libm::log1p(value),
            Transform::SignedLog => libm::log1p(value.abs()).copysign(value),
            Transform::Clip { low, high } => value.clamp(*low, *high),
            Transform::Quantile { x, y } => along(x, y, value),
        }
    }

    /// The value that the model's `value` stands for: exact but for rounding, where the transform did not hold it at an end.
    pub fn undo(&self, value: f64) -> f64 {
        match self {
            Transform::Log1p => libm::expm1(value),
            Transform::SignedLog => libm::expm1(value.abs()).copysign(value),
            Transform::Clip { low, high } => value.clamp(*low, *high),
            Transform::Quantile { x, y } => along(y, x, value),
        }
    }

    pub(crate) fn check(&self) -> Result<(), TransformFault> {
        match self {
            Transform::Log1p | Transform::SignedLog => Ok(()),
            Transform::Clip { low, high } if low.is_finite() && high.is_finite() && low < high => Ok(()),
            Transform::Clip { .. } => Err(TransformFault::Clip),
            Transform::Quantile { x, y } => {
                let is_sound = x.len() == y.len() && x.len() >= 2 && ascends(x) && ascends(y);
                if is_sound { Ok(()) } else { Err(TransformFault::Quantile) }
            }
        }
    }
}

fn ascends(values: &[f64]) -> bool {
    values.iter().all(|value| value.is_finite()) && values.is_sorted_by(|a, b| a < b)
}

/// The value at `at` of the curve through the points.
fn along(x: &[f64], y: &[f64], at: f64) -> f64 {
    let above = x.partition_point(|place| *place <= at);
    if at.is_nan() {
        at
    } else if above == 0 {
        y[0]
    } else if above == x.len() {
        y[x.len() - 1]
    } else {
        let below = above - 1;
        y[below] + (at - x[below]) / (x[above] - x[below]) * (y[above] - y[below])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn curve() -> Transform {
        Transform::Quantile { x: vec![0.0, 1.0, 10.0], y: vec![-2.0, 0.0, 2.0] }
    }

    #[test]
    fn a_quantile_curve_is_straight_between_its_points_and_level_beyond_them() {
        let values = [-5.0, 0.0, 0.5, 1.0, 5.5, 10.0, 99.0].map(|value| curve().apply(value));
        assert_eq!(values, [-2.0, -2.0, -1.0, 0.0, 1.0, 2.0, 2.0]);
    }

    #[test]
    fn what_is_missing_stays_missing() {
        for transform in [Transform::Log1p, Transform::SignedLog, curve(), Transform::Clip { low: 0.0, high: 1.0 }] {
            assert!(transform.apply(f64::NAN).is_nan(), "{transform:?}");
        }
        assert!(Transform::Log1p.apply(-2.0).is_nan());
    }

    #[test]
    fn curves_and_ends_that_do_not_ascend_are_refused() {
        assert_eq!(Transform::Clip { low: 1.0, high: 1.0 }.check(), Err(TransformFault::Clip));
        for (x, y) in [(vec![0.0, 0.0], vec![0.0, 1.0]), (vec![0.0], vec![0.0]), (vec![0.0, f64::NAN], vec![0.0, 1.0])]
        {
            assert_eq!(Transform::Quantile { x, y }.check(), Err(TransformFault::Quantile));
        }
    }

    proptest! {
        #[test]
        fn undoing_gives_the_value_back(value in -1e6f64..1e6) {
            let near = |found: f64, wanted: f64| (found - wanted).abs() <= 1e-9 * wanted.abs().max(1.0);
            prop_assert!(near(Transform::SignedLog.undo(Transform::SignedLog.apply(value)), value));
            prop_assert!(near(Transform::Log1p.undo(Transform::Log1p.apply(value.abs())), value.abs()));
            let inside = value.clamp(0.0, 10.0);
            prop_assert!(near(curve().undo(curve().apply(inside)), inside));
        }

        #[test]
        fn a_greater_value_is_never_seen_as_a_smaller_one(a in -1e9f64..1e9, b in -1e9f64..1e9) {
            for transform in [Transform::SignedLog, curve(), Transform::Clip { low: -1.0, high: 1.0 }] {
                prop_assert!(transform.apply(a.min(b)) <= transform.apply(a.max(b)));
            }
        }
    }
}
