//! How many deviations a value is from where earlier windows of its key lay. The score of a window is that of the feature that is
//! furthest off.

use crate::models::baseline::{Baseline, BaselineMethod};
use crate::models::features::Feature;
use crate::scoring::detector::FeatureShare;

/// The median absolute deviation of a normal distribution, and its mean one, are these parts of its deviation.
const MEDIAN_TO_DEVIATION: f64 = 1.482_602_218_505_602;
const MEAN_TO_DEVIATION: f64 = 1.253_314_137_315_500_1;
/// A value that never changed may move by this share of itself before it is a deviation off: a hair's breadth is rounding.
const ROUNDING: f64 = 1e-9;
/// Further off than this is not told apart.
const DEVIATIONS_MAX: f64 = 1e6;

/// A feature's earlier value, and when its window began.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Earlier {
    pub(super) start: i64,
    pub(super) value: f64,
}

/// Where a value was expected, and how far one deviation is.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Expected {
    middle: f64,
    deviation: f64,
}

/// A feature of a row, and how far it is from where it was expected; transformed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Distance {
    value: f64,
    middle: f64,
    /// How far it is off, and how far one deviation is, floors aside: above 0.
    pub(crate) off: f64,
    pub(crate) deviation: f64,
    /// In deviations, floors counted.
    deviations: f64,
}

/// What is said of a row that begins at `start`. `values` are its features', `earlier` those of windows before it, the newest first, both
/// transformed already.
pub(super) fn distances(
    baseline: &Baseline,
    start: i64,
    values: &[f64],
    earlier: &[Vec<Earlier>],
) -> Vec<Option<Distance>> {
    let of = |(place, value): (usize, &f64)| {
        let expected = if value.is_finite() { expected(baseline, start, &earlier[place]) } else { None };
        let Expected { middle, deviation } = expected?;
        let (value, off) = (*value, (value - middle).abs());
        let deviations = deviations(off, deviation, baseline.floors.get(place).copied());
        Some(Distance { value, middle, off, deviation, deviations })
    };
    values.iter().enumerate().map(of).collect()
}

/// How many deviations it is to what is `off` so far.
pub(crate) fn deviations(off: f64, deviation: f64, floor: Option<f64>) -> f64 {
    (off / deviation.max(floor.unwrap_or(0.0))).min(DEVIATIONS_MAX)
}

/// The score of a row, NaN where no feature has enough of a past, and why.
pub(super) fn explained(features: &[Feature], distances: &[Option<Distance>]) -> (f64, Vec<FeatureShare>) {
    let mut shares = Vec::with_capacity(features.len());
    let mut score = f64::NAN;
    for (place, (feature, distance)) in features.iter().zip(distances).enumerate() {
        let Some(Distance { value, middle, deviations, .. }) = *distance else { continue };
        score = score.max(deviations);
        let (value, expected) = (feature.restored(value), feature.restored(middle));
        shares.push(FeatureShare { feature: place, value, expected, share: deviations * deviations });
    }
    let total: f64 = shares.iter().map(|share| share.share).sum();
    shares.iter_mut().for_each(|share| share.share = if total > 0.0 { share.share / total } else { 0.0 });
    shares.sort_by(|a, b| b.share.total_cmp(&a.share).then(a.feature.cmp(&b.feature)));
    (score, shares)
}

fn expected(baseline: &Baseline, start: i64, earlier: &[Earlier]) -> Option<Expected> {
    let expected = match baseline.method {
        BaselineMethod::Ewma { half_life } if earlier.len() >= baseline.rows_min as usize => {
            weighted(earlier.iter().map(|one| one.value), libm::exp2(-1.0 / half_life))
        }
        // A tail is no distance from a middle.
        BaselineMethod::Ewma { .. } | BaselineMethod::Tail { .. } => return None,
        BaselineMethod::Robust => robust(earlier.iter().map(|one| one.value).collect(), baseline.rows_min)?,
        BaselineMethod::Profile { period_us, near_us } => {
            let is_near = |one: &&Earlier| {
                let off = (start - one.start).rem_euclid(period_us);
                off.min(period_us - off) <= near_us
            };
            // Windows of the hour before are no part of the profile, though they are near in time.
            let periods_back = |one: &&Earlier| start - one.start > near_us;
            let same = earlier.iter().filter(is_near).filter(periods_back);
            robust(same.map(|one| one.value).collect(), baseline.rows_min)?
        }
    };
    let least = (expected.middle.abs() * ROUNDING).max(f64::MIN_POSITIVE);
    Some(Expected { deviation: expected.deviation.max(least), ..expected })
}

/// The median and what the distances from it say; where half of the values are the median itself, the mean of the distances does.
fn robust(mut values: Vec<f64>, rows_min: u32) -> Option<Expected> {
    if values.len() < rows_min as usize {
        return None;
    }
    let middle = median(&mut values);
    let mut off: Vec<f64> = values.iter().map(|value| (value - middle).abs()).collect();
    // Sorted, so that the sum does not depend on the order in which values came.
    let median = median(&mut off);
    let mean = off.iter().sum::<f64>() / off.len() as f64;
    let deviation = if median > 0.0 { median * MEDIAN_TO_DEVIATION } else { mean * MEAN_TO_DEVIATION };
    Some(Expected { middle, deviation })
}

/// Sorts the values.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    if values.len().is_multiple_of(2) { (values[half - 1] + values[half]) / 2.0 } else { values[half] }
}

/// The weighted mean and deviation of values of which each weighs `decay` times as much as the one after it; the newest first.
fn weighted(values: impl Iterator<Item = f64> + Clone, decay: f64) -> Expected {
    let mut weights = 0.0;
    let (mut weight, mut sum) = (1.0, 0.0);
    for value in values.clone() {
        sum += weight * value;
        weights += weight;
        weight *= decay;
    }
    let middle = sum / weights;
    let (mut weight, mut squares) = (1.0, 0.0);
    for value in values {
        squares += weight * (value - middle) * (value - middle);
        weight *= decay;
    }
    Expected { middle, deviation: (squares / weights).sqrt() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000;

    fn earlier(values: &[f64]) -> Vec<Earlier> {
        let hours = values.iter().enumerate();
        hours.map(|(back, value)| Earlier { start: -HOUR * (back as i64 + 1), value: *value }).collect()
    }

    fn scored(method: BaselineMethod, value: f64, past: &[f64]) -> Option<f64> {
        with_floors(method, Vec::new(), value, past)
    }

    fn with_floors(method: BaselineMethod, floors: Vec<f64>, value: f64, past: &[f64]) -> Option<f64> {
        let baseline = Baseline { method, history: 100, every: 1, rows_min: 3, floors };
        let features = [Feature::of_field("a")];
        let distances = distances(&baseline, 0, &[value], &[earlier(past)]);
        Some(explained(&features, &distances).0).filter(|score| !score.is_nan())
    }

    #[test]
    fn a_robust_score_counts_deviations_from_the_median_and_one_outlier_does_not_move_it() {
        let past = [1.0, 2.0, 3.0, 4.0, 1000.0];
        // The median is 3, the distances are 2, 1, 0, 1, 997: their median is 1.
        assert_eq!(scored(BaselineMethod::Robust, 3.0 + 2.0 * MEDIAN_TO_DEVIATION, &past), Some(2.0));
        assert_eq!(scored(BaselineMethod::Robust, 3.0, &past[..2]), None, "two windows are too few");
    }

    #[test]
    fn what_never_changed_is_far_off_as_soon_as_it_does_but_not_for_rounding() {
        assert_eq!(scored(BaselineMethod::Robust, 6.0, &[5.0; 4]), Some(DEVIATIONS_MAX));
        assert!(scored(BaselineMethod::Robust, 5.0 + 1e-12, &[5.0; 4]).unwrap() < 1.0);
    }

    #[test]
    fn a_deviation_counts_as_its_floor_where_it_is_less_and_as_itself_where_it_is_more() {
        let score = |floor, past: &[f64]| with_floors(BaselineMethod::Robust, vec![floor], 8.0, past);
        assert_eq!(score(2.0, &[4.0; 5]), Some(2.0));
        let spread = [3.0, 4.0, 5.0, 4.0, 3.0];
        assert_eq!(score(0.5, &spread), scored(BaselineMethod::Robust, 8.0, &spread));
    }

    #[test]
    fn the_newest_windows_weigh_most() {
        let ewma = BaselineMethod::Ewma { half_life: 1.0 };
        let [rising, falling] = [[9.0, 1.0, 1.0], [1.0, 9.0, 9.0]].map(|past| scored(ewma, 9.0, &past).unwrap());
        assert!(rising < falling, "{rising} {falling}");
    }

    #[test]
    fn a_profile_compares_with_the_same_hour_of_other_days() {
        // Warm at noon of each day, cold at all other hours.
        let past: Vec<f64> = (1..=120).map(|back| if back % 24 == 0 { 30.0 } else { 10.0 }).collect();
        let profile = BaselineMethod::Profile { period_us: 24 * HOUR, near_us: 0 };
        assert_eq!(scored(profile, 30.0, &past), Some(0.0));
        assert_eq!(scored(profile, 10.0, &past), Some(DEVIATIONS_MAX));
    }

    #[test]
    fn the_feature_that_is_furthest_off_is_named_first_in_its_own_units() {
        let (method, floors) = (BaselineMethod::Robust, Vec::new());
        let baseline = Baseline { method, history: 10, every: 1, rows_min: 3, floors };
        let features = [Feature::of_field("a"), Feature::of_field("b")];
        let past = [earlier(&[1.0, 2.0, 3.0]), earlier(&[10.0, 20.0, 30.0])];
        let (_, why) = explained(&features, &distances(&baseline, 0, &[2.5, 90.0], &past));
        assert_eq!((why[0].feature, why[0].value, why[0].expected), (1, 90.0, 20.0));
    }
}
