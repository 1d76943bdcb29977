//! Processes that hang, die or are told to stop at a bad time: the rest ends by itself, says why, and goes on when it is started again.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod flow;
mod testbed;

use std::time::Duration;

use flow::disturbed::{Disturbed, PARTITIONS};
use flow::place::Place;
use flow::program::{Desk, Ended, Program, configuration};
use flow::proxy::{Proxy, Weather};
use flow::{events, until};
use tidewatch::checkpoint::places::{manifests, sequence_of};

/// Far below the patience with a store, and enough for a busy machine.
const SOON: Duration = Duration::from_secs(25);

fn commits(program: &Program) -> usize {
    program.log().matches("checkpoint committed").count()
}

/// Waits until every process runs and the first has committed.
fn flowing(running: &mut [Program]) {
    until("a checkpoint", || {
        running.iter_mut().for_each(|program| assert!(program.is_running(), "{}", program.log()));
        (commits(&running[0]) > 1).then_some(())
    });
}

fn ends_soon(program: Program) -> Ended {
    let ended = program.end();
    assert!(ended.took < SOON, "{:?}\n{}", ended.took, ended.log);
    ended
}

#[test]
fn a_process_that_hangs_ends_the_others_which_go_on_when_they_are_started_again() {
    let Some(brokers) = testbed::kafka() else { return };
    let (disturbed, place) = (Disturbed::new(&brokers, 6_000, 31, &[]), Place::local());
    let watched = ["--set", "pipeline.watchdog=4s"];
    let mut hanging = 0;
    disturbed.send(2, 31, || {
        let mut running = disturbed.start_with(&place, 2, 1, &watched);
        flowing(&mut running);
        // First process 0, which commits; then the other one.
        let paused = running.remove(hanging);
        paused.pause();
        let other = ends_soon(running.remove(0));
        other.with(1, &["nothing moves", "standing_seconds=4"]);
        paused.kill();
        hanging += 1;
    });
    assert_eq!(hanging, 2);
    disturbed.drain(&place, "after two that hung");
    disturbed.assert_undisturbed(&place, "after two that hung");
}

#[test]
fn an_idle_run_is_not_taken_for_one_that_hangs() {
    let Some(brokers) = testbed::kafka() else { return };
    let (disturbed, place) = (Disturbed::new(&brokers, 1_000, 32, &[]), Place::local());
    let mut running = disturbed.start_with(&place, 1, 2, &["--set", "pipeline.watchdog=6s"]);
    flowing(&mut running);
    let before = commits(&running[0]);
    // At three a second these take longer than nothing may move.
    until("checkpoints without an event", || {
        assert!(running[0].is_running(), "{}", running[0].log());
        (commits(&running[0]) > before + 30).then_some(())
    });
    running.remove(0).terminate().well();
}

#[test]
fn one_process_of_three_that_dies_ends_the_others_and_all_go_on_when_they_are_started_again() {
    let Some(brokers) = testbed::kafka() else { return };
    let (disturbed, place) = (Disturbed::new(&brokers, 6_000, 33, &[]), Place::local());
    let mut dying = 0;
    disturbed.send(2, 33, || {
        let mut running = disturbed.start(&place, 3, 1);
        flowing(&mut running);
        running.remove(dying).kill();
        for other in running {
            let ended = ends_soon(other);
            assert_ne!(ended.code, Some(0), "{}", ended.log);
        }
        dying += 1;
    });
    disturbed.drain(&place, "after two that died");
    disturbed.assert_undisturbed(&place, "after two that died");
}

#[test]
fn one_process_of_a_cluster_that_is_told_to_stop_stops_all_after_a_last_checkpoint() {
    let Some(brokers) = testbed::kafka() else { return };
    let (disturbed, place) = (Disturbed::new(&brokers, 2_000, 34, &[]), Place::local());
    for told in [0, 1] {
        let mut running = disturbed.start(&place, 2, 1);
        flowing(&mut running);
        let told = running.remove(told).terminate().well();
        assert!(told.took < SOON, "{:?}", told.took);
        ends_soon(running.remove(0)).well();
    }
}

#[test]
fn a_stop_before_the_cluster_is_complete_or_the_store_answers_ends_soon_and_well() {
    let Some(brokers) = testbed::kafka() else { return };
    let disturbed = Disturbed::new(&brokers, 1_000, 35, &[]);
    let alone = disturbed.start(&Place::local(), 2, 1).remove(0);
    let connects = |program: &Program| program.log().contains("serving /metrics") || program.log().contains("taken");
    until("a start", || connects(&alone).then_some(()));
    let ended = alone.terminate().well();
    assert!(ended.took < SOON && ended.log.contains("stopped before anything was read"), "{}", ended.log);
    let Some(place) = Place::on_store() else { return };
    let proxy = Proxy::to(&testbed::variable("TIDEWATCH_TEST_S3_ENDPOINT").unwrap(), 35);
    proxy.set(Weather::Hangs);
    let waiting = disturbed.start(&place.behind(&proxy.endpoint()), 1, 1).remove(0);
    until("news of the store", || waiting.log().contains("store does not answer").then_some(()));
    let ended = waiting.terminate().well();
    assert!(ended.took < Duration::from_secs(5), "{:?}", ended.took);
}

#[test]
fn a_stop_while_the_store_hangs_ends_within_the_grace_and_says_what_was_not_done() {
    let (Some(brokers), Some(place)) = (testbed::kafka(), Place::on_store()) else { return };
    let disturbed = Disturbed::new(&brokers, 2_000, 36, &[]);
    let proxy = Proxy::to(&testbed::variable("TIDEWATCH_TEST_S3_ENDPOINT").unwrap(), 36);
    let place = place.behind(&proxy.endpoint());
    let mut running = disturbed.start(&place, 1, 2);
    flowing(&mut running);
    proxy.set(Weather::Hangs);
    disturbed.send(1, 36, || ());
    let ended = running.remove(0).terminate();
    ended.with(1, &["the last checkpoint was not committed within 30 s", "the next start goes on from the one before"]);
    assert!(ended.took < Duration::from_secs(40), "{:?}", ended.took);
    proxy.set(Weather::Fair);
    disturbed.drain(&place, "after a stop without a last checkpoint");
    disturbed.assert_undisturbed(&place, "after a stop without a last checkpoint");
}

/// A reader that waits for its store holds its worker, which so cannot see that the time is over.
#[test]
fn a_stop_while_the_store_of_a_recording_hangs_does_not_wait_for_its_patience() {
    let Some(recordings) = Place::on_store() else { return };
    let proxy = Proxy::to(&testbed::variable("TIDEWATCH_TEST_S3_ENDPOINT").unwrap(), 37);
    let storage = recordings.open();
    for (number, flows) in events::flows(80_000, PARTITIONS, 37).iter().enumerate() {
        let text: String = flows.iter().map(|event| event.line.clone() + "\n").collect();
        let key = tidewatch::storage::key::ObjectKey::of([format!("flows-{number}.ndjson").as_str()]);
        storage.put(&key, &bytes::Bytes::from(text)).unwrap();
    }
    let desk = Desk::new(&configuration("localhost:9", "nowhere", false));
    let (place, endpoint) = (Place::local(), format!("output.s3.endpoint={}", proxy.endpoint()));
    let replay = ["replay", "tidewatch.toml", "-q", "--set", &endpoint, "--from", &recordings.url];
    let program = desk.start(&place.with(&replay));
    until("a checkpoint", || {
        let listed = place.open().list(&manifests()).ok()?;
        (listed.iter().filter(|object| sequence_of(&object.key).is_some()).count() > 1).then_some(())
    });
    proxy.set(Weather::Hangs);
    let ended = program.terminate();
    assert!(ended.took < Duration::from_secs(40), "{:?}\n{}", ended.took, ended.log);
    // Unless it had all of it by then, or was not waiting for the store in that moment.
    let is_known =
        ["a worker is held up", "interrupted; what was read is committed"].iter().any(|end| ended.log.contains(end));
    assert!(ended.code == Some(0) || is_known, "{}", ended.log);
    proxy.set(Weather::Fair);
    desk.start(&place.with(&replay)).end().well();
}
