//! The view of anomalies over real windows and real detectors, on any number of workers, crashed at any checkpoint.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::{
    ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringDictionaryBuilder, TimestampMicrosecondArray,
    UInt64Array,
};
use arrow::datatypes::UInt32Type;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use proptest::prelude::*;
use timely::dataflow::InputHandle;

use super::*;
use crate::checkpoint::schedule::{ModelFrom, ModelSchedule};
use crate::domain::detector::{DetectorInput, DetectorSpec};
use crate::domain::schema::{EventSchema, FieldKind, FieldSpec, KeySource, TimeSource};
use crate::domain::time::EventTime;
use crate::models::activation::Activation;
use crate::models::estimator::{ErrorMeasure, Estimator};
use crate::models::features::{Feature, Scaler};
use crate::models::model::{Model, ModelParts, ModelVersion, RegisteredModel, Threshold};
use crate::models::network::{Layer, Network, Tensor};
use crate::observe::metrics::Metrics;
use crate::observe::stop::StopSignal;
use crate::pipeline::agreement::Agreement;
use crate::pipeline::host::{Bound, Hosted, host};
use crate::pipeline::plan::Plan;
use crate::pipeline::route::{Split, route};
use crate::pipeline::scored::{Counted, ScoredWindows};
use crate::pipeline::shared::Shared;
use crate::pipeline::shelf::Follower;
use crate::pipeline::surroundings::Machine;
use crate::pipeline::watch::StageWatch;
use crate::pipeline::watermarks::{Mark, Watermarks};
use crate::scoring::scheduled::ScheduledScorer;
use crate::stage::{Share, Stage};
use crate::storage::digest::Sha256;
use crate::views::judge::restored;
use crate::windows::Windows;
use crate::windows::group_hash::GroupHash;
use crate::windows::spec::{Aggregate, AggregateSpec, WindowSpec};

const SECOND: i64 = 1_000_000;
const SIZE: i64 = 10 * SECOND;
const LATENESS: i64 = 20 * SECOND;
const WINDOWS: u16 = 0;
const VIEW: u16 = 1;
/// Both expect a mean of 0; the second is quicker to call a window an anomaly.
const DETECTORS: [(&str, f64); 2] = [("calm", 4.0), ("nervous", 1.0)];

#[derive(Clone, Debug)]
struct Event {
    device: u8,
    at: i64,
    value: f64,
}

/// The events of each epoch, from 1, and the watermark at its end.
#[derive(Clone, Debug)]
struct Story {
    epochs: Vec<(Vec<Event>, i64)>,
    checkpoint_epochs: u64,
}

impl Story {
    fn last(&self) -> u64 {
        self.epochs.len() as u64
    }

    fn is_checkpoint(&self, epoch: u64) -> bool {
        epoch.is_multiple_of(self.checkpoint_epochs)
    }
}

/// What was committed: rows by epoch, and what the parts of the state are at the last checkpoint.
#[derive(Default)]
struct Output {
    rows: BTreeMap<u64, Vec<Rows>>,
    state: BTreeMap<u16, Vec<RecordBatch>>,
}

fn event_schema() -> EventSchema {
    let value = FieldSpec {
        name: "value".to_owned(),
        kind: FieldKind::Float,
        path: vec!["value".to_owned()],
        default: None,
        required: false,
        missing_as: None,
    };
    EventSchema { time: TimeSource::Received, key: KeySource::Partition, fields: vec![value], record_bytes_max: 1 }
}

fn batch(events: &[Event]) -> RecordBatch {
    let mut keys = StringDictionaryBuilder::<UInt32Type>::new();
    events.iter().for_each(|event| keys.append_value(format!("device-{}", event.device)));
    let times = events.iter().map(|event| event.at);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC")),
        Arc::new(keys.finish()),
        Arc::new(UInt64Array::from(vec![0; events.len()])),
        Arc::new(Int64Array::from_iter_values(0..events.len() as i64)),
        Arc::new(Float64Array::from_iter_values(events.iter().map(|event| event.value))),
    ];
    RecordBatch::try_new(event_schema().arrow(), columns).unwrap()
}

fn window() -> WindowSpec {
    WindowSpec {
        name: "by_device".to_owned(),
        size: Duration::from_micros(SIZE as u64),
        slide: Duration::from_micros(SIZE as u64),
        by: vec!["key".to_owned()],
        aggregates: vec![AggregateSpec { field: "value".to_owned(), aggregate: Aggregate::Mean }],
        allowed_lateness: Duration::from_micros(LATENESS as u64),
    }
}

/// A model that expects 0, whatever it is given.
fn model(threshold: f64) -> Arc<RegisteredModel> {
    let tensor = |shape: &[usize]| Tensor { shape: shape.to_vec(), values: vec![0.0] };
    let model = Model::new(ModelParts {
        estimator: Estimator::Autoencoder {
            network: Network::new(
                vec![1],
                vec![Layer::Dense { units: 1, activation: Activation::Linear, bias: true }],
                [("0.kernel".to_owned(), tensor(&[1, 1])), ("0.bias".to_owned(), tensor(&[1]))].into(),
            )
            .unwrap(),
            error: ErrorMeasure::Mae,
        },
        features: vec![Feature::of_field("value_mean")],
        scaler: Scaler::None,
        threshold: Threshold { value: threshold, calibration: "given".into() },
        training_data: None,
        metrics: BTreeMap::new(),
    });
    let version = ModelVersion { name: "still".into(), version: 1 };
    Arc::new(RegisteredModel { version, model: model.unwrap() })
}

/// The window's stage with its detectors, and what follows their anomalies.
fn stages(metrics: &Arc<Metrics>, state: &BTreeMap<u16, Vec<RecordBatch>>, share: Share) -> (Box<dyn Stage>, Judged) {
    let windows = Windows::new(&window(), &event_schema().arrow(), Table::Windows(WINDOWS)).unwrap();
    let mut schema = windows.schema();
    let scorers: Vec<Counted> = DETECTORS
        .iter()
        .map(|(name, threshold)| {
            let input = DetectorInput::Windows("by_device".to_owned());
            let spec = DetectorSpec { name: (*name).to_owned(), model: "still".to_owned(), input };
            let schedule = ModelSchedule::of(name, ModelFrom::always("still/1", Sha256::of(b"still")));
            let models = [("still/1".to_owned(), model(*threshold))].into();
            let scorer = ScheduledScorer::new(&spec, schedule, models, &schema).unwrap();
            schema = scorer.schema();
            Counted::new(scorer, Arc::clone(metrics))
        })
        .collect();
    let cleared = DETECTORS.iter().map(|(name, _)| Cleared::new(name, &schema).unwrap()).collect();
    let mut stage = ScoredWindows { windows, scorers, table: Table::Windows(WINDOWS), past: None };
    stage.restore(state.get(&WINDOWS).map_or(&[], Vec::as_slice), share).unwrap();
    let standing = AnomalyRows::new().restore(state.get(&VIEW).map_or(&[], Vec::as_slice)).unwrap();
    let judge = Judge::new(Duration::from_micros(LATENESS as u64), standing.iter().map(|(anomaly, _)| anomaly.clone()));
    let mine = standing.into_iter().enumerate().filter(|(index, _)| index % share.workers == share.worker);
    (Box::new(stage), Judged { judge, cleared, restored: restored(mine.map(|(_, one)| one)) })
}

/// What one worker gave, in the order in which it came.
type Given = Arc<Mutex<Vec<(usize, u64, Item)>>>;

/// Runs epochs `from..=to` on so many workers.
fn flow(story: &Story, workers: usize, before: &Output, (from, to): (u64, u64)) -> Vec<(usize, u64, Item)> {
    let given: Given = Arc::default();
    let (story, state, collected) = (story.clone(), before.state.clone(), given.clone());
    let config = timely::Config::process(workers);
    let guards = timely::execute(config, move |worker| {
        let share = Share { worker: worker.index(), workers: worker.peers() };
        let metrics = Arc::new(Metrics::new("test"));
        let (stage, judged) = stages(&metrics, &state, share);
        let plan = Plan::new(Duration::from_millis(1), Duration::from_millis(story.checkpoint_epochs), 1 << 20);
        let watermarks = Watermarks::new(share.workers, Duration::MAX);
        let watch = StageWatch::new(metrics.window("by_device"));
        let mut hash = GroupHash::new(&window(), &event_schema().arrow()).unwrap();
        let hashes = Box::new(move |batch: &RecordBatch, hashes: &mut Vec<u64>| {
            hashes.extend_from_slice(hash.of_rows(batch));
        });
        let split = Split { columns: (0..5).collect(), hashes };
        let shared = Shared::new(StopSignal::default(), Arc::new(Metrics::new("test")), Arc::new(Machine));
        let bound = Bound { window: "by_device".into(), groups_max: usize::MAX, workers: share.workers, shared };
        let agreement = Agreement::new(share.workers, plan.epochs_ahead, EventTime::MIN);
        let follower = Follower { agreement, shelf: Arc::default() };
        let hosted = Hosted { stage, number: WINDOWS, plan, watermarks, follower, watch, bound };
        let collected = collected.clone();
        let mut input = InputHandle::<u64, CapacityContainerBuilder<Parcel>>::new();
        let probe = worker.dataflow(|scope| {
            let events = input.to_stream(scope);
            let stream = host(events, route(share.worker, Some(split)), "windows", hosted);
            let spec = ViewSpec { number: VIEW, first: Epoch(from), metrics: BTreeMap::new() };
            let published = view(vec![(stream, judged)], spec).unwrap();
            let (probe, published) = timely::dataflow::operators::Probe::probe(published);
            published.sink(Pipeline, "Collect", move |(input, _frontier)| {
                input.for_each(|time, parcel: &mut Parcel| {
                    let items = parcel.0.drain(..).map(|item| (share.worker, *time.time(), item));
                    collected.lock().unwrap().extend(items);
                });
            });
            probe
        });
        input.advance_to(from);
        for epoch in from..=to {
            let (events, watermark) = &story.epochs[epoch as usize - 1];
            // Each worker reads some of them.
            let mine: Vec<Event> = events.iter().skip(share.worker).step_by(share.workers).cloned().collect();
            for events in mine.chunks(7) {
                input.send_batch(&mut Parcel(vec![Item::Events(batch(events))]));
            }
            let live = Some(EventTime(*watermark));
            let (source, is_done) = (share.worker, epoch == to);
            let mark = Mark { live, reading: live, is_done, ..Mark::silent(source) };
            let marks = (0..share.workers).map(|target| Item::Mark { target, mark });
            input.send_batch(&mut Parcel(marks.collect()));
            input.advance_to(epoch + 1);
            while probe.less_than(&epoch.saturating_sub(2)) {
                worker.step();
            }
        }
        input.close();
        while !probe.done() {
            worker.step();
        }
    });
    guards.unwrap().join().into_iter().for_each(|outcome| outcome.unwrap());
    Arc::into_inner(given).unwrap().into_inner().unwrap()
}

impl Output {
    /// Adds what was committed of a run that went on behind the last checkpoint, and crashed after that of `epoch`.
    fn commit(&mut self, mut given: Vec<(usize, u64, Item)>, epoch: u64) {
        given.retain(|(_, time, _)| *time <= epoch);
        given.sort_by_key(|(_, time, _)| *time);
        let mut parts: BTreeMap<(usize, u16, String), Vec<RecordBatch>> = BTreeMap::new();
        let mut told = BTreeSet::new();
        for (worker, time, item) in given {
            match item {
                Item::Rows(rows) => self.rows.entry(time).or_default().push(rows),
                Item::State { stage, part, bytes } => {
                    let name = (worker, stage, part);
                    if time == epoch {
                        told.insert(name.clone());
                    }
                    match bytes {
                        Some(bytes) => drop(parts.insert(name, state::decode(&bytes).unwrap())),
                        None => assert!(parts.contains_key(&name), "{name:?} was never written"),
                    }
                }
                // What the windows' host tells of its own account passes by.
                Item::Members { .. } => {}
                other => panic!("{other:?} leaves the view"),
            }
        }
        self.state.clear();
        for ((_, stage, _), batches) in parts.into_iter().filter(|(name, _)| told.contains(name)) {
            self.state.entry(stage).or_default().extend(batches);
        }
    }

    /// Every row, as text by column, with its epoch; in an order of its own.
    fn texts(&self) -> Vec<(u64, bool, BTreeMap<String, String>)> {
        let mut texts: Vec<_> = self
            .rows
            .iter()
            .flat_map(|(epoch, rows)| rows.iter().map(move |rows| (*epoch, rows)))
            .flat_map(|(epoch, rows)| {
                let is_anomaly = rows.table == Table::Anomalies;
                lines(&rows.batch).into_iter().map(move |line| (epoch, is_anomaly, line))
            })
            .collect();
        texts.sort();
        texts
    }
}

fn lines(batch: &RecordBatch) -> Vec<BTreeMap<String, String>> {
    let options = FormatOptions::new().with_null("-");
    let plain = |column: &ArrayRef| -> ArrayRef {
        let times = column.as_primitive_opt::<arrow::datatypes::TimestampMicrosecondType>();
        times.map_or(column.clone(), |times| Arc::new(times.clone().with_timezone_opt::<Arc<str>>(None)))
    };
    let columns: Vec<ArrayRef> = batch.columns().iter().map(plain).collect();
    let cells: Vec<ArrayFormatter> =
        columns.iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap()).collect();
    let schema = batch.schema();
    let line = |row| {
        let cells = schema.fields().iter().zip(&cells);
        cells.map(|(field, cell)| (field.name().clone(), cell.value(row).to_string())).collect()
    };
    (0..batch.num_rows()).map(line).collect()
}

/// Runs the whole story, crashing after these checkpoints, each time with other workers.
fn tell(story: &Story, workers: &[usize], crashes: &[u64]) -> Output {
    let mut output = Output::default();
    let mut from = 1;
    let ends = crashes.iter().copied().chain([story.last()]);
    for (index, end) in ends.enumerate().filter(|(_, end)| *end > 0) {
        if end < from {
            continue;
        }
        // What was computed beyond the last checkpoint is lost with the process.
        let to = (end + 2).min(story.last());
        output.commit(flow(story, workers[index % workers.len()], &output, (from, to)), end);
        from = end + 1;
    }
    output
}

type Line = BTreeMap<String, String>;

fn window_of(line: &Line) -> (String, String) {
    (line["window_start"].clone(), line.get("key").or(line.get("by.key")).unwrap().clone())
}

/// Against the windows' rows: what stands are the newest rows that a detector calls an anomaly, and each row that was published follows
/// from the one before.
fn check(output: &Output) -> usize {
    let texts = output.texts();
    let mut retracted = 0;
    for (detector, _) in DETECTORS {
        let mut newest: BTreeMap<(String, String), Line> = BTreeMap::new();
        let mut standing: BTreeMap<(String, String), Line> = BTreeMap::new();
        for epoch in output.rows.keys() {
            let of_epoch = |wanted| texts.iter().filter(move |(of, is, _)| (of, *is) == (epoch, wanted));
            for (_, _, row) in of_epoch(false) {
                newest.insert(window_of(row), row.clone());
            }
            for (_, _, row) in of_epoch(true).filter(|(_, _, row)| row["detector"] == detector) {
                let before = standing.remove(&window_of(row));
                let window = &newest[&window_of(row)];
                assert_eq!(row["revision"], window["revision"], "{row:?}");
                if row["retracted"] == "true" {
                    let mut taken_back = row.clone();
                    let before = before.unwrap_or_else(|| panic!("nothing stood: {row:?}"));
                    for changed in ["revision", "retracted"] {
                        taken_back.insert(changed.to_owned(), before[changed].clone());
                    }
                    assert_eq!(taken_back, before, "the stored row, but for its revision");
                    retracted += 1;
                } else {
                    assert_eq!(row["score"], window[&format!("{detector}_score")]);
                    standing.insert(window_of(row), row.clone());
                }
            }
            let wanted: BTreeMap<_, _> =
                newest.iter().filter(|(_, row)| row[&format!("{detector}_is_anomaly")] == "true").collect();
            let found: Vec<_> = standing.keys().collect();
            assert_eq!(found, wanted.keys().copied().collect::<Vec<_>>(), "{detector} at epoch {epoch}");
            for (key, row) in wanted {
                assert_eq!(row["revision"], standing[key]["revision"]);
            }
        }
    }
    retracted
}

fn event(device: u8, at: i64, value: f64) -> Event {
    Event { device, at: at * SECOND, value }
}

fn anomalies(output: &Output) -> Vec<String> {
    let texts = output.texts();
    let of = texts.iter().filter(|(_, is_anomaly, _)| *is_anomaly);
    of.map(|(epoch, _, row)| {
        let cells = ["detector", "key", "score", "revision", "retracted"].map(|name| row[name].clone());
        format!("{epoch}: {}", cells.join(" "))
    })
    .collect()
}

#[test]
fn an_anomaly_that_a_correction_undoes_is_retracted_as_it_was_published() {
    let story = Story {
        checkpoint_epochs: 2,
        epochs: vec![
            (vec![event(1, 1, 9.0), event(1, 2, 9.0), event(2, 3, 2.0)], 0),
            (vec![], 10 * SECOND),
            // The mean of device 1 falls to 3: the nervous detector still calls it an anomaly.
            (vec![event(1, 4, -9.0), event(1, 4, 3.0)], 12 * SECOND),
            (vec![], 13 * SECOND),
            (vec![event(1, 5, -12.0), event(2, 5, -2.0)], 14 * SECOND),
            (vec![], 15 * SECOND),
            (vec![event(1, 6, 1002.0)], 16 * SECOND),
            (vec![], 17 * SECOND),
        ],
    };
    let output = tell(&story, &[1, 2, 3], &[4]);
    assert_eq!(
        anomalies(&output),
        [
            "2: calm device-1 9.0 0 false",
            "2: nervous device-1 9.0 0 false",
            "2: nervous device-2 2.0 0 false",
            "4: calm device-1 9.0 1 true",
            "4: nervous device-1 3.0 1 false",
            "6: nervous device-1 3.0 2 true",
            "6: nervous device-2 2.0 1 true",
            "8: calm device-1 167.0 3 false",
            "8: nervous device-1 167.0 3 false",
        ]
    );
    assert_eq!(check(&output), 3);
}

#[test]
fn a_thousand_late_events_to_one_window_cost_one_revision_of_it_and_of_its_anomaly() {
    let late = |index: i64| vec![event(1, index % 10, if index % 2 == 0 { 50.0 } else { 30.0 }); 10];
    let mut epochs = vec![(vec![event(1, 1, 9.0)], 10 * SECOND)];
    epochs.extend((0..100).map(|index| (late(index), 11 * SECOND)));
    epochs.resize(128, (vec![], 11 * SECOND));
    let output = tell(&Story { checkpoint_epochs: 128, epochs }, &[2], &[]);
    let rows = output.rows.values().flatten().map(|rows| (rows.table, rows.batch.num_rows()));
    let of = |table| rows.clone().filter(|(of, _)| *of == table).map(|(_, count)| count).sum::<usize>();
    assert_eq!((of(Table::Windows(WINDOWS)), of(Table::Anomalies)), (2, 4), "the first row and one revision");
    let counts: Vec<String> = output.texts().iter().filter_map(|(_, _, row)| row.get("count").cloned()).collect();
    assert_eq!(counts, ["1", "1001"]);
}

#[test]
fn a_window_that_is_final_is_forgotten_and_what_it_published_stays() {
    let mut epochs = vec![(vec![event(1, 1, 9.0)], 10 * SECOND)];
    // Its last correction comes in the very epoch that makes it final.
    epochs.push((vec![event(1, 2, 1.0)], 30 * SECOND));
    epochs.extend([(vec![], 30 * SECOND), (vec![event(1, 31, 9.0)], 30 * SECOND)]);
    let story = Story { checkpoint_epochs: 1, epochs };
    let output = tell(&story, &[2], &[2]);
    let standing = |output: &Output| {
        let state = output.state.get(&VIEW).map_or(&[][..], Vec::as_slice);
        AnomalyRows::new().restore(state).unwrap().len()
    };
    assert_eq!(standing(&tell(&Story { epochs: story.epochs[..2].to_vec(), ..story.clone() }, &[2], &[])), 2);
    assert_eq!(standing(&output), 0);
    assert_eq!(
        anomalies(&output),
        [
            "1: calm device-1 9.0 0 false",
            "1: nervous device-1 9.0 0 false",
            "2: calm device-1 5.0 1 false",
            "2: nervous device-1 5.0 1 false",
        ]
    );
}

fn stories() -> impl Strategy<Value = Story> {
    let event = (0..5u8, 0..300i64, prop::sample::select(vec![-9.0, -2.0, 0.0, 2.0, 9.0]));
    let epoch = (prop::collection::vec(event, 0..12), 0..12i64);
    (prop::collection::vec(epoch, 6..24), 1..4u64).prop_map(|(epochs, checkpoint_epochs)| {
        let mut watermark = 0;
        let mut told: Vec<(Vec<Event>, i64)> = Vec::new();
        for (events, advance) in epochs {
            // From the oldest that is accepted to a little ahead of the watermark.
            let at = |tenths: i64| watermark - LATENESS + tenths * SECOND / 10;
            let events = events.into_iter().map(|(device, tenths, value)| Event { device, at: at(tenths), value });
            let events = events.collect();
            watermark += advance * SECOND;
            told.push((events, watermark));
        }
        told.resize(told.len().next_multiple_of(checkpoint_epochs as usize), (vec![], watermark));
        let end = told.len() + checkpoint_epochs as usize;
        told.resize(end, (vec![], EventTime::MAX.0));
        Story { epochs: told, checkpoint_epochs }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Workers, crashes and restores change no row and no epoch; and what stands is at every epoch what the newest windows say.
    #[test]
    fn what_stands_is_what_the_newest_windows_say_whoever_computes_it_and_wherever_it_crashes(
        story in stories(),
        workers in prop::collection::vec(1..5usize, 1..4),
        crashes in prop::collection::btree_set(0..24u64, 0..4),
    ) {
        let undisturbed = tell(&story, &[1], &[]);
        check(&undisturbed);
        let crashes: Vec<u64> = crashes.into_iter().filter(|at| *at < story.last() && story.is_checkpoint(*at)).collect();
        let crashed = tell(&story, &workers, &crashes);
        prop_assert_eq!(undisturbed.texts(), crashed.texts());
    }
}
