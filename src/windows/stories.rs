//! Lateness, revisions and drops as stories: what happens on the left, what leaves on the right.

use std::fmt::Write;

use crate::domain::ids::Epoch;
use crate::domain::table::Table;
use crate::domain::time::EventTime;
use crate::stage::{EpochEnd, Output, Share, Stage};
use crate::windows::Windows;
use crate::windows::error::WindowError;
use crate::windows::group_hash::GroupHash;
use crate::windows::harness::{Event, Row, Stored, Value, batch, rows, schema, spec};
use crate::windows::spec::WindowSpec;

const SECOND: i64 = 1_000_000;

/// Tumbling windows of 10 s, corrected for 5 s.
fn tumbling() -> WindowSpec {
    spec(10 * SECOND, 10 * SECOND, &["key"], &[("float", "mean")], 5 * SECOND)
}

fn stage(spec: &WindowSpec) -> Windows {
    Windows::new(spec, &schema(), Table::Windows(0)).unwrap()
}

fn seconds(value: &Value) -> i64 {
    match value {
        Value::Int(micros) => micros / SECOND,
        other => panic!("{other:?} is not a time"),
    }
}

fn number(value: &Value) -> String {
    match value {
        Value::Float(bits) => format!("{:?}", f64::from_bits(*bits)),
        Value::Int(value) => value.to_string(),
        Value::Null => "null".to_owned(),
        Value::Text(text) => text.clone(),
    }
}

fn line(row: &Row) -> String {
    if let Some(reason) = row.get("reason") {
        return format!(
            "late at={:02} reason={} late_by={}s",
            seconds(&row["event_time"]),
            number(reason),
            number(&row["late_by"])
        );
    }
    let (start, end) = (seconds(&row["window_start"]), seconds(&row["window_end"]));
    let mut line = format!("window {} [{start:02},{end:02})", row.get("key").map_or("all".to_owned(), number));
    let own = ["window_start", "window_end", "key", "revision", "count"];
    let aggregates = row.iter().filter(|(name, _)| !own.contains(&name.as_str()));
    write!(line, " count={}", number(&row["count"])).unwrap();
    aggregates
        .for_each(|(name, value)| write!(line, " {}={}", name.trim_start_matches("float_"), number(value)).unwrap());
    write!(line, " revision={}", number(&row["revision"])).unwrap();
    line
}

/// Plays a story of one command a line: `event KEY at=SECONDS value=X`, `epoch WATERMARK`, `checkpoint WATERMARK`, either with
/// `retain=SECONDS` where retention lags behind, and `end`; `added NEWEST` for a window that is new to a pipeline, and `restart`.
fn check_with(spec: &WindowSpec, story: &str, wanted: &str) {
    let mut stage = stage(spec);
    let mut found = String::new();
    for (offset, command) in story.lines().map(str::trim).enumerate() {
        let words: Vec<&str> = command.split_whitespace().collect();
        let option = |name: &str| words.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        let time = |text: &str| text.parse::<i64>().unwrap() * SECOND;
        let mut output = Output::default();
        if words[0] == "event" {
            let event = Event {
                time: time(option("at").unwrap()),
                key: words[1].to_owned(),
                offset: offset as i64,
                float: option("value").map(|value| value.parse().unwrap()),
                ..Event::default()
            };
            stage.on_batch(batch(&[event]), &mut output);
        } else if words[0] == "added" {
            stage.begin_after(EventTime(time(words[1])));
        } else if words[0] == "restart" {
            let stored = Stored::of(&mut stage);
            stage = Windows::new(spec, &schema(), Table::Windows(0)).unwrap();
            stage.restore(&stored.batches(), Share { worker: 0, workers: 1 }).unwrap();
        } else {
            let publish = words.get(1).map_or(i64::MAX, |watermark| time(watermark));
            let retain = option("retain").map_or(publish, time);
            let end = EpochEnd {
                epoch: Epoch(offset as u64),
                is_checkpoint: words[0] != "epoch",
                publish: EventTime(publish),
                retain: EventTime(retain),
            };
            stage.on_epoch_end(end, &mut output);
        }
        rows(&output).iter().for_each(|row| writeln!(found, "{}", line(row)).unwrap());
    }
    let wanted: String = wanted.lines().map(|line| format!("{}\n", line.trim())).collect();
    assert_eq!(found, wanted.trim_start_matches('\n'), "the story was\n{story}");
}

fn check(story: &str, wanted: &str) {
    check_with(&tumbling(), story, wanted);
}

#[test]
fn a_window_is_published_when_the_watermark_reaches_its_end() {
    check(
        "event pump-1 at=05 value=1.0
         event pump-2 at=01 value=7.0
         epoch 09
         event pump-1 at=09 value=3.0
         epoch 10",
        "window pump-1 [00,10) count=2 mean=2.0 revision=0
         window pump-2 [00,10) count=1 mean=7.0 revision=0",
    );
}

#[test]
fn a_window_that_was_added_publishes_none_whose_beginning_it_may_have_missed() {
    check(
        "added 20
         event pump-1 at=19 value=1.0
         event pump-1 at=20 value=2.0
         event pump-1 at=30 value=3.0
         checkpoint 31
         restart
         event pump-1 at=29 value=4.0
         event pump-1 at=30 value=5.0
         checkpoint 40",
        "late at=19 reason=before_window late_by=nulls
         late at=20 reason=before_window late_by=nulls
         window pump-1 [30,40) count=2 mean=4.0 revision=0
         late at=29 reason=before_window late_by=nulls",
    );
}

#[test]
fn a_late_event_revises_its_window_at_the_checkpoint() {
    check(
        "event pump-1 at=05 value=1.0
         epoch 11
         event pump-1 at=07 value=9.0
         epoch 12
         checkpoint 13",
        "window pump-1 [00,10) count=1 mean=1.0 revision=0
         window pump-1 [00,10) count=2 mean=5.0 revision=1",
    );
}

#[test]
fn many_late_events_between_two_checkpoints_cost_one_revision() {
    check(
        "event pump-1 at=05 value=1.0
         epoch 11
         event pump-1 at=07 value=2.0
         epoch 12
         event pump-1 at=08 value=3.0
         epoch 12
         event pump-1 at=09 value=4.0
         checkpoint 12
         checkpoint 12",
        "window pump-1 [00,10) count=1 mean=1.0 revision=0
         window pump-1 [00,10) count=4 mean=2.5 revision=1",
    );
}

#[test]
fn a_group_that_comes_late_to_a_published_window_gets_its_first_row_at_the_checkpoint() {
    check(
        "event pump-1 at=05 value=1.0
         epoch 11
         event pump-2 at=07 value=9.0
         epoch 12
         checkpoint 12",
        "window pump-1 [00,10) count=1 mean=1.0 revision=0
         window pump-2 [00,10) count=1 mean=9.0 revision=0",
    );
}

#[test]
fn a_window_that_nobody_was_in_is_published_when_a_late_event_comes() {
    check(
        "epoch 11
         event pump-1 at=07 value=9.0
         checkpoint 12",
        "window pump-1 [00,10) count=1 mean=9.0 revision=0",
    );
}

#[test]
fn a_correction_leaves_before_its_window_is_dropped_though_no_checkpoint_came() {
    check(
        "event pump-1 at=05 value=1.0
         epoch 11
         event pump-1 at=07 value=9.0
         epoch 15
         checkpoint 16",
        "window pump-1 [00,10) count=1 mean=1.0 revision=0
         window pump-1 [00,10) count=2 mean=5.0 revision=1",
    );
}

#[test]
fn an_event_whose_window_is_final_goes_to_late_and_changes_nothing() {
    check(
        "event pump-1 at=05 value=1.0
         epoch 15
         event pump-1 at=07 value=9.0
         event pump-1 at=11 value=2.0
         checkpoint 15
         end",
        "window pump-1 [00,10) count=1 mean=1.0 revision=0
         late at=07 reason=window_final late_by=8.0s
         window pump-1 [10,20) count=1 mean=2.0 revision=0",
    );
}

#[test]
fn a_window_is_kept_while_retention_lags_behind_publication() {
    check(
        "event pump-1 at=05 value=1.0
         epoch 99 retain=14
         event pump-1 at=07 value=9.0
         checkpoint 99 retain=14
         epoch 99 retain=15
         event pump-1 at=07 value=5.0
         epoch 99 retain=15",
        "window pump-1 [00,10) count=1 mean=1.0 revision=0
         window pump-1 [00,10) count=2 mean=5.0 revision=1
         late at=07 reason=window_final late_by=8.0s",
    );
}

#[test]
fn a_sliding_window_needs_panes_that_earlier_windows_have_done_with() {
    let sliding = spec(20 * SECOND, 10 * SECOND, &["key"], &[("float", "mean")], 0);
    check_with(
        &sliding,
        "event pump-1 at=05 value=1.0
         checkpoint 10
         event pump-1 at=15 value=3.0
         event pump-1 at=05 value=9.0
         checkpoint 20
         end",
        "window pump-1 [-10,10) count=1 mean=1.0 revision=0
         window pump-1 [00,20) count=3 mean=4.333333333333333 revision=0
         window pump-1 [10,30) count=1 mean=3.0 revision=0",
    );
}

#[test]
fn windows_before_1970_are_windows_as_any() {
    check(
        "event pump-1 at=-01 value=1.0
         event pump-1 at=-10 value=3.0
         event pump-1 at=-11 value=5.0
         end",
        "window pump-1 [-20,-10) count=1 mean=5.0 revision=0
         window pump-1 [-10,00) count=2 mean=2.0 revision=0",
    );
}

#[test]
fn a_window_of_one_event_has_no_sample_deviation_and_one_without_values_no_mean() {
    let window = spec(10 * SECOND, 10 * SECOND, &[], &[("float", "stddev"), ("float", "mean"), ("float", "p95")], 0);
    check_with(
        &window,
        "event pump-1 at=05 value=1.5
         event pump-1 at=15
         end",
        "window all [00,10) count=1 mean=1.5 p95=1.5 stddev=null revision=0
         window all [10,20) count=1 mean=null p95=null stddev=null revision=0",
    );
}

#[test]
fn what_leaves_the_range_of_doubles_or_never_was_in_it_is_null() {
    let window = spec(10 * SECOND, 10 * SECOND, &[], &[("float", "sum"), ("float", "count"), ("float", "max")], 0);
    check_with(
        &window,
        "event pump-1 at=01 value=1.7e308
         event pump-1 at=02 value=1.7e308
         event pump-1 at=03 value=NaN
         event pump-1 at=04 value=inf
         end",
        "window all [00,10) count=4 count=2 max=1.7e308 sum=null revision=0",
    );
}

#[test]
fn the_end_closes_every_window_and_an_empty_epoch_none() {
    check(
        "epoch 05
         epoch 06
         event pump-1 at=95 value=1.0
         event pump-1 at=05 value=1.0
         end
         end",
        "window pump-1 [00,10) count=1 mean=1.0 revision=0
         window pump-1 [90,100) count=1 mean=1.0 revision=0",
    );
}

#[test]
fn groups_without_events_in_kept_panes_are_forgotten() {
    let mut stage = stage(&tumbling());
    for second in 0..1000 {
        let event = Event { time: second * SECOND, key: format!("pump-{second}"), ..Event::default() };
        stage.on_batch(batch(&[event]), &mut Output::default());
        let watermark = EventTime(second * SECOND);
        let end = EpochEnd { epoch: Epoch(second as u64), is_checkpoint: false, publish: watermark, retain: watermark };
        stage.on_epoch_end(end, &mut Output::default());
        assert!(stage.size().groups <= 26, "{} groups after {second} s", stage.size().groups);
    }
    assert!(stage.state_bytes() < 100_000, "{} bytes", stage.state_bytes());
}

#[test]
fn the_state_of_percentiles_costs_little_more_than_the_values() {
    const FIELDS: [&str; 2] = ["float", "int"];
    let aggregates: Vec<(&str, &str)> =
        FIELDS.iter().flat_map(|field| ["mean", "stddev", "min", "max", "p95"].map(|name| (*field, name))).collect();
    let mut stage = stage(&spec(60 * SECOND, 10 * SECOND, &["key"], &aggregates, 60 * SECOND));
    const KEYS: usize = 1000;
    for second in 0..140 {
        let event = |key: usize| {
            let (time, value) = (second * SECOND, second * 1000 + key as i64);
            Event { time, key: format!("pump-{key}"), float: Some(value as f64), int: Some(value), ..Event::default() }
        };
        stage.on_batch(batch(&(0..KEYS).map(event).collect::<Vec<_>>()), &mut Output::default());
        let watermark = EventTime(second * SECOND);
        let end = EpochEnd { epoch: Epoch(second as u64), is_checkpoint: false, publish: watermark, retain: watermark };
        stage.on_epoch_end(end, &mut Output::default());
    }
    // Thirteen panes of ten values; 10,000 keys with ten fields take fifty times as much: under 160 MiB.
    let values = 13 * 10 * KEYS * FIELDS.len();
    assert!(stage.state_bytes() < 12 * values + 600_000, "{} bytes for {values} values", stage.state_bytes());
}

#[test]
fn a_hash_is_the_same_however_a_group_is_encoded_and_spreads_over_workers() {
    let spec = spec(SECOND, SECOND, &["key"], &[], 0);
    let event = |index: usize| Event { key: format!("device-{index:05}"), ..Event::default() };
    let events: Vec<Event> = (0..10_000).map(event).collect();
    let coded = batch(&events);
    let plain = arrow::compute::cast(coded.column(1), &arrow::datatypes::DataType::Utf8).unwrap();
    let plain = arrow::array::RecordBatch::try_from_iter([("key", plain)]).unwrap();
    let mut hash = GroupHash::new(&spec, &schema()).unwrap();
    let hashes = hash.of_rows(&coded).to_vec();
    assert_eq!(hashes, hash.of_rows(&plain));
    assert_eq!(hashes[0], 13_541_315_970_383_282_754, "states of earlier versions are found by it");
    for workers in [2, 3, 7, 8] {
        let mut share = vec![0; workers];
        hashes.iter().for_each(|hash| share[Share::worker_of(*hash, workers)] += 1);
        let even = 10_000 / workers as i64;
        assert!(share.iter().all(|count| (count - even).abs() < even / 8), "{share:?}");
    }
}

#[test]
fn a_window_that_cannot_be_is_refused_by_name() {
    let refusal = |spec: WindowSpec| Windows::new(&spec, &schema(), Table::Windows(0)).unwrap_err().to_string();
    let window = |by: &[&str], aggregates: &[(&str, &str)]| spec(SECOND, SECOND, by, aggregates, 0);
    assert_eq!(refusal(window(&["room"], &[])), "window `test` groups by `room`, which events do not have");
    assert_eq!(refusal(window(&[], &[("Rate", "mean")])), "window `test` aggregates `Rate`, which events do not have");
    assert_eq!(
        refusal(window(&[], &[("text", "mean")])),
        "window `test` asks for the mean of `text`, which is text: texts have count, distinct, missing, first and last"
    );
    assert_eq!(refusal(window(&[], &[("int", "sum"), ("int", "sum")])), "window `test` has two columns `int_sum`");
    assert_eq!(
        refusal(window(&["event_time"], &[])),
        "window `test` cannot use `event_time`: columns of type Timestamp(µs, \"UTC\") neither group nor aggregate"
    );
    let shaped = |size, slide| Windows::new(&spec(size, slide, &[], &[], 0), &schema(), Table::Windows(0)).unwrap_err();
    assert!(matches!(shaped(0, 0), WindowError::Size { .. }));
    assert!(matches!(shaped(SECOND, 2 * SECOND), WindowError::Slide { .. }));
    assert!(matches!(shaped(SECOND, 0), WindowError::Slide { .. }));
    assert!(matches!(shaped(60 * SECOND, 59 * SECOND + 1), WindowError::Panes { .. }));
}
