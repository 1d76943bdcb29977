//! Kills, at instants that nobody chose: of the program, with other numbers of workers and processes between, and of the services it
//! leans on. What is left in the end is what a run leaves that nobody disturbed, to the bit.
//!
//! `TIDEWATCH_TEST_CHAOS_KILLS` says how many kills (20 unless said), `TIDEWATCH_TEST_CHAOS_SEED` which; a failure tells its seed.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod flow;
mod testbed;

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use flow::disturbed::{Disturbed, number, pass};
use flow::events::Random;
use flow::place::Place;
use flow::program::Program;
use flow::proxy::{Proxy, Weather};
use flow::until;

/// The parts that the topic fills in: at most one a kill.
const PARTS: usize = 20;

/// Starts and kills, as the seed has it, while the topic fills; gives how many runs had committed anything.
fn kill_again_and_again(disturbed: &Disturbed, place: &Place, kills: u64, seed: u64) -> u64 {
    let mut random = Random(seed);
    let mut committed = 0;
    for kill in 0..kills {
        let (processes, workers) = (1 + random.below(3) as usize / 2, 1 + random.below(4) as usize);
        let workers = if processes > 1 { workers.min(2) } else { workers };
        let mut running = disturbed.start(place, processes, workers);
        // Some die while they start, most while they work.
        if random.below(4) > 0 {
            let commits = 1 + random.below(4) as usize;
            until("checkpoints", || {
                assert!(running[0].is_running(), "seed {seed}, run {kill}: {}", running[0].log());
                (running[0].log().matches("checkpoint committed").count() >= commits).then_some(())
            });
        }
        pass(Duration::from_millis(random.below(1_000)));
        for program in &mut running {
            assert!(program.is_running(), "seed {seed}, run {kill}: it ended by itself: {}", program.log());
        }
        let logs: Vec<String> = running.into_iter().map(|program| program.kill()).collect();
        committed += u64::from(logs[0].contains("checkpoint committed"));
        assert!(processes > 1 || !logs[0].contains("panic"), "seed {seed}, run {kill}: {logs:?}");
    }
    committed
}

#[test]
fn a_run_killed_at_random_instants_leaves_what_an_undisturbed_one_does() {
    let (Some(brokers), Some(place)) = (testbed::kafka(), Place::on_store()) else { return };
    let _alone = alone();
    let seed = number("TIDEWATCH_TEST_CHAOS_SEED", || 7);
    let kills = number("TIDEWATCH_TEST_CHAOS_KILLS", || 20);
    println!("TIDEWATCH_TEST_CHAOS_SEED={seed}");
    let disturbed = Disturbed::new(&brokers, 1_500 * kills as usize, seed, &[]);
    let is_over = AtomicBool::new(false);
    let parts = PARTS * kills as usize / 20;
    let committed = std::thread::scope(|scope| {
        scope.spawn(|| {
            disturbed.send(parts, seed, || {
                // Spread over the kills; all of it at once when they are over.
                if !is_over.load(Ordering::Relaxed) {
                    pass(Duration::from_millis(1_800));
                }
            });
        });
        let committed = kill_again_and_again(&disturbed, &place, kills, seed);
        is_over.store(true, Ordering::Relaxed);
        committed
    });
    let what = format!("TIDEWATCH_TEST_CHAOS_SEED={seed} TIDEWATCH_TEST_CHAOS_KILLS={kills}");
    assert!(committed * 3 > kills, "{what}: only {committed} of them had committed anything");
    disturbed.drain(&place, &what);
    let answers = disturbed.assert_undisturbed(&place, &what);
    assert_eq!(answers.read(), disturbed.records(parts), "{what}");
    assert!(answers.late() > 10 && answers.quarantined() > parts, "{what}: {} late", answers.late());
}

/// The services are shared by all tests of this file.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    // A test that failed has left nothing half done: services are started and resumed by whoever stopped them.
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The script that runs the services, and one of them that is down. Dropped, it is up again.
struct Down<'a> {
    script: &'a str,
    service: &'a str,
    up: &'a str,
}

fn control(script: &str, words: [&str; 2]) {
    let done = Command::new(script).args(words).output().unwrap();
    assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
}

impl<'a> Down<'a> {
    fn by(script: &'a str, (down, up): (&str, &'a str), service: &'a str) -> Down<'a> {
        control(script, [down, service]);
        Down { script, service, up }
    }
}

impl Drop for Down<'_> {
    fn drop(&mut self) {
        control(self.script, [self.up, self.service]);
    }
}

#[test]
fn a_broker_and_a_store_that_are_killed_and_paused_are_waited_for_and_change_nothing() {
    let (Some(brokers), Some(place)) = (testbed::kafka(), Place::on_store()) else { return };
    let Some(script) = testbed::variable("TIDEWATCH_TEST_TESTBED") else { return };
    let _alone = alone();
    let seed = number("TIDEWATCH_TEST_CHAOS_SEED", || 7);
    let rounds = number("TIDEWATCH_TEST_CHAOS_OUTAGES", || 1);
    let what = format!("TIDEWATCH_TEST_CHAOS_SEED={seed} TIDEWATCH_TEST_CHAOS_OUTAGES={rounds}");
    println!("{what}");
    let mut random = Random(seed);
    let outages: Vec<(&str, (&str, &str))> = (0..rounds)
        .flat_map(|_| [("minio", KILLED), ("kafka-1", KILLED), ("minio", PAUSED), ("kafka-1", PAUSED)])
        .collect();
    let disturbed = Disturbed::new(&brokers, 2_000 * (outages.len() + 1), seed, &[]);
    let mut program = disturbed.start(&place, 1, 2).remove(0);
    let mut outages = outages.iter();
    disturbed.send(outages.len() + 1, seed, || {
        let before = program.log().matches("checkpoint committed").count();
        until("checkpoints after the last outage", || {
            assert!(program.is_running(), "{what}: {}", program.log());
            (program.log().matches("checkpoint committed").count() > before + 2).then_some(())
        });
        let Some((service, how)) = outages.next() else { return };
        let down = Down::by(&script, *how, service);
        pass(Duration::from_millis(1_500 + random.below(5_000)));
        drop(down);
    });
    until("the end of the topic", || {
        assert!(program.is_running(), "{what}: {}", program.log());
        (disturbed.topic.lag(&disturbed.desk.group) == 0).then_some(())
    });
    let ended = program.terminate().well();
    let told = |news: &str| ended.log.matches(news).count();
    // Outages that are shorter than a time-out are not seen, and none is told twice.
    assert!(told("store does not answer") <= 2 * rounds as usize, "{what}: {}", ended.log);
    assert_eq!(told("store does not answer"), told("store answers again"), "{what}: {}", ended.log);
    disturbed.assert_undisturbed(&place, &what);
}

const KILLED: (&str, &str) = ("kill", "start");
const PAUSED: (&str, &str) = ("pause", "resume");

#[test]
fn a_store_that_refuses_breaks_off_and_answers_nothing_after_having_written_changes_nothing() {
    let (Some(brokers), Some(place)) = (testbed::kafka(), Place::on_store()) else { return };
    let _alone = alone();
    let seed = number("TIDEWATCH_TEST_CHAOS_SEED", || 7);
    let what = format!("TIDEWATCH_TEST_CHAOS_SEED={seed}");
    println!("{what}");
    let proxy = Proxy::to(&testbed::variable("TIDEWATCH_TEST_S3_ENDPOINT").unwrap(), seed);
    let place = place.behind(&proxy.endpoint());
    let disturbed = Disturbed::new(&brokers, 12_000, seed, &[]);
    proxy.set(Weather::Storm([100, 80, 60, 2]));
    let mut program = disturbed.start(&place, 1, 2).remove(0);
    disturbed.send(6, seed, || {
        let begun = Instant::now();
        let before = program.log().matches("checkpoint committed").count();
        until("checkpoints", || {
            assert!(program.is_running() && begun.elapsed() < Duration::from_secs(90), "{what}: {}", program.log());
            (program.log().matches("checkpoint committed").count() > before + 3).then_some(())
        });
    });
    // And killed in the storm.
    program.kill();
    disturbed.drain(&place, &what);
    proxy.set(Weather::Fair);
    disturbed.assert_undisturbed(&place, &what);
}

#[test]
fn an_outage_is_told_once_when_it_begins_and_once_when_it_is_over() {
    let (Some(brokers), Some(place)) = (testbed::kafka(), Place::on_store()) else { return };
    let _alone = alone();
    let proxy = Proxy::to(&testbed::variable("TIDEWATCH_TEST_S3_ENDPOINT").unwrap(), 5);
    let place = place.behind(&proxy.endpoint());
    let disturbed = Disturbed::new(&brokers, 1_000, 5, &[]);
    let mut program = disturbed.start(&place, 1, 2).remove(0);
    let told = |program: &Program, news: &str| program.log().matches(news).count();
    for (outage, weather) in [Weather::Busy, Weather::Hangs].into_iter().enumerate() {
        let before = told(&program, "checkpoint committed");
        until("checkpoints", || (told(&program, "checkpoint committed") > before + 2).then_some(()));
        proxy.set(weather);
        until("news of the outage", || (told(&program, "store does not answer") == outage + 1).then_some(()));
        // Many requests fail meanwhile.
        pass(Duration::from_secs(3));
        proxy.set(Weather::Fair);
        until("news of its end", || (told(&program, "store answers again") == outage + 1).then_some(()));
        assert!(program.is_running(), "{}", program.log());
    }
    let ended = program.terminate().well();
    let warnings: Vec<&str> = ended.log.lines().filter(|line| line.contains("WARN")).collect();
    let of_the_store = warnings.iter().filter(|line| line.contains("store")).count();
    assert_eq!(of_the_store, 2, "{warnings:?}");
}
