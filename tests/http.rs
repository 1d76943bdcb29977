//! What a run tells over HTTP, against what it wrote and what was given to it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod flow;
mod testbed;

use std::io::Write;
use std::net::TcpListener;
use std::time::Duration;

use flow::events::{self, Partitions};
use flow::exposition::{address, get, parsed, samples, sum};
use flow::place::Place;
use flow::program::{Desk, configuration};
use flow::{naive, tables, until};

const ROWS: usize = 4_000;

/// A pipeline over files that a live run reads, serving where `listen` says.
fn desk(listen: &str) -> Desk {
    let text = configuration("unused:1", "unused", true);
    let (from, to) = (text.find("[source.kafka]").unwrap(), text.find("[event]").unwrap());
    let source = "[source.files]\npaths = [\"flows\"]\n\n";
    let http = if listen.is_empty() { String::new() } else { format!("\n[http]\nlisten = {listen:?}\n") };
    Desk::new(&format!("{}{source}{}{http}", &text[..from], &text[to..]))
}

fn given(desk: &Desk) -> Partitions {
    let parts = [events::flows(ROWS, 2, 21), events::closers(ROWS, 2)];
    let sent = events::joined(&parts);
    events::record(&sent, &desk.path("flows"));
    sent
}

#[test]
fn counts_over_http_are_those_of_the_tables() {
    let (desk, place) = (desk("127.0.0.1:0"), Place::local());
    let sent = given(&desk);
    let mut bad = std::fs::File::options().append(true).open(desk.path("flows/flows-0.ndjson")).unwrap();
    bad.write_all(b"{\"ts\":1704067200000,\n{\"device\":\"a\"}\n{\"device\":\"b\"}\n").unwrap();
    let program = desk.start(&place.with(&["run", "tidewatch.toml", "-w", "2"]));
    let address = address(&program);
    until("readiness", || (get(address, "/readyz") == (200, "ok\n".to_owned())).then_some(()));
    assert_eq!(get(address, "/healthz"), (200, "ok\n".to_owned()));
    let records = (ROWS + 2 + 3) as f64;
    let published = |table: &str| format!("tidewatch_rows_published_total{{table=\"{table}\"}}");
    let seen = until("all of it in visible files", || {
        let seen = samples(address);
        let windows = sum(&seen, "tidewatch_windows_published_total");
        let visible = |table: &str| seen.get(&published(table)).copied().unwrap_or(0.0);
        let is_visible = visible("events") == seen["events_processed_total"]
            && visible("anomalies") == sum(&seen, "anomalies_detected_total")
            && visible("quarantine") == 3.0
            && visible("windows/by_label") + visible("windows/by_device") >= windows;
        (is_visible && windows > 0.0 && seen["tidewatch_records_read_total"] == records).then_some(seen)
    });
    let admitted = naive::admit(&sent);
    assert_eq!(seen["tidewatch_events_too_late_total"], admitted.too_late.len() as f64);
    assert_eq!(seen["events_processed_total"], (ROWS + 2 - admitted.too_late.len()) as f64);
    assert_eq!(seen["tidewatch_records_quarantined_total{reason=\"syntax\"}"], 1.0);
    assert_eq!(seen["tidewatch_records_quarantined_total{reason=\"bad_time\"}"], 2.0);
    assert_eq!(seen["processing_latency_seconds_count"], seen["events_processed_total"]);
    assert_eq!(sum(&seen, "tidewatch_scores_total"), seen["events_processed_total"]);
    assert_eq!(seen["tidewatch_detector_loaded{detector=\"flow\"}"], 1.0);
    assert_eq!(seen["tidewatch_workers"], 2.0);
    assert!(seen["tidewatch_checkpoint_duration_seconds_count"] >= 1.0);
    assert!(seen["tidewatch_process_resident_memory_bytes"] > 1e6);
    let late = seen["tidewatch_events_late_total"];
    assert!(late > 0.0 && late < seen["events_processed_total"], "{late} of the flows come 8 s late");
    program.terminate().well();
    let storage = place.open();
    let rows = |table: &str, columns: &[&str]| tables::rows(&storage, table, columns);
    assert_eq!(sum(&seen, "anomalies_detected_total"), rows("anomalies", &["score"]).len() as f64);
    for window in ["by_label", "by_device"] {
        let revisions = rows(&format!("windows/{window}"), &["revision"]);
        let first = revisions.iter().filter(|row| row["revision"].int() == 0).count() as f64;
        assert_eq!(seen[&format!("tidewatch_windows_published_total{{window={window:?}}}")], first, "{window}");
    }
}

#[test]
fn each_process_of_a_cluster_tells_its_own_share() {
    let (desk, place) = (desk("127.0.0.1:0"), Place::local());
    let sent = given(&desk);
    let processes = desk.start_cluster(2, &place.with(&["run", "tidewatch.toml"]));
    let accepted = (ROWS + 2 - naive::admit(&sent).too_late.len()) as f64;
    let shares = until("all events in both processes together", || {
        let seen: Vec<_> = processes.iter().map(|process| samples(address(process))).collect();
        let committed: f64 = seen.iter().map(|seen| seen["processing_latency_seconds_count"]).sum();
        (committed == accepted).then_some(seen)
    });
    for (process, seen) in processes.iter().zip(&shares) {
        assert!(seen["events_processed_total"] < accepted, "each reads one of the two files");
        assert_eq!(seen["processing_latency_seconds_count"], seen["events_processed_total"]);
        // Process 0 alone commits; the other sees it by the frontier.
        assert!(seen["tidewatch_checkpoint_duration_seconds_count"] > 0.0);
        assert_eq!(get(address(process), "/readyz"), (200, "ok\n".to_owned()));
    }
    let [first, second] = <[_; 2]>::try_from(processes).ok().unwrap();
    let second = std::thread::spawn(move || second.terminate());
    first.terminate().well();
    second.join().unwrap().well();
}

#[test]
fn every_metric_is_ours_by_name_and_well_formed_from_the_start_on() {
    let (desk, place) = (desk("127.0.0.1:0"), Place::local());
    given(&desk);
    let program = desk.start(&place.with(&["run", "tidewatch.toml", "-w", "1"]));
    let address = address(&program);
    // Whatever the run has come to when it is asked, the text is whole.
    let (_, early) = get(address, "/metrics");
    let agreed = ["events_processed", "anomalies_detected", "processing_latency_seconds"];
    for sample in parsed(&early).keys() {
        let is_ours = sample.starts_with("tidewatch_") || agreed.iter().any(|name| sample.starts_with(name));
        assert!(is_ours, "{sample}");
    }
    assert!(get(address, "/").1.contains("/readyz"));
    assert_eq!(get(address, "/nothing").0, 404);
    program.terminate().well();
}

#[test]
fn a_live_run_fails_if_the_address_that_it_was_told_is_taken_and_work_with_an_end_goes_on() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let named = taken.local_addr().unwrap().to_string();
    let (desk, place, other) = (desk(&named), Place::local(), Place::local());
    given(&desk);
    let failed = desk.start(&place.with(&["run", "tidewatch.toml"])).end();
    failed.with(1, &[&format!("cannot listen on {named}"), "http.listen"]);
    let once = desk.start(&other.with(&["run", "tidewatch.toml", "--once"])).end().well();
    assert!(once.log.contains("address taken"), "{}", once.log);
}

#[test]
fn a_live_run_that_was_told_no_address_goes_on_where_the_usual_one_is_taken() {
    // If another process has it, it is taken as well.
    let _taken = TcpListener::bind(("127.0.0.1", tidewatch::serve::PORT));
    let (desk, place) = (desk(""), Place::local());
    given(&desk);
    let program = desk.start(&place.with(&["run", "tidewatch.toml"]));
    until("the warning", || program.log().contains("address taken").then_some(()));
    until("a commit", || program.log().contains("checkpoint committed").then_some(()));
    program.terminate().well();
}

#[test]
fn nothing_is_served_where_the_configuration_says_off() {
    let (desk, place) = (desk("off"), Place::local());
    given(&desk);
    let program = desk.start(&place.with(&["run", "tidewatch.toml"]));
    until("a commit", || program.log().contains("checkpoint committed").then_some(()));
    let ended = program.terminate().well();
    assert!(!ended.log.contains("serving") && !ended.log.contains("address taken"), "{}", ended.log);
}

#[test]
fn health_asks_a_run_and_answers_by_its_exit_code() {
    let (desk, place) = (desk("127.0.0.1:0"), Place::local());
    given(&desk);
    let program = desk.start(&place.with(&["run", "tidewatch.toml"]));
    let address = address(&program).to_string();
    desk.start(&["health", &address]).end().well();
    until("readiness", || {
        (desk.start(&["health", &address.replace("127.0.0.1", "localhost"), "--ready"]).end().code == Some(0))
            .then_some(())
    });
    program.terminate().well();
    let gone = desk.start(&["health", &address]).end();
    gone.with(1, &[&address]);
    assert!(gone.took < Duration::from_secs(10));
}
