//! The centres of clusters of normal rows.

use crate::models::array::{Array, ArrayFault, Arrays, Values};

const CENTERS: &str = "centers";

/// Points in the space of the scaled features. A cluster's id is the place of its centre.
///
/// Invariant: at least one, all finite.
#[derive(Clone, Debug, PartialEq)]
pub struct Centers {
    features: usize,
    /// One centre after the other.
    values: Vec<f64>,
}

impl Centers {
    /// `values` holds one centre of `features` numbers after the other.
    pub fn new(features: usize, values: Vec<f64>) -> Result<Centers, ArrayFault> {
        if features == 0 || values.is_empty() || !values.len().is_multiple_of(features) {
            let wanted = format!("[centers, {features}]");
            return Err(ArrayFault::Shape { name: CENTERS.to_owned(), found: vec![values.len()], wanted });
        }
        if !values.iter().all(|value| value.is_finite()) {
            return Err(ArrayFault::NotFinite { name: CENTERS.to_owned() });
        }
        Ok(Centers { features, values })
    }

    pub fn features(&self) -> usize {
        self.features
    }

    /// Each centre.
    pub fn iter(&self) -> std::slice::ChunksExact<'_, f64> {
        self.values.chunks_exact(self.features)
    }

    pub(crate) fn of_arrays(arrays: &mut Arrays) -> Result<Centers, ArrayFault> {
        let array = arrays.remove(CENTERS).ok_or_else(|| ArrayFault::Missing { name: CENTERS.to_owned() })?;
        match (array.shape.as_slice(), array.values) {
            ([_, features], Values::F64(values)) => Centers::new(*features, values),
            (_, Values::F64(_)) => {
                let wanted = "two axes".to_owned();
                Err(ArrayFault::Shape { name: CENTERS.to_owned(), found: array.shape, wanted })
            }
            (_, other) => Err(ArrayFault::Type { name: CENTERS.to_owned(), found: other.type_name(), wanted: "F64" }),
        }
    }

    pub(crate) fn arrays(&self) -> Arrays {
        let rows = self.values.len() / self.features;
        [(CENTERS.to_owned(), Array::matrix(rows, self.features, self.values.clone()))].into()
    }
}
