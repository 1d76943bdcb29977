//! Principal components: the eigenvectors of the covariance of the training rows.

use nalgebra::DMatrix;

use crate::models::estimator::Estimator;
use crate::models::subspace::{Subspace, SubspaceMeasure};
use crate::training::dataset::Dataset;
use crate::training::error::TrainingError;
use crate::training::fit::each_prepared;
use crate::training::spec::Components;

/// Below this share of the mean variance a direction counts as having so much: rows never differ in it, and a hair's breadth there
/// would else outweigh everything.
const VARIANCE_FLOOR: f64 = 1e-6;

pub(super) fn fit(
    measure: SubspaceMeasure,
    components: Components,
    variance_floor: f64,
    data: &mut Dataset,
) -> Result<Estimator, TrainingError> {
    let width = data.training.width();
    let rows = data.training.len() as f64;
    let mut mean = vec![0.0; width];
    each_prepared(&data.preparation, &mut data.training, |row| {
        mean.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value) / rows);
    })?;
    let mut covariance = DMatrix::<f64>::zeros(width, width);
    let mut off = vec![0.0; width];
    each_prepared(&data.preparation, &mut data.training, |row| {
        off.iter_mut().zip(row.iter().zip(&mean)).for_each(|(off, (value, mean))| *off = f64::from(*value) - mean);
        for (column, a) in off.iter().enumerate() {
            let cells = covariance.column_mut(column);
            cells.into_iter().zip(&off).take(column + 1).for_each(|(cell, b)| *cell += a * b / rows);
        }
    })?;
    covariance.fill_lower_triangle_with_upper_triangle();
    let eigen = covariance.symmetric_eigen();
    let mut order: Vec<usize> = (0..width).collect();
    order.sort_by(|a, b| eigen.eigenvalues[*b].total_cmp(&eigen.eigenvalues[*a]).then(a.cmp(b)));
    let total: f64 = eigen.eigenvalues.iter().map(|variance| variance.max(0.0)).sum();
    let floor = (total / width as f64 * VARIANCE_FLOOR).max(variance_floor).max(f64::MIN_POSITIVE);
    let variances: Vec<f64> = order.iter().map(|place| eigen.eigenvalues[*place].max(floor)).collect();
    let kept = kept(components, &variances);
    let left = &variances[kept..];
    let noise = if left.is_empty() { floor } else { left.iter().sum::<f64>() / left.len() as f64 };
    let directions =
        order[..kept].iter().flat_map(|place| eigen.eigenvectors.column(*place).iter().copied().collect::<Vec<_>>());
    let subspace = Subspace::new(measure, mean, directions.collect(), variances[..kept].to_vec(), noise)?;
    Ok(Estimator::Pca(subspace))
}

/// One at least.
fn kept(components: Components, variances: &[f64]) -> usize {
    match components {
        Components::Count(count) => count.clamp(1, variances.len()),
        Components::Share(share) => {
            let total: f64 = variances.iter().sum();
            let mut sum = 0.0;
            let reaches = |variance: &f64| {
                sum += variance;
                sum >= share * total
            };
            variances.iter().position(reaches).map_or(variances.len(), |place| place + 1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_components_are_kept_as_explain_the_share() {
        let variances = [5.0, 3.0, 1.0, 1.0];
        assert_eq!([0.5, 0.51, 0.8, 0.99].map(|share| kept(Components::Share(share), &variances)), [1, 2, 2, 4]);
        assert_eq!([0, 3, 9].map(|count| kept(Components::Count(count), &variances)), [1, 3, 4]);
    }
}
