//! The same events give the same bits: from Kafka and from files, on any number of workers and processes, on disk and store.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod flow;
mod testbed;

use flow::events::{self, Event, Partitions};
use flow::place::Place;
use flow::program::{Desk, configuration};
use flow::tables::{self, Row};
use flow::topic::Topic;
use flow::{naive, until};

const ROWS: usize = 40_000;
const PARTITIONS: usize = 8;

/// What must be the same in every run.
#[derive(Debug, PartialEq, Eq)]
struct Answers {
    by_label: Vec<Row>,
    by_device: Vec<Row>,
    too_late: Vec<(usize, i64)>,
}

fn answers(place: &Place) -> Answers {
    let storage = place.open();
    Answers {
        by_label: tables::newest(&storage, "by_label", "label"),
        by_device: tables::newest(&storage, "by_device", "device"),
        too_late: tables::addresses(&storage, "late"),
    }
}

impl Answers {
    /// Against a calculation that knows nothing of the program.
    fn check(&self, events: &Partitions) {
        let admitted = naive::admit(events);
        assert!(admitted.too_late.len() > 10, "the flows hold events that come too late");
        assert_eq!(self.too_late, admitted.too_late.iter().copied().collect::<Vec<_>>());
        let label = |event: &Event| event.label.clone();
        let device = |event: &Event| event.device.clone();
        let accepted = &admitted.accepted;
        naive::check(&self.by_label, "label", &naive::windows(accepted, (10_000, 10_000), label, naive::by_label));
        naive::check(&self.by_device, "device", &naive::windows(accepted, (60_000, 10_000), device, naive::by_device));
    }

    fn assert_same(&self, other: &Answers, what: &str) {
        for (ours, theirs) in [(&self.by_label, &other.by_label), (&self.by_device, &other.by_device)] {
            for (one, another) in ours.iter().zip(theirs) {
                assert_eq!(one, another, "{what}");
            }
            assert_eq!(ours.len(), theirs.len(), "{what}");
        }
        assert_eq!(self.too_late, other.too_late, "{what}");
    }
}

fn check_accounts(place: &Place, events: &Partitions) {
    place.assert_whole("in the end");
    let accounts = tables::accounts(&place.open());
    for (partition, events) in events.iter().enumerate() {
        let account = &accounts[&partition];
        assert_eq!((account.read, account.next), (events.len() as i64, events.len() as i64), "partition {partition}");
    }
}

#[test]
fn a_full_topic_gives_the_same_bits_on_any_workers_processes_and_stores() {
    let (Some(brokers), Some(store)) = (testbed::kafka(), Place::on_store()) else { return };
    let flows = events::flows(ROWS, PARTITIONS, 7);
    let topic = Topic::new(&brokers, PARTITIONS);
    topic.send(&flows);
    let desk = Desk::new(&configuration(&brokers, &topic.name, false));
    let replay = ["replay", "tidewatch.toml", "--from", "kafka", "-q"];
    let first = Place::local();
    desk.start(&first.with(&[&replay[..], &["-w", "1"]].concat())).end().well();
    let wanted = answers(&first);
    wanted.check(&flows);
    check_accounts(&first, &flows);
    for (workers, place) in [("2", store), ("3", Place::local())] {
        desk.start(&place.with(&[&replay[..], &["-w", workers]].concat())).end().well();
        wanted.assert_same(&answers(&place), &format!("-w {workers}"));
        check_accounts(&place, &flows);
    }
    let Some(place) = Place::on_store() else { return };
    for process in desk.start_cluster(2, &place.with(&replay)) {
        process.end().well();
    }
    wanted.assert_same(&answers(&place), "two processes");
    check_accounts(&place, &flows);
}

#[test]
fn files_give_the_bits_of_the_topic_they_hold() {
    let flows = events::flows(ROWS, PARTITIONS, 8);
    let desk = Desk::new(&configuration("localhost:9", "nowhere", false));
    events::record(&flows, &desk.path("flows"));
    let replay = ["replay", "tidewatch.toml", "--from", "flows", "-q"];
    let first = Place::local();
    desk.start(&first.with(&[&replay[..], &["-w", "1"]].concat())).end().well();
    let wanted = answers(&first);
    wanted.check(&flows);
    check_accounts(&first, &flows);
    let second = Place::local();
    for process in desk.start_cluster(2, &second.with(&[&replay[..], &["-w", "2"]].concat())) {
        process.end().well();
    }
    wanted.assert_same(&answers(&second), "two processes of two workers");
    let Some(brokers) = testbed::kafka() else { return };
    let topic = Topic::new(&brokers, PARTITIONS);
    topic.send(&flows);
    let (desk, third) = (Desk::new(&configuration(&brokers, &topic.name, false)), Place::local());
    desk.start(&third.with(&["replay", "tidewatch.toml", "--from", "kafka", "-q", "-w", "2"])).end().well();
    wanted.assert_same(&answers(&third), "Kafka");
}

#[test]
fn an_interrupted_replay_goes_on_and_gives_the_same_bits() {
    let flows = events::flows(ROWS, PARTITIONS, 9);
    let desk = Desk::new(&configuration("localhost:9", "nowhere", false));
    events::record(&flows, &desk.path("flows"));
    let replay = ["replay", "tidewatch.toml", "--from", "flows", "-q", "--set", "pipeline.checkpoint_every=50ms"];
    let place = Place::local();
    let killed = desk.start(&place.with(&replay));
    let checkpoints = std::path::Path::new(&place.url).join("_checkpoints");
    until("manifests of the first run", || {
        let found = std::fs::read_dir(&checkpoints).map_or(0, Iterator::count);
        (found > 2).then_some(())
    });
    killed.kill();
    place.assert_whole("killed");
    desk.start(&place.with(&[&replay[..], &["-w", "3"]].concat())).end().well();
    answers(&place).check(&flows);
    check_accounts(&place, &flows);
}
