//! The examples of recordings replay the data that they are written for, and every row is accounted for. `TIDEWATCH_SHARED_DATA` names the
//! folder that holds the data.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod flow;
mod testbed;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use flow::place::Place;
use flow::program::Desk;
use flow::tables::{Cell, rows};

/// Rows of each file below `folder`, as the csv crate counts them.
fn counted(folder: &Path, files: &[PathBuf]) -> BTreeMap<String, i64> {
    let name = |file: &PathBuf| file.strip_prefix(folder).unwrap().display().to_string();
    let count =
        |file: &PathBuf| csv::ReaderBuilder::new().flexible(true).from_path(file).unwrap().records().count() as i64;
    files.iter().map(|file| (name(file), count(file))).collect()
}

/// Replays the files that `pattern` names below `base`, and compares the ledger with the files.
fn check(example: &str, base: &str, pattern: &str, window: &str, rows_of_a_window: i64) {
    let Some(data) = testbed::variable("TIDEWATCH_SHARED_DATA") else { return };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/recordings").join(example).join("pipeline.toml");
    let (desk, place) = (Desk::new(&std::fs::read_to_string(path).unwrap()), Place::local());
    let named = format!("{data}/{pattern}");
    desk.start(&place.with(&["check", "tidewatch.toml", "--from", &named])).end().well();
    desk.start(&place.with(&["replay", "tidewatch.toml", "--from", &named, "-q", "-w", "2"])).end().well();

    let files: Vec<PathBuf> = match named.contains('*') || named.ends_with(".csv") {
        true => glob::glob(&named).unwrap().map(Result::unwrap).collect(),
        false => glob::glob(&format!("{named}/**/*.csv")).unwrap().map(Result::unwrap).collect(),
    };
    let wanted = counted(&Path::new(&data).join(base), &files);
    let storage = place.open();
    let mut found: BTreeMap<String, i64> = BTreeMap::new();
    for row in rows(&storage, "ledger", &[]).iter().filter(|row| row["partition"] != Cell::Null) {
        let of = |name: &str| row[name].int();
        assert_eq!(of("read"), of("accepted") + of("too_late") + of("quarantined"), "{row:?}");
        assert_eq!((of("too_late"), of("quarantined")), (0, 0), "nothing of this is late or bad: {row:?}");
        *found.entry(row["partition"].text().to_owned()).or_default() += of("accepted");
    }
    assert_eq!(found, wanted);
    let events: i64 = wanted.values().sum();
    assert_eq!(rows(&storage, "events", &["offset"]).len() as i64, events);
    let in_windows: i64 =
        rows(&storage, &format!("windows/{window}"), &["count"]).iter().map(|row| row["count"].int()).sum();
    assert_eq!(in_windows, events * rows_of_a_window, "every event is in each of its windows once");
}

#[test]
fn network_flows_without_a_time_are_all_accounted_for() {
    check("ciciot2023", "ciciot2023", "ciciot2023/flows.csv", "by_class", 1);
}

#[test]
fn sensors_of_a_testbed_with_semicolons_are_all_accounted_for() {
    check("skab", "skab", "skab", "by_experiment", 1);
}

#[test]
fn series_with_repeated_times_are_all_accounted_for() {
    check("nab", "nab", "nab/*/*.csv", "by_series", 6);
}

#[test]
fn devices_with_columns_of_their_own_are_all_accounted_for() {
    check("ton_iot", "ton_iot", "ton_iot", "by_device", 1);
}
