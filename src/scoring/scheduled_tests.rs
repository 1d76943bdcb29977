//! Which version scores which row, and what a takeover changes.

use arrow::array::{
    ArrayRef, DictionaryArray, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray, UInt32Array,
    UInt64Array,
};
use arrow::datatypes::{Float64Type, Int64Type, UInt32Type};
use proptest::prelude::*;

use super::*;
use crate::checkpoint::schedule::ModelFrom;
use crate::models::model::tests::small_model;
use crate::models::model::{Model, ModelVersion};
use crate::storage::digest::Sha256;

/// A version whose threshold tells it from others.
fn model(version: u32) -> Arc<RegisteredModel> {
    let mut parts = small_model(2);
    parts.threshold.value = f64::from(version) / 10.0;
    Arc::new(RegisteredModel {
        version: ModelVersion { name: "iomt".into(), version },
        model: Model::new(parts).unwrap(),
    })
}

fn from(from: i64, version: u32) -> ModelFrom {
    ModelFrom { from, ..ModelFrom::always(&format!("iomt/{version}"), Sha256::of(b"")) }
}

fn takeover(at: i64, version: u32) -> Takeover {
    Takeover { detector: "flow".into(), version: from(at, version), model: model(version) }
}

fn spec() -> DetectorSpec {
    DetectorSpec { name: "flow".into(), model: "models/iomt".into(), input: DetectorInput::Events }
}

fn events(times: &[i64]) -> RecordBatch {
    let rows = times.len();
    let keys =
        DictionaryArray::<UInt32Type>::new(UInt32Array::from(vec![0; rows]), Arc::new(StringArray::from(vec!["pump"])));
    let columns: [(&str, ArrayRef); 6] = [
        ("event_time", Arc::new(TimestampMicrosecondArray::from(times.to_vec()).with_timezone("UTC"))),
        ("key", Arc::new(keys)),
        ("partition", Arc::new(UInt64Array::from(vec![7; rows]))),
        ("offset", Arc::new(Int64Array::from_iter_values(0..rows as i64))),
        ("f0", Arc::new(Float64Array::from_iter_values(times.iter().map(|time| *time as f64 / 9.0)))),
        ("f1", Arc::new(Float64Array::from(vec![0.25; rows]))),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

fn scorer() -> ScheduledScorer {
    let (schedule, models) = (ModelSchedule::of("flow", from(i64::MIN, 1)), [("iomt/1".to_owned(), model(1))].into());
    ScheduledScorer::new(&spec(), schedule, models, &events(&[0]).schema()).unwrap()
}

/// By offset: the version and the bits of the score.
fn scored(scorer: &mut ScheduledScorer, batch: RecordBatch) -> BTreeMap<i64, (String, u64)> {
    let mut rows = BTreeMap::new();
    for (version, Scored { batch, .. }) in scorer.score(batch, None) {
        let named = batch.column_by_name("flow_model").unwrap().as_dictionary::<UInt32Type>();
        let named = named.downcast_dict::<StringArray>().unwrap();
        let scores = batch.column_by_name("flow_score").unwrap().as_primitive::<Float64Type>();
        for (row, offset) in
            batch.column_by_name("offset").unwrap().as_primitive::<Int64Type>().values().iter().enumerate()
        {
            assert_eq!(named.into_iter().nth(row).unwrap(), Some(version.as_str()));
            assert!(rows.insert(*offset, (version.clone(), scores.value(row).to_bits())).is_none(), "a row came twice");
        }
    }
    rows
}

fn versions(scorer: &mut ScheduledScorer, times: &[i64]) -> Vec<String> {
    scored(scorer, events(times)).into_values().map(|(version, _)| version).collect()
}

#[test]
fn a_row_is_scored_by_the_version_in_force_at_its_time_and_rolled_back_is_in_force_again() {
    let mut scorer = scorer();
    assert_eq!(versions(&mut scorer, &[10, 90]), ["iomt/1", "iomt/1"]);
    scorer.take_over(&takeover(50, 2));
    assert_eq!(versions(&mut scorer, &[90, 10, 50, 49]), ["iomt/2", "iomt/1", "iomt/2", "iomt/1"]);
    scorer.take_over(&takeover(70, 1));
    assert_eq!(versions(&mut scorer, &[10, 60, 70]), ["iomt/1", "iomt/2", "iomt/1"]);
    let another = Takeover { detector: "other".into(), ..takeover(80, 3) };
    scorer.take_over(&another);
    assert_eq!(versions(&mut scorer, &[99]), ["iomt/1"], "another detector's version is none of this one's");
}

#[test]
fn a_batch_without_a_change_inside_stays_one() {
    let mut scorer = scorer();
    scorer.take_over(&takeover(50, 2));
    assert_eq!(scorer.score(events(&[50, 70, 60]), None).len(), 1);
    assert_eq!(scorer.score(events(&[49, 1]), None).len(), 1);
    assert_eq!(scorer.score(events(&[49, 50]), None).len(), 2);
    assert_eq!(scorer.score(events(&[]), None).len(), 1);
}

#[test]
fn an_anomaly_names_the_version_that_called_it_one() {
    let mut scorer = scorer();
    scorer.take_over(&takeover(50, 9));
    // Both rows are 0.6 to 0.9 off.
    let anomalies: Vec<RecordBatch> =
        scorer.score(events(&[9, 51]), None).into_iter().filter_map(|(_, scored)| scored.anomalies).collect();
    let [only, rest @ ..] = &anomalies[..] else { panic!("no anomaly") };
    let named = only.column_by_name("model").unwrap().as_string::<i32>();
    assert_eq!((named.value(0), only.num_rows()), ("iomt/1", 1));
    assert!(rest.iter().all(|batch| batch.num_rows() == 1));
}

#[test]
fn memory_holds_no_version_that_the_schedule_forgot() {
    let mut scorer = scorer();
    for version in 2..200 {
        scorer.take_over(&takeover(i64::from(version) * 10, version));
        scorer.score(events(&[i64::from(version) * 10]), None);
    }
    assert_eq!((scorer.models.len(), scorer.ready.len()), (crate::checkpoint::schedule::CHANGES_MAX, READY_MAX));
    assert_eq!(versions(&mut scorer, &[0, 1_365, 1_999]), ["iomt/136", "iomt/136", "iomt/199"]);
}

#[test]
fn a_version_that_does_not_fit_the_rows_or_lacks_is_told() {
    let short = events(&[0]).project(&[0, 1, 2, 3, 4]).unwrap().schema();
    assert!(matches!(check(&spec(), &model(1), &short, None), Err(ScoringError::ColumnMissing { .. })));
    let other = Fit { schema: Arc::new(Schema::empty()), reach: None };
    let wide = events(&[0]).schema();
    assert!(matches!(check(&spec(), &model(1), &wide, Some(&other)), Err(ScoringError::OtherColumns { .. })));
    let schedule = ModelSchedule { versions: vec![from(i64::MIN, 1), from(9, 2)], detector: "flow".into() };
    let models = [("iomt/1".to_owned(), model(1))].into();
    let missing = ScheduledScorer::new(&spec(), schedule, models, &wide).err();
    assert_eq!(missing, Some(ScoringError::NoModel { detector: "flow".into(), model: "iomt/2".into() }));
}

proptest! {
    #[test]
    fn cutting_batches_elsewhere_changes_no_score(
        times in prop::collection::vec(0..100i64, 1..60),
        changes in prop::collection::btree_map(0..100i64, 2..5u32, 0..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut scorer = scorer();
        changes.iter().for_each(|(at, version)| scorer.take_over(&takeover(*at, *version)));
        let batch = events(&times);
        let whole = scored(&mut scorer, batch.clone());
        prop_assert_eq!(whole.len(), times.len());
        let cut = cut.index(times.len());
        let mut parts = scored(&mut scorer, batch.slice(cut, times.len() - cut));
        parts.extend(scored(&mut scorer, batch.slice(0, cut)));
        prop_assert_eq!(whole, parts);
    }
}
