//! What a model sees of a row: its features in order, how they are scaled, and how they lie in the network's input.

use serde::{Deserialize, Serialize};

use crate::models::transform::Transform;

/// One input of a model. Two features may come from one field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Feature {
    /// As it stands in `why`.
    pub name: String,
    /// The column it is taken from: an event's field, or a window's column such as `Rate_mean`.
    pub field: String,
    /// How a number comes of it.
    #[serde(default, skip_serializing_if = "Derivation::is_value")]
    pub derivation: Derivation,
    /// What stands for a value that is missing or not finite, in the user's units, before transforms and scaling.
    #[serde(default)]
    pub default: f64,
    /// The column itself may be missing; the default then stands for every value.
    #[serde(default)]
    pub optional: bool,
    /// What is done to the number before it is scaled, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transforms: Vec<Transform>,
}

/// How the number of a feature comes of its field.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Derivation {
    /// It is the field's value.
    #[default]
    Value,
    /// The field's value divided by that of another one; missing where that is zero.
    Ratio { over: String },
    /// 1 where the field, text, equals this, else 0; missing where the field is.
    OneHot { equals: String },
    /// The field's value less that of the same key's window right before; missing where there is none.
    Change,
}

impl Derivation {
    fn is_value(&self) -> bool {
        *self == Derivation::Value
    }
}

impl Feature {
    /// A feature that is named as its field.
    pub fn of_field(name: &str) -> Feature {
        Feature {
            name: name.to_string(),
            field: name.to_string(),
            derivation: Derivation::Value,
            default: 0.0,
            optional: false,
            transforms: Vec::new(),
        }
    }

    /// The value, or the default where it is missing.
    fn present(&self, raw: f64) -> f64 {
        if raw.is_finite() { raw } else { self.default }
    }

    /// What the scaler sees of a value.
    pub fn transformed(&self, raw: f64) -> f64 {
        let through = |value: f64| self.transforms.iter().fold(value, |value, transform| transform.apply(value));
        match through(self.present(raw)) {
            value if value.is_finite() => value,
            _ => through(self.default),
        }
    }

    /// The value in the user's units that a transformed one stands for.
    pub fn restored(&self, transformed: f64) -> f64 {
        self.transforms.iter().rev().fold(transformed, |value, transform| transform.undo(value))
    }
}

/// How raw values become the network's input. Computed in f64, as scikit-learn does, then rounded to f32.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Scaler {
    None,
    /// `(x - mean) / deviation`
    Standard {
        mean: Vec<f64>,
        deviation: Vec<f64>,
    },
    /// `x * scale + offset`, which puts what the scaler was fitted on into `range`.
    MinMax {
        scale: Vec<f64>,
        offset: Vec<f64>,
        range: [f64; 2],
        /// Values beyond the range are held at its ends.
        clip: bool,
    },
}

impl Scaler {
    /// What the network sees of a row's raw values, one a feature.
    pub fn scale(&self, raw: &[f64], scaled: &mut [f32]) {
        match self {
            Scaler::None => raw.iter().zip(scaled).for_each(|(raw, scaled)| *scaled = *raw as f32),
            Scaler::Standard { mean, deviation } => {
                let numbers = mean.iter().zip(deviation);
                for ((raw, scaled), (mean, deviation)) in raw.iter().zip(scaled).zip(numbers) {
                    *scaled = ((raw - mean) / deviation) as f32;
                }
            }
            Scaler::MinMax { scale, offset, range, clip } => {
                let [low, high] = if *clip { *range } else { [f64::NEG_INFINITY, f64::INFINITY] };
                let numbers = scale.iter().zip(offset);
                for ((raw, scaled), (scale, offset)) in raw.iter().zip(scaled).zip(numbers) {
                    *scaled = (raw * scale + offset).clamp(low, high) as f32;
                }
            }
        }
    }

    /// The raw value that the network's value of feature `index` stands for.
    pub fn unscaled(&self, index: usize, scaled: f64) -> f64 {
        match self {
            Scaler::None => scaled,
            Scaler::Standard { mean, deviation } => scaled * deviation[index] + mean[index],
            Scaler::MinMax { scale, offset, .. } => (scaled - offset[index]) / scale[index],
        }
    }

    /// Every number is finite, no factor is zero, and there is one for each of `features`.
    pub(crate) fn check(&self, features: usize) -> Result<(), ScalerFault> {
        let (first, second, divisor) = match self {
            Scaler::None => return Ok(()),
            Scaler::Standard { mean, deviation } => (mean, deviation, deviation),
            Scaler::MinMax { scale, offset, range, .. } => {
                if !(range[0].is_finite() && range[1].is_finite() && range[0] < range[1]) {
                    return Err(ScalerFault::Range);
                }
                (scale, offset, scale)
            }
        };
        if let Some(found) = [first.len(), second.len()].into_iter().find(|found| *found != features) {
            return Err(ScalerFault::Length { found, wanted: features });
        }
        let bad = (0..features).find(|i| !first[*i].is_finite() || !second[*i].is_finite() || divisor[*i] == 0.0);
        bad.map_or(Ok(()), |feature| Err(ScalerFault::Number { feature }))
    }
}

/// Why a scaler cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ScalerFault {
    #[error("it scales {found} features, and the model has {wanted}")]
    Length { found: usize, wanted: usize },
    #[error("its range is not two finite numbers in ascending order")]
    Range,
    #[error("its numbers for feature {feature} (counted from 0) are zero or not finite")]
    Number { feature: usize },
}

/// How the features of a row fill the network's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputLayout {
    /// All features at once: the input is `[F]`, or one step `[1, F]`.
    Together { features: usize },
    /// The features are the steps of a sequence: the input is `[F, 1]`.
    OneByOne { features: usize },
    /// Rows in order of time, each with all features: the input is `[T, F]`.
    Sequence { steps: usize, features: usize },
}

impl InputLayout {
    /// How `features` features fill an input of this shape, if they can.
    pub fn of(shape: &[usize], features: usize) -> Option<InputLayout> {
        match *shape {
            [width] | [1, width] if width == features => Some(InputLayout::Together { features }),
            [steps, 1] if steps == features => Some(InputLayout::OneByOne { features }),
            [steps, width] if width == features => Some(InputLayout::Sequence { steps, features }),
            _ => None,
        }
    }

    /// Rows that make one input.
    pub fn rows(self) -> usize {
        match self {
            InputLayout::Sequence { steps, .. } => steps,
            InputLayout::Together { .. } | InputLayout::OneByOne { .. } => 1,
        }
    }

    pub fn features(self) -> usize {
        match self {
            InputLayout::Together { features }
            | InputLayout::OneByOne { features }
            | InputLayout::Sequence { features, .. } => features,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_input_shape_decides_how_features_lie() {
        assert_eq!(InputLayout::of(&[31], 31), Some(InputLayout::Together { features: 31 }));
        assert_eq!(InputLayout::of(&[1, 31], 31), Some(InputLayout::Together { features: 31 }));
        assert_eq!(InputLayout::of(&[31, 1], 31), Some(InputLayout::OneByOne { features: 31 }));
        assert_eq!(InputLayout::of(&[50, 12], 12), Some(InputLayout::Sequence { steps: 50, features: 12 }));
        assert_eq!(InputLayout::of(&[50, 1], 1), Some(InputLayout::Sequence { steps: 50, features: 1 }));
        assert_eq!(InputLayout::of(&[50, 12], 50), None);
    }

    fn scaled(scaler: &Scaler, raw: f64) -> f64 {
        let mut scaled = [0.0];
        scaler.scale(&[raw], &mut scaled);
        f64::from(scaled[0])
    }

    #[test]
    fn a_clipping_scaler_holds_values_at_the_ends_of_its_range() {
        let scaler = Scaler::MinMax { scale: vec![0.5], offset: vec![0.0], range: [0.0, 1.0], clip: true };
        assert_eq!([-1.0, 1.0, 9.0].map(|raw| scaled(&scaler, raw)), [0.0, 0.5, 1.0]);
    }

    #[test]
    fn unscaling_gives_back_the_users_units() {
        let standard = Scaler::Standard { mean: vec![10.0], deviation: vec![4.0] };
        assert_eq!(standard.unscaled(0, scaled(&standard, 18.0)), 18.0);
        let min_max = Scaler::MinMax { scale: vec![0.25], offset: vec![-1.0], range: [0.0, 1.0], clip: false };
        assert_eq!(min_max.unscaled(0, scaled(&min_max, 7.0)), 7.0);
    }

    #[test]
    fn a_scaler_that_would_divide_by_zero_is_refused() {
        let scaler = Scaler::Standard { mean: vec![1.0, 1.0], deviation: vec![1.0, 0.0] };
        assert_eq!(scaler.check(2), Err(ScalerFault::Number { feature: 1 }));
        assert_eq!(scaler.check(3), Err(ScalerFault::Length { found: 2, wanted: 3 }));
    }
}
