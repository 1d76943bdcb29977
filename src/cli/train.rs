//! `train`: the next version of each detector's model, from recorded events.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context;
use indicatif::HumanCount;
use serde_json::{Value, json};

use crate::models::model::ModelVersion;
use crate::models::registry;
use crate::models::subspace::SubspaceMeasure;
use crate::observe::memory::reuse_large_blocks;
use crate::observe::stop::StopSignal;
use crate::settings::DetectorSection;
use crate::training::calibrate::Distribution;
use crate::training::error::TrainingError;
use crate::training::spec::{Architecture, Method, NetworkKind};
use crate::training::train::{self, Account, Trained, Watch};

use super::Refusal;
use super::arguments::TrainOptions;
use super::configuration;
use super::learning::Learning;
use super::print;
use super::probes::shown;
use super::recorded;

pub(super) fn train(options: &TrainOptions, is_quiet: bool) -> anyhow::Result<()> {
    reuse_large_blocks();
    let settings = configuration::load(&options.configuration)?;
    let recording = recorded::recording(&settings, &options.recorded)?;
    let detectors = recorded::detectors(&settings, &options.recorded)?;
    // Before the work is done, not after.
    detectors.iter().try_for_each(|(section, _)| refuse_pinned(section))?;
    let stop = StopSignal::on_signals().context("signals cannot be caught")?;
    let mut all = Vec::new();
    for (section, input) in detectors {
        let name = &section.spec.name;
        let mut learning = Learning::new(name, section.training.epochs_max, is_quiet);
        let is_stopped = || stop.is_requested();
        let watch = Watch { told: &mut |news| learning.take(news), is_stopped: &is_stopped };
        let trained = train::train(&section.training, &input, &recording, watch).map_err(|error| match error {
            TrainingError::Stopped => {
                anyhow::anyhow!("interrupted; no version of `{}` was written", section.spec.model)
            }
            error => recorded::judged(error, name),
        })?;
        drop(learning);
        let account = serde_json::to_vec_pretty(&trained.account).context("the account of the training")?;
        let version = registry::save_with_account(Path::new(&section.spec.model), &trained.model, Some(&account))?;
        if options.recorded.json {
            all.push(as_json(section, &version, &trained));
        } else {
            print(as_text(section, &version, &trained).as_bytes())?;
        }
    }
    if options.recorded.json {
        print(format!("{:#}\n", json!({ "detectors": all })).as_bytes())?;
    }
    Ok(())
}

fn refuse_pinned(section: &DetectorSection) -> Result<(), Refusal> {
    let model = &section.spec.model;
    match registry::pinned(Path::new(model)) {
        Some((folder, version)) => Err(Refusal::new(format!(
            "detector `{}` is pinned to version {version} of its model, and a version is never changed: write model = \"{}\"",
            section.spec.name,
            folder.display()
        ))),
        None => Ok(()),
    }
}

fn as_json(section: &DetectorSection, version: &ModelVersion, trained: &Trained) -> Value {
    let folder = Path::new(&section.spec.model).join(version.version.to_string());
    let mut found = json!({
        "detector": section.spec.name,
        "model": version.to_string(),
        "folder": folder,
        "in_force": registry::in_force(Path::new(&section.spec.model)).ok() == Some(version.version),
    });
    if let (Value::Object(found), Ok(Value::Object(account))) = (&mut found, serde_json::to_value(&trained.account)) {
        found.extend(account);
    }
    found
}

fn as_text(section: &DetectorSection, version: &ModelVersion, trained: &Trained) -> String {
    let Account { features, training_rows, validation_rows, best, curve, calibration, .. } = &trained.account;
    let account = &trained.account;
    let mut text = format!("{}\n", section.spec.name);
    let mut line = |what: &str, words: String| {
        let _ = writeln!(text, "  {what:<12}{words}");
    };
    let steps =
        if account.sequence > 1 { format!(", sequences of {} windows", account.sequence) } else { String::new() };
    line("detector", method(&section.training.method, features.len()) + &steps);
    line("features", format!("{}: {}", features.len(), features.join(", ")));
    let (train, judge) = (HumanCount(*training_rows), HumanCount(*validation_rows));
    line(
        if account.sequence > 1 { "sequences" } else { "rows" },
        format!(
            "{train} to train on from {}, {judge} to judge by from {} to {}",
            account.from, account.validation_from, account.to
        ),
    );
    if let Some([train, judge]) = account.anomalous_rows {
        let (train, judge) = (HumanCount(train), HumanCount(judge));
        line("", format!("and of anomalies {train} to train on, {judge} to judge by, the last of them in time"));
    }
    let counted = [
        (account.passed_over, "not met by `where`, or left out by `labels`"),
        (account.cut_off, "windows that the recording cuts off at its ends, left out"),
        (account.without_past, "windows with too few before them to compare with, left out"),
        (account.rejected, "records that are no events"),
        (account.too_late, "events that were too late"),
    ];
    for (count, what) in counted.iter().filter(|(count, _)| *count > 0) {
        line("", format!("{} {what}", HumanCount(*count)));
    }
    if let Some(best) = best {
        let (loss, validation) = (shown(best.training_loss), shown(best.validation_loss));
        let epochs = curve.len();
        line("epochs", format!("{epochs}, the best is {}: loss {loss}, validation {validation}", best.epoch));
    }
    line("scores", format!("of the validation rows: {}", scores(&calibration.validation_scores)));
    line("threshold", format!("{}: {} of them", shown(calibration.threshold), calibration.rule.words()));
    line(
        "above it",
        format!(
            "{} of the validation rows ({} promised), {} of the training rows",
            percent(calibration.validation_share_above),
            percent(calibration.promised_share),
            percent(calibration.training_share_above)
        ),
    );
    if let Some(share) = calibration.anomalous_share_above {
        line("", format!("{} of the anomalies to judge by", percent(share)));
    }
    let in_force = match registry::in_force(Path::new(&section.spec.model)) {
        Ok(found) if found == version.version => "in force".to_owned(),
        Ok(found) => format!("version {found} stays in force, for the file `current` names it"),
        Err(error) => error.to_string(),
    };
    line("written", format!("{}/{} ({in_force})", section.spec.model, version.version));
    text
}

/// Percentiles, as far as a person wants to know them.
fn scores(scores: &Distribution) -> String {
    let percentiles = [
        ("p50", scores.p50),
        ("p90", scores.p90),
        ("p95", scores.p95),
        ("p99", scores.p99),
        ("p99.9", scores.p999),
        ("max", scores.greatest),
    ];
    percentiles.map(|(name, value)| format!("{name} {}", shown(value))).join(", ")
}

/// A share, with as many places as show something.
fn percent(share: f64) -> String {
    let places = if share > 0.0 && share < 1e-4 { 4 } else { 2 };
    format!("{:.places$} %", 100.0 * share)
}

fn method(method: &Method, features: usize) -> String {
    match method {
        Method::Autoencoder(architecture) => network(architecture, features),
        Method::Pca { measure, .. } => {
            let words = match measure {
                SubspaceMeasure::Reconstruction => "reconstruction error",
                SubspaceMeasure::T2 => "Hotelling's T2",
                SubspaceMeasure::Mahalanobis => "Mahalanobis distance",
            };
            format!("principal components, {words}, over {features} features")
        }
        Method::IsolationForest { trees, sample_rows } => {
            format!("isolation forest of {trees} trees of {sample_rows} rows over {features} features")
        }
        Method::Classifier { layers } if layers.is_empty() => format!("logistic regression over {features} features"),
        Method::Classifier { layers } => format!("classifier, {} over {features} features", joined(layers)),
        Method::Baseline { baseline, .. } => format!("comparison with {} earlier windows", baseline.history),
        Method::KMeans { clusters } => format!("k-means with {clusters} centres over {features} features"),
    }
}

fn joined(units: &[usize]) -> String {
    units.iter().map(ToString::to_string).collect::<Vec<_>>().join("-")
}

fn network(architecture: &Architecture, features: usize) -> String {
    let kind = match architecture.kind {
        NetworkKind::Lstm => "LSTM autoencoder",
        NetworkKind::Dense => "dense autoencoder",
    };
    let (encoder, decoder) = (joined(&architecture.encoder), joined(&architecture.decoder));
    format!("{kind}, {encoder} | {decoder} over {features} features")
}
