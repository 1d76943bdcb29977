//! What the training rows say of the features: what stands for a missing value, the curves of transforms, the scaler.
//!
//! Promise: nothing but the training rows is looked at.

use crate::models::features::Feature;
use crate::models::preparation::Preparation;
use crate::models::transform::Transform;
use crate::training::error::TrainingError;
use crate::training::normal::quantile;
use crate::training::samples::evenly;
use crate::training::spec::{FeatureSpec, TrainingSpec, TransformSpec};
use crate::training::statistics::Statistics;
use crate::training::store::Rows;

const READ_ROWS: u64 = 4096;
/// Rows that a quantile curve is made of, evenly spread over all.
const CURVE_ROWS: u64 = 20_000;
/// Points of a quantile curve.
const CURVE_POINTS: usize = 1000;
/// The least and the greatest value are taken for this far from the ends of the distribution.
const CURVE_END: f64 = 1e-4;

/// Fits everything that stands between a raw row and the model.
pub(super) fn preparation(
    spec: &TrainingSpec,
    wanted: &[FeatureSpec],
    rows: &mut Rows<f64>,
) -> Result<Preparation, TrainingError> {
    let raw = statistics(rows, |_| {})?;
    let mut features = Vec::with_capacity(wanted.len());
    for (wanted, column) in wanted.iter().zip(raw.columns()) {
        if column.count() == 0 {
            return Err(TrainingError::FeatureWithoutValues { feature: wanted.name.clone() });
        }
        if ![column.mean(), column.deviation(), column.range()].iter().all(|number| number.is_finite()) {
            return Err(TrainingError::FeatureRange { feature: wanted.name.clone() });
        }
        features.push(Feature {
            name: wanted.name.clone(),
            derivation: wanted.derivation.clone(),
            default: column.mean(),
            ..Feature::of_field(&wanted.field)
        });
    }
    let transforms = |wanted: &FeatureSpec| wanted.transforms.clone().unwrap_or_else(|| spec.transforms.clone());
    let wanted: Vec<Vec<TransformSpec>> = wanted.iter().map(transforms).collect();
    if wanted.iter().all(Vec::is_empty) {
        return Ok(Preparation::new(features, raw.scaler(spec.scaling, spec.deviation_floor)));
    }
    let sample = sample(rows, CURVE_ROWS)?;
    for (place, (feature, wanted)) in features.iter_mut().zip(&wanted).enumerate() {
        for transform in wanted {
            let seen = sample.chunks_exact(rows.width()).map(|row| row[place]).filter(|value| value.is_finite());
            let transform = fitted(*transform, seen.map(|value| feature.transformed(value)).collect());
            feature.transforms.extend(transform);
        }
    }
    let transformed = statistics(rows, |row| {
        let present = row.iter_mut().zip(&features).filter(|(value, _)| value.is_finite());
        present.for_each(|(value, feature)| *value = feature.transformed(*value));
    })?;
    Ok(Preparation::new(features, transformed.scaler(spec.scaling, spec.deviation_floor)))
}

fn statistics(rows: &mut Rows<f64>, change: impl Fn(&mut [f64])) -> Result<Statistics, TrainingError> {
    let mut statistics = Statistics::new(rows.width());
    let mut values = Vec::new();
    for from in (0..rows.len()).step_by(READ_ROWS as usize) {
        values.clear();
        rows.read(from, READ_ROWS, &mut values)?;
        for row in values.chunks_exact_mut(rows.width()) {
            change(row);
            statistics.add(row);
        }
    }
    Ok(statistics)
}

/// Up to `count` rows, evenly spread over all of them.
fn sample(rows: &mut Rows<f64>, count: u64) -> Result<Vec<f64>, TrainingError> {
    let taken = count.min(rows.len());
    let mut values = Vec::with_capacity(taken as usize * rows.width());
    for index in 0..taken {
        rows.read(evenly(index, taken, rows.len()), 1, &mut values)?;
    }
    Ok(values)
}

/// The transforms that need to have seen nothing.
pub(super) fn fixed(specs: &[TransformSpec]) -> Vec<Transform> {
    specs.iter().filter_map(|spec| fitted(*spec, Vec::new())).collect()
}

/// A transform that has seen `values`; none where it would do nothing.
fn fitted(spec: TransformSpec, values: Vec<f64>) -> Option<Transform> {
    match spec {
        TransformSpec::Log1p => Some(Transform::Log1p),
        TransformSpec::SignedLog => Some(Transform::SignedLog),
        TransformSpec::Clip { low, high } => Some(Transform::Clip { low, high }),
        TransformSpec::Quantile => curve(values),
    }
}

/// The curve from values to where a normal distribution has them; none where all are equal. Of equal values the middle place counts.
fn curve(mut values: Vec<f64>) -> Option<Transform> {
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    let points = CURVE_POINTS.min(values.len());
    let place = |point: usize| point * last / (points - 1).max(1);
    let mut x: Vec<f64> = (0..points).map(|point| values[place(point)]).collect();
    x.dedup();
    let middle = |value: &f64| {
        let below = values.partition_point(|other| other < value);
        let above = values.partition_point(|other| other <= value);
        ((below + above) as f64 - 1.0) / 2.0 / last.max(1) as f64
    };
    let y: Vec<f64> = x.iter().map(|value| quantile(middle(value).clamp(CURVE_END, 1.0 - CURVE_END))).collect();
    // Near the ends, places that were held there are equal.
    let mut points: Vec<(f64, f64)> = x.into_iter().zip(y).collect();
    points.dedup_by(|next, kept| next.1 <= kept.1);
    let (x, y): (Vec<f64>, Vec<f64>) = points.into_iter().unzip();
    (x.len() >= 2).then_some(Transform::Quantile { x, y })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_curve_puts_the_median_at_zero_and_keeps_the_order() {
        let Some(curve) = curve((0..1001).map(|value| f64::from(value).powi(3)).collect()) else {
            panic!("it has one")
        };
        assert!(curve.apply(500f64.powi(3)).abs() < 1e-9);
        assert!((curve.apply(841f64.powi(3)) - 1.0).abs() < 0.01, "{}", curve.apply(841f64.powi(3)));
        assert!(curve.apply(-1.0) < -3.0 && curve.apply(1e12) > 3.0);
    }

    #[test]
    fn a_feature_that_is_always_the_same_has_no_curve() {
        assert_eq!(curve(vec![2.0; 100]), None);
    }
}
