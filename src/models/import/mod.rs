//! Trained models of other tools become ours: Keras networks, scikit-learn scalers.
//!
//! A network is either taken over whole, so that its scores equal Keras' own, or refused by the name of the layer, activation or option
//! that is not known. Pickles are read and not run: no file can run code.

mod keras;
mod keras_activation;
mod keras_file;
mod learnt;
pub mod pickle;
mod sidecar;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::models::estimator::{ErrorMeasure, Estimator};
use crate::models::features::{Feature, InputLayout, Scaler};
use crate::models::import::learnt::Learnt;
use crate::models::import::pickle::{PICKLE_BYTES_MAX, PickleFault, Pickled};
use crate::models::import::sidecar::{ScalerFile, Sidecar};
use crate::models::model::{Model, ModelFault, ModelParts, Threshold};
use crate::models::network::Network;

/// What the files may leave open.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ImportOptions {
    pub error: Option<ErrorMeasure>,
    /// Goes before what a file says.
    pub threshold: Option<f64>,
}

/// A model made of files, and what a person should know of how it was understood.
#[derive(Clone, Debug)]
pub struct ImportedModel {
    pub model: Model,
    pub notes: Vec<String>,
}

/// Why files are not a model.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("`{}` cannot be read", file.display())]
    Unreadable { file: PathBuf, source: io::Error },
    #[error("`{}` cannot be taken as a pickle of scikit-learn's", file.display())]
    Pickle { file: PathBuf, source: PickleFault },
    #[error("the files hold a network and a model of the kind {kind}: give one of them")]
    TwoModels { kind: &'static str },
    #[error(
        "`{}` is not known to be anything that makes a model: a Keras `.h5` or `.keras`, a scaler's `.pkl` or `.joblib`, or JSON of a \
         scaler, a threshold or the features",
        file.display()
    )]
    UnknownFile { file: PathBuf },
    #[error("`{}` is not valid JSON", file.display())]
    Json { file: PathBuf, source: serde_json::Error },
    #[error("`{}` cannot be understood: {fault}", file.display())]
    Sidecar { file: PathBuf, fault: String },
    #[error("`{}` is not a whole Keras model: {fault}", file.display())]
    NotKeras { file: PathBuf, fault: String },
    #[error("the layer `{layer}` is a `{class}`, which is not supported")]
    Layer { layer: String, class: String },
    #[error("the layer `{layer}` has the activation `{activation}`, which is not supported")]
    Activation { layer: String, activation: String },
    #[error("the layer `{layer}` has the option `{option}` = {value}, which is not supported")]
    Option { layer: String, option: String, value: String },
    #[error("the model is not one straight stack of layers: {fault}")]
    NotAStack { fault: String },
    #[error("the weights of the layer `{layer}` cannot be taken: {fault}")]
    Weights { layer: String, fault: String },
    #[error("no file gives the {what}: {cure}")]
    Missing { what: &'static str, cure: &'static str },
    #[error("two files give the {what}: `{}` is the second", second.display())]
    Twice { what: &'static str, second: PathBuf },
    #[error(
        "the scaler's feature {index} is `{scaler}` and the model's is `{model}`: they must be the same in the same order"
    )]
    FeatureOrder { index: usize, scaler: String, model: String },
    #[error("the files do not make a sound model")]
    Unsound(#[from] ModelFault),
}

/// What the files gave, each at most once.
#[derive(Default)]
struct Found {
    network: Option<Network>,
    learnt: Option<Learnt>,
    scaler: Option<ScalerFile>,
    threshold: Option<(f64, PathBuf)>,
    error: Option<ErrorMeasure>,
    features: Option<Vec<Feature>>,
}

/// Reads `files`, in any order, into one model.
pub fn import(files: &[PathBuf], options: &ImportOptions) -> Result<ImportedModel, ImportError> {
    let mut found = Found::default();
    for file in files {
        take(file, &mut found)?;
    }
    let mut notes = Vec::new();
    if let (Some(_), Some(learnt)) = (&found.network, &found.learnt) {
        return Err(ImportError::TwoModels { kind: learnt.estimator.kind() });
    }
    let (estimator, names, own_threshold) = match found.learnt {
        Some(Learnt { estimator, feature_names, threshold }) => (estimator, feature_names, threshold),
        None => (network(found.network, options.error.or(found.error))?, None, None),
    };
    let names = found.scaler.as_ref().and_then(|file| file.features.clone()).or(names);
    let features = features_of(found.features, names.as_ref())?;
    let scaler = found.scaler.map_or(Scaler::None, |file| file.scaler);
    if scaler == Scaler::None {
        notes.push("no file gives a scaler: the model sees the values as they are".to_string());
    }
    let threshold = match (options.threshold, found.threshold, own_threshold) {
        (Some(value), ..) => Threshold { value, calibration: "given at the import".to_string() },
        (None, Some((value, file)), _) => Threshold { value, calibration: format!("taken from {}", file_name(&file)) },
        (None, None, Some(own)) => own,
        (None, None, None) => {
            return Err(ImportError::Missing {
                what: "threshold",
                cure: "say `--threshold N`, or give a threshold.json",
            });
        }
    };
    let model = Model::new(ModelParts {
        estimator,
        features,
        scaler,
        threshold,
        training_data: None,
        metrics: BTreeMap::new(),
    })?;
    if let InputLayout::OneByOne { features } = model.layout() {
        notes.push(format!("the {features} features of a row are the steps of the network's sequence"));
    }
    if let InputLayout::Sequence { steps, features } = model.layout() {
        notes.push(format!("the network takes sequences of {steps} rows of {features} features"));
    }
    Ok(ImportedModel { model, notes })
}

fn network(network: Option<Network>, error: Option<ErrorMeasure>) -> Result<Estimator, ImportError> {
    let network = network.ok_or(ImportError::Missing {
        what: "network",
        cure: "give the Keras model, a `.h5` or `.keras` file, or a pickle of a forest or of k-means",
    })?;
    let error = error.ok_or(ImportError::Missing {
        what: "error measure",
        cure: "say `--error mae` or `--error mse`, as the score was computed when the threshold was found",
    })?;
    Ok(Estimator::Autoencoder { network, error })
}

fn take(file: &Path, found: &mut Found) -> Result<(), ImportError> {
    let extension = file.extension().and_then(|extension| extension.to_str()).unwrap_or("").to_ascii_lowercase();
    match extension.as_str() {
        "h5" | "hdf5" | "keras" => {
            let network = keras_file::read(file, read_file(file)?)?;
            once(&mut found.network, network, "network", file)
        }
        "pkl" | "pickle" | "joblib" => {
            let bytes = read_up_to(file, PICKLE_BYTES_MAX + 1)?;
            let pickled = pickle::read(&bytes);
            let Pickled { scaler, model } =
                pickled.map_err(|source| ImportError::Pickle { file: file.to_path_buf(), source })?;
            if let Some(model) = model {
                let learnt = learnt::learnt(model, file).map_err(ModelFault::from)?;
                once(&mut found.learnt, learnt, "model", file)?;
            }
            scaler.map_or(Ok(()), |scaler| once(&mut found.scaler, scaler, "scaler", file))
        }
        "json" => {
            let Sidecar { scaler, threshold, error, features } = sidecar::read(file, &read_file(file)?)?;
            scaler.map_or(Ok(()), |scaler| once(&mut found.scaler, scaler, "scaler", file))?;
            threshold.map_or(Ok(()), |value| once(&mut found.threshold, (value, file.into()), "threshold", file))?;
            error.map_or(Ok(()), |error| once(&mut found.error, error, "error measure", file))?;
            features.map_or(Ok(()), |features| once(&mut found.features, features, "features", file))
        }
        _ => Err(ImportError::UnknownFile { file: file.to_path_buf() }),
    }
}

fn once<T>(slot: &mut Option<T>, value: T, what: &'static str, file: &Path) -> Result<(), ImportError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(ImportError::Twice { what, second: file.to_path_buf() }),
    }
}

/// The features in order, where the names that the scaler or the model has, if any, must be the same.
fn features_of(features: Option<Vec<Feature>>, names: Option<&Vec<String>>) -> Result<Vec<Feature>, ImportError> {
    let Some(features) = features else {
        let names = names.ok_or(ImportError::Missing {
            what: "names of the features",
            cure: "give a numeric_features.json, a list of the fields' names in the network's order",
        })?;
        return Ok(names.iter().map(|name| Feature::of_field(name)).collect());
    };
    // scikit-learn gives columns without a name their number: that says nothing against the names given.
    let numbered = names.is_some_and(|names| names.iter().enumerate().all(|(i, name)| *name == i.to_string()));
    for (index, (scaler, model)) in names.into_iter().flatten().zip(&features).enumerate() {
        if !numbered && *scaler != model.name && *scaler != model.field {
            return Err(ImportError::FeatureOrder { index, scaler: scaler.clone(), model: model.name.clone() });
        }
    }
    Ok(features)
}

/// The greatest file that is read at all.
const FILE_BYTES_MAX: u64 = 1 << 30;

fn read_file(file: &Path) -> Result<Vec<u8>, ImportError> {
    read_up_to(file, FILE_BYTES_MAX)
}

fn read_up_to(file: &Path, bytes_max: u64) -> Result<Vec<u8>, ImportError> {
    let mut bytes = Vec::new();
    fs::File::open(file)
        .and_then(|opened| opened.take(bytes_max).read_to_end(&mut bytes))
        .map_err(|source| ImportError::Unreadable { file: file.to_path_buf(), source })?;
    Ok(bytes)
}

fn file_name(file: &Path) -> String {
    file.file_name().unwrap_or(file.as_os_str()).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::models::registry;

    /// Imports the small Keras model of five features with JSON files of these contents beside it.
    fn check(beside: &[&str], options: &ImportOptions) -> Result<ImportedModel, ImportError> {
        let folder = TempDir::new().unwrap();
        let mut files = vec![PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/models/together.h5")];
        for (index, text) in beside.iter().enumerate() {
            files.push(folder.path().join(format!("{index}.json")));
            fs::write(&files[index + 1], text).unwrap();
        }
        import(&files, options)
    }

    const FEATURES: &str = r#"["a", "b", "c", "d", "e"]"#;
    const SCALER: &str = r#"{"type": "StandardScaler", "mean_": [0, 0, 0, 0, 0], "scale_": [1, 2, 3, 4, 5],
        "feature_names_in_": ["a", "b", "c", "d", "e"]}"#;

    fn complete() -> ImportOptions {
        ImportOptions { error: Some(ErrorMeasure::Mae), threshold: Some(0.25) }
    }

    #[test]
    fn an_imported_model_is_the_same_after_it_was_saved_and_loaded() {
        let model =
            check(&[FEATURES, SCALER, r#"{"threshold": 0.5, "error": "mse"}"#], &ImportOptions::default()).unwrap();
        let folder = TempDir::new().unwrap();
        let version = registry::save(&folder.path().join("iomt"), &model.model).unwrap();
        let loaded = registry::load(&folder.path().join("iomt")).unwrap();
        assert_eq!((loaded.version, loaded.model), (version, model.model));
    }

    #[test]
    fn what_the_files_do_not_say_must_be_said() {
        let missing = |options| match check(&[FEATURES], &options) {
            Err(ImportError::Missing { what, .. }) => what,
            other => panic!("{other:?}"),
        };
        assert_eq!(missing(ImportOptions { error: None, ..complete() }), "error measure");
        assert_eq!(missing(ImportOptions { threshold: None, ..complete() }), "threshold");
        assert!(matches!(check(&[], &complete()), Err(ImportError::Missing { what: "names of the features", .. })));
    }

    #[test]
    fn the_scalers_names_serve_where_no_file_names_the_features() {
        let model = check(&[SCALER], &complete()).unwrap().model;
        assert_eq!(model.features()[4], Feature::of_field("e"));
    }

    #[test]
    fn a_scaler_of_another_order_is_refused() {
        let error = check(&[r#"["a", "b", "d", "c", "e"]"#, SCALER], &complete()).unwrap_err();
        assert!(matches!(&error, ImportError::FeatureOrder { index: 2, .. }), "{error}");
    }

    #[test]
    fn a_scaler_for_other_features_is_refused() {
        let error = check(&[FEATURES, r#"{"mean_": [0], "scale_": [1]}"#], &complete()).unwrap_err();
        assert!(matches!(&error, ImportError::Unsound(ModelFault::Scaler(_))), "{error}");
    }

    #[test]
    fn two_files_for_one_thing_are_refused() {
        let error = check(&[FEATURES, FEATURES], &complete()).unwrap_err();
        assert!(matches!(&error, ImportError::Twice { what: "features", .. }), "{error}");
    }

    /// Imports the small Keras model of four features with a pickle beside it.
    fn check_pickle(name: &str) -> Result<ImportedModel, ImportError> {
        let project = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let network = project.join("tests/data/models/steps.h5");
        import(&[network, project.join("tests/golden/pickle").join(name)], &complete())
    }

    #[test]
    fn a_pickled_scaler_and_its_names_become_part_of_the_model() {
        let model = check_pickle("standard_named.zlib.joblib").unwrap().model;
        let names: Vec<&str> = model.features().iter().map(|feature| feature.name.as_str()).collect();
        assert_eq!(names, ["temperature", "Tot sum", "Größe", "flag"]);
        let Scaler::Standard { deviation, .. } = model.scaler() else { panic!("it is standard") };
        assert_eq!(deviation[3], 1.0);
    }

    #[test]
    fn a_network_and_a_forest_are_two_models_and_what_is_not_known_is_refused_by_its_name() {
        let error = check_pickle("forest.5.pkl").unwrap_err();
        assert!(matches!(&error, ImportError::TwoModels { kind: "isolation_forest" }), "{error}");
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("scaler.pkl");
        fs::write(&file, b"cos\nsystem\n(Vtouch evil\ntR.").unwrap();
        let ImportError::Pickle { source, .. } = import(&[file], &complete()).unwrap_err() else { panic!("no pickle") };
        assert!(matches!(&source, PickleFault::Global { name } if name == "os.system"), "{source}");
    }

    #[test]
    fn a_file_that_is_no_model_is_named() {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("model.keras");
        fs::write(&file, "PK, but nothing more").unwrap();
        let error = import(&[file], &complete()).unwrap_err();
        assert!(matches!(&error, ImportError::NotKeras { .. }), "{error}");
    }
}
