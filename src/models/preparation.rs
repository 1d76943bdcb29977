//! From raw values to what a model computes with: defaults, transforms, scaling. Training and scoring both come through here.

use crate::models::features::{Feature, Scaler};

/// The features of a model and how they are scaled.
#[derive(Clone, Debug, PartialEq)]
pub struct Preparation {
    features: Vec<Feature>,
    scaler: Scaler,
    has_transforms: bool,
}

impl Preparation {
    /// `scaler` was checked for as many features.
    pub fn new(features: Vec<Feature>, scaler: Scaler) -> Preparation {
        let has_transforms = features.iter().any(|feature| !feature.transforms.is_empty());
        Preparation { features, scaler, has_transforms }
    }

    pub fn features(&self) -> &[Feature] {
        &self.features
    }

    pub fn scaler(&self) -> &Scaler {
        &self.scaler
    }

    /// Scales rows that lie one after the other, one `scaled` for each `raw`; a missing value becomes its feature's default in `raw` too.
    pub fn prepare(&self, raw: &mut [f64], scaled: &mut [f32]) {
        let width = self.features.len();
        let mut transformed = vec![0.0; if self.has_transforms { width } else { 0 }];
        for (raw, scaled) in raw.chunks_exact_mut(width).zip(scaled.chunks_exact_mut(width)) {
            for (value, feature) in raw.iter_mut().zip(&self.features) {
                if !value.is_finite() {
                    *value = feature.default;
                }
            }
            if self.has_transforms {
                for ((value, raw), feature) in transformed.iter_mut().zip(&*raw).zip(&self.features) {
                    *value = feature.transformed(*raw);
                }
                self.scaler.scale(&transformed, scaled);
            } else {
                self.scaler.scale(raw, scaled);
            }
        }
    }

    /// The value in the user's units that a scaled one of feature `index` stands for.
    pub fn restored(&self, index: usize, scaled: f64) -> f64 {
        self.features[index].restored(self.scaler.unscaled(index, scaled))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::transform::Transform;

    #[test]
    fn transforms_go_before_the_scaler_and_are_undone_after_it() {
        let transforms = vec![Transform::SignedLog, Transform::Clip { low: 0.0, high: 3.0 }];
        let features = vec![Feature { transforms, default: 5.0, ..Feature::of_field("rate") }];
        let preparation = Preparation::new(features, Scaler::Standard { mean: vec![1.0], deviation: vec![2.0] });
        let (mut raw, mut scaled) = ([std::f64::consts::E - 1.0, 1e9, f64::NAN], [0.0; 3]);
        preparation.prepare(&mut raw, &mut scaled);
        assert_eq!((scaled[0], scaled[1], raw[2]), (0.0, 1.0, 5.0));
        assert!((preparation.restored(0, 0.0) - raw[0]).abs() < 1e-12);
    }
}
