//! Cases that were computed by hand, ties included, and a slow oracle.

use proptest::prelude::*;

use super::*;

/// `+` stands before the score of an anomaly.
fn ranking(rows: &str, threshold: f64) -> Ranking {
    let judged = rows
        .split_whitespace()
        .map(|word| Judged { score: word.trim_start_matches('+').parse().unwrap(), is_anomaly: word.starts_with('+') });
    Ranking::new(judged.collect(), threshold)
}

#[test]
fn a_perfect_ranking_has_every_measure_at_one() {
    let ranking = ranking("+9 1 +8 2 3", 5.0);
    let one = Some(1.0);
    let wanted = Measures {
        auc: one,
        average_precision: one,
        tpr_at_1_percent_fpr: one,
        tpr_at_01_percent_fpr: one,
        precision: one,
        recall: one,
        f1: one,
    };
    assert_eq!(ranking.measures(), wanted);
    let confusion = Confusion { true_positives: 2, false_positives: 0, false_negatives: 0, true_negatives: 3 };
    assert_eq!(ranking.confusion(), confusion);
}

#[test]
fn ties_count_half_and_share_one_step() {
    // Pairs: 4 beats 3 and 1; 3 ties with 3 and beats 1: 3.5 of 4. Precision 1 at the first half of recall, 2/3 at the second.
    let measures = ranking("+4 +3 3 1", 2.0).measures();
    assert_eq!(measures.auc, Some(3.5 / 4.0));
    assert_eq!(measures.average_precision, Some((1.0 + 2.0 / 3.0) / 2.0));
    // One normal row of two is more than any share that is asked for, so only the first step counts.
    assert_eq!((measures.tpr_at_1_percent_fpr, measures.tpr_at_01_percent_fpr), (Some(0.5), Some(0.5)));
    assert_eq!((measures.precision, measures.recall, measures.f1), (Some(2.0 / 3.0), Some(1.0), Some(0.8)));
}

#[test]
fn equal_scores_tell_nothing() {
    let measures = ranking("+1 1 +1 1", 1.0).measures();
    assert_eq!((measures.auc, measures.average_precision), (Some(0.5), Some(0.5)));
    assert_eq!((measures.recall, measures.precision, measures.f1), (Some(0.0), None, Some(0.0)));
}

#[test]
fn a_threshold_at_a_score_does_not_flag_it() {
    assert_eq!(ranking("+2 1", 2.0).confusion().true_positives, 0);
    assert_eq!(ranking("+2 1", 1.9).confusion().true_positives, 1);
}

#[test]
fn one_false_alarm_in_a_hundred_normal_rows_is_within_one_percent() {
    let mut rows = "+9 8 +7 ".to_owned();
    (0..99).for_each(|place| rows.push_str(&format!("{} ", f64::from(place) / 100.0)));
    let measures = ranking(&rows, 0.0).measures();
    assert_eq!((measures.tpr_at_1_percent_fpr, measures.tpr_at_01_percent_fpr), (Some(1.0), Some(0.5)));
}

#[test]
fn without_one_of_the_two_kinds_there_is_nothing_to_tell_apart() {
    let measures = ranking("+2 +1", 0.0).measures();
    assert_eq!((measures.auc, measures.tpr_at_1_percent_fpr, measures.recall), (None, None, Some(1.0)));
    let measures = ranking("2 1", 0.0).measures();
    assert_eq!((measures.auc, measures.average_precision, measures.recall), (None, None, None));
}

/// Straight from the definitions, pair by pair and threshold by threshold.
fn naive(rows: &[Judged]) -> [Option<f64>; 4] {
    let count = |is_in: &dyn Fn(&Judged) -> bool| rows.iter().filter(|row| is_in(row)).count() as f64;
    let (anomalies, normal) = (count(&|row| row.is_anomaly), count(&|row| !row.is_anomaly));
    let mut pairs = 0.0;
    for a in rows.iter().filter(|row| row.is_anomaly) {
        for b in rows.iter().filter(|row| !row.is_anomaly) {
            pairs += if a.score > b.score { 1.0 } else { f64::from(u8::from(a.score == b.score)) / 2.0 };
        }
    }
    let mut thresholds: Vec<f64> = rows.iter().map(|row| row.score).collect();
    thresholds.sort_by(|a, b| b.total_cmp(a));
    thresholds.dedup();
    let (mut precision_over_recall, mut recall_before) = (0.0, 0.0);
    let mut best = [0.0f64; 2];
    for threshold in thresholds {
        let hits = count(&|row| row.is_anomaly && row.score >= threshold);
        let alarms = count(&|row| !row.is_anomaly && row.score >= threshold);
        let recall = hits / anomalies;
        precision_over_recall += (recall - recall_before) * hits / (hits + alarms);
        recall_before = recall;
        for (best, share) in best.iter_mut().zip([0.01, 0.001]) {
            if alarms <= share * normal + 1e-9 {
                *best = best.max(recall);
            }
        }
    }
    let both = anomalies > 0.0 && normal > 0.0;
    [
        both.then(|| pairs / (anomalies * normal)),
        (anomalies > 0.0).then_some(precision_over_recall),
        both.then_some(best[0]),
        both.then_some(best[1]),
    ]
}

fn close(found: Option<f64>, wanted: Option<f64>) -> bool {
    match (found, wanted) {
        (Some(found), Some(wanted)) => (found - wanted).abs() < 1e-12,
        (found, wanted) => found == wanted,
    }
}

proptest! {
    #[test]
    fn measures_are_those_of_their_definitions(
        rows in prop::collection::vec((0u8..12, prop::bool::weighted(0.4)), 1..60), scale in 1u8..9,
    ) {
        let judged: Vec<Judged> =
            rows.iter().map(|(score, is_anomaly)| Judged { score: f64::from(score / scale), is_anomaly: *is_anomaly }).collect();
        let found = Ranking::new(judged.clone(), 0.0).measures();
        let wanted = naive(&judged);
        let found = [found.auc, found.average_precision, found.tpr_at_1_percent_fpr, found.tpr_at_01_percent_fpr];
        prop_assert!(found.iter().zip(wanted).all(|(found, wanted)| close(*found, wanted)), "{:?} {:?}", found, wanted);
    }
}
