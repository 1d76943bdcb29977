//! A restart into a changed world: other windows and fields, other files and topics, other numbers of workers.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod flow;
mod testbed;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use flow::place::Place;
use flow::program::Desk;
use flow::tables::{self, Cell};
use tidewatch::broker::mock::MockBroker;
use tidewatch::storage::key::ObjectKey;

/// 2024-01-01T00:00:00Z.
const BEGIN_MS: i64 = 1_704_067_200_000;

/// `SOURCE`, `FIELDS` and `WINDOWS` are filled in.
fn configuration(source: &str, fields: &str, windows: &str) -> String {
    format!(
        r#"
[pipeline]
name = "pumps"
epoch = "20ms"
checkpoint_every = "100ms"
{source}
[event]
time = {{ field = "ts", format = "unix_ms" }}
key = "device"
[event.fields]
"device" = "text"
{fields}
[watermark]
out_of_orderness = "0s"
allowed_lateness = "1m"
{windows}
[output]
url = "output"
events = "all"
"#
    )
}

fn window(name: &str, size: &str) -> String {
    format!(
        "[[windows]]\nname = \"{name}\"\nsize = \"{size}\"\nby = [\"device\"]\n[windows.aggregates]\n\"Rate\" = [\"sum\"]\n"
    )
}

const FILES: &str = "[source.files]\npaths = [\"flows\"]";
const RATE: &str = "\"Rate\" = \"float\"";

fn configure(desk: &Desk, text: &str) {
    std::fs::write(desk.path("tidewatch.toml"), text).unwrap();
}

/// Adds an event a second to a file.
fn add(desk: &Desk, file: &str, seconds: std::ops::Range<i64>) {
    let path = desk.path(&format!("flows/{file}.ndjson"));
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut text = std::fs::read_to_string(&path).unwrap_or_default();
    for second in seconds {
        let at = BEGIN_MS + second * 1000;
        writeln!(text, r#"{{"ts":{at},"device":"{file}","Rate":{second},"Load":{second}}}"#).unwrap();
    }
    std::fs::write(path, text).unwrap();
}

fn run<'a>(desk: &Desk, place: &'a Place, options: &[&'a str]) -> flow::program::Ended {
    let run = place.with(&["run", "tidewatch.toml", "--once", "-q"]);
    desk.start(&[&run[..], options].concat()).end()
}

/// The windows of a table as (first second, device, count), newest revisions alone.
fn windows(place: &Place, name: &str) -> BTreeSet<(i64, String, i64)> {
    let rows = tables::newest(&place.open(), name, "device");
    let second = |micros: i64| (micros / 1000 - BEGIN_MS) / 1000;
    let row =
        |row: &tables::Row| (second(row["window_start"].int()), row["device"].text().to_owned(), row["count"].int());
    rows.iter().map(row).collect()
}

fn numbered(starts: &[i64], device: &str, count: i64) -> BTreeSet<(i64, String, i64)> {
    starts.iter().map(|start| (*start, device.to_owned(), count)).collect()
}

#[test]
fn workers_without_partitions_hold_nobody_up() {
    let desk = Desk::new(&configuration(FILES, RATE, &window("ten", "10s")));
    let place = Place::local();
    // No epoch ends by the time it takes, so that whoever waits for one waits in vain.
    let endless = ["-w", "3", "--set", "pipeline.epoch=1h", "--set", "pipeline.checkpoint_every=1h"];
    let endless = [&endless[..], &["--set", "pipeline.watchdog=12h"]].concat();
    add(&desk, "a", 0..35);
    run(&desk, &place, &endless).well();
    add(&desk, "a", 35..61);
    run(&desk, &place, &endless).well();
    assert_eq!(windows(&place, "ten"), numbered(&[0, 10, 20, 30, 40, 50], "a", 10));
}

#[test]
fn windows_and_fields_may_come_and_go_and_a_new_window_begins_with_what_it_has_seen_whole() {
    let desk = Desk::new(&configuration(FILES, RATE, &(window("ten", "10s") + &window("gone", "20s"))));
    let place = Place::local();
    add(&desk, "a", 0..35);
    run(&desk, &place, &["-w", "1"]).well();
    configure(
        &desk,
        &configuration(
            FILES,
            "\"Rate\" = \"float\"\n\"Load\" = \"int\"",
            &(window("ten", "10s") + &window("new", "5s")),
        ),
    );
    add(&desk, "a", 35..61);
    run(&desk, &place, &["-w", "3"]).well();
    assert_eq!(windows(&place, "ten"), numbered(&[0, 10, 20, 30, 40, 50], "a", 10));
    assert_eq!(windows(&place, "new"), numbered(&[35, 40, 45, 50, 55], "a", 5), "the event at 34 was read without it");
    assert_eq!(windows(&place, "gone"), numbered(&[0], "a", 20), "what was published stays, and nothing follows");
    let events = tables::rows(&place.open(), "events", &["Load"]);
    let loads = events.iter().filter(|row| row.get("Load").is_some_and(|load| *load != Cell::Null)).count();
    assert_eq!((events.len(), loads), (61, 26), "files of both shapes stand beside each other");
    let late = tables::rows(&place.open(), "late", &[]);
    assert!(late.is_empty(), "nothing was late: {late:?}");
    // A window that comes back begins anew, and has to be what its table holds.
    configure(&desk, &configuration(FILES, RATE, &(window("ten", "10s") + &window("gone", "30s"))));
    run(&desk, &place, &[]).with(2, &["`windows.gone.size` has changed", "(it was 20s, and is 30s)", "restore them"]);
    configure(&desk, &configuration(FILES, RATE, &(window("ten", "10s") + &window("gone", "20s"))));
    add(&desk, "a", 61..101);
    run(&desk, &place, &["-w", "2"]).well();
    assert_eq!(windows(&place, "gone"), &numbered(&[0], "a", 20) | &numbered(&[80], "a", 20));
    desk.say(&["verify", &place.url, "--deep", "--source", "tidewatch.toml"]);
}

#[test]
fn what_stored_state_depends_on_is_refused_by_key_with_what_it_was_and_what_it_is() {
    let desk = Desk::new(&configuration(FILES, RATE, &window("ten", "10s")));
    let place = Place::local();
    add(&desk, "a", 0..35);
    run(&desk, &place, &[]).well();
    let manifests = || place.open().list(&ObjectKey::of(["_checkpoints"])).unwrap();
    let before = manifests();
    for (set, words) in [
        ("event.fields.Rate=int", ["`event.fields.Rate`", "(it was float, and is int)"]),
        ("windows.ten.slide=5s", ["`windows.ten.slide`", "(it was 10s, and is 5s)"]),
        ("windows.ten.by=[\"key\"]", ["`windows.ten.by`", r#"(it was ["device"], and is ["key"])"#]),
        ("windows.ten.aggregates.Rate=mean", ["`windows.ten.aggregates.Rate`", r#"(it was ["sum"], and is ["mean"])"#]),
        ("event.key=$file", ["`event.key`", "(it was device, and is $partition)"]),
        ("output.partition_by=day", ["`output.partition_by`", "(it was hour, and is day)"]),
    ] {
        run(&desk, &place, &["--set", set]).with(2, &[words[0], words[1], "or begin another output (--output)"]);
    }
    assert_eq!(manifests(), before, "nothing was claimed");
    for free in [
        "watermark.allowed_lateness=5m",
        "event.time={ field = \"ts\", format = \"unix_us\" }",
        "event.fields.Rate={ type = \"float\", default = 1 }",
        "output.publish_every=0s",
        "pipeline.checkpoint_every=1s",
    ] {
        run(&desk, &place, &["--set", free]).well();
    }
}

#[test]
fn files_that_come_go_and_return_are_read_once_whatever_the_number_of_workers() {
    let desk = Desk::new(&configuration(FILES, RATE, &window("ten", "10s")));
    let place = Place::local();
    add(&desk, "b", 0..20);
    run(&desk, &place, &["-w", "2"]).well();
    let resting = desk.path("b.ndjson");
    std::fs::rename(desk.path("flows/b.ndjson"), &resting).unwrap();
    add(&desk, "a", 0..45);
    add(&desk, "c", 0..45);
    run(&desk, &place, &["-w", "3"]).well();
    assert!(
        windows(&place, "ten").is_superset(&numbered(&[0, 10, 20, 30], "a", 10)),
        "a file that rests holds nothing back"
    );
    std::fs::rename(&resting, desk.path("flows/b.ndjson")).unwrap();
    add(&desk, "b", 20..45);
    run(&desk, &place, &["-w", "1"]).well();
    let all = ["a", "b", "c"].map(|device| numbered(&[0, 10, 20, 30], device, 10));
    assert_eq!(windows(&place, "ten"), all.into_iter().flatten().collect());
    let events = tables::rows(&place.open(), "events", &["partition", "offset"]);
    assert_eq!((events.len(), events.into_iter().collect::<BTreeSet<_>>().len()), (135, 135));
    std::fs::write(desk.path("flows/b.ndjson"), "").unwrap();
    let ended = run(&desk, &place, &[]);
    ended.with(1, &["b.ndjson", "was read up to record 45 before, but now ends after 0 records"]);
}

/// The next offset of each partition by the ledger, which has no gap.
fn offsets(place: &Place) -> BTreeMap<String, i64> {
    let mut rows = tables::rows(&place.open(), "ledger", &["partition", "from_offset", "to_offset", "epoch"]);
    rows.retain(|row| row["partition"] != Cell::Null);
    rows.sort_by_key(|row| row["epoch"].int());
    let mut offsets: BTreeMap<String, i64> = BTreeMap::new();
    for row in rows {
        let next = offsets.entry(row["partition"].text().to_owned()).or_default();
        assert_eq!(*next, row["from_offset"].int(), "{row:?}");
        *next = row["to_offset"].int();
    }
    offsets
}

/// The ids of all partitions in the newest manifest.
fn ids(place: &Place) -> BTreeMap<String, u64> {
    let storage = place.open();
    let newest = storage.list(&ObjectKey::of(["_checkpoints"])).unwrap();
    let newest = newest.into_iter().map(|file| file.key).filter(|key| key.name().ends_with(".json")).max().unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&storage.get(&newest).unwrap()).unwrap();
    let partitions = manifest["entry"]["checkpoint"]["partitions"].as_array().unwrap().clone();
    let pair = |partition: &serde_json::Value| {
        (partition["name"].as_str().unwrap().to_owned(), partition["id"].as_u64().unwrap())
    };
    partitions.iter().map(pair).collect()
}

#[test]
fn topics_that_come_go_return_and_change_places_are_read_once_and_keep_their_ids() {
    let broker = MockBroker::start().unwrap();
    for topic in ["a", "b", "c", "d"] {
        broker.create_topic(topic, 2).unwrap();
    }
    let mut second = 0;
    let mut send = |topics: &[&str]| {
        for topic in topics {
            for partition in 0..2 {
                second += 1;
                let at = BEGIN_MS + second * 1000;
                let payload = format!(r#"{{"ts":{at},"device":"{topic}","Rate":1}}"#);
                broker.append_at(topic, partition, None, Some(payload.as_bytes()), Some(at)).unwrap();
            }
        }
        broker.flush().unwrap();
    };
    let source = |topics: &[&str]| {
        let source = format!("[source.kafka]\nbrokers = {:?}\ntopics = {topics:?}", broker.brokers());
        configuration(&source, RATE, &window("ten", "10s"))
    };
    let (desk, place) = (Desk::new(&source(&["a"])), Place::local());
    let step = |topics: &[&str], workers: &str| {
        configure(&desk, &source(topics));
        run(&desk, &place, &["-w", workers]).well();
        (offsets(&place), ids(&place))
    };
    let of = |pairs: &[(&str, i64)]| {
        let both = |(topic, next): &(&str, i64)| [0, 1].map(|partition| (format!("{topic}/{partition}"), *next));
        pairs.iter().flat_map(both).collect::<BTreeMap<_, _>>()
    };
    send(&["a", "b", "c"]);
    let (found, first) = step(&["a"], "2");
    assert_eq!(found, of(&[("a", 1)]));
    send(&["a", "b", "c"]);
    let (found, more) = step(&["c", "a"], "3");
    assert_eq!(found, of(&[("a", 2), ("c", 2)]));
    assert!(first.iter().all(|(name, id)| more[name] == *id), "{first:?} {more:?}");
    send(&["a", "c"]);
    assert_eq!(step(&["c"], "1").0, of(&[("a", 2), ("c", 3)]), "what rests stays where it was");
    let (found, all) = step(&["b", "a", "c"], "2");
    assert_eq!(found, of(&[("a", 3), ("b", 2), ("c", 3)]));
    assert!(more.iter().all(|(name, id)| all[name] == *id), "{more:?} {all:?}");
    assert_eq!(all.values().collect::<BTreeSet<_>>().len(), 6, "no id is given twice: {all:?}");
    desk.say(&["verify", &place.url, "--deep"]);
    configure(&desk, &source(&["d"]));
    run(&desk, &place, &[]).with(2, &["read from `kafka: b, a, c`, and the source is `kafka: d`"]);
    configure(&desk, &configuration(FILES, RATE, &window("ten", "10s")));
    add(&desk, "a", 0..1);
    run(&desk, &place, &[]).with(2, &["and the source is `files: flows`"]);
    let events = tables::rows(&place.open(), "events", &["partition", "offset"]);
    assert_eq!((events.len(), events.into_iter().collect::<BTreeSet<_>>().len()), (16, 16));
}

#[test]
fn messages_that_were_there_before_are_not_taken_for_those_of_a_topic_that_was_made_anew() {
    let broker = MockBroker::start().unwrap();
    broker.create_topic("a", 1).unwrap();
    for second in 0..3 {
        let payload = format!(r#"{{"ts":{},"device":"a","Rate":1}}"#, BEGIN_MS + second * 1000);
        broker.append("a", 0, None, Some(payload.as_bytes())).unwrap();
    }
    broker.flush().unwrap();
    let source = |brokers: &str| format!("[source.kafka]\nbrokers = {brokers:?}\ntopics = [\"a\"]");
    let desk = Desk::new(&configuration(&source(&broker.brokers()), RATE, &window("ten", "10s")));
    let place = Place::local();
    run(&desk, &place, &[]).well();
    let other = MockBroker::start().unwrap();
    other.create_topic("a", 1).unwrap();
    configure(&desk, &configuration(&source(&other.brokers()), RATE, &window("ten", "10s")));
    let words = ["offset 3 of `a` partition 0 lies beyond its end, 0", "made anew or truncated"];
    run(&desk, &place, &[]).with(1, &words);
}
