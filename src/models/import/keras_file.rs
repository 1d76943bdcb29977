//! Keras' files: the legacy `.h5`, and `.keras`, a zip that holds the configuration and an HDF5 file of weights.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::path::Path;

use hdf5_reader::group::Group;
use hdf5_reader::{Attribute, Hdf5File, OpenOptions};
use serde_json::Value;

use crate::models::estimator::EstimatorFault;
use crate::models::import::keras::{KerasLayer, KerasModel};
use crate::models::import::keras_activation::KerasVersion;
use crate::models::import::{FILE_BYTES_MAX, ImportError};
use crate::models::network::{Layer, Network, Tensor, Tensors};

/// The greatest tensor that is read, and the greatest chunk of one.
const TENSOR_BYTES_MAX: usize = 1 << 28;

/// Reads a whole model from the bytes of `file`.
pub(super) fn read(file: &Path, bytes: Vec<u8>) -> Result<Network, ImportError> {
    let not_keras = |fault: String| ImportError::NotKeras { file: file.to_path_buf(), fault };
    let saved = match bytes.starts_with(b"PK") {
        true => SavedModel::zipped(bytes),
        false => SavedModel::legacy(bytes),
    };
    let SavedModel { config, version, weights } = saved.map_err(not_keras)?;
    let KerasModel { input, layers } = KerasModel::parse(&config, version)?;
    let mut tensors = Tensors::new();
    let mut counts = BTreeMap::new();
    for (index, layer) in layers.iter().enumerate() {
        let group = weights.group_name(layer, &mut counts);
        if layer.weights.is_empty() {
            continue;
        }
        let fault = |fault: String| ImportError::Weights { layer: layer.name.clone(), fault };
        let found = weights.of_layer(&group, layer).map_err(fault)?;
        for (name, tensor) in assembled(layer, found).map_err(fault)? {
            tensors.insert(format!("{index}.{name}"), tensor);
        }
    }
    let layers = layers.into_iter().map(|layer| layer.layer).collect();
    Network::new(input, layers, tensors).map_err(|fault| ImportError::Unsound(EstimatorFault::Network(fault).into()))
}

/// A model as a file holds it, before it is understood.
struct SavedModel {
    config: Value,
    version: KerasVersion,
    weights: Weights,
}

/// Where the weights lie.
enum Weights {
    /// By the layer's name, with the weights' paths in an attribute.
    Legacy(Group),
    /// By the layer's class and a running number, with the weights numbered.
    Numbered { layers: Group, by_name: BTreeMap<String, String> },
}

impl SavedModel {
    fn legacy(bytes: Vec<u8>) -> Result<SavedModel, String> {
        let root = open(bytes)?;
        let config = root.attribute("model_config").and_then(|attribute| attribute.read_string());
        let config = config.map_err(|error| format!("it has no architecture, or it holds weights alone ({error})"))?;
        let config =
            serde_json::from_str(&config).map_err(|error| format!("its configuration is not JSON ({error})"))?;
        let version = root.attribute("keras_version").and_then(|attribute| attribute.read_string());
        let weights = root.group("model_weights").map_err(|error| format!("it has no weights ({error})"))?;
        Ok(SavedModel { config, version: version_of(&version.unwrap_or_default()), weights: Weights::Legacy(weights) })
    }

    fn zipped(bytes: Vec<u8>) -> Result<SavedModel, String> {
        let mut archive =
            zip::ZipArchive::new(Cursor::new(bytes)).map_err(|error| format!("it is not a zip ({error})"))?;
        let mut entry = |name: &str| -> Result<Vec<u8>, String> {
            let mut bytes = Vec::new();
            let entry = archive.by_name(name).map_err(|error| format!("it has no `{name}` ({error})"))?;
            entry.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(|error| format!("`{name}`: {error}"))?;
            Ok(bytes)
        };
        let json = |bytes: Vec<u8>, name: &str| {
            serde_json::from_slice::<Value>(&bytes).map_err(|error| format!("`{name}` is not JSON ({error})"))
        };
        let config = json(entry("config.json")?, "config.json")?;
        let metadata = entry("metadata.json").and_then(|bytes| json(bytes, "metadata.json")).unwrap_or_default();
        let root = open(entry("model.weights.h5")?)?;
        // Keras 3 calls it `layers`, Keras 2 named it after the attribute that held them.
        let layers = root.group("layers").or_else(|_| root.group("_layer_checkpoint_dependencies"));
        let layers = layers.map_err(|error| format!("it has no weights ({error})"))?;
        let by_name = names_in(&layers);
        let version = version_of(metadata["keras_version"].as_str().unwrap_or_default());
        Ok(SavedModel { config, version, weights: Weights::Numbered { layers, by_name } })
    }
}

impl Weights {
    /// The name of the layer's group. Counts the layers of each class, as Keras does.
    fn group_name(&self, layer: &KerasLayer, counts: &mut BTreeMap<String, usize>) -> String {
        match self {
            Weights::Legacy(_) => layer.name.clone(),
            Weights::Numbered { by_name, .. } => {
                let class = snake_case(&layer.class);
                let count = counts.entry(class.clone()).or_default();
                *count += 1;
                let counted = if *count == 1 { class } else { format!("{class}_{}", *count - 1) };
                by_name.get(&layer.name).cloned().unwrap_or(counted)
            }
        }
    }

    /// The weights of a layer, by what they are.
    fn of_layer(&self, group: &str, layer: &KerasLayer) -> Result<BTreeMap<&'static str, Tensor>, String> {
        match self {
            Weights::Legacy(weights) => legacy_weights(&child(weights, group)?, layer),
            Weights::Numbered { layers, .. } => {
                let mut group = child(layers, group)?;
                // The weights of an LSTM are its cell's, those of a wrapper its layer's.
                for inner in ["cell", "layer"] {
                    group = group.group(inner).unwrap_or(group);
                }
                let vars = child(&group, "vars")?;
                let numbered = layer.weights.iter().enumerate();
                numbered.map(|(index, name)| Ok((*name, tensor(&vars, &index.to_string())?))).collect()
            }
        }
    }
}

fn legacy_weights(group: &Group, layer: &KerasLayer) -> Result<BTreeMap<&'static str, Tensor>, String> {
    let paths = group.attribute("weight_names").and_then(|attribute: Attribute| attribute.read_strings());
    let paths = paths.map_err(|error| format!("there is no list of them ({error})"))?;
    let mut found = BTreeMap::new();
    for wanted in &layer.weights {
        // `lstm/lstm_cell/kernel:0`, or without the number since Keras 3.
        let name_of = |path: &str| path.rsplit('/').next().and_then(|name| name.split(':').next()).map(str::to_string);
        let path = paths.iter().find(|path| name_of(path).as_deref() == Some(*wanted));
        let path = path.ok_or_else(|| format!("`{wanted}` is not among them"))?;
        let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
        let mut holder: Option<Group> = None;
        for folder in folders.split('/').filter(|folder| !folder.is_empty()) {
            holder = Some(child(holder.as_ref().unwrap_or(group), folder)?);
        }
        found.insert(*wanted, tensor(holder.as_ref().unwrap_or(group), name)?);
    }
    Ok(found)
}

/// The tensors of our layer, made of Keras' weights.
fn assembled(
    layer: &KerasLayer,
    mut found: BTreeMap<&'static str, Tensor>,
) -> Result<Vec<(&'static str, Tensor)>, String> {
    if layer.layer != Layer::Affine {
        return Ok(found.into_iter().collect());
    }
    // A trained normalisation is a factor and a shift; f64 so that folding costs no precision.
    let (Some(mean), Some(variance)) = (found.remove("moving_mean"), found.remove("moving_variance")) else {
        return Err("the moving mean or variance is missing".to_string());
    };
    let width = mean.values.len();
    let all = [Some(&variance), found.get("gamma"), found.get("beta")];
    if all.into_iter().flatten().any(|tensor| tensor.values.len() != width) {
        return Err("its mean, variance, gamma and beta differ in length".to_string());
    }
    let value = |name: &str, index: usize, default: f64| {
        found.get(name).map_or(default, |tensor: &Tensor| f64::from(tensor.values[index]))
    };
    let factor = |i: usize| value("gamma", i, 1.0) / (f64::from(variance.values[i]) + layer.epsilon).sqrt();
    let scale = (0..width).map(|i| factor(i) as f32).collect();
    let shift = (0..width).map(|i| (value("beta", i, 0.0) - f64::from(mean.values[i]) * factor(i)) as f32).collect();
    let tensor = |values| Tensor { shape: vec![width], values };
    Ok(vec![("scale", tensor(scale)), ("shift", tensor(shift))])
}

fn open(bytes: Vec<u8>) -> Result<Group, String> {
    let options = OpenOptions::default().with_max_chunk_bytes(TENSOR_BYTES_MAX).with_max_read_bytes(TENSOR_BYTES_MAX);
    let file = Hdf5File::from_vec_with_options(bytes, options).map_err(|error| format!("it is not HDF5 ({error})"))?;
    file.root_group().map_err(|error| format!("it is not HDF5 ({error})"))
}

fn child(group: &Group, name: &str) -> Result<Group, String> {
    group.group(name).map_err(|error| error.to_string())
}

fn tensor(group: &Group, name: &str) -> Result<Tensor, String> {
    let dataset = group.dataset(name).map_err(|error| error.to_string())?;
    let shape: Option<Vec<usize>> = dataset.shape().iter().map(|axis| usize::try_from(*axis).ok()).collect();
    let shape = shape.ok_or_else(|| format!("`{name}` is too large"))?;
    let array = dataset.read_array::<f32>().map_err(|error| format!("`{name}` is not a tensor of f32 ({error})"))?;
    Ok(Tensor { shape, values: array.iter().copied().collect() })
}

/// The group of each layer by the layer's own name, where the file notes it.
fn names_in(layers: &Group) -> BTreeMap<String, String> {
    let (groups, _) = layers.member_names().unwrap_or_default();
    let named = groups.into_iter().filter_map(|group| {
        let vars = layers.group(&group).and_then(|layer| layer.group("vars")).ok()?;
        let name = vars.attribute("name").and_then(|attribute| attribute.read_string()).ok()?;
        Some((name, group))
    });
    named.collect()
}

fn version_of(text: &str) -> KerasVersion {
    match text.split('.').next().and_then(|major| major.parse::<u32>().ok()) {
        Some(0..=2) => KerasVersion::Two,
        _ => KerasVersion::Three,
    }
}

/// `TimeDistributed` as `time_distributed`, `LSTM` as `lstm`: how Keras names groups after classes.
fn snake_case(class: &str) -> String {
    let letters: Vec<char> = class.chars().collect();
    let mut name = String::new();
    for (index, letter) in letters.iter().enumerate() {
        let before = index.checked_sub(1).map(|before| letters[before]);
        let after = letters.get(index + 1);
        let starts_word = before.is_some_and(|before| before.is_ascii_lowercase())
            || (before.is_some() && after.is_some_and(|after| after.is_ascii_lowercase()));
        if letter.is_ascii_uppercase() && starts_word {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_named_as_keras_names_them() {
        let names = ["LSTM", "Dense", "TimeDistributed", "BatchNormalization", "LeakyReLU"].map(snake_case);
        assert_eq!(names, ["lstm", "dense", "time_distributed", "batch_normalization", "leaky_re_lu"]);
    }
}
