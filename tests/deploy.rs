//! What is shipped for running it: containers, rules, dashboards, completions, manual pages.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod testbed;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use testbed::tool;
use tidewatch::settings::{Overrides, Settings, SourceSection};

fn project() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn text_of(path: &str) -> String {
    std::fs::read_to_string(project().join(path)).unwrap()
}

fn run(command: &mut Command) -> String {
    let output = command.current_dir(project()).output().unwrap();
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}\n{}\n{}", said(&output.stdout), said(&output.stderr));
    said(&output.stdout)
}

/// The files and folders of the project that the composition mounts, as docker-compose understands it.
fn mounts(configuration: &str) -> Vec<PathBuf> {
    let root = project();
    let sources = configuration.lines().filter_map(|line| line.trim().strip_prefix("- "));
    let sources = sources.map(|line| PathBuf::from(line.split(':').next().unwrap()));
    sources.filter(|path| path.starts_with(&root)).collect()
}

#[test]
fn the_composition_is_understood_and_every_file_it_mounts_is_there() {
    let Some(compose) = tool("docker-compose") else { return };
    let configuration = run(Command::new(compose).args(["-f", "docker-compose.yml", "config"]));
    let mounts = mounts(&configuration);
    assert!(mounts.len() >= 6, "{configuration}");
    for mount in mounts {
        assert!(mount.exists(), "{} is not there", mount.display());
    }
    for image in configuration.lines().filter_map(|line| line.trim().strip_prefix("image: ")) {
        assert!(image == "tidewatch" || image.contains(':'), "{image} names no version");
    }
    let ports = configuration.lines().map(str::trim).filter(|line| line.ends_with("/tcp"));
    for port in ports {
        assert!(port.starts_with("- 127.0.0.1:"), "{port} listens to more than this machine");
    }
}

#[test]
fn rules_and_scrapes_are_sound_and_every_alert_speaks_when_it_should() {
    let Some(promtool) = tool("promtool") else { return };
    let of = |arguments: &[&str]| run(Command::new(&promtool).args(arguments));
    of(&["check", "config", "deploy/prometheus/prometheus.yml"]);
    of(&["check", "rules", "deploy/prometheus/rules.yml"]);
    of(&["test", "rules", "deploy/prometheus/rules_test.yml"]);
    let (rules, tests) = (text_of("deploy/prometheus/rules.yml"), text_of("deploy/prometheus/rules_test.yml"));
    let alerts = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    for alert in alerts {
        assert!(
            tests.contains(&format!("alertname: {alert}\n        exp_alerts:\n")),
            "{alert} is never seen to speak"
        );
    }
}

#[test]
fn the_configuration_of_the_composition_fits_it() {
    let text = text_of("deploy/compose/tidewatch.toml");
    let settings = Settings::parse(&text, &Overrides::default()).unwrap_or_else(|faults| panic!("{faults}"));
    let SourceSection::Kafka(kafka) = &settings.source else { panic!("it reads Kafka") };
    let (composition, scrapes) = (text_of("docker-compose.yml"), text_of("deploy/prometheus/prometheus.yml"));
    let anomalies = settings.output.kafka.unwrap().topic;
    for (what, word) in [
        ("the topic that is read", format!("/{}\"]", kafka.topics[0])),
        ("the topics that are made", format!("for topic in {} {anomalies};", kafka.topics[0])),
        ("the bucket", format!("store/{}", settings.output.url.split('/').nth(2).unwrap())),
        ("the store", settings.output.s3.endpoint.unwrap().replace("http://minio:9000", "@minio:9000")),
        ("the broker", format!("INSIDE://{}", kafka.brokers)),
        ("the model", "./models:/etc/tidewatch/models:ro".to_owned()),
    ] {
        assert!(composition.contains(&word), "{what}: `{word}` is not in docker-compose.yml");
    }
    assert!(Path::new(&settings.detectors[0].spec.model).starts_with("/etc/tidewatch/models"));
    assert!(scrapes.contains("tidewatch:9464"));
}

#[test]
fn the_image_is_given_every_file_that_the_build_includes() {
    let let_in = text_of(".dockerignore");
    let let_in: Vec<&str> = let_in.lines().filter_map(|line| line.strip_prefix('!')).collect();
    let copy = tempfile::tempdir().unwrap();
    for name in &let_in {
        assert!(project().join(name).exists(), "{name} is let in and not there");
        run(Command::new("cp").args(["-r", name, copy.path().to_str().unwrap()]));
    }
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    run(Command::new(cargo)
        .args(["metadata", "--offline", "--no-deps", "--format-version", "1", "--manifest-path"])
        .arg(copy.path().join("Cargo.toml")));
    for file in sources(&project().join("src")) {
        let text = std::fs::read_to_string(&file).unwrap();
        let included = text.split("include_").skip(1).filter_map(|rest| {
            let path = rest.strip_prefix("str!(\"").or_else(|| rest.strip_prefix("bytes!(\""))?;
            Some(path.split('"').next().unwrap())
        });
        for path in included {
            let path = file.parent().unwrap().join(path).canonicalize().unwrap();
            let path = path.strip_prefix(project()).unwrap();
            assert!(let_in.iter().any(|name| path.starts_with(name)), "{} is kept from the image", path.display());
        }
    }
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
}

fn tidewatch(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tidewatch")).args(arguments).output().unwrap()
}

/// Whether a shell understands a script, without running it.
fn understands(shell: &Path, arguments: &[&str], script: &[u8]) {
    let mut child = Command::new(shell).args(arguments).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), script).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}: {}", shell.display(), String::from_utf8_lossy(&output.stderr));
}

#[test]
fn completions_know_every_verb_and_are_understood_by_their_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = tidewatch(&["completions", shell]);
        assert!(output.status.success(), "{shell}");
        let text = String::from_utf8(output.stdout).unwrap();
        for word in ["replay", "import", "--from", "--workers", "completions"] {
            let word = if shell == "fish" { word.trim_start_matches("--") } else { word };
            assert!(text.contains(word), "{shell}: {word} is missing");
        }
        if shell == "bash" {
            understands(Path::new("bash"), &["-n"], text.as_bytes());
        }
    }
    assert_eq!(tidewatch(&["completions", "tcsh"]).status.code(), Some(2));
}

#[test]
fn there_is_a_manual_page_for_the_program_and_for_every_verb() {
    let page = String::from_utf8(tidewatch(&["manual"]).stdout).unwrap();
    for word in [".TH tidewatch 1", "SYNOPSIS", "SUBCOMMANDS", "Exit codes: 0 done"] {
        assert!(page.contains(word), "{word} is missing from\n{page}");
    }
    let page = String::from_utf8(tidewatch(&["manual", "run"]).stdout).unwrap();
    assert!(page.contains("tidewatch\\-run") && page.contains("\\-\\-workers"), "{page}");
    let unknown = tidewatch(&["manual", "walk"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("there is no verb `walk`; there are"));
    let folder = tempfile::tempdir().unwrap();
    let man = folder.path().join("man1");
    assert!(tidewatch(&["manual", "--to", man.to_str().unwrap()]).status.success());
    for page in ["tidewatch.1", "tidewatch-run.1", "tidewatch-replay.1", "tidewatch-health.1"] {
        assert!(man.join(page).is_file(), "{page} is missing");
    }
}
