//! The scripts of `examples/`, run small: what they print is what a reader of them is promised.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

/// What `examples/NAME/run` with these arguments and keys of the configuration printed. It must succeed.
fn run(name: &str, arguments: &[&str], keys: &[(&str, &str)], below: &Path) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name).join("run");
    let mut command = Command::new(script);
    for (variable, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("TIDEWATCH_")) {
        command.env_remove(variable);
    }
    command.env("TIDEWATCH", env!("CARGO_BIN_EXE_tidewatch")).envs(keys.iter().copied());
    command.args(arguments).current_dir(below).stdin(Stdio::null());
    let output = command.output().unwrap();
    let (stdout, stderr) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{stdout}\n{stderr}");
    stdout
}

/// What follows `name` in the lines of a report, one for each time it was printed.
fn told<'a>(printed: &'a str, name: &str) -> Vec<&'a str> {
    printed.lines().filter_map(|line| Some(line.trim_start().strip_prefix(name)?.trim())).collect()
}

#[test]
fn iomt_imports_trains_judges_and_replays() {
    let folder = tempfile::tempdir().unwrap();
    let printed = run("iomt", &["flows", "90s"], &[], folder.path());

    assert_eq!(told(&printed, "threshold   ").len(), 2, "one imported, one trained\n{printed}");
    let areas: Vec<f64> = told(&printed, "ROC AUC").iter().map(|told| told[..6].parse().unwrap()).collect();
    assert_eq!(areas.len(), 2, "{printed}");
    assert!(areas.iter().all(|area| *area > 0.99), "the attacks are plain ones\n{printed}");
    assert!(printed.contains("whole: nothing is missing, nothing is there twice"), "{printed}");

    let model = std::fs::read(folder.path().join("flows/models/iomt/2/model.json")).unwrap();
    let features = &serde_json::from_slice::<Value>(&model).unwrap()["features"];
    assert_eq!(features.as_array().unwrap().len(), 39, "the trained one is in force, and it takes every number");
    let current = std::fs::read_to_string(folder.path().join("flows/models/iomt/current")).unwrap();
    assert_eq!(current.lines().next(), Some("2"));
}

#[test]
fn sensors_simulates_trains_on_sequences_replays_and_judges() {
    let folder = tempfile::tempdir().unwrap();
    // A few epochs are enough to see that it works; how well it does at its size stands in the README beside it.
    let epochs = [("TIDEWATCH__DETECTORS__SHAPE__TRAINING__EPOCHS", "6")];
    let printed = run("sensors", &["40", "sensors"], &epochs, folder.path());

    for words in ["32-16 | 16-32 over 20 features, sequences of 50 windows", "models/sensors/1 (in force)", "== done"] {
        assert!(printed.contains(words), "{words} is missing from\n{printed}");
    }
    let anomalies = folder.path().join("sensors/sensors-output/anomalies");
    assert!(anomalies.is_dir(), "what was injected is found, some of it at least\n{printed}");
}
