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
    let verbs = [
        "demo",
        "run",
        "replay",
        "check",
        "import",
        "simulate",
        "train",
        "evaluate",
        "completions",
        "manual",
        "health",
    ];
    for word in verbs.iter().chain(&["TIDEWATCH__OUTPUT__URL", "Exit codes"]) {
        assert!(text.contains(word), "{word} is missing from\n{text}");
    }
    for verb in verbs {
        let output = tidewatch(&[verb, "--help"]);
        assert_eq!(code(&output), 0);
        assert!(stdout(&output).contains(&format!("tidewatch {verb}")), "{verb} shows no example");
    }
}

#[test]
fn wrong_usage_ends_with_2_and_says_so_on_standard_error() {
    let hosts = ["run", "x.toml", "-n", "2", "-p", "2"];
    let usages: [&[&str]; 9] = [
        &[],
        &["walk"],
        &["run"],
        &["replay", "x.toml"],
        &["train", "x.toml"],
        &["evaluate", "x.toml", "--from", "x.ndjson"],
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
fn import_gives_scripts_what_it_understood_as_json() {
    let folder = tempfile::tempdir().unwrap();
    let (features, to) = (folder.path().join("features.json"), folder.path().join("model"));
    std::fs::write(&features, r#"["a", "b", "c", "d"]"#).unwrap();
    let network = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/models/steps.keras");
    let (network, features) = (network.to_str().unwrap(), features.to_str().unwrap());
    let given = ["--error", "mse", "--threshold", "0.5", "--json"];
    let output = tidewatch(&[&["import", network, features, "--to", to.to_str().unwrap()], &given[..]].concat());
    let made: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&made["version"], &made["version_in_force"], &made["threshold"]), (&1.into(), &1.into(), &0.5.into()));
    assert_eq!((made["error"].as_str(), made["features"][3].as_str()), (Some("mse"), Some("d")));
}

#[test]
fn replay_tells_what_it_did_to_people_to_scripts_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let text = "[pipeline]\nname = \"p\"\n[source.files]\npaths = [\"x\"]\n[event]\nformat = \"json\"\nkey = \"k\"\n\
                time = { field = \"ts\", format = \"unix_s\" }\n[event.fields]\nk = \"text\"\n[[windows]]\nname = \"w\"\n\
                size = \"10s\"\nby = [\"k\"]\n[windows.aggregates]\n[output]\nurl = \"unused\"\n";
    std::fs::write(path("p.toml"), text).unwrap();
    std::fs::write(path("day.ndjson"), "{\"ts\":5,\"k\":\"a\"}\n{\"ts\":25,\"k\":\"a\"}\nno event\n").unwrap();
    let replay = |output: &str, how: &[&str]| {
        let arguments =
            ["replay", &path("p.toml"), "--from", &path("day.ndjson"), "--output", &path(output), "-w", "1"];
        let output = tidewatch(&[&arguments[..], how].concat());
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        stdout(&output)
    };
    let told = replay("a", &[]);
    assert!(
        told.starts_with("events      2 of 3 records: 1 quarantined (1 syntax)\nwindows     2\nwritten to  "),
        "{told}"
    );
    let told: serde_json::Value = serde_json::from_str(&replay("b", &["--json", "--quiet"])).unwrap();
    let counts =
        ["records", "accepted", "too_late", "quarantined", "windows", "anomalies"].map(|name| told[name].as_u64());
    assert_eq!(counts, [3, 2, 0, 1, 2, 0].map(Some));
    assert_eq!(told["output"], path("b"));
    assert_eq!(replay("c", &["--quiet"]), "");
}

#[test]
fn a_replay_that_has_ended_is_not_added_to() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let text = "[pipeline]\nname = \"p\"\n[source.files]\npaths = [\"x\"]\n[event]\nformat = \"csv\"\nkey = \"k\"\n\
                time = { field = \"ts\", format = \"unix_s\" }\n[event.fields]\nk = \"text\"\n[[windows]]\nname = \"w\"\n\
                size = \"10s\"\nby = [\"k\"]\n[windows.aggregates]\n[output]\nurl = \"unused\"\n";
    std::fs::write(path("p.toml"), text).unwrap();
    let replay =
        || tidewatch(&["replay", &path("p.toml"), "--from", &path("day.csv"), "--output", &path("out"), "-w", "1"]);
    std::fs::write(path("day.csv"), "ts,k\n5,a\n25,a\n").unwrap();
    assert!(stdout(&replay()).starts_with("events      2 of 2 records\n"));
    assert!(stdout(&replay()).starts_with("events      nothing new"), "a second time changes nothing");
    std::fs::write(path("day.csv"), "ts,k\n5,a\n25,a\n26,a\n").unwrap();
    let refused = replay();
    assert_eq!(code(&refused), 2);
    assert!(stderr(&refused).contains("`day.csv` has more to read"), "{}", stderr(&refused));
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
