//! Where the versions of a configured detector's model come from: its folder, or the configuration itself.

use std::sync::Arc;

use crate::domain::detector::DetectorInput;
use crate::domain::schema::EventSchema;
use crate::models::folder::ModelError;
use crate::models::model::RegisteredModel;
use crate::models::versions::{FolderVersions, Versions};
use crate::settings::DetectorSection;
use crate::training::error::TrainingError;
use crate::training::input::InputSpec;
use crate::training::untrained;
use crate::windows::spec::WindowSpec;

/// Why there is no model.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoModel {
    #[error(transparent)]
    Folder(#[from] ModelError),
    #[error(transparent)]
    Configured(#[from] Box<TrainingError>),
    #[error("the model {model} takes {steps} windows at once, and `sequence` says {wanted}")]
    Sequence { model: String, steps: usize, wanted: usize },
}

/// What knows the versions of the detector's model.
pub(super) fn versions(
    section: &DetectorSection,
    events: &EventSchema,
    windows: &[WindowSpec],
) -> Result<Arc<dyn Versions>, Box<TrainingError>> {
    let window = |name: &String| windows.iter().find(|window| window.name == *name).cloned();
    let input = match &section.spec.input {
        DetectorInput::Windows(name) => window(name).map(InputSpec::Windows),
        DetectorInput::Events => Some(InputSpec::Events),
    };
    let given =
        input.map(|input| untrained::model(&section.spec.name, &section.training, &input, events)).transpose()?;
    Ok(match given.flatten() {
        Some(given) => Arc::new(given),
        None => Arc::new(FolderVersions::new(&section.spec.model)),
    })
}

/// The version in force.
pub(super) fn in_force(
    section: &DetectorSection,
    events: &EventSchema,
    windows: &[WindowSpec],
) -> Result<Arc<RegisteredModel>, NoModel> {
    let versions = versions(section, events, windows)?;
    let model = versions.load(&versions.in_force()?)?.model;
    let steps = model.model.layout().rows();
    match section.sequence {
        Some(wanted) if wanted != steps => Err(NoModel::Sequence { model: model.version.to_string(), steps, wanted }),
        _ => Ok(model),
    }
}
