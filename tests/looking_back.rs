//! Detectors that look back, from the configuration to the tables: what is usual for a key, without a model; and clusters of levels and
//! changes from window to window, trained before.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod flow;
mod testbed;

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tidewatch::storage::patience::Patience;
use tidewatch::storage::{S3Options, Storage};

use flow::tables::{self, Cell, Row};

const BEGIN_MS: i64 = 1_767_225_600_000;

const CONFIGURATION: &str = r#"
[pipeline]
name = "rooms"
[source.files]
paths = ["rooms"]
[event]
time = { field = "ts", format = "unix_ms" }
key = "room"
[event.fields]
"room" = "text"
"warmth" = "float"
[watermark]
out_of_orderness = "0s"
allowed_lateness = "5m"
[[windows]]
name = "by_room"
size = "1m"
by = ["room"]
[windows.aggregates]
"warmth" = ["mean"]
[[detectors]]
name = "usual"
kind = "robust"
on = "by_room"
features = ["warmth_mean"]
history = 60
history_min = 10
threshold = 8.0
[output]
url = "output"
events = "none"
"#;

const CLUSTERS: &str = r#"
[[detectors]]
name = "jumps"
kind = "k_means"
model = "models/jumps"
on = "by_room"
features = ["warmth_mean", { field = "warmth_mean", change = true }]
[detectors.training]
percentile = 99.9
[output]"#;

fn tidewatch(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidewatch"));
    command.args(arguments).current_dir(folder).stdin(Stdio::null()).output().unwrap()
}

fn well(output: &Output) -> String {
    let told = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}");
    told
}

/// Two rooms, a reading every ten seconds that wanders a little; room `b` jumps in the minutes of `jumps`. A room's late readings come at the
/// end of its file.
fn write(folder: &Path, minutes: i64, jumps: &[i64], late: &[(i64, f64)]) {
    std::fs::create_dir_all(folder).unwrap();
    for (room, base) in [("a", 20.0), ("b", 35.0)] {
        let mut text = String::new();
        for reading in 0..minutes * 6 {
            let wander = ((reading * 7919) % 101) as f64 / 101.0 - 0.5;
            let jump = if room == "b" && jumps.contains(&(reading / 6)) { 9.0 } else { 0.0 };
            let (ts, warmth) = (BEGIN_MS + reading * 10_000, base + wander + jump);
            writeln!(text, r#"{{"ts":{ts},"room":"{room}","warmth":{warmth}}}"#).unwrap();
        }
        for (minute, warmth) in late.iter().filter(|_| room == "a") {
            let ts = BEGIN_MS + minute * 60_000 + 5_000;
            writeln!(text, r#"{{"ts":{ts},"room":"{room}","warmth":{warmth}}}"#).unwrap();
        }
        std::fs::write(folder.join(format!("{room}.ndjson")), text).unwrap();
    }
}

fn rows(folder: &Path, table: &str) -> Vec<Row> {
    let url = folder.join("output").display().to_string();
    let storage = Storage::open(&url, &S3Options::default(), Patience::at_start()).unwrap();
    tables::rows(&storage, table, &[])
}

fn minute(row: &Row) -> i64 {
    (row["window_start"].int() / 1000 - BEGIN_MS) / 60_000
}

#[test]
fn what_is_unusual_for_a_room_is_found_from_the_first_minutes_on_and_late_readings_correct_it() {
    let desk = tempfile::tempdir().unwrap();
    let at = desk.path();
    std::fs::write(at.join("rooms.toml"), CONFIGURATION).unwrap();
    // One late reading makes the minute 58 of room `a` far too warm.
    write(&at.join("rooms"), 60, &[40], &[(58, 500.0)]);
    let check = tidewatch(at, &["check", "rooms.toml"]);
    assert!(well(&check).contains("usual"), "{}", well(&check));
    well(&tidewatch(at, &["replay", "rooms.toml", "--from", "rooms", "-w", "2"]));
    let windows = rows(at, "windows/by_room");
    let first = windows.iter().filter(|row| row["usual_score"] != Cell::Null).map(minute).min().unwrap();
    // Final windows are those that ended five minutes before one begins, and ten of them are needed.
    assert_eq!(first, 15);
    let mut found: Vec<(String, i64)> = rows(at, "anomalies")
        .iter()
        .filter(|row| row["retracted"] == Cell::Int(0))
        .map(|row| (row["key"].text().to_owned(), minute(row)))
        .collect();
    found.sort();
    found.dedup();
    assert_eq!(found, [("a".to_owned(), 58), ("b".to_owned(), 40)]);
    well(&tidewatch(at, &["verify", "output", "--deep", "--source", "rooms.toml"]));
    // With another threshold it is another model, and what the first one scored is not its to correct.
    let changed = tidewatch(at, &["replay", "rooms.toml", "--from", "rooms", "--set", "detectors.usual.threshold=9"]);
    assert_eq!(changed.status.code(), Some(2), "{}", String::from_utf8_lossy(&changed.stderr));
}

#[test]
fn floors_and_a_threshold_are_trained_of_calm_windows() {
    let desk = tempfile::tempdir().unwrap();
    let at = desk.path();
    let trained = "model = \"models/usual\"\nevery = 3\nhistory_min = 4\n[detectors.training]\npercentile = 100.0";
    let configuration = CONFIGURATION.replace("history_min = 10\nthreshold = 8.0", trained);
    std::fs::write(at.join("rooms.toml"), &configuration).unwrap();
    write(&at.join("calm"), 600, &[], &[]);
    write(&at.join("rooms"), 120, &[100], &[(118, 500.0)]);
    let told = well(&tidewatch(at, &["train", "rooms.toml", "--from", "calm"]));
    assert!(told.contains("too few before them") && told.contains("0.00 % of the validation rows"), "{told}");
    let model = std::fs::read_to_string(at.join("models/usual/1/model.json")).unwrap();
    let model: serde_json::Value = serde_json::from_str(&model).unwrap();
    let floor = model["detector"]["baseline"]["floors"][0].as_f64().unwrap();
    assert!(floor > 0.0 && floor < 1.0, "the means of minutes wander by less than one reading: {floor}");
    let of_an_untrained = configuration.replace("every = 3", "every = 3\nthreshold = 8.0");
    std::fs::write(at.join("both.toml"), of_an_untrained).unwrap();
    let refused = tidewatch(at, &["check", "both.toml"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("has the threshold that `train` found"));
    well(&tidewatch(at, &["replay", "rooms.toml", "--from", "rooms", "-w", "2"]));
    let anomalies = rows(at, "anomalies");
    let of_model = |row: &&Row| row["retracted"] == Cell::Int(0) && row["model"].text() == "usual/1";
    let mut found: Vec<(String, i64)> =
        anomalies.iter().filter(of_model).map(|row| (row["key"].text().to_owned(), minute(row))).collect();
    found.sort();
    found.dedup();
    assert!(found.contains(&("a".to_owned(), 118)) && found.contains(&("b".to_owned(), 100)), "{found:?}");
    well(&tidewatch(at, &["verify", "output", "--deep", "--source", "rooms.toml"]));
}

#[test]
fn what_is_improbable_is_told_once_while_it_goes_on() {
    let desk = tempfile::tempdir().unwrap();
    let at = desk.path();
    let tail = CONFIGURATION
        .replace("kind = \"robust\"", "kind = \"tail\"")
        .replace("history = 60\nhistory_min = 10\nthreshold = 8.0", "history = 300\nhistory_min = 60\nthreshold = 6.0")
        .replace("allowed_lateness = \"5m\"", "allowed_lateness = \"0s\"");
    std::fs::write(at.join("rooms.toml"), tail).unwrap();
    write(&at.join("rooms"), 400, &[350, 351, 352, 353, 354], &[]);
    well(&tidewatch(at, &["replay", "rooms.toml", "--from", "rooms", "-w", "2"]));
    let found: Vec<(String, i64)> =
        rows(at, "anomalies").iter().map(|row| (row["key"].text().to_owned(), minute(row))).collect();
    assert_eq!(found, [("b".to_owned(), 350)]);
    well(&tidewatch(at, &["verify", "output", "--deep", "--source", "rooms.toml"]));
}

#[test]
fn clusters_of_changes_are_trained_as_they_score() {
    let desk = tempfile::tempdir().unwrap();
    let at = desk.path();
    std::fs::write(at.join("rooms.toml"), CONFIGURATION.replace("\n[output]", CLUSTERS)).unwrap();
    write(&at.join("calm"), 600, &[], &[]);
    write(&at.join("rooms"), 120, &[100], &[]);
    let trained = well(&tidewatch(at, &["train", "rooms.toml", "--from", "calm", "--detector", "jumps"]));
    assert!(trained.contains("k-means with 8 centres over 2 features"), "{trained}");
    assert!(trained.contains("warmth_mean change"), "{trained}");
    let refused = tidewatch(at, &["train", "rooms.toml", "--from", "calm", "--detector", "usual"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("is not trained"));
    well(&tidewatch(at, &["replay", "rooms.toml", "--from", "rooms"]));
    let score = |row: &Row| row["jumps_score"].number();
    let windows = rows(at, "windows/by_room");
    let jump = windows.iter().find(|row| row["room"].text() == "b" && minute(row) == 100).unwrap();
    let greatest = windows.iter().filter(|row| minute(row) < 100).filter_map(score).fold(0.0, f64::max);
    assert!(score(jump).unwrap() > greatest, "{:?} and {greatest} before", score(jump));
    assert!(
        windows.iter().all(|row| score(row).is_some()),
        "a first window has no change, and its default stands for it"
    );
}
