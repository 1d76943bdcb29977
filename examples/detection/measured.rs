//! What every measurement does: read a configuration, train, judge.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use tidewatch::domain::detector::DetectorInput;
use tidewatch::models::model::{ModelVersion, RegisteredModel};
use tidewatch::settings::{DetectorSection, Overrides, Settings};
use tidewatch::sources::files::{FileFormat, FilesSpec};
use tidewatch::training::evaluate::{Evaluation, EvaluationSpec, evaluate};
use tidewatch::training::input::InputSpec;
use tidewatch::training::recording::RecordingSpec;
use tidewatch::training::spec::{FeatureSpec, Method, TrainingSpec};
use tidewatch::training::train::{Watch, train};
use tidewatch::training::truth::Truth;

/// A configuration.
pub fn settings(toml: &str) -> Result<Settings> {
    match Settings::parse(toml, &Overrides::default()) {
        Ok(settings) => Ok(settings),
        Err(faults) => anyhow::bail!("{faults}"),
    }
}

/// CSV files that are read by it.
pub fn recording(settings: &Settings, files: &Path) -> RecordingSpec {
    RecordingSpec {
        files: FilesSpec {
            wanted: settings.event.schema.paths().map(<[String]>::to_vec).collect(),
            ..FilesSpec::new(vec![files.display().to_string()], FileFormat::Csv)
        },
        events: settings.event.schema.clone(),
        watermark: settings.watermark.clone(),
    }
}

/// What a detector scores.
pub fn input(settings: &Settings, section: &DetectorSection) -> Result<InputSpec> {
    Ok(match &section.spec.input {
        DetectorInput::Events => InputSpec::Events,
        DetectorInput::Windows(name) => {
            let window = settings.windows.iter().find(|window| window.name == *name);
            InputSpec::Windows(window.context("the window that is named")?.clone())
        }
    })
}

/// The detector as it is configured, trained on what is at `files` from this seed.
pub fn trained(
    settings: &Settings,
    section: &DetectorSection,
    files: &Path,
    seed: u64,
) -> Result<Arc<RegisteredModel>> {
    let spec = TrainingSpec { seed, ..section.training.clone() };
    made(&section.spec.name, settings, section, files, &spec)
}

/// An isolation forest as scikit-learn has it by default, of the detector's own rows and features: what `evaluate --baseline` adds.
pub fn forest(settings: &Settings, section: &DetectorSection, files: &Path, seed: u64) -> Result<Arc<RegisteredModel>> {
    let TrainingSpec { features, rows_min, .. } = section.training.clone();
    let plain = |feature: FeatureSpec| FeatureSpec { transforms: None, ..feature };
    let features = features.map(|features| features.into_iter().map(plain).collect());
    let method = Method::IsolationForest { trees: 100, sample_rows: 256 };
    let spec = TrainingSpec { method, features, rows_min, seed, ..TrainingSpec::default() };
    made("isolation_forest", settings, section, files, &spec)
}

fn made(
    name: &str,
    settings: &Settings,
    section: &DetectorSection,
    files: &Path,
    spec: &TrainingSpec,
) -> Result<Arc<RegisteredModel>> {
    let (mut told, is_stopped) = (|_| {}, || false);
    let watch = Watch { told: &mut told, is_stopped: &is_stopped };
    let model = train(spec, &input(settings, section)?, &recording(settings, files), watch)?.model;
    Ok(Arc::new(RegisteredModel { version: ModelVersion { name: name.to_owned(), version: 1 }, model }))
}

/// How well the model tells what is at `files`.
pub fn judged(
    settings: &Settings,
    section: &DetectorSection,
    model: &Arc<RegisteredModel>,
    files: &Path,
    truth: Truth,
) -> Result<Evaluation> {
    let (mut told, is_stopped) = (|_| {}, || false);
    let watch = Watch { told: &mut told, is_stopped: &is_stopped };
    let (input, recording) = (input(settings, section)?, recording(settings, files));
    Ok(evaluate(&section.spec, Arc::clone(model), &input, &recording, &EvaluationSpec { truth, seed: 0 }, watch)?)
}

/// Labels in a column, of which these are normal.
pub fn labels(column: &str, normal: &str) -> Truth {
    Truth::Labels { column: column.to_owned(), normal: vec![normal.to_owned()] }
}

/// A share of normal rows that were flagged, in percent.
pub fn false_alarms(found: &Evaluation) -> f64 {
    let confusion = found.judgement.confusion;
    100.0 * confusion.false_positives as f64 / (confusion.false_positives + confusion.true_negatives) as f64
}

/// The mean and the deviation of what was found, as text with so many places.
pub fn spread(found: &[Evaluation], places: usize, what: impl Fn(&Evaluation) -> f64) -> String {
    let values: Vec<f64> = found.iter().map(what).collect();
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
    format!("{mean:.places$} ± {:.places$}", (squares / (count - 1.0)).sqrt())
}

pub fn auc(found: &Evaluation) -> f64 {
    found.judgement.measures.auc.unwrap_or(f64::NAN)
}

pub fn f1(found: &Evaluation) -> f64 {
    found.judgement.measures.f1.unwrap_or(f64::NAN)
}
