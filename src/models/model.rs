//! A trained detector: everything that is needed to score a row, checked.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::models::features::{Feature, InputLayout, Scaler, ScalerFault};
use crate::models::network::{Network, NetworkFault};

/// A kind of model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DetectorKind {
    /// A network that gives back what it was given; the score is how far it is off.
    Autoencoder,
}

/// How the error over the features becomes one score.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorMeasure {
    /// Mean of the absolute differences of the scaled values.
    Mae,
    /// Mean of their squares.
    Mse,
}

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
    pub kind: DetectorKind,
    pub network: Network,
    pub features: Vec<Feature>,
    pub scaler: Scaler,
    pub error: ErrorMeasure,
    pub threshold: Threshold,
    /// What it was trained on, in words for a person.
    pub training_data: Option<String>,
    /// What an evaluation found, by name.
    pub metrics: BTreeMap<String, f64>,
}

/// A trained detector.
///
/// Invariant: the features fill the network's input, its output has a value for each value of its input in the same order, and the
/// scaler, the defaults and the threshold are finite.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    parts: ModelParts,
    layout: InputLayout,
}

/// Why parts are not a model.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ModelFault {
    #[error("the network does not fit together")]
    Network(#[from] NetworkFault),
    #[error("the scaler does not fit")]
    Scaler(#[from] ScalerFault),
    #[error("{features} features cannot fill the network's input of shape {input:?}")]
    FeatureCount { features: usize, input: Vec<usize> },
    #[error("the network's output of shape {output:?} does not match its input of shape {input:?}")]
    NotAnAutoencoder { input: Vec<usize>, output: Vec<usize> },
    #[error("two features are named `{name}`")]
    FeatureTwice { name: String },
    #[error("the feature `{name}` has a default that is not finite")]
    FeatureDefault { name: String },
    #[error("the threshold {value} is negative or not finite")]
    Threshold { value: f64 },
}

impl Model {
    pub fn new(parts: ModelParts) -> Result<Model, ModelFault> {
        let features = parts.features.len();
        let (input, output) = (parts.network.input(), parts.network.output());
        let layout = InputLayout::of(input, features)
            .ok_or_else(|| ModelFault::FeatureCount { features, input: input.to_vec() })?;
        // A step of one value, or one step alone, may be spelled with or without that axis; the order of values is the same.
        let long = |shape: &[usize]| shape.iter().copied().filter(|axis| *axis > 1).collect::<Vec<_>>();
        if long(input) != long(output) {
            return Err(ModelFault::NotAnAutoencoder { input: input.to_vec(), output: output.to_vec() });
        }
        let mut names = std::collections::BTreeSet::new();
        for feature in &parts.features {
            if !names.insert(&feature.name) {
                return Err(ModelFault::FeatureTwice { name: feature.name.clone() });
            }
            if !feature.default.is_finite() {
                return Err(ModelFault::FeatureDefault { name: feature.name.clone() });
            }
        }
        parts.scaler.check(features)?;
        if !(parts.threshold.value.is_finite() && parts.threshold.value >= 0.0) {
            return Err(ModelFault::Threshold { value: parts.threshold.value });
        }
        Ok(Model { parts, layout })
    }

    pub fn kind(&self) -> DetectorKind {
        self.parts.kind
    }

    pub fn network(&self) -> &Network {
        &self.parts.network
    }

    pub fn features(&self) -> &[Feature] {
        &self.parts.features
    }

    pub fn layout(&self) -> InputLayout {
        self.layout
    }

    pub fn scaler(&self) -> &Scaler {
        &self.parts.scaler
    }

    pub fn error(&self) -> ErrorMeasure {
        self.parts.error
    }

    pub fn threshold(&self) -> &Threshold {
        &self.parts.threshold
    }

    pub fn training_data(&self) -> Option<&str> {
        self.parts.training_data.as_deref()
    }

    pub fn metrics(&self) -> &BTreeMap<String, f64> {
        &self.parts.metrics
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
    use crate::models::network::{Layer, Tensor};

    /// `features` inputs through one dense layer of fixed weights.
    pub(crate) fn small_model(features: usize) -> ModelParts {
        let values = (0..features * features).map(|i| ((i * 7 % 11) as f32 - 5.0) / 10.0).collect();
        let kernel = Tensor { shape: vec![features, features], values };
        let layer = Layer::Dense { units: features, activation: Activation::Tanh, bias: false };
        ModelParts {
            kind: DetectorKind::Autoencoder,
            network: Network::new(vec![features], vec![layer], [("0.kernel".to_string(), kernel)].into()).unwrap(),
            features: (0..features).map(|i| Feature::of_field(&format!("f{i}"))).collect(),
            scaler: Scaler::None,
            error: ErrorMeasure::Mae,
            threshold: Threshold { value: 0.5, calibration: "given".into() },
            training_data: None,
            metrics: BTreeMap::new(),
        }
    }

    #[test]
    fn features_must_fill_the_input() {
        let mut parts = small_model(3);
        parts.features.pop();
        assert_eq!(Model::new(parts), Err(ModelFault::FeatureCount { features: 2, input: vec![3] }));
    }

    #[test]
    fn the_output_must_match_the_input() {
        let mut parts = small_model(3);
        let kernel = Tensor { shape: vec![3, 2], values: vec![0.1; 6] };
        let layer = Layer::Dense { units: 2, activation: Activation::Linear, bias: false };
        parts.network = Network::new(vec![3], vec![layer], [("0.kernel".to_string(), kernel)].into()).unwrap();
        assert_eq!(Model::new(parts), Err(ModelFault::NotAnAutoencoder { input: vec![3], output: vec![2] }));
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
