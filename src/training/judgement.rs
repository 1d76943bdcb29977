//! One set of scores over labelled rows, and what it is worth: as a whole, by label, by key, and over ranges of time.
//!
//! Promise: it is a function of the rows, the scores, the threshold and the seed; a second detector's scores over the same rows are judged by the same words.

use serde::Serialize;

use crate::training::bootstrap::{Intervals, intervals};
use crate::training::labelled::{LabelledRows, Row};
use crate::training::metrics::{Confusion, Judged, Measures, Ranking};
use crate::training::nab::{NabScore, nab_score};
use crate::training::ranges::{RangeMeasures, range_measures, runs};

/// How well scores tell.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Judgement {
    pub threshold: f64,
    /// Labelled rows with a score, and those of them that are anomalies.
    pub rows: u64,
    pub anomalies: u64,
    /// Labelled rows without a finite score: no part of the measures, and never flagged.
    pub unscored: u64,
    pub measures: Measures,
    pub intervals: Intervals,
    pub confusion: Confusion,
    pub ranges: RangeMeasures,
    pub nab: NabScore,
    /// Most rows first.
    pub labels: Vec<Tally>,
    /// Most flagged rows first.
    pub keys: Vec<KeyFigures>,
}

/// The rows of one label.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Tally {
    pub name: String,
    pub rows: u64,
    pub flagged: u64,
    pub share_flagged: f64,
    pub mean_score: f64,
}

/// The rows of one key. What needs anomalies and normal rows is none where one kind is not there.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KeyFigures {
    #[serde(flatten)]
    pub tally: Tally,
    pub anomalies: u64,
    pub auc: Option<f64>,
    pub f1: Option<f64>,
}

/// `scores` are in the order in which the rows were read; NaN where there is none. A row is flagged if its score is above the threshold.
pub fn judge(rows: &LabelledRows, scores: &[f64], threshold: f64, seed: u64) -> Judgement {
    assert_eq!(rows.len(), scores.len(), "each row has its place among the scores");
    let judged = |(row, score): (&Row, &f64)| Judged { score: *score, is_anomaly: rows.is_anomaly(row) };
    let scored = || rows.rows().iter().zip(scores).filter(|(_, score)| !score.is_nan());
    let ranking = Ranking::new(scored().map(judged).collect(), threshold);
    let confusion = ranking.confusion();

    let mut labels = vec![Tally::default(); rows.labels().len()];
    scored().for_each(|(row, score)| labels[row.label as usize].add(*score, threshold));
    let mut labels = named(labels, rows.labels());
    labels.sort_by(|a, b| b.rows.cmp(&a.rows).then_with(|| a.name.cmp(&b.name)));

    // A comparison with NaN is false: what has no score is not flagged.
    let in_order: Vec<f64> = rows.order().iter().map(|row| scores[*row]).collect();
    let flagged = runs(rows.series(), |place| in_order[place] > threshold);
    Judgement {
        threshold,
        rows: ranking.len() as u64,
        anomalies: confusion.true_positives + confusion.false_negatives,
        unscored: (rows.len() - ranking.len()) as u64,
        measures: ranking.measures(),
        intervals: intervals(&ranking, seed),
        confusion,
        ranges: range_measures(rows.ranges(), &flagged),
        nab: nab_score(rows.series(), rows.ranges(), &in_order, threshold),
        labels,
        keys: key_figures(rows, &in_order, threshold),
    }
}

fn key_figures(rows: &LabelledRows, in_order: &[f64], threshold: f64) -> Vec<KeyFigures> {
    let mut keys = Vec::with_capacity(rows.series().len());
    for series in rows.series() {
        let places = series.clone().filter(|place| !in_order[*place].is_nan());
        let of = |place: usize| (&rows.rows()[rows.order()[place]], in_order[place]);
        let mut tally = Tally::default();
        let mut judged = Vec::new();
        for (row, score) in places.map(of) {
            tally.add(score, threshold);
            tally.name.clone_from(&rows.keys()[row.key as usize]);
            judged.push(Judged { score, is_anomaly: rows.is_anomaly(row) });
        }
        if judged.is_empty() {
            continue;
        }
        let anomalies = judged.iter().filter(|judged| judged.is_anomaly).count() as u64;
        let Measures { auc, f1, .. } = Ranking::new(judged, threshold).measures();
        keys.push(KeyFigures { tally, anomalies, auc, f1: f1.filter(|_| anomalies > 0) });
    }
    keys.sort_by(|a, b| b.tally.flagged.cmp(&a.tally.flagged).then_with(|| a.tally.name.cmp(&b.tally.name)));
    keys
}

fn named(tallies: Vec<Tally>, names: &[String]) -> Vec<Tally> {
    let named = tallies.into_iter().zip(names).map(|(tally, name)| Tally { name: name.clone(), ..tally });
    named.filter(|tally| tally.rows > 0).collect()
}

impl Tally {
    fn add(&mut self, score: f64, threshold: f64) {
        self.rows += 1;
        self.flagged += u64::from(score > threshold);
        self.share_flagged = self.flagged as f64 / self.rows as f64;
        self.mean_score += (score - self.mean_score) / self.rows as f64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::training::labelled::Gathered;
    use crate::training::truth::Truth;

    /// Rows of a key, a label and a score, a second apart.
    fn check(rows: &[(&str, &str, f64)]) -> Judgement {
        let mut gathered = Gathered::default();
        for (second, (key, label, _)) in rows.iter().enumerate() {
            let (label, key) = (gathered.labels.number(label), gathered.keys.number(key));
            gathered.rows.push(Row { time: second as i64 * 1_000_000, label, key });
        }
        let truth = Truth::Labels { column: "label".to_owned(), normal: Vec::new() };
        let labelled = LabelledRows::new(gathered, &truth).unwrap();
        judge(&labelled, &rows.iter().map(|row| row.2).collect::<Vec<f64>>(), 1.0, 0)
    }

    #[test]
    fn each_key_has_figures_of_its_own() {
        let found = check(&[
            ("a", "normal", 0.5),
            ("a", "attack", 2.0),
            ("a", "attack", 0.7),
            ("b", "normal", 3.0),
            ("c", "normal", f64::NAN),
            ("a", "normal", 1.5),
        ]);
        let told: Vec<_> =
            found.keys.iter().map(|key| (key.tally.name.as_str(), key.anomalies, key.auc, key.f1)).collect();
        assert_eq!(told, [("a", 2, Some(0.75), Some(0.5)), ("b", 0, None, None)]);
        assert_eq!((found.keys[0].tally.rows, found.keys[0].tally.flagged), (4, 2));
        assert_eq!((found.rows, found.anomalies, found.unscored), (5, 2, 1));
    }

    #[test]
    fn ranges_are_judged_key_by_key_and_a_row_without_a_score_parts_them() {
        let found = check(&[
            ("a", "attack", 2.0),
            ("b", "attack", 2.0),
            ("a", "attack", f64::NAN),
            ("b", "attack", 2.0),
            ("a", "attack", 2.0),
            ("a", "normal", 0.0),
        ]);
        assert_eq!((found.ranges.labelled, found.ranges.flagged), (2, 3));
        // Of a: two of three rows in two pieces; of b all.
        assert_eq!(found.ranges.recall, Some((2.0 / 3.0 / 2.0 + 1.0) / 2.0));
    }

    #[test]
    fn another_set_of_scores_is_judged_against_the_same_truth() {
        let better = check(&[("a", "normal", 0.0), ("a", "attack", 2.0), ("a", "normal", 0.0)]);
        let worse = check(&[("a", "normal", 2.0), ("a", "attack", 0.0), ("a", "normal", 2.0)]);
        assert_eq!((better.measures.auc, worse.measures.auc), (Some(1.0), Some(0.0)));
        assert_eq!((better.ranges.f1, worse.ranges.f1), (Some(1.0), Some(0.0)));
        assert_eq!((better.nab.windows, better.nab.score), (1, Some(100.0)));
    }
}
