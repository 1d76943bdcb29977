//! A network's architecture and weights: a stack of layers that is known to fit together.
//!
//! Invariant: a `Network` was checked by `Network::new`: every layer accepts the shape the one before it gives, every weight has the
//! shape its layer needs, and every weight is finite.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::models::activation::Activation;

/// The greatest number of values a layer may give for one row: what keeps a damaged file from asking for all memory.
pub const LAYER_VALUES_MAX: usize = 1 << 18;

/// One layer, in the order of the stack. Weights are held in Keras' own layout: a kernel has a row per input and a column per unit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "layer", rename_all = "snake_case", deny_unknown_fields)]
pub enum Layer {
    /// Long short-term memory over the steps. Gates lie in the order input, forget, cell, output.
    Lstm {
        units: usize,
        /// Gives the state after each step, or after the last alone.
        return_sequences: bool,
        /// Takes the steps from the last to the first; what it gives is in the order it took them.
        go_backwards: bool,
        activation: Activation,
        recurrent_activation: Activation,
        bias: bool,
    },
    /// A dense layer over the last axis; the same for every step.
    Dense {
        units: usize,
        activation: Activation,
        bias: bool,
    },
    Activation {
        activation: Activation,
    },
    /// A factor and a shift for each unit: a batch normalisation after training.
    Affine,
    /// Does nothing once trained; kept for training on.
    Dropout {
        rate: f64,
    },
    /// Makes `times` equal steps of one vector.
    Repeat {
        times: usize,
    },
    /// The same values in the same order, in another shape.
    Reshape {
        shape: Vec<usize>,
    },
}

/// Values in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

/// The tensors of a network by name: `<index of the layer>.<name>`.
pub type Tensors = BTreeMap<String, Tensor>;

/// A stack of layers with their weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    input: Vec<usize>,
    layers: Vec<Layer>,
    /// The shape behind each layer.
    shapes: Vec<Vec<usize>>,
    tensors: Tensors,
}

/// Why layers and weights are not a network.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum NetworkFault {
    #[error("the input's shape {shape:?} is not of one or two axes of at least one value")]
    Input { shape: Vec<usize> },
    #[error("the network has no layers")]
    Empty,
    #[error("layer {index} ({kind}) cannot take the shape {shape:?}")]
    Shape { index: usize, kind: &'static str, shape: Vec<usize> },
    #[error("layer {index} ({kind}) has a parameter that is zero, too large, or not a number")]
    Parameter { index: usize, kind: &'static str },
    #[error("the weights have no tensor `{name}`")]
    TensorMissing { name: String },
    #[error("the tensor `{name}` has the shape {found:?}, and its layer needs {wanted:?}")]
    TensorShape { name: String, found: Vec<usize>, wanted: Vec<usize> },
    #[error("the tensor `{name}` belongs to no layer")]
    TensorUnknown { name: String },
    #[error("the tensor `{name}` holds a value that is not finite")]
    NotFinite { name: String },
}

impl Layer {
    /// The name in `model.json`.
    pub fn kind(&self) -> &'static str {
        match self {
            Layer::Lstm { .. } => "lstm",
            Layer::Dense { .. } => "dense",
            Layer::Activation { .. } => "activation",
            Layer::Affine => "affine",
            Layer::Dropout { .. } => "dropout",
            Layer::Repeat { .. } => "repeat",
            Layer::Reshape { .. } => "reshape",
        }
    }

    /// The shape this layer gives for one of `shape`, if it can take that at all.
    pub(crate) fn shape_after(&self, shape: &[usize]) -> Option<Vec<usize>> {
        let after = match (self, shape) {
            (Layer::Lstm { units, return_sequences: true, .. }, [steps, _]) => vec![*steps, *units],
            (Layer::Lstm { units, return_sequences: false, .. }, [_, _]) => vec![*units],
            (Layer::Lstm { .. }, _) => return None,
            (Layer::Dense { units, .. }, [before @ .., _]) => before.iter().copied().chain([*units]).collect(),
            (Layer::Repeat { times }, [width]) => vec![*times, *width],
            (Layer::Repeat { .. } | Layer::Dense { .. }, _) => return None,
            (Layer::Reshape { shape: to }, _) => {
                (values_of(to)? == values_of(shape)? && matches!(to.len(), 1 | 2)).then(|| to.clone())?
            }
            (Layer::Activation { .. } | Layer::Affine | Layer::Dropout { .. }, _) => shape.to_vec(),
        };
        values_of(&after).map(|_| after)
    }

    /// Whether the parameters mean something by themselves.
    fn is_sound(&self) -> bool {
        match self {
            Layer::Lstm { units, activation, recurrent_activation, .. } => {
                let soft = [*activation, *recurrent_activation].contains(&Activation::Softmax);
                (1..=1 << 14).contains(units) && activation.is_finite() && recurrent_activation.is_finite() && !soft
            }
            Layer::Dense { units, activation, .. } => (1..=1 << 20).contains(units) && activation.is_finite(),
            Layer::Activation { activation } => activation.is_finite(),
            Layer::Repeat { times } => *times > 0,
            Layer::Dropout { rate } => rate.is_finite(),
            Layer::Affine | Layer::Reshape { .. } => true,
        }
    }

    /// The tensors this layer needs for an input of `width` values a step.
    fn tensors(&self, width: usize) -> Vec<(&'static str, Vec<usize>)> {
        match self {
            Layer::Lstm { units, bias, .. } => {
                let mut wanted =
                    vec![("kernel", vec![width, 4 * units]), ("recurrent_kernel", vec![*units, 4 * units])];
                wanted.extend(bias.then(|| ("bias", vec![4 * units])));
                wanted
            }
            Layer::Dense { units, bias, .. } => {
                let mut wanted = vec![("kernel", vec![width, *units])];
                wanted.extend(bias.then(|| ("bias", vec![*units])));
                wanted
            }
            Layer::Affine => vec![("scale", vec![width]), ("shift", vec![width])],
            _ => Vec::new(),
        }
    }
}

/// How many values a shape holds, if that is at least one and within bounds.
fn values_of(shape: &[usize]) -> Option<usize> {
    let values = shape.iter().try_fold(1usize, |product, axis| product.checked_mul(*axis))?;
    (1..=LAYER_VALUES_MAX).contains(&values).then_some(values)
}

impl Network {
    pub fn new(input: Vec<usize>, layers: Vec<Layer>, tensors: Tensors) -> Result<Network, NetworkFault> {
        if !matches!(input.len(), 1 | 2) || values_of(&input).is_none() {
            return Err(NetworkFault::Input { shape: input });
        }
        if layers.is_empty() {
            return Err(NetworkFault::Empty);
        }
        let mut shapes = Vec::with_capacity(layers.len());
        let mut shape = input.clone();
        let mut known = 0;
        for (index, layer) in layers.iter().enumerate() {
            let kind = layer.kind();
            if !layer.is_sound() {
                return Err(NetworkFault::Parameter { index, kind });
            }
            let width = shape.last().copied().unwrap_or(1);
            for (name, wanted) in layer.tensors(width) {
                check_tensor(&tensors, format!("{index}.{name}"), wanted)?;
                known += 1;
            }
            shape =
                layer.shape_after(&shape).ok_or_else(|| NetworkFault::Shape { index, kind, shape: shape.clone() })?;
            shapes.push(shape.clone());
        }
        let network = Network { input, layers, shapes, tensors };
        if network.tensors.len() != known {
            let name = network.tensors.keys().find(|name| !network.wants(name)).cloned().unwrap_or_default();
            return Err(NetworkFault::TensorUnknown { name });
        }
        Ok(network)
    }

    fn wants(&self, name: &str) -> bool {
        self.layers.iter().enumerate().any(|(index, layer)| {
            layer.tensors(self.width_before(index)).iter().any(|(wanted, _)| name == format!("{index}.{wanted}"))
        })
    }

    /// The shape of one row's input.
    pub fn input(&self) -> &[usize] {
        &self.input
    }

    /// The shape of one row's output.
    pub fn output(&self) -> &[usize] {
        self.shapes.last().expect("a network has at least one layer")
    }

    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// The shape in front of a layer.
    pub fn shape_before(&self, index: usize) -> &[usize] {
        if index == 0 { &self.input } else { &self.shapes[index - 1] }
    }

    /// The length of the last axis in front of a layer.
    pub fn width_before(&self, index: usize) -> usize {
        self.shape_before(index).last().copied().expect("a checked shape has an axis")
    }

    /// A layer's tensor, if the layer has one of this name.
    pub fn tensor(&self, index: usize, name: &str) -> Option<&Tensor> {
        self.tensors.get(&format!("{index}.{name}"))
    }

    pub fn tensors(&self) -> &Tensors {
        &self.tensors
    }
}

fn check_tensor(tensors: &Tensors, name: String, wanted: Vec<usize>) -> Result<(), NetworkFault> {
    let Some(tensor) = tensors.get(&name) else {
        return Err(NetworkFault::TensorMissing { name });
    };
    if tensor.shape != wanted || tensor.values.len() != wanted.iter().product::<usize>() {
        return Err(NetworkFault::TensorShape { name, found: tensor.shape.clone(), wanted });
    }
    if tensor.values.iter().any(|value| !value.is_finite()) {
        return Err(NetworkFault::NotFinite { name });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(shape: &[usize]) -> Tensor {
        Tensor { shape: shape.to_vec(), values: vec![0.5; shape.iter().product()] }
    }

    fn dense(units: usize) -> Layer {
        Layer::Dense { units, activation: Activation::Linear, bias: false }
    }

    fn check(input: &[usize], layers: Vec<Layer>, tensors: &[(&str, &[usize])]) -> Result<Network, NetworkFault> {
        let tensors = tensors.iter().map(|(name, shape)| (name.to_string(), tensor(shape))).collect();
        Network::new(input.to_vec(), layers, tensors)
    }

    #[test]
    fn shapes_follow_through_the_stack() {
        let layers = vec![dense(2), Layer::Repeat { times: 3 }, dense(1), Layer::Reshape { shape: vec![3] }];
        let network = check(&[4], layers, &[("0.kernel", &[4, 2]), ("2.kernel", &[2, 1])]).unwrap();
        assert_eq!(network.shape_before(2), [3, 2]);
        assert_eq!(network.output(), [3]);
    }

    #[test]
    fn a_layer_that_cannot_take_its_input_is_named() {
        let fault = check(&[4], vec![Layer::Repeat { times: 2 }, Layer::Repeat { times: 2 }], &[]).unwrap_err();
        assert_eq!(fault, NetworkFault::Shape { index: 1, kind: "repeat", shape: vec![2, 4] });
    }

    #[test]
    fn a_tensor_that_is_missing_misshapen_or_unknown_is_named() {
        let missing = check(&[4], vec![dense(2)], &[]).unwrap_err();
        assert_eq!(missing, NetworkFault::TensorMissing { name: "0.kernel".into() });
        let misshapen = check(&[4], vec![dense(2)], &[("0.kernel", &[2, 4])]).unwrap_err();
        assert!(matches!(misshapen, NetworkFault::TensorShape { .. }));
        let unknown = check(&[4], vec![dense(2)], &[("0.kernel", &[4, 2]), ("0.bias", &[2])]).unwrap_err();
        assert_eq!(unknown, NetworkFault::TensorUnknown { name: "0.bias".into() });
    }

    #[test]
    fn a_weight_that_is_not_finite_is_refused() {
        let mut kernel = tensor(&[1, 1]);
        kernel.values[0] = f32::NAN;
        let fault = Network::new(vec![1], vec![dense(1)], [("0.kernel".to_string(), kernel)].into()).unwrap_err();
        assert_eq!(fault, NetworkFault::NotFinite { name: "0.kernel".into() });
    }

    #[test]
    fn shapes_beyond_all_memory_are_refused() {
        let layers = vec![Layer::Repeat { times: usize::MAX }];
        assert!(matches!(check(&[4], layers, &[]), Err(NetworkFault::Shape { .. })));
    }
}
