//! The threshold: read off the scores that the finished model gives the validation rows, by the code that will score.

use std::sync::Arc;

use serde::Serialize;

use crate::models::estimator::Estimator;
use crate::models::model::Model;
use crate::scoring::baseline::deviations;
use crate::scoring::detector::Detector;
use crate::training::dataset::Dataset;
use crate::training::error::TrainingError;
use crate::training::order::percentile;
use crate::training::samples::Samples;
use crate::training::spec::ThresholdRule;
use crate::training::store::Rows;
use crate::training::tail::Tail;
use crate::training::train::{News, Watch};

const READ_ROWS: u64 = 4096;
/// 128 MiB of them.
const SCORES_IN_MEMORY: u64 = 1 << 24;

/// How the threshold was found, and what it means.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Calibration {
    pub rule: ThresholdRule,
    pub threshold: f64,
    /// The share of normal rows that the rule lets be called anomalies.
    pub promised_share: f64,
    /// Of the validation rows' scores.
    pub validation_scores: Distribution,
    /// The share of rows whose score is above the threshold.
    pub validation_share_above: f64,
    pub training_share_above: f64,
    /// Of rows labelled as anomalies that were not trained on, where such rows were trained on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anomalous_share_above: Option<f64>,
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
    rule: ThresholdRule,
    watch: &mut Watch<'_>,
) -> Result<Calibration, TrainingError> {
    let mut detector = scores_of(model);
    let mut scores = Rows::new(1, SCORES_IN_MEMORY);
    let mut sum = 0.0;
    let all = data.validation.len();
    each_score(&mut *detector, &mut data.validation, all, watch, |score| {
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
    let promised_share = promised(rule, data);
    let threshold = threshold(rule, promised_share, &mut scores)?;
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
    let mut share = |samples: &mut Samples| {
        let (mut above, mut all) = (0u64, 0u64);
        each_score(&mut *detector, samples, shared(samples), watch, |score| {
            above += u64::from(score > threshold);
            all += 1;
            Ok(())
        })?;
        Ok::<f64, TrainingError>(above as f64 / all as f64)
    };
    Ok(Calibration {
        rule,
        threshold,
        promised_share,
        validation_share_above: share(&mut data.validation)?,
        training_share_above: share(&mut data.training)?,
        anomalous_share_above: data.anomalies.as_mut().map(|[_, validation]| share(validation)).transpose()?,
        validation_scores: Distribution { mean, ..validation_scores },
    })
}

const DAY_MICROS: f64 = 86_400e6;
/// Scores above this percentile are the tail.
const TAIL_PERCENT: f64 = 98.0;
/// Rows above a threshold from which their number says where it is; for fewer the tail is asked.
const ROWS_ABOVE_MIN: f64 = 10.0;

/// The share of the validation rows that a rule lets be above the threshold.
fn promised(rule: ThresholdRule, data: &Dataset) -> f64 {
    match rule {
        ThresholdRule::Percentile(percent) => 1.0 - percent / 100.0,
        ThresholdRule::Tail(share) => share,
        ThresholdRule::AlarmsPerDay(alarms) => {
            let [_, from, to] = data.span;
            // The first windows of the part have no sequence.
            let days = (to - from - data.sample_us).max(1) as f64 / DAY_MICROS;
            (alarms * days / data.validation.len() as f64).min(1.0)
        }
    }
}

/// `scores` are kept by their bits.
fn threshold(rule: ThresholdRule, promised: f64, scores: &mut Rows<i64>) -> Result<f64, TrainingError> {
    let is_far = match rule {
        ThresholdRule::Percentile(percent) => return percentile(scores, percent),
        ThresholdRule::Tail(_) => true,
        ThresholdRule::AlarmsPerDay(_) => promised * scores.len() as f64 <= ROWS_ABOVE_MIN,
    };
    // What lies in front of the tail is where it was counted, whatever was asked for.
    if !is_far || promised >= 1.0 - TAIL_PERCENT / 100.0 {
        return percentile(scores, 100.0 * (1.0 - promised));
    }
    let over = percentile(scores, TAIL_PERCENT)?;
    let (mut excesses, mut bits) = (Vec::new(), Vec::new());
    for from in (0..scores.len()).step_by(READ_ROWS as usize) {
        bits.clear();
        scores.read(from, READ_ROWS, &mut bits)?;
        let values = bits.iter().map(|bits| f64::from_bits(*bits as u64));
        excesses.extend(values.filter(|score| *score > over).map(|score| score - over));
    }
    let tail = Tail::of(over, &excesses, scores.len()).ok_or(TrainingError::Tail(scores.len()))?;
    Ok(tail.exceeded_by(promised))
}

/// Scores of rows of a dataset that lie one after the other.
type ScoresOf = dyn FnMut(&[f64]) -> Vec<f64>;

fn scores_of(model: &Model) -> Box<ScoresOf> {
    if let Estimator::Baseline(baseline) = model.estimator() {
        let (floors, features) = (baseline.floors.clone(), model.features().len());
        return Box::new(move |rows| rows.chunks_exact(2 * features).map(|row| furthest(row, &floors)).collect());
    }
    let mut detector = Detector::new(Arc::new(model.clone()));
    Box::new(move |rows| detector.score(rows))
}

/// The score of a row whose features are so far off, each followed by its deviation.
fn furthest(row: &[f64], floors: &[f64]) -> f64 {
    let (pairs, _) = row.as_chunks::<2>();
    let known = pairs.iter().enumerate().filter(|(_, [off, _])| !off.is_nan());
    let deviations = known.map(|(place, [off, deviation])| deviations(*off, *deviation, floors.get(place).copied()));
    deviations.fold(f64::NAN, f64::max)
}

/// Shares above the threshold are told of so many rows, evenly spread where there are more.
const SHARE_ROWS: u64 = 1 << 22;

fn shared(samples: &Samples) -> u64 {
    (SHARE_ROWS / samples.steps() as u64).clamp(1, samples.len())
}

/// The scores of `count` samples, evenly spread over all.
fn each_score(
    detector: &mut ScoresOf,
    samples: &mut Samples,
    count: u64,
    watch: &mut Watch<'_>,
    mut each: impl FnMut(f64) -> Result<(), TrainingError>,
) -> Result<(), TrainingError> {
    let mut raw = Vec::new();
    let together = (READ_ROWS / samples.steps() as u64).max(1);
    for from in (0..count).step_by(together as usize) {
        raw.clear();
        samples.read_of_spread(from, together, count, &mut raw)?;
        for score in detector(&raw) {
            each(score)?;
        }
        watch.tell(News::Scored { rows: (from + together).min(count), of: count })?;
    }
    Ok(())
}
