//! A process that was thought dead: paused at some instant, replaced, and woken up. It ends and says why, its successor goes on, and
//! nothing of it shows: neither in the tables nor on the topic of anomalies.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod flow;
mod testbed;

use std::time::Duration;

use flow::disturbed::{Disturbed, number, pass};
use flow::events::Random;
use flow::place::Place;
use flow::program::Program;
use flow::until;
use tidewatch::checkpoint::places::{manifests, sequence_of};

/// How often a process is replaced.
const ROUNDS: usize = 6;

fn commits(program: &mut Program) -> usize {
    assert!(program.is_running(), "{}", program.log());
    program.log().matches("checkpoint committed").count()
}

/// Waits until it has committed so many more.
fn commit(program: &mut Program, more: usize) {
    let before = commits(program);
    until("checkpoints", || (commits(program) >= before + more).then_some(()));
}

fn start(disturbed: &Disturbed, place: &Place, random: &mut Random) -> Program {
    disturbed.start(place, 1, 1 + random.below(2) as usize).remove(0)
}

/// Where a process is paused.
#[derive(Clone, Copy, Debug)]
enum Instant {
    /// Anywhere.
    Random,
    /// Right after a manifest was created: what it names is neither sent nor visible.
    Committed,
    /// Right after it claimed the output.
    Claimed,
}

/// Replaces `program` by a process of its own kind that is paused at `instant`; gives that one.
fn pause(program: Program, instant: Instant, (disturbed, place): (&Disturbed, &Place), random: &mut Random) -> Program {
    let mut program = program;
    match instant {
        Instant::Random => pass(Duration::from_millis(random.below(700))),
        Instant::Committed => {
            let storage = place.open();
            let newest =
                || storage.list(&manifests()).unwrap().iter().filter_map(|object| sequence_of(&object.key)).max();
            let before = newest();
            while newest() == before {
                assert!(program.is_running(), "{}", program.log());
            }
        }
        Instant::Claimed => {
            program.terminate().well();
            program = start(disturbed, place, random);
            while !program.log().contains("output claimed") {
                assert!(program.is_running(), "{}", program.log());
                pass(Duration::from_micros(200));
            }
        }
    }
    program.pause();
    program
}

fn zombies_change_nothing(place: &Place) {
    let Some(brokers) = testbed::kafka() else { return };
    let seed = number("TIDEWATCH_TEST_CHAOS_SEED", || 7);
    let what = format!("TIDEWATCH_TEST_CHAOS_SEED={seed}, {}", place.url);
    println!("{what}");
    let mut random = Random(seed);
    let disturbed = Disturbed::new(&brokers, 3_000 * (ROUNDS + 1), seed, &[]);
    let mut running = Some(start(&disturbed, place, &mut random));
    let mut round = 0;
    disturbed.send(ROUNDS + 1, seed, || {
        round += 1;
        if round == 1 {
            return;
        }
        commit(running.as_mut().unwrap(), 2);
        let instant = [Instant::Random, Instant::Committed, Instant::Claimed][round % 3];
        let zombie = pause(running.take().unwrap(), instant, (&disturbed, place), &mut random);
        let mut successor = start(&disturbed, place, &mut random);
        commit(&mut successor, 3);
        zombie.resume();
        let ended = zombie.end();
        ended.with(1, &["taken this output over"]);
        assert!(ended.took < Duration::from_secs(20), "{what}, round {round}: {:?}", ended.took);
        commit(&mut successor, 3);
        running = Some(successor);
    });
    running.take().unwrap().terminate().well();
    disturbed.drain(place, &what);
    let answers = disturbed.assert_undisturbed(place, &what);
    assert_eq!(answers.read(), disturbed.records(ROUNDS + 1), "{what}");
}

#[test]
fn a_paused_process_that_was_replaced_ends_and_changes_nothing_on_a_store() {
    let Some(place) = Place::on_store() else { return };
    zombies_change_nothing(&place);
}

#[test]
fn a_paused_process_that_was_replaced_ends_and_changes_nothing_on_a_disk() {
    zombies_change_nothing(&Place::local());
}
