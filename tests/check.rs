//! What `check` says of what it finds outside of the configuration: goldens that a person has read, and exit codes.

#![allow(clippy::unwrap_used, reason = "a test may end where it stands")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn project() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Runs in the project's folder with a configuration of files.
fn check(folder: &Path, change: &[(&str, &str)], more: &[&str]) -> Output {
    let events = "device = \"text\"\nlabel = \"text\"\nRate = \"float\"\n";
    let recording = folder.join("flows.ndjson");
    let lines: Vec<String> = (0..20)
        .map(|i| {
            format!("{{\"ts\":{},\"device\":\"d{}\",\"label\":\"a\",\"Rate\":{i}.5}}", 1_767_225_600_000_i64 + i, i % 3)
        })
        .collect();
    std::fs::write(&recording, lines.join("\n")).unwrap();
    let mut text = format!(
        "[pipeline]\nname = \"flows\"\n[source.files]\npaths = [{recording:?}]\n[event]\n\
         time = {{ field = \"ts\", format = \"unix_ms\" }}\nkey = \"device\"\n[event.fields]\n{events}\
         [[windows]]\nname = \"by_label\"\nsize = \"10s\"\nby = [\"label\"]\n[windows.aggregates]\nRate = [\"mean\"]\n\
         [output]\nurl = {:?}\n",
        folder.join("out")
    );
    for (from, to) in change {
        assert!(text.contains(from), "{from} is not in\n{text}");
        text = text.replace(from, to);
    }
    let config = folder.join("pipeline.toml");
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidewatch"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TIDEWATCH_") {
            command.env_remove(name);
        }
    }
    command.current_dir(project()).arg("check").arg(config).args(more).output().unwrap()
}

/// All that was said, without what differs between machines.
fn said(folder: &Path, output: &Output) -> String {
    let all = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8(bytes.clone()).unwrap()).concat();
    all.replace(folder.to_str().unwrap(), "FOLDER")
}

/// Compares with what a person has read; `UPDATE_GOLDEN=1` rewrites it.
fn golden(name: &str, code: i32, change: &[(&str, &str)]) {
    let folder = tempfile::tempdir().unwrap();
    let output = check(folder.path(), change, &[]);
    let found = said(folder.path(), &output);
    assert_eq!(output.status.code(), Some(code), "{found}");
    let path = project().join("tests/golden/check").join(format!("{name}.txt"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &found).unwrap();
    }
    assert_eq!(found, std::fs::read_to_string(&path).unwrap_or_default());
    assert!(!folder.path().join("out").exists(), "a check leaves nothing behind");
}

#[test]
fn a_sound_configuration_is_in_order_and_its_sample_is_understood() {
    golden("sound", 0, &[]);
}

#[test]
fn a_store_that_cannot_be_made_is_named() {
    golden("broken_store", 2, &[("/out\"", "/flows.ndjson/out\"")]);
}

#[test]
fn a_model_that_is_not_there_is_named_with_what_makes_it() {
    let detector = "[[detectors]]\nname = \"flow\"\nmodel = \"models/nowhere\"\n[output]";
    golden("missing_model", 2, &[("[output]", detector)]);
}

#[test]
fn every_feature_without_a_column_is_named() {
    let detector = "[[detectors]]\nname = \"flow\"\nmodel = \"models/iomt\"\n[output]";
    golden("missing_features", 2, &[("[output]", detector)]);
}

#[test]
fn a_misspelt_field_is_told_with_the_name_that_the_sample_has() {
    golden("misspelt_field", 2, &[("Rate", "Raet")]);
}

#[test]
fn all_faults_are_told_at_once_and_a_script_reads_them_as_json() {
    let folder = tempfile::tempdir().unwrap();
    let detector = "[[detectors]]\nname = \"flow\"\nmodel = \"models/nowhere\"\n[output]";
    let change =
        [("[output]", detector), ("Rate", "Raet"), ("/out\"", "/flows.ndjson/out\""), ("\"unix_ms\"", "\"rfc3339\"")];
    let output = check(folder.path(), &change, &["--json"]);
    assert_eq!(output.status.code(), Some(2));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let keys: Vec<&str> =
        found["faults"].as_array().unwrap().iter().map(|fault| fault["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["event.time", "event.fields.Raet", "detectors.flow.model", "output.url"]);
    assert!(found["seen"].as_array().unwrap().iter().any(|seen| seen["data"]["rejects"][0]["count"] == 20), "{found}");
}

#[test]
fn another_pipelines_output_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let tables = folder.path().join("out/windows/by_label");
    std::fs::create_dir_all(&tables).unwrap();
    std::fs::write(tables.join("a.parquet"), "x").unwrap();
    let output = check(folder.path(), &[], &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(folder.path(), &output).contains("has files in `windows` but no checkpoint"));
    assert_eq!(std::fs::read_dir(folder.path().join("out")).unwrap().count(), 1, "nothing was written");
}

#[test]
fn the_example_scores_its_recording() {
    let arguments = ["check", "examples/iomt/tidewatch.toml", "--from", "data/iomt-flows.ndjson", "--json", "--output"];
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidewatch"));
    let output = command.current_dir(project()).args(arguments).arg(folder.path().join("out")).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let scores = found["seen"].as_array().unwrap().iter().find(|seen| seen["what"] == "scores").unwrap();
    assert_eq!(scores["data"]["rows"], 1000);
}

#[test]
fn files_that_make_no_model_end_an_import_with_2() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.h5");
    std::fs::write(&file, "no HDF5").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidewatch"));
    let output = command.arg("import").arg(&file).arg("--to").arg(folder.path().join("m")).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("model.h5"));
}
