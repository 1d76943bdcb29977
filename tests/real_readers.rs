//! pyarrow, DuckDB and Polars read every table as it is, and an exact calculation in Python agrees with the windows.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod flow;
mod testbed;

use std::path::Path;
use std::process::Command;

use flow::events;
use flow::place::Place;
use flow::program::{Desk, configuration};

#[test]
fn python_readers_take_every_table_as_it_is() {
    let Some(python) = testbed::variable("TIDEWATCH_TEST_PYTHON") else { return };
    let desk = Desk::new(&configuration("localhost:9", "nowhere", true));
    let flows = desk.path("flows");
    events::record(&events::flows(8_000, 2, 31), &flows);
    let bad = "{\"ts\":1,\"device\":7\n\u{1F4A9}\n{\"ts\":\"never\",\"device\":\"d\"}\n";
    std::fs::write(flows.join("flows-2.ndjson"), bad).unwrap();
    let place = Place::local();
    desk.start(&place.with(&["replay", "tidewatch.toml", "--from", "flows", "-q"])).end().well();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/readers/check.py");
    let read = Command::new(python).arg(script).args([&place.url, flows.to_str().unwrap()]).output().unwrap();
    let told = String::from_utf8_lossy(&read.stdout).into_owned() + &String::from_utf8_lossy(&read.stderr);
    assert!(read.status.success(), "{told}");
    for table in ["windows/by_label", "windows/by_device", "events", "anomalies", "late", "quarantine", "ledger"] {
        let line = told.lines().find(|line| line.starts_with(&format!("{table}: ")));
        assert!(line.is_some_and(|line| line.contains(" rows, the same for ")), "{table} was not compared in\n{told}");
    }
}
