//! What share of a worker's time does a checkpoint every 10 s take, with 100,000 keys?
//!
//! Panes of 60 s of 100,000 devices, an event a second each, keys in no order. `live`: events came to one pane since the last
//! checkpoint, as at 100,000 events/s. `replay`: to three, as at a million events/s. All that follows from the checkpoint is measured: the
//! state as bytes, their digest, and writing them to a local disk; 300 ms are 3 % of 10 s. Rows that wait for their file are not in it.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    ArrayRef, DictionaryArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    UInt32Array, UInt64Array,
};
use arrow::datatypes::SchemaRef;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};

use tidewatch::checkpoint::state::Encoder;
use tidewatch::domain::schema::{EventSchema, FieldKind, FieldSpec, KeySource, TimeSource};
use tidewatch::domain::table::Table;
use tidewatch::stage::{Output, PartState, Stage};
use tidewatch::storage::digest::Sha256;
use tidewatch::storage::key::ObjectKey;
use tidewatch::storage::patience::Patience;
use tidewatch::storage::{S3Options, Storage};
use tidewatch::windows::Windows;
use tidewatch::windows::spec::{Aggregate, AggregateSpec, WindowSpec};

const KEYS: usize = 100_000;
const SIZE_SECONDS: i64 = 60;
const SECOND: i64 = 1_000_000;
const FIELDS: [&str; 2] = ["temperature", "pressure"];

fn schema() -> SchemaRef {
    let field = |name: &&str| FieldSpec {
        name: (*name).to_owned(),
        kind: FieldKind::Float,
        path: vec![],
        default: None,
        required: false,
        missing_as: None,
    };
    let (time, key) = (TimeSource::Received, KeySource::Partition);
    EventSchema { time, key, fields: FIELDS.iter().map(field).collect(), record_bytes_max: 1 }.arrow()
}

fn stage(aggregates: &[&str]) -> Windows {
    let of_field = |field: &str| {
        let aggregate = |name: &&str| AggregateSpec {
            field: field.to_owned(),
            aggregate: Aggregate::parse(name).expect("the benchmark names known aggregates"),
        };
        aggregates.iter().map(aggregate).collect::<Vec<_>>()
    };
    let spec = WindowSpec {
        name: "bench".to_owned(),
        size: Duration::from_secs(SIZE_SECONDS as u64),
        slide: Duration::from_secs(SIZE_SECONDS as u64),
        by: vec!["key".to_owned()],
        aggregates: FIELDS.iter().flat_map(|field| of_field(field)).collect(),
        allowed_lateness: Duration::from_secs(600),
    };
    Windows::new(&spec, &schema(), Table::Windows(0)).expect("the benchmark's window is sound")
}

/// An event of each device in this second: readings of three and two decimals.
fn second(keys: &ArrayRef, second: i64) -> RecordBatch {
    let reading = |device: usize, middle: f64, decimals: f64| {
        let noise = (device as i64 * 7919 + second * 104_729) % 10_007;
        ((middle + noise as f64 / 1000.0) * decimals).round() / decimals
    };
    let column = |middle: f64, decimals: f64| {
        Arc::new(Float64Array::from_iter_values((0..KEYS).map(|device| reading(device, middle, decimals))))
    };
    let times = TimestampMicrosecondArray::from_value(second * SECOND, KEYS).with_timezone("UTC");
    // 7,919 has no factor in common with the number of keys.
    let codes = UInt32Array::from_iter_values((0..KEYS).map(|row| (row * 7919 % KEYS) as u32));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(times),
        Arc::new(DictionaryArray::new(codes, Arc::clone(keys))),
        Arc::new(UInt64Array::from(vec![0; KEYS])),
        Arc::new(Int64Array::from_iter_values((0..KEYS as i64).map(|row| second * KEYS as i64 + row))),
        column(20.0, 1000.0),
        column(100.0, 100.0),
    ];
    RecordBatch::try_new(schema(), columns).expect("the columns are those of the schema")
}

/// A snapshot to the disk, as a checkpoint writes it. Returns its bytes.
fn snapshot(stage: &mut Windows, storage: &Storage) -> usize {
    let mut parts: Vec<(String, Encoder)> = Vec::new();
    stage.snapshot(&mut |name, state| {
        let PartState::Batch(batch) = state else { return };
        if parts.last().is_none_or(|(part, _)| part != name) {
            parts.push((name.to_owned(), Encoder::default()));
        }
        let (_, encoder) = parts.last_mut().expect("a part was pushed");
        encoder.add(&batch).expect("columns that were built in memory encode into memory");
    });
    let write = |(name, encoder): (String, Encoder)| {
        let bytes = encoder.finish();
        let key = ObjectKey::of([format!("{name}-{}", Sha256::of(&bytes).short()).as_str()]);
        storage.put(&key, &bytes).expect("the disk takes it");
        bytes.len()
    };
    parts.into_iter().map(write).sum()
}

fn measure(criterion: &mut Criterion, name: &str, aggregates: &[&str]) {
    let folder = tempfile::tempdir().expect("a folder for the state");
    let url = folder.path().to_string_lossy();
    let storage = Storage::open(&url, &S3Options::default(), Patience::default()).expect("the folder opens");
    let keys: ArrayRef = Arc::new(StringArray::from_iter_values((0..KEYS).map(|key| format!("device-{key:05}"))));
    let mut group = criterion.benchmark_group(name);
    group.sample_size(10);
    for (load, panes) in [("live", 1), ("replay", 3)] {
        let mut stage = stage(aggregates);
        let mut seconds = 0;
        let mut pass = |stage: &mut Windows, until: i64| {
            (seconds..until).for_each(|at| stage.on_batch(second(&keys, at), &mut Output::default()));
            seconds = until;
        };
        pass(&mut stage, panes * SIZE_SECONDS - 1);
        let bytes = snapshot(&mut stage, &storage);
        println!("{name}/{load}: {:.1} MiB", bytes as f64 / 1_048_576.0);
        // An event of each pane, so that it is written again.
        let touched: Vec<RecordBatch> = (0..panes).map(|pane| second(&keys, pane * SIZE_SECONDS).slice(0, 1)).collect();
        let touch = || touched.clone();
        group.bench_function(load, |bencher| {
            let written = |batches: Vec<RecordBatch>| {
                batches.into_iter().for_each(|batch| stage.on_batch(batch, &mut Output::default()));
                snapshot(&mut stage, &storage)
            };
            bencher.iter_batched(touch, written, BatchSize::PerIteration);
        });
    }
    group.finish();
}

fn checkpoint(criterion: &mut Criterion) {
    measure(criterion, "moments", &["mean", "stddev", "min", "max"]);
    measure(criterion, "percentiles", &["mean", "stddev", "min", "max", "p95"]);
}

criterion_group!(benches, checkpoint);
criterion_main!(benches);
