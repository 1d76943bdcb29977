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

use crate::models::features::{Feature, Scaler};
use crate::models::model::{DetectorKind, ErrorMeasure, Model, ModelFault, ModelParts, Threshold};
use crate::models::network::{Layer, Network, Tensor, Tensors};

/// The format that this release writes, and the only one it reads.
pub const FORMAT: u32 = 1;
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
    #[error("`{}` has the format {found}, and this release reads {FORMAT}", folder.display())]
    Format { folder: PathBuf, found: u64 },
    #[error("`{}` is not valid JSON of a model", path.display())]
    Json { path: PathBuf, source: serde_json::Error },
    #[error("the weights in `{}` have the digest {found}, and `{MODEL}` says {wanted}", folder.display())]
    Digest { folder: PathBuf, found: String, wanted: String },
    #[error("the weights in `{}` are not valid safetensors", folder.display())]
    Weights { folder: PathBuf, source: safetensors::SafeTensorError },
    #[error("the weight `{name}` in `{}` is of type {found}, not F32", folder.display())]
    WeightType { folder: PathBuf, name: String, found: String },
    #[error("the model in `{}` is not sound", folder.display())]
    Unsound { folder: PathBuf, source: ModelFault },
    #[error("`{}` does not name a version: it holds `{text}`", path.display())]
    Current { path: PathBuf, text: String },
    #[error("`{}` cannot be a model's folder: it has no plain name", folder.display())]
    Name { folder: PathBuf },
}

/// `model.json`, as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelFile {
    format: u32,
    detector: DetectorKind,
    input: Vec<usize>,
    architecture: Vec<Layer>,
    features: Vec<Feature>,
    scaler: Scaler,
    error: ErrorMeasure,
    threshold: Threshold,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    training_data: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    metrics: BTreeMap<String, f64>,
    /// SHA-256 of `weights.safetensors`, in lower-case hexadecimal.
    weights_sha256: String,
}

/// The format alone, to be looked at before anything else is understood.
#[derive(Deserialize)]
struct FormatOnly {
    format: u64,
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
    let FormatOnly { format } =
        serde_json::from_slice(&json).map_err(|source| ModelError::Json { path: path.clone(), source })?;
    if format != u64::from(FORMAT) {
        return Err(ModelError::Format { folder: folder.to_path_buf(), found: format });
    }
    let file: ModelFile = serde_json::from_slice(&json).map_err(|source| ModelError::Json { path, source })?;
    let weights = read_file(&folder.join(WEIGHTS))?;
    let found = digest(&weights);
    if found != file.weights_sha256 {
        return Err(ModelError::Digest { folder: folder.to_path_buf(), found, wanted: file.weights_sha256 });
    }
    let tensors = tensors_of(folder, &weights)?;
    let unsound = |source: ModelFault| ModelError::Unsound { folder: folder.to_path_buf(), source };
    let network = Network::new(file.input, file.architecture, tensors).map_err(|fault| unsound(fault.into()))?;
    Model::new(ModelParts {
        kind: file.detector,
        network,
        features: file.features,
        scaler: file.scaler,
        error: file.error,
        threshold: file.threshold,
        training_data: file.training_data,
        metrics: file.metrics,
    })
    .map_err(unsound)
}

/// Writes the model into `folder`, which exists and is empty. Both files and the folder are on the disk when this returns.
pub fn write(folder: &Path, model: &Model) -> Result<(), ModelError> {
    let weights = weights_of(folder, model.network())?;
    let file = ModelFile {
        format: FORMAT,
        detector: model.kind(),
        input: model.network().input().to_vec(),
        architecture: model.network().layers().to_vec(),
        features: model.features().to_vec(),
        scaler: model.scaler().clone(),
        error: model.error(),
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

fn tensors_of(folder: &Path, bytes: &[u8]) -> Result<Tensors, ModelError> {
    let weights = SafeTensors::deserialize(bytes)
        .map_err(|source| ModelError::Weights { folder: folder.to_path_buf(), source })?;
    let tensor = |(name, view): (String, TensorView<'_>)| {
        if view.dtype() != Dtype::F32 {
            let found = format!("{:?}", view.dtype());
            return Err(ModelError::WeightType { folder: folder.to_path_buf(), name, found });
        }
        let values = view.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        Ok((name, Tensor { shape: view.shape().to_vec(), values }))
    };
    weights.tensors().into_iter().map(tensor).collect()
}

fn weights_of(folder: &Path, network: &Network) -> Result<Vec<u8>, ModelError> {
    let bytes: Vec<(&String, &Tensor, Vec<u8>)> = network
        .tensors()
        .iter()
        .map(|(name, tensor)| (name, tensor, tensor.values.iter().flat_map(|value| value.to_le_bytes()).collect()))
        .collect();
    let views = bytes
        .iter()
        .map(|(name, tensor, bytes)| Ok((*name, TensorView::new(Dtype::F32, tensor.shape.clone(), bytes)?)))
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
    use crate::models::model::tests::small_model;

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
        assert!(matches!(error, ModelError::Unsound { source: ModelFault::FeatureCount { .. }, .. }), "{error}");
    }

    #[test]
    fn an_architecture_that_the_weights_do_not_fit_is_refused() {
        let (folder, _) = written();
        edit(&folder, |json| json["architecture"][0]["units"] = 4.into());
        let error = read(folder.path()).unwrap_err();
        assert!(matches!(error, ModelError::Unsound { source: ModelFault::Network(_), .. }), "{error}");
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
                    let _ = tensors_of(folder.path(), &bytes).map(|tensors| {
                        Network::new(vec![3], vec![Layer::Affine], tensors)
                    });
                }
                fs::write(path, bytes).unwrap();
                let _ = read(folder.path());
            }
        }
    }
}
