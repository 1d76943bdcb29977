//! A model's folder: `model.json` and `weights.safetensors`.
//!
//! What is read back is either exactly what was written or an error that names the folder and the fault: the format version, the digest
//! of the weights, the shapes, the finiteness of every number are checked, and nothing in the folder is ever executed.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::models::array::{Array, Arrays, Values};
use crate::models::estimator::{Description, Estimator, EstimatorFault};
use crate::models::features::{Feature, Scaler};
use crate::models::model::{Model, ModelFault, ModelParts, Threshold};

/// The format that this release writes. It reads the one before as well.
pub const FORMAT: u32 = 2;
/// The format that knew autoencoders alone, and had what describes them beside everything else.
const FLAT: u64 = 1;
/// What describes a model, the digest of its weights included.
pub(crate) const MODEL: &str = "model.json";
const WEIGHTS: &str = "weights.safetensors";
/// Files beyond this are not read: a model that scores streams is a few megabytes.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// Why a model's folder, or the registry around it, cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    #[error("there is no model in `{}`", folder.display())]
    NotFound { folder: PathBuf },
    #[error("`{}` cannot be read", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("`{}` cannot be written", path.display())]
    Unwritable { path: PathBuf, source: io::Error },
    #[error("`{}` has the format {found}, and this release reads {FLAT} and {FORMAT}", folder.display())]
    Format { folder: PathBuf, found: u64 },
    #[error("`{}` is not valid JSON of a model", path.display())]
    Json { path: PathBuf, source: serde_json::Error },
    #[error("the weights in `{}` have the digest {found}, and `{MODEL}` says {wanted}", folder.display())]
    Digest { folder: PathBuf, found: String, wanted: String },
    #[error("the weights in `{}` are not valid safetensors", folder.display())]
    Weights { folder: PathBuf, source: safetensors::SafeTensorError },
    #[error("the weight `{name}` in `{}` is of type {found}, not F32, F64 or I32", folder.display())]
    WeightType { folder: PathBuf, name: String, found: String },
    #[error("the model in `{}` is not sound", folder.display())]
    Unsound { folder: PathBuf, source: ModelFault },
    #[error("`{}` does not name a version: it holds `{text}`", path.display())]
    Current { path: PathBuf, text: String },
    #[error("the model {wanted} was made by another configuration; this one makes {found}")]
    Configured { wanted: String, found: String },
    #[error("`{}` cannot be a model's folder: it has no plain name", folder.display())]
    Name { folder: PathBuf },
}

/// `model.json`, as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelFile {
    format: u32,
    detector: Description,
    features: Vec<Feature>,
    scaler: Scaler,
    threshold: Threshold,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    training_data: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    metrics: BTreeMap<String, f64>,
    /// SHA-256 of `weights.safetensors`, in lower-case hexadecimal.
    weights_sha256: String,
}

/// Reads and checks the model in `folder`.
pub fn read(folder: &Path) -> Result<Model, ModelError> {
    let path = folder.join(MODEL);
    let json = match read_file(&path) {
        Err(ModelError::Unreadable { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Err(ModelError::NotFound { folder: folder.to_path_buf() });
        }
        other => other?,
    };
    let file = described(folder, &json).map_err(|source| ModelError::Json { path, source })??;
    let weights = read_file(&folder.join(WEIGHTS))?;
    let found = digest(&weights);
    if found != file.weights_sha256 {
        return Err(ModelError::Digest { folder: folder.to_path_buf(), found, wanted: file.weights_sha256 });
    }
    let arrays = arrays_of(folder, &weights)?;
    let unsound = |source: ModelFault| ModelError::Unsound { folder: folder.to_path_buf(), source };
    Model::new(ModelParts {
        estimator: Estimator::of_parts(file.detector, arrays).map_err(|fault: EstimatorFault| unsound(fault.into()))?,
        features: file.features,
        scaler: file.scaler,
        threshold: file.threshold,
        training_data: file.training_data,
        metrics: file.metrics,
    })
    .map_err(unsound)
}

/// What `model.json` says; the format is looked at before anything else is understood.
fn described(folder: &Path, json: &[u8]) -> serde_json::Result<Result<ModelFile, ModelError>> {
    let mut json: Value = serde_json::from_slice(json)?;
    match json.get("format").and_then(Value::as_u64) {
        Some(FLAT) => nest(&mut json),
        Some(found) if found != u64::from(FORMAT) => {
            return Ok(Err(ModelError::Format { folder: folder.to_path_buf(), found }));
        }
        // Where there is no format, that is what will be said to be missing.
        _ => {}
    }
    serde_json::from_value(json).map(Ok)
}

/// Puts what describes an autoencoder where this release has it.
fn nest(json: &mut Value) {
    let Value::Object(file) = json else { return };
    let mut detector = Map::new();
    for (flat, nested) in
        [("detector", "kind"), ("input", "input"), ("architecture", "architecture"), ("error", "error")]
    {
        detector.extend(file.remove(flat).map(|value| (nested.to_owned(), value)));
    }
    file.insert("detector".to_owned(), Value::Object(detector));
}

/// Writes the model into `folder`, which exists and is empty. Both files and the folder are on the disk when this returns.
pub fn write(folder: &Path, model: &Model) -> Result<(), ModelError> {
    let (detector, arrays) = model.estimator().parts();
    let weights = weights_of(folder, &arrays)?;
    let file = ModelFile {
        format: FORMAT,
        detector,
        features: model.features().to_vec(),
        scaler: model.scaler().clone(),
        threshold: model.threshold().clone(),
        training_data: model.training_data().map(str::to_string),
        metrics: model.metrics().clone(),
        weights_sha256: digest(&weights),
    };
    let path = folder.join(MODEL);
    let mut json =
        serde_json::to_vec_pretty(&file).map_err(|source| ModelError::Json { path: path.clone(), source })?;
    json.push(b'\n');
    write_file(&folder.join(WEIGHTS), &weights)?;
    write_file(&path, &json)?;
    sync_folder(folder)
}

/// What tells a model that stands in no folder from another one: equal models have equal bytes.
pub(crate) fn description(model: &Model) -> Vec<u8> {
    let (detector, arrays) = model.estimator().parts();
    debug_assert!(arrays.is_empty(), "what was trained stands in a folder");
    let features = model.features();
    serde_json::to_vec(&(detector, features, model.threshold()))
        .expect("descriptions have text keys and finite numbers")
}

/// Makes the entries of a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), ModelError> {
    fs::File::open(folder)
        .and_then(|file| file.sync_all())
        .map_err(|source| ModelError::Unwritable { path: folder.to_path_buf(), source })
}

fn read_file(path: &Path) -> Result<Vec<u8>, ModelError> {
    let mut bytes = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes))
        .map_err(|source| ModelError::Unreadable { path: path.to_path_buf(), source })?;
    Ok(bytes)
}

pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<(), ModelError> {
    let write = || {
        let mut file = fs::File::create_new(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|source| ModelError::Unwritable { path: path.to_path_buf(), source })
}

fn digest(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn arrays_of(folder: &Path, bytes: &[u8]) -> Result<Arrays, ModelError> {
    let weights = SafeTensors::deserialize(bytes)
        .map_err(|source| ModelError::Weights { folder: folder.to_path_buf(), source })?;
    let array = |(name, view): (String, TensorView<'_>)| {
        let values = match view.dtype() {
            Dtype::F32 => {
                Values::F32(view.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
            }
            Dtype::F64 => {
                Values::F64(view.data().as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect())
            }
            Dtype::I32 => {
                Values::I32(view.data().as_chunks().0.iter().map(|bytes| i32::from_le_bytes(*bytes)).collect())
            }
            other => {
                let found = format!("{other:?}");
                return Err(ModelError::WeightType { folder: folder.to_path_buf(), name, found });
            }
        };
        Ok((name, Array { shape: view.shape().to_vec(), values }))
    };
    weights.tensors().into_iter().map(array).collect()
}

fn weights_of(folder: &Path, arrays: &Arrays) -> Result<Vec<u8>, ModelError> {
    let bytes: Vec<(&String, &Array, Vec<u8>)> =
        arrays.iter().map(|(name, array)| (name, array, array.values.to_bytes())).collect();
    let views = bytes
        .iter()
        .map(|(name, array, bytes)| {
            let dtype = match array.values {
                Values::F32(_) => Dtype::F32,
                Values::F64(_) => Dtype::F64,
                Values::I32(_) => Dtype::I32,
            };
            Ok((*name, TensorView::new(dtype, array.shape.clone(), bytes)?))
        })
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>();
    views
        .and_then(|views| safetensors::serialize(views, None))
        .map_err(|source| ModelError::Weights { folder: folder.to_path_buf(), source })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;
    use crate::models::baseline::{Baseline, BaselineMethod};
    use crate::models::centers::Centers;
    use crate::models::features::Derivation;
    use crate::models::forest::{Forest, ForestFault, Node, Split};
    use crate::models::model::tests::small_model;
    use crate::models::network::{Layer, Network, NetworkFault};
    use crate::models::subspace::{Subspace, SubspaceMeasure};
    use crate::models::transform::Transform;

    fn written() -> (TempDir, Model) {
        let folder = TempDir::new().unwrap();
        let mut parts = small_model(3);
        parts.scaler = Scaler::Standard { mean: vec![0.1, 1e300, -0.0], deviation: vec![1.0 / 3.0, 5e-324, 2.0] };
        parts.metrics.insert("auc".into(), 0.987);
        let model = Model::new(parts).unwrap();
        write(folder.path(), &model).unwrap();
        (folder, model)
    }

    fn edit(folder: &TempDir, edit: impl FnOnce(&mut serde_json::Value)) {
        let path = folder.path().join(MODEL);
        let mut json = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        edit(&mut json);
        fs::write(path, serde_json::to_vec(&json).unwrap()).unwrap();
    }

    #[test]
    fn what_is_read_back_is_what_was_written() {
        let (folder, model) = written();
        assert_eq!(read(folder.path()).unwrap(), model);
    }

    /// One of each kind, of two features.
    fn of_every_kind() -> Vec<Estimator> {
        let leaf = |samples| Node { samples, split: None };
        let split = Split { feature: 1, threshold: 0.1 + 0.2, left: 1, right: 2 };
        let tree = vec![Node { samples: 3, split: Some(split) }, leaf(2), leaf(1)];
        let measure = SubspaceMeasure::Mahalanobis;
        let logit = Layer::Dense { units: 1, activation: crate::models::activation::Activation::Linear, bias: false };
        let kernel = crate::models::network::Tensor { shape: vec![2, 1], values: vec![1.0, -2.0] };
        let network = Network::new(vec![2], vec![logit], [("0.kernel".to_owned(), kernel)].into()).unwrap();
        vec![
            Estimator::Pca(Subspace::new(measure, vec![0.1, 0.2], vec![0.6, 0.8], vec![2.5], 1.0 / 3.0).unwrap()),
            Estimator::IsolationForest(Forest::new(vec![tree, vec![leaf(3)]], 3, vec![0.5, -0.0]).unwrap()),
            Estimator::KMeans(Centers::new(2, vec![0.0, 1.0, 2.0, 1.0 / 3.0]).unwrap()),
            Estimator::Classifier { network, baseline: vec![0.0, 1e-300] },
            Estimator::Baseline(Baseline {
                method: BaselineMethod::Ewma { half_life: 0.1 + 0.2 },
                history: 70,
                every: 30,
                rows_min: 3,
                floors: vec![1.0 / 3.0, 0.0],
            }),
        ]
    }

    #[test]
    fn a_model_of_every_kind_is_read_back_as_it_was_written() {
        for estimator in of_every_kind() {
            let mut parts = ModelParts { estimator, ..small_model(2) };
            parts.features[0].transforms = vec![Transform::SignedLog, Transform::Clip { low: -1.0, high: 9.0 }];
            parts.features[1].derivation = Derivation::Ratio { over: "f0".into() };
            let (folder, model) = (TempDir::new().unwrap(), Model::new(parts).unwrap());
            write(folder.path(), &model).unwrap();
            assert_eq!(read(folder.path()).unwrap(), model);
        }
    }

    #[test]
    fn a_folder_of_the_format_before_is_read() {
        let (folder, model) = written();
        edit(&folder, |json| {
            let Value::Object(detector) = json["detector"].take() else { panic!("it is described") };
            for (name, value) in detector {
                json[if name == "kind" { "detector" } else { &name }] = value;
            }
            json["format"] = 1.into();
        });
        assert_eq!(read(folder.path()).unwrap(), model);
    }

    #[test]
    fn a_tree_whose_path_would_not_end_is_refused() {
        let split = Split { feature: 0, threshold: 0.0, left: 0, right: 1 };
        let tree = vec![Node { samples: 2, split: Some(split) }, Node { samples: 1, split: None }];
        assert_eq!(Forest::new(vec![tree], 2, vec![0.0]), Err(ForestFault::Node { tree: 0, node: 0 }));
    }

    #[test]
    fn a_folder_without_a_model_is_named() {
        let folder = TempDir::new().unwrap();
        assert!(matches!(read(folder.path()), Err(ModelError::NotFound { .. })));
    }

    #[test]
    fn a_format_of_another_release_is_refused_whatever_else_it_holds() {
        let (folder, _) = written();
        fs::write(folder.path().join(MODEL), r#"{"format": 7, "graph": {}}"#).unwrap();
        let error = read(folder.path()).unwrap_err();
        assert!(matches!(error, ModelError::Format { found: 7, .. }), "{error}");
    }

    #[test]
    fn weights_that_are_not_those_that_were_written_are_refused() {
        let (folder, _) = written();
        let path = folder.path().join(WEIGHTS);
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(path, bytes).unwrap();
        assert!(matches!(read(folder.path()), Err(ModelError::Digest { .. })));
    }

    #[test]
    fn an_unknown_key_is_refused() {
        let (folder, _) = written();
        edit(&folder, |json| json["treshold"] = 1.into());
        assert!(matches!(read(folder.path()), Err(ModelError::Json { .. })));
    }

    #[test]
    fn features_that_do_not_fill_the_input_are_refused() {
        let (folder, _) = written();
        edit(&folder, |json| drop(json["features"].as_array_mut().unwrap().pop()));
        let error = read(folder.path()).unwrap_err();
        assert!(
            matches!(
                error,
                ModelError::Unsound { source: ModelFault::Estimator(EstimatorFault::FeatureCount { .. }), .. }
            ),
            "{error}"
        );
    }

    #[test]
    fn an_architecture_that_the_weights_do_not_fit_is_refused() {
        let (folder, _) = written();
        edit(&folder, |json| json["detector"]["architecture"][0]["units"] = 4.into());
        let ModelError::Unsound { source, .. } = read(folder.path()).unwrap_err() else { panic!("it is unsound") };
        let (found, wanted) = (vec![3, 3], vec![3, 4]);
        let fault = NetworkFault::TensorShape { name: "0.kernel".into(), found, wanted };
        assert_eq!(source, ModelFault::Estimator(EstimatorFault::Network(fault)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn a_damaged_folder_gives_an_error_or_a_sound_model(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
            let (folder, _) = written();
            for file in [MODEL, WEIGHTS] {
                let path = folder.path().join(file);
                let mut bytes = fs::read(&path).unwrap();
                let at = at.index(bytes.len());
                bytes[at] = byte;
                if cut { bytes.truncate(at); }
                if file == WEIGHTS {
                    // Past the digest, so that the tensors themselves are read.
                    let _ = arrays_of(folder.path(), &bytes).map(|arrays| {
                        Estimator::of_parts(written().1.estimator().parts().0, arrays)
                    });
                }
                fs::write(path, bytes).unwrap();
                let _ = read(folder.path());
            }
        }
    }
}
