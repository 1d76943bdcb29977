//! Rows and what they are, by labels and by spans of time.

use super::*;
use crate::training::truth::LabelledSpans;

/// Rows of a key, a time in seconds and a label, in the order of reading.
fn gathered(rows: &[(&str, i64, &str)], extent_s: i64) -> Gathered {
    let mut gathered = Gathered { extent: extent_s * 1_000_000, ..Gathered::default() };
    for (key, time, label) in rows {
        let (label, key) = (gathered.labels.number(label), gathered.keys.number(key));
        gathered.rows.push(Row { time: time * 1_000_000, label, key });
    }
    gathered
}

/// The keys and times of each labelled range.
fn ranges(rows: &LabelledRows) -> Vec<String> {
    let told = |range: &Range<usize>| {
        let of = |place: usize| rows.rows[rows.order[place]];
        let times: Vec<String> = range.clone().map(|place| (of(place).time / 1_000_000).to_string()).collect();
        format!("{} {}", rows.keys[of(range.start).key as usize], times.join(","))
    };
    rows.ranges.iter().map(told).collect()
}

fn labels() -> Truth {
    Truth::Labels { column: "label".to_owned(), normal: Vec::new() }
}

fn spans(json: &str) -> Truth {
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("ranges.json");
    std::fs::write(&file, json).unwrap();
    Truth::Spans(LabelledSpans::read(&file).unwrap())
}

#[test]
fn anomalous_rows_that_follow_each_other_in_time_are_a_range_however_they_were_read() {
    let rows = [
        ("b", 1, "attack"),
        ("a", 3, "scan"),
        ("a", 1, "normal"),
        ("a", 2, "attack"),
        ("b", 2, "normal"),
        ("a", 4, "normal"),
        ("a", 5, "attack"),
        ("b", 0, "Normal"),
    ];
    let rows = LabelledRows::new(gathered(&rows, 0), &labels()).unwrap();
    assert_eq!(ranges(&rows), ["b 1", "a 2,3", "a 5"]);
    assert_eq!(rows.normal(), ["Normal", "normal"]);
}

#[test]
fn spans_take_the_rows_of_their_key_from_the_first_to_the_last_time() {
    let truth = spans(
        r#"{"a": [["1970-01-01 00:00:02", "1970-01-01 00:00:03"], ["1970-01-01 00:00:04", "1970-01-01 00:00:09"],
                  ["1970-01-01 00:01:00", "1970-01-01 00:02:00"]], "c": [["1970-01-01 00:00:00", "1970-01-01 00:00:09"]]}"#,
    );
    let rows = [("a", 1, ""), ("a", 2, ""), ("a", 3, ""), ("a", 3, ""), ("a", 4, ""), ("b", 2, "")];
    let rows = LabelledRows::new(gathered(&rows, 0), &truth).unwrap();
    assert_eq!(ranges(&rows), ["a 2,3,3", "a 4"]);
    assert_eq!(rows.spans_without_rows(), 1);
    let anomalies: Vec<bool> = rows.rows().iter().map(|row| rows.is_anomaly(row)).collect();
    assert_eq!(anomalies, [false, true, true, true, true, false]);
    assert_eq!(rows.normal(), ["normal"]);
}

#[test]
fn a_window_is_an_anomaly_if_a_moment_of_it_is() {
    let truth = spans(
        r#"{"a": [["1970-01-01 00:00:10", "1970-01-01 00:00:20"], ["1970-01-01 00:00:25", "1970-01-01 00:00:26"]]}"#,
    );
    let rows = [("a", 0, ""), ("a", 10, ""), ("a", 20, ""), ("a", 30, "")];
    let rows = LabelledRows::new(gathered(&rows, 10), &truth).unwrap();
    // The window [20, 30) touches both spans, and is of the first; [0, 10) ends where the first begins.
    assert_eq!((ranges(&rows), rows.spans_without_rows()), (vec!["a 10,20".to_owned()], 1));
}

#[test]
fn ranges_of_keys_that_are_not_there_are_told() {
    let truth = spans(r#"{"pump-1": []}"#);
    let error = LabelledRows::new(gathered(&[("pump-2", 1, "")], 0), &truth).unwrap_err().to_string();
    assert!(error.ends_with("it names pump-1, and the recording has pump-2"), "{error}");
}
