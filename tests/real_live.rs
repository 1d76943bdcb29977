//! A live run that is stopped, killed, resumed and grown, against a replay that nobody disturbed.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod flow;
mod testbed;

use std::collections::BTreeSet;
use std::time::Duration;

use flow::events::{self, Partitions, Random};
use flow::place::Place;
use flow::program::{Desk, Program, configuration};
use flow::tables::{self, Cell, Row};
use flow::topic::Topic;
use flow::{naive, until};

const ROWS: usize = 20_000;
const PARTITIONS: usize = 8;

fn committed(topic: &Topic, desk: &Desk, running: &mut [Program]) {
    until("the group's offsets at the end of the topic", || {
        for program in running.iter_mut() {
            assert!(program.is_running(), "{}", program.log());
        }
        (topic.lag(&desk.group) == 0).then_some(())
    });
}

/// Ends it without a warning, some time after its start: not to wait for anything. What it leaves is whole.
fn kill_after(program: Program, wait: Duration, place: &Place) {
    std::thread::park_timeout(wait);
    program.kill();
    place.assert_whole("killed");
}

/// Each offset is in the ledger once, and each accepted one among the events once.
fn check_nothing_lost_or_twice(place: &Place, sent: &Partitions) {
    place.assert_whole("in the end");
    let storage = &place.open();
    let admitted = naive::admit(sent);
    let accounts = tables::accounts(storage);
    for (partition, events) in sent.iter().enumerate() {
        let (account, too_late) = (&accounts[&partition], admitted.too_late.iter().filter(|(of, _)| *of == partition));
        assert_eq!(account.read, events.len() as i64, "partition {partition}");
        assert_eq!(account.next, events.len() as i64, "partition {partition}");
        assert_eq!(account.too_late, too_late.count() as i64, "partition {partition}");
        assert_eq!((account.quarantined, account.skipped, account.lost), (0, 0, 0), "partition {partition}");
    }
    let offsets = |(partition, events): (usize, &Vec<_>)| (0..events.len()).map(move |at| (partition, at as i64));
    let every: BTreeSet<(usize, i64)> = sent.iter().enumerate().flat_map(offsets).collect();
    assert_eq!(tables::addresses(storage, "late"), admitted.too_late.iter().copied().collect::<Vec<_>>());
    let accepted: Vec<(usize, i64)> = every.difference(&admitted.too_late).copied().collect();
    assert_eq!(tables::addresses(storage, "events"), accepted);
}

fn windows(place: &Place) -> [Vec<Row>; 2] {
    let storage = place.open();
    [tables::newest(&storage, "by_label", "label"), tables::newest(&storage, "by_device", "device")]
}

#[test]
fn a_live_run_that_was_stopped_and_killed_equals_an_undisturbed_replay() {
    let (Some(brokers), Some(place)) = (testbed::kafka(), Place::on_store()) else { return };
    let sent = events::flows(ROWS, PARTITIONS, 11);
    let parts = events::cut(&sent, 4);
    let topic = Topic::new(&brokers, PARTITIONS);
    let desk = Desk::new(&configuration(&brokers, &topic.name, false));
    let run = |workers| place.with(&["run", "tidewatch.toml", "-w", workers]);
    // Started before there is anything to read, and stopped when windows can be seen.
    let mut running = [desk.start(&run("2"))];
    topic.send(&parts[0]);
    until("windows in the output", || (!tables::newest(&place.open(), "by_label", "label").is_empty()).then_some(()));
    committed(&topic, &desk, &mut running);
    let [program] = running;
    let ended = program.terminate().well();
    assert!(ended.took < Duration::from_secs(20), "a stop takes {:?}", ended.took);
    // Killed twice, with other numbers of workers, while it reads.
    topic.send(&parts[1]);
    let mut random = Random(11);
    for workers in ["1", "3"] {
        kill_after(desk.start(&run(workers)), Duration::from_millis(200 + random.below(2500)), &place);
    }
    // Two processes go on, are stopped, and one catches up with the rest.
    topic.send(&parts[2]);
    let mut running = desk.start_cluster(2, &place.with(&["run", "tidewatch.toml"]));
    committed(&topic, &desk, &mut running);
    let [first, second] = <[Program; 2]>::try_from(running).ok().unwrap();
    let second = std::thread::spawn(move || second.terminate());
    first.terminate().well();
    second.join().unwrap().well();
    let closers = events::closers(ROWS, PARTITIONS);
    topic.send(&parts[3]);
    topic.send(&closers);
    let mut running = [desk.start(&run("3"))];
    committed(&topic, &desk, &mut running);
    let [program] = running;
    program.terminate().well();
    check_nothing_lost_or_twice(&place, &events::joined(&[sent, closers]));
    let undisturbed = Place::local();
    desk.start(&undisturbed.with(&["replay", "tidewatch.toml", "--from", "kafka", "-q", "-w", "1"])).end().well();
    let (ours, theirs) = (windows(&place), windows(&undisturbed));
    for (ours, theirs) in ours.iter().flatten().zip(theirs.iter().flatten()) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(ours.map(|rows| rows.len()), theirs.map(|rows| rows.len()));
}

#[test]
fn runs_up_to_what_is_there_go_on_where_the_last_one_ended() {
    let Some(brokers) = testbed::kafka() else { return };
    let sent = events::flows(6_000, PARTITIONS, 12);
    let parts = events::cut(&sent, 2);
    let topic = Topic::new(&brokers, PARTITIONS);
    let desk = Desk::new(&configuration(&brokers, &topic.name, false));
    let place = Place::local();
    let once = |workers| desk.start(&place.with(&["run", "tidewatch.toml", "--once", "-w", workers])).end().well();
    topic.send(&parts[0]);
    once("2");
    let ends = |place: &Place| {
        let rows = tables::newest(&place.open(), "by_label", "label");
        rows.iter().map(|row| row["window_end"].int()).max().unwrap()
    };
    // 3,000 events are 15 s: only the window before the last has been passed by every partition.
    assert_eq!(ends(&place), (events::BEGIN_MS + 10_000) * 1000);
    let undisturbed = Place::local();
    topic.send(&parts[1]);
    let closers = events::closers(6_000, PARTITIONS);
    topic.send(&closers);
    once("3");
    // There is nothing more: a third run changes nothing.
    once("1");
    check_nothing_lost_or_twice(&place, &events::joined(&[sent, closers]));
    desk.start(&undisturbed.with(&["replay", "tidewatch.toml", "--from", "kafka", "-q"])).end().well();
    assert_eq!(windows(&place), windows(&undisturbed));
}

/// What tells an anomaly from another, and its score to the last bit.
fn anomaly(value: &serde_json::Value) -> (String, i64, String) {
    let partition = value["partition"].as_str().unwrap().to_owned();
    (partition, value["offset"].as_i64().unwrap(), format!("{:x}", value["score"].as_f64().unwrap().to_bits()))
}

#[test]
fn every_anomaly_is_on_its_topic_once_after_a_kill_and_a_resume() {
    let Some(brokers) = testbed::kafka() else { return };
    let sent = events::flows(6_000, 4, 13);
    let parts = events::cut(&sent, 3);
    let (topic, anomalies) = (Topic::new(&brokers, 4), Topic::new(&brokers, 2));
    let output = format!("[output.kafka]\ntopic = {:?}\n\n[[windows]]", anomalies.name);
    let configured = configuration(&brokers, &topic.name, true)
        .replace("[[windows]]\nname = \"by_device\"", &(output + "\nname = \"by_device\""));
    let pipeline = format!("name = {:?}", testbed::fresh("anomalies"));
    let desk = Desk::new(&configured.replace("name = \"iomt\"", &pipeline));
    let place = Place::local();
    let run = |workers| desk.start(&place.with(&["run", "tidewatch.toml", "-w", workers]));
    topic.send(&parts[0]);
    let program = run("1");
    until("anomalies on the topic", || (!anomalies.committed().is_empty()).then_some(()));
    topic.send(&parts[1]);
    program.kill();
    kill_after(run("2"), Duration::from_millis(1500), &place);
    topic.send(&parts[2]);
    let mut running = [run("2")];
    committed(&topic, &desk, &mut running);
    let [program] = running;
    program.terminate().well();
    place.assert_whole("in the end");
    let rows = tables::rows(&place.open(), "anomalies", &["partition", "offset", "score"]);
    let bits = |row: &Row| if let Cell::Float(bits) = row["score"] { format!("{bits:x}") } else { panic!("no score") };
    let mut wanted: Vec<(String, i64, String)> =
        rows.iter().map(|row| (row["partition"].text().to_owned(), row["offset"].int(), bits(row))).collect();
    let records = anomalies.committed();
    let mut found: Vec<_> =
        records.iter().map(|(_, payload)| anomaly(&serde_json::from_str(payload).unwrap())).collect();
    wanted.sort();
    found.sort();
    assert!(wanted.len() > 100, "the flows hold anomalies");
    assert_eq!(found, wanted);
    let keys: BTreeSet<&String> = records.iter().map(|(key, _)| key).collect();
    assert_eq!(keys.len(), records.len(), "an idempotency key belongs to one record");
}

#[test]
fn partitions_added_while_running_are_read_from_their_beginning() {
    let Some(brokers) = testbed::kafka() else { return };
    let sent = events::flows(6_000, PARTITIONS, 14);
    let (parts, closers) = (events::cut(&sent, 2), events::closers(6_000, PARTITIONS));
    let mut topic = Topic::new(&brokers, PARTITIONS / 2);
    let quick = "\"topic.metadata.refresh.interval.ms\" = 200\n\n[event]";
    let configured = configuration(&brokers, &topic.name, false).replacen(
        "[event]",
        &format!("[source.kafka.librdkafka]\n{quick}"),
        1,
    );
    let (desk, place) = (Desk::new(&configured), Place::local());
    let mut running = [desk.start(&place.with(&["run", "tidewatch.toml", "-w", "2"]))];
    topic.send(&parts[0][..PARTITIONS / 2].to_vec());
    committed(&topic, &desk, &mut running);
    topic.grow(PARTITIONS);
    topic.send(
        &parts[0]
            .iter()
            .enumerate()
            .map(|(at, events)| if at < PARTITIONS / 2 { vec![] } else { events.clone() })
            .collect(),
    );
    committed(&topic, &desk, &mut running);
    topic.send(&parts[1]);
    topic.send(&closers);
    committed(&topic, &desk, &mut running);
    let [program] = running;
    program.terminate().well();
    check_nothing_lost_or_twice(&place, &events::joined(&[sent, closers]));
    let undisturbed = Place::local();
    desk.start(&undisturbed.with(&["replay", "tidewatch.toml", "--from", "kafka", "-q"])).end().well();
    assert_eq!(windows(&place), windows(&undisturbed));
}
