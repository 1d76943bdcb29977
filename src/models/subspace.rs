//! Principal components of normal rows, and the three ways to say how far a row is from where they lie.

use serde::{Deserialize, Serialize};

use crate::models::array::{Array, ArrayFault, Arrays, Values, take_list, take_matrix};
use crate::models::estimator::EstimatorFault;

/// How far a row is. With `z` the scaled row less the mean, `P` the components and `L` the variances along them:
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubspaceMeasure {
    /// `|z - P P'z|^2 / features`: what the components do not explain (the squared prediction error, Q, as a mean).
    Reconstruction,
    /// `z'P L^-1 P'z`: how unusual the explained part is (Hotelling's T2).
    T2,
    /// `T2 + |z - P P'z|^2 / noise`: both, as probabilistic PCA weighs them (Tipping and Bishop, 1999); the Mahalanobis distance, squared.
    Mahalanobis,
}

/// The place of normal rows in the space of the scaled features.
///
/// Invariant: there is a component at least, variances and noise are finite and above zero.
#[derive(Clone, Debug, PartialEq)]
pub struct Subspace {
    measure: SubspaceMeasure,
    mean: Vec<f64>,
    /// One direction of length 1 after the other, that of the greatest variance first.
    components: Vec<f64>,
    variances: Vec<f64>,
    noise: f64,
}

impl Subspace {
    /// `components` holds a direction after the other, as many as there are variances. `noise` is the mean variance along the directions
    /// that are left.
    pub fn new(
        measure: SubspaceMeasure,
        mean: Vec<f64>,
        components: Vec<f64>,
        variances: Vec<f64>,
        noise: f64,
    ) -> Result<Subspace, EstimatorFault> {
        let is_variance = |value: f64| value.is_finite() && value > 0.0;
        if !variances.iter().copied().chain([noise]).all(is_variance) {
            return Err(EstimatorFault::Variance);
        }
        if mean.is_empty() || variances.is_empty() || components.len() != variances.len() * mean.len() {
            let (found, wanted) = (vec![components.len()], format!("[{}, {}]", variances.len(), mean.len()));
            return Err(ArrayFault::Shape { name: "components".to_owned(), found, wanted }.into());
        }
        if !components.iter().chain(&mean).all(|value| value.is_finite()) {
            return Err(ArrayFault::NotFinite { name: "components".to_owned() }.into());
        }
        Ok(Subspace { measure, mean, components, variances, noise })
    }

    pub fn features(&self) -> usize {
        self.mean.len()
    }

    pub fn measure(&self) -> SubspaceMeasure {
        self.measure
    }

    pub fn noise(&self) -> f64 {
        self.noise
    }

    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// The matrix `M` of the measure, row after row: the score is `z'Mz`. It is symmetric and has no negative eigenvalue.
    pub fn form(&self) -> Vec<f64> {
        let width = self.features();
        let scale = match self.measure {
            SubspaceMeasure::Reconstruction => 1.0 / width as f64,
            SubspaceMeasure::T2 => 0.0,
            SubspaceMeasure::Mahalanobis => 1.0 / self.noise,
        };
        let mut form = vec![0.0; width * width];
        (0..width).for_each(|place| form[place * width + place] = scale);
        for (direction, variance) in self.components.chunks_exact(width).zip(&self.variances) {
            let weight = match self.measure {
                SubspaceMeasure::Reconstruction => -scale,
                SubspaceMeasure::T2 => 1.0 / variance,
                SubspaceMeasure::Mahalanobis => 1.0 / variance - scale,
            };
            for (row, a) in form.chunks_exact_mut(width).zip(direction) {
                row.iter_mut().zip(direction).for_each(|(cell, b)| *cell += weight * a * b);
            }
        }
        form
    }

    pub(crate) fn of_arrays(
        measure: SubspaceMeasure,
        noise: f64,
        arrays: &mut Arrays,
    ) -> Result<Subspace, EstimatorFault> {
        let features = arrays.get("mean").map_or(0, |mean| mean.shape.iter().product());
        let components = take_matrix(arrays, "components", features)?;
        let mean = take_list(arrays, "mean", features)?;
        let variances = take_list(arrays, "variances", components.len() / features.max(1))?;
        Subspace::new(measure, mean, components, variances, noise)
    }

    pub(crate) fn arrays(&self) -> Arrays {
        let components = Array::matrix(self.variances.len(), self.features(), self.components.clone());
        [
            ("components".to_owned(), components),
            ("mean".to_owned(), Array::list(Values::F64(self.mean.clone()))),
            ("variances".to_owned(), Array::list(Values::F64(self.variances.clone()))),
        ]
        .into()
    }
}
