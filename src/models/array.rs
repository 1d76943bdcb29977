//! Numbers of a model by name, as `weights.safetensors` holds them.

use std::collections::BTreeMap;

use crate::models::network::{Tensor, Tensors};

/// Values in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    pub shape: Vec<usize>,
    pub values: Values,
}

/// Numbers of one type.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    F32(Vec<f32>),
    F64(Vec<f64>),
    I32(Vec<i32>),
}

/// The arrays of a model, each with its name.
pub type Arrays = BTreeMap<String, Array>;

/// Why arrays are not what a kind of model needs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArrayFault {
    #[error("there is no array `{name}`")]
    Missing { name: String },
    #[error("the array `{name}` is of type {found}, not {wanted}")]
    Type { name: String, found: &'static str, wanted: &'static str },
    #[error("the array `{name}` has the shape {found:?}, and {wanted} is needed")]
    Shape { name: String, found: Vec<usize>, wanted: String },
    #[error("the array `{name}` belongs to nothing")]
    Unknown { name: String },
    #[error("the array `{name}` holds a value that is not finite")]
    NotFinite { name: String },
}

impl Values {
    /// The type's name, as safetensors has it.
    pub fn type_name(&self) -> &'static str {
        match self {
            Values::F32(_) => "F32",
            Values::F64(_) => "F64",
            Values::I32(_) => "I32",
        }
    }

    /// As they lie in a file, the least byte of each first.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        match self {
            Values::F32(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Values::F64(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Values::I32(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        }
    }
}

impl Array {
    /// A list of numbers.
    pub fn list(values: Values) -> Array {
        let length = match &values {
            Values::F32(values) => values.len(),
            Values::F64(values) => values.len(),
            Values::I32(values) => values.len(),
        };
        Array { shape: vec![length], values }
    }

    /// A matrix, a row for each of the first axis.
    pub fn matrix(rows: usize, columns: usize, values: Vec<f64>) -> Array {
        Array { shape: vec![rows, columns], values: Values::F64(values) }
    }
}

/// Takes finite numbers of a matrix of `columns` columns out of `arrays`.
pub(crate) fn take_matrix(arrays: &mut Arrays, name: &str, columns: usize) -> Result<Vec<f64>, ArrayFault> {
    let wanted = format!("[rows, {columns}]");
    take_f64(arrays, name, |shape| matches!(shape, [rows, found] if *rows > 0 && *found == columns), &wanted)
}

/// Takes a list of `length` finite numbers out of `arrays`.
pub(crate) fn take_list(arrays: &mut Arrays, name: &str, length: usize) -> Result<Vec<f64>, ArrayFault> {
    take_f64(arrays, name, |shape| *shape == [length], &format!("[{length}]"))
}

/// Takes a list of any length out of `arrays`.
pub(crate) fn take_any_list(arrays: &mut Arrays, name: &str) -> Result<Vec<f64>, ArrayFault> {
    take_f64(arrays, name, |shape| shape.len() == 1, "one axis")
}

fn take_f64(
    arrays: &mut Arrays,
    name: &str,
    fits: impl Fn(&[usize]) -> bool,
    wanted: &str,
) -> Result<Vec<f64>, ArrayFault> {
    let array = take(arrays, name, fits, wanted)?;
    let Values::F64(values) = array.values else {
        return Err(ArrayFault::Type { name: name.to_owned(), found: array.values.type_name(), wanted: "F64" });
    };
    if values.iter().all(|value| value.is_finite()) {
        Ok(values)
    } else {
        Err(ArrayFault::NotFinite { name: name.to_owned() })
    }
}

/// Takes a list of whole numbers out of `arrays`.
pub(crate) fn take_integers(arrays: &mut Arrays, name: &str) -> Result<Vec<i32>, ArrayFault> {
    let array = take(arrays, name, |shape| shape.len() == 1, "one axis")?;
    match array.values {
        Values::I32(values) => Ok(values),
        other => Err(ArrayFault::Type { name: name.to_owned(), found: other.type_name(), wanted: "I32" }),
    }
}

fn take(arrays: &mut Arrays, name: &str, fits: impl Fn(&[usize]) -> bool, wanted: &str) -> Result<Array, ArrayFault> {
    let array = arrays.remove(name).ok_or_else(|| ArrayFault::Missing { name: name.to_owned() })?;
    if !fits(&array.shape) {
        let wanted = wanted.to_owned();
        return Err(ArrayFault::Shape { name: name.to_owned(), found: array.shape, wanted });
    }
    Ok(array)
}

/// Refuses what nothing took.
pub(crate) fn refuse_rest(arrays: &Arrays) -> Result<(), ArrayFault> {
    match arrays.keys().next() {
        Some(name) => Err(ArrayFault::Unknown { name: name.clone() }),
        None => Ok(()),
    }
}

/// All arrays as a network's tensors, which are F32.
pub(crate) fn tensors(arrays: Arrays) -> Result<Tensors, ArrayFault> {
    let tensor = |(name, array): (String, Array)| match array.values {
        Values::F32(values) => Ok((name, Tensor { shape: array.shape, values })),
        other => Err(ArrayFault::Type { name, found: other.type_name(), wanted: "F32" }),
    };
    arrays.into_iter().map(tensor).collect()
}

/// A network's tensors as arrays.
pub(crate) fn of_tensors(tensors: &Tensors) -> Arrays {
    let array = |tensor: &Tensor| Array { shape: tensor.shape.clone(), values: Values::F32(tensor.values.clone()) };
    tensors.iter().map(|(name, tensor)| (name.clone(), array(tensor))).collect()
}
