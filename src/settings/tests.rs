//! Stories about whole configurations: what is read, what is refused, and in which words.

use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::*;

use crate::domain::detector::DetectorInput;
use crate::domain::schema::{Constant, FieldKind, FieldSpec, KeySource, TimeFormat, TimeSource};

use crate::models::features::Derivation;
use crate::models::subspace::SubspaceMeasure;
use crate::training::spec::{
    Architecture, Components, Condition, FeatureSpec, LabelSpec, Method, NetworkKind, Scaling, ThresholdRule,
    TrainingSpec, TransformSpec,
};

use super::*;

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/settings").join(name)
}

fn text_of(name: &str) -> String {
    std::fs::read_to_string(golden(&format!("{name}.toml"))).unwrap()
}

fn nothing() -> Overrides {
    Overrides::default()
}

fn environment(pairs: &[(&str, &str)]) -> Overrides {
    let environment = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Overrides { environment, arguments: Vec::new() }
}

fn arguments(list: &[&str]) -> Overrides {
    Overrides { environment: Vec::new(), arguments: list.iter().map(|text| Argument::parse(text).unwrap()).collect() }
}

/// Compares what is said of a file with what it said when it was last read by a person; `UPDATE_GOLDEN=1` rewrites it.
fn check(name: &str) {
    let found = match Settings::parse(&text_of(name), &nothing()) {
        Ok(settings) => panic!("{name} should be refused, and was read as {settings:#?}"),
        Err(faults) => format!("{faults}\n"),
    };
    assert!(!found.contains("hunter2"), "a secret is shown:\n{found}");
    let path = golden(&format!("{name}.faults"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &found).unwrap();
    }
    assert_eq!(found, std::fs::read_to_string(&path).unwrap_or_default());
}

fn full(overrides: &Overrides) -> Settings {
    Settings::parse(&text_of("full"), overrides).unwrap_or_else(|faults| panic!("{faults}"))
}

fn refusal(overrides: &Overrides) -> String {
    Settings::parse(&text_of("full"), overrides).unwrap_err().to_string()
}

#[test]
fn an_empty_file_is_told_every_section_it_needs() {
    check("empty");
}

#[test]
fn every_unknown_key_is_refused_with_the_nearest_right_one() {
    check("unknown_keys");
}

#[test]
fn every_wrong_value_is_reported_at_once() {
    check("wrong_values");
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    check("contradictions");
}

#[test]
fn a_secret_in_the_file_is_refused_and_not_shown() {
    check("secrets_in_the_file");
}

#[test]
fn broken_toml_is_reported_by_line_without_quoting_the_text() {
    check("broken_toml");
}

#[test]
fn values_of_the_wrong_shape_are_refused_where_they_stand() {
    check("wrong_shapes");
}

#[test]
fn files_give_neither_kafka_timestamps_nor_kafka_keys() {
    check("files_without_kafka");
}

#[test]
fn a_training_that_cannot_be_is_told_every_fault() {
    check("training");
}

#[test]
fn what_a_detector_is_trained_to_be_is_read_beside_its_model() {
    let settings = full(&arguments(&[
        "detectors.flow.features=[\"Rate\", \"Variance\"]",
        "detectors.flow.kind=dense_autoencoder",
        "detectors.flow.encoder=[12, 4]",
        "detectors.flow.training.scaling=min_max",
        "detectors.flow.training.validation=0.1",
        "detectors.flow.training.percentile=99.5",
        "detectors.flow.training.where={field = \"label\", equals = \"Benign\"}",
    ]));
    let training = &settings.detectors[0].training;
    let wanted = TrainingSpec {
        method: Method::Autoencoder(Architecture { kind: NetworkKind::Dense, encoder: vec![12, 4], decoder: vec![12] }),
        features: Some(["Rate", "Variance"].map(FeatureSpec::of_field).into()),
        scaling: Scaling::MinMax,
        validation: 0.1,
        threshold: ThresholdRule::Percentile(99.5),
        condition: Some(Condition { column: "label".to_owned(), equals: Constant::Text("Benign".to_owned()) }),
        ..TrainingSpec::default()
    };
    assert_eq!(*training, wanted);
    assert_eq!(full(&nothing()).detectors[0].training, TrainingSpec::default());
}

#[test]
fn a_detector_of_another_kind_has_keys_of_its_own() {
    let method = |overrides: &[&str]| full(&arguments(overrides)).detectors[0].training.method.clone();
    let forest = method(&["detectors.flow.kind=isolation_forest", "detectors.flow.trees=1000"]);
    assert_eq!(forest, Method::IsolationForest { trees: 1000, sample_rows: 256 });
    let pca = method(&["detectors.flow.kind=pca", "detectors.flow.measure=t2", "detectors.flow.components=3"]);
    assert_eq!(
        pca,
        Method::Pca { measure: SubspaceMeasure::T2, components: Components::Count(3), variance_floor: 0.0 }
    );
    let clusters = method(&["detectors.flow.kind=k_means", "detectors.flow.clusters=5"]);
    assert_eq!(clusters, Method::KMeans { clusters: 5 });
}

#[test]
fn sequences_are_of_windows_and_for_networks() {
    let on = |overrides: &[&str]| arguments(&[&["detectors.flow.sequence=50"], overrides].concat());
    let settings = full(&on(&["detectors.flow.on=by_label", "detectors.flow.training.epoch_rows=1000"]));
    let TrainingSpec { steps, epoch_rows, .. } = settings.detectors[0].training;
    assert_eq!((settings.detectors[0].sequence, steps, epoch_rows), (Some(50), 50, Some(1000)));
    for (overrides, words) in [
        (vec![], "this detector scores events"),
        (vec!["detectors.flow.on=by_label", "detectors.flow.kind=pca"], "scores one window at a time"),
        (vec!["detectors.flow.on=by_label", "detectors.flow.kind=isolation_forest"], "scores one window at a time"),
    ] {
        let told = refusal(&on(&overrides));
        assert!(told.contains("detectors.flow.sequence") && told.contains(words), "{told}");
    }
}

#[test]
fn what_compares_with_earlier_windows_takes_no_changes() {
    let features = "detectors.flow.features=[{ field = \"count\", change = true }]";
    let told = refusal(&arguments(&["detectors.flow.on=by_label", "detectors.flow.kind=robust", features]));
    assert!(told.contains("detectors.flow.features") && told.contains("write \"count\" alone"), "{told}");
}

#[test]
fn a_classifier_must_be_told_which_rows_are_anomalies() {
    let classifier = |overrides: &[&str]| arguments(&[&["detectors.flow.kind=classifier"], overrides].concat());
    let told = refusal(&classifier(&[]));
    assert!(told.contains("detectors.flow.kind") && told.contains("labels = { field"), "{told}");
    let told = refusal(&classifier(&["detectors.flow.training.labels={ field = \"labl\" }"]));
    assert!(told.contains("detectors.flow.training.labels.field") && told.contains("did you mean `label`?"), "{told}");
    let labels = "detectors.flow.training.labels={ field = \"label\", normal = [\"Benign\"] }";
    let training = full(&classifier(&[labels, "detectors.flow.layers=[]"])).detectors[0].training.clone();
    assert_eq!(training.method, Method::Classifier { layers: Vec::new() });
    assert_eq!(training.labels, Some(LabelSpec { column: "label".to_owned(), normal: vec!["Benign".to_owned()] }));
}

#[test]
fn a_feature_says_how_its_number_comes_about() {
    let training = full(&arguments(&[
        "detectors.flow.features=[{ field = \"Rate\", over = \"Variance\", transforms = [\"log1p\", { clip = [0, 9] }] }, \
         { field = \"label\", equals = \"Benign\", name = \"calm\" }]",
        "detectors.flow.training.transforms=quantile",
        "detectors.flow.training.contamination=0.25",
    ]))
    .detectors[0]
        .training
        .clone();
    let ratio = FeatureSpec {
        name: "Rate/Variance".to_owned(),
        derivation: Derivation::Ratio { over: "Variance".to_owned() },
        transforms: Some(vec![TransformSpec::Log1p, TransformSpec::Clip { low: 0.0, high: 9.0 }]),
        ..FeatureSpec::of_field("Rate")
    };
    let derivation = Derivation::OneHot { equals: "Benign".to_owned() };
    let calm = FeatureSpec { name: "calm".to_owned(), derivation, ..FeatureSpec::of_field("label") };
    assert_eq!(training.features, Some(vec![ratio, calm]));
    assert_eq!(training.transforms, [TransformSpec::Quantile]);
    assert_eq!(training.threshold, ThresholdRule::Percentile(75.0));
}

#[test]
fn the_documented_configuration_is_read_as_it_says() {
    let settings = full(&nothing());
    assert_eq!(settings.pipeline.checkpoint_every, Duration::from_secs(10));
    assert_eq!(settings.pipeline.epoch, Duration::from_millis(250));
    let SourceSection::Kafka(kafka) = &settings.source else { panic!("it reads Kafka") };
    assert_eq!((kafka.brokers.as_str(), kafka.group.as_str()), ("localhost:9092", "tidewatch-iomt"));
    assert_eq!((kafka.start, kafka.on_lost), (Start::Earliest, OnLost::Stop));
    assert_eq!(kafka.librdkafka["security.protocol"], Property::Plain("SASL_SSL".to_owned()));
    let schema = &settings.event.schema;
    assert_eq!(schema.key, KeySource::Field(vec!["device".to_owned()]));
    let time = TimeSource::Fields { paths: vec![vec!["ts".to_owned()]], format: TimeFormat::UnixMillis };
    assert_eq!(schema.time, time);
    let names: Vec<&str> = schema.fields.iter().map(|field| field.name.as_str()).collect();
    assert_eq!(names, ["device", "label", "Rate", "Header_Length", "Tot sum", "Variance"]);
    let window = &settings.windows[0];
    assert_eq!((window.size, window.slide), (Duration::from_secs(10), Duration::from_secs(10)));
    assert_eq!(window.allowed_lateness, Duration::from_secs(600));
    let columns: Vec<String> =
        window.aggregates.iter().map(|one| format!("{}_{}", one.field, one.aggregate.name())).collect();
    let wanted = ["Rate_mean", "Rate_stddev", "Header_Length_mean", "Tot sum_min", "Tot sum_max", "Variance_mean"];
    assert_eq!(columns, wanted);
    assert_eq!(settings.detectors[0].spec.input, DetectorInput::Events);
    assert_eq!(settings.detectors[0].on_failure, OnFailure::Stop);
    assert_eq!(settings.output.file_size, 128 << 20);
    let kafka = settings.output.kafka.unwrap();
    assert_eq!((kafka.brokers.as_str(), kafka.topic.as_str()), ("localhost:9092", "iomt-anomalies"));
    assert_eq!(kafka.librdkafka["security.protocol"], Property::Plain("SASL_SSL".to_owned()));
}

#[test]
fn the_example_of_iomt_flows_has_no_fault_and_all_its_fields() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/iomt/tidewatch.toml");
    let text = std::fs::read_to_string(path).unwrap();
    let settings = Settings::parse(&text, &nothing()).unwrap_or_else(|faults| panic!("{faults}"));
    let is_float = |field: &&FieldSpec| field.kind == FieldKind::Float;
    assert_eq!(settings.event.schema.fields.iter().filter(is_float).count(), 39);
    assert_eq!(settings.windows[0].aggregates.len(), 6, "and the count, which is always there");
    assert_eq!(settings.detectors[0].spec.input, DetectorInput::Events);
}

#[test]
fn a_field_may_say_where_it_is_found_and_what_stands_for_nothing() {
    let fields = r#"event.fields.Rate={type = "float", path = "flow.rate", default = 0, missing_as = -999.5}"#;
    let settings = full(&arguments(&[fields]));
    let rate = &settings.event.schema.fields[2];
    assert_eq!(rate.path, ["flow", "rate"]);
    assert_eq!((&rate.default, &rate.missing_as), (&Some(Constant::Float(0.0)), &Some(Constant::Float(-999.5))));
}

#[test]
fn a_key_that_is_a_configured_field_is_found_by_its_path() {
    let settings = full(&arguments(&[r#"event.fields.device={type = "text", path = ["meta", "dev.id"]}"#]));
    assert_eq!(settings.event.schema.key, KeySource::Field(vec!["meta".to_owned(), "dev.id".to_owned()]));
}

#[test]
fn variables_override_any_key_whatever_its_capitals() {
    let settings = full(&environment(&[
        ("TIDEWATCH__OUTPUT__URL", "./elsewhere"),
        ("TIDEWATCH__PIPELINE__NAME", "123"),
        ("TIDEWATCH__WINDOWS__BY_LABEL__SIZE", "20s"),
        ("TIDEWATCH__WINDOWS__0__SLIDE", "5s"),
        ("TIDEWATCH__EVENT__FIELDS__TOT_SUM", "int"),
        ("TIDEWATCH__SOURCE__KAFKA__TOPICS", r#"["a", "b"]"#),
        ("TIDEWATCH__SOURCE__KAFKA__LIBRDKAFKA__SECURITY_PROTOCOL", "plaintext"),
        ("TIDEWATCH__WATERMARK__IDLE_AFTER", "5s"),
        ("TIDEWATCH_LOG", "debug"),
    ]));
    assert_eq!(settings.output.url, "./elsewhere");
    assert_eq!(settings.pipeline.name, "123");
    assert_eq!(settings.windows[0].size, Duration::from_secs(20));
    assert_eq!(settings.windows[0].slide, Duration::from_secs(5));
    assert_eq!(settings.event.schema.fields[4].kind, FieldKind::Int);
    assert_eq!(settings.watermark.idle_after, Duration::from_secs(5));
    let SourceSection::Kafka(kafka) = settings.source else { panic!("it reads Kafka") };
    assert_eq!(kafka.topics, ["a", "b"]);
    assert_eq!(kafka.librdkafka["security.protocol"], Property::Plain("plaintext".to_owned()));
}

#[test]
fn the_command_line_stands_above_the_environment() {
    let mut overrides = environment(&[("TIDEWATCH__OUTPUT__URL", "./from-environment")]);
    overrides.arguments.push(Argument::parse("output.url=./from-flag").unwrap());
    assert_eq!(full(&overrides).output.url, "./from-flag");
    let settings = full(&arguments(&["source.kafka.librdkafka.security.protocol=ssl", "windows.by_label.by=[]"]));
    assert!(settings.windows[0].by.is_empty());
    let SourceSection::Kafka(kafka) = settings.source else { panic!("it reads Kafka") };
    assert_eq!(kafka.librdkafka["security.protocol"], Property::Plain("ssl".to_owned()));
}

#[test]
fn a_fault_in_an_override_names_the_variable_or_the_flag() {
    let mut overrides =
        environment(&[("TIDEWATCH__OUTPUT__FILESIZE", "1MiB"), ("TIDEWATCH__WINDOWS__NONE__SIZE", "1s")]);
    overrides.arguments.push(Argument::parse("windows.by_label.size=ten").unwrap());
    let wanted = "\
output.filesize (environment variable TIDEWATCH__OUTPUT__FILESIZE)
    there is no such key
    did you mean `file_size`?

windows.NONE (environment variable TIDEWATCH__WINDOWS__NONE__SIZE)
    the list has no item of this name or index
    there are: by_label

windows.by_label.size (--set windows.by_label.size)
    \"ten\" is not a duration
    write a number and a unit in quotes, such as \"250ms\", \"10s\", \"1m\" or \"1h 30m\"";
    assert_eq!(refusal(&overrides), wanted);
}

#[test]
fn secrets_come_from_the_environment_or_a_file_it_names() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "hunter2\n").unwrap();
    let path = file.path().to_str().unwrap();
    let settings = full(&environment(&[
        ("TIDEWATCH__SOURCE__KAFKA__LIBRDKAFKA__SASL_PASSWORD", "hunter2"),
        ("TIDEWATCH__SOURCE__KAFKA__LIBRDKAFKA__SSL_KEY_PASSWORD_FILE", path),
        ("TIDEWATCH__OUTPUT__S3__ACCESS_KEY_ID", "me"),
        ("TIDEWATCH__OUTPUT__S3__SECRET_ACCESS_KEY_FILE", path),
    ]));
    let secret = || Secret::new("hunter2");
    assert!(!format!("{settings:?}").contains("hunter2"));
    let SourceSection::Kafka(kafka) = settings.source else { panic!("it reads Kafka") };
    assert_eq!(kafka.librdkafka["sasl.password"], Property::Secret(secret()));
    assert_eq!(kafka.librdkafka["ssl.key.password"], Property::Secret(secret()));
    assert_eq!(settings.output.s3.secret_access_key, Some(secret()));
    assert_eq!(settings.output.kafka.unwrap().librdkafka["sasl.password"], Property::Secret(secret()));
}

#[test]
fn a_secret_on_the_command_line_is_refused_and_not_shown() {
    let told =
        refusal(&arguments(&["source.kafka.librdkafka.sasl.password=hunter2", "output.s3.session_token=hunter2"]));
    assert!(!told.contains("hunter2") && told.contains("TIDEWATCH__OUTPUT__S3__SESSION_TOKEN_FILE"), "{told}");
    assert!(told.contains("TIDEWATCH__SOURCE__KAFKA__LIBRDKAFKA__SASL_PASSWORD,"), "{told}");
}

#[test]
fn recordings_have_a_store_of_their_own_whose_account_is_no_part_of_the_fingerprint() {
    let text = text_of("full");
    let (from, to) = (text.find("[source.").unwrap(), text.find("[event]").unwrap());
    let text = format!("{}[source.files]\npaths = [\"s3://flows/day=*/*.csv\"]\n{}", &text[..from], &text[to..]);
    // An output to Kafka takes the brokers of its source.
    let brokers = Argument::parse("output.kafka.brokers=localhost:9092").unwrap();
    let read = |pairs: &[(&str, &str)]| {
        let overrides = Overrides { arguments: vec![brokers.clone()], ..environment(pairs) };
        Settings::parse(&text, &overrides)
    };
    let plain = read(&[]).unwrap_or_else(|faults| panic!("{faults}"));
    let SourceSection::Files(files) = &plain.source else { panic!("it reads files") };
    assert_eq!(files.s3, None);
    let own = read(&[
        ("TIDEWATCH__SOURCE__FILES__S3__ENDPOINT", "http://localhost:9000"),
        ("TIDEWATCH__SOURCE__FILES__S3__ACCESS_KEY_ID", "me"),
        ("TIDEWATCH__SOURCE__FILES__S3__SECRET_ACCESS_KEY", "hunter2"),
    ])
    .unwrap();
    assert!(!format!("{own:?}").contains("hunter2"));
    let SourceSection::Files(files) = &own.source else { panic!("it reads files") };
    assert_eq!(files.s3.as_ref().unwrap().secret_access_key, Some(Secret::new("hunter2")));
    assert_eq!(Fingerprint::of(&own), Fingerprint::of(&plain));
    let half = read(&[("TIDEWATCH__SOURCE__FILES__S3__SECRET_ACCESS_KEY", "hunter2")]).unwrap_err().to_string();
    assert!(half.contains("source.files.s3.secret_access_key") && half.contains("access_key_id is missing"), "{half}");
}

#[test]
fn a_secret_under_a_mistyped_key_is_not_shown() {
    let told = refusal(&environment(&[
        ("TIDEWATCH__SOURCE__KAFKA__SASL_PASSWORD", "hunter2"),
        ("TIDEWATCH__OUTPUT__S3__SECRET_KEY", "hunter2"),
        ("TIDEWATCH__SOURCE__KAFKA__LIBRDKAFKA__SASL_PASSWORD_FILE", "/nowhere/at/all"),
    ]));
    assert!(!told.contains("hunter2"), "{told}");
    assert!(told.contains("`secret_access_key`") && told.contains("/nowhere/at/all"), "{told}");
}

#[test]
fn anomalies_never_go_to_the_topic_that_is_read() {
    let told = refusal(&arguments(&["output.kafka.topic=iomt-flows"]));
    assert!(told.contains("anomalies would be read again as events"), "{told}");
}

#[test]
fn what_is_sound_is_there_for_checks_even_where_the_rest_is_not() {
    let (draft, faults) =
        Draft::parse(&text_of("full"), &arguments(&["output.url=ftp://x", "watermark.max_drift=soon"]));
    assert_eq!(faults.0.len(), 2);
    assert!(draft.output.is_none() && draft.watermark.is_none());
    assert!(draft.source.is_some() && draft.event.is_some() && draft.windows.is_some() && draft.detectors.is_some());
}

#[test]
fn only_what_stored_state_depends_on_shows_in_the_fingerprint() {
    let before = Fingerprint::of(&full(&nothing()));
    let changed_by = |set: &str| {
        let after = Fingerprint::of(&full(&arguments(&[set])));
        let names = before.0.keys().chain(after.0.keys()).collect::<std::collections::BTreeSet<_>>();
        let differs = names.into_iter().filter(|name| before.0.get(*name) != after.0.get(*name));
        differs.cloned().collect::<Vec<_>>().join(" ")
    };
    for free in [
        "source.kafka.brokers=elsewhere:9092",
        "source.kafka.topics=other",
        "pipeline.epoch=1s",
        "output.file_size=1MiB",
        "output.publish_every=1s",
        "watermark.allowed_lateness=1m",
        "watermark.future_skew=1h",
        "detectors.flow.model=models/iomt/3",
        "event.record_bytes_max=9MiB",
        "event.time={ field = \"at\", format = \"unix_s\" }",
        "event.fields.Rate={ type = \"float\", path = \"rate\", default = 0 }",
        "event.fields.device={ type = \"text\", path = \"dev.id\" }",
        "event.csv.decimal=,",
    ] {
        assert_eq!(changed_by(free), "", "{free}");
    }
    assert_eq!(changed_by("windows.by_label.size=20s"), "windows.by_label.size windows.by_label.slide");
    assert_eq!(changed_by("event.fields.Rate=int"), "event.fields.Rate");
    assert_eq!(changed_by("event.key=label"), "event.key");
    assert_eq!(changed_by("event.csv.separator=;"), "event.csv.separator");
    assert_eq!(changed_by("output.partition_by=day"), "output.partition_by");
    assert_eq!(changed_by("windows.by_label.aggregates.Rate=mean"), "windows.by_label.aggregates.Rate");
    let added = changed_by("windows.by_label.aggregates.device=distinct");
    assert_eq!(added, "windows.by_label.aggregates windows.by_label.aggregates.device");
    assert_eq!(changed_by("event.fields.more=float"), "event.fields.more", "the events table has a column of it");
}

#[test]
fn the_type_of_a_field_is_bound_where_a_window_or_a_table_has_it_and_nowhere_else() {
    let type_of = |sets: &[&str], field: &str| {
        Fingerprint::of(&full(&arguments(sets))).0.remove(&format!("event.fields.{field}"))
    };
    let unstored = ["output.events=none", "event.fields.more=int"];
    assert_eq!(type_of(&unstored[1..], "more").as_deref(), Some("int"), "`events` has a column of it");
    assert_eq!(type_of(&unstored, "more"), None, "nothing that is stored knows it");
    assert_eq!(type_of(&unstored, "Rate").as_deref(), Some("float"), "a window sums it up");
    assert_eq!(type_of(&unstored, "label").as_deref(), Some("text"), "a window groups by it");
}

#[test]
fn the_fingerprint_is_written_as_the_configuration_is() {
    let keys = Fingerprint::of(&full(&nothing())).0;
    let wanted = [
        ("event.key", "device"),
        ("event.fields.Rate", "float"),
        ("windows.by_label.size", "10s"),
        ("windows.by_label.by", "[\"label\"]"),
        ("windows.by_label.aggregates.Rate", "[\"mean\", \"stddev\"]"),
    ];
    for (key, value) in wanted {
        assert_eq!(keys.get(key).map(String::as_str), Some(value), "{key}: other texts refuse every stored state");
    }
}

proptest! {
    #[test]
    fn a_damaged_configuration_never_panics(cut in 0usize..900, length in 0usize..40, with in ".{0,12}") {
        let mut text = text_of("full");
        let floor = |at: usize| (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let (from, to) = (floor(cut), floor(cut + length));
        text.replace_range(from..to, &with);
        let _ = Settings::parse(&text, &nothing());
    }

    #[test]
    fn no_override_ever_panics(name in "[A-Za-z0-9_]{0,30}", key in ".{0,20}", value in ".{0,20}") {
        let mut overrides = environment(&[(&format!("TIDEWATCH__{name}"), &value)]);
        overrides.arguments.extend(Argument::parse(&format!("{key}={value}")));
        let _ = Settings::parse(&text_of("full"), &overrides);
    }
}
