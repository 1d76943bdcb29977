//! Row after row of a batch: its score, and why where that is beyond the threshold.

use arrow::array::RecordBatch;

use crate::scoring::detector::{CHUNK_ROWS, Detector, FeatureShare};
use crate::scoring::history::History;
use crate::scoring::look_back::Gather;

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
