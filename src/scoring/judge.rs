//! Row after row of a batch: its score, and why where that is beyond the threshold.

use arrow::array::RecordBatch;

use crate::models::baseline::Baseline;
use crate::models::features::Feature;
use crate::scoring::baseline;
use crate::scoring::columns::FeatureColumn;
use crate::scoring::detector::{CHUNK_ROWS, Detector, FeatureShare};
use crate::scoring::history::History;
use crate::scoring::look_back::{Gather, earlier, starts};

/// What is said of one row. A score that is not finite is none.
pub(super) struct Judged {
    pub(super) score: f64,
    /// Where the score is beyond the threshold.
    pub(super) why: Option<Vec<FeatureShare>>,
}

/// Rows for a model, alone or as the last steps of sequences.
pub(super) struct Rows<'a> {
    pub(super) batch: &'a RecordBatch,
    pub(super) gather: &'a Gather,
    pub(super) history: Option<&'a History>,
    pub(super) threshold: f64,
}

impl Rows<'_> {
    pub(super) fn each(
        &self,
        detector: &mut Detector,
        judged: &mut Vec<Judged>,
        clusters: &mut Option<Vec<Option<i32>>>,
    ) {
        let rows = self.batch.num_rows();
        for from in (0..rows).step_by(CHUNK_ROWS) {
            let count = CHUNK_ROWS.min(rows - from);
            let whole = self.gather.fill(self.batch, (from, count), self.history, detector.chunk(count));
            let scores = detector.run().to_vec();
            for (row, (score, is_whole)) in scores.into_iter().zip(whole).enumerate() {
                let score = if is_whole { score } else { f64::NAN };
                let why = (score > self.threshold).then(|| detector.explain(row));
                judged.push(Judged { score, why });
                if let Some(clusters) = clusters {
                    // A model has far fewer clusters than 2^31; a row without a score belongs to none.
                    let cluster = detector.cluster(row).and_then(|cluster| i32::try_from(cluster).ok());
                    clusters.push(cluster.filter(|_| score.is_finite()));
                }
            }
        }
    }
}

/// Rows that are compared with earlier ones of their group.
pub(super) struct Baselined<'a> {
    pub(super) baseline: &'a Baseline,
    pub(super) batch: &'a RecordBatch,
    pub(super) columns: &'a [FeatureColumn],
    pub(super) features: &'a [Feature],
    pub(super) history: Option<&'a History>,
    pub(super) threshold: f64,
}

impl Baselined<'_> {
    pub(super) fn each(&self, judged: &mut Vec<Judged>) {
        let rows = self.batch.num_rows();
        let width = self.columns.len();
        let mut values = vec![f64::NAN; rows * width];
        for (feature, column) in self.columns.iter().enumerate() {
            column.read(self.batch, 0, values[feature..].iter_mut().step_by(width));
        }
        let Some(history) = self.history else {
            judged.extend((0..rows).map(|_| Judged { score: f64::NAN, why: None }));
            return;
        };
        let (groups, starts) = (history.groups(self.batch), starts(self.batch));
        for (row, values) in values.chunks_exact_mut(width).enumerate() {
            for (value, feature) in values.iter_mut().zip(self.features) {
                *value = if value.is_finite() { feature.transformed(*value) } else { f64::NAN };
            }
            let last = history.timing().last_final(starts[row]);
            let past = history.past(&groups, row, starts[row]);
            let earlier = earlier(self.columns, self.features, &past, last, i64::from(self.baseline.history));
            judged.push(match baseline::score(self.baseline, self.features, starts[row], values, &earlier) {
                Some((score, why)) => Judged { score, why: (score > self.threshold).then_some(why) },
                None => Judged { score: f64::NAN, why: None },
            });
        }
    }
}
