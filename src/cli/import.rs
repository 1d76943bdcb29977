//! `import`: a model version of a trained Keras network, and what was understood of the files.

use std::fmt::Write as _;
use std::path::Path;

use crate::models::estimator::{ErrorMeasure, Estimator};
use crate::models::features::Scaler;
use crate::models::import::{ImportError, ImportedModel};
use crate::models::model::{Model, ModelVersion};
use crate::models::network::{Layer, Network};
use crate::models::registry;

use serde_json::json;

use super::arguments::ImportOptions;
use super::engine::{self, Import};
use super::{Refusal, print};

pub(super) fn import(options: &ImportOptions) -> anyhow::Result<()> {
    let missing: Vec<String> =
        options.files.iter().filter(|file| !file.is_file()).map(|file| file.display().to_string()).collect();
    if !missing.is_empty() {
        return Err(Refusal::new(format!("no such file: {}", missing.join(", "))).into());
    }
    let made = engine::import(Import {
        files: options.files.clone(),
        to: options.to.clone(),
        error: options.error,
        threshold: options.threshold,
    });
    let (imported, version) = made.map_err(|error| match error.downcast_ref::<ImportError>() {
        // Other files, or other options, would do.
        Some(_) => Refusal::new(error.chain().map(ToString::to_string).collect::<Vec<_>>().join(": ")).into(),
        None => error,
    })?;
    if options.json {
        print(format!("{:#}\n", as_json(&imported, &version, &options.to)).as_bytes())
    } else {
        print(told(&imported, &version, &options.to).as_bytes())
    }
}

fn as_json(imported: &ImportedModel, version: &ModelVersion, to: &str) -> serde_json::Value {
    let model = &imported.model;
    let in_force = registry::in_force(Path::new(to)).ok();
    json!({
        "model": format!("{to}/{}", version.version),
        "version": version.version,
        "version_in_force": in_force,
        "kind": model.estimator().kind(),
        "input": model.estimator().network().map(Network::input),
        "features": model.features().iter().map(|feature| feature.name.as_str()).collect::<Vec<_>>(),
        "error": match model.estimator() {
            Estimator::Autoencoder { error: ErrorMeasure::Mae, .. } => Some("mae"),
            Estimator::Autoencoder { error: ErrorMeasure::Mse, .. } => Some("mse"),
            _ => None,
        },
        "threshold": model.threshold().value,
        "calibration": model.threshold().calibration,
        "notes": imported.notes,
    })
}

fn told(imported: &ImportedModel, version: &ModelVersion, to: &str) -> String {
    let model = &imported.model;
    let mut text = "understood\n".to_owned();
    let mut line = |what: &str, words: String| {
        let _ = writeln!(text, "  {what:<12}{words}");
    };
    if let Some(network) = model.estimator().network() {
        line("input", format!("{} to {}", shape(network.input()), shape(network.output())));
        for (index, layer) in network.layers().iter().enumerate() {
            line(if index == 0 { "layers" } else { "" }, words_of(layer));
        }
    }
    let names: Vec<&str> = model.features().iter().map(|feature| feature.name.as_str()).collect();
    line("features", format!("{}: {}", names.len(), names.join(", ")));
    line("scaler", scaler_words(model));
    line("score", score_words(model.estimator()).to_owned());
    line("threshold", format!("{}, {}", model.threshold().value, model.threshold().calibration));
    imported.notes.iter().for_each(|note| line("note", note.clone()));
    let in_force = match registry::in_force(Path::new(to)) {
        Ok(found) if found == version.version => "in force".to_owned(),
        Ok(found) => format!("version {found} stays in force, for the file `current` names it"),
        Err(error) => error.to_string(),
    };
    let _ = writeln!(text, "written\n  {:<12}{to}/{} ({in_force})", "model", version.version);
    text
}

fn shape(shape: &[usize]) -> String {
    shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(" x ")
}

fn words_of(layer: &Layer) -> String {
    match layer {
        Layer::Lstm { units, return_sequences, go_backwards, activation, .. } => {
            let gives = if *return_sequences { "every step" } else { "the last step" };
            let order = if *go_backwards { ", backwards" } else { "" };
            format!("LSTM of {units} units, {activation:?}, gives {gives}{order}")
        }
        Layer::Dense { units, activation, .. } => format!("dense of {units} units, {activation:?}"),
        Layer::Activation { activation } => format!("{activation:?}"),
        Layer::Affine => "batch normalisation".to_owned(),
        Layer::Dropout { rate } => format!("dropout of {rate}, idle once trained"),
        Layer::Repeat { times } => format!("repeated {times} times"),
        Layer::Reshape { shape: to } => format!("reshaped to {}", shape(to)),
    }
}

fn scaler_words(model: &Model) -> String {
    match model.scaler() {
        Scaler::None => "none: the network sees the values as they are".to_owned(),
        Scaler::Standard { .. } => "less a centre, divided by a spread".to_owned(),
        Scaler::MinMax { range: [from, to], clip, .. } => {
            format!("into {from} to {to}{}", if *clip { ", held at the ends" } else { "" })
        }
    }
}

fn score_words(estimator: &Estimator) -> &'static str {
    match estimator {
        Estimator::Autoencoder { error: ErrorMeasure::Mae, .. } => "mean absolute error of the scaled values",
        Estimator::Autoencoder { error: ErrorMeasure::Mse, .. } => "mean squared error of the scaled values",
        Estimator::Pca(_) => "distance from where normal rows lie",
        Estimator::IsolationForest(_) => "how few splits set a row apart, from 0 to 1",
        Estimator::KMeans(_) => "distance to the nearest centre",
        Estimator::Baseline(_) => "deviations from earlier windows",
        Estimator::Classifier { .. } => "probability of an anomaly",
    }
}
