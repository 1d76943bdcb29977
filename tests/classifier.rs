//! The supervised classifier: what it learns from labels, how it is split and weighed, and why it says what it says.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    ArrayRef, AsArray, DictionaryArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    UInt32Array, UInt64Array,
};
use arrow::datatypes::{Float64Type, Schema};
use serde_json::Value;
use tempfile::TempDir;
use tidewatch::domain::detector::{DetectorInput, DetectorSpec};
use tidewatch::domain::schema::{EventSchema, FieldKind, FieldSpec, KeySource, TimeFormat, TimeSource};
use tidewatch::domain::watermark::WatermarkSpec;
use tidewatch::models::model::{ModelVersion, RegisteredModel};
use tidewatch::models::registry;
use tidewatch::scoring::scorer::{Scored, Scorer};
use tidewatch::sources::files::{FileFormat, FilesSpec};
use tidewatch::training::error::TrainingError;
use tidewatch::training::input::InputSpec;
use tidewatch::training::recording::RecordingSpec;
use tidewatch::training::spec::{LabelSpec, Method, TrainingSpec};
use tidewatch::training::train::{Trained, Watch, train};

const BEGIN_MS: i64 = 1_767_225_600_000;
const FEATURES: usize = 4;

/// Numbers between -1 and 1, the same in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }
}

/// A normal row; or one of which a feature has left its bounds, each always in the same direction.
fn row(numbers: &mut Numbers, tampered: Option<usize>) -> [f64; FEATURES] {
    let sizes = [1.0, 300.0, 0.01, 5.0];
    let mut row = sizes.map(|size| size * (10.0 + numbers.next()));
    if let Some(feature) = tampered {
        let sign = if feature < 2 { 1.0 } else { -1.0 };
        row[feature] += sign * sizes[feature] * (6.0 + numbers.next());
    }
    row
}

/// A row a second; of the rows before `until`, every `every`th is an anomaly of one of two labels.
fn write(folder: &Path, rows: usize, every: usize, until: usize) {
    let (mut text, mut numbers) = (String::new(), Numbers(7));
    for second in 0..rows {
        let tampered = (second < until && second % every == 0).then_some(second / every % FEATURES);
        let label = tampered.map_or("Normal", |feature| if feature % 2 == 0 { "scan" } else { "flood" });
        let values = row(&mut numbers, tampered);
        let values: Vec<String> = values.iter().enumerate().map(|(at, value)| format!(r#""f{at}":{value}"#)).collect();
        let ts = BEGIN_MS + second as i64 * 1000;
        writeln!(text, r#"{{"ts":{ts},"label":"{label}",{}}}"#, values.join(",")).unwrap();
    }
    std::fs::write(folder.join("rows.ndjson"), text).unwrap();
}

fn recording(folder: &Path) -> RecordingSpec {
    let field = |name: String, kind| FieldSpec {
        path: vec![name.clone()],
        name,
        kind,
        default: None,
        required: false,
        missing_as: None,
    };
    let numbers = (0..FEATURES).map(|feature| field(format!("f{feature}"), FieldKind::Float));
    RecordingSpec {
        files: FilesSpec::new(vec![folder.join("rows.ndjson").display().to_string()], FileFormat::Ndjson),
        events: EventSchema {
            time: TimeSource::Fields { paths: vec![vec!["ts".to_owned()]], format: TimeFormat::UnixMillis },
            key: KeySource::Partition,
            fields: numbers.chain([field("label".to_owned(), FieldKind::Text)]).collect(),
            record_bytes_max: 1 << 16,
        },
        watermark: WatermarkSpec {
            out_of_orderness: Duration::ZERO,
            allowed_lateness: Duration::ZERO,
            future_skew: Duration::from_secs(60),
            idle_after: Duration::from_secs(60),
            max_drift: Duration::from_secs(3600),
            idle_retention: Duration::from_secs(3600),
        },
    }
}

fn spec(layers: &[usize]) -> TrainingSpec {
    TrainingSpec {
        method: Method::Classifier { layers: layers.to_vec() },
        labels: Some(LabelSpec { column: "label".to_owned(), normal: Vec::new() }),
        epochs_max: 40,
        learning_rate: 0.01,
        ..TrainingSpec::default()
    }
}

fn trained(spec: &TrainingSpec, recording: &RecordingSpec) -> Result<Trained, TrainingError> {
    train(spec, &InputSpec::Events, recording, Watch { told: &mut |_| {}, is_stopped: &|| false })
}

fn scored(trained: &Trained, rows: &[[f64; FEATURES]], schema: &Arc<Schema>) -> Scored {
    let count = rows.len();
    let text =
        |word| DictionaryArray::new(UInt32Array::from(vec![0; count]), Arc::new(StringArray::from(vec![word])) as _);
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampMicrosecondArray::from_iter_values(0..count as i64).with_timezone("UTC")),
        Arc::new(text("pump")),
        Arc::new(UInt64Array::from(vec![0; count])),
        Arc::new(Int64Array::from_iter_values(0..count as i64)),
    ];
    for feature in 0..FEATURES {
        columns.push(Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row[feature]))));
    }
    columns.push(Arc::new(text("unknown")));
    let spec = DetectorSpec { name: "d".into(), model: "models/d".into(), input: DetectorInput::Events };
    let version = ModelVersion { name: "d".into(), version: 1 };
    let registered = Arc::new(RegisteredModel { version, model: trained.model.clone() });
    let batch = RecordBatch::try_new(schema.clone(), columns).unwrap();
    Scorer::new(&spec, registered, schema).unwrap().score(batch, None)
}

fn scores(scored: &Scored) -> Vec<f64> {
    scored.batch.column_by_name("d_score").unwrap().as_primitive::<Float64Type>().values().to_vec()
}

#[test]
fn an_anomaly_is_more_probable_than_a_normal_row_and_names_what_gave_it_away() {
    let folder = TempDir::new().unwrap();
    // One row in fifty: neither class drowns the other.
    write(folder.path(), 4000, 50, usize::MAX);
    let recording = recording(folder.path());
    let schema = recording.events.arrow();
    let mut numbers = Numbers(31);
    let normal: Vec<[f64; FEATURES]> = (0..1000).map(|_| row(&mut numbers, None)).collect();
    let anomalous: Vec<[f64; FEATURES]> = (0..200).map(|at| row(&mut numbers, Some(at % FEATURES))).collect();
    for layers in [&[][..], &[16]] {
        let trained = trained(&spec(layers), &recording).unwrap();
        assert_eq!(trained.account.features, ["f0", "f1", "f2", "f3"], "the label is no feature");
        assert_eq!(trained.account.anomalous_rows, Some([64, 16]));
        let share = trained.account.calibration.anomalous_share_above.unwrap();
        assert!(share > 0.9, "{layers:?}: {share} of the anomalies that were held back");
        let (calm, wild) = (scores(&scored(&trained, &normal, &schema)), scored(&trained, &anomalous, &schema));
        let below = calm.iter().filter(|score| **score < 0.5).count();
        let above = scores(&wild).iter().filter(|score| **score > 0.5).count();
        assert!(calm.iter().chain(&scores(&wild)).all(|score| (0.0..=1.0).contains(score)));
        assert!(below > 970 && above > 190, "{layers:?}: {below} of 1000 and {above} of 200");
        let anomalies = wild.anomalies.unwrap();
        let why = anomalies.column_by_name("why").unwrap().as_list::<i32>();
        let offsets = anomalies.column_by_name("offset").unwrap().as_primitive::<arrow::datatypes::Int64Type>();
        let is_right = |place: &usize| {
            let shares = why.value(*place);
            let feature = shares.as_struct().column_by_name("feature").unwrap().as_string::<i32>().value(0).to_owned();
            feature == format!("f{}", offsets.value(*place) as usize % FEATURES)
        };
        let right = (0..anomalies.num_rows()).filter(is_right).count();
        println!("{layers:?}: {below} {above}, {right} of {} named", anomalies.num_rows());
        assert!(right * 10 >= anomalies.num_rows() * 9 && anomalies.num_rows() > 180, "{layers:?}: {right}");
    }
}

#[test]
fn both_parts_have_both_classes_even_where_all_anomalies_came_first() {
    let folder = TempDir::new().unwrap();
    write(folder.path(), 1000, 5, 250);
    let Trained { account, .. } =
        trained(&TrainingSpec { epochs_max: 2, ..spec(&[]) }, &recording(folder.path())).unwrap();
    assert_eq!((account.training_rows, account.validation_rows), (760, 190));
    assert_eq!(account.anomalous_rows, Some([40, 10]));
    assert_eq!(account.to, "2026-01-01T00:16:39Z", "the threshold is that of the last normal rows");
}

#[test]
fn the_seed_decides_the_model_whatever_the_memory() {
    let folder = TempDir::new().unwrap();
    write(folder.path(), 2000, 9, usize::MAX);
    let recording = recording(folder.path());
    let spec = TrainingSpec { epochs_max: 3, ..spec(&[8]) };
    let first = trained(&spec, &recording).unwrap();
    assert_eq!(first, trained(&spec, &recording).unwrap());
    assert_eq!(first, trained(&TrainingSpec { memory_bytes: 1, ..spec.clone() }, &recording).unwrap());
    assert_ne!(first, trained(&TrainingSpec { seed: 1, ..spec }, &recording).unwrap());
    registry::save(&folder.path().join("model"), &first.model).unwrap();
    assert_eq!(registry::load(&folder.path().join("model")).unwrap().model, first.model);
}

#[test]
fn without_both_classes_nothing_is_trained_and_the_column_is_named() {
    let folder = TempDir::new().unwrap();
    write(folder.path(), 300, 50, usize::MAX);
    let recording = recording(folder.path());
    let error = trained(&spec(&[]), &recording).unwrap_err();
    assert!(matches!(error, TrainingError::OneClass { normal: 294, anomalous: 6, .. }), "{error}");
    assert!(error.to_string().contains("`label`"), "{error}");
    let labels = LabelSpec { column: "label".to_owned(), normal: vec!["Calm".to_owned()] };
    let named = TrainingSpec { labels: Some(labels), ..spec(&[]) };
    let error = trained(&named, &recording).unwrap_err();
    assert!(matches!(error, TrainingError::LabelUnknown { .. } | TrainingError::TooFewRows { .. }), "{error}");
}

#[test]
fn labels_leave_anomalies_out_of_what_learns_the_normal() {
    let folder = TempDir::new().unwrap();
    write(folder.path(), 1000, 5, usize::MAX);
    let pca = Method::KMeans { clusters: 3 };
    let account = trained(&TrainingSpec { method: pca, ..spec(&[]) }, &recording(folder.path())).unwrap().account;
    assert_eq!((account.training_rows, account.validation_rows, account.passed_over), (640, 160, 200));
    assert_eq!(account.anomalous_rows, None);
}

const CONFIGURATION: &str = r#"
[pipeline]
name = "rows"
[source.files]
paths = ["rows.ndjson"]
[event]
time = { field = "ts", format = "unix_ms" }
key = "$file"
[event.fields]
"label" = "text"
"f0" = "float"
"f1" = "float"
"f2" = "float"
"f3" = "float"
[[detectors]]
name = "attack"
kind = "classifier"
layers = [8]
model = "models/attack"
[detectors.training]
labels = { field = "label" }
learning_rate = 0.01
epochs = 30
[output]
url = "output"
"#;

fn tidewatch(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidewatch"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("TIDEWATCH_")) {
        command.env_remove(name);
    }
    command.args(arguments).current_dir(folder).output().unwrap()
}

#[test]
fn the_program_trains_a_classifier_scores_with_it_and_judges_it() {
    let desk = TempDir::new().unwrap();
    let at = desk.path();
    std::fs::write(at.join("rows.toml"), CONFIGURATION).unwrap();
    write(at, 3000, 20, usize::MAX);
    let trained = tidewatch(at, &["train", "rows.toml", "--from", "rows.ndjson"]);
    let text = String::from_utf8(trained.stdout).unwrap();
    assert!(trained.status.success(), "{}", String::from_utf8_lossy(&trained.stderr));
    for words in ["classifier, 8 over 4 features", "of anomalies 120 to train on, 30 to judge by"] {
        assert!(text.contains(words), "{words} is missing from\n{text}");
    }
    let replayed = tidewatch(at, &["replay", "rows.toml", "--from", "rows.ndjson", "-q"]);
    assert!(replayed.status.success(), "{}", String::from_utf8_lossy(&replayed.stderr));
    let judged = tidewatch(at, &["evaluate", "rows.toml", "--from", "rows.ndjson", "--label", "label", "--json"]);
    let found: Value = serde_json::from_slice(&judged.stdout).unwrap();
    let found = &found["detectors"][0];
    assert_eq!((&found["rows"], &found["anomalies"]), (&3000.into(), &150.into()));
    assert!(found["measures"]["auc"].as_f64().unwrap() > 0.99, "{}", found["measures"]);
}
