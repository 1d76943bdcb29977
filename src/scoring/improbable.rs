//! Rows whose score is how improbable they are for their group.

use arrow::array::RecordBatch;

use crate::models::features::Feature;
use crate::scoring::columns::FeatureColumn;
use crate::scoring::compared::transformed;
use crate::scoring::detector::FeatureShare;
use crate::scoring::history::History;
use crate::scoring::judge::Judged;
use crate::scoring::look_back::starts;
use crate::scoring::tail::{TailSettings, Told};

/// Rows, and whose past they are held against.
pub(super) struct Improbable<'a> {
    pub(super) detector: &'a str,
    pub(super) settings: &'a TailSettings,
    pub(super) batch: &'a RecordBatch,
    pub(super) columns: &'a [FeatureColumn],
    pub(super) features: &'a [Feature],
}

impl Improbable<'_> {
    /// Scores each row by its most improbable feature.
    pub(super) fn judge(&self, history: Option<&mut History>, threshold: f64, judged: &mut Vec<Judged>) {
        let Some(history) = history else {
            judged.extend((0..self.batch.num_rows()).map(|_| Judged { score: f64::NAN, why: None }));
            return;
        };
        let values = transformed(self.columns, self.features, self.batch);
        let (groups, starts) = (history.groups(self.batch), starts(self.batch));
        for (row, values) in values.chunks_exact(self.columns.len()).enumerate() {
            let told = history.tell(self.detector, self.settings, (&groups, row, starts[row]), values);
            let scores = told.iter().flatten().map(|told| told.score);
            let score = scores.fold(f64::NAN, f64::max);
            let why = (score > threshold).then(|| self.explained(values, &told));
            judged.push(Judged { score, why });
        }
    }

    fn explained(&self, values: &[f64], told: &[Option<Told>]) -> Vec<FeatureShare> {
        let total: f64 = told.iter().flatten().map(|told| told.score).sum();
        let share = |(feature, told): (usize, &Option<Told>)| {
            let told = told.as_ref()?;
            let (value, expected) = (values[feature], told.usual);
            let [value, expected] = [value, expected].map(|value| self.features[feature].restored(value));
            Some(FeatureShare { feature, value, expected, share: if total > 0.0 { told.score / total } else { 0.0 } })
        };
        let mut shares: Vec<FeatureShare> = told.iter().enumerate().filter_map(share).collect();
        shares.sort_by(|a, b| b.share.total_cmp(&a.share).then(a.feature.cmp(&b.feature)));
        shares
    }
}
