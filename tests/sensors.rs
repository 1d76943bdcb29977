//! `examples/sensors`, small: the one command that simulates, trains on sequences, replays and judges.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn one_command_simulates_trains_replays_and_judges() {
    let desk = tempfile::tempdir().unwrap();
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/sensors/run"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("TIDEWATCH_")) {
        command.env_remove(name);
    }
    command.arg("40").arg(desk.path()).env("TIDEWATCH", env!("CARGO_BIN_EXE_tidewatch"));
    // A few epochs are enough to see that it works; how well it does at its size stands in the README beside it.
    command.env("TIDEWATCH__DETECTORS__SHAPE__TRAINING__EPOCHS", "6");
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    println!("{text}");
    for words in ["32-16 | 16-32 over 20 features, sequences of 50 windows", "models/sensors/1 (in force)", "== done"] {
        assert!(text.contains(words), "{words} is missing from\n{text}");
    }
    assert!(desk.path().join("sensors-output/windows/by_sensor").is_dir());
    assert!(desk.path().join("sensors-output/anomalies").is_dir(), "what was injected is found, some of it at least");
}
