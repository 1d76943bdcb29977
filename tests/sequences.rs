//! Models of sequences of a key's windows, trained by us: what they learn from, what they score, and what they say of it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    ArrayRef, AsArray, DictionaryArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray, UInt32Array,
};
use arrow::datatypes::{DataType, Float64Type, Schema};
use serde_json::Value;
use tempfile::TempDir;
use tidewatch::domain::detector::{DetectorInput, DetectorSpec};
use tidewatch::domain::schema::{EventSchema, FieldKind, FieldSpec, KeySource, TimeFormat, TimeSource};
use tidewatch::domain::watermark::WatermarkSpec;
use tidewatch::models::model::{Model, ModelVersion, RegisteredModel};
use tidewatch::models::registry;
use tidewatch::scoring::history::{History, Reach};
use tidewatch::scoring::scorer::Scorer;
use tidewatch::sources::files::{FileFormat, FilesSpec};
use tidewatch::training::error::TrainingError;
use tidewatch::training::input::InputSpec;
use tidewatch::training::recording::RecordingSpec;
use tidewatch::training::spec::{Architecture, FeatureSpec, Method, NetworkKind, ThresholdRule, TrainingSpec};
use tidewatch::training::train::{Trained, Watch, train};
use tidewatch::windows::spec::{Aggregate, AggregateSpec, WindowSpec};

const BEGIN_MS: i64 = 1_767_225_600_000;
const SECONDS: i64 = 10;
const STEPS: usize = 6;
const FIELDS: [&str; 4] = ["a", "b", "c", "d"];

/// Numbers between -1 and 1, the same in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }
}

/// What a room's fields are in one of its windows: they follow a wave, each in its own way.
fn readings(room: i64, window: i64, numbers: &mut Numbers) -> [f64; 4] {
    let phase = window as f64 / 5.0 + room as f64;
    let mut noise = || 0.05 * numbers.next();
    [
        20.0 + phase.sin() + noise(),
        500.0 * (phase.cos() + noise()),
        phase.sin() - phase.cos() + noise(),
        3.0 + 0.2 * (phase.sin() + noise()),
    ]
}

/// An event a window, of so many rooms; room 0 has none in the windows of `gaps`.
fn rooms(folder: &Path, rooms: i64, windows: i64, gaps: &[i64]) {
    std::fs::create_dir_all(folder).unwrap();
    for room in 0..rooms {
        let (mut text, mut numbers) = (String::new(), Numbers(7 + room as u64));
        for window in 0..windows {
            let [a, b, c, d] = readings(room, window, &mut numbers);
            if room == 0 && gaps.contains(&window) {
                continue;
            }
            let time = BEGIN_MS + window * SECONDS * 1000;
            writeln!(text, r#"{{"ts":{time},"room":"r{room}","a":{a},"b":{b},"c":{c},"d":{d}}}"#).unwrap();
        }
        std::fs::write(folder.join(format!("r{room}.ndjson")), text).unwrap();
    }
}

fn field(name: &str, kind: FieldKind) -> FieldSpec {
    let path = vec![name.to_owned()];
    FieldSpec { name: name.to_owned(), kind, path, default: None, required: false, missing_as: None }
}

fn recording(folder: &Path) -> RecordingSpec {
    let fields = FIELDS.map(|name| field(name, FieldKind::Float));
    RecordingSpec {
        files: FilesSpec::new(vec![folder.display().to_string()], FileFormat::Ndjson),
        events: EventSchema {
            time: TimeSource::Fields { paths: vec![vec!["ts".to_owned()]], format: TimeFormat::UnixMillis },
            key: KeySource::Field(vec!["room".to_owned()]),
            fields: [field("room", FieldKind::Text)].into_iter().chain(fields).collect(),
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

fn window() -> WindowSpec {
    WindowSpec {
        name: "by_room".to_owned(),
        size: Duration::from_secs(SECONDS as u64),
        slide: Duration::from_secs(SECONDS as u64),
        by: vec!["room".to_owned()],
        aggregates: FIELDS.map(|field| AggregateSpec { field: field.to_owned(), aggregate: Aggregate::Mean }).into(),
        allowed_lateness: Duration::ZERO,
    }
}

fn spec(kind: NetworkKind) -> TrainingSpec {
    let features = FIELDS.map(|field| FeatureSpec::of_field(&format!("{field}_mean")));
    TrainingSpec {
        method: Method::Autoencoder(Architecture { kind, encoder: vec![12, 3], decoder: vec![12] }),
        steps: STEPS,
        features: Some(features.into()),
        epochs_max: 30,
        learning_rate: 0.01,
        ..TrainingSpec::default()
    }
}

fn trained(spec: &TrainingSpec, recording: &RecordingSpec) -> Result<Trained, TrainingError> {
    train(spec, &InputSpec::Windows(window()), recording, Watch { told: &mut |_| {}, is_stopped: &|| false })
}

/// The rows of one window, a room each.
fn rows(schema: &Arc<Schema>, window: i64, values: &[[f64; 4]]) -> RecordBatch {
    let count = values.len();
    let start = (BEGIN_MS + window * SECONDS * 1000) * 1000;
    let column = |field: &arrow::datatypes::FieldRef| -> ArrayRef {
        let time = |time| Arc::new(TimestampMicrosecondArray::from(vec![time; count]).with_timezone("UTC"));
        match field.name().as_str() {
            "window_start" => time(start),
            "window_end" => time(start + SECONDS * 1_000_000),
            "room" => {
                let rooms = StringArray::from_iter_values((0..count).map(|room| format!("r{room}")));
                let keys = UInt32Array::from_iter_values(0..count as u32);
                Arc::new(DictionaryArray::new(keys, Arc::new(rooms)))
            }
            "revision" => Arc::new(Int32Array::from(vec![0; count])),
            "count" => Arc::new(Int64Array::from(vec![1; count])),
            name => {
                assert_eq!(field.data_type(), &DataType::Float64, "{name}");
                let place = FIELDS.iter().position(|field| name == format!("{field}_mean")).unwrap();
                Arc::new(Float64Array::from_iter_values(values.iter().map(|values| values[place])))
            }
        }
    };
    RecordBatch::try_new(schema.clone(), schema.fields().iter().map(column).collect()).unwrap()
}

/// The first feature that each anomaly in the last of these windows names, by room, with whether it was above what was expected.
fn named(model: &Model, recording: &RecordingSpec, windows: &[Vec<[f64; 4]>]) -> Vec<(usize, String, bool)> {
    let schema = InputSpec::Windows(window()).schema(recording).unwrap();
    let spec = DetectorSpec {
        name: "d".into(),
        model: "models/d".into(),
        input: DetectorInput::Windows("by_room".to_owned()),
    };
    let version = ModelVersion { name: "d".into(), version: 1 };
    let registered = Arc::new(RegisteredModel { version, model: model.clone() });
    let mut scorer = Scorer::new(&spec, registered, &schema).unwrap();
    assert_eq!(scorer.reach(), Some(Reach::Preceding(STEPS as u32 - 1)));
    let mut history = History::new(window().timing(), scorer.reach().as_slice(), &schema).unwrap();
    let mut found = Vec::new();
    for (at, values) in windows.iter().enumerate() {
        history.take(rows(&schema, at as i64, values));
        for due in history.due() {
            let scored = scorer.score(due, Some(&mut history));
            assert_eq!(scored.unscored, if at + 1 < STEPS { values.len() } else { 0 }, "window {at}");
            let Some(anomalies) = scored.anomalies else { continue };
            let keys = anomalies.column_by_name("key").unwrap();
            let keys = arrow::compute::cast(keys, &DataType::Utf8).unwrap();
            let why = anomalies.column_by_name("why").unwrap().as_list::<i32>();
            for row in 0..anomalies.num_rows() {
                let shares = why.value(row);
                let shares = shares.as_struct();
                let number =
                    |column: &str| shares.column_by_name(column).unwrap().as_primitive::<Float64Type>().value(0);
                let feature = shares.column_by_name("feature").unwrap().as_string::<i32>().value(0).to_owned();
                let room = keys.as_string::<i32>().value(row)[1..].parse().unwrap();
                found.push((room, feature, number("value") > number("expected")));
            }
        }
    }
    found
}

#[test]
fn the_feature_that_was_tampered_with_is_named_first_wherever_in_the_sequence() {
    const ROOMS: usize = 200;
    let folder = TempDir::new().unwrap();
    rooms(folder.path(), 6, 300, &[]);
    let recording = recording(folder.path());
    let mut numbers = Numbers(99);
    let mut windows: Vec<Vec<[f64; 4]>> = (0..STEPS as i64)
        .map(|window| (0..ROOMS as i64).map(|room| readings(room, window, &mut numbers)).collect())
        .collect();
    let sizes = [1.0, 500.0, 1.4, 0.2];
    // Every other room in its last window, the others in the one before, upwards and downwards.
    for room in 0..ROOMS {
        let (feature, sign) = (room % 4, if room % 8 < 4 { 6.0 } else { -6.0 });
        windows[STEPS - 1 - (room / 8) % 2][room][feature] += sign * sizes[feature];
    }
    for kind in [NetworkKind::Lstm, NetworkKind::Dense] {
        // What is asked here is why, not whether.
        let spec = TrainingSpec { threshold: ThresholdRule::Percentile(50.0), ..spec(kind) };
        let Trained { model, account } = trained(&spec, &recording).unwrap();
        assert!(account.best.unwrap().validation_loss < account.curve[0].validation_loss / 2.0, "{:?}", account.curve);
        let found = named(&model, &recording, &windows);
        assert!(found.len() >= ROOMS * 9 / 10, "{kind:?}: only {} of {ROOMS} are anomalies", found.len());
        let is_right = |(room, feature, is_above): &&(usize, String, bool)| {
            let is_last = (room / 8) % 2 == 0;
            *feature == format!("{}_mean", FIELDS[room % 4]) && (!is_last || *is_above == (room % 8 < 4))
        };
        let right = found.iter().filter(is_right).count();
        println!("{kind:?}: {right} of {} named", found.len());
        assert!(right * 10 >= found.len() * 9, "{kind:?}: {right} of {}", found.len());
    }
}

#[test]
fn the_seed_decides_the_model_whatever_the_memory_and_the_cuts() {
    let folder = TempDir::new().unwrap();
    rooms(folder.path(), 5, 80, &[]);
    let recording = recording(folder.path());
    for kind in [NetworkKind::Lstm, NetworkKind::Dense] {
        let spec = TrainingSpec { epochs_max: 3, ..spec(kind) };
        let first = trained(&spec, &recording).unwrap();
        assert_eq!(first, trained(&spec, &recording).unwrap());
        for memory_bytes in [1, 9_000] {
            let small = TrainingSpec { memory_bytes, ..spec.clone() };
            assert_eq!(first, trained(&small, &recording).unwrap(), "{memory_bytes} bytes in memory");
        }
        let mut cut = recording.clone();
        cut.files.block_bytes = 997;
        assert_eq!(first, trained(&spec, &cut).unwrap(), "cut elsewhere when it was read");
        let other = trained(&TrainingSpec { seed: 1, ..spec }, &recording).unwrap();
        assert_ne!(first.model.estimator(), other.model.estimator());
        let models = folder.path().join(format!("models/{kind:?}"));
        registry::save(&models, &first.model).unwrap();
        assert_eq!(registry::load(&models).unwrap().model, first.model, "what was saved is what was trained");
    }
}

#[test]
fn a_missing_window_and_the_boundary_of_the_parts_give_no_sequence() {
    let folder = TempDir::new().unwrap();
    rooms(folder.path(), 2, 100, &[20]);
    let spec = TrainingSpec { epochs_max: 1, ..spec(NetworkKind::Lstm) };
    let account = trained(&spec, &recording(folder.path())).unwrap().account;
    // The recording cuts off the last window of each room. Of the 197 others those before the 79th are trained on.
    let of = |windows: u64| windows + 1 - STEPS as u64;
    assert_eq!((account.sequence, account.training_rows), (STEPS, of(20) + of(58) + of(79)));
    assert_eq!(account.validation_rows, 2 * of(20));
    let spec = TrainingSpec { steps: 21, ..spec };
    let error = trained(&spec, &recording(folder.path())).unwrap_err();
    let TrainingError::TooFewSequences { steps, training, validation, windows } = &error else { panic!("{error}") };
    assert_eq!((*steps, *training, *validation, *windows), (21, 38 + 59, 0, 197), "{error}");
    let pca = Method::KMeans { clusters: 2 };
    let refused = trained(&TrainingSpec { method: pca, ..spec }, &recording(folder.path()));
    assert!(matches!(refused, Err(TrainingError::TooFewSequences { .. } | TrainingError::NoSequences { .. })));
}

const CONFIGURATION: &str = r#"
[pipeline]
name = "rooms"
[source.files]
paths = ["rooms"]
[event]
time = { field = "ts", format = "unix_ms" }
key = "room"
[event.fields]
"room" = "text"
"a" = "float"
"b" = "float"
"c" = "float"
"d" = "float"
[watermark]
out_of_orderness = "0s"
allowed_lateness = "0s"
[[windows]]
name = "by_room"
size = "10s"
by = ["room"]
[windows.aggregates]
"a" = ["mean"]
"b" = ["mean"]
"c" = ["mean"]
"d" = ["mean"]
[[detectors]]
name = "wave"
model = "models/wave"
on = "by_room"
sequence = 6
encoder = [12, 3]
features = ["a_mean", "b_mean", "c_mean", "d_mean"]
[detectors.training]
epochs = 20
learning_rate = 0.01
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

fn told(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    text
}

#[test]
fn what_is_trained_on_sequences_scores_sequences_and_is_judged_like_any_other() {
    let desk = TempDir::new().unwrap();
    let at = desk.path();
    std::fs::write(at.join("rooms.toml"), CONFIGURATION).unwrap();
    rooms(&at.join("calm"), 6, 200, &[]);
    // The level of room 3 is not its own for five windows, and room 0 misses one.
    rooms(&at.join("rooms"), 6, 100, &[20]);
    let file = at.join("rooms/r3.ndjson");
    let lines = std::fs::read_to_string(&file).unwrap();
    let broken = |(window, line): (usize, &str)| match window {
        50..55 => line.replace("\"d\":", "\"d\":9"),
        _ => line.to_owned(),
    };
    let lines: Vec<String> = lines.lines().enumerate().map(broken).collect();
    std::fs::write(file, lines.join("\n")).unwrap();

    let trained = told(&tidewatch(at, &["train", "rooms.toml", "--from", "calm"]));
    assert!(trained.contains("LSTM autoencoder, 12-3 | 3 over 4 features, sequences of 6 windows"), "{trained}");
    // Of each room the last window is cut off, and 159 of the 199 others are trained on.
    assert!(trained.contains("924 to train on"), "{trained}");
    let other = tidewatch(at, &["check", "rooms.toml", "--set", "detectors.wave.sequence=7"]);
    assert!(String::from_utf8_lossy(&other.stderr).contains("write sequence = 6"));
    told(&tidewatch(at, &["replay", "rooms.toml", "--from", "rooms", "-w", "2", "-q"]));
    told(&tidewatch(at, &["verify", "output", "--deep"]));

    let fault = |device: &str, from: i64, to: i64| {
        let at = |window: i64| BEGIN_MS + window * SECONDS * 1000;
        format!(
            r#"{{"kind":"spike","device":"{device}","fields":["d"],"from":{},"to":{},"magnitude":9.0,"messages":5}}"#,
            at(from),
            at(to)
        )
    };
    std::fs::write(at.join("truth.ndjson"), fault("r3", 50, 55)).unwrap();
    let evaluate = ["evaluate", "rooms.toml", "--from", "rooms", "--ranges", "truth.ndjson", "--json"];
    let output = tidewatch(at, &evaluate);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let found = &found["detectors"][0];
    // The first five windows of each room, and those that look back on the missing one, have no score.
    assert_eq!(
        (&found["rows"], &found["unscored"], &found["anomalies"]),
        (&(599 - 35).into(), &(6 * 5 + 5).into(), &5.into())
    );
    let auc = found["measures"]["auc"].as_f64().unwrap();
    // The windows after the fault look back on it, and are no part of the truth.
    assert!(auc > 0.98, "{auc}");
    assert_eq!(found["ranges"]["labelled"], 1);
    let far = tidewatch(at, &["train", "rooms.toml", "--from", "rooms", "--set", "detectors.wave.sequence=60"]);
    let text = String::from_utf8_lossy(&far.stderr).into_owned();
    assert!(far.status.code() == Some(2) && text.contains("`sequence` shorter"), "{text}");
}
