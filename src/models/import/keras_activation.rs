//! Keras' activations by name, as functions, as layers, and as objects in a configuration.

use serde_json::Value;

use crate::models::activation::Activation;
use crate::models::import::ImportError;

/// The major version that wrote a file: some names changed their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KerasVersion {
    Two,
    Three,
}

/// What the `activation` of a layer means; null is none.
pub(super) fn activation(layer: &str, value: &Value, version: KerasVersion) -> Result<Activation, ImportError> {
    let refused = |activation: String| ImportError::Activation { layer: layer.to_string(), activation };
    match value {
        Value::Null => Ok(Activation::Linear),
        Value::String(name) => by_name(name, version).ok_or_else(|| refused(name.clone())),
        Value::Object(object) => {
            let class = object.get("class_name").and_then(Value::as_str).unwrap_or("");
            let config = object.get("config").unwrap_or(&Value::Null);
            match (class, config) {
                ("function", Value::String(name)) => by_name(name, version).ok_or_else(|| refused(name.clone())),
                _ => as_layer(layer, class, config, version)?.ok_or_else(|| refused(class.to_string())),
            }
        }
        other => Err(refused(other.to_string())),
    }
}

fn by_name(name: &str, version: KerasVersion) -> Option<Activation> {
    Some(match name {
        "linear" => Activation::Linear,
        "tanh" => Activation::Tanh,
        "sigmoid" => Activation::Sigmoid,
        "hard_sigmoid" if version == KerasVersion::Two => Activation::HardSigmoidSteep,
        "hard_sigmoid" => Activation::HardSigmoid,
        "relu" => Activation::Relu,
        "relu6" => Activation::Relu6,
        "leaky_relu" => Activation::LeakyRelu { slope: 0.2 },
        "elu" => Activation::Elu { alpha: 1.0 },
        "selu" => Activation::Selu,
        "softplus" => Activation::Softplus,
        "softsign" => Activation::Softsign,
        "exponential" => Activation::Exponential,
        "silu" | "swish" => Activation::Silu,
        "gelu" => Activation::Gelu,
        "softmax" => Activation::Softmax,
        _ => return None,
    })
}

/// The activation that a layer of this class is, or `None` if it is no activation.
pub(super) fn as_layer(
    layer: &str,
    class: &str,
    config: &Value,
    version: KerasVersion,
) -> Result<Option<Activation>, ImportError> {
    let refused = |option: &str| ImportError::Option {
        layer: layer.to_string(),
        option: option.to_string(),
        value: config[option].to_string(),
    };
    let number = |names: [&'static str; 2], default: f64| {
        let name = names.into_iter().find(|name| !config[*name].is_null());
        let Some(name) = name else { return Ok(default as f32) };
        let value = config[name].as_f64().or_else(|| config[name]["config"]["value"].as_f64());
        value.map(|value| value as f32).ok_or_else(|| refused(name))
    };
    let last_axis = || match config["axis"].as_i64() {
        None | Some(-1) => Ok(()),
        Some(_) => Err(refused("axis")),
    };
    Ok(Some(match class {
        "Activation" => activation(layer, &config["activation"], version)?,
        "LeakyReLU" => Activation::LeakyRelu { slope: number(["negative_slope", "alpha"], 0.3)? },
        "ELU" => Activation::Elu { alpha: number(["alpha", "alpha"], 1.0)? },
        "Softmax" => last_axis().map(|()| Activation::Softmax)?,
        "ReLU" => {
            if number(["threshold", "threshold"], 0.0)? != 0.0 {
                return Err(refused("threshold"));
            }
            let slope = number(["negative_slope", "negative_slope"], 0.0)?;
            match config["max_value"].as_f64() {
                None if slope == 0.0 => Activation::Relu,
                None => Activation::LeakyRelu { slope },
                Some(6.0) if slope == 0.0 => Activation::Relu6,
                Some(_) => return Err(refused("max_value")),
            }
        }
        _ => return Ok(None),
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn hard_sigmoid_is_what_it_was_in_the_version_that_wrote_the_file() {
        let of = |version| activation("a", &json!("hard_sigmoid"), version).unwrap();
        assert_eq!(of(KerasVersion::Two), Activation::HardSigmoidSteep);
        assert_eq!(of(KerasVersion::Three), Activation::HardSigmoid);
    }

    #[test]
    fn an_unknown_activation_is_refused_by_name() {
        let error = activation("dense_1", &json!("squareplus"), KerasVersion::Three).unwrap_err();
        assert_eq!(error.to_string(), "the layer `dense_1` has the activation `squareplus`, which is not supported");
    }

    #[test]
    fn an_activation_may_be_a_layer_inside_a_layer() {
        let value = json!({"module": "keras.layers", "class_name": "LeakyReLU", "config": {"negative_slope": 0.1}});
        assert_eq!(activation("a", &value, KerasVersion::Three).unwrap(), Activation::LeakyRelu { slope: 0.1 });
    }
}
