//! What `train` and `evaluate` read: recordings by the configuration, for the detectors that were named.

use crate::domain::detector::DetectorInput;
use crate::settings::{DetectorSection, Settings, nearest};
use crate::sources::SourceError;
use crate::training::error::TrainingError;
use crate::training::input::InputSpec;
use crate::training::recording::RecordingSpec;

use super::Refusal;
use super::arguments::RecordedOptions;
use super::engine;

/// How the named paths are read.
pub(super) fn recording(settings: &Settings, options: &RecordedOptions) -> Result<RecordingSpec, Refusal> {
    of_paths(settings, &options.from)
}

/// How these paths are read.
pub(super) fn of_paths(settings: &Settings, paths: &[String]) -> Result<RecordingSpec, Refusal> {
    if paths.iter().any(|path| path == "kafka") {
        return Err(Refusal::new("--from takes recordings here, not topics; for a file of that name: ./kafka"));
    }
    let store = engine::store_of_recordings(Some(&settings.source), Some(&settings.output));
    Ok(RecordingSpec {
        files: engine::files(paths.to_vec(), &settings.event, store),
        events: settings.event.schema.clone(),
        watermark: settings.watermark.clone(),
    })
}

/// The named detectors, or all, each with the rows that it scores.
pub(super) fn detectors<'s>(
    settings: &'s Settings,
    options: &RecordedOptions,
) -> Result<Vec<(&'s DetectorSection, InputSpec)>, Refusal> {
    let names: Vec<&str> = settings.detectors.iter().map(|section| section.spec.name.as_str()).collect();
    if names.is_empty() {
        return Err(Refusal::new("the configuration has no [[detectors]]; add one with a name and its model's folder"));
    }
    if let Some(unknown) = options.detector.iter().find(|name| !names.contains(&name.as_str())) {
        let cure = nearest(unknown, &names)
            .map_or(format!("there are {}", names.join(", ")), |near| format!("did you mean `{near}`?"));
        return Err(Refusal::new(format!("there is no detector `{unknown}`; {cure}")));
    }
    let is_wanted =
        |section: &&DetectorSection| options.detector.is_empty() || options.detector.contains(&section.spec.name);
    let with_input = |section: &'s DetectorSection| match &section.spec.input {
        DetectorInput::Events => Ok((section, InputSpec::Events)),
        DetectorInput::Windows(name) => match settings.windows.iter().find(|window| window.name == *name) {
            Some(window) => Ok((section, InputSpec::Windows(window.clone()))),
            None => Err(Refusal::new(format!("there is no window `{name}`"))),
        },
    };
    settings.detectors.iter().filter(is_wanted).map(with_input).collect()
}

/// A failure that another command or configuration would spare is a refusal.
pub(super) fn judged(error: TrainingError, detector: &str) -> anyhow::Error {
    use SourceError::{BadUrl, CompressedColumns, NothingMatches, Pattern, SameName};
    let is_failure = matches!(
        &error,
        TrainingError::Spill { .. }
            | TrainingError::Diverged { .. }
            | TrainingError::Unscored
            | TrainingError::Compute(_)
            | TrainingError::Network(_)
            | TrainingError::Model(_)
            | TrainingError::Stopped
    );
    let is_unreadable = matches!(
        &error,
        TrainingError::Source(source)
            if !matches!(
                source,
                NothingMatches { .. } | Pattern { .. } | CompressedColumns { .. } | SameName { .. } | BadUrl { .. }
            )
    );
    let error = anyhow::Error::from(error).context(format!("detector `{detector}`"));
    if is_failure || is_unreadable { error } else { Refusal::new(engine::told(&error)).into() }
}
