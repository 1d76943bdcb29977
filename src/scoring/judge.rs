//! Row after row of a batch: its score, and why where that is beyond the threshold.

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;

use crate::models::baseline::Baseline;
use crate::models::features::Feature;
use crate::scoring::baseline;
use crate::scoring::columns::FeatureColumn;
use crate::scoring::detector::{CHUNK_ROWS, Detector, FeatureShare};
use crate::scoring::history::History;
use crate::scoring::look_back::{earlier, fill_sequence};
use crate::scoring::scorer::WINDOW_START;

/// What is said of one row. A score that is not finite is none.
pub(super) struct Judged {
    pub(super) score: f64,
    /// Where the score is beyond the threshold.
    pub(super) why: Option<Vec<FeatureShare>>,
}

/// Rows for a model, alone or as the last steps of sequences.
pub(super) struct Rows<'a> {
    pub(super) batch: &'a RecordBatch,
    pub(super) columns: &'a [FeatureColumn],
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
        let is_sequence = detector.values() > self.columns.len();
        for from in (0..rows).step_by(CHUNK_ROWS) {
            let count = CHUNK_ROWS.min(rows - from);
            let whole = self.fill(from, is_sequence, detector, count);
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

    /// Writes the raw values of a chunk, and says of each row whether nothing of its sequence is missing.
    fn fill(&self, from: usize, is_sequence: bool, detector: &mut Detector, count: usize) -> Vec<bool> {
        let (width, values) = (self.columns.len(), detector.values());
        let raw = detector.chunk(count);
        for (feature, column) in self.columns.iter().enumerate() {
            let last = values - width + feature;
            column.read(self.batch, from, raw[last..].iter_mut().step_by(values));
        }
        let Some(history) = self.history.filter(|_| is_sequence) else { return vec![!is_sequence; count] };
        let rows = self.batch.slice(from, count);
        let (groups, starts) = (history.groups(&rows), starts(&rows));
        let sequences = raw.chunks_exact_mut(values).enumerate();
        sequences.map(|(row, raw)| fill_sequence(self.columns, &history.past(&groups, row, starts[row]), raw)).collect()
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
            let earlier = earlier(self.columns, self.features, &past, last, self.baseline.history as usize);
            judged.push(match baseline::score(self.baseline, self.features, starts[row], values, &earlier) {
                Some((score, why)) => Judged { score, why: (score > self.threshold).then_some(why) },
                None => Judged { score: f64::NAN, why: None },
            });
        }
    }
}

fn starts(rows: &RecordBatch) -> &[i64] {
    rows.column(WINDOW_START).as_primitive::<TimestampMicrosecondType>().values()
}
