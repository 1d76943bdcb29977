//! Training and judging from the outside: recorded events in, a version of a model out, and what the program says of it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tidewatch::domain::detector::{DetectorInput, DetectorSpec};
use tidewatch::domain::schema::{Constant, EventSchema, FieldKind, FieldSpec, KeySource, TimeFormat, TimeSource};
use tidewatch::domain::watermark::WatermarkSpec;
use tidewatch::models::features::Scaler;
use tidewatch::models::registry;
use tidewatch::sources::files::{FileFormat, FilesSpec};
use tidewatch::training::error::TrainingError;
use tidewatch::training::evaluate::{Evaluation, EvaluationSpec, evaluate};
use tidewatch::training::input::InputSpec;
use tidewatch::training::recording::RecordingSpec;
use tidewatch::training::spec::{Architecture, Condition, FeatureSpec, Method, NetworkKind, Scaling, TrainingSpec};
use tidewatch::training::train::{Trained, Watch, train};
use tidewatch::training::truth::Truth;
use tidewatch::windows::spec::{Aggregate, AggregateSpec, WindowSpec};

/// Numbers between -1 and 1, the same in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }
}

const BEGIN_MS: i64 = 1_767_225_600_000;
const FIELDS: [&str; 4] = ["a", "b", "c", "d"];

/// Two devices, an event a second each; all fields follow two hidden causes. In one event of twenty the fields keep their sizes but no
/// longer belong together, and its label says so.
fn fleet(folder: &Path, events: i64) {
    for device in 0..2 {
        let (mut numbers, mut text) = (Numbers(40 + device), String::new());
        for second in 0..events {
            let [x, y] = [numbers.next(), numbers.next()];
            let is_fault = numbers.next() > 0.9;
            let [u, v] = if is_fault { [numbers.next(), numbers.next()] } else { [x, y] };
            let mut noise = || 0.02 * numbers.next();
            let values = [10.0 + x + noise(), 500.0 * (x - y) + noise(), u + v + noise(), 3.0 * v - u + noise()];
            let label = if is_fault { "fault" } else { "Normal" };
            let time = BEGIN_MS + second * 1000;
            let [a, b, c, d] = values;
            writeln!(text, r#"{{"ts":{time},"device":"d{device}","label":"{label}","a":{a},"b":{b},"c":{c},"d":{d}}}"#)
                .unwrap();
        }
        std::fs::write(folder.join(format!("d{device}.ndjson")), text).unwrap();
    }
}

fn field(name: &str, kind: FieldKind) -> FieldSpec {
    let path = vec![name.to_owned()];
    FieldSpec { name: name.to_owned(), kind, path, default: None, required: false, missing_as: None }
}

fn recording(folder: &Path) -> RecordingSpec {
    let texts = ["device", "label"].map(|name| field(name, FieldKind::Text));
    let fields = texts.into_iter().chain(FIELDS.map(|name| field(name, FieldKind::Float)));
    RecordingSpec {
        files: FilesSpec {
            record_bytes_max: 1 << 16,
            open_files_max: 4,
            ..FilesSpec::new(vec![folder.display().to_string()], FileFormat::Ndjson)
        },
        events: EventSchema {
            time: TimeSource::Fields { paths: vec![vec!["ts".to_owned()]], format: TimeFormat::UnixMillis },
            key: KeySource::Field(vec!["device".to_owned()]),
            fields: fields.collect(),
            record_bytes_max: 1 << 16,
        },
        watermark: WatermarkSpec {
            out_of_orderness: Duration::from_secs(2),
            allowed_lateness: Duration::from_secs(60),
            idle_after: Duration::from_secs(60),
            future_skew: Duration::from_secs(300),
            max_drift: Duration::from_secs(3600),
            idle_retention: Duration::from_secs(3600),
        },
    }
}

fn architecture(kind: NetworkKind) -> Architecture {
    Architecture { kind, encoder: vec![16, 2], decoder: vec![16] }
}

/// Small enough for a test, and narrower than the two causes need not be.
fn spec() -> TrainingSpec {
    let equals = Constant::Text("Normal".to_owned());
    TrainingSpec {
        method: Method::Autoencoder(architecture(NetworkKind::Lstm)),
        epochs_max: 30,
        learning_rate: 0.01,
        condition: Some(Condition { column: "label".to_owned(), equals }),
        ..TrainingSpec::default()
    }
}

fn trained(spec: &TrainingSpec, input: &InputSpec, recording: &RecordingSpec) -> Result<Trained, TrainingError> {
    train(spec, input, recording, Watch { told: &mut |_| {}, is_stopped: &|| false })
}

/// Judges the version in force of the model in `folder`.
fn judged(folder: &Path, input: &InputSpec, recording: &RecordingSpec, label: &str) -> Evaluation {
    let name = match input {
        InputSpec::Events => DetectorInput::Events,
        InputSpec::Windows(window) => DetectorInput::Windows(window.name.clone()),
    };
    let detector = DetectorSpec { name: "fleet".to_owned(), model: folder.display().to_string(), input: name };
    let model = Arc::new(registry::load(folder).unwrap());
    let truth = Truth::Labels { column: label.to_owned(), normal: Vec::new() };
    let spec = EvaluationSpec { truth, seed: 1 };
    let watch = Watch { told: &mut |_| {}, is_stopped: &|| false };
    evaluate(&detector, model, input, recording, &spec, watch).unwrap()
}

/// A score that knows nothing has 0.5; a network that has learnt nothing stays far below this too.
const AUC_MIN: f64 = 0.9;
const AUC_UNTRAINED_MAX: f64 = 0.75;

#[test]
fn what_was_learnt_from_the_normal_finds_what_is_not() {
    let folder = TempDir::new().unwrap();
    fleet(folder.path(), 4000);
    let recording = recording(folder.path());
    for (name, architecture, scaling) in [
        ("lstm", architecture(NetworkKind::Lstm), Scaling::Standard),
        ("dense", architecture(NetworkKind::Dense), Scaling::MinMax),
    ] {
        let spec = TrainingSpec { method: Method::Autoencoder(architecture), scaling, ..spec() };
        let Trained { model, account } = trained(&spec, &InputSpec::Events, &recording).unwrap();
        assert_eq!(account.features, FIELDS, "neither time nor key nor label is a feature");
        assert!(account.best.unwrap().validation_loss < account.curve[0].validation_loss / 2.0, "{:?}", account.curve);
        let untrained = TrainingSpec { epochs_max: 1, learning_rate: 1e-8, ..spec };
        let untrained = trained(&untrained, &InputSpec::Events, &recording).unwrap().model;
        let models = folder.path().join("models").join(name);
        registry::save(&models, &untrained).unwrap();
        let guess = judged(&models, &InputSpec::Events, &recording, "label").judgement.measures.auc.unwrap();
        assert!(guess < AUC_UNTRAINED_MAX, "{name}: {guess} before it has learnt anything");
        registry::save(&models, &model).unwrap();
        assert_eq!(registry::load(&models).unwrap().model, model, "what was saved is what was trained");
        let found = judged(&models, &InputSpec::Events, &recording, "label");
        println!("{name}: {:?}\n{:?}", found.judgement.measures, found.judgement.intervals);
        assert_eq!((found.judgement.rows, found.normal.as_slice()), (8000, ["Normal".to_owned()].as_slice()));
        assert!(
            found.judgement.measures.auc.unwrap() > AUC_MIN && found.judgement.intervals.auc.unwrap()[0] > AUC_MIN,
            "{name}"
        );
        // The threshold is the 99th percentile of normal rows, so about one in a hundred of them is above it.
        let normal = found.judgement.labels.iter().find(|tally| tally.name == "Normal").unwrap();
        assert!((0.003..0.03).contains(&normal.share_flagged), "{name}: {normal:?}");
        assert_eq!(found.judgement.confusion.false_positives, normal.flagged);
        assert_eq!(found.judgement.keys.iter().map(|key| key.tally.rows).sum::<u64>(), 8000);
    }
}

#[test]
fn the_seed_decides_the_model_whatever_the_memory_and_the_cuts() {
    let folder = TempDir::new().unwrap();
    fleet(folder.path(), 700);
    let recording = recording(folder.path());
    let spec = TrainingSpec { epochs_max: 3, ..spec() };
    let model = |spec: &TrainingSpec, recording| trained(spec, &InputSpec::Events, recording).unwrap();
    let first = model(&spec, &recording);
    assert_eq!(first, model(&spec, &recording));
    assert_eq!(first, model(&TrainingSpec { memory_bytes: 1, ..spec.clone() }, &recording), "all rows in the file");
    assert_eq!(
        first,
        model(&TrainingSpec { memory_bytes: 30_000, ..spec.clone() }, &recording),
        "some rows in the file"
    );
    let mut cut = recording.clone();
    cut.files.block_bytes = 997;
    assert_eq!(first, model(&spec, &cut), "cut elsewhere when it was read");
    assert_ne!(first.model.estimator(), model(&TrainingSpec { seed: 1, ..spec }, &recording).model.estimator());
}

fn window() -> WindowSpec {
    let aggregate = |field: &str, aggregate| AggregateSpec { field: field.to_owned(), aggregate };
    WindowSpec {
        name: "by_device".to_owned(),
        size: Duration::from_secs(10),
        slide: Duration::from_secs(10),
        by: vec!["device".to_owned()],
        aggregates: vec![
            aggregate("a", Aggregate::Mean),
            aggregate("b", Aggregate::Max),
            aggregate("c", Aggregate::Stddev),
        ],
        allowed_lateness: Duration::from_secs(60),
    }
}

#[test]
fn a_detector_of_windows_learns_once_from_every_window_that_is_whole() {
    let folder = TempDir::new().unwrap();
    fleet(folder.path(), 1000);
    let recording = recording(folder.path());
    let spec = TrainingSpec { epochs_max: 3, condition: None, ..spec() };
    let input = InputSpec::Windows(window());
    let first = trained(&spec, &input, &recording).unwrap();
    assert_eq!(first.account.features, ["count", "a_mean", "b_max", "c_stddev"]);
    // The recording ends a second before the last windows do.
    assert_eq!((first.account.training_rows + first.account.validation_rows, first.account.cut_off), (2 * 99, 2));
    let mut cut = recording.clone();
    cut.files.block_bytes = 997;
    assert_eq!(first, trained(&spec, &input, &cut).unwrap(), "cut elsewhere when it was read");
    // By label as a group, a window's row can be judged too.
    let by_label = InputSpec::Windows(WindowSpec { by: vec!["label".to_owned(), "device".to_owned()], ..window() });
    let equals = Constant::Text("Normal".to_owned());
    let condition = Some(Condition { column: "label".to_owned(), equals });
    let learnt = trained(&TrainingSpec { condition, ..spec }, &by_label, &recording).unwrap();
    let models = folder.path().join("models/windows");
    registry::save(&models, &learnt.model).unwrap();
    let found = judged(&models, &by_label, &recording, "label");
    let account = &learnt.account;
    assert_eq!(
        found.judgement.rows - found.judgement.anomalies,
        account.training_rows + account.validation_rows + account.cut_off
    );
    let keys: Vec<&str> = found.judgement.keys.iter().map(|key| key.tally.name.as_str()).collect();
    assert!(keys.len() == 2 && keys.contains(&"d0"), "{keys:?}");
}

/// Events of one device with one field, as (second, value).
fn events(folder: &Path, name: &str, events: impl Iterator<Item = (i64, f64)>) {
    let mut text = String::new();
    for (second, value) in events {
        writeln!(text, r#"{{"ts":{},"device":"d","label":"Normal","a":{value}}}"#, BEGIN_MS + second * 1000).unwrap();
    }
    std::fs::write(folder.join(name), text).unwrap();
}

fn of_one_field() -> TrainingSpec {
    TrainingSpec { features: Some(vec![FeatureSpec::of_field("a")]), epochs_max: 1, validation: 0.25, ..spec() }
}

#[test]
fn the_last_share_in_time_is_kept_from_training_and_scaler() {
    let folder = TempDir::new().unwrap();
    // The later half of the time lies in the file that is read first; its last part, and nothing else, is large.
    events(folder.path(), "1.ndjson", (50..100).map(|second| (second, if second < 75 { 4.0 } else { 1e6 })));
    events(folder.path(), "2.ndjson", (0..50).map(|second| (second, 1.0)));
    let Trained { model, account } = trained(&of_one_field(), &InputSpec::Events, &recording(folder.path())).unwrap();
    assert_eq!((account.training_rows, account.validation_rows), (75, 25));
    assert_eq!(account.from, "2026-01-01T00:00:00Z");
    assert_eq!(account.validation_from, "2026-01-01T00:01:15Z");
    assert_eq!(account.to, "2026-01-01T00:01:39Z");
    let Scaler::Standard { mean, deviation } = model.scaler() else { panic!("it is standard") };
    // Fifty of 1 and twenty-five of 4.
    assert!((mean[0] - 2.0).abs() < 1e-12 && (deviation[0] - 2f64.sqrt()).abs() < 1e-12, "{mean:?} {deviation:?}");
    assert_eq!(model.features()[0].default, mean[0], "what is missing is taken for the mean");
}

#[test]
fn rows_of_one_instant_are_split_by_their_order() {
    let folder = TempDir::new().unwrap();
    events(folder.path(), "1.ndjson", (0..80).map(|number| (0, f64::from(number < 60))));
    let Trained { model, account } = trained(&of_one_field(), &InputSpec::Events, &recording(folder.path())).unwrap();
    assert_eq!((account.training_rows, account.validation_rows), (60, 20));
    let Scaler::Standard { mean, .. } = model.scaler() else { panic!("it is standard") };
    assert_eq!(mean, &[1.0]);
}

#[test]
fn too_few_rows_are_refused_with_what_became_of_the_records() {
    let folder = TempDir::new().unwrap();
    events(folder.path(), "1.ndjson", (0..49).map(|second| (second, 1.0)));
    let path = folder.path().join("2.ndjson");
    std::fs::write(path, "no event\n{\"ts\":1767225600000,\"device\":\"d\",\"label\":\"fault\"}\n").unwrap();
    let error = trained(&of_one_field(), &InputSpec::Events, &recording(folder.path())).unwrap_err();
    let TrainingError::TooFewRows { usable, events, rejected, passed_over, .. } = error else { panic!("{error}") };
    assert_eq!((usable, events, rejected, passed_over), (49, 50, 1, 1));
}

#[test]
fn a_stop_ends_the_training_without_a_model() {
    let folder = TempDir::new().unwrap();
    events(folder.path(), "1.ndjson", (0..100).map(|second| (second, 1.0)));
    let recording = recording(folder.path());
    let news = std::cell::Cell::new(0);
    let count = || news.set(news.get() + 1);
    for until in 1..4 {
        news.set(0);
        let watch = Watch { told: &mut |_| count(), is_stopped: &|| news.get() == until };
        let ended = train(&of_one_field(), &InputSpec::Events, &recording, watch);
        assert!(matches!(ended, Err(TrainingError::Stopped)));
        assert_eq!(news.get(), until, "nothing is done after it");
    }
}

fn tidewatch(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidewatch"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("TIDEWATCH_")) {
        command.env_remove(name);
    }
    command.args(arguments).current_dir(folder).output().unwrap()
}

/// The one JSON object that a command prints.
fn printed(folder: &Path, arguments: &[&str]) -> Value {
    let output = tidewatch(folder, arguments);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Ends with 2, and says so.
fn refused(folder: &Path, arguments: &[&str], words: &str) {
    let output = tidewatch(folder, arguments);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{text}");
    assert!(text.contains(words), "`{words}` is missing from\n{text}");
}

fn configuration(fields: &[&str], detector: &str) -> String {
    let fields: String = fields.iter().map(|name| format!("{name:?} = \"float\"\n")).collect();
    format!(
        "[pipeline]\nname = \"fleet\"\n[source.files]\npaths = [\"recordings\"]\n[event]\nkey = \"device\"\n\
         time = {{ field = \"ts\", format = \"unix_ms\" }}\n[event.fields]\n\"device\" = \"text\"\n\"label\" = \"text\"\n{fields}\
         [[detectors]]\nname = \"fleet\"\nmodel = \"models/fleet\"\n{detector}\n[output]\nurl = \"out\"\n"
    )
}

#[test]
fn the_program_trains_version_after_version_and_judges_the_one_in_force() {
    let folder = TempDir::new().unwrap();
    let at = folder.path();
    std::fs::create_dir(at.join("recordings")).unwrap();
    fleet(&at.join("recordings"), 300);
    let detector =
        "encoder = [8, 2]\n[detectors.training]\nepochs = 2\nwhere = { field = \"label\", equals = \"Normal\" }";
    std::fs::write(at.join("fleet.toml"), configuration(&FIELDS, detector)).unwrap();
    refused(at, &["evaluate", "fleet.toml", "--from", "recordings", "--label", "label"], "`tidewatch train` makes one");
    let check = tidewatch(at, &["check", "fleet.toml"]);
    assert_eq!(check.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&check.stderr).contains("no model yet: train one"));
    refused(at, &["train", "fleet.toml", "--from", "nowhere"], "no file matches `nowhere`");
    refused(at, &["train", "fleet.toml", "--from", "recordings", "--detector", "fleed"], "did you mean `fleet`?");
    let nobody =
        ["train", "fleet.toml", "--from", "recordings", "--set", "detectors.fleet.training.where.equals=nobody"];
    refused(at, &nobody, "600 rows did not meet the condition");
    assert!(!at.join("models").exists(), "nothing is written before there is a model");
    let output = tidewatch(at, &["train", "fleet.toml", "--from", "recordings"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains("models/fleet/1 (in force)"), "{text}");
    let trained = printed(at, &["train", "fleet.toml", "--from", "recordings", "--json"]);
    let trained = &trained["detectors"][0];
    assert_eq!((trained["model"].as_str(), trained["curve"].as_array().unwrap().len()), (Some("fleet/2"), 2));
    let account = |version| std::fs::read(at.join(format!("models/fleet/{version}/training.json"))).unwrap();
    assert_eq!(account(1), account(2), "the same recording and seed");
    let evaluate = ["evaluate", "fleet.toml", "--from", "recordings", "--label", "label", "--json"];
    let judged = printed(at, &evaluate);
    assert_eq!(judged["detectors"][0]["model"], "fleet/2");
    assert_eq!(judged["detectors"][0]["rows"], 600);
    assert_eq!(judged["detectors"][0]["threshold"], trained["calibration"]["threshold"]);
    refused(at, &["evaluate", "fleet.toml", "--from", "recordings", "--label", "device"], "None of d0, d1 is known");
    let named = ["evaluate", "fleet.toml", "--from", "recordings", "--label", "device", "--normal", "d1", "--json"];
    assert_eq!(printed(at, &named)["detectors"][0]["anomalies"], 300);
    let key = &judged["detectors"][0]["keys"][0];
    assert!(key["rows"] == 300 && key["auc"].is_f64() && key["f1"].is_f64() && key["name"].is_string(), "{key}");
    // Of d0 the 100 seconds from the 200th on; the key that is not there is no fault.
    let spans = r#"{"d0": [["2026-01-01 00:03:20", "2026-01-01T00:04:59Z"]], "d7": []}"#;
    std::fs::write(at.join("ranges.json"), spans).unwrap();
    let ranges = ["evaluate", "fleet.toml", "--from", "recordings", "--ranges", "ranges.json", "--json"];
    let found = &printed(at, &ranges)["detectors"][0];
    assert_eq!(
        (&found["rows"], &found["anomalies"], &found["ranges"]["labelled"]),
        (&600.into(), &100.into(), &1.into())
    );
    assert_eq!((&found["nab"]["windows"], found["nab"]["best_score"].is_f64()), (&1.into(), true));
    let both = [&ranges[..], &["--label", "label"]].concat();
    refused(at, &both, "cannot be used with");
    std::fs::write(at.join("ranges.json"), r#"{"d7": []}"#).unwrap();
    refused(at, &ranges, "it names d7, and the recording has d0, d1");
    let pinned = ["train", "fleet.toml", "--from", "recordings", "--set", "detectors.fleet.model=models/fleet/2"];
    refused(at, &pinned, "write model = \"models/fleet\"");
    let replay = tidewatch(at, &["replay", "fleet.toml", "--from", "recordings", "-w", "1", "-q"]);
    assert!(replay.status.success(), "{}", String::from_utf8_lossy(&replay.stderr));
}

/// Recordings that are not ours to pass on are used where `TIDEWATCH_SHARED_DATA` names their folder.
#[test]
fn trained_on_benign_flows_it_tells_attacks_at_least_as_well_as_the_imported_model() {
    let Some(data) = std::env::var_os("TIDEWATCH_SHARED_DATA").map(std::path::PathBuf::from) else {
        println!("skipped: TIDEWATCH_SHARED_DATA does not name the folder of recordings");
        return;
    };
    let folder = TempDir::new().unwrap();
    let at = folder.path();
    let flows = std::fs::read_to_string(data.join("ciciot2023/flows.csv")).unwrap();
    let header: Vec<&str> = flows.lines().next().unwrap().split(',').collect();
    let mut text = String::new();
    for (row, line) in flows.lines().skip(1).enumerate() {
        // The file is sorted by class, so the time goes round the rows.
        let ts = BEGIN_MS + (row as i64 * 7919 % 9629) * 1000;
        let cells = header.iter().zip(line.split(','));
        let cells: Vec<String> = cells
            .filter_map(|(name, cell)| match cell.parse::<f64>() {
                Ok(number) if number.is_finite() => Some(format!("{name:?}:{number}")),
                Ok(_) => None,
                Err(_) => Some(format!("\"label\":{cell:?}")),
            })
            .collect();
        writeln!(text, r#"{{"ts":{ts},"device":"{}",{}}}"#, row % 7, cells.join(",")).unwrap();
    }
    std::fs::write(at.join("flows.ndjson"), text).unwrap();
    let names = std::fs::read_to_string(data.join("iomt-model/numeric_features.json")).unwrap();
    let condition = "where = { field = \"label\", equals = \"Benign\" }";
    let detector = format!("features = {names}\n[detectors.training]\n{condition}");
    let numbers: Vec<&str> = header.iter().copied().filter(|name| !name.starts_with("label")).collect();
    let lateness = "[watermark]\nallowed_lateness = \"1day\"\n";
    std::fs::write(at.join("flows.toml"), configuration(&numbers, &detector) + lateness).unwrap();
    let trained = printed(at, &["train", "flows.toml", "--from", "flows.ndjson", "--json"]);
    assert_eq!(trained["detectors"][0]["training_rows"], 800);
    let files = ["lstm_autoencoder.h5", "scaler.json", "threshold.json", "numeric_features.json"];
    let files = files.map(|file| data.join("iomt-model").join(file).display().to_string());
    let import: Vec<&str> = ["import"]
        .into_iter()
        .chain(files.iter().map(String::as_str))
        .chain(["--error", "mae", "--to", "models/keras"])
        .collect();
    assert!(tidewatch(at, &import).status.success());
    let auc = |model: &str| {
        let model = format!("detectors.fleet.model={model}");
        let arguments =
            ["evaluate", "flows.toml", "--from", "flows.ndjson", "--label", "label", "--json", "--set", &model];
        let found = printed(at, &arguments);
        println!("{model}: {}", found["detectors"][0]["measures"]);
        assert_eq!(found["detectors"][0]["rows"], 9626);
        found["detectors"][0]["measures"]["auc"].as_f64().unwrap()
    };
    let (ours, keras) = (auc("models/fleet"), auc("models/keras"));
    assert!(ours > keras, "{ours} against {keras}");
}
