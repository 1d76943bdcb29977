//! The contract of detectors, on events and on windows.

use std::collections::BTreeMap;

use arrow::array::{Int32Array, Int64Array, TimestampMicrosecondArray, UInt64Array};
use arrow::compute::concat_batches;
use arrow::datatypes::Float64Type;
use proptest::prelude::*;

use super::*;
use crate::domain::schema::time_type;
use crate::models::activation::Activation;
use crate::models::estimator::{ErrorMeasure, Estimator};
use crate::models::features::{Feature, Scaler};
use crate::models::model::{Model, ModelParts, ModelVersion, Threshold};
use crate::models::network::{Layer, Network, Tensor};

/// A model that expects every feature to be `expected` in scaled values, whatever it is given.
fn constant_model(features: Vec<Feature>, expected: f32, scaler: Scaler) -> Arc<RegisteredModel> {
    let count = features.len();
    let kernel = Tensor { shape: vec![count, count], values: vec![0.0; count * count] };
    let bias = Tensor { shape: vec![count], values: vec![expected; count] };
    let layer = Layer::Dense { units: count, activation: Activation::Linear, bias: true };
    let tensors = [("0.kernel".to_string(), kernel), ("0.bias".to_string(), bias)].into();
    let model = Model::new(ModelParts {
        estimator: Estimator::Autoencoder {
            network: Network::new(vec![count], vec![layer], tensors).unwrap(),
            error: ErrorMeasure::Mae,
        },
        features,
        scaler,
        threshold: Threshold { value: 1.0, calibration: "given".into() },
        training_data: None,
        metrics: BTreeMap::new(),
    });
    Arc::new(RegisteredModel { version: ModelVersion { name: "iomt".into(), version: 3 }, model: model.unwrap() })
}

fn features(names: &[&str]) -> Vec<Feature> {
    names.iter().map(|name| Feature::of_field(name)).collect()
}

fn spec(input: DetectorInput) -> DetectorSpec {
    DetectorSpec { name: "flow".into(), model: "models/iomt".into(), input }
}

fn texts(values: &[&str]) -> ArrayRef {
    let keys = UInt32Array::from_iter_values(0..values.len() as u32);
    Arc::new(DictionaryArray::new(keys, Arc::new(StringArray::from(values.to_vec()))))
}

fn times(values: Vec<i64>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(values).with_timezone("UTC"))
}

/// Events of the key `pump` with two fields, at offsets from 0.
fn events(rate: Vec<Option<f64>>, syn: Vec<Option<i64>>) -> RecordBatch {
    let count = rate.len();
    let field = |name: &str, data_type, nullable| Field::new(name, data_type, nullable);
    let schema = Schema::new(vec![
        field("event_time", time_type(), false),
        field("key", text_type(), false),
        field("partition", DataType::UInt64, false),
        field("offset", DataType::Int64, false),
        field("rate", DataType::Float64, true),
        field("syn", DataType::Int64, true),
    ]);
    let columns: Vec<ArrayRef> = vec![
        times((0..count as i64).collect()),
        texts(&vec!["pump"; count]),
        Arc::new(UInt64Array::from(vec![7; count])),
        Arc::new(Int64Array::from_iter_values(0..count as i64)),
        Arc::new(Float64Array::from(rate)),
        Arc::new(Int64Array::from(syn)),
    ];
    RecordBatch::try_new(Arc::new(schema), columns).unwrap()
}

fn scored(model: Arc<RegisteredModel>, batch: RecordBatch) -> Scored {
    Scorer::new(&spec(DetectorInput::Events), model, &batch.schema()).unwrap().score(batch, None)
}

fn scores(batch: &RecordBatch) -> Vec<Option<f64>> {
    batch.column_by_name("flow_score").unwrap().as_primitive::<Float64Type>().iter().collect()
}

/// Every row as a line of text; times without their zone.
fn rows(batch: &RecordBatch) -> Vec<String> {
    let plain = |column: &ArrayRef| -> ArrayRef {
        match column.as_primitive_opt::<TimestampMicrosecondType>() {
            Some(times) => Arc::new(times.clone().with_timezone_opt::<Arc<str>>(None)),
            None => column.clone(),
        }
    };
    let columns: Vec<ArrayRef> = batch.columns().iter().map(plain).collect();
    let options = FormatOptions::new().with_null("-");
    let cells: Vec<ArrayFormatter> =
        columns.iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap()).collect();
    let row = |row| cells.iter().map(|cell| cell.value(row).to_string()).collect::<Vec<_>>().join(" ");
    (0..batch.num_rows()).map(row).collect()
}

#[test]
fn scores_stand_behind_the_fields_of_events() {
    let batch = events(vec![Some(0.5), Some(3.0)], vec![Some(0), Some(-2)]);
    let scored = scored(constant_model(features(&["rate", "syn"]), 0.0, Scaler::None), batch);
    assert_eq!(scored.batch.schema().field(6).name(), "flow_score");
    let rows: Vec<String> = rows(&scored.batch.project(&[4, 5, 6, 7, 8]).unwrap());
    assert_eq!(rows, ["0.5 0 0.25 false iomt/3", "3.0 -2 2.5 true iomt/3"]);
}

#[test]
fn an_anomaly_names_its_event_and_explains_itself_in_the_users_units() {
    let scaler = Scaler::Standard { mean: vec![100.0, 0.0], deviation: vec![10.0, 1.0] };
    let batch = events(vec![Some(110.0), Some(100.0)], vec![Some(7), Some(1)]);
    let anomalies = scored(constant_model(features(&["rate", "syn"]), 1.0, scaler), batch).anomalies.unwrap();
    assert_eq!(anomalies.schema(), crate::domain::anomaly::schema());
    assert_eq!(
        rows(&anomalies),
        ["1970-01-01T00:00:00 - - pump flow iomt/3 3.0 1.0 medium \
          [{feature: syn, value: 7.0, expected: 1.0, share: 1.0}, \
          {feature: rate, value: 110.0, expected: 110.0, share: 0.0}] 7 0 0 false"]
    );
}

#[test]
fn a_score_that_equals_the_threshold_is_no_anomaly() {
    let scored = scored(constant_model(features(&["rate"]), 0.0, Scaler::None), events(vec![Some(1.0)], vec![None]));
    assert_eq!(scores(&scored.batch), [Some(1.0)]);
    assert!(scored.anomalies.is_none());
}

#[test]
fn a_missing_value_is_the_features_default() {
    let mut features = features(&["rate", "syn"]);
    features[1].default = 4.0;
    let values = vec![None, Some(f64::NAN), Some(f64::INFINITY), Some(0.0)];
    let scored =
        scored(constant_model(features, 0.0, Scaler::None), events(values, vec![None, Some(1), None, Some(4)]));
    assert_eq!(scores(&scored.batch), [Some(2.0), Some(0.5), Some(2.0), Some(2.0)]);
}

#[test]
fn a_column_may_be_missing_only_where_the_model_says_so() {
    let batch = events(vec![Some(1.0)], vec![None]);
    let mut features = features(&["rate", "ttl"]);
    let new = |features: &[Feature]| {
        let model = constant_model(features.to_vec(), 0.0, Scaler::None);
        Scorer::new(&spec(DetectorInput::Events), model, &batch.schema())
    };
    let error = new(&features).err().unwrap().to_string();
    assert!(error.contains("needs the column `ttl` for its feature `ttl`"), "{error}");
    (features[1].optional, features[1].default) = (true, 3.0);
    assert_eq!(scores(&new(&features).unwrap().score(batch.clone(), None).batch), [Some(2.0)]);
}

#[test]
fn two_features_may_come_from_one_field() {
    let mut features = features(&["rate", "again"]);
    features[1].field = "rate".into();
    let scored = scored(constant_model(features, 0.0, Scaler::None), events(vec![Some(0.25)], vec![None]));
    assert_eq!(scores(&scored.batch), [Some(0.25)]);
}

#[test]
fn a_column_of_texts_is_refused() {
    let batch = events(vec![], vec![]);
    let model = constant_model(features(&["key"]), 0.0, Scaler::None);
    let error = Scorer::new(&spec(DetectorInput::Events), model, &batch.schema()).err().unwrap();
    assert!(matches!(error, ScoringError::ColumnType { field, .. } if &*field == "key"));
}

#[test]
fn a_score_that_is_not_finite_is_null_counted_and_no_anomaly() {
    // Beyond f32, the scaled value is infinite.
    let scored = scored(
        constant_model(features(&["rate"]), 0.0, Scaler::None),
        events(vec![Some(1e300), Some(2.0)], vec![None; 2]),
    );
    assert_eq!(scores(&scored.batch), [None, Some(2.0)]);
    assert_eq!((scored.unscored, scored.anomalies.unwrap().num_rows()), (1, 1));
    let flag = scored.batch.column_by_name("flow_is_anomaly").unwrap();
    assert!(flag.is_null(0));
}

#[test]
fn an_empty_batch_has_no_anomalies() {
    let scored = scored(constant_model(features(&["rate"]), 0.0, Scaler::None), events(vec![], vec![]));
    assert_eq!((scored.batch.num_rows(), scored.batch.num_columns()), (0, 9));
    assert!(scored.anomalies.is_none());
}

fn windows() -> RecordBatch {
    let field = |name: &str, data_type, nullable| Field::new(name, data_type, nullable);
    let schema = Schema::new(vec![
        field("window_start", time_type(), false),
        field("window_end", time_type(), false),
        field("label", text_type(), true),
        field("port", DataType::Int64, true),
        field("count", DataType::Int64, false),
        field("rate_mean", DataType::Float64, true),
        field("revision", DataType::Int32, false),
    ]);
    let columns: Vec<ArrayRef> = vec![
        times(vec![0, 10_000_000]),
        times(vec![10_000_000, 20_000_000]),
        texts(&["DoS", "Benign"]),
        Arc::new(Int64Array::from(vec![Some(80), None])),
        Arc::new(Int64Array::from(vec![4, 2])),
        Arc::new(Float64Array::from(vec![Some(6.0), Some(0.5)])),
        Arc::new(Int32Array::from(vec![2, 0])),
    ];
    RecordBatch::try_new(Arc::new(schema), columns).unwrap()
}

#[test]
fn scores_of_windows_stand_before_the_revision() {
    let model = constant_model(features(&["rate_mean", "count"]), 0.0, Scaler::None);
    let mut scorer = Scorer::new(&spec(DetectorInput::Windows("by_label".into())), model, &windows().schema()).unwrap();
    let scored = scorer.score(windows(), None);
    let names: Vec<String> = scored.batch.schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names[6..], ["flow_score", "flow_is_anomaly", "flow_model", "revision"]);
    assert_eq!(scored.batch.schema(), scorer.schema());
    assert_eq!(
        rows(&scored.anomalies.unwrap()),
        [
            "- 1970-01-01T00:00:00 1970-01-01T00:00:10 DoS/80 flow iomt/3 5.0 1.0 high \
          [{feature: rate_mean, value: 6.0, expected: 0.0, share: 0.6}, \
          {feature: count, value: 4.0, expected: 0.0, share: 0.4}] - - 2 false",
            "- 1970-01-01T00:00:10 1970-01-01T00:00:20 Benign/ flow iomt/3 1.25 1.0 low \
          [{feature: count, value: 2.0, expected: 0.0, share: 0.8}, \
          {feature: rate_mean, value: 0.5, expected: 0.0, share: 0.2}] - - 0 false"
        ]
    );
}

#[test]
fn a_model_of_sequences_is_refused_as_a_detector_of_rows() {
    let mut model = constant_model(features(&["rate", "syn"]), 0.0, Scaler::None);
    let layer = Layer::Activation { activation: Activation::Tanh };
    let parts = ModelParts {
        estimator: Estimator::Autoencoder {
            network: Network::new(vec![5, 2], vec![layer], BTreeMap::new()).unwrap(),
            error: ErrorMeasure::Mae,
        },
        features: features(&["rate", "syn"]),
        scaler: Scaler::None,
        threshold: Threshold { value: 1.0, calibration: "given".into() },
        training_data: None,
        metrics: BTreeMap::new(),
    };
    Arc::make_mut(&mut model).model = Model::new(parts).unwrap();
    let error = Scorer::new(&spec(DetectorInput::Events), model, &events(vec![], vec![]).schema()).err().unwrap();
    assert!(matches!(error, ScoringError::Past { .. }), "{error}");
}

#[test]
fn a_detector_that_would_write_a_column_twice_is_refused() {
    let model = constant_model(features(&["rate"]), 0.0, Scaler::None);
    let scored = scored(model.clone(), events(vec![], vec![]));
    let error = Scorer::new(&spec(DetectorInput::Events), model, &scored.batch.schema()).err().unwrap();
    assert!(matches!(error, ScoringError::ColumnTwice { column, .. } if column == "flow_score"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn cutting_batches_elsewhere_changes_nothing(
        rate in prop::collection::vec(prop::option::of(-5.0..5.0), 1..300),
        cut in any::<prop::sample::Index>(),
    ) {
        let model = constant_model(features(&["rate", "syn"]), 0.25, Scaler::None);
        let whole = events(rate.clone(), vec![Some(1); rate.len()]);
        let mut scorer = Scorer::new(&spec(DetectorInput::Events), model, &whole.schema()).unwrap();
        let at = cut.index(rate.len());
        let parts = [whole.slice(0, at), whole.slice(at, rate.len() - at)].map(|part| scorer.score(part, None));
        let together = scorer.score(whole, None);
        let joined = concat_batches(&scorer.schema(), parts.iter().map(|part| &part.batch)).unwrap();
        prop_assert_eq!(rows(&joined), rows(&together.batch));
        let anomalies = |scored: &Scored| scored.anomalies.as_ref().map(rows).unwrap_or_default();
        prop_assert_eq!(parts.iter().flat_map(anomalies).collect::<Vec<_>>(), anomalies(&together));
    }
}
