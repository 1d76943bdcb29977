//! Memory while the store is away, while keys are made up, while one partition is hours behind. Peaks are the kernel's own (`VmHWM`).
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod flow;
mod testbed;

use std::io::Write as _;
use std::time::{Duration, Instant};

use flow::events::{self, BEGIN_MS, Event};
use flow::place::Place;
use flow::program::{Desk, Program, configuration};
use flow::proxy::{Proxy, Weather};
use flow::topic::Topic;
use flow::{tables, until};
use testbed::variable;

const MIB: u64 = 1 << 20;

fn committed(program: &Program) -> usize {
    program.log().matches("checkpoint committed").count()
}

/// Events of nothing but a time and a key.
fn bare(at_ms: i64, device: String) -> Event {
    let line = format!(r#"{{"ts":{at_ms},"device":"{device}","label":"x","level":1.5}}"#);
    Event { at_ms, device, label: "x".to_owned(), fields: Default::default(), line }
}

#[test]
fn a_store_that_is_away_is_waited_for_and_told_once_and_what_came_meanwhile_is_read() {
    let (Some(brokers), Some(place)) = (testbed::kafka(), Place::on_store()) else { return };
    let topic = Topic::new(&brokers, 4);
    let text = configuration(&brokers, &topic.name, false)
        .replace("epoch = \"50ms\"", "epoch = \"50ms\"\nwatchdog = \"5s\"")
        .replace("start = \"earliest\"", "start = \"earliest\"\nqueue_size = \"16MiB\"");
    let desk = Desk::new(&text);
    let proxy = Proxy::to(&variable("TIDEWATCH_TEST_S3_ENDPOINT").unwrap(), 41);
    let place = place.behind(&proxy.endpoint());
    let flows = events::flows(60_000, 4, 41);
    let sent_bytes: usize = flows.iter().flatten().map(|event| event.line.len()).sum();
    topic.send(&flows);
    let mut program = desk.start(&place.with(&["run", "tidewatch.toml", "-w", "2"]));
    until("the end of what is there", || (topic.lag(&desk.group) == 0).then_some(()));
    let before = program.peak_memory();
    proxy.set(Weather::Hangs);
    // Six times what was read before: it stays where it is.
    const TIMES: usize = 6;
    (0..TIMES).for_each(|_| topic.send(&flows));
    until("news of the store", || program.log().contains("store does not answer").then_some(()));
    let away = Instant::now();
    until("a time that is longer than the watchdog's", || (away.elapsed() > Duration::from_secs(12)).then_some(()));
    assert!(program.is_running(), "a store that is away is no hang: {}", program.log());
    let grown = program.peak_memory() - before;
    let waits = (sent_bytes * TIMES) as u64;
    println!("peak before {} MiB, grown by {} MiB, {} MiB waiting", before / MIB, grown / MIB, waits / MIB);
    let commits = committed(&program);
    proxy.set(Weather::Fair);
    until("the rest", || (topic.lag(&desk.group) == 0).then_some(()));
    assert!(committed(&program) > commits);
    let ended = program.terminate().well();
    for news in ["store does not answer", "store answers again"] {
        assert_eq!(ended.log.matches(news).count(), 1, "once for each change: {}", ended.log);
    }
    let read: i64 = tables::accounts(&place.open()).values().map(|account| account.read).sum();
    assert_eq!(read, (60_000 * (TIMES + 1)) as i64);
}

/// Events with texts that do not compress well, a quarter of a kilobyte each; all of them are stored.
const TEXTS: &str = r#"
[pipeline]
name = "texts"
checkpoint_every = "1s"
[source.files]
paths = ["texts-0.ndjson"]
[event]
format = "json"
time = { field = "ts", format = "unix_ms" }
key = "device"
[event.fields]
"level" = "float"
"text" = "text"
[[windows]]
name = "by_device"
size = "60s"
by = ["key"]
[windows.aggregates]
"level" = ["mean", "p95"]
"text" = ["last"]
[output]
url = "out"
events = "all"
file_size = "8MiB"
publish_every = "1s"
"#;

fn write_texts(file: &std::path::Path, lines: i64) -> u64 {
    let mut random = events::Random(43);
    let mut text = std::io::BufWriter::new(std::fs::File::create(file).unwrap());
    for line in 0..lines {
        let words: String = (0..12).map(|_| format!("{:016x}", random.next())).collect();
        let (at, device) = (BEGIN_MS + line * 10, line % 200);
        writeln!(text, r#"{{"ts":{at},"device":"device-{device}","level":{}.5,"text":"{words}"}}"#, line % 97).unwrap();
    }
    text.into_inner().unwrap().metadata().unwrap().len()
}

#[test]
fn memory_levels_off_while_the_store_is_away_however_much_there_is_to_read() {
    let Some(place) = Place::on_store() else { return };
    const LINES: i64 = 2_000_000;
    let desk = Desk::new(TEXTS);
    let bytes = write_texts(&desk.path("texts-0.ndjson"), LINES);
    let proxy = Proxy::to(&variable("TIDEWATCH_TEST_S3_ENDPOINT").unwrap(), 43);
    let place = place.behind(&proxy.endpoint());
    let program = desk.start(&place.with(&["replay", "tidewatch.toml", "--from", "texts-0.ndjson", "-w", "2"]));
    until("a first checkpoint", || (committed(&program) > 0).then_some(()));
    let before = program.peak_memory();
    proxy.set(Weather::Hangs);
    let mut last = (0, Instant::now());
    until("a standstill", || {
        let read = program.bytes_read();
        // What is said about the store is read from nowhere.
        if read > last.0 + MIB {
            last = (read, Instant::now());
        }
        (last.1.elapsed() > Duration::from_secs(5)).then_some(())
    });
    let (grown, read) = (program.peak_memory() - before, last.0);
    println!("{} of {} MiB read, peak {} and grown by {} MiB", read / MIB, bytes / MIB, before / MIB, grown / MIB);
    // README has the formula: two tables of 8 MiB on two workers, 16 MiB of uploads, and four epochs of 8 MiB on the worker that reads, as
    // columns; the rest is the making of files.
    assert!(grown < 160 * MIB, "{} MiB", grown / MIB);
    assert!(read < bytes / 2, "the source stopped, and did not only come to its end");
    proxy.set(Weather::Fair);
    program.end().well();
    let read: i64 = tables::accounts(&place.open()).values().map(|account| account.read).sum();
    assert_eq!(read, LINES);
}

#[test]
fn a_flood_of_keys_ends_the_run_at_the_limit_and_names_the_window() {
    let Some(brokers) = testbed::kafka() else { return };
    let topic = Topic::new(&brokers, 2);
    let key = |at: i64| bare(BEGIN_MS + at, format!("made-up-{at:07}"));
    topic.send(&vec![(0..30_000).map(key).collect(), (30_000..60_000).map(key).collect()]);
    let (desk, place) = (Desk::new(&configuration(&brokers, &topic.name, false)), Place::local());
    let run = ["run", "tidewatch.toml", "-w", "2", "--once"];
    let ended = desk.start(&place.with(&[&run[..], &["--set", "pipeline.groups_max=10000"]].concat())).end();
    ended.with(1, &["window `by_device` holds", "pipeline.groups_max = 10000", "raise it"]);
    // The state is as it was: with a higher limit it goes on.
    desk.start(&place.with(&run)).end().well();
    let read: i64 = tables::accounts(&place.open()).values().map(|account| account.read).sum();
    assert_eq!(read, 60_000);
}

#[test]
fn a_partition_that_is_hours_behind_costs_time_and_not_memory() {
    let Some(brokers) = testbed::kafka() else { return };
    // Eight hours of each of 200 devices every 10 s; one partition's are all there too, but nothing was read of it yet.
    const HOURS: i64 = 8;
    let device = |partition: i64| {
        let events = (0..HOURS * 360).flat_map(move |tick| {
            (0..50).map(move |device| bare(BEGIN_MS + tick * 10_000, format!("device-{partition}-{device:02}")))
        });
        events.collect::<Vec<Event>>()
    };
    let mut sent: events::Partitions = (0..4).map(device).collect();
    let topic = Topic::new(&brokers, 4);
    let behind = std::mem::take(&mut sent[3]);
    topic.send(&sent);
    // The first event of the slow one is there, so it is not idle.
    topic.send(&vec![vec![], vec![], vec![], behind[..1].to_vec()]);
    let peak = |max_drift: &str| {
        let text = configuration(&brokers, &topic.name, false)
            .replace("max_drift = \"1h\"", &format!("max_drift = {max_drift:?}"));
        let (desk, place) = (Desk::new(&text), Place::local());
        let program = desk.start(&place.with(&["run", "tidewatch.toml", "-w", "1"]));
        let mut last = (0, Instant::now());
        until("a standstill", || {
            let lag = topic.lag(&desk.group);
            if lag != last.0 {
                last = (lag, Instant::now());
            }
            (last.1.elapsed() > Duration::from_secs(3) && committed(&program) > 3).then_some(())
        });
        let peak = program.peak_memory();
        program.terminate().well();
        (peak, last.0)
    };
    let ((bounded, held), (unbounded, read)) = (peak("10m"), peak("24h"));
    println!("max_drift 10m: {} MiB, {held} records held back; 24h: {} MiB, {read}", bounded / MIB, unbounded / MIB);
    // Each may be ahead by 10 min and a first batch of about 14 min of it, and is let go on when it is 5 min ahead.
    let an_hour = 3 * 50 * 360;
    assert!(held > an_hour * (HOURS - 1), "the others wait: {held}");
    assert_eq!(read, 0, "without a bound they do not");
    assert!(bounded < unbounded, "{bounded} of {unbounded} bytes");
}
