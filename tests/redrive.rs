//! Quarantined records that are played again once their cause is mended: what becomes of them equals what would have become of them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod flow;
mod testbed;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use flow::place::Place;
use flow::program::Desk;
use flow::tables::{self, Cell, Row};
use flow::until;
use tidewatch::broker::mock::MockBroker;
use tidewatch::storage::Storage;
use tidewatch::storage::key::ObjectKey;

const CONFIGURATION: &str = r#"
[pipeline]
name = "pumps"
epoch = "20ms"
checkpoint_every = "100ms"
[source.files]
paths = ["flows"]
[event]
time = { field = "ts", format = "unix_ms" }
key = "device"
[event.fields]
"device" = "text"
"Rate" = { type = "float", required = true }
[watermark]
out_of_orderness = "1s"
allowed_lateness = "1h"
[[windows]]
name = "by_device"
size = "1s"
by = ["device"]
[windows.aggregates]
"Rate" = ["sum", "stddev", "min", "max", "first", "last", "median"]
[output]
url = "output"
events = "all"
publish_every = "0s"
"#;

/// 2024-01-01T00:00:00Z.
const BEGIN_MS: i64 = 1_704_067_200_000;

/// What is wrong with a record, and what mends it: the reason that it is quarantined for, and options.
const MENDS: [(&str, &[&str]); 4] = [
    ("wrong_type", &["--set", r#"event.fields.Rate={ type = "float", path = "Rate.value", required = true }"#]),
    ("bad_time", &["--set", r#"event.time={ field = "ts", format = "rfc3339" }"#]),
    ("no_key", &["--set", r#"event.fields.device={ type = "text", path = "dev" }"#, "--set", "event.key=device"]),
    ("missing", &["--set", r#"event.fields.Rate={ type = "float", default = 0 }"#]),
];

/// A record as it should be, and as it comes: most are sound.
fn record(partition: i64, number: i64) -> (String, String) {
    let (at, device, rate) = (BEGIN_MS + number * 25 + partition, number % 3, (number * 7919 % 1000) as f64 / 8.0);
    let sound = |rate: f64| format!(r#"{{"ts":{at},"device":"pump-{device}","Rate":{rate:?}}}"#);
    let text = chrono::DateTime::from_timestamp_millis(at).unwrap().to_rfc3339();
    let broken = match number % 20 {
        3 => format!(r#"{{"ts":{at},"device":"pump-{device}","Rate":{{"value":{rate:?}}}}}"#),
        8 => format!(r#"{{"ts":"{text}","device":"pump-{device}","Rate":{rate:?}}}"#),
        12 => format!(r#"{{"ts":{at},"dev":"pump-{device}","Rate":{rate:?}}}"#),
        17 => return (sound(0.0), format!(r#"{{"ts":{at},"device":"pump-{device}"}}"#)),
        _ => sound(rate),
    };
    (sound(rate), broken)
}

/// A desk with the records of each partition as they come, and one with the records as they should be.
fn desks(records: i64) -> (Desk, Desk) {
    let desks = (Desk::new(CONFIGURATION), Desk::new(CONFIGURATION));
    std::fs::create_dir_all(desks.0.path("flows")).unwrap();
    std::fs::create_dir_all(desks.1.path("flows")).unwrap();
    for partition in 0..2 {
        let (mut sound, mut broken) = (String::new(), String::new());
        for (good, bad) in (0..records).map(|number| record(partition, number)) {
            writeln!(sound, "{good}").unwrap();
            writeln!(broken, "{bad}").unwrap();
        }
        write(&desks.0, partition, &broken);
        write(&desks.1, partition, &sound);
    }
    desks
}

fn write(desk: &Desk, partition: i64, text: &str) {
    let path = desk.path(&format!("flows/{partition}.ndjson"));
    let before = std::fs::read_to_string(&path).unwrap_or_default();
    std::fs::write(path, before + text).unwrap();
}

/// Records that move the watermarks beyond everything, so that every window is published.
fn close(desk: &Desk) {
    for partition in 0..2 {
        let at = BEGIN_MS + 7_200_000;
        write(desk, partition, &format!("{{\"ts\":{at},\"device\":\"closer\",\"Rate\":1}}\n"));
    }
}

fn run(desk: &Desk, place: &Place) {
    desk.start(&place.with(&["run", "tidewatch.toml", "--once", "-q", "-w", "2"])).end().well();
}

fn redrive<'a>(place: &'a Place, options: &[&'a str]) -> Vec<&'a str> {
    [&place.with(&["redrive", "tidewatch.toml", "-q"])[..], options].concat()
}

/// The newest revisions of all windows, by start and device.
fn windows(place: &Place) -> Vec<Row> {
    tables::newest(&place.open(), "by_device", "device")
}

fn check_same(found: &Place, wanted: &Place) {
    let (found, wanted) = (windows(found), windows(wanted));
    assert_eq!(found.len(), wanted.len());
    for (found, wanted) in found.iter().zip(&wanted) {
        assert_eq!(found, wanted);
    }
}

/// What the ledger says of a partition: the next offset, and how many were accepted and quarantined.
fn ledger(storage: &Storage) -> BTreeMap<String, (i64, i64, i64)> {
    let mut rows = tables::rows(storage, "ledger", &[]);
    rows.retain(|row| row["partition"] != Cell::Null);
    rows.sort_by_key(|row| row["epoch"].int());
    let mut found: BTreeMap<String, (i64, i64, i64)> = BTreeMap::new();
    for row in rows {
        let of = |name: &str| row[name].int();
        let account = found.entry(row["partition"].text().to_owned()).or_default();
        assert_eq!(account.0, of("from_offset"), "{row:?}");
        assert_eq!(of("read"), of("accepted") + of("too_late") + of("quarantined"), "{row:?}");
        assert_eq!(of("to_offset") - of("from_offset"), of("read") + of("skipped") + of("lost"), "{row:?}");
        *account = (of("to_offset"), account.1 + of("accepted"), account.2 + of("quarantined"));
    }
    found
}

fn accepted(ledger: &BTreeMap<String, (i64, i64, i64)>) -> i64 {
    ledger.values().map(|(_, accepted, _)| accepted).sum()
}

/// Every file of an output with its size.
fn files(storage: &Storage) -> BTreeSet<(ObjectKey, u64)> {
    let mut files = BTreeSet::new();
    for folder in ["_checkpoints", "_staging", "events", "windows", "quarantine", "late", "ledger", "anomalies"] {
        files.extend(storage.list(&ObjectKey::of([folder])).unwrap().into_iter().map(|file| (file.key, file.size)));
    }
    files
}

#[test]
fn records_that_are_played_again_one_cause_after_the_other_are_counted_once_and_where_they_belong() {
    let (desk, sound) = desks(400);
    let (place, wanted) = (Place::local(), Place::local());
    run(&desk, &place);
    let quarantined = tables::rows(&place.open(), "quarantine", &[]);
    assert_eq!(quarantined.len(), 2 * 4 * 20);
    for (reason, mend) in MENDS {
        let dry = desk.say(&redrive(&place, &[mend, &["--reason", reason, "--dry-run", "--json"]].concat()));
        let dry: serde_json::Value = serde_json::from_str(&dry).unwrap();
        assert_eq!(dry["chosen"], 40, "{reason}: {dry}");
        desk.start(&redrive(&place, &[mend, &["--reason", reason, "-w", "3"]].concat())).end().well();
        let before = files(&place.open());
        desk.start(&redrive(&place, &[mend, &["--reason", reason]].concat())).end().well();
        assert_eq!(files(&place.open()), before, "{reason}: a second time changes nothing");
    }
    // Whatever is left has no cause that is mended.
    let before = files(&place.open());
    desk.start(&redrive(&place, &[])).end().well();
    assert_eq!(files(&place.open()), before);
    let storage = place.open();
    let ledger = ledger(&storage);
    assert_eq!(accepted(&ledger), 2 * 400);
    assert_eq!(ledger["0.ndjson"], (400, 320, 80));
    assert_eq!(ledger["redrive/1/0.ndjson"].1, 23, "the first cause, and what lay behind its last record: {ledger:?}");
    let after: BTreeSet<Row> = tables::rows(&storage, "quarantine", &[]).into_iter().collect();
    assert!(quarantined.iter().all(|row| after.contains(row)), "what happened stays on record");
    let events = tables::rows(&storage, "events", &["event_time", "key"]);
    assert_eq!((events.len(), events.into_iter().collect::<BTreeSet<_>>().len()), (800, 800));
    close(&desk);
    close(&sound);
    run(&desk, &place);
    run(&sound, &wanted);
    check_same(&place, &wanted);
    desk.say(&["verify", &place.url, "--deep", "--source", "tidewatch.toml"]);
}

#[test]
fn windows_that_were_published_are_corrected_and_those_of_an_ended_replay_are_not() {
    let (desk, sound) = desks(400);
    let (place, closed, wanted) = (Place::local(), Place::local(), Place::local());
    let (_, mend) = MENDS[0];
    close(&desk);
    close(&sound);
    run(&desk, &place);
    run(&sound, &wanted);
    assert_ne!(windows(&place), windows(&wanted));
    for (_, mend) in MENDS {
        desk.start(&redrive(&place, mend)).end().well();
    }
    // An hour of lateness has not passed for the redriven partitions themselves, and windows are final after two.
    let late = tables::rows(&place.open(), "late", &["reason"]);
    let is_final = late.iter().all(|row| row["reason"].text() == "window_final");
    assert!(is_final && late.len() == 160, "an event two hours ahead made every window final: {}", late.len());
    desk.start(&closed.with(&["replay", "tidewatch.toml", "--from", "flows", "-q"])).end().well();
    let before = windows(&closed);
    let arguments = closed.with(&["redrive", "tidewatch.toml"]);
    let said = desk.say(&[&arguments[..], mend].concat());
    assert!(said.contains("every window is closed") && said.contains("`late`"), "{said}");
    assert_eq!(windows(&closed), before);
    let late = tables::rows(&closed.open(), "late", &["partition", "reason", "offset"]);
    assert_eq!(late.len(), 40);
    assert!(late.iter().all(|row| row["partition"].text().starts_with("redrive/1/")), "{late:?}");
    let events = tables::rows(&closed.open(), "events", &["partition"]);
    assert_eq!(events.len(), 2 * (320 + 1) + 40, "the events themselves are stored");
}

/// The text of the newest manifest, if there is one now.
fn newest_manifest(place: &Place) -> Option<String> {
    std::path::Path::new(&place.url).exists().then_some(())?;
    let storage = place.open();
    let listed = storage.list(&ObjectKey::of(["_checkpoints"])).unwrap().into_iter().map(|file| file.key);
    let newest = listed.filter(|key| key.name().ends_with(".json")).max()?;
    // Its owner may have gone on and swept it.
    Some(String::from_utf8(storage.get(&newest).ok()?.to_vec()).unwrap())
}

#[test]
fn a_redrive_that_is_killed_at_any_instant_goes_on_and_ends_with_the_same() {
    let (desk, sound) = desks(40_000);
    let (place, wanted) = (Place::local(), Place::local());
    // The first run is killed as well, when all is read and nothing has a file yet.
    let rhythm = ["--set", "pipeline.epoch=1ms", "--set", "pipeline.checkpoint_every=1ms"];
    let live = ["run", "tidewatch.toml", "-w", "2", "--set", "output.publish_every=1h"];
    let live = desk.start(&place.with(&[&live[..], &rhythm].concat()));
    until("a manifest that has all", || newest_manifest(&place)?.matches(r#""next":40000,"#).nth(1).map(drop));
    live.kill();
    assert!(tables::rows(&place.open(), "quarantine", &[]).is_empty());
    let (reason, mend) = MENDS[0];
    let quick = [&["--reason", reason][..], &rhythm].concat();
    for kill in 1..5 {
        let mut program = desk.start(&redrive(&place, &[mend, &quick[..]].concat()));
        let (mut seen, mut last) = (0, newest_manifest(&place));
        until("some manifests, or the end", || {
            let now = newest_manifest(&place);
            seen += u32::from(now != last);
            last = now;
            (seen >= kill || !program.is_running()).then_some(())
        });
        program.kill();
    }
    desk.start(&redrive(&place, &[mend, &["--reason", reason]].concat())).end().well();
    for (reason, mend) in &MENDS[1..] {
        desk.start(&redrive(&place, &[mend, &["--reason", reason][..]].concat())).end().well();
    }
    assert_eq!(accepted(&ledger(&place.open())), 2 * 40_000);
    let events = tables::rows(&place.open(), "events", &["event_time", "key"]);
    assert_eq!((events.len(), events.into_iter().collect::<BTreeSet<_>>().len()), (80_000, 80_000));
    close(&desk);
    close(&sound);
    run(&desk, &place);
    run(&sound, &wanted);
    check_same(&place, &wanted);
    desk.say(&["verify", &place.url, "--deep", "--source", "tidewatch.toml"]);
}

/// A topic with a sound message, one from the future, and one whose rate is no number; and a desk that reads it.
fn messages() -> (MockBroker, Desk) {
    let broker = MockBroker::start().unwrap();
    broker.create_topic("flows", 1).unwrap();
    send(&broker, "pump-1", (BEGIN_MS, BEGIN_MS), "1.5");
    send(&broker, "pump-2", (BEGIN_MS + 600_000, BEGIN_MS), "2.5");
    send(&broker, "pump-3", (BEGIN_MS + 1, BEGIN_MS), r#""high""#);
    let kafka = format!("[source.kafka]\nbrokers = {:?}\ntopics = [\"flows\"]\nstart = \"earliest\"", broker.brokers());
    let text = CONFIGURATION.replace("[source.files]\npaths = [\"flows\"]", &kafka);
    let text =
        text.replace("key = \"device\"\n", "key = \"$kafka_key\"\n").replace("by = [\"device\"]", "by = [\"key\"]");
    (broker, Desk::new(&text.replace("\"device\" = \"text\"\n", "")))
}

fn send(broker: &MockBroker, key: &str, (at, received): (i64, i64), rate: &str) {
    let payload = format!(r#"{{"ts":{at},"Rate":{rate}}}"#);
    broker.append_at("flows", 0, Some(key.as_bytes()), Some(payload.as_bytes()), Some(received)).unwrap();
    broker.flush().unwrap();
}

#[test]
fn messages_keep_their_key_and_their_time_of_receipt() {
    let ((broker, desk), place) = (messages(), Place::local());
    run(&desk, &place);
    let quarantined = tables::rows(&place.open(), "quarantine", &["reason"]);
    let reasons: Vec<&str> = quarantined.iter().map(|row| row["reason"].text()).collect();
    assert_eq!(reasons, ["from_the_future", "wrong_type: Rate"]);
    // By the clock the event is long past; by the time of its receipt it is still from the future.
    let before = files(&place.open());
    desk.start(&redrive(&place, &[])).end().well();
    assert_eq!(files(&place.open()), before);
    desk.start(&redrive(&place, &["--set", "watermark.future_skew=10m"])).end().well();
    let mut events = tables::rows(&place.open(), "events", &["key", "partition", "offset"]);
    events.sort();
    let events: Vec<_> =
        events.iter().map(|row| (row["key"].text(), row["offset"].int(), row["partition"].text())).collect();
    assert_eq!(events, [("pump-1", 0, "flows/0"), ("pump-2", 1, "redrive/1/flows/0")]);
    // A run goes on behind what it had read, and at its own watermark.
    send(&broker, "pump-4", (BEGIN_MS + 2, BEGIN_MS + 2), "4");
    run(&desk, &place);
    let ledger = ledger(&place.open());
    assert_eq!((ledger["flows/0"], ledger["redrive/1/flows/0"]), ((4, 2, 2), (2, 1, 0)));
}

#[test]
fn a_pipeline_that_is_at_work_is_left_alone() {
    let ((broker, desk), place) = (messages(), Place::local());
    let mut live = desk.start(&place.with(&["run", "tidewatch.toml", "-w", "1"]));
    until("both records in the quarantine", || {
        (std::path::Path::new(&place.url).exists() && tables::rows(&place.open(), "quarantine", &[]).len() == 2)
            .then_some(())
    });
    let mend = ["--set", "watermark.future_skew=10m"];
    desk.start(&redrive(&place, &mend)).end().with(2, &["a process is writing", "stop it first"]);
    assert!(live.is_running(), "{}", live.log());
    send(&broker, "pump-4", (BEGIN_MS + 2, BEGIN_MS + 2), "4");
    until("an event that the live run stored", || {
        (tables::rows(&place.open(), "events", &[]).len() == 2).then_some(())
    });
    live.terminate().well();
    desk.start(&redrive(&place, &mend)).end().well();
    assert_eq!(tables::rows(&place.open(), "events", &[]).len(), 3);
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let (desk, _) = desks(20);
    let place = Place::local();
    desk.start(&redrive(&place, &[])).end().with(2, &["no checkpoint"]);
    run(&desk, &place);
    desk.start(&redrive(&place, &["--reason", "late"])).end().with(2, &["nothing is quarantined for `late`"]);
    let told = ["nothing was ever read from a partition `7.ndjson`", "did you mean `"];
    desk.start(&redrive(&place, &["--partition", "7.ndjson"])).end().with(2, &told);
    desk.start(&redrive(&place, &["--set", "windows.by_device.size=20s"])).end().with(2, &["windows.by_device.size"]);
}

#[test]
fn cells_are_read_by_the_header_of_their_file_and_one_that_is_gone_is_named() {
    let text = CONFIGURATION.replace("[event]\n", "[event]\nformat = \"csv\"\n");
    let text = text.replace("key = \"device\"", "key = \"$file\"");
    let (desk, place) = (Desk::new(&text), Place::local());
    std::fs::create_dir_all(desk.path("flows")).unwrap();
    let rows = format!("ts;device;Rate\n{BEGIN_MS};a;1\n{};b;\n{};c;3\n", BEGIN_MS + 1, BEGIN_MS + 2);
    std::fs::write(desk.path("flows/a.csv"), rows).unwrap();
    run(&desk, &place);
    let (_, mend) = MENDS[3];
    let hidden = desk.path("a.csv");
    std::fs::rename(desk.path("flows/a.csv"), &hidden).unwrap();
    std::fs::write(desk.path("flows/b.csv"), "ts;device;Rate\n").unwrap();
    desk.start(&redrive(&place, mend)).end().with(2, &["`a.csv`", "header"]);
    std::fs::rename(&hidden, desk.path("flows/a.csv")).unwrap();
    desk.start(&redrive(&place, mend)).end().well();
    let mut events = tables::rows(&place.open(), "events", &["Rate", "device", "key"]);
    events.sort();
    assert!(events.iter().all(|row| row["key"].text() == "a.csv"), "the file is the key, whoever plays it: {events:?}");
    let events: Vec<_> = events.iter().map(|row| (row["device"].text(), row["Rate"].number().unwrap())).collect();
    assert_eq!(events, [("b", 0.0), ("a", 1.0), ("c", 3.0)]);
}
