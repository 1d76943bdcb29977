//! What is known to be an anomaly: rows by the label in a column, or spans of time by a file of ranges.
//!
//! The file has the shape of the Numenta benchmark's `combined_windows.json`: for each key a list of spans, each its first and its last time.
//! Or it is what `simulate` writes beside its data: a line for each fault.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use chrono::{DateTime, NaiveDateTime};

use crate::sources::simulator::Truth as Fault;
use crate::training::error::TrainingError;

/// Where the truth is found.
#[derive(Clone, Debug, PartialEq)]
pub enum Truth {
    /// In a column.
    Labels {
        column: String,
        /// Labels of normal rows; none: those that are commonly so called.
        normal: Vec<String>,
    },
    Spans(LabelledSpans),
}

/// Spans of time in which rows of a key are anomalies.
///
/// Invariant: the spans of a key ascend and do not overlap; each ends no sooner than it begins.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelledSpans {
    pub(super) file: PathBuf,
    keys: BTreeMap<String, Vec<Span>>,
}

/// From the first to the last time, both in it, in microseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub from: i64,
    pub to: i64,
}

impl LabelledSpans {
    pub fn read(file: &Path) -> Result<LabelledSpans, TrainingError> {
        let fault = |fault: String| TrainingError::Ranges { file: file.to_path_buf(), fault };
        let text = std::fs::read(file)
            .map_err(|source| TrainingError::RangesUnreadable { file: file.to_path_buf(), source })?;
        let all = match simulated(&text) {
            Some(all) => all,
            None => listed(&text).map_err(fault)?,
        };
        let mut keys = BTreeMap::new();
        for (key, mut spans) in all {
            spans.sort_by_key(|span| (span.from, span.to));
            if let Some([_, second]) = spans.array_windows().find(|[first, second]| second.from <= first.to) {
                let begin = DateTime::from_timestamp_micros(second.from).unwrap_or_default();
                return Err(fault(format!("two ranges of `{key}` overlap: one begins at {begin} within another")));
            }
            keys.insert(key, spans);
        }
        Ok(LabelledSpans { file: file.to_path_buf(), keys })
    }

    pub(super) fn of(&self, key: &str) -> &[Span] {
        self.keys.get(key).map_or(&[], Vec::as_slice)
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.keys.contains_key(key)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &String> {
        self.keys.keys()
    }
}

/// Spans as Numenta writes them.
fn listed(text: &[u8]) -> Result<BTreeMap<String, Vec<Span>>, String> {
    let all: BTreeMap<String, Vec<[String; 2]>> = serde_json::from_slice(text)
        .map_err(|error| format!("it is not a list of [from, to] for each key: {error}"))?;
    let of_key = |(key, spans): (String, Vec<[String; 2]>)| {
        let spans = spans.iter().map(|span| read_span(&key, span)).collect::<Result<Vec<Span>, String>>()?;
        Ok((key, spans))
    };
    all.into_iter().map(of_key).collect()
}

/// The faults that `simulate` tells of; none where a line is no fault. Those of a device do not overlap.
fn simulated(text: &[u8]) -> Option<BTreeMap<String, Vec<Span>>> {
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let faults: Vec<Fault> = lines.map(serde_json::from_slice).collect::<Result<_, _>>().ok()?;
    let mut all: BTreeMap<String, Vec<Span>> = BTreeMap::new();
    for fault in &faults {
        // The end is no part of it; times are in milliseconds.
        let (from, to) = (fault.from.saturating_mul(1000), fault.to.saturating_mul(1000).saturating_sub(1));
        all.entry(fault.device.clone()).or_default().push(Span { from, to: to.max(from) });
    }
    (!all.is_empty()).then_some(all)
}

fn read_span(key: &str, [from, to]: &[String; 2]) -> Result<Span, String> {
    let time = |text: &String| {
        time(text).ok_or_else(|| {
            format!("`{text}` of `{key}` is no time such as 2014-04-10 07:15:00 or 2014-04-10T07:15:00Z")
        })
    };
    let span = Span { from: time(from)?, to: time(to)? };
    if span.to < span.from { Err(format!("a range of `{key}` ends at {to}, before it begins")) } else { Ok(span) }
}

/// A time without an offset is UTC.
fn time(text: &str) -> Option<i64> {
    let text = text.trim();
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.timestamp_micros());
    }
    let patterns = ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f"];
    let read = |pattern| NaiveDateTime::parse_from_str(text, pattern).ok();
    patterns.into_iter().find_map(read).map(|time| time.and_utc().timestamp_micros())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str) -> Result<LabelledSpans, String> {
        let folder = tempfile::TempDir::new().unwrap();
        let file = folder.path().join("ranges.json");
        std::fs::write(&file, json).unwrap();
        LabelledSpans::read(&file).map_err(|error| error.to_string())
    }

    #[test]
    fn times_are_read_with_and_without_an_offset() {
        let spans = check(
            r#"{"a": [["1970-01-01 00:00:02.500000", "1970-01-01T00:00:03"], ["1970-01-01T01:00:00+01:00", "1970-01-01T00:00:01Z"]],
                "b": []}"#,
        )
        .unwrap();
        assert_eq!(spans.of("a"), [Span { from: 0, to: 1_000_000 }, Span { from: 2_500_000, to: 3_000_000 }]);
        assert!(spans.of("b").is_empty() && spans.has("b") && !spans.has("c"));
    }

    #[test]
    fn what_was_simulated_is_read_as_it_was_written() {
        let fault = |device: &str, from, to| Fault {
            kind: "spike".into(),
            device: device.into(),
            fields: vec!["a".into()],
            from,
            to,
            magnitude: 8.0,
            messages: 3,
        };
        let faults = [fault("a", 5, 7), fault("b", 1, 2), fault("a", 2, 4)];
        let spans = check(&faults.map(|fault| fault.as_json()).join("\n")).unwrap();
        assert_eq!(spans.of("a"), [Span { from: 2000, to: 3999 }, Span { from: 5000, to: 6999 }]);
        assert_eq!(spans.of("b"), [Span { from: 1000, to: 1999 }]);
    }

    #[test]
    fn what_is_no_range_is_told_with_its_key() {
        for (json, words) in [
            (r#"{"a": [["1970-01-01 00:00:02", "yesterday"]]}"#, "`yesterday` of `a` is no time"),
            (r#"{"a": [["1970-01-01 00:00:02", "1970-01-01 00:00:01"]]}"#, "a range of `a` ends at"),
            (
                r#"{"a": [["1970-01-01 00:00:02", "1970-01-01 00:00:04"], ["1970-01-01 00:00:04", "1970-01-01 00:00:05"]]}"#,
                "two ranges of `a` overlap",
            ),
            (r#"[["1970-01-01 00:00:02", "1970-01-01 00:00:04"]]"#, "not a list of [from, to] for each key"),
        ] {
            let error = check(json).unwrap_err();
            assert!(error.contains(words) && error.contains("ranges.json"), "{error}");
        }
    }
}
