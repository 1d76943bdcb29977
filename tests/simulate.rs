//! Simulated devices as a user meets them: `simulate` into files and Kafka, and a pipeline that reads them as its source.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod flow;
mod testbed;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use flow::place::Place;
use flow::program::Desk;
use flow::{tables, until};
use testbed::{Seen, read_until};
use tidewatch::broker::mock::MockBroker;
use tidewatch::domain::ids::PartitionId;
use tidewatch::sources::kafka::{KafkaClient, KafkaReader};
use tidewatch::sources::simulator::Truth;

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidewatch"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("TIDEWATCH_")) {
        command.env_remove(name);
    }
    command.args(["simulate", "-q"]).args(arguments).current_dir(folder).stdin(Stdio::null());
    command
}

fn simulate(folder: &Path, arguments: &[&str]) -> Output {
    command(folder, arguments).output().unwrap()
}

fn summary(output: &Output) -> serde_json::Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn refusal(output: &Output) -> String {
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

/// Twelve devices for five minutes, with two faults of every kind after the first.
const TROUBLED: [&str; 8] = ["--devices", "12", "--duration", "5m", "--faults", "20", "--calm", "1m"];

#[test]
fn a_folder_gets_a_file_for_each_partition_and_the_truth_that_the_summary_counts() {
    let folder = tempfile::tempdir().unwrap();
    let told = summary(&simulate(folder.path(), &[&["--to", "day", "--json", "--label"][..], &TROUBLED].concat()));
    let events: Vec<String> =
        (0..4).flat_map(|index| lines(&folder.path().join(format!("day/fleet-{index}.ndjson")))).collect();
    assert_eq!(told["messages"], events.len());
    assert_eq!(told["messages_planned"], events.len());
    assert_eq!(std::fs::read_dir(folder.path().join("day")).unwrap().count(), 5);
    let truth = lines(&folder.path().join("day/_truth.ndjson"));
    let truth: Vec<Truth> = truth.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(truth.len(), 20);
    for (kind, counts) in told["faults"].as_object().unwrap() {
        let rows = truth.iter().filter(|row| row.kind == *kind);
        assert_eq!(counts["messages"], rows.map(|row| row.messages).sum::<u64>(), "{kind}");
        // What is added is one more than what is labelled, and what is withheld bears no label.
        let labelled = events.iter().filter(|event| event.contains(&format!("\"label\":\"{kind}\""))).count() as u64;
        match kind.as_str() {
            "silence" => assert_eq!(labelled, 0),
            "duplicates" => assert_eq!(counts["messages"], labelled / 2),
            // One of six is not displaced.
            "out_of_order" => assert!(counts["messages"].as_u64().unwrap() < labelled),
            _ => assert_eq!(counts["messages"], labelled, "{kind}"),
        }
    }
}

#[test]
fn a_file_is_never_written_over_and_holds_one_partition() {
    let folder = tempfile::tempdir().unwrap();
    let small = ["--devices", "2", "--duration", "3s"];
    for file in ["a.csv", "b.parquet", "c.ndjson"] {
        let told = summary(&simulate(folder.path(), &[&["--to", file, "--json"][..], &small].concat()));
        assert_eq!((&told["messages"], &told["partitions"]), (&6.into(), &1.into()), "{file}");
    }
    let before = std::fs::read(folder.path().join("a.csv")).unwrap();
    assert!(refusal(&simulate(folder.path(), &["--to", "a.csv"])).contains("`a.csv` is there already"));
    assert_eq!(std::fs::read(folder.path().join("a.csv")).unwrap(), before);
    assert!(refusal(&simulate(folder.path(), &["--to", "d.csv", "--partitions", "2"])).contains("name a folder"));
}

#[test]
fn a_configuration_says_what_is_simulated_and_options_stand_above_it() {
    let folder = tempfile::tempdir().unwrap();
    let text = "[source.simulator]\nprofile = \"sensors\"\ndevices = 3\nduration = \"4s\"\n";
    std::fs::write(folder.path().join("c.toml"), text).unwrap();
    let output =
        simulate(folder.path(), &["c.toml", "--to", "-", "--devices", "2", "--set", "source.simulator.seed=9"]);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), 8);
    assert!(text.contains("sensor-00001") && !text.contains("sensor-00002"));
    let told = refusal(&simulate(folder.path(), &["c.toml", "--to", "-", "--profile", "flet", "--every", "soon"]));
    assert!(told.contains("source.simulator.profile (--profile)") && told.contains("did you mean `fleet`?"), "{told}");
    assert!(told.contains("source.simulator.every (--every)"), "{told}");
    std::fs::write(folder.path().join("k.toml"), "[source.files]\npaths = [\"x\"]\n").unwrap();
    assert!(refusal(&simulate(folder.path(), &["k.toml", "--to", "-"])).contains("no [source.simulator]"));
}

#[test]
fn a_stop_leaves_whole_lines_and_says_how_far_it_went() {
    let folder = tempfile::tempdir().unwrap();
    let arguments =
        ["--to", "live.ndjson", "--speed", "100", "--devices", "5", "--duration", "10h", "--faults", "50", "--json"];
    let mut child = command(folder.path(), &arguments);
    let child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let file = folder.path().join("live.ndjson");
    until("some messages", || std::fs::metadata(&file).ok().filter(|metadata| metadata.len() > 10_000));
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    let told = summary(&child.wait_with_output().unwrap());
    assert_eq!(told["interrupted"], true);
    let lines = lines(&file);
    assert_eq!(told["messages"], lines.len());
    for line in &lines {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
}

#[test]
fn a_topic_gets_what_a_folder_gets_keyed_by_device_and_its_truth_beside_it() {
    let broker = MockBroker::start().unwrap();
    broker.create_topic("fleet", 3).unwrap();
    broker.create_topic("fleet-truth", 1).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let to = format!("kafka://{}/fleet", broker.brokers());
    let start = ["--start", "2026-01-01T00:00:00Z", "--json"];
    let told = summary(&simulate(folder.path(), &[&["--to", &to][..], &start, &TROUBLED].concat()));
    assert_eq!(told["partitions"], 3, "as many as the topic has");
    summary(&simulate(folder.path(), &[&["--to", "day", "--partitions", "3"][..], &start, &TROUBLED].concat()));
    let sent = read_topic(&broker.brokers(), "fleet");
    for partition in 0..3 {
        let expected = lines(&folder.path().join(format!("day/fleet-{partition}.ndjson")));
        let found: Vec<&String> = sent[&PartitionId(partition)].iter().map(|(_, text)| text).collect();
        assert!(expected.iter().eq(found), "partition {partition}");
    }
    let truth = read_topic(&broker.brokers(), "fleet-truth");
    let truth: Vec<String> = truth[&PartitionId(0)].iter().map(|(_, text)| text.clone()).collect();
    assert_eq!(truth, lines(&folder.path().join("day/_truth.ndjson")));
    let few = simulate(folder.path(), &["--to", &to, "--partitions", "4"]);
    assert!(refusal(&few).contains("topic `fleet` has 3 partitions, and 4 are wanted"));
}

fn read_topic(brokers: &str, topic: &str) -> BTreeMap<PartitionId, Vec<(i64, String)>> {
    let client = KafkaClient::connect(&testbed::spec(brokers, topic)).unwrap();
    let ends = client.ends().unwrap();
    let mut reader = KafkaReader::new(client, 0, 1, &|_| None, Some(&ends), testbed::wake()).unwrap();
    let mut seen = Seen::default();
    read_until(&mut reader, &mut seen, |seen| seen.ended.len() == ends.len()).unwrap();
    seen.records
}

/// A pipeline over a simulated fleet in which clocks go wrong.
const PIPELINE: &str = r#"
[pipeline]
name = "fleet"
checkpoint_every = "200ms"
epoch = "20ms"
[source.simulator]
devices = 12
duration = "10m"
partitions = 3
speed = "max"
seeded_faults = 20
calm = "1m"
[event]
time = { field = "ts", format = "unix_ms" }
key = "device"
[event.fields]
device = "text"
kind = "text"
temperature = "float"
rpm = "int"
on_mains = "bool"
[[windows]]
name = "by_device"
size = "10s"
by = ["device"]
[windows.aggregates]
temperature = ["mean", "stddev", "p95"]
rpm = ["max"]
[watermark]
out_of_orderness = "2s"
allowed_lateness = "10m"
[output]
url = "out"
publish_every = "0s"
"#;

/// Reads the truth of the pipeline's own simulation.
fn truth_of(desk: &Desk) -> (u64, Vec<Truth>) {
    let told = summary(&simulate(desk.folder.path(), &["tidewatch.toml", "--to", "day", "--json"]));
    let truth = lines(&desk.path("day/_truth.ndjson"));
    let truth = truth.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    (told["messages"].as_u64().unwrap(), truth)
}

#[test]
fn a_pipeline_reads_the_simulation_to_its_end_and_its_ledger_agrees_with_the_truth() {
    let desk = Desk::new(PIPELINE);
    let (messages, truth) = truth_of(&desk);
    let clocks = |is_wanted: fn(f64) -> bool| -> i64 {
        let rows = truth.iter().filter(|row| row.kind == "wrong_clock" && is_wanted(row.magnitude));
        rows.map(|row| row.messages as i64).sum()
    };
    // An hour ahead of the arrival is refused as from the future, an hour behind is too late; a minute late is only late.
    let (ahead, behind) = (clocks(|seconds| seconds > 0.0), clocks(|seconds| seconds < 0.0));
    assert!(ahead + behind > 0, "the seed places two wrong clocks");
    for (arguments, workers) in [(["run", "tidewatch.toml"], "1"), (["run", "tidewatch.toml"], "2")] {
        let place = Place::local();
        desk.start(&place.with(&[&arguments[..], &["-w", workers]].concat())).end().well();
        let accounts = tables::accounts(&place.open());
        assert_eq!(accounts.len(), 3);
        let all = |of: fn(&tables::Account) -> i64| accounts.values().map(of).sum::<i64>();
        assert_eq!(all(|account| account.read), messages as i64);
        assert_eq!(all(|account| account.quarantined), ahead);
        assert_eq!(all(|account| account.too_late), behind);
        assert_eq!(all(|account| account.accepted), messages as i64 - ahead - behind);
    }
}

#[test]
fn workers_and_cuts_change_no_window_of_a_simulation() {
    let desk = Desk::new(PIPELINE);
    let windows = |arguments: &[&str]| {
        let place = Place::local();
        desk.start(&place.with(arguments)).end().well();
        tables::newest(&place.open(), "by_device", "device")
    };
    let replay = ["replay", "tidewatch.toml", "--from", "simulator", "-q"];
    let one = windows(&[&replay[..], &["-w", "1"]].concat());
    assert!(one.len() > 600, "{} windows of 12 devices in 10 minutes", one.len());
    let cut = ["-w", "3", "--set", "pipeline.epoch=5ms", "--set", "pipeline.checkpoint_every=25ms"];
    assert!(one == windows(&[&replay[..], &cut].concat()), "three workers and short epochs give other windows");
}

#[test]
fn a_run_that_was_stopped_goes_on_where_it_was() {
    let desk = Desk::new(&PIPELINE.replace("speed = \"max\"", "speed = 1000"));
    let place = Place::local();
    let program = desk.start(&place.with(&["run", "tidewatch.toml", "-w", "2"]));
    until("a first checkpoint with rows", || {
        // The ledger is not there before.
        std::fs::read_dir(Path::new(&place.url).join("ledger")).ok().map(drop)
    });
    program.terminate().well();
    desk.start(&place.with(&["run", "tidewatch.toml", "--once", "-w", "1"])).end().well();
    let read: i64 = tables::accounts(&place.open()).values().map(|account| account.read).sum();
    assert_eq!(read, truth_of(&desk).0 as i64);
}
