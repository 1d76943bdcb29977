//! Keras' configuration of a model, Sequential or a straight Functional one, as our layers.
//!
//! An option that would change what a layer computes is understood or refused; those that matter for training alone are passed over.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::models::activation::Activation;
use crate::models::import::ImportError;
use crate::models::import::keras_activation::{self, KerasVersion};
use crate::models::network::Layer;

/// A layer of the configuration, in the order of the stack.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct KerasLayer {
    pub name: String,
    pub class: String,
    pub layer: Layer,
    /// What its weights are called, in Keras' order.
    pub weights: Vec<&'static str>,
    /// Of a batch normalisation.
    pub epsilon: f64,
}

/// The stack and the shape of one row's input.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct KerasModel {
    pub input: Vec<usize>,
    pub layers: Vec<KerasLayer>,
}

/// What a layer's options say, and which layer that is.
struct Options<'a> {
    layer: &'a str,
    values: &'a Map<String, Value>,
}

/// Options that change nothing of what a trained layer computes.
const PASSED_OVER: &[&str] = &[
    "name",
    "trainable",
    "dtype",
    "batch_input_shape",
    "batch_shape",
    "input_dim",
    "input_length",
    "build_config",
    "seed",
    "unit_forget_bias",
    "dropout",
    "recurrent_dropout",
    "implementation",
    "unroll",
    "use_cudnn",
    "zero_output_for_mask",
    "kernel_initializer",
    "recurrent_initializer",
    "bias_initializer",
    "beta_initializer",
    "gamma_initializer",
    "moving_mean_initializer",
    "moving_variance_initializer",
    "kernel_regularizer",
    "recurrent_regularizer",
    "bias_regularizer",
    "activity_regularizer",
    "beta_regularizer",
    "gamma_regularizer",
    "kernel_constraint",
    "recurrent_constraint",
    "bias_constraint",
    "beta_constraint",
    "gamma_constraint",
    "momentum",
    "synchronized",
    "sparse",
    "ragged",
    "optional",
    "data_format",
    "renorm_momentum",
];

/// Layers that do nothing once trained.
const AT_REST: &[&str] =
    &["Dropout", "SpatialDropout1D", "GaussianDropout", "GaussianNoise", "AlphaDropout", "ActivityRegularization"];

impl KerasModel {
    /// Understands `config`, the JSON of a whole model.
    pub(super) fn parse(config: &Value, version: KerasVersion) -> Result<KerasModel, ImportError> {
        let class = config["class_name"].as_str().unwrap_or("");
        let config = &config["config"];
        // Keras before 2.2.3 gave a Sequential's layers as a plain list.
        let listed = config.as_array().or_else(|| config["layers"].as_array());
        let listed = listed.ok_or_else(|| not_a_stack("its configuration lists no layers"))?;
        let ordered = match class {
            "Sequential" => listed.iter().collect(),
            "Functional" | "Model" => straightened(config, listed)?,
            other => return Err(ImportError::Layer { layer: "the model itself".into(), class: other.into() }),
        };
        let input = input_shape(config, &ordered)?;
        let mut shape = input.clone();
        let mut layers = Vec::new();
        for entry in ordered {
            let Some(layer) = KerasLayer::parse(entry, &shape, version)? else { continue };
            if let Some(after) = layer.layer.shape_after(&shape) {
                shape = after;
            }
            layers.push(layer);
        }
        Ok(KerasModel { input, layers })
    }
}

impl KerasLayer {
    /// Understands one layer behind values of `shape`; nothing for an input.
    fn parse(entry: &Value, shape: &[usize], version: KerasVersion) -> Result<Option<KerasLayer>, ImportError> {
        let class = entry["class_name"].as_str().unwrap_or("");
        let empty = Map::new();
        let values = entry["config"].as_object().unwrap_or(&empty);
        let name = values.get("name").and_then(Value::as_str).unwrap_or(class);
        let options = Options { layer: name, values };
        let module = entry["module"].as_str().unwrap_or("keras.layers");
        if !(module.starts_with("keras") || module.starts_with("tensorflow.keras")) {
            return Err(ImportError::Layer { layer: name.to_string(), class: format!("{module}.{class}") });
        }
        let mut epsilon = 0.0;
        let (layer, weights) = match class {
            "InputLayer" => return Ok(None),
            "LSTM" => options.lstm(version)?,
            "Dense" => options.dense(version)?,
            "TimeDistributed" => return options.time_distributed(shape, version).map(Some),
            "BatchNormalization" => {
                epsilon = options.number("epsilon", 1e-3)?;
                options.batch_normalization(shape)?
            }
            "RepeatVector" => {
                options.only(&["n"])?;
                (Layer::Repeat { times: options.count("n")? }, vec![])
            }
            "Flatten" => {
                options.only(&[])?;
                (Layer::Reshape { shape: vec![shape.iter().product()] }, vec![])
            }
            "Reshape" => {
                options.only(&["target_shape"])?;
                (Layer::Reshape { shape: options.target_shape(shape)? }, vec![])
            }
            _ if AT_REST.contains(&class) => (Layer::Dropout { rate: options.number("rate", 0.0)? }, vec![]),
            _ => match keras_activation::as_layer(name, class, &entry["config"], version)? {
                Some(activation) => (Layer::Activation { activation }, vec![]),
                None => return Err(ImportError::Layer { layer: name.to_string(), class: class.to_string() }),
            },
        };
        Ok(Some(KerasLayer { name: name.to_string(), class: class.to_string(), layer, weights, epsilon }))
    }
}

impl Options<'_> {
    fn refused(&self, option: &str) -> ImportError {
        let value = self.values.get(option).unwrap_or(&Value::Null).to_string();
        ImportError::Option { layer: self.layer.to_string(), option: option.to_string(), value }
    }

    /// Refuses options that are neither understood by the caller nor passed over nor off, and any precision but f32.
    fn only(&self, understood: &[&str]) -> Result<(), ImportError> {
        for (option, value) in self.values {
            let off = matches!(value, Value::Null | Value::Bool(false));
            if !off && !understood.contains(&option.as_str()) && !PASSED_OVER.contains(&option.as_str()) {
                return Err(self.refused(option));
            }
        }
        let dtype = self.values.get("dtype").unwrap_or(&Value::Null);
        let policy = dtype.as_str().or_else(|| dtype["config"]["name"].as_str()).unwrap_or("float32");
        if policy != "float32" {
            return Err(self.refused("dtype"));
        }
        Ok(())
    }

    fn flag(&self, option: &str, default: bool) -> Result<bool, ImportError> {
        match self.values.get(option) {
            None | Some(Value::Null) => Ok(default),
            Some(value) => value.as_bool().ok_or_else(|| self.refused(option)),
        }
    }

    fn number(&self, option: &str, default: f64) -> Result<f64, ImportError> {
        match self.values.get(option) {
            None | Some(Value::Null) => Ok(default),
            Some(value) => value.as_f64().ok_or_else(|| self.refused(option)),
        }
    }

    fn count(&self, option: &str) -> Result<usize, ImportError> {
        let count = self.values.get(option).and_then(Value::as_u64).and_then(|count| usize::try_from(count).ok());
        count.ok_or_else(|| self.refused(option))
    }

    fn activation(&self, option: &str, default: &str, version: KerasVersion) -> Result<Activation, ImportError> {
        let default = Value::from(default);
        keras_activation::activation(self.layer, self.values.get(option).unwrap_or(&default), version)
    }

    fn lstm(&self, version: KerasVersion) -> Result<(Layer, Vec<&'static str>), ImportError> {
        self.only(&["units", "return_sequences", "go_backwards", "activation", "recurrent_activation", "use_bias"])?;
        let bias = self.flag("use_bias", true)?;
        let gate = |option, default| match self.activation(option, default, version)? {
            Activation::Softmax => {
                Err(ImportError::Activation { layer: self.layer.to_string(), activation: "softmax".into() })
            }
            other => Ok(other),
        };
        let layer = Layer::Lstm {
            units: self.count("units")?,
            return_sequences: self.flag("return_sequences", false)?,
            go_backwards: self.flag("go_backwards", false)?,
            activation: gate("activation", "tanh")?,
            recurrent_activation: gate("recurrent_activation", "sigmoid")?,
            bias,
        };
        let weights =
            if bias { vec!["kernel", "recurrent_kernel", "bias"] } else { vec!["kernel", "recurrent_kernel"] };
        Ok((layer, weights))
    }

    fn dense(&self, version: KerasVersion) -> Result<(Layer, Vec<&'static str>), ImportError> {
        self.only(&["units", "activation", "use_bias"])?;
        let bias = self.flag("use_bias", true)?;
        let activation = self.activation("activation", "linear", version)?;
        let layer = Layer::Dense { units: self.count("units")?, activation, bias };
        Ok((layer, if bias { vec!["kernel", "bias"] } else { vec!["kernel"] }))
    }

    /// A layer for each step. Ours work on the last axis alone, so that those which do so anyway need no wrapper.
    fn time_distributed(&self, shape: &[usize], version: KerasVersion) -> Result<KerasLayer, ImportError> {
        self.only(&["layer"])?;
        let inner = self.values.get("layer").unwrap_or(&Value::Null);
        let class = inner["class_name"].as_str().unwrap_or("");
        let width = &shape[shape.len().saturating_sub(1)..];
        let refused =
            || ImportError::Layer { layer: self.layer.to_string(), class: format!("TimeDistributed({class})") };
        let layer = KerasLayer::parse(inner, width, version)?.ok_or_else(refused)?;
        match layer.layer {
            Layer::Dense { .. } | Layer::Activation { .. } | Layer::Dropout { .. } => {
                Ok(KerasLayer { name: self.layer.to_string(), class: "TimeDistributed".into(), ..layer })
            }
            _ => Err(refused()),
        }
    }

    fn batch_normalization(&self, shape: &[usize]) -> Result<(Layer, Vec<&'static str>), ImportError> {
        self.only(&["axis", "center", "scale", "epsilon"])?;
        let axis = self.values.get("axis").unwrap_or(&Value::Null);
        let axis = axis.as_array().map_or(axis, |list| list.first().unwrap_or(&Value::Null));
        // Counted with the batch as axis 0.
        if !(axis.is_null() || axis.as_i64() == Some(-1) || axis.as_u64() == Some(shape.len() as u64)) {
            return Err(self.refused("axis"));
        }
        let mut weights = Vec::new();
        weights.extend(self.flag("scale", true)?.then_some("gamma"));
        weights.extend(self.flag("center", true)?.then_some("beta"));
        weights.extend(["moving_mean", "moving_variance"]);
        Ok((Layer::Affine, weights))
    }

    /// The shape to give, where one axis may be -1: whatever is left.
    fn target_shape(&self, shape: &[usize]) -> Result<Vec<usize>, ImportError> {
        let refused = || self.refused("target_shape");
        let wanted = self.values.get("target_shape").and_then(Value::as_array).ok_or_else(refused)?;
        let axes: Vec<i64> = wanted.iter().filter_map(Value::as_i64).collect();
        let known: usize = axes.iter().filter(|axis| **axis > 0).map(|axis| *axis as usize).product();
        let all: usize = shape.iter().product();
        let open = axes.iter().filter(|axis| **axis == -1).count();
        if axes.len() != wanted.len() || open > 1 || known == 0 || (open == 1 && !all.is_multiple_of(known)) {
            return Err(refused());
        }
        let axis = |axis: &i64| match axis {
            -1 => Ok(all / known),
            other => usize::try_from(*other).map_err(|_| refused()),
        };
        axes.iter().map(axis).collect()
    }
}

fn not_a_stack(fault: impl Into<String>) -> ImportError {
    ImportError::NotAStack { fault: fault.into() }
}

/// The input's shape without the batch's axis, wherever the versions of Keras put it.
fn input_shape(config: &Value, layers: &[&Value]) -> Result<Vec<usize>, ImportError> {
    let first = layers.first().ok_or_else(|| not_a_stack("it has no layers"))?;
    let places = [
        &first["config"]["batch_shape"],
        &first["config"]["batch_input_shape"],
        &first["build_config"]["input_shape"],
        &config["build_input_shape"],
    ];
    let shape = places.into_iter().find_map(|place| place.as_array());
    let shape = shape.ok_or_else(|| not_a_stack("its configuration does not give the shape of the input"))?;
    let axes = shape.iter().skip(1).map(|axis| axis.as_u64().and_then(|axis| usize::try_from(axis).ok()));
    axes.collect::<Option<Vec<_>>>().ok_or_else(|| {
        let text = Value::Array(shape.clone());
        not_a_stack(format!("its input has the shape {text}, and every axis but the first must be known"))
    })
}

/// The layers of a Functional model in order, each fed by the one before it and by nothing else.
fn straightened<'a>(config: &Value, layers: &'a [Value]) -> Result<Vec<&'a Value>, ImportError> {
    let name_of = |layer: &'a Value| layer["name"].as_str().or_else(|| layer["config"]["name"].as_str()).unwrap_or("");
    let mut next: BTreeMap<String, &'a Value> = BTreeMap::new();
    let mut first = None;
    for layer in layers {
        let mut sources = Vec::new();
        sources_of(&layer["inbound_nodes"], &mut sources);
        match (layer["class_name"].as_str(), sources.as_slice()) {
            (Some("InputLayer"), []) if first.is_none() => first = Some(layer),
            (Some("InputLayer"), []) => return Err(not_a_stack("it has several inputs")),
            (_, [source]) => {
                if next.insert(source.clone(), layer).is_some() {
                    return Err(not_a_stack(format!("what `{source}` gives goes to several layers")));
                }
            }
            (_, many) => {
                let fault = format!("the layer `{}` is fed by {} tensors", name_of(layer), many.len());
                return Err(not_a_stack(fault));
            }
        }
    }
    let mut ordered = vec![first.ok_or_else(|| not_a_stack("it has no input"))?];
    while let Some(layer) = next.remove(name_of(ordered[ordered.len() - 1])) {
        ordered.push(layer);
    }
    let last = name_of(ordered[ordered.len() - 1]);
    let outputs = &config["output_layers"];
    let output = outputs[0].as_str().or_else(|| outputs[0][0].as_str()).unwrap_or(last);
    let several = outputs[0].is_array() && outputs.as_array().is_some_and(|outputs| outputs.len() > 1);
    if ordered.len() != layers.len() || output != last || several {
        return Err(not_a_stack("its output is not that of the last of all its layers"));
    }
    Ok(ordered)
}

/// The names of the layers that feed a layer: Keras 2 writes `[name, node, tensor, …]`, Keras 3 an object with a `keras_history`.
fn sources_of(node: &Value, sources: &mut Vec<String>) {
    match node {
        Value::Array(items) => match items.as_slice() {
            [Value::String(name), Value::Number(_), Value::Number(_), ..] => sources.push(name.clone()),
            items => items.iter().for_each(|item| sources_of(item, sources)),
        },
        Value::Object(object) => object.values().for_each(|value| sources_of(value, sources)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sequential(layers: Value) -> Result<KerasModel, ImportError> {
        let mut all = vec![json!({"class_name": "InputLayer", "config": {"batch_shape": [null, 4, 1]}})];
        all.extend(layers.as_array().unwrap().clone());
        let config = json!({"class_name": "Sequential", "config": {"layers": all}});
        KerasModel::parse(&config, KerasVersion::Three)
    }

    #[test]
    fn a_layer_class_that_is_not_known_is_refused_by_name() {
        let error = sequential(json!([{"class_name": "GRU", "config": {"name": "gru_1", "units": 3}}])).unwrap_err();
        assert_eq!(error.to_string(), "the layer `gru_1` is a `GRU`, which is not supported");
    }

    #[test]
    fn an_option_that_is_not_known_is_refused_by_name() {
        for (option, value) in [("stateful", json!(true)), ("return_state", json!(true)), ("peephole", json!("yes"))] {
            let error = sequential(json!([{"class_name": "LSTM", "config": {"name": "a", "units": 3, option: value}}]));
            let message = error.unwrap_err().to_string();
            assert!(message.contains(&format!("the option `{option}` = ")), "{message}");
        }
    }

    #[test]
    fn another_precision_is_refused() {
        let layer = json!([{"class_name": "LSTM", "config": {"name": "a", "units": 3, "dtype": "mixed_float16"}}]);
        assert!(matches!(sequential(layer), Err(ImportError::Option { option, .. }) if option == "dtype"));
    }

    #[test]
    fn reshape_takes_what_is_left_for_an_open_axis() {
        let model = sequential(json!([
            {"class_name": "Flatten", "config": {"name": "f"}},
            {"class_name": "Reshape", "config": {"name": "r", "target_shape": [2, -1]}},
        ]));
        let layers: Vec<Layer> = model.unwrap().layers.into_iter().map(|layer| layer.layer).collect();
        assert_eq!(layers, [Layer::Reshape { shape: vec![4] }, Layer::Reshape { shape: vec![2, 2] }]);
    }

    fn functional(second_feeds: &str) -> Result<KerasModel, ImportError> {
        let dense = |name: &str, inbound: Value| json!({"class_name": "Dense", "name": name, "config": {"name": name, "units": 2}, "inbound_nodes": inbound});
        let history = json!([{"args": [{"class_name": "__keras_tensor__",
            "config": {"shape": [null, 2], "keras_history": ["first", 0, 0]}}], "kwargs": {}}]);
        let config = json!({"class_name": "Functional", "config": {
            "layers": [
                // Not in order, and in the spellings of both versions.
                dense("last", history),
                {"class_name": "InputLayer", "name": "in", "config": {"batch_input_shape": [null, 2], "name": "in"}, "inbound_nodes": []},
                dense("first", json!([[[second_feeds, 0, 0, {}]]])),
            ],
            "output_layers": [["last", 0, 0]],
        }});
        KerasModel::parse(&config, KerasVersion::Three)
    }

    #[test]
    fn a_straight_functional_model_is_put_in_order() {
        let names: Vec<String> = functional("in").unwrap().layers.into_iter().map(|layer| layer.name).collect();
        assert_eq!(names, ["first", "last"]);
    }

    #[test]
    fn a_model_that_branches_is_refused() {
        assert!(matches!(functional("first"), Err(ImportError::NotAStack { .. })));
        assert!(matches!(functional("elsewhere"), Err(ImportError::NotAStack { .. })));
    }
}
