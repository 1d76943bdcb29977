//! The score of the Numenta Anomaly Benchmark: how soon each labelled window is found, less what false alarms cost.
//!
//! As Lavin and Ahmad define it, "Evaluating Real-time Anomaly Detection Algorithms – the Numenta Anomaly Benchmark" (2015), and as version 1.1 of the
//! benchmark computes it, with the standard profile: a window found is worth A_TP = 1 at its first row and less behind it, a window missed costs A_FN = 1, a
//! false alarm costs at most A_FP = 0.11, and less soon behind a window. Of each series the first 15 %, at most 750 rows, are probation: nothing there counts.
//! A row's worth is the sigmoid of its place relative to the window, counted in rows. The sum over all series is put between 0 for a detector that
//! never speaks and 100 for one that speaks at the first row of every window and nowhere else.
//!
//! Where the benchmark leaves something open: of a window of one row, a false alarm behind it counts as two windows behind. A window that ends within the
//! probation is no window.

use std::ops::Range;

use serde::Serialize;

/// The standard profile.
const FOUND: f64 = 1.0;
const FALSE_ALARM: f64 = 0.11;
const MISSED: f64 = 1.0;

/// The probation of a series: this share of its rows, and at most so many.
const PROBATION_PERCENT: usize = 15;
const PROBATION_ROWS_MAX: usize = 750;

/// What the benchmark says of scores. Without a window there is no scale: none.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct NabScore {
    /// Labelled windows behind the probation.
    pub windows: u64,
    /// Of rows above the model's own threshold.
    pub score: Option<f64>,
    /// At the threshold, one for all series, that gives the greatest score of all. The benchmark's published figures are this one; it
    /// knows the labels, and so promises more than a threshold that is chosen beforehand.
    pub best_score: Option<f64>,
    pub best_threshold: Option<f64>,
}

/// A row behind the probation.
#[derive(Clone, Copy, Debug)]
struct Point {
    score: f64,
    /// What flagging it adds, as a false alarm or as the first row found of its window.
    worth: f64,
    window: Option<usize>,
}

/// `scores` are in order of time within each series; NaN is none, and never flagged. The windows ascend, and none leaves its series.
pub fn nab_score(series: &[Range<usize>], windows: &[Range<usize>], scores: &[f64], threshold: f64) -> NabScore {
    let mut points = Vec::with_capacity(scores.len());
    let mut is_window = vec![false; windows.len()];
    for rows in series {
        add_points(rows, windows, scores, &mut points, &mut is_window);
    }
    points.sort_by(|a, b| b.score.total_cmp(&a.score));
    let count = is_window.iter().filter(|is_window| **is_window).count();
    let (missed, perfect) = (-MISSED * count as f64, FOUND * count as f64);
    let normalised = |sum: f64| (count > 0).then(|| 100.0 * (sum - missed) / (perfect - missed));

    let mut sum = missed;
    // With nothing flagged; where two thresholds give the same, the one that flags less.
    let mut best = (sum, points.first().map(|point| point.score));
    let mut own = sum;
    let mut found: Vec<Option<f64>> = vec![None; windows.len()];
    for (place, point) in points.iter().enumerate() {
        sum += match point.window {
            None => point.worth,
            Some(window) => {
                let before = found[window].unwrap_or(-MISSED);
                let after = found[window].map_or(point.worth, |worth| worth.max(point.worth));
                found[window] = Some(after);
                after - before
            }
        };
        let is_step = points.get(place + 1).is_none_or(|next| next.score < point.score);
        if is_step && sum > best.0 {
            // Scores above it are these and all that were before.
            best = (sum, Some(point.score.next_down()));
        }
        if point.score > threshold {
            own = sum;
        }
    }
    let best_threshold = best.1.filter(|_| count > 0);
    NabScore { windows: count as u64, score: normalised(own), best_score: normalised(best.0), best_threshold }
}

/// The rows of one series that count, with what they are worth.
fn add_points(
    rows: &Range<usize>,
    windows: &[Range<usize>],
    scores: &[f64],
    points: &mut Vec<Point>,
    is_window: &mut [bool],
) {
    let probation = (rows.len() * PROBATION_PERCENT / 100).min(PROBATION_ROWS_MAX);
    let mut next = windows.partition_point(|window| window.start < rows.start);
    let mut last: Option<&Range<usize>> = None;
    for row in rows.clone() {
        if windows.get(next).is_some_and(|window| window.end <= row) {
            last = Some(&windows[next]);
            next += 1;
        }
        let inside = windows.get(next).filter(|window| window.contains(&row));
        if row < rows.start + probation {
            continue;
        }
        if inside.is_some() {
            is_window[next] = true;
        }
        if scores[row].is_nan() {
            continue;
        }
        let worth = match (inside, last) {
            (Some(window), _) => {
                let place = -((window.end - row) as f64) / window.len() as f64;
                FOUND * scaled_sigmoid(place) / scaled_sigmoid(-1.0)
            }
            (None, Some(window)) => FALSE_ALARM * scaled_sigmoid(windows_behind(row, window)),
            (None, None) => -FALSE_ALARM,
        };
        points.push(Point { score: scores[row], worth, window: inside.map(|_| next) });
    }
}

/// How far a row is behind a window's last one, in the window's length.
fn windows_behind(row: usize, window: &Range<usize>) -> f64 {
    match window.len() {
        ..=1 => 2.0,
        length => (row - (window.end - 1)) as f64 / (length - 1) as f64,
    }
}

/// From 1 far before the window's end to -1 far behind it.
fn scaled_sigmoid(place: f64) -> f64 {
    if place >= 3.0 { -1.0 } else { 2.0 / (1.0 + (5.0 * place).exp()) - 1.0 }
}

#[cfg(test)]
#[path = "nab_tests.rs"]
mod tests;
