//! README, held to its word: its configurations are read, and its first steps print what it says.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tidewatch::settings::{Overrides, Settings};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn readme() -> String {
    std::fs::read_to_string(root().join("README.md")).unwrap()
}

/// The blocks of README in this language.
fn blocks(language: &str) -> Vec<String> {
    let text = readme();
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(opened) = line.strip_prefix("```") {
            let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            if opened == language {
                found.push(block.join("\n") + "\n");
            }
        }
    }
    found
}

fn tidewatch(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidewatch"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("TIDEWATCH_")) {
        command.env_remove(name);
    }
    command.args(arguments).current_dir(folder).stdin(Stdio::null()).output().unwrap()
}

fn told(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_first_configuration_is_the_example_and_the_second_replaces_its_sections() {
    let configurations = blocks("toml");
    let example = std::fs::read_to_string(root().join("examples/csv/pipeline.toml")).unwrap();
    assert_eq!(configurations[0], example);
    let live = &configurations[1];
    // Of the first stays what the second does not say: the pipeline, the events, the windows, the detectors.
    let section = |name: &str| {
        let from = example.find(name).unwrap();
        let to = example[from..].find("\n\n").map_or(example.len(), |length| from + length + 1);
        &example[from..to]
    };
    let kept = ["[pipeline]", "[event]", "[[windows]]", "[[detectors]]"].map(section).join("\n");
    let text = format!("{kept}\n{live}").replace("format = \"csv\"", "format = \"json\"");
    Settings::parse(&text, &Overrides::default()).unwrap();
}

#[test]
fn from_csv_to_anomalies_everything_goes_as_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::copy(root().join("examples/csv/pipeline.toml"), folder.join("pipeline.toml")).unwrap();
    let commands = blocks("sh").join("");
    let run = |line: &str| {
        assert!(commands.lines().any(|command| command.split('#').next().unwrap().trim() == line), "`{line}`");
        let words: Vec<&str> = line.split_whitespace().skip(1).collect();
        tidewatch(folder, &words)
    };
    told(run("tidewatch simulate --devices 20 --duration 24h --every 10s --label --to calm.csv"));
    told(run("tidewatch simulate --devices 20 --duration 48h --every 10s --label --calm 24h --faults 12 --to day.csv"));

    let checked = run("tidewatch check  pipeline.toml");
    assert_eq!(checked.status.code(), Some(2));
    let faults = String::from_utf8(checked.stderr).unwrap();
    assert!(faults.contains("one fault") && faults.contains("tidewatch train"), "{faults}");

    let trained = told(run("tidewatch train  pipeline.toml --from calm.csv"));
    let replayed = told(run("tidewatch replay pipeline.toml --from day.csv"));
    let readme = readme();
    // How well it learned depends on the machine's arithmetic, what it read does not.
    for told in [
        trained.lines().find(|line| line.trim_start().starts_with("rows ")).unwrap(),
        trained.lines().find(|line| line.trim_start().starts_with("detector ")).unwrap(),
        replayed.lines().find(|line| line.starts_with("events ")).unwrap(),
        replayed.lines().find(|line| line.starts_with("windows ")).unwrap(),
    ] {
        assert!(readme.contains(told), "README does not say\n{told}");
    }
    let judged = told(run("tidewatch evaluate pipeline.toml --from day.csv --label label_last"));
    assert!(judged.contains("ROC AUC") && judged.contains("found at 0.1 % FPR"), "{judged}");
}
