//! The threshold: a percentile of the scores that the finished model gives the validation rows, by the kernel that will score.

use std::sync::Arc;

use serde::Serialize;

use crate::models::model::Model;
use crate::scoring::detector::Detector;
use crate::training::dataset::Dataset;
use crate::training::error::TrainingError;
use crate::training::order::percentile;
use crate::training::store::Rows;
use crate::training::train::{News, Watch};

const READ_ROWS: u64 = 4096;
/// 128 MiB of them.
const SCORES_IN_MEMORY: u64 = 1 << 24;

/// How the threshold was found, and what it means.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Calibration {
    pub percentile: f64,
    pub threshold: f64,
    /// Of the validation rows' scores.
    pub validation_scores: Distribution,
    /// The share of rows whose score is above the threshold.
    pub validation_share_above: f64,
    pub training_share_above: f64,
}

/// Percentiles of scores.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Distribution {
    pub mean: f64,
    pub least: f64,
    pub p50: f64,
    pub p90: f64,
    pub p95: f64,
    pub p99: f64,
    pub p999: f64,
    pub greatest: f64,
}

/// `model` is whole but for its threshold.
pub(super) fn calibrate(
    model: &Model,
    data: &mut Dataset,
    percent: f64,
    watch: &mut Watch<'_>,
) -> Result<Calibration, TrainingError> {
    let mut detector = Detector::new(Arc::new(model.clone()));
    let mut scores = Rows::new(1, SCORES_IN_MEMORY);
    let mut sum = 0.0;
    each_score(&mut detector, &mut data.validation, watch, |score| {
        if !score.is_finite() {
            return Ok(());
        }
        sum += score;
        // A mean of squares is not negative, so that its bits are in its order.
        scores.push(&[score.to_bits() as i64])
    })?;
    if scores.len() == 0 {
        return Err(TrainingError::Unscored);
    }
    let threshold = percentile(&mut scores, percent)?;
    let mut at = |percent| percentile(&mut scores, percent);
    let validation_scores = Distribution {
        mean: 0.0,
        least: at(0.0)?,
        p50: at(50.0)?,
        p90: at(90.0)?,
        p95: at(95.0)?,
        p99: at(99.0)?,
        p999: at(99.9)?,
        greatest: at(100.0)?,
    };
    let mean = sum / scores.len() as f64;
    let mut share = |rows: &mut Rows<f64>| {
        let mut above = 0u64;
        each_score(&mut detector, rows, watch, |score| {
            above += u64::from(score > threshold);
            Ok(())
        })?;
        Ok::<f64, TrainingError>(above as f64 / rows.len() as f64)
    };
    Ok(Calibration {
        percentile: percent,
        threshold,
        validation_share_above: share(&mut data.validation)?,
        training_share_above: share(&mut data.training)?,
        validation_scores: Distribution { mean, ..validation_scores },
    })
}

fn each_score(
    detector: &mut Detector,
    rows: &mut Rows<f64>,
    watch: &mut Watch<'_>,
    mut each: impl FnMut(f64) -> Result<(), TrainingError>,
) -> Result<(), TrainingError> {
    let mut raw = Vec::new();
    for from in (0..rows.len()).step_by(READ_ROWS as usize) {
        raw.clear();
        rows.read(from, READ_ROWS, &mut raw)?;
        for score in detector.score(&raw) {
            each(score)?;
        }
        watch.tell(News::Scored { rows: (from + READ_ROWS).min(rows.len()) })?;
    }
    Ok(())
}
