//! Models that need no training: the configuration alone makes them.

use std::collections::BTreeMap;

use crate::domain::schema::EventSchema;
use crate::models::baseline::Baseline;
use crate::models::estimator::Estimator;
use crate::models::features::{Feature, Scaler};
use crate::models::model::{Model, ModelParts, Threshold};
use crate::models::versions::GivenModel;
use crate::training::error::TrainingError;
use crate::training::input::InputSpec;
use crate::training::prepare::fixed;
use crate::training::selection::Selection;
use crate::training::spec::{FeatureSpec, Method, TrainingSpec};

/// The model of a detector that is not trained; none where one has to be loaded. It is named after the detector.
pub fn model(
    detector: &str,
    spec: &TrainingSpec,
    input: &InputSpec,
    events: &EventSchema,
) -> Result<Option<GivenModel>, TrainingError> {
    let Method::Baseline { baseline, threshold: Some(threshold) } = &spec.method else { return Ok(None) };
    let schema = match input {
        InputSpec::Events => events.arrow(),
        InputSpec::Windows(window) => window.schema(&events.arrow())?,
    };
    let selection = Selection::new(spec, input, events, &schema)?;
    let features = compared_features(spec, selection.features());
    let floors = if spec.deviation_floor > 0.0 { vec![spec.deviation_floor; features.len()] } else { Vec::new() };
    let model = Model::new(ModelParts {
        estimator: Estimator::Baseline(Baseline { floors, ..baseline.clone() }),
        features,
        scaler: Scaler::None,
        threshold: Threshold { value: *threshold, calibration: "deviations, as configured".to_owned() },
        training_data: None,
        metrics: BTreeMap::new(),
    })?;
    Ok(Some(GivenModel::new(detector, model)))
}

/// The features of a model that compares with earlier windows: transforms that were not fitted, and nothing in the place of what is missing.
pub(super) fn compared_features(spec: &TrainingSpec, wanted: &[FeatureSpec]) -> Vec<Feature> {
    let feature = |wanted: &FeatureSpec| Feature {
        name: wanted.name.clone(),
        derivation: wanted.derivation.clone(),
        transforms: fixed(wanted.transforms.as_ref().unwrap_or(&spec.transforms)),
        ..Feature::of_field(&wanted.field)
    };
    wanted.iter().map(feature).collect()
}
