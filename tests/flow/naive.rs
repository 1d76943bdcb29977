//! What should stand in the tables, worked out from the events in the plainest way: each window by itself, over all its values.

use std::collections::{BTreeMap, BTreeSet};

use super::events::{CLOSER, Event, Partitions};
use super::tables::{Cell, Row};

const OUT_OF_ORDERNESS_MS: i64 = 2_000;
const ALLOWED_LATENESS_MS: i64 = 30_000;

/// The events that are accepted, and the partition and offset of those that come too late.
pub struct Admitted<'a> {
    pub accepted: Vec<&'a Event>,
    pub too_late: BTreeSet<(usize, i64)>,
}

/// By partition and offset alone.
pub fn admit(partitions: &Partitions) -> Admitted<'_> {
    let mut admitted = Admitted { accepted: Vec::new(), too_late: BTreeSet::new() };
    for (partition, events) in partitions.iter().enumerate() {
        let mut seen = i64::MIN / 2;
        for (offset, event) in events.iter().enumerate() {
            if event.at_ms < seen - OUT_OF_ORDERNESS_MS - ALLOWED_LATENESS_MS {
                admitted.too_late.insert((partition, offset as i64));
            } else {
                admitted.accepted.push(event);
            }
            seen = seen.max(event.at_ms);
        }
    }
    admitted
}

/// A window's row: its answers by column.
pub type Answers = BTreeMap<String, f64>;
/// By the start in microseconds and the group.
pub type Windows = BTreeMap<(i64, String), Answers>;

/// Windows of `size_ms` every `slide_ms`, without those that merely close others.
pub fn windows(
    events: &[&Event],
    (size_ms, slide_ms): (i64, i64),
    group: impl Fn(&Event) -> String,
    answer: impl Fn(&[&Event]) -> Answers,
) -> Windows {
    let mut members: BTreeMap<(i64, String), Vec<&Event>> = BTreeMap::new();
    for event in events.iter().filter(|event| event.device != CLOSER) {
        let mut start = event.at_ms.div_euclid(slide_ms) * slide_ms;
        while start > event.at_ms - size_ms {
            members.entry((start * 1000, group(event))).or_default().push(event);
            start -= slide_ms;
        }
    }
    members.into_iter().map(|(key, events)| (key, answer(&events))).collect()
}

/// The seven aggregates of the example.
pub fn by_label(events: &[&Event]) -> Answers {
    let of = |field: &str| -> Vec<f64> { events.iter().map(|event| event.fields[field]).collect() };
    let mut answers = Answers::from([("count".to_owned(), events.len() as f64)]);
    answers.insert("Rate_mean".to_owned(), mean(&of("Rate")));
    deviation(&of("Rate")).map(|answer| answers.insert("Rate_stddev".to_owned(), answer));
    answers.insert("Header_Length_mean".to_owned(), mean(&of("Header_Length")));
    answers.insert("Tot sum_min".to_owned(), of("Tot sum").into_iter().fold(f64::INFINITY, f64::min));
    answers.insert("Tot sum_max".to_owned(), of("Tot sum").into_iter().fold(f64::NEG_INFINITY, f64::max));
    answers.insert("Variance_mean".to_owned(), mean(&of("Variance")));
    answers
}

/// A reading near 1e9 with a deviation near 1. The events of a device come in the order of their offsets.
pub fn by_device(events: &[&Event]) -> Answers {
    let values: Vec<f64> = events.iter().map(|event| event.fields["level"]).collect();
    let mut sorted = values.clone();
    sorted.sort_by(f64::total_cmp);
    let first = events.iter().min_by_key(|event| event.at_ms).unwrap();
    let last = events.iter().max_by_key(|event| event.at_ms).unwrap();
    let mut distinct = sorted.clone();
    distinct.dedup();
    let mut answers = Answers::from([("count".to_owned(), events.len() as f64)]);
    let mut add = |name: &str, answer: f64| answers.insert(format!("level_{name}"), answer);
    add("mean", mean(&values));
    deviation(&values).map(|answer| add("stddev", answer));
    add("median", percentile(&sorted, 0.5));
    add("p95", percentile(&sorted, 0.95));
    add("first", first.fields["level"]);
    add("last", last.fields["level"]);
    add("distinct", distinct.len() as f64);
    answers
}

/// Neumaier's sum: what is lost of each addition is kept beside it.
fn sum(values: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut lost) = (0.0_f64, 0.0_f64);
    for value in values {
        let next = sum + value;
        lost += if sum.abs() >= value.abs() { (sum - next) + value } else { (value - next) + sum };
        sum = next;
    }
    sum + lost
}

fn mean(values: &[f64]) -> f64 {
    sum(values.iter().copied()) / values.len() as f64
}

/// In two passes, with the correction for the rounding of the mean.
fn deviation(values: &[f64]) -> Option<f64> {
    let centre = mean(values);
    let count = values.len() as f64;
    let squares = sum(values.iter().map(|value| (value - centre).powi(2)));
    let off = sum(values.iter().map(|value| value - centre));
    (values.len() > 1).then(|| ((squares - off * off / count) / (count - 1.0)).sqrt())
}

fn percentile(sorted: &[f64], share: f64) -> f64 {
    let at = share * (sorted.len() - 1) as f64;
    let below = sorted[at.floor() as usize];
    below + (sorted[at.ceil() as usize] - below) * at.fract()
}

/// Every window is there, no other, and each answer is right to 1e-12.
pub fn check(found: &[Row], group: &str, wanted: &Windows) {
    let key = |row: &Row| match (&row["window_start"], &row[group]) {
        (Cell::Int(start), Cell::Text(group)) => (*start, group.clone()),
        other => panic!("a window without a start or a group: {other:?}"),
    };
    let found: BTreeMap<(i64, String), &Row> = found.iter().map(|row| (key(row), row)).collect();
    let missing: Vec<_> = wanted.keys().filter(|key| !found.contains_key(*key)).take(5).collect();
    let extra: Vec<_> = found.keys().filter(|key| !wanted.contains_key(*key)).take(5).collect();
    assert!(missing.is_empty() && extra.is_empty(), "missing {missing:?}, not expected {extra:?}");
    for (key, answers) in wanted {
        for (column, cell) in found[key].iter().filter(|(column, _)| answers_column(column)) {
            let (found, wanted) = (cell.number(), answers.get(column).copied());
            let is_right = match (found, wanted) {
                (Some(found), Some(wanted)) => (found - wanted).abs() <= 1e-12 * wanted.abs(),
                (found, wanted) => found.is_none() && wanted.is_none(),
            };
            assert!(is_right, "window {key:?}: {column} is {found:?} and should be {wanted:?}");
        }
    }
}

fn answers_column(column: &str) -> bool {
    column == "count"
        || ["Rate_", "Header_Length_", "Tot sum_", "Variance_", "level_"].iter().any(|at| column.starts_with(at))
}
