//! How well flagged rows cover anomalies that last: range-aware precision, recall and F1.
//!
//! As defined by Tatbul, Lee, Zdonik, Alam and Gottschlich, "Precision and Recall for Time Series" (NeurIPS 2018), with these parameters: no reward
//! for mere existence (α = 0), a flat positional bias (δ), and the cardinality factor γ(x) = 1/x. So the recall of a labelled range is the
//! share of its rows that are flagged, divided by the number of flagged ranges that share them; the precision of a flagged range likewise against
//! labelled ranges; and each is the mean over its ranges, every range counting the same however long it is. A range is counted in rows.

use std::ops::Range;

use serde::Serialize;

/// The measures of flagged ranges against labelled ones. A mean over no range is none.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RangeMeasures {
    pub labelled: u64,
    pub flagged: u64,
    pub precision: Option<f64>,
    pub recall: Option<f64>,
    /// Their harmonic mean: 0 where one of them is, or is none.
    pub f1: Option<f64>,
}

/// Ranges are of rows in order of time. Those of one kind ascend and do not overlap.
pub fn range_measures(labelled: &[Range<usize>], flagged: &[Range<usize>]) -> RangeMeasures {
    let (precision, recall) = (mean_reward(flagged, labelled), mean_reward(labelled, flagged));
    let f1 = match (precision, recall) {
        (None, None) => None,
        (Some(precision), Some(recall)) if precision + recall > 0.0 => {
            Some(2.0 * precision * recall / (precision + recall))
        }
        _ => Some(0.0),
    };
    RangeMeasures { labelled: labelled.len() as u64, flagged: flagged.len() as u64, precision, recall, f1 }
}

/// The longest runs of rows that are meant, none of which leaves its series.
pub fn runs(series: &[Range<usize>], is_meant: impl Fn(usize) -> bool) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for rows in series {
        let first = runs.len();
        for row in rows.clone().filter(|row| is_meant(*row)) {
            match runs[first..].last_mut() {
                Some(run) if run.end == row => run.end = row + 1,
                _ => runs.push(row..row + 1),
            }
        }
    }
    runs
}

fn mean_reward(ranges: &[Range<usize>], others: &[Range<usize>]) -> Option<f64> {
    let sum: f64 = ranges.iter().map(|range| overlap_reward(range, others)).sum();
    (!ranges.is_empty()).then(|| sum / ranges.len() as f64)
}

/// The share of the range that the others cover, divided by how many of them it takes.
fn overlap_reward(range: &Range<usize>, others: &[Range<usize>]) -> f64 {
    let first = others.partition_point(|other| other.end <= range.start);
    let touching = others[first..].iter().take_while(|other| other.start < range.end);
    let (mut covered, mut count) = (0, 0);
    for other in touching {
        covered += other.end.min(range.end) - other.start.max(range.start);
        count += 1;
    }
    let share = covered as f64 / range.len() as f64;
    if count > 1 { share / f64::from(count) } else { share }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A letter a row: `#` labelled and flagged, `-` labelled, `+` flagged, `.` neither; `|` ends a series.
    fn check(rows: &str) -> RangeMeasures {
        let letters: Vec<char> = rows.chars().filter(|letter| *letter != '|').collect();
        let mut series = Vec::new();
        let mut at = 0;
        for part in rows.split('|') {
            series.push(at..at + part.len());
            at += part.len();
        }
        let labelled = runs(&series, |row| "#-".contains(letters[row]));
        let flagged = runs(&series, |row| "#+".contains(letters[row]));
        range_measures(&labelled, &flagged)
    }

    fn figures(rows: &str) -> [Option<f64>; 3] {
        let RangeMeasures { precision, recall, f1, .. } = check(rows);
        [precision, recall, f1]
    }

    #[test]
    fn ranges_that_agree_are_perfect_and_ranges_that_miss_each_other_worth_nothing() {
        assert_eq!(figures("..###..##."), [Some(1.0); 3]);
        assert_eq!(figures("..---..++."), [Some(0.0); 3]);
        assert_eq!(figures("..---....."), [None, Some(0.0), Some(0.0)]);
        assert_eq!(figures("....++...."), [Some(0.0), None, Some(0.0)]);
        assert_eq!(figures(".........."), [None; 3]);
    }

    #[test]
    fn the_share_of_each_range_counts_and_every_range_the_same() {
        // Of four labelled rows three are flagged, in one range that goes on for one row; another labelled range is missed.
        assert_eq!(figures(".-###+...-."), [Some(0.75), Some(0.375), Some(0.5)]);
    }

    #[test]
    fn a_range_that_is_found_in_pieces_is_worth_less() {
        // Two flagged ranges cover half of one labelled: (1/4 + 1/4) / 2.
        assert_eq!(figures(".#-#-."), [Some(1.0), Some(0.25), Some(0.4)]);
        // One flagged range over two labelled: (1/5 + 1/5) / 2.
        assert_eq!(figures("+#+#+"), [Some(0.2), Some(1.0), Some(0.4 / 1.2)]);
    }

    #[test]
    fn a_range_ends_with_its_series() {
        assert_eq!((check("..##|##..").labelled, check("..####..").labelled), (2, 1));
        assert_eq!(figures("..##|--.."), [Some(1.0), Some(0.5), Some(2.0 / 3.0)]);
    }

    /// The paper's formulas, word by word: sums over every pair of ranges, rows as sets, δ as a function.
    mod oracle {
        use std::collections::BTreeSet;

        type Rows = BTreeSet<usize>;

        fn omega(anomaly: &Rows, overlap: &Rows, delta: impl Fn(usize, usize) -> f64) -> f64 {
            let (mut value, mut maximum) = (0.0, 0.0);
            for (i, row) in anomaly.iter().enumerate() {
                let bias = delta(i + 1, anomaly.len());
                maximum += bias;
                if overlap.contains(row) {
                    value += bias;
                }
            }
            value / maximum
        }

        fn cardinality_factor(range: &Rows, others: &[Rows]) -> f64 {
            let count = others.iter().filter(|other| !other.is_disjoint(range)).count();
            if count <= 1 { 1.0 } else { 1.0 / count as f64 }
        }

        fn overlap_reward(range: &Rows, others: &[Rows]) -> f64 {
            let sum: f64 = others.iter().map(|other| omega(range, &(range & other), |_, _| 1.0)).sum();
            cardinality_factor(range, others) * sum
        }

        pub(super) fn mean(ranges: &[Rows], others: &[Rows]) -> Option<f64> {
            let (alpha, count) = (0.0, ranges.len() as f64);
            let existence = |range: &Rows| f64::from(u8::from(others.iter().any(|other| !other.is_disjoint(range))));
            let of = |range: &Rows| alpha * existence(range) + (1.0 - alpha) * overlap_reward(range, others);
            (!ranges.is_empty()).then(|| ranges.iter().map(of).sum::<f64>() / count)
        }
    }

    proptest! {
        #[test]
        fn the_measures_are_those_of_the_papers_formulas(rows in "[-+#.|]{0,60}") {
            let RangeMeasures { precision, recall, .. } = check(&rows);
            let sets = |meant: &str| {
                let (mut sets, mut at, mut is_open) = (Vec::new(), 0, false);
                for letter in rows.chars() {
                    let is_meant = meant.contains(letter);
                    if is_meant && !is_open {
                        sets.push(std::collections::BTreeSet::new());
                    }
                    if is_meant {
                        sets.last_mut().unwrap().insert(at);
                    }
                    is_open = is_meant;
                    at += usize::from(letter != '|');
                }
                sets
            };
            let (labelled, flagged) = (sets("#-"), sets("#+"));
            let near = |found: Option<f64>, wanted: Option<f64>| match (found, wanted) {
                (Some(found), Some(wanted)) => (found - wanted).abs() < 1e-12,
                (found, wanted) => found == wanted,
            };
            prop_assert!(near(precision, oracle::mean(&flagged, &labelled)));
            prop_assert!(near(recall, oracle::mean(&labelled, &flagged)));
        }
    }
}
