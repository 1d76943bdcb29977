//! The benchmark's score against cases computed by hand, and against its published words taken literally.

use proptest::prelude::*;

use super::*;

/// One series of rows: a digit is the row's score, `a` to `j` the same within a labelled window (`a` for 0), `?` a row without a score.
fn series(rows: &str) -> (Vec<f64>, Vec<Range<usize>>) {
    let scores = rows.chars().map(|letter| match letter {
        '0'..='9' => f64::from(letter as u32 - '0' as u32),
        'a'..='j' => f64::from(letter as u32 - 'a' as u32),
        _ => f64::NAN,
    });
    let mut windows: Vec<Range<usize>> = Vec::new();
    for row in rows.chars().enumerate().filter(|(_, letter)| letter.is_ascii_lowercase()).map(|(row, _)| row) {
        match windows.last_mut() {
            Some(window) if window.end == row => window.end += 1,
            _ => windows.push(row..row + 1),
        }
    }
    (scores.collect(), windows)
}

/// Scores above 4 are flagged. Several series are apart by `|`.
fn check(rows: &str) -> NabScore {
    let (mut all, mut parts, mut windows) = (Vec::new(), Vec::new(), Vec::new());
    for part in rows.split('|') {
        let (scores, of_part) = series(part);
        windows.extend(of_part.into_iter().map(|window| window.start + all.len()..window.end + all.len()));
        parts.push(all.len()..all.len() + scores.len());
        all.extend(scores);
    }
    nab_score(&parts, &windows, &all, 4.0)
}

fn score(rows: &str) -> f64 {
    let score = check(rows).score.unwrap();
    (score * 100.0).round() / 100.0
}

#[test]
fn the_first_row_of_each_window_and_nothing_else_is_100_and_silence_is_0() {
    assert_eq!(score("0000000000jaaaa00000"), 100.0);
    assert_eq!(score("0000000000aaaaa00000"), 0.0);
    assert_eq!(score("0000000000jaaaa00000|0000000000aaaaa00000"), 50.0);
}

#[test]
fn a_window_found_late_is_worth_less_and_more_rows_of_it_nothing_more() {
    // Its last row of five: (2 / (1 + e^-1) - 1) / (2 / (1 + e^-5) - 1) = 0.46839, and (0.46839 + 1) / 2.
    assert_eq!(score("0000000000aaaaj00000"), 73.42);
    assert_eq!(score("0000000000jajjj00000"), 100.0);
}

#[test]
fn a_false_alarm_costs_and_less_soon_behind_a_window() {
    // 0.11 before the first window: (1 - 0.11 + 1) / 2.
    assert_eq!(score("0000900000jaaaa00000"), 94.5);
    // One row behind a window of five: 0.11 (2 / (1 + e^1.25) - 1) = -0.06100.
    assert_eq!(score("0000000000jaaaa90000"), 96.95);
    // Three windows behind, as if there had been none.
    assert_eq!(score("00000ja09000"), 94.5);
    // Two windows behind a window of one row: 0.11 (2 / (1 + e^10) - 1).
    assert_eq!(score("00000j000009"), 94.5);
}

#[test]
fn nothing_counts_in_the_probation() {
    // 3 of 20 rows.
    assert_eq!(score("9990000000jaaaa00000"), 100.0);
    assert_eq!(
        check("jaa00000000000000000"),
        NabScore { windows: 0, score: None, best_score: None, best_threshold: None }
    );
    // Of a window that goes on behind it, only what is behind counts: the last of its four rows.
    assert_eq!((check("jjja0000000000000000").windows, score("jjja0000000000000000")), (1, 0.0));
    // At most 750 rows, however long the series.
    let long = format!("{}{}j", "0".repeat(750), "9".repeat(9249));
    assert!(score(&long) < -50_000.0);
}

#[test]
fn a_row_without_a_score_is_never_flagged_and_still_a_row() {
    assert_eq!(score("????????00?aaaj?????"), score("0000000000aaaaj00000").max(score("0000000000aaaj00000")));
    assert_eq!(score("0000000000?????jaaaa"), 100.0);
}

#[test]
fn the_best_threshold_is_found_and_flags_no_more_than_it_must() {
    // At 3 and above: the window at its first row; at 2 a false alarm is added.
    let found = check("0000200000daaaa00000");
    assert_eq!((found.score, found.best_score), (Some(0.0), Some(100.0)));
    assert_eq!(found.best_threshold, Some(3.0f64.next_down()));
    // Nothing flagged is better than more false alarms than a window is worth.
    let found = check(&format!("{}00000aaaa", "0".repeat(6) + &"9".repeat(25)));
    assert_eq!((found.best_score, found.best_threshold), (Some(0.0), Some(9.0)));
}

/// The benchmark's words, one threshold after the other.
mod oracle {
    use super::*;

    fn sigmoid(place: f64) -> f64 {
        match place {
            3.0.. => -1.0,
            place => 2.0 * (1.0 / (1.0 + (5.0 * place).exp())) - 1.0,
        }
    }

    /// Of the rows that are flagged; not normalised. Also how many windows there are.
    fn raw(scores: &[f64], windows: &[Range<usize>], is_flagged: impl Fn(f64) -> bool) -> (f64, f64) {
        let probation = (0.15 * scores.len() as f64).floor().min(750.0) as usize;
        let flagged: Vec<usize> = (probation..scores.len()).filter(|row| is_flagged(scores[*row])).collect();
        let mut sum = 0.0;
        let windows: Vec<&Range<usize>> =
            windows.iter().filter(|window| window.end > probation || window.end == 0).collect();
        for window in &windows {
            sum += match flagged.iter().find(|row| window.contains(row)) {
                Some(row) => {
                    let last = window.end - 1;
                    let place = -((last - row + 1) as f64) / window.len() as f64;
                    sigmoid(place) / sigmoid(-1.0)
                }
                None => -1.0,
            };
        }
        (sum, windows.len() as f64)
    }

    fn false_alarms(scores: &[f64], windows: &[Range<usize>], is_flagged: impl Fn(f64) -> bool) -> f64 {
        let probation = (0.15 * scores.len() as f64).floor().min(750.0) as usize;
        let outside = |row: &usize| !windows.iter().any(|window| window.contains(row));
        let flagged = (probation..scores.len()).filter(|row| is_flagged(scores[*row])).filter(outside);
        flagged
            .map(|row| match windows.iter().filter(|window| window.end <= row).max_by_key(|window| window.end) {
                None => -0.11,
                Some(window) if window.len() == 1 => 0.11 * sigmoid(2.0),
                Some(window) => 0.11 * sigmoid((row - (window.end - 1)) as f64 / (window.len() - 1) as f64),
            })
            .sum()
    }

    pub(super) fn score(parts: &[(Vec<f64>, Vec<Range<usize>>)], is_flagged: impl Fn(f64) -> bool) -> Option<f64> {
        let (mut sum, mut count) = (0.0, 0.0);
        for (scores, windows) in parts {
            let (of_windows, windows_counted) = raw(scores, windows, &is_flagged);
            sum += of_windows + false_alarms(scores, windows, &is_flagged);
            count += windows_counted;
        }
        let (null, perfect) = (-count, count);
        (count > 0.0).then(|| 100.0 * (sum - null) / (perfect - null))
    }
}

proptest! {
    #[test]
    fn the_score_is_that_of_the_published_words(parts in prop::collection::vec("[0-9a-j?]{0,40}", 1..4)) {
        let rows = parts.join("|");
        let found = check(&rows);
        let parts: Vec<_> = parts.iter().map(|part| series(part)).collect();
        let near = |found: Option<f64>, wanted: Option<f64>| match (found, wanted) {
            (Some(found), Some(wanted)) => (found - wanted).abs() < 1e-9,
            (found, wanted) => found == wanted,
        };
        prop_assert!(near(found.score, oracle::score(&parts, |score| score > 4.0)));
        let best = (0..=10).filter_map(|least| oracle::score(&parts, |score| score >= f64::from(least)));
        prop_assert!(near(found.best_score, best.reduce(f64::max)));
        if let Some(threshold) = found.best_threshold {
            prop_assert!(near(found.best_score, oracle::score(&parts, |score| score > threshold)));
        }
    }
}
