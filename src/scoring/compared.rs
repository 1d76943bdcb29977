//! Rows that are compared with earlier ones of their group. Training measures them by the same code as scoring.

use arrow::array::RecordBatch;

use crate::models::baseline::Baseline;
use crate::models::features::Feature;
use crate::scoring::baseline::{Distance, distances, explained};
use crate::scoring::columns::FeatureColumn;
use crate::scoring::history::{History, Reach};
use crate::scoring::judge::Judged;
use crate::scoring::look_back::{earlier, starts};

/// Rows, and what they are compared by.
pub(crate) struct Compared<'a> {
    pub(crate) baseline: &'a Baseline,
    pub(crate) batch: &'a RecordBatch,
    pub(crate) columns: &'a [FeatureColumn],
    pub(crate) features: &'a [Feature],
    pub(crate) history: Option<&'a History>,
}

/// How far back it is compared.
pub(crate) fn reach(baseline: &Baseline) -> Reach {
    Reach::Final { windows: baseline.history, every: baseline.every }
}

impl Compared<'_> {
    /// Scores each row.
    pub(super) fn judge(&self, threshold: f64, judged: &mut Vec<Judged>) {
        self.each(|distances| {
            let (score, why) = explained(self.features, distances);
            judged.push(Judged { score, why: (score > threshold).then_some(why) });
        });
    }

    /// Hands on each row's distances, one for each feature; none where too little is remembered, or the value is missing.
    pub(crate) fn each(&self, mut take: impl FnMut(&[Option<Distance>])) {
        let (rows, width) = (self.batch.num_rows(), self.columns.len());
        let Some(history) = self.history else {
            let nothing = vec![None; width];
            (0..rows).for_each(|_| take(&nothing));
            return;
        };
        let values = transformed(self.columns, self.features, self.batch);
        let (groups, starts) = (history.groups(self.batch), starts(self.batch));
        for (row, values) in values.chunks_exact(width).enumerate() {
            let last = history.timing().last_final(starts[row]);
            let past = history.past(&groups, row, starts[row]);
            let earlier = earlier(self.columns, self.features, &past, last, self.baseline);
            take(&distances(self.baseline, starts[row], values, &earlier));
        }
    }
}

/// The features of all rows, one row after the other; NaN where a value is missing.
pub(super) fn transformed(columns: &[FeatureColumn], features: &[Feature], batch: &RecordBatch) -> Vec<f64> {
    let width = columns.len();
    let mut values = vec![f64::NAN; batch.num_rows() * width];
    for (place, (column, feature)) in columns.iter().zip(features).enumerate() {
        column.read(batch, 0, values[place..].iter_mut().step_by(width));
        for value in values[place..].iter_mut().step_by(width) {
            *value = if value.is_finite() { feature.transformed(*value) } else { f64::NAN };
        }
    }
    values
}
