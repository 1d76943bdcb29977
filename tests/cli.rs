//! What a person or a script sees of the program: texts on the right stream, and exit codes.

#![allow(clippy::unwrap_used, reason = "a test may end where it stands")]

use std::path::PathBuf;
use std::process::{Command, Output};

fn tidewatch(arguments: &[&str]) -> Output {
    with_environment(arguments, &[])
}

fn with_environment(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidewatch"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TIDEWATCH_") {
            command.env_remove(name);
        }
    }
    command.args(arguments).envs(environment.iter().copied()).output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn golden(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/settings").join(name);
    path.to_str().unwrap().to_owned()
}

#[test]
fn help_teaches_on_standard_output_and_succeeds() {
    let output = tidewatch(&["--help"]);
    assert_eq!(code(&output), 0);
    let text = stdout(&output);
    for word in ["run", "replay", "check", "import", "simulate", "TIDEWATCH__OUTPUT__URL", "Exit codes"] {
        assert!(text.contains(word), "{word} is missing from\n{text}");
    }
    for verb in ["run", "replay", "check", "import", "simulate"] {
        let output = tidewatch(&[verb, "--help"]);
        assert_eq!(code(&output), 0);
        assert!(stdout(&output).contains(&format!("tidewatch {verb}")), "{verb} shows no example");
    }
}

#[test]
fn wrong_usage_ends_with_2_and_says_so_on_standard_error() {
    let hosts = ["run", "x.toml", "-n", "2", "-p", "2"];
    let usages: [&[&str]; 7] = [
        &[],
        &["walk"],
        &["run"],
        &["replay", "x.toml"],
        &["run", "x.toml", "--set", "nothing"],
        &["import", "a.h5"],
        &["import", "a.h5", "--to", "models/a", "--threshold", "-1"],
    ];
    for usage in usages {
        let output = tidewatch(usage);
        assert_eq!((code(&output), stdout(&output).as_str()), (2, ""), "{usage:?}");
        assert!(!stderr(&output).is_empty(), "{usage:?}");
    }
    let mut arguments = hosts.to_vec();
    let full = golden("full.toml");
    arguments[1] = &full;
    let output = tidewatch(&arguments);
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("they are 0 to 1"), "{}", stderr(&output));
}

#[test]
fn a_configuration_that_is_not_there_ends_with_2_and_names_the_file() {
    let output = tidewatch(&["run", "nowhere.toml"]);
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("`nowhere.toml` cannot be read"), "{}", stderr(&output));
}

#[test]
fn every_verb_shows_all_faults_of_a_configuration_and_ends_with_2() {
    let broken = golden("wrong_values.toml");
    for arguments in [vec!["check", &broken], vec!["run", &broken], vec!["replay", &broken, "--from", "x"]] {
        let output = tidewatch(&arguments);
        assert_eq!(code(&output), 2, "{arguments:?}");
        assert!(stdout(&output).is_empty() || arguments[0] == "check", "only `check` goes on to look");
        let told = stderr(&output);
        for key in ["pipeline.name (line 2)", "windows.events.slide (line 34)", "output.s3.endpoint (line 50)"] {
            assert!(told.contains(key), "{key} is missing from\n{told}");
        }
    }
}

#[test]
fn check_gives_scripts_its_findings_as_json() {
    let output = tidewatch(&["check", &golden("secrets_in_the_file.toml"), "--json"]);
    assert_eq!(code(&output), 2);
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["ok"], false);
    assert_eq!(found["faults"][0]["key"], "source.kafka.librdkafka.\"sasl.password\"");
    assert_eq!(found["faults"][0]["place"], "line 8");
}

#[test]
fn no_secret_is_shown_anywhere() {
    let secret = [
        ("TIDEWATCH__SOURCE__KAFKA__LIBRDKAFKA__SASL_PASSWORD", "hunter2"),
        ("TIDEWATCH__OUTPUT__S3__SECRET_ACCESS_KEY", "hunter2"),
        ("TIDEWATCH_LOG", "trace"),
    ];
    for name in ["secrets_in_the_file.toml", "broken_toml.toml", "full.toml", "wrong_values.toml"] {
        for verb in ["check", "run"] {
            let file = golden(name);
            let mut arguments = vec![verb, &file, "--set", "output.url=ftp://me:hunter2@host"];
            if verb == "check" {
                arguments.push("--json");
            }
            let output = with_environment(&arguments, &secret);
            let all = stdout(&output) + &stderr(&output);
            assert_eq!(code(&output), 2, "{all}");
            assert!(!all.contains("hunter2"), "{verb} {name} shows a secret:\n{all}");
        }
    }
}

#[test]
fn a_log_filter_that_cannot_be_read_is_refused() {
    let full = golden("full.toml");
    let output = with_environment(&["run", &full], &[("TIDEWATCH_LOG", "tidewatch=loud=very")]);
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("TIDEWATCH_LOG"), "{}", stderr(&output));
}
