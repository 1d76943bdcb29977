//! A trained detector: everything that is needed to score a row, checked.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::models::estimator::{Estimator, EstimatorFault};
use crate::models::features::{Feature, InputLayout, Scaler, ScalerFault};
use crate::models::preparation::Preparation;
use crate::models::transform::TransformFault;

/// A row whose score is greater than this is an anomaly.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Threshold {
    pub value: f64,
    /// How it was found, in words for a person.
    pub calibration: String,
}

/// The parts of a model that are not yet known to fit.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelParts {
    pub estimator: Estimator,
    pub features: Vec<Feature>,
    pub scaler: Scaler,
    pub threshold: Threshold,
    /// What it was trained on, in words for a person.
    pub training_data: Option<String>,
    /// What an evaluation found, by name.
    pub metrics: BTreeMap<String, f64>,
}

/// A trained detector.
///
/// Invariant: the features fill the estimator's input, and the scaler, the transforms, the defaults and the threshold are sound.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    estimator: Estimator,
    preparation: Preparation,
    layout: InputLayout,
    threshold: Threshold,
    training_data: Option<String>,
    metrics: BTreeMap<String, f64>,
}

/// Why parts are not a model.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ModelFault {
    #[error("what computes the score is not sound")]
    Estimator(#[from] EstimatorFault),
    #[error("the scaler does not fit")]
    Scaler(#[from] ScalerFault),
    #[error("two features are named `{name}`")]
    FeatureTwice { name: String },
    #[error("the feature `{name}` has a default that is not finite, or that its transforms make so")]
    FeatureDefault { name: String },
    #[error("the feature `{name}` has a transform that is not sound")]
    Transform { name: String, source: TransformFault },
    #[error("the threshold {value} is negative or not finite")]
    Threshold { value: f64 },
}

impl Model {
    pub fn new(parts: ModelParts) -> Result<Model, ModelFault> {
        let ModelParts { estimator, features, scaler, threshold, training_data, metrics } = parts;
        let layout = estimator.layout(features.len())?;
        let mut names = std::collections::BTreeSet::new();
        for feature in &features {
            if !names.insert(&feature.name) {
                return Err(ModelFault::FeatureTwice { name: feature.name.clone() });
            }
            if let Some(source) = feature.transforms.iter().find_map(|transform| transform.check().err()) {
                return Err(ModelFault::Transform { name: feature.name.clone(), source });
            }
            if !(feature.default.is_finite() && feature.transformed(feature.default).is_finite()) {
                return Err(ModelFault::FeatureDefault { name: feature.name.clone() });
            }
        }
        scaler.check(features.len())?;
        if !(threshold.value.is_finite() && threshold.value >= 0.0) {
            return Err(ModelFault::Threshold { value: threshold.value });
        }
        let preparation = Preparation::new(features, scaler);
        Ok(Model { estimator, preparation, layout, threshold, training_data, metrics })
    }

    pub fn estimator(&self) -> &Estimator {
        &self.estimator
    }

    pub fn features(&self) -> &[Feature] {
        self.preparation.features()
    }

    pub fn layout(&self) -> InputLayout {
        self.layout
    }

    pub fn preparation(&self) -> &Preparation {
        &self.preparation
    }

    pub fn scaler(&self) -> &Scaler {
        self.preparation.scaler()
    }

    pub fn threshold(&self) -> &Threshold {
        &self.threshold
    }

    pub fn training_data(&self) -> Option<&str> {
        self.training_data.as_deref()
    }

    pub fn metrics(&self) -> &BTreeMap<String, f64> {
        &self.metrics
    }
}

/// A version of a named model, such as `iomt/3`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelVersion {
    pub name: String,
    pub version: u32,
}

impl fmt::Display for ModelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.name, self.version)
    }
}

/// A model as it stands in a registry.
#[derive(Clone, Debug, PartialEq)]
pub struct RegisteredModel {
    pub version: ModelVersion,
    pub model: Model,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::models::activation::Activation;
    use crate::models::estimator::ErrorMeasure;
    use crate::models::network::{Layer, Network, Tensor};

    fn autoencoder(features: usize, layer: Layer, kernel: Tensor) -> Estimator {
        let network = Network::new(vec![features], vec![layer], [("0.kernel".to_string(), kernel)].into()).unwrap();
        Estimator::Autoencoder { network, error: ErrorMeasure::Mae }
    }

    /// `features` inputs through one dense layer of fixed weights.
    pub(crate) fn small_model(features: usize) -> ModelParts {
        let values = (0..features * features).map(|i| ((i * 7 % 11) as f32 - 5.0) / 10.0).collect();
        let kernel = Tensor { shape: vec![features, features], values };
        let layer = Layer::Dense { units: features, activation: Activation::Tanh, bias: false };
        ModelParts {
            estimator: autoencoder(features, layer, kernel),
            features: (0..features).map(|i| Feature::of_field(&format!("f{i}"))).collect(),
            scaler: Scaler::None,
            threshold: Threshold { value: 0.5, calibration: "given".into() },
            training_data: None,
            metrics: BTreeMap::new(),
        }
    }

    #[test]
    fn features_must_fill_the_input() {
        let mut parts = small_model(3);
        parts.features.pop();
        let fault = EstimatorFault::FeatureCount { features: 2, input: vec![3] };
        assert_eq!(Model::new(parts), Err(fault.into()));
    }

    #[test]
    fn the_output_must_match_the_input() {
        let mut parts = small_model(3);
        let kernel = Tensor { shape: vec![3, 2], values: vec![0.1; 6] };
        let layer = Layer::Dense { units: 2, activation: Activation::Linear, bias: false };
        parts.estimator = autoencoder(3, layer, kernel);
        let fault = EstimatorFault::NotAnAutoencoder { input: vec![3], output: vec![2] };
        assert_eq!(Model::new(parts), Err(fault.into()));
    }

    #[test]
    fn two_features_may_come_from_one_field_but_not_bear_one_name() {
        let mut parts = small_model(3);
        parts.features[1].field = "f0".into();
        assert!(Model::new(parts.clone()).is_ok());
        parts.features[1].name = "f0".into();
        assert_eq!(Model::new(parts), Err(ModelFault::FeatureTwice { name: "f0".into() }));
    }

    #[test]
    fn a_threshold_that_is_not_a_number_is_refused() {
        let mut parts = small_model(3);
        parts.threshold.value = f64::NAN;
        assert!(matches!(Model::new(parts), Err(ModelFault::Threshold { .. })));
    }
}
