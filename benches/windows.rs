//! How many events a second does one worker take through windows: batch in, rows out, everything between included?
//!
//! `by_label`: 6 groups, tumbling 10 s, seven aggregates of four fields. `by_device`: 1,000 groups, 60 s sliding by 10 s, sixteen
//! aggregates of four fields. `percentiles`: 10,000 groups, one event a second each, 60 s sliding by 10 s, fifty aggregates of ten fields
//! (the size of its state is printed). Values are `plain` (two decimals) or `flows` (whole mantissas over a wide range, a tenth zeros).

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    ArrayRef, DictionaryArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    UInt32Array, UInt64Array,
};
use arrow::datatypes::SchemaRef;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

use tidewatch::domain::ids::Epoch;
use tidewatch::domain::schema::{EventSchema, FieldKind, FieldSpec, KeySource, TimeSource};
use tidewatch::domain::table::Table;
use tidewatch::domain::time::EventTime;
use tidewatch::stage::{EpochEnd, Output, Stage};
use tidewatch::windows::Windows;
use tidewatch::windows::spec::{Aggregate, AggregateSpec, WindowSpec};

const BATCH_ROWS: usize = 8192;
const SECOND: i64 = 1_000_000;

/// splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[derive(Clone, Copy)]
enum Values {
    Plain,
    Flows,
}

impl Values {
    fn value(self, random: &mut Random) -> f64 {
        match self {
            Values::Plain => (random.unit() * 10_000.0).round() / 100.0,
            Values::Flows if random.next().is_multiple_of(10) => 0.0,
            Values::Flows => random.unit() * 10f64.powi((random.next() % 6) as i32),
        }
    }
}

struct Job {
    groups: u64,
    fields: usize,
    /// Events a second of event time.
    rate: i64,
    size: u64,
    slide: u64,
    lateness: u64,
    aggregates: Vec<(usize, &'static str)>,
}

fn schema(fields: usize) -> SchemaRef {
    let field = |index: usize| FieldSpec {
        name: format!("field_{index}"),
        kind: FieldKind::Float,
        path: vec![],
        default: None,
        required: false,
        missing_as: None,
    };
    let (time, key) = (TimeSource::Received, KeySource::Partition);
    EventSchema { time, key, fields: (0..fields).map(field).collect(), record_bytes_max: 1 }.arrow()
}

impl Job {
    fn stage(&self) -> Windows {
        let aggregate = |(field, name): &(usize, &str)| AggregateSpec {
            field: format!("field_{field}"),
            aggregate: Aggregate::parse(name).expect("the benchmark names known aggregates"),
        };
        let spec = WindowSpec {
            name: "bench".to_owned(),
            size: Duration::from_secs(self.size),
            slide: Duration::from_secs(self.slide),
            by: vec!["key".to_owned()],
            aggregates: self.aggregates.iter().map(aggregate).collect(),
            allowed_lateness: Duration::from_secs(self.lateness),
        };
        Windows::new(&spec, &schema(self.fields), Table::Windows(0)).expect("the benchmark's window is sound")
    }

    /// Batches whose events are up to two seconds out of order; all share one dictionary.
    fn batches(&self, batches: usize, values: Values) -> Vec<RecordBatch> {
        let mut random = Random(7);
        let keys: ArrayRef =
            Arc::new(StringArray::from_iter_values((0..self.groups).map(|key| format!("device-{key}"))));
        let batch = |batch: usize| {
            let rows = (batch * BATCH_ROWS) as i64..((batch + 1) * BATCH_ROWS) as i64;
            let times = rows.clone().map(|row| (row * SECOND / self.rate - (random.next() % 2_000_000) as i64).max(0));
            let times = TimestampMicrosecondArray::from_iter_values(times.collect::<Vec<_>>()).with_timezone("UTC");
            let codes = UInt32Array::from_iter_values((0..BATCH_ROWS).map(|_| (random.next() % self.groups) as u32));
            let mut columns: Vec<ArrayRef> = vec![
                Arc::new(times),
                Arc::new(DictionaryArray::new(codes, Arc::clone(&keys))),
                Arc::new(UInt64Array::from(vec![0; BATCH_ROWS])),
                Arc::new(Int64Array::from_iter_values(rows)),
            ];
            for _ in 0..self.fields {
                let column = Float64Array::from_iter_values((0..BATCH_ROWS).map(|_| values.value(&mut random)));
                columns.push(Arc::new(column));
            }
            RecordBatch::try_new(schema(self.fields), columns).expect("the columns are those of the schema")
        };
        (0..batches).map(batch).collect()
    }

    /// An epoch is eight batches, a checkpoint eight epochs. Returns the rows published and the size of the state at its end.
    fn run(&self, stage: &mut Windows, batches: &[RecordBatch]) -> (usize, usize) {
        let mut output = Output::default();
        let mut rows = 0;
        for (epoch, batches) in batches.chunks(8).enumerate() {
            batches.iter().for_each(|batch| stage.on_batch(batch.clone(), &mut output));
            let reached = ((epoch + 1) * 8 * BATCH_ROWS) as i64 * SECOND / self.rate;
            let watermark = EventTime(reached - 2 * SECOND);
            let is_checkpoint = epoch % 8 == 7;
            let end = EpochEnd { epoch: Epoch(epoch as u64), is_checkpoint, publish: watermark, retain: watermark };
            stage.on_epoch_end(end, &mut output);
            rows += output.0.drain(..).map(|rows| rows.batch.num_rows()).sum::<usize>();
        }
        (rows, stage.state_bytes())
    }
}

fn measure(criterion: &mut Criterion, name: &str, job: &Job, batch_count: usize, all_values: &[(&str, Values)]) {
    let mut group = criterion.benchmark_group(name);
    group.sample_size(10).throughput(Throughput::Elements((batch_count * BATCH_ROWS) as u64));
    for (values_name, values) in all_values {
        let batches = job.batches(batch_count, *values);
        let (rows, bytes) = job.run(&mut job.stage(), &batches);
        println!(
            "{name}/{values_name}: {rows} rows published, {:.1} MiB of state at the end",
            bytes as f64 / 1048576.0
        );
        group.bench_function(*values_name, |bencher| {
            bencher.iter_batched_ref(|| job.stage(), |stage| job.run(stage, &batches), BatchSize::PerIteration);
        });
    }
    group.finish();
}

fn windows(criterion: &mut Criterion) {
    let both = [("plain", Values::Plain), ("flows", Values::Flows)];
    let by_label = Job {
        groups: 6,
        fields: 4,
        rate: 10_000,
        size: 10,
        slide: 10,
        lateness: 10,
        aggregates: vec![(0, "mean"), (0, "stddev"), (1, "mean"), (2, "min"), (2, "max"), (3, "mean"), (3, "count")],
    };
    measure(criterion, "by_label", &by_label, 256, &both);
    let each = |names: &'static [&'static str], fields: usize| {
        (0..fields).flat_map(|field| names.iter().map(move |name| (field, *name))).collect::<Vec<_>>()
    };
    let by_device = Job {
        groups: 1000,
        fields: 4,
        rate: 10_000,
        size: 60,
        slide: 10,
        lateness: 10,
        aggregates: each(&["mean", "stddev", "min", "max"], 4),
    };
    measure(criterion, "by_device", &by_device, 256, &both);
    let percentiles = Job {
        groups: 10_000,
        fields: 10,
        rate: 10_000,
        size: 60,
        slide: 10,
        lateness: 60,
        aggregates: each(&["mean", "stddev", "min", "max", "p95"], 10),
    };
    measure(criterion, "percentiles", &percentiles, 192, &both[..1]);
}

criterion_group!(benches, windows);
criterion_main!(benches);
