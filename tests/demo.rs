//! `demo` as a newcomer meets it: what it says of itself is what its files hold.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tidewatch::audit::tables::Tables;
use tidewatch::audit::verify::{Depth, verify};
use tidewatch::audit::{anomalies, ledger};
use tidewatch::sources::simulator::Truth;
use tidewatch::storage::S3Options;

fn demo(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidewatch"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("TIDEWATCH_")) {
        command.env_remove(name);
    }
    command.arg("demo").args(arguments).current_dir(folder).stdin(Stdio::null());
    command
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

fn succeeded(output: Output) -> (String, String) {
    let (stdout, stderr) = (text(output.stdout), text(output.stderr));
    assert!(output.status.success(), "{stdout}\n{stderr}");
    (stdout, stderr)
}

fn truth(folder: &Path) -> Vec<Truth> {
    let truth = std::fs::read_to_string(folder.join("truth.ndjson")).unwrap();
    truth.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn the_report_is_what_the_files_hold_and_the_plain_lines_lead_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let small = ["--devices", "12", "--duration", "12h", "--faults", "10", "--rate", "1000000"];
    let (stdout, stderr) = succeeded(demo(folder.path(), &small).output().unwrap());
    for step in ["1. ", "2. model fleet/1 trained on ", "3. "] {
        assert!(stderr.lines().any(|line| line.starts_with(step)), "{step} is missing from\n{stderr}");
    }
    assert!(!stderr.contains('\u{1b}'), "no terminal, no view");
    let output = folder.path().join("tidewatch-demo");
    let report = std::fs::read_to_string(output.join("report.txt")).unwrap();
    assert!(stdout.contains(&report));

    let truth = truth(&output);
    assert_eq!(truth.len(), 10);
    for fault in &truth {
        let kind = fault.kind.replace('_', " ");
        let rows = report.lines().filter(|row| row.contains(&kind) && row.contains(&fault.device));
        assert_eq!(rows.count(), 1, "{kind} of {}\n{report}", fault.device);
    }

    let tables = Tables::open(output.to_str().unwrap(), &S3Options::default()).unwrap();
    let balance = ledger::balance(&tables).unwrap();
    assert!(balance.is_zero() && report.contains("every one accounted for"), "{report}");
    assert_eq!(verify(output.to_str().unwrap(), &S3Options::default(), Depth::Rows, None).unwrap().findings, []);
    let found = anomalies::newest(&tables).unwrap();
    let of = |device: &str| found.iter().filter(|anomaly| anomaly.key == device).count();
    for fault in truth.iter().filter(|fault| of(&fault.device) == 0) {
        let row = report.lines().find(|row| row.contains(&fault.device)).unwrap();
        assert!(row.contains("missed") || row.contains("corrected"), "nothing was found of {row}");
    }
    assert!(found.iter().any(|anomaly| truth.iter().any(|fault| fault.device == anomaly.key)), "it finds something");
}

#[test]
fn what_is_interrupted_leaves_a_readable_state_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    // Slow enough to be still running whenever the signal comes.
    let slow = ["--devices", "6", "--duration", "24h", "--rate", "1000"];
    let mut running = demo(folder.path(), &slow).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(running.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains(" events/s")), "it tells how it goes on");
    let process = libc::pid_t::try_from(running.id()).unwrap();
    // SAFETY: the process is a child that has not been waited for.
    assert_eq!(unsafe { libc::kill(process, libc::SIGINT) }, 0);
    lines.for_each(drop);
    let mut stdout = String::new();
    running.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    assert!(running.wait().unwrap().success());
    assert!(stdout.contains("Interrupted") && stdout.contains("every one accounted for"), "{stdout}");
    let output = folder.path().join("tidewatch-demo");
    let tables = Tables::open(output.to_str().unwrap(), &S3Options::default()).unwrap();
    assert!(ledger::balance(&tables).unwrap().is_zero());
    assert_eq!(verify(output.to_str().unwrap(), &S3Options::default(), Depth::Rows, None).unwrap().findings, []);
}

#[test]
fn a_folder_of_something_else_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mine = folder.path().join("tidewatch-demo");
    std::fs::create_dir(&mine).unwrap();
    std::fs::write(mine.join("thesis.txt"), "years of work").unwrap();
    let output = demo(folder.path(), &[]).output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
    assert!(text(output.stderr).contains("--output"));
    assert_eq!(std::fs::read_to_string(mine.join("thesis.txt")).unwrap(), "years of work");
}
