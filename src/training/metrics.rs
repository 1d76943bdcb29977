//! How well scores tell anomalies from the normal: ranking, and flags at a threshold.
//!
//! Promise: rows of one score are one step of every curve, so that their order cannot show; counts are exact whole numbers.

use serde::Serialize;

/// A row with its score and what it truly is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judged {
    pub score: f64,
    pub is_anomaly: bool,
}

/// Judged rows by descending score.
#[derive(Clone, Debug)]
pub struct Ranking {
    rows: Vec<Judged>,
    threshold: f64,
}

/// Flags against the truth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Confusion {
    pub true_positives: u64,
    pub false_positives: u64,
    pub false_negatives: u64,
    pub true_negatives: u64,
}

/// The measures of one detector. What would divide by nothing is none.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Measures {
    /// Of the receiver operating characteristic: the chance that an anomaly scores above a normal row, ties counted half.
    pub auc: Option<f64>,
    /// The mean of precision over recall, step by step, without interpolation.
    pub average_precision: Option<f64>,
    /// The greatest share of anomalies found at a threshold that flags at most 1 % of the normal rows.
    pub tpr_at_1_percent_fpr: Option<f64>,
    pub tpr_at_01_percent_fpr: Option<f64>,
    pub precision: Option<f64>,
    pub recall: Option<f64>,
    pub f1: Option<f64>,
}

impl Ranking {
    /// Scores are finite. A row is flagged if its score is above the threshold.
    pub fn new(mut rows: Vec<Judged>, threshold: f64) -> Ranking {
        rows.sort_unstable_by(|a, b| b.score.total_cmp(&a.score));
        Ranking { rows, threshold }
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub fn measures(&self) -> Measures {
        self.weighted(|_| 1).0
    }

    pub fn confusion(&self) -> Confusion {
        self.weighted(|_| 1).1
    }

    /// Where row `place` counts as often as `weight` says.
    pub(super) fn weighted(&self, mut weight: impl FnMut(usize) -> u64) -> (Measures, Confusion) {
        let mut steps: Vec<Step> = Vec::new();
        let mut flagged = Step::default();
        for (place, row) in self.rows.iter().enumerate() {
            let is_new = place == 0 || self.rows[place - 1].score > row.score;
            if is_new {
                steps.push(Step::default());
            }
            let weight = weight(place);
            if let Some(step) = steps.last_mut() {
                step.add(row.is_anomaly, weight);
            }
            if row.score > self.threshold {
                flagged.add(row.is_anomaly, weight);
            }
        }
        let mut all = Step::default();
        steps.iter().for_each(|step| {
            all = Step { anomalies: all.anomalies + step.anomalies, normal: all.normal + step.normal }
        });
        let confusion = Confusion {
            true_positives: flagged.anomalies,
            false_positives: flagged.normal,
            false_negatives: all.anomalies - flagged.anomalies,
            true_negatives: all.normal - flagged.normal,
        };
        (measures(&steps, all, confusion), confusion)
    }
}

/// Rows of one score.
#[derive(Clone, Copy, Debug, Default)]
struct Step {
    anomalies: u64,
    normal: u64,
}

impl Step {
    fn add(&mut self, is_anomaly: bool, weight: u64) {
        if is_anomaly {
            self.anomalies += weight;
        } else {
            self.normal += weight;
        }
    }
}

fn measures(steps: &[Step], all: Step, confusion: Confusion) -> Measures {
    // Twice the pairs in which the anomaly scores higher, so that ties are whole.
    let mut pairs = 0u128;
    let mut precision_over_recall = 0.0;
    // For a share of one in so many normal rows.
    let mut found = [(100u64, 0u64), (1000, 0)];
    let mut above = Step::default();
    for step in steps {
        above.anomalies += step.anomalies;
        above.normal += step.normal;
        let below = u128::from(all.normal - above.normal);
        pairs += u128::from(step.anomalies) * (2 * below + u128::from(step.normal));
        if step.anomalies > 0 {
            let precision = above.anomalies as f64 / (above.anomalies + above.normal) as f64;
            precision_over_recall += step.anomalies as f64 * precision;
        }
        for (one_in, found) in &mut found {
            if u128::from(above.normal) * u128::from(*one_in) <= u128::from(all.normal) {
                *found = above.anomalies;
            }
        }
    }
    let both = u128::from(all.anomalies) * u128::from(all.normal);
    let share = |part: f64, whole: f64| (whole > 0.0).then(|| part / whole);
    let rate = |found: u64| share(found as f64, all.anomalies as f64).filter(|_| all.normal > 0);
    let Confusion { true_positives, false_positives, false_negatives, .. } = confusion;
    let hits = true_positives as f64;
    Measures {
        auc: share(pairs as f64, 2.0 * both as f64),
        average_precision: share(precision_over_recall, all.anomalies as f64),
        tpr_at_1_percent_fpr: rate(found[0].1),
        tpr_at_01_percent_fpr: rate(found[1].1),
        precision: share(hits, hits + false_positives as f64),
        recall: share(hits, hits + false_negatives as f64),
        f1: share(2.0 * hits, 2.0 * hits + false_positives as f64 + false_negatives as f64),
    }
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
