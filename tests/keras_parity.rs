//! Imported Keras models give Keras' own scores: on every path to 1e-5, and with the same bits however the rows are cut.
//!
//! The small models of `tests/data/models` are ours (`make.py` there made them). Recordings that are not ours to pass on are used where
//! `TIDEWATCH_SHARED_DATA` names their folder.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use tidewatch::models::estimator::ErrorMeasure;
use tidewatch::models::import::{ImportOptions, import};
use tidewatch::models::model::Model;
use tidewatch::scoring::detector::{Detector, Path};

const PATHS: [Path; 3] = [Path::Fast, Path::Portable, Path::Reference];

fn options(error: ErrorMeasure) -> ImportOptions {
    ImportOptions { error: Some(error), threshold: Some(1.0) }
}

/// Imports a Keras file beside a list of so many features.
fn imported(file: &FilePath, features: usize, error: ErrorMeasure) -> Arc<Model> {
    let folder = tempfile::TempDir::new().unwrap();
    let names = folder.path().join("numeric_features.json");
    let list: Vec<String> = (0..features).map(|index| format!("f{index}")).collect();
    std::fs::write(&names, serde_json::to_vec(&list).unwrap()).unwrap();
    Arc::new(import(&[file.to_path_buf(), names], &options(error)).unwrap().model)
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

/// The greatest relative difference.
fn off(found: &[f64], wanted: &[f64]) -> f64 {
    assert_eq!(found.len(), wanted.len());
    found.iter().zip(wanted).map(|(found, wanted)| (found / wanted - 1.0).abs()).fold(0.0, f64::max)
}

/// Scores the rows of `name.expected.json` with `name` + `ending` and compares with what Keras computed.
fn check(name: &str, ending: &str, features: usize) {
    let folder = FilePath::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/models");
    let expected = std::fs::read(folder.join(format!("{name}.expected.json"))).unwrap();
    let expected: Value = serde_json::from_slice(&expected).unwrap();
    let rows: Vec<f64> = expected["x"].as_array().unwrap().iter().flat_map(numbers).collect();
    for (error, key) in [(ErrorMeasure::Mae, "mae"), (ErrorMeasure::Mse, "mse")] {
        let model = imported(&folder.join(format!("{name}{ending}")), features, error);
        for path in PATHS {
            let scores = Detector::with_path(model.clone(), path).unwrap().score(&rows);
            let off = off(&scores, &numbers(&expected[key]));
            assert!(off < 1e-5, "{name}{ending} {key} by {path:?}: {off:e}");
        }
    }
}

#[test]
fn features_in_one_step_score_as_keras_does() {
    check("together", ".h5", 5);
    check("together", ".keras", 5);
}

#[test]
fn features_as_steps_score_as_keras_does() {
    check("steps", ".h5", 4);
    check("steps", ".keras", 4);
}

#[test]
fn every_activation_computes_as_keras_does() {
    check("activations", ".keras", 6);
}

#[test]
fn sequences_score_as_keras_does() {
    check("sequence", ".h5", 2);
}

#[test]
fn models_of_keras_2_score_as_keras_2_does() {
    for ending in [".h5", ".keras"] {
        check("functional_of_keras_2", ending, 5);
        check("stack_of_keras_2", ending, 4);
    }
}

#[test]
fn both_formats_of_keras_give_the_same_model() {
    let folder = FilePath::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/models");
    for (name, features) in [("together", 5), ("steps", 4)] {
        let model = |ending: &str| imported(&folder.join(format!("{name}{ending}")), features, ErrorMeasure::Mae);
        assert_eq!(model(".h5").estimator(), model(".keras").estimator(), "{name}");
    }
}

/// The folder of recordings, or nothing and a word about it.
fn shared_data() -> Option<PathBuf> {
    let folder = std::env::var_os("TIDEWATCH_SHARED_DATA").map(PathBuf::from);
    if folder.is_none() {
        println!("skipped: TIDEWATCH_SHARED_DATA does not name the folder of recordings");
    }
    folder
}

fn golden(folder: &FilePath, name: &str) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let bytes = std::fs::read(folder.join(format!("keras-golden/{name}_golden.safetensors"))).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let values = |name: &str| -> Vec<f64> {
        let view = tensors.tensor(name).unwrap();
        match view.dtype() {
            safetensors::Dtype::F32 => {
                view.data().as_chunks().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect()
            }
            _ => view.data().as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
        }
    };
    (values("x"), values("mse"), values("mse64"))
}

#[test]
fn trained_models_score_as_keras_does() {
    let Some(folder) = shared_data() else { return };
    for (name, ending, features) in [("a", ".h5", 31), ("a", ".keras", 31), ("b", ".keras", 12), ("c", ".h5", 31)] {
        let model = imported(&folder.join(format!("keras-golden/{name}_trained{ending}")), features, ErrorMeasure::Mse);
        let (x, mse, mse64) = golden(&folder, name);
        for path in PATHS {
            let scores = Detector::with_path(model.clone(), path).unwrap().score(&x);
            println!(
                "{name}{ending} by {path:?}: {:.1e} off Keras, {:.1e} off f64",
                off(&scores, &mse),
                off(&scores, &mse64)
            );
            assert!(off(&scores, &mse) < 1e-5, "{name}{ending} by {path:?}");
        }
    }
}

#[test]
fn every_recorded_flow_gets_keras_score_and_flag() {
    let Some(folder) = shared_data() else { return };
    let files = ["lstm_autoencoder.h5", "scaler.json", "threshold.json", "numeric_features.json"];
    let files = files.map(|file| folder.join("iomt-model").join(file));
    let model = import(&files, &ImportOptions { error: Some(ErrorMeasure::Mae), threshold: None }).unwrap().model;
    let flows = std::fs::read_to_string(folder.join("ciciot2023/flows.csv")).unwrap();
    let header: Vec<&str> = flows.lines().next().unwrap().split(',').collect();
    let columns: Vec<usize> =
        model.features().iter().map(|f| header.iter().position(|name| *name == f.field).unwrap()).collect();
    let row = |line: &str| {
        let cells: Vec<&str> = line.split(',').collect();
        columns.iter().map(|column| cells[*column].parse().unwrap_or(f64::NAN)).collect::<Vec<f64>>()
    };
    let raw: Vec<f64> = flows.lines().skip(1).flat_map(row).collect();
    let keras = std::fs::read_to_string(folder.join("ciciot2023/keras_scores.csv")).unwrap();
    let (mut rows, mut mae, mut flags) = (Vec::new(), Vec::new(), Vec::new());
    for line in keras.lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        rows.push(cells[0].parse::<usize>().unwrap() / 2);
        mae.push(cells[3].parse::<f64>().unwrap());
        flags.push(cells[4] == "1");
    }
    let threshold = model.threshold().value;
    let all = Detector::new(Arc::new(model)).score(&raw);
    let scores: Vec<f64> = rows.iter().map(|row| all[*row]).collect();
    println!("{} flows: {:.1e} off Keras", scores.len(), off(&scores, &mae));
    assert!(scores.len() > 9000 && off(&scores, &mae) < 1e-5);
    let wrong = scores.iter().zip(&flags).filter(|(score, flag)| (**score > threshold) != **flag).count();
    assert_eq!(wrong, 0);
}
