//! `verify` where outputs live: on a real store, against a real topic.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod flow;
mod testbed;

use bytes::Bytes;
use flow::events;
use flow::place::Place;
use flow::program::{Desk, configuration};
use flow::topic::Topic;
use tidewatch::storage::Copy;
use tidewatch::storage::key::ObjectKey;

const PARTITIONS: usize = 4;

#[test]
fn damage_on_a_store_is_found_and_named() {
    let Some(place) = Place::on_store() else { return };
    let desk = Desk::new(&configuration("localhost:9", "nowhere", false));
    events::record(&events::flows(4_000, PARTITIONS, 41), &desk.path("flows"));
    desk.start(&place.with(&["replay", "tidewatch.toml", "--from", "flows", "-q"])).end().well();
    place.assert_whole("on a store");
    let storage = place.open();
    let list = |folder: &str| storage.list(&ObjectKey::of(folder.split('/'))).unwrap();
    let file = &list("windows/by_label")[0];
    let bytes = storage.get(&file.key).unwrap();
    let found = |what: &str, wanted: &str, name: &ObjectKey| {
        let said = place.faults();
        assert!(said.iter().any(|said| said.contains(wanted) && said.contains(name.as_str())), "{what}: {said:?}");
    };

    storage.delete(&file.key).unwrap();
    found("a file is deleted", "is missing", &file.key);
    let mut flipped = bytes.to_vec();
    flipped[30] ^= 1;
    storage.put(&file.key, &Bytes::from(flipped)).unwrap();
    found("a bit is flipped", "digest", &file.key);
    storage.put(&file.key, &bytes).unwrap();
    place.assert_whole("put right");
    let twin = ObjectKey::of(["windows", "by_device", file.key.name()]);
    storage.copy(&Copy { from: file.key.clone(), to: twin.clone(), size: file.size }).unwrap();
    found("a file is there twice", "named by no row", &twin);
    storage.delete(&twin).unwrap();
    let manifests = list("_checkpoints");
    let newest = &manifests.iter().rfind(|object| object.key.name().ends_with(".json")).unwrap().key;
    let manifest = storage.get(newest).unwrap();
    storage.put(newest, &Bytes::from([&manifest[..], b" "].concat())).unwrap();
    found("the newest manifest is edited", "cannot be read", newest);
    storage.put(newest, &manifest).unwrap();
    place.assert_whole("put right");
}

#[test]
fn what_was_read_of_a_topic_is_compared_with_the_topic() {
    let Some(brokers) = testbed::kafka() else { return };
    let topic = Topic::new(&brokers, PARTITIONS);
    let parts = events::cut(&events::flows(4_000, PARTITIONS, 42), 2);
    topic.send(&parts[0]);
    let (desk, place) = (Desk::new(&configuration(&brokers, &topic.name, false)), Place::local());
    desk.start(&place.with(&["run", "tidewatch.toml", "--once", "-w", "2"])).end().well();
    // What came since is no fault.
    topic.send(&parts[1]);
    let verify = ["verify", &place.url, "--source", "tidewatch.toml"];
    desk.start(&verify).end().well();
    topic.delete_before(0, 5);
    desk.start(&verify).end().well();
}
